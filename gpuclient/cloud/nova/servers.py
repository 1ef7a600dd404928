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

"""Servers, with the flavors that they booted with."""

import collections.abc
import typing

from openstack.compute.v2 import _proxy

from gpuclient.cloud.nova import pages
from gpuclient.cloud.nova import version
from gpuclient.cloud import request
from gpuclient.cloud import schema
from gpuclient import exceptions
from gpuclient.model import flavor as flavor_model
from gpuclient.model import inventory

#: The first microversion with the flavor that a server booted with, including
#: extra specs if policy allows.
FLAVOR_EMBEDDED = '2.47'
_TEXT = schema.Optional(str)
#: Of the flavor that a server booted with.
_SIZES = ('vcpus', 'ram', 'disk', 'ephemeral', 'swap')
#: Fields of a server.
SERVER: dict[str, schema.Shape] = {
    'name': str,
    'status': str,
    'tenant_id': _TEXT,
    'user_id': _TEXT,
    'OS-EXT-SRV-ATTR:host': _TEXT,
    'OS-EXT-SRV-ATTR:hypervisor_hostname': _TEXT,
    'OS-EXT-STS:task_state': _TEXT,
    'flavor': schema.Optional(
        {
            'original_name': _TEXT,
            'extra_specs': schema.Optional(schema.Map(str)),
            **dict.fromkeys(_SIZES, schema.Optional(int)),
        }
    ),
}
#: Hosts in a request; their names have to fit into a URL.
_HOSTS = 40


def list_servers(
    compute: _proxy.Proxy,
    *,
    all_projects: bool = False,
    project_id: str | None = None,
    user_id: str | None = None,
    service_host: str | None = None,
    hosts: collections.abc.Sequence[str] | None = None,
) -> tuple[inventory.Server, ...]:
    """Return servers, with one request for each thousand.

    :param service_host: Nova ignores it unless the user may see hosts.
    :param hosts: Hypervisor hostnames of the servers, with a request for some
        dozens of them. Nova ignores it in the same case.
    :raises gpuclient.exceptions.Unsupported: Nova is older than
        :data:`FLAVOR_EMBEDDED`.
    :raises gpuclient.exceptions.CloudError: With the server's message.
    """
    version.require(compute, FLAVOR_EMBEDDED, 'listing servers')
    params: dict[str, typing.Any] = {}
    if all_projects:
        params['all_tenants'] = 'True'
    for key, value in (
        ('project_id', project_id),
        ('user_id', user_id),
        ('host', service_host),
    ):
        if value is not None:
            params[key] = value
    if hosts is None:
        return tuple(_pages(compute, params))
    servers: list[inventory.Server] = []
    for start in range(0, len(hosts), _HOSTS):
        # Nova matches it as a regular expression
        # (nova/db/main/api.py:_regex_instance_filter).
        names = '|'.join(
            host.replace('.', '[.]') for host in hosts[start : start + _HOSTS]
        )
        servers += _pages(compute, {**params, 'node': f'^({names})$'})
    return tuple(servers)


def find_server(
    compute: _proxy.Proxy, server_id: str
) -> inventory.Server | None:
    """Return a server, or None if this user sees no such server.

    :raises gpuclient.exceptions.CloudError: With the server's message.
    """
    try:
        record = request.get(
            compute,
            f'/servers/{server_id}',
            f'reading server {server_id}',
            {'server': {'id': str, **SERVER}},
            microversion=FLAVOR_EMBEDDED,
        )['server']
    except exceptions.NotFound:
        return None
    return server(record)


def _pages(
    compute: _proxy.Proxy, params: dict[str, typing.Any]
) -> list[inventory.Server]:
    return [
        server(record)
        for record in pages.read(
            compute,
            '/servers/detail',
            'servers',
            'listing servers',
            SERVER,
            microversion=FLAVOR_EMBEDDED,
            **params,
        )
    ]


def server(record: dict[str, typing.Any]) -> inventory.Server:
    """Return a server from a valid answer of Nova."""
    flavor = record.get('flavor') or {}
    return inventory.Server(
        uuid=record['id'],
        name=record['name'],
        status=record['status'],
        project_id=record.get('tenant_id'),
        user_id=record.get('user_id'),
        service_host=record.get('OS-EXT-SRV-ATTR:host'),
        host=record.get('OS-EXT-SRV-ATTR:hypervisor_hostname'),
        flavor_name=flavor.get('original_name'),
        extra_specs=flavor.get('extra_specs'),
        task_state=record.get('OS-EXT-STS:task_state'),
        flavor=_flavor(flavor),
    )


def _flavor(record: dict[str, typing.Any]) -> flavor_model.Flavor | None:
    """Return the flavor that a server booted with; None if it is not whole."""
    sizes = {name: record.get(name) for name in _SIZES}
    name = record.get('original_name')
    if name is None or None in (sizes['vcpus'], sizes['ram'], sizes['disk']):
        return None
    return flavor_model.Flavor(
        id='',
        name=name,
        is_public=False,
        extra_specs=record.get('extra_specs'),
        **{name: size or 0 for name, size in sizes.items()},
    )
