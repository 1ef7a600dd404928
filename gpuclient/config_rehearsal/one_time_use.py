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

"""Release devices of one-time use."""

from keystoneauth1 import adapter

from gpuclient.cloud import request
from gpuclient.cloud import schema
from gpuclient.model import inventory

#: The first with generations of providers and nested providers.
_MICROVERSION = '1.18'


def release(placement: adapter.Adapter, device: inventory.Device) -> None:
    """Set the reserved units of a device to 0.

    Nova reserves a device of one-time use when a server is allocated it, and
    never releases it
    (``nova/compute/pci_placement_translator.py:_handle_one_time_use``).

    :raises gpuclient.exceptions.Conflict: Another client changed it meanwhile.
    :raises gpuclient.exceptions.CloudError: With Placement's message.
    """
    path = f'/resource_providers/{device.uuid}/inventories'
    action = f'releasing {device.name}'
    inventories = request.get(
        placement,
        path,
        action,
        {
            'inventories': schema.Map({'reserved': int}),
            'resource_provider_generation': int,
        },
        microversion=_MICROVERSION,
    )
    for record in inventories['inventories'].values():
        record['reserved'] = 0
    request.send(
        placement,
        'PUT',
        path,
        action,
        microversion=_MICROVERSION,
        json=inventories,
    )
