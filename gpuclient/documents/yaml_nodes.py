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

"""Find values among the nodes of composed YAML.

Nodes have positions, data does not: every value that is read from a file of a
deployment tool is reported with its line.
"""

import collections.abc
import typing

import yaml

from gpuclient import exceptions

#: Limits for data; the values of deployment tools are far smaller.
_MAX_DEPTH = 12
_MAX_NODES = 2000
_TAG = 'tag:yaml.org,2002:'

Pairs: typing.TypeAlias = collections.abc.Iterator[tuple[str, yaml.Node]]


def pairs(node: yaml.Node | None) -> Pairs:
    """Yield the keys and values of a mapping; merged ones (``<<``) first."""
    return _pairs(node, 0, [_MAX_NODES])


def _pairs(node: yaml.Node | None, depth: int, budget: list[int]) -> Pairs:
    """Yield keys and values.

    :param budget: How many more mappings may be merged, in one item.
    """
    budget[0] -= 1
    if (
        not isinstance(node, yaml.MappingNode)
        or depth > _MAX_DEPTH
        or budget[0] < 0
    ):
        return
    for key, value in node.value:
        if key.tag == f'{_TAG}merge':
            merged = (
                reversed(value.value)
                if isinstance(value, yaml.SequenceNode)
                else [value]
            )
            for mapping in merged:
                yield from _pairs(mapping, depth + 1, budget)
    for key, value in node.value:
        if isinstance(key, yaml.ScalarNode) and key.tag != f'{_TAG}merge':
            yield str(key.value), value


def below(node: yaml.Node | None, *keys: str) -> yaml.Node | None:
    """Return the value at a path of keys; None if there is none.

    Of duplicate keys the last counts.
    """
    for key in keys:
        node = dict(pairs(node)).get(key)
    return node


def items(node: yaml.Node | None) -> list[yaml.Node]:
    """Return the items of a sequence; none if it is not a sequence."""
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def text(node: yaml.Node | None, *keys: str) -> str:
    """Return a scalar as it is written; empty if there is none."""
    value = below(node, *keys)
    return str(value.value) if isinstance(value, yaml.ScalarNode) else ''


def is_null(node: yaml.Node) -> bool:
    """Return whether a value is null."""
    return bool(node.tag == f'{_TAG}null')


def data(
    path: str, node: yaml.Node, *, keep_numbers: bool = False
) -> typing.Any:
    """Return the data of a node.

    :param path: Path of the file, for messages.
    :param keep_numbers: Return numbers as the text that is in the file.
    :raises gpuclient.exceptions.DocumentError: It has too many parts, for
        example because it refers to itself.
    """
    construct = _as_written if keep_numbers else _constructed
    budget = [_MAX_NODES]

    def convert(node: yaml.Node, depth: int) -> typing.Any:
        budget[0] -= 1
        if depth > _MAX_DEPTH or budget[0] < 0:
            raise exceptions.DocumentError(
                f'Cannot read {path}, line {line(node)}: the value has too '
                'many parts',
                line(node),
            )
        if isinstance(node, yaml.MappingNode):
            return {
                key: convert(value, depth + 1) for key, value in pairs(node)
            }
        if isinstance(node, yaml.SequenceNode):
            return [convert(item, depth + 1) for item in node.value]
        return construct(node)

    return convert(node, 0)


def _constructed(node: yaml.ScalarNode) -> typing.Any:
    loader = yaml.SafeLoader('')
    try:
        value = loader.construct_object(node)
    except (yaml.YAMLError, ValueError, OverflowError, LookupError):
        # A tag of the tool, such as !vault.
        return str(node.value)
    finally:
        loader.dispose()
    if value is None or isinstance(value, (bool, int, float)):
        return value
    # Dates stay text.
    return str(node.value)


def _as_written(node: yaml.ScalarNode) -> typing.Any:
    if node.tag == f'{_TAG}bool':
        return node.value.lower() in ('yes', 'true', 'on')
    return None if is_null(node) else node.value


def line(node: yaml.Node) -> int:
    """Return the line that a node begins on, from 1."""
    return int(node.start_mark.line) + 1


def line_of_text(node: yaml.Node) -> int:
    """Return the line that the text of a scalar begins on, from 1."""
    block = isinstance(node, yaml.ScalarNode) and node.style in ('|', '>')
    return line(node) + int(block)


def item_lines(node: yaml.Node, count: int) -> list[int]:
    """Return the line of each item of a sequence.

    :param count: Number of values; if the sequence has another number of
        items, all values get the line of the sequence.
    """
    numbers = [line(item) for item in items(node)]
    return numbers if len(numbers) == count else [line(node)] * count
