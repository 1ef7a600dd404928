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

import json
import os
import signal
import stat
import subprocess
import sys
import unittest.mock

import ddt
import fixtures
import testtools

from gpuclient import exceptions
from gpuclient.rehearsal import supervisor_socket
from gpuclient.rehearsal import state


def _process(**changes):
    return state.CloudProcess(
        'me',
        **{
            'pid': os.getpid(),
            'started': state.start_time(os.getpid()),
            **changes,
        },
    )


@ddt.ddt
class TestFolder(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.directory = self.useFixture(fixtures.TempDir())

    def test_default_place(self):
        self.useFixture(
            fixtures.EnvironmentVariable('XDG_STATE_HOME', '/tmp/state')
        )
        folder = state.StateFolder('lab')
        self.assertEqual('/tmp/state/gpuclient/rehearsal/lab', str(folder))
        self.assertEqual(
            'export OS_CLIENT_CONFIG_FILE='
            '/tmp/state/gpuclient/rehearsal/lab/clouds.yaml OS_CLOUD=lab',
            folder.use,
        )

    @ddt.data('', '.', '..', '../x', 'a/b', '-a', 'a b', 'a\n', 'a' * 64)
    def test_name_refused(self, name):
        error = self.assertRaises(
            exceptions.InvalidValue, state.StateFolder, name
        )
        self.assertIn(
            f'Invalid name {name!r} of a rehearsal cloud', str(error)
        )

    @ddt.data('a b', 'a$b', 'a%b', 'a?b', "a'b", 'a\nb', 'a:b')
    def test_directory_refused(self, name):
        error = self.assertRaises(
            exceptions.InvalidValue, state.StateFolder, 'x', f'/tmp/{name}'
        )
        self.assertIn('spaces and characters such as', str(error))

    def test_directory_too_long(self):
        error = self.assertRaises(
            exceptions.InvalidValue, state.StateFolder, 'x', '/' + 'a' * 80
        )
        self.assertIn('at most 80 bytes', str(error))

    def test_create(self):
        folder = state.StateFolder('x', self.directory.join('new', 'one'))
        folder.create()
        self.assertEqual(0o700, stat.S_IMODE(folder.path.stat().st_mode))
        folder.create()

    def test_foreign_folder(self):
        path = self.directory.join('photos')
        os.mkdir(path)
        with open(os.path.join(path, 'cat.jpeg'), 'w'):
            pass
        error = self.assertRaises(
            exceptions.RehearsalError, state.StateFolder('x', path).create
        )
        self.assertEqual(
            f'Directory {path} is not empty and has no rehearsal cloud: '
            'choose an empty folder',
            str(error),
        )

    def test_folder_that_cannot_be_made(self):
        path = self.directory.join('file')
        with open(path, 'w'):
            pass
        error = self.assertRaises(
            exceptions.RehearsalError,
            state.StateFolder('x', f'{path}/below').create,
        )
        self.assertEqual(
            f'Cannot create folder {path}/below: Not a directory',
            str(error),
        )

    def test_record(self):
        folder = state.StateFolder('x', self.directory.path)
        self.assertFalse(folder.exists())
        record = state.CloudRecord(
            'x',
            state.CloudProcess('supervisor', pid=1),
            [
                state.CloudProcess(
                    'nova-compute', 'a', state=state.REFUSED, message='why'
                ),
                state.CloudProcess('keystone', port=5000, state=state.READY),
            ],
        )
        folder.write(record)
        self.assertTrue(folder.exists())
        self.assertEqual(record, folder.read())
        self.assertEqual(
            0o600, stat.S_IMODE(os.stat(folder.file('state.json')).st_mode)
        )
        (refused,) = record.refused
        self.assertEqual('nova-compute on a', refused.title)

    def test_no_record(self):
        folder = state.StateFolder('x', self.directory.path)
        error = self.assertRaises(exceptions.RehearsalError, folder.read)
        self.assertEqual(
            f'There is no rehearsal cloud x in {folder}', str(error)
        )

    def test_broken_record(self):
        folder = state.StateFolder('x', self.directory.path)
        with open(folder.file('state.json'), 'w') as stream:
            stream.write('{')
        error = self.assertRaises(exceptions.RehearsalError, folder.read)
        self.assertIn(f'Cannot read {folder.file("state.json")}: ', str(error))

    @ddt.data(
        {'pid': '1'},
        {'pid': -1},
        {'pid': True},
        {'started': 1.5},
        {'port': [1]},
        {'state': 'fine'},
        {'name': 'a\x1b[31m'},
        {'host': 'a b'},
        {'other': 1},
    )
    def test_foreign_record(self, values):
        folder = state.StateFolder('x', self.directory.path)
        record = {
            'name': 'x',
            'supervisor': {'name': 'supervisor', **values},
            'services': [],
            'message': '',
        }
        state.write_private(folder.file('state.json'), json.dumps(record))
        error = self.assertRaises(exceptions.RehearsalError, folder.read)
        self.assertIn(f'Cannot read {folder.file("state.json")}: ', str(error))

    def test_messages_are_one_line(self):
        folder = state.StateFolder('x', self.directory.path)
        folder.write(
            state.CloudRecord(
                'x',
                state.CloudProcess('supervisor', message='a\n\x1b[31m'),
                [],
            )
        )
        self.assertTrue(folder.read().supervisor.message.isprintable())

    def test_delete_own_files(self):
        folder = state.StateFolder('x', self.directory.join('cloud'))
        folder.create()
        for name in ('etc', 'photos'):
            folder.path.joinpath(name).mkdir()
            folder.path.joinpath(name, 'file').touch()
        folder.path.joinpath('.state.json.abcd_123').touch()
        folder.path.joinpath('.profile').touch()
        self.assertEqual(['.profile', 'photos'], folder.delete())
        self.assertEqual(
            ['.profile', 'photos'], sorted(os.listdir(folder.path))
        )

    def test_delete_retries_failed_files(self):
        folder = state.StateFolder('x', self.directory.join('cloud'))
        folder.create()
        folder.path.joinpath('nova').mkdir()
        with unittest.mock.patch.object(
            state.shutil, 'rmtree', side_effect=PermissionError(13, 'no')
        ):
            error = self.assertRaises(exceptions.RehearsalError, folder.delete)
        self.assertEqual(f'Cannot delete {folder}: no', str(error))
        self.assertEqual([], folder.delete())

    def test_delete_all(self):
        folder = state.StateFolder('x', self.directory.join('cloud'))
        folder.create()
        self.assertEqual([], folder.delete())
        self.assertFalse(folder.path.exists())

    @ddt.data(None, '{"inode": 1}', '{}', '[]', '{')
    def test_delete_refuses_a_foreign_folder(self, text):
        folder = state.StateFolder('x', self.directory.path)
        folder.path.joinpath('images').mkdir()
        if text is not None:
            folder.path.joinpath('made.json').write_text(text)
        error = self.assertRaises(exceptions.RehearsalError, folder.delete)
        self.assertEqual(
            f'Cannot delete {folder}: it was not created for this rehearsal '
            'cloud, but copied or created by an older version; delete it '
            'yourself',
            str(error),
        )
        self.assertTrue(folder.path.joinpath('images').exists())

    def test_spec_of_somebody_does_not_make_a_cloud(self):
        """The spec would be replaced, and all files deleted with the cloud."""
        path = self.directory.join('project')
        os.mkdir(path)
        with open(os.path.join(path, 'spec.json'), 'w'):
            pass
        self.assertRaises(
            exceptions.RehearsalError, state.StateFolder('x', path).create
        )

    def test_lock(self):
        folder = state.StateFolder('x', self.directory.path)
        self.assertFalse(folder.locked())
        descriptor = folder.lock()
        self.assertTrue(folder.locked())
        self.assertIsNone(folder.lock())
        os.close(descriptor)
        self.assertFalse(folder.locked())


@ddt.ddt
class TestProcesses(testtools.TestCase):
    def test_lives(self):
        self.assertTrue(state.lives(_process()))
        self.assertFalse(state.lives(_process(pid=None)))

    def test_recycled_pid_is_another_process(self):
        """A process with another start time is not the recorded one."""
        other = _process(started=_process().started - 1)
        self.assertFalse(state.lives(other))
        with state.handle(other) as descriptor:
            self.assertIsNone(descriptor)

    @ddt.data(0, -1, 2**40, 2**22)
    def test_no_process(self, pid):
        with state.handle(_process(pid=pid)) as descriptor:
            self.assertIsNone(descriptor)

    def test_process_that_ends(self):
        child = subprocess.Popen(
            [sys.executable, '-c', 'import signal; signal.pause()']
        )
        self.addCleanup(child.wait)
        self.addCleanup(child.kill)
        process = _process(pid=child.pid, started=state.start_time(child.pid))
        with state.handle(process) as descriptor:
            self.assertFalse(
                supervisor_socket.end(descriptor, signal.SIGCONT, 0)
            )
            self.assertTrue(
                supervisor_socket.end(descriptor, signal.SIGTERM, 10)
            )
        # It has ended, although no parent has waited for it.
        self.assertFalse(state.lives(process))

    def test_memory(self):
        self.assertGreater(state.memory_mb([_process()]), 5)
        self.assertEqual(0, state.memory_mb([_process(started=1)]))


class TestWritePrivate(testtools.TestCase):
    def test_writes_are_atomic(self):
        directory = self.useFixture(fixtures.TempDir())
        path = directory.join('file')
        state.write_private(path, 'old')
        self.assertRaises(
            UnicodeEncodeError, state.write_private, path, 'new\udc00'
        )
        with open(path) as stream:
            self.assertEqual('old', stream.read())
        self.assertEqual(['file'], os.listdir(directory.path))

    def test_folder_of_that_name(self):
        directory = self.useFixture(fixtures.TempDir())
        os.mkdir(directory.join('file'))
        error = self.assertRaises(
            exceptions.RehearsalError,
            state.write_private,
            directory.join('file'),
            'new',
        )
        self.assertEqual(
            f'Cannot write {directory.join("file")}: Is a directory',
            str(error),
        )
        self.assertEqual(['file'], os.listdir(directory.path))
