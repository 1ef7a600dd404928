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


"""Debian's kernel on hosts that are prepared well, badly and not at all.

A case boots, has the kernel's own word for what is wrong asserted, then our
verdict, then applies the remedy and boots again.
"""

import functools

import testtools

from gpuclient.documents import host_files
from gpuclient.model import pci

from tests.host import device
from tests.host import machine

#: Where the first card of a plain machine is.
CARD = '0000:00:01.0'
IOMMU = 'intel_iommu=on iommu=pt'
EARLY = 'rd.driver.pre=vfio-pci'
PREPARED = f'{IOMMU} vfio-pci.ids=10de:20f1 {EARLY}'
ALL_CARDS = host_files.Passthrough(
    cpu_vendor=host_files.INTEL, ids=('10de:20f1',)
)

#: A machine with an audio controller that Linux really drives: the rival of
#: vfio-pci that the emulated card cannot have, for nouveau does not get far
#: with it.
AUDIO = '8086:2668'
WITH_AUDIO = machine.Machine(cards=(), devices=('intel-hda,addr=5',))
AUDIO_CARD = '0000:00:05.0'

# Boots that several cases need.
boot = functools.cache(machine.boot)


class TestKernelArguments(testtools.TestCase):
    def assert_passes(self) -> None:
        """The same machine, prepared as the remedies say."""
        found = boot(machine.Machine(), PREPARED)
        card = found.device(CARD)
        self.assertEqual('vfio-pci', card['driver'])
        groups = found.result['raw']['groups']
        self.assertEqual([CARD], groups[card['group']]['devices'])
        self.assertEqual('identity', groups[card['group']]['type'])
        self.assertIn(card['group'], found.result['raw']['vfio'])

    def test_bound_early(self) -> None:
        self.assert_passes()

    def test_iommu_off(self) -> None:
        found = boot(
            machine.Machine(),
            f'intel_iommu=off vfio-pci.ids=10de:20f1 {EARLY}',
        )
        self.assertEqual({}, found.result['raw']['groups'])
        self.assertIsNone(found.device(CARD)['driver'])
        self.assertIn('failed with error -22', found.kernel_messages)
        self.assert_passes()

    def test_no_iommu(self) -> None:
        """As with VT-d disabled in the firmware's settings."""
        found = boot(machine.Machine(iommu=None), PREPARED)
        self.assertEqual({}, found.result['raw']['groups'])
        self.assertIsNone(found.device(CARD)['driver'])
        self.assert_passes()

    def test_no_passthrough_domain(self) -> None:
        found = boot(
            machine.Machine(),
            f'intel_iommu=on vfio-pci.ids=10de:20f1 {EARLY}',
        )
        self.assertEqual('vfio-pci', found.device(CARD)['driver'])
        self.assertEqual(
            {'DMA'},
            {
                group['type']
                for group in found.result['raw']['groups'].values()
            },
        )
        self.assert_passes()

    def test_wrong_id(self) -> None:
        found = boot(
            machine.Machine(), f'{IOMMU} vfio-pci.ids=10de:20f0 {EARLY}'
        )
        self.assertIsNone(found.device(CARD)['driver'])
        self.assert_passes()


class TestDrivers(testtools.TestCase):
    def test_nouveau_first(self) -> None:
        found = boot(machine.Machine(), IOMMU)
        self.assertIn('nouveau', found.result['raw']['modules'])
        self.assertNotEqual('vfio-pci', found.device(CARD)['driver'])
        again = boot(
            machine.Machine(),
            IOMMU,
            host_files.prepare(ALL_CARDS, host_files.DEBIAN).files,
        )
        self.assertEqual('vfio-pci', again.device(CARD)['driver'])

    def test_blacklisted(self) -> None:
        """Our files without kernel arguments of theirs."""
        found = boot(
            machine.Machine(),
            IOMMU,
            host_files.prepare(ALL_CARDS, host_files.DEBIAN).files,
        )
        self.assertNotIn('nouveau', found.result['raw']['modules'])
        self.assertEqual('vfio-pci', found.device(CARD)['driver'])

    def test_another_driver_first(self) -> None:
        found = boot(
            machine.Machine(),
            f'{IOMMU} vfio-pci.ids=10de:20f1 pci-stub.ids=10de:20f1 '
            'rd.driver.pre=pci-stub,vfio-pci',
        )
        self.assertEqual('pci-stub', found.device(CARD)['driver'])

    def test_race_lost(self) -> None:
        load = host_files.HostFile(host_files.MODULES_LOAD, 'vfio-pci\n')
        arguments = f'{IOMMU} vfio-pci.ids={AUDIO}'
        found = boot(WITH_AUDIO, arguments, (load,))
        self.assertEqual('snd_hda_intel', found.device(AUDIO_CARD)['driver'])
        again = boot(WITH_AUDIO, f'{arguments} {EARLY}', (load,))
        self.assertEqual('vfio-pci', again.device(AUDIO_CARD)['driver'])

    def test_race_won_by_softdep(self) -> None:
        """Without dracut, that is without rd.driver.pre."""
        wanted = host_files.Passthrough(
            cpu_vendor=host_files.INTEL, ids=(AUDIO,)
        )
        preparation = host_files.prepare(wanted, host_files.DEBIAN)
        found = boot(
            WITH_AUDIO,
            ' '.join(preparation.kernel_arguments),
            preparation.files,
        )
        self.assertEqual('vfio-pci', found.device(AUDIO_CARD)['driver'])


class TestOneOfTwo(testtools.TestCase):
    """Identical cards, of which one stays with the host."""

    host = machine.Machine(
        cards=(
            device.Device(address='7.0'),
            device.Device(address='8.0'),
        ),
        devices=('intel-hda,addr=5', 'intel-hda,addr=6'),
    )

    def test_driver_override(self) -> None:
        wanted = host_files.Passthrough(
            cpu_vendor=host_files.INTEL,
            addresses=(
                pci.parse_address('0000:00:06.0'),
                pci.parse_address('0000:00:08.0'),
            ),
            vendor_ids=('10de', '8086'),
        )
        preparation = host_files.prepare(wanted, host_files.DEBIAN)
        found = boot(
            self.host,
            ' '.join(preparation.kernel_arguments),
            preparation.files,
        )
        self.assertEqual(
            ['snd_hda_intel', 'vfio-pci', None, 'vfio-pci'],
            [
                found.device(f'0000:00:0{slot}.0')['driver']
                for slot in (5, 6, 7, 8)
            ],
        )
        # The host's card has its driver, as far as that gets.
        self.assertIn('nouveau', found.result['raw']['modules'])


class TestTopology(testtools.TestCase):
    """Two NUMA nodes, a bridge, an audio function, and SR-IOV."""

    host = machine.Machine(
        nodes=2,
        memory_mb=1024,
        devices=(
            'pxb-pcie,id=node1,bus_nr=0x40,bus=pcie.0,numa_node=1',
            'pcie-root-port,id=port1,bus=node1,chassis=1,slot=1',
            'pcie-root-port,id=port2,bus=node1,chassis=2,slot=2',
            'pcie-root-port,id=port3,bus=pcie.0,chassis=3,slot=3',
            'pcie-root-port,id=port4,bus=pcie.0,chassis=4,slot=4',
            'pcie-pci-bridge,id=bridge,bus=port3',
            'nvme-subsys,id=subsystem',
            'nvme,serial=1,bus=port1,subsys=subsystem,sriov_max_vfs=2,'
            'sriov_vq_flexible=4,sriov_vi_flexible=2,max_ioqpairs=6,'
            'msix_qsize=7',
        ),
        cards=(
            device.Device(bus='port2'),
            device.Device(bus='bridge', address='1'),
            device.Device(bus='bridge', address='2'),
            device.Device(
                product_id=0x2236,
                bus='port4',
                address='0.0',
                multifunction=True,
            ),
            device.Device(
                product_id=0x1AEF,
                class_code=0x040300,
                bar_size=0,
                bus='port4',
                address='0.1',
            ),
        ),
    )
    vfs = 'echo 2 > /sys/bus/pci/devices/0000:41:00.0/sriov_numvfs\n'

    def boot(self, ids: str) -> machine.Boot:
        return boot(
            self.host,
            f'{IOMMU} vfio-pci.ids={ids} {EARLY}',
            before=self.vfs,
        )

    def test_nodes(self) -> None:
        found = self.boot('10de:20f1,10de:2236,10de:1aef')
        self.assertEqual('1', found.device('0000:42:00.0')['numa_node'])
        self.assertEqual('-1', found.device('0000:03:00.0')['numa_node'])

    def test_group_behind_a_bridge(self) -> None:
        found = self.boot('10de:20f1,10de:2236,10de:1aef')
        group = found.device('0000:02:01.0')['group']
        self.assertEqual(group, found.device('0000:02:02.0')['group'])

    def test_virtual_functions(self) -> None:
        found = self.boot('10de:20f1,10de:2236,10de:1aef')
        self.assertEqual('2', found.device('0000:41:00.0')['sriov_totalvfs'])
        self.assertEqual(
            '0000:41:00.0',
            found.device('0000:41:00.1')['physical_function'],
        )

    def test_audio_function(self) -> None:
        found = self.boot('10de:20f1,10de:2236,10de:1aef')
        self.assertEqual('vfio-pci', found.device('0000:03:00.1')['driver'])
        found = self.boot('10de:20f1,10de:2236')
        self.assertEqual('vfio-pci', found.device('0000:03:00.0')['driver'])
        self.assertNotEqual('vfio-pci', found.device('0000:03:00.1')['driver'])
