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

"""The console log of a server."""

import re
import urllib.parse

from openstack.compute.v2 import _proxy

from gpuclient.cloud.nova import pages
from gpuclient.cloud import request
from gpuclient import exceptions

#: The fields that are read are those of any microversion.
_MICROVERSION = '2.1'


def read(compute: _proxy.Proxy, name_or_id: str) -> bytes:
    """Return the end of the console log of a server, unchanged.

    The libvirt driver returns 100 KiB at most
    (``nova/virt/libvirt/driver.py:MAX_CONSOLE_BYTES``).

    :raises gpuclient.exceptions.NotFound: There is no such server.
    :raises gpuclient.exceptions.Ambiguous: Several servers have the name.
    :raises gpuclient.exceptions.CloudError: With the server's message.
    """
    server_id = _find(compute, name_or_id)
    action = f'reading the console log of server {name_or_id!r}'
    response = request.send(
        compute,
        'POST',
        f'/servers/{server_id}/action',
        action,
        json={'os-getConsoleOutput': {}},
    )
    body = request.read_body(response, action, {'output': str})
    output: str = body['output']
    return output.encode('utf-8', 'surrogateescape')


def _find(compute: _proxy.Proxy, name_or_id: str) -> str:
    """Return the ID of a server."""
    if not name_or_id:
        raise _not_found(name_or_id)
    server_id = _find_by_id(compute, name_or_id)
    if server_id is not None:
        return server_id
    # Nova matches names as regular expressions.
    ids = [
        record['id']
        for record in pages.read(
            compute,
            '/servers',
            'servers',
            f'finding server {name_or_id!r}',
            {'name': str},
            microversion=_MICROVERSION,
            name=f'^{re.escape(name_or_id)}$',
        )
        if record['name'] == name_or_id
    ]
    if not ids:
        raise _not_found(name_or_id)
    if len(ids) > 1:
        raise exceptions.Ambiguous(
            f'{len(ids)} servers are named {name_or_id!r}; specify the ID of '
            f'one of them: {", ".join(ids[:5])}'
        )
    return str(ids[0])


def _find_by_id(compute: _proxy.Proxy, text: str) -> str | None:
    if not request.is_segment(text):
        return None
    try:
        record = request.get(
            compute,
            f'/servers/{urllib.parse.quote(text, safe="")}',
            f'reading server {text!r}',
            {'server': {'id': str}},
        )['server']
    except exceptions.NotFound:
        return None
    return str(record['id'])


def _not_found(name_or_id: str) -> exceptions.NotFound:
    return exceptions.NotFound(
        f'There is no server {name_or_id!r} in this project'
    )
