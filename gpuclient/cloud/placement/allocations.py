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

"""Allocations and inventories of single objects: read and written.

Writes carry the generation that was read, so that Placement refuses them if
another client has written meanwhile. They are never repeated: whether one took
effect is read afterwards.
"""

import collections.abc
import dataclasses
import email.utils
import typing

from keystoneauth1 import adapter

from gpuclient.cloud.placement import reader as placement_reader
from gpuclient.cloud import request
from gpuclient.cloud import schema
from gpuclient import exceptions
from gpuclient.model import allocation
from gpuclient.model import placement_write

#: The first microversion with consumer generations, and with removal of all
#: allocations by PUT.
OLDEST = (1, 28)
_CONSUMER_TYPES = (1, 38)
#: The last one whose writes have no consumer type.
_WITHOUT_TYPES = '1.37'
#: What Placement returns for consumers older than types.
UNKNOWN = 'unknown'
_CONSUMER: dict[str, schema.Shape] = {
    'allocations': schema.Map({'resources': schema.Map(int)}),
    'consumer_generation': schema.Optional(int),
    'consumer_type': schema.Optional(str),
    'project_id': schema.Optional(str),
    'user_id': schema.Optional(str),
}
_INVENTORY: dict[str, schema.Shape] = {
    'resource_provider_generation': int,
    'inventories': schema.Map({'total': int, 'reserved': int}),
}


@dataclasses.dataclass(frozen=True)
class Inventories:
    """The inventories of a provider, as Placement has them."""

    provider: str
    generation: int
    #: All fields of each, by resource class.
    records: dict[str, dict[str, typing.Any]]
    #: Seconds since the last change; None if Placement does not say.
    age: float | None = None

    @property
    def reserved(self) -> dict[str, int]:
        """Reserved units, by resource class."""
        return {
            name: int(record['reserved'])
            for name, record in self.records.items()
        }


class PlacementStore:
    """Single records of one Placement.

    :raises gpuclient.exceptions.Unsupported: Placement is older than
        :data:`OLDEST`.
    """

    def __init__(self, placement: adapter.Adapter) -> None:
        self._placement = placement
        self.reader = placement_reader.PlacementReader(placement)
        if self.reader.version < OLDEST:
            raise exceptions.Unsupported(
                'Placement 1.28 or later is required to change allocations '
                'safely; this cloud has '
                + '.'.join(map(str, self.reader.version))
            )
        self._version = '.'.join(map(str, self.reader.version))

    def read(self, consumer: str) -> allocation.Allocations:
        """Return the allocations of a consumer."""
        record = self.reader.get(
            f'/allocations/{consumer}',
            f'reading the allocations of {consumer}',
            _CONSUMER,
        )
        return allocation.Allocations(
            consumer=consumer,
            units={
                provider: dict(sorted(held['resources'].items()))
                for provider, held in sorted(record['allocations'].items())
            },
            generation=record.get('consumer_generation'),
            project_id=record.get('project_id'),
            user_id=record.get('user_id'),
            consumer_type=record.get('consumer_type'),
        )

    def write(self, wanted: allocation.Allocations) -> None:
        """Replace the allocations of a consumer.

        :param wanted: With the generation that was read.
        :raises gpuclient.exceptions.Conflict: They have changed, or there are
            not enough units.
        :raises gpuclient.exceptions.CloudError: With the server's message.
        """
        body: dict[str, typing.Any] = {
            'allocations': {
                provider: {'resources': amounts}
                for provider, amounts in wanted.units.items()
            },
            'project_id': wanted.project_id,
            'user_id': wanted.user_id,
            'consumer_generation': wanted.generation,
        }
        version = self._version
        if self.reader.version >= _CONSUMER_TYPES:
            if wanted.consumer_type in (UNKNOWN, None):
                version = _WITHOUT_TYPES
            else:
                body['consumer_type'] = wanted.consumer_type
        request.send(
            self._placement,
            'PUT',
            f'/allocations/{wanted.consumer}',
            f'writing the allocations of {wanted.consumer}',
            microversion=version,
            json=body,
        )

    def inventories(self, provider: str) -> Inventories:
        """Return the inventories of a provider."""
        action = f'reading the inventories of {provider}'
        response = request.send(
            self._placement,
            'GET',
            f'/resource_providers/{provider}/inventories',
            action,
            microversion=self._version,
        )
        record = request.read_body(response, action, _INVENTORY)
        return Inventories(
            provider=provider,
            generation=record['resource_provider_generation'],
            records=record['inventories'],
            age=_age(response.headers),
        )

    def reserve(
        self, known: Inventories, reserved: collections.abc.Mapping[str, int]
    ) -> None:
        """Set reserved units of a provider, by resource class.

        :param known: The inventories that were read.
        :raises gpuclient.exceptions.Conflict: They have changed.
        """
        request.send(
            self._placement,
            'PUT',
            f'/resource_providers/{known.provider}/inventories',
            f'setting reserved of {known.provider}',
            microversion=self._version,
            json={
                'resource_provider_generation': known.generation,
                'inventories': {
                    name: {
                        **record,
                        'reserved': reserved.get(name, record['reserved']),
                    }
                    for name, record in known.records.items()
                },
            },
        )

    def raise_total(self, known: Inventories, units: int) -> None:
        """Set the total of the only inventory of a provider.

        :param known: The inventories that were read.
        :raises gpuclient.exceptions.Conflict: They have changed.
        """
        self._send(
            'PUT',
            f'/resource_providers/{known.provider}/inventories',
            f'setting the total of {known.provider}',
            json={
                'resource_provider_generation': known.generation,
                'inventories': {
                    name: {**record, 'total': units, 'max_unit': units}
                    for name, record in known.records.items()
                },
            },
        )

    def provider_allocations(self, provider: str) -> dict[str, int]:
        """Return the units that consumers hold of a provider."""
        record = self.reader.get(
            f'/resource_providers/{provider}/allocations',
            f'reading the allocations of provider {provider}',
            {'allocations': schema.Map({'resources': schema.Map(int)})},
        )
        return {
            consumer: sum(held['resources'].values())
            for consumer, held in record['allocations'].items()
        }

    def provider_exists(self, provider: str) -> bool:
        """Return whether Placement has a provider."""
        try:
            self.reader.get(
                f'/resource_providers/{provider}',
                f'reading provider {provider}',
                {'uuid': str},
            )
        except exceptions.NotFound:
            return False
        return True

    def provider(self, uuid: str) -> placement_write.ProviderRecord:
        """Return all of a provider but its allocations."""
        path = f'/resource_providers/{uuid}'
        action = f'reading provider {uuid}'
        record = self.reader.get(
            path,
            action,
            {'name': str, 'parent_provider_uuid': schema.Optional(str)},
        )
        return placement_write.ProviderRecord(
            uuid=uuid,
            name=record['name'],
            parent=record['parent_provider_uuid'],
            inventories=self.inventories(uuid).records,
            traits=tuple(
                sorted(
                    self.reader.get(
                        f'{path}/traits', action, {'traits': [str]}
                    )['traits']
                )
            ),
            aggregates=tuple(
                sorted(
                    self.reader.get(
                        f'{path}/aggregates', action, {'aggregates': [str]}
                    )['aggregates']
                )
            ),
        )

    def delete_provider(self, uuid: str) -> None:
        """Delete a provider.

        :raises gpuclient.exceptions.Conflict: It has allocations or children.
        """
        self._send('DELETE', f'/resource_providers/{uuid}', f'deleting {uuid}')

    def create_provider(self, wanted: placement_write.ProviderRecord) -> None:
        """Create a provider with its inventories, traits and aggregates."""
        action = f'creating provider {wanted.name}'
        body: dict[str, typing.Any] = {
            'uuid': wanted.uuid,
            'name': wanted.name,
        }
        if wanted.parent is not None:
            body['parent_provider_uuid'] = wanted.parent
        if not self.provider_exists(wanted.uuid):
            self._send('POST', '/resource_providers', action, json=body)
        path = f'/resource_providers/{wanted.uuid}'
        for name, value in (
            ('inventories', wanted.inventories),
            ('traits', list(wanted.traits)),
            ('aggregates', list(wanted.aggregates)),
        ):
            self._send(
                'PUT',
                f'{path}/{name}',
                action,
                json={
                    name: value,
                    'resource_provider_generation': self.inventories(
                        wanted.uuid
                    ).generation,
                },
            )

    def _send(
        self, method: str, path: str, action: str, **kwargs: typing.Any
    ) -> None:
        request.send(
            self._placement,
            method,
            path,
            action,
            microversion=self._version,
            **kwargs,
        )


def _age(headers: collections.abc.Mapping[str, str]) -> float | None:
    """Return the seconds between two headers of one answer.

    Both are of the server, so that the clock of this machine does not matter.
    """
    try:
        modified = email.utils.parsedate_to_datetime(headers['Last-Modified'])
        now = email.utils.parsedate_to_datetime(headers['Date'])
        return max(0.0, (now - modified).total_seconds())
    except (KeyError, TypeError, ValueError):
        return None
