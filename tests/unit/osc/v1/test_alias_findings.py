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

"""What ``gpu alias show`` says of an alias that files define."""

import os
import types

import fixtures
import testtools

from gpuclient.model import alias as alias_model
from gpuclient.osc.v1 import alias


class TestFindings(testtools.TestCase):
    def findings(self, *types_of_files: str | None) -> list[str]:
        # No catalogue of whoever runs this.
        folder = self.useFixture(fixtures.TempDir()).path
        self.useFixture(
            fixtures.EnvironmentVariable(
                'XDG_CONFIG_HOME', os.path.join(folder, 'none')
            )
        )
        known = types.SimpleNamespace(
            definitions=[
                types.SimpleNamespace(
                    alias=alias_model.Alias('a', '10de', '2230', device_type),
                    where=f'nova.conf, line {number}',
                )
                for number, device_type in enumerate(types_of_files)
            ]
        )
        return [one[:6] for one in alias._disagreements(known)]

    def test_device_type(self) -> None:
        """An RTX A6000 is mostly a type-PCI."""
        self.assertEqual([], self.findings('type-PCI'))
        self.assertEqual(['GPU120'], self.findings('type-PF'))
        self.assertEqual(['GPU113'], self.findings(None))

    def test_files_that_disagree(self) -> None:
        self.assertEqual(
            ['GPU107', 'GPU120'], self.findings('type-PCI', 'type-PF')
        )
