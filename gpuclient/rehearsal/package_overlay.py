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
"""Packages of other releases, installed beside the libraries of this one.

A folder with a package only, an *overlay*, comes first on the import path of a
process of that release. Overlays are in the user's cache folder and are
installed by pip, from the package index that pip is configured to use. An
overlay is installed in a temporary folder, which is renamed when it is
complete.
"""

import collections.abc
import contextlib
import csv
import dataclasses
import fcntl
import importlib.util
import json
import os
import pathlib
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import typing

import platformdirs

from gpuclient import exceptions
from gpuclient import text as texts
from gpuclient.files import places
from gpuclient.rehearsal import state
from gpuclient.rehearsal import trusted_files

Say: typing.TypeAlias = collections.abc.Callable[[str], None]

#: Says that an overlay is complete.
_MARK = 'overlay.json'
#: Increase it when overlays are created in another way.
_FORMAT = 1
_BUILDING = '.building-'
#: Versions of which pip can choose, as its error lists them.
_OFFERED = re.compile(r'\(from versions: ([^)]*)\)')


@dataclasses.dataclass(frozen=True)
class Overlay:
    """A folder with a version of a package."""

    #: ``31.3.1``
    version: str
    #: The folder to import from.
    path: pathlib.Path

    #: The name in the package index.
    distribution: typing.ClassVar[str]
    #: The name in messages, and of the folder in the cache in lower case.
    title: typing.ClassVar[str]
    megabytes: typing.ClassVar[int]

    @property
    def libraries(self) -> tuple[str, ...]:
        """Requirements of the libraries that are installed with it."""
        return ()

    def file(self, path: str) -> str:
        """Return the path of a data file: ``etc/nova/api-paste.ini``."""
        return os.fspath(self.path / path)

    @property
    def name(self) -> str:
        """``Nova 31.3.1``"""
        return f'{self.title} {self.version}'

    @property
    def metadata(self) -> str:
        """The name of the folder with its metadata."""
        name = self.distribution.replace('-', '_')
        return f'{name}-{self.version}.dist-info'


_Overlay = typing.TypeVar('_Overlay', bound=Overlay)


def prepare(
    kind: type[_Overlay], version: str, say: Say | None = None
) -> _Overlay:
    """Return an overlay, and install it where it is missing.

    :param say: Called with each line of progress.
    :raises RehearsalError: It cannot be installed, or the overlay in the cache
        cannot be used.
    """
    folder = _cache(kind.title.lower())
    overlay = kind(version, folder / version)
    if _is_usable(overlay):
        return overlay
    with _locked(overlay, say) as lock:
        # Another command may have installed it meanwhile.
        if not _is_usable(overlay):
            _remove_leftovers(folder, version)
            _install(overlay, lock, say)
    return overlay


def _cache(name: str) -> pathlib.Path:
    """Return the folder of the overlays of a package; create it."""
    folder = platformdirs.user_cache_path('gpuclient') / name
    try:
        trusted_files.check_folder(os.fspath(folder), make=True)
    except OSError as exc:
        raise exceptions.RehearsalError(
            f'Cannot create the cache folder {folder}: {exc.strerror}'
        ) from exc
    return folder


# -- an overlay in the cache -------------------------------------------------


def _is_usable(overlay: Overlay) -> bool:
    """Return whether an overlay is there.

    :raises RehearsalError: It is there and cannot be used.
    """
    if not os.path.lexists(overlay.path):
        return False
    try:
        trusted_files.check_folder(os.fspath(overlay.path))
        _check_mark(overlay)
        _check_files(overlay)
    except RecursionError as exc:
        raise _unusable(overlay, f'{_MARK} is nested too deeply') from exc
    except (OSError, ValueError, KeyError, TypeError) as exc:
        detail = exc.strerror if isinstance(exc, OSError) else str(exc)
        raise _unusable(overlay, str(detail)) from exc
    return True


def _unusable(overlay: Overlay, reason: str) -> exceptions.RehearsalError:
    return exceptions.RehearsalError(
        f'Cannot use {overlay.name} in {overlay.path}: '
        f'{texts.one_line(reason)}. Delete this folder; the next start '
        'installs it again'
    )


def _check_mark(overlay: Overlay) -> None:
    path = overlay.path / _MARK
    if not path.exists():
        raise ValueError(f'it has no {_MARK}')
    mark = json.loads(trusted_files.read(os.fspath(path)))
    if mark != _mark(overlay):
        raise ValueError(
            f'{_MARK} is that of another version, or of another Python'
        )


def _mark(overlay: Overlay) -> dict[str, typing.Any]:
    mark: dict[str, typing.Any] = {
        'format': _FORMAT,
        overlay.distribution: overlay.version,
    }
    if overlay.libraries:
        # Some are compiled for one Python.
        mark['libraries'] = list(overlay.libraries)
        mark['python'] = dotted(sys.version_info[:2])
    return mark


def _check_files(overlay: Overlay) -> None:
    """Check that each file of the package is complete and of this user.

    :raises ValueError: One is not.
    """
    folders: set[str] = set()
    for name, size in _packaged(overlay):
        folder = os.path.dirname(name)
        while folder and folder not in folders:
            folders.add(folder)
            folder = os.path.dirname(folder)
        status = _own_status(overlay, name)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(f'{name} is not a regular file')
        if size and status.st_size != int(size):
            raise ValueError(f'{name} has changed')
    for name in sorted(folders):
        if not stat.S_ISDIR(_own_status(overlay, name).st_mode):
            raise ValueError(f'{name} is not a directory')


def _own_status(overlay: Overlay, name: str) -> os.stat_result:
    """Return the status of a file or folder that belongs to this user.

    :raises ValueError: It does not, or there is none.
    """
    try:
        status = os.lstat(overlay.path / name)
    except FileNotFoundError:
        raise ValueError(f'{name} is missing') from None
    if status.st_uid != os.geteuid():
        raise ValueError(f'{name} belongs to another user')
    if not stat.S_ISLNK(status.st_mode) and places.writers(status):
        raise ValueError(f'other users can write to {name}')
    return status


def _packaged(
    overlay: Overlay,
) -> collections.abc.Iterator[tuple[str, str]]:
    """Yield the path and the size of each file that pip has installed."""
    folders = {path.name for path in overlay.path.glob('*.dist-info')}
    for folder in sorted(folders | {overlay.metadata}):
        record = overlay.path / folder / 'RECORD'
        with open(record, encoding='utf-8', newline='') as stream:
            rows = list(csv.reader(stream))
        if not rows:
            raise ValueError(f'{folder}/RECORD is empty')
        for name, _digest, size in rows:
            # Where files would be without --target: pip moves them.
            while name.startswith('../'):
                name = name.removeprefix('../')
            if not name.startswith('bin/'):
                yield name, size


# -- installation ------------------------------------------------------------


@contextlib.contextmanager
def _locked(
    overlay: Overlay, say: Say | None
) -> collections.abc.Iterator[int]:
    """Hold the lock on an overlay; yield its descriptor."""
    descriptor = trusted_files.open_private(f'{overlay.path}.lock', os.O_RDWR)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if say is not None:
                say(f'waiting: another command installs {overlay.name}')
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def _remove_leftovers(folder: pathlib.Path, version: str) -> None:
    """Remove what a command left that was killed; the lock is held."""
    for path in folder.glob(f'{_BUILDING}{version}-*'):
        shutil.rmtree(path, ignore_errors=True)


def _install(overlay: Overlay, lock: int, say: Say | None) -> None:
    """Install an overlay.

    :param lock: The descriptor of the lock. pip inherits it: the lock is held
        as long as pip runs, even if this process is killed.
    """
    if importlib.util.find_spec('pip') is None:
        raise exceptions.RehearsalError(
            f'Cannot install {overlay.name}: this environment has no '
            f'pip. Install it: {sys.executable} -m ensurepip'
        )
    if say is not None:
        say(
            f'installing {overlay.name} in {overlay.path} '
            f'({overlay.megabytes} MB, once)'
        )
    building = pathlib.Path(
        tempfile.mkdtemp(
            dir=overlay.path.parent, prefix=f'{_BUILDING}{overlay.version}-'
        )
    )
    try:
        output, status = _run_pip(
            building,
            (f'{overlay.distribution}=={overlay.version}', *overlay.libraries),
            lock,
            say,
        )
        if status:
            raise _not_installed(overlay, output)
        state.write_private(
            os.fspath(building / _MARK), json.dumps(_mark(overlay))
        )
        os.rename(building, overlay.path)
    except OSError as exc:
        raise exceptions.RehearsalError(
            f'Cannot install {overlay.name} in {overlay.path}: {exc.strerror}'
        ) from exc
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _run_pip(
    target: pathlib.Path,
    requirements: tuple[str, ...],
    lock: int,
    say: Say | None,
) -> tuple[list[str], int]:
    """Install packages in a folder; return the output and the status."""
    command = [
        *(sys.executable, '-P', '-m', 'pip', 'install'),
        *('--no-deps', '--no-user', '--no-input', '--no-color'),
        *('--disable-pip-version-check', '--progress-bar', 'off'),
        *('--target', os.fspath(target), *requirements),
    ]
    # pip also reads its settings from here.
    environment = {**os.environ, 'PIP_REQUIRE_VIRTUALENV': '0'}
    output = []
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
        # What pip creates must not be writable for a group.
        umask=0o077,
        pass_fds=(lock,),
        text=True,
        errors='replace',
    ) as process:
        try:
            for line in process.stdout or ():
                line = texts.one_line(line)
                if not line:
                    continue
                output.append(line)
                if say is not None and not line.startswith('ERROR:'):
                    say(f'pip: {line}')
        except BaseException:
            # The user interrupts: its folder is about to be deleted.
            process.terminate()
            process.wait()
            raise
    return output, process.returncode


def _not_installed(
    overlay: Overlay, output: list[str]
) -> exceptions.RehearsalError:
    """Return the error of a pip that failed."""
    last = output[-1] if output else 'pip ended without a message'
    offered = next(
        (match[1] for line in output if (match := _OFFERED.search(line))), None
    )
    if offered is None:
        hint = 'See "python -m pip config list" for the settings of pip'
    elif offered == 'none':
        hint = (
            f'pip reached no package index that has {overlay.title}: check '
            'the network and the settings of pip (python -m pip config list)'
        )
    else:
        series = overlay.version.split('.')[0]
        others = [
            other
            for other in offered.split(', ')
            if other.startswith(f'{series}.') and 'rc' not in other
        ]
        hint = 'The package index has no such version; ' + (
            f'of {overlay.title} {series} it has {", ".join(others)}'
            if others
            else f'it has none of {overlay.title} {series}'
        )
    return exceptions.RehearsalError(
        f'Cannot install {overlay.name}: {last.removeprefix("ERROR: ")}. '
        f'{hint}'
    )


def dotted(version: tuple[int, ...]) -> str:
    """Return a version as a text: ``3.11``."""
    return '.'.join(map(str, version))
