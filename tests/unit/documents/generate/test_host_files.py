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

import typing

import ddt
import testtools
import yaml

from gpuclient.documents.generate import host_files
from gpuclient.documents.generate import rhoso_host
from gpuclient import exceptions
from gpuclient.model import pci

CARD = pci.parse_address('0000:03:00.0')


def wanted(**values: typing.Any) -> host_files.Passthrough:
    return host_files.Passthrough(
        **{'cpu_vendor': 'intel', 'ids': ('10de:20f1', '10de:1aef'), **values}
    )


def contents(preparation: host_files.Preparation) -> dict[str, str]:
    return {file.path: file.content for file in preparation.files}


@ddt.ddt
class TestPassthrough(testtools.TestCase):
    @ddt.data(
        ({'cpu_vendor': 'mips'}, "CPU vendor 'mips'"),
        ({'ids': ()}, 'No devices: IDs or addresses'),
        ({'ids': ('10DE:20F1',)}, "Device IDs '10DE:20F1'"),
        ({'ids': ('10de:20f1\n',)}, "Device IDs '10de:20f1\\n'"),
        ({'rivals': ('nouveau\nblacklist ext4',)}, 'Driver'),
        ({'blacklist': ('a b',)}, "Driver 'a b'"),
        ({'arguments': ('a b',)}, "Kernel argument 'a b'"),
        ({'arguments': ('a=$(id)',)}, 'Kernel argument'),
        ({'arguments': ('a="b"',)}, 'Kernel argument'),
        ({'arguments': ('a={{b}}',)}, 'Kernel argument'),
        ({'arguments': ('a=b;halt',)}, "Kernel argument 'a=b;halt'"),
        ({'isolated_cores': '2-'}, "Isolated cores '2-'"),
        ({'isolated_cores': '2\n3'}, 'Isolated cores'),
        ({'tuned_profile': '../x'}, 'TuneD profile'),
    )
    @ddt.unpack
    def test_refused(
        self, values: dict[str, typing.Any], message: str
    ) -> None:
        error = self.assertRaises(
            exceptions.InvalidValue, lambda: wanted(**values)
        )
        self.assertIn(message, str(error))


class TestPrepare(testtools.TestCase):
    def test_kernel_arguments(self) -> None:
        """For RHOSO, those of the example in its architecture repository."""
        self.assertEqual(
            (
                'intel_iommu=on',
                'iommu=pt',
                'vfio-pci.ids=10de:20f1',
                'rd.driver.pre=vfio-pci',
            ),
            host_files.kernel_arguments(
                wanted(ids=('10de:20f1',)), host_files.RHOSO
            ),
        )
        self.assertEqual(
            ('iommu=pt', 'vfio-pci.ids=10de:20f1', 'hugepages=4'),
            host_files.kernel_arguments(
                wanted(
                    cpu_vendor='amd',
                    ids=('10de:20f1', '10de:20f1'),
                    arguments=('hugepages=4',),
                ),
                host_files.DEBIAN,
            ),
        )

    def test_debian(self) -> None:
        preparation = host_files.prepare(wanted(), host_files.DEBIAN)
        self.assertEqual(
            [
                '/etc/modprobe.d/gpu-passthrough.conf',
                '/etc/modules-load.d/gpu-passthrough.conf',
                '/etc/initramfs-tools/hooks/gpu-passthrough',
                '/etc/default/grub.d/gpu-passthrough.cfg',
            ],
            [file.path for file in preparation.files],
        )
        self.assertEqual(
            [0o644, 0o644, 0o755, 0o644],
            [file.mode for file in preparation.files],
        )
        self.assertEqual(
            f'{host_files.MARK}\n'
            'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX intel_iommu=on iommu=pt '
            'vfio-pci.ids=10de:20f1,10de:1aef"\n',
            contents(preparation)[host_files.GRUB],
        )
        self.assertEqual(
            ('update-initramfs -u -k all', 'update-grub', 'systemctl reboot'),
            preparation.commands,
        )
        self.assertEqual(
            (
                'rm -f /etc/modprobe.d/gpu-passthrough.conf '
                '/etc/modules-load.d/gpu-passthrough.conf '
                '/etc/initramfs-tools/hooks/gpu-passthrough '
                '/etc/default/grub.d/gpu-passthrough.cfg',
                'update-initramfs -u -k all',
                'update-grub',
                'systemctl reboot',
            ),
            preparation.undo,
        )

    def test_rhel(self) -> None:
        preparation = host_files.prepare(
            wanted(isolated_cores='2-11,14'), host_files.RHEL
        )
        files = contents(preparation)
        self.assertIn(
            'force_drivers+=" vfio-pci "\n', files[host_files.DRACUT]
        )
        self.assertIn(
            'isolated_cores=2-11,14\n',
            files['/etc/tuned/cpu-partitioning-powersave-variables.conf'],
        )
        text = (
            'intel_iommu=on iommu=pt vfio-pci.ids=10de:20f1,10de:1aef '
            'rd.driver.pre=vfio-pci'
        )
        self.assertEqual(
            (
                'dracut --regenerate-all --force',
                f'grubby --update-kernel=ALL --args="{text}"',
                'tuned-adm profile cpu-partitioning-powersave',
                'systemctl reboot',
            ),
            preparation.commands,
        )
        self.assertEqual(
            (
                'rm -f /etc/modprobe.d/gpu-passthrough.conf '
                '/etc/modules-load.d/gpu-passthrough.conf '
                '/etc/dracut.conf.d/gpu-passthrough.conf',
                'dracut --regenerate-all --force',
                f'grubby --update-kernel=ALL --remove-args="{text}"',
                'tuned-adm auto_profile',
                'systemctl reboot',
            ),
            preparation.undo,
        )

    def test_all_cards_of_the_ids(self) -> None:
        lines = contents(host_files.prepare(wanted(), host_files.RHEL))[
            host_files.MODPROBE
        ].splitlines()
        self.assertEqual(
            [
                host_files.MARK,
                'options vfio-pci ids=10de:20f1,10de:1aef',
                'softdep nouveau pre: vfio-pci',
                'softdep nova_core pre: vfio-pci',
                'softdep nvidia pre: vfio-pci',
                'softdep nvidiafb pre: vfio-pci',
                'softdep snd_hda_intel pre: vfio-pci',
                'softdep xhci_pci pre: vfio-pci',
                'softdep i2c_nvidia_gpu pre: vfio-pci',
                'blacklist nouveau',
                'blacklist nova_core',
                'blacklist nvidia',
                'blacklist nvidiafb',
                'blacklist nvidia_drm',
                'options nouveau modeset=0',
            ],
            lines,
        )

    def test_one_of_two_identical_cards(self) -> None:
        """The other card keeps its driver: no IDs, and no blacklist."""
        preparation = host_files.prepare(
            wanted(ids=(), addresses=(CARD,), vendor_ids=('10de',)),
            host_files.RHEL,
        )
        text = contents(preparation)[host_files.MODPROBE]
        self.assertIn(
            'install vfio-pci for address in 0000:03:00.0; do '
            '[ ! -e /sys/bus/pci/devices/$address/driver_override ] || '
            'echo vfio-pci > /sys/bus/pci/devices/$address/driver_override; '
            'done; /sbin/modprobe --ignore-install vfio-pci $CMDLINE_OPTS\n',
            text,
        )
        self.assertIn('softdep nouveau pre: vfio-pci\n', text)
        self.assertNotIn('blacklist', text)
        self.assertNotIn('ids=', text + ' '.join(preparation.commands))

    def test_one_of_two_where_vfio_pci_is_part_of_the_kernel(self) -> None:
        """Its install line is never run, but one with another name is."""
        by_ids = wanted(vfio_is_builtin=True)
        self.assertEqual(
            host_files.prepare(wanted(), host_files.DEBIAN),
            host_files.prepare(by_ids, host_files.DEBIAN),
        )
        files = contents(
            host_files.prepare(
                wanted(
                    ids=(),
                    addresses=(CARD,),
                    vendor_ids=('10de',),
                    vfio_is_builtin=True,
                ),
                host_files.DEBIAN,
            )
        )
        text = files[host_files.MODPROBE]
        override = '/sys/bus/pci/devices/$address/driver_override'
        self.assertIn(
            f'install gpu-passthrough for address in 0000:03:00.0; do '
            f'[ ! -e {override} ] || {{ echo vfio-pci > {override}; '
            f'echo $address > /sys/bus/pci/drivers_probe; }}; done\n',
            text,
        )
        self.assertIn('softdep nouveau pre: vfio-pci gpu-passthrough\n', text)
        self.assertNotIn('install vfio-pci', text)
        self.assertIn('\ngpu-passthrough\n', files[host_files.MODULES_LOAD])

    def test_dracut_on_debian(self) -> None:
        preparation = host_files.prepare(
            wanted(), host_files.DEBIAN, dracut=True
        )
        self.assertIn(host_files.DRACUT, contents(preparation))
        self.assertNotIn(host_files.INITRAMFS_HOOK, contents(preparation))
        self.assertIn(
            ' rd.driver.pre=vfio-pci"\n',
            contents(preparation)[host_files.GRUB],
        )
        self.assertEqual(
            (
                'dracut --regenerate-all --force',
                'update-grub',
                'systemctl reboot',
            ),
            preparation.commands,
        )

    def test_arm(self) -> None:
        self.assertEqual(
            ('iommu.passthrough=1', 'vfio-pci.ids=10de:20f1'),
            host_files.kernel_arguments(
                wanted(ids=('10de:20f1',), cpu_vendor='arm'), host_files.DEBIAN
            ),
        )

    def test_drivers_of_other_vendors(self) -> None:
        amd = wanted(ids=('1002:740f',), rivals=('my_driver',))
        self.assertEqual(
            ('amdgpu', 'radeon', 'my_driver'),
            amd.drivers[:3],
        )
        # The console of the host may need it.
        self.assertEqual((), amd.blacklisted)
        self.assertEqual(
            ('amdgpu',),
            wanted(ids=('1002:740f',), blacklist=('amdgpu',)).blacklisted,
        )

    def test_the_same_each_time(self) -> None:
        for system in host_files.SYSTEMS:
            self.assertEqual(
                host_files.prepare(wanted(), system),
                host_files.prepare(wanted(), system),
            )


class TestRhoso(testtools.TestCase):
    def test_variables(self) -> None:
        self.assertEqual(
            {
                'edpm_kernel_args': (
                    'intel_iommu=on iommu=pt vfio-pci.ids=10de:20f1 '
                    'rd.driver.pre=vfio-pci'
                ),
                'edpm_tuned_profile': 'cpu-partitioning-powersave',
                'edpm_tuned_isolated_cores': '2-11',
            },
            rhoso_host.variables(
                wanted(ids=('10de:20f1',), isolated_cores='2-11')
            ),
        )

    def test_service(self) -> None:
        service = yaml.safe_load(rhoso_host.data_plane_service(wanted()))
        self.assertEqual('OpenStackDataPlaneService', service['kind'])
        self.assertEqual('vfio-pci-bind', service['metadata']['name'])
        self.assertEqual(
            rhoso_host.playbook(wanted()), service['spec']['playbookContents']
        )

    def test_playbook_has_the_files(self) -> None:
        for values in ({}, {'ids': (), 'addresses': (CARD,)}):
            (play,) = yaml.safe_load(rhoso_host.playbook(wanted(**values)))
            preparation = host_files.prepare(
                wanted(**values), host_files.RHOSO
            )
            self.assertEqual(
                contents(preparation),
                {
                    item['path']: item['content']
                    for item in play['tasks'][0]['loop']
                },
            )

    def test_playbooks_rebuild_every_initramfs(self) -> None:
        """The kernel that reboot-os starts may be another than this one."""
        rebuild = ['dracut', '--regenerate-all', '--force']
        (play,) = yaml.safe_load(rhoso_host.playbook(wanted()))
        block = next(
            task['block'] for task in play['tasks'] if 'block' in task
        )
        (undo,) = yaml.safe_load(rhoso_host.undo_playbook(wanted()))
        for task in (block[0], undo['tasks'][-1]):
            self.assertEqual(
                rebuild, task['ansible.builtin.command']['argv'], task['name']
            )

    def test_undo_playbook(self) -> None:
        (play,) = yaml.safe_load(rhoso_host.undo_playbook(wanted()))
        self.assertEqual(
            [host_files.MODPROBE, host_files.MODULES_LOAD, host_files.DRACUT],
            play['tasks'][0]['loop'],
        )
