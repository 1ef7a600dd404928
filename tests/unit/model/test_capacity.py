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
import functools
import itertools

import ddt
import hypothesis
from hypothesis import strategies
import testtools

from gpuclient import exceptions
from gpuclient.model import alias as alias_model
from gpuclient.model import capacity
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
) -> capacity.Host:
    return capacity.Host(
        inventory.Host(
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


def demand(value: str = 'a100:1', **specs: str) -> capacity.Demand:
    flavor = flavor_model.Flavor(
        'id',
        'f',
        8,
        8192,
        10,
        True,
        {'pci_passthrough:alias': value, **specs},
    )
    return capacity.demand(flavor, ALIASES)


TRAITS = strategies.frozensets(
    strategies.sampled_from(('CUSTOM_X', 'CUSTOM_Y', 'CUSTOM_Z')), max_size=2
)


@ddt.ddt
class TestFit(testtools.TestCase):
    def test_devices_are_short(self) -> None:
        found = capacity.fit(host([device(1), device(2)]), demand())
        self.assertEqual(2, found.count)
        self.assertEqual(('a100',), found.limited_by)
        self.assertEqual(
            {'VCPU': 8, 'MEMORY_MB': 8, 'DISK_GB': 100, 'a100': 2},
            found.limits,
        )

    def test_the_host_is_short(self) -> None:
        cards = [device(number) for number in range(8)]
        found = capacity.fit(host(cards, vcpus=20, memory=20000), demand())
        self.assertEqual(2, found.count)
        self.assertEqual(('VCPU', 'MEMORY_MB'), found.limited_by)

    def test_two_aliases(self) -> None:
        cards = [device(1), device(2), device(3, A2)]
        found = capacity.fit(host(cards), demand('a100:1,a2:1'))
        self.assertEqual((1, ('a2',)), (found.count, found.limited_by))

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
        found = capacity.fit(host(cards), capacity.demand(flavor, aliases))
        self.assertEqual(0, found.count)
        self.assertEqual(('any and best',), found.limited_by)

    @ddt.data(('none', 4), ('isolate', 3))
    @ddt.unpack
    def test_virtual_functions(self, policy: str, expected: int) -> None:
        """Two functions a server: five of one card and three of another."""
        cards = [device(1, free=5), device(2, free=3)]
        wanted = demand('a100:2', group_policy=policy)
        self.assertEqual(expected, capacity.fit(host(cards), wanted).count)

    def test_unsuffixed_class_comes_from_one_device(self) -> None:
        cards = [device(1, free=3), device(2, free=3)]
        wanted = demand('', **{f'resources:{A100}': '2'})
        self.assertEqual(2, capacity.fit(host(cards), wanted).count)

    def test_what_could_not_be_read_counts_as_none(self) -> None:
        found = capacity.fit(host([device(1, free=None)]), demand())
        self.assertEqual(0, found.count)

    def test_unknown_alias(self) -> None:
        self.assertRaises(exceptions.NotFound, demand, 'nosuch:1')

    @ddt.data(
        ({}, ()),
        ({'hw:cpu_policy': 'dedicated'}, ('NUMA nodes',)),
        ({'hw:mem_page_size': 'large'}, ('NUMA nodes', 'huge pages')),
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
    def test_as_trying_out(
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
            capacity.DeviceRequest(str(number), name, frozenset(traits), count)
            for number, (name, traits, count) in enumerate(asked)
        )
        wanted = capacity.Demand({}, requests, isolate=isolate)
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
    def test_as_of_all_sets(
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
            capacity.DeviceRequest(str(number), A100, traits, count)
            for number, (traits, count) in enumerate(asked)
        )
        wanted = capacity.Demand({}, requests, isolate=isolate)
        self.assertEqual(
            of_all_sets(devices, requests, isolate),
            capacity.fit(host(devices), wanted).count,
        )

    @ddt.data((2, False, 3), (1, True, 7))
    @ddt.unpack
    def test_many_aliases(
        self, count: int, isolate: bool, expected: int
    ) -> None:
        """As many as nobody could try all sets of: a million million."""
        traits = [f'CUSTOM_{number}' for number in range(40)]
        devices = [
            device(
                number, A100, 7, (traits[number], traits[(number + 1) % 40])
            )
            for number in range(40)
        ]
        requests = tuple(
            capacity.DeviceRequest(trait, A100, frozenset([trait]), count)
            for trait in traits
        )
        wanted = capacity.Demand({}, requests, isolate=isolate)
        found = capacity.fit(host(devices), wanted)
        self.assertEqual(expected, found.count)


def of_all_sets(
    devices: list[inventory.Device],
    requests: tuple[capacity.DeviceRequest, ...],
    isolate: bool,
) -> int:
    """Return how many servers fit, by Hall's theorem.

    All requests can be met exactly if those of each set of them can, with
    all that any of the set may use.
    """
    sets = [
        (
            sum(request.count for request in chosen),
            [
                one.free or 0
                for one in devices
                if any(request.traits <= set(one.traits) for request in chosen)
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
    requests: tuple[capacity.DeviceRequest, ...],
    isolate: bool,
) -> int:
    """Return how many servers fit, by trying every way to place them."""
    usable = [
        [
            number
            for number, one in enumerate(devices)
            if one.resource_class == request.resource_class
            and request.traits <= set(one.traits)
        ]
        for request in requests
        for _number in range(request.count)
    ]

    @functools.cache
    def most(free: tuple[int, ...]) -> int:
        found = 0
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
            found = max(found, 1 + most(state))
        return found

    return most(tuple(one.free or 0 for one in devices)) if devices else 0


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
        self.assertEqual('', self.refusal({}, project_id='p'))

    def test_closed(self) -> None:
        found = capacity.refusal(host(closed='it is disabled'), demand())
        self.assertEqual('it is disabled', found)

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
        ({'filter_tenant_id': 'p, q'}, {'project_id': 'q'}, ''),
        ({'filter_tenant_id2': 'p'}, {'project_id': 'p'}, ''),
        (
            {'filter_tenant_id': 'p'},
            {'project_id': 'q'},
            'kept for other projects (filter_tenant_id)',
        ),
        (
            {'trait:CUSTOM_A': 'required'},
            {},
            'aggregate gold is for servers with trait CUSTOM_A',
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


class TestStranded(testtools.TestCase):
    def test_memory_strands(self) -> None:
        full = host([device(number) for number in range(4)], memory=8192)
        wanted = demand()
        (found,) = capacity.stranded(
            full, [(wanted, capacity.fit(full, wanted))]
        )
        self.assertEqual(capacity.Stranded(A100, 4, 3, ('MEMORY_MB',)), found)

    def test_no_flavor(self) -> None:
        (found,) = capacity.stranded(host([device(1)]), ())
        self.assertEqual(capacity.Stranded(A100, 1, 1, ()), found)

    def test_the_best_flavor_counts(self) -> None:
        cards = host([device(number) for number in range(4)])
        pair, one = demand('a100:3'), demand()
        found = capacity.stranded(
            cards, [(each, capacity.fit(cards, each)) for each in (pair, one)]
        )
        self.assertEqual((), found)

    def test_largest(self) -> None:
        hosts = [
            host([device(1)]),
            host([device(1), device(2), device(3, A2)]),
            host([device(number) for number in range(9)], closed='down'),
        ]
        self.assertEqual(2, capacity.largest(hosts, ALIASES['a100']))
