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

"""Hosts read from folders, with files that can and cannot be read."""

import bz2
import contextlib
import gzip
import io
import lzma
import os
import pathlib
import sys
import tracemalloc
import types
import typing
import unittest.mock

import fixtures
import testtools

from gpuclient import exceptions
from gpuclient.host import collect
from gpuclient.host import reader
from gpuclient.model import cpu
from gpuclient.model import host as host_model
from gpuclient.model import pci
from tests.unit.host import trees


class TestCase(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.root = pathlib.Path(self.useFixture(fixtures.TempDir()).path)

    def read(self, tree: trees.Tree) -> host_model.Host:
        return reader.read(os.fspath(tree.write(self.root)))


class TestRead(TestCase):
    def test_folder_and_memory(self) -> None:
        """A host is the same whether its files are on disk or in memory."""
        for number, make in enumerate(trees.ALL):
            tree = make()
            root = self.root / str(number)
            self.assertEqual(
                tree.host(), reader.read(os.fspath(tree.write(root)))
            )

    def test_device(self) -> None:
        host = self.read(trees.a100())
        self.assertEqual((), host.unreadable)
        device = host.device(pci.parse_address('0000:ca:00.0'))
        self.assertEqual(
            host_model.PciDevice(
                pci.parse_address('0000:ca:00.0'),
                vendor_id='10de',
                product_id='20f1',
                subsystem_vendor_id='10de',
                subsystem_product_id='1450',
                class_code=0x030200,
                driver='vfio-pci',
                group=80,
                bars=(
                    host_model.DeviceBar(0, 16 << 20),
                    host_model.DeviceBar(
                        1, 64 << 30, is_64_bit=True, prefetchable=True
                    ),
                    host_model.DeviceBar(
                        3, 32 << 20, is_64_bit=True, prefetchable=True
                    ),
                ),
                numa_node=1,
                reset_methods=('flr', 'bus'),
                power_state='D0',
                d3cold_allowed=True,
                has_sriov_capability=True,
                responds=True,
                sriov_total_vfs=16,
                sriov_num_vfs=0,
                modalias='pci:v000010DEd000020F1sv000010DEsd00001450'
                'bc03sc02i00',
            ),
            device,
        )
        self.assertEqual('type-PF', device.device_type)

    def test_virtual_functions(self) -> None:
        host = self.read(trees.vfs())
        parent, *functions = host.devices
        self.assertEqual(
            tuple(device.address for device in functions),
            parent.virtual_functions,
        )
        self.assertEqual(
            ['type-PF', 'type-VF', 'type-VF'],
            [device.device_type for device in host.devices],
        )

    def test_host(self) -> None:
        tree = trees.a100()
        tree.text('etc/tuned/active_profile', 'cpu-partitioning\n')
        tree.text(
            'etc/tuned/cpu-partitioning-variables.conf',
            '# mine\nisolated_cores = 2-3\n',
        )
        tree.text('sys/module/vfio_pci/parameters/disable_idle_d3', 'Y\n')
        tree.text('proc/cmdline', 'quiet rd.luks.key=/k ro\n')
        host = self.read(tree)
        self.assertEqual('a100', host.name)
        self.assertEqual('5.14.0-427.el9.x86_64', host.kernel)
        self.assertEqual(('rhel', 'fedora'), host.distribution)
        self.assertEqual(trees.INTEL, host.cpu_vendor_id)
        self.assertEqual(46, host.physical_address_bits)
        self.assertEqual(8, len(host.cpus))
        self.assertEqual(1, host.cpus[7].package)
        self.assertEqual(frozenset({2, 3, 6, 7}), host.isolated_cpus)
        self.assertEqual('2-3', host.tuned_isolated_cores)
        self.assertEqual('cpu-partitioning', host.tuned_profile)
        self.assertEqual(frozenset({4, 5, 6, 7}), host.nodes[1].cpus)
        self.assertEqual(134217728, host.nodes[1].memory_kib)
        self.assertEqual(
            (host_model.HugePages(1 << 20, 32, 32),), host.nodes[1].huge_pages
        )
        self.assertEqual('quiet rd.luks.key=*** ro', host.kernel_arguments)
        self.assertEqual(('dmar0',), host.iommus)
        self.assertEqual(
            host_model.IommuGroup(20, 'identity', ('msi',)), host.group(20)
        )
        self.assertEqual(('APIC', 'DMAR', 'MCFG'), host.acpi_tables)
        self.assertEqual({'vfio_pci'}, host.modules)
        self.assertEqual({'disable_idle_d3': 'Y'}, host.vfio_pci_parameters)

    def test_processor(self) -> None:
        host = self.read(trees.Tree())
        self.assertEqual(
            (46, False), (host.physical_address_bits, host.is_virtual)
        )
        self.assertTrue(self.read(trees.Tree().guest()).is_virtual)
        self.assertEqual(
            cpu.Vendor.ARM, self.read(trees.Tree().arm()).cpu_vendor
        )
        machine = trees.Tree()
        machine.device('0000:00:00.0', '8086:29c0', 0x060000)
        folder = 'sys/bus/pci/devices/0000:00:00.0/subsystem_'
        machine.text(f'{folder}vendor', '0x1af4\n')
        machine.text(f'{folder}device', '0x1100\n')
        self.assertTrue(self.read(machine).is_virtual)

    def test_aliases(self) -> None:
        """Aliases for display devices and other functions of their cards."""
        tree = trees.consumer()
        lines = (
            'alias pci:v000010DEd*sv*sd*bc03sc*i* nouveau',
            'alias pci:v000010DEd*sv*sd*bc03sc00i00* nvidia_current_drm',
            'alias pci:v000010DEd*sv*sd*bc04sc03i00* snd_hda_intel',
            'alias pci:v*d*sv*sd*bc0Csc03i30* xhci_pci',
            'alias pci:v000010DEd00001E04sv*sd*bc*sc*i* other',
            'alias pci:v00008086d*sv*sd*bc03sc*i* i915',
            'alias pci:v*d*sv*sd*bc06sc04i* shpchp',
            'alias usb:v1234p* a',
            'alias broken',
        )
        path = f'lib/modules/{tree.release}/modules.alias'
        tree.text(path, '# Aliases\n' + '\n'.join(lines))
        host = self.read(tree)
        self.assertEqual(
            ['nouveau', 'nvidia_current_drm', 'snd_hda_intel', 'xhci_pci'],
            [module for _pattern, module in host.aliases or ()],
        )
        card = host.device(pci.parse_address('0000:01:00.0'))
        self.assertEqual(
            'pci:v000010DEd00001E87sv000010DEsd00001450bc03sc00i00',
            card.modalias,
        )
        self.assertEqual(
            ('nouveau', 'snd_hda_intel', 'xhci_pci'), host.rivals(card)
        )
        self.assertEqual(
            (('nvidia_current_drm', 'nvidia_current'),), host.on_top(card)
        )
        tree.text(path, '')
        self.assertIsNone(tree.host().aliases)

    def test_files_of_modules(self) -> None:
        tree = trees.Tree()
        for path, content in (
            ('etc/modprobe.d/b.conf', 'options a-b c=d e="f g"\n'),
            ('etc/modprobe.d/a.conf', 'blacklist \\\nnouveau # not now\n'),
            ('usr/lib/modprobe.d/a.conf', 'blacklist overridden\n'),
            ('lib/modprobe.d/c.conf', '# blacklist x\nsoftdep y pre: z\n'),
            ('etc/modprobe.d/c.txt', 'blacklist no\n'),
            ('etc/modules-load.d/v.conf', '# a\nvfio-pci\n;b\n'),
            ('etc/modules', 'loop\n'),
            ('etc/initramfs-tools/modules', '# a\nvfio-pci ids=1:2\n'),
            ('etc/dracut.conf.d/a.conf', 'add_drivers+=" x-y z "\n'
             'force_drivers+=" vfio-pci "\nomit_drivers+=" w "\n'),
        ):  # fmt: skip
            tree.text(path, content)
        host = self.read(tree)
        self.assertEqual(
            [
                (
                    'blacklist',
                    'nouveau',
                    '',
                    '/etc/modprobe.d/a.conf',
                ),
                ('options', 'a_b', 'c=*** e=***', '/etc/modprobe.d/b.conf'),
                ('softdep', 'y', 'pre: z', '/lib/modprobe.d/c.conf'),
            ],
            [
                (
                    directive.command,
                    directive.module,
                    directive.rest,
                    directive.path,
                )
                for directive in host.directives
            ],
        )
        self.assertEqual(
            (
                ('vfio_pci', '/etc/modules-load.d/v.conf'),
                ('loop', '/etc/modules'),
            ),
            host.modules_load,
        )
        dracut = '/etc/dracut.conf.d/a.conf'
        tools = ('vfio_pci', '/etc/initramfs-tools/modules')
        self.assertEqual((tools, ('vfio_pci', dracut)), host.forced_modules)
        self.assertEqual(
            (tools, ('x_y', dracut), ('z', dracut), ('vfio_pci', dracut)),
            host.initramfs_modules,
        )

    def test_arguments_of_later_boots(self) -> None:
        tree = trees.Tree()
        machine = '0123456789abcdef' * 2
        for path, content in (
            ('etc/default/grub', '# GRUB_CMDLINE_LINUX="no"\n'
             'GRUB_CMDLINE_LINUX="ro rw"\nGRUB_PASSWORD=secret\n'
             'GRUB_CMDLINE_LINUX_DEFAULT=\'quiet\'\n'),
            ('etc/default/grub.d/x.cfg',
             'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX rhgb"\n'
             'GRUB_CMDLINE_LINUX+=" nosmt"\n'),
            ('etc/kernel/cmdline', 'single token=abc\n'),
            (f'boot/loader/entries/{machine}-5.conf',
             'title t\noptions rescue ro\n'),
        ):  # fmt: skip
            tree.text(path, content)
        self.assertEqual(
            (
                host_model.BootArguments(
                    '/etc/default/grub', 'ro rw rhgb nosmt quiet'
                ),
                host_model.BootArguments(
                    '/etc/kernel/cmdline', 'single token=***'
                ),
                host_model.BootArguments(
                    '/boot/loader/entries/***-5.conf', 'rescue ro'
                ),
            ),
            self.read(tree).boot_arguments,
        )

    def test_arguments_of_edpm(self) -> None:
        """Arguments with shell variables of edpm-ansible and TuneD."""
        tree = trees.Tree(system=trees.RHEL)
        tree.text(
            'etc/default/grub',
            'GRUB_CMDLINE_LINUX="crashkernel=1G"\n'
            'GRUB_EDPM_KERNEL_ARGS=" iommu=pt vfio-pci.ids=10de:20f1 "\n'
            'GRUB_CMDLINE_LINUX="${GRUB_CMDLINE_LINUX:+$GRUB_CMDLINE_LINUX }'
            '${GRUB_EDPM_KERNEL_ARGS}"\n'
            'GRUB_CMDLINE_LINUX_DEFAULT="${GRUB_CMDLINE_LINUX_DEFAULT:+$GRUB_'
            'CMDLINE_LINUX_DEFAULT }\\$tuned_params"\n',
        )
        (boot,) = self.read(tree).boot_arguments
        self.assertEqual(
            'crashkernel=*** iommu=pt vfio-pci.ids=10de:20f1',
            ' '.join(boot.text.split()),
        )
        tree.text('boot/grub2/grubenv', 'tuned_params=iommu=pt\n')
        (boot,) = self.read(tree).boot_arguments
        self.assertEqual('iommu=pt', boot.text.split()[-1])

    def test_arguments_of_rhel_8(self) -> None:
        tree = trees.Tree(system=trees.RHEL)
        tree.text(
            'boot/grub2/grubenv',
            '# GRUB Environment Block\nsaved_entry=0\n'
            'kernelopts=root=UUID=1 ro iommu=pt token=abc \n###',
        )
        tree.text(
            'boot/loader/entries/a.conf',
            'options $kernelopts $tuned_params ${kernelopts:+$unknown}x\n',
        )
        self.assertEqual(
            (
                host_model.BootArguments(
                    '/boot/loader/entries/a.conf',
                    'root=*** ro iommu=pt token=***  ***',
                ),
            ),
            self.read(tree).boot_arguments,
        )

    def test_values_that_double(self) -> None:
        """A value that grows too long is withheld."""
        tree = trees.Tree()
        name = 'GRUB_CMDLINE_LINUX'
        tree.text(
            'etc/default/grub',
            f'{name}="quiet ro"\n' + f'{name}="${name} ${name}"\n' * 60,
        )
        tree.text('boot/grub2/grubenv', f'kernelopts={"ro " * 9000}\n')
        tree.text('boot/loader/entries/a.conf', 'options $kernelopts\n' * 5000)
        for boot in self.read(tree).boot_arguments:
            self.assertLess(len(boot.text), 1 << 18)
            self.assertIn('***', boot.text)

    def test_tuned(self) -> None:
        """Of the installed profiles, only the active one applies."""
        default = 'isolated_cores=${f:calc_isolated_cores:1}\n'
        for profile, files, cores in (
            ('throughput-performance', {}, None),
            ('cpu-partitioning', {}, '${f:calc_isolated_cores:1}'),
            (
                'realtime-virtual-host',
                {'realtime-virtual-host-variables.conf':
                 '# isolated_cores=1\nisolated_cores=4-7\n'},
                '4-7',
            ),
            (
                'mine',
                {'mine/tuned.conf': '[main]\ninclude=cpu-partitioning\n'
                 '[variables]\nisolated_cores = ${isolated_cores}\n'},
                '${f:calc_isolated_cores:1}',
            ),
            (
                'virtual-host mine',
                {'profiles/mine/tuned.conf': '[main]\ninclude = a; mine\n'
                 '[variables]\ninclude=/etc/tuned/my-variables.conf\n',
                 'my-variables.conf': 'isolated_cores=2-3\n'},
                '2-3',
            ),
        ):  # fmt: skip
            tree = trees.Tree(nodes=2)
            tree.text('etc/tuned/active_profile', f'{profile}\n')
            tree.text('etc/tuned/cpu-partitioning-variables.conf', default)
            for path, content in files.items():
                tree.text(f'etc/tuned/{path}', content)
            host = tree.host()
            self.assertEqual(cores, host.tuned_isolated_cores, profile)
        self.assertEqual(frozenset({2, 3}), host.tuned_isolated_cpus)

    def test_calculated_cores(self) -> None:
        for text, cpus in (
            ('${f:calc_isolated_cores:1}', {1, 2, 3, 5, 6, 7}),
            ('${f:calc_isolated_cores}', {1, 2, 3, 5, 6, 7}),
            ('${f:calc_isolated_cores:3}', {3, 7}),
        ):
            tree = trees.Tree(nodes=2)
            tree.text('etc/tuned/a-variables.conf', f'isolated_cores={text}\n')
            self.assertEqual(cpus, tree.host().tuned_isolated_cpus)
        tree.text('etc/tuned/a-variables.conf', 'isolated_cores=${other}\n')
        self.assertIsNone(tree.host().tuned_isolated_cpus)

    def test_addresses_that_nova_ignores(self) -> None:
        tree = trees.Tree()
        tree.device('10000:e1:00.0', '8086:0a54', 0x010802)
        self.assertEqual((), self.read(tree).unreadable)
        tree.device('10000:e2:00.0', trees.A100, 0x030200)
        host = self.read(tree)
        self.assertEqual((), host.devices)
        self.assertEqual(
            ['/sys/bus/pci/devices/10000:e2:00.0'],
            [failure.source for failure in host.unreadable],
        )

    def test_old_kernel(self) -> None:
        """Before Linux 5.15, reset methods are not shown."""
        tree = trees.nouveau()
        folder = 'sys/bus/pci/devices/0000:04:00.0/'
        del tree.files[f'{folder}reset_method']
        self.assertEqual(('reset',), tree.host().devices[0].reset_methods)
        del tree.files[f'{folder}reset']
        self.assertEqual((), tree.host().devices[0].reset_methods)

    def test_lines_that_modprobe_ignores(self) -> None:
        tree = trees.Tree()
        tree.text(
            'etc/modprobe.d/a.conf',
            '#options\n  # indented\n\n'
            'option vfio-pci ids=10de:20f1 secret=x\n'
            'BLACKLIST nouveau\n'
            'options vfio-pci\n'
            'softdep\n'
            '\u201coptions\u201d vfio-pci ids=1:2\n'
            '\u201coptions vfio-pci ids=1:2\u201d\n'
            'echo "options vfio ids=1:2"\n'
            'password hunter2 vfio-pci\n'
            'hunter2 x y\n'
            'sudo rm -rf /\n'
            'remove x /bin/true\nweakdep a b\nweakdep a\n'
            'remove x\n',
        )
        path = '/etc/modprobe.d/a.conf'
        lines = tuple(
            host_model.IgnoredLine(text, path, meant)
            for text, meant in (
                ('option vfio-pci', 'options'),
                ('BLACKLIST nouveau', 'blacklist'),
                ('options vfio-pci', 'options'),
                ('softdep', 'softdep'),
                ('\u201coptions\u201d vfio-pci', 'options'),
                ('\u201coptions vfio-pci', 'options'),
                ('echo vfio', None),
                ('*** vfio-pci', None),
                ('***', None),
                ('sudo', None),
            )
        )
        host = self.read(tree)
        self.assertEqual(lines, host.ignored_lines)
        self.assertEqual((), host.directives)

    def test_groups_without_an_iommu(self) -> None:
        tree = trees.nouveau()
        tree.text('sys/kernel/iommu_groups/4/name', 'vfio-noiommu\n')
        host = self.read(tree)
        self.assertEqual(4, host.devices[0].group)
        self.assertEqual('vfio-noiommu', host.group(4).name)
        self.assertFalse(host.iommu_on)
        self.assertIsNone(host.unsafe_noiommu_mode)
        path = 'sys/module/vfio/parameters/enable_unsafe_noiommu_mode'
        for text, on in (('Y', True), ('N', False)):
            tree.text(path, f'{text}\n')
            self.assertEqual(on, tree.host().unsafe_noiommu_mode)

    def test_framebuffers(self) -> None:
        tree = trees.nouveau()
        for name in ('simple-framebuffer.0', 'efi-framebuffer.1', 'pcspkr'):
            tree.text(f'sys/bus/platform/devices/{name}', '')
        self.assertEqual(
            ('efi-framebuffer.1', 'simple-framebuffer.0'),
            self.read(tree).framebuffers,
        )


class TestUnreadable(TestCase):
    def named(self, host: host_model.Host) -> dict[str, str]:
        return {failure.source: failure.reason for failure in host.unreadable}

    def test_missing(self) -> None:
        tree = trees.a100()
        paths = (
            'proc/cmdline',
            'proc/cpuinfo',
            'sys/bus/pci/devices/0000:17:00.0/class',
            'sys/bus/pci/devices/0000:17:00.0/resource',
        )
        for path in paths:
            del tree.files[path]
        self.assertEqual(
            {f'/{path}': 'it does not exist' for path in paths},
            self.named(self.read(tree)),
        )

    def test_manifest_of_an_unpacked_bundle(self) -> None:
        root = trees.a100().write(self.root)
        path = root / collect.MANIFEST
        path.parent.mkdir(exist_ok=True)
        for content, reason in (
            ('{"format": 2, "unreadable": {}}', 'its format is not 1'),
            ('{"format": 1}', 'it has no valid list of unreadable files'),
        ):
            path.write_text(content)
            self.assertEqual(
                {f'/{collect.MANIFEST}': reason},
                self.named(reader.read(os.fspath(root))),
            )

    def test_permission_denied(self) -> None:
        tree = trees.a100()
        denied = 'sys/bus/pci/devices/0000:17:00.0/reset_method'
        real = os.open

        def refusing(path: str, *arguments: object) -> int:
            if str(path).endswith(denied):
                raise PermissionError(13, 'Permission denied')
            return real(path, *arguments)

        with unittest.mock.patch.object(os, 'open', refusing):
            host = self.read(tree)
        self.assertEqual({f'/{denied}': 'Permission denied'}, self.named(host))
        self.assertIsNone(
            host.device(pci.parse_address('0000:17:00.0')).reset_methods
        )

    def test_garbage(self) -> None:
        for path, content, reason in (
            ('vendor', b'\xff\xfe', 'not text'),
            ('vendor', b'0x10de\0', 'not text'),
            ('vendor', b'0x10de0', 'not an ID'),
            ('device', b'twenty', 'not a number'),
            ('class', b'', 'not a number'),
            ('numa_node', b'1_0', 'not a number'),
            ('numa_node', '\u0661'.encode(), 'not a number'),
            ('resource', b'0x0 0x0\n', 'not a PCI resource'),
        ):
            tree = trees.nouveau()
            path = f'sys/bus/pci/devices/0000:04:00.0/{path}'
            tree.files[path] = content
            failures = self.named(tree.host())
            self.assertEqual([f'/{path}'], list(failures), content)
            self.assertIn(reason, failures[f'/{path}'])
        for path, content, reason in (
            ('sys/devices/system/cpu/online', b'0-', 'Invalid'),
            ('sys/devices/system/cpu/isolated', b'0-9999999', 'No machine'),
            ('sys/devices/system/node/node0/cpulist', b'x', 'Invalid'),
            ('sys/devices/system/node/node0/meminfo', b'', 'no MemTotal'),
        ):
            tree = trees.nouveau()
            tree.files[path] = content
            failures = self.named(tree.host())
            self.assertIn(reason, failures[f'/{path}'])
        for link in ('iommu_group', 'physfn'):
            tree = trees.nouveau()
            path = f'sys/bus/pci/devices/0000:04:00.0/{link}'
            tree.links[path] = 'x'
            self.assertEqual([f'/{path}'], list(self.named(tree.host())))

    def test_not_files(self) -> None:
        root = trees.nouveau().write(self.root)
        (root / 'etc/kernel').mkdir(parents=True)
        os.mkfifo(root / 'etc/kernel/cmdline')
        (root / 'etc/modules').mkdir()
        with (root / 'etc/dracut.conf').open('wb') as stream:
            stream.truncate(collect.LARGEST_FILE + 1)
        self.assertEqual(
            {
                '/etc/dracut.conf': 'it is larger than 16777216 bytes',
                '/etc/kernel/cmdline': 'it is not a regular file',
                '/etc/modules': 'Is a directory',
            },
            self.named(reader.read(os.fspath(root))),
        )

    def test_names_that_are_not_printable(self) -> None:
        root = trees.nouveau().write(self.root)
        (root / 'etc/modprobe.d').mkdir()
        for name in (b'a\xff.conf', b'\x1b[2J.conf'):
            path = os.path.join(os.fsencode(root), b'etc/modprobe.d', name)
            pathlib.Path(os.fsdecode(path)).touch()
        entries = root / 'boot/loader/entries'
        entries.mkdir(parents=True)
        (entries / f'{"0123456789abcdef" * 2}.conf').mkdir()
        invalid = 'its name is not printable text'
        self.assertEqual(
            {
                '/boot/loader/entries/***.conf': 'Is a directory',
                '/etc/modprobe.d/\\x1b[2J.conf': invalid,
                '/etc/modprobe.d/a\\udcff.conf': invalid,
            },
            self.named(reader.read(os.fspath(root))),
        )

    def test_links_that_lead_out(self) -> None:
        outside = self.useFixture(fixtures.TempDir()).path
        pathlib.Path(outside, 'x.conf').write_text('blacklist a\n')
        root = trees.nouveau().write(self.root)
        (root / 'etc/modprobe.d').symlink_to(outside)
        (root / 'etc/modules').symlink_to('/etc/hostname')
        host = reader.read(os.fspath(root))
        self.assertEqual((), host.directives)
        self.assertEqual(
            ['/etc/modprobe.d', '/etc/modules'], list(self.named(host))
        )

    def test_no_folder(self) -> None:
        self.assertEqual(
            'There is no folder /nowhere to read a host from',
            str(
                self.assertRaises(
                    exceptions.HostError, reader.read, '/nowhere'
                )
            ),
        )


def cpio(*names: str) -> bytes:
    """Return an archive of small files, as cpio -H newc creates it."""
    packed = b''
    for name in (*names, 'TRAILER!!!'):
        raw = name.encode() + b'\0'
        content = b'' if name == 'TRAILER!!!' else b'content'
        numbers = [1, 0o100644, 0, 0, 1, 0, len(content), 0, 0, 0, 0]
        header = b'070701' + b''.join(
            b'%08X' % number for number in (*numbers, len(raw), 0)
        )
        entry = header + raw
        entry += b'\0' * (-len(entry) % 4) + content
        packed += entry + b'\0' * (-len(entry) % 4)
    return packed


#: Magic numbers of the compressions that need a program.
PROGRAMS = {'zstd': b'\x28\xb5\x2f\xfd', 'lz4': b'\x02\x21\x4c\x18'}


class TestInitramfs(TestCase):
    EARLY = cpio('early_cpio', 'kernel/x86/microcode/GenuineIntel.bin')
    NAMES = (
        './usr/lib/modules/6/kernel/drivers/vfio/pci/vfio-pci.ko.xz',
        'lib/modules/6/kernel/drivers/gpu/drm/nouveau/nouveau.ko',
        'usr/lib/initrd-release',
        'usr/bin/secret',
    )

    def listed(self, content: bytes) -> list[str]:
        return collect.list_initramfs(io.BytesIO(content))

    def test_archives(self) -> None:
        main = cpio(*self.NAMES)
        early = ['early_cpio', 'kernel/x86/microcode/GenuineIntel.bin']
        for pack in (bytes, gzip.compress, lzma.compress, bz2.compress):
            self.assertEqual(list(self.NAMES), self.listed(pack(main)))
            for zeros in (0, 2, 510, 5000):
                self.assertEqual(
                    [*early, *self.NAMES],
                    self.listed(self.EARLY + b'\0' * zeros + pack(main)),
                )
        alone = lzma.compress(main, format=lzma.FORMAT_ALONE)
        self.assertEqual(list(self.NAMES), self.listed(alone))
        self.assertEqual([], self.listed(b''))

    def test_refused(self) -> None:
        main = cpio(*self.NAMES)
        for content, reason in (
            (b'MZ0000', 'not a cpio archive'),
            (main[:200], 'damaged'),
            (main.replace(b'070701', b'070702', 1)[:50], 'damaged'),
        ):
            exc = self.assertRaises(ValueError, self.listed, content)
            self.assertIn(reason, str(exc))

    def program(self, name: str, script: str) -> None:
        """Install a shell script as the only program in PATH."""
        folder = self.root / 'programs'
        folder.mkdir(exist_ok=True)
        path = folder / name
        path.write_text(f'#!/bin/sh\nPATH=/usr/bin:/bin\n{script}\n')
        path.chmod(0o755)
        self.useFixture(fixtures.EnvironmentVariable('PATH', f'{folder}'))

    def listed_by_program(self, name: str, main: bytes) -> list[str]:
        path = self.root / 'image'
        path.write_bytes(self.EARLY + bytes(7) + PROGRAMS[name] + main)
        with (
            unittest.mock.patch.dict(sys.modules, {'compression': None}),
            path.open('rb') as stream,
        ):
            return collect.list_initramfs(stream)

    def test_programs(self) -> None:
        """A program gets the file from the beginning of its archive."""
        main = gzip.compress(cpio(*self.NAMES))
        for name in PROGRAMS:
            self.program(name, '[ "$*" = "-d -c -q" ] && tail -c +5 | gzip -d')
            self.assertEqual(
                self.NAMES, tuple(self.listed_by_program(name, main)[2:])
            )

    def test_zstd_of_python(self) -> None:
        """The module of Python 3.14 or later, replaced by a fake."""

        def unpacked(stream: typing.BinaryIO) -> gzip.GzipFile:
            stream.seek(4, os.SEEK_CUR)
            return gzip.GzipFile(fileobj=stream)

        zstd = types.SimpleNamespace(ZstdFile=unpacked)
        modules = {
            'compression': types.SimpleNamespace(zstd=zstd),
            'compression.zstd': zstd,
        }
        image = PROGRAMS['zstd'] + gzip.compress(cpio(*self.NAMES))
        with unittest.mock.patch.dict(sys.modules, modules):
            self.assertEqual(list(self.NAMES), self.listed(image))

    def test_no_program(self) -> None:
        self.useFixture(fixtures.EnvironmentVariable('PATH', '/nowhere'))
        for name in PROGRAMS:
            exc = self.assertRaises(
                ValueError, self.listed_by_program, name, b''
            )
            self.assertEqual(
                f'it is compressed with {name}, and the program {name} is '
                f'not installed',
                str(exc),
            )

    def test_programs_that_fail(self) -> None:
        pid = self.root / 'pid'
        for script, limits, reason in (
            ('exit 1', {}, 'damaged'),
            ('printf 070701', {}, 'damaged'),
            (f'echo $$ > {pid}; exec sleep 600', {'_LONGEST_UNPACKING': 0.1},
             'lz4 did not decompress it in 0.1 s'),
            # A name of four gigabytes.
            (f'echo $$ > {pid}; printf 070701; yes FFFFFFFF | tr -d "\\n"',
             {}, 'a file name of'),
            (f'echo $$ > {pid}; cat {self.root}/begin /dev/zero',
             {'_LARGEST_INITRAMFS': 1 << 20}, 'larger than 1048576'),
        ):  # fmt: skip
            size = b'%08X' % (1 << 30)
            (self.root / 'begin').write_bytes(
                cpio('a')[:112].replace(b'%08X' % 7, size, 1)
            )
            self.program('lz4', script)
            with contextlib.ExitStack() as stack:
                for name, limit in limits.items():
                    stack.enter_context(
                        fixtures.MonkeyPatch(
                            f'gpuclient.host.collect.{name}', limit
                        )
                    )
                exc = self.assertRaises(
                    ValueError, self.listed_by_program, 'lz4', b''
                )
            self.assertIn(reason, str(exc))
            if pid.exists():
                # The program was killed.
                self.assertRaises(
                    ProcessLookupError, os.kill, int(pid.read_text()), 0
                )

    def test_size_without_content(self) -> None:
        """No memory is allocated for content that the archive lacks."""
        archive = cpio('a')[:112].replace(b'%08X' % 7, b'F' * 8, 1)
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        self.assertRaises(ValueError, self.listed, archive)
        self.assertLess(tracemalloc.get_traced_memory()[1], 16 << 20)

    def test_read(self) -> None:
        tree = trees.Tree()
        image = f'boot/initrd.img-{tree.release}'
        tree.files[image] = self.EARLY + gzip.compress(cpio(*self.NAMES))
        host = self.read(tree)
        self.assertEqual(
            host_model.Initramfs(
                f'/{image}',
                frozenset({'vfio_pci', 'nouveau'}),
                maker='dracut',
            ),
            host.initramfs,
        )
        self.assertIsNone(
            reader.read(os.fspath(self.root), initramfs=False).initramfs
        )
        # Names of other files in the initramfs are left out.
        kept = collect.collect(os.fspath(self.root)).files
        self.assertNotIn(b'secret', b''.join(kept.values()))

    def test_damaged(self) -> None:
        tree = trees.Tree()
        image = f'boot/initramfs-{tree.release}.img'
        whole = gzip.compress(cpio(*self.NAMES))
        for content, reason in (
            (whole[:40], 'ended before'),
            (whole[:20] + b'\xff' * 30, ''),
            # A reserved block type (RFC 1951, 3.2.3).
            (whole[:10] + b'\xff' * 30, 'it is damaged: Error -3'),
            (b'070701x', ''),
        ):
            tree.files[image] = content
            host = self.read(tree)
            self.assertIn(reason, host.initramfs.reason)
            self.assertEqual((), host.unreadable)
            self.assertEqual(f'/{image}', host.initramfs.path)
            self.assertIsNone(host.initramfs.modules)
            self.assertTrue(host.initramfs.reason)
