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

"""Findings and remedies for hosts as operators have them."""

import os
import pathlib

import ddt
import fixtures
import testtools

from gpuclient.host import bundle
from gpuclient.host import collect
from gpuclient.host import reader
from gpuclient.model import host as host_model
from gpuclient.model import pci
from gpuclient.rules import host as host_rules
from gpuclient.osc import remedies
from gpuclient.rules import device_selection
from gpuclient.rules import host_remedy
from gpuclient.rules import passthrough_view
from tests.field import setups
from tests.unit.host import trees

IDS = 'vfio-pci.ids=10de:20f1'


@ddt.ddt
class TestSetups(testtools.TestCase):
    def host(self, tree: trees.Tree) -> host_model.Host:
        """Return a host, read from its bundle."""
        root = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        read = collect.collect(os.fspath(tree.write(root / 'host')))
        path = os.fspath(root / 'host.tar')
        bundle.write(path, read)
        host = bundle.read(path)
        self.assertEqual(reader.parse(read, ''), host)
        self.assertEqual((), host.unreadable)
        return host

    def check(
        self, tree: trees.Tree, *addresses: str
    ) -> tuple[host_model.Host, dict[str, set[str | None]]]:
        """Return a host, and its remedies by the codes of findings."""
        host = self.host(tree)
        intent = passthrough_view.Intent(
            addresses=frozenset(map(pci.parse_address, addresses))
            if addresses
            else None
        )
        by_code: dict[str, set[str | None]] = {}
        for result in host_rules.check(host, intent):
            if result.code is not None:
                by_code.setdefault(result.code, set()).add(
                    remedies.render(result.remedy)
                )
        return host, by_code

    def assert_remedies(
        self, by_code: dict[str, set[str | None]], code: str, *phrases: str
    ) -> None:
        """Check that each remedy of a finding has all phrases."""
        self.assertIn(code, by_code)
        for remedy in by_code[code]:
            for phrase in phrases:
                self.assertIn(phrase, remedy or '')

    @ddt.data(
        # All four cards, and only drivers that the host has.
        setups.edpm(
            'vfio-pci',
            f'intel_iommu=on iommu=pt {IDS}',
            **{'etc/modprobe.d/x.conf': 'blacklist nouveau\n'},
        ),
        setups.hgx('vfio-pci', arguments='vfio-pci.ids=10de:2330'),
        setups.hgx('vfio-pci', 'vfio-pci', 'vfio-pci.ids=10de:2330,10de:22a3'),
        setups.grace('nvgrace_gpu_vfio_pci'),
        # Configured for vGPU, which does not use vfio-pci.
        setups.vgpu(),
    )
    def test_no_findings_on_correct_hosts(self, tree: trees.Tree) -> None:
        self.assertEqual({}, self.check(tree)[1])

    def test_data_plane_node(self) -> None:
        host, by_code = self.check(
            setups.edpm(arguments='intel_iommu=on iommu=pt')
        )
        self.assertEqual({'GPU424'}, set(by_code))
        self.assert_remedies(
            by_code,
            'GPU424',
            f'Add {IDS} rd.driver.pre=vfio-pci to edpm_kernel_args of',
            '"blacklist nouveau"',
            '--system rhoso"',
        )
        self.assertEqual(host.isolated_cpus, frozenset())
        self.assertEqual('2-31,34-63', host.tuned_isolated_cores)
        self.assertEqual('rhel', host_remedy.system(host))

    def test_data_plane_node_before_its_reboot(self) -> None:
        tree = setups.edpm(arguments=f'{IDS} rd.driver.pre=vfio-pci')
        tree.text('proc/cmdline', 'ro iommu=pt hugepages=0\n')
        _host, by_code = self.check(tree)
        self.assertEqual({'GPU424'}, set(by_code))
        self.assert_remedies(
            by_code, 'GPU424', 'Reboot: /boot/loader/entries/a-'
        )

    def test_hgx_board(self) -> None:
        host, by_code = self.check(setups.hgx())
        self.assertEqual({'GPU424'}, set(by_code))
        # vfio-pci is built in, and the switches stay bound to nvidia.
        (remedy,) = by_code['GPU424']
        self.assertEqual(
            'Add vfio-pci.ids=10de:2330 to GRUB_CMDLINE_LINUX in '
            '/etc/default/grub and run update-grub, then reboot. "openstack '
            'gpu host config create --id 10de:2330" creates all of these '
            'files',
            remedy,
        )
        selection = device_selection.select(host, (), ('10de:2330',))
        self.assertTrue(selection.keeps_vendor)
        _host, by_code = self.check(setups.hgx(acs=False))
        self.assertEqual({'GPU424', 'GPU426'}, set(by_code))
        self.assert_remedies(by_code, 'GPU426', 'turn on ACS in the firmware')
        _host, by_code = self.check(
            setups.hgx('vfio-pci', None, 'vfio-pci.ids=10de:2330')
        )
        self.assertEqual({'GPU465'}, set(by_code))

    def test_epyc(self) -> None:
        _host, by_code = self.check(setups.epyc())
        self.assertEqual({'GPU424'}, set(by_code))
        self.assert_remedies(
            by_code, 'GPU424', 'vfio-pci.ids=10de:26b9,10de:27b8 to'
        )
        host, by_code = self.check(setups.epyc(graphics=True))
        self.assertEqual({'GPU424', 'GPU426'}, set(by_code))
        for code in by_code:
            self.assert_remedies(
                by_code, code, 'vfio-pci.ids=10de:2230,10de:1aef to'
            )
        selection = device_selection.select(
            host, [pci.parse_address('0000:01:00.0')], ()
        )
        self.assertEqual(2, len(selection.by_address))

    def test_workstation(self) -> None:
        _host, by_code = self.check(setups.workstation())
        self.assertEqual({'GPU422', 'GPU461'}, set(by_code))
        _host, by_code = self.check(setups.workstation(), '0000:01:00.0')
        self.assertEqual({'GPU422', 'GPU424', 'GPU426'}, set(by_code))
        self.assert_remedies(
            by_code,
            'GPU424',
            'vfio-pci.ids=10de:2684,10de:22ba to',
            '"softdep snd_hda_intel pre: vfio-pci"',
        )

    def test_arm(self) -> None:
        for tree, codes in (
            (setups.grace(), {'GPU424'}),
            (setups.grace('vfio-pci'), {'GPU464'}),
            (setups.grace(iommu=False), {'GPU420', 'GPU424', 'GPU428'}),
            (setups.altra(), {'GPU422', 'GPU424'}),
        ):
            _host, by_code = self.check(tree)
            self.assertEqual(codes, set(by_code))
            for word in ('Intel', 'intel', 'VT-d', 'AMD', 'iommu=pt'):
                self.assertNotIn(word, str(by_code))

    def test_other_vendors(self) -> None:
        for tree, ids, drivers, others in (
            (
                setups.instinct('1002:740f', 0x038000),
                '1002:740f',
                ['amdgpu'],
                ['radeon', 'nouveau', 'nvidia'],
            ),
            (
                setups.instinct('1002:74a1', 0x120000),
                '1002:74a1',
                ['amdgpu'],
                ['radeon', 'nouveau', 'nvidia'],
            ),
            (
                setups.flex(),
                '8086:56c0',
                ['i915', 'xe'],
                ['nouveau', 'nvidia'],
            ),
        ):
            host, by_code = self.check(tree)
            self.assertEqual({'GPU424'}, set(by_code))
            self.assert_remedies(by_code, 'GPU424', f'vfio-pci.ids={ids} to')
            self.assertEqual(
                drivers, list(device_selection.select(host, (), (ids,)).rivals)
            )
            for other in others:
                self.assertNotIn(other, str(by_code))
        self.assert_remedies(
            by_code, 'GPU424', '"blacklist i915"', '"softdep xe pre: vfio-pci"'
        )

    def test_whole_card_on_a_vgpu_host(self) -> None:
        card = '0000:17:00.0'
        host, by_code = self.check(setups.vgpu(), card)
        self.assertEqual({'GPU424', 'GPU439', 'GPU454'}, set(by_code))
        self.assert_remedies(by_code, 'GPU439', f'sriov-manage -d {card}')
        selection = device_selection.select(
            host, [pci.parse_address(card)], ()
        )
        self.assertEqual(
            [card], [str(device.address) for device in selection.devices]
        )
        self.assertEqual(selection.devices, selection.by_address)

    def test_virtual_machine(self) -> None:
        _host, by_code = self.check(setups.virtual())
        self.assertEqual(
            {'GPU420', 'GPU425', 'GPU428', 'GPU437'}, set(by_code)
        )
        self.assert_remedies(
            by_code, 'GPU420', 'Add an IOMMU to this virtual machine'
        )
        for tree in (
            setups.virtual('DMAR', arguments='intel_iommu=on iommu=pt'),
            setups.virtual('VIOT'),
        ):
            _host, by_code = self.check(tree)
            self.assertEqual({'GPU425', 'GPU437'}, set(by_code))
            self.assert_remedies(
                by_code, 'GPU437', 'Set device_type to type-PCI'
            )

    def test_container(self) -> None:
        _host, by_code = self.check(setups.container())
        self.assertEqual({'GPU420', 'GPU424', 'GPU428'}, set(by_code))

    def test_boot_loaders(self) -> None:
        for tree, instruction in (
            (
                setups.other_loader(
                    setups.SLES,
                    **{
                        'usr/lib/modprobe.d/10-unsupported-modules.conf': (
                            'allow_unsupported_modules 1\n'
                        )
                    },
                ),
                'run grub2-mkconfig -o /boot/grub2/grub.cfg',
            ),
            (
                setups.other_loader(
                    trees.DEBIAN, **{'etc/kernel/cmdline': 'ro quiet\n'}
                ),
                'to /etc/kernel/cmdline and run kernel-install add',
            ),
            (
                setups.other_loader(
                    setups.COREOS,
                    'rw ostree=/ostree/boot.1/x/0 intel_iommu=on iommu=pt',
                ),
                f'rpm-ostree kargs --append-if-missing="{IDS}"',
            ),
        ):
            host, by_code = self.check(tree)
            self.assertEqual({'GPU424'}, set(by_code))
            self.assert_remedies(
                by_code,
                'GPU424',
                instruction,
                '--system ',
                'creates the files, but does not set the kernel arguments',
            )
            self.assertIsNone(host_remedy.system(host))

    def test_old_kernels(self) -> None:
        """What an old kernel does not report is not a finding."""
        for release in ('3.10.0-1160.el7.x86_64', '4.18.0-348.el8.x86_64'):
            host, by_code = self.check(setups.centos(release))
            self.assertEqual({'GPU424'}, set(by_code))
            self.assert_remedies(
                by_code, 'GPU424', 'grubby --update-kernel=ALL --args='
            )
            self.assertEqual(('reset',), host.gpus[-1].reset_methods)
        line = 'ro vfio-pci.ids=10de:1eb8 rd.driver.pre=vfio-pci'
        _host, by_code = self.check(
            setups.centos(
                release,
                **{
                    'boot/grub2/grubenv': f'kernelopts={line}\n',
                    'boot/loader/entries/a-4.18.conf': 'options $kernelopts\n',
                },
            )
        )
        self.assert_remedies(
            by_code, 'GPU424', 'Reboot: /boot/loader/entries/a-4.18.conf'
        )
