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

"""Files of deployment tools that are read and checked only."""

import os
import pathlib
import shutil
import tempfile

import ddt
import testtools

from gpuclient.documents import aliases
from gpuclient.documents import device_specs
from gpuclient.documents import tree
from gpuclient import exceptions
from gpuclient.model import alias as alias_model
from gpuclient.rules import configuration as configuration_rules

ALIAS = alias_model.Alias('a', '10de', '20f1', 'type-PF')
TEXT = ALIAS.render()
#: With escapes that the shell of devstack removes.
ESCAPED = TEXT.replace('"', '\\\\"')
SPEC = '{"vendor_id": "10de", "product_id": "20f1"}'


class ToolTestCase(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)

    def write(self, files: dict[str, str]) -> None:
        for name, text in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def services(self, files: dict[str, str]) -> tree.ConfigurationTree:
        self.write(files)
        contents = tree.read([os.fspath(self.folder)])
        self.assertEqual((), contents.unreadable)
        return contents

    def codes(self, files: dict[str, str]) -> list[tuple[str, str, object]]:
        return [
            (
                located.finding.code,
                os.path.relpath(located.place.path, self.folder),
                located.place.line,
            )
            for located in configuration_rules.check(
                self.services(files).deployment
            )
        ]

    def options(self, files: dict[str, str], reader: str) -> list[list[str]]:
        """Return section, option and value of what a service reads."""
        return [
            [
                f'[{option.section}]{option.name}={option.setting.text}'
                for option in service.options
            ]
            for service in self.services(files).deployment.processes
            if reader in service.readers
        ]


@ddt.ddt
class TestDevstack(ToolTestCase):
    # The values that inc/meta-config and inc/ini-config write.
    @ddt.data(
        ('{"name": "a"}', '{name: a}'),
        (r'{\"name\":\"a\"}', '{name:a}'),
        (r'{\"name\": \"one a\"}', '{name: one'),
        (r'{\\"name\\": \\"a\\"}', '{"name": "a"}'),
        (r'{\\\"name\\\": \\\"a\\\"}', '{"name": "a"}'),
        ('\'{"name": "a"}\'', '{name: a}'),
        ('A,B, C', 'A,B, C'),
        ('a"', 'a"'),
    )
    @ddt.unpack
    def test_values(self, written: str, read: str) -> None:
        text = f'[[post-config|$NOVA_CONF]]\n[pci]\nx = {written}\n'
        self.assertEqual(
            [[f'[pci]x={read}']],
            self.options({'local.conf': text}, 'nova-api'),
        )

    def test_sections(self) -> None:
        files = {
            'local.conf': (
                '[[local|localrc]]\nalias={}\n[pci]\n'
                '[[post-config|$NOVA_CONF]]\nlost = 1\n[pci]\n  # x\n'
                'a = 1\n  continued\nb: 2\n[filter_scheduler]\nf = $X\n'
                '[[post-config|/etc/neutron/neutron.conf]]\n[pci]\nc = 1\n'
                '[[post-config|$NOVA_CPU_CONF]]\n[PCI]\na = 3\na = 4\n'
                '[[extra|$NOVA_CONF]]\n[pci]\nd = 1\n'
            )
        }
        self.assertEqual(
            [['[pci]a=1', '[filter_scheduler]f=$X']],
            self.options(files, 'nova-api'),
        )
        self.assertEqual(
            [['[filter_scheduler]f=$X', '[pci]a=3', '[pci]a=4']],
            self.options(files, 'nova-compute'),
        )

    def test_check(self) -> None:
        text = (
            '[[post-config|$NOVA_CONF]]\n[filter_scheduler]\n'
            'enabled_filters = ComputeFilter,PciPassthroughFilter\n[pci]\n'
            f'alias = {ESCAPED}\n'
            '[[post-config|$NOVA_CPU_CONF]]\n[pci]\ndevice_spec = '
            + SPEC.replace('"', '\\\\"')
        )
        self.assertEqual([], self.codes({'local.conf': text}))
        self.assertEqual(
            {('GPU301', 'local.conf', 5)},
            set(self.codes({'local.conf': text.replace(ESCAPED, TEXT)})),
        )

    def test_edit_is_refused(self) -> None:
        self.write({'local.conf': '[[post-config|$NOVA_CONF]]\n[pci]\nx=1\n'})
        path = os.fspath(self.folder / 'local.conf')
        (document,) = aliases.read(path)
        self.assertTrue(aliases.add(document, ALIAS))
        error = self.assertRaises(
            exceptions.UnsafeEdit, document.file.check_writable
        )
        self.assertIn('Files of devstack are not edited', str(error))
        self.assertEqual(f'[pci]\n+alias = {ESCAPED}\n', error.patch)

    def test_values_are_quoted_for_devstack(self) -> None:
        """The shell of devstack reads an edit as text, not as commands."""
        self.write(
            {'local.conf': '[[post-config|$NOVA_CPU_CONF]]\n[pci]\nx=1\n'}
        )
        path = os.fspath(self.folder / 'local.conf')
        (document,) = device_specs.read(path)
        entry = {'vendor_id': '10de', 'physical_network': '`id` $(id)'}
        device_specs.add(document, entry)
        line = document.file.diff().partition('+')[2]
        self.assertEqual(
            'device_spec = {\\\\"vendor_id\\\\": \\\\"10de\\\\", '
            '\\\\"physical_network\\\\": '
            '\\\\"\\\\`id\\\\` \\\\$(id)\\\\"}\n',
            line,
        )

    def test_no_nova_configuration(self) -> None:
        self.write({'local.conf': '[[local|localrc]]\nA=1\n'})
        self.assertEqual((), self.services({}).deployment.processes)


@ddt.ddt
class TestOpenStackAnsible(ToolTestCase):
    # The options that the role's template and config_template write.
    @ddt.data(
        (f"nova_pci_alias:\n- '{TEXT}'\n- x\n", [f'alias={TEXT}', 'alias=x']),
        ("nova_device_spec: '{}'\n", ['device_spec={}']),
        (
            'nova_device_spec:\n- vendor_id: "10de"\n  address: {bus: "04"}\n',
            ['device_spec={"vendor_id": "10de", "address": {"bus": "04"}}'],
        ),
        (
            'nova_pci_passthrough_whitelist: [a]\nnova_device_spec: [b]\n',
            ['device_spec=b'],
        ),
        (
            'nova_nova_conf_overrides: {pci: {alias: "a", b: [c, d]}}\n',
            ['alias=a', 'b=c,d'],
        ),
        (
            'nova_nova_conf_overrides:\n  PCI:\n    alias:\n'
            "      ? 'b'\n      ? 'a'\n    on: true\n    off: {}\n",
            ['alias=a', 'alias=b', 'on=True'],
        ),
        # A mapping that is not a set is written as Python prints it.
        (
            'nova_nova_conf_overrides: {pci: {alias: {name: a}}}\n',
            ["alias={'name': 'a'}"],
        ),
        # An override replaces all values.
        (
            'nova_pci_alias: [a, b]\n'
            'nova_nova_conf_overrides: {pci: {alias: c}}\n',
            ['alias=c'],
        ),
    )
    @ddt.unpack
    def test_values(self, text: str, expected: list[str]) -> None:
        self.assertEqual(
            [[f'[pci]{option}' for option in expected]],
            self.options({'user_variables.yml': text}, 'nova-compute'),
        )

    def test_filters(self) -> None:
        self.assertEqual(
            [['[filter_scheduler]enabled_filters=a,b']],
            self.options(
                {
                    'user_a.yml': 'nova_scheduler_default_filters: "a"\n',
                    'user_b.yml': 'nova_scheduler_extra_filters: [b]\n',
                },
                'nova-scheduler',
            ),
        )

    def test_more_filters_than_the_role_has(self) -> None:
        ((filters,),) = self.options(
            {'user_b.yml': 'nova_scheduler_extra_filters: [b]\n'},
            'nova-scheduler',
        )
        self.assertTrue(
            filters.startswith(
                '[filter_scheduler]enabled_filters=ComputeFilter,'
            )
        )
        self.assertTrue(filters.endswith(',NUMATopologyFilter,b'))

    def test_places(self) -> None:
        """User files override hosts, hosts override groups, by variable."""
        files = {
            'group_vars/nova_all.yml': (
                'nova_pci_alias: [all]\nnova_device_spec: [all]\n'
            ),
            'group_vars/nova_api_os_compute/x.yml': 'nova_pci_alias: [api]\n',
            'group_vars/compute_hosts.yml': 'nova_device_spec: [group]\n',
            'host_vars/c1/nova.yml': 'nova_device_spec: [c1]\n',
            'user_x.yml': 'nova_nova_conf_overrides: {pci: {y: 1}}\n',
        }
        self.assertEqual(
            [['[pci]device_spec=all', '[pci]alias=api', '[pci]y=1']],
            self.options(files, 'nova-api'),
        )
        self.assertEqual(
            [
                ['[pci]device_spec=group', '[pci]alias=all', '[pci]y=1'],
                ['[pci]device_spec=c1', '[pci]alias=all', '[pci]y=1'],
            ],
            self.options(files, 'nova-compute'),
        )

    def test_check(self) -> None:
        files = {
            'user_variables.yml': (
                'nova_nova_conf_overrides:\n  pci:\n'
                '    report_in_placement: true\n    alias:\n'
                f"      ? '{TEXT}'\n"
                'nova_scheduler_extra_filters: [PciPassthroughFilter]\n'
            ),
            'host_vars/c1.yml': (
                f"nova_device_spec:\n- '{SPEC}'\n- '{{{{x}}}}'\n"
            ),
        }
        self.assertEqual([], self.codes(files))
        files['host_vars/c1.yml'] = "nova_device_spec:\n- '{'\n"
        self.assertEqual(
            [('GPU302', 'host_vars/c1.yml', 2)], self.codes(files)
        )

    @ddt.data(
        ('nova_pci_alias: []\n', f" nova_pci_alias:\n+  - '{TEXT}'\n"),
        (
            'nova_nova_conf_overrides: {pci: {alias: {}}}\nnova_pci_alias: ["'
            + TEXT.replace('"', '\\"').replace('20f1', '2330')
            + '"]\n',
            '',
        ),
    )
    @ddt.unpack
    def test_edit_is_refused(self, text: str, patch: str) -> None:
        self.write({'user_variables.yml': text})
        path = os.fspath(self.folder / 'user_variables.yml')
        (document,) = aliases.read(path)
        if not patch:
            # The alias already exists with another definition.
            error = self.assertRaises(
                exceptions.InvalidAlias, aliases.add, document, ALIAS
            )
            self.assertIn('another definition', str(error))
            return
        aliases.add(document, ALIAS)
        error = self.assertRaises(
            exceptions.UnsafeEdit, document.file.check_writable
        )
        self.assertIn('Files of OpenStack-Ansible are not edited', str(error))
        self.assertEqual(patch, error.patch)

    def test_change_and_remove(self) -> None:
        text = f"nova_nova_conf_overrides:\n  pci:\n    alias: '{TEXT}'\n"
        self.write({'user_variables.yml': text})
        path = os.fspath(self.folder / 'user_variables.yml')
        (document,) = aliases.read(path)
        aliases.change(document, 'a', {'numa_policy': 'socket'})
        self.assertIn('\n+      ? \'{"name": "a"', document.file.diff())
        self.assertIn("\n-      ? '", document.file.diff())
        (document,) = aliases.read(path)
        self.assertTrue(aliases.remove(document, 'a'))
        (spec,) = device_specs.read(path)
        self.assertTrue(device_specs.add(spec, {'vendor_id': '10de'}))
        self.assertEqual(
            ' nova_device_spec:\n+  - \'{"vendor_id": "10de"}\'\n',
            spec.file.diff(),
        )

    def test_old_name_of_device_specs(self) -> None:
        self.write({'user_nova.yml': 'nova_pci_passthrough_whitelist: []\n'})
        path = os.fspath(self.folder / 'user_nova.yml')
        (document,) = device_specs.read(path)
        device_specs.add(document, {'vendor_id': '10de'})
        self.assertEqual(
            ' nova_pci_passthrough_whitelist:\n'
            '+  - \'{"vendor_id": "10de"}\'\n',
            document.file.diff(),
        )

    def test_unreadable(self) -> None:
        laughs = 'a0: &a0 [x]\n' + ''.join(
            f'a{number}: &a{number} [{f"*a{number - 1}," * 9}]\n'
            for number in range(1, 30)
        )
        for text, message in (
            ('nova_pci_alias: [\n', ', line 2: '),
            ('nova_pci_alias:\n- x\n- ? a: b\n', ', line 3: a mapping is a'),
            ('nova_pci_alias: []\nx:\n  ? [b]\n  : c\n', ', line 3: a list'),
            ('nova_pci_alias: []\nx="\ny: z\n', ', line 2: '),
            (f'{laughs}nova_pci_alias: [*a29]\n', 'too many parts'),
            (f'nova_pci_alias: [[{"x," * 2000}]]\n', 'too many parts'),
        ):
            self.write({'user_nova.yml': text})
            (unreadable,) = tree.read([os.fspath(self.folder)]).unreadable
            self.assertIn(message, unreadable[1])
            self.assertNotIn('\n', unreadable[1])

    def test_keys(self) -> None:
        """A set of Ansible and a template expression are accepted."""
        self.write(
            {
                'user_nova.yml': (
                    'nova_nova_conf_overrides:\n  pci:\n    alias:\n'
                    f"      ? '{TEXT}'\nx: {{{{ y }}}}\nz: &z [*z]\n"
                )
            }
        )
        contents = tree.read([os.fspath(self.folder)])
        self.assertEqual((), contents.unreadable)
        self.assertNotEqual((), contents.deployment.processes)

    def test_broken_files_of_tools_in_a_folder(self) -> None:
        for text in (
            'options:\n  pci-alias="{}"\n  debug: true\n',
            'parameter_defaults:\n  NovaPCIPassthrough:\n  - a: b\n   c\n',
        ):
            self.write({'bundle.yaml': text})
            (unreadable,) = tree.read([os.fspath(self.folder)]).unreadable
            self.assertIsNotNone(unreadable.line)
        self.write({'bundle.yaml': 'options:\n  x="{}"\n  debug: true\n'})
        self.assertEqual((), tree.read([os.fspath(self.folder)]).unreadable)
