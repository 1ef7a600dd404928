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

"""What an upgrade changes for flavors."""

import ddt
import testtools

from gpuclient.model import flavor as flavor_model
from gpuclient.model import release as release_model
from gpuclient.rules import upgrade
from gpuclient.rules import upgrade_flavors

ALIAS = {'pci_passthrough:alias': 'a:1'}


@ddt.ddt
class TestFlavors(testtools.TestCase):
    def effects(
        self, start: str, end: str, **specs: str
    ) -> list[tuple[str, str, str]]:
        flavor = flavor_model.Flavor('1', 'gpu.1', 2, 2048, 1, True, specs)
        effects = [
            *upgrade_flavors.check(
                [flavor],
                None,
                upgrade.path(
                    release_model.parse(start), release_model.parse(end)
                ),
            )
        ]
        for effect in effects:
            self.assertTrue(effect.message.startswith("Flavor 'gpu.1': "))
            self.assertIsNone(effect.place)
        return [
            (str(effect.effect), effect.release.series, effect.code)
            for effect in effects
        ]

    @ddt.data(
        {},
        {'hw:maxphysaddr_mode': 'emulate', 'hw:maxphysaddr_bits': '46'},
        {'hw:cpu_policy': 'dedicated'},
        {'hw:cpu_cores': '2'},
        # Both releases refuse it.
        {'hw:locked_memory': 'true'},
        {'resources:CUSTOM_PCI_10DE_20F1': '1'},
    )
    def test_clean(self, specs: dict[str, str]) -> None:
        self.assertEqual(
            [], self.effects('2024.1', '2026.2', **ALIAS, **specs)
        )

    @ddt.data(
        ('hw:maxphysaddr_mode', 'emulate', '2024.1', 'maxphysaddr'),
        ('hw:virtio_packed_ring', 'true', '2024.1', 'packed-virtqueue'),
        (
            'hw:mem_encryption_model',
            'amd-sev',
            '2026.1',
            'memory-encryption-model',
        ),
        ('hw:sound_model', 'ich9', '2026.1', 'sound-model'),
        ('hw:usb_model', 'piix3-uhci', '2026.1', 'usb-model'),
        (
            'hw:tpm_secret_security',
            'user',
            '2026.1',
            'tpm-secret-security',
        ),
    )
    @ddt.unpack
    def test_takes_effect(
        self, key: str, value: str, end: str, code: str
    ) -> None:
        self.assertEqual(
            [('begins', end, code)],
            self.effects('2023.1', '2026.2', **ALIAS, **{key: value}),
        )

    def test_value_that_begins_to_be_refused(self) -> None:
        self.assertEqual(
            [
                ('breaks', '2025.2', 'GPU706'),
                ('begins', '2025.2', 'sound-model'),
            ],
            self.effects(
                '2025.1', '2025.2', **ALIAS, **{'hw:sound_model': 'x'}
            ),
        )

    @ddt.data(
        ('os:vram', 'begins', 'hyperv-specs', '2023.2', '2024.1'),
        ('hw:max_cpu_cores', 'begins', 'cpu-max-validated', '29', '2024.2'),
        ('hw:cpu_max_cores', 'possible', 'cpu-max-validated', '29', '2024.2'),
    )
    @ddt.unpack
    def test_validated(
        self, key: str, effect: str, code: str, start: str, end: str
    ) -> None:
        self.assertEqual(
            [(effect, end, code)],
            self.effects(start, end, **ALIAS, **{key: '2'}),
        )

    def test_other_flavors(self) -> None:
        self.assertEqual(
            [],
            self.effects('2023.1', '2026.2', **{'hw:sound_model': 'ich9'}),
        )
