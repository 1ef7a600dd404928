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

import itertools
import typing

import hypothesis
from hypothesis import strategies
import testtools

from gpuclient.model import conflicts


def sets(*groups: str) -> conflicts.Failing:
    """Return failing sets: ``sets('a', 'bc')``."""
    return frozenset(frozenset(map(ord, group)) for group in groups)


class TestConflicts(testtools.TestCase):
    def test_none(self) -> None:
        found = conflicts.find([sets(), sets('a')])
        self.assertEqual(((), True), (found.sets, found.complete))

    def test_one_condition(self) -> None:
        found = conflicts.find([sets('a'), sets('a', 'b')])
        self.assertEqual(sets('a'), frozenset(found.sets))
        self.assertTrue(found.complete)

    def test_together(self) -> None:
        found = conflicts.find([sets('a'), sets('b'), sets('a', 'b', 'c')])
        self.assertEqual(sets('ab'), frozenset(found.sets))

    def test_met_one_by_one(self) -> None:
        """A host meets each of two conditions, but not both."""
        found = conflicts.find([sets('ab'), sets('a', 'c')])
        self.assertEqual(sets('ab'), frozenset(found.sets))

    def test_too_large(self) -> None:
        hosts = [sets(letter) for letter in 'abcde']
        found = conflicts.find(hosts)
        self.assertEqual(((), False), (found.sets, found.complete))
        found = conflicts.find(hosts, largest=5)
        self.assertEqual(sets('abcde'), frozenset(found.sets))
        self.assertTrue(found.complete)

    def test_meets(self) -> None:
        failing = frozenset({frozenset({1, 2}), frozenset({3})})
        self.assertTrue(conflicts.meets(failing, {1}))
        self.assertFalse(conflicts.meets(failing, {1, 2}))
        self.assertFalse(conflicts.meets(failing, {0, 3}))


_NUMBERS = strategies.integers(0, 5)
_FAILING: typing.Any = strategies.frozensets(
    strategies.frozensets(_NUMBERS, min_size=1, max_size=3), max_size=4
).map(conflicts.minimal)


class TestBruteForce(testtools.TestCase):
    @hypothesis.settings(max_examples=400, deadline=None)
    @hypothesis.given(
        strategies.lists(_FAILING, min_size=1, max_size=7),
        strategies.integers(1, 6),
    )
    def test_minimal_and_complete(
        self, hosts: list[conflicts.Failing], largest: int
    ) -> None:
        everything = [
            frozenset(numbers)
            for size in range(7)
            for numbers in itertools.combinations(range(6), size)
        ]

        def leaves_none(together: conflicts.Set) -> bool:
            return not any(
                conflicts.meets(failing, together) for failing in hosts
            )

        expected = conflicts.minimal(filter(leaves_none, everything))
        found = conflicts.find(hosts, largest)
        self.assertEqual(
            frozenset(item for item in expected if len(item) <= largest),
            frozenset(found.sets),
        )
        self.assertEqual(
            all(len(item) <= largest for item in expected), found.complete
        )
