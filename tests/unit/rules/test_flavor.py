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
from gpuclient.model import flavor as flavor_model
from gpuclient.rules import flavor as flavor_rules


@ddt.ddt
class TestRequest(testtools.TestCase):
    def test_good(self) -> None:
        self.assertEqual(('a', 1), flavor_model.parse_request('a:1'))
        self.assertEqual(('a b', 10), flavor_model.parse_request(' a b:10'))
        self.assertEqual(
            ('a', 0), flavor_model.parse_request('a:0', force=True)
        )

    @ddt.data(
        'a',
        'a:',
        ':1',
        'a:-1',
        'a:b',
        'a:1.5',
        'a:0',
        'a:b:1',
        'a,b:1',
        'a:١',
        'a\n:1',
        '',
        'a: 1',
        'a:0x1',
        'a:' + '1' * 5000,
    )
    def test_bad(self, text: str) -> None:
        error = self.assertRaises(
            exceptions.InvalidValue, flavor_model.parse_request, text
        )
        self.assertNotIn('\n', str(error))

    def test_stored_values(self) -> None:
        for value, expected in (
            ('', ({}, ())),
            ('a:1', ({'a': 1}, ())),
            ('a:1, b:2', ({'a': 1, 'b': 2}, ())),
            ('a:1,a:2', ({'a': 3}, ())),
            ('a', ({}, ('a',))),
            ('a:1,b', ({'a': 1}, ('b',))),
            ('a: 1', ({'a': 1}, ())),
            ('a:1:2', ({}, ('a:1:2',))),
            ('a:-1', ({}, ('a:-1',))),
        ):
            self.assertEqual(expected, flavor_model.read_aliases(value))
        self.assertEqual(
            'a:1,b:2', flavor_model.write_aliases({'a': 1, 'b': 2})
        )

    def test_nova_accepts_what_we_write(self) -> None:
        from nova.api.validation.extra_specs import validators

        validators.validate(
            flavor_model.ALIASES,
            flavor_model.write_aliases({'a b': 1, 'ü': 20}),
        )


@ddt.ddt
class TestCheck(testtools.TestCase):
    @ddt.data(
        ({}, []),
        ({flavor_model.ALIASES: 'a:1'}, []),
        ({flavor_model.ALIASES: 'a:0'}, ['GPU701']),
        ({flavor_model.ALIASES: 'a'}, ['GPU702']),
        (
            {
                flavor_model.ALIASES: 'a:1',
                'resources2:CUSTOM_PCI_10DE_20F1': '1',
            },
            ['GPU703'],
        ),
        ({'resources:CUSTOM_PCI_10DE_20F1': '1'}, ['GPU704']),
        ({'resources:CUSTOM_GOLD': '1', flavor_model.ALIASES: 'a:1'}, []),
    )
    @ddt.unpack
    def test_codes(self, specs: dict[str, str], expected: list[str]) -> None:
        self.assertEqual(
            expected, [found.code for found in flavor_rules.check(specs)]
        )

    def test_flavor(self) -> None:
        flavor = flavor_model.Flavor('1', 'f', 1, 1, 1, True)
        self.assertIsNone(flavor.aliases)
        self.assertFalse(flavor_model.is_for_devices(flavor))
