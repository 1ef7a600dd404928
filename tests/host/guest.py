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


"""Runs in the guest: ``python -m tests.host.guest FILE``.

Writes, as JSON, what sysfs says in words of its own and, beside it, what our
reader and rules make of the host.
"""

import json
import os
import pathlib
import sys
import typing

_DEVICES = pathlib.Path('/sys/bus/pci/devices')
_GROUPS = pathlib.Path('/sys/kernel/iommu_groups')


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
    """Return what the kernel says, without our code."""
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
        'vfio': sorted(os.listdir('/dev/vfio'))
        if os.path.isdir('/dev/vfio')
        else [],
    }


def main(path: str) -> None:
    pathlib.Path(path).write_text(json.dumps({'raw': raw()}, indent=1))


if __name__ == '__main__':
    main(sys.argv[1])
