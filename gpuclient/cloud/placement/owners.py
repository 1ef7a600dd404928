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

"""The consumers of devices.

No API of Placement returns the allocations of many consumers. They are read
from the cheaper end: for a host with fewer servers that may hold devices than
devices in use, those of the servers; for any other host, those of the devices.
A device whose usage this does not explain (a migration, a consumer that Nova
does not know) is read by itself, so that the result does not depend on Nova.
The same shows what was allocated or freed since the devices were read; such a
device gets the usage that its allocations add up to.
"""

import collections
import collections.abc
import dataclasses

from keystoneauth1 import adapter

from gpuclient.cloud.placement import reader as placement_reader
from gpuclient.cloud import schema
from gpuclient import exceptions
from gpuclient.model import inventory
from gpuclient.model import partial_result

_CONSUMER_TYPES = (1, 38)
_ALLOCATIONS: dict[str, schema.Shape] = {
    'allocations': schema.Map({'resources': schema.Map(int)})
}
_CONSUMER: dict[str, schema.Shape] = {
    **_ALLOCATIONS,
    'consumer_type': schema.Optional(str),
    'project_id': schema.Optional(str),
    'user_id': schema.Optional(str),
}


class _OwnerRead:
    def __init__(
        self,
        reader: placement_reader.PlacementReader,
        servers: collections.abc.Iterable[inventory.Server],
    ) -> None:
        self.reader = reader
        self.servers = {server.uuid: server for server in servers}
        #: Consumers, without their amounts.
        self.consumers: dict[str, inventory.Consumer] = {}
        #: Units by provider and resource class, by consumer.
        self.units: dict[tuple[str, str], dict[str, int]] = (
            collections.defaultdict(dict)
        )
        self.failures: list[partial_result.Failure] = []
        self.unread: set[str] = set()
        #: Devices whose allocations were all read at once.
        self.whole: set[str] = set()

    def unexplained(
        self, devices: collections.abc.Iterable[inventory.Device]
    ) -> list[inventory.Device]:
        """Return devices whose usage differs from their known consumers."""
        return [
            device
            for device in devices
            if device.used is not None
            and device.uuid not in self.unread
            and device.resource_class is not None
            and sum(self.units[device.uuid, device.resource_class].values())
            != device.used
        ]

    def read_consumer(self, uuid: str) -> None:
        """Read what a consumer holds, and its project."""
        try:
            record = self.reader.get(
                f'/allocations/{uuid}',
                f'reading the allocations of {uuid}',
                _CONSUMER,
            )
        except exceptions.CloudError as exc:
            self.failures.append(
                partial_result.Failure(f'consumer {uuid}', str(exc))
            )
            return
        for provider, allocation in record['allocations'].items():
            for name, amount in allocation['resources'].items():
                self.units[provider, name][uuid] = amount
        if not record['allocations']:
            return
        kind = None
        if self.reader.version >= _CONSUMER_TYPES:
            kind = record.get('consumer_type')
        server = self.servers.get(uuid)
        self.consumers[uuid] = inventory.Consumer(
            uuid=uuid,
            amount=0,
            project_id=record.get('project_id'),
            user_id=record.get('user_id'),
            consumer_type=kind,
            name=server.name if server else None,
        )

    def read_device(self, device: inventory.Device) -> None:
        """Read the consumers of a device."""
        try:
            record = self.reader.get(
                f'/resource_providers/{device.uuid}/allocations',
                f'reading the allocations of {device.name}',
                _ALLOCATIONS,
            )
        except exceptions.NotFound:
            self.unread.add(device.uuid)
        except exceptions.CloudError as exc:
            self.failures.append(
                partial_result.Failure(
                    f'servers that hold {device.address or device.name} of '
                    f'{device.host}',
                    str(exc),
                )
            )
            self.unread.add(device.uuid)
        else:
            self.whole.add(device.uuid)
            # What was read of servers before is outdated.
            for key in [key for key in self.units if key[0] == device.uuid]:
                del self.units[key]
            for uuid, allocation in record['allocations'].items():
                for name, amount in allocation['resources'].items():
                    self.units[device.uuid, name][uuid] = amount

    def owned(self, device: inventory.Device) -> inventory.Device:
        """Return a device with its consumers."""
        if device.uuid in self.unread or device.used is None:
            return device
        units = self.units.get((device.uuid, device.resource_class or ''), {})
        if device.uuid in self.whole:
            device = dataclasses.replace(device, used=sum(units.values()))
        return dataclasses.replace(
            device,
            consumers=tuple(
                dataclasses.replace(
                    self.consumers.get(uuid, inventory.Consumer(uuid, 0)),
                    amount=amount,
                )
                for uuid, amount in sorted(units.items())
            ),
        )


def read_owners(
    placement: adapter.Adapter,
    devices: collections.abc.Sequence[inventory.Device],
    servers: collections.abc.Sequence[inventory.Server],
) -> partial_result.PartialResult[tuple[inventory.Device, ...]]:
    """Return the devices with their consumers.

    :param servers: Servers of all projects, as far as they are known: they
        save requests and name consumers.
    """
    in_use = [device for device in devices if device.used]
    if not in_use:
        return partial_result.PartialResult(
            tuple(
                dataclasses.replace(
                    device, consumers=None if device.used is None else ()
                )
                for device in devices
            )
        )
    read = _OwnerRead(placement_reader.PlacementReader(placement), servers)
    by_host: dict[str, list[inventory.Device]] = collections.defaultdict(list)
    for device in in_use:
        by_host[device.host].append(device)
    candidates: dict[str, list[str]] = collections.defaultdict(list)
    for server in servers:
        if server.host in by_host and inventory.requests_devices(server):
            candidates[server.host].append(server.uuid)
    read.reader.each(
        read.read_consumer,
        [
            uuid
            for host, uuids in candidates.items()
            if len(uuids) <= len(by_host[host])
            for uuid in uuids
        ],
    )
    read.reader.each(read.read_device, read.unexplained(devices))
    wanted = {device.uuid for device in devices}
    unknown = {
        uuid
        for (provider, _name), units in read.units.items()
        if provider in wanted
        for uuid in units
        if uuid not in read.consumers
    }
    read.reader.each(read.read_consumer, sorted(unknown))
    return partial_result.PartialResult(
        tuple(map(read.owned, devices)),
        tuple(sorted(set(read.failures), key=str)),
    )
