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
"""Import Nova once, and fork a process for each job.

The supervisor of a cloud runs this program with a release of Nova that is not
installed first on its path: ``python -P -m ... SOCKET PIPE``. Each message on
SOCKET is a request: the descriptors of a file with the job, of the log, and
of the listening socket where the job has one. The reply is the ID of the
process of the job. PIPE is for the reports of all processes.

The process of a job is a child of the supervisor, not of this program: the
process between them ends at once, and the supervisor has asked the kernel for
the orphans below it (PR_SET_CHILD_SUBREAPER).
"""

import array
import ctypes
import importlib.metadata
import json
import os
import signal
import socket
import sys
import typing

# What the standard library is before eventlet patches it.
import _socket

from gpuclient.rehearsal.nova_worker import adapters

# These, too.
_FORK, _READ, _WAITPID, _WRITE = os.fork, os.read, os.waitpid, os.write

_PR_SET_PDEATHSIG = 1
#: Most descriptors of a request.
_MOST = 3


def main() -> None:
    supervisor = os.getppid()
    control = _socket.socket(fileno=int(sys.argv[1]))
    pipe = int(sys.argv[2])
    adapter = adapters.adapter(importlib.metadata.version('nova'))
    adapter.patch()
    _import_all()
    control.send(b'ready')
    # Wakes the supervisor.
    _WRITE(pipe, b'[null, "ready", ""]\n')
    while descriptors := _receive(control):
        control.send(
            str(
                _start(descriptors, supervisor, control, pipe, adapter)
            ).encode()
        )
        for descriptor in descriptors:
            os.close(descriptor)


def _import_all() -> None:
    from gpuclient.rehearsal.nova_worker import compat

    compat.install()
    import stevedore

    from gpuclient.rehearsal.nova_worker import jobs
    from gpuclient.rehearsal.nova_worker import sqlite

    sqlite.install()
    # Reads all entry points once instead of in each service.
    stevedore.ExtensionManager('oslo.policy.rule_checks')
    jobs.import_modules()
    jobs.freeze()


def _receive(control: _socket.socket) -> list[int]:
    """Return the descriptors of the next request; none at the end."""
    descriptors = array.array('i')
    _data, messages, _flags, _address = control.recvmsg(
        16, socket.CMSG_LEN(_MOST * descriptors.itemsize)
    )
    for level, kind, data in messages:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            descriptors.frombytes(data)
    return list(descriptors)


def _start(
    descriptors: list[int],
    supervisor: int,
    control: _socket.socket,
    pipe: int,
    adapter: adapters.Threads,
) -> int:
    """Start the process of a job, and return its ID."""
    reader, writer = os.pipe()
    between = _FORK()
    if not between:
        between = os.getpid()
        child = _FORK()
        if child:
            _WRITE(writer, str(child).encode())
            os._exit(0)
        os.close(reader)
        os.close(writer)
        control.close()
        _become_child_of(supervisor, between)
        _run(descriptors, pipe, adapter)
    os.close(writer)
    _WAITPID(between, 0)
    pid = int(_READ(reader, 16))
    os.close(reader)
    return pid


def _become_child_of(supervisor: int, between: int) -> None:
    """Wait until the process between has ended; end with the supervisor."""
    while os.getppid() == between:
        os.sched_yield()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != supervisor:
        os._exit(1)


def _run(
    descriptors: list[int], pipe: int, adapter: adapters.Threads
) -> typing.NoReturn:
    """Run a job in this process."""
    from gpuclient.rehearsal.nova_worker import jobs
    from gpuclient.rehearsal.nova_worker import reporting

    job_file, log, *listening = descriptors
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    with open(job_file, 'rb') as stream:
        job = json.load(stream)
    sock = socket.socket(fileno=listening[0]) if listening else None
    reporting.run(
        lambda ready: jobs.run(job, adapter, ready, sock),
        pipe,
        job['number'],
    )


if __name__ == '__main__':
    main()
