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

"""A Neutron API without networks.

Nova sends requests to Neutron when it deletes a server and when it lists
servers in detail, even if the servers have no network. This API returns an
empty list of each resource.
"""

import json
import re
import typing

_RESOURCE = re.compile(r'/v2\.0/([a-z-]+)')


def application(
    environ: dict[str, typing.Any],
    start_response: typing.Callable[[str, list[tuple[str, str]]], object],
) -> list[bytes]:
    """Respond to a request (WSGI)."""
    path = environ['PATH_INFO'].rstrip('/').removesuffix('.json')
    resource = _RESOURCE.fullmatch(path)
    body: dict[str, typing.Any]
    status = '200 OK'
    if path == '':
        link = f'http://{environ["HTTP_HOST"]}/v2.0/'
        body = {
            'versions': [
                {
                    'id': 'v2.0',
                    'status': 'CURRENT',
                    'links': [{'rel': 'self', 'href': link}],
                }
            ]
        }
    elif path == '/v2.0':
        body = {'resources': []}
    elif resource and environ['REQUEST_METHOD'] == 'GET':
        body = {resource[1].replace('-', '_'): []}
    else:
        status = '404 Not Found'
        body = {
            'NeutronError': {
                'type': 'NotFound',
                'message': 'The rehearsal cloud has no networks',
                'detail': '',
            }
        }
    data = json.dumps(body).encode()
    start_response(
        status,
        [
            ('Content-Type', 'application/json'),
            ('Content-Length', str(len(data))),
        ],
    )
    return [data]
