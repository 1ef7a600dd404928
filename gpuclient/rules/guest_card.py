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

"""Cards in a guest: the bus, power, resets, NVSwitches and Xids."""

import dataclasses
import typing

from gpuclient.model import catalogue
from gpuclient.model import guest_log
from gpuclient.model import xid
from gpuclient.rules import guest_address_space
from gpuclient.rules import guest_result

Kind = guest_log.Kind
Result = guest_result.Result


def check_bus(
    log: guest_log.GuestLog, _models: catalogue.Catalogue
) -> guest_result.Results:
    """Report cards that no longer respond."""
    events = [
        event
        for event in log.of(Kind.FALLEN_OFF, Kind.XID)
        if event.kind is Kind.FALLEN_OFF
        or event.value('xid') == str(xid.FALLEN_OFF)
    ]
    lost = set()
    for event in guest_result.first_of_each_device(events):
        lost.add(event.device)
        yield guest_result.of_event(
            event,
            Result.FAIL,
            'GPU791',
            'The GPU no longer responds on the PCI bus (Xid 79). The log of a '
            'guest does not show why: power, temperature, the slot, a reset '
            'that failed, or the card',
            'First action of NVIDIA: restart the host of the card. Ask the '
            'operator of the cloud, who also reads the log of the host and of '
            'its management controller',
        )
    for device in log.gpus:
        if device.is_lost and device.address not in lost:
            yield guest_result.GuestResult(
                Result.FAIL,
                'The GPU does not respond: its configuration space reads as '
                'ones',
                'GPU791',
                device.text,
                device.line,
                f'{guest_result.RESET}. If it '
                'recurs, ask the operator of the cloud to restart the host',
                device.address,
            )


def check_power(
    log: guest_log.GuestLog, _models: catalogue.Catalogue
) -> guest_result.Results:
    """Report cards that do not wake up, or do not come back from a reset."""
    for event in guest_result.first_of_each_device(log.of(Kind.POWER_STATE)):
        if not guest_result.may_be_gpu(log, event.device):
            continue
        yield guest_result.of_event(
            event,
            Result.FAIL,
            'GPU792',
            'The device did not come back from a state of low power and is '
            'not accessible',
            'Ask the operator of the cloud to reset the card or to restart '
            'its host, and to set disable_idle_d3=1 for vfio-pci there',
        )
    for event in guest_result.first_of_each_device(log.of(Kind.RESET_FAILED)):
        if not guest_result.may_be_gpu(log, event.device):
            continue
        yield guest_result.of_event(
            event,
            Result.FAIL,
            'GPU793',
            f'The device was not ready again after {event.value("what")}',
            'Ask the operator of the cloud to restart the host of the card, '
            'and to take the card out of use if it recurs',
        )


def check_fabric(
    log: guest_log.GuestLog, _models: catalogue.Catalogue
) -> guest_result.Results:
    """Report GPUs behind NVSwitches whose fabric is not configured."""
    causes = list(_fabric_causes(log))
    yield from causes
    if not causes:
        yield from _fabric_failures(log)


def _fabric_causes(log: guest_log.GuestLog) -> guest_result.Results:
    for event in log.of(Kind.FABRIC_VERSION)[:1]:
        yield guest_result.of_event(
            event,
            Result.FAIL,
            'GPU794',
            f'Fabric Manager {event.value("manager")} refuses to run with '
            f'version {event.value("driver")} of the driver',
            'Install nvidia-fabricmanager of exactly the version of the '
            'driver, and restart it',
        )
    for event in log.of(Kind.FABRIC_NO_SWITCH)[:1]:
        yield guest_result.of_event(
            event,
            Result.WARN,
            'GPU794',
            'Fabric Manager found no NVSwitch that it could configure: the '
            'guest has none, or (from HGX B200 on) NVLSM is not installed',
            'Disable nvidia-fabricmanager in a guest without NVSwitches: the '
            'host configures them. On HGX B200 and later, install nvlsm',
        )
    for event in log.of(Kind.FABRIC_NO_MODULE)[:1]:
        yield guest_result.of_event(
            event,
            Result.FAIL,
            'GPU794',
            'The module ib_umad is not loaded, over which Fabric Manager '
            'reaches the NVSwitches from HGX B200 on',
            'Add a file in /etc/modules-load.d with "ib_umad" in the guest, '
            'run "modprobe ib_umad", and restart nvidia-fabricmanager',
        )


def _fabric_failures(log: guest_log.GuestLog) -> guest_result.Results:
    events = log.of(Kind.FABRIC_FAILED)
    for event in events[:1]:
        yield guest_result.of_event(
            event,
            Result.UNKNOWN,
            'GPU794',
            'Fabric Manager failed. The log does not show why',
            'Read /var/log/fabricmanager.log in the guest',
        )
    for event in () if events else log.of(Kind.FABRIC_NOT_READY)[:1]:
        yield guest_result.of_event(
            event,
            Result.UNKNOWN,
            'GPU794',
            'CUDA says that the system is not initialized (802). On boards '
            'with NVSwitches the fabric is not configured; the log does not '
            'show which part is missing',
            'Check "nvidia-smi -q" for the state of the fabric. A server with '
            'all GPUs and NVSwitches of the board needs nvidia-fabricmanager '
            'of the version of the driver; with some of the GPUs, the '
            'operator activates a partition on the host',
        )


def check_switch_errors(
    log: guest_log.GuestLog, _models: catalogue.Catalogue
) -> guest_result.Results:
    for event in guest_result.first_of_each_device(log.of(Kind.SXID)):
        is_fatal = event.value('severity') == 'Fatal'
        yield guest_result.of_event(
            event,
            Result.FAIL if is_fatal else Result.WARN,
            'GPU794',
            f'An NVSwitch reports SXid {event.value("xid")}',
            'Look up the number in the guide of Fabric Manager. After a fatal '
            'one, stop the server and ask the operator of the cloud to reset '
            'all GPUs and NVSwitches of the board',
        )


class _Group(typing.NamedTuple):
    """Xids of a device that are one result."""

    device: str | None
    number: int
    #: The Xid that the message names as the cause; None for none.
    previous: int | None
    #: What the registers of the message tell to do; None if they do not.
    action: str | None
    is_fatal: bool


def check_xids(
    log: guest_log.GuestLog, _models: catalogue.Catalogue
) -> guest_result.Results:
    """Report each number that the driver logged, with its first action."""
    groups: dict[_Group, guest_log.Event] = {}
    for event in log.of(Kind.XID):
        group = _group(event)
        if group in groups and not event.value('recovery'):
            event = dataclasses.replace(
                groups[group], count=groups[group].count + event.count
            )
        groups[group] = event
    for group, event in groups.items():
        if group.number == xid.FALLEN_OFF:
            continue
        others = frozenset(
            other.number for other in groups if other.device == group.device
        )
        yield _xid_result(event, group, others - xid.FOLLOWS_ANOTHER)


def _group(event: guest_log.Event) -> _Group:
    number = int(event.value('xid'))
    is_fatal = event.value('severity') != 'Nonfatal'
    action = None
    if number in xid.NVLINK5 and event.value('unit'):
        action = xid.nvlink_action(
            event.value('unit'),
            int(event.value('information'), 16),
            int(event.value('status'), 16),
            is_fatal=is_fatal,
        )
    previous = event.value('previous')
    return _Group(
        event.device,
        number,
        int(previous) if previous else None,
        action,
        is_fatal,
    )


_NO_RECOVERY = 'None'
_RESULTS = {
    xid.Urgency.NONE: Result.PASS,
    xid.Urgency.WARNING: Result.WARN,
    xid.Urgency.ERROR: Result.FAIL,
}


def _xid_result(
    event: guest_log.Event, group: _Group, others: frozenset[int]
) -> guest_result.GuestResult:
    known = xid.catalogue().get(group.number)
    if known is None:
        return guest_result.of_event(
            event,
            Result.UNKNOWN,
            'GPU780',
            f"Xid {group.number}, which NVIDIA's catalogue does not list",
            'Ask NVIDIA or the vendor of the hardware',
        )
    meaning = known.meaning or 'not used by GPUs from Ampere on'
    cause = f'Xid {group.number}: {meaning}'
    if group.number == xid.RECOVERY:
        recovery = event.value('recovery')
        cause += f' ("{recovery}")' if recovery else ''
        if recovery == _NO_RECOVERY:
            return guest_result.of_event(
                event, Result.PASS, 'GPU780', cause, 'No action is needed'
            )
    if group.number == xid.CLEANUP:
        result = _cleanup_result(event, cause, group.previous, others)
        if result is not None:
            return result
    if event.value('severity'):
        cause += ', fatal' if group.is_fatal else ', not fatal'
    if group.action is not None:
        known = xid.with_action(known.number, known.meaning, group.action)
    return guest_result.of_event(
        event,
        _severity(known, group),
        'GPU780',
        cause,
        _first_action(known),
    )


def _severity(known: xid.Xid, group: _Group) -> Result:
    if known.number in xid.NVLINK5 and (
        (group.action is None and not group.is_fatal)
        or (group.action == 'IGNORE' and group.is_fatal)
    ):
        # The message and the catalogue tell different things.
        return Result.WARN
    return _RESULTS[known.urgency]


def _first_action(known: xid.Xid) -> str:
    if known.action in ('NONE', 'NOT_LISTED'):
        return known.remedy
    return f'First action of NVIDIA ({known.action}): {known.remedy}'


def _cleanup_result(
    event: guest_log.Event,
    cause: str,
    previous: int | None,
    others: frozenset[int],
) -> guest_result.GuestResult | None:
    """Return the result of an Xid 45 that another Xid explains."""
    if previous is None:
        if not others:
            return None
        return guest_result.of_event(
            event,
            Result.WARN,
            'GPU780',
            f'{cause}; it follows the other Xid',
            'Follow the other Xid',
        )
    cause = f'{cause}, by Xid {previous}'
    if previous in others:
        return guest_result.of_event(
            event, Result.WARN, 'GPU780', cause, f'Follow Xid {previous}'
        )
    known = xid.catalogue().get(previous)
    if known is None:
        return guest_result.of_event(
            event,
            Result.UNKNOWN,
            'GPU780',
            f"{cause}, which NVIDIA's catalogue does not list",
            'Ask NVIDIA or the vendor of the hardware',
        )
    cause += f' ({known.meaning})' if known.meaning else ''
    if previous in xid.NVLINK5:
        return guest_result.of_event(
            event,
            Result.UNKNOWN,
            'GPU780',
            f'{cause}. The log does not show its registers, which tell what '
            'to do',
            f'Look for Xid {previous} in an earlier part of the log. '
            f'{_first_action(known)}',
        )
    return guest_result.of_event(
        event,
        Result.FAIL if known.urgency is xid.Urgency.ERROR else Result.WARN,
        'GPU780',
        cause,
        _first_action(known),
    )


def check_interrupts(
    log: guest_log.GuestLog, _models: catalogue.Catalogue
) -> guest_result.Results:
    for event in guest_result.first_of_each_device(log.of(Kind.NO_INTERRUPT)):
        yield guest_result.of_event(
            event,
            Result.FAIL,
            'GPU783',
            'The GPU has no interrupt in the guest, so the driver cannot use '
            'it',
            'Remove pci=nomsi from the kernel arguments of the guest. '
            f'{guest_address_space.IMAGE}',
        )
