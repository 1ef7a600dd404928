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

"""Bundles of hosts: made by :mod:`gpuclient.host.collect`, read with care.

A bundle is somebody else's input. Nothing of it is unpacked to the disk, no
link in it is followed, and what is not read of a host is not taken from it.
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

#: A host with a thousand devices and as many CPUs has half of that.
MOST_MEMBERS = 100_000
#: In bytes; the bundle above has a tenth of that.
LARGEST_BUNDLE = 256 << 20
#: Of a file in it, in bytes.
LARGEST_MEMBER = 16 << 20
_GZIP = b'\x1f\x8b'
#: What tarfile makes of damaged headers, besides its own errors.
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
    """Return the host that a bundle is of, or whose files a folder has.

    :param initramfs: See :func:`gpuclient.host.reader.read`.
    :raises gpuclient.exceptions.HostError: It cannot be read, is no bundle,
        or holds what no bundle holds.
    """
    if os.path.isdir(path):
        return reader.read(path, initramfs=initramfs)
    name = pathlib.PurePath(path).name.removesuffix('.gz')
    return reader.parse(unpack(path), name.removesuffix('.tar'))


def collect_from(root: str) -> collect.Tree:
    """Return what a bundle of a host has in it.

    :param root: Folder with the files of the host.
    :raises gpuclient.exceptions.HostError: There is no such folder.
    """
    reader.check_root(root)
    return collect.collect(root)


def default_name(of: host.Host) -> str:
    """Return what a bundle is called, of a host that says its name."""
    name = re.sub(r'[^\w.-]', '_', of.name, flags=re.ASCII).lstrip('.')
    return f'{name or "host"}.tar'


def write(path: str, tree: collect.Tree) -> int:
    """Write a bundle, which is not for everybody to read.

    :returns: Its size in bytes.
    :raises gpuclient.exceptions.HostError: It cannot be written, or there is
        such a file.
    """
    content = collect.pack(tree)
    try:
        number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(number, 'wb') as stream:
                stream.write(content)
        except BaseException:
            # A part of a bundle is none.
            os.unlink(path)
            raise
    except OSError as exc:
        raise exceptions.HostError(
            f'The bundle {path} was not written: {exc.strerror or exc}'
        ) from exc
    return len(content)


def script() -> str:
    """Return a program that makes a bundle where there is no gpuclient."""
    return pathlib.Path(collect.__file__).read_text(encoding='utf-8')


def unpack(path: str) -> collect.Tree:
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
    tree = collect.Tree()
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode='r:') as archive:
            for member in _members(path, archive):
                _add(tree, archive, member)
            rest = content[archive.offset :]
    except _DAMAGED as exc:
        reason = ' '.join(str(exc).split()) or type(exc).__name__
        raise _refused(path, reason) from exc
    # tarfile takes a damaged header, or none, for the end of an archive, which
    # is zeros.
    if len(rest) < tarfile.BLOCKSIZE or rest.strip(b'\0'):
        raise _refused(path, 'it is cut short, or damaged')
    manifest = tree.files.pop(collect.MANIFEST, None)
    if manifest is None:
        raise _refused(path, 'it is no bundle of a host')
    try:
        tree.unreadable.update(collect.read_manifest(manifest))
    except ValueError as exc:
        raise _refused(path, f'{collect.MANIFEST}: {exc}') from exc
    return tree


def _refused(path: str, reason: str) -> exceptions.HostError:
    return exceptions.HostError(f'The bundle {path} cannot be read: {reason}')


def _decompress(path: str, content: bytes) -> bytes:
    unpacker = zlib.decompressobj(wbits=31)
    try:
        found = unpacker.decompress(content, LARGEST_BUNDLE + 1)
    except zlib.error as exc:
        raise _refused(path, str(exc)) from exc
    if not unpacker.eof and len(found) <= LARGEST_BUNDLE:
        raise _refused(path, 'it is cut short')
    return found


def _members(
    path: str, archive: tarfile.TarFile
) -> collections.abc.Iterator[tarfile.TarInfo]:
    """Yield the members, each of which is what a bundle may hold."""
    seen: set[str] = set()
    while (member := archive.next()) is not None:
        name = member.name
        # tarfile keeps all that it has read.
        archive.members = []  # type: ignore[attr-defined]
        if len(seen) >= MOST_MEMBERS:
            raise _refused(path, 'it has too many members')
        shown = ascii(name[:80])
        parts = name.removeprefix('./').rstrip('/').split('/')
        if not name.isprintable() or name.startswith('/') or '..' in parts:
            raise _refused(path, f'{shown} is no path in a bundle')
        plain = posixpath.normpath(name)
        if plain in seen:
            raise _refused(path, f'{shown} is in it twice')
        seen.add(plain)
        if member.issparse() or not (
            member.isreg() or member.issym() or member.isdir()
        ):
            raise _refused(path, f'{shown} is neither file, link nor folder')
        if member.size > LARGEST_MEMBER:
            raise _refused(path, f'{shown} is too large')
        if member.issym() and _leads_out(plain, member.linkname):
            raise _refused(path, f'the link {shown} leads out of it')
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
    tree: collect.Tree, archive: tarfile.TarFile, member: tarfile.TarInfo
) -> None:
    rule = collect.rule_for(member.name)
    if rule is None:
        return
    if member.issym():
        if rule.kind == 'link':
            tree.links[member.name] = posixpath.basename(member.linkname)
        return
    if member.isdir() or rule.kind == 'link':
        return
    stream = typing.cast(typing.IO[bytes], archive.extractfile(member))
    # It raises where there is less than the header says.
    content = stream.read()
    if rule.kind == 'name':
        content = b''
    # Once more: somebody may have made it by hand.
    try:
        tree.files[member.name] = rule.keep(content)
    except ValueError as exc:
        tree.unreadable[member.name] = str(exc)
