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

"""What the log of a guest says of a GPU."""

import collections.abc
import dataclasses
import enum
import typing

from gpuclient.model import guest_log
from gpuclient.rules import finding


class Result(enum.StrEnum):
    """What a log says of a GPU, as the column shows it."""

    PASS = 'PASS'  # noqa: S105
    WARN = 'WARN'
    #: It does not work, and the log shows why.
    FAIL = 'FAIL'
    #: It does not work, and the log does not show why.
    UNKNOWN = 'UNKNOWN'


SEVERITIES = {
    Result.WARN: finding.Severity.WARNING,
    Result.FAIL: finding.Severity.ERROR,
    Result.UNKNOWN: finding.Severity.ERROR,
}


@dataclasses.dataclass(frozen=True)
class GuestResult:
    """One thing that a log says."""

    result: Result
    #: What is wrong, and what follows from it.
    cause: str
    #: Stable, ``GPU781``; None for a PASS.
    code: str | None = None
    #: The line of the log that shows it.
    evidence: str = ''
    #: Its number.
    line: int | None = None
    #: What to do, imperative.
    remedy: str = ''
    #: Address of the device in the guest; None if it concerns all.
    device: str | None = None
    #: How many lines say it.
    count: int = 1

    @property
    def severity(self) -> finding.Severity | None:
        return SEVERITIES.get(self.result)


Results: typing.TypeAlias = collections.abc.Iterator[GuestResult]


def of_event(
    event: guest_log.Event,
    result: Result,
    code: str,
    cause: str,
    remedy: str,
) -> GuestResult:
    return GuestResult(
        result,
        cause,
        code,
        event.text,
        event.line,
        remedy,
        event.device,
        event.count,
    )


def first_of_each_device(
    events: collections.abc.Iterable[guest_log.Event],
) -> collections.abc.Iterable[guest_log.Event]:
    """Return the first event of each device, with the count of all."""
    by_device: dict[str | None, guest_log.Event] = {}
    for event in events:
        known = by_device.get(event.device)
        by_device[event.device] = (
            event
            if known is None
            else dataclasses.replace(known, count=known.count + event.count)
        )
    return by_device.values()


RESET = 'Stop and start the server, which resets the card'


def may_be_gpu(log: guest_log.GuestLog, address: str | None) -> bool:
    device = log.device(address)
    return (
        device is None or device.class_code is None or guest_log.is_gpu(device)
    )
