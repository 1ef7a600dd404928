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

"""Rules about the IOMMU group of a device for guests."""

import collections.abc

from gpuclient.model import cpu
from gpuclient.model import host as host_model
from gpuclient.rules import check_result
from gpuclient.rules import device_driver
from gpuclient.rules import host_remedy
from gpuclient.rules import passthrough_view
from gpuclient.rules import remedy
from gpuclient.rules import vfio_binding

_CHECK = 'group'
#: From this release, Linux refuses every device whose memory the firmware
#: goes on using, with any IOMMU.
_DIRECT = (6, 6)
#: From this release, ``reserved_regions`` has "direct-relaxable".
_RELAXABLE = (5, 3)


def check(
    view: passthrough_view.View, device: host_model.PciDevice
) -> check_result.Results:
    """Check that the group of a device can be assigned to a server."""
    if device.group is None or not view.host.has_iommu(device):
        yield _no_group(view)
        return
    siblings = view.host.siblings(device)
    refusals = [
        *_not_viable(view, device, siblings),
        *_reserved_memory(view, device, siblings),
    ]
    yield from refusals
    functions = view.host.functions(device)
    others = [
        sibling
        for sibling in siblings
        if sibling not in functions
        and view.uses.get(sibling.address, (False, ''))[0]
    ]
    if others:
        yield check_result.warn(
            'GPU429',
            _CHECK,
            f'group {device.group} also contains {_names(others)}, which '
            f'{"is" if len(others) == 1 else "are"} for guests, too: all '
            f'devices of a group must be assigned to the same server',
            'Turn on ACS in the firmware setup, or move the cards to slots '
            'with groups of their own; otherwise let flavors request all of '
            'them',
        )
    elif not refusals:
        rest = f' with {_names(siblings)}' if siblings else ', alone'
        yield check_result.passed(_CHECK, f'group {device.group}{rest}')


def is_harmless(device: host_model.PciDevice) -> bool:
    """Whether a device may be in the group of one that is passed through.

    It has no driver, one that does not touch it, or VFIO's own, or it is a
    bridge (``drivers/vfio/vfio.c:vfio_dev_viable``; since Linux 5.19
    ``drivers/iommu/iommu.c:iommu_group_claim_dma_owner``).
    """
    return (
        device.driver is None
        or device.driver in passthrough_view.HARMLESS_DRIVERS
        or passthrough_view.is_vfio(device.driver)
        or device.is_bridge
    )


def name(device: host_model.PciDevice) -> str:
    """Return address, ids and driver: ``0000:04:00.1 (10de:10ef, xe)``."""
    return f'{device.address} ({device.ids}, {device.driver or "no driver"})'


def _names(devices: collections.abc.Iterable[host_model.PciDevice]) -> str:
    return ', '.join(map(name, devices))


def _no_group(view: passthrough_view.View) -> check_result.CheckResult:
    if view.host.iommu_on:
        return check_result.fail(
            'GPU428',
            _CHECK,
            'in no IOMMU group, although other devices are: it cannot be '
            'passed through',
            'Check in the firmware setup that the IOMMU is on for its slot, '
            'and in dmesg what the kernel reports about it',
        )
    if view.host.iommu_groups_of_others:
        return check_result.fail(
            'GPU428',
            _CHECK,
            'in no IOMMU group: the IOMMU of the host has groups, but no PCI '
            'device is in one',
            host_remedy.iommu_first(view.host),
        )
    return check_result.fail(
        'GPU428',
        _CHECK,
        'in no IOMMU group: the host has no IOMMU that is on',
        host_remedy.iommu_first(view.host),
    )


def _not_viable(
    view: passthrough_view.View,
    device: host_model.PciDevice,
    siblings: collections.abc.Iterable[host_model.PciDevice],
) -> check_result.Results:
    """Check that no driver of the host is bound to a device of the group."""
    bound = [sibling for sibling in siblings if not is_harmless(sibling)]
    if bound:
        yield check_result.fail(
            'GPU426',
            _CHECK,
            f'group {device.group} is not viable: it also contains '
            f'{_names(bound)}',
            _unbind(view, device, bound),
        )


def _unbind(
    view: passthrough_view.View,
    device: host_model.PciDevice,
    bound: collections.abc.Sequence[host_model.PciDevice],
) -> str | remedy.Remedy:
    """Return how to unbind devices of a group from drivers of the host."""
    builtin = view.host.builtin_modules or ()
    drivers = dict.fromkeys(
        str(sibling.driver)
        for sibling in bound
        if host_model.module(sibling.driver or '') in builtin
    )
    if drivers:
        text = (
            f'Unbind the device after each boot, because '
            f'{", ".join(drivers)} is built into the kernel and always binds '
            f'first: write its address to unbind of the driver and vfio-pci '
            f'to its driver_override'
        )
        if 'pci_stub' in builtin:
            text += '; or bind it to pci-stub with pci-stub.ids'
        return text
    functions = view.host.functions(device)
    if all(sibling in functions for sibling in bound):
        return _bind_functions(view, device, bound)
    return (
        'Bind these to vfio-pci, too, if the host does not need them; '
        'otherwise turn on ACS in the firmware setup, or move the card to '
        'another slot'
    )


def _bind_functions(
    view: passthrough_view.View,
    device: host_model.PciDevice,
    functions: collections.abc.Sequence[host_model.PciDevice],
) -> remedy.Remedy:
    """Return how to bind functions of a card to vfio-pci as the card is."""
    claim = view.claim(device)
    if claim is not None and not claim.by_ids:
        addresses = ', '.join(str(function.address) for function in functions)
        how = f'Write vfio-pci to driver_override of {addresses}, too'
    else:
        change = device_driver.load_in_time(
            view, device, vfio_binding.with_ids(view, functions)
        )
        how = device_driver.at_next_boot(view, change)
    return remedy.Remedy(
        f'Bind the other functions of the card to vfio-pci as well. {how}',
        host_remedy.creation(view),
    )


def _reserved_memory(
    view: passthrough_view.View,
    device: host_model.PciDevice,
    siblings: collections.abc.Iterable[host_model.PciDevice],
) -> check_result.Results:
    """Check that the firmware does not go on using memory with the group."""
    host = view.host
    group = None if device.group is None else host.group(device.group)
    # drivers/iommu/intel/iommu.c:device_rmrr_is_relaxable
    by_intel = host.iommu_vendor is cpu.Vendor.INTEL
    # drivers/iommu/iommu.c:__iommu_device_set_domain
    by_all = host.kernel_version >= _DIRECT
    if (
        group is None
        or 'direct' not in group.reserved
        or not (by_intel or by_all)
        or (by_intel and _is_relaxed(view, (device, *siblings)))
    ):
        return
    reserved = f'the firmware reserves memory for group {device.group}'
    if by_intel:
        yield check_result.fail(
            'GPU427',
            _CHECK,
            f'{reserved} (RMRR): the kernel refuses to assign it ("due to '
            f'platform RMRR requirement")',
            'Turn off in the firmware setup what uses the card (management '
            'access to it), or ask the vendor for firmware that does not '
            'reserve it',
        )
        return
    yield check_result.fail(
        'GPU427',
        _CHECK,
        f'{reserved}: the kernel refuses to assign it ("Firmware has '
        f'requested this device have a 1:1 IOMMU mapping")',
        'Turn off DMA protection in the firmware setup (the option for '
        'before boot, and its indicator), or ask the vendor for firmware '
        'that does not reserve it',
    )


def _is_relaxed(
    view: passthrough_view.View,
    devices: collections.abc.Iterable[host_model.PciDevice],
) -> bool:
    """Whether the kernel assigns devices although memory is reserved.

    It does so with display and USB controllers; before Linux 5.3 it does not
    tell such regions from others
    (``drivers/iommu/intel-iommu.c:device_is_rmrr_locked``).
    """
    return (0, 0) < view.host.kernel_version < _RELAXABLE and all(
        device.base_class == host_model.DISPLAY_CONTROLLER
        or device.device_class == host_model.USB_CONTROLLER
        or device.is_bridge
        for device in devices
    )
