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

"""Whether the NUMA topology of a server can fit the nodes of a host at all.

Nova fits each node of the guest into another node of the host, with its CPUs
and memory pages, and requests devices of these nodes
(``nova/virt/hardware.py:numa_fit_instance_to_host``,
``nova/pci/stats.py:PciDeviceStats._filter_pools_for_numa_cells``). A host
bundle shows the size of the nodes, not what servers use of them: what does not
fit an empty host is known, and the rest is not.
"""

import collections.abc
import dataclasses
import itertools
import re

from gpuclient.model import alias as alias_model
from gpuclient.model import boot_validation
from gpuclient.model import capacity
from gpuclient.model import cpu
from gpuclient.model import demand as demand_model
from gpuclient.model import flavor as flavor_model
from gpuclient.model import host as host_model
from gpuclient.model import pci

_SIZE = re.compile(r'([0-9]+)(K|M|G)i?B')
_KIB = {'K': 1, 'M': 1024, 'G': 1024**2}
#: Orders of nodes that are tried.
_ORDERS = 5000


@dataclasses.dataclass(frozen=True)
class GuestNode:
    """A NUMA node of a server."""

    cpus: int
    #: Those of them that are pinned, and one for emulator threads.
    pinned: int
    #: MiB.
    memory: int


@dataclasses.dataclass(frozen=True)
class GuestTopology:
    """The NUMA topology of a server."""

    nodes: tuple[GuestNode, ...]
    #: ``large``, or a size in KiB; None if no huge pages are requested.
    pages: str | int | None

    def __str__(self) -> str:
        count = len(self.nodes)
        return f'NUMA topology of {count} node{"" if count == 1 else "s"}'


def topology(flavor: flavor_model.Flavor) -> GuestTopology | None:
    """Return the topology of servers of a flavor that Nova accepts.

    :param flavor: Together with the image, see
        :func:`gpuclient.model.image.merge`.
    :returns: None if servers have none.
    """
    if not boot_validation.validate(flavor).has_topology:
        return None
    specs = flavor.extra_specs or {}
    count = int(specs.get('hw:numa_nodes') or 1)
    sets = [
        cpu.parse(specs[f'hw:numa_cpus.{node}'])
        if f'hw:numa_cpus.{node}' in specs
        else frozenset(
            range(
                node * flavor.vcpus // count,
                (node + 1) * flavor.vcpus // count,
            )
        )
        for node in range(count)
    ]
    pinned = _pinned(flavor, specs)
    isolated = specs.get('hw:emulator_threads_policy') == 'isolate'
    return GuestTopology(
        tuple(
            GuestNode(
                len(cpus),
                len(cpus & pinned) + (isolated and bool(pinned) and not node),
                int(specs.get(f'hw:numa_mem.{node}') or flavor.ram // count),
            )
            for node, cpus in enumerate(sets)
        ),
        _pages(specs.get('hw:mem_page_size')),
    )


def _pinned(
    flavor: flavor_model.Flavor, specs: boot_validation.Specs
) -> frozenset[int]:
    policy = boot_validation.validate(flavor).cpu_policy
    if policy == 'dedicated':
        return frozenset(range(flavor.vcpus))
    if policy == 'mixed':
        return boot_validation.dedicated_cpus(flavor, specs)
    return frozenset()


def _pages(text: str | None) -> str | int | None:
    if text in (None, '', 'any', 'small'):
        return None
    if text == 'large' or text is None:
        return 'large'
    match = _SIZE.fullmatch(text)
    if match is not None:
        return int(match[1]) * _KIB[match[2]]
    return int(text) if text.isdigit() else None


def obstacle(
    guest: GuestTopology,
    wanted: demand_model.Demand,
    aliases: collections.abc.Mapping[str, alias_model.Alias],
    policy: str | None,
    host: capacity.HostCapacity,
    hardware: host_model.Host,
    dedicated: frozenset[int] | None,
) -> str:
    """Return why a topology does not fit a host, even an empty one.

    :param policy: The NUMA policy of the flavor or the image, which overrides
        that of aliases.
    :param hardware: The host, from a bundle.
    :param dedicated: ``[compute]cpu_dedicated_set``; None where not known.
    :returns: Empty if it may fit.
    """
    nodes = hardware.nodes
    if not nodes:
        return ''
    if len(nodes) < len(guest.nodes):
        return f'{len(nodes)} NUMA node{"" if len(nodes) == 1 else "s"}'
    orders = itertools.islice(
        itertools.permutations(nodes, len(guest.nodes)), _ORDERS
    )
    fitting = [
        order
        for order in orders
        if all(
            not _lack(cell, node, guest.pages, dedicated)
            for cell, node in zip(guest.nodes, order, strict=True)
        )
    ]
    if not fitting:
        largest = max(guest.nodes, key=lambda cell: (cell.memory, cell.cpus))
        return (
            '; '.join(
                dict.fromkeys(
                    f'node {node.number}: {lack}'
                    for node in nodes
                    if (lack := _lack(largest, node, guest.pages, dedicated))
                )
            )
            or 'its nodes differ from those of the server'
        )
    lacks = []
    for request in wanted.devices:
        alias = aliases.get(request.name)
        if alias is None:
            continue
        lack = _lacking_devices(
            request, policy or alias.policy, fitting, host, hardware
        )
        if not lack:
            continue
        lacks.append(lack)
    return '; '.join(lacks)


def _lack(
    cell: GuestNode,
    node: host_model.NumaNode,
    pages: str | int | None,
    dedicated: frozenset[int] | None,
) -> str:
    """Return what a node of a host lacks for one of a server."""
    if cell.cpus > len(node.cpus):
        return f'{len(node.cpus)} CPUs of {cell.cpus}'
    if cell.pinned and dedicated is not None:
        count = len(dedicated & node.cpus)
        if cell.pinned > count:
            return f'{count} dedicated CPUs of {cell.pinned}'
    if pages is not None:
        memory = max(
            (
                pool.total * pool.size_kib // 1024
                for pool in node.huge_pages
                if pages in ('large', pool.size_kib)
            ),
            default=0,
        )
        if cell.memory > memory:
            return f'{memory} MiB of huge pages of {cell.memory}'
    elif node.memory_kib is not None and (
        cell.memory > node.memory_kib // 1024
    ):
        return f'{node.memory_kib // 1024} MiB of {cell.memory}'
    return ''


def _lacking_devices(
    request: demand_model.DeviceRequest,
    policy: str,
    orders: collections.abc.Sequence[tuple[host_model.NumaNode, ...]],
    host: capacity.HostCapacity,
    hardware: host_model.Host,
) -> str:
    """Return why free devices are on other nodes than a server can use."""
    if policy not in ('required', 'legacy'):
        return ''
    free: dict[int | None, int] = {}
    for device in host.devices:
        if not capacity.matches(device, request):
            continue
        known = (
            None
            if device.address is None
            else hardware.device(pci.parse_address(device.address))
        )
        if known is None:
            return ''
        free[known.numa_node] = free.get(known.numa_node, 0) + (
            device.free or 0
        )
    most = max(
        sum(free.get(node.number, 0) for node in order)
        + (free.get(None, 0) if policy == 'legacy' else 0)
        for order in orders
    )
    needed = request.count * request.units
    if most >= needed:
        return ''
    return f'{most} of {needed} devices of {request.name} on its nodes'
