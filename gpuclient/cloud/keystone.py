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
import urllib.parse

from keystoneauth1 import identity
from openstack import connection

from gpuclient.cloud import request
from gpuclient.cloud import schema
from gpuclient import exceptions


_PROJECT: dict[str, schema.Shape] = {'id': str, 'name': str}


def project_names(
    cloud: connection.Connection, wanted: collections.abc.Iterable[str] = ()
) -> dict[str, str]:
    """Return the name of each project, by id, with one request.

    A user whom policy hides the list from (``identity:list_projects``) gets
    the project of the session alone. Of a list that Keystone cuts short
    (``[DEFAULT]list_limit``), the projects that are missing are read one by
    one.

    :param wanted: Ids of projects whose names are needed.
    :raises gpuclient.exceptions.CloudError: With the server's own words.
    """
    try:
        answer = request.get(
            cloud.identity,
            '/projects',
            'reading projects',
            {
                'projects': [_PROJECT],
                'truncated': schema.Optional(bool),
            },
        )
    except exceptions.Forbidden:
        auth = cloud.session.auth
        if not isinstance(auth, identity.BaseIdentityPlugin):
            # A fixed token says nothing of its project.
            return {}
        access = auth.get_access(cloud.session)
        if access.project_id is None:
            return {}
        return {access.project_id: access.project_name or ''}
    names = {project['id']: project['name'] for project in answer['projects']}
    if answer.get('truncated'):
        for project_id in sorted(set(wanted) - names.keys()):
            # A project that was deleted has no name any more.
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
    """Return the id of a project; see :func:`_find`."""
    return _find(cloud, 'project', name_or_id, domain)


def find_user(
    cloud: connection.Connection, name_or_id: str, domain: str | None = None
) -> str:
    """Return the id of a user; see :func:`_find`."""
    return _find(cloud, 'user', name_or_id, domain)


def _find(
    cloud: connection.Connection,
    kind: str,
    name_or_id: str,
    domain: str | None,
) -> str:
    """Return the id that a name or an id stands for.

    An ID comes first. As in the core commands, a user whom policy hides
    names from can give an ID.

    :param domain: Name or id of the domain that it belongs to.
    :raises gpuclient.exceptions.CloudError: There is none, or more than one.
    """
    of_domain = {}
    if domain is not None:
        of_domain['domain_id'] = _find(cloud, 'domain', domain, None)
    what = f'finding {kind} {name_or_id!r}'
    path = f'/{kind}s'
    quoted = urllib.parse.quote(name_or_id, safe='')
    try:
        return str(
            request.get(
                cloud.identity,
                f'{path}/{quoted}',
                what,
                {kind: {'id': str}},
            )[kind]['id']
        )
    except exceptions.CloudError as exc:
        # No ID, or one that this user may not look up.
        if exc.status not in (400, 403, 404):
            raise
    try:
        answer = request.get(
            cloud.identity,
            path,
            what,
            {
                f'{kind}s': [{'id': str}],
                'truncated': schema.Optional(bool),
            },
            name=name_or_id,
            **of_domain,
        )
    except exceptions.Forbidden:
        return name_or_id
    found = answer[f'{kind}s']
    if len(found) > 1 or answer.get('truncated'):
        raise exceptions.Ambiguous(
            f'Several objects of kind {kind} are called {name_or_id!r}; give '
            'the ID, or its domain'
        )
    if not found:
        raise exceptions.NotFound(
            f'No {kind} has the name or ID {name_or_id!r}'
        )
    return str(found[0]['id'])
