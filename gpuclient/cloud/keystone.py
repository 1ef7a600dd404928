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

"""Projects and users."""

import collections.abc
import contextlib
import typing
import urllib.parse

from keystoneauth1 import identity
from openstack import connection

from gpuclient.cloud import request
from gpuclient.cloud import schema
from gpuclient import exceptions
from gpuclient.model import project as project_model


_PROJECT: dict[str, schema.Shape] = {'id': str, 'name': str}


def project_names(
    cloud: connection.Connection, wanted: collections.abc.Iterable[str] = ()
) -> dict[str, str]:
    """Return the names of projects by ID, with one request.

    If policy hides the list (``identity:list_projects``), only the project of
    the session is returned. If Keystone truncates the list
    (``[DEFAULT]list_limit``), missing projects are read one by one.

    :param wanted: IDs of projects whose names are needed.
    :raises gpuclient.exceptions.CloudError: With the server's message.
    """
    try:
        answer = request.get(
            cloud.identity,
            '/projects',
            'listing projects',
            {
                'projects': [_PROJECT],
                'truncated': schema.Optional(bool),
            },
        )
    except exceptions.Forbidden:
        auth = cloud.session.auth
        if not isinstance(auth, identity.BaseIdentityPlugin):
            # The project of a fixed token is unknown.
            return {}
        access = auth.get_access(cloud.session)
        if access.project_id is None:
            return {}
        return {access.project_id: access.project_name or ''}
    names = {project['id']: project['name'] for project in answer['projects']}
    if answer.get('truncated'):
        for project_id in sorted(set(wanted) - names.keys()):
            # The project may be deleted.
            with contextlib.suppress(exceptions.NotFound):
                names[project_id] = request.get(
                    cloud.identity,
                    f'/projects/{urllib.parse.quote(project_id, safe="")}',
                    f'reading project {project_id}',
                    {'project': _PROJECT},
                )['project']['name']
    return names


def find_project(
    cloud: connection.Connection, name_or_id: str, domain: str | None = None
) -> str:
    """Return the ID of a project; see :func:`_find`."""
    return _find(cloud, 'project', name_or_id, domain)


def read_project(
    cloud: connection.Connection, name_or_id: str, domain: str | None = None
) -> project_model.Project:
    """Return a project with an ID or a name, in this order.

    :raises gpuclient.exceptions.CloudError: See :func:`_find`.
    """
    project_id = find_project(cloud, name_or_id, domain)
    record = request.get(
        cloud.identity,
        f'/projects/{urllib.parse.quote(project_id, safe="")}',
        f'reading project {name_or_id!r}',
        {'project': _RECORD},
    )['project']
    return _project(record)


_RECORD: dict[str, schema.Shape] = {
    **_PROJECT,
    'domain_id': schema.Optional(str),
}


def _project(record: dict[str, typing.Any]) -> project_model.Project:
    return project_model.Project(
        record['id'], record['name'], record.get('domain_id')
    )


def list_projects(
    cloud: connection.Connection,
) -> tuple[tuple[project_model.Project, ...], bool]:
    """Return all projects, and whether Keystone has truncated the list."""
    answer = request.get(
        cloud.identity,
        '/projects',
        'listing projects',
        {'projects': [_RECORD], 'truncated': schema.Optional(bool)},
    )
    return (
        tuple(_project(record) for record in answer['projects']),
        bool(answer.get('truncated')),
    )


def domain_names(cloud: connection.Connection) -> dict[str, str]:
    """Return the names of all domains by ID."""
    return {
        record['id']: record['name']
        for record in request.get(
            cloud.identity,
            '/domains',
            'listing domains',
            {'domains': [{'id': str, 'name': str}]},
        )['domains']
    }


def find_user(
    cloud: connection.Connection, name_or_id: str, domain: str | None = None
) -> str:
    """Return the ID of a user; see :func:`_find`."""
    return _find(cloud, 'user', name_or_id, domain)


def _find(
    cloud: connection.Connection,
    kind: str,
    name_or_id: str,
    domain: str | None,
) -> str:
    """Return the ID of the object with an ID or a name, in this order.

    As in core commands, a user who may not list names can give an ID.

    Not the SDK's ``find_project`` and ``find_user``: these put the name into
    the path as it is (``openstack/utils.py:urljoin``), so that a name with a
    slash or a question mark requests something else, and neither retry nor
    report a list that Keystone truncates.

    :param domain: Name or ID of the domain that it belongs to.
    :raises gpuclient.exceptions.CloudError: There is none, or more than one.
    """
    if not name_or_id:
        # Keystone would list all.
        raise _not_found(kind, name_or_id)
    of_domain = {}
    if domain is not None:
        of_domain['domain_id'] = _find(cloud, 'domain', domain, None)
    action = f'finding {kind} {name_or_id!r}'
    by_id = _find_by_id(cloud, kind, name_or_id, action)
    if by_id is not None:
        return by_id
    try:
        answer = request.get(
            cloud.identity,
            f'/{kind}s',
            action,
            {
                f'{kind}s': [{'id': str}],
                'truncated': schema.Optional(bool),
            },
            name=name_or_id,
            **of_domain,
        )
    except exceptions.Forbidden:
        return name_or_id
    records = answer[f'{kind}s']
    if len(records) > 1 or answer.get('truncated'):
        raise exceptions.Ambiguous(
            f'More than one {kind} has the name {name_or_id!r}: use the ID, '
            'or specify the domain'
        )
    if not records:
        raise _not_found(kind, name_or_id)
    return str(records[0]['id'])


def _not_found(kind: str, name_or_id: str) -> exceptions.NotFound:
    return exceptions.NotFound(f'No {kind} has the name or ID {name_or_id!r}')


def _find_by_id(
    cloud: connection.Connection, kind: str, text: str, action: str
) -> str | None:
    """Return an ID; None if there is none, or this user may not look it up."""
    if not request.is_segment(text):
        return None
    try:
        answer = request.get(
            cloud.identity,
            f'/{kind}s/{urllib.parse.quote(text, safe="")}',
            action,
            {kind: {'id': str}},
        )
    except exceptions.CloudError as exc:
        if exc.status not in (400, 403, 404):
            raise
        return None
    return str(answer[kind]['id'])
