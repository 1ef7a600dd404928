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

"""Rules about who gets to a device first when a host boots."""

import collections.abc

from gpuclient.model import host as host_model
from gpuclient.model import kernel
from gpuclient.rules import host_remedy
from gpuclient.rules import passthrough_view
from gpuclient.rules import check_result

Verdicts = collections.abc.Iterator[check_result.CheckResult]


def ids(view: passthrough_view.View) -> Verdicts:
    """Check what ``vfio-pci.ids`` names."""
    check = 'vfio-pci.ids'
    source = view.ids_source
    if source is None:
        if view.ids_of_files is not None:
            where, line = view.ids_of_files
            yield check_result.fail(
                'GPU433',
                check,
                f'{where} has them, and vfio-pci is part of this kernel: '
                f'options of modprobe.d do nothing for it',
                _as_argument(view, line.vfio_ids),
            )
        else:
            yield check_result.passed(check, 'none are given')
        return
    where, line = source
    unused = [
        one.render()
        for one in line.vfio_ids
        if not any(
            passthrough_view.matches(one, dev) for dev in view.host.devices
        )
    ]
    for words, text in (
        (line.invalid_vfio_ids, 'which vfio-pci cannot read, and leaves out'),
        (unused, 'which no device of the host has'),
    ):
        if words:
            shown = ', '.join(
                'a word that is not packed'
                if word == kernel.WITHHELD
                else word
                for word in words
            )
            yield check_result.warn(
                'GPU432',
                check,
                f'{where} has {shown}, {text}',
                f'Correct or leave out {shown}: "openstack gpu '
                f'host show" has the ids, vendor:product, four hexadecimal '
                f'digits each',
            )
    for device in view.kept:
        # Of VFs, their PFs tell.
        if (
            device.physical_function is None
            and device.address not in view.companions
            and view.caught(device)
            and not device.driver_override
        ):
            yield from check_result.of_device(
                device.address,
                [
                    check_result.fail(
                        'GPU430',
                        check,
                        f'{where} has {device.ids}, which catches this card, '
                        f'too, and the host is to keep it',
                        _by_address(view, device.ids),
                    )
                ],
            )
    if not line.invalid_vfio_ids and not unused:
        named = ','.join(one.render() for one in line.vfio_ids)
        yield check_result.passed(check, f'{where}: {named}')


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


def _by_address(view: passthrough_view.View, wanted: str) -> str:
    mine = ', '.join(
        str(one.address) for one in view.for_guests if one.ids == wanted
    )
    return (
        f'Take {wanted} out of vfio-pci.ids, and write vfio-pci to '
        f'driver_override of {mine or "the cards for guests"} before drivers '
        f'are loaded; {host_remedy.creation(view)}'
    )


def functions(
    view: passthrough_view.View, device: host_model.PciDevice
) -> Verdicts:
    """Check that the audio function of a card is claimed as the card is."""
    check = 'functions'
    claim = view.claim(device)
    if claim is None:
        return
    missed = [
        one
        for one in view.host.functions(device)
        if not one.is_bridge
        and view.claim(one) is None
        and not passthrough_view.is_vfio(one.driver)
        # The driver row of the function itself tells of that.
        and one not in view.for_guests
    ]
    if not missed:
        if view.host.functions(device):
            yield check_result.passed(check, 'vfio-pci claims all of them')
        return
    names = ', '.join(
        f'{one.address} ({one.ids}{_kind(one)})' for one in missed
    )
    how = (
        host_remedy.describe(view.host, with_ids(view, missed))
        if claim.by_ids
        else f'Write vfio-pci to their driver_override, too; '
        f'{host_remedy.creation(view)}'
    )
    yield check_result.warn(
        'GPU431',
        check,
        f'vfio-pci claims the card ({claim.where}), and not {names}: a '
        f'driver of the host that takes it makes the group useless',
        how,
    )


def _kind(device: host_model.PciDevice) -> str:
    audio = device.device_class == host_model.AUDIO_DEVICE
    return ', audio' if audio else ''


def with_ids(
    view: passthrough_view.View,
    devices: collections.abc.Iterable[host_model.PciDevice],
) -> host_remedy.Change:
    """Return what has vfio-pci claim devices by their ids, too.

    Ids that no device of the host has are left out. Bridges are not claimed.
    All other cards for guests are with them: of two such arguments, each with
    the ids of one card, only the last counts.
    """
    missing = [
        one.ids
        for one in devices
        if not one.is_bridge and not view.caught(one)
    ]
    if not missing:
        return host_remedy.Change()
    others = [
        one.ids
        for card in view.for_guests
        if card.physical_function is None
        for one in (card, *view.host.functions(card))
        if not one.is_bridge
        and not view.caught(one)
        and one.ids not in view.ids_that_stay
    ]
    # The same in each remedy.
    missing = [*others, *missing]
    given = [
        one.render()
        for one in view.ids
        if any(passthrough_view.matches(one, dev) for dev in view.host.devices)
    ]
    name = 'vfio-pci.ids'
    return host_remedy.Change(
        add=(f'{name}={",".join(dict.fromkeys((*given, *missing)))}',),
        remove=view.arguments.written(name),
    )


def race(
    view: passthrough_view.View, device: host_model.PciDevice
) -> Verdicts:
    """Check that vfio-pci is there before the drivers it competes with."""
    claim = view.claim(device)
    if claim is None:
        # The driver row says so.
        return
    if claim.where == passthrough_view.OVERRIDE:
        # Somebody wrote it, perhaps libvirt for the server that has it.
        yield check_result.passed(
            _RACE, 'driver_override keeps others off until the next boot'
        )
        return
    yield _judge_race(view, device)


def is_first(
    view: passthrough_view.View, device: host_model.PciDevice
) -> bool:
    """Whether a boot loads vfio-pci, and before the rivals of a device."""
    loaded = (
        view.vfio_is_loaded
        or _early(view) is not None
        or _late(view) is not None
        or any(
            module == passthrough_view.VFIO_PCI
            for module, _path in view.host.modules_load
        )
    )
    return loaded and _judge_race(view, device).code is None


_RACE = 'driver race'


def _judge_race(
    view: passthrough_view.View, device: host_model.PciDevice
) -> check_result.CheckResult:
    host = view.host
    claim = view.claim(device)
    by_address = claim is not None and not claim.by_ids
    if view.vfio_is_builtin and not by_address:
        return check_result.passed(_RACE, 'vfio-pci is part of the kernel')
    waiting = rivals(view, device)
    if not waiting:
        return check_result.passed(
            _RACE, 'its drivers are blacklisted, or wait for vfio-pci'
        )
    if claim is not None and claim.module != passthrough_view.VFIO_PCI:
        # A name that nothing but softdep has run.
        return check_result.warn(
            'GPU434',
            _RACE,
            f'{", ".join(waiting)} may be loaded before what {claim.where} '
            f'has for {claim.module} is run',
            host_remedy.wait(host, waiting, claim.module),
        )
    remedy = host_remedy.load_early(host, waiting)
    image = host.initramfs
    inside = None if image is None else image.modules
    early = _early(view)
    if early is not None:
        if inside is None or passthrough_view.VFIO_PCI in inside:
            return check_result.passed(_RACE, f'{early} loads vfio-pci first')
        return check_result.warn(
            'GPU434',
            _RACE,
            f'{early} is to load vfio-pci first, and {_path(image)} does not '
            f'have it',
            remedy,
        )
    if inside is None:
        reason = (
            'there is no initramfs to be seen'
            if image is None
            else f'{image.path} could not be read: {image.reason}'
        )
        return check_result.warn(
            'GPU435',
            _RACE,
            f'{", ".join(waiting)} may be loaded first: {reason}',
            remedy,
        )
    first = [one for one in waiting if one in inside]
    if first and passthrough_view.VFIO_PCI not in inside:
        return check_result.fail(
            'GPU434',
            _RACE,
            f'{_path(image)} has {", ".join(first)}, and not vfio-pci, which '
            f'comes too late',
            remedy,
        )
    late = _late(view)
    if late is not None and passthrough_view.VFIO_PCI in inside:
        if not first:
            return check_result.passed(
                _RACE,
                f'{late} loads vfio-pci in the initramfs, where its rivals '
                f'are not',
            )
        return check_result.fail(
            'GPU434',
            _RACE,
            f'{late} loads vfio-pci when udev has loaded {", ".join(first)}, '
            f'which {_path(image)} has, too',
            remedy,
        )
    where = f'in {_path(image)}' if first else 'from the root file system'
    return check_result.warn(
        'GPU434',
        _RACE,
        f'{", ".join(first or waiting)} and vfio-pci are loaded {where}, and '
        f'nothing says which comes first',
        remedy,
    )


def _path(image: host_model.Initramfs | None) -> str:
    return 'the initramfs' if image is None else image.path


def rivals(
    view: passthrough_view.View, device: host_model.PciDevice
) -> list[str]:
    """Return the modules that nothing keeps from claiming a card first."""
    have = [
        host_model.module(one.driver)
        for one in (device, *view.host.functions(device))
        if one.driver is not None
        and one.driver not in passthrough_view.HARMLESS_DRIVERS
        and not passthrough_view.is_vfio(one.driver)
        and not one.is_bridge
    ]
    known = dict.fromkeys((*view.host.rivals(device), *have))
    harmless = _kept_off(view, device)
    return [one for one in known if one not in harmless]


def _kept_off(
    view: passthrough_view.View, device: host_model.PciDevice
) -> frozenset[str]:
    """Return modules that do not claim a card, or not before vfio-pci."""
    host = view.host
    claim = view.claim(device)
    awaited = passthrough_view.VFIO_PCI if claim is None else claim.module
    waiting = {
        one.module
        for one in host.directives
        if one.command == 'softdep' and _waits(one.rest, awaited)
    }
    if 'drm' in waiting and 'drm' not in (host.builtin_modules or ()):
        # What a module needs is loaded with what that waits for.
        waiting.update(_OF_DRM)
    never = {
        one.module
        for one in host.directives
        # install MODULE /bin/false
        if one.command == 'install' and one.rest in _NEVER
    }
    unloaded = never.union(host.blacklisted_modules)
    # A blacklist is for what udev loads, and not for what that needs.
    needed = {
        driver for top, driver in host.on_top(device) if top not in unloaded
    }
    idle = {
        name
        for name in _WITHOUT_MODESETTING
        if view.parameter(name, 'modeset') == '0'
    }
    if view.arguments.has('nomodeset'):
        idle.update(_WITHOUT_MODESETTING, ('amdgpu',))
    return frozenset((unloaded - needed) | never | waiting | idle)


#: Modules that need drm.
_OF_DRM = ('amdgpu', 'i915', 'nouveau', 'radeon', 'xe')
#: Modules that do nothing with modeset=0, or nomodeset
#: (``drivers/gpu/drm/nouveau/nouveau_drm.c:nouveau_drm_init``).
_WITHOUT_MODESETTING = ('i915', 'nouveau', 'radeon')
_NEVER = ('/bin/false', '/bin/true', '/usr/bin/false', '/usr/bin/true')


def _waits(rest: str, awaited: str) -> bool:
    """Whether a softdep has a module loaded before (modprobe.d(5))."""
    before = False
    for word in rest.split():
        if word.endswith(':'):
            before = word == 'pre:'
        elif before and word.replace('-', '_') == awaited:
            return True
    return False


def _early(view: passthrough_view.View) -> str | None:
    """Return what loads vfio-pci before udev loads drivers."""
    if host_remedy.uses_dracut(view.host) is False:
        return None
    if passthrough_view.VFIO_PCI in view.arguments.early_drivers:
        return 'rd.driver.pre'
    return _forced(view, of_tools=False)


def _late(view: passthrough_view.View) -> str | None:
    """Return what loads vfio-pci in the initramfs, after udev.

    ``init`` of initramfs-tools runs the scripts of ``init-top``, udev's among
    them, then loads the modules of ``/etc/initramfs-tools/modules``.
    """
    if host_remedy.uses_dracut(view.host):
        return None
    return _forced(view, of_tools=True)


def _forced(view: passthrough_view.View, *, of_tools: bool) -> str | None:
    for module, path in view.host.forced_modules:
        # Files of the other one may be there and do nothing.
        if (
            module == passthrough_view.VFIO_PCI
            and ('initramfs-tools' in path) is of_tools
        ):
            return path
    return None


def duplicates(view: passthrough_view.View) -> Verdicts:
    """Check cards of one kind of which only some are for guests."""
    check = 'duplicate ids'
    shared = False
    for device in view.for_guests:
        if device.physical_function is not None:
            continue
        twins = [
            one
            for one in view.kept
            if one.ids == device.ids
            and one.vendor_id is not None
            # VFs are made later; vfio-pci.ids is no question then.
            and one.physical_function is None
            # It goes where its group goes.
            and one.address not in view.companions
        ]
        if not twins:
            continue
        shared = True
        claim = view.claim(device)
        others = ', '.join(str(one.address) for one in twins)
        if all(
            twin.driver_override is not None
            and not passthrough_view.is_vfio(twin.driver_override)
            for twin in twins
        ):
            found = check_result.passed(
                check, f'driver_override leaves {others} to the host'
            )
        elif claim is not None and not claim.by_ids:
            found = check_result.passed(
                check, f'claimed by its address; the host keeps {others}'
            )
        elif claim is not None:
            # Told of at the cards that are caught.
            continue
        else:
            found = check_result.warn(
                'GPU454',
                check,
                f'the host keeps {others}, with the same ids: vfio-pci.ids '
                f'would take those, too, and a device_spec by ids gives '
                f'them away',
                f'Write vfio-pci to driver_override of {device.address} '
                f'before drivers are loaded, and name addresses in '
                f'device_spec; {host_remedy.creation(view)}',
            )
        yield from check_result.of_device(device.address, [found])
    if not shared:
        yield check_result.passed(check, 'no card has a twin for another use')
