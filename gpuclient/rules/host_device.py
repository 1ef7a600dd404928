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

"""Rules about a device for guests, except for its driver and IOMMU group.

Each takes a view of the host and a device, and yields the results of one
check.
"""

from gpuclient.model import cpu
from gpuclient.model import host as host_model
from gpuclient.rules import check_result
from gpuclient.rules import device_driver
from gpuclient.rules import host_remedy
from gpuclient.rules import iommu_group
from gpuclient.rules import passthrough_view

_NVIDIA = 'nvidia'


def check(
    view: passthrough_view.View, device: host_model.PciDevice
) -> check_result.Results:
    """Yield the results of all checks of a device for guests."""
    for rule in (
        device_driver.check,
        iommu_group.check,
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


def _device_type(
    view: passthrough_view.View, device: host_model.PciDevice
) -> check_result.Results:
    check_name = 'device type'
    actual = device.device_type
    aliases = view.aliases_of(device)
    # An alias without device_type matches any device but a PF
    # (nova/pci/stats.py:_filter_pools_for_unrequested_pfs).
    fitting = [
        alias
        for alias in aliases
        if alias.device_type == actual
        or (alias.device_type is None and actual != 'type-PF')
    ]
    if aliases and not fitting:
        requested = ', '.join(
            f'alias {alias.name!r} has '
            + (
                f'device_type {alias.device_type}'
                if alias.device_type
                else 'no device_type'
            )
            for alias in aliases
        )
        yield check_result.fail(
            'GPU436',
            check_name,
            f'device type is {actual} in libvirt, but {requested}: the alias '
            f'does not match the device',
            f'Set device_type to {actual} in the alias, for nova-api and the '
            f'compute hosts; or change whether the card exposes SR-IOV',
        )
        return
    models = view.models_of(device)
    expected = {kind for model in models for kind in model.device_types}
    if expected and actual != 'type-VF' and actual not in expected:
        yield check_result.warn(
            'GPU437',
            check_name,
            f'{actual} in libvirt; {models[0].name} should be '
            f'{" or ".join(sorted(expected))}',
            (
                'Turn on SR-IOV, ARI and memory above 4 GiB in the firmware '
                'setup; or set device_type to type-PCI in the alias'
                # QEMU hides the SR-IOV capability from a virtual machine.
                if actual == 'type-PCI' and not view.host.is_virtual
                else f'Set device_type to {actual} in the alias'
            ),
        )
        return
    usual = f', as usual for {models[0].name}' if actual in expected else ''
    requested = ''.join(
        f'; alias {alias.name!r} matches it' for alias in fitting[:1]
    )
    yield check_result.passed(check_name, f'{actual}{usual}{requested}')


def _bars(
    view: passthrough_view.View, device: host_model.PciDevice
) -> check_result.Results:
    check_name = 'BARs'
    missing = device.bars_without_memory
    if device.responds is False or device.physical_function is not None:
        # Reported by another check, or a VF, whose BARs are in its PF.
        return
    if not missing:
        yield check_result.passed(
            check_name, f'all assigned, {device.bar_bytes >> 20} MiB'
        )
        return
    numbers = ', '.join(map(str, missing))
    was = 'was' if len(missing) == 1 else 'were'
    yield check_result.fail(
        'GPU443',
        check_name,
        f'BAR {numbers} {was} not assigned: the driver in the guest refuses '
        f'the device ("BAR{missing[0]} is 0M")',
        'Turn on memory above 4 GiB in the firmware setup, and more of it '
        'for PCI devices. '
        + host_remedy.or_instead(
            host_remedy.add_arguments(view.host, 'pci=realloc')
        ),
    )


def _sriov(
    view: passthrough_view.View, device: host_model.PciDevice
) -> check_result.Results:
    check_name = 'SR-IOV'
    if device.physical_function is not None:
        yield check_result.passed(
            check_name, f'a VF of {device.physical_function}'
        )
    elif device.has_sriov_capability and device.sriov_total_vfs is None:
        yield check_result.warn(
            'GPU438',
            check_name,
            'it has the SR-IOV capability, but the kernel offers no VFs: '
            'libvirt reports type-PCI',
            'Turn on SR-IOV in the firmware setup, so that memory is assigned '
            'to VFs; or set device_type to type-PCI in the alias',
        )
    elif device.sriov_num_vfs or device.virtual_functions:
        yield _with_vfs(device)
    elif device.sriov_total_vfs:
        yield check_result.passed(
            check_name, f'0 of {device.sriov_total_vfs} VFs are enabled'
        )
    elif device.has_sriov_capability is None:
        yield check_result.passed(check_name, 'the kernel offers no VFs')
    else:
        yield check_result.passed(check_name, 'no SR-IOV capability')


def _with_vfs(device: host_model.PciDevice) -> check_result.CheckResult:
    """Return the result for a PF with VFs that is for guests itself."""
    count = device.sriov_num_vfs or len(device.virtual_functions)
    choice = 'pass through the VFs instead of the card'
    return check_result.warn(
        'GPU439',
        'SR-IOV',
        f'the whole card is for guests, but has {count} VFs: it cannot be '
        f'passed through with them',
        # "Virtual GPU Software User Guide" of NVIDIA.
        f'Run /usr/lib/nvidia/sriov-manage -d {device.address} and remove '
        f'what creates the VFs at boot; or {choice}'
        if device.driver == _NVIDIA
        else f'Write 0 to sriov_numvfs of {device.address}, or {choice}',
    )


def _boot_vga(
    view: passthrough_view.View, device: host_model.PciDevice
) -> check_result.Results:
    check_name = 'boot VGA'
    framebuffers = ', '.join(view.host.framebuffers)
    if framebuffers and _may_be_console(view, device):
        yield check_result.warn(
            'GPU440',
            check_name,
            f'the console of the host may be on it ({framebuffers}), because '
            f'no VGA controller is the boot VGA. vfio-pci then fails to '
            f'reserve its memory ("BAR 0: can\'t reserve")',
            _release_framebuffer(view),
        )
    elif not device.boot_vga:
        yield check_result.passed(check_name, 'not the console')
    elif not framebuffers:
        # vfio-pci removes it since Linux 6.0
        # (drivers/vfio/pci/vfio_pci_core.c:vfio_pci_vga_init).
        yield check_result.passed(
            check_name,
            'the boot VGA, but no framebuffer uses its memory',
        )
    else:
        yield check_result.warn(
            'GPU440',
            check_name,
            f'the boot VGA; the console of the host may use its memory '
            f'({framebuffers}), which vfio-pci then fails to reserve ("BAR '
            f'1: can\'t reserve")',
            _release_framebuffer(view),
        )


def _may_be_console(
    view: passthrough_view.View, device: host_model.PciDevice
) -> bool:
    """Whether a framebuffer may be on a device that is not a VGA controller.

    Only VGA controllers have ``boot_vga`` in sysfs
    (``drivers/pci/pci-sysfs.c:pci_dev_attrs_are_visible``), and vfio-pci only
    removes the framebuffers of these
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
        'Select another card for the display in the firmware setup. '
        + host_remedy.or_instead(
            host_remedy.add_arguments(
                view.host, 'initcall_blacklist=sysfb_init'
            )
        )
    )


def _reset(
    view: passthrough_view.View, device: host_model.PciDevice
) -> check_result.Results:
    check_name = 'reset'
    methods = device.reset_methods
    if methods:
        yield check_result.passed(check_name, ', '.join(methods))
    elif methods == () and _resets_with_bus(view, device):
        yield check_result.passed(
            check_name,
            'with its bus, because all functions on it are bound to VFIO',
        )
    elif methods is None:
        yield check_result.warn(
            'GPU441',
            check_name,
            'reset methods could not be read',
            'Read /sys/bus/pci/devices/.../reset_method as root',
        )
    else:
        yield check_result.warn(
            'GPU441',
            check_name,
            'the kernel has no way to reset it: a server gets it with the '
            'state and the memory content that the previous server left',
            'Look for firmware of the card that supports FLR; otherwise do '
            'not share the card between projects',
        )


def _resets_with_bus(
    view: passthrough_view.View, device: host_model.PciDevice
) -> bool:
    """Whether vfio-pci resets a card without a reset method with its bus.

    The kernel does not reset the bus of a function that has other functions
    on it (``drivers/pci/pci.c:pci_parent_bus_reset``). vfio-pci does so when
    it closes the last of these functions, if all are bound to it
    (``drivers/vfio/pci/vfio_pci_core.c:vfio_pci_dev_set_try_reset``). A root
    bus, the first of its domain, cannot be reset.
    """
    address = device.address
    others = [
        other
        for other in view.host.devices
        if (other.address.domain, other.address.bus)
        == (address.domain, address.bus)
        and other.address != address
    ]
    return (
        address.bus != 0
        and bool(others)
        and all(
            passthrough_view.is_vfio(function.driver)
            for function in (device, *others)
        )
    )


def _power(
    view: passthrough_view.View, device: host_model.PciDevice
) -> check_result.Results:
    check_name = 'power'
    state = device.power_state
    if state == 'D3cold':
        yield check_result.warn(
            'GPU442',
            check_name,
            'it is in D3cold, from which some cards do not wake up ("Unable '
            'to change power state from D3cold to D0, device inaccessible")',
            # Options of modprobe.d do not apply to built-in drivers.
            host_remedy.add_arguments(view.host, 'vfio-pci.disable_idle_d3=1')
            if view.vfio_is_builtin
            else 'Add "options vfio-pci disable_idle_d3=1" to a file in '
            f'/etc/modprobe.d, {host_remedy.rebuild_initramfs(view.host)}',
        )
    # Unbinding a driver leaves the state "unknown"; the device still works
    # (drivers/pci/pci-driver.c:pci_device_remove).
    elif device.responds is False or state == 'error':
        yield check_result.fail(
            'GPU423',
            check_name,
            'it does not respond: its configuration space reads as all ones'
            if device.responds is False
            else f'its power state is {state}',
            'Power the host off and on again (a reboot may not be enough); '
            'check power cables and seating of the card',
        )
    else:
        cold = {True: 'D3cold allowed', False: 'D3cold not allowed'}.get(
            device.d3cold_allowed  # type: ignore[arg-type]
        )
        parts = [state or 'state unknown', cold]
        idle = view.host.vfio_pci_parameters.get('disable_idle_d3')
        if idle is not None:
            parts.append(f'disable_idle_d3={idle}')
        yield check_result.passed(check_name, ', '.join(filter(None, parts)))


def _numa_node(
    view: passthrough_view.View, device: host_model.PciDevice
) -> check_result.Results:
    check_name = 'NUMA node'
    count = len(view.host.nodes)
    if device.numa_node is not None:
        yield check_result.passed(
            check_name, f'node {device.numa_node} of {count}'
        )
    elif count > 1:
        yield check_result.warn(
            'GPU445',
            check_name,
            f'the firmware does not report which of {count} NUMA nodes it is '
            f'on: numa_policy "required" never matches it',
            f'Update the firmware. Until then, write the node to numa_node of '
            f'{device.address} in sysfs at each boot, before libvirt starts, '
            f'or use numa_policy "preferred"',
        )
    else:
        yield check_result.passed(check_name, 'the host has one node')


def _cpus(
    view: passthrough_view.View, device: host_model.PciDevice
) -> check_result.Results:
    """Check that the NUMA node of a device has CPUs for pinned servers."""
    check_name = 'CPUs'
    node = next(
        (node for node in view.host.nodes if node.number == device.numa_node),
        None,
    )
    dedicated = view.intent.dedicated_cpus
    source = (
        'the CPUs in cpu_dedicated_set'
        if dedicated is not None
        else 'the isolated CPUs'
    )
    pinned = dedicated if dedicated is not None else view.isolated_cpus
    if node is None or not pinned:
        return
    local = pinned & node.cpus
    if local:
        yield check_result.passed(
            check_name, f'{len(local)} of {source} on node {node.number}'
        )
        return
    yield check_result.warn(
        'GPU452',
        check_name,
        f'none of {source} is on node {node.number}, where the card is: '
        f'servers with pinned CPUs use it across sockets, and with '
        f'numa_policy "required" are not scheduled',
        f'Isolate CPUs of node {node.number}, too, and add them to '
        f'cpu_dedicated_set',
    )


def _huge_pages(
    view: passthrough_view.View, device: host_model.PciDevice
) -> check_result.Results:
    """Check that the node of a device has huge pages, if any node does."""
    check_name = 'huge pages'
    nodes = {node.number: node for node in view.host.nodes}
    totals = {
        number: sum(pool.total for pool in node.huge_pages)
        for number, node in nodes.items()
    }
    number = device.numa_node
    if number not in totals or not any(totals.values()):
        return
    if totals[number]:
        pools = ', '.join(
            f'{pool.total} of {cpu.render_size(pool.size_kib * cpu.KIB)}'
            for pool in nodes[number].huge_pages
            if pool.total
        )
        yield check_result.passed(check_name, f'node {number} has {pools}')
        return
    yield check_result.warn(
        'GPU446',
        check_name,
        f'node {number}, where the card is, has no huge pages, but other '
        f'nodes do: servers with huge pages get no memory on the node of the '
        f'card',
        f'Spread them evenly over the nodes: {_spread(view)}',
    )


def _spread(view: passthrough_view.View) -> str:
    """Return the change of arguments that allocates pages on all nodes."""
    pools = view.arguments.huge_pages.pools
    return (
        ', '.join(
            f'hugepages={pool.count} in place of hugepages='
            + ','.join(f'{node}:{count}' for node, count in pool.per_node)
            for pool in pools
            if pool.per_node
        )
        or 'hugepages=COUNT, without a node'
    )
