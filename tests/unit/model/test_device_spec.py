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

"""Entries of [pci]device_spec: pools and providers of a host's devices."""

import json

import testtools

from gpuclient.model import device_spec

PF = '0000:04:00.0'
VFS = tuple(
    device_spec.HostDevice(
        f'0000:04:02.{number}', '10de', '20f1', 'type-VF', PF
    )
    for number in (0, 1)
)


def parsed(*entries: dict[str, object]) -> tuple[device_spec.DeviceSpec, ...]:
    return device_spec.parse(json.dumps(entries))


class TestSplitProviders(testtools.TestCase):
    def split(self, *entries: dict[str, object]) -> tuple[str, ...]:
        return device_spec.split_providers(parsed(*entries), VFS)

    def test_other_tags(self) -> None:
        first = {'address': '04:02.0'}
        for other in ({'managed': 'no'}, {'trusted': 'true'}):
            self.assertEqual(
                (PF,), self.split(first, {'address': '04:02.1', **other})
            )

    def test_the_same_pool(self) -> None:
        first = {'address': '04:02.0', 'managed': 'yes'}
        for other in (
            {'managed': '1'},
            # Classes and traits are not part of a pool.
            {'managed': 'yes', 'resource_class': 'A', 'traits': 'b'},
            {'managed': 'yes', 'remote_managed': 'false'},
        ):
            self.assertEqual(
                (), self.split(first, {'address': '04:02.1', **other})
            )
        self.assertEqual((), self.split({'vendor_id': '10de'}))
        self.assertEqual((), self.split(first))

    def test_devices_that_are_not_reported(self) -> None:
        self.assertEqual(
            (),
            self.split(
                {'address': '04:02.0'},
                {'address': '04:02.1', 'physical_network': 'net'},
            ),
        )


class TestProviderTraits(testtools.TestCase):
    def test_one_time_use(self) -> None:
        (spec,) = parsed({'one_time_use': 'yes', 'traits': 'a'})
        card = device_spec.HostDevice(PF, '10de', '20f1', 'type-PF')
        self.assertLessEqual(
            {'CUSTOM_A', 'HW_PCI_ONE_TIME_USE', 'OWNER_NOVA'},
            spec.provider_traits(card),
        )
        self.assertNotIn('HW_PCI_ONE_TIME_USE', spec.provider_traits(VFS[0]))
