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

"""Configuration that a deployment tool makes of files of its own.

It is read and checked. An edit is refused, with what to add or take out.
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
    """What a tool will write into a nova.conf.

    :param path: Of the file that it makes it of.
    :param keys: The place in the file that the options are below.
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
        #: What was to be added (``+``) and taken out (``-``).
        self.edits: list[Edit] = []

    def options(self) -> collections.abc.Iterator[Option]:
        yield from self._options

    @property
    def count(self) -> int:
        """How many values there are."""
        return len(self._options)

    @property
    def first_line(self) -> int | None:
        """Line of the first value; None where there is none."""
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

    #: Its name, for messages.
    tool: str

    @property
    @abc.abstractmethod
    def confs(self) -> collections.abc.Iterable[DerivedConf]:
        """All that it makes of this file."""

    @abc.abstractmethod
    def write_edit(self, conf: DerivedConf, edit: Edit) -> str:
        """Return how an edit of a configuration reads in the file."""

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
            'hand, as '
            'shown'
        )

    def diff(self) -> str:
        """Return what to add and what to take out."""
        edits = (
            self.write_edit(conf, edit)
            for conf in self.confs
            for edit in conf.edits
        )
        # Several services may read the same lines.
        return ''.join(dict.fromkeys(edits))


class SharedFile(DerivedFile):
    """A file that a tool reads together with others."""

    @property
    @abc.abstractmethod
    def root(self) -> str:
        """What files that belong together have in common."""

    @classmethod
    @abc.abstractmethod
    def joined(
        cls, files: collections.abc.Sequence[typing.Any]
    ) -> collections.abc.Iterator[tuple[str, editable.Reading]]:
        """Yield what each service reads of files of one root, and where."""
