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

"""RPC between the services of one machine, without a message broker.

A driver of oslo.messaging, as those for RabbitMQ and Kafka are, loaded by the
entry point ``rehearsal`` of ``oslo.messaging.drivers``. Each RPC server
listens on a Unix socket in a folder that only its owner can access, so other
users cannot send messages. Each message is one connection: the request, then
heartbeats and the reply if the caller waits for one.

In contrast to a broker, no queue outlives its server. A call waits for its
server until the timeout of the caller; a cast to a server that is not running
fails at once.
"""

import collections.abc
import contextlib
import errno
import hashlib
import logging
import multiprocessing.connection
import os
import pathlib
import random
import select
import socket
import struct
import threading
import time
import typing
import urllib.parse

import oslo_messaging
from oslo_messaging._drivers import base
from oslo_messaging._drivers import common
from oslo_serialization import jsonutils

LOG = logging.getLogger(__name__)

#: Seconds between two attempts to connect to a server.
_INTERVAL = 0.02
#: Seconds that a caller has to send its request after it has connected.
_REQUEST_TIMEOUT = 30
#: Connections that a server has not accepted yet.
_BACKLOG = 1024

_Json: typing.TypeAlias = dict[str, typing.Any]


def transport_url(folder: str) -> str:
    """Return the ``[DEFAULT]transport_url`` for the sockets of a folder."""
    return f'rehearsal:///{urllib.parse.quote(folder)}'


def _digest(*parts: str | None) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:24]


class _Sockets:
    """The folder with the sockets of the servers.

    The name of a socket has digests of the topic and the server, and the path
    has a descriptor of the folder: the address of a Unix socket has at most
    108 bytes (unix(7)).
    """

    def __init__(self, path: str) -> None:
        self._path = pathlib.Path(path)

    @contextlib.contextmanager
    def _address(self, name: str) -> collections.abc.Iterator[str]:
        folder = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            yield f'/proc/self/fd/{folder}/{name}'
        finally:
            os.close(folder)

    def bind(self, exchange: str, topic: str, server: str) -> socket.socket:
        self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
        name = self._name(exchange, topic, server)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with self._address(name) as address:
            # Left by a server that was killed.
            with contextlib.suppress(FileNotFoundError):
                os.unlink(address)
            sock.bind(address)
        sock.listen(_BACKLOG)
        return sock

    def unlink(self, exchange: str, topic: str, server: str) -> None:
        name = self._name(exchange, topic, server)
        with contextlib.suppress(FileNotFoundError):
            self._path.joinpath(name).unlink()

    def find(
        self, exchange: str, topic: str, server: str | None
    ) -> tuple[str, ...]:
        """Return the sockets of a server, or of all servers of a topic."""
        if server is not None:
            return (self._name(exchange, topic, server),)
        prefix = f'{_digest(exchange, topic)}-'
        try:
            names = os.listdir(self._path)
        except FileNotFoundError:
            return ()
        return tuple(name for name in names if name.startswith(prefix))

    def connect(
        self, name: str
    ) -> multiprocessing.connection.Connection | None:
        """Return a connection; None where no server listens."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with self._address(name) as address:
                sock.connect(address)
        except (FileNotFoundError, ConnectionRefusedError):
            sock.close()
            return None
        except BaseException:
            sock.close()
            raise
        return multiprocessing.connection.Connection(sock.detach())

    @staticmethod
    def _name(exchange: str, topic: str, server: str) -> str:
        return f'{_digest(exchange, topic)}-{_digest(server)}'


class _Incoming(base.RpcIncomingMessage):  # type: ignore[misc]
    """A request that a server has received."""

    def __init__(
        self, request: _Json, connection: multiprocessing.connection.Connection
    ) -> None:
        super().__init__(request['context'], request['message'])
        #: Seconds without a heartbeat after which the caller gives up.
        self.client_timeout = request['call_monitor_timeout']
        self._waits = request['waits']
        self._connection = connection
        # Heartbeats are sent by another thread.
        self._lock = threading.Lock()
        if not self._waits:
            connection.close()

    def acknowledge(self) -> None:
        """Do nothing: there is no queue."""

    def requeue(self) -> None:
        raise NotImplementedError

    def heartbeat(self) -> None:
        self._send({'heartbeat': True})

    def reply(
        self, reply: typing.Any = None, failure: typing.Any = None
    ) -> None:
        if not self._waits:
            return
        if failure is not None:
            failure = common.serialize_remote_exception(failure)
        self._send({'reply': reply, 'failure': failure})
        with self._lock:
            self._connection.close()

    def _send(self, reply: _Json) -> None:
        data = jsonutils.dump_as_bytes(reply)
        try:
            with self._lock:
                self._connection.send_bytes(data)
        except OSError as exc:
            LOG.warning('The caller has not waited for the reply: %s', exc)


class _Listener(base.PollStyleListener):  # type: ignore[misc]
    """The socket of one RPC server."""

    def __init__(
        self, sockets: _Sockets, exchange: str, topic: str, server: str
    ) -> None:
        super().__init__()
        self._sockets = sockets
        self._address = exchange, topic, server
        self._socket = sockets.bind(*self._address)
        self._socket.setblocking(False)
        self._wake_reader, self._wake_writer = os.pipe()

    @base.batch_poll_helper  # type: ignore[untyped-decorator]
    def poll(self, timeout: float | None = None) -> _Incoming | None:
        """Return the next request.

        None after ``timeout`` seconds, and when the server is stopped and has
        no more requests.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            left = (
                None
                if deadline is None
                else max(0.0, deadline - time.monotonic())
            )
            sources = [self._socket.fileno(), self._wake_reader]
            if not select.select(sources, [], [], left)[0]:
                return None
            try:
                sock = self._socket.accept()[0]
            except BlockingIOError:
                return None
            incoming = self._read(sock)
            if incoming is not None:
                return incoming

    @staticmethod
    def _read(sock: socket.socket) -> _Incoming | None:
        # A caller that sends nothing must not block the server.
        sock.setblocking(True)
        sock.setsockopt(
            socket.SOL_SOCKET,
            socket.SO_RCVTIMEO,
            struct.pack('ll', _REQUEST_TIMEOUT, 0),
        )
        connection = multiprocessing.connection.Connection(sock.detach())
        try:
            request = jsonutils.loads(connection.recv_bytes())
        except (EOFError, OSError) as exc:
            LOG.warning('A caller closed its connection early: %s', exc)
            connection.close()
            return None
        return _Incoming(request, connection)

    def stop(self) -> None:
        self._sockets.unlink(*self._address)
        os.write(self._wake_writer, b'.')

    def cleanup(self) -> None:
        self._sockets.unlink(*self._address)
        self._socket.close()
        os.close(self._wake_reader)
        os.close(self._wake_writer)


def _no_server(
    target: typing.Any, *, waits: bool
) -> oslo_messaging.MessagingException:
    """Return the error of a request for which no server listens."""
    if waits:
        return oslo_messaging.MessagingTimeout(
            f'No reply on topic {target.topic}: no server listens'
        )
    return oslo_messaging.MessageDeliveryFailure(
        f'No server listens on topic {target.topic}, server {target.server}'
    )


class RehearsalDriver(base.BaseDriver):  # type: ignore[misc]
    """The driver for ``transport_url = rehearsal:///FOLDER``."""

    def __init__(
        self,
        conf: typing.Any,
        url: typing.Any,
        default_exchange: str | None = None,
        allowed_remote_exmods: list[str] | None = None,
    ) -> None:
        super().__init__(conf, url, default_exchange, allowed_remote_exmods)
        if not url.virtual_host:
            raise oslo_messaging.InvalidTransportURL(
                str(url), 'it has no folder: use rehearsal:///FOLDER'
            )
        self._sockets = _Sockets(url.virtual_host)

    def send(
        self,
        target: typing.Any,
        ctxt: _Json,
        message: _Json,
        wait_for_reply: bool | None = None,
        timeout: float | None = None,
        call_monitor_timeout: float | None = None,
        retry: int | None = None,
        transport_options: typing.Any = None,
    ) -> typing.Any:
        """Send a request, and return the reply where the caller waits for it.

        :raises MessagingTimeout: The server did not listen or did not reply in
            time, or ended without a reply.
        :raises MessageDeliveryFailure: No server listens, and the caller does
            not wait.
        """
        request = jsonutils.dump_as_bytes(
            {
                'context': ctxt,
                'message': message,
                'waits': bool(wait_for_reply),
                'call_monitor_timeout': call_monitor_timeout,
            }
        )
        exchange = self._exchange(target)
        if target.fanout:
            self._send_to_all(exchange, target.topic, request)
            return None
        deadline = None if timeout is None else time.monotonic() + timeout
        connection = self._connect(
            exchange, target, deadline if wait_for_reply else 0
        )
        if connection is None:
            raise _no_server(target, waits=bool(wait_for_reply))
        with connection:
            try:
                connection.send_bytes(request)
            except OSError as exc:
                raise oslo_messaging.MessageDeliveryFailure(
                    f'Topic {target.topic}, server {target.server}: {exc}'
                ) from exc
            if not wait_for_reply:
                return None
            return self._wait(
                connection, target, deadline, call_monitor_timeout
            )

    def _send_to_all(self, exchange: str, topic: str, request: bytes) -> None:
        for name in self._sockets.find(exchange, topic, None):
            connection = self._sockets.connect(name)
            if connection is not None:
                with connection, contextlib.suppress(OSError):
                    connection.send_bytes(request)

    def _exchange(self, target: typing.Any) -> str:
        return target.exchange or self._default_exchange or ''

    def _connect(
        self, exchange: str, target: typing.Any, deadline: float | None
    ) -> multiprocessing.connection.Connection | None:
        while True:
            names = list(
                self._sockets.find(exchange, target.topic, target.server)
            )
            # Any server of a topic can handle the request.
            random.shuffle(names)
            for name in names:
                connection = self._try_to_connect(name)
                if connection is not None:
                    return connection
            if deadline is not None and time.monotonic() >= deadline:
                return None
            time.sleep(_INTERVAL)

    def _try_to_connect(
        self, name: str
    ) -> multiprocessing.connection.Connection | None:
        try:
            return self._sockets.connect(name)
        except OSError as exc:
            if exc.errno != errno.EAGAIN:
                raise
            # Its backlog is full.
            return None

    def _wait(
        self,
        connection: multiprocessing.connection.Connection,
        target: typing.Any,
        deadline: float | None,
        call_monitor_timeout: float | None,
    ) -> typing.Any:
        while True:
            limits = [
                limit
                for limit in (
                    None
                    if deadline is None
                    else max(0.0, deadline - time.monotonic()),
                    call_monitor_timeout,
                )
                if limit is not None
            ]
            if not connection.poll(min(limits) if limits else None):
                raise oslo_messaging.MessagingTimeout(
                    f'No reply on topic {target.topic}'
                )
            try:
                reply = jsonutils.loads(connection.recv_bytes())
            except (EOFError, OSError) as exc:
                raise oslo_messaging.MessagingTimeout(
                    f'No reply on topic {target.topic}: the server has ended'
                ) from exc
            if reply.get('heartbeat'):
                continue
            if reply['failure'] is not None:
                raise common.deserialize_remote_exception(
                    reply['failure'], self._allowed_remote_exmods
                )
            return reply['reply']

    def send_notification(
        self,
        target: typing.Any,
        ctxt: _Json,
        message: _Json,
        version: float,
        retry: int | None = None,
    ) -> None:
        raise NotImplementedError('this driver has no notifications')

    def listen(
        self,
        target: typing.Any,
        batch_size: int,
        batch_timeout: float | None,
    ) -> base.PollStyleListenerAdapter:
        listener = _Listener(
            self._sockets, self._exchange(target), target.topic, target.server
        )
        return base.PollStyleListenerAdapter(
            listener, batch_size, batch_timeout
        )

    def listen_for_notifications(
        self,
        targets_and_priorities: typing.Any,
        pool: str | None,
        batch_size: int,
        batch_timeout: float | None,
    ) -> typing.NoReturn:
        raise NotImplementedError('this driver has no notifications')

    def cleanup(self) -> None:
        """Do nothing: no connection is kept open."""
