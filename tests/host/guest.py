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

"""Runs in the guest: ``python -m tests.host.guest FILE [DEVICE ...]``.

Writes, as JSON, values of sysfs that are read without our code, and the
results of our checks of this host with the DEVICEs for guests; with
``--tools``, also the output of lspci and libvirt. ``FILE.tar`` is a bundle of
the host.
"""

import argparse
import array
import dataclasses
import errno
import fcntl
import json
import os
import pathlib
import subprocess
import typing

from gpuclient.host import collect
from gpuclient.host import reader
from gpuclient.model import host as host_model
from gpuclient.model import pci
from gpuclient.osc import remedies
from gpuclient.rules import host as rules
from gpuclient.rules import passthrough_view

_DEVICES = pathlib.Path('/sys/bus/pci/devices')
_GROUPS = pathlib.Path('/sys/kernel/iommu_groups')
_VFIO = pathlib.Path('/dev/vfio')
# include/uapi/linux/vfio.h
_SET_IOMMU = 0x3B66
_GROUP_SET_CONTAINER = 0x3B68
_TYPE1_V2 = 3


def _text(path: pathlib.Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None


def _target(path: pathlib.Path) -> str | None:
    try:
        return os.path.basename(os.readlink(path))
    except OSError:
        return None


def raw() -> dict[str, typing.Any]:
    """Return the state of the kernel, read without our code."""
    devices = {}
    for folder in sorted(_DEVICES.iterdir()):
        vendor, product = _text(folder / 'vendor'), _text(folder / 'device')
        devices[folder.name] = {
            'ids': f'{(vendor or "")[2:]}:{(product or "")[2:]}',
            'class': _text(folder / 'class'),
            'driver': _target(folder / 'driver'),
            'driver_override': _text(folder / 'driver_override'),
            'group': _target(folder / 'iommu_group'),
            'numa_node': _text(folder / 'numa_node'),
            'physical_function': _target(folder / 'physfn'),
            'sriov_totalvfs': _text(folder / 'sriov_totalvfs'),
        }
    groups = sorted(_GROUPS.iterdir()) if _GROUPS.exists() else []
    return {
        'devices': devices,
        'groups': {
            group.name: {
                'type': _text(group / 'type'),
                'devices': sorted(os.listdir(group / 'devices')),
            }
            for group in groups
        },
        'modules': sorted(
            line.split()[0]
            for line in (_text(pathlib.Path('/proc/modules')) or '').split(
                '\n'
            )
        ),
        'vfio': {
            path.name: attach(path)
            for path in (sorted(_VFIO.iterdir()) if _VFIO.exists() else ())
            if path.name.isdecimal()
        },
    }


def attach(path: pathlib.Path) -> str | None:
    """Attach a group to a container, as QEMU does.

    :returns: The name of the error, None if there is none.
    """
    try:
        with (
            open(_VFIO / 'vfio', 'rb+', 0) as container,
            open(path, 'rb+', 0) as group,
        ):
            fcntl.ioctl(
                group,
                _GROUP_SET_CONTAINER,
                array.array('i', [container.fileno()]),
            )
            fcntl.ioctl(container, _SET_IOMMU, _TYPE1_V2)
    except OSError as exc:
        return errno.errorcode[exc.errno or 0]
    return None


def tools() -> dict[str, typing.Any]:
    """Return the output of lspci and libvirt about the devices."""
    virsh = ('virsh', '--quiet', '--connect', 'nodedev:///system')
    _run('systemctl', 'start', 'libvirtd.service')
    names = _run(*virsh, 'nodedev-list', '--cap', 'pci').split()
    return {
        'lspci': _run('lspci', '-D', '-vmmkn'),
        'lspci_names': _run('lspci', '-D', '-vmm'),
        'nodedev': {
            name: _run(*virsh, 'nodedev-dumpxml', name) for name in names
        },
    }


def _run(*command: str) -> str:
    return subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def check_collected(
    collected: collect.CollectedFiles, addresses: list[str]
) -> list[dict[str, typing.Any]]:
    """Return the results of the checks of a host.

    :param addresses: Addresses of the devices for guests; if empty, the
        checks decide.
    """
    host = reader.parse(collected, '/')
    for_guests = frozenset(map(pci.parse_address, addresses))
    return check(host, passthrough_view.Intent(addresses=for_guests or None))


def check(
    host: host_model.Host, intent: passthrough_view.Intent
) -> list[dict[str, typing.Any]]:
    """Return the results of the checks of a host."""
    return [
        {
            **dataclasses.asdict(result),
            'device': str(result.device or ''),
            'remedy': remedies.render(result.remedy),
        }
        for result in rules.check(host, intent)
    ]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument('--tools', action='store_true')
    parser.add_argument('file', type=pathlib.Path)
    parser.add_argument('devices', nargs='*')
    arguments = parser.parse_args()
    collected = collect.collect()
    report = {
        'raw': raw(),
        'results': check_collected(collected, arguments.devices),
    }
    if arguments.tools:
        report |= tools()
    arguments.file.with_suffix('.tar').write_bytes(collect.pack(collected))
    arguments.file.write_text(json.dumps(report, indent=1, default=str))


if __name__ == '__main__':
    main()
