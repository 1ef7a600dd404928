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

"""GPUs of Intel.

Ids and names are those of pci.ids and of the kernel's list. A card is a
type-PF where the kernel's xe driver has SR-IOV for it; whether the capability
is there depends on the firmware of the card.
"""

import functools

from gpuclient.model import catalogue
from gpuclient.model.gpus import table

_KERNEL = 'include/drm/intel/pciids.h of the Linux kernel'
_SRIOV = 'device type: has_sriov in drivers/gpu/drm/xe/xe_pci.c, Linux 7.1'

_FIRMWARE = 'SR-IOV depends on the firmware of the card'

_model = functools.partial(table.gpu, '8086', common_sources=(_KERNEL,))

_FLEX_MEMORY = 'memory: reports of the announcement at Hot Chips 2022'
_MAX_MEMORY = (
    'memory: reports of the announcement of the Data Center GPU Max series'
)

_FLEX_BARS = (
    'BARs: kernel log in "PCI resource allocation mismatch with BIOS", '
    'linux-pci, 2022-11'
)
_PRO_MEMORY = (
    'memory: "Intel Arc Pro for Local AI", after specifications of Intel'
)


def _bars(
    gib: int, registers_prefetchable: bool = True
) -> tuple[catalogue.Bar, ...]:
    """Return BAR0 and BAR2: registers, memory."""
    return (
        catalogue.Bar(0, 16 * table.MIB, prefetchable=registers_prefetchable),
        catalogue.Bar(2, gib * table.GIB, prefetchable=True),
    )


MODELS: tuple[catalogue.Model, ...] = (
    _model(
        'Data Center GPU Flex 140',
        'Flex 140',
        '56c1',
        'Xe HPG',
        table.PF_OR_PCI,
        6,
        driver='i915',
        notes=f'One card has two GPUs and 12 GB; {_FIRMWARE}',
        sources=(_SRIOV, _FLEX_MEMORY),
    ),
    _model(
        'Data Center GPU Flex 170',
        'Flex 170',
        '56c0',
        'Xe HPG',
        table.PF_OR_PCI,
        16,
        bars=_bars(16),
        driver='i915',
        notes=_FIRMWARE,
        sources=(
            _SRIOV,
            _FLEX_MEMORY,
            _FLEX_BARS,
        ),
    ),
    _model(
        'Data Center GPU Flex 170V',
        'Flex 170V',
        '56c2',
        'Xe HPG',
        table.PF_OR_PCI,
        None,
        driver='i915',
        notes=_FIRMWARE,
        sources=(_SRIOV,),
    ),
    _model(
        'Data Center GPU Max 1100',
        'Max 1100',
        '0bda',
        'Xe HPC',
        (),
        48,
        driver='i915',
        sources=(_MAX_MEMORY,),
    ),
    _model(
        'Data Center GPU Max 1550',
        'Max 1550',
        '0bd5',
        'Xe HPC',
        (),
        128,
        driver='i915',
        form_factor='OAM',
        sources=(_MAX_MEMORY,),
    ),
    _model(
        'Data Center GPU Max 1350',
        'Max 1350',
        '0bd7',
        'Xe HPC',
        (),
        96,
        driver='i915',
        form_factor='OAM',
        sources=(_MAX_MEMORY,),
    ),
    _model(
        'Arc Pro A40',
        'Arc Pro A40',
        '56b1',
        'Xe HPG',
        (),
        None,
        driver='i915',
    ),
    _model(
        'Arc Pro A50',
        'Arc Pro A50',
        '56b1',
        'Xe HPG',
        (),
        None,
        driver='i915',
    ),
    _model(
        'Arc Pro A60',
        'Arc Pro A60',
        '56b3',
        'Xe HPG',
        (),
        None,
        driver='i915',
    ),
    _model(
        'Arc Pro B50',
        'Arc Pro B50',
        'e212',
        'Xe2 HPG',
        table.PF_OR_PCI,
        16,
        bars=_bars(16, registers_prefetchable=False),
        driver='xe',
        notes=_FIRMWARE,
        sources=(
            _SRIOV,
            _PRO_MEMORY,
            'BARs: kernel log in "Xen on Zen 3", xen-devel, 2026-04',
        ),
    ),
    _model(
        'Arc Pro B60',
        'Arc Pro B60',
        'e211',
        'Xe2 HPG',
        table.PF_OR_PCI,
        24,
        bars=_bars(32)[1:],
        driver='xe',
        notes=_FIRMWARE,
        sources=(
            _SRIOV,
            _PRO_MEMORY,
            'BAR2: lspci in intel/compute-runtime issue 880',
        ),
    ),
    _model(
        'Arc Pro B65',
        'Arc Pro B65',
        'e222',
        'Xe2 HPG',
        table.PF_OR_PCI,
        None,
        driver='xe',
        notes=_FIRMWARE,
        sources=(_SRIOV,),
    ),
    _model(
        'Arc Pro B70',
        'Arc Pro B70',
        'e223',
        'Xe2 HPG',
        table.PF_OR_PCI,
        32,
        bars=_bars(32),
        driver='xe',
        notes=_FIRMWARE,
        sources=(
            _SRIOV,
            _PRO_MEMORY,
            'BARs: lspci in "Arc Pro B70 on Linux", 2026-08',
        ),
    ),
)
