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

"""The check of the driver that a device is bound to."""

import re


from gpuclient.documents.generate import host_files
from tests.unit.host import trees
from tests.unit.rules import host_cases
from tests.unit.rules.host_cases import FAIL
from tests.unit.rules.host_cases import GPU
from tests.unit.rules.host_cases import TWIN
from tests.unit.rules.host_cases import WARN


class TestDriver(host_cases.HostTestCase):
    def test_rivals(self) -> None:
        for driver in ('nouveau', 'nvidia', 'nvidiafb', 'NovaCore'):
            self.finds(
                'GPU424',
                FAIL,
                f'bound to {driver}',
                host_cases.card(driver=driver),
            )
        tree = host_cases.card('', driver='NovaCore')
        self.finds(
            'GPU424',
            FAIL,
            'bound to NovaCore',
            tree,
            remedy='the line "blacklist nova_core" to',
        )
        # Another card of the host needs it, or an NVSwitch.
        switch = host_cases.card('', driver='nvidia')
        switch.device('0000:07:00.0', '10de:22a3', 0x068000, driver='nvidia')
        self.assertNotIn('blacklist', self.remedy('GPU424', switch))
        host_cases.add(tree, TWIN, group=5, driver='NovaCore')
        remedy = self.remedy('GPU424', tree, host_cases.named(GPU))
        self.assertNotIn('blacklist', remedy)
        self.assertIn(f'host config create --device {GPU}"', remedy)
        tree = host_cases.card('', driver='nouveau', host={'iommu': False})
        self.finds(
            'GPU424',
            FAIL,
            'bound to nouveau',
            tree,
            remedy='Turn on the IOMMU',
        )

    def test_variants_of_vfio(self) -> None:
        for driver in ('vfio-pci', 'nvgrace-gpu-vfio-pci', 'mlx5_vfio_pci'):
            self.assertEqual([], self.codes(host_cases.card(driver=driver)))

    def test_unbound(self) -> None:
        plain = host_cases.card('intel_iommu=on iommu=pt', driver=None)
        self.finds(
            'GPU425',
            WARN,
            'libvirt binds it',
            plain,
            remedy='Add vfio-pci.ids=10de:20f1 rd.driver.pre=vfio-pci to',
        )
        stub = host_cases.card('iommu=pt', driver='pci-stub')
        self.finds('GPU425', WARN, 'bound to pci-stub', stub)
        wrong = host_cases.card('vfio-pci.ids=10de:20f0', driver=None)
        self.finds(
            'GPU425',
            FAIL,
            'does not have its IDs',
            wrong,
            remedy='Replace vfio-pci.ids=10de:20f0 with '
            'vfio-pci.ids=10de:20f1 rd.driver.pre=vfio-pci in '
            'GRUB_CMDLINE_LINUX in /etc/default/grub and run '
            'update-grub, then reboot. "openstack gpu host config '
            'create --id 10de:20f1" creates all of these files',
        )
        late = host_cases.card(driver=None)
        self.finds(
            'GPU425',
            FAIL,
            'vfio-pci claims it (the kernel arguments) and is loaded',
            late,
            remedy='dmesg',
        )
        late.text('proc/modules', 'ext4 1 0\n')
        self.finds('GPU425', FAIL, 'and is not loaded', late)
        self.finds(
            'GPU425',
            FAIL,
            'managed: no',
            plain,
            host_cases.specs({'address': GPU, 'managed': 'no'}),
        )

    def test_loads_vfio_pci(self) -> None:
        """IDs have no effect if the module is not loaded."""
        host = {'system': trees.DEBIAN}
        tree = host_cases.card('iommu=pt', driver=None, host=host)
        tree.initramfs('ext4', maker='initramfs-tools')
        tree.text('proc/modules', 'nouveau 1 0\n')
        self.finds(
            'GPU425',
            WARN,
            'not bound to any driver',
            tree,
            remedy='run update-grub. Add vfio-pci to '
            '/etc/initramfs-tools/modules, and a line "softdep DRIVER '
            'pre: vfio-pci" for each of nouveau, nova_core, nvidia, '
            'nvidiafb to a file in /etc/modprobe.d. Run '
            'update-initramfs -u -k all, then reboot.',
        )
        tree.text(
            'etc/modprobe.d/x.conf',
            'blacklist nova_core\nblacklist nvidia\nblacklist nvidiafb\n',
        )
        self.finds(
            'GPU425',
            WARN,
            'not bound',
            tree,
            remedy='and the line "softdep nouveau pre: vfio-pci" to a file',
        )
        tree.text('etc/modprobe.d/y.conf', 'blacklist nouveau\n')
        self.finds(
            'GPU425',
            WARN,
            'not bound',
            tree,
            remedy='Add vfio-pci to /etc/initramfs-tools/modules. Run',
        )

    def test_pci_stub(self) -> None:
        stub = f'{trees.EARLY} pci-stub.ids=10de:20f1'
        self.finds(
            'GPU425',
            FAIL,
            'bound to pci-stub, although vfio-pci claims',
            host_cases.card(stub, driver='pci-stub'),
            remedy='Remove pci-stub.ids=10de:20f1 from',
        )
        self.finds(
            'GPU425',
            FAIL,
            'bound to pci-stub',
            host_cases.card(f'{stub},8086:1', driver='pci-stub'),
            remedy='with pci-stub.ids=8086:1 in',
        )
        tree = host_cases.card(driver='pci-stub')
        tree.text('etc/modprobe.d/x.conf', 'options pci-stub ids=10de:20f1\n')
        self.finds(
            'GPU425',
            FAIL,
            'bound to pci-stub',
            tree,
            remedy='Remove 10de:20f1 from the options of pci-stub in '
            '/etc/modprobe.d/x.conf, then reboot',
        )

    def test_overridden_for_another(self) -> None:
        tree = host_cases.card(driver=None, override='none')
        self.finds(
            'GPU425',
            FAIL,
            'driver_override allows only none',
            tree,
            remedy=f'Remove what writes none to driver_override of '
            f'{GPU} (a line of modprobe.d, a udev rule, driverctl), '
            f'then reboot',
        )
        tree = host_cases.card(
            'iommu=pt', driver='pci-stub', override='pci-stub'
        )
        self.finds(
            'GPU425',
            FAIL,
            'allows only pci-stub',
            tree,
            remedy='). Add vfio-pci.ids=10de:20f1',
        )

    def test_virtual_functions(self) -> None:
        tree = trees.vfs()
        vf = '0000:41:00.4'
        for device in (vf, '0000:41:00.5'):
            self.finds(
                'GPU424',
                WARN,
                'bound to nvidia',
                tree,
                remedy='set managed to no',
                device=device,
            )
        spec = {'vendor_id': '10de', 'product_id': '2235', 'address': vf}
        self.assertEqual(
            [], self.codes(tree, host_cases.specs({**spec, 'managed': 'no'}))
        )
        tree.text('proc/modules', 'nvidia_vgpu_vfio 1 0\n')
        self.assertEqual([], self.codes(tree))
        self.assertEqual(['GPU424'], self.codes(tree, host_cases.specs(spec)))
        del tree.links[f'sys/bus/pci/devices/{vf}/driver']
        self.finds(
            'GPU425',
            WARN,
            'not bound to any driver',
            tree,
            host_cases.specs(spec),
            'when the VFs have been created',
        )

    def test_all_cards_in_one_argument(self) -> None:
        """If there are two such arguments, the last one counts."""
        tree = host_cases.card('iommu=pt', driver='nouveau')
        tree.device(
            '0000:41:00.0', '10de:27b8', 0x030200, driver='nouveau', group=40
        )
        tree.device(
            '0000:41:00.1',
            '10de:22bc',
            0x040300,
            driver='snd_hda_intel',
            group=40,
        )
        tree.device(
            '0000:42:00.0', '10de:2235', 0x030200, driver='nvidia', group=42
        )
        texts = [
            problem.remedy.text
            for problem in self.problems(
                tree, host_cases.named(GPU, '0000:41:00.0')
            )
            if problem.code in ('GPU424', 'GPU426')
        ]
        self.assertEqual(3, len(texts))
        for text in texts:
            (ids,) = re.findall('vfio-pci.ids=([0-9a-f:,]+) rd', text)
            self.assertEqual(
                {'10de:20f1', '10de:27b8', '10de:22bc'}, set(ids.split(','))
            )

    def test_arguments_for_the_next_boot(self) -> None:
        ids = 'vfio-pci.ids=10de:20f1'
        for early, remedy in (
            (
                ' rd.driver.pre=vfio-pci',
                'Reboot: /{} already sets vfio-pci.ids with',
            ),
            (
                '',
                '/{} already sets vfio-pci.ids with 10de:20f1. Add '
                'rd.driver.pre=vfio-pci to',
            ),
        ):
            for path, content in (
                (
                    'etc/default/grub',
                    'GRUB_CMDLINE_LINUX="a"\n'
                    f'GRUB_CMDLINE_LINUX+=" {ids}{early}"\n',
                ),
                ('etc/kernel/cmdline', f'{ids}{early}\n'),
                ('boot/loader/entries/a.conf', f'options {ids}{early}'),
            ):
                tree = host_cases.card('iommu=pt', driver=None)
                tree.text(path, content)
                self.finds(
                    'GPU425',
                    WARN,
                    'until the next boot',
                    tree,
                    remedy=remedy.format(path),
                )

    def test_boot_entries_are_older_than_their_sources(self) -> None:
        tree = host_cases.card('iommu=pt', driver=None)
        tree.text(
            'etc/default/grub',
            'GRUB_CMDLINE_LINUX="vfio-pci.ids=10de:20f1 '
            'rd.driver.pre=vfio-pci"\n',
        )
        self.finds(
            'GPU425',
            WARN,
            'until the next boot',
            tree,
            remedy='first run update-grub',
        )
        tree.text('boot/loader/entries/a.conf', 'options quiet\n')
        self.finds(
            'GPU425',
            WARN,
            'not bound',
            tree,
            remedy='Add vfio-pci.ids=10de:20f1',
        )

    def test_iommu_is_enabled_at_the_next_boot(self) -> None:
        for system, remedy in (
            (trees.RHEL, 'first run grub2-mkconfig'),
            (trees.DEBIAN, 'first run update-grub'),
        ):
            tree = host_cases.card('', host={'iommu': False, 'system': system})
            tree.text('etc/default/grub', 'GRUB_CMDLINE_LINUX=intel_iommu=on')
            self.finds(
                'GPU420', FAIL, 'without intel_iommu=on', tree, remedy=remedy
            )
        tree = host_cases.card('', host={'iommu': False})
        tree.text('etc/kernel/cmdline', 'intel_iommu=on\n')
        self.finds(
            'GPU420',
            FAIL,
            'without intel_iommu=on',
            tree,
            remedy='run kernel-install add',
        )

    def test_created_files_before_the_reboot(self) -> None:
        tree = host_cases.card('iommu=pt', driver=None)
        tree.initramfs('ext4', maker='initramfs-tools')
        tree.text('proc/modules', 'nouveau 1 0\n')
        wanted = host_files.Passthrough('intel', ids=('10de:20f1',))
        for file in host_files.prepare(wanted, host_files.DEBIAN).files:
            tree.text(file.path.lstrip('/'), file.content)
        self.assertIn(
            'Reboot; if that does not help', self.remedy('GPU425', tree)
        )
