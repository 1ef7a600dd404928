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

"""Parse the collected files of a host: :class:`gpuclient.model.host.Host`.

The files of sysfs are documented in
``Documentation/ABI/testing/sysfs-bus-pci`` and its neighbors in the kernel.
"""

import collections.abc
import dataclasses
import os
import re
import shlex

from gpuclient import exceptions
from gpuclient.host import collect
from gpuclient.model import cpu
from gpuclient.model import host
from gpuclient.model import kernel
from gpuclient.model import partial_result
from gpuclient.model import pci

_DEVICES = 'sys/bus/pci/devices/'
_CPUS = 'sys/devices/system/cpu/'
_NODES = 'sys/devices/system/node/'
_GROUPS = 'sys/kernel/iommu_groups/'
_PLATFORM = 'sys/bus/platform/devices/'
_VFIO_PCI = 'sys/module/vfio_pci/parameters/'
_NOIOMMU = 'sys/module/vfio/parameters/enable_unsafe_noiommu_mode'
#: Files of every device.
_OF_EACH = ('class', 'vendor', 'device', 'resource')
#: Files of every host.
_OF_ALL = (
    'proc/cmdline',
    'proc/cpuinfo',
    'proc/sys/kernel/osrelease',
    f'{_CPUS}online',
)
#: Flags of a resource (``include/linux/ioport.h`` of the kernel).
_IO = 0x100
_PREFETCH = 0x2000
_64_BIT = 0x100000
_BARS = 6
#: Limit of a name, in characters.
_LONGEST = 255


def read(root: str = '/', *, initramfs: bool = True) -> host.Host:
    """Read a host.

    :param root: Folder with its files; ``/`` for this machine.
    :param initramfs: Also list the initramfs, which takes seconds.
    :raises gpuclient.exceptions.HostError: The folder does not exist.
    """
    check_root(root)
    return parse(collect.collect(root, initramfs), root)


def check_root(root: str) -> None:
    """Check that the folder with the files of a host exists.

    :raises gpuclient.exceptions.HostError: It does not.
    """
    if not os.path.isdir(root):
        raise exceptions.HostError(
            f'There is no folder {root} to read a host from'
        )


def parse(collected: collect.CollectedFiles, name: str) -> host.Host:
    """Return the host that files were collected from.

    :param name: Name of the host if its hostname was not read.
    """
    return _Parser(collected).result(name)


class _Parser:
    def __init__(self, collected: collect.CollectedFiles) -> None:
        self._files = collected.files
        self._links = collected.links
        self._failures = dict(collected.unreadable)

    def result(self, name: str) -> host.Host:
        modules = self._first_words('proc/modules')
        builtin = self._builtin()
        directives, ignored = self._directives()
        vendor, bits, is_virtual = self._processor()
        parsed = host.Host(
            name=self._word('proc/sys/kernel/hostname') or name,
            devices=self._devices(),
            kernel=self._word('proc/sys/kernel/osrelease'),
            distribution=self._distribution(),
            cpu_vendor_id=vendor,
            physical_address_bits=bits,
            has_hypervisor=is_virtual,
            cpus=self._cpus(),
            isolated_cpus=self._isolated_cpus(),
            tuned_isolated_cores=self._tuned_cores(),
            tuned_profile=self._word('etc/tuned/active_profile'),
            nodes=self._nodes(),
            kernel_arguments=self._kernel_arguments(),
            boot_arguments=self._boot_arguments(),
            grub_settings=self._grub_settings(),
            iommus=tuple(self._names('sys/class/iommu/')),
            groups=self._groups(),
            acpi_tables=self._acpi_tables(),
            modules=frozenset(map(_module, modules)),
            builtin_modules=builtin,
            aliases=self._aliases(),
            vfio_pci_parameters={
                path[len(_VFIO_PCI) :]: self._word(path) or ''
                for path in self._below(_VFIO_PCI)
            },
            unsafe_noiommu_mode=self._parameter(_NOIOMMU),
            framebuffers=tuple(self._names(_PLATFORM)),
            directives=directives,
            ignored_lines=ignored,
            modules_load=self._modules_load(),
            initramfs_modules=self._initramfs_modules(
                'add_drivers', 'force_drivers'
            ),
            forced_modules=self._initramfs_modules('force_drivers'),
            initramfs=self._initramfs(),
            initramfs_makers=frozenset(
                maker
                for path, maker in collect.PROGRAMS.items()
                if path in self._files
            ),
        )
        for path in _OF_ALL:
            if path not in self._files:
                self._failures.setdefault(path, 'it does not exist')
        # At the end, because parsing adds failures.
        return dataclasses.replace(
            parsed,
            unreadable=tuple(
                partial_result.Failure(f'/{path}', reason)
                for path, reason in sorted(self._failures.items())
            ),
        )

    # Files.

    def _below(self, folder: str) -> list[str]:
        """Return the sorted paths below a folder."""
        return sorted(path for path in self._files if path.startswith(folder))

    def _names(self, folder: str) -> list[str]:
        """Return the sorted names of the files in a folder."""
        return [
            path[len(folder) :]
            for path in self._below(folder)
            if '/' not in path[len(folder) :]
        ]

    def _fail(self, path: str, reason: str) -> None:
        self._failures.setdefault(path, reason)

    def _text(self, path: str) -> str | None:
        content = self._files.get(path)
        if content is None:
            return None
        try:
            text = content.decode().strip()
        except UnicodeDecodeError:
            self._fail(path, 'it is not text')
            return None
        if '\0' in text:
            self._fail(path, 'it is not text')
            return None
        if text == collect.MASK:
            self._fail(path, 'its value was left out as a possible secret')
            return None
        return text

    def _word(self, path: str) -> str | None:
        """Return the content of a file if it is short, printable text."""
        text = self._text(path)
        if text is None or (text.isprintable() and len(text) <= _LONGEST):
            return text
        self._fail(path, f'it is not text of up to {_LONGEST} characters')
        return None

    def _lines(self, path: str) -> list[str]:
        return (self._text(path) or '').splitlines()

    def _first_words(self, path: str) -> list[str]:
        """Return the first word of each line."""
        return [line.split()[0] for line in self._lines(path) if line.strip()]

    def _number(self, path: str, base: int = 10) -> int | None:
        text = self._text(path)
        if text is None:
            return None
        if re.fullmatch('(0x)?[0-9a-f]{1,16}|-1', text, re.I | re.A):
            try:
                return int(text, base)
            except ValueError:
                pass
        self._fail(path, f'{text[:40]!r} is not a number')
        return None

    def _parameter(self, path: str) -> bool | None:
        """Return the value of a boolean parameter of a module."""
        text = self._word(path)
        return None if text is None else text == 'Y'

    def _cpu_list(self, path: str) -> frozenset[int] | None:
        text = self._text(path)
        if text is None:
            return None
        try:
            return cpu.parse_list(text)
        except exceptions.InvalidCPUSet as exc:
            self._fail(path, str(exc))
            return None

    # Devices.

    def _devices(self) -> tuple[host.PciDevice, ...]:
        names = {
            path[len(_DEVICES) :].split('/')[0]
            for path in (*self._files, *self._links)
            if path.startswith(_DEVICES)
        }
        devices = []
        for name in sorted(names):
            folder = f'{_DEVICES}{name}/'
            try:
                address = pci.parse_address(name)
            except exceptions.InvalidAddress:
                # Nova skips PCI domains of more than four digits, too
                # (nova/pci/manager.py); report a GPU that has one.
                code = self._number(f'{folder}class', 16)
                if code is None or code >> 16 in (
                    host.DISPLAY_CONTROLLER,
                    host.PROCESSING_ACCELERATOR,
                ):
                    self._fail(
                        folder.rstrip('/'),
                        'Nova does not support its PCI address',
                    )
                continue
            devices.append(self._device(address, folder))
        return tuple(sorted(devices, key=lambda device: device.address))

    def _device(self, address: pci.Address, folder: str) -> host.PciDevice:
        files, links = self._files, self._links
        for attribute in _OF_EACH:
            if folder + attribute not in files:
                self._fail(folder + attribute, 'it does not exist')
        node = self._number(f'{folder}numa_node')
        config = files.get(f'{folder}config')
        override = self._word(f'{folder}driver_override')
        bars = self._bars(f'{folder}resource')
        return host.PciDevice(
            address,
            vendor_id=self._id(f'{folder}vendor'),
            product_id=self._id(f'{folder}device'),
            subsystem_vendor_id=self._id(f'{folder}subsystem_vendor'),
            subsystem_product_id=self._id(f'{folder}subsystem_device'),
            class_code=self._number(f'{folder}class', 16),
            driver=links.get(f'{folder}driver'),
            driver_override=None if override == '(null)' else override or None,
            group=self._group(f'{folder}iommu_group'),
            bars=bars,
            bars_without_memory=tuple(
                number
                for number in _memory_bars(config or b'')
                if not any(bar.number == number and bar.size for bar in bars)
            ),
            numa_node=None if node == -1 else node,
            boot_vga=self._flag(f'{folder}boot_vga'),
            reset_methods=self._reset_methods(folder),
            power_state=self._word(f'{folder}power_state'),
            d3cold_allowed=self._flag(f'{folder}d3cold_allowed'),
            has_sriov_capability=(
                # Without root, only the first 64 bytes can be read.
                None
                if config is None or len(config) <= 0x100
                else collect.SRIOV in collect.extended_capabilities(config)
            ),
            responds=(
                None
                if config is None or len(config) < 4
                else config[:4] != b'\xff\xff\xff\xff'
            ),
            sriov_total_vfs=self._number(f'{folder}sriov_totalvfs'),
            sriov_num_vfs=self._number(f'{folder}sriov_numvfs'),
            physical_function=self._linked(f'{folder}physfn'),
            virtual_functions=self._virtual_functions(folder),
            modalias=collect.modalias(files, folder),
        )

    def _id(self, path: str) -> str | None:
        number = self._number(path, 16)
        if number is None:
            return None
        if not 0 <= number <= 0xFFFF:
            self._fail(path, 'it is not an ID of four hexadecimal digits')
            return None
        return f'{number:04x}'

    def _flag(self, path: str) -> bool | None:
        number = self._number(path)
        return None if number is None else bool(number)

    def _group(self, path: str) -> int | None:
        name = self._links.get(path)
        if name is None:
            return None
        if not re.fullmatch('[0-9]{1,9}', name, re.A):
            self._fail(path, f'{name[:40]!r} is not a number')
            return None
        return int(name)

    def _linked(self, path: str) -> pci.Address | None:
        name = self._links.get(path)
        if name is None:
            return None
        try:
            return pci.parse_address(name)
        except exceptions.InvalidAddress as exc:
            self._fail(path, str(exc))
            return None

    def _virtual_functions(self, folder: str) -> tuple[pci.Address, ...]:
        functions = []
        # As libvirt: links are numbered without gaps.
        number = 0
        while f'{folder}virtfn{number}' in self._links:
            address = self._linked(f'{folder}virtfn{number}')
            if address is not None:
                functions.append(address)
            number += 1
        return tuple(functions)

    def _reset_methods(self, folder: str) -> tuple[str, ...] | None:
        path = f'{folder}reset_method'
        if path in self._files:
            text = self._text(path)
            return None if text is None else tuple(text.split())
        if path in self._failures:
            return None
        if f'{folder}reset' in self._files:
            # Before Linux 5.15, the kernel does not show the method.
            return ('reset',)
        # Both files only exist for devices that can be reset
        # (drivers/pci/pci-sysfs.c:pci_dev_reset_attr_is_visible).
        return ()

    def _bars(self, path: str) -> tuple[host.DeviceBar, ...]:
        bars = []
        for number, line in enumerate(self._lines(path)[:_BARS]):
            match = re.fullmatch(
                '0x([0-9a-f]{16}) 0x([0-9a-f]{16}) 0x([0-9a-f]{16})',
                line.strip(),
                re.A,
            )
            if match is None:
                self._fail(path, f'{line[:60]!r} is not a PCI resource')
                break
            start, end, flags = (int(field, 16) for field in match.groups())
            if flags:
                bars.append(
                    host.DeviceBar(
                        number,
                        end - start + 1 if end > start else 0,
                        prefetchable=bool(flags & _PREFETCH),
                        is_io=bool(flags & _IO),
                        is_64_bit=bool(flags & _64_BIT),
                    )
                )
        return tuple(bars)

    def _groups(self) -> tuple[host.IommuGroup, ...]:
        numbers = {
            path[len(_GROUPS) :].split('/')[0] for path in self._below(_GROUPS)
        } | {
            name
            for path, name in self._links.items()
            if path.startswith(_DEVICES) and path.endswith('/iommu_group')
        }
        groups = []
        for number in numbers:
            if not re.fullmatch('[0-9]{1,9}', number, re.A):
                continue
            folder = f'{_GROUPS}{number}/'
            regions = self._lines(f'{folder}reserved_regions')
            groups.append(
                host.IommuGroup(
                    int(number),
                    self._word(f'{folder}type'),
                    tuple(
                        dict.fromkeys(
                            line.split()[-1]
                            for line in regions
                            if line.strip()
                        )
                    ),
                    self._word(f'{folder}name'),
                )
            )
        return tuple(sorted(groups, key=lambda group: group.number))

    # CPUs and memory.

    def _processor(self) -> tuple[str | None, int | None, bool]:
        """Return CPU vendor, bits of an address, and whether it is a VM."""
        vendor = bits = None
        is_virtual = False
        for line in self._lines('proc/cpuinfo'):
            key, _colon, value = line.partition(':')
            if key.strip() == 'vendor_id':
                vendor = value.strip() or None
            elif key.strip() == 'CPU implementer':
                vendor = host.ARM_ID
            elif key.strip() == 'flags':
                is_virtual = 'hypervisor' in value.split()
            elif key.strip() == 'address sizes':
                match = re.match(r'\s*([0-9]{1,3}) bits physical', value)
                bits = int(match[1]) if match else None
        return vendor, bits, is_virtual

    def _cpus(self) -> tuple[host.Cpu, ...]:
        online = self._cpu_list(f'{_CPUS}online')
        cpus = []
        for number in sorted(online or ()):
            folder = f'{_CPUS}cpu{number}/topology/'
            siblings = self._cpu_list(f'{folder}thread_siblings_list')
            cpus.append(
                host.Cpu(
                    number,
                    self._number(f'{folder}physical_package_id'),
                    self._number(f'{folder}core_id'),
                    siblings or frozenset(),
                )
            )
        return tuple(cpus)

    def _nodes(self) -> tuple[host.NumaNode, ...]:
        numbers = set()
        for path in self._below(_NODES):
            match = re.match('node([0-9]{1,4})/', path[len(_NODES) :], re.A)
            if match is not None:
                numbers.add(int(match[1]))
        return tuple(self._node(number) for number in sorted(numbers))

    def _node(self, number: int) -> host.NumaNode:
        folder = f'{_NODES}node{number}/'
        memory = re.search(
            r'MemTotal:\s*([0-9]{1,15}) kB',
            self._text(f'{folder}meminfo') or '',
            re.A,
        )
        if memory is None and f'{folder}meminfo' in self._files:
            self._fail(f'{folder}meminfo', 'it has no MemTotal')
        pools = []
        pattern = re.compile(
            re.escape(f'{folder}hugepages/hugepages-')
            + '([0-9]{1,12})kB/nr_hugepages',
            re.A,
        )
        for path in self._below(f'{folder}hugepages/'):
            match = pattern.fullmatch(path)
            total = None if match is None else self._number(path)
            if match is not None and total is not None:
                pools.append(
                    host.HugePages(
                        int(match[1]),
                        total,
                        self._number(path.replace('/nr_', '/free_')),
                    )
                )
        return host.NumaNode(
            number,
            self._cpu_list(f'{folder}cpulist') or frozenset(),
            int(memory[1]) if memory else None,
            tuple(sorted(pools, key=lambda pool: pool.size_kib)),
        )

    def _tuned_cores(self) -> str | None:
        """Return ``isolated_cores`` of the active TuneD profile.

        Without an active profile, that of any profile. A profile sets it
        itself, or includes a file with its variables, or another profile.
        """
        active = (self._word('etc/tuned/active_profile') or '').split()
        if not active:
            paths = self._below('etc/tuned/')
            return next(filter(None, map(self._isolated_cores, paths)), None)
        # Later profiles override earlier ones and the profiles they include.
        profiles = active[::-1]
        known = set(profiles)
        for profile in profiles:
            own = (
                f'etc/tuned/{profile}/tuned.conf',
                f'etc/tuned/profiles/{profile}/tuned.conf',
            )
            included = [
                name
                for path in own
                for text in self._settings(path, 'include')
                for name in re.split(r'\s*[,;]\s*', text)
            ]
            for path in (
                *own,
                *(
                    name.lstrip('/')
                    for name in included
                    if name.startswith('/')
                ),
                # Included by the profiles that TuneD ships.
                f'etc/tuned/{profile}-variables.conf',
            ):
                cores = self._isolated_cores(path)
                if cores is not None:
                    return cores
            profiles += [
                name for name in dict.fromkeys(included) if name not in known
            ]
            known.update(included)
        return None

    def _isolated_cores(self, path: str) -> str | None:
        values = self._settings(path, 'isolated_cores')
        # "isolated_cores = ${isolated_cores}" keeps the included value.
        values = [value for value in values if value != '${isolated_cores}']
        return values[-1] if values else None

    def _settings(self, path: str, name: str) -> list[str]:
        parts = (line.partition('=') for line in self._lines(path))
        return [
            value.strip() for key, _, value in parts if key.strip() == name
        ]

    # Modules and kernel arguments.

    def _distribution(self) -> tuple[str, ...]:
        fields: dict[str, list[str]] = {}
        for line in self._lines('etc/os-release'):
            key, _equals, value = line.partition('=')
            fields[key] = value.strip('"\'').split()
        return tuple(
            dict.fromkeys((*fields.get('ID', ()), *fields.get('ID_LIKE', ())))
        )

    def _acpi_tables(self) -> tuple[str, ...] | None:
        folder = 'sys/firmware/acpi/tables'
        if folder in self._failures:
            return None
        tables = self._names(f'{folder}/')
        # Without ACPI, nothing is known about the firmware.
        return tuple(tables) if tables else None

    def _builtin(self) -> frozenset[str] | None:
        for path in self._below('lib/modules/'):
            if path.endswith('/modules.builtin'):
                return frozenset(
                    _module(line) for line in self._lines(path) if line
                )
        return None

    def _aliases(self) -> tuple[tuple[str, str], ...] | None:
        """Return the aliases of modules; None if they are not known.

        A file without an alias for any display device, not even for that of
        the management controller, may not have been generated by depmod yet.
        """
        for path in self._below('lib/modules/'):
            if path.endswith('/modules.alias'):
                lines = (line.split() for line in self._lines(path))
                aliases = [
                    (fields[1], _module(fields[2]))
                    for fields in lines
                    if len(fields) == 3
                ]
                return tuple(aliases) or None
        return None

    def _configuration(self, kind: str) -> list[str]:
        """Return the files that apply of modprobe.d or modules-load.d.

        A file overrides those with the same name in later folders. The order
        is that of the names, regardless of the folder.
        """
        paths: dict[str, str] = {}
        for folder in collect.FOLDERS:
            for path in self._below(f'{folder}/{kind}/'):
                paths.setdefault(path.rpartition('/')[2], path)
        return [path for _name, path in sorted(paths.items())]

    def _directives(
        self,
    ) -> tuple[tuple[host.Directive, ...], tuple[host.IgnoredLine, ...]]:
        """Return the lines of modprobe.d, and those that modprobe ignores."""
        directives, ignored = [], []
        for path in self._configuration('modprobe.d'):
            for line in self._lines(path):
                fields = line.split(None, 2)
                if not fields or fields[0].startswith('#'):
                    continue
                if collect.is_directive(fields):
                    directives.append(
                        host.Directive(
                            fields[0],
                            _module(fields[1]),
                            fields[2].strip() if len(fields) > 2 else '',
                            f'/{path}',
                        )
                    )
                else:
                    text = collect.shown(line)
                    ignored.append(
                        host.IgnoredLine(
                            text, f'/{path}', collect.meant(text.split()[0])
                        )
                    )
        return tuple(directives), tuple(ignored)

    def _modules_load(self) -> tuple[tuple[str, str], ...]:
        paths = [*self._configuration('modules-load.d'), 'etc/modules']
        return tuple(
            (_module(name), f'/{path}')
            for path in paths
            for name in self._first_words(path)
        )

    def _initramfs_modules(self, *keys: str) -> tuple[tuple[str, str], ...]:
        """Return the modules configured for the initramfs, with their files.

        :param keys: Settings of dracut.
        """
        path = 'etc/initramfs-tools/modules'
        modules = [
            (_module(name), f'/{path}') for name in self._first_words(path)
        ]
        for path in self._below('etc/initramfs-tools/hooks/'):
            for line in self._lines(path):
                modules += [
                    (_module(name), f'/{path}') for name in line.split()[1:2]
                ]
        for path in (
            'etc/dracut.conf',
            *self._below('usr/lib/dracut/'),
            *self._below('etc/dracut.conf.d/'),
        ):
            for line in self._lines(path):
                key, _equals, value = line.partition('=')
                if key.strip().rstrip('+') in keys:
                    modules += [
                        (_module(name), f'/{path}')
                        for name in value.strip().strip('"\'').split()
                    ]
        return tuple(modules)

    def _initramfs(self) -> host.Initramfs | None:
        folder = f'{collect.INITRAMFS}/'
        for path in sorted(
            name
            for name in (*self._files, *self._failures)
            if name.startswith(folder)
        ):
            image = '/' + path[len(folder) :].replace('+', '/')
            # Reported with the initramfs and not as a failure: it is common
            # without root or without the program that decompresses it.
            reason = self._failures.pop(path, None)
            if reason is not None:
                return host.Initramfs(image, reason=reason)
            content = self._files[path].decode('utf-8', 'replace')
            # Archives have names with or without "./".
            names = [name.removeprefix('./') for name in content.split('\n')]
            return host.Initramfs(
                image,
                frozenset(
                    _module(name)
                    for name in names
                    if re.search(r'\.ko(\.\w+)?$', name)
                ),
                maker=next(
                    (
                        collect.MAKERS[name]
                        for name in names
                        if name in collect.MAKERS
                    ),
                    None,
                ),
            )
        return None

    def _isolated_cpus(self) -> frozenset[int]:
        path = f'{_CPUS}isolated'
        if path in self._files or path in self._failures:
            return self._cpu_list(path) or frozenset()
        # Before Linux 4.2.
        line = kernel.parse(self._text('proc/cmdline') or '')
        online = self._cpu_list(f'{_CPUS}online')
        try:
            return line.isolated_cpus(len(online) if online else None)
        except exceptions.InvalidCPUSet:
            return frozenset()

    def _kernel_arguments(self) -> str | None:
        text = self._text('proc/cmdline')
        withheld = [
            argument.name
            for argument in kernel.parse(text or '').arguments
            # The rules about vfio-pci.ids report ids that are left out.
            if argument.key in collect.ARGUMENTS
            and not argument.key.endswith('.ids')
            and argument.is_withheld
        ]
        if withheld:
            self._fail(
                'proc/cmdline',
                f'the value of {", ".join(dict.fromkeys(withheld))} was left '
                f'out as a possible secret',
            )
        return text

    def _grub_settings(self) -> tuple[host.GrubSetting, ...]:
        settings = []
        for path in ('etc/default/grub', *self._below('etc/default/grub.')):
            for line in self._lines(path):
                assigned = _assigned(line)
                if assigned is not None:
                    name, _operator, text = assigned
                    settings.append(host.GrubSetting(f'/{path}', name, text))
        return tuple(settings)

    def _boot_arguments(self) -> tuple[host.BootArguments, ...]:
        boots = []
        grub = [
            path
            for path in ('etc/default/grub', *self._below('etc/default/grub.'))
            if path in self._files
        ]
        values: dict[str, str] = {}
        for path in grub:
            for line in self._lines(path):
                _assign(values, line)
        # Variables of GRUB itself, which boot entries of RHEL use.
        variables: dict[str, str] = {}
        for line in self._lines('boot/grub2/grubenv'):
            name, _equals, value = line.partition('=')
            variables[name] = value.strip()
        saved = variables.pop('saved_entry', '')
        # If it is unset, GRUB sets it in its own configuration.
        variables.setdefault('kernelopts', '$kernelopts')
        if grub:
            text = ' '.join(
                values[name]
                for name in (
                    'GRUB_CMDLINE_LINUX',
                    'GRUB_CMDLINE_LINUX_DEFAULT',
                )
                if values.get(name)
            )
            boots.append(
                host.BootArguments(f'/{grub[0]}', _expand(text, variables))
            )
        cmdline = self._text('etc/kernel/cmdline')
        if cmdline is not None:
            boots.append(host.BootArguments('/etc/kernel/cmdline', cmdline))
        entries = [
            path for path in self._below('boot/') if '/loader/entries/' in path
        ]
        default = (
            _default_entry(entries, saved)
            if 'boot/grub2/grubenv' in self._files
            else None
        )
        for path in entries:
            # An entry may have several lines of options.
            options = [line.partition(' ')[2] for line in self._lines(path)]
            if options:
                text = _expand(' '.join(options).strip(), variables)
                boots.append(
                    host.BootArguments(
                        f'/{path}', text, is_default=path == default
                    )
                )
        return tuple(boots)


def _default_entry(
    paths: collections.abc.Sequence[str], saved: str
) -> str | None:
    """Return the entry that GRUB boots; None if unknown, or the only one.

    GRUB sorts entries by name, the latest version first, and boots the first
    one, unless ``saved_entry`` selects another (``blscfg`` of Fedora's
    grub2).

    :param saved: Value of ``saved_entry``.
    """
    if len(paths) < 2:
        return None
    ordered = sorted(paths, key=_version_key, reverse=True)
    if not saved:
        return ordered[0]
    if saved.isdecimal():
        place = int(saved)
        return ordered[place] if place < len(ordered) else None
    name = saved.removesuffix('.conf')
    named = [
        path
        for path in paths
        if path.rpartition('/')[2].removesuffix('.conf') == name
    ]
    return named[0] if named else None


def _version_key(path: str) -> list[tuple[int, int, str]]:
    """Return a key that sorts names of files, with numbers by value."""
    name = path.rpartition('/')[2].removesuffix('.conf')
    return [
        (1, int(part), '') if part.isdecimal() else (0, 0, part)
        for part in re.findall('[0-9]{1,18}|[^0-9]+', name, re.A)
    ]


#: ``$NAME``, ``${NAME}`` and ``${NAME:+TEXT}``.
_VARIABLE = re.compile(r'\$(?:\{(\w+)(?::\+([^{}]*))?\}|(\w+))')


#: Limit of a text with its variables expanded, in characters.
_LONGEST_EXPANSION = 1 << 16


def _expand(text: str, values: collections.abc.Mapping[str, str]) -> str:
    """Expand variables, as a shell and GRUB do.

    A value that refers to itself twice doubles with each line, so a text that
    grows too long is withheld.
    """
    parts = []
    size = position = 0
    for match in _VARIABLE.finditer(text):
        value = values.get(match[1] or match[3], '')
        if match[2] is not None and value:
            value = _expand(match[2], values)
        parts += [text[position : match.start()], value]
        size += len(value)
        position = match.end()
        if size > _LONGEST_EXPANSION:
            return kernel.WITHHELD
    return ''.join((*parts, text[position:]))


def _assigned(line: str) -> tuple[str, str, str] | None:
    """Return name, ``+`` or nothing, and text of a shell assignment."""
    match = re.match(r'\s*(\w+)(\+?)=', line)
    if match is None:
        return None
    try:
        values = shlex.split(line[match.end() :], comments=True)
    except ValueError:
        # An unclosed quote is an error in a shell, too.
        return None
    return match[1], match[2], ''.join(values[:1])


def _assign(
    values: collections.abc.MutableMapping[str, str], line: str
) -> None:
    """Apply a shell assignment: ``A="$A b"`` or ``A+=" b"``."""
    assigned = _assigned(line)
    if assigned is None:
        return
    name, operator, text = assigned
    # GRUB expands escaped variables.
    parts = re.split(r'\\(\$\w*)', text)
    parts[::2] = [_expand(part, values) for part in parts[::2]]
    before = values.get(name, '') if operator else ''
    value = before + ''.join(parts)
    if len(value) > _LONGEST_EXPANSION:
        value = kernel.WITHHELD
    values[name] = value


def _memory_bars(config: bytes) -> list[int]:
    """Return the numbers of the memory BARs in a configuration space.

    BARs without an address keep their type bits (PCI Local Bus Specification,
    6.2.5.1). Those of a 32-bit BAR that is not prefetchable are zero, so such
    a BAR is only found if it has an address.
    """
    numbers: list[int] = []
    # Only the header of a device that is not a bridge, and responds.
    if len(config) < 0x40 or config[0x0E] & 0x7F:
        return numbers
    number = 0
    while number < _BARS:
        offset = 0x10 + 4 * number
        value = int.from_bytes(config[offset : offset + 4], 'little')
        if value and not value & 1:
            numbers.append(number)
        number += 2 if value & 0b111 == 0b100 else 1
    return numbers


def _module(path: str) -> str:
    """Return the name of a module, with underscores, from a name or path."""
    name = path.strip().rpartition('/')[2]
    return re.sub(r'\.ko(\.\w+)?$', '', name).replace('-', '_')
