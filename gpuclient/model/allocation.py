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

"""Allocations of a consumer in Placement."""

import collections
import collections.abc
import dataclasses
import typing

#: Units by provider and resource class.
Units: typing.TypeAlias = dict[str, dict[str, int]]


@dataclasses.dataclass(frozen=True)
class Allocations:
    """What a consumer holds; without units, Placement has no such consumer."""

    consumer: str
    units: Units
    #: Placement changes it with each write; None for a new consumer.
    generation: int | None = None
    project_id: str | None = None
    user_id: str | None = None
    #: ``INSTANCE`` or ``MIGRATION``; ``unknown`` for consumers older than
    #: microversion 1.38; None where Placement is older.
    consumer_type: str | None = None

    def same_units(self, other: 'Allocations') -> bool:
        """Return whether both are the same, apart from generations.

        A consumer without units has neither a project nor a type.
        """
        if self.units != other.units:
            return False
        return not self.units or (
            self.project_id,
            self.user_id,
            self.consumer_type,
        ) == (other.project_id, other.user_id, other.consumer_type)

    def without(
        self, providers: collections.abc.Container[str]
    ) -> 'Allocations':
        """Return what remains without the units of some providers."""
        return dataclasses.replace(
            self,
            units={
                provider: amounts
                for provider, amounts in self.units.items()
                if provider not in providers
            },
        )

    def amount(self, provider: str, resource_class: str | None) -> int:
        """Return the units of a class of a provider."""
        return self.units.get(provider, {}).get(resource_class or '', 0)


#: Statuses of a migration that has ended
#: (``nova/objects/migration.py:MigrationList`` and
#: ``nova/db/main/api.py:migration_get_in_progress_by_host_and_node``).
ENDED = frozenset(
    {
        'cancelled',
        'completed',
        'confirmed',
        'done',
        'error',
        'failed',
        'reverted',
    }
)
#: Statuses of an evacuation whose source host still has to delete what the
#: server held there
#: (``nova/compute/manager.py:ComputeManager._destroy_evacuated_instances``).
_LEFT_BEHIND = frozenset({'accepted', 'pre-migrating', 'done'})


@dataclasses.dataclass(frozen=True)
class Migration:
    """A migration of a server, as Nova records it."""

    uuid: str
    status: str
    #: ``migration``, ``resize``, ``live-migration`` or ``evacuation``.
    kind: str | None
    server: str
    #: Hypervisor hostname; None if policy hides it.
    source_node: str | None = None

    @property
    def in_progress(self) -> bool:
        return self.status not in ENDED

    def keeps(self, node: str) -> bool:
        """Return whether Nova removes the allocations on a host later.

        The source host of an evacuation does so when it is up again.
        """
        return (
            self.kind == 'evacuation'
            and self.status in _LEFT_BEHIND
            and self.source_node in (node, None)
        )


def sum_units(
    amounts: collections.abc.Iterable[tuple[str, int]],
) -> dict[str, int]:
    """Return the sums by key."""
    sums: collections.Counter[str] = collections.Counter()
    for key, amount in amounts:
        sums[key] += amount
    return dict(sums)
