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
import pathlib

import ddt
import fixtures
import testtools

from gpuclient.documents import tree
from gpuclient.rules import configuration


@ddt.ddt
class TestUnknownOptions(testtools.TestCase):
    def check(self, text: str) -> list[str]:
        folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        path = folder / 'nova.conf'
        path.write_text(text)
        contents = tree.read([os.fspath(path)])
        return [
            str(located.finding)
            for located in configuration.check(contents.deployment)
            if located.finding.code == 'GPU312'
        ]

    @ddt.data(
        ('alias = x', 'Move it to the section [pci]'),
        ('enabled_filtes = x', "Set 'enabled_filters' instead"),
        ('frob = 1', 'Remove it'),
    )
    @ddt.unpack
    def test_remedy(self, line: str, remedy: str) -> None:
        (message,) = self.check(f'[filter_scheduler]\n{line}\n')
        self.assertIn('and ignores it. ' + remedy, message)

    def test_current_names(self) -> None:
        for line, name in (
            ('pci_passthrough_whitelist = {}', 'device_spec'),
            ('devicespec = {}', 'device_spec'),
        ):
            (message,) = self.check(f'[pci]\n{line}\n')
            self.assertIn(f"and ignores it. Set '{name}' instead", message)

    def test_known(self) -> None:
        self.assertEqual(
            [], self.check('[filter_scheduler]\npci_in_placement = True\n')
        )
