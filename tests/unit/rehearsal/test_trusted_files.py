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

"""State folders of other users, and links in them to other files."""

import json
import os
import unittest.mock

import ddt
import fixtures
import testtools

from gpuclient import exceptions
from gpuclient.files import places
from gpuclient.rehearsal import control
from gpuclient.rehearsal import trusted_files
from gpuclient.rehearsal import state


def record(pid=None, started=None):
    return json.dumps(
        {
            'name': 'lab',
            'supervisor': {
                'name': 'supervisor',
                'pid': pid,
                'started': started,
                'state': state.READY,
            },
            'services': [],
            'message': '',
        }
    )


@ddt.ddt
class TestFolder(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.top = self.useFixture(fixtures.TempDir()).path
        self.folder = state.StateFolder('lab', os.path.join(self.top, 'lab'))
        os.mkdir(self.folder.path, 0o700)
        self._write('state.json', record())

    def _write(self, name, text):
        path = self.folder.path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o600)

    def _refused(self, *phrases, call=None):
        error = self.assertRaises(
            exceptions.RehearsalError, call or self.folder.read
        )
        for phrase in ('Cannot trust ', *phrases):
            self.assertIn(phrase, str(error))

    def test_of_this_user_alone(self):
        self.folder.path.chmod(0o755)
        self.assertEqual('lab', self.folder.read().name)

    @ddt.data(0o777, 0o1777, 0o772)
    def test_others_can_write(self, mode):
        self.folder.path.chmod(mode)
        self._refused(str(self.folder), 'everybody')
        self._refused(call=self.folder.create)

    def test_others_can_write_above(self):
        os.chmod(self.top, 0o777)
        self._refused(str(self.folder), 'everybody can replace lab')

    def test_sticky_above(self):
        os.chmod(self.top, 0o1777)
        self.assertEqual('lab', self.folder.read().name)

    def test_another_owner(self):
        with unittest.mock.patch.object(
            os, 'geteuid', lambda: os.getuid() + 1
        ):
            self._refused(str(self.folder))

    def test_another_owner_than_root(self):
        if os.geteuid():
            # Only root can change the owner of a folder.
            return
        os.chown(self.folder.path, 65534, 65534)
        self._refused(str(self.folder), 'it belongs to user')
        self._refused(call=self.folder.create)

    @ddt.data('state.json', 'registered.json')
    def test_link(self, name):
        target = os.path.join(self.top, 'elsewhere')
        with open(target, 'w') as stream:
            stream.write(record())
        os.unlink(self.folder.file('state.json'))
        self._write('state.json', record())
        if os.path.exists(self.folder.file(name)):
            os.unlink(self.folder.file(name))
        os.symlink(target, self.folder.file(name))
        self._refused(f'{name}: it is a symbolic link')

    def test_pipe(self):
        os.unlink(self.folder.file('state.json'))
        os.mkfifo(self.folder.file('state.json'), 0o600)
        self._refused('it is not a regular file')

    @ddt.data('lock', 'log/supervisor.log')
    def test_folder_in_place_of_a_file(self, name):
        os.makedirs(self.folder.file(name), mode=0o700)
        self._refused(
            f'{os.path.basename(name)}: it is not a regular file',
            call=lambda: control.start(self.folder),
        )

    def test_file_that_others_can_write(self):
        os.chmod(self.folder.file('state.json'), 0o666)
        self._refused('other users can write to it')

    def test_lock_is_no_link(self):
        """No file is created at the target of the link."""
        target = os.path.join(self.top, 'elsewhere')
        os.symlink(target, self.folder.file('lock'))
        self._refused('it is a symbolic link', call=self.folder.locked)
        self.assertFalse(os.path.exists(target))

    @ddt.data('log', 'etc', 'db', 'images')
    def test_start_writes_through_no_link(self, name):
        target = os.path.join(self.top, 'elsewhere')
        os.mkdir(target)
        os.symlink(target, self.folder.file(name))
        self._refused(
            f'{name}: it is a symbolic link',
            call=lambda: control.start(self.folder),
        )
        self.assertEqual([], os.listdir(target))

    def test_second_name(self):
        target = os.path.join(self.top, 'elsewhere')
        with open(target, 'w'):
            pass
        os.mkdir(self.folder.file('log'))
        os.link(target, self.folder.file('log', 'keystone.log'))
        self._refused('it has several hard links', call=self.folder.create)

    def test_drop_in_that_a_user_linked(self):
        os.makedirs(self.folder.file('etc/nova/nova-api-1.conf.d'))
        os.symlink(
            '/dev/null',
            self.folder.file('etc/nova/nova-api-1.conf.d/20-edited.conf'),
        )
        trusted_files.check_content(str(self.folder))

    def test_path_through_an_own_link(self):
        link = os.path.join(self.top, 'link')
        os.symlink(self.folder.path, link)
        self.assertEqual('lab', state.StateFolder('lab', link).read().name)


class TestWay(testtools.TestCase):
    def test_missing_folders_are_created(self):
        top = self.useFixture(fixtures.TempDir()).path
        path = os.path.join(top, 'a', 'b')
        places.check_own(path, make=0o700)
        self.assertTrue(os.path.isdir(path))

    def test_none(self):
        self.assertRaises(FileNotFoundError, places.check_own, '/no/such')

    def test_no_folder(self):
        self.assertRaises(NotADirectoryError, places.check_own, __file__)
