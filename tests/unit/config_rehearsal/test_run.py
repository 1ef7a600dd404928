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

"""Rehearsals in which no server can be booted."""

import types
import typing

from gpuclient.config_rehearsal import report as reporting
from gpuclient.config_rehearsal import run as running
from gpuclient.rehearsal import state

from tests.unit.config_rehearsal import test_report


class TestNoServers(test_report.ReportTestCase):
    def reason(self, report: reporting.Report) -> str | None:
        return running.why_no_server_boots(self.processes, report.plan)

    def test_cloud_that_did_not_start(self) -> None:
        report = self.report(test_report.CLEAN)
        cloud: typing.Any = types.SimpleNamespace(
            record=types.SimpleNamespace(services=self.processes),
            state=state.FAILED,
        )
        result = running.run(cloud, report.plan, report, lambda line: None)
        (alias,) = (row for row in result.value if row.kind == 'alias')
        self.assertEqual(
            ('skipped', 'the cloud did not start'), (alias.state, alias.detail)
        )

    def test_all_services_started(self) -> None:
        self.assertIsNone(self.reason(self.report(test_report.CLEAN)))

    def test_service_that_did_not_start(self) -> None:
        for name, reason in (
            ('nova-api-1', 'nova-api did not start'),
            ('nova-scheduler', 'no nova-scheduler started'),
            ('nova-compute', 'no nova-compute started'),
        ):
            report = self.report(test_report.CLEAN)
            self.refuse(name, 'No')
            self.assertEqual(reason, self.reason(report))

    def test_missing_document(self) -> None:
        for name in ('nova-api', 'nova-compute'):
            files = dict(test_report.CLEAN)
            del files[f'{name}.conf']
            (self.folder / f'{name}.conf').unlink(missing_ok=True)
            with self.subTest(name):
                self.assertEqual(
                    f'no file configures {name}',
                    self.reason(self.report(files)),
                )
