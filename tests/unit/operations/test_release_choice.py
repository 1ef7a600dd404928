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
        ('openstack_release: master\n', 'master'),
        ('openstack_release: "caracall" # x\n', 'caracall'),
        ('openstack_branch: stable/2024.3\n', '2024.3'),
        ('openstack_release: "{{ release }}"\n', 'a template'),
        (f'nova_git_install_branch: {"0a" * 20}\n', 'a commit'),
    )
    @ddt.unpack
    def test_no_release_that_is_known(self, text: str, name: str) -> None:
        self.write('tree/globals.yml', text)
        chosen = release_choice.choose(None, ['tree'])
        self.assertEqual(
            (
                f'tree/globals.yml:1 names {name}, which is no release that '
                f'is known: the rules of 2026.2 are in effect. Pass --release',
            ),
            chosen.warnings,
        )
        # A cloud or another file that names one decides.
        chosen = release_choice.choose(None, ['tree'], '2.103')
        self.assertEqual((33, ()), (chosen.release.number, chosen.warnings))
        self.write('tree/a.yml', 'openstack_release: "2025.1"\n')
        chosen = release_choice.choose(None, ['tree'])
        self.assertEqual((31, ()), (chosen.release.number, chosen.warnings))

    def test_other_version_of_rhoso(self) -> None:
        self.write(
            'tree/a.yaml',
            'apiVersion: core.openstack.org/v1beta1\n'
            'kind: OpenStackVersion\nspec:\n  targetVersion: 19.0.0\n',
        )
        chosen = release_choice.choose(None, ['tree'])
        self.assertEqual('rhoso-18', chosen.release.product)
        self.assertEqual(
            (
                'tree/a.yaml:4 names rhoso-19, which is no version of RHOSO '
                'that is known: the rules of rhoso-18 are in effect',
            ),
            chosen.warnings,
        )

    def test_variable(self) -> None:
        self.useFixture(
            fixtures.EnvironmentVariable('OS_GPU_RELEASE', '2025.1')
        )
        self.assertEqual(
            'Release: 2025.1 (Nova 31.3.1), from OS_GPU_RELEASE',
            str(release_choice.choose('2025.1')),
        )

    def test_several_releases_of_a_cloud(self) -> None:
        self.assertEqual(
            'Release: 2025.1 (Nova 31.3.1), from microversion 2.100 of the '
            'cloud, which 2025.2 has, too: pass --release, or set '
            'OS_GPU_RELEASE',
            str(release_choice.choose(None, (), '2.100')),
        )

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
            'images.yaml',
            'x: quay.io/podified-antelope-centos9/openstack-nova-api:current'
            '-podified\n',
            27,
            1,
        ),
        (
            'bundle.yaml',
            'options:\n  openstack-origin: cloud:jammy-caracal\n',
            29,
            2,
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
        'channel: quincy/stable\n',
        'x: quay.io/example/nova:trainer-1\n',
        'kind: OpenStackDeployment\napiVersion: lcm.mirantis.com/v1alpha1\n',
    )
    def test_not_a_release(self, text: str) -> None:
        self.write('tree/globals.yml', text)
        self.assertIsNone(release_choice.choose(None, ['tree']).named)

    def test_globals_beside_the_custom_configuration(self) -> None:
        self.write('kolla/globals.yml', 'openstack_release: "2025.1"\n')
        self.write('kolla/config/nova/nova-compute.conf', '[pci]\n')
        self.write('kolla/config/nova/gpu-1/nova.conf', '[pci]\n')
        for path in (
            'kolla/config',
            'kolla/config/nova',
            'kolla/config/nova/nova-compute.conf',
            'kolla/config/nova/gpu-1',
            'kolla/config/nova/gpu-1/nova.conf',
        ):
            chosen = release_choice.choose(None, [path])
            self.assertEqual(31, chosen.release.number)

    def test_kayobe(self) -> None:
        self.write('etc/kayobe/openstack.yml', 'openstack_release: "2025.1"\n')
        self.write('etc/kayobe/kolla/config/nova/nova-api.conf', '[pci]\n')
        chosen = release_choice.choose(None, ['etc/kayobe/kolla/config/nova'])
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
        self.assertEqual(several, bool(chosen.others))
        self.assertEqual((), chosen.warnings)
        self.assertIn(microversion, chosen.source)

    @ddt.data(
        ('2.199', 34),
        ('2.98', 30),
        ('2.90', 26),
        ('2.79', 26),
    )
    @ddt.unpack
    def test_microversion_of_no_release(
        self, microversion: str, number: int
    ) -> None:
        """The nearest release decides, and a warning says so."""
        chosen = release_choice.choose(None, (), microversion)
        self.assertEqual(number, chosen.release.number)
        (warning,) = chosen.warnings
        self.assertEqual(
            f'Microversion {microversion} of the cloud is that of no known '
            f'release: the rules of the nearest one, {chosen.release}, are in '
            f'effect',
            warning,
        )

    @ddt.data(
        ('globals.yml', 'openstack_release: yoga\n', 'yoga (Nova 25)', 26),
        ('globals.yml', 'openstack_release: "2027.1"\n', '2027.1', 34),
        ('vars.yml', 'openstack_release: 24.5.0\n', 'Nova 24.5.0', 26),
        (
            'kolla.yml',
            'openstack_branch: unmaintained/xena\n',
            'xena (Nova 24)',
            26,
        ),
        (
            'images.yaml',
            'x: quay.io/airshipit/nova:wallaby-ubuntu_focal\n',
            'wallaby (Nova 23)',
            26,
        ),
        (
            'images.yaml',
            'x: registry.redhat.io/rhosp-rhel9/openstack-nova-api:17.1\n',
            'rhosp-17 (Nova 23)',
            26,
        ),
        ('bundle.yaml', 'channel: ussuri/stable\n', 'ussuri (Nova 21)', 26),
        (
            'bundle.yaml',
            'options:\n  openstack-origin: cloud:focal-victoria\n',
            'victoria (Nova 22)',
            26,
        ),
    )
    @ddt.unpack
    def test_release_that_is_not_known(
        self, name: str, text: str, named: str, number: int
    ) -> None:
        self.write(f'tree/{name}', text)
        chosen = release_choice.choose(None, ['tree'], '2.96')
        self.assertEqual(number, chosen.release.number)
        (warning,) = chosen.warnings
        line = text.count('\n')
        kind = 'older' if number == 26 else 'newer'
        self.assertThat(
            warning,
            testtools.matchers.StartsWith(
                f'tree/{name}:{line} names {named}, which is {kind} than '
            ),
        )
        self.assertThat(
            warning,
            testtools.matchers.EndsWith(
                f'the rules of {chosen.release.series} are in effect'
            ),
        )

    @ddt.data(
        ('kind: OpenStackControlPlane\napiVersion: core.openstack.org/v1', 2),
        ('apiVersion: "dataplane.openstack.org/v1beta1"', 1),
        ('apiVersion: nova.openstack.org/v1beta1\nkind: NovaAPI', 1),
        ('data:\n  nova:\n    customServiceConfig: |\n      [pci]', 3),
        ('nodeset:\n  ansible:\n    edpm_kernel_args: iommu=pt', 3),
        (
            'apiVersion: core.openstack.org/v1\nkind: OpenStackVersion\n'
            'spec:\n  targetVersion: 0.0.1-1722',
            1,
        ),
    )
    @ddt.unpack
    def test_files_of_rhoso(self, text: str, line: int) -> None:
        self.write('tree/cr.yaml', f'{text}\n')
        chosen = release_choice.choose(None, ['tree'])
        self.assertEqual(
            f'Release: rhoso-18 (built on Nova 27.5.1), from tree/cr.yaml:'
            f'{line} (a file of RHOSO, of which version 18 is known)',
            str(chosen),
        )
        self.assertEqual((), chosen.warnings)
        # The cloud may run another release.
        self.assertEqual(
            'rhoso-18',
            release_choice.choose(None, ['tree'], '2.95').release.product,
        )
        self.assertEqual(
            29, release_choice.choose(None, ['tree'], '2.96').release.number
        )
        # A file that names one decides.
        self.write('tree/other.yaml', 'openstack_release: "2025.1"\n')
        self.assertEqual(
            31, release_choice.choose(None, ['tree']).release.number
        )

    @ddt.data(
        'apiVersion: osp-director.openstack.org/v1beta1',
        'resource_registry:\n  OS::TripleO::Services::NovaCompute: x.yaml',
        'parameter_defaults:\n  NovaPCIPassthrough:\n  - {}',
    )
    def test_files_of_tripleo(self, text: str) -> None:
        self.write('tree/env.yaml', f'{text}\n')
        chosen = release_choice.choose(None, ['tree'])
        self.assertEqual(26, chosen.release.number)
        self.assertIn('TripleO, whose last release is zed', chosen.source)

    def test_notable(self) -> None:
        """The newest one is shown only if the user or a file names it."""
        for chosen, expected in (
            (release_choice.choose('34'), True),
            (release_choice.choose(None, (), '2.104'), False),
            (release_choice.choose(None, (), '2.103'), True),
            (release_choice.choose(None), False),
        ):
            self.assertIs(expected, chosen.is_notable)
