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

"""Writes to Placement that can be taken back, as plans and journals have them.

``gpuclient/data/schema/placement_plan.json`` and ``placement_journal.json``
describe the files.
"""

import collections.abc
import dataclasses
import re
import typing

from gpuclient.model import allocation
from gpuclient.model import inventory
from gpuclient.model import mapping_reader

FORMAT = mapping_reader.Format('file')
#: Version of both formats.
VERSION = 1
PLAN = 'gpuclient-placement-plan'
JOURNAL = 'gpuclient-placement-journal'
_UUID = re.compile(r'[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}')
_CLASS = re.compile(r'[A-Z0-9_]+')
_Record: typing.TypeAlias = dict[str, typing.Any]


@dataclasses.dataclass(frozen=True)
class AllocationsWrite:
    """Replaces the allocations of a consumer."""

    before: allocation.Allocations
    after: allocation.Allocations

    @property
    def inverse(self) -> 'AllocationsWrite':
        return AllocationsWrite(self.after, self.before)

    @property
    def providers(self) -> frozenset[str]:
        return frozenset({*self.before.units, *self.after.units})

    def record(self) -> _Record:
        return {
            'write': 'allocations',
            'consumer': self.before.consumer,
            'before': allocations_record(self.before),
            'after': allocations_record(self.after),
        }


@dataclasses.dataclass(frozen=True)
class ReservedWrite:
    """Sets the reserved units of a provider."""

    provider: str
    name: str
    #: By resource class.
    before: dict[str, int]
    after: dict[str, int]

    @property
    def inverse(self) -> 'ReservedWrite':
        return dataclasses.replace(self, before=self.after, after=self.before)

    @property
    def providers(self) -> frozenset[str]:
        return frozenset({self.provider})

    def record(self) -> _Record:
        return {'write': 'reserved', **dataclasses.asdict(self)}


@dataclasses.dataclass(frozen=True)
class ProviderRecord:
    """A resource provider without allocations."""

    uuid: str
    name: str
    parent: str | None
    #: All fields of each inventory, by resource class.
    inventories: dict[str, _Record]
    traits: tuple[str, ...]
    aggregates: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class ProviderWrite:
    """Deletes a provider, or creates it again."""

    provider: ProviderRecord
    creates: bool = False

    @property
    def inverse(self) -> 'ProviderWrite':
        return dataclasses.replace(self, creates=not self.creates)

    @property
    def providers(self) -> frozenset[str]:
        return frozenset({self.provider.uuid})

    def record(self) -> _Record:
        return {
            'write': 'create' if self.creates else 'delete',
            'provider': {
                **dataclasses.asdict(self.provider),
                'traits': list(self.provider.traits),
                'aggregates': list(self.provider.aggregates),
            },
        }


Write: typing.TypeAlias = AllocationsWrite | ReservedWrite | ProviderWrite


class Holder(typing.NamedTuple):
    """Who holds devices, when a plan was made."""

    #: ``server``, ``migration``, or ``none`` if Nova has neither.
    kind: str
    name: str | None = None
    #: Hypervisor hostname of a server; None if it has none.
    host: str | None = None


NOBODY = Holder('none')


@dataclasses.dataclass(frozen=True)
class Step:
    """One repair."""

    #: ``remove``, ``renew``, ``release``, ``reserve`` or ``delete``.
    action: str
    #: Findings that it repairs.
    codes: tuple[str, ...]
    host: str
    #: Sentences about what is wrong.
    problem: str
    write: Write
    #: Devices concerned: id, host, address and resource class.
    devices: tuple[_Record, ...] = ()
    #: Of a write of allocations.
    holder: Holder = NOBODY
    #: Generations of the providers whose units are removed.
    generations: dict[str, int] = dataclasses.field(default_factory=dict)
    #: Devices that nova-compute must add back at least, after a renewal.
    expected: int = 0

    @property
    def consumer(self) -> str | None:
        if isinstance(self.write, AllocationsWrite):
            return self.write.before.consumer
        return None

    def record(self) -> _Record:
        return {
            'action': self.action,
            'codes': list(self.codes),
            'host': self.host,
            'problem': self.problem,
            'devices': list(self.devices),
            'holder': self.holder._asdict(),
            'generations': self.generations,
            'expected': self.expected,
            **self.write.record(),
        }


@dataclasses.dataclass(frozen=True)
class Entry:
    """A write of a journal."""

    #: ``started`` before the request, then ``done`` or ``failed``.
    state: str
    #: Time of the start, UTC.
    time: str
    write: Write
    codes: tuple[str, ...] = ()
    #: Allocations that nova-compute made of it, after a renewal.
    result: allocation.Allocations | None = None
    #: Whether it waits for nova-compute.
    waits: bool = False
    #: Whether the same run takes it back.
    temporary: bool = False
    #: Units of other consumers of devices that the write removes, by provider
    #: and consumer.
    others: dict[str, dict[str, int]] = dataclasses.field(default_factory=dict)

    @property
    def final(self) -> Write:
        """The write with the allocations that nova-compute made of it."""
        if self.result is None or not isinstance(self.write, AllocationsWrite):
            return self.write
        return dataclasses.replace(self.write, after=self.result)

    def record(self) -> _Record:
        record = {
            'state': self.state,
            'time': self.time,
            'codes': list(self.codes),
            'waits': self.waits,
            'temporary': self.temporary,
            'others': self.others,
            **self.write.record(),
        }
        if self.result is not None:
            record['result'] = allocations_record(self.result)
        return record


def device_record(device: inventory.Device) -> _Record:
    """Return how plans and rows name a device."""
    return {
        'id': device.uuid,
        'host': device.host,
        'address': device.address,
        'resource_class': device.resource_class,
    }


def allocations_record(held: allocation.Allocations) -> _Record:
    """Return allocations as Placement returns them."""
    return {
        'allocations': {
            provider: {'resources': amounts}
            for provider, amounts in held.units.items()
        },
        'consumer_generation': held.generation,
        'consumer_type': held.consumer_type,
        'project_id': held.project_id,
        'user_id': held.user_id,
    }


def read_steps(file: mapping_reader.MappingReader) -> tuple[Step, ...]:
    """Return the steps of a plan.

    :raises gpuclient.exceptions.InvalidData: It is no plan.
    """
    steps = tuple(map(_step, file.mappings('steps', minimum=0)))
    file.done()
    return steps


def read_entries(file: mapping_reader.MappingReader) -> tuple[Entry, ...]:
    """Return the writes of a journal.

    :raises gpuclient.exceptions.InvalidData: It is no journal.
    """
    entries = tuple(map(_entry, file.mappings('entries', minimum=0)))
    file.done()
    return entries


def _step(reader: mapping_reader.MappingReader) -> Step:
    holder = reader.mapping('holder')
    step = Step(
        action=reader.text(
            'action', choices=('remove', 'renew', 'release', 'delete')
        ),
        codes=reader.texts('codes'),
        host=reader.text('host'),
        problem=reader.text('problem'),
        write=_write(reader),
        devices=tuple(
            _device(device) for device in reader.mappings('devices', minimum=0)
        ),
        holder=Holder(
            holder.text('kind', choices=('server', 'migration', 'none')),
            holder.text('name', None),
            holder.text('host', None),
        ),
        generations=_integers(reader, 'generations', _UUID),
        expected=reader.integer('expected'),
    )
    holder.done()
    reader.done()
    return step


def _device(reader: mapping_reader.MappingReader) -> _Record:
    record = {
        'id': reader.text('id', pattern=_UUID),
        'host': reader.text('host'),
        'address': reader.text('address', None),
        'resource_class': reader.text('resource_class', None),
    }
    reader.done()
    return record


def _entry(reader: mapping_reader.MappingReader) -> Entry:
    entry = Entry(
        state=reader.text('state', choices=('started', 'done', 'failed')),
        time=reader.text('time'),
        write=_write(reader),
        codes=reader.texts('codes'),
        waits=reader.boolean('waits'),
        temporary=reader.boolean('temporary'),
        others=_others(reader.mapping('others')),
    )
    if reader.has('result'):
        entry = dataclasses.replace(
            entry,
            result=_allocations(
                reader.mapping('result'), reader.text('consumer')
            ),
        )
    reader.done()
    return entry


def _others(
    reader: mapping_reader.MappingReader,
) -> dict[str, dict[str, int]]:
    return {
        provider: _integers(reader, provider, _UUID)
        for provider in _keys(reader, _UUID)
    }


def _write(reader: mapping_reader.MappingReader) -> Write:
    kind = reader.text(
        'write', choices=('allocations', 'reserved', 'delete', 'create')
    )
    if kind == 'allocations':
        consumer = reader.text('consumer', pattern=_UUID)
        return AllocationsWrite(
            _allocations(reader.mapping('before'), consumer),
            _allocations(reader.mapping('after'), consumer),
        )
    if kind == 'reserved':
        return ReservedWrite(
            provider=reader.text('provider', pattern=_UUID),
            name=reader.text('name'),
            before=_integers(reader, 'before', _CLASS),
            after=_integers(reader, 'after', _CLASS),
        )
    return ProviderWrite(
        _provider(reader.mapping('provider')), creates=kind == 'create'
    )


def _allocations(
    reader: mapping_reader.MappingReader, consumer: str
) -> allocation.Allocations:
    providers = reader.mapping('allocations')
    units = {}
    for provider in _keys(providers, _UUID):
        held = providers.mapping(provider)
        units[provider] = _integers(held, 'resources', _CLASS)
        held.done()
    result = allocation.Allocations(
        consumer=consumer,
        units=units,
        generation=reader.integer('consumer_generation', None),
        project_id=reader.text('project_id', None),
        user_id=reader.text('user_id', None),
        consumer_type=reader.text('consumer_type', None),
    )
    reader.done()
    return result


def _provider(reader: mapping_reader.MappingReader) -> ProviderRecord:
    inventories = reader.mapping('inventories')
    records = {}
    for name in _keys(inventories, _CLASS):
        of_class = inventories.mapping(name)
        records[name] = {
            'total': of_class.integer('total'),
            'reserved': of_class.integer('reserved'),
            'min_unit': of_class.integer('min_unit'),
            'max_unit': of_class.integer('max_unit'),
            'step_size': of_class.integer('step_size'),
            'allocation_ratio': _ratio(of_class),
        }
        of_class.done()
    result = ProviderRecord(
        uuid=reader.text('uuid', pattern=_UUID),
        name=reader.text('name'),
        parent=reader.text('parent', None, pattern=_UUID),
        inventories=records,
        traits=reader.texts('traits', pattern=_CLASS),
        aggregates=reader.texts('aggregates', pattern=_UUID),
    )
    reader.done()
    return result


def _ratio(reader: mapping_reader.MappingReader) -> float:
    value = reader.get('allocation_ratio')
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise reader.unexpected('allocation_ratio', 'a number')
    return float(value)


def _integers(
    reader: mapping_reader.MappingReader,
    key: str,
    pattern: re.Pattern[str],
) -> dict[str, int]:
    values = reader.mapping(key)
    return {name: values.integer(name) for name in _keys(values, pattern)}


def _keys(
    reader: mapping_reader.MappingReader, pattern: re.Pattern[str]
) -> collections.abc.Iterator[str]:
    """Yield the keys of a mapping; they become parts of URLs."""
    for key in reader.keys():
        if not isinstance(key, str) or not pattern.fullmatch(key):
            raise reader.error(key, 'is not a valid name')
        yield key
