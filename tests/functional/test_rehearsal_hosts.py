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

"""Hosts that differ, services that do not start, and several nova-api."""

import os
import pathlib
import socket

from keystoneauth1 import adapter

from tests.functional import base

_SPEC = pathlib.Path(__file__).parent / 'differing.yaml'
_INVALID_TYPE = (
    "Invalid PCI alias definition: 'PF' is not one of "
    "['type-PCI', 'type-PF', 'type-VF']"
)


class DifferingHostsTestCase(base.CommonCloudTestCase):
    """A test on the cloud of differing.yaml."""

    name = 'differing'
    arguments = ('--spec', os.fspath(_SPEC))
    #: Two services do not start.
    start_status = 1

    def setUp(self):
        super().setUp()
        self.services = {
            (service['name'], service['host']): service
            for service in self.started.cloud['services']
        }

    def port(self, name):
        return self.services[name, 'controller']['port']


class TestDifferingHosts(DifferingHostsTestCase):
    def test_services_that_do_not_start(self):
        """They are reported on stderr with Nova's message; the others run."""
        api, compute = sorted(self.started.stderr.strip().splitlines())
        self.assertEqual(f'nova-compute on invalid: {_INVALID_TYPE}', compute)
        self.assertIn('nova-api-3 on controller: ', api)
        self.assertIn("'0x10de' does not match", api)
        services = dict(self.services)
        refused = services.pop(('nova-compute', 'invalid'))
        self.assertEqual('refused', refused['state'])
        self.assertEqual(_INVALID_TYPE, refused['message'])
        self.assertIsNone(refused['pid'])
        refused = services.pop(('nova-api-3', 'controller'))
        self.assertEqual('refused', refused['state'])
        self.assertEqual(
            {'ready'}, {service['state'] for service in services.values()}
        )
        # Its port is closed.
        self.assertRaises(
            ConnectionRefusedError,
            socket.create_connection,
            ('127.0.0.1', refused['port']),
        )
        self.assertEqual(
            ['pci', 'pf', 'untracked', 'vfs'],
            sorted(
                service.host
                for service in self.connect().compute.services(
                    binary='nova-compute'
                )
            ),
        )

    def test_providers(self):
        placement = self.connect().placement
        providers = {
            provider['name']: provider
            for provider in placement.get(
                '/resource_providers', microversion='1.39'
            ).json()['resource_providers']
        }
        self.assertEqual(
            {
                'pf.example.com',
                'pf.example.com_0000:04:00.0',
                'pf.example.com_0000:82:00.0',
                'pci.example.com',
                'pci.example.com_0000:17:00.0',
                'vfs.example.com',
                'vfs.example.com_0000:04:00.0',
                'vfs.example.com_0000:82:00.0',
                'untracked.example.com',
            },
            set(providers),
        )
        functions = placement.get(
            '/resource_providers/'
            f'{providers["vfs.example.com_0000:04:00.0"]["uuid"]}/inventories'
        ).json()['inventories']
        self.assertEqual(4, functions['CUSTOM_PCI_10DE_20F2']['total'])

    def test_aliases_of_each_api(self):
        cloud = self.connect()
        flavor = cloud.compute.create_flavor(
            name='a2', vcpus=1, ram=512, disk=1
        )
        self.addCleanup(cloud.compute.delete_flavor, flavor)
        cloud.compute.create_flavor_extra_specs(
            flavor, {'pci_passthrough:alias': 'nvidia_a2:1'}
        )
        (image,) = cloud.image.images(name='blank')
        responses = {}
        for name in ('nova-api-1', 'nova-api-2'):
            client = adapter.Adapter(
                cloud.session,
                service_type='compute',
                endpoint_override=f'http://127.0.0.1:{self.port(name)}/v2.1',
            )
            responses[name] = client.post(
                '/servers',
                json={
                    'server': {
                        'name': name,
                        'flavorRef': flavor.id,
                        'imageRef': image.id,
                        'networks': 'none',
                    }
                },
                microversion='2.90',
                raise_exc=False,
            )
        self.assertEqual(202, responses['nova-api-1'].status_code)
        self.delete(responses['nova-api-1'].json()['server']['id'])
        self.assertEqual(400, responses['nova-api-2'].status_code)
        self.assertIn(
            'PCI alias nvidia_a2 is not defined',
            responses['nova-api-2'].json()['badRequest']['message'],
        )
