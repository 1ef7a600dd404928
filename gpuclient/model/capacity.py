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

"""How many more servers of a flavor fit, and what stands in the way.

Computed as Nova and Placement decide, from what was read of each host. Nova
matches some things on the host that no API tells: NUMA nodes of CPUs, huge
pages and devices. Where a flavor depends on them, a figure is the most that
can fit (:attr:`Forecast.at_most`).
"""

import bisect
import collections
import collections.abc
import dataclasses

from gpuclient import exceptions
from gpuclient.model import alias as alias_model
from gpuclient.model import demand as demand_model
from gpuclient.model import flavor as flavor_model
from gpuclient.model import inventory
from gpuclient.model import max_flow

#: Metadata of aggregates that keep hosts for projects.
_TENANTS = 'filter_tenant_id'
_ZONE = 'availability_zone'


@dataclasses.dataclass(frozen=True)
class Aggregate:
    """A host aggregate of Nova."""

    name: str
    #: Names of compute services.
    hosts: frozenset[str]
    metadata: dict[str, str]

    def tenants(self) -> frozenset[str]:
        """Return the ids of the projects that it is kept for."""
        return frozenset(
            project.strip()
            for key, value in self.metadata.items()
            if key.startswith(_TENANTS)
            for project in value.split(',')
        )


@dataclasses.dataclass(frozen=True)
class HostCapacity:
    """A compute node, as far as new servers are concerned."""

    node: inventory.ComputeProvider
    #: Name of the compute service; None where nobody says.
    service_host: str | None
    devices: tuple[inventory.Device, ...]
    aggregates: tuple[Aggregate, ...] = ()
    #: Why Nova sends no server there, ``nova-compute is disabled``; empty
    #: where it does.
    closed: str = ''


@dataclasses.dataclass(frozen=True)
class Fit:
    """How many more servers fit on a host."""

    count: int
    #: How many each thing would allow on its own: a resource class, an
    #: alias, or a sentence that says why there are none.
    limits: dict[str, int]

    @property
    def limited_by(self) -> tuple[str, ...]:
        """What there is least of."""
        return tuple(
            name for name, count in self.limits.items() if count == self.count
        )


def refusal(
    host: HostCapacity, wanted: demand_model.Demand, *, zone: str | None = None
) -> str:
    """Return why Nova sends no server to a host, whatever is free there.

    :param zone: The availability zone that the server asks for, where an
        aggregate has it.
    :returns: Empty where it may.
    """
    if host.closed:
        return host.closed
    traits = set(host.node.traits)
    required, forbidden = wanted.required, wanted.forbidden
    if wanted.vcpus_in_place_of_pcpus:
        # Nova asks once more without them.
        required -= demand_model.OF_PINNED_CPUS
        forbidden -= demand_model.OF_PINNED_CPUS
    # Those of a device that the group without a suffix takes count, too.
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
        aggregate.metadata.get(_ZONE) for aggregate in host.aggregates
    }:
        return f'not in availability zone {zone}'
    return ''


def condition(
    host: HostCapacity, wanted: demand_model.Demand, project_id: str | None
) -> str:
    """Return which setting decides whether a host is in account.

    No API shows the settings of nova-scheduler.

    :param project_id: Whose server it is; None where that is not known.
    :returns: Empty where none does.
    """
    for aggregate in host.aggregates:
        # nova/scheduler/request_filter.py:isolate_aggregates
        for key, value in aggregate.metadata.items():
            trait = key.removeprefix('trait:')
            if (
                trait != key
                and value == 'required'
                and trait not in wanted.all_required
            ):
                return (
                    f'aggregate {aggregate.name} is for servers with trait '
                    f'{trait}: its hosts are left out if nova-scheduler has '
                    f'[scheduler]enable_isolated_aggregate_filtering = True'
                )
    for aggregate in host.aggregates:
        # nova/scheduler/filters/aggregate_multitenancy_isolation.py
        tenants = aggregate.tenants()
        if tenants and project_id not in tenants:
            return (
                f'aggregate {aggregate.name} is kept for '
                + (
                    'some projects (name one with --project)'
                    if project_id is None
                    else 'other projects'
                )
                + f' by {_TENANTS}: its hosts are left out if nova-scheduler '
                f'has the filter AggregateMultiTenancyIsolation, or '
                f'[scheduler]limit_tenants_to_placement_aggregate = True'
            )
    return ''


def _own_aggregates(
    hosts: collections.abc.Iterable[HostCapacity], project_id: str
) -> frozenset[str]:
    """Return the aggregates that a project may be limited to.

    ``nova/scheduler/request_filter.py:require_tenant_aggregate``
    """
    return frozenset(
        aggregate.name
        for host in hosts
        for aggregate in host.aggregates
        for key, value in aggregate.metadata.items()
        if key.startswith(_TENANTS) and value == project_id
    )


def fit(host: HostCapacity, wanted: demand_model.Demand) -> Fit:
    """Return how many more servers fit on a host that Nova may use."""
    limits: dict[str, int] = {}
    of_node, requests = _split(host, wanted, limits)
    isolate = wanted.isolate and not any(
        request.name in wanted.resources for request in requests
    )
    for name, amount in of_node.items():
        resource = host.node.resource(name)
        limits[name] = 0 if resource is None else resource.fits(amount)
    if not of_node:
        # nova/scheduler/manager.py:_schedule looks for the allocation of the
        # compute node among the candidates.
        limits['nothing of the compute node is requested'] = 0
    for request in requests:
        limits[request.name] = _most(host.devices, (request,), isolate)
    if len(requests) > 1:
        together = _most(host.devices, requests, isolate)
        if together < min(limits.values()):
            limits[' and '.join(each.name for each in requests)] = together
    return Fit(min(limits.values(), default=0), limits)


def _split(
    host: HostCapacity, wanted: demand_model.Demand, limits: dict[str, int]
) -> tuple[dict[str, int], list[demand_model.DeviceRequest]]:
    """Return what a host gives of itself, and what its devices give.

    :param limits: What nothing of the host can give is noted here.
    """
    of_node: collections.Counter[str] = collections.Counter()
    requests = []
    for name, amount in wanted.resources.items():
        if host.node.resource(name) is not None or name in (
            flavor_model.OF_THE_NODE
        ):
            of_node[name] += amount
        else:
            # A class of the devices, requested without a group of its own:
            # all of it comes from one provider.
            requests.append(
                demand_model.DeviceRequest(name, name, units=amount)
            )
    groups_of_node = 0
    for request in wanted.devices:
        resources = request.resources
        given = [
            name
            for name in resources
            if host.node.resource(name) is not None
            or name in flavor_model.OF_THE_NODE
        ]
        if not given:
            requests.append(request)
            continue
        groups_of_node += 1
        traits = set(host.node.traits)
        if (
            len(given) < len(resources)
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


def _matches(
    device: inventory.Device, request: demand_model.DeviceRequest
) -> bool:
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
    """Return the most servers that can have their devices at once.

    With ``isolate`` a provider serves each server once at most. Then it is
    enough that each has room for no more units than there are servers: a
    distribution over servers exists too, as the edges of a bipartite graph
    have a colouring with as many colours as its greatest degree (König's
    theorem). Where requests for several units meet others for fewer, no more
    fit than if the units of one request came from several providers.
    """
    least = min(request.units for request in requests)
    block = least if all(one.units == least for one in requests) else 1
    isolate = isolate and block == least
    # Providers that the same requests can use are as good as one.
    pools: dict[tuple[int, ...], list[int]] = {}
    for device in devices:
        free = device.free or 0
        users = tuple(
            number
            for number, request in enumerate(requests)
            if free >= request.units and _matches(device, request)
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
            [each * servers for each in blocks],
            [
                sum(min(room, servers) if isolate else room for room in rooms)
                for rooms in pools.values()
            ],
            usable,
        )

    most = min(
        sum(sum(rooms) for users, rooms in pools.items() if number in users)
        // each
        for number, each in enumerate(blocks)
    )
    # As many as fit together, for if some do, fewer do as well.
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
    #: Why Nova sends none there; empty where it may.
    refusal: str
    #: As if it might.
    fit: Fit
    #: Which setting of nova-scheduler decides whether it may; empty where
    #: none does.
    condition: str = ''

    @property
    def count(self) -> int:
        return 0 if self.refusal else self.fit.count


@dataclasses.dataclass(frozen=True)
class Forecast:
    """How many more servers of a flavor fit."""

    flavor: flavor_model.Flavor
    #: None where it is not known what the flavor requests.
    demand: demand_model.Demand | None
    #: Why not; empty where it is.
    unknown: str
    hosts: tuple[HostForecast, ...] = ()
    #: What is not known of the hosts, so that fewer may fit.
    doubts: tuple[str, ...] = ()
    #: What is taken from the catalogue, and not from the cloud.
    assumed: tuple[str, ...] = ()

    @property
    def count(self) -> int | None:
        """Of all hosts; None where it is not known."""
        if self.demand is None:
            return None
        return sum(host.count for host in self.hosts)

    @property
    def refusal(self) -> str:
        """Why no server can be created at all; empty where one can."""
        return self.demand.refusal if self.demand is not None else ''

    @property
    def at_most(self) -> tuple[str, ...]:
        """Why fewer may fit; empty where the figure is exact.

        Where nothing is counted, there is nothing that could be fewer.
        """
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
        """Whether just as many fit; None where it is not known how many."""
        return None if self.demand is None else not self.at_most

    @property
    def limited_by(self) -> dict[str, int]:
        """On how many hosts what is short that have devices for it.

        On none, where Nova refuses the flavor itself.
        """
        if self.refusal:
            return {self.refusal: 0}
        found: dict[str, int] = {}
        for each in self.hosts:
            for name in (
                (each.refusal,) if each.refusal else each.fit.limited_by
            ):
                found[name] = found.get(name, 0) + 1
        return dict(sorted(found.items(), key=lambda item: -item[1]))


def forecast(
    flavor: flavor_model.Flavor,
    hosts: collections.abc.Sequence[HostCapacity],
    aliases: collections.abc.Mapping[str, alias_model.Alias],
    *,
    project_id: str | None = None,
    zone: str | None = None,
    inferred: collections.abc.Container[str] = (),
) -> Forecast:
    """Return how many more servers of a flavor fit, host by host.

    Hosts without any device that the flavor could use are left out.

    :param aliases: What aliases are defined as, by name.
    :param project_id: Whose servers they are; None where that is not known.
    :param zone: The availability zone that they ask for, where an aggregate
        has it.
    :param inferred: Names of aliases of which servers show no more than the
        resource class.
    """
    try:
        wanted = demand_model.demand(flavor, aliases)
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
            f'Neither a compute node nor a PCI device in Placement has class '
            f'{", ".join(unknown)}',
        )
    concerned = [host for host in hosts if _concerns(host, wanted)]
    own = (
        frozenset[str]()
        if project_id is None
        else _own_aggregates(hosts, project_id)
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
                condition(host, wanted, project_id) or _outside(host, own),
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
    """Yield which device types Placement does not show and that are used."""
    for name, count in (flavor.aliases or {}).items():
        devices = _devices_of(aliases[name], concerned)
        if (
            count
            and name not in inferred
            and any(device.total == 1 for device in devices)
            and not _type_doubt(aliases[name], devices)
        ):
            yield (
                f'devices of alias {name} are taken for '
                f'{aliases[name].device_type or "type-PCI"}, which is their '
                f'type in the catalogue'
            )


def _devices_of(
    alias: alias_model.Alias, hosts: collections.abc.Iterable[HostCapacity]
) -> tuple[inventory.Device, ...]:
    return inventory.of_alias(
        (device for host in hosts for device in host.devices), alias
    )


def _type_doubt(
    alias: alias_model.Alias,
    devices: collections.abc.Iterable[inventory.Device],
) -> str:
    return demand_model.device_type_doubt(
        alias, [device.total for device in devices]
    )


def _outside(host: HostCapacity, own: frozenset[str]) -> str:
    """Return whether a project may be limited to other aggregates."""
    if not own or any(group.name in own for group in host.aggregates):
        return ''
    return (
        f'hosts outside aggregate {", ".join(sorted(own))} are left out if '
        f'nova-scheduler has '
        f'[scheduler]limit_tenants_to_placement_aggregate = True'
    )


def _unknown_classes(
    hosts: collections.abc.Iterable[HostCapacity], wanted: demand_model.Demand
) -> list[str]:
    """Return the classes of which nothing is known.

    They may be those of other providers below the compute node, which are not
    read.
    """
    known = {
        *flavor_model.OF_THE_NODE,
        *wanted.empty_requests,
        *(one.resource_class for one in wanted.devices if one.by_alias),
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
        # Of the compute node, like memory.
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
                f'servers show the resource class of alias {name} and nothing '
                f'else that it may request'
            )
            continue
        devices = _devices_of(aliases[name], concerned)
        doubt = _type_doubt(aliases[name], devices)
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
            'hosts without PCPU are counted by their VCPU, which Nova takes '
            'in its place unless [workarounds]disable_fallback_pcpu_query is '
            'True'
        )
    forbidden = wanted.forbidden.union(
        *(request.forbidden for request in wanted.devices)
    )
    for trait in sorted(forbidden - seen):
        yield (
            f'trait {trait} is forbidden: if Placement does not have it, no '
            f'host is valid'
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
    #: Units that no flavor that asks for the class can take.
    stranded: int
    #: What is short on the host; empty where no flavor asks for the class.
    limited_by: tuple[str, ...]


def stranded(
    host: HostCapacity,
    fits: collections.abc.Iterable[tuple[demand_model.Demand, Fit]],
) -> tuple[Stranded, ...]:
    """Return what no flavor can use of the free devices of a host.

    :param fits: What each flavor asks for, and how often it fits there.
    """
    free: dict[str, int] = {}
    for device in host.devices:
        if device.resource_class is not None and device.free:
            free[device.resource_class] = (
                free.get(device.resource_class, 0) + device.free
            )
    fits = tuple(fits)
    found = []
    for name, units in sorted(free.items()):
        best: tuple[int, tuple[str, ...]] = (0, ())
        for wanted, fitting in fits:
            each = sum(
                request.count * request.units
                for request in wanted.devices
                if request.resource_class == name
            ) + wanted.resources.get(name, 0)
            if each:
                usable = min(units, each * fitting.count)
                best = max(best, (usable, fitting.limited_by))
        if best[0] < units:
            found.append(Stranded(name, units, units - best[0], best[1]))
    return tuple(found)


def stranded_by_host(
    hosts: collections.abc.Iterable[HostCapacity],
    forecasts: collections.abc.Iterable[Forecast],
) -> collections.abc.Iterator[tuple[HostCapacity, tuple[Stranded, ...]]]:
    """Yield hosts with free devices that none of the flavors can use."""
    fits: dict[str, list[tuple[demand_model.Demand, Fit]]] = {}
    refusals: dict[str, str] = {}
    for one in forecasts:
        for each in one.hosts:
            uuid = each.host.node.uuid
            if each.refusal:
                refusals.setdefault(uuid, each.refusal)
            elif one.demand is not None:
                fits.setdefault(uuid, []).append((one.demand, each.fit))
    for host in hosts:
        uuid = host.node.uuid
        found = stranded(host, fits.get(uuid, ()))
        reason = host.closed or refusals.get(uuid)
        if reason:
            found = tuple(
                one
                if one.limited_by
                else dataclasses.replace(one, limited_by=(reason,))
                for one in found
            )
        if found:
            yield host, found


def largest(
    hosts: collections.abc.Iterable[HostCapacity], alias: alias_model.Alias
) -> int:
    """Return how many devices of an alias one server could get at most."""
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
