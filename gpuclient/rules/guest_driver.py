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

"""Drivers of GPUs in a guest: their modules, libraries and firmware."""

import collections.abc

from gpuclient.model import catalogue
from gpuclient.model import guest_log
from gpuclient.rules import guest_result

Kind = guest_log.Kind
Result = guest_result.Result


def check_modules(
    log: guest_log.GuestLog, models: catalogue.Catalogue
) -> guest_result.Results:
    """Report modules of the wrong kind, and GPUs that a driver lacks."""
    for event in guest_result.first_of_each_device(
        log.of(Kind.NEEDS_OPEN_MODULES)
    ):
        yield guest_result.of_event(
            event,
            Result.FAIL,
            'GPU784',
            'The proprietary kernel modules are installed, but this GPU only '
            'works with the open ones',
            'Replace the driver by the same branch with open kernel modules '
            '(nvidia-open, nvidia-driver-NNN-open), and reboot the guest',
        )
    for event in guest_result.first_of_each_device(
        log.of(Kind.NEEDS_CLOSED_MODULES)
    ):
        yield _without_gsp(event, models)
    for event in log.of(Kind.OPEN_MODULES_NOT_READY)[:1]:
        yield guest_result.of_event(
            event,
            Result.FAIL,
            'GPU784',
            'The open kernel modules of this old branch refuse cards that are '
            'not of the data center',
            'Install a newer branch of the driver, or the proprietary kernel '
            'modules, and reboot the guest',
        )
    for event in guest_result.first_of_each_device(log.of(Kind.LEGACY)):
        yield guest_result.of_event(
            event,
            Result.FAIL,
            'GPU785',
            'The installed driver no longer supports this GPU',
            'Install the legacy branch of the driver that the message names',
        )
    for event in guest_result.first_of_each_device(log.of(Kind.UNSUPPORTED)):
        yield _unsupported(event, models)


def _without_gsp(
    event: guest_log.Event, models: catalogue.Catalogue
) -> guest_result.GuestResult:
    known = _models_of(event, models)
    if known and known[0].open_kernel_modules in ('required', 'supported'):
        return guest_result.of_event(
            event,
            Result.UNKNOWN,
            'GPU784',
            'The open kernel modules found no system processor (GSP) on the '
            f'{known[0].name}, which has one: they could not read it. The log '
            'does not show why',
            f'{guest_result.RESET}. Ask the operator of the cloud whether the '
            'card is in another mode (confidential computing, vGPU)',
        )
    return guest_result.of_event(
        event,
        Result.FAIL,
        'GPU784',
        'The open kernel modules are installed, but this GPU has no system '
        'processor (GSP), which they need',
        'Replace the driver by the same branch with proprietary kernel '
        'modules, and reboot the guest',
    )


def _models_of(
    event: guest_log.Event, models: catalogue.Catalogue
) -> tuple[catalogue.Model, ...]:
    vendor, _colon, product = event.value('ids').partition(':')
    return models.by_ids(vendor or None, product or None)


def _unsupported(
    event: guest_log.Event, models: catalogue.Catalogue
) -> guest_result.GuestResult:
    known = _models_of(event, models)
    floor = next((model.driver_floor for model in known), None)
    branch = event.value('version').partition('.')[0]
    if floor is None or not branch:
        return guest_result.of_event(
            event,
            Result.UNKNOWN,
            'GPU785',
            'The driver says that it does not support this GPU. The catalogue '
            'does not know which branch does',
            'Look the IDs up in the list of supported GPUs of the branches: '
            'branches after 580 support Turing and newer GPUs only, and '
            'Kepler needs 470. If the installed branch lists it, stop and '
            'start the server, which resets the card',
        )
    if int(branch) < int(floor):
        return guest_result.of_event(
            event,
            Result.FAIL,
            'GPU785',
            f'Branch {branch} of the driver is older than the {known[0].name}:'
            f' it is supported since branch {floor}',
            f'Install branch {floor} of the driver or a newer one, and reboot '
            'the guest',
        )
    return guest_result.of_event(
        event,
        Result.UNKNOWN,
        'GPU785',
        f'The driver says that it does not support this GPU, although branch '
        f'{branch} supports the {known[0].name} (since {floor}). So it could '
        'not read from the card what it is; the log does not show why',
        f'{guest_result.RESET}. Ask the operator '
        'of the cloud whether the card is in another mode (confidential '
        'computing, vGPU)',
    )


#: Modules of drivers that have another name.
_MODULES = {'NovaCore': 'nova_core'}


def check_nouveau(
    log: guest_log.GuestLog, _models: catalogue.Catalogue
) -> guest_result.Results:
    """Report another driver that is bound to the GPU."""
    nouveau = log.of(Kind.NOUVEAU)
    remedy = (
        'Blacklist nouveau (a file in /etc/modprobe.d with "blacklist '
        'nouveau" and "options nouveau modeset=0"), rebuild the initramfs, '
        'and reboot the guest'
    )
    conflicts = log.of(Kind.BOUND_TO_ANOTHER)
    for event in guest_result.first_of_each_device(conflicts[:1]):
        driver = event.value('driver') or ('nouveau' if nouveau else '')
        module = _MODULES.get(driver, driver)
        yield guest_result.of_event(
            event,
            Result.FAIL,
            'GPU786',
            f'{driver or "Another driver"} is bound to the GPU, so the NVIDIA '
            'driver cannot use it',
            remedy
            if driver == 'nouveau'
            else f'Unload {module or "the other driver"}, and blacklist it in '
            'the guest ("lspci -nnk" shows the driver in use)',
        )
    if conflicts:
        return
    in_use = [device for device in log.gpus if device.driver == 'nouveau']
    for device in in_use:
        yield guest_result.GuestResult(
            Result.FAIL,
            'nouveau is bound to the GPU: CUDA and the tools of the NVIDIA '
            'driver do not work',
            'GPU786',
            device.text,
            device.line,
            f'{remedy}. Install the NVIDIA driver if it is not installed',
            device.address,
        )
    if in_use or not nouveau or log.of(Kind.NVIDIA_LOADED, Kind.RUNNING):
        return
    if any(device.driver for device in log.gpus):
        return
    for event in guest_result.first_of_each_device(nouveau):
        yield guest_result.of_event(
            event,
            Result.WARN,
            'GPU786',
            'nouveau has initialized the GPU, and no NVIDIA driver was '
            'loaded: CUDA does not work',
            f'{remedy}. Install the NVIDIA driver if it is not installed',
        )


def check_signatures(
    log: guest_log.GuestLog, _models: catalogue.Catalogue
) -> guest_result.Results:
    """Report modules that the kernel refuses under Secure Boot."""
    remedy = (
        'Install modules with a signature that the guest trusts (the packages '
        'of the distribution), or enroll the key that signed them ("mokutil '
        '--import", then reboot), or boot without Secure Boot '
        '(os_secure_boot=disabled on the image)'
    )
    events = log.of(Kind.MODULE_REJECTED)
    named = [event for event in events if event.value('module')]
    for event in named[:1]:
        yield guest_result.of_event(
            event,
            Result.FAIL,
            'GPU787',
            f'The kernel refused the module {event.value("module")}, because '
            'it is not signed with a key that the guest trusts (Secure Boot)',
            remedy,
        )
    if named or log.of(Kind.NVIDIA_LOADED, Kind.RUNNING):
        # The refused module is another one.
        return
    for event in events[:1]:
        yield guest_result.of_event(
            event,
            Result.WARN,
            'GPU787',
            'The kernel refused a module without a trusted signature (Secure '
            'Boot). The log does not say which; no NVIDIA driver was loaded',
            f'Run "modprobe nvidia" in the guest: if it says that the key was '
            f'rejected, do this. {remedy}',
        )


def check_versions(
    log: guest_log.GuestLog, _models: catalogue.Catalogue
) -> guest_result.Results:
    """Report libraries of another version than the loaded module."""
    for event in guest_result.first_of_each_device(
        log.of(Kind.VERSION_MISMATCH)
    ):
        versions = event.value('versions')
        yield guest_result.of_event(
            event,
            Result.FAIL,
            'GPU789',
            'The libraries of the driver have another version than the loaded '
            'kernel module' + (f' ({versions})' if versions else ''),
            'Reboot the guest, so that the module of the installed version is '
            'loaded. If that does not help, install both from one source, and '
            'rebuild the initramfs',
        )


def check_firmware(
    log: guest_log.GuestLog, _models: catalogue.Catalogue
) -> guest_result.Results:
    """Report firmware of the GPU that is missing or does not start."""
    events = log.of(Kind.FIRMWARE_FAILED)
    named = [event for event in events if event.value('file')]
    for event in guest_result.first_of_each_device(named or events):
        if event.value('error') in ('', '-2'):
            yield guest_result.of_event(
                event,
                Result.FAIL,
                'GPU790',
                'The firmware of the GPU (GSP) that belongs to the loaded '
                'module is not installed',
                'Install the package with the firmware of the same version '
                '(firmware-nvidia-gsp, nvidia-firmware, linux-firmware), '
                'rebuild the initramfs if it has the module, and reboot',
            )
        else:
            yield guest_result.of_event(
                event,
                Result.UNKNOWN,
                'GPU790',
                'The firmware of the GPU (GSP) could not be read: error '
                f'{event.value("error")}',
                'Load the module again. If it recurs, check the file and the '
                'file system',
            )


def check_virtualization(
    log: guest_log.GuestLog, _models: catalogue.Catalogue
) -> guest_result.Results:
    for event in log.of(Kind.CODE_43)[:1]:
        yield guest_result.of_event(
            event,
            Result.UNKNOWN,
            'GPU795',
            'The Windows driver stopped the device (Code 43). Drivers of '
            'GeForce cards before 465 do so in a virtual machine; otherwise '
            'the log does not show why',
            'Install a current driver. For an older one, set '
            'hw:hide_hypervisor_id=true on the flavor. Check that the BARs of '
            'the device have addresses',
        )
    for event in log.of(Kind.VGPU_DRIVER)[:1]:
        yield guest_result.of_event(
            event,
            Result.WARN,
            'GPU796',
            'The service nvidia-gridd runs, which belongs to the vGPU guest '
            'driver: a card that is passed through needs the standard driver',
            'Remove the vGPU guest driver, and install the standard driver',
        )


def check_other_vendors(
    log: guest_log.GuestLog, _models: catalogue.Catalogue
) -> guest_result.Results:
    """Report drivers of the kernel that could not initialize a GPU."""
    for event in _by_device(log.of(Kind.AMDGPU_FIRMWARE)):
        yield guest_result.of_event(
            event,
            Result.FAIL,
            'GPU797',
            'The firmware of the GPU is newer than the driver amdgpu, which '
            'cannot read it',
            'Install a newer kernel (or amdgpu-dkms), or a release of '
            'linux-firmware as old as the kernel, rebuild the initramfs, and '
            'reboot the guest',
        )
    for event in _by_device(log.of(Kind.AMDGPU_NO_BIOS)):
        yield guest_result.of_event(
            event,
            Result.FAIL,
            'GPU797',
            'The driver amdgpu found no video BIOS of the GPU in the guest, '
            'and cannot use the GPU without it',
            f'{guest_result.RESET}. If it recurs, ask the operator of the '
            'cloud to restart the host: the ROM of some AMD cards can only be '
            'read before their first guest',
        )
    for kind, driver in (
        (Kind.AMDGPU_FAILED, 'amdgpu'),
        (Kind.INTEL_FAILED, 'xe or i915'),
    ):
        if kind is Kind.AMDGPU_FAILED and log.of(
            Kind.AMDGPU_FIRMWARE, Kind.AMDGPU_NO_BIOS
        ):
            continue
        events = log.of(kind)
        missing = [event for event in events if _file(event)]
        for event in _by_device(missing or events):
            yield _not_initialized(event, event.value('driver') or driver)


def _by_device(
    events: collections.abc.Iterable[guest_log.Event],
) -> list[guest_log.Event]:
    """Return the first event of each device, if one names a device."""
    first = list(guest_result.first_of_each_device(events))
    return [event for event in first if event.device is not None] or first


def _file(event: guest_log.Event) -> str:
    """Return the firmware that is missing; empty for another failure."""
    return event.value('file') or event.value('fetched')


def _not_initialized(
    event: guest_log.Event, driver: str
) -> guest_result.GuestResult:
    if _file(event):
        return guest_result.of_event(
            event,
            Result.FAIL,
            'GPU797',
            f'The firmware {_file(event)} is not installed',
            'Install a linux-firmware package with this file, rebuild the '
            'initramfs, and reboot the guest',
        )
    remedy = (
        f'{guest_result.RESET}. If it recurs, ask the operator of the cloud '
        'to restart the host'
    )
    if driver == 'amdgpu':
        remedy += ': some AMD cards need that after a first guest'
    return guest_result.of_event(
        event,
        Result.UNKNOWN,
        'GPU797',
        f'The driver {driver} could not initialize the GPU. The log does not '
        'show why',
        remedy,
    )


def check_hangs(
    log: guest_log.GuestLog, _models: catalogue.Catalogue
) -> guest_result.Results:
    """Report AMD GPUs that stopped processing."""
    failed = _by_device(log.of(Kind.AMDGPU_RESET_FAILED))
    for event in failed:
        yield guest_result.of_event(
            event,
            Result.FAIL,
            'GPU797',
            'The GPU stopped processing, and the driver amdgpu could not '
            'reset it: applications cannot use it',
            f'{guest_result.RESET}. If it recurs, install a newer kernel and '
            'linux-firmware',
        )
    hangs = log.of(
        Kind.AMDGPU_HANG, Kind.AMDGPU_RESET_BEGUN, Kind.AMDGPU_RECOVERED
    )
    for event in [] if failed else _by_device(hangs):
        was_reset = _was_reset(log)
        yield guest_result.of_event(
            event,
            Result.WARN if was_reset else Result.UNKNOWN,
            'GPU797',
            'The GPU stopped processing'
            + (
                ', and the driver amdgpu reset it: applications that used it '
                'were stopped'
                if was_reset
                else '. The log does not show whether the driver amdgpu could '
                'reset it'
            ),
            'Restart the application'
            if was_reset
            else f'Look at the later part of the log. {guest_result.RESET}',
        )
    for event in _by_device(log.of(Kind.AMDGPU_PAGE_FAULT)):
        yield guest_result.of_event(
            event,
            Result.WARN,
            'GPU797',
            'A process on the GPU accessed memory that is not mapped',
            'Restart the application. If it recurs, look for the fault in the '
            'application first',
        )


def _was_reset(log: guest_log.GuestLog) -> bool:
    """Return whether each reset that began succeeded, or none was needed."""

    def count(kind: Kind) -> int:
        return sum(event.count for event in log.of(kind))

    done = count(Kind.AMDGPU_RESET)
    if count(Kind.AMDGPU_RESET_BEGUN) > done:
        return False
    return bool(done or count(Kind.AMDGPU_RECOVERED))
