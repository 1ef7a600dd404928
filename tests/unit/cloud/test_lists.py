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

"""Endless lists, truncated lists, and lost responses."""

import typing
import unittest.mock

from keystoneauth1 import adapter
from keystoneauth1 import noauth
from keystoneauth1 import session
import requests
import requests_mock
import testtools

from gpuclient.cloud import keystone
from gpuclient.cloud.nova import flavors
from gpuclient.cloud.nova import pages
from gpuclient.cloud.nova import services
from gpuclient import exceptions

URL = 'http://cloud'
FLAVOR = {
    'name': 'f',
    'vcpus': 1,
    'ram': 1,
    'disk': 1,
    'os-flavor-access:is_public': False,
}


class ListsTestCase(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.mock = self.enterContext(requests_mock.Mocker())
        # Retries do not wait.
        self.enterContext(unittest.mock.patch('time.sleep'))
        self.service: typing.Any = adapter.Adapter(
            session.Session(),
            endpoint_override=URL,
            service_type='compute',
        )


class TestPages(ListsTestCase):
    def read(self) -> list[typing.Any]:
        return list(
            pages.read(
                self.service, '/x', 'x', 'reading x', {}, microversion='2.1'
            )
        )

    def page(self, *names: str, more: bool = True) -> dict[str, typing.Any]:
        return {
            'json': {
                'x': [{'id': name} for name in names],
                'x_links': [{'rel': 'next'}] if more else [],
            }
        }

    def test_pages(self) -> None:
        self.mock.get(
            f'{URL}/x', [self.page('a', 'b'), self.page('c', more=False)]
        )
        self.assertEqual(
            ['a', 'b', 'c'], [record['id'] for record in self.read()]
        )
        self.assertEqual(['b'], self.mock.last_request.qs['marker'])

    def test_repeated_marker(self) -> None:
        for answers in (
            [self.page('a', 'b')],
            [self.page('a'), self.page('b'), self.page('a')],
        ):
            self.mock.get(f'{URL}/x', answers)
            error = self.assertRaises(exceptions.CloudError, self.read)
            self.assertRegex(
                str(error), 'reading x failed: the page after . ends with'
            )


class TestProjects(ListsTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.cloud = unittest.mock.Mock(identity=self.service)

    def test_truncated_list(self) -> None:
        self.mock.get(
            f'{URL}/projects',
            json={'projects': [{'id': '1', 'name': 'a'}], 'truncated': True},
        )
        self.mock.get(
            f'{URL}/projects/2', json={'project': {'id': '2', 'name': 'b'}}
        )
        self.mock.get(f'{URL}/projects/3', status_code=404)
        self.assertEqual(
            {'1': 'a', '2': 'b'},
            keystone.project_names(self.cloud, ('1', '2', '3')),
        )
        self.mock.get(f'{URL}/projects/2', status_code=500)
        self.assertRaises(
            exceptions.CloudError,
            keystone.project_names,
            self.cloud,
            ('1', '2'),
        )

    def test_complete_list_is_read_once(self) -> None:
        self.mock.get(f'{URL}/projects', json={'projects': []})
        self.assertEqual({}, keystone.project_names(self.cloud, ('1',)))
        self.assertEqual(1, self.mock.call_count)

    def test_a_fixed_token_has_no_project(self) -> None:
        self.mock.get(f'{URL}/projects', status_code=403)
        self.cloud.session.auth = noauth.NoAuth()
        self.assertEqual({}, keystone.project_names(self.cloud))

    def test_rejected_token_is_reported(self) -> None:
        self.mock.get(f'{URL}/projects', status_code=401)
        error = self.assertRaises(
            exceptions.Unauthorized, keystone.project_names, self.cloud
        )
        self.assertIn('listing projects failed: HTTP 401', str(error))

    def test_name_in_a_truncated_list(self) -> None:
        self.mock.get(f'{URL}/projects/a', status_code=404)
        self.mock.get(
            f'{URL}/projects',
            json={'projects': [{'id': '1'}], 'truncated': True},
        )
        self.assertRaises(
            exceptions.Ambiguous, keystone.find_project, self.cloud, 'a'
        )


class TestLostAnswers(ListsTestCase):
    def create(self) -> typing.Any:
        return flavors.create_flavor(
            self.service, 'f', vcpus=1, ram=1, disk=1, is_public=False
        )

    def answer(self, **changes: object) -> None:
        """Return the flavor with the ID with which it was created."""

        def show_flavor(
            request: typing.Any, context: typing.Any
        ) -> dict[str, typing.Any]:
            return {
                'flavor': {
                    **FLAVOR,
                    'id': request.path.rpartition('/')[2],
                    **changes,
                }
            }

        self.mock.get(requests_mock.ANY, json=show_flavor)

    def test_lost_response_of_a_created_flavor(self) -> None:
        for answer in (
            {'exc': requests.exceptions.ReadTimeout},
            {'exc': requests.exceptions.ChunkedEncodingError('cut')},
            {'status_code': 502},
            {'json': {}},
        ):
            self.mock.post(f'{URL}/flavors', **answer)
            self.answer()
            flavor = self.create()
            asked = self.mock.request_history[-2].json()['flavor']['id']
            self.assertEqual(asked, flavor.id)

    def test_lost_response_without_a_flavor(self) -> None:
        self.mock.post(f'{URL}/flavors', status_code=502)
        self.mock.get(requests_mock.ANY, status_code=404)
        error = self.assertRaises(exceptions.CloudError, self.create)
        self.assertIn("creating flavor 'f' failed: HTTP 502", str(error))

    def test_lost_response_and_another_flavor_with_the_id(self) -> None:
        self.mock.post(f'{URL}/flavors', status_code=502)
        self.answer(name='other')
        self.assertRaises(exceptions.CloudError, self.create)

    def test_rejected_flavor_is_not_looked_up(self) -> None:
        self.mock.post(f'{URL}/flavors', status_code=409)
        self.assertRaises(exceptions.Conflict, self.create)
        self.assertEqual(1, self.mock.call_count)


class TestComputes(ListsTestCase):
    def test_states(self) -> None:
        record = {'binary': 'nova-compute', 'host': 'a', 'state': 'up'}
        self.mock.get(
            f'{URL}/os-services?binary=nova-compute',
            json={
                'services': [
                    {**record, 'forced_down': False, 'updated_at': '2026'},
                    {**record, 'state': 'down', 'forced_down': True},
                    # Of a cell that is down.
                    {'binary': 'nova-compute', 'host': 'b'},
                ]
            },
        )
        self.assertEqual(
            [
                ('a', True, False, '2026'),
                ('a', False, True, None),
                ('b', False, False, None),
            ],
            [
                (service.host, service.up, service.forced_down, service.seen)
                for service in services.list_computes(self.service)
            ],
        )
