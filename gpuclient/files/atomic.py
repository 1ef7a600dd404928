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

"""Replace a file so that it is whole, old or new, at any moment."""

import collections.abc
import contextlib
import errno
import fcntl
import functools
import os
import re
import secrets
import select
import stat
import time
import typing

from gpuclient import exceptions
from gpuclient.files import places

#: Bytes; configuration is small, and what is larger is something else.
LARGEST = 16 * 2**20
#: Lines and items.
MOST = 200_000
#: Extended attributes by which the kernel knows the content of a file.
_OF_CONTENT = {'security.capability', 'security.evm', 'security.ima'}
_ACL = 'system.posix_acl_access'
#: What is added to the name of a file that takes the place of another one.
_TEMPORARY = re.compile('[a-z0-9_]{8}')
#: Seconds.
_LONGEST_LOCK = 10


def read(path: str) -> bytes:
    """Return the content of a regular file.

    :raises gpuclient.exceptions.DocumentError: There is none, it cannot be
        read, or it is too large for configuration.
    """
    try:
        # To open a device can be an act of its own.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise _not_regular(path)
        # Not to wait for whoever writes to a FIFO.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        try:
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                with open(descriptor, 'rb', closefd=False) as stream:
                    return read_stream(path, stream)
        finally:
            os.close(descriptor)
    except OSError as exc:
        raise cannot_read(path, exc) from exc
    raise _not_regular(path)


def list_folder(path: str) -> list[str]:
    """Return the names in a folder, sorted; none where there is no folder.

    :raises gpuclient.exceptions.DocumentError: It cannot be read.
    """
    try:
        return sorted(os.listdir(path))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as exc:
        raise cannot_read(path, exc) from exc


def cannot_read(path: str, exc: OSError) -> exceptions.DocumentError:
    """Return the error for a path that the system does not let us read."""
    return exceptions.DocumentError(f'Cannot read {path}: {exc.strerror}')


def _not_regular(path: str) -> exceptions.DocumentError:
    return exceptions.DocumentError(
        f'Cannot read {path}: it is not a regular file (standard input is -)'
    )


def read_stream(path: str, stream: typing.BinaryIO) -> bytes:
    """Return all of a stream, unless it is too large for configuration.

    :param path: What messages call it.
    :raises gpuclient.exceptions.DocumentError: It is too large.
    """
    try:
        content = _read_some(stream, LARGEST + 1)
    except OSError as exc:
        raise cannot_read(path, exc) from exc
    if len(content) > LARGEST:
        raise exceptions.DocumentError(
            f'Cannot read {path}: it is larger than {LARGEST // 2**20} MiB'
        )
    return content


def _read_some(stream: typing.BinaryIO, most: int) -> bytes:
    """Return what a stream has, waiting for it where it is a pipe.

    Whoever shares standard input may have set it not to wait
    (``O_NONBLOCK``), and so do files of ``/proc`` that never end.
    """
    part: bytes | None = stream.read(most)
    content = bytearray(part or b'')
    while part != b'' and len(content) < most:
        if part is not None and _waits(stream):
            # There is no more.
            break
        if part is None:
            if stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise _os_error(errno.EAGAIN)
            select.select([stream], [], [])
        part = stream.read(most - len(content))
        content += part or b''
    return bytes(content)


def _waits(stream: typing.BinaryIO) -> bool:
    try:
        return os.get_blocking(stream.fileno())
    except OSError:
        # It is in memory.
        return True


def decode(path: str, content: bytes) -> str:
    """Return the text of a file.

    :raises gpuclient.exceptions.DocumentError: It is not UTF-8, or has so
        many lines or items that reading it would take all memory.
    """
    try:
        text = content.decode()
    except UnicodeDecodeError as exc:
        raise exceptions.DocumentError(
            f'Cannot read {path}: it is not UTF-8 (byte {exc.start})'
        ) from exc
    # What YAML makes of a few bytes takes a thousand times as many.
    if sum(map(text.count, '\r\n,[{')) > MOST:
        raise exceptions.DocumentError(
            f'Cannot read {path}: it has more than {MOST} lines or items'
        )
    return text


def check_replaceable(path: str) -> str:
    """Return the file that a replacement would write.

    A link stays one; what it points at is replaced.

    :raises gpuclient.exceptions.UnsafeEdit: It is read-only, a mount point
        or has a second name, so that a replacement fails, or leaves the
        other place with the old content; or somebody else's link leads to it.
    :raises gpuclient.exceptions.DocumentError: The system refused.
    """
    with reported(path), places.reach(path) as place:
        with _opened(place) as descriptor:
            _check_replaceable(place, descriptor)
        return place.target()


def _check_replaceable(place: places.FolderEntry, descriptor: int) -> None:
    status = os.fstat(descriptor)
    path, target = place.path, place.target()
    # Root could write it, but somebody took the write permission away.
    if not status.st_mode & 0o222 or not _may_write(place.name, place.folder):
        raise exceptions.UnsafeEdit(f'Cannot edit {path}: it is read-only')
    if not _may_write('.', place.folder):
        raise exceptions.UnsafeEdit(
            f'Cannot edit {path}: its folder is read-only'
        )
    if _is_mount_point(target):
        raise exceptions.UnsafeEdit(
            f'Cannot edit {path}: it is a mount point, so it cannot be '
            'replaced; edit the file that is mounted there'
        )
    if status.st_nlink > 1 and not _without_leftover(place, status):
        raise exceptions.UnsafeEdit(
            f'Cannot edit {path}: it has {status.st_nlink} hard links, and '
            'the '
            'others would keep the old content'
        )


def _may_write(name: str, folder: int) -> bool:
    return os.access(name, os.W_OK, dir_fd=folder)


def _without_leftover(
    place: places.FolderEntry, status: os.stat_result
) -> bool:
    """Remove the second name that a run left that was killed.

    :returns: Whether it had that one beside its own, and no other.
    """
    if status.st_nlink != 2:
        return False
    with _readable(place.folder) as folder:
        for name in os.listdir(folder):
            prefix = _prefix(place)
            if not name.startswith(prefix) or not _TEMPORARY.fullmatch(
                name.removeprefix(prefix)
            ):
                continue
            with contextlib.suppress(FileNotFoundError):
                other = os.stat(name, dir_fd=folder, follow_symlinks=False)
                if _same(other, status):
                    os.unlink(name, dir_fd=folder)
                    return True
    return False


def _prefix(place: places.FolderEntry) -> str:
    """Return what the names of files begin with that are to replace one."""
    # A name may be as long as the file system lets it be.
    return f'.{place.name[:60]}.'


def check_creatable(path: str) -> None:
    """Find out whether a file can be made, without making anything.

    :raises gpuclient.exceptions.DocumentError: The first folder above it that
        there is cannot be written to.
    """
    above = path
    while True:
        try:
            _check_folder_writable(above, is_file=above == path)
        except FileNotFoundError:
            above = os.path.dirname(above.rstrip('/')) or '.'
        except OSError as exc:
            raise _not_written(path, exc) from exc
        else:
            return


def _check_folder_writable(path: str, *, is_file: bool) -> None:
    """Make sure that entries can be created in a folder.

    :param path: The folder, or a file in it.
    :raises OSError: They cannot, or there is no such folder.
    """
    try:
        with places.reach(path) as entry:
            status = entry.status()
            name = entry.name
            if is_file or status is None:
                name = '.'
            elif not stat.S_ISDIR(status.st_mode):
                raise _os_error(errno.ENOTDIR)
            may_write = os.access(name, os.W_OK | os.X_OK, dir_fd=entry.folder)
    except IsADirectoryError:
        # The working directory, or the root.
        may_write = os.access(path, os.W_OK | os.X_OK)
    if not may_write:
        raise _os_error(errno.EACCES)


def _os_error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def _is_mount_point(target: str) -> bool:
    # os.path.ismount() sees no bind mount within one file system.
    try:
        with open(
            '/proc/self/mountinfo', encoding='utf-8', errors='surrogateescape'
        ) as stream:
            # proc(5) writes blanks and backslashes as octal escapes.
            escaped = ''.join(
                f'\\{ord(character):03o}'
                if character in ' \t\n\\'
                else character
                for character in target
            )
            return any(line.split(' ')[4] == escaped for line in stream)
    except OSError:
        return False


def replace(path: str, old: bytes, new: bytes) -> None:
    """Write a file, keeping owner, mode and extended attributes.

    :param old: What was read; somebody else's edit is not overwritten.
    :raises gpuclient.exceptions.DocumentChanged: Its content is another.
    :raises gpuclient.exceptions.UnsafeEdit: See :func:`check_replaceable`.
    :raises gpuclient.exceptions.DocumentError: The system refused.
    """
    with replacement(path, old, new) as commit:
        commit()


@contextlib.contextmanager
def replacement(
    path: str, old: bytes | None, new: bytes
) -> collections.abc.Iterator[collections.abc.Callable[[], None]]:
    """Write the new file beside the old one; what is yielded puts it there.

    So several files are written before the first of them is another.

    :param old: None if it does not matter what it was.
    :raises gpuclient.exceptions.DocumentError: See :func:`replace`.
    """
    with (
        reported(path),
        places.reach(path) as place,
        _opened(place) as source,
    ):
        _check_replaceable(place, source)

        def commit() -> None:
            with reported(path), _locked(place):
                _check_same(place, source)
                if old is not None:
                    _check_unchanged(place, source, old)
                _check_same(place, descriptor, temporary)
                os.replace(
                    temporary,
                    place.name,
                    src_dir_fd=place.folder,
                    dst_dir_fd=place.folder,
                )

        prepare = functools.partial(_copy_attributes, path, source)
        with _temporary(place, new, prepare) as (descriptor, temporary):
            yield commit


def write(path: str, content: bytes) -> None:
    """Write a file whatever it held, or one that is not there.

    Of one that is there, owner, mode and extended attributes are kept. What
    is no file, a terminal or a pipe, is written to.

    :raises gpuclient.exceptions.UnsafeEdit: See :func:`check_replaceable`; or
        somebody else put it into a folder that everybody can write in.
    :raises gpuclient.exceptions.DocumentError: The system refused.
    """
    with reported(path):
        if places.is_own_stream(path):
            _write_to(os.open(path, os.O_WRONLY | os.O_CLOEXEC), content)
            return
        with places.reach(path, make=0o777) as place:
            status = place.status()
            if status is None:
                _write_new(place, content)
                return
            if places.is_foreign(place.folder_status(), status):
                raise exceptions.UnsafeEdit(
                    f'Cannot write {path}: another user put it into a '
                    'folder that others can write in, too; choose another '
                    'path'
                )
            if not stat.S_ISREG(status.st_mode):
                # Not to wait for a reader of a pipe that may never come.
                descriptor = place.open(os.O_WRONLY | os.O_NONBLOCK)
                os.set_blocking(descriptor, True)
                _write_to(descriptor, content)
                return
        with replacement(path, None, content) as commit:
            commit()


def _write_new(place: places.FolderEntry, content: bytes) -> None:
    prepare = functools.partial(_set_mode, 0o644)
    with (
        _temporary(place, content, prepare) as (_descriptor, temporary),
        _locked(place),
    ):
        os.replace(
            temporary,
            place.name,
            src_dir_fd=place.folder,
            dst_dir_fd=place.folder,
        )


def _write_to(descriptor: int, content: bytes) -> None:
    """Write to what is no file, and close it."""
    with open(descriptor, 'wb') as stream:
        stream.write(content)


@contextlib.contextmanager
def reported(path: str) -> collections.abc.Iterator[None]:
    """Raise what the system says as an error of ours."""
    try:
        yield
    except OSError as exc:
        raise _not_written(path, exc) from exc


def _not_written(path: str, exc: OSError) -> exceptions.DocumentError:
    kind = (
        exceptions.UnsafeEdit
        if exc.errno in (errno.EBUSY, errno.EROFS, errno.EACCES)
        else exceptions.DocumentError
    )
    return kind(f'Cannot write {path}: {exc.strerror}')


def create(
    path: str, content: bytes, mode: int = 0o644, *, folders: int = 0o777
) -> None:
    """Write a file that is not there, and the folders above it.

    :param mode: As the file shall have it, less what the umask takes away.
    :param folders: The same of folders that are made.
    :raises gpuclient.exceptions.DocumentChanged: Somebody else made one.
    :raises gpuclient.exceptions.DocumentError: The system refused.
    """
    with creation(path, content, mode, folders=folders) as commit:
        commit()


@contextlib.contextmanager
def creation(
    path: str, content: bytes, mode: int = 0o644, *, folders: int = 0o777
) -> collections.abc.Iterator[collections.abc.Callable[[], None]]:
    """Write a new file without a name; what is yielded gives it its name.

    :raises gpuclient.exceptions.DocumentError: See :func:`create`.
    """
    with reported(path), places.reach(path, make=folders) as place:
        prepare = functools.partial(_set_mode, mode)

        def commit() -> None:
            with reported(path), _locked(place):
                try:
                    # Unlike a rename, it fails where there is a file.
                    os.link(
                        source,
                        place.name,
                        src_dir_fd=place.folder,
                        dst_dir_fd=place.folder,
                        follow_symlinks=source.startswith('/'),
                    )
                except FileExistsError as exc:
                    raise exceptions.DocumentChanged(
                        f'{path} was made by somebody else meanwhile and '
                        'stays as it is: run the command again'
                    ) from exc

        with _unnamed(place, content, prepare) as source:
            yield commit


def remove(path: str, content: bytes) -> None:
    """Remove a file, unless somebody else has written it.

    :raises gpuclient.exceptions.DocumentError: Somebody has, or the system
        refused.
    """
    with (
        reported(path),
        places.reach(path) as place,
        _opened(place) as source,
        _locked(place),
    ):
        _check_same(place, source)
        _check_unchanged(place, source, content)
        os.unlink(place.name, dir_fd=place.folder)


@contextlib.contextmanager
def _unnamed(
    place: places.FolderEntry,
    content: bytes,
    prepare: collections.abc.Callable[[int], None],
) -> collections.abc.Iterator[str]:
    """Write a file that has no name; yield what it can be linked from.

    Where the file system knows no such files, it has a name for a while.
    """
    try:
        descriptor = os.open(
            '.',
            os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC,
            0o600,
            dir_fd=place.folder,
        )
        source = f'/proc/self/fd/{descriptor}'
        if not os.path.exists(source):
            os.close(descriptor)
            raise _os_error(errno.EOPNOTSUPP)
    except OSError as exc:
        if exc.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
            raise
        with _temporary(place, content, prepare) as (_descriptor, temporary):
            yield temporary
        return
    with open(descriptor, 'wb') as stream:
        _fill(stream, content, prepare)
        yield source


def _fill(
    stream: typing.BinaryIO,
    content: bytes,
    prepare: collections.abc.Callable[[int], None],
) -> None:
    stream.write(content)
    stream.flush()
    prepare(stream.fileno())
    os.fsync(stream.fileno())


def _set_mode(mode: int, descriptor: int) -> None:
    """Give a file a mode, less what the umask takes away."""
    # There is no way to read it alone.
    mask = os.umask(0o077)
    os.umask(mask)
    os.fchmod(descriptor, mode & ~mask)


def _check_same(
    place: places.FolderEntry, descriptor: int, name: str | None = None
) -> None:
    """Make sure that a name is still that of a file that is open."""
    try:
        status = os.stat(
            name or place.name, dir_fd=place.folder, follow_symlinks=False
        )
    except FileNotFoundError:
        status = None
    if status is None or not _same(status, os.fstat(descriptor)):
        raise _changed(place.path)


def _same(one: os.stat_result, other: os.stat_result) -> bool:
    return (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)


def _check_unchanged(
    place: places.FolderEntry, source: int, old: bytes
) -> None:
    with open(source, 'rb', closefd=False) as stream:
        stream.seek(0)
        if stream.read(len(old) + 1) != old:
            raise _changed(place.path)


def _changed(path: str) -> exceptions.DocumentChanged:
    return exceptions.DocumentChanged(
        f'{path} changed after it was read and stays as it is: run '
        'the command again'
    )


@contextlib.contextmanager
def _opened(place: places.FolderEntry) -> collections.abc.Iterator[int]:
    """Open a file to be replaced.

    :raises gpuclient.exceptions.DocumentError: It is no regular file.
    """
    status = place.status()
    if status is not None and stat.S_ISDIR(status.st_mode):
        raise _os_error(errno.EISDIR)
    descriptor = place.open(os.O_RDONLY | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise _changed(place.path)
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _temporary(
    place: places.FolderEntry,
    content: bytes,
    prepare: collections.abc.Callable[[int], None],
) -> collections.abc.Iterator[tuple[int, str]]:
    """Write a file beside another one; delete it if it stays there."""
    name = f'{_prefix(place)}{secrets.token_hex(4)}'
    descriptor = os.open(
        name,
        os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC,
        0o600,
        dir_fd=place.folder,
    )
    try:
        with open(descriptor, 'wb') as stream:
            _fill(stream, content, prepare)
            yield descriptor, name
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=place.folder)


@contextlib.contextmanager
def _readable(folder: int) -> collections.abc.Iterator[int]:
    """Open a folder so that it can be read, locked and synchronized."""
    descriptor = os.open(
        '.', os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder
    )
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _locked(place: places.FolderEntry) -> collections.abc.Iterator[None]:
    """Keep other runs from replacing files of a folder at the same time.

    The folder is locked because the file itself will be another one.
    """
    with _readable(place.folder) as descriptor:
        _lock(place.path, descriptor)
        yield
        os.fsync(descriptor)


def _lock(path: str, descriptor: int) -> None:
    """Wait for other runs, but not for ever: anybody can lock a folder."""
    end = time.monotonic() + _LONGEST_LOCK
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                raise exceptions.DocumentError(
                    f'Cannot write {path}: another process has locked '
                    f'its folder for {_LONGEST_LOCK} seconds'
                ) from None
            time.sleep(0.01)
        except OSError:
            # Some network file systems have no locks.
            return
        else:
            return


def _copy_attributes(path: str, source: int, target: int) -> None:
    """Give a file the owner, mode and attributes of another one."""
    status, made = os.fstat(source), os.fstat(target)
    if (status.st_uid, status.st_gid) != (made.st_uid, made.st_gid):
        try:
            os.fchown(target, status.st_uid, status.st_gid)
        except PermissionError as exc:
            raise exceptions.UnsafeEdit(
                f'Cannot edit {path}: its owner cannot be kept: {exc.strerror}'
            ) from exc
    wanted = _attributes(source)
    if _ACL in _attributes(target):
        # Readers that the folder's default ACL adds.
        os.removexattr(target, _ACL)
    # After fchown(), which clears the set-id bits.
    os.fchmod(target, stat.S_IMODE(status.st_mode))
    for attribute in wanted:
        _copy_attribute(path, source, target, attribute)


def _copy_attribute(
    path: str, source: int, target: int, attribute: str
) -> None:
    value = os.getxattr(source, attribute)
    try:
        os.setxattr(target, attribute, value)
    except OSError as exc:
        # The folder may have given it the same one (SELinux).
        if attribute in _attributes(target) and value == os.getxattr(
            target, attribute
        ):
            return
        raise exceptions.UnsafeEdit(
            f'Cannot edit {path}: its extended attribute '
            f'{attribute} cannot be kept: {exc.strerror}'
        ) from exc


def _attributes(descriptor: int) -> list[str]:
    """Return the extended attributes that are not of the content itself."""
    try:
        return sorted(set(os.listxattr(descriptor)) - _OF_CONTENT)
    except OSError:
        # A file system that has none.
        return []


def warnings(path: str) -> list[str]:
    """Return what to say of the folder of a file that was written."""
    try:
        with places.reach(path) as place:
            if not places.is_shared(place.folder_status()):
                return []
    except (OSError, exceptions.DocumentError):
        return []
    return [
        (
            'Every user of this machine can replace {path}, because the '
            'folder {folder} is writable for all: take the permission away '
            '(chmod o-w)'
        ).format(path=path, folder=os.path.dirname(path) or '.')
    ]
