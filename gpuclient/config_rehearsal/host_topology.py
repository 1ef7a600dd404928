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

"""CPUs, memory and huge pages of a simulated host.

CPU sets name CPUs, reserved huge pages name NUMA nodes. What the configuration
leaves open is that of a common server: two NUMA nodes, 64 CPUs, 256 GiB.
"""

import collections.abc
import dataclasses
import re
import typing

from gpuclient import exceptions
from gpuclient.model import configuration
from gpuclient.model import cpu
from gpuclient.model import deployment
from gpuclient.model import host as host_model
from gpuclient.model import kernel
from gpuclient.rehearsal import api as rehearsal

_CPUS = 64
#: A CPU set beyond is a typing error, which Nova reports.
_MOST_CPUS = 1024
_NODE_MB = 131072
_NODES = 2
_MOST_NODES = 8


@dataclasses.dataclass(frozen=True)
class HostTopology:
    """CPUs and memory of a host."""

    #: One document of a cell for each NUMA node, in the format of a spec.
    numa: tuple[dict[str, typing.Any], ...]
    #: Whether unpinned servers find CPUs, and whether pinned ones do.
    shared: bool
    dedicated: bool


def of_compute(
    process: deployment.Process,
    devices: collections.abc.Iterable[rehearsal.SimulatedDevice] = (),
    settings: configuration.HostSettings | None = None,
    host: host_model.Host | None = None,
) -> HostTopology:
    """Return the topology of a host on which the options of a compute work.

    :param process: The nova-compute.
    :param devices: The devices of the host.
    :param settings: Of the host; its kernel arguments set the huge pages.
    :param host: The inspected host, where there is one: its nodes are used.
    """
    dedicated = _cpus(process.last('compute', 'cpu_dedicated_set'))
    shared = _cpus(process.last('compute', 'cpu_shared_set'))
    pinned = _cpus(process.last('DEFAULT', 'vcpu_pin_set'))
    nodes = {} if host is None else numa_nodes(host)
    if nodes:
        numa = [_inspected_cell(node) for node in nodes.values()]
    else:
        numa = _assumed_cells(
            process,
            devices,
            _pools(settings),
            highest_cpu=max(dedicated | shared | pinned, default=0),
        )
    return HostTopology(
        tuple(numa),
        shared=bool(shared) or not dedicated,
        dedicated=bool(dedicated or pinned),
    )


def numa_nodes(host: host_model.Host) -> dict[int | None, host_model.NumaNode]:
    """Return the NUMA nodes with CPUs and memory, by their numbers."""
    return {
        node.number: node
        for node in host.nodes
        if node.cpus and node.memory_kib
    }


def _inspected_cell(node: host_model.NumaNode) -> dict[str, typing.Any]:
    return {
        'cpus': cpu.render(node.cpus),
        'memory_mb': (node.memory_kib or 0) // cpu.KIB,
        'hugepages': [
            {'size_kb': pages.size_kib, 'total': pages.total}
            for pages in node.huge_pages
        ],
    }


def _assumed_cells(
    process: deployment.Process,
    devices: collections.abc.Iterable[rehearsal.SimulatedDevice],
    pools: collections.abc.Sequence[kernel.HugePagePool],
    highest_cpu: int,
) -> list[dict[str, typing.Any]]:
    reserved = [
        pages
        for setting in process.values('DEFAULT', 'reserved_huge_pages')
        for pages in _reserved_pages(setting.text)
    ]
    reserved_mb = _whole(process.last('DEFAULT', 'reserved_host_memory_mb'))
    count = max(
        [
            _NODES,
            *(pages.node + 1 for pages in reserved),
            *((device.numa_node or 0) + 1 for device in devices),
        ]
    )
    # An even number: the siblings of a core are on one node.
    cpus = -(-max(_CPUS, highest_cpu + 1) // (2 * count)) * 2
    cells = []
    for node in range(count):
        pages = _huge_pages(node, count, pools, reserved)
        huge_mb = sum(kib * total for kib, total in pages.items()) // cpu.KIB
        cells.append(
            {
                'cpus': f'{node * cpus}-{(node + 1) * cpus - 1}',
                'memory_mb': max(_NODE_MB, 2 * huge_mb, 2 * reserved_mb),
                'hugepages': [
                    {'size_kb': kib, 'total': total}
                    for kib, total in sorted(pages.items())
                ],
            }
        )
    return cells


def _pools(
    settings: configuration.HostSettings | None,
) -> tuple[kernel.HugePagePool, ...]:
    """Return the huge pages that kernel arguments allocate."""
    if settings is None or settings.kernel_arguments is None:
        return ()
    return kernel.parse(settings.kernel_arguments.text).huge_pages.pools


def _huge_pages(
    node: int,
    nodes: int,
    pools: collections.abc.Sequence[kernel.HugePagePool],
    reserved: collections.abc.Iterable[cpu.ReservedPages],
) -> dict[int, int]:
    """Return the number of huge pages of a node by their size in KiB."""
    pages = {pool.size // cpu.KIB: pool.on_node(node, nodes) for pool in pools}
    if pools:
        return pages
    for item in reserved:
        if item.node == node:
            # As many for the servers as are reserved for the host.
            kib = int(item.size_kib)
            pages[kib] = pages.get(kib, 0) + 2 * item.count
    return pages


def _cpus(setting: configuration.Setting | None) -> frozenset[int]:
    try:
        cpus = cpu.parse('' if setting is None else setting.text)
    except exceptions.InvalidCPUSet:
        # Nova reports it when it starts.
        return frozenset()
    return frozenset(number for number in cpus if number < _MOST_CPUS)


def _reserved_pages(text: str) -> list[cpu.ReservedPages]:
    try:
        pages = cpu.parse_reserved(text)
    except exceptions.InvalidHugePages:
        return []
    if (
        pages.node in range(_MOST_NODES)
        and pages.size_kib > 4
        and pages.count > 0
    ):
        return [pages]
    return []


def _whole(setting: configuration.Setting | None) -> int:
    text = '' if setting is None else setting.text
    return int(text) if re.fullmatch('[0-9]{1,9}', text) else 0
