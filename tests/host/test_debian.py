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

"""Hosts whose initramfs a real dracut or initramfs-tools makes.

The rival of vfio-pci is in the initramfs: snd_hda_intel, for two audio
controllers that it really drives.
"""

import dataclasses
import re

import ddt
from nova.virt.libvirt import host as nova_host
import testtools

from gpuclient.documents.created import host_files
from gpuclient.documents.created import rhoso_host
from gpuclient.model import pci

from tests.host import debian
from tests.host import device
from tests.host import machine
from tests.host import test_boots

RIVAL = 'snd_hda_intel'
HOST = machine.Machine(
    cards=(device.Device(address='7.0'),),
    devices=('intel-hda,addr=5', 'intel-hda,addr=6'),
)
FIRST, SECOND, CARD = '0000:00:05.0', '0000:00:06.0', '0000:00:07.0'
BY_IDS = host_files.Passthrough(
    cpu_vendor=host_files.INTEL, ids=('10de:20f1', '8086:2668')
)
BY_ADDRESS = dataclasses.replace(
    BY_IDS,
    ids=('10de:20f1',),
    addresses=(pci.parse_address(SECOND),),
    vendor_ids=('8086',),
)
#: Has initramfs-tools copy the rival, as it does with drivers of displays.
RIVAL_HOOK = host_files.HostFile(
    '/etc/initramfs-tools/hooks/rival',
    '#!/bin/sh\n'
    'if [ "$1" = prereqs ]; then exit 0; fi\n'
    '. /usr/share/initramfs-tools/hook-functions\n'
    f'manual_add_modules {RIVAL}\n',
    0o755,
)


def drivers(boot: machine.Boot) -> list[str | None]:
    return [
        boot.device(address)['driver'] for address in (FIRST, SECOND, CARD)
    ]


def boot_prepared(wanted: host_files.Passthrough, system: str) -> machine.Boot:
    """Boot a host that our files for a system have prepared."""
    ready = host_files.prepare(wanted, system)
    with debian.prepared(*ready.files, RIVAL_HOOK) as host:
        image = (
            host.initramfs_tools()
            if system == host_files.DEBIAN
            else host.dracut('--add-drivers', RIVAL)
        )
        return host.boot(HOST, image, ' '.join(ready.kernel_arguments))


@ddt.ddt
class TestInitramfs(testtools.TestCase):
    @ddt.data(host_files.DEBIAN, host_files.RHEL)
    def test_our_files(self, system: str) -> None:
        found = boot_prepared(BY_IDS, system)
        self.assertEqual(['vfio-pci'] * 3, drivers(found))
        self.assertNotIn('nouveau', found.result['raw']['modules'])
        self.assertEqual(set(), found.codes())
        self.assertEqual(set(), found.codes(CARD))

    @ddt.data(host_files.DEBIAN, host_files.RHEL)
    def test_one_of_two(self, system: str) -> None:
        found = boot_prepared(BY_ADDRESS, system)
        self.assertEqual([RIVAL, 'vfio-pci', 'vfio-pci'], drivers(found))

    def test_race(self) -> None:
        """Lost where vfio-pci is loaded late, won with rd.driver.pre."""
        load = host_files.HostFile(host_files.MODULES_LOAD, 'vfio-pci\n')
        arguments = 'intel_iommu=on iommu=pt vfio-pci.ids=10de:20f1,8086:2668'
        with debian.prepared(load) as host:
            image = host.dracut('--add-drivers', f'{RIVAL} vfio-pci')
            lost = host.boot(HOST, image, arguments)
            won = host.boot(HOST, image, f'{arguments} rd.driver.pre=vfio-pci')
        self.assertEqual([RIVAL, RIVAL], drivers(lost)[:2])
        self.assertEqual(['vfio-pci'] * 3, drivers(won))


class TestPlaybook(testtools.TestCase):
    """What the data plane service of RHOSO runs.

    Not here: grub2-mkconfig and tuned-adm of RHEL. They, and uname, which
    would tell of the kernel of this machine, are stand-ins that note what
    they were called with.
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
            self.stand_in('uname', f'echo {self.host.release}'),
            self.stand_in('grub2-mkconfig', 'echo --update-bls-cmdline'),
            self.stand_in('tuned-adm', ''),
        )

    @staticmethod
    def stand_in(name: str, script: str) -> host_files.HostFile:
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
        # A run that ended before the initramfs was made.
        image.unlink()
        self.assertEqual(3, self.play('/playbook'))
        found = self.host.boot(HOST, image, ' '.join(ready.kernel_arguments))
        self.assertEqual(['vfio-pci'] * 3, drivers(found))

        self.assertEqual(2, self.play('/undo'))
        for file in ready.files:
            path = self.host.root / file.path.lstrip('/')
            self.assertFalse(path.exists())
        again = self.host.boot(HOST, image, 'intel_iommu=on')
        self.assertEqual([RIVAL, RIVAL], drivers(again)[:2])


class TestReader(testtools.TestCase):
    """Our reader against lspci, and libvirt as Nova reads it."""

    def test_same(self) -> None:
        with debian.prepared() as host:
            found = host.boot(
                test_boots.TestTopology.host,
                host.initramfs_tools(),
                'intel_iommu=on iommu=pt '
                'vfio-pci.ids=10de:20f1,10de:2236,10de:1aef',
                f'modprobe vfio-pci\n{test_boots.VFS}{debian.READ} --tools',
            )
        ours = found.result['devices']
        records = [
            dict(line.split(':\t', 1) for line in record.splitlines())
            for record in found.result['lspci'].strip().split('\n\n')
        ]
        self.assertEqual(sorted(ours), sorted(one['Slot'] for one in records))
        for record in records:
            device = ours[record['Slot']]
            code = f'{device["class_code"]:06x}'
            node, group = device['numa_node'], device['group']
            self.assertEqual(
                {
                    'Class': code[:4],
                    'Vendor': device['vendor_id'],
                    'Device': device['product_id'],
                    'SVendor': device['subsystem_vendor_id'],
                    'SDevice': device['subsystem_product_id'],
                    'ProgIf': code[4:],
                    'Driver': device['driver'],
                    'NUMANode': None if node is None else str(node),
                    'IOMMUGroup': None if group is None else str(group),
                },
                {
                    'Class': record['Class'],
                    'Vendor': record['Vendor'],
                    'Device': record['Device'],
                    # lspci leaves out what is zero.
                    'SVendor': record.get('SVendor', '0000'),
                    'SDevice': record.get('SDevice', '0000'),
                    'ProgIf': record.get('ProgIf', '00'),
                    'Driver': record.get('Driver'),
                    'NUMANode': record.get('NUMANode'),
                    'IOMMUGroup': record.get('IOMMUGroup'),
                },
                record['Slot'],
            )
        self.assertEqual(len(ours), len(found.result['nodedev']))
        # It asks nothing of libvirt but what it is given here.
        judge = object.__new__(nova_host.Host)
        for name, xml in found.result['nodedev'].items():
            nova = judge._get_pcidev_info(
                name, NodeDevice(name, xml), [], [], []
            )
            device = ours[nova['address']]
            self.assertEqual(
                [
                    nova['vendor_id'],
                    nova['product_id'],
                    nova['numa_node'],
                    nova['dev_type'],
                    nova.get('parent_addr'),
                ],
                [
                    device['vendor_id'],
                    device['product_id'],
                    device['numa_node'],
                    device['device_type'],
                    device['physical_function'],
                ],
                name,
            )
        self.assertEqual(
            {'type-PCI', 'type-PF', 'type-VF'},
            {device['device_type'] for device in ours.values()},
        )


@dataclasses.dataclass(frozen=True)
class NodeDevice:
    """As libvirt gives one to Nova."""

    _name: str
    _xml: str

    def name(self) -> str:
        return self._name

    def XMLDesc(self, _flags: int) -> str:
        return self._xml
