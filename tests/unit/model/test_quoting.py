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

"""Secrets are detected by their format, in linear time."""

import ast
import collections.abc
import pathlib
import re
import time

import ddt
import testtools

import gpuclient
from gpuclient import exceptions
from gpuclient.model import catalogue
from gpuclient.model import cpu
from gpuclient.model import device_spec
from gpuclient.model import quoting
from gpuclient.rules import finding


def _messages(tree: ast.AST) -> collections.abc.Iterator[str]:
    """Yield the texts of errors and findings, with X for each value."""
    for call in ast.walk(tree):
        name = ast.unparse(call.func) if isinstance(call, ast.Call) else ''
        if not re.match(r'exceptions[.]|finding[.](error|warning)', name):
            continue
        for node in call.args:
            if isinstance(node, ast.JoinedStr):
                yield ''.join(
                    str(part.value) if isinstance(part, ast.Constant) else 'X'
                    for part in node.values
                )
            elif isinstance(node, ast.Constant):
                yield str(node.value)


@ddt.ddt
class TestMasked(testtools.TestCase):
    @ddt.data(
        'password = hunter2',
        'admin_pw=hunter2',
        '"tls_key": "hunter2"',
        'systemd.setenv=DB_PASSWORD=hunter2',
        'rd.iscsi.password=hunter2',
        'register --username x --password hunter2',
        'sshpass -p hunter2 ssh x',
        'curl -u admin:hunter2 x',
        'curl --user=admin:hunter2 x',
        'Authorization: Bearer hunter2',
        'rabbit://nova:hunter2@mq:5672/',
        'http://u:a@hunter2@proxy',
        'http://u:a/hunter2@proxy',
        'http://hunter2@proxy',
        'nova:hunter2@mq',
        '$6$hunter2$abc',
        'ghp_hunter2hunter2hunter2',
    )
    def test_secrets(self, text: str) -> None:
        self.assertNotIn('hunter2', quoting.masked(text))
        self.assertTrue(quoting.holds_secret(text))

    @ddt.data(
        'hosts[0].bare_metal.bmc.credentials_name: it is missing',
        'vendor_id=10de, device_type=type-PF',
        'git@github.com:a/b, 0000:04:00.0',
        'rabbit://USER:PASSWORD@HOST:PORT/',
        'edpm_kernel_args: intel_iommu=on iommu=pt hugepagesz=1G',
        '-u root, --user root',
        'password=no',
        'resource_class CUSTOM_A100, traits HW_GPU_X',
    )
    def test_others(self, text: str) -> None:
        self.assertEqual(text, quoting.masked(text))


class TestMessages(testtools.TestCase):
    def test_errors_and_findings(self) -> None:
        error = exceptions.CloudError('x: password=hunter2', 403)
        self.assertEqual('x: password=***', str(error))
        error = finding.error('GPU101', 'x: password=hunter2')
        self.assertEqual('x: password=***', error.message)

    def test_names_are_not_masked(self) -> None:
        models = catalogue.builtin().models
        for name in (
            *(model.slug for model in models),
            'edpm_ovs_dpdk_pmd_core_list',
            'edpm/deployment/openstackdataplanedeployment.yaml:12',
            'control-plane/openstackcontrolplane.yaml',
        ):
            self.assertEqual(name, quoting.finding(name))

    def test_names_of_files_and_hosts(self) -> None:
        """A file name is shown anywhere in a message."""
        folders = (
            'nova-compute.conf.d',
            'nova/compute-0.example.com',
            'r12-gpu-a100-03/nova.conf.d',
            'r12-gpu-a100-03.dc1.cloud.example.com',
            'host_vars/ip-10-0-12-7.eu-west-1.compute.internal',
            'node-4f9c2d1a7b3e/nova-compute.conf.d',
        )
        files = (
            *('10-pci.conf', '20-spec.ini', '99_gpu-a100.conf', 'nova.conf'),
            *('nova-compute.conf.rpmnew', '.nova.conf.swp', '#nova.conf#'),
            *('nova.conf~', 'nova-compute.conf.20241129120000'),
            *('nova.conf.dpkg-dist', 'user_variables.yml', 'secrets.yaml'),
            *('passwords.yml', 'ca-token.conf', 'K8sGPUa100NodeSet1b.yaml'),
            *('nova.conf.j2', 'nova-cell1-compute-gpu-a100-80gb-extra.yaml'),
        )
        names = [
            *folders[:-1],
            *files,
            *(f'{folder}/{name}' for folder in folders for name in files),
        ]
        for name in names:
            for text in (
                f'{name} is not read: no process reads it. Delete it',
                f'{name}:12: The option is not set in {name}.',
                f'Cannot read {name}: permission denied',
                f"Permission denied: '{name}'",
            ):
                self.assertEqual(text, quoting.finding(text))
                self.assertEqual(text, str(exceptions.GPUError(text)))

    def test_secrets_in_names_of_files(self) -> None:
        for text in (
            'http://nova:hunter2@mq.example.com/nova.conf',
            'password=hunter2.conf',
            'password = hunter2/nova.conf',
        ):
            self.assertNotIn('hunter2', quoting.finding(text))

    def test_long_tokens_are_masked(self) -> None:
        for word in (
            'wJalrXUtnFEMI/K7MDENG/bPxRfiCYzEXAMPLEKEY',
            '9a8b7c6d5e4f3a2b1c0d9e8f7a6b5c4d',
            'x7f3-9k2d-p0q8-r4t6-z1m5-w2e9',
            'Zm9vYmFyYmF6cXV4-Y29ycmVjdA_hb3JzZQ',
        ):
            self.assertEqual('***', quoting.finding(word))

    def test_own_messages_are_not_masked(self) -> None:
        """The messages of this package are never masked."""
        package = pathlib.Path(gpuclient.__file__).parent
        count = 0
        for path in sorted(package.rglob('*.py')):
            for text in _messages(ast.parse(path.read_text())):
                self.assertEqual(text, quoting.finding(text), path)
                count += 1
        self.assertGreater(count, 300)

    def test_are_bounded(self) -> None:
        text = str(exceptions.GPUError(f'Cannot read {"x" * 10**6}: no'))
        self.assertLess(len(text), 500)
        self.assertTrue(text.startswith('Cannot read xxx'))
        self.assertTrue(text.endswith('xxx: no'))
        self.assertLess(len(str(exceptions.GPUError('x ' * 10**6))), 5000)

    def test_linear(self) -> None:
        """If the time were not linear, this would take minutes."""
        for piece in (
            *('x', 'password', '://', 'eyJ.', '-u ', '--', '@', 'a:b@'),
            *('--password', '$6$', 'passw=', '"', "'", '\\', '{"name": "'),
        ):
            text = piece * (2**17 // len(piece))
            began = time.monotonic()
            quoting.masked(text)
            quoting.spec(text)
            quoting.cpus(text)
            self.assertLess(time.monotonic() - began, 5, piece)


class TestValues(testtools.TestCase):
    def test_a_line_that_joins_a_spec(self) -> None:
        text = '{"address": "0000:04:00.0"}\npassword = hunter2'
        error = self.assertRaises(
            exceptions.InvalidDeviceSpec, device_spec.parse, text
        )
        self.assertEqual(
            "Invalid [pci]device_spec config: Invalid entry: '"
            '{"address": "0000:04:00.0"} ...\'',
            str(error),
        )

    def test_what_explains_an_error_stays(self) -> None:
        for text in (
            '{"vendor_id": "10de", "product_id": "20f1"',
            "{'address': '*:04:00.*', 'resource_class': 'CUSTOM_A100'}",
            '10de:20f1',
            '{"address": {"bus": "0[4-7]", "slot": ".*"}',
            # Placeholders and comments.
            '{"vendor_id": "<VENDOR_ID>", "product_id": "<Product-ID>"}',
            '{"address": "0000:<bus num>:00.0", "name": "YOUR_GPU_NAME"}',
            '{"vendor_id": "XXXX", "product_id": "%PRODUCT_ID%"}',
            '{"vendor_id": "10de"}  # NVIDIA Tesla V100, L40S or AMD MI300X',
        ):
            self.assertEqual(text, quoting.spec(text))

    def test_words_in_placeholders_are_masked(self) -> None:
        for text in (
            '<hunter2>',
            '<VENDOR_hunter2>',
            '# NVIDIA hunter2',
            'YOUR_hunter2_ID',
            '<openstack>',
        ):
            self.assertNotIn('hunter2', quoting.spec(text))
            self.assertNotIn('openstack', quoting.spec(text))
            self.assertIn(quoting.MASK, quoting.spec(text))

    def test_cpus(self) -> None:
        for text in ('0-3,^x', '2-', '0x1', '0-3:1/2', 'a-b'):
            self.assertEqual(text, quoting.cpus(text))
        error = self.assertRaises(
            exceptions.InvalidCPUSet, cpu.parse, '0-3,hunter2'
        )
        self.assertEqual("Invalid inclusion expression '***'", str(error))

    def test_phrases(self) -> None:
        self.assertTrue(quoting.is_word('Foo_Bar'))
        self.assertFalse(quoting.is_word('x' * 25))
        self.assertFalse(quoting.is_word('aB3'))
