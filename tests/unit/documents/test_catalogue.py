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

import os

import ddt
import fixtures
import hypothesis
from hypothesis import strategies
import testtools

from gpuclient.documents import catalogue as catalogue_documents
from gpuclient import exceptions
from gpuclient.model import catalogue

_NEW = "models: {x: {name: X, vendor_id: '10de', product_id: 'ffff'}}"


class _Case(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = self.useFixture(fixtures.TempDir()).path
        self.path = os.path.join(self.folder, 'catalogue.yaml')

    def load(self, text):
        with open(self.path, 'wb') as stream:
            stream.write(text if isinstance(text, bytes) else text.encode())
        return catalogue_documents.load(self.path)


class TestLoad(_Case):
    def test_change(self):
        models = self.load("""
            models:
              nvidia_a100_pcie_40gb:
                device_types: [type-PCI]
                driver_floor: 535
                notes: null
        """)
        model = models.by_name('nvidia_a100_pcie_40gb')
        self.assertEqual(('type-PCI',), model.device_types)
        self.assertEqual('535', model.driver_floor)
        # Other keys keep their values.
        self.assertEqual(40960, model.memory_mb)
        self.assertEqual(self.path, model.sources[-1])
        # The built-in catalogue has not changed.
        self.assertEqual(
            'type-PF',
            catalogue.builtin().by_name('nvidia_a100_pcie_40gb').device_type,
        )

    def test_add(self):
        models = self.load("""
            models:
              acme_one:
                name: ACME One 8GB
                designation: One
                vendor_id: '10DE'
                product_id: '00FF'
                device_types: [type-PF, type-PCI]
                memory_mb: 8192
                bars:
                  - {number: 0, size: 16777216}
                  - {number: 1, size: 8589934592, prefetchable: true}
                nvswitch: false
                driver: nvidia
                open_kernel_modules: required
                form_factor: PCIe
                audio_product_id: '1AEF'
                subsystem_ids: ['10DE:157E']
                architecture: Two
                sources: [its box]
        """)
        self.assertEqual(
            catalogue.Model(
                slug='acme_one',
                name='ACME One 8GB',
                designation='One',
                vendor_id='10de',
                product_id='00ff',
                architecture='Two',
                device_types=('type-PF', 'type-PCI'),
                memory_mb=8192,
                bars=(
                    catalogue.Bar(0, 2**24),
                    catalogue.Bar(1, 2**33, prefetchable=True),
                ),
                driver='nvidia',
                open_kernel_modules='required',
                form_factor='PCIe',
                audio_product_id='1aef',
                subsystem_ids=('10de:157e',),
                sources=('its box',),
            ),
            models.by_name('10de:00ff'),
        )
        self.assertEqual(
            len(catalogue.builtin().models) + 1, len(models.models)
        )

    def test_required_keys_of_a_new_model(self):
        model = self.load(_NEW).by_name('x')
        self.assertEqual('X', model.designation)
        self.assertIsNone(model.device_type)
        self.assertEqual((self.path,), model.sources)

    def test_names_of_sources(self):
        model = self.load("""
            $schema: https://example.com/catalogue.json
            sources: {box: on its box}
            models:
              x: {name: X, vendor_id: '10de', product_id: 'ffff',
                  sources: [box, a label]}
        """).by_name('x')
        self.assertEqual(('on its box', 'a label'), model.sources)

    def test_default_path(self):
        self.useFixture(
            fixtures.EnvironmentVariable('XDG_CONFIG_HOME', self.folder)
        )
        self.assertIs(catalogue.builtin(), catalogue_documents.load())
        folder = os.path.join(self.folder, 'gpuclient')
        os.mkdir(folder)
        with open(os.path.join(folder, 'catalogue.yaml'), 'w') as stream:
            stream.write(_NEW)
        self.assertEqual('X', catalogue_documents.load().by_name('x').name)


@ddt.ddt
class TestRefused(_Case):
    @ddt.data(
        ('', 'file: must be a mapping, not null'),
        ('- a', 'file: must be a mapping, not a list'),
        ('{}', 'models is missing'),
        ('model: {}', 'models is missing'),
        (
            'models: {}\nmodel: {}',
            "file: unknown key 'model'; known keys: models, sources",
        ),
        ('models: {A: {}}', 'models.A: a slug consists of lower-case'),
        ('models: {1: {}}', 'models.1: a slug consists of lower-case'),
        ('models: {x__y: {}}', 'models.x__y: a slug consists'),
        ('models: {x: []}', 'models.x: must be a mapping, not a list'),
        ('models: {x: {name: X}}', 'models.x.vendor_id is missing'),
        (
            "models: {x: {vendor_id: 'a'}}",
            'models.x.vendor_id: must be four hex',
        ),
        (
            'models: {x: {product_id: 2330}}',
            'models.x.product_id: must be four hex',
        ),
        ('models: {x: {nmae: X}}', "models.x: unknown key 'nmae'; known"),
        ('models: {x: {slug: y}}', "models.x: unknown key 'slug'"),
        ('models: {x: {1: y}}', 'models.x: unknown key 1'),
        ("models: {x: {name: ''}}", 'models.x.name: invalid value'),
        ('models: {x: {name: "a\\nb"}}', 'models.x.name: contains a line end'),
        (
            'models: {x: {device_types: type-PF}}',
            'models.x.device_types: must be a list, not a string',
        ),
        (
            'models: {x: {device_types: [PF]}}',
            'models.x.device_types[0]: must be one of type-PCI, type-PF, not '
            "'PF'",
        ),
        (
            'models: {x: {device_types: [[]]}}',
            'models.x.device_types[0]: must be one of',
        ),
        (
            'models: {x: {memory_mb: 0}}',
            'models.x.memory_mb: must be an integer of at least 1',
        ),
        (
            'models: {x: {memory_mb: true}}',
            'models.x.memory_mb: must be an integer of at least 1',
        ),
        (
            "models: {x: {nvswitch: 'no'}}",
            'models.x.nvswitch: must be true or false',
        ),
        (
            'models: {x: {open_kernel_modules: yes}}',
            'models.x.open_kernel_modules: must be one of required, '
            "supported, unsupported, not 'yes'",
        ),
        (
            'models: {x: {bars: [1]}}',
            'models.x.bars[0]: must be a mapping, not 1',
        ),
        (
            'models: {x: {bars: [{number: 6, size: 1}]}}',
            'models.x.bars[0].number: must be at most 5',
        ),
        (
            'models: {x: {bars: [{number: 1, size: 3}]}}',
            'models.x.bars[0].size: must be a power of two, in bytes',
        ),
        (
            'models: {x: {bars: [{number: 1}]}}',
            'models.x.bars[0].size is missing',
        ),
        (
            'models: {x: {bars: [{number: 1, size: 2, kind: 3}]}}',
            "models.x.bars[0]: unknown key 'kind'; known keys: number",
        ),
        (
            'models: {x: {subsystem_ids: [157e]}}',
            "models.x.subsystem_ids[0]: must be IDs such as '10de:157e'",
        ),
        (
            'models: {x: {sources: [1]}}',
            'models.x.sources[0]: must be a string, not 1',
        ),
        ('models: {"a\\nb": {}}', "models.'a\\nb': a slug consists"),
        (
            'models: {x: {device_types: null}}',
            'models.x.device_types: must not',
        ),
        ('models: {x: {sources: [""]}}', 'models.x.sources[0]: invalid value'),
        (
            'models: 2025-13-45',
            'models: must be a mapping, not a string',
        ),
    )
    @ddt.unpack
    def test_field(self, text, message):
        error = self.assertRaises(exceptions.DocumentError, self.load, text)
        self.assertTrue(
            str(error).startswith(f'{self.path}: {message}'), str(error)
        )
        self.assertNotIn('\n', str(error))

    @ddt.data(
        (
            'models:\n  x: {}\n  x: {}\n',
            ", line 3: duplicate key 'x'",
        ),
        ('models:\n\tx: {}\n', ', line 2: found character'),
        ('models: {', ', line 1: expected the node content'),
        ('models: *a', ', line 1: found undefined alias'),
        ('a: 1\n---\nb: 2\n', ', line 2: but found another document'),
        ('models: !!python/object:os.x {}', ', line 1: could not determine'),
        ('models: {? [] : 1}', ', line 1: found unhashable key'),
        ('[' * 5000, ': maximum recursion depth exceeded'),
        ('a: "\0"', ': unacceptable character #x0000'),
    )
    @ddt.unpack
    def test_not_yaml(self, text, message):
        error = self.assertRaises(exceptions.DocumentError, self.load, text)
        self.assertTrue(
            str(error).startswith(f'Cannot read {self.path}{message}'),
            str(error),
        )
        self.assertNotIn('\n', str(error))

    def test_not_text(self):
        for content, message in (
            (b'\xff\xfe', 'it is not UTF-8 (byte 0)'),
            (b'#' * (16 * 2**20 + 1), 'it is larger than 16 MiB'),
        ):
            error = self.assertRaises(
                exceptions.DocumentError, self.load, content
            )
            self.assertEqual(f'Cannot read {self.path}: {message}', str(error))

    def test_no_file(self):
        error = self.assertRaises(
            exceptions.DocumentError, catalogue_documents.load, '/missing'
        )
        self.assertEqual(
            'Cannot read /missing: No such file or directory', str(error)
        )

    @hypothesis.given(
        strategies.recursive(
            strategies.none()
            | strategies.booleans()
            | strategies.integers()
            | strategies.floats()
            | strategies.text(),
            lambda inner: (
                strategies.lists(inner)
                | strategies.dictionaries(
                    strategies.sampled_from(
                        ['name', 'bars', 'vendor_id', 'number', 'size']
                    )
                    | strategies.text(),
                    inner,
                )
            ),
        )
    )
    @hypothesis.settings(deadline=None)
    def test_any_data(self, data):
        """Data is either read or refused with the same exception."""
        try:
            catalogue.merged(
                catalogue.builtin(), {'models': {'x': data}}, 'path'
            )
        except exceptions.InvalidData:
            return
        self.assertLessEqual({'name', 'vendor_id', 'product_id'}, set(data))
