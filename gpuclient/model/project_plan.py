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

"""A plan for projects that was saved, to be carried out later."""

import collections.abc
import dataclasses
import typing

from gpuclient.model import mapping_reader
from gpuclient.model import project as project_model

Kind = project_model.Kind
_FORMAT = mapping_reader.Format('plan')
_VERSION = 1
#: Keys of a project that are complete in the file of the plan.
MANAGED = (Kind.FLAVOR_ACCESS, Kind.LIMIT, Kind.AGGREGATE)


@dataclasses.dataclass(frozen=True)
class PlannedProject:
    """A project of a plan."""

    id: str
    name: str
    #: Whether it has to exist.
    exists: bool
    #: What no other program may have added.
    managed: tuple[Kind, ...]
    steps: tuple[project_model.Step, ...]


@dataclasses.dataclass(frozen=True)
class SavedPlan:
    """A plan, with all that it depends on."""

    scope: project_model.Scope | None
    shared: tuple[project_model.Step, ...]
    projects: tuple[PlannedProject, ...]

    def desired(self) -> tuple[project_model.Desired, ...]:
        """Return what the projects should have."""
        return tuple(_desired(project) for project in self.projects)


def _desired(project: PlannedProject) -> project_model.Desired:
    by_kind: dict[Kind, dict[str, typing.Any]] = {kind: {} for kind in Kind}
    for step in project.steps:
        by_kind[step.kind][step.key] = None if step.reset else step.after
    return project_model.Desired(
        project.id,
        project.name,
        access=by_kind[Kind.FLAVOR_ACCESS],
        limits=by_kind[Kind.LIMIT],
        quotas=by_kind[Kind.QUOTA],
        server_groups=by_kind[Kind.SERVER_GROUP],
        aggregates=by_kind[Kind.AGGREGATE],
    )


def moved(
    plan: SavedPlan,
    state: project_model.CloudState,
    project_ids: collections.abc.Container[str],
    device_limits: collections.abc.Container[str],
) -> list[str]:
    """Return what has changed since a plan was saved.

    What is already as the plan will set it has not: a plan that was carried
    out in part can be resumed.

    :param project_ids: Projects that exist.
    :param device_limits: Names of limits of devices.
    """
    changes = [
        f'{step.kind} {step.name} is {now}, and was {step.before}'
        for step in plan.shared
        if (now := state.value(step.kind, '', step.key))
        not in (step.before, step.after)
    ]
    for project in plan.projects:
        if project.exists and project.id not in project_ids:
            changes.append(f'project {project.name} does not exist any more')
            continue
        changes += [
            f'project {project.name}: {change}'
            for change in _moved(project, state, device_limits)
        ]
    return changes


def _moved(
    project: PlannedProject,
    state: project_model.CloudState,
    device_limits: collections.abc.Container[str],
) -> collections.abc.Iterator[str]:
    known: dict[Kind, set[str]] = {kind: set() for kind in Kind}
    for step in project.steps:
        known[step.kind].add(step.key)
        now = state.value(step.kind, project.id, step.key)
        if now not in (step.before, step.after):
            yield f'{step.kind} {step.name} is {now}, and was {step.before}'
    current = {
        Kind.FLAVOR_ACCESS: state.flavors_of(project.id),
        Kind.LIMIT: {
            name
            for name in state.names_of_limits(project.id)
            if name in device_limits
        },
        Kind.AGGREGATE: state.aggregates_of(project.id),
    }
    for kind in project.managed:
        for key in sorted(set(current[kind]) - known[kind]):
            name = key
            if kind is Kind.FLAVOR_ACCESS:
                name = state.flavors[key].name
            yield f'{kind} {name} was added'


def write(plan: SavedPlan) -> dict[str, typing.Any]:
    """Return the data of a file with a plan."""
    return {
        'version': _VERSION,
        'scope': None
        if plan.scope is None
        else dataclasses.asdict(plan.scope),
        'registered_limits': [_step(step) for step in plan.shared],
        'projects': [
            {
                'id': project.id,
                'name': project.name,
                'exists': project.exists,
                'managed': [str(kind) for kind in project.managed],
                'steps': [_step(step) for step in project.steps],
            }
            for project in plan.projects
        ],
    }


def _step(step: project_model.Step) -> dict[str, typing.Any]:
    return {
        'kind': str(step.kind),
        'key': step.key,
        'name': step.name,
        'before': step.before,
        'after': step.after,
        'reset': step.reset,
    }


def read(data: typing.Any) -> SavedPlan:
    """Return the plan that the data of a file holds.

    :raises gpuclient.exceptions.InvalidData: It is invalid; the message begins
        with the place.
    """
    top = mapping_reader.MappingReader(data, _FORMAT)
    version = top.integer('version')
    if version != _VERSION:
        raise top.error('version', f'must be {_VERSION}, not {version}')
    scope = None
    if top.has('scope'):
        item = top.mapping('scope')
        scope = project_model.Scope(
            item.text('service_id'), item.text('region_id', None)
        )
        item.done()
    shared = tuple(
        _read_step(item, '')
        for item in top.mappings('registered_limits', [], 0)
    )
    projects = tuple(
        _read_project(item) for item in top.mappings('projects', minimum=0)
    )
    top.done()
    return SavedPlan(scope, shared, projects)


def _read_project(item: mapping_reader.MappingReader) -> PlannedProject:
    project_id = item.text('id')
    project = PlannedProject(
        project_id,
        item.text('name'),
        item.boolean('exists'),
        tuple(
            map(
                Kind,
                item.texts('managed', choices=tuple(map(str, MANAGED))),
            )
        ),
        tuple(
            _read_step(step, project_id)
            for step in item.mappings('steps', minimum=0)
        ),
    )
    item.done()
    return project


#: The types of the values of steps.
_TYPES: dict[Kind, type] = {
    Kind.REGISTERED_LIMIT: int,
    Kind.LIMIT: int,
    Kind.QUOTA: int,
    Kind.AGGREGATE: bool,
    Kind.SERVER_GROUP: str,
    Kind.FLAVOR_ACCESS: bool,
}


def _is_valid(kind: Kind, value: typing.Any) -> bool:
    """Return whether a value is one of a kind of steps."""
    if value is None:
        return _TYPES[kind] is not bool
    return type(value) is _TYPES[kind]


def _check_range(
    item: mapping_reader.MappingReader, key: str, value: int
) -> None:
    """Make sure that Keystone and Nova take a limit or a quota."""
    if not project_model.UNLIMITED <= value <= project_model.LARGEST:
        raise item.error(
            key,
            f'must be {project_model.UNLIMITED} to {project_model.LARGEST}, '
            f'not {value}',
        )


def _read_step(
    item: mapping_reader.MappingReader, project_id: str
) -> project_model.Step:
    kind = Kind(item.text('kind', choices=tuple(map(str, Kind))))
    if (kind is Kind.REGISTERED_LIMIT) == bool(project_id):
        raise item.error('kind', f'{kind} is in the wrong place')
    values: dict[str, project_model.Value] = {}
    for key in ('before', 'after'):
        value: typing.Any = item.get(key, None)
        if not _is_valid(kind, value):
            raise item.error(key, f'must be a value of a {kind}')
        if _TYPES[kind] is int and value is not None:
            _check_range(item, key, value)
        values[key] = value
    step = project_model.Step(
        kind,
        project_id,
        item.text('key'),
        item.text('name'),
        values['before'],
        values['after'],
        item.boolean('reset', False),
    )
    item.done()
    return step
