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

"""Cells of tables; JSON and YAML preserve values."""

import collections.abc
import json
import textwrap
import typing

from cliff import columns

from gpuclient.model import inventory
from gpuclient import text

T = typing.TypeVar('T')
Record: typing.TypeAlias = dict[str, typing.Any]
#: The columns of a list: by header, what returns the cell of an item.
Cells: typing.TypeAlias = dict[str, collections.abc.Callable[[T], typing.Any]]

#: Width of a cell with sentences, in characters.
_PROSE_WIDTH = 44
# Spreadsheets interpret such a cell as a formula.
_FORMULA = ('=', '+', '-', '@')
# What a shell expands in double quotes; cliff escapes the quotes.
_SHELL = str.maketrans({character: f'\\{character}' for character in '\\$`'})

escape = text.escape
escape_lines = text.escape_lines


def show(
    record: collections.abc.Mapping[str, typing.Any],
) -> tuple[tuple[str, ...], tuple[typing.Any, ...]]:
    """Return an object as cliff takes it: names, and values."""
    return tuple(record), tuple(record.values())


def table(
    cells: Cells[T], items: collections.abc.Iterable[T]
) -> tuple[tuple[str, ...], list[tuple[typing.Any, ...]]]:
    """Return a list as cliff takes it: headers, and a row an item."""
    return tuple(cells), [
        tuple(cell(item) for cell in cells.values()) for item in items
    ]


class Border:
    """A formatter of cliff with text that is safe for its format.

    All text is escaped. Objects are JSON in formats that have none.

    :param name: As in ``-f NAME``.
    """

    def __init__(self, name: str, formatter: typing.Any) -> None:
        self._formatter = formatter
        self._cell = _CELLS.get(name, _table_cell)

    def emit_list(
        self,
        column_names: collections.abc.Sequence[str],
        data: collections.abc.Iterable[collections.abc.Iterable[typing.Any]],
        *arguments: typing.Any,
    ) -> None:
        rows = [tuple(map(self._cell, row)) for row in data]
        self._formatter.emit_list(column_names, rows, *arguments)

    def emit_one(
        self,
        column_names: collections.abc.Sequence[str],
        data: collections.abc.Iterable[typing.Any],
        *arguments: typing.Any,
    ) -> None:
        row = tuple(map(self._cell, data))
        self._formatter.emit_one(column_names, row, *arguments)


def _table_cell(value: typing.Any) -> typing.Any:
    """Return a cell of printable lines."""
    if isinstance(value, columns.FormattableColumn):
        shown = value.human_readable()
        return '\n'.join(map(escape, shown.split('\n')))
    return escape(value) if isinstance(value, str) else value


def _raw_cell(value: typing.Any) -> typing.Any:
    return value


def _value_cell(value: typing.Any) -> typing.Any:
    """Return a cell of one line; null is ``None``, as in core commands."""
    if isinstance(value, columns.FormattableColumn):
        value = value.machine_readable()
    if isinstance(value, list | tuple | dict):
        return json.dumps(value)
    return escape(value) if isinstance(value, str) else value


def _csv_cell(value: typing.Any) -> typing.Any:
    """Return a cell for a spreadsheet; null is empty."""
    value = _value_cell(value)
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return value


def _shell_cell(value: typing.Any) -> typing.Any:
    value = _value_cell(value)
    return value.translate(_SHELL) if isinstance(value, str) else value


_CELLS: typing.Final = {
    'csv': _csv_cell,
    'json': _raw_cell,
    'shell': _shell_cell,
    'value': _value_cell,
    'yaml': _raw_cell,
}


class TextColumn(columns.FormattableColumn[str | None]):
    """Text that is not ours, such as a name."""

    def human_readable(self) -> str:
        return 'None' if self._value is None else escape(self._value)


class ProseColumn(TextColumn):
    """Sentences, wrapped to leave space for other columns."""

    def human_readable(self) -> str:
        if self._value is None:
            return ''
        return '\n'.join(textwrap.wrap(escape(self._value), _PROSE_WIDTH))


def move_sentences(
    headers: collections.abc.Sequence[str],
    rows: collections.abc.Iterable[tuple[typing.Any, ...]],
    header: str,
    labels: collections.abc.Iterable[tuple[str, ...]],
) -> tuple[list[tuple[typing.Any, ...]], list[str]]:
    """Return rows without the long sentences of a column, and those.

    :param labels: Columns that name a row: the first of each group that is
        not empty.
    """
    place = list(headers).index(header)
    groups = [
        [list(headers).index(name) for name in names] for names in labels
    ]
    left = []
    named: dict[tuple[str, str], dict[str, None]] = {}
    for row in rows:
        cells = tuple(map(_plain, row))
        sentence = cells[place]
        if len(sentence) > _PROSE_WIDTH:
            first, *names = (
                next(filter(None, (cells[number] for number in group)), '')
                for group in groups
            )
            named.setdefault((first, sentence), {})[' '.join(names)] = None
            row = (*row[:place], ProseColumn(None), *row[place + 1 :])
        left.append(row)
    return left, [
        f'{first} {", ".join(names)}: {sentence}'
        for (first, sentence), names in named.items()
    ]


def _plain(value: typing.Any) -> str:
    """Return the text of a cell on one line; empty for null."""
    if isinstance(value, columns.FormattableColumn):
        value = value.machine_readable()
    return '' if value is None else text.one_line(str(value))


class ListColumn(columns.FormattableColumn[list[str] | None]):
    """Strings, a line each."""

    def human_readable(self) -> str:
        if self._value is None:
            return 'None'
        return '\n'.join(escape(line) for line in self._value)


class TraitsColumn(columns.FormattableColumn[list[str]]):
    """Traits; tables omit those that all devices have."""

    def human_readable(self) -> str:
        return '\n'.join(
            trait for trait in self._value if trait not in inventory.OF_EACH
        )


class NamedColumn(columns.FormattableColumn[list[Record] | None]):
    """Objects with a name or an ID, a line each."""

    def human_readable(self) -> str:
        if self._value is None:
            return 'None'
        return '\n'.join(map(_named, self._value))


def _named(record: Record) -> str:
    text = escape(record['name'] or record['id'])
    if record.get('orphaned'):
        return f'{text} (orphaned: Nova has no such server)'
    if record.get('type') == inventory.MIGRATION:
        return f'{text} (migration)'
    return text


class CountsColumn(columns.FormattableColumn[dict[str, int] | None]):
    """Aliases with a number of devices each, as in flavors."""

    def human_readable(self) -> str:
        if self._value is None:
            return 'None'
        return ', '.join(
            f'{escape(name)}:{count}' for name, count in self._value.items()
        )


class NumbersColumn(columns.FormattableColumn[dict[str, int] | None]):
    """Names with a number each, a line each."""

    def human_readable(self) -> str:
        if self._value is None:
            return 'unknown'
        return '\n'.join(
            f'{escape(name)}={count}' for name, count in self._value.items()
        )


class NoDeviceColumn(columns.FormattableColumn[None]):
    """Instead of the address, for a host that reports no device."""

    def human_readable(self) -> str:
        return 'reports no device'


class LimitsColumn(columns.FormattableColumn[dict[str, int] | None]):
    """Limits, and on how many hosts they apply."""

    def human_readable(self) -> str:
        if self._value is None:
            return 'unknown'
        return '\n'.join(
            escape(name)
            + (f' ({count} host{"s" if count > 1 else ""})' if count else '')
            for name, count in self._value.items()
        )


class StepsColumn(columns.FormattableColumn[list[Record]]):
    """Steps of a change, a line each."""

    def human_readable(self) -> str:
        return '\n'.join(
            f'{record["state"]}: {record["kind"]} {escape(record["name"])}'
            f'{_change_of(record)}'
            for record in self._value
        )


def _change_of(record: Record) -> str:
    before, after = record['before'], record['after']
    if isinstance(after, bool):
        return '' if before == after else f' {"added" if after else "removed"}'
    before = 'not set' if before is None else before
    after = 'not set' if after is None else after
    return f' {after}' if before == after else f' {before} -> {after}'


class UsedLimitsColumn(columns.FormattableColumn[list[Record]]):
    """Limits of a project with what is used, a line each."""

    def human_readable(self) -> str:
        return '\n'.join(
            f'{escape(record["name"])}: {record["used"]} of '
            + (
                'no limit'
                if record['limit'] is None
                else f'{record["limit"]} used'
            )
            + (' (default)' if record['source'] == 'default' else '')
            for record in self._value
        )


class KnownColumn(columns.FormattableColumn[int | bool | None]):
    """A number or boolean that may be unknown."""

    def human_readable(self) -> str:
        return 'unknown' if self._value is None else str(self._value)


class PropertiesColumn(columns.FormattableColumn[dict[str, str] | None]):
    """Extra specs; null if policy hides them."""

    def human_readable(self) -> str:
        if self._value is None:
            return 'None'
        return ', '.join(
            f"{escape(key)}='{escape(value)}'"
            for key, value in sorted(self._value.items())
        )


class FamilyColumn(columns.FormattableColumn[list[Record]]):
    """Flavors for counts of devices, a line each, with their notes."""

    def human_readable(self) -> str:
        lines = []
        for record in self._value:
            if record['name'] is None:
                lines.append(f'{record["count"]}: none')
            else:
                lines.append(
                    f'{record["count"]}: {escape(record["name"])}, '
                    f'{record["vcpus"]} VCPUs, {record["ram"]} MB, '
                    f'{record["disk"]} GB, {record["hosts"]} hosts '
                    f'({record["state"]})'
                )
            lines += [f'   {escape(note)}' for note in record['notes']]
        return '\n'.join(lines)


class FilesColumn(columns.FormattableColumn[list[Record]]):
    """Edited files, with their diffs."""

    def human_readable(self) -> str:
        lines = []
        for record in self._value:
            readers = ', '.join(record['services'])
            lines.append(
                f'{escape(record["path"])}'
                f'{f" ({readers})" if readers else ""}: {record["state"]}'
            )
            if record['diff']:
                diff = escape_lines(record['diff']).replace('\r', '')
                lines.append(diff.rstrip('\n').replace('\t', '    '))
        return '\n'.join(lines)


class DefinitionsColumn(columns.FormattableColumn[list[Record]]):
    """Definitions of aliases, and where they are."""

    def human_readable(self) -> str:
        return '\n'.join(
            f'{escape(record["path"])}, line {record["line"]}: '
            f'{escape(record["value"])}'
            for record in self._value
        )


class DevicesColumn(columns.FormattableColumn[list[Record] | None]):
    """Devices, a line each."""

    def human_readable(self) -> str:
        if self._value is None:
            return 'None'
        return '\n'.join(_device_line(record) for record in self._value)


class SizeColumn(columns.FormattableColumn[int | None]):
    """Size of a memory region, a power of two: ``64 GiB``."""

    def human_readable(self) -> str:
        return 'None' if self._value is None else _size(self._value)


class BarsColumn(columns.FormattableColumn[list[Record] | None]):
    """Base address registers, a line each."""

    def human_readable(self) -> str:
        if self._value is None:
            return 'None'
        return '\n'.join(
            f'BAR {record["number"]}: {_size(record["size"])}'
            + (', prefetchable' if record['prefetchable'] else '')
            for record in self._value
        )


class ForecastColumn(columns.FormattableColumn[list[Record]]):
    """Hosts with the number of servers that fit, a line each."""

    def human_readable(self) -> str:
        return '\n'.join(
            f'{escape(record["host"])}: {record["fits"]} ('
            + escape(
                record['refused']
                or ', '.join(
                    f'{name} {count}'
                    for name, count in record['limits'].items()
                )
            )
            + ')'
            for record in self._value
        )


def _size(size: int) -> str:
    for unit in ('B', 'KiB', 'MiB'):
        if size < 1024:
            return f'{size} {unit}'
        size //= 1024
    return f'{size} GiB'


def _device_line(record: Record) -> str:
    line = f'{record["address"] or record["id"]} on {escape(record["host"])}'
    if record.get('amount', 1) != 1:
        line = f'{record["amount"]} of {line}'
    if 'servers' not in record:
        return line
    total, used = record['total'], record['used']
    line += f': {record["resource_class"]}, {used} of {total} used'
    if record['reserved']:
        line += f', {record["reserved"]} reserved'
    holders = [_named(server) for server in record['servers'] or ()]
    return f'{line} by {", ".join(holders)}' if holders else line


def servers(device: inventory.Device) -> list[Record] | None:
    """Return the consumers of a device: servers and others."""
    if device.consumers is None:
        return None
    return [
        {
            'id': consumer.uuid,
            'name': consumer.name,
            'type': consumer.consumer_type,
            'amount': consumer.amount,
            'orphaned': consumer.orphaned,
        }
        for consumer in device.consumers
    ]


def projects(
    device: inventory.Device, names: collections.abc.Mapping[str, str]
) -> list[Record] | None:
    """Return the projects of the consumers of a device."""
    if device.consumers is None:
        return None
    return [
        {'id': project, 'name': names.get(project)}
        for project in dict.fromkeys(
            consumer.project_id
            for consumer in device.consumers
            if consumer.project_id is not None
        )
    ]


def device(
    record: inventory.Device, names: collections.abc.Mapping[str, str]
) -> Record:
    """Return a device as an object."""
    return {
        'id': record.uuid,
        'host': record.host,
        'address': record.address,
        'resource_class': record.resource_class,
        'total': record.total,
        'reserved': record.reserved,
        'used': record.used,
        'free': record.free,
        'traits': list(record.traits),
        'servers': servers(record),
        'projects': projects(record, names),
    }
