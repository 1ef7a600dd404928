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

"""What limits do in a release, and what they do not."""

import testtools

from gpuclient.model import project as project_model
from gpuclient.model import release
from gpuclient.rules import project

Driver = project_model.QuotaDriver


class TestGaps(testtools.TestCase):
    def codes(self, driver: Driver, text: str) -> list[str]:
        return [
            finding.code
            for finding in project.gaps_of_limits(driver, release.parse(text))
        ]

    def test_releases(self) -> None:
        self.assertEqual(['GPU801'], self.codes(Driver.UNIFIED, '33'))
        self.assertEqual(['GPU804'], self.codes(Driver.UNIFIED, '34'))
        self.assertEqual(['GPU803'], self.codes(Driver.UNKNOWN, '34'))
        # There are no limits of devices, which GPU802 says.
        self.assertEqual([], self.codes(Driver.LEGACY, '34'))

    def test_over_limit(self) -> None:
        """Only what Nova counts keeps a project from creating servers."""
        refused = 'Nova refuses new ones'
        for limit, text, counted in (
            ('class:CUSTOM_PCI_10DE_20F1', '34', True),
            ('class:CUSTOM_PCI_10DE_20F1', '33', False),
            ('class:CUSTOM_PCI_10DE_20F1', '31', False),
            ('class:VCPU', '31', True),
            ('servers', '33', True),
        ):
            message = project.over_limit(
                'demo', limit, 1, 2, release.parse(text)
            ).message
            self.assertEqual(counted, refused in message, message)
            if not counted:
                self.assertIn(f'Nova {text} does not enforce it', message)

    def test_limits_of_other_scopes(self) -> None:
        scope = project_model.Scope('nova', 'RegionOne')
        for name, service, region, codes in (
            ('servers', 'nova', 'RegionTwo', ['GPU809']),
            ('servers', 'nova', None, ['GPU809']),
            ('class:VCPU', 'other', 'RegionOne', ['GPU809']),
            # Limits of Glance.
            ('image_count_total', 'glance', 'RegionOne', []),
            ('servers', 'nova', 'RegionOne', []),
        ):
            limit = project_model.Limit('l', 'p', name, 1, service, region)
            self.assertEqual(
                codes,
                [
                    finding.code
                    for finding in project.limits_of_other_scopes(
                        [limit], scope
                    )
                ],
            )

    def test_project_without_limit(self) -> None:
        """A limit only helps where Nova counts the devices."""
        for text, code in (
            ('30', 'GPU801'),
            ('33', 'GPU801'),
            ('34', 'GPU675'),
        ):
            self.assertEqual(
                [code],
                [
                    finding.code
                    for finding in project.without_device_limit(
                        'p', ['f'], release.parse(text)
                    )
                ],
            )

    def test_names_of_projects(self) -> None:
        self.assertIn(
            'a, b.', project.without_limit('CUSTOM_A', {'b', 'a'}).message
        )
        many = [f'p{number}' for number in range(9)]
        self.assertIn(
            'p4 and 4 others', project.without_limit('A', many).message
        )
