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

"""Databases that cannot be created."""

import importlib
import os
import pathlib
import types
import unittest.mock

import fixtures
import testtools

from gpuclient import exceptions
from gpuclient.rehearsal import databases
from gpuclient.rehearsal import overlays
from gpuclient.rehearsal import state


class TestPrepare(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.directory = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.useFixture(
            fixtures.EnvironmentVariable(
                'XDG_CACHE_HOME', os.fspath(self.directory / 'cache')
            )
        )
        self.folder = state.StateFolder(
            'lab', os.fspath(self.directory / 'lab')
        )
        (self.directory / 'lab' / 'db').mkdir(parents=True)

    def _refused(self, run=None):
        error = self.assertRaises(
            exceptions.RehearsalError,
            databases.prepare,
            self.folder,
            run,
            overlays.Overlays(),
        )
        return str(error)

    def test_not_installed(self):
        self.enterContext(
            unittest.mock.patch.object(
                databases, '_DISTRIBUTIONS', ('no-such-service',)
            )
        )
        self.assertEqual('no-such-service is not installed', self._refused())

    def test_no_cache(self):
        (self.directory / 'cache').write_text('')
        self.assertEqual(
            f'Cannot create the cache folder {self.directory}/cache/gpuclient/'
            'rehearsal: Not a directory',
            self._refused(),
        )

    def test_a_program_that_fails(self):
        """The last line of its output is the reason; no template is left."""

        def main():
            os.write(2, b'traceback ...\nno such table: cells\n\n')
            return 1

        def run(jobs):
            child = os.fork()
            if not child:
                try:
                    importlib.import_module = lambda name: (
                        types.SimpleNamespace(main=main)
                    )
                    jobs['placement'](None)
                finally:
                    os._exit(1)
            os.waitpid(child, 0)
            return 'placement'

        self.assertEqual(
            'Cannot migrate the database placement: no such table: cells',
            self._refused(run),
        )
        self.assertEqual(
            ['lock'], os.listdir(self.directory / 'cache/gpuclient/rehearsal')
        )
