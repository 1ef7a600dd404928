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

"""The query that nova-scheduler sends to ``GET /allocation_candidates``.

As ``nova/scheduler/utils.py:ResourceRequest.to_querystring``, with short
suffixes in place of the ids of requests.
"""

import collections.abc
import dataclasses
import math

from gpuclient.model import capacity
from gpuclient.model import demand as demand_model

_DISABLED = 'COMPUTE_STATUS_DISABLED'
_OWNER = 'OWNER_NOVA'

#: A query of more candidates is not sent: Placement computes all of them
#: before it applies a limit.
MOST_CANDIDATES = 20000
#: Nor is one of more groups: Placement searches the devices of each.
MOST_GROUPS = 128
#: Nor is one for which Placement tries more combinations of devices, some
#: 30,000 a second.
MOST_COMBINATIONS = 300_000


@dataclasses.dataclass(frozen=True)
class Destination:
    """Where nova-scheduler lets Placement look."""

    #: Ids of aggregates: a host must be in one of each of these sets.
    member_of: tuple[frozenset[str], ...] = ()
    #: Ids of aggregates whose hosts are excluded.
    not_member_of: frozenset[str] = frozenset()
    #: Id of the only compute node.
    in_tree: str | None = None


def params(
    wanted: demand_model.Demand,
    destination: Destination,
    *,
    owner_required: bool = False,
) -> dict[str, str | list[str]]:
    """Return the parameters of the query.

    :param owner_required: Whether nova-scheduler requires OWNER_NOVA.
    """
    root = [f'!{_DISABLED}']
    if owner_required:
        root.insert(0, _OWNER)
    query: dict[str, str | list[str]] = {'root_required': ','.join(root)}
    _add(query, '', wanted.resources, wanted.required, wanted.forbidden)
    member_of = [
        f'in:{",".join(sorted(groups))}' for groups in destination.member_of
    ]
    if destination.not_member_of:
        member_of.append(f'!in:{",".join(sorted(destination.not_member_of))}')
    if member_of:
        query['member_of'] = member_of
    if destination.in_tree is not None:
        query['in_tree'] = destination.in_tree
    suffix = 0
    for request in wanted.devices:
        traits = request.traits
        if owner_required and request.by_alias:
            traits |= {_OWNER}
        for _number in range(request.count):
            suffix += 1
            _add(
                query,
                f'_{suffix}',
                request.resources,
                traits,
                request.forbidden,
            )
    if wanted.group_policy is not None:
        query['group_policy'] = wanted.group_policy
    elif suffix > 1:
        # nova/scheduler/utils.py:resources_from_request_spec
        query['group_policy'] = 'none'
    return query


def _add(
    query: dict[str, str | list[str]],
    suffix: str,
    resources: collections.abc.Mapping[str, int],
    required: collections.abc.Set[str],
    forbidden: collections.abc.Set[str],
) -> None:
    if resources:
        query[f'resources{suffix}'] = ','.join(
            f'{name}:{amount}' for name, amount in sorted(resources.items())
        )
    traits = [
        *sorted(required),
        *(f'!{trait}' for trait in sorted(forbidden)),
    ]
    if traits:
        query[f'required{suffix}'] = ','.join(traits)


def without_pinned_cpus(wanted: demand_model.Demand) -> demand_model.Demand:
    """Return the request that Nova sends as well, with VCPU for PCPU.

    ``nova/scheduler/manager.py:SchedulerManager.select_destinations``
    """
    resources = {
        name: amount
        for name, amount in wanted.resources.items()
        if name != 'PCPU'
    }
    resources['VCPU'] = wanted.vcpus_in_place_of_pcpus
    return dataclasses.replace(
        wanted,
        resources=resources,
        required=wanted.required - demand_model.OF_PINNED_CPUS,
        forbidden=wanted.forbidden - demand_model.OF_PINNED_CPUS,
        vcpus_in_place_of_pcpus=0,
    )


def count_candidates(
    hosts: collections.abc.Iterable[capacity.HostCapacity],
    wanted: demand_model.Demand,
) -> int:
    """Return about how many candidates Placement has for a request.

    Each way to assign the groups of a request to the devices of a host is a
    candidate of its own.
    """
    total = 0
    for host in hosts:
        ways = 1
        for request in wanted.devices:
            units = _free_units(host, request)
            if sum(units) < request.count * request.units:
                ways = 0
                break
            if units and max(units) == request.units:
                ways *= math.perm(len(units), request.count)
            else:
                ways *= max(1, len(units)) ** request.count
        total += ways
    return total


def count_combinations(
    hosts: collections.abc.Iterable[capacity.HostCapacity],
    wanted: demand_model.Demand,
) -> int:
    """Return about how many combinations of devices Placement tries.

    Unless ``[workarounds]optimize_for_wide_provider_trees`` is set, these are
    also the combinations in which groups share a device that has too few units
    (``placement/objects/allocation_candidate.py:_get_areq_list_generators``).
    A host without enough devices is skipped.
    """
    total = 0
    for host in hosts:
        combinations = 1
        for request in wanted.devices:
            units = _free_units(host, request)
            if sum(units) < request.count * request.units:
                combinations = 0
                break
            combinations *= len(units) ** request.count
        total += combinations
    return total


def _free_units(
    host: capacity.HostCapacity, request: demand_model.DeviceRequest
) -> list[int]:
    """Return the free units of each device that can meet a request."""
    return [
        device.free or 0
        for device in host.devices
        if capacity.matches(device, request)
        and (device.free or 0) >= request.units
    ]


def too_many(
    hosts: collections.abc.Sequence[capacity.HostCapacity],
    wanted: demand_model.Demand,
) -> str:
    """Return why a request takes Placement too long; empty if it does not."""
    groups = sum(request.count for request in wanted.devices)
    if groups > MOST_GROUPS:
        return (
            f'the request has {groups} groups of devices, more than '
            f'{MOST_GROUPS}'
        )
    candidates = count_candidates(hosts, wanted)
    if candidates > MOST_CANDIDATES:
        return (
            f'the request has about {candidates} candidates, more than '
            f'{MOST_CANDIDATES}'
        )
    combinations = count_combinations(hosts, wanted)
    if combinations > MOST_COMBINATIONS:
        return (
            f'Placement would try about {combinations} combinations of '
            f'devices, more than {MOST_COMBINATIONS}'
        )
    return ''
