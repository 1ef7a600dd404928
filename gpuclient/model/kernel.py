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

"""The kernel command line, as the kernel, modprobe and dracut read it.

``Documentation/admin-guide/kernel-parameters.txt`` of the kernel, and
dracut.cmdline(7), have the parameters.
"""

import dataclasses
import re

from gpuclient import exceptions
from gpuclient.model import cpu
from gpuclient.model import quoting

#: Sizes of huge pages that some architecture has, in bytes: x86 has 2M and
#: 1G, arm64 has them all but 16M and 16G, which are those of POWER.
HUGE_PAGE_SIZES = tuple(
    size * cpu.KIB
    for size in (64, 2048, 16384, 32768, 524288, 1048576, 16777216)
)
#: That of x86, and of arm64 with pages of 4K (``HPAGE_SIZE``).
DEFAULT_HUGE_PAGE_SIZE = 2 * cpu.KIB * cpu.KIB

#: What a bundle of a host has in place of values that are left out of it.
WITHHELD = '***'

#: ``vendor:device[:subvendor[:subdevice[:class[:class_mask]]]]``, each as
#: ``%x`` of scanf takes it.
_DEVICE_ID = re.compile(
    r'\s*(?:0x)?([0-9a-f]+):\s*(?:0x)?([0-9a-f]+)'
    r'((?::\s*(?:0x)?[0-9a-f]+){0,4})',
    re.ASCII | re.IGNORECASE,
)
_WORD = re.compile(r'(?:[^\s"]|"[^"]*(?:"|$))+')


@dataclasses.dataclass(frozen=True)
class Argument:
    """A parameter, and what it is set to."""

    #: As it is written; ``-`` and ``_`` are the same to the kernel.
    name: str
    #: None where there is no ``=``.
    value: str | None = None

    @property
    def key(self) -> str:
        """The name, as names are compared."""
        return _key(self.name)

    @property
    def is_withheld(self) -> bool:
        """Whether its value, or a part of it, is not known."""
        return self.value is not None and WITHHELD in self.value.split(',')

    def render(self) -> str:
        """Return it as the command line has it.

        :raises gpuclient.exceptions.InvalidKernelArgument: It cannot be
            written there: a quote cannot be escaped.
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
    """Huge pages of one size that the kernel sets aside at boot."""

    #: Page size in bytes.
    size: int
    #: Number of pages of all nodes; the kernel spreads them evenly.
    count: int = 0
    #: NUMA node and number of pages, where the command line tells.
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
    """All huge pages of a command line."""

    pools: tuple[HugePagePool, ...]
    #: The size of pages that no size is given for, in bytes.
    default_size: int
    #: What the kernel complains of and leaves out.
    problems: tuple[str, ...] = ()
    #: ``hugepages`` has no size before it, and none is set as the default.
    unsized: bool = False


@dataclasses.dataclass(frozen=True)
class DeviceId:
    """Which devices a driver takes."""

    #: Four hexadecimal digits, lower case.
    vendor_id: str
    product_id: str
    #: Subvendor and what follows, ``:10de:1450``; empty where there is none.
    rest: str = ''

    def render(self) -> str:
        """Return it as ``vfio-pci.ids`` has it."""
        return f'{self.vendor_id}:{self.product_id}{self.rest}'


@dataclasses.dataclass(frozen=True)
class CommandLine:
    """A command line, or a piece of one."""

    arguments: tuple[Argument, ...] = ()

    def values(self, *names: str) -> tuple[str, ...]:
        """Return all values of parameters, in their order.

        A parameter without ``=`` has none.
        """
        keys = {_key(name) for name in names}
        return tuple(
            one.value
            for one in self.arguments
            if one.key in keys and one.value is not None
        )

    def last(self, *names: str) -> str | None:
        """Return the value that counts where the last one does."""
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
        """Return whether a parameter is there, with a value or without."""
        return any(one.key == _key(name) for one in self.arguments)

    def withholds(self, name: str) -> bool:
        """Return whether a parameter has a value that is not known."""
        return any(
            argument.key == _key(name) and argument.is_withheld
            for argument in self.arguments
        )

    def words(self, *names: str) -> tuple[str, ...]:
        """Return the parts between commas of all values, in their order."""
        return tuple(
            word
            for value in self.values(*names)
            for word in value.split(',')
            if word
        )

    def with_argument(
        self, name: str, value: str | None = None
    ) -> 'CommandLine':
        """Return it with a parameter set: in its place, or at the end.

        Others of the name are left out.
        """
        new = Argument(name, value)
        arguments: list[Argument] = []
        for one in self.arguments:
            if one.key != new.key:
                arguments.append(one)
            elif new not in arguments:
                arguments.append(new)
        if new not in arguments:
            arguments.append(new)
        return CommandLine(tuple(arguments))

    def render(self) -> str:
        """Return it as one line.

        :raises gpuclient.exceptions.InvalidKernelArgument: As
            :meth:`Argument.render`.
        """
        return ' '.join(one.render() for one in self.arguments)

    @property
    def vfio_ids(self) -> tuple[DeviceId, ...]:
        """The ids that vfio-pci claims; the last ``vfio-pci.ids`` counts."""
        return tuple(
            found
            for found in map(_device_id, self._vfio_words())
            if found is not None
        )

    @property
    def invalid_vfio_ids(self) -> tuple[str, ...]:
        """The ids that vfio-pci cannot read, and leaves out."""
        return tuple(
            word for word in self._vfio_words() if _device_id(word) is None
        )

    def _vfio_words(self) -> list[str]:
        # drivers/vfio/pci/vfio_pci.c:vfio_pci_fill_ids
        value = self.last('vfio-pci.ids') or ''
        return [word for word in value.split(',') if word]

    @property
    def iommu_off(self) -> str | None:
        """The argument that turns the IOMMU off; None where none does."""
        # AMD's has no "on": drivers/iommu/amd/init.c:parse_amd_iommu_options
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
        """Whether Intel's IOMMU is turned on, whatever the default is."""
        # drivers/iommu/intel/iommu.c:intel_iommu_setup
        return self._state('intel_iommu', 'on') == 'on'

    def _state(self, name: str, on: str | None) -> str | None:
        state = [word for word in self.words(name) if word in (on, 'off')]
        return state[-1] if state else None

    @property
    def iommu_passthrough(self) -> bool:
        """Whether devices of the host itself bypass the IOMMU.

        ``iommu=pt`` is x86's, ``iommu.passthrough`` all have.
        """
        return 'pt' in self.words('iommu') or self.last(
            'iommu.passthrough'
        ) in ('1', 'y', 'Y', 'on')

    @property
    def early_drivers(self) -> tuple[str, ...]:
        """Modules that dracut loads before udev starts, ``_`` for ``-``."""
        return tuple(map(_key, self.words('rd.driver.pre')))

    @property
    def blacklisted_modules(self) -> tuple[str, ...]:
        """Modules that are not loaded for a device, ``_`` for ``-``.

        Of ``modprobe.blacklist`` and ``rd.driver.blacklist`` all values
        count, of ``module_blacklist`` (the kernel's own) the last.
        """
        kernel = (self.last('module_blacklist') or '').split(',')
        words = self.words('modprobe.blacklist', 'rd.driver.blacklist')
        return tuple(
            dict.fromkeys(_key(word) for word in (*words, *kernel) if word)
        )

    def isolated_cpus(self, total: int | None = None) -> frozenset[int]:
        """Return the CPUs of ``isolcpus``.

        :param total: Number of CPUs of the host.
        :raises gpuclient.exceptions.InvalidCPUSet: As
            :func:`gpuclient.model.cpu.parse_list`.
        """
        found: frozenset[int] = frozenset()
        for value in self.values('isolcpus'):
            # kernel/sched/isolation.c:housekeeping_isolcpus_setup
            cpus = re.sub(r'^(?:(?!all\b)[a-z_]+,)+', '', value)
            found |= cpu.parse_list(cpus, total)
        return found

    @property
    def cpu_vendors(self) -> frozenset[cpu.Vendor]:
        """The vendors for whose CPUs a parameter of KVM is."""
        return frozenset(
            vendor
            for vendor, module in (
                (cpu.Vendor.INTEL, 'kvm_intel'),
                (cpu.Vendor.AMD, 'kvm_amd'),
            )
            if any(one.key.startswith(f'{module}.') for one in self.arguments)
        )

    @property
    def huge_pages(self) -> HugePageArguments:
        """The huge pages that the kernel sets aside.

        The order matters (``mm/hugetlb.c``: ``hugepages_setup``,
        ``hugepagesz_setup``, ``default_hugepagesz_setup``).
        """
        reader = _HugePageReader()
        for one in self.arguments:
            if one.value is None:
                continue
            if one.key == 'hugepages':
                reader.take_count(one.value)
            elif one.key == 'hugepagesz':
                reader.take_size(one.value)
            elif one.key == 'default_hugepagesz':
                reader.take_default(one.value)
        return reader.result()


def parse(text: str) -> CommandLine:
    """Return the parameters of a command line.

    Quotes keep blanks together and cannot be escaped
    (``lib/cmdline.c:next_arg`` of the kernel). What follows ``--`` is for
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
    vendor, product = (f'{int(one, 16):04x}' for one in match.group(1, 2))
    return DeviceId(vendor, product, match[3].lower())


class _HugePageReader:
    """Takes the parameters one after the other, as the kernel does."""

    def __init__(self) -> None:
        self._pools: dict[int, HugePagePool] = {}
        self._default: int | None = None
        #: What ``hugepages`` before any size asks for.
        self._first: HugePagePool | None = None
        #: The size that the next ``hugepages`` is for.
        self._size: int | None = None
        #: The kernel took the last size.
        self._valid = True
        #: ``hugepages`` was seen for it.
        self._counted = False
        self._problems: list[str] = []

    def take_default(self, value: str) -> None:
        self._valid = False
        if self._default is not None:
            self._refuse(f'default_hugepagesz={value}', 'it was given before')
            return
        size = self._read_size(f'default_hugepagesz={value}', value)
        if size is None:
            return
        self._select(size)
        self._default = size
        if self._first is not None:
            self._put(size, self._first)
            self._first = None

    def take_size(self, value: str) -> None:
        self._valid = False
        size = self._read_size(f'hugepagesz={value}', value)
        if size is None:
            return
        pool = self._pools.get(size)
        if pool is not None and (size != self._default or pool.count):
            self._refuse(f'hugepagesz={value}', 'it was given before')
            return
        self._select(size)

    def take_count(self, value: str) -> None:
        text = f'hugepages={value}'
        pool = _pool(value)
        if not self._valid:
            self._refuse(text, 'it follows no valid hugepagesz')
            self._valid = True
        elif self._counted:
            self._refuse(text, 'there is no hugepagesz since the last one')
        elif pool is None:
            self._refuse(text, 'it is not a number')
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
            given = self._pools.get(default)
            if given is not None and given.count:
                self._refuse(
                    f'hugepages={self._first.count}',
                    f'hugepagesz={cpu.render_size(default)} has another',
                )
            else:
                self._put(default, self._first)
        return HugePageArguments(
            tuple(self._pools.values()),
            default,
            tuple(self._problems),
            unsized,
        )

    def _read_size(self, text: str, value: str) -> int | None:
        try:
            size = cpu.parse_size(value)
        except exceptions.InvalidHugePages:
            size = 0
        if size in HUGE_PAGE_SIZES:
            return size
        self._refuse(text, 'there are no pages of that size')
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
    """Return what ``hugepages=16`` or ``hugepages=0:2,1:2`` asks for."""
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
