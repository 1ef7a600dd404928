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

"""What PciPassthroughFilter matches beside the class and traits of devices.

Placement does not show the device type, the IDs and ``live_migratable`` of a
device. Some of it is known from other facts: from the inventory of VFs, from
the default name of the class, from a trait, from a host bundle, from
``[pci]device_spec`` of the host. What is not known is not counted against a
host (``nova/pci/stats.py:PciDeviceStats._filter_pools``).
"""

import dataclasses
import re

from gpuclient.model import alias as alias_model
from gpuclient.model import device_spec
from gpuclient.model import host as host_model
from gpuclient.model import inventory
from gpuclient.model import nova_changes
from gpuclient.model import release as release_model

_MIGRATABLE = 'HW_PCI_LIVE_MIGRATABLE'
_DEFAULT_CLASS = re.compile('CUSTOM_PCI_([0-9A-F]{4})_([0-9A-F]{4})')


@dataclasses.dataclass(frozen=True)
class DeviceFacts:
    """What is known of a device besides its inventory; None: nothing."""

    #: Vendor and product, lower case.
    ids: tuple[str, str] | None = None
    device_type: str | None = None
    #: Whether ``live_migratable`` of its device_spec is true.
    live_migratable: bool | None = None
    #: Whether it is false, not unset; Nova distinguishes them.
    not_migratable: bool | None = None


def facts_of(
    device: inventory.Device,
    release: release_model.Release,
    *,
    hardware: host_model.Host | None = None,
    specs: tuple[device_spec.DeviceSpec, ...] | None = None,
) -> DeviceFacts:
    """Return what is known of a device.

    :param hardware: Its host, from a bundle.
    :param specs: ``[pci]device_spec`` of its host; None where not known.
    """
    has_vfs = (device.total or 0) > 1
    known = _hardware(device, hardware, has_vfs)
    ids: tuple[str, str] | None = None
    if known is not None:
        ids = (known.vendor_id, known.product_id)
    elif match := _DEFAULT_CLASS.fullmatch(device.resource_class or ''):
        ids = (match[1].lower(), match[2].lower())
    kind = known.device_type if known else 'type-VF' if has_vfs else None
    migratable = not_migratable = None
    if _MIGRATABLE in device.traits:
        migratable, not_migratable = True, False
    elif release.has(nova_changes.TRAIT_LIVE_MIGRATABLE) and release.knows(
        nova_changes.TRAIT_LIVE_MIGRATABLE
    ):
        migratable = False
    spec = _spec(device, known, ids, specs)
    if spec is not None:
        value = spec.tags.get('live_migratable')
        migratable, not_migratable = value == 'true', value == 'false'
        kind = spec.tags.get('dev_type', kind)
    return DeviceFacts(ids, kind, migratable, not_migratable)


def _hardware(
    device: inventory.Device,
    hardware: host_model.Host | None,
    has_vfs: bool,
) -> device_spec.HostDevice | None:
    """Return the device of a host that Nova assigns."""
    if hardware is None or device.address is None:
        return None
    for known in hardware.devices:
        at = known.physical_function if has_vfs else known.address
        if at is not None and str(at) == device.address:
            return known.for_nova
    return None


def _spec(
    device: inventory.Device,
    known: device_spec.HostDevice | None,
    ids: tuple[str, str] | None,
    specs: tuple[device_spec.DeviceSpec, ...] | None,
) -> device_spec.DeviceSpec | None:
    """Return the entry of the host in effect for a device, if it is known."""
    if specs is None or device.address is None:
        return None
    if known is None:
        if ids is None or (device.total or 0) > 1:
            # An entry of the PF also matches its VFs.
            return specs[0] if len(specs) == 1 else None
        known = device_spec.HostDevice(device.address, *ids)
    return device_spec.first_match(specs, known)


def mismatch(alias: alias_model.Alias, facts: DeviceFacts) -> str:
    """Return why the filter drops a device; empty if it does not.

    Or if it is not known whether it does.
    """
    if facts.ids is not None:
        for requested, actual, name in zip(
            (alias.vendor_id, alias.product_id),
            facts.ids,
            ('vendor', 'product'),
            strict=True,
        ):
            if requested is not None and requested.lower() != actual:
                return f'{name} {actual}, not {requested.lower()}'
    if facts.device_type is not None:
        if alias.device_type is None:
            if facts.device_type == 'type-PF':
                return 'type-PF, which the alias does not request'
        elif alias.device_type != facts.device_type:
            return f'{facts.device_type}, not {alias.device_type}'
    if alias.live_migratable is True and facts.live_migratable is False:
        return 'not live migratable'
    if alias.live_migratable is False and (
        facts.live_migratable is True or facts.not_migratable is False
    ):
        return 'not live_migratable = false'
    return ''


def unknown(alias: alias_model.Alias, facts: DeviceFacts) -> tuple[str, ...]:
    """Return what the filter matches that is not known of a device."""
    names = []
    if facts.device_type is None:
        names.append('device type')
    if facts.ids is None and alias.vendor_id is not None:
        names.append('IDs')
    if alias.live_migratable is True and facts.live_migratable is None:
        names.append('live_migratable')
    if alias.live_migratable is False and facts.not_migratable is None:
        names.append('live_migratable')
    return tuple(names)
