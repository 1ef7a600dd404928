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

"""The databases of a cloud, copied from a template.

The migration of six new databases takes longer than the rest of a start. So
each set of installed versions has a migrated template in the user's cache
folder, and a cloud starts with copies of it.
"""

import collections.abc
import contextlib
import fcntl
import hashlib
import importlib
import importlib.metadata
import json
import os
import pathlib
import shutil
import sqlite3
import sys
import tempfile
import typing

import platformdirs

from gpuclient import exceptions
from gpuclient.rehearsal import nova_process
from gpuclient.rehearsal import overlays
from gpuclient.rehearsal import process_supervisor
from gpuclient.rehearsal import service_files
from gpuclient.rehearsal import trusted_files
from gpuclient.rehearsal import state
from gpuclient.rehearsal.nova_worker import reporting

#: Distributions that determine the schemas.
_DISTRIBUTIONS = (
    'keystone',
    'openstack-placement',
    'glance',
    'nova',
    'alembic',
    'oslo.db',
    'SQLAlchemy',
)
#: Increase it when templates are created in another way.
_FORMAT = 1

# The databases, the program that migrates them, and its arguments.
_PROGRAMS = (
    (('keystone',), 'keystone.cmd.manage', 'keystone-manage', ('db_sync',)),
    (('glance',), 'glance.cmd.manage', 'glance-manage', ('db', 'sync')),
    (('nova_api',), 'nova.cmd.manage', 'nova-manage', ('api_db', 'sync')),
    (
        ('nova_cell0', 'nova_cell1'),
        'nova.cmd.manage',
        'nova-manage',
        ('db', 'sync', '--local_cell'),
    ),
    (
        ('placement',),
        'placement.cmd.manage',
        'placement-manage',
        ('db', 'sync'),
    ),
)

#: Runs jobs side by side, each in a process of its own; returns the name of
#: one that failed, or None.
Runner: typing.TypeAlias = collections.abc.Callable[
    [dict[str, process_supervisor.Job]], str | None
]


def versions(packages: overlays.Overlays) -> dict[str, str]:
    """Return the versions that the schemas depend on.

    :param packages: The packages of other releases that run.
    :raises RehearsalError: A service is not installed.
    """
    installed = {}
    for distribution in _DISTRIBUTIONS:
        try:
            installed[distribution] = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError as exc:
            raise exceptions.RehearsalError(
                f'{distribution} is not installed'
            ) from exc
    return {**installed, **packages.versions}


def prepare(
    folder: state.StateFolder, run: Runner, packages: overlays.Overlays
) -> None:
    """Create the databases of a cloud, or migrate existing ones.

    :param run: Runs the programs that migrate.
    :param packages: The packages of other releases that run.
    :raises RehearsalError: A program failed.
    """
    current = versions(packages)
    target = pathlib.Path(folder.file('db'))
    mark = target / 'versions.json'
    if mark.exists():
        if json.loads(mark.read_text(encoding='utf-8')) != current:
            _migrate(target, run, packages)
    else:
        template = _template(current, run, packages)
        for name in service_files.DATABASES:
            shutil.copyfile(
                template / f'{name}.sqlite', target / f'{name}.sqlite'
            )
    state.write_private(os.fspath(mark), json.dumps(current))


def _template(
    current: dict[str, str], run: Runner, packages: overlays.Overlays
) -> pathlib.Path:
    """Return the folder of the template; create it where it is missing."""
    cache = platformdirs.user_cache_path('gpuclient') / 'rehearsal'
    key = hashlib.sha256(
        json.dumps([_FORMAT, sorted(current.items())]).encode()
    ).hexdigest()[:16]
    template = cache / f'databases-{key}'
    try:
        # Who can write a database is an admin of the cloud.
        trusted_files.check_folder(os.fspath(cache), make=True)
        if template.is_dir():
            trusted_files.check_folder(os.fspath(template))
            return template
    except OSError as exc:
        raise exceptions.RehearsalError(
            f'Cannot create the cache folder {cache}: {exc.strerror}'
        ) from exc
    with _lock(cache / 'lock'):
        # Another process may have created it meanwhile.
        if template.is_dir():
            return template
        building = pathlib.Path(
            tempfile.mkdtemp(dir=cache, prefix='.building-')
        )
        try:
            _migrate(building, run, packages)
            os.rename(building, template)
        finally:
            shutil.rmtree(building, ignore_errors=True)
    return template


@contextlib.contextmanager
def _lock(path: pathlib.Path) -> typing.Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _migrate(
    folder: pathlib.Path, run: Runner, packages: overlays.Overlays
) -> None:
    """Migrate each database of a folder to the versions that run."""
    with tempfile.TemporaryDirectory(dir=folder, prefix='.etc-') as etc:
        programs: dict[str, process_supervisor.Job] = {}
        for databases, module, program, arguments in _PROGRAMS:
            # nova-manage migrates one cell; the other is copied if new.
            for name in databases:
                if name == 'nova_cell0' and not _exists(folder, name):
                    continue
                path = os.path.join(etc, f'{name}.conf')
                _write_conf(path, folder, name)
                programs[name] = _job(
                    module,
                    (program, '--config-file', path, *arguments),
                    os.path.join(etc, f'{name}.log'),
                    packages,
                )
        failed = run(programs)
        if failed:
            raise exceptions.RehearsalError(
                f'Cannot migrate the database {failed}: '
                f'{_last_line(os.path.join(etc, f"{failed}.log"))}'
            )
    if not _exists(folder, 'nova_cell0'):
        # It has the same schema, and no rows.
        shutil.copyfile(
            folder / 'nova_cell1.sqlite', folder / 'nova_cell0.sqlite'
        )
    for name in service_files.DATABASES:
        database = sqlite3.connect(folder / f'{name}.sqlite')
        database.execute('PRAGMA journal_mode=WAL')
        database.close()


def _exists(folder: pathlib.Path, name: str) -> bool:
    return (folder / f'{name}.sqlite').exists()


def _write_conf(path: str, folder: pathlib.Path, name: str) -> None:
    url = service_files.database_url(os.fspath(folder / f'{name}.sqlite'))
    section = {
        'nova_api': 'api_database',
        'placement': 'placement_database',
    }.get(name, 'database')
    state.write_private(
        path,
        '[DEFAULT]\n'
        'transport_url = fake:///\n'
        f'[{section}]\n'
        f'connection = {url}\n'
        'sqlite_synchronous = False\n',
    )


def _job(
    module: str,
    argv: tuple[str, ...],
    log: str,
    packages: overlays.Overlays,
) -> process_supervisor.Job:
    if argv[0] == 'nova-manage':
        values = {'kind': 'manage', 'arguments': argv[1:], 'log': log}
        return nova_process.NovaJob(values, packages.versions['nova'])

    def job(_ready: reporting.Ready) -> None:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT, 0o600)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        sys.argv = list(argv)
        if argv[0] == 'placement-manage' and packages.placement is not None:
            packages.placement.activate()
        status = importlib.import_module(module).main()
        if status:
            sys.exit(status)

    return job


def _last_line(path: str) -> str:
    """Return the last line that a program wrote."""
    text = ''
    with contextlib.suppress(OSError):
        text = pathlib.Path(path).read_text(errors='replace').strip()
    return text.split('\n')[-1].strip()
