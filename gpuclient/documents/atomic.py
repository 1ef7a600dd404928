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
import stat
import tempfile
import typing

from gpuclient import exceptions
from gpuclient.i18n import _

#: Bytes; configuration is small, and what is larger is something else.
LARGEST = 16 * 2**20
#: Lines and items.
MOST = 200_000
#: Extended attributes by which the kernel knows the content of a file.
_OF_CONTENT = {'security.ima', 'security.evm'}


def read(path: str) -> bytes:
    """Return the content of a regular file.

    :raises gpuclient.exceptions.DocumentError: There is none, it cannot be
        read, or it is too large for configuration.
    """
    try:
        # Not to wait for whoever writes to a FIFO.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                with open(descriptor, 'rb', closefd=False) as stream:
                    return read_stream(path, stream)
        finally:
            os.close(descriptor)
    except OSError as exc:
        raise exceptions.DocumentError(
            _('Cannot read %(path)s: %(reason)s')
            % {'path': path, 'reason': exc.strerror}
        ) from exc
    raise exceptions.DocumentError(
        _(
            'Cannot read %(path)s: it is not a regular file (standard input '
            'is -)'
        )
        % {'path': path}
    )


def read_stream(path: str, stream: typing.BinaryIO) -> bytes:
    """Return all of a stream, unless it is too large for configuration.

    :param path: What messages call it.
    :raises gpuclient.exceptions.DocumentError: It is too large.
    """
    content = stream.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise exceptions.DocumentError(
            _('Cannot read %(path)s: it is larger than %(size)d MiB')
            % {'path': path, 'size': LARGEST // 2**20}
        )
    return content


def decode(path: str, content: bytes) -> str:
    """Return the text of a file.

    :raises gpuclient.exceptions.DocumentError: It is not UTF-8, or has so
        many lines or items that reading it would take all memory.
    """
    try:
        text = content.decode()
    except UnicodeDecodeError as exc:
        raise exceptions.DocumentError(
            _('Cannot read %(path)s: it is not UTF-8 (byte %(position)d)')
            % {'path': path, 'position': exc.start}
        ) from exc
    # What YAML makes of a few bytes takes a thousand times as many.
    if sum(map(text.count, '\r\n,[{')) > MOST:
        raise exceptions.DocumentError(
            _('Cannot read %(path)s: it has more than %(most)d lines or items')
            % {'path': path, 'most': MOST}
        )
    return text


def check_replaceable(path: str) -> str:
    """Return the file that a replacement would write.

    A link stays one; what it points at is replaced.

    :raises gpuclient.exceptions.UnsafeEdit: It is read-only, a mount point
        or has a second name, so that a replacement fails, or leaves the
        other place with the old content.
    """
    target = os.path.realpath(path)
    status = os.stat(target)
    # Root could write it, but somebody took the write permission away.
    if not status.st_mode & 0o222 or not os.access(target, os.W_OK):
        raise exceptions.UnsafeEdit(
            _('Cannot edit %(path)s: it is read-only') % {'path': path}
        )
    if not os.access(os.path.dirname(target), os.W_OK):
        raise exceptions.UnsafeEdit(
            _('Cannot edit %(path)s: its folder is read-only') % {'path': path}
        )
    if _is_mount_point(target):
        raise exceptions.UnsafeEdit(
            _(
                'Cannot edit %(path)s: it is a mount point, so it cannot be '
                'replaced; edit the file that is mounted there'
            )
            % {'path': path}
        )
    if status.st_nlink > 1:
        raise exceptions.UnsafeEdit(
            _(
                'Cannot edit %(path)s: it has %(count)d hard links, and the '
                'others would keep the old content'
            )
            % {'path': path, 'count': status.st_nlink}
        )
    return target


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
    try:
        target = check_replaceable(path)
        _replace(
            target,
            new,
            functools.partial(_copy_attributes, target),
            functools.partial(_check_unchanged, path, old),
        )
    except OSError as exc:
        raise _not_written(path, exc) from exc


def write(path: str, content: bytes) -> None:
    """Write a file whatever it held, or one that is not there.

    Of one that is there, owner, mode and extended attributes are kept. What
    is no file, a terminal or a pipe, is written to.

    :raises gpuclient.exceptions.UnsafeEdit: See :func:`check_replaceable`.
    :raises gpuclient.exceptions.DocumentError: The system refused.
    """
    try:
        target = os.path.realpath(path)
        if not os.path.lexists(target):
            os.makedirs(os.path.dirname(target), exist_ok=True)
            _replace(target, content, functools.partial(_set_mode, 0o644))
        elif stat.S_ISREG(os.stat(target).st_mode):
            check_replaceable(path)
            _replace(
                target, content, functools.partial(_copy_attributes, target)
            )
        else:
            with open(target, 'wb') as stream:
                stream.write(content)
    except OSError as exc:
        raise _not_written(path, exc) from exc


def _not_written(path: str, exc: OSError) -> exceptions.DocumentError:
    kind = (
        exceptions.UnsafeEdit
        if exc.errno in (errno.EBUSY, errno.EROFS, errno.EACCES)
        else exceptions.DocumentError
    )
    return kind(
        _('Cannot write %(path)s: %(reason)s')
        % {'path': path, 'reason': exc.strerror}
    )


def create(path: str, content: bytes, mode: int = 0o644) -> None:
    """Write a file that is not there, and the folders above it.

    :param mode: As the file shall have it, less what the umask takes away.
    :raises gpuclient.exceptions.DocumentChanged: Somebody else made one.
    :raises gpuclient.exceptions.DocumentError: The system refused.
    """
    folder = os.path.dirname(path) or '.'
    try:
        os.makedirs(folder, exist_ok=True)
        with (
            _temporary(
                path, content, functools.partial(_set_mode, mode)
            ) as temporary,
            _locked(folder) as descriptor,
        ):
            # Unlike a rename, it fails where there is a file.
            os.link(temporary, path)
            os.fsync(descriptor)
    except FileExistsError as exc:
        raise exceptions.DocumentChanged(
            _(
                '%(path)s was made by somebody else meanwhile and stays as it '
                'is: run the command again'
            )
            % {'path': exc.filename2 or exc.filename or path}
        ) from exc
    except OSError as exc:
        raise _not_written(path, exc) from exc


def _set_mode(mode: int, path: str) -> None:
    """Give a file a mode, less what the umask takes away."""
    # There is no way to read it alone.
    mask = os.umask(0o077)
    os.umask(mask)
    os.chmod(path, mode & ~mask)


def _check_unchanged(path: str, old: bytes) -> None:
    if read(path) != old:
        raise exceptions.DocumentChanged(
            _(
                '%(path)s changed after it was read and stays as it is: run '
                'the command again'
            )
            % {'path': path}
        )


def _replace(
    target: str,
    content: bytes,
    prepare: collections.abc.Callable[[str], None],
    check: collections.abc.Callable[[], None] = lambda: None,
) -> None:
    """Let a file take the place of another one.

    :param prepare: Gives the new file, by its name, what it shall have.
    :param check: Raises where it should not, at the last moment.
    """
    with (
        _temporary(target, content, prepare) as temporary,
        _locked(os.path.dirname(target)) as descriptor,
    ):
        check()
        os.replace(temporary, target)
        os.fsync(descriptor)


@contextlib.contextmanager
def _temporary(
    path: str,
    content: bytes,
    prepare: collections.abc.Callable[[str], None],
) -> collections.abc.Iterator[str]:
    """Write a file beside another one; delete it if it stays there."""
    folder, name = os.path.split(path)
    descriptor, temporary = tempfile.mkstemp(
        dir=folder or '.', prefix=f'.{name}.'
    )
    try:
        with open(descriptor, 'wb') as stream:
            stream.write(content)
            stream.flush()
            prepare(temporary)
            os.fsync(stream.fileno())
        yield temporary
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)


@contextlib.contextmanager
def _locked(folder: str) -> collections.abc.Iterator[int]:
    """Keep other runs from replacing files of a folder at the same time.

    The folder is locked because the file itself will be another one.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        # Some network file systems have no locks.
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def _copy_attributes(source: str, target: str) -> None:
    status, made = os.stat(source), os.stat(target)
    if (status.st_uid, status.st_gid) != (made.st_uid, made.st_gid):
        try:
            os.chown(target, status.st_uid, status.st_gid)
        except PermissionError as exc:
            raise exceptions.UnsafeEdit(
                _('Cannot edit %(path)s: its owner cannot be kept: %(reason)s')
                % {'path': source, 'reason': exc.strerror}
            ) from exc
    # After chown, which clears the set-id bits.
    os.chmod(target, stat.S_IMODE(status.st_mode))
    for attribute in _attributes(source):
        value = os.getxattr(source, attribute)
        try:
            os.setxattr(target, attribute, value)
        except OSError as exc:
            # The folder may have given it the same one (SELinux).
            if attribute in _attributes(target) and value == os.getxattr(
                target, attribute
            ):
                continue
            raise exceptions.UnsafeEdit(
                _(
                    'Cannot edit %(path)s: its extended attribute '
                    '%(attribute)s cannot be kept: %(reason)s'
                )
                % {
                    'path': source,
                    'attribute': attribute,
                    'reason': exc.strerror,
                }
            ) from exc


def _attributes(path: str) -> list[str]:
    """Return the extended attributes that are not of the content itself."""
    try:
        return sorted(set(os.listxattr(path)) - _OF_CONTENT)
    except OSError:
        # A file system that has none.
        return []
