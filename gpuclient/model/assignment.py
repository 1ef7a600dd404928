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

"""Which host takes which of several servers, so that all of them fit.

A search that assigns the servers with the fewest hosts first, and goes back
where one has none left. It is exact unless it is stopped.
"""

import collections.abc
import dataclasses

from gpuclient.model import capacity
from gpuclient.model import demand as demand_model

#: Assignments that are tried.
_TRIALS = 5000


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A server that needs a host."""

    key: str
    demand: demand_model.Demand
    #: The hosts on which it fits alone.
    hosts: tuple[capacity.HostCapacity, ...]


@dataclasses.dataclass(frozen=True)
class Assignment:
    """Hosts for several servers."""

    #: The host of each server, by its key; without those that have none.
    hosts: dict[str, capacity.HostCapacity]
    #: Whether all of them fit together; None if the search was stopped.
    complete: bool | None


class _Stopped(Exception):
    pass


def assign(
    candidates: collections.abc.Sequence[Candidate],
) -> Assignment:
    """Return hosts for servers; for as many as were found if not for all."""
    search = _Search(candidates)
    try:
        complete: bool | None = search.run(0)
    except _Stopped:
        complete = None
    return Assignment(search.best if not complete else search.hosts, complete)


class _Search:
    def __init__(
        self, candidates: collections.abc.Sequence[Candidate]
    ) -> None:
        self._order = sorted(
            candidates,
            key=lambda candidate: (
                len(candidate.hosts),
                -sum(request.count for request in candidate.demand.devices),
            ),
        )
        self._on: dict[str, list[demand_model.Demand]] = {}
        self._trials = 0
        self.hosts: dict[str, capacity.HostCapacity] = {}
        self.best: dict[str, capacity.HostCapacity] = {}

    def run(self, number: int) -> bool:
        """Assign the servers from a number on."""
        if len(self.hosts) > len(self.best):
            self.best = dict(self.hosts)
        if number == len(self._order):
            return True
        candidate = self._order[number]
        for host in candidate.hosts:
            self._trials += 1
            if self._trials > _TRIALS:
                raise _Stopped
            demands = self._on.setdefault(host.node.uuid, [])
            if not fit_together(host, [*demands, candidate.demand]):
                continue
            demands.append(candidate.demand)
            self.hosts[candidate.key] = host
            if self.run(number + 1):
                return True
            demands.pop()
            del self.hosts[candidate.key]
        return False


def fit_together(
    host: capacity.HostCapacity,
    demands: collections.abc.Sequence[demand_model.Demand],
) -> bool:
    """Return whether a host has the resources of several servers."""
    resources: dict[str, int] = {}
    devices = []
    for number, demand in enumerate(demands):
        for name, amount in demand.resources.items():
            resources[name] = resources.get(name, 0) + amount
        devices += [
            dataclasses.replace(request, name=f'{number} {request.name}')
            for request in demand.devices
        ]
    merged = demand_model.Demand(
        resources,
        tuple(devices),
        # Devices of different servers may share a provider.
        isolate=len(demands) == 1 and demands[0].isolate,
        vcpus_in_place_of_pcpus=sum(
            demand.vcpus_in_place_of_pcpus for demand in demands
        ),
    )
    without_limits = dataclasses.replace(
        host,
        node=dataclasses.replace(
            host.node,
            # These limits hold for each server, which fits alone.
            resources=None
            if host.node.resources is None
            else tuple(
                dataclasses.replace(resource, max_unit=None, min_unit=1)
                for resource in host.node.resources
            ),
        ),
    )
    return capacity.fit(without_limits, merged, whole=False).count > 0
