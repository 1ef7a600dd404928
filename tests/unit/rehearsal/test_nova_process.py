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
"""A supervisor whose processes of Nova are forked from a worker."""

import importlib.metadata
import os
import pathlib
import subprocess
import sys

import fixtures
import testtools

from gpuclient import exceptions
from gpuclient.rehearsal import nova_overlay
from gpuclient.rehearsal import nova_process
from gpuclient.rehearsal import state

#: The overlay is empty: the worker imports the installed Nova.
_SUPERVISOR = """
import os, pathlib, signal, sys, time
from gpuclient import exceptions
from gpuclient.rehearsal import nova_overlay, overlays, state, supervisor

class Small(supervisor.Supervisor):
    def start_services(self):
        self.record.services = [state.CloudProcess('nova-scheduler')]
        state.adopt_orphans()
        self._worker = self._start_worker(self._overlay)
        self.show_version('first')
        os.kill(self.record.worker.pid, signal.SIGKILL)
        self.wait(lambda: self.status_of_helper('nova') is not None)
        # As if a service was started again in a cloud that runs.
        self.record.supervisor.state = state.READY
        self.show_version('second')
        self.start_service('nova-scheduler', self._job(
            {'kind': 'scheduler', 'arguments': ['--config-file', '/none']}
        ))
        self.wait_until_started(time.monotonic() + 100)
        self.wait(lambda: self.record.services[0].pid is None)
        raise exceptions.RehearsalError('enough')

    def show_version(self, name):
        self.start_helper(name, self._job({
            'kind': 'manage',
            'arguments': ['--version'],
            'log': self.folder.file('log', name),
        }))
        # That of a process which is no child of this one never comes.
        self.wait_for_helper(name, time.monotonic() + 100)

folder = state.StateFolder(*sys.argv[1:3])
overlay = nova_overlay.NovaOverlay('34.0.0', pathlib.Path(sys.argv[3]))
progress = os.open(os.devnull, os.O_WRONLY)
sys.exit(Small(folder, progress, packages=overlays.Overlays(overlay)).run())
"""


class TestWorker(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.top = self.useFixture(fixtures.TempDir()).path
        self.folder = state.StateFolder('lab', os.path.join(self.top, 'lab'))
        self.folder.create()
        os.mkdir(self.folder.file('log'))

    def test_processes(self) -> None:
        """Processes start even after the worker was killed, and report."""
        done = subprocess.run(
            [
                *(sys.executable, '-c', _SUPERVISOR, 'lab'),
                *(str(self.folder), os.path.join(self.top, 'overlay')),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        record = self.folder.read()
        self.assertEqual('enough', record.message, done.stdout + done.stderr)
        for name in ('first', 'second'):
            self.assertEqual(
                f'{importlib.metadata.version("nova")}\n',
                pathlib.Path(self.folder.file('log', name)).read_text(),
            )
        (service,) = record.services
        self.assertEqual(state.REFUSED, service.state)
        self.assertIn('/none', service.message)
        self.assertEqual(('34.0.0', True), (record.nova, record.overlay))
        worker = record.worker
        self.assertIsNotNone(worker)
        assert worker is not None
        self.assertFalse(state.lives(worker))

    def test_worker_that_does_not_run(self) -> None:
        overlay = nova_overlay.NovaOverlay('31.3.1', pathlib.Path(self.top))
        worker = nova_process.NovaWorker(overlay, 1)
        self.assertFalse(worker.is_ready())
        worker.started()
        self.assertFalse(worker.is_ready())
        error = self.assertRaises(
            exceptions.RehearsalError,
            worker.spawn,
            nova_process.NovaJob({}, '31.3.1'),
            None,
            1,
        )
        self.assertEqual(
            'The process that starts those of Nova 31.3.1 has ended or does '
            'not answer',
            str(error),
        )
        worker.close()
