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

import collections.abc
import dataclasses
import random
import itertools
import typing

import hypothesis
from hypothesis import strategies
import testtools

from gpuclient.model import alias as alias_model
from gpuclient.model import capacity
from gpuclient.model import demand as demand_model
from gpuclient.model import explanation
from gpuclient.model import explanation_text
from gpuclient.model import flavor as flavor_model
from gpuclient.model import image as image_model
from gpuclient.model import inventory
from gpuclient.model import passthrough_filter
from gpuclient.model import scheduler_options
from gpuclient.model import twin

from tests.unit.model import brute_force

H100 = 'CUSTOM_PCI_10DE_2330'
ALIASES = {
    'h100': alias_model.Alias('h100', vendor_id='10de', product_id='2330'),
    'nvlink': alias_model.Alias(
        'nvlink', vendor_id='10de', product_id='2330', traits='CUSTOM_NVLINK'
    ),
}
Options = scheduler_options.SchedulerOptions


def host(
    name: str,
    cards: int = 0,
    *,
    used: int = 0,
    reserved: int = 0,
    vcpus: int = 64,
    memory: int = 65536,
    traits: tuple[str, ...] = (),
    card_traits: tuple[str, ...] = (),
    **others: typing.Any,
) -> capacity.HostCapacity:
    others.setdefault('service_host', name)
    return capacity.HostCapacity(
        inventory.ComputeProvider(
            name,
            name,
            (
                inventory.Resource('VCPU', vcpus, 0),
                inventory.Resource('MEMORY_MB', memory, 0),
                inventory.Resource('DISK_GB', 1000, 0),
            )
            if cards
            else None,
            traits,
        ),
        devices=tuple(
            inventory.Device(
                uuid=f'{name}-{number}',
                name=f'{name}_0000:{number:02X}:00.0',
                root_uuid=name,
                host=name,
                address=f'0000:{number:02x}:00.0',
                resource_class=H100,
                total=1,
                used=int(number < used),
                reserved=int(used <= number < used + reserved),
                traits=card_traits,
            )
            for number in range(cards)
        ),
        **others,
    )


def flavor(aliases: str = 'h100:1', **specs: str) -> flavor_model.Flavor:
    return flavor_model.Flavor(
        'id',
        'gpu',
        vcpus=8,
        ram=8192,
        disk=10,
        is_public=True,
        extra_specs={'pci_passthrough:alias': aliases, **specs},
    )


def evaluate(
    hosts: collections.abc.Sequence[capacity.HostCapacity],
    wanted: flavor_model.Flavor,
    *,
    image: image_model.Image | None = None,
    options: Options | None = None,
    restrictions: explanation.Restrictions | None = None,
    **facts: typing.Any,
) -> explanation.Evaluation:
    return explanation.evaluate(
        demand_model.demand(wanted, ALIASES, image=image),
        explanation.Facts(tuple(hosts), **facts),
        restrictions or explanation.Restrictions(),
        options or Options(),
    )


def names(hosts: collections.abc.Iterable[capacity.HostCapacity]) -> list[str]:
    return [host.node.name for host in hosts]


class TestEvaluation(testtools.TestCase):
    def test_fits(self) -> None:
        result = evaluate([host('a', 2), host('b')], flavor('h100:2'))
        self.assertEqual(['a'], names(result.fitting))
        self.assertEqual((), result.conflicts)
        self.assertEqual(
            'It fits on 1 of 2 hosts: a.', explanation_text.cause(result)
        )

    def test_table(self) -> None:
        result = evaluate(
            [host('a', 2, used=1), host('b', 4, memory=1024), host('c')],
            flavor('h100:2'),
        )
        rows = {
            row.condition.name: (
                row.alone,
                row.left,
                {
                    reason: names(hosts)
                    for reason, hosts in row.removed.items()
                },
            )
            for row in result.rows
        }
        self.assertEqual(
            {
                f'2 x h100 ({H100})': (
                    1,
                    1,
                    {
                        '1 free of 2 (1 used)': ['a'],
                        'reports no device': ['c'],
                    },
                ),
                '8 VCPU': (3, 1, {}),
                '8192 MiB memory': (2, 0, {'1024 free of 1024': ['b']}),
                '10 GiB disk': (3, 0, {}),
                'compute service enabled': (3, 0, {}),
                'compute service up': (3, 0, {}),
            },
            rows,
        )

    def test_cards_and_memory_on_different_hosts(self) -> None:
        result = evaluate(
            [host('a', 2, used=1), host('b', 4, memory=1024)], flavor('h100:2')
        )
        (conflict,) = result.conflicts
        self.assertEqual(
            ['devices:h100', 'resource:MEMORY_MB'],
            [condition.key for condition in conflict.conditions],
        )
        self.assertEqual(
            [['a'], ['b']], [names(hosts) for hosts in conflict.without]
        )
        self.assertIn(
            'some host meets each condition, but none meets '
            f'"2 x h100 ({H100})" and "8192 MiB memory" together',
            explanation_text.cause(result),
        )

    def test_requests_for_the_same_card(self) -> None:
        result = evaluate(
            [host('a', 1, card_traits=('CUSTOM_NVLINK',))],
            flavor('h100:1,nvlink:1'),
        )
        (conflict,) = result.conflicts
        self.assertEqual(
            ['devices:h100', 'devices:nvlink'],
            [condition.key for condition in conflict.conditions],
        )
        self.assertEqual(
            {f'not beside 1 x h100 ({H100})': ['a']},
            {
                reason: names(hosts)
                for reason, hosts in result.rows[1].removed.items()
            },
        )

    def test_many_requests_for_the_same_cards(self) -> None:
        """CPUs, memory and disk do not make the search too large."""
        names = [f'a{number}' for number in range(6)]
        result = explanation.evaluate(
            demand_model.demand(
                flavor(','.join(f'{name}:1' for name in names)),
                {
                    name: dataclasses.replace(ALIASES['h100'], name=name)
                    for name in names
                },
            ),
            explanation.Facts((host('a', 2), host('b', 2))),
            explanation.Restrictions(),
            Options(),
        )
        self.assertEqual(
            [2, 2, 0, 0, 0, 0, 0],
            [row.left for row in result.rows[:7]],
        )
        self.assertTrue(result.conflict_sets.complete)
        self.assertEqual(
            set(map(frozenset, itertools.combinations(range(6), 3))),
            set(result.conflict_sets.sets),
        )

    def test_traits_of_cards(self) -> None:
        result = evaluate([host('a', 1)], flavor('nvlink:1'))
        self.assertEqual(
            {'a': 'devices lack CUSTOM_NVLINK'}, result.conditions[0].lacks
        )

    def test_services(self) -> None:
        result = evaluate(
            [
                host('a', 1, disabled='nova-compute is disabled: x'),
                host('b', 1, down='nova-compute is down'),
                host('c', 1, traits=('COMPUTE_STATUS_DISABLED',)),
            ],
            flavor(),
        )
        enabled, up = result.conditions[-2:]
        self.assertEqual(
            {
                'a': 'nova-compute is disabled: x',
                'c': 'COMPUTE_STATUS_DISABLED is left on the provider',
            },
            enabled.lacks,
        )
        self.assertEqual({'b': 'nova-compute is down'}, up.lacks)
        # Placement does not know which services are up.
        self.assertEqual(['b'], names(result.in_placement))

    def test_image_traits(self) -> None:
        image = image_model.Image(
            'id', 'image', {'trait:HW_CPU_X86_AVX512F': 'required'}
        )
        result = evaluate(
            [host('a', 1), host('b', 1, traits=('HW_CPU_X86_AVX512F',))],
            flavor(),
            image=image,
        )
        self.assertEqual(['b'], names(result.fitting))
        self.assertIn(
            'image trait HW_CPU_X86_AVX512F',
            [condition.name for condition in result.conditions],
        )

    def test_image_trait_that_the_flavor_forbids(self) -> None:
        """Placement refuses both, whatever hosts have."""
        trait = {'trait:CUSTOM_T': 'required'}
        result = evaluate(
            [host('a', 1, traits=('CUSTOM_T',)), host('b', 1)],
            flavor('h100:1', **{'trait:CUSTOM_T': 'forbidden'}),
            image=image_model.Image('id', 'image', trait),
        )
        self.assertEqual((), result.fitting)
        self.assertIn(
            'Placement refuses the request: group "trait:" requires and '
            'forbids CUSTOM_T',
            explanation_text.cause(result),
        )

    def test_unknown_trait(self) -> None:
        result = evaluate(
            [host('a', 1)],
            flavor(**{'trait:CUSTOM_X': 'forbidden'}),
            with_trait={'CUSTOM_X': None},
        )
        self.assertIn(
            'Placement does not know', explanation_text.cause(result)
        )

    def test_hosts_without_devices(self) -> None:
        """Lists of Placement tell what they have."""
        result = evaluate(
            [host('a'), host('b')],
            flavor(),
            providing={('VCPU', 8): frozenset({'a'})},
        )
        vcpus = result.conditions[1]
        self.assertEqual({'b': 'less than 8 free'}, vcpus.lacks)

    def test_aggregates(self) -> None:
        """They count only where the options are known."""
        group = capacity.Aggregate(
            'gold', frozenset('a'), {'filter_tenant_id': 'other'}
        )
        isolated = capacity.Aggregate(
            'silver', frozenset('b'), {'trait:CUSTOM_S': 'required'}
        )
        zone = capacity.Aggregate(
            'z', frozenset('c'), {'availability_zone': 'z1'}
        )
        hosts = [
            host('a', 1, aggregates=(group,)),
            host('b', 1, aggregates=(isolated,)),
            host('c', 1, aggregates=(zone,)),
        ]
        mine = explanation.Restrictions(project_id='mine')
        self.assertEqual(
            ['a', 'b', 'c'],
            names(evaluate(hosts, flavor(), restrictions=mine).fitting),
        )
        self.assertEqual(
            ['a', 'c'],
            names(
                evaluate(
                    hosts,
                    flavor(),
                    restrictions=mine,
                    options=Options(isolates_aggregates=True),
                ).fitting
            ),
        )

    def test_a_trait_includes_isolated_hosts(self) -> None:
        """Without the trait, the aggregate excludes the host."""
        group = capacity.Aggregate(
            'gpu', frozenset('a'), {'trait:CUSTOM_S': 'required'}
        )
        wanted = flavor('h100:1', **{'trait:CUSTOM_S': 'required'})
        hosts = [host('a', 1, aggregates=(group,)), host('b')]
        for isolates, text in (
            (True, ''),
            (False, '; without "trait CUSTOM_S", 1 host fits: a'),
        ):
            result = evaluate(
                hosts, wanted, options=Options(isolates_aggregates=isolates)
            )
            self.assertEqual(
                'No host fits: none meets "trait CUSTOM_S" (a, b: no such '
                f'trait){text}.',
                explanation_text.cause(result),
            )

    def test_the_only_resource(self) -> None:
        """Placement refuses traits of a group without resources."""
        wanted = flavor(
            'h100:2',
            **{
                'resources:DISK_GB': '0',
                'resources1:VCPU': '1',
                'trait:CUSTOM_T': 'forbidden',
            },
        )
        result = evaluate([host('a', 2, memory=4096)], wanted)
        (conflict,) = result.conflicts
        self.assertEqual('resource:MEMORY_MB', conflict.conditions[0].key)
        self.assertEqual(((),), conflict.without)

    def test_a_trait_of_an_alias_includes_isolated_hosts(self) -> None:
        group = capacity.Aggregate(
            'gpu', frozenset('a'), {'trait:CUSTOM_NVLINK': 'required'}
        )
        nvlink = ('CUSTOM_NVLINK',)
        for aliases, given_up, expected in (
            ('nvlink:1', 'nvlink', []),
            ('nvlink:1,h100:1', 'nvlink', []),
            ('nvlink:1,h100:1', 'h100', ['a']),
        ):
            result = evaluate(
                [host('a', 2, card_traits=nvlink, aggregates=(group,))],
                flavor(aliases),
                options=Options(isolates_aggregates=True),
            )
            keys = [condition.key for condition in result.conditions]
            number = keys.index(f'devices:{given_up}')
            self.assertEqual(expected, names(result.without(number)))

    def test_no_filter_without_its_devices(self) -> None:
        node = host('a', 1)
        result = evaluate(
            [node],
            flavor(),
            aliases=ALIASES,
            devices={
                device.uuid: passthrough_filter.DeviceFacts(
                    device_type='type-PF'
                )
                for device in node.devices
            },
        )
        self.assertEqual(
            ['devices:h100', 'filter:h100'],
            [condition.key for condition in result.conditions[:2]],
        )
        self.assertEqual([], names(result.fitting))
        self.assertEqual(['a'], names(result.without(0)))

    def test_zone_and_host(self) -> None:
        zone = capacity.Aggregate(
            'z', frozenset('c'), {'availability_zone': 'z1'}
        )
        hosts = [host('a', 1), host('c', 1, aggregates=(zone,))]
        in_zone = explanation.Restrictions(zone='z1', host='c')
        result = evaluate(hosts, flavor(), restrictions=in_zone)
        self.assertEqual(['c'], names(result.fitting))

    def test_server_groups(self) -> None:
        hosts = [host('a', 1), host('b', 1), host('c', 1)]
        for policy, most, expected in (
            ('anti-affinity', 1, ['c']),
            ('anti-affinity', 2, ['b', 'c']),
            ('affinity', 1, ['a', 'b']),
            ('soft-anti-affinity', 1, ['a', 'b', 'c']),
        ):
            group = explanation.ServerGroup(
                'group', policy, {'a': 2, 'b': 1}, most
            )
            result = evaluate(
                hosts,
                flavor(),
                restrictions=explanation.Restrictions(group=group),
            )
            self.assertEqual(expected, names(result.fitting), policy)

    def test_refused(self) -> None:
        result = evaluate(
            [host('a', 1)], flavor(**{'hw:cpu_policy': 'pinned'})
        )
        self.assertEqual(
            ['request'], [condition.key for condition in result.conditions]
        )
        self.assertIn(
            'No server can be created: nova-api refuses every server with '
            'HTTP 400',
            explanation_text.cause(result),
        )

    def test_no_hosts(self) -> None:
        self.assertIn(
            'has no compute node',
            explanation_text.cause(evaluate([], flavor())),
        )

    def test_owner(self) -> None:
        result = evaluate(
            [host('a', 1), host('b', 1, card_traits=('OWNER_NOVA',))],
            flavor(),
            owner_required=True,
            with_trait={'OWNER_NOVA': frozenset('ab')},
        )
        self.assertEqual(['b'], names(result.fitting))

    def test_shared_storage(self) -> None:
        node = host('a', 1)
        node = dataclasses.replace(
            node,
            node=dataclasses.replace(
                node.node, resources=(node.node.resources or ())[:2]
            ),
        )
        self.assertEqual((), evaluate([node], flavor()).fitting)
        self.assertEqual(
            ['a'],
            names(
                evaluate(
                    [node], flavor(), shared=frozenset({'DISK_GB'})
                ).fitting
            ),
        )


_ISOLATED = tuple(
    capacity.Aggregate(trait, frozenset(), {f'trait:{trait}': 'required'})
    for trait in ('CUSTOM_T', 'CUSTOM_NVLINK', 'CUSTOM_OTHER')
)
_HOSTS: typing.Any = strategies.builds(
    host,
    name=strategies.just(''),
    cards=strategies.integers(0, 3),
    used=strategies.integers(0, 2),
    reserved=strategies.integers(0, 1),
    vcpus=strategies.sampled_from((4, 8, 8)),
    memory=strategies.sampled_from((4096, 8192, 8192)),
    traits=strategies.sampled_from(((), ('CUSTOM_T',))),
    card_traits=strategies.sampled_from(((), ('CUSTOM_NVLINK',))),
    disabled=strategies.sampled_from(('', '', 'disabled')),
    down=strategies.sampled_from(('', '', 'down')),
    aggregates=strategies.sampled_from(
        ((), (), *((group,) for group in _ISOLATED))
    ),
)
_FLAVORS = strategies.builds(
    lambda aliases, specs: flavor(aliases, **specs),
    strategies.sampled_from(
        ('h100:1', 'h100:2', 'nvlink:1', 'h100:1,nvlink:1', 'h100:2,nvlink:1')
    ),
    strategies.fixed_dictionaries(
        {'group_policy': strategies.sampled_from(('none', 'isolate'))},
        optional={
            'trait:CUSTOM_T': strategies.sampled_from(
                ('required', 'forbidden')
            ),
            'resources:VCPU': strategies.sampled_from(('0', '2')),
            'resources:MEMORY_MB': strategies.sampled_from(('0', '4096')),
            'resources:DISK_GB': strategies.just('0'),
            'resources1:VCPU': strategies.just('1'),
        },
    ),
)


class TestBruteForce(testtools.TestCase):
    """Held against an evaluation of each subset of the conditions."""

    @hypothesis.settings(max_examples=150, deadline=None)
    @hypothesis.given(
        strategies.lists(_HOSTS, min_size=1, max_size=5),
        _FLAVORS,
        strategies.booleans(),
        strategies.booleans(),
        strategies.randoms(use_true_random=False),
    )
    def test_random(
        self,
        unnamed: list[capacity.HostCapacity],
        wanted: flavor_model.Flavor,
        filtered: bool,
        isolates: bool,
        rng: random.Random,
    ) -> None:
        hosts = [
            dataclasses.replace(
                item,
                node=dataclasses.replace(
                    item.node, uuid=str(number), name=str(number)
                ),
            )
            for number, item in enumerate(unnamed)
        ]
        facts: dict[str, typing.Any] = {}
        if filtered:
            facts = {
                'aliases': ALIASES,
                'devices': {
                    device.uuid: passthrough_filter.DeviceFacts(
                        device_type=rng.choice(('type-PCI', 'type-PF', None))
                    )
                    for item in hosts
                    for device in item.devices
                },
            }
        options = Options(isolates_aggregates=isolates)
        result = evaluate(hosts, wanted, options=options, **facts)
        self.assertEqual([], list(brute_force.find_faults(result)))
        self.assertEqual(
            [],
            list(
                brute_force.find_faults_without(
                    result,
                    twin.Request(wanted, None, explanation.Restrictions()),
                    lambda request: evaluate(
                        hosts, request.flavor, options=options, **facts
                    ),
                )
            ),
        )
        if filtered or isolates:
            return
        # Fits as the forecast of capacity does.
        demand = result.wanted
        self.assertEqual(
            [
                item.node.name
                for item in hosts
                if not demand.refusal
                and item.node.resources is not None
                and not capacity.refusal(item, demand)
                and not item.disabled
                and not item.down
                and capacity.fit(item, demand).count
            ],
            names(result.fitting),
        )
