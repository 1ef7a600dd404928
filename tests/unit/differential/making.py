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
"""Random aliases, device specs and device trees, including invalid ones."""

import json
import random
import typing

from gpuclient.model import device_spec

_VENDORS = ('10de', '8086', '1002')
_PRODUCTS = ('20f1', '20b0', '25b6', '1520', '20f2')
_WRONG = (None, 7, -1, 0, True, False, [], ['a'], {}, {'a': 1}, 1.5, '', ' ')
_ODD_IDS = (
    '10DE', '0x10de', ' 10de ', '*', '1_0', '-1', '+1', '10de\n', '10000',
    'zz', '١٠', '١٢٣٤', '$x', '10d', '20F2', '20B0',
)  # fmt: skip
_BOOLEANS = ('yes', 'no', 'True', ' 0 ', 'maybe', '', 'true', 'OFF', 'y', 't')
_CLASSES = (
    'CUSTOM_A', 'a-b', 'custom_a', 'CUSTOM_GPU-A', 'PGPU', 'pgpu', 'VGPU', '',
    'CUSTOM_PCI_10DE_20F1', 'custom_pci_10de_20b0', 'CUSTOM_PCI_NONE_NONE',
    'CUSTOM_', 'A' * 250, 'CUSTOM_PCI_10DE_NONE', '%s', '$x',
)  # fmt: skip
_TRAITS = (
    'CUSTOM_A', 'a', 'a,b', 'a, b', 'a,', '', 'HW_GPU_API_VULKAN',
    'hw_gpu_api_vulkan', 'HW_PCI_LIVE_MIGRATABLE', 'HW_PCI_ONE_TIME_USE',
    'COMPUTE_MANAGED_PCI_DEVICE', 'OWNER_NOVA', 'CUSTOM_X,CUSTOM_A', ' ',
)  # fmt: skip
_TYPES = ('type-PCI', 'type-PF', 'type-VF')


def _chance(source: random.Random, probability: float) -> bool:
    return source.random() < probability


def host(source: random.Random) -> dict[str, typing.Any]:
    """Return the devices of a host, and its network interfaces."""
    devices: list[dict[str, typing.Any]] = []
    for _ in range(source.choice((0, 1, 1, 2, 2, 3))):
        bus = source.choice(('04', '0a', '17', 'af'))
        slot = source.choice(('00', '01', '1f'))
        domain = source.choice(('0000', '0000', '0001'))
        device = {
            'address': f'{domain}:{bus}:{slot}.{source.choice("0001")}',
            'vendor_id': source.choice(_VENDORS[:2]),
            'product_id': source.choice(_PRODUCTS),
            'device_type': source.choice(('type-PCI', 'type-PF')),
            'serial': source.choice((None, None, 'S1')),
        }
        if any(known['address'] == device['address'] for known in devices):
            continue
        devices.append(device)
        if device['device_type'] == 'type-PF':
            for number in range(source.randrange(4)):
                devices.append(
                    {
                        'address': f'{domain}:{bus}:'
                        f'{source.choice((slot, "02"))}.{number + 2}',
                        'vendor_id': device['vendor_id'],
                        'product_id': source.choice(
                            ('20f2', device['product_id'])
                        ),
                        'device_type': 'type-VF',
                        'parent': device['address'],
                        'serial': source.choice((None, 'S1')),
                    }
                )
    unique = {device['address']: device for device in devices}
    addresses = sorted(unique)
    return {
        'devices': list(unique.values()),
        'interfaces': {
            name: source.choice(addresses)
            for name in ('eth0', 'eth1')
            if addresses
        },
    }


def of_case(case: dict[str, typing.Any]) -> device_spec.HostDevices:
    """Return a host in our data model."""
    return device_spec.HostDevices(
        tuple(
            device_spec.HostDevice(
                device['address'],
                device['vendor_id'],
                device['product_id'],
                device['device_type'],
                device.get('parent'),
                device.get('serial'),
            )
            for device in case['devices']
        ),
        case['interfaces'],
    )


def _address(source: random.Random) -> typing.Any:
    domain = source.choice(('0000', '0000', '0001', '*', '0'))
    bus = source.choice(('04', '0a', '17', 'af', 'AF', '*', '4'))
    slot = source.choice(('00', '00', '01', '1f', '*', '02', '0'))
    func = source.choice(('0', '0', '1', '2', '3', '*', '4'))
    kind = source.random()
    if kind < 0.45:
        return f'{domain}:{bus}:{slot}.{func}'
    if kind < 0.6:
        return source.choice(
            (
                f'{bus}:{slot}.{func}',
                f'{slot}.{func}',
                f'.{func}',
                f'{bus}:{slot}',
                f':{bus}:.',
                f' {domain} : {bus} : {slot} . {func} ',
                f'{domain}:{bus}:{slot}.',
            )
        )
    if kind < 0.9:
        expressions = {
            'domain': ('.*', '0000', '0', '000[01]'),
            'bus': ('.*', '04', '0', '[01]', '0a|17', 'AF', 'a', '^04$'),
            'slot': ('.*', '00', '0', '1f', '^00$'),
            'function': ('.*', '0', '[0-2]', '[1-7]', '0|1'),
            'other': ('x',),
        }
        return {
            key: source.choice(values)
            for key, values in expressions.items()
            if _chance(source, 0.5)
        }
    return source.choice(
        (
            '1:2:3:4', 'x', '...', '0000:04:00.8', '0000:04:20.0', '10000:4::',
            {'bus': '('}, {'bus': 4}, {'bus': None}, '0000:-1:00.0', 5, [], {},
            '0000:1?:00.0', {'function': ''}, ['x'], False, '',
            {'domain': '', 'bus': '', 'slot': '', 'function': ''},
            {'domain': '0000', 'bus': '04', 'slot': '00', 'function': '0'},
        )
    )  # fmt: skip


def _near(
    source: random.Random, device: dict[str, typing.Any]
) -> dict[str, typing.Any]:
    """Return keys of an entry that usually match a device."""
    address = device['address']
    parent = device.get('parent') or address
    choices = {
        'vendor_id': (device['vendor_id'], device['vendor_id'].upper(), '*'),
        'product_id': (device['product_id'], f'0x{device["product_id"]}'),
        'address': (
            address,
            address,
            parent,
            address[5:],
            f'{address[:-1]}*',
            f'*:{address[5:7]}:*.*',
            {'bus': address[5:7]},
            {'domain': '.*', 'bus': address[5:7], 'function': address[-1]},
        ),
    }
    return {
        key: source.choice(values)
        for key, values in choices.items()
        if _chance(source, 0.6)
    }


def entry(
    source: random.Random,
    wrong: float,
    devices: typing.Sequence[dict[str, typing.Any]] = (),
) -> typing.Any:
    """Return an entry of ``[pci]device_spec``.

    :param wrong: The probability of an invalid value.
    :param devices: It probably matches one of these.
    """
    if _chance(source, wrong / 4):
        return source.choice(_WRONG)
    values: dict[str, typing.Callable[[], typing.Any]] = {
        'vendor_id': lambda: source.choice(_VENDORS[:2]),
        'product_id': lambda: source.choice(_PRODUCTS),
        'address': lambda: _address(source),
        'devname': lambda: source.choice(('eth0', 'eth1', 'gone', '')),
        'managed': lambda: source.choice(_BOOLEANS),
        'live_migratable': lambda: source.choice(_BOOLEANS),
        'one_time_use': lambda: source.choice(_BOOLEANS),
        'remote_managed': lambda: source.choice(_BOOLEANS),
        'resource_class': lambda: source.choice(_CLASSES),
        'traits': lambda: source.choice(_TRAITS),
        'physical_network': lambda: source.choice(('net', '', None)),
        'trusted': lambda: source.choice(('true', 'false')),
        'dev_type': lambda: source.choice((*_TYPES, 'vdpa', 'type-pf')),
        'capability_type': lambda: source.choice(('pci', 'PCI', 'x')),
        'device_id': lambda: '20f1',
        'resource_clas': lambda: 'CUSTOM_A',
    }
    likely = {
        'vendor_id': 0.7, 'product_id': 0.5, 'address': 0.5, 'devname': 0.06,
        'resource_class': 0.2, 'traits': 0.15, 'live_migratable': 0.2,
        'remote_managed': 0.12, 'physical_network': 0.1,
    }  # fmt: skip
    fields: dict[str, typing.Any] = {}
    if devices and _chance(source, 0.7):
        fields = _near(source, source.choice(devices))
        likely = dict.fromkeys(likely, 0.08)
        likely.update(
            vendor_id=0.02, product_id=0.02, address=0.02, devname=0.01
        )
    for key, make in values.items():
        if not _chance(source, likely.get(key, 0.04)):
            continue
        fields[key] = make()
        if _chance(source, wrong):
            fields[key] = source.choice(
                (*_WRONG, *_ODD_IDS)
                if key in ('vendor_id', 'product_id')
                else _WRONG
            )
        elif key in _BOOLEAN_KEYS and not _chance(source, wrong):
            fields[key] = source.choice(('yes', 'no'))
    return fields


_BOOLEAN_KEYS = (
    'managed', 'live_migratable', 'one_time_use', 'remote_managed',
)  # fmt: skip


def specs(
    source: random.Random,
    wrong: float = 0.05,
    devices: typing.Sequence[dict[str, typing.Any]] = (),
) -> list[str]:
    """Return values of ``[pci]device_spec``.

    :param devices: They probably match these.
    """
    texts = []
    for _ in range(source.choice((1, 1, 2, 2, 3, 4))):
        if _chance(source, wrong / 4):
            texts.append(
                source.choice(
                    (
                        '', '{', "{'vendor_id': '10de'}", '[]', '{}', 'null',
                        '3', '[[]]', '"x"', '{} # x', 'NaN',
                        '{"vendor_id": "1", "vendor_id": "10de"}',
                    )
                )
            )  # fmt: skip
        elif _chance(source, 0.2):
            texts.append(
                json.dumps(
                    [
                        entry(source, wrong, devices)
                        for _ in range(source.randrange(4))
                    ]
                )
            )
        else:
            texts.append(json.dumps(entry(source, wrong, devices)))
    return texts


def alias(
    source: random.Random,
    wrong: float = 0.05,
    devices: typing.Sequence[dict[str, typing.Any]] = (),
) -> typing.Any:
    """Return a value of ``[pci]alias``, before it is encoded as JSON.

    :param devices: It probably matches one of these.
    """
    values: dict[str, tuple[typing.Any, ...]] = {
        'name': ('a', 'a', 'b', ' a', 'c ', 'a:b', 'é', 'x' * 256, 'a$b', '%'),
        'vendor_id': ('10de', '10de', '8086', '10DE'),
        'product_id': _PRODUCTS,
        'device_type': _TYPES,
        'numa_policy': ('required', 'legacy', 'preferred', 'socket'),
        'resource_class': _CLASSES,
        'traits': _TRAITS,
        'live_migratable': ('yes', 'no', 'True', ' 0 '),
        'capability_type': ('pci',),
    }
    likely = {
        'name': 0.98, 'vendor_id': 0.9, 'product_id': 0.85, 'device_type': 0.5,
        'numa_policy': 0.1, 'resource_class': 0.25, 'traits': 0.15,
        'live_migratable': 0.2, 'capability_type': 0.05,
    }  # fmt: skip
    fields: dict[str, typing.Any] = {}
    for key, choices in values.items():
        if not _chance(source, likely[key]):
            continue
        fields[key] = source.choice(choices)
        if _chance(source, wrong):
            fields[key] = source.choice(
                (*_WRONG, *_ODD_IDS, 'x' * 257, 'type-pf', 'vdpa', 'maybe')
            )
    if devices and _chance(source, 0.7):
        device = source.choice(devices)
        for key in ('vendor_id', 'product_id', 'device_type'):
            if key in fields and fields[key] in values[key]:
                fields[key] = device[key]
    if _chance(source, wrong / 2):
        fields[source.choice(('count', 'dev_type', 'address', 'managed'))] = (
            '1'
        )
    return fields


def alias_texts(
    source: random.Random,
    wrong: float = 0.05,
    devices: typing.Sequence[dict[str, typing.Any]] = (),
) -> list[str]:
    """Return values of ``[pci]alias``."""
    return [
        source.choice(
            ('', '[]', '{', "{'name': 'a'}", '"a"', 'null', '{} # x', 'NaN')
        )
        if _chance(source, wrong / 2)
        else json.dumps(alias(source, wrong, devices))
        for _ in range(source.choice((1, 1, 2, 3)))
    ]
