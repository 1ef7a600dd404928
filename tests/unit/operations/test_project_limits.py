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

"""Unified limits of releases that do not ignore what is not set."""

import testtools

from gpuclient import exceptions
from gpuclient.model import nova_changes
from gpuclient.model import project as project_model
from gpuclient.model import release as release_model
from gpuclient.operations import project_editing
from gpuclient.operations import project_reading

Driver = project_model.QuotaDriver
SCOPE = project_model.Scope('nova', 'RegionOne')
SERVERS = project_model.RegisteredLimit(
    'r1', 'servers', 10, 'nova', 'RegionOne'
)


class TestLimits(testtools.TestCase):
    def facts(
        self, release: release_model.Release, driver: Driver = Driver.UNIFIED
    ) -> project_reading.QuotaFacts:
        return project_reading.QuotaFacts(
            driver,
            SCOPE,
            (SERVERS,),
            ignores_unset=release.has(nova_changes.UNSET_LIMITS_IGNORED),
        )

    def test_unlimited(self) -> None:
        """Nova takes -1 as unlimited from 31 on."""
        for text, is_refused in (('29', True), ('30', True), ('31', False)):
            release = release_model.parse(text)
            facts = self.facts(release)
            project_editing.check_unlimited(
                facts, {'servers': 4, 'class:VCPU': None}, release, force=False
            )
            limits = {'class:VCPU': -1}
            project_editing.check_unlimited(facts, limits, release, force=True)
            if is_refused:
                error = self.assertRaises(
                    exceptions.InvalidValue,
                    project_editing.check_unlimited,
                    facts,
                    limits,
                    release,
                    force=False,
                )
                self.assertIn('class:VCPU', str(error))
                self.assertIn('2147483647', str(error))
            else:
                project_editing.check_unlimited(
                    facts, limits, release, force=False
                )

    def test_unset(self) -> None:
        release = release_model.parse('30')
        (note,) = project_editing.limit_notes(
            self.facts(release), {'class:VCPU': 4}, release
        )
        self.assertIn('class:DISK_GB, class:MEMORY_MB', note)
        release = release_model.parse('31')
        self.assertEqual(
            [],
            project_editing.limit_notes(
                self.facts(release), {'class:VCPU': 4}, release
            ),
        )
