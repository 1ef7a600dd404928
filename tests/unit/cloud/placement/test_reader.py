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

"""Placements that do not respond, or not like a Placement."""

import typing
import unittest.mock

import fixtures
from keystoneauth1 import adapter
from keystoneauth1 import fixture
from keystoneauth1.identity import v3
from keystoneauth1 import session
import requests
import requests_mock
import testtools

from gpuclient.cloud.placement import reader
from gpuclient import exceptions

KEYSTONE = 'http://keystone/v3'
URL = 'http://placement'


class TestReader(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        # keystoneauth warns about incomplete version documents.
        self.useFixture(fixtures.FakeLogger())
        self.mock = self.enterContext(requests_mock.Mocker())
        # Retries do not wait.
        self.enterContext(unittest.mock.patch('time.sleep'))
        token = fixture.V3Token()
        token.set_project_scope()
        token.add_service('placement').add_standard_endpoints(public=URL)
        self.mock.post(
            f'{KEYSTONE}/auth/tokens',
            json=token,
            headers={'X-Subject-Token': 'token'},
        )
        self.answer({'max_version': '1.39'})

    def answer(self, *versions: dict[str, typing.Any]) -> None:
        """Make Placement return these versions."""
        self.mock.get(URL, json={'versions': versions})

    def reader(self) -> reader.PlacementReader:
        auth = v3.Password(KEYSTONE, user_id='user', password='password')
        return reader.PlacementReader(
            adapter.Adapter(
                session.Session(auth=auth), service_type='placement'
            )
        )

    def test_versions(self) -> None:
        self.assertEqual((1, 39), self.reader().version)
        for versions in (
            [],
            [{'max_version': 'x'}],
        ):
            self.answer(*versions)
            error = self.assertRaises(exceptions.Unreachable, self.reader)
            self.assertIn('does not return its microversions', str(error))

    def test_versions_of_another_form(self) -> None:
        for versions, fault in (
            ([{}], 'versions[0].max_version is missing'),
            (
                [{'max_version': None}],
                'versions[0].max_version is null, not a string',
            ),
        ):
            self.answer(*versions)
            error = self.assertRaises(exceptions.CloudError, self.reader)
            self.assertIn(fault, str(error))

    def test_too_old(self) -> None:
        self.answer({'max_version': '1.9'})
        error = self.assertRaises(exceptions.Unsupported, self.reader)
        self.assertIn('this cloud has 1.9', str(error))

    def test_gives_up(self) -> None:
        """A response resets the count of failures."""
        placement = self.reader()
        failing = self.mock.get(
            f'{URL}/x',
            exc=requests.exceptions.ChunkedEncodingError('broken off'),
        )
        self.mock.get(f'{URL}/y', json={})

        def read(path: str = '/x') -> exceptions.CloudError:
            return self.assertRaises(
                exceptions.Unreachable, placement.get, path, 'reading x', {}
            )

        for _number in range(reader.GIVE_UP - 1):
            self.assertIn('broken off', str(read()))
        placement.get('/y', 'reading y', {})
        for _number in range(reader.GIVE_UP):
            self.assertIn('broken off', str(read()))
        asked = failing.call_count
        for path in ('/x', '/y'):
            self.assertEqual(
                'reading x was skipped: the last 8 requests to Placement '
                'got no response',
                str(read(path)),
            )
        self.assertEqual(asked, failing.call_count)
