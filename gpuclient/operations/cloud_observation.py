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

"""Read what an upgrade of Nova may change in a running cloud."""

import collections.abc
import dataclasses
import typing

from openstack import connection

from gpuclient.cloud import capacity as cloud_capacity
from gpuclient.cloud import keystone
from gpuclient.cloud.nova import flavors as nova_flavors
from gpuclient.cloud.nova import servers as nova_servers
from gpuclient.cloud.nova import services as nova_services
from gpuclient.cloud.placement import owners
from gpuclient.cloud import request
from gpuclient import exceptions
from gpuclient.model import capacity
from gpuclient.model import cloud_state
from gpuclient.model import deployment
from gpuclient.model import inventory
from gpuclient.model import partial_result
from gpuclient.model import release as release_model
from gpuclient.operations import cloud_inspection
from gpuclient.operations import gpu_check
from gpuclient.operations import limit_reading

_T = typing.TypeVar('_T')


class _Observation:
    """The parts that could not be read."""

    def __init__(self, cloud: connection.Connection) -> None:
        self.cloud = cloud
        self.failures: list[partial_result.Failure] = []

    def read(
        self, source: str, function: collections.abc.Callable[[], _T]
    ) -> _T | None:
        """Return a part; None if the cloud does not return it."""
        try:
            # The SDK discovers the versions of a service when it is first
            # used.
            with request.library_errors(f'Reading {source}'):
                return function()
        except exceptions.GPUError as exc:
            self.failures.append(partial_result.Failure(source, str(exc)))
            return None

    def hosts(
        self, servers: tuple[inventory.Server, ...]
    ) -> tuple[capacity.HostCapacity, ...]:
        """Return the hosts of devices, with the consumers of each."""
        answer = cloud_capacity.read_hosts(self.cloud)
        self.failures += answer.failures
        owned = owners.read_owners(
            self.cloud.placement,
            [device for host in answer.value for device in host.devices],
            servers,
        )
        self.failures += owned.failures
        return tuple(
            dataclasses.replace(
                host,
                devices=tuple(
                    device
                    for device in owned.value
                    if device.root_uuid == host.node.uuid
                ),
            )
            for host in answer.value
        )

    def projects(
        self, hosts: tuple[capacity.HostCapacity, ...]
    ) -> dict[str, str]:
        """Return the names of the projects that use devices, by id."""
        ids = inventory.project_ids(
            device for host in hosts for device in host.devices
        )
        return keystone.project_names(self.cloud, ids) if ids else {}


def read(
    cloud: connection.Connection,
    release: release_model.Release,
    tree: deployment.Deployment,
) -> partial_result.PartialResult[cloud_state.CloudState]:
    """Return the state of a cloud, and the parts that could not be read.

    :param tree: Its configuration; empty if it is not known.
    """
    observation = _Observation(cloud)
    read_part = observation.read
    flavors = read_part(
        'flavors', lambda: nova_flavors.list_flavors(cloud.compute)
    )
    computes = read_part(
        'compute services', lambda: nova_services.list_computes(cloud.compute)
    )
    nodes = read_part(
        'compute nodes', lambda: cloud_inspection.list_nodes(cloud)
    )
    servers = read_part(
        'servers',
        lambda: nova_servers.list_servers(cloud.compute, all_projects=True),
    )
    hosts = read_part(
        'PCI devices and their hosts',
        lambda: observation.hosts(servers or ()),
    )
    limits = read_part('unified limits', lambda: limit_reading.read(cloud))
    projects = read_part(
        'names of projects', lambda: observation.projects(hosts or ())
    )
    return partial_result.PartialResult(
        cloud_state.CloudState(
            release=release,
            flavors=flavors,
            computes=computes,
            nodes=nodes,
            servers=servers,
            hosts=hosts,
            limits=limits,
            projects=projects or {},
            configured=gpu_check.configured(tree, nodes or ()),
        ),
        tuple(observation.failures),
    )
