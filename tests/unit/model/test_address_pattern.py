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

"""Regular expressions that take too long, and valid ones."""

import json

import ddt
import testtools

from gpuclient import exceptions
from gpuclient.model import address_pattern
from gpuclient.model import device_sets
from gpuclient.model import device_spec


@ddt.ddt
class TestWays(testtools.TestCase):
    @ddt.data(
        ('0000', 1),
        (r'\(a[)|(]', 1),
        ('[]|)*]a', 1),
        ('0a|0b|[1-9]f', 3),
        ('^(?:0a|(?P<b>0b|1b))$', 3),
        ('(?=0)(?#|)a', 1),
        ('[0-9a-f]{2}', 1),
        ('.?', 2),
        ('.*', 10),
        ('.*?', 10),
        ('.*+', 10),
        ('a{3,}', 10),
        ('a{,2}', 3),
        ('a{1000}', 1),
        ('(a|b){2}', 4),
        ('.*.*', 100),
        ('(?:|){60}x', address_pattern.MOST),
        ('((((0*)*)*)*)*x', address_pattern.MOST),
        ('(?:|)' * 60, address_pattern.MOST),
        ('(?:(?:a{9}){9}|){99999}', address_pattern.MOST),
        ('(?x)#[\n(?:|){60}x\n#]', address_pattern.MOST),
    )
    @ddt.unpack
    def test_forms_of_an_address(self, pattern: str, expected: int) -> None:
        self.assertEqual(expected, address_pattern.ways(pattern))


@ddt.ddt
class TestAddress(testtools.TestCase):
    """An expression that could take too long is not run."""

    def parse(self, **address: str) -> device_spec.DeviceSpec:
        text = json.dumps({'vendor_id': '10de', 'address': address})
        (spec,) = device_spec.parse(text)
        return spec

    @ddt.data(
        '(?:|){60}x',
        f'(?:{"|".join(["0(?:)"] * 40)})*x',
        f'{"(?:|)" * 60}x',
        f'{"(" * 40}0*{")*" * 40}x',
        f'{"a?" * 5000}x',
    )
    def test_refused(self, pattern: str) -> None:
        error = self.assertRaises(
            exceptions.InvalidDeviceSpec, self.parse, bus=pattern
        )
        self.assertIn('may hang', str(error))
        self.assertNotIn('\n', str(error))

    @ddt.data('0[1-4]', '(?:0a|0b|1[0-9a-f])$', '.*', '[0-9a-f]+', '(0|1).?')
    def test_accepted(self, pattern: str) -> None:
        spec = self.parse(bus=pattern)
        self.assertIsNotNone(device_sets.reached(spec, []))
