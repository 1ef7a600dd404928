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

"""Reading commands show the same from a snapshot as from the cloud.

The cloud is that of ``tests/hostile/answers.py``.
"""

import argparse
import collections.abc
import contextlib
import gzip
import io
import json
import logging
import os
import pathlib
import stat
import typing
import unittest.mock

import fixtures
import requests
import requests_mock
import testtools

from gpuclient import exceptions
from gpuclient.osc import command
from gpuclient.osc.v1 import alias
from gpuclient.osc.v1 import capacity
from gpuclient.osc.v1 import check
from gpuclient.osc.v1 import explain
from gpuclient.osc.v1 import flavor
from gpuclient.osc.v1 import metrics
from gpuclient.osc.v1 import placement
from gpuclient.osc.v1 import placement_check
from gpuclient.osc.v1 import project
from gpuclient.osc.v1 import server
from gpuclient.osc.v1 import snapshot
from gpuclient.osc.v1 import upgrade

from tests.hostile import answers

#: The reading commands, with their options that change what they request.
COMMANDS: tuple[tuple[type[command.Command], tuple[str, ...]], ...] = (
    (alias.ListAlias, ()),
    (alias.ShowAlias, ('a100',)),
    (alias.ShowAlias, ('other',)),
    (capacity.ListCapacity, ('--long',)),
    (capacity.ListCapacity, ('--stranded',)),
    (capacity.ListCapacity, ('--project', 'research')),
    (capacity.ListCapacity, ('--project', 'p1')),
    (capacity.ListCapacity, ('--availability-zone', 'nova')),
    (capacity.ListCapacity, ('--availability-zone', 'other')),
    (capacity.ShowCapacity, ('gpu.1',)),
    (capacity.ShowCapacity, ('other',)),
    (check.Check, ()),
    (explain.ExplainFlavor, ('gpu.1',)),
    (explain.ExplainFlavor, ('gpu.1', '--host', 'gpu-1')),
    (explain.ExplainFlavor, ('gpu.1', '--project', 'research')),
    (explain.ExplainFlavor, ('other',)),
    (explain.ExplainServer, ('other',)),
    (project.ListProject, ('--long',)),
    (project.ShowProject, ('p1',)),
    (upgrade.CheckUpgrade, ('--cloud', '--from', '2025.1', '--to', '2026.1')),
    (flavor.ListFlavor, ('--long', '--all')),
    (flavor.ShowFlavor, ('gpu.1',)),
    (metrics.ShowMetrics, ()),
    (placement_check.CheckPlacement, ()),
    (placement.ListPlacement, ('--long',)),
    (placement.ListPlacement, ('--all-hosts',)),
    (placement.ListPlacement, ('--resource-class', answers.CLASS)),
    (placement.ListPlacement, ('--resource-class', 'CUSTOM_OTHER')),
    (placement.ListPlacement, ('--host', 'gpu-1', '--used')),
    (placement.ListPlacement, ('--project', 'research')),
    (placement.ListPlacement, ('--trait', 'not a trait')),
    (placement.ListPlacement, ('--trait', 'COMPUTE_MANAGED_PCI_DEVICE')),
    (placement.ShowPlacement, ('gpu-1',)),
    (placement.ShowPlacement, ('a100',)),
    (placement.ShowPlacement, ('other',)),
    (server.ListServer, ('--long', '--all-projects')),
    (server.ListServer, ()),
    (server.ListServer, ('--host', 'gpu-1')),
    (server.ListServer, ('--project', 'research')),
)


class Shown(typing.NamedTuple):
    """The output of a command."""

    status: int
    stdout: str
    stderr: str


class SnapshotTestCase(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        folder = self.useFixture(fixtures.TempDir()).path
        self.path = os.path.join(folder, 'cloud.snapshot')
        self.useFixture(
            fixtures.MonkeyPatch('gpuclient.cloud.placement.reader.THREADS', 1)
        )
        #: Requests that were sent to the cloud.
        self.sent: list[str] = []

    @contextlib.contextmanager
    def cloud(self, broken: str = '') -> collections.abc.Iterator[None]:
        """Answer requests meanwhile.

        :param broken: Beginning of addresses that do not answer.
        """

        def answer(request: typing.Any, context: typing.Any) -> str:
            microversion = request.headers.get('OpenStack-API-Version', '')
            self.sent.append(
                f'{request.method} {request.url} {microversion}'.rstrip()
            )
            if broken and request.url.startswith(broken):
                raise requests.exceptions.ConnectTimeout('silent')
            context.status_code, body = answers.right_answer(
                request.method, request.url
            )
            context.headers['Content-Type'] = 'application/json'
            context.reason = {200: 'OK', 400: 'Bad Request'}.get(
                context.status_code, 'Not Found'
            )
            return json.dumps(body)

        with (
            requests_mock.Mocker() as mock,
            unittest.mock.patch('time.sleep'),
        ):
            mock.register_uri(
                requests_mock.ANY, requests_mock.ANY, text=answer
            )
            yield

    def run_command(
        self, kind: type[command.Command], *arguments: str, live: bool = False
    ) -> Shown:
        """Run a command.

        :param live: With the connection of a shell; there is none otherwise.
        """
        app = unittest.mock.Mock()
        app.stdout, app.stderr = io.StringIO(), io.StringIO()
        app.cloud_config.get_one.side_effect = AssertionError
        app.client_manager = None
        messages = io.StringIO()
        log = logging.getLogger('snapshots')
        log.propagate = False
        log.handlers = [logging.StreamHandler(messages)]
        with contextlib.ExitStack() as stack:
            stack.enter_context(unittest.mock.patch.object(kind, 'log', log))
            if live:
                cloud = answers.connect()
                app.client_manager = unittest.mock.Mock(gpu=cloud)
                for name, replacement in (
                    ('authenticate', lambda self: None),
                    ('optional_connection', lambda *_, **_kw: (cloud, '')),
                ):
                    stack.enter_context(
                        unittest.mock.patch.object(kind, name, replacement)
                    )
            shown = kind(app, argparse.Namespace())
            parsed = shown.get_parser('x').parse_args(
                [
                    *arguments,
                    *(() if kind is metrics.ShowMetrics else ('-f', 'json')),
                ]
            )
            try:
                status = shown.run(parsed)
            except exceptions.GPUError as exc:
                status = 1
                messages.write(f'{exc}\n')
        return Shown(
            status,
            app.stdout.getvalue(),
            app.stderr.getvalue() + messages.getvalue(),
        )

    def save(self, *arguments: str, broken: str = '') -> Shown:
        with self.cloud(broken):
            return self.run_command(
                snapshot.SaveSnapshot, self.path, *arguments, live=True
            )


class TestReplay(SnapshotTestCase):
    def test_commands_show_the_same(self) -> None:
        with self.cloud():
            live = [
                self.run_command(kind, *arguments, live=True)
                for kind, arguments in COMMANDS
            ]
        saved = self.save()
        self.assertEqual((0, ''), (saved.status, saved.stderr))
        self.sent.clear()
        for shown, (kind, arguments) in zip(live, COMMANDS, strict=True):
            replayed = self.run_command(
                kind, *arguments, '--snapshot', self.path
            )
            with self.subTest(kind.__name__, arguments=arguments):
                first, *others = replayed.stderr.splitlines()
                self.assertTrue(first.startswith(f'Snapshot {self.path} of'))
                self.assertEqual(
                    (shown.status, shown.stdout, shown.stderr.splitlines()),
                    (replayed.status, replayed.stdout, others),
                )
        self.assertEqual([], self.sent)

    def test_every_reading_command_is_tested(self) -> None:
        """A command with --snapshot sends only requests that are recorded."""
        room = pathlib.Path(command.__file__).parent / 'v1'
        for path in room.glob('*.py'):
            __import__(f'gpuclient.osc.v1.{path.stem}')
        pending: list[type[command.Command]] = [command.Command]
        reading = set()
        while pending:
            kind = pending.pop()
            pending += kind.__subclasses__()
            if kind.reads_snapshots and not kind.__subclasses__():
                reading.add(kind)
        self.assertEqual({kind for kind, _arguments in COMMANDS}, reading)

    def test_answers_are_read_once(self) -> None:
        # A leak is read again before it is reported.
        self.useFixture(
            fixtures.MonkeyPatch(
                'gpuclient.operations.leak_check._leaks', lambda *_: ()
            )
        )
        self.save()
        reads = [
            request
            for request in self.sent
            if 'GET' in request and not request.endswith('//nova/v2.1')
        ]
        self.assertEqual(sorted(set(reads)), sorted(reads))

    def test_what_is_not_recorded(self) -> None:
        self.save()
        shown = self.run_command(
            server.ListServer, '--user', 'mia', '--snapshot', self.path
        )
        self.assertEqual((1, ''), (shown.status, shown.stdout))
        self.assertEqual(
            f'Snapshot {self.path} has no answer to "identity GET '
            '/users/mia". It is recorded with "openstack gpu snapshot save '
            '--for user=NAME"',
            shown.stderr.splitlines()[-1],
        )
        shown = self.run_command(
            placement.ListPlacement,
            *('--trait', 'CUSTOM_OTHER', '--snapshot', self.path),
        )
        self.assertEqual(1, shown.status)
        self.assertIn('the trait CUSTOM_OTHER', shown.stderr)

    def test_recorded_by_name(self) -> None:
        self.save('--for', 'user=mia', '--for', 'project=other')
        shown = self.run_command(
            server.ListServer, '--user', 'mia', '--snapshot', self.path
        )
        self.assertIn("finding user 'mia' failed", shown.stderr)

    def test_one_cloud(self) -> None:
        self.save()
        for option in (('--cloud', 'x'), ('--all-regions',)):
            shown = self.run_command(
                placement.ListPlacement, *option, '--snapshot', self.path
            )
            self.assertEqual(1, shown.status)
            self.assertIn('omit --cloud and --all-regions', shown.stderr)

    def test_nothing_is_repaired(self) -> None:
        self.save()
        for option in (('--fix',), ('--plan', f'{self.path}.plan')):
            shown = self.run_command(
                placement_check.CheckPlacement,
                *option,
                *('--snapshot', self.path),
            )
            self.assertEqual(1, shown.status)
            self.assertIn('cannot be repaired', shown.stderr)
        self.assertFalse(os.path.exists(f'{self.path}.plan'))

    def test_no_snapshot(self) -> None:
        pathlib.Path(self.path).write_bytes(gzip.compress(b'{}'))
        for kind, arguments in dict(COMMANDS).items():
            shown = self.run_command(kind, *arguments, '--snapshot', self.path)
            self.assertEqual((1, ''), (shown.status, shown.stdout))
            self.assertEqual(
                f'Cannot read snapshot {self.path}: it is not a snapshot of a '
                'cloud\n',
                shown.stderr,
            )
        shown = self.run_command(
            alias.ListAlias, '--snapshot', f'{self.path}/x'
        )
        self.assertEqual(1, shown.status)
        self.assertIn('Cannot read', shown.stderr)


class TestSave(SnapshotTestCase):
    def test_only_the_owner_can_read_it(self) -> None:
        self.save()
        self.assertEqual(0o600, stat.S_IMODE(os.stat(self.path).st_mode))

    def test_an_existing_file_is_kept(self) -> None:
        pathlib.Path(self.path).write_text('mine')
        shown = self.save()
        self.assertEqual((1, ''), (shown.status, shown.stdout))
        self.assertIn('exists and is not replaced', shown.stderr)
        self.assertEqual('mine', pathlib.Path(self.path).read_text())
        self.assertEqual([], self.sent)

    def test_a_folder_that_is_none(self) -> None:
        pathlib.Path(self.path).write_text('mine')
        self.path += '/cloud.snapshot'
        shown = self.save()
        self.assertEqual((1, []), (shown.status, self.sent))

    def test_a_service_that_does_not_respond(self) -> None:
        shown = self.save(broken='http://keystone/v3/projects')
        self.assertEqual(1, shown.status)
        self.assertIn('identity GET /projects: ', shown.stderr)
        self.assertEqual(
            0,
            self.run_command(
                flavor.ListFlavor, '--snapshot', self.path
            ).status,
        )
        shown = self.run_command(
            capacity.ListCapacity,
            *('--project', 'research', '--snapshot', self.path),
        )
        self.assertEqual(1, shown.status)

    def test_no_service_responds(self) -> None:
        shown = self.save(broken='http')
        self.assertEqual((1, ''), (shown.status, shown.stdout))
        self.assertIn('No answer of this cloud was recorded', shown.stderr)
        self.assertFalse(os.path.exists(self.path))

    def test_wrong_subjects(self) -> None:
        for text in ('x', 'user', 'user=', 'host=x', '=x'):
            shown = self.save('--for', text)
            self.assertEqual((1, []), (shown.status, self.sent))
            self.assertIn(f'--for {text!r} is not KIND=NAME', shown.stderr)

    def test_show(self) -> None:
        saved = json.loads(self.save().stdout)
        shown = self.run_command(snapshot.ShowSnapshot, self.path)
        self.assertEqual(saved, json.loads(shown.stdout))
        shown = self.run_command(snapshot.ShowSnapshot, self.path, '--long')
        document = json.loads(shown.stdout)
        self.assertEqual(
            sum(saved['answers'].values()), len(document['requests'])
        )
        self.assertIn('compute GET /os-aggregates', document['requests'])

    def test_hidden_names(self) -> None:
        saved = json.loads(self.save('--hide-names').stdout)
        self.assertEqual(
            (None, None, True),
            (saved['cloud'], saved['region'], saved['names_hidden']),
        )
        content = gzip.decompress(pathlib.Path(self.path).read_bytes())
        for name in (b'research', b'gpu-1', b'keystone', b'nova/v2'):
            self.assertNotIn(name, content)
        shown = self.run_command(
            placement.ListPlacement, '--snapshot', self.path
        )
        self.assertEqual(0, shown.status)
        self.assertEqual(3, len(json.loads(shown.stdout)))
        self.assertIn('whose name is hidden', shown.stderr)
