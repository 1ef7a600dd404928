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

"""Base classes of files that are read and edited in place."""

from __future__ import annotations

import abc
import collections.abc
import contextlib
import dataclasses

from gpuclient import exceptions
from gpuclient.files import atomic


@dataclasses.dataclass(frozen=True)
class Value:
    """A value of an option, which may have several."""

    #: As oslo.config returns it: lines joined, outer quotes removed.
    text: str
    #: Line of the file that it begins on, from 1.
    line: int
    #: It depends on a template: its text, or its presence, is not known.
    depends: bool = False


@dataclasses.dataclass(frozen=True)
class Reading:
    """What a service reads from files."""

    #: The service; None if the file does not show it.
    service: str | None
    #: In the order in which they are read.
    confs: tuple[OptionsFile, ...]
    #: Path of keys in the file, ``data.nova.pci.conf``; empty for the file.
    keys: str = ''
    line: int | None = None
    #: An option in a later file replaces that of earlier files; otherwise
    #: their values are combined.
    replace: bool = False
    #: Number of the layer of each file; values within a layer are combined.
    layers: tuple[int, ...] | None = None
    #: The file for options that none of them has; None if any will do.
    home: OptionsFile | None = None
    #: Names of the files on the host, by which oslo.config sorts those of a
    #: folder; empty for files that it reads in the given order.
    names: tuple[str, ...] = ()
    #: Readings of all processes that read these files, among others.
    processes: tuple[Reading, ...] = ()
    #: It is not known whether one service reads them together.
    is_ambiguous: bool = False


class Editable(abc.ABC):
    """One or several files, as they were read, with edits in memory.

    :param path: As the user named it.
    """

    #: The file does not exist yet.
    is_new = False

    def __init__(self, path: str) -> None:
        self.path = path

    @property
    @abc.abstractmethod
    def files(self) -> tuple[EditableFile, ...]:
        """The files that it consists of."""

    @abc.abstractmethod
    def readings(self) -> collections.abc.Iterator[Reading]:
        """Yield what each service reads from it."""

    def edit_readings(self) -> collections.abc.Iterator[Reading]:
        """Yield the readings in the form in which they are edited."""
        return self.readings()

    @property
    def outside(self) -> tuple[EditableFile, ...]:
        """Files that are read with it, but must not be edited."""
        return ()

    @property
    def changed(self) -> bool:
        """Whether there is anything to write."""
        return any(file.changed for file in (*self.files, *self.outside))

    def diff(self) -> str:
        """Return the edits as a unified diff; empty if there are none."""
        return ''.join(file.diff() for file in self.files)


class EditableFile(Editable):
    """A file as it was read, with edits in memory.

    :param path: As the user named it.
    :param content: Its bytes.
    """

    #: It begins with a byte order mark, which its services cannot read.
    has_mark = False
    #: It is standard input; the edited text goes to standard output.
    is_stream = False
    #: Name of its deployment tool, for messages; empty for a file of Nova.
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
        """Return why it cannot be edited in place; empty if it can."""
        return ''

    def check_possible(self) -> None:
        """Make sure that the edits can be made in place.

        :raises gpuclient.exceptions.UnsafeEdit: They cannot; the error has a
            patch.
        """
        obstacle = self.obstacle()
        if obstacle:
            raise exceptions.UnsafeEdit(obstacle, self.diff())

    def check_writable(self) -> None:
        """Make sure, before a write, that the file may be replaced.

        :raises gpuclient.exceptions.UnsafeEdit: It may not; the error has a
            patch.
        """
        self.check_possible()
        if self.is_stream:
            return
        with self._with_patch():
            atomic.check_replaceable(self.path)

    def write(self) -> None:
        """Replace the file, unless nothing changed.

        :raises gpuclient.exceptions.DocumentChanged: The file changed since it
            was read.
        :raises gpuclient.exceptions.UnsafeEdit: It must not be edited; the
            error has the edits as a patch.
        """
        with contextlib.ExitStack() as stack:
            self.prepare(stack)()

    def prepare(
        self, stack: contextlib.ExitStack
    ) -> collections.abc.Callable[[], None]:
        """Write the new content beside the file.

        :param stack: Removes it again if it is not committed.
        :returns: A function that replaces the file with it.
        :raises gpuclient.exceptions.DocumentError: See :meth:`write`.
        """
        if not self.changed or self.is_stream:
            return lambda: None
        self.check_writable()
        content = self.content()
        with self._with_patch():
            replace = stack.enter_context(self._written(content))

        def commit() -> None:
            with self._with_patch():
                replace()
            self._before_write, self._original = self._original, content

        return commit

    def _written(
        self, content: bytes
    ) -> contextlib.AbstractContextManager[collections.abc.Callable[[], None]]:
        return atomic.replacement(self.path, self._original, content)

    def restore(self) -> None:
        """Undo :meth:`write`.

        :raises gpuclient.exceptions.DocumentError: It cannot be undone.
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
    """A file with options of Nova, in any format."""

    #: It is rendered with Jinja before a service reads it.
    is_template: bool

    @property
    @abc.abstractmethod
    def text(self) -> str:
        """The whole text as it is now, without a byte order mark."""

    @abc.abstractmethod
    def options(self) -> collections.abc.Iterator[tuple[str, str, Value]]:
        """Yield section, option and value of each assignment."""

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
        """Replace the text of a value."""

    @abc.abstractmethod
    def remove(self, value: Value) -> None:
        """Remove a value, with all its lines."""
