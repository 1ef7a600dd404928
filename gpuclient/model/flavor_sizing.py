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

"""The size of a flavor, from what hosts have for each of their devices.

A server gets for each device the share of a host that the device has: CPUs and
memory, without overcommitment, of the host that has the least. So all devices
of each host can be used.
"""

import collections.abc
import dataclasses
import math

from gpuclient import exceptions
from gpuclient.model import capacity
from gpuclient.model import catalogue
from gpuclient.model import host as host_model

#: The counts of a family.
COUNTS = (1, 2, 4, 8, 16)
CPU_POLICY = 'hw:cpu_policy'
NUMA_NODES = 'hw:numa_nodes'
PAGE_SIZE = 'hw:mem_page_size'
NUMA_POLICY = 'hw:pci_numa_affinity_policy'
ADDRESS_MODE = 'hw:maxphysaddr_mode'
ADDRESS_BITS = 'hw:maxphysaddr_bits'
_EMULATED = 'COMPUTE_ADDRESS_SPACE_EMULATED'
_HYPERTHREADING = 'HW_CPU_HYPERTHREADING'
#: Bits of a physical address of a guest for which no flavor asks.
DEFAULT_BITS = 40
#: The part of the address space that UEFI gives to devices (edk2,
#: OvmfPkg/Library/PlatformInitLib/MemDetect.c:PlatformDynamicMmioWindow).
_WINDOW = 8
#: What the small regions of a device need at most; sources often list only
#: the largest one.
_OTHERS = 64 << 20
_GIB = 1024
_MIB = 1 << 20
#: From so many devices of a host, and so many in a request, Placement
#: generates too many candidates by default (rules/cloud_capacity.py).
_WIDE = 8
_SEVERAL = 4
#: The root disk, if the hosts have as much for each device.
_DISK_GB = 80


@dataclasses.dataclass(frozen=True)
class HostShare:
    """A host with devices, and what it has for servers."""

    name: str
    #: Devices of the class, in use or not.
    devices: int
    #: Dedicated CPUs, or shared ones where it has none.
    cpus: int
    is_dedicated: bool
    memory_mb: int
    #: None if it has no local disk.
    disk_gb: int | None
    traits: frozenset[str] = frozenset()
    #: NUMA nodes; None if not known.
    numa_nodes: int | None = None
    #: Size of its largest huge pages in KiB and their memory in MiB; None if
    #: not known, 0 if it has none.
    page_kib: int | None = None
    pages_mb: int = 0
    #: Bits of a physical address that Nova knows; None if it does not.
    address_bits: int | None = None


@dataclasses.dataclass(frozen=True)
class Size:
    """The size of a flavor, with its extra specs."""

    vcpus: int
    #: MiB
    ram: int
    #: GiB
    disk: int
    extra_specs: dict[str, str]
    #: How many hosts have as many devices.
    hosts: int
    notes: tuple[str, ...] = ()


def share_of(
    host: capacity.HostCapacity,
    resource_class: str,
    traits: frozenset[str] = frozenset(),
    bundle: host_model.Host | None = None,
    numa_nodes: int | None = None,
    address_bits: int | None = None,
) -> HostShare | None:
    """Return what a host has; None if it has no device of a class.

    :param bundle: What the host says of itself.
    :param numa_nodes: Number of its NUMA nodes.
    :param address_bits: Bits of a physical address, as Nova knows them.
    """
    devices = sum(
        device.total or 0
        for device in host.devices
        if device.resource_class == resource_class
        and traits <= frozenset(device.traits)
    )
    if not devices:
        return None
    dedicated = _amount(host, 'PCPU')
    cpus = dedicated or _amount(host, 'VCPU') or 0
    page_kib, pages_mb = _pages(bundle)
    return HostShare(
        host.node.name,
        devices,
        cpus,
        bool(dedicated),
        _amount(host, 'MEMORY_MB') or 0,
        _amount(host, 'DISK_GB'),
        frozenset(host.node.traits),
        (bundle and len(bundle.nodes)) or numa_nodes,
        page_kib,
        pages_mb,
        address_bits,
    )


def _amount(host: capacity.HostCapacity, resource_class: str) -> int | None:
    """Return what servers can have together, without overcommitment."""
    resource = host.node.resource(resource_class)
    if resource is None:
        return None
    if resource.max_unit is None:
        return resource.capacity
    # Nova sets it to the physical amount.
    return min(resource.capacity, resource.max_unit)


def _pages(bundle: host_model.Host | None) -> tuple[int | None, int]:
    if bundle is None:
        return None, 0
    totals: dict[int, int] = {}
    for node in bundle.nodes:
        for pool in node.huge_pages:
            totals[pool.size_kib] = (
                totals.get(pool.size_kib, 0) + pool.total * pool.size_kib
            )
    used = {size: kib for size, kib in totals.items() if kib}
    if not used:
        return 0, 0
    size = max(used)
    return size, used[size] // 1024


def size(
    count: int,
    hosts: collections.abc.Collection[HostShare],
    model: catalogue.Model | None = None,
) -> Size:
    """Return the size of a flavor with a number of devices.

    :param hosts: All hosts with the devices.
    :param model: The model of the devices, if it is known.
    :raises gpuclient.exceptions.InvalidValue: No host has as many devices, or
        the hosts have no CPUs or memory for them.
    """
    able = [host for host in hosts if host.devices >= count]
    if not able:
        largest = max((host.devices for host in hosts), default=0)
        raise exceptions.InvalidValue(
            f'No host of this cloud has {count} of these devices: the most '
            f'that a host has is {largest}'
        )
    notes: list[str] = []
    specs: dict[str, str] = {}
    vcpus = min(_per_device(host.cpus, host) for host in hosts)
    if all(_HYPERTHREADING in host.traits for host in hosts) and vcpus > 1:
        # Whole cores.
        vcpus -= vcpus % 2
    memory = _memory(hosts, specs, notes)
    if vcpus < 1 or memory < 1:
        raise exceptions.InvalidValue(
            'A host has less than one CPU or 1 MiB of memory for each of its '
            'devices: specify --vcpus and --ram'
        )
    vcpus, memory = vcpus * count, memory * count
    nodes = _cpus_and_nodes(count, hosts, able, specs, notes)
    if nodes > 1:
        vcpus -= vcpus % nodes
        memory -= memory % (nodes * _GIB)
    specs |= _address_space(count, memory, able, model, notes)
    largest = max(host.devices for host in able)
    if model is not None and model.nvswitch and count not in (1, largest):
        notes.append(
            f'{count} GPUs of a board with NVSwitches need a partition of the '
            'fabric, which Fabric Manager activates on the host'
        )
    if count > _SEVERAL and largest >= _WIDE:
        notes.append(
            f'Placement generates a great many candidates for {count} of '
            f'{largest} devices: set its options as GPU670 says, or requests '
            'time out'
        )
    disk = _disk(count, hosts, notes)
    return Size(vcpus, memory, disk, specs, len(able), tuple(notes))


def _cpus_and_nodes(
    count: int,
    hosts: collections.abc.Collection[HostShare],
    able: collections.abc.Collection[HostShare],
    specs: dict[str, str],
    notes: list[str],
) -> int:
    """Set the policy of CPUs and NUMA nodes; return the number of nodes."""
    if all(host.is_dedicated for host in hosts):
        specs[CPU_POLICY] = 'dedicated'
    else:
        notes.append(
            'Not all hosts have dedicated CPUs ([compute]cpu_dedicated_set), '
            'so the flavor has shared ones'
        )
        if PAGE_SIZE not in specs:
            return 1
    specs[NUMA_POLICY] = 'preferred'
    nodes = _nodes(count, able, notes)
    if nodes > 1:
        specs[NUMA_NODES] = str(nodes)
    return nodes


def _per_device(amount: int, host: HostShare) -> int:
    return amount // host.devices


def _memory(
    hosts: collections.abc.Collection[HostShare],
    specs: dict[str, str],
    notes: list[str],
) -> int:
    """Return the memory of each device in MiB; set the size of pages."""
    memory = min(_per_device(host.memory_mb, host) for host in hosts)
    sizes = {host.page_kib for host in hosts}
    if None in sizes:
        notes.append(
            'Huge pages of hosts are not in any API: specify bundles of the '
            'hosts (--bundle) to use them'
        )
    elif len(sizes) == 1 and 0 not in sizes:
        (page_kib,) = sizes
        specs[PAGE_SIZE] = str(page_kib)
        memory = min(
            memory, *(_per_device(host.pages_mb, host) for host in hosts)
        )
    return memory - memory % _GIB if memory >= _GIB else memory


def _nodes(
    count: int, able: collections.abc.Collection[HostShare], notes: list[str]
) -> int:
    """Return the number of NUMA nodes of a guest.

    A guest with dedicated CPUs or huge pages has one by default, which must
    fit into one node of the host
    (``nova/virt/hardware.py:numa_get_constraints``).
    """
    known = [host for host in able if host.numa_nodes is not None]
    if len(known) < len(able):
        if count > 1:
            notes.append(
                'Nova does not know the NUMA nodes of all hosts. CPUs and '
                'memory of the flavor must fit into one node of a host: '
                'specify --host-numa-nodes, or bundles of the hosts '
                '(--bundle)'
            )
        return 1
    return max(
        math.ceil(count * (host.numa_nodes or 1) / host.devices)
        for host in known
    )


def _address_space(
    count: int,
    memory_mb: int,
    able: collections.abc.Collection[HostShare],
    model: catalogue.Model | None,
    notes: list[str],
) -> dict[str, str]:
    """Return the extra specs for the BARs of the devices."""
    if model is None or not model.bars:
        notes.append(
            'The BARs of the devices are not known, so the flavor asks for no '
            'physical address bits: specify --model'
        )
        return {}
    bits = address_bits(count, memory_mb, model)
    if bits <= DEFAULT_BITS:
        return {}
    limits = [host.address_bits for host in able if host.address_bits]
    if len(limits) < len(able) or not all(
        _EMULATED in host.traits for host in able
    ):
        # nova/scheduler/filters/compute_capabilities_filter.py
        notes.append(
            f'The BARs need {bits} physical address bits, but not all hosts '
            f'report how many they can give (cpu_info and the trait '
            f'{_EMULATED}): guests may find no addresses for them. Set '
            f'{ADDRESS_MODE}=passthrough if the hosts have '
            '[libvirt]cpu_mode = host-passthrough'
        )
        return {}
    if bits > min(limits):
        notes.append(
            f'The BARs need {bits} physical address bits, but the CPU of a '
            f'host has {min(limits)}'
        )
        bits = min(limits)
    return {ADDRESS_MODE: 'emulate', ADDRESS_BITS: str(bits)}


def address_bits(count: int, memory_mb: int, model: catalogue.Model) -> int:
    """Return the physical address bits that a guest needs.

    UEFI gives an eighth of the address space to devices; the rest must hold
    the memory.
    """
    bars = count * (
        _OTHERS + sum(bar.size for bar in model.bars if bar.prefetchable)
    )
    window = _WINDOW * bars
    both = 2 * (memory_mb * _MIB + bars)
    return max(1, window - 1, both - 1).bit_length()


def _disk(
    count: int,
    hosts: collections.abc.Collection[HostShare],
    notes: list[str],
) -> int:
    shares = [
        _per_device(host.disk_gb, host)
        for host in hosts
        if host.disk_gb is not None
    ]
    disk = min(_DISK_GB, min(shares) * count) if shares else 0
    if not disk:
        notes.append(
            'The flavor has no root disk: by default Nova lets only '
            'administrators boot it from an image, and others from a volume'
        )
    return disk
