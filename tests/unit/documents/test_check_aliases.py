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

"""Aliases and device specs with unusual values, in documents."""

from tests.unit.documents import test_tree


class TestAliases(test_tree.TreeTestCase):
    def test_capability_type(self) -> None:
        files = test_tree.changed(test_tree.COMPUTE, test_tree.ALIAS, '')
        files[test_tree.API] = files[test_tree.API].replace(
            '"name"', '"capability_type": "pci", "name"'
        )
        for address in ('0000:04:00.0', 'x'):
            compute = files[test_tree.COMPUTE].replace('0000:04:00.0', address)
            codes = [
                code
                for code, _path, _line in self.check(
                    {**files, test_tree.COMPUTE: compute}
                )
            ]
            self.assertIn('GPU122', codes)
            self.assertNotIn('GPU307', codes)

    def test_devname_that_is_a_list(self) -> None:
        """Nova uses it in a path, and reports no device by name."""
        compute = test_tree.CLEAN[test_tree.COMPUTE].replace(
            'device_spec = ',
            'device_spec = {"devname": ["eth0"]}\ndevice_spec = ',
            1,
        )
        codes = [
            code
            for code, _path, _line in self.check(
                {**test_tree.CLEAN, test_tree.COMPUTE: compute}
            )
        ]
        self.assertEqual(['GPU302'], codes)
