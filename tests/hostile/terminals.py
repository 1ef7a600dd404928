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

"""Text that would drive a terminal, a spreadsheet or a shell.

It stands in cells of every kind, in messages, in names of files and in the
configuration that is checked. Nothing but what can be shown reaches the
output, whatever the format.
"""

import argparse
import collections.abc
import contextlib
import functools
import io
import os
import pathlib
import random
import shutil
import tempfile
import typing
import unittest.mock

from gpuclient import exceptions
from gpuclient.model import partial_result
from gpuclient.osc import columns
from gpuclient.osc.v1 import config
from gpuclient import text
from tests.hostile import answers

BRIEF = 60
LONG = 5000

_PIECES = (
    '\x1b[2J',
    '\x1b]52;c;aGk=\x07',
    '\x1bP+q544e\x1b\\\\',
    '\x9b6n',
    '\x0e',
    '\x7f\x08\x08',
    '\r',
    '\u202e',
    '\u2066',
    '\u200f',
    '\ufeff',
    '\u2028',
    '\x85',
    '\udcff',
    '=cmd|x!A1',
    '@SUM(1)',
    '\'"`$(id)',
    '{{ x }}',
    '%s%n',
)


def hostile(source: random.Random) -> str:
    """Return a text of pieces and of any characters there are."""
    return ''.join(
        source.choice(_PIECES)
        if source.random() < 0.5
        else chr(
            source.choice((source.randrange(256), source.randrange(0x3000)))
        )
        for _number in range(source.randrange(1, 8))
    )


def _cells(content: str) -> list[typing.Any]:
    record = {
        'id': content,
        'name': content,
        'type': content,
        'path': content,
        'line': 1,
        'value': content,
        'services': [content],
        'state': content,
        'diff': f'+{content}\n-{content}\n',
        'host': content,
        'address': content,
        'fits': 1,
        'refused': content,
        'limits': {content: 1},
    }
    return [
        content,
        columns.TextColumn(content),
        columns.ProseColumn(content),
        columns.ListColumn([content]),
        columns.NamedColumn([record]),
        columns.CountsColumn({content: 1}),
        columns.PropertiesColumn({content: content}),
        columns.FilesColumn([record]),
        columns.DefinitionsColumn([record]),
        columns.DevicesColumn([record]),
        columns.ForecastColumn([record]),
    ]


class _Formatter:
    """Keeps what a formatter of text would write."""

    def emit_one(self, _names: object, data: tuple[typing.Any, ...]) -> None:
        self.shown = [
            cell.human_readable() if hasattr(cell, 'human_readable') else cell
            for cell in data
        ]


def _attack_columns(source: random.Random, _folder: pathlib.Path) -> str:
    for name in ('table', 'csv', 'value', 'shell'):
        formatter = _Formatter()
        border = columns.Border(name, formatter)
        border.emit_one([], _cells(hostile(source)))
        for cell in formatter.shown:
            answers.check_printable(str(cell), f'-f {name}')
            if name != 'table' and '\n' in str(cell):
                raise AssertionError(f'-f {name} breaks a line: {cell!r}')
            if name == 'csv' and str(cell).startswith(tuple('=+-@')):
                raise AssertionError(f'a formula: {cell!r}')
    return 'columns'


def _attack_messages(source: random.Random, _folder: pathlib.Path) -> str:
    content = hostile(source)
    for message in (
        str(exceptions.CloudError(f'reading {content}: {content}')),
        str(partial_result.Failure(content, content)),
        text.one_line(content),
    ):
        if not message.isprintable():
            raise AssertionError(f'a message: {message!r}')
    return 'messages'


def _attack_trees(source: random.Random, folder: pathlib.Path) -> str:
    """Check configuration with such names, options and values."""
    root = pathlib.Path(tempfile.mkdtemp(dir=folder))
    try:
        for _number in range(3):
            name = hostile(source).translate({0: 'x', ord('/'): 'x'})
            with contextlib.suppress(OSError, UnicodeEncodeError):
                (root / f'nova-{name}.conf').write_text(
                    _configuration(source), errors='surrogateescape'
                )
        for format_name in ('table', 'csv', 'value'):
            _check(root, format_name)
    finally:
        shutil.rmtree(root)
    return 'trees'


def _configuration(source: random.Random) -> str:
    lines = ['[pci]', 'report_in_placement = True']
    for name in ('alias', 'device_spec', 'passthrough_whitelist', 'x'):
        content = hostile(source)
        lines.append(
            source.choice(
                (
                    f'{name} = {content}',
                    f'{name} = {{"name": "{content}"}}',
                    f'{name} = {{"vendor_id": "{content}", "{content}": 1}}',
                    f'{content} = 1',
                    f'[{content}]',
                    f'  {content}',
                )
            )
        )
    return '\n'.join(lines) + '\n'


def _check(root: pathlib.Path, format_name: str) -> None:
    app = unittest.mock.Mock()
    app.stdout = io.StringIO()
    shown = config.CheckConfig(app, argparse.Namespace())
    parsed = shown.get_parser('x').parse_args(
        [os.fspath(root), '-f', format_name]
    )
    try:
        shown.run(parsed)
    except exceptions.GPUError as exc:
        answers.check_printable(str(exc), 'an error')
    answers.check_printable(app.stdout.getvalue(), f'-f {format_name}')


_WAYS = (_attack_columns, _attack_messages, _attack_trees)


@contextlib.contextmanager
def attacker() -> collections.abc.Iterator[
    collections.abc.Callable[[random.Random], str]
]:
    folder = pathlib.Path(tempfile.mkdtemp())
    try:
        yield functools.partial(_attack, folder)
    finally:
        shutil.rmtree(folder)


def _attack(folder: pathlib.Path, source: random.Random) -> str:
    return source.choice(_WAYS)(source, folder)
