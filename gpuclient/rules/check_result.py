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

"""Results of the checks of a host: of each thing checked, good or bad."""

import collections.abc
import dataclasses
import enum
import typing

from gpuclient.model import pci
from gpuclient.rules import finding
from gpuclient.rules import remedy as remedy_rules


class Result(enum.StrEnum):
    """The outcome of a check, as the column shows it."""

    PASS = 'PASS'  # noqa: S105
    #: It works, though perhaps not as intended.
    WARN = 'WARN'
    #: It does not work.
    FAIL = 'FAIL'
    #: It could not be checked.
    SKIPPED = 'SKIPPED'


#: The severity of a finding with such a result.
SEVERITIES = {
    Result.WARN: finding.Severity.WARNING,
    Result.FAIL: finding.Severity.ERROR,
}
_ORDER = (Result.FAIL, Result.WARN, Result.PASS)


@dataclasses.dataclass(frozen=True)
class CheckResult:
    """The result of one check, of a host or of one of its devices."""

    #: What was checked: ``driver``.
    check: str
    result: Result
    #: The state of the host, and what follows from it.
    evidence: str
    #: Stable, ``GPU424``; None for a PASS.
    code: str | None = None
    #: What to do; None for a PASS.
    remedy: remedy_rules.Remedy | None = None
    #: None for a result about the host itself.
    device: pci.Address | None = None

    @property
    def severity(self) -> finding.Severity | None:
        """The severity of the finding; None for a PASS."""
        return SEVERITIES.get(self.result)


Results: typing.TypeAlias = collections.abc.Iterator[CheckResult]
_Remedy: typing.TypeAlias = str | remedy_rules.Remedy


def passed(check: str, evidence: str) -> CheckResult:
    return CheckResult(check, Result.PASS, evidence)


def warn(code: str, check: str, evidence: str, remedy: _Remedy) -> CheckResult:
    return CheckResult(check, Result.WARN, evidence, code, _as_data(remedy))


def fail(code: str, check: str, evidence: str, remedy: _Remedy) -> CheckResult:
    return CheckResult(check, Result.FAIL, evidence, code, _as_data(remedy))


def _as_data(remedy: _Remedy) -> remedy_rules.Remedy:
    if isinstance(remedy, str):
        return remedy_rules.Remedy(remedy)
    return remedy


def of_device(
    address: pci.Address, results: collections.abc.Iterable[CheckResult]
) -> Results:
    """Yield results as those of a device."""
    for result in results:
        yield dataclasses.replace(result, device=address)


def summary(
    results: collections.abc.Sequence[CheckResult],
) -> tuple[CheckResult, ...]:
    """Return every WARN and FAIL, and one PASS for the host and each device.

    The PASS of a device names all checks that passed.
    """
    rows: list[CheckResult] = []
    for device in dict.fromkeys(result.device for result in results):
        of_this = [result for result in results if result.device == device]
        passes = [result for result in of_this if result.result is Result.PASS]
        rows += sorted(
            (result for result in of_this if result not in passes),
            key=lambda result: _ORDER.index(result.result),
        )
        if passes:
            names = dict.fromkeys(result.check for result in passes)
            rows.append(
                CheckResult(
                    ', '.join(names),
                    Result.PASS,
                    passes[0].evidence if len(passes) == 1 else '',
                    device=device,
                )
            )
    return tuple(rows)
