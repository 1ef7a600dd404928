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

"""Unified limits of Keystone, and services and regions that they are for.

Requests go through the SDK's proxy of Keystone, not through its resources:
these create one limit a request, while Keystone creates many at once or none.
"""

import collections.abc
import typing
import urllib.parse

from openstack import connection

from gpuclient.cloud import request
from gpuclient.cloud import schema
from gpuclient import exceptions
from gpuclient.model import project as project_model

_REGISTERED: dict[str, schema.Shape] = {
    'id': str,
    'service_id': str,
    'region_id': schema.Optional(str),
    'resource_name': str,
    'default_limit': int,
}
_LIMIT: dict[str, schema.Shape] = {
    'id': str,
    'project_id': schema.Optional(str),
    'service_id': str,
    'region_id': schema.Optional(str),
    'resource_name': str,
    'resource_limit': int,
}


def list_registered(
    cloud: connection.Connection,
) -> tuple[project_model.RegisteredLimit, ...]:
    """Return the registered limits of all services, with one request.

    :raises gpuclient.exceptions.Unsupported: Keystone has none.
    """
    action = 'listing registered limits'
    try:
        answer = request.get(
            cloud.identity,
            '/registered_limits',
            action,
            {'registered_limits': [_REGISTERED], 'truncated': _TRUNCATED},
        )
    except exceptions.NotFound as exc:
        raise exceptions.Unsupported(
            f'{action} failed: this Keystone has no unified limits; they '
            'require Identity API 3.11 (Rocky)',
            status=exc.status,
        ) from exc
    _refuse_truncated(answer, action)
    return tuple(
        project_model.RegisteredLimit(
            id=record['id'],
            service_id=record['service_id'],
            region_id=record.get('region_id'),
            name=record['resource_name'],
            default=record['default_limit'],
        )
        for record in answer['registered_limits']
    )


_TRUNCATED = schema.Optional(bool)


def _refuse_truncated(answer: dict[str, typing.Any], action: str) -> None:
    if answer.get('truncated'):
        raise exceptions.CloudError(
            f'{action} failed: Keystone returns only a part of them '
            '([DEFAULT]list_limit): raise it'
        )


def list_limits(
    cloud: connection.Connection,
    project_ids: collections.abc.Collection[str] | None = None,
) -> tuple[project_model.Limit, ...]:
    """Return the limits of projects.

    One request lists those of all projects. If Keystone truncates it
    (``[DEFAULT]list_limit``), those of each project are listed.

    :param project_ids: Projects whose limits to return; None for all that the
        user may see.
    """
    if project_ids is not None and len(project_ids) == 1:
        (project_id,) = project_ids
        return _list_limits(cloud, project_id)[0]
    limits, truncated = _list_limits(cloud)
    if truncated:
        if project_ids is None:
            _refuse_truncated({'truncated': True}, 'listing limits')
        return tuple(
            limit
            for project_id in sorted(project_ids or ())
            for limit in _list_limits(cloud, project_id)[0]
        )
    if project_ids is None:
        return limits
    wanted = frozenset(project_ids)
    return tuple(limit for limit in limits if limit.project_id in wanted)


def _list_limits(
    cloud: connection.Connection, project_id: str | None = None
) -> tuple[tuple[project_model.Limit, ...], bool]:
    query = {} if project_id is None else {'project_id': project_id}
    action = 'listing limits'
    if project_id is not None:
        action = f'listing the limits of project {project_id}'
    answer = request.get(
        cloud.identity,
        '/limits',
        action,
        {'limits': [_LIMIT], 'truncated': _TRUNCATED},
        **query,
    )
    if project_id is not None:
        _refuse_truncated(answer, action)
    return (
        tuple(
            _limit(record)
            for record in answer['limits']
            # Others are of domains.
            if record.get('project_id')
            and project_id in (None, record['project_id'])
        ),
        bool(answer.get('truncated')),
    )


def _limit(record: dict[str, typing.Any]) -> project_model.Limit:
    return project_model.Limit(
        id=record['id'],
        project_id=record['project_id'],
        service_id=record['service_id'],
        region_id=record.get('region_id'),
        name=record['resource_name'],
        value=record['resource_limit'],
    )


def create_registered(
    cloud: connection.Connection,
    scope: project_model.Scope,
    name: str,
    default: int,
) -> bool:
    """Create a registered limit.

    :returns: Whether this request created it: another may have.
    """
    try:
        request.send(
            cloud.identity,
            'POST',
            '/registered_limits',
            f'creating the registered limit {name}',
            json={
                'registered_limits': [
                    {
                        'service_id': scope.service_id,
                        'region_id': scope.region_id,
                        'resource_name': name,
                        'default_limit': default,
                    }
                ]
            },
        )
    except exceptions.Conflict:
        return False
    return True


def delete_registered(cloud: connection.Connection, limit_id: str) -> None:
    """Delete a registered limit, which no project's limit may use."""
    _delete(
        cloud,
        f'/registered_limits/{_quoted(limit_id)}',
        f'deleting registered limit {limit_id}',
    )


def create_limits(
    cloud: connection.Connection,
    scope: project_model.Scope,
    limits: collections.abc.Iterable[tuple[str, str, int]],
) -> None:
    """Create limits of projects: all of them, or none.

    :param limits: Project, name and value of each.
    :raises gpuclient.exceptions.Conflict: One of them exists.
    """
    limits = list(limits)
    projects = sorted({project_id for project_id, _name, _value in limits})
    names = sorted({name for _project_id, name, _value in limits})
    of_projects = (
        f'project {projects[0]}'
        if len(projects) == 1
        else f'{len(projects)} projects'
    )
    request.send(
        cloud.identity,
        'POST',
        '/limits',
        f'creating limits {", ".join(names)} of {of_projects}',
        json={
            'limits': [
                {
                    'project_id': project_id,
                    'service_id': scope.service_id,
                    'region_id': scope.region_id,
                    'resource_name': name,
                    'resource_limit': value,
                }
                for project_id, name, value in limits
            ]
        },
    )


def update_limit(
    cloud: connection.Connection, limit: project_model.Limit, value: int
) -> None:
    """Change a limit of a project.

    Keystone accepts a change to 0 and ignores it
    (``keystone/limit/backends/sql.py:UnifiedLimit.update_limit``): the limit
    is deleted and created again, between which the default applies.
    """
    if not value:
        delete_limit(cloud, limit)
        create_limits(
            cloud,
            project_model.Scope(limit.service_id, limit.region_id),
            [(limit.project_id, limit.name, value)],
        )
        return
    request.send(
        cloud.identity,
        'PATCH',
        f'/limits/{_quoted(limit.id)}',
        f'setting limit {limit.name} of project {limit.project_id}',
        json={'limit': {'resource_limit': value}},
    )


def delete_limit(
    cloud: connection.Connection, limit: project_model.Limit
) -> None:
    """Delete a limit of a project, so that the registered default applies."""
    _delete(
        cloud,
        f'/limits/{_quoted(limit.id)}',
        f'deleting limit {limit.name} of project {limit.project_id}',
    )


def _delete(cloud: connection.Connection, path: str, action: str) -> None:
    try:
        request.send(cloud.identity, 'DELETE', path, action)
    except exceptions.NotFound:
        # Another run has deleted it.
        return


def compute_services(cloud: connection.Connection) -> tuple[str, ...]:
    """Return the IDs of the services of type ``compute``."""
    answer = request.get(
        cloud.identity,
        '/services',
        'listing services',
        {'services': [{'id': str, 'type': str}]},
        type='compute',
    )
    return tuple(
        record['id']
        for record in answer['services']
        if record['type'] == 'compute'
    )


def regions(cloud: connection.Connection) -> tuple[str, ...]:
    """Return the IDs of all regions."""
    answer = request.get(
        cloud.identity,
        '/regions',
        'listing regions',
        {'regions': [{'id': str}]},
    )
    return tuple(sorted(record['id'] for record in answer['regions']))


def _quoted(text: str) -> str:
    return urllib.parse.quote(text, safe='')
