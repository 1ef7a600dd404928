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

"""The cases, as their files have them."""

import dataclasses
import pathlib
import re
import typing

import yaml

FOLDER = pathlib.Path(__file__).parent / 'cases'

_EXPECTED = re.compile(
    r'(?P<severity>error|warning) (?P<code>GPU\d{3}|\?)'
    r'(?: (?P<file>[^ /][^ ]*))?(?: /(?P<message>.+)/)?'
)


@dataclasses.dataclass(frozen=True)
class Expected:
    """A finding that a case must have.

    Written ``error GPU301 nova.conf /what its message matches/``; the file
    and the message may be left out.
    """

    severity: str
    #: None where the case does not tell.
    code: str | None
    file: str | None
    message: str | None

    @classmethod
    def parse(cls, text: str) -> 'Expected':
        match = _EXPECTED.fullmatch(text)
        if match is None:
            raise ValueError(text)
        return cls(
            match['severity'],
            None if match['code'] == '?' else match['code'],
            match['file'],
            match['message'],
        )

    def matches(
        self, severity: str, code: str, file: str | None, message: str
    ) -> bool:
        return (
            severity == self.severity
            and self.code in (None, code)
            and self.file in (None, file)
            and (
                self.message is None
                or re.search(self.message, message) is not None
            )
        )

    def __str__(self) -> str:
        return ' '.join(
            part
            for part in (
                self.severity,
                self.code or '?',
                self.file,
                self.message and f'/{self.message}/',
            )
            if part
        )


@dataclasses.dataclass(frozen=True)
class Start:
    """How Nova itself starts with files of a case."""

    service: str
    #: In the order in which the service reads them.
    files: tuple[str, ...]
    #: What its refusal matches; None if it starts.
    refuses: str | None = None


@dataclasses.dataclass(frozen=True)
class Case:
    """An input from a public report, and the right answer."""

    id: str
    #: Where it was reported.
    source: str
    year: int
    deployer: str
    #: What is tried: ``config check``, ``flavor``, ``host check``, ...
    command: str
    #: What decides the answer.
    why: str
    expected: tuple[Expected, ...] = ()
    #: By path.
    files: dict[str, str] = dataclasses.field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    starts: tuple[Start, ...] = ()
    #: The command ends with an error that matches this.
    refused: str | None = None
    #: What else the command needs; each reads what it knows.
    inputs: dict[str, typing.Any] = dataclasses.field(default_factory=dict)
    answer: typing.Any = None


def read(path: pathlib.Path) -> list[Case]:
    """Return the cases of a file."""
    return [_case(entry) for entry in yaml.safe_load(path.read_text())]


def load(folder: pathlib.Path = FOLDER) -> list[Case]:
    """Return all cases.

    :raises ValueError: Two have the same id.
    """
    cases: dict[str, Case] = {}
    for path in sorted(folder.glob('*.yaml')):
        for case in read(path):
            if case.id in cases:
                raise ValueError(case.id)
            cases[case.id] = case
    return list(cases.values())


def _case(entry: dict[str, typing.Any]) -> Case:
    values = dict(entry)
    values['expected'] = tuple(
        map(Expected.parse, values.pop('expected', ()) or ())
    )
    values['arguments'] = tuple(map(str, values.pop('arguments', ())))
    values['starts'] = tuple(
        Start(start['service'], tuple(start['files']), start.get('refuses'))
        for start in values.pop('nova', ())
    )
    return Case(**values)
