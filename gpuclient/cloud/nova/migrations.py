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

"""Records of moves of servers."""

from openstack.compute.v2 import _proxy

from gpuclient.cloud.nova import pages
from gpuclient.cloud import request
from gpuclient.cloud import schema

#: The first microversion that limits the number of records.
_LIMITED = '2.59'


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
        microversion=_LIMITED,
        migration_type='resize',
        limit=pages.SIZE,
    )['migrations']
    return frozenset(
        record['instance_uuid']
        for record in records
        if record.get('status') in ('confirmed', 'finished')
    )
