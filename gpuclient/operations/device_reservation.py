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

"""Take devices out of use, and return them."""

import collections.abc
import dataclasses
import hashlib
import os
import subprocess
import time
import typing

from openstack import connection

from gpuclient.cloud.nova import version as nova_version
from gpuclient.cloud.placement import allocations as placement_allocations
from gpuclient.cloud import usage
from gpuclient import exceptions
from gpuclient.model import inventory
from gpuclient.model import leak_evidence
from gpuclient.model import placement_write
from gpuclient.model import release
from gpuclient.operations import device_ledger
from gpuclient.operations import placement_journal
from gpuclient.operations import placement_writer

#: Placement lets allocations change while a device is reserved from here on
#: (bug 2104040).
_PLACEMENT = 14


@dataclasses.dataclass(frozen=True)
class Command:
    """A command that clears a device, as a list of arguments."""

    #: ``{host}``, ``{address}``, ``{device}`` and ``{provider}`` are replaced.
    arguments: tuple[str, ...]
    #: Seconds after which it is ended.
    timeout: float


@dataclasses.dataclass(frozen=True)
class ReservationResult:
    """A device, and what became of it."""

    device: inventory.Device
    reserved: int | None
    #: ``done``, ``unchanged`` or ``failed: ...``.
    result: str
    #: The exit status of the command.
    status: int | None = None

    @property
    def is_failure(self) -> bool:
        return self.result.startswith('failed')


@dataclasses.dataclass(frozen=True)
class _Ended:
    """How a command ended."""

    status: int
    output: bytes
    #: Why it failed, in words.
    reason: str = ''


def find(
    cloud: connection.Connection, names: collections.abc.Iterable[str]
) -> list[inventory.Device]:
    """Return devices by name, address or ID, with their consumers.

    :raises gpuclient.exceptions.NotFound: There is no such device.
    :raises gpuclient.exceptions.Ambiguous: Several devices have the address.
    """
    devices = usage.read_usage(cloud).value.devices
    named: list[inventory.Device] = []
    for name in names:
        match = inventory.find(devices, name)
        if match is None or match.kind != 'device':
            raise exceptions.NotFound(
                f'{name!r} is a {match.kind}: name its devices'
                if match
                else f'Placement has no PCI device {name!r}'
            )
        named += match.devices
    return list(dict.fromkeys(named))


class Reserver:
    """Sets reserved units of devices, and keeps the ledger.

    :param ledger: Path of the ledger.
    :param say: Called with a line of progress.
    """

    def __init__(
        self,
        cloud: connection.Connection,
        journal: placement_journal.Journal,
        ledger: str,
        say: collections.abc.Callable[[str], None],
    ) -> None:
        self._cloud = cloud
        self._store = placement_allocations.PlacementStore(cloud.placement)
        self._writer = placement_writer.PlacementWriter(self._store, journal)
        self._journal = journal
        self._ledger = ledger
        self._say = say
        #: What is left behind if the command is interrupted now.
        self.left = ''

    def reserve(
        self,
        devices: collections.abc.Sequence[inventory.Device],
        *,
        force: bool,
    ) -> list[ReservationResult]:
        """Reserve all units of devices.

        :param force: Also of a device in use, where Placement then refuses to
            change the allocations of its server.
        :raises gpuclient.exceptions.InvalidValue: A device is in use.
        """
        used = [device for device in devices if device.used]
        if used and not force and not bears_reserved(self._cloud):
            raise exceptions.InvalidValue(
                f'{_names(used)} is in use. If Placement is older than 14 '
                f'(2025.2), Nova cannot resize or migrate a server whose '
                f'device is reserved (HTTP 409), and this cloud does not show '
                f'that it is not. Wait until the server is deleted, or pass '
                f'--force. Nothing was changed'
            )
        results = []
        for device in devices:
            if device.used:
                self._note(device, device_ledger.IN_USE)
            results.append(self._set(device, reserve=True))
        self._journal.close()
        return results

    def release(
        self,
        devices: collections.abc.Sequence[inventory.Device],
        command: Command | None,
        *,
        force: bool,
    ) -> list[ReservationResult]:
        """Set reserved of devices to 0, each after a command that clears it.

        :param force: Also of a one-time-use device that is in use.
        :raises gpuclient.exceptions.InvalidValue: A device is in use.
        """
        used = [
            device
            for device in devices
            if device.used
            and (command or leak_evidence.ONE_TIME_USE in device.traits)
        ]
        if used and not (force and command is None):
            raise exceptions.InvalidValue(
                f'{_names(used)} is in use: it can be returned when its '
                f'server is deleted. Nothing was changed'
            )
        results = []
        for device in devices:
            if command is None:
                results.append(self._set(device, reserve=False))
                continue
            reserved = self._reserve_first(device)
            ended = self._clear(reserved, command)
            if ended.reason:
                result = ReservationResult(
                    reserved,
                    reserved.reserved,
                    f'failed: {ended.reason}; the device stays reserved',
                )
            else:
                result = self._set(reserved, reserve=False)
            results.append(dataclasses.replace(result, status=ended.status))
        self._journal.close()
        return results

    def _clear(self, device: inventory.Device, command: Command) -> _Ended:
        """Run a command for a device; return how it ended."""
        arguments = tuple(
            _replaced(argument, device) for argument in command.arguments
        )
        self._note(device, device_ledger.SANITIZING, command=arguments)
        self._say(f'{device.name}: running {" ".join(arguments)}')
        self.left = (
            f'The command for {device.name} was running: the device stays '
            f'reserved'
        )
        began = time.monotonic()
        try:
            ended = _run(arguments, device, command.timeout)
        except BaseException:
            self._note(
                device,
                device_ledger.FAILED,
                command=arguments,
                output='(interrupted)',
                seconds=round(time.monotonic() - began, 3),
            )
            raise
        self._note(
            device,
            device_ledger.FAILED if ended.reason else device_ledger.SANITIZING,
            command=arguments,
            status=ended.status,
            output=ended.output[-device_ledger.OUTPUT :].decode(
                errors='replace'
            ),
            digest=hashlib.sha256(ended.output).hexdigest(),
            seconds=round(time.monotonic() - began, 3),
        )
        self.left = f'{device.name} may still be reserved'
        return ended

    def _reserve_first(self, device: inventory.Device) -> inventory.Device:
        """Make sure that no server gets a device while it is cleared.

        :returns: The device as it is then.
        :raises gpuclient.exceptions.Conflict: A server got it meanwhile.
        """
        if not device.reserved:
            result = self._set(device, reserve=True)
            if result.is_failure:
                raise exceptions.Conflict(f'{device.name}: {result.result}')
            device = dataclasses.replace(device, reserved=result.reserved)
        if self._store.provider_allocations(device.uuid):
            raise exceptions.Conflict(
                f'{device.name} is in use now: it was not cleared, and stays '
                f'reserved'
            )
        return device

    def _set(
        self, device: inventory.Device, *, reserve: bool
    ) -> ReservationResult:
        """Reserve all units of a device, or none."""
        try:
            known = self._store.inventories(device.uuid)
            wanted = {
                name: record['total'] if reserve else 0
                for name, record in known.records.items()
            }
            if known.reserved != wanted:
                self._writer.send(
                    placement_write.ReservedWrite(
                        device.uuid, device.name, known.reserved, wanted
                    )
                )
        except exceptions.CloudError as exc:
            return ReservationResult(
                device, self._reserved(device), f'failed: {exc}'
            )
        state = device_ledger.RESERVED if reserve else device_ledger.AVAILABLE
        self._note(device, state)
        return ReservationResult(
            device,
            sum(wanted.values()),
            'done' if known.reserved != wanted else 'unchanged',
        )

    def _reserved(self, device: inventory.Device) -> int | None:
        """Return the reserved units that Placement has, if it answers."""
        try:
            records = self._store.inventories(device.uuid)
        except exceptions.CloudError:
            return device.reserved
        return sum(records.reserved.values())

    def _note(
        self, device: inventory.Device, state: str, **more: typing.Any
    ) -> None:
        device_ledger.add(self._ledger, [line(device, state, **more)])


def line(
    device: inventory.Device, state: str, **more: typing.Any
) -> device_ledger.LedgerLine:
    """Return a line of the ledger, of now."""
    return device_ledger.LedgerLine(
        time=device_ledger.now(),
        state=state,
        device=device.name,
        provider=device.uuid,
        host=device.host,
        address=device.address,
        consumers=tuple(
            {
                'id': consumer.uuid,
                'name': consumer.name,
                'project_id': consumer.project_id,
            }
            for consumer in device.consumers or ()
        )
        if state == device_ledger.IN_USE
        else (),
        **more,
    )


def observe(
    cloud: connection.Connection, path: str
) -> tuple[device_ledger.LedgerLine, ...]:
    """Add a line for each device that other servers use than the last one.

    :raises gpuclient.exceptions.GPUError: Placement does not list devices, or
        the ledger cannot be read or written.
    """
    last: dict[str, device_ledger.LedgerLine] = {
        record.provider: record for record in device_ledger.read(path)
    }
    added = []
    for device in usage.read_usage(cloud).value.devices:
        if not device.used or device.consumers is None:
            continue
        new = line(device, device_ledger.IN_USE)
        known = last.get(device.uuid)
        if known is None or (
            known.state != device_ledger.IN_USE
            or {consumer['id'] for consumer in known.consumers}
            != {consumer['id'] for consumer in new.consumers}
        ):
            added.append(new)
    device_ledger.add(path, added)
    return tuple(added)


def bears_reserved(cloud: connection.Connection) -> bool:
    """Return whether servers with a reserved device can be moved.

    Placement does not tell its release: it is taken for that of Nova.
    """
    newest = nova_version.newest_of(cloud)
    releases = release.of_microversion(newest) if newest else ()
    if newest and not releases:
        # Later than all that are known.
        return int(newest.partition('.')[2]) > release.newest().microversion
    return bool(releases) and all(
        int(known.placement.partition('.')[0]) >= _PLACEMENT
        for known in releases
    )


def _run(
    arguments: tuple[str, ...], device: inventory.Device, timeout: float
) -> _Ended:
    """Run a command without a shell; return how it ended."""
    environment = {
        **os.environ,
        'GPU_HOST': device.host,
        'GPU_ADDRESS': device.address or '',
        'GPU_DEVICE': device.name,
        'GPU_PROVIDER': device.uuid,
        'GPU_RESOURCE_CLASS': device.resource_class or '',
    }
    try:
        done = subprocess.run(
            arguments,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired as exc:
        return _Ended(
            124,
            (exc.stdout or b'') + b'\n(ended after its time)\n',
            f'the command did not end within {timeout:g} seconds '
            f'(--run-timeout) and was killed',
        )
    except OSError as exc:
        fault = f'{arguments[0]}: {exc.strerror}'
        return _Ended(
            127, f'{fault}\n'.encode(), f'the command cannot be run: {fault}'
        )
    return _Ended(done.returncode, done.stdout, _fault(done.returncode))


def _fault(status: int) -> str:
    """Return what an exit status means; empty for success."""
    if not status:
        return ''
    if status < 0:
        return f'the command was ended by signal {-status}'
    fault = f'the command ended with status {status}'
    if status == 127:
        fault += ' (a shell: command not found)'
    return fault


def _replaced(argument: str, device: inventory.Device) -> str:
    for name, value in (
        ('{host}', device.host),
        ('{address}', device.address or ''),
        ('{device}', device.name),
        ('{provider}', device.uuid),
    ):
        argument = argument.replace(name, value)
    return argument


def _names(devices: collections.abc.Iterable[inventory.Device]) -> str:
    return ', '.join(device.name for device in devices)
