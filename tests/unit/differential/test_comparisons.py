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
"""A fixed set of the cases of ``make test-differential``, and its examples."""

import testtools

from tests.unit.differential import comparing

SEED = 1
#: The number of cases of all comparisons together.
CASES = 600


class TestComparisons(testtools.TestCase):
    def test_names(self) -> None:
        self.assertEqual(
            [
                'alias',
                'device_spec',
                'extra_specs',
                'filters',
                'flavor',
                'matching',
                'old_computes',
                'options',
            ],
            [comparison.name for comparison in comparing.comparisons()],
        )

    def test_cases(self) -> None:
        chosen = comparing.comparisons()
        weights = sum(comparison.weight for comparison in chosen)
        for comparison in chosen:
            count = max(1, CASES * comparison.weight // weights)
            self.assertEqual(
                [],
                [
                    str(comparing.smallest(disagreement))
                    for disagreement in comparing.run(
                        comparison, SEED, range(count)
                    )
                ],
            )

    def test_examples(self) -> None:
        """The sides have differed on these; each comparison has its own."""
        for comparison in comparing.comparisons():
            for case in comparison.examples:
                self.assertIsNone(comparison.compare(case), case)

    def test_the_same_seed_makes_the_same_cases(self) -> None:
        for comparison in comparing.comparisons():
            self.assertEqual(
                comparing.make(comparison, 7, 3),
                comparing.make(comparison, 7, 3),
            )
            self.assertNotEqual(
                comparing.make(comparison, 7, 3),
                comparing.make(comparison, 8, 3),
            )

    def test_a_difference_is_found_and_made_small(self) -> None:
        comparison = comparing.Comparison(
            'numbers',
            lambda source: [source.randrange(9) for _ in range(9)],
            lambda case: 'it has a 4' if 4 in case else None,
            lambda case: True,
        )
        disagreement = next(comparing.run(comparison, 1, range(100)))
        self.assertEqual([4], comparing.smallest(disagreement).case)

    def test_failures_are_differences(self) -> None:
        comparison = comparing.Comparison(
            'failure',
            lambda source: source.random(),
            lambda case: case[0],
            lambda case: True,
        )
        (disagreement,) = comparing.run(comparison, 1, range(1))
        self.assertIn('TypeError', disagreement.difference)
