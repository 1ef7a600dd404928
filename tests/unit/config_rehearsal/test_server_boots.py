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

"""Servers that neither boot nor can be deleted."""

import types
import typing
import unittest.mock

from keystoneauth1 import adapter
from keystoneauth1 import session
import requests_mock
import testtools

from gpuclient.config_rehearsal import server_boots
from gpuclient import exceptions
from gpuclient.model import flavor

URL = 'http://compute'
FLAVOR = flavor.Flavor('1', 'gpu', 1, 512, 1, True, {})


class TestPatience(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.mock = self.enterContext(requests_mock.Mocker())
        self.enterContext(
            unittest.mock.patch.object(server_boots, 'TIMEOUT', -1)
        )

    def test_no_end(self) -> None:
        server = {
            'id': 'x',
            'status': 'BUILD',
            'OS-EXT-STS:task_state': 'spawning',
        }
        self.mock.post(f'{URL}/servers', status_code=202, json={})
        self.mock.get(f'{URL}/servers/detail', json={'servers': [server]})
        deleted = self.mock.delete(f'{URL}/servers/x', status_code=204)
        compute = adapter.Adapter(
            session.Session(), 'compute', endpoint_override=URL
        )
        cloud: typing.Any = types.SimpleNamespace(compute=compute)
        error = self.assertRaises(
            exceptions.CloudError,
            server_boots.boot_until_full,
            cloud,
            [(FLAVOR, 1)],
            image_id='image',
            most=1,
        )
        self.assertRegex(
            str(error), '^servers gpuclient-boot-.*: not done after -1 seconds'
        )
        self.assertTrue(deleted.called_once)
