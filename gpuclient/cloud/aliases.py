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

"""Definitions of aliases, inferred from servers that booted with them."""

import collections.abc
import dataclasses

from openstack import connection

from gpuclient.cloud.nova import servers as nova_servers
from gpuclient.cloud import request
from gpuclient.cloud import schema
from gpuclient import exceptions
from gpuclient.model import alias as alias_model
from gpuclient.model import inventory

#: Servers of each alias whose allocations are read.
_WITNESSES = 3


def infer(
    cloud: connection.Connection,
    names: collections.abc.Collection[str],
    devices: collections.abc.Iterable[inventory.Device],
    servers: collections.abc.Sequence[inventory.Server] | None = None,
) -> dict[str, alias_model.Alias]:
    """Return aliases with the resource class that servers got for them.

    Nova has no API that shows the definition of an alias. The allocations of a
    few servers of each alias are read; see :func:`inventory.alias_classes`.

    :param servers: Servers of all projects, if they were read already.
    :returns: By name, without aliases that no server shows, or for which
        servers got several classes.
    :raises gpuclient.exceptions.CloudError: Nova does not list servers, or
        Placement allocations.
    """
    if not names:
        return {}
    if servers is None:
        servers = nova_servers.list_servers(cloud.compute, all_projects=True)
    by_uuid = {device.uuid: device for device in devices}
    aliases: dict[str, alias_model.Alias] = {}
    for name in names:
        # Servers that request no other alias are proof; one in ERROR may never
        # have got a device.
        requesting = sorted(
            (
                server
                for server in servers
                if inventory.requested_aliases(server.extra_specs).get(name)
            ),
            key=lambda server: (
                server.status == 'ERROR',
                len(inventory.requested_aliases(server.extra_specs)),
            ),
        )[:_WITNESSES]
        classes, _servers = inventory.alias_classes(
            name,
            requesting,
            [
                device
                for server in requesting
                for device in _held(cloud, server, by_uuid)
            ],
        )
        if len(classes) == 1:
            (resource_class,) = classes
            aliases[name] = alias_model.Alias(
                name, resource_class=resource_class
            )
    return aliases


def _held(
    cloud: connection.Connection,
    server: inventory.Server,
    devices: collections.abc.Mapping[str, inventory.Device],
) -> collections.abc.Iterator[inventory.Device]:
    """Yield the devices that a server holds, with it as their consumer."""
    try:
        allocations = request.get(
            cloud.placement,
            f'/allocations/{server.uuid}',
            f'reading the allocations of server {server.name}',
            {'allocations': schema.Map({'resources': schema.Map(int)})},
        )['allocations']
    except exceptions.NotFound:
        return
    for uuid, allocation in allocations.items():
        device = devices.get(uuid)
        amount = allocation['resources'].get(
            device and device.resource_class, 0
        )
        if device is not None and amount:
            yield dataclasses.replace(
                device, consumers=(inventory.Consumer(server.uuid, amount),)
            )
