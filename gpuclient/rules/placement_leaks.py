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

"""Rules about allocations and reservations of devices that nobody uses.

Each rule reports one kind, from the records of one moment. A server that Nova
creates, moves or deletes at that moment is never reported: its records change
one after another.
"""

import collections.abc
import dataclasses
import enum
import re

from gpuclient.model import allocation
from gpuclient.model import inventory
from gpuclient.model import leak_evidence
from gpuclient.rules import finding

#: Days after which a reserved device is reported.
RESERVED_DAYS = 7.0
_DAY = 24 * 3600
_ADDRESS = re.compile(
    r'(?P<domain>[0-9a-f]{4})[:_](?P<bus>[0-9a-f]{2})[:_]'
    r'(?P<slot>[0-9a-f]{2})[._](?P<function>[0-7])',
    re.ASCII | re.IGNORECASE,
)
#: Consumer types of servers; Placement does not know that of old consumers.
_OF_SERVERS = (inventory.INSTANCE, 'unknown', None)


class Action(enum.StrEnum):
    """What repairs a leak."""

    #: Remove units of the consumer.
    REMOVE = 'remove'
    #: Remove all devices of a server on its host: nova-compute adds those back
    #: that the server uses
    #: (``nova/compute/pci_placement_translator.py:update_allocations``).
    RENEW = 'renew'
    #: Set reserved of the device to 0.
    RELEASE = 'release'
    #: Delete the resource provider.
    DELETE = 'delete'


@dataclasses.dataclass(frozen=True)
class Repair:
    """How to repair a leak."""

    action: Action
    #: ID of the consumer; None for an action on the provider.
    consumer: str | None = None
    #: IDs of providers; empty for all that the consumer holds.
    providers: tuple[str, ...] = ()
    #: Whether an administrator may have wanted the state.
    deliberate: bool = False


@dataclasses.dataclass(frozen=True)
class Leak:
    """One leak."""

    finding: finding.Finding
    host: str
    devices: tuple[inventory.Device, ...]
    #: ID of the server, the migration, or whoever holds the devices.
    consumer: str | None = None
    #: Name of the server.
    name: str | None = None
    repairs: tuple[Repair, ...] = ()

    @property
    def code(self) -> str:
        return self.finding.code

    @property
    def subject(self) -> tuple[str, str, str]:
        """Identity of the leak, equal when the cloud is read again."""
        return (
            self.code,
            self.consumer or '',
            self.devices[0].uuid if self.devices else self.host,
        )


_Leaks = collections.abc.Iterator[Leak]
_Held = list[tuple[inventory.Device, inventory.Consumer]]


def check(
    evidence: leak_evidence.Evidence, *, reserved_days: float = RESERVED_DAYS
) -> tuple[Leak, ...]:
    """Return all leaks, by code."""
    leaks = [
        *deleted_consumers(evidence),
        *wrong_hosts(evidence),
        *surplus(evidence),
        *shortages(evidence),
        *removed_devices(evidence),
        *removed_hosts(evidence),
        *unaccounted_servers(evidence),
        *long_reservations(evidence, reserved_days),
        *reserved_in_use(evidence),
        *awaiting_return(evidence),
        *ended_migrations(evidence),
        *shared_devices(evidence),
        *double_ownership(evidence),
    ]
    return tuple(sorted(leaks, key=lambda leak: (leak.code, leak.subject)))


def deleted_consumers(evidence: leak_evidence.Evidence) -> _Leaks:
    """Yield consumers that Nova does not have.

    Nova deletes the allocations of a server after the server
    (``nova/compute/manager.py:ComputeManager._complete_deletion``).
    """
    for uuid, held in evidence.by_consumer.items():
        kind = held[0][1].consumer_type
        if (
            kind not in _OF_SERVERS
            or evidence.servers.get(uuid, _UNREAD) is not None
            or evidence.migrations.get(uuid) is not None
            or (kind != inventory.INSTANCE and uuid not in evidence.migrations)
        ):
            continue
        yield _leak(
            finding.error(
                'GPU610',
                f'Consumer {uuid} holds {_devices(held)}, but Nova has no '
                f'such server. No server can use what it holds. Remove its '
                f'allocations',
            ),
            held,
            uuid,
            (Repair(Action.REMOVE, uuid),),
        )


_UNREAD = inventory.Server('', '', '', None, None, None, None)


def _settled_servers(
    evidence: leak_evidence.Evidence,
) -> collections.abc.Iterator[inventory.Server]:
    for server in evidence.servers.values():
        if server is not None and evidence.is_settled(server):
            yield server


def wrong_hosts(evidence: leak_evidence.Evidence) -> _Leaks:
    """Yield servers that hold devices of hosts on which they do not run."""
    for server in _settled_servers(evidence):
        held = evidence.by_consumer.get(server.uuid, [])
        if evidence.has_no_host(server):
            state = f'is {server.status} and runs on no host'
        elif server.host is not None:
            state = f'runs on {server.host}'
        else:
            continue
        for host in sorted({device.host for device, _consumer in held}):
            moves = evidence.moves.get(server.uuid, ())
            if host == server.host or any(move.keeps(host) for move in moves):
                continue
            there = [pair for pair in held if pair[0].host == host]
            yield _wrong_host(server, there, state)


def _wrong_host(server: inventory.Server, held: _Held, state: str) -> Leak:
    name = leak_evidence.name_of(server, server.uuid)
    in_error = server.status == 'ERROR' and server.host is not None
    advice = (
        'The server is in ERROR: reset its state or delete it, then run the '
        'check again'
        if in_error
        else 'Remove its allocations on this host'
    )
    trees = {device.root_uuid for device, _consumer in held}
    return _leak(
        finding.error(
            'GPU611',
            f'Server {name} holds {_devices(held)}, but {state}. No server '
            f'can use what it holds there. {advice}',
        ),
        held,
        server.uuid,
        ()
        if in_error
        else (
            Repair(
                Action.REMOVE,
                server.uuid,
                (*(device.uuid for device, _consumer in held), *trees),
            ),
        ),
        server.name,
    )


def surplus(evidence: leak_evidence.Evidence) -> _Leaks:
    """Yield servers that hold more devices than their flavor requests.

    A cold migration can end so: nova-compute claims another device than
    Placement has allocated, and adds it
    (``nova/compute/resource_tracker.py:ResourceTracker._move_claim``).
    """
    for server in _settled_servers(evidence):
        requested = evidence.requested(server)
        if requested is None or server.host is None:
            continue
        ports = (evidence.ports or {}).get(server.uuid, 0)
        held = _on_host(evidence, server)
        amount = leak_evidence.sum_amounts(held)
        if amount <= requested + ports:
            continue
        repairs, advice = _less(evidence, server, held, requested + ports)
        name = leak_evidence.name_of(server, server.uuid)
        of_ports = f', and its ports {ports}' if ports else ''
        yield _leak(
            finding.error(
                'GPU612',
                f'Server {name} holds {amount} devices: {_devices(held)}. Its '
                f'flavor requests {requested}{of_ports}. No other server can '
                f'use the rest, and it counts against the limits of the '
                f'project. {advice}',
            ),
            held,
            server.uuid,
            repairs,
            server.name,
        )


def _less(
    evidence: leak_evidence.Evidence,
    server: inventory.Server,
    held: _Held,
    allowed: int,
) -> tuple[tuple[Repair, ...], str]:
    """Return how to get from more devices to those that a server uses."""
    used_once = [
        pair for pair in held if leak_evidence.ONE_TIME_USE in pair[0].traits
    ]
    unused = [pair[0].uuid for pair in held if pair[0].uuid in evidence.gone]
    source = 'that the host does not have'
    if len(used_once) == len(held) and not unused:
        # nova-compute reserves those in use
        # (nova/compute/pci_placement_translator.py:_handle_one_time_use).
        unused = [pair[0].uuid for pair in held if not pair[0].reserved]
        source = 'that nova-compute has not reserved'
    rest = leak_evidence.sum_amounts(
        [pair for pair in held if pair[0].uuid not in unused]
    )
    if not allowed:
        return (Repair(Action.REMOVE, server.uuid, _uuids(held)),), (
            'Remove them'
        )
    if unused and rest == allowed:
        return (Repair(Action.REMOVE, server.uuid, tuple(unused)),), (
            f'Remove those {source}'
        )
    advice = (
        'Nova has no API that shows which of them the server uses: remove all '
        'and let nova-compute add back those in use'
    )
    obstacle = _cannot_renew(evidence, server, held)
    if obstacle:
        return (), f'{advice}, once {obstacle}'
    return (Repair(Action.RENEW, server.uuid, _uuids(held)),), advice


def _cannot_renew(
    evidence: leak_evidence.Evidence, server: inventory.Server, held: _Held
) -> str:
    """Return what has to change before nova-compute can report again."""
    if server.status == 'ERROR':
        return f'server {server.name} is no longer in ERROR'
    if not (evidence.computes or {}).get(server.host or '', False):
        return f'nova-compute on {server.host} is up'
    if any(
        leak_evidence.ONE_TIME_USE in device.traits for device, _units in held
    ):
        return 'nova-compute has reserved those in use'
    # Placement has no unit of a reserved device that could be added.
    reserved = [device for device, _units in held if device.reserved]
    if reserved:
        return f'{_name(reserved[0])} is no longer reserved'
    return ''


def shortages(evidence: leak_evidence.Evidence) -> _Leaks:
    """Yield servers that hold fewer devices than their flavor requests.

    Without any allocation, see :func:`unaccounted_servers`. If a server holds
    none of the devices of its flavor, the alias may be one of devices that
    nova-compute does not report, as those with a ``physical_network``.
    """
    for server in _counted_servers(evidence):
        requested = evidence.requested(server) or 0
        held = _on_host(evidence, server)
        amount = leak_evidence.sum_amounts(held)
        if amount >= requested:
            continue
        if not held:
            known = evidence.allocations.get(server.uuid)
            if known is None or not known.units:
                continue
        name = leak_evidence.name_of(server, server.uuid)
        message = (
            f'Server {name} holds {amount} devices of its host {server.host}, '
            f'but its flavor requests {requested}. Placement offers the '
            f'missing ones to other servers, which fail to boot. nova-compute '
            f'adds them at its next update: if they stay missing, look for '
            f'errors in its log and restart it'
        )
        tracked = held or _tracks_aliases(evidence, server)
        make = finding.error if tracked else finding.warning
        if not tracked:
            message += (
                '. It is correct if the devices of its alias have a '
                'physical_network: nova-compute does not report those'
            )
        yield dataclasses.replace(
            _leak(make('GPU613', message), held, server.uuid, (), server.name),
            # It may hold no device.
            host=server.host or '',
        )


def _counted_servers(
    evidence: leak_evidence.Evidence,
) -> collections.abc.Iterator[inventory.Server]:
    """Yield servers that must hold devices of their host."""
    for server in _settled_servers(evidence):
        if server.status != 'ERROR' and server.host in evidence.hosts:
            yield server


def _tracks_aliases(
    evidence: leak_evidence.Evidence, server: inventory.Server
) -> bool:
    """Return whether other servers hold devices of the same aliases."""
    servers = [other for other in evidence.servers.values() if other]
    return any(
        inventory.alias_classes(alias, servers, evidence.devices)[0]
        for alias in inventory.requested_aliases(server.extra_specs)
    )


def removed_devices(evidence: leak_evidence.Evidence) -> _Leaks:
    """Yield devices that the given documents do not have.

    nova-compute keeps the provider of a device that was in use when it was
    removed (``nova/compute/pci_placement_translator.py:PlacementView``). It
    must not be deleted by others: nova-compute remembers the providers of its
    host, and fails to update Placement once one is gone
    (``nova/scheduler/client/report.py:get_allocations_for_provider_tree``).
    """
    for device in evidence.devices:
        document = evidence.gone.get(device.uuid)
        if document is None:
            continue
        what = (
            f'Placement has {_name(device)}, but {document} does not have it'
        )
        if not device.consumers:
            yield Leak(
                finding.warning(
                    'GPU614',
                    f'{what}. Servers are scheduled to it and fail to boot. '
                    f'Restart nova-compute on the host, which deletes the '
                    f'provider',
                ),
                device.host,
                (device,),
            )
        for consumer in device.consumers or ():
            server = evidence.servers.get(consumer.uuid)
            name = leak_evidence.name_of(server, consumer.uuid)
            yield Leak(
                finding.error(
                    'GPU614',
                    f'{what}, and {name} holds it. If the server uses it, '
                    f'migrate or delete the server, then restart '
                    f'nova-compute; if it holds more devices than it uses, '
                    f'GPU612 reports it, too',
                ),
                device.host,
                (device,),
                consumer.uuid,
                server.name if server else None,
            )


def removed_hosts(evidence: leak_evidence.Evidence) -> _Leaks:
    """Yield devices of compute nodes that Nova does not have."""
    if evidence.computes is None:
        return
    for host in sorted(evidence.hosts - evidence.computes.keys()):
        devices = tuple(
            device for device in evidence.devices if device.host == host
        )
        used = any(device.consumers for device in devices)
        make = finding.error if used else finding.warning
        yield Leak(
            make(
                'GPU615',
                f'Placement has {len(devices)} '
                f'device{"" if len(devices) == 1 else "s"} of {host}, but '
                f'Nova has no such compute node. No server can use '
                f'{"it" if len(devices) == 1 else "them"}. Delete the '
                f'providers of the host'
                + (', after what holds devices of them' if used else ''),
            ),
            host,
            devices,
            repairs=(
                Repair(
                    Action.DELETE,
                    None,
                    (
                        *dict.fromkeys(device.uuid for device in devices),
                        *dict.fromkeys(device.root_uuid for device in devices),
                    ),
                ),
            ),
        )


def unaccounted_servers(evidence: leak_evidence.Evidence) -> _Leaks:
    """Yield servers on hosts with devices that have no allocation at all."""
    for server in _counted_servers(evidence):
        known = evidence.allocations.get(server.uuid)
        if known is None or known.units or not evidence.requested(server):
            continue
        name = leak_evidence.name_of(server, server.uuid)
        yield Leak(
            finding.error(
                'GPU616',
                f'Server {name} runs on {server.host} and has no allocations. '
                f'Placement offers its devices, memory and CPUs to other '
                f'servers, and limits do not count them. Run "nova-manage '
                f'placement heal_allocations --instance {server.uuid}"; '
                f'nova-compute adds its devices then. A server without any '
                f'may have been booted with the scheduler hint '
                f'_nova_check_type (bug 2151252)',
            ),
            str(server.host),
            (),
            server.uuid,
            server.name,
        )


def long_reservations(
    evidence: leak_evidence.Evidence, days: float = RESERVED_DAYS
) -> _Leaks:
    """Yield free devices that were reserved long ago."""
    for device in evidence.devices:
        seconds = evidence.reserved_for.get(device.uuid)
        if (
            seconds is None
            or seconds < days * _DAY
            or not device.reserved
            or _in_use(device)
            or leak_evidence.ONE_TIME_USE in device.traits
        ):
            continue
        yield _reserved(
            device,
            'GPU617',
            f'{_name(device)} is reserved: {device.reserved} of '
            f'{device.total} units, for {seconds / _DAY:.0f} days. No server '
            f'can use them. If it is not under repair, release it',
        )


def reserved_in_use(evidence: leak_evidence.Evidence) -> _Leaks:
    """Yield devices in use of which no unit is left, because of reserved.

    Up to Placement 13, no allocation of its consumers can change then
    (``placement/objects/allocation.py:_check_capacity_exceeded``).
    """
    for device in evidence.devices:
        used = _in_use(device)
        if (
            not device.reserved
            or device.total is None
            or not used
            or used <= device.total - device.reserved
            or used > device.total
            or leak_evidence.ONE_TIME_USE in device.traits
        ):
            continue
        holders = ', '.join(
            leak_evidence.name_of(
                evidence.servers.get(consumer.uuid), consumer.uuid
            )
            for consumer in device.consumers or ()
        )
        yield _reserved(
            device,
            'GPU618',
            f'{_name(device)} is reserved while {holders} holds it. Up to '
            f'Placement 13, Nova cannot resize or migrate the server then '
            f'(HTTP 409). Release the device until the server is deleted',
        )


def _reserved(device: inventory.Device, code: str, message: str) -> Leak:
    return Leak(
        finding.warning(code, message),
        device.host,
        (device,),
        repairs=(
            Repair(Action.RELEASE, None, (device.uuid,), deliberate=True),
        ),
    )


def awaiting_return(evidence: leak_evidence.Evidence) -> _Leaks:
    """Yield one-time-use devices whose server is deleted.

    Nova reserves such a device and never releases it
    (``nova/compute/pci_placement_translator.py:_handle_one_time_use``).
    """
    for device in evidence.devices:
        if (
            leak_evidence.ONE_TIME_USE not in device.traits
            or not device.reserved
            or device.reserved != device.total
            or _in_use(device)
        ):
            continue
        yield Leak(
            finding.warning(
                'GPU619',
                f'{_name(device)} was used once and waits for its return. No '
                f'server can use it. Erase it and release it: "openstack gpu '
                f'placement set {device.name} --release --run COMMAND"',
            ),
            device.host,
            (device,),
        )


def ended_migrations(evidence: leak_evidence.Evidence) -> _Leaks:
    """Yield migrations that have ended and hold devices.

    While a server moves, its migration holds the devices of the source host
    (``nova/conductor/tasks/migrate.py:replace_allocation_with_migration``).
    """
    for uuid, held in evidence.by_consumer.items():
        if uuid not in evidence.migrations or (
            evidence.servers.get(uuid) is not None
        ):
            continue
        migration = evidence.migrations[uuid]
        if migration is None:
            if held[0][1].consumer_type != inventory.MIGRATION:
                continue
            state = 'Nova has no such migration'
            decides = False
        elif migration.in_progress:
            continue
        else:
            server = evidence.servers.get(migration.server, _UNREAD)
            state = (
                f'it ended with status {migration.status} (server '
                f'{leak_evidence.name_of(server, migration.server)})'
                if server is not _UNREAD
                else f'it ended with status {migration.status} (server '
                f'{migration.server})'
            )
            # Until it is clear on which host the server is, nova-compute of
            # the source host keeps its devices
            # (nova/db/main/api.py:
            # migration_get_in_progress_and_error_by_host_and_node).
            decides = migration.status == 'error' and server is not None
        yield _leak(
            finding.error(
                'GPU620',
                f'Migration {uuid} holds {_devices(held)}, but {state}. No '
                f'server can use what it holds. '
                + (
                    'Delete the server, or reset its state and restart '
                    'nova-compute on both hosts, then run the check again'
                    if decides
                    else 'Remove its allocations'
                ),
            ),
            held,
            uuid,
            () if decides else (Repair(Action.REMOVE, uuid),),
        )


def shared_devices(evidence: leak_evidence.Evidence) -> _Leaks:
    """Yield devices of which consumers hold more units than there are.

    From Nova 32 on, nova-compute raises the total to what is allocated at its
    next update, and rules about the consumers report them
    (``pci_placement_translator.py:_adjust_for_removals_and_held_devices``).
    """
    for device in evidence.devices:
        consumers = device.consumers or ()
        used = sum(consumer.amount for consumer in consumers)
        if device.total is None or used <= device.total or len(consumers) < 2:
            continue
        servers = [evidence.servers.get(uuid.uuid) for uuid in consumers]
        names = ', '.join(
            leak_evidence.name_of(server, consumer.uuid)
            for server, consumer in zip(servers, consumers, strict=True)
        )
        here = [
            server
            for server in servers
            if server
            and server.host == device.host
            and evidence.is_settled(server)
            and not _cannot_renew(evidence, server, _on_host(evidence, server))
        ]
        can_renew = len(here) == len(consumers)
        yield Leak(
            finding.error(
                'GPU621',
                f'{_name(device)} has {device.total} units, but {names} hold '
                f'{used}. At least one of them does not have the device. '
                + (
                    'Remove it from all of them and let nova-compute add it '
                    'back to those that use it'
                    if can_renew
                    else 'Repair what else is reported of them, then run the '
                    'check again'
                ),
            ),
            device.host,
            (device,),
            repairs=tuple(
                Repair(
                    Action.RENEW,
                    server.uuid,
                    _uuids(_on_host(evidence, server)),
                )
                for server in here
            )
            if can_renew
            else (),
        )


def double_ownership(evidence: leak_evidence.Evidence) -> _Leaks:
    """Yield devices that Nova and Cyborg both report."""
    for device in evidence.devices:
        for other in evidence.cyborg:
            if other.uuid != device.uuid and (
                other.root_uuid != device.root_uuid
                or device.address is None
                or _address(other.name) != device.address
            ):
                continue
            yield Leak(
                finding.error(
                    'GPU622',
                    f'{_name(device)} is reported by Nova and by Cyborg '
                    f'(provider {other.name}). Both give it to servers, of '
                    f'which one fails to boot. Remove it from '
                    f'[pci]device_spec of nova-compute, or from the '
                    f'configuration of cyborg-agent',
                ),
                device.host,
                (device,),
            )


def _address(name: str) -> str | None:
    match = _ADDRESS.search(name)
    if match is None:
        return None
    return (
        f'{match["domain"]}:{match["bus"]}:{match["slot"]}.{match["function"]}'
    ).lower()


def _in_use(device: inventory.Device) -> int:
    if device.consumers is None:
        return device.used or 0
    return sum(consumer.amount for consumer in device.consumers)


def _on_host(
    evidence: leak_evidence.Evidence, server: inventory.Server
) -> _Held:
    return [
        pair
        for pair in evidence.by_consumer.get(server.uuid, [])
        if pair[0].host == server.host
    ]


def _uuids(held: _Held) -> tuple[str, ...]:
    return tuple(dict.fromkeys(device.uuid for device, _consumer in held))


def _leak(
    problem: finding.Finding,
    held: _Held,
    consumer: str,
    repairs: tuple[Repair, ...],
    name: str | None = None,
) -> Leak:
    return Leak(
        problem,
        ', '.join(dict.fromkeys(device.host for device, _units in held)),
        tuple(device for device, _units in held),
        consumer,
        name,
        repairs,
    )


def _name(device: inventory.Device) -> str:
    return f'{device.address or device.name} of {device.host}'


def _devices(held: _Held) -> str:
    """Return devices as messages name them, by host."""
    units = allocation.sum_units(
        (_name(device), consumer.amount) for device, consumer in held
    )
    shown = [
        name if amount == 1 else f'{amount} units of {name}'
        for name, amount in units.items()
    ]
    if len(shown) > _SHOWN:
        return f'{", ".join(shown[:_SHOWN])} and {len(shown) - _SHOWN} more'
    return ', '.join(shown)


#: Devices that a message names.
_SHOWN = 8
