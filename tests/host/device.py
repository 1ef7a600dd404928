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

"""PCI devices with any ids, for QEMU.

The ids of devices that QEMU emulates cannot be chosen. Its ``x-pci-proxy-dev``
forwards each access of the guest to a socket of another process (QEMU
``docs/devel/multi-process.rst``, ``include/hw/remote/mpqemu-link.h``);
:class:`Server` responds to these. The device is conventional PCI: it has 256
bytes of configuration space, and therefore neither SR-IOV nor function level
reset. Its BAR reads as zero.
"""

import dataclasses
import os
import socket
import struct
import threading

#: ``enum MPQemuCmd`` of ``mpqemu-link.h`` (QEMU 7.2): a reply, a write and a
#: read of configuration space, the same of a BAR, an interrupt, a reset.
_REPLY = 1
_CONFIG_WRITE = 2
_CONFIG_READ = 3
_BAR_WRITE = 4
_BAR_READ = 5
_RESET = 7
#: Command, four bytes of padding, size of what follows.
_HEADER = struct.Struct('<i4xQ')
#: Address, value, length.
_CONFIG_ACCESS = struct.Struct('<IIi')
_REPLY_MESSAGE = struct.Struct('<i4xQQ')
_MOST_DESCRIPTORS = 8

# Offsets in configuration space (PCI Local Bus Specification 3.0, 6.1).
_SPACE = 256
_COMMAND = 0x04
_REVISION = 0x08
_HEADER_TYPE = 0x0E
_BAR_0 = 0x10
_SUBSYSTEM = 0x2C
#: Not read by the kernel for a device that is bound to VFIO.
_INTERRUPT_LINE = 0x3C
_INTERRUPT_PIN = 0x3D
_MULTIFUNCTION = 0x80


@dataclasses.dataclass(frozen=True)
class Device:
    """A device, and its place in the machine."""

    vendor_id: int = 0x10DE
    product_id: int = 0x20F1
    #: Class, subclass and programming interface: a 3D controller.
    class_code: int = 0x030200
    #: Size of its only memory BAR in bytes, a power of two; 0 for no BAR.
    bar_size: int = 1 << 24
    #: Identifier of a bus of the machine; None for the root bus.
    bus: str | None = None
    #: ``slot.function``, hexadecimal.
    address: str | None = None
    multifunction: bool = False

    def option(self, descriptor: int) -> str:
        """Return the value of QEMU's ``-device``."""
        parts = [f'x-pci-proxy-dev,fd={descriptor}']
        if self.bus is not None:
            parts.append(f'bus={self.bus}')
        if self.address is not None:
            parts.append(f'addr={self.address}')
        if self.multifunction:
            parts.append('multifunction=on')
        return ','.join(parts)


#: After this is written to its interrupt line, the device does not respond.
_FALL_OFF = 0xDE


def fall_off(address: str) -> str:
    """Return the command for a guest that makes a device disappear."""
    config = f'/sys/bus/pci/devices/{address}/config'
    return (
        f"printf '\\{_FALL_OFF:o}' | "
        f'dd of={config} bs=1 seek={_INTERRUPT_LINE} conv=notrunc'
    )


class Server:
    """Emulates one device until QEMU closes the socket."""

    def __init__(self, device: Device) -> None:
        self.device = device
        ours, self.theirs = socket.socketpair()
        self._socket = ours
        self._space = bytearray(_SPACE)
        #: Mask of the bits that the guest can change.
        self._writable = bytearray(_SPACE)
        self._fill()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop after QEMU has exited."""
        self.theirs.close()
        self._thread.join()
        self._socket.close()

    def _fill(self) -> None:
        device = self.device
        struct.pack_into(
            '<HH', self._space, 0, device.vendor_id, device.product_id
        )
        struct.pack_into(
            '<I', self._space, _REVISION, device.class_code << 8 | 0xA1
        )
        struct.pack_into(
            '<HH', self._space, _SUBSYSTEM, device.vendor_id, 0x1462
        )
        self._space[_INTERRUPT_PIN] = 1
        # QEMU reads the header type from here.
        if device.multifunction:
            self._space[_HEADER_TYPE] = _MULTIFUNCTION
        self._writable[_COMMAND : _COMMAND + 2] = b'\x07\x05'
        self._writable[_INTERRUPT_LINE] = 0xFF
        if device.bar_size:
            struct.pack_into(
                '<I',
                self._writable,
                _BAR_0,
                ~(device.bar_size - 1) & 0xFFFFFFF0,
            )

    def _serve(self) -> None:
        try:
            while True:
                command, size = _HEADER.unpack(self._receive(_HEADER.size))
                body = self._receive(size)
                if command == _CONFIG_READ:
                    self._reply(self._read(body))
                elif command == _CONFIG_WRITE:
                    self._write(body)
                    self._reply(0)
                elif command in (_BAR_READ, _BAR_WRITE, _RESET):
                    self._reply(0)
        except (EOFError, ConnectionError):
            return

    def _receive(self, size: int) -> bytes:
        received = b''
        while len(received) < size:
            data, descriptors, _flags, _address = socket.recv_fds(
                self._socket, size - len(received), _MOST_DESCRIPTORS
            )
            # The memory and interrupts of the guest, which are not used.
            for descriptor in descriptors:
                os.close(descriptor)
            if not data:
                raise EOFError
            received += data
        return received

    def _reply(self, value: int) -> None:
        self._socket.sendall(_REPLY_MESSAGE.pack(_REPLY, 8, value))

    def _read(self, body: bytes) -> int:
        address, _value, length = _CONFIG_ACCESS.unpack_from(body)
        if self._space[_INTERRUPT_LINE] == _FALL_OFF:
            return (1 << 8 * length) - 1
        return int.from_bytes(
            self._space[address : address + length], 'little'
        )

    def _write(self, body: bytes) -> None:
        address, value, length = _CONFIG_ACCESS.unpack_from(body)
        written = value.to_bytes(4, 'little')[:length]
        for offset, byte in enumerate(written, address):
            if offset < _SPACE:
                mask = self._writable[offset]
                self._space[offset] = self._space[offset] & ~mask | byte & mask
