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

"""``openstack gpu check`` without a cloud: configuration and hosts."""

import os
import pathlib
import typing

from gpuclient.osc.v1 import check
from gpuclient.osc.v1 import config
from gpuclient.osc.v1 import host

from tests.unit.host import trees
from tests.unit.osc.v1 import test_host

BROKEN = '[pci]\ndevice_spec = {]\n'


class TestCheck(test_host.TestCase):
    def rows(self, *arguments: str, status: int) -> dict[str, typing.Any]:
        """Return the results by check, with the code in place of a PASS."""
        rows = self.run_json(check.Check, *arguments, status=status)
        return {
            row['Check']: row['Code'] or row['Result']
            for row in reversed(rows)
        }

    def test_configuration(self) -> None:
        path = self.config(BROKEN)
        rows = self.rows('--config', path, status=3)
        self.assertEqual('GPU302', rows['configuration'])
        self.assertEqual('SKIPPED', rows['host'])
        self.assertEqual({'GPU302', 'SKIPPED'}, set(rows.values()))
        rows = self.rows('--config', path, '--fail-on', 'none', status=0)
        self.assertEqual('GPU302', rows['configuration'])

    def test_table(self) -> None:
        """Long messages are below the table, each whole and once."""
        path = self.config(BROKEN)
        _status, text = self.run_command(check.Check, '--config', path)
        table, *messages = text.split('\n\n')
        (message,) = self.messages('--config', path)
        self.assertIn(f'GPU302 {path}:2: {message}', messages)
        self.assertNotIn(message[:20], table)
        self.assertIn('| GPU302 |', table)
        cloud = [line for line in messages if 'There is no cloud' in line]
        self.assertEqual(1, len(cloud))
        self.assertIn('SKIPPED control plane, alias in nova-api, ', cloud[0])
        # A column that is selected is a column.
        _status, text = self.run_command(
            check.Check, '--config', path, '-c', 'Message'
        )
        self.assertIn(message[:20], text)
        self.assertNotIn('\n\n', text)

    def messages(self, *arguments: str) -> list[str]:
        rows = self.run_json(check.Check, *arguments, status=3)
        return [row['Message'] for row in rows if row['Code']]

    def test_mute(self) -> None:
        path = self.config(BROKEN)
        mutes = pathlib.Path(self.folder, 'mutes')
        mutes.write_text(f'GPU302={path}  # known\n')
        for arguments in (
            ('--mute', 'GPU302'),
            ('--mute', f'GPU302={path}:2'),
            ('--mute-file', os.fspath(mutes)),
        ):
            rows = self.rows('--config', path, *arguments, status=0)
            self.assertNotIn('configuration', rows)
        rows = self.rows('--config', path, '--mute', 'GPU302=other', status=3)
        self.assertEqual('GPU302', rows['configuration'])
        self.assertIn(
            'is not CODE',
            self.refused(check.Check, '--config', path, '--mute', 'GPU'),
        )
        self.assertIn(
            'No such file',
            self.refused(check.Check, '--config', path, '--mute-file', 'no'),
        )

    def test_hosts(self) -> None:
        path = self.bundle(trees.a100())
        results = self.run_json(check.Check, '--host', path)
        of_host = [row for row in results if row['Check'].startswith('host: ')]
        self.assertEqual({'PASS'}, {row['Result'] for row in of_host})
        self.assertIn('SKIPPED', [row['Result'] for row in results])
        rows = self.rows('--host', self.config(), status=1)
        self.assertEqual('SKIPPED', rows['host'])


class TestMutesOfOtherChecks(test_host.TestCase):
    def test_config_check(self) -> None:
        path = self.config(BROKEN)
        for pattern, codes in (
            ('GPU302', []),
            (f'GPU302={path}', []),
            (f'GPU302={path}:2', []),
            (f'GPU302={path}:3', ['GPU302']),
            ('GPU301', ['GPU302']),
        ):
            rows = self.run_json(
                config.CheckConfig,
                *(path, '--mute', pattern),
                status=3 if codes else 0,
            )
            self.assertEqual(codes, [row['Code'] for row in rows])

    def test_host_check(self) -> None:
        path = self.bundle(trees.nouveau())
        before = self.run_json(host.CheckHost, path, '--fail-on', 'none')
        codes = {row['Code'] for row in before if row['Code']}
        self.assertNotEqual(set(), codes)
        arguments = [
            argument for code in sorted(codes) for argument in ('--mute', code)
        ]
        rows = self.run_json(host.CheckHost, path, *arguments)
        self.assertEqual(set(), {row['Code'] for row in rows} - {None})
