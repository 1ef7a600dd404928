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

"""The clouds of the benchmark are like those that Nova creates.

And what it does by hand, with osc-placement, has the same answers as ours.
"""

import json
import pathlib
import typing

import fixtures

from gpuclient.cloud.placement import reader
from gpuclient.model import inventory

from tests.benchmarks.placement import by_hand
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


class TestByHand(base.CloudTestCase):
    """On one host, which has two cards of this class."""

    host = 'edpm-compute-4.ctlplane.example.com'
    alias, resource_class = 'nvidia_l4', 'CUSTOM_PCI_10DE_27B8'

    def run_by_hand(self, recipe: by_hand.Recipe) -> str:
        """Run a recipe, but only one host one by one; return its id."""

        def run(*command: str) -> typing.Any:
            return self.openstack(
                '--os-placement-api-version', '1.39', *command, '-f', 'json'
            )

        recipe.run_lists(run)
        (root,) = (
            uuid for uuid, name in recipe.hosts.items() if name == self.host
        )
        for command in recipe.by_host()[root]:
            recipe.take(command, run(*command))
        recipe.run_rest(run)
        return root

    def test_explain(self) -> None:
        flavor = self.make_flavor(f'{self.alias}:3')
        folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        config = folder / 'nova.conf'
        alias = {
            'name': self.alias,
            'vendor_id': '10de',
            'product_id': '27b8',
            'device_type': 'type-PCI',
        }
        config.write_text(f'[pci]\nalias = {json.dumps(alias)}\n')
        shown = self.openstack(
            *('gpu', 'flavor', 'explain', flavor.name, '-f', 'json'),
            *('--config', str(config)),
            status=3,
        )
        recipe = by_hand.Explain(
            flavor.name, {self.alias: self.resource_class}
        )
        root = self.run_by_hand(recipe)
        self.assertEqual([], recipe.candidates)
        # Servers of other tests use resources and devices meanwhile.
        ours = {
            condition['kind']: condition['hosts']
            for condition in shown['conditions']
        }
        self.assertEqual(
            [ours['devices'], ours['trait']],
            [
                recipe.meeting[key]
                for key in (self.resource_class, 'OWNER_NOVA')
            ],
        )
        self.assertEqual(2, recipe.count(root, self.resource_class)[1])
        (reason,) = (
            lack['reason']
            for lack in shown['conditions'][0]['lacks']
            if self.host in lack['hosts']
        )
        self.assertIn(' free of 2', reason)

    def test_check(self) -> None:
        recipe = by_hand.Check()
        root = self.run_by_hand(recipe)
        self.assertEqual({root: 1.0}, recipe.ratios)
        self.assertEqual(2, recipe.count(root, self.resource_class)[1])
