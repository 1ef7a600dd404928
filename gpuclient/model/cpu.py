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

"""CPU sets and memory pages, as Nova, the kernel and TuneD read them.

The formats differ: options of Nova have ranges and ``^`` exclusions, kernel
parameters ranges and strides, TuneD ranges, negations and masks.
"""

import collections.abc
import dataclasses
import enum
import re

from gpuclient import exceptions
from gpuclient.model import quoting

#: More than any machine has (Linux: at most 8192 CPUs). Nova has no limit, but
#: a range of billions exhausts its memory.
LIMIT = 65536

KIB = 1024
#: Sizes of ordinary pages, of x86 and of arm64.
SMALL_PAGES_KIB = (4, 16, 64)

_KERNEL_SIZE = re.compile(
    r'(?P<number>0x[0-9a-f]+|0[0-7]*|[0-9]+)(?P<unit>[KMGTPE]?)',
    re.ASCII | re.IGNORECASE,
)
_REGION = re.compile(
    r'(?:(?P<all>(?i:all))|(?P<first>[0-9]{1,18}|N)'
    r'(?:-(?P<last>[0-9]{1,18}|N))?)'
    r'(?::(?P<used>[0-9]{1,18}|N)/(?P<group>[0-9]{1,18}|N))?',
    re.ASCII,
)


def parse(text: str) -> frozenset[int]:
    """Return the CPUs of an option of Nova, ``0-7,^3``.

    :raises gpuclient.exceptions.InvalidCPUSet: With the message of
        ``nova/virt/hardware.py:parse_cpu_spec``, or for a number beyond
        :data:`LIMIT`.
    """
    included: set[int] = set()
    excluded: set[int] = set()
    ranges = _Ranges()
    for part in text.split(','):
        rule = part.strip()
        if not rule:
            continue
        target, body = included, rule
        if '-' in rule:
            kind = 'range'
            if rule[0] == '^':
                target, body = excluded, rule[1:]
        elif rule[0] == '^':
            kind, target, body = 'exclusion', excluded, rule[1:]
        else:
            kind = 'inclusion'
        try:
            numbers = [int(number) for number in body.split('-', 1)]
        except ValueError:
            numbers = [1, 0]
        if numbers[0] > numbers[-1]:
            raise exceptions.InvalidCPUSet(
                f'Invalid {kind} expression {quoting.cpus(rule)!r}'
            )
        target.update(ranges.numbers(numbers[0], numbers[-1]))
    return frozenset(included - excluded)


def parse_option(option: str, text: str) -> frozenset[int] | None:
    """Return the CPUs of an option such as ``[compute]cpu_dedicated_set``.

    :returns: None if the option is empty, which Nova treats as not set.
    :raises gpuclient.exceptions.InvalidCPUSet: As :func:`parse`; and where no
        CPU is left (``nova/virt/hardware.py:get_cpu_dedicated_set``).
    """
    if not text:
        return None
    cpus = parse(text)
    if not cpus:
        raise exceptions.InvalidCPUSet(
            f"No CPUs available after parsing '{option}' config, "
            f'{quoting.cpus(text)!r}'
        )
    return cpus


def render(cpus: collections.abc.Iterable[int]) -> str:
    """Return CPUs in the format that all readers accept: ``0-3,8``.

    The same as ``nova/virt/hardware.py:format_cpu_spec``.
    """
    ranges: list[list[int]] = []
    for number in sorted(set(cpus)):
        if ranges and ranges[-1][-1] == number - 1:
            ranges[-1][1:] = [number]
        else:
            ranges.append([number])
    return ','.join('-'.join(map(str, bounds)) for bounds in ranges)


def parse_list(text: str, total: int | None = None) -> frozenset[int]:
    """Return the CPUs of a kernel parameter or a file of sysfs.

    Ranges, ``range:used/group``, ``all``, and ``N`` for the last CPU
    (``lib/bitmap.c:bitmap_parselist`` of the kernel).

    :param total: Number of CPUs of the machine, for ``all`` and ``N``.
    :raises gpuclient.exceptions.InvalidCPUSet: The kernel would refuse it, or
        the number of CPUs is required but not known.
    """
    cpus: set[int] = set()
    ranges = _Ranges()
    for region in re.split(r'[,\s]+', text.strip(', \t\r\n')):
        if not region:
            continue
        match = _REGION.fullmatch(region)
        if match is None:
            raise exceptions.InvalidCPUSet(
                f'Invalid CPU list {quoting.cpus(region)!r}'
            )
        ends = ('0', 'N') if match['all'] else match.group('first', 'last')
        first = _bound(ends[0], total)
        last = first if ends[1] is None else _bound(ends[1], total)
        used = group = last + 1
        if match['used']:
            used = _bound(match['used'], total)
            group = _bound(match['group'], total)
        if (
            first > last
            or not group
            or used > group
            # Only a range may be divided.
            or (match['used'] and ends[1] is None)
        ):
            raise exceptions.InvalidCPUSet(
                f'Invalid CPU list {quoting.cpus(region)!r}'
            )
        for start in ranges.numbers(first, last)[::group]:
            cpus.update(range(start, min(start + used, last + 1)))
    return frozenset(cpus)


def parse_tuned(text: str) -> frozenset[int]:
    """Return the CPUs of ``isolated_cores`` of TuneD.

    Ranges, ``^`` or ``!`` for negation, and hexadecimal masks that end with
    an empty part (``tuned/utils/commands.py:commands.cpulist_unpack``). TuneD
    treats a list that it cannot read as empty.

    :raises gpuclient.exceptions.InvalidCPUSet: It cannot be read.
    """
    parts: list[str] = []
    mask: str | None = None
    for part in text.strip("'").split(','):
        if mask is None and part[:2].lower() == '0x':
            mask = part
        elif mask is None:
            parts.append(part)
        elif part:
            mask += part
        else:
            parts.append(mask)
            mask = None
    if mask is not None:
        parts.append(mask)
    included: set[int] = set()
    excluded: set[int] = set()
    ranges = _Ranges()
    for part in filter(None, parts):
        target, body = included, part
        if part[0] in '^!':
            target, body = excluded, part[1:]
        is_mask = part[:2].lower() == '0x'
        try:
            numbers = [
                int(digits, 16 if is_mask else 10)
                for digits in body.split('-')[:2]
            ]
        except ValueError as exc:
            raise exceptions.InvalidCPUSet(
                f'Invalid CPU list {quoting.cpus(part)!r}'
            ) from exc
        target.update(
            _bits(numbers[0])
            if is_mask
            else ranges.numbers(numbers[0], numbers[-1])
        )
    return frozenset(included - excluded)


def _bits(mask: int) -> collections.abc.Iterator[int]:
    if mask.bit_length() > LIMIT:
        raise exceptions.InvalidCPUSet(
            f'No machine has CPU {mask.bit_length() - 1}'
        )
    for number in range(mask.bit_length()):
        if mask >> number & 1:
            yield number


def _bound(text: str, total: int | None) -> int:
    if text != 'N':
        return int(text)
    if total is None:
        raise exceptions.InvalidCPUSet(
            'The number of CPUs is not known, which "all" and "N" require'
        )
    return total - 1


class _Ranges:
    """The ranges of a list, within the limits of a machine."""

    def __init__(self) -> None:
        #: Bounds the work for a list that repeats CPUs.
        self._left = 16 * LIMIT

    def numbers(self, first: int, last: int) -> range:
        """Return the CPUs of a range.

        :raises gpuclient.exceptions.InvalidCPUSet: No machine has them.
        """
        if max(abs(first), abs(last)) >= LIMIT:
            raise exceptions.InvalidCPUSet(
                f'No machine has CPU {max(abs(first), abs(last))}'
            )
        self._left -= last - first + 1
        if self._left < 0:
            raise exceptions.InvalidCPUSet(
                'The CPU list repeats the same CPUs too often'
            )
        return range(first, last + 1)


@dataclasses.dataclass(frozen=True)
class ReservedPages:
    """Pages that Nova leaves to the host: ``[DEFAULT]reserved_huge_pages``."""

    #: NUMA node.
    node: int
    #: Page size. Nova accepts fractions of a KiB, which no page has.
    size_kib: int | float
    count: int

    @property
    def memory_kib(self) -> int:
        """Memory that is reserved."""
        return int(self.size_kib * self.count)

    def render(self) -> str:
        """Return it as nova.conf writes it."""
        return f'node:{self.node},size:{self.size_kib},count:{self.count}'


def parse_reserved(text: str) -> ReservedPages:
    """Return what one value of ``[DEFAULT]reserved_huge_pages`` reserves.

    Nova reads ``size`` in KiB, or with a unit (``1GB`` is ``1GiB``). It
    refuses units of the kernel, without a trailing ``B``, and ignores other
    keys (``nova/virt/hardware.py:numa_get_reserved_huge_pages``).

    :raises gpuclient.exceptions.InvalidHugePages: nova-compute would not
        start.
    """
    values = _dictionary(text)
    try:
        return ReservedPages(
            int(values['node']),
            _size_kib(values['size']),
            int(values['count']),
        )
    except (ValueError, KeyError, OverflowError) as exc:
        # Nova's message has the parsed option, with all its values, in it.
        raise exceptions.InvalidHugePages(
            f"The format of the option 'reserved_huge_pages' is invalid. "
            f"(found '{quoting.pages(text)}')"
        ) from exc


def _dictionary(text: str) -> dict[str, str]:
    """Read a value as ``oslo_config/types.py:Dict`` does."""
    values: dict[str, str] = {}
    pairs = text.strip().split(',') if text.strip() else []
    while pairs:
        pair = pairs.pop(0)
        while ':' not in pair and pairs:
            pair += ',' + pairs.pop(0)
        key, colon, value = pair.partition(':')
        if not colon:
            raise exceptions.InvalidHugePages(
                'Value should be NAME:VALUE pairs separated by ","'
            )
        key = key.strip()
        if not key:
            raise exceptions.InvalidHugePages('Key name should not be empty')
        if key in values:
            raise exceptions.InvalidHugePages(
                f'Duplicate key {quoting.pages(key)}'
            )
        values[key] = value.strip()
    return values


def _size_kib(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        # It takes longer to import than all of this package.
        from oslo_utils import strutils

        size = strutils.string_to_bytes(text, return_int=True) / KIB
    return int(size) if size == int(size) else float(size)


def parse_size(text: str) -> int:
    """Return a size in bytes as the kernel reads it: ``1G``, ``2048K``.

    What follows the unit is ignored, so ``1GB`` is ``1G``
    (``lib/cmdline.c:memparse`` of the kernel).

    :raises gpuclient.exceptions.InvalidHugePages: It begins with no number.
    """
    match = _KERNEL_SIZE.match(text)
    try:
        if match is None:
            raise ValueError(text)
        number = match['number']
        if number[:2].lower() == '0x':
            size = int(number, 16)
        else:
            size = int(number, 8 if number[0] == '0' else 10)
    except ValueError as exc:
        raise exceptions.InvalidHugePages(
            f'{quoting.cpus(text)!r} is not a size'
        ) from exc
    unit = match['unit'].upper()
    return size * KIB ** ('KMGTPE'.index(unit) + 1) if unit else size


def render_size(size: int) -> str:
    """Return a size in bytes in the largest unit of the kernel that fits."""
    for power, unit in reversed(list(enumerate('KMGTPE', 1))):
        if size and size % KIB**power == 0:
            return f'{size // KIB**power}{unit}'
    return str(size)


class Vendor(enum.StrEnum):
    """A vendor of CPUs, as options and descriptions name it."""

    INTEL = 'intel'
    AMD = 'amd'
    ARM = 'arm'

    @property
    def label(self) -> str:
        """The name for messages: ``Intel``."""
        return 'AMD' if self is Vendor.AMD else self.value.title()


#: Values of ``vendor_id`` in ``/proc/cpuinfo``. Arm CPUs have an implementer
#: instead, which the reader reports as ``ARM``. Hygon CPUs are derived from
#: those of AMD.
_VENDOR_IDS = {
    'GenuineIntel': Vendor.INTEL,
    'AuthenticAMD': Vendor.AMD,
    'HygonGenuine': Vendor.AMD,
    'ARM': Vendor.ARM,
}


def vendor_of_id(vendor_id: str | None) -> Vendor | None:
    """Return the vendor with a ``vendor_id``; None for others."""
    return None if vendor_id is None else _VENDOR_IDS.get(vendor_id)


def vendor_of_model(model: str) -> Vendor | None:
    """Return the vendor of a CPU model of libvirt; None where unknown.

    The names are those of libvirt (``src/cpu_map``).
    """
    name = model.strip().lower()
    for vendor, beginnings in _MODELS.items():
        if name.startswith(beginnings):
            return vendor
    return None


_MODELS = {
    Vendor.AMD: ('epyc', 'opteron', 'phenom', 'athlon', 'dhyana'),
    Vendor.INTEL: (
        'broadwell',
        'cascadelake',
        'clearwaterforest',
        'conroe',
        'cooperlake',
        'core',
        'denverton',
        'graniterapids',
        'haswell',
        'icelake',
        'ivybridge',
        'kabylake',
        'knightsmill',
        'nehalem',
        'penryn',
        'pentium',
        'sandybridge',
        'sapphirerapids',
        'sierraforest',
        'skylake',
        'snowridge',
        'westmere',
    ),
}
