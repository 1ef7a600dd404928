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

"""Several clouds and regions side by side."""

import os
import typing

import fixtures
from openstack import connection
import yaml

from tests.functional import base

_LIST = ('gpu', 'placement', 'list', '-f', 'json')


class _Connection(connection.Connection):
    """A connection of which it is known whether it is open."""

    opened: typing.ClassVar[list[connection.Connection]] = []

    def __init__(self, *arguments: typing.Any, **kwargs: typing.Any) -> None:
        super().__init__(*arguments, **kwargs)
        self.opened.append(self)

    def close(self) -> None:
        super().close()
        self.opened.remove(self)


class TestEverywhere(base.OwnCloudTestCase):
    def test_clouds_and_regions(self):
        cloud = self.start('one', '--hosts', '1', '--gpus', '2')
        home = self.connect().config.region_name
        self._add_cloud(cloud, 'two', {})
        self._add_cloud(
            cloud, 'away', {'auth': {'auth_url': 'http://127.0.0.1:9/v3'}}
        )
        # Nothing but the names says which cloud is meant.
        self.os_cloud = None
        self.useFixture(
            fixtures.MonkeyPatch(
                'openstack.connection.Connection', _Connection
            )
        )
        rows = self.openstack(*_LIST, '--cloud', 'one', '--cloud', 'two')
        self.assertEqual(
            [('one', home)] * 2 + [('two', home)] * 2,
            [(row['Cloud'], row['Region']) for row in rows],
        )
        self.assertEqual(['Cloud', 'Region', 'Host'], list(rows[0])[:3])
        # One that is away is named, and the others are shown.
        done = self.run_command(*_LIST, '--cloud', 'away', '--cloud', 'one')
        self.assertEqual(1, done.status)
        self.assertEqual(2, done.stdout.count('"Cloud": "one"'))
        self.assertEqual(1, done.stderr.count('\n'), done.stderr)
        (line,) = done.stderr.strip().splitlines()
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
                'gpu', command, 'list', '-f', 'json', '--cloud', 'one'
            )
            self.assertEqual([], rows)
        # None is open when the next one is, nor in the end.
        self.assertEqual([], _Connection.opened)
        # Without either option it is a list like any other.
        self.os_cloud = 'one'
        self.assertEqual('Host', next(iter(self.openstack(*_LIST)[0])))
        self.os_cloud = None
        self.assertIn('auth', self.refused(*_LIST))
        self._regions(home)

    def _regions(self, home: str) -> None:
        """A second region with the same services, a third that is away."""
        identity = self.connect('one').identity
        services = {
            service.type: service.id for service in identity.services()
        }
        urls = {
            endpoint.service_id: endpoint.url
            for endpoint in identity.endpoints(interface='public')
        }
        for region, broken in (('Second', False), ('Third', True)):
            identity.create_region(id=region)
            for kind in ('placement', 'compute', 'identity'):
                identity.create_endpoint(
                    service_id=services[kind],
                    interface='public',
                    region_id=region,
                    url='http://127.0.0.1:9/'
                    if broken and kind == 'placement'
                    else urls[services[kind]],
                )
        done = self.run_command(*_LIST, '--all-regions', '--cloud', 'one')
        self.assertEqual(1, done.status)
        for region in (home, 'Second'):
            self.assertEqual(
                2, done.stdout.count(f'"Region": "{region}"'), done
            )
        self.assertEqual(1, done.stderr.count('\n'), done.stderr)
        (line,) = done.stderr.strip().splitlines()
        self.assertTrue(line.startswith('cloud one, region Third: '), line)
        self.assertEqual([], _Connection.opened)
        # A catalog that says nothing of Placement leaves no cloud out
        # unsaid.
        for endpoint in identity.endpoints(service_id=services['placement']):
            identity.delete_endpoint(endpoint)
        self.assertIn(
            'cloud one: its catalog has no region with a Placement',
            self.refused(*_LIST, '--all-regions', '--cloud', 'one'),
        )

    def _add_cloud(
        self, cloud: dict[str, str], name: str, changes: dict[str, object]
    ) -> None:
        path = os.path.join(cloud['directory'], 'clouds.yaml')
        with open(path, encoding='utf-8') as stream:
            document = yaml.safe_load(stream)
        entry = dict(document['clouds']['one'])
        for key, value in changes.items():
            entry[key] = (
                {**entry[key], **value} if isinstance(value, dict) else value
            )
        document['clouds'][name] = entry
        with open(path, 'w', encoding='utf-8') as stream:
            yaml.safe_dump(document, stream)
