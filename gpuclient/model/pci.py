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

"""PCI addresses and device types, as Linux, libvirt and Nova write them."""

import dataclasses
import re

from gpuclient import exceptions

#: Device types of libvirt, which Nova stores as ``dev_type``: a device without
#: SR-IOV, a physical function, a virtual function
#: (``nova/virt/libvirt/host.py:_get_device_type``).
DEVICE_TYPES = ('type-PCI', 'type-PF', 'type-VF')

# A domain of more than four digits belongs to a device behind a bridge of
# its own, such as an NVMe port; Nova skips it
# (nova/pci/manager.py:update_devices_from_hypervisor_resources).
_ADDRESS = re.compile(
    r'(?:(?:0000)?(?P<domain>[0-9a-f]{4}):)?'
    r'(?P<bus>[0-9a-f]{2}):(?P<slot>[01][0-9a-f])\.(?P<function>[0-7])',
    re.ASCII | re.IGNORECASE,
)


@dataclasses.dataclass(frozen=True, order=True)
class Address:
    """The address of a PCI device on its host."""

    #: 0 to 0xffff.
    domain: int
    #: 0 to 0xff.
    bus: int
    #: 0 to 0x1f.
    slot: int
    #: 0 to 7.
    function: int

    def __str__(self) -> str:
        return (
            f'{self.domain:04x}:{self.bus:02x}:'
            f'{self.slot:02x}.{self.function:x}'
        )


def parse_address(text: str) -> Address:
    """Return an address: ``0000:04:00.0``, in either case.

    The domain may be left out, as lspci does for domain 0, or have eight
    digits, as nvidia-smi writes it: ``00000009:01:00.0``.

    :raises gpuclient.exceptions.InvalidAddress: It is not an address.
    """
    match = _ADDRESS.fullmatch(text)
    if match is None:
        raise exceptions.InvalidAddress(
            f'{text!r} is not a PCI address, such as 0000:04:00.0 '
            f'(domain:bus:slot.function, hexadecimal)'
        )
    return Address(
        *(
            int(match[part] or '0', 16)
            for part in ('domain', 'bus', 'slot', 'function')
        )
    )
