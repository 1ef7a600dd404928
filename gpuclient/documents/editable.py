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

import abc

from gpuclient.documents import atomic
from gpuclient import exceptions


class EditableFile(abc.ABC):
    """A file as it was read, with edits in memory.

    :param path: As the user named it.
    :param content: Its bytes.
    """

    #: It begins with a byte order mark that its readers cannot take.
    has_mark = False

    def __init__(self, path: str, content: bytes) -> None:
        self.path = path
        self._original = content

    @property
    @abc.abstractmethod
    def changed(self) -> bool:
        """Whether there is anything to write."""

    @abc.abstractmethod
    def diff(self) -> str:
        """Return the edits as a unified diff; empty where there are none."""

    @abc.abstractmethod
    def content(self) -> bytes:
        """Return its bytes with the edits."""

    def obstacle(self) -> str:
        """Return why the edits cannot be made in place; empty if they can."""
        return ''

    def check_writable(self) -> None:
        """Find out before a write whether the file may be replaced.

        :raises gpuclient.exceptions.UnsafeEdit: With the patch.
        """
        obstacle = self.obstacle()
        if obstacle:
            raise exceptions.UnsafeEdit(obstacle, self.diff())
        try:
            atomic.check_replaceable(self.path)
        except exceptions.UnsafeEdit as exc:
            raise exceptions.UnsafeEdit(str(exc), self.diff()) from exc

    def write(self) -> None:
        """Replace the file, unless nothing changed.

        :raises gpuclient.exceptions.DocumentChanged: Somebody else wrote it
            since it was read.
        :raises gpuclient.exceptions.UnsafeEdit: It must not be edited; the
            error carries the edits as a patch.
        """
        if not self.changed:
            return
        self.check_writable()
        content = self.content()
        try:
            atomic.replace(self.path, self._original, content)
        except exceptions.UnsafeEdit as exc:
            raise exceptions.UnsafeEdit(str(exc), self.diff()) from exc
        self._original = content
