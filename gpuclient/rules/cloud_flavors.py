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

"""Rules about the flavors of a cloud that request devices."""

from gpuclient.model import capacity
from gpuclient.model import cloud_state
from gpuclient.model import extra_specs
from gpuclient.model import flavor as flavor_model
from gpuclient.model import nova_changes
from gpuclient.rules import cloud_check
from gpuclient.rules import flavor as flavor_rules


def check(state: cloud_state.CloudState) -> cloud_check.Outcomes:
    """Find extra specs that Nova stores, but cannot schedule or boot."""
    for flavor in state.device_flavors:
        for problem in flavor_rules.check(
            flavor, state.device_classes, state.release
        ):
            yield cloud_check.CloudFinding(flavor.name, problem)
        yield from _traits(state, flavor)


def _traits(
    state: cloud_state.CloudState, flavor: flavor_model.Flavor
) -> cloud_check.Outcomes:
    """Find required traits that no host with devices has.

    Only where all resources are those of compute nodes and devices: a trait
    of another provider, such as shared storage, is not known.
    """
    specs = flavor.extra_specs or {}
    hosts = state.hosts or ()
    other = set(flavor_model.requested_classes(specs).values()) - set(
        state.device_classes or ()
    )
    if not hosts or other or any(map(_shares_storage, hosts)):
        return
    known: set[str] = set()
    for host in hosts:
        known.update(host.node.traits)
        for device in host.devices:
            known.update(device.traits)
    for key, value in sorted(specs.items()):
        match = flavor_model.GROUP_KEY.fullmatch(key)
        if (
            match is not None
            and match['kind'] == 'trait'
            and not match['suffix']
            and value == 'required'
            and match['name'] not in known
        ):
            yield cloud_check.warning(
                flavor.name,
                'GPU678',
                f'Flavor {flavor.name!r} requires trait {match["name"]}, '
                f'which no host with devices has: its servers get no host. '
                f'Add it to a compute node with "openstack resource provider '
                f'trait set", which replaces the traits that are not named, '
                f'or unset {key}',
            )


def _shares_storage(host: capacity.HostCapacity) -> bool:
    return host.node.resource('DISK_GB') is None


def check_validation(state: cloud_state.CloudState) -> cloud_check.Outcomes:
    """Find extra specs that microversion 2.86 refuses."""
    for flavor in state.device_flavors:
        for name, value in sorted((flavor.extra_specs or {}).items()):
            if name in flavor_model.UNVALIDATED or name.startswith(
                'pci_passthrough:'
            ):
                # The first have to be set with an older microversion; there
                # are other findings about the second.
                continue
            reason = extra_specs.refusal(name, value)
            if reason:
                yield cloud_check.warning(
                    flavor.name,
                    'GPU760',
                    f'Microversion 2.86 refuses {name} of flavor '
                    f'{flavor.name!r}: {reason}. Older microversions have '
                    f'stored it, and the flavor cannot be created again with '
                    f'it. Correct it with "openstack gpu flavor set '
                    f'--property", or unset it',
                )


def check_access(state: cloud_state.CloudState) -> cloud_check.Outcomes:
    """Find flavors with which every project can use devices."""
    for flavor in state.device_flavors:
        if flavor.is_public and any((flavor.aliases or {}).values()):
            reason = _unlimited(state, flavor)
            if reason:
                yield cloud_check.warning(
                    flavor.name,
                    'GPU761',
                    f'Flavor {flavor.name!r} is public, and {reason}: every '
                    f'project can use all of its devices. Create a private '
                    f'flavor and give projects access to it',
                )


def _unlimited(
    state: cloud_state.CloudState, flavor: flavor_model.Flavor
) -> str:
    """Return why limits do not apply to a flavor; empty if they may."""
    limits = state.limits
    if limits is None:
        return ''
    if not limits.are_in_use:
        return 'there is no unified limit on devices'
    if not state.release.has(nova_changes.LIMITS_COUNT_ALIASES):
        return (
            f'unified limits of Nova {state.release.number} do not count '
            f'devices that flavors request by alias'
        )
    for name, count in (flavor.aliases or {}).items():
        resource_class = state.class_of(name)
        if (
            count
            and resource_class is not None
            and limits.default_of(resource_class) in (None, -1)
        ):
            return f'class {resource_class} has no limit'
    return ''
