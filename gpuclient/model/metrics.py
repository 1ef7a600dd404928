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

"""Figures of a cloud for monitoring.

Names and labels that the os-capacity exporter has, too, mean the same here
and are filled for PCI devices as well: flavors are counted with the devices of
their aliases, and what is reserved is never counted as capacity.
"""

import collections.abc
import dataclasses

from gpuclient.model import capacity
from gpuclient.model import inventory


@dataclasses.dataclass(frozen=True)
class Family:
    """A gauge with all its samples."""

    name: str
    #: What it means, one sentence.
    help: str
    #: Names of the labels.
    labels: tuple[str, ...]
    #: Values of the labels, and the value.
    samples: tuple[tuple[tuple[str, ...], float], ...]


def families(
    devices: collections.abc.Sequence[inventory.Device],
    hosts: collections.abc.Sequence[capacity.HostCapacity],
    forecasts: collections.abc.Sequence[capacity.Forecast],
    projects: collections.abc.Mapping[str, str],
) -> tuple[Family, ...]:
    """Return all that is to be said of a cloud.

    What could not be read has no sample.

    :param devices: With their consumers.
    :param projects: Names, by id.
    """
    known = [one for one in forecasts if one.demand is not None]
    return (
        Family(
            'openstack_free_capacity_by_flavor_total',
            'How many more servers of the flavor fit, as if it were the only '
            'one.',
            ('flavor_name', 'public'),
            tuple(
                (
                    (one.flavor.name, str(one.flavor.is_public)),
                    float(one.count or 0),
                )
                for one in known
            ),
        ),
        Family(
            'openstack_free_capacity_hypervisor_by_flavor',
            'How many more servers of the flavor fit on the host.',
            ('hypervisor', 'flavor_name', 'az_aggregate', 'project_aggregate'),
            tuple(
                (
                    (
                        each.host.node.name,
                        one.flavor.name,
                        _zone(each.host),
                        _kept_for(each.host),
                    ),
                    float(each.count),
                )
                for one in known
                for each in one.hosts
            ),
        ),
        Family(
            'openstack_project_filter_aggregate',
            'Projects that an aggregate with GPU hosts is kept for.',
            ('project_id', 'aggregate'),
            tuple(
                ((project, name), 1.0)
                for project, name in sorted(
                    {
                        (project, aggregate.name)
                        for host in hosts
                        for aggregate in host.aggregates
                        for project in aggregate.tenants()
                    }
                )
            ),
        ),
        *_of_hosts(hosts),
        Family(
            'openstack_project_usage',
            'Units of the resource class of devices that a project holds.',
            ('project_id', 'project_name', 'placement_resource'),
            tuple(
                ((project, projects.get(project, ''), name), float(units))
                for (project, name), units in sorted(_used(devices).items())
            ),
        ),
        *_of_devices(devices),
        Family(
            'openstack_gpu_stranded',
            'Free units of devices on a host that no flavor can use.',
            ('hypervisor', 'resource'),
            tuple(
                ((host.node.name, found.resource_class), float(found.stranded))
                for host, stranded in capacity.stranded_by_host(
                    hosts, forecasts
                )
                for found in stranded
            ),
        ),
    )


def _zone(host: capacity.HostCapacity) -> str:
    return next(
        (
            aggregate.metadata['availability_zone']
            for aggregate in host.aggregates
            if 'availability_zone' in aggregate.metadata
        ),
        '',
    )


def _kept_for(host: capacity.HostCapacity) -> str:
    names = [
        aggregate.name for aggregate in host.aggregates if aggregate.tenants()
    ]
    return 'multiple' if len(names) > 1 else ''.join(names)


def _of_hosts(
    hosts: collections.abc.Iterable[capacity.HostCapacity],
) -> collections.abc.Iterator[Family]:
    allocated: list[tuple[tuple[str, ...], float]] = []
    allocatable: list[tuple[tuple[str, ...], float]] = []
    for host in hosts:
        found = {
            one.resource_class: (one.used, one.capacity)
            for one in host.node.resources or ()
        }
        for device in host.devices:
            if device.resource_class is None or device.total is None:
                continue
            used, units = found.get(device.resource_class, (0, 0))
            found[device.resource_class] = (
                used + (device.used or 0),
                units + device.total - (device.reserved or 0),
            )
        for name, (used, units) in sorted(found.items()):
            labels = (host.node.name, name)
            allocated.append((labels, float(used)))
            allocatable.append((labels, float(units)))
    labels = ('hypervisor', 'resource')
    yield Family(
        'openstack_hypervisor_placement_allocated',
        'Units that consumers hold, of a host and its devices.',
        labels,
        tuple(allocated),
    )
    yield Family(
        'openstack_hypervisor_placement_allocatable_capacity',
        'Units that consumers can hold: total less reserved, times the '
        'allocation ratio.',
        labels,
        tuple(allocatable),
    )


def _used(
    devices: collections.abc.Iterable[inventory.Device],
) -> dict[tuple[str, str], int]:
    found: dict[tuple[str, str], int] = {}
    for device in devices:
        for consumer in device.consumers or ():
            if consumer.project_id and device.resource_class:
                key = (consumer.project_id, device.resource_class)
                found[key] = found.get(key, 0) + consumer.amount
    return found


def _of_devices(
    devices: collections.abc.Sequence[inventory.Device],
) -> collections.abc.Iterator[Family]:
    # Prometheus keeps the suffix _total for counters.
    for name, key, meaning in (
        ('units', 'total', 'Units of a PCI device: 1, or the VFs of a PF.'),
        ('reserved', 'reserved', 'Units of a PCI device that nobody gets.'),
        ('used', 'used', 'Units of a PCI device that consumers hold.'),
    ):
        yield Family(
            f'openstack_gpu_device_{name}',
            meaning,
            ('hypervisor', 'address', 'resource'),
            tuple(
                (
                    (
                        device.host,
                        device.address or device.name,
                        device.resource_class,
                    ),
                    float(value),
                )
                for device in devices
                if device.resource_class is not None
                and (value := getattr(device, key)) is not None
            ),
        )
