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

"""Filters of nova-scheduler that match flavor, image, aggregate and host.

Each function follows the ``host_passes`` of the filter of the same name in
``nova/scheduler/filters``; a test runs both. The filters of devices, NUMA
nodes, compute services and server groups are evaluated elsewhere
(:mod:`gpuclient.model.explanation`).
"""

import collections
import collections.abc
import dataclasses
import json
import re
import typing

from gpuclient.model import capacity
from gpuclient.model import explanation
from gpuclient.model import extra_specs_match
from gpuclient.model import flavor as flavor_model
from gpuclient.model import image as image_model
from gpuclient.model import image_properties
from gpuclient.model import nova_changes
from gpuclient.model import release as release_model
from gpuclient.model import scheduler_filters
from gpuclient.model import scheduler_options

#: Begins the keys of conditions of filters.
KEY = 'host-filter:'
_SCOPE = 'aggregate_instance_extra_specs'
_BITS = 'hw:maxphysaddr_bits'
_TENANTS = 'filter_tenant_id'
#: Properties without a scope that Nova itself reads.
_OF_NOVA = frozenset({'group_policy', 'hide_hypervisor_id'})
#: Attributes of ``nova/scheduler/host_manager.py:HostState``.
_ATTRIBUTES = frozenset(
    {
        'aggregates',
        'allocation_candidates',
        'cell_uuid',
        'cpu_allocation_ratio',
        'cpu_info',
        'disk_allocation_ratio',
        'disk_mb_used',
        'failed_builds',
        'free_disk_mb',
        'free_ram_mb',
        'host',
        'host_ip',
        'hypervisor_hostname',
        'hypervisor_type',
        'hypervisor_version',
        'instances',
        'limits',
        'metrics',
        'nodename',
        'num_instances',
        'num_io_ops',
        'numa_topology',
        'pci_stats',
        'ram_allocation_ratio',
        'service',
        'stats',
        'supported_instances',
        'total_usable_disk_gb',
        'total_usable_ram_mb',
        'updated',
        'uuid',
        'vcpus_total',
        'vcpus_used',
        # Methods.
        'consume_from_request',
        'update',
    }
)
#: Statistics of nova-compute (``nova/compute/stats.py``).
_STATISTICS = re.compile(
    'failed_builds|io_workload|num_instances|num_(os_type|proj|task|vm)_.*'
)
#: The virt driver of libvirt reports the type of its connection.
_QEMU = 'QEMU'
_QEMU_TYPES = frozenset({'kvm', 'qemu'})
#: Filters that match scheduler hints alone.
_OF_HINTS = frozenset(
    {
        'DifferentHostFilter',
        'JsonFilter',
        'SameHostFilter',
        'SimpleCIDRAffinityFilter',
    }
)
#: Filters whose verdict changes from minute to minute.
TRANSIENT = frozenset({'AggregateIoOpsFilter', 'IoOpsFilter'})
#: Filters that are evaluated elsewhere, or that refuse no host.
_ELSEWHERE = frozenset(
    {
        'AllHostsFilter',
        'AvailabilityZoneFilter',
        'ComputeFilter',
        'NUMATopologyFilter',
        'PciPassthroughFilter',
        'ServerGroupAffinityFilter',
        'ServerGroupAntiAffinityFilter',
    }
)


@dataclasses.dataclass(frozen=True)
class Server:
    """The request for a server, as filters read it."""

    #: Without the properties of the image.
    flavor: flavor_model.Flavor
    #: None for a server without an image.
    image: image_model.Image | None
    release: release_model.Release
    project_id: str | None = None
    #: Whether its image and scheduler hints are known.
    has_known_image: bool = True
    has_known_hints: bool = True


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Whether a host passes a filter."""

    #: None where it is not known.
    passes: bool | None
    #: Why it does not, or what is not known; empty if it passes.
    reason: str = ''


@dataclasses.dataclass(frozen=True)
class FilterVerdicts:
    """What one filter does with the hosts of a cloud."""

    filter: str
    #: Whether nova-scheduler has the filter enabled; None if unknown.
    enabled: bool | None
    #: Why the filter refuses hosts, by the id of the compute node.
    refused: dict[str, str]
    #: What is not known of hosts, likewise.
    unknown: dict[str, str]


_PASSES = Verdict(True)
_Options = scheduler_options.FilterOptions
_Judge = collections.abc.Callable[
    [capacity.HostCapacity, Server, _Options], Verdict
]


def judge_all(
    hosts: collections.abc.Iterable[capacity.HostCapacity],
    server: Server,
    options: scheduler_options.SchedulerOptions,
) -> tuple[FilterVerdicts, ...]:
    """Return what filters do with hosts.

    Filters that refuse no host, and of which all is known, are left out.
    """
    hosts = tuple(hosts)
    verdicts = []
    for name in _names(options):
        enabled = None if options.filters is None else True
        refused, unknown = {}, {}
        for host in hosts:
            verdict = judge(
                name, host, _hypothetical(name, server, enabled), options
            )
            if verdict.passes is None:
                unknown[host.node.uuid] = verdict.reason
            elif not verdict.passes:
                refused[host.node.uuid] = verdict.reason
        if refused or unknown:
            verdicts.append(FilterVerdicts(name, enabled, refused, unknown))
    return tuple(verdicts)


def _names(options: scheduler_options.SchedulerOptions) -> tuple[str, ...]:
    if options.filters is None:
        return (
            'AggregateImagePropertiesIsolation',
            'AggregateInstanceExtraSpecsFilter',
            'AggregateTypeAffinityFilter',
            'ComputeCapabilitiesFilter',
            'ImagePropertiesFilter',
        )
    return tuple(sorted(options.filters - _ELSEWHERE))


def _hypothetical(name: str, server: Server, enabled: bool | None) -> Server:
    """Return the server without properties that are meant for others.

    Only if a filter is enabled, it refuses hosts for these.
    """
    if enabled or name != 'AggregateInstanceExtraSpecsFilter':
        return server
    specs = server.flavor.extra_specs or {}
    return dataclasses.replace(
        server,
        flavor=dataclasses.replace(
            server.flavor,
            extra_specs={
                key: value
                for key, value in specs.items()
                if key not in _OF_NOVA
            },
        ),
    )


def judge(
    name: str,
    host: capacity.HostCapacity,
    server: Server,
    options: scheduler_options.SchedulerOptions,
) -> Verdict:
    """Return whether a host passes a filter."""
    if name in _ELSEWHERE:
        return _PASSES
    if name in _OF_HINTS:
        if server.has_known_hints:
            return _PASSES
        return Verdict(None, 'Nova does not show scheduler hints of servers')
    if name not in _JUDGES:
        if name in scheduler_filters.REMOVED:
            # nova-scheduler does not start.
            return _PASSES
        return Verdict(None, 'it is no filter of Nova')
    return _JUDGES[name](host, server, options.of_filters)


def _aggregate_metadata(
    host: capacity.HostCapacity,
) -> dict[str, frozenset[str]]:
    """``nova/scheduler/filters/utils.py:aggregate_metadata_get_by_host``"""
    metadata: dict[str, set[str]] = collections.defaultdict(set)
    for group in host.aggregates:
        for key, text in group.metadata.items():
            metadata[key].update(value.strip() for value in text.split(','))
    return {key: frozenset(values) for key, values in metadata.items()}


def _listed(values: collections.abc.Iterable[str]) -> str:
    return ', '.join(sorted(values))


def _judge_extra_specs(
    host: capacity.HostCapacity, server: Server, options: _Options
) -> Verdict:
    metadata = _aggregate_metadata(host)
    for key, wanted in (server.flavor.extra_specs or {}).items():
        scope, colon, name = key.partition(':')
        if not colon:
            name = key
        elif scope != _SCOPE:
            continue
        values = metadata.get(name)
        if not values:
            return Verdict(
                False,
                f'none of its aggregates sets {name}, which the flavor '
                f'requests by {key} = {wanted}',
            )
        try:
            matches = any(
                extra_specs_match.matches(value, wanted)
                for value in sorted(values)
            )
        except (ValueError, IndexError) as exc:
            return Verdict(
                False, f'nova-scheduler fails to match {key}: {exc}'
            )
        if not matches:
            return Verdict(
                False,
                f'its aggregates set {name} = {_listed(values)}, and the '
                f'flavor requests {key} = {wanted}',
            )
    return _PASSES


def _judge_image_isolation(
    host: capacity.HostCapacity, server: Server, options: _Options
) -> Verdict:
    namespace = options.properties_namespace
    separator = options.properties_separator
    if namespace is None or separator is None:
        return Verdict(None, 'its options are not known')
    properties = (
        {}
        if server.image is None
        else image_properties.of_nova(server.image.properties, server.release)
    )
    for key, values in _aggregate_metadata(host).items():
        if namespace and not key.startswith(namespace + separator):
            continue
        if not server.has_known_image:
            if image_properties.is_known(key, server.release):
                return Verdict(
                    None,
                    f'the property {key} of the image is not known, and its '
                    f'aggregates set {key} = {_listed(values)}',
                )
            continue
        text = properties.get(key)
        if text and text not in values:
            return Verdict(
                False,
                f'its aggregates set {key} = {_listed(values)}, and the '
                f'image has {key} = {text}',
            )
    return _PASSES


def _judge_tenants(
    host: capacity.HostCapacity, server: Server, options: _Options
) -> Verdict:
    suffixes = server.release.has(nova_changes.TENANT_SUFFIX)
    projects = frozenset[str]().union(
        *(
            values
            for key, values in _aggregate_metadata(host).items()
            if (key.startswith(_TENANTS) if suffixes else key == _TENANTS)
        )
    )
    if not projects or server.project_id in projects:
        return _PASSES
    names = _listed(group.name for group in host.aggregates if group.tenants())
    if server.project_id is None:
        return Verdict(
            None,
            f'aggregate {names} is for some projects (name one with '
            f'--project)',
        )
    return Verdict(False, f'aggregate {names} is for other projects')


def _judge_type(
    host: capacity.HostCapacity, server: Server, options: _Options
) -> Verdict:
    values = [
        group.metadata['instance_type']
        for group in host.aggregates
        if 'instance_type' in group.metadata
    ]
    names = {name.strip() for value in values for name in value.split(',')}
    if not values or server.flavor.name in names:
        return _PASSES
    return Verdict(
        False,
        f'its aggregates set instance_type = {_listed(names)}, without '
        f'flavor {server.flavor.name}',
    )


class _Unknown(Exception):
    """A value of a host is not known."""


def _attribute(host: capacity.HostCapacity, name: str) -> typing.Any:
    """Return an attribute of the state of a host, or one of its statistics.

    :raises _Unknown: No API shows it.
    """
    known: dict[str, typing.Any] = {
        'hypervisor_hostname': host.node.name,
        'limits': {},
        'nodename': host.node.name,
        'uuid': host.node.uuid,
        **host.state,
    }
    if host.service_host is not None:
        known['host'] = host.service_host
    if known.get(name) is not None:
        return known[name]
    if name in _ATTRIBUTES or _STATISTICS.fullmatch(name):
        raise _Unknown(name)
    if known.get('hypervisor_type') is None:
        # Drivers may report statistics of their own.
        raise _Unknown(name)
    return None


def _capability(
    host: capacity.HostCapacity, scope: collections.abc.Sequence[str]
) -> typing.Any:
    """Return a value of a host; None if it has none.

    ``ComputeCapabilitiesFilter._get_capabilities``
    """
    value = _attribute(host, scope[0])
    for name in scope[1:]:
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except ValueError:
                return None
        if not isinstance(value, dict):
            return None
        value = value.get(name)
        if value is None:
            return None
    return value


def _judge_capabilities(
    host: capacity.HostCapacity, server: Server, options: _Options
) -> Verdict:
    specs = dict(server.flavor.extra_specs or {})
    names = {key: key for key in specs}
    if _BITS in specs and server.release.has(nova_changes.MAXPHYSADDR):
        key = 'capabilities:cpu_info:maxphysaddr:bits'
        specs[key] = f'>= {specs.pop(_BITS)}'
        names[key] = _BITS
    unknown = _PASSES
    for key, wanted in specs.items():
        scope = key.split(':')
        if len(scope) == 1:
            if key not in _ATTRIBUTES and not _STATISTICS.fullmatch(key):
                continue
        elif scope[0] != 'capabilities':
            continue
        else:
            scope = scope[1:]
        label = '.'.join(scope)
        try:
            value = _capability(host, scope)
        except _Unknown:
            unknown = Verdict(
                None,
                f'Nova matches {names[key]} = {wanted} on the host, and no '
                f'API shows its {label}',
            )
            continue
        if value is None:
            return Verdict(
                False,
                f'it reports no {label}, which the flavor requests by '
                f'{names[key]}',
            )
        try:
            matches = extra_specs_match.matches(str(value), wanted)
        except (ValueError, IndexError) as exc:
            return Verdict(
                False, f'nova-scheduler fails to match {names[key]}: {exc}'
            )
        if not matches:
            return Verdict(
                False,
                f'its {label} is {value}, and the flavor requests '
                f'{names[key]} = {wanted}',
            )
    return unknown


def _has_architecture(host: capacity.HostCapacity, name: str) -> bool:
    """Return whether the CPU of a host is of an architecture.

    Before Nova 28 there is no trait.
    """
    cpu = host.state.get('cpu_info')
    return f'HW_ARCH_{name.upper()}' in host.node.traits or (
        isinstance(cpu, dict) and cpu.get('arch') == name
    )


def _judge_image(
    host: capacity.HostCapacity, server: Server, options: _Options
) -> Verdict:
    properties = (
        {}
        if server.image is None
        else image_properties.of_nova(server.image.properties, server.release)
    )
    if options.image_architecture is None:
        return Verdict(None, 'its options are not known')
    architecture = properties.get('hw_architecture') or (
        options.image_architecture
    )
    hypervisor = properties.get('img_hv_type')
    mode = properties.get('hw_vm_mode')
    wanted = {
        'hw_architecture': architecture,
        'img_hv_type': hypervisor,
        'hw_vm_mode': mode,
    }
    requested = [f'{key} = {text}' for key, text in wanted.items() if text]
    if not requested:
        return _PASSES
    text = (
        f'hosts that do not support {", ".join(requested)} of the image are '
        f'excluded'
    )
    if host.state.get('hypervisor_type') != _QEMU:
        return Verdict(None, text)
    # The domains that libvirt offers with QEMU
    # (nova/virt/libvirt/driver.py:_get_instance_capabilities).
    if mode not in (None, '', 'hvm') or (
        hypervisor and hypervisor not in _QEMU_TYPES
    ):
        return Verdict(
            False, f'it runs QEMU, and the image has {", ".join(requested)}'
        )
    if (architecture and not _has_architecture(host, architecture)) or (
        properties.get('img_hv_requested_version')
        or properties.get('hw_maxphysaddr_bits')
    ):
        return Verdict(None, text)
    return _PASSES


def _judge_isolated_hosts(
    host: capacity.HostCapacity, server: Server, options: _Options
) -> Verdict:
    hosts, images = options.isolated_hosts, options.isolated_images
    restricts = options.restricts_isolated_hosts
    if hosts is None or images is None or restricts is None:
        return Verdict(None, 'its options are not known')
    isolated = host.service_host in hosts
    if not images:
        if restricts and isolated:
            return Verdict(
                False,
                'it is in [filter_scheduler]isolated_hosts, and there are no '
                'isolated_images',
            )
        return _PASSES
    if not server.has_known_image:
        # Without an ID: the server boots from a volume.
        of_image = False
    else:
        of_image = server.image is not None and server.image.id in images
    if of_image and not isolated:
        return Verdict(
            False,
            'it is not in [filter_scheduler]isolated_hosts, and the image is '
            'in isolated_images',
        )
    if restricts and isolated and not of_image:
        return Verdict(
            False,
            'it is in [filter_scheduler]isolated_hosts, and the image is not '
            'in isolated_images',
        )
    return _PASSES


def _limit(
    host: capacity.HostCapacity, key: str, default: int, *, overridden: bool
) -> int:
    """Return a number of the aggregates of a host, or else an option."""
    if not overridden:
        return default
    try:
        return min(
            (
                int(group.metadata[key])
                for group in host.aggregates
                if key in group.metadata
            ),
            default=default,
        )
    except ValueError:
        return default


def _judge_instances(
    host: capacity.HostCapacity,
    server: Server,
    options: _Options,
    *,
    overridden: bool = False,
) -> Verdict:
    key = 'max_instances_per_host'
    if options.max_instances_per_host is None:
        return Verdict(None, f'[filter_scheduler]{key} is not known')
    most = _limit(
        host, key, options.max_instances_per_host, overridden=overridden
    )
    number = host.state.get('num_instances')
    if not isinstance(number, int):
        if most <= 0:
            return Verdict(False, f'{key} is {most}')
        return Verdict(
            None,
            f'the number of servers on the host is not known ({most} '
            f'exclude it)',
        )
    if number < most:
        return _PASSES
    return Verdict(False, f'it has {number} servers, and {key} is {most}')


def _judge_io(
    host: capacity.HostCapacity,
    server: Server,
    options: _Options,
    *,
    overridden: bool = False,
) -> Verdict:
    key = 'max_io_ops_per_host'
    if options.max_io_ops_per_host is None:
        return Verdict(None, f'[filter_scheduler]{key} is not known')
    most = _limit(
        host, key, options.max_io_ops_per_host, overridden=overridden
    )
    if most <= 0:
        return Verdict(False, f'{key} is {most}')
    return Verdict(
        None,
        f'{most} servers that are being built, resized, rebuilt, migrated or '
        f'copied to an image exclude a host ({key}), and no API shows their '
        f'number',
    )


def _judge_metrics(
    host: capacity.HostCapacity, server: Server, options: _Options
) -> Verdict:
    if options.metrics == ():
        return _PASSES
    return Verdict(
        None,
        'hosts without the metrics of [metrics]weight_setting are excluded, '
        'and no API shows these',
    )


_JUDGES: dict[str, _Judge] = {
    'AggregateImagePropertiesIsolation': _judge_image_isolation,
    'AggregateInstanceExtraSpecsFilter': _judge_extra_specs,
    'AggregateIoOpsFilter': lambda host, server, options: _judge_io(
        host, server, options, overridden=True
    ),
    'AggregateMultiTenancyIsolation': _judge_tenants,
    'AggregateNumInstancesFilter': lambda host, server, options: (
        _judge_instances(host, server, options, overridden=True)
    ),
    'AggregateTypeAffinityFilter': _judge_type,
    'ComputeCapabilitiesFilter': _judge_capabilities,
    'ImagePropertiesFilter': _judge_image,
    'IoOpsFilter': _judge_io,
    'IsolatedHostsFilter': _judge_isolated_hosts,
    'MetricsFilter': _judge_metrics,
    'NumInstancesFilter': _judge_instances,
}


def conditions(
    verdicts: collections.abc.Iterable[FilterVerdicts],
) -> collections.abc.Iterator[explanation.Condition]:
    """Yield a condition for each filter that is known to refuse hosts."""
    for verdict in verdicts:
        if not verdict.enabled or not verdict.refused:
            continue
        of_projects = verdict.filter == 'AggregateMultiTenancyIsolation'
        yield explanation.Condition(
            'project' if of_projects else f'{KEY}{verdict.filter}',
            explanation.Kind.PROJECT
            if of_projects
            else explanation.Kind.FILTER,
            'aggregate allows the project' if of_projects else verdict.filter,
            verdict.refused,
            in_placement=False,
        )
