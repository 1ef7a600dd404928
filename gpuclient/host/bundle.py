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

"""Read and write bundles: the files of a host, as a tar archive.

:mod:`gpuclient.host.collect` creates the content. A bundle is untrusted
input: nothing is unpacked to disk, no link is followed, and members that
would not be collected from a host are ignored.
"""

import collections.abc
import io
import os
import pathlib
import posixpath
import re
import tarfile
import typing
import zlib

from gpuclient import exceptions
from gpuclient.host import collect
from gpuclient.host import reader
from gpuclient.model import host

#: Twice the members of a host with a thousand devices and as many CPUs.
MOST_MEMBERS = 100_000
#: In bytes; ten times the size of the bundle of such a host.
LARGEST_BUNDLE = 256 << 20
#: Size limit of each member, in bytes.
LARGEST_MEMBER = 16 << 20
_GZIP = b'\x1f\x8b'
#: Exceptions that tarfile raises for damaged archives.
_DAMAGED = (
    tarfile.TarError,
    ValueError,
    OverflowError,
    EOFError,
    OSError,
    RecursionError,
    MemoryError,
)


def read(path: str, *, initramfs: bool = True) -> host.Host:
    """Return the host of a bundle, or of a folder with the files of a host.

    :param initramfs: See :func:`gpuclient.host.reader.read`.
    :raises gpuclient.exceptions.HostError: It cannot be read, or is not a
        valid bundle.
    """
    if os.path.isdir(path):
        return reader.read(path, initramfs=initramfs)
    name = pathlib.PurePath(path).name.removesuffix('.gz')
    return reader.parse(unpack(path), name.removesuffix('.tar'))


def collect_from(root: str) -> collect.CollectedFiles:
    """Return the content of a bundle of a host.

    :param root: Folder with the files of the host.
    :raises gpuclient.exceptions.HostError: The folder does not exist.
    """
    reader.check_root(root)
    return collect.collect(root)


def default_name(described: host.Host) -> str:
    """Return the file name of a bundle, from the name of its host."""
    name = re.sub(r'[^\w.-]', '_', described.name, flags=re.ASCII).lstrip('.')
    return f'{name or "host"}.tar'


def write(path: str, collected: collect.CollectedFiles) -> int:
    """Write a bundle that only its owner can read.

    :returns: Its size in bytes.
    :raises gpuclient.exceptions.HostError: It cannot be written, or the file
        exists.
    """
    content = collect.pack(collected)
    try:
        number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(number, 'wb') as stream:
                stream.write(content)
        except BaseException:
            # Do not leave an incomplete bundle.
            os.unlink(path)
            raise
    except OSError as exc:
        raise exceptions.HostError(
            f'The bundle {path} cannot be written: {exc.strerror or exc}'
        ) from exc
    return len(content)


def script() -> str:
    """Return the program that creates a bundle on hosts without gpuclient."""
    return pathlib.Path(collect.__file__).read_text(encoding='utf-8')


def unpack(path: str) -> collect.CollectedFiles:
    """Return the files of a bundle.

    :raises gpuclient.exceptions.HostError: See :func:`read`.
    """
    try:
        with open(path, 'rb') as stream:
            content = stream.read(LARGEST_BUNDLE + 1)
    except OSError as exc:
        raise _refused(path, exc.strerror or str(exc)) from exc
    if content.startswith(_GZIP):
        content = _decompress(path, content)
    if len(content) > LARGEST_BUNDLE:
        raise _refused(path, 'it is too large')
    collected = collect.CollectedFiles()
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode='r:') as archive:
            for member in _members(path, archive):
                _add(collected, archive, member)
            trailer = content[archive.offset :]
    except _DAMAGED as exc:
        reason = ' '.join(str(exc).split()) or type(exc).__name__
        raise _refused(path, reason) from exc
    # An archive ends with zeros; tarfile also stops at a damaged or missing
    # header.
    if len(trailer) < tarfile.BLOCKSIZE or trailer.strip(b'\0'):
        raise _refused(path, 'it is truncated or damaged')
    manifest = collected.files.pop(collect.MANIFEST, None)
    if manifest is None:
        raise _refused(path, 'it is not a bundle of a host')
    try:
        collected.unreadable.update(collect.read_manifest(manifest))
    except ValueError as exc:
        raise _refused(path, f'{collect.MANIFEST}: {exc}') from exc
    return collected


def _refused(path: str, reason: str) -> exceptions.HostError:
    return exceptions.HostError(f'The bundle {path} cannot be read: {reason}')


def _decompress(path: str, content: bytes) -> bytes:
    unpacker = zlib.decompressobj(wbits=31)
    try:
        unpacked = unpacker.decompress(content, LARGEST_BUNDLE + 1)
    except zlib.error as exc:
        raise _refused(path, str(exc)) from exc
    if not unpacker.eof and len(unpacked) <= LARGEST_BUNDLE:
        raise _refused(path, 'it is truncated')
    return unpacked


def _members(
    path: str, archive: tarfile.TarFile
) -> collections.abc.Iterator[tarfile.TarInfo]:
    """Yield the members, after checking that each is allowed in a bundle."""
    seen: set[str] = set()
    while (member := archive.next()) is not None:
        name = member.name
        # tarfile would keep all members in memory.
        archive.members = []  # type: ignore[attr-defined]
        if len(seen) >= MOST_MEMBERS:
            raise _refused(path, 'it has too many members')
        shown = ascii(name[:80])
        parts = name.removeprefix('./').rstrip('/').split('/')
        if not name.isprintable() or name.startswith('/') or '..' in parts:
            raise _refused(path, f'{shown} is not a valid path')
        plain = posixpath.normpath(name)
        if plain in seen:
            raise _refused(path, f'it contains {shown} twice')
        seen.add(plain)
        if member.issparse() or not (
            member.isreg() or member.issym() or member.isdir()
        ):
            raise _refused(
                path, f'{shown} is not a file, symbolic link or folder'
            )
        if member.size > LARGEST_MEMBER:
            raise _refused(path, f'{shown} is too large')
        if member.issym() and _leads_out(plain, member.linkname):
            raise _refused(path, f'the link {shown} points out of it')
        member.name = plain
        yield member


def _leads_out(name: str, target: str) -> bool:
    if not target.isprintable() or target.startswith('/') or not target:
        return True
    return (
        posixpath.normpath(
            posixpath.join(posixpath.dirname(name), target)
        ).split('/')[0]
        == '..'
    )


def _add(
    collected: collect.CollectedFiles,
    archive: tarfile.TarFile,
    member: tarfile.TarInfo,
) -> None:
    rule = collect.rule_for(member.name)
    if rule is None:
        return
    if member.issym():
        if rule.kind == 'link':
            collected.links[member.name] = posixpath.basename(member.linkname)
        return
    if member.isdir() or rule.kind == 'link':
        return
    stream = typing.cast(typing.IO[bytes], archive.extractfile(member))
    # It raises an exception if the archive is truncated.
    content = stream.read()
    if rule.kind == 'name':
        content = b''
    # Redact it again: the bundle may not come from the collector.
    try:
        collected.files[member.name] = rule.keep(content)
    except ValueError as exc:
        collected.unreadable[member.name] = str(exc)
