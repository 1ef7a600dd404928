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

"""Try an explanation and its suggestions with a real nova-scheduler.

A rehearsal cloud gets the hosts of the cloud as rows (:mod:`gpuclient.model.
twin`). Its Placement and the nova-scheduler of its release decide about the
request as it is, and after each suggestion.
"""

import collections.abc
import dataclasses
import enum
import time
import typing

from gpuclient import exceptions
from gpuclient.model import capacity
from gpuclient.model import host_filters
from gpuclient.model import placement_request
from gpuclient.model import proof_doubts
from gpuclient.model import twin as twin_model
from gpuclient.model import unseen
from gpuclient.operations import capacity_report
from gpuclient.operations import explanation as operation
from gpuclient.rehearsal import api as rehearsal

#: Suggestions that are tried.
MOST = 6


class State(enum.StrEnum):
    """What a trial shows."""

    #: nova-scheduler decides as the explanation says.
    PROVED = 'proved'
    #: It decides otherwise.
    REFUTED = 'refuted'
    #: It selects a host, and the rehearsal cloud does not have what probably
    #: excludes the host, or made the server fail.
    INCONCLUSIVE = 'inconclusive'
    #: It was not asked, or the request differs from that of the cloud.
    NOT_TRIED = 'not tried'


@dataclasses.dataclass(frozen=True)
class Trial:
    """A decision of nova-scheduler, held against an explanation."""

    #: The suggestion; empty for the request as it is.
    text: str
    state: State
    #: Why it was not tried, how the decision differs, why it shows nothing;
    #: or what is assumed of the selected host.
    reason: str = ''
    #: Hypervisor hostname; None if no host was selected.
    selected: str | None = None
    #: The error of nova-scheduler.
    error: str = ''
    #: Hosts of the allocation candidates of Placement.
    candidates: tuple[str, ...] = ()
    #: By filter, the hosts that it removed.
    removed: dict[str, tuple[str, ...]] = dataclasses.field(
        default_factory=dict
    )
    #: Lines of the log of nova-scheduler.
    log: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Proof:
    """An explanation that was tried."""

    #: Of Nova, ``34.0.0``; empty if no cloud was started.
    nova: str
    request: Trial
    suggestions: tuple[Trial, ...]
    #: What the rehearsal cloud does not have.
    not_rebuilt: tuple[str, ...]
    seconds: float = 0.0
    #: Of the rehearsal cloud with the scheduler that decided.
    memory_mb: int = 0

    @property
    def state(self) -> State:
        """``proved`` if the cause and the first suggestion are."""
        if self.request.state is not State.PROVED or not self.suggestions:
            return self.request.state
        return self.suggestions[0].state


def prove(
    explained: operation.Explanation,
    say: collections.abc.Callable[[str], None],
    recorded: tuple[unseen.UnseenCause, ...] = (),
) -> Proof:
    """Try an explanation, and its first suggestions.

    :param say: Called with each line of progress.
    :param recorded: What Nova recorded of the server that is explained.
    :raises gpuclient.exceptions.RehearsalError: The rehearsal cloud does not
        start, or nova-scheduler does not decide.
    """
    began = time.monotonic()
    refusal = _refusal(explained)
    proof = ProofTrials(explained, recorded)
    if refusal:
        return Proof('', Trial('', State.NOT_TRIED, refusal), (), ())
    say('Starting a rehearsal cloud')
    with rehearsal.temporary(
        proof.twin.spec(), say, release=explained.release
    ) as cloud:
        scheduler = [
            service
            for service in cloud.record.refused
            if service.name.startswith('nova-scheduler')
        ]
        if scheduler:
            raise exceptions.RehearsalError(
                f'nova-scheduler did not start: {scheduler[0].message}'
            )
        say(f'Asking nova-scheduler {len(proof.trials)} times')
        decisions = rehearsal.decide(cloud, proof.trials)
        memory = cloud.memory_mb + decisions.memory_mb
        nova = cloud.record.nova
    request, *others = decisions.records
    return Proof(
        nova,
        proof.judge_request(request),
        tuple(proof.judge_suggestions(others)),
        tuple(proof.missing()),
        time.monotonic() - began,
        memory,
    )


def _refusal(explained: operation.Explanation) -> str:
    """Return why nova-scheduler is not asked; empty if it is."""
    evaluation = explained.evaluation
    if evaluation.wanted.refusal:
        return f'the request does not reach it: {evaluation.wanted.refusal}'
    if explained.options.pci_in_placement is False:
        return (
            'the configuration sets [filter_scheduler]pci_in_placement to '
            'False, so that devices are not scheduled by Placement'
        )
    unknown = [
        name
        for condition in evaluation.conditions
        if (name := condition.key.removeprefix(host_filters.KEY))
        in twin_model.UNKNOWN
    ]
    if unknown:
        return (
            f'a rehearsal cloud does not have what {", ".join(unknown)} '
            f'matches'
        )
    return placement_request.too_many(
        evaluation.facts.hosts, evaluation.wanted
    )


class ProofTrials:
    """The trials of an explanation."""

    def __init__(
        self,
        explained: operation.Explanation,
        recorded: tuple[unseen.UnseenCause, ...] = (),
    ) -> None:
        self.explained = explained
        self._recorded = recorded
        evaluation = explained.evaluation
        self.twin = twin_model.Twin(
            evaluation.facts,
            evaluation.wanted,
            _aliases(explained),
            explained.options,
            explained.release,
        )
        self._assumed: dict[str, list[str]] = {}
        for (_alias, fact), devices in self.twin.assumed().items():
            for name in {device.host for device in devices}:
                self._assumed.setdefault(name, []).append(fact)
        self._hosts = evaluation.facts.hosts
        self._names = {host.node.uuid: host.node.name for host in self._hosts}
        self._request = twin_model.Request(
            explained.flavor,
            explained.image,
            explained.restrictions,
            explained.volume_backed,
        )
        self._changes = [
            self._change(suggestion)
            for suggestion in explained.suggestions[:MOST]
        ]
        self.trials = [
            self.twin.trial(change.hosts, change.request)
            for change in (
                twin_model.Change(self._request, self._hosts),
                *self._changes,
            )
            if change is not None
        ]

    def _change(
        self, suggestion: operation.Suggestion
    ) -> twin_model.Change | None:
        if suggestion.changed is not None:
            changed = suggestion.changed
            return twin_model.Change(
                twin_model.require(self._request, suggestion.required),
                tuple(
                    changed if host.node.uuid == changed.node.uuid else host
                    for host in self._hosts
                ),
            )
        if suggestion.condition is None:
            return None
        if suggestion.amount is not None:
            return twin_model.lower_all(
                (
                    (suggestion.condition, suggestion.amount),
                    *suggestion.others,
                ),
                self._request,
                self._hosts,
            )
        return twin_model.give_up(
            suggestion.condition, self._request, self._hosts
        )

    def judge_request(self, record: dict[str, typing.Any]) -> Trial:
        """Hold the decision about the request against the explanation."""
        evaluation = self.explained.evaluation
        trial = self._trial('', record)
        expected = _names(evaluation.in_placement)
        fitting = _names(evaluation.fitting)
        if set(trial.candidates) != expected:
            return _differs(
                trial,
                'Placement returns '
                f'{_listed(trial.candidates)}, and the explanation expects '
                f'{_listed(expected)}',
            )
        if not fitting and trial.selected is None:
            if 'NoValidHost' in trial.error:
                return trial
            return _differs(trial, f'nova-scheduler fails: {trial.error}')
        if trial.selected in fitting:
            return self._judge_selection(trial)
        return _differs(
            trial,
            f'nova-scheduler selects {trial.selected or "no host"}, and the '
            f'explanation expects {_listed(fitting)}',
        )

    def _judge_selection(self, trial: Trial) -> Trial:
        """Hold the selection of a host that fits against what happened."""
        explained = self.explained
        reason = proof_doubts.of_failure(
            explained.evaluation, self._recorded, explained.unseen
        ) or proof_doubts.of_host(explained.unseen, trial.selected or '')
        if reason:
            return dataclasses.replace(
                trial, state=State.INCONCLUSIVE, reason=reason
            )
        return trial

    def missing(self) -> list[str]:
        """Return what the rehearsal cloud does not have."""
        return [
            *self.twin.missing(),
            *proof_doubts.missing(self._recorded, self.explained.unseen),
        ]

    def judge_suggestions(
        self, records: list[dict[str, typing.Any]]
    ) -> collections.abc.Iterator[Trial]:
        """Yield what each suggestion leads to."""
        remaining = iter(records)
        for suggestion, change in zip(
            self.explained.suggestions, self._changes, strict=False
        ):
            if change is None:
                yield Trial(
                    suggestion.text,
                    State.NOT_TRIED,
                    'nova-scheduler cannot be asked without this condition',
                )
                continue
            trial = self._trial(suggestion.text, next(remaining))
            if trial.selected not in suggestion.hosts:
                trial = _differs(
                    trial,
                    f'nova-scheduler selects {trial.selected or "no host"}, '
                    f'not {_listed(suggestion.hosts)}',
                )
            yield trial

    def _trial(self, text: str, record: dict[str, typing.Any]) -> Trial:
        assumed = dict.fromkeys(self._assumed.get(record['selected'], ()))
        return Trial(
            text,
            State.PROVED,
            f'assumed: {", ".join(assumed)} of its devices' if assumed else '',
            selected=record['selected'],
            error=record['error'],
            candidates=tuple(
                sorted(
                    self._names.get(uuid, uuid)
                    for uuid in record['candidates']
                )
            ),
            removed={
                step['filter']: tuple(step['removed'])
                for step in record['filters']
                if step['removed']
            },
            log=tuple(record['log']),
        )


def _aliases(explained: operation.Explanation) -> capacity_report.Aliases:
    """Return the aliases, with the device type that is known of devices.

    Only the class of an inferred alias is known; without a type it would not
    match the physical functions that its servers got.
    """
    facts = explained.evaluation.facts
    aliases = dict(explained.aliases)
    for name in explained.inferred:
        kinds = {
            facts.devices[device.uuid].device_type
            for host in facts.hosts
            for device in host.devices
            if device.resource_class == aliases[name].placement_class
            and device.uuid in facts.devices
        } - {None}
        if len(kinds) == 1:
            aliases[name] = dataclasses.replace(
                aliases[name], device_type=kinds.pop()
            )
    return aliases


def _names(hosts: tuple[capacity.HostCapacity, ...]) -> set[str]:
    return {host.node.name for host in hosts}


def _listed(names: collections.abc.Iterable[str]) -> str:
    return ', '.join(sorted(names)) or 'no host'


def _differs(trial: Trial, reason: str) -> Trial:
    return dataclasses.replace(trial, state=State.REFUTED, reason=reason)
