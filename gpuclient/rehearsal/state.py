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

"""The state folder of a rehearsal cloud, and the processes of the cloud.

The supervisor holds a lock on the folder while a process of the cloud runs,
and keeps the record of the cloud (:meth:`StateFolder.read`) up to date. A
process is identified by its id and its start time, so that an id that the
kernel has reused is never taken for a process of the cloud.
"""

import contextlib
import ctypes
import dataclasses
import fcntl
import json
import os
import pathlib
import re
import shutil
import signal
import stat
import tempfile
import typing

import platformdirs

from gpuclient import exceptions
from gpuclient.rehearsal import trusted_files
from gpuclient.rehearsal import spec
from gpuclient import text as texts

#: States of a service. ``refused``: it ended before it was ready. ``ended``:
#: it ended later.
STARTING = 'starting'
READY = 'ready'
REFUSED = 'refused'
ENDED = 'ended'
#: State of a cloud that is not running.
STOPPED = 'stopped'
#: State of a cloud that did not start.
FAILED = 'failed'

#: The file with the service to restart.
RESTART = 'restart.json'

#: The file that marks a folder that was created for a cloud.
_MADE = 'made.json'
#: All that a cloud creates in its folder.
_OWN = frozenset(
    (
        *('clouds.yaml', 'db', 'etc', 'images', 'lock', 'lock.d', 'log'),
        *('nova', 'passwords.json', 'registered.json', 'rpc', 'spec.json'),
        *('staging', 'state.json', 'supervisor.sock', 'written.json'),
        *(RESTART, _MADE),
    )
)
#: A file whose writer was killed.
_TEMPORARY = re.compile(r'\.(.+)\.[a-z0-9_]{8}')
_STATES = (STARTING, READY, REFUSED, ENDED, STOPPED, FAILED)

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36

# A path is used in configuration files, database URLs and socket addresses,
# in which these characters are special.
_UNSAFE = set(' \t\n\r$%?#\'"\\;:,@')
_NAME = re.compile(r'[A-Za-z0-9._-]{1,255}')
_VERSION = re.compile(r'[0-9]{1,4}(\.[0-9a-z]{1,8}){1,4}', re.ASCII)
_LONGEST_MESSAGE = 4096
#: Longest path of a folder: the path of a Unix socket in it has at most 107
#: bytes.
_LONGEST = 80


@dataclasses.dataclass
class CloudProcess:
    """A process of a rehearsal cloud."""

    #: ``keystone``, ``nova-compute`` ...
    name: str
    #: The host of the service, where it has one.
    host: str | None = None
    pid: int | None = None
    #: Its start time, in clock ticks since the machine started.
    started: int | None = None
    port: int | None = None
    state: str = STARTING
    #: Its message about why it did not start or ended.
    message: str = ''

    @classmethod
    def load(cls, values: typing.Any) -> 'CloudProcess':
        """Return the process in a record.

        :raises ValueError: The record is invalid.
        """
        process = cls(**values)
        for text in (process.name, process.host):
            if text is not None and not _NAME.fullmatch(text):
                raise ValueError('invalid name')
        numbers = (process.pid, process.started, process.port)
        if process.state not in _STATES or not all(
            number is None or (type(number) is int and 0 < number < 2**63)
            for number in numbers
        ):
            raise ValueError('invalid process')
        process.message = _message(process.message)
        return process

    @property
    def title(self) -> str:
        """``nova-compute on edpm-compute-0``."""
        return f'{self.name} on {self.host}' if self.host else self.name

    @property
    def log_name(self) -> str:
        """The name of its log; each nova-compute has its own."""
        if self.name == 'nova-compute':
            return f'{self.name}-{self.host}'
        return self.name


@dataclasses.dataclass
class CloudRecord:
    """The record of a cloud that its supervisor writes."""

    name: str
    supervisor: CloudProcess
    services: list[CloudProcess]
    #: Why the cloud did not start.
    message: str = ''
    #: Names of its entries in the user's own clouds.yaml, and the file.
    registered: list[str] = dataclasses.field(default_factory=list)
    registered_in: str = ''
    #: The process with which the cloud ends.
    bound_to: CloudProcess | None = None
    #: The version of its Nova; empty in records of older versions.
    nova: str = ''
    #: Whether that Nova is not the installed one.
    overlay: bool = False
    #: The same of its Placement.
    placement: str = ''
    placement_overlay: bool = False
    #: The process that starts those of such a Nova.
    worker: CloudProcess | None = None

    @classmethod
    def load(cls, values: typing.Any) -> 'CloudRecord':
        nova = _version(values.get('nova', ''))
        return cls(
            name=str(values['name']),
            supervisor=CloudProcess.load(values['supervisor']),
            services=[CloudProcess.load(item) for item in values['services']],
            message=_message(values['message']),
            bound_to=_process_or_none(values.get('bound_to')),
            nova=nova,
            overlay=bool(values.get('overlay')),
            placement=_version(values.get('placement', '')),
            placement_overlay=bool(values.get('placement_overlay')),
            worker=_process_or_none(values.get('worker')),
        )

    def dumps(self) -> str:
        values = dataclasses.asdict(self)
        # They are in a file of their own.
        del values['registered'], values['registered_in']
        return json.dumps(values, indent=1)

    @property
    def refused(self) -> list[CloudProcess]:
        """The services that did not start or have ended."""
        return [
            service
            for service in self.services
            if service.state in (REFUSED, ENDED)
        ]


class StateFolder:
    """The state folder of a cloud.

    :param name: The name of the cloud.
    :param directory: The folder; one below the user's XDG state folder by
        default.
    :raises InvalidValue: The name or the path is invalid.
    """

    def __init__(self, name: str, directory: str | None = None) -> None:
        if not spec.NAME.fullmatch(name):
            raise exceptions.InvalidValue(
                f'Invalid name {name!r} of a rehearsal cloud: use at most 63 '
                'letters, digits, dots, dashes and underscores'
            )
        if directory:
            path = pathlib.Path(directory).absolute()
        else:
            path = (
                platformdirs.user_state_path('gpuclient') / 'rehearsal' / name
            )
        text = os.fspath(path)
        if not text.isprintable() or _UNSAFE & set(text):
            raise exceptions.InvalidValue(
                f'Invalid folder {text!r}: spaces and characters such as '
                '$ % ? # are not allowed'
            )
        if len(os.fsencode(text)) > _LONGEST:
            raise exceptions.InvalidValue(
                f'Folder {text} is too long: use at most {_LONGEST} bytes, '
                'since the path of a socket in it has at most 107'
            )
        self.name = name
        self.path = path

    def __str__(self) -> str:
        return os.fspath(self.path)

    def file(self, *parts: str) -> str:
        """Return the path of something in the folder."""
        return os.fspath(self.path.joinpath(*parts))

    @property
    def clouds_yaml(self) -> str:
        """The clouds.yaml of this cloud."""
        return self.file('clouds.yaml')

    @property
    def cloud_names(self) -> tuple[str, str]:
        """The entries of this clouds.yaml: of its admin and of a member."""
        return self.name, f'{self.name}-member'

    @property
    def use(self) -> str:
        """The shell command after which ``openstack`` uses this cloud."""
        return (
            f'export OS_CLIENT_CONFIG_FILE={self.clouds_yaml} '
            f'OS_CLOUD={self.name}'
        )

    def exists(self) -> bool:
        """Return whether a cloud was started in this folder."""
        return os.path.lexists(self.file('state.json'))

    def create(self) -> None:
        """Create the folder.

        :raises RehearsalError: It cannot be created, other users can write to
            it, or it has other files.
        """
        try:
            trusted_files.check_folder(str(self), make=True)
            names = [
                name
                for name in os.listdir(self.path)
                if not name.startswith(f'.{_MADE}.')
            ]
            if not names:
                # Not the name: a copy of the folder has another inode.
                write_private(
                    self.file(_MADE),
                    json.dumps({'inode': os.stat(self.path).st_ino}),
                )
            elif _MADE in names or self.exists():
                trusted_files.check_content(str(self))
        except OSError as exc:
            raise exceptions.RehearsalError(
                f'Cannot create folder {self}: {exc.strerror}'
            ) from exc
        if names and _MADE not in names and not self.exists():
            raise exceptions.RehearsalError(
                f'Directory {self} is not empty and has no rehearsal cloud: '
                'choose an empty folder'
            )

    def delete(self) -> list[str]:
        """Delete what the cloud created, and the folder if it is empty then.

        :returns: The names of what is left.
        :raises RehearsalError: The folder was not created for a cloud, or
            cannot be deleted.
        """
        self.check_made()
        try:
            # A link is not followed.
            folder = os.open(
                self.path,
                os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC,
            )
            try:
                # These last: another attempt needs them.
                names = sorted(
                    os.listdir(folder),
                    key=lambda name: (name in (_MADE, 'state.json'), name),
                )
                others = [
                    name for name in names if not _delete_own(folder, name)
                ]
            finally:
                os.close(folder)
            if not others:
                os.rmdir(self.path)
        except OSError as exc:
            raise exceptions.RehearsalError(
                f'Cannot delete {self}: {exc.strerror}'
            ) from exc
        return others

    def check_made(self) -> None:
        """Check that the folder was created for a cloud.

        :raises RehearsalError: It was not, or it is a link.
        """
        with contextlib.suppress(
            FileNotFoundError, KeyError, TypeError, exceptions.RehearsalError
        ):
            if self.load(_MADE)['inode'] == os.lstat(self.path).st_ino:
                return
        raise exceptions.RehearsalError(
            f'Cannot delete {self}: it was not created for this rehearsal '
            'cloud, but copied or created by an older version; delete it '
            'yourself'
        )

    # -- the record ---------------------------------------------------------

    def check(self) -> None:
        """Check that no other user can write to the folder.

        :raises RehearsalError: Another user can, or there is no folder.
        """
        try:
            trusted_files.check_folder(str(self))
        except (FileNotFoundError, NotADirectoryError) as exc:
            raise self._no_cloud() from exc
        except OSError as exc:
            raise self._unreadable(str(self), exc.strerror) from exc

    def _no_cloud(self) -> exceptions.RehearsalError:
        return exceptions.RehearsalError(
            f'There is no rehearsal cloud {self.name} in {self}'
        )

    @staticmethod
    def _unreadable(path: str, reason: object) -> exceptions.RehearsalError:
        return exceptions.RehearsalError(f'Cannot read {path}: {reason}')

    def load(self, name: str) -> typing.Any:
        """Return the data of a JSON file in the folder.

        :raises RehearsalError: It cannot be trusted or read.
        :raises FileNotFoundError: It does not exist.
        """
        path = self.file(name)
        try:
            return json.loads(trusted_files.read(path))
        except FileNotFoundError:
            raise
        except OSError as exc:
            raise self._unreadable(path, exc.strerror) from exc
        except (ValueError, RecursionError) as exc:
            raise self._unreadable(path, exc) from exc

    def read(self) -> CloudRecord:
        """Return the record of the cloud.

        :raises RehearsalError: There is no cloud in this folder, or it
            cannot be trusted.
        """
        self.check()
        try:
            record = CloudRecord.load(self.load('state.json'))
        except FileNotFoundError as exc:
            raise self._no_cloud() from exc
        except (ValueError, KeyError, TypeError, AttributeError) as exc:
            raise self._unreadable(self.file('state.json'), exc) from exc
        with contextlib.suppress(FileNotFoundError):
            try:
                values = self.load('registered.json')
                record.registered = [str(name) for name in values['names']]
                record.registered_in = os.fspath(values['file'])
            except (KeyError, TypeError) as exc:
                raise self._unreadable(
                    self.file('registered.json'), exc
                ) from exc
        return record

    def write(self, record: CloudRecord) -> None:
        """Replace the record atomically."""
        write_private(self.file('state.json'), record.dumps())

    def write_registered(self, names: typing.Iterable[str], file: str) -> None:
        """Record the entries of this cloud in another clouds.yaml."""
        write_private(
            self.file('registered.json'),
            json.dumps({'names': sorted(names), 'file': file}),
        )

    # -- the lock -----------------------------------------------------------

    def lock(self) -> int | None:
        """Take the lock of the folder.

        Each process that inherits the descriptor holds the lock.

        :returns: The descriptor; None where a process of the cloud holds the
            lock.
        :raises RehearsalError: It cannot be trusted or opened.
        """
        try:
            descriptor = trusted_files.open_private(
                self.file('lock'), os.O_RDWR
            )
        except OSError as exc:
            raise self._unreadable(self.file('lock'), exc.strerror) from exc
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return descriptor

    def locked(self) -> bool:
        """Return whether a process of the cloud runs."""
        if not os.path.lexists(self.file('lock')):
            return False
        descriptor = self.lock()
        if descriptor is None:
            return True
        os.close(descriptor)
        return False


def _process_or_none(values: typing.Any) -> CloudProcess | None:
    return CloudProcess.load(values) if values else None


def _version(value: typing.Any) -> str:
    text = str(value)
    if text and not _VERSION.fullmatch(text):
        raise ValueError('invalid version')
    return text


def _message(value: typing.Any) -> str:
    return texts.one_line(str(value)[:_LONGEST_MESSAGE])


def _delete_own(folder: int, name: str) -> bool:
    """Delete an entry of a folder, if a cloud creates such an entry."""
    temporary = _TEMPORARY.fullmatch(name)
    if name not in _OWN and (temporary is None or temporary[1] not in _OWN):
        return False
    status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    if stat.S_ISDIR(status.st_mode):
        shutil.rmtree(name, dir_fd=folder)
    else:
        os.unlink(name, dir_fd=folder)
    return True


def write_private(path: str, text: str) -> None:
    """Write a file that only its owner can read, atomically.

    :raises RehearsalError: It cannot be written.
    """
    try:
        _write_private(path, text)
    except OSError as exc:
        raise exceptions.RehearsalError(
            f'Cannot write {path}: {exc.strerror}'
        ) from exc


def _write_private(path: str, text: str) -> None:
    folder, name = os.path.split(path)
    descriptor, temporary = tempfile.mkstemp(dir=folder, prefix=f'.{name}.')
    try:
        with open(descriptor, 'w', encoding='utf-8') as stream:
            stream.write(text)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


# -- processes --------------------------------------------------------------


def start_time(pid: int) -> int | None:
    """Return the start time of a process; None where it has ended.

    In clock ticks since the machine started (proc(5), stat, field 22).
    """
    try:
        with open(f'/proc/{pid}/stat', encoding='ascii') as stream:
            text = stream.read()
    except (OSError, UnicodeDecodeError):
        return None
    # The second field is the command in parentheses, with any characters.
    fields = text.rpartition(')')[2].split()
    if fields[0] in 'ZX':
        return None
    return int(fields[19])


def end_with(parent: int, number: signal.Signals) -> bool:
    """Let the kernel send a signal to this process when its parent ends.

    Children do not inherit this (prctl(2), PR_SET_PDEATHSIG).

    :param parent: The ID of the parent.
    :returns: Whether the parent runs.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)
    return os.getppid() == parent


def adopt_orphans() -> None:
    """Make this process the parent of orphans among its descendants."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def lives(process: CloudProcess) -> bool:
    """Return whether a recorded process runs."""
    return (
        process.pid is not None
        and process.started is not None
        and start_time(process.pid) == process.started
    )


@contextlib.contextmanager
def handle(process: CloudProcess) -> typing.Iterator[int | None]:
    """Yield a descriptor of a recorded process; None where it has ended.

    Signals through the descriptor reach no other process.
    """
    if process.pid is None:
        yield None
        return
    try:
        descriptor = os.pidfd_open(process.pid)
    except (OSError, OverflowError):
        # It has ended, or is a thread.
        yield None
        return
    try:
        yield descriptor if lives(process) else None
    finally:
        os.close(descriptor)


def memory_mb(processes: typing.Iterable[CloudProcess]) -> int:
    """Return the memory of processes in MiB, shared pages counted once.

    The sum of the proportional set sizes (proc(5), smaps_rollup).
    """
    kilobytes = 0
    for process in processes:
        if not lives(process):
            continue
        with (
            contextlib.suppress(OSError),
            open(
                f'/proc/{process.pid}/smaps_rollup', encoding='ascii'
            ) as stream,
        ):
            for line in stream:
                if line.startswith('Pss:'):
                    kilobytes += int(line.split()[1])
    return kilobytes // 1024
