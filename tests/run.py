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

"""Run the tests and count them: ``python -m tests.run [KIND ...]``.

The kinds are unit, functional, functional-fast, hostile-brief, host-fast, host
and hostile; the default is unit and functional, which do not need root.
Further arguments are those of stestr. At the end come the tests that failed,
each with the last line of its traceback; the last line is ``N passed, N
failed``. The exit status is 0 if no test failed and at least one passed.
"""

import re
import subprocess
import sys
import time

_COMMANDS = {
    'unit': ('stestr', 'run'),
    'functional': ('tests.functional.run',),
    # Without what takes minutes, such as boots on forty hosts.
    'functional-fast': (
        'tests.functional.run',
        '--exclude-regex',
        'test_snapshot|test_proof|test_leaks.Test(Repair|Set)|'
        'test_capacity|test_project.(TestUnified|.*test_refused)'
        '|test_upgrade.TestPlanted|test_faults|test_cures|test_flavor_family'
        '|test_explain.Test(Server|Moves)'
        '|test_check.TestCheck.test_(findings|what|as)'
        '|test_benchmark.TestByHand'
        # These start clouds of their own.
        '|test_rehearsal_lifecycle.*(side_by_side|interrupted_start)'
        '|test_rehearsal_lifecycle.*kill_restart'
        '|test_config_rehearse.*(example_configuration|interrupted_run)'
        '|test_config_rehearse.*(output_of_config_create|errors_of_nova)'
        '|test_rehearsal_edited|test_alias_verify.*did_not_start'
        # These wait for retries.
        '|test_failures.*(expired_token|source_that_failed|stops_responding)',
    ),
    'hostile-brief': ('tests.hostile', '--brief'),
    'hostile': ('tests.hostile',),
    'host-fast': ('tests.host.run', 'fast'),
    'host': ('tests.host.run',),
}
_DEFAULT = ['unit', 'functional']
_TOTAL = re.compile(r' - (?P<kind>Passed|Failed|Skipped): (?P<number>\d+)')
#: The result of a test, as stestr prints it while tests run.
_RESULT = re.compile(r'\{\d+\} (?P<test>.+) \[\S+\] \.\.\. (?P<result>\w+)')
#: The exception at the end of a traceback.
_EXCEPTION = re.compile(r'    (?P<exception>[A-Za-z_][\w.]*: .*)')


def main(arguments: list[str]) -> int:
    """Return the exit status of the tests."""
    kinds = []
    while arguments and arguments[0] in _COMMANDS:
        kinds.append(arguments[0])
        arguments = arguments[1:]
    kinds = kinds or _DEFAULT
    totals = {'Passed': 0, 'Failed': 0, 'Skipped': 0}
    statuses = []
    lines = []
    failures: dict[str, str] = {}
    for kind in kinds:
        began = time.monotonic()
        counts = dict.fromkeys(totals, 0)
        statuses.append(_run(kind, arguments, counts, failures))
        for key, number in counts.items():
            totals[key] += number
        lines.append(
            f'{kind} tests: {counts["Passed"]} passed, '
            f'{counts["Failed"]} failed, {counts["Skipped"]} skipped, '
            f'{time.monotonic() - began:.0f} s'
        )
    failed = totals['Failed']
    if any(statuses) and not failed:
        # The tests did not run.
        failed = 1
    print()
    for test, exception in failures.items():
        print(f'FAILED {test}: {exception}')
    print('\n'.join(lines))
    print(f'{totals["Passed"]} passed, {failed} failed', flush=True)
    return 1 if failed or not totals['Passed'] else 0


def _run(
    kind: str,
    arguments: list[str],
    totals: dict[str, int],
    failures: dict[str, str],
) -> int:
    with subprocess.Popen(
        [sys.executable, '-m', *_COMMANDS[kind], *arguments],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        failed = None
        for line in process.stdout:
            print(line, end='', flush=True)
            match = _TOTAL.fullmatch(line.rstrip())
            if match is not None:
                totals[match['kind']] += int(match['number'])
            match = _RESULT.fullmatch(line.rstrip())
            if match is not None:
                failed = None
                if match['result'] == 'FAILED':
                    failed = match['test']
                    failures[failed] = ''
            match = _EXCEPTION.fullmatch(line.rstrip())
            if match is not None and failed is not None:
                failures[failed] = match['exception']
    return process.returncode


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
