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
import re
import stat
import unittest.mock

import fixtures
import testtools
import yaml

from gpuclient import exceptions
from gpuclient.documents import clouds_yaml

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
_TWO = {'lab': {'auth': {'password': '08'}}, 'lab-member': {'auth': {}}}
#: Files of users, which must be restored byte for byte.
FILES = (
    b'',
    b'\n',
    b'# mine',
    b'# mine\n',
    b'---\n',
    b'--- # mine\n# more',
    b'clouds:\n',
    b'clouds:',
    b'clouds:   # none yet\n',
    b'clouds: ~\nx: 1\n',
    b'clouds: {}\n',
    b'clouds: {}',
    b'clouds: {  }  # none\nx: 1\n',
    b'clouds: {a: {auth: {}}}\n',
    b'clouds: {a: {}, b: {}, }\n',
    b'clouds:\n  {a: {},\n   b: {}}  # mine\n',
    b'{}',
    b'{"clouds": {}}',
    b'{"clouds": {"a": {"auth": {}}}}\n',
    b'{"x": 1}\n',
    b'{"clouds": {\n\t"a": {}\n}}\n'.replace(b'\t', b'  '),
    b'x: 1\n',
    b'x: 1',
    b'# mine\nx: 1  # one\n# end',
    b'clouds:\n  a:\n    auth: {}',
    b'clouds:\n  a: {}\n\n\n# end\n',
    b'clouds:\n\n  # first\n  a: {}\n  # last\n',
    b'clouds:\r\n  a:\r\n    region_name: x\r\n',
    b'clouds:\r\n    a: {}\r\ny: 1',
    b'\xef\xbb\xbfclouds:\n  a: {}\n',
    b'\xef\xbb\xbfx: 1\n',
    b'clouds:\n  a: &a\n    x: 1\n  b:\n    <<: *a\n',
    b'clouds: &c\n  a: {}\nz: *c\n',
    b'clouds: !!map\n  a: {}\n',
    b'clouds:\n  a:\n    password: |\n      x\n\n\n',
    b'clouds:\n  a:\n    password: >-\n      x\n      y',
    b'clouds:\n  a:\n    x: "a\n\n      b"\n',
    b'  clouds:\n    a: {}\n  x: 1\n',
    b'"clouds":\n  "a": {}\n',
    b'%YAML 1.1\n---\nclouds:\n  a: {}\n...\n',
    b'clouds:\n    a:\n          x: 1\n    b: {}   \n',
)


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
            'clouds:  # added by openstack gpu rehearsal\n'
            '  lab:\n'
            '    auth:\n'
            '      auth_url: http://127.0.0.1:1/v3\n',
            self._text(),
        )
        self.assertEqual(0o600, stat.S_IMODE(os.stat(self.path).st_mode))

    def test_other_entries_are_kept(self):
        self._write(_FILE, 0o640)
        clouds_yaml.add(self.path, _ENTRIES, ())
        text = self._text()
        for line in _FILE.splitlines():
            self.assertIn(line, text.splitlines())
        self.assertIn('clouds:\n    lab:\n      auth:\n', text)
        self.assertEqual(0o640, stat.S_IMODE(os.stat(self.path).st_mode))
        clouds_yaml.remove(self.path, ['lab', 'never-there'])
        self.assertEqual(_FILE, self._text())

    def test_own_entry_is_replaced(self):
        clouds_yaml.add(self.path, _ENTRIES, ())
        clouds_yaml.add(self.path, {'lab': {'auth': {}}}, ['lab'])
        self.assertEqual(
            'clouds:  # added by openstack gpu rehearsal\n'
            '  lab:\n    auth: {}\n',
            self._text(),
        )

    def test_name_of_a_foreign_entry(self):
        self._write(_FILE)
        message = self._refused(
            clouds_yaml.add, self.path, {'prod': {}}, ['lab']
        )
        self.assertEqual(
            f'{self.path} has another cloud prod: choose another name for '
            'the rehearsal cloud',
            message,
        )
        self.assertEqual(_FILE, self._text())

    def test_no_clouds_yaml(self):
        for text in ('- a\n', 'clouds: [a]\n', 'text\n'):
            self._write(text)
            self.assertIn(
                'is not a clouds.yaml',
                self._refused(clouds_yaml.add, self.path, _ENTRIES, ()),
            )
            self.assertEqual(text, self._text())

    def test_unreadable(self):
        self._write('clouds: {')
        message = self._refused(clouds_yaml.check, self.path, ['lab'], ())
        self.assertIn(f'Cannot read {self.path}', message)
        self.assertEqual(1, message.count('Cannot read'))
        self.assertNotIn('\n', message)
        self.assertIn(
            'it is not a regular file',
            self._refused(clouds_yaml.check, self.directory.path, ['lab'], ()),
        )

    def test_unwritable(self):
        self._write('', 0o600)
        path = os.path.join(self.path, 'below', 'clouds.yaml')
        self.assertIn(
            'Not a directory',
            self._refused(clouds_yaml.add, path, _ENTRIES, ()),
        )
        # No folder can be created there.
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

    def test_edit_that_would_change_other_entries(self):
        """Entries that could not be removed again are not added."""
        for text in (
            'x: &x {a: {}}\nclouds: *x\n',
            'clouds:\n  ? a\n  : {}\n',
        ):
            self._write(text)
            self.assertEqual(
                f'{self.path} cannot be edited safely and was not changed',
                self._refused(clouds_yaml.add, self.path, _ENTRIES, ()),
            )
            self.assertEqual(text, self._text())

    def test_byte_for_byte(self):
        """Other entries are kept; after the removal, the file is the same."""
        for text in FILES:
            with open(self.path, 'wb') as stream:
                stream.write(text)
            clouds_yaml.add(self.path, _ENTRIES, ())
            clouds_yaml.add(self.path, _TWO, ['lab'])
            with open(self.path, 'rb') as stream:
                with_entries = stream.read()
            data = yaml.safe_load(with_entries)
            before = yaml.safe_load(text) or {}
            self.assertEqual(
                {**(before.get('clouds') or {}), **_TWO}, data['clouds'], text
            )
            for comment in re.findall(b'#.*', text):
                self.assertIn(comment, with_entries)
            clouds_yaml.remove(self.path, list(_TWO))
            with open(self.path, 'rb') as stream:
                self.assertEqual(text, stream.read(), with_entries)

    def test_of_an_earlier_release(self):
        """An entry without our comments is removed, and the file is kept."""
        self._write('clouds:\n  lab:\n    auth: {}\n')
        clouds_yaml.remove(self.path, ['lab'])
        self.assertEqual('clouds: {}\n', self._text())

    def test_link_stays_a_link(self):
        self._write(_FILE)
        link = self.directory.join('link.yaml')
        os.symlink('clouds.yaml', link)
        clouds_yaml.add(link, _ENTRIES, ())
        self.assertTrue(os.path.islink(link))
        self.assertIn('lab:', self._text())

    def test_changed_meanwhile(self):
        """A change of another process is not lost."""
        self._write(_FILE)
        replace = clouds_yaml._replace

        def slow(*arguments):
            if 'theirs' not in self._text():
                self._write(_FILE.replace('prod:', 'theirs: {}\n    prod:'))
            return replace(*arguments)

        with unittest.mock.patch.object(clouds_yaml, '_replace', slow):
            clouds_yaml.add(self.path, _ENTRIES, ())
        self.assertIn('theirs: {}', self._text())
        self.assertIn('lab:', self._text())

    def test_changes_all_the_time(self):
        self._write('')
        with unittest.mock.patch.object(
            clouds_yaml, '_replace', return_value=False
        ):
            self.assertEqual(
                f'{self.path} was changed by another process: run the command '
                f'again',
                self._refused(clouds_yaml.add, self.path, _ENTRIES, ()),
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
