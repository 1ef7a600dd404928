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


"""Unified limits that are left in Keystone where Nova reads legacy quotas."""

import types
import typing

import testtools

from gpuclient import exceptions
from gpuclient.model import project as project_model
from gpuclient.model import release as release_model
from gpuclient.operations import project_editing
from gpuclient.operations import project_list
from gpuclient.operations import project_reading
from gpuclient.operations import project_run
from gpuclient.operations import project_view

from tests.unit.model import test_project

Driver = project_model.QuotaDriver
GPU = test_project.GPU
CLASS = GPU.removeprefix(project_model.CLASS)
RELEASE = release_model.parse('34')
PROJECT = project_model.Project('p1', 'research', 'default')
UNREAD = (Driver.LEGACY, Driver.NONE)
#: No request is allowed.
NO_CLOUD: typing.Any = types.SimpleNamespace(placement=None)


def cloud_state() -> project_model.CloudState:
    """Return a project that uses more than its limits."""
    return test_project.state(
        access={'f1': frozenset({'p1'})},
        registered=(
            test_project.registered(GPU, 0),
            test_project.registered('servers', 10),
        ),
        limits=(
            test_project.limit(GPU, 2),
            test_project.limit('servers', 4, number=2),
        ),
    )


def quota_facts(driver: Driver) -> project_reading.QuotaFacts:
    return project_reading.QuotaFacts(
        driver, test_project.SCOPE, cloud_state().registered
    )


def projects(driver: Driver) -> project_list.ProjectList:
    return project_list.ProjectList(
        quota_facts(driver),
        cloud_state(),
        {'p1': PROJECT},
        frozenset({CLASS}),
        {'p1': {CLASS: 3}},
        RELEASE,
    )


class TestEditing(testtools.TestCase):
    def check(
        self, driver: Driver, limits: dict[str, int | None]
    ) -> project_run.ProjectRun:
        state = cloud_state()
        facts = quota_facts(driver)
        desired = project_model.Desired('p1', 'research', limits=limits)
        run = project_run.ProjectRun(
            NO_CLOUD,
            facts,
            state.flavors,
            [desired],
            lambda names: frozenset({CLASS}),
            state=state,
        )
        project_editing.check_driver(
            facts, project_model.new_limits(desired, state), (), force=False
        )
        run.check_usage()
        return run

    def test_removed(self) -> None:
        """Limits are removed without --force, and without asking for usage."""
        for driver in UNREAD:
            run = self.check(driver, {GPU: None, 'servers': None})
            self.assertEqual([], run.result.errors)
            self.assertEqual(
                [(GPU, None), ('servers', None)],
                [(step.key, step.after) for step in run.result.changes],
            )

    def test_set_already(self) -> None:
        """A limit that is there is no new one: an export can be applied."""
        for driver in UNREAD:
            run = self.check(driver, {GPU: 2, 'servers': 4})
            self.assertEqual([], run.result.changes)

    def test_new(self) -> None:
        for driver in UNREAD:
            error = self.assertRaises(
                exceptions.InvalidValue,
                self.check,
                driver,
                {GPU: 2, 'servers': 5, 'class:VCPU': None},
            )
            self.assertIn('GPU802', str(error))
            self.assertIn('those of servers limit nothing', str(error))

    def test_notes(self) -> None:
        """Also of limits that are set with --force."""
        for driver in UNREAD:
            (note,) = project_editing.limit_notes(
                quota_facts(driver), {'servers': 4}, RELEASE
            )
            self.assertIn('GPU802', note)
            self.assertEqual(
                [],
                project_editing.limit_notes(quota_facts(driver), {}, RELEASE),
            )


class TestReading(testtools.TestCase):
    def test_list(self) -> None:
        for driver in UNREAD:
            listed = projects(driver)
            self.assertEqual(
                [], list(project_list.over_limits_of_devices(listed))
            )
            self.assertEqual(
                [], list(project_list.over_other_limits(NO_CLOUD, listed))
            )
            (finding,) = project_list.unread_limits(listed)
            self.assertEqual('GPU802', finding.code)
            (row,) = project_list.rows(listed)
            self.assertEqual(
                ['GPU802'], [finding.code for finding in row.findings]
            )

    def test_list_with_unified_limits(self) -> None:
        for driver in (Driver.UNIFIED, Driver.UNKNOWN):
            listed = projects(driver)
            (over,) = project_list.over_limits_of_devices(listed)
            self.assertEqual((GPU, 2, 3), (over.name, over.limit, over.used))
            self.assertEqual([], project_list.unread_limits(listed))
            (row,) = project_list.rows(listed)
            self.assertEqual(
                ['GPU676'], [finding.code for finding in row.findings]
            )

    def codes(self, driver: Driver, source: str) -> list[str]:
        view = project_view.LimitView(GPU, 2, source, 0)
        return [
            finding.code
            for finding in project_view._findings(
                PROJECT,
                quota_facts(driver),
                cloud_state(),
                (),
                (view,),
                RELEASE,
            )
        ]

    def test_show(self) -> None:
        for driver in UNREAD:
            self.assertEqual(['GPU802'], self.codes(driver, 'project'))
            self.assertEqual(['GPU802'], self.codes(driver, 'default'))
            # Devices are used, and nothing limits them.
            self.assertEqual([], self.codes(driver, 'none'))
        self.assertEqual([], self.codes(Driver.UNIFIED, 'project'))


class TestAdministrators(testtools.TestCase):
    def test_hint(self) -> None:
        """Members read what they can do instead."""

        @project_reading.for_administrators('list projects')
        def refused() -> None:
            raise exceptions.Forbidden('policy', status=403)

        error = self.assertRaises(exceptions.Forbidden, refused)
        self.assertEqual(
            'policy. Only administrators list projects; "openstack gpu '
            'project show" shows what yours may use',
            str(error),
        )
        self.assertEqual(403, error.status)
