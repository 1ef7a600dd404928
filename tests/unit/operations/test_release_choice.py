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

"""The release of Nova that a command checks for, and its source."""

import os
import pathlib

import ddt
import fixtures
import testtools

from gpuclient import exceptions
from gpuclient.operations import release_choice


@ddt.ddt
class TestChoice(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.folder)

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def test_given(self) -> None:
        self.write('tree/globals.yml', 'openstack_release: "2024.1"\n')
        chosen = release_choice.choose('31', ['tree'], '2.104')
        self.assertEqual(
            'Release: 2025.1 (Nova 31.3.1), from --release', str(chosen)
        )
        self.assertEqual((), chosen.warnings)

    def test_unknown(self) -> None:
        self.assertRaises(
            exceptions.InvalidValue, release_choice.choose, 'yoga'
        )

    def test_nothing_names_one(self) -> None:
        self.write('tree/globals.yml', 'openstack_release: master\n')
        chosen = release_choice.choose(None, ['tree'])
        self.assertEqual(34, chosen.release.number)
        self.assertIsNone(chosen.named)
        self.assertIn('the newest that is known', str(chosen))

    @ddt.data(
        ('globals.yml', 'a: 1\nopenstack_release: "2024.1"\n', 29, 2),
        ('kolla.yml', 'openstack_branch: stable/2025.1\n', 31, 1),
        ('user_variables.yml', 'openstack_release: 30.1.0\n', 30, 1),
        (
            'user_variables.yml',
            "nova_git_install_branch: 'stable/2025.2'\n",
            32,
            1,
        ),
        (
            'version.yaml',
            'kind: OpenStackVersion\nspec:\n  targetVersion: 18.0.6-2025\n',
            27,
            3,
        ),
        (
            'values.yaml',
            'images:\n  nova: "quay.io/airshipit/nova:2024.2-ubuntu_jammy"\n',
            30,
            2,
        ),
        (
            'bundle.yaml',
            'nova-compute:\n  charm: nova-compute\n  channel: 2023.1/stable\n',
            27,
            3,
        ),
    )
    @ddt.unpack
    def test_files(self, name: str, text: str, number: int, line: int) -> None:
        self.write(f'tree/{name}', text)
        chosen = release_choice.choose(None, ['tree'])
        self.assertEqual(number, chosen.release.number)
        self.assertEqual(f'tree/{name}:{line}', chosen.source)

    @ddt.data(
        '# openstack_release: "2024.1"\n',
        'my_openstack_release: "2024.1"\n',
        'openstack_release: "{{ release }}"\n',
        'image: quay.io/openstack.kolla/neutron-server:2024.1-ubuntu\n',
        'kind: Other\ntargetVersion: 18.0.1\n',
        'channel: latest/stable\n',
    )
    def test_not_a_release(self, text: str) -> None:
        self.write('tree/globals.yml', text)
        self.assertIsNone(release_choice.choose(None, ['tree']).named)

    def test_globals_beside_the_custom_configuration(self) -> None:
        self.write('kolla/globals.yml', 'openstack_release: "2025.1"\n')
        self.write('kolla/config/nova/nova-compute.conf', '[pci]\n')
        for path in ('kolla/config', 'kolla/config/nova'):
            chosen = release_choice.choose(None, [path])
            self.assertEqual(31, chosen.release.number)

    def test_files_that_disagree(self) -> None:
        self.write('tree/a.yml', 'openstack_release: "2025.1"\n')
        self.write('tree/b.yml', 'openstack_release: "2024.1"\n')
        chosen = release_choice.choose(None, ['tree'])
        self.assertEqual(29, chosen.release.number)
        (warning,) = chosen.warnings
        self.assertIn('tree/a.yml:1 names release 2025.1', warning)
        self.assertIn('tree/b.yml:1 2024.1', warning)

    def test_files_and_the_cloud_disagree(self) -> None:
        self.write('tree/a.yml', 'openstack_release: "2024.1"\n')
        chosen = release_choice.choose(None, ['tree'], '2.100')
        self.assertEqual(29, chosen.release.number)
        (warning,) = chosen.warnings
        self.assertIn(
            'but the cloud runs 2025.1 or 2025.2 (microversion 2.100)', warning
        )
        self.assertEqual(
            (), release_choice.choose(None, ['tree'], '2.96').warnings
        )

    @ddt.data(
        ('2.96', 29, True),
        ('2.100', 31, True),
        ('2.103', 33, False),
        ('2.104', 34, False),
    )
    @ddt.unpack
    def test_cloud(
        self, microversion: str, number: int, several: bool
    ) -> None:
        chosen = release_choice.choose(None, (), microversion)
        self.assertEqual(number, chosen.release.number)
        self.assertEqual(several, bool(chosen.warnings))
        self.assertIn(microversion, chosen.source)

    def test_microversion_of_no_release(self) -> None:
        self.assertIsNone(release_choice.choose(None, (), '2.199').named)

    def test_notable(self) -> None:
        """The newest one is shown only if the user or a file names it."""
        for chosen, expected in (
            (release_choice.choose('34'), True),
            (release_choice.choose(None, (), '2.104'), False),
            (release_choice.choose(None, (), '2.103'), True),
            (release_choice.choose(None), False),
        ):
            self.assertIs(expected, chosen.is_notable)
