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

"""Our verdicts for each release, compared with those of its Nova.

``python -m tests.unit.differential.releases`` generates cases, lets each
Nova judge them in its own process (see :mod:`.judge`), and prints for
each how many it accepted and refused, and on how many we differ. Then it
prints how our own verdicts differ from one release to the next.
"""

import argparse
import concurrent.futures
import dataclasses
import json
import os
import pathlib
import secrets
import subprocess
import sys
import time
import typing

from gpuclient import exceptions
from gpuclient.model import nova_changes
from gpuclient.model import release
from gpuclient.rehearsal import api as rehearsal
from tests.unit.differential import comparing
from tests.unit.differential import release_steps

#: Their newest versions.
RELEASES = ('34', '33', '32', '31', '30', '29', '28', '27', '26')
_ROOT = pathlib.Path(__file__).parents[3]
_JUDGE = 'tests.unit.differential.judge'
#: Of one Nova; a machine may be busy.
_SECONDS = 1800
_EXAMPLES = 3


@dataclasses.dataclass
class Result:
    """The results of the cases for one release."""

    release: release.Release
    accepted: int = 0
    refused: int = 0
    seconds: float = 0
    disagreements: list[str] = dataclasses.field(default_factory=list)
    error: str = ''

    @property
    def row(self) -> str:
        total = self.accepted + self.refused
        share = 100 * self.accepted // total if total else 0
        return (
            f'{self.release!s:24} {total:6} {self.accepted:8} ({share} %) '
            f'{self.refused:8} {len(self.disagreements):13} '
            f'{self.seconds:5.0f} s'
        )


def main(arguments: list[str]) -> int:
    """Return the exit status: 0 if no verdict differs."""
    parser = argparse.ArgumentParser(prog='tests.unit.differential.releases')
    parser.add_argument('--seed', type=int, help='of the cases')
    parser.add_argument('--count', type=int, default=2500, help='of cases')
    parser.add_argument(
        '--release',
        dest='releases',
        action='append',
        help='a release, or a version of Nova (repeat option for several)',
    )
    options = parser.parse_args(arguments)
    seed = secrets.randbelow(2**32) if options.seed is None else options.seed
    chosen = [release.parse(name) for name in options.releases or RELEASES]
    of_steps = [] if options.releases else release_steps.cases()
    cases = [*make_cases(seed, options.count), *of_steps]
    print(f'seed {seed}, {len(cases)} cases', flush=True)
    print(
        f'{"release":24} {"cases":>6} {"accepted":>15} {"refused":>8} '
        f'{"disagreements":>13} {"time":>7}',
        flush=True,
    )
    failed = False
    with concurrent.futures.ThreadPoolExecutor(
        min(2, os.cpu_count() or 1)
    ) as pool:
        for result in pool.map(lambda one: judge(one, cases), chosen):
            failed |= bool(result.disagreements or result.error)
            print(result.row, flush=True)
            for line in (*result.disagreements[:_EXAMPLES], result.error):
                if line:
                    print(f'    {line}', flush=True)
    if not options.releases:
        print('cases on which verdicts differ between releases:')
        for line in release_steps.rows(chosen, of_steps):
            print(line)
    return int(failed)


def make_cases(seed: int, count: int) -> list[tuple[str, comparing.Case]]:
    """Return cases of all comparisons, and those that have differed before."""
    chosen = comparing.comparisons()
    weights = sum(one.weight for one in chosen)
    return [
        (one.name, case)
        for one in chosen
        for case in (
            *one.examples,
            *(
                comparing.make(one, seed, number)
                for number in range(max(1, count * one.weight // weights))
            ),
        )
    ]


def judge(
    chosen: release.Release, cases: list[tuple[str, comparing.Case]]
) -> Result:
    """Return the results of the cases for a release."""
    result = Result(chosen)
    began = time.monotonic()
    try:
        verdicts = _ask(chosen, cases)
    except (exceptions.GPUError, subprocess.TimeoutExpired) as exc:
        result.error = str(exc)
        return result
    for verdict in verdicts:
        if verdict['accepted']:
            result.accepted += 1
        else:
            result.refused += 1
        if verdict['difference'] is not None:
            result.disagreements.append(
                f'{verdict["difference"]}\n        '
                f'{json.dumps(verdict["case"])}'
            )
    result.seconds = time.monotonic() - began
    return result


def _ask(
    chosen: release.Release, cases: list[tuple[str, comparing.Case]]
) -> list[dict[str, typing.Any]]:
    version = nova_changes.version_text(chosen.version)
    path = [_ROOT]
    overlay = rehearsal.prepare_overlay(chosen)
    if overlay is not None:
        path.append(overlay.path)
    process = subprocess.run(
        [sys.executable, '-P', '-m', _JUDGE],
        input=''.join(
            json.dumps({'comparison': name, 'case': case}) + '\n'
            for name, case in cases
        ),
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(map(str, path))},
        capture_output=True,
        text=True,
        timeout=_SECONDS,
    )
    lines = [json.loads(line) for line in process.stdout.splitlines()]
    if process.returncode or len(lines) != len(cases) + 1:
        raise exceptions.GPUError(
            f'nova {version} ended after {len(lines)} verdicts: '
            f'{process.stderr.strip()[-2000:]}'
        )
    if lines[0]['version'] != version:
        raise exceptions.GPUError(
            f'nova {lines[0]["version"]} was started, not {version}'
        )
    return lines[1:]


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
