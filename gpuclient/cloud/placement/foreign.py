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

"""Providers of PCI devices that another service than Nova created."""

import re

from keystoneauth1 import adapter

from gpuclient.cloud.placement import reader as placement_reader
from gpuclient.model import cloud_state

#: Cyborg names a provider after the host and the address of the card
#: (cyborg/accelerator/drivers/gpu/utils.py).
_ADDRESS = re.compile(
    r'.+_(?P<address>[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7])(_.*)?',
    re.ASCII | re.IGNORECASE | re.DOTALL,
)


def list_providers(
    placement: adapter.Adapter,
) -> tuple[cloud_state.ForeignProvider, ...]:
    """Return providers with a PCI address in their names, not of Nova.

    This costs two requests.

    :raises gpuclient.exceptions.CloudError: With the server's message.
    """
    reader = placement_reader.PlacementReader(placement)
    shape = {
        'resource_providers': [
            {'uuid': str, 'name': str, 'root_provider_uuid': str}
        ]
    }
    of_nova = {
        provider['uuid']
        for provider in reader.get(
            '/resource_providers',
            'reading the PCI devices',
            shape,
            required=placement_reader.MANAGED,
        )['resource_providers']
    }
    providers = reader.get(
        '/resource_providers', 'reading all resource providers', shape
    )['resource_providers']
    return tuple(
        cloud_state.ForeignProvider(
            provider['name'],
            provider['root_provider_uuid'],
            match['address'].lower(),
        )
        for provider in providers
        if provider['uuid'] not in of_nova
        and (match := _ADDRESS.fullmatch(provider['name'])) is not None
    )
