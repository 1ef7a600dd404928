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

"""Read the data plane of RHOSO: node sets, services, bare metal hosts.

The objects are OpenStackDataPlaneNodeSet, OpenStackDataPlaneService,
OpenStackDataPlaneDeployment, BareMetalHost and ConfigMap, also in a List.
Values of kustomize, from which they are generated, are read, too
(``architecture``: ``lib/dataplane/nodeset/kustomization.yaml``,
``dt/nova/nova04delta/edpm``).
"""

import collections.abc
import dataclasses
import os
import re
import typing

import yaml

from gpuclient.documents.deployers import rhoso_custom_resources
from gpuclient.documents import yaml_file
from gpuclient.documents import yaml_nodes
from gpuclient import exceptions
from gpuclient.model import configuration
from gpuclient.model import deployment

_Object = typing.TypeVar('_Object')
#: Each file with such objects contains one of these.
_MARKS = (
    'edpm_',
    'bmhLabelSelector',
    'bmc:',
    'bootMACAddress',
    'kind: ConfigMap',
    'rootDeviceHints',
    'servicesOverride',
    'kind: OpenStackDataPlane',
)

#: Values with one of these fields describe a machine. ``bmc`` alone is not
#: enough: other values have a group of that name.
_MACHINE_FIELDS = (
    ('bmc', 'address'),
    ('bmc', 'credentialsName'),
    ('bootMACAddress',),
    ('rootDeviceHints',),
)
#: The ConfigMap of the operator's own service ``nova``.
_EXTRA = 'nova-extra-config'
#: Placeholder in a base of kustomize for a value.
_REPLACED = '_replaced_'


@dataclasses.dataclass(frozen=True)
class Span:
    """The lines of a file, from 1, that an object is in."""

    #: Name of the object; empty if it has none.
    name: str
    path: str
    first: int
    last: int

    def holds(self, place: configuration.Place) -> bool:
        """Return whether a place is in these lines."""
        return (
            place.path == self.path
            and place.line is not None
            and self.first <= place.line <= self.last
        )


@dataclasses.dataclass
class DataPlaneObjects:
    """The objects of the data plane in all files of a tree."""

    #: Each with the lines of the object that it was read from.
    node_sets: list[tuple[deployment.NodeSet, Span]] = dataclasses.field(
        default_factory=list
    )
    machines: list[configuration.Machine] = dataclasses.field(
        default_factory=list
    )
    services: list[deployment.DataPlaneService] = dataclasses.field(
        default_factory=list
    )
    config_maps: list[Span] = dataclasses.field(default_factory=list)
    overrides: list[configuration.Setting] = dataclasses.field(
        default_factory=list
    )

    def read(self, path: str, text: str) -> bool:
        """Add the objects of a file.

        :returns: Whether it has any; a file that is not YAML has none.
        """
        if not any(mark in text for mark in _MARKS):
            return False
        try:
            documents = yaml_file.compose_as_tools(path, text)
        except exceptions.DocumentError:
            return False
        before = self._count
        seen: set[int] = set()
        for document in documents:
            self._read_object(_ObjectReader(path), document, seen)
        return self._count > before

    @property
    def _count(self) -> int:
        return len(self.node_sets) + len(self.machines) + len(self.services)

    def _read_object(
        self, reader: '_ObjectReader', node: yaml.Node | None, seen: set[int]
    ) -> None:
        # A List may refer to itself, or to one part many times.
        if id(node) in seen:
            return
        seen.add(id(node))
        kind = reader.text(node, 'kind')
        if kind == 'List':
            for item in yaml_nodes.items(yaml_nodes.below(node, 'items')):
                self._read_object(reader, item, seen)
        elif kind == 'OpenStackDataPlaneNodeSet':
            self._read_node_set(reader, node)
        elif kind == 'OpenStackDataPlaneService':
            self.services.append(reader.service(node))
        elif kind == 'OpenStackDataPlaneDeployment':
            self.overrides += reader.settings(
                yaml_nodes.below(node, 'spec', 'servicesOverride')
            )
        elif kind == 'BareMetalHost':
            self._read_machine(reader, node)
        elif kind == 'ConfigMap':
            self._read_config_map(reader, node)
        elif kind is None:
            data = yaml_nodes.below(node, 'data') or node
            self._read_values(reader, data, reader.span(node))

    def _read_node_set(
        self, reader: '_ObjectReader', node: yaml.Node | None
    ) -> None:
        spec = yaml_nodes.below(node, 'spec')
        template = yaml_nodes.below(spec, 'nodeTemplate')
        node_set = reader.node_set(spec, template, spec, spec)
        self.node_sets.append((node_set, reader.span(node)))

    def _read_machine(
        self, reader: '_ObjectReader', node: yaml.Node | None
    ) -> None:
        machine = reader.machine_object(node)
        # Others are a base of kustomize, which replaces these values.
        if all(setting.text != _REPLACED for setting in machine.settings):
            self.machines.append(machine)

    def _read_config_map(
        self, reader: '_ObjectReader', node: yaml.Node | None
    ) -> None:
        span = reader.span(node)
        self.config_maps.append(span)
        if span.name == _EXTRA:
            self.services.append(reader.nova_service(span))
        self._read_values(reader, yaml_nodes.below(node, 'data'), span)

    def _read_values(
        self, reader: '_ObjectReader', data: yaml.Node | None, span: Span
    ) -> None:
        """Read values of kustomize."""
        nodes = yaml_nodes.below(data, 'nodeset')
        if yaml_nodes.below(nodes, 'ansible', 'ansibleVars') is not None:
            node_set = reader.node_set(nodes, nodes, nodes, data)
            self.node_sets.append(
                (dataclasses.replace(node_set, partial=True), span)
            )
        self.overrides += reader.settings(
            yaml_nodes.below(data, 'servicesOverride')
        )
        for key, value in yaml_nodes.pairs(data):
            if any(yaml_nodes.below(value, *keys) for keys in _MACHINE_FIELDS):
                machine = reader.machine(
                    key, value, yaml_nodes.below(value, 'labels'), value
                )
                missing = tuple(reader.missing_values(value))
                self.machines.append(
                    dataclasses.replace(machine, missing=missing)
                )

    def deployment(
        self, processes: collections.abc.Sequence[deployment.Process]
    ) -> deployment.Deployment:
        """Return the data plane with its processes.

        nova-compute reads all ConfigMaps that its data plane service mounts:
        their processes become one. So do those of ConfigMaps in one file that
        no service mounts, unless several have ``[pci]``.
        """
        joiner = _ProcessJoiner(processes, self.config_maps)
        services = [joiner.with_process(service) for service in self.services]
        joiner.join_unmounted([span for _node_set, span in self.node_sets])
        by_name: dict[str, list[deployment.DataPlaneService]] = {}
        for service in services:
            by_name.setdefault(service.name, []).append(service)
        node_sets = tuple(
            dataclasses.replace(
                node_set,
                computes=(
                    *joiner.within(span),
                    *_processes_of(node_set, by_name),
                ),
            )
            for node_set, span in self.node_sets
        )
        return deployment.Deployment(
            tuple(joiner.joined()),
            deployment.DataPlane(
                node_sets,
                tuple(self.machines),
                tuple(
                    service
                    for same_name in by_name.values()
                    for service in same_name
                ),
                tuple(self.overrides),
            ),
        )


def _processes_of(
    node_set: deployment.NodeSet,
    services: collections.abc.Mapping[str, list[deployment.DataPlaneService]],
) -> collections.abc.Iterator[deployment.Process]:
    """Yield the processes of the services that a node set deploys.

    :param services: By name.
    """
    for name in node_set.services or ():
        for service in _nearest(
            node_set.place.path, services.get(name.text, []), _path_of_service
        ):
            if service.process is not None:
                yield service.process


class _ProcessJoiner:
    """Joins the processes of nova-compute that are parts of one.

    Several data plane services may mount one ConfigMap; those that mount the
    same ones run one process.
    """

    def __init__(
        self,
        processes: collections.abc.Sequence[deployment.Process],
        config_maps: collections.abc.Iterable[Span],
    ) -> None:
        self._processes = processes
        self._by_path: dict[str, list[deployment.Process]] = {}
        for process in processes:
            if process.is_read_by(configuration.COMPUTE):
                self._by_path.setdefault(process.place.path, []).append(
                    process
                )
        self._config_maps: dict[str, list[Span]] = {}
        for span in config_maps:
            self._config_maps.setdefault(span.name, []).append(span)
        #: By the identities of their parts.
        self._joined: dict[tuple[int, ...], deployment.Process] = {}

    def within(self, span: Span) -> list[deployment.Process]:
        """Return the processes whose configuration is in some lines."""
        return [
            process
            for process in self._by_path.get(span.path, ())
            if span.holds(process.place)
        ]

    def with_process(
        self, service: deployment.DataPlaneService
    ) -> deployment.DataPlaneService:
        """Return a service with the process that reads its ConfigMaps."""
        parts = [
            process
            for name in service.config_maps
            for span in _nearest(
                service.place.path,
                self._config_maps.get(name, []),
                _path_of_span,
            )
            for process in self.within(span)
        ]
        if not parts:
            return service
        process = self._joined.setdefault(
            tuple(map(id, parts)), deployment.in_one_folder(parts)
        )
        return dataclasses.replace(service, process=process)

    def join_unmounted(
        self, node_sets: collections.abc.Sequence[Span]
    ) -> None:
        """Join the processes of the ConfigMaps of a file without a service.

        :param node_sets: The lines of node sets, whose values have processes
            of their own.
        """
        mounted = {number for numbers in self._joined for number in numbers}
        for processes in self._by_path.values():
            unmounted = [
                process
                for process in processes
                if id(process) not in mounted
                and process.sources
                # Files of a ConfigMap have names; values have none.
                and all(source.name for source in process.sources)
                and not any(span.holds(process.place) for span in node_sets)
            ]
            if len(unmounted) > 1 and deployment.are_in_one_folder(
                any(option.section == 'pci' for option in process.options)
                for process in unmounted
            ):
                self._joined[tuple(map(id, unmounted))] = (
                    deployment.in_one_folder(unmounted)
                )

    def joined(self) -> collections.abc.Iterator[deployment.Process]:
        """Yield all processes, with the joined ones in place of the parts."""
        parts = {number for numbers in self._joined for number in numbers}
        for process in self._processes:
            if id(process) not in parts:
                yield process
            for numbers, joined in self._joined.items():
                if numbers[0] == id(process):
                    yield joined


def _nearest(
    path: str,
    candidates: list[_Object],
    path_of: collections.abc.Callable[[_Object], str],
) -> list[_Object]:
    """Return the object of a name that a file refers to.

    A tree may have several deployments, with objects of the same names: the
    object in the file itself is meant, or else the one in the nearest folder.
    If there are several, none is returned.
    """
    nearest = [
        candidate for candidate in candidates if path_of(candidate) == path
    ]
    folder = path
    while not nearest and folder and candidates:
        above = os.path.dirname(folder)
        nearest = [
            candidate
            for candidate in candidates
            if path_of(candidate).startswith(os.path.join(above, ''))
        ]
        if above == folder:
            break
        folder = above
    return nearest if len(nearest) == 1 else []


def _path_of_span(span: Span) -> str:
    return span.path


def _path_of_service(service: deployment.DataPlaneService) -> str:
    return service.place.path


class _ObjectReader:
    """Reads objects of one file."""

    def __init__(self, path: str) -> None:
        self._path = path

    def text(self, node: yaml.Node | None, *keys: str) -> str | None:
        value = yaml_nodes.below(node, *keys)
        if isinstance(value, yaml.ScalarNode):
            return str(value.value)
        return None

    def place(self, node: yaml.Node) -> configuration.Place:
        return configuration.Place(self._path, node.start_mark.line + 1)

    def setting(
        self, node: yaml.Node | None, *keys: str
    ) -> configuration.Setting | None:
        value = yaml_nodes.below(node, *keys)
        if isinstance(value, yaml.ScalarNode):
            return configuration.Setting(str(value.value), self.place(value))
        return None

    def settings(
        self, node: yaml.Node | None
    ) -> tuple[configuration.Setting, ...]:
        return tuple(
            configuration.Setting(str(item.value), self.place(item))
            for item in yaml_nodes.items(node)
            if isinstance(item, yaml.ScalarNode)
        )

    def span(self, node: yaml.Node | None) -> Span:
        if node is None:
            return Span('', self._path, 0, 0)
        return Span(
            self.text(node, 'metadata', 'name') or '',
            self._path,
            node.start_mark.line + 1,
            node.end_mark.line + 1,
        )

    def labels(self, node: yaml.Node | None) -> configuration.Labels:
        return tuple(
            (key, str(value.value))
            for key, value in yaml_nodes.pairs(node)
            if isinstance(value, yaml.ScalarNode)
        )

    def host_settings(
        self, node: yaml.Node | None
    ) -> configuration.HostSettings:
        return configuration.HostSettings(
            kernel_arguments=self.setting(node, 'edpm_kernel_args'),
            tuned_profile=self.setting(node, 'edpm_tuned_profile'),
            isolated_cores=self.setting(node, 'edpm_tuned_isolated_cores'),
            pmd_cores=self.setting(node, 'edpm_ovs_dpdk_pmd_core_list'),
            reboot_strategy=self.setting(node, 'edpm_reboot_strategy'),
            more_huge_pages=bool(
                list(
                    yaml_nodes.pairs(
                        yaml_nodes.below(node, 'edpm_kernel_hugepages')
                    )
                )
            ),
        )

    def node_set(
        self,
        node: yaml.Node | None,
        template: yaml.Node | None,
        nodes: yaml.Node | None,
        top: yaml.Node | None,
    ) -> deployment.NodeSet:
        """Return a node set.

        :param template: The mapping with ``ansible`` for all nodes.
        :param nodes: The mapping with ``nodes`` and ``services``.
        :param top: The mapping with ``baremetalSetTemplate``.
        """
        place = (
            configuration.Place(self._path)
            if node is None
            else self.place(node)
        )
        shared = self.host_settings(
            yaml_nodes.below(template, 'ansible', 'ansibleVars')
        )
        settings = [shared]
        members = []
        for name, member in yaml_nodes.pairs(yaml_nodes.below(nodes, 'nodes')):
            own = self.host_settings(
                yaml_nodes.below(member, 'ansible', 'ansibleVars')
            )
            changes = {
                field.name: getattr(own, field.name)
                for field in dataclasses.fields(own)
                if getattr(own, field.name)
            }
            if changes:
                settings.append(dataclasses.replace(shared, **changes))
            members.append(
                configuration.NodeSetNode(
                    name,
                    self.labels(yaml_nodes.below(member, 'bmhLabelSelector')),
                    self.place(member),
                )
            )
        services = yaml_nodes.below(nodes, 'services')
        selector = yaml_nodes.below(
            top, 'baremetalSetTemplate', 'bmhLabelSelector'
        )
        known = self.text(top, 'preProvisioned') not in ('true', 'True')
        return deployment.NodeSet(
            place=place,
            settings=tuple(settings),
            services=None if services is None else self.settings(services),
            selector=self.labels(selector),
            selector_place=self.place(selector)
            if known and selector is not None
            else None,
            nodes=tuple(members),
            pre_provisioned=not known,
        )

    def nova_service(self, span: Span) -> deployment.DataPlaneService:
        """Return the default service of the operator, with its ConfigMap."""
        return deployment.DataPlaneService(
            name='nova',
            place=configuration.Place(self._path, span.first),
            type='nova',
            config_maps=(_EXTRA,),
        )

    def service(self, node: yaml.Node | None) -> deployment.DataPlaneService:
        mounts = rhoso_custom_resources.mounts_of(node)
        return deployment.DataPlaneService(
            name=mounts.name,
            place=configuration.Place(self._path, self.span(node).first),
            type=mounts.type,
            config_maps=mounts.config_maps,
        )

    def missing_values(
        self, node: yaml.Node | None
    ) -> collections.abc.Iterator[tuple[str, str]]:
        """Yield missing values of a machine, with the consequence."""
        for keys in (('bmc', 'address'), ('bootMACAddress',)):
            if yaml_nodes.below(node, *keys) is None:
                yield (
                    '.'.join(keys),
                    'kustomize has no value for the BareMetalHost',
                )

    def missing_fields(
        self, node: yaml.Node | None
    ) -> collections.abc.Iterator[tuple[str, str]]:
        """Yield missing fields of a BareMetalHost, with the consequence.

        ``baremetal-operator``: ``baremetalhost_validation.go``. Without
        ``bmc`` it is unmanaged, or a kustomization adds one.
        """
        spec = yaml_nodes.below(node, 'spec')
        bmc = yaml_nodes.below(spec, 'bmc')
        if bmc is None:
            return
        address = self.text(bmc, 'address')
        if not address:
            yield (
                'bmc.address',
                'the host stays unmanaged and cannot be provisioned',
            )
            return
        if self.text(spec, 'bootMACAddress') or address == _REPLACED:
            return
        annotations = yaml_nodes.below(node, 'metadata', 'annotations')
        inspection = (
            self.text(annotations, 'inspect.metal3.io'),
            self.text(spec, 'inspectionMode'),
        )
        if 'disabled' in inspection or address.startswith('libvirt'):
            yield (
                'bootMACAddress',
                'the operator rejects a host that it does not inspect',
            )

    def machine_object(self, node: yaml.Node | None) -> configuration.Machine:
        machine = self.machine(
            self.text(node, 'metadata', 'name') or '',
            node,
            yaml_nodes.below(node, 'metadata', 'labels'),
            yaml_nodes.below(node, 'spec'),
        )
        hardware = yaml_nodes.below(node, 'status', 'hardware')
        return dataclasses.replace(
            machine,
            missing=tuple(self.missing_fields(node)),
            cpus=_number(self.text(hardware, 'cpu', 'count')),
            memory_mb=_number(self.text(hardware, 'ramMebibytes')),
            cpu_model=self.text(hardware, 'cpu', 'model'),
        )

    def machine(
        self,
        name: str,
        node: yaml.Node | None,
        labels: yaml.Node | None,
        spec: yaml.Node | None,
    ) -> configuration.Machine:
        settings = (
            self.setting(spec, 'bmc', 'address'),
            self.setting(spec, 'bmc', 'credentialsName'),
            self.setting(spec, 'bootMACAddress'),
            *(
                self.setting(spec, 'rootDeviceHints', key)
                for key, _value in yaml_nodes.pairs(
                    yaml_nodes.below(spec, 'rootDeviceHints')
                )
            ),
        )
        return configuration.Machine(
            name=name,
            place=configuration.Place(self._path, self.span(node).first),
            labels=self.labels(labels),
            settings=tuple(
                setting for setting in settings if setting is not None
            ),
        )


def _number(text: str | None) -> int | None:
    number = re.fullmatch('[0-9]{1,18}', text or '')
    return None if number is None else int(number[0])
