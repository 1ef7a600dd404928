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

"""Read and replace files; a replaced file is always complete, old or new."""

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

#: Bytes of the largest file that is read as configuration.
LARGEST = 16 * 2**20
#: Lines and items of the largest file that is parsed.
MOST = 200_000
#: Extended attributes that depend on the content of a file.
_OF_CONTENT = {'security.capability', 'security.evm', 'security.ima'}
_ACL = 'system.posix_acl_access'
#: Suffix of the temporary name of a replacement.
_TEMPORARY = re.compile('[a-z0-9_]{8}')
#: Seconds to wait for a lock.
_LONGEST_LOCK = 10


def read(path: str, *, or_standard_input: bool = True) -> bytes:
    """Return the content of a regular file.

    :param or_standard_input: The command takes ``-``, too, for the message.
    :raises gpuclient.exceptions.DocumentError: It does not exist, cannot be
        read, or is too large for configuration.
    """
    try:
        # To open a device can have side effects.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise _not_regular(path, or_standard_input)
        # Do not wait for a writer of a FIFO.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        try:
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                with open(descriptor, 'rb', closefd=False) as stream:
                    return read_stream(path, stream)
        finally:
            os.close(descriptor)
    except OSError as exc:
        raise cannot_read(path, exc) from exc
    raise _not_regular(path, or_standard_input)


def list_folder(path: str) -> list[str]:
    """Return the names in a folder, sorted; none if there is no folder.

    :raises gpuclient.exceptions.DocumentError: It cannot be read.
    """
    try:
        return sorted(os.listdir(path))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as exc:
        raise cannot_read(path, exc) from exc


def cannot_read(path: str, exc: OSError) -> exceptions.DocumentError:
    """Return the error for a path that cannot be read."""
    return exceptions.DocumentError(f'Cannot read {path}: {exc.strerror}')


def _not_regular(
    path: str, or_standard_input: bool
) -> exceptions.DocumentError:
    hint = ' (standard input is -)' if or_standard_input else ''
    return exceptions.DocumentError(
        f'Cannot read {path}: it is not a regular file{hint}'
    )


def read_stream(path: str, stream: typing.BinaryIO) -> bytes:
    """Return the content of a stream.

    :param path: Its name in messages.
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
    """Return the content of a stream, up to a size; wait for a pipe.

    Standard input may be non-blocking (``O_NONBLOCK``) because another process
    that shares it has set that. Some files of ``/proc`` are, too.
    """
    part: bytes | None = stream.read(most)
    content = bytearray(part or b'')
    while part != b'' and len(content) < most:
        if part is not None and _waits(stream):
            # The stream has ended.
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
        many lines or items that parsing it would exhaust the memory.
    """
    try:
        text = content.decode()
    except UnicodeDecodeError as exc:
        raise exceptions.DocumentError(
            f'Cannot read {path}: it is not UTF-8 (byte {exc.start})'
        ) from exc
    # Parsed YAML needs a thousand times the memory of its text.
    if sum(map(text.count, '\r\n,[{')) > MOST:
        raise exceptions.DocumentError(
            f'Cannot read {path}: it has more than {MOST} lines or items'
        )
    return text


def check_replaceable(path: str) -> str:
    """Return the path of the file that a replacement would write.

    A link stays; its target is replaced.

    :raises gpuclient.exceptions.UnsafeEdit: The file is read-only or a mount
        point, so that a replacement fails; it has several hard links, of which
        the others would keep the old content; or a link of another user leads
        to it.
    :raises gpuclient.exceptions.DocumentError: The system refused.
    """
    with reported(path), places.reach(path) as place:
        with _opened(place) as descriptor:
            _check_replaceable(place, descriptor)
        return place.target()


def _check_replaceable(place: places.FolderEntry, descriptor: int) -> None:
    status = os.fstat(descriptor)
    path, target = place.path, place.target()
    # Root could write it, but it has no write permission on purpose.
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
            'the others would keep the old content'
        )


def _may_write(name: str, folder: int) -> bool:
    return os.access(name, os.W_OK, dir_fd=folder)


def _without_leftover(
    place: places.FolderEntry, status: os.stat_result
) -> bool:
    """Remove the temporary name that a killed run has left.

    :returns: Whether this was the only other name of the file.
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
    """Return the prefix of temporary names of a file."""
    # The whole name could exceed the limit of the file system.
    return f'.{place.name[:60]}.'


def check_new(path: str) -> None:
    """Make sure that a file does not exist and can be created.

    :raises gpuclient.exceptions.DocumentError: It exists, or see
        :func:`check_creatable`.
    """
    if os.path.lexists(path):
        raise exceptions.DocumentError(
            f'{path} exists and is not replaced: choose another name'
        )
    check_creatable(path)


def check_creatable(path: str) -> None:
    """Make sure that a file can be created, without creating anything.

    :raises gpuclient.exceptions.DocumentError: The nearest existing folder
        above it is not writable.
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
    # os.path.ismount() does not detect bind mounts within a file system.
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
    """Replace a file, keeping owner, mode and extended attributes.

    :param old: The content that was read; edits of others are not overwritten.
    :raises gpuclient.exceptions.DocumentChanged: Its content has changed.
    :raises gpuclient.exceptions.UnsafeEdit: See :func:`check_replaceable`.
    :raises gpuclient.exceptions.DocumentError: The system refused.
    """
    with replacement(path, old, new) as commit:
        commit()


@contextlib.contextmanager
def replacement(
    path: str, old: bytes | None, new: bytes
) -> collections.abc.Iterator[collections.abc.Callable[[], None]]:
    """Write the new file beside the old one; yield a function to replace it.

    So several files can be written before the first one is replaced.

    :param old: The content that was read; None if it does not matter.
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
    """Write a file, regardless of its content, or create it.

    Owner, mode and extended attributes of an existing file are kept. A
    terminal or a pipe is written to.

    :raises gpuclient.exceptions.UnsafeEdit: See :func:`check_replaceable`; or
        another user created the file in a folder that all users can write to.
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
                    f'Cannot write {path}: another user created it in a '
                    'folder that others can write to; choose another path'
                )
            if not stat.S_ISREG(status.st_mode):
                # Do not wait for a reader of a pipe.
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
    """Write to an open descriptor, and close it."""
    with open(descriptor, 'wb') as stream:
        stream.write(content)


@contextlib.contextmanager
def reported(path: str) -> collections.abc.Iterator[None]:
    """Convert errors of the system."""
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
    """Create a file, and the folders above it.

    :param mode: Mode of the file, before the umask.
    :param folders: Mode of new folders, before the umask.
    :raises gpuclient.exceptions.DocumentChanged: The file exists.
    :raises gpuclient.exceptions.DocumentError: The system refused.
    """
    with creation(path, content, mode, folders=folders) as commit:
        commit()


@contextlib.contextmanager
def creation(
    path: str, content: bytes, mode: int = 0o644, *, folders: int = 0o777
) -> collections.abc.Iterator[collections.abc.Callable[[], None]]:
    """Write a new file without a name; yield a function to link it.

    :raises gpuclient.exceptions.DocumentError: See :func:`create`.
    """
    with reported(path), places.reach(path, make=folders) as place:
        prepare = functools.partial(_set_mode, mode)

        def commit() -> None:
            with reported(path), _locked(place):
                try:
                    # Unlike a rename, it fails if the file exists.
                    os.link(
                        source,
                        place.name,
                        src_dir_fd=place.folder,
                        dst_dir_fd=place.folder,
                        follow_symlinks=source.startswith('/'),
                    )
                except FileExistsError as exc:
                    raise exceptions.DocumentChanged(
                        f'{path} was created by another process meanwhile and '
                        'is unchanged: run the command again'
                    ) from exc

        with _unnamed(place, content, prepare) as source:
            yield commit


def remove(path: str, content: bytes) -> None:
    """Remove a file, unless it has changed.

    :param content: Its content as it was written.
    :raises gpuclient.exceptions.DocumentError: It has changed, or the system
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
    """Write a file without a name; yield the path to link it from.

    On a file system without such files, it has a temporary name.
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
    """Set the mode of a file, as modified by the umask."""
    # The umask can only be read by setting it.
    mask = os.umask(0o077)
    os.umask(mask)
    os.fchmod(descriptor, mode & ~mask)


def _check_same(
    place: places.FolderEntry, descriptor: int, name: str | None = None
) -> None:
    """Make sure that a name still refers to an open file."""
    try:
        status = os.stat(
            name or place.name, dir_fd=place.folder, follow_symlinks=False
        )
    except FileNotFoundError:
        status = None
    if status is None or not _same(status, os.fstat(descriptor)):
        raise _changed(place.path)


def _same(first: os.stat_result, second: os.stat_result) -> bool:
    return (first.st_dev, first.st_ino) == (second.st_dev, second.st_ino)


def _check_unchanged(
    place: places.FolderEntry, source: int, old: bytes
) -> None:
    with open(source, 'rb', closefd=False) as stream:
        stream.seek(0)
        if stream.read(len(old) + 1) != old:
            raise _changed(place.path)


def _changed(path: str) -> exceptions.DocumentChanged:
    return exceptions.DocumentChanged(
        f'{path} changed after it was read and was not written: run the '
        'command again'
    )


@contextlib.contextmanager
def _opened(place: places.FolderEntry) -> collections.abc.Iterator[int]:
    """Open a file to be replaced.

    :raises gpuclient.exceptions.DocumentError: It is not a regular file.
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
    """Write a file with a temporary name; delete it if it is not renamed."""
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
    """Keep other runs from replacing files in a folder at the same time.

    The folder is locked, because the file itself is replaced.
    """
    with _readable(place.folder) as descriptor:
        _lock(place.path, descriptor)
        yield
        os.fsync(descriptor)


def _lock(path: str, descriptor: int) -> None:
    """Wait for other runs, with a limit: any process can lock a folder."""
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
    """Copy owner, mode and extended attributes of a file to another."""
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
        # It comes from the default ACL of the folder.
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
        # It may have the same value by default (SELinux).
        if attribute in _attributes(target) and value == os.getxattr(
            target, attribute
        ):
            return
        raise exceptions.UnsafeEdit(
            f'Cannot edit {path}: its extended attribute '
            f'{attribute} cannot be kept: {exc.strerror}'
        ) from exc


def _attributes(descriptor: int) -> list[str]:
    """Return the extended attributes that do not depend on the content."""
    try:
        return sorted(set(os.listxattr(descriptor)) - _OF_CONTENT)
    except OSError:
        # The file system has none.
        return []


def warnings(path: str) -> list[str]:
    """Return warnings about the folder of a file that was written."""
    try:
        with places.reach(path) as place:
            if not places.is_shared(place.folder_status()):
                return []
    except (OSError, exceptions.DocumentError):
        return []
    folder = os.path.dirname(path) or '.'
    return [
        f'Every user of this machine can replace {path}, because its folder '
        f'is writable for all: run "chmod o-w {folder}"'
    ]
