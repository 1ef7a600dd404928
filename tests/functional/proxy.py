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

"""Programs between a client and a service: a balancer and a faulty proxy."""

import collections.abc
import dataclasses
import http.client
import http.server
import itertools
import socket
import sys
import threading
import typing

_HOP_BY_HOP = {
    'connection',
    'keep-alive',
    'transfer-encoding',
    'date',
    'server',
}


class Balancer:
    """A TCP balancer: each connection goes to the next port in turn.

    A context manager; ``port`` is where it listens.
    """

    def __init__(self, ports: collections.abc.Sequence[int]) -> None:
        self._turns = itertools.cycle(ports)
        self._listener = socket.create_server(('127.0.0.1', 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> 'Balancer':
        return self

    def __exit__(self, *_exc: object) -> None:
        # This wakes up accept(); close() alone does not.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _address = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(('127.0.0.1', next(self._turns)))
            for source, target in ((client, server), (server, client)):
                threading.Thread(
                    target=_copy, args=(source, target), daemon=True
                ).start()


def _copy(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


@dataclasses.dataclass(frozen=True)
class Request:
    """A request as it was sent."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclasses.dataclass(frozen=True)
class Answer:
    """A response that replaces that of the service."""

    status: int
    body: str = ''
    content_type: str = 'application/json'


#: Hang until the client has disconnected.
HANG = Answer(0)
#: Close the connection without a response.
DROP = Answer(0, 'drop')
#: Close the connection in the middle of the service's response.
CUT = Answer(0, 'cut')

Rule: typing.TypeAlias = collections.abc.Callable[[Request], Answer | None]


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(
        self, request: typing.Any, client_address: typing.Any
    ) -> None:
        """Print no traceback for a client that has disconnected."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class Proxy:
    """An HTTP proxy in front of a service that records and replaces responses.

    A context manager; ``url`` replaces the address of the service.

    :param url: Address of the service.
    :param rule: Returns a response that replaces the service's, or None.
    """

    def __init__(self, url: str, rule: Rule = lambda request: None) -> None:
        scheme, _slashes, rest = url.partition('://')
        assert scheme == 'http'
        address, slash, path = rest.partition('/')
        self._address = address
        self.rule = rule
        self.requests: list[Request] = []
        self._server = _Server(('127.0.0.1', 0), self._handler())
        self._closed = threading.Event()
        self.url = (
            f'http://127.0.0.1:{self._server.server_address[1]}{slash}{path}'
        )
        threading.Thread(
            target=self._server.serve_forever, args=(0.05,), daemon=True
        ).start()

    def __enter__(self) -> 'Proxy':
        return self

    def __exit__(self, *_exc: object) -> None:
        self._closed.set()
        self._server.shutdown()
        self._server.server_close()

    def paths(self, method: str = 'GET') -> list[str]:
        """Return the requested paths, without their queries."""
        return [
            request.path.partition('?')[0]
            for request in self.requests
            if request.method == method
        ]

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = 'HTTP/1.1'

            def _serve(self) -> None:
                length = int(self.headers.get('content-length') or 0)
                request = Request(
                    self.command,
                    self.path,
                    {
                        key.lower(): value
                        for key, value in self.headers.items()
                    },
                    self.rfile.read(length),
                )
                proxy.requests.append(request)
                answer = proxy.rule(request)
                if answer is HANG:
                    proxy._closed.wait()
                    self.close_connection = True
                elif answer is DROP:
                    self.close_connection = True
                elif answer is CUT:
                    self._forward(request, cut=True)
                elif answer is not None:
                    self._send(
                        answer.status,
                        {'Content-Type': answer.content_type},
                        answer.body.encode(),
                    )
                else:
                    self._forward(request)

            do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = _serve

            def _forward(self, request: Request, cut: bool = False) -> None:
                upstream = http.client.HTTPConnection(
                    proxy._address, timeout=60
                )
                try:
                    upstream.request(
                        request.method,
                        request.path,
                        request.body or None,
                        {
                            key: value
                            for key, value in request.headers.items()
                            if key not in _HOP_BY_HOP
                        },
                    )
                    response = upstream.getresponse()
                    self._send(
                        response.status,
                        dict(response.getheaders()),
                        response.read(),
                        cut,
                    )
                finally:
                    upstream.close()

            def _send(
                self,
                status: int,
                headers: dict[str, str],
                body: bytes,
                cut: bool = False,
            ) -> None:
                self.send_response(status)
                for key, value in headers.items():
                    if key.lower() not in {*_HOP_BY_HOP, 'content-length'}:
                        self.send_header(key, value)
                self.send_header('Content-Length', str(len(body)))
                self.end_headers()
                if cut:
                    body = body[: len(body) // 2]
                    self.close_connection = True
                if self.command != 'HEAD':
                    self.wfile.write(body)

            def log_message(self, *_arguments: object) -> None:
                pass

        return Handler
