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

"""Services that accept connections and never respond."""

import http.server
import json
import socket
import threading
import time
import typing

import fixtures
from keystoneauth1 import adapter
from keystoneauth1 import session
from openstack import connection
import testtools

from gpuclient.cloud import request
from gpuclient.documents import catalogue
from gpuclient import exceptions
from gpuclient.model import release
from gpuclient.operations import gpu_check
from gpuclient.rules import check_result

_PATIENCE = request.Patience.of(0.1)


def _listen(test: testtools.TestCase) -> tuple[socket.socket, str]:
    """Return a listener that never accepts, and its URL."""
    listener = socket.create_server(('127.0.0.1', 0), backlog=128)
    test.addCleanup(listener.close)
    return listener, f'http://127.0.0.1:{listener.getsockname()[1]}'


class _Keystone(http.server.BaseHTTPRequestHandler):
    """Issues tokens with the catalog of the server."""

    def _respond(self, status: int, content: typing.Any) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header('Content-Type', 'application/json')
        self.send_header('Content-Length', str(len(body)))
        self.send_header('X-Subject-Token', 'token')
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        address = f'http://127.0.0.1:{self.server.server_address[1]}/v3/'
        self._respond(
            200 if self.path.rstrip('/') == '/v3' else 403,
            {
                'version': {
                    'id': 'v3.14',
                    'status': 'stable',
                    'links': [{'rel': 'self', 'href': address}],
                }
            },
        )

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers['Content-Length']))
        server: typing.Any = self.server
        address = f'http://127.0.0.1:{server.server_address[1]}/v3'
        self._respond(
            201,
            {
                'token': {
                    'expires_at': '2099-01-01T00:00:00.000000Z',
                    'issued_at': '2026-01-01T00:00:00.000000Z',
                    'methods': ['password'],
                    'user': {
                        'id': 'u',
                        'name': 'u',
                        'domain': {'id': 'd', 'name': 'd'},
                    },
                    'catalog': [
                        {
                            'type': name,
                            'id': name,
                            'name': name,
                            'endpoints': [
                                {
                                    'interface': 'public',
                                    'region': 'r',
                                    'region_id': 'r',
                                    'id': name,
                                    'url': url,
                                }
                            ],
                        }
                        for name, url in {
                            'identity': address,
                            **server.services,
                        }.items()
                    ],
                }
            },
        )

    def log_message(self, *_arguments: object) -> None:
        pass


def _connect(
    test: testtools.TestCase, services: dict[str, str]
) -> connection.Connection:
    """Return a connection to a Keystone with a catalog."""
    server: typing.Any = http.server.ThreadingHTTPServer(
        ('127.0.0.1', 0), _Keystone
    )
    server.services = services
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    test.addCleanup(server.server_close)
    test.addCleanup(thread.join)
    test.addCleanup(server.shutdown)
    cloud = connection.Connection(
        auth={
            'auth_url': f'http://127.0.0.1:{server.server_address[1]}/v3',
            'username': 'u',
            'password': 'p',
            'user_domain_id': 'd',
            'project_id': 'p',
        },
        region_name='r',
    )
    test.addCleanup(cloud.close)
    request.set_patience(cloud.session, _PATIENCE)
    return cloud


class TestSilence(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.listener, self.url = _listen(self)
        self.session = session.Session()
        request.set_patience(self.session, _PATIENCE)
        self.service = adapter.Adapter(
            self.session, endpoint_override=self.url, service_type='compute'
        )

    def send(self, method: str = 'GET') -> float:
        """Send a request that fails, and return how long it took."""
        began = time.monotonic()
        self.assertRaises(
            exceptions.Unreachable,
            request.send,
            self.service,
            method,
            '/',
            'asking',
        )
        return time.monotonic() - began

    def test_later_requests_fail_at_once(self) -> None:
        times = [self.send() for _number in range(20)]
        self.assertLess(sum(times), 1.5)
        self.assertLess(max(times[-10:]), 0.09)

    def test_writes_that_may_undo_are_sent(self) -> None:
        for _number in range(5):
            self.send()
        self.assertGreater(self.send('DELETE'), 0.09)

    def test_next_command_sends_again(self) -> None:
        for _number in range(5):
            self.send()
        request.set_patience(self.session, _PATIENCE)
        self.assertGreater(self.send(), 0.09)

    def test_response_ends_it(self) -> None:
        self.send()

        def answer() -> None:
            self.listener.settimeout(5)
            response = b'HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n'
            for _number in range(10):
                try:
                    client, _address = self.listener.accept()
                    client.sendall(response)
                    client.close()
                except OSError:
                    return

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        request.set_patience(self.session, request.Patience.of(5))
        self.assertEqual(
            200,
            request.send(self.service, 'GET', '/', 'asking').status_code,
        )


class TestDiscovery(testtools.TestCase):
    """A service that does not respond is not one without versions."""

    def test_silent(self) -> None:
        logger = self.useFixture(fixtures.FakeLogger())
        _listener, url = _listen(self)
        cloud = _connect(self, {'placement': url})
        error = self.assertRaises(
            exceptions.Unreachable, self._discover, cloud
        )
        self.assertIn(
            f'asking failed: the placement service does not respond: {url} '
            f'does not respond within 0.1 seconds',
            str(error),
        )
        self.assertNotIn('Failed to contact', logger.output)

    def test_refused(self) -> None:
        listener, url = _listen(self)
        listener.close()
        cloud = _connect(self, {'placement': url})
        error = self.assertRaises(
            exceptions.Unreachable, self._discover, cloud
        )
        self.assertIn(f'{url} refuses connections', str(error))

    @staticmethod
    def _discover(cloud: connection.Connection) -> None:
        with request.library_errors('asking'):
            request.endpoint_data(cloud.placement, 'asking')


class TestCheck(testtools.TestCase):
    """``openstack gpu check`` where services do not respond."""

    def check(self, services: dict[str, str]) -> typing.Any:
        cloud = _connect(self, services)
        began = time.monotonic()
        answer = gpu_check.check(
            cloud,
            '',
            gpu_check.Sources(None),
            release.newest(),
            None,
            catalogue.load(),
            attempts=4,
        )
        # The silence of each is waited for once, 3 timeouts.
        self.assertLess(time.monotonic() - began, 2.5)
        self.assertEqual(
            {check_result.Result.SKIPPED},
            {row.result for row in answer.value},
        )
        return answer

    def test_silent(self) -> None:
        _nova, compute = _listen(self)
        _placement, placement = _listen(self)
        answer = self.check(
            {'compute': f'{compute}/v2.1', 'placement': placement}
        )
        text = '\n'.join(row.message for row in answer.value)
        self.assertIn('the placement service does not respond', text)
        self.assertIn('/v2.1/os-services timed out', text)
        self.assertNotIn('supported versions', text)
        self.assertNotEqual([], list(answer.failures))

    def test_refused(self) -> None:
        nova, compute = _listen(self)
        nova.close()
        self.check({'compute': f'{compute}/v2.1', 'placement': compute})
