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

"""The check of the entry that the boot loader boots next."""

from gpuclient.host import collect
from tests.unit.host import trees
from tests.unit.rules import host_cases
from tests.unit.rules.host_cases import GPU
from tests.unit.rules.host_cases import WARN


class TestNextBoot(host_cases.HostTestCase):
    """Entries of the boot loader, one of which is the default."""

    MACHINE = '0123456789abcdef' * 2

    def tree(self, saved: str, arguments: str = trees.EARLY) -> trees.Tree:
        tree = host_cases.card(host={'system': trees.RHEL})
        for version, text in (
            ('0-rescue', 'ro'),
            ('5.14.0-70.el9', 'ro iommu=pt'),
            ('5.14.0-427.el9', arguments),
        ):
            tree.text(
                f'boot/loader/entries/{self.MACHINE}-{version}.conf',
                f'title x\noptions {text} $tuned_params\n',
            )
        tree.text('boot/grub2/grubenv', f'{saved}tuned_params=nohz=on\n')
        for path, content in list(tree.files.items()):
            if path.startswith('boot/'):
                del tree.files[path]
                tree.files[path.replace(self.MACHINE, '***')] = (
                    collect.rule_for(path).keep(content)
                )
        return tree

    def test_default_entry(self) -> None:
        old = f'saved_entry={self.MACHINE}-5.14.0-70.el9\n'
        for saved, bad in (
            ('', False),
            ('saved_entry=0\n', False),
            ('saved_entry=1\n', True),
            (f'saved_entry={self.MACHINE}-5.14.0-427.el9\n', False),
            (old, True),
            # grubenv names no entry, so the next one is unknown.
            (f'saved_entry={self.MACHINE}-6.1.0\n', False),
            ('saved_entry=9\n', False),
        ):
            self.assertEqual(
                ['GPU466'] if bad else [],
                self.codes(self.tree(saved)),
                saved,
            )
        self.finds(
            'GPU466',
            WARN,
            'lacks intel_iommu=on vfio-pci.ids=10de:20f1, which',
            self.tree(old),
            remedy='(grubby --update-kernel=ALL --args="intel_iommu=on '
            'vfio-pci.ids=10de:20f1")',
        )

    def test_turns_the_iommu_off(self) -> None:
        self.finds(
            'GPU466',
            WARN,
            'has intel_iommu=off: ',
            self.tree('', 'intel_iommu=off'),
            remedy='Remove intel_iommu=off',
        )

    def test_arguments_of_grub_itself(self) -> None:
        """The value of ``$kernelopts`` is unknown."""
        self.assertEqual([], self.codes(self.tree('', '$kernelopts')))
        tree = self.tree('kernelopts=ro\n', '$kernelopts')
        self.assertIn('GPU466', self.codes(tree))
        tree = self.tree(f'kernelopts={trees.EARLY}\n', '$kernelopts')
        self.assertEqual([], self.codes(tree))

    def test_reboot_is_pending_in_the_default_entry(self) -> None:
        """Other entries do not count, nor does /etc/default/grub."""
        tree = self.tree('')
        tree.text('proc/cmdline', 'ro iommu=pt intel_iommu=on\n')
        tree.links.pop(f'sys/bus/pci/devices/{GPU}/driver')
        tree.text('etc/default/grub', 'GRUB_CMDLINE_LINUX="quiet"\n')
        path = '/boot/loader/entries/***-5.14.0-427.el9.conf'
        self.finds(
            'GPU425',
            WARN,
            f'until the next boot: vfio-pci.ids in {path} has',
            tree,
            remedy=f'Reboot: {path} already sets',
        )
        tree.text('boot/grub2/grubenv', 'saved_entry=1\n')
        self.finds(
            'GPU425',
            WARN,
            'not configured to be bound to vfio-pci at boot',
            tree,
            remedy='--args="vfio-pci.ids=10de:20f1',
        )
