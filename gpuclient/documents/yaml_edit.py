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

"""Set keys of a YAML file in its text: every other byte stays.

YAML is only parsed to find where things stand, and again to see that nothing
but the keys that were asked for is another now.
"""

import abc
import collections.abc
import dataclasses
import difflib
import re
import typing

import yaml

from gpuclient.documents import jinja
from gpuclient.documents import nova_conf
from gpuclient.documents import yaml_file
from gpuclient import exceptions

_INDENT = 2


class Merge(abc.ABC):
    """A value that keeps a part of what is there."""

    @abc.abstractmethod
    def merged(self, old: typing.Any) -> typing.Any:
        """Return the new value.

        :param old: What is there; None where there is nothing.
        """


@dataclasses.dataclass(frozen=True)
class Object:
    """What one document of a file has to have."""

    api_version: str
    kind: str
    name: str
    #: Nested mappings; each leaf is data, or a :class:`Merge`. What a document
    #: has beside it stays.
    body: collections.abc.Mapping[str, typing.Any]
    #: Further keys of ``metadata``, for a document that is created.
    metadata: collections.abc.Mapping[str, typing.Any] = dataclasses.field(
        default_factory=dict
    )
    #: Lines to stand above a document that is created.
    comment: str = ''
    #: A file that has one document of the kind has this one, whatever its
    #: name is.
    alone: bool = False


@dataclasses.dataclass(frozen=True)
class Merged:
    """A text with what it has to have."""

    text: str
    #: Why it cannot have all of it; empty where it has.
    obstacle: str = ''
    #: What is left to do by hand then.
    patch: str = ''


class _Obstacle(Exception):
    """A place cannot be edited.

    :param wanted: What is wanted of it; None for all of the object.
    """

    def __init__(self, words: str, wanted: typing.Any = None) -> None:
        super().__init__(words)
        self.wanted = wanted


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]
    """Writes as the repositories of RHOSO are written."""

    def increase_indent(
        self, flow: bool = False, indentless: bool = False
    ) -> None:
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: typing.Any) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    style = '|' if '\n' in text else None
    return dumper.represent_scalar('tag:yaml.org,2002:str', text, style=style)


_Dumper.add_representer(str, _represent_text)
# What another reader takes for a number or a boolean, and PyYAML does not:
# YAML 1.2 has 08 for 8, and YAML 1.1 has y for true.
_Dumper.add_implicit_resolver(
    'tag:yaml.org,2002:float',
    re.compile(
        r'^(?:[-+]?(?:\.[0-9_]+|[0-9][0-9_]*(?:\.[0-9_]*)?)(?:[eE][-+]?[0-9]+)?'
        r'|[-+]?0[xXoObB][0-9a-fA-F_]+|[-+]?\.(?:inf|Inf|INF)'
        r'|\.(?:nan|NaN|NAN)|[yYnN])$'
    ),
    list('-+.0123456789yYnN'),
)


def dump(data: typing.Any) -> str:
    """Return data as YAML, in the order of its keys."""
    return str(
        yaml.dump(
            data,
            Dumper=_Dumper,
            default_flow_style=False,
            sort_keys=False,
            width=10**6,
        )
    )


def merge(
    path: str, text: str, objects: collections.abc.Iterable[Object]
) -> Merged:
    """Return a text with what objects have to have.

    :param path: For messages.
    :param text: Of the file as it is; empty for a new one.
    :raises gpuclient.exceptions.DocumentError: It is not YAML.
    """
    yaml_file.parse_all(path, text)
    mark = '\ufeff' if text.startswith('\ufeff') else ''
    body = text[len(mark) :]
    obstacles: list[tuple[str, typing.Any]] = []
    for found in objects:
        try:
            body = _merge_object(path, body, found)
        except _Obstacle as exc:
            wanted = exc.wanted
            if wanted is None:
                wanted = _overlaid({}, found.body)
            obstacles.append((str(exc), wanted))
    if not obstacles:
        return Merged(mark + body)
    return Merged(
        mark + body,
        f'Cannot edit {path} in place: {obstacles[0][0]}',
        ''.join(f'# {words}\n{dump(wanted)}' for words, wanted in obstacles),
    )


def _merge_object(path: str, text: str, wanted: Object) -> str:
    nodes = yaml_file.compose_all(path, text)
    node = _find(nodes, wanted)
    if node is None:
        return _append(text, _created(wanted))
    editor = _Editor(text)
    editor.mapping(node, wanted.body, ())
    edited = editor.apply()
    if edited != text:
        _verify(path, text, edited, nodes.index(node), wanted)
    return edited


def _verify(
    path: str, text: str, edited: str, index: int, wanted: Object
) -> None:
    """Make sure that nothing else has changed."""
    expected = yaml_file.parse_all(path, text)
    expected[index] = _overlaid(expected[index], wanted.body)
    try:
        same = _normal(yaml_file.parse_all(path, edited)) == _normal(expected)
    except exceptions.DocumentError:
        same = False
    if not same:
        raise _Obstacle('its layout is one that this tool does not know')


def _normal(value: typing.Any) -> typing.Any:
    """Return data without the line ends at the end of texts."""
    if isinstance(value, dict):
        return {key: _normal(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_normal(item) for item in value]
    return value.rstrip('\n') if isinstance(value, str) else value


def _overlaid(
    data: typing.Any, wanted: collections.abc.Mapping[str, typing.Any]
) -> dict[str, typing.Any]:
    """Return data with what is wanted of it."""
    found = dict(data) if isinstance(data, dict) else {}
    for key, value in wanted.items():
        old = found.get(key)
        if isinstance(value, Merge):
            found[key] = value.merged(old)
        elif isinstance(value, collections.abc.Mapping):
            found[key] = _overlaid(old, value)
        else:
            found[key] = value
    return found


def _find(nodes: list[typing.Any], wanted: Object) -> yaml.MappingNode | None:
    same_kind = []
    for node in nodes:
        if not isinstance(node, yaml.MappingNode):
            continue
        if _scalar(node, 'kind') != wanted.kind:
            continue
        same_kind.append(node)
        metadata = _value(node, 'metadata')
        if (
            isinstance(metadata, yaml.MappingNode)
            and _scalar(metadata, 'name') == wanted.name
        ):
            return node
    return same_kind[0] if wanted.alone and len(same_kind) == 1 else None


def _value(node: yaml.MappingNode, name: str) -> yaml.Node | None:
    for key, value in node.value:
        if isinstance(key, yaml.ScalarNode) and key.value == name:
            return value
    return None


def _scalar(node: yaml.MappingNode, name: str) -> str | None:
    value = _value(node, name)
    return value.value if isinstance(value, yaml.ScalarNode) else None


def _created(wanted: Object) -> str:
    return (
        wanted.comment
        + '---\n'
        + dump(
            {
                'apiVersion': wanted.api_version,
                'kind': wanted.kind,
                'metadata': {'name': wanted.name, **wanted.metadata},
                **_overlaid({}, wanted.body),
            }
        )
    )


def _append(text: str, document: str) -> str:
    if text and not text.endswith('\n'):
        text += '\n'
    return text + document


class _Editor:
    """Edits of one text, found in one pass."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._edits: list[tuple[int, int, str]] = []

    def apply(self) -> str:
        """Return the text with the edits."""
        text = self._text
        ending = '\r\n' if '\r\n' in text else '\n'
        # From the end, so that the places of the others stay; of two at one
        # place, the one that was found later stands after the other.
        for _number, (start, end, new) in sorted(
            enumerate(self._edits),
            key=lambda edit: (*edit[1][:2], edit[0]),
            reverse=True,
        ):
            new = new.replace('\n', ending)
            if start == len(text) and text and not text.endswith('\n'):
                new = ending + new.removesuffix(ending)
            text = text[:start] + new + text[end:]
        return text

    def mapping(
        self,
        node: yaml.MappingNode,
        wanted: collections.abc.Mapping[str, typing.Any],
        keys: tuple[str, ...],
    ) -> None:
        """Find the edits that give a mapping what it has to have."""
        present = {
            key.value: (key, value)
            for key, value in node.value
            if isinstance(key, yaml.ScalarNode)
        }
        missing = {}
        for name, value in wanted.items():
            if name in present:
                self._present(*present[name], value, (*keys, name))
            else:
                missing[name] = value
        if not missing:
            return
        data = _overlaid({}, missing)
        if node.flow_style or not node.value:
            raise _Obstacle(
                '{} is not written with a key on each line'.format(
                    '.'.join(keys)
                ),
                data,
            )
        column = node.value[0][0].start_mark.column
        self._insert(self._line_end(self._end_of(node)), data, column)

    def _present(
        self,
        key: yaml.ScalarNode,
        node: yaml.Node,
        wanted: typing.Any,
        keys: tuple[str, ...],
    ) -> None:
        where = '.'.join(keys)
        old = yaml_file.construct(node)
        if isinstance(wanted, collections.abc.Mapping):
            new = _overlaid(old, wanted)
        elif isinstance(wanted, Merge):
            new = wanted.merged(old)
        else:
            new = wanted
        if _normal(new) == _normal(old) and type(new) is type(old):
            return
        if isinstance(wanted, Merge) and isinstance(old, str):
            if jinja.is_template(old):
                raise _Obstacle(f'{where} is a template', new)
        start = node.start_mark.index
        if start < key.end_mark.index or self._text[start : start + 1] in (
            '&',
            '!',
            '*',
        ):
            raise _Obstacle(f'{where} has an anchor, or refers to one', new)
        if old in (None, {}, []):
            self._fill(key, node, new)
        elif isinstance(old, dict) and isinstance(new, dict):
            if not isinstance(wanted, collections.abc.Mapping):
                wanted = new
            self.mapping(node, wanted, keys)
        elif isinstance(old, list) and isinstance(new, list):
            self._list(node, old, new, keys)
        elif isinstance(old, (dict, list)) or isinstance(new, (dict, list)):
            raise _Obstacle(f'{where} is of another type', new)
        else:
            self._replace(key, node, new, where)

    def _fill(
        self, key: yaml.ScalarNode, node: yaml.Node, new: typing.Any
    ) -> None:
        """Write a value where there is none, or an empty one."""
        colon = self._text.index(':', key.end_mark.index)
        end = max(node.end_mark.index, colon + 1)
        if isinstance(node, yaml.ScalarNode) and not node.value:
            end = colon + 1
        if isinstance(new, (dict, list)):
            self._edits.append((colon + 1, end, ''))
            column = key.start_mark.column + _INDENT
            self._insert(self._line_end(end), new, column)
        else:
            self._write(colon + 1, end, ' ', key.start_mark.column, new)

    def _write(
        self,
        start: int,
        end: int,
        blank: str,
        column: int,
        new: typing.Any,
        style: str | None = None,
    ) -> None:
        """Write a scalar in place of a part of a line.

        :param style: The quotes of a text of one line.
        """
        text = dump({'x': new})
        if style is not None and isinstance(new, str) and '\n' not in new:
            text = 'x: ' + yaml.dump(
                new, Dumper=_Dumper, default_style=style, width=10**6
            )
        first, *rest = text.splitlines(keepends=True)
        self._edits.append(
            (start, end, blank + first.removeprefix('x: ').rstrip('\n'))
        )
        if rest:
            self._edits.append(
                (
                    self._line_end(end),
                    self._line_end(end),
                    ''.join(_indented(line, column) for line in rest),
                )
            )

    def _replace(
        self,
        key: yaml.ScalarNode,
        node: yaml.Node,
        new: typing.Any,
        where: str,
    ) -> None:
        """Write a scalar in place of another."""
        start, end = node.start_mark.index, self._end_of(node)
        is_block = isinstance(new, str) and '\n' in new
        if node.style == '|' and is_block:
            first = self._line_end(start)
            line = self._text[first : self._line_end(first)]
            column = len(line) - len(line.lstrip(' '))
            if first >= end:
                column = key.start_mark.column + _INDENT
            lines = nova_conf.split_lines(new.rstrip('\n') + '\n')
            self._edits.append(
                (
                    first,
                    self._line_end(end),
                    ''.join(_indented(line, column) for line in lines),
                )
            )
        elif node.style in ('|', '>') and is_block:
            raise _Obstacle(f'{where} is folded (">")', new)
        else:
            style = node.style if node.style in ('"', "'") else None
            self._write(start, end, '', key.start_mark.column, new, style)

    def _list(
        self,
        node: yaml.SequenceNode,
        old: list[typing.Any],
        new: list[typing.Any],
        keys: tuple[str, ...],
    ) -> None:
        where = '.'.join(keys)
        if node.flow_style:
            present = self._text[node.start_mark.index : node.end_mark.index]
            if '#' in present and '\n' in present:
                raise _Obstacle(f'{where} has comments', new)
            text = yaml.dump(
                new, Dumper=_Dumper, default_flow_style=True, width=10**6
            )
            self._edits.append(
                (node.start_mark.index, node.end_mark.index, text.rstrip('\n'))
            )
        else:
            self._items(node, old, new, keys)

    def _items(
        self,
        node: yaml.SequenceNode,
        old: list[typing.Any],
        new: list[typing.Any],
        keys: tuple[str, ...],
    ) -> None:
        """Edit a list item by item: comments, and other items, stay."""
        starts = [
            self._text.rfind('\n', 0, item.start_mark.index) + 1
            for item in node.value
        ]
        starts.append(self._line_end(self._end_of(node)))
        column = node.start_mark.column
        matcher = difflib.SequenceMatcher(
            None, list(map(_identity, old)), list(map(_identity, new)), False
        )
        for tag, i1, i2, j1, j2 in matcher.get_opcodes():
            if tag == 'equal':
                for i, j in zip(range(i1, i2), range(j1, j2), strict=True):
                    if _normal(old[i]) != _normal(new[j]):
                        self._item(node.value[i], starts[i], new[j], keys)
                continue
            for number in range(i1, i2):
                self._edits.append(
                    (
                        starts[number],
                        self._line_end(self._end_of(node.value[number])),
                        '',
                    )
                )
            if j1 != j2:
                self._insert(starts[i1], new[j1:j2], column)

    def _item(
        self,
        node: yaml.Node,
        start: int,
        new: typing.Any,
        keys: tuple[str, ...],
    ) -> None:
        """Edit an item that is a mapping, of which keys are another now."""
        here = (*keys, '[]')
        if node.start_mark.index < start:
            raise _Obstacle(
                '{} refers to an anchor'.format('.'.join(here)), new
            )
        if not isinstance(node, yaml.MappingNode) or not isinstance(new, dict):
            raise _Obstacle(
                '{} is of another type'.format('.'.join(here)), new
            )
        present = {key.value for key, _value in node.value}
        if not present <= set(new):
            raise _Obstacle('{} has keys that go'.format('.'.join(here)), new)
        self.mapping(node, new, here)

    def _insert(self, position: int, data: typing.Any, column: int) -> None:
        text = ''.join(
            _indented(line, column)
            for line in dump(data).splitlines(keepends=True)
        )
        self._edits.append((position, position, text))

    def _line_end(self, index: int) -> int:
        """Return where the line after the one of an index begins."""
        found = self._text.find('\n', index)
        return len(self._text) if found < 0 else found + 1

    def _end_of(self, node: yaml.Node) -> int:
        return _end_of(self._text, node)


def end_of(text: str, key: yaml.Node, value: yaml.Node) -> int:
    """Return where the last character of a key with its value is."""
    if value.start_mark.index < key.end_mark.index:
        # A reference to an anchor.
        found: int = key.end_mark.index
        return found
    return max(int(key.end_mark.index), _end_of(text, value))


def _end_of(text: str, node: yaml.Node) -> int:
    """Return where the last character of a node is.

    The marks of the parser reach to the next token, over comments.
    """
    start: int = node.start_mark.index
    end: int = node.end_mark.index
    if isinstance(node, yaml.ScalarNode):
        return start + len(text[start:end].rstrip())
    if node.flow_style or not node.value:
        return end
    last = node.value[-1]
    if isinstance(node, yaml.MappingNode):
        key, last = last
        if last.start_mark.index < key.end_mark.index:
            # A reference to an anchor.
            found: int = key.end_mark.index
            return found
    elif last.start_mark.index < start:
        raise _Obstacle('it refers to an anchor')
    return _end_of(text, last)


def _identity(item: typing.Any) -> str:
    """Return what an item is known by, whatever else is in it."""
    if isinstance(item, dict) and isinstance(item.get('name'), str):
        return f'name: {item["name"]}'
    return repr(_normal(item))


def _indented(line: str, column: int) -> str:
    return ' ' * column + line if line.strip() else line
