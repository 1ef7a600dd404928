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

"""Every verdict on hosts, on hosts that differ in what it looks at."""

import json
import pathlib
import re

import testtools

from gpuclient.documents.generate import host_files
from gpuclient.host import collect
from gpuclient.host import reader
from gpuclient.model import alias as alias_model
from gpuclient.model import catalogue
from gpuclient.model import cpu
from gpuclient.model import pci
from gpuclient.rules import host as host_rules
from gpuclient.rules import passthrough_view
from gpuclient.rules import check_result
from tests.unit.host import trees

GPU = '0000:04:00.0'
TWIN = '0000:05:00.0'
FAIL, WARN = check_result.Result.FAIL, check_result.Result.WARN


def card(
    arguments: str = trees.EARLY,
    *,
    address: str = GPU,
    host: dict[str, object] | None = None,
    **values: object,
) -> trees.Tree:
    """Return a host with one A100, fit but for what is given."""
    found = trees.Tree(arguments=arguments, **(host or {}))
    found.initramfs('vfio-pci', maker='dracut')
    add(found, address, **values)
    return found


def add(found: trees.Tree, address: str, **values: object) -> None:
    defaults = {'driver': 'vfio-pci', 'group': 4, 'total_vfs': 16}
    found.device(address, trees.A100, 0x030200, **{**defaults, **values})


def named(*addresses: str) -> passthrough_view.Intent:
    return passthrough_view.Intent(
        addresses=frozenset(map(pci.parse_address, addresses))
    )


def specs(
    *entries: dict[str, object], **values: object
) -> passthrough_view.Intent:
    return passthrough_view.Intent(
        device_specs=tuple(map(json.dumps, entries)), of_compute=True, **values
    )


def alias(**keys: object) -> passthrough_view.Intent:
    text = json.dumps(
        {'name': 'a', 'vendor_id': '10de', 'product_id': '20f1', **keys}
    )
    return passthrough_view.Intent(aliases=(alias_model.parse(text),))


class TestCase(testtools.TestCase):
    def check(
        self,
        tree: trees.Tree,
        intent: passthrough_view.Intent | None = None,
    ) -> list[check_result.CheckResult]:
        return list(host_rules.check(tree.host(), intent))

    def bad(
        self,
        tree: trees.Tree,
        intent: passthrough_view.Intent | None = None,
    ) -> dict[str, check_result.CheckResult]:
        """Return what is not a PASS, by its code."""
        found = {}
        for one in self.check(tree, intent):
            if one.code is None:
                self.assertEqual('PASS', one.result)
                self.assertIsNone(one.remedy)
            else:
                self.assertTrue(one.evidence and one.remedy, one)
                found[one.code] = one
        return found

    def finds(
        self,
        code: str,
        result: check_result.Result,
        words: str,
        tree: trees.Tree,
        intent: passthrough_view.Intent | None = None,
        remedy: str = '',
    ) -> None:
        found = self.bad(tree, intent)
        self.assertIn(code, found, found)
        self.assertEqual(result, found[code].result, found[code])
        self.assertIn(words, found[code].evidence)
        self.assertIn(remedy, found[code].remedy)


class TestHosts(TestCase):
    def test_fit(self) -> None:
        """Hosts that are as they should be give no bad news, and good."""
        for tree in (trees.a100(), trees.t4(), trees.mi300x(), card()):
            self.assertEqual({}, self.bad(tree))
        passed = {one.check for one in self.check(trees.a100())}
        self.assertEqual(
            {
                'readable', 'devices', 'IOMMU', 'IOMMU arguments',
                'IOMMU mode', 'no-IOMMU mode', 'modprobe.d', 'vfio-pci.ids',
                'duplicate ids', 'huge pages', 'memory', 'CPUs', 'use',
                'driver', 'group', 'device type', 'BARs', 'SR-IOV', 'boot VGA',
                'reset', 'power', 'NUMA node', 'driver race',
            },
            passed,
        )  # fmt: skip

    def test_unfit(self) -> None:
        for make, codes in (
            (trees.consumer, {'GPU422', 'GPU426', 'GPU440'}),
            (trees.vfs, {'GPU424'}),
            (
                trees.iommu_off,
                {'GPU420', 'GPU425', 'GPU428', 'GPU435', 'GPU437'},
            ),
            (trees.nouveau, {'GPU424', 'GPU434', 'GPU437'}),
        ):
            self.assertEqual(codes, set(self.bad(make())), make)

    def test_every_code_is_tested(self) -> None:
        text = pathlib.Path(__file__).read_text()
        rules = pathlib.Path(host_rules.__file__).parent
        for path in rules.glob('host*.py'):
            for word in path.read_text().split("'"):
                if word.startswith('GPU4') and word[3:].isdecimal():
                    self.assertIn(word, text)

    def test_summary(self) -> None:
        found = check_result.summary(self.check(trees.nouveau()))
        of_host = [one for one in found if one.device is None]
        self.assertEqual(['PASS'], [one.result for one in of_host])
        self.assertIn('IOMMU, ', of_host[0].check)
        results = [one.result for one in found if one.device is not None]
        self.assertEqual(['FAIL', 'FAIL', 'WARN', 'PASS'], results)


class TestIommu(TestCase):
    def test_why_off(self) -> None:
        off = {'iommu': False}
        grub = {'etc/default/grub': 'GRUB_CMDLINE_LINUX="intel_iommu=on"\n'}
        for words, remedy, arguments, host, files in (
            ('intel_iommu=off', 'Remove intel_iommu=off from GRUB_CMDLINE_'
             'LINUX in /etc/default/grub, and add intel_iommu=on iommu=pt '
             'there, run update-grub, then reboot', 'intel_iommu=off',
             {}, {}),
            ('iommu=off', '--remove-args="iommu=off" --args="iommu=pt"',
             'intel_iommu=on iommu=off', {'system': trees.RHEL}, {}),
            ('iommu=off', 'Remove iommu=pt,off from GRUB_CMDLINE_LINUX in '
             '/etc/default/grub, and add iommu=pt there',
             'intel_iommu=off intel_iommu=on iommu=pt,off', {}, {}),
            ('amd_iommu=off', 'and add iommu=pt there', 'amd_iommu=off',
             {'vendor': trees.AMD}, {}),
            ('no table DMAR', 'VT-d', '', {'acpi': ['APIC']}, {}),
            ('no table IVRS', 'AMD-Vi', '', {'vendor': trees.AMD}, {}),
            ('without intel_iommu=on', 'Add intel_iommu=on', '', {}, {}),
            ('without intel_iommu=on', 'Reboot: /etc/default/grub', '', {},
             grub),
            ('nothing that was read', 'dmesg', 'intel_iommu=on', {}, {}),
            ('nothing that was read', 'dmesg', '', {'vendor': 'x'}, {}),
        ):  # fmt: skip
            tree = card(arguments, host={**off, **host}, driver=None)
            for path, content in files.items():
                tree.text(path, content)
            self.finds('GPU420', FAIL, words, tree, remedy=remedy)

    def test_how_arguments_are_changed(self) -> None:
        """Each distribution and boot loader has its own way."""
        suse = 'ID="sles"\nID_LIKE="suse"\n'
        edpm = {'etc/default/grub': 'GRUB_EDPM_KERNEL_ARGS=" tsx=off "\n'}
        kernel = {'etc/kernel/cmdline': 'root=/dev/sda1\n'}
        ostree = 'ostree=/ostree/boot.1/x/0'
        for host, files, arguments, remedy in (
            ({'system': suse}, {}, '', 'Add intel_iommu=on iommu=pt to '
             'GRUB_CMDLINE_LINUX in /etc/default/grub, run grub2-mkconfig -o '
             '/boot/grub2/grub.cfg, then reboot'),
            ({'system': trees.RHEL}, edpm, '', 'Add intel_iommu=on iommu=pt '
             'to edpm_kernel_args of the OpenStackDataPlaneNodeSet, and '
             'deploy it (on the host alone: grubby --update-kernel=ALL '
             '--args="intel_iommu=on iommu=pt"), then reboot'),
            ({'system': trees.RHEL}, {}, ostree, 'kernel arguments '
             '(rpm-ostree kargs --append-if-missing="intel_iommu=on" '
             '--append-if-missing="iommu=pt"), then reboot'),
            ({'system': trees.RHEL}, {}, f'{ostree} iommu=off', 'rpm-ostree '
             'kargs --delete-if-present="iommu=off" --append-if-missing='),
            ({}, kernel, '', 'Add intel_iommu=on iommu=pt to /etc/kernel/'
             'cmdline, run kernel-install add 6.1.0-56-amd64 '
             '/boot/vmlinuz-6.1.0-56-amd64, then reboot'),
            ({'release': '6.8.12-1-pve'}, kernel, '', 'to /etc/kernel/cmdline,'
             ' run proxmox-boot-tool refresh, then reboot'),
            # MAAS has a file of its own.
            ({}, {'etc/default/grub': 'GRUB_CMDLINE_LINUX=""\n',
                  'etc/default/grub.d/50-curtin-settings.cfg':
                  'GRUB_CMDLINE_LINUX_DEFAULT="quiet iommu=off"\n'},
             'quiet iommu=off', 'Remove iommu=off from '
             'GRUB_CMDLINE_LINUX_DEFAULT in /etc/default/grub.d/'
             '50-curtin-settings.cfg, and add intel_iommu=on iommu=pt there, '
             'run update-grub'),
        ):  # fmt: skip
            tree = card(arguments, host={'iommu': False, **host}, driver=None)
            for path, content in files.items():
                tree.text(path, content)
            self.finds('GPU420', FAIL, 'off', tree, remedy=remedy)

    def test_what_writes_files(self) -> None:
        tree = card('iommu=pt', driver='nouveau', host={'system': trees.RHEL})
        tree.text('etc/default/grub', 'GRUB_EDPM_KERNEL_ARGS=""\n')
        command = 'gpu host config create --id 10de:20f1 --system rhoso'
        self.finds('GPU424', FAIL, '', tree, remedy=command)
        tree = card('ostree=1', driver='nouveau', host={'system': trees.RHEL})
        self.finds('GPU424', FAIL, '', tree,
                   remedy='run rpm-ostree initramfs --enable')  # fmt: skip

    def test_arm(self) -> None:
        """Nothing of Intel and AMD is said of it."""
        off = card('iommu=off', host={'iommu': False}, driver=None).arm()
        self.finds('GPU420', FAIL, 'nothing that was read', off,
                   remedy='Turn the SMMU on in the firmware setup; "dmesg | '
                   'grep -i SMMU" has')  # fmt: skip
        slow = card(host={'domain': 'DMA'}).arm()
        self.finds('GPU422', WARN, 'DMA', slow,
                   remedy='Add iommu.passthrough=1 to')  # fmt: skip
        text = str([*self.bad(off).values(), *self.bad(slow).values()])
        for word in ('Intel', 'intel_iommu', 'VT-d', 'AMD', 'iommu=pt'):
            self.assertNotIn(word, text)
        self.assertEqual({}, self.bad(card('iommu.passthrough=1 vfio-pci.ids='
                                           '10de:20f1 rd.driver.pre=vfio-pci'
                                           ).arm()))  # fmt: skip

    def test_virtual_machine(self) -> None:
        """It has no firmware setup, and QEMU has Intel's IOMMU for all."""
        off = {'iommu': False, 'acpi': ['APIC']}
        for vendor, model in (
            (trees.INTEL, ' (libvirt: <iommu model="intel">)'),
            (trees.AMD, ' (libvirt: <iommu model="amd">)'),
            ('HygonGenuine', ''),
        ):
            tree = card('', host={**off, 'vendor': vendor}, driver=None)
            found = self.bad(tree.guest())['GPU420'].remedy
            self.assertEqual(
                f'Give this virtual machine an IOMMU{model}', found
            )
        virt = card('', host=off, driver=None).arm()
        virt.device('0000:00:00.0', '1b36:0008', 0x060000)
        self.finds('GPU420', FAIL, '', virt, remedy='model="smmuv3"')
        amd = {'vendor': trees.AMD, 'acpi': ['DMAR']}
        self.assertEqual({}, self.bad(card(host=amd).guest()))
        asleep = card('', host={**amd, 'iommu': False}, driver=None).guest()
        self.finds('GPU420', FAIL, 'without intel_iommu=on', asleep)
        plain = card(total_vfs=None).guest()
        self.finds('GPU437', WARN, '', plain, remedy='Have device_type')

    def test_values_that_are_not_packed(self) -> None:
        """They are not known, and not taken for what is absent."""
        tree = card('intel_iommu=*** iommu=pt,***', host={'iommu': False})
        found = self.bad(tree)
        self.assertIn(
            'nothing that was read says why', found['GPU420'].evidence
        )
        self.assertIn(
            'The value of intel_iommu, iommu is not packed',
            found['GPU460'].evidence,
        )
        self.finds(
            'GPU432',
            WARN,
            'has a word that is not packed, which vfio-pci cannot read',
            card('vfio-pci.ids=10de:20f1,***'),
        )
        self.assertNotIn('GPU460', self.bad(card(trees.EARLY)))

    def test_arguments_that_nobody_could_read(self) -> None:
        tree = card(host={'iommu': False}, driver=None)
        del tree.files['proc/cmdline']
        self.finds('GPU420', FAIL, 'nothing that was read says why', tree)

    def test_on_without_an_argument(self) -> None:
        """Debian's kernel has it on by itself: groups are what counts."""
        tree = card('iommu=pt vfio-pci.ids=10de:20f1 rd.driver.pre=vfio-pci')
        self.assertEqual({}, self.bad(tree))

    def test_wrong_vendor(self) -> None:
        amd = {'vendor': trees.AMD, 'acpi': ['IVRS']}
        remedy = (
            'Remove intel_iommu=on from GRUB_CMDLINE_LINUX in '
            '/etc/default/grub, run update-grub, then reboot'
        )
        self.finds(
            'GPU421', WARN, 'intel_iommu', card(host=amd), remedy=remedy
        )
        both = card(f'{trees.EARLY} amd_iommu=on')
        self.finds('GPU421', WARN, 'amd_iommu', both,
                   remedy='Remove amd_iommu=on from')  # fmt: skip
        other = card('amd_iommu=on iommu=pt')
        self.finds('GPU421', WARN, 'amd_iommu', other,
                   remedy='and add intel_iommu=on there')  # fmt: skip
        off = card(host={**amd, 'iommu': False}, driver=None)
        self.finds('GPU421', FAIL, 'intel_iommu', off)

    def test_mode(self) -> None:
        tree = card(host={'domain': 'DMA-FQ'})
        self.finds('GPU422', WARN, 'DMA-FQ', tree, remedy='iommu=pt')
        mixed = card()
        mixed.device('0000:07:00.0', '8086:1137', 0x0C0330, group=9)
        mixed.text('sys/kernel/iommu_groups/9/type', 'DMA\n')
        self.assertEqual({}, self.bad(mixed))
        unknown = card()
        del unknown.files['sys/kernel/iommu_groups/4/type']
        self.assertEqual({}, self.bad(unknown))

    def test_without_an_iommu(self) -> None:
        """VFIO makes groups all the same, which no server can have."""
        path = 'sys/module/vfio/parameters/enable_unsafe_noiommu_mode'
        options = 'options vfio enable_unsafe_noiommu_mode=1\n'
        for arguments, files, where in (
            ('vfio.enable_unsafe_noiommu_mode=1', {}, 'the kernel arguments'),
            ('', {'etc/modprobe.d/x.conf': options}, '/etc/modprobe.d/x.conf'),
            ('', {}, 'what loads vfio'),
        ):
            tree = card(f'{trees.EARLY} {arguments}', host={'acpi': ['APIC']})
            tree.text('sys/kernel/iommu_groups/4/name', 'vfio-noiommu\n')
            tree.text(path, 'Y\n')
            for name, content in files.items():
                tree.text(name, content)
            self.finds('GPU462', FAIL, f'{GPU} has a group 4 that is none',
                       tree, remedy=f'out of {where}, run')  # fmt: skip
            self.assertEqual(
                {'GPU420', 'GPU428', 'GPU462'}, set(self.bad(tree))
            )
            self.finds('GPU420', FAIL, 'but those of VFIO itself: the', tree)
        # It is on, and does nothing where there is an IOMMU.
        tree = card()
        tree.text(path, 'Y\n')
        self.finds('GPU462', WARN, 'is on', tree)
        tree.text(path, 'N\n')
        self.assertEqual({}, self.bad(tree))

    def test_nothing_depends_on_it(self) -> None:
        tree = trees.Tree(iommu=False)
        trees.bmc(tree)
        self.finds('GPU420', WARN, 'without intel_iommu=on', tree)


class TestNextBoot(TestCase):
    """Entries of the boot loader, of which one is the default."""

    MACHINE = '0123456789abcdef' * 2

    def tree(self, saved: str, arguments: str = trees.EARLY) -> trees.Tree:
        found = card(host={'system': trees.RHEL})
        for version, text in (
            ('0-rescue', 'ro'),
            ('5.14.0-70.el9', 'ro iommu=pt'),
            ('5.14.0-427.el9', arguments),
        ):
            found.text(
                f'boot/loader/entries/{self.MACHINE}-{version}.conf',
                f'title x\noptions {text} $tuned_params\n',
            )
        found.text('boot/grub2/grubenv', f'{saved}tuned_params=nohz=on\n')
        for path, content in list(found.files.items()):
            if path.startswith('boot/'):
                del found.files[path]
                found.files[path.replace(self.MACHINE, '***')] = (
                    collect.rule_for(path).keep(content)
                )
        return found

    def test_default_entry(self) -> None:
        old = f'saved_entry={self.MACHINE}-5.14.0-70.el9\n'
        for saved, bad in (
            ('', False),
            ('saved_entry=0\n', False),
            ('saved_entry=1\n', True),
            (f'saved_entry={self.MACHINE}-5.14.0-427.el9\n', False),
            (old, True),
            # It names none, so which is taken is not known.
            (f'saved_entry={self.MACHINE}-6.1.0\n', False),
            ('saved_entry=9\n', False),
        ):
            found = self.bad(self.tree(saved))
            self.assertEqual({'GPU466'} if bad else set(), set(found), saved)
        self.finds(
            'GPU466', WARN, 'does not have intel_iommu=on vfio-pci.ids=10de:'
            '20f1, with which', self.tree(old),
            remedy='(grubby --update-kernel=ALL --args="intel_iommu=on '
            'vfio-pci.ids=10de:20f1")',
        )  # fmt: skip

    def test_turns_the_iommu_off(self) -> None:
        self.finds('GPU466', WARN, 'has intel_iommu=off: ',
                   self.tree('', 'intel_iommu=off'),
                   remedy='Remove intel_iommu=off')  # fmt: skip

    def test_arguments_of_grub_itself(self) -> None:
        """What ``$kernelopts`` is then is not known."""
        self.assertEqual({}, self.bad(self.tree('', '$kernelopts')))
        tree = self.tree('kernelopts=ro\n', '$kernelopts')
        self.assertIn('GPU466', self.bad(tree))
        tree = self.tree(f'kernelopts={trees.EARLY}\n', '$kernelopts')
        self.assertEqual({}, self.bad(tree))

    def test_reboot_is_pending_in_the_default_entry(self) -> None:
        """Others do not count, nor does what entries are made of."""
        tree = self.tree('')
        tree.text('proc/cmdline', 'ro iommu=pt intel_iommu=on\n')
        tree.links.pop(f'sys/bus/pci/devices/{GPU}/driver')
        tree.text('etc/default/grub', 'GRUB_CMDLINE_LINUX="quiet"\n')
        path = '/boot/loader/entries/***-5.14.0-427.el9.conf'
        self.finds('GPU425', WARN, f'until the next boot: {path} has', tree,
                   remedy=f'Reboot: {path} has')  # fmt: skip
        tree.text('boot/grub2/grubenv', 'saved_entry=1\n')
        self.finds('GPU425', WARN, 'nothing gives it to vfio-pci', tree,
                   remedy='--args="vfio-pci.ids=10de:20f1')  # fmt: skip


class TestDriver(TestCase):
    def test_rivals(self) -> None:
        for driver in ('nouveau', 'nvidia', 'nvidiafb', 'NovaCore'):
            self.finds('GPU424', FAIL, f'{driver} has it', card(driver=driver))
        tree = card('', driver='NovaCore')
        self.finds('GPU424', FAIL, '', tree,
                   remedy='the line "blacklist nova_core" into')  # fmt: skip
        # Another card of the host needs it, or a switch of cards.
        switch = card('', driver='nvidia')
        switch.device('0000:07:00.0', '10de:22a3', 0x068000, driver='nvidia')
        self.assertNotIn('blacklist', self.bad(switch)['GPU424'].remedy)
        add(tree, TWIN, group=5, driver='NovaCore')
        found = self.bad(tree, named(GPU))['GPU424'].remedy
        self.assertNotIn('blacklist', found)
        self.assertIn(f'host config create --device {GPU}"', found)
        tree = card('', driver='nouveau', host={'iommu': False})
        self.finds('GPU424', FAIL, '', tree, remedy='Turn the IOMMU on')

    def test_variants_of_vfio(self) -> None:
        for driver in ('vfio-pci', 'nvgrace-gpu-vfio-pci', 'mlx5_vfio_pci'):
            self.assertEqual({}, self.bad(card(driver=driver)))

    def test_unbound(self) -> None:
        plain = card('intel_iommu=on iommu=pt', driver=None)
        self.finds('GPU425', WARN, 'libvirt does so', plain,
                   remedy='Add vfio-pci.ids=10de:20f1 rd.driver.pre=vfio-pci '
                   'to')  # fmt: skip
        stub = card('iommu=pt', driver='pci-stub')
        self.finds('GPU425', WARN, 'pci-stub has it', stub)
        wrong = card('vfio-pci.ids=10de:20f0', driver=None)
        self.finds('GPU425', FAIL, 'leaves it out', wrong,
                   remedy='Remove vfio-pci.ids=10de:20f0 from GRUB_CMDLINE_'
                   'LINUX in /etc/default/grub, and add '
                   'vfio-pci.ids=10de:20f1 rd.driver.pre=vfio-pci there, run '
                   'update-grub, then reboot; "openstack gpu host config '
                   'create --id 10de:20f1" makes all files')  # fmt: skip
        late = card(driver=None)
        self.finds('GPU425', FAIL, 'vfio-pci claims it (the kernel arguments)'
                   ', and is loaded', late, remedy='dmesg')  # fmt: skip
        late.text('proc/modules', 'ext4 1 0\n')
        self.finds('GPU425', FAIL, 'and is not loaded', late)
        self.finds(
            'GPU425',
            FAIL,
            'managed: no',
            plain,
            specs({'address': GPU, 'managed': 'no'}),
        )

    def test_loads_vfio_pci(self) -> None:
        """Ids are of no use to a module that nothing loads."""
        host = {'system': trees.DEBIAN}
        tree = card('iommu=pt', driver=None, host=host)
        tree.initramfs('ext4', maker='initramfs-tools')
        tree.text('proc/modules', 'nouveau 1 0\n')
        self.finds('GPU425', WARN, '', tree,
                   remedy='run update-grub. Put vfio-pci into '
                   '/etc/initramfs-tools/modules, and a line "softdep DRIVER '
                   'pre: vfio-pci" for each of nouveau, nova_core, nvidia, '
                   'nvidiafb into a file in /etc/modprobe.d, run '
                   'update-initramfs -u, then reboot;')  # fmt: skip
        tree.text('etc/modprobe.d/x.conf', 'blacklist nova_core\n'
                  'blacklist nvidia\nblacklist nvidiafb\n')  # fmt: skip
        self.finds('GPU425', WARN, '', tree, remedy='and the line "softdep '
                   'nouveau pre: vfio-pci" into a file')  # fmt: skip
        tree.text('etc/modprobe.d/y.conf', 'blacklist nouveau\n')
        self.finds('GPU425', WARN, '', tree, remedy='Put vfio-pci into '
                   '/etc/initramfs-tools/modules, run')  # fmt: skip

    def test_pci_stub(self) -> None:
        stub = f'{trees.EARLY} pci-stub.ids=10de:20f1'
        self.finds('GPU425', FAIL, 'pci-stub has it, although vfio-pci claims',
                   card(stub, driver='pci-stub'),
                   remedy='Remove pci-stub.ids=10de:20f1 from')  # fmt: skip
        self.finds('GPU425', FAIL, '',
                   card(f'{stub},8086:1', driver='pci-stub'),
                   remedy='and add pci-stub.ids=8086:1 there')  # fmt: skip
        tree = card(driver='pci-stub')
        tree.text('etc/modprobe.d/x.conf', 'options pci-stub ids=10de:20f1\n')
        self.finds('GPU425', FAIL, '', tree,
                   remedy='Take 10de:20f1 out of the options of pci-stub in '
                   '/etc/modprobe.d/x.conf, then reboot')  # fmt: skip

    def test_overridden_for_another(self) -> None:
        tree = card(driver=None, override='none')
        self.finds('GPU425', FAIL, 'driver_override leaves it to none', tree,
                   remedy=f'Take away what writes none to driver_override of '
                   f'{GPU} (a line of modprobe.d, a udev rule, driverctl), '
                   f'then reboot')  # fmt: skip
        tree = card('iommu=pt', driver='pci-stub', override='pci-stub')
        self.finds('GPU425', FAIL, 'leaves it to pci-stub', tree,
                   remedy='). Add vfio-pci.ids=10de:20f1')  # fmt: skip

    def test_virtual_functions(self) -> None:
        tree = trees.vfs()
        vf = '0000:41:00.4'
        self.finds('GPU424', WARN, 'nvidia has it', tree, remedy='managed: no')
        spec = {'vendor_id': '10de', 'product_id': '2235', 'address': vf}
        self.assertEqual({}, self.bad(tree, specs({**spec, 'managed': 'no'})))
        tree.text('proc/modules', 'nvidia_vgpu_vfio 1 0\n')
        self.assertEqual({}, self.bad(tree))
        self.assertEqual({'GPU424'}, set(self.bad(tree, specs(spec))))
        del tree.links[f'sys/bus/pci/devices/{vf}/driver']
        self.finds('GPU425', WARN, 'no driver', tree, specs(spec),
                   'when the VFs have been made')  # fmt: skip

    def test_all_cards_in_one_argument(self) -> None:
        """Of two such arguments, the kernel takes the last."""
        tree = card('iommu=pt', driver='nouveau')
        tree.device('0000:41:00.0', '10de:27b8', 0x030200, driver='nouveau',
                    group=40)  # fmt: skip
        tree.device('0000:41:00.1', '10de:22bc', 0x040300,
                    driver='snd_hda_intel', group=40)  # fmt: skip
        tree.device('0000:42:00.0', '10de:2235', 0x030200, driver='nvidia',
                    group=42)  # fmt: skip
        found = self.check(tree, named(GPU, '0000:41:00.0'))
        remedies = [
            one.remedy for one in found if one.code in ('GPU424', 'GPU426')
        ]
        self.assertEqual(3, len(remedies))
        for remedy in remedies:
            (ids,) = re.findall('vfio-pci.ids=([0-9a-f:,]+) rd', remedy)[:1]
            self.assertEqual(
                {'10de:20f1', '10de:27b8', '10de:22bc'}, set(ids.split(','))
            )

    def test_reboot_is_pending(self) -> None:
        ids = 'vfio-pci.ids=10de:20f1'
        for early, remedy in (
            (' rd.driver.pre=vfio-pci', 'Reboot: /{} has vfio-pci.ids with'),
            ('', '/{} has vfio-pci.ids with 10de:20f1 for the next boot. Add '
             'rd.driver.pre=vfio-pci to'),
        ):  # fmt: skip
            for path, content in (
                ('etc/default/grub', 'GRUB_CMDLINE_LINUX="a"\n'
                 f'GRUB_CMDLINE_LINUX+=" {ids}{early}"\n'),
                ('etc/kernel/cmdline', f'{ids}{early}\n'),
                ('boot/loader/entries/a.conf', f'options {ids}{early}'),
            ):  # fmt: skip
                tree = card('iommu=pt', driver=None)
                tree.text(path, content)
                self.finds('GPU425', WARN, '', tree,
                           remedy=remedy.format(path))  # fmt: skip
        # Files that entries are made of are not what the next boot has.
        tree = card('iommu=pt', driver=None)
        tree.text(
            'etc/default/grub',
            f'GRUB_CMDLINE_LINUX="{ids} rd.driver.pre=vfio-pci"\n',
        )
        self.finds('GPU425', WARN, '', tree, remedy='update-grub before')
        tree.text('boot/loader/entries/a.conf', 'options quiet\n')
        self.finds('GPU425', WARN, '', tree, remedy=f'Add {ids}')
        for system, words in (
            (trees.RHEL, 'run grub2-mkconfig before'),
            (trees.DEBIAN, 'run update-grub before'),
        ):
            tree = card('', host={'iommu': False, 'system': system})
            tree.text('etc/default/grub', 'GRUB_CMDLINE_LINUX=intel_iommu=on')
            self.finds('GPU420', FAIL, '', tree, remedy=words)
        tree = card('', host={'iommu': False})
        tree.text('etc/kernel/cmdline', 'intel_iommu=on\n')
        self.finds('GPU420', FAIL, '', tree, remedy='run kernel-install add')
        # Our own files, before the reboot.
        tree = card('iommu=pt', driver=None)
        tree.initramfs('ext4', maker='initramfs-tools')
        tree.text('proc/modules', 'nouveau 1 0\n')
        wanted = host_files.Passthrough('intel', ids=('10de:20f1',))
        for file in host_files.prepare(wanted, host_files.DEBIAN).files:
            tree.text(file.path.lstrip('/'), file.content)
        found = self.bad(tree)['GPU425']
        self.assertIn('Reboot; if that does not help', found.remedy)


class TestGroup(TestCase):
    def test_harmless_siblings(self) -> None:
        tree = card()
        for slot, (code, driver) in enumerate((
            (0x060400, 'pcieport'), (0x060400, 'shpchp'), (0x040300, None),
            (0x040300, 'vfio-pci'), (0x040300, 'pci-stub'),
        )):  # fmt: skip
            tree.device(
                f'0000:10:0{slot}.0', '8086:0001', code, driver=driver, group=4
            )
        self.assertEqual({}, self.bad(tree))

    def test_mates_that_nobody_uses(self) -> None:
        """They may be bound to vfio-pci, and have to be for the group."""
        tree = card()
        add(tree, TWIN)
        found = self.bad(tree, named(GPU))
        self.assertEqual({}, found)
        # Of a host driver: the remedy is vfio-pci for both, by their ids.
        tree = card('intel_iommu=on iommu=pt', driver='nouveau')
        add(tree, TWIN, driver='nouveau')
        found = self.bad(tree, named(GPU))
        self.assertIn(TWIN, found['GPU426'].evidence)
        self.assertIn('vfio-pci.ids=10de:20f1', found['GPU424'].remedy)
        self.assertNotIn('GPU454', found)
        # In a group of its own it is a card that the host keeps.
        tree = card()
        add(tree, TWIN, group=5)
        self.assertIn('GPU430', self.bad(tree, named(GPU)))

    def test_not_viable(self) -> None:
        tree = card()
        tree.device(
            '0000:04:00.1', '10de:1aef', 0x040300, driver='snd_hda_intel',
            group=4,
        )  # fmt: skip
        self.finds('GPU426', FAIL, '0000:04:00.1 (10de:1aef, snd_hda_intel)',
                   tree, remedy='add vfio-pci.ids=10de:20f1,10de:1aef there, '
                   'run update-grub, then reboot')  # fmt: skip
        lost = card(trees.EARLY.replace('20f1', '20f1,10de:1aef'))
        lost.device(
            '0000:04:00.1', '10de:1aef', 0x040300, driver='snd_hda_intel',
            group=4,
        )  # fmt: skip
        self.finds('GPU426', FAIL, '', lost, remedy='dmesg')
        by_address = card('iommu=pt', override='vfio-pci')
        by_address.device(
            '0000:04:00.1', '10de:1aef', 0x040300, driver='snd_hda_intel',
            group=4,
        )  # fmt: skip
        self.finds('GPU426', FAIL, '', by_address,
                   remedy='driver_override of 0000:04:00.1, too')  # fmt: skip
        other = card()
        other.device('0000:10:00.0', '8086:1', 0x0C0330, driver='ahci',
                     group=4)  # fmt: skip
        self.finds('GPU426', FAIL, '', other, remedy='ACS')

    def test_driver_that_is_part_of_the_kernel(self) -> None:
        tree = card()
        tree.device(
            '0000:04:00.2', '10de:1ad8', 0x0C0330, driver='xhci_hcd', group=4
        )
        self.finds('GPU426', FAIL, '', tree,
                   remedy='add vfio-pci.ids=10de:20f1,10de:1ad8')  # fmt: skip
        tree.text(
            'lib/modules/6.1.0-56-amd64/modules.builtin',
            'kernel/drivers/usb/host/xhci-pci.ko\n',
        )
        remedy = 'is part of the kernel and always first'
        self.finds('GPU426', FAIL, '', tree, remedy=remedy)
        self.assertNotIn('pci-stub', self.bad(tree)['GPU426'].remedy)
        tree.text(
            'lib/modules/6.1.0-56-amd64/modules.builtin',
            'kernel/drivers/usb/host/xhci-pci.ko\n'
            'kernel/drivers/pci/pci-stub.ko\n',
        )
        self.finds('GPU426', FAIL, '', tree, remedy='with pci-stub.ids')

    def test_reserved_by_firmware(self) -> None:
        path = 'sys/kernel/iommu_groups/4/reserved_regions'
        region = '0x00000000bf800000 0x00000000bfffffff direct\n'
        tree = card()
        tree.text(path, region)
        self.finds('GPU427', FAIL, 'RMRR', tree)
        relaxable = card()
        relaxable.text(path, region.replace('direct', 'direct-relaxable'))
        self.assertEqual({}, self.bad(relaxable))

    def test_reserved_by_firmware_of_others(self) -> None:
        """Since Linux 6.6 it is not Intel's IOMMU alone that refuses it."""
        for release, bad in (('6.5.0-1-amd64', False), ('6.6.9-1', True)):
            host = {'vendor': trees.AMD, 'acpi': ['IVRS'], 'release': release}
            tree = card('iommu=pt vfio-pci.ids=10de:20f1', host=host)
            tree.text('sys/kernel/iommu_groups/4/reserved_regions',
                      '0x00000000bf800000 0x00000000bfffffff direct\n'
                      )  # fmt: skip
            if bad:
                self.finds('GPU427', FAIL, '1:1 IOMMU mapping', tree,
                           remedy='Turn DMA protection')  # fmt: skip
            else:
                self.assertNotIn('GPU427', self.bad(tree))

    def test_reserved_by_firmware_of_old_kernels(self) -> None:
        """They have one word for all regions, and let displays go."""
        for release, code, bad in (
            ('4.18.0-553.el8', 0x0C0330, False),
            ('4.18.0-553.el8', 0x010700, True),
            ('5.14.0-427.el9', 0x0C0330, True),
        ):
            tree = card(host={'release': release})
            tree.device('0000:10:00.0', '8086:1', code, group=4)
            tree.text('sys/kernel/iommu_groups/4/reserved_regions',
                      '0x00000000bf800000 0x00000000bfffffff direct\n'
                      )  # fmt: skip
            self.assertEqual(bad, 'GPU427' in self.bad(tree), release)

    def test_no_group(self) -> None:
        tree = card(group=None)
        trees.bmc(tree)
        self.finds('GPU428', FAIL, 'though others are', tree)

    def test_cards_that_share_one(self) -> None:
        tree = card()
        add(tree, TWIN)
        self.finds('GPU429', WARN, GPU, tree)


class TestBinding(TestCase):
    def test_ids_catch_a_card_of_the_host(self) -> None:
        tree = card()
        add(tree, TWIN, group=5)
        self.finds('GPU430', FAIL, 'catches this card', tree, named(GPU),
                   remedy=f'Take 10de:20f1 out of vfio-pci.ids, and write '
                   f'vfio-pci to driver_override of {GPU} before drivers are '
                   f'loaded; "openstack gpu host config create --device '
                   f'{GPU}" makes all files')  # fmt: skip

    def test_ids_catch_a_card_with_vfs(self) -> None:
        """It is told of once, and not at each of its VFs."""
        vf = '0000:05:00.4'
        tree = card()
        add(tree, TWIN, group=5, driver='nvidia', vfs=(vf,))
        tree.device(vf, trees.A100, 0x030200, driver='nvidia', group=6,
                    parent=TWIN)  # fmt: skip
        found = [
            str(one.device)
            for one in self.check(tree, named(GPU))
            if one.code == 'GPU430'
        ]
        self.assertEqual([TWIN], found)

    def test_subsystem_in_ids(self) -> None:
        for ids, caught in (
            ('10de:20f1:10de:1450', True),
            ('10de:20f1:10de', True),
            ('10de:20f1:10de:0001', False),
            ('10de:20f1:10de:1450:030200:ffffff', True),
            ('10de:20f1:10de:1450:030000:ffffff', False),
        ):
            tree = card(f'iommu=pt vfio-pci.ids={ids}', driver=None)
            self.assertEqual(
                not caught, 'GPU432' in self.bad(tree), (ids, self.bad(tree))
            )

    def test_missed_function(self) -> None:
        tree = card()
        tree.device('0000:04:00.1', '10de:1aef', 0x040300, group=4)
        self.finds('GPU431', WARN, '10de:1aef, audio', tree,
                   remedy='vfio-pci.ids=10de:20f1,10de:1aef')  # fmt: skip
        tree = card('iommu=pt', override='vfio-pci')
        tree.device('0000:04:00.1', '10de:1aef', 0x040300, group=4)
        self.finds('GPU431', WARN, '', tree, remedy='driver_override')

    def test_unused_and_wrong_ids(self) -> None:
        unused = card(trees.EARLY.replace('20f1', '20f1,10de:20f2'))
        self.finds('GPU432', WARN, '10de:20f2, which no device', unused)
        wrong = card(trees.EARLY.replace('20f1', '20f1,card'))
        self.finds('GPU432', WARN, 'card, which vfio-pci cannot', wrong)

    def test_builtin(self) -> None:
        path = 'lib/modules/6.1.0-56-amd64/modules.builtin'
        tree = card('iommu=pt', driver=None)
        tree.text('etc/modprobe.d/vfio.conf', 'options vfio-pci ids=10de:20f1')
        tree.text(path, 'kernel/drivers/vfio/pci/vfio-pci.ko\n')
        self.finds('GPU433', FAIL, '/etc/modprobe.d/vfio.conf', tree,
                   remedy='vfio-pci.ids=10de:20f1')  # fmt: skip
        tree = card('iommu=pt vfio-pci.ids=10de:20f1')
        tree.text(path, 'kernel/drivers/vfio/pci/vfio-pci.ko\n')
        self.assertEqual({}, self.bad(tree))

    def test_builtin_and_pending(self) -> None:
        """Nothing is to be added that the next boot has."""
        for grub in (
            'GRUB_CMDLINE_LINUX="quiet vfio-pci.ids=10de:20f1"\n',
            'GRUB_CMDLINE_LINUX="quiet \\\nvfio-pci.ids=10de:\\\n20f1"\n',
            'GRUB_CMDLINE_LINUX="quiet\nvfio-pci.ids=10de:20f1\n"\n',
            "GRUB_CMDLINE_LINUX='quiet\n\n vfio-pci.ids=10de:20f1'\n",
        ):
            tree = card('iommu=pt', driver=None)
            tree.text(
                'etc/modprobe.d/vfio.conf', 'options vfio-pci ids=10de:20f1'
            )
            tree.text(
                'lib/modules/6.1.0-56-amd64/modules.builtin',
                'kernel/drivers/vfio/pci/vfio-pci.ko\n',
            )
            path = 'etc/default/grub'
            tree.files[path] = collect.rule_for(path).keep(grub.encode())
            found = self.bad(tree)
            for code in ('GPU433', 'GPU425'):
                self.assertTrue(
                    found[code].remedy.startswith(
                        'Reboot: /etc/default/grub has vfio-pci.ids'
                    ),
                    found[code],
                )
            self.assertIn('until the next boot', found['GPU425'].evidence)
        # What grub has is not lost where more is to be added.
        tree.text(path, 'GRUB_CMDLINE_LINUX="vfio-pci.ids=10de:1aef"\n')
        self.finds('GPU433', FAIL, '', tree,
                   remedy='vfio-pci.ids=10de:1aef,10de:20f1')  # fmt: skip

    def race(self, *modules: str, maker: str, **files: str) -> trees.Tree:
        tree = card(trees.BOUND)
        tree.initramfs(*modules, maker=maker)
        for path, content in files.items():
            tree.text(path, content)
        return tree

    def test_race(self) -> None:
        dracut, tools = 'dracut', 'initramfs-tools'
        lost = self.race('nouveau', maker=dracut)
        self.finds('GPU434', FAIL, 'comes too late', lost,
                   remedy='rd.driver.pre=vfio-pci')  # fmt: skip
        lost = self.race('nouveau', maker=tools)
        self.finds('GPU434', FAIL, '', lost, remedy='softdep DRIVER pre')
        open_ = self.race('nouveau', 'vfio-pci', maker=tools)
        self.finds('GPU434', WARN, 'in /boot/initrd', open_)
        self.finds('GPU434', WARN, 'from the root file system',
                   self.race('ext4', maker=tools))  # fmt: skip
        absent = card()
        absent.initramfs('ext4', maker=dracut)
        self.finds('GPU434', WARN, 'does not have it', absent)
        # initramfs-tools knows no rd.driver.pre.
        ignored = card()
        ignored.initramfs('nouveau', 'vfio-pci', maker=tools)
        self.finds('GPU434', WARN, '', ignored)
        # Its udev is there before it loads modules by their names.
        for path, content in (
            ('etc/initramfs-tools/modules', '# a\nvfio-pci\n'),
            ('etc/initramfs-tools/hooks/x', 'force_load vfio-pci\n'),
        ):
            late = self.race('nouveau', 'vfio-pci', maker=tools,
                             **{path: content})  # fmt: skip
            self.finds('GPU434', FAIL, f'/{path} loads vfio-pci when udev has '
                       f'loaded nouveau', late, remedy='softdep')  # fmt: skip

    def test_race_won(self) -> None:
        every = 'blacklist nouveau\nblacklist nova_core\nblacklist nvidiafb\n'
        soft = 'softdep nvidia post: x pre: a vfio-pci\n'
        for tree in (
            self.race('ext4', 'vfio-pci', maker='initramfs-tools',
                      **{'etc/initramfs-tools/modules': '# a\nvfio-pci\n'}),
            self.race('ext4', 'vfio-pci', maker='initramfs-tools',
                      **{'etc/initramfs-tools/hooks/x':
                         '#!/bin/sh\nforce_load vfio-pci\n'}),
            self.race('nouveau', 'vfio-pci', maker='dracut',
                      **{'etc/dracut.conf.d/x.conf':
                         'force_drivers+=" vfio-pci "\n'}),
            self.race('nouveau', maker='initramfs-tools',
                      **{'etc/modprobe.d/x.conf': every + soft}),
            self.race('nouveau', maker='initramfs-tools',
                      **{'etc/modprobe.d/x.conf': every
                         + 'install nvidia /bin/false\n'}),
        ):  # fmt: skip
            self.assertEqual({}, self.bad(tree))
        tree = card(f'{trees.BOUND} modprobe.blacklist=nouveau,nvidia,'
                    f'nova_core,nvidiafb')  # fmt: skip
        tree.initramfs('nouveau', maker='initramfs-tools')
        self.assertEqual({}, self.bad(tree))

    def test_race_of_what_there_is(self) -> None:
        """A module that the host has not, or that idles, takes no card."""
        nouveau = 'alias pci:v000010DEd*sv*sd*bc03sc*i* nouveau\n'
        nvidia = 'alias pci:v000010DEd*sv*sd*bc03sc02i00* nvidia\n'
        top = nvidia.replace(' nvidia', ' nvidia_drm')
        off = 'blacklist nouveau\n'
        for aliases, lines, arguments, lost in (
            (nouveau, off, '', None),
            (nouveau + nvidia, off, '', 'nvidia and'),
            (nouveau + nvidia, f'{off}blacklist nvidia\n', '', None),
            # udev loads nvidia_drm, and that has nvidia loaded.
            (nvidia + top, 'blacklist nvidia\n', '', 'nvidia and'),
            (nvidia + top, 'blacklist nvidia\nblacklist nvidia_drm\n', '',
             None),
            (nvidia + top, 'softdep nvidia pre: vfio-pci\n', '', None),
            (nvidia + top, 'install nvidia /bin/false\n', '', None),
            (nouveau, 'options nouveau modeset=0\n', '', None),
            (nouveau, 'options nouveau modeset=0\n', 'nouveau.modeset=1',
             'nouveau and'),
            (nouveau, '', 'nouveau.modeset=0', None),
            (nouveau, '', 'nomodeset', None),
            (nvidia, '', 'nomodeset', 'nvidia and'),
            (nouveau, 'softdep drm pre: vfio-pci\n', '', None),
            (nvidia, 'softdep drm pre: vfio-pci\n', '', 'nvidia and'),
            ('alias pci:v00001A03d*sv*sd*bc03sc*i* ast\n', '', '', None),
            # Nothing for any display device: nothing is known.
            ('', '', '', 'nouveau, nova_core, nvidia, nvidiafb and'),
        ):  # fmt: skip
            tree = card(f'{trees.BOUND} {arguments}')
            tree.initramfs('ext4', maker='dracut')
            path = f'lib/modules/{tree.release}/modules.'
            tree.text(f'{path}alias', aliases)
            tree.text('etc/modprobe.d/x.conf', lines)
            if lost is None:
                self.assertEqual({}, self.bad(tree), (lines, arguments))
            else:
                self.finds('GPU434', WARN, lost, tree)
        tree.text(f'{path}alias', nouveau)
        tree.text(f'{path}builtin', 'kernel/drivers/gpu/drm/drm.ko\n')
        tree.text('etc/modprobe.d/x.conf', 'softdep drm pre: vfio-pci\n')
        self.finds('GPU434', WARN, 'nouveau and', tree)
        # The driver that has the card, and what is on top of it.
        tree = card('iommu=pt', driver='nvidia')
        tree.initramfs('ext4', maker='initramfs-tools')
        tree.text(f'{path}alias', nvidia + top)
        self.finds('GPU424', FAIL, '', tree,
                   remedy='the line "blacklist nvidia" and the line '
                   '"blacklist nvidia_drm" into')  # fmt: skip

    def test_taken_by_libvirt(self) -> None:
        """It writes driver_override for a server, until the next boot."""
        tree = card('iommu=pt', override='vfio-pci')
        tree.initramfs('nouveau', maker='dracut')
        self.assertEqual({}, self.bad(tree))

    def test_unreadable_initramfs(self) -> None:
        tree = card(trees.BOUND)
        del tree.files[next(p for p in tree.files if 'initramfs' in p)]
        self.finds('GPU435', WARN, 'no initramfs', tree)
        files = tree.tree()
        files.unreadable['gpuclient/initramfs/boot+initrd.img-6'] = 'zstd'
        found = {
            one.code: one for one in host_rules.check(reader.parse(files, ''))
        }
        self.assertIn('/boot/initrd.img-6', found['GPU435'].evidence)
        self.assertIn('zstd', found['GPU435'].evidence)

    def test_twins(self) -> None:
        tree = card('iommu=pt', driver=None)
        add(tree, TWIN, group=5, driver='nvidia')
        self.finds('GPU454', WARN, TWIN, tree, named(GPU))
        tree = card('iommu=pt', override='vfio-pci')
        add(tree, TWIN, group=5, driver='nvidia')
        found = self.bad(tree, named(GPU))
        self.assertNotIn('GPU454', found)

    def test_install_line(self) -> None:
        """driver_override by address, as our own files write it."""
        tree = card('iommu=pt')
        add(tree, TWIN, group=5, driver='nvidia')
        tree.text(
            'etc/modprobe.d/x.conf',
            f'install vfio-pci for address in {GPU}; do echo vfio-pci > '
            f'/sys/bus/pci/devices/$address/driver_override; done\n'
            'softdep nouveau pre: vfio-pci\nsoftdep nvidia pre: vfio-pci\n'
            'softdep nova_core pre: vfio-pci\n'
            'softdep nvidiafb pre: vfio-pci\n',
        )
        self.assertEqual({}, self.bad(tree, named(GPU)))

    def test_domains(self) -> None:
        """All of an address is compared, and no part of a longer one."""
        address = '0009:01:00.0'
        for written, claimed in ((address, True), (f'1{address}', False)):
            tree = card('iommu=pt', address=address)
            tree.text(
                'etc/modprobe.d/x.conf',
                f'install vfio-pci echo vfio-pci > '
                f'/sys/bus/pci/devices/{written}/driver_override\n',
            )
            path = 'etc/modprobe.d/x.conf'
            tree.files[path] = collect.rule_for(path).keep(tree.files[path])
            view = passthrough_view.View(
                tree.host(), named(address), catalogue.builtin()
            )
            (device,) = view.for_guests
            claim = view.claim(device)
            self.assertEqual(claimed, claim is not None and not claim.by_ids)
        # Cards of two domains are on two buses.
        tree = card(address='0001:04:00.0', reset=None)
        tree.device('0000:04:00.1', '10de:1aef', 0x040300, driver='vfio-pci',
                    group=9)  # fmt: skip
        self.assertIn('GPU441', self.bad(tree, named('0001:04:00.0')))

    def test_twin_that_is_kept_by_its_address(self) -> None:
        """An override leaves it to a driver of the host."""
        tree = card()
        add(tree, TWIN, group=5, driver='nvidia', override='nvidia')
        self.assertEqual({}, self.bad(tree, named(GPU)))
        passed = [
            one.evidence
            for one in self.check(tree, named(GPU))
            if one.check == 'duplicate ids'
        ]
        self.assertEqual(
            [f'driver_override leaves {TWIN} to the host'], passed
        )
        # A line that writes it is none that gives the card to vfio-pci.
        tree.text(
            'etc/modprobe.d/x.conf',
            f'install vfio-pci echo nvidia > /sys/bus/pci/devices/{TWIN}/'
            f'driver_override; modprobe -i vfio-pci\n',
        )
        self.assertEqual({}, self.bad(tree, named(GPU)))

    def test_install_line_of_what_is_part_of_the_kernel(self) -> None:
        """It is never run; that of another name is, before a driver."""
        override = (
            f'for address in {GPU}; do echo vfio-pci > '
            f'/sys/bus/pci/devices/$address/driver_override; done'
        )
        tree = card('iommu=pt', driver='nouveau')
        add(tree, TWIN, group=5, driver='nvidia')
        tree.text(
            f'lib/modules/{tree.release}/modules.builtin',
            'kernel/drivers/vfio/pci/vfio-pci.ko\n',
        )
        tree.text('etc/modprobe.d/x.conf', f'install vfio-pci {override}\n')
        self.finds('GPU454', WARN, TWIN, tree, named(GPU))
        wanted = host_files.Passthrough(
            'intel',
            addresses=(pci.parse_address(GPU),),
            vendor_ids=('10de',),
            vfio_is_builtin=True,
        )
        ready = host_files.prepare(wanted, host_files.DEBIAN)
        tree = card('iommu=pt', override='vfio-pci')
        add(tree, TWIN, group=5, driver='nvidia')
        tree.text(
            f'lib/modules/{tree.release}/modules.builtin',
            'kernel/drivers/vfio/pci/vfio-pci.ko\n',
        )
        (text,) = (
            one.content
            for one in ready.files
            if one.path == host_files.MODPROBE
        )
        tree.text('etc/modprobe.d/x.conf', text)
        self.assertEqual({}, self.bad(tree, named(GPU)))
        tree.text('etc/modprobe.d/x.conf', text.replace('softdep', '#'))
        self.finds('GPU434', WARN, 'for gpu_passthrough is run', tree,
                   named(GPU), 'the line "softdep nouveau pre: '
                   'gpu_passthrough"')  # fmt: skip


class TestIgnoredLines(TestCase):
    def test_lines(self) -> None:
        path = '/etc/modprobe.d/x.conf'
        for line, shown, remedy in (
            ('option vfio-pci ids=10de:20f1', 'option vfio-pci',
             f'Write "options" in place of "option" in {path}, run'),
            ('opitons vfio-pci ids=10de:20f1', 'opitons vfio-pci',
             'Write "options" in place of "opitons"'),
            ('options vfio-pci', 'options vfio-pci',
             'Give "options" all that it takes (modprobe.d(5))'),
            ('echo "options vfio-pci ids=1:2"', 'echo vfio-pci',
             'Begin the line as modprobe.d(5) has it, or with #, in'),
        ):  # fmt: skip
            tree = card()
            tree.text(path.lstrip('/'), f'# comment\n\n{line}\n')
            self.finds('GPU463', FAIL, f'line of {path} out: "{shown} ..."',
                       tree, remedy=remedy)  # fmt: skip

    def test_of_no_card(self) -> None:
        for line, tree in (
            ('blacklst nouveau', card()),
            ('option vfio-pci ids=1:2', trees.Tree()),
        ):
            tree.text('etc/modprobe.d/x.conf', f'{line}\n')
            self.finds('GPU463', WARN, '', tree)


class TestDevice(TestCase):
    def test_does_not_answer(self) -> None:
        gone = card(config=b'\xff' * 4096)
        self.finds('GPU423', FAIL, 'all ones', gone)
        self.finds('GPU423', FAIL, 'error', card(power='error'))
        self.assertEqual({}, self.bad(card(power='unknown')))

    def test_device_type_against_alias(self) -> None:
        for kind, plain in (('type-PCI', card()), (None, card())):
            keys = {} if kind is None else {'device_type': kind}
            self.finds('GPU436', FAIL, 'libvirt says type-PF', plain,
                       alias(**keys), 'device_type type-PF')  # fmt: skip
        self.assertEqual({}, self.bad(card(), alias(device_type='type-PF')))

    def test_alias_by_class(self) -> None:
        wanted = alias_model.parse(
            '{"name": "a", "resource_class": "GPU", "device_type": "type-PCI"}'
        )
        intent = specs(
            {'address': GPU, 'resource_class': 'gpu'}, aliases=(wanted,)
        )
        self.finds('GPU436', FAIL, '', card(), intent)

    def test_device_type_against_catalogue(self) -> None:
        self.finds('GPU437', WARN, 'is type-PF', card(total_vfs=None))

    def test_sriov(self) -> None:
        space = trees.config_space(sriov=True)
        hidden = card(total_vfs=None, config=space)
        self.finds('GPU438', WARN, 'offers no VFs', hidden)
        with_vfs = card(vfs=('0000:04:00.4',))
        self.finds('GPU439', WARN, 'has 1 VFs', with_vfs, named(GPU))
        managed = card(driver='nvidia', vfs=('0000:04:00.4',))
        self.finds('GPU439', WARN, 'has 1 VFs', managed, named(GPU),
                   f'sriov-manage -d {GPU}, and')  # fmt: skip
        # Who is not root sees the first 64 bytes.
        part = card(total_vfs=None, config=space[:64])
        self.assertNotIn('GPU438', self.bad(part))

    def test_bars(self) -> None:
        """The big ones of 64 bit are those that no room is found for."""
        registers = (0xC0000000, 0xC, 0, 0xC, 0x380, 0x1)
        space = trees.config_space(sriov=True, bars=registers)
        whole = ((16 << 20, 0x40200), (64 << 30, 0x14220C), (0, 0),
                 (32 << 20, 0x14220C))  # fmt: skip
        self.assertEqual({}, self.bad(card(config=space, bars=whole)))
        part = card(config=space, bars=whole[:1])
        self.finds('GPU443', FAIL, 'no room for BAR 1, 3: ', part,
                   remedy='Add pci=realloc to')  # fmt: skip
        # Later kernels keep the type of a BAR without an address.
        kept = card(config=space, bars=(whole[0], (0, 0x14220C), *whole[2:]))
        self.finds('GPU443', FAIL, 'no room for BAR 1: ', kept)
        # 64 bytes are what everybody may read.
        user = card(config=space[:64], bars=whole[:1], total_vfs=None)
        self.finds('GPU443', FAIL, 'BAR 1, 3', user)
        gone = card(config=b'\xff' * 4096, bars=())
        self.assertNotIn('GPU443', self.bad(gone))

    def test_memory_of_the_cpu(self) -> None:
        for driver, bad in (
            ('vfio-pci', True),
            ('nvgrace_gpu_vfio_pci', False),
        ):
            tree = trees.Tree(arguments='iommu.passthrough=1').arm()
            tree.device('0009:01:00.0', '10de:2342', 0x030200, driver=driver,
                        group=9, total_vfs=32)  # fmt: skip
            self.assertEqual({'GPU464'} if bad else set(), set(self.bad(tree)))
            if bad:
                self.finds('GPU464', WARN, 'nvgrace_gpu_vfio_pci shows', tree,
                           remedy='Take 10de:2342 out of')  # fmt: skip

    def test_boot_vga(self) -> None:
        tree = card(boot_vga=True)
        self.assertEqual({}, self.bad(tree))
        tree.text('sys/bus/platform/devices/efi-framebuffer.0', '')
        self.finds('GPU440', WARN, '(efi-framebuffer.0): "BAR 1', tree,
                   remedy='Add initcall_blacklist=sysfb_init')  # fmt: skip

    def test_console_without_boot_vga(self) -> None:
        """Only VGA devices have it; of others it has to be found out."""
        tree = trees.Tree(arguments='iommu=pt vfio-pci.ids=10de:20f1 '
                          'rd.driver.pre=vfio-pci')  # fmt: skip
        tree.initramfs('vfio-pci', maker='dracut')
        tree.device(GPU, trees.A100, 0x038000, driver='vfio-pci', group=4,
                    total_vfs=16)  # fmt: skip
        self.assertEqual({}, self.bad(tree))
        tree.text('sys/bus/platform/devices/simple-framebuffer.0', '')
        self.finds('GPU440', WARN, 'console of the host may be on it (simple',
                   tree, remedy='initcall_blacklist=sysfb_init')  # fmt: skip
        trees.bmc(tree)
        self.assertEqual({}, self.bad(tree))
        # A 3D controller has no display.
        tree = card()
        tree.text('sys/bus/platform/devices/simple-framebuffer.0', '')
        self.assertEqual({}, self.bad(tree))

    def test_reset(self) -> None:
        self.finds('GPU441', WARN, 'no way', card(reset=None))
        unknown = card()
        del unknown.files[f'sys/bus/pci/devices/{GPU}/reset_method']
        self.assertEqual({}, self.bad(unknown))
        unknown.files[f'sys/bus/pci/devices/{GPU}/reset_method'] = b'\xff'
        self.finds('GPU441', WARN, 'could not be read', unknown)

    def test_reset_with_the_bus(self) -> None:
        ids = f'{trees.EARLY},10de:1aef'
        for driver, bad in (('vfio-pci', False), ('snd_hda_intel', True)):
            tree = card(ids, reset=None)
            tree.device('0000:04:00.1', '10de:1aef', 0x040300, driver=driver,
                        group=4, reset=None)  # fmt: skip
            self.assertEqual(bad, 'GPU441' in self.bad(tree))
        # The root bus has no bridge that could do it.
        tree = card(ids, address='0000:00:02.0', reset=None)
        tree.device('0000:00:02.1', '10de:1aef', 0x040300, driver='vfio-pci',
                    group=4)  # fmt: skip
        self.assertIn('GPU441', self.bad(tree))

    def test_old_kernel(self) -> None:
        """What Linux 4.18 and earlier have not is no ground for a warning."""
        tree = card(
            f'{trees.EARLY} isolcpus=2-3', host={'release': '3.10.0-1160.el7'}
        )
        folder = f'sys/bus/pci/devices/{GPU}/'
        for path in [
            f'{folder}reset_method',
            f'{folder}power_state',
            'sys/kernel/iommu_groups/4/type',
            'sys/kernel/iommu_groups/4/reserved_regions',
            'sys/devices/system/cpu/isolated',
        ]:
            del tree.files[path]
        intent = specs(
            {'vendor_id': '10de', 'product_id': '20f1'},
            dedicated_cpus=frozenset({2, 3}),
        )
        self.assertEqual({}, self.bad(tree, intent))

    def test_d3cold(self) -> None:
        tree = card(power='D3cold')
        self.finds('GPU442', WARN, 'D3cold', tree, remedy='/etc/modprobe.d')
        tree.text(
            'lib/modules/6.1.0-56-amd64/modules.builtin',
            'kernel/drivers/vfio/pci/vfio-pci.ko\n',
        )
        self.finds('GPU442', WARN, 'D3cold', tree,
                   remedy='Add vfio-pci.disable_idle_d3=1 to')  # fmt: skip
        self.assertNotIn('modprobe.d', self.bad(tree)['GPU442'].remedy)

    def test_numa_node(self) -> None:
        tree = card(host={'nodes': 2}, node=-1)
        self.finds('GPU445', WARN, 'which of 2 nodes', tree,
                   remedy=f'numa_node of {GPU}')  # fmt: skip
        self.assertEqual({}, self.bad(card(node=-1)))


class TestSwitches(TestCase):
    def tree(
        self, driver: str | None, ids: str = '10de:2330', count: int = 2
    ) -> trees.Tree:
        found = trees.Tree(arguments=f'iommu=pt vfio-pci.ids={ids} '
                           'rd.driver.pre=vfio-pci')  # fmt: skip
        found.initramfs('vfio-pci', maker='dracut')
        for address, group in ((GPU, 4), (TWIN, 5))[:count]:
            found.device(address, ids, 0x030200, driver='vfio-pci',
                         group=group, total_vfs=32)  # fmt: skip
        found.device('0000:07:00.0', '10de:22a3', 0x068000, driver=driver,
                     group=7)  # fmt: skip
        return found

    def test_links_of_gpus(self) -> None:
        self.finds('GPU465', WARN, 'no driver has 0000:07:00.0 (10de:22a3',
                   self.tree(None), remedy='FABRIC_MODE=1')  # fmt: skip
        self.finds('GPU465', WARN, 'a server with one works', self.tree(None))
        for driver in ('nvidia', 'vfio-pci'):
            tree = self.tree(driver)
            self.assertEqual({}, self.bad(tree))
            self.assertIn(
                'NVSwitches', {one.check for one in self.check(tree)}
            )
        # Of no concern to cards without such links, nor to one alone.
        self.assertEqual({}, self.bad(self.tree(None, trees.A100)))
        self.assertEqual({}, self.bad(self.tree(None, count=1)))


class TestMemoryAndCpus(TestCase):
    def test_pages_of_the_node(self) -> None:
        tree = card(host={'nodes': 2}, node=1)
        tree.pages(0, 16)
        self.finds('GPU446', WARN, 'node 1', tree,
                   remedy='hugepages=COUNT, without a node')  # fmt: skip
        tree = card(
            f'{trees.EARLY} hugepagesz=1G hugepages=0:12,1:0',
            host={'nodes': 2},
            node=1,
        )
        tree.pages(0, 12)
        remedy = 'hugepages=12 in place of hugepages=0:12,1:0'
        self.finds('GPU446', WARN, 'node 1', tree, remedy=remedy)

    def test_fewer_than_asked(self) -> None:
        tree = card(f'{trees.EARLY} hugepagesz=1G hugepages=64')
        tree.pages(0, 60)
        self.finds(
            'GPU447', FAIL, 'set 64 of 1G aside, and there are 60', tree
        )
        # 2M, or with other pages of the kernel 512M.
        arm = card('iommu.passthrough=1 hugepages=8 rd.driver.pre=vfio-pci '
                   'vfio-pci.ids=10de:20f1').arm()  # fmt: skip
        self.assertEqual({}, self.bad(arm))
        wrong = card(f'{trees.EARLY} hugepagesz=3G hugepages=1')
        self.finds('GPU447', WARN, 'no valid hugepagesz', wrong)

    def test_reserved(self) -> None:
        tree = card()
        tree.pages(0, 4)
        for text, words in (
            ('node:0,size:1GB,count:8', 'node 0 has 4'),
            ('node:3,size:1GB,count:1', 'no node 3'),
        ):
            intent = passthrough_view.Intent(
                reserved_pages=(cpu.parse_reserved(text),)
            )
            self.finds('GPU448', FAIL, words, tree, intent)

    def test_memory(self) -> None:
        tree = card()
        tree.pages(0, 127)
        self.finds('GPU449', WARN, 'of node 0', tree)
        tree.pages(0, 120)
        intent = passthrough_view.Intent(reserved_memory_mb=16384)
        self.finds('GPU449', FAIL, '16384', tree, intent)

    def test_isolated(self) -> None:
        tree = card()
        tree.isolate('2-3')
        for cpus, words in (
            ({1, 2, 3}, '1 are in cpu_dedicated_set and not isolated'),
            ({2}, '3 are isolated and not in'),
        ):
            intent = passthrough_view.Intent(dedicated_cpus=frozenset(cpus))
            self.finds('GPU450', WARN, words, tree, intent)
        tuned = card()
        tuned.text('etc/tuned/cpu-partitioning-variables.conf',
                   'isolated_cores=2-3\n')  # fmt: skip
        intent = passthrough_view.Intent(dedicated_cpus=frozenset({2, 3}))
        self.assertEqual({}, self.bad(tuned, intent))
        tuned.text('etc/tuned/cpu-partitioning-variables.conf',
                   'isolated_cores=2-x\n')  # fmt: skip
        self.finds('GPU450', WARN, 'tuned cannot read', tuned)
        for text in ('${f:calc_isolated_cores:2}', '${set_elsewhere}'):
            tuned.text('etc/tuned/cpu-partitioning-variables.conf',
                       f'isolated_cores={text}\n')  # fmt: skip
            self.assertEqual({}, self.bad(tuned, intent))

    def test_cpus_that_are_not_there(self) -> None:
        intent = passthrough_view.Intent(shared_cpus=frozenset({0, 9}))
        self.finds('GPU451', FAIL, 'cpu_shared_set has 9', card(), intent)

    def test_cpus_of_the_node(self) -> None:
        tree = card(host={'nodes': 2}, node=1)
        tree.isolate('2-3')
        self.finds('GPU452', WARN, 'isolated CPUs is on node 1', tree)
        intent = passthrough_view.Intent(dedicated_cpus=frozenset({2, 3}))
        self.finds('GPU452', WARN, 'cpu_dedicated_set', tree, intent)
        tuned = card(host={'nodes': 2}, node=1)
        tuned.text('etc/tuned/cpu-partitioning-variables.conf',
                   'isolated_cores=2-3\n')  # fmt: skip
        self.finds('GPU452', WARN, 'isolated CPUs is on node 1', tuned)


class TestUse(TestCase):
    def uses(
        self, tree: trees.Tree, intent: passthrough_view.Intent | None = None
    ) -> dict[str, bool]:
        return {
            str(one.device): one.evidence.startswith('for guests')
            for one in self.check(tree, intent)
            if one.check == 'use'
        }

    def test_of_options(self) -> None:
        tree = card()
        add(tree, TWIN, group=5)
        trees.bmc(tree)
        bmc = '0000:03:00.0'
        for intent, guests in (
            (None, {GPU, TWIN}),
            (named(TWIN), {TWIN}),
            (specs({'address': GPU}), {GPU}),
            (specs({'vendor_id': '10de', 'product_id': '20f1'}), {GPU, TWIN}),
            (specs(), set()),
            (alias(device_type='type-PF'), {GPU, TWIN}),
        ):
            found = self.uses(tree, intent)
            self.assertEqual({GPU, TWIN, bmc}, set(found))
            self.assertEqual(guests, {key for key in found if found[key]})

    def test_of_the_host(self) -> None:
        for guest, values, arguments in (
            (True, {'driver': None}, ''),
            (True, {'driver': 'vfio-pci', 'boot_vga': True}, ''),
            (True, {'driver': None, 'boot_vga': True}, trees.BOUND),
            (False, {'driver': 'nouveau', 'boot_vga': True}, ''),
            (False, {'driver': 'nvidia', 'vfs': ('0000:04:00.4',)}, ''),
        ):
            found = self.uses(card(arguments, **values))
            self.assertEqual({GPU: guest}, found, values)

    def test_part_of_the_cpu(self) -> None:
        """Graphics and NPU of Intel's CPUs are nothing to give away."""
        for code, ids, driver in (
            (0x038000, '8086:3e9a', 'i915'),
            (0x120000, '8086:7d1d', 'intel_vpu'),
        ):
            tree = trees.Tree()
            trees.bmc(tree)
            tree.device('0000:00:02.0', ids, code, driver=driver, group=2)
            self.assertFalse(self.uses(tree)['0000:00:02.0'])
            # All that this has is on one bus.
            self.assertTrue(self.uses(tree.guest())['0000:00:02.0'])
        flex = trees.Tree()
        flex.device('0000:00:02.0', '8086:56c0', 0x038000, group=2)
        self.assertTrue(self.uses(flex)['0000:00:02.0'])

    def test_what_is_missing(self) -> None:
        self.finds('GPU457', FAIL, TWIN, card(), named(GPU, TWIN))
        self.finds('GPU456', WARN, TWIN, card(),
                   specs({'address': GPU}, {'address': TWIN}))  # fmt: skip
        self.finds('GPU456', FAIL, 'would not start', card(),
                   specs({'address': 'x'}))  # fmt: skip
        self.finds('GPU456', FAIL, 'ends with AttributeError', card(),
                   specs({'address': GPU, 'vendor_id': 5}))  # fmt: skip
        self.finds('GPU461', WARN, 'none of 1', card(), specs())
        self.finds('GPU461', WARN, 'has no display', trees.Tree())

    def test_reporting(self) -> None:
        """What nova-compute looks at where it reports to Placement alone."""
        tree = card(vfs=('0000:17:00.4',))
        tree.device('0000:17:00.4', '10de:20f1', 0x030200, group=5, parent=GPU)
        vf = {'address': '17:00.4'}
        for entry, words in (
            ({'address': '04:00.0', 'resource_class': 5}, 'AttributeError'),
            ({'address': '04:00.0', 'traits': ['a']}, 'AttributeError'),
            ({'devname': 'eth0'}, "does not support 'devname'"),
            ({'vendor_id': '10de'}, 'Either the parent PF or its children'),
            ({**vf, 'one_time_use': 'no'}, 'may set one_time_use'),
        ):
            for report in (True, False, None):
                intent = specs(entry, report_in_placement=report)
                self.assertEqual(
                    report is True,
                    any(
                        words in one.evidence and one.result == FAIL
                        for one in self.check(tree, intent)
                    ),
                    entry,
                )
        tree.device('0000:17:00.5', '10de:20f1', 0x030200, group=6, parent=GPU)
        words = f'VFs of {GPU} are matched by entries'
        for other, report, expected in (
            ({'trusted': 'yes'}, True, True),
            ({'trusted': 'yes'}, False, False),
            ({}, True, False),
        ):
            intent = specs(
                vf,
                {'address': '17:00.5', **other},
                report_in_placement=report,
            )
            self.assertEqual(
                expected,
                any(words in one.evidence for one in self.check(tree, intent)),
            )
        self.finds('GPU456', FAIL, 'requires pci.report_in_placement', tree,
                   specs({**vf, 'one_time_use': 'yes'},
                         report_in_placement=False))  # fmt: skip

    def test_unreadable(self) -> None:
        tree = card()
        del tree.files['proc/cmdline']
        self.finds('GPU460', WARN, '/proc/cmdline: it is not there', tree)
