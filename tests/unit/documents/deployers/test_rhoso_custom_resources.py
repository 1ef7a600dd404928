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

"""Nova configuration in YAML: what is read, and what an edit changes."""

import os
import pathlib
import shutil
import tempfile
import time
import unittest.mock

import ddt
import testtools
import yaml

from gpuclient.documents import aliases
from gpuclient.documents.deployers import rhoso_custom_resources
from gpuclient.documents import nova_conf
from gpuclient.documents import yaml_file
from gpuclient import exceptions
from gpuclient.files import atomic
from gpuclient.model import alias as alias_model

ALIAS = alias_model.Alias('a', '10de', '20f1', 'type-PF')
LINE = f'alias = {ALIAS.render()}'
CONTROL_PLANE = """\
# The lab's control plane
data:
  preserveJobs: false   # keep
  nova:
    apiServiceTemplate:
      replicas: 1
      customServiceConfig: |
        [filter_scheduler]
        pci_in_placement = True

        [pci]
        # mine
    schedulerServiceTemplate:
      customServiceConfig: |
        [filter_scheduler]
        pci_in_placement = True
    cellTemplates:
      cell1:
        conductorServiceTemplate:
          customServiceConfig: |
            [filter_scheduler]
            pci_in_placement = True
  neutron:
    apiServiceTemplate:
      customServiceConfig: |
        [DEFAULT]
"""
NODESET = """\
kind: ConfigMap
data:
  nodeset:
    ansible: {a: 1}
  nova:
    compute:
      conf: |
        [compute]
        cpu_shared_set = 0-3
    pci:
      conf: |
        [pci]
        report_in_placement = True
"""


class YamlTestCase(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        self.path = self.folder / 'values.yaml'

    def read(
        self, text: str | bytes
    ) -> rhoso_custom_resources.CustomResourceFile:
        if isinstance(text, str):
            text = text.encode()
        self.path.write_bytes(text)
        return rhoso_custom_resources.CustomResourceFile.read(self.path)

    def parts(self, text: str) -> list[tuple[str, str]]:
        return [(part.service, part.keys) for part in self.read(text).parts]

    def added(self, text: str) -> str:
        self.read(text)
        for document in aliases.read(os.fspath(self.path)):
            aliases.add(document, ALIAS)
        document.file.write()
        return self.path.read_bytes().decode()


class TestFind(YamlTestCase):
    def test_control_plane(self) -> None:
        self.assertEqual(
            [
                (
                    'nova-api',
                    'data.nova.apiServiceTemplate.customServiceConfig',
                ),
                (
                    'nova-scheduler',
                    'data.nova.schedulerServiceTemplate.customServiceConfig',
                ),
                (
                    'nova-conductor',
                    'data.nova.cellTemplates.cell1.conductorServiceTemplate.'
                    'customServiceConfig',
                ),
            ],
            self.parts(CONTROL_PLANE),
        )

    def test_custom_resources(self) -> None:
        """The output of oc get -o yaml: a list, or several documents."""
        resource = (
            'kind: OpenStackControlPlane\n'
            'spec:\n'
            '  nova:\n'
            '    template:\n'
            '      apiServiceTemplate:\n'
            '        customServiceConfig: |\n'
            '          [pci]\n'
        )
        config_map = (
            'kind: ConfigMap\n'
            'data:\n'
            '  03-gpu-nova.conf: |\n'
            '    [pci]\n'
            '  other.conf: |\n'
            '    [dnsmasq]\n'
        )
        expected = [
            (
                'nova-api',
                'spec.nova.template.apiServiceTemplate.customServiceConfig',
            ),
            ('nova-compute', 'data.03-gpu-nova.conf'),
        ]
        self.assertEqual(expected, self.parts(f'{resource}---\n{config_map}'))
        items = ''.join(
            '- ' + text.replace('\n', '\n  ').rstrip(' ')
            for text in (resource, config_map)
        )
        self.assertEqual(
            [
                (service, f'items.{number}.{keys}')
                for number, (service, keys) in enumerate(expected)
            ],
            self.parts(f'kind: List\nitems:\n{items}'),
        )

    def test_resources_that_the_operator_makes(self) -> None:
        """Nova and its child objects (nova-operator: api/nova/v1beta1)."""
        conf = 'customServiceConfig: |\n%s[pci]\n'
        template = (
            'apiServiceTemplate',
            'schedulerServiceTemplate',
            'metadataServiceTemplate',
        )
        nova = 'kind: Nova\nspec:\n' + ''.join(
            f'  {name}:\n    {conf % (6 * " ")}' for name in template
        )
        nova += '  cellTemplates:\n    cell1:\n' + ''.join(
            f'      {name}:\n        {conf % (10 * " ")}'
            for name in (
                'conductorServiceTemplate',
                'noVNCProxyServiceTemplate',
            )
        )
        nova += (
            '      novaComputeTemplates:\n        ironic:\n          '
            f'{conf % (12 * " ")}'
        )
        cell = f'conductorServiceTemplate:\n    {conf % (6 * " ")}'
        text = f'{nova}---\nkind: NovaCell\nspec:\n  {cell}'
        for kind in (
            'NovaAPI',
            'NovaConductor',
            'NovaScheduler',
            'NovaCompute',
        ):
            text += f'---\nkind: {kind}\nspec:\n  {conf % (4 * " ")}'
        text += f'---\nkind: CinderAPI\nspec:\n  {conf % (4 * " ")}'
        self.assertEqual(
            [
                'nova-api',
                'nova-scheduler',
                'nova-conductor',
                'nova-conductor',
                'nova-api',
                'nova-conductor',
                'nova-scheduler',
            ],
            [service for service, _keys in self.parts(text)],
        )
        owned = text.replace(
            'kind: NovaAPI\n',
            'kind: NovaAPI\nmetadata:\n  ownerReferences: [{kind: Nova}]\n',
        )
        self.assertEqual(
            ['', '', '', '', 'is generated from its owner', '', ''],
            [part.obstacle for part in self.read(owned).parts],
        )

    def test_shorter_names_of_values(self) -> None:
        self.assertEqual(
            ['nova-api', 'nova-conductor'],
            [
                service
                for service, _keys in self.parts(
                    'data:\n  nova:\n    customServiceConfig: |\n      [pci]\n'
                    '    cell1Conductor:\n      customServiceConfig: |\n'
                    '        [pci]\n'
                    '  cinder:\n    customServiceConfig: |\n      [pci]\n'
                )
            ],
        )

    def test_files_of_one_service_are_one_configuration(self) -> None:
        self.read(NODESET)
        (document,) = aliases.read(os.fspath(self.path))
        self.assertEqual('nova-compute', document.service)
        self.assertEqual(2, len(document.confs))

    def test_two_node_sets_are_two_documents(self) -> None:
        self.read(f'{NODESET}---\n{NODESET}')
        self.assertEqual(2, len(aliases.read(os.fspath(self.path))))

    def test_lines_are_those_of_the_file(self) -> None:
        text = CONTROL_PLANE.replace('# mine', 'alias = {}')
        self.read(text)
        error = self.assertRaises(
            exceptions.InvalidAlias, aliases.read, os.fspath(self.path)
        )
        line = text.split('\n').index('        alias = {}') + 1
        self.assertIn(f'{self.path}, line {line}: ', str(error))


def config_map(name: str, file: str, text: str) -> str:
    return (
        f'---\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata:\n'
        f'  {file}: |\n    {text}\n'
    )


def data_plane_service(name: str, *maps: str, kind: str = 'nova') -> str:
    sources = ''.join(f'  - configMapRef: {{name: {name}}}\n' for name in maps)
    return (
        '---\nkind: OpenStackDataPlaneService\n'
        f'metadata: {{name: {name}}}\nspec:\n  edpmServiceType: {kind}\n'
        f'  dataSources:\n{sources}'
    )


class TestConfigMaps(YamlTestCase):
    """nova-compute reads all ConfigMaps that its data plane service mounts."""

    PINNING = config_map('cpu', '25-cpu.conf', '[compute]')
    DEVICES = config_map('gpu', '03-gpu.conf', '[pci]')

    def documents(self, text: str) -> tuple[aliases.AliasDocument, ...]:
        self.read(text)
        return aliases.read(os.fspath(self.path))

    def test_of_one_service(self) -> None:
        service = data_plane_service('nova-gpu', 'cpu', 'gpu')
        for text in (
            self.PINNING + self.DEVICES + service,
            service + self.PINNING + self.DEVICES,
            # Without a service, they belong to one nova-compute.
            self.PINNING + self.DEVICES,
        ):
            (document,) = self.documents(text)
            # In the order of file names, as oslo.config reads a folder.
            self.assertEqual(
                ['[pci]\n', '[compute]\n'],
                [conf.text for conf in document.confs],
            )
            after = self.added(text)
            self.assertEqual(
                text.replace('    [pci]\n', f'    [pci]\n    {LINE}\n'), after
            )

    def test_of_two_services(self) -> None:
        text = (
            self.DEVICES
            + config_map('gpu2', '03-gpu.conf', '[pci]')
            + data_plane_service('a', 'gpu')
            + data_plane_service('b', 'gpu2')
        )
        self.assertEqual(2, len(self.documents(text)))
        self.assertEqual(2, self.added(text).count(LINE))

    def test_which_is_not_known(self) -> None:
        text = self.DEVICES + config_map('gpu2', '03-gpu.conf', '[pci]')
        (document,) = self.documents(text)
        error = self.assertRaises(
            exceptions.DocumentError, aliases.add, document, ALIAS
        )
        self.assertIn('add the OpenStackDataPlaneService', str(error))

    def test_of_another_service(self) -> None:
        text = (
            config_map('ovn', '01-ovn.conf', '[DEFAULT]')
            + self.DEVICES
            + data_plane_service('neutron-ovn', 'ovn', kind='neutron-ovn')
            + data_plane_service('nova-gpu', 'gpu', kind='')
        )
        (document,) = self.documents(text)
        self.assertEqual(1, len(document.confs))
        self.assertEqual(
            [('nova-compute', 'data.03-gpu.conf')], self.parts(text)
        )


class TestEdit(YamlTestCase):
    def test_only_its_line(self) -> None:
        after = self.added(CONTROL_PLANE)
        self.assertEqual(
            CONTROL_PLANE.replace(
                '        [pci]\n', f'        [pci]\n        {LINE}\n'
            ),
            after,
        )
        self.assertEqual(after, self.added(after))

    def test_add_writes_to_the_file_with_the_section(self) -> None:
        after = self.added(NODESET)
        self.assertEqual(f'{NODESET}        {LINE}\n', after)

    def test_edited_file_is_valid_yaml(self) -> None:
        for text in (
            CONTROL_PLANE,
            CONTROL_PLANE.replace('|\n', '|-\n'),
            CONTROL_PLANE.replace('|\n', '|+  # keep\n'),
            CONTROL_PLANE.replace('\n', '\r\n'),
            CONTROL_PLANE.replace(
                '        [filter_scheduler]\n        pci_in_placement = True\n'
                '\n        [pci]\n        # mine\n',
                '',
            ),
            'nova:\n  apiServiceTemplate: {customServiceConfig: "[pci]"}\n'
            'data:\n- nova:\n    pci:\n      conf: |\n        [pci]',
        ):
            self.read(text)
            documents = aliases.read(os.fspath(self.path))
            changed = False
            for document in documents:
                if document.confs[0].text != '[pci]' or (
                    document.service == 'nova-compute'
                ):
                    aliases.add(document, ALIAS)
                    changed = True
            self.assertTrue(changed)
            document.file.write()
            after = self.path.read_bytes().decode()
            values = list(yaml.safe_load_all(after))
            self.assertEqual(1, str(values).count(LINE), text)
            removed = ''.join(
                line
                for line in after.splitlines(keepends=True)
                if LINE not in line and line.strip() != '[pci]'
            )
            kept = ''.join(
                line
                for line in text.splitlines(keepends=True)
                if line.strip() != '[pci]'
            )
            self.assertEqual(kept.split(), removed.split())

    def test_change_and_remove(self) -> None:
        before = CONTROL_PLANE.replace('# mine', LINE)
        self.read(before)
        (document,) = aliases.read(os.fspath(self.path))
        aliases.change(document, 'a', {'numa_policy': 'socket'})
        document.file.write()
        self.assertIn('"socket"', self.path.read_text())
        (document,) = aliases.read(os.fspath(self.path))
        self.assertTrue(aliases.remove(document, 'a'))
        document.file.write()
        self.assertEqual(
            CONTROL_PLANE.replace('        # mine\n', ''),
            self.path.read_text(),
        )


@ddt.ddt
class TestRefused(YamlTestCase):
    @ddt.data(
        ('nova: {pci: {conf: "[pci]"}}\n', 'is not a block of lines'),
        ('nova:\n  pci:\n    conf: >\n      [pci]\n', 'is not a block'),
        (
            'nova:\n  pci:\n    conf: &shared |\n      [pci]\nx: *shared\n',
            'has an anchor',
        ),
        (
            'nova:\n  pci:\n    conf: |\n      [pci]\n      a = {{ b }}\n',
            'is a template',
        ),
    )
    @ddt.unpack
    def test_edit(self, text: str, message: str) -> None:
        self.read(text)
        before = self.path.read_bytes()
        (document,) = aliases.read(os.fspath(self.path))
        aliases.add(document, ALIAS)
        error = self.assertRaises(exceptions.UnsafeEdit, document.file.write)
        self.assertIn(message, str(error))
        self.assertIn(f'+{LINE}\n', error.patch)
        self.assertEqual(before, self.path.read_bytes())

    @ddt.data(
        ('a: [1\n', 'expected'),
        ('a:\n\tb: 1\n', 'found character'),
        ('{% if x %}\na: 1\n', 'Cannot read'),
        (b'\xff', 'not UTF-8'),
        ('[' * 5000, 'Cannot read'),
    )
    @ddt.unpack
    def test_read(self, text: str | bytes, message: str) -> None:
        self.assert_refused(text, message)

    def assert_refused(self, text: str | bytes, message: str) -> None:
        error = self.assertRaises(exceptions.DocumentError, self.read, text)
        self.assertIn(message, str(error))
        self.assertIn(str(self.path), str(error))
        self.assertNotIn('\n', str(error))

    @ddt.data('[' * 5000, 'a: "\\UFFFFFFFF"', 'a: "\\U00110000"', 'a: b: c')
    def test_read_without_the_c_part(self, text: str) -> None:
        """PyYAML may be built without its C extension."""
        self.enterContext(
            unittest.mock.patch.object(
                yaml_file, '_TOOL_LOADER', yaml.SafeLoader
            )
        )
        self.assert_refused(text, 'Cannot read')

    def test_no_nova_configuration(self) -> None:
        self.read('a: 1\n')
        error = self.assertRaises(
            exceptions.DocumentError, aliases.read, os.fspath(self.path)
        )
        self.assertIn('has no configuration of nova-api', str(error))

    def test_too_large(self) -> None:
        for reader in (
            rhoso_custom_resources.CustomResourceFile,
            nova_conf.NovaConf,
        ):
            error = self.assertRaises(
                exceptions.DocumentError,
                reader,
                'x.yaml',
                b'#\n' * (atomic.MOST + 1),
            )
            self.assertIn('has more than 200000 lines', str(error))

    def test_a_billion_laughs(self) -> None:
        text = 'a0: &a0 [x]\n' + ''.join(
            f'a{number}: &a{number} [{", ".join([f"*a{number - 1}"] * 9)}]\n'
            for number in range(1, 30)
        )
        began = time.process_time()
        self.assertEqual((), self.read(text).parts)
        self.assertLess(time.process_time() - began, 5)

    def test_duplicate_alias_in_two_files(self) -> None:
        """Two files of one service define an alias: Nova does not start."""
        text = NODESET.replace('[pci]\n', f'[pci]\n        {LINE}\n').replace(
            '        [compute]\n', f'        [pci]\n        {LINE}\n'
        )
        self.read(text)
        (document,) = aliases.read(os.fspath(self.path))
        error = self.assertRaises(
            exceptions.InvalidAlias,
            aliases.add,
            document,
            ALIAS,
            pci_in_placement=True,
        )
        self.assertIn('multiple specs', str(error))
