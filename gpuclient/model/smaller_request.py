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
memory``: the largest amount in place of it with which some host fits.
"""

import collections.abc
import dataclasses

from gpuclient.model import capacity
from gpuclient.model import demand as demand_model
from gpuclient.model import explanation

#: Resource classes that a flavor sets the amount of.
RESOURCES = ('VCPU', 'PCPU', 'MEMORY_MB', 'DISK_GB')

#: Returns the evaluation of another request on some hosts.
Evaluate = collections.abc.Callable[
    [demand_model.Demand, tuple[capacity.HostCapacity, ...]],
    explanation.Evaluation,
]


@dataclasses.dataclass(frozen=True)
class SmallerRequest:
    """A condition with the largest amount that some host can give."""

    condition: explanation.Condition
    #: Devices of an alias, or units of a resource class.
    amount: int
    #: ``2 x a100``, ``65536 MiB memory``
    name: str
    #: The hosts that fit then.
    hosts: tuple[capacity.HostCapacity, ...]


def search(
    evaluation: explanation.Evaluation, evaluate: Evaluate
) -> collections.abc.Iterator[SmallerRequest]:
    """Yield a smaller request for each amount that is too large.

    Hosts of which Placement was not asked for the resources do not count.
    """
    for number, condition in enumerate(evaluation.conditions):
        requested = _amount(condition, evaluation.wanted)
        hosts = tuple(
            host
            for host in evaluation.meeting_others(number)
            if host.node.resources is not None
        )
        if requested < 2 or not hosts:
            continue
        amount, fitting = 0, hosts
        smallest, largest = 1, requested - 1
        while smallest <= largest:
            middle = (smallest + largest) // 2
            left = evaluate(
                _with_amount(condition, middle, evaluation.wanted), fitting
            ).fitting
            if left:
                amount, fitting, smallest = middle, left, middle + 1
            else:
                largest = middle - 1
        if amount:
            name = condition.name.partition(' (')[0]
            yield SmallerRequest(
                condition,
                amount,
                name.replace(str(requested), str(amount), 1),
                fitting,
            )


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
