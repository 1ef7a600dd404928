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

"""Remedies that change what a host boots with.

:mod:`gpuclient.model.distribution` has the commands of each distribution.
"""

import collections.abc
import dataclasses

from gpuclient.model import distribution
from gpuclient.model import host as host_model
from gpuclient.model import kernel
from gpuclient.rules import passthrough_view
from gpuclient.rules import remedy

_REBOOT = 'then reboot'


@dataclasses.dataclass(frozen=True)
class Change:
    """A change of what a host boots with."""

    #: Kernel arguments, as they are written.
    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()
    #: Lines to add to a file of modprobe.d.
    lines: tuple[str, ...] = ()
    #: Whether to load vfio-pci at boot, before the drivers in ``rivals``.
    early: bool = False
    rivals: tuple[str, ...] = ()


def describe(host: host_model.Host, change: Change) -> str:
    """Return how to make a change to a host, with one reboot at the end."""
    arguments = list(change.add)
    files = []
    lines = [f'the line "{line}"' for line in change.lines]
    if change.early and uses_dracut(host) is False:
        # initramfs-tools does not support rd.driver.pre, and loads the modules
        # of its file after udev has loaded drivers. softdep lines set the
        # order; the file is necessary if all drivers are blacklisted.
        files.append(f'vfio-pci to {distribution.INITRAMFS_TOOLS_MODULES}')
        lines += _softdep_lines(change.rivals)
    elif change.early:
        if not _initramfs_has_vfio(host):
            files.append(
                f'vfio-pci to the initramfs (add_drivers+=" vfio-pci " in a '
                f'file in {distribution.DRACUT_CONF_D})'
            )
        early = kernel.parse(host.kernel_arguments or '').early_drivers
        if passthrough_view.VFIO_PCI not in early:
            arguments.append('rd.driver.pre=vfio-pci')
    if lines:
        files.append(
            f'{" and ".join(lines)} to a file in {distribution.MODPROBE_D}'
        )
    steps = []
    if arguments or change.remove:
        steps.append(_set_arguments(host, arguments, change.remove))
    if files:
        steps += [f'Add {", and ".join(files)}', _capitalize(_rebuild(host))]
    return f'{". ".join(steps)}, {_REBOOT}'


def _softdep_lines(rivals: collections.abc.Sequence[str]) -> list[str]:
    if not rivals:
        return []
    if len(rivals) == 1:
        return [f'the line "{distribution.softdep(rivals[0])}"']
    return [
        f'a line "{distribution.softdep("DRIVER")}" for each of '
        f'{", ".join(rivals)}'
    ]


def _initramfs_has_vfio(host: host_model.Host) -> bool:
    image = host.initramfs
    return passthrough_view.VFIO_PCI in ((image and image.modules) or ())


def _capitalize(text: str) -> str:
    return f'{text[0].upper()}{text[1:]}'


def or_instead(step: str) -> str:
    """Return a step as the alternative to the preceding sentence."""
    return f'Or {step[0].lower()}{step[1:]}'


def wait(
    host: host_model.Host,
    rivals: collections.abc.Iterable[str],
    module: str,
) -> str:
    """Return how to load a module before other drivers.

    :param rivals: The other drivers.
    """
    lines = tuple(distribution.softdep(driver, module) for driver in rivals)
    return describe(host, Change(lines=lines))


def uses_dracut(host: host_model.Host) -> bool | None:
    """Whether dracut builds the initramfs; None where unknown."""
    program = distribution.generator(host)
    return None if program is None else program == 'dracut'


def system(host: host_model.Host) -> str | None:
    """Return the value of ``--system`` for a host: debian or rhel.

    None if the distribution is unknown, or uses another boot loader.
    """
    tool = distribution.argument_tool(host)
    if tool in (
        distribution.ArgumentTool.EDPM,
        distribution.ArgumentTool.GRUBBY,
    ):
        # Derivatives of RHEL that use kernel-install have no grubby.
        return None if host.uses_kernel_install else 'rhel'
    if tool is distribution.ArgumentTool.UPDATE_GRUB:
        return 'debian'
    return None


def add_arguments(host: host_model.Host, *arguments: str) -> str:
    """Return how to add kernel arguments."""
    return describe(host, Change(add=arguments))


def _set_arguments(
    host: host_model.Host,
    add: collections.abc.Sequence[str],
    remove: collections.abc.Sequence[str],
) -> str:
    """Return how to change kernel arguments, without the reboot."""
    tools = distribution.ArgumentTool
    tool = distribution.argument_tool(host)
    if tool is tools.RPM_OSTREE:
        command = distribution.rpm_ostree_kargs(add, remove)
        return f'{_edit("the kernel arguments", add, remove)} ({command})'
    if tool is tools.EDPM:
        edit = _edit(
            'edpm_kernel_args of the OpenStackDataPlaneNodeSet', add, remove
        )
        command = distribution.grubby(add, remove)
        return f'{edit} and deploy it (on this host alone: {command})'
    if tool is tools.GRUBBY:
        command = distribution.grubby(add, remove)
        return f'{_edit("the kernel arguments", add, remove)} ({command})'
    if tool is tools.KERNEL_INSTALL:
        edit = _edit(distribution.KERNEL_CMDLINE, add, remove)
        return f'{edit} and run {distribution.apply_kernel_cmdline(host)}'
    if tool is None:
        return _edit('the kernel arguments', add, remove)
    edit = _edit(distribution.grub_variable(host, remove), add, remove)
    command = distribution.apply_grub_default(distribution.family(host))
    return f'{edit} and run {command}'


def _edit(
    location: str,
    add: collections.abc.Sequence[str],
    remove: collections.abc.Sequence[str],
) -> str:
    added, removed = ' '.join(add), ' '.join(remove)
    if not remove:
        return f'Add {added} to {location}'
    if not add:
        return f'Remove {removed} from {location}'
    return f'Replace {removed} with {added} in {location}'


def reboot(host: host_model.Host, path: str, setting: str) -> str:
    """Return the remedy for a setting that applies at the next boot.

    :param path: The file that sets it.
    """
    if path.startswith(distribution.GRUB_DEFAULT):
        command = distribution.apply_grub_default(distribution.family(host))
    elif path == distribution.KERNEL_CMDLINE:
        command = distribution.apply_kernel_cmdline(host)
    else:
        # A boot loader entry.
        return f'Reboot: {path} already sets {setting}'
    return (
        f'Reboot: {path} already sets {setting} (first run {command}, unless '
        f'you have done so)'
    )


def iommu_first(host: host_model.Host) -> str:
    """Return the remedy for what fails without an IOMMU."""
    if host.iommu_groups_of_others:
        return 'Find out first why no PCI device is in an IOMMU group'
    return 'Turn on the IOMMU first'


def _rebuild(host: host_model.Host) -> str:
    if host.is_ostree:
        return f'run {distribution.REBUILD_OSTREE}'
    program = distribution.generator(host)
    if program is None:
        return 'rebuild the initramfs'
    return f'run {distribution.rebuild_initramfs(program)}'


def rebuild_initramfs(host: host_model.Host) -> str:
    """Return how to rebuild the initramfs and boot with it."""
    return f'{_rebuild(host)}, {_REBOOT}'


def load_early(
    host: host_model.Host, rivals: collections.abc.Iterable[str]
) -> str:
    """Return how to load vfio-pci before other drivers of a card."""
    return describe(host, Change(early=True, rivals=tuple(rivals)))


def creation(view: passthrough_view.View) -> remedy.SuggestedCommand:
    """Return the command that creates all files for the cards for guests."""
    host = view.host
    options = list(
        dict.fromkeys(
            ('device', str(device.address))
            if device.ids in view.ids_that_stay
            else ('id', device.ids)
            for device in view.for_guests
            if device.physical_function is None
        )
    )
    effect = 'creates all of these files'
    if host.is_edpm:
        options.append(('system', 'rhoso'))
    elif system(host) is None and uses_dracut(host) is not None:
        # The commands would be for another boot loader.
        options.append(('system', 'rhel' if uses_dracut(host) else 'debian'))
        effect = 'creates the files, but does not set the kernel arguments'
    return remedy.SuggestedCommand(
        'host config create', tuple(options), effect
    )
