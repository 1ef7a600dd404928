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

"""Rules about hosts that do not report their devices to Placement.

The order of an upgrade is: report_in_placement on every compute host, then
pci_in_placement in the control plane, which excludes all other hosts.
"""

from gpuclient.model import cloud_state
from gpuclient.rules import cloud_check
from gpuclient.rules import finding

_TURN_ON = (
    'Set [pci]report_in_placement = True and a device_spec that matches the '
    'devices, and restart nova-compute there'
)


def check(state: cloud_state.CloudState) -> cloud_check.Outcomes:
    """Find hosts that have devices and report none."""
    reporting = {device.host for device in state.devices}
    silent = {
        node.name: evidence
        for node in state.nodes or ()
        if node.name not in reporting
        and (evidence := _evidence(state, node.name))
    }
    if not reporting:
        if silent or state.requested_aliases:
            yield cloud_check.CloudFinding('', _of_all(state))
        return
    for host, evidence in sorted(silent.items()):
        yield cloud_check.CloudFinding(host, _of_host(state, host, evidence))


def _evidence(state: cloud_state.CloudState, host: str) -> str:
    """Return why a host must have devices; empty if nothing shows any."""
    servers = state.device_servers.get(host, ())
    if servers:
        names = cloud_check.listed(server.name for server in servers)
        return f'its servers {names} have devices by alias'
    configured = state.configured
    if configured is not None and host in configured.hosts_with_specs:
        return 'its configuration has a [pci]device_spec'
    number = 0 if configured is None else configured.passed_through.get(host)
    if number:
        return (
            f'its bundle shows {cloud_check.counted(number, "GPU")} bound to '
            f'vfio-pci'
        )
    return ''


def _of_host(
    state: cloud_state.CloudState, host: str, evidence: str
) -> finding.Finding:
    if _is_required(state):
        return finding.error(
            'GPU664',
            f'{host} reports no PCI device to Placement, but {evidence}, and '
            f'pci_in_placement is True: no server with devices is scheduled '
            f'there. {_TURN_ON}',
        )
    return finding.warning(
        'GPU663',
        f'{host} reports no PCI device to Placement, but {evidence}: with '
        f'[filter_scheduler]pci_in_placement = True, no server with devices '
        f'is scheduled there. {_TURN_ON}',
    )


def _of_all(state: cloud_state.CloudState) -> finding.Finding:
    requests = (
        f'flavors request {cloud_check.listed(state.requested_aliases)}'
        if state.requested_aliases
        else 'servers have devices by alias'
    )
    if _is_required(state):
        return finding.error(
            'GPU664',
            f'No host reports a PCI device to Placement, but {requests}, and '
            f'pci_in_placement is True: no such server can be scheduled. '
            f'{_TURN_ON.replace("there", "on the hosts")}',
        )
    return finding.warning(
        'GPU663',
        f'No host reports a PCI device to Placement, but {requests}: with '
        f'[filter_scheduler]pci_in_placement = True, no such server can be '
        f'scheduled, and without it no API shows the devices. '
        f'{_TURN_ON.replace("there", "on the hosts")}',
    )


def _is_required(state: cloud_state.CloudState) -> bool:
    return (
        state.configured is not None
        and state.configured.pci_in_placement is True
    )
