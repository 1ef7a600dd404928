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

"""Whether the fast way to fill Placement leaves what Nova would leave.

A small cloud is filled in twice: by the rows that the benchmark writes, and
by the requests that Nova sends
(``nova/scheduler/client/report.py:SchedulerReportClient``). What the database
holds then has to be the same, but for the ids of rows, times, and generations.
"""

import contextlib
import typing

import requests

from tests.benchmarks.placement import model
from tests.benchmarks.placement import service

_SHAPE = model.Shape(
    'check', 6, cpu_hosts=2, reserved=0.2, one_time_use=0.3, moves=True
)

_QUERIES = (
    """SELECT p.uuid, p.name, root.uuid, parent.uuid
       FROM resource_providers p
       JOIN resource_providers root ON root.id = p.root_provider_id
       LEFT JOIN resource_providers parent
       ON parent.id = p.parent_provider_id""",
    """SELECT p.uuid, c.name, total, reserved, min_unit, max_unit, step_size,
              allocation_ratio
       FROM inventories i
       JOIN resource_providers p ON p.id = i.resource_provider_id
       JOIN resource_classes c ON c.id = i.resource_class_id""",
    """SELECT p.uuid, t.name FROM resource_provider_traits r
       JOIN resource_providers p ON p.id = r.resource_provider_id
       JOIN traits t ON t.id = r.trait_id""",
    """SELECT p.uuid, a.uuid FROM resource_provider_aggregates r
       JOIN resource_providers p ON p.id = r.resource_provider_id
       JOIN placement_aggregates a ON a.id = r.aggregate_id""",
    """SELECT c.uuid, project.external_id, u.external_id, t.name
       FROM consumers c
       JOIN projects project ON project.id = c.project_id
       JOIN users u ON u.id = c.user_id
       JOIN consumer_types t ON t.id = c.consumer_type_id""",
    """SELECT a.consumer_id, p.uuid, c.name, a.used FROM allocations a
       JOIN resource_providers p ON p.id = a.resource_provider_id
       JOIN resource_classes c ON c.id = a.resource_class_id""",
    # Custom ones start at the same number.
    'SELECT name, id >= 10000 FROM resource_classes',
    'SELECT name FROM traits',
    'SELECT external_id FROM projects',
    'SELECT external_id FROM users',
    'SELECT name FROM consumer_types',
)


class Differs(Exception):
    """The database is not as Nova would leave it."""


def check(database: service.Database) -> None:
    """Compare the two ways.

    :raises Differs: With the first rows that are in one of them only.
    """
    cloud = model.build(_SHAPE)
    service.fill(database, 'ours', cloud)
    database.create('novas', service.TEMPLATE)
    with service.placement(database, 'novas') as placement:
        _Sender(placement.url).fill(cloud)
    try:
        with (
            contextlib.closing(database.connect('ours')) as ours,
            contextlib.closing(database.connect('novas')) as novas,
        ):
            for query in _QUERIES:
                mine, theirs = _rows(ours, query), _rows(novas, query)
                if mine != theirs:
                    raise Differs(
                        f'{query}: {sorted(mine - theirs)[:3]} beside '
                        f'{sorted(theirs - mine)[:3]}'
                    )
    finally:
        database.drop('ours')
        database.drop('novas')


def _rows(connection: typing.Any, query: str) -> set[tuple[str, ...]]:
    cursor = connection.cursor()
    cursor.execute(query)
    rows = [tuple(map(str, row)) for row in cursor.fetchall()]
    unique = set(rows)
    if len(unique) != len(rows):
        raise Differs(f'{query}: a row is there twice')
    return unique


class _Sender:
    def __init__(self, url: str) -> None:
        self._url = url
        self._session = requests.Session()
        self._session.headers.update(
            {
                'X-Auth-Token': 'admin',
                'OpenStack-API-Version': 'placement 1.39',
            }
        )

    def _send(self, method: str, path: str, body: object = None) -> typing.Any:
        response = self._session.request(method, self._url + path, json=body)
        if response.status_code >= 300:
            raise Differs(f'{method} {path}: {response.text}')
        return response.json() if response.content else {}

    def _put(
        self, provider: str, part: str, generation: int, content: object
    ) -> int:
        """Replace something of a provider; return its new generation."""
        answer = self._send(
            'PUT',
            f'/resource_providers/{provider}/{part}',
            {'resource_provider_generation': generation, part: content},
        )
        return int(answer['resource_provider_generation'])

    def fill(self, cloud: model.Cloud) -> None:
        for kind, names in (
            ('traits', {key for p in cloud.providers for key in p.traits}),
            (
                'resource_classes',
                {key for p in cloud.providers for key in p.inventories},
            ),
        ):
            for name in sorted(names):
                if name.startswith('CUSTOM_'):
                    self._send('PUT', f'/{kind}/{name}')
        for provider in cloud.providers:
            body = {'name': provider.name, 'uuid': provider.uuid}
            if provider.parent:
                body['parent_provider_uuid'] = provider.parent
            generation = self._send('POST', '/resource_providers', body)[
                'generation'
            ]
            # Devices are reserved once servers have them.
            generation = self._put(
                provider.uuid,
                'inventories',
                generation,
                {
                    name: {**record, 'reserved': 0}
                    if name.startswith('CUSTOM_')
                    else record
                    for name, record in provider.inventories.items()
                },
            )
            generation = self._put(
                provider.uuid, 'traits', generation, provider.traits
            )
            if provider.aggregates:
                self._put(
                    provider.uuid,
                    'aggregates',
                    generation,
                    provider.aggregates,
                )
        for consumer in cloud.consumers:
            self._send(
                'PUT',
                f'/allocations/{consumer.uuid}',
                {
                    'allocations': {
                        provider: {'resources': resources}
                        for provider, resources in consumer.allocations.items()
                    },
                    'project_id': consumer.project_id,
                    'user_id': consumer.user_id,
                    'consumer_type': consumer.kind,
                    'consumer_generation': None,
                },
            )
        for provider in cloud.devices():
            if any(
                record['reserved'] for record in provider.inventories.values()
            ):
                reply = self._send(
                    'GET', f'/resource_providers/{provider.uuid}'
                )
                self._put(
                    provider.uuid,
                    'inventories',
                    reply['generation'],
                    provider.inventories,
                )
