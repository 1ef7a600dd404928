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

"""Hosts that differ, services that Nova refuses, two nova-api."""

import os
import pathlib
import socket

from keystoneauth1 import adapter
import openstack

from tests.functional import base

_SPEC = pathlib.Path(__file__).parent / 'differing.yaml'


class TestDifferingHosts(base.OwnCloudTestCase):
    def test_differing_hosts(self):
        cloud = self.start('diff', '--spec', os.fspath(_SPEC), status=1)
        # The refused one is named on stderr, in Nova's words, and the rest
        # runs.
        reason = (
            "Invalid PCI alias definition: 'PF' is not one of "
            "['type-PCI', 'type-PF', 'type-VF']"
        )
        self.assertEqual(
            f'nova-compute on invalid: {reason}', self.start_errors.strip()
        )
        states = {
            (service['name'], service['host']): service
            for service in cloud['services']
        }
        invalid = states.pop(('nova-compute', 'invalid'))
        self.assertEqual('refused', invalid['state'])
        self.assertEqual(reason, invalid['message'])
        self.assertIsNone(invalid['pid'])
        self.assertEqual(
            {'ready'}, {service['state'] for service in states.values()}
        )

        connection = openstack.connect(cloud='diff')
        self.addCleanup(connection.close)
        providers = {
            provider['name']: provider
            for provider in connection.placement.get(
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
        functions = connection.placement.get(
            '/resource_providers/'
            f'{providers["vfs.example.com_0000:04:00.0"]["uuid"]}/inventories'
        ).json()['inventories']
        self.assertEqual(4, functions['CUSTOM_PCI_10DE_20F2']['total'])

        self._two_apis(connection, states)

    def _two_apis(self, connection, states):
        """The two nova-api differ on an alias."""
        flavor = connection.compute.create_flavor(
            name='a2', vcpus=1, ram=512, disk=1
        )
        connection.compute.create_flavor_extra_specs(
            flavor, {'pci_passthrough:alias': 'nvidia_a2:1'}
        )
        (image,) = connection.image.images(name='blank')
        statuses = {}
        for name in ('nova-api-1', 'nova-api-2'):
            port = states[name, 'controller']['port']
            client = adapter.Adapter(
                connection.session,
                service_type='compute',
                endpoint_override=f'http://127.0.0.1:{port}/v2.1',
            )
            response = client.post(
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
            statuses[name] = response.status_code
        self.assertEqual({'nova-api-1': 202, 'nova-api-2': 400}, statuses)
        self.assertIn(
            'PCI alias nvidia_a2 is not defined',
            response.json()['badRequest']['message'],
        )

    def test_nova_api_that_refuses_to_start(self):
        """The rest of the cloud runs on, and nothing listens in its place."""
        spec = self.directory / 'spec.yaml'
        spec.write_text(
            """
control_plane:
  api:
    - {}
    - config: |
        [pci]
        alias = {"name": "broken", "vendor_id": "0x10de", "product_id": "20f1"}
hosts:
  - name: only
"""
        )
        cloud = self.start('api', '--spec', os.fspath(spec), status=1)
        self.assertIn('nova-api-2 on controller: ', self.start_errors)
        self.assertIn("'0x10de' does not match", self.start_errors)
        (refused,) = (
            service
            for service in cloud['services']
            if service['state'] == 'refused'
        )
        connection = openstack.connect(cloud='api')
        self.addCleanup(connection.close)
        self.assertEqual(
            ['only'],
            [
                service.host
                for service in connection.compute.services(
                    binary='nova-compute'
                )
            ],
        )
        self.assertRaises(
            ConnectionRefusedError,
            socket.create_connection,
            ('127.0.0.1', refused['port']),
        )
