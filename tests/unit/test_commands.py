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
import contextlib
import importlib
import io
import pathlib
import re
import shlex

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

    def test_help_keeps_paragraphs(self) -> None:
        """The first says what it is for, the last is the example."""
        for name, target in entry_points().items():
            command = load(target)(None, argparse.Namespace())
            text = command.get_parser('x').format_help()
            first, *_rest, example = command.get_description().split('\n\n')
            self.assertIn(f'\n\n{first}\n\n', text, name)
            self.assertIn(f'Example:\n\n{example.rstrip()}\n\n', text, name)

    def test_examples_can_be_run(self) -> None:
        for target in entry_points().values():
            command = load(target)(None, argparse.Namespace())
            example = command.get_description().split('\n\n')[-1]
            self.assert_parsed(example)

    def test_examples_of_documents_can_be_run(self) -> None:
        for path in (ROOT / 'README.rst', *DOC.rglob('*.rst')):
            for example in re.findall(
                r'^ +\$ (openstack (?:.*\\\n)*.*)$',
                path.read_text(),
                re.MULTILINE,
            ):
                with self.subTest(path.name, example=example):
                    self.assert_parsed(example)

    def assert_parsed(self, example: str) -> None:
        """Hold that a line of a shell is a command that there is."""
        # shlex takes the end of a line for a part of a word.
        example = example.replace('\\\n', ' ')
        lexer = shlex.shlex(example, posix=True, punctuation_chars='|>;')
        lexer.whitespace_split = True
        words = list(lexer)
        for mark in ('|', '>', ';'):
            if mark in words:
                words = words[: words.index(mark)]
        self.assertEqual('openstack', words.pop(0))
        if 'gpu' not in words:
            # Of the core.
            return
        words = words[words.index('gpu') :]
        commands = entry_points()
        for count in range(len(words), 1, -1):
            target = commands.get('_'.join(words[:count]))
            if target is not None:
                break
        else:
            self.fail(f'there is no command {example}')
        parser = load(target)(None, argparse.Namespace()).get_parser('x')
        with contextlib.redirect_stderr(io.StringIO()) as errors:
            try:
                parser.parse_args(words[count:])
            except SystemExit:
                self.fail(f'{example}: {errors.getvalue()}')

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

    def test_no_print(self) -> None:
        for path in (ROOT / 'gpuclient').rglob('*.py'):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and isinstance(
                    node.func, ast.Name
                ):
                    self.assertNotEqual('print', node.func.id, path)
