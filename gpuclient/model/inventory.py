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

"""PCI devices in Placement, and the servers that hold them."""

import collections
import collections.abc
import dataclasses
import re

from gpuclient import exceptions
from gpuclient.model import alias as alias_model
from gpuclient.model import flavor as flavor_model
from gpuclient.model import pci

#: Consumer type of the allocations of a server.
INSTANCE = 'INSTANCE'
#: Consumer type that holds the devices of the source host while a server
#: moves (nova/conductor/tasks/migrate.py:replace_allocation_with_migration).
MIGRATION = 'MIGRATION'
#: Traits of each PCI device
#: (``nova/compute/pci_placement_translator.py:_get_traits_for_dev``).
OF_EACH = ('COMPUTE_MANAGED_PCI_DEVICE', 'OWNER_NOVA')
#: Number of candidates that an error message lists.
_CANDIDATES = 20

# <hypervisor hostname>_0000:82:00.0 of a PCI device
# (nova/compute/pci_placement_translator.py:_get_rp_name_for_address), or
# <hypervisor hostname>_pci_0000_82_00_0 of a device with mediated
# devices (nova/virt/libvirt/driver.py:_ensure_pgpu_providers).
_PROVIDER_NAME = re.compile(
    r'(?P<host>.+)_'
    r'(?:(?P<address>[0-9A-F]{4}:[0-9A-F]{2}:[0-9A-F]{2}\.[0-7])'
    r'|pci_(?P<mediated>[0-9a-f]{4}_[0-9a-f]{2}_[0-9a-f]{2}_[0-7]))',
    re.ASCII | re.IGNORECASE | re.DOTALL,
)


@dataclasses.dataclass(frozen=True)
class Consumer:
    """A consumer of units of a device: a server or a migration."""

    #: Consumer id; the id of the server or of the migration record.
    uuid: str
    #: Units of the resource class of the device.
    amount: int
    project_id: str | None = None
    user_id: str | None = None
    #: Placement's consumer type, ``INSTANCE`` or ``MIGRATION``; ``unknown``
    #: for consumers older than microversion 1.38, None if not read.
    consumer_type: str | None = None
    #: Name of the server; None if Nova does not return it to this user.
    name: str | None = None
    #: Whether Nova does not have the server; None where it is not known.
    orphaned: bool | None = None


@dataclasses.dataclass(frozen=True)
class Device:
    """A PCI device that nova-compute reports as a resource provider.

    Nova creates one provider for each type-PCI or type-PF device, and one for
    all VFs of a PF (``nova/compute/pci_placement_translator.py``).
    """

    #: Id of the resource provider.
    uuid: str
    #: Name of the resource provider, ``<hypervisor hostname>_<ADDRESS>``.
    name: str
    #: Id of the root provider, which is the compute node.
    root_uuid: str
    #: Hypervisor hostname: the name of the root provider.
    host: str
    #: PCI address, lower case: ``0000:04:00.0``. None if the name of the
    #: provider does not contain one.
    address: str | None
    #: None if the provider has no inventory.
    resource_class: str | None = None
    #: Units in the inventory: 1 for a whole device, the VFs of a PF.
    total: int | None = None
    #: Units that may not be allocated.
    reserved: int | None = None
    #: Units that consumers hold.
    used: int | None = None
    #: Sorted.
    traits: tuple[str, ...] = ()
    #: None if not read.
    consumers: tuple[Consumer, ...] | None = None

    @property
    def free(self) -> int | None:
        """Units that are free to allocate, never below zero.

        The allocation ratio of PCI inventories is always 1.0
        (``pci_placement_translator.py:PciResourceProvider.update_provider_tree``).
        """
        if self.total is None or self.reserved is None or self.used is None:
            return None
        return max(0, self.total - self.reserved - self.used)


@dataclasses.dataclass(frozen=True)
class Resource:
    """The inventory of a host of one resource class, without its devices."""

    #: ``VCPU``, ``PCPU``, ``MEMORY_MB``, ``DISK_GB`` or any other class that
    #: the root provider has an inventory of.
    resource_class: str
    #: Units that can be allocated in total: total less reserved, times the
    #: allocation ratio, rounded down
    #: (``placement/objects/inventory.py:Inventory.capacity``).
    capacity: int
    #: Units that consumers hold.
    used: int
    #: Minimum, maximum and granularity of an allocation, if they were read;
    #: Nova sets the maximum to the physical amount of the host.
    min_unit: int = 1
    max_unit: int | None = None
    step_size: int = 1

    @property
    def free(self) -> int:
        """Units that are free to allocate, never below zero."""
        return max(0, self.capacity - self.used)

    def fits(self, amount: int) -> int:
        """Return how many more allocations of an amount above zero fit.

        ``placement/objects/allocation.py:_check_capacity_exceeded``
        """
        if (
            amount < self.min_unit
            or (self.max_unit is not None and amount > self.max_unit)
            or amount % self.step_size
        ):
            return 0
        return self.free // amount


@dataclasses.dataclass(frozen=True)
class ComputeProvider:
    """The root provider of a compute node that reports PCI devices."""

    #: Id of the root provider.
    uuid: str
    #: Hypervisor hostname, which is the name of the root provider.
    name: str
    #: By resource class, sorted; None if not read. Resources of sharing
    #: providers are not among them.
    resources: tuple[Resource, ...] | None = None
    #: Of the root provider, sorted; empty if not read.
    traits: tuple[str, ...] = ()

    def resource(self, resource_class: str) -> Resource | None:
        """Return the inventory of a class; None if there is none."""
        for resource in self.resources or ():
            if resource.resource_class == resource_class:
                return resource
        return None


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """The devices of a cloud, and their hosts."""

    #: Sorted by host and address.
    devices: tuple[Device, ...]
    #: Each host with a device, sorted by name.
    hosts: tuple[ComputeProvider, ...]


@dataclasses.dataclass(frozen=True)
class Server:
    """A Nova server."""

    uuid: str
    name: str
    status: str
    project_id: str | None
    user_id: str | None
    #: Service host, ``OS-EXT-SRV-ATTR:host``; None if policy hides it.
    service_host: str | None
    #: Hypervisor hostname, ``OS-EXT-SRV-ATTR:hypervisor_hostname``; None if
    #: policy hides it.
    host: str | None
    #: Name of the flavor that it booted with.
    flavor_name: str | None = None
    #: Extra specs of the flavor that it booted with; None if policy hides
    #: them.
    extra_specs: dict[str, str] | None = None
    #: The flavor that it booted with; None if Nova does not return it whole.
    flavor: flavor_model.Flavor | None = None
    #: What Nova does with it, ``resize_prep``; None if nothing.
    task_state: str | None = None


@dataclasses.dataclass(frozen=True)
class Totals:
    """The sums of units of several devices."""

    total: int
    reserved: int
    used: int
    free: int


@dataclasses.dataclass(frozen=True)
class NamedObject:
    """A kind of object that a name refers to, and its devices."""

    #: ``device``, ``host``, ``resource class`` or ``alias``.
    kind: str
    devices: tuple[Device, ...]


def split_provider_name(name: str) -> tuple[str | None, str | None]:
    """Return hypervisor hostname and device address of a provider's name.

    :returns: Both None for a name without an address. The address is in lower
        case, ``0000:82:00.0``, for either form of the name.
    """
    match = _PROVIDER_NAME.fullmatch(name)
    if match is None:
        return None, None
    text = match['address']
    if text is None:
        domain, bus, slot, function = match['mediated'].split('_')
        text = f'{domain}:{bus}:{slot}.{function}'
    try:
        return match['host'], str(pci.parse_address(text))
    except exceptions.InvalidAddress:
        return None, None


def provider_address(provider_name: str, host: str) -> str | None:
    """Return the address of a device, from the name of its provider.

    :param host: Hypervisor hostname of its compute node.
    :returns: None if the name is not that of a device of this host.
    """
    named_host, address = split_provider_name(provider_name)
    return address if named_host == host else None


def totals(devices: collections.abc.Iterable[Device]) -> Totals:
    """Return the sums of units; those that could not be read count as zero."""
    devices = tuple(devices)
    return Totals(
        total=sum(device.total or 0 for device in devices),
        reserved=sum(device.reserved or 0 for device in devices),
        used=sum(device.used or 0 for device in devices),
        free=sum(device.free or 0 for device in devices),
    )


def order(device: Device) -> tuple[str, str, str, str]:
    """Return the key to sort by: host, then address."""
    return (
        device.host,
        device.address or '',
        device.name,
        device.resource_class or '',
    )


def select(
    devices: collections.abc.Iterable[Device],
    *,
    project_id: str | None = None,
    free: bool = False,
    used: bool = False,
) -> tuple[Device, ...]:
    """Return the devices that match all conditions.

    A device whose units or consumers could not be read matches, so that no
    filter hides what is not known.

    :param project_id: Keep devices of which this project holds units.
    :param free: Keep devices with at least one free unit.
    :param used: Keep devices with at least one unit in use.
    """

    def keep(device: Device) -> bool:
        if free and device.free == 0:
            return False
        if used and device.used == 0:
            return False
        if project_id is None or device.consumers is None:
            return True
        return any(
            consumer.project_id in (project_id, None)
            for consumer in device.consumers
        )

    return tuple(device for device in devices if keep(device))


def find(
    devices: collections.abc.Sequence[Device], name: str
) -> NamedObject | None:
    """Return the object that a name refers to.

    The name is, in this order, a provider's id or name, the address of a
    device, a hypervisor hostname or its provider's id, or a resource class.

    :returns: None if it is none of them.
    :raises gpuclient.exceptions.Ambiguous: Several devices have the address;
        the message lists the names of their providers.
    """
    named = [
        device for device in devices if name in (device.uuid, device.name)
    ] or _at_address(devices, name)
    if named:
        return NamedObject('device', tuple(named))
    for kind, keys in (
        ('host', lambda device: (device.host, device.root_uuid)),
        ('resource class', lambda device: (device.resource_class,)),
    ):
        named = [device for device in devices if name in keys(device)]
        if named:
            return NamedObject(kind, tuple(named))
    return None


def _at_address(
    devices: collections.abc.Sequence[Device], text: str
) -> list[Device]:
    try:
        address = str(pci.parse_address(text))
    except exceptions.InvalidAddress:
        return []
    matches = [device for device in devices if device.address == address]
    names = sorted({device.name for device in matches})
    if len(names) > 1:
        raise exceptions.Ambiguous(
            f'{len(names)} devices have the address {address!r}; '
            f'name one of: {_listed(names)}'
        )
    return matches


def _listed(names: list[str]) -> str:
    shown = ', '.join(names[:_CANDIDATES])
    more = len(names) - _CANDIDATES
    return f'{shown} and {more} more' if more > 0 else shown


def of_alias(
    devices: collections.abc.Iterable[Device], alias: alias_model.Alias
) -> tuple[Device, ...]:
    """Return the devices that Placement matches with an alias.

    They match by resource class and traits (``nova/objects/request_spec.py``);
    Nova matches the device type and the NUMA policy on the host.
    """
    return tuple(
        device
        for device in devices
        if device.resource_class == alias.placement_class
        and alias.placement_traits <= set(device.traits)
    )


def project_ids(
    devices: collections.abc.Iterable[Device],
) -> frozenset[str]:
    """Return the ids of the projects that hold devices."""
    return frozenset(
        consumer.project_id
        for device in devices
        for consumer in device.consumers or ()
        if consumer.project_id is not None
    )


def held(
    devices: collections.abc.Iterable[Device],
) -> dict[str, tuple[Device, ...]]:
    """Return the devices of each consumer, by consumer id."""
    by_consumer: dict[str, list[Device]] = collections.defaultdict(list)
    for device in devices:
        for consumer in device.consumers or ():
            by_consumer[consumer.uuid].append(device)
    return {
        uuid: tuple(sorted(of_consumer, key=order))
        for uuid, of_consumer in by_consumer.items()
    }


def name_consumers(
    devices: collections.abc.Iterable[Device],
    servers: collections.abc.Iterable[Server],
) -> tuple[Device, ...]:
    """Return devices with the names of the servers that hold them."""
    names = {server.uuid: server.name for server in servers}

    def named(consumer: Consumer) -> Consumer:
        name = names.get(consumer.uuid, consumer.name)
        return dataclasses.replace(consumer, name=name)

    return tuple(
        dataclasses.replace(
            device, consumers=tuple(map(named, device.consumers))
        )
        if device.consumers
        else device
        for device in devices
    )


def requested_aliases(
    extra_specs: collections.abc.Mapping[str, str] | None,
) -> dict[str, int]:
    """Return the number of devices that a flavor requests, by alias."""
    return flavor_model.requested_aliases(extra_specs or {})


def mark_orphans(
    devices: collections.abc.Iterable[Device],
) -> tuple[Device, ...]:
    """Return devices with the consumers marked that Nova does not have.

    Nova must have been asked for each consumer without a name.
    """
    return tuple(
        dataclasses.replace(
            device,
            consumers=tuple(
                dataclasses.replace(
                    consumer,
                    orphaned=consumer.name is None
                    and consumer.consumer_type != MIGRATION,
                )
                for consumer in device.consumers
            ),
        )
        if device.consumers
        else device
        for device in devices
    )


def requests_devices(server: Server) -> bool | None:
    """Return whether the flavor of a server requests PCI devices.

    By alias, or by resource class as ``resources:CUSTOM_PCI_10DE_20F1``.

    :returns: None if policy hides the extra specs.
    """
    if server.extra_specs is None:
        return None
    return any(
        key == flavor_model.ALIASES
        or re.match(r'resources[^:]*:(CUSTOM_|PGPU$|VGPU$)', key)
        for key in server.extra_specs
    )


def alias_classes(
    name: str,
    servers: collections.abc.Iterable[Server],
    devices: collections.abc.Iterable[Device],
) -> tuple[frozenset[str], tuple[Server, ...]]:
    """Infer the resource classes of an alias from servers that requested it.

    Nova has no API for aliases, but a server whose flavor requests an alias
    holds devices of the resource class that the alias had when it booted. A
    server that requests this alias only, and holds exactly as many units,
    proves the class. Without such a server, it is the only class of which all
    servers with the alias hold enough units.

    :returns: The resource classes, and the servers that show them; both empty
        if the servers do not show any.
    """
    by_consumer: dict[str, collections.Counter[str]] = {}
    for device in devices:
        for consumer in device.consumers or ():
            if device.resource_class is not None:
                by_consumer.setdefault(consumer.uuid, collections.Counter())[
                    device.resource_class
                ] += consumer.amount
    proof: list[Server] = []
    proven: set[str] = set()
    hints: list[Server] = []
    common: set[str] | None = None
    for server in servers:
        requests = requested_aliases(server.extra_specs)
        units = by_consumer.get(server.uuid)
        if not requests.get(name) or not units:
            continue
        if list(requests) == [name] and units.total() == requests[name]:
            proof.append(server)
            proven |= set(units)
        enough = {
            key for key, count in units.items() if count >= requests[name]
        }
        hints.append(server)
        common = enough if common is None else common & enough
    if proof:
        return frozenset(proven), tuple(proof)
    if common is not None and len(common) == 1:
        return frozenset(common), tuple(hints)
    return frozenset(), ()
