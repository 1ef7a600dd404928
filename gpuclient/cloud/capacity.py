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

"""The hosts of PCI devices, with what they have for servers."""

import collections.abc
import dataclasses
import functools

from openstack import connection

from gpuclient.cloud.nova import aggregates
from gpuclient.cloud.nova import hypervisors
from gpuclient.cloud.placement import devices as placement_devices
from gpuclient.cloud.placement import provider_lists
from gpuclient.cloud.placement import reader as placement_reader
from gpuclient.cloud import schema
from gpuclient import exceptions
from gpuclient.model import capacity
from gpuclient.model import demand as demand_model
from gpuclient.model import inventory
from gpuclient.model import partial_result

#: Hosts whose inventories are read to learn the bounds of an allocation.
_READ = 3


@dataclasses.dataclass(frozen=True)
class CloudHosts:
    """All compute nodes of a cloud."""

    #: Those that have PCI devices, with what they have for servers.
    with_devices: tuple[capacity.HostCapacity, ...]
    #: The others, without resources and traits.
    others: tuple[capacity.HostCapacity, ...]


def read_hosts(
    cloud: connection.Connection,
) -> partial_result.PartialResult[tuple[capacity.HostCapacity, ...]]:
    """Return the hosts that have PCI devices, with resources and aggregates.

    In addition to the requests for devices, this costs one for the aggregates
    and one for each thousand compute nodes.

    :raises gpuclient.exceptions.CloudError: Placement does not list devices,
        or Nova compute nodes.
    """
    answer = read_all_hosts(cloud)
    return partial_result.PartialResult(
        answer.value.with_devices, answer.failures
    )


def read_all_hosts(
    cloud: connection.Connection,
) -> partial_result.PartialResult[CloudHosts]:
    """Return all hosts; see :func:`read_hosts`, which costs the same."""

    @functools.cache
    def read_nodes() -> dict[str, hypervisors.Hypervisor]:
        return {
            node.name: node
            for node in hypervisors.list_hypervisors(cloud.compute)
        }

    answer = placement_devices.read_snapshot(
        cloud.placement, count_hosts=lambda: len(read_nodes())
    )
    nodes = read_nodes()
    groups = aggregates.list_aggregates(cloud.compute)
    devices: dict[str, list[inventory.Device]] = {}
    for device in answer.value.devices:
        devices.setdefault(device.root_uuid, []).append(device)

    def host(record: inventory.ComputeProvider) -> capacity.HostCapacity:
        node = nodes.get(record.name)
        service_host = None if node is None else node.service_host
        missing = '' if node else 'Nova has no compute node with this name'
        return capacity.HostCapacity(
            node=record,
            service_host=service_host,
            devices=tuple(devices.get(record.uuid, ())),
            aggregates=tuple(
                group for group in groups if service_host in group.hosts
            ),
            closed=missing if node is None else node.closed,
            disabled='' if node is None else node.disabled,
            down=missing if node is None else node.down,
            state={} if node is None else node.state,
            is_compute_node=node is not None,
        )

    known = {record.name for record in answer.value.hosts}
    return partial_result.PartialResult(
        CloudHosts(
            tuple(host(record) for record in answer.value.hosts),
            tuple(
                host(inventory.ComputeProvider(node.uuid, node.name))
                for node in nodes.values()
                if node.name not in known
            ),
        ),
        answer.failures,
    )


def restricting_zone(cloud: connection.Connection, zone: str) -> str | None:
    """Return a zone if it restricts servers to its hosts, or else None.

    Nova accepts every zone that it lists, and queries Placement for the
    aggregates of that name. The zone of hosts without an aggregate
    (``[DEFAULT]default_availability_zone``) has none, so that it restricts
    nothing (``nova/scheduler/request_filter.py``).

    :raises gpuclient.exceptions.NotFound: Nova lists no such zone.
    """
    known = aggregates.list_zones(cloud.compute)
    if zone not in known:
        raise exceptions.NotFound(
            f'Nova has no availability zone {zone!r}; it has '
            f'{", ".join(known) or "none"}'
        )
    if any(
        group.metadata.get('availability_zone') == zone
        for group in aggregates.list_aggregates(cloud.compute)
    ):
        return zone
    return None


def check_units(
    cloud: connection.Connection,
    hosts: collections.abc.Sequence[capacity.HostCapacity],
    demands: collections.abc.Iterable[demand_model.Demand],
    lists: provider_lists.ProviderLists | None = None,
) -> partial_result.PartialResult[tuple[capacity.HostCapacity, ...]]:
    """Return the hosts with the least and most units of one allocation.

    The read of all hosts tells how much is free, not how much of it one
    consumer may allocate. A request for each resource class asks for the
    largest amount of any demand. Of hosts that have it free but are not in the
    answer, the inventories are read. Hosts that have less free are asked for
    the next amount, with a request for each.

    :param lists: Lists of providers, to use again.
    """
    lists = lists or provider_lists.ProviderLists(cloud.placement)
    reader = lists.reader
    amounts: dict[str, set[int]] = {}
    for demand in demands:
        for name, amount in demand.of_node.items():
            amounts.setdefault(name, set()).add(amount)
    by_uuid = {host.node.uuid: host for host in hosts}
    failures = []
    for name, wanted in amounts.items():
        # What one consumer may have includes all smaller amounts.
        certain: set[str] = set()
        try:
            for amount in sorted(wanted, reverse=True):
                doubtful = {
                    uuid
                    for uuid, host in by_uuid.items()
                    if uuid not in certain
                    and (resource := host.node.resource(name)) is not None
                    and resource.fits(amount)
                }
                if not doubtful:
                    continue
                certain |= doubtful
                doubtful -= lists.with_free(name, amount)
                for host in reader.each(
                    lambda uuid: _with_units(reader, by_uuid[uuid]), doubtful
                ):
                    by_uuid[host.node.uuid] = host
        except exceptions.CloudError as exc:
            failures.append(
                partial_result.Failure(
                    f'least and most units of {name}', str(exc)
                )
            )
    return partial_result.PartialResult(
        tuple(by_uuid.values()), tuple(failures)
    )


def bound_units(
    cloud: connection.Connection,
    hosts: collections.abc.Sequence[capacity.HostCapacity],
    amounts: collections.abc.Mapping[str, int],
) -> tuple[capacity.HostCapacity, ...]:
    """Return hosts with bounds of what one consumer may allocate.

    For each resource class, a request asks for the providers that can allocate
    an amount. Of hosts that have it free but are not in the answer, some
    inventories are read; the others get the largest of their bounds.

    :param amounts: Units by resource class.
    :raises gpuclient.exceptions.CloudError: Placement does not answer.
    """
    lists = provider_lists.ProviderLists(cloud.placement)
    by_uuid = {host.node.uuid: host for host in hosts}
    for name, amount in amounts.items():
        doubtful = [
            host
            for host in by_uuid.values()
            if (resource := host.node.resource(name)) is not None
            and resource.max_unit is None
            and resource.fits(amount)
        ]
        if not doubtful:
            continue
        allowed = lists.with_free(name, amount)
        doubtful = sorted(
            (host for host in doubtful if host.node.uuid not in allowed),
            key=lambda host: -_free(host, name),
        )
        read = read_units(cloud, doubtful[:_READ])
        most = max(
            (
                resource.max_unit
                for host in read
                if (resource := host.node.resource(name)) is not None
                and resource.max_unit is not None
            ),
            default=amount - 1,
        )
        for host in (
            *read,
            *(
                _bounded(host, name, min(most, amount - 1))
                for host in doubtful[_READ:]
            ),
        ):
            by_uuid[host.node.uuid] = host
    return tuple(by_uuid.values())


def _free(host: capacity.HostCapacity, name: str) -> int:
    resource = host.node.resource(name)
    return 0 if resource is None else resource.free


def _bounded(
    host: capacity.HostCapacity, name: str, most: int
) -> capacity.HostCapacity:
    return dataclasses.replace(
        host,
        node=dataclasses.replace(
            host.node,
            resources=tuple(
                dataclasses.replace(resource, max_unit=most)
                if resource.resource_class == name
                else resource
                for resource in host.node.resources or ()
            ),
        ),
    )


def read_units(
    cloud: connection.Connection,
    hosts: collections.abc.Iterable[capacity.HostCapacity],
) -> tuple[capacity.HostCapacity, ...]:
    """Return hosts with what one consumer may allocate, a request for each.

    :raises gpuclient.exceptions.CloudError: Placement does not answer.
    """
    reader = placement_reader.PlacementReader(cloud.placement)
    by_uuid = {host.node.uuid: host for host in hosts}
    return tuple(
        reader.each(lambda uuid: _with_units(reader, by_uuid[uuid]), by_uuid)
    )


def _with_units(
    reader: placement_reader.PlacementReader, host: capacity.HostCapacity
) -> capacity.HostCapacity:
    inventories = reader.get(
        f'/resource_providers/{host.node.uuid}/inventories',
        f'reading the inventories of {host.node.name}',
        {
            'inventories': schema.Map(
                {'min_unit': int, 'max_unit': int, 'step_size': int}
            )
        },
    )['inventories']
    return dataclasses.replace(
        host,
        node=dataclasses.replace(
            host.node,
            resources=tuple(
                dataclasses.replace(
                    resource,
                    **{
                        key: inventories[resource.resource_class][key]
                        for key in ('min_unit', 'max_unit', 'step_size')
                    },
                )
                if resource.resource_class in inventories
                else resource
                for resource in host.node.resources or ()
            ),
        ),
    )
