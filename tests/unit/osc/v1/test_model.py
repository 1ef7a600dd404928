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

import argparse
import io
import json
import os
import pathlib
import unittest.mock

import fixtures
import testtools

from gpuclient.documents import pci_ids
from gpuclient import exceptions
from gpuclient.osc.v1 import alias
from gpuclient.osc.v1 import alias_edit
from gpuclient.osc.v1 import device_spec
from gpuclient.osc.v1 import model

_GOLDEN = pathlib.Path(__file__).parent / 'golden'
#: Models of a vendor that the catalogue lacks, so that the golden files do not
#: change with the catalogue.
_CATALOGUE = """
models:
  acme_one_8gb:
    name: '=ACME One 8GB'
    designation: One
    vendor_id: '1af4'
    product_id: '00ff'
    architecture: First
    device_types: [type-PF, type-PCI]
    memory_mb: 8192
    bars:
      - {number: 0, size: 16777216}
      - {number: 1, size: 8589934592, prefetchable: true}
      - {number: 5, size: 4096}
    nvswitch: true
    driver: acme
    driver_floor: '3'
    open_kernel_modules: required
    form_factor: PCIe
    audio_product_id: '00fe'
    subsystem_ids: ['1af4:0001']
    notes: A jumper decides
    sources: [its box]
  acme_two:
    name: ACME Two
    vendor_id: '1af4'
    product_id: '00fd'
"""


class _Case(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = self.useFixture(fixtures.TempDir()).path
        self.catalogue = self.write('mine.yaml', _CATALOGUE)
        # No files of the user who runs the tests, and no cloud.
        for name in [name for name in os.environ if name.startswith('OS_')]:
            self.useFixture(fixtures.EnvironmentVariable(name))
        self.useFixture(
            fixtures.EnvironmentVariable('XDG_CONFIG_HOME', self.folder)
        )

    def write(self, name, text):
        path = os.path.join(self.folder, name)
        with open(path, 'w') as stream:
            stream.write(text)
        return path

    def run_command(self, command, *arguments):
        """Return what is on stdout."""
        app = unittest.mock.Mock()
        app.cloud_config.get_one.side_effect = ValueError('no cloud')
        instance = command(app, argparse.Namespace())
        instance.app.stdout = io.StringIO()
        parsed = instance.get_parser('x').parse_args(arguments)
        self.assertEqual(0, instance.run(parsed))
        return instance.app.stdout.getvalue()

    def json(self, command, *arguments):
        return json.loads(self.run_command(command, *arguments, '-f', 'json'))

    def refused(self, command, *arguments):
        message = str(
            self.assertRaises(
                exceptions.GPUError, self.run_command, command, *arguments
            )
        )
        self.assertNotIn('\n', message)
        return message

    def golden(self, name, document):
        expected = json.loads((_GOLDEN / f'{name}.json').read_text())
        self.assertEqual(expected, document)


class TestList(_Case):
    def test_json(self):
        mine = ('--catalogue', self.catalogue, '--vendor', '1af4')
        self.golden('model_list', self.json(model.ListModel, *mine))
        self.golden(
            'model_list_long', self.json(model.ListModel, *mine, '--long')
        )

    def test_table(self):
        shown = self.run_command(
            model.ListModel, '--catalogue', self.catalogue, '--long'
        )
        self.assertIn('8 GiB', shown)
        self.assertIn('| =ACME One 8GB', shown)

    def test_vendors(self):
        for name, number in (('nvidia', '10de'), ('AMD', '1002')):
            rows = self.json(model.ListModel, '--vendor', name)
            self.assertEqual({number}, {row['Vendor ID'] for row in rows})
        self.assertEqual(
            "No vendor 'acme' in the catalogue; its vendors: nvidia, amd, "
            'intel',
            self.refused(model.ListModel, '--vendor', 'acme'),
        )

    def test_all(self):
        self.assertGreater(len(self.json(model.ListModel)), 100)

    def test_default_file(self):
        os.mkdir(os.path.join(self.folder, 'gpuclient'))
        path = self.write('gpuclient/catalogue.yaml', _CATALOGUE)
        rows = self.json(model.ListModel, '--vendor', '1af4')
        self.assertEqual(2, len(rows))
        self.write('gpuclient/catalogue.yaml', 'models: 1')
        self.assertEqual(
            f'{path}: models: must be a mapping, not 1',
            self.refused(model.ListModel),
        )


class TestShow(_Case):
    def test_json(self):
        self.golden(
            'model_show',
            self.json(
                model.ShowModel, 'acme_one_8gb', '--catalogue', self.catalogue
            ),
        )
        self.golden(
            'model_show_least',
            self.json(
                model.ShowModel, '1af4:00fd', '--catalogue', self.catalogue
            )
            | {'sources': ['...']},
        )

    def test_table(self):
        shown = self.run_command(
            model.ShowModel, 'acme one 8gb', '--catalogue', self.catalogue
        )
        for text in (
            'BAR 0: 16 MiB ',
            'BAR 1: 8 GiB, prefetchable',
            'BAR 5: 4 KiB ',
        ):
            self.assertIn(text, shown)

    def test_names(self):
        for text in ('nvidia_a2', 'NVIDIA A2', 'a2'):
            shown = self.json(model.ShowModel, text)
            self.assertEqual('nvidia_a2', shown['slug'])
            self.assertEqual('GA107GL [A2 / A16]', shown['pci_name'])

    def test_model_only_in_pci_ids(self):
        shown = self.json(model.ShowModel, '10DE:2684')
        self.assertEqual('AD102 [GeForce RTX 4090]', shown.pop('pci_name'))
        self.assertEqual('NVIDIA', shown.pop('vendor'))
        self.assertEqual('10de', shown.pop('vendor_id'))
        self.assertEqual('2684', shown.pop('product_id'))
        self.assertEqual({None}, set(shown.values()))

    def test_without_pci_ids(self):
        logger = self.useFixture(fixtures.FakeLogger())
        with unittest.mock.patch.object(pci_ids, '_candidates', list):
            shown = self.json(model.ShowModel, 'nvidia_a2')
            self.assertIsNone(shown['pci_name'])
            self.assertEqual(
                'pci_name is null because there is no PCI ID database: '
                'install pciutils, hwdata or python-gpuclient[pciids]\n',
                logger.output,
            )
            self.assertIn(
                'has 10de:2684', self.refused(model.ShowModel, '10de:2684')
            )

    def test_refused(self):
        for text, beginning in (
            ('a9000', "No model 'a9000' in the catalogue: "),
            (
                '10de:25b6',
                "'10de:25b6' matches 2 models; name one of: nvidia_a16, "
                'nvidia_a2',
            ),
            (
                '10de:0000',
                'Neither the catalogue nor the PCI ID database has 10de:0000',
            ),
        ):
            self.assertTrue(
                self.refused(model.ShowModel, text).startswith(beginning)
            )
        self.assertEqual(
            'Cannot read /missing: No such file or directory',
            self.refused(model.ShowModel, 'a2', '--catalogue', '/missing'),
        )


class TestModelOption(_Case):
    """``--model`` of the commands with options for IDs."""

    def create(self, *arguments):
        shown = self.json(alias.CreateAlias, *arguments)
        value = json.loads(shown['api_line'].removeprefix('alias = '))
        return value, [warning[:6] for warning in shown['warnings']]

    def test_create(self):
        self.assertEqual(
            (
                {
                    'name': 'gpu',
                    'vendor_id': '10de',
                    'product_id': '20f1',
                    'device_type': 'type-PF',
                },
                [],
            ),
            self.create('gpu', '--model', 'a100 pcie 40gb'),
        )

    def test_options_override_the_model(self):
        value, warnings = self.create(
            *('gpu', '--model', 'nvidia_a100_pcie_40gb'),
            *('--device-type', 'type-PCI'),
        )
        self.assertEqual('type-PCI', value['device_type'])
        self.assertEqual(['GPU120'], warnings)
        value, warnings = self.create(
            *('gpu', '--model', 'nvidia_a100_pcie_40gb'),
            *('--product-id', '20b5'),
        )
        self.assertEqual('20b5', value['product_id'])
        self.assertEqual([], warnings)

    def test_the_device_type_is_a_choice(self):
        value, warnings = self.create('gpu', '--model', 'l40s')
        self.assertEqual('type-PF', value['device_type'])
        self.assertEqual(['GPU121'], warnings)
        shown = self.json(
            *(alias.CreateAlias, 'gpu', '--model', 'acme_one_8gb'),
            *('--catalogue', self.catalogue),
        )
        self.assertEqual(
            [
                'GPU121: =ACME One 8GB is type-PF or type-PCI, depending on '
                'the settings of the card; type-PF is used (A jumper decides)'
            ],
            shown['warnings'],
        )

    def test_unknown_device_type(self):
        value, warnings = self.create('gpu', '--model', 'w6800')
        self.assertNotIn('device_type', value)
        self.assertEqual(['GPU113'], warnings)

    def test_alias_is_validated(self):
        _value, warnings = self.create(
            *('nvidia_a2', '--vendor-id', '10de', '--product-id', '20f1'),
            *('--device-type', 'type-PCI'),
        )
        self.assertEqual(['GPU119', 'GPU120'], warnings)
        # The database of IDs has it, so it is not an error.
        _value, warnings = self.create(
            *('rtx', '--vendor-id', '10de', '--product-id', '2684'),
            *('--device-type', 'type-PCI'),
        )
        self.assertEqual([], warnings)
        _value, warnings = self.create(
            *('rtx', '--vendor-id', '10de', '--product-id', 'fffe'),
            *('--device-type', 'type-PCI'),
        )
        self.assertEqual(['GPU117'], warnings)
        # Without a database, this is not known.
        self.useFixture(
            fixtures.MonkeyPatch(
                'gpuclient.operations.device_names._names', lambda: None
            )
        )
        _value, warnings = self.create(
            *('rtx', '--vendor-id', '10de', '--product-id', 'fffe'),
            *('--device-type', 'type-PCI'),
        )
        self.assertEqual([], warnings)

    def test_set(self):
        path = self.write(
            'nova.conf',
            '[pci]\nalias = {"name": "gpu", "vendor_id": "10de", '
            '"product_id": "1db6", "device_type": "type-PCI"}\n',
        )
        shown = self.json(
            *(alias_edit.SetAlias, 'gpu', '--model', 'l4', '--config', path)
        )
        self.assertEqual([], shown['warnings'])
        self.assertIn('"product_id": "27b8"', shown['lines'][0])
        self.assertIn('"device_type": "type-PF"', shown['lines'][0])
        shown = self.json(
            *(alias_edit.SetAlias, 'gpu', '--model', 'a30'),
            *('--no-device-type', '--config', path),
        )
        self.assertNotIn('device_type', shown['lines'][0])

    def test_device_spec(self):
        shown = self.json(device_spec.CreateDeviceSpec, '--model', 'a2')
        self.assertEqual(
            'device_spec = {"vendor_id": "10de", "product_id": "25b6"}',
            shown['line'],
        )

    def test_refused(self):
        for command, arguments in (
            (alias.CreateAlias, ['gpu']),
            (alias_edit.SetAlias, ['gpu']),
            (device_spec.CreateDeviceSpec, []),
        ):
            message = self.refused(command, *arguments, '--model', 'a100')
            self.assertIn("'a100' matches 4 models", message)
