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
"""Start processes of Nova: of the installed one, or of an overlay.

Those of the installed Nova are forked from the supervisor. Those of an overlay
are forked from a worker, a program that has imported that Nova
(:mod:`gpuclient.rehearsal.nova_worker`).
"""

import collections.abc
import dataclasses
import json
import os
import select
import socket
import sys
import typing

from gpuclient import exceptions
from gpuclient.rehearsal import nova_overlay
from gpuclient.rehearsal.nova_worker import adapters
from gpuclient.rehearsal.nova_worker import jobs
from gpuclient.rehearsal.nova_worker import reporting

#: Seconds in which a worker forks a process.
_TIMEOUT = 60


@dataclasses.dataclass(frozen=True)
class NovaJob:
    """A job for a process of Nova."""

    values: jobs.Job
    #: The version of the Nova that runs it.
    version: str
    #: The listening socket of each service that has one, and the one to use.
    sockets: dict[str, socket.socket] = dataclasses.field(default_factory=dict)
    socket_name: str | None = None

    @property
    def socket(self) -> 'socket.socket | None':
        if self.socket_name is None:
            return None
        return self.sockets[self.socket_name]

    def __call__(self, ready: reporting.Ready) -> None:
        """Run the job in this process, with the installed Nova."""
        jobs.run(
            self.values, adapters.adapter(self.version), ready, self.socket
        )


class NovaWorker:
    """A program that has imported a Nova and forks its processes.

    :param overlay: The Nova.
    :param reports: The pipe for reports of processes.
    :param inherited: Other descriptors that it and its processes keep open.
    """

    def __init__(
        self,
        overlay: nova_overlay.NovaOverlay,
        reports: int,
        inherited: collections.abc.Iterable[int] = (),
    ) -> None:
        self._overlay = overlay
        self._reports = reports
        self._inherited = tuple(inherited)
        # Messages of it are received whole.
        self._socket, self._other = socket.socketpair(
            socket.AF_UNIX, socket.SOCK_SEQPACKET
        )
        self._ready = False

    def execute(self, _ready: reporting.Ready) -> typing.NoReturn:
        """Become the program; called in a process that was forked for it."""
        path = os.environ.get('PYTHONPATH')
        environment = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith('OS_')
        }
        environment['PYTHONPATH'] = os.pathsep.join(
            [os.fspath(self._overlay.path), *([path] if path else [])]
        )
        for descriptor in (
            self._other.fileno(),
            self._reports,
            *self._inherited,
        ):
            os.set_inheritable(descriptor, True)
        os.execve(  # noqa: S606 - a fixed program
            sys.executable,
            [
                *(sys.executable, '-P', '-m'),
                'gpuclient.rehearsal.nova_worker',
                str(self._other.fileno()),
                str(self._reports),
            ],
            environment,
        )

    def started(self) -> None:
        """Close what only the program needs; called once it runs."""
        self._other.close()

    def close(self) -> None:
        """Let the program end."""
        self._socket.close()

    def is_ready(self) -> bool:
        """Return whether it has imported Nova."""
        if not self._ready and select.select([self._socket], [], [], 0)[0]:
            self._ready = self._socket.recv(16) == b'ready'
        return self._ready

    def spawn(self, job: NovaJob, number: int | None, log: int) -> int:
        """Start the process of a job, and return its ID.

        :param number: The number of the service in the record of the cloud.
        :param log: A descriptor of its log.
        :raises RehearsalError: The program does not run any more.
        """
        # Its size has no limit, unlike that of a message.
        file = os.memfd_create('job')
        try:
            with open(file, 'w', encoding='utf-8', closefd=False) as stream:
                json.dump({**job.values, 'number': number}, stream)
            os.lseek(file, 0, os.SEEK_SET)
            descriptors = [file, log]
            if job.socket is not None:
                descriptors.append(job.socket.fileno())
            return self._request(descriptors)
        finally:
            os.close(file)

    def _request(self, descriptors: list[int]) -> int:
        reply = b''
        try:
            socket.send_fds(self._socket, [b'job'], descriptors)
            if select.select([self._socket], [], [], _TIMEOUT)[0]:
                reply = self._socket.recv(16)
        except OSError:
            # It has ended.
            pass
        if not reply:
            raise exceptions.RehearsalError(
                f'The process that starts those of Nova '
                f'{self._overlay.version} has ended or does not answer'
            )
        return int(reply)
