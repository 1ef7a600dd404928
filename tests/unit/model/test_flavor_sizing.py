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

import dataclasses

import testtools

from gpuclient import exceptions
from gpuclient.model import capacity
from gpuclient.model import catalogue
from gpuclient.model import flavor_sizing
from gpuclient.model import host as host_model
from gpuclient.model import inventory

MODELS = catalogue.builtin()
HOST = flavor_sizing.HostShare(
    'a',
    devices=8,
    cpus=120,
    is_dedicated=True,
    memory_mb=1_000_000,
    disk_gb=4000,
    traits=frozenset({'COMPUTE_ADDRESS_SPACE_EMULATED'}),
    numa_nodes=2,
    page_kib=0,
    address_bits=46,
)


def host(**changes: object) -> flavor_sizing.HostShare:
    return dataclasses.replace(HOST, **changes)  # type: ignore[arg-type]


def size(
    count: int,
    *hosts: flavor_sizing.HostShare,
    model: str | None = 'nvidia_a100_sxm4_80gb',
) -> flavor_sizing.Size:
    return flavor_sizing.size(
        count,
        hosts or (HOST,),
        None if model is None else MODELS.by_name(model),
    )


class TestSize(testtools.TestCase):
    def test_share(self) -> None:
        one = size(1)
        # 1,000,000 MB of 8 devices, in whole GiB.
        self.assertEqual((15, 124928, 80), (one.vcpus, one.ram, one.disk))
        four = size(4)
        self.assertEqual((60, 499712), (four.vcpus, four.ram))
        self.assertEqual(1, four.hosts)

    def test_all_devices_can_be_used(self) -> None:
        """As many servers as devices fit, whatever their count is."""
        for count in (1, 2, 4, 8):
            sized = size(count)
            servers = HOST.devices // count
            self.assertLessEqual(servers * sized.vcpus, HOST.cpus)
            self.assertLessEqual(servers * sized.ram, HOST.memory_mb)

    def test_smallest_host(self) -> None:
        small = host(name='b', devices=4, cpus=32, memory_mb=300_000)
        sized = size(2, HOST, small)
        self.assertEqual((16, 149504), (sized.vcpus, sized.ram))
        self.assertEqual(2, sized.hosts)
        self.assertEqual(1, size(8, HOST, small).hosts)

    def test_whole_cores(self) -> None:
        traits = HOST.traits | {'HW_CPU_HYPERTHREADING'}
        self.assertEqual(14, size(1, host(traits=traits)).vcpus)

    def test_nodes(self) -> None:
        for count, nodes in ((1, None), (4, None), (8, '2')):
            self.assertEqual(
                nodes, size(count).extra_specs.get('hw:numa_nodes'), count
            )
        six = host(devices=6, cpus=32)
        self.assertEqual('2', size(4, six).extra_specs['hw:numa_nodes'])
        self.assertEqual(20, size(4, six).vcpus)
        unknown = size(4, host(numa_nodes=None))
        self.assertNotIn('hw:numa_nodes', unknown.extra_specs)
        self.assertIn('--host-numa-nodes', ' '.join(unknown.notes))
        self.assertEqual(
            {'hw:cpu_policy': 'dedicated',
             'hw:pci_numa_affinity_policy': 'preferred'},
            size(1, model='nvidia_a2').extra_specs,
        )  # fmt: skip

    def test_pages(self) -> None:
        with_pages = host(page_kib=1048576, pages_mb=800_000)
        sized = size(1, with_pages)
        self.assertEqual('1048576', sized.extra_specs['hw:mem_page_size'])
        self.assertEqual(99328, sized.ram)
        # Not all hosts have pages of one size.
        for other in (host(), host(page_kib=2048, pages_mb=800_000)):
            self.assertNotIn(
                'hw:mem_page_size', size(1, with_pages, other).extra_specs
            )
        unknown = size(1, with_pages, host(page_kib=None))
        self.assertNotIn('hw:mem_page_size', unknown.extra_specs)
        self.assertIn('--bundle', ' '.join(unknown.notes))

    def test_shared_cpus(self) -> None:
        sized = size(1, host(is_dedicated=False))
        self.assertNotIn('hw:cpu_policy', sized.extra_specs)
        self.assertNotIn('hw:pci_numa_affinity_policy', sized.extra_specs)
        self.assertIn('shared', ' '.join(sized.notes))

    def test_address_bits(self) -> None:
        for model, count, bits in (
            ('nvidia_a2', 1, None),
            ('nvidia_a100_pcie_40gb', 1, None),
            ('nvidia_a100_sxm4_80gb', 1, '41'),
            ('nvidia_a100_sxm4_80gb', 8, '44'),
        ):
            self.assertEqual(
                bits,
                size(count, model=model).extra_specs.get(
                    'hw:maxphysaddr_bits'
                ),
                (model, count),
            )
        for changes in ({'traits': frozenset()}, {'address_bits': None}):
            # Nova would exclude the host.
            untold = size(8, host(**changes))
            self.assertNotIn('hw:maxphysaddr_mode', untold.extra_specs)
            self.assertIn('44 physical address bits', ' '.join(untold.notes))
        limited = size(8, host(address_bits=42))
        self.assertEqual('42', limited.extra_specs['hw:maxphysaddr_bits'])
        self.assertIn('has 42', ' '.join(limited.notes))
        self.assertIn('--model', ' '.join(size(1, model=None).notes))

    def test_switches(self) -> None:
        for count, noted in ((1, False), (2, True), (8, False)):
            notes = ' '.join(size(count).notes)
            self.assertEqual(noted, 'Fabric Manager' in notes, count)

    def test_candidates(self) -> None:
        for count, noted in ((4, False), (8, True)):
            notes = ' '.join(size(count).notes)
            self.assertEqual(noted, 'GPU670' in notes, count)

    def test_disk(self) -> None:
        self.assertEqual(50, size(1, host(disk_gb=400)).disk)
        self.assertEqual(80, size(2, host(disk_gb=400)).disk)
        none = size(1, host(disk_gb=None))
        self.assertEqual(0, none.disk)
        self.assertIn('volume', ' '.join(none.notes))

    def test_refused(self) -> None:
        for hosts, count, message in (
            ((HOST,), 16, 'the most that a host has is 8'),
            ((host(cpus=7),), 1, 'less than one CPU'),
            ((host(memory_mb=7),), 1, 'less than one CPU'),
        ):
            error = self.assertRaises(
                exceptions.InvalidValue, size, count, *hosts
            )
            self.assertIn(message, str(error))


class TestShare(testtools.TestCase):
    def capacity(self, **amounts: int) -> capacity.HostCapacity:
        devices = tuple(
            inventory.Device(
                uuid=str(number),
                name=f'gpu-1_0000:0{number}:00.0',
                root_uuid='root',
                host='gpu-1',
                address=f'0000:0{number}:00.0',
                resource_class='CUSTOM_X',
                total=1,
                traits=('CUSTOM_A',) if number else (),
            )
            for number in range(4)
        )
        return capacity.HostCapacity(
            inventory.ComputeProvider(
                'root',
                'gpu-1',
                tuple(
                    inventory.Resource(name, amount, 0, max_unit=100)
                    for name, amount in amounts.items()
                ),
            ),
            'gpu-1',
            devices,
        )

    def test_amounts(self) -> None:
        # VCPUs are overcommitted sixteen times.
        share = flavor_sizing.share_of(
            self.capacity(VCPU=1600, MEMORY_MB=90), 'CUSTOM_X'
        )
        self.assertEqual((4, 100, False, 90, None), (
            share.devices, share.cpus, share.is_dedicated, share.memory_mb,
            share.disk_gb,
        ))  # fmt: skip
        share = flavor_sizing.share_of(
            self.capacity(VCPU=1600, PCPU=64, MEMORY_MB=90),
            'CUSTOM_X',
            frozenset({'CUSTOM_A'}),
        )
        self.assertEqual((3, 64, True), (
            share.devices, share.cpus, share.is_dedicated
        ))  # fmt: skip
        self.assertIsNone(
            flavor_sizing.share_of(self.capacity(VCPU=1), 'CUSTOM_Y')
        )

    def test_bundle(self) -> None:
        bundle = host_model.Host(
            'gpu-1',
            physical_address_bits=46,
            nodes=tuple(
                host_model.NumaNode(
                    number,
                    huge_pages=(
                        host_model.HugePages(2048, 0),
                        host_model.HugePages(1048576, 32),
                    ),
                )
                for number in range(2)
            ),
        )
        share = flavor_sizing.share_of(
            self.capacity(PCPU=64, MEMORY_MB=90),
            'CUSTOM_X',
            bundle=bundle,
            numa_nodes=7,
            address_bits=46,
        )
        self.assertEqual((2, 1048576, 65536, 46), (
            share.numa_nodes, share.page_kib, share.pages_mb,
            share.address_bits,
        ))  # fmt: skip
