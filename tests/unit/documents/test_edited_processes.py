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

"""Edits of files of processes that also read other files."""

import os

from gpuclient.documents import aliases
from gpuclient.documents import device_specs
from gpuclient import exceptions
from gpuclient.model import alias as alias_model
from gpuclient.operations import configuration_edits
from tests.unit.documents import test_tree

ON, ALIAS = test_tree.ON, test_tree.ALIAS
CLASS = alias_model.parse('{"name": "gpu", "resource_class": "CUSTOM_GPU"}')
SAME = alias_model.parse(ALIAS.partition(' = ')[2].strip())


class TestEdits(test_tree.TreeTestCase):
    def path(self, name: str) -> str:
        return os.fspath(self.folder / name)

    def test_switch_in_another_file(self) -> None:
        """An alias without IDs needs pci_in_placement, in any file."""
        self.write({'nova.conf': '[api]\n', 'nova-compute.conf': '[pci]\n'})
        (document,) = aliases.read(self.path('nova-compute.conf'))
        error = self.assertRaises(
            exceptions.InvalidAlias, aliases.add, document, CLASS
        )
        self.assertIn('--pci-in-placement', str(error))
        self.write({'nova.conf': ON})
        (document,) = aliases.read(self.path('nova-compute.conf'))
        self.assertTrue(aliases.add(document, CLASS))
        self.assertEqual(
            [self.path('nova-compute.conf')],
            [file.path for file in document.file.files if file.changed],
        )

    def test_alias_in_another_file(self) -> None:
        """A second definition is refused, with any file of the service."""
        self.write(
            {
                'nova.conf': f'{ON}[pci]\n{ALIAS}',
                'nova-compute.conf': '[pci]\n',
                'nova-api.conf': '[pci]\n',
            }
        )
        for name in ('nova-compute.conf', 'nova-api.conf'):
            (document,) = aliases.read(self.path(name))
            error = self.assertRaises(
                exceptions.InvalidAlias, aliases.add, document, SAME
            )
            self.assertIn('have multiple specs', str(error))

    def test_reporting_in_another_file(self) -> None:
        entry = {
            'vendor_id': '10de',
            'product_id': '20f1',
            'one_time_use': 'true',
        }
        self.write({'nova.conf': '[api]\n', 'nova-compute.conf': '[pci]\n'})
        (document,) = device_specs.read(self.path('nova-compute.conf'))
        self.assertRaises(
            exceptions.InvalidDeviceSpec, device_specs.add, document, entry
        )
        self.write({'nova.conf': '[pci]\nreport_in_placement = True\n'})
        (document,) = device_specs.read(self.path('nova-compute.conf'))
        self.assertTrue(device_specs.add(document, entry))

    def test_broken_neighbor(self) -> None:
        """The broken file is not edited, so it does not matter."""
        self.write({'nova.conf': 'broken\n', 'nova-compute.conf': '[pci]\n'})
        (document,) = aliases.read(self.path('nova-compute.conf'))
        self.assertTrue(aliases.add(document, SAME))

    def test_folder(self) -> None:
        """Files of both services in /etc/nova are edited, each line once."""
        self.write(
            {
                'nova.conf': f'{ON}[pci]\n',
                'nova-compute.conf': '[libvirt]\nvirt_type = kvm\n',
            }
        )
        for number, document in enumerate(aliases.read(self.path(''))):
            self.assertEqual(number == 0, aliases.add(document, SAME))
        (changed,) = [file for file in document.file.files if file.changed]
        self.assertEqual(
            (self.path('nova.conf'), f'{ON}[pci]\nalias = {SAME.render()}\n'),
            (changed.path, changed.content().decode()),
        )
        (document,) = device_specs.read(self.path(''))
        self.assertEqual('nova-compute', document.service)

    def test_folder_of_others(self) -> None:
        self.write({'a.txt': ''})
        error = self.assertRaises(
            exceptions.DocumentError, aliases.read, self.path('')
        )
        self.assertIn('is a folder without nova.conf', str(error))

    def test_file_of_one_service(self) -> None:
        """The name of the file or its folder identifies the service."""
        self.write(
            {
                'kolla/nova-api/nova.conf': '[pci]\n',
                'kolla/nova-compute/nova.conf': '[pci]\n',
                'all/nova.conf': '[pci]\n',
                'etc/nova-compute.conf': '[pci]\n',
            }
        )
        for name, service in (
            ('kolla/nova-api/nova.conf', 'nova-api'),
            ('kolla/nova-compute/nova.conf', 'nova-compute'),
            ('etc/nova-compute.conf', 'nova-compute'),
            ('all/nova.conf', None),
        ):
            (document,) = aliases.read(self.path(name))
            self.assertEqual(service, document.service, name)
        self.assertEqual(
            (), device_specs.read(self.path('kolla/nova-api/nova.conf'))
        )
        error = self.assertRaises(
            exceptions.DocumentError, aliases.read, self.path('kolla')
        )
        self.assertIn(
            f'pass each file, such as {self.path("kolla/nova-api/nova.conf")}',
            str(error),
        )

    def test_only_folder_in_a_folder(self) -> None:
        """It is read; several are not, and a file that exists is named."""
        path = 'custom/nova/nova-api.conf'
        self.write({path: '[pci]\n', 'custom/README': ''})
        (document,) = aliases.read(self.path('custom'))
        self.assertEqual('nova-api', document.service)
        self.write({'custom/other/nova-compute.conf': '[pci]\n'})
        error = self.assertRaises(
            exceptions.DocumentError, aliases.read, self.path('custom')
        )
        self.assertIn(f'pass each file, such as {self.path(path)}', str(error))

    def test_file_with_services_named_by_the_user(self) -> None:
        self.write({'nova-api/nova.conf': '[pci]\n'})
        path = self.path('nova-api/nova.conf')
        for named, services in (
            (['nova-api'], ['nova-api']),
            (['nova-compute'], ['nova-compute']),
            (['nova-api', 'nova-compute'], ['nova-api']),
        ):
            (edit,) = configuration_edits.read([(path, named)], aliases.read)
            self.assertEqual(services, edit.services)

    def test_folder_of_a_tool_whose_files_are_not_edited(self) -> None:
        self.write(
            {
                'a.yaml': 'parameter_defaults:\n  NovaPCIPassthrough:\n'
                '  - {vendor_id: "10de"}\n'
            }
        )
        error = self.assertRaises(
            exceptions.DocumentError, aliases.read, self.path('')
        )
        self.assertIn(
            'has files of TripleO, which this command does not edit',
            str(error),
        )
