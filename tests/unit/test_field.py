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

"""Inputs from public reports have the expected findings (``tests/field``)."""

import json
import os
import pathlib
import re
import subprocess
import sys

import ddt
import fixtures
from nova import objects
import testtools

from tests.field import case as field_case
from tests.field import run

CASES = {case.id: case for case in field_case.load()}
#: Deployment tools and operators that write Nova's configuration.
DEPLOYERS = {
    'charm', 'devstack', 'kayobe', 'kolla', 'openstack-ansible', 'plain',
    'rhoso',
}  # fmt: skip


@ddt.ddt
class TestField(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        # Not the catalogue of the user who runs the tests.
        self.useFixture(
            fixtures.EnvironmentVariable(
                'XDG_CONFIG_HOME', os.fspath(self.folder / 'none')
            )
        )
        self.useFixture(fixtures.FakeLogger())
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.folder)
        objects.register_all()

    @ddt.data(*sorted(CASES))
    def test_case(self, name: str) -> None:
        case = CASES[name]
        answer = run.run(case, self.folder)
        self.assertEqual(
            [], run.problems(case, answer), f'{case.why}\n{case.source}'
        )
        self.assertEqual([], run.nova_disagrees(case, self.folder))

    def test_shell(self) -> None:
        """A case through the command line, as a user gives it."""
        case = CASES['plain-single-quotes']
        (self.folder / 'nova.conf').write_text(case.files['nova.conf'])
        result = subprocess.run(
            [sys.executable, '-m', 'openstackclient.shell', 'gpu', 'config',
             'check', '-f', 'json', 'nova.conf'],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        self.assertEqual(3, result.returncode, result.stderr)
        self.assertEqual(
            {expected.code for expected in case.expected},
            {row['Code'] for row in json.loads(result.stdout)},
        )


class TestCorpus(testtools.TestCase):
    def test_sources(self) -> None:
        for case in CASES.values():
            self.assertTrue(re.match('https?://[^ /]+/', case.source), case.id)
            self.assertTrue(2013 <= case.year <= 2026, case.id)
            self.assertTrue(case.why, case.id)

    def test_size(self) -> None:
        """There are enough cases, and some of each deployment tool."""
        self.assertTrue(len(CASES) >= 200, len(CASES))
        self.assertEqual(
            set(), DEPLOYERS - {case.deployer for case in CASES.values()}
        )
