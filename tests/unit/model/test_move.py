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

from gpuclient.model import alias as alias_model
from gpuclient.model import assignment
from gpuclient.model import capacity
from gpuclient.model import demand as demand_model
from gpuclient.model import move
from gpuclient.model import release as release_model
from tests.unit.model import test_explanation

NEWEST = release_model.newest()


def codes(
    kind: str,
    *,
    status: str = 'ACTIVE',
    task_state: str | None = None,
    source: capacity.HostCapacity | None = None,
    alias: alias_model.Alias | None = None,
    release: release_model.Release = NEWEST,
    **wanted: typing.Any,
) -> list[tuple[str, bool]]:
    current = test_explanation.flavor()
    flavor = test_explanation.flavor()
    if wanted:
        flavor = flavor.__class__(**{**vars(flavor), **wanted})
    return [
        (cause.code, cause.proved)
        for cause in move.blockers(
            move.Move(
                move.MoveKind(kind),
                status,
                task_state,
                current,
                flavor,
                source or test_explanation.host('a', 1),
                False,
            ),
            {'h100': alias} if alias else {},
            (),
            release,
        )
    ]


class TestBlockers(testtools.TestCase):
    def test_none(self) -> None:
        self.assertEqual([], codes('migrate'))
        self.assertEqual([], codes('resize', name='other', disk=10))

    def test_states(self) -> None:
        self.assertEqual([('GPU920', True)], codes('migrate', status='PAUSED'))
        self.assertEqual(
            [('GPU920', True)], codes('migrate', task_state='resize_prep')
        )

    def test_source(self) -> None:
        down = test_explanation.host('a', 1, down='nova-compute is down')
        self.assertEqual([('GPU921', True)], codes('evacuate'))
        self.assertEqual([], codes('evacuate', source=down, status='ERROR'))
        self.assertEqual([('GPU922', True)], codes('migrate', source=down))

    def test_reserved(self) -> None:
        """Placement 13 refuses to change the allocations of the server."""
        for release, expected in (
            ('2025.1', [('GPU618', True)]),
            ('rhoso-18', [('GPU618', False)]),
            ('2026.2', []),
        ):
            flavor = test_explanation.flavor()
            blockers = move.blockers(
                move.Move(
                    move.MoveKind.MIGRATE,
                    'ACTIVE',
                    None,
                    flavor,
                    flavor,
                    test_explanation.host('a', 1),
                    False,
                    ('0000:04:00.0',),
                ),
                {},
                (),
                release_model.parse(release),
            )
            self.assertEqual(
                expected, [(cause.code, cause.proved) for cause in blockers]
            )

    def test_flavor(self) -> None:
        self.assertEqual([('GPU923', True)], codes('resize'))
        self.assertEqual(
            [('GPU923', True)], codes('resize', name='other', disk=9)
        )

    def test_live_migration(self) -> None:
        alias = alias_model.Alias('h100', vendor_id='10de', product_id='2330')
        self.assertEqual([('GPU924', False)], codes('live-migrate'))
        self.assertEqual(
            [('GPU924', True)], codes('live-migrate', alias=alias)
        )
        alias = alias_model.Alias('h100', live_migratable=True)
        self.assertEqual([], codes('live-migrate', alias=alias))
        self.assertEqual(
            [('GPU924', True)],
            codes(
                'live-migrate',
                alias=alias,
                release=release_model.parse('2024.2'),
            ),
        )


class TestDangers(testtools.TestCase):
    def test_another_device(self) -> None:
        hosts = (
            test_explanation.host('one', 1),
            test_explanation.host('two', 2),
            test_explanation.host('used', 2, used=1),
        )
        (cause,) = move.dangers(move.MoveKind.MIGRATE, hosts, demand(1))
        self.assertEqual(
            ('GPU925', False, ('two',)),
            (cause.code, cause.proved, cause.hosts),
        )
        self.assertEqual(
            [], list(move.dangers(move.MoveKind.MIGRATE, hosts, demand(2)))
        )
        self.assertEqual(
            [],
            list(move.dangers(move.MoveKind.LIVE_MIGRATE, hosts, demand(1))),
        )


def demand(cards: int, memory: int = 1024) -> demand_model.Demand:
    return demand_model.Demand(
        {'VCPU': 1, 'MEMORY_MB': memory},
        (
            demand_model.DeviceRequest(
                'h100', test_explanation.H100, count=cards, by_alias=True
            ),
        ),
    )


class TestAssignment(testtools.TestCase):
    def test_goes_back(self) -> None:
        small, large = (
            test_explanation.host('small', 1),
            test_explanation.host('large', 2),
        )
        found = assignment.assign(
            [
                assignment.Candidate('one', demand(1), (large, small)),
                assignment.Candidate('two', demand(2), (large,)),
            ]
        )
        self.assertTrue(found.complete)
        self.assertEqual(
            {'one': 'small', 'two': 'large'},
            {key: host.node.name for key, host in found.hosts.items()},
        )

    def test_memory(self) -> None:
        host = test_explanation.host('a', 4, memory=4096)
        candidates = [
            assignment.Candidate(key, demand(1, 3000), (host,)) for key in 'ab'
        ]
        found = assignment.assign(candidates)
        self.assertFalse(found.complete)
        self.assertEqual(1, len(found.hosts))

    @hypothesis.settings(max_examples=60, deadline=None)
    @hypothesis.given(
        strategies.lists(strategies.integers(1, 3), min_size=1, max_size=4),
        strategies.lists(strategies.integers(1, 4), min_size=1, max_size=3),
    )
    def test_brute_force(self, wanted: list[int], cards: list[int]) -> None:
        hosts = [
            test_explanation.host(str(number), count)
            for number, count in enumerate(cards)
        ]
        found = assignment.assign(
            [
                assignment.Candidate(
                    str(number),
                    demand(count),
                    tuple(
                        host for host in hosts if len(host.devices) >= count
                    ),
                )
                for number, count in enumerate(wanted)
            ]
        )
        possible = any(
            all(
                sum(
                    count
                    for count, place in zip(wanted, chosen, strict=True)
                    if place == number
                )
                <= most
                for number, most in enumerate(cards)
            )
            for chosen in itertools.product(
                range(len(cards)), repeat=len(wanted)
            )
        )
        self.assertEqual(possible, found.complete)
