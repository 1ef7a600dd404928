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

import argparse
import io
import json
import os
import pathlib
import types
import typing

import ddt
import fixtures
import testtools

from gpuclient import exceptions
from gpuclient.osc.v1 import host_config

from tests.unit.host import trees

_GOLDEN = pathlib.Path(__file__).parent / 'golden'
CARD, OTHER, AUDIO = '0000:03:00.0', '0000:82:00.0', '0000:03:00.1'


def host(**values: typing.Any) -> trees.Tree:
    """Two A100, one of which has an audio function for this test."""
    tree = trees.Tree(**values)
    tree.device(CARD, trees.A100, 0x030200, driver='nouveau')
    tree.device(AUDIO, '10de:1aef', 0x040300, driver='snd_hda_intel')
    tree.device(OTHER, trees.A100, 0x030200, driver='nouveau')
    return tree


@ddt.ddt
class TestCreate(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.folder)
        host().write(self.folder / 'debian')
        host(system=trees.RHEL, vendor=trees.AMD).write(self.folder / 'rhel')

    def create(self, *arguments: str) -> dict[str, typing.Any]:
        app = types.SimpleNamespace(
            stdout=io.StringIO(),
            stderr=io.StringIO(),
            options=argparse.Namespace(),
        )
        command = host_config.CreateHostConfig(app, argparse.Namespace())
        parsed = command.get_parser('x').parse_args([*arguments, '-f', 'json'])
        self.assertEqual(0, command.run(parsed))
        result: dict[str, typing.Any] = json.loads(app.stdout.getvalue())
        return result

    def refused(self, *arguments: str) -> str:
        error = self.assertRaises(exceptions.GPUError, self.create, *arguments)
        self.assertNotIn('\n', str(error))
        return str(error)

    @ddt.data(
        ('debian', 'debian', '--device', CARD, '--device', OTHER),
        ('one_of_two', 'debian', '--device', CARD),
        (
            'rhel',
            *('rhel', '--id', '10DE:20F1', '--isolated-cores', '2-11'),
            *('--kernel-argument', 'hugepages=64'),
        ),
        (
            'rhoso',
            *('rhel', '--id', '10de:20f1', '--isolated-cores', '2-11'),
            *('--system', 'rhoso'),
        ),
        (
            'no_host',
            *('--id', '10de:20f1', '--system', 'debian'),
            *('--cpu-vendor', 'intel'),
        ),
    )
    def test_golden(self, case: tuple[str, ...]) -> None:
        """The files themselves are in the diffs."""
        name, *arguments = case
        text = json.dumps(self.create(*arguments), indent=1) + '\n'
        path = _GOLDEN / f'host_config_create_{name}.json'
        if os.environ.get('GPUCLIENT_WRITE_GOLDEN'):
            path.write_text(text)
        self.assertEqual(path.read_text(), text)

    @ddt.data('0-4294967295', '5-4000000', '2-')
    def test_isolated_cores_beyond_the_host(self, cores: str) -> None:
        message = self.refused(
            *('--id', '10de:20f1', '--system', 'debian'),
            *('--cpu-vendor', 'intel', '--isolated-cores', cores),
        )
        self.assertIn('solated cores', message)

    def test_kernel_argument_that_cannot_be_written(self) -> None:
        message = self.refused(
            *('--id', '10de:20f1', '--system', 'debian'),
            *('--cpu-vendor', 'intel', '--kernel-argument', 'a b'),
        )
        self.assertEqual(
            "Kernel argument 'a b' must be of letters, digits and any of "
            '- _ . , : = / @ + ~ ^',
            message,
        )

    def test_twice(self) -> None:
        arguments = ('debian', '--device', CARD, '--output', 'out')
        dry = self.create(*arguments, '--dry-run')
        self.assertEqual(
            {'would create'}, {file['state'] for file in dry['files']}
        )
        self.assertFalse(pathlib.Path('out').exists())
        first = self.create(*arguments)
        self.assertEqual(
            {'created'}, {file['state'] for file in first['files']}
        )
        hook = pathlib.Path('out/etc/initramfs-tools/hooks/gpu-passthrough')
        self.assertTrue(os.access(hook, os.X_OK))
        second = self.create(*arguments)
        self.assertEqual(
            {'unchanged'}, {file['state'] for file in second['files']}
        )

    def test_other_tuned_settings_are_kept(self) -> None:
        path = pathlib.Path(
            'out/etc/tuned/cpu-partitioning-powersave-variables.conf'
        )
        path.parent.mkdir(parents=True)
        path.write_text('# ours\nisolated_cores=1\nmax_power_cstate=C6|140\n')
        self.create(
            *('rhel', '--id', '10de:20f1', '--isolated-cores', '2-11'),
            *('--output', 'out'),
        )
        self.assertEqual(
            '# ours\nisolated_cores=2-11\nmax_power_cstate=C6|140\n',
            path.read_text(),
        )

    @ddt.data(
        (('debian',), 'Specify the cards for guests'),
        (('debian', '--device', '0000:05:00.0'), 'no PCI device 0000:05:00.0'),
        (('debian', '--device', 'x'), "'x' is not a PCI address"),
        (('debian', '--id', '10de:2236'), 'no PCI device with the IDs'),
        (('nowhere', '--id', '10de:20f1'), 'nowhere'),
        (
            ('debian', '--device', CARD, '--isolated-cores', 'a'),
            "Isolated cores 'a'",
        ),
        (
            ('debian', '--device', CARD, '--kernel-argument', 'a b'),
            "Kernel argument 'a b'",
        ),
        (
            ('--id', '20f1', '--system', 'rhel', '--cpu-vendor', 'amd'),
            "Device IDs '20f1'",
        ),
    )
    @ddt.unpack
    def test_refused(self, arguments: tuple[str, ...], message: str) -> None:
        self.assertIn(message, self.refused(*arguments))

    def test_unknown_system(self) -> None:
        host(system='ID=arch\n').write(self.folder / 'arch')
        host(vendor='CentaurHauls').write(self.folder / 'centaur')
        self.assertIn('Pass --system', self.refused('arch', '--device', CARD))
        self.assertIn(
            'pass --cpu-vendor', self.refused('centaur', '--device', CARD)
        )

    def test_unsupported_boot_loaders(self) -> None:
        for name, values, files in (
            ('suse', {'system': 'ID=sles\nID_LIKE=suse\n'}, {}),
            ('ostree', {'system': trees.RHEL, 'arguments': 'ostree=/x'}, {}),
            ('pve', {}, {'etc/kernel/cmdline': 'ro\n'}),
        ):
            tree = host(**values)
            for path, content in files.items():
                tree.text(path, content)
            tree.write(self.folder / name)
            self.assertIn(
                'Pass --system', self.refused(name, '--device', CARD)
            )
            self.create(name, '--device', CARD, '--system', 'rhel')

    def test_system_and_vendor_of_the_host(self) -> None:
        """An Arm host with dracut on Debian, and vfio-pci built in."""
        tree = host().arm()
        tree.text('usr/bin/dracut', '')
        tree.text(
            f'lib/modules/{tree.release}/modules.builtin',
            'kernel/drivers/vfio/pci/vfio-pci.ko\n',
        )
        tree.write(self.folder / 'arm')
        result = self.create('arm', '--device', CARD)
        self.assertEqual('debian', result['system'])
        self.assertEqual(
            'iommu.passthrough=1 vfio-pci.ids=10de:1aef '
            'rd.driver.pre=vfio-pci',
            result['kernel_arguments'],
        )
        self.assertIn('dracut --regenerate-all --force', result['commands'])
        self.assertIn('install gpu-passthrough', result['files'][0]['diff'])
