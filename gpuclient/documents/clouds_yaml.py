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

"""Entries of a rehearsal cloud in the user's own clouds.yaml.

The file is the user's: every byte of it stays, a name that is not ours is not
touched, and the file is whole at every moment.
"""

import collections.abc
import json
import os
import typing

import platformdirs
import yaml

from gpuclient.documents import yaml_edit
from gpuclient.documents import yaml_file
from gpuclient import exceptions
from gpuclient.files import atomic

#: Times that a change starts anew because somebody else wrote the file.
_ATTEMPTS = 5

#: What is said of a line that was not there before the first entry.
_CLOUDS_ADDED = '  # added by openstack gpu rehearsal'
_NULL = '#gpu:'
_WAS_EMPTY = '  # the only one, of openstack gpu rehearsal'

_Pair: typing.TypeAlias = tuple[typing.Any, typing.Any]
Entries: typing.TypeAlias = collections.abc.Mapping[str, typing.Any]


def path() -> str:
    """Return the file that ``openstack`` reads for this user."""
    named = os.environ.get('OS_CLIENT_CONFIG_FILE')
    if named:
        return os.path.abspath(named)
    return os.fspath(
        platformdirs.user_config_path('openstack') / 'clouds.yaml'
    )


def check(
    file: str,
    names: collections.abc.Iterable[str],
    ours: collections.abc.Container[str],
) -> None:
    """Refuse a file to which entries cannot be added.

    :param ours: Names of entries there that are ours already.
    :raises RehearsalError: A name is somebody else's, or the file is no
        clouds.yaml.
    """
    clouds = _read(file).clouds
    for name in names:
        if name in clouds and name not in ours:
            raise exceptions.RehearsalError(
                f'Cloud {name} in {file} is not ours: choose another '
                'name for the rehearsal cloud'
            )


def has(file: str, name: str) -> bool:
    """Return whether there is an entry of a name."""
    return name in _read(file).clouds


def made(
    file: str,
    names: collections.abc.Iterable[str],
    passwords: collections.abc.Collection[str],
) -> list[str]:
    """Return which entries of a file have a password of ours.

    :raises RehearsalError: The file is no clouds.yaml.
    """
    clouds = _read(file).clouds
    ours = []
    for name in names:
        entry = clouds.get(name)
        auth = entry.get('auth') if isinstance(entry, dict) else None
        if isinstance(auth, dict) and auth.get('password') in passwords:
            ours.append(name)
    return ours


def add(file: str, entries: Entries, ours: typing.Container[str]) -> None:
    """Add entries, or replace those that are ours.

    :raises RehearsalError: As :func:`check`.
    """

    def change(document: _Document) -> None:
        for name in entries:
            document.remove(name)
        for name in reversed(list(entries)):
            document.add(name, entries[name])

    check(file, entries, ours)
    _edit(file, change, set(entries))


def remove(file: str, names: collections.abc.Iterable[str]) -> None:
    """Remove entries; those that are not there are no error.

    :raises RehearsalError: The file cannot be read or written.
    """
    gone = set(names)

    def change(document: _Document) -> None:
        for name in sorted(gone):
            document.remove(name)

    if os.path.exists(file):
        _edit(file, change, gone)


def _edit(
    file: str,
    change: collections.abc.Callable[['_Document'], None],
    touched: set[str],
) -> None:
    for _attempt in range(_ATTEMPTS):
        document = _read(file)
        before = document.others(touched)
        old = document.text
        change(document)
        if document.others(touched) != before:
            raise exceptions.RehearsalError(
                f'{file} cannot be changed without harm; nothing was done'
            )
        if document.text == old or _replace(file, old, document.text):
            return
    raise exceptions.RehearsalError(f'{file} changes all the time; try again')


class _Document:
    """A clouds.yaml as text, and where its entries are.

    An entry is put before all others, so that what follows stays as it is, to
    the last byte, and so does all when the entry is taken out again.

    :raises RehearsalError: It is no clouds.yaml.
    """

    def __init__(self, file: str, text: str) -> None:
        self._file = file
        self.text = text
        self._parse()

    def _parse(self) -> None:
        try:
            nodes = yaml_file.compose_all(self._file, self.text)
            data = [yaml_file.construct(node) for node in nodes]
        except (exceptions.DocumentError, yaml.YAMLError, ValueError) as exc:
            raise exceptions.RehearsalError(
                'Cannot read {path}: {reason}'.format(
                    path=self._file, reason=' '.join(str(exc).split())
                )
            ) from exc
        root = data[0] if data else None
        clouds = root.get('clouds') if isinstance(root, dict) else None
        if (
            len(data) > 1
            or not isinstance(root, (dict, type(None)))
            or not isinstance(clouds, (dict, type(None)))
        ):
            raise exceptions.RehearsalError(
                f'{self._file} is no clouds.yaml: it has no mapping "clouds"'
            )
        self._root = nodes[0] if root is not None else None
        self.clouds: dict[str, typing.Any] = clouds or {}

    def others(self, names: collections.abc.Container[str]) -> Entries:
        """Return the entries but for some."""
        return {
            name: value
            for name, value in self.clouds.items()
            if name not in names
        }

    def add(self, name: str, entry: typing.Any) -> None:
        """Put an entry before all others."""
        root = self._root
        if root is None:
            # After comments; a text without its last line end keeps none.
            start = len(self.text)
            self._insert_lines(start, 0, self._with_clouds(name, entry))
        elif root.flow_style:
            self._add_to_flow(root, name, entry)
        else:
            found = _pair(root, 'clouds')
            if found is None:
                key = root.value[0][0]
                self._insert_lines(
                    self._line_of(key),
                    key.start_mark.column,
                    self._with_clouds(name, entry),
                )
            else:
                self._add_to_clouds(*found, name, entry)
        self._parse()

    @staticmethod
    def _with_clouds(name: str, entry: typing.Any) -> str:
        lines = yaml_edit.dump({'clouds': {name: entry}})
        return lines.replace('clouds:', f'clouds:{_CLOUDS_ADDED}', 1)

    def _add_to_clouds(
        self, key: yaml.Node, node: yaml.Node, name: str, entry: typing.Any
    ) -> None:
        if node.start_mark.index < key.end_mark.index:
            # It refers to an anchor above.
            raise self._harm()
        lines = yaml_edit.dump({name: entry})
        if isinstance(node, yaml.ScalarNode):
            if node.value:
                # So that ~ is a comment.
                start = node.start_mark.index
                self.text = f'{self.text[:start]}{_NULL}{self.text[start:]}'
            first, newline, more = lines.partition('\n')
            end = self.text.find('\n', key.end_mark.index)
            self._insert_lines(
                len(self.text) if end < 0 else end + 1,
                key.start_mark.column + 2,
                f'{first}{_WAS_EMPTY}{newline}{more}',
            )
        elif node.flow_style:
            self._add_to_flow(node, name, entry)
        else:
            first_key = node.value[0][0]
            self._insert_lines(
                self._line_of(first_key), first_key.start_mark.column, lines
            )

    def _add_to_flow(
        self, node: yaml.MappingNode, name: str, entry: typing.Any
    ) -> None:
        found = _pair(node, 'clouds') if node is self._root else None
        if found is not None:
            if isinstance(found[1], yaml.ScalarNode):
                # {clouds: null}
                raise self._harm()
            self._add_to_clouds(*found, name, entry)
            return
        if node is self._root:
            name, entry = 'clouds', {name: entry}
        start = self.text.index('{', node.start_mark.index) + 1
        text = f'{json.dumps(name)}: {json.dumps(entry)}'
        if node is self._root:
            # By which it is known to have been added.
            text = _compact({name: entry})
        if node.value:
            text += ', '
        self.text = self.text[:start] + text + self.text[start:]

    def remove(self, name: str) -> None:
        """Take an entry out, and what was added for it."""
        root = self._root
        found = None if root is None else _pair(root, 'clouds')
        pair = None if found is None else _pair(found[1], name)
        if root is None or found is None or pair is None:
            return
        node = found[1]
        if node.start_mark.index < found[0].end_mark.index:
            raise self._harm()
        if node.flow_style:
            self._remove_from_flow(root, found, pair)
        elif len(node.value) > 1:
            self._remove_lines(*pair)
        else:
            self._remove_last(found, pair)
        self._parse()

    def _remove_from_flow(
        self, root: yaml.MappingNode, found: _Pair, pair: _Pair
    ) -> None:
        node = found[1]
        if len(node.value) == 1 and root.flow_style:
            text = self.text[found[0].start_mark.index : node.end_mark.index]
            if text == _compact({'clouds': yaml_file.construct(node)}):
                # It was added with it.
                node, pair = root, found
        start, end = pair[0].start_mark.index, pair[1].end_mark.index
        if len(node.value) > 1:
            following = [
                key.start_mark.index
                for key, _value in node.value
                if key.start_mark.index > start
            ]
            if following:
                comma = self.text.index(',', end) + 1
                end = comma + self.text.startswith(' ', comma)
            else:
                start = self.text.rindex(',', 0, start)
        self.text = self.text[:start] + self.text[end:]

    def _remove_last(self, found: _Pair, pair: _Pair) -> None:
        """Take out the only entry of a block."""
        key, node = found
        head = self.text[key.end_mark.index : node.start_mark.index]
        first = self._line_at(pair[0].end_mark.index)
        if head.startswith(f':{_CLOUDS_ADDED}'):
            self._remove_lines(key, pair[1])
            return
        self._remove_lines(*pair)
        if head.lstrip(': ').startswith(_NULL):
            start = self.text.index(_NULL, key.end_mark.index)
            end = start + len(_NULL)
            self.text = self.text[:start] + self.text[end:]
        if _WAS_EMPTY not in first:
            # Of which nobody else could make something.
            end = self.text.index(':', key.end_mark.index) + 1
            self.text = f'{self.text[:end]} {{}}{self.text[end:]}'

    def _remove_lines(self, key: yaml.Node, value: yaml.Node) -> None:
        """Take out the lines of a key and its value."""
        start = self._line_of(key)
        end = yaml_edit.end_of(self.text, key, value)
        newline = self.text.find('\n', end)
        if newline >= 0:
            end = newline + 1
        else:
            # What was put after a text without its last line end.
            end = len(self.text)
            start -= self.text[:start].endswith('\n')
            start -= self.text[:start].endswith('\r')
        self.text = self.text[:start] + self.text[end:]

    def _line_of(self, key: yaml.Node) -> int:
        """Return where the line of a key begins; it has to be the first."""
        index: int = key.start_mark.index
        start = self.text.rfind('\n', 0, index) + 1
        if self.text[start:index].strip(' \ufeff'):
            raise self._harm()
        if self.text[start:index].startswith('\ufeff'):
            start += 1
        return start

    def _line_at(self, index: int) -> str:
        end = self.text.find('\n', index)
        return self.text[index : len(self.text) if end < 0 else end]

    def _insert_lines(self, position: int, column: int, lines: str) -> None:
        ending = '\r\n' if '\r\n' in self.text else '\n'
        new = ''.join(
            f'{" " * column}{line}{ending}' for line in lines.splitlines()
        )
        before = self.text[:position]
        if before.strip('\ufeff') and not before.endswith('\n'):
            # The last line of the file has no end, and keeps none.
            new = ending + new.removesuffix(ending)
        self.text = before + new + self.text[position:]

    def _harm(self) -> exceptions.RehearsalError:
        return exceptions.RehearsalError(
            f'{self._file} cannot be changed without harm; nothing was done'
        )


def _compact(data: dict[str, typing.Any]) -> str:
    return json.dumps(data, separators=(',', ':'))[1:-1]


def _pair(node: typing.Any, name: str) -> _Pair | None:
    """Return the key of a mapping with its value, as nodes."""
    pairs = node.value if isinstance(node, yaml.MappingNode) else ()
    for key, value in pairs:
        if isinstance(key, yaml.ScalarNode) and key.value == name:
            return key, value
    return None


def _read(file: str) -> _Document:
    """Return a file; an empty one where there is none."""
    try:
        content = atomic.read(file) if os.path.lexists(file) else b''
        return _Document(file, atomic.decode(file, content))
    except exceptions.DocumentError as exc:
        raise exceptions.RehearsalError(str(exc)) from exc


def _replace(file: str, old: str, new: str) -> bool:
    """Write a file unless it changed; say whether it was written."""
    try:
        if os.path.lexists(file):
            atomic.replace(file, old.encode(), new.encode())
        else:
            # So that nobody else ever sees the passwords.
            atomic.create(file, new.encode(), 0o600, folders=0o700)
    except exceptions.DocumentChanged:
        return False
    except exceptions.DocumentError as exc:
        raise exceptions.RehearsalError(str(exc)) from exc
    return True
