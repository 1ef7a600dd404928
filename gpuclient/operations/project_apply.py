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

"""Give many projects what a file says."""

import collections.abc
import dataclasses
import json

from openstack import connection

from gpuclient.cloud import keystone
from gpuclient.cloud.nova import aggregates as nova_aggregates
from gpuclient.documents import projects_file
from gpuclient.documents import services
from gpuclient import exceptions
from gpuclient.files import atomic
from gpuclient.model import capacity
from gpuclient.model import flavor as flavor_model
from gpuclient.model import project as project_model
from gpuclient.model import project_file
from gpuclient.model import project_plan
from gpuclient.model import release as release_model
from gpuclient.operations import limit_names
from gpuclient.operations import project_editing
from gpuclient.operations import project_reading
from gpuclient.operations import project_run

Kind = project_model.Kind
#: Changes that a message lists.
_MOST_NAMED = 5


@dataclasses.dataclass
class Application:
    """A plan that can be carried out, or saved."""

    run: project_run.ProjectRun
    facts: project_reading.QuotaFacts
    notes: list[str]
    planned: tuple[project_plan.PlannedProject, ...] = ()

    def saved(self) -> bytes:
        """Return the content of a file with the plan."""
        result = self.run.result
        steps = {
            project.desired.project_id: tuple(
                done.step for done in project.steps
            )
            for project in result.projects
        }
        plan = project_plan.SavedPlan(
            self.facts.scope,
            tuple(done.step for done in result.shared),
            tuple(
                dataclasses.replace(project, steps=steps[project.id])
                for project in self.planned
            ),
        )
        return (json.dumps(project_plan.write(plan), indent=1) + '\n').encode()


@dataclasses.dataclass(frozen=True)
class _Entry:
    """A project of a file, in terms of the cloud."""

    wanted: project_file.WantedProject
    project: project_model.Project
    #: Whether the project exists in Keystone.
    exists: bool
    #: IDs of flavors.
    flavors: tuple[str, ...]
    limits: dict[str, int | None]
    #: The places of the limits in the file.
    places: dict[str, str]
    #: IDs of aggregates.
    aggregates: tuple[str, ...]


class _Reader:
    """Joins the projects of a file with a cloud."""

    def __init__(
        self,
        cloud: connection.Connection,
        file: projects_file.ProjectsFile,
        options: project_editing.Options,
        release: release_model.Release,
    ) -> None:
        self.cloud = cloud
        self.file = file
        self.facts = project_reading.read_quota_facts(
            cloud, options.region, options.driver, release
        )
        self.names = limit_names.LimitNames(
            cloud, options.files, force=options.force
        )
        self.flavors = project_reading.list_flavors(cloud)
        self.by_name: dict[str, list[flavor_model.Flavor]] = {}
        for flavor in self.flavors.values():
            self.by_name.setdefault(flavor.name, []).append(flavor)
        self.notes = list(self.facts.notes)
        self.aggregates: dict[str, capacity.Aggregate] = {}
        if any(project.aggregates for project in file.projects):
            for aggregate in nova_aggregates.list_aggregates(cloud.compute):
                self.aggregates[str(aggregate.id)] = aggregate
                self.aggregates[aggregate.name] = aggregate

    def join(self) -> list[_Entry]:
        """Return the projects of the file in terms of the cloud."""
        listed, truncated = keystone.list_projects(self.cloud)
        domains: dict[str, str] = {}
        if any(wanted.domain for wanted in self.file.projects):
            domains = keystone.domain_names(self.cloud)
        by_id = {project.id: project for project in listed}
        by_name: dict[str, list[project_model.Project]] = {}
        for project in listed:
            by_name.setdefault(project.name, []).append(project)
        joined = []
        places: dict[str, str] = {}
        for wanted in self.file.projects:
            match = self._find(wanted, by_id, by_name, domains, truncated)
            if match is None:
                continue
            project, exists = match
            if project.id in places:
                raise self.file.located(
                    f'{wanted.place}.{wanted.key}: {wanted.identifier!r} is '
                    f'also {places[project.id]}'
                )
            places[project.id] = wanted.place
            limits = self.limits(wanted)
            joined.append(
                _Entry(
                    wanted,
                    project,
                    exists,
                    tuple(self.flavor_ids(wanted)),
                    {name: value for name, value, _place in limits},
                    {name: place for name, _value, place in limits},
                    tuple(self.aggregate_ids(wanted)),
                )
            )
        return joined

    def resets_quotas(self, entry: _Entry) -> bool:
        return entry.wanted.absent and entry.exists and self.facts.has_quotas

    def read_state(self, entries: list[_Entry]) -> project_model.CloudState:
        """Return what the projects have now."""
        devices = project_editing.device_flavors(self.cloud, self.flavors)
        return project_reading.read_state(
            self.cloud,
            self.facts,
            self.flavors,
            project_ids={entry.project.id for entry in entries},
            access=sorted(
                {key for entry in entries for key in entry.flavors}.union(
                    devices
                )
            ),
            quotas=[
                entry.project.id
                for entry in entries
                if entry.wanted.quotas or self.resets_quotas(entry)
            ],
            aggregates=any(
                entry.wanted.absent or entry.wanted.aggregates is not None
                for entry in entries
            ),
            server_groups=any(entry.wanted.server_groups for entry in entries),
        )

    def _find(
        self,
        wanted: project_file.WantedProject,
        by_id: dict[str, project_model.Project],
        by_name: dict[str, list[project_model.Project]],
        domains: dict[str, str],
        truncated: bool,
    ) -> tuple[project_model.Project, bool] | None:
        if wanted.id is not None:
            matching = [by_id[wanted.id]] if wanted.id in by_id else []
        else:
            matching = [
                project
                for project in by_name.get(wanted.name or '', ())
                if wanted.domain is None
                or wanted.domain
                in (project.domain_id, domains.get(project.domain_id or ''))
            ]
        if len(matching) > 1:
            raise self.file.located(
                f'{wanted.place}.{wanted.key}: {len(matching)} domains have a '
                f'project {wanted.identifier!r}: set domain, or id'
            )
        if matching:
            return matching[0], True
        if truncated:
            try:
                return (
                    keystone.read_project(
                        self.cloud, wanted.identifier, wanted.domain
                    ),
                    True,
                )
            except exceptions.NotFound:
                pass
        if wanted.absent and wanted.id is not None:
            # It was deleted; Nova may know it still.
            return (
                project_model.Project(wanted.id, wanted.name or wanted.id),
                False,
            )
        if wanted.absent:
            self.notes.append(
                f'Project {wanted.name!r} does not exist: what is left of '
                f'it can be found by its ID only'
            )
            return None
        raise self.file.located(
            f'{wanted.place}.{wanted.key}: no project has the {wanted.key} '
            f'{wanted.identifier!r}'
        )

    def flavor_ids(
        self, wanted: project_file.WantedProject
    ) -> collections.abc.Iterator[str]:
        """Yield the IDs of the flavors of a project."""
        for number, name in enumerate(wanted.flavors or ()):
            flavor = self.flavors.get(name)
            matching = [flavor] if flavor else self.by_name.get(name, [])
            place = f'{wanted.place}.flavors[{number}]'
            if not matching:
                raise self.file.located(
                    f'{place}: no flavor has the name or ID {name!r}'
                )
            if matching[0].is_public:
                raise self.file.located(
                    f'{place}: flavor {name!r} is public, so that every '
                    f'project may use it: name private flavors'
                )
            yield matching[0].id

    def limits(
        self, wanted: project_file.WantedProject
    ) -> list[tuple[str, int, str]]:
        """Return the limits of a project: name in Keystone, value, place."""
        limits: dict[str, tuple[str, int, str]] = {}
        for text, value in (wanted.limits or {}).items():
            place = f'{wanted.place}.limits.{text}'
            try:
                name = self.names.resolve(text)
            except exceptions.GPUError as exc:
                raise self.file.located(f'{place}: {exc}') from exc
            if name in limits:
                raise self.file.located(
                    f'{place}: another key is the limit {name}, too'
                )
            limits[name] = (name, value, place)
        return list(limits.values())

    def aggregate_ids(
        self, wanted: project_file.WantedProject
    ) -> collections.abc.Iterator[str]:
        for number, name in enumerate(wanted.aggregates or ()):
            if name not in self.aggregates:
                raise self.file.located(
                    f'{wanted.place}.aggregates[{number}]: no host aggregate '
                    f'has the name or ID {name!r}'
                )
            yield str(self.aggregates[name].id)


@project_reading.for_administrators('set what projects may use')
def prepare(
    cloud: connection.Connection,
    path: str,
    options: project_editing.Options,
    release: release_model.Release,
) -> Application:
    """Return the plan of a file; nothing is written.

    Reads are requests for lists, and one for each private flavor. For limits
    that are lowered or new, Placement is asked for each project.

    :raises gpuclient.exceptions.GPUError: The file is invalid, or names what
        the cloud does not have; the message has the line.
    """
    reader = _Reader(cloud, projects_file.ProjectsFile(path), options, release)
    joined = reader.join()
    state = reader.read_state(joined)
    device_classes = reader.names.are_devices(
        {limit.name for limit in state.limits}
    )
    desired = [
        _desired(
            entry, state, device_classes, quotas=reader.resets_quotas(entry)
        )
        for entry in joined
    ]
    _check_limits(reader, joined, desired, state, options, release)
    run = project_run.ProjectRun(
        cloud,
        reader.facts,
        reader.flavors,
        desired,
        reader.names.are_devices,
        force=options.force,
        state=state,
    )
    run.check_usage()
    return Application(
        run,
        reader.facts,
        [
            *reader.notes,
            *reader.names.notes,
            *project_editing.limit_notes(
                reader.facts,
                {
                    name
                    for each in desired
                    for name, value in each.limits.items()
                    if value is not None
                },
                release,
            ),
            *project_editing.notes_of_new_limits(cloud, run, reader.names),
        ],
        tuple(map(_planned, joined)),
    )


def _check_limits(
    reader: _Reader,
    entries: list[_Entry],
    desired: list[project_model.Desired],
    state: project_model.CloudState,
    options: project_editing.Options,
    release: release_model.Release,
) -> None:
    """Refuse new limits that Nova does not read, or not as they are meant.

    :raises gpuclient.exceptions.GPUError: There are some.
    """
    new = [project_model.new_limits(each, state) for each in desired]
    for entry, limits in zip(entries, new, strict=True):
        for name in limits:
            try:
                reader.names.check_class(name)
            except exceptions.GPUError as exc:
                raise reader.file.located(
                    f'{entry.places[name]}: {exc}'
                ) from exc
    project_editing.check_driver(
        reader.facts,
        {name for limits in new for name in limits},
        {name for each in desired for name in each.quotas},
        force=options.force,
    )
    for limits in new:
        project_editing.check_unlimited(
            reader.facts, limits, release, force=options.force
        )


def _planned(entry: _Entry) -> project_plan.PlannedProject:
    """Return a project of a plan, without its steps."""
    return project_plan.PlannedProject(
        entry.project.id,
        entry.project.name,
        entry.exists,
        _managed(entry.wanted),
        (),
    )


def _managed(wanted: project_file.WantedProject) -> tuple[Kind, ...]:
    complete = {
        Kind.FLAVOR_ACCESS: wanted.flavors,
        Kind.LIMIT: wanted.limits,
        Kind.AGGREGATE: wanted.aggregates,
    }
    return tuple(
        kind
        for kind in project_plan.MANAGED
        if wanted.absent or complete[kind] is not None
    )


def _desired(
    entry: _Entry,
    state: project_model.CloudState,
    device_classes: frozenset[str],
    *,
    quotas: bool,
) -> project_model.Desired:
    """Return what a project should have, with what is taken away."""
    wanted, project_id = entry.wanted, entry.project.id
    desired = project_model.Desired(
        project_id,
        entry.project.name,
        access=dict.fromkeys(entry.flavors, True),
        limits=entry.limits,
        quotas=dict(wanted.quotas),
        server_groups=dict(wanted.server_groups),
        aggregates=dict.fromkeys(entry.aggregates, True),
    )
    if wanted.absent:
        return project_editing.everything_removed(
            desired, state, quotas=quotas
        )
    if wanted.flavors is not None:
        for key in sorted(state.flavors_of(project_id)):
            desired.access.setdefault(key, False)
    if wanted.limits is not None:
        for name in state.names_of_limits(project_id):
            if name.removeprefix(project_model.CLASS) in device_classes:
                desired.limits.setdefault(name, None)
    if wanted.aggregates is not None:
        for key in state.aggregates_of(project_id):
            desired.aggregates.setdefault(key, False)
    return desired


def load_plan(path: str) -> project_plan.SavedPlan:
    """Return a plan that was saved.

    :param path: ``-`` is standard input.
    :raises gpuclient.exceptions.GPUError: It cannot be read.
    """
    path, content = services.read_content(path)
    text = atomic.decode(path, content)
    try:
        return project_plan.read(json.loads(text))
    except exceptions.InvalidData as exc:
        raise exceptions.InvalidData(
            f'{path} is not a plan of "openstack gpu project apply": {exc}'
        ) from exc
    except (ValueError, RecursionError) as exc:
        raise exceptions.DocumentError(
            f'Cannot read {path}: it is not JSON'
        ) from exc


@project_reading.for_administrators('set what projects may use')
def prepare_saved(
    cloud: connection.Connection,
    plan: project_plan.SavedPlan,
    options: project_editing.Options,
) -> Application:
    """Return a plan that was saved, if the cloud has not moved since.

    :raises gpuclient.exceptions.Conflict: It has; nothing was written.
    """
    facts = project_reading.read_quota_facts(
        cloud, options.region, options.driver
    )
    if facts.scope != plan.scope:
        raise exceptions.Conflict(
            'The plan was saved for another cloud or region: its compute '
            'service differs'
        )
    flavors = project_reading.list_flavors(cloud)
    desired = plan.desired()
    names = limit_names.LimitNames(cloud, options.files, force=True)
    state = _state_of_plan(cloud, facts, flavors, desired)
    projects, truncated = keystone.list_projects(cloud)
    ids = {project.id for project in projects}
    if truncated:
        ids |= {project.id for project in plan.projects}
    changes = project_plan.moved(
        plan,
        state,
        ids,
        {
            project_model.CLASS + name
            for name in names.are_devices(
                {limit.name for limit in state.limits}
            )
        },
    )
    if changes:
        more = len(changes) - _MOST_NAMED
        raise exceptions.Conflict(
            f'The cloud has changed since the plan was saved: '
            f'{"; ".join(changes[:_MOST_NAMED])}'
            f'{f" and {more} more changes" if more > 0 else ""}. Make a new '
            f'plan; nothing was written'
        )
    run = project_run.ProjectRun(
        cloud,
        facts,
        flavors,
        desired,
        names.are_devices,
        force=options.force,
        state=state,
    )
    run.check_usage()
    return Application(run, facts, list(facts.notes), plan.projects)


def _state_of_plan(
    cloud: connection.Connection,
    facts: project_reading.QuotaFacts,
    flavors: dict[str, flavor_model.Flavor],
    desired: tuple[project_model.Desired, ...],
) -> project_model.CloudState:
    """Return what there is of what a plan changes."""
    keys = {key for each in desired for key in each.access}
    gone = sorted(keys - flavors.keys())
    if gone:
        raise exceptions.Conflict(
            f'The cloud has changed since the plan was saved: flavor '
            f'{gone[0]} does not exist any more. Make a new plan; nothing '
            f'was written'
        )
    state = project_reading.read_state(
        cloud,
        facts,
        flavors,
        project_ids={project.project_id for project in desired},
        access=sorted(
            keys.union(project_editing.device_flavors(cloud, flavors))
        ),
        quotas=[each.project_id for each in desired if each.quotas],
        aggregates=True,
        server_groups=any(each.server_groups for each in desired),
    )
    known = {str(aggregate.id) for aggregate in state.aggregates}
    for each in desired:
        for key in sorted(each.aggregates.keys() - known):
            raise exceptions.Conflict(
                f'The cloud has changed since the plan was saved: aggregate '
                f'{key} does not exist any more. Make a new plan; nothing '
                f'was written'
            )
    return state
