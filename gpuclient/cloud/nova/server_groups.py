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

"""Server groups of all projects."""

import collections
import typing
import urllib.parse

from keystoneauth1 import exceptions as ksa_exceptions
from openstack import connection
from openstack import exceptions as sdk_exceptions

from gpuclient.cloud.nova import servers as nova_servers
from gpuclient.cloud import request
from gpuclient.cloud import schema
from gpuclient import exceptions
from gpuclient.model import explanation
from gpuclient.model import project as project_model

#: The first one with a single policy.
_MICROVERSION = '2.64'
_SIZE = 1000


def list_groups(
    cloud: connection.Connection,
) -> tuple[project_model.ServerGroup, ...]:
    """Return the server groups of all projects, or of the user's own."""
    groups: dict[str, project_model.ServerGroup] = {}
    while True:
        records = request.get(
            cloud.compute,
            '/os-server-groups',
            'listing server groups',
            {
                'server_groups': [
                    {
                        'id': str,
                        'name': str,
                        'policy': str,
                        'project_id': str,
                        'members': [str],
                    }
                ]
            },
            microversion=_MICROVERSION,
            all_projects='True',
            limit=_SIZE,
            offset=len(groups),
        )['server_groups']
        page = {
            record['id']: project_model.ServerGroup(
                record['id'],
                record['project_id'],
                record['name'],
                record['policy'],
                len(record['members']),
            )
            for record in records
        }
        if not page.keys() - groups.keys():
            # [api]max_limit may be smaller than a page.
            return tuple(groups.values())
        groups |= page


def create(
    cloud: connection.Connection, project_id: str, name: str, policy: str
) -> None:
    """Create a server group in a project.

    Nova creates it in the project of the token, so that the user needs a role
    on the project.
    """
    action = f'creating server group {name!r} in project {project_id}'
    target = cloud
    if cloud.session.get_project_id() != project_id:
        try:
            target = cloud.connect_as_project({'id': project_id})
            target.authorize()
        except (
            ksa_exceptions.ClientException,
            sdk_exceptions.SDKException,
        ) as exc:
            raise exceptions.Forbidden(
                f'{action} failed: {exc}. Nova creates it in the project of '
                f'the token, and this user has no role on that project: grant '
                f'one with "openstack role add"',
                status=getattr(exc, 'http_status', None) or 401,
            ) from exc
    request.send(
        target.compute,
        'POST',
        '/os-server-groups',
        action,
        microversion=_MICROVERSION,
        json={'server_group': {'name': name, 'policy': policy}},
    )


def delete(cloud: connection.Connection, group_id: str) -> None:
    """Delete a server group."""
    request.send(
        cloud.compute,
        'DELETE',
        f'/os-server-groups/{urllib.parse.quote(group_id, safe="")}',
        f'deleting server group {group_id}',
        microversion=_MICROVERSION,
    )


def read_occupied(
    cloud: connection.Connection,
    group_id: str,
    server_id: str,
    project_id: str | None,
) -> explanation.ServerGroup:
    """Return a server group, with the hosts of the other members.

    :param server_id: The member that needs a host.
    :raises gpuclient.exceptions.CloudError: With the server's message.
    """
    record: dict[str, typing.Any] = request.get(
        cloud.compute,
        f'/os-server-groups/{group_id}',
        f'reading server group {group_id}',
        {
            'server_group': {
                'name': str,
                'policy': str,
                'rules': schema.Optional(
                    {'max_server_per_host': schema.Optional(int)}
                ),
                'members': [str],
            }
        },
        microversion=_MICROVERSION,
    )['server_group']
    others = set(record['members']) - {server_id}
    hosts: collections.Counter[str] = collections.Counter()
    if others:
        hosts.update(
            server.service_host
            for server in nova_servers.list_servers(
                cloud.compute,
                all_projects=project_id is not None,
                project_id=project_id,
            )
            if server.uuid in others and server.service_host is not None
        )
    return explanation.ServerGroup(
        record['name'],
        record['policy'],
        dict(hosts),
        (record.get('rules') or {}).get('max_server_per_host') or 1,
        frozenset(others),
    )
