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

import functools

import ddt
import testtools

from gpuclient.documents import pci_ids
from gpuclient.model import alias as alias_model
from gpuclient.model import catalogue
from gpuclient.rules import catalogue as catalogue_rules
from gpuclient.rules import finding


#: Reading the database takes as long as all the tests.
_names = functools.cache(pci_ids.load)


def check(name, ids, device_type=None, names=None):
    vendor_id, _colon, product_id = ids.partition(':')
    alias = alias_model.Alias(name, vendor_id, product_id, device_type)
    return catalogue_rules.check_alias(alias, catalogue.builtin(), names)


@ddt.ddt
class TestCheckAlias(testtools.TestCase):
    @ddt.data(
        # The ids are those of an A100.
        ('nvidia_a2', '10de:20f1', ['GPU119']),
        ('A2-gpu', '10DE:20F1', ['GPU119']),
        ('gpu-a2', '10de:20f1', ['GPU119']),
        ('l40s', '10de:26b5', ['GPU119']),
        ('h100-nvl', '10de:2331', ['GPU119']),
        ('nvidia-rtx-6000-ada', '10de:2bb5', ['GPU119']),
        ('quadro-rtx-6000', '10de:26b1', ['GPU119']),
        ('mi210', '1002:74a1', ['GPU119']),
        ('rtxa6000', '10de:2231', ['GPU119']),
        ('a100-80gb', '10de:20f1', ['GPU119']),
        ('A100_40GB', '10de:20b5', ['GPU119']),
        # Mistyped ones.
        ('a100', '10de:20f2', ['GPU117']),
        ('gpu', '10de:ffff', ['GPU117']),
        ('gpu', '1002:ffff', ['GPU117']),
        # Swapped ones.
        ('gpu', '20f1:10de', ['GPU118']),
        ('gpu', 'ffff:10DE', ['GPU118']),
        ('gpu', '56c0:8086', ['GPU118']),
    )
    @ddt.unpack
    def test_found(self, name, ids, codes):
        warnings = check(name, ids)
        self.assertEqual(codes, [warning.code for warning in warnings])
        self.assertEqual(
            {finding.Severity.WARNING},
            {warning.severity for warning in warnings},
        )

    @ddt.data(
        # The model in the name is correct.
        ('nvidia_a2', '10de:25b6'),
        ('nvidia_a16', '10de:25b6'),
        ('a100', '10de:20f1'),
        ('a100-80gb', '10de:20b5'),
        ('a100_40', '10de:20f1'),
        ('v100_32_sxm2', '10de:1db5'),
        ('h100', '10de:2321'),
        ('h100l', '10de:2321'),
        ('rtxa6000', '10de:2230'),
        ('rtx_a6000', '10de:2230'),
        ('nvidia-tesla-t4', '10de:1eb8'),
        ('mi250x', '1002:740c'),
        ('flex170', '8086:56c0'),
        # The A40 is an NVIDIA GPU; the Arc Pro A40 is not.
        ('arc-pro-a40', '8086:56b1'),
        ('a40', '8086:56b1'),
        # Names without a model; a2 may follow a1, as in examples.
        ('gpu', '10de:20f1'),
        ('a2', '10de:13f2'),
        ('rack_a2', '10de:20f1'),
        ('zone-a10-gpu', '10de:20f1'),
        ('team-l4-big', '10de:2330'),
        ('large', '10de:20f1'),
        ('Größe 2', '10de:20f1'),
        # Devices that are not GPUs.
        ('x710', '8086:1572'),
        ('qat', '8086:37c8'),
        ('cx6', '15b3:101e'),
        ('swapped-nic', '1572:8086'),
        ('nvswitch', '10de:22a3'),
        ('audio', '10de:1aef'),
    )
    @ddt.unpack
    def test_not_found(self, name, ids):
        self.assertEqual((), check(name, ids))

    @ddt.data(
        ('10de:20f1', 'type-PCI', ['GPU120']),
        ('10de:20f1', 'type-PF', []),
        ('10de:20f1', 'type-VF', []),
        ('10de:20f1', None, []),
        ('10de:1db6', 'type-PF', ['GPU120']),
        ('10de:1db6', 'type-VF', ['GPU120']),
        ('10de:1db6', 'type-PCI', []),
        # The mode decides; usually it is the display mode.
        ('10de:2230', 'type-PF', ['GPU120']),
        ('10de:2230', 'type-PCI', []),
        ('10de:2230', None, []),
        # The firmware decides.
        ('10de:1eb8', 'type-PCI', ['GPU120']),
        ('10de:1eb8', 'type-PF', []),
        # No source has the type.
        ('1002:73a3', 'type-PF', []),
    )
    @ddt.unpack
    def test_device_type(self, ids, device_type, codes):
        warnings = check('gpu', ids, device_type)
        self.assertEqual(codes, [warning.code for warning in warnings])

    def test_ids_and_sizes_of_virtual_functions(self):
        self.assertEqual((), check('v620', '1002:73ae', 'type-VF'))
        self.assertEqual((), check('a100-40gb', '10de:20b5', 'type-VF'))

    def test_models_only_in_pci_ids(self):
        def names(vendor_id, product_id):
            self.assertEqual(('10de', '2684'), (vendor_id, product_id))
            return 'AD102 [GeForce RTX 4090]'

        self.assertEqual((), check('rtx4090', '10DE:2684', names=names))
        self.assertEqual(
            ['GPU117'],
            [
                warning.code
                for warning in check(
                    'rtx4090', '10de:2684', names=lambda _vendor, _id: None
                )
            ],
        )

    def test_no_ids(self):
        alias = alias_model.Alias('nvidia_a2', resource_class='GPU')
        self.assertEqual(
            (), catalogue_rules.check_alias(alias, catalogue.builtin())
        )

    def test_messages(self):
        for arguments, message in (
            (
                ('nvidia_a2', '10de:20f1', 'type-PCI'),
                "GPU119: The name of alias 'nvidia_a2' suggests A2, but its "
                'IDs 10de:20f1 are those of NVIDIA A100 PCIe 40GB (NVIDIA '
                'A2 is 10de:25b6)',
            ),
            (
                ('a2', '10de:25b7'),
                'GPU117: No GPU model in the catalogue has the IDs 10de:25b7 '
                "of alias 'a2'. Compare them with lspci -nn; NVIDIA A2 is "
                '10de:25b6',
            ),
            (
                ('a100', '20f1:10de'),
                "GPU118: vendor_id '20f1' and product_id '10de' of alias "
                "'a100' are swapped (the IDs of NVIDIA A100 PCIe 40GB): the "
                'alias matches no device. Swap them',
            ),
            (
                ('a100-80gb', '10de:20f1'),
                "GPU119: The name of alias 'a100-80gb' suggests 80 GB, but "
                'its IDs 10de:20f1 are those of NVIDIA A100 PCIe 40GB',
            ),
            (
                ('v100', '10de:1db6', 'type-PF'),
                "GPU120: Alias 'v100' requests type-PF devices, but NVIDIA "
                'Tesla V100 PCIe 32GB is type-PCI: such a card never '
                'matches the alias. Check sriov_totalvfs of the '
                'device on the host (0 or no such file: type-PCI)',
            ),
            (
                ('a6000', '10de:2230', 'type-PF'),
                "GPU120: Alias 'a6000' requests type-PF devices, but NVIDIA "
                'RTX A6000 is usually type-PCI: such a card never '
                'matches the alias. It is type-PF in some cases: '
                'SR-IOV is exposed in the mode without display outputs only; '
                'displaymodeselector of NVIDIA changes the mode, and the BAR '
                'sizes with it; BAR1 is then 64 GiB. Check '
                'sriov_totalvfs of the device on the host '
                '(0 or no such file: type-PCI)',
            ),
            (
                ('t4', '10de:1eb8', 'type-PCI'),
                "GPU120: Alias 't4' requests type-PCI devices, but NVIDIA "
                'Tesla T4 is usually type-PF: such a card never '
                'matches the alias. It is type-PCI in some cases: '
                'Hosts are known that see either type. Check '
                'sriov_totalvfs '
                'of the device on the host (0 or no such file: type-PCI)',
            ),
        ):
            self.assertEqual(message, str(check(*arguments)[0]))

    @ddt.data(
        # Names in guides of StackHPC, StarlingX, OSISM and others.
        ('h100_80_sxm', '10de:2330', 'type-PF'),
        ('a100_80_sxm', '10de:20b2', 'type-PF'),
        ('a100_40_sxm', '10de:20b0', 'type-PF'),
        ('v100_32_sxm3', '10de:1db8', 'type-PCI'),
        ('v100s_32', '10de:1df6', 'type-PCI'),
        ('a6000', '10de:2230', 'type-PCI'),
        ('a40', '10de:2235', 'type-PF'),
        ('gpuA40', '10de:2235', None),
        ('t4', '10de:1eb8', 'type-PF'),
        ('nvidia-tesla-t4-pf', '10de:1eb8', 'type-PF'),
        ('l40', '10de:26b5', 'type-PF'),
        ('h100l', '10de:2321', 'type-PF'),
        ('h100', '10de:2339', None),
        ('nvidia-tesla-m60', '10de:13f2', None),
        ('nvidia-tesla-p40', '10de:1b38', None),
        ('nvidiap40', '10de:1b38', 'type-PCI'),
        ('gpu_nvidia_v100', '10de:1db5', 'type-PCI'),
        ('a30', '10de:20b7', 'type-PF'),
        ('K80', '10de:102d', 'type-PCI'),
        ('gpu-rtx3080', '10de:2206', None),
        ('g3090', '10de:2204', 'type-PCI'),
        ('geforce-gtx', '10de:2584', 'type-PCI'),
        ('matrox-g200e', '102b:0522', None),
        ('qat-c62x-pf', '8086:37c8', None),
    )
    @ddt.unpack
    def test_aliases_of_public_configurations(self, name, ids, device_type):
        """Aliases that are in use cause no false alarm."""
        self.assertEqual((), check(name, ids, device_type, _names().device))

    def test_every_model_under_its_own_name(self):
        """Names of the catalogue cause no false alarm."""
        for model in catalogue.builtin().models:
            for name in (
                model.slug,
                model.name,
                model.slug.replace('_', '-'),
                model.designation,
                model.designation.replace(' ', '').lower(),
            ):
                self.assertEqual(
                    (), check(name, model.ids, model.device_type), name
                )
