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

import ddt
import testtools

from gpuclient import exceptions
from gpuclient.model import alias as alias_model
from gpuclient.model import naming
from gpuclient.rules import alias as alias_rules
from gpuclient.rules import finding

IDS = {'vendor_id': '10de', 'product_id': '20f1', 'device_type': 'type-PF'}


def codes(**kwargs: str) -> list[str]:
    alias = alias_model.Alias(**{'name': 'a', **IDS, **kwargs})
    return [finding.code for finding in alias_rules.check(alias)]


@ddt.ddt
class TestCheck(testtools.TestCase):
    @ddt.data(
        ({}, []),
        ({'name': ' '}, ['GPU101']),
        ({'name': 'a:b'}, ['GPU102']),
        ({'name': 'a,b'}, ['GPU102']),
        ({'name': 'a\x07'}, ['GPU102']),
        ({'name': 'a$b'}, ['GPU102']),
        ({'name': 'Größe 1'}, []),
        ({'vendor_id': '10de\n'}, ['GPU103']),
        ({'product_id': '١٢٣٤'}, ['GPU103']),
        ({'traits': 'A\nB'}, ['GPU104']),
        ({'resource_class': '$a'}, ['GPU104', 'GPU111']),
        ({'resource_class': 'custom_a-b'}, ['GPU105']),
        ({'resource_class': 'CUSTOM_' + 'A' * 250}, ['GPU105']),
        ({'resource_class': 'gpu'}, ['GPU111']),
        ({'resource_class': 'CUSTOM_GPU'}, []),
        ({'resource_class': 'PGPU'}, []),
        ({'traits': 'CUSTOM_A,HW_GPU_API_VULKAN'}, []),
        ({'traits': 'CUSTOM_A, CUSTOM_B'}, ['GPU112']),
        ({'traits': 'custom_a-b'}, ['GPU106']),
        ({'traits': 'CUSTOM_A,'}, ['GPU106']),
        ({'traits': 'CUSTOM_A, '}, ['GPU112']),
        ({'device_type': None}, ['GPU113']),
        # A V100S has no SR-IOV; an unknown model may have it.
        ({'device_type': None, 'product_id': '1df6'}, []),
        ({'device_type': None, 'product_id': 'ffff'}, ['GPU113']),
        # A GeForce GT 1030 and its audio function are not in the catalogue.
        ({'device_type': None, 'product_id': '1d01'}, []),
        ({'device_type': None, 'product_id': '0fb8'}, []),
        ({'capability_type': 'pci'}, ['GPU122']),
        ({'resource_class': 'CUSTOM_'}, ['GPU105']),
    )
    @ddt.unpack
    def test_codes(self, kwargs: dict[str, str], expected: list[str]) -> None:
        self.assertEqual(expected, codes(**kwargs))

    def test_normal_forms_are_shown(self) -> None:
        alias = alias_model.Alias(
            'a', **IDS, resource_class='a100 80', traits='blue, big'
        )
        first, _blue, second = alias_rules.check(alias)
        self.assertIn("to 'CUSTOM_A100_80'", first.message)
        self.assertIn("' big' to 'CUSTOM__BIG'", second.message)
        self.assertIn("would be 'CUSTOM_BIG'", second.message)
        self.assertEqual((), finding.errors((first, second)))
        self.assertEqual((first, second), finding.warnings((first, second)))

    def test_definitions_that_differ(self) -> None:
        alias = alias_model.Alias('a', **IDS)
        same = alias_model.Alias('a', **IDS, numa_policy='legacy')
        other = alias_model.Alias('a', vendor_id='10de', product_id='2330')
        self.assertEqual(
            (same, other), alias_rules.same_name(alias, [same, other])
        )
        self.assertEqual(
            (None, None),
            alias_rules.same_name(alias, [alias_model.Alias('b', **IDS)]),
        )
        clash = alias_rules.clash(alias, other, 'nova.conf, line 4')
        self.assertIn('nova.conf, line 4', str(clash))
        self.assertIn(other.render(), str(clash))


class TestRender(testtools.TestCase):
    def test_round_trip(self) -> None:
        alias = alias_model.Alias(
            name='größe "1"',
            vendor_id='10de',
            product_id='20f1',
            device_type='type-VF',
            numa_policy='socket',
            resource_class='A',
            traits='B,C',
            live_migratable=True,
            capability_type='pci',
        )
        text = alias.render()
        self.assertTrue(text.isascii())
        self.assertNotIn('\n', text)
        self.assertEqual(alias, alias_model.parse(text))

    def test_values_cannot_add_lines(self) -> None:
        for evil in ('a\n[x]', 'a\r\nb = c', '\x00', '\u2028'):
            text = alias_model.Alias(evil, traits=evil).render()
            self.assertTrue(text.isprintable(), text)


class TestNaming(testtools.TestCase):
    """Names are those of ``nova/compute/pci_placement_translator.py``."""

    def test_against_nova(self) -> None:
        from nova.compute import pci_placement_translator as translator

        for requested in (
            None,
            '',
            'gpu',
            'PGPU',
            'pgpu',
            'a100-40',
            'custom_a-b',
            'ß',
            ' ',
        ):
            self.assertEqual(
                translator.get_resource_class(requested, '10de', '20f1'),
                naming.resource_class('10de', '20f1', requested),
            )
        for traits in (
            '',
            'a',
            'a,b',
            'a, b',
            'HW_GPU_API_VULKAN',
            'hw_gpu_api_vulkan',
            'CUSTOM_A,custom_b',
            ',',
        ):
            self.assertEqual(
                translator.get_traits(traits), naming.traits(traits)
            )

    def test_alias(self) -> None:
        self.assertIsNone(alias_model.Alias('a').placement_class)
        self.assertEqual(
            'CUSTOM_PCI_10DE_20F1',
            alias_model.Alias('a', **IDS).placement_class,
        )


class TestMerge(testtools.TestCase):
    def test_alternatives(self) -> None:
        texts = [
            alias_model.Alias('a', **IDS).render(),
            alias_model.Alias('a', **{**IDS, 'product_id': '2330'}).render(),
        ]
        merged = alias_model.merge(texts, False)
        self.assertEqual(2, len(merged['a']))
        error = self.assertRaises(
            exceptions.InvalidAlias, alias_model.merge, texts, True
        )
        self.assertIn('multiple specs', str(error))
