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
"""Comparisons of our verdicts with those of Nova, on generated cases.

A comparison is a module ``compare_*.py`` of this folder with a
:class:`Comparison` named ``COMPARISON``: nothing else is needed for
``make test-differential`` and the unit tests to run it. Each case is generated
from a seed and its number, so that it can be generated again.
"""

import collections.abc
import dataclasses
import importlib
import itertools
import json
import pkgutil
import random
import typing

#: Any JSON value, so that a case can be printed.
Case: typing.TypeAlias = typing.Any

_PACKAGE = 'tests.unit.differential'
#: The most comparisons for reducing a case.
_SMALLER = 3000


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A verdict of both sides on the same input."""

    name: str
    #: Generates a case from random numbers.
    generate: collections.abc.Callable[[random.Random], Case]
    #: Returns how the sides differ; None if they agree, or if the
    #: difference is a deliberate one, of ``finding.STRICTER_THAN_NOVA``.
    compare: collections.abc.Callable[[Case], str | None]
    #: Returns whether Nova accepts a case.
    accepts: collections.abc.Callable[[Case], bool]
    #: Cases on which the sides have differed before.
    examples: tuple[Case, ...] = ()
    #: Its share of the cases, relative to other comparisons.
    weight: int = 1


@dataclasses.dataclass(frozen=True)
class Disagreement:
    """A case on which the sides differ."""

    comparison: Comparison
    number: int
    case: Case
    difference: str

    def __str__(self) -> str:
        return (
            f'{self.comparison.name} {self.number}: {self.difference}\n'
            f'    {json.dumps(self.case)}'
        )


def comparisons() -> tuple[Comparison, ...]:
    """Return all comparisons of this folder, by name."""
    package = importlib.import_module(_PACKAGE)
    return tuple(
        importlib.import_module(f'{_PACKAGE}.{module.name}').COMPARISON
        for module in sorted(
            pkgutil.iter_modules(package.__path__),
            key=lambda module: module.name,
        )
        if module.name.startswith('compare_')
    )


def make(comparison: Comparison, seed: int, number: int) -> Case:
    """Return a case, the same for the same seed and number."""
    return comparison.generate(
        random.Random(f'{seed}/{comparison.name}/{number}')
    )


def run(
    comparison: Comparison, seed: int, numbers: collections.abc.Iterable[int]
) -> collections.abc.Iterator[Disagreement]:
    """Yield the disagreements among some cases."""
    for number in numbers:
        case = make(comparison, seed, number)
        difference = compare(comparison, case)
        if difference is not None:
            yield Disagreement(comparison, number, case, difference)


def compare(comparison: Comparison, case: Case) -> str | None:
    """Return how the sides differ; None if they agree."""
    try:
        return comparison.compare(case)
    except Exception as exc:
        # Neither side may raise an unexpected exception.
        return f'{type(exc).__name__}: {exc}'


def smallest(disagreement: Disagreement) -> Disagreement:
    """Return a disagreement with its case reduced as much as possible."""
    steps = itertools.count()
    least = disagreement
    while True:
        for case in _smaller(least.case):
            if next(steps) > _SMALLER:
                return least
            difference = compare(least.comparison, case)
            if difference is not None and _kind(difference) == _kind(
                least.difference
            ):
                least = dataclasses.replace(
                    least, case=case, difference=difference
                )
                break
        else:
            return least


def _kind(difference: str) -> str:
    return difference.partition(':')[0]


def _smaller(case: Case) -> collections.abc.Iterator[Case]:
    """Yield a case with one part left out."""
    if isinstance(case, list):
        for at, part in enumerate(case):
            yield [*case[:at], *case[at + 1 :]]
            for smaller in _smaller(part):
                yield [*case[:at], smaller, *case[at + 1 :]]
    elif isinstance(case, dict):
        for key, part in case.items():
            if key.islower() and key in _OPTIONAL:
                yield {name: case[name] for name in case if name != key}
            for smaller in _smaller(part):
                yield {**case, key: smaller}


#: Keys of entries and aliases, which may be left out of a case.
_OPTIONAL = frozenset(
    (
        'address', 'capability_type', 'dev_type', 'device_id', 'device_type',
        'devname', 'live_migratable', 'managed', 'numa_policy',
        'one_time_use', 'physical_network', 'product_id', 'remote_managed',
        'resource_class', 'serial', 'traits', 'trusted', 'vendor_id',
    )
)  # fmt: skip
