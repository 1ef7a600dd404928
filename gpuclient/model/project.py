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

"""What a project may use: flavors, limits, quotas, isolated hosts.

A plan is the ordered list of steps from what a project has to what it should
have. Access to flavors is removed first and added last, so that no server can
be created while a limit is missing.
"""

import collections.abc
import dataclasses
import enum
import functools
import re
import typing

from gpuclient import exceptions
from gpuclient.model import capacity
from gpuclient.model import flavor as flavor_model

#: ``nova/limit/placement.py``
SERVERS = 'servers'
CLASS = 'class:'
#: What nearly every server is counted by.
REQUIRED_LIMITS = (
    SERVERS,
    f'{CLASS}VCPU',
    f'{CLASS}MEMORY_MB',
    f'{CLASS}DISK_GB',
)
#: ``nova/limit/local.py``: limits of Nova that count neither servers nor
#: resources of Placement.
OTHER_LIMITS = (
    'server_groups',
    'server_group_members',
    'server_injected_file_content_bytes',
    'server_injected_file_path_bytes',
    'server_injected_files',
    'server_key_pairs',
    'server_metadata_items',
)
#: The largest limit of Keystone (``keystone/limit/schema.py``).
LARGEST = 2**31 - 1
UNLIMITED = -1
#: Quotas of the legacy driver that concern servers with devices.
QUOTAS = ('cores', 'instances', 'ram')
#: ``nova/objects/fields.py``: policies of server groups.
GROUP_POLICIES = (
    'affinity',
    'anti-affinity',
    'soft-affinity',
    'soft-anti-affinity',
)
#: Prefix of the keys that reserve an aggregate for projects
#: (``nova/scheduler/request_filter.py:require_tenant_aggregate``).
_TENANTS = 'filter_tenant_id'
#: Values of limits and quotas; ``\d`` also matches digits of other scripts.
_NUMBER = re.compile('-1|[0-9]{1,10}')
#: Forms of project IDs: UUIDs, and the 64 digits of some domains.
_ID = re.compile(r'[0-9a-f]{32}|[0-9a-f]{64}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-.*')

Value: typing.TypeAlias = int | bool | str | None


class QuotaDriver(enum.StrEnum):
    """``[quota]driver`` of Nova."""

    UNIFIED = 'unified'
    LEGACY = 'legacy'
    #: ``nova.quota.NoopQuotaDriver``: nothing is limited.
    NONE = 'none'
    UNKNOWN = 'unknown'

    @property
    def reads_limits(self) -> bool:
        """Whether it may compare with the unified limits of Keystone."""
        return self not in (QuotaDriver.LEGACY, QuotaDriver.NONE)


@dataclasses.dataclass(frozen=True)
class Scope:
    """The service and region whose limits Nova reads."""

    service_id: str
    region_id: str | None

    def has(self, limit: 'RegisteredLimit | Limit') -> bool:
        return (limit.service_id, limit.region_id) == (
            self.service_id,
            self.region_id,
        )


@dataclasses.dataclass(frozen=True)
class RegisteredLimit:
    """The default limit of all projects."""

    id: str
    name: str
    default: int
    service_id: str
    region_id: str | None = None


@dataclasses.dataclass(frozen=True)
class Limit:
    """The limit of a project."""

    id: str
    project_id: str
    name: str
    value: int
    service_id: str
    region_id: str | None = None


@dataclasses.dataclass(frozen=True)
class ServerGroup:
    """A server group of a project."""

    id: str
    project_id: str
    name: str
    policy: str
    members: int = 0


@dataclasses.dataclass(frozen=True)
class Project:
    """A project of Keystone."""

    id: str
    name: str
    domain_id: str | None = None


class Kind(enum.StrEnum):
    """What a step is about, in the order of the steps."""

    REGISTERED_LIMIT = 'registered limit'
    LIMIT = 'limit'
    QUOTA = 'quota'
    AGGREGATE = 'aggregate'
    SERVER_GROUP = 'server group'
    FLAVOR_ACCESS = 'flavor access'


@dataclasses.dataclass(frozen=True)
class Step:
    """One setting of a project, as it is and as it should be."""

    kind: Kind
    #: Project; empty for a registered limit.
    project_id: str
    #: Name of the limit, the quota or the server group; ID of the flavor or
    #: the aggregate.
    key: str
    #: The name of the object, for the user.
    name: str
    before: Value
    after: Value
    #: Of a quota: whether the default is to apply, not a value of its own.
    reset: bool = False

    @property
    def is_change(self) -> bool:
        return self.before != self.after

    @property
    def takes_away(self) -> bool:
        """Whether it takes access away, and so comes first."""
        return self.kind is Kind.FLAVOR_ACCESS and not self.after

    @property
    def inverse(self) -> 'Step':
        return dataclasses.replace(
            self, before=self.after, after=self.before, reset=False
        )

    def __str__(self) -> str:
        if self.kind in (Kind.FLAVOR_ACCESS, Kind.AGGREGATE):
            change = 'add' if self.after else 'remove'
            return f'{change} {self.kind} {self.name}'
        before = 'not set' if self.before is None else self.before
        after = 'not set' if self.after is None else self.after
        if self.kind is Kind.SERVER_GROUP:
            if self.after is None:
                return f'delete server group {self.name}'
            return f'create server group {self.name} ({after})'
        return f'{self.kind} {self.name}: {before} -> {after}'


@dataclasses.dataclass(frozen=True)
class CloudState:
    """What projects have now, as far as it was read."""

    flavors: collections.abc.Mapping[str, flavor_model.Flavor]
    #: IDs of the projects that may use each private flavor that was read.
    access: collections.abc.Mapping[str, frozenset[str]]
    registered: tuple[RegisteredLimit, ...] = ()
    limits: tuple[Limit, ...] = ()
    scope: Scope | None = None
    #: By project, where they were read.
    quotas: collections.abc.Mapping[str, collections.abc.Mapping[str, int]] = (
        dataclasses.field(default_factory=dict)
    )
    default_quotas: collections.abc.Mapping[str, int] = dataclasses.field(
        default_factory=dict
    )
    aggregates: tuple[capacity.Aggregate, ...] = ()
    server_groups: tuple[ServerGroup, ...] = ()
    #: Nova ignores limits of -1, and resources without a registered limit.
    ignores_unset: bool = True

    @functools.cached_property
    def _by_key(self) -> dict[tuple[str, str], list[Limit]]:
        """Limits of Nova by project and name."""
        by_key: dict[tuple[str, str], list[Limit]] = {}
        for limit in sorted(self.limits, key=lambda limit: limit.id):
            if self.scope is not None and self.scope.has(limit):
                by_key.setdefault((limit.project_id, limit.name), []).append(
                    limit
                )
        return by_key

    def registered_limit(self, name: str) -> RegisteredLimit | None:
        """Return the registered limit that Nova reads."""
        return min(
            (
                limit
                for limit in self.registered
                if limit.name == name
                and self.scope is not None
                and self.scope.has(limit)
            ),
            key=lambda limit: limit.id,
            default=None,
        )

    def limits_of(self, project_id: str, name: str) -> tuple[Limit, ...]:
        """Return the limits of a project; more than one are duplicates."""
        return tuple(self._by_key.get((project_id, name), ()))

    def names_of_limits(self, project_id: str) -> tuple[str, ...]:
        return tuple(
            sorted(name for owner, name in self._by_key if owner == project_id)
        )

    def groups_of(self, project_id: str, name: str) -> tuple[ServerGroup, ...]:
        """Return the server groups with a name, those in use first."""
        return tuple(
            sorted(
                (
                    group
                    for group in self.server_groups
                    if (group.project_id, group.name) == (project_id, name)
                ),
                key=lambda group: (-group.members, group.id),
            )
        )

    def aggregate(self, key: str) -> capacity.Aggregate:
        """Return the aggregate with an ID."""
        for aggregate in self.aggregates:
            if str(aggregate.id) == key:
                return aggregate
        raise exceptions.NotFound(f'No aggregate has the ID {key}')

    def aggregates_of(self, project_id: str) -> tuple[str, ...]:
        """Return the IDs of the aggregates reserved for a project."""
        return tuple(
            str(aggregate.id)
            for aggregate in self.aggregates
            if project_id in aggregate.tenants()
        )

    def flavors_of(self, project_id: str) -> frozenset[str]:
        """Return the IDs of the private flavors that a project may use."""
        return frozenset(
            flavor_id
            for flavor_id, projects in self.access.items()
            if project_id in projects
        )

    def value(self, kind: Kind, project_id: str, key: str) -> Value:
        """Return what a setting is now."""
        if kind is Kind.REGISTERED_LIMIT:
            registered = self.registered_limit(key)
            return None if registered is None else registered.default
        if kind is Kind.LIMIT:
            limits = self.limits_of(project_id, key)
            return limits[0].value if limits else None
        if kind is Kind.QUOTA:
            return self.quotas.get(project_id, {}).get(key)
        if kind is Kind.AGGREGATE:
            return key in self.aggregates_of(project_id)
        if kind is Kind.SERVER_GROUP:
            groups = self.groups_of(project_id, key)
            return groups[0].policy if groups else None
        return project_id in self.access.get(key, ())

    def effective_limit(self, project_id: str, name: str) -> int | None:
        """Return the limit that Nova compares with; None for no limit.

        Without a registered limit, oslo.limit returns 0, which Nova ignores
        for a resource class (``nova/limit/utils.py:should_enforce``), except
        before 31. Devices that are requested by alias were not counted then.
        """
        value = self.value(Kind.LIMIT, project_id, name)
        if value is None:
            registered = self.registered_limit(name)
            value = None if registered is None else registered.default
        if value is None:
            is_enforced = name == SERVERS or not (
                self.ignores_unset or name.startswith(f'{CLASS}CUSTOM_')
            )
            return 0 if is_enforced else None
        if int(value) < 0 and self.ignores_unset:
            return None
        return int(value)


@dataclasses.dataclass(frozen=True)
class Desired:
    """What a project should have; other settings stay as they are."""

    project_id: str
    name: str
    #: Whether it may use each of some flavors, by ID.
    access: dict[str, bool] = dataclasses.field(default_factory=dict)
    #: By name; None removes the project's own limit.
    limits: dict[str, int | None] = dataclasses.field(default_factory=dict)
    #: Legacy quotas; None lets the default apply.
    quotas: dict[str, int | None] = dataclasses.field(default_factory=dict)
    #: Policies by name; None deletes the group.
    server_groups: dict[str, str | None] = dataclasses.field(
        default_factory=dict
    )
    #: Whether each of some aggregates is reserved for it, by ID.
    aggregates: dict[str, bool] = dataclasses.field(default_factory=dict)


def default_limit(
    name: str, device_classes: frozenset[str], *, ignores_unset: bool
) -> int:
    """Return the default of a registered limit that has to be created.

    It keeps what other projects may use, except for devices: without a
    registered limit, Nova enforces a limit of 0 for servers, and before 31
    for all resources.
    """
    if (
        not ignores_unset
        or name == SERVERS
        or name.removeprefix(CLASS) in device_classes
    ):
        return 0
    return UNLIMITED


def plan_registered(
    desired: collections.abc.Iterable[Desired],
    state: CloudState,
    device_classes: frozenset[str],
) -> tuple[Step, ...]:
    """Return the steps of registered limits, which all projects share."""
    steps: dict[str, Step] = {}
    for project in desired:
        for name, value in project.limits.items():
            if value is not None and name not in steps:
                now = state.value(Kind.REGISTERED_LIMIT, '', name)
                default = default_limit(
                    name, device_classes, ignores_unset=state.ignores_unset
                )
                steps[name] = Step(
                    Kind.REGISTERED_LIMIT,
                    '',
                    name,
                    name,
                    now,
                    default if now is None else now,
                )
    return tuple(steps.values())


def plan_project(desired: Desired, state: CloudState) -> tuple[Step, ...]:
    """Return the steps of one project, in their order."""

    def step(kind: Kind, key: str, name: str, after: Value) -> Step:
        return Step(
            kind,
            desired.project_id,
            key,
            name,
            state.value(kind, desired.project_id, key),
            after,
        )

    steps = [
        step(Kind.LIMIT, name, name, _limit_after(state, name, value))
        for name, value in desired.limits.items()
    ]
    steps += [
        dataclasses.replace(
            step(
                Kind.QUOTA,
                name,
                name,
                state.default_quotas.get(name) if value is None else value,
            ),
            reset=value is None,
        )
        for name, value in desired.quotas.items()
    ]
    steps += [
        step(Kind.AGGREGATE, key, state.aggregate(key).name, reserved)
        for key, reserved in desired.aggregates.items()
    ]
    steps += [
        step(Kind.SERVER_GROUP, name, name, policy)
        for name, policy in desired.server_groups.items()
    ]
    steps += [
        step(Kind.FLAVOR_ACCESS, key, state.flavors[key].name, access)
        for key, access in desired.access.items()
    ]
    return tuple(sorted(steps, key=lambda each: not each.takes_away))


def _limit_after(
    state: CloudState, name: str, value: int | None
) -> int | None:
    """Return the limit to set; without one, the default applies.

    A project that must not use devices keeps a limit of 0 where the default
    is another.
    """
    if value is not None:
        return value
    registered = state.registered_limit(name)
    if registered is not None and registered.default and name != SERVERS:
        return 0 if name.startswith(f'{CLASS}CUSTOM_') else None
    return None


def new_limits(desired: Desired, state: CloudState) -> dict[str, int]:
    """Return the limits to set that a project does not have yet.

    Neither limits to remove, nor those that are set already.
    """
    return {
        name: value
        for name, value in desired.limits.items()
        if value is not None
        and value != state.value(Kind.LIMIT, desired.project_id, name)
    }


def is_of_devices(limit: str) -> bool:
    """Return whether a limit is one of classes of devices."""
    return limit.startswith((f'{CLASS}CUSTOM_', f'{CLASS}PGPU'))


def limits_devices(state: CloudState) -> bool:
    """Return whether a custom resource class has a registered limit."""
    return any(
        is_of_devices(limit.name)
        and state.scope is not None
        and state.scope.has(limit)
        for limit in state.registered
    )


def duplicates(
    state: CloudState, project_ids: collections.abc.Container[str]
) -> tuple[Limit, ...]:
    """Return limits of which a project has more than one, without the first.

    Keystone has no constraint against them: it looks for one before it adds
    another (``keystone/limit/backends/sql.py:_check_unified_limit_unique``).
    Nova uses the first that Keystone lists.
    """
    seen: set[tuple[str, str]] = set()
    extra = []
    for limit in sorted(state.limits, key=lambda limit: limit.id):
        if limit.project_id not in project_ids:
            continue
        if state.scope is None or not state.scope.has(limit):
            continue
        if (limit.project_id, limit.name) in seen:
            extra.append(limit)
        seen.add((limit.project_id, limit.name))
    return tuple(extra)


def registered_twice(
    state: CloudState, names: collections.abc.Container[str] | None = None
) -> tuple[tuple[RegisteredLimit, ...], ...]:
    """Return the registered limits that have the same name, see above.

    :param names: Which names to look at; None for all.
    """
    by_name: dict[str, list[RegisteredLimit]] = {}
    for limit in sorted(state.registered, key=lambda limit: limit.id):
        if (
            state.scope is not None
            and state.scope.has(limit)
            and (names is None or limit.name in names)
        ):
            by_name.setdefault(limit.name, []).append(limit)
    return tuple(tuple(same) for same in by_name.values() if len(same) > 1)


def duplicate_groups(
    state: CloudState, project_ids: collections.abc.Container[str]
) -> tuple[ServerGroup, ...]:
    """Return server groups without members of a name that has another."""
    extra = []
    for project_id, name in dict.fromkeys(
        (group.project_id, group.name) for group in state.server_groups
    ):
        if project_id in project_ids:
            first, *others = state.groups_of(project_id, name)
            extra += [
                group
                for group in others
                if not group.members and group.policy == first.policy
            ]
    return tuple(extra)


def tenant_keys(
    aggregate: capacity.Aggregate, project_id: str, reserved: bool
) -> dict[str, str | None]:
    """Return the metadata that reserves an aggregate for a project, or not.

    Each project has a key of its own: the request filter of Nova compares
    whole values, and two users do not overwrite each other's.
    """
    if reserved:
        if project_id in aggregate.tenants():
            return {}
        return {f'{_TENANTS}_{project_id}': project_id}
    changes: dict[str, str | None] = {}
    for key, value in aggregate.metadata.items():
        projects = [item.strip() for item in value.split(',')]
        if key.startswith(_TENANTS) and project_id in projects:
            others = [item for item in projects if item != project_id]
            changes[key] = ','.join(others) or None
    return changes


def limit_name(text: str) -> str | None:
    """Return the name of a limit for a limit or resource class.

    :returns: None if the text is neither by its form.
    """
    if text == SERVERS or text in OTHER_LIMITS:
        return text
    name = text.removeprefix(CLASS)
    if flavor_model.is_resource_class(name):
        return f'{CLASS}{name}'
    if text.startswith(CLASS):
        raise exceptions.InvalidValue(
            f'{text!r} is not a limit: {name!r} is no resource class of '
            f'Placement. Custom classes begin with CUSTOM_'
        )
    return None


def parse_limit(text: str) -> tuple[str, int]:
    """Return name and value of ``NAME=N``.

    :raises gpuclient.exceptions.InvalidValue: It is anything else.
    """
    name, separator, number = text.rpartition('=')
    if not separator or not name or not _NUMBER.fullmatch(number):
        raise exceptions.InvalidValue(
            f'{text!r} is not NAME=N, a limit and a number such as '
            f'nvidia_a100=4; -1 is unlimited'
        )
    if int(number) > LARGEST:
        raise exceptions.InvalidValue(
            f'Limit {name} is {number}: Keystone takes -1 (unlimited) to '
            f'{LARGEST}'
        )
    return name, int(number)


def parse_quota(name: str, number: str) -> int:
    """Return the value of a legacy quota.

    ``nova/api/openstack/compute/schemas/quota_sets.py``

    :raises gpuclient.exceptions.InvalidValue: There is no such quota, or Nova
        does not take the value.
    """
    if name not in QUOTAS:
        raise exceptions.InvalidValue(
            f'--quota {name} is none of {", ".join(QUOTAS)}'
        )
    if not _NUMBER.fullmatch(number):
        raise exceptions.InvalidValue(
            f'Quota {name} is {number!r}: use a number of 0 or more, such as '
            f'--quota cores=64; -1 is unlimited'
        )
    if int(number) > LARGEST:
        raise exceptions.InvalidValue(
            f'Quota {name} is {number}: Nova takes -1 (unlimited) to {LARGEST}'
        )
    return int(number)


def is_id(text: str) -> bool:
    """Return whether a text has the form of the ID of a project."""
    return _ID.fullmatch(text) is not None


def detect_driver(
    defaults: collections.abc.Mapping[str, int],
    registered: collections.abc.Iterable[RegisteredLimit],
    services: collections.abc.Container[str],
) -> tuple[QuotaDriver, tuple[Scope, ...]]:
    """Return the quota driver, and the scopes whose limits Nova may read.

    The unified driver reports the registered limits as default quotas, and 0
    where there is none (``nova/quota.py:UnifiedLimitsDriver.get_defaults``);
    the legacy one those of nova.conf, and the no-op driver -1.

    :param defaults: Default quotas that Nova reports.
    :param services: IDs of the compute services.
    """
    by_scope: dict[Scope, dict[str, int]] = {}
    for limit in registered:
        if limit.service_id in services:
            by_scope.setdefault(Scope(limit.service_id, limit.region_id), {})[
                limit.name
            ] = limit.default
    matching = tuple(
        scope
        for scope, limits in by_scope.items()
        if all(
            defaults.get(quota, limits.get(name, 0)) == limits.get(name, 0)
            for quota, name in _LEGACY_NAMES.items()
        )
    )
    named = {quota for quota in _LEGACY_NAMES if quota in defaults}
    if not named:
        return QuotaDriver.UNKNOWN, ()
    if all(defaults[quota] == UNLIMITED for quota in named) and not matching:
        return QuotaDriver.NONE, ()
    if matching:
        return QuotaDriver.UNIFIED, matching
    if all(defaults[quota] == 0 for quota in named):
        # No registered limit in the region that Nova reads.
        return QuotaDriver.UNIFIED, ()
    return QuotaDriver.LEGACY, ()


#: ``nova/limit/placement.py:LEGACY_LIMITS``, ``nova/limit/local.py``
_LEGACY_NAMES = {
    'instances': SERVERS,
    'cores': 'class:VCPU',
    'ram': 'class:MEMORY_MB',
    'key_pairs': 'server_key_pairs',
    'metadata_items': 'server_metadata_items',
    'server_groups': 'server_groups',
    'server_group_members': 'server_group_members',
}
