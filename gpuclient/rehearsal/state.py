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

#: States of a service, in the order in which it passes them. ``refused``:
#: it ended before it was ready. ``ended``: it ended after that.
STARTING = 'starting'
READY = 'ready'
REFUSED = 'refused'
ENDED = 'ended'
#: State of a cloud that does not run.
STOPPED = 'stopped'
#: State of a cloud that could not start.
FAILED = 'failed'

#: The file that names the service to restart.
RESTART = 'restart.json'

#: The file that says that this folder was made for a cloud.
_MADE = 'made.json'
#: All that a cloud makes in its folder.
_OWN = frozenset(
    (
        *('clouds.yaml', 'db', 'etc', 'images', 'lock', 'lock.d', 'log'),
        *('nova', 'passwords.json', 'registered.json', 'rpc', 'spec.json'),
        *('staging', 'state.json', 'supervisor.sock', 'written.json'),
        *(RESTART, _MADE),
    )
)
#: A file that was being written when its writer was killed.
_TEMPORARY = re.compile(r'\.(.+)\.[a-z0-9_]{8}')
_STATES = (STARTING, READY, REFUSED, ENDED, STOPPED, FAILED)

_PR_SET_PDEATHSIG = 1

# A path goes into configuration files, database URLs and socket addresses,
# each of which has signs of its own that mean something.
_UNSAFE = set(' \t\n\r$%?#\'"\\;:,@')
_NAME = re.compile(r'[A-Za-z0-9._-]{1,255}')
_LONGEST_MESSAGE = 4096
#: Longest path of a folder: the address of a Unix socket in it has 107 bytes.
_LONGEST = 80


@dataclasses.dataclass
class CloudProcess:
    """A process of a cloud."""

    #: ``keystone``, ``nova-compute`` ...
    name: str
    #: The host that Nova knows the service by, where it has one.
    host: str | None = None
    pid: int | None = None
    #: When it started, in clock ticks since the machine did.
    started: int | None = None
    port: int | None = None
    state: str = STARTING
    #: Why it refused to start or ended, in its own words.
    message: str = ''

    @classmethod
    def load(cls, values: typing.Any) -> 'CloudProcess':
        """Return what a record has.

        :raises ValueError: It has something else.
        """
        process = cls(**values)
        for text in (process.name, process.host):
            if text is not None and not _NAME.fullmatch(text):
                raise ValueError('a name that is none')
        numbers = (process.pid, process.started, process.port)
        if process.state not in _STATES or not all(
            number is None or (type(number) is int and 0 < number < 2**63)
            for number in numbers
        ):
            raise ValueError('a process that is none')
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
    """What the supervisor says of its cloud."""

    name: str
    supervisor: CloudProcess
    services: list[CloudProcess]
    #: Why the cloud failed.
    message: str = ''
    #: Names of its entries in the user's own clouds.yaml, and that file.
    registered: list[str] = dataclasses.field(default_factory=list)
    registered_in: str = ''
    #: The process with which the cloud ends.
    bound_to: CloudProcess | None = None

    @classmethod
    def load(cls, values: typing.Any) -> 'CloudRecord':
        return cls(
            name=str(values['name']),
            supervisor=CloudProcess.load(values['supervisor']),
            services=[CloudProcess.load(item) for item in values['services']],
            message=_message(values['message']),
            bound_to=(
                CloudProcess.load(values['bound_to'])
                if values.get('bound_to')
                else None
            ),
        )

    def dumps(self) -> str:
        values = dataclasses.asdict(self)
        # Who registers the cloud writes that down, in a file of its own.
        del values['registered'], values['registered_in']
        return json.dumps(values, indent=1)

    @property
    def refused(self) -> list[CloudProcess]:
        """The services that are not there although they should be."""
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
    :raises InvalidValue: The name or the path cannot be used.
    """

    def __init__(self, name: str, directory: str | None = None) -> None:
        if not spec.NAME.fullmatch(name):
            raise exceptions.InvalidValue(
                f'Name {name!r} of a rehearsal cloud: use letters, '
                'digits, dots, dashes and underscores, at most 63'
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
                f'Directory {text!r}: choose one without spaces and '
                'signs such as $ % ? #'
            )
        if len(os.fsencode(text)) > _LONGEST:
            raise exceptions.InvalidValue(
                f'Directory {text}: choose one of at most {_LONGEST} '
                'bytes, a socket in it has to fit into 107'
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
        """The line for a shell that makes ``openstack`` use this cloud."""
        return (
            f'export OS_CLIENT_CONFIG_FILE={self.clouds_yaml} '
            f'OS_CLOUD={self.name}'
        )

    def exists(self) -> bool:
        """Say whether a cloud was ever started here."""
        return os.path.lexists(self.file('state.json'))

    def create(self) -> None:
        """Make the folder.

        :raises RehearsalError: It cannot be made, is not of this user alone,
            or holds something else.
        """
        try:
            trusted_files.check_folder(str(self), make=True)
            names = [
                name
                for name in os.listdir(self.path)
                if not name.startswith(f'.{_MADE}.')
            ]
            if not names:
                # Not by its name: so that no copy claims to be it.
                write_private(
                    self.file(_MADE),
                    json.dumps({'inode': os.stat(self.path).st_ino}),
                )
            elif _MADE in names or self.exists():
                trusted_files.check_content(str(self))
        except OSError as exc:
            raise exceptions.RehearsalError(
                f'Cannot make the directory {self}: {exc.strerror}'
            ) from exc
        if names and _MADE not in names and not self.exists():
            raise exceptions.RehearsalError(
                f'Directory {self} holds something that is not a '
                'rehearsal cloud; name an empty one'
            )

    def delete(self) -> list[str]:
        """Delete what a cloud made, and the folder if that was all.

        :returns: The names of what is left.
        :raises RehearsalError: The folder was not made for a cloud, or the
            system refused.
        """
        self.check_made()
        try:
            # A link is not followed.
            folder = os.open(
                self.path,
                os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC,
            )
            try:
                # What it is known by goes last: to try again.
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
        """Refuse to delete a folder that was not made for a cloud.

        :raises RehearsalError: It was not, or is a link to one.
        """
        with contextlib.suppress(
            FileNotFoundError, KeyError, TypeError, exceptions.RehearsalError
        ):
            if self.load(_MADE)['inode'] == os.lstat(self.path).st_ino:
                return
        raise exceptions.RehearsalError(
            f'Cannot delete {self}: it was not made for this rehearsal '
            'cloud (copied, or older); delete it yourself'
        )

    # -- the record ---------------------------------------------------------

    def check(self) -> None:
        """Refuse a folder that is not of this user alone.

        :raises RehearsalError: It is not, or there is none.
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

        :raises RehearsalError: It cannot be trusted, or read.
        :raises FileNotFoundError: There is none.
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
        """Return what the supervisor said last.

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
        """Replace the record, whole or not at all."""
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

        Every process that inherits the descriptor keeps the lock.

        :returns: The descriptor, or None where a process of the cloud holds
            the lock.
        :raises RehearsalError: It cannot be trusted, or opened.
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
        """Say whether a process of the cloud lives."""
        if not os.path.lexists(self.file('lock')):
            return False
        descriptor = self.lock()
        if descriptor is None:
            return True
        os.close(descriptor)
        return False


def _message(value: typing.Any) -> str:
    return texts.one_line(str(value)[:_LONGEST_MESSAGE])


def _delete_own(folder: int, name: str) -> bool:
    """Delete an entry of a folder, if a cloud made it."""
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
    """Write a file that only its owner may read, whole or not at all.

    :raises RehearsalError: The system refused.
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
    """Return when a process started, or None where it is gone.

    In clock ticks since the machine started (proc(5), stat, field 22).
    """
    try:
        with open(f'/proc/{pid}/stat', encoding='ascii') as stream:
            text = stream.read()
    except (OSError, UnicodeDecodeError):
        return None
    # The second field is the command in parentheses, which may hold anything.
    fields = text.rpartition(')')[2].split()
    if fields[0] in 'ZX':
        return None
    return int(fields[19])


def end_with(parent: int, number: signal.Signals) -> bool:
    """Ask the kernel for a signal when the process that started us ends.

    What this process forks has to ask for itself (prctl(2),
    PR_SET_PDEATHSIG).

    :param parent: Its id.
    :returns: Whether it lives.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)
    return os.getppid() == parent


def lives(process: CloudProcess) -> bool:
    """Say whether a process that was recorded still runs."""
    return (
        process.pid is not None
        and process.started is not None
        and start_time(process.pid) == process.started
    )


@contextlib.contextmanager
def handle(process: CloudProcess) -> typing.Iterator[int | None]:
    """Give a descriptor of a recorded process, None where it is gone.

    Signals sent through the descriptor reach this process or nobody.
    """
    if process.pid is None:
        yield None
        return
    try:
        descriptor = os.pidfd_open(process.pid)
    except (OSError, OverflowError):
        # None any more, or a thread.
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
