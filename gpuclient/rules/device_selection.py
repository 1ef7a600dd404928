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

"""How devices of a host are told to vfio-pci: by ids, or by address."""

import collections.abc
import dataclasses

from gpuclient import exceptions
from gpuclient.model import host as host_model
from gpuclient.model import pci

#: Drivers that take devices for guests, or for nobody.
_NO_RIVALS = ('vfio_pci', 'pci_stub')


@dataclasses.dataclass(frozen=True)
class Choice:
    """Devices of a host that go to guests."""

    #: What the user named.
    devices: tuple[host_model.PciDevice, ...]
    #: The other functions of their cards, which sit in the same IOMMU group.
    companions: tuple[host_model.PciDevice, ...]
    #: ``vendor:product`` that no device has that stays with the host.
    ids: tuple[str, ...]
    #: Of the devices whose ids others have, too, that stay.
    by_address: tuple[host_model.PciDevice, ...]
    #: Whether the host keeps a GPU, or a switch of GPUs, of the vendor of one
    #: of the devices.
    keeps_vendor: bool
    #: Drivers that have the devices now, and that the host has for them.
    rivals: tuple[str, ...]

    @property
    def vendor_ids(self) -> tuple[str, ...]:
        """Vendors of the devices that are told by address."""
        return tuple(
            dict.fromkeys(
                device.vendor_id
                for device in self.by_address
                if device.vendor_id is not None
            )
        )


def choose(
    host: host_model.Host,
    addresses: collections.abc.Iterable[pci.Address],
    ids: collections.abc.Iterable[str],
) -> Choice:
    """Return how to tell the devices of a host that go to guests.

    vfio-pci takes every device with the ids that it is given, so ids will not
    do where a device with the same ones stays with the host. VFs do not count:
    there are none when the host boots, and none of a card that vfio-pci has.

    :param ids: ``vendor:product`` of devices that all go to guests.
    :raises gpuclient.exceptions.InvalidValue: The host has no such device, or
        it is a VF.
    """
    named = dict.fromkeys(addresses)
    wanted = dict.fromkeys(ids)
    for address in named:
        if host.device(address) is None:
            raise exceptions.InvalidValue(
                f'{host.name} has no PCI device {address}: '
                f'"openstack gpu host show --all" lists those that it has'
            )
    for device in host.devices:
        if device.address in named and device.physical_function is not None:
            raise exceptions.InvalidValue(
                f'{device.address} is a VF of {device.physical_function}: it '
                f'is made when the host has booted, and libvirt gives it to '
                f'vfio-pci when a server starts (managed: yes). Name '
                f'{device.physical_function} to give the whole card away'
            )
    lasting = [
        device for device in host.devices if device.physical_function is None
    ]
    for one in wanted:
        if not any(device.ids == one for device in host.devices):
            raise exceptions.InvalidValue(
                f'{host.name} has no PCI device with the ids {one}: '
                f'"openstack gpu host show --all" lists those that it has'
            )
    devices = tuple(
        device
        for device in lasting
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
    chosen = (*devices, *companions)
    staying = {device.ids for device in lasting if device not in chosen}
    vendors = {device.vendor_id for device in devices}
    return Choice(
        devices,
        companions,
        tuple(
            dict.fromkeys(
                device.ids for device in chosen if device.ids not in staying
            )
        ),
        tuple(device for device in chosen if device.ids in staying),
        any(
            (device.is_gpu or device.is_nvswitch)
            and device.vendor_id in vendors
            for device in lasting
            if device not in chosen
        ),
        tuple(
            dict.fromkeys(
                driver
                for device in chosen
                for driver in (
                    host_model.module(device.driver or ''),
                    *(host.rivals(device) if host.aliases else ()),
                )
                if driver and driver not in _NO_RIVALS
            )
        ),
    )
