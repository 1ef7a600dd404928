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

"""The checks of the IOMMU."""

from tests.unit.host import trees
from tests.unit.rules import host_cases
from tests.unit.rules.host_cases import FAIL
from tests.unit.rules.host_cases import GPU
from tests.unit.rules.host_cases import WARN


class TestIommu(host_cases.HostTestCase):
    def test_why_off(self) -> None:
        off = {'iommu': False}
        grub = {'etc/default/grub': 'GRUB_CMDLINE_LINUX="intel_iommu=on"\n'}
        for reason, remedy, arguments, host, files in (
            (
                'intel_iommu=off',
                'Replace intel_iommu=off with intel_iommu=on iommu=pt in '
                'GRUB_CMDLINE_LINUX in /etc/default/grub and run '
                'update-grub, then reboot',
                'intel_iommu=off',
                {},
                {},
            ),
            (
                'iommu=off',
                '--remove-args="iommu=off" --args="iommu=pt"',
                'intel_iommu=on iommu=off',
                {'system': trees.RHEL},
                {},
            ),
            (
                'iommu=off',
                'Replace iommu=pt,off with iommu=pt in GRUB_CMDLINE_LINUX '
                'in /etc/default/grub',
                'intel_iommu=off intel_iommu=on iommu=pt,off',
                {},
                {},
            ),
            (
                'amd_iommu=off',
                'Replace amd_iommu=off with iommu=pt in',
                'amd_iommu=off',
                {'vendor': trees.AMD},
                {},
            ),
            ('no DMAR table', 'VT-d', '', {'acpi': ['APIC']}, {}),
            ('no IVRS table', 'AMD-Vi', '', {'vendor': trees.AMD}, {}),
            ('without intel_iommu=on', 'Add intel_iommu=on', '', {}, {}),
            (
                'without intel_iommu=on',
                'Reboot: /etc/default/grub',
                '',
                {},
                grub,
            ),
            ('the reason is not known', 'dmesg', 'intel_iommu=on', {}, {}),
            ('the reason is not known', 'dmesg', '', {'vendor': 'x'}, {}),
        ):
            tree = host_cases.card(
                arguments, host={**off, **host}, driver=None
            )
            for path, content in files.items():
                tree.text(path, content)
            self.finds('GPU420', FAIL, reason, tree, remedy=remedy)

    def test_how_arguments_are_changed(self) -> None:
        """The commands depend on distribution and boot loader."""
        suse = 'ID="sles"\nID_LIKE="suse"\n'
        edpm = {'etc/default/grub': 'GRUB_EDPM_KERNEL_ARGS=" tsx=off "\n'}
        kernel = {'etc/kernel/cmdline': 'root=/dev/sda1\n'}
        ostree = 'ostree=/ostree/boot.1/x/0'
        for host, files, arguments, remedy in (
            (
                {'system': suse},
                {},
                '',
                'Add intel_iommu=on iommu=pt to '
                'GRUB_CMDLINE_LINUX in /etc/default/grub and run '
                'grub2-mkconfig -o '
                '/boot/grub2/grub.cfg, then reboot',
            ),
            (
                {'system': trees.RHEL},
                edpm,
                '',
                'Add intel_iommu=on iommu=pt '
                'to edpm_kernel_args of the OpenStackDataPlaneNodeSet and '
                'deploy it (on this host alone: grubby --update-kernel=ALL '
                '--args="intel_iommu=on iommu=pt"), then reboot',
            ),
            (
                {'system': trees.RHEL},
                {},
                ostree,
                'kernel arguments '
                '(rpm-ostree kargs --append-if-missing="intel_iommu=on" '
                '--append-if-missing="iommu=pt"), then reboot',
            ),
            (
                {'system': trees.RHEL},
                {},
                f'{ostree} iommu=off',
                'rpm-ostree '
                'kargs --delete-if-present="iommu=off" --append-if-missing=',
            ),
            (
                {},
                kernel,
                '',
                'Add intel_iommu=on iommu=pt to /etc/kernel/'
                'cmdline and run kernel-install add 6.1.0-56-amd64 '
                '/boot/vmlinuz-6.1.0-56-amd64, then reboot',
            ),
            (
                {'release': '6.8.12-1-pve'},
                kernel,
                '',
                'to /etc/kernel/cmdline'
                ' and run proxmox-boot-tool refresh, then reboot',
            ),
            # MAAS has a file of its own.
            (
                {},
                {
                    'etc/default/grub': 'GRUB_CMDLINE_LINUX=""\n',
                    'etc/default/grub.d/50-curtin-settings.cfg': (
                        'GRUB_CMDLINE_LINUX_DEFAULT="quiet iommu=off"\n'
                    ),
                },
                'quiet iommu=off',
                'Replace iommu=off with intel_iommu=on iommu=pt in '
                'GRUB_CMDLINE_LINUX_DEFAULT in /etc/default/grub.d/'
                '50-curtin-settings.cfg and run update-grub',
            ),
        ):
            tree = host_cases.card(
                arguments, host={'iommu': False, **host}, driver=None
            )
            for path, content in files.items():
                tree.text(path, content)
            self.finds('GPU420', FAIL, 'off', tree, remedy=remedy)

    def test_commands_that_write_files(self) -> None:
        tree = host_cases.card(
            'iommu=pt', driver='nouveau', host={'system': trees.RHEL}
        )
        tree.text('etc/default/grub', 'GRUB_EDPM_KERNEL_ARGS=""\n')
        command = 'gpu host config create --id 10de:20f1 --system rhoso'
        self.finds('GPU424', FAIL, 'bound to nouveau', tree, remedy=command)
        tree = host_cases.card(
            'ostree=1', driver='nouveau', host={'system': trees.RHEL}
        )
        self.finds(
            'GPU424',
            FAIL,
            'bound to nouveau',
            tree,
            remedy='Run rpm-ostree initramfs --enable',
        )

    def test_arm(self) -> None:
        """No finding is about IOMMUs of Intel and AMD."""
        off = host_cases.card(
            'iommu=off', host={'iommu': False}, driver=None
        ).arm()
        self.finds(
            'GPU420',
            FAIL,
            'the reason is not known',
            off,
            remedy='turn on the SMMU in the firmware setup; "dmesg | '
            'grep -i SMMU" shows',
        )
        slow = host_cases.card(host={'domain': 'DMA'}).arm()
        self.finds(
            'GPU422', WARN, 'DMA', slow, remedy='Add iommu.passthrough=1 to'
        )
        text = str([*self.problems(off), *self.problems(slow)])
        for word in ('Intel', 'intel_iommu', 'VT-d', 'AMD', 'iommu=pt'):
            self.assertNotIn(word, text)
        self.assertEqual(
            [],
            self.codes(
                host_cases.card(
                    'iommu.passthrough=1 vfio-pci.ids='
                    '10de:20f1 rd.driver.pre=vfio-pci'
                ).arm()
            ),
        )

    def test_virtual_machine(self) -> None:
        """It has no firmware setup; QEMU has Intel's IOMMU for all CPUs."""
        off = {'iommu': False, 'acpi': ['APIC']}
        for vendor, model in (
            (trees.INTEL, ' (libvirt: <iommu model="intel">)'),
            (trees.AMD, ' (libvirt: <iommu model="amd">)'),
            ('HygonGenuine', ' (libvirt: <iommu model="amd">)'),
        ):
            tree = host_cases.card(
                '', host={**off, 'vendor': vendor}, driver=None
            )
            remedy = self.remedy('GPU420', tree.guest())
            self.assertEqual(
                f'Add an IOMMU to this virtual machine{model}', remedy
            )
        virt = host_cases.card('', host=off, driver=None).arm()
        virt.device('0000:00:00.0', '1b36:0008', 0x060000)
        self.finds('GPU420', FAIL, 'off', virt, remedy='model="smmuv3"')
        amd = {'vendor': trees.AMD, 'acpi': ['DMAR']}
        self.assertEqual([], self.codes(host_cases.card(host=amd).guest()))
        asleep = host_cases.card(
            '', host={**amd, 'iommu': False}, driver=None
        ).guest()
        self.finds('GPU420', FAIL, 'without intel_iommu=on', asleep)
        plain = host_cases.card(total_vfs=None).guest()
        self.finds(
            'GPU437',
            WARN,
            'should be type-PF',
            plain,
            remedy='Set device_type',
        )

    def test_values_that_were_left_out(self) -> None:
        """They are unknown, which is not the same as absent."""
        tree = host_cases.card(
            'intel_iommu=*** iommu=pt,***', host={'iommu': False}
        )
        self.finds('GPU420', FAIL, 'the reason is not known', tree)
        self.finds(
            'GPU460',
            WARN,
            'the value of intel_iommu, iommu was left out',
            tree,
        )
        self.finds(
            'GPU432',
            WARN,
            'has a value that is not in the bundle, which vfio-pci cannot ',
            host_cases.card('vfio-pci.ids=10de:20f1,***'),
        )
        self.assertNotIn('GPU460', self.codes(host_cases.card(trees.EARLY)))

    def test_unreadable_arguments(self) -> None:
        tree = host_cases.card(host={'iommu': False}, driver=None)
        del tree.files['proc/cmdline']
        self.finds('GPU420', FAIL, 'the reason is not known', tree)

    def test_on_without_an_argument(self) -> None:
        """It is on by default in Debian's kernel, as its groups show."""
        tree = host_cases.card(
            'iommu=pt vfio-pci.ids=10de:20f1 rd.driver.pre=vfio-pci'
        )
        self.assertEqual([], self.codes(tree))

    def test_not_for_pci(self) -> None:
        """The IOMMU of some boards serves devices of the platform only."""
        remedy = 'Find out first why no PCI device is in an IOMMU group'
        for driver, code in (('nouveau', 'GPU424'), (None, 'GPU425')):
            tree = host_cases.card(
                host={'iommu': False, 'vendor': 'ARM'}, driver=driver
            )
            for number in (0, 1):
                tree.text(f'sys/kernel/iommu_groups/{number}/type', 'DMA\n')
            tree.text('sys/class/iommu/1000005100.iommu', '')
            codes = self.codes(tree)
            self.assertEqual(2, codes.count('GPU428'))
            self.assertNotIn('GPU420', codes)
            results = [
                result
                for result in self.check(tree)
                if result.code is not None
            ]
            for result in results:
                self.assertNotIn('Turn on', result.remedy)
                self.assertNotIn('off', result.evidence)
            self.finds(code, FAIL, 'bound to', tree, remedy=remedy)
            self.assertIn(
                'on: 2 groups (1000005100.iommu), but no PCI device is in one',
                ' '.join(result.evidence for result in results),
            )

    def test_wrong_vendor(self) -> None:
        amd = {'vendor': trees.AMD, 'acpi': ['IVRS']}
        remedy = (
            'Remove intel_iommu=on from GRUB_CMDLINE_LINUX in '
            '/etc/default/grub and run update-grub, then reboot'
        )
        self.finds(
            'GPU421',
            WARN,
            'intel_iommu',
            host_cases.card(host=amd),
            remedy=remedy,
        )
        both = host_cases.card(f'{trees.EARLY} amd_iommu=on')
        self.finds(
            'GPU421',
            WARN,
            'amd_iommu',
            both,
            remedy='Remove amd_iommu=on from',
        )
        replaced = host_cases.card('amd_iommu=on iommu=pt')
        self.finds(
            'GPU421',
            WARN,
            'amd_iommu',
            replaced,
            remedy='Replace amd_iommu=on with intel_iommu=on in',
        )
        off = host_cases.card(host={**amd, 'iommu': False}, driver=None)
        self.finds('GPU421', FAIL, 'intel_iommu', off)

    def test_mode(self) -> None:
        tree = host_cases.card(host={'domain': 'DMA-FQ'})
        self.finds('GPU422', WARN, 'DMA-FQ', tree, remedy='iommu=pt')
        mixed = host_cases.card()
        mixed.device('0000:07:00.0', '8086:1137', 0x0C0330, group=9)
        mixed.text('sys/kernel/iommu_groups/9/type', 'DMA\n')
        self.assertEqual([], self.codes(mixed))
        unknown = host_cases.card()
        del unknown.files['sys/kernel/iommu_groups/4/type']
        self.assertEqual([], self.codes(unknown))

    def test_without_an_iommu(self) -> None:
        """VFIO creates groups without an IOMMU that servers cannot use."""
        path = 'sys/module/vfio/parameters/enable_unsafe_noiommu_mode'
        options = 'options vfio enable_unsafe_noiommu_mode=1\n'
        for arguments, files, source in (
            ('vfio.enable_unsafe_noiommu_mode=1', {}, 'the kernel arguments'),
            ('', {'etc/modprobe.d/x.conf': options}, '/etc/modprobe.d/x.conf'),
            ('', {}, 'the command that loads vfio'),
        ):
            tree = host_cases.card(
                f'{trees.EARLY} {arguments}', host={'acpi': ['APIC']}
            )
            tree.text('sys/kernel/iommu_groups/4/name', 'vfio-noiommu\n')
            tree.text(path, 'Y\n')
            for name, content in files.items():
                tree.text(name, content)
            self.finds(
                'GPU462',
                FAIL,
                f'group 4 of {GPU} has no IOMMU',
                tree,
                remedy=f'from {source}, run',
            )
            self.assertEqual(
                {'GPU420', 'GPU428', 'GPU462'}, set(self.codes(tree))
            )
            self.finds(
                'GPU420', FAIL, 'only those that VFIO creates), so', tree
            )
        # With an IOMMU, the parameter has no effect.
        tree = host_cases.card()
        tree.text(path, 'Y\n')
        self.finds('GPU462', WARN, 'is on', tree)
        tree.text(path, 'N\n')
        self.assertEqual([], self.codes(tree))

    def test_nothing_depends_on_it(self) -> None:
        tree = trees.Tree(iommu=False)
        trees.bmc(tree)
        self.finds('GPU420', WARN, 'without intel_iommu=on', tree)
