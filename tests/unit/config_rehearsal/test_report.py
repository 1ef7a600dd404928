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

"""Results of a rehearsal, compared with what its documents configure."""

import os
import typing

from gpuclient.config_rehearsal import device_simulation
from gpuclient.config_rehearsal import report as reporting
from gpuclient.documents import tree
from gpuclient.model import configuration
from gpuclient.model import inventory
from gpuclient.rehearsal import spec
from gpuclient.rehearsal import state
from gpuclient.rules import configuration as configuration_rules

from tests.unit.config_rehearsal import test_plan

ON = '[filter_scheduler]\npci_in_placement = True\n'
SPEC = (
    'device_spec = {"vendor_id": "10de", "product_id": "20f1", '
    '"address": "0000:04:00.0"}\n'
)
CLEAN = {
    'nova-api.conf': f'{ON}[pci]\n{test_plan.ALIAS}',
    'nova-conductor.conf': ON,
    'nova-scheduler.conf': ON,
    'nova-compute.conf': (
        '[DEFAULT]\nhost = gpu-0\n'
        f'[pci]\nreport_in_placement = True\n{SPEC}{test_plan.ALIAS}'
    ),
}


class ReportTestCase(test_plan.PlanTestCase):
    def report(
        self, files: dict[str, str], **kwargs: typing.Any
    ) -> reporting.Report:
        plan = self.plan(files, **kwargs)
        contents = tree.read([os.fspath(self.folder)]).deployment
        self.processes = [
            state.CloudProcess(service.name, service.host, state=state.READY)
            for service in plan.services
        ]
        return reporting.Report(plan, configuration_rules.check(contents))

    def refuse(self, name: str, message: str) -> None:
        for process in self.processes:
            if process.name == name:
                process.state = state.REFUSED
                process.message = message


class TestReport(ReportTestCase):
    def service(self, report: reporting.Report, name: str) -> list[object]:
        (row,) = (
            row for row in report.services(self.processes) if row.name == name
        )
        assert row.place is not None
        return [
            row.state,
            row.codes,
            row.detail,
            os.path.basename(row.place.path),
            row.place.line,
            row.bad,
        ]

    def devices(
        self, report: reporting.Report, *present: inventory.Device
    ) -> list[tuple[object, ...]]:
        return [
            (
                row.name,
                row.state,
                row.expected,
                row.actual,
                row.codes,
                row.detail,
                row.bad,
            )
            for row in report.devices(self.processes, present)
        ]

    def test_no_differences(self) -> None:
        report = self.report(CLEAN)
        self.assertEqual(
            ['started', (), '', 'nova-api.conf', None, False],
            self.service(report, 'nova-api-1'),
        )
        self.assertEqual(
            [
                (
                    '0000:04:00.0',
                    'reported',
                    1,
                    1,
                    (),
                    'CUSTOM_PCI_10DE_20F1, CUSTOM_X',
                    False,
                )
            ],
            self.devices(
                report,
                inventory.Device(
                    'id',
                    'gpu-0_0000:04:00.0',
                    'root',
                    'gpu-0',
                    '0000:04:00.0',
                    'CUSTOM_PCI_10DE_20F1',
                    total=1,
                    traits=('COMPUTE_MANAGED_PCI_DEVICE', 'CUSTOM_X'),
                ),
            ),
        )
        self.assertEqual({'gpu-0': 1}, report.counts('nvidia_a2'))
        row = report.booted('nvidia_a2', reporting.Outcome(1, 1, 1, 'No'))
        self.assertEqual(
            ('nvidia_a2:1', 'boots', 1, 1, '', False),
            (
                row.name,
                row.state,
                row.expected,
                row.actual,
                row.detail,
                row.bad,
            ),
        )

    def test_finding_with_the_message_of_nova(self) -> None:
        files = {
            **CLEAN,
            'nova-compute.conf': CLEAN['nova-compute.conf'].replace(
                '04:00.0', '04:00.9'
            ),
        }
        report = self.report(files)
        message = (
            'Invalid [pci]device_spec config: property func (9) is greater '
            'than the maximum allowable value (7).'
        )
        self.refuse('nova-compute', message)
        self.assertEqual(
            ['refused', ('GPU302',), message, 'nova-compute.conf', 5, True],
            self.service(report, 'nova-compute'),
        )
        self.assertEqual(
            [('unknown', 'missing', None, None, ('GPU302',), message, True)],
            self.devices(report),
        )
        self.assertEqual(
            [('nvidia_a2', 'skipped', 'no nova-compute started')],
            [
                (row.name, row.state, row.detail)
                for row in report.skipped('no nova-compute started')
            ],
        )

    def test_option_named_by_nova(self) -> None:
        """The document is named even if the checks have no finding."""
        files = {
            **CLEAN,
            'nova-api.conf': CLEAN['nova-api.conf']
            + '[DEFAULT]\nmax_limit = many\n',
        }
        report = self.report(files)
        self.refuse(
            'nova-api-1',
            'Value for option max_limit from LocationInfo(location='
            "<Locations.user: (4, True)>, detail='/tmp/x/etc/nova/"
            "nova-api-1.d/90-rehearsal.conf') is not valid: invalid literal",
        )
        path = self.folder / 'nova-api.conf'
        self.assertEqual(
            [
                'refused',
                (),
                'Value for option max_limit from LocationInfo(location='
                f"<Locations.user: (4, True)>, detail='{path}') is not "
                'valid: invalid literal',
                'nova-api.conf',
                6,
                True,
            ],
            self.service(report, 'nova-api-1'),
        )
        self.refuse('nova-scheduler', 'No such file')
        self.assertEqual(
            ['refused', (), 'No such file', 'nova-scheduler.conf', None, True],
            self.service(report, 'nova-scheduler'),
        )

    def test_service_that_never_started(self) -> None:
        """Without nova-conductor, no cloud starts."""
        report = self.report(CLEAN)
        for process in self.processes:
            process.state = state.STOPPED
        self.refuse('nova-conductor', 'See /tmp/x/nova-c.d/10-user.conf')
        self.assertEqual(
            [
                'refused',
                (),
                f'See {self.folder}/nova-conductor.conf',
                'nova-conductor.conf',
                None,
                True,
            ],
            self.service(report, 'nova-conductor'),
        )
        self.assertEqual(
            ['skipped', (), 'the cloud did not start', 'nova-api.conf', False],
            [
                value
                for at, value in enumerate(self.service(report, 'nova-api-1'))
                if at != 4
            ],
        )
        self.assertEqual(
            ['nova-compute on gpu-0 did not start'],
            [row[5] for row in self.devices(report)],
        )

    def test_line_of_the_value_with_the_address(self) -> None:
        other = SPEC.replace('04:00.0', '82:00.0')
        files = {
            **CLEAN,
            'nova-compute.conf': CLEAN['nova-compute.conf'] + other,
        }
        report = self.report(files)
        self.refuse('nova-compute', 'device_spec: not so, 0000:82:00.0')
        self.assertEqual(7, self.service(report, 'nova-compute')[4])

    def test_devices_that_are_not_reported(self) -> None:
        report = self.report(CLEAN)
        self.assertEqual(
            [
                (
                    '0000:04:00.0',
                    'missing',
                    1,
                    0,
                    (),
                    'Placement has no resource provider gpu-0_0000:04:00.0',
                    True,
                )
            ],
            self.devices(report),
        )
        self.refuse('nova-compute', 'No')
        self.assertEqual(
            'nova-compute on gpu-0 did not start',
            self.devices(report)[0][5],
        )

    def test_no_device_is_reported(self) -> None:
        compute = CLEAN['nova-compute.conf'].replace(
            'report_in_placement = True\n', ''
        )
        report = self.report({**CLEAN, 'nova-compute.conf': compute})
        self.assertEqual(
            [
                (
                    '0000:04:00.0',
                    'missing',
                    1,
                    0,
                    ('GPU309',),
                    '[pci]report_in_placement is not enabled',
                    True,
                )
            ],
            self.devices(report),
        )
        # Without Placement, this is the expected result.
        report = self.report(
            {
                name: text.replace('True', 'False')
                for name, text in CLEAN.items()
            }
        )
        self.assertEqual(
            [('untracked', False)],
            [(row[1], row[6]) for row in self.devices(report)],
        )
        # So is this for a network device.
        report = self.report(
            {
                **CLEAN,
                'nova-compute.conf': CLEAN['nova-compute.conf'].replace(
                    '"address"', '"physical_network": "physnet", "address"'
                ),
            }
        )
        self.assertEqual(
            [('untracked', 'Nova does not report devices of networks', False)],
            [(row[1], row[5], row[6]) for row in self.devices(report)],
        )

    def test_unexpected_device(self) -> None:
        report = self.report(CLEAN)
        rows = self.devices(
            report,
            inventory.Device(
                'id',
                'gpu-0_0000:99:00.0',
                'root',
                'gpu-0',
                '0000:99:00.0',
                'CUSTOM_X',
                total=1,
            ),
        )
        self.assertEqual(
            ('0000:99:00.0', 'reported', 0, 1, (), 'CUSTOM_X', True), rows[-1]
        )

    def test_device_that_no_spec_matches(self) -> None:
        report = self.report(
            CLEAN,
            described=[
                (
                    'gpu-0',
                    device_simulation.simulated_device(
                        '0000:82:00.0', '10de', '2330', 'type-PCI'
                    ),
                )
            ],
        )
        self.assertEqual(
            ['no device_spec matches this device (10de:2330)'],
            [
                row[5]
                for row in self.devices(report)
                if row[0] == '0000:82:00.0'
            ],
        )

    def test_device_type_is_taken_from_an_alias(self) -> None:
        def details(
            ids: str, *described: spec.SimulatedDevice
        ) -> list[object]:
            report = self.report(
                {
                    name: text.replace('20f1', ids)
                    for name, text in CLEAN.items()
                },
                described=[('gpu-0', device) for device in described],
            )
            device = inventory.Device(
                'id',
                'gpu-0_0000:04:00.0',
                'root',
                'gpu-0',
                '0000:04:00.0',
                'CUSTOM_A',
                total=1,
            )
            return [row[5] for row in self.devices(report, device)]

        assumption = (
            'device type type-PF assumed: see sriov_totalvfs of the card'
        )
        for ids in ('2230', '1eb8', 'ffff'):
            self.assertEqual([f'CUSTOM_A, {assumption}'], details(ids))
        self.assertEqual(['CUSTOM_A'], details('20f1'))
        described = device_simulation.simulated_device(
            '0000:04:00.0', '10de', '2230', 'type-PF'
        )
        self.assertEqual(['CUSTOM_A'], details('2230', described))

    def test_alias_boots_fewer_servers_than_expected(self) -> None:
        files = {
            **CLEAN,
            'nova-compute.conf': CLEAN['nova-compute.conf'].replace(
                '"20f1", "address"', '"2330", "address"'
            ),
        }
        report = self.report(files)
        self.assertEqual({'gpu-0': 0}, report.counts('nvidia_a2'))
        for outcome, expected in (
            (reporting.Outcome(1, 0, 0, 'No valid host'), 'fails'),
            (reporting.Outcome(1, 2, 1, 'No valid host'), 'short'),
        ):
            row = report.booted('nvidia_a2', outcome)
            self.assertEqual(
                (expected, ('GPU307',), 'No valid host', True),
                (row.state, row.codes, row.detail, row.bad),
            )
        row = report.refused_alias('nvidia_a2', 'PCI alias is not defined')
        self.assertEqual(
            ('refused', 'PCI alias is not defined', True),
            (row.state, row.detail, row.bad),
        )

    def test_filters_are_not_set(self) -> None:
        files = {
            'nova.conf': '\n'.join(
                line
                for text in CLEAN.values()
                for line in text.splitlines()
                if 'filter' not in line and 'in_placement' not in line
            )
        }
        row = self.report(files).booted(
            'nvidia_a2', reporting.Outcome(1, 2, 1, 'Claim pci failed')
        )
        self.assertIn('GPU327', row.codes)

    def test_options_and_documents(self) -> None:
        report = self.report(
            {'nova.conf': '[DEFAULT]\ntransport_url = x\n[pci]\n'}
        )
        # A file that four services read is reported once.
        self.assertEqual(
            [('option', '[DEFAULT]transport_url', 'replaced', False)],
            [
                (row.kind, row.name, row.state, row.bad)
                for row in report.options()
            ],
        )
        self.assertEqual(
            'options not rehearsed: 1',
            self.service(report, 'nova-api-1')[2],
        )
        (row,) = report.unreadable([('a/nova.conf', 'Cannot read it', 3)])
        self.assertEqual(
            ('document', 'nova.conf', 'unreadable', ('GPU300',), True),
            (row.kind, row.name, row.state, row.codes, row.bad),
        )
        self.assertEqual(configuration.Place('a/nova.conf', 3), row.place)
