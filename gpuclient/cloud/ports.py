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

"""Ports of servers that have a PCI device."""

import collections
import typing

from openstack import connection

from gpuclient.cloud import request
from gpuclient.cloud import schema
from gpuclient import exceptions

#: VNIC types for which Nova claims a PCI device
#: (``nova/network/model.py:VNIC_TYPES_SRIOV`` and those of vDPA and DPUs).
_WITH_DEVICE = (
    'direct',
    'direct-physical',
    'macvtap',
    'accelerator-direct',
    'accelerator-direct-physical',
    'vdpa',
    'remote-managed',
)


def count_device_ports(cloud: connection.Connection) -> dict[str, int]:
    """Return the number of ports with a PCI device, by server.

    :raises gpuclient.exceptions.CloudError: With the server's message.
    """
    params: dict[str, typing.Any] = {
        'binding:vnic_type': list(_WITH_DEVICE),
        'fields': ['id', 'device_id'],
    }
    try:
        ports = request.get(
            cloud.network,
            '/ports',
            'listing ports with devices',
            {'ports': [{'device_id': schema.Optional(str)}]},
            **params,
        )['ports']
    except exceptions.NotFound:
        # Neutron always has this list: there is none.
        return {}
    return dict(
        collections.Counter(
            port['device_id'] for port in ports if port['device_id']
        )
    )
