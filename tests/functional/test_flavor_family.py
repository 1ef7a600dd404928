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

"""Families of flavors for A100 and H100, created and booted."""

import os
import pathlib
import tempfile
import typing

from tests.functional import base

_HERE = pathlib.Path(__file__).parent
_CONFIG = """[pci]
alias = {"vendor_id": "10de", "product_id": "20b2", "device_type": "type-PF", "name": "a100"}
alias = {"vendor_id": "10de", "product_id": "2330", "device_type": "type-PF", "name": "h100"}
"""  # noqa: E501


class TestFamily(base.CommonCloudTestCase):
    name = 'family'
    arguments = ('--spec', os.fspath(_HERE / 'family.yaml'))
    # Many candidates on a busy machine.
    timeout = 900

    def setUp(self) -> None:
        super().setUp()
        file = tempfile.NamedTemporaryFile('w', suffix='.conf')
        self.addCleanup(file.close)
        file.write(_CONFIG)
        file.flush()
        self.config = file.name

    def create(
        self, alias: str, *arguments: str, status: int = 0
    ) -> dict[str, typing.Any]:
        return self.openstack(
            *('gpu', 'flavor', 'create', f'gpu.{alias}', '--alias', alias),
            *('--for-all-counts', '--config', self.config),
            *('-f', 'json', *arguments),
            status=status,
        )

    def boot(self, flavor_id: str) -> str:
        """Boot a server, and return the host that it is on."""
        cloud = self.connect()
        (image,) = cloud.image.images(name='blank')
        response = cloud.compute.post(
            '/servers',
            json={
                'server': {
                    'name': 'x',
                    'flavorRef': flavor_id,
                    'imageRef': image.id,
                    'networks': 'none',
                }
            },
            microversion='2.90',
        )
        self.assertEqual(202, response.status_code, response.text)
        server_id = response.json()['server']['id']
        server = self.wait_for_server(
            server_id, 'ACTIVE', 'ERROR', timeout=600
        )
        host = server.compute_host
        self.delete(server_id)
        self.assertEqual('ACTIVE', server.status, server.fault)
        return host

    def test_families(self) -> None:
        for alias in ('a100', 'h100'):
            record = self.create(alias)
            self.assertEqual(8, record['largest_count'])
            flavors = record['flavors']
            self.assertEqual(
                [(1, 1), (2, 1), (4, 1), (8, 1), (16, 0)],
                [(flavor['count'], flavor['hosts']) for flavor in flavors],
            )
            self.assertEqual('none', flavors.pop()['state'])
            for flavor in flavors:
                count = flavor['count']
                self.assertEqual('created', flavor['state'])
                self.assertEqual(f'gpu.{alias}.{count}', flavor['name'])
                self.assertEqual(15 * count, flavor['vcpus'])
                specs = flavor['properties']
                self.assertEqual('dedicated', specs['hw:cpu_policy'])
                self.assertEqual('emulate', specs['hw:maxphysaddr_mode'])
                self.assertEqual(
                    '2' if count == 8 else None, specs.get('hw:numa_nodes')
                )
                self.assertEqual(f'gpu-{alias}', self.boot(flavor['id']))
            again = self.create(alias)
            self.assertEqual(
                ['exists'] * 4 + ['none'],
                [flavor['state'] for flavor in again['flavors']],
            )

    def test_one(self) -> None:
        """Two servers with half of the devices each use all of a host."""
        record = self.openstack(
            *('gpu', 'flavor', 'create', 'half', '--alias', 'h100:4'),
            *('--by-share', '--config', self.config),
            *('--disk', '10', '-f', 'json'),
        )
        self.assertEqual((60, 10), (record['vcpus'], record['disk']))
        self.assertIn('hw_firmware_type=uefi', ' '.join(record['notes']))
        capacity = self.openstack(
            *('gpu', 'capacity', 'show', 'half', '--config', self.config),
            *('-f', 'json'),
        )
        self.assertEqual(2, capacity['fits'])

    def test_refused(self) -> None:
        for arguments, message in (
            (('--alias', 'h100:16', '--by-share'), 'No host of this cloud'),
            (('--alias', 'other:1', '--by-share'), 'are unknown'),
            (('--alias', 'h100:1', '--for-all-counts'), 'without a count'),
            (('--alias', 'h100:1', '--bundle', 'x'), 'only used with'),
        ):
            self.assertIn(
                message,
                self.refused(
                    *('gpu', 'flavor', 'create', 'x', *arguments),
                    *('--config', self.config),
                ),
            )
