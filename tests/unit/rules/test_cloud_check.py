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

"""Every check fires where it should, and is silent on a healthy cloud."""

import dataclasses

import testtools

from gpuclient.model import alias as alias_model
from gpuclient.model import cloud_state
from gpuclient.model import inventory
from gpuclient.model import limits
from gpuclient.model import release
from gpuclient.operations import gpu_check
from gpuclient.rules import check_result
from gpuclient.rules import cloud_aliases
from gpuclient.rules import cloud_capacity
from gpuclient.rules import cloud_check
from gpuclient.rules import cloud_flavors
from gpuclient.rules import cloud_leaks
from gpuclient.rules import cloud_limits
from gpuclient.rules import cloud_owners
from gpuclient.rules import cloud_services
from gpuclient.rules import cloud_tracking

from tests.unit.rules import cloud_states
from tests.unit.rules.cloud_states import codes
from tests.unit.rules.cloud_states import healthy
from tests.unit.rules.cloud_states import skipped

CLASS = cloud_states.A100
LIMIT = f'class:{CLASS}'


class TestRun(testtools.TestCase):
    def test_healthy(self) -> None:
        rows = list(cloud_check.run(gpu_check.CLOUD_CHECKS, healthy()))
        self.assertEqual(
            [],
            [row for row in rows if row.code],
        )
        self.assertEqual(
            ['limit usage', 'limits'],
            [
                row.check
                for row in rows
                if row.result is check_result.Result.SKIPPED
            ],
        )

    def test_what_was_not_read_is_skipped(self) -> None:
        state = cloud_state.CloudState(
            release.newest(), reasons={'hosts': 'HTTP 403', 'nodes': 'no'}
        )
        for row in cloud_check.run(gpu_check.CLOUD_CHECKS, state):
            self.assertIs(check_result.Result.SKIPPED, row.result)
            self.assertIsNone(row.code)
            self.assertNotEqual('', row.message)
            self.assertIsNone(row.severity)


class TestServices(testtools.TestCase):
    def test_control_plane(self) -> None:
        rule = cloud_services.check_control_plane
        self.assertEqual([], codes(rule, healthy()))
        services = [
            dataclasses.replace(service, up=False)
            for service in healthy().services
        ]
        self.assertEqual(
            ['GPU662 nova-conductor', 'GPU662 nova-scheduler'],
            codes(rule, healthy(services=services)),
        )

    def test_computes(self) -> None:
        rule = cloud_services.check_computes
        node = cloud_states.node
        self.assertEqual(
            ['GPU660 gpu-1', 'GPU661 gpu-2'],
            codes(
                rule,
                healthy(
                    nodes=(
                        node('gpu-1', up=False, enabled=False),
                        node('gpu-2', enabled=False, disabled_reason='fan'),
                        # Not hosts of devices.
                        node('cpu-1', up=False),
                        node('cpu-2', enabled=False),
                    )
                ),
            ),
        )

    def test_forced_down(self) -> None:
        """The log of a service that is forced down tells nothing."""
        (outcome,) = cloud_services.check_computes(
            healthy(
                nodes=(
                    cloud_states.node('gpu-1', up=False, service_host='gpu-1'),
                ),
                computes=(
                    cloud_state.ComputeService(
                        'gpu-1', up=False, forced_down=True
                    ),
                ),
            )
        )
        assert isinstance(outcome, cloud_check.CloudFinding)
        self.assertEqual('GPU660', outcome.finding.code)
        self.assertIn('service set --up gpu-1', outcome.finding.message)
        self.assertNotIn('log', outcome.finding.message)

    def test_a_configured_host_is_down(self) -> None:
        self.assertEqual(
            ['GPU660 gpu-3'],
            codes(
                cloud_services.check_computes,
                healthy(
                    nodes=(cloud_states.node('gpu-3', up=False),),
                    configured=cloud_state.Configured(
                        hosts_with_specs=frozenset({'gpu-3'})
                    ),
                ),
            ),
        )


class TestTracking(testtools.TestCase):
    rule = staticmethod(cloud_tracking.check)

    def test_server_on_a_silent_host(self) -> None:
        servers = (cloud_states.server('s', 'cpu-1'),)
        self.assertEqual(
            ['GPU663 cpu-1'], codes(self.rule, healthy(servers=servers))
        )
        required = cloud_state.Configured(pci_in_placement=True)
        self.assertEqual(
            ['GPU664 cpu-1'],
            codes(self.rule, healthy(servers=servers, configured=required)),
        )
        for status in ('ERROR', 'BUILD', 'SHELVED_OFFLOADED'):
            servers = (cloud_states.server('s', 'cpu-1', status=status),)
            self.assertEqual([], codes(self.rule, healthy(servers=servers)))

    def test_configured_host(self) -> None:
        configured = cloud_state.Configured(
            True, frozenset({'gpu-1', 'cpu-1'})
        )
        self.assertEqual(
            ['GPU664 cpu-1'],
            codes(self.rule, healthy(configured=configured)),
        )

    def test_bundle(self) -> None:
        for number, expected in ((0, []), (2, ['GPU663 cpu-1'])):
            configured = cloud_state.Configured(
                passed_through={'cpu-1': number, 'gpu-1': 2}
            )
            self.assertEqual(
                expected, codes(self.rule, healthy(configured=configured))
            )

    def test_no_host_reports(self) -> None:
        self.assertEqual(['GPU663'], codes(self.rule, healthy(hosts=())))
        required = cloud_state.Configured(pci_in_placement=True)
        self.assertEqual(
            ['GPU664'],
            codes(self.rule, healthy(hosts=(), configured=required)),
        )
        self.assertEqual(
            [], codes(self.rule, healthy(hosts=(), flavors=(), servers=()))
        )


class TestAliases(testtools.TestCase):
    def test_answers(self) -> None:
        rule = cloud_aliases.check_nova_api
        answer = cloud_state.AliasAnswer
        absent = cloud_states.ABSENT
        for answers, expected in (
            ((cloud_states.DEFINED,), []),
            ((absent,), ['GPU707 a100']),
            ((cloud_states.DEFINED, absent), ['GPU665 a100']),
            ((answer('broken', 'bad JSON'),), ['GPU666']),
            ((cloud_states.DEFINED, answer('unknown', '503')), []),
        ):
            state = healthy(answers={'a100': answers})
            self.assertEqual(expected, codes(rule, state))
            self.assertEqual([], skipped(rule, state))
        state = healthy(answers={'a100': (answer('unknown', 'HTTP 503'),)})
        self.assertEqual([], codes(rule, state))
        self.assertIn('HTTP 503', skipped(rule, state)[0])

    def test_devices(self) -> None:
        rule = cloud_aliases.check_devices
        self.assertEqual([], codes(rule, healthy()))
        for changes, expected in (
            ({'product_id': '2330'}, ['GPU667 a100']),
            ({'resource_class': 'gpu'}, ['GPU667 a100']),
            ({'traits': 'CUSTOM_NVLINK'}, ['GPU667 a100']),
            ({'traits': 'OWNER_NOVA'}, []),
        ):
            alias = dataclasses.replace(cloud_states.ALIAS, **changes)
            self.assertEqual(
                expected, codes(rule, healthy(aliases={'a100': alias}))
            )

    def test_virtual_functions(self) -> None:
        rule = cloud_aliases.check_devices
        hosts = (cloud_states.host('gpu-1', total=4),)
        for kind, expected in (
            ('type-PF', ['GPU668 a100']),
            ('type-PCI', ['GPU668 a100']),
            ('type-VF', []),
            # It matches all but physical functions.
            (None, []),
        ):
            alias = dataclasses.replace(cloud_states.ALIAS, device_type=kind)
            state = healthy(hosts=hosts, aliases={'a100': alias})
            self.assertEqual(expected, codes(rule, state))
            state = dataclasses.replace(state, inferred=frozenset({'a100'}))
            self.assertEqual([], codes(rule, state))

    def test_unknown_definition(self) -> None:
        rule = cloud_aliases.check_devices
        state = healthy(aliases={})
        self.assertEqual([], codes(rule, state))
        self.assertIn('--config', skipped(rule, state)[0])
        # nova-api does not know it either, which is another finding.
        state = healthy(aliases={}, answers={'a100': (cloud_states.ABSENT,)})
        self.assertEqual([], skipped(rule, state))


class TestFlavors(testtools.TestCase):
    def test_requests(self) -> None:
        rule = cloud_flavors.check
        flavor = cloud_states.flavor
        for changed, expected in (
            (flavor(), []),
            (flavor(request='a100:0'), ['GPU701 gpu.1']),
            (flavor(request='a100'), ['GPU702 gpu.1']),
            (
                flavor(extra_specs={f'resources:{CLASS}': '1'}),
                ['GPU703 gpu.1'],
            ),
            (
                flavor(
                    request=None, extra_specs={'pci_passthrough:spec': 'x'}
                ),
                ['GPU705 gpu.1'],
            ),
        ):
            self.assertEqual(
                expected, codes(rule, healthy(flavors=(changed,)))
            )

    def test_traits(self) -> None:
        rule = cloud_flavors.check
        key = 'trait:CUSTOM_FAST'
        required = cloud_states.flavor(extra_specs={key: 'required'})
        host = cloud_states.host('gpu-1')
        with_trait = dataclasses.replace(
            host,
            node=dataclasses.replace(host.node, traits=('CUSTOM_FAST',)),
        )
        without_disk = dataclasses.replace(
            host,
            node=dataclasses.replace(
                host.node, resources=host.node.resources[:2]
            ),
        )
        forbidden = cloud_states.flavor(extra_specs={key: 'forbidden'})
        of_group = cloud_states.flavor(
            extra_specs={'trait1:CUSTOM_FAST': 'required'}
        )
        other = cloud_states.flavor(
            extra_specs={key: 'required', 'resources:VGPU': '1'}
        )
        for flavor, hosts, expected in (
            (required, (host,), ['GPU678 gpu.1']),
            (required, (host, with_trait), []),
            (
                required,
                (cloud_states.host('gpu-1', traits=('CUSTOM_FAST',)),),
                [],
            ),
            # Another provider may have it.
            (required, (without_disk,), []),
            (other, (host,), []),
            # Hosts are not known.
            (required, None, []),
            (forbidden, (host,), []),
            (of_group, (host,), []),
        ):
            state = healthy(flavors=(flavor,), hosts=hosts)
            self.assertEqual(
                expected,
                [code for code in codes(rule, state) if '678' in code],
            )

    def test_validation(self) -> None:
        rule = cloud_flavors.check_validation
        for specs, expected in (
            ({}, []),
            ({'hw:maxphysaddr_mode': 'emulate'}, []),
            ({'hw:cpu_policy': 'dedicated', 'own:key': 'x', 'key': 'y'}, []),
            ({'hw:machine_type': 'q35'}, ['GPU760 gpu.1']),
            ({'hw:cpu_policy': 'dedicate'}, ['GPU760 gpu.1']),
        ):
            flavors = (cloud_states.flavor(extra_specs=specs),)
            self.assertEqual(expected, codes(rule, healthy(flavors=flavors)))
        plain = cloud_states.flavor(
            'cpu', None, extra_specs={'hw:machine_type': 'q35'}
        )
        self.assertEqual([], codes(rule, healthy(flavors=(plain,))))

    def test_access(self) -> None:
        rule = cloud_flavors.check_access
        public = (cloud_states.flavor(is_public=True),)
        for changes, expected in (
            ({}, ['GPU761 gpu.1']),
            ({'limits': None}, []),
            (
                {'limits': limits.UnifiedLimits({'servers': 9})},
                ['GPU761 gpu.1'],
            ),
            ({'limits': limits.UnifiedLimits({LIMIT: 0})}, []),
            (
                {
                    'limits': limits.UnifiedLimits({LIMIT: 0}),
                    'release': release.parse('2025.1'),
                },
                ['GPU761 gpu.1'],
            ),
        ):
            self.assertEqual(
                expected, codes(rule, healthy(flavors=public, **changes))
            )
        self.assertEqual([], codes(rule, healthy()))


class TestLimits(testtools.TestCase):
    def test_registered(self) -> None:
        rule = cloud_limits.check
        for registered, elsewhere, number, expected in (
            ({'servers': 9, LIMIT: 0}, (), 34, []),
            ({'servers': 9}, (), 34, [f'GPU675 {CLASS}']),
            ({'servers': 9}, (LIMIT,), 34, [f'GPU675 {CLASS}']),
            ({'servers': 9, LIMIT: 0}, (), 33, ['GPU801']),
        ):
            state = healthy(
                limits=limits.UnifiedLimits(
                    registered, elsewhere=frozenset(elsewhere)
                ),
                release=release.parse(str(number)),
            )
            self.assertEqual(expected, codes(rule, state))
        state = healthy()
        self.assertEqual([], codes(rule, state))
        self.assertIn('not in use', skipped(rule, state)[0])
        state = healthy(
            limits=limits.UnifiedLimits({'servers': 9}), flavors=()
        )
        self.assertEqual([], [*rule(state)])

    def test_usage(self) -> None:
        rule = cloud_limits.check_usage
        servers = (
            cloud_states.server('a'),
            cloud_states.server('b', request='a100:2'),
            cloud_states.server('c', status='ERROR'),
            cloud_states.server('d', None),
        )
        for default, own, expected in (
            (3, None, []),
            (-1, None, []),
            (2, None, ['GPU676 project']),
            (0, 3, []),
            (9, 2, ['GPU676 project']),
            (0, -1, []),
        ):
            by_project = {} if own is None else {('project', LIMIT): own}
            state = healthy(
                limits=limits.UnifiedLimits({LIMIT: default}, by_project),
                servers=servers,
            )
            self.assertEqual(expected, codes(rule, state))
        state = healthy(
            limits=limits.UnifiedLimits({LIMIT: 1}),
            servers=servers,
            resized=frozenset({'id-b', 'id-other'}),
            projects={'project': 'research'},
        )
        (found,) = rule(state)
        self.assertEqual(
            ('GPU677', 'research'), (found.finding.code, found.object)
        )
        self.assertIn('as were b.', found.finding.message)


class TestCapacity(testtools.TestCase):
    def test_ratios(self) -> None:
        rule = cloud_capacity.check_ratios
        self.assertEqual([], codes(rule, healthy()))
        for memory, expected in (
            (262144, []),
            (261632, []),
            (393216, ['GPU669 gpu-1']),
        ):
            hosts = (cloud_states.host('gpu-1', memory=memory),)
            self.assertEqual(expected, codes(rule, healthy(hosts=hosts)))

    def test_candidates(self) -> None:
        rule = cloud_capacity.check_candidates
        for devices, count, expected in (
            (8, 4, []),
            (7, 5, []),
            (8, 5, ['GPU670 gpu.1']),
        ):
            state = healthy(
                hosts=(cloud_states.host('gpu-1', devices),),
                flavors=(cloud_states.flavor(request=f'a100:{count}'),),
            )
            self.assertEqual(expected, codes(rule, state))

    def test_stranded(self) -> None:
        rule = cloud_capacity.check_stranded
        small = (cloud_states.host('gpu-1', memory=512),)
        for hosts, expected in (
            (healthy().hosts, []),
            (small, ['GPU671 gpu-1']),
            # That the host is closed is another finding.
            (
                [dataclasses.replace(small[0], closed='nova-compute is down')],
                [],
            ),
        ):
            self.assertEqual(expected, codes(rule, healthy(hosts=hosts)))
        state = healthy(aliases={}, hosts=small)
        self.assertEqual([], codes(rule, state))
        self.assertIn('--config', skipped(rule, state)[0])

    def test_remedies_of_stranded(self) -> None:
        """Servers without devices are moved only where there are any."""
        small = (cloud_states.host('gpu-1', memory=512),)
        with_device = cloud_states.server('train')
        for servers, remedy in (
            (
                (with_device, cloud_states.server('web', request='')),
                'Move servers without devices (web) to other hosts',
            ),
            (
                (
                    with_device,
                    cloud_states.server('web', 'other', request=''),
                ),
                'No server without devices is on the host: only a flavor that '
                'requests less MEMORY_MB for each device, or a larger host,',
            ),
            (None, 'if there are any'),
            # Policy hides its extra specs.
            ((cloud_states.server('db', extra_specs=None),), 'if there are'),
        ):
            (finding,) = cloud_capacity.check_stranded(
                healthy(hosts=small, servers=servers)
            )
            self.assertIn(remedy, finding.finding.message)

    def test_remedies_of_few_devices(self) -> None:
        (finding,) = cloud_capacity.check_stranded(
            healthy(
                hosts=(cloud_states.host('gpu-1', 3),),
                flavors=(cloud_states.flavor(request='a100:2'),),
            )
        )
        self.assertIn(
            'limited by a100. Create a flavor that requests fewer devices',
            finding.finding.message,
        )

    def test_unrequested(self) -> None:
        rule = cloud_capacity.check_unrequested
        card = 'CUSTOM_PCI_10DE_25B6'
        nic = 'CUSTOM_PCI_15B3_101E'
        for name, expected in (
            (CLASS, []),
            (card, [f'GPU672 {card}']),
            (nic, []),
            ('CUSTOM_MINE', []),
        ):
            hosts = (
                *healthy().hosts,
                cloud_states.host('gpu-3', resource_class=name),
            )
            self.assertEqual(expected, codes(rule, healthy(hosts=hosts)))
        state = healthy(aliases={})
        self.assertEqual([], codes(rule, state))
        self.assertIn('--config', skipped(rule, state)[0])


class TestOwners(testtools.TestCase):
    def test_cyborg(self) -> None:
        rule = cloud_owners.check_cyborg
        for root, address, expected in (
            ('gpu-1', '0000:01:00.0', ['GPU673 gpu-1 0000:01:00.0']),
            ('gpu-1', '0000:07:00.0', []),
            ('other', '0000:01:00.0', []),
        ):
            provider = cloud_state.ForeignProvider(
                f'{root}_{address}', root, address
            )
            self.assertEqual(
                expected, codes(rule, healthy(foreign=(provider,)))
            )

    def test_blazar(self) -> None:
        rule = cloud_owners.check_blazar
        self.assertEqual([], codes(rule, healthy()))
        for flavor, expected in (
            (
                cloud_states.flavor('reservation:7f3b'),
                ['GPU762 reservation:7f3b'],
            ),
            (
                cloud_states.flavor(
                    extra_specs={'resources:CUSTOM_RESERVATION_7F3B': '1'}
                ),
                ['GPU762 gpu.1'],
            ),
            (cloud_states.flavor('reservation:7f3b', None), []),
        ):
            self.assertEqual(expected, codes(rule, healthy(flavors=(flavor,))))


class TestLeaks(testtools.TestCase):
    def test_signs(self) -> None:
        server = cloud_states.server
        for devices, servers, expected in (
            ({'used': 1}, (server('a', request='a100:2'),), []),
            ({'used': 1}, (server('a'), server('b')), []),
            ({'used': 1}, (server('a'),), ['gpu-1']),
            ({}, (server('a'),), ['gpu-1']),
            ({'reserved': 1}, (), ['gpu-1']),
            # One-time use, while a server has it, and after that.
            (
                {
                    'used': 1,
                    'reserved': 1,
                    'traits': ('HW_PCI_ONE_TIME_USE',),
                },
                (server('a', request='a100:2'),),
                [],
            ),
            (
                {'reserved': 1, 'traits': ('HW_PCI_ONE_TIME_USE',)},
                (),
                ['gpu-1'],
            ),
        ):
            state = healthy(
                hosts=(cloud_states.host('gpu-1', **devices),),
                servers=servers,
            )
            self.assertEqual(expected, sorted(cloud_leaks.signs(state)))

    def test_a_host_that_is_gone(self) -> None:
        state = healthy(hosts=(cloud_states.host('old'),), servers=())
        self.assertEqual({'old'}, cloud_leaks.signs(state))


class TestState(testtools.TestCase):
    def test_usage(self) -> None:
        other = alias_model.Alias('b', resource_class='CUSTOM_B')
        state = healthy(
            servers=(
                cloud_states.server('1', request='a100:2,b:1'),
                cloud_states.server('2', project_id='p', request='c:1'),
            ),
            aliases={'a100': cloud_states.ALIAS, 'b': other},
        )
        self.assertEqual(
            {('project', CLASS): 2, ('project', 'CUSTOM_B'): 1}, state.usage()
        )

    def test_without_placement(self) -> None:
        state = cloud_state.CloudState(release.newest())
        self.assertIsNone(state.device_classes)
        self.assertEqual((), state.devices)
        self.assertIsInstance(cloud_states.device(1, 'h'), inventory.Device)
