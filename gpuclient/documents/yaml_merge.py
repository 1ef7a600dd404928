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

"""Merge what a YAML file must contain into its text, in place.

Comments, order and layout of everything else stay. After each edit the text is
parsed again, to make sure that nothing else has changed.
"""

import abc
import collections.abc
import dataclasses
import difflib
import typing

import yaml

from gpuclient.documents import jinja
from gpuclient.documents import yaml_edit
from gpuclient.documents import yaml_file
from gpuclient import exceptions

Keys: typing.TypeAlias = tuple[str, ...]


class Merge(abc.ABC):
    """A value that keeps a part of the present value."""

    @abc.abstractmethod
    def merged(self, old: typing.Any) -> typing.Any:
        """Return the new value.

        :param old: The present value; None if there is none.
        """


@dataclasses.dataclass(frozen=True)
class KubernetesObject:
    """What one document of a file must contain."""

    api_version: str
    kind: str
    name: str
    #: Nested mappings; each leaf is data, or a :class:`Merge`. All other keys
    #: of the document stay.
    body: collections.abc.Mapping[str, typing.Any]
    #: Further keys of ``metadata``, for a document that is created.
    metadata: collections.abc.Mapping[str, typing.Any] = dataclasses.field(
        default_factory=dict
    )
    #: Comment lines above a document that is created.
    comment: str = ''
    #: If a file has one document of the kind, it is this one, regardless of
    #: its name.
    alone: bool = False


@dataclasses.dataclass(frozen=True)
class MergeResult:
    """A text, merged as far as possible."""

    text: str
    #: Why a part could not be merged; empty if all of it was.
    obstacle: str = ''
    #: That part, to be merged by hand.
    patch: str = ''


class _Obstacle(Exception):
    """A value cannot be edited in place.

    :param wanted: The value that it should have; None for the whole object.
    """

    def __init__(self, reason: str, wanted: typing.Any = None) -> None:
        super().__init__(reason)
        self.wanted = wanted


def merge(
    path: str, text: str, objects: collections.abc.Iterable[KubernetesObject]
) -> MergeResult:
    """Merge objects into a text.

    :param path: Path of the file, for messages.
    :param text: Present text of the file; empty for a new one.
    :raises gpuclient.exceptions.DocumentError: It is not YAML.
    """
    yaml_file.parse_all(path, text)
    mark = '\ufeff' if text.startswith('\ufeff') else ''
    body = text[len(mark) :]
    obstacles: list[tuple[str, typing.Any]] = []
    for wanted in objects:
        try:
            body = _merge_object(path, body, wanted)
        except yaml_edit.CannotEdit as exc:
            obstacles.append((str(exc), _overlaid({}, wanted.body)))
        except _Obstacle as exc:
            value = exc.wanted
            if value is None:
                value = _overlaid({}, wanted.body)
            obstacles.append((str(exc), value))
    if not obstacles:
        return MergeResult(mark + body)
    return MergeResult(
        mark + body,
        f'Cannot edit {path} in place: {obstacles[0][0]}',
        ''.join(
            f'# {reason}\n{yaml_edit.dump(value)}'
            for reason, value in obstacles
        ),
    )


def _merge_object(path: str, text: str, wanted: KubernetesObject) -> str:
    nodes = yaml_file.compose_all(path, text)
    node = _find(nodes, wanted)
    if node is None:
        return _append(text, _created(wanted))
    merger = _Merger(text)
    merger.mapping(node, wanted.body, ())
    edited = merger.editor.apply()
    if edited != text:
        _verify(path, text, edited, nodes.index(node), wanted)
    return edited


def _verify(
    path: str, text: str, edited: str, index: int, wanted: KubernetesObject
) -> None:
    """Make sure that nothing else has changed."""
    expected = yaml_file.parse_all(path, text)
    expected[index] = _overlaid(expected[index], wanted.body)
    try:
        same = _normalized(yaml_file.parse_all(path, edited)) == _normalized(
            expected
        )
    except exceptions.DocumentError:
        same = False
    if not same:
        raise _Obstacle('its layout is not supported')


def _normalized(value: typing.Any) -> typing.Any:
    """Return data without line ends at the end of strings."""
    if isinstance(value, dict):
        return {key: _normalized(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_normalized(item) for item in value]
    return value.rstrip('\n') if isinstance(value, str) else value


def _overlaid(
    data: typing.Any, wanted: collections.abc.Mapping[str, typing.Any]
) -> dict[str, typing.Any]:
    """Return data with the wanted values merged into it."""
    result = dict(data) if isinstance(data, dict) else {}
    for key, value in wanted.items():
        old = result.get(key)
        if isinstance(value, Merge):
            result[key] = value.merged(old)
        elif isinstance(value, collections.abc.Mapping):
            result[key] = _overlaid(old, value)
        else:
            result[key] = value
    return result


def _find(
    nodes: list[typing.Any], wanted: KubernetesObject
) -> yaml.MappingNode | None:
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


def _created(wanted: KubernetesObject) -> str:
    return (
        wanted.comment
        + '---\n'
        + yaml_edit.dump(
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


class _Merger:
    """Finds the edits that give nodes of a text their wanted values."""

    def __init__(self, text: str) -> None:
        self._text = text
        self.editor = yaml_edit.Editor(text)

    def mapping(
        self,
        node: yaml.MappingNode,
        wanted: collections.abc.Mapping[str, typing.Any],
        keys: Keys,
    ) -> None:
        """Find the edits that merge values into a mapping."""
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
                f'{_name(keys)} is not written with one key on each line',
                data,
            )
        column = node.value[0][0].start_mark.column
        self._insert(self._end_of_lines(node), data, column)

    def _present(
        self,
        key: yaml.ScalarNode,
        node: yaml.Node,
        wanted: typing.Any,
        keys: Keys,
    ) -> None:
        """Find the edits for a key that is there already."""
        old = yaml_file.construct(node)
        if isinstance(wanted, collections.abc.Mapping):
            new = _overlaid(old, wanted)
        elif isinstance(wanted, Merge):
            new = wanted.merged(old)
        else:
            new = wanted
        if _normalized(new) == _normalized(old) and type(new) is type(old):
            return
        if isinstance(wanted, Merge) and isinstance(old, str):
            if jinja.is_template(old):
                raise _Obstacle(f'{_name(keys)} is a template', new)
        start = node.start_mark.index
        if yaml_edit.is_alias(key, node) or (
            self._text[start : start + 1] in ('&', '!', '*')
        ):
            raise _Obstacle(
                f'{_name(keys)} has an anchor or refers to one', new
            )
        if old in (None, {}, []):
            self._fill(key, node, new)
        elif isinstance(old, dict) and isinstance(new, dict):
            if not isinstance(wanted, collections.abc.Mapping):
                wanted = new
            self.mapping(node, wanted, keys)
        elif isinstance(old, list) and isinstance(new, list):
            self._list(node, old, new, keys)
        elif isinstance(old, (dict, list)) or isinstance(new, (dict, list)):
            raise _Obstacle(f'{_name(keys)} has another type', new)
        else:
            self._replace(key, node, new, keys)

    def _fill(
        self, key: yaml.ScalarNode, node: yaml.Node, new: typing.Any
    ) -> None:
        """Write a value where there is none, or an empty one."""
        colon = self._text.index(':', key.end_mark.index)
        end = max(node.end_mark.index, colon + 1)
        if isinstance(node, yaml.ScalarNode) and not node.value:
            end = colon + 1
        if isinstance(new, (dict, list)):
            self.editor.replace(colon + 1, end, '')
            column = key.start_mark.column + yaml_edit.INDENT
            self._insert(self.editor.line_end(end), new, column)
        else:
            self._write(colon + 1, end, yaml_edit.dump_scalar(new), key, ' ')

    def _write(
        self,
        start: int,
        end: int,
        scalar: str,
        key: yaml.ScalarNode,
        blank: str = '',
    ) -> None:
        """Write a scalar over a range; its further lines below the line."""
        first, _newline, rest = scalar.partition('\n')
        self.editor.replace(start, end, blank + first)
        if rest:
            self.editor.insert_lines(
                self.editor.line_end(end), rest, key.start_mark.column
            )

    def _replace(
        self,
        key: yaml.ScalarNode,
        node: yaml.Node,
        new: typing.Any,
        keys: Keys,
    ) -> None:
        """Replace a scalar by another."""
        is_block = isinstance(new, str) and '\n' in new
        if node.style == '|' and is_block:
            self.editor.replace_block(key, node, new.rstrip('\n'))
        elif node.style == '>' and is_block:
            raise _Obstacle(f'{_name(keys)} is folded (">")', new)
        else:
            quotes = node.style if node.style in ('"', "'") else None
            self._write(
                node.start_mark.index,
                yaml_edit.end_of_node(self._text, node),
                yaml_edit.dump_scalar(new, quotes),
                key,
            )

    def _list(
        self,
        node: yaml.SequenceNode,
        old: list[typing.Any],
        new: list[typing.Any],
        keys: Keys,
    ) -> None:
        if not node.flow_style:
            self._items(node, old, new, keys)
            return
        start, end = node.start_mark.index, node.end_mark.index
        present = self._text[start:end]
        if '#' in present and '\n' in present:
            raise _Obstacle(f'{_name(keys)} has comments', new)
        self.editor.replace(start, end, yaml_edit.dump_flow(new))

    def _items(
        self,
        node: yaml.SequenceNode,
        old: list[typing.Any],
        new: list[typing.Any],
        keys: Keys,
    ) -> None:
        """Edit a list item by item: comments, and other items, stay."""
        starts = [
            self._text.rfind('\n', 0, item.start_mark.index) + 1
            for item in node.value
        ]
        starts.append(self._end_of_lines(node))
        matcher = difflib.SequenceMatcher(
            None, list(map(_identity, old)), list(map(_identity, new)), False
        )
        for tag, i1, i2, j1, j2 in matcher.get_opcodes():
            if tag == 'equal':
                for i, j in zip(range(i1, i2), range(j1, j2), strict=True):
                    if _normalized(old[i]) != _normalized(new[j]):
                        self._item(node.value[i], starts[i], new[j], keys)
                continue
            for item, start in zip(
                node.value[i1:i2], starts[i1:i2], strict=True
            ):
                self.editor.replace(start, self._end_of_lines(item), '')
            if j1 != j2:
                self._insert(starts[i1], new[j1:j2], node.start_mark.column)

    def _item(
        self, node: yaml.Node, start: int, new: typing.Any, keys: Keys
    ) -> None:
        """Edit an item that is a mapping, some keys of which change."""
        keys = (*keys, '[]')
        if node.start_mark.index < start:
            raise _Obstacle(f'{_name(keys)} refers to an anchor', new)
        if not isinstance(node, yaml.MappingNode) or not isinstance(new, dict):
            raise _Obstacle(f'{_name(keys)} has another type', new)
        present = {key.value for key, _value in node.value}
        if not present <= set(new):
            raise _Obstacle(f'{_name(keys)} has keys to be removed', new)
        self.mapping(node, new, keys)

    def _insert(self, position: int, data: typing.Any, column: int) -> None:
        self.editor.insert_lines(position, yaml_edit.dump(data), column)

    def _end_of_lines(self, node: yaml.Node) -> int:
        """Return where the line after the last line of a node begins."""
        return self.editor.line_end(yaml_edit.end_of_node(self._text, node))


def _name(keys: Keys) -> str:
    return '.'.join(keys)


def _identity(item: typing.Any) -> str:
    """Return the text by which an item is found again."""
    if isinstance(item, dict) and isinstance(item.get('name'), str):
        return f'name: {item["name"]}'
    return repr(_normalized(item))
