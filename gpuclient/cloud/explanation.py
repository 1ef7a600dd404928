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

"""What Placement and Nova say of all compute nodes for one request.

In addition to :func:`gpuclient.cloud.capacity.read_all_hosts`, each resource
class and each trait of the request costs a request, and so do the candidates.
"""

import collections.abc
import dataclasses

from openstack import connection

from gpuclient.cloud import capacity as cloud_capacity
from gpuclient.cloud.nova import services as nova_services
from gpuclient.cloud.placement import provider_lists
from gpuclient.cloud.placement import reader as placement_reader
from gpuclient.cloud import schema
from gpuclient import exceptions
from gpuclient.model import capacity
from gpuclient.model import demand as demand_model
from gpuclient.model import explanation
from gpuclient.model import nova_changes
from gpuclient.model import partial_result
from gpuclient.model import release as release_model

_OWNER = 'OWNER_NOVA'
#: Traits of a request that are looked up; Nova requests few.
_TRAITS = 8
_CANDIDATES: schema.Shape = {
    'allocation_requests': [{'allocations': schema.Map({})}],
    'provider_summaries': schema.Map({'root_provider_uuid': str}),
}


def read_facts(
    cloud: connection.Connection,
    hosts: cloud_capacity.CloudHosts,
    wanted: collections.abc.Sequence[demand_model.Demand],
    release: release_model.Release,
) -> partial_result.PartialResult[explanation.Facts]:
    """Return what is known of all compute nodes for some requests."""
    return _FactsRead(cloud, hosts, wanted).read(release)


class _FactsRead:
    def __init__(
        self,
        cloud: connection.Connection,
        hosts: cloud_capacity.CloudHosts,
        wanted: collections.abc.Sequence[demand_model.Demand],
    ) -> None:
        self._cloud = cloud
        self._hosts = hosts
        self._wanted = wanted
        self._lists = provider_lists.ProviderLists(cloud.placement)
        self._failures: list[partial_result.Failure] = []
        self._providing: dict[tuple[str, int], frozenset[str]] = {}
        self._unknown: set[str] = set()
        self._with_trait: dict[str, frozenset[str] | None] = {}

    def read(
        self, release: release_model.Release
    ) -> partial_result.PartialResult[explanation.Facts]:
        self._lists.reader.each(self._read_class, self._amounts())
        self._read_device_classes()
        traits = sorted(
            frozenset[str]().union(
                *(
                    wanted.required | wanted.forbidden
                    for wanted in self._wanted
                )
            )
        )
        if release.has(nova_changes.OWNER_NOVA):
            traits.append(_OWNER)
        self._lists.reader.each(self._read_trait, traits[-_TRAITS:])
        checked = cloud_capacity.check_units(
            self._cloud,
            self._hosts.with_devices,
            self._wanted,
            self._lists,
        )
        owner_required = self._owner_required()
        shared = self._shared()
        return partial_result.PartialResult(
            explanation.Facts(
                hosts=(*checked.value, *self._hosts.others),
                providing=self._providing,
                with_trait=self._with_trait,
                unknown_classes=frozenset(self._unknown),
                shared=shared,
                owner_required=owner_required,
            ),
            (*self._failures, *checked.failures),
        )

    def _amounts(self) -> list[tuple[str, int]]:
        amounts: dict[tuple[str, int], None] = {}
        for wanted in self._wanted:
            amounts.update(dict.fromkeys(wanted.resources.items()))
            if wanted.vcpus_in_place_of_pcpus:
                amounts['VCPU', wanted.vcpus_in_place_of_pcpus] = None
        return list(amounts)

    def _read_class(self, wanted: tuple[str, int]) -> None:
        name, amount = wanted
        try:
            self._providing[name, amount] = self._lists.with_free(name, amount)
        except exceptions.CloudError as exc:
            if exc.status == 400:
                self._unknown.add(name)
                self._providing[name, amount] = frozenset()
            else:
                self._fail(f'providers with {amount} {name}', exc)

    def _read_device_classes(self) -> None:
        """Find the classes that Placement does not know."""
        known = {
            device.resource_class
            for host in self._hosts.with_devices
            for device in host.devices
        }
        names = {
            name
            for wanted in self._wanted
            for request in wanted.devices
            for name in request.resources
        } - known
        self._lists.reader.each(
            lambda name: self._read_class((name, 1)), sorted(names)
        )

    def _read_trait(self, trait: str) -> None:
        try:
            self._with_trait[trait] = self._lists.with_trait(trait)
        except exceptions.CloudError as exc:
            self._fail(f'providers with trait {trait}', exc)

    def _fail(self, source: str, exc: exceptions.CloudError) -> None:
        self._failures.append(partial_result.Failure(source, str(exc)))

    def _all_hosts(self) -> tuple[capacity.HostCapacity, ...]:
        return (*self._hosts.with_devices, *self._hosts.others)

    def _shared(self) -> frozenset[str]:
        """Return the classes that some provider shares with compute nodes."""
        known = {host.node.uuid for host in self._all_hosts()}
        strange = {
            name
            for (name, _amount), uuids in self._providing.items()
            if uuids - known
            and any(
                host.node.resources is not None
                and host.node.resource(name) is None
                for host in self._hosts.with_devices
            )
        }
        if not strange:
            return frozenset()
        try:
            sharing = self._lists.sharing()
        except exceptions.CloudError as exc:
            self._fail('providers that share resources', exc)
            return frozenset()
        return frozenset(
            name
            for (name, _amount), uuids in self._providing.items()
            if name in strange and uuids & sharing
        )

    def _owner_required(self) -> bool:
        """Return whether nova-scheduler requires OWNER_NOVA.

        It does once every nova-compute that is not forced down is of Nova 34
        (``nova/scheduler/request_filter.py:owner_nova_filter``). No API shows
        the versions of services, but such a nova-compute has set the trait.
        """
        with_trait = self._with_trait.get(_OWNER)
        if not with_trait:
            return False
        without = {
            host.service_host
            for host in self._all_hosts()
            if host.service_host is not None
            and host.node.uuid not in with_trait
        }
        if not without:
            return True
        try:
            forced_down = nova_services.forced_down(self._cloud.compute)
        except exceptions.CloudError as exc:
            self._fail('compute services that are forced down', exc)
            return False
        return without <= forced_down


@dataclasses.dataclass(frozen=True)
class Candidates:
    """What Placement returned for a request."""

    #: Ids of the root providers.
    roots: frozenset[str]
    count: int


def read_candidates(
    cloud: connection.Connection,
    queries: collections.abc.Iterable[
        collections.abc.Mapping[str, str | list[str]]
    ],
    ignored: collections.abc.Container[str] = (),
) -> Candidates:
    """Return the hosts that Placement returns as candidates.

    A query that Placement refuses has none, as for nova-scheduler.

    :param ignored: Roots that are no compute nodes, which nova-scheduler
        ignores.
    :raises gpuclient.exceptions.CloudError: With the server's message.
    """
    reader = placement_reader.PlacementReader(cloud.placement)
    roots: set[str] = set()
    count = 0
    for query in queries:
        try:
            answer = reader.get(
                '/allocation_candidates',
                'asking Placement for candidates of the request',
                _CANDIDATES,
                **query,
            )
        except exceptions.CloudError as exc:
            if exc.status != 400:
                raise
            continue
        summaries = answer['provider_summaries']
        for candidate in answer['allocation_requests']:
            own = {
                summaries[uuid]['root_provider_uuid']
                for uuid in candidate['allocations']
                if uuid in summaries
            }
            if not any(root in ignored for root in own):
                count += 1
                roots |= own
    return Candidates(frozenset(roots), count)
