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

"""Which conditions of a request for a server each host of a cloud meets.

A *condition* is a part of what Nova requests, in the words of an admin: the
devices of an alias, an amount of memory, a trait, an availability zone. A
request group with several devices is one condition.

Most conditions depend on the host alone. Those that take resources may be met
one by one, but not together: two aliases that match the same card. Together
they are evaluated as :func:`gpuclient.model.capacity.fit` does.
"""

import collections
import collections.abc
import dataclasses
import enum
import functools
import itertools

from gpuclient.model import alias as alias_model
from gpuclient.model import capacity
from gpuclient.model import conflicts
from gpuclient.model import demand as demand_model
from gpuclient.model import flavor as flavor_model
from gpuclient.model import inventory
from gpuclient.model import passthrough_filter
from gpuclient.model import scheduler_options

#: Parts that take resources: more are only evaluated in pairs.
_PARTS = 8
#: Key of the condition that something of the compute node is requested.
OF_NODE = 'compute-node'
#: Key of the condition that nova-compute of a destination defines the aliases.
OF_COMPUTE = 'compute-alias'
_DISABLED = 'COMPUTE_STATUS_DISABLED'
_OWNER = 'OWNER_NOVA'
_UNITS = {
    'VCPU': 'VCPU',
    'PCPU': 'PCPU (dedicated CPUs)',
    'MEMORY_MB': 'MiB memory',
    'DISK_GB': 'GiB disk',
}


class Kind(enum.StrEnum):
    """What a condition is about."""

    #: Whether Nova and Placement accept the request at all.
    REQUEST = 'request'
    DEVICES = 'devices'
    RESOURCE = 'resource'
    TRAIT = 'trait'
    IMAGE_TRAIT = 'image trait'
    AGGREGATE = 'aggregate'
    PROJECT = 'project'
    ZONE = 'availability zone'
    HOST = 'host'
    SERVICE = 'service'
    #: What PciPassthroughFilter and other filters match on the host.
    FILTER = 'filter'


@dataclasses.dataclass(frozen=True)
class Condition:
    """A condition of a request, and the hosts that do not meet it alone."""

    #: Stable: ``devices:nvidia_h100``, ``resource:VCPU``, ``trait:NAME``,
    #: ``zone``, ``host``, ``project``, ``aggregate:NAME``, ``enabled``,
    #: ``up``, ``request``, ``compute-node``.
    key: str
    kind: Kind
    #: ``2 x nvidia_h100 (CUSTOM_PCI_10DE_2330)``
    name: str
    #: What each of these hosts lacks, by the id of the compute node.
    lacks: dict[str, str]
    #: The part of the demand that takes resources; None if it takes none.
    part: demand_model.Demand | None = None
    #: Whether Placement decides it; otherwise a filter of nova-scheduler.
    in_placement: bool = True
    #: Ids of hosts in aggregates that are isolated for traits which only this
    #: condition requires: a request without it excludes them.
    opens: frozenset[str] = frozenset()

    @property
    def is_of_node(self) -> bool:
        """Whether it is a group of resources of the compute node."""
        return self.kind is Kind.DEVICES and any(
            name in flavor_model.OF_THE_NODE
            for request in (self.part.devices if self.part else ())
            for name in request.resources
        )


@dataclasses.dataclass(frozen=True)
class Facts:
    """What is known of all compute nodes of a cloud."""

    #: All compute nodes. Those without PCI devices have no resources and
    #: traits; the other fields tell what Placement says of them.
    hosts: tuple[capacity.HostCapacity, ...]
    #: Providers that can allocate an amount of a resource class.
    providing: dict[tuple[str, int], frozenset[str]] = dataclasses.field(
        default_factory=dict
    )
    #: Providers with a trait; None for a trait that Placement does not know.
    with_trait: dict[str, frozenset[str] | None] = dataclasses.field(
        default_factory=dict
    )
    #: Resource classes that Placement does not know.
    unknown_classes: frozenset[str] = frozenset()
    #: Classes that a provider shares with others, such as shared storage.
    shared: frozenset[str] = frozenset()
    #: Whether nova-scheduler requires the trait OWNER_NOVA.
    owner_required: bool = False
    #: What is known of devices besides, by the id of the provider.
    devices: dict[str, passthrough_filter.DeviceFacts] = dataclasses.field(
        default_factory=dict
    )
    #: Definitions of aliases, by name.
    aliases: dict[str, alias_model.Alias] = dataclasses.field(
        default_factory=dict
    )

    def provides(
        self, host: capacity.HostCapacity, name: str, amount: int
    ) -> bool:
        """Return whether a compute node can allocate an amount."""
        if host.node.resources is None:
            uuids = self.providing.get((name, amount))
            return uuids is None or host.node.uuid in uuids
        resource = host.node.resource(name)
        return resource is not None and resource.fits(amount) > 0

    def has_trait(self, host: capacity.HostCapacity, trait: str) -> bool:
        """Return whether a compute node has a trait."""
        uuids = self.with_trait.get(trait) or frozenset()
        return host.node.uuid in uuids or trait in host.node.traits


@dataclasses.dataclass(frozen=True)
class ServerGroup:
    """A server group that a server is a member of.

    Where nova-scheduler does not have the filter of its policy, nova-compute
    refuses the server (``nova/compute/manager.py:ComputeManager.
    _validate_instance_group_policy``).
    """

    name: str
    #: ``affinity``, ``anti-affinity`` or a soft one.
    policy: str
    #: Number of other members, by compute service.
    hosts: dict[str, int]
    #: Members on one host with ``anti-affinity``.
    most: int = 1
    #: Ids of the other members.
    members: frozenset[str] = frozenset()

    def refusal(self, host: capacity.HostCapacity) -> str:
        """Return why a host is excluded (``nova/scheduler/filters/
        affinity_filter.py``); empty if it is not."""
        count = self.hosts.get(host.service_host or '', 0)
        if self.policy == 'anti-affinity' and count >= self.most:
            return f'has {count} member{"" if count == 1 else "s"}'
        if self.policy == 'affinity' and self.hosts and not count:
            return 'has no member'
        return ''


@dataclasses.dataclass(frozen=True)
class Restrictions:
    """Where a server may go, besides what its flavor and image request."""

    #: None where it is not known.
    project_id: str | None = None
    #: The availability zone, if an aggregate sets it.
    zone: str | None = None
    #: The only host: hypervisor hostname or name of the compute service.
    host: str | None = None
    #: Hosts that are excluded, such as the source of a move, and why.
    excluded: dict[str, str] = dataclasses.field(default_factory=dict)
    group: ServerGroup | None = None


@dataclasses.dataclass(frozen=True)
class Row:
    """A condition, with how many hosts are left after it."""

    condition: Condition
    #: Hosts that meet it alone.
    alone: int
    #: Hosts that meet it and all conditions before it.
    left: int
    #: The hosts that it removes, by what they lack.
    removed: dict[str, tuple[capacity.HostCapacity, ...]]


@dataclasses.dataclass(frozen=True)
class Conflict:
    """A minimal set of conditions that no host meets."""

    conditions: tuple[Condition, ...]
    #: The hosts that fit the request without each of these.
    without: tuple[tuple[capacity.HostCapacity, ...], ...]


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The conditions of a request, and the hosts that meet them."""

    wanted: demand_model.Demand
    facts: Facts
    conditions: tuple[Condition, ...]

    @functools.cached_property
    def failing(self) -> dict[str, conflicts.Failing]:
        """The minimal sets of conditions that each host fails, by its id."""
        return {
            host.node.uuid: failing_sets(host, self.conditions, self.facts)
            for host in self.facts.hosts
        }

    def meeting(
        self, numbers: collections.abc.Set[int]
    ) -> tuple[capacity.HostCapacity, ...]:
        """Return the hosts that meet some conditions, given by number."""
        return tuple(
            host
            for host in self.facts.hosts
            if conflicts.meets(self.failing[host.node.uuid], numbers)
        )

    def without(self, number: int) -> tuple[capacity.HostCapacity, ...]:
        """Return the hosts that fit the request without a condition.

        A trait that is required also includes hosts of aggregates that are
        isolated for it. Nova needs a resource of the compute node, and
        Placement one in the group of its traits. What is requested in place of
        a group of CPUs or memory is not known.
        """
        condition = self.conditions[number]
        if condition.key == OF_NODE or condition.is_of_node:
            return ()
        left = self.meeting_others(number)
        kind, _colon, name = condition.key.partition(':')
        if kind == 'resource' and self.wanted.resources.keys() == {name}:
            if self.wanted.required or self.wanted.forbidden:
                return ()
            others = dataclasses.replace(self.wanted, resources={})
            left = tuple(
                host for host in left if capacity.takes_of_node(host, others)
            )
        return tuple(
            host for host in left if host.node.uuid not in condition.opens
        )

    def meeting_others(self, number: int) -> tuple[capacity.HostCapacity, ...]:
        """Return the hosts that meet what is requested besides a condition.

        Nothing filters devices that are not requested.
        """
        kind, _colon, name = self.conditions[number].key.partition(':')
        others = {
            other
            for other, condition in enumerate(self.conditions)
            if other != number
            and not (kind == 'devices' and condition.key == f'filter:{name}')
        }
        return self.meeting(others)

    @functools.cached_property
    def labels(self) -> dict[str, str]:
        """Short names of hosts, by hypervisor hostname: without the domain.

        The hostname itself if another host has the same first label.
        """
        names = [host.node.name for host in self.facts.hosts]
        labels = collections.Counter(name.split('.')[0] for name in names)
        return {
            name: label if labels[label := name.split('.')[0]] == 1 else name
            for name in names
        }

    @property
    def all_numbers(self) -> frozenset[int]:
        return frozenset(range(len(self.conditions)))

    @functools.cached_property
    def fitting(self) -> tuple[capacity.HostCapacity, ...]:
        """The hosts that meet all conditions."""
        return self.meeting(self.all_numbers)

    @functools.cached_property
    def in_placement(self) -> tuple[capacity.HostCapacity, ...]:
        """The hosts that meet all conditions that Placement decides."""
        return self.meeting(
            frozenset(
                number
                for number, condition in enumerate(self.conditions)
                if condition.in_placement
            )
        )

    @functools.cached_property
    def rows(self) -> tuple[Row, ...]:
        """The conditions in their order, with the hosts left after each."""
        rows = []
        left = self.facts.hosts
        for number, condition in enumerate(self.conditions):
            kept = self.meeting(frozenset(range(number + 1)))
            kept_ids = {host.node.uuid for host in kept}
            removed: dict[str, list[capacity.HostCapacity]] = {}
            for host in left:
                if host.node.uuid not in kept_ids:
                    reason = condition.lacks.get(
                        host.node.uuid
                    ) or self._together(host, number)
                    removed.setdefault(reason, []).append(host)
            rows.append(
                Row(
                    condition,
                    len(self.facts.hosts) - len(condition.lacks),
                    len(kept),
                    {
                        reason: tuple(hosts)
                        for reason, hosts in sorted(
                            removed.items(), key=lambda item: -len(item[1])
                        )
                    },
                )
            )
            left = kept
        return tuple(rows)

    def _together(self, host: capacity.HostCapacity, number: int) -> str:
        """Return the conditions with which a host does not meet another."""
        others = min(
            (
                together
                for together in self.failing[host.node.uuid]
                if number in together and max(together) == number
            ),
            key=lambda together: (len(together), sorted(together)),
        )
        names = ' and '.join(
            self.conditions[other].name for other in sorted(others - {number})
        )
        return f'not beside {names}'

    @functools.cached_property
    def conflict_sets(self) -> conflicts.Conflicts:
        """The minimal sets of conditions that no host meets, by number."""
        return conflicts.find(self.failing.values())

    @functools.cached_property
    def conflicts(self) -> tuple[Conflict, ...]:
        """The minimal sets of conditions that no host meets."""
        return tuple(
            Conflict(
                tuple(self.conditions[number] for number in sorted(together)),
                tuple(map(self.without, sorted(together))),
            )
            for together in self.conflict_sets.sets
        )


def failing_sets(
    host: capacity.HostCapacity,
    conditions: collections.abc.Sequence[Condition],
    facts: Facts,
) -> conflicts.Failing:
    """Return the minimal sets of conditions that a host fails."""
    uuid = host.node.uuid
    sets = [
        frozenset({number})
        for number, condition in enumerate(conditions)
        if uuid in condition.lacks
    ]
    parts = {
        number: condition.part
        for number, condition in enumerate(conditions)
        if condition.part is not None
        and uuid not in condition.lacks
        # A filter does not count where Placement returns no candidate.
        and (
            condition.kind is not Kind.FILTER
            or _fit(host, (condition.part,), facts)
        )
    }
    if host.node.resources is not None and not _fit(
        host, parts.values(), facts
    ):
        sets += _failing_together(host, parts, facts)
    return conflicts.minimal(sets)


def _failing_together(
    host: capacity.HostCapacity,
    parts: dict[int, demand_model.Demand],
    facts: Facts,
) -> collections.abc.Iterator[conflicts.Set]:
    """Yield the minimal sets of parts that a host meets only one by one."""
    has_failed = False
    for numbers in _sharing(parts):
        sharing = {number: parts[number] for number in numbers}
        if not _fit(host, sharing.values(), facts):
            has_failed = True
            yield from _failing_of_sharing(host, sharing, facts)
    if not has_failed:
        yield frozenset(parts)


def _failing_of_sharing(
    host: capacity.HostCapacity,
    parts: dict[int, demand_model.Demand],
    facts: Facts,
) -> collections.abc.Iterator[conflicts.Set]:
    failing: list[conflicts.Set] = []
    most = len(parts) if len(parts) <= _PARTS else 2
    for size in range(2, most + 1):
        for numbers in itertools.combinations(sorted(parts), size):
            together = frozenset(numbers)
            if any(smaller <= together for smaller in failing):
                continue
            if not _fit(host, [parts[number] for number in numbers], facts):
                failing.append(together)
                yield together
    if not failing:
        yield frozenset(parts)


def _sharing(
    parts: collections.abc.Mapping[int, demand_model.Demand],
) -> list[set[int]]:
    """Return parts in groups: no part takes what one of another group takes.

    They share resource classes; with ``group_policy=isolate``, whether a
    provider serves two groups depends on all parts.
    """
    if any(part.isolate for part in parts.values()):
        return [set(parts)]
    groups: list[tuple[set[int], set[str]]] = []
    for number, part in parts.items():
        numbers = {number}
        classes = set(part.resources).union(
            *(request.resources for request in part.devices)
        )
        for group in [each for each in groups if each[1] & classes]:
            groups.remove(group)
            numbers |= group[0]
            classes |= group[1]
        groups.append((numbers, classes))
    return [numbers for numbers, _classes in groups]


def _fit(
    host: capacity.HostCapacity,
    parts: collections.abc.Iterable[demand_model.Demand],
    facts: Facts,
) -> bool:
    """Return whether a host has the resources of some parts together."""
    wanted = merge_parts(parts)
    wanted = dataclasses.replace(
        wanted,
        resources={
            name: amount
            for name, amount in wanted.resources.items()
            if not _is_shared(host, name, facts)
        },
    )
    if not wanted.resources and not wanted.devices:
        return True
    return capacity.fit(host, wanted, whole=False).count > 0


def _is_shared(host: capacity.HostCapacity, name: str, facts: Facts) -> bool:
    return name in facts.shared and host.node.resource(name) is None


def merge_parts(
    parts: collections.abc.Iterable[demand_model.Demand],
) -> demand_model.Demand:
    """Return the demand of some parts of one request together."""
    resources: dict[str, int] = {}
    devices: dict[str, demand_model.DeviceRequest] = {}
    isolate = False
    vcpus = 0
    for part in parts:
        resources.update(part.resources)
        for request in part.devices:
            # Two conditions of one request: of Placement, and of a filter.
            other = devices.get(request.name, request)
            devices[request.name] = dataclasses.replace(
                request, traits=request.traits | other.traits
            )
        isolate = isolate or part.isolate
        vcpus = vcpus or part.vcpus_in_place_of_pcpus
    return demand_model.Demand(
        resources,
        tuple(devices.values()),
        isolate=isolate,
        vcpus_in_place_of_pcpus=vcpus,
    )


class _Builder:
    """Makes the conditions of a request, in the order of the table."""

    def __init__(
        self,
        wanted: demand_model.Demand,
        facts: Facts,
        restrictions: Restrictions,
        options: scheduler_options.SchedulerOptions,
    ) -> None:
        self._wanted = wanted
        self._facts = facts
        self._restrictions = restrictions
        self._options = options

    def build(self) -> collections.abc.Iterator[Condition]:
        for condition in self._conditions():
            yield dataclasses.replace(condition, opens=self._opens(condition))

    def _conditions(self) -> collections.abc.Iterator[Condition]:
        wanted = self._wanted
        if wanted.refusal:
            yield self._condition(
                'request',
                Kind.REQUEST,
                'Nova accepts the request',
                lambda host: wanted.refusal,
            )
            return
        for request in self._device_requests():
            yield self._devices(request)
        for request in self._wanted.devices:
            yield from self._filter(request)
        for name, amount in self._node_resources():
            yield self._resource(name, amount)
        yield from self._of_node()
        yield from self._traits()
        yield from self._aggregates()
        yield from self._places()
        yield from self._services()

    def _of_node(self) -> collections.abc.Iterator[Condition]:
        """Yield a condition if a request takes nothing of the compute node.

        nova-scheduler looks for the allocation of the compute node among the
        candidates (``nova/scheduler/manager.py:_schedule``).
        """
        condition = self._condition(
            OF_NODE,
            Kind.REQUEST,
            'resource of the compute node',
            lambda host: (
                ''
                if capacity.takes_of_node(host, self._wanted)
                else 'none is requested'
            ),
            in_placement=False,
        )
        if condition.lacks:
            yield condition

    def _condition(
        self,
        key: str,
        kind: Kind,
        name: str,
        lack: collections.abc.Callable[[capacity.HostCapacity], str],
        *,
        part: demand_model.Demand | None = None,
        in_placement: bool = True,
    ) -> Condition:
        lacks = {
            host.node.uuid: reason
            for host in self._facts.hosts
            if (reason := lack(host))
        }
        return Condition(key, kind, name, lacks, part, in_placement)

    def _on_node(self, name: str) -> bool:
        """Return whether compute nodes have the inventory of a class."""
        return name in flavor_model.OF_THE_NODE or any(
            host.node.resource(name) is not None for host in self._facts.hosts
        )

    def _node_resources(self) -> list[tuple[str, int]]:
        return [
            (name, amount)
            for name, amount in self._wanted.resources.items()
            if self._on_node(name)
        ]

    def _device_requests(self) -> list[demand_model.DeviceRequest]:
        """Return the requests for devices: aliases first."""
        requests = sorted(
            self._wanted.devices, key=lambda request: not request.by_alias
        )
        return [
            *requests,
            *(
                demand_model.DeviceRequest(
                    f'resources:{name}', name, units=amount
                )
                for name, amount in self._wanted.resources.items()
                if not self._on_node(name)
            ),
        ]

    def _part(
        self,
        resources: dict[str, int] | None = None,
        devices: tuple[demand_model.DeviceRequest, ...] = (),
    ) -> demand_model.Demand:
        pinned = 'PCPU' in (resources or {})
        return demand_model.Demand(
            resources or {},
            devices,
            isolate=self._wanted.isolate,
            vcpus_in_place_of_pcpus=(
                self._wanted.vcpus_in_place_of_pcpus if pinned else 0
            ),
        )

    def _devices(self, request: demand_model.DeviceRequest) -> Condition:
        by_class = request.name == f'resources:{request.resource_class}'
        if self._facts.owner_required and request.by_alias:
            request = dataclasses.replace(
                request, traits=request.traits | {_OWNER}
            )
        if by_class:
            part = self._part({request.resource_class: request.units})
        else:
            part = self._part(devices=(request,))

        def lack(host: capacity.HostCapacity) -> str:
            if _fit(host, (part,), self._facts):
                return ''
            return lacking_devices(host, request, self._facts)

        return self._condition(
            f'devices:{request.name}',
            Kind.DEVICES,
            devices_name(request),
            lack,
            part=part,
        )

    def _filter(
        self, request: demand_model.DeviceRequest
    ) -> collections.abc.Iterator[Condition]:
        """Yield a condition if PciPassthroughFilter drops some device."""
        alias = self._facts.aliases.get(request.name)
        if alias is None or not request.by_alias:
            return
        dropped = {
            device.uuid
            for host in self._facts.hosts
            for device in host.devices
            if capacity.matches(device, request)
            and _mark(request.name) not in device.traits
        }
        if not dropped:
            return
        marked = dataclasses.replace(
            request, traits=request.traits | {_mark(request.name)}
        )
        part = self._part(devices=(marked,))
        plain = self._part(devices=(request,))

        def lack(host: capacity.HostCapacity) -> str:
            # Hosts that Placement does not return are not filtered.
            if _fit(host, (part,), self._facts) or not _fit(
                host, (plain,), self._facts
            ):
                return ''
            return self._dropped(host, alias, dropped)

        yield self._condition(
            f'filter:{request.name}',
            Kind.FILTER,
            f'devices match alias {request.name}',
            lack,
            part=part,
            in_placement=False,
        )

    def _dropped(
        self,
        host: capacity.HostCapacity,
        alias: alias_model.Alias,
        dropped: collections.abc.Container[str],
    ) -> str:
        reasons = collections.Counter(
            passthrough_filter.mismatch(
                alias, self._facts.devices[device.uuid]
            )
            for device in host.devices
            if device.uuid in dropped
        )
        return '; '.join(
            f'{count} device{"" if count == 1 else "s"}: {reason}'
            for reason, count in reasons.most_common(2)
        )

    def _resource(self, name: str, amount: int) -> Condition:
        part = self._part({name: amount})
        instead = self._wanted.vcpus_in_place_of_pcpus

        def lack(host: capacity.HostCapacity) -> str:
            if _is_shared(host, name, self._facts):
                return ''
            if host.node.resources is not None:
                if _fit(host, (part,), self._facts):
                    return ''
            elif self._facts.provides(host, name, amount):
                return ''
            elif (
                name == 'PCPU'
                and instead
                and self._facts.provides(host, 'VCPU', instead)
            ):
                return ''
            return lacking_resource(host, name, amount)

        return self._condition(
            f'resource:{name}',
            Kind.RESOURCE,
            f'{amount} {_UNITS.get(name, name)}',
            lack,
            part=part,
        )

    def _traits(self) -> collections.abc.Iterator[Condition]:
        wanted = self._wanted
        own = set(wanted.required)
        if self._facts.owner_required:
            own.add(_OWNER)
        for trait in sorted(own, key=lambda trait: (trait == _OWNER, trait)):
            image = trait in wanted.of_image
            yield self._condition(
                f'trait:{trait}',
                Kind.IMAGE_TRAIT if image else Kind.TRAIT,
                f'{"image " if image else ""}trait {trait}',
                functools.partial(self._lacking_trait, trait),
            )
        for trait in sorted(wanted.forbidden):
            yield self._condition(
                f'trait:!{trait}',
                Kind.TRAIT,
                f'no trait {trait}',
                functools.partial(self._forbidden_trait, trait),
            )

    def _lacking_trait(self, trait: str, host: capacity.HostCapacity) -> str:
        if self._facts.has_trait(host, trait):
            return ''
        if self._is_unknown(trait):
            return 'Placement does not know the trait'
        if self._is_waived(host, trait) or any(
            trait in device.traits
            for device in host.devices
            # Traits of a device in the unsuffixed group match, too.
            if device.resource_class in self._wanted.resources
        ):
            return ''
        return 'no such trait'

    def _forbidden_trait(self, trait: str, host: capacity.HostCapacity) -> str:
        if self._is_unknown(trait):
            return 'Placement does not know the trait'
        if self._is_waived(host, trait):
            return ''
        return 'has the trait' if self._facts.has_trait(host, trait) else ''

    def _is_unknown(self, trait: str) -> bool:
        return (
            trait in self._facts.with_trait
            and self._facts.with_trait[trait] is None
        )

    def _is_waived(self, host: capacity.HostCapacity, trait: str) -> bool:
        """Return whether the request with VCPU, not PCPU, does not have it."""
        return (
            trait in demand_model.OF_PINNED_CPUS
            and bool(self._wanted.vcpus_in_place_of_pcpus)
            and host.node.resource('PCPU') is None
        )

    def _aggregates(self) -> collections.abc.Iterator[Condition]:
        """Yield conditions of options that are known to be set."""
        if self._options.isolates_aggregates:
            yield self._condition(
                'isolated-aggregates',
                Kind.AGGREGATE,
                'not in an aggregate isolated for other traits',
                self._isolated,
            )
        project = self._restrictions.project_id
        if project is None:
            return
        if self._options.limits_tenants:
            own = [
                group.name
                for group in self._all_aggregates()
                if group.is_of_project(project)
            ]
            if own or self._options.tenants_need_aggregate:
                yield self._condition(
                    'project-aggregate',
                    Kind.PROJECT,
                    f'aggregate of the project: '
                    f'{", ".join(sorted(own)) or "there is none"}',
                    lambda host: (
                        ''
                        if any(group.name in own for group in host.aggregates)
                        else 'not in such an aggregate'
                    ),
                )

    def _all_aggregates(self) -> list[capacity.Aggregate]:
        groups = {
            group.name: group
            for host in self._facts.hosts
            for group in host.aggregates
        }
        return list(groups.values())

    def _opens(self, condition: Condition) -> frozenset[str]:
        """Return the hosts that are isolated without a condition."""
        if not self._options.isolates_aggregates:
            return frozenset()
        only = self._traits_of(condition.key) - frozenset().union(
            *(
                self._traits_of(key)
                for key in self._requiring_keys()
                if key != condition.key
            )
        )
        return frozenset(
            host.node.uuid
            for host in self._facts.hosts
            if only
            and any(
                group.isolating_traits() & only for group in host.aggregates
            )
        )

    def _requiring_keys(self) -> list[str]:
        """Return the keys of conditions that may require traits."""
        return [
            *(f'trait:{trait}' for trait in self._wanted.required),
            *(f'devices:{request.name}' for request in self._wanted.devices),
        ]

    def _traits_of(self, key: str) -> frozenset[str]:
        """Return the traits that the part of a condition requires."""
        kind, _colon, name = key.partition(':')
        if kind == 'trait':
            return self._wanted.required & {name}
        if kind == 'devices':
            return frozenset().union(
                *(
                    request.traits
                    for request in self._wanted.devices
                    if request.name == name
                )
            )
        return frozenset()

    def _isolated(self, host: capacity.HostCapacity) -> str:
        for group in host.aggregates:
            traits = group.isolating_traits() - self._wanted.all_required
            if traits:
                return f'aggregate {group.name} requires {min(traits)}'
        return ''

    def _places(self) -> collections.abc.Iterator[Condition]:
        zone = self._restrictions.zone
        if zone is not None:
            yield self._condition(
                'zone',
                Kind.ZONE,
                f'availability zone {zone}',
                lambda host: _outside_zone(host, zone),
            )
        name = self._restrictions.host
        if name is not None:
            yield self._condition(
                'host',
                Kind.HOST,
                f'host {name}',
                lambda host: (
                    ''
                    if name in (host.node.name, host.service_host)
                    else 'another host'
                ),
            )
        excluded = self._restrictions.excluded
        if excluded:
            yield self._condition(
                'excluded',
                Kind.HOST,
                f'another host than {", ".join(sorted(excluded))}',
                lambda host: excluded.get(host.node.name, ''),
                in_placement=False,
            )

        group = self._restrictions.group
        if group is not None and group.policy in ('affinity', 'anti-affinity'):
            yield self._condition(
                'server-group',
                Kind.HOST,
                f'{group.policy} of server group {group.name}',
                group.refusal,
                in_placement=False,
            )

    def _services(self) -> collections.abc.Iterator[Condition]:
        yield self._condition(
            'enabled',
            Kind.SERVICE,
            'compute service enabled',
            lambda host: (
                host.disabled
                or (
                    f'{_DISABLED} is left on the provider'
                    if _DISABLED in host.node.traits
                    else ''
                )
            ),
        )
        yield self._condition(
            'up',
            Kind.SERVICE,
            'compute service up',
            lambda host: (
                host.down or (host.closed if not host.disabled else '')
            ),
            in_placement=False,
        )


def _outside_zone(host: capacity.HostCapacity, zone: str) -> str:
    zones = sorted(filter(None, {group.zone for group in host.aggregates}))
    if zone in zones:
        return ''
    return f'in {", ".join(zones)}' if zones else 'in the default zone'


def devices_name(request: demand_model.DeviceRequest) -> str:
    """Return the name of a request for devices."""
    count = request.count if request.by_alias else request.units
    label = request.name
    if not request.by_alias:
        return f'{count} x {request.resource_class} ({label.split(":")[0]})'
    text = f'{count} x {label} ({request.resource_class}'
    traits = sorted(request.traits - {_OWNER})
    return text + (f', {", ".join(traits)})' if traits else ')')


def lacking_devices(
    host: capacity.HostCapacity,
    request: demand_model.DeviceRequest,
    facts: Facts,
) -> str:
    """Return what a host lacks of the devices of a request."""
    if request.resource_class in facts.unknown_classes:
        return 'Placement does not know the class'
    if not host.devices:
        return 'reports no device'
    of_class = [
        device
        for device in host.devices
        if device.resource_class == request.resource_class
    ]
    if not of_class:
        return 'no such device'
    matching = [
        device for device in of_class if request.traits <= set(device.traits)
    ]
    if not matching:
        missing = request.traits - set(of_class[0].traits)
        return f'devices lack {", ".join(sorted(missing))}'
    totals = inventory.totals(matching)
    needed = request.count * request.units
    text = f'{totals.free} free of {totals.total}'
    details = [
        f'{number} {word}'
        for number, word in (
            (totals.used, 'used'),
            (totals.reserved, 'reserved'),
        )
        if number
    ]
    if details:
        text += f' ({", ".join(details)})'
    if totals.free >= needed:
        text += ', not as requested'
    return text


def lacking_resource(
    host: capacity.HostCapacity, name: str, amount: int
) -> str:
    """Return what a compute node lacks of a resource class."""
    resource = host.node.resource(name)
    if resource is None:
        if host.node.resources is None:
            return f'less than {amount} free'
        return f'no {name}'
    if resource.max_unit is not None and resource.max_unit < amount:
        return f'at most {resource.max_unit} in one server'
    if resource.free >= amount:
        return f'{resource.free} free, not in these units'
    return f'{resource.free} free of {resource.capacity}'


def _mark(name: str) -> str:
    """Return the mark of devices that the filter does not drop.

    It is no name of a trait.
    """
    return f'matches alias {name}'


def _marked(
    host: capacity.HostCapacity, facts: Facts
) -> capacity.HostCapacity:
    """Return a host whose devices have marks among their traits."""
    if not facts.aliases:
        return host
    unknown = passthrough_filter.DeviceFacts()
    return dataclasses.replace(
        host,
        devices=tuple(
            dataclasses.replace(
                device,
                traits=(
                    *device.traits,
                    *(
                        _mark(name)
                        for name, alias in facts.aliases.items()
                        if _mark(name) not in device.traits
                        and not passthrough_filter.mismatch(
                            alias, facts.devices.get(device.uuid, unknown)
                        )
                    ),
                ),
            )
            for device in host.devices
        ),
    )


def evaluate(
    wanted: demand_model.Demand,
    facts: Facts,
    restrictions: Restrictions,
    options: scheduler_options.SchedulerOptions,
    more: collections.abc.Iterable[Condition] = (),
) -> Evaluation:
    """Return the conditions of a request, and the hosts that meet them.

    :param more: Further conditions, such as those of filters.
    """
    facts = dataclasses.replace(
        facts, hosts=tuple(_marked(host, facts) for host in facts.hosts)
    )
    builder = _Builder(wanted, facts, restrictions, options)
    return Evaluation(wanted, facts, (*builder.build(), *more))
