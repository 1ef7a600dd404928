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

"""Readers and random input: a result or a one-line error, nothing else.

``GPUCLIENT_FUZZ`` is the number of inputs of each kind, for long runs.
"""

import json
import os
import pathlib
import shutil
import tempfile

import hypothesis
from hypothesis import strategies
import testtools

from gpuclient.documents import aliases
from gpuclient.documents import catalogue
from gpuclient.documents.deployers import rhoso_custom_resources
from gpuclient.documents import device_specs
from gpuclient.documents import nova_conf
from gpuclient.documents import tree
from gpuclient import exceptions
from gpuclient.model import alias as alias_model
from gpuclient.model import configuration
from gpuclient.model import deployment
from gpuclient.model import device_spec
from gpuclient.rules import alias as alias_rules
from gpuclient.rules import configuration as configuration_rules
from gpuclient.rules import device_spec as device_spec_rules
from tests.fuzz import run

SETTINGS = hypothesis.settings(
    max_examples=int(os.environ.get('GPUCLIENT_FUZZ', '300')),
    deadline=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)
PIECES = strategies.sampled_from(
    (
        '[pci]\n',
        'alias = ',
        'device_spec = ',
        '{"name": "a", "vendor_id": "10de", "product_id": "20f1"}\n',
        '{"address": {"bus": ".*"}, "traits": "a, b"}\n',
        '[filter_scheduler]\npci_in_placement = True\n',
        'report_in_placement = yes\n',
        'nova:\n',
        '  pci:\n',
        '    conf: |\n',
        '      [pci]\n',
        '      alias = {}\n',
        'kind: ConfigMap\n',
        'models:\n',
        '  gpu:\n',
        '    name: GPU\n',
        "    vendor_id: '10de'\n",
        '    bars: [{number: 1, size: 2}]\n',
        'data:\n',
        '  nodeset:\n    ansible:\n      ansibleVars:\n',
        '        edpm_kernel_args: hugepages=4 vfio-pci.ids=1:2\n',
        '        edpm_tuned_isolated_cores: 2-3\n',
        '    services: [nova, nova]\n',
        '  host:\n    bootMACAddress: 1\n    labels: {a: b}\n',
        'kind: OpenStackDataPlaneNodeSet\nspec:\n',
        'kind: OpenStackDataPlaneService\nmetadata: {name: nova}\n',
        'kind: BareMetalHost\nstatus: {hardware: {ramMebibytes: x}}\n',
        'kind: List\nitems:\n',
        '[compute]\ncpu_dedicated_set = 0-3,^\n',
        '[DEFAULT]\nreserved_huge_pages = node:0,size:2048,count:1\n',
        '  x.conf: |\n    [pci]\n',
        '---\n',
        '- ',
        '&a ',
        '*a\n',
        '!!python/object:os.system\n',
        '{{ x }}',
        '{% raw %}',
        '\t',
        '\r\n',
        '\x00',
        '\u2028',
        '\ufeff',
        '#',
        '"',
        "'",
        '$',
        '%YAML 1.2\n',
        '? ',
        ': ',
        '>-\n',
        '  ',
        '\n',
    )
)
TEXTS = strategies.lists(
    strategies.one_of(PIECES, PIECES, strategies.text(max_size=5)),
    max_size=20,
).map(''.join)
CONTENTS = strategies.one_of(
    TEXTS.map(lambda text: text.encode('utf-8', 'surrogatepass')),
    strategies.binary(max_size=60),
)
ENTRY = {'address': '0000:04:00.0'}
ALIAS = alias_model.Alias('z', '10de', '20f1', 'type-PF')


#: A service whose options the rules compare with each other.
SERVICE = """\
[pci]
alias = {"name": "a", "vendor_id": "10de", "product_id": "20f1"}
device_spec = {"vendor_id": "10de", "product_id": "20f1"}
[compute]
cpu_dedicated_set = 1-3
cpu_shared_set = 5
[filter_scheduler]
enabled_filters = ComputeFilter
pci_in_placement = True
[DEFAULT]
reserved_huge_pages = node:0,size:2048,count:1
[devices]
enabled_mdev_types = nvidia-35
[mdev_nvidia-35]
device_addresses = 0000:04:00.0
"""
OPTIONS = (
    ('pci', 'alias'),
    ('pci', 'device_spec'),
    ('pci', 'report_in_placement'),
    ('filter_scheduler', 'enabled_filters'),
    ('filter_scheduler', 'pci_in_placement'),
    ('compute', 'cpu_dedicated_set'),
    ('compute', 'cpu_shared_set'),
    ('DEFAULT', 'reserved_host_cpus'),
    ('DEFAULT', 'reserved_huge_pages'),
    ('DEFAULT', 'vcpu_pin_set'),
    ('devices', 'enabled_mdev_types'),
    ('mdev_nvidia-35', 'device_addresses'),
    ('libvirt', 'cpu_models'),
    ('libvirt', 'live_migration_permit_post_copy'),
)
VALUES = (
    '',
    ',',
    '0-',
    '^',
    '-1',
    '0-999999999999',
    '9' * 5000,
    '٠',
    '$x',
    '{{ x }}',
    'true',
    '{}',
    '[]',
    '[{}]',
    'node:0,size:1GB,count:x',
    '{"name": 5}',
    '{"name": "a", "traits": " "}',
    '{"name": "a", "traits": "A, "}',
    '{"devname": ["a"]}',
    '{"address": [1]}',
    '{"address": {"bus": 5}}',
    '{"address": {"bus": "a{99999999999999999999}"}}',
    '{"vendor_id": "10de", "resource_class": 5, "traits": 7}',
    '{"address": "0000:04:00.0", "physical_network": [1]}',
    '{"address": "0000:04:00.0", "remote_managed": [1]}',
)


class TestOptions(testtools.TestCase):
    def test_each_value(self) -> None:
        """Each value of an option can be checked with other options."""
        codes = set()
        for section, option in OPTIONS:
            for value in VALUES:
                text = f'{SERVICE}[{section}]\n{option} = {value}\n'
                conf = nova_conf.NovaConf('nova.conf', text.encode())
                (reading,) = conf.readings()
                process = tree.process(configuration.ALL, conf.path, reading)
                for located in configuration_rules.check(
                    deployment.Deployment((process,))
                ):
                    self.assertTrue(located.finding.message)
                    codes.add(located.finding.code)
        self.assertLessEqual({'GPU112', 'GPU201', 'GPU501'}, codes)


class TestReaders(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)

    @SETTINGS
    @hypothesis.given(CONTENTS)
    def test_files(self, content: bytes) -> None:
        for name in ('nova.conf', 'nova.yaml'):
            path = self.folder / name
            path.write_bytes(content)
            contents = tree.read([os.fspath(path)])
            for located in configuration_rules.check(contents.deployment):
                self.assertTrue(located.finding.message)
            for reader in (aliases, device_specs):
                try:
                    documents = reader.read(os.fspath(path))
                except exceptions.GPUError as exc:
                    self.assertNotIn('\n', str(exc))
                    continue
                for document in documents:
                    self._edit(document)
                self.assertEqual(
                    content if not documents else path.read_bytes(),
                    path.read_bytes(),
                )

    @SETTINGS
    @hypothesis.given(CONTENTS)
    def test_catalogue(self, content: bytes) -> None:
        path = self.folder / 'catalogue.yaml'
        path.write_bytes(content)
        try:
            models = catalogue.load(os.fspath(path))
        except exceptions.DocumentError as exc:
            self.assertNotIn('\n', str(exc))
            self.assertIn(os.fspath(path), str(exc))
        else:
            self.assertGreater(len(models.models), 100)

    def _edit(self, document: object) -> None:
        """Add an entry; a document that can be written can be read again."""
        before = document.file.content()
        try:
            if isinstance(document, aliases.AliasDocument):
                aliases.add(document, ALIAS)
            else:
                device_specs.add(document, ENTRY)
            document.file.check_writable()
        except exceptions.GPUError as exc:
            self.assertNotIn('\n', str(exc))
            return
        after = document.file.content()
        if document.file.changed:
            again = (
                rhoso_custom_resources.CustomResourceFile('x', after).parts
                if isinstance(
                    document.file, rhoso_custom_resources.CustomResourceFile
                )
                else (nova_conf.NovaConf('x', after),)
            )
            self.assertTrue(again)
            self.assertGreater(len(after), len(before))
        for line in before.splitlines():
            self.assertIn(line, after)

    @SETTINGS
    @hypothesis.given(
        strategies.one_of(
            TEXTS,
            strategies.recursive(
                strategies.one_of(
                    strategies.none(),
                    strategies.booleans(),
                    strategies.floats(),
                    strategies.text(max_size=4),
                ),
                lambda inner: strategies.one_of(
                    strategies.lists(inner, max_size=3),
                    strategies.dictionaries(
                        strategies.sampled_from(
                            ('name', 'vendor_id', 'address', 'traits', 'x')
                        ),
                        inner,
                        max_size=4,
                    ),
                ),
                max_leaves=8,
            ).map(json.dumps),
        )
    )
    def test_values(self, text: str) -> None:
        try:
            alias = alias_model.parse(text)
        except exceptions.InvalidAlias:
            pass
        else:
            alias_rules.check(alias)
            self.assertEqual(alias, alias_model.parse(alias.render()))
        try:
            specs = device_spec.parse(text)
        except exceptions.InvalidDeviceSpec:
            return
        device = device_spec.HostDevice('0000:04:00.0', '10de', '20f1')
        for spec in specs:
            list(device_spec_rules.check(spec))
            spec.matches(device)


class TestDocuments(testtools.TestCase):
    """The first inputs of the long run, ``make fuzz``."""

    def test_documents(self) -> None:
        outcome = run.run(1, range(4000))
        self.assertEqual([], outcome.failures)
        for name in ('readable', 'unreadable', 'edits', 'refused edits'):
            self.assertGreater(outcome.counts[name], 100, name)
