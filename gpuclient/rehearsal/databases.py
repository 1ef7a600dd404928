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

"""The databases of a cloud, copied from a migrated template.

To migrate six databases from nothing costs more than all else that a start
does. So it is done once for each set of installed versions, in the user's
cache folder, and a cloud starts with copies.
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
from gpuclient.rehearsal import service_files
from gpuclient.rehearsal import trusted_files
from gpuclient.rehearsal import state

#: What the schemas depend on.
_DISTRIBUTIONS = (
    'keystone',
    'openstack-placement',
    'glance',
    'nova',
    'alembic',
    'oslo.db',
    'SQLAlchemy',
)
#: To be raised when the way in which a template is made changes.
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

#: Runs functions side by side, each in a process of its own; returns the
#: name of one that failed, or None.
Runner = collections.abc.Callable[
    [dict[str, collections.abc.Callable[[], None]]], str | None
]


def versions() -> dict[str, str]:
    """Return the installed versions that the schemas depend on.

    :raises RehearsalError: A service is not installed.
    """
    found = {}
    for distribution in _DISTRIBUTIONS:
        try:
            found[distribution] = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError as exc:
            raise exceptions.RehearsalError(
                f'{distribution} is not installed'
            ) from exc
    return found


def prepare(folder: state.StateFolder, run: Runner) -> None:
    """Make the databases of a cloud, or migrate those that are there.

    :param run: What runs the programs that migrate.
    :raises RehearsalError: A program failed.
    """
    wanted = versions()
    target = pathlib.Path(folder.file('db'))
    mark = target / 'versions.json'
    if mark.exists():
        if json.loads(mark.read_text(encoding='utf-8')) != wanted:
            _migrate(target, run)
    else:
        template = _template(wanted, run)
        for name in service_files.DATABASES:
            shutil.copyfile(
                template / f'{name}.sqlite', target / f'{name}.sqlite'
            )
    state.write_private(os.fspath(mark), json.dumps(wanted))


def _template(wanted: dict[str, str], run: Runner) -> pathlib.Path:
    """Return the folder of the template, made first where it is missing."""
    cache = platformdirs.user_cache_path('gpuclient') / 'rehearsal'
    key = hashlib.sha256(
        json.dumps([_FORMAT, sorted(wanted.items())]).encode()
    ).hexdigest()[:16]
    template = cache / f'databases-{key}'
    try:
        # Whoever could put a database there would be an admin of the cloud.
        trusted_files.check_folder(os.fspath(cache), make=True)
        if template.is_dir():
            trusted_files.check_folder(os.fspath(template))
            return template
    except OSError as exc:
        raise exceptions.RehearsalError(
            f'Cannot make the cache folder {cache}: {exc.strerror}'
        ) from exc
    with _lock(cache / 'lock'):
        # Somebody else may have made it while we waited.
        if template.is_dir():
            return template
        building = pathlib.Path(
            tempfile.mkdtemp(dir=cache, prefix='.building-')
        )
        try:
            _migrate(building, run)
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


def _migrate(folder: pathlib.Path, run: Runner) -> None:
    """Bring every database of a folder to the installed version."""
    with tempfile.TemporaryDirectory(dir=folder, prefix='.etc-') as etc:
        jobs = {}
        for databases, module, program, arguments in _PROGRAMS:
            # All programs but the last cell's migrate one database.
            for name in databases:
                if name == 'nova_cell0' and not _exists(folder, name):
                    continue
                path = os.path.join(etc, f'{name}.conf')
                _write_conf(path, folder, name)
                jobs[name] = _job(
                    module,
                    (program, '--config-file', path, *arguments),
                    os.path.join(etc, f'{name}.log'),
                )
        failed = run(jobs)
        if failed:
            raise exceptions.RehearsalError(
                'Cannot migrate the database {name}: {reason}'.format(
                    name=failed,
                    reason=_last_words(os.path.join(etc, f'{failed}.log')),
                )
            )
    if not _exists(folder, 'nova_cell0'):
        # The same schema; and a new one has no rows.
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
    module: str, argv: tuple[str, ...], log: str
) -> collections.abc.Callable[[], None]:
    def job() -> None:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT, 0o600)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        sys.argv = list(argv)
        status = importlib.import_module(module).main()
        if status:
            sys.exit(status)

    return job


def _last_words(path: str) -> str:
    """Return the last line that a program wrote."""
    words = ''
    with contextlib.suppress(OSError):
        for line in pathlib.Path(path).read_text(errors='replace').split('\n'):
            words = line.strip() or words
    return words
