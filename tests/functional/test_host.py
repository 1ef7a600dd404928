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

"""Commands on hosts, which need no cloud and no credentials."""

import json
import os
import pathlib
import subprocess
import sys

import fixtures

from tests.functional import base
from tests.unit.host import trees

CARD = '0000:04:00.0'


class TestHost(base.ShellTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.useFixture(
            fixtures.EnvironmentVariable('OS_CLIENT_CONFIG_FILE', '/dev/null')
        )
        self.folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.root = os.fspath(trees.nouveau().write(self.folder / 'nouveau'))

    def test_bundle_and_script_agree(self) -> None:
        """A bundle of either command gives the results of the host itself."""
        bundle = os.fspath(self.folder / 'made.tar')
        self.openstack(
            'gpu', 'host', 'bundle', 'create', bundle, '--root', self.root
        )
        script = self.openstack('gpu', 'host', 'bundle', 'create', '--script')
        copied = self.folder / 'copied.tar'
        copied.write_bytes(
            subprocess.run(
                [sys.executable, '-', '--root', self.root],
                input=script.encode(),
                capture_output=True,
                check=True,
            ).stdout
        )
        self.assertEqual(
            pathlib.Path(bundle).read_bytes(), copied.read_bytes()
        )
        shown = [
            self.openstack('gpu', 'host', 'show', '--long', path, '-f', 'json')
            for path in (self.root, bundle, os.fspath(copied))
        ]
        self.assertEqual(shown[0], shown[1])
        self.assertEqual(shown[0], shown[2])
        self.assertEqual('nouveau', shown[0][0]['Driver'])

    def test_check(self) -> None:
        check = ('gpu', 'host', 'check', self.root, '-f', 'json')
        rows = self.openstack(*check, status=3)
        self.assertEqual(
            ['GPU424', 'GPU434', 'GPU437'],
            [row['Code'] for row in rows if row['Code']],
        )
        self.openstack(*check, '--fail-on', 'none')
        self.assertIn(
            'There is no folder',
            self.refused(
                'gpu', 'host', 'bundle', 'create', '--root', '/nowhere'
            ),
        )
        self.refused(*check, '--fail-on', 'x', status=2)

    def test_this_machine(self) -> None:
        """The output is rows or nothing."""
        result = self.run_command('gpu', 'host', 'show', '-f', 'json')
        # Files that cannot be read here are reported.
        self.assertIn(result.status, (0, 1), result.stderr)
        self.assertTrue(result.stderr or not result.status)
        if not json.loads(result.stdout) and not result.status:
            self.assertEqual('', result.stderr)
