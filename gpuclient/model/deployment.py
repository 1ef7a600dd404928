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

"""The processes of Nova, the configuration that they read, and their hosts.

A process reads its sources in order; each is a file, or the parts from which a
deployment tool creates one file. :mod:`gpuclient.documents.tree` creates the
processes; no other code decides what a process reads.
"""

import collections.abc
import dataclasses
import functools
import posixpath

from gpuclient.model import configuration
from gpuclient.model import nova_options
from gpuclient.model import oslo_values


@dataclasses.dataclass(frozen=True)
class Source:
    """Configuration that a process reads as one file."""

    place: configuration.Place
    #: The options that it sets, in order, without values that a later layer
    #: of the deployment tool replaces.
    options: tuple[configuration.Option, ...] = dataclasses.field(
        default=(), repr=False
    )
    #: The name of the file, where files of a folder are read in the order of
    #: their names.
    name: str = ''


@dataclasses.dataclass(frozen=True)
class Process:
    """A process of Nova, or several kinds that read the same sources."""

    #: The kinds, ``nova-api``.
    readers: tuple[str, ...]
    place: configuration.Place
    #: In the order in which they are read: the last value of an option is in
    #: effect.
    sources: tuple[Source, ...] = ()
    #: The host that it runs on; None where it is not known.
    host: str | None = None
    #: The deployment tool whose documents its configuration is created from;
    #: empty for files of Nova.
    tool: str = ''

    @functools.cached_property
    def options(self) -> tuple[configuration.Option, ...]:
        """All options that it reads, in order."""
        return tuple(
            option for source in self.sources for option in source.options
        )

    @functools.cached_property
    def aliases(self) -> tuple[configuration.Setting, ...]:
        """``[pci]alias``"""
        return self._all(nova_options.ALIAS)

    @functools.cached_property
    def device_specs(self) -> tuple[configuration.Setting, ...]:
        """``[pci]device_spec``"""
        return self._all(nova_options.DEVICE_SPEC)

    @property
    def pci_in_placement(self) -> bool | None:
        """``[filter_scheduler]pci_in_placement``; None where it is not set."""
        return self._boolean(nova_options.PCI_IN_PLACEMENT)

    @property
    def report_in_placement(self) -> bool | None:
        """``[pci]report_in_placement``; None where it is not set."""
        return self._boolean(nova_options.REPORT_IN_PLACEMENT)

    @property
    def enabled_filters(self) -> configuration.Setting | None:
        """``[filter_scheduler]enabled_filters``"""
        return self.last('filter_scheduler', 'enabled_filters')

    def is_read_by(self, reader: str) -> bool:
        return reader in self.readers

    @property
    def is_control_plane(self) -> bool:
        """Whether it is a service other than nova-compute."""
        return any(name != configuration.COMPUTE for name in self.readers)

    def is_open(self, section: str, name: str) -> bool:
        """Return whether an option has a template or a reference in it."""
        return any(
            not setting.is_known for setting in self._all(((section, name),))
        )

    def values(
        self, section: str, *names: str
    ) -> tuple[configuration.Setting, ...]:
        """Return all values of an option, in the order that Nova has them.

        :param names: The name, then deprecated names.
        """
        return self._all(tuple((section, name) for name in names))

    def last(self, section: str, *names: str) -> configuration.Setting | None:
        """Return the value in effect of an option with one value."""
        values = self.values(section, *names)
        return values[-1] if values else None

    def _all(
        self, names: nova_options.Names
    ) -> tuple[configuration.Setting, ...]:
        """Return all values of an option.

        Values of a later source come later. Within a source oslo.config
        prepends the values of each name
        (``oslo_config/cfg.py:_Namespace._get_file_value``), so those of the
        last deprecated name come first.
        """
        return tuple(
            setting
            for named in self._named
            for name in reversed(names)
            for setting in named.get(name, ())
        )

    @functools.cached_property
    def _named(
        self,
    ) -> tuple[dict[tuple[str, str], list[configuration.Setting]], ...]:
        """The options of each source, by section and name."""
        by_source = []
        for source in self.sources:
            named: dict[tuple[str, str], list[configuration.Setting]] = {}
            for option in source.options:
                settings = named.setdefault((option.section, option.name), [])
                settings.append(option.setting)
            by_source.append(named)
        return tuple(by_source)

    def _boolean(self, names: nova_options.Names) -> bool | None:
        values = self._all(names)
        return oslo_values.boolean_or_none(values[-1].text) if values else None


def are_in_one_folder(have_pci: collections.abc.Iterable[bool]) -> bool:
    """Return whether one nova-compute reads ConfigMaps that no service mounts.

    :param have_pci: Whether each ConfigMap of a file has a section ``[pci]``:
        several with one are those of different hosts.
    """
    return sum(have_pci) <= 1


def in_one_folder(processes: collections.abc.Sequence[Process]) -> Process:
    """Return the process that reads the files of all as one folder."""
    whole = joined(processes)
    return dataclasses.replace(
        whole,
        place=processes[0].place,
        sources=tuple(sorted(whole.sources, key=lambda source: source.name)),
    )


def joined(processes: collections.abc.Sequence[Process]) -> Process:
    """Return the process that reads the sources of all, in order."""
    return dataclasses.replace(
        processes[-1],
        sources=tuple(
            source for process in processes for source in process.sources
        ),
    )


@dataclasses.dataclass(frozen=True)
class NodeSet:
    """Hosts with the same configuration: OpenStackDataPlaneNodeSet."""

    place: configuration.Place
    #: The settings of all nodes, and those of nodes that differ.
    settings: tuple[configuration.HostSettings, ...]
    #: Names of the services that are deployed, in order; None for the default
    #: services.
    services: tuple[configuration.Setting, ...] | None = None
    #: ``baremetalSetTemplate.bmhLabelSelector``
    selector: configuration.Labels = ()
    #: The line of the selector; None where the node set selects no machines.
    selector_place: configuration.Place | None = None
    nodes: tuple[configuration.NodeSetNode, ...] = ()
    #: The processes of nova-compute on the hosts, as far as they are known.
    computes: tuple[Process, ...] = ()
    #: Whether the hosts have an operating system already.
    pre_provisioned: bool = False
    #: Whether only its values are known, so that others may set more.
    partial: bool = False


@dataclasses.dataclass(frozen=True)
class DataPlaneService:
    """A service of the data plane: OpenStackDataPlaneService."""

    name: str
    place: configuration.Place
    #: ``edpmServiceType``
    type: str
    #: Names of the ConfigMaps that it mounts.
    config_maps: tuple[str, ...] = ()
    #: The process that reads them on a compute, as far as they are known.
    process: Process | None = None


@dataclasses.dataclass(frozen=True)
class DataPlane:
    """The objects of the data plane."""

    node_sets: tuple[NodeSet, ...] = ()
    machines: tuple[configuration.Machine, ...] = ()
    services: tuple[DataPlaneService, ...] = ()
    #: Names of services in ``servicesOverride`` of deployments, which replace
    #: those of their node sets.
    overrides: tuple[configuration.Setting, ...] = ()


@dataclasses.dataclass(frozen=True)
class Unread:
    """Configuration of Nova that no process reads."""

    #: ``nova.conf.d/gpu.ini``
    name: str
    place: configuration.Place
    #: Without a full stop.
    reason: str
    #: A sentence.
    remedy: str


@dataclasses.dataclass(frozen=True)
class Deployment:
    """The processes of a cloud, as far as they are known, and its hosts."""

    processes: tuple[Process, ...] = ()
    data_plane: DataPlane = DataPlane()
    unread: tuple[Unread, ...] = ()

    @property
    def folder(self) -> str:
        """The lowest folder that contains all files."""
        return folder_of(self.processes)

    def of_kind(self, kind: str) -> tuple[Process, ...]:
        """Return the processes of a kind: a compute for each host."""
        return tuple(
            process for process in self.processes if process.is_read_by(kind)
        )

    def computes_on(self, host: str) -> tuple[Process, ...]:
        """Return the computes that may be the one on a host.

        The only compute; or else those that are known to be on the host; or
        else those whose hosts are not known.
        """
        computes = self.of_kind(configuration.COMPUTE)
        if len(computes) == 1:
            return computes
        known = [
            process
            for process in computes
            if _is_same_host(self._hosts_of(process), host)
        ]
        return tuple(known) or tuple(
            process for process in computes if not self._hosts_of(process)
        )

    def _hosts_of(self, compute: Process) -> set[str]:
        """Return the hosts that a compute is known to be on."""
        setting = compute.last('DEFAULT', 'host')
        if setting is not None and setting.is_known:
            return {setting.text}
        if compute.host is not None:
            return {compute.host}
        return {
            node.name
            for node_set in self.data_plane.node_sets
            for process in node_set.computes
            if {*process.sources} <= {*compute.sources}
            for node in node_set.nodes
        }

    def node_set_of(self, compute: Process) -> NodeSet | None:
        """Return the node set that a compute is deployed with."""
        sources = set(compute.sources)
        return next(
            (
                node_set
                for node_set in self.data_plane.node_sets
                if any(
                    sources >= {*process.sources}
                    for process in node_set.computes
                )
            ),
            None,
        )


def _is_same_host(names: collections.abc.Iterable[str], host: str) -> bool:
    """Return whether one of the names is that of a host.

    Either may have the domain.
    """
    return any(
        host == name
        or host.partition('.')[0] == name
        or host == name.partition('.')[0]
        for name in names
    )


def readers(
    processes: collections.abc.Iterable[Process],
) -> dict[configuration.Place, set[str]]:
    """Return the kinds of processes that read each line."""
    kinds: dict[configuration.Place, set[str]] = {}
    for process in processes:
        for option in process.options:
            kinds.setdefault(option.setting.place, set()).update(
                process.readers
            )
    return kinds


def split(deployment: Deployment) -> tuple[Deployment, ...]:
    """Return the deployments of a tree that may have several.

    A deployment is the content of a lowest folder that has both a process of
    the control plane and a compute; all other processes are one deployment.
    """
    processes = deployment.processes
    folders: dict[str, list[int]] = {}
    for number, process in enumerate(processes):
        folder = folder_of([process])
        while True:
            folders.setdefault(folder, []).append(number)
            above = posixpath.dirname(folder)
            if above == folder:
                break
            folder = above
    deployments = []
    assigned: set[int] = set()
    # The lowest folder first.
    for folder in sorted(folders, key=lambda path: -path.count('/')):
        numbers = [
            number for number in folders[folder] if number not in assigned
        ]
        members = [processes[number] for number in numbers]
        if any(process.is_control_plane for process in members) and any(
            process.is_read_by(configuration.COMPUTE) for process in members
        ):
            deployments.append(members)
            assigned.update(numbers)
    others = [
        process
        for number, process in enumerate(processes)
        if number not in assigned
    ]
    return tuple(
        dataclasses.replace(deployment, processes=tuple(members))
        for members in ([*deployments, others] if others else deployments)
    )


def folder_of(processes: collections.abc.Iterable[Process]) -> str:
    """Return the lowest folder that contains all files of processes."""
    paths: set[str] = set()
    for process in processes:
        paths |= {option.setting.place.path for option in process.options} or {
            process.place.path
        }
    folders = sorted(
        {posixpath.dirname(posixpath.normpath(path)) for path in paths}
    )
    try:
        return posixpath.commonpath(folders)
    except ValueError:
        # Absolute and relative paths have no common one.
        return folders[0]
