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

"""Rules about tracking of devices in Placement, by computes and scheduler."""

import collections.abc

from gpuclient.model import configuration
from gpuclient.model import deployment
from gpuclient.model import device_sets
from gpuclient.model import device_spec
from gpuclient.rules import alias as alias_rules
from gpuclient.rules import device_spec as device_spec_rules
from gpuclient.rules import finding


def check(
    services: collections.abc.Sequence[deployment.Process],
    specs: collections.abc.Sequence[device_spec_rules.SpecEntry],
    aliases: collections.abc.Sequence[alias_rules.AliasEntry] = (),
) -> collections.abc.Iterator[finding.Located]:
    """Check that all services use Placement for devices, or none.

    GPU309 follows ``nova/compute/pci_placement_translator.py:
    update_provider_tree_for_pci``, which makes no providers without
    ``report_in_placement``, and ``nova/pci/stats.py:PciDeviceStats.
    _filter_pools_based_on_placement_allocation``.
    """
    control = [service for service in services if service.is_control_plane]
    tracking = [service for service in control if service.pci_in_placement]
    if not tracking:
        return
    for service in control:
        if not service.pci_in_placement and not service.is_open(
            'filter_scheduler', 'pci_in_placement'
        ):
            names = [
                name
                for name in service.readers
                if name != configuration.COMPUTE
            ]
            yield finding.Located(
                finding.error(
                    'GPU308',
                    f'[filter_scheduler]pci_in_placement is on in '
                    f'{tracking[0].place}, but not for '
                    f'{", ".join(names)}: servers with devices may not '
                    f'be scheduled or migrated correctly. Set the same '
                    f'value for nova-api, nova-scheduler and nova-conductor',
                ),
                service.place,
            )
    for service in services:
        if (
            service.is_read_by(configuration.COMPUTE)
            and not service.report_in_placement
            and not service.is_open('pci', 'report_in_placement')
            and any(
                entry.service is service
                and _is_for_flavors(entry.spec, aliases)
                for entry in specs
            )
        ):
            yield finding.Located(
                finding.error(
                    'GPU309',
                    f'[filter_scheduler]pci_in_placement is on in '
                    f'{tracking[0].place}, but this compute host does not '
                    f'report its devices to Placement: servers that request '
                    f'them are not scheduled to it. Set '
                    f'[pci]report_in_placement = True and restart '
                    f'nova-compute',
                ),
                service.device_specs[0].place,
            )


def _is_for_flavors(
    spec: device_spec.DeviceSpec,
    aliases: collections.abc.Iterable[alias_rules.AliasEntry],
) -> bool:
    """Return whether devices are for flavors, not for Neutron ports.

    Those with a physical network and remote managed ones are for ports. A
    physical network of null is for ports, too, unless an alias matches the
    devices.
    """
    if spec.remote_managed or not spec.in_placement:
        return False
    return 'physical_network' not in spec.tags or any(
        device_sets.serves([spec], entry.alias, in_placement=True)
        for entry in aliases
    )
