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

"""What lets a host fit a request: servers, reserved devices and disabled
compute services that have to go, traits that are missing.

Each *way* is a minimal set of actions on one host; the cheapest are those that
disturb no server.
"""

import collections.abc
import dataclasses
import enum
import itertools
import typing

from gpuclient.model import capacity
from gpuclient.model import explanation
from gpuclient.model import inventory

_DISABLED = 'COMPUTE_STATUS_DISABLED'
#: Actions on one host that are tried together.
_SIZE = 3
#: Actions on one host that are combined.
_COMBINED = 24
#: Ways of one host that are returned.
_WAYS = 8


class ActionKind(enum.StrEnum):
    """What an action does."""

    RELEASE_DEVICE = 'release device'
    ENABLE_SERVICE = 'enable service'
    START_SERVICE = 'start service'
    RESTART_SERVICE = 'restart service'
    END_FORCED_DOWN = 'end forced down'
    SET_TRAIT = 'set trait'
    #: In the flavor, not on the host.
    REQUIRE_TRAIT = 'require trait'
    REPAIR_ALLOCATION = 'repair allocation'
    REMOVE_ALLOCATION = 'remove allocation'
    LEAVE_AGGREGATE = 'leave aggregate'
    REMOVE_SERVER = 'remove server'


_OF_SERVICES = frozenset(
    {
        ActionKind.ENABLE_SERVICE,
        ActionKind.START_SERVICE,
        ActionKind.RESTART_SERVICE,
        ActionKind.END_FORCED_DOWN,
    }
)
#: What a kind of action costs, to compare ways.
_COSTS = {
    ActionKind.RELEASE_DEVICE: 1,
    ActionKind.ENABLE_SERVICE: 1,
    ActionKind.REMOVE_ALLOCATION: 2,
    ActionKind.START_SERVICE: 3,
    ActionKind.RESTART_SERVICE: 1,
    ActionKind.END_FORCED_DOWN: 3,
    ActionKind.REPAIR_ALLOCATION: 2,
    ActionKind.SET_TRAIT: 4,
    ActionKind.REQUIRE_TRAIT: 4,
    ActionKind.LEAVE_AGGREGATE: 8,
    ActionKind.REMOVE_SERVER: 10,
}


@dataclasses.dataclass(frozen=True)
class Action:
    """A change of a cloud."""

    kind: ActionKind
    #: Hypervisor hostname.
    host: str
    #: Id of the server, of the resource provider of the device or of the
    #: aggregate, or name of the compute service or of the trait.
    target: str
    #: ``server train-1``, ``device 0000:04:00.0``
    name: str
    #: Units of devices that it frees.
    devices: int = 0
    #: Whether moving the server helps as well as deleting it.
    can_move: bool = True

    @property
    def cost(self) -> int:
        return _COSTS[self.kind] + (
            self.devices if self.kind is ActionKind.REMOVE_SERVER else 0
        )


@dataclasses.dataclass(frozen=True)
class Way:
    """Actions that together let a host fit a request."""

    host: str
    actions: tuple[Action, ...]
    #: The host after them.
    changed: capacity.HostCapacity

    @property
    def cost(self) -> int:
        return sum(action.cost for action in self.actions)

    @property
    def required(self) -> frozenset[str]:
        """The traits that the flavor has to require."""
        return required(self.actions)


@dataclasses.dataclass(frozen=True)
class Holder:
    """A consumer of resources of a host: a server or an allocation."""

    uuid: str
    name: str
    #: Whether Nova has the server.
    is_server: bool
    #: Units by resource class of the compute node.
    resources: dict[str, int]
    #: Units by the id of the provider of a device.
    devices: dict[str, int]
    #: Units of :attr:`devices` that the server does not use, likewise: it
    #: runs on another host, or holds more than its flavor requests.
    leaked: dict[str, int] = dataclasses.field(default_factory=dict)
    #: Whether the server may go to another host before the request.
    can_move: bool = True


class Evaluate(typing.Protocol):
    """Returns the evaluation of other hosts for a request."""

    def __call__(
        self,
        hosts: tuple[capacity.HostCapacity, ...],
        required: frozenset[str] = frozenset(),
    ) -> explanation.Evaluation:
        """Evaluate the request, which also requires some traits."""


def required(actions: collections.abc.Iterable[Action]) -> frozenset[str]:
    """Return the traits that the flavor has to require after some actions."""
    return frozenset(
        action.target
        for action in actions
        if action.kind is ActionKind.REQUIRE_TRAIT
    )


def can_be_set(trait: str) -> bool:
    """Return whether an admin sets a trait, not the driver of nova-compute."""
    return trait.startswith('CUSTOM_')


def _with_traits(
    host: capacity.HostCapacity, traits: collections.abc.Iterable[str]
) -> capacity.HostCapacity:
    return dataclasses.replace(
        host,
        node=dataclasses.replace(
            host.node,
            traits=tuple(dict.fromkeys((*host.node.traits, *traits))),
        ),
    )


def empty(host: capacity.HostCapacity) -> capacity.HostCapacity:
    """Return a host without servers and reserved devices, in service."""
    return dataclasses.replace(
        _in_service(host),
        node=dataclasses.replace(
            host.node,
            resources=None
            if host.node.resources is None
            else tuple(
                dataclasses.replace(resource, used=0)
                for resource in host.node.resources
            ),
            traits=_enabled_traits(host),
        ),
        devices=tuple(
            device
            if device.total is None
            else dataclasses.replace(device, used=0, reserved=0)
            for device in host.devices
        ),
    )


def _not_isolated(host: capacity.HostCapacity) -> capacity.HostCapacity:
    return dataclasses.replace(
        host,
        aggregates=tuple(
            group for group in host.aggregates if not group.isolates
        ),
    )


def _id(group: capacity.Aggregate) -> str:
    return group.name if group.id is None else str(group.id)


def _enabled_traits(host: capacity.HostCapacity) -> tuple[str, ...]:
    return tuple(trait for trait in host.node.traits if trait != _DISABLED)


def _in_service(host: capacity.HostCapacity) -> capacity.HostCapacity:
    return dataclasses.replace(
        host,
        closed='' if host.disabled or host.down else host.closed,
        disabled='',
        down='' if host.service_host is not None else host.down,
        node=dataclasses.replace(host.node, traits=_enabled_traits(host)),
    )


def _with_service(
    host: capacity.HostCapacity, kind: ActionKind
) -> capacity.HostCapacity:
    """Return a host whose service is enabled, or up."""
    if kind in (ActionKind.START_SERVICE, ActionKind.END_FORCED_DOWN):
        closed = '' if host.closed == host.down else host.closed
        return dataclasses.replace(host, down='', closed=closed)
    return dataclasses.replace(
        host,
        disabled='',
        closed='' if host.closed == host.disabled else host.closed,
        node=dataclasses.replace(host.node, traits=_enabled_traits(host)),
    )


def near(
    hosts: collections.abc.Iterable[capacity.HostCapacity],
    evaluate: Evaluate,
    most: int,
) -> tuple[capacity.HostCapacity, ...]:
    """Return hosts that would fit a request if they were empty.

    Some of them only if no aggregate isolated them, or with traits that an
    admin sets.

    :param most: Number of hosts; those that lack least come first.
    """
    hosts = tuple(host for host in hosts if host.node.resources is not None)
    if not hosts:
        return ()
    actual = evaluate(hosts)
    traits = sorted(filter(can_be_set, actual.wanted.required))
    emptied = tuple(_with_traits(empty(host), traits) for host in hosts)
    fitting = {
        host.node.uuid
        for state in (emptied, tuple(map(_not_isolated, emptied)))
        for host in evaluate(state).fitting
    } | _with_required_traits(emptied, evaluate)

    def distance(host: capacity.HostCapacity) -> tuple[int, int, int, str]:
        totals = inventory.totals(host.devices)
        return (
            bool(host.down),
            len(actual.failing[host.node.uuid]),
            -totals.free - totals.reserved,
            host.node.name,
        )

    return tuple(
        sorted(
            (host for host in hosts if host.node.uuid in fitting), key=distance
        )[:most]
    )


def _with_required_traits(
    hosts: collections.abc.Iterable[capacity.HostCapacity],
    evaluate: Evaluate,
) -> set[str]:
    """Return the ids of hosts that fit if the flavor requires more traits.

    Those of the aggregates that isolate the host.
    """
    by_traits: dict[frozenset[str], list[capacity.HostCapacity]] = {}
    for host in hosts:
        traits = frozenset().union(
            *(group.isolating_traits() for group in host.aggregates)
        )
        if traits:
            changed = _with_traits(host, filter(can_be_set, sorted(traits)))
            by_traits.setdefault(traits, []).append(changed)
    return {
        host.node.uuid
        for traits, changed in by_traits.items()
        for host in evaluate(tuple(changed), traits).fitting
    }


def ways(
    host: capacity.HostCapacity,
    holders: collections.abc.Sequence[Holder],
    evaluate: Evaluate,
) -> tuple[Way, ...]:
    """Return the cheapest ways to let a host fit, each of them minimal.

    :param holders: The consumers of resources of the host.
    """
    return _Search(host, holders, evaluate).run()


class _Search:
    def __init__(
        self,
        host: capacity.HostCapacity,
        holders: collections.abc.Sequence[Holder],
        evaluate: Evaluate,
    ) -> None:
        self._evaluate = evaluate
        self._host = host
        self._holders = {holder.uuid: holder for holder in holders}
        result = evaluate((host,))
        self._wanted = result.wanted
        self._facts = result.facts
        #: Actions that an action takes besides.
        self._besides: dict[Action, tuple[Action, ...]] = {}
        self._service = tuple(self._service_actions())
        self._free = tuple(
            sorted(
                (
                    *self._releases(),
                    *self._removals(),
                    *self._settings(),
                    *self._requirements(),
                    *self._departures(),
                ),
                key=lambda action: (action.cost, action.name),
            )
        )

    def run(self) -> tuple[Way, ...]:
        if self._fits(self._service):
            return (self._way(self._service),)
        if not self._fits((*self._service, *self._free)):
            # Some requests need an aggregate.
            self._free = tuple(
                action
                for action in self._free
                if action.kind is not ActionKind.LEAVE_AGGREGATE
            )
            if not self._fits((*self._service, *self._free)):
                return ()
        helpful = self._helpful()
        for size in range(1, _SIZE + 1):
            fitting = [
                chosen
                for chosen in itertools.combinations(helpful, size)
                if self._fits((*self._service, *chosen))
            ]
            if fitting:
                ranked = sorted(
                    (
                        self._way((*self._service, *chosen))
                        for chosen in fitting
                    ),
                    key=lambda way: way.cost,
                )
                return tuple(ranked[:_WAYS])
        return (self._way((*self._service, *self._many())),)

    def _helpful(self) -> tuple[Action, ...]:
        """Return actions that free what the host lacks, the cheapest first.

        An action of the last resort is one without which all others do.
        """
        classes = self._lacking()
        return tuple(
            action for action in self._free if self._frees(action, classes)
        )[:_COMBINED]

    def _lacking(self) -> frozenset[str]:
        """Return the classes that take part in failing conditions."""
        result = self._evaluate((self._changed(self._service),))
        numbers = frozenset().union(*result.failing[self._host.node.uuid])
        return frozenset(
            name
            for number in numbers
            if (part := result.conditions[number].part) is not None
            for name in part.classes
            | ({'VCPU'} if part.vcpus_in_place_of_pcpus else frozenset())
        )

    def _frees(self, action: Action, classes: frozenset[str]) -> bool:
        if action.kind in (
            ActionKind.SET_TRAIT,
            ActionKind.REQUIRE_TRAIT,
            ActionKind.LEAVE_AGGREGATE,
        ):
            return True
        holder = self._holders.get(action.target)
        if holder is None:
            uuids = {action.target}
        else:
            uuids = set(holder.devices)
            if classes & holder.resources.keys():
                return True
        return any(
            device.uuid in uuids and device.resource_class in classes
            for device in self._host.devices
        )

    def _many(self) -> tuple[Action, ...]:
        """Return a minimal set of many actions, the dearest left out first."""
        chosen = list(self._free)
        for action in reversed(self._free):
            fewer = [other for other in chosen if other is not action]
            if self._fits((*self._service, *fewer)):
                chosen = fewer
        return tuple(chosen)

    def _way(self, actions: tuple[Action, ...]) -> Way:
        actions = self._all(actions)
        return Way(self._host.node.name, actions, self._changed(actions))

    def _all(
        self, actions: collections.abc.Iterable[Action]
    ) -> tuple[Action, ...]:
        """Return actions with those that they take besides."""
        return tuple(
            dict.fromkeys(
                each
                for action in actions
                for each in (action, *self._besides.get(action, ()))
            )
        )

    def _service_actions(self) -> collections.abc.Iterator[Action]:
        host = self._host
        service = host.service_host or host.node.name
        if host.disabled or _DISABLED in host.node.traits:
            # nova-api changes the trait only where it changes "disabled"
            # (nova/compute/api.py:HostAPI.service_update); nova-compute
            # removes it when it starts.
            yield Action(
                ActionKind.ENABLE_SERVICE
                if host.disabled
                else ActionKind.RESTART_SERVICE,
                host.node.name,
                service,
                f'compute service {service}',
            )
        if host.down and host.service_host is not None:
            yield Action(
                ActionKind.END_FORCED_DOWN
                if host.down == capacity.FORCED_DOWN
                else ActionKind.START_SERVICE,
                host.node.name,
                service,
                f'compute service {service}',
            )

    def _releases(self) -> collections.abc.Iterator[Action]:
        for device in self._host.devices:
            if device.reserved and (device.total or 0) > (device.used or 0):
                yield Action(
                    ActionKind.RELEASE_DEVICE,
                    self._host.node.name,
                    device.uuid,
                    # As "openstack gpu placement set" takes it.
                    f'device {device.name}',
                    devices=device.reserved,
                )

    def _removals(self) -> collections.abc.Iterator[Action]:
        for holder in self._holders.values():
            if holder.leaked:
                yield Action(
                    ActionKind.REPAIR_ALLOCATION,
                    self._host.node.name,
                    holder.uuid,
                    f'server {holder.name}',
                    devices=sum(holder.leaked.values()),
                )
            if holder.leaked == holder.devices and not holder.resources:
                continue
            yield Action(
                ActionKind.REMOVE_SERVER
                if holder.is_server
                else ActionKind.REMOVE_ALLOCATION,
                self._host.node.name,
                holder.uuid,
                f'{"server" if holder.is_server else "consumer"} '
                f'{holder.name}',
                devices=sum(holder.devices.values()),
                can_move=holder.can_move,
            )

    def _departures(self) -> collections.abc.Iterator[Action]:
        for group in self._host.aggregates:
            if group.isolates and self._can_leave(group):
                yield Action(
                    ActionKind.LEAVE_AGGREGATE,
                    self._host.node.name,
                    _id(group),
                    f'aggregate {group.name}',
                )

    def _can_leave(self, group: capacity.Aggregate) -> bool:
        """Return whether Nova removes the host from an aggregate.

        Its servers must stay in their availability zone
        (``nova/compute/api.py:AggregateAPI.
        ensure_no_instances_need_to_move_az_when_host_removed``).
        """
        return (
            group.zone is None
            or any(
                other.zone == group.zone
                for other in self._host.aggregates
                if other != group
            )
            or not any(holder.is_server for holder in self._holders.values())
        )

    def _settings(self) -> collections.abc.Iterator[Action]:
        """Yield the traits that the request requires and the host lacks."""
        for trait in sorted(filter(can_be_set, self._wanted.required)):
            if not self._facts.has_trait(self._host, trait):
                yield self._trait(ActionKind.SET_TRAIT, trait)

    def _requirements(self) -> collections.abc.Iterator[Action]:
        """Yield a trait of each aggregate for the flavor to require.

        Its other traits, and those that the host lacks, are needed besides.
        """
        wanted = self._wanted
        for group in self._host.aggregates:
            traits = sorted(group.isolating_traits() - wanted.all_required)
            lacking = [
                trait
                for trait in traits
                if not self._facts.has_trait(self._host, trait)
            ]
            if (
                traits
                and not wanted.forbidden.intersection(traits)
                and all(map(can_be_set, lacking))
            ):
                first, *others = (
                    *(
                        self._trait(ActionKind.REQUIRE_TRAIT, trait)
                        for trait in traits
                    ),
                    *(
                        self._trait(ActionKind.SET_TRAIT, trait)
                        for trait in lacking
                    ),
                )
                self._besides[first] = tuple(others)
                yield first

    def _trait(self, kind: ActionKind, trait: str) -> Action:
        return Action(kind, self._host.node.name, trait, f'trait {trait}')

    def _fits(self, actions: collections.abc.Iterable[Action]) -> bool:
        actions = self._all(actions)
        return bool(
            self._evaluate(
                (self._changed(actions),), required(actions)
            ).fitting
        )

    def _changed(
        self, actions: collections.abc.Iterable[Action]
    ) -> capacity.HostCapacity:
        """Return the host after some actions."""
        host = self._host
        released: set[str] = set()
        repaired: set[str] = set()
        removed: set[str] = set()
        left: set[str] = set()
        traits: set[str] = set()
        for action in actions:
            if action.kind in _OF_SERVICES:
                host = _with_service(host, action.kind)
            elif action.kind is ActionKind.RELEASE_DEVICE:
                released.add(action.target)
            elif action.kind is ActionKind.REPAIR_ALLOCATION:
                repaired.add(action.target)
            elif action.kind is ActionKind.LEAVE_AGGREGATE:
                left.add(action.target)
            elif action.kind is ActionKind.SET_TRAIT:
                traits.add(action.target)
            elif action.kind is ActionKind.REQUIRE_TRAIT:
                continue
            else:
                removed.add(action.target)
        host = _with_traits(host, sorted(traits))
        units, freed = self._freed(removed, repaired)
        return dataclasses.replace(
            host,
            aggregates=tuple(
                group for group in host.aggregates if _id(group) not in left
            ),
            node=dataclasses.replace(
                host.node,
                resources=None
                if host.node.resources is None
                else tuple(
                    dataclasses.replace(
                        resource,
                        used=resource.used
                        - units.get(resource.resource_class, 0),
                    )
                    for resource in host.node.resources
                ),
            ),
            devices=tuple(
                dataclasses.replace(
                    device,
                    used=max(0, (device.used or 0) - freed[device.uuid])
                    if device.uuid in freed
                    else device.used,
                    reserved=0 if device.uuid in released else device.reserved,
                )
                for device in host.devices
            ),
        )

    def _freed(
        self, removed: set[str], repaired: set[str]
    ) -> tuple[dict[str, int], dict[str, int]]:
        """Return the units that holders free, by class and by device."""
        units: dict[str, int] = {}
        freed: dict[str, int] = {}
        for target in repaired | removed:
            holder = self._holders[target]
            devices = holder.leaked
            if target in removed:
                devices = holder.devices
                for name, amount in holder.resources.items():
                    units[name] = units.get(name, 0) + amount
            for uuid, amount in devices.items():
                freed[uuid] = freed.get(uuid, 0) + amount
        return units, freed
