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

"""The tests on a real kernel follow remedies by their text.

Each step that they know has to be in a remedy that the checks report.
"""

import re

from tests.host import remedy as followed
from tests.unit.host import trees
from tests.unit.rules import host_cases
from tests.unit.rules.host_cases import GPU
from tests.unit.rules.host_cases import TWIN

_IOMMU = 'intel_iommu=on iommu=pt'


class TestSteps(host_cases.HostTestCase):
    def remedies(self) -> list[str]:
        """Return remedies with all steps."""
        off = {'iommu': False}
        pages = host_cases.card(
            f'{trees.EARLY} hugepagesz=1G hugepages=0:12,1:0',
            host={'nodes': 2},
            node=1,
        )
        pages.pages(0, 12)
        misspelled = host_cases.card()
        misspelled.initramfs('vfio-pci', maker='initramfs-tools')
        misspelled.text(
            'etc/modprobe.d/x.conf', 'option vfio-pci ids=10de:20f1\n'
        )
        same_ids = host_cases.card()
        host_cases.add(same_ids, TWIN, group=5)
        late = host_cases.card(trees.BOUND)
        late.initramfs('nouveau', maker='dracut')
        return [
            self.remedy(code, tree, intent)
            for code, tree, intent in (
                ('GPU420', host_cases.card('', host=off), None),
                ('GPU420', host_cases.card('iommu=off', host=off), None),
                (
                    'GPU421',
                    host_cases.card(f'{trees.EARLY} amd_iommu=on'),
                    None,
                ),
                ('GPU424', trees.nouveau(), None),
                (
                    'GPU425',
                    host_cases.card(_IOMMU, driver=None, override='none'),
                    None,
                ),
                ('GPU430', same_ids, host_cases.named(GPU)),
                ('GPU434', late, None),
                (
                    'GPU439',
                    host_cases.card(vfs=('0000:04:00.4',)),
                    host_cases.named(GPU),
                ),
                ('GPU446', pages, None),
                ('GPU463', misspelled, None),
            )
        ]

    def test_every_step_is_reported(self) -> None:
        remedies = self.remedies()
        unknown = [
            step.pattern
            for step in followed.STEPS
            if not any(re.search(step.pattern, remedy) for remedy in remedies)
        ]
        self.assertEqual([], unknown, '\n'.join(remedies))
        self.assertTrue(any(map(followed.COMMAND.search, remedies)))
