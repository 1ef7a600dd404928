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

"""Unified limits, as oslo.limit reads them."""

import typing
import unittest.mock

from keystoneauth1 import adapter
from keystoneauth1 import session
import requests_mock
import testtools

from gpuclient.cloud import limits
from gpuclient import exceptions
from gpuclient.model import limits as limits_model

URL = 'http://keystone'
CLASS = 'CUSTOM_A'


class TestLimits(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.mock = self.enterContext(requests_mock.Mocker())
        self.cloud: typing.Any = unittest.mock.Mock()
        self.cloud.identity = adapter.Adapter(
            session.Session(), endpoint_override=URL, service_type='identity'
        )
        self.cloud.config.get_region_name.return_value = 'one'
        self.mock.get(f'{URL}/services', json={'services': [{'id': 'nova'}]})
        self.mock.get(
            f'{URL}/limits',
            json={
                'limits': [
                    self.limit('nova', 'one', project_id='p'),
                    self.limit('nova', 'two', project_id='q'),
                    self.limit('glance', 'one', project_id='q'),
                    self.limit('nova', 'one', project_id=None),
                ]
            },
        )

    @staticmethod
    def limit(
        service: str, region: str | None, **more: typing.Any
    ) -> dict[str, typing.Any]:
        return {
            'service_id': service,
            'region_id': region,
            'resource_name': f'class:{CLASS}',
            'default_limit': 2,
            'resource_limit': 5,
            **more,
        }

    def register(self, *records: dict[str, typing.Any]) -> None:
        self.mock.get(
            f'{URL}/registered_limits',
            json={'registered_limits': list(records)},
        )

    def test_of_nova_and_its_region(self) -> None:
        self.register(self.limit('nova', 'one'))
        read = limits.read_limits(self.cloud)
        self.assertTrue(read.are_in_use)
        self.assertEqual(2, read.default_of(CLASS))
        self.assertEqual(5, read.of('p', CLASS))
        self.assertEqual(2, read.of('q', CLASS))
        self.assertIsNone(read.of('p', 'CUSTOM_B'))
        self.assertEqual(3, self.mock.call_count)

    def test_elsewhere(self) -> None:
        for service, region in (
            ('glance', 'one'),
            ('nova', 'two'),
            ('nova', None),
        ):
            self.register(self.limit(service, region))
            read = limits.read_limits(self.cloud)
            self.assertEqual(
                limits_model.UnifiedLimits(
                    elsewhere=frozenset({f'class:{CLASS}'})
                ),
                read,
            )
            self.assertIsNone(read.of('p', CLASS))

    def test_forbidden(self) -> None:
        self.mock.get(f'{URL}/services', status_code=403, text='no')
        self.assertRaises(exceptions.Forbidden, limits.read_limits, self.cloud)
