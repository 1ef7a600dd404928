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

import itertools
import json
import re

import ddt
import testtools

from gpuclient.model import device_sets
from gpuclient.model import device_spec
from gpuclient.rules import device_spec as device_spec_rules


@ddt.ddt
class TestUnknownKeys(testtools.TestCase):
    def remedy(self, text: str) -> str:
        (spec,) = device_spec.parse(text)
        (warning,) = (
            warning
            for warning in device_spec_rules.check(spec)
            if warning.code == 'GPU211'
        )
        return warning.message.partition('(it is kept as a tag)')[2]

    @ddt.data(
        # The name of a card is not that of an interface.
        (
            '{"vendor_id": "10de", "product_id": "20b7", "name": "gpu"}',
            ': only an alias has a name. Remove it',
        ),
        (
            '{"name": "eth0", "physical_network": "a"}',
            ". Write 'devname' if it is the name of a network interface; "
            'otherwise remove it',
        ),
        (
            '{"dev_name": "eth0"}',
            ". Write 'devname' if it is the name of a network interface; "
            'otherwise remove it',
        ),
        # An entry with both is refused.
        ('{"address": "04:00.0", "dev_name": "eth0"}', '. Remove it'),
        ('{"devname": "eth0", "addr": "04:00.0"}', '. Remove it'),
        # The key is there already.
        ('{"product_id": "20b7", "device_id": "20b7"}', '. Remove it'),
        ('{"vendor_id": "10de", "vendor": "10de"}', '. Remove it'),
        (
            '{"vendor_id": "10de", "device_id": "20b7"}',
            ": the entry matches every product of the vendor. Write "
            "'product_id'",
        ),
        (
            '{"vendor_id": "10de", "product": "20b7"}',
            ": the entry matches every product of the vendor. Write "
            "'product_id'",
        ),
        (
            '{"product_id": "20b7", "vendor": "NVIDIA"}',
            ". Write 'vendor_id' with a valid value, or remove it",
        ),
        (
            '{"vendor_id": "10de", "pci_address": "x"}',
            ". Write 'address' with a valid value, or remove it",
        ),
        # Impossible in an address.
        (
            '{"vendor_id": "10de", "addr": {"bus": "AF$"}}',
            ". Write 'address' with a valid value, or remove it",
        ),
        (
            '{"vendor_id": "10de", "managd": "sometimes"}',
            ". Write 'managed' with a valid value, or remove it",
        ),
        # Not the ids that Nova compares.
        ('{"vendor_id": "10de", "subvendor_id": "1458"}', '. Remove it'),
        ('{"vendor_id": "10de", "unmanaged": "yes"}', '. Remove it'),
        (
            '{"vendor_id": "10de", "numa_policy": "required"}',
            ': it does not restrict the devices. Set it in the alias, and '
            'remove it from the entry',
        ),
        ('{"address": "04:00.0", "vendor-id": "10de"}', ". Write 'vendor_id'"),
        ('{"address": "04:00.0", "Vendor_ID ": "1"}', ". Write 'vendor_id'"),
        ('{"vendor_id": "10de", "network": "a"}',
         ". Write 'physical_network'"),
        ('{"vendor_id": "10de", "class_id": "0300"}', '. Remove it'),
    )  # fmt: skip
    @ddt.unpack
    def test_remedy(self, text: str, remedy: str) -> None:
        self.assertEqual(remedy, self.remedy(text))

    def test_suggestions(self) -> None:
        """An entry with the suggested key is valid and matches a device."""
        keys = (
            'addr', 'class', 'custom_traits', 'dev', 'device', 'devicename',
            'driver', 'managd', 'model', 'names', 'network', 'onetimeuse',
            'pci_address', 'product', 'remotemanaged', 'resource', 'trust',
            'vendor', 'vendor id',
        )  # fmt: skip
        others = ({}, {'address': '04:00.0'}, {'devname': 'eth0'},
                  {'vendor_id': '10de'}, {'product_id': '20b7'})  # fmt: skip
        values = ('10de', 'gpu', 'yes', '0000:04:00.0', {'bus': 'AF'}, '*')
        checked = 0
        for key, other, value in itertools.product(keys, others, values):
            entry = {**other, key: value}
            (spec,) = device_spec.parse(json.dumps(entry))
            for warning in device_spec_rules.check(spec):
                match = re.search(r"Write '(\w+)'$", warning.message)
                if warning.code != 'GPU211' or match is None:
                    continue
                checked += 1
                text = json.dumps({**other, match[1]: value})
                (suggested,) = device_spec.parse(text)
                self.assertIsNotNone(device_sets.reached(suggested, ()), entry)
        self.assertGreater(checked, 100)
