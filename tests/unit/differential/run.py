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
"""Compare our verdicts with Nova's: ``python -m tests.unit.differential.run``.

Generates cases from a random seed, or from a given one, and prints the seed,
the number of cases, and those on which the sides differ, each reduced as far
as possible.
"""

import argparse
import secrets
import sys
import time
import warnings

from tests.unit.differential import comparing


def main(arguments: list[str]) -> int:
    """Return the exit status: 0 if no verdict differs."""
    parser = argparse.ArgumentParser(prog='tests.unit.differential.run')
    parser.add_argument('--seed', type=int, help='the first seed')
    parser.add_argument('--seeds', type=int, default=1, help='how many seeds')
    parser.add_argument(
        '--count', type=int, default=5000, help='cases of each seed'
    )
    parser.add_argument(
        '--only', metavar='NAME', help='the comparison to run; else all'
    )
    options = parser.parse_args(arguments)
    warnings.simplefilter('ignore')
    first = secrets.randbelow(2**32) if options.seed is None else options.seed
    chosen = [
        comparison
        for comparison in comparing.comparisons()
        if options.only in (None, comparison.name)
    ]
    if not chosen:
        parser.error(f'there is no comparison {options.only!r}')
    total = differ = 0
    for seed in range(first, first + options.seeds):
        cases, wrong = _run(chosen, seed, options.count)
        total += cases
        differ += wrong
    print(f'{total} cases, {differ} disagreements', flush=True)
    return int(bool(differ))


def _run(
    chosen: list[comparing.Comparison], seed: int, count: int
) -> tuple[int, int]:
    began = time.monotonic()
    weights = sum(comparison.weight for comparison in chosen)
    total = differ = 0
    parts = []
    for comparison in chosen:
        cases = max(1, round(count * comparison.weight / weights))
        wrong = 0
        for disagreement in comparing.run(comparison, seed, range(cases)):
            wrong += 1
            if wrong <= 3:
                print(comparing.smallest(disagreement), flush=True)
        parts.append(f'{comparison.name} {cases}')
        total += cases
        differ += wrong
    print(
        f'seed {seed}: {", ".join(parts)}; {differ} disagreements, '
        f'{time.monotonic() - began:.0f} s',
        flush=True,
    )
    return total, differ


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
