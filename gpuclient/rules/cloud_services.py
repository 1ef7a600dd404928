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

"""Rules about services of Nova that are down or disabled."""

from gpuclient.model import cloud_state
from gpuclient.rules import cloud_check

#: Services without which no server is created.
_REQUIRED = ('nova-conductor', 'nova-scheduler')


def check_control_plane(
    state: cloud_state.CloudState,
) -> cloud_check.Outcomes:
    """Find services of the control plane of which none is up."""
    for binary in _REQUIRED:
        services = [
            service
            for service in state.services or ()
            if service.binary == binary
        ]
        if services and not any(service.up for service in services):
            hosts = cloud_check.listed(service.host for service in services)
            yield cloud_check.error(
                binary,
                'GPU662',
                f'No {binary} is up (on {hosts}): no server can be created '
                f'or moved. Read its log, correct its configuration, and '
                f'start it',
            )


def check_computes(state: cloud_state.CloudState) -> cloud_check.Outcomes:
    """Find hosts with devices whose nova-compute is down or disabled."""
    devices: dict[str, int] = {}
    for device in state.devices:
        devices[device.host] = devices.get(device.host, 0) + 1
    concerned = (
        devices.keys()
        | state.device_servers.keys()
        | (
            state.configured.hosts_with_specs
            if state.configured is not None
            else frozenset()
        )
    )
    forced_down = {
        service.host for service in state.computes or () if service.forced_down
    }
    for node in sorted(state.nodes or (), key=lambda node: node.name):
        if node.name not in concerned:
            continue
        its = _its_devices(devices.get(node.name, 0))
        if not node.up and node.service_host in forced_down:
            yield cloud_check.error(
                node.name,
                'GPU660',
                f'nova-compute on {node.name} is forced down: no server is '
                f'scheduled to {its}, even if the service runs. Once the '
                f'servers of the host are evacuated and the host is repaired, '
                f'end it with "openstack compute service set --up '
                f'{node.service_host} nova-compute"',
            )
        elif not node.up:
            yield cloud_check.error(
                node.name,
                'GPU660',
                f'nova-compute on {node.name} is down: no server is '
                f'scheduled to {its}, and its servers cannot be changed. '
                f'Read its log: an invalid [pci]alias or '
                f'[pci]device_spec keeps it from starting; "openstack gpu '
                f'config check" finds these',
            )
        elif not node.enabled:
            reason = (
                f' ({node.disabled_reason})' if node.disabled_reason else ''
            )
            yield cloud_check.warning(
                node.name,
                'GPU661',
                f'nova-compute on {node.name} is disabled{reason}: no server '
                f'is scheduled to {its}. Enable it with "openstack compute '
                f'service set --enable '
                f'{node.service_host or node.name} nova-compute"',
            )


def _its_devices(number: int) -> str:
    return f'its {cloud_check.counted(number, "device")}' if number else 'it'
