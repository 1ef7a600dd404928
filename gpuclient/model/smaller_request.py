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

"""The largest request that some host can meet.

Of a condition that no host meets, such as ``3 x a100`` or ``400000 MiB
memory``: the largest amount in place of it with which some host fits. Of
several that no host meets: the largest amounts in place of all of them.
"""

import collections.abc
import dataclasses

from gpuclient.model import capacity
from gpuclient.model import conflicts
from gpuclient.model import demand as demand_model
from gpuclient.model import explanation

#: Resource classes that a flavor sets the amount of.
RESOURCES = ('VCPU', 'PCPU', 'MEMORY_MB', 'DISK_GB')

#: Returns the evaluation of another request on some hosts.
Evaluate = collections.abc.Callable[
    [demand_model.Demand, tuple[capacity.HostCapacity, ...]],
    explanation.Evaluation,
]


#: Sets of amounts that are lowered together.
_SETS = 3


@dataclasses.dataclass(frozen=True)
class SmallerRequest:
    """Conditions with the largest amounts that some host can give."""

    #: Each with its amount: devices of an alias, or units of a resource class.
    lowered: tuple[tuple[explanation.Condition, int], ...]
    #: ``2 x a100``, ``64 VCPU and 65536 MiB memory``
    name: str
    #: The hosts that fit then.
    hosts: tuple[capacity.HostCapacity, ...]


def search(
    evaluation: explanation.Evaluation, evaluate: Evaluate
) -> collections.abc.Iterator[SmallerRequest]:
    """Yield a smaller request for each amount that is too large.

    Then those with several amounts lowered together, where no host fits with
    one of them lowered. Hosts of which Placement was not asked for the
    resources do not count.
    """
    sufficient: set[int] = set()
    lowerable = frozenset(
        number
        for number, condition in enumerate(evaluation.conditions)
        if _amount(condition, evaluation.wanted) > 1
    )
    for number in sorted(lowerable):
        hosts = _with_resources(evaluation.meeting_others(number))
        smaller = _lower((number,), hosts, evaluation, evaluate)
        if smaller is not None:
            sufficient.add(number)
            yield smaller
    for numbers, hosts in _sets(evaluation, lowerable, sufficient):
        smaller = _lower(numbers, hosts, evaluation, evaluate)
        if smaller is not None:
            yield smaller


def amounts(
    evaluation: explanation.Evaluation, evaluate: Evaluate
) -> dict[str, int]:
    """Return the largest amount of any smaller request, by resource class."""
    largest: dict[str, int] = {}
    for smaller in search(evaluation, evaluate):
        for condition, amount in smaller.lowered:
            kind, _colon, name = condition.key.partition(':')
            if kind == 'resource':
                largest[name] = max(amount, largest.get(name, 0))
    return largest


def _with_resources(
    hosts: collections.abc.Iterable[capacity.HostCapacity],
) -> tuple[capacity.HostCapacity, ...]:
    return tuple(host for host in hosts if host.node.resources is not None)


def _sets(
    evaluation: explanation.Evaluation,
    lowerable: frozenset[int],
    sufficient: set[int],
) -> list[tuple[tuple[int, ...], tuple[capacity.HostCapacity, ...]]]:
    """Return amounts to lower together, and the hosts that lack only these.

    :param sufficient: Amounts of which it suffices to lower one.
    """
    lacking: dict[frozenset[int], list[capacity.HostCapacity]] = {}
    for host in _with_resources(evaluation.facts.hosts):
        failing = evaluation.failing[host.node.uuid]
        numbers = lowerable & frozenset[int]().union(*failing)
        if len(numbers) > 1 and all(
            together & numbers for together in failing
        ):
            lacking.setdefault(numbers, []).append(host)
    smallest = sorted(
        (
            numbers
            for numbers in conflicts.minimal(lacking)
            if not numbers & sufficient
        ),
        key=lambda numbers: (len(numbers), sorted(numbers)),
    )
    return [
        (tuple(sorted(numbers)), tuple(lacking[numbers]))
        for numbers in smallest[:_SETS]
    ]


def _lower(
    numbers: tuple[int, ...],
    hosts: tuple[capacity.HostCapacity, ...],
    evaluation: explanation.Evaluation,
    evaluate: Evaluate,
) -> SmallerRequest | None:
    """Return the largest amounts of conditions; None if no host fits.

    Of several conditions, the first has the largest amount that some host can
    give, the others what these hosts can give besides.
    """
    conditions = [evaluation.conditions[number] for number in numbers]
    wanted = evaluation.wanted
    for condition in conditions:
        wanted = _with_amount(condition, 1, wanted)
    fitting = evaluate(wanted, hosts).fitting if hosts else ()
    if not fitting:
        return None
    lowered = []
    for condition in conditions:
        smallest, largest = 1, _amount(condition, evaluation.wanted)
        while smallest < largest:
            middle = (smallest + largest + 1) // 2
            larger = _with_amount(condition, middle, wanted)
            left = evaluate(larger, fitting).fitting
            if left:
                wanted, fitting, smallest = larger, left, middle
            else:
                largest = middle - 1
        lowered.append((condition, smallest))
    return SmallerRequest(
        tuple(lowered), _name(lowered, evaluation.wanted), fitting
    )


def _name(
    lowered: collections.abc.Iterable[tuple[explanation.Condition, int]],
    wanted: demand_model.Demand,
) -> str:
    *names, last = (
        condition.name.partition(' (')[0].replace(
            str(_amount(condition, wanted)), str(amount), 1
        )
        for condition, amount in lowered
    )
    return f'{", ".join(names)} and {last}' if names else last


def _amount(
    condition: explanation.Condition, wanted: demand_model.Demand
) -> int:
    """Return the amount that a condition is about; 0 if there is none."""
    kind, _colon, name = condition.key.partition(':')
    if kind == 'resource' and name in RESOURCES:
        return wanted.resources.get(name, 0)
    if kind == 'devices':
        return sum(
            request.count
            for request in wanted.devices
            if request.by_alias and request.name == name
        )
    return 0


def _with_amount(
    condition: explanation.Condition, amount: int, wanted: demand_model.Demand
) -> demand_model.Demand:
    kind, _colon, name = condition.key.partition(':')
    if kind == 'resource':
        return dataclasses.replace(
            wanted, resources={**wanted.resources, name: amount}
        )
    return dataclasses.replace(
        wanted,
        devices=tuple(
            dataclasses.replace(request, count=amount)
            if request.by_alias and request.name == name
            else request
            for request in wanted.devices
        ),
    )
