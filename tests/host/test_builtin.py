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

"""vfio-pci that is there before all drivers, as where the kernel has it.

Debian's kernel has it as a module. Loaded first, and told of no device, it is
in the same place as that of Ubuntu's kernels.
"""

from gpuclient.documents.generate import host_files
from gpuclient.model import pci

from tests.host import remedy
from tests.host import test_boots


class TestBuiltin(remedy.TestCase):
    def test_one_of_two(self) -> None:
        """The files for such a kernel, by address."""
        case = test_boots.TestOneOfTwo
        wanted = host_files.Passthrough(
            cpu_vendor=host_files.INTEL,
            addresses=tuple(map(pci.parse_address, case.given)),
            vendor_ids=('10de',),
            vfio_is_builtin=True,
        )
        found = remedy.prepared(
            remedy.Setup(case.host, test_boots.EARLY, devices=case.given),
            wanted,
        ).boot()
        self.assertEqual(
            ['snd_hda_intel', 'vfio-pci', None, 'vfio-pci'],
            [
                found.device(f'0000:00:0{slot}.0')['driver']
                for slot in (5, 6, 7, 8)
            ],
        )
        self.assertIn('nouveau', found.result['raw']['modules'])
        for address in case.given:
            self.assert_taken(found, card=address)
