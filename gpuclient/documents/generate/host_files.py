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

"""The files, kernel arguments and commands that give a host's GPUs away.

Pure: nothing is read or written. :func:`prepare` has it all for one kind of
host. What makes it work, whatever loads first:

* ``softdep DRIVER pre: vfio-pci``: whoever loads a driver that could claim
  the card has vfio-pci loaded before (``modprobe.d(5)``).
* By ids, ``options vfio-pci ids=``, and the same as a kernel argument, for
  kernels that have vfio-pci built in.
* By address, for one of several cards with the same ids: an ``install`` line
  that writes ``driver_override`` of the devices before vfio-pci is loaded, so
  before any driver of the ``softdep`` lines is. A udev rule comes too late
  where the event of another card has loaded a driver that claims both.
  Such a line of a module that is part of the kernel is never run
  (``libkmod/libkmod-module.c:kmod_module_probe_insert_module``). Where
  vfio-pci is, the line is that of a name that no module has, which the
  ``softdep`` lines have, too.
* modprobe.d, and vfio-pci itself, are in the initramfs, where drivers are
  loaded first.
"""

import collections.abc
import dataclasses
import re

from gpuclient import exceptions
from gpuclient.model import cpu
from gpuclient.model import description
from gpuclient.model import distribution
from gpuclient.model import host
from gpuclient.model import pci
from gpuclient.model import quoting

#: Debian and Ubuntu: initramfs-tools, grub.
DEBIAN = distribution.Family.DEBIAN.value
#: RHEL and its derivatives: dracut, grubby.
RHEL = distribution.Family.RHEL.value
#: Data plane nodes of Red Hat OpenStack Services on OpenShift: RHEL, with
#: kernel arguments and tuned set by roles of edpm-ansible.
RHOSO = 'rhoso'
SYSTEMS = (DEBIAN, RHEL, RHOSO)

INTEL = cpu.Vendor.INTEL.value
AMD = cpu.Vendor.AMD.value
ARM = cpu.Vendor.ARM.value
CPU_VENDORS = (INTEL, AMD, ARM)

#: What all files of ours are named.
NAME = 'gpu-passthrough'
MODPROBE = f'{distribution.MODPROBE_D}/{NAME}.conf'
MODULES_LOAD = f'{distribution.MODULES_LOAD_D}/{NAME}.conf'
DRACUT = f'{distribution.DRACUT_CONF_D}/{NAME}.conf'
INITRAMFS_HOOK = f'{distribution.INITRAMFS_TOOLS_HOOKS}/{NAME}'
GRUB = f'{distribution.GRUB_DEFAULT_D}/{NAME}.cfg'
#: The first line of each, but for the hook, where it is the second.
MARK = '# Made by "openstack gpu": edits are lost when it is made again.'

TUNED_PROFILE = description.DEFAULT_TUNED_PROFILE

#: Blacklisted where a host keeps no card of the vendor. Cards of AMD and
#: Intel are no reason: their drivers run consoles of hosts, too. nvidia_drm is
#: loaded for a card as well, and has nvidia loaded although that is on the
#: list.
_BLACKLISTED = {'10de': (*host.GPU_DRIVERS['10de'], 'nvidia_drm')}

_IDS = re.compile('[0-9a-f]{4}:[0-9a-f]{4}', re.ASCII)
_CORES = re.compile(r'\d+(-\d+)?(,\d+(-\d+)?)*', re.ASCII)
_MODULE = re.compile('[A-Za-z0-9_-]+', re.ASCII)
_PROFILE = re.compile('[A-Za-z0-9][A-Za-z0-9._-]*', re.ASCII)
#: No blank, quote or anything that a shell, GRUB or YAML expands; ; ends a
#: command of GRUB.
_ARGUMENT = re.compile('[A-Za-z0-9_.,:=/@+~^-]+', re.ASCII)


@dataclasses.dataclass(frozen=True)
class Passthrough:
    """What a host is to be prepared for.

    :raises gpuclient.exceptions.InvalidValue: Something in it could not stand
        in the files as it is meant, or it names no device.
    """

    #: One of :data:`CPU_VENDORS`.
    cpu_vendor: str
    #: ``vendor:product`` of the devices, each four lower case hexadecimal
    #: digits: every device with them goes to guests, so the other functions
    #: of a card, its audio, belong here, too.
    ids: tuple[str, ...] = ()
    #: Devices that go to guests while others with the same ids stay.
    addresses: tuple[pci.Address, ...] = ()
    #: Vendors of the devices at these addresses.
    vendor_ids: tuple[str, ...] = ()
    #: Drivers that could claim the devices, besides those that are known.
    rivals: tuple[str, ...] = ()
    #: Drivers that must not be loaded at all; None: those of a vendor whose
    #: cards are all given away, where that is safe.
    blacklist: tuple[str, ...] | None = None
    #: More kernel arguments, such as those of hugepages.
    arguments: tuple[str, ...] = ()
    #: CPUs that tuned takes away from the host, as ``2-11,14``; None: tuned
    #: is left alone.
    isolated_cores: str | None = None
    tuned_profile: str = TUNED_PROFILE
    #: Whether vfio-pci is part of the kernel, as it is in those of Ubuntu.
    vfio_is_builtin: bool = False

    def __post_init__(self) -> None:
        if self.cpu_vendor not in CPU_VENDORS:
            raise exceptions.InvalidValue(
                'CPU vendor {value!r} is none of {known}'.format(
                    value=self.cpu_vendor, known=', '.join(CPU_VENDORS)
                )
            )
        if not self.ids and not self.addresses:
            raise exceptions.InvalidValue(
                'No device is named, by its ids or by its address'
            )
        cores = (self.isolated_cores,) if self.isolated_cores else ()
        for what, pattern, form, values in (
            ('Device ids', _IDS, 'such as 10de:20f1', self.ids),
            (
                'Driver',
                _MODULE,
                'of letters, digits, - and _',
                (*self.rivals, *(self.blacklist or ())),
            ),
            (
                'Kernel argument',
                _ARGUMENT,
                'of letters, digits and any of - _ . , : = / @ + ~ ^',
                self.arguments,
            ),
            ('Isolated cores', _CORES, 'such as 2-11,14', cores),
            (
                'Profile of tuned',
                _PROFILE,
                'of letters, digits, dots, - and _',
                (self.tuned_profile,),
            ),
        ):
            for value in values:
                if not pattern.fullmatch(value):
                    raise exceptions.InvalidValue(
                        f'{what} {value!r} must be {form}'
                    )
        if self.isolated_cores:
            try:
                cpu.parse_tuned(self.isolated_cores)
            except exceptions.InvalidCPUSet as exc:
                raise exceptions.InvalidValue(
                    f'Isolated cores {quoting.cpus(self.isolated_cores)!r}: '
                    f'{exc}'
                ) from exc

    @property
    def drivers(self) -> tuple[str, ...]:
        """Drivers that are loaded only after vfio-pci."""
        known = [
            driver
            for vendor in self._vendors
            for driver in host.GPU_DRIVERS.get(vendor, ())
        ]
        return _unique((*known, *self.rivals, *host.FUNCTION_DRIVERS))

    @property
    def blacklisted(self) -> tuple[str, ...]:
        """Drivers that no device alias loads."""
        if self.blacklist is not None:
            return self.blacklist
        if self.addresses:
            # The cards that stay with the host need their driver.
            return ()
        return _unique(
            driver
            for vendor in self._vendors
            for driver in _BLACKLISTED.get(vendor, ())
        )

    @property
    def _vendors(self) -> tuple[str, ...]:
        return _unique((*(ids[:4] for ids in self.ids), *self.vendor_ids))


@dataclasses.dataclass(frozen=True)
class HostFile:
    """A file of the host; ours as a whole, unless it says other."""

    #: Absolute.
    path: str
    content: str
    mode: int = 0o644
    #: It has ``key=value`` lines of others, too, which stay.
    settings: bool = False


@dataclasses.dataclass(frozen=True)
class Preparation:
    """What prepares a host, and what takes it back."""

    kernel_arguments: tuple[str, ...]
    files: tuple[HostFile, ...]
    #: To run as root, in this order, when the files are there.
    commands: tuple[str, ...]
    #: To run as root, in this order; the host is then as before, but for
    #: what tuned was set to.
    undo: tuple[str, ...]


def prepare(
    wanted: Passthrough, system: str, *, dracut: bool | None = None
) -> Preparation:
    """Return all that prepares a host.

    :param system: One of :data:`SYSTEMS`. On RHOSO it is the playbook and the
        roles of edpm-ansible that do it, so there are no commands; see
        ``rhoso_host``.
    :param dracut: Whether dracut makes the initramfs (default: but on Debian).
    """
    dracut = _has_dracut(system, dracut)
    arguments = kernel_arguments(wanted, system, dracut=dracut)
    files = [
        _modprobe(wanted),
        _modules_load(wanted),
        _dracut() if dracut else _initramfs_hook(),
    ]
    commands = [
        distribution.rebuild_initramfs(
            distribution.Generator.DRACUT
            if dracut
            else distribution.Generator.INITRAMFS_TOOLS
        )
    ]
    undo = list(commands)
    text = ' '.join(arguments)
    if system == DEBIAN:
        files.append(_grub(text))
        apply = distribution.apply_grub_default(distribution.Family.DEBIAN)
        commands.append(apply)
        undo.append(apply)
    elif system == RHEL:
        commands.append(distribution.grubby(add=arguments))
        undo.append(distribution.grubby(remove=arguments))
    else:
        commands, undo = [], []
    if wanted.isolated_cores is not None and system != RHOSO:
        files.append(_tuned(wanted))
        commands.append(f'tuned-adm profile {wanted.tuned_profile}')
        # The one that tuned recommends for the host.
        undo.append('tuned-adm auto_profile')
    if system != RHOSO:
        ours = ' '.join(file.path for file in files if f'/{NAME}' in file.path)
        commands.append('systemctl reboot')
        undo = [f'rm -f {ours}', *undo, 'systemctl reboot']
    return Preparation(arguments, tuple(files), tuple(commands), tuple(undo))


def kernel_arguments(
    wanted: Passthrough, system: str, *, dracut: bool | None = None
) -> tuple[str, ...]:
    """Return what the kernel's command line has to have.

    :param dracut: As of :func:`prepare`.

    There is no ``amd_iommu=on``: the kernel does not know it, and has AMD's
    IOMMU on by itself (``drivers/iommu/amd/init.c:parse_amd_iommu_options``).
    Arm's needs none, and ``iommu=pt`` is x86's.
    ``rd.driver.pre`` is dracut's (``dracut.cmdline(7)``); initramfs-tools does
    not know it.
    """
    arguments = ['intel_iommu=on'] if wanted.cpu_vendor == INTEL else []
    arguments.append(
        'iommu.passthrough=1' if wanted.cpu_vendor == ARM else 'iommu=pt'
    )
    if wanted.ids:
        arguments.append(f'vfio-pci.ids={",".join(_unique(wanted.ids))}')
    if _has_dracut(system, dracut):
        arguments.append('rd.driver.pre=vfio-pci')
    return _unique((*arguments, *wanted.arguments))


def _has_dracut(system: str, dracut: bool | None) -> bool:
    if dracut is not None:
        return dracut
    program = distribution.default_generator(system)
    return program is distribution.Generator.DRACUT


def _modprobe(wanted: Passthrough) -> HostFile:
    lines = []
    if wanted.ids:
        lines.append(f'options vfio-pci ids={",".join(_unique(wanted.ids))}')
    before = 'vfio-pci'
    if wanted.addresses:
        lines.append(_override(wanted))
        if wanted.vfio_is_builtin:
            before += f' {NAME}'
    lines += [
        distribution.softdep(driver, before) for driver in wanted.drivers
    ]
    lines += [f'blacklist {driver}' for driver in wanted.blacklisted]
    if 'nouveau' in wanted.blacklisted:
        # Should somebody load it by its name all the same.
        lines.append('options nouveau modeset=0')
    return _file(MODPROBE, lines)


def _override(wanted: Passthrough) -> str:
    # One line: modprobe.d is what both dracut and initramfs-tools put into
    # the initramfs; a script they would have to be told of. A device that is
    # not there must not keep vfio-pci from the others.
    each = ' '.join(str(one) for one in sorted(set(wanted.addresses)))
    override = '/sys/bus/pci/devices/$address/driver_override'
    loop = f'for address in {each}; do [ ! -e {override} ] ||'
    write = f'echo vfio-pci > {override}'
    if wanted.vfio_is_builtin:
        # vfio-pci has looked at the devices long ago.
        probe = 'echo $address > /sys/bus/pci/drivers_probe'
        return f'install {NAME} {loop} {{ {write}; {probe}; }}; done'
    return (
        f'install vfio-pci {loop} {write}; done; '
        f'/sbin/modprobe --ignore-install vfio-pci $CMDLINE_OPTS'
    )


def _modules_load(wanted: Passthrough) -> HostFile:
    modules = ['vfio', 'vfio_iommu_type1', 'vfio-pci']
    if wanted.addresses and wanted.vfio_is_builtin:
        # Where no driver has had it run.
        modules.append(NAME)
    return _file(MODULES_LOAD, modules)


def _dracut() -> HostFile:
    return _file(
        DRACUT,
        [
            'add_drivers+=" vfio vfio_iommu_type1 vfio-pci "',
            '# As rd.driver.pre=vfio-pci does.',
            'force_drivers+=" vfio-pci "',
            '# Without hostonly=yes dracut leaves /etc/modprobe.d out.',
            f'install_items+=" {MODPROBE} "',
        ],
    )


def _initramfs_hook() -> HostFile:
    # /etc/modprobe.d is there without us (hook-functions).
    return _file(
        INITRAMFS_HOOK,
        [
            'PREREQ=""',
            'if [ "$1" = prereqs ]; then echo "$PREREQ"; exit 0; fi',
            '. /usr/share/initramfs-tools/hook-functions',
            'force_load vfio_iommu_type1',
            'force_load vfio-pci',
        ],
        first='#!/bin/sh',
        mode=0o755,
    )


def _grub(arguments: str) -> HostFile:
    variable = distribution.GRUB_VARIABLE
    return _file(GRUB, [f'{variable}="${variable} {arguments}"'])


def _tuned(wanted: Passthrough) -> HostFile:
    file = _file(
        f'/etc/tuned/{wanted.tuned_profile}-variables.conf',
        [f'isolated_cores={wanted.isolated_cores}'],
    )
    return dataclasses.replace(file, settings=True)


def _file(
    path: str,
    lines: collections.abc.Iterable[str],
    *,
    first: str | None = None,
    mode: int = 0o644,
) -> HostFile:
    every = [MARK, *lines] if first is None else [first, MARK, *lines]
    return HostFile(path, ''.join(f'{line}\n' for line in every), mode)


def _unique(values: collections.abc.Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))
