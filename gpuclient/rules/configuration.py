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

"""All rules about the configuration of services, alone and together."""

import bisect
import collections.abc
import re

from gpuclient import exceptions
from gpuclient.model import alias as alias_model
from gpuclient.model import catalogue as catalogue_model
from gpuclient.model import configuration
from gpuclient.model import cpu
from gpuclient.model import deployment
from gpuclient.model import device_spec
from gpuclient.model import nova_changes
from gpuclient.model import quoting
from gpuclient.model import release as release_model
from gpuclient.rules import alias as alias_rules
from gpuclient.rules import alias_functions as alias_functions_rules
from gpuclient.rules import alias_consistency as alias_consistency_rules
from gpuclient.rules import catalogue as catalogue_rules
from gpuclient.rules import cpu as cpu_rules
from gpuclient.rules import data_plane as data_plane_rules
from gpuclient.rules import device_spec as device_spec_rules
from gpuclient.rules import live_migration
from gpuclient.rules import mediated_devices
from gpuclient.rules import finding
from gpuclient.rules import kernel_arguments as kernel_rules
from gpuclient.rules import alias_matching as matching_rules
from gpuclient.rules import missing_services as missing_services_rules
from gpuclient.rules import nova_release as nova_release_rules
from gpuclient.rules import options as options_rules
from gpuclient.rules import repeated_keys as repeated_keys_rules
from gpuclient.rules import scheduler as scheduler_rules
from gpuclient.rules import section_names as section_names_rules
from gpuclient.rules import placement_tracking as tracking_rules
from gpuclient.rules import unread_configuration as unread_rules

#: Placeholders of templates and examples.
_PLACEHOLDER = re.compile(
    r'_replaced_|CHANGE_?ME|<[A-Za-z][\w .-]*>|\bTODO\b|\bXXXX\b',
    re.IGNORECASE,
)
#: Sections whose values are checked.
_SECTIONS = ('compute', 'devices', 'filter_scheduler', 'pci')


def unreadable(
    path: str, reason: str, line: int | None = None
) -> finding.Located:
    """Return the finding that a file could not be read.

    The result of a template is not known; other files no service can read.
    """
    template = any(mark in reason for mark in ('{{', '{%'))
    return finding.Located(
        (finding.warning if template else finding.error)('GPU300', reason),
        configuration.Place(path, line),
    )


def unread(path: str, message: str) -> finding.Located:
    """Return the finding that the format of a file is not read."""
    return finding.Located(
        finding.warning('GPU321', message), configuration.Place(path)
    )


class _Entries:
    """The aliases and device specs that Nova can parse, by service."""

    def __init__(
        self,
        processes: collections.abc.Iterable[deployment.Process],
        release: release_model.Release,
    ) -> None:
        #: The release of Nova that reads them.
        self.release = release
        self._readers = deployment.readers(processes)
        self._aliases: dict[int, list[alias_rules.AliasEntry]] = {}
        self._specs: dict[int, list[device_spec_rules.SpecEntry]] = {}
        #: Services with a device spec that cannot be parsed.
        self._broken: set[int] = set()

    def add(
        self,
        service: deployment.Process,
        aliases: list[alias_rules.AliasEntry],
        specs: list[device_spec_rules.SpecEntry],
        *,
        broken: bool,
    ) -> None:
        self._aliases[id(service)] = aliases
        self._specs[id(service)] = specs
        if broken:
            self._broken.add(id(service))

    def parsers(self, setting: configuration.Setting) -> list[str]:
        """Return the services that parse an alias when they start."""
        return _parsers(self._readers[setting.place])

    def is_broken(self, service: deployment.Process) -> bool:
        return id(service) in self._broken

    def aliases(
        self, services: collections.abc.Iterable[deployment.Process]
    ) -> list[alias_rules.AliasEntry]:
        return [
            entry
            for service in services
            for entry in self._aliases.get(id(service), ())
        ]

    def specs(
        self, services: collections.abc.Iterable[deployment.Process]
    ) -> list[device_spec_rules.SpecEntry]:
        return [
            entry
            for service in services
            for entry in self._specs.get(id(service), ())
        ]


def check(
    tree: deployment.Deployment,
    catalogue: catalogue_model.Catalogue | None = None,
    names: catalogue_rules.Names | None = None,
    release: release_model.Release | None = None,
) -> tuple[finding.Located, ...]:
    """Return the findings about processes, alone and together, by place.

    :param tree: A tree, which may have several deployments.
    :param catalogue: The GPU models; the built-in ones by default.
    :param names: Names from a database of PCI ids; without one, ids that are
        not in the catalogue are not reported.
    :param release: The release of Nova; if it is not known, the newest, but
        for filters that the last release of a deployment tool has.
    """
    catalogue = catalogue or catalogue_model.builtin()
    judge = release or release_model.newest()
    findings = [*options_rules.check(tree.processes, judge)]
    tree = nova_release_rules.read_by(tree, judge)
    services, data_plane = tree.processes, tree.data_plane
    entries = _Entries(services, judge)
    for service in services:
        findings += _check_service(
            service, entries, catalogue, names or _any_name
        )
    findings += _check_merged(services, entries)
    for part in deployment.split(tree):
        findings += _check_deployment(
            part.processes, entries, release, catalogue, names or _any_name
        )
    findings += section_names_rules.check(services)
    findings += unread_rules.check(tree.unread)
    findings += _check_data_plane(data_plane, entries, catalogue)
    return tuple(
        sorted(
            dict.fromkeys(findings),
            key=lambda located: (
                located.place.path,
                located.place.line or 0,
                located.finding.code,
                located.finding.message,
            ),
        )
    )


def _check_data_plane(
    data_plane: deployment.DataPlane,
    entries: _Entries,
    catalogue: catalogue_model.Catalogue,
) -> list[finding.Located]:
    """Return the findings about node sets, their services and machines."""
    findings: list[finding.Located] = []
    machines = data_plane_rules.Machines(data_plane.machines)
    types = {service.name: service.type for service in data_plane.services}
    for node_set in data_plane.node_sets:
        findings += data_plane_rules.check_services(node_set, types)
        findings += missing_services_rules.check(
            node_set,
            data_plane,
            entries.specs(node_set.computes),
            catalogue,
        )
        findings += _check_node_set(
            node_set,
            machines.of(node_set),
            entries,
            catalogue,
        )
    findings += data_plane_rules.check_deployed(data_plane)
    for machine in data_plane.machines:
        findings += _check_placeholders(machine.settings)
        findings += missing_services_rules.check_machine(machine)
    return findings


def _check_service(
    service: deployment.Process,
    entries: _Entries,
    catalogue: catalogue_model.Catalogue,
    names: catalogue_rules.Names,
) -> list[finding.Located]:
    """Return the findings about a service alone."""
    findings = [
        *_check_placeholders(
            option.setting
            for option in service.options
            if option.section in _SECTIONS
            or option.name.startswith('reserved_')
        )
    ]
    aliases = _parse_aliases(service, entries, findings, catalogue)
    for entry in aliases:
        findings += [
            finding.Located(problem, entry.setting.place)
            for problem in catalogue_rules.check_alias(
                entry.alias, catalogue, names
            )
        ]
    specs = _parse_specs(service, entries, findings)
    entries.add(
        service,
        aliases,
        specs,
        broken=any(located.finding.code == 'GPU302' for located in findings),
    )
    findings += cpu_rules.check_service(service)
    findings += mediated_devices.check(service, specs, catalogue)
    return findings


def _any_name(_vendor_id: str, _product_id: str) -> str:
    return ''


def _check_node_set(
    node_set: deployment.NodeSet,
    written: collections.abc.Sequence[configuration.Machine],
    entries: _Entries,
    catalogue: catalogue_model.Catalogue,
) -> list[finding.Located]:
    """Return the findings about the hosts of a node set.

    :param written: The machines in files beside it.
    """
    computes = node_set.computes
    specs = entries.specs(computes)
    machines = data_plane_rules.machines_of(node_set, written)
    vendors = _cpu_vendors(computes, machines)
    findings = [
        *_check_placeholders(node_set.services or ()),
        *data_plane_rules.check_machines(node_set, written),
    ]
    for service in computes:
        findings += live_migration.check(
            service,
            entries.aliases([service]),
            entries.specs([service]),
            # nova-operator: templates/nova/nova.conf
            default=True,
        )
    for settings in node_set.settings:
        findings += _check_placeholders(settings.all())
        findings += data_plane_rules.check_reboot(settings)
        findings += cpu_rules.check_hosts(
            settings,
            computes,
            passthrough=any(
                kernel_rules.is_passed_through(entry.spec) for entry in specs
            ),
        )
        findings += cpu_rules.check_machines(settings, computes, machines)
        arguments = settings.kernel_arguments
        if arguments is not None and arguments.is_known:
            findings += kernel_rules.check(
                arguments,
                specs,
                cpu_rules.reserved_pages(computes),
                vendors,
                catalogue,
                more_huge_pages=settings.more_huge_pages,
            )
    return findings


def _cpu_vendors(
    computes: collections.abc.Iterable[deployment.Process],
    machines: collections.abc.Iterable[configuration.Machine],
) -> frozenset[cpu.Vendor]:
    """Return the vendors of the CPUs, as far as configuration names them."""
    models = [
        model
        for service in computes
        for setting in service.values('libvirt', 'cpu_models', 'cpu_model')
        for model in setting.text.split(',')
    ]
    names = [
        *map(cpu.vendor_of_model, models),
        *(
            vendor
            for machine in machines
            for vendor in (cpu.Vendor.AMD, cpu.Vendor.INTEL)
            if (machine.cpu_model or '').startswith(vendor.label)
        ),
    ]
    return frozenset(name for name in names if name is not None)


def _check_deployment(
    services: collections.abc.Sequence[deployment.Process],
    entries: _Entries,
    release: release_model.Release | None,
    catalogue: catalogue_model.Catalogue,
    names: catalogue_rules.Names,
) -> list[finding.Located]:
    """Return the findings about services together."""
    aliases = entries.aliases(services)
    specs = entries.specs(services)
    findings = [*alias_consistency_rules.check(aliases, services)]
    unknown = any(
        entries.is_broken(service)
        or any(
            options_rules.resolve(service, 'pci', setting) is None
            for setting in service.device_specs
        )
        for service in services
    )
    findings += alias_consistency_rules.check_hosts(aliases, specs, services)
    # A spec that cannot be parsed may be the one that is missing.
    findings += matching_rules.check(
        aliases, () if unknown else specs, services
    )
    findings += _check_device_types(aliases, specs, services, catalogue)
    findings += alias_functions_rules.check(
        aliases, None if unknown else specs, catalogue, names
    )
    findings += tracking_rules.check(services, specs, aliases)
    findings += scheduler_rules.check(services, aliases, release)
    findings += nova_release_rules.check_limits(
        services, aliases, entries.release
    )
    for service in services:
        findings += live_migration.check(
            service, entries.aliases([service]), entries.specs([service])
        )
    return findings


def _check_device_types(
    aliases: collections.abc.Iterable[alias_rules.AliasEntry],
    specs: collections.abc.Collection[device_spec_rules.SpecEntry],
    services: collections.abc.Sequence[deployment.Process],
    catalogue: catalogue_model.Catalogue,
) -> collections.abc.Iterator[finding.Located]:
    """Find aliases that match no PF.

    The tag dev_type of a device spec replaces the type of its devices, so that
    an alias without one may match them.
    """
    tagged = any('dev_type' in entry.spec.tags for entry in specs)
    for entry in aliases:
        if tagged and _have_types(entry.alias, specs, services):
            continue
        for problem in alias_rules.check_device_type(entry.alias, catalogue):
            yield finding.Located(problem, entry.setting.place)


def _have_types(
    alias: alias_model.Alias,
    specs: collections.abc.Iterable[device_spec_rules.SpecEntry],
    services: collections.abc.Sequence[deployment.Process],
) -> bool:
    """Return whether all device specs for an alias set the type."""
    named = [
        entry
        for entry in specs
        if matching_rules.names_devices(entry, alias, services)
    ]
    return bool(named) and all(
        'dev_type' in entry.spec.tags for entry in named
    )


def _check_placeholders(
    settings: collections.abc.Iterable[configuration.Setting],
) -> collections.abc.Iterator[finding.Located]:
    for setting in settings:
        match = _PLACEHOLDER.search(setting.text)
        if match is not None:
            yield finding.Located(
                finding.error(
                    'GPU303',
                    f'The placeholder {quoting.word(match[0])!r} is not '
                    f'replaced. Set a value',
                ),
                setting.place,
            )


def _parse_aliases(
    service: deployment.Process,
    entries: _Entries,
    findings: list[finding.Located],
    catalogue: catalogue_model.Catalogue,
) -> list[alias_rules.AliasEntry]:
    """Return the aliases that Nova can parse; add findings about each."""
    aliases = []
    for setting in service.aliases if _parsers(service.readers) else ():
        text = options_rules.resolve(service, 'pci', setting)
        if text is None:
            continue
        try:
            alias = alias_model.parse(text, entries.release)
        except exceptions.InvalidAlias as exc:
            # nova/api/openstack/wsgi_app.py, nova/compute/manager.py
            findings.append(
                finding.Located(
                    nova_release_rules.refused_aliases(
                        str(exc),
                        entries.parsers(setting),
                        entries.release,
                        newest_accepts=(
                            nova_release_rules.is_accepted_by_newest(text)
                        ),
                    ),
                    setting.place,
                )
            )
            continue
        aliases.append(alias_rules.AliasEntry(alias, setting, service))
        findings += [
            finding.Located(problem, setting.place)
            for problem in (
                *alias_rules.check(alias, catalogue),
                *repeated_keys_rules.check_alias(alias.name, text),
                *_check_ids(alias, service, entries.release),
            )
            # With device specs that match it.
            if problem.code not in ('GPU113', 'GPU122')
        ]
    return aliases


def _check_ids(
    alias: alias_model.Alias,
    service: deployment.Process,
    release: release_model.Release,
) -> collections.abc.Iterator[finding.Finding]:
    """Find an alias without ids that the release accepts."""
    return nova_release_rules.check_alias(
        alias,
        pci_in_placement=None
        if service.is_open('filter_scheduler', 'pci_in_placement')
        else bool(service.pci_in_placement),
        release=release,
    )


def _parsers(readers: collections.abc.Container[str]) -> list[str]:
    """Return the services that parse aliases when they start."""
    return [
        name
        for name in (configuration.API, configuration.COMPUTE)
        if name in readers
    ]


def _check_merged(
    processes: collections.abc.Sequence[deployment.Process],
    entries: _Entries,
) -> collections.abc.Iterator[finding.Located]:
    """Check all aliases of each process together; report each problem once."""
    refusals: dict[tuple[configuration.Place, str], set[str]] = {}
    for process in processes:
        refusal = _refusal(process, entries)
        if refusal is not None:
            refusals.setdefault(refusal, set()).update(process.readers)
    for (place, reason), readers in refusals.items():
        yield finding.Located(
            nova_release_rules.refused_aliases(
                reason, _parsers(readers), entries.release
            ),
            place,
        )
    if entries.release.has(nova_changes.ALIASES_CHECKED_TOGETHER):
        return
    for process in processes:
        if _refusal(process, entries) is not None:
            # nova-api returns HTTP 400 before it could fail otherwise.
            continue
        yield from nova_release_rules.check_values(
            entries.aliases([process]),
            pci_in_placement=bool(process.pci_in_placement),
        )


def _refusal(
    process: deployment.Process, entries: _Entries
) -> tuple[configuration.Place, str] | None:
    """Return why a process refuses aliases that are valid one by one."""
    aliases = entries.aliases([process])
    if len(aliases) != len(process.aliases) or not aliases:
        # Invalid ones are reported already.
        return None
    texts = [
        options_rules.resolve(process, 'pci', entry.setting) or ''
        for entry in aliases
    ]
    # A template may set either.
    possible = (
        (True, False)
        if process.is_open('filter_scheduler', 'pci_in_placement')
        else (bool(process.pci_in_placement),)
    )
    reason = ''
    for pci_in_placement in possible:
        reason = _merge(texts, pci_in_placement, entries.release)
        if not reason:
            return None

    def is_last(number: int) -> bool:
        return _merge(texts[: number + 1], possible[-1], entries.release) == (
            reason
        )

    # The last of those that the message is about.
    number = bisect.bisect_left(range(len(aliases) - 1), True, key=is_last)
    return aliases[number].setting.place, reason


def _merge(
    texts: list[str], pci_in_placement: bool, release: release_model.Release
) -> str:
    """Return why a release refuses aliases together; empty if it does not."""
    try:
        alias_model.merge(texts, pci_in_placement, release)
    except exceptions.InvalidAlias as exc:
        return str(exc)
    return ''


def _parse_specs(
    service: deployment.Process,
    parsed: _Entries,
    findings: list[finding.Located],
) -> list[device_spec_rules.SpecEntry]:
    """Return the entries that Nova can parse; add findings about each."""
    specs: list[device_spec_rules.SpecEntry] = []
    if not service.is_read_by(configuration.COMPUTE):
        return specs
    for setting in service.device_specs:
        text = options_rules.resolve(service, 'pci', setting)
        if text is None:
            continue
        try:
            entries = device_spec.parse(
                text,
                report_in_placement=bool(service.report_in_placement)
                or service.is_open('pci', 'report_in_placement'),
                release=parsed.release,
            )
        except exceptions.InvalidDeviceSpec as exc:
            findings.append(
                finding.Located(
                    finding.not_started(
                        'GPU302', configuration.COMPUTE, str(exc)
                    ),
                    setting.place,
                )
            )
            continue
        findings += [
            finding.Located(problem, setting.place)
            for problem in repeated_keys_rules.check_device_spec(text)
        ]
        for spec in entries:
            findings += [
                finding.Located(problem, setting.place)
                for problem in device_spec_rules.check(spec)
            ]
            if service.report_in_placement:
                findings += [
                    finding.Located(problem, setting.place)
                    for problem in device_spec_rules.check_reporting(spec)
                ]
            specs.append(device_spec_rules.SpecEntry(spec, setting, service))
    findings += device_spec_rules.check_order(specs)
    return specs
