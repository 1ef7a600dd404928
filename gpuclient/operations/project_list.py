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

"""All projects that may use devices, and those that use more than they may."""

import collections
import collections.abc
import dataclasses

from openstack import connection

from gpuclient.cloud import keystone
from gpuclient.cloud.nova import quotas as nova_quotas
from gpuclient.cloud.placement import reader as placement_reader
from gpuclient.cloud.placement import usages
from gpuclient.cloud import usage
from gpuclient.documents import projects_file
from gpuclient import exceptions
from gpuclient.model import partial_result
from gpuclient.model import project as project_model
from gpuclient.model import release as release_model
from gpuclient.model import project_file
from gpuclient.operations import project_editing
from gpuclient.operations import project_reading
from gpuclient.rules import finding
from gpuclient.rules import project as project_rules

_Used = dict[str, dict[str, int]]


@dataclasses.dataclass(frozen=True)
class ProjectRow:
    """A project that may use devices, or does."""

    project: project_model.Project
    #: Whether the project exists in Keystone.
    exists: bool
    #: Names of private flavors that request devices.
    flavors: tuple[str, ...]
    #: Its own limits, by name.
    limits: dict[str, int]
    #: Units of devices, by resource class; None if they are not known.
    used: dict[str, int] | None
    aggregates: tuple[str, ...]
    findings: tuple[finding.Finding, ...]


@dataclasses.dataclass(frozen=True)
class OverLimit:
    """A project that uses more of a resource than its limit."""

    project: project_model.Project
    name: str
    limit: int
    #: ``project`` or ``default``.
    source: str
    used: int


@dataclasses.dataclass(frozen=True)
class ProjectList:
    """What was read of a cloud."""

    facts: project_reading.QuotaFacts
    state: project_model.CloudState
    projects: dict[str, project_model.Project]
    #: Resource classes of devices.
    device_classes: frozenset[str]
    #: By project and resource class; None if it could not be read.
    used: _Used | None
    release: release_model.Release
    domains: dict[str, str] = dataclasses.field(default_factory=dict)

    def project(self, project_id: str) -> project_model.Project:
        return self.projects.get(
            project_id, project_model.Project(project_id, project_id)
        )

    @property
    def limit_names(self) -> frozenset[str]:
        """The names of the limits of devices."""
        return frozenset(
            project_model.CLASS + name for name in self.device_classes
        )

    def ids(self) -> list[str]:
        """Return the projects that may use devices, or do, by name."""
        state = self.state
        ids = {
            project_id
            for projects in state.access.values()
            for project_id in projects
        }
        ids |= {
            limit.project_id
            for limit in state.limits
            if limit.name in self.limit_names
            and state.scope is not None
            and state.scope.has(limit)
        }
        ids |= {
            tenant
            for aggregate in state.aggregates
            for tenant in aggregate.tenants()
        }
        ids |= set(self.used or ())
        return sorted(ids, key=lambda each: (self.project(each).name, each))

    def limits(self, project_id: str) -> dict[str, int]:
        """Return the project's own limits."""
        return {
            name: self.state.limits_of(project_id, name)[0].value
            for name in self.state.names_of_limits(project_id)
        }


@project_reading.for_administrators('list what projects may use')
def read(
    cloud: connection.Connection,
    region: str | None = None,
    driver: project_model.QuotaDriver | None = None,
    release: release_model.Release | None = None,
    *,
    server_groups: bool = False,
) -> partial_result.PartialResult[ProjectList]:
    """Read what all projects may use and use, with requests for lists only.

    There is one request for each private flavor with devices, none for each
    project.
    """
    release = release or release_model.newest()
    facts = project_reading.read_quota_facts(cloud, region, driver, release)
    flavors = project_reading.list_flavors(cloud)
    state = project_editing.read_devices_state(
        cloud, facts, flavors, None, server_groups=server_groups
    )
    projects, truncated = keystone.list_projects(cloud)
    by_id = {project.id: project for project in projects}
    failures: list[partial_result.Failure] = []
    if truncated:
        failures.append(
            partial_result.Failure(
                'names of projects',
                'Keystone returns only a part of them ([DEFAULT]list_limit)',
            )
        )
    used: _Used | None = None
    classes: frozenset[str] = frozenset()
    try:
        answer = usage.read_usage(cloud)
    except exceptions.CloudError as exc:
        failures.append(partial_result.Failure('devices', str(exc)))
    else:
        failures += answer.failures
        used = _by_project(answer.value)
        classes = frozenset(
            device.resource_class
            for device in answer.value.devices
            if device.resource_class is not None
        )
    return partial_result.PartialResult(
        ProjectList(facts, state, by_id, classes, used, release),
        tuple(failures),
    )


def _by_project(use: usage.Usage) -> _Used:
    used: _Used = collections.defaultdict(lambda: collections.defaultdict(int))
    for device in use.devices:
        for consumer in device.consumers or ():
            if consumer.project_id and device.resource_class:
                used[consumer.project_id][device.resource_class] += (
                    consumer.amount
                )
    return {project_id: dict(units) for project_id, units in used.items()}


def rows(listed: ProjectList) -> list[ProjectRow]:
    """Return a row for each project."""
    over: dict[str, list[OverLimit]] = collections.defaultdict(list)
    for each in over_limits_of_devices(listed):
        over[each.project.id].append(each)
    return [
        _row(listed, project_id, over[project_id])
        for project_id in listed.ids()
    ]


def _row(
    listed: ProjectList, project_id: str, over: list[OverLimit]
) -> ProjectRow:
    state = listed.state
    project = listed.project(project_id)
    flavors = tuple(
        sorted(state.flavors[key].name for key in state.flavors_of(project_id))
    )
    findings = [
        project_rules.over_limit(
            project.name, each.name, each.limit, each.used, listed.release
        )
        for each in over
    ]
    exists = project_id in listed.projects
    if not exists:
        findings.append(project_rules.deleted(project_id))
    elif (
        flavors
        and listed.facts.driver is project_model.QuotaDriver.UNIFIED
        and not project_model.limits_devices(state)
    ):
        findings += project_rules.without_device_limit(
            project.name, flavors, listed.release
        )
    limits = listed.limits(project_id)
    findings += _unread(listed, limits)
    findings += project_rules.duplicate_limits(
        project_model.duplicates(state, {project_id})
    )
    if listed.facts.scope is not None:
        findings += project_rules.limits_of_other_scopes(
            (
                limit
                for limit in state.limits
                if limit.project_id == project_id
            ),
            listed.facts.scope,
        )
    return ProjectRow(
        project,
        exists,
        flavors,
        limits,
        None if listed.used is None else listed.used.get(project_id, {}),
        tuple(
            state.aggregate(key).name
            for key in state.aggregates_of(project_id)
        ),
        tuple(findings),
    )


def _unread(
    listed: ProjectList, names: collections.abc.Collection[str]
) -> list[finding.Finding]:
    """Return the finding about limits that Nova does not read."""
    driver = listed.facts.driver
    if driver.reads_limits or not names:
        return []
    return [project_rules.unread_limits(driver, names)]


def unread_limits(listed: ProjectList) -> list[finding.Finding]:
    """Return the finding about limits of the cloud that Nova does not read."""
    state = listed.state
    scope = state.scope
    names: set[str] = set()
    if scope is not None:
        names |= {limit.name for limit in state.limits if scope.has(limit)}
        names |= {limit.name for limit in state.registered if scope.has(limit)}
    return _unread(listed, names)


def over_limits_of_devices(
    listed: ProjectList,
) -> collections.abc.Iterator[OverLimit]:
    """Yield the projects that use more devices than their limits.

    There are none where Nova does not read the limits.
    """
    if not listed.facts.driver.reads_limits:
        return
    for project_id in listed.ids():
        for name, used in sorted(
            ((listed.used or {}).get(project_id) or {}).items()
        ):
            yield from _over(
                listed, project_id, project_model.CLASS + name, used
            )


def over_other_limits(
    cloud: connection.Connection, listed: ProjectList
) -> collections.abc.Iterator[OverLimit]:
    """Yield the projects that use more of other resources than their limits.

    Placement is asked for each project with a limit of its own, if Nova reads
    the limits.
    """
    if not listed.facts.driver.reads_limits:
        return
    names: dict[str, list[str]] = {}
    for limit in listed.state.limits:
        if (
            limit.name not in listed.limit_names
            and limit.name not in project_model.OTHER_LIMITS
            and listed.state.scope is not None
            and listed.state.scope.has(limit)
        ):
            names.setdefault(limit.project_id, []).append(limit.name)
    reader = placement_reader.PlacementReader(cloud.placement)
    ids = sorted(names)
    for project_id, used in zip(
        ids,
        reader.each(
            lambda project_id: _used(cloud, project_id, names[project_id]), ids
        ),
        strict=True,
    ):
        for name, count in sorted(used.items()):
            yield from _over(listed, project_id, name, count)


def _used(
    cloud: connection.Connection, project_id: str, names: list[str]
) -> dict[str, int]:
    by_class = usages.read_usages(cloud, project_id)
    used = {
        name: by_class.get(name.removeprefix(project_model.CLASS), 0)
        for name in names
        if name.startswith(project_model.CLASS)
    }
    if project_model.SERVERS in names:
        used[project_model.SERVERS] = nova_quotas.count_servers(
            cloud, project_id
        )
    return used


def _over(
    listed: ProjectList, project_id: str, name: str, used: int
) -> collections.abc.Iterator[OverLimit]:
    limit = listed.state.effective_limit(project_id, name)
    if limit is not None and used > limit >= 0:
        yield OverLimit(
            listed.project(project_id),
            name,
            limit,
            'project'
            if listed.state.limits_of(project_id, name)
            else 'default',
            used,
        )


def export(
    cloud: connection.Connection, listed: ProjectList
) -> tuple[bytes, list[str]]:
    """Return the file of projects for what there is.

    :returns: Also findings about projects that were deleted, which it does
        not have, and about limits that Nova does not read.
    """
    domains = keystone.domain_names(cloud)
    projects = []
    limits: set[str] = set()
    for row in rows(listed):
        if row.exists:
            domain_id = row.project.domain_id or ''
            limits.update(row.limits)
            projects.append(
                project_file.WantedProject(
                    '',
                    name=row.project.name,
                    domain=domains.get(domain_id, domain_id) or None,
                    flavors=row.flavors,
                    limits={
                        name: value
                        for name, value in row.limits.items()
                        if name not in project_model.OTHER_LIMITS
                    },
                    aggregates=row.aggregates,
                )
            )
    return (
        projects_file.write(projects),
        [
            *map(str, _unread(listed, limits)),
            *(
                str(project_rules.deleted(project_id))
                for project_id in listed.ids()
                if project_id not in listed.projects
            ),
        ],
    )
