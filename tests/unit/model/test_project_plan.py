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

"""Saved plans, and what has changed since."""

import dataclasses
import json

import testtools

from gpuclient import exceptions
from gpuclient.model import flavor as flavor_model
from gpuclient.model import project
from gpuclient.model import project_plan

from tests.unit.model import test_project

Kind = project.Kind
GPU = test_project.GPU
NOW = test_project.state(
    flavors={
        'f1': test_project.FLAVOR,
        'f2': flavor_model.Flavor('f2', 'gpu.2', 1, 1, 1, False),
    },
    registered=(test_project.registered(GPU, 0),),
    limits=(test_project.limit(GPU, 2),),
    quotas={'p1': {'ram': 3}},
    access={'f1': frozenset(), 'f2': frozenset()},
)
PLAN = project_plan.SavedPlan(
    test_project.SCOPE,
    (project.Step(Kind.REGISTERED_LIMIT, '', GPU, GPU, 0, 0),),
    (
        project_plan.PlannedProject(
            'p1',
            'research',
            True,
            (Kind.FLAVOR_ACCESS, Kind.LIMIT),
            (
                project.Step(Kind.LIMIT, 'p1', GPU, GPU, 2, 3),
                project.Step(Kind.QUOTA, 'p1', 'ram', 'ram', 3, 1, reset=True),
                project.Step(Kind.SERVER_GROUP, 'p1', 'a', 'a', None, 'x'),
                project.Step(
                    Kind.FLAVOR_ACCESS, 'p1', 'f1', 'gpu.1', False, True
                ),
            ),
        ),
    ),
)


class TestSavedPlan(testtools.TestCase):
    def test_round_trip(self) -> None:
        data = json.loads(json.dumps(project_plan.write(PLAN)))
        self.assertEqual(PLAN, project_plan.read(data))
        (desired,) = PLAN.desired()
        self.assertEqual({'f1': True}, desired.access)
        self.assertEqual({GPU: 3}, desired.limits)
        self.assertEqual({'ram': None}, desired.quotas)

    def test_refused(self) -> None:
        for path, value in (
            (('version',), 2),
            (('projects', 0, 'steps', 0, 'kind'), 'registered limit'),
            (('projects', 0, 'steps', 0, 'after'), 'x'),
            (('projects', 0, 'steps', 0, 'after'), True),
            (('projects', 0, 'steps', 3, 'after'), None),
            (('registered_limits', 0, 'kind'), 'limit'),
            (('projects', 0, 'managed'), ['quota']),
            (('scope', 'service_id'), 3),
            (('projects', 0, 'steps', 0, 'after'), -5),
            (('projects', 0, 'steps', 0, 'before'), 10**12),
            (('projects', 0, 'steps', 1, 'after'), 2**31),
            (('registered_limits', 0, 'after'), -2),
        ):
            data = json.loads(json.dumps(project_plan.write(PLAN)))
            parent = data
            for key in path[:-1]:
                parent = parent[key]
            parent[path[-1]] = value
            self.assertRaises(exceptions.InvalidData, project_plan.read, data)

    def test_range(self) -> None:
        for value in (-1, 0, 2**31 - 1, None):
            data = json.loads(json.dumps(project_plan.write(PLAN)))
            data['projects'][0]['steps'][0]['after'] = value
            (project_of_plan,) = project_plan.read(data).projects
            self.assertEqual(value, project_of_plan.steps[0].after)

    def moved(self, **changes: object) -> list[str]:
        return project_plan.moved(
            PLAN, dataclasses.replace(NOW, **changes), {'p1'}, {GPU, 'x'}
        )

    def test_moved(self) -> None:
        limit = test_project.limit
        access = {'f1': frozenset({'p1'}), 'f2': frozenset()}
        for changes in (
            {},
            # It was carried out in part, or as a whole.
            {'limits': (limit(GPU, 3),)},
            {'limits': (limit(GPU, 3),), 'access': access},
            # A limit that is none of devices, or of another project.
            {'limits': (limit(GPU, 2), limit('servers', 1, number=2))},
            {'limits': (limit(GPU, 2), limit('x', 1, 'p2', 2))},
        ):
            self.assertEqual([], self.moved(**changes))
        for changes, message in (
            ({'limits': ()}, f'research: limit {GPU} is None, and was 2'),
            (
                {'limits': (limit(GPU, 9),)},
                f'research: limit {GPU} is 9, and was 2',
            ),
            (
                {'limits': (limit(GPU, 2), limit('x', 1, number=2))},
                'research: limit x was added',
            ),
            (
                {'access': {'f1': frozenset(), 'f2': frozenset({'p1'})}},
                'research: flavor access gpu.2 was added',
            ),
            (
                {'registered': (test_project.registered(GPU, 5),)},
                f'registered limit {GPU} is 5, and was 0',
            ),
        ):
            (change,) = self.moved(**changes)
            self.assertIn(message, change)
        self.assertEqual(
            ['project research does not exist any more'],
            project_plan.moved(PLAN, NOW, set(), {GPU}),
        )
