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

"""Attack what mends, reads and shows: ``python -m tests.hostile``.

Each module of this package but this one is a subject, with:

``attacker()``
    a context manager; it yields a function that makes one attack from a
    :class:`random.Random`, and returns the name of its kind. What it raises
    got through.
``LONG``, ``BRIEF``
    how many attacks there are, and how many of them with ``--brief``.

An attack is made of the seed, the subject and its number alone, as far as two
processes that race can be: ``--seed S SUBJECT --only N`` makes it again.
"""

import argparse
import collections
import dataclasses
import importlib
import pkgutil
import random
import resource
import secrets
import signal
import sys
import time
import traceback

import tests.hostile

#: Seconds for one attack.
_LONGEST = 30.0
#: Seconds for all subjects with ``--brief``.
_BRIEF = 30.0
#: Attacks that are shown of each subject.
_SHOWN = 3
_NO_SUBJECTS = ('run', '__main__')


class Hang(BaseException):
    """An attack took too long; nothing that is attacked catches this."""


@dataclasses.dataclass
class Outcome:
    """What became of the attacks on one subject."""

    kinds: collections.Counter[str] = dataclasses.field(
        default_factory=collections.Counter
    )
    #: Number and traceback of those that got through.
    failures: list[tuple[int, str]] = dataclasses.field(default_factory=list)


def subjects() -> list[str]:
    return sorted(
        module.name
        for module in pkgutil.iter_modules(tests.hostile.__path__)
        if module.name not in _NO_SUBJECTS
    )


def run(
    subject: str,
    seed: int,
    *,
    brief: bool = False,
    only: int | None = None,
    seconds: float = float('inf'),
) -> Outcome:
    """Make the attacks on a subject.

    :param only: The number of the only one to make.
    :param seconds: After which no other one is begun.
    """
    module = importlib.import_module(f'tests.hostile.{subject}')
    numbers = range(module.BRIEF if brief else module.LONG)
    if only is not None:
        numbers = range(only, only + 1)
    longest = getattr(module, 'LONGEST', _LONGEST)
    outcome = Outcome()

    def too_long(*_arguments: object) -> None:
        raise Hang

    end = time.monotonic() + seconds
    before = signal.signal(signal.SIGALRM, too_long)
    try:
        with module.attacker() as attack:
            for number in numbers:
                if time.monotonic() > end:
                    break
                source = random.Random(f'{seed}/{subject}/{number}')
                signal.setitimer(signal.ITIMER_REAL, longest)
                try:
                    outcome.kinds[attack(source)] += 1
                except (Exception, Hang):
                    outcome.failures.append((number, traceback.format_exc()))
                finally:
                    signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        signal.signal(signal.SIGALRM, before)
    return outcome


def main() -> int:
    known = subjects()
    parser = argparse.ArgumentParser(prog='python -m tests.hostile')
    parser.add_argument('subjects', nargs='*', metavar='subject')
    parser.add_argument('--seed', type=int)
    parser.add_argument('--only', type=int, help='the attack of this number')
    parser.add_argument(
        '--brief', action='store_true', help='a minute of them; the seed is 1'
    )
    parsed = parser.parse_args()
    for subject in parsed.subjects:
        if subject not in known:
            parser.error(f'{subject} is none of {", ".join(known)}')
    chosen = parsed.subjects or known
    seed = parsed.seed
    if seed is None:
        seed = 1 if parsed.brief else secrets.randbelow(10**6)
    sys.stdout.write(f'seed {seed}\n')
    passed = failed = 0
    for subject in chosen:
        began = time.monotonic()
        outcome = run(
            subject,
            seed,
            brief=parsed.brief,
            only=parsed.only,
            seconds=_BRIEF / len(chosen) if parsed.brief else float('inf'),
        )
        passed += outcome.kinds.total()
        failed += len(outcome.failures)
        _report(subject, outcome, time.monotonic() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    sys.stdout.write(f'seed {seed}, at most {peak} MiB\n')
    # As stestr has them, for tests.run.
    sys.stdout.write(f' - Passed: {passed}\n - Failed: {failed}\n')
    return 1 if failed or not passed else 0


def _report(subject: str, outcome: Outcome, took: float) -> None:
    for number, text in outcome.failures[:_SHOWN]:
        sys.stdout.write(f'{subject} --only {number}\n{text}\n')
    kinds = ', '.join(
        f'{kind} {count}' for kind, count in sorted(outcome.kinds.items())
    )
    sys.stdout.write(
        f'{subject}: {outcome.kinds.total()} attacks failed, '
        f'{len(outcome.failures)} got through, {took:.0f} s ({kinds})\n'
    )
    sys.stdout.flush()


if __name__ == '__main__':
    sys.exit(main())
