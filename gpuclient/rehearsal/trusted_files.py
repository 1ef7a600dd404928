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

"""What in a state folder is believed: files of this user, in own folders.

A state folder names processes, files and clouds that a command acts on. So
nothing in it is read before the folder, the way to it and the file are known
to be of this user alone, and nothing is written through a link in it.
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

#: Files that a user adds, which may be links to files elsewhere.
_ADDED = re.compile(r'etc/nova/[^/]+\.conf\.d/[^/]+\.conf')


@contextlib.contextmanager
def reported() -> collections.abc.Iterator[None]:
    """Raise an error of a document as one of the rehearsal."""
    try:
        yield
    except exceptions.DocumentError as exc:
        raise exceptions.RehearsalError(str(exc)) from exc


def check_folder(path: str, *, make: bool = False) -> None:
    """Refuse a folder that somebody else could fill or replace.

    :param make: Make it where it is not there.
    :raises RehearsalError: Somebody could.
    :raises OSError: It is not there, or the system refused.
    """
    with reported():
        places.check_own(path, make=0o700 if make else None)


def read(path: str) -> str:
    """Return the text of a file of this user.

    :raises RehearsalError: It is a link, somebody else's, or no text.
    :raises OSError: The system refused.
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
            raise _not_believed(path, 'it is a link') from exc
        with open(descriptor, 'rb') as stream:
            _check(path, os.fstat(stream.fileno()))
            return atomic.decode(path, atomic.read_stream(path, stream))


def check_content(path: str) -> None:
    """Refuse a state folder in which a file leads or belongs elsewhere.

    :raises RehearsalError: One does.
    :raises OSError: The system refused.
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
                    # Of a cloud that starts at the same time.
                    continue
                if _ADDED.fullmatch(name) and stat.S_ISLNK(status.st_mode):
                    continue
                _check(entry.path, status, any_kind=True)
                if stat.S_ISDIR(status.st_mode):
                    folders.append(name)


def open_private(path: str, flags: int) -> int:
    """Open a file that only its owner may read, but no link."""
    try:
        descriptor = os.open(
            path, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
        )
    except OSError as exc:
        if exc.errno != errno.ELOOP:
            raise
        raise _not_believed(path, 'it is a link') from exc
    try:
        _check(path, os.fstat(descriptor))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _check(
    path: str, status: os.stat_result, *, any_kind: bool = False
) -> None:
    reason = None
    regular = stat.S_ISREG(status.st_mode)
    if stat.S_ISLNK(status.st_mode):
        reason = 'it is a link'
    elif status.st_uid != os.geteuid():
        reason = 'it belongs to another user'
    elif places.writers(status) and not stat.S_ISSOCK(status.st_mode):
        reason = 'others may write it'
    elif regular and status.st_nlink > 1:
        reason = 'it has a second name'
    elif not regular and not (any_kind and _is_ours_to_make(status.st_mode)):
        reason = 'it is not a regular file'
    if reason is not None:
        raise _not_believed(path, reason)


def _is_ours_to_make(mode: int) -> bool:
    return stat.S_ISDIR(mode) or stat.S_ISSOCK(mode)


def _not_believed(path: str, reason: str) -> exceptions.RehearsalError:
    return exceptions.RehearsalError(
        f'Cannot trust {path}: {reason}; a rehearsal cloud has made no '
        'such file: look at it, then delete it'
    )
