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

"""Check explanations by evaluating every subset of the conditions.

And by evaluating the request without each condition.
"""

import collections.abc
import itertools

from gpuclient.model import capacity
from gpuclient.model import conflicts
from gpuclient.model import explanation
from gpuclient.model import twin

#: Returns the evaluation of another request, on the same hosts.
Evaluate = collections.abc.Callable[[twin.Request], explanation.Evaluation]


def find_faults(
    result: explanation.Evaluation,
) -> collections.abc.Iterator[str]:
    """Yield what is wrong with counts and conflicts."""
    total = len(result.facts.hosts)
    for row in result.rows:
        removed = sum(map(len, row.removed.values()))
        if total != row.left + removed:
            yield f'{row.condition.name}: {row.left} + {removed} of {total}'
        total = row.left
    if total != len(result.fitting):
        yield f'{total} hosts are left, and {len(result.fitting)} fit'
    numbers = range(len(result.conditions))
    everything = (
        frozenset(together)
        for size in range(len(result.conditions) + 1)
        for together in itertools.combinations(numbers, size)
    )
    expected = conflicts.minimal(
        together
        for together in everything
        if len(together) <= conflicts.LARGEST + 1
        and not meets(result, together)
    )
    small = {
        together for together in expected if len(together) <= conflicts.LARGEST
    }
    if small != set(result.conflict_sets.sets):
        yield f'conflicts {result.conflict_sets.sets}, not {small}'


def find_faults_without(
    result: explanation.Evaluation,
    request: twin.Request,
    evaluate: Evaluate,
) -> collections.abc.Iterator[str]:
    """Yield where a request without a condition fits on other hosts.

    The flavor and the image are changed, and the changed request evaluated.
    """
    for number, condition in enumerate(result.conditions):
        change = twin.give_up(condition, request, result.facts.hosts)
        if change is None:
            continue
        expected = _names(evaluate(change.request))
        said = sorted(host.node.name for host in result.without(number))
        if said != expected:
            yield f'without {condition.name}: {said}, not {expected}'


def _names(result: explanation.Evaluation) -> list[str]:
    return sorted(host.node.name for host in result.fitting)


def meets(
    result: explanation.Evaluation, together: collections.abc.Set[int]
) -> bool:
    """Return whether some host meets conditions, without the sets."""
    conditions = [result.conditions[number] for number in together]
    for host in result.facts.hosts:
        if any(host.node.uuid in condition.lacks for condition in conditions):
            continue
        part = explanation.merge_parts(
            condition.part
            for condition in conditions
            if condition.part is not None
            # A filter does not count where Placement returns no candidate.
            and (
                condition.kind is not explanation.Kind.FILTER
                or capacity.fit(host, condition.part, whole=False).count
            )
        )
        if (
            host.node.resources is None
            or not (part.resources or part.devices)
            or capacity.fit(host, part, whole=False).count
        ):
            return True
    return False
