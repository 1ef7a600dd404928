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

"""Rules about the devices that the nova-compute of a host reports."""

from gpuclient import exceptions
from gpuclient.model import device_spec
from gpuclient.rules import passthrough_view
from gpuclient.rules import check_result
from gpuclient.rules import remedy

CORRECT = remedy.Remedy(
    'Correct [pci]device_spec',
    remedy.SuggestedCommand('config check', effect='checks the configuration'),
)


def check(
    view: passthrough_view.View,
) -> check_result.Results:
    """Check that nova-compute can report the devices to Placement.

    A PF together with its VFs, VFs of one PF with different classes or
    traits, ``one_time_use`` on VFs and ``devname`` stop nova-compute
    (``nova/compute/pci_placement_translator.py:PciResourceProvider``), but
    not with ``[pci]report_in_placement`` off. VFs of one PF in several pools
    make each request fail
    (``nova/pci/stats.py:PciDeviceStats._apply_request``).
    """
    if not view.intent.report_in_placement or view.spec_errors:
        return
    try:
        device_spec.providers(
            view.host.name,
            view.specs,
            (device.for_nova for device in view.host.devices),
        )
    except exceptions.InvalidDeviceSpec as exc:
        yield check_result.fail(
            'GPU456',
            'devices',
            f'nova-compute cannot report the devices to Placement: {exc}',
            CORRECT,
        )
        return
    split = device_spec.split_providers(
        view.specs, [device.for_nova for device in view.host.devices]
    )
    if split:
        yield check_result.warn(
            'GPU456',
            'devices',
            f'entries of [pci]device_spec with different tags match VFs of '
            f'the same PF ({", ".join(split)}): with pci_in_placement, '
            f'servers with devices are not scheduled to the host',
            'Match all VFs of a PF with one entry, or with entries that have '
            'the same tags',
        )
