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

"""Clouds with a host for each thing that may be short."""

import dataclasses
import json
import typing

import yaml

#: Of one NVIDIA card each, by number, so that no two hosts share a class.
_FIRST_PRODUCT = 0x3000


@dataclasses.dataclass(frozen=True)
class Variant:
    """A host, and a flavor of which it holds a known number of servers."""

    name: str
    #: How many servers fit.
    fits: int
    #: Cards of the host.
    cards: int = 3
    device_type: str = 'type-PCI'
    #: Keys of a card of the spec, ``vfs``.
    card: dict[str, typing.Any] = dataclasses.field(default_factory=dict)
    #: Keys of each ``[pci]device_spec``, and of the alias.
    device_spec: dict[str, str] = dataclasses.field(default_factory=dict)
    alias: dict[str, str] = dataclasses.field(default_factory=dict)
    #: Another alias of the same host, with a card of its own each.
    second: int = 0
    #: What the flavor asks for, with {0} and {1} for the aliases.
    request: str = '{0}:1'
    flavor: dict[str, int] = dataclasses.field(default_factory=dict)
    extra_specs: dict[str, str] = dataclasses.field(default_factory=dict)
    #: Lines of nova.conf before ``[pci]``.
    config: str = ''
    host: dict[str, typing.Any] = dataclasses.field(default_factory=dict)
    #: What there is least of.
    limited_by: tuple[str, ...] = ('{0}',)

    @property
    def aliases(self) -> tuple[str, str]:
        return f'{self.name}_a', f'{self.name}_b'


_ONE_NODE = {'numa': [{'cpus': '0-15', 'memory_mb': 65536}]}

VARIANTS = (
    Variant('pci', 3),
    Variant('pf', 3, device_type='type-PF'),
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
        'classes',
        3,
        device_spec={'resource_class': 'gpu-special'},
        alias={'resource_class': 'gpu-special'},
    ),
    Variant(
        'pinned',
        2,
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
    # Room for twelve, and no more than the host has for each.
    Variant(
        'wide',
        0,
        flavor={'vcpus': 5},
        config='[DEFAULT]\ncpu_allocation_ratio = 3.0\n',
        host={'numa': [{'cpus': '0-3', 'memory_mb': 65536}]},
        limited_by=('VCPU',),
    ),
    Variant('reserved', 2),
    Variant('disabled', 0),
    Variant('zone', 3),
)


def spec() -> str:
    """Return the spec of the cloud, for ``gpu rehearsal start --spec``."""
    lines = []
    hosts = []
    for number, variant in enumerate(VARIANTS):
        config = [variant.config, '[pci]', 'report_in_placement = True']
        devices = []
        for which, count in enumerate((variant.cards, variant.second)):
            if not count:
                continue
            product = f'{_FIRST_PRODUCT + 4 * number + which:04x}'
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
            lines.append(f'alias = {json.dumps(alias)}')
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
