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

"""What the processes of Nova read, and of which hosts.

A process reads sources, one behind the other; each is a file, or what a
deployment tool makes one file of. What one process reads is decided here and
in :mod:`gpuclient.documents.tree`, which builds it, and nowhere else.
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
    """What is read as one file."""

    place: configuration.Place
    #: All that it sets, in its order. Values that a later layer replaced
    #: are not among them.
    options: tuple[configuration.Option, ...] = dataclasses.field(
        default=(), repr=False
    )
    #: The name of the file that it becomes, where files of a folder are read
    #: in the order of their names.
    name: str = ''


@dataclasses.dataclass(frozen=True)
class Process:
    """A process of Nova, or several kinds that read the very same."""

    #: The kinds, ``nova-api``.
    readers: tuple[str, ...]
    place: configuration.Place
    #: In the order in which they are read: of an option with one value, that
    #: of the last source counts.
    sources: tuple[Source, ...] = ()
    #: The host that it runs on; None where nothing tells.
    host: str | None = None
    #: The deployment tool that makes its configuration of documents of its
    #: own; empty where these are files of Nova.
    tool: str = ''

    @functools.cached_property
    def options(self) -> tuple[configuration.Option, ...]:
        """All that it reads, in the order in which it stands."""
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
        """``[filter_scheduler]pci_in_placement``; None where it is unset."""
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
        """Whether anything but nova-compute reads it."""
        return any(name != configuration.COMPUTE for name in self.readers)

    def is_open(self, section: str, name: str) -> bool:
        """Return whether a template or a reference decides on an option."""
        return any(
            not setting.is_known for setting in self._all(((section, name),))
        )

    def values(
        self, section: str, *names: str
    ) -> tuple[configuration.Setting, ...]:
        """Return all values of an option, in the order that Nova has them.

        :param names: Its name, then its deprecated ones.
        """
        return self._all(tuple((section, name) for name in names))

    def last(self, section: str, *names: str) -> configuration.Setting | None:
        """Return the value that counts of an option with one value."""
        values = self.values(section, *names)
        return values[-1] if values else None

    def _all(
        self, names: nova_options.Names
    ) -> tuple[configuration.Setting, ...]:
        """Return all values of an option.

        Those of a later source come later. Within a source oslo.config goes
        by the names, and puts what each has before what it has got
        (``oslo_config/cfg.py:_Namespace._get_file_value``): those of the last
        deprecated name come first.
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
        found = []
        for source in self.sources:
            named: dict[tuple[str, str], list[configuration.Setting]] = {}
            for option in source.options:
                settings = named.setdefault((option.section, option.name), [])
                settings.append(option.setting)
            found.append(named)
        return tuple(found)

    def _boolean(self, names: nova_options.Names) -> bool | None:
        values = self._all(names)
        return oslo_values.boolean_or_none(values[-1].text) if values else None


def in_one_folder(processes: collections.abc.Sequence[Process]) -> Process:
    """Return the process that reads all of these as files of one folder."""
    whole = joined(processes)
    return dataclasses.replace(
        whole,
        place=processes[0].place,
        sources=tuple(sorted(whole.sources, key=lambda one: one.name)),
    )


def joined(processes: collections.abc.Sequence[Process]) -> Process:
    """Return the process that reads all of these, in their order."""
    return dataclasses.replace(
        processes[-1],
        sources=tuple(
            source for process in processes for source in process.sources
        ),
    )


@dataclasses.dataclass(frozen=True)
class NodeSet:
    """Hosts that are deployed alike: OpenStackDataPlaneNodeSet."""

    place: configuration.Place
    #: The settings of all nodes, and of those that have others.
    settings: tuple[configuration.HostSettings, ...]
    #: Names of the services that are deployed, in order; None where the
    #: defaults are.
    services: tuple[configuration.Setting, ...] | None = None
    #: ``baremetalSetTemplate.bmhLabelSelector``
    selector: configuration.Labels = ()
    #: Where the selector stands; None where machines are not looked for.
    selector_place: configuration.Place | None = None
    nodes: tuple[configuration.NodeSetNode, ...] = ()
    #: What nova-compute reads on the hosts, as far as it is known.
    computes: tuple[Process, ...] = ()
    #: The hosts have their operating system already.
    pre_provisioned: bool = False
    #: It is made of values: what these lack may come from elsewhere.
    partial: bool = False


@dataclasses.dataclass(frozen=True)
class DataPlaneService:
    """What is deployed under a name: OpenStackDataPlaneService."""

    name: str
    place: configuration.Place
    #: ``edpmServiceType``
    type: str
    #: Names of the ConfigMaps that it mounts.
    config_maps: tuple[str, ...] = ()
    #: What they have for nova-compute, as far as they are known.
    process: Process | None = None


@dataclasses.dataclass(frozen=True)
class DataPlane:
    """All that is not configuration of a service."""

    node_sets: tuple[NodeSet, ...] = ()
    machines: tuple[configuration.Machine, ...] = ()
    services: tuple[DataPlaneService, ...] = ()
    #: Names of services that deployments have in place of those of their node
    #: sets: ``servicesOverride``.
    overrides: tuple[configuration.Setting, ...] = ()


@dataclasses.dataclass(frozen=True)
class Unread:
    """Configuration of Nova that no process reads."""

    #: ``nova.conf.d/gpu.ini``
    what: str
    place: configuration.Place
    #: Why, without a full stop.
    reason: str
    #: A sentence.
    remedy: str


@dataclasses.dataclass(frozen=True)
class Deployment:
    """All processes of a cloud, as far as they are known, and their hosts."""

    processes: tuple[Process, ...] = ()
    data_plane: DataPlane = DataPlane()
    unread: tuple[Unread, ...] = ()

    @property
    def folder(self) -> str:
        """The lowest folder that holds all that is read."""
        return folder_of(self.processes)

    def of_kind(self, kind: str) -> tuple[Process, ...]:
        """Return the processes of a kind: a compute for each host."""
        return tuple(one for one in self.processes if one.is_read_by(kind))

    def computes_on(self, host: str) -> tuple[Process, ...]:
        """Return the computes that may be the one on a host.

        The only one; or those of this host where one is known to be; or else
        those of which it is not known where they are.
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
                if any(sources >= {*one.sources} for one in node_set.computes)
            ),
            None,
        )


def _is_same_host(names: collections.abc.Iterable[str], host: str) -> bool:
    """Return whether a host has one of some names, with or without domain."""
    return any(
        host == name
        or host.partition('.')[0] == name
        or host == name.partition('.')[0]
        for name in names
    )


def readers(
    processes: collections.abc.Iterable[Process],
) -> dict[configuration.Place, set[str]]:
    """Return which kinds of process read each line."""
    found: dict[configuration.Place, set[str]] = {}
    for process in processes:
        for option in process.options:
            found.setdefault(option.setting.place, set()).update(
                process.readers
            )
    return found


def split(deployment: Deployment) -> tuple[Deployment, ...]:
    """Return the deployments of a tree that may have many.

    One is what the lowest folder holds that has both a process of the control
    plane and a compute in it; what is in no such folder is taken together.
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
    found = []
    taken: set[int] = set()
    # The lowest first.
    for folder in sorted(folders, key=lambda one: -one.count('/')):
        numbers = [one for one in folders[folder] if one not in taken]
        members = [processes[one] for one in numbers]
        if any(one.is_control_plane for one in members) and any(
            one.is_read_by(configuration.COMPUTE) for one in members
        ):
            found.append(members)
            taken.update(numbers)
    left = [one for at, one in enumerate(processes) if at not in taken]
    return tuple(
        dataclasses.replace(deployment, processes=tuple(members))
        for members in ([*found, left] if left else found)
    )


def folder_of(processes: collections.abc.Iterable[Process]) -> str:
    """Return the lowest folder that holds all that processes read."""
    paths: set[str] = set()
    for process in processes:
        paths |= {one.setting.place.path for one in process.options} or {
            process.place.path
        }
    folders = sorted(
        {posixpath.dirname(posixpath.normpath(path)) for path in paths}
    )
    try:
        return posixpath.commonpath(folders)
    except ValueError:
        # Some were named from the root, others were not.
        return folders[0]
