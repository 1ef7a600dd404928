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

from gpuclient.model import host as host_model

#: Of os-release, ``ID`` and ``ID_LIKE``.
_DEBIAN = ('debian', 'ubuntu')
_RHEL = ('rhel', 'fedora', 'centos', 'suse', 'opensuse')
_REBOOT = 'then reboot'


def _is(
    host: host_model.Host, family: collections.abc.Collection[str]
) -> bool:
    return any(name in family for name in host.distribution)


def uses_dracut(host: host_model.Host) -> bool | None:
    """Whether dracut makes the initramfs; None where nothing tells."""
    maker = None if host.initramfs is None else host.initramfs.maker
    if maker is not None:
        return maker == 'dracut'
    if _is(host, _RHEL):
        return True
    return False if _is(host, _DEBIAN) else None


def add_arguments(host: host_model.Host, text: str) -> str:
    """Return how the host gets kernel arguments."""
    return _change_arguments(host, 'Add', 'to', 'args', text)


def remove_arguments(host: host_model.Host, text: str) -> str:
    """Return how the host gets rid of kernel arguments."""
    return _change_arguments(host, 'Remove', 'from', 'remove-args', text)


def _change_arguments(
    host: host_model.Host, verb: str, where: str, option: str, text: str
) -> str:
    change = f'{verb} {text} {where}'
    if _is(host, _RHEL):
        how = (
            f'{change} the kernel arguments (grubby --update-kernel=ALL '
            f'--{option}="{text}")'
        )
    elif _is(host, _DEBIAN):
        how = (
            f'{change} GRUB_CMDLINE_LINUX in /etc/default/grub, run '
            f'update-grub'
        )
    else:
        how = f'{change} the kernel arguments'
    return f'{how}, {_REBOOT}'


def remake_initramfs(host: host_model.Host) -> str:
    """Return how the initramfs is made anew."""
    dracut = uses_dracut(host)
    if dracut is None:
        return f'make the initramfs anew, {_REBOOT}'
    command = 'dracut --force' if dracut else 'update-initramfs -u'
    return f'run {command}, {_REBOOT}'


def load_early(host: host_model.Host) -> str:
    """Return how vfio-pci is loaded before all other drivers."""
    if uses_dracut(host) is False:
        # initramfs-tools knows no rd.driver.pre.
        return (
            f'Put vfio-pci into /etc/initramfs-tools/modules and a line '
            f'"softdep DRIVER pre: vfio-pci" for each of these drivers into '
            f'a file in /etc/modprobe.d, {remake_initramfs(host)}'
        )
    return (
        f'Put vfio-pci into the initramfs (add_drivers+=" vfio-pci " in a '
        f'file in /etc/dracut.conf.d), add the kernel argument '
        f'rd.driver.pre=vfio-pci, {remake_initramfs(host)}'
    )
