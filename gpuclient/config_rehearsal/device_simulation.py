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

"""The PCI devices of a simulated host.

Device specs name addresses and IDs. Where a device spec leaves the address or
the IDs open, the devices are chosen here: IDs from the aliases, addresses from
what a server with several cards has.
"""

import collections.abc
import dataclasses
import itertools
import typing

from gpuclient.config_rehearsal import host_topology
from gpuclient.model import alias as alias_model
from gpuclient.model import catalogue
from gpuclient.model import configuration
from gpuclient.model import device_spec
from gpuclient.model import host as host_model
from gpuclient.rehearsal import api as rehearsal

#: Devices of each ID, where a device spec does not name an address.
DEVICES = 2
#: The most of them: each is on a bus of its own.
MOST_DEVICES = 64

#: From this bus on, devices are on NUMA node 1.
_BUS_OF_NODE_1 = 0x80

# A few cards on each half of the buses, as far apart as in a real server,
# then all other buses.
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

#: Product of a PF of which only the VFs are known.
_UNKNOWN_PRODUCT = 'ffff'

#: A device spec with the setting that it is from.
LocatedSpec: typing.TypeAlias = tuple[
    device_spec.DeviceSpec, configuration.Setting
]


@dataclasses.dataclass(frozen=True)
class UnsimulatedSpec:
    """A ``[pci]device_spec`` for which no device is simulated."""

    setting: configuration.Setting
    reason: str


def simulated_device(
    address: str, vendor_id: str, product_id: str, kind: str
) -> rehearsal.SimulatedDevice:
    """Return a device on the NUMA node of its bus.

    The parent of a type-VF is function 0 of its bus.
    """
    return rehearsal.SimulatedDevice(
        address=address,
        vendor_id=vendor_id,
        product_id=product_id,
        type=kind,
        numa_node=_numa_node(address),
        parent_address=_parent(address) if kind == 'type-VF' else None,
    )


def _numa_node(address: str) -> int:
    return int(int(address.split(':')[1], 16) >= _BUS_OF_NODE_1)


def _parent(address: str) -> str:
    return f'{address[: len("0000:00:")]}00.0'


def host_devices(
    devices: collections.abc.Iterable[rehearsal.SimulatedDevice],
) -> tuple[device_spec.HostDevice, ...]:
    """Return devices, with their VFs, as Nova sees them."""
    return tuple(
        device_spec.HostDevice(
            function.address,
            function.vendor_id,
            function.product_id,
            function.type,
            function.parent_address,
        )
        for device in devices
        for function in device.functions()
    )


def simulate(
    specs: collections.abc.Iterable[LocatedSpec],
    aliases: collections.abc.Sequence[alias_model.Alias],
    models: catalogue.Catalogue,
    given: collections.abc.Iterable[rehearsal.SimulatedDevice] = (),
    count: int = DEVICES,
    complete: bool = False,
) -> tuple[tuple[rehearsal.SimulatedDevice, ...], tuple[UnsimulatedSpec, ...]]:
    """Return the devices that device specs match.

    One device where a device spec names an address, otherwise ``count`` of
    each ID.

    :param aliases: Have the IDs that a device spec leaves open, and the types
        that the catalogue leaves open.
    :param models: The catalogue.
    :param given: Devices that the host has; a device spec that matches one of
        them gets no others.
    :param count: Devices of each ID, where no address is named.
    :param complete: The host has no other devices.
    :returns: Also the device specs for which devices are missing.
    """
    simulator = _Simulator(given, aliases, models, count)
    unsimulated: list[UnsimulatedSpec] = []
    for spec, setting in specs:
        if simulator.has_match(spec):
            continue
        reasons = (
            ['no device of the host matches it']
            if complete
            else simulator.add(spec)
        )
        unsimulated += [UnsimulatedSpec(setting, reason) for reason in reasons]
    return tuple(simulator.devices), tuple(unsimulated)


class _Simulator:
    """Adds devices to a host until each device spec matches some."""

    def __init__(
        self,
        devices: collections.abc.Iterable[rehearsal.SimulatedDevice],
        aliases: collections.abc.Sequence[alias_model.Alias],
        models: catalogue.Catalogue,
        count: int,
    ) -> None:
        self.devices = list(devices)
        self._aliases = aliases
        self._models = models
        self._count = count

    def has_match(self, spec: device_spec.DeviceSpec) -> bool:
        """Return whether a device spec matches a device of the host."""
        devices = host_devices(self.devices)
        spec = spec.on(device_spec.HostDevices(devices))
        return any(spec.matches(device) for device in devices)

    def add(self, spec: device_spec.DeviceSpec) -> list[str]:
        """Add devices that a device spec matches.

        :returns: Why devices are missing.
        """
        spec = spec.on(device_spec.HostDevices(host_devices(self.devices)))
        address = spec.address
        if address is None:
            return ['network interfaces are not simulated']
        ids = _ids(spec, self._aliases)
        if not ids:
            return [
                'its vendor and product IDs are unknown: describe the device '
                'with --device'
            ]
        if _is_single(address):
            ids = ids[:1]
        reasons = []
        for vendor_id, product_id in ids:
            kind = _type(vendor_id, product_id, self._aliases, self._models)
            devices = self._devices_of(
                spec, address, vendor_id, product_id, kind
            )
            if not devices:
                reasons.append(
                    f'it matches no free address for a {kind} device: '
                    'describe the device with --device'
                )
            self.devices += devices
        return reasons

    def _devices_of(
        self,
        spec: device_spec.DeviceSpec,
        address: device_spec.AddressPattern,
        vendor_id: str,
        product_id: str,
        kind: str,
    ) -> list[rehearsal.SimulatedDevice]:
        """Return new devices of an ID; none where no address is free.

        :param address: That of the device spec.
        """
        single = _is_single(address)
        text = str(address)
        if single and kind == 'type-VF' and text == _parent(text):
            # The address of a PF matches its VFs.
            return [
                rehearsal.SimulatedDevice(
                    address=text,
                    vendor_id=vendor_id,
                    product_id=_UNKNOWN_PRODUCT,
                    type='type-PF',
                    numa_node=_numa_node(text),
                    vfs=self._count,
                    vf_product_id=product_id,
                )
            ]
        taken = {device.address for device in host_devices(self.devices)}
        addresses = _free_addresses(
            spec, address, vendor_id, product_id, kind, taken
        )
        return [
            simulated_device(free, vendor_id, product_id, kind)
            for free in itertools.islice(
                addresses, 1 if single else self._count
            )
        ]


def _is_single(address: device_spec.AddressPattern) -> bool:
    """Return whether an address is that of one device, in any domain."""
    return not address.regex and device_spec.ANY not in address.fields[1:]


def _ids(
    spec: device_spec.DeviceSpec,
    aliases: collections.abc.Iterable[alias_model.Alias],
) -> list[tuple[str, str]]:
    """Return the vendor and product IDs that a device spec matches."""
    if device_spec.ANY not in (spec.vendor_id, spec.product_id):
        return [(spec.vendor_id, spec.product_id)]
    ids_of_aliases = {
        (alias.vendor_id.lower(), alias.product_id.lower()): None
        for alias in aliases
        if alias.vendor_id is not None and alias.product_id is not None
    }
    return [
        ids
        for ids in ids_of_aliases
        if spec.vendor_id in (device_spec.ANY, ids[0])
        and spec.product_id in (device_spec.ANY, ids[1])
    ]


def is_type_assumed(
    device: rehearsal.SimulatedDevice, models: catalogue.Catalogue
) -> bool:
    """Return whether the catalogue leaves the type of a device open."""
    return len(_types(device.vendor_id, device.product_id, models)) != 1


def _types(
    vendor_id: str, product_id: str, models: catalogue.Catalogue
) -> tuple[str, ...]:
    """Return the device types in the catalogue, the usual one first."""
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
    """Return the type that libvirt would report of a device.

    The type in the catalogue. Where a mode or the firmware decides, or the
    catalogue has no such model, the type that an alias with these IDs
    requests.
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


def _free_addresses(
    spec: device_spec.DeviceSpec,
    address: device_spec.AddressPattern,
    vendor_id: str,
    product_id: str,
    kind: str,
    taken: collections.abc.Container[str],
) -> collections.abc.Iterator[str]:
    """Yield free addresses at which a device spec matches a device.

    :param address: That of the device spec.
    """
    for free in _addresses(address, side_by_side=kind == 'type-VF'):
        parent = _parent(free) if kind == 'type-VF' else None
        device = device_spec.HostDevice(
            free, vendor_id, product_id, kind, parent
        )
        if free not in taken and free != parent and spec.matches(device):
            yield free


def _addresses(
    address: device_spec.AddressPattern, *, side_by_side: bool
) -> collections.abc.Iterator[str]:
    """Yield addresses that may match.

    :param side_by_side: Functions of one bus, as VFs are; otherwise each is
        on a bus of its own, as cards are.
    """

    def choices(field: str, every: tuple[str, ...]) -> tuple[str, ...]:
        return every if address.regex or field == device_spec.ANY else (field,)

    domains = choices(address.domain, ('0000', '0001'))
    buses = choices(address.bus, _BUSES)
    slots = choices(address.slot, _SLOTS)
    functions = choices(address.func, _FUNCTIONS)
    if side_by_side:
        for fields in itertools.product(domains, buses, slots, functions):
            yield '{}:{}:{}.{}'.format(*fields)
    else:
        for domain, function, slot, bus in itertools.product(
            domains, functions, slots, buses
        ):
            yield f'{domain}:{bus}:{slot}.{function}'


def of_host(
    host: host_model.Host,
) -> tuple[rehearsal.SimulatedDevice, ...]:
    """Return the devices of an inspected host, without bridges."""
    numbers = {
        node: number
        for number, node in enumerate(host_topology.numa_nodes(host))
    }
    return tuple(
        rehearsal.SimulatedDevice(
            address=str(device.address),
            vendor_id=device.vendor_id,
            product_id=device.product_id,
            type=device.device_type,
            numa_node=numbers.get(device.numa_node),
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
