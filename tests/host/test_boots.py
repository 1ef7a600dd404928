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
"""Debian's kernel on hosts with correct, wrong and missing configuration.

A test boots a host, asserts what the kernel and our checks report, follows the
remedy, and boots the host again.
"""

import dataclasses
import re
import struct

from gpuclient.documents.generate import host_files
from gpuclient.model import cpu
from gpuclient.model import pci

from tests.host import device
from tests.host import machine
from tests.host import remedy

CARD = remedy.TestCase.card
IOMMU = 'intel_iommu=on iommu=pt'
EARLY = 'rd.driver.pre=vfio-pci'
CLAIM = f'vfio-pci.ids=10de:20f1 {EARLY}'
PREPARED = f'{CLAIM} {IOMMU}'
ALL_CARDS = host_files.Passthrough(
    cpu_vendor=host_files.INTEL, ids=('10de:20f1',)
)

#: A machine with an audio controller, to which snd_hda_intel binds. No driver
#: but vfio-pci binds to the emulated card: nouveau fails.
AUDIO = '8086:2668'
WITH_AUDIO = machine.Machine(cards=(), devices=('intel-hda,addr=5',))
AUDIO_CARD = '0000:00:05.0'

#: All drivers that could bind to the card are loaded after vfio-pci.
WAITING = ''.join(
    f'softdep {driver} pre: vfio-pci\n' for driver in ALL_CARDS.drivers
)

#: Enables VFs of the NVMe controller on the second node. Its driver binds some
#: time after it was loaded.
VFS = """
tries=0
until echo 2 > /sys/bus/pci/devices/0000:41:00.0/sriov_numvfs; do
    [ $tries -lt 600 ] || break
    tries=$((tries + 1))
    sleep 0.1
done
"""

#: The initramfs of these guests cannot be read, so the order in which drivers
#: are loaded is unknown, unless modprobe.d sets it.
UNSEEN = 'GPU435'


def plain(arguments: str) -> remedy.Setup:
    """Return a plain machine with kernel arguments."""
    return remedy.Setup(arguments=arguments)


def dmar_with_rmrr() -> bytes:
    """Return a DMAR table with memory that is reserved for the card (RMRR).

    Intel Virtualization Technology for Directed I/O, chapter 8. The rest is
    the table of QEMU (``hw/i386/acpi-build.c:build_dmar_q35``).
    """
    # Type, length, enumeration id, bus, device, function.
    scope = '<BBHBBBB'
    units = struct.pack('<HHBBHQ', 0, 24, 1, 0, 0, 0xFED90000)
    units += struct.pack(scope, 3, 8, 0, 0, 0xFF, 0, 0)
    # Memory that the firmware reports as reserved.
    begin, end = 0x2FFF0000, 0x2FFFFFFF
    units += struct.pack('<HHHHQQ', 1, 32, 0, 0, begin, end)
    units += struct.pack(scope, 1, 8, 0, 0, 0, 1, 0)
    # Address width, and interrupt remapping.
    body = struct.pack('<BB10x', 38, 1) + units
    # The kernel uses it because its revision is newer than that of QEMU's.
    header = struct.pack(
        '<4sIBx6s8sI4sI',
        *(b'DMAR', 36 + len(body), 1, b'BOCHS ', b'BXPC    ', 2, b'BXPC', 1),
    )
    table = bytearray(header + body)
    table[9] = -sum(table) & 0xFF
    return bytes(table)


class TestMachine(remedy.TestCase):
    """Effects of kernel arguments and firmware."""

    def test_bound_early(self) -> None:
        """With kernel arguments only, as in the example of RHOSO."""
        boot = plain(PREPARED).boot()
        self.assert_usable(boot, UNSEEN)
        group = boot.device(CARD)['group']
        self.assertEqual(
            {'type': 'identity', 'devices': [CARD]},
            boot.result['raw']['groups'][group],
        )

    def test_iommu_off(self) -> None:
        off = plain(f'{CLAIM} intel_iommu=off')
        boot = off.boot()
        self.assertEqual({}, boot.result['raw']['groups'])
        self.assertIsNone(boot.device(CARD)['driver'])
        self.assertIn('failed with error -22', boot.kernel_messages)
        self.assertEqual({'GPU420'}, boot.codes())
        self.assertEqual({'GPU425', 'GPU428', UNSEEN}, boot.codes(CARD))
        self.assert_usable(self.mend(off, 'GPU420'), UNSEEN)

    def test_no_iommu(self) -> None:
        """As if VT-d were disabled in the firmware setup."""
        none = remedy.Setup(machine.Machine(iommu=None), PREPARED)
        # Debian's kernel does not support VFIO without an IOMMU
        # (VFIO_NOIOMMU); others create a group here.
        without = none.with_line(
            '/etc/modprobe.d/x.conf',
            'options vfio enable_unsafe_noiommu_mode=1',
        )
        boot = without.boot()
        self.assertIn(
            "unknown parameter 'enable_unsafe_noiommu_mode' ignored",
            boot.kernel_messages,
        )
        self.assertEqual({}, boot.result['raw']['groups'])
        self.assertIsNone(boot.device(CARD)['driver'])
        self.assertEqual({'GPU420'}, boot.codes())
        self.assertEqual({'GPU425', 'GPU428', UNSEEN}, boot.codes(CARD))
        self.assertIn('no DMAR table', boot.finding('GPU420')['evidence'])
        again = self.mend_by_hand(
            without,
            'GPU420',
            instruction='virtual machine (libvirt: <iommu model="intel">)',
            machine=machine.PLAIN,
            files=(),
        )
        self.assert_usable(again, UNSEEN)

    def test_no_passthrough_domain(self) -> None:
        translated = plain(f'{CLAIM} intel_iommu=on')
        boot = translated.boot()
        self.assertEqual('vfio-pci', boot.device(CARD)['driver'])
        groups = boot.result['raw']['groups'].values()
        self.assertEqual({'DMA'}, {group['type'] for group in groups})
        self.assertEqual({'GPU422'}, boot.codes())
        self.assert_usable(self.mend(translated, 'GPU422'), UNSEEN)

    def test_wrong_id(self) -> None:
        wrong = plain(CLAIM.replace('20f1', '20f0')).with_arguments(
            IOMMU.split()
        )
        boot = wrong.boot()
        self.assertIsNone(boot.device(CARD)['driver'])
        self.assertEqual({'GPU432'}, boot.codes())
        self.assertEqual({'GPU425'}, boot.codes(CARD))
        self.assert_usable(self.mend(wrong, 'GPU425', CARD))

    def test_console(self) -> None:
        """The framebuffer of the firmware is on the card."""
        card = '0000:00:09.0'
        first = remedy.Setup(
            machine.Machine(cards=(), devices=('VGA,addr=9',)),
            # A mode with a framebuffer, as boot loaders set it.
            f'{IOMMU} vga=791',
            before='grep vesafb /proc/iomem > /dev/kmsg\n',
            devices=(card,),
        )
        boot = first.boot()
        self.assertIn(' : vesafb\n', boot.kernel_messages)
        self.assertEqual('WARN', boot.finding('GPU440', card)['result'])
        self.assertIn(
            'vesa-framebuffer.0', boot.finding('GPU440', card)['evidence']
        )
        again = self.mend(first, 'GPU440', card)
        self.assertNotIn(' : vesafb\n', again.kernel_messages)
        # vfio-pci removes the framebuffer as well.
        bound = self.mend(first, 'GPU425', card)
        self.assertIn(' vesafb: framebuffer at', bound.kernel_messages)
        self.assertNotIn(' : vesafb\n', bound.kernel_messages)
        self.assert_usable(bound, card=card)

    def test_reserved_memory(self) -> None:
        """With an accelerator: Linux ignores an RMRR of a display device."""
        # No GPU437: no model of the catalogue has these ids and this class.
        kept = remedy.Setup(
            machine.Machine(
                cards=(device.Device(class_code=0x120000),),
                acpi_table=dmar_with_rmrr(),
            ),
            PREPARED,
        )
        boot = kept.boot()
        self.assertEqual('vfio-pci', boot.device(CARD)['driver'])
        self.assertFalse(boot.is_usable(CARD))
        self.assertIn('due to platform RMRR', boot.kernel_messages)
        self.assertEqual('FAIL', boot.finding('GPU427', CARD)['result'])
        self.assertEqual({'GPU427', UNSEEN}, boot.codes(CARD))
        again = self.mend_by_hand(
            kept,
            'GPU427',
            CARD,
            instruction='ask the vendor for firmware that does not reserve it',
            machine=dataclasses.replace(kept.machine, acpi_table=None),
        )
        self.assert_usable(again, UNSEEN)

    def test_card_that_fell_off_the_bus(self) -> None:
        off = plain(PREPARED).with_command(device.fall_off(CARD))
        boot = off.boot()
        finding = boot.finding('GPU423', CARD)
        self.assertEqual('FAIL', finding['result'])
        self.assertIn('all ones', finding['evidence'])
        again = self.mend_by_hand(
            off,
            'GPU423',
            CARD,
            instruction='Power the host off and on again',
            before='',
        )
        self.assert_usable(again, UNSEEN)


class TestDrivers(remedy.TestCase):
    def test_prepared(self) -> None:
        self.assert_usable(remedy.prepared(plain(''), ALL_CARDS).boot())

    def test_nouveau_first(self) -> None:
        first = plain(IOMMU)
        boot = first.boot()
        self.assertIn('nouveau', boot.result['raw']['modules'])
        self.assertNotIn('vfio_pci', boot.result['raw']['modules'])
        self.assertNotEqual('vfio-pci', boot.device(CARD)['driver'])
        self.assertEqual({'GPU425'}, boot.codes(CARD))
        for apply in (remedy.follow, remedy.created):
            self.assert_usable(self.mend(first, 'GPU425', CARD, apply=apply))

    def test_ids_alone(self) -> None:
        """Its ids do not cause vfio-pci to be loaded."""
        alone = plain(f'{IOMMU} vfio-pci.ids=10de:20f1')
        boot = alone.boot()
        self.assertNotIn('vfio_pci', boot.result['raw']['modules'])
        self.assertIsNone(boot.device(CARD)['driver'])
        finding = boot.finding('GPU425', CARD)
        self.assertEqual('FAIL', finding['result'])
        self.assertIn('is not loaded', finding['evidence'])
        self.assert_usable(self.mend(alone, 'GPU425', CARD))

    def test_blacklisted(self) -> None:
        """The generated files, without their kernel arguments."""
        ready = host_files.prepare(ALL_CARDS, host_files.DEBIAN)
        boot = plain(IOMMU).with_files(*ready.files).boot()
        self.assertNotIn('nouveau', boot.result['raw']['modules'])
        self.assert_usable(boot)

    def test_line_that_modprobe_ignores(self) -> None:
        """A misspelled directive, so vfio-pci has no ids."""
        ready = host_files.prepare(ALL_CARDS, host_files.DEBIAN)
        good = plain(IOMMU).with_files(*ready.files)
        content = good.file(host_files.MODPROBE)
        wrong = good.with_files(
            host_files.HostFile(
                host_files.MODPROBE,
                content.replace('options vfio-pci', 'option vfio-pci'),
            )
        ).with_command('modprobe --show-depends loop 2> /dev/kmsg')
        boot = wrong.boot()
        self.assertIn(
            "ignoring bad line starting with 'option'", boot.kernel_messages
        )
        self.assertIn('vfio_pci', boot.result['raw']['modules'])
        self.assertIsNone(boot.device(CARD)['driver'])
        finding = boot.finding('GPU463')
        self.assertEqual('FAIL', finding['result'])
        self.assertIn('"option vfio-pci ..."', finding['evidence'])
        self.assertEqual({'GPU463'}, boot.codes())
        self.assertEqual({'GPU425'}, boot.codes(CARD))
        self.assert_usable(self.mend(wrong, 'GPU463'))

    def test_another_driver_first(self) -> None:
        stub = plain(
            f'{IOMMU} rd.driver.pre=pci-stub,vfio-pci '
            'vfio-pci.ids=10de:20f1 pci-stub.ids=10de:20f1'
        )
        boot = stub.boot()
        self.assertEqual('pci-stub', boot.device(CARD)['driver'])
        self.assertFalse(boot.is_usable(CARD))
        self.assertEqual({'GPU425', UNSEEN}, boot.codes(CARD))
        self.assertIn(
            'bound to pci-stub', boot.finding('GPU425', CARD)['evidence']
        )
        self.assert_usable(self.mend(stub, 'GPU425', CARD))

    def test_driver_override_for_another(self) -> None:
        """The remedy is to remove what writes driver_override."""
        overridden = plain(
            f'{IOMMU} rd.driver.pre=snd-hda-intel,vfio-pci '
            'vfio-pci.ids=10de:20f1'
        ).with_line(
            '/etc/modprobe.d/x.conf',
            'install snd-hda-intel echo none > '
            f'/sys/bus/pci/devices/{CARD}/driver_override',
        )
        boot = overridden.boot()
        self.assertEqual('none', boot.device(CARD)['driver_override'])
        self.assertIsNone(boot.device(CARD)['driver'])
        finding = boot.finding('GPU425', CARD)
        self.assertEqual('FAIL', finding['result'])
        self.assertIn('driver_override allows only none', finding['evidence'])
        self.assert_usable(self.mend(overridden, 'GPU425', CARD))

    def test_race_lost(self) -> None:
        lost = remedy.Setup(
            WITH_AUDIO, f'{IOMMU} vfio-pci.ids={AUDIO}', devices=(AUDIO_CARD,)
        ).with_line(host_files.MODULES_LOAD, 'vfio-pci')
        boot = lost.boot()
        self.assertEqual('snd_hda_intel', boot.device(AUDIO_CARD)['driver'])
        finding = boot.finding('GPU424', AUDIO_CARD)
        self.assertEqual('FAIL', finding['result'])
        self.assertIn('bound to snd_hda_intel', finding['evidence'])
        self.assertEqual({'GPU424', UNSEEN}, boot.codes(AUDIO_CARD))
        again = self.mend(lost, 'GPU424', AUDIO_CARD)
        self.assertEqual('vfio-pci', again.device(AUDIO_CARD)['driver'])
        self.assertEqual(set(), again.codes(AUDIO_CARD))
        # Correct: the machine has no GPU.
        self.assertEqual({'GPU461'}, again.codes())


class TestOneOfTwo(remedy.TestCase):
    """Identical cards, one of which the host keeps."""

    host = machine.Machine(
        cards=(
            device.Device(address='7.0'),
            device.Device(address='8.0'),
        ),
        devices=('intel-hda,addr=5', 'intel-hda,addr=6'),
    )
    kept = '0000:00:07.0'
    for_guests = ('0000:00:06.0', '0000:00:08.0')

    def drivers(self, boot: machine.Boot) -> list[str | None]:
        return [
            boot.device(f'0000:00:0{slot}.0')['driver']
            for slot in (5, 6, 7, 8)
        ]

    def test_driver_override(self) -> None:
        none = remedy.Setup(
            self.host, f'{EARLY} {IOMMU}', devices=self.for_guests
        )
        audio, card = self.for_guests
        boot = none.boot()
        self.assertEqual(
            ['snd_hda_intel', 'snd_hda_intel', None, None],
            self.drivers(boot),
        )
        self.assertEqual({'GPU425', 'GPU454'}, boot.codes(card))
        self.assertEqual({'GPU424'}, boot.codes(audio))
        for code, address in (('GPU454', card), ('GPU424', audio)):
            again = self.mend(none, code, address)
            self.assertEqual(
                ['snd_hda_intel', 'vfio-pci', None, 'vfio-pci'],
                self.drivers(again),
            )
            for address in self.for_guests:
                self.assert_usable(again, card=address)
            # The driver of the host's card is loaded, although it fails.
            self.assertIn('nouveau', again.result['raw']['modules'])

    def test_ids_of_a_card_of_the_host(self) -> None:
        both = remedy.Setup(self.host, PREPARED, devices=self.for_guests)
        boot = both.boot()
        self.assertEqual(['vfio-pci'] * 2, self.drivers(boot)[2:])
        self.assertEqual({'GPU430'}, boot.codes(self.kept))
        self.assertEqual('FAIL', boot.finding('GPU430', self.kept)['result'])
        again = self.mend(both, 'GPU430', self.kept)
        self.assertEqual([None, 'vfio-pci'], self.drivers(again)[2:])
        for address in self.for_guests:
            self.assert_usable(again, card=address)
        self.assertEqual(set(), again.codes(self.kept))


class TestMemoryAndCpus(remedy.TestCase):
    """Two NUMA nodes, with a card on the second, and one on neither."""

    first, second = '0000:01:00.0', '0000:41:00.0'
    bad = remedy.Setup(
        machine.Machine(
            nodes=2,
            cpus_per_node=2,
            memory_mb=1024,
            devices=(
                'pxb-pcie,id=node1,bus_nr=0x40,bus=pcie.0,numa_node=1',
                'pcie-root-port,id=port1,bus=node1,chassis=1,slot=1',
                'pcie-root-port,id=port2,bus=pcie.0,chassis=2,slot=2',
            ),
            cards=(device.Device(bus='port1'), device.Device(bus='port2')),
        ),
        f'{PREPARED} isolcpus=1 hugepagesz=2M hugepages=0:32 hugepages=1 '
        'hugepagesz=1G hugepages=1',
    )
    #: The nodes of both cards have isolated CPUs and huge pages.
    good = dataclasses.replace(
        bad,
        arguments=f'{PREPARED} isolcpus=1,3 hugepagesz=2M hugepages=32',
        before=f'echo 0 > /sys/bus/pci/devices/{first}/numa_node\n',
    )

    def test_of_cards(self) -> None:
        boot = self.bad.boot()
        self.assertEqual('-1', boot.device(self.first)['numa_node'])
        self.assertEqual({'GPU445', UNSEEN}, boot.codes(self.first))
        self.assertEqual({'GPU446', 'GPU452', UNSEEN}, boot.codes(self.second))
        spread = remedy.follow(
            self.bad, boot, boot.finding('GPU446', self.second)['remedy']
        )
        self.assertEqual(
            self.bad.arguments.replace('=0:32', '=32'), spread.arguments
        )
        # All changes are in the same boot.
        for code, address, instruction in (
            ('GPU445', self.first, f'the node to numa_node of {self.first}'),
            ('GPU446', self.second, 'Spread them evenly'),
            ('GPU452', self.second, 'Isolate CPUs of node 1, too'),
        ):
            again = self.mend_by_hand(
                self.bad,
                code,
                address,
                instruction=instruction,
                arguments=self.good.arguments,
                before=self.good.before,
            )
            for card in (self.first, self.second):
                self.assert_usable(again, UNSEEN, card=card)
        self.assertIn('Overriding NUMA node to 0', again.kernel_messages)

    def test_of_nova(self) -> None:
        """Options of nova.conf, before and after the remedy."""
        pages, few = (
            (cpu.parse_reserved(f'node:1,size:2048,count:{count}'),)
            for count in (17, 16)
        )
        boot = self.good.boot()
        for code, wrong, right in (
            ('GPU448', {'reserved_pages': pages}, {'reserved_pages': few}),
            (
                'GPU449',
                {'reserved_memory_mb': 1000},
                {'reserved_memory_mb': 512},
            ),
            (
                'GPU450',
                {'dedicated_cpus': frozenset({1, 2, 3})},
                {'dedicated_cpus': frozenset({1, 3})},
            ),
            (
                'GPU451',
                {'shared_cpus': frozenset({0, 4})},
                {'shared_cpus': frozenset({0, 2})},
            ),
        ):
            self.assertEqual({code}, boot.checked_for(**wrong).codes())
            self.assertEqual(set(), boot.checked_for(**right).codes())

    def test_of_the_host(self) -> None:
        """Pages that the kernel cannot allocate, and hugepages in disorder."""
        boot = self.bad.boot()
        self.assertIn('unsupported hugepagesz=1G', boot.kernel_messages)
        self.assertEqual({'GPU447'}, boot.codes())
        results = [
            (result['result'], result['evidence'], result['remedy'])
            for result in boot.result['results']
            if result['code'] == 'GPU447'
        ]
        (order, _evidence, remedies), (size, evidence, fewer) = results
        self.assertEqual(('WARN', 'FAIL'), (order, size))
        self.assertIn('Put hugepagesz before each', remedies)
        self.assertIn('request 1 of 1G, but the host has 0', evidence)
        self.assertIn('Request fewer', fewer)
        self.assertEqual(set(), self.good.boot().codes())


class TestTopology(remedy.TestCase):
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
            'intel-hda,bus=bridge,addr=3',
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

    cards = 'vfio-pci.ids=10de:20f1,10de:2236'
    setup = remedy.Setup(
        host,
        f'{IOMMU} {EARLY} {cards},10de:1aef',
        (host_files.HostFile('/etc/modprobe.d/x.conf', WAITING),),
        before=VFS,
    )
    nvme = '0000:41:00.0'

    def test_cards_in_other_slots(self) -> None:
        boot = self.setup.boot()
        self.assertEqual('1', boot.device('0000:42:00.0')['numa_node'])
        self.assertEqual(set(), boot.codes('0000:42:00.0'))
        # The firmware does not report the node of these.
        card = '0000:03:00.0'
        self.assertEqual('-1', boot.device(card)['numa_node'])
        self.assertEqual({'GPU445'}, boot.codes(card))
        self.assertEqual('WARN', boot.finding('GPU445', card)['result'])
        # Behind a bridge, together with a device that the host uses.
        first, second, audio = (f'0000:02:0{slot}.0' for slot in (1, 2, 3))
        self.assertEqual(
            1,
            len(
                {
                    boot.device(address)['group']
                    for address in (first, second, audio)
                }
            ),
        )
        self.assertEqual('snd_hda_intel', boot.device(audio)['driver'])
        self.assertFalse(boot.is_usable(first))
        self.assertEqual({'GPU426', 'GPU429', 'GPU445'}, boot.codes(first))
        for code, result, sibling in (
            ('GPU426', 'FAIL', audio),
            ('GPU429', 'WARN', second),
        ):
            finding = boot.finding(code, first)
            self.assertEqual(result, finding['result'])
            self.assertIn(sibling, finding['evidence'])
        # A PF for guests, with VFs that are not enabled in the second boot.
        intent = {'addresses': frozenset({pci.parse_address(self.nvme)})}
        beside = boot.checked_for(**intent)
        self.assertEqual({'GPU424', 'GPU439'}, beside.codes(self.nvme))
        before = remedy.follow(
            self.setup, beside, beside.finding('GPU439', self.nvme)['remedy']
        ).before
        # Slots with groups of their own, and firmware that reports the node.
        host = dataclasses.replace(
            self.host,
            devices=(
                'pxb-pcie,id=node0,bus_nr=0x20,bus=pcie.0,numa_node=0',
                *(
                    f'pcie-root-port,id=port{slot},bus=node0,chassis={slot},'
                    f'slot={slot}'
                    for slot in (3, 4, 5)
                ),
                *(
                    option
                    for option in self.host.devices
                    if not re.search('id=port[34]|bridge', option)
                ),
            ),
            cards=(
                self.host.cards[0],
                device.Device(bus='port3'),
                device.Device(bus='port5'),
                *self.host.cards[3:],
            ),
        )
        for code, address, instruction in (
            ('GPU426', first, 'or move the card to another slot'),
            ('GPU429', first, 'move the cards to slots with groups of their'),
            ('GPU429', second, 'move the cards to slots with groups of their'),
            ('GPU445', card, 'Update the firmware'),
            ('GPU445', first, 'Update the firmware'),
        ):
            again = self.mend_by_hand(
                self.setup,
                code,
                address,
                instruction=instruction,
                machine=host,
                before=before,
            )
        self.assertEqual(
            {'GPU424'}, again.checked_for(**intent).codes(self.nvme)
        )
        for bus in ('21', '22', '23', '42'):
            self.assert_usable(again, card=f'0000:{bus}:00.0')

    def test_virtual_functions(self) -> None:
        boot = self.setup.boot()
        parent, child = self.nvme, '0000:41:00.1'
        self.assertEqual('2', boot.device(parent)['sriov_totalvfs'])
        self.assertEqual(parent, boot.device(child)['physical_function'])
        ours = {
            str(function.address): function for function in boot.host.devices
        }
        self.assertEqual('type-PF', ours[parent].device_type)
        self.assertEqual('type-VF', ours[child].device_type)
        self.assertEqual(2, ours[parent].sriov_num_vfs)
        self.assertEqual(parent, str(ours[child].physical_function))

    def test_audio_function(self) -> None:
        card, audio = '0000:03:00.0', '0000:03:00.1'
        alone = dataclasses.replace(
            self.setup,
            arguments=f'{IOMMU} {EARLY} {self.cards}',
        )
        boot = alone.boot()
        self.assertEqual('vfio-pci', boot.device(card)['driver'])
        self.assertEqual('snd_hda_intel', boot.device(audio)['driver'])
        self.assertFalse(boot.is_usable(card))
        self.assertEqual({'GPU426', 'GPU431', 'GPU445'}, boot.codes(card))
        finding = boot.finding('GPU426', card)
        self.assertEqual('FAIL', finding['result'])
        self.assertIn(f'{audio} (10de:1aef', finding['evidence'])
        for code in ('GPU426', 'GPU431'):
            again = self.mend(alone, code, card)
            self.assertEqual('vfio-pci', again.device(audio)['driver'])
            self.assert_usable(again, 'GPU445', card=card)
