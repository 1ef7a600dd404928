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

"""Rules about a compute host whose GPUs are passed through.

A check that passes returns a result as well, so that a check that did not run
is not mistaken for one that passed.
"""

from gpuclient.model import catalogue
from gpuclient.model import host as host_model
from gpuclient.rules import boot_entry
from gpuclient.rules import check_result
from gpuclient.rules import host_device
from gpuclient.rules import host_iommu
from gpuclient.rules import host_memory
from gpuclient.rules import host_remedy
from gpuclient.rules import iommu_group
from gpuclient.rules import passthrough_view
from gpuclient.rules import placement_reporting
from gpuclient.rules import remedy
from gpuclient.rules import vfio_binding


def check(
    host: host_model.Host,
    intent: passthrough_view.Intent | None = None,
    models: catalogue.Catalogue | None = None,
) -> tuple[check_result.CheckResult, ...]:
    """Return the results of all checks: of the host, then of each device.

    :param intent: The intended use of the host. Without it, a card is for
        guests if it is bound to vfio-pci or claimed by it, or if it is a GPU
        and not the console.
    :param models: GPU models, for their device types.
    """
    view = passthrough_view.View(
        host,
        intent or passthrough_view.Intent(),
        models or catalogue.builtin(),
    )
    results: list[check_result.CheckResult] = []
    for rule in (
        _readable,
        _devices,
        host_iommu.check,
        boot_entry.check,
        host_iommu.check_noiommu_mode,
        _ignored_lines,
        vfio_binding.ids,
        vfio_binding.duplicates,
        _switches,
        host_memory.check,
    ):
        results += rule(view)
    for device in host.devices:
        results += _check_device(view, device)
    # The host first, then device by device.
    return tuple(
        sorted(
            results,
            key=lambda result: (
                () if result.device is None else (result.device,)
            ),
        )
    )


def _check_device(
    view: passthrough_view.View, device: host_model.PciDevice
) -> check_result.Results:
    use = view.uses.get(device.address)
    if use is None:
        return
    for_guests, reason = use
    purpose = 'for guests' if for_guests else 'kept by the host'
    yield from check_result.of_device(
        device.address, [check_result.passed('use', f'{purpose}: {reason}')]
    )
    if not for_guests:
        return
    yield from host_device.check(view, device)
    for rule in (vfio_binding.functions, vfio_binding.race):
        yield from check_result.of_device(device.address, rule(view, device))


def _readable(view: passthrough_view.View) -> check_result.Results:
    check_name = 'readable files'
    for failure in view.host.unreadable:
        yield check_result.warn(
            'GPU460',
            check_name,
            f'could not be read, and is not checked: {failure}',
            'Read the host as root',
        )
    if not view.host.unreadable:
        yield check_result.passed(check_name, 'all files could be read')


def _devices(view: passthrough_view.View) -> check_result.Results:
    check_name = 'devices'
    missing = [
        address
        for address in sorted(view.intent.addresses or ())
        if view.host.device(address) is None
    ]
    for address in missing:
        yield check_result.fail(
            'GPU457',
            check_name,
            f'the host has no PCI device {address}',
            remedy.Remedy(
                'Look for it under another address; it may have moved, or be '
                'powered off',
                remedy.SuggestedCommand(
                    'host show', effect='lists the devices'
                ),
            ),
        )
    for message in view.spec_errors:
        yield check_result.fail(
            'GPU456',
            check_name,
            f'nova-compute would not start: {message}',
            placement_reporting.CORRECT,
        )
    yield from placement_reporting.check(view)
    for spec in view.specs:
        if not any(
            view.spec_of(device) == spec for device in view.host.devices
        ):
            yield check_result.warn(
                'GPU456',
                check_name,
                f'[pci]device_spec {spec.written} matches no device of the '
                f'host',
                remedy.Remedy(
                    'Correct its IDs or its address',
                    remedy.SuggestedCommand(
                        'host show', effect='lists the devices'
                    ),
                ),
            )
    count = len(view.for_guests)
    if not view.host.gpus or not count:
        yield _no_devices(view)
    elif not missing:
        yield check_result.passed(check_name, f'{count} for guests')


def _no_devices(view: passthrough_view.View) -> check_result.CheckResult:
    gpus = len(view.host.gpus)
    if not gpus:
        return check_result.warn(
            'GPU461',
            'devices',
            'the host has no display controller and no processing accelerator',
            'Check that the cards have power, and that the firmware setup '
            'lists them',
        )
    return check_result.warn(
        'GPU461',
        'devices',
        f'none of the {gpus} display controllers and accelerators is for '
        f'guests',
        'Specify the devices for guests with --device, or the configuration '
        'with their [pci]device_spec with --config',
    )


def _ignored_lines(view: passthrough_view.View) -> check_result.Results:
    check_name = 'modprobe.d'
    host = view.host
    for line in host.ignored_lines:
        # Passthrough may depend on it; other lines may be irrelevant.
        about_vfio = 'vfio' in line.text and view.for_guests
        make = check_result.fail if about_vfio else check_result.warn
        yield make(
            'GPU463',
            check_name,
            f'modprobe ignores a line of {line.path}: "{line.text} ..."',
            f'{_correction(line)} in {line.path}, '
            f'{host_remedy.rebuild_initramfs(host)}',
        )
    if not host.ignored_lines:
        yield check_result.passed(
            check_name, f'{len(host.directives)} lines are valid'
        )


def _correction(line: host_model.IgnoredLine) -> str:
    directive = line.text.split()[0]
    if line.meant is None:
        return 'Begin the line with a directive of modprobe.d(5), or with #,'
    if line.meant == directive:
        return f'Complete the arguments of "{directive}" (modprobe.d(5))'
    return f'Write "{line.meant}" in place of "{directive}"'


def _switches(view: passthrough_view.View) -> check_result.Results:
    """Check that the NVSwitches that link GPUs are bound to a driver."""
    check_name = 'NVSwitches'
    switches = [device for device in view.host.devices if device.is_nvswitch]
    linked = [
        device
        for device in view.for_guests
        if any(model.nvswitch for model in view.models_of(device))
    ]
    if not switches or not linked:
        return
    if len(linked) == 1:
        yield check_result.passed(
            check_name,
            f'only {linked[0].address} is for guests, which needs no NVLink',
        )
        return
    unbound = [switch for switch in switches if switch.driver is None]
    if not unbound:
        drivers = dict.fromkeys(str(switch.driver) for switch in switches)
        yield check_result.passed(check_name, f'bound to {", ".join(drivers)}')
        return
    names = ', '.join(iommu_group.name(switch) for switch in unbound)
    yield check_result.warn(
        'GPU465',
        check_name,
        f'not bound to any driver: {names}. The NVLinks of {len(linked)} '
        f'GPUs for guests are not configured: CUDA fails in a server with '
        f'more than one of them (error 802, "system not yet initialized"); a '
        f'server with one works',
        'Run the nvidia driver and the fabric manager on the host '
        '(FABRIC_MODE=1), without a blacklist of nvidia; or pass the switches '
        'through to the server that has all GPUs; or let flavors request one '
        'GPU each (with NVreg_NvLinkDisable=1 in the driver of the guest)',
    )
