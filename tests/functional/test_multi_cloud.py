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

"""Several clouds and regions in one command."""

import os
import typing

import fixtures
from openstack import connection
import yaml

from tests.functional import base

_LIST = ('gpu', 'placement', 'list', '-f', 'json')
_DEVICES = 16
#: Nothing listens there.
_CLOSED = 'http://127.0.0.1:9'


class _Connection(connection.Connection):
    """A connection that is in a list while it is open."""

    opened: typing.ClassVar[list[connection.Connection]] = []

    def __init__(self, *arguments: typing.Any, **kwargs: typing.Any) -> None:
        super().__init__(*arguments, **kwargs)
        self.opened.append(self)

    def close(self) -> None:
        super().close()
        self.opened.remove(self)


class TestMultiCloud(base.CommonCloudTestCase):
    name = 'sixteen'
    arguments = ('--hosts', '2', '--gpus', '8')

    def setUp(self) -> None:
        super().setUp()
        self.add_clouds()
        self.identity = self.connect().identity
        self.region = self.connect().config.region_name
        # The commands name their clouds.
        self.os_cloud = None
        self.useFixture(
            fixtures.MonkeyPatch(
                'openstack.connection.Connection', _Connection
            )
        )

    def add_clouds(self) -> None:
        """Add a second name of the cloud, and a cloud that is not running."""
        path = os.environ['OS_CLIENT_CONFIG_FILE']
        with open(path, encoding='utf-8') as stream:
            document = yaml.safe_load(stream)
        entry = document['clouds'][self.name]
        document['clouds']['second'] = entry
        document['clouds']['away'] = {
            **entry,
            'auth': {**entry['auth'], 'auth_url': f'{_CLOSED}/v3'},
        }
        folder = self.useFixture(fixtures.TempDir()).path
        changed = os.path.join(folder, 'clouds.yaml')
        with open(changed, 'w', encoding='utf-8') as stream:
            yaml.safe_dump(document, stream)
        self.useFixture(
            fixtures.EnvironmentVariable('OS_CLIENT_CONFIG_FILE', changed)
        )

    def test_clouds(self) -> None:
        rows = self.openstack(
            *_LIST, '--cloud', self.name, '--cloud', 'second'
        )
        self.assertEqual(
            [(self.name, self.region)] * _DEVICES
            + [('second', self.region)] * _DEVICES,
            [(row['Cloud'], row['Region']) for row in rows],
        )
        self.assertEqual(['Cloud', 'Region', 'Host'], list(rows[0])[:3])
        # A cloud that does not respond is reported; the others are listed.
        result = self.run_command(
            *_LIST, '--cloud', 'away', '--cloud', self.name
        )
        self.assertEqual(1, result.status)
        self.assertEqual(
            _DEVICES, result.stdout.count(f'"Cloud": "{self.name}"')
        )
        (line,) = result.stderr.splitlines()
        self.assertTrue(line.startswith('cloud away: '), line)
        self.assertIn('127.0.0.1:9', line)
        self.assertIn(
            'No cloud could be listed',
            self.refused(*_LIST, '--cloud', 'away'),
        )
        self.assertIn(
            'nosuch was not found',
            self.refused(*_LIST, '--cloud', 'nosuch'),
        )
        for command in ('server', 'capacity'):
            rows = self.openstack(
                'gpu', command, 'list', '-f', 'json', '--cloud', self.name
            )
            self.assertEqual([], rows)
        # One is closed before the next is opened.
        self.assertEqual([], _Connection.opened)

    def test_without_the_options(self) -> None:
        """One cloud is listed, without the columns."""
        self.os_cloud = self.name
        self.assertEqual('Host', next(iter(self.openstack(*_LIST)[0])))
        self.os_cloud = None
        self.assertIn('auth', self.refused(*_LIST))

    def test_regions(self) -> None:
        """A second region with the same services, a third without."""
        self.add_regions()
        result = self.run_command(
            *_LIST, '--all-regions', '--cloud', self.name
        )
        self.assertEqual(1, result.status)
        for region in (self.region, 'Second'):
            self.assertEqual(
                _DEVICES, result.stdout.count(f'"Region": "{region}"'), result
            )
        (line,) = result.stderr.splitlines()
        prefix = f'cloud {self.name}, region Third: '
        self.assertTrue(line.startswith(prefix), line)
        self.assertEqual([], _Connection.opened)

    def add_regions(self) -> None:
        services = {
            service.type: service.id for service in self.identity.services()
        }
        urls = {
            endpoint.service_id: endpoint.url
            for endpoint in self.identity.endpoints(interface='public')
        }
        for region in ('Second', 'Third'):
            self.identity.create_region(id=region)
            self.addCleanup(self.identity.delete_region, region)
            for kind in ('placement', 'compute', 'identity'):
                url = urls[services[kind]]
                if (region, kind) == ('Third', 'placement'):
                    url = f'{_CLOSED}/'
                endpoint = self.identity.create_endpoint(
                    service_id=services[kind],
                    interface='public',
                    region_id=region,
                    url=url,
                )
                self.addCleanup(self.identity.delete_endpoint, endpoint)

    def test_catalog_without_placement(self) -> None:
        """No cloud is omitted without a message."""
        (service,) = self.identity.services(type='placement')
        for endpoint in self.identity.endpoints(service_id=service.id):
            self.identity.delete_endpoint(endpoint)
            self.addCleanup(
                self.identity.create_endpoint,
                service_id=service.id,
                interface=endpoint.interface,
                region_id=endpoint.region_id,
                url=endpoint.url,
            )
        self.assertIn(
            f'cloud {self.name}: its catalog has no region with a Placement',
            self.refused(*_LIST, '--all-regions', '--cloud', self.name),
        )
