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

"""What a check says of each thing that it looked at, good or bad."""

import collections.abc
import dataclasses
import enum

from gpuclient.model import pci
from gpuclient.rules import finding


class Result(enum.StrEnum):
    PASS = 'PASS'  # noqa: S105
    #: It works, though perhaps not as it was meant.
    WARN = 'WARN'
    #: It does not work.
    FAIL = 'FAIL'


#: The severity of a finding with such a result.
SEVERITIES = {
    Result.WARN: finding.Severity.WARNING,
    Result.FAIL: finding.Severity.ERROR,
}
_ORDER = (Result.FAIL, Result.WARN, Result.PASS)


@dataclasses.dataclass(frozen=True)
class CheckResult:
    """One thing that was looked at, of a host or of a device of it."""

    #: What was looked at: ``driver``.
    check: str
    result: Result
    #: What was seen.
    evidence: str
    #: Stable, ``GPU424``; None for a PASS.
    code: str | None = None
    #: What to do; None for a PASS.
    remedy: str | None = None
    #: None where it is about the host.
    device: pci.Address | None = None

    @property
    def severity(self) -> finding.Severity | None:
        """That of the finding; None for a PASS."""
        return SEVERITIES.get(self.result)


def passed(check: str, evidence: str) -> CheckResult:
    return CheckResult(check, Result.PASS, evidence)


def warn(code: str, check: str, evidence: str, remedy: str) -> CheckResult:
    return CheckResult(check, Result.WARN, evidence, code, remedy)


def fail(code: str, check: str, evidence: str, remedy: str) -> CheckResult:
    return CheckResult(check, Result.FAIL, evidence, code, remedy)


def of_device(
    address: pci.Address, verdicts: collections.abc.Iterable[CheckResult]
) -> collections.abc.Iterator[CheckResult]:
    """Yield verdicts as those of a device."""
    for verdict in verdicts:
        yield dataclasses.replace(verdict, device=address)


def summary(
    verdicts: collections.abc.Sequence[CheckResult],
) -> tuple[CheckResult, ...]:
    """Return the bad news, and a row for all the good news of each device."""
    found: list[CheckResult] = []
    devices = dict.fromkeys(verdict.device for verdict in verdicts)
    for device in devices:
        own = [one for one in verdicts if one.device == device]
        good = [one for one in own if one.result is Result.PASS]
        found += sorted(
            (one for one in own if one.result is not Result.PASS),
            key=lambda one: _ORDER.index(one.result),
        )
        if good:
            found.append(
                CheckResult(
                    ', '.join(dict.fromkeys(one.check for one in good)),
                    Result.PASS,
                    good[0].evidence if len(good) == 1 else '',
                    device=device,
                )
            )
    return tuple(found)
