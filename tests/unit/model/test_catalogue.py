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

import testtools

from gpuclient import exceptions
from gpuclient.model import catalogue


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
        # A board that is not known says nothing.
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
        # Not A16, nor any A2000.
        self.assertEqual('nvidia_a2', self.catalogue.by_name('A2').slug)

    def test_unknown_name(self) -> None:
        for text in ('a9999', '10de:ffff', '', ' - '):
            error = self.assertRaises(
                exceptions.NotFound, self.catalogue.by_name, text
            )
            self.assertIn(f'The catalogue has no model {text!r}', str(error))

    def test_ambiguous_name(self) -> None:
        error = self.assertRaises(
            exceptions.Ambiguous, self.catalogue.by_name, '10de:25b6'
        )
        self.assertEqual(
            "'10de:25b6' may be any of 2 models: nvidia_a16, nvidia_a2",
            str(error),
        )

    def test_of_vendor(self) -> None:
        found = self.catalogue.of_vendor('nvidia')
        self.assertEqual(found, self.catalogue.of_vendor('10DE'))
        self.assertIn('nvidia_a2', self._slugs(found))
        self.assertEqual({'10de'}, {model.vendor_id for model in found})
        self.assertEqual((), self.catalogue.of_vendor('nobody'))

    def test_of_designation(self) -> None:
        self.assertEqual(
            {'A100'},
            {
                model.designation
                for model in self.catalogue.of_designation('a100')
            },
        )


class TestModel(testtools.TestCase):
    def test_properties(self) -> None:
        model = catalogue.builtin().by_name('nvidia_a100_pcie_40gb')
        self.assertEqual('10de:20f1', model.ids)
        self.assertEqual('NVIDIA', model.vendor)
        self.assertEqual('type-PF', model.device_type)
        self.assertIs(False, model.needs_open_kernel_modules)
        self.assertEqual('CUSTOM_NVIDIA_A100_PCIE_40GB', model.resource_class)
        self.assertEqual(
            catalogue.Bar(1, 64 * 1024**3, prefetchable=True),
            model.largest_bar,
        )
