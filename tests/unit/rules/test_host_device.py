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

"""The checks of a device, except for its driver and IOMMU group."""

from gpuclient.model import alias as alias_model
from tests.unit.host import trees
from tests.unit.rules import host_cases
from tests.unit.rules.host_cases import FAIL
from tests.unit.rules.host_cases import GPU
from tests.unit.rules.host_cases import WARN


class TestDevice(host_cases.HostTestCase):
    def test_not_responding(self) -> None:
        gone = host_cases.card(config=b'\xff' * 4096)
        self.finds('GPU423', FAIL, 'all ones', gone)
        self.finds('GPU423', FAIL, 'error', host_cases.card(power='error'))
        self.assertEqual([], self.codes(host_cases.card(power='unknown')))

    def test_device_type_against_alias(self) -> None:
        for kind, plain in (
            ('type-PCI', host_cases.card()),
            (None, host_cases.card()),
        ):
            keys = {} if kind is None else {'device_type': kind}
            self.finds(
                'GPU436',
                FAIL,
                'type-PF in libvirt',
                plain,
                host_cases.alias(**keys),
                'device_type to type-PF',
            )
        self.assertEqual(
            [],
            self.codes(
                host_cases.card(), host_cases.alias(device_type='type-PF')
            ),
        )

    def test_alias_by_class(self) -> None:
        alias = alias_model.parse(
            '{"name": "a", "resource_class": "GPU", "device_type": "type-PCI"}'
        )
        intent = host_cases.specs(
            {'address': GPU, 'resource_class': 'gpu'}, aliases=(alias,)
        )
        self.finds(
            'GPU436',
            FAIL,
            'has device_type type-PCI',
            host_cases.card(),
            intent,
        )

    def test_device_type_against_catalogue(self) -> None:
        self.finds(
            'GPU437',
            WARN,
            'should be type-PF',
            host_cases.card(total_vfs=None),
        )

    def test_sriov(self) -> None:
        space = trees.config_space(sriov=True)
        hidden = host_cases.card(total_vfs=None, config=space)
        self.finds('GPU438', WARN, 'offers no VFs', hidden)
        with_vfs = host_cases.card(vfs=('0000:04:00.4',))
        self.finds(
            'GPU439', WARN, 'has 1 VFs', with_vfs, host_cases.named(GPU)
        )
        managed = host_cases.card(driver='nvidia', vfs=('0000:04:00.4',))
        self.finds(
            'GPU439',
            WARN,
            'has 1 VFs',
            managed,
            host_cases.named(GPU),
            f'sriov-manage -d {GPU} and',
        )
        # Without root, only the first 64 bytes can be read.
        part = host_cases.card(total_vfs=None, config=space[:64])
        self.assertNotIn('GPU438', self.codes(part))

    def test_bars(self) -> None:
        """Typically, the large 64-bit BARs are not assigned."""
        registers = (0xC0000000, 0xC, 0, 0xC, 0x380, 0x1)
        space = trees.config_space(sriov=True, bars=registers)
        whole = (
            (16 << 20, 0x40200),
            (64 << 30, 0x14220C),
            (0, 0),
            (32 << 20, 0x14220C),
        )
        self.assertEqual(
            [], self.codes(host_cases.card(config=space, bars=whole))
        )
        part = host_cases.card(config=space, bars=whole[:1])
        self.finds(
            'GPU443',
            FAIL,
            'BAR 1, 3 were not assigned: ',
            part,
            remedy='Or add pci=realloc to',
        )
        # Later kernels keep the type of a BAR without an address.
        kept = host_cases.card(
            config=space, bars=(whole[0], (0, 0x14220C), *whole[2:])
        )
        self.finds('GPU443', FAIL, 'BAR 1 was not assigned: ', kept)
        # Without root, only 64 bytes can be read.
        user = host_cases.card(
            config=space[:64], bars=whole[:1], total_vfs=None
        )
        self.finds('GPU443', FAIL, 'BAR 1, 3', user)
        gone = host_cases.card(config=b'\xff' * 4096, bars=())
        self.assertNotIn('GPU443', self.codes(gone))

    def test_memory_of_the_cpu(self) -> None:
        for driver, bad in (
            ('vfio-pci', True),
            ('nvgrace_gpu_vfio_pci', False),
        ):
            tree = trees.Tree(arguments='iommu.passthrough=1').arm()
            tree.device(
                '0009:01:00.0',
                '10de:2342',
                0x030200,
                driver=driver,
                group=9,
                total_vfs=32,
            )
            self.assertEqual(
                {'GPU464'} if bad else set(), set(self.codes(tree))
            )
            if bad:
                self.finds(
                    'GPU464',
                    WARN,
                    'nvgrace_gpu_vfio_pci maps',
                    tree,
                    remedy='Remove 10de:2342 from',
                )

    def test_boot_vga(self) -> None:
        tree = host_cases.card(boot_vga=True)
        self.assertEqual([], self.codes(tree))
        tree.text('sys/bus/platform/devices/efi-framebuffer.0', '')
        self.finds(
            'GPU440',
            WARN,
            '(efi-framebuffer.0), which',
            tree,
            remedy='Or add initcall_blacklist=sysfb_init',
        )

    def test_console_without_boot_vga(self) -> None:
        """Only VGA controllers have boot_vga."""
        tree = trees.Tree(
            arguments='iommu=pt vfio-pci.ids=10de:20f1 rd.driver.pre=vfio-pci'
        )
        tree.initramfs('vfio-pci', maker='dracut')
        tree.device(
            GPU, trees.A100, 0x038000, driver='vfio-pci', group=4, total_vfs=16
        )
        self.assertEqual([], self.codes(tree))
        tree.text('sys/bus/platform/devices/simple-framebuffer.0', '')
        self.finds(
            'GPU440',
            WARN,
            'console of the host may be on it (simple',
            tree,
            remedy='initcall_blacklist=sysfb_init',
        )
        trees.bmc(tree)
        self.assertEqual([], self.codes(tree))
        # A 3D controller has no display.
        tree = host_cases.card()
        tree.text('sys/bus/platform/devices/simple-framebuffer.0', '')
        self.assertEqual([], self.codes(tree))

    def test_reset(self) -> None:
        self.finds(
            'GPU441', WARN, 'no way to reset it', host_cases.card(reset=None)
        )
        unknown = host_cases.card()
        del unknown.files[f'sys/bus/pci/devices/{GPU}/reset_method']
        self.assertEqual([], self.codes(unknown))
        unknown.files[f'sys/bus/pci/devices/{GPU}/reset_method'] = b'\xff'
        self.finds('GPU441', WARN, 'could not be read', unknown)

    def test_reset_with_the_bus(self) -> None:
        ids = f'{trees.EARLY},10de:1aef'
        for driver, bad in (('vfio-pci', False), ('snd_hda_intel', True)):
            tree = host_cases.card(ids, reset=None)
            tree.device(
                '0000:04:00.1',
                '10de:1aef',
                0x040300,
                driver=driver,
                group=4,
                reset=None,
            )
            self.assertEqual(bad, 'GPU441' in self.codes(tree))
        # The root bus has no bridge that could reset it.
        tree = host_cases.card(ids, address='0000:00:02.0', reset=None)
        tree.device(
            '0000:00:02.1', '10de:1aef', 0x040300, driver='vfio-pci', group=4
        )
        self.assertIn('GPU441', self.codes(tree))

    def test_old_kernel(self) -> None:
        """Files that old kernels do not have cause no warning."""
        tree = host_cases.card(
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
        intent = host_cases.specs(
            {'vendor_id': '10de', 'product_id': '20f1'},
            dedicated_cpus=frozenset({2, 3}),
        )
        self.assertEqual([], self.codes(tree, intent))

    def test_d3cold(self) -> None:
        tree = host_cases.card(power='D3cold')
        self.finds('GPU442', WARN, 'D3cold', tree, remedy='/etc/modprobe.d')
        tree.text(
            'lib/modules/6.1.0-56-amd64/modules.builtin',
            'kernel/drivers/vfio/pci/vfio-pci.ko\n',
        )
        self.finds(
            'GPU442',
            WARN,
            'D3cold',
            tree,
            remedy='Add vfio-pci.disable_idle_d3=1 to',
        )
        self.assertNotIn('modprobe.d', self.remedy('GPU442', tree))

    def test_numa_node(self) -> None:
        tree = host_cases.card(host={'nodes': 2}, node=-1)
        self.finds(
            'GPU445',
            WARN,
            'which of 2 NUMA nodes',
            tree,
            remedy=f'numa_node of {GPU}',
        )
        self.assertEqual([], self.codes(host_cases.card(node=-1)))
