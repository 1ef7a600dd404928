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

"""The largest request that fits in place of one that does not."""

import itertools
import typing

from gpuclient.model import capacity
from gpuclient.model import demand as demand_model
from gpuclient.model import explanation
from gpuclient.model import scheduler_options
from gpuclient.model import smaller_request

from tests.unit.model import test_explanation
import testtools

host = test_explanation.host


def evaluate(
    wanted: demand_model.Demand, hosts: tuple[capacity.HostCapacity, ...]
) -> explanation.Evaluation:
    return explanation.evaluate(
        wanted,
        explanation.Facts(hosts),
        explanation.Restrictions(),
        scheduler_options.SchedulerOptions(),
    )


def demand(aliases: str, **amounts: typing.Any) -> demand_model.Demand:
    return demand_model.demand(
        test_explanation.flavor(
            aliases, **{f'resources:{k}': str(v) for k, v in amounts.items()}
        ),
        test_explanation.ALIASES,
    )


def search(
    wanted: demand_model.Demand, *hosts: capacity.HostCapacity
) -> dict[str, list[str]]:
    return {
        smaller.name: [each.node.name for each in smaller.hosts]
        for smaller in smaller_request.search(
            evaluate(wanted, hosts), evaluate
        )
    }


class TestSearch(testtools.TestCase):
    def test_devices(self) -> None:
        self.assertEqual(
            {'2 x h100': ['a', 'c']},
            search(demand('h100:5'), host('a', 2), host('b', 1), host('c', 2)),
        )

    def test_memory(self) -> None:
        self.assertEqual(
            {'4096 MiB memory': ['a']},
            search(demand('h100:1'), host('a', 1, memory=4096), host('b')),
        )

    def test_on_different_hosts(self) -> None:
        """Each amount, while the rest of the request stays."""
        self.assertEqual(
            {'1 x h100': ['b'], '4096 MiB memory': ['a']},
            search(demand('h100:2'), host('a', 2, memory=4096), host('b', 1)),
        )

    def test_several_amounts(self) -> None:
        """No host fits if only one of them is lowered."""
        wanted = demand('h100:1', VCPU=500, MEMORY_MB=2 * 10**8, DISK_GB=10**5)
        self.assertEqual(
            {'64 VCPU, 65536 MiB memory and 1000 GiB disk': ['a', 'c']},
            search(
                wanted,
                host('a', 1),
                host('b', 1, vcpus=32),
                host('c', 1),
                host('used', 1, used=1),
            ),
        )

    def test_several_amounts_or_one(self) -> None:
        """Fewer amounts come first, and not those that are sufficient."""
        wanted = demand('h100:3', VCPU=500, MEMORY_MB=100000)
        large: dict[str, typing.Any] = {'vcpus': 600, 'memory': 200000}
        self.assertEqual(
            {'1 x h100': ['b']},
            search(wanted, host('a', 2), host('b', 1, **large)),
        )
        self.assertEqual(
            {
                '1 x h100 and 64 VCPU': ['b'],
                '64 VCPU and 65536 MiB memory': ['c'],
            },
            search(
                wanted,
                host('a', 2),
                host('b', 1, memory=200000),
                host('c', 3),
            ),
        )

    def test_nothing_smaller_fits(self) -> None:
        self.assertEqual(
            {}, search(demand('h100:2'), host('a', 2, used=2), host('b'))
        )

    def test_largest(self) -> None:
        """One more would not fit; without an amount, none would."""
        for cards, memory, vcpus in itertools.product(
            (0, 1, 3), (2048, 9000), (3, 64)
        ):
            hosts = (host('a', cards, memory=memory, vcpus=vcpus),)
            wanted = demand('h100:4', VCPU=5)
            shown = [
                name for name in search(wanted, *hosts) if ' and ' not in name
            ]
            for key, name, requested in (
                ('devices:h100', 'x h100', 4),
                ('resource:VCPU', 'VCPU', 5),
                ('resource:MEMORY_MB', 'MiB memory', 8192),
            ):
                (amount,) = [
                    int(text.split()[0]) for text in shown if name in text
                ] or [0]
                for other in {1, amount, amount + 1} - {0, requested}:
                    self.assertEqual(
                        other <= amount,
                        bool(
                            evaluate(
                                with_amount(key, other, wanted), hosts
                            ).fitting
                        ),
                        (cards, memory, vcpus, key, other),
                    )


def with_amount(
    key: str, amount: int, wanted: demand_model.Demand
) -> demand_model.Demand:
    if key.startswith('devices'):
        return demand_model.Demand(
            wanted.resources, demand(f'h100:{amount}').devices
        )
    resources = {**wanted.resources, key.partition(':')[2]: amount}
    return demand_model.Demand(resources, wanted.devices)
