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

"""What one project may use now."""

import dataclasses

from keystoneauth1 import identity
from openstack import connection

from gpuclient.cloud import keystone
from gpuclient.cloud.nova import quotas as nova_quotas
from gpuclient.cloud.placement import usages
from gpuclient import exceptions
from gpuclient.model import capacity
from gpuclient.model import flavor as flavor_model
from gpuclient.model import project as project_model
from gpuclient.model import release as release_model
from gpuclient.operations import project_editing
from gpuclient.operations import project_reading
from gpuclient.rules import finding
from gpuclient.rules import project as project_rules


@dataclasses.dataclass(frozen=True)
class LimitView:
    """A limit of a project, with what it uses."""

    name: str
    #: None for no limit.
    limit: int | None
    #: ``project``, ``default``, or ``none``.
    source: str
    #: None where it is not known.
    used: int | None

    @property
    def left(self) -> int | None:
        """How much more may be used; None for no bound, or if unknown."""
        if self.limit is None or self.used is None:
            return None
        return max(0, self.limit - self.used)


@dataclasses.dataclass(frozen=True)
class ProjectView:
    """What a project may use."""

    project: project_model.Project
    #: Whether the project exists in Keystone; None if it is not known.
    exists: bool | None
    driver: project_model.QuotaDriver
    flavors: tuple[flavor_model.Flavor, ...]
    limits: tuple[LimitView, ...]
    quotas: dict[str, int] | None
    #: None if policy hides them.
    aggregates: tuple[capacity.Aggregate, ...] | None
    server_groups: tuple[project_model.ServerGroup, ...]
    findings: tuple[finding.Finding, ...]


def show(
    cloud: connection.Connection,
    name_or_id: str | None,
    domain: str | None,
    region: str | None = None,
    driver: project_model.QuotaDriver | None = None,
    release: release_model.Release | None = None,
) -> ProjectView:
    """Return what a project may use; by default, that of the session.

    What only administrators see is left out for others.
    """
    own = _choose_own(cloud, name_or_id, domain)
    if own is not None:
        return _show(cloud, own, True, region, driver, release)
    with project_reading.for_administrators('see other projects'):
        project, exists = _find(cloud, name_or_id or '', domain)
        return _show(cloud, project, exists, region, driver, release)


def _show(
    cloud: connection.Connection,
    project: project_model.Project,
    exists: bool | None,
    region: str | None,
    driver: project_model.QuotaDriver | None,
    release: release_model.Release | None,
) -> ProjectView:
    release = release or release_model.newest()
    facts = project_reading.read_quota_facts(cloud, region, driver, release)
    flavors = project_reading.list_flavors(cloud)
    devices = project_editing.device_flavors(cloud, flavors)
    state, private = _read(cloud, project, facts, flavors, devices)
    aggregates = None
    if private is not None:
        aggregates = tuple(
            map(state.aggregate, state.aggregates_of(project.id))
        )
    used = usages.read_usages(cloud, project.id)
    usable = tuple(
        flavors[key]
        for key in devices
        if private is None or key in private or flavors[key].is_public
    )
    limits = _limits(cloud, project, facts, state, used, exists)
    return ProjectView(
        project,
        exists,
        facts.driver,
        usable,
        limits,
        _quotas(cloud, project, facts),
        aggregates,
        tuple(
            group
            for group in state.server_groups
            if group.project_id == project.id
        ),
        tuple(_findings(project, facts, state, usable, limits, release)),
    )


def _read(
    cloud: connection.Connection,
    project: project_model.Project,
    facts: project_reading.QuotaFacts,
    flavors: dict[str, flavor_model.Flavor],
    devices: list[str],
) -> tuple[project_model.CloudState, frozenset[str] | None]:
    """Return what a project has, and the private flavors that it may use.

    :returns: None for a member, for whom Nova lists only such flavors.
    """
    try:
        state = project_reading.read_state(
            cloud,
            facts,
            flavors,
            project_ids={project.id},
            access=devices,
            aggregates=True,
            server_groups=True,
        )
    except exceptions.Forbidden:
        if project.id != cloud.session.get_project_id():
            raise
        return (
            project_reading.read_state(
                cloud,
                facts,
                flavors,
                project_ids={project.id},
                server_groups=True,
            ),
            None,
        )
    return state, state.flavors_of(project.id)


def _choose_own(
    cloud: connection.Connection, name_or_id: str | None, domain: str | None
) -> project_model.Project | None:
    """Return the project of the session, if it is meant."""
    own = _own_project(cloud)
    if name_or_id is None:
        if own is None:
            raise exceptions.InvalidValue(
                'The token has no project: name a project'
            )
        return own
    if own is not None and (
        name_or_id == own.id or (name_or_id == own.name and domain is None)
    ):
        return own
    return None


def _find(
    cloud: connection.Connection, name_or_id: str, domain: str | None
) -> tuple[project_model.Project, bool]:
    """Return a project, and whether it exists."""
    try:
        return keystone.read_project(cloud, name_or_id, domain), True
    except exceptions.NotFound:
        if not project_model.is_id(name_or_id):
            raise
        return project_model.Project(name_or_id, name_or_id), False


def _own_project(
    cloud: connection.Connection,
) -> project_model.Project | None:
    auth = cloud.session.auth
    if not isinstance(auth, identity.BaseIdentityPlugin):
        return None
    access = auth.get_access(cloud.session)
    if access.project_id is None:
        return None
    return project_model.Project(
        access.project_id, access.project_name or access.project_id
    )


def _limits(
    cloud: connection.Connection,
    project: project_model.Project,
    facts: project_reading.QuotaFacts,
    state: project_model.CloudState,
    used: dict[str, int],
    exists: bool | None,
) -> tuple[LimitView, ...]:
    names = {
        limit.name
        for limit in state.registered
        if facts.scope is not None
        and facts.scope.has(limit)
        and (
            limit.name == project_model.SERVERS
            or limit.name.startswith(project_model.CLASS)
        )
    }
    names |= {
        name
        for name in state.names_of_limits(project.id)
        if name not in project_model.OTHER_LIMITS
    }
    names |= {
        project_model.CLASS + name
        for name in used
        if name.startswith('CUSTOM_')
    }
    views = []
    for name in sorted(names):
        own = state.value(project_model.Kind.LIMIT, project.id, name)
        source = 'project' if own is not None else 'default'
        if own is None and state.registered_limit(name) is None:
            source = 'none'
        count: int | None = used.get(name.removeprefix(project_model.CLASS), 0)
        if name == project_model.SERVERS:
            count = 0
            if exists:
                count = nova_quotas.count_servers(cloud, project.id)
        views.append(
            LimitView(
                name,
                state.effective_limit(project.id, name)
                if source != 'none'
                else None,
                source,
                count,
            )
        )
    return tuple(views)


def _quotas(
    cloud: connection.Connection,
    project: project_model.Project,
    facts: project_reading.QuotaFacts,
) -> dict[str, int] | None:
    """Return legacy quotas; None where Nova does not read them."""
    if facts.driver is not project_model.QuotaDriver.LEGACY:
        return None
    try:
        return nova_quotas.read(cloud, project.id)
    except exceptions.CloudError as exc:
        if exc.status == 400:
            # Nova validates the project, which was deleted.
            return None
        raise


def _findings(
    project: project_model.Project,
    facts: project_reading.QuotaFacts,
    state: project_model.CloudState,
    flavors: tuple[flavor_model.Flavor, ...],
    limits: tuple[LimitView, ...],
    release: release_model.Release,
) -> list[finding.Finding]:
    findings = []
    if facts.driver is project_model.QuotaDriver.UNIFIED:
        findings = [
            project_rules.over_limit(
                project.name, view.name, view.limit, view.used, release
            )
            for view in limits
            if view.limit is not None
            and view.used is not None
            and view.used > view.limit >= 0
        ]
        if flavors:
            findings += _limits_of_release(
                project, facts, state, flavors, limits, release
            )
    unread = [view.name for view in limits if view.source != 'none']
    if unread and not facts.driver.reads_limits:
        findings.append(project_rules.unread_limits(facts.driver, unread))
    findings += project_rules.duplicate_limits(
        [
            *project_model.duplicates(state, {project.id}),
            *(same[-1] for same in project_model.registered_twice(state)),
        ]
    )
    if facts.scope is not None:
        findings += project_rules.limits_of_other_scopes(
            state.limits, facts.scope
        )
    return findings


def _limits_of_release(
    project: project_model.Project,
    facts: project_reading.QuotaFacts,
    state: project_model.CloudState,
    flavors: tuple[flavor_model.Flavor, ...],
    limits: tuple[LimitView, ...],
    release: release_model.Release,
) -> list[finding.Finding]:
    """Return what Nova does with limits that are not set, or -1."""
    findings = []
    negative = [view.name for view in limits if (view.limit or 0) < 0]
    if negative:
        findings.append(project_rules.unlimited(negative, release))
    unset = facts.unset_limits()
    if unset:
        findings.append(project_rules.unset_limits(unset, release))
    if not project_model.limits_devices(state):
        findings += project_rules.without_device_limit(
            project.name, [flavor.name for flavor in flavors], release
        )
    return findings
