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

"""What gpu config rehearse says where it does not start a cloud."""

import argparse
import io
import pathlib
import unittest.mock

import fixtures
import testtools

from gpuclient import exceptions
from gpuclient.osc.v1 import config_rehearse


class TestRehearseConfig(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.useFixture(
            fixtures.MonkeyPatch('tempfile.tempdir', str(self.folder / 't'))
        )
        (self.folder / 't').mkdir()
        (self.folder / 'nova.conf').write_text('[pci]\n')

    def refused(self, *arguments: str) -> str:
        app = unittest.mock.Mock()
        command = config_rehearse.RehearseConfig(app, argparse.Namespace())
        command.app.stdout = io.StringIO()
        parsed = command.get_parser('x').parse_args(
            [*arguments, str(self.folder)]
        )
        error = self.assertRaises(exceptions.GPUError, command.run, parsed)
        self.assertEqual([], list((self.folder / 't').iterdir()))
        self.assertNotIn('\n', str(error))
        return str(error)

    def test_extra_that_is_missing(self) -> None:
        self.useFixture(
            fixtures.MonkeyPatch(
                'importlib.util.find_spec', lambda _name: None
            )
        )
        self.assertIn(
            "pip install 'python-gpuclient[rehearsal]'", self.refused()
        )

    def test_nothing_to_rehearse(self) -> None:
        (self.folder / 'nova.conf').unlink()
        self.assertEqual(
            f'There is no configuration of Nova in {self.folder}',
            self.refused(),
        )

    def test_options(self) -> None:
        self.assertEqual(
            '--devices takes 1 to 64, not 0', self.refused('--devices', '0')
        )
        self.assertIn("'x' is not a device", self.refused('--device', 'x'))
        self.assertIn(
            "There is no host 'x' to simulate devices of",
            self.refused('--device', 'x=04:00.0,10de:20f1'),
        )
        self.assertIn(
            "Name '/' of a rehearsal cloud", self.refused('--keep', '/')
        )
