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

"""How Linux distributions change what a host boots with.

The one place that knows, of each distribution, how kernel arguments are set,
where files of modprobe.d and of the initramfs are, and what rebuilds the
initramfs. Rules put it into remedies, the generator of host files into
commands.
"""

import collections.abc
import enum

from gpuclient.model import host as host_model

MODPROBE_D = '/etc/modprobe.d'
MODULES_LOAD_D = '/etc/modules-load.d'
DRACUT_CONF_D = '/etc/dracut.conf.d'
INITRAMFS_TOOLS_HOOKS = '/etc/initramfs-tools/hooks'
#: The modules that initramfs-tools loads at boot, when udev has run.
INITRAMFS_TOOLS_MODULES = '/etc/initramfs-tools/modules'
GRUB_DEFAULT = '/etc/default/grub'
GRUB_DEFAULT_D = '/etc/default/grub.d'
#: The variable of ``/etc/default/grub`` that all boot entries get.
GRUB_VARIABLE = 'GRUB_CMDLINE_LINUX'
#: What kernel-install(8) makes boot entries of.
KERNEL_CMDLINE = '/etc/kernel/cmdline'


class Family(enum.StrEnum):
    """Distributions that change a host's boot in the same way."""

    DEBIAN = 'debian'
    RHEL = 'rhel'
    SUSE = 'suse'


#: ``ID`` and ``ID_LIKE`` of os-release.
_IDS = {
    Family.RHEL: ('rhel', 'fedora', 'centos'),
    Family.SUSE: ('suse', 'opensuse'),
    Family.DEBIAN: ('debian', 'ubuntu'),
}


class Generator(enum.StrEnum):
    """Programs that build an initramfs."""

    DRACUT = 'dracut'
    INITRAMFS_TOOLS = 'initramfs-tools'


#: Rebuilds the initramfs of every installed kernel: the next boot may take
#: another one than this boot did.
_REBUILD = {
    Generator.DRACUT: 'dracut --regenerate-all --force',
    Generator.INITRAMFS_TOOLS: 'update-initramfs -u -k all',
}
#: The same on a host that is booted from an image.
REBUILD_OSTREE = 'rpm-ostree initramfs --enable'


class ArgumentTool(enum.StrEnum):
    """What sets the kernel arguments of later boots."""

    RPM_OSTREE = 'rpm-ostree'
    #: ``edpm_kernel_args`` of a node set of RHOSO, with grubby beneath.
    EDPM = 'edpm'
    GRUBBY = 'grubby'
    #: ``/etc/default/grub`` and grub2-mkconfig.
    GRUB_MKCONFIG = 'grub2-mkconfig'
    #: ``/etc/default/grub`` and update-grub.
    UPDATE_GRUB = 'update-grub'
    #: ``/etc/kernel/cmdline``
    KERNEL_INSTALL = 'kernel-install'


def family(host: host_model.Host) -> Family | None:
    """Return the family of a host's distribution; None where unknown."""
    for candidate, ids in _IDS.items():
        if any(name in ids for name in host.distribution):
            return candidate
    return None


def argument_tool(host: host_model.Host) -> ArgumentTool | None:
    """Return what sets the kernel arguments of a host; None where unknown."""
    if host.is_ostree:
        # dnf and grubby do nothing for such a host.
        return ArgumentTool.RPM_OSTREE
    match family(host):
        case Family.RHEL:
            return ArgumentTool.EDPM if host.is_edpm else ArgumentTool.GRUBBY
        case Family.SUSE:
            return ArgumentTool.GRUB_MKCONFIG
    if host.uses_kernel_install:
        return ArgumentTool.KERNEL_INSTALL
    if family(host) is Family.DEBIAN:
        return ArgumentTool.UPDATE_GRUB
    return None


def generator(host: host_model.Host) -> Generator | None:
    """Return what builds the initramfs of a host; None where unknown."""
    built_by = None if host.initramfs is None else host.initramfs.maker
    if built_by is not None:
        return Generator(built_by)
    if len(host.initramfs_makers) == 1:
        return Generator(next(iter(host.initramfs_makers)))
    distribution = family(host)
    return None if distribution is None else default_generator(distribution)


def default_generator(distribution: str) -> Generator:
    """Return what builds the initramfs, unless the operator chose another.

    :param distribution: A :class:`Family`, or a derivative of RHEL.
    """
    if distribution == Family.DEBIAN:
        return Generator.INITRAMFS_TOOLS
    return Generator.DRACUT


def rebuild_initramfs(program: Generator) -> str:
    """Return the command that rebuilds the initramfs of every kernel."""
    return _REBUILD[program]


def softdep(driver: str, module: str = 'vfio-pci') -> str:
    """Return the line of modprobe.d that loads a module before a driver."""
    return f'softdep {driver} pre: {module}'


def grubby(
    add: collections.abc.Sequence[str] = (),
    remove: collections.abc.Sequence[str] = (),
) -> str:
    """Return the command that changes the arguments of all boot entries."""
    options = ''.join(
        f' --{option}="{" ".join(arguments)}"'
        for option, arguments in (('remove-args', remove), ('args', add))
        if arguments
    )
    return f'grubby --update-kernel=ALL{options}'


def rpm_ostree_kargs(
    add: collections.abc.Sequence[str] = (),
    remove: collections.abc.Sequence[str] = (),
) -> str:
    """Return the command that changes the arguments of the next deployment."""
    options = ''.join(
        f' --{option}="{argument}"'
        for option, arguments in (
            ('delete-if-present', remove),
            ('append-if-missing', add),
        )
        for argument in arguments
    )
    return f'rpm-ostree kargs{options}'


def apply_grub_default(distribution: Family | None) -> str:
    """Return the command that applies ``/etc/default/grub``."""
    if distribution is Family.DEBIAN:
        return 'update-grub'
    return 'grub2-mkconfig -o /boot/grub2/grub.cfg'


def apply_kernel_cmdline(host: host_model.Host) -> str:
    """Return the command that applies ``/etc/kernel/cmdline``."""
    if '-pve' in (host.kernel or ''):
        return 'proxmox-boot-tool refresh'
    return f'kernel-install add {host.kernel} /boot/vmlinuz-{host.kernel}'


def grub_variable(
    host: host_model.Host, arguments: collections.abc.Collection[str]
) -> str:
    """Return the setting of grub that has all of some arguments.

    Without arguments, or if none has them, the one to add new arguments to.
    """
    for setting in host.grub_settings:
        if arguments and set(arguments) <= set(setting.text.split()):
            return f'{setting.name} in {setting.path}'
    return f'{GRUB_VARIABLE} in {GRUB_DEFAULT}'
