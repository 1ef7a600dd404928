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

"""Files of a host -> :class:`gpuclient.model.host.Host`.

``Documentation/ABI/testing/sysfs-bus-pci`` and its neighbours in the kernel
say what the files mean.
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
#: What every device has.
_OF_EACH = ('class', 'vendor', 'device', 'resource')
#: What every host has.
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
#: Of a name, in characters.
_LONGEST = 255


def read(root: str = '/', *, initramfs: bool = True) -> host.Host:
    """Return what is known of a host.

    :param root: Folder with its files; this machine, if it is ``/``.
    :param initramfs: List the initramfs, too, which takes seconds.
    :raises gpuclient.exceptions.HostError: There is no such folder.
    """
    check_root(root)
    return parse(collect.collect(root, initramfs), root)


def check_root(root: str) -> None:
    """Make sure that there is a folder to read a host from.

    :raises gpuclient.exceptions.HostError: There is not.
    """
    if not os.path.isdir(root):
        raise exceptions.HostError(
            f'There is no folder {root} to read a host from'
        )


def parse(tree: collect.Tree, name: str) -> host.Host:
    """Return what the files of a host say.

    :param name: For a host that does not know its own.
    """
    return _Parser(tree).result(name)


class _Parser:
    def __init__(self, tree: collect.Tree) -> None:
        self._tree = tree
        self._failures = dict(tree.unreadable)

    def result(self, name: str) -> host.Host:
        modules = self._words('proc/modules')
        builtin = self._builtin()
        directives, ignored = self._directives()
        vendor, bits, is_virtual = self._processor()
        found = host.Host(
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
                if path in self._tree.files
            ),
        )
        for path in _OF_ALL:
            if path not in self._tree.files:
                self._failures.setdefault(path, 'it is not there')
        # The last: all that came before adds to it.
        return dataclasses.replace(
            found,
            unreadable=tuple(
                partial_result.Failure(f'/{path}', reason)
                for path, reason in sorted(self._failures.items())
            ),
        )

    # Files.

    def _below(self, folder: str) -> list[str]:
        """Return the files below a folder, in order."""
        return sorted(
            path for path in self._tree.files if path.startswith(folder)
        )

    def _names(self, folder: str) -> list[str]:
        return [
            path[len(folder) :]
            for path in self._below(folder)
            if '/' not in path[len(folder) :]
        ]

    def _fail(self, path: str, reason: str) -> None:
        self._failures.setdefault(path, reason)

    def _text(self, path: str) -> str | None:
        content = self._tree.files.get(path)
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
            self._fail(path, 'its value is not packed: it is not a plain one')
            return None
        return text

    def _word(self, path: str) -> str | None:
        """Return a text that is a name, or a word."""
        text = self._text(path)
        if text is None or (text.isprintable() and len(text) <= _LONGEST):
            return text
        self._fail(path, 'it is no single word')
        return None

    def _lines(self, path: str) -> list[str]:
        return (self._text(path) or '').splitlines()

    def _words(self, path: str) -> list[str]:
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
        """Return a parameter of a module that is on or off."""
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
            for path in (*self._tree.files, *self._tree.links)
            if path.startswith(_DEVICES)
        }
        found = []
        for name in sorted(names):
            folder = f'{_DEVICES}{name}/'
            try:
                address = pci.parse_address(name)
            except exceptions.InvalidAddress:
                # Nova skips domains of more than four digits, too
                # (nova/pci/manager.py); a GPU there should be told of.
                code = self._number(f'{folder}class', 16)
                if code is None or code >> 16 in (
                    host.DISPLAY_CONTROLLER,
                    host.PROCESSING_ACCELERATOR,
                ):
                    self._fail(
                        folder.rstrip('/'),
                        'Nova takes no address like this',
                    )
                continue
            found.append(self._device(address, folder))
        return tuple(sorted(found, key=lambda one: one.address))

    def _device(self, address: pci.Address, folder: str) -> host.PciDevice:
        files, links = self._tree.files, self._tree.links
        for attribute in _OF_EACH:
            if folder + attribute not in files:
                self._fail(folder + attribute, 'it is not there')
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
                if not any(one.number == number and one.size for one in bars)
            ),
            numa_node=None if node == -1 else node,
            boot_vga=self._flag(f'{folder}boot_vga'),
            reset_methods=self._reset_methods(folder),
            power_state=self._word(f'{folder}power_state'),
            d3cold_allowed=self._flag(f'{folder}d3cold_allowed'),
            has_sriov_capability=(
                # Who is not root is shown the first 64 bytes.
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
            self._fail(path, 'it is no id of four digits')
            return None
        return f'{number:04x}'

    def _flag(self, path: str) -> bool | None:
        number = self._number(path)
        return None if number is None else bool(number)

    def _group(self, path: str) -> int | None:
        name = self._tree.links.get(path)
        if name is None:
            return None
        if not re.fullmatch('[0-9]{1,9}', name, re.A):
            self._fail(path, f'{name[:40]!r} is not a number')
            return None
        return int(name)

    def _linked(self, path: str) -> pci.Address | None:
        name = self._tree.links.get(path)
        if name is None:
            return None
        try:
            return pci.parse_address(name)
        except exceptions.InvalidAddress as exc:
            self._fail(path, str(exc))
            return None

    def _virtual_functions(self, folder: str) -> tuple[pci.Address, ...]:
        found = []
        # libvirt counts up, too, until there is none.
        number = 0
        while f'{folder}virtfn{number}' in self._tree.links:
            address = self._linked(f'{folder}virtfn{number}')
            if address is not None:
                found.append(address)
            number += 1
        return tuple(found)

    def _reset_methods(self, folder: str) -> tuple[str, ...] | None:
        path = f'{folder}reset_method'
        if path in self._tree.files:
            text = self._text(path)
            return None if text is None else tuple(text.split())
        if path in self._failures:
            return None
        if f'{folder}reset' in self._tree.files:
            # Before Linux 5.15: it can be reset, nothing says how.
            return ('reset',)
        # Both files are there for what can be reset only
        # (drivers/pci/pci-sysfs.c:pci_dev_reset_attr_is_visible).
        return ()

    def _bars(self, path: str) -> tuple[host.DeviceBar, ...]:
        found = []
        for number, line in enumerate(self._lines(path)[:_BARS]):
            match = re.fullmatch(
                '0x([0-9a-f]{16}) 0x([0-9a-f]{16}) 0x([0-9a-f]{16})',
                line.strip(),
                re.A,
            )
            if match is None:
                self._fail(path, f'{line[:60]!r} is no resource')
                break
            start, end, flags = (int(one, 16) for one in match.groups())
            if flags:
                found.append(
                    host.DeviceBar(
                        number,
                        end - start + 1 if end > start else 0,
                        prefetchable=bool(flags & _PREFETCH),
                        is_io=bool(flags & _IO),
                        is_64_bit=bool(flags & _64_BIT),
                    )
                )
        return tuple(found)

    def _groups(self) -> tuple[host.IommuGroup, ...]:
        numbers = {
            path[len(_GROUPS) :].split('/')[0] for path in self._below(_GROUPS)
        } | {
            name
            for path, name in self._tree.links.items()
            if path.startswith(_DEVICES) and path.endswith('/iommu_group')
        }
        found = []
        for number in numbers:
            if not re.fullmatch('[0-9]{1,9}', number, re.A):
                continue
            folder = f'{_GROUPS}{number}/'
            regions = self._lines(f'{folder}reserved_regions')
            found.append(
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
        return tuple(sorted(found, key=lambda group: group.number))

    # CPUs and memory.

    def _processor(self) -> tuple[str | None, int | None, bool]:
        """Return vendor, bits of an address, and whether it is a guest's."""
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
        found = []
        for number in sorted(online or ()):
            folder = f'{_CPUS}cpu{number}/topology/'
            siblings = self._cpu_list(f'{folder}thread_siblings_list')
            found.append(
                host.Cpu(
                    number,
                    self._number(f'{folder}physical_package_id'),
                    self._number(f'{folder}core_id'),
                    siblings or frozenset(),
                )
            )
        return tuple(found)

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
        if memory is None and f'{folder}meminfo' in self._tree.files:
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
        """Return ``isolated_cores`` of the profile that is in force.

        Where none is, what any profile would have. A profile sets it, or
        includes the file of its variables, or another profile.
        """
        active = (self._word('etc/tuned/active_profile') or '').split()
        if not active:
            paths = self._below('etc/tuned/')
            return next(filter(None, map(self._isolated_cores, paths)), None)
        # The last one is on top of the others, and these of what they include.
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
                *(one.lstrip('/') for one in included if one.startswith('/')),
                # What profiles of tuned include.
                f'etc/tuned/{profile}-variables.conf',
            ):
                found = self._isolated_cores(path)
                if found is not None:
                    return found
            profiles += [
                name for name in dict.fromkeys(included) if name not in known
            ]
            known.update(included)
        return None

    def _isolated_cores(self, path: str) -> str | None:
        values = self._settings(path, 'isolated_cores')
        # "isolated_cores = ${isolated_cores}" keeps what it was.
        values = [one for one in values if one != '${isolated_cores}']
        return values[-1] if values else None

    def _settings(self, path: str, name: str) -> list[str]:
        parts = (line.partition('=') for line in self._lines(path))
        return [
            value.strip() for key, _, value in parts if key.strip() == name
        ]

    # Modules, and what the kernel is started with.

    def _distribution(self) -> tuple[str, ...]:
        found: dict[str, list[str]] = {}
        for line in self._lines('etc/os-release'):
            key, _equals, value = line.partition('=')
            found[key] = value.strip('"\'').split()
        return tuple(
            dict.fromkeys((*found.get('ID', ()), *found.get('ID_LIKE', ())))
        )

    def _acpi_tables(self) -> tuple[str, ...] | None:
        folder = 'sys/firmware/acpi/tables'
        if folder in self._failures:
            return None
        found = self._names(f'{folder}/')
        # A host without ACPI says nothing of its firmware.
        return tuple(found) if found else None

    def _builtin(self) -> frozenset[str] | None:
        for path in self._below('lib/modules/'):
            if path.endswith('/modules.builtin'):
                return frozenset(
                    _module(line) for line in self._lines(path) if line
                )
        return None

    def _aliases(self) -> tuple[tuple[str, str], ...] | None:
        """Return what modules are loaded for; None where that is not known.

        A file that has nothing for any display device, not even for that of a
        management controller, may be one that depmod has not made yet.
        """
        for path in self._below('lib/modules/'):
            if path.endswith('/modules.alias'):
                words = (line.split() for line in self._lines(path))
                found = [
                    (one[1], _module(one[2])) for one in words if len(one) == 3
                ]
                return tuple(found) or None
        return None

    def _configuration(self, kind: str) -> list[str]:
        """Return the files of modprobe.d and the like that count.

        One in an earlier folder takes the place of one of the same name in a
        later folder; all are read in the order of their names.
        """
        found: dict[str, str] = {}
        for folder in collect.FOLDERS:
            for path in self._below(f'{folder}/{kind}/'):
                found.setdefault(path.rpartition('/')[2], path)
        return [path for _name, path in sorted(found.items())]

    def _directives(
        self,
    ) -> tuple[tuple[host.Directive, ...], tuple[host.IgnoredLine, ...]]:
        """Return what modprobe takes of its files, and what it does not."""
        found, ignored = [], []
        for path in self._configuration('modprobe.d'):
            for line in self._lines(path):
                words = line.split(None, 2)
                if not words or words[0].startswith('#'):
                    continue
                if collect.is_directive(words):
                    found.append(
                        host.Directive(
                            words[0],
                            _module(words[1]),
                            words[2].strip() if len(words) > 2 else '',
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
        return tuple(found), tuple(ignored)

    def _modules_load(self) -> tuple[tuple[str, str], ...]:
        paths = [*self._configuration('modules-load.d'), 'etc/modules']
        return tuple(
            (_module(word), f'/{path}')
            for path in paths
            for word in self._words(path)
        )

    def _initramfs_modules(self, *keys: str) -> tuple[tuple[str, str], ...]:
        """Return the modules of an initramfs, and the file of each.

        :param keys: Settings of dracut.
        """
        path = 'etc/initramfs-tools/modules'
        found = [(_module(word), f'/{path}') for word in self._words(path)]
        for path in self._below('etc/initramfs-tools/hooks/'):
            for line in self._lines(path):
                found += [
                    (_module(word), f'/{path}') for word in line.split()[1:2]
                ]
        for path in (
            'etc/dracut.conf',
            *self._below('usr/lib/dracut/'),
            *self._below('etc/dracut.conf.d/'),
        ):
            for line in self._lines(path):
                key, _equals, value = line.partition('=')
                if key.strip().rstrip('+') in keys:
                    found += [
                        (_module(word), f'/{path}')
                        for word in value.strip().strip('"\'').split()
                    ]
        return tuple(found)

    def _initramfs(self) -> host.Initramfs | None:
        folder = f'{collect.INITRAMFS}/'
        for path in sorted(
            one
            for one in (*self._tree.files, *self._failures)
            if one.startswith(folder)
        ):
            image = '/' + path[len(folder) :].replace('+', '/')
            # Told of here and not as a failure: it often takes root, or a
            # younger Python.
            reason = self._failures.pop(path, None)
            if reason is not None:
                return host.Initramfs(image, reason=reason)
            content = self._tree.files[path].decode('utf-8', 'replace')
            # As ``find`` writes them, or without the dot.
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
        if path in self._tree.files or path in self._failures:
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
            # The rules on ids tell of those that vfio-pci cannot read.
            if argument.key in collect.ARGUMENTS
            and not argument.key.endswith('.ids')
            and argument.is_withheld
        ]
        if withheld:
            self._fail(
                'proc/cmdline',
                'The value of {names} is not packed and not known'.format(
                    names=', '.join(dict.fromkeys(withheld))
                ),
            )
        return text

    def _grub_settings(self) -> tuple[host.GrubSetting, ...]:
        found = []
        for path in ('etc/default/grub', *self._below('etc/default/grub.')):
            for line in self._lines(path):
                assigned = _assigned(line)
                if assigned is not None:
                    name, _operator, text = assigned
                    found.append(host.GrubSetting(f'/{path}', name, text))
        return tuple(found)

    def _boot_arguments(self) -> tuple[host.BootArguments, ...]:
        found = []
        grub = [
            path
            for path in ('etc/default/grub', *self._below('etc/default/grub.'))
            if path in self._tree.files
        ]
        values: dict[str, str] = {}
        for path in grub:
            for line in self._lines(path):
                _assign(values, line)
        # Of grub itself; the entries of RHEL have them.
        variables: dict[str, str] = {}
        for line in self._lines('boot/grub2/grubenv'):
            name, _equals, value = line.partition('=')
            variables[name] = value.strip()
        saved = variables.pop('saved_entry', '')
        # If it is unset, grub takes it from its own configuration.
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
            found.append(
                host.BootArguments(f'/{grub[0]}', _expand(text, variables))
            )
        words = self._text('etc/kernel/cmdline')
        if words is not None:
            found.append(host.BootArguments('/etc/kernel/cmdline', words))
        entries = [
            path for path in self._below('boot/') if '/loader/entries/' in path
        ]
        default = (
            _default_entry(entries, saved)
            if 'boot/grub2/grubenv' in self._tree.files
            else None
        )
        for path in entries:
            # An entry may have several lines of options.
            options = [line.partition(' ')[2] for line in self._lines(path)]
            if options:
                text = _expand(' '.join(options).strip(), variables)
                found.append(
                    host.BootArguments(
                        f'/{path}', text, is_default=path == default
                    )
                )
        return tuple(found)


def _default_entry(
    paths: collections.abc.Sequence[str], saved: str
) -> str | None:
    """Return the entry that grub boots; None where there is no question.

    It has the entries in the order of their names, the latest version first,
    and takes the first, or that which ``saved_entry`` names (``blscfg`` of
    the grub2 of Fedora).
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
    """Return what names of files are compared by, numbers as numbers."""
    name = path.rpartition('/')[2].removesuffix('.conf')
    return [
        (1, int(part), '') if part.isdecimal() else (0, 0, part)
        for part in re.findall('[0-9]{1,18}|[^0-9]+', name, re.A)
    ]


#: ``$NAME``, ``${NAME}`` and ``${NAME:+TEXT}``.
_VARIABLE = re.compile(r'\$(?:\{(\w+)(?::\+([^{}]*))?\}|(\w+))')


#: Of what variables are replaced by, in characters.
_LONGEST_EXPANSION = 1 << 16


def _expand(text: str, values: collections.abc.Mapping[str, str]) -> str:
    """Put values in the place of variables, as a shell and grub do.

    A value that refers to itself again and again doubles with each line: what
    grows too long is not known.
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
    """Return name, ``+`` or nothing, and text of an assignment of a shell."""
    match = re.match(r'\s*(\w+)(\+?)=', line)
    if match is None:
        return None
    try:
        words = shlex.split(line[match.end() :], comments=True)
    except ValueError:
        # A quote without its counterpart: the shell would refuse it, too.
        return None
    return match[1], match[2], ''.join(words[:1])


def _assign(
    values: collections.abc.MutableMapping[str, str], line: str
) -> None:
    """Follow an assignment of a shell, ``A="$A b"`` and ``A+=" b"``."""
    assigned = _assigned(line)
    if assigned is None:
        return
    name, operator, text = assigned
    # What has a backslash is for grub.
    parts = re.split(r'\\(\$\w*)', text)
    parts[::2] = [_expand(part, values) for part in parts[::2]]
    before = values.get(name, '') if operator else ''
    value = before + ''.join(parts)
    if len(value) > _LONGEST_EXPANSION:
        value = kernel.WITHHELD
    values[name] = value


def _memory_bars(config: bytes) -> list[int]:
    """Return the numbers of BARs for memory, as a configuration space tells.

    Their types stay where there is no address in them (PCI Local Bus
    Specification, 6.2.5.1); one of 32 bit that is not prefetchable has a type
    of zero, and is not seen then.
    """
    found: list[int] = []
    # The header of what is no bridge, and answers.
    if len(config) < 0x40 or config[0x0E] & 0x7F:
        return found
    number = 0
    while number < _BARS:
        offset = 0x10 + 4 * number
        value = int.from_bytes(config[offset : offset + 4], 'little')
        if value and not value & 1:
            found.append(number)
        number += 2 if value & 0b111 == 0b100 else 1
    return found


def _module(path: str) -> str:
    """Return the name of a module, of its file or as somebody wrote it."""
    name = path.strip().rpartition('/')[2]
    return re.sub(r'\.ko(\.\w+)?$', '', name).replace('-', '_')
