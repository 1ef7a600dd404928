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

"""Clouds as Nova fills Placement, made up the same way in every run.

The names, classes, traits and inventories of devices are those of
``nova/compute/pci_placement_translator.py``; what a server holds of its host
and of devices is one consumer.
"""

import collections
import dataclasses
import random
import typing
import uuid

import os_traits

from gpuclient.cloud.placement import reader
from gpuclient.model import inventory

MEMORY, VCPU, DISK = 'MEMORY_MB', 'VCPU', 'DISK_GB'
#: Resource class and trait of each model of GPU.
MODELS = (
    ('CUSTOM_PCI_10DE_20B2', 'CUSTOM_GPU_A100_80G'),
    ('CUSTOM_PCI_10DE_2330', 'CUSTOM_GPU_H100'),
    ('CUSTOM_PCI_10DE_26B9', 'CUSTOM_GPU_L40S'),
)
NIC = 'CUSTOM_PCI_15B3_101E'
FUNCTIONS = 16
ONE_TIME_USE = 'HW_PCI_ONE_TIME_USE'

_NAMESPACE = uuid.UUID('7f3b9a52-30c8-4d5e-9f3e-2a1c5a0be7d1')
_HOST = {VCPU: 192, MEMORY: 2_000_000 - 16_384, DISK: 28_000}
#: What a server has of its host for each of its GPUs.
_SHARE = {VCPU: 20, MEMORY: 200_000, DISK: 400}
_PROJECTS = 40


@dataclasses.dataclass(frozen=True)
class Shape:
    """What a cloud is like."""

    name: str
    #: Hosts with GPUs.
    hosts: int
    #: Hosts without; as many as there are with GPUs if None.
    cpu_hosts: int | None = None
    gpus: int = 8
    #: Whether every second host has a NIC with virtual functions.
    nics: bool = True
    #: Part of the hosts that have every GPU in use.
    full: float = 0.30
    #: Part of the full hosts that have no memory left either, and part of
    #: these that have nothing left at all.
    starved: float = 0.12
    exhausted: float = 0.02
    one_time_use: float = 0.02
    #: Part of the devices that an operator has reserved.
    reserved: float = 0.0
    #: Whether some servers are migrating, and some have gone without their
    #: allocations.
    moves: bool = False
    #: ``[placement]max_allocation_candidates``.
    cap: int | None = None


@dataclasses.dataclass
class Provider:
    uuid: str
    name: str
    root: str
    parent: str | None
    inventories: dict[str, dict[str, typing.Any]]
    traits: list[str]
    aggregates: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Consumer:
    uuid: str
    project_id: str
    user_id: str
    kind: str
    #: Resources by provider.
    allocations: dict[str, dict[str, int]]
    #: Hypervisor hostname that Nova has the server on; None for what is no
    #: server that Nova knows.
    host: str | None
    #: Devices that its flavor asks for.
    devices: int


@dataclasses.dataclass
class Cloud:
    shape: Shape
    providers: list[Provider]
    consumers: list[Consumer]

    @property
    def servers(self) -> list[Consumer]:
        """The consumers that Nova knows."""
        return [
            consumer
            for consumer in self.consumers
            if consumer.host is not None
        ]

    @property
    def hosts(self) -> int:
        """How many compute nodes there are."""
        return sum(VCPU in provider.inventories for provider in self.providers)

    def devices(self) -> list[Provider]:
        return [
            provider
            for provider in self.providers
            if reader.MANAGED in provider.traits
        ]

    def holders(self) -> int:
        """How many consumers hold a device."""
        devices = {device.uuid for device in self.devices()}
        return sum(
            not devices.isdisjoint(consumer.allocations)
            for consumer in self.consumers
        )

    def truth(self) -> tuple[inventory.Device, ...]:
        """Return the devices as a read has to find them."""
        held: dict[str, list[inventory.Consumer]] = collections.defaultdict(
            list
        )
        for consumer in self.consumers:
            for provider, resources in consumer.allocations.items():
                held[provider].append(
                    inventory.Consumer(
                        uuid=consumer.uuid,
                        amount=sum(resources.values()),
                        project_id=consumer.project_id,
                        user_id=consumer.user_id,
                        consumer_type=consumer.kind,
                        name=name(consumer) if consumer.host else None,
                    )
                )
        hosts = {provider.uuid: provider.name for provider in self.providers}
        devices = []
        for device in self.devices():
            ((resource_class, record),) = device.inventories.items()
            host = hosts[device.root]
            consumers = sorted(
                held[device.uuid], key=lambda consumer: consumer.uuid
            )
            devices.append(
                inventory.Device(
                    uuid=device.uuid,
                    name=device.name,
                    root_uuid=device.root,
                    host=host,
                    address=inventory.provider_address(device.name, host),
                    resource_class=resource_class,
                    total=record['total'],
                    reserved=record['reserved'],
                    used=sum(consumer.amount for consumer in consumers),
                    traits=tuple(sorted(device.traits)),
                    consumers=tuple(consumers),
                )
            )
        return tuple(sorted(devices, key=inventory.order))


def name(consumer: Consumer) -> str:
    """Return the name of a server."""
    return f'server-{consumer.uuid[:8]}'


def identity(text: str) -> str:
    return str(uuid.uuid5(_NAMESPACE, text))


def _record(
    total: int, reserved: int = 0, ratio: float = 1.0
) -> dict[str, typing.Any]:
    return {
        'total': total,
        'reserved': reserved,
        'min_unit': 1,
        'max_unit': total,
        'step_size': 1,
        'allocation_ratio': ratio,
    }


class _Builder:
    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.random = random.Random(7)
        self.cloud = Cloud(shape, [], [])
        standard = sorted(
            trait
            for trait in os_traits.get_traits()
            if trait.startswith(('HW_CPU_X86_', 'COMPUTE_'))
            and trait not in ('COMPUTE_STATUS_DISABLED', reader.MANAGED)
        )
        #: As many as a host of today has.
        self.host_traits = [
            *standard[:: max(1, len(standard) // 75)][:75],
            'OWNER_NOVA',
        ]
        self.aggregates = [identity(f'aggregate {n}') for n in range(6)]
        self.projects = [
            identity(f'project {n}').replace('-', '') for n in range(_PROJECTS)
        ]
        self.user = identity('user').replace('-', '')

    def provider(self, **values: typing.Any) -> Provider:
        provider = Provider(**values)
        self.cloud.providers.append(provider)
        return provider

    def consumer(
        self,
        key: str,
        allocations: dict[str, dict[str, int]],
        host: str | None,
        *,
        kind: str = 'INSTANCE',
        devices: int = 0,
    ) -> None:
        self.cloud.consumers.append(
            Consumer(
                uuid=identity(f'consumer {key}'),
                project_id=self.random.choice(self.projects),
                user_id=self.user,
                kind=kind,
                allocations=allocations,
                host=host,
                devices=devices,
            )
        )

    def build(self) -> Cloud:
        for number in range(2):
            uuid_ = identity(f'share {number}')
            self.provider(
                uuid=uuid_,
                name=f'shared-storage-{number}',
                root=uuid_,
                parent=None,
                inventories={DISK: _record(2_000_000)},
                traits=['MISC_SHARES_VIA_AGGREGATE'],
                aggregates=[self.aggregates[4 + number]],
            )
        for number in range(self.shape.hosts):
            self.gpu_host(number)
        cpu_hosts = self.shape.cpu_hosts
        if cpu_hosts is None:
            cpu_hosts = self.shape.hosts
        for number in range(cpu_hosts):
            self.cpu_host(number)
        return self.cloud

    def cpu_host(self, number: int) -> None:
        host = f'cpu-{number:05d}.cloud.example.org'
        root = identity(host)
        aggregates = [self.aggregates[number % 4]]
        if number % 4 < 2:
            aggregates.append(self.aggregates[4 + number % 4])
        self.provider(
            uuid=root,
            name=host,
            root=root,
            parent=None,
            inventories={
                VCPU: _record(128, ratio=4.0),
                MEMORY: _record(768_000, 8_192),
                DISK: _record(4_000),
            },
            traits=list(self.host_traits),
            aggregates=aggregates,
        )
        for server in range(10):
            self.consumer(
                f'{host} {server}',
                {root: {VCPU: 8, MEMORY: 32_000, DISK: 80}},
                host,
            )

    def gpu_host(self, number: int) -> None:
        shape, chance = self.shape, self.random
        host = f'gpu-{number:05d}.cloud.example.org'
        root = identity(host)
        models = [MODELS[number % 3]] * shape.gpus
        if chance.random() < 0.1:
            models = [chance.choice(MODELS) for _gpu in range(shape.gpus)]
        once = chance.random() < shape.one_time_use
        full = chance.random() < shape.full
        most = 0.95 if shape.full else 0.9
        part = 1.0 if full else chance.uniform(0.4, most)
        used = round(shape.gpus * part)
        hunger = chance.random() if used == shape.gpus else 1.0
        self.provider(
            uuid=root,
            name=host,
            root=root,
            parent=None,
            inventories={
                VCPU: _record(_HOST[VCPU]),
                MEMORY: _record(_HOST[MEMORY] + 16_384, 16_384),
                DISK: _record(_HOST[DISK]),
            },
            traits=list(self.host_traits),
            aggregates=[self.aggregates[number % 4]],
        )
        gpus = [
            self.device(
                host,
                root,
                f'0000:{4 + 16 * place:02X}:00.0',
                {model: _record(1)},
                [trait, *([ONE_TIME_USE] if once else [])],
            )
            for place, (model, trait) in enumerate(models)
        ]
        nic = None
        if shape.nics and number % 2 == 0:
            nic = self.device(
                host, root, '0000:C1:00.0', {NIC: _record(FUNCTIONS)}, []
            )
        self.servers(host, root, gpus, nic, used, hunger)
        self.reserve(gpus, nic, once)

    def device(
        self,
        host: str,
        root: str,
        address: str,
        inventories: dict[str, dict[str, typing.Any]],
        traits: list[str],
    ) -> Provider:
        return self.provider(
            uuid=identity(host + address),
            name=f'{host}_{address}',
            root=root,
            parent=root,
            inventories=inventories,
            traits=[reader.MANAGED, 'OWNER_NOVA', *traits],
        )

    def servers(
        self,
        host: str,
        root: str,
        gpus: list[Provider],
        nic: Provider | None,
        used: int,
        hunger: float,
    ) -> None:
        """Let servers of one, two, four and eight GPUs use some of a host.

        :param hunger: Decides whether they also use all memory, or all that
            the host has.
        """
        shape, chance = self.shape, self.random
        order = list(gpus)
        chance.shuffle(order)
        left, number = used, 0
        while left:
            size = min(left, *chance.choices([1, 2, 4, 8], [35, 25, 20, 20]))
            mine, order = order[:size], order[size:]
            share = {key: size * units for key, units in _SHARE.items()}
            if left == size and hunger < shape.starved:
                before = used - size
                greedy = (
                    (MEMORY,)
                    if hunger >= shape.exhausted
                    else (MEMORY, VCPU, DISK)
                )
                for key in greedy:
                    share[key] = _HOST[key] - before * _SHARE[key]
            allocations = {root: share}
            for gpu in mine:
                (resource_class,) = gpu.inventories
                allocations[gpu.uuid] = {resource_class: 1}
            if nic:
                allocations[nic.uuid] = {NIC: 1}
            known: str | None = host
            kind = 'INSTANCE'
            if shape.moves:
                fate = chance.random()
                if fate < 0.03:
                    # The source of a migration.
                    kind, known = 'MIGRATION', None
                elif fate < 0.06:
                    # Left behind by a server that is gone.
                    known = None
                elif fate < 0.08:
                    # Nova has it elsewhere.
                    known = 'gpu-00000.cloud.example.org'
            self.consumer(
                f'{host} {number}',
                allocations,
                known,
                kind=kind,
                devices=size,
            )
            left -= size
            number += 1

    def reserve(
        self, gpus: list[Provider], nic: Provider | None, once: bool
    ) -> None:
        """Reserve devices: used ones for good, or some by an operator."""
        used = {
            provider
            for consumer in self.cloud.consumers[-len(gpus) :]
            for provider in consumer.allocations
        }
        for gpu in gpus:
            (record,) = gpu.inventories.values()
            if once:
                record['reserved'] = int(gpu.uuid in used)
            elif self.random.random() < self.shape.reserved:
                record['reserved'] = 1
        if nic and self.random.random() < self.shape.reserved:
            nic.inventories[NIC]['reserved'] = self.random.choice([1, 4, 15])


def build(shape: Shape) -> Cloud:
    """Return a cloud; the same for the same shape."""
    return _Builder(shape).build()
