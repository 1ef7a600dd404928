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

"""Minimal sets of conditions that no host meets.

Each host fails some sets of conditions: a set of one that it does not meet, or
several that it meets one by one, but not together. A set of conditions leaves
no host if it contains a failing set of every host.
"""

import collections.abc
import dataclasses
import typing

#: Numbers of conditions.
Set: typing.TypeAlias = frozenset[int]
#: The minimal failing sets of a host; empty if it meets all conditions.
Failing: typing.TypeAlias = frozenset[Set]

#: The largest set that is searched for.
LARGEST = 4
#: Sets that are kept while searching.
_KEPT = 2000


@dataclasses.dataclass(frozen=True)
class Conflicts:
    """The minimal sets of conditions that no host meets."""

    #: The smallest first.
    sets: tuple[Set, ...]
    #: Whether there are no others, of any size.
    complete: bool


def meets(failing: Failing, conditions: collections.abc.Set[int]) -> bool:
    """Return whether a host meets some conditions together."""
    return not any(together <= conditions for together in failing)


def minimal(sets: collections.abc.Iterable[Set]) -> Failing:
    """Return the sets that contain no other of them."""
    kept: list[Set] = []
    for candidate in sorted(set(sets), key=len):
        if not any(smaller <= candidate for smaller in kept):
            kept.append(candidate)
    return frozenset(kept)


def find(
    hosts: collections.abc.Iterable[Failing], largest: int = LARGEST
) -> Conflicts:
    """Return the minimal sets of conditions that no host meets.

    Hosts are added one by one: a set that leaves none of those before, and
    contains no failing set of the next, is extended by each of these.

    :param hosts: The minimal failing sets of each host.
    :param largest: The largest number of conditions of a set; larger ones are
        left out.
    """
    all_failing = frozenset(hosts)
    complete = True
    sets: Failing = frozenset({frozenset()})
    # A host that fails few sets leaves few combinations.
    for failing in sorted(
        all_failing, key=lambda sets: (len(sets), _key(sets))
    ):
        extended = {
            together
            if any(part <= together for part in failing)
            else together | added
            for together in sets
            for added in failing or ()
        }
        within = {
            together for together in extended if len(together) <= largest
        }
        sets = minimal(within)
        complete = complete and all(
            any(smaller <= larger for smaller in sets)
            for larger in extended - within
        )
        if len(sets) > _KEPT:
            sets = frozenset(sorted(sets, key=_order)[:_KEPT])
            complete = False
        if not sets:
            break
    return Conflicts(
        tuple(
            together
            for together in sorted(sets, key=_order)
            if complete or _is_minimal(together, all_failing)
        ),
        complete,
    )


def _is_minimal(
    together: Set, hosts: collections.abc.Collection[Failing]
) -> bool:
    return all(
        any(meets(failing, together - {number}) for failing in hosts)
        for number in together
    )


def _order(together: Set) -> tuple[int, list[int]]:
    return len(together), sorted(together)


def _key(failing: Failing) -> list[tuple[int, list[int]]]:
    return sorted(map(_order, failing))
