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
do, page by page, so that their requests are counted too.
"""

import json
import pathlib
import pickle
import re
import typing
import urllib.parse

from tests.benchmarks.placement import model

#: ``[api]max_limit`` of Nova.
_MAX_LIMIT = 1000


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
        host = environ['HTTP_HOST']
        body: typing.Any
        if path.endswith('/servers/detail'):
            body = self._page(query)
        elif path.endswith('/os-hypervisors/statistics'):
            body = {'hypervisor_statistics': self._statistics}
        elif path.endswith('/projects'):
            body = {'projects': self._projects}
        elif path.endswith('/v3'):
            body = {
                'version': {
                    'id': 'v3.14',
                    'status': 'stable',
                    'links': [{'rel': 'self', 'href': f'http://{host}/v3/'}],
                }
            }
        else:
            body = {
                'version': {
                    'id': 'v2.1',
                    'status': 'CURRENT',
                    'version': '2.100',
                    'min_version': '2.1',
                    'links': [{'rel': 'self', 'href': f'http://{host}/v2.1/'}],
                }
            }
        content = json.dumps(body).encode()
        start_response(
            '200 OK',
            [
                ('Content-Type', 'application/json'),
                ('Content-Length', str(len(content))),
            ],
        )
        return [content]

    def _page(self, query: dict[str, list[str]]) -> dict[str, typing.Any]:
        servers = self._servers
        if 'node' in query:
            pattern = re.compile(query['node'][-1])
            servers = [
                server
                for server in servers
                if pattern.search(
                    server['OS-EXT-SRV-ATTR:hypervisor_hostname']
                )
            ]
        start = 0
        if 'marker' in query:
            ids = [server['id'] for server in servers]
            start = ids.index(query['marker'][0]) + 1
        limit = min(int(query.get('limit', ['1000'])[0]), _MAX_LIMIT)
        page: dict[str, typing.Any] = {
            'servers': servers[start : start + limit]
        }
        if len(page['servers']) == limit:
            # Nova links to a next page whenever this one is full
            # (nova/api/openstack/common.py:ViewBuilder._get_collection_links).
            page['servers_links'] = [{'rel': 'next', 'href': 'http://nova/'}]
        return page


def _record(server: model.Consumer) -> dict[str, typing.Any]:
    specs = {}
    if server.devices:
        specs['pci_passthrough:alias'] = f'gpu:{server.devices}'
    return {
        'id': server.uuid,
        'name': model.name(server),
        'status': 'ACTIVE',
        'tenant_id': server.project_id,
        'user_id': server.user_id,
        'OS-EXT-SRV-ATTR:host': server.host,
        'OS-EXT-SRV-ATTR:hypervisor_hostname': server.host,
        'flavor': {'original_name': 'flavor', 'extra_specs': specs},
    }
