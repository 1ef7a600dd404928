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


"""Numbers of options."""

import argparse
import collections.abc

import testtools

from gpuclient.osc import options

Parse = collections.abc.Callable[[str], int]


class TestNumbers(testtools.TestCase):
    def refused(self, parse: Parse, *texts: str) -> None:
        for text in texts:
            error = self.assertRaises(argparse.ArgumentTypeError, parse, text)
            self.assertIn(repr(text), str(error))

    def test_numbers(self) -> None:
        self.assertEqual(3, options.positive('3'))
        self.assertEqual(0, options.not_negative('0'))
        self.assertEqual(-2, options.integer('-2'))
        self.refused(options.positive, '0', '-1')
        self.refused(options.not_negative, '-1')

    def test_ascii_digits_only(self) -> None:
        for parse in (
            options.positive,
            options.not_negative,
            options.integer,
        ):
            self.refused(
                parse, '', '-', '\u0663', '\uff13', '1_0', ' 1', '1.0', 'x'
            )
