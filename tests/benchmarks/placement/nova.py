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

"""Stands in for Nova and Keystone, which the benchmark does not measure.

Answers the few reads that go with those of Placement as the real services
do, page by page, so that their requests are counted too. The flavors request
one, two and four GPUs of each model; and six, if :data:`NOWHERE` is a file of
the service.
"""

import collections
import json
import pathlib
import pickle
import re
import typing
import urllib.parse

from tests.benchmarks.placement import model

#: A file that asks for flavors that fit on no host.
NOWHERE = 'nowhere'
#: ``[api]max_limit`` of Nova.
_MAX_LIMIT = 1000
_REFUSED = 'Cannot attach one or more volumes to multiple instances'
#: Answers that are the same for each cloud.
_FIXED: dict[str, typing.Any] = {
    'os-aggregates': {'aggregates': []},
    'services': {'services': [{'id': 'nova'}]},
    'registered_limits': {'registered_limits': []},
    'limits': {'limits': []},
    'defaults': {'quota_set': {'instances': 10}},
}


class Application:
    """A WSGI application.

    :param folder: Holds the cloud, pickled.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        cloud: model.Cloud = pickle.loads((folder / 'cloud').read_bytes())
        self._servers = [_record(server) for server in cloud.servers]
        self._statistics = {
            'count': cloud.hosts,
            'running_vms': len(self._servers),
        }
        self._lists = {
            'servers': self._servers,
            'flavors': _flavors(
                (1, 2, 4, 6) if (folder / NOWHERE).exists() else (1, 2, 4)
            ),
            'hypervisors': [
                _hypervisor(provider)
                for provider in cloud.providers
                if model.VCPU in provider.inventories
            ],
        }
        self._services = _services(cloud)
        self._projects = [
            {'id': project, 'name': f'name of {project}'}
            for project in sorted(
                {consumer.project_id for consumer in cloud.consumers}
            )
        ]

    def __call__(
        self, environ: dict[str, typing.Any], start_response: typing.Any
    ) -> list[bytes]:
        query = urllib.parse.parse_qs(environ['QUERY_STRING'])
        path = environ['PATH_INFO'].rstrip('/')
        status = '200 OK'
        body: typing.Any
        kind, _slash, last = path.rpartition('/')
        kind = kind.rpartition('/')[2].removeprefix('os-')
        if last == 'detail' and kind in self._lists:
            body = self._page(kind, query)
            if len(body[kind]) == _limit(query):
                # Nova links to a next page whenever this one is full
                # (nova/api/openstack/common.py:ViewBuilder).
                query['marker'] = [body[kind][-1]['id']]
                link = urllib.parse.urlencode(query, doseq=True)
                href = f'http://{environ["HTTP_HOST"]}{path}?{link}'
                body[f'{kind}_links'] = [{'rel': 'next', 'href': href}]
        elif path.endswith('/os-hypervisors/statistics'):
            body = {'hypervisor_statistics': self._statistics}
        elif last in _FIXED:
            body = _FIXED[last]
        elif last == 'os-services':
            body = {
                'services': [
                    service
                    for service in self._services
                    if service['binary']
                    in query.get('binary', [service['binary']])
                ]
            }
        elif kind == 'flavors':
            # By name, which is no id.
            status = '404 Not Found'
            body = {'itemNotFound': {'message': 'Not found', 'code': 404}}
        elif last == 'servers':
            # nova-api refuses the request of the probe after it has found
            # the alias.
            status = '400 Bad Request'
            body = {'badRequest': {'message': _REFUSED, 'code': 400}}
        elif path.endswith('/projects'):
            body = {'projects': self._projects}
        else:
            body = _version(environ['HTTP_HOST'], path)
        content = json.dumps(body).encode()
        start_response(
            status,
            [
                ('Content-Type', 'application/json'),
                ('Content-Length', str(len(content))),
            ],
        )
        return [content]

    def _page(
        self, kind: str, query: dict[str, list[str]]
    ) -> dict[str, typing.Any]:
        records = self._lists[kind]
        if 'node' in query:
            pattern = re.compile(query['node'][-1])
            records = [
                record
                for record in records
                if pattern.search(
                    record['OS-EXT-SRV-ATTR:hypervisor_hostname']
                )
            ]
        if 'host' in query:
            records = [
                record
                for record in records
                if record['OS-EXT-SRV-ATTR:host'] == query['host'][-1]
            ]
        start = 0
        if 'marker' in query:
            ids = [record['id'] for record in records]
            start = ids.index(query['marker'][0]) + 1
        return {kind: records[start : start + _limit(query)]}


def _limit(query: dict[str, list[str]]) -> int:
    return min(int(query.get('limit', ['1000'])[0]), _MAX_LIMIT)


def _version(host: str, path: str) -> dict[str, typing.Any]:
    number, newest = (
        ('v3', None) if path.endswith('/v3') else ('v2.1', '2.104')
    )
    version: dict[str, typing.Any] = {
        'id': 'v3.14' if newest is None else number,
        'status': 'stable' if newest is None else 'CURRENT',
        'links': [{'rel': 'self', 'href': f'http://{host}/{number}/'}],
    }
    if newest is not None:
        version |= {'version': newest, 'min_version': '2.1'}
    return {'version': version}


def alias(resource_class: str) -> str:
    """Return the name of the alias of a resource class."""
    return resource_class.removeprefix('CUSTOM_PCI_').lower()


def _record(server: model.Consumer) -> dict[str, typing.Any]:
    requests = collections.Counter(
        alias(name)
        for resources in server.allocations.values()
        for name in resources
        if server.devices and name.startswith('CUSTOM_')
    )
    specs = {}
    if requests:
        specs['pci_passthrough:alias'] = ','.join(
            f'{name}:{count}' for name, count in sorted(requests.items())
        )
    return {
        'id': server.uuid,
        'name': model.name(server),
        'status': 'ACTIVE',
        'tenant_id': server.project_id,
        'user_id': server.user_id,
        'OS-EXT-SRV-ATTR:host': server.host,
        'OS-EXT-SRV-ATTR:hypervisor_hostname': server.host,
        'addresses': {},
        'image': '',
        'flavor': {
            'original_name': '.'.join(
                f'{name}.{count}' for name, count in sorted(requests.items())
            )
            or 'cpu',
            'extra_specs': specs,
        },
    }


def _services(cloud: model.Cloud) -> list[dict[str, typing.Any]]:
    hosts = {
        'nova-conductor': ['controller'],
        'nova-scheduler': ['controller'],
        'nova-compute': [
            provider.name
            for provider in cloud.providers
            if model.VCPU in provider.inventories
        ],
    }
    return [
        {'binary': binary, 'host': host, 'state': 'up', 'status': 'enabled'}
        for binary, names in hosts.items()
        for host in names
    ]


def _flavors(counts: tuple[int, ...]) -> list[dict[str, typing.Any]]:
    return [
        {
            'id': f'{resource_class}.{count}',
            'name': f'{alias(resource_class)}.{count}',
            'vcpus': 20 * count,
            'ram': 200_000 * count,
            'disk': 400 * count,
            'os-flavor-access:is_public': False,
            'OS-FLV-EXT-DATA:ephemeral': 0,
            'swap': 0,
            'extra_specs': {
                'pci_passthrough:alias': f'{alias(resource_class)}:{count}'
            },
        }
        for resource_class, _trait in model.MODELS
        for count in counts
    ]


def _hypervisor(provider: model.Provider) -> dict[str, typing.Any]:
    return {
        'id': provider.uuid,
        'hypervisor_hostname': provider.name,
        'status': 'enabled',
        'state': 'up',
        'memory_mb': provider.inventories[model.MEMORY]['total'],
        'service': {'host': provider.name, 'disabled_reason': None},
    }
