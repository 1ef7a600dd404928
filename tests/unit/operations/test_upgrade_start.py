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

"""The release before an upgrade, and its source."""

import os
import pathlib

import ddt
import fixtures
import testtools

from gpuclient import exceptions
from gpuclient.model import release as release_model
from gpuclient.operations import upgrade_start

END = release_model.parse('2026.1')


@ddt.ddt
class TestStart(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        folder = self.useFixture(fixtures.TempDir()).path
        self.path = pathlib.Path(folder) / 'globals.yml'
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(folder)

    def choose(
        self,
        given: str | None = None,
        of_file: str | None = None,
        microversion: str | None = None,
    ) -> upgrade_start.Start:
        if of_file is not None:
            self.path.write_text(f'openstack_release: "{of_file}"\n')
        return upgrade_start.choose(given, END, ['.'], microversion)

    @ddt.data(
        # given, file, microversion: release, source
        ('2024.1', None, None, '2024.1', '--from'),
        ('2024.1', '2026.1', '2.96', '2024.1', '--from'),
        ('31.3.0', '2025.1', '2.100', '2025.1', '--from'),
        (None, '2024.1', None, '2024.1', './globals.yml:1'),
        (None, None, '2.103', '2026.1', 'microversion 2.103 of the cloud'),
        # The file has the release after the upgrade already.
        (None, '2026.1', '2.103', '2026.1', 'globals.yml'),
        (None, '2025.2', '2.100', '2025.2', 'globals.yml'),
    )
    @ddt.unpack
    def test_certain(
        self,
        given: str | None,
        of_file: str | None,
        microversion: str | None,
        release: str,
        source: str,
    ) -> None:
        start = self.choose(given, of_file, microversion)
        self.assertEqual(release, start.release.series)
        self.assertIn(source, start.source)
        self.assertEqual((), start.warnings)

    @ddt.data(
        (
            *('2024.1', None, '2.103', '2024.1'),
            '--from is 2024.1 (Nova 29.4.0), but the cloud runs 2026.1 '
            '(microversion 2.103): --from is in effect',
        ),
        (
            *('2024.1', None, '2.999', '2024.1'),
            'the cloud runs none of the known releases',
        ),
        (
            *('2024.1', '2025.1', None, '2024.1'),
            './globals.yml:1 names release 2025.1 (Nova 31.3.1), but --from '
            'is 2024.1',
        ),
        (
            *(None, None, '2.96', '2024.1'),
            'is that of 2024.1 or 2024.2: the older one is in effect. Pass '
            '--from',
        ),
        (
            *(None, '2023.1', '2.103', '2026.1'),
            'names release 2023.1 (Nova 27.5.1), but microversion 2.103 of '
            'the cloud is 2026.1 (Nova 33.0.2)',
        ),
    )
    @ddt.unpack
    def test_warnings(
        self,
        given: str | None,
        of_file: str | None,
        microversion: str | None,
        release: str,
        warning: str,
    ) -> None:
        start = self.choose(given, of_file, microversion)
        self.assertEqual(release, start.release.series)
        (message,) = start.warnings
        self.assertIn(warning, message)

    def test_nothing_names_one(self) -> None:
        for microversion, message in (
            (None, 'pass --from, or --cloud'),
            ('2.999', 'is that of none of the known releases'),
        ):
            error = self.assertRaises(
                exceptions.InvalidValue,
                self.choose,
                microversion=microversion,
            )
            self.assertIn(message, str(error))

    def test_implied(self) -> None:
        """A file of a tool with one release contradicts nothing."""
        pathlib.Path('values.yaml').write_text(
            'nova:\n  customServiceConfig: ""\n'
        )
        self.assertEqual((), self.choose('2024.1').warnings)
        self.assertEqual('rhoso-18', self.choose().release.product)
        self.assertIn('a file of RHOSO', self.choose().source)
        of_cloud = self.choose(microversion='2.95')
        self.assertEqual('rhoso-18', of_cloud.release.product)
        self.assertEqual(
            '2026.1', self.choose(microversion='2.103').release.series
        )

    def test_release_before_the_known_ones(self) -> None:
        error = self.assertRaises(
            exceptions.InvalidValue, self.choose, of_file='wallaby'
        )
        self.assertIn(
            'globals.yml:1 names wallaby (Nova 23), which', str(error)
        )
        (warning,) = self.choose('2024.1', 'wallaby').warnings
        self.assertIn('names release wallaby (Nova 23), but --from', warning)

    def test_files_differ(self) -> None:
        pathlib.Path('other.yml').write_text('openstack_release: "2025.1"\n')
        error = self.assertRaises(
            exceptions.InvalidValue, self.choose, None, '2024.1'
        )
        self.assertIn('pass --from', str(error))
