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

"""GPUs of NVIDIA."""

from gpuclient.model import catalogue

_MIB = 1024**2
_GIB = 1024**3

MODELS: tuple[catalogue.Model, ...] = (
    catalogue.Model(
        slug='nvidia_v100_pcie_16gb',
        name='NVIDIA V100 PCIe 16GB',
        designation='V100',
        vendor_id='10de',
        product_id='1db4',
        architecture='Volta',
        device_types=('type-PCI',),
        memory_mb=16384,
        driver='nvidia',
        open_kernel_modules='unsupported',
        form_factor='PCIe',
        sources=('pci.ids',),
    ),
    catalogue.Model(
        slug='nvidia_a100_pcie_40gb',
        name='NVIDIA A100 PCIe 40GB',
        designation='A100',
        vendor_id='10de',
        product_id='20f1',
        architecture='Ampere',
        device_types=('type-PF',),
        memory_mb=40960,
        bars=(
            catalogue.Bar(0, 16 * _MIB),
            catalogue.Bar(1, 64 * _GIB, prefetchable=True),
            catalogue.Bar(3, 32 * _MIB, prefetchable=True),
        ),
        driver='nvidia',
        open_kernel_modules='supported',
        form_factor='PCIe',
        sources=('NVIDIA/open-gpu-kernel-modules README.md',),
    ),
    catalogue.Model(
        slug='nvidia_a16',
        name='NVIDIA A16',
        designation='A16',
        vendor_id='10de',
        product_id='25b6',
        architecture='Ampere',
        device_types=('type-PF',),
        memory_mb=16384,
        driver='nvidia',
        open_kernel_modules='supported',
        form_factor='PCIe',
        subsystem_ids=('10de:14a9',),
        sources=('NVIDIA/open-gpu-kernel-modules README.md',),
    ),
    catalogue.Model(
        slug='nvidia_a2',
        name='NVIDIA A2',
        designation='A2',
        vendor_id='10de',
        product_id='25b6',
        architecture='Ampere',
        device_types=('type-PF',),
        memory_mb=16384,
        driver='nvidia',
        open_kernel_modules='supported',
        form_factor='PCIe',
        subsystem_ids=('10de:157e',),
        sources=('NVIDIA/open-gpu-kernel-modules README.md',),
    ),
)
