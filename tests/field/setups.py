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

"""Hosts as they are in the field: how vendors and distributions set them up.

What the files have is from such hosts: the modprobe.d of the distribution,
the configuration of its boot loader, the place and the group of each device.
"""

import typing

from tests.unit.host import trees

MIB = 1 << 20
GIB = 1 << 30
#: Memory of 32 bit; memory of 64 bit, prefetchable; no register.
_M32, _P64, _NONE = 0x40200, 0x14220C, (0, 0)

UBUNTU = 'NAME="Ubuntu"\nVERSION_ID="22.04"\nID=ubuntu\nID_LIKE=debian\n'
CENTOS = 'NAME="CentOS Linux"\nID="centos"\nID_LIKE="rhel fedora"\n'
SLES = 'NAME="SLES"\nVERSION="15-SP5"\nID="sles"\nID_LIKE="suse"\n'
COREOS = 'NAME="Fedora Linux"\nID=fedora\nVARIANT_ID=coreos\n'

MODPROBE_OF_RHEL = {
    'usr/lib/modprobe.d/dist-blacklist.conf': '# Not by their aliases.\n'
    'blacklist nvidiafb\nblacklist radeonfb\nblacklist snd-pcsp\n',
    'usr/lib/modprobe.d/firewalld-sysctls.conf': 'install nf_conntrack '
    '/usr/sbin/modprobe --ignore-install nf_conntrack $CMDLINE_OPTS && '
    "/usr/sbin/sysctl --quiet --pattern 'net[.]netfilter.*' --system\n",
    'usr/lib/modprobe.d/systemd.conf': 'options bonding max_bonds=0\n',
    'etc/modprobe.d/kvm.conf': '#options kvm_intel nested=1\n',
    'etc/modprobe.d/lockd.conf': '#\n#options lockd nlm_tcpport=\n',
    'etc/modprobe.d/mlx4.conf': '',
    'etc/modprobe.d/tuned.conf': '# This file was created by tuned\n',
}
MODPROBE_OF_UBUNTU = {
    'etc/modprobe.d/blacklist-framebuffer.conf': '# Generally buggy\n'
    'blacklist aty128fb\nblacklist nvidiafb\nblacklist radeonfb\n',
    'etc/modprobe.d/blacklist-rare-network.conf': 'alias net-pf-3 off\n',
    'etc/modprobe.d/iwlwifi.conf': 'remove iwlwifi \\\n(/sbin/lsmod | grep '
    '-o -e ^iwlmvm | xargs /sbin/rmmod) \\\n&& /sbin/modprobe -r mac80211\n',
    'lib/modprobe.d/aliases.conf': 'alias char-major-10-144 nvram\n',
    'lib/modprobe.d/fbdev-blacklist.conf': 'blacklist nvidiafb\n',
}
#: Of modules.alias, what is for cards of NVIDIA, and consoles.
ALIASES = (
    'alias pci:v000010DEd*sv*sd*bc03sc*i* nouveau\n'
    'alias pci:v000012D2d*sv*sd*bc03sc*i* nouveau\n'
    'alias pci:v00001A03d*sv*sd*bc03sc*i* ast\n'
    'alias pci:v000010DEd*sv*sd*bc04sc03i00* snd_hda_intel\n'
)
NVIDIA_ALIASES = (
    'alias pci:v000010DEd*sv*sd*bc03sc02i00* nvidia_drm\n'
    'alias pci:v000010DEd*sv*sd*bc06sc80i00* nvidia\n'
    'alias pci:v000010DEd*sv*sd*bc03sc02i00* nvidia\n'
    'alias pci:v000010DEd*sv*sd*bc03sc00i00* nvidia\n'
)
VFIO_IN_KERNEL = (
    'kernel/drivers/vfio/vfio.ko\nkernel/drivers/vfio/vfio_iommu_type1.ko\n'
    'kernel/drivers/vfio/pci/vfio-pci.ko\nkernel/drivers/pci/pci-stub.ko\n'
)
A100_BARS = ((16 * MIB, _M32), (64 * GIB, _P64), _NONE, (32 * MIB, _P64))


def _put(tree: trees.Tree, files: typing.Mapping[str, str]) -> None:
    for path, content in files.items():
        tree.text(path, content)


def _modules(tree: trees.Tree, **files: str) -> None:
    for name, content in files.items():
        tree.text(f'lib/modules/{tree.release}/modules.{name}', content)


def _port(
    tree: trees.Tree, address: str, ids: str, group: int, node: int = 0
) -> None:
    """Add a root port, or a port of a switch."""
    tree.device(address, ids, 0x060400, driver='pcieport', group=group,
                node=node, bars=(), reset='pm')  # fmt: skip


def edpm(
    driver: str | None = 'nouveau', arguments: str = '', **files: str
) -> trees.Tree:
    """A data plane node of RHOSO: two sockets of Intel, four A100 PCIe."""
    own = f'default_hugepagesz=1GB hugepagesz=1G hugepages=400 {arguments}'
    line = f'root=UUID=6e64b1dc ro console=ttyS0 crashkernel=512M {own}'
    tree = trees.Tree(
        'edpm-compute-0',
        arguments=f'{line} nohz=on nohz_full=2-31,34-63 '
        'tuned.non_isolcpus=00000003,00000003',
        nodes=2,
        cpus_of_node=32,
        system=trees.RHEL,
        release='5.14.0-427.37.1.el9_4.x86_64',
    )
    _put(tree, MODPROBE_OF_RHEL)
    _modules(tree, alias=ALIASES, builtin='kernel/drivers/pci/pci-stub.ko\n')
    tree.initramfs('ast', 'mlx5_core', maker='dracut')
    trees.bmc(tree)
    for node in (0, 1):
        tree.pages(node, 200)
        tree.text(f'sys/devices/system/node/node{node}/meminfo',
                  f'Node {node} MemTotal:       263787052 kB\n')  # fmt: skip
    entry = f'options {line} $tuned_params\n'
    _put(tree, {
        'etc/tuned/active_profile': 'cpu-partitioning\n',
        'etc/tuned/cpu-partitioning-variables.conf':
        '# isolated_cores=2-23\nisolated_cores=2-31,34-63\n',
        'etc/tuned/realtime-variables.conf':
        'isolated_cores=${f:calc_isolated_cores:1}\n',
        'etc/default/grub': 'GRUB_TIMEOUT=5\n'
        'GRUB_CMDLINE_LINUX="console=ttyS0 crashkernel=512M"\n'
        f'GRUB_EDPM_KERNEL_ARGS=" {own} "\n'
        'GRUB_CMDLINE_LINUX="${GRUB_CMDLINE_LINUX:+$GRUB_CMDLINE_LINUX }'
        '${GRUB_EDPM_KERNEL_ARGS}"\nGRUB_ENABLE_BLSCFG=true\n',
        'boot/grub2/grubenv': 'saved_entry=0\ntuned_params=nohz=on\n',
        'boot/loader/entries/a-5.14.0-427.37.1.conf': entry,
        'boot/loader/entries/a-0-rescue.conf': entry,
        'etc/kernel/cmdline': f'{line}\n',
        **files,
    })  # fmt: skip
    for address, group, node in (
        ('0000:17:00.0', 20, 0),
        ('0000:65:00.0', 31, 0),
        ('0000:98:00.0', 80, 1),
        ('0000:ca:00.0', 91, 1),
    ):
        bus = int(address[5:7], 16) - 1
        _port(tree, f'0000:{bus:02x}:01.0', '8086:347a', group + 200, node)
        tree.device(address, '10de:20f1', 0x030200, driver=driver,
                    group=group, node=node, bars=A100_BARS,
                    total_vfs=16)  # fmt: skip
    return tree


def hgx(
    driver: str | None = 'nvidia',
    switches: str | None = 'nvidia',
    arguments: str = '',
    *,
    acs: bool = True,
) -> trees.Tree:
    """HGX H100: eight GPUs, each with a NIC behind a switch, on Ubuntu."""
    tree = trees.Tree(
        'hgx-0',
        arguments=f'ro intel_iommu=on iommu=pt {arguments}',
        nodes=2,
        cpus_of_node=8,
        system=UBUNTU,
        release='5.15.0-105-generic',
    )
    _put(tree, MODPROBE_OF_UBUNTU)
    _put(tree, {
        'etc/default/grub': 'GRUB_CMDLINE_LINUX_DEFAULT=""\n'
        'GRUB_CMDLINE_LINUX=""\n',
        'etc/default/grub.d/50-curtin-settings.cfg': '# Created by curtin\n'
        'GRUB_CMDLINE_LINUX_DEFAULT="intel_iommu=on iommu=pt"\n',
        'etc/default/grub.d/kdump-tools.cfg': 'GRUB_CMDLINE_LINUX_DEFAULT='
        '"$GRUB_CMDLINE_LINUX_DEFAULT crashkernel=512M-:192M"\n',
    })  # fmt: skip
    _modules(tree, alias=ALIASES + NVIDIA_ALIASES, builtin=VFIO_IN_KERNEL)
    trees.bmc(tree)
    for number, bus in enumerate(
        (0x18, 0x2A, 0x3A, 0x5D, 0x9A, 0xAB, 0xBA, 0xDB)
    ):
        node, group = number // 4, 100 + number * 10
        _port(tree, f'0000:{bus - 3:02x}:01.0', '8086:352a', group, node)
        for step, place in enumerate(
            (f'{bus - 2:02x}:00.0', f'{bus - 1:02x}:00.0',
             f'{bus - 1:02x}:02.0'), 1
        ):  # fmt: skip
            _port(tree, f'0000:{place}', '1000:c030',
                  group + step if acs else group + 5, node)  # fmt: skip
        tree.device(
            f'0000:{bus:02x}:00.0', '10de:2330', 0x030200, driver=driver,
            group=group + 5, node=node, total_vfs=32,
            bars=((64 * MIB, _P64), _NONE, (128 * GIB, _P64)),
        )  # fmt: skip
        tree.device(
            f'0000:{bus + 1:02x}:00.0', '15b3:1021', 0x020700,
            driver='mlx5_core', group=group + 6 if acs else group + 5,
            node=node,
        )  # fmt: skip
    for number in range(4):
        tree.device(f'0000:{7 + number:02x}:00.0', '10de:22a3', 0x068000,
                    driver=switches, group=60 + number)  # fmt: skip
    return tree


def epyc(*, graphics: bool = False) -> trees.Tree:
    """EPYC with L40S and L4, or two RTX A6000 with audio; a BMC's console."""
    tree = trees.Tree(
        'epyc-0',
        arguments='ro quiet amd_iommu=on iommu=pt amd_pstate=active',
        vendor=trees.AMD,
        nodes=2,
        system=UBUNTU,
        release='6.8.0-45-generic',
        acpi=('APIC', 'IVRS'),
    )
    _put(tree, MODPROBE_OF_UBUNTU)
    _modules(tree, alias=ALIASES, builtin='kernel/drivers/pci/pci-stub.ko\n')
    tree.initramfs('ast', maker='initramfs-tools')
    trees.bmc(tree)
    tree.device('0000:00:01.0', '1022:14a4', 0x060000, group=1, bars=())
    _port(tree, '0000:00:01.1', '1022:14a5', 2)
    if not graphics:
        for address, ids, size, group in (
            ('0000:01:00.0', '10de:26b9', 64, 12),
            ('0000:41:00.0', '10de:27b8', 32, 40),
        ):
            tree.device(
                address, ids, 0x030200, driver='nouveau', group=group,
                total_vfs=32, bars=((16 * MIB, _M32), (size * GIB, _P64)),
            )  # fmt: skip
        return tree
    for card, group in (('0000:01:00', 12), ('0000:41:00', 40)):
        tree.device(f'{card}.0', '10de:2230', 0x030000, driver='nouveau',
                    group=group, boot_vga=False)  # fmt: skip
        tree.device(f'{card}.1', '10de:1aef', 0x040300,
                    driver='snd_hda_intel', group=group)  # fmt: skip
    return tree


def workstation() -> trees.Tree:
    """Debian 12: the console is on the only card; the CPU has an NPU."""
    tree = trees.Tree('desk', arguments='ro quiet', domain='DMA-FQ')
    _modules(tree, alias=ALIASES)
    tree.text('etc/default/grub', 'GRUB_CMDLINE_LINUX_DEFAULT="quiet"\n')
    tree.initramfs('nouveau', 'simpledrm', maker='initramfs-tools')
    _port(tree, '0000:00:01.0', '8086:7ecc', 1)
    tree.device('0000:00:0b.0', '8086:7d1d', 0x120000, driver='intel_vpu',
                group=9)  # fmt: skip
    tree.device('0000:01:00.0', '10de:2684', 0x030000, driver='nouveau',
                group=12, boot_vga=True)  # fmt: skip
    tree.device('0000:01:00.1', '10de:22ba', 0x040300, driver='snd_hda_intel',
                group=12)  # fmt: skip
    return tree


def grace(driver: str | None = 'nvidia', **values: typing.Any) -> trees.Tree:
    """GH200, with a kernel whose pages have 64K."""
    tree = trees.Tree(
        'gh200',
        arguments='ro iommu.passthrough=1 hugepagesz=512M hugepages=100',
        nodes=2,
        system=UBUNTU,
        release='6.8.0-1021-nvidia-64k',
        acpi=('APIC', 'IORT'),
        **values,
    ).arm()
    _modules(tree, alias=ALIASES + NVIDIA_ALIASES)
    for node in (0, 1):
        tree.pages(node, 50, 512 << 10)
        tree.pages(node, 0, 2048)
    trees.bmc(tree)
    tree.device('0009:01:00.0', '10de:2342', 0x030200, driver=driver,
                group=17, total_vfs=32)  # fmt: skip
    return tree


def altra() -> trees.Tree:
    """Ampere Altra with an A100, on RHEL."""
    tree = trees.Tree(
        'altra',
        arguments='ro',
        system=trees.RHEL,
        release='5.14.0-427.el9.aarch64',
        domain='DMA',
    ).arm()
    _modules(tree, alias=ALIASES)
    tree.initramfs('ast', maker='dracut')
    trees.bmc(tree)
    tree.device('0001:01:00.0', '10de:20f1', 0x030200, driver='nouveau',
                group=17, bars=A100_BARS, total_vfs=16)  # fmt: skip
    return tree


def instinct(ids: str, code: int) -> trees.Tree:
    """Accelerators of AMD with their driver, which is in the initramfs."""
    tree = trees.Tree(
        'mi',
        arguments='ro iommu=pt',
        vendor=trees.AMD,
        system=UBUNTU,
        release='5.15.0-105-generic',
        acpi=('APIC', 'IVRS'),
    )
    _put(tree, MODPROBE_OF_UBUNTU)
    product = ids.upper().partition(':')[2]
    _modules(tree, alias=f'{ALIASES}alias pci:v00001002d0000{product}sv*sd*'
             'bc*sc*i* amdgpu\n', builtin=VFIO_IN_KERNEL)  # fmt: skip
    trees.bmc(tree)
    for number in range(2):
        tree.device(f'0000:{0x41 + number * 0x40:02x}:00.0', ids, code,
                    driver='amdgpu', group=30 + number, total_vfs=16,
                    bars=((64 * GIB, _P64),))  # fmt: skip
    return tree


def flex() -> trees.Tree:
    """A Flex 170 behind the switch on its card."""
    tree = trees.Tree(
        'flex',
        arguments='ro intel_iommu=on iommu=pt',
        system=UBUNTU,
        release='6.8.0-45-generic',
    )
    _put(tree, MODPROBE_OF_UBUNTU)
    _modules(tree, alias=f'{ALIASES}alias pci:v00008086d000056C0sv*sd*bc03sc*'
             'i* i915\nalias pci:v00008086d000056C0sv*sd*bc03sc*i* xe\n',
             )  # fmt: skip
    tree.initramfs('ast', maker='initramfs-tools')
    trees.bmc(tree)
    _port(tree, '0000:4d:00.0', '8086:4fa1', 29)
    _port(tree, '0000:4e:01.0', '8086:4fa4', 29)
    tree.device('0000:4f:00.0', '8086:56c0', 0x038000, driver='i915',
                group=30, total_vfs=31,
                bars=((16 * MIB, _P64), _NONE, (16 * GIB, _P64)))  # fmt: skip
    return tree


def vgpu() -> trees.Tree:
    """Two A100 whose VFs NVIDIA's manager serves."""
    tree = trees.Tree(
        'vgpu',
        arguments='ro intel_iommu=on iommu=pt',
        nodes=2,
        system=trees.RHEL,
        release='5.14.0-427.el9.x86_64',
    )
    _put(tree, MODPROBE_OF_RHEL)
    _put(tree, {
        'etc/modprobe.d/nvidia-installer-disable-nouveau.conf':
        'blacklist nouveau\noptions nouveau modeset=0\n',
        'proc/modules': 'nvidia_vgpu_vfio 1 0\nnvidia 1 1\nmdev 1 1\n',
    })  # fmt: skip
    _modules(tree, alias=ALIASES + NVIDIA_ALIASES)
    tree.initramfs('ast', maker='dracut')
    trees.bmc(tree)
    for number, bus in enumerate(('17', 'ca')):
        card = f'0000:{bus}:00.0'
        vfs = tuple(
            f'0000:{bus}:{slot:02x}.{function}'
            for slot, first in ((0, 4), (1, 0), (2, 0))
            for function in range(first, 8 if slot < 2 else 4)
        )
        tree.device(card, '10de:20f1', 0x030200, driver='nvidia',
                    group=20 + number, node=number, bars=A100_BARS,
                    total_vfs=16, vfs=vfs)  # fmt: skip
        for place, vf in enumerate(vfs):
            tree.device(vf, '10de:20f1', 0x030200, driver='nvidia',
                        group=100 + number * 50 + place, node=number,
                        parent=card)  # fmt: skip
    return tree


def virtual(*tables: str, arguments: str = '') -> trees.Tree:
    """A machine of QEMU that was given an A100, with an IOMMU or without."""
    tree = trees.Tree(
        'vm',
        arguments=f'ro {arguments}',
        iommu=bool(tables),
        acpi=('APIC', *tables),
    ).guest()
    tree.device('0000:00:00.0', '8086:29c0', 0x060000, bars=())
    tree.device('0000:00:01.0', '1234:1111', 0x030000, driver='bochs-drm',
                group=1, boot_vga=True)  # fmt: skip
    tree.device('0000:05:00.0', '10de:20f1', 0x030200, group=5,
                bars=A100_BARS)  # fmt: skip
    return tree


def container() -> trees.Tree:
    """A container on a laptop: no IOMMU groups, no tables, no initramfs."""
    tree = trees.Tree('9f3c1a2b77aa', arguments='ro', iommu=False, acpi=())
    tree.device('0000:00:02.0', '8086:9a49', 0x030000, driver='i915',
                boot_vga=True)  # fmt: skip
    tree.device('0000:01:00.0', '10de:25a0', 0x030200, driver='nvidia')
    return tree


def other_loader(
    system: str, arguments: str = 'ro intel_iommu=on iommu=pt', **files: str
) -> trees.Tree:
    """A host with an A100 that grub and grubby are not for."""
    tree = trees.Tree('other', arguments=arguments, system=system)
    _put(tree, files)
    _modules(tree, alias=ALIASES)
    maker = 'initramfs-tools' if system == trees.DEBIAN else 'dracut'
    tree.initramfs('nouveau', maker=maker)
    trees.bmc(tree)
    tree.device('0000:41:00.0', '10de:20f1', 0x030200, driver='nouveau',
                group=30, bars=A100_BARS, total_vfs=16)  # fmt: skip
    return tree


def centos(release: str, **files: str) -> trees.Tree:
    """CentOS 7 or 8: of what the kernel offers today, much is not there."""
    tree = trees.Tree(
        'centos',
        arguments='ro crashkernel=auto rhgb quiet intel_iommu=on iommu=pt',
        nodes=2,
        system=CENTOS,
        release=release,
    )
    _put(tree, MODPROBE_OF_RHEL)
    _put(tree, files)
    _modules(tree, alias=ALIASES)
    tree.initramfs('nouveau', maker='dracut')
    trees.bmc(tree)
    for node, bus in enumerate(('3b', 'd8')):
        tree.device(f'0000:{bus}:00.0', '10de:1eb8', 0x030200,
                    driver='nouveau', group=30 + node, node=node,
                    total_vfs=16)  # fmt: skip
    # Since Linux 5.15, 5.8 and, in 3.10, 4.11, 4.18 and 3.17.
    gone = ('/reset_method', '/power_state')
    if release.startswith('3.10'):
        gone += ('/type', '/reserved_regions')
        del tree.files['sys/class/iommu/dmar0']
    for path in list(tree.files):
        if path.endswith(gone):
            del tree.files[path]
    return tree
