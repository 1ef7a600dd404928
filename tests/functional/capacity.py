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

"""Clouds with a host for each resource that can limit the capacity."""

import dataclasses
import json
import typing

import yaml

#: NVIDIA cards with one device type in the catalogue, so that no two hosts
#: share a class.
_PRODUCTS = {
    'type-PCI': iter(('1b38', '15f8', '1db4', '1db6', '1db1', '1db5')),
    'type-PF': iter(
        (
            *('20f1', '20b5', '20b0', '20b2', '20f5', '20f3', '20b7', '2236'),
            *('2237', '25b6', '27b8', '27b6', '2331', '2330', '2339', '2321'),
            *('2322', '2324', '2329', '2335', '233b', '2342', '2348', '2901'),
        )
    ),
}
#: NVIDIA cards without a device type in the catalogue.
_UNKNOWN = iter(f'{number:04x}' for number in range(0x3000, 0x4000, 4))


@dataclasses.dataclass(frozen=True)
class Variant:
    """A host, and a flavor of which a known number of servers fits."""

    name: str
    #: How many servers fit, or at most fit; None if that is unknown.
    fits: int | None
    #: Why it is an upper limit; empty if the number is exact.
    at_most: str = ''
    #: How many servers boot, if that is another number.
    boots: int | None = None
    #: Why Nova refuses the flavor itself.
    refused: str = ''
    #: The variant whose host is used.
    on: str = ''
    #: Cards of the host.
    cards: int = 3
    device_type: str = 'type-PF'
    #: Whether the catalogue has the card.
    known: bool = True
    #: Keys of a card in the spec, such as ``vfs``.
    card: dict[str, typing.Any] = dataclasses.field(default_factory=dict)
    #: Keys of each ``[pci]device_spec``, and of the alias.
    device_spec: dict[str, str] = dataclasses.field(default_factory=dict)
    #: None removes a key.
    alias: dict[str, str | None] = dataclasses.field(default_factory=dict)
    #: Another alias of the same host; each has its own card.
    second: int = 0
    #: What the flavor requests, with {0} and {1} for the aliases.
    request: str = '{0}:1'
    flavor: dict[str, int] = dataclasses.field(default_factory=dict)
    extra_specs: dict[str, str] = dataclasses.field(default_factory=dict)
    #: Lines of nova.conf before ``[pci]``.
    config: str = ''
    host: dict[str, typing.Any] = dataclasses.field(default_factory=dict)
    #: The resource that limits the number.
    limited_by: tuple[str, ...] = ('{0}',)

    @property
    def aliases(self) -> tuple[str, str]:
        name = self.on or self.name
        return f'{name}_a', f'{name}_b'

    @property
    def booted(self) -> int:
        """How many servers boot."""
        return (self.fits or 0) if self.boots is None else self.boots

    def products(self) -> tuple[str, str]:
        """Return the product ids of both aliases."""
        kind = self.device_type if self.known else ''
        if kind not in _PRODUCTS:
            first = next(_UNKNOWN)
            return first, f'{int(first, 16) + 1:04x}'
        return next(_PRODUCTS[kind]), next(_PRODUCTS[kind]) if (
            self.second
        ) else ''


_NUMA = 'Nova matches NUMA nodes on the host'
_ONE_NODE = {'numa': [{'cpus': '0-15', 'memory_mb': 65536}]}

VARIANTS = (
    Variant('pci', 3, device_type='type-PCI'),
    Variant('pf', 3),
    Variant(
        'vf',
        4,
        cards=2,
        device_type='type-VF',
        card={'type': 'type-PF', 'vfs': 2},
    ),
    Variant(
        'isolate',
        2,
        cards=2,
        device_type='type-VF',
        card={'type': 'type-PF', 'vfs': 2},
        request='{0}:2',
        extra_specs={'group_policy': 'isolate'},
    ),
    Variant('pairs', 2, cards=5, request='{0}:2'),
    Variant(
        'two', 2, cards=4, second=2, request='{0}:1,{1}:1', limited_by=('{1}',)
    ),
    Variant(
        'traits',
        3,
        device_spec={'traits': 'CUSTOM_NVLINK'},
        alias={'traits': 'CUSTOM_NVLINK'},
    ),
    Variant(
        'pinned',
        2,
        at_most=_NUMA,
        cards=4,
        flavor={'vcpus': 4},
        extra_specs={'hw:cpu_policy': 'dedicated'},
        config='[compute]\ncpu_shared_set = 0-5\ncpu_dedicated_set = 6-15\n',
        host=_ONE_NODE,
        limited_by=('PCPU',),
    ),
    Variant(
        'memory',
        2,
        cards=4,
        flavor={'ram': 3000},
        host={'memory_mb': 8192},
        limited_by=('MEMORY_MB',),
    ),
    Variant(
        'disk',
        2,
        cards=4,
        flavor={'disk': 2, 'ephemeral': 1, 'swap': 1500},
        host={'disk_gb': 14},
        limited_by=('DISK_GB',),
    ),
    Variant(
        'ratio',
        3,
        cards=4,
        flavor={'vcpus': 5},
        config='[DEFAULT]\ncpu_allocation_ratio = 2.0\n',
        host={'numa': [{'cpus': '0-7', 'memory_mb': 65536}]},
        limited_by=('VCPU',),
    ),
    # The host has 12 VCPU, but a server can have 4 of them at most.
    Variant(
        'wide',
        0,
        flavor={'vcpus': 5},
        config='[DEFAULT]\ncpu_allocation_ratio = 3.0\n',
        host={'numa': [{'cpus': '0-3', 'memory_mb': 65536}]},
        limited_by=('VCPU',),
    ),
    Variant('reserved', 2),
    Variant(
        'disabled', 0, limited_by=('nova-compute is disabled: no reason',)
    ),
    Variant('zone', 3),
    # Device types, which are not in Placement.
    Variant(
        'othertype',
        3,
        at_most='then no server gets a device',
        boots=0,
        alias={'device_type': 'type-PCI'},
    ),
    Variant(
        'untyped',
        2,
        at_most='no device_type, which matches no type-PF',
        boots=0,
        cards=2,
        alias={'device_type': None},
    ),
    Variant('unlisted', 2, at_most='is not known', cards=2, known=False),
    Variant(
        'classes',
        2,
        at_most='have these IDs',
        cards=2,
        device_spec={'resource_class': 'gpu-special'},
        alias={'resource_class': 'gpu-special'},
    ),
    # Nova uses VCPU instead of PCPU.
    Variant(
        'fallback',
        2,
        at_most='[workarounds]disable_fallback_pcpu_query',
        cards=2,
        flavor={'vcpus': 4},
        extra_specs={'hw:cpu_policy': 'dedicated'},
        host=_ONE_NODE,
    ),
    # No API shows whether nova-scheduler isolates aggregates.
    Variant(
        'tenants',
        2,
        at_most='AggregateMultiTenancyIsolation',
        cards=2,
    ),
    Variant(
        'trusted',
        2,
        at_most='enable_isolated_aggregate_filtering',
        cards=2,
    ),
    # Refused by nova-api, and by Placement.
    *(
        Variant(f'refused{number}', 0, on='pci', refused=reason, **more)
        for number, (reason, more) in enumerate(
            (
                (
                    'Cannot set cpu thread pinning policy',
                    {'extra_specs': {'hw:cpu_thread_policy': 'require'}},
                ),
                (
                    'Dedicated CPU set can be specified from either',
                    {'extra_specs': {'hw:cpu_policy': 'mixed'}},
                ),
                (
                    'mismatch between the number of PCPUs requested',
                    {'extra_specs': {'resources:PCPU': '4'}},
                ),
                (
                    'Use of realtime CPUs requires',
                    {'extra_specs': {'hw:cpu_realtime': 'yes'}},
                ),
                (
                    'locked_memory value in image or flavor is forbidden',
                    {'extra_specs': {'hw:locked_memory': 'true'}},
                ),
                (
                    'Invalid PCI NUMA affinity configured: requird',
                    {
                        'extra_specs': {
                            'hw:pci_numa_affinity_policy': 'requird'
                        }
                    },
                ),
                ('is not NAME:COUNT', {'request': ''}),
                (
                    'has traits and no resources',
                    {'extra_specs': {'trait1:CUSTOM_NVLINK': 'required'}},
                ),
                (
                    'several numbered groups',
                    {
                        'extra_specs': {
                            'resources1:VCPU': '1',
                            'resources2:MEMORY_MB': '64',
                        }
                    },
                ),
                (
                    'Invalid secure boot policy',
                    {'extra_specs': {'os:secure_boot': 'yes'}},
                ),
            )
        )
    ),
    # Resources that no host has.
    Variant(
        'nothing',
        0,
        on='pci',
        extra_specs={
            'resources:VCPU': '0',
            'resources:MEMORY_MB': '0',
            'resources:DISK_GB': '0',
        },
        limited_by=('no resource of the compute node is requested',),
    ),
    Variant(
        'vtpm',
        0,
        on='pci',
        extra_specs={'hw:tpm_version': '2.0'},
        limited_by=(
            'no trait COMPUTE_SECURITY_TPM_2_0, '
            'COMPUTE_SECURITY_TPM_SECRET_SECURITY_USER, '
            'COMPUTE_SECURITY_TPM_TIS',
        ),
    ),
    Variant(
        'mixed',
        0,
        on='pci',
        flavor={'vcpus': 4},
        extra_specs={'hw:cpu_policy': 'mixed', 'hw:cpu_dedicated_mask': '^0'},
        limited_by=('PCPU',),
    ),
    Variant(
        'persistent',
        0,
        on='pci',
        extra_specs={'hw:pmem': '6GB'},
        limited_by=('CUSTOM_PMEM_NAMESPACE_6GB',),
    ),
    Variant(
        'together',
        0,
        on='pci',
        extra_specs={
            'resources1:VCPU': '1',
            'resources1:CUSTOM_PCI_10DE_1B38': '1',
        },
        limited_by=('resources1:CUSTOM_PCI_10DE_1B38',),
    ),
    Variant('elsewhere', None, on='pci', extra_specs={'resources:VGPU': '1'}),
    # Amounts and groups, as Nova parses them.
    Variant(
        'group',
        2,
        cards=3,
        extra_specs={'resources1:VCPU': ' 6', 'resources:FOO': '7'},
        host={'numa': [{'cpus': '0-11', 'memory_mb': 65536}]},
        config='[DEFAULT]\ncpu_allocation_ratio = 1.0\n',
        limited_by=('VCPU',),
    ),
    Variant(
        'amounts',
        2,
        cards=3,
        extra_specs={
            'resources:VCPU': '-1',
            'resources:MEMORY_MB': '+1_024',
            'resources1:MEMORY_MB': '1_024',
        },
        host={'memory_mb': 5000},
        limited_by=('MEMORY_MB',),
    ),
)


def spec() -> str:
    """Return the spec of the cloud, for ``gpu rehearsal start --spec``."""
    lines = []
    hosts = []
    for variant in VARIANTS:
        if variant.on:
            continue
        config = [variant.config, '[pci]', 'report_in_placement = True']
        devices = []
        for which, count in enumerate((variant.cards, variant.second)):
            if not count:
                continue
            product = PRODUCTS[variant.name][which]
            ids = {'vendor_id': '10de', 'product_id': product}
            config.append(
                f'device_spec = {json.dumps({**ids, **variant.device_spec})}'
            )
            alias = {
                **ids,
                'device_type': variant.device_type,
                'name': variant.aliases[which],
                **variant.alias,
            }
            lines.append(
                'alias = '
                + json.dumps(
                    {
                        key: value
                        for key, value in alias.items()
                        if value is not None
                    }
                )
            )
            card = {**ids, 'type': variant.device_type, **variant.card}
            if 'vfs' in card:
                card['vf_product_id'] = product
                card['product_id'] = f'{int(product, 16) + 2:04x}'
            devices += [
                {**card, 'address': f'0000:{16 * which + bus:02x}:00.0'}
                for bus in range(1, count + 1)
            ]
        hosts.append(
            {
                'name': variant.name,
                'devices': devices,
                'config': '\n'.join(config),
                **variant.host,
            }
        )
    return yaml.safe_dump(
        {
            'control_plane': {
                'config': '[filter_scheduler]\npci_in_placement = True\n',
                'api': [{'config': '\n'.join(['[pci]', *lines])}],
            },
            'hosts': hosts,
        }
    )


#: Product ids of both aliases of each variant with a host of its own.
PRODUCTS = {
    variant.name: variant.products() for variant in VARIANTS if not variant.on
}


def resource_class(name: str) -> str:
    """Return the class of the devices of a variant."""
    return f'CUSTOM_PCI_10DE_{PRODUCTS[name][0].upper()}'
