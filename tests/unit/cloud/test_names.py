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


"""Names that are not a segment of a path."""

import collections.abc
import types
import typing

import ddt
import fixtures
from keystoneauth1 import adapter
from keystoneauth1 import session
import requests_mock
import testtools

from gpuclient.cloud import glance
from gpuclient.cloud import keystone
from gpuclient.cloud.nova import console
from gpuclient.cloud.nova import flavors
from gpuclient.cloud.nova import server_details
from gpuclient import exceptions

URL = 'http://cloud'
Find: typing.TypeAlias = collections.abc.Callable[[typing.Any, str], object]


@ddt.ddt
class TestNames(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.mock = self.enterContext(requests_mock.Mocker())
        service = adapter.Adapter(
            session.Session(), endpoint_override=URL, service_type='compute'
        )
        self.cloud = types.SimpleNamespace(
            identity=service, image=service, compute=service
        )

    @ddt.data(
        ('No project', keystone.find_project),
        ('No project', keystone.read_project),
        ('No user', keystone.find_user),
        (
            'No domain',
            lambda cloud, name: keystone.find_project(cloud, 'p', name),
        ),
        ('No image', glance.find_image),
        (
            'No server',
            lambda cloud, name: server_details.find(cloud.compute, name),
        ),
        (
            'There is no server',
            lambda cloud, name: console.read(cloud.compute, name),
        ),
        (
            'No flavor',
            lambda cloud, name: flavors.find_flavor(cloud.compute, name, ()),
        ),
    )
    @ddt.unpack
    def test_empty(self, kind: str, find: Find) -> None:
        """An empty name is not looked up: the path would be of the list."""
        error = self.assertRaises(exceptions.NotFound, find, self.cloud, '')
        self.assertIn(kind, str(error))
        self.assertIn("''", str(error))
        self.assertEqual([], self.mock.request_history)

    @ddt.data(
        ('projects', 'projects', keystone.find_project),
        ('users', 'users', keystone.find_user),
        ('images', 'images', glance.find_image),
        (
            'servers',
            'servers',
            lambda cloud, name: server_details.find(cloud.compute, name),
        ),
    )
    @ddt.unpack
    def test_dots(self, path: str, key: str, find: Find) -> None:
        """A path with them is that of another object: only a name is."""
        self.mock.get(f'{URL}/{path}', json={key: []})
        for name in ('.', '..'):
            self.assertRaises(exceptions.NotFound, find, self.cloud, name)
        self.assertEqual(
            {f'/{path}'},
            {request.path for request in self.mock.request_history},
        )

    def test_ambiguous_server(self) -> None:
        """The error tells which IDs there are."""
        self.useFixture(
            fixtures.MonkeyPatch(
                'gpuclient.cloud.nova.server_details._named',
                lambda _compute, name: [{'id': i, 'name': name} for i in 'ab'],
            )
        )
        error = self.assertRaises(
            exceptions.Ambiguous,
            server_details.find,
            self.cloud.compute,
            # No ID is looked up.
            '..',
        )
        self.assertEqual(
            "2 servers have the name '..': use the ID of one of them: a, b",
            str(error),
        )
