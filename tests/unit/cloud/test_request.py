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

import typing
import unittest.mock

from keystoneauth1 import adapter
from keystoneauth1 import discover
from keystoneauth1 import plugin
from keystoneauth1 import session
import requests
import requests_mock
import testtools

from gpuclient.cloud import request
from gpuclient import exceptions

URL = 'http://placement'


class _Shared(plugin.BaseAuthPlugin):
    """A token that another thread has just found to be expired.

    That thread discarded the token, so this one has nothing to discard,
    which keystoneauth treats as a final response
    (``keystoneauth1/session.py:Session.request``).
    """

    def __init__(self, *tokens: str) -> None:
        super().__init__()
        self._tokens = list(tokens)

    def get_token(self, session: object, **kwargs: object) -> str:
        return self._tokens.pop(0)

    def invalidate(self) -> bool:
        return False


class TestTokens(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.mock = self.enterContext(requests_mock.Mocker())
        # Retries do not wait.
        self.enterContext(unittest.mock.patch('time.sleep'))
        self.mock.get(URL, status_code=401)
        self.mock.get(
            URL, request_headers={'X-Auth-Token': 'new'}, json={'a': 1}
        )

    def read(self, *tokens: str) -> typing.Any:
        service = adapter.Adapter(
            session.Session(auth=_Shared(*tokens)), endpoint_override=URL
        )
        return request.get(service, '/', 'reading it', {'a': int})

    def test_new_token(self) -> None:
        self.assertEqual({'a': 1}, self.read('old', 'new'))
        self.assertEqual(2, self.mock.call_count)

    def test_no_right(self) -> None:
        error = self.assertRaises(
            exceptions.Unauthorized, self.read, 'old', 'old'
        )
        self.assertIn('reading it failed: HTTP 401', str(error))


class TestAnswers(testtools.TestCase):
    """Responses with status 200 that do not have the requested content."""

    def setUp(self) -> None:
        super().setUp()
        self.mock = self.enterContext(requests_mock.Mocker())
        # Retries do not wait.
        self.enterContext(unittest.mock.patch('time.sleep'))
        self.service = adapter.Adapter(
            session.Session(), endpoint_override=URL
        )

    def test_malformed_responses(self) -> None:
        for body, problem in (
            ('<html></html>', 'the response is not JSON'),
            ('[' * 100000, 'the response is not JSON'),
            ('[{}]', 'in the response, the body is a list, not an object'),
            ('null', 'in the response, the body is null, not an object'),
            ('{"b": 1}', 'in the response, a is missing'),
            ('{"a": "1"}', 'in the response, a is "1", not an integer'),
        ):
            self.mock.get(URL, text=body)
            error = self.assertRaises(
                exceptions.CloudError,
                request.get,
                self.service,
                '/',
                'asking',
                {'a': int},
            )
            self.assertEqual(
                (f'asking failed: {problem} (HTTP 200)', 200),
                (str(error), error.status),
            )

    def test_messages_of_a_server_are_printable(self) -> None:
        self.mock.get(
            URL,
            status_code=500,
            reason='\x1b[31mOops\nno',
            json={'error': {'message': 'a\x1b]0;x\x07b\nc\u202ed'}},
        )
        error = self.assertRaises(
            exceptions.CloudError,
            request.send,
            self.service,
            'GET',
            '/',
            'asking',
        )
        self.assertTrue(str(error).isprintable(), str(error))
        self.assertIn('\\x1b]0;x\\x07b c\\u202ed', str(error))


class TestErrorsOfLibraries(testtools.TestCase):
    def test_malformed_version_document(self) -> None:
        def read() -> None:
            with request.library_errors('reading the catalog'):
                discover.Discover(session.Session(), URL).version_data()

        mock = self.enterContext(requests_mock.Mocker())
        mock.get(URL, json={'versions': [7]})
        message = str(self.assertRaises(exceptions.Unreachable, read))
        self.assertEqual(
            'reading the catalog failed: its version document cannot be '
            'parsed',
            message,
        )

    def test_own_mistakes_are_raised(self) -> None:
        def read() -> None:
            with request.library_errors('reading the catalog'):
                raise AttributeError('own')

        self.assertRaises(AttributeError, read)


class TestRetries(testtools.TestCase):
    """Failures with and without a successful retry."""

    def setUp(self) -> None:
        super().setUp()
        self.mock = self.enterContext(requests_mock.Mocker())
        # Retries do not wait.
        self.enterContext(unittest.mock.patch('time.sleep'))
        self.service = adapter.Adapter(
            session.Session(), endpoint_override=URL
        )

    def send(self, method: str = 'GET') -> typing.Any:
        return request.send(self.service, method, '/', 'asking')

    def test_interrupted_response(self) -> None:
        broken = requests.exceptions.ChunkedEncodingError('broken off')
        self.mock.get(URL, [{'exc': broken}, {'json': {}}])
        self.assertEqual(200, self.send().status_code)
        self.mock.get(URL, exc=broken)
        error = self.assertRaises(exceptions.Unreachable, self.send)
        self.assertIn('broken off', str(error))
        self.assertEqual(2 + 1 + request.RETRIES, self.mock.call_count)

    def test_writes_are_sent_once(self) -> None:
        broken = requests.exceptions.ChunkedEncodingError('broken off')
        self.mock.put(URL, exc=broken)
        self.assertRaises(exceptions.Unreachable, self.send, 'PUT')
        self.assertEqual(1, self.mock.call_count)

    def test_unreasonable_retry_after_is_ignored(self) -> None:
        for pause in (
            '31536000',
            '-1',
            'Wed, 21 Oct 2037 07:28:00 GMT',
            '1e9',
        ):
            self.mock.get(
                URL,
                [
                    {'status_code': 503, 'headers': {'Retry-After': pause}},
                    {'json': {}},
                ],
            )
            self.assertEqual(200, self.send().status_code)

    def test_total(self) -> None:
        """The time for all requests ends before the next request."""
        request.set_patience(
            self.service.session, request.Patience(total=1e-9)
        )
        error = self.assertRaises(exceptions.Unreachable, self.send)
        self.assertIn('no response within 1e-09 seconds', str(error))
        self.assertEqual(0, self.mock.call_count)

    def test_each_wait_is_bounded(self) -> None:
        self.mock.get(URL, json={})
        self.send()
        self.assertEqual((10, 60), self.mock.last_request.timeout)
        request.set_patience(self.service.session, request.Patience.of(5))
        self.send()
        self.assertEqual((5, 5), self.mock.last_request.timeout)
        self.assertEqual((5, 5), self.service.session.timeout)

    def test_pending(self) -> None:
        """What has a response is waited for no longer."""
        pending: list[typing.Any] = []

        def answer(*_arguments: object) -> dict[str, str]:
            pending.append(request.oldest_pending())
            return {}

        self.mock.get(URL, json=answer)
        self.send()
        self.assertEqual(['asking'], [action for action, _since in pending])
        self.assertIsNone(request.oldest_pending())
        self.mock.put(URL, exc=requests.exceptions.ReadTimeout)
        self.assertRaises(exceptions.Unreachable, self.send, 'PUT')
        self.assertIsNone(request.oldest_pending())

    def test_retries_end_where_a_service_is_down(self) -> None:
        """Other reads of it are not retried, until it responds."""
        self.mock.get(URL, exc=requests.exceptions.ConnectionError)
        self.assertRaises(exceptions.Unreachable, self.send)
        self.assertEqual(1 + request.RETRIES, self.mock.call_count)
        self.assertRaises(exceptions.Unreachable, self.send)
        self.assertEqual(2 + request.RETRIES, self.mock.call_count)
        self.mock.get(URL, json={})
        self.send()
        self.mock.reset_mock()
        self.mock.get(URL, exc=requests.exceptions.ConnectionError)
        self.assertRaises(exceptions.Unreachable, self.send)
        self.assertEqual(1 + request.RETRIES, self.mock.call_count)

    def test_service_that_never_responds(self) -> None:
        """It takes about one timeout, not one for each attempt."""
        request.set_patience(self.service.session, request.Patience.of(0.01))
        self.mock.get(URL, exc=requests.exceptions.ReadTimeout)
        error = self.assertRaises(exceptions.Unreachable, self.send)
        self.assertIn('timed out', str(error))
        self.assertEqual(1, self.mock.call_count)
