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

"""GPUs whose memory has no address in a guest."""

import collections.abc

from gpuclient.model import catalogue
from gpuclient.model import guest_log
from gpuclient.rules import guest_result

Kind = guest_log.Kind
Result = guest_result.Result

_LARGE_BAR = 128 << 20


IMAGE = (
    'Boot the guest with q35 and UEFI: set hw_machine_type=q35 and '
    'hw_firmware_type=uefi on its image'
)


_BITS = (
    'Give the guest more physical address bits: set hw:maxphysaddr_mode to '
    'passthrough, or to emulate with hw:maxphysaddr_bits, on the flavor, with '
    'a compute API microversion below 2.86'
)


def _is_bar_of_gpu(
    log: guest_log.GuestLog, bar: guest_log.UnassignedBar
) -> bool:
    device = log.device(bar.device)
    if device is not None and device.vendor_id is not None:
        return guest_log.is_gpu(device)
    # The list of devices is not in the log.
    return (bar.is_large and bar.size >= _LARGE_BAR) or any(
        event.device == bar.device for event in log.events
    )


def check_bars(
    log: guest_log.GuestLog, _models: catalogue.Catalogue
) -> guest_result.Results:
    """Report GPUs whose memory has no address in the guest."""
    by_device: dict[str, list[guest_log.UnassignedBar]] = {}
    for bar in log.bars:
        if _is_bar_of_gpu(log, bar):
            by_device.setdefault(bar.device, []).append(bar)
    for device, bars in by_device.items():
        yield _unassigned(log, device, bars)
    for event in guest_result.first_of_each_device(log.of(Kind.BAR_INVALID)):
        if event.device not in by_device:
            by_device[event.device or ''] = []
            yield guest_result.of_event(
                event,
                Result.FAIL,
                'GPU781',
                f'BAR{event.value("bar")} of the GPU has no address in the '
                'guest, so the driver cannot use the GPU. The log does not '
                'show why it has none',
                _without_address(log),
            )
    yield from _invalid_regions(log, by_device)
    for listed in log.gpus:
        if listed.unassigned and listed.address not in by_device:
            yield guest_result.GuestResult(
                Result.FAIL,
                'Memory of the GPU has no address in the guest, so the driver '
                'cannot use the GPU',
                'GPU781',
                listed.unassigned[0],
                listed.line,
                _without_address(log),
                listed.address,
            )


def _invalid_regions(
    log: guest_log.GuestLog, explained: collections.abc.Collection[str]
) -> guest_result.Results:
    """Report a region that the log does not describe any further."""
    if explained or any(device.unassigned for device in log.gpus):
        return
    for event in log.of(Kind.REGION_INVALID)[:1]:
        yield guest_result.of_event(
            event,
            Result.FAIL,
            'GPU781',
            'A memory region (BAR) of the GPU has no valid address in the '
            'guest, so the driver cannot use the GPU. The log does not show '
            'which',
            _without_address(log),
        )


def _unassigned(
    log: guest_log.GuestLog,
    device: str,
    bars: list[guest_log.UnassignedBar],
) -> guest_result.GuestResult:
    largest = max(bars, key=lambda bar: bar.size)
    numbers = ', '.join(str(bar.number) for bar in bars)
    space = max((last - first + 1 for first, last in log.windows), default=0)
    if largest.is_large and log.has_windows and largest.size > space:
        return guest_result.GuestResult(
            Result.FAIL,
            f'BAR{largest.number} of the GPU needs {_size(largest.size)} of '
            'address space, but the guest has '
            + (f'a window of {_size(space)}' if space else 'no window')
            + ' above 4 GiB, so the driver cannot use the GPU'
            + (
                f'. Its CPU reports {log.address_bits} physical address bits'
                if log.address_bits
                else ''
            ),
            'GPU782',
            largest.text,
            largest.line,
            f'{_BITS}. {IMAGE}',
            device,
        )
    return guest_result.GuestResult(
        Result.FAIL,
        f'The kernel of the guest found no address for BAR {numbers} of the '
        'GPU, so the driver cannot use the GPU',
        'GPU781',
        largest.text,
        largest.line,
        _without_address(log),
        device,
    )


def _without_address(log: guest_log.GuestLog) -> str:
    is_small = log.address_bits is not None and log.address_bits <= 40
    parts = [_BITS, IMAGE] if log.is_uefi or is_small else [IMAGE, _BITS]
    return '. '.join(parts)


def _size(size: int) -> str:
    for unit in ('B', 'KiB', 'MiB', 'GiB'):
        if size < 1024:
            return f'{size} {unit}'
        size //= 1024
    return f'{size} TiB'
