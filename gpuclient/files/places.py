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

"""Reach a file through descriptors of the folders above it.

Whoever may rename entries of a folder can put a link in their place, at any
moment. So each folder on the way is opened within the one before, links are
followed by hand, and one that somebody else could have planted may only lead
to what the same user could have written anyway.
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

#: As the kernel follows in one path (``path_resolution(7)``).
_MOST_LINKS = 40
_OPEN_ENTRY = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
#: Descriptors of this process by name, which are no links to a path.
_OWN_STREAM = re.compile(
    r'/dev/std(out|err)|/(dev|proc/self)/fd/\d+', re.ASCII
)


@dataclasses.dataclass(frozen=True)
class FolderEntry:
    """A name in a folder, which is open."""

    #: As the user named it.
    path: str
    #: Descriptor of the folder; it can neither be read nor be locked.
    folder: int
    name: str

    def status(self) -> os.stat_result | None:
        """Return what is there now; None where nothing is."""
        try:
            return os.stat(
                self.name, dir_fd=self.folder, follow_symlinks=False
            )
        except FileNotFoundError:
            return None

    def folder_status(self) -> os.stat_result:
        return os.fstat(self.folder)

    def open(self, flags: int, mode: int = 0o600) -> int:
        """Open what is there; fail where it is a link."""
        return os.open(
            self.name,
            flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOCTTY,
            mode,
            dir_fd=self.folder,
        )

    def target(self) -> str:
        """Return its path without links, as the kernel knows it."""
        try:
            folder = os.readlink(f'/proc/self/fd/{self.folder}')
        except OSError:
            folder = os.path.dirname(os.path.realpath(self.path))
        return os.path.join(folder, self.name)


def is_own_stream(path: str) -> bool:
    """Return whether a path names an open descriptor of this process."""
    return bool(_OWN_STREAM.fullmatch(path))


@contextlib.contextmanager
def reach(
    path: str, *, make: int | None = None
) -> collections.abc.Iterator[FolderEntry]:
    """Open the folder of a file, which need not be there.

    :param make: Make the folders that are not there, with this mode.
    :raises gpuclient.exceptions.UnsafeEdit: A link of another user leads to
        what is not that user's.
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
    """A link that was followed, and who could have put it there."""

    path: str
    #: What :func:`strangers` has of its folder.
    planters: frozenset[tuple[str, int]]

    def check(
        self,
        path: str,
        folder: os.stat_result,
        entry: os.stat_result | None,
    ) -> None:
        """Refuse to follow it to what its planters could not write."""
        for kind, number in sorted(self.planters):
            if not _could_write(kind, number, folder, entry):
                raise exceptions.UnsafeEdit(
                    f'Cannot write {path}: {_described(kind, number)} could '
                    'have put the '
                    f'link {self.path} there, which leads to a file that is '
                    'not theirs; name the file itself'
                )


class _Walk:
    """A way from folder to folder, of which the last one is open."""

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
        """Refuse links of others to what is in the folder.

        :param entry: What is there; None where nothing is.
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

        :param make: Make a folder that is not there, with this mode.
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
        """Take note of an entry on the way."""

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
    """A way that nobody but this user and root can turn elsewhere."""

    def _pass(self, name: str, status: os.stat_result) -> None:
        self.refuse(name, strangers(os.fstat(self.folder), status))

    def refuse(self, name: str, others: frozenset[tuple[str, int]]) -> None:
        for kind, number in sorted(others):
            raise exceptions.UnsafeEdit(
                f'Cannot trust the directory {self._path}: '
                f'{_described(kind, number)} can replace '
                f'{name}; choose a directory that is yours alone'
            )


def check_own(path: str, *, make: int | None = None) -> None:
    """Make sure that a folder is this user's, and so is the way to it.

    Then nobody else can change what is in it, or put another one there.

    :param make: Make the folders that are not there, with this mode.
    :raises gpuclient.exceptions.UnsafeEdit: Somebody else could.
    :raises OSError: It is not there, or the system refused.
    """
    walk = _OwnWalk(path)
    try:
        # So that the last one is entered, too.
        walk.names.append('.')
        while len(walk.names) > 1:
            walk.step(walk.names.popleft(), make)
        status = os.fstat(walk.folder)
        if status.st_uid != os.geteuid():
            raise exceptions.UnsafeEdit(
                (
                    'Cannot trust the directory {path}: it belongs to '
                    '{who}; choose one that is yours'
                ).format(path=path, who=_described('user', status.st_uid))
            )
        walk.refuse('files in it', writers(status))
    finally:
        walk.close()


def writers(entry: os.stat_result) -> frozenset[tuple[str, int]]:
    """Return who, but its owner and root, may write a file or a folder."""
    found = set()
    if entry.st_mode & 0o020 and not _is_private(entry.st_gid):
        found.add(('group', entry.st_gid))
    if entry.st_mode & 0o002:
        found.add(('everybody', 0))
    return frozenset(found)


def _names(path: str) -> list[str]:
    return [name for name in path.split('/') if name not in ('', '.')]


def strangers(
    folder: os.stat_result, entry: os.stat_result
) -> frozenset[tuple[str, int]]:
    """Return who, but root and this user, could replace an entry.

    Each is a kind and a number: ``user`` and ``group``; ``everybody``; and
    ``sticky`` for a user who put a link into a folder that many write in,
    where the kernel does not follow it either (``protected_symlinks``).
    """
    ours = _trusted_users()
    found = set()
    if folder.st_uid not in ours:
        found.add(('user', folder.st_uid))
    if folder.st_mode & stat.S_ISVTX:
        if folder.st_mode & 0o022 and entry.st_uid not in ours:
            found.add(('sticky', entry.st_uid))
        return frozenset(found)
    return frozenset(found) | writers(folder)


def _could_write(
    kind: str,
    number: int,
    folder: os.stat_result,
    entry: os.stat_result | None,
) -> bool:
    """Return whether somebody could write a file, or put another there."""
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
    """Return whether everybody can replace the files of a folder."""
    return bool(folder.st_mode & 0o002) and not folder.st_mode & stat.S_ISVTX


def is_foreign(folder: os.stat_result, entry: os.stat_result) -> bool:
    """Return whether somebody else put a file where many can put some."""
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
    """Return whether a group is root's, or the one that bears our name."""
    if group == 0:
        return True
    user = os.geteuid()
    return _name_of(grp.getgrgid, group) == _name_of(pwd.getpwuid, user)


def _trusted_users() -> frozenset[int]:
    return frozenset({0, os.geteuid(), *_unmapped_users()})


@functools.cache
def _unmapped_users() -> frozenset[int]:
    """Return what stands for root where it is not part of a user namespace."""
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
