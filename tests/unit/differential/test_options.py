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

"""Our list of options, compared with those that Nova has."""

from nova import conf
import testtools

from gpuclient.model import nova_options
from gpuclient.model import nova_schema


class TestOptions(testtools.TestCase):
    def test_known(self) -> None:
        for section in nova_options.SECTIONS:
            expected = set()
            for entry in conf.CONF._groups[section]._opts.values():
                option = entry['opt']
                expected.add(option.name)
                expected |= {
                    old.name
                    for old in option.deprecated_opts
                    if old.group in (None, section)
                }
            self.assertEqual(
                expected, set(nova_schema.names(section)), section
            )

    def test_removed(self) -> None:
        """An option that Nova has again is not listed as removed."""
        for section, names in nova_options.REMOVED.items():
            self.assertEqual(
                set(), set(names & nova_schema.names(section)), section
            )

    def test_similar(self) -> None:
        for section, name, expected in (
            ('devices', 'mdev_enabled_types', 'enabled_mdev_types'),
            ('filter_scheduler', 'enabled_filtes', 'enabled_filters'),
            ('pci', 'device-spec', 'device_spec'),
            ('pci', 'x', None),
        ):
            self.assertFalse(nova_options.is_known(section, name))
            self.assertEqual(expected, nova_options.similar(section, name))
        self.assertTrue(nova_options.is_known('neutron', 'anything'))
