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
can fit (:attr:`Demand.at_most`).
"""

import bisect
import collections.abc
import dataclasses
import re

from gpuclient import exceptions
from gpuclient.model import alias as alias_model
from gpuclient.model import assignment
from gpuclient.model import boolean
from gpuclient.model import cpu
from gpuclient.model import flavor as flavor_model
from gpuclient.model import inventory

# nova/scheduler/utils.py:ResourceRequest.XS_KEYPAT
_KEY = re.compile(
    r'(?P<kind>resources|trait)(?P<suffix>[a-zA-Z0-9_-]{1,64})?:(?P<name>.*)'
)
_HYPERTHREADING = 'HW_CPU_HYPERTHREADING'
_SOCKET = 'COMPUTE_SOCKET_PCI_NUMA_AFFINITY'
_MAXPHYSADDR = {
    'passthrough': 'COMPUTE_ADDRESS_SPACE_PASSTHROUGH',
    'emulate': 'COMPUTE_ADDRESS_SPACE_EMULATED',
}


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
            if key.startswith('filter_tenant_id')
            for project in value.split(',')
        )


@dataclasses.dataclass(frozen=True)
class Host:
    """A compute node, as far as new servers are concerned."""

    node: inventory.Host
    #: Name of the compute service; None where nobody says.
    service_host: str | None
    devices: tuple[inventory.Device, ...]
    aggregates: tuple[Aggregate, ...] = ()
    #: Why Nova sends no server there, ``nova-compute is disabled``; empty
    #: where it does.
    closed: str = ''


@dataclasses.dataclass(frozen=True)
class DeviceRequest:
    """Units of devices that a server needs, each from one provider."""

    #: The alias, or the key of the flavor, that asks for them.
    name: str
    resource_class: str
    traits: frozenset[str] = frozenset()
    #: How many providers are asked, and for how many units each.
    count: int = 1
    units: int = 1


@dataclasses.dataclass(frozen=True)
class Demand:
    """What Nova asks Placement for when a server is created."""

    #: By resource class, of the compute node.
    resources: dict[str, int]
    devices: tuple[DeviceRequest, ...]
    required: frozenset[str] = frozenset()
    forbidden: frozenset[str] = frozenset()
    #: Devices of one server come from different providers.
    isolate: bool = False
    #: What Nova matches on the host alone, so that fewer may fit than the
    #: figures say; empty where they are exact.
    at_most: tuple[str, ...] = ()


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


def demand(
    flavor: flavor_model.Flavor,
    aliases: collections.abc.Mapping[str, alias_model.Alias],
) -> Demand:
    """Return what a server of a flavor asks for, with a plain image.

    As ``nova/scheduler/utils.py:ResourceRequest.from_request_spec`` and
    ``nova/objects/request_spec.py:generate_request_groups_from_pci_requests``
    do.

    :param aliases: What the aliases stand for, by name.
    :raises gpuclient.exceptions.NotFound: The flavor asks for another one.
    :raises gpuclient.exceptions.InvalidCPUSet: Nobody could boot it: its mask
        of dedicated CPUs cannot be read.
    """
    specs = flavor.extra_specs or {}
    resources: dict[str, int] = {}
    required: set[str] = set()
    forbidden: set[str] = set()
    groups: dict[str, dict[str, int]] = {}
    group_traits: dict[str, set[str]] = {}
    for key, value in specs.items():
        match = _KEY.fullmatch(key)
        if match is None:
            continue
        name, suffix = match['name'], match['suffix']
        if match['kind'] == 'resources':
            if not value.isdecimal():
                # Nova says so in its log and leaves it out.
                continue
            target = groups.setdefault(suffix, {}) if suffix else resources
            target[name] = int(value)
        elif suffix:
            group_traits.setdefault(suffix, set()).add(name)
        elif value in ('required', 'forbidden'):
            (required if value == 'required' else forbidden).add(name)
    _add_cpus(flavor, specs, resources, required, forbidden)
    resources.setdefault('MEMORY_MB', flavor.ram)
    # Swap is in MiB (nova/compute/utils.py:convert_mb_to_ceil_gb).
    disk = flavor.disk + flavor.ephemeral + -(-flavor.swap // 1024)
    resources.setdefault('DISK_GB', disk)
    if specs.get('hw:pci_numa_affinity_policy') == 'socket':
        required.add(_SOCKET)
    mode = _MAXPHYSADDR.get(specs.get('hw:maxphysaddr_mode', ''))
    if mode is not None:
        required.add(mode)
    devices = [
        DeviceRequest(
            f'resources{suffix}:{name}',
            name,
            frozenset(group_traits.get(suffix, ())),
            units=amount,
        )
        for suffix, group in groups.items()
        for name, amount in group.items()
        if amount
    ]
    for name, count in (flavor.aliases or {}).items():
        alias = aliases.get(name)
        if alias is None or alias.placement_class is None:
            raise exceptions.NotFound(
                f'Nobody says what alias {name!r} stands for: name the file '
                f'that defines it with --config'
            )
        if count:
            devices.append(
                DeviceRequest(
                    name, alias.placement_class, alias.placement_traits, count
                )
            )
    return Demand(
        {name: amount for name, amount in resources.items() if amount},
        tuple(devices),
        frozenset(required),
        frozenset(forbidden),
        isolate=specs.get('group_policy') == 'isolate',
        at_most=tuple(_matched_on_the_host(specs)),
    )


def _add_cpus(
    flavor: flavor_model.Flavor,
    specs: collections.abc.Mapping[str, str],
    resources: dict[str, int],
    required: set[str],
    forbidden: set[str],
) -> None:
    """Ask for VCPU, PCPU, or both of each.

    ``nova/scheduler/utils.py:ResourceRequest._translate_pinning_policies``
    """
    policy = specs.get('hw:cpu_policy')
    if policy in ('dedicated', 'mixed'):
        pinned = flavor.vcpus
        if policy == 'mixed':
            pinned = len(_pinned(flavor, specs))
            resources['VCPU'] = flavor.vcpus - pinned
        if specs.get('hw:emulator_threads_policy') == 'isolate':
            pinned += 1
        resources['PCPU'] = pinned
    elif 'PCPU' not in resources:
        resources.setdefault('VCPU', flavor.vcpus)
    threads = specs.get('hw:cpu_thread_policy')
    if threads == 'require':
        required.add(_HYPERTHREADING)
    elif threads == 'isolate':
        forbidden.add(_HYPERTHREADING)


def _pinned(
    flavor: flavor_model.Flavor, specs: collections.abc.Mapping[str, str]
) -> frozenset[int]:
    """Return the pinned CPUs of a server that has both kinds."""
    # nova/virt/hardware.py:get_dedicated_cpu_constraint
    mask = specs.get('hw:cpu_dedicated_mask') or ''
    if not mask and boolean.is_true(specs.get('hw:cpu_realtime', '')):
        mask = specs.get('hw:cpu_realtime_mask') or ''
    if not mask:
        return frozenset()
    if mask.strip().startswith('^'):
        mask = f'0-{flavor.vcpus - 1},{mask}'
    return cpu.parse(mask)


def _matched_on_the_host(
    specs: collections.abc.Mapping[str, str],
) -> collections.abc.Iterator[str]:
    # nova/virt/hardware.py:numa_get_constraints
    if any(
        specs.get(key)
        for key in (
            'hw:cpu_policy',
            'hw:mem_page_size',
            'hw:numa_nodes',
            'hw:pci_numa_affinity_policy',
        )
    ):
        yield 'NUMA nodes'
    pages = specs.get('hw:mem_page_size')
    if pages and pages not in ('small', 'any'):
        yield 'huge pages'


def refusal(
    host: Host,
    wanted: Demand,
    *,
    project_id: str | None = None,
    zone: str | None = None,
) -> str:
    """Return why Nova sends no server to a host, whatever is free there.

    :param project_id: Whose server it is; None to leave it out of account.
    :param zone: The availability zone that the server asks for.
    :returns: Empty where it may.
    """
    if host.closed:
        return host.closed
    traits = set(host.node.traits)
    missing = wanted.required - traits
    if missing:
        return f'no trait {", ".join(sorted(missing))}'
    unwanted = wanted.forbidden & traits
    if unwanted:
        return f'trait {", ".join(sorted(unwanted))}'
    if zone is not None and zone not in {
        aggregate.metadata.get('availability_zone')
        for aggregate in host.aggregates
    }:
        return f'not in availability zone {zone}'
    for aggregate in host.aggregates:
        # nova/scheduler/request_filter.py:isolate_aggregates
        for key, value in aggregate.metadata.items():
            trait = key.removeprefix('trait:')
            if (
                trait != key
                and value == 'required'
                and trait not in wanted.required
            ):
                return (
                    f'aggregate {aggregate.name} is for servers with trait '
                    f'{trait}'
                )
    if project_id is not None:
        # nova/scheduler/filters/aggregate_multitenancy_isolation.py
        tenants = frozenset[str]().union(
            *(aggregate.tenants() for aggregate in host.aggregates)
        )
        if tenants and project_id not in tenants:
            return 'kept for other projects (filter_tenant_id)'
    return ''


def fit(host: Host, wanted: Demand) -> Fit:
    """Return how many more servers fit on a host that Nova may use."""
    limits: dict[str, int] = {}
    for name, amount in wanted.resources.items():
        resource = host.node.resource(name)
        if resource is not None:
            limits[name] = resource.fits(amount)
        else:
            # A class of the devices, asked for without a group of its own:
            # all of it comes from one provider.
            request = DeviceRequest(name, name, units=amount)
            limits[name] = _most(host.devices, (request,), False)
    for request in wanted.devices:
        limits[request.name] = _most(host.devices, (request,), wanted.isolate)
    if len(wanted.devices) > 1:
        together = _most(host.devices, wanted.devices, wanted.isolate)
        if together < min(limits.values()):
            limits[' and '.join(one.name for one in wanted.devices)] = together
    return Fit(min(limits.values(), default=0), limits)


def _matches(device: inventory.Device, request: DeviceRequest) -> bool:
    return (
        device.resource_class == request.resource_class
        and request.traits <= set(device.traits)
    )


def _most(
    devices: collections.abc.Iterable[inventory.Device],
    requests: collections.abc.Sequence[DeviceRequest],
    isolate: bool,
) -> int:
    """Return the most servers that can have their devices at once.

    With ``isolate`` a provider serves each server once at most. Then it is
    enough that each has room for no more units than there are servers: a
    distribution over servers exists too, as the edges of a bipartite graph
    have a colouring with as many colours as its greatest degree (König's
    theorem). Where requests for several units meet others on the same
    provider, the units of the largest are set aside.
    """
    units = max(request.units for request in requests)
    # Providers that the same requests can use are as good as one.
    pools: dict[tuple[int, ...], list[int]] = {}
    for device in devices:
        room = (device.free or 0) // units
        if room:
            users = tuple(
                number
                for number, request in enumerate(requests)
                if _matches(device, request)
            )
            pools.setdefault(users, []).append(room)
    usable = [
        [number for number, users in enumerate(pools) if request in users]
        for request in range(len(requests))
    ]

    def fit_together(servers: int) -> bool:
        return assignment.can_be_met(
            [request.count * servers for request in requests],
            [
                sum(min(room, servers) if isolate else room for room in rooms)
                for rooms in pools.values()
            ],
            usable,
        )

    most = min(
        sum(sum(rooms) for users, rooms in pools.items() if number in users)
        // request.count
        for number, request in enumerate(requests)
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

    host: Host
    #: Why Nova sends none there; empty where it may.
    refusal: str
    #: As if it might.
    fit: Fit

    @property
    def count(self) -> int:
        return 0 if self.refusal else self.fit.count


@dataclasses.dataclass(frozen=True)
class Forecast:
    """How many more servers of a flavor fit."""

    flavor: flavor_model.Flavor
    #: None where it is not known what the flavor asks for.
    demand: Demand | None
    #: Why not; empty where it is.
    unknown: str
    hosts: tuple[HostForecast, ...] = ()

    @property
    def count(self) -> int | None:
        """Of all hosts; None where it is not known."""
        if self.demand is None:
            return None
        return sum(host.count for host in self.hosts)

    @property
    def limited_by(self) -> dict[str, int]:
        """On how many hosts what is short that have free devices for it."""
        found: dict[str, int] = {}
        for one in self.hosts:
            for name in (one.refusal,) if one.refusal else one.fit.limited_by:
                found[name] = found.get(name, 0) + 1
        return dict(sorted(found.items(), key=lambda item: -item[1]))


def forecast(
    flavor: flavor_model.Flavor,
    hosts: collections.abc.Iterable[Host],
    aliases: collections.abc.Mapping[str, alias_model.Alias],
    *,
    project_id: str | None = None,
    zone: str | None = None,
) -> Forecast:
    """Return how many more servers of a flavor fit, host by host.

    Hosts without any device that the flavor could use are left out.

    :param aliases: What aliases stand for, by name.
    :param project_id: Whose servers they are; None to leave it out of account.
    :param zone: The availability zone that they ask for.
    """
    try:
        wanted = demand(flavor, aliases)
    except (exceptions.NotFound, exceptions.InvalidCPUSet) as exc:
        return Forecast(flavor, None, str(exc))
    return Forecast(
        flavor,
        wanted,
        '',
        tuple(
            HostForecast(
                host,
                refusal(host, wanted, project_id=project_id, zone=zone),
                fit(host, wanted),
            )
            for host in hosts
            if _concerns(host, wanted)
        ),
    )


def _concerns(host: Host, wanted: Demand) -> bool:
    classes = {
        *wanted.resources,
        *(request.resource_class for request in wanted.devices),
    }
    return any(device.resource_class in classes for device in host.devices)


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
    host: Host, fits: collections.abc.Iterable[tuple[Demand, Fit]]
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
    hosts: collections.abc.Iterable[Host],
    forecasts: collections.abc.Iterable[Forecast],
) -> collections.abc.Iterator[tuple[Host, tuple[Stranded, ...]]]:
    """Yield hosts with free devices that none of the flavors can use."""
    fits: dict[str, list[tuple[Demand, Fit]]] = {}
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
    hosts: collections.abc.Iterable[Host], alias: alias_model.Alias
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
