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

"""Compute nodes: how many, Nova's two names of each, and their state."""

import collections.abc
import dataclasses

from openstack.compute.v2 import _proxy

from gpuclient.cloud.nova import pages
from gpuclient.cloud import request
from gpuclient.cloud import schema
from gpuclient import exceptions

#: The first that names the service in each record; from 2.88 on each costs
#: a call to the compute for its uptime.
_WITH_SERVICE = '2.53'
_TEXT = schema.Optional(str)
_HYPERVISOR: dict[str, schema.Shape] = {
    'hypervisor_hostname': str,
    'status': _TEXT,
    'state': _TEXT,
    'service': schema.Optional({'host': _TEXT, 'disabled_reason': _TEXT}),
}


@dataclasses.dataclass(frozen=True)
class Hypervisor:
    """A compute node, as Nova knows it."""

    #: Hypervisor hostname, by which Placement knows it, too.
    name: str
    #: Name of its compute service.
    service_host: str | None
    #: Its service is not disabled.
    enabled: bool
    #: Its service reports itself.
    up: bool
    disabled_reason: str | None = None

    @property
    def closed(self) -> str:
        """Why it gets no new servers; empty where it does.

        ``nova/scheduler/filters/compute_filter.py``
        """
        if not self.enabled:
            reason = (
                f': {self.disabled_reason}' if self.disabled_reason else ''
            )
            return f'nova-compute is disabled{reason}'
        return '' if self.up else 'nova-compute is down'


def list_hypervisors(
    compute: _proxy.Proxy,
) -> collections.abc.Iterator[Hypervisor]:
    """Yield all compute nodes, with one request for a thousand of them.

    :raises gpuclient.exceptions.CloudError: With the server's own words.
    """
    for record in pages.read(
        compute,
        '/os-hypervisors/detail',
        'hypervisors',
        'reading hypervisors',
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
        )


@dataclasses.dataclass(frozen=True)
class CloudSize:
    """How large a cloud is, disabled hosts left out."""

    hosts: int
    servers: int


def size(compute: _proxy.Proxy) -> CloudSize | None:
    """Return how large the cloud is, with one request.

    It helps to choose between ways to read the cloud and nothing depends on
    it, so no answer is no failure.
    """
    try:
        # 2.88 took it away.
        found = request.get(
            compute,
            '/os-hypervisors/statistics',
            'reading how many hosts there are',
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
    # Sums of no host are null.
    return CloudSize(found['count'] or 0, found['running_vms'] or 0)


def count(compute: _proxy.Proxy) -> int | None:
    """Return how many hosts there are; None as :func:`size`."""
    found = size(compute)
    return found.hosts if found else None


def hypervisor_hostnames(
    compute: _proxy.Proxy, service_host: str
) -> tuple[str, ...]:
    """Return the hypervisor hostnames of a compute service.

    Placement knows a host by its hypervisor hostname, which often is the
    fully qualified form of the name of the compute service; a service has
    several with Ironic only.

    :raises gpuclient.exceptions.CloudError: With the server's own words.
    """
    return tuple(
        found.name
        for found in list_hypervisors(compute)
        if found.service_host == service_host
    )
