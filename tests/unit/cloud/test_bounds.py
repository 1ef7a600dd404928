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

import collections.abc
import gzip
import http.server
import threading
import typing
import unittest.mock

from keystoneauth1 import adapter
from keystoneauth1 import session
from keystoneauth1 import token_endpoint
import requests_mock
import testtools

from gpuclient.cloud import bounds
from gpuclient.cloud import request
from gpuclient import exceptions


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.answer(self)  # type: ignore[attr-defined]

    def log_message(self, *_arguments: object) -> None:
        """Log nothing."""


class TestSlowAndLarge(testtools.TestCase):
    """Responses that must not be read to their end."""

    def serve(
        self, answer: collections.abc.Callable[[typing.Any], None]
    ) -> adapter.Adapter:
        server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), _Handler)
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        server.daemon_threads = True
        server.answer = answer  # type: ignore[attr-defined]
        threading.Thread(
            target=server.serve_forever, args=(0.01,), daemon=True
        ).start()
        return adapter.Adapter(
            session.Session(),
            endpoint_override=f'http://127.0.0.1:{server.server_port}',
        )

    def send(self, service: adapter.Adapter) -> typing.Any:
        return request.send(service, 'GET', '/', 'reading it')

    def test_slow_response(self) -> None:
        """Each part arrives in time, but the last one never does."""
        gone = threading.Event()
        self.addCleanup(gone.set)

        def answer(handler: typing.Any) -> None:
            handler.send_response(200)
            handler.send_header('Content-Length', '99999')
            handler.end_headers()
            while not gone.wait(0.01):
                try:
                    handler.wfile.write(b' ')
                except OSError:
                    return

        service = self.serve(answer)
        request.set_patience(service.session, request.Patience.of(0.2))
        with unittest.mock.patch.object(bounds, '_SLOWEST', 1e6):
            error = self.assertRaises(
                exceptions.Unreachable, self.send, service
            )
        self.assertIn('timed out', str(error))

    def answer_packed(self, status: int) -> adapter.Adapter:
        packed = gzip.compress(b'"' + b'a' * 2**22 + b'"')

        def answer(handler: typing.Any) -> None:
            handler.send_response(status)
            handler.send_header('Content-Encoding', 'gzip')
            handler.send_header('Content-Length', str(len(packed)))
            handler.end_headers()
            handler.wfile.write(packed)

        return self.serve(answer)

    def test_compressed_response_is_too_large(self) -> None:
        service = self.answer_packed(200)
        self.assertEqual(2**22 + 2, len(self.send(service).content))
        with unittest.mock.patch.object(bounds, 'LARGEST', 2**20):
            error = self.assertRaises(
                exceptions.CloudError, self.send, service
            )
        self.assertIn('is larger than 1 MiB', str(error))

    def test_error_response_is_too_large(self) -> None:
        """The limit depends on the status."""
        error = self.assertRaises(
            exceptions.Forbidden, self.send, self.answer_packed(403)
        )
        self.assertEqual('reading it failed: HTTP 403 Forbidden', str(error))


class TestRedirects(testtools.TestCase):
    """A token is only sent to the server in the catalog."""

    ENDPOINT = 'http://nova:8774/v2.1'

    def setUp(self) -> None:
        super().setUp()
        self.mock = self.enterContext(requests_mock.Mocker())

    def send(self, location: str, endpoint: str = ENDPOINT) -> typing.Any:
        self.mock.get(requests_mock.ANY, json={})
        self.mock.get(
            f'{endpoint}/asked',
            status_code=302,
            headers={'Location': location},
        )
        auth = token_endpoint.Token(endpoint, 'a-token')
        service = adapter.Adapter(
            session.Session(auth=auth), endpoint_override=endpoint
        )
        return request.send(service, 'GET', '/asked', 'asking')

    def test_the_same_server(self) -> None:
        for location in (
            'http://nova:8774/v2.1/',
            'http://NOVA:8774/other',
            'https://nova/v2.1/',
        ):
            self.mock.reset_mock()
            self.assertEqual(200, self.send(location).status_code)
            self.assertEqual(2, self.mock.call_count)
            headers = self.mock.last_request.headers
            self.assertEqual('a-token', headers['X-Auth-Token'])

    def test_another_server(self) -> None:
        for location in (
            'http://other:8774/v2.1',
            'http://nova:8775/v2.1',
            '//other/v2.1',
            'http://nova:word@other/v2.1',
            'http://[nova',
            'http://nova:99999/',
        ):
            self.mock.reset_mock()
            error = self.assertRaises(
                exceptions.CloudError, self.send, location
            )
            self.assertIn('redirects to', str(error))
            self.assertNotIn('word', str(error))
            self.assertEqual(1, self.mock.call_count)

    def test_without_tls(self) -> None:
        self.assertRaises(
            exceptions.CloudError, self.send, 'http://nova/', 'https://nova'
        )
