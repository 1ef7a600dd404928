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

"""Say why a GPU does not work in a guest, from the guest's log."""

import collections.abc
import dataclasses
import gzip
import io
import os
import sys
import typing
import zlib

from openstack import connection

from gpuclient.cloud.nova import console
from gpuclient import exceptions
from gpuclient.model import catalogue
from gpuclient.model import guest_log
from gpuclient.rules import finding
from gpuclient.rules import guest as guest_rules
from gpuclient.rules import guest_result

STANDARD_INPUT = '-'
_STANDARD_INPUT = '<stdin>'
_PIECE = 1 << 20
#: Bytes that are read of a log, of a compressed one after expansion.
MOST_BYTES = 4 << 30
_GZIP = b'\x1f\x8b'
#: What other compressed files and binary journals begin with.
_PACKED = {
    b'\xfd7zXZ': 'xz',
    b'\x28\xb5\x2f\xfd': 'zstd',
    b'BZh': 'bzip2',
    b'LPKSHHRH': 'a binary journal: use "journalctl --file"',
}
#: A file with this share of control characters is not a text file.
_BINARY = 0.05


@dataclasses.dataclass(frozen=True)
class CheckedGuest:
    """What the log of a guest says."""

    #: Name of the file, or of the server.
    source: str
    log: guest_log.GuestLog
    results: tuple[guest_result.GuestResult, ...]
    #: What the user should know about the log.
    notes: tuple[str, ...] = ()

    @property
    def severities(self) -> frozenset[finding.Severity | None]:
        return frozenset(result.severity for result in self.results)


def check_files(
    paths: collections.abc.Sequence[str], models: catalogue.Catalogue
) -> CheckedGuest:
    """Check the files of one guest: kernel messages, and output of lspci.

    :param paths: Their names, or ``-`` for standard input.
    :raises gpuclient.exceptions.DocumentError: One cannot be read, or they
        say nothing about a GPU.
    """
    return _check(
        ', '.join(
            _STANDARD_INPUT if path == STANDARD_INPUT else path
            for path in paths
        ),
        _join(paths),
        models,
    )


def check_server(
    cloud: connection.Connection,
    name_or_id: str,
    models: catalogue.Catalogue,
) -> CheckedGuest:
    """Check the console log of a server.

    :raises gpuclient.exceptions.CloudError: It cannot be read.
    :raises gpuclient.exceptions.DocumentError: It says nothing about a GPU.
    """
    return _check(
        f'the console log of server {name_or_id!r}',
        [console.read(cloud.compute, name_or_id)],
        models,
    )


def _check(
    source: str,
    chunks: collections.abc.Iterable[bytes],
    models: catalogue.Catalogue,
) -> CheckedGuest:
    log = guest_log.read(chunks)
    results = guest_rules.check(log, models)
    if not results:
        raise exceptions.DocumentError(_nothing(source, log))
    notes = []
    if log.is_host:
        notes.append(
            f'{source} seems to be of a host: a device is bound to vfio-pci. '
            'Use "openstack gpu host check" for a host'
        )
    if log.bytes >= MOST_BYTES:
        notes.append(
            f'Only the first {MOST_BYTES >> 30} GiB of {source} were read'
        )
    return CheckedGuest(source, log, results, tuple(notes))


def _nothing(source: str, log: guest_log.GuestLog) -> str:
    if not log.bytes:
        return f'{source} is empty'
    if log.binary > _BINARY:
        return (
            f'{source} is not a text log: {log.binary:.0%} of its bytes are '
            'control characters'
        )
    if log.gpus:
        return (
            f'{source} lists {len(log.gpus)} GPU(s), but neither a driver nor '
            'a failure, so it is unknown whether they work. Use the output of '
            '"dmesg" and "lspci -nnk" of the guest, as root'
        )
    drivers = sorted(
        {event.value('driver') for event in log.of(guest_log.Kind.OTHER)}
    )
    if drivers or log.events:
        count = sum(event.count for event in log.events)
        return (
            f'{source} has {count} message(s) of a GPU and its driver'
            + (f' ({", ".join(drivers)})' if drivers else '')
            + ', but neither a failure that this check knows nor a sign that '
            'the GPU works, so that is unknown. Use the whole output of '
            '"dmesg" and "lspci -nnk" of the guest, as root'
        )
    return (
        f'{source} ({log.lines} lines) does not mention a GPU or its driver, '
        'so it is unknown whether the GPU works. Use the output of "dmesg" '
        'and "lspci -nnk" of the guest, as root'
    )


def _join(
    paths: collections.abc.Iterable[str],
) -> collections.abc.Iterator[bytes]:
    left = MOST_BYTES
    for path in paths:
        piece = b''
        for piece in _pieces(path):
            yield piece[:left]
            left -= len(piece)
            if left <= 0:
                return
        if piece and not piece.endswith(b'\n'):
            yield b'\n'


def _pieces(path: str) -> collections.abc.Iterator[bytes]:
    """Yield the bytes of a file, piece by piece."""
    name = _STANDARD_INPUT if path == STANDARD_INPUT else path
    try:
        with _open(path) as stream:
            head = stream.peek(8)[:8]
            for magic, kind in _PACKED.items():
                if head.startswith(magic):
                    raise exceptions.DocumentError(
                        f'{name} is compressed or binary ({kind}): expand it '
                        'first'
                    )
            source: typing.Any = stream
            if head.startswith(_GZIP):
                source = gzip.GzipFile(fileobj=stream)
            while piece := source.read(_PIECE):
                yield piece
    except (OSError, EOFError, zlib.error) as exc:
        reason = getattr(exc, 'strerror', None) or str(exc)
        raise exceptions.DocumentError(
            f'Cannot read {name}: {reason}'
        ) from exc


def _open(path: str) -> io.BufferedReader:
    if path != STANDARD_INPUT:
        return open(path, 'rb')
    if sys.stdin is None:
        raise exceptions.DocumentError(
            f'Cannot read {_STANDARD_INPUT}: it is closed'
        )
    # A copy of the descriptor, so that the stream itself stays open.
    return os.fdopen(os.dup(sys.stdin.fileno()), 'rb')
