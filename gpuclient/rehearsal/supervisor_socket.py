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

"""How a process proves that it is the supervisor of a folder.

It listens on a socket in the folder. The kernel tells who connects which
process that is, and by which name the socket was made: a record that names
another process, or a socket from another folder, proves nothing.
"""

import collections.abc
import contextlib
import os
import select
import signal
import socket
import struct

from gpuclient.rehearsal import state

#: The socket of the supervisor.
SOCKET = 'supervisor.sock'
#: Process, user and group (unix(7), SO_PEERCRED).
_CREDENTIALS = struct.Struct('3i')


def listen(folder: state.StateFolder) -> socket.socket:
    """Listen as the supervisor of a folder, of which it has the lock."""
    path = folder.file(SOCKET)
    with contextlib.suppress(FileNotFoundError):
        # Of one that was killed.
        os.unlink(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.bind(path)
    os.chmod(path, 0o600)
    sock.setblocking(False)
    sock.listen(128)
    return sock


def answer(sock: socket.socket) -> None:
    """Let go of who has connected: the kernel has told them all."""
    with contextlib.suppress(BlockingIOError):
        while True:
            sock.accept()[0].close()


@contextlib.contextmanager
def supervisor(
    folder: state.StateFolder,
) -> collections.abc.Iterator[int | None]:
    """Give a descriptor of the supervisor of a folder, None without one.

    It is the process that the record names, still the same, and the one that
    listens in this folder.
    """
    recorded = folder.read().supervisor
    with state.handle(recorded) as descriptor:
        if descriptor is None or not _listens(folder, recorded.pid):
            yield None
        else:
            yield descriptor


def _listens(folder: state.StateFolder, pid: int | None) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.setblocking(False)
        try:
            sock.connect(folder.file(SOCKET))
        except OSError:
            return False
        peer, user, _group = _CREDENTIALS.unpack(
            sock.getsockopt(
                socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size
            )
        )
        return (
            (peer, user) == (pid, os.geteuid())
            and isinstance(sock.getpeername(), str)
            and _is_of(folder, sock.getpeername())
        )


def _is_of(folder: state.StateFolder, name: str) -> bool:
    """Return whether the name by which a socket was made is of a folder."""
    if os.path.basename(name) != SOCKET:
        return False
    try:
        return os.path.samefile(os.path.dirname(name), folder.path)
    except (OSError, ValueError):
        return False


def end(descriptor: int, number: signal.Signals, timeout: float) -> bool:
    """Send a signal to a process and wait for its end.

    :returns: Whether it is gone.
    """
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(descriptor, number)
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(timeout * 1000))
