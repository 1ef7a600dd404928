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

"""The file of projects, with the lines of what is wrong with it."""

import io
import pathlib

import fixtures
import testtools

from gpuclient.documents import projects_file
from gpuclient import exceptions
from gpuclient.model import project_file

_BASE = """\
projects:
- name: a
  limits:
    class:PCPU: 3
    servers: """


class TestProjectsFile(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        folder = self.useFixture(fixtures.TempDir()).path
        self.path = pathlib.Path(folder) / 'projects.yaml'

    def read(self, text: str) -> tuple[project_file.WantedProject, ...]:
        self.path.write_text(text)
        return projects_file.ProjectsFile(str(self.path)).projects

    def test_lines(self) -> None:
        for text, line, message in (
            (f'{_BASE}lots', 5, 'projects[0].limits.servers: must be an in'),
            (f'{_BASE}-2', 5, 'projects[0].limits.servers: must be an in'),
            (f'{_BASE}99999999999', 5, 'must be at most 2147483647'),
            (f'{_BASE}3\n  foo: 3', 6, "projects[0]: unknown key 'foo'"),
            (f'{_BASE}3\n- name: a', 6, "'a' is used twice: also in proj"),
            (f'{_BASE}3\n- id: 1\n', 6, 'projects[1].id: must be a name'),
            (f'{_BASE}3\n- state: absent', 6, 'projects[1].name is missing'),
            (f'{_BASE}3\n- name: b\n  quotas: {{x: 3}}', 7, "key 'x'; kno"),
            (f'{_BASE}3\n    servers: 4', 6, "duplicate key 'servers'"),
            (f'{_BASE}3\n\tx: 1', 6, 'tab'),
            ('a', 1, 'file: must be a mapping, not a string'),
            ('[1]', 1, 'file: must be a mapping, not a list'),
            ('projects: 3', 1, 'projects: must be a list, not 3'),
            ('projects: [{name: " a"}]', 1, 'without spaces around it'),
            ('projects: [{name: a, flavors: [a, a]}]', 1, 'listed twice'),
            ('projects: [{name: a, state: gone}]', 1, 'present, absent'),
            (
                'projects: [{name: a, state: absent, flavors: [b]}]',
                1,
                'absent takes everything away',
            ),
            ('projects: [{name: a, limits: {[]: 3}}]', None, 'Cannot read'),
            (
                'projects: [{name: a, quotas: {cores: 2147483648}}]',
                1,
                'projects[0].quotas.cores: must be at most 2147483647',
            ),
            ('projects: {{ x }}', 1, 'looks like a template that was not'),
            ('projects:\n- name: {{ x }}', 2, 'looks like a template'),
            ('projects:\n- name: {{ x }}-1', 2, 'looks like a template'),
            ('projects:\n{% for x in y %}', 2, 'looks like a template'),
            (
                'projects:\n- !!python/object:os.x {}',
                2,
                "for the tag '!!python/object:os.x'",
            ),
            (
                'projects: [{name: !secret x}]',
                1,
                "the tag '***'; a value that begins with ! needs quotes",
            ),
            (
                'projects:\n- {name: t, id: a}\n- {name: u, id: a}',
                3,
                "projects[1].id: 'a' is used twice: also in projects[0]",
            ),
        ):
            error = self.assertRaises(exceptions.GPUError, self.read, text)
            self.assertIn(message, str(error), text)
            if line is not None:
                self.assertIn(f'{self.path}, line {line}: ', str(error))
            self.assertEqual(1, len(str(error).splitlines()))

    def test_other_files(self) -> None:
        self.assertIn(
            'file: must be a mapping, not null',
            str(self.assertRaises(exceptions.InvalidData, self.read, '')),
        )
        self.assertIn(
            'has 2 documents',
            str(
                self.assertRaises(
                    exceptions.DocumentError,
                    self.read,
                    'projects: []\n---\nprojects: []\n',
                )
            ),
        )
        # JSON, and scalars of YAML 1.2.
        (project,) = self.read('{"projects":\n\t[{"name": "yes"}]}')
        self.assertEqual('yes', project.name)
        (project,) = self.read('projects: [{name: yes}]')
        self.assertEqual('yes', project.name)

    def test_standard_input(self) -> None:
        stream = io.TextIOWrapper(io.BytesIO(b'projects: [{name: a}]'))
        self.useFixture(fixtures.MonkeyPatch('sys.stdin', stream))
        file = projects_file.ProjectsFile('-')
        self.assertEqual(['a'], [each.name for each in file.projects])
        self.assertEqual('<stdin>, line 1: x', str(file.located('x')))

    def test_many_projects(self) -> None:
        projects = [{'name': str(number)} for number in range(10001)]
        self.assertEqual(
            10000, len(project_file.parse({'projects': projects[:-1]}))
        )
        error = self.assertRaises(
            exceptions.InvalidData, project_file.parse, {'projects': projects}
        )
        self.assertIn('has 10001 projects; at most 10000', str(error))

    def test_written_file_is_read(self) -> None:
        wanted = [
            project_file.WantedProject(
                f'projects[{number}]',
                name=f'p {number}: ü#',
                domain='Default',
                flavors=('gpu.1',),
                limits={'class:CUSTOM_A': 2, 'servers': -1},
                quotas={'cores': 3},
                server_groups={'ring': 'affinity'},
                aggregates=(),
            )
            for number in range(3)
        ]
        wanted.append(
            project_file.WantedProject('projects[3]', id='1f', absent=True)
        )
        text = projects_file.write(wanted).decode()
        self.assertEqual(tuple(wanted), self.read(text))
