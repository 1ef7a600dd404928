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

import ddt
import testtools

from gpuclient import exceptions
from gpuclient.model import flavor as flavor_model
from gpuclient.model import release
from gpuclient.rules import finding
from gpuclient.rules import flavor as flavor_rules


@ddt.ddt
class TestRequest(testtools.TestCase):
    def test_good(self) -> None:
        self.assertEqual(('a', 1), flavor_model.parse_request('a:1'))
        self.assertEqual(('a b', 10), flavor_model.parse_request(' a b:10'))
        self.assertEqual(
            ('a', 0), flavor_model.parse_request('a:0', force=True)
        )

    @ddt.data(
        'a',
        'a:',
        ':1',
        'a:-1',
        'a:b',
        'a:1.5',
        'a:0',
        'a:b:1',
        'a,b:1',
        'a:١',
        'a\n:1',
        '',
        'a: 1',
        'a:0x1',
        'a:' + '1' * 5000,
    )
    def test_bad(self, text: str) -> None:
        error = self.assertRaises(
            exceptions.InvalidValue, flavor_model.parse_request, text
        )
        self.assertNotIn('\n', str(error))

    def test_stored_values(self) -> None:
        for value, expected in (
            ('', ({}, ('',))),
            ('a:1,', ({'a': 1}, ('',))),
            (' a : +1_0', ({'a': 10}, ())),
            ('a:1', ({'a': 1}, ())),
            ('a:1, b:2', ({'a': 1, 'b': 2}, ())),
            ('a:1,a:2', ({'a': 3}, ())),
            ('a', ({}, ('a',))),
            ('a:1,b', ({'a': 1}, ('b',))),
            ('a: 1', ({'a': 1}, ())),
            ('a:1:2', ({}, ('a:1:2',))),
            ('a:-1', ({'a': 0}, ())),
        ):
            self.assertEqual(expected, flavor_model.read_aliases(value))
        self.assertEqual(
            'a:1,b:2', flavor_model.write_aliases({'a': 1, 'b': 2})
        )

    def test_nova_accepts_what_we_write(self) -> None:
        from nova.api.validation.extra_specs import validators

        validators.validate(
            flavor_model.ALIASES,
            flavor_model.write_aliases({'a b': 1, 'ü': 20}),
        )


A100 = 'CUSTOM_PCI_10DE_20F1'


def flavor(specs: dict[str, str]) -> flavor_model.Flavor:
    return flavor_model.Flavor('1', 'f', 4, 1024, 1, True, specs)


@ddt.ddt
class TestCheck(testtools.TestCase):
    @ddt.data(
        ({}, []),
        ({flavor_model.ALIASES: 'a:1'}, []),
        ({flavor_model.ALIASES: 'a:0'}, ['GPU701']),
        # A negative number requests no device.
        ({flavor_model.ALIASES: 'a:-1'}, ['GPU701']),
        ({flavor_model.ALIASES: 'a'}, ['GPU702']),
        ({flavor_model.ALIASES: ''}, ['GPU702']),
        ({flavor_model.ALIASES: 'a:1,'}, ['GPU702']),
        (
            {flavor_model.ALIASES: 'a:1', f'resources2:{A100}': '1'},
            ['GPU703'],
        ),
        ({f'resources:{A100}': '1'}, ['GPU704']),
        # Nothing is requested, or Nova ignores the request.
        ({f'resources:{A100}': '0', flavor_model.ALIASES: 'a:1'}, []),
        ({f'resources:{A100}': '-1', flavor_model.ALIASES: 'a:1'}, []),
        ({f'resources:{A100}': 'x'}, []),
        ({f'resources/1:{A100}': '1'}, []),
        ({f'resources{"x" * 65}:{A100}': '1'}, []),
        ({'resources:CUSTOM_GOLD': '1', flavor_model.ALIASES: 'a:1'}, []),
        (
            {
                'resources:CUSTOM_RESERVATION_1': '1',
                flavor_model.ALIASES: 'a:1',
            },
            [],
        ),
        ({'pci_passthrough:spec': '{}'}, ['GPU705']),
        # Misspellings of the whole key.
        ({'pci_passtrough:alias': 'a:1'}, ['GPU705']),
        ({'pci_passthru:alias': 'a:1'}, ['GPU705']),
        ({'PCI_Passthrough:Alias': 'a:1,b:2'}, ['GPU705']),
        ({'pci-passthrough:alias': 'a:1'}, ['GPU705']),
        ({'hw:pci_passthrough:alias': 'a:1'}, ['GPU705']),
        # Nothing is missing, or the value does not request devices.
        (
            {'pci_passtrough:alias': 'a:1', flavor_model.ALIASES: 'a:1'},
            [],
        ),
        ({'pci_passthrough_alias': 'true'}, []),
        ({'aggregate_instance_extra_specs:pci_passthrough': 'a:1'}, []),
        ({'accel:device_profile': 'a:1', 'quota:vif_burst': '1:1'}, []),
        ({'hw:pci_numa_affinity_policy': 'preferred'}, []),
        (
            {'pci_passthrough:aliases': 'a:1', flavor_model.ALIASES: 'a:1'},
            ['GPU705'],
        ),
        (
            {
                'hw:pci_numa_affinity_policy': 'prefered',
                flavor_model.ALIASES: 'a:1',
            },
            ['GPU706'],
        ),
        (
            {
                'hw:pci_numa_affinity_policy': 'preferred',
                flavor_model.ALIASES: 'a:1',
            },
            [],
        ),
        ({'hw:cpu_thread_policy': 'require'}, ['GPU706']),
        (
            {
                'hw:cpu_thread_policy': 'require',
                'hw:cpu_policy': 'dedicated',
            },
            [],
        ),
        ({'trait1:CUSTOM_A': 'required'}, ['GPU708']),
        ({'trait1:CUSTOM_A': 'required', 'resources1:VCPU': '1'}, []),
        (
            {
                'resources1:VCPU': '1',
                'resources2:MEMORY_MB': '1',
                flavor_model.ALIASES: 'a:1',
            },
            ['GPU708'],
        ),
        (
            {
                'resources1:VCPU': '1',
                'resources2:MEMORY_MB': '1',
                flavor_model.ALIASES: 'a:1',
                'group_policy': 'none',
            },
            [],
        ),
        ({'resources1:VCPU': '1', flavor_model.ALIASES: 'a:2'}, []),
    )
    @ddt.unpack
    def test_codes(self, specs: dict[str, str], expected: list[str]) -> None:
        self.assertEqual(
            expected,
            [finding.code for finding in flavor_rules.check(flavor(specs))],
        )

    def test_classes_of_devices(self) -> None:
        """The class counts if PCI devices have it, whatever its name."""
        by_name = {'resources:CUSTOM_GPU': '1'}
        both = {**by_name, flavor_model.ALIASES: 'a:1'}
        for specs, classes, expected in (
            (both, {'CUSTOM_GPU'}, ['GPU703']),
            (by_name, {'CUSTOM_GPU'}, ['GPU704']),
            (both, {A100}, []),
            (both, None, []),
            ({f'resources:{A100}': '1'}, {'CUSTOM_GPU'}, []),
        ):
            self.assertEqual(
                expected,
                [
                    finding.code
                    for finding in flavor_rules.check(flavor(specs), classes)
                ],
            )
        self.assertTrue(
            flavor_model.is_for_devices(flavor(by_name), {'CUSTOM_GPU'})
        )
        self.assertFalse(flavor_model.is_for_devices(flavor(by_name)))

    def test_error_that_an_image_can_correct_is_a_warning(self) -> None:
        for specs, severity in (
            ({'hw:mem_encryption': 'yes'}, finding.Severity.WARNING),
            ({'hw:cpu_policy': 'both'}, finding.Severity.ERROR),
        ):
            (result,) = flavor_rules.check(flavor(specs))
            self.assertEqual(
                ('GPU706', severity), (result.code, result.severity)
            )

    def test_undefined_alias(self) -> None:
        reply = 'PCI alias a100 is not defined'
        finding = flavor_rules.undefined_alias('a100', reply, ['A100', 'a2'])
        self.assertEqual('GPU707', finding.code)
        self.assertIn("Request 'A100'", finding.message)
        finding = flavor_rules.undefined_alias('a100', reply, ['a2'])
        self.assertIn('"openstack gpu alias create"', finding.message)

    def test_flavor(self) -> None:
        flavor = flavor_model.Flavor('1', 'f', 1, 1, 1, True)
        self.assertIsNone(flavor.aliases)
        self.assertFalse(flavor_model.is_for_devices(flavor))
        self.assertEqual((), flavor_rules.check(flavor))


@ddt.ddt
class TestRelease(testtools.TestCase):
    """Extra specs that a release ignores: GPU709."""

    @ddt.data(
        ('hw:maxphysaddr_mode', 'passthrough', '28', '29'),
        ('hw:mem_encryption_model', 'amd-sev-es', '31', '32'),
        ('hw:tpm_secret_security', 'host', '32', '33'),
    )
    @ddt.unpack
    def test_both_sides(
        self, key: str, value: str, before: str, since: str
    ) -> None:
        flavor = flavor_model.Flavor('id', 'f', 4, 2048, 1, True, {key: value})
        (warning,) = flavor_rules.check(flavor, None, release.parse(before))
        self.assertEqual('GPU709', warning.code)
        self.assertIn(f'Nova {before} ignores {key}', warning.message)
        self.assertEqual(
            (), flavor_rules.check(flavor, None, release.parse(since))
        )
