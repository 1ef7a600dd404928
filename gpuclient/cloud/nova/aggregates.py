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

"""Host aggregates."""

from openstack.compute.v2 import _proxy

from gpuclient.cloud import request
from gpuclient.cloud import schema
from gpuclient.model import capacity


#: The first microversion with the id of each aggregate.
_WITH_UUID = '2.41'


def list_aggregates(
    compute: _proxy.Proxy,
) -> tuple[capacity.Aggregate, ...]:
    """Return all host aggregates.

    :raises gpuclient.exceptions.CloudError: With the server's message.
    """
    records = request.get(
        compute,
        '/os-aggregates',
        'listing host aggregates',
        {
            'aggregates': [
                {
                    'id': int,
                    'name': str,
                    'uuid': schema.Optional(str),
                    'hosts': [str],
                    'metadata': schema.Map(str),
                }
            ]
        },
        microversion=_WITH_UUID,
    )['aggregates']
    return tuple(
        capacity.Aggregate(
            name=record['name'],
            hosts=frozenset(record['hosts']),
            # These include the availability zone.
            metadata=dict(record['metadata']),
            uuid=record.get('uuid') or '',
            id=record['id'],
        )
        for record in records
    )


def set_metadata(
    compute: _proxy.Proxy,
    aggregate: capacity.Aggregate,
    metadata: dict[str, str | None],
) -> None:
    """Set keys of the metadata of an aggregate, or remove them.

    Other keys stay as they are, so that two users do not overwrite each
    other's.

    :param metadata: Null removes a key.
    """
    request.send(
        compute,
        'POST',
        f'/os-aggregates/{aggregate.id}/action',
        f'setting {", ".join(metadata)} of aggregate {aggregate.name!r}',
        json={'set_metadata': {'metadata': metadata}},
    )


def list_zones(compute: _proxy.Proxy) -> tuple[str, ...]:
    """Return the availability zones that servers can request.

    :raises gpuclient.exceptions.CloudError: With the server's message.
    """
    records = request.get(
        compute,
        '/os-availability-zone',
        'listing availability zones',
        {'availabilityZoneInfo': [{'zoneName': str}]},
    )['availabilityZoneInfo']
    return tuple(sorted(record['zoneName'] for record in records))
