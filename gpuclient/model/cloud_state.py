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

"""The state of a cloud as its APIs show it, for the checks of a cloud.

A part that could not be read is None, and :attr:`CloudState.reasons` says why.
"""

import collections
import collections.abc
import dataclasses
import functools

from gpuclient.model import alias as alias_model
from gpuclient.model import capacity
from gpuclient.model import flavor as flavor_model
from gpuclient.model import inventory
from gpuclient.model import limits as limits_model
from gpuclient.model import release as release_model

#: Statuses of servers that hold no devices of a host, or not yet.
_WITHOUT_HOST = frozenset({'BUILD', 'DELETED', 'ERROR', 'SHELVED_OFFLOADED'})


@dataclasses.dataclass(frozen=True)
class ComputeNode:
    """A compute node of Nova."""

    #: Hypervisor hostname, which is also the name of its resource provider.
    name: str
    #: Name of its compute service; None where it is not known.
    service_host: str | None
    enabled: bool = True
    up: bool = True
    disabled_reason: str | None = None
    #: The memory that the virt driver found; None where it is not known.
    memory_mb: int | None = None


@dataclasses.dataclass(frozen=True)
class ControlService:
    """A service of Nova other than nova-compute."""

    #: ``nova-scheduler``
    binary: str
    host: str
    up: bool


@dataclasses.dataclass(frozen=True)
class ComputeService:
    """A nova-compute; the API of Nova does not show its version."""

    host: str
    #: Whether it reports its state; False if it is forced down.
    up: bool = True
    forced_down: bool = False
    #: When it last reported its state, ``2026-11-29T11:14:00.965486``; None if
    #: it never did.
    seen: str | None = None


@dataclasses.dataclass(frozen=True)
class AliasAnswer:
    """An answer of nova-api about an alias, and how often it was given."""

    #: ``defined``, ``not defined``, ``broken`` or ``unknown``.
    state: str
    explanation: str
    count: int = 1


@dataclasses.dataclass(frozen=True)
class ForeignProvider:
    """A resource provider that another service than Nova created."""

    name: str
    root_uuid: str
    #: PCI address in its name, lower case.
    address: str


@dataclasses.dataclass(frozen=True)
class Configured:
    """What documents say of the cloud that its APIs do not show."""

    #: ``[filter_scheduler]pci_in_placement`` of a service of the control
    #: plane; None where no document sets it.
    pci_in_placement: bool | None = None
    #: Compute nodes whose configuration has a ``[pci]device_spec``.
    hosts_with_specs: frozenset[str] = frozenset()
    #: GPUs that are bound to vfio-pci, by compute node, as bundles show.
    passed_through: dict[str, int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class CloudState:
    """What the APIs of a cloud show; None is what could not be read."""

    release: release_model.Release
    #: All flavors that this user sees.
    flavors: tuple[flavor_model.Flavor, ...] | None = None
    #: Compute nodes with PCI devices.
    hosts: tuple[capacity.HostCapacity, ...] | None = None
    nodes: tuple[ComputeNode, ...] | None = None
    services: tuple[ControlService, ...] | None = None
    computes: tuple[ComputeService, ...] | None = None
    #: Servers of all projects.
    servers: tuple[inventory.Server, ...] | None = None
    #: Of flavors that request devices.
    forecasts: tuple[capacity.Forecast, ...] | None = None
    #: Definitions by name, of documents or as servers show them.
    aliases: dict[str, alias_model.Alias] | None = None
    #: Names of those that servers show, which have a resource class only.
    inferred: frozenset[str] = frozenset()
    #: Answers of nova-api, by alias.
    answers: dict[str, tuple[AliasAnswer, ...]] | None = None
    limits: limits_model.UnifiedLimits | None = None
    #: Servers that were resized; read only where a limit is exceeded.
    resized: frozenset[str] | None = None
    #: Names of projects by ID, as far as they are known.
    projects: dict[str, str] = dataclasses.field(default_factory=dict)
    #: Types of services in the catalog; None where there is no catalog.
    service_types: frozenset[str] | None = None
    #: Providers with a PCI address that Nova did not create.
    foreign: tuple[ForeignProvider, ...] | None = None
    configured: Configured | None = None
    #: Why a part is None, by the name of its field.
    reasons: dict[str, str] = dataclasses.field(default_factory=dict)

    @functools.cached_property
    def devices(self) -> tuple[inventory.Device, ...]:
        """All PCI devices in Placement."""
        return tuple(
            device for host in self.hosts or () for device in host.devices
        )

    @functools.cached_property
    def device_classes(self) -> frozenset[str] | None:
        """The resource classes of PCI devices; None where not known."""
        if self.hosts is None:
            return None
        return frozenset(
            device.resource_class
            for device in self.devices
            if device.resource_class is not None
        )

    @functools.cached_property
    def device_flavors(self) -> tuple[flavor_model.Flavor, ...]:
        """Flavors that request devices, or are meant to, sorted by name."""
        return tuple(
            sorted(
                (
                    flavor
                    for flavor in self.flavors or ()
                    if flavor_model.is_for_devices(flavor, self.device_classes)
                ),
                key=lambda flavor: flavor.name,
            )
        )

    @functools.cached_property
    def requested_aliases(self) -> tuple[str, ...]:
        """Names of aliases that flavors request, sorted."""
        return tuple(
            sorted(
                {
                    name
                    for flavor in self.flavors or ()
                    for name, count in (flavor.aliases or {}).items()
                    if count
                }
            )
        )

    @functools.cached_property
    def refused_aliases(self) -> frozenset[str]:
        """Aliases that no nova-api that answered knows."""
        return frozenset(
            name
            for name, answers in (self.answers or {}).items()
            if answers
            and all(answer.state == 'not defined' for answer in answers)
        )

    def class_of(self, alias: str) -> str | None:
        """Return the resource class of an alias; None where not known."""
        definition = (self.aliases or {}).get(alias)
        return None if definition is None else definition.placement_class

    @functools.cached_property
    def device_servers(self) -> dict[str, tuple[inventory.Server, ...]]:
        """Servers that run with devices by alias, by compute node."""
        by_host: dict[str, list[inventory.Server]] = {}
        for server in self.servers or ():
            if (
                server.host is not None
                and server.status not in _WITHOUT_HOST
                and any(
                    inventory.requested_aliases(server.extra_specs).values()
                )
            ):
                by_host.setdefault(server.host, []).append(server)
        return {host: tuple(servers) for host, servers in by_host.items()}

    def usage(self) -> dict[tuple[str, str], int]:
        """Return units by project and resource class, as servers show them.

        Without aliases of which the resource class is not known.
        """
        units: collections.Counter[tuple[str, str]] = collections.Counter()
        for servers in self.device_servers.values():
            for server in servers:
                requests = inventory.requested_aliases(server.extra_specs)
                for alias, count in requests.items():
                    name = self.class_of(alias)
                    if name is not None and server.project_id is not None:
                        units[server.project_id, name] += count
        return dict(units)

    def project_name(self, project_id: str) -> str:
        """Return the name of a project, or its ID."""
        return self.projects.get(project_id) or project_id
