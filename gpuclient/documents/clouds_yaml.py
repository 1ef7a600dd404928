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

"""Add entries of a rehearsal cloud to the user's own clouds.yaml.

All other bytes of the file are kept, other entries are not changed, and the
file is replaced atomically.
"""

import collections.abc
import contextlib
import json
import os
import typing

import platformdirs
import yaml

from gpuclient.documents import yaml_edit
from gpuclient.documents import yaml_file
from gpuclient import exceptions
from gpuclient.files import atomic

#: Attempts to change a file that other processes change meanwhile.
_ATTEMPTS = 5

#: Comments that mark lines which were added with the first entry.
_CLOUDS_ADDED = '  # added by openstack gpu rehearsal'
_NULL = '#gpu:'
_WAS_EMPTY = '  # the only one, of openstack gpu rehearsal'

_Pair: typing.TypeAlias = tuple[typing.Any, typing.Any]
Entries: typing.TypeAlias = collections.abc.Mapping[str, typing.Any]


def path() -> str:
    """Return the clouds.yaml that ``openstack`` reads for this user."""
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
    """Check that entries can be added to a file.

    :param ours: Names of entries that may be replaced.
    :raises RehearsalError: A name is taken, or the file is not a clouds.yaml.
    """
    clouds = _read(file).clouds
    for name in names:
        if name in clouds and name not in ours:
            raise exceptions.RehearsalError(
                f'{file} has another cloud {name}: choose another name for '
                'the rehearsal cloud'
            )


def has(file: str, name: str) -> bool:
    """Return whether a file has an entry."""
    return name in _read(file).clouds


def made(
    file: str,
    names: collections.abc.Iterable[str],
    passwords: collections.abc.Collection[str],
) -> list[str]:
    """Return which entries of a file have one of some passwords.

    :raises RehearsalError: The file is not a clouds.yaml.
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
    """Add entries, or replace them.

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
    """Remove entries; a missing entry is not an error.

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
                f'{file} cannot be edited safely and was not changed'
            )
        if document.text == old or _replace(file, old, document.text):
            return
    raise exceptions.RehearsalError(
        f'{file} was changed by another process: run the command again'
    )


class _Document:
    """The text of a clouds.yaml, and the positions of its entries.

    An entry is added before all others, so that removing it restores the file
    byte for byte.

    :raises RehearsalError: It is not a clouds.yaml.
    """

    def __init__(self, file: str, text: str) -> None:
        self._file = file
        self.text = text
        self._parse()

    def _parse(self) -> None:
        try:
            nodes = yaml_file.compose_all(self._file, self.text)
            data = yaml_file.parse_all(self._file, self.text)
        except exceptions.DocumentError as exc:
            raise exceptions.RehearsalError(str(exc)) from exc
        root = data[0] if data else None
        clouds = root.get('clouds') if isinstance(root, dict) else None
        if (
            len(data) > 1
            or not isinstance(root, (dict, type(None)))
            or not isinstance(clouds, (dict, type(None)))
        ):
            raise exceptions.RehearsalError(
                f'{self._file} is not a clouds.yaml: it has no mapping '
                '"clouds"'
            )
        self._root = nodes[0] if root is not None else None
        self.clouds: dict[str, typing.Any] = clouds or {}

    def others(self, names: collections.abc.Container[str]) -> Entries:
        """Return all entries except some."""
        return {
            name: value
            for name, value in self.clouds.items()
            if name not in names
        }

    def add(self, name: str, entry: typing.Any) -> None:
        """Add an entry before all others."""
        root = self._root
        clouds = None if root is None else _pair(root, 'clouds')
        with self._editing() as editor:
            if root is None:
                # After comments; a text without a final newline gets none.
                lines = self._with_clouds(name, entry)
                editor.insert_lines(len(self.text), lines, 0)
            elif root.flow_style:
                self._add_to_flow(editor, root, name, entry)
            elif clouds is None:
                lines = self._with_clouds(name, entry)
                editor.insert_before(root.value[0][0], lines)
            else:
                self._add_to_clouds(editor, *clouds, name, entry)

    @contextlib.contextmanager
    def _editing(self) -> collections.abc.Iterator[yaml_edit.Editor]:
        """Make the edits of a block, and read the result.

        :raises RehearsalError: The file cannot be edited.
        """
        editor = yaml_edit.Editor(self.text)
        try:
            yield editor
        except yaml_edit.CannotEdit as exc:
            raise self._harm() from exc
        self.text = editor.apply()
        self._parse()

    @staticmethod
    def _with_clouds(name: str, entry: typing.Any) -> str:
        lines = yaml_edit.dump({'clouds': {name: entry}})
        return lines.replace('clouds:', f'clouds:{_CLOUDS_ADDED}', 1)

    def _add_to_clouds(
        self,
        editor: yaml_edit.Editor,
        key: yaml.Node,
        node: yaml.Node,
        name: str,
        entry: typing.Any,
    ) -> None:
        if yaml_edit.is_alias(key, node):
            raise self._harm()
        lines = yaml_edit.dump({name: entry})
        if isinstance(node, yaml.ScalarNode):
            if node.value:
                # So that ~ is a comment.
                start = node.start_mark.index
                editor.replace(start, start, _NULL)
            first, newline, more = lines.partition('\n')
            editor.insert_lines(
                editor.line_end(key.end_mark.index),
                f'{first}{_WAS_EMPTY}{newline}{more}',
                key.start_mark.column + yaml_edit.INDENT,
            )
        elif node.flow_style:
            self._add_to_flow(editor, node, name, entry)
        else:
            editor.insert_before(node.value[0][0], lines)

    def _add_to_flow(
        self,
        editor: yaml_edit.Editor,
        node: yaml.MappingNode,
        name: str,
        entry: typing.Any,
    ) -> None:
        if node is not self._root:
            editor.insert_into_flow(
                node, f'{json.dumps(name)}: {json.dumps(entry)}'
            )
            return
        clouds = _pair(node, 'clouds')
        if clouds is None:
            # Its compact form marks it as added here.
            editor.insert_into_flow(node, _compact({'clouds': {name: entry}}))
        elif isinstance(clouds[1], yaml.ScalarNode):
            # {clouds: null}
            raise self._harm()
        else:
            self._add_to_clouds(editor, *clouds, name, entry)

    def remove(self, name: str) -> None:
        """Remove an entry, and what was added with it."""
        root = self._root
        clouds = None if root is None else _pair(root, 'clouds')
        entry = None if clouds is None else _pair(clouds[1], name)
        if root is None or clouds is None or entry is None:
            return
        with self._editing() as editor:
            if yaml_edit.is_alias(*clouds):
                raise self._harm()
            if clouds[1].flow_style:
                self._remove_from_flow(editor, root, clouds, entry)
            elif len(clouds[1].value) > 1:
                editor.remove_lines(*entry)
            else:
                self._remove_last(editor, clouds, entry)

    def _remove_from_flow(
        self,
        editor: yaml_edit.Editor,
        root: yaml.MappingNode,
        clouds: _Pair,
        entry: _Pair,
    ) -> None:
        key, node = clouds
        if len(node.value) == 1 and root.flow_style:
            text = self.text[key.start_mark.index : node.end_mark.index]
            if text == _compact({'clouds': yaml_file.construct(node)}):
                # "clouds" was added with its first entry.
                editor.remove_from_flow(root, *clouds)
                return
        editor.remove_from_flow(node, *entry)

    def _remove_last(
        self, editor: yaml_edit.Editor, clouds: _Pair, entry: _Pair
    ) -> None:
        """Remove the only entry of a block."""
        key, node = clouds
        head = self.text[key.end_mark.index : node.start_mark.index]
        first = self._line_at(entry[0].end_mark.index)
        if head.startswith(f':{_CLOUDS_ADDED}'):
            editor.remove_lines(key, entry[1])
            return
        editor.remove_lines(*entry)
        if head.lstrip(': ').startswith(_NULL):
            start = self.text.index(_NULL, key.end_mark.index)
            editor.replace(start, start + len(_NULL), '')
        if _WAS_EMPTY not in first:
            # Without a value "clouds" would be null.
            end = self.text.index(':', key.end_mark.index) + 1
            editor.replace(end, end, ' {}')

    def _line_at(self, index: int) -> str:
        end = self.text.find('\n', index)
        return self.text[index : len(self.text) if end < 0 else end]

    def _harm(self) -> exceptions.RehearsalError:
        return exceptions.RehearsalError(
            f'{self._file} cannot be edited safely and was not changed'
        )


def _compact(data: dict[str, typing.Any]) -> str:
    return json.dumps(data, separators=(',', ':'))[1:-1]


def _pair(node: typing.Any, name: str) -> _Pair | None:
    """Return the nodes of a key of a mapping and of its value."""
    pairs = node.value if isinstance(node, yaml.MappingNode) else ()
    for key, value in pairs:
        if isinstance(key, yaml.ScalarNode) and key.value == name:
            return key, value
    return None


def _read(file: str) -> _Document:
    """Return a file; an empty document where it does not exist."""
    try:
        content = atomic.read(file) if os.path.lexists(file) else b''
        return _Document(file, atomic.decode(file, content))
    except exceptions.DocumentError as exc:
        raise exceptions.RehearsalError(str(exc)) from exc


def _replace(file: str, old: str, new: str) -> bool:
    """Write a file unless it has changed; return whether it was written."""
    try:
        if os.path.lexists(file):
            atomic.replace(file, old.encode(), new.encode())
        else:
            # So that no other user can read the passwords.
            atomic.create(file, new.encode(), 0o600, folders=0o700)
    except exceptions.DocumentChanged:
        return False
    except exceptions.DocumentError as exc:
        raise exceptions.RehearsalError(str(exc)) from exc
    return True
