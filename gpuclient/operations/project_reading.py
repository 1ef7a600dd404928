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

"""Read what projects may use."""

import collections.abc
import contextlib
import dataclasses
import typing

from keystoneauth1 import identity
from openstack import connection

from gpuclient.cloud import unified_limits
from gpuclient.cloud.nova import aggregates as nova_aggregates
from gpuclient.cloud.nova import flavors as nova_flavors
from gpuclient.cloud.nova import quotas as nova_quotas
from gpuclient.cloud.nova import server_groups as nova_groups
from gpuclient.cloud.placement import reader as placement_reader
from gpuclient import exceptions
from gpuclient.model import flavor as flavor_model
from gpuclient.model import nova_changes
from gpuclient.model import project as project_model
from gpuclient.model import release as release_model


R = typing.TypeVar('R')


@dataclasses.dataclass(frozen=True)
class QuotaFacts:
    """How the cloud limits projects."""

    driver: project_model.QuotaDriver
    #: Whose limits Nova reads; None where no compute service is known.
    scope: project_model.Scope | None
    registered: tuple[project_model.RegisteredLimit, ...]
    #: Why it is not certain: sentences.
    notes: tuple[str, ...] = ()
    #: Default quotas that Nova reports; empty where they were not read.
    default_quotas: dict[str, int] = dataclasses.field(default_factory=dict)
    #: Nova ignores limits of -1, and resources without a registered limit.
    ignores_unset: bool = True

    def unset_limits(self) -> tuple[str, ...]:
        """Return limits of most servers that Nova takes as 0, as not set."""
        if self.ignores_unset or self.scope is None:
            return ()
        registered = {
            limit.name for limit in self.registered if self.scope.has(limit)
        }
        return tuple(
            name
            for name in project_model.REQUIRED_LIMITS
            if name not in registered
        )

    @property
    def has_quotas(self) -> bool:
        """Whether Nova reads legacy quotas of projects."""
        return self.driver is project_model.QuotaDriver.LEGACY


@contextlib.contextmanager
def for_administrators(action: str) -> collections.abc.Iterator[None]:
    """Say what members can do where policy refuses them something.

    :param action: What only administrators do: ``list projects``.
    """
    try:
        yield
    except exceptions.Forbidden as exc:
        raise exceptions.Forbidden(
            f'{exc}. Only administrators {action}; "openstack gpu project '
            f'show" shows what yours may use',
            status=exc.status,
        ) from exc


def read_quota_facts(
    cloud: connection.Connection,
    region: str | None = None,
    driver: project_model.QuotaDriver | None = None,
    release: release_model.Release | None = None,
) -> QuotaFacts:
    """Return which quota driver Nova runs, and which limits it reads.

    :param region: ``--region``; by default that of the connection.
    :param driver: ``--quota-driver``; by default it is inferred.
    :param release: That of Nova; by default, the newest.
    :raises gpuclient.exceptions.InvalidValue: There is no such region, or
        Nova reads the limits of another.
    """
    services = catalog_scopes(cloud)
    try:
        registered = unified_limits.list_registered(cloud)
    except exceptions.Unsupported:
        return QuotaFacts(
            driver or project_model.QuotaDriver.LEGACY,
            None,
            (),
            default_quotas=nova_quotas.read_defaults(cloud),
        )
    inferred = project_model.QuotaDriver.UNKNOWN
    matching: tuple[project_model.Scope, ...] = ()
    defaults: dict[str, int] = {}
    if driver in (None, project_model.QuotaDriver.LEGACY):
        defaults = nova_quotas.read_defaults(cloud)
    if driver is None:
        inferred, matching = project_model.detect_driver(
            defaults,
            registered,
            {scope.service_id for scope in services},
        )
    scope = _choose_scope(cloud, services, matching, region)
    return QuotaFacts(
        driver or inferred,
        scope,
        registered,
        tuple(_notes(scope, registered, matching)),
        defaults,
        release is None or release.has(nova_changes.UNSET_LIMITS_IGNORED),
    )


def catalog_scopes(
    cloud: connection.Connection,
) -> tuple[project_model.Scope, ...]:
    """Return the compute services and their regions in the catalog."""
    auth = cloud.session.auth
    if not isinstance(auth, identity.BaseIdentityPlugin):
        return ()
    catalog: list[dict[str, typing.Any]] = auth.get_access(
        cloud.session
    ).service_catalog.catalog
    return tuple(
        dict.fromkeys(
            project_model.Scope(str(service['id']), endpoint['region_id'])
            for service in catalog
            if service.get('type') == 'compute' and service.get('id')
            for endpoint in service.get('endpoints', ())
            if endpoint.get('region_id')
        )
    )


def _choose_scope(
    cloud: connection.Connection,
    services: tuple[project_model.Scope, ...],
    matching: tuple[project_model.Scope, ...],
    region: str | None,
) -> project_model.Scope | None:
    if not services:
        return None
    own = cloud.config.region_name
    wanted = region or own
    chosen = next(
        (scope for scope in services if scope.region_id == wanted), None
    )
    if chosen is None and region is None and len(services) == 1:
        (chosen,) = services
    if chosen is None:
        regions = sorted({scope.region_id or '' for scope in services})
        raise exceptions.InvalidValue(
            f'No compute endpoint of the catalog is in region {wanted!r}: '
            f'Nova would not read limits of it. Pass --region with one of '
            f'{", ".join(regions)}'
        )
    if matching and chosen not in matching:
        read = ', '.join(repr(scope.region_id) for scope in matching)
        if region is not None:
            raise exceptions.InvalidValue(
                f'The default quotas that Nova reports are the registered '
                f'limits of region {read}, not of {region!r}: Nova would not '
                f'read limits of it ([oslo_limit] of nova.conf). Pass '
                f'--region {matching[0].region_id}, or --quota-driver unified '
                f'if you know better'
            )
        return matching[0]
    return chosen


def _notes(
    scope: project_model.Scope | None,
    registered: tuple[project_model.RegisteredLimit, ...],
    matching: tuple[project_model.Scope, ...],
) -> collections.abc.Iterator[str]:
    if scope is not None and matching and scope.region_id is None:
        yield (
            'Registered limits of Nova have no region, which is what '
            '[oslo_limit] of nova.conf has to name, too'
        )


def read_state(
    cloud: connection.Connection,
    facts: QuotaFacts,
    flavors: collections.abc.Mapping[str, flavor_model.Flavor],
    *,
    project_ids: collections.abc.Collection[str] | None,
    access: collections.abc.Iterable[str] = (),
    limits: bool = True,
    quotas: collections.abc.Iterable[str] = (),
    aggregates: bool = False,
    server_groups: bool = False,
    refresh: bool = False,
) -> project_model.CloudState:
    """Return what projects have, with as few requests as there can be.

    :param project_ids: Projects whose limits to read; None for all.
    :param access: Private flavors, a request each.
    :param quotas: Projects whose legacy quotas to read, a request each.
    :param refresh: Read registered limits again.
    """
    reader = placement_reader.PlacementReader(cloud.placement)
    private = [key for key in access if not flavors[key].is_public]
    registered = facts.registered
    if refresh and limits and facts.scope is not None:
        registered = unified_limits.list_registered(cloud)
    return project_model.CloudState(
        flavors=flavors,
        access=_each(
            reader,
            private,
            lambda key: _projects_with_access(cloud, flavors[key]),
        ),
        registered=registered,
        limits=unified_limits.list_limits(cloud, project_ids)
        if limits and facts.scope is not None
        else (),
        scope=facts.scope,
        quotas=_each(
            reader,
            tuple(quotas),
            lambda project_id: nova_quotas.read(cloud, project_id),
        ),
        default_quotas=facts.default_quotas,
        aggregates=nova_aggregates.list_aggregates(cloud.compute)
        if aggregates
        else (),
        server_groups=nova_groups.list_groups(cloud) if server_groups else (),
        ignores_unset=facts.ignores_unset,
    )


def _projects_with_access(
    cloud: connection.Connection, flavor: flavor_model.Flavor
) -> frozenset[str]:
    try:
        return nova_flavors.list_access(cloud.compute, flavor)
    except exceptions.NotFound:
        # It was deleted after it was listed.
        return frozenset()


def _each(
    reader: placement_reader.PlacementReader,
    keys: collections.abc.Sequence[str],
    read: collections.abc.Callable[[str], R],
) -> dict[str, R]:
    """Return what several requests return, by key."""
    return dict(zip(keys, reader.each(read, keys), strict=True))


def list_flavors(
    cloud: connection.Connection,
) -> dict[str, flavor_model.Flavor]:
    """Return all flavors by ID."""
    return {
        flavor.id: flavor
        for flavor in nova_flavors.list_flavors(cloud.compute)
    }
