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

"""CPU lists of the kernel and of TuneD, and sizes."""

import collections.abc

import ddt
import testtools

from gpuclient import exceptions
from gpuclient.model import cpu


@ddt.ddt
class TestLists(testtools.TestCase):
    @ddt.data(
        ('', ''),
        ('0-3,8', '0-3,8'),
        (' 1, 2\n', '1-2'),
        ('0-7:2/4', '0-1,4-5'),
        ('0-7:0/4', ''),
        ('all', '0-15'),
        ('ALL:1/4', '0,4,8,12'),
        ('12-N', '12-15'),
        ('N', '15'),
    )
    @ddt.unpack
    def test_kernel(self, text: str, expected: str) -> None:
        self.assertEqual(expected, cpu.render(cpu.parse_list(text, 16)))

    @ddt.data(cpu.parse, cpu.parse_list, cpu.parse_tuned)
    def test_cpus_beyond_the_limit(
        self, parse: collections.abc.Callable[[str], frozenset[int]]
    ) -> None:
        for text in ('0-4294967295', '65536', ','.join(['0-65535'] * 17)):
            self.assertRaises(exceptions.InvalidCPUSet, parse, text)
        self.assertEqual(65536, len(parse('0-65535,0-100')))

    @ddt.data('3-1', '1-', 'a', '5:1/2', '0-7:3/2', '0-7:1/0', '^3', 'n', '-1')
    def test_kernel_refuses(self, text: str) -> None:
        self.assertRaises(exceptions.InvalidCPUSet, cpu.parse_list, text, 16)

    def test_number_of_cpus_is_not_known(self) -> None:
        exc = self.assertRaises(
            exceptions.InvalidCPUSet, cpu.parse_list, '2-N'
        )
        self.assertIn('The number of CPUs is not known', str(exc))

    @ddt.data(
        ('2,4-7', '2,4-7'),
        ('0-5,^3', '0-2,4-5'),
        ('0-5,!2-3', '0-1,4-5'),
        ('0xf', '0-3'),
        ('0x1,00000001', '0,32'),
        ('0x3,,6', '0-1,6'),
        ("'1'", '1'),
        ('5-3', ''),
    )
    @ddt.unpack
    def test_tuned(self, text: str, expected: str) -> None:
        self.assertEqual(expected, cpu.render(cpu.parse_tuned(text)))

    @ddt.data('a', '1-b', '^', '0xg', '-3', '^^3')
    def test_tuned_ignores_invalid_lists(self, text: str) -> None:
        self.assertRaises(exceptions.InvalidCPUSet, cpu.parse_tuned, text)

    def test_cpu_number_is_too_large(self) -> None:
        for parse, text in (
            (cpu.parse, '0-999999999999'),
            (cpu.parse_list, '0-999999999999'),
            (cpu.parse, f'0-{"9" * 4000}'),
            (cpu.parse_tuned, '0-999999999999'),
            (cpu.parse_tuned, '0x' + 'f' * 99999),
        ):
            exc = self.assertRaises(exceptions.InvalidCPUSet, parse, text)
            self.assertIn('No machine has CPU', str(exc))


@ddt.ddt
class TestSizes(testtools.TestCase):
    @ddt.data(
        ('1G', 2**30),
        ('1GB', 2**30),
        ('2048k', 2**21),
        ('0x10M', 2**24),
        ('010', 8),
        ('7', 7),
    )
    @ddt.unpack
    def test_parse(self, text: str, expected: int) -> None:
        self.assertEqual(expected, cpu.parse_size(text))

    def test_not_a_size(self) -> None:
        exc = self.assertRaises(
            exceptions.InvalidHugePages, cpu.parse_size, 'G'
        )
        self.assertEqual("'G' is not a size", str(exc))

    def test_numbers_without_end(self) -> None:
        """Python does not parse decimal numbers of more than 4300 digits."""
        number = '9' * 5000
        self.assertRaises(exceptions.InvalidHugePages, cpu.parse_size, number)
        self.assertRaises(exceptions.InvalidCPUSet, cpu.parse_list, number)
        # Nova's own conversion raises OverflowError.
        self.assertRaises(
            exceptions.InvalidHugePages,
            cpu.parse_reserved,
            f'node:0,size:{number}MB,count:1',
        )

    @ddt.data((2**30, '1G'), (3 * 2**20, '3M'), (1000, '1000'), (0, '0'))
    @ddt.unpack
    def test_render(self, size: int, expected: str) -> None:
        self.assertEqual(expected, cpu.render_size(size))

    def test_reservation(self) -> None:
        reserved = cpu.parse_reserved('node:1,size:1GB,count:4')
        self.assertEqual(4 * 2**20, reserved.memory_kib)
        self.assertEqual('node:1,size:1048576,count:4', reserved.render())


@ddt.ddt
class TestVendors(testtools.TestCase):
    @ddt.data(
        ('EPYC-Rome-v2', cpu.Vendor.AMD),
        ('Cascadelake-Server-noTSX', cpu.Vendor.INTEL),
        ('Skylake-Client', cpu.Vendor.INTEL),
        ('qemu64', None),
        ('', None),
    )
    @ddt.unpack
    def test_vendor(self, model: str, expected: str | None) -> None:
        self.assertEqual(expected, cpu.vendor_of_model(model))
