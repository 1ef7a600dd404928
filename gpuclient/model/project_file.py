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

"""The file of ``gpu project apply``: what projects should have.

``gpuclient/data/schema/projects.json`` describes the format. Of a project,
each key that is there is complete as far as devices are concerned: flavors
that request devices, limits of devices and aggregates that it does not name
are taken away. Keys that are not there are left alone.
"""

import dataclasses
import re
import typing

from gpuclient import exceptions
from gpuclient.model import mapping_reader
from gpuclient.model import project as project_model

PROJECTS = mapping_reader.Format('file')
#: Projects in a file; each costs some requests.
MOST = 10000
_TEXT = re.compile(r'\S(.*\S)?')
_A_NAME = 'a name without spaces around it'
_STATES = ('present', 'absent')


@dataclasses.dataclass(frozen=True)
class WantedProject:
    """A project of a file, in the user's terms."""

    #: ``projects[3]``
    place: str
    name: str | None = None
    id: str | None = None
    #: Name or ID of its domain.
    domain: str | None = None
    #: Everything is taken away, also if the project was deleted.
    absent: bool = False
    #: None where the key is missing.
    flavors: tuple[str, ...] | None = None
    limits: dict[str, int] | None = None
    quotas: dict[str, int] = dataclasses.field(default_factory=dict)
    server_groups: dict[str, str] = dataclasses.field(default_factory=dict)
    aggregates: tuple[str, ...] | None = None

    @property
    def key(self) -> str:
        """The key by which the project is found."""
        return 'name' if self.id is None else 'id'

    @property
    def identifier(self) -> str:
        """The value of this key."""
        return (self.name if self.id is None else self.id) or ''


def parse(data: typing.Any) -> tuple[WantedProject, ...]:
    """Return the projects that the data of a file holds.

    :raises gpuclient.exceptions.InvalidData: It is invalid; the message begins
        with the place.
    """
    top = mapping_reader.MappingReader(data, PROJECTS)
    domain = top.text('domain', None, _TEXT, expected=_A_NAME)
    items = top.mappings('projects', minimum=0)
    top.done()
    if len(items) > MOST:
        raise top.error(
            'projects', f'has {len(items)} projects; at most {MOST}'
        )
    projects: list[WantedProject] = []
    seen: dict[tuple[str | None, str | None], str] = {}
    for number, item in enumerate(items):
        project = _project(item, f'projects[{number}]', domain)
        key = (
            (None, project.id)
            if project.id is not None
            else (project.domain, project.name)
        )
        if key in seen:
            raise item.error(
                project.key,
                f'{project.identifier!r} is used twice: also in {seen[key]}',
            )
        seen[key] = project.place
        projects.append(project)
    return tuple(projects)


def _project(
    item: mapping_reader.MappingReader, place: str, domain: str | None
) -> WantedProject:
    project = WantedProject(
        place,
        item.text('name', None, _TEXT, expected=_A_NAME),
        item.text('id', None, _TEXT, expected=_A_NAME),
        item.text('domain', domain, _TEXT, expected=_A_NAME),
        item.text('state', _STATES[0], choices=_STATES) == 'absent',
        _names(item, 'flavors'),
        _limits(item),
        _quotas(item),
        _groups(item),
        _names(item, 'aggregates'),
    )
    item.done()
    if project.name is None and project.id is None:
        raise exceptions.InvalidData(
            f'{place}.name is missing: set name, or id'
        )
    if project.absent and (
        project.flavors
        or project.limits
        or project.quotas
        or project.server_groups
        or project.aggregates
    ):
        raise item.error(
            'state', 'absent takes everything away: remove the other keys'
        )
    return project


def _names(
    item: mapping_reader.MappingReader, key: str
) -> tuple[str, ...] | None:
    names: tuple[str, ...] | None = item.texts(
        key, None, _TEXT, expected=_A_NAME
    )
    for name in names or ():
        if (names or ()).count(name) > 1:
            raise item.error(key, f'{name!r} is listed twice')
    return names


def _mapping(
    item: mapping_reader.MappingReader, key: str
) -> mapping_reader.MappingReader:
    mapping = item.mapping(key, {})
    for name in mapping.keys():
        if not isinstance(name, str) or not _TEXT.fullmatch(name):
            raise item.error(key, f'the key {name!r} must be {_A_NAME}')
    return mapping


def _limits(item: mapping_reader.MappingReader) -> dict[str, int] | None:
    if not item.has('limits'):
        return None
    mapping = _mapping(item, 'limits')
    limits = {}
    for name in mapping.keys():
        limits[name] = _limit(mapping, name)
    return limits


def _limit(mapping: mapping_reader.MappingReader, name: str) -> int:
    """Return a limit or a quota."""
    value = mapping_reader.integer(
        mapping.get(name), mapping.where(name), project_model.UNLIMITED
    )
    if value > project_model.LARGEST:
        raise mapping.error(name, f'must be at most {project_model.LARGEST}')
    return value


def _quotas(item: mapping_reader.MappingReader) -> dict[str, int]:
    mapping = item.mapping('quotas', {})
    quotas = {
        name: _limit(mapping, name)
        for name in project_model.QUOTAS
        if mapping.has(name)
    }
    mapping.done()
    return quotas


def _groups(item: mapping_reader.MappingReader) -> dict[str, str]:
    mapping = _mapping(item, 'server_groups')
    return {
        name: mapping.text(name, choices=project_model.GROUP_POLICIES)
        for name in mapping.keys()
    }


def document(
    projects: list[WantedProject],
) -> dict[str, typing.Any]:
    """Return the data of a file that has some projects."""
    return {'projects': [_record(project) for project in projects]}


def _record(project: WantedProject) -> dict[str, typing.Any]:
    record: dict[str, typing.Any] = {}
    for key in ('name', 'id', 'domain'):
        value = getattr(project, key)
        if value is not None:
            record[key] = value
    if project.absent:
        return {**record, 'state': 'absent'}
    if project.flavors is not None:
        record['flavors'] = list(project.flavors)
    if project.limits is not None:
        record['limits'] = project.limits
    if project.quotas:
        record['quotas'] = project.quotas
    if project.server_groups:
        record['server_groups'] = project.server_groups
    if project.aggregates is not None:
        record['aggregates'] = list(project.aggregates)
    return record
