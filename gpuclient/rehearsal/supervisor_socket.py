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

"""Prove which process is the supervisor of a state folder.

The supervisor listens on a socket in the folder. The kernel tells a client
which process listens, and the path at which the socket was bound. So neither
a record with another process nor a socket from another folder is accepted.
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
    """Listen as the supervisor of a folder; it holds the lock."""
    path = folder.file(SOCKET)
    with contextlib.suppress(FileNotFoundError):
        # Left by a supervisor that was killed.
        os.unlink(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.bind(path)
    os.chmod(path, 0o600)
    sock.setblocking(False)
    sock.listen(128)
    return sock


def answer(sock: socket.socket) -> None:
    """Accept and close connections: the kernel has told the clients."""
    with contextlib.suppress(BlockingIOError):
        while True:
            sock.accept()[0].close()


@contextlib.contextmanager
def supervisor(
    folder: state.StateFolder,
) -> collections.abc.Iterator[int | None]:
    """Yield a descriptor of the supervisor of a folder; None without one.

    The supervisor is the process in the record that listens in this folder.
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
    """Return whether a socket was bound in a folder."""
    if os.path.basename(name) != SOCKET:
        return False
    try:
        return os.path.samefile(os.path.dirname(name), folder.path)
    except (OSError, ValueError):
        return False


def end(descriptor: int, number: signal.Signals, timeout: float) -> bool:
    """Send a signal to a process and wait for its end.

    :returns: Whether it has ended.
    """
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(descriptor, number)
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(timeout * 1000))
