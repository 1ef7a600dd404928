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

"""What an upgrade changes for a running cloud."""

import dataclasses
import typing

import ddt
import testtools

from gpuclient.model import cloud_state
from gpuclient.model import configuration
from gpuclient.model import deployment
from gpuclient.model import inventory
from gpuclient.model import limits
from gpuclient.model import release as release_model
from gpuclient.rules import upgrade
from gpuclient.rules import upgrade_cloud
from tests.unit.rules import cloud_states

CLASS = cloud_states.A100
RESOURCE = limits.limit_name(CLASS)
#: As before Nova 34.
TRAITS = ('COMPUTE_MANAGED_PCI_DEVICE',)
DEVICE = cloud_states.device(4, 'gpu-1', traits=TRAITS, consumers=())
USED = dataclasses.replace(
    DEVICE,
    used=1,
    consumers=(inventory.Consumer('server', 1, project_id='p1'),),
)
SERVICE = cloud_state.ComputeService('gpu-1')
DEAD = cloud_state.ComputeService(
    'gpu-1', up=False, seen='2026-01-02T03:04:05.123456'
)
FORCED = cloud_state.ComputeService('gpu-1', up=False, forced_down=True)
CLOUD = cloud_state.CloudState(
    release=release_model.newest(),
    flavors=(),
    computes=(SERVICE,),
    nodes=(cloud_states.node('gpu-1'), cloud_states.node('gpu-2')),
    servers=(),
    limits=limits.UnifiedLimits(),
    projects={'p1': 'demo'},
)
EMPTY = deployment.Deployment()
_PLACE = configuration.Place('nova.conf', 1)


def tree(
    *options: tuple[str, str, str],
    kind: str = configuration.API,
    host: str | None = None,
) -> deployment.Deployment:
    return deployment.Deployment(
        (
            deployment.Process(
                (kind,),
                _PLACE,
                (
                    deployment.Source(
                        _PLACE,
                        tuple(
                            configuration.Option(
                                section,
                                name,
                                configuration.Setting(value, _PLACE),
                            )
                            for section, name, value in options
                        ),
                    ),
                ),
                host=host,
            ),
        )
    )


UNIFIED = (
    ('quota', 'driver', 'nova.quota.UnifiedLimitsDriver'),
    ('filter_scheduler', 'pci_in_placement', 'True'),
)


class UpgradeTestCase(testtools.TestCase):
    def effects(
        self,
        start: str,
        end: str,
        known: deployment.Deployment = EMPTY,
        *,
        devices: tuple[inventory.Device, ...] = (DEVICE,),
        traits: tuple[str, ...] = ('COMPUTE_NODE',),
        microversion: str | None = '2.103',
        **changes: typing.Any,
    ) -> list[tuple[str, str, str, str]]:
        host = cloud_states.host('gpu-1')
        state = dataclasses.replace(
            CLOUD,
            hosts=(
                dataclasses.replace(
                    host,
                    node=dataclasses.replace(host.node, traits=traits),
                    devices=devices,
                ),
            ),
            **changes,
        )
        return [
            (
                str(effect.effect),
                effect.release.series,
                effect.code,
                effect.message,
            )
            for effect in upgrade_cloud.check(
                state,
                release_model.of_microversion(microversion)
                if microversion
                else (),
                known,
                upgrade.path(
                    release_model.parse(start), release_model.parse(end)
                ),
            )
        ]

    def codes(
        self, *arguments: typing.Any, **changes: typing.Any
    ) -> list[tuple[str, str, str]]:
        return [effect[:3] for effect in self.effects(*arguments, **changes)]


class TestClean(UpgradeTestCase):
    def test_clean(self) -> None:
        for start, end in (
            ('zed', '2023.1'),
            ('2023.1', '2026.1'),
            ('2024.1', '2026.2'),
            ('2026.1', '2026.2'),
        ):
            for known in (EMPTY, tree(*UNIFIED)):
                self.assertEqual(
                    [],
                    self.effects(
                        start,
                        end,
                        known,
                        limits=limits.UnifiedLimits({RESOURCE: 0}),
                    ),
                )

    def test_nothing_is_known(self) -> None:
        state = cloud_state.CloudState(release_model.newest())
        steps = upgrade.path(
            release_model.parse('zed'), release_model.parse('2026.2')
        )
        self.assertEqual(
            [], [*upgrade_cloud.check(state, (), tree(*UNIFIED), steps)]
        )


class TestServices(UpgradeTestCase):
    def test_dead_compute_that_would_be_too_old(self) -> None:
        ((effect, release, code, message),) = self.effects(
            '2024.1', '2026.1', computes=(SERVICE, DEAD)
        )
        self.assertEqual(
            ('breaks', '2026.1', 'GPU903'), (effect, release, code)
        )
        self.assertIn(
            'Current Nova version does not support computes older than Epoxy '
            'but the minimum compute service level in your system is 67 and '
            'the oldest supported service level is 68',
            message,
        )
        self.assertIn('upgraded to 2025.1 first', message)

    def test_dead_compute_of_an_earlier_release(self) -> None:
        dead, owner = self.effects('2026.1', '2026.2', computes=(DEAD,))
        self.assertEqual(('check', '2026.2', 'GPU903'), dead[:3])
        self.assertIn('last seen: 2026-01-02T03:04:05)', dead[3])
        self.assertEqual(('check', '2026.2', 'owner-nova'), owner[:3])
        self.assertIn('does not require the trait OWNER_NOVA', owner[3])

    def test_dead_compute_that_every_release_accepts(self) -> None:
        for start, end in (('2023.1', '2023.2'), ('2024.1', '2025.1')):
            self.assertNotIn(
                'breaks',
                {code[0] for code in self.codes(start, end, computes=(DEAD,))},
            )
        self.assertEqual([], self.codes('2025.2', '2026.1', computes=(DEAD,)))

    def test_forced_down(self) -> None:
        ((effect, release, code, message),) = self.effects(
            '2026.1', '2026.2', computes=(SERVICE, FORCED)
        )
        self.assertEqual(
            ('check', '2026.2', 'owner-nova'), (effect, release, code)
        )
        self.assertIn('gpu-1 is forced down', message)
        self.assertIn('2 of its resource providers', message)

    def test_forced_down_with_the_trait(self) -> None:
        traits = ('COMPUTE_NODE', 'OWNER_NOVA')
        self.assertEqual(
            [],
            self.codes(
                '2026.1',
                '2026.2',
                computes=(FORCED,),
                traits=traits,
                devices=(dataclasses.replace(DEVICE, traits=traits),),
                microversion='2.104',
            ),
        )

    def test_forced_down_does_not_keep_nova_from_starting(self) -> None:
        self.assertEqual(
            [], self.codes('2024.1', '2026.1', computes=(FORCED,))
        )

    def test_forced_down_without_devices(self) -> None:
        other = dataclasses.replace(FORCED, host='cpu-1')
        self.assertEqual([], self.codes('2026.1', '2026.2', computes=(other,)))

    def test_later_compute(self) -> None:
        traits = ('COMPUTE_NODE', 'COMPUTE_SOUND_MODEL_ICH9')
        ((effect, release, code, message),) = self.effects(
            '2024.1', '2025.1', traits=traits, microversion='2.96'
        )
        self.assertEqual(
            ('check', '2025.1', 'GPU904'), (effect, release, code)
        )
        self.assertIn('since Nova 32', message)
        self.assertIn('control plane (2024.2)', message)
        for microversion in ('2.100', None):
            self.assertEqual(
                [],
                self.codes(
                    '2024.1',
                    '2025.1',
                    traits=traits,
                    microversion=microversion,
                ),
            )
        self.assertEqual(
            [],
            self.codes(
                'rhoso-18', '2025.1', traits=traits, microversion='2.96'
            ),
        )


@ddt.ddt
class TestLimits(UpgradeTestCase):
    def over(
        self, *of_project: int, default: int = 4, known: typing.Any = None
    ) -> list[tuple[str, str, str, str]]:
        return self.effects(
            '2026.1',
            '2026.2',
            tree(*UNIFIED) if known is None else known,
            devices=(USED,),
            limits=limits.UnifiedLimits(
                {RESOURCE: default},
                {('p1', RESOURCE): of_project[0]} if of_project else {},
            ),
        )

    @ddt.data(([0], 4), ([], 0))
    @ddt.unpack
    def test_over_limit(self, of_project: list[int], default: int) -> None:
        ((effect, release, code, message),) = self.over(
            *of_project, default=default
        )
        self.assertEqual(
            ('breaks', '2026.2', 'limits-count-aliases'),
            (effect, release, code),
        )
        self.assertIn(
            f"Project 'demo' uses 1 of {RESOURCE}, and its limit is 0",
            message,
        )

    @ddt.data(([1], 0), ([-1], 0), ([], -1), ([], 1))
    @ddt.unpack
    def test_within_limit(self, of_project: list[int], default: int) -> None:
        self.assertEqual([], self.over(*of_project, default=default))

    def test_limits_of_one_project(self) -> None:
        """Whether the project has a limit of its own is not known."""
        for only_of, expected in (('p1', 'breaks'), ('p2', 'check')):
            ((effect, _release, _code, message),) = self.effects(
                '2026.1',
                '2026.2',
                tree(*UNIFIED),
                devices=(USED,),
                limits=limits.UnifiedLimits({RESOURCE: 0}, only_of=only_of),
            )
            self.assertEqual(expected, effect)
            self.assertEqual(
                expected == 'check', 'OS_SYSTEM_SCOPE=all' in message
            )

    def test_legacy_driver_runs(self) -> None:
        self.assertEqual(
            [],
            self.effects(
                '2026.1',
                '2026.2',
                tree(*UNIFIED),
                devices=(USED,),
                limits=limits.UnifiedLimits({RESOURCE: 0}, unused='legacy'),
            ),
        )

    def test_limit_of_no_region(self) -> None:
        ((effect, _release, _code, message),) = self.effects(
            '2026.1',
            '2026.2',
            tree(*UNIFIED),
            limits=limits.UnifiedLimits(elsewhere=frozenset({RESOURCE})),
        )
        self.assertEqual('check', effect)
        self.assertIn('which Nova does not read', message)

    def test_unknown_driver(self) -> None:
        ((effect, _release, _code, message),) = self.over(0, known=EMPTY)
        self.assertEqual('check', effect)
        self.assertIn('If nova-api uses unified limits', message)

    def test_other_driver(self) -> None:
        for known in (
            tree(('quota', 'driver', 'nova.quota.DbQuotaDriver')),
            tree(('filter_scheduler', 'pci_in_placement', 'False')),
        ):
            self.assertEqual([], self.over(0, known=known))

    def test_no_step_to_34(self) -> None:
        self.assertEqual(
            [],
            self.codes(
                '2025.1',
                '2026.1',
                tree(*UNIFIED),
                devices=(USED,),
                limits=limits.UnifiedLimits({RESOURCE: 0}),
            ),
        )

    @ddt.data(
        ((), 'check'),
        ((('unified_limits_resource_strategy', 'require'),), 'check'),
        ((('unified_limits_resource_list', f'servers,{RESOURCE}'),), 'breaks'),
        ((('unified_limits_resource_strategy', 'ignore'),), 'breaks'),
        (
            (
                ('unified_limits_resource_strategy', 'ignore'),
                ('unified_limits_resource_list', RESOURCE),
            ),
            'check',
        ),
    )
    @ddt.unpack
    def test_no_registered_limit(
        self, options: tuple[tuple[str, str], ...], expected: str
    ) -> None:
        """``nova/limit/utils.py:should_enforce``"""
        known = tree(
            *UNIFIED, *(('quota', name, value) for name, value in options)
        )
        ((effect, _release, code, message),) = self.effects(
            '2026.1', '2026.2', known
        )
        self.assertEqual((expected, 'limits-count-aliases'), (effect, code))
        self.assertIn(RESOURCE, message)
        self.assertIn('403' if expected == 'breaks' else 'as before', message)

    def test_no_limit_at_all(self) -> None:
        self.assertEqual([], self.codes('2026.1', '2026.2'))


class TestPlacement(UpgradeTestCase):
    def test_host_that_reports_no_device(self) -> None:
        ((effect, release, code, message),) = self.effects(
            '2025.1',
            '2026.1',
            servers=(cloud_states.server('vm', host='gpu-2'),),
        )
        self.assertEqual(
            ('check', '2026.1', 'GPU663'), (effect, release, code)
        )
        self.assertIn('gpu-2 reports no PCI device', message)

    def test_pci_in_placement_begins(self) -> None:
        for configured, effect, code in (
            (cloud_state.Configured(True), 'breaks', 'GPU664'),
            (cloud_state.Configured(None), 'check', 'GPU663'),
            (None, 'check', 'GPU663'),
        ):
            self.assertEqual(
                [(effect, '2023.1', code)],
                self.codes(
                    'zed',
                    '2024.1',
                    servers=(cloud_states.server('vm', host='gpu-2'),),
                    configured=configured,
                ),
            )

    def test_no_host_reports(self) -> None:
        """Nova may schedule devices without Placement."""
        servers = (cloud_states.server('vm', host='gpu-2'),)
        for configured, expected in (
            (None, []),
            (
                cloud_state.Configured(True),
                [('check', '2026.1', 'GPU664')],
            ),
        ):
            self.assertEqual(
                expected,
                self.codes(
                    '2025.1',
                    '2026.1',
                    servers=servers,
                    configured=configured,
                    devices=(),
                ),
            )

    def test_reserved_device_in_use(self) -> None:
        devices = (dataclasses.replace(USED, reserved=1),)
        ((effect, release, code, message),) = self.effects(
            '2025.1', '2025.2', devices=devices
        )
        self.assertEqual(
            ('possible', '2025.2', 'over-capacity-changes'),
            (effect, release, code),
        )
        self.assertIn('0000:04:00.0 on gpu-1 is in use', message)
        self.assertEqual([], self.codes('2025.2', '2026.1', devices=devices))
        self.assertEqual(
            [], self.codes('2025.1', '2025.2', devices=(USED, DEVICE))
        )

    def test_wide_trees(self) -> None:
        devices = tuple(
            dataclasses.replace(DEVICE, uuid=f'rp-{number}')
            for number in range(8)
        )
        flavors = (cloud_states.flavor('gpu.8', 'a:8'),)
        self.assertEqual(
            [
                ('possible', '2024.1', 'candidates-bounded'),
                ('possible', '2025.1', 'wide-trees'),
            ],
            self.codes('2023.1', '2025.1', devices=devices, flavors=flavors),
        )
        self.assertEqual(
            [('ends', '2025.2', 'wide-trees')],
            self.codes('2025.1', '2025.2', devices=devices, flavors=flavors),
        )
        self.assertEqual(
            [],
            self.codes(
                '2023.1', '2026.1', devices=devices[1:], flavors=flavors
            ),
        )
        self.assertEqual([], self.codes('2023.1', '2026.1', devices=devices))
