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

import argparse
import importlib.util
import io
import json
import os
import pathlib
import shutil
import unittest.mock

import fixtures
from openstackclient import shell
import testtools

from gpuclient import exceptions
from gpuclient.osc.v1 import rehearsal
from gpuclient.rehearsal import api
from gpuclient.rehearsal import control
from gpuclient.rehearsal import launch
from gpuclient.rehearsal import nova_overlay
from gpuclient.rehearsal import placement_overlay
from gpuclient.rehearsal import spec
from gpuclient.rehearsal import state

_GOLDEN = pathlib.Path(__file__).parent / 'golden'


class TestCommands(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.directory = self.useFixture(fixtures.TempDir()).join('lab')
        self.folder = state.StateFolder('lab', self.directory)
        for name in list(os.environ):
            if name.startswith('OS_'):
                self.useFixture(fixtures.EnvironmentVariable(name))

    def _run(self, command, *arguments):
        app = unittest.mock.Mock()
        instance = command(app, argparse.Namespace())
        instance.app.stdout = io.StringIO()
        parser = instance.get_parser('x')
        parsed = parser.parse_args([*arguments, '--directory', self.directory])
        status = instance.run(parsed)
        return status, instance.app.stdout.getvalue()

    def _refused(self, command, *arguments):
        return str(
            self.assertRaises(
                exceptions.GPUError, self._run, command, *arguments
            )
        )

    def _make(self):
        self.folder.create()
        self.folder.write(
            state.CloudRecord(
                'lab',
                state.CloudProcess(
                    'supervisor', pid=4242, started=1, state=state.READY
                ),
                [
                    state.CloudProcess(
                        'keystone',
                        pid=4243,
                        started=2,
                        port=5000,
                        state=state.READY,
                    ),
                    state.CloudProcess(
                        'nova-compute',
                        'edpm-compute-0',
                        state=state.REFUSED,
                        message="Invalid PCI alias definition: 'PF'",
                    ),
                ],
                nova='31.3.1',
                overlay=True,
                placement='13.0.1',
                placement_overlay=True,
            )
        )

    def _golden(self, name, text):
        document = json.loads(text.replace(self.directory, '/DIRECTORY'))
        expected = json.loads((_GOLDEN / f'{name}.json').read_text())
        self.assertEqual(expected, document)

    def test_show_running(self):
        self._make()
        with (
            unittest.mock.patch.object(
                state.StateFolder, 'locked', lambda s: True
            ),
            unittest.mock.patch.object(
                state, 'memory_mb', lambda processes: 512
            ),
        ):
            status, text = self._run(
                rehearsal.ShowRehearsal, 'lab', '-f', 'json'
            )
            self._golden('rehearsal_show', text)
            self.assertEqual(0, status)
            _status, table = self._run(rehearsal.ShowRehearsal, 'lab')
        self.assertIn('keystone: ready, port 5000', table)
        self.assertIn(
            'nova-compute on edpm-compute-0: refused: Invalid PCI alias',
            table,
        )

    def test_show_stopped(self):
        self._make()
        _status, text = self._run(rehearsal.ShowRehearsal, '-f', 'json')
        self._golden('rehearsal_show_stopped', text)

    def test_refused_service_is_a_partial_answer(self):
        self._make()
        cloud = control.look(self.folder)
        with unittest.mock.patch.object(
            api, 'start', return_value=cloud
        ) as start:
            status, text = self._run(
                rehearsal.StartRehearsal, 'lab', '--hosts', '3', '-f', 'json'
            )
        self.assertEqual(1, status)
        self.assertEqual('lab', json.loads(text)['name'])
        self.assertEqual(spec.default(3, 2), start.call_args.args[1])

    def test_release(self):
        self._make()
        cloud = control.look(self.folder)
        with unittest.mock.patch.object(
            api, 'start', return_value=cloud
        ) as start:
            self._run(rehearsal.StartRehearsal, '--release', 'epoxy')
        self.assertEqual('2025.1', start.call_args.args[4].series)

    def test_unknown_release(self):
        self.assertEqual(
            "Unknown Nova release '2099.1' (newer than 2026.2 (Nova 34.0.0), "
            'the newest that is known): use a release (zed to 2026.2, 26 to '
            '34), a version of Nova (31.3.1) or a product (rhoso-18)',
            self._refused(rehearsal.StartRehearsal, '--release', '2099.1'),
        )
        self.assertFalse(os.path.exists(self.directory))

    def test_release_that_cannot_run(self):
        self.enterContext(
            unittest.mock.patch.object(
                nova_overlay.sys, 'version_info', (3, 12, 1)
            )
        )
        self.assertIn(
            'Nova 26.3.0 runs with Python 3.11 or older, and this is Python '
            '3.12',
            self._refused(rehearsal.StartRehearsal, '--release', 'zed'),
        )
        self.assertFalse(os.path.exists(self.directory))

    def test_other_release_than_that_of_the_databases(self):
        self._make()
        with unittest.mock.patch.object(
            launch, 'launch', side_effect=AssertionError
        ):
            self.assertEqual(
                'Rehearsal cloud lab has databases of Nova 31.3.1, which '
                'cannot run with Nova 34.0.0: delete it first with '
                '"openstack gpu rehearsal stop lab --delete", or choose '
                'another name',
                self._refused(rehearsal.StartRehearsal, '--release', '34'),
            )

    def test_placement(self):
        self._make()
        cloud = control.look(self.folder)
        with unittest.mock.patch.object(
            api, 'start', return_value=cloud
        ) as start:
            self._run(rehearsal.StartRehearsal, '--placement', 'epoxy')
        self.assertEqual('13.0.1', start.call_args.args[5])

    def test_unknown_placement(self):
        self.assertEqual(
            "Unknown release '99' of Placement: use a release (zed to 2026.2) "
            'or a version of Placement (to 16.0.0)',
            self._refused(rehearsal.StartRehearsal, '--placement', '99'),
        )
        self.assertFalse(os.path.exists(self.directory))

    def test_other_placement_than_that_of_the_database(self):
        self._make()
        with unittest.mock.patch.object(
            launch, 'launch', side_effect=AssertionError
        ):
            self.assertEqual(
                'Rehearsal cloud lab has a database of Placement 13.0.1, '
                'which cannot run with Placement 14.0.0: delete it first with '
                '"openstack gpu rehearsal stop lab --delete", or choose '
                'another name',
                self._refused(rehearsal.StartRehearsal, '--placement', '14'),
            )

    def test_placement_of_the_last_start(self):
        self._make()
        with (
            unittest.mock.patch.object(nova_overlay, 'prepare'),
            unittest.mock.patch.object(
                placement_overlay, 'prepare', side_effect=ValueError
            ) as prepare,
            testtools.ExpectedException(ValueError),
        ):
            self._run(rehearsal.StartRehearsal)
        self.assertEqual('13.0.1', prepare.call_args.args[0])

    def test_release_that_is_not_known_any_more(self):
        self._make()
        record = self.folder.read()
        record.nova = '99.0.0'
        self.folder.write(record)
        self.assertEqual(
            'Rehearsal cloud lab runs Nova 99.0.0, which is not known: delete '
            'it with "openstack gpu rehearsal stop lab --delete"',
            self._refused(rehearsal.StartRehearsal),
        )
        record.nova = '9;rm'
        self.folder.write(record)
        self.assertEqual(
            f'Cannot read {self.directory}/state.json: invalid version',
            self._refused(rehearsal.StartRehearsal),
        )

    def test_release_of_the_last_start(self):
        self._make()
        with (
            unittest.mock.patch.object(
                nova_overlay, 'prepare', side_effect=ValueError
            ) as prepare,
            testtools.ExpectedException(ValueError),
        ):
            self._run(rehearsal.StartRehearsal)
        self.assertEqual((31, 3, 1), prepare.call_args.args[0].version)

    def test_no_such_cloud(self):
        for command in (rehearsal.ShowRehearsal, rehearsal.StopRehearsal):
            self.assertEqual(
                f'There is no rehearsal cloud lab in {self.directory}',
                self._refused(command, 'lab'),
            )

    def test_another_cloud_in_the_directory(self):
        self._make()
        self.assertEqual(
            f'Directory {self.directory} has rehearsal cloud lab, not other',
            self._refused(rehearsal.ShowRehearsal, 'other'),
        )

    def test_spec_and_hosts(self):
        self.assertEqual(
            '--spec sets the hosts and devices: omit --hosts and --gpus',
            self._refused(
                rehearsal.StartRehearsal, '--spec', 'x', '--gpus', '0'
            ),
        )

    def test_wrong_spec_changes_nothing(self):
        path = self.useFixture(fixtures.TempDir()).join('spec.yaml')
        with open(path, 'w') as stream:
            stream.write('hosts: [{name: a, gpus: 2}]')
        message = self._refused(rehearsal.StartRehearsal, '--spec', path)
        self.assertIn("hosts[0]: unknown key 'gpus'", message)
        self.assertFalse(os.path.exists(self.directory))

    def test_extra_is_missing(self):
        find = importlib.util.find_spec

        def without_nova(name, *arguments):
            return None if name == 'nova' else find(name, *arguments)

        with unittest.mock.patch.object(
            importlib.util, 'find_spec', without_nova
        ):
            self.assertEqual(
                'A rehearsal cloud needs nova: '
                "pip install 'python-gpuclient[rehearsal]'",
                self._refused(rehearsal.StartRehearsal),
            )
        self.assertFalse(os.path.exists(self.directory))

    def test_register_in_its_own_file(self):
        self.useFixture(
            fixtures.EnvironmentVariable(
                'OS_CLIENT_CONFIG_FILE', self.folder.clouds_yaml
            )
        )
        self.assertEqual(
            'OS_CLIENT_CONFIG_FILE is the clouds.yaml of this rehearsal '
            'cloud: unset it to register the cloud in your own',
            self._refused(rehearsal.StartRehearsal, 'lab', '--register'),
        )

    def test_register_a_foreign_name(self):
        path = self.useFixture(fixtures.TempDir()).join('clouds.yaml')
        with open(path, 'w') as stream:
            stream.write('clouds: {lab-member: {}}\n')
        self.useFixture(
            fixtures.EnvironmentVariable('OS_CLIENT_CONFIG_FILE', path)
        )
        self.assertEqual(
            f'{path} has another cloud lab-member: choose another name for '
            'the rehearsal cloud',
            self._refused(rehearsal.StartRehearsal, 'lab', '--register'),
        )
        self.assertFalse(os.path.exists(self.directory))

    def test_running_with_another_spec(self):
        self._make()
        state.write_private(
            self.folder.file('spec.json'), json.dumps(spec.default(1, 2))
        )
        with (
            unittest.mock.patch.object(
                state.StateFolder, 'locked', lambda s: True
            ),
            unittest.mock.patch.object(control, '_KILL_TIMEOUT', 0),
        ):
            self.assertEqual(
                'Rehearsal cloud lab is running with another spec: stop it, '
                'then start it with the new spec',
                self._refused(rehearsal.StartRehearsal, 'lab', '--hosts', '2'),
            )

    def test_supervisor_does_not_respond(self):
        """Its last line is the reason if it wrote no record."""
        with unittest.mock.patch.object(
            launch.sys, 'executable', '/bin/false'
        ):
            message = self._refused(rehearsal.StartRehearsal, 'lab')
            # Its files do not prevent the next start.
            again = self._refused(rehearsal.StartRehearsal, 'lab')
        self.assertEqual(message, again)
        self.assertEqual(
            'Rehearsal cloud lab did not start: the supervisor logged no '
            f'message (logs: {self.directory}/log)',
            message,
        )

    def test_stop_an_unverified_process(self):
        self._make()
        with (
            unittest.mock.patch.object(
                state.StateFolder, 'locked', lambda s: True
            ),
            unittest.mock.patch.object(control, '_KILL_TIMEOUT', 0),
        ):
            self.assertEqual(
                'Process 4242 does not prove that it is the supervisor of '
                'rehearsal cloud lab; no process was ended. Find the process '
                f'that holds {self.directory}/lock (fuser)',
                self._refused(rehearsal.StopRehearsal, 'lab'),
            )

    def test_bound_to_a_missing_process(self):
        self.assertEqual(
            'Cannot bind the cloud to process 4194304: it does not exist',
            self._refused(
                rehearsal.StartRehearsal, 'lab', '--bound-to', '4194304'
            ),
        )
        self.assertFalse(os.path.exists(self.directory))

    def test_stop_and_delete(self):
        self._make()
        self.assertEqual((0, ''), self._run(rehearsal.StopRehearsal, 'lab'))
        self.assertEqual(
            (0, ''), self._run(rehearsal.StopRehearsal, 'lab', '--delete')
        )
        self.assertFalse(os.path.exists(self.directory))

    def test_delete_does_not_follow_a_link(self):
        """The target of a link is not deleted."""
        self._make()
        there = f'{self.directory}-there'
        os.rename(self.directory, there)
        self.addCleanup(shutil.rmtree, there)
        os.symlink(there, self.directory)
        self.assertIn(
            f'Cannot delete {self.directory}: ',
            self._refused(rehearsal.StopRehearsal, 'lab', '--delete'),
        )
        self.assertTrue(os.path.exists(os.path.join(there, 'state.json')))

    def test_no_cloud_is_needed(self):
        """The shell asks for no credentials."""
        stream = io.StringIO()
        with unittest.mock.patch('sys.stderr', stream):
            status = shell.main(
                ['gpu', 'rehearsal', 'show', '--directory', self.directory]
            )
        self.assertEqual(1, status)
        self.assertIn('There is no rehearsal cloud', stream.getvalue())
