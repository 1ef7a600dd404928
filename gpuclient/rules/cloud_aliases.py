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

"""Rules about the aliases that flavors request, in a running cloud."""

import collections.abc

from gpuclient.model import alias as alias_model
from gpuclient.model import cloud_state
from gpuclient.model import inventory
from gpuclient.rules import cloud_check
from gpuclient.rules import flavor as flavor_rules


def check_nova_api(state: cloud_state.CloudState) -> cloud_check.Outcomes:
    """Find aliases that a nova-api does not know, or cannot parse."""
    answers = state.answers or {}
    known = [
        name
        for name, replies in answers.items()
        if any(reply.state == 'defined' for reply in replies)
    ]
    broken = next(
        (
            reply
            for replies in answers.values()
            for reply in replies
            if reply.state == 'broken'
        ),
        None,
    )
    if broken is not None:
        yield cloud_check.error(
            '',
            'GPU666',
            f'A nova-api cannot parse its aliases ({broken.explanation}): '
            f'every request for a server with a device fails. Correct '
            f'[pci]alias of nova-api, and restart it',
        )
    for name, replies in sorted(answers.items()):
        counts = {reply.state: reply for reply in replies}
        absent, defined = counts.get('not defined'), counts.get('defined')
        if absent is not None and defined is not None:
            yield cloud_check.error(
                name,
                'GPU665',
                f'Alias {name!r} is defined in some nova-api only: '
                f'{defined.count} of {defined.count + absent.count} requests '
                f'found it, the others got "{absent.explanation}". Give all '
                f'nova-api the same [pci]alias, and restart them',
            )
        elif absent is not None:
            yield cloud_check.CloudFinding(
                name,
                flavor_rules.undefined_alias(name, absent.explanation, known),
            )
        elif defined is None and 'broken' not in counts:
            yield cloud_check.Skipped(
                f'nova-api did not tell whether it knows the alias: '
                f'{replies[0].explanation}'
                if replies
                else 'nova-api was not asked',
                name,
            )


def check_devices(state: cloud_state.CloudState) -> cloud_check.Outcomes:
    """Find aliases that no PCI device in Placement matches."""
    if not state.devices:
        if state.requested_aliases:
            yield cloud_check.Skipped(
                'no host reports a PCI device to Placement'
            )
        return
    for name in state.requested_aliases:
        if name in state.refused_aliases:
            # nova-api refuses it first.
            continue
        definition = (state.aliases or {}).get(name)
        if definition is None or definition.placement_class is None:
            yield cloud_check.Skipped(
                'no API shows the definition of an alias, and no server has '
                'booted with it: pass the configuration of nova-api with '
                '--config',
                name,
            )
            continue
        devices = inventory.of_alias(state.devices, definition)
        if not devices:
            yield _without_devices(state, definition)
        elif name not in state.inferred:
            yield from _other_type(definition, devices)


def _without_devices(
    state: cloud_state.CloudState, alias: alias_model.Alias
) -> cloud_check.CloudFinding:
    name = alias.placement_class
    of_class = [
        device for device in state.devices if device.resource_class == name
    ]
    flavors = cloud_check.listed(
        flavor.name
        for flavor in state.device_flavors
        if (flavor.aliases or {}).get(alias.name)
    )
    follows = f'servers of flavor {flavors} are never scheduled'
    if of_class:
        missing = sorted(
            alias.placement_traits
            - set().union(*(device.traits for device in of_class))
        )
        lack = (
            f'have {cloud_check.listed(missing)}'
            if missing
            else f'have {" and ".join(sorted(alias.placement_traits))}'
        )
        return cloud_check.error(
            alias.name,
            'GPU667',
            f'Alias {alias.name!r} requires traits, but no device of class '
            f'{name} in Placement {lack.replace("have", "has", 1)}: '
            f'{follows}. Set the same traits in [pci]alias and '
            f'[pci]device_spec',
        )
    classes = cloud_check.listed(sorted(state.device_classes or ()), 6)
    return cloud_check.error(
        alias.name,
        'GPU667',
        f'Alias {alias.name!r} requests class {name}, but Placement has no '
        f'PCI device of this class (only of {classes}): {follows}. Set '
        f'[pci]report_in_placement = True on the compute nodes of these '
        f'devices, and make IDs and resource_class of [pci]alias and '
        f'[pci]device_spec agree',
    )


def _other_type(
    alias: alias_model.Alias,
    devices: collections.abc.Sequence[inventory.Device],
) -> cloud_check.Outcomes:
    """Find an alias for whole devices where all devices are VFs."""
    # A provider with several units has virtual functions
    # (nova/compute/pci_placement_translator.py).
    if alias.device_type in (None, 'type-VF') or not all(
        (device.total or 0) > 1 for device in devices
    ):
        return
    yield cloud_check.error(
        alias.name,
        'GPU668',
        f'Alias {alias.name!r} requests device_type {alias.device_type}, but '
        f'the devices of class {alias.placement_class} are virtual '
        f'functions: PciPassthroughFilter filters out every host. Set '
        f'"device_type": "type-VF" in [pci]alias of nova-api and '
        f'nova-compute',
    )
