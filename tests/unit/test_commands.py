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
import functools
import importlib
import importlib.metadata
import io
import pathlib
import re
import shlex
import types

from cliff import commandmanager
from cliff import complete
from cliff import help as cliff_help
import testtools

import gpuclient
from gpuclient import exceptions
from gpuclient.osc import command as base
from gpuclient.osc.v1 import overview

ROOT = pathlib.Path(gpuclient.__file__).parent.parent
DOC = ROOT / 'doc' / 'source'


#: Its help lists the other commands.
OVERVIEW = 'gpu-commands'
#: The most characters of a command's description in that list.
WIDTH = 53


@functools.cache
def all_entry_points() -> dict[str, str]:
    parser = configparser.ConfigParser()
    parser.read(ROOT / 'setup.cfg')
    lines = parser['entry_points']['openstack.gpu.v1'].split('\n')
    return {
        name.strip(): target.strip()
        for name, _equals, target in (
            line.partition('=') for line in lines if line.strip()
        )
    }


def entry_points() -> dict[str, str]:
    """Return all commands but the overview of them."""
    return {
        name: target
        for name, target in all_entry_points().items()
        if name != OVERVIEW
    }


def load(target: str) -> type[base.Command]:
    module, _colon, name = target.partition(':')
    return getattr(importlib.import_module(module), name)


@functools.cache
def options(target: str) -> frozenset[str]:
    parser = load(target)(None, argparse.Namespace()).get_parser('x')
    return frozenset(parser._option_string_actions)


class TestCommands(testtools.TestCase):
    def test_help_has_an_example(self) -> None:
        for name, target in entry_points().items():
            command = load(target)(None, argparse.Namespace())
            invocation = 'openstack ' + name.replace('_', ' ')
            description = command.get_description()
            self.assertIn('Example:', description, name)
            self.assertIn(invocation, description, name)
            text = command.get_parser(invocation).format_help()
            self.assertIn('-h, --help', text)

    def test_help_keeps_paragraphs(self) -> None:
        """The first paragraph is the purpose, the last one the example."""
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
        count = 0
        for path in (ROOT / 'README.rst', *DOC.rglob('*.rst')):
            for example in re.findall(
                r'^ +\$ (openstack (?:.*\\\n)*.*)$',
                path.read_text(),
                re.MULTILINE,
            ):
                count += 1
                with self.subTest(path.name, example=example):
                    self.assert_parsed(example)
        self.assertGreater(count, 50)

    def assert_parsed(self, example: str) -> None:
        """Assert that a shell line is an existing command."""
        # shlex keeps the end of a line as part of a word.
        example = example.replace('\\\n', ' ')
        lexer = shlex.shlex(example, posix=True, punctuation_chars='|>;')
        lexer.whitespace_split = True
        tokens = list(lexer)
        for mark in ('|', '>', ';'):
            if mark in tokens:
                tokens = tokens[: tokens.index(mark)]
        self.assertEqual('openstack', tokens.pop(0))
        if 'gpu' not in tokens:
            # A command of python-openstackclient.
            return
        commands = all_entry_points()
        if tokens[0] == 'help':
            name = '_'.join(tokens[1:])
            self.assertIn(OVERVIEW if name == 'gpu' else name, commands)
            return
        tokens = tokens[tokens.index('gpu') :]
        for count in range(len(tokens), 1, -1):
            target = commands.get('_'.join(tokens[:count]))
            if target is not None:
                break
        else:
            self.fail(f'there is no command {example}')
        parser = load(target)(None, argparse.Namespace()).get_parser('x')
        with contextlib.redirect_stderr(io.StringIO()) as errors:
            try:
                parser.parse_args(tokens[count:])
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
            _gpu, *nouns, action = name.split('_')
            thing = ' '.join(('gpu', *nouns))
            self.assertRegex(text, rf'{thing}[^.]*{action}', name)
            self.assertRegex(
                notes,
                rf'{thing} (\w+``(, )?(and )?``)*[^.]*{action}',
                name,
            )


class TestOverview(testtools.TestCase):
    """The output of cliff for ``gpu`` alone."""

    def setUp(self) -> None:
        super().setUp()
        manager = commandmanager.CommandManager('gpuclient.tests.none')
        for name, target in all_entry_points().items():
            manager.commands[name.replace('_', ' ')] = (
                importlib.metadata.EntryPoint(name, target, 'openstack.gpu.v1')
            )
        self.app = types.SimpleNamespace(
            NAME='openstack',
            command_manager=manager,
            interactive_mode=False,
            stdout=io.StringIO(),
            stderr=io.StringIO(),
        )

    def run_command(self, *terms: str) -> int:
        """Run a command as cliff finds it."""
        factory, name, arguments = self.app.command_manager.find_command(
            list(terms)
        )
        command = factory(self.app, None)
        parser = command.get_parser(f'openstack {name}')
        return command.run(parser.parse_args(arguments))

    def shown(self) -> list[str]:
        return re.findall(
            r'^  (gpu [a-z ]+?)  +[A-Z]',
            self.app.stdout.getvalue(),
            re.MULTILINE,
        )

    def test_help(self) -> None:
        help_command = cliff_help.HelpCommand(self.app, None)
        parsed_args = help_command.get_parser('help').parse_args(['gpu'])
        help_command.take_action(parsed_args)
        names = self.shown()
        self.assertEqual(
            sorted(name.replace('_', ' ') for name in entry_points()),
            sorted(names),
        )
        objects = dict.fromkeys(name.split()[1] for name in names)
        self.assertEqual(
            [
                *('check', 'host', 'model', 'alias', 'device', 'config'),
                *('placement', 'flavor', 'capacity', 'project', 'server'),
                'guest',
                *('metrics', 'snapshot', 'upgrade', 'rehearsal'),
            ],
            list(objects),
        )

    def test_completion_of_shells(self) -> None:
        words = complete.CompleteDictionary()
        for name, _entry_point in self.app.command_manager:
            words.add_command(name.split(), [])
        completions = dict(words.get_data())
        self.assertEqual(
            sorted({name.split('_')[1] for name in entry_points()}),
            completions['gpu'].split(),
        )
        self.assertEqual('list show', completions['gpu_model'])

    def test_closed_output(self) -> None:
        self.app.stdout = None
        self.assertRaises(exceptions.OutputError, self.run_command, 'gpu')

    def test_without_arguments(self) -> None:
        self.assertEqual(0, self.run_command('gpu'))
        self.assertEqual(len(entry_points()), len(self.shown()))

    def test_descriptions_fit_into_a_line(self) -> None:
        for name, target in entry_points().items():
            command = load(target)(None, argparse.Namespace())
            purpose = command.get_description().split('\n')[0]
            self.assertLessEqual(len(purpose), WIDTH, name)
            self.assertFalse(purpose.endswith('.'), name)

    def test_unknown_commands(self) -> None:
        for arguments, match in (
            (('gpu', 'alias', 'crate', 'a'), 'openstack gpu alias create'),
            (('gpu', 'flavour', 'list'), 'openstack gpu flavor list'),
            (('gpu', 'host'), 'openstack gpu host check'),
            (('gpu', 'nothing'), "See 'openstack help gpu'"),
        ):
            self.assertEqual(2, self.run_command(*arguments))
            self.assertIn(match, self.app.stderr.getvalue())
            self.app.stderr.truncate(0)
        self.assertEqual('', self.app.stdout.getvalue())

    def test_other_objects_come_last(self) -> None:
        self.assertEqual(
            [('Others', ['gpu thing do'])],
            overview.arrange(['gpu thing do']),
        )


#: A command in a message or a document, and the rest of the line.
_MENTION = re.compile(
    r'(?P<program>openstack )?\bgpu '
    r'(?P<terms>(?:{objects})(?: [a-z]+)+)(?P<rest>[^"`\n]*)'.format(
        objects='|'.join(
            sorted({name.split('_')[1] for name in entry_points()})
        )
    )
)


class TestMentions(testtools.TestCase):
    """Commands that messages, help and documents tell users to run."""

    def check(self, text: str, place: str, *, program: bool) -> int:
        """Assert that the commands in a text exist, with their options.

        :param program: Whether they have to begin with ``openstack``.
        :return: The number of commands.
        """
        commands = entry_points()
        count = 0
        for mention in _MENTION.finditer(text):
            count += 1
            terms = mention['terms'].split()
            named = [
                '_'.join(('gpu', *terms[:length]))
                for length in range(len(terms), 0, -1)
                if '_'.join(('gpu', *terms[:length])) in commands
            ]
            if not named:
                # An object, without an action.
                start = '_'.join(('gpu', *terms[:2], ''))
                self.assertTrue(
                    any(name.startswith(start) for name in commands),
                    f'{place}: no command {mention[0]!r}',
                )
                continue
            if program:
                self.assertTrue(mention['program'], f'{place}: {mention[0]}')
            for option in re.findall(
                r'(?<!\S)--[a-z][a-z-]+', mention['rest']
            ):
                self.assertIn(
                    option,
                    options(commands[named[0]]),
                    f'{place}: {mention[0]}',
                )
        return count

    def test_messages(self) -> None:
        count = 0
        for path in (ROOT / 'gpuclient').rglob('*.py'):
            tree = ast.parse(path.read_text())
            # Comments and docstrings are not messages.
            documented = (
                ast.Module,
                ast.ClassDef,
                ast.FunctionDef,
            )
            docstrings = {
                ast.get_docstring(node, clean=False)
                for node in ast.walk(tree)
                if isinstance(node, documented)
            }
            for node in ast.walk(tree):
                if isinstance(node, ast.JoinedStr):
                    text = ''.join(
                        part.value if isinstance(part, ast.Constant) else '{}'
                        for part in node.values
                    )
                elif isinstance(node, ast.Constant) and isinstance(
                    node.value, str
                ):
                    text = node.value
                else:
                    continue
                if text not in docstrings:
                    count += self.check(
                        text,
                        f'{path}:{node.lineno}',
                        program=self.is_message(text),
                    )
        self.assertGreater(count, 50)

    def is_message(self, text: str) -> bool:
        """Whether a text is a message, not a part of one."""
        return not text.startswith('gpu ')

    def test_documents(self) -> None:
        count = 0
        for path in (ROOT / 'README.rst', *DOC.rglob('*.rst')):
            count += self.check(path.read_text(), path.name, program=False)
        self.assertGreater(count, 50)


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
