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

"""Servers that hold PCI devices, or whose flavor requests them."""

import collections.abc
import dataclasses

from openstack import connection

from gpuclient.cloud import keystone
from gpuclient.cloud.nova import hypervisors
from gpuclient.cloud.nova import servers as nova_servers
from gpuclient.cloud.placement import devices as placement_devices
from gpuclient.cloud.placement import owners
from gpuclient import exceptions
from gpuclient.model import inventory
from gpuclient.model import partial_result

_Devices = tuple[inventory.Device, ...]
_Failures = list[partial_result.Failure]


@dataclasses.dataclass(frozen=True)
class ServerFilters:
    """Which servers to list."""

    all_projects: bool = False
    project_id: str | None = None
    #: Name or id, and those of the domain.
    user: str | None = None
    user_domain: str | None = None
    #: Name of the compute service.
    host: str | None = None


@dataclasses.dataclass(frozen=True)
class ServerRecord:
    """A server with its devices."""

    server: inventory.Server
    project_name: str | None
    #: None where policy hides them.
    devices: _Devices | None

    def amount(self, device: inventory.Device) -> int:
        """Return how many units of a device the server holds."""
        return sum(
            consumer.amount
            for consumer in device.consumers or ()
            if consumer.uuid == self.server.uuid
        )


def read(
    cloud: connection.Connection, filters: ServerFilters
) -> partial_result.PartialResult[tuple[ServerRecord, ...]]:
    """Return servers that hold devices, or whose flavor requests them.

    :raises gpuclient.exceptions.CloudError: Nova does not list servers, or
        this user may not filter them so.
    """
    failures: _Failures = []
    servers = _list_servers(cloud, filters)
    devices = _read_devices(cloud, servers, failures)
    held = inventory.held(devices or ())
    projects = _project_names(cloud, servers, failures)
    return partial_result.PartialResult(
        tuple(
            ServerRecord(
                server,
                projects.get(server.project_id or ''),
                None if devices is None else tuple(held.get(server.uuid, ())),
            )
            for server in servers
            if server.uuid in held
            or inventory.requests_devices(server) is not False
        ),
        tuple(failures),
    )


def _list_servers(
    cloud: connection.Connection, filters: ServerFilters
) -> tuple[inventory.Server, ...]:
    user_id = None
    if filters.user is not None:
        user_id = keystone.find_user(cloud, filters.user, filters.user_domain)
    servers = nova_servers.list_servers(
        cloud.compute,
        all_projects=filters.all_projects or filters.project_id is not None,
        project_id=filters.project_id,
        user_id=user_id,
        service_host=filters.host,
    )
    if filters.host is not None:
        _check_host(cloud, filters.host, servers)
    return servers


def _check_host(
    cloud: connection.Connection,
    host: str,
    servers: collections.abc.Collection[inventory.Server],
) -> None:
    """Make sure that Nova has filtered servers by host, and has the host.

    :raises gpuclient.exceptions.Forbidden: This user may not see hosts.
    :raises gpuclient.exceptions.NotFound: There is no such compute service.
    """
    if any(server.service_host is None for server in servers):
        # Nova ignores a filter that the user may not use.
        raise exceptions.Forbidden(
            '--host requires a user who may see the hosts of servers (policy '
            'os_compute_api:os-extended-server-attributes)'
        )
    if servers:
        return
    try:
        known = {
            node.service_host
            for node in hypervisors.list_hypervisors(cloud.compute)
        }
    except exceptions.Forbidden as exc:
        raise exceptions.Forbidden(
            f'--host requires a user who may list hypervisors: {exc}'
        ) from exc
    if host not in known:
        raise exceptions.NotFound(
            f'Nova has no compute service on host {host!r}'
        )


def _read_devices(
    cloud: connection.Connection,
    servers: tuple[inventory.Server, ...],
    failures: _Failures,
) -> _Devices | None:
    """Return the devices in use; None where policy hides them."""
    requests = {inventory.requests_devices(server) for server in servers}
    if requests <= {False}:
        return ()
    try:
        answer = placement_devices.read_devices(
            cloud.placement,
            count_hosts=lambda: hypervisors.count(cloud.compute),
        )
        owned = owners.read_owners(cloud.placement, answer.value, servers)
    except exceptions.Forbidden as exc:
        if requests == {None}:
            raise exceptions.Forbidden(
                'No API shows this user which servers have devices: the '
                'extra specs of flavors are hidden (policy '
                f'os_compute_api:os-flavor-extra-specs:index) and {exc}'
            ) from exc
        return None
    except exceptions.CloudError as exc:
        failures.append(partial_result.Failure('devices of servers', str(exc)))
        return None
    failures += (*answer.failures, *owned.failures)
    return owned.value


def _project_names(
    cloud: connection.Connection,
    servers: tuple[inventory.Server, ...],
    failures: _Failures,
) -> dict[str, str]:
    if not servers:
        return {}
    try:
        return keystone.project_names(
            cloud,
            {
                server.project_id
                for server in servers
                if server.project_id is not None
            },
        )
    except exceptions.CloudError as exc:
        failures.append(partial_result.Failure('names of projects', str(exc)))
        return {}
