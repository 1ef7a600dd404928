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

"""No text can do harm in the output, in any format."""

import csv
import io
import json
import subprocess
import typing

from cliff import columns as cliff_columns
from cliff.formatters import commaseparated
from cliff.formatters import json_format
from cliff.formatters import shell
from cliff.formatters import table
from cliff.formatters import value
from cliff.formatters import yaml_format
import testtools
import yaml

from gpuclient import exceptions
from gpuclient.model import partial_result
from gpuclient.osc import columns
from gpuclient import text

HOSTILE = (
    '\x1b[2J\x1b[H',
    '\x1b]0;title\x07',
    '\x9b31m',
    'a\nb',
    'a\rb',
    'a\x0bb\x0cc\x85d\u2028e\u2029f',
    '\x00',
    '\x7f',
    '\u202egpu\u202c',
    '\u200b\ufeff',
    '\udc80',
)
FORMULAS = ('=1+1', '+1', '-1', '@SUM(A1)')


class _Arguments:
    quote_mode = 'nonnumeric'
    noindent = True
    variables: typing.Final[list[str]] = []
    prefix = ''
    max_width = 0
    fit_width = False
    print_empty = False


def emit(name: str, formatter: typing.Any, row: list[typing.Any]) -> str:
    stream = io.StringIO()
    border = columns.Border(name, formatter)
    names = [f'C{number}' for number, _cell in enumerate(row)]
    if hasattr(formatter, 'emit_list') and name != 'shell':
        border.emit_list(names, [row], stream, _Arguments())
    else:
        border.emit_one(names, row, stream, _Arguments())
    return stream.getvalue()


def cells(content: str) -> list[typing.Any]:
    return [
        content,
        columns.TextColumn(content),
        columns.ListColumn([content]),
        columns.NamedColumn([{'id': content, 'name': content}]),
    ]


class TestBorder(testtools.TestCase):
    def assertPrintable(self, output: str) -> None:
        for line in output.split('\n'):
            self.assertTrue(line.isprintable(), line)

    def test_text_formats(self) -> None:
        for content in (*HOSTILE, *FORMULAS):
            for name, formatter in (
                ('csv', commaseparated.CSVLister()),
                ('table', table.TableFormatter()),
                ('value', value.ValueFormatter()),
                ('shell', shell.ShellFormatter()),
            ):
                output = emit(name, formatter, cells(content))
                self.assertPrintable(output)
                self.assertNotIn('\\n\n', output)

    def test_value_is_one_line(self) -> None:
        output = emit('value', value.ValueFormatter(), cells('a\nb'))
        self.assertEqual(1, output.count('\n'))

    def test_formulas_are_quoted_for_spreadsheets_alone(self) -> None:
        for content in FORMULAS:
            output = emit('csv', commaseparated.CSVLister(), cells(content))
            row = list(csv.reader(io.StringIO(output)))[1]
            self.assertEqual(f"'{content}", row[0])
            self.assertEqual(f"'{content}", row[1])
            for name, formatter in (
                ('table', table.TableFormatter()),
                ('value', value.ValueFormatter()),
            ):
                output = emit(name, formatter, cells(content))
                self.assertNotIn(f"'{content}", output)

    def test_numbers_and_nulls(self) -> None:
        row = [-1, None, 2.5, True, columns.SizeColumn(1024)]
        self.assertEqual(
            ['-1', '', '2.5', 'True', '1024'],
            list(
                csv.reader(
                    io.StringIO(emit('csv', commaseparated.CSVLister(), row))
                )
            )[1],
        )
        self.assertEqual(
            '-1 None 2.5 True 1024\n',
            emit('value', value.ValueFormatter(), row),
        )

    def test_objects_are_json(self) -> None:
        cell = columns.NamedColumn([{'id': "it's", 'name': None}])
        for name, formatter in (
            ('value', value.ValueFormatter()),
            ('csv', commaseparated.CSVLister()),
        ):
            output = emit(name, formatter, [cell])
            if name == 'csv':
                output = list(csv.reader(io.StringIO(output)))[1][0]
            self.assertEqual(
                [{'id': "it's", 'name': None}], json.loads(output)
            )

    def test_machine_formats_are_exact(self) -> None:
        for content in (*HOSTILE[:-1], *FORMULAS):
            output = emit('json', json_format.JSONFormatter(), cells(content))
            self.assertEqual(content, json.loads(output)[0]['C1'])
            output = emit('yaml', yaml_format.YAMLFormatter(), cells(content))
            self.assertEqual(content, yaml.safe_load(output)[0]['C1'])

    def test_shell_format_is_quoted(self) -> None:
        for content in (
            '$(echo bad)',
            '`echo bad`',
            '"; echo bad',
            '\\"$HOME',
        ):
            output = emit('shell', shell.ShellFormatter(), [content])
            done = subprocess.run(
                ['sh', '-c', f'{output}printf %s "$c0"'],
                capture_output=True,
                text=True,
                check=True,
            )
            self.assertEqual(content, done.stdout)

    def test_a_column_can_still_be_sorted(self) -> None:
        self.assertTrue(
            issubclass(columns.TextColumn, cliff_columns.FormattableColumn)
        )
        self.assertLess(columns.TextColumn('a'), columns.TextColumn('b'))


class TestMessages(testtools.TestCase):
    def test_errors_are_one_printable_line(self) -> None:
        for content in HOSTILE:
            for message in (
                str(exceptions.CloudError(f'reading failed: {content}')),
                str(partial_result.Failure(content, content)),
            ):
                self.assertTrue(message.isprintable(), message)

    def test_a_diff_keeps_its_lines(self) -> None:
        self.assertEqual(
            '+a\tb\n-c\\x1b\\u2028\n',
            text.escape_lines('+a\tb\n-c\x1b\u2028\n'),
        )
