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

"""The process that a rehearsal cloud hangs on.

Started by ``openstack gpu rehearsal start``, in a session of its own. It
imports what the services need once and forks a process for each of them, so
that they share that memory and start within a moment. It then waits for their
ends, and stops them when it is told to.

It stays a process of one thread: a fork copies the calling thread only.
"""

import collections.abc
import contextlib
import errno
import fcntl
import functools
import gc
import importlib
import json
import os
import re
import secrets
import select
import signal
import socket
import sys
import time
import traceback
import typing

from gpuclient import exceptions
from gpuclient.rehearsal import service_files
from gpuclient.rehearsal import databases
from gpuclient.rehearsal import identity
from gpuclient.rehearsal import trusted_files
from gpuclient.rehearsal import supervisor_socket
from gpuclient.rehearsal import services
from gpuclient.rehearsal import spec
from gpuclient.rehearsal import spec_reader
from gpuclient.rehearsal import state

#: Seconds that a start may take, and more of them for each host.
_PATIENCE = 240
_PATIENCE_PER_HOST = 10
#: Seconds that services have to end by themselves.
_GRACE = 15
#: Longest message of a service.
_LONGEST = 900

#: A line of oslo.log: its level, the logger, the request and what it says.
_ERROR = re.compile(
    r' (?:ERROR|CRITICAL) [\w.]+(?: \[[^\]]*\])?(?: (.*))?$', re.ASCII
)
_TRACEBACK = 'Traceback (most recent call last):'

_SIGNALS = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGCHLD,
    signal.SIGHUP,
)

Job: typing.TypeAlias = collections.abc.Callable[[services.Ready], None]


class _Stopped(Exception):
    """Somebody asked the cloud to stop."""


class Supervisor:
    """Starts the services of a cloud, keeps its record, and stops them.

    :param folder: The state folder, with ``spec.json`` in it.
    :param progress: A descriptor for lines that say how the start goes on;
        it is closed when the start has ended.
    :param bound_to: The process with which the cloud ends.
    :param binding: A descriptor of it.
    """

    def __init__(
        self,
        folder: state.StateFolder,
        progress: int,
        bound_to: state.CloudProcess | None = None,
        binding: int | None = None,
    ) -> None:
        self._folder = folder
        self._progress: int | None = progress
        self._began = time.monotonic()
        self._parent = os.getpid()
        self._stop_asked = False
        self._restart_asked = False
        #: What each service does, to start it again.
        self._jobs: dict[tuple[str, str | None], Job] = {}
        # Lines of JSON from the services.
        self._reports, self._report = os.pipe()
        # A byte for each signal.
        self._wakeups, self._wakeup = os.pipe()
        for descriptor in (self._reports, self._wakeups, self._wakeup):
            os.set_blocking(descriptor, False)
        self._unread = b''
        self._helpers: dict[int, tuple[str, int | None]] = {}
        self._sockets: dict[str, socket.socket] = {}
        #: By which the process proves that it is the supervisor.
        self._proof: socket.socket | None = None
        self._bound = binding
        #: Where in each log the lines of the running process begin.
        self._logs: dict[str, int] = {}
        self._record = state.CloudRecord(
            name=folder.name,
            supervisor=state.CloudProcess(
                'supervisor',
                pid=os.getpid(),
                started=state.start_time(os.getpid()),
            ),
            services=[],
            bound_to=bound_to,
        )

    # -- the life of the cloud ----------------------------------------------

    def run(self) -> int:
        """Start the cloud, wait until it has to stop, and stop it.

        :returns: The exit status of the process.
        """
        for number in _SIGNALS:
            signal.signal(number, self._on_signal)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        signal.set_wakeup_fd(self._wakeup, warn_on_full_buffer=False)
        failed = False
        try:
            self._proof = supervisor_socket.listen(self._folder)
            self._start()
            self._record.supervisor.state = state.READY
            self._save()
            self._say('ready')
            self._end_progress()
            self._wait(lambda: False, None)
        except _Stopped:
            pass
        except exceptions.GPUError as exc:
            failed = True
            self._record.message = str(exc)
        except Exception as exc:
            failed = True
            traceback.print_exc()
            self._record.message = _message(exc)
        self._stop()
        self._record.supervisor.state = (
            state.FAILED if failed else state.STOPPED
        )
        self._save()
        return 1 if failed else 0

    def _start(self) -> None:
        described = spec_reader.read(self._folder.load('spec.json'))
        if self._folder.exists():
            self._keep(self._folder.read())
        self._save()
        names = [api.name for api in described.apis]
        self._listen(['keystone', 'placement', 'glance', 'neutron', *names])
        self._plan(described)
        self._save()
        self._say('importing the services')
        gc.disable()
        services.import_common()
        # Not before: oslo.messaging has to find the choice of threads made.
        messaging = importlib.import_module('gpuclient.rehearsal.messaging')
        passwords = self._passwords()
        files = service_files.ServiceFiles(
            self._folder,
            {
                name: sock.getsockname()[1]
                for name, sock in self._sockets.items()
            },
            passwords,
            described.transport_url
            or messaging.transport_url(self._folder.file('rpc')),
        )
        files.write(described)
        cloud = services.ServiceContext(
            self._folder, described, files, passwords, self._sockets
        )
        self._freeze()
        databases.prepare(self._folder, self._run_jobs)
        files.write_clouds_yaml()
        self._start_service(
            'keystone', functools.partial(services.run_keystone, cloud)
        )
        self._start_service(
            'placement', functools.partial(services.run_placement, cloud)
        )
        self._start_service(
            'glance', functools.partial(services.run_glance, cloud)
        )
        self._start_service(
            'neutron', functools.partial(services.run_neutron, cloud)
        )
        services.import_nova()
        self._freeze()
        self._start_nova(cloud)

    @staticmethod
    def _freeze() -> None:
        """Keep the garbage collector off what all children have.

        It would write to each object, and so copy the pages that the
        children share.
        """
        gc.collect()
        gc.freeze()

    def _start_nova(self, cloud: services.ServiceContext) -> None:
        deadline = (
            time.monotonic()
            + _PATIENCE
            + _PATIENCE_PER_HOST * len(cloud.spec.hosts)
        )
        self._help('cells', functools.partial(services.map_cells, cloud))
        self._wait(lambda: self._helped('cells'), deadline)
        for kind, members in (
            ('conductor', cloud.spec.conductors),
            ('scheduler', cloud.spec.schedulers),
        ):
            for member in members:
                self._start_service(
                    member.name,
                    functools.partial(
                        services.run_control, cloud, kind, member.name
                    ),
                )
        for api in cloud.spec.apis:
            self._start_service(
                api.name, functools.partial(services.run_api, cloud, api.name)
            )
        for host in cloud.spec.hosts:
            self._start_service(
                'nova-compute',
                functools.partial(services.run_compute, cloud, host.name),
                host.name,
            )
        self._help('image', functools.partial(services.make_image, cloud))
        self._wait(lambda: self._settled() and self._helped('image'), deadline)
        self._help('hosts', functools.partial(services.map_hosts, cloud))
        self._wait(lambda: self._helped('hosts'), deadline)

    def _keep(self, old: state.CloudRecord) -> None:
        """Take over from the record of an earlier start."""
        self._record.services = [
            state.CloudProcess(service.name, service.host, port=service.port)
            for service in old.services
        ]

    def _plan(self, described: spec.CloudSpec) -> None:
        """Write the services down before they start."""
        planned = [
            state.CloudProcess(name)
            for name in ('keystone', 'placement', 'glance', 'neutron')
        ]
        planned.extend(
            state.CloudProcess(service.name, service.host)
            for service in described.control_plane
        )
        planned.extend(
            state.CloudProcess('nova-compute', host.name)
            for host in described.hosts
        )
        for process in planned:
            if process.name in self._sockets:
                process.port = self._sockets[process.name].getsockname()[1]
        self._record.services = planned

    def _listen(self, names: list[str]) -> None:
        """Bind a socket for each name, where we can the port of last time.

        A socket listens before its service runs: who asks early waits. And
        nobody else can take the port meanwhile.
        """
        ports = {
            service.name: service.port for service in self._record.services
        }
        for name in names:
            sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind(('127.0.0.1', ports.get(name) or 0))
            except OSError as exc:
                if exc.errno != errno.EADDRINUSE:
                    raise
                sock.bind(('127.0.0.1', 0))
            sock.listen(128)
            self._sockets[name] = sock

    def _passwords(self) -> dict[str, str]:
        """Return the password of each user, made at the first start."""
        path = self._folder.file('passwords.json')
        passwords: dict[str, str] = {}
        with contextlib.suppress(FileNotFoundError):
            passwords = self._folder.load('passwords.json')
        for name in identity.USERS:
            passwords.setdefault(name, secrets.token_urlsafe(18))
        state.write_private(path, json.dumps(passwords))
        return passwords

    # -- processes ----------------------------------------------------------

    def _start_service(
        self, name: str, job: Job, host: str | None = None
    ) -> None:
        number, service = next(
            (number, service)
            for number, service in enumerate(self._record.services)
            if service.name == name and (host is None or service.host == host)
        )
        log = f'{name}-{host}' if host else name
        self._jobs[name, service.host] = job
        self._fork(service, number, log, job)
        # From here on its end is the end of what listens.
        if name in self._sockets:
            self._sockets[name].close()
        self._save()

    def _help(
        self, name: str, job: collections.abc.Callable[[], None]
    ) -> None:
        """Run something once, in a process of its own."""
        helper = state.CloudProcess(name)
        pid = self._fork(helper, -1, f'start-{name}', lambda _ready: job())
        self._helpers[pid] = (name, None)

    def _helped(self, name: str) -> bool:
        """Say whether a helper has done its work.

        :raises RehearsalError: It failed.
        """
        statuses = [
            status for known, status in self._helpers.values() if known == name
        ]
        if None in statuses:
            return False
        if any(statuses):
            raise exceptions.RehearsalError(
                'The start failed at {name}: {reason}'.format(
                    name=name,
                    reason=self._last_error(f'start-{name}'),
                )
            )
        return True

    def _run_jobs(
        self, jobs: dict[str, collections.abc.Callable[[], None]]
    ) -> str | None:
        """Run functions side by side; return the name of one that failed."""
        self._say('migrating the databases')
        for name, job in jobs.items():
            self._help(name, job)
        while True:
            statuses = {
                name: status
                for name, status in self._helpers.values()
                if name in jobs
            }
            for name, status in statuses.items():
                if status:
                    return name
            if None not in statuses.values():
                return None
            self._turn(None)

    def _last_error(self, log: str) -> str:
        """Return the last error that a process of this start logged."""
        return _last_error(
            self._folder.file('log', f'{log}.log'), self._logs.get(log, 0)
        )

    def _fork(
        self, process: state.CloudProcess, number: int, log: str, job: Job
    ) -> int:
        sys.stdout.flush()
        sys.stderr.flush()
        self._logs[log] = 0
        with contextlib.suppress(OSError):
            self._logs[log] = os.path.getsize(
                self._folder.file('log', f'{log}.log')
            )
        # A signal must not find our handlers in the child.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        pid = os.fork()
        if pid:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            process.pid = pid
            process.started = state.start_time(pid)
            process.state = state.STARTING
            return pid
        status = 1
        try:
            self._become_child(process, log)
            job(functools.partial(self._tell, number, state.READY, ''))
            status = 0
        except SystemExit as exc:
            status = (
                exc.code if isinstance(exc.code, int) else int(bool(exc.code))
            )
            # A code that is a text is what the service has to say.
            words = '' if isinstance(exc.code, int | None) else _message(exc)
            self._tell(number, state.REFUSED, words)
        except BaseException as exc:
            with contextlib.suppress(Exception):
                traceback.print_exc()
                self._tell(number, state.REFUSED, _message(exc))
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)

    def _become_child(self, process: state.CloudProcess, log: str) -> None:
        """Let go of all that is the supervisor's."""
        # Whatever becomes of the supervisor, nothing is left behind.
        if not state.end_with(self._parent, signal.SIGKILL):
            os._exit(1)
        signal.set_wakeup_fd(-1)
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        for descriptor in (self._reports, self._wakeups, self._wakeup):
            os.close(descriptor)
        if self._proof is not None:
            self._proof.close()
        if self._bound is not None:
            os.close(self._bound)
        self._end_progress()
        for name, sock in self._sockets.items():
            if name != process.name:
                sock.close()
        descriptor = trusted_files.open_private(
            self._folder.file('log', f'{log}.log'), os.O_WRONLY | os.O_APPEND
        )
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        os.close(descriptor)
        gc.enable()

    def _tell(self, number: int, new: str, message: str) -> None:
        """Tell the supervisor, from a child, what became of a service."""
        line = (
            json.dumps([number, new, message[:_LONGEST]], ensure_ascii=False)
            + '\n'
        )
        # One write of this length is not mixed with another's (pipe(7)).
        os.write(self._report, line.encode())

    # -- events -------------------------------------------------------------

    def _on_signal(self, number: int, frame: object) -> None:
        if number == signal.SIGHUP:
            self._restart_asked = True
        elif number != signal.SIGCHLD:
            self._stop_asked = True

    def _settled(self) -> bool:
        """Say whether no service is starting any more.

        :raises RehearsalError: One without which there is no cloud ended.
        """
        for service in self._record.services:
            if service.state in (state.REFUSED, state.ENDED) and (
                service.name
                in ('keystone', 'placement', 'glance', 'nova-conductor')
            ):
                raise exceptions.RehearsalError(
                    f'{service.title} did not start: {service.message}'
                )
        return all(
            service.state != state.STARTING
            for service in self._record.services
        )

    def _wait(
        self,
        condition: collections.abc.Callable[[], bool],
        deadline: float | None,
    ) -> None:
        while not condition():
            if deadline is not None and time.monotonic() > deadline:
                slow = [
                    service.title
                    for service in self._record.services
                    if service.state == state.STARTING
                ]
                raise exceptions.RehearsalError(
                    'Not ready in time: {services}'.format(
                        services=', '.join(slow)
                    )
                )
            self._turn(deadline)

    def _turn(self, deadline: float | None) -> None:
        """Wait for something to happen, and take note of it.

        :raises _Stopped: Somebody asked the cloud to stop.
        """
        if self._stop_asked:
            raise _Stopped
        timeout = (
            None
            if deadline is None
            else max(0.0, deadline - time.monotonic()) + 0.1
        )
        sources: list[typing.Any] = [self._reports, self._wakeups]
        sources += [
            source
            for source in (self._proof, self._bound)
            if source is not None
        ]
        readable = select.select(sources, [], [], timeout)[0]
        if self._bound in readable:
            self._say('the process that it is bound to has ended')
            raise _Stopped
        if self._proof is not None:
            supervisor_socket.answer(self._proof)
        with contextlib.suppress(BlockingIOError):
            os.read(self._wakeups, 4096)
        self._note()
        if self._stop_asked:
            raise _Stopped
        if (
            self._restart_asked
            and self._record.supervisor.state == state.READY
        ):
            self._restart_asked = False
            self._restart()

    def _restart(self) -> None:
        """Start a service again that somebody wrote down."""
        path = self._folder.file(state.RESTART)
        try:
            name, host = self._folder.load(state.RESTART)
            job = self._jobs[name, host]
        except (
            OSError,
            ValueError,
            KeyError,
            TypeError,
            exceptions.RehearsalError,
        ):
            return
        service = next(
            service
            for service in self._record.services
            if (service.name, service.host) == (name, host)
        )
        # Who asked waits for the file to go, then for the state to change.
        service.state = state.STARTING
        self._save()
        os.unlink(path)
        self._say(f'restarting {service.title}')
        self._end([service])
        service.state = state.STARTING
        service.message = ''
        self._save()
        if name in self._sockets:
            self._listen([name])
            service.port = self._sockets[name].getsockname()[1]
        self._start_service(
            name, job, host if name == 'nova-compute' else None
        )

    def _note(self) -> None:
        """Take note of what the services said, and which have ended."""
        # Before their reports are read: who has ended has said it all.
        ended = []
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    break
                ended.append((pid, os.waitstatus_to_exitcode(status)))
        changed = bool(ended)
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self._reports, 65536):
                self._unread += data
        *lines, self._unread = self._unread.split(b'\n')
        for line in lines:
            number, new, message = json.loads(line)
            if number >= 0:
                self._change(self._record.services[number], new, message)
                changed = True
        for pid, status in ended:
            if pid in self._helpers:
                self._helpers[pid] = (self._helpers[pid][0], status)
                continue
            for service in self._record.services:
                if service.pid == pid:
                    self._ended(service, status)
        if changed:
            self._save()

    def _ended(self, service: state.CloudProcess, status: int) -> None:
        message = service.message
        if not message:
            log = (
                f'{service.name}-{service.host}'
                if service.name == 'nova-compute'
                else service.name
            )
            message = self._last_error(log)
        if not message:
            message = (
                'ended by signal %s' % -status
                if status < 0
                else f'ended with status {status}'
            )
        service.pid = service.started = None
        if service.state == state.READY:
            self._change(service, state.ENDED, message)
        else:
            self._change(service, state.REFUSED, message)

    def _change(
        self, service: state.CloudProcess, new: str, message: str
    ) -> None:
        if service.state == new:
            return
        service.state = new
        service.message = message
        if new == state.READY:
            self._say(f'{service.title} is ready')
        else:
            self._say(f'{service.title}: {new}: {message}')

    def _say(self, text: str) -> None:
        line = f'{time.monotonic() - self._began:6.1f} s  {text}'
        sys.stdout.write(f'{line}\n')
        sys.stdout.flush()
        if self._progress is not None:
            try:
                os.write(self._progress, line.encode() + b'\n')
            except OSError:
                # Whoever asked for the cloud does not listen any more.
                self._end_progress()

    def _end_progress(self) -> None:
        if self._progress is not None:
            os.close(self._progress)
            self._progress = None

    def _save(self) -> None:
        self._folder.write(self._record)

    # -- the end ------------------------------------------------------------

    def _stop(self) -> None:
        """End the services: those first that need the others to end well."""
        self._say('stopping')
        for stage in (
            lambda name: (
                name.startswith('nova-')
                and not name.startswith('nova-conductor')
            ),
            lambda name: name.startswith('nova-conductor'),
            lambda name: True,
        ):
            self._stop_stage(stage)
        for pid, (_name, status) in self._helpers.items():
            if status is None:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)

    def _stop_stage(
        self, chosen: collections.abc.Callable[[str], bool]
    ) -> None:
        self._end(
            [
                service
                for service in self._record.services
                if chosen(service.name)
            ]
        )

    def _end(self, services_: list[state.CloudProcess]) -> None:
        """End services, and wait until they are gone."""
        stage = {
            service.pid: service
            for service in services_
            if service.pid is not None
        }
        deadline = time.monotonic() + _GRACE
        for number in (signal.SIGTERM, signal.SIGKILL):
            for pid in stage:
                os.kill(pid, number)
            while stage:
                left = deadline - time.monotonic()
                if number == signal.SIGTERM and left <= 0:
                    break
                select.select([self._wakeups], [], [], max(left, 0.1))
                with contextlib.suppress(BlockingIOError):
                    os.read(self._wakeups, 4096)
                for pid in list(stage):
                    if os.waitpid(pid, os.WNOHANG)[0]:
                        service = stage.pop(pid)
                        service.pid = service.started = None
                        service.state = state.STOPPED
                        service.message = ''


def _message(exc: BaseException) -> str:
    """Return what an exception says, on one line."""
    text = ' '.join(str(exc).split())
    return text or type(exc).__name__


def _last_error(path: str, start: int) -> str:
    """Return the last error in a log on one line; empty where it has none.

    :param start: Where the lines of this run begin.
    """
    error = ''
    in_traceback = False
    try:
        with open(path, 'rb') as stream:
            stream.seek(start)
            for raw in stream:
                line = raw.decode(errors='replace').rstrip()
                match = _ERROR.search(line)
                if match is not None:
                    # The last line of a traceback has the exception.
                    error = (match[1] or '').strip() or error
                elif line == _TRACEBACK:
                    in_traceback = True
                elif in_traceback and line and not line.startswith(' '):
                    error, in_traceback = line.strip(), False
    except OSError:
        return ''
    return error[:_LONGEST]


def main() -> int:
    """Run a cloud: ``supervisor NAME FOLDER PROGRESS BOUND_TO``.

    BOUND_TO is null, or the id and the start time of the process whose end is
    the cloud's.
    """
    name, directory, progress, bound_to = sys.argv[1:]
    os.umask(0o077)
    folder = state.StateFolder(name, directory)
    folder.check()
    with contextlib.ExitStack() as stack:
        process, descriptor = None, None
        if bound_to != 'null':
            pid, started = json.loads(bound_to)
            process = state.CloudProcess('bound-to', pid=pid, started=started)
            descriptor = stack.enter_context(state.handle(process))
            if descriptor is None:
                sys.stdout.write('the process that it is bound to is gone\n')
                return 1
        # Inherited by every process of the cloud.
        lock = folder.lock()
        if lock is None:
            sys.stdout.write('the cloud runs already\n')
            return 1
        fcntl.fcntl(lock, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
        return Supervisor(folder, int(progress), process, descriptor).run()


if __name__ == '__main__':
    sys.exit(main())
