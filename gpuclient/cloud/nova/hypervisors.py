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

"""Compute nodes: their number, their names in Nova, and their state."""

import collections.abc
import dataclasses
import typing

from openstack.compute.v2 import _proxy

from gpuclient.cloud.nova import pages
from gpuclient.cloud import request
from gpuclient.cloud import schema
from gpuclient import exceptions

#: The first microversion with the service in each record; from 2.88 on each
#: record costs a call of the compute for its uptime.
_WITH_SERVICE = '2.53'
_TEXT = schema.Optional(str)
_HYPERVISOR: dict[str, schema.Shape] = {
    'id': schema.OneOf((int, str)),
    'hypervisor_hostname': str,
    'status': _TEXT,
    'state': _TEXT,
    'service': schema.Optional({'host': _TEXT, 'disabled_reason': _TEXT}),
    'memory_mb': schema.Optional(int),
}
#: Fields of a record that filters read, and their names in nova-scheduler
#: (``nova/api/openstack/compute/hypervisors.py``).
_STATE = {
    'cpu_info': 'cpu_info',
    'free_ram_mb': 'free_ram_mb',
    'host_ip': 'host_ip',
    'hypervisor_type': 'hypervisor_type',
    'hypervisor_version': 'hypervisor_version',
    'local_gb': 'total_usable_disk_gb',
    'memory_mb': 'total_usable_ram_mb',
    'running_vms': 'num_instances',
    'vcpus': 'vcpus_total',
    'vcpus_used': 'vcpus_used',
}


@dataclasses.dataclass(frozen=True)
class Hypervisor:
    """A compute node of Nova."""

    #: Hypervisor hostname, which is also the name of its resource provider.
    name: str
    #: Name of its compute service.
    service_host: str | None
    #: Whether its service is enabled.
    enabled: bool
    #: Whether its service reports its state.
    up: bool
    disabled_reason: str | None = None
    #: The memory that the virt driver found; None where it is not known.
    memory_mb: int | None = None
    #: Id of the compute node, which is that of its resource provider.
    uuid: str = ''
    #: NUMA nodes of the host; None where the virt driver does not tell.
    numa_nodes: int | None = None
    #: Bits of a physical address, with which Nova compares
    #: ``hw:maxphysaddr_bits``; likewise.
    address_bits: int | None = None
    #: Attributes of ``nova/scheduler/host_manager.py:HostState``.
    state: dict[str, typing.Any] = dataclasses.field(default_factory=dict)

    @property
    def closed(self) -> str:
        """Why it gets no new servers; empty if it does.

        ``nova/scheduler/filters/compute_filter.py``
        """
        return self.disabled or self.down

    @property
    def disabled(self) -> str:
        """Why its service is not enabled; empty if it is."""
        if self.enabled:
            return ''
        reason = f': {self.disabled_reason}' if self.disabled_reason else ''
        return f'nova-compute is disabled{reason}'

    @property
    def down(self) -> str:
        """Why its service is not up; empty if it is."""
        return '' if self.up else 'nova-compute is down'


def list_hypervisors(
    compute: _proxy.Proxy,
) -> collections.abc.Iterator[Hypervisor]:
    """Yield all compute nodes, with one request for each thousand.

    :raises gpuclient.exceptions.CloudError: With the server's message.
    """
    for record in pages.read(
        compute,
        '/os-hypervisors/detail',
        'hypervisors',
        'listing hypervisors',
        _HYPERVISOR,
        microversion=_WITH_SERVICE,
    ):
        service = record.get('service') or {}
        yield Hypervisor(
            name=record['hypervisor_hostname'],
            service_host=service.get('host'),
            enabled=record.get('status') == 'enabled',
            up=record.get('state') == 'up',
            disabled_reason=service.get('disabled_reason'),
            memory_mb=record.get('memory_mb'),
            uuid=str(record['id']),
            numa_nodes=_cpu_value(record, 'topology', 'cells'),
            address_bits=_cpu_value(record, 'maxphysaddr', 'bits'),
            state={
                attribute: record[key]
                for key, attribute in _STATE.items()
                if record.get(key) is not None
            },
        )


def _cpu_value(
    record: dict[str, typing.Any], section: str, name: str
) -> int | None:
    """Return a number that the virt driver reports of the CPU.

    The libvirt driver reports an object, and others may report any text
    (``nova/virt/libvirt/driver.py:_get_cpu_info``).
    """
    value: typing.Any = record.get('cpu_info')
    for key in (section, name):
        value = value.get(key) if isinstance(value, dict) else None
    return value if type(value) is int and value > 0 else None


@dataclasses.dataclass(frozen=True)
class CloudSize:
    """The size of a cloud, without disabled hosts."""

    hosts: int
    servers: int


def size(compute: _proxy.Proxy) -> CloudSize | None:
    """Return the size of a cloud, with one request.

    It only helps to choose how to read the cloud, so a failure is ignored.
    """
    try:
        # Microversion 2.88 removed it.
        statistics = request.get(
            compute,
            '/os-hypervisors/statistics',
            'reading the number of hosts',
            {
                'hypervisor_statistics': {
                    'count': schema.Optional(int),
                    'running_vms': schema.Optional(int),
                }
            },
            microversion=_WITH_SERVICE,
        )['hypervisor_statistics']
    except exceptions.CloudError:
        return None
    # Without hosts, sums are null.
    return CloudSize(statistics['count'] or 0, statistics['running_vms'] or 0)


def count(compute: _proxy.Proxy) -> int | None:
    """Return the number of hosts; None as :func:`size`."""
    known = size(compute)
    return known.hosts if known else None


def hypervisor_hostnames(
    compute: _proxy.Proxy, service_host: str
) -> tuple[str, ...]:
    """Return the hypervisor hostnames of a compute service.

    The resource provider of a host has its hypervisor hostname, which often is
    the fully qualified name of the compute service. Only with Ironic a service
    has several.

    :raises gpuclient.exceptions.CloudError: With the server's message.
    """
    return tuple(
        node.name
        for node in list_hypervisors(compute)
        if node.service_host == service_host
    )
