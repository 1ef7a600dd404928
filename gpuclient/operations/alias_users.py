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

"""The flavors and servers that use an alias."""

import dataclasses

from openstack import connection

from gpuclient.cloud.nova import flavors as nova_flavors
from gpuclient.cloud.nova import servers as nova_servers
from gpuclient import exceptions
from gpuclient.model import inventory
from gpuclient.operations import alias_inventory


@dataclasses.dataclass
class AliasUsers:
    """The flavors and servers that use an alias, as far as they are known."""

    #: State of the check: ``ok``, or why it was skipped.
    check: str = 'ok'
    flavors: list[str] = dataclasses.field(default_factory=list)
    servers: list[str] = dataclasses.field(default_factory=list)
    #: Why there may be more of them; empty where there are none.
    unknown: str = ''


def skipped(reason: str, *, has_cloud: bool) -> AliasUsers:
    """Return what is known without a connection.

    :param reason: Why there is none.
    :param has_cloud: There are credentials for a cloud.
    """
    return AliasUsers(
        f'{alias_inventory.SKIPPED}: {reason}',
        unknown=reason if has_cloud else '',
    )


def read(
    cloud: connection.Connection, name: str, *, required: bool
) -> AliasUsers:
    """Return what uses an alias.

    :param required: Raise where Nova does not tell.
    :raises gpuclient.exceptions.CloudError: Nova does not tell.
    """
    users = AliasUsers()
    failures = []
    for collect in (_add_flavors, _add_servers):
        try:
            collect(cloud, name, users)
        except exceptions.CloudError as exc:
            failures.append(exc)
    if failures:
        if required:
            raise failures[0]
        users.unknown = '; '.join(map(str, failures))
        users.check = f'{alias_inventory.SKIPPED}: {users.unknown}'
    return users


def _add_flavors(
    cloud: connection.Connection, name: str, users: AliasUsers
) -> None:
    users.flavors = [
        flavor.name
        for flavor in nova_flavors.list_flavors(cloud.compute)
        if name in (flavor.aliases or {})
    ]


def _add_servers(
    cloud: connection.Connection, name: str, users: AliasUsers
) -> None:
    servers = nova_servers.list_servers(cloud.compute, all_projects=True)
    if any(server.extra_specs is None for server in servers):
        raise exceptions.Forbidden(
            'the extra specs of servers are hidden (policy '
            'os_compute_api:os-flavor-extra-specs:index)'
        )
    users.servers = [
        server.name
        for server in servers
        if name in inventory.requested_aliases(server.extra_specs)
    ]


def refuse_use(name: str, users: AliasUsers) -> None:
    """Make sure that nothing uses an alias.

    :raises gpuclient.exceptions.Conflict: It is, or may be, in use.
    """
    names = [
        *(f'flavor {flavor!r}' for flavor in users.flavors[:5]),
        *(f'server {server!r}' for server in users.servers[:5]),
    ]
    if names:
        raise exceptions.Conflict(
            f'Alias {name!r} is in use by {", ".join(names)}; nothing was '
            'changed. Use --force to delete it anyway'
        )
    if users.unknown:
        raise exceptions.Conflict(
            f'Cannot tell whether alias {name!r} is in use ({users.unknown}); '
            'nothing was changed. Run the command as an administrator, or '
            'use --force to delete the alias anyway'
        )
