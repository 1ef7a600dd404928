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

"""What the kernel messages and the PCI devices of a guest say.

:func:`read` takes a log of any length in one pass, and remembers of it a
bounded number of events: what it remembers does not grow with the log.
"""

import collections.abc
import dataclasses
import re
import typing

from gpuclient.model import guest_messages
from gpuclient.model import xid

Kind = guest_messages.Kind
_ADDRESS = guest_messages.ADDRESS
Address: typing.TypeAlias = str


@dataclasses.dataclass(frozen=True)
class Event:
    """What one or several lines say."""

    kind: Kind
    #: The first such line, shortened.
    text: str
    #: Its number, from 1 on.
    line: int
    #: ``0000:00:05.0``; None if the line names no device.
    device: Address | None = None
    #: Values in the line, by name.
    values: tuple[tuple[str, str], ...] = ()
    #: How many lines say it.
    count: int = 1

    def value(self, name: str) -> str:
        return dict(self.values).get(name, '')


@dataclasses.dataclass(frozen=True)
class UnassignedBar:
    """A base address register that the kernel could not place."""

    device: Address
    number: int
    #: Bytes; 0 if the line does not tell.
    size: int
    #: 64-bit and prefetchable.
    is_large: bool
    text: str
    line: int


@dataclasses.dataclass(frozen=True)
class Device:
    """A device of lspci, or of the kernel's list."""

    address: Address
    vendor_id: str | None = None
    product_id: str | None = None
    #: Base class and subclass: ``0302``.
    class_code: str | None = None
    #: The driver in use; None for none, or if nothing tells.
    driver: str | None = None
    #: It is from lspci, which has shown drivers of devices.
    is_listed: bool = False
    #: The device does not respond: lspci reads ones only.
    is_lost: bool = False
    line: int = 0
    text: str = ''
    #: Memory regions that lspci shows without an address.
    unassigned: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class GuestLog:
    """A log, as far as it tells about GPUs."""

    events: tuple[Event, ...] = ()
    bars: tuple[UnassignedBar, ...] = ()
    devices: tuple[Device, ...] = ()
    #: First and last address of the windows above 4 GiB for BARs.
    windows: tuple[tuple[int, int], ...] = ()
    has_windows: bool = False
    #: Bits of a physical address, as the guest's CPU reports them.
    address_bits: int | None = None
    #: Machine and firmware of DMI: ``QEMU Standard PC (Q35 ...)``.
    machine: str = ''
    is_uefi: bool = False
    #: lspci shows drivers, so that a device without one has none.
    shows_drivers: bool = False
    #: The log has the list of lspci.
    has_lspci: bool = False
    #: The log has messages of a kernel.
    has_kernel: bool = False
    is_host: bool = False
    #: Version of the NVIDIA driver that was loaded last.
    driver_version: str = ''
    lines: int = 0
    bytes: int = 0
    #: Share of bytes that are no text.
    binary: float = 0.0

    def of(self, *kinds: Kind) -> tuple[Event, ...]:
        """Return the events of some kinds, in the order of the log."""
        return tuple(event for event in self.events if event.kind in kinds)

    def device(self, address: Address | None) -> Device | None:
        return next(
            (device for device in self.devices if device.address == address),
            None,
        )

    @property
    def gpus(self) -> tuple[Device, ...]:
        """The GPUs in the lists of devices."""
        return tuple(device for device in self.devices if is_gpu(device))


#: Vendors of GPUs: a virtual display has another.
GPU_VENDORS = ('10de', '1002', '8086')
_GPU_CLASSES = ('0300', '0302', '0380', '1200')
_FOUR_GIB = 1 << 32


def is_gpu(device: Device) -> bool:
    """Return whether a device is a GPU of a known vendor."""
    return (
        device.vendor_id in GPU_VENDORS and device.class_code in _GPU_CLASSES
    )


def read(chunks: collections.abc.Iterable[bytes]) -> GuestLog:
    """Read a log.

    :param chunks: Its bytes, in pieces of any length.
    """
    reader = _Reader()
    for block in _blocks(chunks, reader):
        reader.read_block(block)
    return reader.result()


#: The longest line that is read; the rest of it is skipped.
_LONGEST = 4096
#: The most different events, devices and BARs that are remembered.
_MOST = 2000
#: The characters of a line that a result shows.
_SHOWN = 200
_ESCAPES = re.compile(
    rb'\x1b(?:\[[0-?]*[ -/]*[@-~]'
    rb'|\][^\x07\x1b]{0,1000}(?:\x07|\x1b\\)'
    rb'|[@-Z\\-_])'
)
_CONTROLS = bytes(code for code in (*range(32), 127) if code not in (9, 10))


def _blocks(
    chunks: collections.abc.Iterable[bytes], reader: '_Reader'
) -> collections.abc.Iterator[bytes]:
    """Yield whole lines without escape codes and control characters."""
    rest = b''
    for chunk in chunks:
        reader.bytes += len(chunk)
        chunk = rest + chunk
        # The next piece may have the other half of a line's end.
        half = b'\r' if chunk.endswith(b'\r') else b''
        chunk = chunk[: len(chunk) - len(half)]
        if b'\r' in chunk:
            chunk = chunk.replace(b'\r\n', b'\n').replace(b'\r', b'\n')
        lines, end, rest = chunk.rpartition(b'\n')
        if end:
            yield _clean(lines, reader) + end
        if len(rest) > 2 * _LONGEST:
            # A line without an end: what follows its start is skipped.
            reader.controls += len(rest) - len(_clean(rest, _Reader()))
            rest = rest[:_LONGEST]
        rest += half
    if rest:
        yield _clean(rest, reader) + b'\n'


def _clean(text: bytes, reader: '_Reader') -> bytes:
    if b'\x1b' in text:
        text = _ESCAPES.sub(b'', text)
    # Without NUL bytes, UTF-16 is readable, too.
    clean = text.translate(None, _CONTROLS)
    reader.controls += len(text) - len(clean)
    return clean


_HEADER = re.compile(
    rb'((?:[0-9a-f]{4}:)?[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]) (.+)'
)
_LONG_CLASS = re.compile(r'\[([0-9a-f]{4})\]: ')
_SHORT_CLASS = re.compile(
    r'"?(?:Class )?([0-9a-f]{4})"?: ?([0-9a-f]{4}):([0-9a-f]{4})'
)
_IDS = re.compile(r'\[([0-9a-f]{4}):([0-9a-f]{4})\]')
_CLASS_NAMES = {
    'Host bridge': '0600',
    'VGA compatible controller': '0300',
    '3D controller': '0302',
    'Display controller': '0380',
    'Processing accelerators': '1200',
}
_VENDOR_NAMES = {
    'NVIDIA Corporation': '10de',
    'Advanced Micro Devices': '1002',
    'Intel Corporation': '8086',
}
_KERNEL_DEVICE = re.compile(
    rf'pci {_ADDRESS}: \[([0-9a-f]{{4}}):([0-9a-f]{{4}})\] type \w+ '
    r'class 0x([0-9a-f]{4})'
)
_BAR = re.compile(
    rf'(?:pci|pcieport|nvidia|amdgpu) {_ADDRESS}: BAR (?P<bar>\d+)'
    r'(?P<rest>[ :].*)'
)
_SIZE = re.compile(r'\[?(?:mem|io) .*size (0x[0-9a-f]+)')
_WINDOW = re.compile(r'root bus resource \[mem (0x[0-9a-f]+)-(0x[0-9a-f]+)')
_BITS = re.compile(r'[Aa]ddress sizes\s*: *(\d{2}) bits physical')
_DMI = re.compile(r'DMI: (.+)')
_BOOT = re.compile(
    r'(?:\[ *0\.000000\](?:\[ *T?\d+\])? |kernel: )Linux version \d'
)
_STATEMENT = re.compile(
    rf'The NVIDIA (?:GPU {_ADDRESS}|(?!probe|kernel).*GPU\b|$)'
)
_PCI_ID = re.compile(r'PCI ID: ([0-9a-f]{4}):([0-9a-f]{4})')
_CLIENT = re.compile(r'NVRM: API mismatch')
_PREFIX = re.compile(r'.*?(?=NVRM)')
#: The longest message of several lines.
_STATEMENT_LINES = 9
_REPORT = 'nvidia-bug-report'
#: Codes of colors without the escape character, which Nova removes
#: (nova/api/openstack/compute/console_output.py).
_COLORS = re.compile(r'\[[0-9;]{1,12}m')


def _starts(block: bytes) -> set[int]:
    """Return where the lines begin that have one of the words."""
    starts = set()
    for word in guest_messages.WORDS:
        position = block.find(word)
        while position >= 0:
            starts.add(block.rfind(b'\n', 0, position) + 1)
            position = block.find(word, block.index(b'\n', position))
    return starts


class _Reader:
    """Collects what lines say."""

    def __init__(self) -> None:
        self.bytes = 0
        self.controls = 0
        self.lines = 0
        self._devices: dict[Address, Device] = {}
        self._current: Address | None = None
        self._in_report = False
        self._shows_drivers = False
        self._has_lspci = False
        self._has_kernel = False
        self._is_host = False
        self._machine = ''
        self._is_uefi = False
        self._bits: int | None = None
        self._last_line = 0
        self._begin_boot()

    def _begin_boot(self) -> None:
        self._events: dict[typing.Any, Event] = {}
        self._bars: dict[tuple[Address, int], UnassignedBar] = {}
        self._windows: list[tuple[int, int]] = []
        self._has_windows = False
        self._version = ''
        self._statement: list[str] = []
        self._statement_line = 0
        self._statement_left = 0

    def result(self) -> GuestLog:
        self._end_statement()
        return GuestLog(
            events=tuple(self._events.values()),
            bars=tuple(self._bars.values()),
            devices=tuple(self._devices.values()),
            windows=tuple(self._windows),
            has_windows=self._has_windows,
            address_bits=self._bits,
            machine=self._machine,
            is_uefi=self._is_uefi,
            shows_drivers=self._shows_drivers,
            has_lspci=self._has_lspci,
            has_kernel=self._has_kernel,
            is_host=self._is_host,
            driver_version=self._version,
            lines=self.lines,
            bytes=self.bytes,
            binary=self.controls / self.bytes if self.bytes else 0.0,
        )

    def read_block(self, block: bytes) -> None:
        """Read some whole lines."""
        starts = _starts(block)
        if self._current is not None:
            # The device of lspci of the block before goes on.
            starts.add(0)
        position = 0
        number = self.lines + 1
        for start in sorted(starts):
            if start < position:
                continue
            number += block.count(b'\n', position, start)
            position = start
            while True:
                end = block.index(b'\n', position)
                self._read_line(number, block[position:end][:_LONGEST])
                position = end + 1
                number += 1
                if self._current is None or position >= len(block):
                    break
        self.lines += block.count(b'\n')

    def _read_line(self, number: int, line: bytes) -> None:
        if self._current is not None:
            if line[:1] in (b'\t', b' '):
                self._read_detail(line.strip())
                return
            self._current = None
        header = _HEADER.match(line)
        if header is not None:
            self._read_header(
                number,
                header[1].decode(),
                header[2].decode('utf-8', 'replace'),
            )
            return
        if self._statement_left and (
            number > self._last_line + 1 or b'NVRM' not in line
        ):
            self._end_statement()
        self._last_line = number
        self._read_message(number, line.decode('utf-8', 'replace'))

    def _read_header(self, number: int, address: str, text: str) -> None:
        """Read the first line of a device of lspci."""
        short = _SHORT_CLASS.match(text)
        vendor: str | None
        product: str | None
        if short is not None:
            class_code, vendor, product = short.groups()
        else:
            class_match = _LONG_CLASS.search(text)
            name, colon, _rest = text.partition(': ')
            class_code = (
                class_match[1]
                if class_match is not None
                else _CLASS_NAMES.get(name)
            )
            if not colon or class_code is None:
                return
            ids = _IDS.findall(text)
            vendor, product = ids[-1] if ids else (_vendor_of(text), None)
        self._has_lspci = True
        if class_code not in _GPU_CLASSES:
            return
        self._current = _full(address)
        self._remember_device(
            Device(
                self._current,
                vendor,
                product,
                class_code,
                is_listed=True,
                is_lost='(rev ff)' in text,
                line=number,
                text=_short(f'{address} {text}'),
            )
        )

    def _read_detail(self, line: bytes) -> None:
        """Read a further line of a device of lspci."""
        device = self._devices.get(self._current or '')
        if device is None:
            return
        if line.startswith(b'Kernel driver in use: '):
            self._shows_drivers = True
            driver = line[22:].decode('utf-8', 'replace').strip()
            self._is_host |= driver == 'vfio-pci'
            device = dataclasses.replace(device, driver=driver)
        elif b'Unknown header type' in line:
            device = dataclasses.replace(device, is_lost=True)
        elif line.startswith(b'Region ') and (
            b'Memory at <unassigned>' in line or b'Memory at <ignored>' in line
        ):
            device = dataclasses.replace(
                device,
                unassigned=(
                    *device.unassigned[:5],
                    _short(line.decode('utf-8', 'replace')),
                ),
            )
        else:
            return
        self._devices[device.address] = device

    def _remember_device(self, device: Device) -> None:
        known = self._devices.get(device.address)
        if known is None and len(self._devices) >= _MOST:
            return
        if known is not None and not device.is_listed:
            # The kernel's list has no more than lspci.
            return
        self._devices[device.address] = device

    def _read_message(self, number: int, line: str) -> None:
        line = _COLORS.sub('', line)
        if 'Kernel driver in use' in line:
            # Of a device that is no GPU.
            self._shows_drivers = True
            return
        if _REPORT in line and not self._in_report:
            # It has the messages of several boots, the last boot first.
            self._in_report = True
        if _BOOT.search(line) is not None:
            self._has_kernel = True
            if not self._in_report:
                self._begin_boot()
            return
        if self._continues_statement(number, line):
            return
        if self._read_fact(number, line):
            return
        for pattern, kind in guest_messages.PATTERNS:
            match = pattern.search(line)
            if match is not None:
                self._remember(kind, number, line, match)
                return
        self._read_other(number, line)

    def _read_other(self, number: int, line: str) -> None:
        """Read a message of a driver that no pattern knows."""
        match = guest_messages.DRIVERS.search(line)
        if match is None:
            return
        is_failure = (
            guest_messages.FAILURES.search(line) is not None
            and guest_messages.HARMLESS.search(line) is None
        )
        self._add(
            Kind.SUSPECT if is_failure else Kind.OTHER,
            number,
            line,
            None,
            {'driver': match.lastgroup or ''},
        )

    def _read_fact(self, number: int, line: str) -> bool:
        """Read a line about the machine, not about a failure."""
        device = _KERNEL_DEVICE.search(line)
        if device is not None:
            self._has_kernel = True
            address, vendor, product, class_code = device.groups()
            self._remember_device(
                Device(
                    _full(address),
                    vendor,
                    product,
                    class_code,
                    line=number,
                    text=_short(line),
                )
            )
            return True
        bar = _BAR.search(line)
        if bar is not None:
            self._has_kernel = True
            self._read_bar(number, line, bar)
            return True
        window = _WINDOW.search(line)
        if window is not None:
            self._has_kernel = self._has_windows = True
            first, last = int(window[1], 16), int(window[2], 16)
            if last >= _FOUR_GIB and len(self._windows) < _MOST:
                self._windows.append((first, last))
            return True
        return self._read_machine(line)

    def _read_machine(self, line: str) -> bool:
        bits = _BITS.search(line)
        machine = _DMI.search(line)
        if bits is not None:
            self._bits = int(bits[1])
        elif machine is not None:
            self._machine = _short(machine[1])
        elif 'efi: EFI v' in line:
            self._is_uefi = True
        else:
            return False
        return True

    def _read_bar(self, number: int, line: str, match: re.Match[str]) -> None:
        bar = int(match['bar'])
        address = _full(match['device'])
        rest = match['rest']
        if bar > 5 or 'io' in rest.split('size')[0]:
            # The ROM and the windows of bridges; ports matter to no GPU.
            return
        if (
            'no space' in rest
            or 'failed to assign' in rest
            or ("can't assign" in rest)
        ):
            size = _SIZE.search(rest)
            if len(self._bars) < _MOST:
                self._bars.setdefault(
                    (address, bar),
                    UnassignedBar(
                        address,
                        bar,
                        int(size[1], 16) if size is not None else 0,
                        '64bit pref' in rest,
                        _short(line),
                        number,
                    ),
                )
        elif 'assigned' in rest:
            self._bars.pop((address, bar), None)

    def _continues_statement(self, number: int, line: str) -> bool:
        """Read a message of the driver that has several lines."""
        if _STATEMENT.search(line) or _CLIENT.search(line):
            self._end_statement()
            self._statement = [line]
            self._statement_line = number
            self._statement_left = _STATEMENT_LINES
            return True
        if not self._statement_left:
            return False
        if _is_complete(line):
            self._end_statement()
            return False
        self._statement.append(_PREFIX.sub('', line, count=1))
        self._statement_left -= 1
        if not self._statement_left:
            self._end_statement()
        return True

    def _end_statement(self) -> None:
        if not self._statement:
            return
        text = ' '.join(
            part.replace('NVRM: ', '', 1) if index else part
            for index, part in enumerate(self._statement)
        )
        # rsyslog writes the end of a line as an octal number.
        text = text.replace('#012', ' ')
        text = re.sub(r'\s+', ' ', text.replace(' NVRM: ', ' '))
        match = _STATEMENT.search(text)
        kind = _statement_kind(text)
        if kind is not None:
            ids = _PCI_ID.search(text)
            version = re.search(r'NVIDIA (\d{3}\.[\d.]*\d)', text)
            values = {
                'ids': ids and f'{ids[1]}:{ids[2]}',
                'version': version and version[1],
                'versions': ', '.join(
                    re.findall(r'\b\d{3}\.\d+(?:\.\d+)?\b', text)
                )
                if kind is Kind.VERSION_MISMATCH
                else None,
            }
            self._add(
                kind,
                self._statement_line,
                text,
                match and match['device'],
                {name: value for name, value in values.items() if value},
            )
        self._statement = []
        self._statement_left = 0

    def _remember(
        self, kind: Kind, number: int, line: str, match: re.Match[str]
    ) -> None:
        values = {
            name: value
            for name, value in match.groupdict().items()
            if value is not None
        }
        device = values.pop('device', None) or values.pop('second', None)
        values.pop('second', None)
        if kind is Kind.NVIDIA_LOADED:
            self._version = values['version']
        if kind is Kind.BAR_INVALID and not self._is_invalid(values):
            return
        if kind is Kind.XID and values['xid'] == str(xid.RECOVERY):
            action = re.search(r'to 0x\w+ \(([^)]*)\)', line)
            values['recovery'] = action[1] if action is not None else ''
        self._has_kernel = True
        self._is_host |= 'vfio-pci ' in line
        self._add(kind, number, line, device, values)

    @staticmethod
    def _is_invalid(values: dict[str, str]) -> bool:
        return values['size'] == '0' or int(values['address'], 16) == 0

    def _add(
        self,
        kind: Kind,
        number: int,
        line: str,
        device: str | None,
        values: dict[str, str],
    ) -> None:
        address = None if device is None else _full(device)
        key = kind, address, tuple(sorted(values.items()))
        known = self._events.get(key)
        if known is not None:
            self._events[key] = dataclasses.replace(
                known, count=known.count + 1
            )
        elif len(self._events) < _MOST:
            self._events[key] = Event(
                kind, _short(line), number, address, key[2]
            )


def _vendor_of(text: str) -> str | None:
    """Return the vendor in a line of lspci without ids."""
    return next(
        (code for name, code in _VENDOR_NAMES.items() if f': {name}' in text),
        None,
    )


def _statement_kind(text: str) -> Kind | None:
    """Return what a message of several lines of the driver says."""
    for words, kind in (
        ('API mismatch', Kind.VERSION_MISMATCH),
        ('fallen off the bus', Kind.FALLEN_OFF),
        ('open kernel modules', Kind.NEEDS_OPEN_MODULES),
        ('not supported by open', Kind.NEEDS_CLOSED_MODULES),
        ('Legacy driver', Kind.LEGACY),
        ('not supported by the', Kind.UNSUPPORTED),
    ):
        if words in text:
            return kind
    return None


def _is_complete(line: str) -> bool:
    """Return whether a line of the driver is a message of its own."""
    return any(
        pattern.search(line) for pattern, _kind in guest_messages.PATTERNS
    )


def _full(address: str) -> Address:
    """Return an address with domain and function."""
    address = address.lower()
    if address.count(':') == 1:
        address = f'0000:{address}'
    domain, _colon, rest = address.partition(':')
    if len(domain) > 4:
        domain = domain[-4:] if not domain[:-4].strip('0') else domain
    return f'{domain}:{rest}' + ('' if '.' in rest else '.0')


def _short(text: str) -> str:
    text = text.strip()
    return text if len(text) <= _SHOWN else f'{text[: _SHOWN - 3]}...'
