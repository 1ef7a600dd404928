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

"""The spec of a rehearsal cloud.

It has the configuration of the control plane, and the configuration and the
hardware of the hosts. :mod:`gpuclient.rehearsal.spec_reader` reads it.
"""

import collections.abc
import dataclasses
import json
import re
import typing

from gpuclient import exceptions
from gpuclient.model import scheduler_filters

#: The name of a cloud or of a host.
NAME = re.compile(r'[A-Za-z0-9][A-Za-z0-9._-]{0,62}')
ADDRESS = re.compile(
    r'([0-9A-Fa-f]{4}):([0-9A-Fa-f]{2}):([01][0-9A-Fa-f])\.([0-7])'
)
#: The host of the services of the control plane.
CONTROLLER = 'controller'
#: Limits of ``--hosts`` and ``--gpus``.
MOST_HOSTS = 200
MOST_GPUS = 16

_A100 = {'vendor_id': '10de', 'product_id': '20f1'}
_ALIAS = {**_A100, 'device_type': 'type-PF', 'name': 'nvidia_a100'}


@dataclasses.dataclass(frozen=True)
class SimulatedDevice:
    """A simulated PCI device of a host."""

    #: ``0000:04:00.0``, lower case.
    address: str
    vendor_id: str
    product_id: str
    #: ``type-PCI``, ``type-PF`` or ``type-VF``, as libvirt reports it.
    type: str = 'type-PCI'
    numa_node: int | None = None
    #: Number of virtual functions of a type-PF.
    vfs: int = 0
    #: Product id of the virtual functions; the device's own by default.
    vf_product_id: str | None = None
    #: Address of the physical function of a type-VF.
    parent_address: str | None = None

    def functions(self) -> tuple['SimulatedDevice', ...]:
        """Return the device and its virtual functions."""
        domain, bus, slot, function = split(self.address)
        functions = [self]
        for number in range(1, self.vfs + 1):
            offset = slot * 8 + function + number
            functions.append(
                SimulatedDevice(
                    address=f'{domain:04x}:{bus:02x}:{offset // 8:02x}'
                    f'.{offset % 8}',
                    vendor_id=self.vendor_id,
                    product_id=self.vf_product_id or self.product_id,
                    type='type-VF',
                    numa_node=self.numa_node,
                    parent_address=self.address,
                )
            )
        return tuple(functions)


@dataclasses.dataclass(frozen=True)
class NUMACell:
    """A NUMA node of a host."""

    #: Its CPUs in ascending order.
    cpus: tuple[int, ...]
    memory_mb: int
    #: CPUs of a core: neighbors in :attr:`cpus` are siblings.
    threads: int = 2
    #: Number of pages of each size in KiB. The rest are 4 KiB pages.
    hugepages: tuple[tuple[int, int], ...] = ()


@dataclasses.dataclass(frozen=True)
class SimulatedHost:
    """A compute host."""

    #: The host of the compute service.
    name: str
    #: The name of the hypervisor in Nova and of its provider in Placement.
    hypervisor_hostname: str
    memory_mb: int
    disk_gb: int
    cells: tuple[NUMACell, ...]
    devices: tuple[SimulatedDevice, ...] = ()
    #: The user's texts for its nova.conf, a file each.
    config: tuple[str, ...] = ()

    @property
    def vcpus(self) -> int:
        """Number of CPUs."""
        return sum(len(cell.cpus) for cell in self.cells)


@dataclasses.dataclass(frozen=True)
class ServiceSpec:
    """A service of the control plane."""

    #: ``nova-api-1``, ``nova-conductor``, ``nova-conductor-2`` ...
    name: str
    #: The user's texts for its nova.conf, a file each.
    config: tuple[str, ...] = ()
    #: The host of the service; two services of a kind need two hosts.
    host: str = CONTROLLER
    #: What the template of a deployment tool sets; read before ``config``.
    template: str = ''


@dataclasses.dataclass(frozen=True)
class CloudSpec:
    """The whole cloud."""

    #: The endpoint in the catalog is that of the first.
    apis: tuple[ServiceSpec, ...]
    #: The cloud does not start without the first.
    conductors: tuple[ServiceSpec, ...]
    schedulers: tuple[ServiceSpec, ...]
    hosts: tuple[SimulatedHost, ...]
    #: Of a message broker, with its password; None for Unix sockets, which
    #: only services on this machine can use.
    transport_url: str | None = None

    @property
    def control_plane(self) -> tuple[ServiceSpec, ...]:
        """All services of Nova except nova-compute."""
        return (*self.conductors, *self.schedulers, *self.apis)

    def host(self, name: str) -> SimulatedHost:
        """Return the host with a name.

        :raises KeyError: There is none.
        """
        for host in self.hosts:
            if host.name == name:
                return host
        raise KeyError(name)


#: The filters of a nova-scheduler that the spec does not have; Nova's default
#: filters ignore devices.
SCHEDULER_TEMPLATE = (
    '[filter_scheduler]\nenabled_filters = '
    + ','.join(
        (
            *scheduler_filters.DEFAULT,
            scheduler_filters.NUMA,
            scheduler_filters.PCI,
        )
    )
    + '\n'
)


def default(hosts: int, gpus: int) -> dict[str, typing.Any]:
    """Return the document of ``--hosts`` and ``--gpus``.

    Each GPU is an NVIDIA A100 (``10de:20f1``, type-PF). Two GPUs are at
    0000:04:00.0 and 0000:82:00.0, on NUMA nodes 0 and 1.

    :raises InvalidValue: A number is out of range.
    """
    if not 1 <= hosts <= MOST_HOSTS:
        raise exceptions.InvalidValue(
            f'--hosts takes 1 to {MOST_HOSTS}, not {hosts}'
        )
    if not 0 <= gpus <= MOST_GPUS:
        raise exceptions.InvalidValue(
            f'--gpus takes 0 to {MOST_GPUS}, not {gpus}'
        )
    alias = f'alias = {json.dumps(_ALIAS)}\n'
    devices = [
        {'address': address, **_A100, 'type': 'type-PF', 'numa_node': node}
        for address, node in _places(gpus)
    ]
    device_specs = ''.join(
        'device_spec = '
        + json.dumps({**_A100, 'address': device['address']})
        + '\n'
        for device in devices
    )
    return {
        'control_plane': {
            'config': '[filter_scheduler]\npci_in_placement = True\n',
            'api': [{'config': f'[pci]\n{alias}'}],
        },
        'hosts': [
            {
                'name': f'edpm-compute-{number}',
                'hypervisor_hostname': (
                    f'edpm-compute-{number}.ctlplane.example.com'
                ),
                'devices': devices,
                'config': (
                    f'[pci]\nreport_in_placement = True\n{device_specs}{alias}'
                ),
            }
            for number in range(hosts)
        ],
    }


def split(address: str) -> tuple[int, int, int, int]:
    """Return domain, bus, slot and function of an address."""
    match = ADDRESS.fullmatch(address)
    if match is None:
        raise ValueError(address)
    domain, bus, slot, function = (int(part, 16) for part in match.groups())
    return domain, bus, slot, function


def _places(gpus: int) -> collections.abc.Iterator[tuple[str, int]]:
    """Yield the address and the NUMA node of each GPU of a host."""
    if gpus == 2:
        yield from (('0000:04:00.0', 0), ('0000:82:00.0', 1))
        return
    for number in range(gpus):
        bus = 0x04 + number * (0xF0 // MOST_GPUS)
        yield f'0000:{bus:02x}:00.0', number * 2 // gpus
