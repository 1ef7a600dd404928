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

"""The clouds of the benchmark are like those that Nova creates."""

import typing

from gpuclient.cloud.placement import reader
from gpuclient.model import inventory

from tests.benchmarks.placement import model
from tests.functional import base


class TestModel(base.CloudTestCase):
    def get(self, path: str, **params: str) -> typing.Any:
        return (
            self.connect()
            .placement.get(path, params=params, microversion='1.39')
            .json()
        )

    def test_devices(self) -> None:
        """Names, inventories, traits and parents of the providers."""
        novas: dict[int, dict[str, typing.Any]] = {}
        for provider in self.get(
            '/resource_providers', required=reader.MANAGED
        )['resource_providers']:
            base_ = f'/resource_providers/{provider["uuid"]}'
            ((name, record),) = self.get(f'{base_}/inventories')[
                'inventories'
            ].items()
            host, address = inventory.split_provider_name(provider['name'])
            self.assertEqual(
                provider['name'], f'{host}_{(address or "").upper()}'
            )
            self.assertEqual(
                provider['root_provider_uuid'],
                provider['parent_provider_uuid'],
            )
            traits = set(self.get(f'{base_}/traits')['traits'])
            self.assertLessEqual(set(inventory.OF_EACH), traits)
            self.assertTrue(name.startswith('CUSTOM_'))
            novas[record['total']] = {**record, 'reserved': 0}
        self.assertEqual({1, 4}, set(novas))
        for device in model.build(model.Shape('some', 4)).devices():
            host, address = inventory.split_provider_name(device.name)
            self.assertEqual(device.name, f'{host}_{(address or "").upper()}')
            self.assertEqual(device.root, device.parent)
            self.assertLessEqual(set(inventory.OF_EACH), set(device.traits))
            ((name, record),) = device.inventories.items()
            self.assertTrue(name.startswith('CUSTOM_'))
            nova = novas[1 if record['total'] == 1 else 4]
            total = {'total': record['total'], 'max_unit': record['total']}
            self.assertEqual({**nova, **total}, {**record, 'reserved': 0})
