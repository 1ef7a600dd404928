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

"""Rules about the entry that the boot loader starts next."""

import collections.abc

from gpuclient.model import cpu
from gpuclient.model import kernel
from gpuclient.rules import host_remedy
from gpuclient.rules import passthrough_view
from gpuclient.rules import check_result

#: A variable of the configuration of grub, whose value is not known.
_UNKNOWN = '$kernelopts'


def check(view: passthrough_view.View) -> check_result.Results:
    """Check that the next boot has the kernel arguments of this one.

    A kernel that is installed later, or made the default, has its own entry:
    arguments that were added to one entry alone are lost with it
    (``grub.d/10_linux`` and ``blscfg`` of grub2 in Fedora).
    """
    check_name = 'next boot'
    if view.next_entry is None or view.host.kernel_arguments is None:
        return
    path, arguments = view.next_entry
    if arguments.has(_UNKNOWN):
        return
    off = arguments.iommu_off
    if (
        off is not None
        and view.arguments.iommu_off is None
        and view.host.cpu_vendor is not cpu.Vendor.ARM
    ):
        yield check_result.warn(
            'GPU466',
            check_name,
            f'{path}, the entry of the next boot, has {off}: without an '
            f'IOMMU, the host cannot pass devices through',
            host_remedy.describe(
                view.host,
                host_remedy.Change(
                    remove=arguments.written(off.partition('=')[0])
                ),
            ),
        )
        return
    lost = [*_lost_iommu(view, arguments), *_lost_ids(view, arguments)]
    if lost:
        yield check_result.warn(
            'GPU466',
            check_name,
            f'{path}, the entry of the next boot, lacks {" ".join(lost)}, '
            f'which this kernel was started with: cards for guests will not '
            f'be bound to vfio-pci',
            host_remedy.add_arguments(view.host, *lost),
        )
        return
    yield check_result.passed(
        check_name, f'{path} has the arguments of this boot'
    )


def _lost_iommu(
    view: passthrough_view.View, arguments: kernel.CommandLine
) -> collections.abc.Iterator[str]:
    if (
        view.host.iommu_vendor is cpu.Vendor.INTEL
        and view.arguments.intel_iommu_on
        and not arguments.intel_iommu_on
        and not arguments.withholds('intel_iommu')
    ):
        yield 'intel_iommu=on'


def _lost_ids(
    view: passthrough_view.View, arguments: kernel.CommandLine
) -> collections.abc.Iterator[str]:
    """Yield ``vfio-pci.ids`` for the cards that lose their driver."""
    if arguments.withholds('vfio-pci.ids'):
        return
    now, later = view.arguments.vfio_ids, arguments.vfio_ids
    if any(
        any(passthrough_view.matches(claimed, device) for claimed in now)
        and not any(
            passthrough_view.matches(claimed, device) for claimed in later
        )
        for device in view.for_guests
    ):
        ids = ','.join(
            claimed.render() for claimed in dict.fromkeys((*later, *now))
        )
        yield f'vfio-pci.ids={ids}'
