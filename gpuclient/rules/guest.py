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

"""Why a GPU does not work in a guest, from what the guest's log says.

Each rule takes a whole log. A rule names a cause only if the log shows it; a
failure whose cause the log does not show is UNKNOWN.
"""

import collections.abc
import typing

from gpuclient.model import catalogue
from gpuclient.model import guest_log
from gpuclient.rules import guest_address_space
from gpuclient.rules import guest_card
from gpuclient.rules import guest_driver
from gpuclient.rules import guest_module
from gpuclient.rules import guest_result

Kind = guest_log.Kind
Result = guest_result.Result

_ORDER = (Result.FAIL, Result.UNKNOWN, Result.WARN, Result.PASS)


_Rule: typing.TypeAlias = collections.abc.Callable[
    [guest_log.GuestLog, catalogue.Catalogue], guest_result.Results
]


def check(
    log: guest_log.GuestLog, models: catalogue.Catalogue
) -> tuple[guest_result.GuestResult, ...]:
    """Return what a log says about its GPUs, failures first.

    Empty if the log mentions no GPU and no driver of one.
    """
    results = [result for rule in _RULES for result in rule(log, models)]
    results += _unexplained(log, results)
    if not any(result.severity for result in results):
        results += [*_suspects(log)] or [*_working(log)]
    return tuple(
        sorted(results, key=lambda result: _ORDER.index(result.result))
    )


def _check_presence(
    log: guest_log.GuestLog, _models: catalogue.Catalogue
) -> guest_result.Results:
    """Report a guest without a GPU."""
    remedy = (
        'Check the flavor of the server with "openstack gpu flavor show": it '
        'must request an alias with a count of 1 or more'
    )
    events = log.of(Kind.NOTHING_FOUND)
    if log.gpus:
        return
    if log.has_lspci and not _mentions_gpu(log):
        yield guest_result.GuestResult(
            Result.FAIL,
            'The guest has no GPU: its list of PCI devices has none',
            'GPU798',
            remedy=remedy,
        )
    elif events and not log.of(*_REFUSALS):
        yield guest_result.of_event(
            events[0],
            Result.FAIL,
            'GPU798',
            'The driver found no NVIDIA GPU in the guest',
            remedy,
        )


#: After each of these, the driver says that it found no GPU.
_REFUSALS = (
    Kind.LEGACY,
    Kind.UNSUPPORTED,
    Kind.NEEDS_OPEN_MODULES,
    Kind.NEEDS_CLOSED_MODULES,
    Kind.BOUND_TO_ANOTHER,
    Kind.FALLEN_OFF,
)


def _mentions_gpu(log: guest_log.GuestLog) -> bool:
    """Return whether the list of devices is only a part of all."""
    return any(
        event.device is not None and event.kind is not Kind.VGPU_DRIVER
        for event in log.events
    )


_RULES: tuple[_Rule, ...] = (
    _check_presence,
    guest_address_space.check_bars,
    guest_driver.check_modules,
    guest_driver.check_nouveau,
    guest_driver.check_signatures,
    guest_module.check,
    guest_driver.check_versions,
    guest_driver.check_firmware,
    guest_card.check_power,
    guest_card.check_bus,
    guest_card.check_fabric,
    guest_card.check_switch_errors,
    guest_driver.check_virtualization,
    guest_driver.check_other_vendors,
    guest_driver.check_hangs,
    guest_card.check_interrupts,
    guest_card.check_xids,
)


#: Where the driver was when it failed (RM_INIT_STATUS of osinit.c in NVIDIA's
#: open kernel modules).
_STAGES = {
    0x10: 'mapping the registers',
    0x11: 'looking at the system',
    0x20: 'allocating the GPU',
    0x21: 'creating the device',
    0x22: 'attaching the GPU',
    0x23: 'preparing the GPU',
    0x24: 'initializing the state of the GPU',
    0x25: 'loading the state of the GPU',
    0x26: 'configuring DMA',
    0x27: 'publishing the GPU',
    0x30: 'reading the video BIOS',
    0x31: 'running the video BIOS',
    0x32: 'emulating the video BIOS',
    0x40: 'setting up scalability',
    0x60: 'choosing the firmware policy',
    0x61: 'fetching the firmware (GSP)',
    0x62: 'starting the firmware (GSP)',
}


#: Why (nvstatuscodes.h).
_STATUSES = {
    0x0F: 'the GPU is lost on the bus',
    0x11: 'the GPU is not at full power',
    0x1C: 'power is insufficient',
    0x25: 'invalid data',
    0x40: 'invalid state',
    0x51: 'out of memory',
    0x55: 'not ready',
    0x56: 'not supported',
    0x59: 'an error of the operating system',
    0x62: 'a reset is required',
    0x65: 'a timeout',
    0x77: 'the training of an NVLink failed',
    0x7A: 'Fabric Manager is not loaded',
    0x81: 'the NVLink fabric is not ready',
    0x82: 'the NVLink fabric failed',
}


_FAILURES = (
    Kind.RM_INIT_FAILED,
    Kind.CARD_FIRMWARE_FAILED,
    Kind.GSP_FAILED,
    Kind.CONFIDENTIAL_FAILED,
    Kind.PROBE_FAILED,
)


def _unexplained(
    log: guest_log.GuestLog,
    results: collections.abc.Sequence[guest_result.GuestResult],
) -> guest_result.Results:
    """Report failures of a driver that no other result explains."""
    explained = {
        result.device
        for result in results
        if result.result in (Result.FAIL, Result.UNKNOWN)
        and result.code != 'GPU780'
    }
    if None in explained:
        return
    shown: set[str | None] = set()
    failures = sorted(
        log.of(*_FAILURES), key=lambda event: event.device is None
    )
    for event in failures:
        if event.device in explained or event.device in shown:
            continue
        if event.device is None and (explained or shown):
            continue
        shown.add(event.device)
        yield _unknown_failure(log, event)
    if explained or shown:
        return
    for event in log.of(Kind.TOOL_FAILED)[:1]:
        if not any(result.severity for result in results):
            yield guest_result.of_event(
                event,
                Result.UNKNOWN,
                'GPU799',
                'The tools of the driver find no usable GPU. The log does not '
                'show why',
                'Add the output of "dmesg" and "lspci -nnk"',
            )


#: Messages of the NVIDIA driver that name no device.
_CAUSES = {
    Kind.GSP_FAILED: (
        'The NVIDIA driver could not initialize the GPU: its firmware (GSP) '
        'did not start'
    ),
    Kind.CONFIDENTIAL_FAILED: (
        'The NVIDIA driver could not use the GPU: confidential computing '
        'failed'
    ),
}


def _unknown_failure(
    log: guest_log.GuestLog, event: guest_log.Event
) -> guest_result.GuestResult:
    same = [
        other
        for other in log.of(Kind.RM_INIT_FAILED)
        if other.device == event.device
    ]
    has_started = any(
        other.device in (None, event.device)
        for other in log.of(Kind.CARD_FIRMWARE_FAILED)
    )
    if same:
        event = same[0]
        stage = _STAGES.get(int(event.value('stage'), 16))
        status = _STATUSES.get(int(event.value('status'), 16))
        at = f' when {stage}' if stage else ''
        because = f' ({status})' if status else ''
        cause = (
            'The NVIDIA driver could not initialize the GPU: it failed'
            f'{at}{because}'
        )
        code = 'GPU783'
    elif event.kind in _CAUSES:
        cause, code = _CAUSES[event.kind], 'GPU783'
    else:
        cause = 'The driver could not initialize the GPU'
        code = 'GPU783' if has_started else 'GPU799'
    if has_started:
        cause += '. The card had not finished its own start'
    return guest_result.of_event(
        event,
        Result.UNKNOWN,
        code,
        f'{cause}. The log does not show why',
        f'{guest_result.RESET}. Check that the '
        'driver is the standard one, of a branch and with the kind of modules '
        'that the model needs ("openstack gpu model show"). If it recurs, ask '
        'the operator of the cloud to restart the host',
    )


def _suspects(log: guest_log.GuestLog) -> guest_result.Results:
    """Report messages that no rule knows, so that the GPU may not work."""
    for event in log.of(Kind.SUSPECT):
        if event.value('driver') == 'nouveau' and log.driver_version:
            # The NVIDIA driver is bound to the GPU.
            continue
        yield guest_result.of_event(
            event,
            Result.WARN,
            'GPU799',
            f'The driver {event.value("driver")} logs a failure that this '
            'check does not know: the GPU may not work',
            'Check the GPU with the tools of the driver ("nvidia-smi", '
            '"rocm-smi"), and search for the message',
        )


def _working(log: guest_log.GuestLog) -> guest_result.Results:
    """Report what shows that a driver works."""
    bound = [device for device in log.gpus if device.driver is not None]
    for device in bound:
        yield guest_result.GuestResult(
            Result.PASS,
            f'{device.driver} is bound to the GPU, and the log has no failure',
            evidence=device.text,
            line=device.line,
            device=device.address,
        )
    initialized = [
        event
        for event in log.of(Kind.INITIALIZED)
        if log.device(event.device) not in bound
    ]
    for event in initialized:
        yield _passed(
            event,
            f'The driver {event.value("driver")} has initialized the GPU, and '
            'the log has no failure',
        )
    for event in log.of(Kind.TOOL_WORKS)[:1]:
        yield _passed(
            event,
            f'nvidia-smi works with version {event.value("version")} of the '
            'driver, and the log has no failure',
        )
    if bound or initialized or log.of(Kind.TOOL_WORKS):
        return
    if log.driver_version:
        yield _passed(
            log.of(Kind.NVIDIA_LOADED)[-1],
            f'Version {log.driver_version} of the NVIDIA driver was loaded, '
            'and the log has no failure',
        )
    for event in log.of(Kind.FABRIC_READY)[:1]:
        yield _passed(
            event,
            'Fabric Manager has configured the NVSwitches, and the log has no '
            'failure',
        )


def _passed(event: guest_log.Event, cause: str) -> guest_result.GuestResult:
    return guest_result.GuestResult(
        Result.PASS,
        cause,
        evidence=event.text,
        line=event.line,
        device=event.device,
    )
