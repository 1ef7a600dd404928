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

"""The filters of nova-scheduler.

A test compares the tables with ``nova/scheduler/filters`` and
``nova/conf/scheduler.py``.
"""

from gpuclient.model import nova_changes
from gpuclient.model import oslo_values
from gpuclient.model import release as release_model

PCI = 'PciPassthroughFilter'
NUMA = 'NUMATopologyFilter'
COMPUTE = 'ComputeFilter'

#: ``[filter_scheduler]enabled_filters`` where it is not set.
DEFAULT = (
    'ComputeFilter',
    'ComputeCapabilitiesFilter',
    'ImagePropertiesFilter',
    'ServerGroupAntiAffinityFilter',
    'ServerGroupAffinityFilter',
)
#: ``[filter_scheduler]available_filters`` where it is not set.
ALL_OF_NOVA = 'nova.scheduler.filters.all_filters'
_PACKAGE = 'nova.scheduler.filters'

#: Every filter of Nova 34, and the module that it is in.
MODULES = {
    'AggregateImagePropertiesIsolation': (
        'aggregate_image_properties_isolation'
    ),
    'AggregateInstanceExtraSpecsFilter': 'aggregate_instance_extra_specs',
    'AggregateIoOpsFilter': 'io_ops_filter',
    'AggregateMultiTenancyIsolation': 'aggregate_multitenancy_isolation',
    'AggregateNumInstancesFilter': 'num_instances_filter',
    'AggregateTypeAffinityFilter': 'type_filter',
    'AllHostsFilter': 'all_hosts_filter',
    'ComputeCapabilitiesFilter': 'compute_capabilities_filter',
    'ComputeFilter': 'compute_filter',
    'DifferentHostFilter': 'affinity_filter',
    'ImagePropertiesFilter': 'image_props_filter',
    'IoOpsFilter': 'io_ops_filter',
    'IsolatedHostsFilter': 'isolated_hosts_filter',
    'JsonFilter': 'json_filter',
    'MetricsFilter': 'metrics_filter',
    'NUMATopologyFilter': 'numa_topology_filter',
    'NumInstancesFilter': 'num_instances_filter',
    'PciPassthroughFilter': 'pci_passthrough_filter',
    'SameHostFilter': 'affinity_filter',
    'ServerGroupAffinityFilter': 'affinity_filter',
    'ServerGroupAntiAffinityFilter': 'affinity_filter',
    'SimpleCIDRAffinityFilter': 'affinity_filter',
}

#: Filters that only some of the known releases have.
_IN_SOME = {'AvailabilityZoneFilter': nova_changes.AVAILABILITY_ZONE_FILTER}

_BY_PLACEMENT = 'Placement replaced it'
#: Filters of earlier releases: the first release without each, and what
#: replaced it (Nova's release notes).
REMOVED = {
    'AggregateCoreFilter': (22, _BY_PLACEMENT),
    'AggregateDiskFilter': (22, _BY_PLACEMENT),
    'AggregateRamFilter': (22, _BY_PLACEMENT),
    'AvailabilityZoneFilter': (
        28,
        'Placement aggregates replace it since release 24',
    ),
    'CoreFilter': (20, _BY_PLACEMENT),
    'DiskFilter': (20, _BY_PLACEMENT),
    'ExactCoreFilter': (18, 'resource classes replaced it'),
    'ExactDiskFilter': (18, 'resource classes replaced it'),
    'ExactRamFilter': (18, 'resource classes replaced it'),
    'RamFilter': (20, _BY_PLACEMENT),
    'RetryFilter': (22, 'Nova retries on alternate hosts by itself'),
    'TrustedFilter': (17, 'nothing replaced it'),
    'TypeAffinityFilter': (17, 'nothing replaced it'),
}
#: Names of these releases.
_NAMES = {
    17: 'Queens',
    18: 'Rocky',
    20: 'Train',
    22: 'Victoria',
    28: '2023.2',
}
#: The last Nova of deployment tools that do not follow its releases: TripleO
#: ended with Zed, and RHOSO 18 is based on 2023.1.
LAST_NOVA = {'RHOSO': 27, 'TripleO': 26}
#: Tools whose default of ``enabled_filters`` has PciPassthroughFilter: RHOSO
#: (``nova-operator``: ``templates/nova/nova.conf``) and MOSK (``rockoon``:
#: ``templates/preset/compute.yaml``). OpenStack-Helm (``nova/values.yaml``),
#: TripleO, Puppet (``puppet-nova``: ``manifests/scheduler/filter.pp``) and
#: packstack since 24 (Xena) leave Nova's default. The lists of earlier
#: packstacks, OpenStack-Ansible (``os_nova``: ``defaults/main.yml``) and
#: devstack (``lib/nova``) do not have it. The lists of Juju and Sunbeam are
#: read from their files.
SET_BY_TOOL = frozenset({'RHOSO', 'MOSK'})
#: Settings of deployment tools for ``enabled_filters``.
SETTINGS_OF_TOOL = {
    'OpenStack-Helm': 'conf.nova.filter_scheduler.enabled_filters',
    'Puppet': 'nova::scheduler::filter::enabled_filters',
    'TripleO': 'NovaSchedulerEnabledFilters',
}
#: Settings that add filters to a tool's list.
ADDED_BY_TOOL = {'OpenStack-Ansible': 'nova_scheduler_extra_filters'}
#: The list of devstack. ``lib/nova`` assigns it after it reads localrc, and
#: then merges ``[[post-config|$NOVA_CONF]]``, with variables expanded
#: (``inc/meta-config``).
DEVSTACK_VARIABLE = '$NOVA_FILTERS'


def removal(name: str) -> str | None:
    """Return the release that removed a filter, and the effect, or None."""
    if name not in REMOVED:
        return None
    release, _instead = REMOVED[name]
    return (
        f'Nova {release} ({_NAMES[release]}) removed {name}: nova-scheduler '
        f'of this release or later does not start'
    )


def has_last_nova(tool: str, name: str) -> bool:
    """Return whether the last Nova that a tool deploys has a filter.

    Where the release is not known.

    :param tool: The name of the deployment tool; empty if there is none.
    :param name: A filter that Nova 34 does not have.
    """
    return name in REMOVED and REMOVED[name][0] > LAST_NOVA.get(tool, 34)


def of_nova(release: release_model.Release) -> frozenset[str]:
    """Return the names of all filters that a release has."""
    return frozenset(
        (
            *MODULES,
            *(name for name in _IN_SOME if release.has(_IN_SOME[name])),
        )
    )


def available(
    paths: tuple[str, ...], release: release_model.Release | None = None
) -> frozenset[str] | None:
    """Return the names that ``enabled_filters`` may have.

    As ``nova/loadables.py:BaseLoader.get_matching_classes``: a path names a
    class, or a function that returns classes.

    :param paths: The values of ``available_filters``.
    :param release: The release of Nova; the newest by default.
    :returns: None if they are not known: a function outside Nova returns
        them.
    """
    names: set[str] = set()
    for path in paths or (ALL_OF_NOVA,):
        _module, _dot, name = path.strip().rpartition('.')
        if path.strip() == ALL_OF_NOVA:
            names |= of_nova(release or release_model.newest())
        elif name[:1].isupper():
            names.add(name)
        else:
            return None
    return frozenset(names)


def missing_path(path: str) -> bool:
    """Return whether a path in Nova's package of filters does not exist."""
    module, _dot, name = path.strip().rpartition('.')
    if path.strip() == ALL_OF_NOVA or not module.startswith(_PACKAGE):
        return False
    if module == _PACKAGE:
        return name not in ('BaseHostFilter', 'HostFilterHandler')
    return module != f'{_PACKAGE}.{MODULES.get(name)}'


def enabled(text: str) -> list[str]:
    """Return the filters that ``enabled_filters`` names, in their order."""
    return oslo_values.items(text)


def still_in_nova(text: str) -> tuple[str, ...]:
    """Return the filters of a list without those that Nova removed.

    ComputeFilter is added: without it the list is not complete.
    """
    names = [name for name in enabled(text) if name in MODULES]
    return tuple(dict.fromkeys((COMPUTE, *names)))


def is_of_control_plane(section: str, name: str, text: str) -> bool:
    """Return whether an option belongs to the control plane alone.

    Installation guides put ``[api]``, ``enabled_apis`` and a database that
    is never used on compute hosts, too.
    """
    if section == 'filter_scheduler':
        # nova-compute validates aliases by it.
        return name != 'pci_in_placement'
    if section in ('scheduler', 'conductor'):
        return True
    if (section, name) == ('api_database', 'connection'):
        return not text.startswith('sqlite')
    return section == 'DEFAULT' and (
        name in ('osapi_compute_workers', 'metadata_workers')
        or name.startswith('scheduler_')
    )


def is_of_compute(section: str, name: str) -> bool:
    """Return whether an option belongs to nova-compute alone."""
    if section in ('libvirt', 'compute', 'devices'):
        return True
    return section == 'DEFAULT' and (
        name in ('compute_driver', 'instances_path', 'vcpu_pin_set')
        or name.startswith('reserved_')
    )
