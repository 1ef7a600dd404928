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

"""A server as Nova shows it, with its fault, its actions and its moves."""

import dataclasses
import typing
import urllib.parse

from openstack.compute.v2 import _proxy

from gpuclient.cloud import glance
from gpuclient.cloud.nova import pages
from gpuclient.cloud.nova import servers as nova_servers
from gpuclient.cloud.nova import version
from gpuclient.cloud import request
from gpuclient.cloud import schema
from gpuclient import exceptions
from gpuclient.model import inventory
from gpuclient.model import server_history

_TEXT = schema.Optional(str)
_PROPERTIES = schema.Open({}, glance.PROPERTY, schema.Optional(str))
_DETAILS: dict[str, schema.Shape] = {
    'id': str,
    **nova_servers.SERVER,
    'OS-EXT-AZ:availability_zone': _TEXT,
    'OS-EXT-STS:task_state': _TEXT,
    'OS-SRV-USG:launched_at': _TEXT,
    'fault': schema.Optional(
        {'message': _TEXT, 'details': _TEXT, 'code': schema.Optional(int)}
    ),
    'pinned_availability_zone': _TEXT,
    'server_groups': schema.Optional([str]),
    # An empty string for a server that boots from a volume.
    'image': schema.Optional(
        schema.OneOf(
            (
                {'id': str, 'properties': schema.Optional(_PROPERTIES)},
                str,
            )
        )
    ),
}
#: What each adds: server groups, the zone of the request, image properties.
_VERSIONS = ('2.71', '2.96', '2.98')
#: The first microversions with the host of an event for administrators, and
#: with the message of its exception.
_EVENTS = ('2.62', '2.84')
_MIGRATIONS = '2.59'


@dataclasses.dataclass(frozen=True)
class ServerDetails:
    """A server with what it was created from."""

    server: inventory.Server
    task_state: str | None
    fault: server_history.Fault | None
    #: None for a server that boots from a volume.
    image_id: str | None
    #: None where Nova does not return them.
    image_properties: dict[str, str] | None
    #: The availability zone of the request; None where it has none, or it is
    #: not known.
    zone: str | None
    #: Whether it was on a host at any time, as far as this user may see.
    launched: bool
    #: IDs of the server groups that it is a member of.
    groups: tuple[str, ...]


def find(compute: _proxy.Proxy, name_or_id: str) -> ServerDetails:
    """Return the server with an ID or a name, in this order.

    :raises gpuclient.exceptions.CloudError: This user sees none, or several.
    """
    if request.is_segment(name_or_id):
        try:
            return read(compute, name_or_id)
        except exceptions.CloudError as exc:
            if exc.status not in (400, 404):
                raise
    matching = [
        server
        for server in (_named(compute, name_or_id) if name_or_id else ())
        if server['name'] == name_or_id
    ]
    if len(matching) > 1:
        raise exceptions.Ambiguous(
            f'{len(matching)} servers have the name {name_or_id!r}: use the '
            f'ID of one of them: '
            f'{", ".join(server["id"] for server in matching[:5])}'
        )
    if not matching:
        raise exceptions.NotFound(
            f'No server has the name or ID {name_or_id!r}'
        )
    return read(compute, matching[0]['id'])


def _named(compute: _proxy.Proxy, name: str) -> list[dict[str, typing.Any]]:
    """Return servers by name: of all projects if this user may."""
    shape: schema.Shape = {'servers': [{'id': str, 'name': str}]}
    action = f'finding server {name!r}'
    # Nova matches it as a regular expression.
    pattern = f'^{"".join(_literal(letter) for letter in name)}$'
    for params in ({'all_tenants': 'True'}, {}):
        try:
            answer = request.get(
                compute,
                '/servers',
                action,
                shape,
                microversion=nova_servers.FLAVOR_EMBEDDED,
                name=pattern,
                **params,
            )
            return list(answer['servers'])
        except exceptions.Forbidden:
            if not params:
                raise
    return []


def _literal(letter: str) -> str:
    return letter if letter.isalnum() or letter in '-_ ' else f'[{letter}]'


def read(compute: _proxy.Proxy, server_id: str) -> ServerDetails:
    """Return a server by its ID.

    :raises gpuclient.exceptions.CloudError: With the server's message.
    """
    record = request.get(
        compute,
        f'/servers/{urllib.parse.quote(server_id, safe="")}',
        f'reading server {server_id!r}',
        {'server': _DETAILS},
        microversion=version.highest(
            compute, (nova_servers.FLAVOR_EMBEDDED, *_VERSIONS)
        ),
    )['server']
    return _details(record)


def list_on(compute: _proxy.Proxy, host: str) -> tuple[ServerDetails, ...]:
    """Return the servers of all projects on a host.

    :param host: Hypervisor hostname.
    :raises gpuclient.exceptions.CloudError: With the server's message.
    """
    pattern = ''.join(map(_literal, host))
    return tuple(
        _details(record)
        for record in pages.read(
            compute,
            '/servers/detail',
            'servers',
            f'listing the servers on {host}',
            _DETAILS,
            microversion=version.highest(
                compute, (nova_servers.FLAVOR_EMBEDDED, *_VERSIONS)
            ),
            all_tenants='True',
            node=f'^{pattern}$',
        )
    )


def _details(record: dict[str, typing.Any]) -> ServerDetails:
    # An empty string for a server that boots from a volume.
    image = _object(record.get('image')) or {}
    fault = record.get('fault')
    properties = _object(image.get('properties'))
    return ServerDetails(
        server=nova_servers.server(record),
        task_state=record.get('OS-EXT-STS:task_state'),
        fault=None
        if fault is None
        else server_history.Fault(
            fault.get('message') or '', fault.get('details') or ''
        ),
        image_id=str(image['id']) if 'id' in image else None,
        image_properties=None
        if properties is None
        else {key: str(value) for key, value in properties.items()},
        zone=_zone(record),
        launched=bool(record.get('OS-SRV-USG:launched_at')),
        groups=tuple(record.get('server_groups') or ()),
    )


def _object(value: typing.Any) -> dict[str, typing.Any] | None:
    return value if isinstance(value, dict) else None


def _zone(record: dict[str, typing.Any]) -> str | None:
    """Return the availability zone that a server requested.

    That of a server without a host is the requested one.
    """
    if 'pinned_availability_zone' in record:
        return record['pinned_availability_zone'] or None
    if record.get('OS-EXT-SRV-ATTR:host'):
        return None
    return record.get('OS-EXT-AZ:availability_zone') or None


def read_actions(
    compute: _proxy.Proxy, server_id: str
) -> tuple[server_history.Action, ...]:
    """Return the actions on a server, the latest first, with its events.

    Events are only read of the latest.

    :raises gpuclient.exceptions.CloudError: With the server's message.
    """
    records = request.get(
        compute,
        f'/servers/{server_id}/os-instance-actions',
        f'reading the actions on server {server_id}',
        {
            'instanceActions': [
                {
                    'action': str,
                    'request_id': str,
                    'start_time': _TEXT,
                    'message': _TEXT,
                }
            ]
        },
        microversion=_EVENTS[0],
    )['instanceActions']
    return tuple(
        server_history.Action(
            record['action'],
            record.get('start_time') or '',
            record.get('message') or '',
            _events(compute, server_id, record['request_id'])
            if number == 0
            else (),
        )
        for number, record in enumerate(records)
    )


def _events(
    compute: _proxy.Proxy, server_id: str, request_id: str
) -> tuple[server_history.Event, ...]:
    records = request.get(
        compute,
        f'/servers/{server_id}/os-instance-actions/'
        f'{urllib.parse.quote(request_id, safe="")}',
        f'reading the latest action on server {server_id}',
        {
            'instanceAction': {
                'events': schema.Optional(
                    [
                        {
                            'event': str,
                            'result': _TEXT,
                            'host': _TEXT,
                            'traceback': _TEXT,
                            'details': _TEXT,
                        }
                    ]
                )
            }
        },
        microversion=version.highest(compute, _EVENTS),
    )['instanceAction'].get('events')
    return tuple(
        server_history.Event(
            record['event'],
            record.get('result') or '',
            record.get('host') or '',
            record.get('details') or '',
            record.get('traceback') or '',
        )
        for record in records or ()
    )


def read_migrations(
    compute: _proxy.Proxy, server_id: str
) -> tuple[server_history.Migration, ...]:
    """Return the migrations of a server, the latest first.

    :raises gpuclient.exceptions.CloudError: With the server's message.
    """
    records = request.get(
        compute,
        '/os-migrations',
        f'reading the migrations of server {server_id}',
        {
            'migrations': [
                {
                    'migration_type': _TEXT,
                    'status': _TEXT,
                    'source_compute': _TEXT,
                    'dest_compute': _TEXT,
                    'created_at': _TEXT,
                }
            ]
        },
        microversion=_MIGRATIONS,
        instance_uuid=server_id,
    )['migrations']
    return tuple(
        server_history.Migration(
            record.get('migration_type') or '',
            record.get('status') or '',
            record.get('source_compute') or '',
            record.get('dest_compute') or '',
        )
        for record in sorted(
            records,
            key=lambda record: record.get('created_at') or '',
            reverse=True,
        )
    )
