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

"""Files of snapshots: what is written is read, and others are refused."""

import collections.abc
import dataclasses
import datetime
import gzip
import json
import typing
import unittest.mock

import testtools

from gpuclient.cloud.snapshot import content
from gpuclient.cloud.snapshot import exchange
from gpuclient import exceptions

SNAPSHOT = content.Snapshot(
    created=datetime.datetime(2026, 11, 29, 12, 0, tzinfo=datetime.UTC),
    client='1.0',
    cloud='prod',
    region='RegionOne',
    project=('p1', 'research'),
    service_types=('compute', 'identity'),
    names_hidden=False,
    services={
        'compute': content.Service((2, 1), (2, 1), (2, 104)),
        'identity': content.Service((3, 14)),
    },
    answers={
        exchange.question(
            'compute', 'GET', '/flavors/detail?limit=5', {'a': 1}, '2.61'
        ): exchange.Answer(200, {'flavors': [{'id': 'x', 'name': 'ä\ud800'}]}),
        exchange.question(
            'compute', 'POST', 'servers', body={'server': {'flavorRef': 'f'}}
        ): exchange.Answer(400, {'badRequest': {'message': 'no'}}),
        exchange.question('placement', 'GET', ''): exchange.Answer(
            204, None, {'Date': 'now', 'Last-Modified': 'then'}
        ),
    },
)


def document() -> dict[str, typing.Any]:
    return json.loads(gzip.decompress(content.render(SNAPSHOT)))


def packed(value: object) -> bytes:
    return gzip.compress(json.dumps(value).encode())


class TestContent(testtools.TestCase):
    def assert_refused(self, file: bytes, message: str) -> None:
        exc = self.assertRaises(exceptions.SnapshotError, content.parse, file)
        self.assertIn(message, str(exc))

    def assert_changed_refused(
        self,
        change: collections.abc.Callable[[dict[str, typing.Any]], object],
        message: str,
    ) -> None:
        changed = document()
        change(changed)
        self.assert_refused(packed(changed), message)

    def test_what_is_written_is_read(self) -> None:
        self.assertEqual(SNAPSHOT, content.parse(content.render(SNAPSHOT)))

    def test_without_cloud_and_project(self) -> None:
        plain = dataclasses.replace(
            SNAPSHOT, cloud=None, region=None, project=None
        )
        self.assertEqual(plain, content.parse(content.render(plain)))

    def test_equal_answers_are_equal_files(self) -> None:
        self.assertEqual(content.render(SNAPSHOT), content.render(SNAPSHOT))

    def test_no_snapshot(self) -> None:
        self.assert_refused(b'', 'is truncated')
        self.assert_refused(b'{}', 'not a snapshot of a cloud')
        for value in ({}, [], 7, None, 'x', {'format': 'other'}):
            self.assert_refused(packed(value), 'not a snapshot of a cloud')
        self.assert_refused(gzip.compress(b'{'), 'not JSON')
        self.assert_refused(gzip.compress(b'\xff'), 'not JSON')

    def test_another_version(self) -> None:
        for version in (2, True, None, '1', [1] * 1000):
            self.assert_changed_refused(
                lambda changed, version=version: changed.update(
                    version=version
                ),
                'this client reads version 1',
            )

    def test_truncated(self) -> None:
        whole = content.render(SNAPSHOT)
        for length in (1, 10, len(whole) // 2, len(whole) - 1):
            self.assert_refused(whole[:length], 'is truncated')

    def test_damaged(self) -> None:
        whole = bytearray(content.render(SNAPSHOT))
        whole[-6] ^= 1
        self.assert_refused(bytes(whole), 'not a snapshot')

    def test_trailing_data(self) -> None:
        whole = content.render(SNAPSHOT)
        self.assert_refused(whole + b'x', 'data after its end')
        self.assert_refused(whole + whole, 'data after its end')

    def test_bomb(self) -> None:
        with unittest.mock.patch.object(content, 'LARGEST', 2**20):
            self.assert_refused(
                gzip.compress(b' ' * 2**22), 'larger than 1 MiB'
            )

    def test_many_values(self) -> None:
        with unittest.mock.patch.object(content, 'MOST', 1000):
            self.assert_refused(
                packed({'format': 'x', 'a': [0] * 1000}),
                'more than 1000 values',
            )

    def test_too_large_to_write(self) -> None:
        with unittest.mock.patch.object(content, 'MOST', 5):
            exc = self.assertRaises(
                exceptions.SnapshotError, content.render, SNAPSHOT
            )
        self.assertIn('too large for a snapshot', str(exc))

    def test_depth(self) -> None:
        deep: typing.Any = 0
        for _level in range(40):
            deep = {'a': deep}
        self.assert_changed_refused(
            lambda changed: changed['answers'][0].update(body=deep),
            'nested too deeply',
        )
        self.assert_refused(gzip.compress(b'[' * 100000), 'nested too deeply')

    def test_key_twice(self) -> None:
        text = json.dumps(document())
        self.assert_refused(
            gzip.compress(text.replace('{', '{"format": 1,', 1).encode()),
            'an object has a key twice',
        )

    def test_request_twice(self) -> None:
        self.assert_changed_refused(
            lambda changed: changed['answers'].append(changed['answers'][0]),
            '"compute GET /flavors/detail?a=1&limit=5" twice'.replace('"', ''),
        )

    def test_no_number(self) -> None:
        for text in ('NaN', 'Infinity', '1' * 5000):
            self.assert_refused(
                gzip.compress(f'{{"format": {text}}}'.encode()), 'not JSON'
            )

    def test_wrong_types(self) -> None:
        for key, value in (
            ('created', 7),
            ('cloud', 7),
            ('names_hidden', 'no'),
            ('project', {'id': 'x'}),
            ('services', {'compute': {'version': '2'}}),
            ('services', {'compute': {'version': [True]}}),
            ('answers', {}),
            ('answers', [{}]),
        ):
            self.assert_changed_refused(
                lambda changed, key=key, value=value: changed.update(
                    {key: value}
                ),
                key,
            )

    def test_wrong_answers(self) -> None:
        for key, value, message in (
            ('status', 99, 'the status 99'),
            ('status', True, 'status is true'),
            ('query', [['a']], 'not a list of pairs'),
            ('query', [['a', 1]], 'not a string'),
            ('path', None, 'path is null'),
        ):
            self.assert_changed_refused(
                lambda changed, key=key, value=value: changed['answers'][
                    0
                ].update({key: value}),
                message,
            )

    def test_wrong_times(self) -> None:
        for text, message in (
            ('yesterday', 'is not a time'),
            ('0001-01-01T00:00:00+14:00', 'is not a time'),
            ('2026-11-29T12:00:00', 'has no time zone'),
        ):
            self.assert_changed_refused(
                lambda changed, text=text: changed.update(created=text),
                message,
            )
