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

"""What an upgrade of Nova changes for a running cloud."""

import collections
import collections.abc
import itertools

from gpuclient.model import cloud_state
from gpuclient.model import deployment
from gpuclient.model import expectation
from gpuclient.model import limits as limits_model
from gpuclient.model import nova_changes
from gpuclient.model import release as release_model
from gpuclient.model import service_versions
from gpuclient.rules import cloud_check
from gpuclient.rules import cloud_tracking
from gpuclient.rules import finding
from gpuclient.rules import upgrade

_Effects = collections.abc.Iterator[upgrade.UpgradeEffect]
_State = cloud_state.CloudState
_Release = release_model.Release
#: ``nova/compute/resource_tracker.py``
_OWNER = 'OWNER_NOVA'
#: The first releases of traits of a compute node (``nova/virt/driver.py:
#: CAPABILITY_TRAITS_MAP``, ``nova/virt/libvirt/driver.py``). Whether it has
#: them depends on its libvirt, too.
_FIRST_WITH_TRAIT = {
    'COMPUTE_ADDRESS_SPACE_EMULATED': 28,
    'COMPUTE_ADDRESS_SPACE_PASSTHROUGH': 28,
    'COMPUTE_SECURITY_STATELESS_FIRMWARE': 30,
    'COMPUTE_MEM_BACKING_FILE': 31,
    'COMPUTE_STORAGE_VIRTIO_FS': 31,
    'COMPUTE_SOUND_MODEL_ICH9': 32,
    'COMPUTE_SECURITY_TPM_SECRET_SECURITY_USER': 33,
    'COMPUTE_SECURITY_TPM_SECRET_SECURITY_HOST': 33,
    'COMPUTE_SECURITY_TPM_SECRET_SECURITY_DEPLOYMENT': 33,
    _OWNER: 34,
}
#: Devices of a class on a host, and in a request, with which combinations are
#: too many (``placement/conf/workarounds.py``).
_MANY_DEVICES, _MANY_REQUESTED = 8, 4


def check(
    state: _State,
    releases: collections.abc.Collection[_Release],
    tree: deployment.Deployment,
    steps: collections.abc.Sequence[_Release],
) -> _Effects:
    """Yield the effects on the services, devices and projects of a cloud.

    :param releases: Those that the control plane may be of, by its newest
        microversion; empty if unknown.
    :param tree: The configuration; empty if it is not known.
    """
    yield from _later_computes(state, releases, steps)
    if state.hosts is not None:
        yield from _unreported(state, steps)
    yield from _dead_computes(state, steps)
    for before, after in itertools.pairwise(steps):
        if _has_since(nova_changes.OWNER_NOVA, before, after):
            yield from _owner(state, after)
        if _has_since(nova_changes.LIMITS_COUNT_ALIASES, before, after):
            yield from _limits(state, tree, after)
        if _has_since(nova_changes.OVER_CAPACITY_CHANGES, before, after):
            yield from _over_capacity(state, before, after)
        yield from _wide_trees(state, before, after)


def _has_since(
    change: nova_changes.NovaChange, before: _Release, after: _Release
) -> bool:
    return after.has(change) and not before.has(change)


# -- compute services --------------------------------------------------------


def _dead_computes(
    state: _State, steps: collections.abc.Sequence[_Release]
) -> _Effects:
    """Yield records of nova-compute that keep later releases from starting.

    ``nova/utils.py:raise_if_old_compute``
    """
    dead = [
        service
        for service in state.computes or ()
        if not service.up and not service.forced_down
    ]
    if not dead:
        return
    hosts = cloud_check.listed(service.host for service in dead)
    remedy = (
        'Upgrade it with the other hosts, or delete it: openstack compute '
        'service delete'
    )
    for before, after in itertools.pairwise(steps):
        message = service_versions.refusal(steps[0], after)
        if message is not None:
            yield upgrade.UpgradeEffect(
                upgrade.Effect.BREAKS,
                after,
                'GPU903',
                f'nova-compute on {hosts} is down and is not forced down. If '
                f'it is not upgraded to {before.series} first, nova-api, '
                f'nova-conductor and nova-scheduler of {after.series} do not '
                f'start: {message}. {remedy}',
            )
            return
    seen = min(service.seen or 'never' for service in dead)
    for before, after in itertools.pairwise(steps):
        if service_versions.accepts_fewer(before, after):
            yield upgrade.UpgradeEffect(
                upgrade.Effect.CHECK,
                after,
                'GPU903',
                f'nova-compute on {hosts} is down and is not forced down '
                f'(last seen: {seen.partition(".")[0]}). If it ran a release '
                f'before {before.series} then, nova-api, nova-conductor and '
                f'nova-scheduler of {after.series} do not start '
                f'(TooOldComputeService; "nova-status upgrade check" tells). '
                f'{remedy}',
            )
            return


def _later_computes(
    state: _State,
    releases: collections.abc.Collection[_Release],
    steps: collections.abc.Sequence[_Release],
) -> _Effects:
    """Yield hosts whose nova-compute is later than the control plane."""
    if not releases or steps[0].product:
        # A product may report traits of later releases.
        return
    newest = max(releases)
    later: dict[tuple[int, str], list[str]] = collections.defaultdict(list)
    for host in state.hosts or ():
        first, trait = max(
            (_FIRST_WITH_TRAIT.get(name, 0), name)
            for name in ('', *host.node.traits)
        )
        if first > newest.number:
            later[first, trait].append(host.node.name)
    for (first, trait), hosts in sorted(later.items()):
        yield upgrade.UpgradeEffect(
            upgrade.Effect.CHECK,
            steps[1],
            'GPU904',
            f'{cloud_check.listed(hosts)} has the trait {trait} in '
            f'Placement, which nova-compute reports since Nova {first}: it '
            f'runs a later release than the control plane ({newest.series}). '
            f'Upgrade the control plane before the compute hosts; what begins '
            f'with Nova {first} on compute hosts is in effect there already',
        )


def _owner(state: _State, after: _Release) -> _Effects:
    """Yield services that matter for when OWNER_NOVA is required.

    ``nova/scheduler/request_filter.py:owner_nova_filter``
    """
    for service in state.computes or ():
        if service.up:
            continue
        if not service.forced_down:
            yield upgrade.UpgradeEffect(
                upgrade.Effect.CHECK,
                after,
                nova_changes.OWNER_NOVA.id,
                f'nova-compute on {service.host} is down and is not forced '
                f'down: until it runs Nova {after.number} or is deleted, '
                f'nova-scheduler does not require the trait {_OWNER}, and '
                f'servers can get devices of other owners, such as Cyborg. '
                f'Start it, or delete it: openstack compute service delete',
            )
            continue
        without = _without_owner(state, service.host)
        if without:
            yield upgrade.UpgradeEffect(
                upgrade.Effect.CHECK,
                after,
                nova_changes.OWNER_NOVA.id,
                f'nova-compute on {service.host} is forced down, so '
                f'nova-scheduler requires the trait {_OWNER} without waiting '
                f'for it, and {without} of its resource providers do not have '
                f'the trait: the host gets no servers until nova-compute of '
                f'Nova {after.number} has reported it. Start it with Nova '
                f'{after.number} before you unset forced down, or delete it',
            )


def _without_owner(state: _State, service_host: str) -> int:
    """Return how many providers of a host lack the trait."""
    hosts = [
        host
        for host in state.hosts or ()
        if service_host == host.service_host
        or expectation.is_host(service_host, host.node.name)
    ]
    traits = [
        *(host.node.traits for host in hosts),
        *(device.traits for host in hosts for device in host.devices),
    ]
    # Those that were not read have none.
    return sum(_OWNER not in names for names in traits if names)


# -- limits ------------------------------------------------------------------


def _limits(
    state: _State, tree: deployment.Deployment, after: _Release
) -> _Effects:
    """Yield projects and classes whose limits are in effect at last.

    ``nova/limit/placement.py:enforce_num_instances_and_resources``
    """
    if state.limits is None or state.limits.unused or state.hosts is None:
        return
    use = upgrade.UseOfLimits.of(tree)
    if use.is_off or not (use.is_on or state.limits.are_in_use):
        return
    condition = (
        ''
        if use.is_on
        else 'If nova-api uses unified limits with pci_in_placement: '
    )
    for breaks, message in itertools.chain(
        _over_limit(state, state.limits, after),
        _without_limit(state, state.limits, use, after),
    ):
        yield upgrade.UpgradeEffect(
            upgrade.Effect.BREAKS
            if breaks and use.is_on
            else upgrade.Effect.CHECK,
            after,
            nova_changes.LIMITS_COUNT_ALIASES.id,
            condition + message,
        )


#: Whether servers cannot be created, and the message.
_Messages = collections.abc.Iterator[tuple[bool, str]]


def _over_limit(
    state: _State, limits: limits_model.UnifiedLimits, after: _Release
) -> _Messages:
    """Yield projects that use more than their limit."""
    for (project_id, name), used in sorted(_usage(state).items()):
        resource = limits_model.limit_name(name)
        limit = limits.of(project_id, name)
        is_known = limit is not None
        if limit is None:
            limit = limits.default_of(name)
        if limit is None or not 0 <= limit < used:
            continue
        uses = (
            f'Project {state.project_name(project_id)!r} uses {used} of '
            f'{resource}, and '
        )
        follows = (
            f'Nova {after.number} counts devices of aliases: the project can '
            f'create no more servers with them (HTTP 403). Before the '
            f'upgrade, raise its limit to {used} or more, with "openstack '
            f'limit create" or "openstack limit set"'
        )
        if is_known:
            yield True, f'{uses}its limit is {limit}. {follows}'
        else:
            yield (
                False,
                f'{uses}the default limit is {limit}; whether the project has '
                f'one of its own is not known, as Keystone before 2026.1 '
                f'shows it to tokens for the system only (OS_SYSTEM_SCOPE='
                f'all). If it has none: {follows}',
            )


def _usage(state: _State) -> dict[tuple[str, str], int]:
    """Return the units in Placement, by project and resource class."""
    units: collections.Counter[tuple[str, str]] = collections.Counter()
    for device in state.devices:
        for consumer in device.consumers or ():
            if consumer.project_id and device.resource_class:
                units[consumer.project_id, device.resource_class] += (
                    consumer.amount
                )
    return dict(units)


def _without_limit(
    state: _State,
    limits: limits_model.UnifiedLimits,
    use: upgrade.UseOfLimits,
    after: _Release,
) -> _Messages:
    """Yield resource classes that have no registered limit.

    ``nova/limit/utils.py:should_enforce``
    """
    missing = set(
        map(limits_model.limit_name, state.device_classes or ())
    ) - set(limits.registered)
    refused = set(filter(use.refuses_without_limit, missing))
    for names, follows in (
        (
            refused,
            'their limit is 0 then, and servers with these devices cannot be '
            'created (HTTP 403), because '
            '[quota]unified_limits_resource_strategy and '
            'unified_limits_resource_list require a limit',
        ),
        (
            missing - refused,
            'projects can use all of these devices, as before',
        ),
    ):
        if names:
            yield (
                names == refused,
                f'Nova {after.number} counts devices of aliases, and these '
                f'have no registered limit: '
                f'{cloud_check.listed(sorted(names), 20)}'
                f'{_elsewhere(names & limits.elsewhere)}: {follows}. For '
                f'each, "openstack registered limit create --service nova '
                f'--region <region> --default-limit 0 <name>"',
            )


def _elsewhere(names: set[str]) -> str:
    """Return that limits exist which Nova does not read."""
    if not names:
        return ''
    return (
        f' ({cloud_check.listed(sorted(names), 20)} only for no region, or '
        f'for another region or service, which Nova does not read)'
    )


# -- Placement ---------------------------------------------------------------


def _unreported(
    state: _State, steps: collections.abc.Sequence[_Release]
) -> _Effects:
    """Yield hosts that get no servers with pci_in_placement."""
    before, after = steps[0], steps[1]
    begins = not before.has(nova_changes.PCI_IN_PLACEMENT)
    for outcome in cloud_tracking.check(state):
        if not isinstance(outcome, cloud_check.CloudFinding):
            continue
        is_error = outcome.finding.severity is finding.Severity.ERROR
        if not outcome.object and not is_error:
            # Placement may not be used for devices at all.
            continue
        yield upgrade.UpgradeEffect(
            upgrade.Effect.BREAKS
            if begins and is_error
            else upgrade.Effect.CHECK,
            after,
            outcome.finding.code,
            outcome.finding.message,
        )


def _over_capacity(
    state: _State, before: _Release, after: _Release
) -> _Effects:
    """Yield devices that are in use and reserved.

    ``placement/objects/allocation.py:_check_capacity_exceeded``
    """
    devices = [
        device
        for device in state.devices or ()
        if device.used
        and device.total is not None
        and device.reserved is not None
        and device.used > device.total - device.reserved
    ]
    if devices:
        listed = cloud_check.listed(
            f'{device.address or device.name} on {device.host}'
            for device in devices
        )
        yield upgrade.UpgradeEffect(
            upgrade.Effect.POSSIBLE,
            after,
            nova_changes.OVER_CAPACITY_CHANGES.id,
            f'{listed} is in use and reserved. Placement of {before.series} '
            f'returns HTTP 409 for each change of the allocations of its '
            f'server, such as a resize or migration, and that of '
            f'{after.series} does not. To move the server before the upgrade, '
            f'set reserved to 0',
        )


def _wide_trees(state: _State, before: _Release, after: _Release) -> _Effects:
    """Yield an option of Placement for flavors with many devices."""
    if not state.flavors or not state.devices:
        return
    devices = collections.Counter(
        (device.host, device.resource_class) for device in state.devices
    )
    if max(devices.values()) < _MANY_DEVICES:
        return
    flavors = [
        flavor.name
        for flavor in state.flavors
        if max((flavor.aliases or {'': 0}).values(), default=0)
        > _MANY_REQUESTED
    ]
    if not flavors:
        return
    names = cloud_check.listed(flavors)
    for change, option in (
        (
            nova_changes.CANDIDATES_BOUNDED,
            '[placement]max_allocation_candidates and '
            'allocation_candidates_generation_strategy = breadth-first',
        ),
        (
            nova_changes.WIDE_TREES,
            '[workarounds]optimize_for_wide_provider_trees = True',
        ),
    ):
        if _has_since(change, before, after):
            yield upgrade.UpgradeEffect(
                upgrade.Effect.POSSIBLE,
                after,
                change.id,
                f'Flavor {names} requests more than {_MANY_REQUESTED} devices '
                f'of an alias, and hosts have {_MANY_DEVICES} or more of a '
                f'class. Placement of {before.series} can take minutes to '
                f'find candidates. Set {option} in placement.conf after the '
                f'upgrade',
            )
        elif before.has(change) and not after.has(change):
            yield upgrade.UpgradeEffect(
                upgrade.Effect.ENDS,
                after,
                change.id,
                f'Flavor {names} requests more than {_MANY_REQUESTED} devices '
                f'of an alias, and hosts have {_MANY_DEVICES} or more of a '
                f'class. Placement of {after.series} does not have {option}: '
                f'if placement.conf sets it, servers may not be scheduled in '
                f'time. Upgrade to a later release at once',
            )
