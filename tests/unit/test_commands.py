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

"""Every command has help, an example, documentation and an entry point."""

import argparse
import ast
import configparser
import importlib
import pathlib
import re

import testtools

import gpuclient
from gpuclient.osc import command as base

ROOT = pathlib.Path(gpuclient.__file__).parent.parent
DOC = ROOT / 'doc' / 'source'


def entry_points() -> dict[str, str]:
    parser = configparser.ConfigParser()
    parser.read(ROOT / 'setup.cfg')
    lines = parser['entry_points']['openstack.gpu.v1'].split('\n')
    return {
        name.strip(): target.strip()
        for name, _equals, target in (
            line.partition('=') for line in lines if line.strip()
        )
    }


def load(target: str) -> type[base.Command]:
    module, _colon, name = target.partition(':')
    return getattr(importlib.import_module(module), name)


class TestCommands(testtools.TestCase):
    def test_help_has_an_example(self) -> None:
        for name, target in entry_points().items():
            command = load(target)(None, argparse.Namespace())
            words = 'openstack ' + name.replace('_', ' ')
            description = command.get_description()
            self.assertIn('Example:', description, name)
            self.assertIn(words, description, name)
            text = command.get_parser(words).format_help()
            self.assertIn('-h, --help', text)

    def test_every_option_has_help(self) -> None:
        for name, target in entry_points().items():
            parser = load(target)(None, argparse.Namespace()).get_parser('x')
            for action in parser._actions:
                self.assertTrue(action.help, (name, action))

    def test_classes_are_named_after_the_command(self) -> None:
        for name, target in entry_points().items():
            _gpu, *thing, action = name.split('_')
            self.assertEqual(
                ''.join(word.capitalize() for word in (action, *thing)),
                target.rpartition(':')[2],
            )

    def test_documented(self) -> None:
        text = ''.join(path.read_text() for path in DOC.rglob('user/*.rst'))
        notes = ''.join(
            path.read_text()
            for path in (ROOT / 'releasenotes' / 'notes').iterdir()
        )
        for name in entry_points():
            _gpu, *words, action = name.split('_')
            thing = ' '.join(words)
            self.assertRegex(text, rf'gpu {thing}[^.]*{action}', name)
            self.assertRegex(
                notes,
                rf'gpu {thing} (\w+``(, )?(and )?``)*[^.]*{action}',
                name,
            )


class TestDocuments(testtools.TestCase):
    def test_every_finding_is_explained(self) -> None:
        page = (DOC / 'user' / 'findings.rst').read_text()
        documented = set(re.findall(r'^(GPU\d{3})$', page, re.MULTILINE))
        used = set()
        for path in (ROOT / 'gpuclient').rglob('*.py'):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Constant) and isinstance(
                    node.value, str
                ):
                    used |= set(re.findall(r'^GPU\d{3}$', node.value))
        self.assertEqual(used, documented)

    def test_readme_names_commands_that_exist(self) -> None:
        names = {name.replace('_', ' ') for name in entry_points()}
        for path in (ROOT / 'README.rst', *DOC.rglob('*.rst')):
            for words in re.findall(
                r'\$ openstack (?:--\S+ \S+ )?'
                r'(gpu (?:device |host (?=bundle|config))?\w+ \w+)',
                path.read_text(),
            ):
                self.assertIn(words, names, path)

    def test_no_print(self) -> None:
        for path in (ROOT / 'gpuclient').rglob('*.py'):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and isinstance(
                    node.func, ast.Name
                ):
                    self.assertNotEqual('print', node.func.id, path)
