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

"""GPUs of NVIDIA.

Product ids and names are those of the lists of supported GPUs in NVIDIA's open
kernel modules; what is older than those, and audio functions, are from
pci.ids. The lowest branch of the driver is the first whose list, or, before
there were lists, whose changelog has the GPU. Whether a GPU exposes SR-IOV
depends on its generation and on its mode: the driver reads the number of
virtual functions from Turing on, and NVIDIA's vGPU uses them from Ampere on,
so a data centre card that has vGPU types there is a type-PF.
"""

import dataclasses

from gpuclient.model import catalogue
from gpuclient.model.gpus import table

_README = (
    'ids, driver branches from 515 on: README.md of '
    'NVIDIA/open-gpu-kernel-modules, tags 515.48.07 to 595.45.04'
)
_CHANGELOG = (
    'lowest driver branch: NVIDIA_Changelog of the NVIDIA driver 470.256.02'
)
_VGPU = (
    'memory, vGPU types: src/nvidia/generated/g_nv_name_released.h of '
    'NVIDIA/open-gpu-kernel-modules 595.45.04'
)
_OPEN = (
    'open kernel modules: "NVIDIA Transitions Fully Towards Open-Source GPU '
    'Kernel Modules" (developer.nvidia.com, 2024-07)'
)
_STACKHPC = (
    'device type: etc/kayobe/stackhpc-compute.yml of '
    'stackhpc/stackhpc-kayobe-config'
)
_STACKHPC_V100 = (
    'device type: of the boards with 32 GB in etc/kayobe/'
    'stackhpc-compute.yml of stackhpc/stackhpc-kayobe-config'
)
_MIG = (
    'memory: https://docs.nvidia.com/datacenter/tesla/mig-user-guide/'
    'supported-gpus.html'
)
_DENNEMAN = (
    'BARs: "vSphere ML Accelerator Spectrum Deep Dive - ESXi Host BIOS, VM, '
    'and vCenter Settings" (frankdenneman.nl, 2023-05), after the product '
    'briefs of NVIDIA'
)
_DGX_H100 = (
    'BARs: kernel log in "Slow PCI initialization during VM boot with '
    'passthrough of large BAR Nvidia GPUs on DGX H100", linux-pci, 2024-12'
)
_GLS = 'frame buffer BAR: nvidia-smi -q in gls/{}_smi.py of thamada/gls'
TELEGRAF = (
    'frame buffer BAR: plugins/inputs/nvidia_smi/testdata/{}.xml of '
    'influxdata/telegraf'
)
AKASH = 'memory: devices/pcie/gpus.json of akash-network/provider-configs'

#: What NVIDIA's open kernel modules are to a generation. Grace Hopper, which
#: needs them as Blackwell does, says so itself.
_OPEN_KERNEL_MODULES = {
    'Kepler': 'unsupported',
    'Maxwell': 'unsupported',
    'Pascal': 'unsupported',
    'Volta': 'unsupported',
    'Turing': 'supported',
    'Ampere': 'supported',
    'Ada Lovelace': 'supported',
    'Hopper': 'supported',
    'Blackwell': 'required',
}

#: Without SR-IOV in the mode for displays, with it in the other.
_DISPLAY = ('type-PCI', 'type-PF')
_NO_DISPLAY = table.PF_OR_PCI
_MODE = (
    'SR-IOV is exposed in the mode without display outputs only; '
    'displaymodeselector of NVIDIA changes the mode, and the BAR sizes with it'
)

_GRACE = (
    'The memory of the GPU is reached by NVLink-C2C, not by a BAR; the vfio '
    'variant driver nvgrace-gpu-vfio-pci gives it to a guest'
)
_GRACE_BARS = (
    'BARs: lspci in "vfio/nvgpu: Add vfio pci variant module for grace '
    'hopper", kvm, 2023-10'
)
_NVGRACE = 'nvgrace-gpu: drivers/vfio/pci/nvgrace-gpu of the Linux kernel'


def model(
    name: str,
    designation: str,
    product_id: str,
    architecture: str,
    device_types: tuple[str, ...] = (),
    memory_gb: int | None = None,
    *,
    bars: tuple[catalogue.Bar, ...] = (),
    floor: int | None = None,
    form_factor: str | None = 'PCIe',
    audio: str | None = None,
    nvswitch: bool = False,
    open_kernel_modules: str | None = None,
    subsystem_ids: tuple[str, ...] = (),
    notes: str | None = None,
    sources: tuple[str, ...] = (),
) -> catalogue.Model:
    """Return a record; see :func:`gpuclient.model.gpus.table.gpu`."""
    turing_or_later = architecture not in (
        'Kepler',
        'Maxwell',
        'Pascal',
        'Volta',
    )
    # The open kernel modules began with branch 515.
    changelog = floor is not None and floor < 515
    return dataclasses.replace(
        table.gpu(
            '10de',
            name,
            designation,
            product_id,
            architecture,
            device_types,
            memory_gb,
            bars=bars,
            driver='nvidia',
            form_factor=form_factor,
            notes=notes,
            common_sources=(
                *((_README,) if turing_or_later else ()),
                *((_CHANGELOG,) if changelog else ()),
                _OPEN,
            ),
            sources=sources,
        ),
        nvswitch=nvswitch,
        driver_floor=None if floor is None else str(floor),
        open_kernel_modules=(
            open_kernel_modules or _OPEN_KERNEL_MODULES[architecture]
        ),
        audio_product_id=audio,
        subsystem_ids=subsystem_ids,
    )


def _bars(gib: float) -> tuple[catalogue.Bar, ...]:
    """Return BAR0, BAR1 and BAR3, as GPUs before Hopper have them."""
    return (
        catalogue.Bar(0, 16 * table.MIB),
        catalogue.Bar(1, int(gib * table.GIB), prefetchable=True),
        catalogue.Bar(3, 32 * table.MIB, prefetchable=True),
    )


def aperture(gib: float) -> tuple[catalogue.Bar, ...]:
    """Return BAR1 alone, the one to the frame buffer.

    For a GPU of which a source has that one only, as nvidia-smi does: what
    it calls BAR1 is the aperture to the frame buffer on every GPU.
    """
    return _bars(gib)[1:2]


def _wide_bars(registers_mib: int, gib: int) -> tuple[catalogue.Bar, ...]:
    """Return BAR0, BAR2 and BAR4 of a Hopper or a B200, all of 64 bit."""
    return (
        catalogue.Bar(0, registers_mib * table.MIB, prefetchable=True),
        catalogue.Bar(2, gib * table.GIB, prefetchable=True),
        catalogue.Bar(4, 32 * table.MIB, prefetchable=True),
    )


def _wide_aperture(gib: int) -> tuple[catalogue.Bar, ...]:
    """Return BAR2 alone; see :func:`aperture`."""
    return _wide_bars(16, gib)[1:2]


MODELS: tuple[catalogue.Model, ...] = (
    # Maxwell, Pascal
    model(
        'Tesla M10',
        'M10',
        '13bd',
        'Maxwell',
        (),
        None,
    ),
    model(
        'Tesla M60',
        'M60',
        '13f2',
        'Maxwell',
        (),
        None,
        bars=aperture(8),
        notes='In graphics mode, which gpumodeswitch sets, BAR1 is 256 MiB',
        sources=('BAR1: GPUMODESWITCH user guide of NVIDIA, DU-07764-001',),
    ),
    model(
        'Tesla P4',
        'P4',
        '1bb3',
        'Pascal',
        (),
        8,
        floor=375,
        sources=(AKASH,),
    ),
    model(
        'Tesla P40',
        'P40',
        '1b38',
        'Pascal',
        table.PCI,
        24,
        bars=aperture(32),
        floor=367,
        sources=(
            'device type: GPU passthrough guide of OSISM (osism.tech)',
            AKASH,
            'BAR1: nvidia-smi -q of a host of vGPUs that has the card',
        ),
    ),
    model(
        'Tesla P100 PCIe 16GB',
        'P100',
        '15f8',
        'Pascal',
        table.PCI,
        16,
        bars=_bars(16),
        floor=375,
        sources=(
            AKASH,
            'device type: "Support for GPUs in OpenStack" of StackHPC',
            'BARs: lspci -v of a host that has three of them',
        ),
    ),
    model(
        'Tesla P100 SXM2 16GB',
        'P100',
        '15f9',
        'Pascal',
        (),
        16,
        floor=375,
        form_factor='SXM2',
    ),
    # Volta
    model(
        'Tesla V100 PCIe 16GB',
        'V100',
        '1db4',
        'Volta',
        table.PCI,
        16,
        bars=aperture(16),
        floor=384,
        sources=(
            _STACKHPC_V100,
            _DENNEMAN,
            'BAR1: nvidia-smi -q of a guest that has the card',
        ),
    ),
    model(
        'Tesla V100 PCIe 32GB',
        'V100',
        '1db6',
        'Volta',
        table.PCI,
        32,
        bars=_bars(32),
        floor=390,
        sources=(_STACKHPC, 'BARs: lshw of guests that have the card'),
    ),
    model(
        'Tesla V100 SXM2 16GB',
        'V100',
        '1db1',
        'Volta',
        table.PCI,
        16,
        bars=_bars(16),
        floor=384,
        form_factor='SXM2',
        sources=(
            _STACKHPC_V100,
            'BARs: kernel log of a host that has the card',
            _GLS.format('V100_x8'),
        ),
    ),
    model(
        'Tesla V100 SXM2 32GB',
        'V100',
        '1db5',
        'Volta',
        table.PCI,
        32,
        bars=aperture(32),
        floor=390,
        form_factor='SXM2',
        sources=(
            _STACKHPC,
            'BAR1: nvidia-smi -q of a node of Traverse, Princeton University',
        ),
    ),
    model(
        'Tesla V100 SXM3 32GB',
        'V100',
        '1db8',
        'Volta',
        table.PCI,
        32,
        floor=410,
        form_factor='SXM3',
        nvswitch=True,
        sources=(_STACKHPC,),
    ),
    model(
        'Tesla V100S PCIe 32GB',
        'V100S',
        '1df6',
        'Volta',
        table.PCI,
        32,
        floor=440,
        sources=(_STACKHPC,),
    ),
    # Turing
    model(
        'Tesla T4',
        'T4',
        '1eb8',
        'Turing',
        table.PF_OR_PCI,
        16,
        floor=410,
        bars=_bars(0.25),
        notes='Hosts are known that see either type',
        sources=(
            _STACKHPC,
            _VGPU,
            'BARs: lspci in cloud-hypervisor/cloud-hypervisor issue 434',
        ),
    ),
    model(
        'Quadro RTX 4000',
        'Quadro RTX 4000',
        '1eb1',
        'Turing',
        (),
        8,
        floor=410,
        sources=(AKASH,),
    ),
    model(
        'Quadro RTX 5000',
        'Quadro RTX 5000',
        '1eb0',
        'Turing',
        (),
        None,
        floor=410,
    ),
    model(
        'Quadro RTX 6000',
        'Quadro RTX 6000',
        '1e30',
        'Turing',
        (),
        None,
        floor=410,
        notes='Shares its ids with the Quadro RTX 8000',
    ),
    model(
        'Quadro RTX 8000',
        'Quadro RTX 8000',
        '1e30',
        'Turing',
        (),
        48,
        floor=410,
        bars=_bars(0.25),
        subsystem_ids=('10de:129e', '1028:129e', '103c:129e'),
        notes='Shares its ids with the Quadro RTX 6000',
        sources=(
            AKASH,
            'BARs: lspci in geerlingguy/raspberry-pi-pcie-devices issue 480',
        ),
    ),
    # Ampere
    model(
        'A100 PCIe 40GB',
        'A100',
        '20f1',
        'Ampere',
        table.PF,
        40,
        floor=450,
        bars=_bars(64),
        sources=(
            _STACKHPC,
            _VGPU,
            'BARs: dmesg in kata-containers/kata-containers pull 4358',
        ),
    ),
    model(
        'A100 PCIe 80GB',
        'A100',
        '20b5',
        'Ampere',
        table.PF,
        80,
        bars=_bars(128)[:2],
        floor=470,
        sources=(
            _STACKHPC,
            _VGPU,
            _DENNEMAN,
        ),
    ),
    model(
        'A100 SXM4 40GB',
        'A100',
        '20b0',
        'Ampere',
        table.PF,
        40,
        floor=450,
        bars=_bars(64),
        form_factor='SXM4',
        nvswitch=True,
        sources=(
            _STACKHPC,
            _VGPU,
            'BARs: dmesg in cloud-hypervisor/cloud-hypervisor issue 4375',
        ),
    ),
    model(
        'A100 SXM4 80GB',
        'A100',
        '20b2',
        'Ampere',
        table.PF,
        80,
        floor=450,
        bars=_bars(128),
        form_factor='SXM4',
        nvswitch=True,
        sources=(
            _STACKHPC,
            _VGPU,
            'BARs: lspci of twelve of them in a guest, qemu-devel, 2021-07',
        ),
    ),
    model(
        'A800 PCIe 80GB',
        'A800',
        '20f5',
        'Ampere',
        table.PF,
        80,
        floor=515,
        sources=(_VGPU,),
    ),
    model(
        'A800 SXM4 80GB',
        'A800',
        '20f3',
        'Ampere',
        table.PF,
        80,
        floor=515,
        form_factor='SXM4',
        nvswitch=True,
        sources=(_VGPU,),
    ),
    model(
        'A30',
        'A30',
        '20b7',
        'Ampere',
        table.PF,
        24,
        floor=460,
        bars=_bars(32),
        sources=(
            _STACKHPC,
            _VGPU,
            'BARs: lspci in cloud-hypervisor/cloud-hypervisor issue 5251',
        ),
    ),
    model(
        'A40',
        'A40',
        '2235',
        'Ampere',
        _NO_DISPLAY,
        48,
        bars=aperture(64),
        floor=460,
        notes=_MODE,
        sources=(
            _STACKHPC,
            _VGPU,
            _GLS.format('A40x10'),
        ),
    ),
    model(
        'A10',
        'A10',
        '2236',
        'Ampere',
        table.PF,
        24,
        bars=_bars(32),
        floor=460,
        sources=(
            _VGPU,
            'BARs: lspci in "Benchmarking GPUs" (stevescargall.com, 2024-08)',
        ),
    ),
    model(
        'A10G',
        'A10G',
        '2237',
        'Ampere',
        table.PF,
        24,
        bars=aperture(32),
        floor=460,
        sources=(
            _VGPU,
            TELEGRAF.format('a10g'),
        ),
    ),
    model(
        'A16',
        'A16',
        '25b6',
        'Ampere',
        table.PF,
        16,
        bars=aperture(16),
        floor=470,
        subsystem_ids=('10de:14a9',),
        notes='One card has four GPUs; shares its ids with the A2',
        sources=(
            _VGPU,
            'BAR1: nvidia-smi -q of a Nutanix AHV host that has the card',
        ),
    ),
    model(
        'A2',
        'A2',
        '25b6',
        'Ampere',
        table.PF,
        16,
        bars=_bars(16)[:2],
        floor=470,
        subsystem_ids=('10de:157e',),
        notes='Shares its ids with the A16',
        sources=(
            _VGPU,
            _DENNEMAN,
        ),
    ),
    model(
        'RTX A6000',
        'A6000',
        '2230',
        'Ampere',
        _DISPLAY,
        48,
        bars=_bars(0.25),
        floor=460,
        audio='1aef',
        notes=f'{_MODE}; BAR1 is then 64 GiB',
        sources=(
            _STACKHPC,
            _VGPU,
            'BARs: lspci of two hosts that have the card',
            _GLS.format('RTX_A6000_x9'),
        ),
    ),
    model(
        'RTX A5500',
        'A5500',
        '2233',
        'Ampere',
        _DISPLAY,
        24,
        notes=_MODE,
        sources=(_VGPU,),
    ),
    model(
        'RTX A5000',
        'A5000',
        '2231',
        'Ampere',
        _DISPLAY,
        24,
        bars=aperture(0.25),
        floor=460,
        audio='1aef',
        notes=_MODE,
        sources=(
            _VGPU,
            TELEGRAF.format('dual_a5000-v13'),
        ),
    ),
    model(
        'RTX A4500',
        'A4500',
        '2232',
        'Ampere',
        (),
        None,
        floor=470,
    ),
    model(
        'RTX A4000',
        'A4000',
        '24b0',
        'Ampere',
        (),
        None,
        floor=460,
        bars=_bars(0.25),
        audio='228b',
        sources=(
            'BARs: lspci in geerlingguy/raspberry-pi-pcie-devices issue 692',
        ),
    ),
    model(
        'RTX A2000',
        'A2000',
        '2531',
        'Ampere',
        (),
        6,
        floor=470,
        sources=(AKASH,),
    ),
    model(
        'RTX A2000 12GB',
        'A2000',
        '2571',
        'Ampere',
        (),
        12,
        floor=470,
        bars=_bars(0.25),
        sources=(
            'BARs: lspci in geerlingguy/raspberry-pi-pcie-devices issue 509',
        ),
    ),
    # Ada Lovelace
    model(
        'L4',
        'L4',
        '27b8',
        'Ada Lovelace',
        table.PF,
        24,
        floor=525,
        bars=_bars(32),
        sources=(_VGPU, 'BARs: lshw of a guest of Google Cloud'),
    ),
    model(
        'L40',
        'L40',
        '26b5',
        'Ada Lovelace',
        _NO_DISPLAY,
        48,
        floor=525,
        notes=_MODE,
        sources=(_STACKHPC, _VGPU),
    ),
    model(
        'L40S',
        'L40S',
        '26b9',
        'Ada Lovelace',
        _NO_DISPLAY,
        48,
        floor=535,
        bars=_bars(64),
        notes=_MODE,
        sources=(
            _STACKHPC,
            _VGPU,
            'BARs: docs/vfio.md of cloud-hypervisor/cloud-hypervisor',
        ),
    ),
    model(
        'L20',
        'L20',
        '26ba',
        'Ada Lovelace',
        _NO_DISPLAY,
        48,
        bars=aperture(64),
        floor=535,
        notes=_MODE,
        sources=(
            _VGPU,
            'BAR1: nvidia-smi -q in NVIDIA/DCGM issue 132',
        ),
    ),
    model(
        'L2',
        'L2',
        '27b6',
        'Ada Lovelace',
        table.PF,
        24,
        floor=535,
        sources=(_VGPU,),
    ),
    model(
        'RTX 6000 Ada Generation',
        'RTX 6000 Ada',
        '26b1',
        'Ada Lovelace',
        _DISPLAY,
        48,
        bars=_bars(0.25),
        floor=525,
        audio='22ba',
        notes=f'{_MODE}; with Resizable BAR, BAR1 is 64 GiB',
        sources=(
            _VGPU,
            'audio function: asus-esc8000a-e12.md of luigifcruz/stelline',
            _GLS.format('RTX6000Ada_x8'),
            'BARs: lspci in asus-esc8000a-e12.md of luigifcruz/stelline',
        ),
    ),
    model(
        'RTX 5880 Ada Generation',
        'RTX 5880 Ada',
        '26b3',
        'Ada Lovelace',
        _DISPLAY,
        48,
        floor=535,
        notes=_MODE,
        sources=(_VGPU,),
    ),
    model(
        'RTX 5000 Ada Generation',
        'RTX 5000 Ada',
        '26b2',
        'Ada Lovelace',
        _DISPLAY,
        32,
        floor=535,
        notes=_MODE,
        sources=(_VGPU,),
    ),
    model(
        'RTX 4500 Ada Generation',
        'RTX 4500 Ada',
        '27b1',
        'Ada Lovelace',
        (),
        None,
        floor=535,
    ),
    model(
        'RTX 4000 Ada Generation',
        'RTX 4000 Ada',
        '27b2',
        'Ada Lovelace',
        (),
        20,
        bars=aperture(0.25),
        floor=535,
        sources=(
            AKASH,
            _GLS.format('RTX4000Ada'),
        ),
    ),
    model(
        'RTX 4000 SFF Ada Generation',
        'RTX 4000 SFF Ada',
        '27b0',
        'Ada Lovelace',
        (),
        20,
        bars=aperture(32),
        floor=525,
        notes='BAR1 is that of a host with Resizable BAR',
        sources=(
            AKASH,
            TELEGRAF.format('rtx-4000-sff-ada-v13'),
        ),
    ),
    model(
        'RTX 2000 Ada Generation',
        'RTX 2000 Ada',
        '28b0',
        'Ada Lovelace',
        (),
        16,
        bars=aperture(0.25),
        floor=550,
        sources=(
            AKASH,
            _GLS.format('RTX2000Ada'),
        ),
    ),
    # Hopper
    model(
        'H100 PCIe',
        'H100',
        '2331',
        'Hopper',
        table.PF,
        80,
        bars=_wide_bars(16, 128)[:2],
        floor=520,
        sources=(
            _VGPU,
            _DENNEMAN,
        ),
    ),
    model(
        'H100 SXM5 80GB',
        'H100',
        '2330',
        'Hopper',
        table.PF,
        80,
        bars=_wide_bars(16, 128),
        floor=525,
        form_factor='SXM5',
        nvswitch=True,
        sources=(
            _STACKHPC,
            _VGPU,
            _DGX_H100,
            _GLS.format('H100SXMx8'),
        ),
    ),
    model(
        'H100 SXM5 94GB',
        'H100',
        '2339',
        'Hopper',
        table.PF,
        94,
        floor=525,
        form_factor='SXM5',
        nvswitch=True,
        sources=(_VGPU,),
    ),
    model(
        'H100 NVL',
        'H100 NVL',
        '2321',
        'Hopper',
        table.PF,
        94,
        bars=_wide_aperture(128),
        floor=535,
        sources=(
            _STACKHPC,
            _VGPU,
            _GLS.format('H100NVLx2'),
        ),
    ),
    model(
        'H800 PCIe',
        'H800',
        '2322',
        'Hopper',
        table.PF,
        80,
        floor=525,
        sources=(_VGPU,),
    ),
    model(
        'H800 SXM5',
        'H800',
        '2324',
        'Hopper',
        table.PF,
        80,
        bars=_wide_aperture(128),
        floor=525,
        form_factor='SXM5',
        nvswitch=True,
        sources=(
            _VGPU,
            'BAR2: nvidia-smi -q of a host that has eight of them',
        ),
    ),
    model(
        'H20',
        'H20',
        '2329',
        'Hopper',
        table.PF,
        96,
        floor=535,
        bars=_wide_bars(16, 128),
        form_factor='SXM',
        nvswitch=True,
        sources=(_VGPU, 'BARs: lspci in NVIDIA/nvtrust issue 128'),
    ),
    model(
        'H200 SXM',
        'H200',
        '2335',
        'Hopper',
        table.PF,
        141,
        bars=_wide_aperture(256),
        floor=550,
        form_factor='SXM5',
        nvswitch=True,
        sources=(
            _VGPU,
            _MIG,
            _GLS.format('H200'),
            'BAR2: internal/captures of utkuozdemir/nvidia_gpu_exporter',
        ),
    ),
    model(
        'H200 NVL',
        'H200 NVL',
        '233b',
        'Hopper',
        table.PF,
        141,
        floor=565,
        sources=(_VGPU, _MIG),
    ),
    model(
        'GH200 120GB / 480GB',
        'GH200',
        '2342',
        'Hopper',
        table.PF,
        96,
        bars=_wide_bars(16, 128),
        floor=535,
        form_factor='Grace Hopper',
        open_kernel_modules='required',
        notes=f'120GB and 480GB are the memory of the Grace CPU. {_GRACE}',
        sources=(
            _VGPU,
            _MIG,
            _NVGRACE,
            _GRACE_BARS,
        ),
    ),
    model(
        'GH200 144GB HBM3e',
        'GH200',
        '2348',
        'Hopper',
        table.PF,
        144,
        floor=565,
        form_factor='Grace Hopper',
        open_kernel_modules='required',
        notes=_GRACE,
        sources=(
            _VGPU,
            _NVGRACE,
        ),
    ),
    # Blackwell
    model(
        'B200',
        'B200',
        '2901',
        'Blackwell',
        table.PF,
        180,
        floor=570,
        bars=_wide_bars(64, 256),
        form_factor='SXM',
        nvswitch=True,
        sources=(
            _VGPU,
            _MIG,
            'BARs: lspci in a blog of Ubicloud on virtualizing HGX B200',
        ),
    ),
    model(
        'GB200',
        'GB200',
        '2941',
        'Blackwell',
        table.PF,
        186,
        floor=570,
        form_factor='Grace Blackwell',
        nvswitch=True,
        sources=(_VGPU, _MIG),
    ),
    model(
        'B300 SXM6',
        'B300',
        '3182',
        'Blackwell',
        table.PF,
        269,
        floor=580,
        form_factor='SXM6',
        nvswitch=True,
        sources=(_VGPU,),
    ),
    model(
        'GB300',
        'GB300',
        '31c2',
        'Blackwell',
        (),
        None,
        floor=580,
        form_factor='Grace Blackwell',
        nvswitch=True,
    ),
    model(
        'RTX PRO 6000 Blackwell Server Edition',
        'RTX PRO 6000',
        '2bb5',
        'Blackwell',
        table.PF,
        96,
        bars=aperture(128),
        floor=575,
        sources=(
            _VGPU,
            _MIG,
            'BAR1: nvidia-smi -q of a host of CubeCOS that has four of them',
        ),
    ),
    model(
        'RTX PRO 6000 Blackwell Workstation Edition',
        'RTX PRO 6000',
        '2bb1',
        'Blackwell',
        (),
        96,
        bars=(
            catalogue.Bar(0, 64 * table.MIB),
            *aperture(128),
        ),
        floor=570,
        audio='22e8',
        notes='Without Resizable BAR, BAR1 is 256 MiB',
        sources=(
            _MIG,
            'BARs: log of Firecracker with the card passed through',
        ),
    ),
    model(
        'RTX PRO 6000 Blackwell Max-Q Workstation Edition',
        'RTX PRO 6000',
        '2bb4',
        'Blackwell',
        (),
        96,
        bars=aperture(128),
        floor=570,
        sources=(
            _MIG,
            TELEGRAF.format('pro-6000-maxq-blackwell-v13'),
        ),
    ),
    model(
        'RTX PRO 5000 Blackwell',
        'RTX PRO 5000',
        '2bb3',
        'Blackwell',
        (),
        48,
        floor=570,
        notes='Shares its ids with the board of 72 GB',
        sources=(_MIG,),
    ),
    model(
        'RTX PRO 5000 72GB Blackwell',
        'RTX PRO 5000',
        '2bb3',
        'Blackwell',
        (),
        72,
        floor=570,
        subsystem_ids=(
            '10de:227a',
            '1028:227a',
            '103c:227a',
            '17aa:227a',
        ),
        notes='Shares its ids with the board of 48 GB',
    ),
    model(
        'RTX PRO 4500 Blackwell',
        'RTX PRO 4500',
        '2c31',
        'Blackwell',
        (),
        32,
        floor=570,
        sources=(_MIG,),
    ),
    model(
        'RTX PRO 4000 Blackwell',
        'RTX PRO 4000',
        '2c34',
        'Blackwell',
        (),
        None,
        floor=570,
    ),
    model(
        'RTX PRO 4000 Blackwell SFF Edition',
        'RTX PRO 4000',
        '2c33',
        'Blackwell',
        (),
        None,
        floor=570,
    ),
    model(
        'RTX PRO 2000 Blackwell',
        'RTX PRO 2000',
        '2d30',
        'Blackwell',
        (),
        None,
        floor=570,
    ),
)
