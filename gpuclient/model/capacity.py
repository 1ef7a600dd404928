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

"""How many more servers of a flavor fit, and what limits the number.

Computed from the inventories of each host, as Nova and Placement decide. Nova
matches NUMA nodes of CPUs, huge pages and devices on the host, and no API
reports them. Where a flavor depends on them, the number is a maximum
(:attr:`Forecast.at_most`).
"""

import bisect
import collections
import collections.abc
import dataclasses
import typing

from gpuclient import exceptions
from gpuclient.model import alias as alias_model
from gpuclient.model import demand as demand_model
from gpuclient.model import flavor as flavor_model
from gpuclient.model import inventory
from gpuclient.model import max_flow
from gpuclient.model import release as release_model

#: Why a compute service is not up that an admin has forced down.
FORCED_DOWN = 'nova-compute is forced down'
#: Metadata of aggregates that keep hosts for projects.
_TENANTS = 'filter_tenant_id'
_ZONE = 'availability_zone'
_TRAIT = 'trait:'


@dataclasses.dataclass(frozen=True)
class Aggregate:
    """A host aggregate of Nova."""

    name: str
    #: Names of compute services.
    hosts: frozenset[str]
    metadata: dict[str, str]
    #: Id of the aggregate in Nova and in Placement; empty if not read.
    uuid: str = ''
    #: Its number, which Nova's API takes.
    id: int | None = None

    @property
    def zone(self) -> str | None:
        """The availability zone of its hosts, if it sets one."""
        return self.metadata.get(_ZONE)

    @property
    def isolates(self) -> bool:
        """Whether it may exclude requests from its hosts."""
        return bool(self.tenants() or self.isolating_traits())

    def isolating_traits(self) -> frozenset[str]:
        """Return the traits that servers must require to get its hosts.

        ``nova/scheduler/request_filter.py:isolate_aggregates``
        """
        return frozenset(
            key.removeprefix(_TRAIT)
            for key, value in self.metadata.items()
            if key.startswith(_TRAIT) and value == 'required'
        )

    def is_of_project(self, project_id: str) -> bool:
        """Return whether it is one to which a project may be limited.

        ``nova/scheduler/request_filter.py:require_tenant_aggregate``
        """
        return any(
            key.startswith(_TENANTS) and value == project_id
            for key, value in self.metadata.items()
        )

    def tenants(self) -> frozenset[str]:
        """Return the ids of the projects that it is reserved for."""
        return frozenset(
            project.strip()
            for key, value in self.metadata.items()
            if key.startswith(_TENANTS)
            for project in value.split(',')
        )


@dataclasses.dataclass(frozen=True)
class HostCapacity:
    """A compute node, with all that limits new servers on it."""

    node: inventory.ComputeProvider
    #: Name of the compute service; None where it is not known.
    service_host: str | None
    devices: tuple[inventory.Device, ...]
    aggregates: tuple[Aggregate, ...] = ()
    #: Why Nova schedules no server to it, ``nova-compute is disabled``; empty
    #: if it does.
    closed: str = ''
    #: Why its compute service is not enabled, and why it is not up; empty if
    #: it is.
    disabled: str = ''
    down: str = ''
    #: Attributes of ``nova/scheduler/host_manager.py:HostState`` that Nova's
    #: API shows.
    state: dict[str, typing.Any] = dataclasses.field(default_factory=dict)
    #: Whether Nova has a compute node with its name.
    is_compute_node: bool = True


@dataclasses.dataclass(frozen=True)
class Fit:
    """How many more servers fit on a host."""

    count: int
    #: The number that each limit alone would allow: a resource class, an
    #: alias, or the reason why there is none.
    limits: dict[str, int]

    @property
    def limited_by(self) -> tuple[str, ...]:
        """The limits with the lowest number."""
        return tuple(
            name for name, count in self.limits.items() if count == self.count
        )


def refusal(
    host: HostCapacity, wanted: demand_model.Demand, *, zone: str | None = None
) -> str:
    """Return why Nova schedules no server to a host, even a free one.

    :param zone: The requested availability zone, if an aggregate sets it.
    :returns: Empty if it may schedule servers to it.
    """
    if host.closed:
        return host.closed
    traits = set(host.node.traits)
    required, forbidden = wanted.required, wanted.forbidden
    if wanted.vcpus_in_place_of_pcpus:
        # Nova sends a second request without them.
        required -= demand_model.OF_PINNED_CPUS
        forbidden -= demand_model.OF_PINNED_CPUS
    # Traits of a device in the unsuffixed group match, too.
    missing = required - traits.union(
        *(
            device.traits
            for device in host.devices
            if device.resource_class in wanted.resources
        )
    )
    if missing:
        return f'no trait {", ".join(sorted(missing))}'
    unwanted = forbidden & traits
    if unwanted:
        return f'trait {", ".join(sorted(unwanted))}'
    if zone is not None and zone not in {
        aggregate.zone for aggregate in host.aggregates
    }:
        return f'not in availability zone {zone}'
    return ''


def condition(
    host: HostCapacity, wanted: demand_model.Demand, project_id: str | None
) -> str:
    """Return the option that decides whether Nova considers a host.

    No API shows the options of nova-scheduler.

    :param project_id: The project of the server; None where it is not known.
    :returns: Empty if there is none.
    """
    for aggregate in host.aggregates:
        # nova/scheduler/request_filter.py:isolate_aggregates
        traits = aggregate.isolating_traits() - wanted.all_required
        if traits:
            return (
                f'aggregate {aggregate.name} is isolated for servers that '
                f'require {min(traits)}: its hosts are excluded if '
                f'nova-scheduler has '
                f'[scheduler]enable_isolated_aggregate_filtering = True'
            )
    # All aggregates of the host count together
    # (nova/scheduler/filters/aggregate_multitenancy_isolation.py).
    if any(project_id in aggregate.tenants() for aggregate in host.aggregates):
        return ''
    for aggregate in host.aggregates:
        if aggregate.tenants():
            return (
                f'aggregate {aggregate.name} is reserved for '
                + (
                    'some projects (name one with --project)'
                    if project_id is None
                    else 'other projects'
                )
                + f' by {_TENANTS}: its hosts are excluded if nova-scheduler '
                f'has the filter AggregateMultiTenancyIsolation, or '
                f'[scheduler]limit_tenants_to_placement_aggregate = True'
            )
    return ''


def own_aggregates(
    hosts: collections.abc.Iterable[HostCapacity], project_id: str
) -> frozenset[str]:
    """Return the aggregates to which a project may be limited."""
    return frozenset(
        aggregate.name
        for host in hosts
        for aggregate in host.aggregates
        if aggregate.is_of_project(project_id)
    )


def fit(
    host: HostCapacity, wanted: demand_model.Demand, *, whole: bool = True
) -> Fit:
    """Return how many more servers fit on a host.

    :param whole: Whether it is all that a server requests, not only a part.
    """
    limits: dict[str, int] = {}
    of_node, requests = _split(host, wanted, limits)
    isolate = wanted.isolate and not any(
        request.name in wanted.resources for request in requests
    )
    for name, amount in of_node.items():
        resource = host.node.resource(name)
        limits[name] = 0 if resource is None else resource.fits(amount)
    if not of_node and whole:
        # nova/scheduler/manager.py:_schedule looks for the allocation of the
        # compute node among the candidates.
        limits['no resource of the compute node is requested'] = 0
    for request in requests:
        limits[request.name] = _most(host.devices, (request,), isolate)
    if len(requests) > 1:
        together = _most(host.devices, requests, isolate)
        if together < min(limits.values()):
            limits[' and '.join(request.name for request in requests)] = (
                together
            )
    return Fit(min(limits.values(), default=0), limits)


def takes_of_node(host: HostCapacity, wanted: demand_model.Demand) -> bool:
    """Return whether a request takes a resource of a compute node."""
    of_node, _requests = _split(host, wanted, {})
    return bool(of_node)


def _split(
    host: HostCapacity, wanted: demand_model.Demand, limits: dict[str, int]
) -> tuple[dict[str, int], list[demand_model.DeviceRequest]]:
    """Return the resources of the compute node, and requests for devices.

    :param limits: Gets an entry for each request that the host cannot meet.
    """
    of_node: collections.Counter[str] = collections.Counter()
    requests = []
    for name, amount in wanted.resources.items():
        if host.node.resource(name) is not None or name in (
            flavor_model.OF_THE_NODE
        ):
            of_node[name] += amount
        else:
            # A class of devices in the unsuffixed group: all units come from
            # one provider.
            requests.append(
                demand_model.DeviceRequest(name, name, units=amount)
            )
    groups_of_node = 0
    for request in wanted.devices:
        resources = request.resources
        own = [
            name
            for name in resources
            if host.node.resource(name) is not None
            or name in flavor_model.OF_THE_NODE
        ]
        if not own:
            requests.append(request)
            continue
        groups_of_node += 1
        traits = set(host.node.traits)
        if (
            len(own) < len(resources)
            or not request.traits <= traits
            or request.forbidden & traits
            or (wanted.isolate and groups_of_node > 1)
        ):
            limits[request.name] = 0
        else:
            of_node.update(resources)
    pcpus = host.node.resource('PCPU')
    if wanted.vcpus_in_place_of_pcpus and pcpus is None:
        # nova/scheduler/manager.py:select_destinations
        of_node.pop('PCPU', None)
        of_node['VCPU'] += wanted.vcpus_in_place_of_pcpus
    return dict(of_node), requests


def matches(
    device: inventory.Device, request: demand_model.DeviceRequest
) -> bool:
    """Return whether a device has the class and traits of a request."""
    # A PCI device has one class; see nova/compute/pci_placement_translator.py.
    return (
        device.resource_class == request.resource_class
        and not request.beside
        and request.traits <= set(device.traits)
        and not request.forbidden & set(device.traits)
    )


def _most(
    devices: collections.abc.Iterable[inventory.Device],
    requests: collections.abc.Sequence[demand_model.DeviceRequest],
    isolate: bool,
) -> int:
    """Return the number of servers whose requests can be met at once.

    With ``isolate`` a provider serves each server at most once. It is then
    sufficient to use no more units of a provider than there are servers: an
    assignment to servers exists, because the edges of a bipartite graph have a
    coloring with as many colors as its greatest degree (Kőnig's theorem).
    Where requests have different numbers of units, the result is that of
    requests whose units may come from several providers.
    """
    least = min(request.units for request in requests)
    block = least if all(request.units == least for request in requests) else 1
    isolate = isolate and block == least
    # Providers that the same requests can use form a pool.
    pools: dict[tuple[int, ...], list[int]] = {}
    for device in devices:
        free = device.free or 0
        users = tuple(
            number
            for number, request in enumerate(requests)
            if free >= request.units and matches(device, request)
        )
        if users:
            pools.setdefault(users, []).append(free // block)
    usable = [
        [number for number, users in enumerate(pools) if request in users]
        for request in range(len(requests))
    ]

    blocks = [request.count * (request.units // block) for request in requests]

    def fit_together(servers: int) -> bool:
        return max_flow.can_be_met(
            [number * servers for number in blocks],
            [
                sum(min(free, servers) if isolate else free for free in pool)
                for pool in pools.values()
            ],
            usable,
        )

    most = min(
        sum(sum(pool) for users, pool in pools.items() if number in users)
        // needed
        for number, needed in enumerate(blocks)
    )
    # If a number of servers fits, any smaller number does.
    return (
        most
        if fit_together(most)
        else bisect.bisect_left(
            range(1, most), True, key=lambda servers: not fit_together(servers)
        )
    )


@dataclasses.dataclass(frozen=True)
class HostForecast:
    """How many more servers of a flavor fit on a host."""

    host: HostCapacity
    #: Why Nova schedules no server to it; empty if it may.
    refusal: str
    #: Computed even if there is a refusal.
    fit: Fit
    #: The option of nova-scheduler that decides whether it may; empty if
    #: there is none.
    condition: str = ''

    @property
    def count(self) -> int:
        return 0 if self.refusal else self.fit.count


@dataclasses.dataclass(frozen=True)
class Forecast:
    """How many more servers of a flavor fit."""

    flavor: flavor_model.Flavor
    #: None where the request of the flavor is not known.
    demand: demand_model.Demand | None
    #: Why it is not known; empty if it is.
    unknown: str
    hosts: tuple[HostForecast, ...] = ()
    #: Unknown facts of the hosts, so that fewer may fit.
    doubts: tuple[str, ...] = ()
    #: Facts from the catalogue instead of the cloud.
    assumed: tuple[str, ...] = ()

    @property
    def count(self) -> int | None:
        """The number for all hosts; None where it is not known."""
        if self.demand is None:
            return None
        return sum(host.count for host in self.hosts)

    @property
    def refusal(self) -> str:
        """Why no server can be created; empty if one can."""
        return self.demand.refusal if self.demand is not None else ''

    @property
    def at_most(self) -> tuple[str, ...]:
        """Why fewer may fit; empty if the number is exact, such as zero."""
        if self.demand is None or not self.count:
            return ()
        return (
            *self.demand.at_most,
            *self.doubts,
            *dict.fromkeys(
                host.condition
                for host in self.hosts
                if host.condition and host.count
            ),
        )

    @property
    def exact(self) -> bool | None:
        """Whether the number is exact; None where it is not known."""
        return None if self.demand is None else not self.at_most

    @property
    def limited_by(self) -> dict[str, int]:
        """The limits on hosts with devices, and how many hosts have each.

        No host if Nova refuses the flavor itself.
        """
        if self.refusal:
            return {self.refusal: 0}
        hosts = collections.Counter(
            name
            for host in self.hosts
            for name in (
                (host.refusal,) if host.refusal else host.fit.limited_by
            )
        )
        return dict(hosts.most_common())


def forecast(
    flavor: flavor_model.Flavor,
    hosts: collections.abc.Sequence[HostCapacity],
    aliases: collections.abc.Mapping[str, alias_model.Alias],
    *,
    project_id: str | None = None,
    zone: str | None = None,
    inferred: collections.abc.Container[str] = (),
    release: release_model.Release | None = None,
) -> Forecast:
    """Return how many more servers of a flavor fit, host by host.

    Hosts without a device that the flavor could use are left out.

    :param aliases: Definitions of aliases, by name.
    :param project_id: The project of the servers; None where it is not known.
    :param zone: The requested availability zone, if an aggregate sets it.
    :param inferred: Names of aliases of which only the resource class is
        known, from servers.
    :param release: The release of Nova; the newest by default.
    """
    try:
        wanted = demand_model.demand(flavor, aliases, release=release)
    except exceptions.NotFound as exc:
        reason = demand_model.refused_by_placement(flavor)
        if not reason:
            return Forecast(flavor, None, str(exc))
        wanted = demand_model.Demand({}, (), refusal=reason)
    if wanted.refusal:
        return Forecast(flavor, wanted, '')
    unknown = _unknown_classes(hosts, wanted)
    if unknown:
        return Forecast(
            flavor,
            None,
            f'No compute node or PCI device in Placement has inventory of '
            f'{", ".join(unknown)}',
        )
    concerned = [host for host in hosts if _concerns(host, wanted)]
    own = (
        frozenset[str]()
        if project_id is None
        else own_aggregates(hosts, project_id)
    )
    return Forecast(
        flavor,
        wanted,
        '',
        tuple(
            HostForecast(
                host,
                refusal(host, wanted, zone=zone),
                fit(host, wanted),
                condition(host, wanted, project_id) or outside(host, own),
            )
            for host in concerned
        ),
        tuple(_doubts(flavor, wanted, concerned, hosts, aliases, inferred)),
        tuple(_assumed(flavor, concerned, aliases, inferred)),
    )


def _assumed(
    flavor: flavor_model.Flavor,
    concerned: collections.abc.Sequence[HostCapacity],
    aliases: collections.abc.Mapping[str, alias_model.Alias],
    inferred: collections.abc.Container[str],
) -> collections.abc.Iterator[str]:
    """Yield device types from the catalogue, which Placement lacks."""
    for name, count in (flavor.aliases or {}).items():
        devices = _devices_of(aliases[name], concerned)
        if (
            count
            and name not in inferred
            and any(device.total == 1 for device in devices)
            and not type_doubt(aliases[name], devices)
        ):
            yield (
                f'devices of alias {name} are assumed to be '
                f'{aliases[name].device_type or "type-PCI"}, their type in '
                f'the catalogue'
            )


def _devices_of(
    alias: alias_model.Alias, hosts: collections.abc.Iterable[HostCapacity]
) -> tuple[inventory.Device, ...]:
    return inventory.of_alias(
        (device for host in hosts for device in host.devices), alias
    )


def type_doubt(
    alias: alias_model.Alias,
    devices: collections.abc.Iterable[inventory.Device],
) -> str:
    """Return why an alias may not match the device type of devices."""
    return demand_model.device_type_doubt(
        alias, [device.total for device in devices]
    )


def outside(host: HostCapacity, own: frozenset[str]) -> str:
    """Return the option that may limit a project to other aggregates."""
    if not own or any(group.name in own for group in host.aggregates):
        return ''
    return (
        f'hosts outside aggregate {", ".join(sorted(own))} are excluded if '
        f'nova-scheduler has '
        f'[scheduler]limit_tenants_to_placement_aggregate = True'
    )


def _unknown_classes(
    hosts: collections.abc.Iterable[HostCapacity], wanted: demand_model.Demand
) -> list[str]:
    """Return the classes that no known provider has.

    Other providers below the compute node, which are not read, may have them.
    """
    known = {
        *flavor_model.OF_THE_NODE,
        *wanted.empty_requests,
        *(
            request.resource_class
            for request in wanted.devices
            if request.by_alias
        ),
    }
    for host in hosts:
        known.update(
            resource.resource_class for resource in host.node.resources or ()
        )
        known.update(
            device.resource_class
            for device in host.devices
            if device.resource_class is not None
        )
    return sorted(
        name
        for name in wanted.classes - known
        # Inventory of the compute node, like memory.
        if not name.startswith(demand_model.PMEM)
    )


def _doubts(
    flavor: flavor_model.Flavor,
    wanted: demand_model.Demand,
    concerned: collections.abc.Sequence[HostCapacity],
    hosts: collections.abc.Sequence[HostCapacity],
    aliases: collections.abc.Mapping[str, alias_model.Alias],
    inferred: collections.abc.Container[str],
) -> collections.abc.Iterator[str]:
    for name, count in (flavor.aliases or {}).items():
        if not count:
            continue
        if name in inferred:
            yield (
                f'only the resource class of alias {name} is known, from '
                f'servers; other keys of the alias may exclude devices'
            )
            continue
        devices = _devices_of(aliases[name], concerned)
        doubt = type_doubt(aliases[name], devices)
        if devices and doubt:
            yield doubt
    seen = {
        trait
        for host in hosts
        for traits in (
            host.node.traits,
            *(device.traits for device in host.devices),
        )
        for trait in traits
    }
    if wanted.vcpus_in_place_of_pcpus and any(
        host.node.resource('PCPU') is None for host in concerned
    ):
        yield (
            'hosts without PCPU are counted by their VCPU, which Nova uses '
            'instead unless [workarounds]disable_fallback_pcpu_query is True'
        )
    forbidden = wanted.forbidden.union(
        *(request.forbidden for request in wanted.devices)
    )
    for trait in sorted(forbidden - seen):
        yield (
            f'trait {trait} is forbidden: if it does not exist in Placement, '
            f'no host is valid'
        )


def _concerns(host: HostCapacity, wanted: demand_model.Demand) -> bool:
    return any(
        device.resource_class in wanted.classes for device in host.devices
    )


@dataclasses.dataclass(frozen=True)
class Stranded:
    """Free units of devices that no flavor can use on a host."""

    resource_class: str
    free: int
    #: Units that no flavor that requests the class can use.
    stranded: int
    #: The limits on the host; empty if no flavor requests the class.
    limited_by: tuple[str, ...]


def stranded(
    host: HostCapacity,
    fits: collections.abc.Iterable[tuple[demand_model.Demand, Fit]],
) -> tuple[Stranded, ...]:
    """Return the free units of a host that no flavor can use.

    :param fits: The demand of each flavor, and how often it fits.
    """
    free: dict[str, int] = {}
    for device in host.devices:
        if device.resource_class is not None and device.free:
            free[device.resource_class] = (
                free.get(device.resource_class, 0) + device.free
            )
    fits = tuple(fits)
    unusable = []
    for name, units in sorted(free.items()):
        best: tuple[int, tuple[str, ...]] = (0, ())
        for wanted, fitting in fits:
            per_server = sum(
                request.count * request.units
                for request in wanted.devices
                if request.resource_class == name
            ) + wanted.resources.get(name, 0)
            if per_server:
                usable = min(units, per_server * fitting.count)
                best = max(best, (usable, fitting.limited_by))
        if best[0] < units:
            unusable.append(Stranded(name, units, units - best[0], best[1]))
    return tuple(unusable)


def stranded_by_host(
    hosts: collections.abc.Iterable[HostCapacity],
    forecasts: collections.abc.Iterable[Forecast],
) -> collections.abc.Iterator[tuple[HostCapacity, tuple[Stranded, ...]]]:
    """Yield hosts with free units that no flavor can use."""
    fits: dict[str, list[tuple[demand_model.Demand, Fit]]] = {}
    refusals: dict[str, str] = {}
    for of_flavor in forecasts:
        for on_host in of_flavor.hosts:
            uuid = on_host.host.node.uuid
            if on_host.refusal:
                refusals.setdefault(uuid, on_host.refusal)
            elif of_flavor.demand is not None:
                fits.setdefault(uuid, []).append(
                    (of_flavor.demand, on_host.fit)
                )
    for host in hosts:
        uuid = host.node.uuid
        unusable = stranded(host, fits.get(uuid, ()))
        reason = host.closed or refusals.get(uuid)
        if reason:
            unusable = tuple(
                units
                if units.limited_by
                else dataclasses.replace(units, limited_by=(reason,))
                for units in unusable
            )
        if unusable:
            yield host, unusable


def largest(
    hosts: collections.abc.Iterable[HostCapacity], alias: alias_model.Alias
) -> int:
    """Return the maximum number of devices of an alias for one server."""
    return max(
        (
            sum(
                device.free or 0
                for device in inventory.of_alias(host.devices, alias)
            )
            for host in hosts
            if not host.closed
        ),
        default=0,
    )
