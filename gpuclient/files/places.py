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

"""Open a file through descriptors of the folders above it.

A user who may rename the entries of a folder can replace them by a link at any
moment. Therefore each folder on the path is opened relative to the one above
it, and links are followed here and not by the kernel. A link that another user
could have created may only lead to a file that the same user could write
anyway.
"""

import collections
import collections.abc
import contextlib
import dataclasses
import errno
import functools
import grp
import os
import pwd
import re
import stat

from gpuclient import exceptions

#: The limit of the kernel for a path (``path_resolution(7)``).
_MOST_LINKS = 40
_OPEN_ENTRY = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
#: Names of descriptors of this process; their links are not paths.
_OWN_STREAM = re.compile(
    r'/dev/std(out|err)|/(dev|proc/self)/fd/\d+', re.ASCII
)


@dataclasses.dataclass(frozen=True)
class FolderEntry:
    """A name in an open folder."""

    #: As the user named it.
    path: str
    #: Descriptor of the folder (``O_PATH``: not for reading or locking).
    folder: int
    name: str

    def status(self) -> os.stat_result | None:
        """Return the present status; None if it does not exist."""
        try:
            return os.stat(
                self.name, dir_fd=self.folder, follow_symlinks=False
            )
        except FileNotFoundError:
            return None

    def folder_status(self) -> os.stat_result:
        return os.fstat(self.folder)

    def open(self, flags: int, mode: int = 0o600) -> int:
        """Open it; fail if it is a link."""
        return os.open(
            self.name,
            flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOCTTY,
            mode,
            dir_fd=self.folder,
        )

    def target(self) -> str:
        """Return its path without links."""
        try:
            folder = os.readlink(f'/proc/self/fd/{self.folder}')
        except OSError:
            folder = os.path.dirname(os.path.realpath(self.path))
        return os.path.join(folder, self.name)


def is_own_stream(path: str) -> bool:
    """Return whether a path is an open descriptor of this process."""
    return bool(_OWN_STREAM.fullmatch(path))


@contextlib.contextmanager
def reach(
    path: str, *, make: int | None = None
) -> collections.abc.Iterator[FolderEntry]:
    """Open the folder of a file, which need not exist.

    :param make: Create missing folders with this mode.
    :raises gpuclient.exceptions.UnsafeEdit: A link of another user leads to a
        file that this user cannot write.
    :raises OSError: The system refused.
    """
    walk = _Walk(path)
    try:
        while walk.names:
            name = walk.names.popleft()
            if walk.step(name, make):
                break
        else:
            raise IsADirectoryError(
                errno.EISDIR, os.strerror(errno.EISDIR), path
            )
        place = FolderEntry(path, walk.folder, name)
        walk.check(place.status())
        yield place
    finally:
        walk.close()


@dataclasses.dataclass(frozen=True)
class _Link:
    """A link that was followed, and the users who could have created it."""

    path: str
    #: See :func:`strangers`.
    planters: frozenset[tuple[str, int]]

    def check(
        self,
        path: str,
        folder: os.stat_result,
        entry: os.stat_result | None,
    ) -> None:
        """Refuse a target that these users could not write."""
        for kind, number in sorted(self.planters):
            if not _could_write(kind, number, folder, entry):
                raise exceptions.UnsafeEdit(
                    f'Cannot write {path}: {_described(kind, number)} could '
                    f'have created the link {self.path}, which leads to a '
                    'file of another user; pass the file itself'
                )


class _Walk:
    """Walks from folder to folder; the last one is open."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.folder = -1
        self.names = collections.deque(_names(path))
        self.links: list[_Link] = []
        self._followed = 0
        self._enter(self._top(path))

    def close(self) -> None:
        os.close(self.folder)

    def check(self, entry: os.stat_result | None) -> None:
        """Refuse links of others to an entry of the folder.

        :param entry: Its status; None if it does not exist.
        """
        for link in self.links:
            link.check(self._path, os.fstat(self.folder), entry)

    @staticmethod
    def _top(path: str) -> int:
        return os.open(
            '/' if path.startswith('/') else '.',
            os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC,
        )

    def _enter(self, folder: int) -> None:
        if self.folder >= 0:
            os.close(self.folder)
        self.folder = folder

    def step(self, name: str, make: int | None) -> bool:
        """Enter a folder or follow a link; return whether it was the last.

        :param make: Create a missing folder with this mode.
        """
        try:
            entry = os.open(name, _OPEN_ENTRY, dir_fd=self.folder)
        except FileNotFoundError:
            if not self.names:
                return True
            if make is None:
                raise
            self.check(None)
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, make, dir_fd=self.folder)
            self.names.appendleft(name)
            return False
        try:
            status = os.fstat(entry)
            self._pass(name, status)
            if stat.S_ISLNK(status.st_mode):
                self._follow(name, entry, status)
                return False
            if not self.names and name != '..':
                return True
            if not stat.S_ISDIR(status.st_mode):
                raise NotADirectoryError(
                    errno.ENOTDIR, os.strerror(errno.ENOTDIR), self._path
                )
            entry, folder = -1, entry
            self._enter(folder)
            return False
        finally:
            if entry >= 0:
                os.close(entry)

    def _pass(self, name: str, status: os.stat_result) -> None:
        """Check an entry on the path; subclasses may refuse it."""

    def _follow(self, name: str, entry: int, status: os.stat_result) -> None:
        self._followed += 1
        if self._followed > _MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), self._path)
        planters = strangers(os.fstat(self.folder), status)
        if planters:
            self.links.append(_Link(name, planters))
        target = os.readlink('', dir_fd=entry)
        self.names.extendleft(reversed(_names(target)))
        if target.startswith('/'):
            self._enter(self._top(target))


class _OwnWalk(_Walk):
    """Refuses a path that users other than this one and root can change."""

    def _pass(self, name: str, status: os.stat_result) -> None:
        self.refuse(name, strangers(os.fstat(self.folder), status))

    def refuse(self, name: str, others: frozenset[tuple[str, int]]) -> None:
        for kind, number in sorted(others):
            raise exceptions.UnsafeEdit(
                f'Cannot trust the folder {self._path}: '
                f'{_described(kind, number)} can replace '
                f'{name}; choose a folder that only you can write to'
            )


def check_own(path: str, *, make: int | None = None) -> None:
    """Make sure that no other user can change or replace a folder.

    :param make: Create missing folders with this mode.
    :raises gpuclient.exceptions.UnsafeEdit: Another user can.
    :raises OSError: It does not exist, or the system refused.
    """
    walk = _OwnWalk(path)
    try:
        # So that the last folder is entered, too.
        walk.names.append('.')
        while len(walk.names) > 1:
            walk.step(walk.names.popleft(), make)
        status = os.fstat(walk.folder)
        if status.st_uid != os.geteuid():
            raise exceptions.UnsafeEdit(
                f'Cannot trust the folder {path}: it belongs to '
                f'{_described("user", status.st_uid)}; choose a folder '
                'that belongs to you'
            )
        walk.refuse('files in it', writers(status))
    finally:
        walk.close()


def writers(entry: os.stat_result) -> frozenset[tuple[str, int]]:
    """Return who may write a file or folder, except its owner and root."""
    result = set()
    if entry.st_mode & 0o020 and not _is_private(entry.st_gid):
        result.add(('group', entry.st_gid))
    if entry.st_mode & 0o002:
        result.add(('everybody', 0))
    return frozenset(result)


def _names(path: str) -> list[str]:
    return [name for name in path.split('/') if name not in ('', '.')]


def strangers(
    folder: os.stat_result, entry: os.stat_result
) -> frozenset[tuple[str, int]]:
    """Return who could replace an entry, except this user and root.

    Each is a kind and a number: ``user``, ``group``, ``everybody``, and
    ``sticky`` for the owner of a link in a sticky folder that others can write
    to. The kernel does not follow such a link either
    (``protected_symlinks``).
    """
    trusted = _trusted_users()
    result = set()
    if folder.st_uid not in trusted:
        result.add(('user', folder.st_uid))
    if folder.st_mode & stat.S_ISVTX:
        if folder.st_mode & 0o022 and entry.st_uid not in trusted:
            result.add(('sticky', entry.st_uid))
        return frozenset(result)
    return frozenset(result) | writers(folder)


def _could_write(
    kind: str,
    number: int,
    folder: os.stat_result,
    entry: os.stat_result | None,
) -> bool:
    """Return whether a user or group could write or replace a file."""
    known = [folder] if entry is None else [folder, entry]
    if kind == 'user':
        return any(status.st_uid == number for status in known)
    if folder.st_mode & stat.S_ISVTX:
        known.remove(folder)
    if kind == 'group':
        return any(
            status.st_gid == number and status.st_mode & 0o020
            for status in known
        )
    return kind == 'everybody' and any(
        status.st_mode & 0o002 for status in known
    )


def is_shared(folder: os.stat_result) -> bool:
    """Return whether all users can replace the files of a folder."""
    return bool(folder.st_mode & 0o002) and not folder.st_mode & stat.S_ISVTX


def is_foreign(folder: os.stat_result, entry: os.stat_result) -> bool:
    """Return whether another user created a file in a shared folder."""
    many = 0o022 if folder.st_mode & stat.S_ISVTX else 0o002
    return (
        bool(folder.st_mode & many)
        and entry.st_uid not in _trusted_users()
        and entry.st_uid != folder.st_uid
    )


def _described(kind: str, number: int) -> str:
    if kind == 'everybody':
        return 'everybody'
    if kind == 'group':
        return f'group {_name_of(grp.getgrgid, number)}'
    return f'user {_name_of(pwd.getpwuid, number)}'


def _name_of(
    lookup: collections.abc.Callable[[int], tuple[object, ...]], number: int
) -> str:
    try:
        return str(lookup(number)[0])
    except (KeyError, OSError):
        return str(number)


def _is_private(group: int) -> bool:
    """Return whether a group is that of root, or of this user alone."""
    if group == 0:
        return True
    user = os.geteuid()
    return _name_of(grp.getgrgid, group) == _name_of(pwd.getpwuid, user)


def _trusted_users() -> frozenset[int]:
    return frozenset({0, os.geteuid(), *_unmapped_users()})


@functools.cache
def _unmapped_users() -> frozenset[int]:
    """Return the user that root is shown as in a user namespace."""
    try:
        with open('/proc/self/uid_map', encoding='ascii') as stream:
            first = stream.read().split()
        with open('/proc/sys/kernel/overflowuid', encoding='ascii') as stream:
            overflow = int(stream.read())
    except (OSError, ValueError):
        return frozenset()
    if first == ['0', '0', '4294967295']:
        return frozenset()
    return frozenset({overflow})
