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

"""The host that a compute's configuration is about, as far as it tells.

Device specs name addresses and ids, CPU sets name CPUs, reserved pages name
NUMA nodes. What they leave open is filled in with a common server: two NUMA
nodes, 64 CPUs, 256 GiB.
"""

import collections.abc
import dataclasses
import itertools
import re
import typing

from gpuclient import exceptions
from gpuclient.model import alias as alias_model
from gpuclient.model import catalogue
from gpuclient.model import configuration
from gpuclient.model import cpu
from gpuclient.model import deployment
from gpuclient.model import device_spec
from gpuclient.model import host as host_model
from gpuclient.model import kernel
from gpuclient.model import pci
from gpuclient.rehearsal import api as rehearsal

#: Devices of each id, where a device spec does not name an address.
DEVICES = 2
#: Most of them that one bus number each leaves room for.
MOST_DEVICES = 64

_CPUS = 64
#: A CPU beyond is a typing error, and Nova says so.
_MOST_CPUS = 1024
_NODE_MB = 131072
_NODES = 2
_MOST_NODES = 8
_NUMA_NODE_OF_BUS = 0x80

# A few cards of each half of the buses, as far apart as in a real server,
# then whatever is left.
_BUSES = tuple(
    f'{bus:02x}'
    for bus in dict.fromkeys(
        (
            *itertools.chain.from_iterable(
                (0x04 + step, 0x82 + step) for step in range(0, 0x78, 15)
            ),
            *range(1, 256),
            0,
        )
    )
)
_SLOTS = tuple(f'{slot:02x}' for slot in range(32))
_FUNCTIONS = tuple(str(function) for function in range(8))

#: Product of a PF that only its VFs are known of.
_UNKNOWN = 'ffff'

_DEVICE = re.compile(
    r'(?P<host>[^=]+)=(?P<address>[^,]+),'
    r'(?P<vendor_id>[0-9A-Fa-f]{4}):(?P<product_id>[0-9A-Fa-f]{4})'
    r'(?:,(?P<type>type-PCI|type-PF|type-VF)(?:,(?P<numa_node>\d{1,2}))?)?'
)

Entry: typing.TypeAlias = tuple[device_spec.DeviceSpec, configuration.Setting]


@dataclasses.dataclass(frozen=True)
class Unknown:
    """An entry of ``[pci]device_spec`` that no device was made for."""

    setting: configuration.Setting
    reason: str


def parse_device(text: str) -> tuple[str, rehearsal.SimulatedDevice]:
    """Return the host and the device of ``--device``.

    ``HOST=ADDRESS,VENDOR:PRODUCT[,TYPE[,NUMA NODE]]``; the parent of a
    type-VF is function 0 of its bus.

    :raises gpuclient.exceptions.InvalidValue: It is none.
    """
    match = _DEVICE.fullmatch(text)
    if match is None:
        raise exceptions.InvalidValue(
            f'{text!r} is not a device: write '
            'HOST=ADDRESS,VENDOR:PRODUCT[,TYPE[,NUMA NODE]], for example '
            'edpm-compute-0=0000:04:00.0,10de:20f1,type-PF,0'
        )
    address = str(pci.parse_address(match['address']))
    kind = match['type'] or 'type-PCI'
    return match['host'], rehearsal.SimulatedDevice(
        address=address,
        vendor_id=match['vendor_id'].lower(),
        product_id=match['product_id'].lower(),
        type=kind,
        numa_node=(
            _numa_node(address)
            if match['numa_node'] is None
            else int(match['numa_node'])
        ),
        parent_address=_parent(address) if kind == 'type-VF' else None,
    )


def _numa_node(address: str) -> int:
    return int(int(address.split(':')[1], 16) >= _NUMA_NODE_OF_BUS)


def _parent(address: str) -> str:
    return f'{address[: len("0000:00:")]}00.0'


def _is_parent(entry: device_spec.DeviceSpec) -> bool:
    """Return whether an entry names function 0, for the VFs that it has."""
    address = str(entry.address)
    return entry.address is not None and address == _parent(address)


def host_devices(
    devices: collections.abc.Iterable[rehearsal.SimulatedDevice],
) -> tuple[device_spec.HostDevice, ...]:
    """Return devices, VFs and all, as Nova sees them."""
    return tuple(
        device_spec.HostDevice(
            one.address,
            one.vendor_id,
            one.product_id,
            one.type,
            one.parent_address,
        )
        for device in devices
        for one in device.functions()
    )


def simulate(
    entries: collections.abc.Sequence[Entry],
    aliases: collections.abc.Sequence[alias_model.Alias],
    models: catalogue.Catalogue,
    given: collections.abc.Sequence[rehearsal.SimulatedDevice] = (),
    count: int = DEVICES,
    complete: bool = False,
) -> tuple[tuple[rehearsal.SimulatedDevice, ...], tuple[Unknown, ...]]:
    """Return the devices that device specs are about.

    One where an entry names an address, otherwise some of each id.

    :param aliases: Tell ids that an entry leaves open, and the types of
        devices that the catalogue leaves open.
    :param models: The catalogue.
    :param given: Devices that the host is known to have; an entry that is
        about one of them gets no others.
    :param count: Devices of each id, where no address is named.
    :param complete: The host has no others.
    """
    devices = list(given)
    unknown: list[Unknown] = []
    for entry, setting in entries:
        present = host_devices(devices)
        entry = entry.on(device_spec.Host(present))
        if any(entry.matches(one) for one in present):
            continue
        if complete:
            unknown.append(
                Unknown(setting, 'no device of the host matches it')
            )
            continue
        if entry.address is None:
            unknown.append(
                Unknown(setting, 'network interfaces are not simulated')
            )
            continue
        ids = _ids(entry, aliases)
        if not ids:
            unknown.append(
                Unknown(
                    setting,
                    'nothing tells its ids: describe it with --device',
                )
            )
        # Whatever the domain is, it is one device.
        single = not entry.address.regex and (
            device_spec.ANY not in entry.address.fields[1:]
        )
        for vendor_id, product_id in ids[:1] if single else ids:
            kind = _type(vendor_id, product_id, aliases, models)
            taken = {one.address for one in host_devices(devices)}
            if single and kind == 'type-VF' and _is_parent(entry):
                devices.append(
                    rehearsal.SimulatedDevice(
                        address=_parent(str(entry.address)),
                        vendor_id=vendor_id,
                        product_id=_UNKNOWN,
                        type='type-PF',
                        numa_node=_numa_node(str(entry.address)),
                        vfs=count,
                        vf_product_id=product_id,
                    )
                )
                continue
            found = [
                rehearsal.SimulatedDevice(
                    address=address,
                    vendor_id=vendor_id,
                    product_id=product_id,
                    type=kind,
                    numa_node=_numa_node(address),
                    parent_address=(
                        _parent(address) if kind == 'type-VF' else None
                    ),
                )
                for address in itertools.islice(
                    _addresses(entry, vendor_id, product_id, kind, taken),
                    1 if single else count,
                )
            ]
            if not found:
                unknown.append(
                    Unknown(
                        setting,
                        (
                            f'no free address for a {kind} fits it: '
                            'describe it with --device'
                        ),
                    )
                )
            devices += found
    return tuple(devices), tuple(unknown)


def _ids(
    entry: device_spec.DeviceSpec,
    aliases: collections.abc.Iterable[alias_model.Alias],
) -> list[tuple[str, str]]:
    """Return the ids that an entry is about."""
    if device_spec.ANY not in (entry.vendor_id, entry.product_id):
        return [(entry.vendor_id, entry.product_id)]
    found = {
        (alias.vendor_id.lower(), alias.product_id.lower()): None
        for alias in aliases
        if alias.vendor_id is not None and alias.product_id is not None
    }
    return [
        ids
        for ids in found
        if entry.vendor_id in (device_spec.ANY, ids[0])
        and entry.product_id in (device_spec.ANY, ids[1])
    ]


def is_assumed(
    device: rehearsal.SimulatedDevice, models: catalogue.Catalogue
) -> bool:
    """Return whether an alias, or nothing, told the type of a device."""
    return len(_types(device.vendor_id, device.product_id, models)) != 1


def _types(
    vendor_id: str, product_id: str, models: catalogue.Catalogue
) -> tuple[str, ...]:
    """Return the device types that the catalogue has, the usual first."""
    return tuple(
        dict.fromkeys(
            kind
            for model in models.by_ids(vendor_id, product_id)
            for kind in model.device_types
        )
    )


def _type(
    vendor_id: str,
    product_id: str,
    aliases: collections.abc.Iterable[alias_model.Alias],
    models: catalogue.Catalogue,
) -> str:
    """Return what libvirt would say of a device.

    What the catalogue knows; where a mode or the firmware decides, or it
    knows nothing, what an alias with these ids takes it for.
    """
    known = _types(vendor_id, product_id, models)
    if len(known) == 1:
        return known[0]
    for alias in aliases:
        if (
            alias.device_type is not None
            and (alias.vendor_id or '').lower() in ('', vendor_id)
            and (alias.product_id or '').lower() in ('', product_id)
            and (not known or alias.device_type in known)
        ):
            return alias.device_type
    return known[0] if known else 'type-PCI'


def _addresses(
    entry: device_spec.DeviceSpec,
    vendor_id: str,
    product_id: str,
    kind: str,
    taken: collections.abc.Container[str],
) -> collections.abc.Iterator[str]:
    """Yield free addresses that an entry matches a device at."""
    address = entry.address
    if address is None:
        return

    def choices(field: str, every: tuple[str, ...]) -> tuple[str, ...]:
        return every if address.regex or field == device_spec.ANY else (field,)

    domains = choices(address.domain, ('0000', '0001'))
    buses = choices(address.bus, _BUSES)
    slots = choices(address.slot, _SLOTS)
    functions = choices(address.func, _FUNCTIONS)
    # Cards sit on buses of their own, VFs side by side.
    places = (
        (
            (domain, bus, slot, function)
            for domain in domains
            for bus in buses
            for slot in slots
            for function in functions
        )
        if kind == 'type-VF'
        else (
            (domain, bus, slot, function)
            for domain in domains
            for function in functions
            for slot in slots
            for bus in buses
        )
    )
    for domain, bus, slot, function in places:
        text = f'{domain}:{bus}:{slot}.{function}'
        parent = _parent(text) if kind == 'type-VF' else None
        if text in taken or text == parent:
            continue
        if entry.matches(
            device_spec.HostDevice(text, vendor_id, product_id, kind, parent)
        ):
            yield text


def of_host(host: host_model.Host) -> tuple[rehearsal.SimulatedDevice, ...]:
    """Return the devices that a host has, but for bridges."""
    nodes = {node: number for number, node in enumerate(_nodes(host))}
    return tuple(
        rehearsal.SimulatedDevice(
            address=str(device.address),
            vendor_id=device.vendor_id,
            product_id=device.product_id,
            type=device.device_type,
            numa_node=nodes.get(device.numa_node),
            parent_address=(
                None
                if device.physical_function is None
                else str(device.physical_function)
            ),
        )
        for device in host.devices
        if device.vendor_id is not None
        and device.product_id is not None
        and not device.is_bridge
    )


def _nodes(host: host_model.Host) -> dict[int | None, host_model.Node]:
    """Return the NUMA nodes that have CPUs and memory, by their numbers."""
    return {
        node.number: node
        for node in host.nodes
        if node.cpus and node.memory_kib
    }


@dataclasses.dataclass(frozen=True)
class Size:
    """CPUs and memory of a host."""

    numa: tuple[dict[str, typing.Any], ...]
    #: Unpinned servers find CPUs there, pinned servers do.
    shared: bool
    dedicated: bool


def size(
    service: deployment.Process,
    devices: collections.abc.Iterable[rehearsal.SimulatedDevice] = (),
    settings: configuration.HostSettings | None = None,
    host: host_model.Host | None = None,
) -> Size:
    """Return a host that the options of its compute fit on.

    :param service: What the compute reads.
    :param settings: Its kernel arguments say which huge pages it has.
    :param host: What the host itself says that it has.
    """
    dedicated = _cpus(service.last('compute', 'cpu_dedicated_set'))
    shared = _cpus(service.last('compute', 'cpu_shared_set'))
    old = _cpus(service.last('DEFAULT', 'vcpu_pin_set'))
    reserved = [
        pages
        for setting in service.values('DEFAULT', 'reserved_huge_pages')
        for pages in _reserved(setting.text)
    ]
    pools: tuple[kernel.HugePagePool, ...] = ()
    if settings is not None and settings.kernel_arguments is not None:
        arguments = kernel.parse(settings.kernel_arguments.text)
        pools = arguments.huge_pages.pools
    own_mb = _whole(service.last('DEFAULT', 'reserved_host_memory_mb'))
    nodes = max(
        [
            _NODES,
            *(pages.node + 1 for pages in reserved),
            *((device.numa_node or 0) + 1 for device in devices),
        ]
    )
    highest = max(dedicated | shared | old, default=0)
    each = -(-max(_CPUS, highest + 1) // (2 * nodes)) * 2
    numa = []
    for node in range(nodes):
        pages = {
            pool.size // cpu.KIB: pool.on_node(node, nodes) for pool in pools
        }
        for one in [] if pools else reserved:
            # As many again for the servers.
            if one.node == node:
                kib = int(one.size_kib)
                pages[kib] = pages.get(kib, 0) + 2 * one.count
        huge_mb = sum(kib * total for kib, total in pages.items()) // 1024
        memory = max(
            _NODE_MB,
            2 * huge_mb,
            2 * own_mb,
        )
        numa.append(
            {
                'cpus': f'{node * each}-{(node + 1) * each - 1}',
                'memory_mb': memory,
                'hugepages': [
                    {'size_kb': kib, 'total': total}
                    for kib, total in sorted(pages.items())
                ],
            }
        )
    if host is not None and _nodes(host):
        numa = [_as_it_is(node) for node in _nodes(host).values()]
    return Size(
        tuple(numa),
        shared=bool(shared) or not dedicated,
        dedicated=bool(dedicated or old),
    )


def _as_it_is(node: host_model.Node) -> dict[str, typing.Any]:
    return {
        'cpus': cpu.render(node.cpus),
        'memory_mb': (node.memory_kib or 0) // cpu.KIB,
        'hugepages': [
            {'size_kb': pages.size_kib, 'total': pages.total}
            for pages in node.huge_pages
        ],
    }


def _cpus(setting: configuration.Setting | None) -> frozenset[int]:
    try:
        found = cpu.parse('' if setting is None else setting.text)
    except exceptions.InvalidCPUSet:
        # Nova says so when it starts.
        return frozenset()
    return frozenset(number for number in found if number < _MOST_CPUS)


def _reserved(text: str) -> list[cpu.ReservedPages]:
    try:
        found = cpu.parse_reserved(text)
    except exceptions.InvalidHugePages:
        return []
    if (
        found.node in range(_MOST_NODES)
        and found.size_kib > 4
        and found.count > 0
    ):
        return [found]
    return []


def _whole(setting: configuration.Setting | None) -> int:
    text = '' if setting is None else setting.text
    return int(text) if re.fullmatch('[0-9]{1,9}', text) else 0
