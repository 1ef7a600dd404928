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

"""Rules about devices in Placement: reported by computes, used by all."""

import collections.abc

from gpuclient.model import configuration
from gpuclient.model import deployment
from gpuclient.rules import device_spec as device_spec_rules
from gpuclient.rules import finding


def check(
    services: collections.abc.Sequence[deployment.Process],
    specs: list[device_spec_rules.Entry],
) -> collections.abc.Iterator[finding.Located]:
    """Check that Placement is used by all or by none."""
    control = [service for service in services if service.is_control_plane]
    on = [service for service in control if service.pci_in_placement]
    if not on:
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
                    f'{on[0].place}, and not here ({", ".join(names)}): '
                    f'nova-api, scheduler and conductors have to agree',
                ),
                service.place,
            )
    for service in services:
        if (
            service.is_read_by(configuration.COMPUTE)
            and not service.report_in_placement
            and not service.is_open('pci', 'report_in_placement')
            # Devices with a physical network are Neutron's.
            and any(
                one.service is service and one.spec.in_placement
                for one in specs
            )
        ):
            yield finding.Located(
                finding.error(
                    'GPU309',
                    f'[filter_scheduler]pci_in_placement is on in '
                    f'{on[0].place}, but this compute has no '
                    f'[pci]report_in_placement = True: its devices are never '
                    f'found',
                ),
                service.device_specs[0].place,
            )
