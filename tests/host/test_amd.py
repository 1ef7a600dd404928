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

from gpuclient.documents.generate import host_files

from tests.host import machine
from tests.host import remedy
from tests.host import test_boots

HOST = remedy.Setup(
    machine.Machine(cpu='qemu64', iommu='amd-iommu,intremap=on')
)
BOUND = HOST.with_arguments((*test_boots.CLAIM.split(), 'iommu=pt'))
ALL_CARDS = host_files.Passthrough(
    cpu_vendor=host_files.AMD, ids=('10de:20f1',)
)


class TestAMD(remedy.TestCase):
    #: The IOMMU is a PCI device as well, in the first slot.
    card = '0000:00:02.0'

    def test_prepared(self) -> None:
        prepared = remedy.prepared(HOST, ALL_CARDS)
        self.assertEqual('iommu=pt vfio-pci.ids=10de:20f1', prepared.arguments)
        boot = prepared.boot()
        self.assert_usable(boot)
        group = boot.device(self.card)['group']
        self.assertEqual(
            {'type': 'identity', 'devices': [self.card]},
            boot.result['raw']['groups'][group],
        )
        self.assertIn('AMD-Vi', boot.kernel_messages)

    def test_off(self) -> None:
        off = BOUND.with_arguments(['amd_iommu=off'], ['iommu=pt'])
        boot = off.boot()
        self.assertEqual({}, boot.result['raw']['groups'])
        self.assertIsNone(boot.device(self.card)['driver'])
        self.assertEqual({'GPU420'}, boot.codes())
        self.assert_usable(self.mend(off, 'GPU420'), test_boots.UNSEEN)

    def test_arguments_of_intel(self) -> None:
        """They have no effect."""
        intel = BOUND.with_arguments(['intel_iommu=on'])
        boot = intel.boot()
        self.assertEqual('vfio-pci', boot.device(self.card)['driver'])
        self.assertEqual({'GPU421'}, boot.codes())
        self.assert_usable(self.mend(intel, 'GPU421'), test_boots.UNSEEN)
