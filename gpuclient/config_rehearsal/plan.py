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

"""What to rehearse of a tree of configuration.

:func:`make` turns the documents of one deployment into the spec of a cloud
(:mod:`gpuclient.rehearsal.spec`), and remembers which document each text is
from and what should come of it.
"""

import collections.abc
import dataclasses
import itertools
import os
import re
import typing

from gpuclient.config_rehearsal import host_simulation
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

#: What becomes of an option that is not rehearsed.
REPLACED = 'replaced'
LEFT_OUT = 'left out'
UNREAD = 'unread'

# Sections about other services and machines, most of them with credentials.
_SECTIONS_REPLACED = {
    'api_database',
    'cache',
    'database',
    'glance',
    'keystone',
    'keystone_authtoken',
    'neutron',
    'nova_sys_admin',
    'oslo_concurrency',
    'oslo_limit',
    'oslo_middleware',
    'oslo_policy',
    'placement',
    'placement_database',
    'profiler',
    'quota',
    'service_user',
    'ssl',
    'wsgi',
}
_SECTIONS_LEFT_OUT = {
    'barbican',
    'barbican_service_user',
    'cinder',
    'console',
    'consoleauth',
    'cyborg',
    'ironic',
    'key_manager',
    'manila',
    'mks',
    'notifications',
    'remote_debug',
    'serial_console',
    'spice',
    'vault',
    'vendordata_dynamic_auth',
    'vmware',
    'vnc',
    'zvm',
}
_PREFIXES_REPLACED = ('oslo_messaging_', 'privsep', 'vif_plug_', 'os_vif_')
_DEFAULT_REPLACED = re.compile(
    'host|my_ip|my_block_storage_ip|transport_url|control_exchange|rpc_.*'
    '|log_.*|logging_.*|default_log_levels|use_(syslog|journal|json|stderr)'
    '|use_eventlog|syslog_.*|debug|verbose|rate_limit_.*|publish_errors'
    '|state_path|instances_path|pybasedir|bindir|tempdir|rootwrap_config'
    '|use_rootwrap_daemon|compute_driver|enabled_apis|enabled_ssl_apis'
    '|.*_(listen|listen_port|workers)|workers|ssl_only|cert|key|conn_pool_.*'
    '|executor_thread_pool_size|pci_passthrough_devices|quota_.*'
)
#: The simulated driver is not libvirt's.
_SECTIONS_UNREAD = {'devices', 'image_cache', 'libvirt'}
_SECRET = re.compile(
    'passw|secret|token|credential|private|api_?key|auth|_key$|^key$'
    '|connection'
)
#: ``rabbit://nova:secret@...``
_SECRET_VALUE = re.compile(r'://[^/\s]*@')

_TEMPLATE = re.compile(r'\{\{|\{%')

# Names that say what a file is, not whose.
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


@dataclasses.dataclass(frozen=True)
class NotRehearsed:
    """An option that has no effect in a rehearsal."""

    option: configuration.Option
    #: :data:`REPLACED`, :data:`LEFT_OUT` or :data:`UNREAD`.
    state: str
    reason: str

    @property
    def name(self) -> str:
        """``[DEFAULT]transport_url``."""
        return f'[{self.option.section}]{self.option.name}'


@dataclasses.dataclass(frozen=True)
class Part:
    """A process of the cloud, and the documents that it reads."""

    #: As the record of the cloud has it: ``nova-api-1``, ``nova-compute``.
    name: str
    host: str
    #: None where no document is for it.
    process: deployment.Process | None
    texts: tuple[str, ...]
    #: The file that each text is from.
    paths: tuple[str, ...]
    not_rehearsed: tuple[NotRehearsed, ...]
    #: What the template of its deployer sets, or what nobody describes.
    template: str = ''

    @property
    def place(self) -> configuration.Place | None:
        """The document that is its own; None where it has none."""
        return None if self.process is None else self.process.place

    @property
    def service(self) -> deployment.Process:
        """All that it reads."""
        return self.process or deployment.Process((), configuration.Place(''))

    def aliases(self) -> tuple[alias_model.Alias, ...]:
        """Return the aliases that can be read."""
        found = []
        for setting in self.service.aliases:
            try:
                found.append(alias_model.parse(setting.text))
            except exceptions.InvalidAlias:
                # Nova says so when it starts.
                continue
        return tuple(found)

    def entries(
        self,
    ) -> tuple[list[host_simulation.Entry], list[host_simulation.Unknown]]:
        """Return the device specs, and those that cannot be read."""
        service = self.service
        found: list[host_simulation.Entry] = []
        unknown: list[host_simulation.Unknown] = []
        for setting in service.device_specs:
            try:
                entries = device_spec.parse(
                    setting.text,
                    report_in_placement=bool(service.report_in_placement),
                )
            except exceptions.InvalidDeviceSpec as exc:
                unknown.append(host_simulation.Unknown(setting, str(exc)))
                continue
            found += [(entry, setting) for entry in entries]
        return found, unknown


@dataclasses.dataclass(frozen=True)
class Host:
    """A simulated compute host."""

    part: Part
    devices: tuple[rehearsal.SimulatedDevice, ...]
    unknown: tuple[host_simulation.Unknown, ...]
    size: host_simulation.Size
    #: Those of the devices that the user described.
    described: tuple[rehearsal.SimulatedDevice, ...] = ()
    #: Addresses of those whose device type is what an alias requests, since
    #: nothing else tells it.
    assumed: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        return self.part.host

    def matched(
        self,
    ) -> collections.abc.Iterator[
        tuple[device_spec.HostDevice, host_simulation.Entry]
    ]:
        """Yield the devices that the host gives away, and by which entry."""
        devices = host_simulation.host_devices(self.devices)
        here = device_spec.Host(devices)
        entries = [
            (entry.on(here), setting)
            for entry, setting in self.part.entries()[0]
        ]
        for device in devices:
            for entry in entries:
                if entry[0].matches(device):
                    yield device, entry
                    break

    def count(
        self,
        aliases: collections.abc.Sequence[alias_model.Alias],
        in_placement: bool,
    ) -> int:
        """Return how many devices of this host serve any of some aliases.

        :param in_placement: ``[filter_scheduler]pci_in_placement``.
        """
        return sum(
            any(
                entry.serves(device, alias, in_placement=in_placement)
                for alias in aliases
            )
            for device, (entry, _setting) in self.matched()
        )


@dataclasses.dataclass(frozen=True)
class Plan:
    """A cloud to start, and what its parts are from."""

    #: nova-api, nova-conductor and nova-scheduler.
    control_plane: tuple[Part, ...]
    hosts: tuple[Host, ...]

    @property
    def parts(self) -> tuple[Part, ...]:
        return (*self.control_plane, *(host.part for host in self.hosts))

    @property
    def api(self) -> Part:
        """The nova-api that is asked."""
        return self.control_plane[0]

    @property
    def document(self) -> dict[str, typing.Any]:
        """The spec of the cloud."""
        kinds: dict[str, list[dict[str, typing.Any]]] = {}
        for part in self.control_plane:
            kind = part.name.split('-')[1]
            entry: dict[str, typing.Any] = {'config': list(part.texts)}
            if part.template:
                entry['template'] = part.template
            kinds.setdefault(kind, []).append(entry)
        return {
            'control_plane': kinds,
            'hosts': [
                {
                    'name': host.name,
                    'numa': list(host.size.numa),
                    'devices': [_as_document(one) for one in host.devices],
                    'config': list(host.part.texts),
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
    given: collections.abc.Iterable[
        tuple[str, rehearsal.SimulatedDevice]
    ] = (),
    known: collections.abc.Iterable[host_model.Host] = (),
    count: int = host_simulation.DEVICES,
) -> Plan:
    """Return what to rehearse of a deployment.

    A compute is a host, a second configuration of another service is a second
    service of its kind.

    :param models: Tell the types of devices.
    :param given: Devices that hosts have, by the names of the hosts.
    :param known: Hosts that were asked what they have.
    :param count: Devices of each id of a host, where nothing tells.
    :raises gpuclient.exceptions.InvalidValue: There are several
        deployments, or a device is of a host that is not there.
    """
    deployments = deployment.split(tree)
    if len(deployments) > 1:
        raise exceptions.InvalidValue(
            (
                'There are {number} deployments here, one cloud cannot be '
                'all of them: name the files or the folder of one ({paths})'
            ).format(
                number=len(deployments),
                paths=', '.join(one.folder or '.' for one in deployments),
            )
        )
    control_plane = [
        _part(
            _name(kind, number),
            rehearsal.CONTROLLER
            if number == 1
            else f'{rehearsal.CONTROLLER}-{number}',
            process,
        )
        for kind in (
            configuration.API,
            configuration.CONDUCTOR,
            configuration.SCHEDULER,
        )
        for number, process in enumerate(tree.of_kind(kind) or (None,), 1)
    ]
    named = list(given)
    parts: list[Part] = []
    node_sets: list[deployment.NodeSet | None] = []
    taken: set[str] = set()
    for compute in tree.of_kind(configuration.COMPUTE):
        node_set = tree.node_set_of(compute)
        node_sets.append(node_set)
        name = _free(_host_name(compute, node_set), taken)
        taken.add(name)
        parts.append(_part(configuration.COMPUTE, name, compute))
    if len(parts) > rehearsal.MOST_HOSTS:
        raise exceptions.InvalidValue(
            f'The configuration is of {len(parts)} hosts; at most '
            f'{rehearsal.MOST_HOSTS} can be simulated: pass the files of '
            'fewer hosts'
        )
    for name, _device in named:
        _check_host(name, taken)
    bundles = {_bundle_of(one.name, taken): one for one in known}
    aliases = [
        alias for part in (*parts, *control_plane) for alias in part.aliases()
    ]
    hosts = []
    for part, node_set in zip(parts, node_sets, strict=True):
        entries, unread = part.entries()
        described = [device for name, device in named if name == part.host]
        bundle = bundles.get(part.host)
        present = () if bundle is None else host_simulation.of_host(bundle)
        addresses = {one.address for one in described}
        devices, unknown = host_simulation.simulate(
            entries,
            aliases,
            models,
            [
                *described,
                *(one for one in present if one.address not in addresses),
            ],
            count,
            complete=bundle is not None,
        )
        hosts.append(
            Host(
                part,
                devices,
                (*unread, *unknown),
                host_simulation.size(
                    part.service, devices, _settings(node_set), bundle
                ),
                tuple(described),
                frozenset(
                    one.address
                    for one in devices
                    if one not in described
                    and one not in present
                    and host_simulation.is_assumed(one, models)
                ),
            )
        )
    return Plan(tuple(control_plane), tuple(hosts))


def _check_host(name: str, taken: collections.abc.Collection[str]) -> None:
    if name not in taken:
        raise exceptions.InvalidValue(
            (
                'There is no host {name!r} to simulate devices of; there '
                'are: {hosts}'
            ).format(name=name, hosts=', '.join(sorted(taken)) or 'none')
        )


def _bundle_of(name: str, taken: collections.abc.Collection[str]) -> str:
    """Return the host that a bundle is of: the only one, or by its name."""
    if len(taken) == 1:
        return next(iter(taken))
    if name not in taken:
        name = name.partition('.')[0]
    _check_host(name, taken)
    return name


def _name(kind: str, number: int) -> str:
    if kind == configuration.API:
        return f'{kind}-{number}'
    return kind if number == 1 else f'{kind}-{number}'


def _settings(
    node_set: deployment.NodeSet | None,
) -> configuration.HostSettings:
    if node_set is None or not node_set.settings:
        return configuration.HostSettings()
    return node_set.settings[0]


def _host_name(
    service: deployment.Process, node_set: deployment.NodeSet | None
) -> str:
    """Return a name for the host of a compute configuration."""
    setting = service.last('DEFAULT', 'host')
    if setting is not None and setting.is_known:
        return setting.text
    if node_set is not None and node_set.nodes:
        return node_set.nodes[0].name
    if service.host is not None:
        return service.host
    path = os.path.abspath(service.place.path)
    while path != os.path.dirname(path):
        path, base = os.path.split(path)
        stem = re.sub(r'\.(conf|ini|ya?ml|d)\b', '', base)
        if stem.lower() not in _GENERAL:
            return stem
        if base == 'nova' and os.path.basename(path) != 'etc':
            # Above it is the deployment, not the host.
            break
    return ''


def _free(name: str, taken: set[str]) -> str:
    """Return a name for a host that no other host has."""
    name = re.sub(r'[^A-Za-z0-9._-]+', '-', name).strip('-._')[:56]
    name = name or 'compute'
    if name not in taken:
        return name
    return next(
        f'{name}-{number}'
        for number in itertools.count(2)
        if f'{name}-{number}' not in taken
    )


def _part(
    name: str,
    host: str,
    process: deployment.Process | None,
) -> Part:
    texts: list[str] = []
    paths: list[str] = []
    not_rehearsed: list[NotRehearsed] = []
    options = () if process is None else process.options
    for path, group in itertools.groupby(
        options, lambda option: option.setting.place.path
    ):
        kept = []
        for option in group:
            why = _judge(option)
            if why is not None:
                not_rehearsed.append(why)
            if why is None or why.state == UNREAD:
                kept.append((option.section, option.name, option.setting.text))
        texts.append(nova_conf.render(kept))
        paths.append(path)
    return Part(
        name,
        host,
        process,
        tuple(texts),
        tuple(paths),
        tuple(not_rehearsed),
        _template(name, process),
    )


def _template(name: str, process: deployment.Process | None) -> str:
    """Return what nova-scheduler reads before the user's own documents.

    Without it, Nova's own defaults are in effect: what the user left out
    has to show.
    """
    if not name.startswith(configuration.SCHEDULER):
        return ''
    if process is None or scheduler_rules.has_own_default(process):
        return rehearsal.SCHEDULER_TEMPLATE
    return ''


def _judge(option: configuration.Option) -> NotRehearsed | None:
    """Return why an option is not rehearsed; None where it is."""
    section, name = option.section, option.name
    if option.setting.depends or _TEMPLATE.search(option.setting.text):
        return NotRehearsed(option, LEFT_OUT, 'a template makes its value')
    if section in _SECTIONS_REPLACED or section.startswith(_PREFIXES_REPLACED):
        state = REPLACED
    elif section == 'DEFAULT' and _DEFAULT_REPLACED.fullmatch(name):
        state = REPLACED
    elif section in _SECTIONS_LEFT_OUT:
        return NotRehearsed(
            option, LEFT_OUT, 'there is no such service in a rehearsal'
        )
    elif _SECRET.search(name) or _SECRET_VALUE.search(option.setting.text):
        return NotRehearsed(option, LEFT_OUT, 'it may hold a secret')
    elif (
        why := option_filter.reason(section, name, option.setting.text)
    ) is not None:
        return NotRehearsed(option, LEFT_OUT, why)
    elif section in _SECTIONS_UNREAD:
        return NotRehearsed(
            option, UNREAD, 'the simulated driver does not read it'
        )
    else:
        return None
    return NotRehearsed(option, state, 'a rehearsal has its own')
