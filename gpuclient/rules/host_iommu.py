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

"""Rules about the IOMMU of a host."""

from gpuclient.model import cpu
from gpuclient.model import host as host_model
from gpuclient.model import kernel
from gpuclient.rules import check_result
from gpuclient.rules import host_remedy
from gpuclient.rules import passthrough_view

#: For each vendor, the ACPI table of the IOMMU, its name in the firmware
#: setup, and the prefix of its messages in dmesg.
_FIRMWARE: dict[cpu.Vendor | None, tuple[str, str, str]] = {
    cpu.Vendor.INTEL: ('DMAR', 'VT-d', 'DMAR'),
    cpu.Vendor.AMD: ('IVRS', 'the IOMMU (AMD-Vi)', 'AMD-Vi'),
    cpu.Vendor.ARM: ('IORT', 'the SMMU', 'SMMU'),
}
#: Models of libvirt's ``<iommu>`` element, for virtual machines.
_LIBVIRT_MODELS: dict[cpu.Vendor | None, str] = {
    cpu.Vendor.INTEL: 'intel',
    cpu.Vendor.AMD: 'amd',
    cpu.Vendor.ARM: 'smmuv3',
}
#: For each vendor, the kernel argument for CPUs of the other vendor.
_OF_OTHER_VENDOR: dict[cpu.Vendor | None, tuple[str, cpu.Vendor]] = {
    cpu.Vendor.AMD: ('intel_iommu', cpu.Vendor.INTEL),
    cpu.Vendor.INTEL: ('amd_iommu', cpu.Vendor.AMD),
}
_NOIOMMU = 'enable_unsafe_noiommu_mode'


def check(view: passthrough_view.View) -> check_result.Results:
    """Check that the IOMMU is on, and its kernel arguments and mode."""
    yield _is_on(view)
    yield _arguments(view)
    if view.host.iommu_on:
        yield _mode(view)


def _is_on(view: passthrough_view.View) -> check_result.CheckResult:
    check_name = 'IOMMU'
    host = view.host
    if host.iommu_on:
        count = len({device.group for device in host.devices} - {None})
        units = f' ({", ".join(host.iommus)})' if host.iommus else ''
        return check_result.passed(check_name, f'on: {count} groups{units}')
    if host.iommu_groups_of_others:
        return _no_pci_groups(view)
    reason, how = _why_off(view)
    # Without devices for guests, the host works without an IOMMU.
    make = check_result.fail if view.for_guests else check_result.warn
    of_vfio = any(device.group is not None for device in host.devices)
    groups = 'only those that VFIO creates' if of_vfio else 'none'
    return make(
        'GPU420',
        check_name,
        f'off (IOMMU groups: {groups}), so no device can be passed through: '
        f'{reason}',
        how,
    )


def _no_pci_groups(view: passthrough_view.View) -> check_result.CheckResult:
    """Return the result for an IOMMU that serves no PCI device."""
    host = view.host
    count = len(host.iommu_groups_of_others)
    groups = '1 group' if count == 1 else f'{count} groups'
    units = f' ({", ".join(host.iommus)})' if host.iommus else ''
    make = check_result.fail if view.for_guests else check_result.warn
    return make(
        'GPU428',
        'IOMMU',
        f'on: {groups}{units}, but no PCI device is in one, so none can be '
        f'passed through',
        'Check whether the IOMMU of this host serves its PCI devices: the '
        'firmware describes it (iommu-map of the PCI host bridge in the '
        'device tree, or the ACPI table DMAR, IVRS or IORT), and dmesg shows '
        'what the kernel reports. Without that, no PCI device of the host '
        'can be passed through',
    )


def _why_off(view: passthrough_view.View) -> tuple[str, str]:
    """Return why the IOMMU of a host is off, and what to do."""
    host = view.host
    # On Arm, no argument turns the SMMU off.
    off = (
        None if host.cpu_vendor is cpu.Vendor.ARM else view.arguments.iommu_off
    )
    if off is not None:
        return (
            f'the kernel was started with {off}',
            host_remedy.describe(host, _turn_on(view, off)),
        )
    table = _FIRMWARE.get(host.iommu_vendor, ('', '', ''))[0]
    if (
        table
        and host.acpi_tables is not None
        and table not in host.acpi_tables
    ):
        return f'the firmware has no {table} table', _in_firmware(host)
    if (
        host.iommu_vendor is cpu.Vendor.INTEL
        and host.kernel_arguments is not None
        and not view.arguments.intel_iommu_on
        and not view.arguments.withholds('intel_iommu')
    ):
        return (
            'the kernel was started without intel_iommu=on',
            _add_intel_iommu(view),
        )
    pattern = _FIRMWARE.get(host.iommu_vendor, ('', '', 'IOMMU'))[2]
    return (
        'the reason is not known',
        f'{_in_firmware(host)}; "dmesg | grep -i {pattern}" shows what the '
        f'kernel reports',
    )


def _in_firmware(host: host_model.Host) -> str:
    """Return how to turn on the IOMMU, or add one to a virtual machine."""
    if host.is_virtual:
        text = 'Add an IOMMU to this virtual machine'
        model = _LIBVIRT_MODELS.get(host.iommu_vendor)
        return f'{text} (libvirt: <iommu model="{model}">)' if model else text
    setting = _FIRMWARE.get(host.iommu_vendor, ('', 'the IOMMU', ''))[1]
    if host.cpu_vendor is cpu.Vendor.ARM:
        return (
            f'Check whether the board has an SMMU: without one it cannot '
            f'pass devices through. If it has one, turn on {setting} in the '
            f'firmware setup'
        )
    return f'Turn on {setting} in the firmware setup'


def _add_intel_iommu(view: passthrough_view.View) -> str:
    for path, arguments in view.later:
        if arguments.intel_iommu_on:
            return host_remedy.reboot(view.host, path, 'intel_iommu=on')
    return host_remedy.add_arguments(view.host, 'intel_iommu=on', 'iommu=pt')


def _turn_on(view: passthrough_view.View, off: str) -> host_remedy.Change:
    """Return the change that removes the argument that turns the IOMMU off.

    :param off: The argument, such as ``iommu=off``.
    """
    name, _equals, value = off.partition('=')
    written = view.arguments.written(name)
    remove = tuple(
        argument
        for argument in written
        if value in argument.removeprefix(f'{name}=').split(',')
    )
    left = kernel.CommandLine(
        tuple(
            argument
            for argument in view.arguments.arguments
            if argument.key != name
            or f'{argument.name}={argument.value}' not in remove
        )
    )
    add = []
    # Intel's IOMMU is only on by default in some kernels.
    if view.host.iommu_vendor is cpu.Vendor.INTEL and not left.intel_iommu_on:
        add.append('intel_iommu=on')
    if not left.iommu_passthrough:
        add.append('iommu=pt')
    return host_remedy.Change(add=tuple(add), remove=remove)


def _arguments(view: passthrough_view.View) -> check_result.CheckResult:
    check_name = 'IOMMU arguments'
    host = view.host
    vendor = host.iommu_vendor
    foreign = _OF_OTHER_VENDOR.get(vendor)
    if foreign is None or not view.arguments.has(foreign[0]):
        shown = [
            argument.name
            if argument.value is None
            else f'{argument.name}={argument.value}'
            for argument in view.arguments.arguments
            if argument.key in ('iommu', 'intel_iommu', 'amd_iommu')
            or argument.key.startswith('iommu.')
        ]
        return check_result.passed(check_name, ' '.join(shown) or 'none')
    name, its_vendor = foreign
    make = check_result.warn if host.iommu_on else check_result.fail
    # AMD's IOMMU is on by default.
    add = vendor is cpu.Vendor.INTEL and not view.arguments.intel_iommu_on
    change = host_remedy.Change(
        remove=view.arguments.written(name),
        add=('intel_iommu=on',) if add else (),
    )
    return make(
        'GPU421',
        check_name,
        f'{name} is for CPUs of {its_vendor.label}, but this host has '
        f'{host.cpu_vendor_id}: the argument has no effect',
        host_remedy.describe(host, change),
    )


def _mode(view: passthrough_view.View) -> check_result.CheckResult:
    check_name = 'IOMMU mode'
    host = view.host
    domains = {group.domain for group in host.groups} - {None}
    bypassed = view.arguments.iommu_passthrough
    if domains:
        # The kernel always translates for devices that it does not trust.
        bypassed = domains == {'identity'} or (
            bypassed and 'identity' in domains
        )
    if bypassed:
        return check_result.passed(
            check_name, 'identity: devices of the host bypass the IOMMU'
        )
    types = ', '.join(sorted(filter(None, domains))) or 'not known'
    return check_result.warn(
        'GPU422',
        check_name,
        f"the IOMMU translates memory accesses of the host's own devices "
        f'(group type {types}), which slows down network and storage',
        host_remedy.add_arguments(host, host.passthrough_argument),
    )


def check_noiommu_mode(view: passthrough_view.View) -> check_result.Results:
    """Check that VFIO does not use devices without an IOMMU."""
    check_name = 'no-IOMMU mode'
    host = view.host
    without = [
        device
        for device in host.devices
        if device.group is not None and not host.has_iommu(device)
    ]
    if not host.unsafe_noiommu_mode and not without:
        yield check_result.passed(check_name, 'off')
        return
    groups = ''.join(
        f'; group {device.group} of {device.address} has no IOMMU'
        for device in without
    )
    # Without effect if all devices are in groups of an IOMMU.
    make = check_result.fail if without else check_result.warn
    yield make(
        'GPU462',
        check_name,
        f'{_NOIOMMU} of vfio is on. It is for programs such as DPDK; servers '
        f'cannot use devices in this mode (QEMU: "failed to open '
        f'/dev/vfio/...: No such file or directory"){groups}',
        f'Turn on the IOMMU, and remove {_NOIOMMU} from '
        f'{_noiommu_source(view)}, {host_remedy.rebuild_initramfs(host)}',
    )


def _noiommu_source(view: passthrough_view.View) -> str:
    if view.arguments.has(f'vfio.{_NOIOMMU}'):
        return 'the kernel arguments'
    paths = [
        directive.path
        for directive in view.host.directives
        if (directive.command, directive.module) == ('options', 'vfio')
        and _NOIOMMU in directive.rest
    ]
    return ', '.join(paths) or 'the command that loads vfio'
