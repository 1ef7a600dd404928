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

"""The cloud in which a tree of configuration is rehearsed.

:func:`make` turns the documents of one deployment into the spec of a cloud and
records which document each option is from.
"""

import collections.abc
import dataclasses
import itertools
import os
import re
import typing

from gpuclient.config_rehearsal import device_simulation
from gpuclient.config_rehearsal import host_topology
from gpuclient.config_rehearsal import option_filter
from gpuclient.documents import nova_conf
from gpuclient import exceptions
from gpuclient.model import alias as alias_model
from gpuclient.model import catalogue
from gpuclient.model import configuration
from gpuclient.model import deployment
from gpuclient.model import device_spec
from gpuclient.model import host as host_model
from gpuclient.rehearsal import api as rehearsal
from gpuclient.rules import scheduler as scheduler_rules

#: Names of files and folders that do not name a host.
_GENERAL = {
    'compute',
    'conf',
    'config',
    'etc',
    'kolla',
    'kustomization',
    'nova',
    'nova-compute',
    'nova-cpu',
    'service-values',
    'values',
}
#: Longest name of a host.
_LONGEST_NAME = 56


@dataclasses.dataclass(frozen=True)
class PlannedService:
    """A service of Nova, and the documents that it reads."""

    #: As in the record of the cloud: ``nova-api-1``, ``nova-compute``.
    name: str
    host: str
    #: None where no document is for it.
    document: deployment.Process | None
    #: Its options, one text for each file.
    texts: tuple[str, ...]
    #: The file that each text is from.
    paths: tuple[str, ...]
    excluded: tuple[option_filter.ExcludedOption, ...]
    #: What the template of the deployment tool sets.
    template: str = ''

    @property
    def place(self) -> configuration.Place | None:
        """The document of this service; None where it has none."""
        return None if self.document is None else self.document.place

    @property
    def process(self) -> deployment.Process:
        """All that it reads; a process without options where nothing is."""
        return self.document or deployment.Process((), configuration.Place(''))

    def aliases(self) -> tuple[alias_model.Alias, ...]:
        """Return the valid aliases."""
        aliases = []
        for setting in self.process.aliases:
            try:
                aliases.append(alias_model.parse(setting.text))
            except exceptions.InvalidAlias:
                # Nova reports it when it starts.
                continue
        return tuple(aliases)

    def device_specs(
        self,
    ) -> tuple[
        list[device_simulation.LocatedSpec],
        list[device_simulation.UnsimulatedSpec],
    ]:
        """Return the valid device specs, and the invalid ones."""
        specs: list[device_simulation.LocatedSpec] = []
        invalid: list[device_simulation.UnsimulatedSpec] = []
        for setting in self.process.device_specs:
            try:
                parsed = device_spec.parse(
                    setting.text,
                    report_in_placement=bool(self.process.report_in_placement),
                )
            except exceptions.InvalidDeviceSpec as exc:
                invalid.append(
                    device_simulation.UnsimulatedSpec(setting, str(exc))
                )
                continue
            specs += [(spec, setting) for spec in parsed]
        return specs, invalid


@dataclasses.dataclass(frozen=True)
class PlannedHost:
    """A simulated compute host."""

    #: Its nova-compute.
    service: PlannedService
    devices: tuple[rehearsal.SimulatedDevice, ...]
    unsimulated: tuple[device_simulation.UnsimulatedSpec, ...]
    topology: host_topology.HostTopology
    #: Those of the devices that the user described.
    described: tuple[rehearsal.SimulatedDevice, ...] = ()
    #: Addresses of devices whose type is assumed from an alias.
    assumed: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        return self.service.host

    def matched(
        self,
    ) -> collections.abc.Iterator[
        tuple[device_spec.HostDevice, device_simulation.LocatedSpec]
    ]:
        """Yield each device that a device spec matches, with the first."""
        devices = device_simulation.host_devices(self.devices)
        host = device_spec.HostDevices(devices)
        specs = [
            (spec.on(host), setting)
            for spec, setting in self.service.device_specs()[0]
        ]
        for device in devices:
            for spec, setting in specs:
                if spec.matches(device):
                    yield device, (spec, setting)
                    break

    def count(
        self,
        aliases: collections.abc.Sequence[alias_model.Alias],
        in_placement: bool,
    ) -> int:
        """Return the number of devices that any of some aliases matches.

        :param in_placement: ``[filter_scheduler]pci_in_placement``.
        """
        return sum(
            any(
                spec.serves(device, alias, in_placement=in_placement)
                for alias in aliases
            )
            for device, (spec, _setting) in self.matched()
        )


@dataclasses.dataclass(frozen=True)
class Plan:
    """The services and hosts of a cloud."""

    #: Each nova-api, nova-conductor and nova-scheduler.
    control_plane: tuple[PlannedService, ...]
    hosts: tuple[PlannedHost, ...]

    @property
    def services(self) -> tuple[PlannedService, ...]:
        return (*self.control_plane, *(host.service for host in self.hosts))

    @property
    def api(self) -> PlannedService:
        """The nova-api to which requests are sent."""
        return self.control_plane[0]

    @property
    def spec(self) -> dict[str, typing.Any]:
        """The spec of the cloud, as a document."""
        control_plane: dict[str, list[dict[str, typing.Any]]] = {}
        for service in self.control_plane:
            entry: dict[str, typing.Any] = {'config': list(service.texts)}
            if service.template:
                entry['template'] = service.template
            kind = service.name.split('-')[1]
            control_plane.setdefault(kind, []).append(entry)
        return {
            'control_plane': control_plane,
            'hosts': [
                {
                    'name': host.name,
                    'numa': list(host.topology.numa),
                    'devices': [
                        _as_document(device) for device in host.devices
                    ],
                    'config': list(host.service.texts),
                }
                for host in self.hosts
            ],
        }


def _as_document(device: rehearsal.SimulatedDevice) -> dict[str, typing.Any]:
    return {
        key: value
        for key, value in dataclasses.asdict(device).items()
        if value is not None
    }


def make(
    tree: deployment.Deployment,
    *,
    models: catalogue.Catalogue,
    described: collections.abc.Iterable[
        tuple[str, rehearsal.SimulatedDevice]
    ] = (),
    inspected: collections.abc.Iterable[host_model.Host] = (),
    count: int = device_simulation.DEVICES,
) -> Plan:
    """Return the plan of a deployment.

    Each configuration of nova-compute is a host; a second configuration of
    another service is a second service of its kind.

    :param models: The catalogue; has the types of devices.
    :param described: Devices that hosts have, by the names of the hosts.
    :param inspected: Hosts whose hardware is known.
    :param count: Devices of each ID of a host, where no address is named.
    :raises gpuclient.exceptions.InvalidValue: There are several deployments,
        or a device is of a host that does not exist.
    """
    _check_single_deployment(tree)
    control_plane = _control_plane(tree)
    computes = _computes(tree)
    names = [service.host for service, _node_set in computes]
    devices_of: dict[str, list[rehearsal.SimulatedDevice]] = {}
    for name, device in described:
        _check_host(name, names)
        devices_of.setdefault(name, []).append(device)
    inspected_hosts = {_planned_name(host, names): host for host in inspected}
    aliases = [
        alias
        for service in (*(compute for compute, _ in computes), *control_plane)
        for alias in service.aliases()
    ]
    hosts = [
        _host(
            service,
            _settings(node_set),
            tuple(devices_of.get(service.host, ())),
            inspected_hosts.get(service.host),
            aliases,
            models,
            count,
        )
        for service, node_set in computes
    ]
    return Plan(control_plane, tuple(hosts))


def _check_single_deployment(tree: deployment.Deployment) -> None:
    deployments = deployment.split(tree)
    if len(deployments) > 1:
        paths = ', '.join(part.folder or '.' for part in deployments)
        raise exceptions.InvalidValue(
            f'The files belong to {len(deployments)} deployments ({paths}); '
            'a rehearsal runs one: pass the files or the folder of one, or '
            'say with --as which service reads which file'
        )


# -- services ----------------------------------------------------------------


def _control_plane(
    tree: deployment.Deployment,
) -> tuple[PlannedService, ...]:
    return tuple(
        _service(
            _name(kind, number),
            (
                rehearsal.CONTROLLER
                if number == 1
                else f'{rehearsal.CONTROLLER}-{number}'
            ),
            process,
        )
        for kind in (
            configuration.API,
            configuration.CONDUCTOR,
            configuration.SCHEDULER,
        )
        for number, process in enumerate(tree.of_kind(kind) or (None,), 1)
    )


def _name(kind: str, number: int) -> str:
    if kind == configuration.API:
        return f'{kind}-{number}'
    return kind if number == 1 else f'{kind}-{number}'


def _computes(
    tree: deployment.Deployment,
) -> list[tuple[PlannedService, deployment.NodeSet | None]]:
    """Return each nova-compute with the node set of its host."""
    computes = []
    names: set[str] = set()
    for process in tree.of_kind(configuration.COMPUTE):
        node_set = tree.node_set_of(process)
        name = _unused_name(_host_name(process, node_set), names)
        names.add(name)
        service = _service(configuration.COMPUTE, name, process)
        computes.append((service, node_set))
    if len(computes) > rehearsal.MOST_HOSTS:
        raise exceptions.InvalidValue(
            f'The configuration is of {len(computes)} hosts; at most '
            f'{rehearsal.MOST_HOSTS} can be simulated: pass the files of '
            'fewer hosts'
        )
    return computes


def _service(
    name: str,
    host: str,
    process: deployment.Process | None,
) -> PlannedService:
    texts: list[str] = []
    paths: list[str] = []
    excluded: list[option_filter.ExcludedOption] = []
    options = () if process is None else process.options
    for path, group in itertools.groupby(
        options, lambda option: option.setting.place.path
    ):
        kept = []
        for option in group:
            exclusion = option_filter.exclude(option)
            if exclusion is not None:
                excluded.append(exclusion)
            if exclusion is None or exclusion.state == option_filter.UNREAD:
                kept.append((option.section, option.name, option.setting.text))
        texts.append(nova_conf.render(kept))
        paths.append(path)
    return PlannedService(
        name,
        host,
        process,
        tuple(texts),
        tuple(paths),
        tuple(excluded),
        _template(name, process),
    )


def _template(name: str, process: deployment.Process | None) -> str:
    """Return what nova-scheduler reads before the user's own documents.

    Empty where Nova's defaults are in effect: a filter that the user has not
    enabled must show in the result.
    """
    if not name.startswith(configuration.SCHEDULER):
        return ''
    if process is None or scheduler_rules.has_own_default(process):
        return rehearsal.SCHEDULER_TEMPLATE
    return ''


# -- hosts -------------------------------------------------------------------


def _host(
    service: PlannedService,
    settings: configuration.HostSettings,
    described: tuple[rehearsal.SimulatedDevice, ...],
    inspected: host_model.Host | None,
    aliases: collections.abc.Sequence[alias_model.Alias],
    models: catalogue.Catalogue,
    count: int,
) -> PlannedHost:
    addresses = {device.address for device in described}
    given = list(described)
    if inspected is not None:
        given += [
            device
            for device in device_simulation.of_host(inspected)
            if device.address not in addresses
        ]
    specs, invalid = service.device_specs()
    devices, unsimulated = device_simulation.simulate(
        specs, aliases, models, given, count, complete=inspected is not None
    )
    return PlannedHost(
        service,
        devices,
        (*invalid, *unsimulated),
        host_topology.of_compute(
            service.process, devices, settings, inspected
        ),
        described,
        frozenset(
            device.address
            for device in devices
            if device not in given
            and device_simulation.is_type_assumed(device, models)
        ),
    )


def _settings(
    node_set: deployment.NodeSet | None,
) -> configuration.HostSettings:
    if node_set is None or not node_set.settings:
        return configuration.HostSettings()
    return node_set.settings[0]


def _check_host(name: str, names: collections.abc.Collection[str]) -> None:
    if name not in names:
        raise exceptions.InvalidValue(
            f'The configuration has no compute host {name!r}; its hosts: '
            f'{", ".join(sorted(names)) or "none"}'
        )


def _planned_name(
    host: host_model.Host, names: collections.abc.Collection[str]
) -> str:
    """Return the name in the plan of an inspected host.

    The only host, or the one with its name, with or without its domain.
    """
    if len(names) == 1:
        return next(iter(names))
    name = host.name
    if name not in names:
        name = name.partition('.')[0]
    _check_host(name, names)
    return name


def _host_name(
    process: deployment.Process, node_set: deployment.NodeSet | None
) -> str:
    """Return a name for the host of a nova-compute."""
    setting = process.last('DEFAULT', 'host')
    if setting is not None and setting.is_known:
        return setting.text
    if node_set is not None and node_set.nodes:
        return node_set.nodes[0].name
    if process.host is not None:
        return process.host
    return _name_in_path(os.path.abspath(process.place.path))


def _name_in_path(path: str) -> str:
    """Return the last part of a path that may be the name of a host."""
    while path != os.path.dirname(path):
        path, base = os.path.split(path)
        stem = re.sub(r'\.(conf|ini|ya?ml|d)\b', '', base)
        if stem.lower() not in _GENERAL:
            return stem
        if base == 'nova' and os.path.basename(path) != 'etc':
            # The folder above is named after the deployment.
            break
    return ''


def _unused_name(name: str, names: collections.abc.Container[str]) -> str:
    """Return a valid name for a host that no other host has."""
    name = re.sub(r'[^A-Za-z0-9._-]+', '-', name).strip('-._')
    name = name[:_LONGEST_NAME] or 'compute'
    if name not in names:
        return name
    return next(
        f'{name}-{number}'
        for number in itertools.count(2)
        if f'{name}-{number}' not in names
    )
