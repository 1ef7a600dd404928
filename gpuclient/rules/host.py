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

"""Rules about a host that is to give its GPUs to guests.

Pure, and whole: every thing that is looked at gives a verdict, good ones too,
so that silence is never taken for health.
"""

import collections.abc

from gpuclient import exceptions
from gpuclient.model import catalogue
from gpuclient.model import cpu
from gpuclient.model import host as host_model
from gpuclient.model import kernel
from gpuclient.rules import vfio_binding
from gpuclient.rules import boot_entry
from gpuclient.rules import host_device
from gpuclient.rules import host_remedy
from gpuclient.rules import placement_reporting
from gpuclient.rules import passthrough_view
from gpuclient.rules import check_result

Verdicts = collections.abc.Iterator[check_result.CheckResult]

#: Who says so in the firmware, what the setup calls it, and where the kernel
#: tells of it.
_FIRMWARE = {
    host_model.INTEL: ('DMAR', 'VT-d', 'DMAR'),
    'AuthenticAMD': ('IVRS', 'AMD-Vi (IOMMU)', 'AMD-Vi'),
    'HygonGenuine': ('IVRS', 'the IOMMU', 'AMD-Vi'),
    host_model.ARM: ('IORT', 'the SMMU', 'SMMU'),
}
#: Those that libvirt has for virtual machines.
_QEMU = {
    host_model.INTEL: 'intel',
    'AuthenticAMD': 'amd',
    host_model.ARM: 'smmuv3',
}
#: More than this of a node in huge pages leaves the host too little.
_MOST_IN_PAGES = 0.95


def check(
    host: host_model.Host,
    intent: passthrough_view.Intent | None = None,
    models: catalogue.Catalogue | None = None,
) -> tuple[check_result.CheckResult, ...]:
    """Return what there is to say of a host: of itself, then of its GPUs.

    :param intent: What is known of its use; without it, a card is for guests
        that vfio-pci has or claims, or that is a GPU and no console.
    :param models: GPU models, for what device type they should have.
    """
    view = passthrough_view.View(
        host,
        intent or passthrough_view.Intent(),
        models or catalogue.builtin(),
    )
    found: list[check_result.CheckResult] = []
    for rule in (
        _readable,
        _devices,
        _iommu,
        _iommu_arguments,
        _iommu_mode,
        boot_entry.check,
        _noiommu_mode,
        _ignored_lines,
        vfio_binding.ids,
        vfio_binding.duplicates,
        _switches,
        _huge_pages,
        _memory,
        _cpus,
    ):
        found += rule(view)
    for device in host.devices:
        use = view.uses.get(device.address)
        if use is None:
            continue
        for_guests, reason = use
        whose = 'for guests' if for_guests else 'kept by the host'
        found += check_result.of_device(
            device.address, [check_result.passed('use', f'{whose}: {reason}')]
        )
        if for_guests:
            found += host_device.check(view, device)
            for binding in (vfio_binding.functions, vfio_binding.race):
                found += check_result.of_device(
                    device.address, binding(view, device)
                )
    # The host first, then device by device.
    return tuple(
        sorted(
            found, key=lambda one: () if one.device is None else (one.device,)
        )
    )


def _readable(view: passthrough_view.View) -> Verdicts:
    check = 'readable'
    for failure in view.host.unreadable:
        yield check_result.warn(
            'GPU460',
            check,
            str(failure),
            'Read the host as root; what cannot be read is not checked',
        )
    if not view.host.unreadable:
        yield check_result.passed(check, 'all that is there was read')


def _devices(view: passthrough_view.View) -> Verdicts:
    check = 'devices'
    intent = view.intent
    missing = [
        address
        for address in sorted(intent.addresses or ())
        if view.host.device(address) is None
    ]
    for address in missing:
        yield check_result.fail(
            'GPU457',
            check,
            f'there is no device {address}',
            'Look for it with "openstack gpu host show"; it may have moved, '
            'or is off',
        )
    for words in view.spec_errors:
        yield check_result.fail(
            'GPU456',
            check,
            f'nova-compute would not start: {words}',
            'Correct [pci]device_spec; see "openstack gpu config check"',
        )
    yield from placement_reporting.check(view)
    for spec in view.specs:
        if not any(
            view.spec_of(device) == spec for device in view.host.devices
        ):
            yield check_result.warn(
                'GPU456',
                check,
                f'no device matches [pci]device_spec {spec.written}',
                'Compare ids and addresses with "openstack gpu host show"',
            )
    count = len(view.for_guests)
    if not view.host.gpus:
        yield check_result.warn(
            'GPU461',
            check,
            'the host has no display controller and no processing accelerator',
            'Check that the cards have power and that the firmware lists them',
        )
    elif not count:
        yield check_result.warn(
            'GPU461',
            check,
            f'none of {len(view.host.gpus)} display controllers and '
            f'accelerators is for guests',
            'Name those that are with --device, or by configuration with '
            'their [pci]device_spec',
        )
    elif not missing:
        yield check_result.passed(check, f'{count} for guests')


def _iommu(view: passthrough_view.View) -> Verdicts:
    check = 'IOMMU'
    host = view.host
    if host.iommu_on:
        count = len({one.group for one in host.devices} - {None})
        units = f' ({", ".join(host.iommus)})' if host.iommus else ''
        yield check_result.passed(check, f'on: {count} groups{units}')
        return
    reason, remedy = _why_off(view)
    # Nothing hangs on it where there is nothing to give away.
    make = check_result.fail if view.for_guests else check_result.warn
    of_vfio = any(one.group is not None for one in host.devices)
    but = ' but those of VFIO itself' if of_vfio else ''
    yield make(
        'GPU420', check, f'off, there are no groups{but}: {reason}', remedy
    )


def _why_off(view: passthrough_view.View) -> tuple[str, str]:
    """Return why a host has no IOMMU groups, and what to do."""
    host = view.host
    # Arm's has no such argument.
    off = (
        None if host.cpu_vendor == host_model.ARM else view.arguments.iommu_off
    )
    if off is not None:
        return (
            f'the kernel was started with {off}',
            host_remedy.describe(host, _turn_on(view, off)),
        )
    table, setting, word = _FIRMWARE.get(
        host.iommu_vendor or '', ('', 'the IOMMU', 'IOMMU')
    )
    remedy = f'Turn {setting} on in the firmware setup'
    if host.cpu_vendor == host_model.ARM:
        remedy = (
            f'See whether this board has an SMMU: without one it cannot pass '
            f'devices through. If it has one: {remedy}'
        )
    if host.is_virtual:
        remedy = 'Give this virtual machine an IOMMU'
        model = _QEMU.get(host.iommu_vendor or '')
        if model is not None:
            remedy += f' (libvirt: <iommu model="{model}">)'
    if (
        table
        and host.acpi_tables is not None
        and table not in host.acpi_tables
    ):
        return f'the firmware has no table {table}', remedy
    if (
        host.iommu_vendor == host_model.INTEL
        and host.kernel_arguments is not None
        and not view.arguments.intel_iommu_on
        and not view.arguments.withholds('intel_iommu')
    ):
        for path, arguments in view.later:
            if arguments.intel_iommu_on:
                return (
                    'the kernel was started without intel_iommu=on',
                    host_remedy.reboot(host, path, 'it'),
                )
        return (
            'the kernel was started without intel_iommu=on',
            host_remedy.add_arguments(host, 'intel_iommu=on', 'iommu=pt'),
        )
    return (
        'nothing that was read says why',
        f'{remedy}; "dmesg | grep -i {word}" has the kernel\'s words',
    )


def _turn_on(view: passthrough_view.View, off: str) -> host_remedy.Change:
    """Return what replaces the argument that turns the IOMMU off."""
    name, _equals, word = off.partition('=')
    written = view.arguments.written(name)
    remove = tuple(
        one
        for one in written
        if word in one.removeprefix(f'{name}=').split(',')
    )
    left = kernel.CommandLine(
        tuple(
            one
            for one in view.arguments.arguments
            if one.key != name or f'{one.name}={one.value}' not in remove
        )
    )
    add = []
    # Some kernels have it on by default; that is nothing to rely on.
    if view.host.iommu_vendor == host_model.INTEL and not left.intel_iommu_on:
        add.append('intel_iommu=on')
    if not left.iommu_passthrough:
        add.append('iommu=pt')
    return host_remedy.Change(add=tuple(add), remove=remove)


def _iommu_arguments(view: passthrough_view.View) -> Verdicts:
    check = 'IOMMU arguments'
    host = view.host
    wrong = None
    if host.iommu_vendor in host_model.AMD and view.arguments.has(
        'intel_iommu'
    ):
        wrong = 'intel_iommu'
    elif host.iommu_vendor == host_model.INTEL and view.arguments.has(
        'amd_iommu'
    ):
        wrong = 'amd_iommu'
    if wrong is None:
        shown = [
            one.name if one.value is None else f'{one.name}={one.value}'
            for one in view.arguments.arguments
            if one.key in ('iommu', 'intel_iommu', 'amd_iommu')
            or one.key.startswith('iommu.')
        ]
        yield check_result.passed(check, ' '.join(shown) or 'none')
        return
    make = check_result.warn if host.iommu_on else check_result.fail
    # AMD needs none: its IOMMU is on where the firmware has it on.
    add = (
        host.iommu_vendor == host_model.INTEL
        and not view.arguments.intel_iommu_on
    )
    change = host_remedy.Change(
        remove=view.arguments.written(wrong),
        add=('intel_iommu=on',) if add else (),
    )
    yield make(
        'GPU421',
        check,
        f'{wrong} is for CPUs of the other vendor, this one is '
        f'{host.cpu_vendor}',
        host_remedy.describe(host, change),
    )


def _iommu_mode(view: passthrough_view.View) -> Verdicts:
    check = 'IOMMU mode'
    host = view.host
    if not host.iommu_on:
        return
    domains = {one.domain for one in host.groups} - {None}
    passthrough = view.arguments.iommu_passthrough
    if domains:
        # Devices that the kernel does not trust are translated all the same.
        passthrough = domains == {'identity'} or (
            passthrough and 'identity' in domains
        )
    if passthrough:
        yield check_result.passed(
            check, 'devices of the host bypass it (identity)'
        )
        return
    seen = ', '.join(sorted(filter(None, domains))) or 'not known'
    yield check_result.warn(
        'GPU422',
        check,
        f'memory accesses of devices of the host are translated (groups of '
        f'type {seen}), which costs network and storage performance',
        host_remedy.add_arguments(host, host.passthrough_argument),
    )


def _noiommu_mode(view: passthrough_view.View) -> Verdicts:
    check = 'no-IOMMU mode'
    host = view.host
    mine = [
        one
        for one in host.devices
        if one.group is not None and not host.has_iommu(one)
    ]
    if not host.unsafe_noiommu_mode and not mine:
        yield check_result.passed(check, 'VFIO takes nothing without an IOMMU')
        return
    groups = ''.join(
        f'; {one.address} has a group {one.group} that is none of an IOMMU'
        for one in mine
    )
    # Nothing of it is used where there is an IOMMU for all cards.
    make = check_result.fail if mine else check_result.warn
    yield make(
        'GPU462',
        check,
        f'{_NOIOMMU} of vfio is on: that is for programs like DPDK, and no '
        f'server can have a device in it (QEMU: "failed to open '
        f'/dev/vfio/...: No such file or directory"){groups}',
        f'Turn the IOMMU on, and take {_NOIOMMU} out of '
        f'{_noiommu_source(view)}, {host_remedy.remake_initramfs(host)}',
    )


_NOIOMMU = 'enable_unsafe_noiommu_mode'


def _noiommu_source(view: passthrough_view.View) -> str:
    if view.arguments.has(f'vfio.{_NOIOMMU}'):
        return 'the kernel arguments'
    paths = [
        one.path
        for one in view.host.directives
        if (one.command, one.module) == ('options', 'vfio')
        and _NOIOMMU in one.rest
    ]
    return ', '.join(paths) or 'what loads vfio'


def _ignored_lines(view: passthrough_view.View) -> Verdicts:
    check = 'modprobe.d'
    host = view.host
    for line in host.ignored_lines:
        # What the chain was to hang on; others may be of no use at all.
        about_vfio = 'vfio' in line.text and view.for_guests
        make = check_result.fail if about_vfio else check_result.warn
        yield make(
            'GPU463',
            check,
            f'modprobe leaves a line of {line.path} out: "{line.text} ..."',
            f'{_correction(line)} in {line.path}, '
            f'{host_remedy.remake_initramfs(host)}',
        )
    if not host.ignored_lines:
        yield check_result.passed(
            check, f'{len(host.directives)} lines were read'
        )


def _correction(line: host_model.IgnoredLine) -> str:
    word = line.text.split()[0]
    if line.meant is None:
        return 'Begin the line as modprobe.d(5) has it, or with #,'
    if line.meant == word:
        return f'Give "{word}" all that it takes (modprobe.d(5))'
    return f'Write "{line.meant}" in place of "{word}"'


def _switches(view: passthrough_view.View) -> Verdicts:
    """Check that somebody has the switches that link GPUs."""
    check = 'NVSwitches'
    switches = [one for one in view.host.devices if one.is_nvswitch]
    linked = [
        device
        for device in view.for_guests
        if any(model.nvswitch for model in view.models_of(device))
    ]
    if not switches or not linked:
        return
    if len(linked) == 1:
        yield check_result.passed(
            check,
            f'{linked[0].address} alone is for guests, and needs no link',
        )
        return
    alone = [one for one in switches if one.driver is None]
    if not alone:
        drivers = dict.fromkeys(str(one.driver) for one in switches)
        yield check_result.passed(check, f'{", ".join(drivers)} has them')
        return
    yield check_result.warn(
        'GPU465',
        check,
        f'no driver has {", ".join(host_device.name(one) for one in alone)}: '
        f'nobody sets up the links of {len(linked)} GPUs for guests. CUDA '
        f'fails in a server with more than one of them (error 802, "system '
        f'not yet initialized"); a server with one works',
        'Have nvidia and the fabric manager on the host (FABRIC_MODE=1), and '
        'so no blacklist of nvidia; or pass the switches through to the '
        'server that has all GPUs; or have flavors request one GPU each (with '
        'NVreg_NvLinkDisable=1 in the driver of the guest)',
    )


def _huge_pages(view: passthrough_view.View) -> Verdicts:
    check = 'huge pages'
    host = view.host
    nodes = {one.number: one for one in host.nodes}
    there: dict[int, int] = {}
    for node in host.nodes:
        for pool in node.huge_pages:
            there[pool.size_kib] = there.get(pool.size_kib, 0) + pool.total
    bad = False
    wanted = view.arguments.huge_pages
    for problem in wanted.problems:
        bad = True
        yield check_result.warn(
            'GPU447',
            check,
            f'the kernel left an argument out: {problem}',
            'Give hugepagesz before each hugepages',
        )
    for asked in wanted.pools if host.nodes else ():
        if (
            wanted.unsized
            and asked.size == wanted.default_size
            and host.cpu_vendor == host_model.ARM
        ):
            # The default there hangs on the kernel's own pages.
            continue
        have = there.get(asked.size // cpu.KIB, 0)
        if have < asked.count:
            bad = True
            yield check_result.fail(
                'GPU447',
                check,
                f'the kernel was to set {asked.count} of '
                f'{cpu.render_size(asked.size)} aside, and there are {have}',
                'Ask for fewer, or see what else takes memory at boot; pages '
                'of 1G are only to be had then',
            )
    for reserved in view.intent.reserved_pages:
        place = nodes.get(reserved.node)
        have = sum(
            pool.total
            for pool in (() if place is None else place.huge_pages)
            if pool.size_kib == reserved.size_kib
        )
        if have < reserved.count:
            bad = True
            yield check_result.fail(
                'GPU448',
                check,
                f'reserved_huge_pages = {reserved.render()}, and '
                + (
                    f'node {reserved.node} has {have} of them'
                    if place is not None
                    else f'there is no node {reserved.node}'
                ),
                'Reserve what is there, by node and size in KiB',
            )
    if not bad:
        shown = ', '.join(
            f'{count} of {cpu.render_size(size * cpu.KIB)}'
            for size, count in sorted(there.items())
            if count
        )
        yield check_result.passed(check, shown or 'none are set aside')


def _memory(view: passthrough_view.View) -> Verdicts:
    """Check that huge pages leave the host its memory."""
    check = 'memory'
    known = [one for one in view.host.nodes if one.memory_kib]
    if not known:
        return
    bad = False
    for node in known:
        total = node.memory_kib or 0
        pages = sum(one.total * one.size_kib for one in node.huge_pages)
        if pages > total * _MOST_IN_PAGES:
            bad = True
            yield check_result.warn(
                'GPU449',
                check,
                f'huge pages take {pages >> 10} of {total >> 10} MiB of node '
                f'{node.number}',
                'Set fewer aside: the host, QEMU and the tables of VFIO live '
                'in the rest',
            )
    total = sum(one.memory_kib or 0 for one in known)
    pages = sum(
        pool.total * pool.size_kib for one in known for pool in one.huge_pages
    )
    left = (total - pages) >> 10
    reserved = view.intent.reserved_memory_mb
    if reserved is not None and left < reserved:
        bad = True
        yield check_result.fail(
            'GPU449',
            check,
            f'reserved_host_memory_mb is {reserved}, and huge pages leave '
            f'{left} MiB of {total >> 10}',
            'Set fewer huge pages aside, or reserve less',
        )
    if not bad:
        yield check_result.passed(
            check, f'{left} of {total >> 10} MiB are not in huge pages'
        )


def _cpus(view: passthrough_view.View) -> Verdicts:
    check = 'CPUs'
    host, intent = view.host, view.intent
    online = frozenset(one.number for one in host.cpus)
    isolated = view.isolated_cpus
    bad = known = False
    try:
        known = host.tuned_isolated_cpus is not None
    except exceptions.InvalidCPUSet:
        bad = True
        yield check_result.warn(
            'GPU450',
            check,
            f'tuned cannot read isolated_cores = {host.tuned_isolated_cores}, '
            f'and takes it for an empty list',
            'Correct it: 2-15,18-31',
        )
    for option, cpus in (
        ('cpu_dedicated_set', intent.dedicated_cpus),
        ('cpu_shared_set', intent.shared_cpus),
    ):
        beyond = (cpus or frozenset()) - online
        if beyond and online:
            bad = True
            yield check_result.fail(
                'GPU451',
                check,
                f'{option} has {cpu.render(beyond)}, which the host has not',
                f'Have CPUs of {cpu.render(online)} only',
            )
    if intent.dedicated_cpus is not None and (known or bad):
        for some, text in (
            (
                (intent.dedicated_cpus & online) - isolated,
                'are in cpu_dedicated_set and not isolated: tasks of the host '
                'run on them, too',
            ),
            (
                isolated - intent.dedicated_cpus,
                'are isolated and not in cpu_dedicated_set: nobody uses them',
            ),
        ):
            if some:
                bad = True
                yield check_result.warn(
                    'GPU450',
                    check,
                    f'{cpu.render(some)} {text}',
                    'Have the same CPUs in isolated_cores of tuned (or '
                    'isolcpus) and in cpu_dedicated_set',
                )
    if not bad:
        shown = cpu.render(isolated)
        yield check_result.passed(
            check,
            f'{len(online)} online, '
            + (f'{shown} isolated' if shown else 'none isolated'),
        )
