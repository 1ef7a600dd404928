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

"""Services of Nova, and whether they run."""

from openstack.compute.v2 import _proxy

from gpuclient.cloud import request
from gpuclient.cloud import schema
from gpuclient.model import cloud_state

COMPUTE = 'nova-compute'
#: The first microversion with ``forced_down`` for these parameters.
_FORCED_DOWN = '2.53'


def list_control_services(
    compute: _proxy.Proxy,
) -> tuple[cloud_state.ControlService, ...]:
    """Return the services other than nova-compute.

    :raises gpuclient.exceptions.CloudError: With the server's message.
    """
    records = request.get(
        compute,
        '/os-services',
        'listing the services of Nova',
        {'services': [{'binary': str, 'host': str, 'state': str}]},
    )['services']
    return tuple(
        cloud_state.ControlService(
            record['binary'], record['host'], record['state'] == 'up'
        )
        for record in records
        if record['binary'] != COMPUTE
    )


def list_computes(
    compute: _proxy.Proxy,
) -> tuple[cloud_state.ComputeService, ...]:
    """Return the services of nova-compute.

    :raises gpuclient.exceptions.CloudError: With the server's message.
    """
    text = schema.Optional(str)
    records = request.get(
        compute,
        '/os-services',
        'listing compute services',
        {
            'services': [
                {
                    'host': str,
                    'state': text,
                    'forced_down': schema.Optional(bool),
                    'updated_at': text,
                }
            ]
        },
        microversion=_FORCED_DOWN,
        binary=COMPUTE,
    )['services']
    return tuple(
        cloud_state.ComputeService(
            record['host'],
            record.get('state') == 'up',
            bool(record.get('forced_down')),
            record.get('updated_at'),
        )
        for record in records
    )


def forced_down(compute: _proxy.Proxy) -> frozenset[str]:
    """Return the hosts whose compute service is forced down.

    :raises gpuclient.exceptions.CloudError: With the server's message.
    """
    records = request.get(
        compute,
        '/os-services',
        'listing compute services',
        {'services': [{'host': str, 'forced_down': schema.Optional(bool)}]},
        microversion=_FORCED_DOWN,
        binary=COMPUTE,
    )['services']
    return frozenset(
        record['host'] for record in records if record.get('forced_down')
    )
