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
from gpuclient.rules import host_remedy
from gpuclient.rules import host_view
from gpuclient.rules import verdict

Verdicts = collections.abc.Iterator[verdict.Verdict]


def ids(view: host_view.View) -> Verdicts:
    """Check what ``vfio-pci.ids`` names."""
    check = 'vfio-pci.ids'
    source = view.ids_source
    if source is None:
        if view.ids_of_files is not None:
            where, line = view.ids_of_files
            text = ','.join(one.render() for one in line.vfio_ids)
            yield verdict.fail(
                'GPU433',
                check,
                f'{where} has them, and vfio-pci is part of this kernel: '
                f'options of modprobe.d do nothing for it',
                host_remedy.add_arguments(view.host, f'vfio-pci.ids={text}'),
            )
        else:
            yield verdict.passed(check, 'none are given')
        return
    where, line = source
    unused = [
        one.render()
        for one in line.vfio_ids
        if not any(host_view.matches(one, dev) for dev in view.host.devices)
    ]
    for words, text in (
        (line.invalid_vfio_ids, 'which vfio-pci cannot read, and leaves out'),
        (unused, 'which no device of the host has'),
    ):
        if words:
            yield verdict.warn(
                'GPU432',
                check,
                f'{where} has {", ".join(words)}, {text}',
                'Compare with "openstack gpu host show": vendor:product, '
                'four hexadecimal digits each',
            )
    for device in view.kept:
        if view.caught(device) and not device.driver_override:
            yield from verdict.of_device(
                device.address,
                [
                    verdict.fail(
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
        yield verdict.passed(check, f'{where}: {named}')


def _by_address(view: host_view.View, wanted: str) -> str:
    mine = ', '.join(
        str(one.address) for one in view.for_guests if one.ids == wanted
    )
    return (
        f'Take {wanted} out of vfio-pci.ids, and write vfio-pci to '
        f'driver_override of {mine or "the cards for guests"} before drivers '
        f'are loaded; "openstack gpu host config create" makes that of '
        f'addresses'
    )


def functions(view: host_view.View, device: host_model.Device) -> Verdicts:
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
        and not host_view.is_vfio(one.driver)
        # The driver row of the function itself tells of that.
        and one not in view.for_guests
    ]
    if not missed:
        if view.host.functions(device):
            yield verdict.passed(check, 'vfio-pci claims all of them')
        return
    names = ', '.join(
        f'{one.address} ({one.ids}{_kind(one)})' for one in missed
    )
    how = (
        host_remedy.add_arguments(
            view.host,
            'vfio-pci.ids='
            + ','.join(
                dict.fromkeys(
                    (
                        *(one.render() for one in view.ids),
                        *(one.ids for one in missed),
                    )
                )
            ),
        )
        if claim.by_ids
        else 'Write vfio-pci to their driver_override, too'
    )
    yield verdict.warn(
        'GPU431',
        check,
        f'vfio-pci claims the card ({claim.where}), and not {names}: a '
        f'driver of the host that takes it makes the group useless',
        how,
    )


def _kind(device: host_model.Device) -> str:
    audio = device.device_class == host_model.AUDIO_DEVICE
    return ', audio' if audio else ''


def race(view: host_view.View, device: host_model.Device) -> Verdicts:
    """Check that vfio-pci is there before the drivers it competes with."""
    check = 'driver race'
    claim = view.claim(device)
    if claim is None:
        # The driver row says so.
        return
    if claim.where == host_view.OVERRIDE:
        # Somebody wrote it, perhaps libvirt for the server that has it.
        yield verdict.passed(
            check, 'driver_override keeps others off until the next boot'
        )
        return
    host = view.host
    rivals = _rivals(view, device)
    if view.vfio_is_builtin:
        yield verdict.passed(check, 'vfio-pci is part of the kernel')
        return
    if not rivals:
        yield verdict.passed(
            check, 'its drivers are blacklisted, or wait for vfio-pci'
        )
        return
    image = host.initramfs
    inside = None if image is None else image.modules
    early = _early(view)
    if early is not None:
        if inside is None or host_view.VFIO_PCI in inside:
            yield verdict.passed(check, f'{early} loads vfio-pci first')
        else:
            yield verdict.warn(
                'GPU434',
                check,
                f'{early} is to load vfio-pci first, and {_path(image)} does '
                f'not have it',
                f'Put vfio-pci into the initramfs, '
                f'{host_remedy.remake_initramfs(host)}',
            )
        return
    if inside is None:
        reason = (
            'there is no initramfs to be seen'
            if image is None
            else f'{image.path} could not be read: {image.reason}'
        )
        yield verdict.warn(
            'GPU435',
            check,
            f'{", ".join(rivals)} may be loaded first: {reason}',
            host_remedy.load_early(host),
        )
        return
    first = [one for one in rivals if one in inside]
    if first and host_view.VFIO_PCI not in inside:
        yield verdict.fail(
            'GPU434',
            check,
            f'{_path(image)} has {", ".join(first)}, and not vfio-pci, which '
            f'comes too late',
            host_remedy.load_early(host),
        )
    else:
        where = f'in {_path(image)}' if first else 'from the root file system'
        yield verdict.warn(
            'GPU434',
            check,
            f'{", ".join(first or rivals)} and vfio-pci are loaded {where}, '
            f'and nothing says which comes first',
            host_remedy.load_early(host),
        )


def _path(image: host_model.Initramfs | None) -> str:
    return 'the initramfs' if image is None else image.path


def _rivals(view: host_view.View, device: host_model.Device) -> list[str]:
    """Return the modules that nothing keeps from claiming a card first."""
    harmless = view.host.blacklisted_modules.union(
        one.module
        for one in view.host.directives
        # Never loaded: install MODULE /bin/false
        if (one.command == 'install' and one.rest in _NEVER)
        or (one.command == 'softdep' and _waits(one.rest))
    )
    return [one for one in view.host.rivals(device) if one not in harmless]


_NEVER = ('/bin/false', '/bin/true', '/usr/bin/false', '/usr/bin/true')


def _waits(rest: str) -> bool:
    """Whether a softdep has vfio-pci loaded before (modprobe.d(5))."""
    before = False
    for word in rest.split():
        if word.endswith(':'):
            before = word == 'pre:'
        elif before and word.replace('-', '_') == host_view.VFIO_PCI:
            return True
    return False


def _early(view: host_view.View) -> str | None:
    """Return what loads vfio-pci before udev loads drivers."""
    dracut = host_remedy.uses_dracut(view.host)
    if (
        dracut is not False
        and host_view.VFIO_PCI in view.arguments.early_drivers
    ):
        return 'rd.driver.pre'
    for module, path in view.host.forced_modules:
        # Files of the other one may be there and do nothing.
        if module == host_view.VFIO_PCI and dracut is not (
            'initramfs-tools' in path
        ):
            return path
    return None


def duplicates(view: host_view.View) -> Verdicts:
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
        ]
        if not twins:
            continue
        shared = True
        claim = view.claim(device)
        others = ', '.join(str(one.address) for one in twins)
        if claim is not None and not claim.by_ids:
            found = verdict.passed(
                check, f'claimed by its address; the host keeps {others}'
            )
        elif claim is not None:
            # Told of at the cards that are caught.
            continue
        else:
            found = verdict.warn(
                'GPU454',
                check,
                f'the host keeps {others}, with the same ids: vfio-pci.ids '
                f'would take those, too, and a device_spec by ids gives '
                f'them away',
                f'Write vfio-pci to driver_override of {device.address} '
                f'before drivers are loaded, and name addresses in '
                f'device_spec; "openstack gpu host config create" makes that '
                f'of addresses',
            )
        yield from verdict.of_device(device.address, [found])
    if not shared:
        yield verdict.passed(check, 'no card has a twin for another use')
