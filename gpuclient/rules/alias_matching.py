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

"""Rules about which [pci]device_spec matches which [pci]alias."""

import collections.abc
import dataclasses

from gpuclient.model import alias as alias_model
from gpuclient.model import deployment
from gpuclient.model import device_sets
from gpuclient.model import device_spec
from gpuclient.rules import alias as alias_rules
from gpuclient.rules import device_spec as device_spec_rules
from gpuclient.rules import finding

_Requirement = device_sets.Requirement
#: What alone may keep devices from an alias, in the order of reports.
_REASONS = (
    _Requirement.ADDRESS,
    _Requirement.MIGRATION,
    _Requirement.REMOTE,
    _Requirement.NETWORK,
    _Requirement.TRAITS,
    _Requirement.CLASS,
    _Requirement.TYPE,
)


def check(
    aliases: collections.abc.Sequence[alias_rules.AliasEntry],
    specs: collections.abc.Sequence[device_spec_rules.SpecEntry],
    services: collections.abc.Sequence[deployment.Process],
) -> collections.abc.Iterator[finding.Located]:
    """Find aliases that no device can match, on any host.

    GPU307 and GPU902 follow ``nova/pci/stats.py:PciDeviceStats.
    _filter_pools`` and, with pci_in_placement,
    ``nova/objects/request_spec.py:RequestSpec.
    generate_request_groups_from_pci_requests``; GPU122 follows
    ``nova/pci/utils.py:pci_device_prop_match``.

    :param services: The services with these aliases and specs.
    """
    tagged = any(_has_capability(entry.spec) for entry in specs)
    computes = _by_compute(specs)
    in_placement = _in_placement(services)
    for entry in aliases:
        if (
            True in in_placement
            and entry.alias.resource_class is None
            and not entry.alias.has_ids
        ):
            # GPU123, or GPU301: it requests a resource class of no device.
            continue
        alternatives = _alternatives(entry, aliases)
        plain = [
            alias
            for alias in alternatives
            if tagged or alias.capability_type is None
        ]
        # Aliases with the same name are alternatives: one match is enough.
        if (plain and not computes) or any(
            _serving(alias, computes, value) is not None
            for alias in plain
            for value in in_placement
        ):
            continue
        if entry.alias.capability_type is not None and not tagged:
            for problem in alias_rules.check_capability(entry.alias):
                yield finding.Located(problem, entry.setting.place)
        elif computes:
            yield finding.Located(
                _unserved(entry.alias, computes, in_placement[0]),
                entry.setting.place,
            )


def names_devices(
    entry: device_spec_rules.SpecEntry,
    alias: alias_model.Alias,
    services: collections.abc.Sequence[deployment.Process],
) -> bool:
    """Return whether an entry is for devices of an alias, as it says itself.

    An entry with an address alone may match any device.

    :param services: Those of its deployment.
    """
    spec = entry.spec
    if device_spec.ANY in (spec.vendor_id, spec.product_id) and not (
        spec.tags.get('resource_class') and alias.resource_class
    ):
        return False
    return any(
        _serving(alias, [[entry]], value) is not None
        for value in _in_placement(services)
    )


def _alternatives(
    entry: alias_rules.AliasEntry,
    aliases: collections.abc.Iterable[alias_rules.AliasEntry],
) -> list[alias_model.Alias]:
    """Return the aliases of a service with the name of an alias."""
    return [
        other.alias
        for other in aliases
        if other.service is entry.service
        and other.alias.name == entry.alias.name
    ]


def _has_capability(spec: device_spec.DeviceSpec) -> bool:
    return str(spec.tags.get('capability_type')).lower() == 'pci'


def _by_compute(
    specs: collections.abc.Iterable[device_spec_rules.SpecEntry],
) -> list[list[device_spec_rules.SpecEntry]]:
    """Return the entries of each compute, in their order."""
    by_compute: dict[int, list[device_spec_rules.SpecEntry]] = {}
    for entry in specs:
        by_compute.setdefault(id(entry.service), []).append(entry)
    return list(by_compute.values())


def _in_placement(
    services: collections.abc.Iterable[deployment.Process],
) -> tuple[bool, ...]:
    """Return the possible values of ``[filter_scheduler]pci_in_placement``.

    nova-api, nova-scheduler and nova-conductor use it; a compute reads it only
    to validate aliases.
    """
    services = tuple(services)
    deciding = [
        service for service in services if service.is_control_plane
    ] or [
        service for service in services if service.pci_in_placement is not None
    ]
    if not deciding or any(
        service.is_open('filter_scheduler', 'pci_in_placement')
        for service in services
    ):
        return False, True
    return tuple(
        sorted({bool(service.pci_in_placement) for service in deciding})
    )


def _serving(
    alias: alias_model.Alias,
    computes: collections.abc.Iterable[
        collections.abc.Sequence[device_spec_rules.SpecEntry]
    ],
    in_placement: bool,
    without: str | None = None,
) -> device_spec_rules.SpecEntry | None:
    """Return an entry whose devices may match an alias."""
    for entries in computes:
        served = device_sets.serves(
            [entry.spec for entry in entries],
            alias,
            in_placement=in_placement,
            without=without,
        )
        if served is not None:
            return next(
                entry for entry in entries if entry.spec is served.spec
            )
    return None


def _unserved(
    alias: alias_model.Alias,
    computes: list[list[device_spec_rules.SpecEntry]],
    in_placement: bool,
) -> finding.Finding:
    """Return the finding that no device matches an alias, and why."""
    for reason in _REASONS:
        entry = _serving(alias, computes, in_placement, reason)
        if entry is None:
            continue
        if reason == _Requirement.MIGRATION:
            return _not_migratable(alias, entry)
        return _no_devices(alias, f': {_why(reason, alias, entry)}')
    swapped = dataclasses.replace(
        alias, vendor_id=alias.product_id, product_id=alias.vendor_id
    )
    hint = ''.join(
        f'; vendor_id and product_id are swapped in {entry.setting.place}'
        for entries in computes
        for entry in entries
        if device_spec.ANY not in (entry.spec.vendor_id, entry.spec.product_id)
        and device_sets.serves([entry.spec], swapped, in_placement=False)
    )
    return _no_devices(
        alias,
        f'{hint}. Add a device_spec for these devices on a compute host, or '
        f'correct the alias',
    )


def _no_devices(alias: alias_model.Alias, rest: str) -> finding.Finding:
    wanted = (
        f'{alias.vendor_id}:{alias.product_id}'
        if alias.has_ids and not alias.resource_class
        else alias.placement_class or 'without IDs and resource class'
    )
    return finding.error(
        'GPU307',
        f'No [pci]device_spec matches alias {alias.name!r} ({wanted}): '
        f'servers that request it are not scheduled{rest}',
    )


def _not_migratable(
    alias: alias_model.Alias, entry: device_spec_rules.SpecEntry
) -> finding.Finding:
    value = 'yes' if alias.live_migratable else 'no'
    return finding.error(
        'GPU902',
        f'Alias {alias.name!r} has live_migratable = {value}, but no '
        f'device_spec that matches its devices has the same value '
        f'({entry.setting.place}): servers that request it are not '
        f'scheduled. Set the same value in both, or remove it from the alias',
    )


def _why(
    reason: str, alias: alias_model.Alias, entry: device_spec_rules.SpecEntry
) -> str:
    """Return why the devices of an entry do not match an alias."""
    place, tags = entry.setting.place, entry.spec.tags
    if reason == _Requirement.REMOTE:
        return (
            f'{place} matches them with remote_managed, and such devices '
            f'are for Neutron ports only. Remove remote_managed'
        )
    if reason == _Requirement.NETWORK:
        return (
            f'{place} matches them with physical_network, and such devices '
            f'are not reported to Placement. Remove physical_network, or '
            f'request the device with a port'
        )
    if reason == _Requirement.TRAITS:
        return (
            f'the traits {", ".join(sorted(alias.placement_traits))} are '
            f'not those of {place}. Set the same traits in both'
        )
    if reason == _Requirement.CLASS:
        resource_class = tags.get('resource_class')
        return (
            f'the alias requests resource class {alias.placement_class}, and '
            f'{place} has '
            f'{resource_class or "none, so that Nova uses the IDs"}. '
            f'Set the same resource_class in both'
        )
    if reason == _Requirement.TYPE:
        return (
            f'{place} has the tag dev_type {tags.get("dev_type")!r}, which '
            f'replaces the device type. Remove the tag'
        )
    return (
        f'other entries before {place} match all of them. Move that entry '
        f'first'
    )
