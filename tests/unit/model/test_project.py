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

"""Plans of what projects may use."""

import dataclasses

import testtools

from gpuclient import exceptions
from gpuclient.model import capacity
from gpuclient.model import flavor as flavor_model
from gpuclient.model import project

Kind = project.Kind
SCOPE = project.Scope('nova', 'RegionOne')
GPU = 'class:CUSTOM_PCI_10DE_20F1'
FLAVOR = flavor_model.Flavor('f1', 'gpu.1', 1, 1, 1, False)
AGGREGATE = capacity.Aggregate(
    'gpus', frozenset(), {'filter_tenant_id': 'p2, p3', 'a': 'p1'}, id=7
)


def registered(
    name: str, default: int, region: str | None = 'RegionOne', number: int = 1
) -> project.RegisteredLimit:
    return project.RegisteredLimit(
        f'r{number}-{name}', name, default, 'nova', region
    )


def limit(
    name: str, value: int, owner: str = 'p1', number: int = 1
) -> project.Limit:
    return project.Limit(f'l{number}', owner, name, value, 'nova', 'RegionOne')


def state(**changes: object) -> project.CloudState:
    empty = project.CloudState(
        {'f1': FLAVOR}, {'f1': frozenset()}, scope=SCOPE
    )
    return dataclasses.replace(empty, **changes)


class TestPlan(testtools.TestCase):
    def plan(
        self, desired: project.Desired, now: project.CloudState
    ) -> list[str]:
        return [
            str(step)
            for step in (
                *project.plan_registered(
                    [desired], now, frozenset({'CUSTOM_PCI_10DE_20F1'})
                ),
                *project.plan_project(desired, now),
            )
            if step.is_change
        ]

    def test_limits_before_access(self) -> None:
        desired = project.Desired(
            'p1',
            'research',
            access={'f1': True},
            limits={GPU: 2, 'servers': 8, 'class:PCPU': 4},
            quotas={'cores': 9},
            server_groups={'ring': 'affinity'},
            aggregates={'7': True},
        )
        self.assertEqual(
            [
                f'registered limit {GPU}: not set -> 0',
                'registered limit servers: not set -> 0',
                'registered limit class:PCPU: not set -> -1',
                f'limit {GPU}: not set -> 2',
                'limit servers: not set -> 8',
                'limit class:PCPU: not set -> 4',
                'quota cores: not set -> 9',
                'add aggregate gpus',
                'create server group ring (affinity)',
                'add flavor access gpu.1',
            ],
            self.plan(desired, state(aggregates=(AGGREGATE,))),
        )

    def test_access_before_limits(self) -> None:
        desired = project.Desired(
            'p2',
            'research',
            access={'f1': False},
            limits={GPU: None},
            server_groups={'ring': None},
            aggregates={'7': False},
        )
        now = state(
            access={'f1': frozenset({'p2'})},
            registered=(registered(GPU, 0),),
            limits=(limit(GPU, 2, 'p2'),),
            aggregates=(AGGREGATE,),
            server_groups=(
                project.ServerGroup('g', 'p2', 'ring', 'affinity'),
            ),
        )
        self.assertEqual(
            [
                'remove flavor access gpu.1',
                f'limit {GPU}: 2 -> not set',
                'remove aggregate gpus',
                'delete server group ring',
            ],
            self.plan(desired, now),
        )

    def test_nothing_to_do(self) -> None:
        desired = project.Desired(
            'p1', 'a', access={'f1': True}, limits={GPU: 2}
        )
        now = state(
            access={'f1': frozenset({'p1'})},
            # An existing default stays as it is.
            registered=(registered(GPU, 5), registered(GPU, 0, None)),
            limits=(limit(GPU, 2), limit(GPU, 9, 'p2')),
        )
        self.assertEqual([], self.plan(desired, now))
        # Limits of another region are none of Nova's.
        elsewhere = dataclasses.replace(
            now, scope=project.Scope('nova', 'RegionTwo')
        )
        self.assertEqual(
            [
                f'registered limit {GPU}: not set -> 0',
                f'limit {GPU}: not set -> 2',
            ],
            self.plan(desired, elsewhere),
        )

    def test_default_that_is_not_0(self) -> None:
        """A project that must not use devices keeps a limit of 0."""
        now = state(
            registered=(
                registered(GPU, 4),
                registered('class:PCPU', 4),
                registered('servers', 4),
            ),
            limits=(
                limit(GPU, 2),
                limit('class:PCPU', 2, number=2),
                limit('servers', 2, number=3),
            ),
        )
        desired = project.Desired(
            'p1', 'a', limits={GPU: None, 'class:PCPU': None, 'servers': None}
        )
        self.assertEqual(
            [
                f'limit {GPU}: 2 -> 0',
                'limit class:PCPU: 2 -> not set',
                'limit servers: 2 -> not set',
            ],
            self.plan(desired, now),
        )

    def test_effective_limits(self) -> None:
        now = state(
            registered=(registered(GPU, 3), registered('class:PCPU', -1)),
            limits=(limit(GPU, 0),),
        )
        for owner, name, value in (
            ('p1', GPU, 0),
            ('p2', GPU, 3),
            ('p1', 'class:PCPU', None),
            ('p1', 'class:VCPU', None),
            ('p1', 'servers', 0),
        ):
            self.assertEqual(value, now.effective_limit(owner, name), name)

    def test_limits_before_31(self) -> None:
        """Nova enforces 0 for what is not registered, and -1 as a number."""
        now = state(
            registered=(registered('class:PCPU', -1),), ignores_unset=False
        )
        for name, value in (
            (GPU, None),
            ('class:PCPU', -1),
            ('class:VCPU', 0),
            ('servers', 0),
        ):
            self.assertEqual(value, now.effective_limit('p1', name), name)
        desired = project.Desired('p1', 'a', limits={'class:VCPU': 4})
        self.assertEqual(
            [
                'registered limit class:VCPU: not set -> 0',
                'limit class:VCPU: not set -> 4',
            ],
            self.plan(desired, now),
        )

    def test_duplicates(self) -> None:
        now = state(
            registered=(registered(GPU, 0), registered(GPU, 0, number=2)),
            limits=(limit(GPU, 2), limit(GPU, 3, number=2), limit('a', 1)),
            server_groups=tuple(
                project.ServerGroup(f'g{members}', 'p1', 'ring', 'x', members)
                for members in (0, 2)
            ),
        )
        self.assertEqual(
            ['l2'], [each.id for each in project.duplicates(now, {'p1'})]
        )
        self.assertEqual((), project.duplicates(now, {'p2'}))
        self.assertEqual(
            [[f'r1-{GPU}', f'r2-{GPU}']],
            [
                [each.id for each in same]
                for same in project.registered_twice(now)
            ],
        )
        self.assertEqual((), project.registered_twice(now, {'servers'}))
        self.assertEqual(
            ['g0'],
            [each.id for each in project.duplicate_groups(now, {'p1'})],
        )

    def test_keys_of_aggregates(self) -> None:
        for owner, reserved, changes in (
            ('p1', True, {'filter_tenant_id_p1': 'p1'}),
            ('p2', True, {}),
            ('p2', False, {'filter_tenant_id': 'p3'}),
            ('p1', False, {}),
        ):
            self.assertEqual(
                changes, project.tenant_keys(AGGREGATE, owner, reserved)
            )
        alone = dataclasses.replace(
            AGGREGATE, metadata={'filter_tenant_id_p1': 'p1'}
        )
        self.assertEqual(
            {'filter_tenant_id_p1': None},
            project.tenant_keys(alone, 'p1', False),
        )


class TestNames(testtools.TestCase):
    def test_limits(self) -> None:
        for text, name in (
            ('servers', 'servers'),
            ('server_key_pairs', 'server_key_pairs'),
            ('CUSTOM_A', 'class:CUSTOM_A'),
            ('class:CUSTOM_A', 'class:CUSTOM_A'),
            ('PCPU', 'class:PCPU'),
            ('nvidia_a100', None),
        ):
            self.assertEqual(name, project.limit_name(text))
        self.assertRaises(
            exceptions.InvalidValue, project.limit_name, 'class:gpu'
        )

    def test_ids(self) -> None:
        for text in (
            '3f1d0a6c5b7e4c2f9a8d1e6b0c7f2a45',
            '3f1d0a6c-5b7e-4c2f-9a8d-1e6b0c7f2a45',
        ):
            self.assertTrue(project.is_id(text))
        for text in (
            'research',
            '3f1d0a6c',
            '3F1D0A6C5B7E4C2F9A8D1E6B0C7F2A4',
        ):
            self.assertFalse(project.is_id(text))


LEGACY = {
    'instances': 10,
    'cores': 20,
    'ram': 51200,
    'key_pairs': 100,
    'metadata_items': 128,
    'server_groups': 10,
    'server_group_members': 10,
    'fixed_ips': -1,
}


class TestDriver(testtools.TestCase):
    def detect(
        self,
        defaults: dict[str, int],
        *limits: project.RegisteredLimit,
    ) -> tuple[str, list[str | None]]:
        driver, scopes = project.detect_driver(defaults, limits, {'nova'})
        return str(driver), [scope.region_id for scope in scopes]

    def test_drivers(self) -> None:
        zero = dict.fromkeys(LEGACY, 0)
        limits = (registered('servers', 5), registered('class:VCPU', 9))
        for expected, defaults, registered_limits in (
            (('legacy', []), LEGACY, ()),
            (('legacy', []), LEGACY, limits),
            (('none', []), dict.fromkeys(LEGACY, -1), ()),
            (('unified', []), zero, ()),
            (
                ('unified', ['RegionOne']),
                {**zero, 'instances': 5, 'cores': 9},
                limits,
            ),
            (
                ('unified', ['RegionTwo']),
                {**zero, 'instances': 5},
                (
                    registered('servers', 6),
                    registered('servers', 5, 'RegionTwo'),
                ),
            ),
            (('unknown', []), {}, limits),
        ):
            self.assertEqual(
                expected, self.detect(defaults, *registered_limits)
            )


class TestOptions(testtools.TestCase):
    def test_limit(self) -> None:
        self.assertEqual(
            ('class:PCPU', 3), project.parse_limit('class:PCPU=3')
        )
        self.assertEqual(('servers', -1), project.parse_limit('servers=-1'))
        for text in ('servers', '=3', 'servers=', 'servers=-2', 'servers=٣'):
            error = self.assertRaises(
                exceptions.InvalidValue, project.parse_limit, text
            )
            self.assertIn('is not NAME=N, a limit and a number', str(error))
        error = self.assertRaises(
            exceptions.InvalidValue, project.parse_limit, 'servers=2147483648'
        )
        self.assertIn('Keystone takes -1', str(error))

    def test_quota(self) -> None:
        """A message about a quota shows how to set a quota."""
        self.assertEqual(64, project.parse_quota('cores', '64'))
        self.assertEqual(-1, project.parse_quota('cores', '-1'))
        for name, number, message in (
            ('cores', '-2', "Quota cores is '-2': use a number of 0 or more"),
            ('cores', '-2', '--quota cores=64'),
            ('ram', '٣', 'Quota ram is'),
            ('ram', '2147483648', 'Quota ram is 2147483648: Nova takes -1'),
            ('gpus', '1', '--quota gpus is none of cores, instances, ram'),
        ):
            error = self.assertRaises(
                exceptions.InvalidValue, project.parse_quota, name, number
            )
            self.assertIn(message, str(error))

    def test_new_limits(self) -> None:
        desired = project.Desired(
            'p1', 'p', limits={GPU: 2, 'servers': 3, 'class:PCPU': None}
        )
        self.assertEqual(
            {'servers': 3},
            project.new_limits(
                desired, state(limits=(limit(GPU, 2), limit('servers', 2)))
            ),
        )
