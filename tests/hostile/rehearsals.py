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

"""State folders of rehearsal clouds that somebody else has prepared.

Whatever is planted, no process ends but a supervisor of that very folder, and
nothing outside the folder is written, made or deleted.
"""

import collections.abc
import contextlib
import fcntl
import json
import os
import pathlib
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import unittest.mock

from gpuclient import exceptions
from gpuclient.operations import rehearsal_registration
from gpuclient.rehearsal import control
from gpuclient.rehearsal import launch
from gpuclient.rehearsal import trusted_files
from gpuclient.rehearsal import supervisor_socket
from gpuclient.rehearsal import state
from tests.hostile import files

BRIEF = 150
LONG = 5000
_NAMES = (
    *('state.json', 'registered.json', 'passwords.json', 'spec.json'),
    *('made.json', 'written.json', 'restart.json', 'lock', 'clouds.yaml'),
    *('log', 'log/supervisor.log', 'etc', 'etc/nova', 'db', 'images'),
    *('nova', 'staging', 'supervisor.sock', 'lock.d', 'rpc'),
)
_Foreign = subprocess.Popen[bytes]
_Plant = collections.abc.Callable[
    [random.Random, pathlib.Path, pathlib.Path, _Foreign], None
]


def _record(source: random.Random, foreign: _Foreign) -> str:
    """Return a record that names a process of somebody else."""
    started = state.start_time(foreign.pid) or 0
    process = {
        'name': 'supervisor',
        'pid': foreign.pid,
        'started': source.choice((started, started, started - 1, 1)),
        'state': source.choice(('ready', 'starting', 'stopped', 'failed')),
    }
    return json.dumps(
        {
            'name': 'lab',
            'supervisor': process,
            'services': [{**process, 'name': 'nova-compute', 'host': 'a'}],
            'message': '',
        }
    )


def _plant_link(
    source: random.Random,
    folder: pathlib.Path,
    system: pathlib.Path,
    foreign: _Foreign,
) -> None:
    """Let a name lead elsewhere."""
    path = _cleared(folder / source.choice(_NAMES))
    path.symlink_to(
        source.choice((system, system / 'victim', system / 'new', '/nowhere'))
    )


def _plant_second_name(
    source: random.Random,
    folder: pathlib.Path,
    system: pathlib.Path,
    foreign: _Foreign,
) -> None:
    path = _cleared(folder / source.choice(_NAMES))
    path.hardlink_to(system / source.choice(('victim', 'state.json')))


def _plant_kind(
    source: random.Random,
    folder: pathlib.Path,
    system: pathlib.Path,
    foreign: _Foreign,
) -> None:
    """Put a pipe or a folder where a file is read."""
    path = _cleared(folder / source.choice(_NAMES))
    source.choice((os.mkfifo, os.mkdir))(path, 0o700)


def _plant_mode(
    source: random.Random,
    folder: pathlib.Path,
    system: pathlib.Path,
    foreign: _Foreign,
) -> None:
    """Let others write in the folder, above it, or a file of it."""
    path = source.choice((folder, folder.parent, folder / 'state.json'))
    if not path.is_symlink():
        path.chmod(source.choice((0o777, 0o1777, 0o666, 0o707, 0o000)))


def _plant_owner(
    source: random.Random,
    folder: pathlib.Path,
    system: pathlib.Path,
    foreign: _Foreign,
) -> None:
    if not os.geteuid():
        path = source.choice((folder, folder.parent, folder / 'state.json'))
        os.chown(path, files.NOBODY, files.NOBODY, follow_symlinks=False)


def _plant_socket(
    source: random.Random,
    folder: pathlib.Path,
    system: pathlib.Path,
    foreign: _Foreign,
) -> None:
    """Put the socket of somebody else there."""
    path = _cleared(folder / supervisor_socket.SOCKET)
    if source.random() < 0.5:
        path.hardlink_to(system / supervisor_socket.SOCKET)
    else:
        path.symlink_to(system / supervisor_socket.SOCKET)


def _plant_registered(
    source: random.Random,
    folder: pathlib.Path,
    system: pathlib.Path,
    foreign: _Foreign,
) -> None:
    """Claim entries of a clouds.yaml."""
    values = {
        'names': source.choice((['production'], ['lab'], 'lab', [1], None)),
        'file': source.choice((str(system / 'clouds.yaml'), 1, '')),
    }
    _put(_cleared(folder / 'registered.json'), json.dumps(values))


def _plant_bytes(
    source: random.Random,
    folder: pathlib.Path,
    system: pathlib.Path,
    foreign: _Foreign,
) -> None:
    """Break what is read."""
    path = folder / source.choice(('state.json', 'made.json', 'spec.json'))
    if not path.is_file():
        _cleared(path)
    content = bytearray(path.read_bytes() if path.exists() else b'{}')
    for _number in range(source.randrange(1, 8)):
        content[source.randrange(len(content))] = source.randrange(256)
    path.write_bytes(
        source.choice(
            (bytes(content), b'[' * 100_000, b'null', b'{"name": 1}')
        )
    )


_PLANTS: tuple[_Plant, ...] = (
    _plant_link,
    _plant_second_name,
    _plant_kind,
    _plant_mode,
    _plant_owner,
    _plant_socket,
    _plant_registered,
    _plant_bytes,
)


def _cleared(path: pathlib.Path) -> pathlib.Path:
    """Make room for something at a path."""
    with contextlib.suppress(FileExistsError):
        path.parent.mkdir(parents=True)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    return path


def _put(path: pathlib.Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o600)


def _start(folder: state.StateFolder) -> None:
    """Start as far as a supervisor is run, which does nothing here."""
    with unittest.mock.patch.object(launch.sys, 'executable', '/bin/false'):
        control.start(folder)


def _delete(folder: state.StateFolder) -> None:
    rehearsal_registration.stop(folder, delete=True)


def _restart(folder: state.StateFolder) -> None:
    control.restart(folder, 'nova-compute', None)


def _look(folder: state.StateFolder) -> None:
    control.folder(None, str(folder))
    assert control.look(folder).memory_mb < 1 << 20


_COMMANDS = (_start, control.stop, _delete, _restart, _look)


def _prepare(
    source: random.Random, top: pathlib.Path, foreign: _Foreign
) -> tuple[pathlib.Path, pathlib.Path]:
    system, folder = top / 'system', top / 'above' / 'lab'
    system.mkdir()
    folder.parent.mkdir()
    _put(system / 'victim', 'keep')
    _put(system / 'state.json', _record(source, foreign))
    _put(
        system / 'clouds.yaml',
        'clouds:\n  production: {auth: {password: x}}\n  lab: {}\n',
    )
    # As a command or an archive has left it.
    if source.random() < 0.5:
        state.StateFolder('lab', str(folder)).create()
    else:
        folder.mkdir(0o700)
        _put(folder / 'made.json', '{"inode": 1}')
    if source.random() < 0.9:
        _put(folder / 'state.json', _record(source, foreign))
    if source.random() < 0.5:
        (folder / 'photos').mkdir()
        _put(folder / 'photos' / 'cat', 'keep')
    return folder, system


@contextlib.contextmanager
def _held(folder: pathlib.Path) -> collections.abc.Iterator[None]:
    """Hold the lock, as if the cloud ran."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError, exceptions.GPUError):
            descriptor = trusted_files.open_private(
                str(folder / 'lock'), os.O_RDWR
            )
            stack.callback(os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def attack(foreign: _Foreign, source: random.Random) -> str:
    """Run commands on a folder that somebody has prepared."""
    plants = source.sample(_PLANTS, source.choice((1, 1, 2, 3)))
    top = pathlib.Path(tempfile.mkdtemp(prefix='hostile-'))
    listener = socket.socket(socket.AF_UNIX)
    try:
        folder, system = _prepare(source, top, foreign)
        listener.bind(str(system / supervisor_socket.SOCKET))
        listener.listen()
        kept = (folder / 'photos').exists()
        for plant in plants:
            with contextlib.suppress(OSError):
                plant(source, folder, system, foreign)
        before = files._state(system)
        with contextlib.ExitStack() as stack:
            if source.random() < 0.6:
                stack.enter_context(_held(folder))
            where = state.StateFolder('lab', str(folder))
            for command in source.sample(_COMMANDS, 3):
                try:
                    command(where)
                except exceptions.GPUError as exc:
                    if not str(exc).isprintable():
                        raise AssertionError(str(exc)) from exc
        _check_system(before, files._state(system))
        if foreign.poll() is not None:
            raise AssertionError(f'process {foreign.pid} was ended')
        _open_again(folder)
        if kept and not (folder / 'photos' / 'cat').exists():
            raise AssertionError('files of the user are gone')
    finally:
        listener.close()
        _open_again(top / 'above' / 'lab')
        shutil.rmtree(top)
    return plants[0].__name__.strip('_').replace('_', ' ')


def _open_again(folder: pathlib.Path) -> None:
    for path in (folder.parent, folder):
        with contextlib.suppress(OSError):
            path.chmod(0o700)


def _check_system(before: dict[str, object], after: dict[str, object]) -> None:
    if set(before) != set(after):
        raise AssertionError(f'{sorted(before)} are now {sorted(after)}')
    for path, values in before.items():
        # A second name may go, with the folder.
        if _without_names(values) != _without_names(after[path]):
            raise AssertionError(f'{path} changed')


def _without_names(values: object) -> tuple[object, ...]:
    assert isinstance(values, tuple)
    return (*values[:3], *values[4:])


@contextlib.contextmanager
def attacker() -> collections.abc.Iterator[
    collections.abc.Callable[[random.Random], str]
]:
    foreign = subprocess.Popen(
        [sys.executable, '-c', 'import signal; signal.pause()']
    )
    try:
        with (
            unittest.mock.patch.object(control, '_KILL_TIMEOUT', 0),
            unittest.mock.patch.object(control, '_RESTART_TIMEOUT', 0),
        ):
            yield lambda source: attack(foreign, source)
    finally:
        foreign.kill()
        foreign.wait()
