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

"""Edits in folders of somebody who swaps links, files and folders meanwhile.

Whatever becomes of the files in those folders, nothing outside them changes:
no content, owner, mode, attribute or second name, and no new file.
"""

import collections.abc
import contextlib
import os
import pathlib
import random
import shutil
import signal
import tempfile
import unittest.mock

from gpuclient.documents.generate import created_files
from gpuclient.documents.generate import creation
from gpuclient.documents import nova_conf
from gpuclient import exceptions
from gpuclient.files import atomic
from gpuclient.files import places

BRIEF = 60
LONG = 4000
NOBODY = 65534
#: Of each attack.
_EDITS = 12
_TEXT = '[pci]\n' + ''.join(f'# line {number}\n' for number in range(50))
_NAMES = ('nova.conf', 'etc/modprobe.d/x.conf', 'new/deeper/x.conf')

_Race = collections.abc.Callable[[str, str], None]


def _swap_with_link(folder: str, system: str) -> None:
    """Let the file be a link, and a file again."""
    _link(f'{system}/victim.conf', f'{folder}/x')
    os.rename(f'{folder}/x', f'{folder}/nova.conf')
    _file(f'{folder}/x')
    os.rename(f'{folder}/x', f'{folder}/nova.conf')


def _swap_temporary(folder: str, system: str) -> None:
    """Put a link in the place of every file with a name of its own."""
    for name in os.listdir(folder):
        if name.startswith('.'):
            _link(f'{system}/victim.conf', f'{folder}/x')
            os.rename(f'{folder}/x', f'{folder}/{name}')


def _swap_folder(folder: str, system: str) -> None:
    """Let the folder be a link to the one of the system."""
    os.rename(folder, f'{folder}.away')
    _link(system, folder)
    os.unlink(folder)
    os.rename(f'{folder}.away', folder)


def _swap_folder_below(folder: str, system: str) -> None:
    """Plant links in the place of folders that are to be made."""
    for name in ('etc', 'new'):
        with contextlib.suppress(OSError):
            os.rename(f'{folder}/{name}', f'{folder}/{name}.away')
        _link(system, f'{folder}/{name}')
        with contextlib.suppress(OSError):
            os.unlink(f'{folder}/{name}')
            os.rename(f'{folder}/{name}.away', f'{folder}/{name}')


def _swap_kinds(folder: str, system: str) -> None:
    """Let the file be a pipe, a folder, nothing, and a file."""
    os.mkfifo(f'{folder}/x')
    os.rename(f'{folder}/x', f'{folder}/nova.conf')
    os.unlink(f'{folder}/nova.conf')
    os.mkdir(f'{folder}/nova.conf')
    os.rmdir(f'{folder}/nova.conf')
    _file(f'{folder}/nova.conf')


def _link_twice(folder: str, system: str) -> None:
    """Give the file, and a link to one of the system, second names."""
    with contextlib.suppress(OSError):
        os.link(f'{system}/victim.conf', f'{folder}/.nova.conf.deadbeef')
    with contextlib.suppress(OSError):
        os.link(f'{folder}/nova.conf', f'{folder}/.nova.conf.deadbeee')
    for name in ('.nova.conf.deadbeef', '.nova.conf.deadbeee'):
        with contextlib.suppress(OSError):
            os.unlink(f'{folder}/{name}')


def _link(target: str, path: str) -> None:
    with contextlib.suppress(FileExistsError):
        os.symlink(target, path)


def _file(path: str) -> None:
    with open(path, 'w') as stream:
        stream.write(_TEXT)


_RACES: tuple[_Race, ...] = (
    _swap_with_link,
    _swap_temporary,
    _swap_folder,
    _swap_folder_below,
    _swap_kinds,
    _link_twice,
)


def _edit(path: str) -> None:
    document = nova_conf.NovaConf.read(path)
    document.add('pci', 'alias', '{}')
    document.write()


def _write(path: str) -> None:
    atomic.write(path, b'new')


def _create(path: str) -> None:
    atomic.create(os.path.join(os.path.dirname(path), 'fresh'), b'new')


def _create_tree(path: str) -> None:
    artifacts = [creation.TextArtifact(name, '# new\n') for name in _NAMES]
    files, _others = created_files.read(os.path.dirname(path), artifacts)
    for file in files:
        file.check_writable()
        file.write()


_EDITORS = (_edit, _write, _create, _create_tree)


def _state(folder: pathlib.Path) -> dict[str, object]:
    """Return all that there is to change in a folder."""
    state: dict[str, object] = {}
    for path in (folder, *sorted(folder.rglob('*'))):
        status = path.lstat()
        state[os.fspath(path)] = (
            *(status.st_mode, status.st_uid, status.st_gid, status.st_nlink),
            {name: os.getxattr(path, name) for name in os.listxattr(path)},
            path.read_bytes() if path.is_file() else None,
        )
    return state


def _racing(race: _Race, folder: str, system: str) -> int:
    """Start a process that swaps, again and again; return its id."""
    child = os.fork()
    if child:
        return child
    signal.setitimer(signal.ITIMER_REAL, 0)
    # It is not to outlive what started it for long.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(60)
    try:
        if not os.geteuid():
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
        while True:
            with contextlib.suppress(OSError):
                race(folder, system)
    finally:
        os._exit(1)


def _prepare(
    source: random.Random, top: pathlib.Path
) -> tuple[pathlib.Path, pathlib.Path]:
    """Make the folder that is attacked from, and the one of the system."""
    system = top / 'system'
    (system / 'modprobe.d').mkdir(parents=True)
    (system / 'deeper').mkdir()
    for name in ('victim.conf', 'nova.conf', 'modprobe.d/x.conf'):
        (system / name).write_text(_TEXT)
        (system / name).chmod(source.choice((0o600, 0o640, 0o4711)))
        with contextlib.suppress(OSError):
            os.setxattr(system / name, 'user.note', b'keep')
    above = top / 'theirs'
    folder = above / 'conf'
    folder.mkdir(parents=True)
    path = folder / 'nova.conf'
    path.write_text(_TEXT)
    path.chmod(source.choice((0o666, 0o644, 0o6777)))
    with contextlib.suppress(OSError):
        os.setxattr(path, 'user.note', b'planted')
    mode = source.choice((0o755, 0o777, 0o1777))
    if not os.geteuid():
        owner = source.choice((NOBODY, 0)) if mode & 2 else NOBODY
        for place in (above, folder):
            os.chown(place, owner, owner)
        os.chown(path, NOBODY, NOBODY)
    for place in (above, folder):
        place.chmod(mode)
    top.chmod(0o755)
    return folder, system


def attack(source: random.Random) -> str:
    """Edit files while another process swaps what is there."""
    race = source.choice(_RACES)
    editor = source.choice(_EDITORS)
    top = pathlib.Path(tempfile.mkdtemp(prefix='hostile-'))
    try:
        folder, system = _prepare(source, top)
        before = _state(system)
        child = _racing(race, os.fspath(folder), os.fspath(system))
        try:
            for _number in range(_EDITS):
                try:
                    editor(os.fspath(folder / 'nova.conf'))
                except exceptions.GPUError as exc:
                    if '\n' in str(exc):
                        raise AssertionError(str(exc)) from exc
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        after = _state(system)
        if after != before:
            raise AssertionError(f'{race.__name__}: {before} is now {after}')
    finally:
        shutil.rmtree(top)
    return race.__name__.strip('_').replace('_', ' ')


@contextlib.contextmanager
def attacker() -> collections.abc.Iterator[
    collections.abc.Callable[[random.Random], str]
]:
    with contextlib.ExitStack() as stack:
        if os.geteuid():
            # Who is not root races with itself, and trusts itself not.
            stack.enter_context(
                unittest.mock.patch.object(
                    places, '_trusted_users', return_value=frozenset({0})
                )
            )
        yield attack
