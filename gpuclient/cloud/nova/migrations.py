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

"""Migrations: records of moves of servers."""

import collections.abc
import typing

from openstack.compute.v2 import _proxy

from gpuclient.cloud.nova import pages
from gpuclient.cloud.nova import version
from gpuclient.cloud import request
from gpuclient.cloud import schema
from gpuclient.model import allocation

#: The first microversion with the IDs of migrations, newest first, and with
#: a limit of their number.
_WITH_ID = '2.59'
_TEXT = schema.Optional(str)
_MIGRATION: dict[str, schema.Shape] = {
    'uuid': str,
    'status': _TEXT,
    'migration_type': _TEXT,
    'instance_uuid': str,
    'source_node': _TEXT,
}


def find_migrations(
    compute: _proxy.Proxy, uuids: collections.abc.Iterable[str]
) -> dict[str, allocation.Migration | None]:
    """Return migrations by ID; None for those that Nova does not have.

    Nova cannot look up one by its ID. Those that hold devices are usually
    among the last ones, on the first page.

    :raises gpuclient.exceptions.CloudError: With the server's message.
    """
    wanted = set(uuids)
    migrations: dict[str, allocation.Migration | None] = dict.fromkeys(wanted)
    for migration in _list(compute) if wanted else ():
        if migration.uuid in wanted:
            migrations[migration.uuid] = migration
            wanted.discard(migration.uuid)
            if not wanted:
                break
    return migrations


def of_server(
    compute: _proxy.Proxy, server_id: str
) -> tuple[allocation.Migration, ...]:
    """Return the migrations of a server, newest first.

    :raises gpuclient.exceptions.CloudError: With the server's message.
    """
    return tuple(_list(compute, instance_uuid=server_id))


def _list(
    compute: _proxy.Proxy, **params: str
) -> collections.abc.Iterator[allocation.Migration]:
    version.require(compute, _WITH_ID, 'listing migrations')
    for record in pages.read(
        compute,
        '/os-migrations',
        'migrations',
        'listing migrations',
        _MIGRATION,
        microversion=_WITH_ID,
        marker_field='uuid',
        **params,
    ):
        yield _migration(record)


def _migration(record: dict[str, typing.Any]) -> allocation.Migration:
    return allocation.Migration(
        uuid=record['uuid'],
        # Nova creates it without a status.
        status=record['status'] or 'queued',
        kind=record['migration_type'],
        server=record['instance_uuid'],
        source_node=record['source_node'],
    )


def resized_servers(compute: _proxy.Proxy) -> frozenset[str]:
    """Return the IDs of the servers that were resized last, in one request.

    :raises gpuclient.exceptions.CloudError: With the server's message.
    """
    records = request.get(
        compute,
        '/os-migrations',
        'listing migrations',
        {
            'migrations': [
                {'instance_uuid': str, 'status': schema.Optional(str)}
            ]
        },
        microversion=_WITH_ID,
        migration_type='resize',
        limit=pages.SIZE,
    )['migrations']
    return frozenset(
        record['instance_uuid']
        for record in records
        if record.get('status') in ('confirmed', 'finished')
    )
