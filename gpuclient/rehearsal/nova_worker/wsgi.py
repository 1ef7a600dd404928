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
"""Serve WSGI applications on sockets that listen already."""

import collections.abc
import os
import signal
import socket
import threading
import typing

from gpuclient.rehearsal.nova_worker import reporting

#: Threads of an HTTP server.
_THREADS = 8

Application: typing.TypeAlias = collections.abc.Callable[..., typing.Any]


def serve(
    application: Application, sock: socket.socket, ready: reporting.Ready
) -> None:
    """Serve an application with threads until SIGTERM."""
    from cheroot import wsgi

    _answer_at_once(sock)

    class BoundServer(wsgi.Server):
        def bind(self, *args: typing.Any) -> socket.socket:
            self.socket = sock
            return sock

    server = BoundServer(
        sock.getsockname(), application, numthreads=_THREADS, timeout=60
    )
    server.shutdown_timeout = 1
    server.prepare()

    def stop(*_args: object) -> None:
        threading.Thread(target=server.stop, daemon=True).start()

    signal.signal(signal.SIGTERM, stop)
    ready()
    server.serve()


def serve_with_eventlet(
    application: Application, sock: socket.socket, ready: reporting.Ready
) -> None:
    """Serve an application with green threads until SIGTERM."""
    import eventlet.wsgi

    _answer_at_once(sock)

    def stop(*_args: object) -> None:
        os._exit(0)

    signal.signal(signal.SIGTERM, stop)
    ready()
    eventlet.wsgi.server(
        sock, application, log_output=False, socket_timeout=60
    )


def _answer_at_once(sock: socket.socket) -> None:
    """Do not let a response wait for an acknowledgement.

    Connections inherit it; cheroot sets it for sockets of its own only.
    """
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
