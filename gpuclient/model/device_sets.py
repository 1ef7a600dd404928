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

"""Devices that an entry of ``[pci]device_spec`` can match, on any host.

Nova uses the first entry that matches a device
(``nova/pci/whitelist.py:Whitelist.device_assignable``). No host is known here,
so the question is whether a device can exist that an entry matches and no
earlier entry does. A :data:`Box` is the set of devices that an entry matches:
for each property of a device, the values that it may have.
"""

import collections.abc
import dataclasses
import functools
import re
import typing

from gpuclient.model import address_pattern
from gpuclient.model import alias as alias_model
from gpuclient.model import device_spec
from gpuclient.model import naming
from gpuclient.model import pci

#: For each property in :data:`_SIZES` a set of values: bit N is value N.
Box: typing.TypeAlias = tuple[int, ...]

#: Digits and number of values of each field of an address.
_FIELDS = ((4, 0x10000), (2, 0x100), (2, 0x20), (1, 8))
#: Number of values of domain, bus, slot, function, vendor and product, and of
#: whether there is a serial number.
_SIZES = (*(count for _digits, count in _FIELDS), 0x10000, 0x10000, 2)
_ALL: Box = tuple((1 << size) - 1 for size in _SIZES)
_ANY_ADDRESS = _ALL[:4]
_ADDRESS = re.compile('[0-9a-f]{4}:[0-9a-f]{2}:[01][0-9a-f][.][0-7]', re.ASCII)
_HEXADECIMAL = re.compile('[0-9a-f]+', re.ASCII)
_CLASS = re.compile('CUSTOM_PCI_([0-9A-F]{4})_([0-9A-F]{4})', re.ASCII)
#: Limits of a regular expression that is tried on all values of a field: its
#: length, and the number of ways to match a value.
_LONGEST_PATTERN = 128
_MOST_WAYS = 1000
#: Steps after which a search ends without a result.
_STEPS = 20_000


class Requirement:
    """Requirements of an alias, any of which :func:`serves` can ignore."""

    ADDRESS = 'address'
    CAPABILITY = 'capability_type'
    CLASS = 'resource_class'
    IDS = 'ids'
    MIGRATION = 'live_migratable'
    NETWORK = 'physical_network'
    REMOTE = 'remote_managed'
    TRAITS = 'traits'
    TYPE = 'device_type'


@dataclasses.dataclass(frozen=True)
class Example:
    """A device that an entry is the first to match."""

    spec: device_spec.DeviceSpec
    #: None if the search took too many steps: it is not known.
    device: device_spec.HostDevice | None


def reached(
    spec: device_spec.DeviceSpec,
    earlier: collections.abc.Sequence[device_spec.DeviceSpec],
    others: collections.abc.Sequence[device_spec.DeviceSpec] = (),
) -> Example | None:
    """Return a device that an entry is the first to match, if there is one.

    :param others: Other entries of the service. With a remote-managed entry
        that names a PF, nova-compute does not start on a host with this PF.
    """
    for kind in ('type-PCI', 'type-VF'):
        example = _example(spec, earlier, (*earlier, spec, *others), kind)
        if example is not None:
            return example
    return None


def serves(
    specs: collections.abc.Sequence[device_spec.DeviceSpec],
    alias: alias_model.Alias,
    *,
    in_placement: bool,
    without: str | None = None,
) -> Example | None:
    """Return a device that may serve an alias, on some host.

    Other devices of the host, such as the PF of a VF, are not considered.

    :param specs: All entries of a nova-compute, in their order.
    :param in_placement: ``[filter_scheduler]pci_in_placement``; nova-compute
        then reports to Placement.
    :param without: A :class:`Requirement` to ignore.
    """
    for number, spec in enumerate(specs):
        earlier = () if without == Requirement.ADDRESS else specs[:number]
        for kind in pci.DEVICE_TYPES:
            wanted = _wanted(spec, alias, kind, in_placement, without)
            if wanted is None or not all(
                _both(_box(spec, any_address=True), wanted)
            ):
                continue
            example = _example(spec, earlier, specs, kind, wanted)
            if example is not None:
                return example
    return None


def _wanted(
    spec: device_spec.DeviceSpec,
    alias: alias_model.Alias,
    kind: str,
    in_placement: bool,
    without: str | None,
) -> Box | None:
    """Return the devices of an entry that would serve an alias.

    :returns: None if the tags of the entry, or the device type, exclude all.
    """
    if in_placement and kind == 'type-VF' and spec.has_key('one_time_use'):
        # nova-compute does not start.
        return None
    alias, spec = _relaxed(alias, spec, without)
    # Except for ids, address and class, all devices are alike.
    device = device_spec.HostDevice(
        '0000:00:00.0',
        (alias.vendor_id or '10de').lower(),
        (alias.product_id or '20f1').lower(),
        kind,
    )
    spec_class = _class_of(spec)
    any_class = dataclasses.replace(alias, resource_class=None)
    if not alias.has_ids:
        any_class = dataclasses.replace(
            any_class, vendor_id=device.vendor_id, product_id=device.product_id
        )
    untagged = dataclasses.replace(
        spec, tags={**spec.tags, 'resource_class': None}
    )
    if not untagged.serves(device, any_class, in_placement=in_placement):
        return None
    vendors = _identifier(alias.vendor_id)
    products = _identifier(alias.product_id)
    if in_placement and without != Requirement.CLASS:
        if spec_class is not None:
            if alias.placement_class != spec_class:
                return None
        else:
            match = _CLASS.fullmatch(alias.placement_class or '')
            if match is None:
                return None
            vendors &= _identifier(match[1])
            products &= _identifier(match[2])
    return (*_ANY_ADDRESS, vendors, products, _ALL[6])


def _class_of(spec: device_spec.DeviceSpec) -> str | None:
    """Return the resource class in an entry, as Nova reports it."""
    name = spec.tags.get('resource_class')
    if not name:
        return None
    # nova-compute cannot report a value that is not a string.
    return (
        naming.resource_class(None, None, name)
        if (isinstance(name, str))
        else ''
    )


def _relaxed(
    alias: alias_model.Alias,
    spec: device_spec.DeviceSpec,
    without: str | None,
) -> tuple[alias_model.Alias, device_spec.DeviceSpec]:
    """Return an alias and an entry without one requirement."""
    changes: dict[str, typing.Any] = {}
    tags = dict(spec.tags)
    if without == Requirement.IDS:
        # Without ids, the alias keeps its resource class.
        changes = {
            'vendor_id': None,
            'product_id': None,
            'resource_class': alias.placement_class,
        }
    elif without == Requirement.TYPE:
        tags.pop('dev_type', None)
        changes = {'device_type': None}
    elif without in (
        Requirement.CAPABILITY,
        Requirement.MIGRATION,
        Requirement.TRAITS,
    ):
        changes = {without: None}
    elif without in (Requirement.NETWORK, Requirement.REMOTE):
        tags.pop(without, None)
    return (
        dataclasses.replace(alias, **changes),
        dataclasses.replace(spec, tags=tags),
    )


def _identifier(value: str | None) -> int:
    if value is None:
        return _ALL[4]
    return _number(value.lower(), 4, _SIZES[4])


def _number(text: str, digits: int, count: int) -> int:
    """Return the set of the value of a text."""
    if len(text) != digits or not _HEXADECIMAL.fullmatch(text):
        # Nova accepts an id such as ``-001``, but no device has such an id.
        return 0
    number = int(text, 16)
    return 1 << number if number < count else 0


@functools.lru_cache(maxsize=512)
def _expression(pattern: str, digits: int, count: int) -> int:
    """Return the values that a regular expression matches.

    An expression that is too complex to try on all values counts as one that
    matches all.
    """
    if (
        len(pattern) > _LONGEST_PATTERN
        or address_pattern.ways(pattern) > _MOST_WAYS
    ):
        return (1 << count) - 1
    match = re.compile(pattern).match
    values = bytearray((count + 7) // 8)
    for value in range(count):
        if match(f'{value:0{digits}x}'):
            values[value // 8] |= 1 << value % 8
    return int.from_bytes(values, 'little')


def _addresses(address: device_spec.AddressPattern | None) -> Box:
    if address is None:
        # An entry with devname; the interface may have any address.
        return _ANY_ADDRESS
    fields = []
    for value, (digits, count) in zip(address.fields, _FIELDS, strict=True):
        if value in (device_spec.ANY, '.*', '') and (
            address.regex or value == device_spec.ANY
        ):
            fields.append((1 << count) - 1)
        elif address.regex:
            fields.append(_expression(value, digits, count))
        else:
            fields.append(_number(value, digits, count))
    return tuple(fields)


@functools.lru_cache(maxsize=4096)
def _address_box(address: device_spec.AddressPattern | None) -> Box:
    return _addresses(address)


def _box(spec: device_spec.DeviceSpec, *, any_address: bool = False) -> Box:
    """Return the devices that an entry matches by their own address.

    An entry with the address of a PF also matches its VFs.
    """
    return (
        *(_ANY_ADDRESS if any_address else _address_box(spec.address)),
        *(
            _ALL[4]
            if value == device_spec.ANY
            else _number(value, 4, _SIZES[4])
            for value in (spec.vendor_id, spec.product_id)
        ),
        # A remote-managed entry matches only devices with a serial number.
        0b10 if spec.remote_managed else 0b11,
    )


def _single(spec: device_spec.DeviceSpec) -> str | None:
    """Return the single address of an entry, which may be that of a PF."""
    address = spec.address
    if address is None or not address.is_single:
        return None
    text = str(address)
    return text if _ADDRESS.fullmatch(text) else None


def _example(
    spec: device_spec.DeviceSpec,
    earlier: collections.abc.Sequence[device_spec.DeviceSpec],
    all_specs: collections.abc.Sequence[device_spec.DeviceSpec],
    kind: str,
    wanted: Box = _ALL,
) -> Example | None:
    """Return a device that an entry is the first to match.

    :param all_specs: All entries of the service.
    :param kind: Device type of the device.
    :param wanted: Devices to choose from.
    """
    # Entries with another devname match nothing where it does not exist.
    rivals = [
        other for other in earlier if other.devname in (None, spec.devname)
    ]
    # nova-compute does not start where these are PFs.
    refused = {
        text
        for other in all_specs
        if other.remote_managed and (text := _single(other)) is not None
    }
    named = {text for other in all_specs if (text := _single(other))}
    obstacles = [
        _box(other, any_address=bool(other.devname)) for other in rivals
    ]
    if kind == 'type-PF':
        if spec.devname and any(
            other.remote_managed and other.devname == spec.devname
            for other in all_specs
        ):
            return None
        obstacles += map(_point, refused)
    point = _outside(_both(_box(spec), wanted), obstacles)
    if point is not None:
        parent = _address_not_in(named) if kind == 'type-VF' else None
        return Example(spec, _device(point, kind, parent))
    function = _single(spec)
    if kind != 'type-VF' or function is None or function in refused:
        return None
    # A VF of the PF that the entry names, at any address but the PF's.
    point = _outside(
        _both(_box(spec, any_address=True), wanted),
        [
            *(
                _box(other, any_address=_single(other) == function)
                for other in rivals
            ),
            _point(function),
        ],
    )
    return (
        None
        if point is None
        else Example(spec, _device(point, kind, function))
    )


def _address_not_in(addresses: collections.abc.Container[str]) -> str:
    return next(
        address
        for bus in range(0xFF, -1, -1)
        if (address := f'ffff:{bus:02x}:1f.7') not in addresses
    )


def _device(
    point: Box, kind: str, parent: str | None
) -> device_spec.HostDevice | None:
    """Return the device with the lowest values of a box."""
    if not point:
        return None
    domain, bus, slot, func, vendor, product, serial = (
        (values & -values).bit_length() - 1 for values in point
    )
    return device_spec.HostDevice(
        f'{domain:04x}:{bus:02x}:{slot:02x}.{func:x}',
        f'{vendor:04x}',
        f'{product:04x}',
        kind,
        parent,
        'serial' if serial else None,
    )


def _point(address: str) -> Box:
    fields = re.split('[:.]', address)
    return (
        *(
            _number(field, digits, count)
            for field, (digits, count) in zip(fields, _FIELDS, strict=True)
        ),
        *_ALL[4:],
    )


def _both(box: Box, other: Box) -> Box:
    """Return the intersection of two boxes."""
    return tuple(map(int.__and__, box, other))


def _outside(box: Box, obstacles: collections.abc.Sequence[Box]) -> Box | None:
    """Return a part of a box that overlaps with no obstacle.

    :returns: None if there is none; an empty box if the search took too many
        steps.
    """
    return _search(box, obstacles, 0, [_STEPS]) if all(box) else None


def _search(
    box: Box,
    obstacles: collections.abc.Sequence[Box],
    at: int,
    steps: list[int],
) -> Box | None:
    for number in range(at, len(obstacles)):
        obstacle = obstacles[number]
        if not all(map(int.__and__, box, obstacle)):
            continue
        for field, values in enumerate(obstacle):
            remaining = box[field] & ~values
            if not remaining:
                continue
            steps[0] -= 1
            if steps[0] < 0:
                return ()
            smaller = (*box[:field], remaining, *box[field + 1 :])
            free = _search(smaller, obstacles, number + 1, steps)
            if free is not None:
                return free
        return None
    return box
