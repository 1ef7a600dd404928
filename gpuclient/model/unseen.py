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

"""What Placement cannot see: filters, options, NUMA, retries and races.

Each cause is *proved* by what documents, host bundles, traits and the server
itself show, or only *suspected*, because nothing shows the contrary.
"""

import collections.abc
import dataclasses

from gpuclient.model import alias as alias_model
from gpuclient.model import capacity
from gpuclient.model import demand as demand_model
from gpuclient.model import explanation
from gpuclient.model import host_filters
from gpuclient.model import inventory
from gpuclient.model import passthrough_filter
from gpuclient.model import placement_request
from gpuclient.model import scheduler_filters
from gpuclient.model import scheduler_options

#: ``[scheduler]max_placement_results`` where it is not set.
_RESULTS = 1000


@dataclasses.dataclass(frozen=True)
class UnseenCause:
    """A cause that Placement does not see."""

    #: Stable, ``GPU640``; the documentation explains each.
    code: str
    text: str
    #: Otherwise it is suspected.
    proved: bool
    #: Hypervisor hostnames that it concerns; empty for all or none.
    hosts: tuple[str, ...] = ()
    #: Whether all that is known says that it excludes these hosts.
    is_likely: bool = False
    #: What the summary names as not examined; empty for nothing.
    not_examined: str = ''


_Causes = collections.abc.Iterator[UnseenCause]


def find(
    evaluation: explanation.Evaluation,
    restrictions: explanation.Restrictions,
    options: scheduler_options.SchedulerOptions,
    inferred: collections.abc.Container[str] = (),
    verdicts: collections.abc.Sequence[host_filters.FilterVerdicts] = (),
) -> tuple[UnseenCause, ...]:
    """Return what may keep a server from hosts that Placement returns.

    :param inferred: Aliases of which only the class is known.
    :param verdicts: What filters of nova-scheduler do with the hosts.
    """
    if evaluation.wanted.refusal:
        return ()
    return (
        *_dropped(evaluation),
        *_of_aliases(evaluation, inferred),
        *_of_options(evaluation, restrictions, options),
        *_of_filters(evaluation, verdicts),
        *_of_hosts(evaluation),
        *_of_candidates(evaluation, options),
    )


def _dropped(evaluation: explanation.Evaluation) -> _Causes:
    """Yield what filters are known to drop."""
    names = {host.node.uuid: host.node.name for host in evaluation.facts.hosts}
    in_placement = {host.node.uuid for host in evaluation.in_placement}
    for condition in evaluation.conditions:
        if condition.kind is not explanation.Kind.FILTER:
            continue
        of_host_filter = condition.key.startswith(host_filters.KEY)
        # These matter where Placement returns the host.
        is_late = of_host_filter or condition.key == explanation.OF_COMPUTE
        reasons: dict[str, list[str]] = {}
        for uuid, reason in condition.lacks.items():
            if not is_late or uuid in in_placement:
                reasons.setdefault(reason, []).append(names[uuid])
        for reason, hosts in reasons.items():
            code, text = 'GPU645', f'the {condition.name} cannot fit'
            if condition.key == explanation.OF_COMPUTE:
                code, text = 'GPU654', 'a move to the host fails'
            elif of_host_filter:
                code = 'GPU646'
                name = condition.key.removeprefix(host_filters.KEY)
                text = f'{name} refuses hosts'
            elif condition.key.startswith('filter:'):
                alias = condition.key.partition(':')[2]
                code = 'GPU640'
                text = f'PciPassthroughFilter drops devices for alias {alias}'
            yield UnseenCause(
                code, f'{text} ({reason})', True, tuple(sorted(hosts))
            )


def _of_aliases(
    evaluation: explanation.Evaluation,
    inferred: collections.abc.Container[str],
) -> _Causes:
    hosts = evaluation.fitting
    facts = evaluation.facts
    for request in evaluation.wanted.devices:
        alias = facts.aliases.get(request.name)
        is_inferred = request.name in inferred
        if not request.by_alias or (alias is None and not is_inferred):
            continue
        devices = [
            device
            for host in hosts
            for device in host.devices
            if capacity.matches(device, request)
        ]
        if not devices:
            continue
        if alias is None or is_inferred:
            yield UnseenCause(
                'GPU640',
                f'only the resource class of alias {request.name} is known, '
                'from servers; its other keys may exclude devices',
                False,
            )
            continue
        yield from _of_devices(alias, devices, facts)


def of_types(evaluation: explanation.Evaluation) -> _Causes:
    """Yield the aliases of which no host shows the type of devices.

    The catalogue has the usual type; firmware can turn SR-IOV off.
    """
    facts = evaluation.facts
    nothing = passthrough_filter.DeviceFacts()
    for request in evaluation.wanted.devices:
        alias = facts.aliases.get(request.name)
        if alias is None or not request.by_alias:
            continue
        hosts = {
            host.node.name
            for host in evaluation.fitting
            for device in host.devices
            if capacity.matches(device, request)
            and facts.devices.get(device.uuid, nothing).device_type is None
        }
        if hosts:
            types = (
                f'device_type {alias.device_type}'
                if alias.device_type
                else 'no device_type, which matches no type-PF'
            )
            yield UnseenCause(
                'GPU641',
                f'alias {alias.name} requests {types}, and no host bundle '
                f'shows the type of these devices',
                False,
                tuple(sorted(hosts)),
            )


def _of_devices(
    alias: alias_model.Alias,
    devices: list[inventory.Device],
    facts: explanation.Facts,
) -> _Causes:
    """Yield what is not known of devices, and may exclude them."""
    nothing = passthrough_filter.DeviceFacts()
    unknown: dict[str, list[inventory.Device]] = {}
    for device in devices:
        for name in passthrough_filter.unknown(
            alias, facts.devices.get(device.uuid, nothing)
        ):
            unknown.setdefault(name, []).append(device)
    for name, concerned in unknown.items():
        text = (
            f'alias {alias.name} requires {name} of devices, which '
            'Placement does not show'
        )
        if name == 'device type':
            text = capacity.type_doubt(alias, concerned)
        if text:
            yield UnseenCause(
                'GPU641',
                text,
                False,
                tuple(sorted({device.host for device in concerned})),
                is_likely=text.endswith(demand_model.NO_DEVICE),
            )


def _of_options(
    evaluation: explanation.Evaluation,
    restrictions: explanation.Restrictions,
    options: scheduler_options.SchedulerOptions,
) -> _Causes:
    if options.filters is not None and any(
        request.by_alias for request in evaluation.wanted.devices
    ):
        if scheduler_filters.PCI not in options.filters:
            yield UnseenCause(
                'GPU642',
                'PciPassthroughFilter is not in [filter_scheduler]'
                'enabled_filters'
                + (
                    ''
                    if options.sets_filters
                    else ', which the files do not set'
                )
                + ': hosts without a matching device are chosen, and '
                'nova-compute refuses the server',
                options.sets_filters,
            )
    if options.pci_in_placement is False:
        yield UnseenCause(
            'GPU643',
            '[filter_scheduler]pci_in_placement of nova-api is not True: Nova '
            'does not request devices from Placement',
            True,
        )
    yield from _of_aggregates(evaluation, restrictions, options)


def _of_aggregates(
    evaluation: explanation.Evaluation,
    restrictions: explanation.Restrictions,
    options: scheduler_options.SchedulerOptions,
) -> _Causes:
    """Yield options that are not known, and may exclude hosts."""
    if None not in (
        options.isolates_aggregates,
        options.limits_tenants,
        options.isolates_tenants,
    ):
        return
    own = (
        frozenset[str]()
        if restrictions.project_id is None
        else capacity.own_aggregates(
            evaluation.facts.hosts, restrictions.project_id
        )
    )
    concerned: dict[str, list[str]] = {}
    for host in evaluation.fitting:
        reason = capacity.condition(
            host, evaluation.wanted, restrictions.project_id
        ) or capacity.outside(host, own)
        if reason:
            concerned.setdefault(reason, []).append(host.node.name)
    for reason, names in concerned.items():
        yield UnseenCause(
            'GPU644', reason, False, tuple(names), is_likely=True
        )


def _of_filters(
    evaluation: explanation.Evaluation,
    verdicts: collections.abc.Iterable[host_filters.FilterVerdicts],
) -> _Causes:
    """Yield what filters may do with the hosts that fit otherwise."""
    for verdict in verdicts:
        for uuids, is_refusal in (
            (verdict.refused if verdict.enabled is None else {}, True),
            (verdict.unknown, False),
        ):
            reasons: dict[str, list[str]] = {}
            for host in evaluation.fitting:
                if host.node.uuid in uuids:
                    reasons.setdefault(uuids[host.node.uuid], []).append(
                        host.node.name
                    )
            for reason, hosts in reasons.items():
                text = (
                    f'{verdict.filter} is enabled, and {reason}'
                    if verdict.enabled
                    else f'if nova-scheduler has {verdict.filter}, {reason}'
                )
                if is_refusal:
                    text = (
                        f'if nova-scheduler has {verdict.filter}, it excludes '
                        f'hosts ({reason}); --config with the configuration '
                        f'of nova-scheduler shows whether it has'
                    )
                yield UnseenCause(
                    'GPU646',
                    text,
                    False,
                    tuple(sorted(hosts)),
                    is_likely=is_refusal,
                    not_examined=''
                    if is_refusal or verdict.filter in host_filters.TRANSIENT
                    else verdict.filter,
                )


def _of_hosts(evaluation: explanation.Evaluation) -> _Causes:
    """Yield what Nova matches on the host, and no API shows."""
    if not evaluation.fitting:
        return
    for doubt in evaluation.wanted.at_most:
        if doubt in evaluation.wanted.of_filters:
            continue
        if doubt.startswith('Nova matches'):
            yield UnseenCause('GPU645', doubt, False)
        elif not doubt.startswith('alias '):
            yield UnseenCause('GPU646', doubt, False)
    if evaluation.wanted.vcpus_in_place_of_pcpus:
        hosts = tuple(
            host.node.name
            for host in evaluation.fitting
            if host.node.resource('PCPU') is None
        )
        if hosts:
            yield UnseenCause(
                'GPU645',
                'hosts without PCPU are chosen by their VCPU: nova-compute '
                'pins CPUs there only if neither [compute]cpu_dedicated_set '
                'nor cpu_shared_set is set',
                False,
                hosts,
            )


def _of_candidates(
    evaluation: explanation.Evaluation,
    options: scheduler_options.SchedulerOptions,
) -> _Causes:
    limit = options.max_placement_results or _RESULTS
    count = placement_request.count_candidates(
        evaluation.in_placement, evaluation.wanted
    )
    if count > limit and len(evaluation.in_placement) > 1:
        yield UnseenCause(
            'GPU647',
            f'the request has about {count} candidates, of which '
            f'nova-scheduler reads {limit} '
            '([scheduler]max_placement_results): hosts beyond them are not '
            'considered',
            False,
        )
