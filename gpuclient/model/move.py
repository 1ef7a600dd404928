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

"""What blocks the move of a server, wherever it should go.

Nova checks the state of the server and of its host, then the flavor, and for a
live migration its aliases. Where the server fits is the matter of
:mod:`gpuclient.model.explanation`, with the host that it is on excluded.
"""

import collections.abc
import dataclasses
import enum

from gpuclient.model import alias as alias_model
from gpuclient.model import capacity
from gpuclient.model import demand as demand_model
from gpuclient.model import flavor as flavor_model
from gpuclient.model import nova_changes
from gpuclient.model import release as release_model
from gpuclient.model import unseen


class MoveKind(enum.StrEnum):
    """How a server moves."""

    RESIZE = 'resize'
    MIGRATE = 'migrate'
    EVACUATE = 'evacuate'
    LIVE_MIGRATE = 'live-migrate'

    @property
    def participle(self) -> str:
        """``live migrated``"""
        return {
            MoveKind.RESIZE: 'resized',
            MoveKind.MIGRATE: 'migrated',
            MoveKind.EVACUATE: 'evacuated',
            MoveKind.LIVE_MIGRATE: 'live migrated',
        }[self]


#: Statuses of servers that Nova moves so
#: (``nova/compute/api.py``: ``check_instance_state`` of each).
_STATUSES = {
    MoveKind.RESIZE: ('ACTIVE', 'SHUTOFF'),
    MoveKind.MIGRATE: ('ACTIVE', 'SHUTOFF'),
    MoveKind.EVACUATE: ('ACTIVE', 'SHUTOFF', 'ERROR'),
    MoveKind.LIVE_MIGRATE: ('ACTIVE', 'PAUSED'),
}


@dataclasses.dataclass(frozen=True)
class Move:
    """A move of a server that is asked for."""

    kind: MoveKind
    status: str
    task_state: str | None
    #: The flavor that it has, and the one that it gets.
    current: flavor_model.Flavor
    wanted: flavor_model.Flavor
    #: The host that it is on; None where it is not known.
    source: capacity.HostCapacity | None
    volume_backed: bool
    #: Addresses of devices that the server holds and that are reserved.
    reserved: tuple[str, ...] = ()


def blockers(
    move: Move,
    aliases: collections.abc.Mapping[str, alias_model.Alias],
    inferred: collections.abc.Container[str],
    release: release_model.Release,
) -> tuple[unseen.UnseenCause, ...]:
    """Return why Nova refuses a move, whatever the destination.

    :param aliases: Definitions of aliases, by name.
    :param inferred: Those of which only the class is known.
    """
    return (
        *_of_state(move),
        *_of_source(move),
        *_of_reserved(move, release),
        *_of_flavor(move),
        *_of_aliases(move, aliases, inferred, release),
    )


_Causes = collections.abc.Iterator[unseen.UnseenCause]


def _of_state(move: Move) -> _Causes:
    statuses = _STATUSES[move.kind]
    if move.status not in statuses:
        yield unseen.UnseenCause(
            'GPU920',
            f'the server is {move.status}: only one that is '
            f'{" or ".join(statuses)} can be {move.kind.participle}',
            True,
        )
    elif move.task_state:
        yield unseen.UnseenCause(
            'GPU920',
            f'another action on the server runs (task state '
            f'{move.task_state})',
            True,
        )


def _of_source(move: Move) -> _Causes:
    if move.source is None:
        return
    name = move.source.node.name
    if move.kind is MoveKind.EVACUATE and not move.source.down:
        yield unseen.UnseenCause(
            'GPU921',
            f'nova-compute on {name} is up: Nova evacuates only servers of a '
            'host whose service is down or forced down',
            True,
        )
    elif move.kind is not MoveKind.EVACUATE and move.source.down:
        yield unseen.UnseenCause(
            'GPU922',
            f'{move.source.down} on {name}, where the server is: it can only '
            'be evacuated',
            True,
        )


def _of_reserved(move: Move, release: release_model.Release) -> _Causes:
    """``placement/objects/allocation.py:_check_capacity_exceeded``"""
    change = nova_changes.OVER_CAPACITY_CHANGES
    if move.reserved and not release.has(change):
        yield unseen.UnseenCause(
            'GPU618',
            f'device {", ".join(move.reserved)} is reserved while the server '
            f'holds it: Placement before 14 refuses to change its allocations '
            f'(HTTP 409), so that the move fails. Release it first: openstack '
            f'gpu placement set --release',
            release.knows(change),
        )


def _of_flavor(move: Move) -> _Causes:
    if move.kind is not MoveKind.RESIZE:
        return
    if move.wanted.id and move.wanted.name == move.current.name:
        yield unseen.UnseenCause(
            'GPU923', 'the server has this flavor already', True
        )
    if move.volume_backed:
        return
    if move.wanted.disk < move.current.disk:
        yield unseen.UnseenCause(
            'GPU923',
            f'the root disk of the flavor ({move.wanted.disk} GiB) is smaller '
            f'than that of the server ({move.current.disk} GiB)',
            True,
        )


def _of_aliases(
    move: Move,
    aliases: collections.abc.Mapping[str, alias_model.Alias],
    inferred: collections.abc.Container[str],
    release: release_model.Release,
) -> _Causes:
    """``nova/conductor/tasks/live_migrate.py:_check_can_migrate_pci``"""
    if move.kind is not MoveKind.LIVE_MIGRATE:
        return
    requested = [
        name for name, count in (move.current.aliases or {}).items() if count
    ]
    if requested and not release.has(nova_changes.ALIAS_LIVE_MIGRATABLE):
        yield unseen.UnseenCause(
            'GPU924',
            f'Nova {release.number} live migrates no server with devices of '
            'an alias',
            release.knows(nova_changes.ALIAS_LIVE_MIGRATABLE),
        )
        return
    for name in requested:
        alias = aliases.get(name)
        if alias is None or name in inferred:
            yield unseen.UnseenCause(
                'GPU924',
                f'the definition of alias {name} is not known: without '
                'live_migratable = true the live migration is refused',
                False,
            )
        elif not alias.live_migratable:
            yield unseen.UnseenCause(
                'GPU924',
                f'alias {name} does not set live_migratable = true',
                True,
            )


def dangers(
    kind: MoveKind,
    hosts: collections.abc.Iterable[capacity.HostCapacity],
    wanted: demand_model.Demand,
) -> _Causes:
    """Yield what may go wrong although a host fits.

    The destination makes the requests for devices again, without the
    providers that Placement has allocated
    (``nova/compute/resource_tracker.py:ResourceTracker._move_claim``), so that
    it may take another free device. nova-compute then adds an allocation for
    it, and does not remove the first
    (``nova/compute/pci_placement_translator.py``).

    :param hosts: The hosts that fit.
    """
    if kind is MoveKind.LIVE_MIGRATE:
        return
    concerned = sorted(
        {
            host.node.name
            for host in hosts
            for request in wanted.devices
            if request.by_alias
            and sum(
                device.free or 0
                for device in host.devices
                if capacity.matches(device, request)
            )
            > request.count
        }
    )
    if concerned:
        yield unseen.UnseenCause(
            'GPU925',
            'with more free devices than the server requests, nova-compute '
            'may take others than Placement has allocated, and leave both '
            'allocated: run "openstack gpu placement check" after the move',
            False,
            tuple(concerned),
        )
