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

"""Configuration trees in a real Nova."""

import json
import os
import pathlib
import shutil
import signal
import subprocess

import fixtures

import gpuclient
from gpuclient.rehearsal import state
from tests.functional import base

_CODES = ['GPU302']
_TREES = pathlib.Path(__file__).parent / 'trees'
_EXAMPLE = (
    pathlib.Path(gpuclient.__file__).parent.parent
    / 'doc/source/user/examples/rhoso.yaml'
)


class TestRehearse(base.OwnCloudTestCase):
    def setUp(self):
        super().setUp()
        self.temporary = self.directory / 't'
        self.temporary.mkdir()
        self.useFixture(
            fixtures.MonkeyPatch('tempfile.tempdir', os.fspath(self.temporary))
        )
        self.useFixture(
            fixtures.EnvironmentVariable('TMPDIR', os.fspath(self.temporary))
        )

    def rehearse(self, *arguments, status=0):
        rows = self.openstack(
            'gpu',
            'config',
            'rehearse',
            '-f',
            'json',
            *arguments,
            status=status,
        )
        self.assertEqual([], os.listdir(self.temporary))
        return rows

    def copy(self, name):
        folder = self.directory / name
        shutil.copytree(_TREES / name, folder)
        os.chdir(folder)
        return folder

    def test_example_configuration(self):
        self.addCleanup(os.chdir, os.getcwd())
        self.copy('origin')
        self.assert_golden('config_rehearse', self.rehearse('.'))

    def test_output_of_config_create(self):
        """Nova reports exactly the cards of the description."""
        result = self.run_command(
            *('gpu', 'config', 'create', os.fspath(_EXAMPLE), '-f', 'json'),
            *('--output', os.fspath(self.directory / 'out')),
        )
        self.assertIn('Release: rhoso-18', result.stderr)
        created = json.loads(result.stdout)
        rows = self.rehearse(os.fspath(self.directory / 'out'))
        self.assertEqual(
            sorted(
                name.rpartition('_')[2].lower()
                for name in created['providers']
            ),
            sorted(row['Name'] for row in rows if row['Kind'] == 'device'),
        )
        self.assertEqual(
            {'started', 'reported', 'boots'}, {row['State'] for row in rows}
        )
        self.assertEqual([], [row for row in rows if row['Codes']])

    def test_errors_of_nova(self):
        """Rows have Nova's message and the findings that predict it."""
        self.addCleanup(os.chdir, os.getcwd())
        folder = self.copy('plain')
        self.stop_at_the_end('kept')
        rows = self.rehearse(
            *('--keep', 'kept', '--bound-to', str(os.getpid())),
            *('--long', '.'),
            status=3,
        )
        self._check_rows(rows)
        self._check_kept_cloud()
        message = self.refused(
            'gpu', 'config', 'rehearse', '--keep', 'kept', os.fspath(folder)
        )
        self.assertIn('Rehearsal cloud kept exists already', message)

    def _check_rows(self, rows):
        self.assertEqual(
            [
                ('service', 'nova-api-1', 'started', None, None, []),
                ('service', 'nova-conductor', 'started', None, None, []),
                ('service', 'nova-scheduler', 'started', None, None, []),
                # pci_in_placement is in nova.conf, which both also read.
                ('service', 'nova-compute', 'refused', None, None, _CODES),
                ('service', 'nova-compute', 'started', None, None, []),
                ('device', 'unknown', 'missing', None, None, _CODES),
                ('device', '0000:04:00.0', 'reported', 1, 1, []),
                ('device', '0000:1b:00.0', 'reported', 1, 1, []),
                ('device', '0000:82:00.0', 'reported', 1, 1, []),
                ('alias', 'h100:1', 'fails', 0, 0, []),
                ('alias', 'l40:1', 'boots', 2, 2, []),
                ('alias', 'l40:2', 'boots', 1, 1, []),
            ],
            [
                (
                    row['Kind'],
                    row['Name'],
                    row['State'],
                    row['Expected'],
                    row['Actual'],
                    row['Codes'],
                )
                for row in rows
                if row['Kind'] != 'option'
            ],
        )
        (refused,) = (row for row in rows if row['State'] == 'refused')
        self.assertEqual(
            (
                'gpu-1',
                'Invalid [pci]device_spec config: property slot (99) is '
                'greater than the maximum allowable value (1F).',
                './gpu-1/nova-compute.conf',
                3,
            ),
            tuple(refused[key] for key in ('Host', 'Detail', 'File', 'Line')),
        )
        (failed,) = (row for row in rows if row['Name'] == 'h100:1')
        self.assertEqual('No valid host was found.', failed['Detail'])
        self.assertEqual(
            [
                ('[DEFAULT]transport_url', 'replaced', 3),
                ('[database]connection', 'replaced', 6),
                ('[keystone_authtoken]auth_url', 'replaced', 8),
                ('[keystone_authtoken]password', 'replaced', 9),
                ('[libvirt]cpu_mode', 'unread', 11),
            ],
            [
                (row['Name'], row['State'], row['Line'])
                for row in rows
                if row['Kind'] == 'option'
            ],
        )

    def _check_kept_cloud(self):
        """The cloud is running, and has no secret of the configuration."""
        cloud = self.openstack(
            'gpu', 'rehearsal', 'show', 'kept', '-f', 'json'
        )
        self.assertEqual('ready', cloud['state'])
        files = [
            path
            for path in pathlib.Path(cloud['directory']).rglob('*')
            if path.is_file()
        ]
        self.assertNotEqual([], files)
        for path in files:
            self.assertNotIn(b'hunter2', path.read_bytes(), path)

    def test_interrupted_run_deletes_its_cloud(self):
        program = subprocess.Popen(
            [
                *base.PROGRAM,
                *('gpu', 'config', 'rehearse', os.fspath(_TREES / 'origin')),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(program.kill)

        def find_folder():
            self.assertIsNone(program.poll())
            for path in self.temporary.iterdir():
                folder = state.StateFolder('x', os.fspath(path))
                if folder.exists():
                    return folder
            return None

        folder = base.wait_until(find_folder, expected='the cloud starts')
        supervisor = folder.read().supervisor
        self.assertTrue(state.lives(supervisor))
        program.send_signal(signal.SIGTERM)
        _stdout, stderr = program.communicate(timeout=60)
        self.assertEqual(128 + signal.SIGTERM, program.returncode)
        self.assertEqual('', stderr)
        self.assertFalse(state.lives(supervisor))
        self.assertEqual([], os.listdir(self.temporary))
