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
"""Nova of another release, installed beside the libraries of this one.

Nova from release 28 on runs with the newest libraries, those that the
installed Nova uses. So another release needs a folder with its own package
only, an *overlay*, which a process of that release imports before all others;
for release 27 the folder has some libraries, too::

    overlay = nova_overlay.prepare(release.parse('2025.1'), say)
    subprocess.run(
        [sys.executable, '-P', '-m', 'program'],
        env={**os.environ, 'PYTHONPATH': str(overlay.path)},
    )

The program calls :func:`gpuclient.rehearsal.nova_worker.compat.install` before
it imports modules of Nova: releases up to 30 need it. :func:`prepare` returns
None for the release that is installed, which needs no overlay.

Overlays are in the user's cache folder and are installed by pip, from the
package index that pip is configured to use. An overlay is installed in a
temporary folder, which is renamed when it is complete.
"""

import collections.abc
import contextlib
import csv
import dataclasses
import fcntl
import importlib.metadata
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
from gpuclient.model import nova_changes
from gpuclient.model import release as releases
from gpuclient.rehearsal import state
from gpuclient.rehearsal import trusted_files

Say: typing.TypeAlias = collections.abc.Callable[[str], None]

#: Older releases have not been tried.
OLDEST = 27
#: Libraries of which a release needs older versions, by its number.
_LIBRARIES = {
    27: ('SQLAlchemy<2', 'alembic<1.20', 'oslo.db<18', 'oslo.utils<9'),
}
#: The newest Python with which releases up to a number run, and why.
_NEWEST_PYTHON = (
    # nova/scheduler/filters/image_props_filter.py, nova/virt/disk/api.py
    (30, (3, 11), 'it imports modules that Python 3.12 has removed'),
)
#: Says that an overlay is complete.
_MARK = 'overlay.json'
#: Increase it when overlays are created in another way.
_FORMAT = 1
_BUILDING = '.building-'
#: Versions of which pip can choose, as its error lists them.
_OFFERED = re.compile(r'\(from versions: ([^)]*)\)')


@dataclasses.dataclass(frozen=True)
class NovaOverlay:
    """A folder with a version of Nova."""

    #: ``31.3.1``
    version: str
    #: The folder to import from.
    path: pathlib.Path

    @property
    def libraries(self) -> tuple[str, ...]:
        """Requirements of the libraries that are installed with it."""
        return _LIBRARIES.get(int(self.version.split('.')[0]), ())

    def file(self, path: str) -> str:
        """Return the path of a data file: ``etc/nova/api-paste.ini``."""
        return os.fspath(self.path / path)


def installed() -> str:
    """Return the version of the installed Nova.

    :raises RehearsalError: None is installed.
    """
    try:
        return importlib.metadata.version('nova')
    except importlib.metadata.PackageNotFoundError as exc:
        raise exceptions.RehearsalError(
            "Nova is not installed: pip install 'python-gpuclient[rehearsal]'"
        ) from exc


def release_of(version: str) -> releases.Release | None:
    """Return the release of a version; None if it is not known."""
    try:
        return releases.parse(version)
    except exceptions.InvalidValue:
        return None


def is_version_of(version: str, release: releases.Release) -> bool:
    """Return whether a version of Nova is of a release.

    Any version of the series is, unless the release is an older version.
    """
    newest = releases.parse(str(release.number)).version
    return nova_changes.version_text(release.version) == version or (
        release.version == newest
        and version.split('.')[0] == str(release.number)
    )


def prepare(
    release: releases.Release, say: Say | None = None
) -> NovaOverlay | None:
    """Return the overlay of a release, and install it where it is missing.

    :param say: Called with each line of progress.
    :returns: None for the release that is installed.
    :raises RehearsalError: It cannot be installed, or the overlay in the cache
        cannot be used.
    """
    if is_version_of(installed(), release):
        return None
    check_supported(release)
    if release.product and say is not None:
        say(
            f'{release.product}: Nova {release.number} as it was released, '
            'without changes that the product has added'
        )
    version = nova_changes.version_text(release.version)
    folder = _cache()
    overlay = NovaOverlay(version, folder / version)
    if _is_usable(overlay):
        return overlay
    with _locked(folder, version, say) as lock:
        # Another command may have installed it meanwhile.
        if not _is_usable(overlay):
            _remove_leftovers(folder, version)
            _install(overlay, lock, say)
    return overlay


def check_supported(release: releases.Release) -> None:
    """Check that a release can run here, before it is installed.

    :raises RehearsalError: It cannot.
    """
    if release.number < OLDEST:
        raise exceptions.RehearsalError(
            f'Nova {release.number} is too old for this environment: choose '
            f'Nova {OLDEST} ({releases.parse(str(OLDEST)).series}) or later'
        )
    for number, newest, reason in _NEWEST_PYTHON:
        if release.number <= number and sys.version_info[:2] > newest:
            raise exceptions.RehearsalError(
                f'Nova {nova_changes.version_text(release.version)} runs with '
                f'Python {_dotted(newest)} or older, and this is Python '
                f'{_dotted(sys.version_info[:2])}: {reason}. Install '
                f'python-gpuclient with Python {_dotted(newest)}, or choose '
                f'Nova {number + 1} or later'
            )


def _dotted(version: tuple[int, ...]) -> str:
    return '.'.join(map(str, version))


def _cache() -> pathlib.Path:
    """Return the folder of all overlays; create it where it is missing."""
    folder = platformdirs.user_cache_path('gpuclient') / 'nova'
    try:
        trusted_files.check_folder(os.fspath(folder), make=True)
    except OSError as exc:
        raise exceptions.RehearsalError(
            f'Cannot create the cache folder {folder}: {exc.strerror}'
        ) from exc
    return folder


# -- an overlay in the cache -------------------------------------------------


def _is_usable(overlay: NovaOverlay) -> bool:
    """Return whether an overlay is there.

    :raises RehearsalError: It is there and cannot be used.
    """
    if not os.path.lexists(overlay.path):
        return False
    try:
        trusted_files.check_folder(os.fspath(overlay.path))
        _check_mark(overlay)
        _check_files(overlay)
    except (OSError, ValueError, KeyError, TypeError) as exc:
        detail = exc.strerror if isinstance(exc, OSError) else str(exc)
        raise _unusable(overlay, str(detail)) from exc
    return True


def _unusable(overlay: NovaOverlay, reason: str) -> exceptions.RehearsalError:
    return exceptions.RehearsalError(
        f'Cannot use Nova {overlay.version} in {overlay.path}: '
        f'{texts.one_line(reason)}. Delete this folder; the next start '
        'installs it again'
    )


def _check_mark(overlay: NovaOverlay) -> None:
    path = overlay.path / _MARK
    if not path.exists():
        raise ValueError(f'it has no {_MARK}')
    mark = json.loads(trusted_files.read(os.fspath(path)))
    if mark != _mark(overlay):
        raise ValueError(
            f'{_MARK} is that of another version, or of another Python'
        )


def _mark(overlay: NovaOverlay) -> dict[str, typing.Any]:
    mark: dict[str, typing.Any] = {
        'format': _FORMAT,
        'nova': overlay.version,
    }
    if overlay.libraries:
        # Some are compiled for one Python.
        mark['libraries'] = list(overlay.libraries)
        mark['python'] = _dotted(sys.version_info[:2])
    return mark


def _check_files(overlay: NovaOverlay) -> None:
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


def _own_status(overlay: NovaOverlay, name: str) -> os.stat_result:
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
    overlay: NovaOverlay,
) -> collections.abc.Iterator[tuple[str, str]]:
    """Yield the path and the size of each file that pip has installed."""
    own = f'nova-{overlay.version}.dist-info'
    folders = {path.name for path in overlay.path.glob('*.dist-info')}
    for folder in sorted(folders | {own}):
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
    folder: pathlib.Path, version: str, say: Say | None
) -> collections.abc.Iterator[int]:
    """Hold the lock on the overlay of a version; yield its descriptor."""
    descriptor = trusted_files.open_private(
        os.fspath(folder / f'{version}.lock'), os.O_RDWR
    )
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if say is not None:
                say(f'waiting: another command installs Nova {version}')
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def _remove_leftovers(folder: pathlib.Path, version: str) -> None:
    """Remove what a command left that was killed; the lock is held."""
    for path in folder.glob(f'{_BUILDING}{version}-*'):
        shutil.rmtree(path, ignore_errors=True)


def _install(overlay: NovaOverlay, lock: int, say: Say | None) -> None:
    """Install an overlay.

    :param lock: The descriptor of the lock. pip inherits it: the lock is held
        as long as pip runs, even if this process is killed.
    """
    if importlib.util.find_spec('pip') is None:
        raise exceptions.RehearsalError(
            f'Cannot install Nova {overlay.version}: this environment has no '
            f'pip. Install it: {sys.executable} -m ensurepip'
        )
    if say is not None:
        say(
            f'installing Nova {overlay.version} in {overlay.path} (70 MB, '
            'once)'
        )
    building = pathlib.Path(
        tempfile.mkdtemp(
            dir=overlay.path.parent, prefix=f'{_BUILDING}{overlay.version}-'
        )
    )
    try:
        output, status = _run_pip(
            building,
            (f'nova=={overlay.version}', *overlay.libraries),
            lock,
            say,
        )
        if status:
            raise _not_installed(overlay.version, output)
        state.write_private(
            os.fspath(building / _MARK), json.dumps(_mark(overlay))
        )
        os.rename(building, overlay.path)
    except OSError as exc:
        raise exceptions.RehearsalError(
            f'Cannot install Nova {overlay.version} in {overlay.path}: '
            f'{exc.strerror}'
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
        for line in process.stdout or ():
            line = texts.one_line(line)
            if not line:
                continue
            output.append(line)
            if say is not None and not line.startswith('ERROR:'):
                say(f'pip: {line}')
    return output, process.returncode


def _not_installed(
    version: str, output: list[str]
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
            'pip reached no package index that has Nova: check the network '
            'and the settings of pip (python -m pip config list)'
        )
    else:
        series = version.split('.')[0]
        others = [
            other
            for other in offered.split(', ')
            if other.startswith(f'{series}.') and 'rc' not in other
        ]
        hint = 'The package index has no such version; ' + (
            f'of Nova {series} it has {", ".join(others)}'
            if others
            else f'it has none of Nova {series}'
        )
    return exceptions.RehearsalError(
        f'Cannot install Nova {version}: {last.removeprefix("ERROR: ")}. '
        f'{hint}'
    )
