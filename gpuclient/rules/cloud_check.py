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

"""Checks of a cloud: rules on its state, with one result each at least.

A rule yields findings and objects that could not be checked. A rule that
yields nothing has passed; one whose input could not be read is skipped.
"""

import collections.abc
import dataclasses
import typing

from gpuclient.model import cloud_state
from gpuclient.model import quoting
from gpuclient.rules import check_result
from gpuclient.rules import finding


@dataclasses.dataclass(frozen=True)
class CloudFinding:
    """A finding about an object of the cloud."""

    #: Name of the host, flavor, alias, project or resource class; empty for
    #: the cloud as a whole.
    object: str
    finding: finding.Finding


@dataclasses.dataclass(frozen=True)
class Skipped:
    """An object that could not be checked."""

    reason: str
    object: str = ''


Outcome: typing.TypeAlias = CloudFinding | Skipped
Outcomes: typing.TypeAlias = collections.abc.Iterator[Outcome]


@dataclasses.dataclass(frozen=True)
class Check:
    """A check of the state of a cloud."""

    #: ``service state``
    name: str
    rule: collections.abc.Callable[[cloud_state.CloudState], Outcomes]
    #: Fields of the state that it needs.
    needs: tuple[str, ...] = ()
    #: Returns what was checked, for a PASS: ``12 flavors``.
    passed: collections.abc.Callable[[cloud_state.CloudState], str] = (
        lambda state: ''
    )


@dataclasses.dataclass(frozen=True)
class Row:
    """A result as the command shows it."""

    check: str
    result: check_result.Result
    #: Stable, ``GPU660``; None unless it is a finding.
    code: str | None
    object: str
    #: The finding, what has passed, or why the check was skipped.
    message: str
    #: Names by which the finding can be muted.
    names: tuple[str, ...] = ()

    @property
    def severity(self) -> finding.Severity | None:
        """The severity of the finding; None where it is none."""
        return check_result.SEVERITIES.get(self.result)


_RESULTS = {
    severity: result for result, severity in check_result.SEVERITIES.items()
}


def error(object_: str, code: str, message: str) -> CloudFinding:
    """Return a finding about something that does not work."""
    return CloudFinding(object_, finding.error(code, message))


def warning(object_: str, code: str, message: str) -> CloudFinding:
    """Return a finding about something that may work badly."""
    return CloudFinding(object_, finding.warning(code, message))


def run(
    checks: collections.abc.Iterable[Check], state: cloud_state.CloudState
) -> collections.abc.Iterator[Row]:
    """Yield the results of checks, in their order."""
    for check in checks:
        missing = [
            name for name in check.needs if getattr(state, name) is None
        ]
        if missing:
            reasons = dict.fromkeys(
                state.reasons.get(name, f'{name} is not known')
                for name in missing
            )
            yield skipped(check.name, '; '.join(reasons))
            continue
        outcomes = tuple(check.rule(state))
        if outcomes:
            yield from (_row(check.name, outcome) for outcome in outcomes)
        else:
            yield Row(
                check.name,
                check_result.Result.PASS,
                None,
                '',
                check.passed(state),
            )


def skipped(name: str, reason: str, object_: str = '') -> Row:
    """Return the result of a check that could not run."""
    return Row(
        name,
        check_result.Result.SKIPPED,
        None,
        object_,
        quoting.finding(reason),
    )


def _row(name: str, outcome: Outcome) -> Row:
    if isinstance(outcome, Skipped):
        return skipped(name, outcome.reason, outcome.object)
    return of_finding(name, outcome.object, outcome.finding)


def of_finding(
    name: str,
    object_: str,
    problem: finding.Finding,
    names: tuple[str, ...] = (),
) -> Row:
    """Return the result of a check with a finding."""
    return Row(
        name,
        _RESULTS[problem.severity],
        problem.code,
        object_,
        problem.message,
        names or (object_,),
    )


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: ``1 host``, ``2 hosts``."""
    if number == 1:
        return f'1 {noun}'
    plural = f'{noun}es' if noun.endswith('s') else f'{noun}s'
    return f'{number} {plural}'


def listed(names: collections.abc.Iterable[str], most: int = 3) -> str:
    """Return some names, and how many more there are: ``a, b and 3 more``."""
    names = list(names)
    shown = ', '.join(names[:most])
    more = len(names) - most
    return f'{shown} and {more} more' if more > 0 else shown
