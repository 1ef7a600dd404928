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

"""Lines of a ledger: added, read, and cut by a run that was killed."""

import os

import fixtures
import testtools

from gpuclient import exceptions
from gpuclient.operations import device_ledger


def line(state: str = 'reserved', **more: object) -> device_ledger.LedgerLine:
    return device_ledger.LedgerLine(
        time='2026-11-29T12:00:00+00:00',
        state=state,
        device='h0_0000:04:00.0',
        provider='p',
        host='h0',
        address='0000:04:00.0',
        **more,
    )


class TestLedger(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        folder = self.useFixture(fixtures.TempDir()).path
        self.path = os.path.join(folder, 'new', 'ledger.jsonl')

    def test_lines(self) -> None:
        self.assertEqual((), device_ledger.read(self.path))
        device_ledger.add(self.path, [])
        self.assertFalse(os.path.exists(self.path))
        lines = [
            line('in use', consumers=({'id': 's', 'name': 'n'},)),
            line(
                'sanitizing',
                command=('wipe', '--all'),
                status=0,
                output='done\n',
                digest='0' * 64,
                seconds=1.5,
            ),
        ]
        for number in (0, 1):
            device_ledger.add(self.path, lines[number : number + 1])
        self.assertEqual(tuple(lines), device_ledger.read(self.path))
        self.assertEqual(0o600, os.stat(self.path).st_mode & 0o777)

    def test_cut_line(self) -> None:
        """A run that was killed leaves a part of a line."""
        device_ledger.add(self.path, [line()])
        with open(self.path, 'a', encoding='utf-8') as stream:
            stream.write('{"time": "2026')
        self.assertEqual((line(),), device_ledger.read(self.path))
        device_ledger.add(self.path, [line('available')])
        self.assertEqual(
            (line(), line('available')), device_ledger.read(self.path)
        )
        # Longer than what is read at a time, and nothing else.
        with open(self.path, 'w', encoding='utf-8') as stream:
            stream.write('x' * 10000)
        device_ledger.add(self.path, [line()])
        self.assertEqual((line(),), device_ledger.read(self.path))

    def test_other_files(self) -> None:
        os.makedirs(os.path.dirname(self.path))
        for content in ('x\n', '{}\n', '[1]\n', '{"state": "lost"}\n'):
            with open(self.path, 'w', encoding='utf-8') as stream:
                stream.write(content)
            error = self.assertRaises(
                exceptions.InvalidData, device_ledger.read, self.path
            )
            self.assertIn(':1: is not a line of a ledger', str(error))

    def test_link(self) -> None:
        """A link of another user is not followed."""
        os.makedirs(os.path.dirname(self.path))
        os.symlink('elsewhere', self.path)
        self.assertRaises(
            exceptions.DocumentError, device_ledger.add, self.path, [line()]
        )
