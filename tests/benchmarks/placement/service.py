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

"""A real Placement for a benchmark: PostgreSQL and worker processes.

PostgreSQL runs in a temporary folder, as an unprivileged user where we are
root, and listens on a socket in that folder only. Placement runs in several
processes that share one port. Each of them adds up what it served; both are
gone when the benchmark ends.
"""

import collections.abc
import contextlib
import dataclasses
import glob
import io
import mmap
import os
import pathlib
import pwd
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import typing

import psutil
import psycopg2

from tests.benchmarks.placement import model

WORKERS = int(os.environ.get('BENCHMARK_WORKERS', '2'))
TEMPLATE = 'template'
_TIMEOUT = 120

#: Requests, bytes of answers, processor seconds of the worker's thread.
_COUNTS = struct.Struct('qqd')
#: Seconds that each answer is delayed.
_DELAY = struct.Struct('d')


class Missing(Exception):
    """Something that the benchmark needs is not on this machine."""


@dataclasses.dataclass(frozen=True)
class Load:
    """What a service has done."""

    requests: int
    bytes: int
    #: Processor seconds of Placement's code.
    placement: float
    #: Processor seconds of the database.
    database: float

    def __sub__(self, other: 'Load') -> 'Load':
        return Load(
            *(
                mine - theirs
                for mine, theirs in zip(
                    dataclasses.astuple(self),
                    dataclasses.astuple(other),
                    strict=True,
                )
            )
        )


def _postgresql() -> pathlib.Path:
    """Return the folder of PostgreSQL's programs."""
    initdb = shutil.which('initdb')
    folders = [os.path.dirname(initdb)] if initdb else []
    folders += sorted(glob.glob('/usr/lib/postgresql/*/bin'))
    for folder in folders:
        if os.path.exists(os.path.join(folder, 'initdb')):
            return pathlib.Path(folder)
    raise Missing(
        'This benchmark runs Placement on PostgreSQL, which is not here: '
        'apt-get install postgresql'
    )


class Database:
    """A private PostgreSQL. A context manager."""

    def __init__(self, folder: pathlib.Path) -> None:
        self._programs = _postgresql()
        self.folder = folder / 'postgresql'
        self.folder.mkdir()
        self._user: str | None = None
        if os.geteuid() == 0:
            # PostgreSQL refuses to run as root.
            names = {entry.pw_name for entry in pwd.getpwall()}
            self._user = 'postgres' if 'postgres' in names else 'nobody'
            entry = pwd.getpwnam(self._user)
            os.chown(self.folder, entry.pw_uid, entry.pw_gid)
            folder.chmod(0o755)

    def _run(self, program: str, *arguments: str) -> typing.Any:
        return subprocess.Popen(
            [os.fspath(self._programs / program), *arguments],
            user=self._user,
            cwd=self.folder,
            env={**os.environ, 'LC_ALL': 'C'},
            stdout=subprocess.DEVNULL,
            stderr=(self.folder.parent / f'{program}.log').open('ab'),
        )

    def __enter__(self) -> 'Database':
        data = os.fspath(self.folder / 'data')
        process = self._run(
            'initdb', '-D', data, '-U', 'placement', '-A', 'trust', '-N'
        )
        if process.wait():
            raise Missing(f'initdb failed, see {self.folder.parent}')
        self.process = self._run(
            'postgres',
            *('-D', data, '-k', os.fspath(self.folder)),
            *('-c', 'listen_addresses=', '-c', 'fsync=off'),
            *('-c', 'max_connections=100', '-c', 'shared_buffers=256MB'),
            *('-c', 'work_mem=64MB', '-c', 'autovacuum=off'),
        )
        deadline = time.monotonic() + _TIMEOUT
        while True:
            try:
                self.connect('postgres').close()
                return self
            except psycopg2.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def __exit__(self, *_exc: object) -> None:
        self.process.send_signal(signal.SIGINT)
        self.process.wait(_TIMEOUT)

    def connect(self, name: str) -> typing.Any:
        connection = psycopg2.connect(
            host=os.fspath(self.folder), user='placement', dbname=name
        )
        connection.autocommit = True
        return connection

    def url(self, name: str) -> str:
        return (
            f'postgresql+psycopg2://placement@/{name}?host='
            f'{os.fspath(self.folder)}'
        )

    def create(self, name: str, template: str | None = None) -> None:
        """Make a database, with the schema and traits of Placement."""
        with contextlib.closing(self.connect('postgres')) as connection:
            connection.cursor().execute(
                f'CREATE DATABASE {name}'
                + (f' TEMPLATE {template}' if template else '')
            )

    def drop(self, name: str) -> None:
        with contextlib.closing(self.connect('postgres')) as connection:
            connection.cursor().execute(f'DROP DATABASE {name}')

    def cpu(self) -> float:
        """Return the processor seconds of the server so far."""
        return _cpu(self.process.pid)


def _cpu(pid: int) -> float:
    """Return the processor seconds of a process and all its children."""
    total = 0.0
    root = psutil.Process(pid)
    for process in (root, *root.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            total += sum(process.cpu_times()[:2])
    # Of children that have ended.
    return total + sum(root.cpu_times()[2:4])


class Service:
    """A service in worker processes that share a port. A context manager.

    :param application: ``placement``, or ``nova`` for what stands in for Nova
        and Keystone.
    :param files: What the workers find in their folder.
    """

    def __init__(
        self,
        database: Database,
        application: str,
        files: dict[str, bytes],
        workers: int = WORKERS,
    ) -> None:
        self._database = database
        self._application = application
        self._folder = pathlib.Path(
            tempfile.mkdtemp(
                prefix=f'{application}-', dir=database.folder.parent
            )
        )
        (self._folder / 'counts').mkdir()
        (self._folder / 'delay').write_bytes(_DELAY.pack(0.0))
        for name, content in files.items():
            (self._folder / name).write_bytes(content)
        self._workers = workers
        self._processes: list[subprocess.Popen[bytes]] = []
        self.url = ''

    def __enter__(self) -> 'Service':
        # Bound here so that nobody else takes the port; the kernel gives the
        # connections to the workers, which listen on it.
        self._port = socket.socket()
        self._port.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._port.bind(('127.0.0.1', 0))
        port = self._port.getsockname()[1]
        self.url = f'http://127.0.0.1:{port}'
        for _worker in range(self._workers):
            self._processes.append(
                subprocess.Popen(
                    [
                        sys.executable,
                        *('-m', 'tests.benchmarks.placement.worker'),
                        *(self._application, str(port)),
                        os.fspath(self._folder),
                    ],
                    env={
                        **os.environ,
                        'OS_PLACEMENT_CONFIG_DIR': os.fspath(self._folder),
                    },
                    stderr=(self._folder / 'log').open('ab'),
                )
            )
        deadline = time.monotonic() + _TIMEOUT
        while len(list((self._folder / 'counts').iterdir())) < self._workers:
            if time.monotonic() > deadline or any(
                process.poll() is not None for process in self._processes
            ):
                raise Missing((self._folder / 'log').read_text())
            time.sleep(0.1)
        return self

    def __exit__(self, *_exc: object) -> None:
        self._port.close()
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.wait(_TIMEOUT)
        shutil.rmtree(self._folder)

    def delay(self, seconds: float) -> None:
        """Let each answer from now on come so much later."""
        (self._folder / 'delay').write_bytes(_DELAY.pack(seconds))

    def load(self) -> Load:
        """Return what the service has done so far."""
        requests = size = 0
        seconds = 0.0
        for path in (self._folder / 'counts').iterdir():
            counts = _COUNTS.unpack(path.read_bytes())
            requests += counts[0]
            size += counts[1]
            seconds += counts[2]
        return Load(requests, size, seconds, self._database.cpu())


class Meter:
    """A WSGI layer that adds up what a worker serves, and delays it."""

    def __init__(self, application: typing.Any, folder: pathlib.Path) -> None:
        self._application = application
        path = folder / 'counts' / str(os.getpid())
        scratch = path.with_suffix('.new')
        with (folder / 'delay').open('rb') as stream:
            self._delay = mmap.mmap(
                stream.fileno(), _DELAY.size, prot=mmap.PROT_READ
            )
        scratch.write_bytes(_COUNTS.pack(0, 0, 0.0))
        scratch = scratch.rename(path)
        with path.open('r+b') as stream:
            self._counts = mmap.mmap(stream.fileno(), _COUNTS.size)
        self._lock = threading.Lock()

    def __call__(
        self,
        environ: dict[str, typing.Any],
        start_response: typing.Any,
    ) -> collections.abc.Iterable[bytes]:
        began = time.thread_time()
        body = b''.join(self._application(environ, start_response))
        spent = time.thread_time() - began
        with self._lock:
            requests, size, seconds = _COUNTS.unpack(self._counts[:])
            self._counts[:] = _COUNTS.pack(
                requests + 1, size + len(body), seconds + spent
            )
        (delay,) = _DELAY.unpack(self._delay[:])
        if delay:
            time.sleep(delay)
        return [body]


def placement(
    database: Database, name: str, *, cap: int | None = None
) -> Service:
    """Return a Placement on a database."""
    options = [
        '[DEFAULT]',
        'log_file = placement.log',
        f'log_dir = {database.folder.parent}',
        '[api]',
        'auth_strategy = noauth2',
        '[placement_database]',
        f'connection = {database.url(name)}',
        'max_pool_size = 16',
        '[placement]',
    ]
    if cap is not None:
        options.append(f'max_allocation_candidates = {cap}')
    return Service(
        database,
        'placement',
        {'placement.conf': '\n'.join(options).encode()},
    )


def make_template(database: Database) -> None:
    """Make the database that all others are copies of."""
    database.create(TEMPLATE)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, 'placement.conf')
        path.write_text(
            '[placement_database]\n'
            f'connection = {database.url(TEMPLATE)}\n'
            'sync_on_startup = True\n'
            '[api]\nauth_strategy = noauth2\n'
        )
        # In a process of its own, whose connections end with it.
        subprocess.run(
            [sys.executable, '-c', 'import placement.wsgi.api'],
            env={**os.environ, 'OS_PLACEMENT_CONFIG_DIR': folder},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=True,
        )


def fill(database: Database, name: str, cloud: model.Cloud) -> None:
    """Make a database that holds a cloud, as if Nova had filled it."""
    database.create(name, TEMPLATE)
    with contextlib.closing(database.connect(name)) as connection:
        _Filler(connection).fill(cloud)


class _Filler:
    """Writes the rows that Placement's API would write, all at once."""

    def __init__(self, connection: typing.Any) -> None:
        self._cursor = connection.cursor()

    def _ids(self, table: str, least: int, names: set[str]) -> dict[str, int]:
        """Return the id of each name, after the missing ones were made."""
        self._cursor.execute(f'SELECT name, id FROM {table}')
        ids: dict[str, int] = dict(self._cursor.fetchall())
        following = max(least, *ids.values()) + 1 if ids else least
        missing = sorted(names - ids.keys())
        new = {key: following + place for place, key in enumerate(missing)}
        self._copy(table, ('name', 'id'), new.items())
        return ids | new

    def _copy(
        self,
        table: str,
        columns: tuple[str, ...],
        rows: collections.abc.Iterable[tuple[typing.Any, ...]],
    ) -> None:
        stream = io.StringIO()
        for row in rows:
            stream.write(
                '\t'.join('\\N' if v is None else str(v) for v in row)
            )
            stream.write('\t2026-11-25 00:00:00\t2026-11-25 00:00:00\n')
        stream.seek(0)
        names = ', '.join((*columns, 'created_at', 'updated_at'))
        self._cursor.copy_expert(f'COPY {table} ({names}) FROM STDIN', stream)

    def fill(self, cloud: model.Cloud) -> None:
        providers, consumers = cloud.providers, cloud.consumers
        traits = self._ids(
            'traits',
            1,
            {key for provider in providers for key in provider.traits},
        )
        # placement/objects/resource_class.py:_MIN_CUSTOM_RESOURCE_CLASS_ID
        classes = self._ids(
            'resource_classes',
            10_000,
            {key for provider in providers for key in provider.inventories},
        )
        kinds = self._ids(
            'consumer_types', 1, {consumer.kind for consumer in consumers}
        )
        ids = {provider.uuid: n for n, provider in enumerate(providers, 1)}
        self._copy(
            'resource_providers',
            (
                *('id', 'uuid', 'name', 'generation'),
                *('root_provider_id', 'parent_provider_id'),
            ),
            (
                (
                    *(ids[provider.uuid], provider.uuid, provider.name, 3),
                    *(ids[provider.root], ids.get(provider.parent or '')),
                )
                for provider in providers
            ),
        )
        fields = (
            *('total', 'reserved', 'min_unit', 'max_unit'),
            *('step_size', 'allocation_ratio'),
        )
        self._copy(
            'inventories',
            ('resource_provider_id', 'resource_class_id', *fields),
            (
                (
                    *(ids[provider.uuid], classes[key]),
                    *(record[field] for field in fields),
                )
                for provider in providers
                for key, record in provider.inventories.items()
            ),
        )
        self._copy(
            'resource_provider_traits',
            ('resource_provider_id', 'trait_id'),
            (
                (ids[provider.uuid], traits[key])
                for provider in providers
                for key in provider.traits
            ),
        )
        aggregates = {
            key: n
            for n, key in enumerate(
                sorted(
                    {
                        key
                        for provider in providers
                        for key in provider.aggregates
                    }
                ),
                1,
            )
        }
        self._copy(
            'placement_aggregates',
            ('uuid', 'id'),
            aggregates.items(),
        )
        self._copy(
            'resource_provider_aggregates',
            ('resource_provider_id', 'aggregate_id'),
            (
                (ids[provider.uuid], aggregates[key])
                for provider in providers
                for key in provider.aggregates
            ),
        )
        projects = _numbered(consumer.project_id for consumer in consumers)
        users = _numbered(consumer.user_id for consumer in consumers)
        self._copy('projects', ('external_id', 'id'), projects.items())
        self._copy('users', ('external_id', 'id'), users.items())
        self._copy(
            'consumers',
            (
                *('uuid', 'project_id', 'user_id'),
                *('generation', 'consumer_type_id'),
            ),
            (
                (
                    *(consumer.uuid, projects[consumer.project_id]),
                    *(users[consumer.user_id], 1, kinds[consumer.kind]),
                )
                for consumer in consumers
            ),
        )
        self._copy(
            'allocations',
            (
                *('resource_provider_id', 'consumer_id'),
                *('resource_class_id', 'used'),
            ),
            (
                (ids[provider], consumer.uuid, classes[key], units)
                for consumer in consumers
                for provider, resources in consumer.allocations.items()
                for key, units in resources.items()
            ),
        )
        # Or the server does it while we measure.
        self._cursor.execute('VACUUM ANALYZE')
        self._cursor.execute('CHECKPOINT')


def _numbered(keys: collections.abc.Iterable[str]) -> dict[str, int]:
    return {key: number for number, key in enumerate(sorted(set(keys)), 1)}
