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

"""The kernel command line."""

import ddt
import testtools

from gpuclient import exceptions
from gpuclient.model import cpu
from gpuclient.model import kernel

M = 2**20
G = 2**30
EXAMPLE = (
    'default_hugepagesz=1GB hugepagesz=1G hugepages=16 intel_iommu=on '
    'iommu=pt vfio-pci.ids=10de:20f1 rd.driver.pre=vfio-pci'
)


@ddt.ddt
class TestParse(testtools.TestCase):
    def test_example(self) -> None:
        line = kernel.parse(EXAMPLE)
        self.assertEqual(EXAMPLE, line.render())
        self.assertEqual(
            ['10de:20f1'], [ids.render() for ids in line.vfio_ids]
        )
        self.assertTrue(line.intel_iommu_on)
        self.assertTrue(line.iommu_passthrough)
        self.assertIsNone(line.iommu_off)
        self.assertEqual(('vfio_pci',), line.early_drivers)
        pages = line.huge_pages
        self.assertEqual(
            ((kernel.HugePagePool(G, 16),), G, ()),
            (pages.pools, pages.default_size, pages.problems),
        )
        self.assertEqual(8, pages.pools[0].on_node(0, 2))

    @ddt.data(
        ('', []),
        ('quiet  a=b\t', [('quiet', None), ('a', 'b')]),
        ('a="b c" d', [('a', 'b c'), ('d', None)]),
        ('"a=b c" d', [('a', 'b c'), ('d', None)]),
        ('a=b=c', [('a', 'b=c')]),
        ('a= b', [('a', ''), ('b', None)]),
        ('a -- b', [('a', None)]),
        ('a="b c', [('a', 'b c')]),
    )
    @ddt.unpack
    def test_arguments(
        self, text: str, expected: list[tuple[str, str | None]]
    ) -> None:
        self.assertEqual(
            expected,
            [
                (argument.name, argument.value)
                for argument in kernel.parse(text).arguments
            ],
        )

    def test_written(self) -> None:
        line = kernel.parse('a-b=1 c a_b="2 3" a-b c=""')
        self.assertEqual(('a-b=1', 'a_b=2 3', 'a-b'), line.written('a_b'))
        self.assertEqual(('c', 'c='), line.written('c', 'd'))

    def test_dashes_are_underscores(self) -> None:
        line = kernel.parse('vfio_pci.ids=1:2 vfio-pci.ids=10DE:0x20f1,a,')
        self.assertEqual(
            ['10de:20f1'], [ids.render() for ids in line.vfio_ids]
        )
        self.assertEqual(('a',), line.invalid_vfio_ids)
        self.assertTrue(line.has('vfio-pci.ids'))
        line = kernel.parse('vfio-pci.ids=10de:20f1:10de:1450')
        self.assertEqual('10de:20f1:10de:1450', line.vfio_ids[0].render())

    @ddt.data(
        ('iommu=off', 'iommu=off'),
        ('iommu=pt,off', 'iommu=off'),
        ('iommu=off iommu=force', None),
        ('intel_iommu=on intel_iommu=off', 'intel_iommu=off'),
        ('intel_iommu=off intel_iommu=on,sm_on', None),
        ('amd_iommu=off', 'amd_iommu=off'),
        ('amd_iommu=on', None),
    )
    @ddt.unpack
    def test_iommu_off(self, text: str, expected: str | None) -> None:
        self.assertEqual(expected, kernel.parse(text).iommu_off)

    def test_passthrough_of_other_architectures(self) -> None:
        self.assertTrue(kernel.parse('iommu.passthrough=1').iommu_passthrough)
        self.assertFalse(kernel.parse('iommu=nopt').iommu_passthrough)

    def test_modules(self) -> None:
        line = kernel.parse(
            'modprobe.blacklist=nouveau,nvidia-drm '
            'rd.driver.blacklist=nouveau rd.driver.pre=vfio-pci '
            'rd.driver.pre=b module_blacklist=x module_blacklist=y'
        )
        self.assertEqual(
            ('nouveau', 'nvidia_drm', 'y'), line.blacklisted_modules
        )
        self.assertEqual(('vfio_pci', 'b'), line.early_drivers)

    @ddt.data(
        ('isolcpus=2-3', {2, 3}),
        ('isolcpus=nohz,domain,managed_irq,2', {2}),
        ('isolcpus=managed_irq,1 isolcpus=2', {1, 2}),
        ('isolcpus=all', {0, 1, 2, 3}),
        ('quiet', set()),
    )
    @ddt.unpack
    def test_isolated(self, text: str, expected: set[int]) -> None:
        self.assertEqual(expected, set(kernel.parse(text).isolated_cpus(4)))

    def test_vendors(self) -> None:
        self.assertEqual(
            {cpu.Vendor.AMD}, set(kernel.parse('kvm-amd.nested=1').cpu_vendors)
        )
        self.assertEqual(set(), set(kernel.parse('kvm.x=1').cpu_vendors))

    def test_with_argument(self) -> None:
        line = kernel.parse('a vfio_pci.ids=1:2 b vfio-pci.ids=3:4')
        self.assertEqual(
            'a vfio-pci.ids=5:6 b',
            line.with_argument('vfio-pci.ids', '5:6').render(),
        )
        self.assertEqual(
            'a iommu=pt',
            kernel.parse('a').with_argument('iommu', 'pt').render(),
        )

    def test_render(self) -> None:
        self.assertEqual('"a=b c"', kernel.Argument('a', 'b c').render())
        for name, value in (('a', '"'), ('a', 'b\n'), ('', 'b')):
            exc = self.assertRaises(
                exceptions.InvalidKernelArgument,
                kernel.Argument(name, value).render,
            )
            self.assertIn('is not a kernel argument', str(exc))


@ddt.ddt
class TestHugePages(testtools.TestCase):
    @ddt.data(
        ('hugepages=4', {2 * M: 4}, []),
        ('hugepages=4 hugepagesz=1G hugepages=2', {G: 2, 2 * M: 4}, []),
        ('hugepages=4 default_hugepagesz=1G', {G: 4}, []),
        ('hugepagesz=1G hugepages=0:2,1:3', {G: 5}, []),
        ('hugepagesz=1G', {G: 0}, []),
        (
            'hugepagesz=3G hugepages=2',
            {},
            [
                'hugepagesz=3G: not a huge page size',
                'hugepages=2: does not follow a valid hugepagesz',
            ],
        ),
        (
            'hugepagesz=G',
            {},
            ['hugepagesz=G: not a huge page size'],
        ),
        (
            'hugepagesz=1G hugepages=2 hugepages=3',
            {G: 2},
            ['hugepages=3: repeated without hugepagesz'],
        ),
        (
            'hugepagesz=1G hugepages=2 hugepagesz=1G hugepages=3',
            {G: 2},
            [
                'hugepagesz=1G: repeated',
                'hugepages=3: does not follow a valid hugepagesz',
            ],
        ),
        (
            'default_hugepagesz=1G default_hugepagesz=2M',
            {G: 0},
            ['default_hugepagesz=2M: repeated'],
        ),
        (
            'hugepages=4 hugepagesz=2M hugepages=8',
            {2 * M: 8},
            ['hugepages=4: another number follows hugepagesz=2M'],
        ),
        (
            'hugepagesz=1G hugepages=x hugepages=0:',
            {G: 0},
            [
                'hugepages=x: not a number',
                'hugepages=0:: not a number',
            ],
        ),
        (
            f'hugepages={"1" * 5000}',
            {},
            ['hugepages=***: not a number'],
        ),
    )
    @ddt.unpack
    def test_order(
        self, text: str, pools: dict[int, int], problems: list[str]
    ) -> None:
        pages = kernel.parse(text).huge_pages
        self.assertEqual(
            pools, {pool.size: pool.count for pool in pages.pools}
        )
        self.assertEqual(problems, list(pages.problems))

    def test_per_node(self) -> None:
        (pool,) = kernel.parse(
            'hugepagesz=1G hugepages=0:2,1:3'
        ).huge_pages.pools
        self.assertEqual(
            [2, 3, 0], [pool.on_node(node, 3) for node in range(3)]
        )
