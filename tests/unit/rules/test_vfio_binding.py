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

"""The checks of which driver binds to a device first."""

from gpuclient.documents.generate import host_files
from gpuclient.host import collect
from gpuclient.host import reader
from gpuclient.model import catalogue
from gpuclient.model import pci
from gpuclient.rules import host as host_rules
from gpuclient.rules import passthrough_view
from tests.unit.host import trees
from tests.unit.rules import host_cases
from tests.unit.rules.host_cases import FAIL
from tests.unit.rules.host_cases import GPU
from tests.unit.rules.host_cases import TWIN
from tests.unit.rules.host_cases import WARN


class TestBinding(host_cases.HostTestCase):
    def test_ids_match_a_card_of_the_host(self) -> None:
        tree = host_cases.card()
        host_cases.add(tree, TWIN, group=5)
        self.finds(
            'GPU430',
            FAIL,
            'also matches this card',
            tree,
            host_cases.named(GPU),
            remedy=f'Remove 10de:20f1 from vfio-pci.ids, and write '
            f'vfio-pci to driver_override of {GPU} before drivers are '
            f'loaded. "openstack gpu host config create --device '
            f'{GPU}" creates all of these files',
        )

    def test_ids_match_a_card_with_vfs(self) -> None:
        """The PF is reported, but not each of its VFs."""
        vf = '0000:05:00.4'
        tree = host_cases.card()
        host_cases.add(tree, TWIN, group=5, driver='nvidia', vfs=(vf,))
        tree.device(
            vf, trees.A100, 0x030200, driver='nvidia', group=6, parent=TWIN
        )
        reported = [
            str(result.device)
            for result in self.check(tree, host_cases.named(GPU))
            if result.code == 'GPU430'
        ]
        self.assertEqual([TWIN], reported)

    def test_subsystem_in_ids(self) -> None:
        for ids, matched in (
            ('10de:20f1:10de:1450', True),
            ('10de:20f1:10de', True),
            ('10de:20f1:10de:0001', False),
            ('10de:20f1:10de:1450:030200:ffffff', True),
            ('10de:20f1:10de:1450:030000:ffffff', False),
        ):
            tree = host_cases.card(f'iommu=pt vfio-pci.ids={ids}', driver=None)
            self.assertEqual(
                not matched,
                'GPU432' in self.codes(tree),
                (ids, self.problems(tree)),
            )

    def test_missed_function(self) -> None:
        tree = host_cases.card()
        tree.device('0000:04:00.1', '10de:1aef', 0x040300, group=4)
        self.finds(
            'GPU431',
            WARN,
            '10de:1aef, audio',
            tree,
            remedy='vfio-pci.ids=10de:20f1,10de:1aef',
        )
        tree = host_cases.card('iommu=pt', override='vfio-pci')
        tree.device('0000:04:00.1', '10de:1aef', 0x040300, group=4)
        self.finds(
            'GPU431', WARN, '10de:1aef, audio', tree, remedy='driver_override'
        )

    def test_unused_and_wrong_ids(self) -> None:
        unused = host_cases.card(trees.EARLY.replace('20f1', '20f1,10de:20f2'))
        self.finds('GPU432', WARN, '10de:20f2, which no device', unused)
        wrong = host_cases.card(trees.EARLY.replace('20f1', '20f1,card'))
        self.finds('GPU432', WARN, 'card, which vfio-pci cannot', wrong)

    def test_builtin(self) -> None:
        path = 'lib/modules/6.1.0-56-amd64/modules.builtin'
        tree = host_cases.card('iommu=pt', driver=None)
        tree.text('etc/modprobe.d/vfio.conf', 'options vfio-pci ids=10de:20f1')
        tree.text(path, 'kernel/drivers/vfio/pci/vfio-pci.ko\n')
        self.finds(
            'GPU433',
            FAIL,
            '/etc/modprobe.d/vfio.conf',
            tree,
            remedy='vfio-pci.ids=10de:20f1',
        )
        tree = host_cases.card('iommu=pt vfio-pci.ids=10de:20f1')
        tree.text(path, 'kernel/drivers/vfio/pci/vfio-pci.ko\n')
        self.assertEqual([], self.codes(tree))

    def test_builtin_and_pending(self) -> None:
        """No argument is added that the next boot already has."""
        for grub in (
            'GRUB_CMDLINE_LINUX="quiet vfio-pci.ids=10de:20f1"\n',
            'GRUB_CMDLINE_LINUX="quiet \\\nvfio-pci.ids=10de:\\\n20f1"\n',
            'GRUB_CMDLINE_LINUX="quiet\nvfio-pci.ids=10de:20f1\n"\n',
            "GRUB_CMDLINE_LINUX='quiet\n\n vfio-pci.ids=10de:20f1'\n",
        ):
            tree = host_cases.card('iommu=pt', driver=None)
            tree.text(
                'etc/modprobe.d/vfio.conf', 'options vfio-pci ids=10de:20f1'
            )
            tree.text(
                'lib/modules/6.1.0-56-amd64/modules.builtin',
                'kernel/drivers/vfio/pci/vfio-pci.ko\n',
            )
            path = 'etc/default/grub'
            tree.files[path] = collect.rule_for(path).keep(grub.encode())
            for code, result, evidence in (
                ('GPU433', FAIL, 'built into this kernel'),
                ('GPU425', WARN, 'until the next boot'),
            ):
                self.finds(
                    code,
                    result,
                    evidence,
                    tree,
                    remedy='Reboot: /etc/default/grub already sets '
                    'vfio-pci.ids',
                )
        # Ids in the configuration of GRUB are kept when others are added.
        tree.text(path, 'GRUB_CMDLINE_LINUX="vfio-pci.ids=10de:1aef"\n')
        self.finds(
            'GPU433',
            FAIL,
            'built into this kernel',
            tree,
            remedy='vfio-pci.ids=10de:1aef,10de:20f1',
        )

    def race(self, *modules: str, maker: str, **files: str) -> trees.Tree:
        tree = host_cases.card(trees.BOUND)
        tree.initramfs(*modules, maker=maker)
        for path, content in files.items():
            tree.text(path, content)
        return tree

    def test_race(self) -> None:
        dracut, tools = 'dracut', 'initramfs-tools'
        lost = self.race('nouveau', maker=dracut)
        self.finds(
            'GPU434',
            FAIL,
            'loaded too late',
            lost,
            remedy='rd.driver.pre=vfio-pci',
        )
        lost = self.race('nouveau', maker=tools)
        self.finds(
            'GPU434',
            FAIL,
            'loaded too late',
            lost,
            remedy='softdep DRIVER pre',
        )
        open_ = self.race('nouveau', 'vfio-pci', maker=tools)
        self.finds('GPU434', WARN, 'in /boot/initrd', open_)
        self.finds(
            'GPU434',
            WARN,
            'from the root file system',
            self.race('ext4', maker=tools),
        )
        absent = host_cases.card()
        absent.initramfs('ext4', maker=dracut)
        self.finds('GPU434', WARN, 'does not contain it', absent)
        # initramfs-tools does not support rd.driver.pre.
        ignored = host_cases.card()
        ignored.initramfs('nouveau', 'vfio-pci', maker=tools)
        self.finds('GPU434', WARN, 'in no defined order', ignored)
        # It runs udev before it loads the modules in its configuration.
        for path, content in (
            ('etc/initramfs-tools/modules', '# a\nvfio-pci\n'),
            ('etc/initramfs-tools/hooks/x', 'force_load vfio-pci\n'),
        ):
            late = self.race(
                'nouveau', 'vfio-pci', maker=tools, **{path: content}
            )
            self.finds(
                'GPU434',
                FAIL,
                f'/{path} loads vfio-pci only after udev has loaded nouveau',
                late,
                remedy='softdep',
            )

    def test_no_race(self) -> None:
        every = 'blacklist nouveau\nblacklist nova_core\nblacklist nvidiafb\n'
        soft = 'softdep nvidia post: x pre: a vfio-pci\n'
        for tree in (
            self.race(
                'ext4',
                'vfio-pci',
                maker='initramfs-tools',
                **{'etc/initramfs-tools/modules': '# a\nvfio-pci\n'},
            ),
            self.race(
                'ext4',
                'vfio-pci',
                maker='initramfs-tools',
                **{
                    'etc/initramfs-tools/hooks/x': (
                        '#!/bin/sh\nforce_load vfio-pci\n'
                    )
                },
            ),
            self.race(
                'nouveau',
                'vfio-pci',
                maker='dracut',
                **{
                    'etc/dracut.conf.d/x.conf': 'force_drivers+=" vfio-pci "\n'
                },
            ),
            self.race(
                'nouveau',
                maker='initramfs-tools',
                **{'etc/modprobe.d/x.conf': every + soft},
            ),
            self.race(
                'nouveau',
                maker='initramfs-tools',
                **{
                    'etc/modprobe.d/x.conf': every
                    + 'install nvidia /bin/false\n'
                },
            ),
        ):
            self.assertEqual([], self.codes(tree))
        tree = host_cases.card(
            f'{trees.BOUND} modprobe.blacklist=nouveau,nvidia,'
            f'nova_core,nvidiafb'
        )
        tree.initramfs('nouveau', maker='initramfs-tools')
        self.assertEqual([], self.codes(tree))

    def test_race_of_existing_modules(self) -> None:
        """A module that does not exist, or is disabled, binds to no card."""
        nouveau = 'alias pci:v000010DEd*sv*sd*bc03sc*i* nouveau\n'
        nvidia = 'alias pci:v000010DEd*sv*sd*bc03sc02i00* nvidia\n'
        top = nvidia.replace(' nvidia', ' nvidia_drm')
        off = 'blacklist nouveau\n'
        for aliases, lines, arguments, lost in (
            (nouveau, off, '', None),
            (nouveau + nvidia, off, '', 'nvidia and'),
            (nouveau + nvidia, f'{off}blacklist nvidia\n', '', None),
            # udev loads nvidia_drm, which depends on nvidia.
            (nvidia + top, 'blacklist nvidia\n', '', 'nvidia and'),
            (
                nvidia + top,
                'blacklist nvidia\nblacklist nvidia_drm\n',
                '',
                None,
            ),
            (nvidia + top, 'softdep nvidia pre: vfio-pci\n', '', None),
            (nvidia + top, 'install nvidia /bin/false\n', '', None),
            (nouveau, 'options nouveau modeset=0\n', '', None),
            (
                nouveau,
                'options nouveau modeset=0\n',
                'nouveau.modeset=1',
                'nouveau and',
            ),
            (nouveau, '', 'nouveau.modeset=0', None),
            (nouveau, '', 'nomodeset', None),
            (nvidia, '', 'nomodeset', 'nvidia and'),
            (nouveau, 'softdep drm pre: vfio-pci\n', '', None),
            (nvidia, 'softdep drm pre: vfio-pci\n', '', 'nvidia and'),
            ('alias pci:v00001A03d*sv*sd*bc03sc*i* ast\n', '', '', None),
            # Without an alias for any display device, aliases are unknown.
            ('', '', '', 'nouveau, nova_core, nvidia, nvidiafb and'),
        ):
            tree = host_cases.card(f'{trees.BOUND} {arguments}')
            tree.initramfs('ext4', maker='dracut')
            path = f'lib/modules/{tree.release}/modules.'
            tree.text(f'{path}alias', aliases)
            tree.text('etc/modprobe.d/x.conf', lines)
            if lost is None:
                self.assertEqual([], self.codes(tree), (lines, arguments))
            else:
                self.finds('GPU434', WARN, lost, tree)
        tree.text(f'{path}alias', nouveau)
        tree.text(f'{path}builtin', 'kernel/drivers/gpu/drm/drm.ko\n')
        tree.text('etc/modprobe.d/x.conf', 'softdep drm pre: vfio-pci\n')
        self.finds('GPU434', WARN, 'nouveau and', tree)
        # The driver of the card, and the module that depends on it.
        tree = host_cases.card('iommu=pt', driver='nvidia')
        tree.initramfs('ext4', maker='initramfs-tools')
        tree.text(f'{path}alias', nvidia + top)
        self.finds(
            'GPU424',
            FAIL,
            'bound to nvidia',
            tree,
            remedy='the line "blacklist nvidia" and the line '
            '"blacklist nvidia_drm" to',
        )

    def test_bound_by_libvirt(self) -> None:
        """libvirt sets driver_override when a server starts."""
        tree = host_cases.card('iommu=pt', override='vfio-pci')
        tree.initramfs('nouveau', maker='dracut')
        self.assertEqual([], self.codes(tree))

    def test_unreadable_initramfs(self) -> None:
        tree = host_cases.card(trees.BOUND)
        del tree.files[next(p for p in tree.files if 'initramfs' in p)]
        self.finds('GPU435', WARN, 'no initramfs', tree)
        files = tree.collected()
        files.unreadable['gpuclient/initramfs/boot+initrd.img-6'] = 'zstd'
        results = {
            result.code: result
            for result in host_rules.check(reader.parse(files, ''))
        }
        self.assertIn('/boot/initrd.img-6', results['GPU435'].evidence)
        self.assertIn('zstd', results['GPU435'].evidence)

    def test_twins(self) -> None:
        tree = host_cases.card('iommu=pt', driver=None)
        host_cases.add(tree, TWIN, group=5, driver='nvidia')
        self.finds('GPU454', WARN, TWIN, tree, host_cases.named(GPU))
        tree = host_cases.card('iommu=pt', override='vfio-pci')
        host_cases.add(tree, TWIN, group=5, driver='nvidia')
        self.assertNotIn('GPU454', self.codes(tree, host_cases.named(GPU)))

    def test_install_line(self) -> None:
        """driver_override by address, as the generated files write it."""
        tree = host_cases.card('iommu=pt')
        host_cases.add(tree, TWIN, group=5, driver='nvidia')
        tree.text(
            'etc/modprobe.d/x.conf',
            f'install vfio-pci for address in {GPU}; do echo vfio-pci > '
            f'/sys/bus/pci/devices/$address/driver_override; done\n'
            'softdep nouveau pre: vfio-pci\nsoftdep nvidia pre: vfio-pci\n'
            'softdep nova_core pre: vfio-pci\n'
            'softdep nvidiafb pre: vfio-pci\n',
        )
        self.assertEqual([], self.codes(tree, host_cases.named(GPU)))

    def test_domains(self) -> None:
        """Whole addresses are compared, with their domain."""
        address = '0009:01:00.0'
        for written, claimed in ((address, True), (f'1{address}', False)):
            tree = host_cases.card('iommu=pt', address=address)
            tree.text(
                'etc/modprobe.d/x.conf',
                f'install vfio-pci echo vfio-pci > '
                f'/sys/bus/pci/devices/{written}/driver_override\n',
            )
            path = 'etc/modprobe.d/x.conf'
            tree.files[path] = collect.rule_for(path).keep(tree.files[path])
            view = passthrough_view.View(
                tree.host(), host_cases.named(address), catalogue.builtin()
            )
            (device,) = view.for_guests
            claim = view.claim(device)
            self.assertEqual(claimed, claim is not None and not claim.by_ids)
        # Devices in different domains are on different buses.
        tree = host_cases.card(address='0001:04:00.0', reset=None)
        tree.device(
            '0000:04:00.1', '10de:1aef', 0x040300, driver='vfio-pci', group=9
        )
        self.assertIn(
            'GPU441', self.codes(tree, host_cases.named('0001:04:00.0'))
        )

    def test_same_ids_kept_by_address(self) -> None:
        """driver_override keeps the card for a driver of the host."""
        tree = host_cases.card()
        host_cases.add(tree, TWIN, group=5, driver='nvidia', override='nvidia')
        self.assertEqual([], self.codes(tree, host_cases.named(GPU)))
        passed = [
            result.evidence
            for result in self.check(tree, host_cases.named(GPU))
            if result.check == 'duplicate IDs'
        ]
        self.assertEqual(
            [f'driver_override keeps {TWIN} for the host'], passed
        )
        # A line that writes it does not bind the card to vfio-pci.
        tree.text(
            'etc/modprobe.d/x.conf',
            f'install vfio-pci echo nvidia > /sys/bus/pci/devices/{TWIN}/'
            f'driver_override; modprobe -i vfio-pci\n',
        )
        self.assertEqual([], self.codes(tree, host_cases.named(GPU)))

    def test_install_line_of_builtin_module(self) -> None:
        """modprobe never runs it, unlike one with a name of its own."""
        override = (
            f'for address in {GPU}; do echo vfio-pci > '
            f'/sys/bus/pci/devices/$address/driver_override; done'
        )
        tree = host_cases.card('iommu=pt', driver='nouveau')
        host_cases.add(tree, TWIN, group=5, driver='nvidia')
        tree.text(
            f'lib/modules/{tree.release}/modules.builtin',
            'kernel/drivers/vfio/pci/vfio-pci.ko\n',
        )
        tree.text('etc/modprobe.d/x.conf', f'install vfio-pci {override}\n')
        self.finds('GPU454', WARN, TWIN, tree, host_cases.named(GPU))
        passthrough = host_files.Passthrough(
            'intel',
            addresses=(pci.parse_address(GPU),),
            vendor_ids=('10de',),
            vfio_is_builtin=True,
        )
        ready = host_files.prepare(passthrough, host_files.DEBIAN)
        tree = host_cases.card('iommu=pt', override='vfio-pci')
        host_cases.add(tree, TWIN, group=5, driver='nvidia')
        tree.text(
            f'lib/modules/{tree.release}/modules.builtin',
            'kernel/drivers/vfio/pci/vfio-pci.ko\n',
        )
        (text,) = (
            file.content
            for file in ready.files
            if file.path == host_files.MODPROBE
        )
        tree.text('etc/modprobe.d/x.conf', text)
        self.assertEqual([], self.codes(tree, host_cases.named(GPU)))
        tree.text('etc/modprobe.d/x.conf', text.replace('softdep', '#'))
        self.finds(
            'GPU434',
            WARN,
            'install line of gpu_passthrough in',
            tree,
            host_cases.named(GPU),
            'the line "softdep nouveau pre: gpu_passthrough"',
        )
