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

"""Findings of rules: about one setting, or several that must agree."""

import dataclasses
import enum
import typing

from gpuclient.model import configuration
from gpuclient.model import quoting


class Severity(enum.StrEnum):
    """The severity of a finding."""

    #: It does not work, or stops a service.
    ERROR = 'error'
    #: It works, though perhaps not as intended.
    WARNING = 'warning'


@dataclasses.dataclass(frozen=True)
class Finding:
    """One problem that a rule has found."""

    #: Stable, ``GPU101``; the documentation explains each.
    code: str
    severity: Severity
    #: What is wrong, what follows, and what to do.
    message: str
    #: The message with which a service does not start; empty if the finding is
    #: about something else, or Nova's message is not known.
    service_message: str = dataclasses.field(default='', compare=False)

    def __post_init__(self) -> None:
        for name in ('message', 'service_message'):
            text = quoting.finding(getattr(self, name))
            object.__setattr__(self, name, text)

    def __str__(self) -> str:
        return f'{self.code}: {self.message}'


#: All findings about values that Nova accepts, but ``create`` and ``set``
#: refuse; ``check`` reports them, too.
STRICTER_THAN_NOVA: typing.Final = frozenset(
    {
        'GPU101',
        'GPU102',
        'GPU103',
        'GPU104',
        'GPU105',
        'GPU106',
        'GPU107',
        'GPU201',
        'GPU202',
    }
)


def stricter(code: str, message: str) -> Finding:
    """Return an error about a value that Nova accepts; it says so.

    :param code: One of :data:`STRICTER_THAN_NOVA`.
    """
    if code not in STRICTER_THAN_NOVA:
        raise ValueError(code)
    return Finding(code, Severity.ERROR, f'{message} (stricter than Nova)')


@dataclasses.dataclass(frozen=True)
class Located:
    """A finding, with the file and line that it is about."""

    finding: Finding
    place: configuration.Place


def error(code: str, message: str) -> Finding:
    """Return a finding about something that does not work."""
    return Finding(code, Severity.ERROR, message)


def not_started(code: str, service: str, message: str) -> Finding:
    """Return an error about a service that does not start.

    :param message: The message of the service.
    """
    text = f'{service} would not start: {message}'
    return Finding(code, Severity.ERROR, text, message)


def warning(code: str, message: str) -> Finding:
    """Return a finding about something that may work badly."""
    return Finding(code, Severity.WARNING, message)


def errors(findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    """Return the findings that are errors."""
    return tuple(
        finding for finding in findings if finding.severity is Severity.ERROR
    )


def warnings(findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    """Return the findings that are warnings."""
    return tuple(
        finding for finding in findings if finding.severity is Severity.WARNING
    )
