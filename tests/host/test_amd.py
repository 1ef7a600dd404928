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

"""AMD's IOMMU, which is on without an argument."""

import functools

import testtools

from gpuclient.documents.created import host_files

from tests.host import machine

HOST = machine.Machine(cpu='qemu64', iommu='amd-iommu,intremap=on')
#: The IOMMU is a device, too, and comes first.
CARD = '0000:00:02.0'
BOUND = 'vfio-pci.ids=10de:20f1 rd.driver.pre=vfio-pci'
ALL_CARDS = host_files.Passthrough(
    cpu_vendor=host_files.AMD, ids=('10de:20f1',)
)

# Boots that several cases need.
boot = functools.cache(machine.boot)


class TestAMD(testtools.TestCase):
    def assert_passes(self) -> None:
        """The same machine, prepared as the remedies say."""
        ready = host_files.prepare(ALL_CARDS, host_files.DEBIAN)
        self.assertEqual(
            ('iommu=pt', 'vfio-pci.ids=10de:20f1'), ready.kernel_arguments
        )
        found = boot(HOST, ' '.join(ready.kernel_arguments), ready.files)
        card = found.device(CARD)
        self.assertEqual('vfio-pci', card['driver'])
        groups = found.result['raw']['groups']
        self.assertEqual([CARD], groups[card['group']]['devices'])
        self.assertEqual('identity', groups[card['group']]['type'])
        self.assertIn(card['group'], found.result['raw']['vfio'])
        self.assertIn('AMD-Vi', found.kernel_messages)
        self.assertEqual(set(), found.codes())
        self.assertEqual(set(), found.codes(CARD))

    def test_prepared(self) -> None:
        self.assert_passes()

    def test_off(self) -> None:
        found = boot(HOST, f'amd_iommu=off {BOUND}')
        self.assertEqual({}, found.result['raw']['groups'])
        self.assertIsNone(found.device(CARD)['driver'])
        self.assertEqual({'GPU420'}, found.codes())
        self.assertIn(
            'Remove amd_iommu=off', found.verdict('GPU420')['remedy']
        )
        self.assert_passes()

    def test_arguments_of_intel(self) -> None:
        """They change nothing, so groups are translated, too."""
        found = boot(HOST, f'intel_iommu=on {BOUND}')
        card = found.device(CARD)
        self.assertEqual('vfio-pci', card['driver'])
        groups = found.result['raw']['groups']
        self.assertEqual('DMA', groups[card['group']]['type'])
        self.assertEqual({'GPU421', 'GPU422'}, found.codes())
        self.assertIn(
            'AMD needs no argument', found.verdict('GPU421')['remedy']
        )
        self.assertIn('Add iommu=pt', found.verdict('GPU422')['remedy'])
        self.assert_passes()
