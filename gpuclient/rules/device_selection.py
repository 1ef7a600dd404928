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

"""How to bind selected devices of a host to vfio-pci: by ids or address."""

import collections.abc
import dataclasses

from gpuclient import exceptions
from gpuclient.model import host as host_model
from gpuclient.model import pci

#: Drivers that do not compete with vfio-pci.
_NO_RIVALS = ('vfio_pci', 'pci_stub')


@dataclasses.dataclass(frozen=True)
class Selection:
    """Devices of a host that are for guests."""

    #: Those that the user named.
    devices: tuple[host_model.PciDevice, ...]
    #: The other functions of their cards, which are in the same IOMMU group.
    companions: tuple[host_model.PciDevice, ...]
    #: ``vendor:product`` that no device has that stays with the host.
    ids: tuple[str, ...]
    #: Devices whose ids a device that stays has, too.
    by_address: tuple[host_model.PciDevice, ...]
    #: Whether the host keeps a GPU, or an NVSwitch, of the vendor of one of
    #: the devices.
    keeps_vendor: bool
    #: Drivers that the devices are bound to, and others that the host has for
    #: them.
    rivals: tuple[str, ...]

    @property
    def vendor_ids(self) -> tuple[str, ...]:
        """Vendors of the devices that are selected by address."""
        return tuple(
            dict.fromkeys(
                device.vendor_id
                for device in self.by_address
                if device.vendor_id is not None
            )
        )


def select(
    host: host_model.Host,
    addresses: collections.abc.Iterable[pci.Address],
    ids: collections.abc.Iterable[str],
) -> Selection:
    """Return how to bind devices of a host that are for guests.

    vfio-pci binds to every device with the ids that it is given, so ids do
    not work where a device with the same ids stays with the host. VFs do not
    count: none exist when the host boots, and a card that is bound to
    vfio-pci has none.

    :param ids: ``vendor:product`` of devices that are all for guests.
    :raises gpuclient.exceptions.InvalidValue: The host has no such device, or
        it is a VF.
    """
    named = dict.fromkeys(addresses)
    wanted = dict.fromkeys(ids)
    _check_addresses(host, named)
    _check_ids(host, wanted)
    present_at_boot = [
        device for device in host.devices if device.physical_function is None
    ]
    devices = tuple(
        device
        for device in present_at_boot
        if device.address in named or device.ids in wanted
    )
    companions = tuple(
        dict.fromkeys(
            other
            for device in devices
            for other in host.functions(device)
            if other not in devices and not other.is_bridge
        )
    )
    selected = (*devices, *companions)
    kept = [device for device in present_at_boot if device not in selected]
    kept_ids = {device.ids for device in kept}
    return Selection(
        devices=devices,
        companions=companions,
        ids=tuple(
            dict.fromkeys(
                device.ids for device in selected if device.ids not in kept_ids
            )
        ),
        by_address=tuple(
            device for device in selected if device.ids in kept_ids
        ),
        keeps_vendor=_keeps_vendor(kept, devices),
        rivals=_rivals(host, selected),
    )


def _check_addresses(
    host: host_model.Host, addresses: collections.abc.Iterable[pci.Address]
) -> None:
    """Check that the host has devices that are there when it boots."""
    for address in addresses:
        device = host.device(address)
        if device is None:
            raise exceptions.InvalidValue(
                f'{host.name} has no PCI device {address}: "openstack gpu '
                f'host show --all" lists its devices'
            )
        if device.physical_function is not None:
            raise exceptions.InvalidValue(
                f'{address} is a VF of {device.physical_function}: it is '
                f'created after the host has booted, and libvirt binds it to '
                f'vfio-pci when a server starts (managed: yes). Specify '
                f'{device.physical_function} to pass through the whole card'
            )


def _check_ids(
    host: host_model.Host, wanted: collections.abc.Iterable[str]
) -> None:
    for ids in wanted:
        if not any(device.ids == ids for device in host.devices):
            raise exceptions.InvalidValue(
                f'{host.name} has no PCI device with the IDs {ids}: '
                f'"openstack gpu host show --all" lists its devices'
            )


def _keeps_vendor(
    kept: collections.abc.Iterable[host_model.PciDevice],
    devices: collections.abc.Iterable[host_model.PciDevice],
) -> bool:
    vendors = {device.vendor_id for device in devices}
    return any(
        (device.is_gpu or device.is_nvswitch) and device.vendor_id in vendors
        for device in kept
    )


def _rivals(
    host: host_model.Host,
    devices: collections.abc.Iterable[host_model.PciDevice],
) -> tuple[str, ...]:
    """Return the drivers that could bind to devices before vfio-pci does."""
    modules = [
        module
        for device in devices
        for module in (
            host_model.module(device.driver or ''),
            *(host.rivals(device) if host.aliases else ()),
        )
    ]
    return tuple(
        module
        for module in dict.fromkeys(modules)
        if module and module not in _NO_RIVALS
    )
