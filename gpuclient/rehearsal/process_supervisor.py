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

"""A process that starts, watches and ends the services of a cloud.

It is the parent of all of them and stays a process of one thread, since a
fork copies only the calling thread. It reads what its children report from a
pipe, and keeps the record of the cloud (:mod:`gpuclient.rehearsal.state`).
"""

import collections.abc
import contextlib
import errno
import gc
import json
import os
import select
import signal
import socket
import sys
import time
import traceback
import typing

from gpuclient import exceptions
from gpuclient.rehearsal import service_log
from gpuclient.rehearsal import state
from gpuclient.rehearsal import supervisor_socket
from gpuclient.rehearsal import trusted_files
from gpuclient.rehearsal.nova_worker import reporting

#: Seconds that services have to end after SIGTERM.
_GRACE = 15

_SIGNALS = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGCHLD,
    signal.SIGHUP,
)

#: What a process does; called with a function that it calls when it is ready.
Job: typing.TypeAlias = collections.abc.Callable[[reporting.Ready], None]


class _Stopped(Exception):
    """The cloud has to stop."""


class ProcessSupervisor:
    """Starts services, keeps the record of their cloud, and ends them.

    A subclass implements :meth:`start_services`.

    :param folder: The state folder.
    :param progress: A descriptor to which the progress of the start is
        written; it is closed when the start has ended.
    :param bound_to: The process with which the cloud ends.
    :param binding: A descriptor of that process.
    """

    #: Names of the services without which the cloud does not start.
    essential: frozenset[str] = frozenset()

    def __init__(
        self,
        folder: state.StateFolder,
        progress: int,
        bound_to: state.CloudProcess | None = None,
        binding: int | None = None,
    ) -> None:
        self.folder = folder
        self.record = state.CloudRecord(
            name=folder.name,
            supervisor=state.CloudProcess(
                'supervisor',
                pid=os.getpid(),
                started=state.start_time(os.getpid()),
            ),
            services=[],
            bound_to=bound_to,
        )
        #: The listening socket of each service that has one.
        self.sockets: dict[str, socket.socket] = {}
        self._progress: int | None = progress
        self._began = time.monotonic()
        self._parent = os.getpid()
        self._stop_requested = False
        self._restart_requested = False
        #: The function of each service, to start it again.
        self._jobs: dict[tuple[str, str | None], Job] = {}
        # Lines of JSON from the services (reporting.py).
        self._reports, self.reports = os.pipe()
        # A byte for each signal.
        self._wakeups, self._wakeup = os.pipe()
        for descriptor in (self._reports, self._wakeups, self._wakeup):
            os.set_blocking(descriptor, False)
        self._incomplete_report = b''
        #: The exit status of each helper, by its ID; None while it runs.
        self._helpers: dict[int, tuple[str, int | None]] = {}
        #: Proves to clients that this process is the supervisor.
        self._proof: socket.socket | None = None
        self._binding = binding
        #: The offset in each log at which the lines of this start begin.
        self._log_offsets: dict[str, int] = {}

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
            self._proof = supervisor_socket.listen(self.folder)
            self.start_services()
            self.record.supervisor.state = state.READY
            self.save()
            self.say('ready')
            self._end_progress()
            self.wait(lambda: False)
        except _Stopped:
            pass
        except exceptions.GPUError as exc:
            failed = True
            self.record.message = str(exc)
        except Exception as exc:
            failed = True
            traceback.print_exc()
            self.record.message = reporting.message_of(exc)
        self._stop()
        self.record.supervisor.state = (
            state.FAILED if failed else state.STOPPED
        )
        self.save()
        return 1 if failed else 0

    def start_services(self) -> None:
        """Set the services of the record, start them, and wait for them.

        :raises gpuclient.exceptions.GPUError: The cloud cannot start.
        """
        raise NotImplementedError

    def stages(
        self,
    ) -> collections.abc.Iterable[list[state.CloudProcess]]:
        """Return the services in groups that are ended one after another."""
        return [self.record.services]

    def say(self, text: str) -> None:
        """Write a line of progress."""
        line = f'{time.monotonic() - self._began:6.1f} s  {text}'
        sys.stdout.write(f'{line}\n')
        sys.stdout.flush()
        if self._progress is not None:
            try:
                os.write(self._progress, line.encode() + b'\n')
            except OSError:
                # The reader is gone.
                self._end_progress()

    def _end_progress(self) -> None:
        if self._progress is not None:
            os.close(self._progress)
            self._progress = None

    def save(self) -> None:
        """Write the record."""
        self.folder.write(self.record)

    # -- services -----------------------------------------------------------

    def listen(self, names: collections.abc.Iterable[str]) -> None:
        """Bind a socket for each name, on its port in the record if free.

        A socket listens before its service runs: clients that connect early
        wait, and no other process can take the port.
        """
        ports = {
            service.name: service.port for service in self.record.services
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
            self.sockets[name] = sock

    def start_service(
        self, name: str, job: Job, host: str | None = None
    ) -> None:
        """Run a service of the record in a process of its own.

        :param host: The host of a service that several hosts have.
        """
        number, service = next(
            (number, service)
            for number, service in enumerate(self.record.services)
            if service.name == name and host in (None, service.host)
        )
        self._jobs[name, service.host] = job
        self._start_process(service, service.log_name, job, number)
        # The port is closed when the service ends.
        if name in self.sockets:
            self.sockets[name].close()
        self.save()

    def wait_until_started(self, deadline: float) -> None:
        """Wait until each service is ready, refused or ended.

        :raises RehearsalError: An essential one is not ready, or the deadline
            has passed.
        """
        self.wait(self._all_settled, deadline)

    def _all_settled(self) -> bool:
        for service in self.record.services:
            if (
                service.state in (state.REFUSED, state.ENDED)
                and service.name in self.essential
            ):
                raise exceptions.RehearsalError(
                    f'{service.title} did not start: {service.message}'
                )
        return all(
            service.state != state.STARTING for service in self.record.services
        )

    # -- helpers ------------------------------------------------------------

    def start_helper(self, name: str, job: Job) -> state.CloudProcess:
        """Run a function once, in a process of its own."""
        process = state.CloudProcess(name)
        pid = self._start_process(process, f'start-{name}', job)
        self._helpers[pid] = (name, None)
        return process

    def wait_for_helper(self, name: str, deadline: float) -> None:
        """Wait until a helper has ended.

        :raises RehearsalError: It failed, or the deadline has passed.
        """
        self.wait(lambda: self.status_of_helper(name) is not None, deadline)
        if self.status_of_helper(name):
            raise self.failed_helper(name)

    def failed_helper(self, name: str) -> exceptions.RehearsalError:
        """Return the error of a helper that has ended."""
        return exceptions.RehearsalError(
            f'The start failed at {name}: {self._last_error(f"start-{name}")}'
        )

    def run_side_by_side(self, jobs: dict[str, Job]) -> str | None:
        """Run functions as helpers; return the name of one that failed."""
        for name, job in jobs.items():
            self.start_helper(name, job)
        while True:
            statuses = {name: self.status_of_helper(name) for name in jobs}
            for name, status in statuses.items():
                if status:
                    return name
            if None not in statuses.values():
                return None
            self._handle_events(None)

    def status_of_helper(self, name: str) -> int | None:
        """Return the exit status of a helper; None while it runs."""
        return next(
            status
            for helper, status in reversed(self._helpers.values())
            if helper == name
        )

    def _last_error(self, log: str) -> str:
        """Return the last error that a process of this start logged."""
        return service_log.last_error(
            self.folder.file('log', f'{log}.log'),
            self._log_offsets.get(log, 0),
        )

    # -- processes ----------------------------------------------------------

    def _start_process(
        self,
        process: state.CloudProcess,
        log: str,
        job: Job,
        number: int | None = None,
    ) -> int:
        """Run a function in a new process.

        :param number: The index of a service in the record.
        """
        self._log_offsets[log] = 0
        with contextlib.suppress(OSError):
            self._log_offsets[log] = os.path.getsize(
                self.folder.file('log', f'{log}.log')
            )
        pid = self.spawn(process, log, job, number)
        process.pid = pid
        process.started = state.start_time(pid)
        process.state = state.STARTING
        return pid

    def spawn(
        self,
        process: state.CloudProcess,
        log: str,
        job: Job,
        number: int | None,
    ) -> int:
        """Start a process that runs a function; return its ID."""
        sys.stdout.flush()
        sys.stderr.flush()
        # Signals to the child must not call the handlers of the supervisor.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        pid = os.fork()
        if not pid:
            self._run_child(process, log, job, number)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        return pid

    def _run_child(
        self,
        process: state.CloudProcess,
        log: str,
        job: Job,
        number: int | None,
    ) -> typing.NoReturn:
        def run(ready: reporting.Ready) -> None:
            self._become_child(process, log)
            job(ready)

        reporting.run(run, self.reports, number)

    def _become_child(self, process: state.CloudProcess, log: str) -> None:
        """Release what belongs to the supervisor."""
        # However the supervisor ends, the child ends with it.
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
        if self._binding is not None:
            os.close(self._binding)
        self._end_progress()
        for name, sock in self.sockets.items():
            if name != process.name:
                sock.close()
        descriptor = self.open_log(log)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        os.close(descriptor)
        gc.enable()

    def open_log(self, log: str) -> int:
        """Return a descriptor of a log."""
        return trusted_files.open_private(
            self.folder.file('log', f'{log}.log'), os.O_WRONLY | os.O_APPEND
        )

    # -- events -------------------------------------------------------------

    def _on_signal(self, number: int, frame: object) -> None:
        if number == signal.SIGHUP:
            self._restart_requested = True
        elif number != signal.SIGCHLD:
            self._stop_requested = True

    def wait(
        self,
        condition: collections.abc.Callable[[], bool],
        deadline: float | None = None,
    ) -> None:
        """Handle events until a condition holds.

        :raises RehearsalError: The deadline has passed.
        """
        while not condition():
            if deadline is not None and time.monotonic() > deadline:
                starting = [
                    service.title
                    for service in self.record.services
                    if service.state == state.STARTING
                ]
                raise exceptions.RehearsalError(
                    f'Not ready in time: {", ".join(starting)}'
                )
            self._handle_events(deadline)

    def _handle_events(self, deadline: float | None) -> None:
        """Wait for events and handle them.

        :raises _Stopped: The cloud has to stop.
        """
        if self._stop_requested:
            raise _Stopped
        self._select(deadline)
        if self._proof is not None:
            supervisor_socket.answer(self._proof)
        self._read_wakeups()
        self._update_record()
        if self._stop_requested:
            raise _Stopped
        if (
            self._restart_requested
            and self.record.supervisor.state == state.READY
        ):
            self._restart_requested = False
            self._restart()

    def _select(self, deadline: float | None) -> None:
        timeout = (
            None
            if deadline is None
            else max(0.0, deadline - time.monotonic()) + 0.1
        )
        sources: list[typing.Any] = [
            source
            for source in (
                self._reports,
                self._wakeups,
                self._proof,
                self._binding,
            )
            if source is not None
        ]
        readable = select.select(sources, [], [], timeout)[0]
        if self._binding in readable:
            self.say('the process that the cloud is bound to has ended')
            raise _Stopped

    def _read_wakeups(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._wakeups, 4096)

    def _update_record(self) -> None:
        """Record what the services reported, and which have ended."""
        # Before reading reports: all reports of an ended service are there.
        ended = _ended_children()
        changed = bool(ended)
        for number, new_state, message in self._read_reports():
            if number is not None:
                service = self.record.services[number]
                self._set_state(service, new_state, message)
                changed = True
        for pid, status in ended:
            if pid in self._helpers:
                self._helpers[pid] = (self._helpers[pid][0], status)
                continue
            for service in self.record.services:
                if service.pid == pid:
                    self._set_ended(service, status)
        if changed:
            self.save()

    def _read_reports(self) -> list[tuple[int | None, str, str]]:
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self._reports, 65536):
                self._incomplete_report += data
        *lines, self._incomplete_report = self._incomplete_report.split(b'\n')
        return [tuple(json.loads(line)) for line in lines]

    def _set_ended(self, service: state.CloudProcess, status: int) -> None:
        message = service.message or self._last_error(service.log_name)
        if not message:
            message = (
                f'ended by signal {-status}'
                if status < 0
                else f'ended with status {status}'
            )
        service.pid = service.started = None
        self._set_state(
            service,
            state.ENDED if service.state == state.READY else state.REFUSED,
            message,
        )

    def _set_state(
        self, service: state.CloudProcess, new_state: str, message: str
    ) -> None:
        if service.state == new_state:
            return
        service.state = new_state
        service.message = message
        if new_state == state.READY:
            self.say(f'{service.title} is ready')
        else:
            self.say(f'{service.title}: {new_state}: {message}')

    # -- restarts -----------------------------------------------------------

    def _restart(self) -> None:
        """Restart the service that a client has requested in a file."""
        path = self.folder.file(state.RESTART)
        try:
            name, host = self.folder.load(state.RESTART)
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
            for service in self.record.services
            if (service.name, service.host) == (name, host)
        )
        # The client waits until the file is gone, then for another state.
        service.state = state.STARTING
        self.save()
        os.unlink(path)
        self.say(f'restarting {service.title}')
        self._end([service])
        service.state = state.STARTING
        service.message = ''
        self.save()
        if name in self.sockets:
            self.listen([name])
            service.port = self.sockets[name].getsockname()[1]
        try:
            self.start_service(name, job, host)
        except exceptions.RehearsalError as exc:
            self._set_state(service, state.REFUSED, str(exc))
            self.save()

    # -- the end ------------------------------------------------------------

    def _stop(self) -> None:
        self.say('stopping')
        for services in self.stages():
            self._end(services)
        for pid, (_name, status) in self._helpers.items():
            if status is None:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)

    def _end(self, services: list[state.CloudProcess]) -> None:
        """End services: by SIGTERM, and after some time by SIGKILL."""
        running = {
            service.pid: service
            for service in services
            if service.pid is not None
        }
        _send_signal(running, signal.SIGTERM)
        self._wait_for_end(running, time.monotonic() + _GRACE)
        _send_signal(running, signal.SIGKILL)
        self._wait_for_end(running, None)

    def _wait_for_end(
        self,
        running: dict[int, state.CloudProcess],
        deadline: float | None,
    ) -> None:
        """Wait for processes, and remove those that have ended."""
        while running:
            timeout = 0.1
            if deadline is not None:
                timeout = deadline - time.monotonic()
                if timeout <= 0:
                    return
            select.select([self._wakeups], [], [], timeout)
            self._read_wakeups()
            for pid in list(running):
                if os.waitpid(pid, os.WNOHANG)[0]:
                    service = running.pop(pid)
                    service.pid = service.started = None
                    service.state = state.STOPPED
                    service.message = ''


def _send_signal(
    pids: collections.abc.Iterable[int], number: signal.Signals
) -> None:
    for pid in pids:
        os.kill(pid, number)


def _ended_children() -> list[tuple[int, int]]:
    """Return the IDs and exit statuses of children that have ended."""
    ended = []
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                break
            ended.append((pid, os.waitstatus_to_exitcode(status)))
    return ended
