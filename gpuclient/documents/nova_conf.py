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

"""A plain ``nova.conf``: read as oslo.config does, edited in place.

Every byte outside an edit stays as it is: comments, order, blank lines, line
ends, a byte order mark, duplicate sections.
"""

import codecs
import collections.abc
import dataclasses
import functools
import io
import os
import re
import typing

from oslo_config import iniparser

from gpuclient.documents import diffs
from gpuclient.documents import editable
from gpuclient.documents import jinja
from gpuclient import exceptions
from gpuclient.files import atomic
from gpuclient.model import nova_options
from gpuclient.model import nova_schema
from gpuclient.model import quoting


Value: typing.TypeAlias = editable.Value


@functools.cache
def _known_beginning() -> re.Pattern[str]:
    """Return a pattern of what can be shown of an invalid line."""
    names = {
        'DEFAULT',
        'pci_alias',
        'pci_passthrough_whitelist',
        *nova_options.SECTIONS,
    }
    for section in nova_options.SECTIONS:
        names |= nova_schema.names(section)
    return re.compile(
        rf'(?:\[[ \t]*)?(?:{"|".join(sorted(names))})(?![\w.-])[ \t]*\]?',
        re.IGNORECASE,
    )


@dataclasses.dataclass(frozen=True)
class _Assignment:
    section: str
    option: str
    text: str
    #: Index of its first line, and of the line after its last.
    start: int
    end: int
    depends: bool = False


class NovaConf(editable.OptionsFile):
    """A file in the format of oslo.config.

    :param path: As the user named it; used in messages and to write the file.
    :param content: Its bytes.
    :param first_line: Number of the first line, for a part of a larger file.
    :param template: It is rendered with Jinja before a service reads it.
    :raises gpuclient.exceptions.DocumentError: oslo.config would refuse it.
    """

    def __init__(
        self,
        path: str,
        content: bytes,
        *,
        first_line: int = 1,
        template: bool = False,
    ) -> None:
        super().__init__(path, content)
        self._first_line = first_line
        #: Why an edit cannot be made in place.
        self._obstacle = ''
        #: It begins with a byte order mark, which oslo.config cannot read.
        self.has_mark = content.startswith(codecs.BOM_UTF8)
        text = atomic.decode(path, content)
        self._lines = self._before = split_lines(text.removeprefix('\ufeff'))
        self.is_template = template
        self._parse()

    @classmethod
    def read(
        cls, path: str | os.PathLike[str], *, template: bool = False
    ) -> 'NovaConf':
        """Read a file.

        :raises gpuclient.exceptions.DocumentError: It cannot be read, or
            oslo.config would refuse it.
        """
        path = os.fspath(path)
        return cls(path, atomic.read(path), template=template)

    def readings(self) -> collections.abc.Iterator[editable.Reading]:
        yield editable.Reading(None, (self,))

    def values(self, *names: tuple[str, str]) -> tuple[Value, ...]:
        """Return the values of an option, in the order of the file.

        :param names: Section and option, and its deprecated names. As in
            oslo.config the case of a section does not matter, of an option
            it does.
        """
        wanted = {(_normalized(section), option) for section, option in names}
        return tuple(
            value
            for section, option, value in self.options()
            if (section, option) in wanted
        )

    def options(
        self,
    ) -> collections.abc.Iterator[tuple[str, str, Value]]:
        """Yield section, option and value of each assignment."""
        for item in self._assignments:
            yield (
                item.section,
                item.option,
                Value(item.text, self._number(item.start), item.depends),
            )

    def has_section(self, section: str) -> bool:
        """Return whether the file has a section of this name."""
        return _normalized(section) in self._section_ends

    def add(self, section: str, option: str, text: str) -> None:
        """Add a value after the last one of the option, or to its section.

        A missing section is added at the end of the file.

        :raises gpuclient.exceptions.InvalidValue: The value does not fit on
            one line.
        """
        self._check_value(text)
        section = _normalized(section)
        line = f'{option} = {text}'
        same = [
            item
            for item in self._assignments
            if (item.section, item.option) == (section, option)
        ]
        if same:
            self._insert(same[-1].end, [line])
        elif section in self._section_ends:
            self._insert(self._section_ends[section], [line])
        else:
            gap = [''] if self._lines and self._lines[-1].strip() else []
            self._insert(len(self._lines), [*gap, f'[{section}]', line])
        self._parse()

    def replace(self, value: Value, text: str) -> None:
        """Replace the text of a value.

        :raises gpuclient.exceptions.InvalidValue: The text does not fit on one
            line.
        """
        self._check_value(text)
        item = self._at(value)
        self._check_lines(item)
        first = self._lines[item.start]
        ending = self._lines[item.end - 1]
        ending = ending[len(ending.rstrip('\r\n')) :]
        cut = min(
            position
            for position in (first.find('='), first.find(':'))
            if position >= 0
        )
        rest = first[cut + 1 :]
        blanks = rest[: len(rest) - len(rest.lstrip(' \t'))]
        self._lines = [
            *self._lines[: item.start],
            f'{first[: cut + 1]}{blanks}{text}{ending}',
            *self._lines[item.end :],
        ]
        self._parse()

    def remove(self, value: Value) -> None:
        """Remove a value, with all its lines."""
        item = self._at(value)
        self._check_lines(item)
        before, after = self._lines[: item.start], self._lines[item.end :]
        if before and not after and not self._has_last_end():
            before = [*before[:-1], before[-1].rstrip('\r\n')]
        self._lines = [*before, *after]
        self._parse()

    @property
    def text(self) -> str:
        """The present text, without a byte order mark."""
        return ''.join(self._lines)

    @property
    def changed(self) -> bool:
        """Whether there is anything to write."""
        return self._lines != self._before

    def diff(self) -> str:
        """Return the edits as a unified diff; empty if there are none."""
        return diffs.unified(self.path, self._before, self._lines)

    def content(self) -> bytes:
        mark = codecs.BOM_UTF8 if self.has_mark else b''
        return mark + self.text.encode()

    def obstacle(self) -> str:
        return self._obstacle

    def _number(self, index: int) -> int:
        """Return the number of a line in the file."""
        return index + self._first_line

    def _at(self, value: Value) -> _Assignment:
        return next(
            item
            for item in self._assignments
            if (self._number(item.start), item.text)
            == (value.line, value.text)
        )

    def _check_value(self, text: str) -> None:
        if (
            not text.isprintable()
            or text != text.strip()
            or (text and text[0] == text[-1] and text[0] in '"\'')
        ):
            raise exceptions.InvalidValue(
                f'Invalid value {quoting.cut(text)!r}: it must fit on one '
                'line of a configuration file'
            )
        if self.is_template and jinja.is_template(text):
            raise exceptions.InvalidValue(
                f'Invalid value {text!r}: {self.path} is a template, and '
                'Jinja would change the value'
            )

    def _check_lines(self, item: _Assignment) -> None:
        """Record an obstacle if Jinja changes the lines of an assignment."""
        if item.depends or self._rendered[item.start : item.end] != [
            line.rstrip('\r\n') for line in self._lines[item.start : item.end]
        ]:
            self._refuse(item.start)

    def _refuse(self, index: int) -> None:
        self._obstacle = (
            f'Cannot edit {self.path} in place: line {self._number(index)} '
            'is part of a template'
        )

    def _insert(self, position: int, lines: list[str]) -> None:
        if not self._insertable[position]:
            self._refuse(position - 1)
        ending = self._ending()
        before, after = self._lines[:position], self._lines[position:]
        new = [f'{line}{ending}' for line in lines]
        if before and not before[-1].endswith(('\n', '\r')):
            # The last line of the file has no end, and keeps none.
            before = [*before[:-1], before[-1] + ending]
            new[-1] = lines[-1]
        self._lines = [*before, *new, *after]

    def _has_last_end(self) -> bool:
        return self._lines[-1].endswith(('\n', '\r'))

    def _ending(self) -> str:
        for line in self._lines:
            content = line.rstrip('\r\n')
            if line != content:
                return line[len(content) :]
        return '\n'

    def _parse(self) -> None:
        """Find the assignments, and where each section ends."""
        rendered = (
            jinja.read(self._lines, twice=_is_rendered_twice(self.path))
            if self.is_template
            else [jinja.Line(line, False, True) for line in self._lines]
        )
        #: Each line without what Jinja removes.
        self._rendered = [line.text.rstrip('\r\n') for line in rendered]
        #: Whether a line can be inserted before each line, and at the end.
        self._insertable = [*(line.open for line in rendered), True]
        parser = _IniParser(self._rendered)
        try:
            parser.read()
        except iniparser.ParseError as exc:
            raise self._error(exc.lineno - 1, exc.msg) from exc
        self._section_ends = parser.section_ends
        self._assignments = [
            dataclasses.replace(
                assignment,
                depends=any(
                    line.depends
                    for line in rendered[assignment.start : assignment.end]
                ),
            )
            for assignment in parser.assignments
        ]

    def _error(self, index: int, reason: str) -> exceptions.DocumentError:
        shown = _without_value(self._lines[index].strip())
        text = f': {shown!r}' if shown else ''
        return exceptions.DocumentError(
            f'{self.path}, line {self._number(index)}: {reason}{text}',
            self._number(index),
        )


class _IniParser(iniparser.BaseParser):  # type: ignore[misc]
    """oslo.config's own parser, which also records positions.

    :class:`oslo_config.iniparser.BaseParser` ends an assignment at the first
    line that does not continue it, so its lines are the ones before that.
    """

    def __init__(self, lines: list[str]) -> None:
        super().__init__()
        self._lines = lines
        self._section: str | None = None
        self.assignments: list[_Assignment] = []
        #: Index of the line after the last assignment of each section, or
        #: after its header. Of several sections of one name, the last counts.
        self.section_ends: dict[str, int] = {}

    def read(self) -> None:
        """Parse the lines.

        :raises oslo_config.iniparser.ParseError: oslo.config refuses them.
        """
        self.parse(self._numbered())

    def _numbered(self) -> collections.abc.Iterator[str]:
        yield from self._lines
        # The end of the file ends an assignment, like a further line.
        self.lineno += 1

    def new_section(self, section: str) -> None:
        self._section = _normalized(section)
        self.section_ends[self._section] = self.lineno

    def assignment(self, key: str, value: list[str]) -> None:
        end = self.lineno - 1
        start = end - len(value)
        if self._section is None:
            # As oslo_config/cfg.py:ConfigParser.assignment does.
            raise iniparser.ParseError(
                'Section must be started before assignment', start + 1, ''
            )
        self.section_ends[self._section] = end
        self.assignments.append(
            _Assignment(self._section, key, '\n'.join(value), start, end)
        )


def _without_value(line: str) -> str:
    """Return the part of a line that is safe to show.

    Any word could be a secret: the line may be the end of a value of several
    lines, or a section header without its closing bracket.
    """
    if not any(character.isalnum() for character in line):
        return quoting.cut(line)
    match = _known_beginning().match(line)
    if match is not None:
        return match[0].rstrip()
    # That the line is a template explains the error.
    return ' '.join(mark for mark in ('{{', '{%') if mark in line)


def render(
    options: collections.abc.Iterable[tuple[str, str, str]],
) -> str:
    """Return the text of a file with these values.

    :param options: Section, option and text of each value, as in
        :meth:`NovaConf.options`.
    """
    lines: list[str] = []
    current: str | None = None
    for section, option, text in options:
        if section != current:
            lines.append(f'[{section}]')
            current = section
        first, *more = text.split('\n')
        if first != first.strip() or (
            first and first[0] == first[-1] and first[0] in '"\''
        ):
            first = f'"{first}"'
        lines.append(f'{option} = {first}'.rstrip())
        lines += [f'  {line}' for line in more]
    return ''.join(f'{line}\n' for line in lines)


def unquoted(text: str) -> str:
    """Return a value without outer quotes, as oslo.config does."""
    if text and text[0] == text[-1] and text[0] in '"\'':
        return text[1:-1]
    return text


def _is_rendered_twice(path: str) -> bool:
    """Return whether Kayobe renders a file, and Kolla the result again."""
    return f'{os.sep}kayobe{os.sep}' in os.path.abspath(path)


def split_lines(text: str) -> list[str]:
    """Split like open() does; str.splitlines() splits at more characters."""
    return io.StringIO(text, newline='').readlines()


def _normalized(section: str) -> str:
    """Return the name of a section as oslo.config compares it."""
    # oslo_config/cfg.py:_normalize_group_name
    return section if section == 'DEFAULT' else section.lower()


def merged(
    reading: editable.Reading,
) -> collections.abc.Iterator[tuple[editable.OptionsFile, str, str, Value]]:
    """Yield file, section, option and value of all that a service reads.

    Values that a later file replaces are left out.
    """
    last: dict[tuple[str, str], int] = {}
    layers = reading.layers or range(len(reading.confs))
    if reading.replace:
        for layer, conf in zip(layers, reading.confs, strict=True):
            for section, option, _value in conf.options():
                last[section, option] = layer
    for layer, conf in zip(layers, reading.confs, strict=True):
        for section, option, value in conf.options():
            if last.get((section, option), layer) == layer:
                yield conf, section, option, value
