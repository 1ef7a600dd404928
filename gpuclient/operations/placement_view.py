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

"""PCI devices as Placement has them, with their hosts and consumers."""

import collections.abc
import dataclasses

from openstack import connection

from gpuclient.cloud.nova import hypervisors
from gpuclient.cloud.placement import devices as placement_devices
from gpuclient.cloud import usage
from gpuclient.documents import aliases as alias_documents
from gpuclient import exceptions
from gpuclient.model import expectation
from gpuclient.model import inventory
from gpuclient.model import partial_result
from gpuclient.operations import alias_inventory
from gpuclient.operations import expected_devices


@dataclasses.dataclass(frozen=True)
class DeviceFilters:
    """Which devices to list."""

    #: Hypervisor hostname, or the name of the compute service.
    host: str | None = None
    resource_class: str | None = None
    traits: tuple[str, ...] = ()
    project_id: str | None = None
    free: bool = False
    used: bool = False

    @property
    def are_of_devices(self) -> bool:
        """Whether they filter by more than the host."""
        return self != DeviceFilters(host=self.host)


@dataclasses.dataclass(frozen=True)
class DeviceList:
    """Devices, and hosts that report none."""

    devices: tuple[inventory.Device, ...]
    hosts_without_devices: tuple[str, ...]
    #: Names of projects, by id.
    projects: dict[str, str]

    @property
    def rows(self) -> list[tuple[str, inventory.Device | None]]:
        """Hosts with a device each, sorted by host."""
        rows: list[tuple[str, inventory.Device | None]] = [
            *((device.host, device) for device in self.devices),
            *((host, None) for host in self.hosts_without_devices),
        ]
        # Devices of a host keep their order.
        return sorted(rows, key=lambda row: row[0])


def list_devices(
    cloud: connection.Connection, filters: DeviceFilters, *, all_hosts: bool
) -> partial_result.PartialResult[DeviceList]:
    """Return devices; a host that is named is listed without any, too.

    :param all_hosts: List all hosts that report no device.
    """
    answer = usage.read_usage(
        cloud,
        host=filters.host,
        resource_class=filters.resource_class,
        traits=filters.traits,
    )
    use = answer.value
    without: tuple[str, ...] = ()
    if all_hosts or (
        filters.host and not filters.are_of_devices and not use.devices
    ):
        without = usage.hosts_without_devices(cloud, use.devices, filters.host)
    devices = inventory.select(
        use.devices,
        project_id=filters.project_id,
        free=filters.free,
        used=filters.used,
    )
    return partial_result.PartialResult(
        DeviceList(devices, without, use.projects), answer.failures
    )


@dataclasses.dataclass(frozen=True)
class ExpectedDevice:
    """A device that configuration makes a host report, and its state."""

    expected: expectation.Expectation
    state: str

    @property
    def is_reported(self) -> bool:
        return self.state == expectation.REPORTED


def list_expected(
    cloud: connection.Connection,
    paths: collections.abc.Iterable[str],
    host: str | None,
) -> partial_result.PartialResult[tuple[ExpectedDevice, ...]]:
    """Compare the devices that hosts are to report with those in Placement.

    :param paths: Descriptions, or files and folders of configuration.
    :param host: The only host, also of files that do not name theirs.
    """
    wanted = expected_devices.read(paths, host)
    answer = placement_devices.read_devices(
        cloud.placement,
        count_hosts=lambda: hypervisors.count(cloud.compute),
    )
    return partial_result.PartialResult(
        tuple(
            ExpectedDevice(expected, expected.state(answer.value))
            for expected in wanted
            if not host or expectation.is_host(host, expected.host)
        ),
        answer.failures,
    )


@dataclasses.dataclass(frozen=True)
class NamedDevices:
    """The devices that a name identifies."""

    #: ``device``, ``host``, ``resource class`` or ``alias``.
    kind: str
    devices: tuple[inventory.Device, ...]
    #: Names of projects, by id.
    projects: dict[str, str]
    #: Where the definition of an alias comes from, or why there is no device.
    source: str | None = None

    @property
    def totals(self) -> inventory.Totals:
        return inventory.totals(self.devices)


def find(
    cloud: connection.Connection,
    name: str,
    files: collections.abc.Iterable[str],
) -> partial_result.PartialResult[NamedDevices]:
    """Return what a name identifies: a device, host, class or alias.

    :param files: Configuration that defines aliases.
    :raises gpuclient.exceptions.NotFound: Nothing has the name.
    """
    documents = alias_documents.read_all(files)
    answer = usage.read_usage(cloud)
    use = answer.value
    match = inventory.find(use.devices, name)
    if match is not None:
        named = NamedDevices(match.kind, match.devices, use.projects)
    else:
        named = (
            _find_host(cloud, name, use)
            or _find_defined_alias(name, documents, use)
            or _find_inferred_alias(name, use)
        )
    return partial_result.PartialResult(named, answer.failures)


def _find_host(
    cloud: connection.Connection, name: str, use: usage.Usage
) -> NamedDevices | None:
    """Return a host that Placement does not name so, or that has no device."""
    hosts = usage.compute_nodes(cloud, name)
    if not hosts:
        return None
    devices = tuple(device for device in use.devices if device.host in hosts)
    return NamedDevices(
        'host',
        devices,
        use.projects,
        None if devices else 'nova-compute reports no PCI device to Placement',
    )


def _find_defined_alias(
    name: str,
    documents: tuple[alias_documents.AliasDocument, ...],
    use: usage.Usage,
) -> NamedDevices | None:
    for document in documents:
        for defined in document.aliases:
            if defined.alias.name == name:
                return NamedDevices(
                    'alias',
                    inventory.of_alias(use.devices, defined.alias),
                    use.projects,
                    defined.where,
                )
    return None


def _find_inferred_alias(name: str, use: usage.Usage) -> NamedDevices:
    inferred = alias_inventory.infer(name, use)
    if inferred is None:
        raise exceptions.NotFound(
            f'No host, device or resource class has the name {name!r}, and '
            'no server with devices has booted with an alias of that name. '
            'To look up an alias, pass the file that defines it with --config'
        )
    return NamedDevices(
        'alias', inferred.devices, use.projects, inferred.source
    )
