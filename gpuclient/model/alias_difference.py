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

"""What follows where nova-api and nova-compute define an alias differently.

Placement and nova-scheduler select a host by the definition of nova-api. When
a server moves, nova-compute of the destination translates the alias with its
own, and claims devices that match this (``nova/compute/resource_tracker.py:
ResourceTracker._move_claim``).
"""

import collections.abc
import dataclasses

from gpuclient.model import alias as alias_model
from gpuclient.model import inventory
from gpuclient.model import passthrough_filter

_Alternatives = collections.abc.Sequence[alias_model.Alias]
_UNKNOWN = passthrough_filter.DeviceFacts()


def differ(first: _Alternatives, second: _Alternatives) -> bool:
    """Return whether two services define an alias differently."""
    return {alias.meaning for alias in first} != {
        alias.meaning for alias in second
    }


def loses_devices(
    devices: collections.abc.Collection[inventory.Device],
    facts: collections.abc.Mapping[str, passthrough_filter.DeviceFacts],
    of_api: _Alternatives,
    of_compute: _Alternatives,
    count: int,
) -> bool:
    """Return whether the difference leaves a host too few free devices.

    :param facts: By the id of the provider of the device.
    :param count: The number of devices that are requested.
    """
    return (
        differ(of_api, of_compute)
        and _usable(devices, facts, of_api, of_api) >= count
        and _usable(devices, facts, of_api, of_compute) < count
    )


def _usable(
    devices: collections.abc.Iterable[inventory.Device],
    facts: collections.abc.Mapping[str, passthrough_filter.DeviceFacts],
    of_api: _Alternatives,
    of_compute: _Alternatives,
) -> int:
    """Return how many free devices nova-compute may claim at most.

    What is not known of a device of the class that nova-api requests is as
    nova-api requests it: nova-scheduler selects no other host.
    """
    total = 0
    for device in devices:
        known = facts.get(device.uuid, _UNKNOWN)
        if any(
            _may_match(known, alias, mine)
            for alias in _requesting(device, of_api)
            for mine in of_compute
        ):
            total += device.free or 0
    return total


def _requesting(
    device: inventory.Device, of_api: _Alternatives
) -> collections.abc.Iterable[alias_model.Alias | None]:
    """Return the definitions of nova-api that request a device, or None."""
    return [
        alias
        for alias in of_api
        if alias.placement_class == device.resource_class
    ] or (None,)


def _may_match(
    known: passthrough_filter.DeviceFacts,
    of_api: alias_model.Alias | None,
    of_compute: alias_model.Alias,
) -> bool:
    if of_api is not None:
        if (
            known.device_type is None
            and of_api.device_type is None
            and of_compute.device_type == 'type-PF'
        ):
            # Without a type, an alias requests no physical function.
            return False
        known = _as_requested(known, of_api)
    return not passthrough_filter.mismatch(of_compute, known)


def _as_requested(
    known: passthrough_filter.DeviceFacts, alias: alias_model.Alias
) -> passthrough_filter.DeviceFacts:
    ids = known.ids
    if ids is None and alias.vendor_id and alias.product_id:
        ids = (alias.vendor_id.lower(), alias.product_id.lower())
    migratable, not_migratable = known.live_migratable, known.not_migratable
    if alias.live_migratable is not None and migratable is None:
        migratable = alias.live_migratable
        not_migratable = not alias.live_migratable
    return dataclasses.replace(
        known,
        ids=ids,
        device_type=known.device_type or alias.device_type,
        live_migratable=migratable,
        not_migratable=not_migratable,
    )


def described(alternatives: _Alternatives) -> str:
    """Return what an alias matches: ``10de:20f1 type-PF``."""
    return ' or '.join(map(_described, alternatives))


def _described(alias: alias_model.Alias) -> str:
    vendor, product = alias.vendor_id or '*', alias.product_id or '*'
    text = f'{vendor}:{product} {alias.device_type or "without device_type"}'
    if alias.live_migratable is not None:
        text += f' live_migratable={str(alias.live_migratable).lower()}'
    return text
