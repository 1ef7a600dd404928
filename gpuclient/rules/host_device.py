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

"""Rules about a device that is for guests.

Each takes a view of the host and a device, and yields verdicts on the one
thing that it looks at.
"""

import collections.abc
import dataclasses

from gpuclient.model import cpu
from gpuclient.model import host as host_model
from gpuclient.model import kernel
from gpuclient.rules import vfio_binding
from gpuclient.rules import host_remedy
from gpuclient.rules import passthrough_view
from gpuclient.rules import check_result

Verdicts = collections.abc.Iterator[check_result.CheckResult]

_NVIDIA = 'nvidia'
#: The module of NVIDIA's Virtual GPU Manager.
_VGPU = 'nvidia_vgpu_vfio'
#: Since then, no device is given away of which firmware goes on using memory,
#: whosever the IOMMU is.
_DIRECT = (6, 6)
#: Since then, ``reserved_regions`` has "direct-relaxable".
_RELAXABLE = (5, 3)


def check(
    view: passthrough_view.View, device: host_model.PciDevice
) -> collections.abc.Iterator[check_result.CheckResult]:
    """Yield what there is to say of a device that is for guests."""
    for rule in (
        _driver,
        _group,
        _device_type,
        _bars,
        _sriov,
        _boot_vga,
        _reset,
        _power,
        _numa_node,
        _cpus,
        _huge_pages,
    ):
        yield from check_result.of_device(device.address, rule(view, device))


def is_harmless(device: host_model.PciDevice) -> bool:
    """Whether a device may stay as it is in the group of one that is given.

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
    """Return address, ids and driver: ``0000:04:00.1 (10de:10ef, none)``."""
    return f'{device.address} ({device.ids}, {device.driver or "no driver"})'


def _driver(
    view: passthrough_view.View, device: host_model.PciDevice
) -> Verdicts:
    check = 'driver'
    driver = device.driver
    if passthrough_view.is_vfio(driver):
        yield _of_vfio(device)
        return
    claim = view.claim(device)
    spec = view.spec_of(device)
    managed = spec is None or spec.tags.get('managed') != 'false'
    if device.physical_function is not None and driver == _NVIDIA:
        is_set_up = spec is None and _VGPU in view.host.modules
        yield _of_vgpu(managed and not is_set_up)
        return
    if driver is not None and driver not in passthrough_view.HARMLESS_DRIVERS:
        if view.host.iommu_on:
            remedy = _claim_remedy(view, device)
        else:
            remedy = 'Turn the IOMMU on first: vfio-pci does nothing without'
        yield check_result.fail('GPU424', check, f'{driver} has it', remedy)
        return
    has = f'{driver} has it' if driver else 'no driver has it'
    if not view.host.iommu_on:
        yield check_result.fail(
            'GPU425',
            check,
            f'{has}: without an IOMMU vfio-pci refuses it (error -22)',
            'Turn the IOMMU on first',
        )
        return
    override = device.driver_override
    if managed and claim is None and not view.ids and override is None:
        pending = _pending(view, device)
        if pending is not None:
            yield check_result.warn(
                'GPU425',
                check,
                f'{has} until the next boot: {pending[0]} has {device.ids} in '
                f'vfio-pci.ids',
                _claim_remedy(view, device),
            )
            return
        yield check_result.warn(
            'GPU425',
            check,
            f'{has}, and nothing gives it to vfio-pci at boot: libvirt does '
            f'so when a server starts (managed: yes), unless another driver '
            f'comes first',
            _claim_remedy(view, device),
        )
        return
    loaded = 'is' if view.vfio_is_loaded else 'is not'
    reason = (
        f'although vfio-pci claims it ({claim.where}), and {loaded} loaded'
        if claim is not None
        else f'driver_override leaves it to {override}'
        if override is not None
        else 'vfio-pci.ids leaves it out'
        if view.ids
        else 'and device_spec says managed: no, so libvirt will not bind it'
    )
    yield check_result.fail(
        'GPU425',
        check,
        f'{has}, {reason}',
        _claim_remedy(view, device),
    )


def _of_vfio(device: host_model.PciDevice) -> check_result.CheckResult:
    wanted = host_model.VARIANTS.get(device.ids)
    if wanted is None or device.driver != 'vfio-pci':
        return check_result.passed('driver', f'{device.driver} has it')
    return check_result.warn(
        'GPU464',
        'driver',
        f'vfio-pci has it, with which a guest sees nothing of its memory: '
        f'that is memory of the CPU, which {wanted} shows',
        f'Take {device.ids} out of vfio-pci.ids. {_variant(device, wanted)}',
    )


def _variant(device: host_model.PciDevice, driver: str) -> str:
    """Return how a driver of VFIO that takes no ids gets a device."""
    return (
        f'Load {driver} at boot, write it to driver_override of '
        f'{device.address} before other drivers are loaded, and have managed: '
        f'no in its [pci]device_spec'
    )


def _of_vgpu(managed: bool) -> check_result.CheckResult:
    """Judge a VF of NVIDIA's, whose driver is one of VFIO for VFs.

    :param managed: Whether libvirt would take it from its driver.

    "Vendor-specific VFIO framework" of NVIDIA's vGPU documentation; Nova
    leaves such a device alone with ``managed``: no
    (``nova/virt/libvirt/driver.py:_get_guest_pci_device``).
    """
    if not managed:
        return check_result.passed(
            'driver', 'nvidia has it, for vGPU (with managed: no)'
        )
    return check_result.warn(
        'GPU424',
        'driver',
        'nvidia has it, which serves VFs itself where vGPU is set up; libvirt '
        'would take it away (managed: yes)',
        'For vGPU, have managed: no in its [pci]device_spec; else give it to '
        'vfio-pci when the VFs have been made',
    )


def _claim_remedy(
    view: passthrough_view.View, device: host_model.PciDevice
) -> str:
    """Return how vfio-pci gets a device at the next boot."""
    if device.physical_function is not None:
        return (
            f'Write vfio-pci to driver_override of {device.address} when the '
            f'VFs have been made, or let libvirt do so (managed: yes)'
        )
    variant = host_model.VARIANTS.get(device.ids)
    if variant is not None:
        return _variant(device, variant)
    pending = _pending(view, device)
    if pending is not None:
        path, arguments = pending
        change = _in_time(view, device, host_remedy.Change())
        if (
            change == host_remedy.Change()
            or passthrough_view.VFIO_PCI in arguments.early_drivers
        ):
            return host_remedy.reboot(
                view.host, path, f'vfio-pci.ids with {device.ids}'
            )
        return (
            f'{path} has vfio-pci.ids with {device.ids} for the next boot. '
            f'{host_remedy.describe(view.host, change)}; '
            f'{host_remedy.creation(view)}'
        )
    steps = []
    override = device.driver_override
    if override is not None and not passthrough_view.is_vfio(override):
        steps.append(
            f'Take away what writes {override} to driver_override of '
            f'{device.address} (a line of modprobe.d, a udev rule, driverctl)'
        )
    claim = view.claim(device)
    change = host_remedy.Change()
    if claim is None and not view.caught(device):
        if device.ids in view.ids_that_stay:
            steps.append(
                f'Write vfio-pci to driver_override of {device.address} '
                f'before the driver is loaded: others with its ids stay with '
                f'the host'
            )
            return '. '.join((*steps, host_remedy.creation(view)))
        change = vfio_binding.with_ids(
            view, (device, *view.host.functions(device))
        )
    if device.driver == passthrough_view.PCI_STUB:
        steps += [
            f'Take {device.ids} out of the options of pci-stub in {one.path}'
            for one in view.host.directives
            if (one.command, one.module) == ('options', 'pci_stub')
            and device.ids in one.rest.lower()
        ]
        change = _without_stub(view, device, change)
    change = _in_time(view, device, change)
    if steps and change == host_remedy.Change():
        steps[-1] += ', then reboot'
    else:
        steps.append(_at_next_boot(view, change))
    return f'{". ".join(steps)}; {host_remedy.creation(view)}'


def _at_next_boot(
    view: passthrough_view.View, change: host_remedy.Change
) -> str:
    if change == host_remedy.Change():
        # All is there, and in time.
        return 'Reboot; if that does not help, see "dmesg | grep vfio"'
    return host_remedy.describe(view.host, change)


def _without_stub(
    view: passthrough_view.View,
    device: host_model.PciDevice,
    change: host_remedy.Change,
) -> host_remedy.Change:
    """Add to a change what takes a device from pci-stub."""
    name = f'{passthrough_view.PCI_STUB}.ids'
    left = [
        word
        for word in view.arguments.words(name)
        if not word.lower().startswith(device.ids)
    ]
    return dataclasses.replace(
        change,
        remove=(*change.remove, *view.arguments.written(name)),
        add=(*change.add, *([f'{name}={",".join(left)}'] if left else ())),
    )


def _in_time(
    view: passthrough_view.View,
    device: host_model.PciDevice,
    change: host_remedy.Change,
) -> host_remedy.Change:
    """Add to a change what loads vfio-pci before drivers of a card."""
    if vfio_binding.is_first(view, device):
        return change
    blacklisted = _to_blacklist(view, device)
    return dataclasses.replace(
        change,
        early=True,
        lines=tuple(f'blacklist {one}' for one in blacklisted),
        rivals=tuple(
            one
            for one in vfio_binding.rivals(view, device)
            if one not in blacklisted
        ),
    )


def _to_blacklist(
    view: passthrough_view.View, device: host_model.PciDevice
) -> tuple[str, ...]:
    """Return the driver that has a GPU, where the host has no need of it."""
    if device.driver is None:
        return ()
    module = host_model.module(device.driver)
    if module not in host_model.GPU_DRIVERS.get(
        device.vendor_id or '', ()
    ) or any(
        one.driver is not None and host_model.module(one.driver) == module
        for one in view.host.devices
        if one not in view.for_guests and one.physical_function is None
    ):
        return ()
    on_top = view.host.on_top(device)
    return (module, *(top for top, driver in on_top if driver == module))


def _pending(
    view: passthrough_view.View, device: host_model.PciDevice
) -> tuple[str, kernel.CommandLine] | None:
    """Return the file by which the next boot gives a device to vfio-pci."""
    if view.caught(device):
        return None
    for path, arguments in view.later:
        if any(
            passthrough_view.matches(one, device) for one in arguments.vfio_ids
        ):
            return path, arguments
    return None


def _group(
    view: passthrough_view.View, device: host_model.PciDevice
) -> Verdicts:
    check = 'group'
    host = view.host
    if device.group is None or not host.has_iommu(device):
        if host.iommu_on:
            yield check_result.fail(
                'GPU428',
                check,
                'it is in no IOMMU group, though others are',
                'See whether the firmware has the IOMMU on for its slot, and '
                'dmesg for what the kernel says of it',
            )
        else:
            yield check_result.fail(
                'GPU428',
                check,
                'it is in no IOMMU group: there is no IOMMU',
                'Turn the IOMMU on first',
            )
        return
    siblings = host.siblings(device)
    bad = [one for one in siblings if not is_harmless(one)]
    functions = host.functions(device)
    if bad:
        fixed = [
            one
            for one in bad
            if host_model.module(one.driver or '')
            in (host.builtin_modules or ())
        ]
        if fixed:
            drivers = dict.fromkeys(str(one.driver) for one in fixed)
            remedy = (
                f'{", ".join(drivers)} is part of the kernel and always '
                f'first: when the host has booted, write the address to '
                f'unbind of the driver and vfio-pci to driver_override of '
                f'the device'
            )
            if 'pci_stub' in (host.builtin_modules or ()):
                remedy += '; or take the device away with pci-stub.ids'
        elif all(one in functions for one in bad):
            remedy = _of_functions(view, device, bad)
        else:
            remedy = (
                'Give these to vfio-pci, too, where the host can do without; '
                'or turn ACS on in the firmware, or put the card into '
                'another slot'
            )
        yield check_result.fail(
            'GPU426',
            check,
            f'group {device.group} is not viable: it has '
            f'{", ".join(map(name, bad))}',
            remedy,
        )
    record = host.group(device.group)
    # drivers/iommu/intel/iommu.c:device_rmrr_is_relaxable
    by_intel = host.iommu_vendor == host_model.INTEL
    # drivers/iommu/iommu.c:__iommu_device_set_domain
    by_all = host.kernel_version >= _DIRECT
    if (
        record is not None
        and 'direct' in record.reserved
        and (by_intel or by_all)
        and not (by_intel and _is_relaxed(view, (device, *siblings)))
    ):
        kept = f'firmware keeps memory for group {device.group}'
        yield check_result.fail(
            'GPU427',
            check,
            f'{kept} (RMRR): the kernel refuses it "due to platform RMRR '
            f'requirement"'
            if by_intel
            else f'{kept}: the kernel refuses it ("Firmware has requested '
            f'this device have a 1:1 IOMMU mapping")',
            'Turn off in the firmware setup what uses the card (management '
            'access to it), or ask the vendor for firmware without'
            if by_intel
            else 'Turn DMA protection (its indicator, that before boot) off '
            'in the firmware setup, or ask the vendor for firmware without',
        )
        bad = [device]
    others = [
        one
        for one in siblings
        if one not in functions and view.uses.get(one.address, (False, ''))[0]
    ]
    if others:
        yield check_result.warn(
            'GPU429',
            check,
            f'group {device.group} has {", ".join(map(name, others))}, too, '
            f'for guests: a group can only go to one server at a time',
            'Turn ACS on in the firmware or put the cards into slots of '
            'groups of their own; else let flavors ask for all of them',
        )
    elif not bad:
        have = (
            f' with {", ".join(map(name, siblings))}'
            if siblings
            else ', alone'
        )
        yield check_result.passed(check, f'group {device.group}{have}')


def _is_relaxed(
    view: passthrough_view.View,
    devices: collections.abc.Iterable[host_model.PciDevice],
) -> bool:
    """Whether a kernel lets devices go although firmware keeps memory.

    It does with those for display and USB; before Linux 5.3 it does not tell
    such regions from others
    (``drivers/iommu/intel-iommu.c:device_is_rmrr_locked``).
    """
    return (0, 0) < view.host.kernel_version < _RELAXABLE and all(
        device.base_class == host_model.DISPLAY_CONTROLLER
        or device.device_class == host_model.USB_CONTROLLER
        or device.is_bridge
        for device in devices
    )


def _of_functions(
    view: passthrough_view.View,
    device: host_model.PciDevice,
    functions: collections.abc.Sequence[host_model.PciDevice],
) -> str:
    """Return how vfio-pci gets functions of a card that it has."""
    claim = view.claim(device)
    if claim is not None and not claim.by_ids:
        addresses = ', '.join(str(one.address) for one in functions)
        how = f'Write vfio-pci to driver_override of {addresses}, too'
    else:
        change = _in_time(view, device, vfio_binding.with_ids(view, functions))
        how = _at_next_boot(view, change)
    return (
        f'Give the other functions of the card to vfio-pci as well. {how}; '
        f'{host_remedy.creation(view)}'
    )


def _device_type(
    view: passthrough_view.View, device: host_model.PciDevice
) -> Verdicts:
    check = 'device type'
    found = device.device_type
    aliases = view.aliases_of(device)
    # An alias without a type takes any but a PF
    # (nova/pci/stats.py:_filter_pools_for_pfs).
    fitting = [
        one
        for one in aliases
        if one.device_type == found
        or (one.device_type is None and found != 'type-PF')
    ]
    if aliases and not fitting:
        asked = ', '.join(
            f'alias {one.name!r} asks for {one.device_type or "no type"}'
            for one in aliases
        )
        yield check_result.fail(
            'GPU436',
            check,
            f'libvirt says {found}; {asked}',
            f'Give the alias device_type {found}, on nova-api and the '
            f'computes; or change whether the card exposes SR-IOV',
        )
        return
    models = view.models_of(device)
    expected = {one for model in models for one in model.device_types}
    if expected and found != 'type-VF' and found not in expected:
        yield check_result.warn(
            'GPU437',
            check,
            f'libvirt says {found}; {models[0].name} is '
            f'{" or ".join(sorted(expected))}',
            (
                'Turn on SR-IOV, ARI and memory above 4 GiB in the firmware '
                'setup; or have device_type type-PCI in the alias'
                # QEMU does not show SR-IOV to a virtual machine.
                if found == 'type-PCI' and not view.host.is_virtual
                else f'Have device_type {found} in the alias'
            ),
        )
        return
    known = f', as {models[0].name} has it' if found in expected else ''
    asked = ''.join(f'; alias {one.name!r} asks for it' for one in fitting[:1])
    yield check_result.passed(check, f'{found}{known}{asked}')


def _bars(
    view: passthrough_view.View, device: host_model.PciDevice
) -> Verdicts:
    check = 'BARs'
    missing = device.bars_without_memory
    if device.responds is False or device.physical_function is not None:
        # It is told of elsewhere; a VF has those of its PF.
        return
    if not missing:
        yield check_result.passed(
            check, f'there is room for all, {device.bar_bytes >> 20} MiB'
        )
        return
    numbers = ', '.join(map(str, missing))
    yield check_result.fail(
        'GPU443',
        check,
        f'there was no room for BAR {numbers}: the driver of the guest will '
        f'refuse it ("BAR{missing[0]} is 0M")',
        'Turn memory above 4 GiB on in the firmware setup, and more of it for '
        'devices. Or: ' + host_remedy.add_arguments(view.host, 'pci=realloc'),
    )


def _sriov(
    view: passthrough_view.View, device: host_model.PciDevice
) -> Verdicts:
    check = 'SR-IOV'
    if device.physical_function is not None:
        yield check_result.passed(
            check, f'it is a VF of {device.physical_function}'
        )
    elif device.has_sriov_capability and device.sriov_total_vfs is None:
        yield check_result.warn(
            'GPU438',
            check,
            'it has the capability, and the kernel offers no VFs: libvirt '
            'says type-PCI',
            'Turn SR-IOV on in the firmware setup, so that VFs get memory; '
            'else have device_type type-PCI in the alias',
        )
    elif device.sriov_num_vfs or device.virtual_functions:
        count = device.sriov_num_vfs or len(device.virtual_functions)
        yield check_result.warn(
            'GPU439',
            check,
            f'it is for guests as a whole, and has {count} VFs',
            # "Virtual GPU Software User Guide" of NVIDIA.
            f'Run /usr/lib/nvidia/sriov-manage -d {device.address}, and take '
            f'away what makes them at boot; or give the VFs to guests and '
            f'not the card'
            if device.driver == _NVIDIA
            else f'Write 0 to sriov_numvfs of {device.address}, or give the '
            f'VFs to guests and not the card',
        )
    elif device.sriov_total_vfs:
        yield check_result.passed(
            check, f'it can have {device.sriov_total_vfs} VFs, and has none'
        )
    elif device.has_sriov_capability is None:
        yield check_result.passed(check, 'the kernel offers no VFs')
    else:
        yield check_result.passed(check, 'it has no such capability')


def _boot_vga(
    view: passthrough_view.View, device: host_model.PciDevice
) -> Verdicts:
    check = 'boot VGA'
    framebuffers = ', '.join(view.host.framebuffers)
    if framebuffers and _may_be_console(view, device):
        yield check_result.warn(
            'GPU440',
            check,
            f'the console of the host may be on it ({framebuffers}): the '
            f'kernel has no boot_vga for a display controller that is not '
            f'VGA, and no other device is the boot VGA. vfio-pci cannot '
            f'reserve its memory then ("BAR 0: can\'t reserve")',
            _release_framebuffer(view),
        )
        return
    if not device.boot_vga:
        yield check_result.passed(check, 'the console is not on it')
        return
    if not framebuffers:
        # vfio-pci removes it since Linux 6.0
        # (drivers/vfio/pci/vfio_pci_core.c:vfio_pci_vga_init).
        yield check_result.passed(
            check,
            'the firmware shows its messages on it; the console of the host '
            'does not hold its memory',
        )
        return
    yield check_result.warn(
        'GPU440',
        check,
        f'the firmware shows its messages on it, and the console of the host '
        f'may hold its memory ({framebuffers}): "BAR 1: can\'t reserve"',
        _release_framebuffer(view),
    )


def _may_be_console(
    view: passthrough_view.View, device: host_model.PciDevice
) -> bool:
    """Whether a framebuffer may be on a device, and nothing tells.

    Only VGA devices have ``boot_vga``
    (``drivers/pci/pci-sysfs.c:pci_dev_attrs_are_visible``), and only of these
    does vfio-pci remove a framebuffer
    (``drivers/vfio/pci/vfio_pci_core.c:vfio_pci_vga_init``).
    """
    return (
        device.boot_vga is None
        and device.device_class == host_model.OTHER_DISPLAY
        and device.physical_function is None
        and not any(other.boot_vga for other in view.host.devices)
    )


def _release_framebuffer(view: passthrough_view.View) -> str:
    return (
        'Choose another card for the display in the firmware setup. Or: '
        + host_remedy.add_arguments(view.host, 'initcall_blacklist=sysfb_init')
    )


def _reset(
    view: passthrough_view.View, device: host_model.PciDevice
) -> Verdicts:
    check = 'reset'
    methods = device.reset_methods
    if methods:
        yield check_result.passed(check, ', '.join(methods))
    elif methods == () and _resets_with_bus(view, device):
        yield check_result.passed(
            check, 'with its bus, of which vfio-pci has all functions'
        )
    elif methods is None:
        yield check_result.warn(
            'GPU441',
            check,
            'how it is reset could not be read',
            'Read /sys/bus/pci/devices/.../reset_method as root',
        )
    else:
        yield check_result.warn(
            'GPU441',
            check,
            'the kernel knows no way to reset it: a server gets it as the '
            'one before left it, memory and all',
            'Look for firmware of the card that has FLR; else do not share '
            'the card between tenants',
        )


def _resets_with_bus(
    view: passthrough_view.View, device: host_model.PciDevice
) -> bool:
    """Whether vfio-pci resets a card that has no reset of its own.

    The kernel offers a function no reset of the bus that others are on, too
    (``drivers/pci/pci.c:pci_parent_bus_reset``); vfio-pci does it when it has
    all of them and the last is closed
    (``drivers/vfio/pci/vfio_pci_core.c:vfio_pci_dev_set_try_reset``). A root
    bus, which is the first one of its domain, has none.
    """
    place = device.address
    others = [
        other
        for other in view.host.devices
        if (other.address.domain, other.address.bus)
        == (place.domain, place.bus)
        and other.address != place
    ]
    return (
        place.bus != 0
        and bool(others)
        and all(
            passthrough_view.is_vfio(function.driver)
            for function in (device, *others)
        )
    )


def _power(
    view: passthrough_view.View, device: host_model.PciDevice
) -> Verdicts:
    check = 'power'
    state = device.power_state
    idle = view.host.vfio_pci_parameters.get('disable_idle_d3')
    if state == 'D3cold':
        yield check_result.warn(
            'GPU442',
            check,
            'it is in D3cold: some cards do not come back ("Unable to change '
            'power state from D3cold to D0, device inaccessible")',
            # Options of modprobe.d do nothing for what is no module.
            host_remedy.add_arguments(view.host, 'vfio-pci.disable_idle_d3=1')
            if view.vfio_is_builtin
            else 'Put "options vfio-pci disable_idle_d3=1" into a file in '
            f'/etc/modprobe.d, {host_remedy.remake_initramfs(view.host)}',
        )
    # Any device that a driver has left is "unknown", and not ill
    # (drivers/pci/pci-driver.c:pci_device_remove).
    elif device.responds is False or state == 'error':
        yield check_result.fail(
            'GPU423',
            check,
            'it does not answer: its configuration space reads as all ones'
            if device.responds is False
            else f'its power state is {state}',
            'Turn the host off and on again (a reboot may not do); look at '
            'power cables and seating of the card',
        )
    else:
        cold = {True: 'D3cold allowed', False: 'D3cold not allowed'}.get(
            device.d3cold_allowed  # type: ignore[arg-type]
        )
        parts = [state or 'no state known', cold]
        if idle is not None:
            parts.append(f'disable_idle_d3={idle}')
        yield check_result.passed(
            check, ', '.join(one for one in parts if one)
        )


def _numa_node(
    view: passthrough_view.View, device: host_model.PciDevice
) -> Verdicts:
    check = 'NUMA node'
    count = len(view.host.nodes)
    if device.numa_node is not None:
        yield check_result.passed(check, f'node {device.numa_node} of {count}')
    elif count > 1:
        yield check_result.warn(
            'GPU445',
            check,
            f'the firmware does not say which of {count} nodes it is on: '
            f'Nova takes it for a device of none, which policy "required" '
            f'never matches',
            f'Update the firmware; until then write the node to numa_node of '
            f'{device.address} in sysfs at each boot, before libvirt starts, '
            f'or use numa_policy "preferred"',
        )
    else:
        yield check_result.passed(check, 'the host has one node')


def _cpus(
    view: passthrough_view.View, device: host_model.PciDevice
) -> Verdicts:
    """Check that pinned servers find CPUs on the device's node."""
    check = 'CPUs'
    node = next(
        (one for one in view.host.nodes if one.number == device.numa_node),
        None,
    )
    dedicated = view.intent.dedicated_cpus
    what = 'cpu_dedicated_set' if dedicated is not None else 'isolated CPUs'
    pinned = dedicated if dedicated is not None else view.isolated_cpus
    if node is None or not pinned:
        return
    here = pinned & node.cpus
    if here:
        yield check_result.passed(
            check, f'{len(here)} of {what} on node {node.number}'
        )
        return
    yield check_result.warn(
        'GPU452',
        check,
        f'none of {what} is on node {node.number}, where the card is: '
        f'servers with pinned CPUs get it across sockets, or with numa '
        f'policy "required" not at all',
        f'Isolate CPUs of node {node.number}, too, and have them in '
        f'cpu_dedicated_set',
    )


def _huge_pages(
    view: passthrough_view.View, device: host_model.PciDevice
) -> Verdicts:
    """Check that the device's node has huge pages where the host has."""
    check = 'huge pages'
    pools = {
        one.number: sum(pool.total for pool in one.huge_pages)
        for one in view.host.nodes
    }
    if device.numa_node not in pools or not any(pools.values()):
        return
    if pools[device.numa_node]:
        node = next(
            one for one in view.host.nodes if one.number == device.numa_node
        )
        yield check_result.passed(
            check,
            f'node {node.number} has '
            + ', '.join(
                f'{pool.total} of {cpu.render_size(pool.size_kib * cpu.KIB)}'
                for pool in node.huge_pages
                if pool.total
            ),
        )
        return
    yield check_result.warn(
        'GPU446',
        check,
        f'node {device.numa_node}, where the card is, has none; other nodes '
        f'have',
        f'Let the kernel spread them evenly: {_spread(view)}',
    )


def _spread(view: passthrough_view.View) -> str:
    by_node = [one for one in view.arguments.huge_pages.pools if one.per_node]
    return (
        ', '.join(
            f'hugepages={one.count} in place of hugepages='
            + ','.join(f'{node}:{count}' for node, count in one.per_node)
            for one in by_node
        )
        or 'hugepages=COUNT, without a node'
    )
