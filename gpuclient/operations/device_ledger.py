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

"""A ledger of devices: who used them, and how they were cleared.

Each line of the file is one JSON object. Lines are only added, so that the
file shows that a device was cleared between two servers.
"""

import collections.abc
import dataclasses
import fcntl
import json
import os
import typing

import platformdirs

from gpuclient import exceptions
from gpuclient.files import atomic
from gpuclient.operations import placement_journal

#: States of a device, in the order of a turn.
IN_USE = 'in use'
RESERVED = 'reserved'
SANITIZING = 'sanitizing'
FAILED = 'failed'
AVAILABLE = 'available'
STATES = (IN_USE, RESERVED, SANITIZING, FAILED, AVAILABLE)
#: Characters of the output of a command that a line has.
OUTPUT = 64 * 2**10


@dataclasses.dataclass(frozen=True)
class LedgerLine:
    """What happened to a device at one time."""

    #: UTC.
    time: str
    state: str
    #: Name of the resource provider.
    device: str
    provider: str
    host: str
    address: str | None
    #: Servers and projects that hold it, if it is in use.
    consumers: tuple[dict[str, typing.Any], ...] = ()
    #: The command that cleared it, and its exit status.
    command: tuple[str, ...] = ()
    status: int | None = None
    #: The end of its output, and the SHA-256 of all of it.
    output: str | None = None
    digest: str | None = None
    seconds: float | None = None


def default_path() -> str:
    """Return where the ledger is, unless a path is given."""
    return os.fspath(
        platformdirs.user_state_path('gpuclient') / 'device-ledger.jsonl'
    )


def add(path: str, lines: collections.abc.Iterable[LedgerLine]) -> None:
    """Add lines; they are on disk when it returns.

    :raises gpuclient.exceptions.DocumentError: The file cannot be written.
    """
    content = ''.join(
        json.dumps(dataclasses.asdict(line)) + '\n' for line in lines
    ).encode()
    if not content:
        return
    with atomic.reported(path):
        os.makedirs(os.path.dirname(path) or '.', 0o700, exist_ok=True)
        descriptor = os.open(
            path,
            os.O_RDWR
            | os.O_APPEND
            | os.O_CREAT
            | os.O_CLOEXEC
            | os.O_NOFOLLOW,
            0o600,
        )
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            _drop_cut_line(descriptor)
            while content:
                content = content[os.write(descriptor, content) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _drop_cut_line(descriptor: int) -> None:
    """Remove the part of a line that a killed run has left at the end."""
    end = os.fstat(descriptor).st_size
    start = end
    while start:
        step = min(start, 4096)
        part = os.pread(descriptor, step, start - step)
        newline = part.rfind(b'\n')
        if newline >= 0:
            start += newline + 1 - step
            break
        start -= step
    if start != end:
        os.ftruncate(descriptor, start)


def read(path: str) -> tuple[LedgerLine, ...]:
    """Return all lines, oldest first; a line that was cut is left out.

    :raises gpuclient.exceptions.GPUError: The file cannot be read, or is no
        ledger.
    """
    if not os.path.exists(path):
        return ()
    text = atomic.read(path, or_standard_input=False).decode(errors='replace')
    lines = []
    whole = text.endswith('\n')
    numbered = list(enumerate(text.splitlines(), 1))
    for number, line in numbered:
        if not line:
            continue
        try:
            lines.append(_line(json.loads(line)))
        except (
            AttributeError,
            ValueError,
            TypeError,
            RecursionError,
        ) as exc:
            if number == len(numbered) and not whole:
                continue
            raise exceptions.InvalidData(
                f'{path}:{number}: is not a line of a ledger'
            ) from exc
    return tuple(lines)


def _line(record: dict[str, typing.Any]) -> LedgerLine:
    fields: typing.Any = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in record.items()
    }
    line = LedgerLine(**fields)
    texts = (line.time, line.state, line.device, line.provider, line.host)
    if line.state not in STATES or not all(
        isinstance(value, str) for value in texts
    ):
        raise ValueError(line.state)
    return line


def now() -> str:
    """Return the time, UTC."""
    return placement_journal.now()
