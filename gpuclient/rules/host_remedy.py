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

"""How to bring changes to a host of some distribution."""

import collections.abc
import dataclasses

from gpuclient.model import host as host_model
from gpuclient.model import kernel
from gpuclient.rules import passthrough_view

#: Of os-release, ``ID`` and ``ID_LIKE``.
_DEBIAN = ('debian', 'ubuntu')
_RHEL = ('rhel', 'fedora', 'centos')
_SUSE = ('suse', 'opensuse')
_REBOOT = 'then reboot'


@dataclasses.dataclass(frozen=True)
class Change:
    """What a host is to be like at its next boot."""

    #: Kernel arguments, as they are written.
    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()
    #: Lines of a file of modprobe.d.
    lines: tuple[str, ...] = ()
    #: Whether vfio-pci has to be loaded, and before the rivals.
    early: bool = False
    rivals: tuple[str, ...] = ()


def describe(host: host_model.Host, change: Change) -> str:
    """Return how a host gets a change, all of it in one reboot."""
    add = list(change.add)
    files = []
    lines = [f'the line "{line}"' for line in change.lines]
    if change.early and uses_dracut(host) is False:
        # It knows no rd.driver.pre. Its udev has loaded drivers when it loads
        # the modules of this file, so softdep has to put these in order; the
        # file is for cards whose drivers are all blacklisted.
        files.append('vfio-pci into /etc/initramfs-tools/modules')
        if len(change.rivals) == 1:
            lines.append(f'the line "{softdep(change.rivals[0])}"')
        elif change.rivals:
            lines.append(
                f'a line "{softdep("DRIVER")}" for each of '
                f'{", ".join(change.rivals)}'
            )
    elif change.early:
        if not _has_module(host):
            files.append(
                'vfio-pci into the initramfs (add_drivers+=" vfio-pci " in a '
                'file in /etc/dracut.conf.d)'
            )
        given = kernel.parse(host.kernel_arguments or '').early_drivers
        if passthrough_view.VFIO_PCI not in given:
            add.append('rd.driver.pre=vfio-pci')
    if lines:
        files.append(f'{" and ".join(lines)} into a file in /etc/modprobe.d')
    steps = []
    if add or change.remove:
        steps.append(_arguments(host, ' '.join(add), ' '.join(change.remove)))
    if files:
        steps.append(f'Put {", and ".join(files)}, {_initramfs(host)}')
    return f'{". ".join(steps)}, {_REBOOT}'


def _has_module(host: host_model.Host) -> bool:
    image = host.initramfs
    return passthrough_view.VFIO_PCI in ((image and image.modules) or ())


def softdep(driver: str, module: str = 'vfio-pci') -> str:
    """Return the line of modprobe.d that has a module loaded before."""
    return f'softdep {driver} pre: {module}'


def wait(
    host: host_model.Host,
    rivals: collections.abc.Iterable[str],
    module: str,
) -> str:
    """Return how drivers come to wait for a name that no module has."""
    lines = tuple(softdep(one, module) for one in rivals)
    return describe(host, Change(lines=lines))


def _is(
    host: host_model.Host, family: collections.abc.Collection[str]
) -> bool:
    return any(name in family for name in host.distribution)


def uses_dracut(host: host_model.Host) -> bool | None:
    """Whether dracut makes the initramfs; None where nothing tells."""
    maker = None if host.initramfs is None else host.initramfs.maker
    if maker is not None:
        return maker == 'dracut'
    if len(host.initramfs_makers) == 1:
        return 'dracut' in host.initramfs_makers
    if _is(host, (*_RHEL, *_SUSE)):
        return True
    return False if _is(host, _DEBIAN) else None


def system(host: host_model.Host) -> str | None:
    """Return how files and commands for a host are made: debian or rhel.

    None where nothing tells, or its boot loader is none of theirs.
    """
    if host.is_ostree or _is(host, _SUSE) or host.uses_kernel_install:
        return None
    if _is(host, _RHEL):
        return 'rhel'
    return 'debian' if _is(host, _DEBIAN) else None


def add_arguments(host: host_model.Host, *arguments: str) -> str:
    """Return how the host gets kernel arguments."""
    return describe(host, Change(add=arguments))


def _arguments(host: host_model.Host, add: str, remove: str) -> str:
    """Return how kernel arguments are changed, but for the reboot."""
    if host.is_ostree:
        # dnf and grubby do nothing for such a host.
        options = ''.join(
            f' --{option}="{one}"'
            for option, text in (
                ('delete-if-present', remove),
                ('append-if-missing', add),
            )
            for one in text.split()
        )
        change = _change('the kernel arguments', add, remove)
        return f'{change} (rpm-ostree kargs{options})'
    if _is(host, _RHEL):
        options = ''.join(
            f' --{option}="{text}"'
            for option, text in (('remove-args', remove), ('args', add))
            if text
        )
        grubby = f'grubby --update-kernel=ALL{options}'
        if host.is_edpm:
            where = 'edpm_kernel_args of the OpenStackDataPlaneNodeSet'
            change = _change(where, add, remove)
            return f'{change}, and deploy it (on the host alone: {grubby})'
        return f'{_change("the kernel arguments", add, remove)} ({grubby})'
    if _is(host, _SUSE):
        change = _change(_grub_variable(host, remove), add, remove)
        return f'{change}, run grub2-mkconfig -o /boot/grub2/grub.cfg'
    if host.uses_kernel_install:
        change = _change('/etc/kernel/cmdline', add, remove)
        return f'{change}, run {_kernel_install(host)}'
    if _is(host, _DEBIAN):
        change = _change(_grub_variable(host, remove), add, remove)
        return f'{change}, run update-grub'
    return _change('the kernel arguments', add, remove)


def reboot(host: host_model.Host, path: str, what: str) -> str:
    """Return that the next boot has what a file has."""
    if path.startswith('/etc/default/grub'):
        command = 'update-grub' if _is(host, _DEBIAN) else 'grub2-mkconfig'
    elif path == '/etc/kernel/cmdline':
        command = _kernel_install(host)
    else:
        # An entry of the boot loader.
        return f'Reboot: {path} has {what}'
    return (
        f'Reboot: {path} has {what} (run {command} before, unless that was '
        f'done)'
    )


def _kernel_install(host: host_model.Host) -> str:
    """Return what makes boot entries of ``/etc/kernel/cmdline``."""
    if '-pve' in (host.kernel or ''):
        return 'proxmox-boot-tool refresh'
    return f'kernel-install add {host.kernel} /boot/vmlinuz-{host.kernel}'


def _change(where: str, add: str, remove: str) -> str:
    if not remove:
        return f'Add {add} to {where}'
    if not add:
        return f'Remove {remove} from {where}'
    return f'Remove {remove} from {where}, and add {add} there'


def _grub_variable(host: host_model.Host, remove: str) -> str:
    """Return what has the arguments that are to go, or is to have others."""
    for one in host.grub_settings:
        if remove and set(remove.split()) <= set(one.text.split()):
            return f'{one.name} in {one.path}'
    return 'GRUB_CMDLINE_LINUX in /etc/default/grub'


def _initramfs(host: host_model.Host) -> str:
    if host.is_ostree:
        return 'run rpm-ostree initramfs --enable'
    dracut = uses_dracut(host)
    if dracut is None:
        return 'make the initramfs anew'
    return 'run dracut --force' if dracut else 'run update-initramfs -u'


def remake_initramfs(host: host_model.Host) -> str:
    """Return how the initramfs is made anew, and comes into force."""
    return f'{_initramfs(host)}, {_REBOOT}'


def load_early(
    host: host_model.Host, rivals: collections.abc.Iterable[str]
) -> str:
    """Return how vfio-pci is loaded before other drivers of a card."""
    return describe(host, Change(early=True, rivals=tuple(rivals)))


def creation(view: passthrough_view.View) -> str:
    """Return what writes all files that the cards for guests need."""
    host = view.host
    choice = dict.fromkeys(
        f'--device {one.address}'
        if one.ids in view.ids_that_stay
        else f'--id {one.ids}'
        for one in view.for_guests
        if one.physical_function is None
    )
    words = ['openstack gpu host config create', *choice]
    made = 'makes all files'
    if host.is_edpm:
        words.append('--system rhoso')
    elif system(host) is None and uses_dracut(host) is not None:
        # Its commands would be those of another boot loader.
        words.append(f'--system {"rhel" if uses_dracut(host) else "debian"}')
        made = 'makes the files, though not the kernel arguments'
    return f'"{" ".join(words)}" {made}'
