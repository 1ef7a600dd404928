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

"""The devices of a cloud with their consumers."""

import collections.abc
import dataclasses
import functools

from openstack import connection

from gpuclient.cloud import keystone
from gpuclient.cloud.nova import hypervisors
from gpuclient.cloud.nova import pages as nova_pages
from gpuclient.cloud.nova import servers as nova_servers
from gpuclient.cloud.placement import devices as placement_devices
from gpuclient.cloud.placement import owners
from gpuclient.cloud.snapshot import replay
from gpuclient import exceptions
from gpuclient.model import inventory
from gpuclient.model import partial_result

#: GPU hosts are few if they are a smaller part of all hosts than this.
_FEW_HOSTS = 0.2


@dataclasses.dataclass(frozen=True)
class Usage:
    """Devices with their consumers."""

    devices: tuple[inventory.Device, ...]
    #: Servers of all projects, at least those on hosts with a device in use;
    #: empty if policy hides them, or if no device is in use.
    servers: tuple[inventory.Server, ...]
    #: Names of projects, by id; empty in the same cases.
    projects: dict[str, str]


def read_usage(
    cloud: connection.Connection,
    *,
    host: str | None = None,
    resource_class: str | None = None,
    traits: collections.abc.Iterable[str] = (),
) -> partial_result.PartialResult[Usage]:
    """Return the PCI devices in Placement with their consumers.

    Names come from Nova and Keystone, which are queried only if a device is in
    use. If policy hides names, only IDs are returned.

    :param host: Hypervisor hostname, or the name of the compute service.
    :raises gpuclient.exceptions.CloudError: Placement does not list devices,
        or not for this user.
    """
    traits = tuple(traits)
    placement_devices.check_traits(traits)
    if replay.is_replayed(cloud) and (host or resource_class or traits):
        # A snapshot has the answers for the whole cloud.
        whole = read_usage(cloud)
        return dataclasses.replace(
            whole,
            value=_only(cloud, whole.value, host, resource_class, traits),
        )
    size = _CloudSizeOnDemand(cloud)
    try:
        answer = _devices(cloud, size, host, resource_class, traits)
    except exceptions.Forbidden as exc:
        raise hidden(exc) from exc
    devices = answer.value
    if not any(device.used for device in devices):
        devices = owners.read_owners(cloud.placement, devices, ()).value
        return partial_result.PartialResult(
            Usage(devices, (), {}), answer.failures
        )
    failures = list(answer.failures)
    servers = _list_servers(
        cloud, _hosts_to_ask(devices, size, host), failures
    )
    owned = owners.read_owners(cloud.placement, devices, servers or ())
    failures += owned.failures
    devices, servers = _name_consumers(cloud, owned.value, servers, failures)
    projects: dict[str, str] = {}
    try:
        projects = keystone.project_names(
            cloud, inventory.project_ids(devices)
        )
    except exceptions.CloudError as exc:
        failures.append(partial_result.Failure('names of projects', str(exc)))
    return partial_result.PartialResult(
        Usage(devices, servers, projects), tuple(failures)
    )


def _only(
    cloud: connection.Connection,
    use: Usage,
    host: str | None,
    resource_class: str | None,
    traits: tuple[str, ...],
) -> Usage:
    """Return some of the devices of a cloud, as if only they were read.

    :raises gpuclient.exceptions.NotFound: There is no such host.
    :raises gpuclient.exceptions.NotRecorded: No device has a trait, which
        Placement refuses if it does not know it.
    """
    known = {trait for device in use.devices for trait in device.traits}
    for trait in traits:
        if trait not in known:
            raise exceptions.NotRecorded(
                f'No device in the snapshot has the trait {trait}, and the '
                'snapshot does not tell whether Placement knows it'
            )
    hosts = None if host is None else {host, *compute_nodes(cloud, host)}
    if hosts == {host} and not any(
        device.host == host for device in use.devices
    ):
        raise exceptions.NotFound(f'Placement has no compute host {host!r}')
    return dataclasses.replace(
        use,
        devices=tuple(
            device
            for device in use.devices
            if (hosts is None or device.host in hosts)
            and resource_class in (None, device.resource_class)
            and set(traits) <= set(device.traits)
        ),
    )


def _list_servers(
    cloud: connection.Connection,
    hosts: tuple[str, ...] | None,
    failures: list[partial_result.Failure],
) -> tuple[inventory.Server, ...] | None:
    """Return the servers of hosts; None if Nova does not list them."""
    try:
        return nova_servers.list_servers(
            cloud.compute, all_projects=True, hosts=hosts
        )
    except exceptions.Forbidden:
        # Placement shows the ids of servers nevertheless.
        return None
    except exceptions.CloudError as exc:
        failures.append(partial_result.Failure('names of servers', str(exc)))
        return None


def _name_consumers(
    cloud: connection.Connection,
    devices: tuple[inventory.Device, ...],
    servers: tuple[inventory.Server, ...] | None,
    failures: list[partial_result.Failure],
) -> tuple[tuple[inventory.Device, ...], tuple[inventory.Server, ...]]:
    """Return devices with the names of their servers, and all servers.

    A consumer that is no server is marked as orphaned, unless it is unknown
    which servers there are.

    :param servers: None if Nova does not list them.
    """
    if servers is None:
        return devices, ()
    try:
        servers += _elsewhere(cloud, devices)
    except exceptions.CloudError as exc:
        failures.append(partial_result.Failure('names of servers', str(exc)))
        return inventory.name_consumers(devices, servers), servers
    devices = inventory.name_consumers(devices, servers)
    return inventory.mark_orphans(devices), servers


def hidden(exc: exceptions.Forbidden) -> exceptions.Forbidden:
    """Return the error for users for whom Placement lists no devices."""
    return exceptions.Forbidden(
        (
            f'{exc}. Placement lists devices for administrators only (policy '
            'placement:resource_providers:list). As a member of a project, '
            'list your servers with "openstack gpu server list" and your '
            'flavors with "openstack gpu flavor list"'
        ),
        status=exc.status,
    )


class _CloudSizeOnDemand:
    """The size of a cloud, read once, and only when it is needed."""

    def __init__(self, cloud: connection.Connection) -> None:
        self._cloud = cloud

    @functools.cached_property
    def value(self) -> hypervisors.CloudSize | None:
        return hypervisors.size(self._cloud.compute)

    def hosts(self) -> int | None:
        return self.value.hosts if self.value else None


def _hosts_to_ask(
    devices: collections.abc.Iterable[inventory.Device],
    size: _CloudSizeOnDemand,
    host: str | None,
) -> tuple[str, ...] | None:
    """Return the hosts whose servers to list, or None to list all servers.

    Listing all servers takes a request for each thousand of them. The servers
    of one host, or of few GPU hosts among many, are fewer.
    """
    hosts = sorted({device.host for device in devices if device.used})
    if host is not None:
        return tuple(hosts)
    if 'value' not in vars(size) or size.value is None:
        # The size was not needed to read devices, so the cloud is small, or
        # most of its hosts have GPUs.
        return None
    pages = size.value.servers // nova_pages.SIZE
    part = len(hosts) / max(1, size.value.hosts)
    return tuple(hosts) if pages > 1 and part < _FEW_HOSTS else None


def _elsewhere(
    cloud: connection.Connection,
    devices: collections.abc.Iterable[inventory.Device],
) -> tuple[inventory.Server, ...]:
    """Return servers that hold devices of a host on which they do not run."""
    uuids = {
        consumer.uuid
        for device in devices
        for consumer in device.consumers or ()
        if consumer.name is None
        and consumer.consumer_type != inventory.MIGRATION
    }
    servers = (
        nova_servers.find_server(cloud.compute, uuid) for uuid in sorted(uuids)
    )
    return tuple(server for server in servers if server is not None)


def _devices(
    cloud: connection.Connection,
    size: _CloudSizeOnDemand,
    host: str | None,
    resource_class: str | None,
    traits: tuple[str, ...],
) -> partial_result.PartialResult[tuple[inventory.Device, ...]]:
    def read(
        name: str | None,
    ) -> partial_result.PartialResult[tuple[inventory.Device, ...]]:
        return placement_devices.read_devices(
            cloud.placement,
            host=name,
            resource_class=resource_class,
            traits=traits,
            count_hosts=size.hosts,
        )

    try:
        return read(host)
    except exceptions.NotFound:
        if host is None:
            raise
        names = hypervisor_hostnames(cloud, host)
        if not names:
            raise
    answers = [read(name) for name in names]
    return partial_result.PartialResult(
        tuple(device for answer in answers for device in answer.value),
        tuple(failure for answer in answers for failure in answer.failures),
    )


def hypervisor_hostnames(
    cloud: connection.Connection, service_host: str
) -> tuple[str, ...]:
    """Return the hypervisor hostnames of a compute service.

    :returns: Empty if this user sees no such service.
    """
    try:
        return hypervisors.hypervisor_hostnames(cloud.compute, service_host)
    except exceptions.CloudError:
        # The caller reports that no host has the name.
        return ()


def compute_nodes(cloud: connection.Connection, name: str) -> frozenset[str]:
    """Return the compute nodes that a name identifies.

    :param name: Hypervisor hostname, or the name of the compute service.
    :returns: Empty if this user sees no such host.
    """
    try:
        return frozenset(
            node.name
            for node in hypervisors.list_hypervisors(cloud.compute)
            if name in (node.name, node.service_host)
        )
    except exceptions.CloudError:
        return frozenset()


def hosts_without_devices(
    cloud: connection.Connection,
    devices: collections.abc.Iterable[inventory.Device],
    host: str | None,
) -> tuple[str, ...]:
    """Return the compute nodes that report no device to Placement.

    :param host: Hypervisor hostname, or the name of the compute service, of
        the only host to return; None for all.
    :raises gpuclient.exceptions.CloudError: Nova does not list them.
    """
    with_devices = {device.host for device in devices}
    return tuple(
        sorted(
            node.name
            for node in hypervisors.list_hypervisors(cloud.compute)
            if node.name not in with_devices
            and host in (None, node.name, node.service_host)
        )
    )
