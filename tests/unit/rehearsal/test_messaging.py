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

"""Nova's RPC over Unix sockets, through oslo.messaging's public interface."""

import os
import stat
import threading
import typing

import fixtures
from oslo_config import cfg
import oslo_messaging
from oslo_messaging._metrics import client as metrics
from oslo_messaging._tracing import client as tracing
import testtools

from gpuclient.rehearsal import messaging


class _Endpoint:
    """The methods of the servers in the tests."""

    target = oslo_messaging.Target(version='1.0')

    def __init__(self, name: str) -> None:
        self.name = name
        self.heard = threading.Event()
        self.go_on = threading.Event()

    def echo(self, ctxt: typing.Any, value: typing.Any) -> typing.Any:
        return [self.name, ctxt.get('who'), value]

    def fail(self, ctxt: typing.Any) -> None:
        raise ValueError('no card left')

    def hear(self, ctxt: typing.Any) -> None:
        self.heard.set()

    def wait(self, ctxt: typing.Any) -> str:
        self.heard.set()
        self.go_on.wait(30)
        return 'done'


class MessagingTestCase(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        # Longer than the longest address of a socket.
        self.folder = os.path.join(
            self.useFixture(fixtures.TempDir()).path, 'a folder ' * 20, 'rpc'
        )
        self.conf = cfg.ConfigOpts()
        self.conf([])
        # Clients read these options, which are registered for cfg.CONF only.
        self.conf.register_opts(
            metrics.oslo_messaging_metrics, group='oslo_messaging_metrics'
        )
        self.conf.register_opts(
            tracing.oslo_messaging_tracing, group='oslo_messaging_tracing'
        )

    def transport(self) -> typing.Any:
        transport = oslo_messaging.get_rpc_transport(
            self.conf,
            url=messaging.transport_url(self.folder),
            allowed_remote_exmods=['builtins'],
        )
        self.addCleanup(transport.cleanup)
        return transport

    def serve(self, name: str, topic: str = 'compute') -> _Endpoint:
        endpoint = _Endpoint(name)
        server = oslo_messaging.get_rpc_server(
            self.transport(),
            oslo_messaging.Target(topic=topic, server=name),
            [endpoint],
        )
        server.start()

        def stop() -> None:
            endpoint.go_on.set()
            server.stop()

        endpoint.stop = stop  # type: ignore[attr-defined]
        self.addCleanup(stop)
        return endpoint

    def client(
        self, server: str | None = None, **kwargs: typing.Any
    ) -> typing.Any:
        kwargs.setdefault('timeout', 30)
        return oslo_messaging.get_rpc_client(
            self.transport(),
            oslo_messaging.Target(
                topic='compute', server=server, version='1.0'
            ),
            **kwargs,
        )


class TestCalls(MessagingTestCase):
    def test_call_to_a_server(self) -> None:
        self.serve('gpu-1.' + 'long.' * 50 + 'example.com')
        self.serve('gpu-2')

        for value in (None, 'ü\n', [1, {'a': None}], 'x' * 3_000_000):
            self.assertEqual(
                ['gpu-2', 'me', value],
                self.client('gpu-2').call({'who': 'me'}, 'echo', value=value),
            )

    def test_call_to_a_topic_reaches_one_of_its_servers(self) -> None:
        self.serve('gpu-1')
        self.serve('gpu-2')
        self.serve('other', topic='other')
        client = self.client()

        names = {client.call({}, 'echo', value=1)[0] for _ in range(50)}

        self.assertEqual({'gpu-1', 'gpu-2'}, names)

    def test_fanout_reaches_every_server_of_a_topic(self) -> None:
        endpoints = [self.serve('gpu-1'), self.serve('gpu-2')]
        other = self.serve('other', topic='other')

        self.client().prepare(fanout=True).cast({}, 'hear')

        for endpoint in endpoints:
            self.assertTrue(endpoint.heard.wait(30))
        self.assertFalse(other.heard.is_set())

    def test_cast(self) -> None:
        endpoint = self.serve('gpu-1')

        self.assertIsNone(self.client('gpu-1').cast({}, 'hear'))

        self.assertTrue(endpoint.heard.wait(30))

    def test_exception_of_the_server(self) -> None:
        self.serve('gpu-1')

        raised = self.assertRaises(
            ValueError, self.client('gpu-1').call, {}, 'fail'
        )

        self.assertIn('no card left', str(raised))

    def test_calls_side_by_side(self) -> None:
        slow = self.serve('gpu-1')
        answers: list[typing.Any] = []
        client = self.client('gpu-1')
        thread = threading.Thread(
            daemon=True, target=lambda: answers.append(client.call({}, 'wait'))
        )
        thread.start()
        self.assertTrue(slow.heard.wait(30))

        self.assertEqual(['gpu-1', None, 1], client.call({}, 'echo', value=1))

        slow.go_on.set()
        thread.join(30)
        self.assertEqual(['done'], answers)

    def test_heartbeats_keep_a_long_call_alive(self) -> None:
        endpoint = self.serve('gpu-1')
        client = self.client('gpu-1', timeout=30, call_monitor_timeout=2)
        timer = threading.Timer(3, endpoint.go_on.set)
        timer.start()
        self.addCleanup(timer.cancel)

        self.assertEqual('done', client.call({}, 'wait'))


class TestServersThatAreNotThere(MessagingTestCase):
    def test_call_waits_for_the_server(self) -> None:
        answers: list[typing.Any] = []
        client = self.client('gpu-1')
        thread = threading.Thread(
            daemon=True,
            target=lambda: answers.append(client.call({}, 'echo', value=1)),
        )
        thread.start()

        self.serve('gpu-1')

        thread.join(30)
        self.assertEqual([['gpu-1', None, 1]], answers)

    def test_call_gives_up_in_time(self) -> None:
        client = self.client('gpu-1', timeout=0.1)

        raised = self.assertRaises(
            oslo_messaging.MessagingTimeout, client.call, {}, 'echo', value=1
        )

        self.assertEqual(
            'No reply on topic compute: no server listens', str(raised)
        )

    def test_no_answer_in_time(self) -> None:
        self.serve('gpu-1')
        client = self.client('gpu-1', timeout=0.1)

        raised = self.assertRaises(
            oslo_messaging.MessagingTimeout, client.call, {}, 'wait'
        )

        self.assertEqual('No reply on topic compute', str(raised))

    def test_cast_without_a_server(self) -> None:
        raised = self.assertRaises(
            oslo_messaging.MessageDeliveryFailure,
            self.client('gpu-1').cast,
            {},
            'hear',
        )

        self.assertEqual(
            'No server listens on topic compute, server gpu-1', str(raised)
        )

    def test_fanout_without_a_server(self) -> None:
        self.client().prepare(fanout=True).cast({}, 'hear')

    def test_server_that_was_killed(self) -> None:
        # The server is closed without removing its socket, as after a kill.
        sockets = messaging._Sockets(self.folder)
        sockets.bind('openstack', 'compute', 'gpu-1').close()
        client = self.client('gpu-1', timeout=0.1)
        self.assertRaises(
            oslo_messaging.MessagingTimeout, client.call, {}, 'echo', value=1
        )

        self.serve('gpu-1')

        self.assertEqual(
            ['gpu-1', None, 1],
            self.client('gpu-1').call({}, 'echo', value=1),
        )

    def test_server_that_ends_before_it_answers(self) -> None:
        sockets = messaging._Sockets(self.folder)
        listening = sockets.bind('openstack', 'compute', 'gpu-1')

        def take_and_end() -> None:
            connection, _address = listening.accept()
            connection.recv(1)
            connection.close()

        thread = threading.Thread(target=take_and_end, daemon=True)
        thread.start()
        raised = self.assertRaises(
            oslo_messaging.MessagingTimeout,
            self.client('gpu-1').call,
            {},
            'wait',
        )
        thread.join(30)
        listening.close()

        self.assertEqual(
            'No reply on topic compute: the server has ended', str(raised)
        )

    def test_silent_caller_does_not_block_the_server(self) -> None:
        self.serve('gpu-1')
        sockets = messaging._Sockets(self.folder)
        (name,) = sockets.find('openstack', 'compute', 'gpu-1')
        connection = sockets.connect(name)
        assert connection is not None
        connection.close()

        self.assertEqual(
            ['gpu-1', None, 1],
            self.client('gpu-1').call({}, 'echo', value=1),
        )

    def test_stopped_server_listens_no_more(self) -> None:
        endpoint = self.serve('gpu-1')
        endpoint.stop()  # type: ignore[attr-defined]

        self.assertEqual([], os.listdir(self.folder))


class TestTheFolder(MessagingTestCase):
    def test_other_users_cannot_call(self) -> None:
        self.serve('gpu-1')

        mode = stat.S_IMODE(os.stat(self.folder).st_mode)

        self.assertEqual(0o700, mode)

    def test_url_without_a_folder(self) -> None:
        self.assertRaises(
            oslo_messaging.InvalidTransportURL,
            oslo_messaging.get_rpc_transport,
            self.conf,
            url='rehearsal://',
        )

    def test_url_survives_oslo_config(self) -> None:
        # A dollar sign would be a reference, a percent sign is not special.
        url = messaging.transport_url('/a $folder/100%/ü')

        self.assertNotIn('$', url)
        parsed = oslo_messaging.TransportURL.parse(self.conf, url)
        self.assertEqual('/a $folder/100%/ü', parsed.virtual_host)

    def test_no_notifications(self) -> None:
        transport = oslo_messaging.get_notification_transport(
            self.conf, url=messaging.transport_url(self.folder)
        )

        self.assertRaises(
            NotImplementedError,
            transport._driver.send_notification,
            oslo_messaging.Target(topic='notifications'),
            {},
            {},
            2.0,
        )
