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

"""Aliases of files, without a cloud."""

import json
import os
import pathlib

import fixtures
import testtools

from gpuclient import exceptions
from gpuclient.operations import alias_inventory


def no_cloud() -> tuple[None, str]:
    return None, 'there is no cloud'


class Case(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        # Not the catalogue of the user who runs the tests.
        self.useFixture(
            fixtures.EnvironmentVariable(
                'XDG_CONFIG_HOME', os.fspath(self.folder / 'none')
            )
        )

    def write(self, file: str, **alias: str | None) -> str:
        text = json.dumps(
            {key: value for key, value in alias.items() if value is not None}
        )
        path = self.folder / file
        path.write_text(f'[pci]\nalias = {text}\n')
        return os.fspath(path)


class TestFindings(Case):
    def findings(self, *device_types: str | None) -> list[str]:
        files = [
            self.write(
                f'nova-{number}.conf',
                name='a',
                vendor_id='10de',
                product_id='2230',
                device_type=device_type,
            )
            for number, device_type in enumerate(device_types)
        ]
        inventory = alias_inventory.read(files, no_cloud).value
        (record,) = inventory.records
        return [
            message[:6]
            for message in alias_inventory.findings(record, inventory.names)
        ]

    def test_device_type(self) -> None:
        """An RTX A6000 is mostly a type-PCI."""
        self.assertEqual([], self.findings('type-PCI'))
        self.assertEqual(['GPU120'], self.findings('type-PF'))
        self.assertEqual(['GPU113'], self.findings(None))

    def test_files_with_different_definitions(self) -> None:
        self.assertEqual(
            ['GPU107', 'GPU120'], self.findings('type-PCI', 'type-PF')
        )


class TestRead(Case):
    def test_without_any_source(self) -> None:
        error = self.assertRaises(
            exceptions.Unreachable, alias_inventory.read, [], no_cloud
        )
        self.assertIn('(there is no cloud)', str(error))

    def test_alias_without_a_definition(self) -> None:
        path = self.write(
            'nova.conf', name='a', vendor_id='10de', product_id='2230'
        )
        (record,) = alias_inventory.read([path], no_cloud).value.records
        self.assertTrue(record.is_known)
        self.assertEqual(('CUSTOM_PCI_10DE_2230',), record.resource_classes)
        self.assertEqual(f'{path}, line 2', record.source)
        self.assertEqual([], record.traits)
        self.assertIsNone(record.units('total'))
        self.assertIsNone(record.hosts)
        self.assertEqual(alias_inventory.SKIPPED, record.nova_api)

    def test_only(self) -> None:
        path = self.write(
            'nova.conf', name='a', vendor_id='10de', product_id='2230'
        )
        inventory = alias_inventory.read([path], no_cloud, 'b').value
        (record,) = inventory.records
        self.assertEqual('b', record.name)
        self.assertFalse(record.is_known)
        self.assertEqual({'a'}, inventory.names)
