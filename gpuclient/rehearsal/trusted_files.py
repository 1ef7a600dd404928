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

"""Read and open files in a state folder that only this user can write.

A state folder names processes, files and clouds that a command acts on. A file
is read only if no other user can write the file, its folder or a folder above,
and no file is written through a link.
"""

import collections.abc
import contextlib
import errno
import os
import re
import stat

from gpuclient import exceptions
from gpuclient.files import atomic
from gpuclient.files import places

#: Files that the user adds, which may be links.
_ADDED = re.compile(r'etc/nova/[^/]+\.conf\.d/[^/]+\.conf')


@contextlib.contextmanager
def reported() -> collections.abc.Iterator[None]:
    """Raise a ``DocumentError`` as a ``RehearsalError``."""
    try:
        yield
    except exceptions.DocumentError as exc:
        raise exceptions.RehearsalError(str(exc)) from exc


def check_folder(path: str, *, make: bool = False) -> None:
    """Check that no other user can write or replace a folder.

    :param make: Create it where it does not exist.
    :raises RehearsalError: Another user can.
    :raises OSError: It does not exist or cannot be read.
    """
    with reported():
        places.check_own(path, make=0o700 if make else None)


def read(path: str) -> str:
    """Return the text of a file of this user.

    :raises RehearsalError: It is a link, belongs to another user, or is not
        text.
    :raises OSError: It cannot be read.
    """
    with reported():
        try:
            descriptor = os.open(
                path,
                os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC,
            )
        except OSError as exc:
            if exc.errno != errno.ELOOP:
                raise
            raise _not_trusted(path, 'it is a symbolic link') from exc
        with open(descriptor, 'rb') as stream:
            _check(path, os.fstat(stream.fileno()))
            return atomic.decode(path, atomic.read_stream(path, stream))


def check_content(path: str) -> None:
    """Check that a state folder has no links and no files of other users.

    :raises RehearsalError: It has.
    :raises OSError: It cannot be read.
    """
    folders = ['']
    while folders:
        folder = folders.pop()
        with os.scandir(os.path.join(path, folder)) as entries:
            for entry in entries:
                name = os.path.join(folder, entry.name)
                try:
                    status = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    # A cloud that starts at the same time has moved it.
                    continue
                if _ADDED.fullmatch(name) and stat.S_ISLNK(status.st_mode):
                    continue
                _check(entry.path, status, any_kind=True)
                if stat.S_ISDIR(status.st_mode):
                    folders.append(name)


def open_private(path: str, flags: int) -> int:
    """Open a file, or create one that only its owner can read."""
    try:
        descriptor = os.open(
            path, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
        )
    except IsADirectoryError as exc:
        raise _not_trusted(path, 'it is not a regular file') from exc
    except OSError as exc:
        if exc.errno != errno.ELOOP:
            raise
        raise _not_trusted(path, 'it is a symbolic link') from exc
    try:
        _check(path, os.fstat(descriptor))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _check(
    path: str, status: os.stat_result, *, any_kind: bool = False
) -> None:
    """Check the owner, mode and kind of a file.

    :param any_kind: It may also be a folder or a socket.
    """
    reason = _reason_not_to_trust(status, any_kind)
    if reason is not None:
        raise _not_trusted(path, reason)


def _reason_not_to_trust(status: os.stat_result, any_kind: bool) -> str | None:
    mode = status.st_mode
    if stat.S_ISLNK(mode):
        return 'it is a symbolic link'
    if status.st_uid != os.geteuid():
        return 'it belongs to another user'
    if places.writers(status) and not stat.S_ISSOCK(mode):
        return 'other users can write to it'
    if stat.S_ISREG(mode):
        return 'it has several hard links' if status.st_nlink > 1 else None
    if any_kind and (stat.S_ISDIR(mode) or stat.S_ISSOCK(mode)):
        return None
    return 'it is not a regular file'


def _not_trusted(path: str, reason: str) -> exceptions.RehearsalError:
    return exceptions.RehearsalError(
        f'Cannot trust {path}: {reason}. The rehearsal cloud did not create '
        'it: check the file, then delete it'
    )
