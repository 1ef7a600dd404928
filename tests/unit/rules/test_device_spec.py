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

from gpuclient.rules import device_spec as device_spec_rules


@ddt.ddt
class TestCheckNew(testtools.TestCase):
    @ddt.data(
        ({'address': '0000:04:00.0', 'traits': 'CUSTOM_A'}, []),
        ({'address': '04:00.0\n[evil]'}, ['GPU202']),
        ({'resource_class': '$host', 'traits': 'a\x1b'}, ['GPU202'] * 2),
    )
    @ddt.unpack
    def test_codes(self, entry: dict[str, str], expected: list[str]) -> None:
        findings = list(device_spec_rules.check_new(entry))
        self.assertEqual(expected, [finding.code for finding in findings])
