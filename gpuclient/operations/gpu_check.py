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

"""Check a cloud with all layers that are available."""

import collections.abc
import dataclasses

from openstack import connection

from gpuclient.cloud import request
from gpuclient.documents import tree as document_tree
from gpuclient import exceptions
from gpuclient.model import alias as alias_model
from gpuclient.model import catalogue
from gpuclient.model import cloud_state
from gpuclient.model import configuration
from gpuclient.model import deployment
from gpuclient.model import expectation
from gpuclient.model import host as host_model
from gpuclient.model import partial_result
from gpuclient.model import release as release_model
from gpuclient.operations import cloud_inspection
from gpuclient.operations import config_check
from gpuclient.operations import host_check
from gpuclient.operations import host_devices
from gpuclient.operations import host_intent
from gpuclient.operations import leak_check
from gpuclient.rules import check_result
from gpuclient.rules import cloud_aliases
from gpuclient.rules import cloud_capacity
from gpuclient.rules import cloud_check
from gpuclient.rules import cloud_flavors
from gpuclient.rules import cloud_leaks as leak_rules
from gpuclient.rules import cloud_limits
from gpuclient.rules import cloud_owners
from gpuclient.rules import cloud_services
from gpuclient.rules import cloud_tracking
from gpuclient.rules import placement_leaks

_ORDER = (
    check_result.Result.FAIL,
    check_result.Result.WARN,
    check_result.Result.SKIPPED,
    check_result.Result.PASS,
)


def _flavors(state: cloud_state.CloudState) -> str:
    return cloud_check.counted(len(state.device_flavors), 'flavor')


def _hosts(state: cloud_state.CloudState) -> str:
    return cloud_check.counted(len(state.hosts or ()), 'host')


def _devices(state: cloud_state.CloudState) -> str:
    return f'{cloud_check.counted(len(state.devices), "device")} on ' + (
        _hosts(state)
    )


def _aliases(state: cloud_state.CloudState) -> str:
    number = len(state.requested_aliases)
    return f'{number} alias{"" if number == 1 else "es"}'


#: The checks of a cloud; the causes come before what follows from them.
CLOUD_CHECKS: tuple[cloud_check.Check, ...] = (
    cloud_check.Check(
        'control plane',
        cloud_services.check_control_plane,
        ('services',),
        lambda state: cloud_check.counted(
            len(state.services or ()), 'service'
        ),
    ),
    cloud_check.Check(
        'alias in nova-api',
        cloud_aliases.check_nova_api,
        ('flavors', 'answers'),
        _aliases,
    ),
    cloud_check.Check('flavors', cloud_flavors.check, ('flavors',), _flavors),
    cloud_check.Check(
        'nova-compute',
        cloud_services.check_computes,
        ('nodes', 'hosts'),
        _hosts,
    ),
    cloud_check.Check(
        'placement tracking',
        cloud_tracking.check,
        ('nodes', 'hosts', 'flavors'),
        _devices,
    ),
    cloud_check.Check(
        'alias and devices',
        cloud_aliases.check_devices,
        ('flavors', 'hosts', 'aliases'),
        _aliases,
    ),
    cloud_check.Check(
        'memory ratio',
        cloud_capacity.check_ratios,
        ('nodes', 'hosts'),
        _hosts,
    ),
    cloud_check.Check(
        'allocation candidates',
        cloud_capacity.check_candidates,
        ('flavors', 'hosts', 'aliases'),
        _flavors,
    ),
    cloud_check.Check(
        'stranded devices',
        cloud_capacity.check_stranded,
        ('hosts', 'forecasts'),
        _devices,
    ),
    cloud_check.Check(
        'unrequested devices',
        cloud_capacity.check_unrequested,
        ('hosts', 'flavors', 'aliases'),
        _devices,
    ),
    cloud_check.Check(
        'flavor validation',
        cloud_flavors.check_validation,
        ('flavors',),
        _flavors,
    ),
    cloud_check.Check(
        'flavor access',
        cloud_flavors.check_access,
        ('flavors', 'limits'),
        _flavors,
    ),
    cloud_check.Check(
        'limit usage',
        cloud_limits.check_usage,
        ('limits', 'servers', 'aliases'),
    ),
    cloud_check.Check(
        'limits', cloud_limits.check, ('limits', 'flavors', 'aliases')
    ),
)
_CYBORG = cloud_check.Check(
    'Cyborg', cloud_owners.check_cyborg, ('hosts', 'foreign'), _devices
)
_BLAZAR = cloud_check.Check(
    'Blazar', cloud_owners.check_blazar, ('flavors',), _flavors
)
_LEAKS = 'leaks'
#: Of devices that Cyborg manages, too: that is a check of its own.
_OF_CYBORG = 'GPU622'
#: The driver of devices that are for guests.
_PASSTHROUGH = 'vfio-pci'
_CONFIGURATION = 'configuration'
_HOST = 'host'


@dataclasses.dataclass(frozen=True)
class Sources:
    """What is checked beside the cloud."""

    #: Configuration; None if none was given.
    tree: document_tree.ConfigurationTree | None
    paths: tuple[str, ...] = ()
    declared: tuple[document_tree.Declared, ...] = ()
    bundles: tuple[str, ...] = ()

    @property
    def are_empty(self) -> bool:
        return self.tree is None and not self.bundles

    @property
    def all_paths(self) -> tuple[str, ...]:
        """All files and folders of configuration."""
        return (*self.paths, *(path.path for path in self.declared))


def check(
    cloud: connection.Connection | None,
    reason: str,
    sources: Sources,
    release: release_model.Release,
    named_release: release_model.Release | None,
    models: catalogue.Catalogue,
    *,
    attempts: int = 1,
) -> partial_result.PartialResult[tuple[cloud_check.Row, ...]]:
    """Return the results of all checks, findings first.

    :param reason: Why there is no cloud.
    :param named_release: The release, if the user, a file or the cloud names
        it.
    :param attempts: How often nova-api is asked for each alias.
    """
    failures: list[partial_result.Failure] = []
    rows = [*_check_configuration(sources, models, named_release)]
    hosts = _read_hosts(sources, failures)
    if cloud is None:
        rows += [
            cloud_check.skipped(name, f'There is no cloud: {reason}')
            for name in (*(check.name for check in CLOUD_CHECKS), _LEAKS)
        ]
    else:
        answer = cloud_inspection.read(
            cloud,
            release,
            _known(sources, hosts, release),
            attempts=attempts,
        )
        failures += answer.failures
        rows += cloud_check.run(_cloud_checks(answer.value), answer.value)
        rows += _check_leaks(cloud, answer.value, sources, failures)
    rows += _check_hosts(sources, hosts, models, release)
    return partial_result.PartialResult(
        tuple(sorted(rows, key=lambda row: _ORDER.index(row.result))),
        tuple(failures),
    )


def _cloud_checks(
    state: cloud_state.CloudState,
) -> collections.abc.Iterator[cloud_check.Check]:
    """Yield the checks that concern a cloud."""
    yield from CLOUD_CHECKS
    types = state.service_types or ()
    if cloud_owners.ACCELERATOR in types:
        yield _CYBORG
    if cloud_owners.RESERVATION in types:
        yield _BLAZAR


def _check_leaks(
    cloud: connection.Connection,
    state: cloud_state.CloudState,
    sources: Sources,
    failures: list[partial_result.Failure],
) -> collections.abc.Iterator[cloud_check.Row]:
    """Read each consumer only where counts differ, or files name devices."""
    missing = [
        state.reasons.get(name, f'{name} is not known')
        for name in ('hosts', 'nodes', 'servers')
        if getattr(state, name) is None
    ]
    if missing:
        yield cloud_check.skipped(_LEAKS, '; '.join(dict.fromkeys(missing)))
        return
    leaks: tuple[placement_leaks.Leak, ...] = ()
    if leak_rules.signs(state) or sources.bundles:
        try:
            with request.library_errors('Reading leaks'):
                answer = leak_check.check(
                    cloud, leak_check.LeakFilters(bundles=sources.bundles)
                )
        except exceptions.GPUError as exc:
            failures.append(partial_result.Failure(_LEAKS, str(exc)))
            yield cloud_check.skipped(_LEAKS, str(exc))
            return
        failures += answer.failures
        leaks = answer.value.leaks
    reported = [
        leak
        for leak in leaks
        if leak.code != _OF_CYBORG or state.foreign is None
    ]
    for leak in reported:
        names = (
            leak.host,
            *(name for name in (leak.name, leak.consumer) if name),
            *(f'{device.host} {device.address}' for device in leak.devices),
        )
        yield cloud_check.of_finding(_LEAKS, leak.host, leak.finding, names)
    if not reported:
        used = sum(device.used or 0 for device in state.devices)
        yield cloud_check.Row(
            _LEAKS,
            check_result.Result.PASS,
            None,
            '',
            f'{cloud_check.counted(used, "device")} in use',
        )


def _check_configuration(
    sources: Sources,
    models: catalogue.Catalogue,
    release: release_model.Release | None,
) -> collections.abc.Iterator[cloud_check.Row]:
    if sources.tree is None:
        yield cloud_check.skipped(
            _CONFIGURATION,
            'No configuration was given: pass files or folders with --config',
        )
        return
    located = config_check.check(sources.tree, models, release)
    for problem in located:
        yield cloud_check.of_finding(
            _CONFIGURATION,
            str(problem.place),
            problem.finding,
            (problem.place.path, str(problem.place)),
        )
    if not located:
        yield cloud_check.Row(
            _CONFIGURATION,
            check_result.Result.PASS,
            None,
            '',
            cloud_check.counted(sources.tree.files, 'file'),
        )


def _read_hosts(
    sources: Sources, failures: list[partial_result.Failure]
) -> tuple[host_model.Host, ...]:
    if not sources.bundles:
        return ()
    try:
        return tuple(
            host_devices.read_hosts(
                sources.bundles, failures.extend, initramfs=True
            )
        )
    except exceptions.GPUError as exc:
        failures.append(partial_result.Failure(_HOST, str(exc)))
        return ()


def _check_hosts(
    sources: Sources,
    hosts: tuple[host_model.Host, ...],
    models: catalogue.Catalogue,
    release: release_model.Release,
) -> collections.abc.Iterator[cloud_check.Row]:
    if not hosts:
        yield cloud_check.skipped(
            _HOST,
            'No bundle could be read'
            if sources.bundles
            else 'No host was given: pass bundles of "openstack gpu host '
            'bundle create" with --host',
        )
        return
    try:
        intents = host_intent.Intents(
            frozenset(),
            (),
            sources.paths,
            sources.declared,
            release,
        )
    except exceptions.GPUError as exc:
        yield cloud_check.skipped(_HOST, str(exc))
        return
    for host in hosts:
        try:
            checked = host_check.check(host, intents, models)
        except exceptions.GPUError as exc:
            yield cloud_check.skipped(_HOST, str(exc), host.name)
            continue
        for result in checked.summary:
            yield _of_host(host.name, result)


def _of_host(host: str, result: check_result.CheckResult) -> cloud_check.Row:
    names = host_check.object_names(host, result)
    message = result.evidence
    if result.remedy is not None:
        message = f'{message}. {result.remedy.text}'
    return cloud_check.Row(
        f'{_HOST}: {result.check}',
        result.result,
        result.code,
        names[0],
        message,
        names,
    )


def _known(
    sources: Sources,
    hosts: tuple[host_model.Host, ...],
    release: release_model.Release,
) -> cloud_inspection.Known:
    """Return what documents and bundles say of the cloud."""
    tree = sources.tree.deployment if sources.tree else None
    if tree is None and not hosts:
        return cloud_inspection.Known()

    def of_nodes(
        nodes: collections.abc.Iterable[cloud_state.ComputeNode],
    ) -> cloud_state.Configured:
        nodes = tuple(nodes)
        known = (
            cloud_state.Configured()
            if tree is None
            else configured(tree, nodes)
        )
        return dataclasses.replace(
            known, passed_through=_passed_through(hosts, nodes)
        )

    return cloud_inspection.Known(
        {} if tree is None else _defined(tree, release), of_nodes
    )


def _passed_through(
    hosts: tuple[host_model.Host, ...],
    nodes: collections.abc.Iterable[cloud_state.ComputeNode],
) -> dict[str, int]:
    """Return the GPUs that are bound to vfio-pci, by compute node."""
    numbers = {
        host.name: sum(
            device.is_gpu and device.driver == _PASSTHROUGH
            for device in host.devices
        )
        for host in hosts
    }
    return {
        node.name: number
        for node in nodes
        for name, number in numbers.items()
        if number and expectation.is_host(name, node.name)
    }


def _defined(
    tree: deployment.Deployment, release: release_model.Release
) -> dict[str, alias_model.Alias]:
    """Return the aliases of nova-api, by name."""
    aliases: dict[str, alias_model.Alias] = {}
    for process in tree.of_kind(configuration.API):
        for setting in process.aliases:
            if not setting.is_known:
                continue
            try:
                alias = alias_model.parse(setting.text, release)
            except exceptions.InvalidAlias:
                # The check of the configuration reports it.
                continue
            aliases.setdefault(alias.name, alias)
    return aliases


def configured(
    tree: deployment.Deployment,
    nodes: collections.abc.Iterable[cloud_state.ComputeNode],
) -> cloud_state.Configured:
    """Return what the configuration says of compute nodes."""
    values = {
        process.pci_in_placement
        for process in tree.processes
        if process.is_control_plane
    } - {None}
    with_specs = set()
    for node in nodes:
        for name in {node.name, node.service_host or node.name}:
            for process in tree.computes_on(name):
                if process.host is not None and process.device_specs:
                    with_specs.add(node.name)
    return cloud_state.Configured(
        pci_in_placement=values.pop() if len(values) == 1 else None,
        hosts_with_specs=frozenset(with_specs),
    )
