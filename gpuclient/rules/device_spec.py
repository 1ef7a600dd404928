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

"""Rules about ``[pci]device_spec``: mistakes that Nova accepts."""

import collections.abc
import dataclasses
import itertools

from gpuclient import exceptions
from gpuclient.model import configuration
from gpuclient.model import deployment
from gpuclient.model import device_sets
from gpuclient.model import device_spec
from gpuclient.model import naming
from gpuclient.model import quoting
from gpuclient.rules import device_spec_keys
from gpuclient.rules import finding


@dataclasses.dataclass(frozen=True)
class SpecEntry:
    """A device spec, its setting and the service that reads it."""

    spec: device_spec.DeviceSpec
    setting: configuration.Setting
    service: deployment.Process


def check(
    spec: device_spec.DeviceSpec,
) -> collections.abc.Iterator[finding.Finding]:
    """Yield what is wrong with an entry that Nova itself accepts."""
    if _matches_all(spec):
        yield finding.stricter(
            'GPU201',
            'The entry has no address, vendor_id or product_id: it matches '
            'every PCI device of the host, disks and network cards as well. '
            'Set one of them',
        )
    yield from _check_keys(spec)
    for key in spec.unstored_tags:
        yield finding.error(
            'GPU206',
            f'The value of {key!r} is not a string: nova-compute cannot store '
            f'the pool of the devices (ValueError), and no resource of the '
            f'host is updated. Write a string',
        )
    if device_sets.reached(spec, ()) is None:
        yield finding.error(
            'GPU215',
            'The entry can never match a device: no device has such an '
            'address or such IDs. Write regular expressions for addresses in '
            'lowercase, as in sysfs',
        )
    if spec.address is not None and spec.address.regex:
        for name, pattern in zip(
            ('domain', 'bus', 'slot', 'function'),
            spec.address.fields,
            strict=True,
        ):
            if pattern and pattern[-1] not in '$*' and pattern != '.*':
                yield finding.warning(
                    'GPU212',
                    f'The regular expression {quoting.word(pattern)!r} for '
                    f'{name} also matches longer values that begin with it. '
                    f'End it with $',
                )


def check_new(
    entry: collections.abc.Mapping[str, str],
) -> collections.abc.Iterator[finding.Finding]:
    """Find values that must not be written to a configuration file."""
    for key, value in entry.items():
        if not value.isprintable() or '$' in value:
            # oslo_config/cfg.py:ConfigOpts._substitute
            yield finding.stricter(
                'GPU202',
                f'{key} {quoting.word(value)!r} contains a control character, '
                f'or a $, which oslo.config reads as a reference to an '
                f'option. Remove it',
            )


def _matches_all(spec: device_spec.DeviceSpec) -> bool:
    return (
        spec.devname is None
        and spec.vendor_id == device_spec.ANY
        and spec.product_id == device_spec.ANY
        and spec.address is not None
        and set(spec.address.fields) <= {device_spec.ANY, '.*', ''}
    )


def _check_keys(
    spec: device_spec.DeviceSpec,
) -> collections.abc.Iterator[finding.Finding]:
    """Find keys that Nova keeps as tags.

    A tag with the name of a property of pools replaces it
    (``nova/pci/stats.py:PciDeviceStats._create_pool_keys_from_dev``).
    """
    for key in spec.unknown_keys:
        if key == 'dev_type':
            yield finding.warning(
                'GPU216',
                f'The tag dev_type {spec.tags[key]!r} replaces the device '
                f'type that libvirt reports: only aliases with this '
                f'device_type match the devices. Remove it unless that is '
                f'intended',
            )
            continue
        change = device_spec.key_change(key)
        if change is not None:
            product = spec.release.product
            yield finding.warning(
                'GPU211',
                f'Nova {spec.release.number} does not have the key {key!r} of '
                f'device_spec, and keeps it as a tag that does nothing; Nova '
                f'{change.versions} and later have it. '
                + (
                    f'Remove it, unless {product} has added it to its Nova'
                    if product
                    else 'Remove it'
                ),
            )
            continue
        yield finding.warning(
            'GPU211',
            f'Nova ignores the unknown key {quoting.word(key)!r} of '
            f'device_spec (it is kept as a tag)'
            f'{device_spec_keys.consequence(key, spec)}',
        )


#: Entries that another one is compared with, at most.
_MOST_COMPARED = 64


def check_order(
    entries: collections.abc.Sequence[SpecEntry],
) -> collections.abc.Iterator[finding.Located]:
    """Find the entries of a compute that are never the first to match.

    :param entries: All of them, in their order.
    """
    managed = [entry.spec for entry in entries if entry.spec.remote_managed]
    earlier = _Earlier()
    for entry in entries:
        near = earlier.near(entry.spec)
        others = shadowed(entry.spec, [other.spec for other in near], managed)
        earlier.add(entry)
        if others:
            places = dict.fromkeys(
                str(other.setting.place)
                for other in near
                if other.spec in others
            )
            yield finding.Located(never_reached(*places), entry.setting.place)


class _Earlier:
    """Entries in their order, by the addresses that they match.

    There may be tens of thousands, each for one address. An entry is compared
    with those for its own address, and with those for several addresses.
    """

    def __init__(self) -> None:
        self._by_address: dict[object, list[SpecEntry]] = {}
        self._known: set[object] = set()
        self._order: dict[int, int] = {}

    def add(self, entry: SpecEntry) -> None:
        spec = entry.spec
        place = self._place(spec)
        box = (place, spec.address, spec.vendor_id, spec.product_id)
        key = (*box, spec.remote_managed)
        same = self._by_address.setdefault(place, [])
        # An entry that matches the same as an earlier one adds nothing.
        if key in self._known or len(same) >= _MOST_COMPARED:
            return
        self._known.add(key)
        self._order[id(entry)] = len(self._order)
        same.append(entry)

    def near(self, spec: device_spec.DeviceSpec) -> list[SpecEntry]:
        """Return entries that could match devices of this one, in order."""
        place = self._place(spec)
        near = [
            *self._by_address.get(None, ()),
            *(self._by_address.get(place, ()) if place is not None else ()),
        ]
        if place is None:
            # Entries for one address each may cover all of its addresses.
            near += [
                entry
                for place, same in itertools.islice(
                    self._by_address.items(), _MOST_COMPARED
                )
                if place is not None
                for entry in same
            ][:_MOST_COMPARED]
        return sorted(near, key=lambda entry: self._order[id(entry)])

    @staticmethod
    def _place(spec: device_spec.DeviceSpec) -> object:
        """Return the address that an entry is for; None for several."""
        if spec.devname:
            # Nova accepts any JSON value, a list as well.
            return ('devname', repr(spec.devname))
        if spec.address is None or not spec.address.is_single:
            return None
        return str(spec.address)


def shadowed(
    spec: device_spec.DeviceSpec,
    earlier: collections.abc.Sequence[device_spec.DeviceSpec],
    all_specs: collections.abc.Sequence[device_spec.DeviceSpec] = (),
) -> tuple[device_spec.DeviceSpec, ...]:
    """Return the entries before this one that match all that it matches.

    Nova takes the first entry that matches a device
    (``nova/pci/whitelist.py:Whitelist.device_assignable``).

    :param all_specs: All entries of the compute.
    :returns: Empty if there may be a device that only this entry matches.
    """

    def is_reached(
        before: collections.abc.Sequence[device_spec.DeviceSpec],
    ) -> bool:
        return device_sets.reached(spec, before, all_specs) is not None

    if is_reached(earlier) or not is_reached(()):
        return ()
    for other in earlier:
        if not is_reached((other,)):
            return (other,)
    # Several cover it together: keep as few as are needed.
    needed = list(earlier)
    for other in earlier:
        rest = [spec for spec in needed if spec is not other]
        if not is_reached(rest):
            needed = rest
    return tuple(needed)


def never_reached(*places: str) -> finding.Finding:
    """Return the finding that other entries match first.

    :param places: Of these entries.
    """
    verb = 'matches' if len(places) == 1 else 'match'
    return finding.warning(
        'GPU213',
        f'The entry has no effect: {" and ".join(places)} {verb} all its '
        f'devices, and Nova uses the first entry that matches a device. Move '
        f'this entry before them, or remove it',
    )


def not_reported() -> finding.Finding:
    """Return the finding that the compute does not report to Placement."""
    return finding.warning(
        'GPU214',
        '[pci]report_in_placement is off: the compute host does not report '
        'the devices to Placement. Set it to True',
    )


def check_reporting(
    spec: device_spec.DeviceSpec,
) -> collections.abc.Iterator[finding.Finding]:
    """Find what stops a compute that reports to Placement.

    ``nova/compute/pci_placement_translator.py``, which is not used with
    ``[pci]report_in_placement`` off.
    """
    try:
        device_spec.check_devname(spec)
    except exceptions.InvalidDeviceSpec as exc:
        yield finding.not_started('GPU302', configuration.COMPUTE, str(exc))
    if not spec.in_placement:
        return
    try:
        spec.check_names()
    except exceptions.InvalidDeviceSpec as exc:
        yield finding.error(
            'GPU205',
            f'resource_class or traits is not a string: nova-compute cannot '
            f'report to Placement ({exc}), and servers that request the '
            f'devices are not scheduled. Write a string; commas separate '
            f'several traits',
        )
        return
    yield from _check_names(spec)


def _check_names(
    spec: device_spec.DeviceSpec,
) -> collections.abc.Iterator[finding.Finding]:
    name = spec.tags.get('resource_class')
    if name:
        normal = naming.resource_class(None, None, name)
        if not naming.is_resource_class(normal):
            yield _refused('GPU203', 'resource_class', name, normal)
    for name in str(spec.tags.get('traits') or '').split(','):
        (normal,) = naming.traits(name) or ('CUSTOM_',)
        if spec.tags.get('traits') and not naming.is_trait(normal):
            yield _refused('GPU204', 'trait', name, normal)


def _refused(code: str, kind: str, name: str, normal: str) -> finding.Finding:
    return finding.error(
        code,
        f'Nova changes {kind} {quoting.word(name)!r} to '
        f'{quoting.word(normal)!r}, which Placement refuses: the devices are '
        f'not reported, and servers that request them are not scheduled. Use '
        f'{naming.RULE}',
    )
