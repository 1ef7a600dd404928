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

from gpuclient.documents.created import host_files
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

#: Of the NVMe controller of the second node.
VFS = 'echo 2 > /sys/bus/pci/devices/0000:41:00.0/sriov_numvfs\n'

#: Nothing of the initramfs is to be seen in these guests, so nothing tells who
#: is loaded first, unless modprobe.d does.
UNSEEN = 'GPU435'

# Boots that several cases need.
boot = functools.cache(machine.boot)


class TestKernelArguments(testtools.TestCase):
    def assert_passes(self) -> None:
        """The same machine, prepared as the remedies say."""
        ready = host_files.prepare(ALL_CARDS, host_files.DEBIAN)
        found = boot(
            machine.Machine(), ' '.join(ready.kernel_arguments), ready.files
        )
        card = found.device(CARD)
        self.assertEqual('vfio-pci', card['driver'])
        groups = found.result['raw']['groups']
        self.assertEqual([CARD], groups[card['group']]['devices'])
        self.assertEqual('identity', groups[card['group']]['type'])
        self.assertIn(card['group'], found.result['raw']['vfio'])
        self.assertEqual(set(), found.codes())
        self.assertEqual(set(), found.codes(CARD))

    def test_prepared(self) -> None:
        self.assert_passes()

    def test_bound_early(self) -> None:
        """By arguments alone, as the origin of RHOSO's example has them."""
        found = boot(machine.Machine(), PREPARED)
        self.assertEqual('vfio-pci', found.device(CARD)['driver'])
        self.assertEqual(set(), found.codes())
        self.assertEqual({UNSEEN}, found.codes(CARD))

    def test_iommu_off(self) -> None:
        found = boot(
            machine.Machine(),
            f'intel_iommu=off vfio-pci.ids=10de:20f1 {EARLY}',
        )
        self.assertEqual({}, found.result['raw']['groups'])
        self.assertIsNone(found.device(CARD)['driver'])
        self.assertIn('failed with error -22', found.kernel_messages)
        self.assertEqual({'GPU420'}, found.codes())
        self.assertEqual({'GPU425', 'GPU428', UNSEEN}, found.codes(CARD))
        self.assertIn(
            'Remove intel_iommu=off', found.verdict('GPU420')['remedy']
        )
        self.assert_passes()

    def test_no_iommu(self) -> None:
        """As with VT-d disabled in the firmware's settings."""
        found = boot(machine.Machine(iommu=None), PREPARED)
        self.assertEqual({}, found.result['raw']['groups'])
        self.assertIsNone(found.device(CARD)['driver'])
        self.assertEqual({'GPU420'}, found.codes())
        self.assertEqual({'GPU425', 'GPU428', UNSEEN}, found.codes(CARD))
        verdict = found.verdict('GPU420')
        self.assertIn('no table DMAR', verdict['evidence'])
        self.assertIn('Turn VT-d on', verdict['remedy'])
        self.assert_passes()

    def test_no_passthrough_domain(self) -> None:
        found = boot(
            machine.Machine(),
            f'intel_iommu=on vfio-pci.ids=10de:20f1 {EARLY}',
        )
        self.assertEqual('vfio-pci', found.device(CARD)['driver'])
        groups = found.result['raw']['groups'].values()
        self.assertEqual({'DMA'}, {group['type'] for group in groups})
        self.assertEqual({'GPU422'}, found.codes())
        self.assertIn('Add iommu=pt', found.verdict('GPU422')['remedy'])
        self.assert_passes()

    def test_wrong_id(self) -> None:
        found = boot(
            machine.Machine(), f'{IOMMU} vfio-pci.ids=10de:20f0 {EARLY}'
        )
        self.assertIsNone(found.device(CARD)['driver'])
        self.assertEqual({'GPU432'}, found.codes())
        self.assertEqual({'GPU425'}, found.codes(CARD))
        remedy = 'vfio-pci.ids=10de:20f0,10de:20f1'
        self.assertIn(remedy, found.verdict('GPU425', CARD)['remedy'])
        again = boot(machine.Machine(), f'{IOMMU} {remedy} {EARLY}')
        self.assertEqual('vfio-pci', again.device(CARD)['driver'])
        self.assertEqual({UNSEEN}, again.codes(CARD))


class TestDrivers(testtools.TestCase):
    def test_nouveau_first(self) -> None:
        found = boot(machine.Machine(), IOMMU)
        self.assertIn('nouveau', found.result['raw']['modules'])
        self.assertNotEqual('vfio-pci', found.device(CARD)['driver'])
        self.assertEqual({'GPU425'}, found.codes(CARD))
        self.assertIn(
            'Add vfio-pci.ids=10de:20f1',
            found.verdict('GPU425', CARD)['remedy'],
        )

    def test_blacklisted(self) -> None:
        """Our files, without kernel arguments of theirs."""
        found = boot(
            machine.Machine(),
            IOMMU,
            host_files.prepare(ALL_CARDS, host_files.DEBIAN).files,
        )
        self.assertNotIn('nouveau', found.result['raw']['modules'])
        self.assertEqual('vfio-pci', found.device(CARD)['driver'])
        self.assertEqual(set(), found.codes(CARD))

    def test_another_driver_first(self) -> None:
        found = boot(
            machine.Machine(),
            f'{IOMMU} vfio-pci.ids=10de:20f1 pci-stub.ids=10de:20f1 '
            'rd.driver.pre=pci-stub,vfio-pci',
        )
        self.assertEqual('pci-stub', found.device(CARD)['driver'])
        self.assertEqual({'GPU425', UNSEEN}, found.codes(CARD))
        self.assertIn(
            'pci-stub has it', found.verdict('GPU425', CARD)['evidence']
        )

    def test_race_lost(self) -> None:
        load = host_files.HostFile(host_files.MODULES_LOAD, 'vfio-pci\n')
        arguments = f'{IOMMU} vfio-pci.ids={AUDIO}'
        found = boot(WITH_AUDIO, arguments, (load,), devices=(AUDIO_CARD,))
        self.assertEqual('snd_hda_intel', found.device(AUDIO_CARD)['driver'])
        verdict = found.verdict('GPU424', AUDIO_CARD)
        self.assertEqual('FAIL', verdict['result'])
        self.assertIn('snd_hda_intel has it', verdict['evidence'])
        self.assertIn('softdep', verdict['remedy'])
        again = boot(WITH_AUDIO, f'{arguments} {EARLY}', (load,))
        self.assertEqual('vfio-pci', again.device(AUDIO_CARD)['driver'])

    def test_race_won_by_softdep(self) -> None:
        """Without dracut, that is without rd.driver.pre."""
        wanted = host_files.Passthrough(
            cpu_vendor=host_files.INTEL, ids=(AUDIO,)
        )
        ready = host_files.prepare(wanted, host_files.DEBIAN)
        found = boot(
            WITH_AUDIO,
            ' '.join(ready.kernel_arguments),
            ready.files,
            devices=(AUDIO_CARD,),
        )
        self.assertEqual('vfio-pci', found.device(AUDIO_CARD)['driver'])
        # There is no GPU, which is true.
        self.assertEqual({'GPU461'}, found.codes())
        self.assertEqual(set(), found.codes(AUDIO_CARD))


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
        ready = host_files.prepare(wanted, host_files.DEBIAN)
        found = boot(
            self.host,
            ' '.join(ready.kernel_arguments),
            ready.files,
            devices=tuple(map(str, wanted.addresses)),
        )
        self.assertEqual(
            ['snd_hda_intel', 'vfio-pci', None, 'vfio-pci'],
            [
                found.device(f'0000:00:0{slot}.0')['driver']
                for slot in (5, 6, 7, 8)
            ],
        )
        self.assertEqual(set(), found.codes())
        for address in wanted.addresses:
            self.assertEqual(set(), found.codes(str(address)))
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

    def boot(self, ids: str) -> machine.Boot:
        return boot(
            self.host,
            f'{IOMMU} vfio-pci.ids={ids} {EARLY}',
            before=VFS,
        )

    all_ids = '10de:20f1,10de:2236,10de:1aef'

    def test_nodes(self) -> None:
        found = self.boot(self.all_ids)
        self.assertEqual('1', found.device('0000:42:00.0')['numa_node'])
        self.assertEqual({UNSEEN}, found.codes('0000:42:00.0'))
        # The firmware says nothing of these.
        self.assertEqual('-1', found.device('0000:03:00.0')['numa_node'])
        self.assertEqual({'GPU445', UNSEEN}, found.codes('0000:03:00.0'))

    def test_group_behind_a_bridge(self) -> None:
        found = self.boot(self.all_ids)
        first, second = '0000:02:01.0', '0000:02:02.0'
        group = found.device(first)['group']
        self.assertEqual(group, found.device(second)['group'])
        verdict = found.verdict('GPU429', first)
        self.assertEqual('WARN', verdict['result'])
        self.assertIn(second, verdict['evidence'])

    def test_virtual_functions(self) -> None:
        found = self.boot(self.all_ids)
        parent, child = '0000:41:00.0', '0000:41:00.1'
        self.assertEqual('2', found.device(parent)['sriov_totalvfs'])
        self.assertEqual(parent, found.device(child)['physical_function'])
        devices = found.result['devices']
        self.assertEqual('type-PF', devices[parent]['device_type'])
        self.assertEqual('type-VF', devices[child]['device_type'])
        self.assertEqual(2, devices[parent]['sriov_num_vfs'])
        self.assertEqual(parent, devices[child]['physical_function'])

    def test_audio_function(self) -> None:
        card, audio = '0000:03:00.0', '0000:03:00.1'
        found = self.boot('10de:20f1,10de:2236')
        self.assertEqual('vfio-pci', found.device(card)['driver'])
        self.assertEqual('snd_hda_intel', found.device(audio)['driver'])
        self.assertEqual(
            {'GPU426', 'GPU431', 'GPU445', UNSEEN}, found.codes(card)
        )
        verdict = found.verdict('GPU426', card)
        self.assertEqual('FAIL', verdict['result'])
        self.assertIn(f'{audio} (10de:1aef', verdict['evidence'])
        self.assertIn('add 10de:1aef to vfio-pci.ids', verdict['remedy'])
        again = self.boot(self.all_ids)
        self.assertEqual('vfio-pci', again.device(audio)['driver'])
        self.assertEqual({'GPU445', UNSEEN}, again.codes(card))
