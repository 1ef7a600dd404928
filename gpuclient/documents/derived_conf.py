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

"""The nova.conf that a deployment tool derives from its own files.

It is read and checked. An edit is refused, and the error shows the lines to
add and to remove.
"""

import abc
import collections.abc
import typing

from gpuclient.documents import editable
from gpuclient.documents import nova_conf

#: What is added (``+``) or removed (``-``): mark, section, option and value.
Edit: typing.TypeAlias = tuple[str, str, str, str]
#: Section, option and value.
Option = tuple[str, str, nova_conf.Value]


class DerivedConf(nova_conf.NovaConf):
    """The nova.conf that a tool will write.

    :param path: Path of the file from which the tool derives it.
    :param keys: Path of keys in that file to the options.
    """

    def __init__(
        self,
        path: str,
        options: collections.abc.Iterable[Option],
        keys: tuple[str, ...] = (),
    ) -> None:
        super().__init__(path, b'', template=True)
        self._options = tuple(options)
        self.keys = keys
        #: The refused edits.
        self.edits: list[Edit] = []

    def options(self) -> collections.abc.Iterator[Option]:
        yield from self._options

    @property
    def count(self) -> int:
        """Number of values."""
        return len(self._options)

    @property
    def first_line(self) -> int | None:
        """Line of the first value; None if there is none."""
        return min(
            (value.line for _section, _option, value in self._options),
            default=None,
        )

    def has_section(self, section: str) -> bool:
        return any(name == section for name, _option, _value in self._options)

    def add(self, section: str, option: str, text: str) -> None:
        self._check_value(text)
        self.edits.append(('+', section, option, text))

    def replace(self, value: nova_conf.Value, text: str) -> None:
        self._check_value(text)
        section, option = self._name_of(value)
        self.edits.append(('-', section, option, value.text))
        self.edits.append(('+', section, option, text))

    def remove(self, value: nova_conf.Value) -> None:
        self.edits.append(('-', *self._name_of(value), value.text))

    @property
    def changed(self) -> bool:
        return bool(self.edits)

    def obstacle(self) -> str:
        return self.path if self.edits else ''

    def _name_of(self, value: nova_conf.Value) -> tuple[str, str]:
        return next(
            (section, option)
            for section, option, other in self._options
            if other == value
        )


class DerivedFile(editable.EditableFile):
    """A file of a deployment tool."""

    #: Name of the tool, for messages.
    tool: str

    @property
    @abc.abstractmethod
    def confs(self) -> collections.abc.Iterable[DerivedConf]:
        """Each nova.conf that the tool derives from this file."""

    @abc.abstractmethod
    def write_edit(self, conf: DerivedConf, edit: Edit) -> str:
        """Return an edit in the format of the file."""

    @property
    def changed(self) -> bool:
        return any(conf.changed for conf in self.confs)

    def content(self) -> bytes:
        return self._original

    def obstacle(self) -> str:
        if not self.changed:
            return ''
        return (
            f'Files of {self.tool} are not edited: change {self.path} by '
            'hand, as shown'
        )

    def diff(self) -> str:
        """Return the lines to add and to remove."""
        edits = (
            self.write_edit(conf, edit)
            for conf in self.confs
            for edit in conf.edits
        )
        # Several services may read the same lines.
        return ''.join(dict.fromkeys(edits))


class SharedFile(DerivedFile):
    """A file that a tool combines with others."""

    @property
    @abc.abstractmethod
    def root(self) -> str:
        """The folder of all files that the tool combines."""

    @classmethod
    @abc.abstractmethod
    def joined(
        cls, files: collections.abc.Sequence[typing.Any]
    ) -> collections.abc.Iterator[tuple[str, editable.Reading]]:
        """Yield path and reading of each service, for files of one root."""
