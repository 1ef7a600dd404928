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

"""The query for candidates, and whether it is worth sending."""

import itertools

import testtools

from gpuclient.model import demand as demand_model
from gpuclient.model import placement_request

from tests.unit.model import test_explanation


def demand(count: int) -> demand_model.Demand:
    return demand_model.demand(
        test_explanation.flavor(f'h100:{count}'), test_explanation.ALIASES
    )


class TestTooMany(testtools.TestCase):
    def test_counts(self) -> None:
        """Devices of a host, in order, with and without repetition."""
        for free, count in itertools.product(range(1, 6), range(1, 5)):
            hosts = [
                test_explanation.host('full', 8, used=8),
                test_explanation.host('a', 8, used=8 - free),
            ]
            devices = range(free)
            candidates = list(itertools.permutations(devices, count))
            self.assertEqual(
                len(candidates),
                placement_request.count_candidates(hosts, demand(count)),
            )
            self.assertEqual(
                free**count if candidates else 0,
                placement_request.count_combinations(hosts, demand(count)),
            )

    def test_reasons(self) -> None:
        for hosts, free, count, reason in (
            (10, 8, 4, ''),
            (1, 6, 6, ''),
            # No host has enough: Placement skips all of them.
            (100, 6, 7, ''),
            (
                1,
                8,
                10**20,
                'the request has 100000000000000000000 groups of devices, '
                'more than 128',
            ),
            (
                12,
                8,
                4,
                'the request has about 20160 candidates, more than 20000',
            ),
            (
                1,
                7,
                7,
                'Placement would try about 823543 combinations of devices, '
                'more than 300000',
            ),
        ):
            cloud = [
                test_explanation.host(str(number), 8, used=8 - free)
                for number in range(hosts)
            ]
            self.assertEqual(
                reason, placement_request.too_many(cloud, demand(count))
            )
