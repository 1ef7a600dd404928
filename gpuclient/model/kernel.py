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

"""The kernel command line, read as the kernel, modprobe and dracut do.

The parameters are documented in
``Documentation/admin-guide/kernel-parameters.txt`` of the kernel and in
dracut.cmdline(7).
"""

import dataclasses
import re

from gpuclient import exceptions
from gpuclient.model import cpu
from gpuclient.model import quoting

#: Sizes of huge pages of all architectures, in bytes: x86 has 2M and 1G, POWER
#: 16M and 16G, arm64 all others.
HUGE_PAGE_SIZES = tuple(
    size * cpu.KIB
    for size in (64, 2048, 16384, 32768, 524288, 1048576, 16777216)
)
#: The default size of x86, and of arm64 with pages of 4K (``HPAGE_SIZE``).
DEFAULT_HUGE_PAGE_SIZE = 2 * cpu.KIB * cpu.KIB

#: The placeholder of values that a bundle of a host does not contain.
WITHHELD = '***'

#: ``vendor:device[:subvendor[:subdevice[:class[:class_mask]]]]``, each as
#: ``%x`` of scanf reads it.
_DEVICE_ID = re.compile(
    r'\s*(?:0x)?([0-9a-f]+):\s*(?:0x)?([0-9a-f]+)'
    r'((?::\s*(?:0x)?[0-9a-f]+){0,4})',
    re.ASCII | re.IGNORECASE,
)
_WORD = re.compile(r'(?:[^\s"]|"[^"]*(?:"|$))+')


@dataclasses.dataclass(frozen=True)
class Argument:
    """A parameter and its value."""

    #: As it is written; the kernel treats ``-`` and ``_`` as equal.
    name: str
    #: None where there is no ``=``.
    value: str | None = None

    @property
    def key(self) -> str:
        """The name, normalized for comparison."""
        return _key(self.name)

    @property
    def is_withheld(self) -> bool:
        """Whether its value, or a part of it, is not known."""
        return self.value is not None and WITHHELD in self.value.split(',')

    def render(self) -> str:
        """Return the argument as it is written.

        :raises gpuclient.exceptions.InvalidKernelArgument: It contains a
            quote, which cannot be escaped, or is not printable.
        """
        text = self.name if self.value is None else f'{self.name}={self.value}'
        if '"' in text or not text.isprintable() or not self.name:
            raise exceptions.InvalidKernelArgument(
                f'{text!r} is not a kernel argument: it must be printable and '
                f'without quotes'
            )
        return f'"{text}"' if re.search(r'\s', text) else text


@dataclasses.dataclass(frozen=True)
class HugePagePool:
    """Huge pages of one size that the kernel reserves at boot."""

    #: Page size in bytes.
    size: int
    #: Number of pages of all nodes; the kernel distributes them evenly.
    count: int = 0
    #: NUMA nodes and numbers of pages, if the command line has them.
    per_node: tuple[tuple[int, int], ...] = ()

    def on_node(self, node: int, nodes: int) -> int:
        """Return the number of pages of a NUMA node.

        :param nodes: Number of nodes that the host has.
        """
        if self.per_node:
            return dict(self.per_node).get(node, 0)
        return self.count // nodes


@dataclasses.dataclass(frozen=True)
class HugePageArguments:
    """The huge pages that a command line reserves."""

    pools: tuple[HugePagePool, ...]
    #: The size of pages without ``hugepagesz``, in bytes.
    default_size: int
    #: Arguments that the kernel refuses, with the reasons.
    problems: tuple[str, ...] = ()
    #: Whether ``hugepages`` has neither ``hugepagesz`` before it nor
    #: ``default_hugepagesz``.
    unsized: bool = False


@dataclasses.dataclass(frozen=True)
class DeviceId:
    """The devices that a driver claims."""

    #: Four hexadecimal digits, lower case.
    vendor_id: str
    product_id: str
    #: Subvendor and following fields, ``:10de:1450``; empty if there are none.
    rest: str = ''

    def render(self) -> str:
        """Return the id as it is written in ``vfio-pci.ids``."""
        return f'{self.vendor_id}:{self.product_id}{self.rest}'


@dataclasses.dataclass(frozen=True)
class CommandLine:
    """A command line, or a part of one."""

    arguments: tuple[Argument, ...] = ()

    def values(self, *names: str) -> tuple[str, ...]:
        """Return all values of parameters, in order.

        A parameter without ``=`` has no value.
        """
        keys = {_key(name) for name in names}
        return tuple(
            argument.value
            for argument in self.arguments
            if argument.key in keys and argument.value is not None
        )

    def last(self, *names: str) -> str | None:
        """Return the last value of parameters."""
        values = self.values(*names)
        return values[-1] if values else None

    def written(self, *names: str) -> tuple[str, ...]:
        """Return parameters as they are written, without quotes."""
        keys = {_key(name) for name in names}
        return tuple(
            argument.name
            if argument.value is None or argument.is_withheld
            else f'{argument.name}={argument.value}'
            for argument in self.arguments
            if argument.key in keys
        )

    def has(self, name: str) -> bool:
        """Return whether it has a parameter, with a value or without."""
        return any(argument.key == _key(name) for argument in self.arguments)

    def withholds(self, name: str) -> bool:
        """Return whether a parameter has a value that is not known."""
        return any(
            argument.key == _key(name) and argument.is_withheld
            for argument in self.arguments
        )

    def items(self, *names: str) -> tuple[str, ...]:
        """Return the items of comma-separated values, in order."""
        return tuple(
            item
            for value in self.values(*names)
            for item in value.split(',')
            if item
        )

    def with_argument(
        self, name: str, value: str | None = None
    ) -> 'CommandLine':
        """Return it with a parameter set, in its place or at the end.

        Other occurrences of the parameter are removed.
        """
        new = Argument(name, value)
        arguments: list[Argument] = []
        for argument in self.arguments:
            if argument.key != new.key:
                arguments.append(argument)
            elif new not in arguments:
                arguments.append(new)
        if new not in arguments:
            arguments.append(new)
        return CommandLine(tuple(arguments))

    def render(self) -> str:
        """Return the command line.

        :raises gpuclient.exceptions.InvalidKernelArgument: As
            :meth:`Argument.render`.
        """
        return ' '.join(argument.render() for argument in self.arguments)

    @property
    def vfio_ids(self) -> tuple[DeviceId, ...]:
        """The ids that vfio-pci claims: those of the last ``vfio-pci.ids``."""
        return tuple(
            device_id
            for device_id in map(_device_id, self._vfio_items())
            if device_id is not None
        )

    @property
    def invalid_vfio_ids(self) -> tuple[str, ...]:
        """The ids that vfio-pci cannot read, and ignores."""
        return tuple(
            item for item in self._vfio_items() if _device_id(item) is None
        )

    def _vfio_items(self) -> list[str]:
        # drivers/vfio/pci/vfio_pci.c:vfio_pci_fill_ids
        value = self.last('vfio-pci.ids') or ''
        return [item for item in value.split(',') if item]

    @property
    def iommu_off(self) -> str | None:
        """The argument that disables the IOMMU; None if there is none."""
        # AMD has no "on": drivers/iommu/amd/init.c:parse_amd_iommu_options
        for name, on in (
            ('iommu', 'force'),
            ('intel_iommu', 'on'),
            ('amd_iommu', None),
        ):
            if self._state(name, on) == 'off':
                return f'{name}=off'
        return None

    @property
    def intel_iommu_on(self) -> bool:
        """Whether an argument enables the IOMMU of Intel."""
        # drivers/iommu/intel/iommu.c:intel_iommu_setup
        return self._state('intel_iommu', 'on') == 'on'

    def _state(self, name: str, on: str | None) -> str | None:
        states = [item for item in self.items(name) if item in (on, 'off')]
        return states[-1] if states else None

    @property
    def iommu_passthrough(self) -> bool:
        """Whether devices of the host itself bypass the IOMMU.

        ``iommu=pt`` is for x86, ``iommu.passthrough`` for all architectures.
        """
        return 'pt' in self.items('iommu') or self.last(
            'iommu.passthrough'
        ) in ('1', 'y', 'Y', 'on')

    @property
    def early_drivers(self) -> tuple[str, ...]:
        """Modules that dracut loads before udev starts, ``_`` for ``-``."""
        return tuple(map(_key, self.items('rd.driver.pre')))

    @property
    def blacklisted_modules(self) -> tuple[str, ...]:
        """Modules that are not loaded for a device, ``_`` for ``-``.

        All values of ``modprobe.blacklist`` and ``rd.driver.blacklist`` are in
        effect, and the last of the kernel's own ``module_blacklist``.
        """
        kernel = (self.last('module_blacklist') or '').split(',')
        others = self.items('modprobe.blacklist', 'rd.driver.blacklist')
        return tuple(
            dict.fromkeys(_key(name) for name in (*others, *kernel) if name)
        )

    def isolated_cpus(self, total: int | None = None) -> frozenset[int]:
        """Return the CPUs of ``isolcpus``.

        :param total: Number of CPUs of the host.
        :raises gpuclient.exceptions.InvalidCPUSet: As
            :func:`gpuclient.model.cpu.parse_list`.
        """
        isolated: frozenset[int] = frozenset()
        for value in self.values('isolcpus'):
            # kernel/sched/isolation.c:housekeeping_isolcpus_setup
            cpus = re.sub(r'^(?:(?!all\b)[a-z_]+,)+', '', value)
            isolated |= cpu.parse_list(cpus, total)
        return isolated

    @property
    def cpu_vendors(self) -> frozenset[cpu.Vendor]:
        """The CPU vendors that parameters of KVM are for."""
        return frozenset(
            vendor
            for vendor, module in (
                (cpu.Vendor.INTEL, 'kvm_intel'),
                (cpu.Vendor.AMD, 'kvm_amd'),
            )
            if any(
                argument.key.startswith(f'{module}.')
                for argument in self.arguments
            )
        )

    @property
    def huge_pages(self) -> HugePageArguments:
        """The huge pages that the kernel reserves.

        The order is significant (``mm/hugetlb.c``: ``hugepages_setup``,
        ``hugepagesz_setup``, ``default_hugepagesz_setup``).
        """
        reader = _HugePageReader()
        for argument in self.arguments:
            if argument.value is None:
                continue
            if argument.key == 'hugepages':
                reader.read_count(argument.value)
            elif argument.key == 'hugepagesz':
                reader.read_size(argument.value)
            elif argument.key == 'default_hugepagesz':
                reader.read_default(argument.value)
        return reader.result()


def parse(text: str) -> CommandLine:
    """Return the parameters of a command line.

    Blanks in quotes do not separate parameters, and quotes cannot be escaped
    (``lib/cmdline.c:next_arg`` of the kernel). Words after ``--`` are for
    init.
    """
    arguments = []
    for match in _WORD.finditer(text):
        word = match[0]
        if word == '--':
            break
        if word.startswith('"'):
            word = word[1:].removesuffix('"')
        name, equals, value = word.partition('=')
        if value.startswith('"'):
            value = value[1:].removesuffix('"')
        arguments.append(Argument(name, value if equals else None))
    return CommandLine(tuple(arguments))


def _key(name: str) -> str:
    return name.replace('-', '_')


def _device_id(text: str) -> DeviceId | None:
    match = _DEVICE_ID.match(text)
    if match is None:
        return None
    vendor, product = (
        f'{int(digits, 16):04x}' for digits in match.group(1, 2)
    )
    return DeviceId(vendor, product, match[3].lower())


class _HugePageReader:
    """Reads parameters one by one, as the kernel does."""

    def __init__(self) -> None:
        self._pools: dict[int, HugePagePool] = {}
        self._default: int | None = None
        #: The pages of a ``hugepages`` before any size.
        self._first: HugePagePool | None = None
        #: The size of the next ``hugepages``.
        self._size: int | None = None
        #: Whether the kernel accepted the last size.
        self._valid = True
        #: Whether ``hugepages`` followed the last size.
        self._counted = False
        self._problems: list[str] = []

    def read_default(self, value: str) -> None:
        self._valid = False
        if self._default is not None:
            self._refuse(f'default_hugepagesz={value}', 'repeated')
            return
        size = self._parse_size(f'default_hugepagesz={value}', value)
        if size is None:
            return
        self._select(size)
        self._default = size
        if self._first is not None:
            self._put(size, self._first)
            self._first = None

    def read_size(self, value: str) -> None:
        self._valid = False
        size = self._parse_size(f'hugepagesz={value}', value)
        if size is None:
            return
        pool = self._pools.get(size)
        if pool is not None and (size != self._default or pool.count):
            self._refuse(f'hugepagesz={value}', 'repeated')
            return
        self._select(size)

    def read_count(self, value: str) -> None:
        text = f'hugepages={value}'
        pool = _pool(value)
        if not self._valid:
            self._refuse(text, 'does not follow a valid hugepagesz')
            self._valid = True
        elif self._counted:
            self._refuse(text, 'repeated without hugepagesz')
        elif pool is None:
            self._refuse(text, 'not a number')
        else:
            self._counted = True
            if self._size is None:
                self._first = pool
            else:
                self._put(self._size, pool)

    def result(self) -> HugePageArguments:
        default = self._default or DEFAULT_HUGE_PAGE_SIZE
        unsized = self._first is not None
        if self._first is not None:
            pool = self._pools.get(default)
            if pool is not None and pool.count:
                self._refuse(
                    f'hugepages={self._first.count}',
                    'another number follows '
                    f'hugepagesz={cpu.render_size(default)}',
                )
            else:
                self._put(default, self._first)
        return HugePageArguments(
            tuple(self._pools.values()),
            default,
            tuple(self._problems),
            unsized,
        )

    def _parse_size(self, text: str, value: str) -> int | None:
        try:
            size = cpu.parse_size(value)
        except exceptions.InvalidHugePages:
            size = 0
        if size in HUGE_PAGE_SIZES:
            return size
        self._refuse(text, 'not a huge page size')
        return None

    def _select(self, size: int) -> None:
        self._pools.setdefault(size, HugePagePool(size))
        self._size, self._valid, self._counted = size, True, False

    def _put(self, size: int, pool: HugePagePool) -> None:
        self._pools[size] = dataclasses.replace(pool, size=size)

    def _refuse(self, text: str, reason: str) -> None:
        name, _equals, value = text.partition('=')
        self._problems.append(f'{name}={quoting.word(value)}: {reason}')


def _pool(value: str) -> HugePagePool | None:
    """Return the pages of ``hugepages=16`` or ``hugepages=0:2,1:2``."""
    if ':' not in value:
        match = re.match('[0-9]{1,18}(?![0-9])', value)
        return None if match is None else HugePagePool(0, int(match[0]))
    nodes: dict[int, int] = {}
    for part in value.split(','):
        match = re.fullmatch('([0-9]{1,18}):([0-9]{1,18})', part)
        if match is None:
            return None
        nodes[int(match[1])] = int(match[2])
    return HugePagePool(0, sum(nodes.values()), tuple(nodes.items()))
