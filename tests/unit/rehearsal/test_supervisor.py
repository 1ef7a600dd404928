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

"""A start that takes too long."""

import os

import fixtures
import testtools

from gpuclient import exceptions
from gpuclient.rehearsal import state
from gpuclient.rehearsal import supervisor


class TestWait(testtools.TestCase):
    def test_not_ready_in_time(self):
        directory = self.useFixture(fixtures.TempDir()).path
        progress = os.open(os.devnull, os.O_WRONLY)
        self.addCleanup(os.close, progress)
        cloud = supervisor.Supervisor(
            state.StateFolder('lab', directory), progress
        )
        cloud._record.services = [
            state.CloudProcess('keystone', state=state.READY),
            state.CloudProcess('nova-compute', 'gpu-1'),
            state.CloudProcess('nova-compute', 'gpu-2'),
        ]
        error = self.assertRaises(
            exceptions.RehearsalError, cloud._wait, lambda: False, 0
        )
        self.assertEqual(
            'Not ready in time: nova-compute on gpu-1, nova-compute on gpu-2',
            str(error),
        )
