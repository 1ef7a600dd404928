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

"""A supervisor whose services are not ready in time."""

import os
import subprocess
import sys

import fixtures
import testtools

from gpuclient.rehearsal import state

_SUPERVISOR = """
import os, signal, sys, time
from gpuclient.rehearsal import process_supervisor, state

def run(ready):
    ready()
    signal.pause()

def hang(ready):
    signal.pause()

class Slow(process_supervisor.ProcessSupervisor):
    def start_services(self):
        self.record.services = [
            state.CloudProcess('keystone'),
            state.CloudProcess('nova-compute', 'gpu-1'),
            state.CloudProcess('nova-compute', 'gpu-2'),
        ]
        self.start_service('keystone', run)
        self.start_service('nova-compute', hang, 'gpu-1')
        self.start_service('nova-compute', hang, 'gpu-2')
        self.wait(lambda: self.record.services[0].state == state.READY)
        self.wait_until_started(time.monotonic())

folder = state.StateFolder(*sys.argv[1:])
sys.exit(Slow(folder, os.open(os.devnull, os.O_WRONLY)).run())
"""


class TestTimeout(testtools.TestCase):
    def test_services_not_ready_in_time(self) -> None:
        top = self.useFixture(fixtures.TempDir()).path
        folder = state.StateFolder('lab', os.path.join(top, 'lab'))
        folder.create()
        os.mkdir(folder.file('log'))
        result = subprocess.run(
            [sys.executable, '-c', _SUPERVISOR, 'lab', str(folder)],
            stdout=subprocess.DEVNULL,
            check=False,
        )
        self.assertEqual(1, result.returncode)
        record = folder.read()
        self.assertEqual(state.FAILED, record.supervisor.state)
        self.assertEqual(
            'Not ready in time: nova-compute on gpu-1, nova-compute on gpu-2',
            record.message,
        )
        # No process is left behind.
        for service in record.services:
            self.assertEqual(
                (state.STOPPED, None), (service.state, service.pid)
            )
