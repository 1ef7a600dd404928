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

import typing

import ddt
import testtools

from gpuclient.model import alias as alias_model
from gpuclient.model import capacity
from gpuclient.model import demand as demand_model
from gpuclient.model import explanation
from gpuclient.model import explanation_text
from gpuclient.model import host as host_model
from gpuclient.model import passthrough_filter
from gpuclient.model import pci
from gpuclient.model import release as release_model
from gpuclient.model import scheduler_options
from gpuclient.model import server_history
from gpuclient.model import unseen
from tests.unit.model import test_explanation

Options = scheduler_options.SchedulerOptions
NEWEST = release_model.newest()
PF = alias_model.Alias(
    'h100', vendor_id='10de', product_id='2330', device_type='type-PF'
)


def hardware(kind: str) -> host_model.Host:
    return host_model.Host(
        'a',
        devices=(
            host_model.PciDevice(
                pci.parse_address('0000:00:00.0'),
                vendor_id='10de',
                product_id='2330',
                sriov_total_vfs=8 if kind == 'type-PF' else 0,
            ),
        ),
    )


def find(
    host: capacity.HostCapacity,
    *,
    kind: str | None = None,
    alias: alias_model.Alias = PF,
    options: Options | None = None,
    project: str | None = None,
    inferred: tuple[str, ...] = (),
    release: release_model.Release = NEWEST,
    **specs: str,
) -> tuple[explanation.Evaluation, list[tuple[str, bool]]]:
    """Return an evaluation, and the causes that Placement does not see."""
    options = options or Options(
        isolates_aggregates=False,
        limits_tenants=False,
        filters=frozenset({'PciPassthroughFilter'}),
        sets_filters=True,
        pci_in_placement=True,
    )
    restrictions = explanation.Restrictions(project_id=project)
    result = test_explanation.evaluate(
        [host],
        test_explanation.flavor(**specs),
        options=options,
        restrictions=restrictions,
        aliases={'h100': alias},
        devices={
            device.uuid: passthrough_filter.facts_of(
                device,
                release,
                hardware=None if kind is None else hardware(kind),
            )
            for device in host.devices
        },
    )
    return result, [
        (cause.code, cause.proved)
        for cause in unseen.find(result, restrictions, options, inferred)
    ]


class TestUnseen(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.host = test_explanation.host('a', 1)

    def test_silent(self) -> None:
        result, causes = find(self.host, kind='type-PF')
        self.assertEqual([], causes)
        self.assertEqual(1, len(result.fitting))
        # The catalogue knows one type of the model.
        self.assertEqual([], find(self.host)[1])

    def test_dropped(self) -> None:
        result, causes = find(self.host, kind='type-PCI')
        self.assertEqual([('GPU640', True)], causes)
        self.assertEqual((), result.fitting)
        self.assertEqual(
            'No host fits: Placement returns 1 host, but nova-scheduler '
            'filters it out (a: 1 device: type-PCI, not type-PF).',
            explanation_text.cause(result),
        )

    def test_refused_by_nova_compute(self) -> None:
        """nova-scheduler does not read the aliases of the destination."""
        result = explanation.evaluate(
            demand_model.demand(
                test_explanation.flavor(), test_explanation.ALIASES
            ),
            explanation.Facts((self.host,)),
            explanation.Restrictions(),
            Options,
            (
                explanation.Condition(
                    explanation.OF_COMPUTE,
                    explanation.Kind.FILTER,
                    'nova-compute defines the alias',
                    {'a': 'no alias h100'},
                    in_placement=False,
                ),
            ),
        )
        self.assertEqual(
            'No host fits: Placement returns 1 host, but nova-compute refuses '
            'the server (a: no alias h100).',
            explanation_text.cause(result),
        )

    def test_class_only(self) -> None:
        _result, causes = find(self.host, inferred=('h100',))
        self.assertEqual([('GPU640', False)], causes)
        # As an explanation has it: no file defines the alias.
        result = test_explanation.evaluate(
            [self.host], test_explanation.flavor()
        )
        self.assertEqual(
            ['GPU640'],
            [
                cause.code
                for cause in unseen.find(
                    result, explanation.Restrictions(), Options(), ('h100',)
                )
            ],
        )

    def test_type_is_not_known(self) -> None:
        alias = alias_model.Alias('h100', resource_class=test_explanation.H100)
        _result, causes = find(self.host, alias=alias)
        self.assertEqual([('GPU641', False)], causes)

    def test_live_migratable(self) -> None:
        alias = alias_model.Alias(
            'h100',
            vendor_id='10de',
            product_id='2330',
            device_type='type-PF',
            live_migratable=True,
        )
        _result, causes = find(self.host, alias=alias, kind='type-PF')
        self.assertEqual([('GPU640', True)], causes)
        # Nova 33 does not report the trait.
        _result, causes = find(
            self.host,
            alias=alias,
            kind='type-PF',
            release=release_model.parse('2026.1'),
        )
        self.assertEqual([('GPU641', False)], causes)
        host = test_explanation.host(
            'a', 1, card_traits=('HW_PCI_LIVE_MIGRATABLE',)
        )
        self.assertEqual([], find(host, alias=alias, kind='type-PF')[1])

    def test_options(self) -> None:
        _result, causes = find(
            self.host,
            options=Options(
                isolates_aggregates=False,
                limits_tenants=False,
                filters=frozenset(),
                sets_filters=True,
                pci_in_placement=False,
            ),
        )
        self.assertEqual([('GPU642', True), ('GPU643', True)], causes)

    def test_aggregates(self) -> None:
        group = capacity.Aggregate(
            'gold', frozenset('a'), {'filter_tenant_id': 'other'}
        )
        host = test_explanation.host('a', 1, aggregates=(group,))
        _result, causes = find(host, options=Options(), project='mine')
        self.assertEqual([('GPU644', False)], causes)
        self.assertEqual([], find(host, project='mine')[1])

    def test_topology(self) -> None:
        _result, causes = find(self.host, **{'hw:numa_nodes': '1'})
        self.assertEqual([('GPU645', False)], causes)

    def test_candidates(self) -> None:
        hosts = [test_explanation.host(str(number), 8) for number in range(4)]
        result = test_explanation.evaluate(
            hosts, test_explanation.flavor('h100:4')
        )
        options = Options()
        self.assertEqual(
            ['GPU647'],
            [
                cause.code
                for cause in unseen.find(
                    result, explanation.Restrictions(), options
                )
            ],
        )

    def test_refused(self) -> None:
        _result, causes = find(self.host, **{'hw:cpu_policy': 'x'})
        self.assertEqual([], causes)


NO_HOST = 'No valid host was found. '


@ddt.ddt
class TestHistory(testtools.TestCase):
    def causes(
        self,
        message: str,
        *,
        traceback: str = '',
        host: str = '',
        fits: bool = False,
    ) -> list[tuple[str, bool, tuple[str, ...]]]:
        history = server_history.History(
            server_history.Fault(message),
            (
                server_history.Action(
                    'create',
                    '',
                    'Error',
                    (
                        server_history.Event(
                            'compute__do_build_and_run_instance',
                            'Error',
                            host,
                            '',
                            traceback,
                        ),
                    ),
                ),
            ),
        )
        return [
            (cause.code, cause.proved, cause.hosts)
            for cause in server_history.causes(history, fits=fits)
        ]

    @ddt.data(
        (NO_HOST, 'GPU649'),
        (f'{NO_HOST}There are not enough hosts available.', 'GPU650'),
        (
            'Exceeded maximum number of retries. Exhausted all hosts '
            'available for retrying build failures for instance x.',
            'GPU651',
        ),
        (
            'Insufficient compute resources: Requested instance NUMA '
            'topology together with requested PCI devices cannot fit the '
            'given host NUMA topology.',
            'GPU652',
        ),
        ('Insufficient compute resources: Claim pci failed.', 'GPU653'),
        ('PCI alias a100 is not defined', 'GPU654'),
        (
            'Migration pre-check error: This request does not explicitly '
            'request live-migratable devices.',
            'GPU655',
        ),
        (
            "unsupported configuration: host doesn't support passthrough of "
            'host PCI devices',
            'GPU420',
        ),
        ('vfio 0000:04:00.0: group 12 is not viable', 'GPU426'),
        ('Volume is not available', 'GPU657'),
        (
            'No valid host was found. No valid host found for cold migrate',
            'GPU658',
        ),
    )
    @ddt.unpack
    def test_messages(self, message: str, code: str) -> None:
        self.assertEqual([(code, True, ())], self.causes(message))

    def test_fits_now(self) -> None:
        self.assertEqual(
            [('GPU649', True, ()), ('GPU656', False, ())],
            self.causes(NO_HOST, fits=True),
        )

    def test_retries(self) -> None:
        self.assertEqual(
            [('GPU653', True, ('gpu-1',)), ('GPU651', True, ('gpu-1',))],
            self.causes(
                'Exceeded maximum number of retries. ',
                traceback='Insufficient compute resources: Claim pci failed.',
                host='gpu-1',
            ),
        )

    def test_failed_action(self) -> None:
        history = server_history.History(
            None,
            (
                server_history.Action(
                    'live-migration',
                    '',
                    'Error',
                    (
                        server_history.Event(
                            'conductor_live_migrate_instance',
                            'Error',
                            details=f'{NO_HOST}There are not enough hosts '
                            'available.',
                        ),
                    ),
                ),
            ),
        )
        self.assertEqual(
            ['GPU650'],
            [
                cause.code
                for cause in server_history.causes(history, fits=False)
            ],
        )

    def test_nothing(self) -> None:
        history: typing.Any = server_history.History(None)
        self.assertEqual([], list(server_history.causes(history, fits=True)))
