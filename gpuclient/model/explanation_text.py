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

"""Sentences about conditions: the cause, and what changes it."""

import collections.abc

from gpuclient.model import capacity
from gpuclient.model import explanation
from gpuclient.model import freeing
from gpuclient.model import unseen

#: Names of hosts in a sentence.
_NAMES = 3
#: Reasons in a sentence.
_REASONS = 3


def cause(
    evaluation: explanation.Evaluation,
    suspected: collections.abc.Iterable[unseen.UnseenCause] = (),
) -> str:
    """Return one sentence: whether a request fits, or why not.

    :param suspected: What may keep it from hosts that Placement returns.
    """
    hosts = evaluation.facts.hosts
    if evaluation.wanted.refusal:
        return f'No server can be created: {evaluation.wanted.refusal}.'
    if not hosts:
        return 'No host fits: the cloud has no compute node.'
    if evaluation.fitting:
        return _fits(
            evaluation, [cause for cause in suspected if not cause.proved]
        )
    if evaluation.in_placement:
        return _cause_of_filters(evaluation)
    conflicts = evaluation.conflicts
    if not conflicts:
        return (
            'No host fits: each lacks something else; see what the hosts of '
            'each condition lack.'
        )
    alone = [
        conflict for conflict in conflicts if len(conflict.conditions) == 1
    ]
    if alone:
        return _cause_alone(evaluation, alone)
    conflict = max(
        (
            conflict
            for conflict in conflicts
            if len(conflict.conditions) == len(conflicts[0].conditions)
        ),
        key=lambda conflict: sum(map(bool, conflict.without)),
    )
    text = (
        'No host fits: some host meets each condition, but none meets '
        + ' and '.join(
            f'"{condition.name}"' for condition in conflict.conditions
        )
        + ' together'
    )
    return f'{text}{_without(evaluation, conflict)}.'


def _fits(
    evaluation: explanation.Evaluation,
    suspected: collections.abc.Sequence[unseen.UnseenCause],
) -> str:
    """Return where a request fits, and what was not examined."""
    fitting = evaluation.fitting
    number = f'{len(fitting)} of {count_hosts(evaluation.facts.hosts)}'
    likely = [cause for cause in suspected if cause.is_likely]
    excluded = {name for cause in likely for name in cause.hosts}
    doubtful = [host for host in fitting if host.node.name in excluded]
    if len(doubtful) == len(fitting):
        them = 'it' if len(fitting) == 1 else 'them'
        return (
            f'Placement returns {number} ({names(evaluation, fitting)}), but '
            f'Nova probably excludes {them} ({likely[0].code}): '
            f'{likely[0].text}.'
        )
    text = f'It fits on {number}: {names(evaluation, fitting)}'
    if doubtful:
        codes = ', '.join(
            dict.fromkeys(
                cause.code
                for cause in likely
                if any(host.node.name in cause.hosts for host in doubtful)
            )
        )
        text += (
            f'. Nova probably excludes {names(evaluation, doubtful)} ({codes})'
        )
    filters = dict.fromkeys(
        cause.not_examined for cause in suspected if cause.not_examined
    )
    if filters:
        text += f'. Not examined: {", ".join(filters)} (GPU646)'
    return f'{text}.'


def _cause_of_filters(evaluation: explanation.Evaluation) -> str:
    """Return why no host is left of those that Placement returns."""
    removed: dict[str, list[capacity.HostCapacity]] = {}
    of_compute = True
    for host in evaluation.in_placement:
        together = min(
            evaluation.failing[host.node.uuid],
            key=lambda numbers: (len(numbers), sorted(numbers)),
        )
        condition = evaluation.conditions[max(together)]
        of_compute = of_compute and condition.key == explanation.OF_COMPUTE
        reason = condition.lacks.get(host.node.uuid, condition.name)
        removed.setdefault(reason, []).append(host)
    returned = count_hosts(evaluation.in_placement)
    them = 'it' if len(evaluation.in_placement) == 1 else 'them'
    but = (
        'nova-compute refuses the server'
        if of_compute
        else f'nova-scheduler filters {them} out'
    )
    return (
        f'No host fits: Placement returns {returned}, but {but} '
        f'({reasons(evaluation, removed)}).'
    )


def _cause_alone(
    evaluation: explanation.Evaluation,
    conflicts: collections.abc.Sequence[explanation.Conflict],
) -> str:
    conditions = [conflict.conditions[0] for conflict in conflicts]
    (first, *others) = conditions
    removed: dict[str, list[capacity.HostCapacity]] = {}
    for host in evaluation.facts.hosts:
        removed.setdefault(first.lacks[host.node.uuid], []).append(host)
    text = (
        f'No host fits: none meets "{first.name}" '
        f'({reasons(evaluation, removed)})'
    )
    if others:
        text += ', nor ' + ' or '.join(
            f'"{condition.name}"' for condition in others[:2]
        )
    if others or first.kind is explanation.Kind.DEVICES:
        return f'{text}.'
    return f'{text}{_without(evaluation, conflicts[0])}.'


def _without(
    evaluation: explanation.Evaluation, conflict: explanation.Conflict
) -> str:
    best = max(
        zip(conflict.conditions, conflict.without, strict=True),
        # The devices are what the server is for.
        key=lambda pair: (
            bool(pair[1]) and pair[0].kind is not explanation.Kind.DEVICES,
            len(pair[1]),
        ),
    )
    condition, hosts = best
    if not hosts:
        return ''
    verb = 'fits' if len(hosts) == 1 else 'fit'
    return (
        f'; without "{condition.name}", {count_hosts(hosts)} {verb}: '
        f'{names(evaluation, hosts)}'
    )


def reasons(
    evaluation: explanation.Evaluation,
    removed: collections.abc.Mapping[
        str, collections.abc.Sequence[capacity.HostCapacity]
    ],
) -> str:
    """Return what hosts lack, the most specific first."""
    ranked = sorted(removed.items(), key=lambda item: (len(item[1]), item[0]))
    parts = [
        f'{names(evaluation, hosts)}: {reason}'
        if len(hosts) <= _NAMES
        else f'{len(hosts)} hosts: {reason}'
        for reason, hosts in ranked[:_REASONS]
    ]
    rest = sum(len(hosts) for _reason, hosts in ranked[_REASONS:])
    if rest:
        parts.append(f'{rest} more lack it')
    return '; '.join(parts)


def names(
    evaluation: explanation.Evaluation,
    hosts: collections.abc.Sequence[capacity.HostCapacity],
) -> str:
    """Return the names of some hosts, without their domain if it is clear."""
    text = ', '.join(
        evaluation.labels.get(host.node.name, host.node.name)
        for host in hosts[:_NAMES]
    )
    more = len(hosts) - _NAMES
    return f'{text} and {more} more' if more > 0 else text


def count_hosts(hosts: collections.abc.Sequence[object]) -> str:
    """Return a number of hosts: ``1 host``, ``3 hosts``."""
    return f'{len(hosts)} host{"" if len(hosts) == 1 else "s"}'


def way(evaluation: explanation.Evaluation, chosen: freeing.Way) -> str:
    """Return what to do so that a host fits."""
    host = evaluation.labels.get(chosen.host, chosen.host)
    return f'{host}: ' + ' and '.join(
        _action(action) for action in chosen.actions
    )


def _action(action: freeing.Action) -> str:
    match action.kind:
        case freeing.ActionKind.RELEASE_DEVICE:
            return f'release reserved {action.name}'
        case freeing.ActionKind.ENABLE_SERVICE:
            return f'enable {action.name}'
        case freeing.ActionKind.START_SERVICE:
            return f'start {action.name}'
        case freeing.ActionKind.END_FORCED_DOWN:
            return (
                f'set {action.name} up, which is forced down ("openstack '
                f'compute service set --up")'
            )
        case freeing.ActionKind.RESTART_SERVICE:
            return (
                f'restart {action.name}, which is enabled and left '
                f'COMPUTE_STATUS_DISABLED on its provider'
            )
        case freeing.ActionKind.REPAIR_ALLOCATION:
            plural = '' if action.devices == 1 else 's'
            return (
                f'repair the allocations of {action.name}, which holds '
                f'{action.devices} device{plural} that it does not use (see '
                f'"openstack gpu placement check")'
            )
        case freeing.ActionKind.REMOVE_ALLOCATION:
            return (
                f'remove the allocation of {action.name}, which is no server'
            )
        case freeing.ActionKind.SET_TRAIT:
            return (
                f'set {action.name} on its resource provider, beside its '
                f'other traits ("openstack resource provider trait set" '
                f'replaces them all)'
            )
        case freeing.ActionKind.REQUIRE_TRAIT:
            return (
                f'require {action.name} in the flavor ("openstack flavor set '
                f'--property trait:{action.target}=required")'
            )
        case freeing.ActionKind.LEAVE_AGGREGATE:
            return f'take the host out of {action.name}, which isolates it'
        case freeing.ActionKind.REMOVE_SERVER:
            verbs = 'delete or move' if action.can_move else 'delete'
            # Names are unique in no project, and found in the own only.
            details = [action.target]
            if action.devices:
                plural = '' if action.devices == 1 else 's'
                details.append(f'{action.devices} device{plural}')
            return f'{verbs} {action.name} ({", ".join(details)})'
