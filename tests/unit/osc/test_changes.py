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

"""Questions, plans and interruptions of commands that change Placement."""

import argparse
import io
import json
import os
import types
import typing

import ddt
import fixtures
import testtools

from gpuclient import exceptions
from gpuclient.operations import device_ledger
from gpuclient.operations import placement_journal
from gpuclient.osc import command
from gpuclient.osc import confirmation
from gpuclient.osc.v1 import placement_check
from gpuclient.osc.v1 import placement_set
from gpuclient.osc.v1 import project_apply


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def _app() -> typing.Any:
    return types.SimpleNamespace(
        stdout=io.StringIO(), stderr=io.StringIO(), options=None
    )


@ddt.ddt
class TestQuestion(testtools.TestCase):
    def ask(self, answer: str) -> tuple[bool, str]:
        stderr = _Terminal()
        self.useFixture(fixtures.MonkeyPatch('sys.stdin', _Terminal(answer)))
        self.useFixture(fixtures.MonkeyPatch('sys.stderr', stderr))
        agreed = confirmation.confirm(
            argparse.Namespace(yes=False), ['a: b'], 'Make this change'
        )
        return agreed, stderr.getvalue()

    @ddt.data('n\n', '\n', 'rubbish\n')
    def test_no(self, answer: str) -> None:
        self.assertEqual(
            (False, 'a: b\nMake this change? [y/N] Nothing was changed\n'),
            self.ask(answer),
        )

    def test_end_of_input(self) -> None:
        self.assertEqual(
            (False, 'a: b\nMake this change? [y/N] \nNothing was changed\n'),
            self.ask(''),
        )

    def test_yes(self) -> None:
        self.assertEqual(
            (True, 'a: b\nMake this change? [y/N] '), self.ask('Y\n')
        )


class TestPlan(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        folder = self.useFixture(fixtures.TempDir()).path
        self.path = os.path.join(folder, 'plan.json')
        self.name = placement_journal.CloudName('http://a:5000', 'r')

    def test_existing_file(self) -> None:
        placement_journal.write_plan(self.path, self.name, ())
        with open(self.path, encoding='utf-8') as stream:
            content = stream.read()
        error = self.assertRaises(
            exceptions.DocumentError,
            placement_journal.write_plan,
            self.path,
            self.name,
            (),
        )
        self.assertIn('exists and is not replaced', str(error))
        with open(self.path, encoding='utf-8') as stream:
            self.assertEqual(content, stream.read())

    def test_other_cloud(self) -> None:
        """Addresses differ: the user is told."""
        check = placement_check.CheckPlacement(_app(), argparse.Namespace())
        config = types.SimpleNamespace(
            config={'auth': {'auth_url': 'http://a:5000'}}, region_name='r'
        )
        replayed: typing.Any = types.SimpleNamespace(config=config)
        check._replayed = replayed
        logger = self.useFixture(fixtures.FakeLogger(check.log.name))
        check._compare(self.name, self.path)
        self.assertEqual('', logger.output)
        check._compare(
            placement_journal.CloudName('http://b:5000', 'r'), self.path
        )
        self.assertIn(
            'was written for http://b:5000, region r, and this cloud is '
            'http://a:5000, region r',
            logger.output,
        )


class TestPlanOfProjects(testtools.TestCase):
    def test_existing_file(self) -> None:
        """It is refused before the cloud is read."""
        path = self.useFixture(fixtures.TempDir()).path
        apply = project_apply.ApplyProject(_app(), argparse.Namespace())
        parsed_args = apply.get_parser('apply').parse_args(
            ['projects.yaml', '--plan', path]
        )
        error = self.assertRaises(
            exceptions.DocumentError, apply.take_action, parsed_args
        )
        self.assertIn('exists and is not replaced', str(error))


class TestPlanOfRepairs(testtools.TestCase):
    def test_existing_file(self) -> None:
        """It is refused before the cloud is read."""
        path = self.useFixture(fixtures.TempDir()).path
        check = placement_check.CheckPlacement(_app(), argparse.Namespace())
        parsed_args = check.get_parser('check').parse_args(['--plan', path])
        error = self.assertRaises(
            exceptions.DocumentError, check.take_action, parsed_args
        )
        self.assertIn('exists and is not replaced', str(error))


class _Interrupted(command.Command):
    """A command that the user interrupts."""

    use_of_cloud = command.CloudUse.UNUSED

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        self.done = parsed_args.done
        raise KeyboardInterrupt


class TestInterruption(testtools.TestCase):
    def run_command(self, done: str) -> str:
        app = _app()
        shown = _Interrupted(app, argparse.Namespace())
        self.assertRaises(
            KeyboardInterrupt, shown.run, argparse.Namespace(done=done)
        )
        return app.stderr.getvalue()

    def test_after_a_change(self) -> None:
        self.assertEqual(
            '\nInterrupted. Journal: /a.json\n',
            self.run_command('Journal: /a.json'),
        )

    def test_repair(self) -> None:
        """The journal of a repair is named if it has writes."""
        folder = self.useFixture(fixtures.TempDir()).path
        self.useFixture(
            fixtures.MonkeyPatch(
                'gpuclient.operations.leak_repair.Repairer',
                lambda *arguments: arguments[1],
            )
        )
        for name, entries, expected in (
            ('a', [], ''),
            (
                'b',
                ['entry'],
                f'The journal of this run is {folder}/b: run "openstack gpu '
                'placement check --fix" again to finish, or take it back with '
                f'"openstack gpu placement check --undo {folder}/b"',
            ),
        ):
            check = placement_check.CheckPlacement(
                _app(), argparse.Namespace()
            )
            config = types.SimpleNamespace(config={}, region_name=None)
            replayed: typing.Any = types.SimpleNamespace(config=config)
            check._replayed = replayed
            parsed_args = argparse.Namespace(
                journal=os.path.join(folder, name), wait=1
            )

            def repair(
                check: typing.Any = check,
                parsed_args: argparse.Namespace = parsed_args,
                entries: list[str] = entries,
            ) -> None:
                with check._repairer(parsed_args) as journal:
                    journal.entries.extend(entries)
                    raise KeyboardInterrupt

            self.assertRaises(KeyboardInterrupt, repair)
            self.assertEqual(expected, check.done)

    def test_without_a_change(self) -> None:
        self.assertEqual('', self.run_command(''))


class TestAdministrators(testtools.TestCase):
    def refuse(self, message: str) -> str:
        shown = _Interrupted(_app(), argparse.Namespace())

        def run() -> None:
            with shown.for_administrators():
                raise exceptions.Forbidden(message)

        return str(self.assertRaises(exceptions.Forbidden, run))

    def test_hint(self) -> None:
        self.assertEqual(
            'Policy refuses. This command is for administrators only. As a '
            'member of a project, list your servers with "openstack gpu '
            'server list"',
            self.refuse('Policy refuses.'),
        )

    def test_hint_that_is_there(self) -> None:
        message = 'Placement lists devices for administrators only'
        self.assertEqual(message, self.refuse(message))


class TestLedger(testtools.TestCase):
    def test_secrets(self) -> None:
        """The file keeps them, as its digest is that of the output."""
        folder = self.useFixture(fixtures.TempDir()).path
        path = os.path.join(folder, 'ledger.jsonl')
        device_ledger.add(
            path,
            [
                device_ledger.LedgerLine(
                    time='2026-11-29T12:00:00+00:00',
                    state='failed',
                    device='h0_0000:04:00.0',
                    provider='p',
                    host='h0',
                    address='0000:04:00.0',
                    command=('wipe', '--password', 'hunter22', '0000:04:00.0'),
                    status=1,
                    output='password=hunter22 is wrong\n',
                )
            ],
        )
        listing = placement_set.ListPlacementLedger(
            _app(), argparse.Namespace()
        )
        parsed_args = listing.get_parser('list').parse_args(
            ['--ledger', path, '--long']
        )
        headers, rows = listing.take_action(parsed_args)
        (row,) = rows
        shown = dict(zip(headers, row, strict=True))
        text = json.dumps(
            [shown[name].machine_readable() for name in ('Command', 'Output')]
        )
        self.assertNotIn('hunter22', text)
        self.assertIn('wipe --password ', text)
        self.assertIn('is wrong', text)
