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

"""Run the real ``openstack`` shell against a rehearsal cloud."""

import atexit
import collections.abc
import dataclasses
import io
import json
import logging
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
import typing
import unittest.mock
import uuid

import fixtures
import openstack
from openstack import connection
from openstack import exceptions as sdk_exceptions
from openstackclient import shell
from osc_lib import clientmanager
import testtools
import yaml

from gpuclient.rehearsal import control

from tests.functional import proxy

#: The clouds.yaml of the cloud that tests/functional/run.py has started.
CLOUDS_YAML = 'GPUCLIENT_FUNCTIONAL_CLOUDS_YAML'
#: Its entries: of the admin, and of a member of a project.
ADMIN = 'functional'
MEMBER = 'functional-member'
#: Seconds between two checks of a condition: the first, and at most.
_FIRST_INTERVAL, _LAST_INTERVAL = 0.05, 0.4
T = typing.TypeVar('T')
#: The shell in its own process.
PROGRAM = (sys.executable, '-m', 'openstackclient.shell')


@dataclasses.dataclass(frozen=True)
class Result:
    """The result of a command."""

    status: int
    stdout: str
    stderr: str


def run_openstack(*arguments: str) -> Result:
    """Run the real shell in this process."""
    root = logging.getLogger()
    # The shell adds handlers for its stderr and does not remove them.
    before = list(root.handlers)
    level = root.level
    stdout, stderr = io.StringIO(), io.StringIO()
    try:
        with (
            unittest.mock.patch('sys.stdout', stdout),
            unittest.mock.patch('sys.stderr', stderr),
            # It caches a client of each service in a process, but each run of
            # the shell may be of another user.
            unittest.mock.patch.object(
                clientmanager.ClientCache,
                '__get__',
                lambda self, instance, owner: self.factory(instance),
            ),
        ):
            root.handlers[:] = []
            try:
                status = shell.main(list(arguments))
            except SystemExit as exc:
                # argparse exits on invalid arguments.
                status = exc.code if isinstance(exc.code, int) else 1
    finally:
        root.handlers[:] = before
        root.setLevel(level)
    return Result(status or 0, stdout.getvalue(), stderr.getvalue())


def wait_until(
    condition: collections.abc.Callable[[], T],
    timeout: float = 60,
    expected: str = 'the condition holds',
) -> T:
    """Return the first value of a condition that is true.

    None and False are not true; an empty list is a value.

    :raises AssertionError: There is none in time.
    """
    deadline = time.monotonic() + timeout
    interval = _FIRST_INTERVAL
    while (value := condition()) is None or value is False:
        if time.monotonic() > deadline:
            raise AssertionError(f'{expected}: not so in {timeout} seconds')
        time.sleep(interval)
        interval = min(1.5 * interval, _LAST_INTERVAL)
    return value


def settled_servers(
    cloud: connection.Connection,
) -> list[typing.Any] | None:
    """Return all servers once each has booted or failed."""
    servers = list(cloud.compute.servers())
    if all(server.status in ('ACTIVE', 'ERROR') for server in servers):
        return servers
    return None


def count_builds(cloud: connection.Connection) -> int:
    """Return how many servers have neither booted nor failed."""
    return sum(
        server.status not in ('ACTIVE', 'ERROR')
        for server in cloud.compute.servers()
    )


def run_program(*arguments: str) -> Result:
    """Run the real shell in its own process."""
    done = subprocess.run(
        [*PROGRAM, *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    return Result(done.returncode, done.stdout, done.stderr)


class ShellTestCase(testtools.TestCase):
    """Runs commands, without clouds in the environment."""

    #: ``--os-cloud`` of the commands.
    os_cloud: str | None = None
    #: Seconds after which a test fails.
    timeout = 150

    def setUp(self) -> None:
        super().setUp()
        self.useFixture(fixtures.Timeout(self.timeout, gentle=True))
        for name in list(os.environ):
            if name.startswith('OS_') or name.lower().endswith('_proxy'):
                self.useFixture(fixtures.EnvironmentVariable(name))
        self.useFixture(fixtures.EnvironmentVariable('no_proxy', '*'))
        self._connections: dict[str, connection.Connection] = {}

    def through(
        self,
        service: str,
        rule: proxy.Rule = lambda request: None,
        os_cloud: str | None = None,
    ) -> proxy.Proxy:
        """Send the requests of the next commands through a proxy.

        :param service: ``compute``, ``placement`` or ``identity``.
        """
        url = self.connect(os_cloud).session.get_endpoint(
            service_type=service, interface='public'
        )
        between = proxy.Proxy(url, rule)
        self.enterContext(between)
        self.configure(**{f'{service}_endpoint_override': between.url})
        return between

    def configure(self, **settings: typing.Any) -> None:
        """Change the settings of the clouds for the next commands."""
        path = os.environ['OS_CLIENT_CONFIG_FILE']
        with open(path, encoding='utf-8') as stream:
            document = yaml.safe_load(stream)
        for cloud in document['clouds'].values():
            for key, value in settings.items():
                if isinstance(value, dict):
                    cloud[key] = {**cloud.get(key, {}), **value}
                else:
                    cloud[key] = value
        folder = self.useFixture(fixtures.TempDir()).path
        changed = os.path.join(folder, 'clouds.yaml')
        with open(changed, 'w', encoding='utf-8') as stream:
            yaml.safe_dump(document, stream)
        self.useFixture(
            fixtures.EnvironmentVariable('OS_CLIENT_CONFIG_FILE', changed)
        )

    def use(self, cloud: dict[str, typing.Any]) -> None:
        """Let the next commands use a rehearsal cloud."""
        self.useFixture(
            fixtures.EnvironmentVariable(
                'OS_CLIENT_CONFIG_FILE',
                os.path.join(cloud['directory'], 'clouds.yaml'),
            )
        )
        self.os_cloud = cloud['name']

    def connect(self, os_cloud: str | None = None) -> connection.Connection:
        """Return an SDK connection."""
        os_cloud = os_cloud or self.os_cloud
        assert os_cloud is not None
        if os_cloud not in self._connections:
            cloud = openstack.connect(cloud=os_cloud)
            self.addCleanup(cloud.close)
            self._connections[os_cloud] = cloud
        return self._connections[os_cloud]

    def wait_for_server(
        self, server_id: str, *statuses: str, timeout: float = 90
    ) -> typing.Any:
        """Return a server once it has one of some statuses."""
        compute = self.connect().compute

        def find() -> typing.Any:
            server = compute.get_server(server_id)
            if server.task_state is None and server.status in (
                *statuses,
                'ERROR',
            ):
                return server
            return None

        server = wait_until(
            find, timeout, f'server {server_id} is {" or ".join(statuses)}'
        )
        self.assertIn(server.status, statuses, server.fault)
        return server

    def delete(self, *server_ids: str) -> None:
        """Delete servers, if they exist, and wait until they are deleted."""
        compute = self.connect().compute
        for server_id in server_ids:
            compute.delete_server(server_id, ignore_missing=True)
        for server_id in server_ids:
            wait_until(
                lambda server_id=server_id: self._is_deleted(server_id),
                90,
                f'server {server_id} is deleted',
            )

    def _is_deleted(self, server_id: str) -> bool:
        try:
            self.connect().compute.get_server(server_id)
        except sdk_exceptions.NotFoundException:
            return True
        return False

    def run_command(
        self, *arguments: str, os_cloud: str | None = None
    ) -> Result:
        """Run a command; fail only if it prints a traceback."""
        cloud = os_cloud or self.os_cloud
        prefix = ['--os-cloud', cloud] if cloud else []
        result = run_openstack(*prefix, *arguments)
        self.assertNotIn('Traceback', result.stderr)
        return result

    def openstack(
        self,
        *arguments: str,
        status: int = 0,
        os_cloud: str | None = None,
    ) -> typing.Any:
        """Run a command and return its output, parsed if it is JSON.

        Fails if it has another exit status, or succeeds and writes to stderr.
        """
        result = self.run_command(*arguments, os_cloud=os_cloud)
        command = 'openstack ' + ' '.join(arguments)
        self.assertEqual(
            status,
            result.status,
            f'{command}\n{result.stdout}\n{result.stderr}',
        )
        if not status:
            self.assertEqual('', result.stderr, command)
        if 'json' in arguments and result.stdout:
            return json.loads(result.stdout)
        return result.stdout

    def refused(
        self, *arguments: str, status: int = 1, os_cloud: str | None = None
    ) -> str:
        """Run a command that fails; return what it writes to stderr."""
        result = self.run_command(*arguments, os_cloud=os_cloud)
        self.assertEqual(
            status, result.status, f'{result.stdout}\n{result.stderr}'
        )
        return result.stderr.strip()

    def assert_golden(self, name: str, output: typing.Any) -> None:
        """Compare output with a file in ``golden/``.

        Keys, their order, types and values are an interface. Set
        GPUCLIENT_WRITE_GOLDEN to write the files, and review the diff.
        """
        path = pathlib.Path(__file__).parent / 'golden' / f'{name}.json'
        text = json.dumps(normalized(output), indent=1) + '\n'
        if os.environ.get('GPUCLIENT_WRITE_GOLDEN'):
            path.write_text(text)
        self.assertEqual(path.read_text(), text)


def normalized(value: typing.Any) -> typing.Any:
    """Return output without the values that differ in each run."""
    if isinstance(value, dict):
        return {key: normalized(item) for key, item in value.items()}
    if isinstance(value, list):
        return [normalized(item) for item in value]
    if isinstance(value, str):
        return re.sub(
            '[0-9a-f]{8}(-?[0-9a-f]{4}){3}-?[0-9a-f]{12}', '<id>', value
        )
    return value


class CloudTestCase(ShellTestCase):
    """A test on the cloud that all functional tests of a run share.

    ``tests/functional/cloud.yaml`` has its hosts, devices and aliases. Other
    tests use it at the same time: create what you need under a unique name
    (:meth:`unique`), and expect what other tests create.
    """

    os_cloud = ADMIN

    def setUp(self) -> None:
        super().setUp()
        path = os.environ.get(CLOUDS_YAML)
        if not path:
            self.fail(
                f'{CLOUDS_YAML} is not set: run functional tests with '
                '"python -m tests.functional.run", which starts the cloud'
            )
        self.useFixture(
            fixtures.EnvironmentVariable('OS_CLIENT_CONFIG_FILE', path)
        )
        self._servers: list[str] = []

    def as_member(self, *arguments: str, status: int = 0) -> typing.Any:
        """Run :meth:`openstack` as a member of the project demo."""
        return self.openstack(*arguments, status=status, os_cloud=MEMBER)

    @staticmethod
    def unique(prefix: str = 'test') -> str:
        """Return a name that no other test uses."""
        return f'{prefix}-{uuid.uuid4().hex[:8]}'

    def make_flavor(
        self,
        aliases: str | None = None,
        *,
        vcpus: int = 1,
        ram: int = 512,
        is_public: bool = True,
        **extra_specs: str,
    ) -> typing.Any:
        """Create a flavor; it is deleted when the test ends.

        :param aliases: The value of ``pci_passthrough:alias``.
        """
        compute = self.connect().compute
        flavor = compute.create_flavor(
            name=self.unique('flavor'),
            vcpus=vcpus,
            ram=ram,
            disk=1,
            is_public=is_public,
        )
        self.addCleanup(compute.delete_flavor, flavor.id)
        if aliases is not None:
            extra_specs['pci_passthrough:alias'] = aliases
        if extra_specs:
            response = compute.post(
                f'/flavors/{flavor.id}/os-extra_specs',
                json={'extra_specs': extra_specs},
                microversion='2.86',
            )
            self.assertEqual(200, response.status_code, response.text)
        return flavor

    def boot(
        self,
        flavor: typing.Any,
        *,
        status: str = 'ACTIVE',
        os_cloud: str = ADMIN,
        host: str | None = None,
        name: str | None = None,
    ) -> typing.Any:
        """Boot a server and wait until it has a status.

        It is deleted when the test ends. Tests that run at the same time share
        the devices of the cloud: a server that must be ACTIVE is booted again
        while no host has a free device for it.

        :param host: The compute service to boot it on (admin only).
        """
        compute = self.connect(os_cloud).compute
        (image,) = self.connect().image.images(name='blank')
        request: dict[str, typing.Any] = {
            'name': name or self.unique('server'),
            'flavorRef': flavor.id,
            'imageRef': image.id,
            'networks': 'none',
        }
        if host is not None:
            request['host'] = host

        def boot() -> typing.Any:
            response = compute.post(
                '/servers', json={'server': request}, microversion='2.90'
            )
            self.assertEqual(202, response.status_code, response.text)
            server_id = response.json()['server']['id']
            self._servers.append(server_id)
            self.addCleanup(self._delete_servers)
            server = self.wait_for_server(server_id, status, 'ERROR')
            if server.status != status and 'No valid host' in str(
                server.fault
            ):
                self.delete(server_id)
                return None
            return server

        server = wait_until(boot, 60, 'a host has a free device')
        self.assertEqual(status, server.status, server.fault)
        return server

    def _delete_servers(self) -> None:
        """Delete all servers of this test at the same time."""
        servers, self._servers = self._servers, []
        self.delete(*servers)


class OwnCloudTestCase(ShellTestCase):
    """A test that starts clouds of its own."""

    timeout = 300

    def setUp(self) -> None:
        super().setUp()
        # Short: the path of a socket in it has 107 bytes.
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix='gpu-'))
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        self.useFixture(
            fixtures.EnvironmentVariable(
                'XDG_STATE_HOME', os.fspath(self.directory / 'state')
            )
        )
        self.useFixture(
            fixtures.EnvironmentVariable(
                'XDG_CONFIG_HOME', os.fspath(self.directory / 'config')
            )
        )

    def start(
        self, name: str, *arguments: str, status: int = 0
    ) -> dict[str, typing.Any]:
        """Start a cloud and let the next commands use it.

        It is stopped when the test ends.
        """
        self.stop_at_the_end(name)
        result = self.run_command(
            *('gpu', 'rehearsal', 'start', name, '-f', 'json'),
            *('--bound-to', str(os.getpid())),
            *arguments,
        )
        self.assertEqual(status, result.status, result.stderr)
        self.start_errors = result.stderr
        cloud: dict[str, typing.Any] = json.loads(result.stdout)
        self.use(cloud)
        return cloud

    def stop_at_the_end(self, name: str) -> None:
        """Stop a cloud when the test ends; fail if it does not stop.

        Without the shell, whose environment a test may have changed.
        """
        folder = control.folder(name, None)

        def stop() -> None:
            if folder.exists():
                control.stop(folder)
            self.assertFalse(folder.locked())

        self.addCleanup(stop)


@dataclasses.dataclass(frozen=True)
class StartedCloud:
    """A cloud of :class:`CommonCloudTestCase`."""

    #: The output of ``gpu rehearsal start``.
    cloud: dict[str, typing.Any]
    stderr: str


class CommonCloudTestCase(ShellTestCase):
    """A test on a cloud that several tests of one process share.

    The first test starts the cloud, which ends with the process. A test
    deletes what it creates and does not change what others rely on.
    """

    timeout = 300
    #: The name of the cloud, and the arguments that it is started with.
    name: str
    arguments: tuple[str, ...] = ()
    start_status = 0
    _clouds: typing.ClassVar[dict[str, StartedCloud]] = {}

    def setUp(self) -> None:
        super().setUp()
        if self.name not in self._clouds:
            self._clouds[self.name] = self._start()
        self.started = self._clouds[self.name]
        self.use(self.started.cloud)

    def _start(self) -> StartedCloud:
        # Short: the path of a socket in it has 107 bytes.
        directory = tempfile.mkdtemp(prefix='gpu-')
        atexit.register(_stop_and_delete, self.name, directory)
        result = self.run_command(
            *('gpu', 'rehearsal', 'start', self.name, '-f', 'json'),
            *('--directory', os.path.join(directory, self.name)),
            *('--bound-to', str(os.getpid())),
            *self.arguments,
        )
        self.assertEqual(self.start_status, result.status, result.stderr)
        return StartedCloud(json.loads(result.stdout), result.stderr)


def _stop_and_delete(name: str, directory: str) -> None:
    folder = control.folder(name, os.path.join(directory, name))
    if folder.exists():
        control.stop(folder)
    shutil.rmtree(directory, ignore_errors=True)
