# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

"""What all files that are edited in place have in common."""

from __future__ import annotations

import abc
import collections.abc
import contextlib
import dataclasses

from gpuclient import exceptions
from gpuclient.files import atomic


@dataclasses.dataclass(frozen=True)
class Value:
    """One value of an option that may have several."""

    #: As oslo.config hands it over: lines joined, outer quotes taken off.
    text: str
    #: Line of the file that it begins on, from 1.
    line: int
    #: What a template makes of it, or whether it is there at all, is not
    #: known.
    depends: bool = False


@dataclasses.dataclass(frozen=True)
class Reading:
    """What a service reads of files."""

    #: The service; None where the file does not say.
    service: str | None
    #: In the order in which it reads them.
    confs: tuple[OptionsFile, ...]
    #: The place within the file, ``data.nova.pci.conf``; empty for all of it.
    keys: str = ''
    line: int | None = None
    #: An option of a later one takes the place of an earlier one's;
    #: otherwise their values add up.
    replace: bool = False
    #: Which layer each is of, where several make one; values of these add up.
    layers: tuple[int, ...] | None = None
    #: Where an option belongs that none of them has; None if any will do.
    home: OptionsFile | None = None
    #: Names of the files that they become, by which oslo.config orders those
    #: of a folder; empty for those that it reads in the order given.
    names: tuple[str, ...] = ()
    #: What the processes read that read these, among other files.
    processes: tuple[Reading, ...] = ()
    #: Whether one service reads them together cannot be told.
    is_ambiguous: bool = False


class Editable(abc.ABC):
    """A file, or several, as they were read, with edits in memory.

    :param path: As the user named it.
    """

    #: There is no such file yet.
    is_new = False

    def __init__(self, path: str) -> None:
        self.path = path

    @property
    @abc.abstractmethod
    def files(self) -> tuple[EditableFile, ...]:
        """The files that it consists of."""

    @abc.abstractmethod
    def readings(self) -> collections.abc.Iterator[Reading]:
        """Yield what each service reads of it."""

    def edit_readings(self) -> collections.abc.Iterator[Reading]:
        """Yield readings, as they are to be edited."""
        return self.readings()

    @property
    def outside(self) -> tuple[EditableFile, ...]:
        """Files that are read with it, and not to be edited."""
        return ()

    @property
    def changed(self) -> bool:
        """Whether there is anything to write."""
        return any(file.changed for file in (*self.files, *self.outside))

    def diff(self) -> str:
        """Return the edits as a unified diff; empty where there are none."""
        return ''.join(file.diff() for file in self.files)


class EditableFile(Editable):
    """A file as it was read, with edits in memory.

    :param path: As the user named it.
    :param content: Its bytes.
    """

    #: It begins with a byte order mark that its readers cannot take.
    has_mark = False
    #: It is standard input; with its edits it goes to standard output.
    is_stream = False
    #: The name of the deployment tool that it is for, for messages; empty
    #: where it is a file of Nova.
    tool = ''

    def __init__(self, path: str, content: bytes) -> None:
        super().__init__(path)
        self._original = self._before_write = content

    @property
    def files(self) -> tuple[EditableFile, ...]:
        return (self,)

    @property
    @abc.abstractmethod
    def changed(self) -> bool: ...

    @abc.abstractmethod
    def diff(self) -> str: ...

    @abc.abstractmethod
    def content(self) -> bytes:
        """Return its bytes with the edits."""

    def obstacle(self) -> str:
        """Return why the edits cannot be made in place; empty if they can."""
        return ''

    def check_possible(self) -> None:
        """Find out whether the edits can be made in place.

        :raises gpuclient.exceptions.UnsafeEdit: With the patch.
        """
        obstacle = self.obstacle()
        if obstacle:
            raise exceptions.UnsafeEdit(obstacle, self.diff())

    def check_writable(self) -> None:
        """Find out before a write whether the file may be replaced.

        :raises gpuclient.exceptions.UnsafeEdit: With the patch.
        """
        self.check_possible()
        if self.is_stream:
            return
        with self._with_patch():
            atomic.check_replaceable(self.path)

    def write(self) -> None:
        """Replace the file, unless nothing changed.

        :raises gpuclient.exceptions.DocumentChanged: Somebody else wrote it
            since it was read.
        :raises gpuclient.exceptions.UnsafeEdit: It must not be edited; the
            error carries the edits as a patch.
        """
        with contextlib.ExitStack() as stack:
            self.prepare(stack)()

    def prepare(
        self, stack: contextlib.ExitStack
    ) -> collections.abc.Callable[[], None]:
        """Write all there is to write, but not yet in the place of the file.

        :param stack: Removes it where it was not put there.
        :returns: What puts it there.
        :raises gpuclient.exceptions.DocumentError: See :meth:`write`.
        """
        if not self.changed or self.is_stream:
            return lambda: None
        self.check_writable()
        content = self.content()
        with self._with_patch():
            put = stack.enter_context(self._written(content))

        def commit() -> None:
            with self._with_patch():
                put()
            self._before_write, self._original = self._original, content

        return commit

    def _written(
        self, content: bytes
    ) -> contextlib.AbstractContextManager[collections.abc.Callable[[], None]]:
        return atomic.replacement(self.path, self._original, content)

    def restore(self) -> None:
        """Take back what :meth:`write` did.

        :raises gpuclient.exceptions.DocumentError: It cannot be.
        """
        atomic.replace(self.path, self._original, self._before_write)
        self._original = self._before_write

    @contextlib.contextmanager
    def _with_patch(self) -> collections.abc.Iterator[None]:
        try:
            yield
        except exceptions.UnsafeEdit as exc:
            raise exceptions.UnsafeEdit(str(exc), self.diff()) from exc


class OptionsFile(EditableFile):
    """A file with options of Nova in it, whatever its format is."""

    #: It is rendered with Jinja before a service reads it.
    is_template: bool

    @property
    @abc.abstractmethod
    def text(self) -> str:
        """The whole text as it is now, without a byte order mark."""

    @abc.abstractmethod
    def options(self) -> collections.abc.Iterator[tuple[str, str, Value]]:
        """Yield section, option and value of all that the file sets."""

    @abc.abstractmethod
    def values(self, *names: tuple[str, str]) -> tuple[Value, ...]:
        """Return the values of an option, in the order of the file."""

    @abc.abstractmethod
    def has_section(self, section: str) -> bool:
        """Return whether the file has a section of this name."""

    @abc.abstractmethod
    def add(self, section: str, option: str, text: str) -> None:
        """Add a value."""

    @abc.abstractmethod
    def replace(self, value: Value, text: str) -> None:
        """Put another text where a value is."""

    @abc.abstractmethod
    def remove(self, value: Value) -> None:
        """Take a value out, with all of its lines."""
