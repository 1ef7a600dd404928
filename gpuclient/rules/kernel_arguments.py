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

"""Rules about the kernel arguments of hosts that give devices away."""

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


def check(
    setting: configuration.Setting,
    specs: collections.abc.Sequence[device_spec_rules.Entry],
    reserved: collections.abc.Sequence[cpu.ReservedPages],
    vendors: collections.abc.Set[str],
    catalogue: catalogue_model.Catalogue,
    *,
    more_huge_pages: bool = False,
) -> collections.abc.Iterator[finding.Located]:
    """Yield what is wrong with kernel arguments.

    :param specs: The device specs of the hosts that have them.
    :param reserved: ``reserved_huge_pages`` of these hosts.
    :param vendors: Who makes their CPUs, as far as that is known: ``Intel``,
        ``AMD``.
    :param more_huge_pages: Something else sets huge pages, too.
    """
    line = kernel.parse(setting.text)
    given = [one for one in specs if is_passed_through(one.spec)]
    found: list[finding.Finding] = []
    if given or line.vfio_ids:
        found += _check_iommu(line, vendors | line.cpu_vendors)
    found += _check_ids(line, given, specs, catalogue)
    if line.vfio_ids and _VFIO_PCI not in line.early_drivers:
        found.append(
            finding.warning(
                'GPU408',
                'There is no rd.driver.pre=vfio-pci: another driver may have '
                'taken the card before vfio-pci is loaded',
            )
        )
    if not more_huge_pages:
        found += _check_pages(line.huge_pages, reserved)
    for one in found:
        yield finding.Located(one, setting.place)


def is_passed_through(spec: device_spec.DeviceSpec) -> bool:
    """Return whether an entry gives whole devices to guests, not to Neutron.

    Neutron's have a physical network, or are managed by a smart NIC.
    """
    return spec.in_placement and not spec.remote_managed


def _check_iommu(
    line: kernel.CommandLine, vendors: collections.abc.Set[str]
) -> collections.abc.Iterator[finding.Finding]:
    off = line.iommu_off
    if off is not None:
        yield finding.error(
            'GPU404',
            f'{off} turns the IOMMU off: no device can be passed through '
            f'("host doesn\'t support passthrough of host PCI devices")',
        )
        return
    amd = line.has('amd_iommu')
    if vendors == {'Intel'} and amd and not line.intel_iommu_on:
        yield finding.warning(
            'GPU406',
            'The CPUs are made by Intel, and amd_iommu has no effect on '
            'them: set intel_iommu=on',
        )
    elif vendors == {'AMD'} and line.intel_iommu_on:
        yield finding.warning(
            'GPU406',
            'The CPUs are made by AMD, and intel_iommu has no effect on '
            'them: their IOMMU is on unless amd_iommu=off',
        )
    elif not line.intel_iommu_on and not (
        vendors == {'AMD'} or (not vendors and amd)
    ):
        yield finding.warning(
            'GPU405',
            'There is no intel_iommu=on: CPUs of Intel need it unless the '
            'kernel was built to turn their IOMMU on',
        )
    if not line.iommu_passthrough:
        yield finding.warning(
            'GPU407',
            'There is no iommu=pt: devices that the host keeps go through '
            'the IOMMU, too, and are slower',
        )


def _check_ids(
    line: kernel.CommandLine,
    given: collections.abc.Sequence[device_spec_rules.Entry],
    specs: collections.abc.Sequence[device_spec_rules.Entry],
    catalogue: catalogue_model.Catalogue,
) -> collections.abc.Iterator[finding.Finding]:
    if not line.has('vfio-pci.ids'):
        return
    for word in line.invalid_vfio_ids:
        yield finding.error(
            'GPU403',
            f'vfio-pci.ids: vfio-pci cannot read {quoting.word(word)!r} '
            f'("invalid id '
            f'string") and does not claim the device; write VENDOR:DEVICE in '
            f'hexadecimal digits',
        )
    claimed = {(one.vendor_id, one.product_id) for one in line.vfio_ids}
    wanted = dict.fromkeys(
        (one.spec.vendor_id, one.spec.product_id)
        for one in given
        if device_spec.ANY not in (one.spec.vendor_id, one.spec.product_id)
    )
    missing = [ids for ids in wanted if ids not in claimed]
    for vendor_id, product_id in missing:
        swapped = ''
        if (product_id, vendor_id) in claimed:
            swapped = '; it has vendor and device the other way round'
        yield finding.warning(
            'GPU401',
            f'vfio-pci.ids misses {vendor_id}:{product_id}, which a device '
            f'spec gives away: a driver of the host may take the card'
            f'{swapped}',
        )
    if not given:
        return
    vendors = {one.spec.vendor_id for one in given}
    for vendor_id, product_id in sorted(claimed):
        if any(
            one.spec.vendor_id in (device_spec.ANY, vendor_id)
            and one.spec.product_id in (device_spec.ANY, product_id)
            # Those of Neutron, too.
            for one in specs
        ):
            continue
        if (product_id, vendor_id) in missing:
            # It was told of.
            continue
        if vendor_id in vendors and not catalogue.by_ids(
            vendor_id, product_id
        ):
            # Another function of the card, sound or USB, goes with it.
            continue
        yield finding.warning(
            'GPU402',
            f'vfio-pci.ids takes {vendor_id}:{product_id} from the host, and '
            f'no device spec gives it away: nobody can use it',
        )


def _check_pages(
    pages: kernel.HugePageArguments,
    reserved: collections.abc.Sequence[cpu.ReservedPages],
) -> collections.abc.Iterator[finding.Finding]:
    for problem in pages.problems:
        yield finding.error('GPU409', f'The kernel ignores {problem}')
    if pages.problems:
        # What there is in the end is not what was meant.
        return
    if pages.unsized:
        yield finding.warning(
            'GPU412',
            f'hugepages follows no hugepagesz: the pages have '
            f'{cpu.render_size(pages.default_size)}, the default of x86; '
            f'write hugepagesz before it',
        )
    pools = {pool.size // cpu.KIB: pool for pool in pages.pools}
    for size, pool in pools.items():
        own = [one for one in reserved if one.size_kib == size]
        per_node = dict(pool.per_node)
        for one in own:
            count = per_node.get(one.node, 0) if per_node else pool.count
            if one.count > count:
                yield _too_many(one, count, per_node=bool(per_node))
                break
        else:
            total = sum(one.count for one in own)
            if own and pool.count and total >= pool.count:
                yield finding.error(
                    'GPU410',
                    f'reserved_huge_pages keeps all {pool.count} pages of '
                    f'{cpu.render_size(pool.size)} for the host: none is '
                    f'left for a server',
                )
    if pages.pools:
        for one in reserved:
            if (
                one.size_kib not in pools
                and one.size_kib * cpu.KIB in kernel.HUGE_PAGE_SIZES
                and one.size_kib > cpu.SMALL_PAGES_KIB[-1]
            ):
                yield finding.warning(
                    'GPU411',
                    f'reserved_huge_pages has pages of {one.size_kib} KiB on '
                    f'node {one.node}, and the kernel arguments set none '
                    f'of that size aside',
                )


def _too_many(
    reserved: cpu.ReservedPages, count: int, *, per_node: bool
) -> finding.Finding:
    where = f'node {reserved.node} has' if per_node else 'the host has'
    return finding.error(
        'GPU410',
        f'reserved_huge_pages keeps {reserved.count} pages of '
        f'{reserved.size_kib} KiB on node {reserved.node}, and {where} '
        f'{count}: none is left for a server',
    )
