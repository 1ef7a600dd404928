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

"""Journals of writes to Placement, and plans: the files."""

import collections.abc
import contextlib
import dataclasses
import datetime
import fcntl
import json
import os
import typing

from openstack import connection
import platformdirs

from gpuclient import exceptions
from gpuclient.files import atomic
from gpuclient.model import mapping_reader
from gpuclient.model import placement_write

#: A journal while its run goes on, or after it was killed.
RUNNING = 'running'
DONE = 'done'
_Record: typing.TypeAlias = dict[str, typing.Any]


@dataclasses.dataclass(frozen=True)
class CloudName:
    """Which cloud a file is about, for messages."""

    auth_url: str | None
    region: str | None

    @classmethod
    def of(cls, cloud: connection.Connection) -> 'CloudName':
        return cls(
            cloud.config.config.get('auth', {}).get('auth_url'),
            cloud.config.region_name,
        )

    def __str__(self) -> str:
        region = f', region {self.region}' if self.region else ''
        return f'{self.auth_url or "unknown"}{region}'


def folder() -> str:
    """Return where journals are, unless a path is given."""
    return os.fspath(
        platformdirs.user_state_path('gpuclient') / 'placement-journals'
    )


@contextlib.contextmanager
def locked() -> collections.abc.Iterator[None]:
    """Keep other runs of this user from writing at the same time.

    :raises gpuclient.exceptions.DocumentError: One does, or the lock cannot be
        created.
    """
    path = os.path.join(folder(), 'lock')
    with atomic.reported(path):
        os.makedirs(folder(), 0o700, exist_ok=True)
        descriptor = os.open(
            path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
        )
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise exceptions.DocumentError(
                'Another run of this command changes Placement at this moment '
                f'(it has locked {path}): wait until it has ended'
            ) from None
        yield
    finally:
        os.close(descriptor)


def now() -> str:
    """Return the time, UTC."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec='seconds')


class Journal:
    """A journal file, written before and after each write to Placement.

    :param path: The file, which must not exist; None to name it after the
        time, in :func:`folder`.
    :raises gpuclient.exceptions.DocumentError: It cannot be written.
    """

    def __init__(self, path: str | None, cloud: CloudName) -> None:
        self.cloud = cloud
        self.entries: list[placement_write.Entry] = []
        self._state = RUNNING
        self._started = now()
        if path is None:
            stamp = datetime.datetime.now(datetime.UTC)
            path = os.path.join(folder(), f'{stamp:%Y-%m-%dT%H%M%S.%f}.json')
        self.path = path
        self._content = self._dump()
        atomic.create(path, self._content, 0o600, folders=0o700)

    @classmethod
    def resume(cls, path: str) -> 'Journal':
        """Return the journal of a run that was killed."""
        content = atomic.read(path, or_standard_input=False)
        journal = cls.__new__(cls)
        journal.path = path
        journal._content = content
        document = _load(path, content, placement_write.JOURNAL)
        journal.cloud = document.cloud
        journal.entries = list(
            _in_file(path, placement_write.read_entries, document.reader)
        )
        journal._state = document.state
        journal._started = document.started
        return journal

    @property
    def is_running(self) -> bool:
        return self._state == RUNNING

    def start(
        self,
        write: placement_write.Write,
        codes: tuple[str, ...] = (),
        *,
        waits: bool = False,
        temporary: bool = False,
        others: dict[str, dict[str, int]] | None = None,
    ) -> int:
        """Record a write before it is sent; return its number."""
        self.entries.append(
            placement_write.Entry(
                'started',
                now(),
                write,
                codes,
                waits=waits,
                temporary=temporary,
                others=others or {},
            )
        )
        self._save()
        return len(self.entries) - 1

    def change(self, number: int, **values: typing.Any) -> None:
        """Record what became of a write."""
        self.entries[number] = dataclasses.replace(
            self.entries[number], **values
        )
        self._save()

    def close(self) -> None:
        """Record that the run has ended; a journal without writes goes."""
        if not self.is_running:
            return
        self._state = DONE
        if self.entries:
            self._save()
        else:
            atomic.remove(self.path, self._content)

    def _save(self) -> None:
        content = self._dump()
        atomic.replace(self.path, self._content, content)
        self._content = content

    def _dump(self) -> bytes:
        return _dump(
            {
                'format': placement_write.JOURNAL,
                'version': placement_write.VERSION,
                'cloud': dataclasses.asdict(self.cloud),
                'started': self._started,
                'state': self._state,
                'entries': [entry.record() for entry in self.entries],
            }
        )


def _dump(document: _Record) -> bytes:
    return (json.dumps(document, indent=1) + '\n').encode()


@dataclasses.dataclass(frozen=True)
class _Document:
    cloud: CloudName
    started: str
    state: str
    reader: mapping_reader.MappingReader


def _in_file(
    path: str, function: typing.Any, *arguments: typing.Any
) -> typing.Any:
    try:
        return function(*arguments)
    except exceptions.InvalidData as exc:
        raise exceptions.InvalidData(f'{path}: {exc}') from exc


def read_document(value: typing.Any, name: str) -> None:
    """Read the data of a file, and nothing else.

    :raises gpuclient.exceptions.InvalidData: It is not of this format.
    """
    reader = _frame(value, name).reader
    if name == placement_write.PLAN:
        placement_write.read_steps(reader)
    else:
        placement_write.read_entries(reader)


def _load(path: str, content: bytes, name: str) -> _Document:
    """Return the frame of a file.

    :param name: Its format.
    :raises gpuclient.exceptions.GPUError: It is not of this format.
    """
    try:
        value = json.loads(atomic.decode(path, content))
    except (ValueError, RecursionError) as exc:
        raise exceptions.InvalidData(
            f'{path} is not JSON, or incomplete: {exc}'
        ) from exc
    return typing.cast(_Document, _in_file(path, _frame, value, name))


def _frame(value: typing.Any, name: str) -> _Document:
    reader = mapping_reader.MappingReader(value, placement_write.FORMAT)
    reader.text('format', choices=(name,))
    version = reader.integer('version')
    if version != placement_write.VERSION:
        raise reader.error(
            'version',
            f'is {version}, and this release of gpuclient reads '
            f'{placement_write.VERSION}',
        )
    cloud = reader.mapping('cloud')
    document = _Document(
        CloudName(cloud.text('auth_url', None), cloud.text('region', None)),
        reader.text('started'),
        reader.text('state', choices=(RUNNING, DONE))
        if name == placement_write.JOURNAL
        else DONE,
        reader,
    )
    cloud.done()
    return document


def write_plan(
    path: str,
    cloud: CloudName,
    steps: tuple[placement_write.Step, ...],
) -> None:
    """Write a plan.

    :raises gpuclient.exceptions.GPUError: The file exists or cannot be
        written.
    """
    atomic.check_new(path)
    atomic.create(
        path,
        _dump(
            {
                'format': placement_write.PLAN,
                'version': placement_write.VERSION,
                'cloud': dataclasses.asdict(cloud),
                'started': now(),
                'steps': [step.record() for step in steps],
            }
        ),
    )


def read_plan(
    path: str,
) -> tuple[CloudName, tuple[placement_write.Step, ...]]:
    """Return the steps of a plan, and its cloud.

    :raises gpuclient.exceptions.GPUError: It is no plan.
    """
    document = _load(
        path, atomic.read(path, or_standard_input=False), placement_write.PLAN
    )
    steps = _in_file(path, placement_write.read_steps, document.reader)
    return document.cloud, steps


def unfinished(cloud: CloudName, path: str | None) -> list[Journal]:
    """Return the journals of killed runs on a cloud, oldest first.

    :param path: The journal of this run, which may be that of a killed one.
    """
    journals = []
    paths = [
        os.path.join(folder(), name)
        for name in atomic.list_folder(folder())
        if name.endswith('.json')
    ]
    if (
        path is not None
        and os.path.exists(path)
        and os.path.realpath(path) not in map(os.path.realpath, paths)
    ):
        paths.append(path)
    for name in paths:
        try:
            journal = Journal.resume(name)
        except exceptions.GPUError:
            # It is none, or of another version.
            continue
        if journal.is_running and journal.cloud == cloud:
            journals.append(journal)
    return journals
