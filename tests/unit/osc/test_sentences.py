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

"""Long sentences below a table."""

import argparse
import io
import unittest.mock

import testtools

from gpuclient.osc import columns
from gpuclient.osc import command

SENTENCE = (
    'Consumer 9 holds 0000:02:00.0 of gpu-1, but Nova has no such server. '
    'Remove its allocations'
)


class _ListLeaks(command.Lister):
    """A command with leaks, or with the changes that repair them."""

    use_of_cloud = command.CloudUse.UNUSED
    sentences = 'Problem'
    labels = (('Code',), ('Server', 'Host'))
    rows: command.Rows

    def take_action(self, parsed_args: argparse.Namespace) -> command.Rows:
        return self.rows


class TestSentences(testtools.TestCase):
    def show(
        self, headers: tuple[str, ...], *rows: tuple[str | None, ...]
    ) -> str:
        stdout = io.StringIO()
        shown = _ListLeaks(
            unittest.mock.Mock(stdout=stdout), argparse.Namespace()
        )
        shown.rows = (
            headers,
            [tuple(map(columns.TextColumn, r)) for r in rows],
        )
        shown.run(shown.get_parser('x').parse_args([]))
        return stdout.getvalue()

    def test_below(self) -> None:
        shown = self.show(
            ('Code', 'Server', 'Host', 'Problem'),
            ('GPU610', None, 'gpu-1', SENTENCE),
            ('GPU611', 'train-1', 'gpu-2', 'Short'),
        )
        table, line = shown.split('\n\n')
        self.assertEqual(f'GPU610 gpu-1: {SENTENCE}\n', line)
        self.assertIn('Short', table)
        self.assertNotIn('Remove', table)

    def test_other_columns(self) -> None:
        """Repairs have no problem."""
        shown = self.show(('Action', 'Result'), ('undo', 'done'))
        self.assertIn('done', shown)
