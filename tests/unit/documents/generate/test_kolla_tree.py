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

"""A tree for Kolla-Ansible, with existing layers."""

import os
import pathlib

import fixtures
import testtools

from gpuclient.documents.generate import created_files
from gpuclient.documents import tree
from gpuclient import exceptions
from gpuclient.model import catalogue
from gpuclient.rules import configuration as configuration_rules

_EXAMPLE = (
    pathlib.Path(__file__).parents[4] / 'doc/source/user/examples/kolla.yaml'
)
NIC = '{"vendor_id": "15b3", "product_id": "1018", "physical_network": "x"}'
OTHER = (
    '{"name": "other", "vendor_id": "1002", "product_id": "74a1", '
    '"device_type": "type-PF"}'
)


class TestKolla(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)

    def write(self, name: str, text: str) -> None:
        path = self.folder / 'config' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def text(self, name: str) -> str:
        return (self.folder / 'config' / name).read_text()

    def create(self, example: pathlib.Path = _EXAMPLE) -> set[str]:
        """Write the tree; return the files that were changed."""
        wanted = created_files.read_description(
            os.fspath(example), catalogue.builtin()
        )
        files, _others = created_files.read_creation(
            os.fspath(self.folder), created_files.create(wanted)
        )
        for file in files:
            file.write()
        return {
            os.path.relpath(file.path, self.folder)
            for file in files
            if file.changed
        }

    def test_an_option_without_values(self) -> None:
        """No page is reserved for the host, so none is written."""
        text = _EXAMPLE.read_text()
        example = self.folder / 'example.yaml'
        example.write_text(text.replace('reserved: [2, 0]', 'reserved: 0'))
        self.assertNotEqual(text, example.read_text())
        self.create(example)
        paths = list((self.folder / 'config').rglob('*.conf'))
        self.assertNotEqual([], paths)
        for path in paths:
            self.assertNotIn('reserved_huge_pages', path.read_text())

    def refused(self) -> str:
        return str(self.assertRaises(exceptions.DocumentError, self.create))

    def codes(self) -> list[str]:
        contents = tree.read([os.fspath(self.folder)])
        return [
            located.finding.code
            for located in configuration_rules.check(contents.deployment)
        ]

    def test_options_stay_in_their_layer(self) -> None:
        """Options of all services in nova.conf are edited there."""
        self.write(
            'nova.conf',
            f'# ours\n[pci]\nalias = {OTHER}\n[filter_scheduler]\n'
            'enabled_filters = ComputeFilter,SameHostFilter\n',
        )
        self.create()
        text = self.text('nova.conf')
        self.assertEqual(3, text.count('alias = {'))
        self.assertIn(
            'enabled_filters = ComputeFilter,SameHostFilter,'
            'PciPassthroughFilter,NUMATopologyFilter\n',
            text,
        )
        self.assertNotIn('alias', self.text('nova/nova-compute.conf'))
        self.assertNotIn('filters', self.text('nova/nova-scheduler.conf'))
        self.assertNotIn('GPU306', self.codes())
        self.assertEqual(set(), self.create())

    def test_templates(self) -> None:
        """Lines of Jinja stay; an option in a condition is an error."""
        text = '{% if debug %}\n[DEFAULT]\ndebug = {{ debug }}\n{% endif %}\n'
        self.write('nova/nova-api.conf', text)
        self.create()
        self.assertEqual(text, self.text('nova/nova-api.conf')[: len(text)])
        self.write(
            'nova/nova-scheduler.conf',
            '[filter_scheduler]\n{% if a %}\nenabled_filters = A\n'
            '{% endif %}\n',
        )
        self.assertIn('is part of a template', self.refused())

    def test_own_files_are_edited(self) -> None:
        self.write('nova/nova-api.conf', f'[pci]\nalias = {OTHER}\n')
        self.create()
        self.assertEqual(3, self.text('nova/nova-api.conf').count('alias ='))

    def test_device_specs_of_others_are_not_hidden(self) -> None:
        self.write('nova/nova-compute.conf', f'[pci]\ndevice_spec = {NIC}\n')
        self.assertIn('would no longer read the values of', self.refused())
        self.assertFalse((self.folder / 'config/nova/gpu-0').exists())
        for host in ('gpu-0', 'gpu-1'):
            self.write(
                f'nova/{host}/nova.conf', f'[pci]\ndevice_spec = {NIC}\n'
            )
        self.create()
        self.assertEqual(set(), self.create())
        self.assertIn(NIC, self.text('nova/gpu-0/nova.conf'))

    def test_old_name(self) -> None:
        self.write(
            'nova/nova-compute.conf', f'[pci]\npassthrough_whitelist = {NIC}\n'
        )
        self.assertIn('nova-compute.conf sets it, too', self.refused())

    def test_hidden(self) -> None:
        """A later layer sets the option, so only its values count."""
        self.write('nova/gpu-1/nova.conf', f'[pci]\nalias = {OTHER}\n')
        self.assertIn('gpu-1/nova.conf sets it, too', self.refused())
