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

"""vfio-pci that is loaded before all drivers, as if it were built in.

In Debian's kernel it is a module. If it is loaded first, without ids, it
behaves like the built-in vfio-pci of Ubuntu's kernels.
"""

from gpuclient.documents.generate import host_files
from gpuclient.model import pci

from tests.host import remedy
from tests.host import test_boots


class TestBuiltin(remedy.TestCase):
    def test_one_of_two(self) -> None:
        """Files for a kernel with built-in vfio-pci, by address."""
        case = test_boots.TestOneOfTwo
        passthrough = host_files.Passthrough(
            cpu_vendor=host_files.INTEL,
            addresses=tuple(map(pci.parse_address, case.for_guests)),
            vendor_ids=('10de',),
            vfio_is_builtin=True,
        )
        boot = remedy.prepared(
            remedy.Setup(case.host, test_boots.EARLY, devices=case.for_guests),
            passthrough,
        ).boot()
        self.assertEqual(
            ['snd_hda_intel', 'vfio-pci', None, 'vfio-pci'],
            [
                boot.device(f'0000:00:0{slot}.0')['driver']
                for slot in (5, 6, 7, 8)
            ],
        )
        self.assertIn('nouveau', boot.result['raw']['modules'])
        for address in case.for_guests:
            self.assert_usable(boot, card=address)
