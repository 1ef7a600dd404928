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

"""NUMA topologies on empty hosts, compared with Nova's own code."""

import typing

import hypothesis
from hypothesis import strategies
import testtools

from gpuclient.model import alias as alias_model
from gpuclient.model import boot_validation
from gpuclient.model import capacity
from gpuclient.model import demand as demand_model
from gpuclient.model import flavor as flavor_model
from gpuclient.model import host as host_model
from gpuclient.model import inventory
from gpuclient.model import numa_fit
from gpuclient.model import pci
from tests.unit.differential import test_capacity

GIB = 1024 * 1024
H100 = 'CUSTOM_PCI_10DE_2330'
ALIAS = alias_model.Alias('h100', vendor_id='10de', product_id='2330')

_NODES = strategies.lists(
    strategies.tuples(
        strategies.integers(1, 4),
        strategies.integers(0, 4),
        strategies.sampled_from((1024, 2048, 4096)),
        strategies.integers(0, 4),
    ),
    min_size=1,
    max_size=3,
)
_SPECS = {
    'hw:numa_nodes': ('1', '2', '3'),
    'hw:cpu_policy': ('dedicated', 'mixed'),
    'hw:cpu_dedicated_mask': ('0', '0-1'),
    'hw:emulator_threads_policy': ('isolate',),
    'hw:mem_page_size': ('small', 'large', '1GB', '1048576'),
}
_FLAVOR_SPECS = strategies.lists(
    strategies.sampled_from(sorted(_SPECS)),
    min_size=1,
    max_size=3,
    unique=True,
).flatmap(
    lambda keys: strategies.fixed_dictionaries(
        {key: strategies.sampled_from(_SPECS[key]) for key in keys}
    )
)


def hardware(
    nodes: list[tuple[int, int, int, int]],
) -> tuple[host_model.Host, frozenset[int]]:
    """Return a host, and its dedicated CPUs."""
    numa, dedicated, first = [], set(), 0
    for number, (shared, pinned, memory, pages) in enumerate(nodes):
        cpus = frozenset(range(first, first + shared + pinned))
        dedicated |= set(range(first + shared, first + shared + pinned))
        first += shared + pinned
        numa.append(
            host_model.NumaNode(
                number,
                cpus,
                (memory + pages * 1024) * 1024,
                (host_model.HugePages(GIB, pages),),
            )
        )
    return host_model.Host('a', nodes=tuple(numa)), frozenset(dedicated)


def fits_nova(
    flavor: flavor_model.Flavor,
    host: host_model.Host,
    dedicated: frozenset[int],
) -> bool:
    """Return whether Nova fits a server on the empty host."""
    from nova import objects
    from nova.virt import hardware as nova_hardware

    objects.register_all()
    cells = [
        objects.NUMACell(
            id=node.number,
            cpuset=set(node.cpus - dedicated),
            pcpuset=set(node.cpus & dedicated),
            memory=(node.memory_kib or 0) // 1024,
            cpu_usage=0,
            memory_usage=0,
            pinned_cpus=set(),
            siblings=[{number} for number in node.cpus],
            socket=0,
            mempages=[
                objects.NUMAPagesTopology(
                    size_kb=4, total=(node.memory_kib or 0) // 4, used=0
                ),
                *(
                    objects.NUMAPagesTopology(
                        size_kb=pool.size_kib, total=pool.total, used=0
                    )
                    for pool in node.huge_pages
                ),
            ],
        )
        for node in host.nodes
    ]
    constraints = nova_hardware.numa_get_constraints(
        objects.Flavor(
            name='f',
            vcpus=flavor.vcpus,
            memory_mb=flavor.ram,
            extra_specs=flavor.extra_specs,
        ),
        test_capacity.image_meta({}),
    )
    return (
        nova_hardware.numa_fit_instance_to_host(
            objects.NUMATopology(cells=cells), constraints, {}
        )
        is not None
    )


class TestTopology(testtools.TestCase):
    @hypothesis.settings(deadline=None, max_examples=100)
    @hypothesis.given(
        _NODES,
        _FLAVOR_SPECS,
        strategies.sampled_from((2, 4, 6)),
        strategies.sampled_from((2048, 4096, 6144)),
    )
    def test_as_nova_fits(
        self,
        nodes: list[tuple[int, int, int, int]],
        specs: dict[str, str],
        vcpus: int,
        ram: int,
    ) -> None:
        flavor = flavor_model.Flavor('id', 'f', vcpus, ram, 0, True, specs)
        hypothesis.assume(boot_validation.validate(flavor).refusal is None)
        guest = numa_fit.topology(flavor)
        hypothesis.assume(guest is not None)
        assert guest is not None
        host, dedicated = hardware(nodes)
        lack = numa_fit.obstacle(
            guest,
            demand_model.Demand({}, ()),
            {},
            None,
            capacity.HostCapacity(
                inventory.ComputeProvider('a', 'a'), 'a', ()
            ),
            host,
            dedicated,
        )
        fits = fits_nova(flavor, host, dedicated)
        if lack:
            self.assertFalse(fits, lack)

    def test_devices(self) -> None:
        host = host_model.Host(
            'a',
            devices=tuple(
                host_model.PciDevice(
                    pci.parse_address(f'0000:0{number}:00.0'),
                    numa_node=number,
                )
                for number in range(2)
            ),
            nodes=tuple(
                host_model.NumaNode(
                    number, frozenset(range(4 * number, 4 * number + 4)), GIB
                )
                for number in range(2)
            ),
        )
        provider = capacity.HostCapacity(
            inventory.ComputeProvider('a', 'a'),
            'a',
            tuple(
                inventory.Device(
                    str(number),
                    'name',
                    'a',
                    'a',
                    f'0000:0{number}:00.0',
                    H100,
                    1,
                    0,
                    0,
                )
                for number in range(2)
            ),
        )
        flavor = flavor_model.Flavor(
            *('id', 'f', 2, 512, 0, True),
            {'hw:numa_nodes': '1', 'pci_passthrough:alias': 'h100:2'},
        )
        guest: typing.Any = numa_fit.topology(flavor)
        wanted = demand_model.demand(flavor, {'h100': ALIAS})
        for policy, expected in (
            ('required', '1 of 2 devices of h100 on its nodes'),
            (None, '1 of 2 devices of h100 on its nodes'),
            ('preferred', ''),
        ):
            self.assertEqual(
                expected,
                numa_fit.obstacle(
                    guest,
                    wanted,
                    {'h100': ALIAS},
                    policy,
                    provider,
                    host,
                    None,
                ),
            )
