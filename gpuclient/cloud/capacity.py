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

"""The hosts that servers with devices can be sent to."""

import collections.abc
import dataclasses
import functools

from openstack import connection

from gpuclient.cloud.nova import aggregates
from gpuclient.cloud.nova import hypervisors
from gpuclient.cloud.placement import devices as placement_devices
from gpuclient.cloud.placement import reader as placement_reader
from gpuclient.cloud import schema
from gpuclient import exceptions
from gpuclient.model import capacity
from gpuclient.model import demand as demand_model
from gpuclient.model import inventory
from gpuclient.model import partial_result


def read_hosts(
    cloud: connection.Connection,
) -> partial_result.PartialResult[tuple[capacity.HostCapacity, ...]]:
    """Return the hosts that have PCI devices, as far as servers go.

    Beside the read of devices it takes one request for the aggregates and
    one for a thousand compute nodes.

    :raises gpuclient.exceptions.CloudError: Placement gives no list of
        devices, or Nova none of its compute nodes.
    """

    @functools.cache
    def read_nodes() -> dict[str, hypervisors.Hypervisor]:
        return {
            node.name: node
            for node in hypervisors.list_hypervisors(cloud.compute)
        }

    found = placement_devices.read_snapshot(
        cloud.placement, count_hosts=lambda: len(read_nodes())
    )
    nodes = read_nodes()
    groups = aggregates.list_aggregates(cloud.compute)
    devices: dict[str, list[inventory.Device]] = {}
    for device in found.value.devices:
        devices.setdefault(device.root_uuid, []).append(device)

    def host(record: inventory.ComputeProvider) -> capacity.HostCapacity:
        node = nodes.get(record.name)
        service_host = None if node is None else node.service_host
        return capacity.HostCapacity(
            node=record,
            service_host=service_host,
            devices=tuple(devices.get(record.uuid, ())),
            aggregates=tuple(
                group for group in groups if service_host in group.hosts
            ),
            closed='Nova knows no such compute node'
            if node is None
            else node.closed,
        )

    return partial_result.PartialResult(
        tuple(host(record) for record in found.value.hosts), found.failures
    )


def restricting_zone(cloud: connection.Connection, zone: str) -> str | None:
    """Return a zone if servers that ask for it are kept to hosts of it.

    Nova takes every zone that it lists, and asks Placement for the
    aggregates of that name: there are none of the zone that hosts without one
    are shown in (``[DEFAULT]default_availability_zone``), and then any host
    will do (``nova/scheduler/request_filter.py``).

    :raises gpuclient.exceptions.NotFound: Nova lists no such zone.
    """
    known = aggregates.list_zones(cloud.compute)
    if zone not in known:
        raise exceptions.NotFound(
            'Nova has no availability zone {zone!r}; it has {known}'.format(
                zone=zone, known=', '.join(known) or 'none'
            )
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
) -> partial_result.PartialResult[tuple[capacity.HostCapacity, ...]]:
    """Return the hosts with what one server may take of them at most.

    The read of all hosts tells how much is left, not how much of it Placement
    gives one consumer. One request a resource class asks for the most that
    any of the demands takes; hosts that do not answer to that, though they
    have it, are read.
    """
    reader = placement_reader.PlacementReader(cloud.placement)
    most: dict[str, int] = {}
    for demand in demands:
        for name, amount in demand.of_node.items():
            most[name] = max(most.get(name, 0), amount)
    found = {host.node.uuid: host for host in hosts}
    failures = []
    for name, amount in most.items():
        doubtful = {
            uuid
            for uuid, host in found.items()
            if (resource := host.node.resource(name)) is not None
            and resource.fits(amount)
        }
        if not doubtful:
            continue
        try:
            doubtful -= {
                provider['uuid']
                for provider in reader.get(
                    '/resource_providers',
                    'asking for providers with room',
                    {'resource_providers': [{'uuid': str}]},
                    resources=f'{name}:{amount}',
                )['resource_providers']
            }
            for host in reader.each(
                lambda uuid: _with_units(reader, found[uuid]), doubtful
            ):
                found[host.node.uuid] = host
        except exceptions.CloudError as exc:
            failures.append(
                partial_result.Failure(
                    f'least and most units of {name}', str(exc)
                )
            )
    return partial_result.PartialResult(tuple(found.values()), tuple(failures))


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
