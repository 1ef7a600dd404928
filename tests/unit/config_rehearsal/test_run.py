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

"""Why aliases are not tried in a cloud that was started for them."""

import types
import typing

from gpuclient.config_rehearsal import report as reporting
from gpuclient.config_rehearsal import run as running
from gpuclient.rehearsal import state

from tests.unit.config_rehearsal import test_report


class TestSkipped(test_report.ReportTestCase):
    def words(self, rows: list[reporting.Row]) -> set[str]:
        return {row.detail for row in rows if row.state == 'skipped'}

    def skipped(self, report: reporting.Report) -> set[str]:
        # Nothing is asked, so there is nobody to ask.
        client: typing.Any = None
        return self.words(
            running._aliases(
                client, self.processes, report._plan, report, lambda line: None
            )
        )

    def test_no_cloud(self) -> None:
        report = self.report(test_report.CLEAN)
        cloud: typing.Any = types.SimpleNamespace(
            record=types.SimpleNamespace(services=self.processes),
            state=state.FAILED,
        )
        found = running.run(cloud, report._plan, report, lambda line: None)
        self.assertEqual({'the cloud did not start'}, self.words(found.value))

    def test_a_service_that_did_not_start(self) -> None:
        for name, words in (
            ('nova-api-1', 'nova-api did not start'),
            ('nova-scheduler', 'no nova-scheduler started'),
            ('nova-compute', 'no nova-compute started'),
        ):
            report = self.report(test_report.CLEAN)
            self.refuse(name, 'No')
            self.assertEqual({words}, self.skipped(report))

    def test_a_document_that_is_not_there(self) -> None:
        for name in ('nova-api', 'nova-compute'):
            files = dict(test_report.CLEAN)
            del files[f'{name}.conf']
            (self.folder / f'{name}.conf').unlink(missing_ok=True)
            with self.subTest(name):
                self.assertEqual(
                    {f'there is no document of {name}'},
                    self.skipped(self.report(files)),
                )
