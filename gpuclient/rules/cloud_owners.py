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

"""Rules about other services that manage the same devices."""

from gpuclient.model import cloud_state
from gpuclient.rules import cloud_check

ACCELERATOR = 'accelerator'
RESERVATION = 'reservation'
#: blazar/plugins/flavor, blazar/plugins/instances: extra specs of the flavors
#: that a lease creates.
_OF_LEASE = (
    'resources:CUSTOM_RESERVATION_',
    'aggregate_instance_extra_specs:reservation',
)


def check_cyborg(state: cloud_state.CloudState) -> cloud_check.Outcomes:
    """Find cards that both Nova and Cyborg report to Placement."""
    foreign = {
        (provider.root_uuid, provider.address): provider.name
        for provider in state.foreign or ()
    }
    for device in state.devices:
        name = foreign.get((device.root_uuid, device.address or ''))
        if name is not None:
            yield cloud_check.error(
                f'{device.host} {device.address}',
                'GPU673',
                f'Device {device.address} of {device.host} is reported to '
                f'Placement by Nova ({device.name}) and by Cyborg ({name}): '
                f'two servers can get it. Remove it from [pci]device_spec of '
                f'nova-compute, or from the configuration of cyborg-agent',
            )


def check_blazar(state: cloud_state.CloudState) -> cloud_check.Outcomes:
    """Find flavors of leases that request devices by alias."""
    for flavor in state.device_flavors:
        if not any((flavor.aliases or {}).values()):
            continue
        if flavor.name.startswith('reservation:') or any(
            key.startswith(_OF_LEASE) for key in flavor.extra_specs or {}
        ):
            aliases = cloud_check.listed(flavor.aliases or ())
            yield cloud_check.warning(
                flavor.name,
                'GPU762',
                f'Flavor {flavor.name!r} belongs to a lease of Blazar and '
                f'requests devices by alias ({aliases}): Blazar reads '
                f'resources: and trait: only, so that leases do not count '
                f'devices, and servers of a lease may not get one. Reserve '
                f'whole hosts instead, as many as have the devices',
            )
