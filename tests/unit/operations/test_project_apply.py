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


"""Projects of a file, looked up in a cloud."""

import argparse
import pathlib
import types
import typing

import fixtures
import testtools

from gpuclient.documents import projects_file
from gpuclient import exceptions
from gpuclient.model import project as project_model
from gpuclient.operations import project_apply
from gpuclient.operations import project_run
from gpuclient.osc.v1 import project_apply as command


class TestFind(testtools.TestCase):
    def find(self, text: str) -> object:
        folder = self.useFixture(fixtures.TempDir()).path
        path = pathlib.Path(folder) / 'projects.yaml'
        path.write_text(f'projects: [{text}]')
        file = projects_file.ProjectsFile(str(path))
        reader: typing.Any = types.SimpleNamespace(file=file, notes=[])
        found = project_apply._Reader._find(
            reader, file.projects[0], {}, {}, {}, False
        )
        return found or reader.notes

    def test_value_of_the_key(self) -> None:
        for text, message in (
            (
                '{name: team1, id: abc}',
                "projects[0].id: no project has the id 'abc'",
            ),
            ('{id: abc}', "projects[0].id: no project has the id 'abc'"),
            (
                '{name: team1}',
                "projects[0].name: no project has the name 'team1'",
            ),
        ):
            error = self.assertRaises(exceptions.InvalidData, self.find, text)
            self.assertIn(message, str(error))

    def test_absent(self) -> None:
        self.assertEqual(
            (project_model.Project('abc', 'team1'), False),
            self.find('{name: team1, id: abc, state: absent}'),
        )
        self.assertIn(
            "Project 'team1' does not exist",
            str(self.find('{name: team1, state: absent}')),
        )


class TestColumns(testtools.TestCase):
    def hides_ids(self, *names: str, **options: object) -> bool:
        parsed_args = argparse.Namespace(
            formatter='table', columns=[], sort_columns=[], long=False
        )
        vars(parsed_args).update(options)
        return command._hides_ids(
            parsed_args,
            project_run.RunResult(
                [],
                [
                    project_run.ProjectResult(
                        project_model.Desired(str(number), name), []
                    )
                    for number, name in enumerate(names)
                ],
            ),
        )

    def test_ids(self) -> None:
        """Programs always get the IDs."""
        self.assertTrue(self.hides_ids('a', 'b'))
        # Two domains have a project of this name.
        self.assertFalse(self.hides_ids('a', 'a'))
        for options in (
            {'formatter': 'json'},
            {'formatter': 'value'},
            {'formatter': 'csv'},
            {'columns': ['Project ID']},
            {'sort_columns': ['Project ID']},
            {'long': True},
        ):
            self.assertFalse(self.hides_ids('a', 'b', **options))
