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

"""What shows leaks: devices, servers, migrations and compute nodes.

A whole cloud costs the reads of "placement list" and a handful more. What
looks like a leak is read a second time, record by record: the first reads are
not of one moment.
"""

import collections.abc
import dataclasses

from openstack import connection

from gpuclient.cloud.nova import hypervisors
from gpuclient.cloud.nova import migrations as nova_migrations
from gpuclient.cloud.nova import servers as nova_servers
from gpuclient.cloud.placement import allocations as placement_allocations
from gpuclient.cloud.placement import devices as placement_devices
from gpuclient.cloud.placement import owners
from gpuclient.cloud import ports as neutron_ports
from gpuclient.cloud import schema
from gpuclient.cloud import usage
from gpuclient import exceptions
from gpuclient.model import allocation
from gpuclient.model import inventory
from gpuclient.model import leak_evidence
from gpuclient.model import partial_result


@dataclasses.dataclass(frozen=True)
class _Consumer:
    """A consumer, read again."""

    allocations: allocation.Allocations
    #: None if Nova has no such server.
    server: inventory.Server | None
    #: Whether Nova answered, and did not change the server meanwhile.
    is_known: bool
    moves: tuple[allocation.Migration, ...] = ()


class LeakReader:
    """Reads the evidence of a cloud, and parts of it again.

    :raises gpuclient.exceptions.CloudError: Placement does not answer, or is
        too old.
    """

    def __init__(self, cloud: connection.Connection) -> None:
        self._cloud = cloud
        self.store = placement_allocations.PlacementStore(cloud.placement)
        self._each = self.store.reader.each
        self.failures: list[partial_result.Failure] = []

    def read(self) -> leak_evidence.Evidence:
        """Return the evidence of the whole cloud.

        :raises gpuclient.exceptions.CloudError: Placement or Nova does not
            list devices or servers, or not for this user.
        """
        computes = self._computes()
        servers = nova_servers.list_servers(
            self._cloud.compute, all_projects=True
        )
        devices = self._devices(computes)
        owned = owners.read_owners(self._cloud.placement, devices, servers)
        self.failures += owned.failures
        evidence = leak_evidence.Evidence(
            devices=owned.value,
            servers={server.uuid: server for server in servers},
            computes=computes,
        )
        evidence = self._look_up(evidence, evidence.by_consumer)
        return dataclasses.replace(
            evidence,
            allocations=self._of_servers_without_devices(evidence),
            reserved_for=self._ages(evidence.devices),
            cyborg=self._cyborg(),
        )

    def read_again(
        self,
        evidence: leak_evidence.Evidence,
        consumers: collections.abc.Iterable[str],
        devices: collections.abc.Iterable[str] = (),
        *,
        with_ports: bool = False,
        with_computes: bool = False,
    ) -> leak_evidence.Evidence:
        """Return evidence in which some records are those of now.

        :param consumers: Whose allocations, servers and migrations to read.
        :param devices: IDs of devices whose consumers and inventories to read.
        :param with_ports: Read the ports with devices, too.
        :param with_computes: Read the compute nodes, too.
        """
        if with_computes:
            evidence = dataclasses.replace(evidence, computes=self._computes())
        wanted = set(devices)
        evidence = self._refresh(evidence, wanted)
        uuids = {
            consumer.uuid
            for device in evidence.devices
            if device.uuid in wanted
            for consumer in device.consumers or ()
        }
        if with_ports:
            evidence = dataclasses.replace(evidence, ports=self._ports())
        return self._look_up_again(evidence, sorted({*consumers, *uuids}))

    def _look_up_again(
        self, evidence: leak_evidence.Evidence, uuids: list[str]
    ) -> leak_evidence.Evidence:
        """Read consumers again."""
        again = dict(
            zip(uuids, self._each(self._consumer, uuids), strict=True)
        )
        known = {
            uuid: consumer for uuid, consumer in again.items() if consumer
        }
        servers = {
            uuid: server
            for uuid, server in evidence.servers.items()
            if uuid not in again
        }
        servers.update(
            (uuid, consumer.server)
            for uuid, consumer in known.items()
            if consumer.is_known
        )
        units = {
            uuid: consumer.allocations for uuid, consumer in known.items()
        }
        evidence = dataclasses.replace(
            evidence,
            devices=tuple(
                _with_units(device, units) for device in evidence.devices
            ),
            servers=servers,
            moves={
                **evidence.moves,
                **{uuid: known[uuid].moves for uuid in known},
            },
            allocations={**evidence.allocations, **units},
            migrations={
                uuid: migration
                for uuid, migration in evidence.migrations.items()
                if uuid not in again
            },
        )
        return self._look_up(evidence, again)

    def _computes(self) -> dict[str, bool] | None:
        """Return the compute nodes, and whether nova-compute is up."""
        try:
            return {
                node.name: node.up
                for node in hypervisors.list_hypervisors(self._cloud.compute)
            }
        except exceptions.CloudError as exc:
            self.failures.append(
                partial_result.Failure('compute nodes', str(exc))
            )
            return None

    def _devices(
        self, computes: dict[str, bool] | None
    ) -> tuple[inventory.Device, ...]:
        try:
            answer = placement_devices.read_devices(
                self._cloud.placement,
                count_hosts=lambda: len(computes) if computes else None,
            )
        except exceptions.Forbidden as exc:
            raise usage.hidden(exc) from exc
        self.failures += answer.failures
        return answer.value

    def _look_up(
        self,
        evidence: leak_evidence.Evidence,
        consumers: collections.abc.Iterable[str],
    ) -> leak_evidence.Evidence:
        """Look up consumers that are none of the known servers."""
        consumers = set(consumers)
        servers = dict(evidence.servers)
        kinds = {
            consumer.uuid: consumer.consumer_type
            for device in evidence.devices
            for consumer in device.consumers or ()
            if consumer.uuid in consumers
            and servers.get(consumer.uuid) is None
        }
        self._add_servers(
            servers,
            (
                uuid
                for uuid, kind in kinds.items()
                if kind != inventory.MIGRATION and uuid not in servers
            ),
        )
        try:
            migrations = nova_migrations.find_migrations(
                self._cloud.compute,
                (
                    uuid
                    for uuid, kind in kinds.items()
                    if kind == inventory.MIGRATION
                    or (
                        kind != inventory.INSTANCE
                        and servers.get(uuid, True) is None
                    )
                ),
            )
        except exceptions.CloudError as exc:
            self.failures.append(
                partial_result.Failure('migrations', str(exc))
            )
            migrations = {}
        self._add_servers(
            servers,
            {
                migration.server
                for migration in migrations.values()
                if migration is not None
            }
            - servers.keys(),
        )
        return dataclasses.replace(
            evidence,
            servers=servers,
            migrations={**evidence.migrations, **migrations},
        )

    def _add_servers(
        self,
        servers: dict[str, inventory.Server | None],
        uuids: collections.abc.Iterable[str],
    ) -> None:
        """Look up servers; those that cannot be read stay unknown."""

        def find(uuid: str) -> None:
            try:
                servers[uuid] = nova_servers.find_server(
                    self._cloud.compute, uuid
                )
            except exceptions.CloudError as exc:
                self.failures.append(
                    partial_result.Failure(f'server {uuid}', str(exc))
                )

        self._each(find, sorted(uuids))

    def _of_servers_without_devices(
        self, evidence: leak_evidence.Evidence
    ) -> dict[str, allocation.Allocations]:
        """Return the allocations of servers that should hold devices."""
        read: dict[str, allocation.Allocations] = {}

        def ask(uuid: str) -> None:
            try:
                read[uuid] = self.store.read(uuid)
            except exceptions.CloudError as exc:
                self.failures.append(
                    partial_result.Failure(
                        f'allocations of server {uuid}', str(exc)
                    )
                )

        self._each(
            ask,
            [
                server.uuid
                for server in evidence.servers.values()
                if server is not None
                and server.host in evidence.hosts
                and evidence.is_settled(server)
                and evidence.requested(server)
                and not evidence.on_host(server)
            ],
        )
        return read

    def _ages(
        self, devices: collections.abc.Iterable[inventory.Device]
    ) -> dict[str, float]:
        """Return for how long free devices have been reserved, at least."""
        ages: dict[str, float] = {}

        def ask(device: inventory.Device) -> None:
            try:
                age = self.store.inventories(device.uuid).age
            except exceptions.CloudError as exc:
                self.failures.append(
                    partial_result.Failure(
                        f'inventory of {device.name}', str(exc)
                    )
                )
                return
            if age is not None:
                ages[device.uuid] = age

        self._each(
            ask,
            [
                device
                for device in devices
                if device.reserved
                and not device.used
                and leak_evidence.ONE_TIME_USE not in device.traits
            ],
        )
        return ages

    def _cyborg(self) -> tuple[leak_evidence.OtherProvider, ...]:
        """Return the providers of Cyborg."""
        try:
            providers = self.store.reader.get(
                '/resource_providers',
                'reading the providers of Cyborg',
                {
                    'resource_providers': [
                        {
                            'uuid': str,
                            'name': str,
                            'root_provider_uuid': schema.Optional(str),
                        }
                    ]
                },
                required=leak_evidence.OWNER_CYBORG,
            )['resource_providers']
        except exceptions.CloudError as exc:
            if exc.status != 400:
                self.failures.append(
                    partial_result.Failure('providers of Cyborg', str(exc))
                )
            # Placement does not know the trait: there is none.
            return ()
        return tuple(
            leak_evidence.OtherProvider(
                provider['uuid'],
                provider['name'],
                provider['root_provider_uuid'] or provider['uuid'],
            )
            for provider in providers
        )

    def _ports(self) -> dict[str, int] | None:
        """Return the ports with a device, by server; None if unknown."""
        try:
            return neutron_ports.count_device_ports(self._cloud)
        except exceptions.CloudError as exc:
            self.failures.append(
                partial_result.Failure(
                    'ports with PCI devices, without which servers with more '
                    'devices than requested are not reported',
                    str(exc),
                )
            )
            return None

    def _refresh(
        self, evidence: leak_evidence.Evidence, uuids: set[str]
    ) -> leak_evidence.Evidence:
        """Read inventories and consumers of devices again."""

        def ask(device: inventory.Device) -> inventory.Device | None:
            try:
                records = self.store.inventories(device.uuid).records
                held = self.store.provider_allocations(device.uuid)
            except exceptions.NotFound:
                return None
            record = records.get(device.resource_class or '', {})
            return dataclasses.replace(
                device,
                total=record.get('total'),
                reserved=record.get('reserved'),
                used=sum(held.values()),
                consumers=tuple(
                    inventory.Consumer(uuid, amount)
                    for uuid, amount in held.items()
                ),
            )

        wanted = [
            device for device in evidence.devices if device.uuid in uuids
        ]
        refreshed = dict(
            zip(
                [(device.uuid, device.resource_class) for device in wanted],
                self._each(ask, wanted),
                strict=True,
            )
        )
        return dataclasses.replace(
            evidence,
            devices=tuple(
                device
                for known in evidence.devices
                if (
                    device := refreshed.get(
                        (known.uuid, known.resource_class), known
                    )
                )
            ),
        )

    def _consumer(self, uuid: str) -> _Consumer | None:
        """Read a consumer; a server before and after its allocations."""
        try:
            before = nova_servers.find_server(self._cloud.compute, uuid)
            allocations = self.store.read(uuid)
            server = nova_servers.find_server(self._cloud.compute, uuid)
            moves = (
                nova_migrations.of_server(self._cloud.compute, uuid)
                if server
                else ()
            )
        except exceptions.CloudError as exc:
            self.failures.append(
                partial_result.Failure(f'consumer {uuid}', str(exc))
            )
            return None
        return _Consumer(allocations, server, server == before, moves)


def _with_units(
    device: inventory.Device,
    units: collections.abc.Mapping[str, allocation.Allocations],
) -> inventory.Device:
    """Return a device with the units that some consumers hold now."""
    if device.consumers is None or not units:
        return device
    others = [
        consumer for consumer in device.consumers if consumer.uuid not in units
    ]
    again = [
        inventory.Consumer(
            uuid=uuid,
            amount=held.amount(device.uuid, device.resource_class),
            project_id=held.project_id,
            user_id=held.user_id,
            consumer_type=held.consumer_type,
        )
        for uuid, held in units.items()
        if held.amount(device.uuid, device.resource_class)
    ]
    return dataclasses.replace(
        device,
        consumers=tuple(
            sorted((*others, *again), key=lambda consumer: consumer.uuid)
        ),
    )
