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

"""Files of hosts, as their kernels and distributions create them."""

import pathlib
import typing

from gpuclient.host import collect
from gpuclient.host import reader
from gpuclient.model import host as host_model

DEBIAN = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\n'
RHEL = 'NAME="Red Hat Enterprise Linux"\nID="rhel"\nID_LIKE="fedora"\n'
INTEL, AMD = 'GenuineIntel', 'AuthenticAMD'
GIB = 1 << 30
A100 = '10de:20f1'
SERIAL = bytes(range(0x41, 0x49))


def config_space(
    *,
    sriov: bool = False,
    serial: bytes = SERIAL,
    size: int = 4096,
    bars: tuple[int, ...] = (),
) -> bytes:
    """Return a configuration space that contains a serial number.

    :param bars: Values of the BAR registers.
    """
    space = bytearray(size)
    space[:4] = b'\xde\x10\xf1\x20'
    for number, value in enumerate(bars):
        offset = 0x10 + 4 * number
        space[offset : offset + 4] = value.to_bytes(4, 'little')
    if size > 0x100:
        capabilities = [(0x0003, 0x100), *([(0x0010, 0x140)] * sriov)]
        for number, (capability, offset) in enumerate(capabilities):
            offsets = [offset for _id, offset in capabilities[number + 1 :]]
            header = capability | 1 << 16 | (offsets or [0])[0] << 20
            space[offset : offset + 4] = header.to_bytes(4, 'little')
        space[0x104:0x10C] = serial
    return bytes(space)


def resource(*bars: tuple[int, int]) -> str:
    """Return a ``resource`` file.

    :param bars: Size in bytes and flags of each BAR.
    """
    lines = []
    start = 0x380000000000
    for size, flags in bars:
        end = start + size - 1 if size else 0
        lines.append(
            f'0x{start if size else 0:016x} 0x{end:016x} 0x{flags:016x}'
        )
        start += 1 << 40
    zeros = ' '.join(['0x' + '0' * 16] * 3)
    return '\n'.join([*lines, *[zeros] * (13 - len(bars))]) + '\n'


class Tree:
    """Builds the files of a host, piece by piece."""

    def __init__(
        self,
        name: str = 'compute-0',
        *,
        arguments: str = '',
        vendor: str = INTEL,
        nodes: int = 1,
        cpus_of_node: int = 4,
        iommu: bool = True,
        system: str = DEBIAN,
        release: str = '6.1.0-56-amd64',
        acpi: typing.Iterable[str] = ('APIC', 'DMAR', 'MCFG'),
        domain: str = 'identity',
    ) -> None:
        self.files: dict[str, bytes] = {}
        #: Targets, as in sysfs.
        self.links: dict[str, str] = {}
        self.release = release
        self._iommu = iommu
        self._domain = domain
        self.text('proc/sys/kernel/hostname', f'{name}\n')
        self.text('proc/sys/kernel/osrelease', f'{release}\n')
        self.text('etc/os-release', system)
        self.text('proc/cmdline', f'ro {arguments}'.strip() + '\n')
        self.text('proc/modules', 'vfio_pci 16384 0 - Live 0xffffffffc0a1\n')
        for table in acpi:
            self.text(f'sys/firmware/acpi/tables/{table}', '')
        if iommu:
            self.text('sys/class/iommu/dmar0', '')
        self._cpus(vendor, nodes, cpus_of_node)

    def text(self, path: str, content: str) -> None:
        self.files[path] = content.encode()

    def arm(self) -> 'Tree':
        """Change the CPUs to Arm and the IOMMU to an SMMU."""
        self.text(
            'proc/cpuinfo',
            'processor\t: 0\nFeatures\t: fp asimd\nCPU implementer\t: 0x41\n'
            'CPU part\t: 0xd4f\n\nprocessor\t: 1\n',
        )
        for path in [
            name for name in self.files if name.endswith(('DMAR', 'dmar0'))
        ]:
            del self.files[path]
        self.text('sys/firmware/acpi/tables/IORT', '')
        if self._iommu:
            self.text('sys/class/iommu/smmu3.0x0000000011000000', '')
        return self

    def guest(self) -> 'Tree':
        """Change the CPUs to those of a virtual machine."""
        content = self.files['proc/cpuinfo'].decode()
        self.text(
            'proc/cpuinfo',
            content.replace('serial', 'flags\t\t: fpu hypervisor\nserial', 1),
        )
        return self

    def _cpus(self, vendor: str, nodes: int, each: int) -> None:
        self.text(
            'proc/cpuinfo',
            f'processor\t: 0\nvendor_id\t: {vendor}\nserial\t: secret\n'
            f'address sizes\t: 46 bits physical, 48 bits virtual\n\n'
            f'processor\t: 1\n',
        )
        cpus = 'sys/devices/system/cpu/'
        self.text(f'{cpus}online', f'0-{nodes * each - 1}\n')
        self.text(f'{cpus}isolated', '\n')
        for number in range(nodes * each):
            folder = f'{cpus}cpu{number}/topology/'
            self.text(f'{folder}physical_package_id', f'{number // each}\n')
            self.text(f'{folder}core_id', f'{number % each}\n')
            self.text(f'{folder}thread_siblings_list', f'{number}\n')
        for node in range(nodes):
            folder = f'sys/devices/system/node/node{node}/'
            self.text(
                f'{folder}cpulist', f'{node * each}-{(node + 1) * each - 1}\n'
            )
            self.text(
                f'{folder}meminfo',
                f'Node {node} MemTotal:       134217728 kB\n'
                f'Node {node} MemFree:        100000000 kB\n',
            )
            self.pages(node, 0)

    def isolate(self, cpus: str) -> None:
        self.text('sys/devices/system/cpu/isolated', f'{cpus}\n')

    def pages(self, node: int, count: int, kib: int = 1 << 20) -> None:
        folder = (
            f'sys/devices/system/node/node{node}/hugepages/hugepages-{kib}kB/'
        )
        self.text(f'{folder}nr_hugepages', f'{count}\n')
        self.text(f'{folder}free_hugepages', f'{count}\n')

    def device(
        self,
        address: str,
        ids: str,
        code: int,
        *,
        driver: str | None = None,
        group: int | None = None,
        node: int = 0,
        bars: tuple[tuple[int, int], ...] = ((1 << 24, 0x40200),),
        reset: str | None = 'flr bus',
        config: bytes | None = None,
        power: str = 'D0',
        d3cold: bool = True,
        override: str = '(null)',
        boot_vga: bool | None = None,
        total_vfs: int | None = None,
        vfs: tuple[str, ...] = (),
        parent: str | None = None,
    ) -> None:
        folder = f'sys/bus/pci/devices/{address}/'
        vendor, product = ids.split(':')
        for name, content in (
            ('vendor', f'0x{vendor}'),
            ('device', f'0x{product}'),
            ('class', f'0x{code:06x}'),
            ('subsystem_vendor', f'0x{vendor}'),
            ('subsystem_device', '0x1450'),
            ('driver_override', override),
            ('numa_node', str(node)),
            ('power_state', power),
            ('d3cold_allowed', str(int(d3cold))),
        ):
            self.text(folder + name, f'{content}\n')
        self.text(f'{folder}resource', resource(*bars))
        if reset is not None:
            self.text(f'{folder}reset_method', f'{reset}\n')
            self.text(f'{folder}reset', '')
        if boot_vga is not None:
            self.text(f'{folder}boot_vga', f'{int(boot_vga)}\n')
        if code >> 16 in (3, 0x12):
            self.files[f'{folder}config'] = (
                config_space(sriov=total_vfs is not None)
                if config is None
                else config
            )
        up = '../' * 6
        if driver is not None:
            self.links[f'{folder}driver'] = f'{up}bus/pci/drivers/{driver}'
        if self._iommu and group is not None:
            self.links[f'{folder}iommu_group'] = (
                f'{up}kernel/iommu_groups/{group}'
            )
            groups = f'sys/kernel/iommu_groups/{group}/'
            self.text(f'{groups}type', f'{self._domain}\n')
            self.text(
                f'{groups}reserved_regions',
                '0x00000000fee00000 0x00000000feefffff msi\n',
            )
        if total_vfs is not None:
            self.text(f'{folder}sriov_totalvfs', f'{total_vfs}\n')
            self.text(f'{folder}sriov_numvfs', f'{len(vfs)}\n')
        for number, vf in enumerate(vfs):
            self.links[f'{folder}virtfn{number}'] = f'../{vf}'
        if parent is not None:
            self.links[f'{folder}physfn'] = f'../{parent}'

    def initramfs(self, *names: str, maker: str | None = None) -> None:
        """Add the file list of an initramfs, as in a bundle."""
        folder = f'usr/lib/modules/{self.release}/kernel/drivers/'
        lines = [f'{folder}{name}.ko' for name in names]
        lines += [
            path for path, value in collect.MAKERS.items() if value == maker
        ][:1]
        self.text(
            f'{collect.INITRAMFS}/boot+initrd.img-{self.release}',
            ''.join(f'{line}\n' for line in lines),
        )

    def write(self, root: pathlib.Path) -> pathlib.Path:
        """Write the files below a folder."""
        for path, content in self.files.items():
            file = root / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        for path, target in self.links.items():
            link = root / path
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(target)
        return root

    def collected(self) -> collect.CollectedFiles:
        """Return the files as the collector returns them."""
        collected = collect.CollectedFiles()
        collected.files = dict(self.files)
        collected.links = {
            path: target.rpartition('/')[2]
            for path, target in self.links.items()
        }
        return collected

    def host(self) -> host_model.Host:
        return reader.parse(self.collected(), 'unnamed')


BOUND = 'intel_iommu=on iommu=pt vfio-pci.ids=10de:20f1 '
EARLY = f'{BOUND}rd.driver.pre=vfio-pci'
_A100_BARS = (
    (16 << 20, 0x40200),
    (64 * GIB, 0x14220C),
    (0, 0),
    (32 << 20, 0x14220C),
)


def a100() -> Tree:
    """Two A100 in a host with two Intel CPUs, configured correctly."""
    tree = Tree(
        'a100',
        arguments=f'{EARLY} hugepagesz=1G hugepages=64 isolcpus=2-3,6-7',
        nodes=2,
        system=RHEL,
        release='5.14.0-427.el9.x86_64',
    )
    tree.isolate('2-3,6-7')
    tree.pages(0, 32)
    tree.pages(1, 32)
    tree.initramfs('vfio-pci', maker='dracut')
    bmc(tree)
    for address, group, node in (
        ('0000:17:00.0', 20, 0),
        ('0000:ca:00.0', 80, 1),
    ):
        tree.device(
            address,
            A100,
            0x030200,
            driver='vfio-pci',
            group=group,
            node=node,
            bars=_A100_BARS,
            total_vfs=16,
        )
    return tree


def bmc(tree: Tree) -> None:
    """Add the display controller of a BMC."""
    tree.device(
        '0000:03:00.0',
        '1a03:2000',
        0x030000,
        driver='ast',
        group=7,
        boot_vga=True,
        reset='pm',
    )


def t4() -> Tree:
    """A T4 in D3hot."""
    tree = Tree(
        't4', arguments='intel_iommu=on iommu=pt vfio-pci.ids=10de:1eb8'
    )
    tree.text(
        'etc/modprobe.d/gpu.conf',
        'softdep nouveau pre: vfio-pci\n'
        'blacklist nvidiafb\nblacklist nova_core\nblacklist nvidia\n',
    )
    tree.initramfs('vfio-pci', 'nouveau', maker='initramfs-tools')
    tree.device(
        '0000:3b:00.0',
        '10de:1eb8',
        0x030200,
        driver='vfio-pci',
        group=12,
        power='D3hot',
        total_vfs=16,
    )
    return tree


def consumer(arguments: str = '', audio: str = 'snd_hda_intel') -> Tree:
    """A gaming card with audio and USB functions that is the boot VGA."""
    tree = Tree(
        'desk', arguments=f'intel_iommu=on {arguments}', domain='DMA-FQ'
    )
    tree.text('sys/bus/platform/devices/vesa-framebuffer.0', '')
    tree.device(
        '0000:00:01.0', '8086:1901', 0x060400, driver='pcieport', group=1
    )
    tree.device(
        '0000:01:00.0',
        '10de:1e87',
        0x030000,
        driver='vfio-pci',
        group=1,
        boot_vga=True,
        reset='bus',
    )
    tree.device('0000:01:00.1', '10de:10f8', 0x040300, driver=audio, group=1)
    tree.device(
        '0000:01:00.2', '10de:1ad8', 0x0C0330, driver='xhci_hcd', group=1
    )
    return tree


def mi300x() -> Tree:
    """Eight AMD accelerators in a host with AMD CPUs."""
    tree = Tree(
        'mi300x',
        arguments='iommu=pt vfio-pci.ids=1002:74a1',
        vendor=AMD,
        nodes=2,
        acpi=('APIC', 'IVRS'),
    )
    tree.text(
        'etc/modprobe.d/gpu.conf', 'blacklist amdgpu\nblacklist radeon\n'
    )
    for number in range(8):
        tree.device(
            f'0000:{number * 16 + 5:02x}:00.0',
            '1002:74a1',
            0x120000,
            driver='vfio-pci',
            group=30 + number,
            node=number // 4,
            bars=((256 * GIB, 0x14220C), (0, 0), (2 << 20, 0x14220C)),
            total_vfs=8,
        )
    return tree


def vfs() -> Tree:
    """An A40 with two VFs, which are for guests."""
    tree = Tree('vfs', arguments='intel_iommu=on iommu=pt')
    names = ('0000:41:00.4', '0000:41:00.5')
    tree.device(
        '0000:41:00.0',
        '10de:2235',
        0x030200,
        driver='nvidia',
        group=40,
        total_vfs=32,
        vfs=names,
    )
    for number, name in enumerate(names):
        tree.device(
            name,
            '10de:2235',
            0x030200,
            driver='nvidia',
            group=41 + number,
            parent='0000:41:00.0',
        )
    return tree


def iommu_off() -> Tree:
    """A card in a host that is not prepared: VT-d is off in the firmware."""
    tree = Tree('off', arguments=EARLY, iommu=False, acpi=('APIC', 'MCFG'))
    tree.device('0000:04:00.0', A100, 0x030200)
    return tree


def nouveau() -> Tree:
    """A card bound to nouveau, because the initramfs lacks vfio-pci."""
    tree = Tree('nouveau', arguments=BOUND)
    tree.initramfs('nouveau', 'snd-hda-intel', maker='initramfs-tools')
    tree.device('0000:04:00.0', A100, 0x030200, driver='nouveau', group=4)
    return tree


ALL = (a100, t4, consumer, mi300x, vfs, iommu_off, nouveau)
