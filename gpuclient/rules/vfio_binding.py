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

"""Rules about which driver binds to a device first when a host boots."""

import collections.abc

from gpuclient.model import host as host_model
from gpuclient.model import kernel
from gpuclient.rules import check_result
from gpuclient.rules import host_remedy
from gpuclient.rules import passthrough_view
from gpuclient.rules import remedy

_IDS = 'vfio-pci.ids'
_RACE = 'driver race'


def ids(view: passthrough_view.View) -> check_result.Results:
    """Check the device ids in ``vfio-pci.ids``."""
    source = view.ids_source
    if source is None:
        yield _without_ids(view)
        return
    where, line = source
    unused = [
        ids.render()
        for ids in line.vfio_ids
        if not any(
            passthrough_view.matches(ids, device)
            for device in view.host.devices
        )
    ]
    for wrong, reason in (
        (line.invalid_vfio_ids, 'which vfio-pci cannot parse and ignores'),
        (unused, 'which no device of the host has'),
    ):
        if wrong:
            yield _wrong_ids(where, wrong, reason)
    for device in _kept_but_matched(view):
        yield from check_result.of_device(
            device.address,
            [
                check_result.fail(
                    'GPU430',
                    _IDS,
                    f'vfio-pci.ids in {where} has {device.ids}, which also '
                    f'matches this card, and the host keeps it',
                    _bind_by_address(view, device.ids),
                )
            ],
        )
    if not line.invalid_vfio_ids and not unused:
        rendered = ','.join(ids.render() for ids in line.vfio_ids)
        yield check_result.passed(_IDS, f'{where}: {rendered}')


def _without_ids(view: passthrough_view.View) -> check_result.CheckResult:
    if view.ids_of_files is None:
        return check_result.passed(_IDS, 'not set')
    where, line = view.ids_of_files
    return check_result.fail(
        'GPU433',
        _IDS,
        f'set in {where}, but vfio-pci is built into this kernel: options of '
        f'modprobe.d do not apply to it',
        _as_argument(view, line.vfio_ids),
    )


def _wrong_ids(
    where: str, wrong: collections.abc.Iterable[str], reason: str
) -> check_result.CheckResult:
    shown = ', '.join(
        'a value that is not in the bundle' if ids == kernel.WITHHELD else ids
        for ids in wrong
    )
    return check_result.warn(
        'GPU432',
        _IDS,
        f'vfio-pci.ids in {where} has {shown}, {reason}',
        remedy.Remedy(
            f'Correct or remove {shown}: IDs are vendor:product, four '
            f'hexadecimal digits each',
            remedy.SuggestedCommand(
                'host show', effect='lists the IDs of the cards'
            ),
        ),
    )


def _kept_but_matched(
    view: passthrough_view.View,
) -> collections.abc.Iterator[host_model.PciDevice]:
    """Yield cards of the host that ``vfio-pci.ids`` binds to vfio-pci."""
    for device in view.kept:
        # A VF goes with its PF.
        if (
            device.physical_function is None
            and device.address not in view.companions
            and view.caught(device)
            and not device.driver_override
        ):
            yield device


def _as_argument(
    view: passthrough_view.View, ids: collections.abc.Sequence[kernel.DeviceId]
) -> str:
    """Return how ids of modprobe.d become a kernel argument."""
    pending: dict[kernel.DeviceId, None] = {}
    for path, arguments in view.later:
        pending |= dict.fromkeys(arguments.vfio_ids)
        if set(ids) <= set(arguments.vfio_ids):
            return host_remedy.reboot(view.host, path, 'vfio-pci.ids')
    # Of two arguments only the last counts.
    text = ','.join(
        device_id.render() for device_id in dict.fromkeys((*pending, *ids))
    )
    return host_remedy.add_arguments(view.host, f'vfio-pci.ids={text}')


def _bind_by_address(
    view: passthrough_view.View, wanted: str
) -> remedy.Remedy:
    addresses = ', '.join(
        str(device.address)
        for device in view.for_guests
        if device.ids == wanted
    )
    return remedy.Remedy(
        f'Remove {wanted} from vfio-pci.ids, and write vfio-pci to '
        f'driver_override of {addresses or "the cards for guests"} before '
        f'drivers are loaded',
        host_remedy.creation(view),
    )


def functions(
    view: passthrough_view.View, device: host_model.PciDevice
) -> check_result.Results:
    """Check that vfio-pci claims all functions of a card that it claims."""
    check_name = 'functions'
    claim = view.claim(device)
    if claim is None:
        return
    missed = [
        function
        for function in view.host.functions(device)
        if not function.is_bridge
        and view.claim(function) is None
        and not passthrough_view.is_vfio(function.driver)
        # The check of the function itself reports that.
        and function not in view.for_guests
    ]
    if not missed:
        if view.host.functions(device):
            yield check_result.passed(check_name, 'vfio-pci claims all')
        return
    names = ', '.join(
        f'{function.address} ({function.ids}{_kind(function)})'
        for function in missed
    )
    yield check_result.warn(
        'GPU431',
        check_name,
        f'vfio-pci claims the card ({claim.where}), but not {names}: when a '
        f'driver of the host binds to it, the IOMMU group is not viable',
        host_remedy.describe(view.host, with_ids(view, missed))
        if claim.by_ids
        else remedy.Remedy(
            'Write vfio-pci to the driver_override of these as well',
            host_remedy.creation(view),
        ),
    )


def _kind(device: host_model.PciDevice) -> str:
    audio = device.device_class == host_model.AUDIO_DEVICE
    return ', audio' if audio else ''


def with_ids(
    view: passthrough_view.View,
    devices: collections.abc.Iterable[host_model.PciDevice],
) -> host_remedy.Change:
    """Return the change with which vfio-pci claims devices by their ids.

    Ids that no device of the host has are dropped. Bridges are not claimed.
    All other cards for guests are included: of two such arguments, each with
    the ids of one card, only the last counts.
    """
    missing = [
        device.ids
        for device in devices
        if not device.is_bridge and not view.caught(device)
    ]
    if not missing:
        return host_remedy.Change()
    others = [
        function.ids
        for card in view.for_guests
        if card.physical_function is None
        for function in (card, *view.host.functions(card))
        if not function.is_bridge
        and not view.caught(function)
        and function.ids not in view.ids_that_stay
    ]
    # All remedies name the same ids.
    missing = [*others, *missing]
    given = [
        ids.render()
        for ids in view.ids
        if any(
            passthrough_view.matches(ids, device)
            for device in view.host.devices
        )
    ]
    return host_remedy.Change(
        add=(f'{_IDS}={",".join(dict.fromkeys((*given, *missing)))}',),
        remove=view.arguments.written(_IDS),
    )


def race(
    view: passthrough_view.View, device: host_model.PciDevice
) -> check_result.Results:
    """Check that vfio-pci is loaded before other drivers of a device."""
    claim = view.claim(device)
    if claim is None:
        # The check of the driver reports that.
        return
    if claim.where == passthrough_view.OVERRIDE:
        # Perhaps libvirt wrote it, for the server that uses the device.
        yield check_result.passed(
            _RACE,
            'driver_override allows no other driver until the next boot',
        )
        return
    yield _race_of(view, device)


def is_first(
    view: passthrough_view.View, device: host_model.PciDevice
) -> bool:
    """Whether a boot loads vfio-pci before other drivers of a device."""
    loaded = (
        view.vfio_is_loaded
        or _loads_before_udev(view) is not None
        or _loads_after_udev(view) is not None
        or any(
            module == passthrough_view.VFIO_PCI
            for module, _path in view.host.modules_load
        )
    )
    return loaded and _race_of(view, device).code is None


def _race_of(
    view: passthrough_view.View, device: host_model.PciDevice
) -> check_result.CheckResult:
    """Return whether vfio-pci or a rival is loaded first."""
    claim = view.claim(device)
    by_address = claim is not None and not claim.by_ids
    if view.vfio_is_builtin and not by_address:
        return check_result.passed(_RACE, 'vfio-pci is built into the kernel')
    waiting = rivals(view, device)
    if not waiting:
        return check_result.passed(
            _RACE, 'other drivers are blacklisted or wait for vfio-pci'
        )
    if claim is not None and claim.module != passthrough_view.VFIO_PCI:
        # A name that only softdep lines load.
        return check_result.warn(
            'GPU434',
            _RACE,
            f'{", ".join(waiting)} may be loaded before the install line of '
            f'{claim.module} in {claim.where} runs',
            host_remedy.wait(view.host, waiting, claim.module),
        )
    image = view.host.initramfs
    inside = None if image is None else image.modules
    early = _loads_before_udev(view)
    if early is not None:
        return _loaded_early(view, early, waiting)
    if inside is None:
        return _unknown_initramfs(view, waiting)
    return _race_in_initramfs(view, inside, waiting)


def _loaded_early(
    view: passthrough_view.View, early: str, waiting: list[str]
) -> check_result.CheckResult:
    """Return the result where dracut is to load vfio-pci before udev."""
    image = view.host.initramfs
    inside = None if image is None else image.modules
    if inside is None or passthrough_view.VFIO_PCI in inside:
        return check_result.passed(_RACE, f'{early} loads vfio-pci first')
    return check_result.warn(
        'GPU434',
        _RACE,
        f'{early} should load vfio-pci first, but {_path(image)} does not '
        f'contain it',
        host_remedy.load_early(view.host, waiting),
    )


def _unknown_initramfs(
    view: passthrough_view.View, waiting: list[str]
) -> check_result.CheckResult:
    image = view.host.initramfs
    reason = (
        'no initramfs was found'
        if image is None
        else f'{image.path} could not be read: {image.reason}'
    )
    return check_result.warn(
        'GPU435',
        _RACE,
        f'{", ".join(waiting)} may be loaded before vfio-pci: {reason}',
        host_remedy.load_early(view.host, waiting),
    )


def _race_in_initramfs(
    view: passthrough_view.View,
    inside: frozenset[str],
    waiting: list[str],
) -> check_result.CheckResult:
    """Return the result where udev loads vfio-pci and its rivals.

    :param inside: The modules of the initramfs.
    """
    path = _path(view.host.initramfs)
    how = host_remedy.load_early(view.host, waiting)
    first = [module for module in waiting if module in inside]
    names = ', '.join(first)
    if first and passthrough_view.VFIO_PCI not in inside:
        return check_result.fail(
            'GPU434',
            _RACE,
            f'{path} contains {names} but not vfio-pci, which is loaded too '
            f'late',
            how,
        )
    late = _loads_after_udev(view)
    if late is not None and passthrough_view.VFIO_PCI in inside:
        if not first:
            return check_result.passed(
                _RACE,
                f'{late} loads vfio-pci in the initramfs, which does not '
                f'contain other drivers of the card',
            )
        return check_result.fail(
            'GPU434',
            _RACE,
            f'{late} loads vfio-pci only after udev has loaded {names}, '
            f'which {path} contains, too',
            how,
        )
    where = f'in {path}' if first else 'from the root file system'
    return check_result.warn(
        'GPU434',
        _RACE,
        f'{", ".join(first or waiting)} and vfio-pci are loaded {where} in '
        f'no defined order',
        how,
    )


def _path(image: host_model.Initramfs | None) -> str:
    return 'the initramfs' if image is None else image.path


def rivals(
    view: passthrough_view.View, device: host_model.PciDevice
) -> list[str]:
    """Return the modules that may bind to a card before vfio-pci does."""
    bound = [
        host_model.module(function.driver)
        for function in (device, *view.host.functions(device))
        if function.driver is not None
        and function.driver not in passthrough_view.HARMLESS_DRIVERS
        and not passthrough_view.is_vfio(function.driver)
        and not function.is_bridge
    ]
    modules = dict.fromkeys((*view.host.rivals(device), *bound))
    harmless = _kept_off(view, device)
    return [module for module in modules if module not in harmless]


def _kept_off(
    view: passthrough_view.View, device: host_model.PciDevice
) -> frozenset[str]:
    """Return modules that do not bind to a card, or not before vfio-pci."""
    host = view.host
    claim = view.claim(device)
    awaited = passthrough_view.VFIO_PCI if claim is None else claim.module
    waiting = {
        directive.module
        for directive in host.directives
        if directive.command == 'softdep' and _waits(directive.rest, awaited)
    }
    if 'drm' in waiting and 'drm' not in (host.builtin_modules or ()):
        # Modules that need drm load it first, and what drm waits for.
        waiting.update(_NEED_DRM)
    never = {
        directive.module
        for directive in host.directives
        # install MODULE /bin/false
        if directive.command == 'install' and directive.rest in _NEVER
    }
    unloaded = never.union(host.blacklisted_modules)
    # A blacklist applies to udev, and not to modules that others need.
    needed = {
        driver for top, driver in host.on_top(device) if top not in unloaded
    }
    idle = {
        module
        for module in _WITHOUT_MODESETTING
        if view.parameter(module, 'modeset') == '0'
    }
    if view.arguments.has('nomodeset'):
        idle.update(_WITHOUT_MODESETTING, ('amdgpu',))
    return frozenset((unloaded - needed) | never | waiting | idle)


#: Modules that need drm.
_NEED_DRM = ('amdgpu', 'i915', 'nouveau', 'radeon', 'xe')
#: Modules that do nothing with modeset=0, or nomodeset
#: (``drivers/gpu/drm/nouveau/nouveau_drm.c:nouveau_drm_init``).
_WITHOUT_MODESETTING = ('i915', 'nouveau', 'radeon')
_NEVER = ('/bin/false', '/bin/true', '/usr/bin/false', '/usr/bin/true')


def _waits(rest: str, awaited: str) -> bool:
    """Whether a softdep line loads a module before (modprobe.d(5))."""
    before = False
    for word in rest.split():
        if word.endswith(':'):
            before = word == 'pre:'
        elif before and word.replace('-', '_') == awaited:
            return True
    return False


def _loads_before_udev(view: passthrough_view.View) -> str | None:
    """Return what loads vfio-pci before udev loads drivers."""
    if host_remedy.uses_dracut(view.host) is False:
        return None
    if passthrough_view.VFIO_PCI in view.arguments.early_drivers:
        return 'rd.driver.pre'
    return _forced(view, by_initramfs_tools=False)


def _loads_after_udev(view: passthrough_view.View) -> str | None:
    """Return what loads vfio-pci in the initramfs, after udev.

    ``init`` of initramfs-tools runs the scripts of ``init-top``, udev's among
    them, then loads the modules of ``/etc/initramfs-tools/modules``.
    """
    if host_remedy.uses_dracut(view.host):
        return None
    return _forced(view, by_initramfs_tools=True)


def _forced(
    view: passthrough_view.View, *, by_initramfs_tools: bool
) -> str | None:
    for module, path in view.host.forced_modules:
        # Files of the other generator may exist and do nothing.
        if (
            module == passthrough_view.VFIO_PCI
            and ('initramfs-tools' in path) is by_initramfs_tools
        ):
            return path
    return None


def duplicates(view: passthrough_view.View) -> check_result.Results:
    """Check cards of one kind of which only some are for guests."""
    check_name = 'duplicate IDs'
    shared = False
    for device in view.for_guests:
        twins = _twins(view, device)
        if not twins:
            continue
        shared = True
        result = _duplicate(view, device, twins, check_name)
        if result is not None:
            yield from check_result.of_device(device.address, [result])
    if not shared:
        yield check_result.passed(
            check_name, 'the host keeps no card with the IDs of one for guests'
        )


def _twins(
    view: passthrough_view.View, device: host_model.PciDevice
) -> list[host_model.PciDevice]:
    """Return cards with the ids of one for guests that the host keeps."""
    if device.physical_function is not None:
        return []
    return [
        twin
        for twin in view.kept
        if twin.ids == device.ids
        and twin.vendor_id is not None
        # VFs are created later; vfio-pci.ids does not apply to them.
        and twin.physical_function is None
        # It goes with its group.
        and twin.address not in view.companions
    ]


def _duplicate(
    view: passthrough_view.View,
    device: host_model.PciDevice,
    twins: list[host_model.PciDevice],
    check_name: str,
) -> check_result.CheckResult | None:
    """Return whether a card is told from its twins; None: reported before."""
    claim = view.claim(device)
    others = ', '.join(str(twin.address) for twin in twins)
    if all(
        twin.driver_override is not None
        and not passthrough_view.is_vfio(twin.driver_override)
        for twin in twins
    ):
        return check_result.passed(
            check_name, f'driver_override keeps {others} for the host'
        )
    if claim is not None and claim.by_ids:
        # GPU430 reports the cards that are matched.
        return None
    if claim is not None:
        return check_result.passed(
            check_name, f'claimed by its address; the host keeps {others}'
        )
    return check_result.warn(
        'GPU454',
        check_name,
        f'the host keeps {others}, with the same IDs: vfio-pci.ids, or a '
        f'[pci]device_spec with these IDs, would match those, too',
        remedy.Remedy(
            f'Write vfio-pci to driver_override of {device.address} before '
            f'drivers are loaded, and use addresses in device_spec',
            host_remedy.creation(view),
        ),
    )
