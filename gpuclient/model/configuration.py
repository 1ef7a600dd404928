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

"""The configuration of services, as far as devices are concerned."""

import collections.abc
import dataclasses
import typing

API = 'nova-api'
COMPUTE = 'nova-compute'
CONDUCTOR = 'nova-conductor'
SCHEDULER = 'nova-scheduler'
#: Who reads a nova.conf that no name gives to one of them.
ALL = (API, COMPUTE, CONDUCTOR, SCHEDULER)

#: Of Jinja, and of oslo.config.
_REFERENCES = ('{{', '{%', '$')

#: Keys and values that name objects of Kubernetes.
Labels: typing.TypeAlias = tuple[tuple[str, str], ...]


@dataclasses.dataclass(frozen=True, order=True)
class Place:
    """Where something stands."""

    path: str
    #: From 1; None for the file as a whole.
    line: int | None = None

    def __str__(self) -> str:
        return self.path if self.line is None else f'{self.path}:{self.line}'


@dataclasses.dataclass(frozen=True)
class Setting:
    """A value of an option, and where it stands."""

    text: str
    place: Place
    #: What a template makes of it, or whether it is there at all, is not
    #: known.
    depends: bool = False

    @property
    def is_known(self) -> bool:
        """Whether it is the value itself, not a template or a reference."""
        return not self.depends and not any(
            mark in self.text for mark in _REFERENCES
        )


@dataclasses.dataclass(frozen=True)
class Option:
    """A value of an option, with the option that it is of."""

    #: As oslo.config compares it: ``DEFAULT``, all others in lower case.
    section: str
    name: str
    setting: Setting


@dataclasses.dataclass(frozen=True)
class Service:
    """All that a service reads: one file, or several that add up."""

    #: Which services read it.
    readers: tuple[str, ...]
    place: Place
    #: All that it reads, in the order in which it counts. Values that a later
    #: layer replaced are not among them.
    options: tuple[Option, ...] = dataclasses.field(default=(), repr=False)
    #: ``[pci]alias``
    aliases: tuple[Setting, ...] = ()
    #: ``[pci]device_spec``
    device_specs: tuple[Setting, ...] = ()
    #: ``[filter_scheduler]pci_in_placement``; None where it is not set.
    pci_in_placement: bool | None = None
    #: ``[pci]report_in_placement``; None where it is not set.
    report_in_placement: bool | None = None
    #: ``[filter_scheduler]enabled_filters``
    enabled_filters: Setting | None = None

    def is_read_by(self, reader: str) -> bool:
        return reader in self.readers

    @property
    def is_control_plane(self) -> bool:
        """Whether anything but nova-compute reads it."""
        return any(name != COMPUTE for name in self.readers)

    def is_open(self, section: str, name: str) -> bool:
        """Return whether a template decides what an option is."""
        return any(
            option.setting.depends
            for option in self.options
            if (option.section, option.name) == (section, name)
        )

    def values(self, section: str, *names: str) -> tuple[Setting, ...]:
        """Return all values of an option, by any of its names."""
        return tuple(
            one.setting
            for one in self.options
            if one.section == section and one.name in names
        )

    def last(self, section: str, *names: str) -> Setting | None:
        """Return the value that counts of an option with one value."""
        values = self.values(section, *names)
        return values[-1] if values else None


def merge(services: collections.abc.Sequence[Service]) -> Service:
    """Return what a service reads that reads all of these, in their order."""
    first = services[0]

    def last(name: str) -> typing.Any:
        values = [getattr(one, name) for one in services]
        return next((one for one in reversed(values) if one is not None), None)

    return dataclasses.replace(
        first,
        options=tuple(one for each in services for one in each.options),
        aliases=tuple(one for each in services for one in each.aliases),
        device_specs=tuple(
            one for each in services for one in each.device_specs
        ),
        pci_in_placement=last('pci_in_placement'),
        report_in_placement=last('report_in_placement'),
        enabled_filters=last('enabled_filters'),
    )


@dataclasses.dataclass(frozen=True)
class HostSettings:
    """How hosts are set up: variables of the roles of ``edpm-ansible``."""

    #: ``edpm_kernel_args``
    kernel_arguments: Setting | None = None
    #: ``edpm_tuned_profile``
    tuned_profile: Setting | None = None
    #: ``edpm_tuned_isolated_cores``
    isolated_cores: Setting | None = None
    #: ``edpm_ovs_dpdk_pmd_core_list``: those of Open vSwitch.
    pmd_cores: Setting | None = None
    #: ``edpm_reboot_strategy``
    reboot_strategy: Setting | None = None
    #: ``edpm_kernel_hugepages`` sets huge pages, too.
    more_huge_pages: bool = False

    def all(self) -> tuple[Setting, ...]:
        """Return all that are set."""
        return tuple(
            one
            for one in (
                self.kernel_arguments,
                self.tuned_profile,
                self.isolated_cores,
                self.pmd_cores,
                self.reboot_strategy,
            )
            if one is not None
        )


@dataclasses.dataclass(frozen=True)
class Node:
    """A host of a node set, before it has a machine."""

    name: str
    #: ``bmhLabelSelector``
    selector: Labels
    place: Place


@dataclasses.dataclass(frozen=True)
class NodeSet:
    """Hosts that are deployed alike: OpenStackDataPlaneNodeSet."""

    place: Place
    #: The settings of all nodes, and of those that have others.
    settings: tuple[HostSettings, ...]
    #: Names of the services that are deployed, in order; None where the
    #: defaults are.
    services: tuple[Setting, ...] | None = None
    #: ``baremetalSetTemplate.bmhLabelSelector``
    selector: Labels = ()
    #: Where the selector stands; None where machines are not looked for.
    selector_place: Place | None = None
    nodes: tuple[Node, ...] = ()
    #: What nova-compute reads on the hosts, as far as it is known.
    computes: tuple[Service, ...] = ()


@dataclasses.dataclass(frozen=True)
class Machine:
    """A bare metal machine: BareMetalHost."""

    name: str
    place: Place
    labels: Labels = ()
    #: What has to be filled in: ``bmc.address``, ``bootMACAddress``.
    settings: tuple[Setting, ...] = ()
    #: What inspection found (``status.hardware``).
    cpus: int | None = None
    memory_mb: int | None = None
    #: ``Intel(R) Xeon(R) Platinum 8480+``
    cpu_model: str | None = None


@dataclasses.dataclass(frozen=True)
class DataPlaneService:
    """What is deployed under a name: OpenStackDataPlaneService."""

    name: str
    place: Place
    #: ``edpmServiceType``
    type: str
    #: Names of the ConfigMaps that it mounts.
    config_maps: tuple[str, ...] = ()
    #: What they have for nova-compute, as far as they are known.
    configuration: Service | None = None


@dataclasses.dataclass(frozen=True)
class DataPlane:
    """All that is not configuration of a service."""

    node_sets: tuple[NodeSet, ...] = ()
    machines: tuple[Machine, ...] = ()
    services: tuple[DataPlaneService, ...] = ()
    #: Names of services that deployments have in place of those of their node
    #: sets: ``servicesOverride``.
    overrides: tuple[Setting, ...] = ()
