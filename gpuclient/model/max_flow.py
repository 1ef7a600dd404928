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

"""Whether requests can be met from pools of which each may use some."""

import collections
import collections.abc
import typing


def can_be_met(
    wants: collections.abc.Sequence[int],
    rooms: collections.abc.Sequence[int],
    usable: collections.abc.Sequence[collections.abc.Collection[int]],
) -> bool:
    """Return whether all requests can be met at once.

    It is a flow from requests to pools: units are given to one request after
    another, and those given before move to other pools to make room (Edmonds
    and Karp). Where no move makes room for a unit, nothing would.

    :param wants: How many units each request needs.
    :param rooms: How many units each pool has.
    :param usable: The pools that each request may use, by their numbers.
    """
    given = [dict.fromkeys(pools, 0) for pools in usable]
    left = list(rooms)
    for request, want in enumerate(wants):
        while want:
            takes, gives = _make_room(request, given, left)
            if not takes:
                return False
            _request, last = takes[0]
            amount = min(
                want, left[last], *(given[one][pool] for one, pool in gives)
            )
            for one, pool in takes:
                given[one][pool] += amount
            for one, pool in gives:
                given[one][pool] -= amount
            left[last] -= amount
            want -= amount
    return True


_Steps: typing.TypeAlias = list[tuple[int, int]]


def _make_room(
    request: int,
    given: collections.abc.Sequence[collections.abc.Mapping[int, int]],
    left: collections.abc.Sequence[int],
) -> tuple[_Steps, _Steps]:
    """Return which requests take and give up which pools, the shortest way.

    :returns: What is taken, of a pool with room first, and what is given up
        for it; empty where there is no way.
    """
    taker: dict[int, int] = {}
    #: Which pool a request gives up, to take of another one.
    loses: dict[int, int] = {}
    waiting = collections.deque([request])
    while waiting:
        one = waiting.popleft()
        for pool in given[one].keys() - taker.keys():
            taker[pool] = one
            if left[pool]:
                return _steps(pool, taker, loses)
            for other, units in enumerate(given):
                if units.get(pool) and other not in {request, *loses}:
                    loses[other] = pool
                    waiting.append(other)
    return [], []


def _steps(
    pool: int,
    taker: collections.abc.Mapping[int, int],
    loses: collections.abc.Mapping[int, int],
) -> tuple[_Steps, _Steps]:
    takes, gives = [(taker[pool], pool)], []
    while (one := takes[-1][0]) in loses:
        pool = loses[one]
        gives.append((one, pool))
        takes.append((taker[pool], pool))
    return takes, gives
