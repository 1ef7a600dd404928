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

import dataclasses
import typing

import testtools

from gpuclient.model import capacity
from gpuclient.model import demand as demand_model
from gpuclient.model import explanation
from gpuclient.model import explanation_text
from gpuclient.model import freeing
from gpuclient.model import scheduler_options
from tests.unit.model import test_explanation


def evaluate_for(
    aliases: str,
    options: scheduler_options.SchedulerOptions | None = None,
    **specs: str,
) -> freeing.Evaluate:
    wanted = demand_model.demand(
        test_explanation.flavor(aliases, **specs), test_explanation.ALIASES
    )

    def evaluate(
        hosts: tuple[capacity.HostCapacity, ...],
        required: frozenset[str] = frozenset(),
    ) -> explanation.Evaluation:
        return explanation.evaluate(
            demand_model.require(wanted, required),
            explanation.Facts(hosts),
            explanation.Restrictions(),
            options or scheduler_options.SchedulerOptions(),
        )

    return evaluate


def holder(name: str, *devices: str, **resources: int) -> freeing.Holder:
    return freeing.Holder(
        name, name, True, resources, dict.fromkeys(devices, 1)
    )


#: Where the host lacks the trait of the aggregate that isolates it.
_REQUIRE_AND_SET = [
    ('require trait', 'CUSTOM_LICENSED'),
    ('set trait', 'CUSTOM_LICENSED'),
]


def kinds(way: freeing.Way) -> list[tuple[str, str]]:
    return [(str(action.kind), action.target) for action in way.actions]


class TestWays(testtools.TestCase):
    def ways(
        self,
        host: capacity.HostCapacity,
        *holders: freeing.Holder,
        aliases: str = 'h100:1',
    ) -> list[list[tuple[str, str]]]:
        return [
            [(str(action.kind), action.name) for action in way.actions]
            for way in freeing.ways(host, holders, evaluate_for(aliases))
        ]

    def host(self, cards: int, **others: typing.Any) -> capacity.HostCapacity:
        return test_explanation.host('a', cards, **others)

    def test_servers(self) -> None:
        self.assertEqual(
            [
                [('remove server', 'server one')],
                [('remove server', 'server two')],
            ],
            self.ways(
                self.host(2, used=2),
                holder('one', 'a-0'),
                holder('two', 'a-1'),
                holder('cpu', VCPU=4),
            ),
        )

    def test_reserved_first(self) -> None:
        self.assertEqual(
            [
                [('release device', 'device a_0000:01:00.0')],
                [('remove server', 'server one')],
            ],
            self.ways(self.host(2, used=1, reserved=1), holder('one', 'a-0')),
        )

    def test_disabled(self) -> None:
        disabled = self.host(1, disabled='nova-compute is disabled')
        self.assertEqual(
            [[('enable service', 'compute service a')]], self.ways(disabled)
        )
        both = self.host(1, used=1, disabled='disabled', service_host='a')
        self.assertEqual(
            [
                [
                    ('enable service', 'compute service a'),
                    ('remove server', 'server one'),
                ]
            ],
            self.ways(both, holder('one', 'a-0')),
        )

    def test_leak(self) -> None:
        """What a server does not use is freed before a server is deleted."""
        leaking = dataclasses.replace(
            holder('one', 'a-0', 'a-1', VCPU=4), leaked={'a-1': 1}
        )
        self.assertEqual(
            [
                [('repair allocation', 'server one')],
                [('remove server', 'server one')],
            ],
            self.ways(self.host(2, used=2), leaking),
        )
        # Neither deleting nor moving a server of another host is sensible.
        elsewhere = dataclasses.replace(
            holder('one', 'a-0'), leaked={'a-0': 1}
        )
        self.assertEqual(
            [[('repair allocation', 'server one')]],
            self.ways(self.host(1, used=1), elsewhere),
        )

    def test_trait_is_left(self) -> None:
        """Enabling a service that is enabled does not remove the trait."""
        host = self.host(1, traits=('COMPUTE_STATUS_DISABLED',))
        self.assertEqual(
            [[('restart service', 'compute service a')]], self.ways(host)
        )

    def test_forced_down(self) -> None:
        self.assertEqual(
            [[('end forced down', 'compute service a')]],
            self.ways(
                self.host(
                    1,
                    down=capacity.FORCED_DOWN,
                    closed=capacity.FORCED_DOWN,
                )
            ),
        )

    def test_aggregate(self) -> None:
        group = capacity.Aggregate(
            'isolated',
            frozenset({'a'}),
            {'trait:CUSTOM_LICENSED': 'required'},
            id=7,
        )
        host = self.host(2, aggregates=(group,))
        evaluate = evaluate_for(
            'h100:1',
            scheduler_options.SchedulerOptions(isolates_aggregates=True),
        )
        self.assertEqual((host,), freeing.near([host], evaluate, 5))
        require, way = freeing.ways(host, [holder('one', 'a-0')], evaluate)
        self.assertEqual(_REQUIRE_AND_SET, kinds(require))
        self.assertEqual(
            'a: take the host out of aggregate isolated, which isolates it',
            explanation_text.way(evaluate((host,)), way),
        )
        self.assertEqual(
            ('7', ()), (way.actions[0].target, way.changed.aggregates)
        )
        # It does not help where nothing excludes the host.
        full = self.host(1, used=1, aggregates=(group,))
        self.assertEqual(
            [[('remove server', 'server one')]],
            self.ways(full, holder('one', 'a-0')),
        )

    def test_aggregate_with_zone(self) -> None:
        """Nova does not move the zone of servers."""
        group = capacity.Aggregate(
            'isolated',
            frozenset({'a'}),
            {'trait:CUSTOM_LICENSED': 'required', 'availability_zone': 'z'},
            id=7,
        )
        evaluate = evaluate_for(
            'h100:1',
            scheduler_options.SchedulerOptions(isolates_aggregates=True),
        )
        host = self.host(2, aggregates=(group,))
        (way,) = freeing.ways(host, [holder('one', 'a-0')], evaluate)
        self.assertEqual(_REQUIRE_AND_SET, kinds(way))
        other = capacity.Aggregate(
            'other', frozenset({'a'}), {'availability_zone': 'z'}, id=8
        )
        for fixed, holders in (
            (host, []),
            (self.host(2, aggregates=(group, other)), [holder('one', 'a-0')]),
        ):
            require, way = freeing.ways(fixed, holders, evaluate)
            self.assertEqual(_REQUIRE_AND_SET, kinds(require))
            self.assertEqual('7', way.actions[0].target)

    def trait_ways(
        self,
        host: capacity.HostCapacity,
        aliases: str = 'h100:1',
        *holders: freeing.Holder,
        **specs: str,
    ) -> list[list[tuple[str, str]]]:
        options = scheduler_options.SchedulerOptions(isolates_aggregates=True)
        evaluate = evaluate_for(aliases, options, **specs)
        return [
            kinds(way)
            for host in freeing.near([host], evaluate, 5)
            for way in freeing.ways(host, holders, evaluate)
        ]

    def test_trait(self) -> None:
        """A trait that the flavor requires, and the host lacks."""
        required = {'trait:CUSTOM_LICENSED': 'required'}
        self.assertEqual(
            [[('set trait', 'CUSTOM_LICENSED')]],
            self.trait_ways(self.host(1), **required),
        )
        group = capacity.Aggregate('gpu', frozenset({'a'}), required, id=7)
        self.assertEqual(
            [[('set trait', 'CUSTOM_LICENSED')]],
            self.trait_ways(self.host(1, aggregates=(group,)), **required),
        )
        # nova-compute reports others.
        self.assertEqual(
            [],
            self.trait_ways(
                self.host(1), **{'trait:HW_CPU_X86_AVX512F': 'required'}
            ),
        )

    def test_trait_and_device(self) -> None:
        self.assertEqual(
            [
                [('release device', 'a-0'), ('set trait', 'CUSTOM_LICENSED')],
            ],
            self.trait_ways(
                self.host(1, reserved=1),
                **{'trait:CUSTOM_LICENSED': 'required'},
            ),
        )

    def test_trait_of_the_aggregate(self) -> None:
        """The host has it, and the flavor does not require it."""
        two = capacity.Aggregate(
            'two',
            frozenset({'a'}),
            {
                'trait:CUSTOM_A': 'required',
                'trait:HW_CPU_X86_AVX512F': 'required',
                'availability_zone': 'z',
            },
            id=7,
        )
        traits = ('CUSTOM_A', 'HW_CPU_X86_AVX512F')
        held = holder('other', 'x')
        self.assertEqual(
            [
                [
                    ('require trait', 'CUSTOM_A'),
                    ('require trait', 'HW_CPU_X86_AVX512F'),
                ]
            ],
            self.trait_ways(
                self.host(1, traits=traits, aggregates=(two,)), 'h100:1', held
            ),
        )
        # An admin does not set the second.
        self.assertEqual(
            [],
            self.trait_ways(
                self.host(1, traits=traits[:1], aggregates=(two,)),
                'h100:1',
                held,
            ),
        )
        # The flavor forbids it.
        self.assertEqual(
            [],
            self.trait_ways(
                self.host(1, traits=traits[1:], aggregates=(two,)),
                'h100:1',
                held,
                **{'trait:CUSTOM_A': 'forbidden'},
            ),
        )

    def test_affinity(self) -> None:
        (way,) = freeing.ways(
            self.host(1, used=1),
            [dataclasses.replace(holder('one', 'a-0'), can_move=False)],
            evaluate_for('h100:1'),
        )
        self.assertEqual(
            'a: delete server one (one, 1 device)',
            explanation_text.way(
                evaluate_for('h100:1')((self.host(1, used=1),)), way
            ),
        )

    def test_memory(self) -> None:
        host = self.host(1)
        assert host.node.resources is not None
        host = dataclasses.replace(
            host,
            node=dataclasses.replace(
                host.node,
                resources=tuple(
                    dataclasses.replace(resource, used=60000)
                    if resource.resource_class == 'MEMORY_MB'
                    else resource
                    for resource in host.node.resources
                ),
            ),
        )
        self.assertEqual(
            [[('remove server', 'server large')]],
            self.ways(
                host,
                holder('large', MEMORY_MB=50000),
                holder('small', MEMORY_MB=100),
            ),
        )

    def test_several(self) -> None:
        self.assertEqual(
            [
                [
                    ('remove server', 'server one'),
                    ('remove server', 'server two'),
                ]
            ],
            self.ways(
                self.host(2, used=2),
                holder('one', 'a-0'),
                holder('two', 'a-1'),
                aliases='h100:2',
            ),
        )

    def test_none(self) -> None:
        self.assertEqual([], self.ways(self.host(1), aliases='h100:2'))

    def test_near(self) -> None:
        hosts = (
            test_explanation.host('full', 2, used=2),
            test_explanation.host('small', 1),
            test_explanation.host('none'),
            test_explanation.host('half', 2, used=1),
        )
        self.assertEqual(
            ['half', 'full'],
            [
                host.node.name
                for host in freeing.near(hosts, evaluate_for('h100:2'), 5)
            ],
        )
