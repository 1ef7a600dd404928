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

"""What start-up costs: ``python -m tests.benchmarks.startup``.

Runs three commands in turn, 21 times each, so that whatever else the machine
does weighs on all alike, and compares the medians: ours with help of
osc-placement's, which reads the same service. Exits with 1 where ours takes
more than 1.05 times as long.
"""

import statistics
import subprocess
import sys
import time

RUNS = 21
LIMIT = 1.05
OURS = ('gpu', 'placement', 'list', '--help')
THEIRS = ('resource', 'provider', 'list', '--help')
NOTHING = ('--version',)


def measure(arguments: tuple[str, ...]) -> float:
    """Return the seconds that a command takes."""
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, '-m', 'openstackclient.shell', *arguments],
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return time.perf_counter() - began


def main() -> int:
    """Return the exit status."""
    times: dict[tuple[str, ...], list[float]] = {
        OURS: [],
        THEIRS: [],
        NOTHING: [],
    }
    for arguments in times:
        measure(arguments)
    for _run in range(RUNS):
        for arguments, measured in times.items():
            measured.append(measure(arguments))
    medians = {
        key: statistics.median(measured) for key, measured in times.items()
    }
    for arguments, median in medians.items():
        print(f'{median:.3f} s  openstack {" ".join(arguments)}')
    ratio = medians[OURS] / medians[THEIRS]
    print(f'ratio to osc-placement: {ratio:.3f} (limit {LIMIT})')
    return int(ratio > LIMIT)


if __name__ == '__main__':
    sys.exit(main())
