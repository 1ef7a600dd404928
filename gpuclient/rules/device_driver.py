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

"""Rules about the driver that a device for guests is bound to."""

import collections.abc
import dataclasses

from gpuclient.model import host as host_model
from gpuclient.model import kernel
from gpuclient.rules import check_result
from gpuclient.rules import host_remedy
from gpuclient.rules import passthrough_view
from gpuclient.rules import remedy
from gpuclient.rules import vfio_binding

_CHECK = 'driver'
_NVIDIA = 'nvidia'
#: The module of NVIDIA's Virtual GPU Manager.
_VGPU = 'nvidia_vgpu_vfio'


def check(
    view: passthrough_view.View, device: host_model.PciDevice
) -> check_result.Results:
    """Check that a device is bound to vfio-pci, or will be."""
    driver = device.driver
    spec = view.spec_of(device)
    managed = (
        spec is None
        or not spec.has_key('managed')
        or spec.tags['managed'] != 'false'
    )
    if passthrough_view.is_vfio(driver):
        yield _bound_to_vfio(device)
    elif device.physical_function is not None and driver == _NVIDIA:
        is_set_up = spec is None and _VGPU in view.host.modules
        yield _bound_to_vgpu(managed and not is_set_up)
    elif driver is None or driver in passthrough_view.HARMLESS_DRIVERS:
        yield _not_bound(view, device, managed=managed)
    else:
        yield check_result.fail(
            'GPU424',
            _CHECK,
            f'bound to {driver}, not to vfio-pci',
            bind_at_boot(view, device)
            if view.host.iommu_on
            else f'{host_remedy.iommu_first(view.host)}: without '
            f'an IOMMU, vfio-pci does not bind',
        )


def _not_bound(
    view: passthrough_view.View, device: host_model.PciDevice, *, managed: bool
) -> check_result.CheckResult:
    """Return the result for a device without a driver, or with pci-stub."""
    driver = device.driver
    state = f'bound to {driver}' if driver else 'not bound to any driver'
    if not view.host.iommu_on:
        return check_result.fail(
            'GPU425',
            _CHECK,
            f'{state}: without an IOMMU, vfio-pci fails to bind (error -22)',
            host_remedy.iommu_first(view.host),
        )
    how = bind_at_boot(view, device)
    claim = view.claim(device)
    override = device.driver_override
    if managed and claim is None and not view.ids and override is None:
        pending = _pending(view, device)
        if pending is not None:
            return check_result.warn(
                'GPU425',
                _CHECK,
                f'{state} until the next boot: vfio-pci.ids in {pending[0]} '
                f'has {device.ids}',
                how,
            )
        return check_result.warn(
            'GPU425',
            _CHECK,
            f'{state}, and not configured to be bound to vfio-pci at boot: '
            f'libvirt binds it when a server starts (managed: yes), unless '
            f'another driver does so before',
            how,
        )
    loaded = 'is' if view.vfio_is_loaded else 'is not'
    if claim is not None:
        reason = (
            f'although vfio-pci claims it ({claim.where}) and {loaded} loaded'
        )
    elif override is not None:
        reason = f'and driver_override allows only {override}'
    elif view.ids:
        reason = 'and vfio-pci.ids does not have its IDs'
    else:
        reason = (
            'and its [pci]device_spec has managed: no, so libvirt does not '
            'bind it'
        )
    return check_result.fail('GPU425', _CHECK, f'{state}, {reason}', how)


def _bound_to_vfio(device: host_model.PciDevice) -> check_result.CheckResult:
    wanted = host_model.VARIANTS.get(device.ids)
    if wanted is None or device.driver != 'vfio-pci':
        return check_result.passed(_CHECK, f'bound to {device.driver}')
    return check_result.warn(
        'GPU464',
        _CHECK,
        f'bound to vfio-pci, which does not show its memory to the guest: it '
        f'is part of the memory of the CPU, which {wanted} maps',
        f'Remove {device.ids} from vfio-pci.ids. '
        f'{_bind_variant(device, wanted)}',
    )


def _bind_variant(device: host_model.PciDevice, driver: str) -> str:
    """Return how to bind a device to a VFIO driver that takes no ids."""
    return (
        f'Load {driver} at boot, write it to driver_override of '
        f'{device.address} before other drivers are loaded, and set managed '
        f'to no in its [pci]device_spec'
    )


def _bound_to_vgpu(managed: bool) -> check_result.CheckResult:
    """Return the result for an NVIDIA VF, whose own driver is one of VFIO.

    :param managed: Whether libvirt would unbind it from its driver.

    "Vendor-specific VFIO framework" of NVIDIA's vGPU documentation; Nova
    leaves such a device alone with ``managed``: no
    (``nova/virt/libvirt/driver.py:_get_guest_pci_device``).
    """
    if not managed:
        return check_result.passed(
            _CHECK, 'bound to nvidia, for vGPU (managed: no)'
        )
    return check_result.warn(
        'GPU424',
        _CHECK,
        'bound to nvidia, which serves VFs itself where vGPU is set up: '
        'libvirt would unbind it when a server starts (managed: yes)',
        'For vGPU, set managed to no in its [pci]device_spec; otherwise bind '
        'it to vfio-pci when the VFs have been created',
    )


def bind_at_boot(
    view: passthrough_view.View, device: host_model.PciDevice
) -> remedy.Remedy:
    """Return how to have a device bound to vfio-pci from the next boot."""
    if device.physical_function is not None:
        return remedy.Remedy(
            f'Write vfio-pci to driver_override of {device.address} when the '
            f'VFs have been created, or let libvirt bind it (managed: yes)'
        )
    variant = host_model.VARIANTS.get(device.ids)
    if variant is not None:
        return remedy.Remedy(_bind_variant(device, variant))
    pending = _pending(view, device)
    if pending is not None:
        return _complete(view, device, *pending)
    steps = [*_stop_override(view, device)]
    change = host_remedy.Change()
    if view.claim(device) is None and not view.caught(device):
        if device.ids in view.ids_that_stay:
            steps.append(
                f'Write vfio-pci to driver_override of {device.address} '
                f'before its driver is loaded: the host keeps other devices '
                f'with the same IDs'
            )
            return remedy.Remedy('. '.join(steps), host_remedy.creation(view))
        change = vfio_binding.with_ids(
            view, (device, *view.host.functions(device))
        )
    if device.driver == passthrough_view.PCI_STUB:
        steps += [
            f'Remove {device.ids} from the options of pci-stub in '
            f'{directive.path}'
            for directive in view.host.directives
            if (directive.command, directive.module) == ('options', 'pci_stub')
            and device.ids in directive.rest.lower()
        ]
        change = _without_stub(view, device, change)
    change = load_in_time(view, device, change)
    if steps and change == host_remedy.Change():
        steps[-1] += ', then reboot'
    else:
        steps.append(at_next_boot(view, change))
    return remedy.Remedy('. '.join(steps), host_remedy.creation(view))


def _complete(
    view: passthrough_view.View,
    device: host_model.PciDevice,
    path: str,
    arguments: kernel.CommandLine,
) -> remedy.Remedy:
    """Return what a device still needs whose ids the next boot has."""
    change = load_in_time(view, device, host_remedy.Change())
    if (
        change == host_remedy.Change()
        or passthrough_view.VFIO_PCI in arguments.early_drivers
    ):
        return remedy.Remedy(
            host_remedy.reboot(
                view.host, path, f'vfio-pci.ids with {device.ids}'
            )
        )
    return remedy.Remedy(
        f'{path} already sets vfio-pci.ids with {device.ids}. '
        f'{host_remedy.describe(view.host, change)}',
        host_remedy.creation(view),
    )


def _stop_override(
    view: passthrough_view.View, device: host_model.PciDevice
) -> collections.abc.Iterator[str]:
    override = device.driver_override
    if override is not None and not passthrough_view.is_vfio(override):
        yield (
            f'Remove what writes {override} to driver_override of '
            f'{device.address} (a line of modprobe.d, a udev rule, driverctl)'
        )


def at_next_boot(
    view: passthrough_view.View, change: host_remedy.Change
) -> str:
    """Return how to make a change; just to reboot where there is none."""
    if change == host_remedy.Change():
        # All of it is configured, and in time.
        return 'Reboot; if that does not help, look at "dmesg | grep vfio"'
    return host_remedy.describe(view.host, change)


def _without_stub(
    view: passthrough_view.View,
    device: host_model.PciDevice,
    change: host_remedy.Change,
) -> host_remedy.Change:
    """Add to a change what removes a device from ``pci-stub.ids``."""
    name = f'{passthrough_view.PCI_STUB}.ids'
    left = [
        ids
        for ids in view.arguments.items(name)
        if not ids.lower().startswith(device.ids)
    ]
    return dataclasses.replace(
        change,
        remove=(*change.remove, *view.arguments.written(name)),
        add=(*change.add, *([f'{name}={",".join(left)}'] if left else ())),
    )


def load_in_time(
    view: passthrough_view.View,
    device: host_model.PciDevice,
    change: host_remedy.Change,
) -> host_remedy.Change:
    """Add to a change what loads vfio-pci before the drivers of a card."""
    if vfio_binding.is_first(view, device):
        return change
    blacklisted = _to_blacklist(view, device)
    return dataclasses.replace(
        change,
        early=True,
        lines=tuple(f'blacklist {module}' for module in blacklisted),
        rivals=tuple(
            module
            for module in vfio_binding.rivals(view, device)
            if module not in blacklisted
        ),
    )


def _to_blacklist(
    view: passthrough_view.View, device: host_model.PciDevice
) -> tuple[str, ...]:
    """Return the driver of a GPU, if no device that stays needs it."""
    if device.driver is None:
        return ()
    module = host_model.module(device.driver)
    if module not in host_model.GPU_DRIVERS.get(
        device.vendor_id or '', ()
    ) or any(
        other.driver is not None and host_model.module(other.driver) == module
        for other in view.host.devices
        if other not in view.for_guests and other.physical_function is None
    ):
        return ()
    on_top = view.host.on_top(device)
    return (module, *(top for top, driver in on_top if driver == module))


def _pending(
    view: passthrough_view.View, device: host_model.PciDevice
) -> tuple[str, kernel.CommandLine] | None:
    """Return the file that binds a device to vfio-pci at the next boot."""
    if view.caught(device):
        return None
    for path, arguments in view.later:
        if any(
            passthrough_view.matches(ids, device) for ids in arguments.vfio_ids
        ):
            return path, arguments
    return None
