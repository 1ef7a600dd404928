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

"""Edits of the layers of Kolla, and of folders of drop-ins."""

import os
import pathlib
import shutil
import tempfile

import testtools

from gpuclient.documents import aliases
from gpuclient.documents.deployers import kolla
from gpuclient.documents import device_specs
from gpuclient.documents import services
from gpuclient import exceptions
from gpuclient.model import alias as alias_model

ALIAS = alias_model.Alias('a', '10de', '20f1', 'type-PF')
OTHER = alias_model.Alias('b', '10de', '2330', 'type-PF')
LINE = f'alias = {ALIAS.render()}\n'
OTHERS = f'alias = {OTHER.render()}\n'
SPEC = {'address': '0000:04:00.0'}
SPEC_LINE = f'device_spec = {device_specs.render(SPEC)}\n'


class FolderTestCase(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        self.root = self.folder / 'kolla' / 'config'

    def write(self, files: dict[str, str]) -> None:
        for name, text in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def content(self) -> dict[str, str]:
        return {
            os.path.relpath(path, self.root): path.read_text()
            for path in self.root.rglob('*.conf')
            if path.is_file()
        }

    def documents(self) -> tuple[aliases.AliasDocument, ...]:
        return aliases.read(os.fspath(self.root))

    def added(self, files: dict[str, str]) -> dict[str, str]:
        self.write(files)
        documents = self.documents()
        for document in documents:
            aliases.add(document, ALIAS)
        for file in documents[0].file.files:
            file.write()
        # Each service has the alias; a second edit changes nothing.
        for document in self.documents():
            self.assertIn(
                ALIAS, [defined.alias for defined in document.aliases]
            )
            self.assertFalse(aliases.add(document, ALIAS))
        return self.content()


class TestKolla(FolderTestCase):
    def test_one_file_for_both(self) -> None:
        self.assertEqual(
            {'nova.conf': f'[pci]\n{LINE}'},
            self.added({'nova.conf': '[pci]\n'}),
        )

    def test_a_file_for_each(self) -> None:
        self.assertEqual(
            {
                'nova.conf': '[DEFAULT]\n',
                'nova/nova-api.conf': f'[pci]\n{LINE}',
                'nova/nova-compute.conf': f'[pci]\nx = 1\n{LINE}',
            },
            self.added(
                {
                    'nova.conf': '[DEFAULT]\n',
                    'nova/nova-api.conf': '',
                    'nova/nova-compute.conf': '[pci]\nx = 1\n',
                }
            ),
        )

    def test_values_of_an_earlier_layer_are_kept(self) -> None:
        """In its own file, it would replace all values of nova.conf."""
        self.assertEqual(
            {
                'nova.conf': f'[pci]\n{OTHERS}{LINE}',
                'nova/nova-compute.conf': '[pci]\nx = 1\n',
            },
            self.added(
                {
                    'nova.conf': f'[pci]\n{OTHERS}',
                    'nova/nova-compute.conf': '[pci]\nx = 1\n',
                }
            ),
        )

    def test_layer_that_takes_effect(self) -> None:
        self.assertEqual(
            {
                'nova.conf': f'[pci]\n{OTHERS}{LINE}',
                'nova/nova-compute.conf': f'[pci]\n{OTHERS}{LINE}',
                'nova/h1/nova.conf': f'[pci]\n{OTHERS}{LINE}',
                'nova/h2/nova.conf': '[pci]\n',
            },
            self.added(
                {
                    'nova.conf': f'[pci]\n{OTHERS}',
                    'nova/nova-compute.conf': f'[pci]\n{OTHERS}',
                    'nova/h1/nova.conf': f'[pci]\n{OTHERS}',
                    'nova/h2/nova.conf': '[pci]\n',
                }
            ),
        )

    def test_no_layer_of_a_service(self) -> None:
        self.write({'nova/nova-compute.conf': '[pci]\n', 'global.conf': ''})
        api, compute = self.documents()
        self.assertTrue(aliases.add(compute, ALIAS))
        error = self.assertRaises(
            exceptions.DocumentError, aliases.add, api, ALIAS
        )
        self.assertIn('create nova.conf or nova/nova-api.conf', str(error))

    def test_hidden_values_stay_hidden(self) -> None:
        self.write(
            {
                'nova.conf': f'[pci]\n{OTHERS}',
                'nova/nova-compute.conf': f'[pci]\n{LINE}',
            }
        )
        _api, compute = self.documents()
        error = self.assertRaises(
            exceptions.UnsafeEdit, aliases.remove, compute, 'a'
        )
        self.assertIn('of an earlier layer would take effect', str(error))
        self.assertIn(f'-{LINE}', error.patch)

    def test_change_and_remove(self) -> None:
        files = {
            'nova.conf': f'[pci]\n{LINE}',
            'nova/nova-api.conf': f'[pci]\n{LINE}{OTHERS}',
        }
        self.write(files)
        documents = self.documents()
        for document in documents:
            aliases.change(document, 'a', {'numa_policy': 'socket'})
        for file in documents[0].file.files:
            file.write()
        for text in self.content().values():
            self.assertEqual(1, text.count('socket'))
        (api, compute) = self.documents()
        self.assertTrue(aliases.remove(api, 'a'))
        self.assertTrue(aliases.remove(compute, 'a'))
        for file in api.file.files:
            file.write()
        self.assertEqual(
            {
                'nova.conf': '[pci]\n',
                'nova/nova-api.conf': f'[pci]\n{OTHERS}',
            },
            self.content(),
        )

    def test_device_specs(self) -> None:
        self.write(
            {
                'nova.conf': '',
                'nova/nova-compute.conf': '',
                'nova/h1/nova.conf': (
                    '[pci]\ndevice_spec = {"address": "1:0.0"}\n'
                ),
            }
        )
        documents = device_specs.read(os.fspath(self.root))
        self.assertEqual(2, len(documents))
        for document in documents:
            self.assertTrue(device_specs.add(document, SPEC))
        for file in documents[0].file.files:
            file.write()
        content = self.content()
        self.assertEqual('', content['nova.conf'])
        self.assertEqual(
            f'[pci]\n{SPEC_LINE}', content['nova/nova-compute.conf']
        )
        self.assertEqual(3, content['nova/h1/nova.conf'].count('\n'))
        for document in device_specs.read(os.fspath(self.root)):
            self.assertFalse(device_specs.add(document, SPEC))
            device_specs.remove(
                document, lambda spec: str(spec.address) == '0000:04:00.0'
            )
        self.assertEqual('[pci]\n', document.confs[-2].text)

    def test_templates(self) -> None:
        """Kolla renders every layer."""
        files = {'nova.conf': '{% if a %}\n[pci]\nx = 1\n{% endif %}\n'}
        self.write(files)
        (api, _compute) = self.documents()
        aliases.add(api, ALIAS)
        (file,) = api.file.files
        error = self.assertRaises(exceptions.UnsafeEdit, file.write)
        self.assertIn('is part of a template', str(error))
        self.assertEqual(files, self.content())

    def test_a_layer_by_its_name(self) -> None:
        self.write({'nova.conf': '[pci]\n{% set a = 1 %}\n'})
        (document,) = aliases.read(os.fspath(self.root / 'nova.conf'))
        self.assertIsNone(document.service)
        self.assertTrue(document.confs[0].is_template)

    def test_new_layer_would_hide_values(self) -> None:
        files = {
            'nova.conf': f'[pci]\n{OTHERS}',
            'nova/nova-compute.conf': '[pci]\n',
        }
        self.write(files)
        path = os.fspath(self.root / 'nova/nova-compute.conf')
        (document,) = aliases.read(path)
        error = self.assertRaises(
            exceptions.UnsafeEdit, aliases.add, document, ALIAS
        )
        self.assertIn('alias would override all values of', str(error))
        self.assertIn(f'pass the folder {self.root}', str(error))
        # There are no device specs that it would replace.
        (compute,) = device_specs.read(path)
        self.assertTrue(device_specs.add(compute, SPEC))
        # If the layer already has aliases, no other values are replaced.
        self.write({'nova/nova-compute.conf': f'[pci]\n{OTHERS}'})
        (document,) = aliases.read(path)
        self.assertTrue(aliases.add(document, ALIAS))

    def test_detection_of_the_root(self) -> None:
        self.write({'nova.conf': '', 'nova/h1/nova.conf': ''})
        root = os.fspath(self.root)
        for name, expected in (
            ('nova.conf', root),
            ('global.conf', root),
            ('nova/nova-api.conf', root),
            ('nova/h1/nova.conf', root),
            ('nova/h1/nova-compute.conf', root),
            ('neutron.conf', None),
            ('nova/h1/x/nova.conf', None),
        ):
            self.assertEqual(
                expected, kolla.root_of(os.path.join(root, name)), name
            )


class TestFolders(FolderTestCase):
    def test_drop_ins(self) -> None:
        self.root = self.folder / 'nova.conf.d'
        self.assertEqual(
            {
                '01-a.conf': '[DEFAULT]\n',
                '02-b.conf': f'[pci]\n{LINE}',
                '.hidden.conf': 'broken',
            },
            self.added(
                {
                    '02-b.conf': '[pci]\n',
                    '01-a.conf': '[DEFAULT]\n',
                    '.hidden.conf': 'broken',
                }
            ),
        )

    def test_refused(self) -> None:
        empty = self.folder / 'x.conf.d'
        empty.mkdir()
        for path, message in (
            (self.folder, 'It is neither a folder of drop-ins'),
            (empty, 'has no configuration of nova-api'),
        ):
            error = self.assertRaises(
                exceptions.DocumentError, services.read, os.fspath(path)
            )
            self.assertIn(message, str(error))
