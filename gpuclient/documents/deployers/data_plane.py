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

"""The data plane of RHOSO: how its hosts are set up, and of which machines.

Read are OpenStackDataPlaneNodeSet, OpenStackDataPlaneService and
BareMetalHost objects, also in a List, and the values of kustomize that they
are made of (``architecture``: ``lib/dataplane/nodeset/kustomization.yaml``,
``dt/nova/nova04delta/edpm``).
"""

import collections.abc
import dataclasses
import os
import re
import typing

import yaml

from gpuclient.documents.deployers import rhoso
from gpuclient.documents import yaml_file
from gpuclient.documents import yaml_nodes
from gpuclient import exceptions
from gpuclient.model import configuration
from gpuclient.model import deployment

_Object = typing.TypeVar('_Object')
#: One of these is in each file that has anything of it.
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

#: Values that have one of these are those of a machine. ``bmc`` alone is not
#: enough: others have a group of that name.
_MACHINE_FIELDS = (
    ('bmc', 'address'),
    ('bmc', 'credentialsName'),
    ('bootMACAddress',),
    ('rootDeviceHints',),
)
#: The ConfigMap of the operator's own service ``nova``.
_EXTRA = 'nova-extra-config'
#: What stands in a base of kustomize for what comes from the values.
_REPLACED = '_replaced_'


@dataclasses.dataclass(frozen=True)
class Span:
    """Lines of a file, from 1, that one object takes."""

    #: Name of the object; empty where it has none.
    name: str
    path: str
    first: int
    last: int

    def holds(self, place: configuration.Place) -> bool:
        """Return whether something stands in these lines."""
        return (
            place.path == self.path
            and place.line is not None
            and self.first <= place.line <= self.last
        )


@dataclasses.dataclass
class DataPlaneObjects:
    """What files have of the data plane."""

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
        """Add what a file has.

        :returns: Whether that is anything; a file that is no YAML has none.
        """
        if not any(mark in text for mark in _MARKS):
            return False
        try:
            documents = yaml_file.compose_as_tools(path, text)
        except exceptions.DocumentError:
            return False
        before = len(self.node_sets) + len(self.machines) + len(self.services)
        seen: set[int] = set()
        for document in documents:
            self._read_object(path, document, seen)
        return before < (
            len(self.node_sets) + len(self.machines) + len(self.services)
        )

    def _read_object(
        self, path: str, node: yaml.Node | None, seen: set[int]
    ) -> None:
        # A List may refer to itself, or to one part many times.
        if id(node) in seen:
            return
        seen.add(id(node))
        reader = _ObjectReader(path)
        kind = reader.text(node, 'kind')
        span = reader.span(node)
        if kind == 'List':
            for item in yaml_nodes.items(yaml_nodes.below(node, 'items')):
                self._read_object(path, item, seen)
        elif kind == 'OpenStackDataPlaneNodeSet':
            spec = yaml_nodes.below(node, 'spec')
            template = yaml_nodes.below(spec, 'nodeTemplate')
            self.node_sets.append(
                (reader.node_set(spec, template, spec, spec), span)
            )
        elif kind == 'OpenStackDataPlaneService':
            self.services.append(reader.service(node))
        elif kind == 'OpenStackDataPlaneDeployment':
            self.overrides += reader.settings(
                yaml_nodes.below(node, 'spec', 'servicesOverride')
            )
        elif kind == 'BareMetalHost':
            machine = reader.machine_object(node)
            # kustomize puts the values in its place.
            if all(one.text != _REPLACED for one in machine.settings):
                self.machines.append(machine)
        elif kind == 'ConfigMap':
            self.config_maps.append(span)
            if span.name == _EXTRA:
                self.services.append(reader.nova_service(span))
            self._read_values(reader, yaml_nodes.below(node, 'data'), span)
        elif kind is None:
            self._read_values(
                reader, yaml_nodes.below(node, 'data') or node, span
            )

    def _read_values(
        self, reader: '_ObjectReader', data: yaml.Node | None, span: Span
    ) -> None:
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
                self.machines.append(
                    dataclasses.replace(
                        machine, missing=tuple(reader.missing_values(value))
                    )
                )

    def deployment(
        self, processes: collections.abc.Sequence[deployment.Process]
    ) -> deployment.Deployment:
        """Return it all, and processes with those joined that are one.

        nova-compute reads all ConfigMaps that its data plane service mounts.
        """
        by_path: dict[str, list[deployment.Process]] = {}
        for one in processes:
            if one.is_read_by(configuration.COMPUTE):
                by_path.setdefault(one.place.path, []).append(one)

        def within(span: Span) -> list[deployment.Process]:
            return [
                one
                for one in by_path.get(span.path, ())
                if span.holds(one.place)
            ]

        maps: dict[str, list[Span]] = {}
        for span in self.config_maps:
            maps.setdefault(span.name, []).append(span)
        # Several data plane services may mount one ConfigMap; those that mount
        # the same ones are one process.
        wholes: dict[tuple[int, ...], deployment.Process] = {}
        deployed: dict[str, list[deployment.DataPlaneService]] = {}
        for service in self.services:
            members = [
                one
                for name in service.config_maps
                for span in _nearest(
                    service.place.path, maps.get(name, []), _path_of_span
                )
                for one in within(span)
            ]
            if members:
                whole = wholes.setdefault(
                    tuple(map(id, members)),
                    deployment.in_one_folder(members),
                )
                service = dataclasses.replace(service, process=whole)
            deployed.setdefault(service.name, []).append(service)
        node_sets = []
        for node_set, span in self.node_sets:
            own = within(span)
            own += [
                service.process
                for name in node_set.services or ()
                for service in _nearest(
                    node_set.place.path,
                    deployed.get(name.text, []),
                    _path_of_service,
                )
                if service.process is not None
            ]
            node_sets.append(
                dataclasses.replace(node_set, computes=tuple(own))
            )
        return deployment.Deployment(
            tuple(_with_wholes(processes, wholes)),
            deployment.DataPlane(
                tuple(node_sets),
                tuple(self.machines),
                tuple(one for each in deployed.values() for one in each),
                tuple(self.overrides),
            ),
        )


def _with_wholes(
    processes: collections.abc.Iterable[deployment.Process],
    wholes: collections.abc.Mapping[tuple[int, ...], deployment.Process],
) -> collections.abc.Iterator[deployment.Process]:
    """Yield processes, with those in place of their parts that mount them.

    :param wholes: By the identities of their parts.
    """
    mounted = {number for parts in wholes for number in parts}
    for process in processes:
        if id(process) not in mounted:
            yield process
        for parts, whole in wholes.items():
            if parts[0] == id(process):
                yield whole


def _nearest(
    path: str,
    candidates: list[_Object],
    path_of: collections.abc.Callable[[_Object], str],
) -> list[_Object]:
    """Return the object of a name that a file means.

    A tree may have several deployments, with objects of the same names: the
    one in the file itself counts, or else the one in the nearest folder. Of
    several none is meant.
    """
    found = [one for one in candidates if path_of(one) == path]
    folder = path
    while not found and folder and candidates:
        above = os.path.dirname(folder)
        found = [
            one
            for one in candidates
            if path_of(one).startswith(os.path.join(above, ''))
        ]
        if above == folder:
            break
        folder = above
    return found if len(found) == 1 else []


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
        found = yaml_nodes.below(node, *keys)
        if isinstance(found, yaml.ScalarNode):
            return configuration.Setting(str(found.value), self.place(found))
        return None

    def settings(
        self, node: yaml.Node | None
    ) -> tuple[configuration.Setting, ...]:
        return tuple(
            configuration.Setting(str(one.value), self.place(one))
            for one in yaml_nodes.items(node)
            if isinstance(one, yaml.ScalarNode)
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

        :param template: What has ``ansible`` for all nodes.
        :param nodes: What has ``nodes`` and ``services``.
        :param top: What has ``baremetalSetTemplate``.
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
                configuration.Node(
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
        """Return the operator's own service, which mounts one ConfigMap."""
        return deployment.DataPlaneService(
            name='nova',
            place=configuration.Place(self._path, span.first),
            type='nova',
            config_maps=(_EXTRA,),
        )

    def service(self, node: yaml.Node | None) -> deployment.DataPlaneService:
        mounts = rhoso.mounts_of(node)
        return deployment.DataPlaneService(
            name=mounts.name,
            place=configuration.Place(self._path, self.span(node).first),
            type=mounts.type,
            config_maps=mounts.config_maps,
        )

    def missing_values(
        self, node: yaml.Node | None
    ) -> collections.abc.Iterator[tuple[str, str]]:
        """Yield what the values of a machine lack, and what follows."""
        for keys in (('bmc', 'address'), ('bootMACAddress',)):
            if yaml_nodes.below(node, *keys) is None:
                yield (
                    '.'.join(keys),
                    'kustomize finds nothing to put into the BareMetalHost',
                )

    def missing_fields(
        self, node: yaml.Node | None
    ) -> collections.abc.Iterator[tuple[str, str]]:
        """Yield what a BareMetalHost lacks, and what follows.

        ``baremetal-operator``: ``baremetalhost_validation.go``. Without a
        bmc it is unmanaged, or its kustomization adds one.
        """
        spec = yaml_nodes.below(node, 'spec')
        bmc = yaml_nodes.below(spec, 'bmc')
        if bmc is None:
            return
        address = self.text(bmc, 'address')
        if not address:
            yield (
                'bmc.address',
                'it stays unmanaged, and no node can be provisioned on it',
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
                'the operator refuses it, as it is not inspected',
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
            settings=tuple(one for one in settings if one is not None),
        )


def _number(text: str | None) -> int | None:
    found = re.fullmatch('[0-9]{1,18}', text or '')
    return None if found is None else int(found[0])
