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

"""Metrics of a cloud, for monitoring.

Names and labels of the os-capacity exporter mean the same here, and cover PCI
devices, too: flavors are counted with the devices of their aliases, and
reserved units never count as capacity.
"""

import collections.abc
import dataclasses
import typing

from gpuclient.model import capacity
from gpuclient.model import inventory

#: Values of the labels, and the value.
_Sample: typing.TypeAlias = tuple[tuple[str, ...], float]


@dataclasses.dataclass(frozen=True)
class MetricFamily:
    """A gauge with all its samples."""

    name: str
    #: What it means, in one sentence.
    help: str
    #: Names of the labels.
    labels: tuple[str, ...]
    samples: tuple[_Sample, ...]


def families(
    devices: collections.abc.Sequence[inventory.Device],
    hosts: collections.abc.Sequence[capacity.HostCapacity],
    forecasts: collections.abc.Sequence[capacity.Forecast],
    projects: collections.abc.Mapping[str, str],
) -> tuple[MetricFamily, ...]:
    """Return the metrics of a cloud.

    What could not be read has no sample.

    :param devices: With their consumers.
    :param projects: Names, by id.
    """
    return (
        *_flavor_families(forecasts),
        _project_aggregates(hosts),
        *_host_families(hosts),
        _project_usage(devices, projects),
        *_device_families(devices),
        _stranded_devices(hosts, forecasts),
    )


def _flavor_families(
    forecasts: collections.abc.Sequence[capacity.Forecast],
) -> collections.abc.Iterator[MetricFamily]:
    known = [forecast for forecast in forecasts if forecast.demand is not None]
    yield MetricFamily(
        'openstack_free_capacity_by_flavor_total',
        'How many more servers of the flavor fit, as if it were the only one.',
        ('flavor_name', 'public'),
        tuple(
            (
                (forecast.flavor.name, str(forecast.flavor.is_public)),
                float(forecast.count or 0),
            )
            for forecast in known
        ),
    )
    yield MetricFamily(
        'openstack_free_capacity_hypervisor_by_flavor',
        'How many more servers of the flavor fit on the host.',
        ('hypervisor', 'flavor_name', 'az_aggregate', 'project_aggregate'),
        tuple(
            (
                (
                    on_host.host.node.name,
                    forecast.flavor.name,
                    _zone(on_host.host),
                    _project_aggregate(on_host.host),
                ),
                float(on_host.count),
            )
            for forecast in known
            for on_host in forecast.hosts
        ),
    )


def _project_aggregates(
    hosts: collections.abc.Iterable[capacity.HostCapacity],
) -> MetricFamily:
    aggregates = {
        (project, aggregate.name)
        for host in hosts
        for aggregate in host.aggregates
        for project in aggregate.tenants()
    }
    return MetricFamily(
        'openstack_project_filter_aggregate',
        'Projects for which an aggregate with GPU hosts is reserved.',
        ('project_id', 'aggregate'),
        tuple((labels, 1.0) for labels in sorted(aggregates)),
    )


def _project_usage(
    devices: collections.abc.Iterable[inventory.Device],
    projects: collections.abc.Mapping[str, str],
) -> MetricFamily:
    units: dict[tuple[str, str], int] = {}
    for device in devices:
        for consumer in device.consumers or ():
            if consumer.project_id and device.resource_class:
                key = (consumer.project_id, device.resource_class)
                units[key] = units.get(key, 0) + consumer.amount
    return MetricFamily(
        'openstack_project_usage',
        'Units of the resource class of devices that a project holds.',
        ('project_id', 'project_name', 'placement_resource'),
        tuple(
            ((project, projects.get(project, ''), name), float(amount))
            for (project, name), amount in sorted(units.items())
        ),
    )


def _stranded_devices(
    hosts: collections.abc.Sequence[capacity.HostCapacity],
    forecasts: collections.abc.Sequence[capacity.Forecast],
) -> MetricFamily:
    return MetricFamily(
        'openstack_gpu_stranded',
        'Free units of devices on a host that no flavor can use.',
        ('hypervisor', 'resource'),
        tuple(
            ((host.node.name, units.resource_class), float(units.stranded))
            for host, stranded in capacity.stranded_by_host(hosts, forecasts)
            for units in stranded
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


def _project_aggregate(host: capacity.HostCapacity) -> str:
    names = [
        aggregate.name for aggregate in host.aggregates if aggregate.tenants()
    ]
    return 'multiple' if len(names) > 1 else ''.join(names)


def _host_families(
    hosts: collections.abc.Iterable[capacity.HostCapacity],
) -> collections.abc.Iterator[MetricFamily]:
    allocated: list[_Sample] = []
    allocatable: list[_Sample] = []
    for host in hosts:
        for name, (used, units) in sorted(_resources(host).items()):
            labels = (host.node.name, name)
            allocated.append((labels, float(used)))
            allocatable.append((labels, float(units)))
    names = ('hypervisor', 'resource')
    yield MetricFamily(
        'openstack_hypervisor_placement_allocated',
        'Units that consumers hold, of a host and its devices.',
        names,
        tuple(allocated),
    )
    yield MetricFamily(
        'openstack_hypervisor_placement_allocatable_capacity',
        'Units that consumers can hold: total less reserved, times the '
        'allocation ratio.',
        names,
        tuple(allocatable),
    )


def _resources(host: capacity.HostCapacity) -> dict[str, tuple[int, int]]:
    """Return used units and capacity, by resource class."""
    resources = {
        resource.resource_class: (resource.used, resource.capacity)
        for resource in host.node.resources or ()
    }
    for device in host.devices:
        if device.resource_class is None or device.total is None:
            continue
        used, units = resources.get(device.resource_class, (0, 0))
        resources[device.resource_class] = (
            used + (device.used or 0),
            units + device.total - (device.reserved or 0),
        )
    return resources


def _device_families(
    devices: collections.abc.Sequence[inventory.Device],
) -> collections.abc.Iterator[MetricFamily]:
    # Prometheus reserves the suffix _total for counters.
    for name, key, meaning in (
        ('units', 'total', 'Units of a PCI device: 1, or the VFs of a PF.'),
        ('reserved', 'reserved', 'Reserved units of a PCI device.'),
        ('used', 'used', 'Units of a PCI device that consumers hold.'),
    ):
        yield MetricFamily(
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
