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

"""The options of Nova that concern devices.

oslo.config ignores options that are not registered, so a misspelled option
has no effect.
"""

import difflib
import typing

from gpuclient.model import nova_schema

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

#: Sections in which options without an effect are reported.
SECTIONS = ('pci', 'filter_scheduler', 'compute', 'devices')

#: Options that earlier releases have.
REMOVED: dict[str, frozenset[str]] = {
    'filter_scheduler': frozenset(
        {
            'baremetal_enabled_filters',
            'disk_allocation_ratio',
            'use_baremetal_filters',
        }
    ),
}


#: The first releases of options that are new since 26 (``nova/conf``).
ADDED = {
    ('compute', 'sharing_providers_max_uuids_per_request'): 28,
    ('compute', 'update_resources_max_workers'): 34,
    ('filter_scheduler', 'hypervisor_version_weight_multiplier'): 28,
    ('filter_scheduler', 'image_props_weight_multiplier'): 31,
    ('filter_scheduler', 'image_props_weight_setting'): 31,
    ('filter_scheduler', 'num_instances_weight_multiplier'): 28,
    ('filter_scheduler', 'pci_in_placement'): 27,
    ('quota', 'unified_limits_resource_list'): 31,
    ('quota', 'unified_limits_resource_strategy'): 31,
}


def is_known(section: str, name: str) -> bool:
    """Return whether Nova reads an option, or did in an earlier release.

    In a section that is not one of :data:`SECTIONS` any option is known.
    """
    if section not in SECTIONS:
        return True
    return name in nova_schema.names(section) or name in REMOVED.get(
        section, ()
    )


def similar(section: str, name: str) -> str | None:
    """Return the option whose name is most like another one."""
    known = sorted(nova_schema.names(section))
    by_letters = {_letters(option): option for option in known}
    same_letters = by_letters.get(_letters(name.replace('-', '_')))
    if same_letters is not None:
        return same_letters
    close = difflib.get_close_matches(name, known, 1, 0.7)
    return close[0] if close else None


def _letters(name: str) -> str:
    """Return a key that is the same for words in another order."""
    return ''.join(sorted(name.split('_')))
