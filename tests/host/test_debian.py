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

"""Hosts whose initramfs is built by dracut or initramfs-tools.

The initramfs contains snd_hda_intel, a rival of vfio-pci that binds to two
audio controllers.
"""

import collections.abc
import dataclasses
import pathlib
import re
import typing
from xml.etree import ElementTree

import ddt
from nova.virt.libvirt import host as nova_host
import testtools

from gpuclient.documents.generate import host_files
from gpuclient.documents.generate import rhoso_host
from gpuclient.documents import pci_ids
from gpuclient.model import pci

from tests.host import debian
from tests.host import device
from tests.host import machine
from tests.host import remedy
from tests.host import test_boots

RIVAL = 'snd_hda_intel'
HOST = machine.Machine(
    cards=(device.Device(address='7.0'),),
    devices=('intel-hda,addr=5', 'intel-hda,addr=6'),
)
FIRST, SECOND, CARD = '0000:00:05.0', '0000:00:06.0', '0000:00:07.0'
ALL = frozenset(map(pci.parse_address, (FIRST, SECOND, CARD)))
BY_IDS = host_files.Passthrough(
    cpu_vendor=host_files.INTEL, ids=('10de:20f1', '8086:2668')
)
BY_ADDRESS = dataclasses.replace(
    BY_IDS,
    ids=('10de:20f1',),
    addresses=(pci.parse_address(SECOND),),
    vendor_ids=('8086',),
)
#: Adds the rival to an initramfs of initramfs-tools, which by default contains
#: the drivers of displays.
RIVAL_HOOK = host_files.HostFile(
    '/etc/initramfs-tools/hooks/rival',
    '#!/bin/sh\n'
    'if [ "$1" = prereqs ]; then exit 0; fi\n'
    '. /usr/share/initramfs-tools/hook-functions\n'
    f'manual_add_modules {RIVAL}\n',
    0o755,
)
#: vfio-pci claims all devices by their ids, but is not loaded first.
LATE = remedy.Setup(
    HOST, 'intel_iommu=on iommu=pt vfio-pci.ids=10de:20f1,8086:2668'
)
#: Magic number of zstd.
ZSTD = b'\x28\xb5\x2f\xfd'
#: A card whose NUMA node the firmware does not report, and the command that
#: sets it.
NODELESS = '0000:03:00.0'
WITH_NODE = f'echo 1 > /sys/bus/pci/devices/{NODELESS}/numa_node\n'


def drivers(boot: machine.Boot) -> list[str | None]:
    return [
        boot.device(address)['driver'] for address in (FIRST, SECOND, CARD)
    ]


def boot_prepared(
    passthrough: host_files.Passthrough, system: str
) -> machine.Boot:
    """Boot a host with the generated files for a system."""
    ready = host_files.prepare(passthrough, system)
    with debian.prepared(*ready.files, RIVAL_HOOK) as host:
        image = (
            host.initramfs_tools()
            if system == host_files.DEBIAN
            else host.dracut('--add-drivers', RIVAL)
        )
        return host.boot(HOST, image, ' '.join(ready.kernel_arguments))


@ddt.ddt
class TestInitramfs(remedy.TestCase):
    @ddt.data(host_files.DEBIAN, host_files.RHEL)
    def test_our_files(self, system: str) -> None:
        boot = boot_prepared(BY_IDS, system).checked_for(addresses=ALL)
        self.assertEqual(['vfio-pci'] * 3, drivers(boot))
        self.assertNotIn('nouveau', boot.result['raw']['modules'])
        for address in (FIRST, SECOND, CARD):
            self.assert_usable(boot, card=address)

    @ddt.data(host_files.DEBIAN, host_files.RHEL)
    def test_one_of_two(self, system: str) -> None:
        for_guests = ALL - {pci.parse_address(FIRST)}
        boot = boot_prepared(BY_ADDRESS, system).checked_for(
            addresses=for_guests
        )
        self.assertEqual([RIVAL, 'vfio-pci', 'vfio-pci'], drivers(boot))
        for address in (SECOND, CARD):
            self.assert_usable(boot, card=address)

    def mend_with(
        self,
        host: debian.Debian,
        lost: remedy.Setup,
        make: collections.abc.Callable[[], pathlib.Path],
        evidence: str,
    ) -> None:
        """Load vfio-pci too late, follow the remedy, and load it in time.

        :param make: Builds the initramfs of the host.
        :param evidence: Evidence of GPU434.
        """
        image = make()
        boot = host.boot(lost.machine, image, lost.arguments).checked_for(
            addresses=ALL
        )
        self.assertEqual([RIVAL, RIVAL], drivers(boot)[:2])
        self.assertLessEqual({'GPU424', 'GPU434'}, boot.codes(FIRST))
        finding = boot.finding('GPU434', FIRST)
        self.assertEqual('FAIL', finding['result'])
        self.assertIn(
            evidence.format(f'/{image.relative_to(host.root)}'),
            finding['evidence'],
        )
        mended = remedy.follow(lost, boot, finding['remedy'])
        host.write(*mended.files)
        again = host.boot(
            mended.machine, make(), mended.arguments
        ).checked_for(addresses=ALL)
        self.assertEqual(['vfio-pci'] * 3, drivers(again))
        for address in (FIRST, SECOND):
            self.assert_usable(again, card=address)
            for code in ('GPU424', 'GPU434'):
                self.assert_mended(boot, again, code, address)

    def test_race_of_dracut(self) -> None:
        lost = LATE.with_line(host_files.MODULES_LOAD, 'vfio-pci')
        with debian.prepared(*lost.files) as host:
            self.mend_with(
                host,
                lost,
                lambda: host.dracut('--add-drivers', RIVAL),
                f'{{}} contains {RIVAL} but not vfio-pci',
            )

    def test_race_of_initramfs_tools(self) -> None:
        """It runs udev before it loads the modules in its configuration."""
        modules = '/etc/initramfs-tools/modules'
        lost = LATE.with_files(RIVAL_HOOK).with_line(modules, 'vfio-pci')
        with debian.prepared(*lost.files) as host:
            self.mend_with(
                host,
                lost,
                host.initramfs_tools,
                f'{modules} loads vfio-pci only after udev has loaded '
                f'{RIVAL}, which {{}} contains',
            )
            # The image that was read is compressed, by Debian's default.
            (image,) = (host.root / 'boot').glob('initrd.img-*')
            self.assertTrue(image.read_bytes().startswith(ZSTD))


class TestPlaybook(remedy.TestCase):
    """The playbook of the data plane service for RHOSO.

    grub2-mkconfig and tuned-adm of RHEL are replaced by stubs that record
    their arguments, and so is uname, which would return the kernel of this
    machine.
    """

    def setUp(self) -> None:
        super().setUp()
        self.host = self.enterContext(
            debian.prepared(
                host_files.HostFile(
                    '/etc/dracut.conf.d/rival.conf',
                    f'add_drivers+=" {RIVAL} "\n',
                ),
                host_files.HostFile('/playbook', rhoso_host.playbook(BY_IDS)),
                host_files.HostFile('/undo', rhoso_host.undo_playbook(BY_IDS)),
            )
        )
        self.host.write(
            self.stub('uname', f'echo {self.host.release}'),
            self.stub('grub2-mkconfig', 'echo --update-bls-cmdline'),
            self.stub('tuned-adm', ''),
        )

    @staticmethod
    def stub(name: str, script: str) -> host_files.HostFile:
        return host_files.HostFile(
            f'/usr/local/bin/{name}',
            f'#!/bin/sh\necho {name} "$@" >> /var/log/calls\n{script}\n',
            0o755,
        )

    def play(self, path: str) -> int:
        """Run a playbook; return how many of its tasks changed the host."""
        output = self.host.run(
            'ansible-playbook',
            '--inventory=localhost,',
            '--connection=local',
            '--extra-vars=edpm_tuned_profile=cpu-partitioning-powersave',
            path,
        )
        recap = re.search(r'^localhost .* changed=(\d+) .*', output, re.M)
        assert recap is not None, output
        return int(recap[1])

    def calls(self) -> list[str]:
        calls = (self.host.root / 'var/log/calls').read_text().splitlines()
        return [call for call in calls if not call.startswith('uname')]

    def test_playbook(self) -> None:
        ready = host_files.prepare(BY_IDS, host_files.RHOSO)
        self.assertEqual(4, self.play('/playbook'))
        for file in ready.files:
            path = self.host.root / file.path.lstrip('/')
            self.assertEqual(file.content, path.read_text())
            self.assertEqual(file.mode, path.stat().st_mode & 0o777)
        calls = self.calls()
        self.assertEqual(
            [
                'grub2-mkconfig --help',
                'grub2-mkconfig -o /boot/grub2/grub.cfg --update-bls-cmdline',
                'tuned-adm profile cpu-partitioning-powersave',
            ],
            calls,
        )
        self.assertEqual(0, self.play('/playbook'))
        self.assertEqual(calls, self.calls())
        (image,) = (self.host.root / 'boot').glob('init*img*')
        # As after a run that ended before the initramfs was built.
        image.unlink()
        self.assertEqual(3, self.play('/playbook'))
        boot = self.host.boot(
            HOST, image, ' '.join(ready.kernel_arguments)
        ).checked_for(addresses=ALL)
        for address in (FIRST, SECOND, CARD):
            self.assert_usable(boot, card=address)

        self.assertEqual(2, self.play('/undo'))
        for file in ready.files:
            path = self.host.root / file.path.lstrip('/')
            self.assertFalse(path.exists())
        again = self.host.boot(HOST, image, 'intel_iommu=on')
        self.assertEqual([RIVAL, RIVAL], drivers(again)[:2])


class TestReader(testtools.TestCase):
    """Our reader, compared with lspci, libvirt and Nova."""

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        with debian.prepared() as host:
            cls.boot = host.boot(
                test_boots.TestTopology.host,
                host.initramfs_tools(),
                'intel_iommu=on iommu=pt '
                'vfio-pci.ids=10de:20f1,10de:2236,10de:1aef',
                f'modprobe vfio-pci\n{test_boots.VFS}{WITH_NODE}'
                f'{debian.READ} --tools',
            )
            # The database that lspci and libvirt read.
            cls.names = pci_ids.read(f'{host.root}/usr/share/misc/pci.ids')
        cls.ours = {
            str(device.address): device for device in cls.boot.host.devices
        }

    def records(self, kind: str) -> dict[str, dict[str, list[str]]]:
        """Return the output of lspci: the values of each tag, by slot."""
        records = {}
        for text in self.boot.result[kind].strip().split('\n\n'):
            record: dict[str, list[str]] = {}
            for line in text.splitlines():
                tag, value = line.split(':\t', 1)
                record.setdefault(tag, []).append(value)
            records[record['Slot'][0]] = record
        self.assertEqual(set(self.ours), set(records))
        return records

    def test_kinds(self) -> None:
        """The machine has devices of all kinds to compare."""
        self.assertEqual(
            {'type-PCI', 'type-PF', 'type-VF'},
            {device.device_type for device in self.ours.values()},
        )
        for of_kind in (
            lambda device: device.numa_node is None,
            lambda device: device.numa_node == 1,
            lambda device: device.driver is None,
            lambda device: device.is_bridge,
            lambda device: self.boot.host.siblings(device),
        ):
            self.assertTrue(any(map(of_kind, self.ours.values())))

    def test_lspci(self) -> None:
        for slot, record in self.records('lspci').items():
            device = self.ours[slot]
            code = f'{device.class_code:06x}'
            expected = {
                'Slot': slot,
                'Class': code[:4],
                'Vendor': device.vendor_id,
                'Device': device.product_id,
                'SVendor': device.subsystem_vendor_id,
                'SDevice': device.subsystem_product_id,
                'ProgIf': code[4:],
                'Driver': device.driver,
                'NUMANode': device.numa_node,
                'IOMMUGroup': device.group,
            }
            # lspci does not print zeros.
            zeros = {'SVendor': '0000', 'SDevice': '0000', 'ProgIf': '00'}
            shown = {
                tag: record.get(tag, [zeros.get(tag)])[0] for tag in expected
            }
            self.assertEqual(
                {
                    tag: None if value is None else str(value)
                    for tag, value in expected.items()
                },
                shown,
            )
            # We do not read the revision and the slot number; another test
            # compares Module.
            self.assertLessEqual(
                set(record), {*expected, 'Rev', 'PhySlot', 'Module'}
            )

    def test_drivers_that_may_claim_a_card(self) -> None:
        """Every module that udev would load for a card is a rival."""
        cards = 0
        for slot, record in self.records('lspci').items():
            device = self.ours[slot]
            if device.vendor_id == '10de':
                rivals = self.boot.host.rivals(device)
                self.assertTrue(set(record['Module']) <= set(rivals), record)
                cards += 1
        self.assertEqual(len(test_boots.TestTopology.host.cards), cards)

    def test_names(self) -> None:
        for slot, record in self.records('lspci_names').items():
            vendor, product = (
                self.ours[slot].vendor_id,
                self.ours[slot].product_id,
            )
            self.assertEqual(
                [
                    self.names.vendor(vendor),
                    self.names.device(vendor, product) or f'Device {product}',
                ],
                [record['Vendor'][0], record['Device'][0]],
            )

    def test_libvirt(self) -> None:
        nodes = self.boot.result['nodedev']
        described = {}
        for xml in nodes.values():
            node = NodeDevice.parse(xml)
            described[node.pop('address')] = node
        self.assertEqual(set(self.ours), set(described))
        for address, node in described.items():
            device = self.ours[address]
            vendor = self.names.vendor(device.vendor_id)
            name = self.names.device(device.vendor_id, device.product_id)
            group = [device, *self.boot.host.siblings(device)]
            self.assertEqual(
                {
                    'driver': device.driver,
                    'class': f'0x{device.class_code:06x}',
                    'product': (f'0x{device.product_id}', name),
                    'vendor': (f'0x{device.vendor_id}', vendor),
                    'bridge': device.is_bridge,
                    'phys_function': [
                        str(member)
                        for member in (device.physical_function,)
                        if member is not None
                    ],
                    'virt_functions': list(map(str, device.virtual_functions)),
                    'maxCount': device.sriov_total_vfs or None,
                    'iommuGroup': device.group,
                    'in_group': sorted(
                        str(member.address) for member in group
                    ),
                    'numa': device.numa_node,
                },
                node,
                address,
            )

    def test_nova(self) -> None:
        # It needs no connection to libvirt, only the device.
        nova_driver = object.__new__(nova_host.Host)
        nodes = self.boot.result['nodedev']
        self.assertEqual(len(self.ours), len(nodes))
        for name, xml in nodes.items():
            nova = nova_driver._get_pcidev_info(
                name, NodeDevice(name, xml), [], [], []
            )
            device = self.ours[nova['address']]
            parent = device.physical_function
            self.assertEqual(
                {
                    'address': str(device.address),
                    'vendor_id': device.vendor_id,
                    'product_id': device.product_id,
                    'numa_node': device.numa_node,
                    'dev_type': device.device_type,
                    'parent_addr': None if parent is None else str(parent),
                },
                {
                    key: nova.get(key)
                    for key in (
                        'address',
                        'vendor_id',
                        'product_id',
                        'numa_node',
                        'dev_type',
                        'parent_addr',
                    )
                },
                name,
            )

    def test_node_that_was_written(self) -> None:
        """The remedy of GPU445: writing the node that is not reported."""
        self.assertEqual(1, self.ours[NODELESS].numa_node)
        results = self.boot.result['results']
        of_card = [
            result for result in results if result['device'] == NODELESS
        ]
        self.assertIn(
            'node 1 of 2',
            [
                result['evidence']
                for result in of_card
                if result['code'] is None
            ],
        )


@dataclasses.dataclass(frozen=True)
class NodeDevice:
    """A node device of libvirt, as Nova uses it."""

    _name: str
    _xml: str

    def name(self) -> str:
        return self._name

    def XMLDesc(self, _flags: int) -> str:
        return self._xml

    @staticmethod
    def parse(xml: str) -> dict[str, typing.Any]:
        """Return the fields of a device in libvirt that we read as well.

        We do not read path, parent and PCI Express link. ``maxCount`` is None
        without VFs.
        """
        root = ElementTree.fromstring(xml)
        pci_device = root.find("capability[@type='pci']")
        assert pci_device is not None
        virtual = pci_device.find("capability[@type='virt_functions']")
        group = pci_device.find('iommuGroup')
        node = pci_device.find('numa')
        number = virtual.get('maxCount') if virtual is not None else None
        return {
            'address': '{:04x}:{:02x}:{:02x}.{:x}'.format(
                *(
                    int(pci_device.findtext(part, ''))
                    for part in ('domain', 'bus', 'slot', 'function')
                )
            ),
            'driver': root.findtext('driver/name'),
            'class': pci_device.findtext('class'),
            **{
                tag: (element.get('id'), element.text)
                for tag in ('product', 'vendor')
                for element in pci_device.iterfind(tag)
            },
            'bridge': pci_device.find("capability[@type='pci-bridge']")
            is not None,
            'phys_function': _addresses(
                pci_device.find("capability[@type='phys_function']")
            ),
            'virt_functions': _addresses(virtual),
            'maxCount': None if number is None else int(number),
            'iommuGroup': None
            if group is None
            else int(group.get('number', '')),
            'in_group': sorted(_addresses(group)),
            'numa': None if node is None else int(node.get('node', '')),
        }


def _addresses(parent: ElementTree.Element | None) -> list[str]:
    return [
        '{:04x}:{:02x}:{:02x}.{:x}'.format(
            *(
                int(element.get(part, ''), 16)
                for part in ('domain', 'bus', 'slot', 'function')
            )
        )
        for element in (() if parent is None else parent.iterfind('address'))
    ]
