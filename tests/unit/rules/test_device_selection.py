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

import dataclasses

import testtools

from gpuclient import exceptions
from gpuclient.model import host as host_model
from gpuclient.model import pci
from gpuclient.rules import device_selection


def device(
    address: str,
    ids: str = '10de:20f1',
    *,
    class_code: int = 0x030200,
    driver: str | None = None,
) -> host_model.PciDevice:
    vendor_id, product_id = ids.split(':')
    return host_model.PciDevice(
        pci.parse_address(address),
        vendor_id,
        product_id,
        class_code=class_code,
        driver=driver,
    )


FIRST = device('0000:03:00.0', driver='nouveau')
AUDIO = device(
    '0000:03:00.1',
    '10de:1aef',
    class_code=0x040300,
    driver='snd_hda_intel',
)
SECOND = device('0000:82:00.0', driver='vfio-pci')
OTHER = device('0000:83:00.0', '10de:2236')
BRIDGE = device('0000:00:01.0', '8086:2030', class_code=0x060400)


def choose(
    *addresses: str,
    ids: tuple[str, ...] = (),
    devices: tuple[host_model.PciDevice, ...] = (BRIDGE, FIRST, AUDIO, SECOND),
) -> device_selection.Selection:
    return device_selection.select(
        host_model.Host('compute-0', devices),
        map(pci.parse_address, addresses),
        ids,
    )


class TestChoose(testtools.TestCase):
    def test_all_cards_of_the_ids(self) -> None:
        selection = choose('0000:03:00.0', '0000:82:00.0')
        self.assertEqual((FIRST, SECOND), selection.devices)
        self.assertEqual((AUDIO,), selection.companions)
        self.assertEqual(('10de:20f1', '10de:1aef'), selection.ids)
        self.assertEqual((), selection.by_address)
        self.assertFalse(selection.keeps_vendor)
        self.assertEqual(('nouveau', 'snd_hda_intel'), selection.rivals)

    def test_by_ids(self) -> None:
        self.assertEqual(
            choose('0000:03:00.0', '0000:82:00.0'), choose(ids=('10de:20f1',))
        )

    def test_one_of_two_identical_cards(self) -> None:
        """Only the audio function is not shared by an identical card."""
        selection = choose('0000:03:00.0')
        self.assertEqual(('10de:1aef',), selection.ids)
        self.assertEqual((FIRST,), selection.by_address)
        self.assertEqual(('10de',), selection.vendor_ids)
        self.assertTrue(selection.keeps_vendor)

    def test_another_model_is_not_selected(self) -> None:
        selection = choose('0000:03:00.0', devices=(FIRST, OTHER))
        self.assertEqual(('10de:20f1',), selection.ids)
        self.assertEqual((), selection.by_address)
        self.assertTrue(selection.keeps_vendor)

    def test_virtual_functions(self) -> None:
        """VFs do not exist when the host boots."""
        vf = dataclasses.replace(
            device('0000:03:00.4', driver='nvidia'),
            physical_function=FIRST.address,
        )
        for selection in (
            choose('0000:03:00.0', devices=(FIRST, vf)),
            choose(ids=('10de:20f1',), devices=(FIRST, vf)),
        ):
            self.assertEqual((FIRST,), selection.devices)
            self.assertEqual(('10de:20f1',), selection.ids)
            self.assertEqual((), selection.by_address)
            self.assertFalse(selection.keeps_vendor)
        error = self.assertRaises(
            exceptions.InvalidValue,
            choose,
            '0000:03:00.4',
            devices=(FIRST, vf),
        )
        self.assertIn('0000:03:00.4 is a VF of 0000:03:00.0', str(error))

    def test_switches_that_stay(self) -> None:
        """NVSwitches need the GPU driver for the fabric manager."""
        switch = device('0000:07:00.0', '10de:22a3', class_code=0x068000)
        self.assertTrue(
            choose('0000:03:00.0', devices=(FIRST, switch)).keeps_vendor
        )

    def test_modules_of_the_host(self) -> None:
        """Debian's NVIDIA driver has another name."""
        host = host_model.Host(
            'compute-0',
            (
                dataclasses.replace(
                    SECOND,
                    modalias='pci:v000010DEd000020F1sv0000sd0000bc03sc02i00',
                ),
            ),
            aliases=(
                ('pci:v000010DEd*sv*sd*bc03sc*i*', 'nvidia_current'),
                ('pci:v000010DEd*sv*sd*bc03sc*i*', 'nvidia_current_drm'),
            ),
        )
        selection = device_selection.select(host, (SECOND.address,), ())
        self.assertEqual(('nvidia_current',), selection.rivals)

    def test_unknown_device(self) -> None:
        for values in ({'ids': ('10de:20f2',)}, {'addresses': '0000:04:00.0'}):
            error = self.assertRaises(
                exceptions.InvalidValue,
                choose,
                *([values['addresses']] if 'addresses' in values else ()),
                ids=tuple(values.get('ids', ())),
            )
            self.assertIn('compute-0 has no PCI device', str(error))
            self.assertIn('gpu host show --all', str(error))
