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

"""GPUs of AMD.

Ids and names are those of pci.ids and of libdrm's amdgpu.ids. A card is a
type-PF where AMD's host driver for SR-IOV (GIM) supports it, or where pci.ids
knows virtual functions of it.
"""

import functools

from gpuclient.model import catalogue
from gpuclient.model.gpus import table

_DRM = 'data/amdgpu.ids of libdrm'
_SPECS = (
    'memory, architecture: docs/reference/gpu-specs.rst of ROCm '
    '(https://rocm.docs.amd.com/en/latest/reference/gpu-specs.html)'
)
_GIM = 'device type: release notes of amd/MxGPU-Virtualization, 8.5.0.K'

_VEGA_20 = (
    'MI50 of 16 and of 32 GB, MI60 and Radeon Pro VII have the same ids and '
    'differ in the revision'
)
_MI200 = 'One module of 128 GB has two GPUs'

_model = functools.partial(
    table.gpu, '1002', driver='amdgpu', common_sources=(_SPECS,)
)


def _bars(gib: int, registers_kib: int = 512) -> tuple[catalogue.Bar, ...]:
    """Return BAR0, BAR2 and BAR5: memory, doorbells, registers."""
    return (
        catalogue.Bar(0, gib * table.GIB, prefetchable=True),
        catalogue.Bar(2, 2 * table.MIB, prefetchable=True),
        catalogue.Bar(5, registers_kib * 1024),
    )


MODELS: tuple[catalogue.Model, ...] = (
    _model(
        'Instinct MI50',
        'MI50',
        '66a1',
        'GCN5.1',
        (),
        None,
        notes=_VEGA_20,
        sources=(_DRM,),
    ),
    _model(
        'Instinct MI60',
        'MI60',
        '66a1',
        'GCN5.1',
        (),
        32,
        notes=_VEGA_20,
        sources=(_DRM,),
    ),
    _model(
        'Instinct MI100',
        'MI100',
        '738c',
        'CDNA',
        table.PCI,
        32,
        bars=_bars(32),
        sources=(
            _DRM,
            'BARs: lspci -vv of the card',
            'device type: no SR-IOV in lspci -vvv, ROCm/ROCm issue 1357',
        ),
    ),
    _model(
        'Instinct MI210',
        'MI210',
        '740f',
        'CDNA2',
        table.PF,
        64,
        bars=_bars(64),
        sources=(_DRM, _GIM, 'BARs: lspci in ROCm/rocm-xio issue 181'),
    ),
    _model(
        'Instinct MI250',
        'MI250',
        '740c',
        'CDNA2',
        (),
        64,
        form_factor='OAM',
        notes=_MI200,
        sources=(_DRM,),
    ),
    _model(
        'Instinct MI250X (740c)',
        'MI250X',
        '740c',
        'CDNA2',
        (),
        64,
        form_factor='OAM',
        notes=_MI200,
        sources=(_DRM,),
    ),
    _model(
        'Instinct MI250X',
        'MI250X',
        '7408',
        'CDNA2',
        (),
        64,
        form_factor='OAM',
        notes=_MI200,
        sources=(_DRM,),
    ),
    _model(
        'Instinct MI300A',
        'MI300A',
        '74a0',
        'CDNA3',
        (),
        128,
        form_factor=None,
    ),
    _model(
        'Instinct MI300X',
        'MI300X',
        '74a1',
        'CDNA3',
        table.PF,
        192,
        form_factor='OAM',
        sources=(_GIM,),
    ),
    _model(
        'Instinct MI308X',
        'MI308X',
        '74a2',
        'CDNA3',
        (),
        None,
        form_factor=None,
    ),
    _model(
        'Instinct MI325X',
        'MI325X',
        '74a5',
        'CDNA3',
        table.PF,
        256,
        form_factor='OAM',
        sources=(_GIM,),
    ),
    _model(
        'Instinct MI350X',
        'MI350X',
        '75a0',
        'CDNA4',
        table.PF,
        288,
        form_factor='OAM',
        sources=(_GIM,),
    ),
    _model(
        'Instinct MI355X',
        'MI355X',
        '75a3',
        'CDNA4',
        table.PF,
        288,
        form_factor='OAM',
        sources=(_GIM,),
    ),
    _model(
        'Radeon PRO V620',
        'V620',
        '73a1',
        'RDNA2',
        table.PF,
        32,
        bars=_bars(32, registers_kib=1024),
        notes='Its virtual functions are 1002:73ae',
        sources=(
            'BARs: lspci of a host with Resizable BAR that has the card',
        ),
    ),
    _model(
        'Radeon PRO V710',
        'V710',
        '7461',
        'RDNA3',
        table.PF,
        28,
        sources=(_GIM,),
    ),
    _model(
        'Radeon PRO W6600',
        'W6600',
        '73e3',
        'RDNA2',
        (),
        8,
        sources=(_DRM,),
    ),
    _model(
        'Radeon PRO W6800',
        'W6800',
        '73a3',
        'RDNA2',
        (),
        32,
        sources=(_DRM,),
    ),
    _model(
        'Radeon PRO W7700',
        'W7700',
        '7470',
        'RDNA3',
        (),
        16,
    ),
    _model(
        'Radeon PRO W7800',
        'W7800',
        '745e',
        'RDNA3',
        (),
        32,
    ),
    _model(
        'Radeon PRO W7800 48GB',
        'W7800',
        '7449',
        'RDNA3',
        (),
        48,
    ),
    _model(
        'Radeon PRO W7900',
        'W7900',
        '7448',
        'RDNA3',
        (),
        48,
    ),
    _model(
        'Radeon PRO W7900 Dual Slot',
        'W7900',
        '744a',
        'RDNA3',
        (),
        48,
    ),
    _model(
        'Radeon AI PRO R9700',
        'R9700',
        '7551',
        'RDNA4',
        (),
        32,
    ),
)
