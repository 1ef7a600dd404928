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

import testtools

from gpuclient.model import host
from gpuclient.model import pci


def device(address: str, **values: object) -> host.PciDevice:
    return host.PciDevice(pci.parse_address(address), **values)


class TestDevice(testtools.TestCase):
    def test_device_type(self) -> None:
        """As in libvirt: a VF has a PF; a PF has VFs, or can have some."""
        address = pci.parse_address('0000:04:00.0')
        for values, expected in (
            ({}, 'type-PCI'),
            ({'sriov_total_vfs': 0}, 'type-PCI'),
            ({'sriov_total_vfs': 16}, 'type-PF'),
            ({'virtual_functions': (address,)}, 'type-PF'),
            ({'physical_function': address}, 'type-VF'),
            ({'physical_function': address, 'sriov_total_vfs': 1}, 'type-VF'),
        ):
            self.assertEqual(
                expected, device('0000:05:00.0', **values).device_type
            )

    def test_classes(self) -> None:
        for code, gpu, bridge in (
            (0x030000, True, False),
            (0x030200, True, False),
            (0x120000, True, False),
            (0x040300, False, False),
            (0x060400, False, True),
            (0x060000, False, False),
            (None, False, False),
        ):
            card = device('0000:05:00.0', class_code=code)
            self.assertEqual((gpu, bridge), (card.is_gpu, card.is_bridge))

    def test_memory_bars(self) -> None:
        card = device(
            '0000:05:00.0',
            bars=(
                host.DeviceBar(0, 16 << 20),
                host.DeviceBar(5, 128, is_io=True),
            ),
        )
        self.assertEqual(16 << 20, card.bar_bytes)

    def test_modules_of_drivers(self) -> None:
        for driver, expected in (
            ('vfio-pci', 'vfio_pci'),
            ('xhci_hcd', 'xhci_pci'),
            ('nvidia-gpu', 'i2c_nvidia_gpu'),
            ('nvidia', 'nvidia'),
        ):
            self.assertEqual(expected, host.module(driver))

    def test_rivals(self) -> None:
        card = device('0000:05:00.0', vendor_id='10de', class_code=0x030200)
        audio = device('0000:05:00.1', vendor_id='10de', class_code=0x040300)
        compute = host.Host('compute', (card, audio))
        self.assertIn('nouveau', compute.rivals(card))
        self.assertIn('snd_hda_intel', compute.rivals(card))
        # Drivers of GPUs are not listed for other devices.
        self.assertEqual(('snd_hda_intel',), compute.rivals(audio))

    def test_groups_without_an_iommu(self) -> None:
        card = device('0000:05:00.0', group=0)
        other = device('0000:06:00.0')
        for name, on in ((None, True), (host.NO_IOMMU, False)):
            compute = host.Host(
                'compute',
                (card, other),
                groups=(host.IommuGroup(0, name=name),),
            )
            self.assertEqual(on, compute.iommu_on)
            self.assertEqual(on, compute.has_iommu(card))
            self.assertFalse(compute.has_iommu(other))

    def test_siblings_and_functions(self) -> None:
        card = device('0000:05:00.0', group=3)
        audio = device('0000:05:00.1', group=3)
        other = device('0000:06:00.0', group=3)
        virtual = device(
            '0000:05:00.4', group=9, physical_function=card.address
        )
        compute = host.Host('compute', (card, audio, virtual, other))
        self.assertEqual((audio, other), compute.siblings(card))
        self.assertEqual((audio,), compute.functions(card))
        self.assertEqual((), compute.siblings(device('0000:07:00.0')))
        self.assertTrue(compute.iommu_on)
        self.assertFalse(host.Host('compute').iommu_on)
