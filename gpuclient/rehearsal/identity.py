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

"""Create the users, projects and catalog of a cloud in Keystone.

Calls Keystone's own managers, in a process that has loaded Keystone's
configuration. What exists is kept; only URLs in the catalog and the password
of the admin are updated.
"""

import os
import typing
import uuid

from gpuclient.rehearsal import service_files
from gpuclient.rehearsal import state

#: The roles of each user on projects.
USERS: dict[str, dict[str, tuple[str, ...]]] = {
    'admin': {'admin': ('admin',), 'demo': ('admin',)},
    'nova': {'service': ('admin', 'service')},
    'member': {'demo': ('member',)},
}
_DOMAIN = 'default'


def make_keys(folder: str) -> None:
    """Create the keys of tokens and credentials."""
    from cryptography import fernet

    for name in ('0', '1'):
        path = os.path.join(folder, name)
        if not os.path.exists(path):
            state.write_private(path, fernet.Fernet.generate_key().decode())


def fill(passwords: dict[str, str], urls: dict[tuple[str, str], str]) -> None:
    """Create what is missing.

    :param passwords: The password of each user.
    :param urls: The URL of each service by its type and name.
    """
    from keystone.cmd import bootstrap

    keystone = bootstrap.Bootstrapper()
    keystone.admin_username = 'admin'
    keystone.admin_password = passwords['admin']
    keystone.project_name = 'admin'
    keystone.admin_role_name = 'admin'
    keystone.service_name = 'keystone'
    keystone.region_id = service_files.REGION
    # keystonemiddleware uses the internal URL.
    keystone.public_url = urls['identity', 'keystone']
    keystone.internal_url = keystone.public_url
    keystone.immutable_roles = True
    keystone.bootstrap()
    providers = bootstrap.PROVIDERS
    roles = {
        role['name']: role['id'] for role in providers.role_api.list_roles()
    }
    for name, grants in USERS.items():
        user_id = _user(providers, name, passwords[name])
        for project, names in grants.items():
            _grant(
                providers,
                user_id,
                _project(providers, project),
                {roles[role] for role in names},
            )
    for (kind, name), url in urls.items():
        if kind != 'identity':
            _endpoint(providers, kind, name, url)


def _grant(
    providers: typing.Any, user_id: str, project_id: str, roles: set[str]
) -> None:
    """Give a user roles on a project."""
    assignments = providers.assignment_api
    granted = assignments.get_roles_for_user_and_project(user_id, project_id)
    for role_id in roles.difference(granted):
        assignments.add_role_to_user_and_project(
            user_id=user_id, project_id=project_id, role_id=role_id
        )


def _user(providers: typing.Any, name: str, password: str) -> str:
    from keystone import exception

    try:
        user = providers.identity_api.get_user_by_name(name, _DOMAIN)
    except exception.UserNotFound:
        user = providers.identity_api.create_user(
            user_ref={
                'name': name,
                'enabled': True,
                'domain_id': _DOMAIN,
                'password': password,
            }
        )
    return str(user['id'])


def _project(providers: typing.Any, name: str) -> str:
    from keystone import exception

    try:
        project = providers.resource_api.get_project_by_name(name, _DOMAIN)
    except exception.ProjectNotFound:
        project_id = uuid.uuid4().hex
        project = providers.resource_api.create_project(
            project_id,
            {
                'id': project_id,
                'name': name,
                'domain_id': _DOMAIN,
                'enabled': True,
                'description': '',
            },
        )
    return str(project['id'])


def _endpoint(providers: typing.Any, kind: str, name: str, url: str) -> None:
    catalog = providers.catalog_api
    service_id = next(
        (
            service['id']
            for service in catalog.list_services()
            if service['type'] == kind
        ),
        None,
    )
    if service_id is None:
        service_id = uuid.uuid4().hex
        catalog.create_service(
            service_id,
            {'id': service_id, 'name': name, 'type': kind, 'enabled': True},
        )
    for endpoint in catalog.list_endpoints():
        if endpoint['service_id'] == service_id:
            if endpoint['url'] != url:
                catalog.update_endpoint(
                    endpoint['id'], {**endpoint, 'url': url}
                )
            return
    endpoint_id = uuid.uuid4().hex
    catalog.create_endpoint(
        endpoint_id,
        {
            'id': endpoint_id,
            'service_id': service_id,
            'region_id': service_files.REGION,
            'interface': 'public',
            'url': url,
            'enabled': True,
        },
    )
