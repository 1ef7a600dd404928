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

"""A cloud's life cycle: start, restart, kill, stop, register, parallel."""

import json
import os
import pathlib
import signal
import stat
import subprocess
import sys
import threading
import typing

import fixtures
import openstack

from gpuclient.rehearsal import state
from tests.functional import base


def _processes(cloud):
    """Return the processes of a cloud that its folder records."""
    record = json.loads(
        pathlib.Path(cloud['directory'], 'state.json').read_text()
    )
    return [
        state.CloudProcess(**item)
        for item in [record['supervisor'], *record['services']]
    ]


def _heed_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)


class TestLifecycle(base.OwnCloudTestCase):
    def _boot(self, name):
        cloud = openstack.connect(cloud=self.os_cloud)
        self.addCleanup(cloud.close)
        (image,) = cloud.image.images(name='blank')
        flavor = cloud.compute.create_flavor(
            name=name, vcpus=1, ram=512, disk=1
        )
        cloud.compute.create_flavor_extra_specs(
            flavor, {'pci_passthrough:alias': 'nvidia_a100:1'}
        )
        server = cloud.compute.create_server(
            name=name, flavor_id=flavor.id, image_id=image.id, networks='none'
        )
        return cloud.compute.wait_for_server(server, interval=0.2, wait=60)

    def test_start_kill_restart_and_stop(self):
        cloud = self.start('life', '--register')
        self.assertEqual('ready', cloud['state'])
        self.assertEqual(
            {'ready'}, {service['state'] for service in cloud['services']}
        )
        processes = _processes(cloud)
        self.assertTrue(all(map(state.lives, processes)))

        folder = pathlib.Path(cloud['directory'])
        self._check_private(cloud, folder)
        registered = self._check_registered(cloud)

        # Servers are kept, however the processes end.
        server = self._boot('survivor')
        os.kill(cloud['pid'], signal.SIGKILL)
        self._wait_for_end(processes, state.StateFolder('life', folder))
        self._check_stopped()
        self.start('life')
        self._check_server_is_kept(server)

        processes = _processes(cloud)
        self.openstack('gpu', 'rehearsal', 'stop', 'life')
        self.assertFalse(any(map(state.lives, processes)))
        self.openstack('gpu', 'rehearsal', 'stop', 'life', '--delete')
        self.assertFalse(folder.exists())
        self.assertNotIn('life', registered.read_text())
        self.os_cloud = None
        message = self.refused('gpu', 'rehearsal', 'stop', 'life')
        self.assertIn('There is no rehearsal cloud life', message)

    def _check_private(
        self, cloud: dict[str, typing.Any], folder: pathlib.Path
    ) -> None:
        """Only its owner can read it, and a second start changes nothing."""
        for path in (folder, folder / 'clouds.yaml', folder / 'state.json'):
            self.assertEqual(0, stat.S_IMODE(path.stat().st_mode) & 0o077)
        self.assertEqual(
            f'export OS_CLIENT_CONFIG_FILE={folder}/clouds.yaml OS_CLOUD=life',
            cloud['use'],
        )
        again = self.openstack(
            'gpu', 'rehearsal', 'start', 'life', '-f', 'json'
        )
        self.assertEqual(cloud['pid'], again['pid'])
        message = self.refused(
            'gpu', 'rehearsal', 'start', 'life', '--hosts', '2'
        )
        self.assertIn('is running with another spec', message)

    def _check_registered(self, cloud: dict[str, typing.Any]) -> pathlib.Path:
        """Return the clouds.yaml of the user, which has its entries."""
        self.assertEqual(['life', 'life-member'], cloud['registered'])
        registered = self.directory / 'config/openstack/clouds.yaml'
        self.assertIn('life-member:', registered.read_text())
        self.assertEqual(0o600, stat.S_IMODE(registered.stat().st_mode))
        return registered

    def _check_stopped(self) -> None:
        shown = self.openstack(
            'gpu', 'rehearsal', 'show', 'life', '-f', 'json'
        )
        self.assertEqual('stopped', shown['state'])
        self.assertIsNone(shown['pid'])

    def _check_server_is_kept(self, server: typing.Any) -> None:
        compute = openstack.connect(cloud='life').compute
        active = compute.get_server(server.id)
        self.assertEqual('ACTIVE', active.status)
        compute.stop_server(active)
        compute.wait_for_server(active, status='SHUTOFF', interval=0.2)
        compute.delete_server(active)
        compute.wait_for_delete(active, interval=0.2, wait=60)
        hypervisors = self.openstack('hypervisor', 'list', '-f', 'json')
        self.assertEqual(1, len(hypervisors))

    def test_side_by_side_without_a_template(self):
        """Two clouds can start at the same time."""
        self.useFixture(
            fixtures.EnvironmentVariable(
                'XDG_CACHE_HOME', os.fspath(self.directory / 'cache')
            )
        )
        results = {}

        def start(name):
            # In its own process: the shell does not support threads.
            results[name] = base.run_program(
                *('gpu', 'rehearsal', 'start', name, '-f', 'json'),
                *('--bound-to', str(os.getpid())),
            )

        threads = [
            threading.Thread(target=start, args=(name,))
            for name in ('left', 'right')
        ]
        for name in ('left', 'right'):
            self.stop_at_the_end(name)
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        ports = []
        for name, result in results.items():
            self.assertEqual(0, result.status, result.stderr)
            cloud = json.loads(result.stdout)
            self.use(cloud)
            ports += [s['port'] for s in cloud['services'] if s['port']]
            (hypervisor,) = self.openstack('hypervisor', 'list', '-f', 'json')
            self.assertEqual('up', hypervisor['State'], name)
        self.assertEqual(10, len(set(ports)))
        templates = list(
            (self.directory / 'cache/gpuclient/rehearsal').glob('databases-*')
        )
        self.assertEqual(1, len(templates))

    def test_interrupted_start_deletes_its_cloud(self):
        program = subprocess.Popen(
            [
                *(*base.PROGRAM, 'gpu', 'rehearsal', 'start', 'ctrlc'),
                *('--bound-to', str(os.getpid())),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # A shell that runs tests in the background makes them ignore it.
            preexec_fn=_heed_interrupts,
        )
        self.addCleanup(program.kill)
        self.stop_at_the_end('ctrlc')
        folder = state.StateFolder('ctrlc')
        base.wait_until(
            lambda: (
                folder.exists()
                and any(service.pid for service in folder.read().services)
            ),
            expected='a service starts',
        )
        program.send_signal(signal.SIGINT)
        _stdout, stderr = program.communicate(timeout=60)
        self.assertNotEqual(0, program.returncode)
        self.assertNotIn('Traceback', stderr)
        self.assertFalse(folder.locked())
        self._start_bound('ctrlc')

    def _start_bound(self, name):
        """Start a cloud again; it stops with the process it is bound to."""
        starter = subprocess.Popen(
            [sys.executable, '-c', 'import signal; signal.pause()']
        )
        self.addCleanup(starter.wait)
        self.addCleanup(starter.kill)
        cloud = self.start(name, '--bound-to', str(starter.pid))
        processes = _processes(cloud)
        self.assertTrue(all(map(state.lives, processes)))
        starter.kill()
        self._wait_for_end(
            processes, state.StateFolder(name, cloud['directory'])
        )

    def _wait_for_end(self, processes, folder):
        """Wait until no process is running.

        Threads of a process may end after it, and hold the lock until then.
        """
        base.wait_until(
            lambda: (
                not any(map(state.lives, processes)) and not folder.locked()
            ),
            expected='the cloud ends',
        )

    def test_failed_start_reports_the_reason(self):
        spec = self.directory / 'spec.json'
        spec.write_text(
            json.dumps(
                {
                    'control_plane': {
                        'conductor': {'config': '[DEFAULT\nx = 1\n'}
                    },
                    'hosts': [],
                }
            )
        )
        self.stop_at_the_end('bad')
        message = self.refused(
            'gpu', 'rehearsal', 'start', 'bad', '--spec', os.fspath(spec)
        )
        self.assertIn('Rehearsal cloud bad did not start', message)
        self.assertIn('nova-conductor', message)
        self.assertIn("Invalid section (must end with ]): '[DEFAULT'", message)
        shown = self.openstack('gpu', 'rehearsal', 'show', 'bad', '-f', 'json')
        self.assertEqual('failed', shown['state'])
        self.assertIn('nova-conductor', shown['message'])
