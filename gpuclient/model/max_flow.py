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

"""Whether requests can be met from pools that each request may use some of."""

import collections
import collections.abc
import typing

#: Pairs of a request and a pool.
_Steps: typing.TypeAlias = list[tuple[int, int]]


def can_be_met(
    requests: collections.abc.Sequence[int],
    pools: collections.abc.Sequence[int],
    usable: collections.abc.Sequence[collections.abc.Collection[int]],
) -> bool:
    """Return whether all requests can be met at once.

    It computes a maximum flow from requests to pools (Edmonds and Karp): units
    are assigned to one request after another, and units that other requests
    have move to other pools to make room. Where no move makes room for a
    unit, the requests cannot be met.

    :param requests: Number of units that each request needs.
    :param pools: Number of units that each pool has.
    :param usable: The pools that each request may use, by their numbers.
    """
    assigned = [dict.fromkeys(numbers, 0) for numbers in usable]
    free = list(pools)
    for request, missing in enumerate(requests):
        while missing:
            takes, releases = _path(request, assigned, free)
            if not takes:
                return False
            _taker, last_pool = takes[0]
            units = min(
                missing,
                free[last_pool],
                *(assigned[holder][pool] for holder, pool in releases),
            )
            for taker, pool in takes:
                assigned[taker][pool] += units
            for holder, pool in releases:
                assigned[holder][pool] -= units
            free[last_pool] -= units
            missing -= units
    return True


def _path(
    request: int,
    assigned: collections.abc.Sequence[collections.abc.Mapping[int, int]],
    free: collections.abc.Sequence[int],
) -> tuple[_Steps, _Steps]:
    """Return the shortest way to assign a unit to a request.

    :returns: Which requests take units of which pools, that of the pool with
        a free unit first, and which requests release units for them; empty
        where there is no way.
    """
    takers: dict[int, int] = {}
    #: The pool of which a request releases units, to take those of another.
    released: dict[int, int] = {}
    waiting = collections.deque([request])
    while waiting:
        taker = waiting.popleft()
        for pool in assigned[taker].keys() - takers.keys():
            takers[pool] = taker
            if free[pool]:
                return _steps(pool, takers, released)
            holders = [
                holder
                for holder, units in enumerate(assigned)
                if units.get(pool) and holder not in {request, *released}
            ]
            released.update(dict.fromkeys(holders, pool))
            waiting.extend(holders)
    return [], []


def _steps(
    pool: int,
    takers: collections.abc.Mapping[int, int],
    released: collections.abc.Mapping[int, int],
) -> tuple[_Steps, _Steps]:
    takes, releases = [(takers[pool], pool)], []
    while (holder := takes[-1][0]) in released:
        pool = released[holder]
        releases.append((holder, pool))
        takes.append((takers[pool], pool))
    return takes, releases
