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

"""Releases of Nova: names, order, and differences."""

import importlib.metadata
import pathlib

import ddt
from nova.api.openstack import api_version_request
from nova import version as nova_version
import testtools

import gpuclient
from gpuclient import exceptions
from gpuclient.model import nova_changes
from gpuclient.model import release

_PAGE = (
    pathlib.Path(gpuclient.__file__).parent.parent
    / 'doc'
    / 'source'
    / 'user'
    / 'releases.rst'
)


@ddt.ddt
class TestRelease(testtools.TestCase):
    @ddt.data(
        ('2025.1', '2025.1 (Nova 31.3.1)'),
        (' Epoxy ', '2025.1 (Nova 31.3.1)'),
        ('31', '2025.1 (Nova 31.3.1)'),
        ('31.2', '2025.1 (Nova 31.2.0)'),
        ('31.2.1', '2025.1 (Nova 31.2.1)'),
        ('nova-33', '2026.1 (Nova 33.0.2)'),
        ('zed', 'zed (Nova 26.3.0)'),
        ('rhoso-18', 'rhoso-18 (built on Nova 27.5.1)'),
        ('RHOSO18', 'rhoso-18 (built on Nova 27.5.1)'),
        ('rhoso-18.0.6', 'rhoso-18 (built on Nova 27.5.1)'),
        ('1:31.3.1-1ubuntu1', '2025.1 (Nova 31.3.1)'),
        ('31.2.0-2.el9', '2025.1 (Nova 31.2.0)'),
        ('stable/2025.1', '2025.1 (Nova 31.3.1)'),
    )
    @ddt.unpack
    def test_names(self, text: str, expected: str) -> None:
        self.assertEqual(expected, str(release.parse(text)))

    @ddt.data('', '25', '35', '2027.1', 'yoga', '31.3.1.4', '31.x', '٣١')
    def test_unknown(self, text: str) -> None:
        error = self.assertRaises(exceptions.InvalidValue, release.parse, text)
        self.assertIn('zed to 2026.2, 26 to 34', str(error))
        self.assertIn('rhoso-18', str(error))
        self.assertNotIn('\n', str(error))

    @ddt.data(
        ('2025.1', '13.0.1'),
        ('31.2.0', '13.0.1'),
        ('rhoso-18', '9.0.0'),
        ('13', '13.0.1'),
        (' 13.0.0 ', '13.0.0'),
        ('16', '16.0.0'),
    )
    @ddt.unpack
    def test_placement(self, text: str, expected: str) -> None:
        self.assertEqual(expected, release.parse_placement(text))

    @ddt.data('7', '17', '13.0', 'yoga', '')
    def test_unknown_placement(self, text: str) -> None:
        error = self.assertRaises(
            exceptions.InvalidValue, release.parse_placement, text
        )
        self.assertEqual(
            f'Unknown release {text!r} of Placement: use a release (zed to '
            '2026.2) or a version of Placement (to 16.0.0)',
            str(error),
        )

    @ddt.data(
        ('wallaby', 'wallaby (Nova 23)', 26),
        ('RHOSP-17.1', 'rhosp-17.1 (Nova 23)', 26),
        ('rhosp16', 'rhosp16 (Nova 20)', 26),
        ('25.3.0', 'Nova 25.3.0', 26),
        ('nova-20', 'Nova 20', 26),
        ('2027.1', '2027.1', 34),
        ('35', 'Nova 35', 34),
    )
    @ddt.unpack
    def test_older_or_newer(self, text: str, name: str, number: int) -> None:
        other = release.unknown(text)
        self.assertIsNotNone(other)
        assert other is not None
        self.assertEqual(name, other.name)
        self.assertEqual(number, other.nearest.number)
        error = self.assertRaises(exceptions.InvalidValue, release.parse, text)
        self.assertIn(f'({other.reason}): use a release', str(error))

    @ddt.data('2026.2', 'zed', '31.0.0', 'rhoso-18', 'rhosp-170', 'master', '')
    def test_neither_older_nor_newer(self, text: str) -> None:
        self.assertIsNone(release.unknown(text))

    def test_order(self) -> None:
        self.assertLess(release.parse('31.3'), release.parse('31'))
        self.assertEqual(release.parse('2026.2'), release.newest())
        self.assertEqual(
            [26, 27, 28, 29, 30, 31, 32, 33, 34],
            [known.number for known in release.releases()],
        )

    @ddt.data(
        ('2.96', '2024.1 or 2024.2'),
        ('2.100', '2025.1 or 2025.2'),
        ('2.103', '2026.1'),
        ('2.104', '2026.2'),
        ('2.99', 'none of the known releases (zed to 2026.2, 26 to 34)'),
    )
    @ddt.unpack
    def test_microversions(self, text: str, expected: str) -> None:
        self.assertEqual(
            expected, release.describe(release.of_microversion(text))
        )

    @ddt.data('2', '1.100', '2.x', 'latest')
    def test_no_microversion(self, text: str) -> None:
        self.assertRaises(
            exceptions.InvalidValue, release.of_microversion, text
        )

    def test_newest_is_the_installed_nova(self) -> None:
        newest = release.newest()
        self.assertEqual(
            nova_version.version_string(),
            nova_changes.version_text(newest.version),
        )
        self.assertEqual(
            importlib.metadata.version('openstack-placement'),
            newest.placement,
        )
        self.assertEqual(
            api_version_request._MAX_API_VERSION, f'2.{newest.microversion}'
        )


@ddt.ddt
class TestChanges(testtools.TestCase):
    @ddt.data(
        ('31.3.0', nova_changes.ALIASES_READ_AT_START, False),
        ('31.3.1', nova_changes.ALIASES_READ_AT_START, True),
        ('32.0.0', nova_changes.ALIASES_READ_AT_START, True),
        ('33.0.1', nova_changes.INTERNAL_HINTS_REMOVED, False),
        ('33.0.2', nova_changes.INTERNAL_HINTS_REMOVED, True),
        ('30.1.0', nova_changes.ONE_POOL_OF_PROVIDER, False),
        ('30.2.0', nova_changes.ONE_POOL_OF_PROVIDER, True),
        ('31.0.1', nova_changes.ONE_POOL_OF_PROVIDER, False),
        ('28', nova_changes.ONE_POOL_OF_PROVIDER, False),
        ('27', nova_changes.AVAILABILITY_ZONE_FILTER, True),
        ('28', nova_changes.AVAILABILITY_ZONE_FILTER, False),
        ('26', nova_changes.ALIAS_PLACEMENT, False),
        ('27', nova_changes.ALIAS_PLACEMENT, True),
    )
    @ddt.unpack
    def test_has(
        self, text: str, change: nova_changes.NovaChange, expected: bool
    ) -> None:
        self.assertEqual(expected, release.parse(text).has(change))

    def test_products_may_have_more(self) -> None:
        rhoso = release.parse('rhoso-18')
        self.assertTrue(rhoso.knows(nova_changes.ALIAS_PLACEMENT))
        self.assertFalse(rhoso.has(nova_changes.ONE_TIME_USE))
        self.assertFalse(rhoso.knows(nova_changes.ONE_TIME_USE))
        self.assertTrue(release.parse('27').knows(nova_changes.ONE_TIME_USE))

    def test_unique(self) -> None:
        ids = [change.id for change in nova_changes.CHANGES]
        self.assertEqual(sorted(set(ids)), sorted(ids))
        self.assertEqual(
            {id(change) for change in nova_changes.CHANGES},
            {
                id(value)
                for value in vars(nova_changes).values()
                if isinstance(value, nova_changes.NovaChange)
            },
        )

    def test_documentation(self) -> None:
        """The page lists the same releases and changes."""
        page = ' '.join(_PAGE.read_text().split())
        for known in release.releases():
            row = (
                f'* - {known.series} - {known.name} - '
                f'{nova_changes.version_text(known.version)} - '
                f'2.{known.microversion}'
            )
            self.assertIn(row, page)
        for change in nova_changes.CHANGES:
            row = (
                f'* - {change.component} {change.versions} - '
                f'{change.behavior} - {change.otherwise} - '
                f'``{change.source}``'
            )
            self.assertIn(' '.join(row.split()), page)
        self.assertEqual(
            len(nova_changes.CHANGES) + len(release.releases()),
            page.count(' * - ') - 2,
        )
