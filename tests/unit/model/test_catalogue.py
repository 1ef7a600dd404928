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

import re

import testtools

from gpuclient.documents import pci_ids
from gpuclient import exceptions
from gpuclient.model import catalogue


#: Names that differ in pci.ids: ``GH100 [H100L 94GB]``.
_OTHER_NAMES = {
    ('10de:2321', 'H100 NVL'): 'H100L 94GB',
    ('1002:66a1', 'MI60'): 'MI50',
}


class TestLookUps(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.catalogue = catalogue.builtin()

    def _slugs(self, models) -> list[str]:
        return [model.slug for model in models]

    def test_by_ids(self) -> None:
        for vendor, product in (('10de', '20f1'), ('10DE', '20F1')):
            self.assertEqual(
                ['nvidia_a100_pcie_40gb'],
                self._slugs(self.catalogue.by_ids(vendor, product)),
            )
        self.assertEqual((), self.catalogue.by_ids('20f1', '10de'))
        self.assertEqual((), self.catalogue.by_ids('10de', None))

    def test_ids_that_models_share(self) -> None:
        self.assertEqual(
            ['nvidia_a16', 'nvidia_a2'],
            self._slugs(self.catalogue.by_ids('10de', '25b6')),
        )
        self.assertEqual(
            ['nvidia_a2'],
            self._slugs(self.catalogue.by_ids('10de', '25b6', '10DE:157E')),
        )
        # An unknown board does not decide.
        self.assertEqual(
            ['nvidia_a16', 'nvidia_a2'],
            self._slugs(self.catalogue.by_ids('10de', '25b6', '1028:0001')),
        )

    def test_by_name(self) -> None:
        for text in (
            'nvidia_a100_pcie_40gb',
            'NVIDIA-A100-PCIe-40GB',
            'A100 PCIe 40GB',
            '10de:20f1',
            '0x10DE:0x20F1',
            'a100 40gb pcie',
        ):
            self.assertEqual(
                'nvidia_a100_pcie_40gb',
                self.catalogue.by_name(text).slug,
                text,
            )
        # Neither A16 nor A2000.
        self.assertEqual('nvidia_a2', self.catalogue.by_name('A2').slug)

    def test_unknown_name(self) -> None:
        for text in ('a9999', '10de:ffff', '', ' - '):
            error = self.assertRaises(
                exceptions.NotFound, self.catalogue.by_name, text
            )
            self.assertIn(f'No model {text!r} in the catalogue', str(error))

    def test_ambiguous_name(self) -> None:
        error = self.assertRaises(
            exceptions.Ambiguous, self.catalogue.by_name, '10de:25b6'
        )
        self.assertEqual(
            "'10de:25b6' matches 2 models; name one of: nvidia_a16, nvidia_a2",
            str(error),
        )
        self.assertRaises(exceptions.Ambiguous, self.catalogue.by_name, 'a100')

    def test_name_of_many_models(self) -> None:
        error = self.assertRaises(
            exceptions.Ambiguous, self.catalogue.by_name, 'nvidia'
        )
        message = str(error)
        self.assertEqual(10, message.count('nvidia_'))
        self.assertIn('"openstack gpu model list" lists all models', message)

    def test_of_vendor(self) -> None:
        models = self.catalogue.of_vendor('nvidia')
        self.assertEqual(models, self.catalogue.of_vendor('10DE'))
        self.assertIn('nvidia_a2', self._slugs(models))
        self.assertEqual({'10de'}, {model.vendor_id for model in models})
        self.assertEqual((), self.catalogue.of_vendor('nobody'))


class TestModel(testtools.TestCase):
    def test_properties(self) -> None:
        model = catalogue.builtin().by_name('nvidia_a100_pcie_40gb')
        self.assertEqual('10de:20f1', model.ids)
        self.assertEqual('NVIDIA', model.vendor)
        self.assertEqual('type-PF', model.device_type)
        self.assertEqual('CUSTOM_NVIDIA_A100_PCIE_40GB', model.resource_class)
        self.assertEqual(
            catalogue.Bar(1, 64 * 1024**3, prefetchable=True),
            model.largest_bar,
        )


class TestTables(testtools.TestCase):
    """The tables, compared with the database of PCI IDs and each other."""

    def setUp(self) -> None:
        super().setUp()
        self.models = catalogue.builtin().models

    def test_enough_of_each_vendor(self) -> None:
        self.assertGreaterEqual(len(self.models), 40)
        for vendor in catalogue.VENDORS:
            self.assertGreaterEqual(
                len(catalogue.builtin().of_vendor(vendor)), 10
            )

    def test_ids_against_the_database(self) -> None:
        names = pci_ids.load()
        for model in self.models:
            name = names.device(model.vendor_id, model.product_id)
            self.assertIsNotNone(name, model)
            wanted = _OTHER_NAMES.get(
                (model.ids, model.designation), model.designation
            )
            self.assertLessEqual(
                set(catalogue.name_words(wanted)),
                set(catalogue.name_words(name)),
                model,
            )
            # Models with the same IDs may have different sizes.
            sizes = re.findall(r'(\d+) ?GB', name)
            shared = catalogue.builtin().by_ids(
                model.vendor_id, model.product_id
            )
            if len(sizes) == len(shared) == 1 and model.memory_mb is not None:
                self.assertEqual(model.memory_mb, int(sizes[0]) * 1024, model)
            if model.audio_product_id is not None:
                self.assertIn(
                    'Audio',
                    names.device(model.vendor_id, model.audio_product_id),
                    model,
                )

    def test_desktop_boards(self) -> None:
        """Boards that small clouds pass through are found by their IDs."""
        builtin = catalogue.builtin()
        for product, name in (
            ('102d', 'NVIDIA Tesla K80'),
            ('1c30', 'NVIDIA Quadro P2000'),
            ('1bb0', 'NVIDIA Quadro P5000'),
            ('1b06', 'NVIDIA GeForce GTX 1080 Ti'),
            ('1e04', 'NVIDIA GeForce RTX 2080 Ti'),
            ('2204', 'NVIDIA GeForce RTX 3090'),
            ('1ff2', 'NVIDIA T400 4GB'),
            ('1ff0', 'NVIDIA T1000 8GB'),
        ):
            (model,) = builtin.by_ids('10de', product)
            self.assertEqual(name, model.name)
            # A type without a source is omitted.
            self.assertIn(model.device_types, ((), ('type-PCI',)))

    def test_form(self) -> None:
        for model in self.models:
            self.assertRegex(model.slug, r'\A[a-z0-9]+(_[a-z0-9]+)*\Z')
            self.assertRegex(model.ids, r'\A[0-9a-f]{4}:[0-9a-f]{4}\Z')
            self.assertIn(model.vendor_id, catalogue.VENDORS)
            self.assertTrue(model.name.startswith(f'{model.vendor} '))
            self.assertLessEqual(
                set(catalogue.name_words(model.designation)),
                set(catalogue.name_words(model.name)),
            )
            self.assertLessEqual(
                set(model.device_types), {'type-PCI', 'type-PF'}
            )
            self.assertTrue(model.sources, model)
            self.assertIn(
                model.open_kernel_modules,
                (*catalogue.OPEN_KERNEL_MODULES, None),
            )
            numbers = [bar.number for bar in model.bars]
            self.assertEqual(sorted(set(numbers)), numbers)
            for bar in model.bars:
                self.assertEqual(0, bar.size & (bar.size - 1), model)
                self.assertIn(bar.number, range(6))

    def test_number_of_complete_models(self) -> None:
        complete = [
            model
            for model in self.models
            if model.memory_mb and model.device_types and model.bars
        ]
        self.assertGreaterEqual(len(complete), 39)

    def test_bars_have_a_source(self) -> None:
        for model in self.models:
            sourced = any(
                re.match(r'BARs?\b|BAR\d:|frame buffer BAR:', source)
                for source in model.sources
            )
            self.assertEqual(bool(model.bars), sourced, model)

    def test_slugs_and_names_are_unique(self) -> None:
        for values in (
            [model.slug for model in self.models],
            [model.name for model in self.models],
            [(model.ids, model.name) for model in self.models],
        ):
            self.assertEqual(len(values), len(set(values)))

    def test_every_model_is_found_by_its_names(self) -> None:
        builtin = catalogue.builtin()
        for model in self.models:
            for text in (model.slug, model.name):
                self.assertEqual(model, builtin.by_name(text))
            self.assertIn(
                model, builtin.by_ids(model.vendor_id, model.product_id)
            )
            for subsystem in model.subsystem_ids:
                self.assertEqual(
                    (model,),
                    builtin.by_ids(
                        model.vendor_id, model.product_id, subsystem
                    ),
                )

    def test_resource_classes_are_legal(self) -> None:
        for model in self.models:
            self.assertEqual(
                f'CUSTOM_{model.slug.upper()}', model.resource_class
            )
