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

import os
import stat
import unittest.mock

import fixtures
import testtools

from gpuclient import exceptions
from gpuclient.rehearsal import clouds_yaml

_ENTRIES = {'lab': {'auth': {'auth_url': 'http://127.0.0.1:1/v3'}}}
_FILE = """\
# my clouds
clouds:
    prod:   # the real one
        auth:
            username: 'me'
            password: "p#1"
        region_name: RegionOne
    # the end of it
ansible:
    use_hostnames: true
"""


class TestEdit(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.directory = self.useFixture(fixtures.TempDir())
        self.path = self.directory.join('clouds.yaml')

    def _write(self, text, mode=0o644):
        with open(self.path, 'w') as stream:
            stream.write(text)
        os.chmod(self.path, mode)

    def _text(self):
        with open(self.path) as stream:
            return stream.read()

    def _refused(self, function, *arguments):
        return str(
            self.assertRaises(exceptions.RehearsalError, function, *arguments)
        )

    def test_new_file(self):
        self.path = self.directory.join('new', 'clouds.yaml')
        clouds_yaml.add(self.path, _ENTRIES, ())
        self.assertEqual(
            'clouds:\n'
            '  lab:\n'
            '    auth:\n'
            '      auth_url: http://127.0.0.1:1/v3\n',
            self._text(),
        )
        self.assertEqual(0o600, stat.S_IMODE(os.stat(self.path).st_mode))

    def test_all_else_stays(self):
        self._write(_FILE, 0o640)
        clouds_yaml.add(self.path, _ENTRIES, ())
        text = self._text()
        for line in _FILE.splitlines():
            self.assertIn(line, text.splitlines())
        self.assertIn('    lab:\n        auth:\n', text)
        self.assertEqual(0o640, stat.S_IMODE(os.stat(self.path).st_mode))
        clouds_yaml.remove(self.path, ['lab', 'never-there'])
        self.assertNotIn('lab', self._text())
        for line in _FILE.splitlines():
            self.assertIn(line, self._text().splitlines())

    def test_ours_is_replaced(self):
        clouds_yaml.add(self.path, _ENTRIES, ())
        clouds_yaml.add(self.path, {'lab': {'auth': {}}}, ['lab'])
        self.assertEqual('clouds:\n  lab:\n    auth: {}\n', self._text())

    def test_somebody_elses_name(self):
        self._write(_FILE)
        message = self._refused(
            clouds_yaml.add, self.path, {'prod': {}}, ['lab']
        )
        self.assertEqual(
            f'Cloud prod in {self.path} is not ours: choose another name for '
            'the rehearsal cloud',
            message,
        )
        self.assertEqual(_FILE, self._text())

    def test_no_clouds_yaml(self):
        for text in ('- a\n', 'clouds: [a]\n', 'text\n'):
            self._write(text)
            self.assertIn(
                'is no clouds.yaml',
                self._refused(clouds_yaml.add, self.path, _ENTRIES, ()),
            )
            self.assertEqual(text, self._text())

    def test_unreadable(self):
        self._write('clouds: {')
        message = self._refused(clouds_yaml.check, self.path, ['lab'], ())
        self.assertIn(f'Cannot read {self.path}: ', message)
        self.assertNotIn('\n', message)
        self.assertIn(
            'Is a directory',
            self._refused(clouds_yaml.check, self.directory.path, ['lab'], ()),
        )

    def test_unwritable(self):
        self._write('', 0o600)
        path = os.path.join(self.path, 'below', 'clouds.yaml')
        self.assertIn(
            'Not a directory',
            self._refused(clouds_yaml.add, path, _ENTRIES, ()),
        )
        # Nobody can make a folder there.
        path = '/proc/gpuclient/clouds.yaml'
        self.assertEqual(
            f'Cannot write {path}: No such file or directory',
            self._refused(clouds_yaml.add, path, _ENTRIES, ()),
        )

    def test_read_only(self):
        self._write(_FILE, 0o444)
        self.assertEqual(
            f'Cannot edit {self.path}: it is read-only',
            self._refused(clouds_yaml.add, self.path, _ENTRIES, ()),
        )
        self.assertEqual(_FILE, self._text())

    def test_harm(self):
        """What ruamel.yaml writes as something else is left alone."""
        text = _FILE.replace('RegionOne', '>\n\n          RegionOne')
        self._write(text)
        self.assertEqual(
            f'{self.path} cannot be changed without harm; nothing was done',
            self._refused(clouds_yaml.add, self.path, _ENTRIES, ()),
        )
        self.assertEqual(text, self._text())

    def test_link_stays_a_link(self):
        self._write(_FILE)
        link = self.directory.join('link.yaml')
        os.symlink('clouds.yaml', link)
        clouds_yaml.add(link, _ENTRIES, ())
        self.assertTrue(os.path.islink(link))
        self.assertIn('lab:', self._text())

    def test_changed_meanwhile(self):
        """A change of somebody else's is not lost."""
        self._write(_FILE)
        dump = clouds_yaml._dump

        def slow(document):
            if 'theirs' not in self._text():
                self._write(_FILE.replace('prod:', 'theirs: {}\n    prod:'))
            return dump(document)

        with unittest.mock.patch.object(clouds_yaml, '_dump', slow):
            clouds_yaml.add(self.path, _ENTRIES, ())
        self.assertIn('theirs: {}', self._text())
        self.assertIn('lab:', self._text())

    def test_changes_all_the_time(self):
        self._write('')
        with unittest.mock.patch.object(
            clouds_yaml, '_replace', return_value=False
        ):
            self.assertEqual(
                f'{self.path} changes all the time; try again',
                self._refused(clouds_yaml.add, self.path, _ENTRIES, ()),
            )

    def test_ruamel_is_missing(self):
        with unittest.mock.patch.dict(
            'sys.modules', {'ruamel': None, 'ruamel.yaml': None}
        ):
            self.assertIn(
                "pip install 'python-gpuclient[rehearsal]'",
                self._refused(clouds_yaml.check, self.path, ['lab'], ()),
            )

    def test_path(self):
        self.useFixture(fixtures.EnvironmentVariable('OS_CLIENT_CONFIG_FILE'))
        self.useFixture(
            fixtures.EnvironmentVariable('XDG_CONFIG_HOME', '/tmp/config')
        )
        self.assertEqual(
            '/tmp/config/openstack/clouds.yaml', clouds_yaml.path()
        )
        self.useFixture(
            fixtures.EnvironmentVariable('OS_CLIENT_CONFIG_FILE', '/tmp/c')
        )
        self.assertEqual('/tmp/c', clouds_yaml.path())
