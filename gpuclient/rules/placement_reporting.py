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

"""What hinders the nova-compute of a host that reports to Placement."""

import collections.abc

from gpuclient import exceptions
from gpuclient.model import device_spec
from gpuclient.rules import passthrough_view
from gpuclient.rules import check_result


def check(
    view: passthrough_view.View,
) -> collections.abc.Iterator[check_result.CheckResult]:
    """Check what nova-compute makes of the devices in Placement.

    A PF together with VFs of it, VFs of one PF with different classes or
    traits, ``one_time_use`` on VFs and ``devname`` end nova-compute
    (``nova/compute/pci_placement_translator.py:PciResourceProvider``). With
    ``[pci]report_in_placement`` off it looks at none of this. VFs of one PF
    in several pools end each request
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
            'Correct [pci]device_spec; see "openstack gpu config check"',
        )
        return
    split = device_spec.split_providers(
        view.specs, [device.for_nova for device in view.host.devices]
    )
    if split:
        yield check_result.warn(
            'GPU456',
            'devices',
            f'VFs of {", ".join(split)} are matched by entries of '
            f'[pci]device_spec with different keys: with pci_in_placement no '
            f'server with devices is scheduled to the host',
            'Match all VFs of a PF by one entry, or by entries with the same '
            'tags',
        )
