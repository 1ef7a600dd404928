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

"""The options of Nova in the sections that concern devices.

oslo.config says nothing of an option that nobody asks for, so one that is
misspelled has no effect. A test compares the lists with Nova's own.
"""

import difflib
import typing

#: Section and name of an option, and its deprecated ones.
Names: typing.TypeAlias = tuple[tuple[str, str], ...]

#: Where Nova looks for ``[pci]alias``: the option and its deprecated name
#: (``nova/conf/pci.py``).
ALIAS: Names = (('pci', 'alias'), ('DEFAULT', 'pci_alias'))
#: The same for ``[pci]device_spec``.
DEVICE_SPEC: Names = (
    ('pci', 'device_spec'),
    ('pci', 'passthrough_whitelist'),
    ('DEFAULT', 'pci_passthrough_whitelist'),
)
REPORT_IN_PLACEMENT: Names = (('pci', 'report_in_placement'),)
PCI_IN_PLACEMENT: Names = (('filter_scheduler', 'pci_in_placement'),)

#: Names in each section, deprecated ones, too (``nova/conf``).
KNOWN: dict[str, frozenset[str]] = {
    'compute': frozenset(
        {
            'consecutive_build_service_disable_threshold',
            'cpu_dedicated_set',
            'cpu_shared_set',
            'image_type_exclude_list',
            'live_migration_wait_for_vif_plug',
            'max_concurrent_disk_ops',
            'max_disk_devices_to_attach',
            'packing_host_numa_cells_allocation_strategy',
            'provider_config_location',
            'resource_provider_association_refresh',
            'sharing_providers_max_uuids_per_request',
            'shutdown_retry_interval',
            'update_resources_max_workers',
            'vmdk_allowed_types',
        }
    ),
    'devices': frozenset(
        {
            'enabled_mdev_types',
            'enabled_vgpu_types',
        }
    ),
    'filter_scheduler': frozenset(
        {
            'aggregate_image_properties_isolation_namespace',
            'aggregate_image_properties_isolation_separator',
            'available_filters',
            'build_failure_weight_multiplier',
            'cpu_weight_multiplier',
            'cross_cell_move_weight_multiplier',
            'disk_weight_multiplier',
            'enabled_filters',
            'host_subset_size',
            'hypervisor_version_weight_multiplier',
            'image_properties_default_architecture',
            'image_props_weight_multiplier',
            'image_props_weight_setting',
            'io_ops_weight_multiplier',
            'isolated_hosts',
            'isolated_images',
            'max_instances_per_host',
            'max_io_ops_per_host',
            'num_instances_weight_multiplier',
            'pci_in_placement',
            'pci_weight_multiplier',
            'ram_weight_multiplier',
            'restrict_isolated_hosts_to_isolated_images',
            'shuffle_best_same_weighed_hosts',
            'soft_affinity_weight_multiplier',
            'soft_anti_affinity_weight_multiplier',
            'track_instance_changes',
            'weight_classes',
        }
    ),
    'pci': frozenset(
        {
            'alias',
            'device_spec',
            'passthrough_whitelist',
            'report_in_placement',
        }
    ),
}

#: Options of earlier releases, which they read.
REMOVED: dict[str, frozenset[str]] = {
    'filter_scheduler': frozenset(
        {
            'baremetal_enabled_filters',
            'disk_allocation_ratio',
            'use_baremetal_filters',
        }
    ),
}


def is_known(section: str, name: str) -> bool:
    """Return whether Nova reads an option, or did in an earlier release.

    Of sections that are not listed nothing is known, so all is.
    """
    if section not in KNOWN:
        return True
    return name in KNOWN[section] or name in REMOVED.get(section, ())


def similar(section: str, name: str) -> str | None:
    """Return the option that may have been meant."""
    words = {''.join(sorted(one.split('_'))): one for one in KNOWN[section]}
    same = words.get(''.join(sorted(name.replace('-', '_').split('_'))))
    if same is not None:
        return same
    close = difflib.get_close_matches(name, sorted(KNOWN[section]), 1, 0.7)
    return close[0] if close else None
