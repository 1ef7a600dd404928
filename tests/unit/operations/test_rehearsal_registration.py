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

"""Entries of rehearsal clouds in the user's own clouds.yaml."""

import json
import os

import fixtures
import testtools

from gpuclient.operations import rehearsal_registration
from gpuclient.rehearsal import state

_RECORD = {
    'name': 'lab',
    'supervisor': {
        'name': 'supervisor',
        'pid': None,
        'started': None,
        'state': state.READY,
    },
    'services': [],
    'message': '',
}


class TestRegistered(testtools.TestCase):
    """Entries of the user's clouds.yaml that do not belong to the cloud."""

    def test_delete_leaves_them(self):
        top = self.useFixture(fixtures.TempDir()).path
        folder = state.StateFolder('lab', os.path.join(top, 'lab'))
        folder.create()
        file = os.path.join(top, 'clouds.yaml')
        with open(file, 'w') as stream:
            stream.write(
                'clouds:\n'
                '  lab: {auth: {password: made}}\n'
                '  lab-member: {auth: {password: another}}\n'
                '  production: {auth: {password: made}}\n'
            )
        for name, value in (
            ('passwords.json', {'admin': 'made'}),
            (
                'registered.json',
                {'names': ['lab', 'lab-member', 'production'], 'file': file},
            ),
        ):
            state.write_private(folder.file(name), json.dumps(value))
        state.write_private(folder.file('state.json'), json.dumps(_RECORD))
        lines = []
        rehearsal_registration.stop(folder, delete=True, say=lines.append)
        with open(file) as stream:
            text = stream.read()
        self.assertNotIn('lab:', text)
        self.assertIn('lab-member:', text)
        self.assertIn('production:', text)
        self.assertEqual(
            [
                'Not deleted, since the cloud did not create it: entry '
                f'lab-member of {file}, entry production of {file}'
            ],
            lines,
        )
        self.assertFalse(folder.path.exists())
