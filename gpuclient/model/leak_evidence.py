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

"""What Placement and Nova show of devices, servers and migrations."""

import collections
import collections.abc
import dataclasses
import functools

from gpuclient.model import allocation
from gpuclient.model import flavor as flavor_model
from gpuclient.model import inventory

#: Trait of a device that Nova reserves when it allocates it
#: (``nova/compute/pci_placement_translator.py``).
ONE_TIME_USE = 'HW_PCI_ONE_TIME_USE'
#: Trait of providers of Cyborg (2026.2 and later).
OWNER_CYBORG = 'OWNER_CYBORG'
#: Statuses of a server that is being created, moved, rebuilt or deleted, or
#: whose cell does not respond.
_UNSETTLED = frozenset(
    {
        'BUILD',
        'DELETED',
        'MIGRATING',
        'REBUILD',
        'RESIZE',
        'REVERT_RESIZE',
        'SOFT_DELETED',
        'UNKNOWN',
        'VERIFY_RESIZE',
    }
)
#: Statuses of a server that has no host, and so no device.
_WITHOUT_HOST = ('ERROR', 'SHELVED_OFFLOADED')


@dataclasses.dataclass(frozen=True)
class OtherProvider:
    """A provider of another service than Nova."""

    uuid: str
    name: str
    root_uuid: str


@dataclasses.dataclass(frozen=True)
class Evidence:
    """Records of one moment, as far as they could be read."""

    #: With their consumers.
    devices: tuple[inventory.Device, ...]
    #: By ID; None for a consumer that is no server of Nova. A consumer that is
    #: not in it could not be looked up.
    servers: dict[str, inventory.Server | None] = dataclasses.field(
        default_factory=dict
    )
    #: Migrations that hold devices, by ID; None where Nova has none.
    migrations: dict[str, allocation.Migration | None] = dataclasses.field(
        default_factory=dict
    )
    #: Migrations of a server, by its ID; read of suspects only.
    moves: dict[str, tuple[allocation.Migration, ...]] = dataclasses.field(
        default_factory=dict
    )
    #: Compute nodes: hypervisor hostnames, and whether nova-compute is up;
    #: None if they could not be read.
    computes: dict[str, bool] | None = None
    #: Allocations of servers that hold no device, by ID.
    allocations: dict[str, allocation.Allocations] = dataclasses.field(
        default_factory=dict
    )
    #: Ports with a PCI device, by server; None if Neutron was not asked.
    ports: dict[str, int] | None = None
    #: Seconds since the inventory of a reserved device changed, by its ID.
    reserved_for: dict[str, float] = dataclasses.field(default_factory=dict)
    #: Providers with the trait OWNER_CYBORG.
    cyborg: tuple[OtherProvider, ...] = ()
    #: IDs of devices that the given documents do not have, by document.
    gone: dict[str, str] = dataclasses.field(default_factory=dict)

    @functools.cached_property
    def by_consumer(
        self,
    ) -> dict[str, list[tuple[inventory.Device, inventory.Consumer]]]:
        """Devices of each consumer."""
        held: dict[str, list[tuple[inventory.Device, inventory.Consumer]]] = (
            collections.defaultdict(list)
        )
        for device in self.devices:
            for consumer in device.consumers or ():
                held[consumer.uuid].append((device, consumer))
        return dict(held)

    @functools.cached_property
    def classes(self) -> frozenset[str]:
        """Resource classes of devices."""
        return frozenset(
            device.resource_class
            for device in self.devices
            if device.resource_class is not None
        )

    @functools.cached_property
    def hosts(self) -> frozenset[str]:
        """Hosts that report devices."""
        return frozenset(device.host for device in self.devices)

    @functools.cached_property
    def hosts_are_visible(self) -> bool:
        """Whether Nova shows this user the hosts of servers."""
        return any(server and server.host for server in self.servers.values())

    def is_settled(self, server: inventory.Server) -> bool:
        """Return whether a server is neither created, moved nor deleted."""
        return (
            server.task_state is None
            and server.status not in _UNSETTLED
            and not any(
                move.in_progress for move in self.moves.get(server.uuid, ())
            )
        )

    def has_no_host(self, server: inventory.Server) -> bool:
        """Return whether a server runs nowhere, as after shelve offload."""
        return (
            server.host is None
            and server.status in _WITHOUT_HOST
            and self.hosts_are_visible
        )

    def requested(self, server: inventory.Server) -> int | None:
        """Return the number of devices that the flavor requests.

        :returns: None if policy hides the extra specs, or Nova cannot parse
            them.
        """
        specs = server.extra_specs
        if specs is None:
            return None
        aliases, invalid = flavor_model.read_aliases(
            specs.get(flavor_model.ALIASES, '')
        )
        if invalid and specs.get(flavor_model.ALIASES):
            return None
        amounts = flavor_model.device_resources(specs, self.classes)
        return sum(aliases.values()) + sum(
            flavor_model.parse_amount(amount) or 0
            for amount in amounts.values()
        )

    def on_host(self, server: inventory.Server) -> int:
        """Return the units that a server holds on its host."""
        return sum(
            consumer.amount
            for device, consumer in self.by_consumer.get(server.uuid, ())
            if device.host == server.host
        )


def name_of(server: inventory.Server | None, uuid: str) -> str:
    """Return how messages name a consumer."""
    return uuid if server is None else f'{server.name} ({uuid})'


def sum_amounts(
    held: collections.abc.Iterable[
        tuple[inventory.Device, inventory.Consumer]
    ],
) -> int:
    """Return the units of devices that a consumer holds."""
    return sum(consumer.amount for _device, consumer in held)
