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
import functools
import itertools
import typing

import ddt
import hypothesis
from hypothesis import strategies
import testtools

from gpuclient import exceptions
from gpuclient.model import alias as alias_model
from gpuclient.model import capacity
from gpuclient.model import demand as demand_model
from gpuclient.model import flavor as flavor_model
from gpuclient.model import inventory

A100 = 'CUSTOM_PCI_10DE_20F1'
A2 = 'CUSTOM_PCI_10DE_25B6'
ALIASES = {
    'a100': alias_model.Alias('a100', vendor_id='10de', product_id='20f1'),
    'a2': alias_model.Alias('a2', vendor_id='10de', product_id='25b6'),
}


def device(
    number: int,
    resource_class: str | None = A100,
    free: int | None = 1,
    traits: tuple[str, ...] = (),
) -> inventory.Device:
    return inventory.Device(
        uuid=str(number),
        name=f'host_0000:{number:02X}:00.0',
        root_uuid='root',
        host='host',
        address=f'0000:{number:02x}:00.0',
        resource_class=resource_class,
        total=free,
        reserved=0,
        used=0,
        traits=traits,
    )


def host(
    devices: collections.abc.Iterable[inventory.Device] = (),
    vcpus: int = 64,
    memory: int = 65536,
    disk: int = 1000,
    closed: str = '',
    aggregates: tuple[capacity.Aggregate, ...] = (),
    traits: tuple[str, ...] = (),
) -> capacity.HostCapacity:
    return capacity.HostCapacity(
        inventory.ComputeProvider(
            'root',
            'host',
            (
                inventory.Resource('VCPU', vcpus, 0),
                inventory.Resource('MEMORY_MB', memory, 0),
                inventory.Resource('DISK_GB', disk, 0),
            ),
            traits,
        ),
        'host',
        tuple(devices),
        aggregates,
        closed,
    )


def demand(value: str = 'a100:1', **specs: str) -> demand_model.Demand:
    flavor = flavor_model.Flavor(
        'id',
        'f',
        8,
        8192,
        10,
        True,
        {'pci_passthrough:alias': value, **specs},
    )
    return demand_model.demand(flavor, ALIASES)


TRAITS = strategies.frozensets(
    strategies.sampled_from(('CUSTOM_X', 'CUSTOM_Y', 'CUSTOM_Z')), max_size=2
)


@ddt.ddt
class TestFit(testtools.TestCase):
    def test_limited_by_devices(self) -> None:
        fit = capacity.fit(host([device(1), device(2)]), demand())
        self.assertEqual(2, fit.count)
        self.assertEqual(('a100',), fit.limited_by)
        self.assertEqual(
            {'VCPU': 8, 'MEMORY_MB': 8, 'DISK_GB': 100, 'a100': 2},
            fit.limits,
        )

    def test_limited_by_the_host(self) -> None:
        cards = [device(number) for number in range(8)]
        fit = capacity.fit(host(cards, vcpus=20, memory=20000), demand())
        self.assertEqual(2, fit.count)
        self.assertEqual(('VCPU', 'MEMORY_MB'), fit.limited_by)

    def test_two_aliases(self) -> None:
        cards = [device(1), device(2), device(3, A2)]
        fit = capacity.fit(host(cards), demand('a100:1,a2:1'))
        self.assertEqual((1, ('a2',)), (fit.count, fit.limited_by))

    def test_aliases_that_share_devices(self) -> None:
        cards = [device(1), device(2), device(3, traits=('CUSTOM_X',))]
        aliases = {
            'any': ALIASES['a100'],
            'best': alias_model.Alias(
                'best',
                vendor_id='10de',
                product_id='20f1',
                traits='CUSTOM_X',
            ),
        }
        flavor = flavor_model.Flavor(
            'id',
            'f',
            1,
            1,
            1,
            True,
            {'pci_passthrough:alias': 'any:3,best:1'},
        )
        fit = capacity.fit(host(cards), demand_model.demand(flavor, aliases))
        self.assertEqual(0, fit.count)
        self.assertEqual(('any and best',), fit.limited_by)

    @ddt.data(('none', 4), ('isolate', 3))
    @ddt.unpack
    def test_virtual_functions(self, policy: str, expected: int) -> None:
        """Two VFs for each server: five of one card and three of another."""
        cards = [device(1, free=5), device(2, free=3)]
        wanted = demand('a100:2', group_policy=policy)
        self.assertEqual(expected, capacity.fit(host(cards), wanted).count)

    def test_unsuffixed_class_comes_from_one_device(self) -> None:
        cards = [device(1, free=3), device(2, free=3)]
        flavor = flavor_model.Flavor(
            'id', 'f', 1, 1, 1, True, {f'resources:{A100}': '2'}
        )
        wanted = demand_model.demand(flavor, {})
        self.assertEqual(2, capacity.fit(host(cards), wanted).count)

    def test_unread_amount_counts_as_zero(self) -> None:
        fit = capacity.fit(host([device(1, free=None)]), demand())
        self.assertEqual(0, fit.count)

    def test_unknown_alias(self) -> None:
        self.assertRaises(exceptions.NotFound, demand, 'nosuch:1')

    @ddt.data(
        ({}, ()),
        (
            {'hw:cpu_policy': 'dedicated'},
            ('Nova matches NUMA nodes on the host',),
        ),
        (
            {'hw:mem_page_size': 'large'},
            (
                'Nova matches NUMA nodes on the host',
                'Nova matches huge pages on the host',
            ),
        ),
        # Without a topology, NUMA nodes are not matched.
        ({'hw:pci_numa_affinity_policy': 'required'}, ()),
        (
            {'capabilities:hypervisor_type': 'QEMU'},
            ('Nova matches capabilities:hypervisor_type on the host',),
        ),
        (
            {'hw:new': '1'},
            ('hw:new is unknown and may exclude hosts',),
        ),
        ({'quota:cpu_shares': '2048', 'hw:boot_menu': 'true'}, ()),
    )
    @ddt.unpack
    def test_at_most(
        self, specs: dict[str, str], expected: tuple[str, ...]
    ) -> None:
        self.assertEqual(expected, demand(**specs).at_most)

    @hypothesis.given(
        strategies.lists(
            strategies.tuples(
                strategies.sampled_from((A100, A2)),
                strategies.integers(1, 3),
                strategies.sampled_from(((), ('CUSTOM_X',))),
            ),
            max_size=4,
        ),
        strategies.lists(
            strategies.tuples(
                strategies.sampled_from((A100, A2)),
                strategies.sampled_from(((), ('CUSTOM_X',))),
                strategies.integers(1, 2),
            ),
            min_size=1,
            max_size=2,
        ),
        strategies.booleans(),
    )
    @hypothesis.settings(deadline=None)
    def test_same_as_trying_every_placement(
        self,
        rooms: list[tuple[str, int, tuple[str, ...]]],
        asked: list[tuple[str, tuple[str, ...], int]],
        isolate: bool,
    ) -> None:
        devices = [
            device(number, name, free, traits)
            for number, (name, free, traits) in enumerate(rooms)
        ]
        requests = tuple(
            demand_model.DeviceRequest(
                str(number), name, frozenset(traits), count
            )
            for number, (name, traits, count) in enumerate(asked)
        )
        wanted = demand_model.Demand({'DISK_GB': 1}, requests, isolate=isolate)
        self.assertEqual(
            try_out(devices, requests, isolate),
            capacity.fit(host(devices), wanted).count,
        )

    @hypothesis.given(
        strategies.lists(
            strategies.tuples(strategies.integers(0, 12), TRAITS),
            min_size=1,
            max_size=12,
        ),
        strategies.lists(
            strategies.tuples(TRAITS, strategies.integers(1, 4)),
            min_size=1,
            max_size=6,
        ),
        strategies.booleans(),
    )
    @hypothesis.settings(deadline=None)
    def test_same_as_the_theorem_of_hall(
        self,
        rooms: list[tuple[int, frozenset[str]]],
        asked: list[tuple[frozenset[str], int]],
        isolate: bool,
    ) -> None:
        devices = [
            device(number, A100, free, tuple(traits))
            for number, (free, traits) in enumerate(rooms)
        ]
        requests = tuple(
            demand_model.DeviceRequest(str(number), A100, traits, count)
            for number, (traits, count) in enumerate(asked)
        )
        wanted = demand_model.Demand({'DISK_GB': 1}, requests, isolate=isolate)
        self.assertEqual(
            of_all_sets(devices, requests, isolate),
            capacity.fit(host(devices), wanted).count,
        )

    @ddt.data((2, False, 3), (1, True, 7))
    @ddt.unpack
    def test_many_aliases(
        self, count: int, isolate: bool, expected: int
    ) -> None:
        """There are too many sets of aliases to try all: 10**12."""
        traits = [f'CUSTOM_{number}' for number in range(40)]
        devices = [
            device(
                number, A100, 7, (traits[number], traits[(number + 1) % 40])
            )
            for number in range(40)
        ]
        requests = tuple(
            demand_model.DeviceRequest(trait, A100, frozenset([trait]), count)
            for trait in traits
        )
        wanted = demand_model.Demand({'DISK_GB': 1}, requests, isolate=isolate)
        fit = capacity.fit(host(devices), wanted)
        self.assertEqual(expected, fit.count)


def of_all_sets(
    devices: list[inventory.Device],
    requests: tuple[demand_model.DeviceRequest, ...],
    isolate: bool,
) -> int:
    """Return how many servers fit, by Hall's theorem.

    All requests can be met if and only if those of each set can be, with
    all devices that any request of the set may use.
    """
    sets = [
        (
            sum(request.count for request in chosen),
            [
                device.free or 0
                for device in devices
                if any(
                    request.traits <= set(device.traits) for request in chosen
                )
            ],
        )
        for size in range(1, len(requests) + 1)
        for chosen in itertools.combinations(requests, size)
    ]
    most = 0
    while all(
        count * (most + 1)
        <= sum(min(room, most + 1) if isolate else room for room in rooms)
        for count, rooms in sets
    ):
        most += 1
    return most


def try_out(
    devices: list[inventory.Device],
    requests: tuple[demand_model.DeviceRequest, ...],
    isolate: bool,
) -> int:
    """Return how many servers fit, by trying every way to place them."""
    usable = [
        [
            number
            for number, device in enumerate(devices)
            if device.resource_class == request.resource_class
            and request.traits <= set(device.traits)
        ]
        for request in requests
        for _number in range(request.count)
    ]

    @functools.cache
    def most(free: tuple[int, ...]) -> int:
        count = 0
        states = set()
        for chosen in itertools.product(*usable):
            if isolate and len(set(chosen)) < len(chosen):
                continue
            left = list(free)
            for number in chosen:
                left[number] -= 1
            if min(left) >= 0:
                states.add(tuple(left))
        for state in states:
            count = max(count, 1 + most(state))
        return count

    return (
        most(tuple(device.free or 0 for device in devices)) if devices else 0
    )


@ddt.ddt
class TestRefusal(testtools.TestCase):
    def refusal(
        self, metadata: dict[str, str], value: str = 'a100:1', **kwargs: str
    ) -> str:
        aggregate = capacity.Aggregate('gold', frozenset({'host'}), metadata)
        return capacity.refusal(
            host(aggregates=(aggregate,)), demand(value), **kwargs
        )

    def test_open(self) -> None:
        self.assertEqual('', self.refusal({}))

    def test_closed(self) -> None:
        reason = capacity.refusal(host(closed='it is disabled'), demand())
        self.assertEqual('it is disabled', reason)

    def test_traits(self) -> None:
        wanted = demand(**{'trait:CUSTOM_A': 'required'})
        self.assertEqual('no trait CUSTOM_A', capacity.refusal(host(), wanted))
        wanted = demand(**{'trait:CUSTOM_A': 'forbidden'})
        self.assertEqual(
            'trait CUSTOM_A',
            capacity.refusal(host(traits=('CUSTOM_A',)), wanted),
        )

    @ddt.data(
        ({'availability_zone': 'az1'}, {'zone': 'az1'}, ''),
        (
            {'availability_zone': 'az1'},
            {'zone': 'az2'},
            'not in availability zone az2',
        ),
    )
    @ddt.unpack
    def test_aggregates(
        self,
        metadata: dict[str, str],
        kwargs: dict[str, str],
        expected: str,
    ) -> None:
        self.assertEqual(expected, self.refusal(metadata, **kwargs))


@ddt.ddt
class TestForecast(testtools.TestCase):
    """Which numbers are exact, and why the others are not."""

    def forecast(
        self,
        hosts: collections.abc.Sequence[capacity.HostCapacity],
        specs: dict[str, str],
        aliases: dict[str, alias_model.Alias] = ALIASES,
        **kwargs: typing.Any,
    ) -> capacity.Forecast:
        flavor = flavor_model.Flavor(
            'id', 'f', 2, 512, 1, True, {flavor_model.ALIASES: 'a:1', **specs}
        )
        return capacity.forecast(flavor, hosts, aliases, **kwargs)

    @ddt.data(
        # In the catalogue, A100 is type-PF, V100 type-PCI, A6000 either.
        ('20f1', 'type-PF', ''),
        ('20f1', 'type-PCI', 'then no server gets a device'),
        ('20f1', None, 'no device_type, which matches no type-PF'),
        ('1db4', 'type-PCI', ''),
        ('1db4', None, ''),
        ('2230', 'type-PF', 'the catalogue says type-PCI or type-PF'),
        ('ffff', 'type-PCI', 'the type of these devices is not known'),
    )
    @ddt.unpack
    def test_device_type(
        self, product: str, device_type: str | None, expected: str
    ) -> None:
        alias = alias_model.Alias(
            'a',
            vendor_id='10de',
            product_id=product,
            device_type=device_type,
        )
        cards = [device(1, f'CUSTOM_PCI_10DE_{product.upper()}')]
        forecast = self.forecast([host(cards)], {}, {'a': alias})
        self.assertEqual(1, forecast.count)
        self.assertEqual(not expected, forecast.exact)
        self.assertIn(expected, ' '.join(forecast.at_most))
        # If the catalogue is the only source, the note names it.
        self.assertEqual(not expected, bool(forecast.assumed))

    def test_type_of_vfs_is_certain(self) -> None:
        cards = [device(1, free=4)]
        for device_type, exact in (('type-VF', True), ('type-PF', False)):
            alias = dataclasses.replace(
                ALIASES['a100'], name='a', device_type=device_type
            )
            forecast = self.forecast([host(cards)], {}, {'a': alias})
            self.assertEqual((4, exact), (forecast.count, forecast.exact))
            self.assertEqual((), forecast.assumed)

    def aggregate(self, **metadata: str) -> capacity.HostCapacity:
        group = capacity.Aggregate('gold', frozenset({'host'}), metadata)
        return host([device(1)], aggregates=(group,))

    @ddt.data(
        ({'filter_tenant_id': 'p, q'}, 'q', ''),
        ({'filter_tenant_id2': 'p'}, 'p', ''),
        ({'filter_tenant_id': 'p'}, 'q', 'reserved for other projects'),
        ({'filter_tenant_id': 'p'}, None, 'name one with --project'),
        ({'trait:CUSTOM_A': 'required'}, None, 'that require CUSTOM_A'),
        ({'trait:CUSTOM_B': 'required'}, None, ''),
        ({'trait:CUSTOM_A': 'forbidden'}, None, ''),
    )
    @ddt.unpack
    def test_settings_hidden_from_the_api(
        self, metadata: dict[str, str], project: str | None, expected: str
    ) -> None:
        alias = dataclasses.replace(
            ALIASES['a100'],
            name='a',
            device_type='type-PF',
            traits='CUSTOM_B',
        )
        there = self.aggregate(**metadata)
        there = dataclasses.replace(
            there, devices=(device(1, traits=('CUSTOM_B',)),)
        )
        forecast = self.forecast([there], {}, {'a': alias}, project_id=project)
        self.assertEqual(1, forecast.count)
        self.assertEqual(not expected, forecast.exact)
        self.assertIn(expected, ' '.join(forecast.at_most))

    def test_project_with_its_own_aggregate(self) -> None:
        alias = dataclasses.replace(
            ALIASES['a100'], name='a', device_type='type-PF'
        )
        forecast = self.forecast(
            [self.aggregate(filter_tenant_id='p'), host([device(1)])],
            {},
            {'a': alias},
            project_id='p',
        )
        self.assertEqual(2, forecast.count)
        self.assertIn('hosts outside aggregate gold', forecast.at_most[0])

    def test_refused_by_nova(self) -> None:
        for specs, reason in (
            (
                {'hw:cpu_thread_policy': 'require'},
                'nova-api refuses every server',
            ),
            ({'trait1:CUSTOM_A': 'required'}, 'has traits and no resources'),
            (
                {f'resources1:{A100}': '1', 'resources2:VCPU': '1'},
                'several numbered groups',
            ),
        ):
            forecast = self.forecast(
                [host([device(1)])], specs, {'a': ALIASES['a100']}
            )
            self.assertEqual((0, True), (forecast.count, forecast.exact))
            self.assertIn(reason, forecast.refusal)
            self.assertEqual([forecast.refusal], list(forecast.limited_by))

    def test_pinned_cpus_of_hosts_without_pcpus(self) -> None:
        specs = {
            'hw:cpu_policy': 'dedicated',
            'hw:cpu_thread_policy': 'require',
        }
        forecast = self.forecast(
            [host([device(1)], vcpus=3)], specs, {'a': ALIASES['a100']}
        )
        self.assertEqual((1, False), (forecast.count, forecast.exact))
        (there,) = forecast.hosts
        self.assertIn('VCPU', there.fit.limits)
        self.assertIn(
            '[workarounds]disable_fallback_pcpu_query',
            ' '.join(forecast.at_most),
        )
        mixed = {'hw:cpu_policy': 'mixed', 'hw:cpu_dedicated_mask': '0'}
        forecast = self.forecast(
            [host([device(1)])], mixed, {'a': ALIASES['a100']}
        )
        self.assertEqual((0, True), (forecast.count, forecast.exact))

    def test_class_without_a_provider(self) -> None:
        forecast = self.forecast(
            [host([device(1)])],
            {'resources:CUSTOM_X': '1'},
            {'a': ALIASES['a100']},
        )
        self.assertIsNone(forecast.count)
        self.assertIsNone(forecast.exact)
        self.assertIn('has inventory of CUSTOM_X', forecast.unknown)

    @ddt.data(
        ({'resources1:VCPU': '3'}, 2, {'VCPU': 2}),
        ({'resources:VCPU': ' +3'}, 2, {'VCPU': 2}),
        ({'resources:VCPU': '-3'}, 3, {'VCPU': 3}),
        ({'resources:FOO': '1'}, 3, {}),
        ({'resources1:VCPU': '1', 'trait1:CUSTOM_N': 'required'}, 0, {}),
        (
            {
                'resources:VCPU': '0',
                'resources:MEMORY_MB': '0',
                'resources:DISK_GB': '0',
            },
            0,
            {'no resource of the compute node is requested': 0},
        ),
    )
    @ddt.unpack
    def test_amounts(
        self, specs: dict[str, str], expected: int, limits: dict[str, int]
    ) -> None:
        alias = dataclasses.replace(ALIASES['a100'], device_type='type-PF')
        cards = [device(number) for number in range(4)]
        forecast = self.forecast([host(cards, vcpus=7)], specs, {'a': alias})
        self.assertEqual((expected, True), (forecast.count, forecast.exact))
        self.assertLessEqual(
            limits.items(), forecast.hosts[0].fit.limits.items()
        )

    def test_group_without_a_trait(self) -> None:
        cards = [device(1, traits=('CUSTOM_OLD',)), device(2)]
        flavor = flavor_model.Flavor(
            'id',
            'f',
            1,
            1,
            1,
            True,
            {f'resources1:{A100}': '1', 'trait1:CUSTOM_OLD': 'forbidden'},
        )
        forecast = capacity.forecast(flavor, [host(cards)], {})
        self.assertEqual((1, True), (forecast.count, forecast.exact))

    def test_forbidden_trait_unknown_to_placement(self) -> None:
        alias = dataclasses.replace(ALIASES['a100'], device_type='type-PF')
        forecast = self.forecast(
            [host([device(1)])], {'trait:CUSTOM_N': 'forbidden'}, {'a': alias}
        )
        self.assertEqual((1, False), (forecast.count, forecast.exact))

    def test_alias_inferred_from_servers(self) -> None:
        alias = alias_model.Alias('a', resource_class=A100)
        forecast = self.forecast(
            [host([device(1)])], {}, {'a': alias}, inferred={'a'}
        )
        self.assertEqual((1, False), (forecast.count, forecast.exact))


class TestStranded(testtools.TestCase):
    def test_devices_stranded_by_memory(self) -> None:
        full = host([device(number) for number in range(4)], memory=8192)
        wanted = demand()
        (stranded,) = capacity.stranded(
            full, [(wanted, capacity.fit(full, wanted))]
        )
        self.assertEqual(
            capacity.Stranded(A100, 4, 3, ('MEMORY_MB',)), stranded
        )

    def test_stranded_without_flavors(self) -> None:
        (stranded,) = capacity.stranded(host([device(1)]), ())
        self.assertEqual(capacity.Stranded(A100, 1, 1, ()), stranded)

    def test_stranded_is_computed_for_the_best_flavor(self) -> None:
        cards = host([device(number) for number in range(4)])
        pair, single = demand('a100:3'), demand()
        stranded = capacity.stranded(
            cards,
            [(each, capacity.fit(cards, each)) for each in (pair, single)],
        )
        self.assertEqual((), stranded)

    def test_largest(self) -> None:
        hosts = [
            host([device(1)]),
            host([device(1), device(2), device(3, A2)]),
            host([device(number) for number in range(9)], closed='down'),
        ]
        self.assertEqual(2, capacity.largest(hosts, ALIASES['a100']))
