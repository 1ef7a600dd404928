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

"""Edit YAML in its text: every byte outside an edit stays.

YAML is parsed to find positions only; an :class:`Editor` then replaces,
inserts and removes ranges of the text. What a file must contain is in
:mod:`gpuclient.documents.yaml_merge`.
"""

import collections.abc
import dataclasses
import re
import typing

import yaml

from gpuclient.documents import nova_conf

#: Columns that :func:`dump` indents by.
INDENT = 2


class CannotEdit(Exception):
    """A value is written in a way that cannot be edited in place."""


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]
    """Writes YAML in the style of the repositories of RHOSO."""

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
# Text that PyYAML writes without quotes, but other readers take for a number
# or a boolean: 08 is 8 in YAML 1.2, and y is true in YAML 1.1.
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
    """Return data as YAML in block style, in the order of its keys."""
    return _dump(data, default_flow_style=False, sort_keys=False)


def dump_flow(data: typing.Any) -> str:
    """Return data as YAML on one line."""
    return _dump(data, default_flow_style=True).rstrip('\n')


def dump_scalar(value: typing.Any, quotes: str | None = None) -> str:
    """Return a scalar as it stands after a key.

    :param quotes: Style of a string on one line: ``'`` or ``"``.
    """
    if quotes and isinstance(value, str) and '\n' not in value:
        return _dump(value, default_style=quotes)
    return _dump({'x': value}, default_flow_style=False).removeprefix('x: ')


def _dump(data: typing.Any, **style: typing.Any) -> str:
    return str(yaml.dump(data, Dumper=_Dumper, width=10**6, **style))


@dataclasses.dataclass(frozen=True)
class Block:
    """The lines of a block scalar (``|``)."""

    #: Index of the first line, and of the line after the last one.
    start: int
    end: int
    #: Blanks before each line; empty if the block has no text.
    indent: str

    @classmethod
    def below(
        cls, lines: collections.abc.Sequence[str], header: int, column: int
    ) -> 'Block':
        """Find the block below a key.

        :param header: Index of the line with the key.
        :param column: Column of the key.
        """
        start = end = header + 1
        indent = ''
        for index in range(start, len(lines)):
            line = lines[index]
            if not line.strip():
                continue
            blanks = len(line) - len(line.lstrip(' '))
            if not indent:
                if blanks <= column:
                    break
                indent = ' ' * blanks
            if not line.startswith(indent):
                break
            end = index + 1
        return cls(start, end, indent)

    def text(self, lines: collections.abc.Sequence[str]) -> str:
        """Return the text of the scalar."""
        return ''.join(
            line[len(self.indent) :] if line.strip() else line.lstrip(' ')
            for line in lines[self.start : self.end]
        )


def indented(lines: collections.abc.Iterable[str], column: int) -> list[str]:
    """Return lines with blanks before each that is not blank."""
    return [' ' * column + line if line.strip() else line for line in lines]


class Editor:
    """Edits of one text, made at once by :meth:`apply`.

    Positions are those of the text before all edits.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._edits: list[tuple[int, int, str]] = []

    def apply(self) -> str:
        """Return the text with the edits."""
        text = self.text
        ending = '\r\n' if '\r\n' in text else '\n'
        # From the end, so that the other positions stay valid; of two edits
        # at one position, the later one comes second in the text.
        for _number, (start, end, new) in sorted(
            enumerate(self._edits),
            key=lambda edit: (*edit[1][:2], edit[0]),
            reverse=True,
        ):
            new = new.replace('\n', ending)
            if start == len(text) and self._lacks_last_end(text):
                new = ending + new.removesuffix(ending)
            text = text[:start] + new + text[end:]
        return text

    @staticmethod
    def _lacks_last_end(text: str) -> bool:
        return bool(text.strip('\ufeff')) and not text.endswith('\n')

    def replace(self, start: int, end: int, new: str) -> None:
        """Replace a range of the text."""
        self._edits.append((start, end, new))

    def insert_lines(self, position: int, text: str, column: int) -> None:
        """Insert whole lines at the start of a line, or at the end."""
        lines = indented(nova_conf.split_lines(text), column)
        self._edits.append((position, position, ''.join(lines)))

    def insert_before(self, key: yaml.Node, text: str) -> None:
        """Insert lines above a key, in its column.

        :raises CannotEdit: The key is not the first in its line.
        """
        self.insert_lines(self._line_start(key), text, key.start_mark.column)

    def remove_lines(self, key: yaml.Node, value: yaml.Node) -> None:
        """Remove the lines of a key and its value.

        :raises CannotEdit: The key is not the first in its line.
        """
        start = self._line_start(key)
        newline = self.text.find('\n', end_of_entry(self.text, key, value))
        end = newline + 1
        if newline < 0:
            # The new last line has no end either.
            end = len(self.text)
            start -= self.text[:start].endswith('\n')
            start -= self.text[:start].endswith('\r')
        self._edits.append((start, end, ''))

    def insert_into_flow(self, node: yaml.MappingNode, entry: str) -> None:
        """Insert ``key: value`` as the first entry of a flow mapping."""
        start = self.text.index('{', node.start_mark.index) + 1
        self._edits.append((start, start, entry + (', ' * bool(node.value))))

    def remove_from_flow(
        self, node: yaml.MappingNode, key: yaml.Node, value: yaml.Node
    ) -> None:
        """Remove an entry of a flow mapping, with its comma."""
        start, end = key.start_mark.index, value.end_mark.index
        if len(node.value) > 1:
            if any(
                other.start_mark.index > start for other, _value in node.value
            ):
                end = self.text.index(',', end) + 1
                end += self.text.startswith(' ', end)
            else:
                start = self.text.rindex(',', 0, start)
        self._edits.append((start, end, ''))

    def replace_block(
        self, key: yaml.Node, node: yaml.Node, text: str
    ) -> None:
        """Replace the text of a block scalar (``|``), in its indentation."""
        first = self.line_end(node.start_mark.index)
        end = self.line_end(end_of_node(self.text, node))
        block = Block.below(
            nova_conf.split_lines(self.text[first:end]),
            -1,
            key.start_mark.column,
        )
        column = len(block.indent) or key.start_mark.column + INDENT
        lines = indented(nova_conf.split_lines(f'{text}\n'), column)
        self._edits.append((first, end, ''.join(lines)))

    def line_end(self, index: int) -> int:
        """Return where the next line begins."""
        newline = self.text.find('\n', index)
        return len(self.text) if newline < 0 else newline + 1

    def _line_start(self, key: yaml.Node) -> int:
        index: int = key.start_mark.index
        start = self.text.rfind('\n', 0, index) + 1
        before = self.text[start:index]
        if before.strip(' \ufeff'):
            raise CannotEdit('other text stands before the key')
        return start + before.startswith('\ufeff')


def end_of_entry(text: str, key: yaml.Node, value: yaml.Node) -> int:
    """Return the position after the last character of a key and its value."""
    if is_alias(key, value):
        return int(key.end_mark.index)
    return max(int(key.end_mark.index), end_of_node(text, value))


def is_alias(key: yaml.Node, value: yaml.Node) -> bool:
    """Return whether a value refers to an anchor above it."""
    return bool(value.start_mark.index < key.end_mark.index)


def end_of_node(text: str, node: yaml.Node) -> int:
    """Return the position after the last character of a node.

    The marks of the parser reach to the next token, across comments.

    :raises CannotEdit: The last part of a sequence is an alias.
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
        if is_alias(key, last):
            return int(key.end_mark.index)
    elif last.start_mark.index < start:
        raise CannotEdit('it refers to an anchor')
    return end_of_node(text, last)
