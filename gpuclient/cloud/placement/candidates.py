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

"""Inventories and usage of whole trees, with few candidate queries.

``GET /allocation_candidates`` returns a summary of every provider in each tree
that has the requested resources, including devices in full use
(``placement/objects/allocation_candidate.py:_merge_candidates``). No query
covers every tree, so queries are sent from the widest to the narrowest, each
only while trees are missing:

1. All hosts with a megabyte of memory; if GPU hosts are few among many others,
   the trees with a free device of each resource class instead.
2. While many are missing, the next resource, then each class of device: the
   service may limit its answers (``[placement]max_allocation_candidates``).
3. Tree by tree, ``in_tree``, for other resources that may be free.
4. Of the trees that are missing still, those in a list of providers with a
   free unit of some class: one list serves all trees.

A tree without any free resources stays missing; the lists show then that its
devices are in use.
"""

import collections.abc
import functools
import typing

from gpuclient.cloud.placement import reader as placement_reader
from gpuclient.cloud.placement import totals
from gpuclient.cloud import schema
from gpuclient import exceptions

#: Microversions of the features used here.
_NESTED = (1, 29)
_IN_TREE = (1, 31)
_SAME_SUBTREE = (1, 36)

#: Resources of which nearly every compute node has some free, the likeliest
#: first: flavors seldom use up the last megabyte of memory.
_RESOURCES = ('MEMORY_MB', 'VCPU', 'DISK_GB')
#: The same for a host that the query for memory left out.
_HOST_RESOURCES = ('VCPU', 'DISK_GB', 'PCPU', 'MEMORY_MB')
#: So many trees are queried faster one by one than with all hosts again.
_FEW = 4
#: The same as a part of all trees: to query one in so many one by one costs
#: Placement as much as to query all.
_PART = 25
#: GPU hosts are few if the cloud has so many times more hosts: a summary of
#: each of these costs Placement more than to query the trees without a free
#: device one by one.
_SPARSE = 40
#: What a candidate costs Placement, in summaries of hosts without devices.
#: The narrow query returns a candidate for each device, the wide one a summary
#: of each host; see ``tests/benchmarks/placement``.
_CANDIDATE = 0.5

_CANDIDATES: schema.Shape = {
    'allocation_requests': [{}],
    'provider_summaries': schema.Map(
        {
            'root_provider_uuid': str,
            'resources': schema.Map({'capacity': int, 'used': int}),
            'traits': [str],
        }
    ),
}

CountHosts: typing.TypeAlias = collections.abc.Callable[[], int | None]


class CandidateSearch:
    """The summaries of devices and their hosts that are known so far.

    :param trees: The devices of each tree, by the id of its root.
    :param count_hosts: Returns how many hosts the cloud has, or None; called
        at most once, and only if needed.
    """

    def __init__(
        self,
        reader: placement_reader.PlacementReader,
        trees: dict[str, frozenset[str]],
        count_hosts: CountHosts,
    ) -> None:
        self._reader = reader
        self._trees = trees
        self._count_hosts = count_hosts
        #: Resources for which every tree was queried.
        self._asked: set[str] = set()
        #: Providers with a free unit, by resource class, of the classes that
        #: were listed.
        self._free: dict[str, frozenset[str]] = {}
        #: By provider id, roots included.
        self.summaries: dict[str, totals.Summary] = {}
        #: Why a tree was not read at all, by the id of its root.
        self.unanswered: dict[str, exceptions.CloudError] = {}

    def missing(self) -> list[str]:
        """Return the roots of trees with a device that has no summary."""
        return [
            root
            for root, devices in self._trees.items()
            if root not in self.unanswered
            and not devices <= self.summaries.keys()
        ]

    def run(self) -> None:
        """Query until no further tree can be found."""
        if self._reader.version < _NESTED:
            return
        missing = len(self.missing())
        if missing > 1:
            hosts = self._count_hosts() if missing > _FEW else None
            if hosts is not None and _SPARSE * missing < hosts:
                self._ask_classes(self._custom_classes())
            else:
                self._ask_all(hosts)
                if self._many_missing():
                    self._ask_classes(self._device_classes())
        if self._reader.version >= _IN_TREE:
            self._ask_trees()

    def _many_missing(self) -> bool:
        return len(self.missing()) > max(_FEW, len(self._trees) // _PART)

    def _ask(self, action: str, **params: str) -> int:
        """Store the summaries of a query; return its number of candidates."""
        # A limit would leave out hosts.
        answer = self._reader.get(
            '/allocation_candidates', action, _CANDIDATES, **params
        )
        for uuid, summary in answer['provider_summaries'].items():
            if summary['root_provider_uuid'] in self._trees:
                self.summaries[uuid] = summary
        return len(answer['allocation_requests'])

    def _try(self, **params: str) -> int | None:
        """Query all hosts; return the number of candidates.

        If there is no answer, the hosts are queried one by one, which reports
        errors of each.
        """
        try:
            return self._ask('reading the allocation candidates', **params)
        except exceptions.CloudError:
            return None

    def _ask_all(self, hosts: int | None) -> None:
        """Query all hosts at once, while that is faster."""
        devices = sum(map(len, self._trees.values()))
        narrow = self._reader.version >= _SAME_SUBTREE and (
            hosts is None or _CANDIDATE * devices < hosts - len(self._trees)
        )
        counts: dict[str, int] = {}
        for resource in _RESOURCES:
            params = {'resources1': f'{resource}:1'}
            if narrow:
                # A group without resources excludes hosts without PCI
                # devices.
                params.update(
                    required2=placement_reader.MANAGED,
                    same_subtree='1,2',
                    group_policy='none',
                )
            count = self._try(**params)
            if count is None:
                return
            counts[resource] = count
            if not self._many_missing():
                # The service does not limit its answers.
                self._asked = set(counts)
                return
            if list(counts.values()).count(count) > 1:
                # The service limits its answers.
                return
        # An answer that is shorter than another was not limited.
        self._asked = {
            resource
            for resource, count in counts.items()
            if count < max(counts.values())
        }

    def _custom_classes(self) -> list[str]:
        """Return the resource classes that devices of the cloud may have."""
        try:
            records = self._reader.get(
                '/resource_classes',
                'reading the resource classes',
                {'resource_classes': [{'name': str}]},
            )['resource_classes']
        except exceptions.CloudError:
            return []
        names = [
            record['name']
            for record in records
            if record['name'].startswith('CUSTOM_')
        ]
        # Otherwise it is faster to query the trees.
        return names if len(names) < len(self._trees) else []

    def _device_classes(self) -> list[str]:
        """Return the resource classes of devices with a summary."""
        return sorted(
            {
                name
                for uuid, summary in self.summaries.items()
                if uuid not in self._trees
                for name in summary['resources']
            }
        )

    def _ask_classes(self, classes: collections.abc.Iterable[str]) -> None:
        """Query the trees that have a free device of each class."""
        self._reader.each(
            lambda name: self._try(resources1=f'{name}:1'), classes
        )

    def _ask_trees(self) -> None:
        """Query each tree that is missing."""
        roots = self._summaries_of_roots()
        resources = [
            resource
            for resource in _HOST_RESOURCES
            if resource not in self._asked
            and (
                not roots
                or any(resource in root['resources'] for root in roots)
            )
        ]
        lists = self._device_classes()
        for resource in resources:
            # Most trees have the first free, and few have others: for many
            # trees, a list shows which ones.
            if resource == _HOST_RESOURCES[0] or len(self.missing()) <= _FEW:
                self._ask_each(dict.fromkeys(self.missing(), resource))
            else:
                lists.append(resource)
        if self.missing():
            self._reader.each(self._list_free, lists)
            self._ask_each(self._with_free_unit(lists))

    def _summaries_of_roots(self) -> list[totals.Summary]:
        return [
            self.summaries[root]
            for root in self._trees
            if root in self.summaries
        ]

    def _ask_each(self, resources: dict[str, str]) -> None:
        """Query trees, each for one unit of a resource class."""

        def ask(root: str) -> None:
            try:
                self._ask(
                    'reading the allocation candidates of one host',
                    resources1=f'{resources[root]}:1',
                    in_tree1=root,
                )
            except exceptions.CloudError as exc:
                if placement_reader.unanswered(exc):
                    self.unanswered[root] = exc

        self._reader.each(ask, resources)

    def _list_free(self, name: str) -> None:
        """Store which providers have a free unit of a class."""
        try:
            providers = self._reader.get(
                '/resource_providers',
                'reading the providers with free units',
                {'resource_providers': [{'uuid': str}]},
                resources=f'{name}:1',
            )['resource_providers']
        except exceptions.CloudError:
            return
        self._free[name] = frozenset(
            provider['uuid'] for provider in providers
        )

    def _with_free_unit(self, classes: list[str]) -> dict[str, str]:
        """Return missing trees with a free unit, and its class."""
        classes_of: dict[str, str] = {}
        for root in self.missing():
            providers = {root, *self._trees[root]}
            for name in classes:
                if not providers.isdisjoint(self._free.get(name, ())):
                    classes_of[root] = name
        return classes_of

    def exhausted(self, uuid: str, name: str) -> bool:
        """Return whether a device is known to have no free unit of a class.

        Only for classes of whole devices: their only unit is in use then.
        """
        return (
            name in self._free
            and uuid not in self._free[name]
            and name not in self._shared
        )

    @functools.cached_property
    def _shared(self) -> set[str]:
        """Classes of which some provider has several units."""
        return {
            name
            for summary in self.summaries.values()
            for name, units in summary['resources'].items()
            if totals.several(units)
        }
