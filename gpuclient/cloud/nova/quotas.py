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

"""Legacy quotas of Nova, and which quota driver it runs."""

import typing
import urllib.parse

from openstack import connection

from gpuclient.cloud import request
from gpuclient.cloud import schema
from gpuclient.model import project as project_model

_MICROVERSION = '2.1'


def read_defaults(cloud: connection.Connection) -> dict[str, int]:
    """Return the default quotas that Nova's driver reports, by name.

    Policy lets any user read them.
    """
    project_id = cloud.session.get_project_id() or 'none'
    return _quotas(
        cloud,
        f'/os-quota-sets/{_quoted(project_id)}/defaults',
        'reading the default quotas',
    )


def read(cloud: connection.Connection, project_id: str) -> dict[str, int]:
    """Return the quotas of a project, by name."""
    quotas = _quotas(
        cloud,
        f'/os-quota-sets/{_quoted(project_id)}',
        f'reading the quotas of project {project_id}',
    )
    return {
        name: quotas[name] for name in project_model.QUOTAS if name in quotas
    }


def count_servers(cloud: connection.Connection, project_id: str) -> int:
    """Return how many servers Nova counts for a project."""
    answer = request.get(
        cloud.compute,
        f'/os-quota-sets/{_quoted(project_id)}/detail',
        f'reading the usage of project {project_id}',
        {'quota_set': {'instances': {'in_use': int}}},
        microversion=_MICROVERSION,
    )
    return int(answer['quota_set']['instances']['in_use'])


def write(
    cloud: connection.Connection,
    project_id: str,
    quotas: dict[str, int],
    *,
    force: bool = False,
) -> None:
    """Set quotas of a project.

    :param force: Also below what is used.
    """
    body: dict[str, typing.Any] = dict(quotas)
    if force:
        body['force'] = True
    request.send(
        cloud.compute,
        'PUT',
        f'/os-quota-sets/{_quoted(project_id)}',
        f'setting quotas {", ".join(quotas)} of project {project_id}',
        microversion=_MICROVERSION,
        json={'quota_set': body},
    )


def reset(cloud: connection.Connection, project_id: str) -> None:
    """Let the default quotas apply to a project again."""
    request.send(
        cloud.compute,
        'DELETE',
        f'/os-quota-sets/{_quoted(project_id)}',
        f'resetting the quotas of project {project_id}',
        microversion=_MICROVERSION,
    )


def _quotas(
    cloud: connection.Connection, path: str, action: str
) -> dict[str, int]:
    quotas = request.get(
        cloud.compute,
        path,
        action,
        {'quota_set': schema.Map(schema.OneOf((int, str)))},
        microversion=_MICROVERSION,
    )['quota_set']
    return {
        name: value for name, value in quotas.items() if isinstance(value, int)
    }


def _quoted(text: str) -> str:
    return urllib.parse.quote(text, safe='')
