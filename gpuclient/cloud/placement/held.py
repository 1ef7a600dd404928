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

"""What one consumer holds."""

from keystoneauth1 import adapter

from gpuclient.cloud.placement import reader as placement_reader
from gpuclient.cloud import schema
from gpuclient.model import flavor as flavor_model
from gpuclient.model import inventory


def read_held(
    placement: adapter.Adapter, consumer: str
) -> tuple[inventory.Device, ...]:
    """Return the devices that a consumer holds, with one request for each.

    Only their names, classes and traits are read.

    :raises gpuclient.exceptions.CloudError: With the server's message.
    """
    reader = placement_reader.PlacementReader(placement)
    allocations = reader.get(
        f'/allocations/{consumer}',
        f'reading the allocations of {consumer}',
        {'allocations': schema.Map({'resources': schema.Map(int)})},
    )['allocations']

    def device(uuid: str) -> inventory.Device:
        provider = reader.get(
            f'/resource_providers/{uuid}',
            f'reading resource provider {uuid}',
            {'name': str, 'root_provider_uuid': str},
        )
        host, address = inventory.split_provider_name(provider['name'])
        ((name, amount), *_others) = allocations[uuid]['resources'].items()
        return inventory.Device(
            uuid=uuid,
            name=provider['name'],
            root_uuid=provider['root_provider_uuid'],
            host=host or provider['name'],
            address=address,
            resource_class=name,
            consumers=(inventory.Consumer(consumer, amount),),
        )

    return tuple(
        sorted(
            reader.each(
                device,
                [
                    uuid
                    for uuid, allocation in allocations.items()
                    if allocation['resources']
                    and allocation['resources']
                    .keys()
                    .isdisjoint(flavor_model.OF_THE_NODE)
                ],
            ),
            key=inventory.order,
        )
    )
