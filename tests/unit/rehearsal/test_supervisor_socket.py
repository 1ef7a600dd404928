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

"""Only the supervisor of the folder is ended."""

import os
import select
import signal
import subprocess
import sys
import unittest.mock

import fixtures
import testtools

from gpuclient import exceptions
from gpuclient.rehearsal import control
from gpuclient.rehearsal import supervisor_socket
from gpuclient.rehearsal import state

#: A supervisor with one service that does nothing.
_CLOUD = """
import signal, sys, time
from gpuclient.rehearsal import process_supervisor, state, supervisor

def run(ready):
    ready()
    signal.pause()

class Small(process_supervisor.ProcessSupervisor):
    def __init__(self, *args, packages, lock):
        super().__init__(*args)

    def start_services(self):
        self.record.services = [state.CloudProcess('nova-idle')]
        self.start_service('nova-idle', run)
        self.wait_until_started(time.monotonic() + 60)

supervisor.Supervisor = Small
sys.exit(supervisor.main())
"""


def identity(pid):
    return [pid, state.start_time(pid)]


class Base(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.top = self.useFixture(fixtures.TempDir()).path

    def folder(self, name='lab'):
        folder = state.StateFolder(name, os.path.join(self.top, name))
        folder.create()
        os.makedirs(folder.file('log'), exist_ok=True)
        return folder

    def process(self, *code, **kwargs):
        child = subprocess.Popen([sys.executable, '-c', *code], **kwargs)
        self.addCleanup(child.wait)
        self.addCleanup(child.kill)
        return child

    def idle(self):
        return self.process('import signal; signal.pause()')

    def cloud(self, folder, bound_to='null'):
        """Start a supervisor, and wait until its service is ready."""
        reader, writer = os.pipe()
        with open(folder.file('log', 'supervisor.log'), 'wb') as log:
            child = self.process(
                *(_CLOUD, folder.name, str(folder), str(writer), bound_to),
                '[null, null]',
                pass_fds=(writer,),
                stdout=log,
                stderr=log,
            )
        os.close(writer)
        with open(reader) as lines:
            progress = lines.read()
        self.assertIn('nova-idle is ready', progress)
        self.assertEqual(child.pid, folder.read().supervisor.pid)
        return child

    def plant(self, folder, pid, started):
        folder.write(
            state.CloudRecord(
                folder.name,
                state.CloudProcess(
                    'supervisor', pid=pid, started=started, state=state.READY
                ),
                [],
            )
        )


class TestProof(Base):
    def test_the_supervisor(self):
        folder = self.folder()
        child = self.cloud(folder)
        with supervisor_socket.supervisor(folder) as descriptor:
            self.assertIsNotNone(descriptor)
        (service,) = folder.read().services
        self.assertTrue(control.stop(folder))
        self.assertEqual(0, child.wait())
        self.assertFalse(state.lives(service))
        self.assertFalse(control.stop(folder))

    def test_killed_supervisor_leaves_no_service(self):
        folder = self.folder()
        child = self.cloud(folder)
        (service,) = folder.read().services
        with state.handle(service) as descriptor:
            child.kill()
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            self.assertTrue(poll.poll(30_000))

    def _stop_refused(self, folder):
        with unittest.mock.patch.object(control, '_KILL_TIMEOUT', 0):
            return str(
                self.assertRaises(
                    exceptions.RehearsalError, control.stop, folder
                )
            )

    def test_foreign_process_in_a_planted_record(self):
        folder = self.folder()
        foreign = self.idle()
        self.plant(folder, *identity(foreign.pid))
        descriptor = folder.lock()
        self.addCleanup(os.close, descriptor)
        self.assertIn(
            f'Process {foreign.pid} does not prove that it is the supervisor',
            self._stop_refused(folder),
        )
        self.assertIsNone(foreign.poll())

    def test_foreign_service_in_a_planted_record(self):
        """Only the supervisor ends services."""
        folder = self.folder()
        foreign = self.idle()
        child = self.cloud(folder)
        record = folder.read()
        pid, started = identity(foreign.pid)
        record.services.append(
            state.CloudProcess('nova-x', pid=pid, started=started)
        )
        folder.write(record)
        self.assertTrue(control.stop(folder))
        child.wait()
        self.assertIsNone(foreign.poll())

    def test_supervisor_of_another_folder(self):
        other, folder = self.folder('other'), self.folder()
        child = self.cloud(other)
        self.plant(folder, *identity(child.pid))
        os.link(
            other.file(supervisor_socket.SOCKET),
            folder.file(supervisor_socket.SOCKET),
        )
        self.addCleanup(os.close, folder.lock())
        self._stop_refused(folder)
        self.assertIsNone(child.poll())
        with supervisor_socket.supervisor(other) as descriptor:
            self.assertIsNotNone(descriptor)

    def test_reused_pid(self):
        folder = self.folder()
        child = self.cloud(folder)
        pid, started = identity(child.pid)
        self.plant(folder, pid, started - 1)
        self._stop_refused(folder)
        self.assertIsNone(child.poll())


class TestBound(Base):
    def test_ends_with_what_started_it(self):
        folder = self.folder()
        starter = self.idle()
        pid, started = identity(starter.pid)
        child = self.cloud(folder, f'[{pid}, {started}]')
        record = folder.read()
        self.assertEqual(pid, record.bound_to.pid)
        (service,) = record.services
        with state.handle(service) as descriptor:
            starter.send_signal(signal.SIGKILL)
            self.assertEqual(0, child.wait(30))
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            self.assertTrue(poll.poll(30_000))
        self.assertFalse(folder.locked())

    def test_is_not_started_for_another_process(self):
        """Its process ID may belong to another process by now."""
        folder = self.folder()
        pid, started = identity(os.getpid())
        reader, writer = os.pipe()
        child = self.process(
            *(_CLOUD, folder.name, str(folder), str(writer)),
            f'[{pid}, {started - 1}]',
            'null',
            pass_fds=(writer,),
            stdout=subprocess.PIPE,
        )
        os.close(writer)
        os.close(reader)
        output, _errors = child.communicate(timeout=60)
        self.assertEqual(1, child.returncode)
        self.assertEqual(
            b'the process that the cloud is bound to has ended\n', output
        )

    def test_cloud_that_runs_is_bound_to_nobody_else(self):
        folder = self.folder()
        self.cloud(folder)
        error = self.assertRaises(
            exceptions.RehearsalError,
            control.start,
            folder,
            bound_to=os.getpid(),
        )
        self.assertIn('is running already and is not bound to', str(error))
        control.stop(folder)
