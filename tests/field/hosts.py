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

"""Hosts as the cases describe them: files of a kernel and a distribution."""

import typing

from tests.unit.host import trees

_SYSTEMS = {
    'centos': 'NAME="CentOS Linux"\nID="centos"\nID_LIKE="rhel fedora"\n',
    'debian': 'NAME="Debian GNU/Linux"\nVERSION_ID="12"\nID=debian\n',
    'rhel': trees.RHEL,
    'rocky': 'NAME="Rocky Linux"\nID="rocky"\nID_LIKE="rhel centos fedora"\n',
    'ubuntu': 'NAME="Ubuntu"\nVERSION_ID="22.04"\nID=ubuntu\nID_LIKE=debian\n',
}
#: What a distribution has whose kernel has vfio-pci, and drivers for NVIDIA's.
_VFIO_IN_KERNEL = {
    'builtin': 'kernel/drivers/vfio/vfio.ko\n'
    'kernel/drivers/vfio/pci/vfio-pci.ko\n',
    'alias': 'alias pci:v000010DEd*sv*sd*bc03sc*i* nouveau\n'
    'alias pci:v000010DEd*sv*sd*bc04sc03i00* snd_hda_intel\n',
}
_UNITS = {'K': 1 << 10, 'M': 1 << 20, 'G': 1 << 30}
#: Memory of 32 bit; memory of 64 bit that is prefetchable.
_M32, _P64 = 0x40200, 0x14220C


def build(description: dict[str, typing.Any]) -> trees.Tree:
    """Return the files of a host."""
    values = dict(description)
    devices = values.pop('devices', [])
    files = values.pop('files', {})
    initramfs = values.pop('initramfs', None)
    guest = values.pop('guest', False)
    vfio_in_kernel = values.pop('vfio_in_kernel', False)
    cpu = values.pop('cpu', 'intel')
    tables = {
        'intel': ('APIC', 'DMAR', 'MCFG'),
        'amd': ('APIC', 'IVRS', 'MCFG'),
        'arm': ('APIC', 'IORT', 'MCFG'),
    }[cpu]
    tree = trees.Tree(
        values.pop('name', 'compute-0'),
        arguments=values.pop('arguments', ''),
        vendor=trees.AMD if cpu == 'amd' else trees.INTEL,
        nodes=values.pop('nodes', 1),
        cpus_of_node=values.pop('cpus_of_node', 4),
        iommu=values.pop('iommu', True),
        system=_SYSTEMS[values.pop('system', 'debian')],
        release=values.pop('release', '6.1.0-56-amd64'),
        acpi=values.pop('tables', tables),
        domain=values.pop('domain', 'identity'),
    )
    if values:
        raise ValueError(values)
    if cpu == 'arm':
        tree.arm()
    if guest:
        tree.guest()
    for device in devices:
        _add_device(tree, dict(device))
    if vfio_in_kernel:
        for name, content in _VFIO_IN_KERNEL.items():
            tree.text(f'lib/modules/{tree.release}/modules.{name}', content)
    for path, content in files.items():
        tree.text(path.replace('RELEASE', tree.release), content)
    if initramfs is not None:
        tree.initramfs(
            *initramfs.get('modules', ()), maker=initramfs.get('maker')
        )
    return tree


def _add_device(tree: trees.Tree, device: dict[str, typing.Any]) -> None:
    absent = device.pop('absent', ())
    address = device.pop('address')
    if 'bars' in device:
        device['bars'] = tuple(map(_bar, device['bars']))
    if 'registers' in device:
        device['config'] = trees.config_space(
            bars=tuple(device.pop('registers'))
        )
    if 'vfs' in device:
        device['vfs'] = tuple(device['vfs'])
    tree.device(
        address, device.pop('ids'), int(device.pop('class'), 16), **device
    )
    for name in absent:
        # Old kernels do not have it, or the device does not.
        tree.files.pop(f'sys/bus/pci/devices/{address}/{name}', None)


def _bar(text: str) -> tuple[int, int]:
    """Return size and flags: ``16M`` of 32 bit, ``64G`` of 64 bit."""
    if text == '0':
        return 0, 0
    size = int(text[:-1]) * _UNITS[text[-1]]
    return size, _M32 if text.endswith('M') and size <= 1 << 25 else _P64
