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

"""Rules about the kernel arguments of hosts that pass devices through."""

import collections.abc

from gpuclient.model import catalogue as catalogue_model
from gpuclient.model import configuration
from gpuclient.model import cpu
from gpuclient.model import device_spec
from gpuclient.model import kernel
from gpuclient.model import quoting
from gpuclient.rules import device_spec as device_spec_rules
from gpuclient.rules import finding

_VFIO_PCI = 'vfio_pci'
_Findings = collections.abc.Iterator[finding.Finding]
_Entries = collections.abc.Sequence[device_spec_rules.SpecEntry]


def check(
    setting: configuration.Setting,
    specs: _Entries,
    reserved: collections.abc.Sequence[cpu.ReservedPages],
    vendors: collections.abc.Set[cpu.Vendor],
    catalogue: catalogue_model.Catalogue,
    *,
    more_huge_pages: bool = False,
) -> collections.abc.Iterator[finding.Located]:
    """Yield what is wrong with kernel arguments.

    :param specs: The device specs of the hosts that boot with them.
    :param reserved: ``reserved_huge_pages`` of these hosts.
    :param vendors: Of their CPUs, as far as known.
    :param more_huge_pages: Something else allocates huge pages, too.
    """
    line = kernel.parse(setting.text)
    passed_through = [
        entry for entry in specs if is_passed_through(entry.spec)
    ]
    findings: list[finding.Finding] = []
    if passed_through or line.vfio_ids:
        findings += _check_iommu(line, vendors | line.cpu_vendors)
    findings += _check_ids(line, passed_through, specs, catalogue)
    if line.vfio_ids and _VFIO_PCI not in line.early_drivers:
        findings.append(
            finding.warning(
                'GPU408',
                'rd.driver.pre=vfio-pci is missing: another driver may bind '
                'to the card before vfio-pci is loaded. Add it',
            )
        )
    if not more_huge_pages:
        findings += _check_pages(line.huge_pages, reserved)
    for problem in findings:
        yield finding.Located(problem, setting.place)


def is_passed_through(spec: device_spec.DeviceSpec) -> bool:
    """Return whether an entry is for whole devices, not for Neutron ports.

    Devices for ports have a physical network, or are managed by a smart NIC.
    """
    return spec.in_placement and not spec.remote_managed


def _check_iommu(
    line: kernel.CommandLine, vendors: collections.abc.Set[cpu.Vendor]
) -> _Findings:
    off = line.iommu_off
    if off is not None:
        yield finding.error(
            'GPU404',
            f'{off} turns off the IOMMU: no device can be passed through '
            f'("host doesn\'t support passthrough of host PCI devices"). '
            f'Remove it',
        )
        return
    amd = line.has('amd_iommu')
    if vendors == {cpu.Vendor.INTEL} and amd and not line.intel_iommu_on:
        yield finding.warning(
            'GPU406',
            'amd_iommu has no effect on Intel CPUs: their IOMMU may be off. '
            'Set intel_iommu=on',
        )
    elif vendors == {cpu.Vendor.AMD} and line.intel_iommu_on:
        yield finding.warning(
            'GPU406',
            'intel_iommu has no effect on AMD CPUs, whose IOMMU is on unless '
            'amd_iommu=off. Remove it',
        )
    elif not line.intel_iommu_on and not (
        vendors == {cpu.Vendor.AMD} or (not vendors and amd)
    ):
        yield finding.warning(
            'GPU405',
            'intel_iommu=on is missing: the IOMMU of Intel CPUs is off unless '
            'the kernel turns it on by default. Add it',
        )
    if not line.iommu_passthrough:
        yield finding.warning(
            'GPU407',
            'iommu=pt is missing: the IOMMU also translates for devices that '
            'the host keeps, which slows them down. Add it',
        )


def _check_ids(
    line: kernel.CommandLine,
    passed_through: _Entries,
    specs: _Entries,
    catalogue: catalogue_model.Catalogue,
) -> _Findings:
    if not line.has('vfio-pci.ids'):
        return
    for ids in line.invalid_vfio_ids:
        yield finding.error(
            'GPU403',
            f'vfio-pci.ids has {quoting.word(ids)!r}, which vfio-pci cannot '
            f'parse ("invalid id string"): the device is not bound to it. '
            f'Write VENDOR:DEVICE in hexadecimal digits',
        )
    claimed = {(ids.vendor_id, ids.product_id) for ids in line.vfio_ids}
    wanted = dict.fromkeys(
        (entry.spec.vendor_id, entry.spec.product_id)
        for entry in passed_through
        if device_spec.ANY not in (entry.spec.vendor_id, entry.spec.product_id)
    )
    missing = [ids for ids in wanted if ids not in claimed]
    for vendor_id, product_id in missing:
        swapped = (product_id, vendor_id) in claimed
        yield finding.warning(
            'GPU401',
            f'vfio-pci.ids does not have {vendor_id}:{product_id}, which a '
            f'device_spec matches: a driver of the host may bind to the card. '
            + (
                f'Vendor and device are swapped in {product_id}:{vendor_id}: '
                f'correct it'
                if swapped
                else 'Add it'
            ),
        )
    if passed_through:
        yield from _check_unmatched(
            # The others are reported as missing.
            sorted(ids for ids in claimed if ids[::-1] not in missing),
            passed_through,
            specs,
            catalogue,
        )


def _check_unmatched(
    claimed: collections.abc.Iterable[tuple[str, str]],
    passed_through: _Entries,
    specs: _Entries,
    catalogue: catalogue_model.Catalogue,
) -> _Findings:
    """Find ids that are bound to vfio-pci, but that no device spec matches."""
    vendors = {entry.spec.vendor_id for entry in passed_through}
    for vendor_id, product_id in claimed:
        if any(
            entry.spec.vendor_id in (device_spec.ANY, vendor_id)
            and entry.spec.product_id in (device_spec.ANY, product_id)
            # Those for Neutron, too.
            for entry in specs
        ):
            continue
        if vendor_id in vendors and not catalogue.by_ids(
            vendor_id, product_id
        ):
            # Another function of the card, audio or USB, goes with it.
            continue
        yield finding.warning(
            'GPU402',
            f'vfio-pci.ids has {vendor_id}:{product_id}, which no '
            f'device_spec matches: neither the host nor servers can use the '
            f'device. Remove it, or add a device_spec',
        )


def _check_pages(
    pages: kernel.HugePageArguments,
    reserved: collections.abc.Sequence[cpu.ReservedPages],
) -> _Findings:
    for problem in pages.problems:
        yield finding.error('GPU409', f'The kernel ignores {problem}')
    if pages.problems:
        # The pools are not those that were intended.
        return
    if pages.unsized:
        yield finding.warning(
            'GPU412',
            f'hugepages follows no hugepagesz: the pages have '
            f'{cpu.render_size(pages.default_size)}, the default of x86. '
            f'Write hugepagesz before it',
        )
    pools = {pool.size // cpu.KIB: pool for pool in pages.pools}
    for size, pool in pools.items():
        yield from _check_pool(
            pool, [entry for entry in reserved if entry.size_kib == size]
        )
    if not pools:
        return
    for entry in reserved:
        size_kib = entry.size_kib
        if (
            size_kib not in pools
            and size_kib * cpu.KIB in kernel.HUGE_PAGE_SIZES
            and size_kib > cpu.SMALL_PAGES_KIB[-1]
        ):
            yield finding.warning(
                'GPU411',
                f'reserved_huge_pages has pages of {size_kib} KiB on '
                f'node {entry.node}, but the kernel arguments allocate '
                f'none of that size. Correct the size',
            )


def _check_pool(
    pool: kernel.HugePagePool,
    reserved: collections.abc.Sequence[cpu.ReservedPages],
) -> _Findings:
    """Check that pages of a pool are left for servers.

    :param reserved: Pages of its size.
    """
    per_node = dict(pool.per_node)
    for pages in reserved:
        count = per_node.get(pages.node, 0) if per_node else pool.count
        if pages.count > count:
            yield _too_many(pages, count, per_node=bool(per_node))
            return
    total = sum(pages.count for pages in reserved)
    if reserved and pool.count and total >= pool.count:
        yield finding.error(
            'GPU410',
            f'reserved_huge_pages reserves all {pool.count} pages of '
            f'{cpu.render_size(pool.size)} for the host: none is left for '
            f'servers. Reserve fewer',
        )


def _too_many(
    reserved: cpu.ReservedPages, count: int, *, per_node: bool
) -> finding.Finding:
    where = f'node {reserved.node} has' if per_node else 'the host has'
    return finding.error(
        'GPU410',
        f'reserved_huge_pages reserves {reserved.count} pages of '
        f'{reserved.size_kib} KiB on node {reserved.node}, but {where} '
        f'{count}: none is left for servers. Reserve fewer',
    )
