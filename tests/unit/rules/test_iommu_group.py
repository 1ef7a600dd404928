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

"""The checks of the IOMMU group of a device."""

from tests.unit.host import trees
from tests.unit.rules import host_cases
from tests.unit.rules.host_cases import FAIL
from tests.unit.rules.host_cases import GPU
from tests.unit.rules.host_cases import TWIN
from tests.unit.rules.host_cases import WARN


class TestGroup(host_cases.HostTestCase):
    def test_harmless_siblings(self) -> None:
        tree = host_cases.card()
        for slot, (code, driver) in enumerate(
            (
                (0x060400, 'pcieport'),
                (0x060400, 'shpchp'),
                (0x040300, None),
                (0x040300, 'vfio-pci'),
                (0x040300, 'pci-stub'),
            )
        ):
            tree.device(
                f'0000:10:0{slot}.0', '8086:0001', code, driver=driver, group=4
            )
        self.assertEqual([], self.codes(tree))

    def test_unused_devices_of_the_group(self) -> None:
        """They may be bound to vfio-pci, and have to be for the group."""
        tree = host_cases.card()
        host_cases.add(tree, TWIN)
        self.assertEqual([], self.codes(tree, host_cases.named(GPU)))
        # Bound to a host driver: the remedy is vfio-pci for both, by IDs.
        tree = host_cases.card('intel_iommu=on iommu=pt', driver='nouveau')
        host_cases.add(tree, TWIN, driver='nouveau')
        self.finds('GPU426', FAIL, TWIN, tree, host_cases.named(GPU))
        self.finds(
            'GPU424',
            FAIL,
            'bound to nouveau',
            tree,
            host_cases.named(GPU),
            remedy='vfio-pci.ids=10de:20f1',
        )
        self.assertNotIn('GPU454', self.codes(tree, host_cases.named(GPU)))
        # In its own group, it is a card that the host keeps.
        tree = host_cases.card()
        host_cases.add(tree, TWIN, group=5)
        self.assertIn('GPU430', self.codes(tree, host_cases.named(GPU)))

    def test_not_viable(self) -> None:
        tree = host_cases.card()
        tree.device(
            '0000:04:00.1',
            '10de:1aef',
            0x040300,
            driver='snd_hda_intel',
            group=4,
        )
        self.finds(
            'GPU426',
            FAIL,
            '0000:04:00.1 (10de:1aef, snd_hda_intel)',
            tree,
            remedy='with vfio-pci.ids=10de:20f1,10de:1aef in '
            'GRUB_CMDLINE_LINUX in /etc/default/grub and run update-grub, '
            'then reboot',
        )
        lost = host_cases.card(trees.EARLY.replace('20f1', '20f1,10de:1aef'))
        lost.device(
            '0000:04:00.1',
            '10de:1aef',
            0x040300,
            driver='snd_hda_intel',
            group=4,
        )
        self.finds('GPU426', FAIL, 'snd_hda_intel', lost, remedy='dmesg')
        by_address = host_cases.card('iommu=pt', override='vfio-pci')
        by_address.device(
            '0000:04:00.1',
            '10de:1aef',
            0x040300,
            driver='snd_hda_intel',
            group=4,
        )
        self.finds(
            'GPU426',
            FAIL,
            'snd_hda_intel',
            by_address,
            remedy='driver_override of 0000:04:00.1, too',
        )
        other = host_cases.card()
        other.device(
            '0000:10:00.0', '8086:1', 0x0C0330, driver='ahci', group=4
        )
        self.finds('GPU426', FAIL, 'ahci', other, remedy='ACS')

    def test_built_in_driver(self) -> None:
        tree = host_cases.card()
        tree.device(
            '0000:04:00.2', '10de:1ad8', 0x0C0330, driver='xhci_hcd', group=4
        )
        self.finds(
            'GPU426',
            FAIL,
            'xhci_hcd',
            tree,
            remedy='with vfio-pci.ids=10de:20f1,10de:1ad8',
        )
        tree.text(
            'lib/modules/6.1.0-56-amd64/modules.builtin',
            'kernel/drivers/usb/host/xhci-pci.ko\n',
        )
        remedy = 'xhci_hcd is built into the kernel and always binds first'
        self.finds('GPU426', FAIL, 'xhci_hcd', tree, remedy=remedy)
        self.assertNotIn('pci-stub', self.remedy('GPU426', tree))
        tree.text(
            'lib/modules/6.1.0-56-amd64/modules.builtin',
            'kernel/drivers/usb/host/xhci-pci.ko\n'
            'kernel/drivers/pci/pci-stub.ko\n',
        )
        self.finds(
            'GPU426', FAIL, 'xhci_hcd', tree, remedy='with pci-stub.ids'
        )

    def test_reserved_by_firmware(self) -> None:
        path = 'sys/kernel/iommu_groups/4/reserved_regions'
        region = '0x00000000bf800000 0x00000000bfffffff direct\n'
        tree = host_cases.card()
        tree.text(path, region)
        self.finds('GPU427', FAIL, 'RMRR', tree)
        relaxable = host_cases.card()
        relaxable.text(path, region.replace('direct', 'direct-relaxable'))
        self.assertEqual([], self.codes(relaxable))

    def test_reserved_by_firmware_on_amd(self) -> None:
        """Since Linux 6.6, not only Intel's IOMMU refuses it."""
        for release, bad in (('6.5.0-1-amd64', False), ('6.6.9-1', True)):
            host = {'vendor': trees.AMD, 'acpi': ['IVRS'], 'release': release}
            tree = host_cases.card(
                'iommu=pt vfio-pci.ids=10de:20f1', host=host
            )
            tree.text(
                'sys/kernel/iommu_groups/4/reserved_regions',
                '0x00000000bf800000 0x00000000bfffffff direct\n',
            )
            if bad:
                self.finds(
                    'GPU427',
                    FAIL,
                    '1:1 IOMMU mapping',
                    tree,
                    remedy='Turn off DMA protection',
                )
            else:
                self.assertNotIn('GPU427', self.codes(tree))

    def test_reserved_by_firmware_of_old_kernels(self) -> None:
        """They have one name for all regions, and allow displays."""
        for release, code, bad in (
            ('4.18.0-553.el8', 0x0C0330, False),
            ('4.18.0-553.el8', 0x010700, True),
            ('5.14.0-427.el9', 0x0C0330, True),
        ):
            tree = host_cases.card(host={'release': release})
            tree.device('0000:10:00.0', '8086:1', code, group=4)
            tree.text(
                'sys/kernel/iommu_groups/4/reserved_regions',
                '0x00000000bf800000 0x00000000bfffffff direct\n',
            )
            self.assertEqual(bad, 'GPU427' in self.codes(tree), release)

    def test_no_group(self) -> None:
        tree = host_cases.card(group=None)
        trees.bmc(tree)
        self.finds('GPU428', FAIL, 'although other devices are', tree)

    def test_cards_that_share_one(self) -> None:
        tree = host_cases.card()
        host_cases.add(tree, TWIN)
        for device, other in ((GPU, TWIN), (TWIN, GPU)):
            self.finds('GPU429', WARN, other, tree, device=device)
