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

import json
import os
import pathlib
import shutil
import tempfile

import ddt
import testtools

from gpuclient import exceptions
from gpuclient.documents import device_specs
from gpuclient.model import device_spec
from gpuclient.rules import device_spec as device_spec_rules

ENTRY = {'address': '0000:04:00.0', 'vendor_id': '10de'}
LINE = f'device_spec = {device_specs.render(ENTRY)}'


def parsed(text: str) -> device_spec.DeviceSpec:
    (spec,) = device_spec.parse(text)
    return spec


@ddt.ddt
class TestRules(testtools.TestCase):
    @ddt.data(
        ('{}', ['GPU201']),
        ('{"address": "*:*:*.*"}', ['GPU201']),
        ('{"address": {"bus": ".*"}}', ['GPU201']),
        ('{"vendor_id": "10de"}', []),
        ('{"devname": "eth0"}', []),
        ('{"vendor_id": "10de", "resource_clas": "A"}', ['GPU211']),
        ('{"vendor_id": "10de", "device_type": "type-PF"}', ['GPU211']),
        ('{"vendor_id": "10de", "device_id": "20f1"}', ['GPU211']),
        ('{"vendor_id": "10de", "dev_type": "type-PF"}', ['GPU216']),
        ('{"vendor_id": "10de", "trusted": ["true"]}', ['GPU206']),
        ('{"vendor_id": "10de", "trusted": true}', []),
        ('{"vendor_id": "10de", "traits": ["a"]}', []),
        ('{"address": {"bus": "AF$"}}', ['GPU215']),
        ('{"address": "AF:00.0"}', []),
        ('{"vendor_id": "-1"}', ['GPU215']),
        ('{"address": {"bus": "0"}}', ['GPU212']),
        ('{"address": {"bus": "^04$"}}', []),
    )
    @ddt.unpack
    def test_check(self, text: str, codes: list[str]) -> None:
        self.assertEqual(
            codes,
            [
                warning.code
                for warning in device_spec_rules.check(parsed(text))
            ],
        )

    @ddt.data(
        ('{"vendor_id": "10de"}', '{"address": "04:00.0"}', False),
        (
            '{"vendor_id": "10de"}',
            '{"vendor_id": "10de", "address": "04:00.0"}',
            True,
        ),
        # A PF at that address also matches its VFs at other addresses.
        ('{"address": "*:04:00.*"}', '{"address": "0000:04:00.0"}', False),
        ('{"address": "04:00.0"}', '{"address": "0000:04:00.0"}', False),
        ('{"address": "0000:04:00.0"}', '{"address": "0:4:0.0"}', True),
        ('{"address": "*:04:*.*"}', '{"address": "*:04:00.*"}', True),
        (
            '{"product_id": "20f2", "remote_managed": "yes"}',
            '{"product_id": "20f2"}',
            False,
        ),
        ('{"product_id": "20f2"}', '{"product_id": "20f2"}', True),
        ('{"address": "0000:04:00.0"}', '{"address": "*:04:00.*"}', False),
        ('{"address": {"bus": "04"}}', '{"address": "0000:04:00.0"}', False),
        ('{"address": {"bus": "04"}}', '{"address": "*:04:00.0"}', True),
        ('{"address": {"bus": "0"}}', '{"address": {"bus": "0[0-3]"}}', True),
        ('{"vendor_id": "*"}', '{"address": {"bus": "04"}}', True),
        ('{"devname": "eth0"}', '{"devname": "eth0"}', True),
        ('{"devname": "eth0"}', '{"devname": "eth1"}', False),
        ('{"devname": "eth0"}', '{"address": "04:00.*"}', False),
    )
    @ddt.unpack
    def test_shadowed(self, first: str, second: str, expected: bool) -> None:
        earlier = [parsed('{"vendor_id": "8086"}'), parsed(first)]
        other = device_spec_rules.shadowed(parsed(second), earlier)
        self.assertEqual((earlier[1],) if expected else (), other)

    def test_shadowed_by_several(self) -> None:
        earlier = [
            parsed(f'{{"address": "0000:04:00.{number}"}}')
            for number in range(8)
        ]
        spec = parsed('{"address": "0000:04:00.*"}')
        self.assertEqual(
            (*earlier,),
            device_spec_rules.shadowed(
                spec, [parsed('{"vendor_id": "8086"}'), *earlier]
            ),
        )
        self.assertEqual((), device_spec_rules.shadowed(spec, earlier[1:]))

    @ddt.data(
        ('{"address": "04:00.0", "devname": ""}', []),
        ('{"devname": "eth0", "physical_network": "net"}', ['GPU302']),
        ('{"devname": ["eth0"]}', ['GPU302']),
        ('{"vendor_id": "10de", "resource_class": "GPU"}', []),
        ('{"vendor_id": "10de", "resource_class": ""}', []),
        ('{"vendor_id": "10de", "resource_class": "VGPU"}', []),
        ('{"vendor_id": "10de", "resource_class": "A-B c"}', []),
        (
            '{"vendor_id": "10de", "resource_class": "CUSTOM_GPU-A"}',
            ['GPU203'],
        ),
        ('{"vendor_id": "10de", "resource_class": "CUSTOM_"}', ['GPU203']),
        ('{"vendor_id": "10de", "traits": "a, b"}', []),
        ('{"vendor_id": "10de", "traits": "a,"}', ['GPU204']),
        ('{"vendor_id": "10de", "traits": "CUSTOM_A-B"}', ['GPU204']),
        ('{"vendor_id": "10de", "traits": ""}', []),
        ('{"vendor_id": "10de", "resource_class": 7}', ['GPU205']),
        ('{"vendor_id": "10de", "traits": ["a"]}', ['GPU205']),
        ('{"traits": ["a"], "physical_network": "net"}', []),
    )
    @ddt.unpack
    def test_check_reporting(self, text: str, codes: list[str]) -> None:
        findings = device_spec_rules.check_reporting(parsed(text))
        self.assertEqual(codes, [warning.code for warning in findings])

    def test_check_reporting_of_long_names(self) -> None:
        for length, codes in ((248, []), (249, ['GPU203', 'GPU204'])):
            name = 'a' * length
            findings = device_spec_rules.check_reporting(
                parsed(json.dumps({'resource_class': name, 'traits': name}))
            )
            self.assertEqual(codes, [warning.code for warning in findings])


class TestDocuments(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, folder)
        self.path = folder / 'nova.conf'

    def read(self, text: str) -> device_specs.SpecDocument:
        self.path.write_text(text)
        (document,) = device_specs.read(os.fspath(self.path))
        return document

    def test_add(self) -> None:
        document = self.read('[pci]\n')
        self.assertTrue(device_specs.add(document, ENTRY))
        document.file.write()
        self.assertEqual(f'[pci]\n{LINE}\n', self.path.read_text())
        (again,) = device_specs.read(os.fspath(self.path))
        # In any spelling.
        same = {'vendor_id': '0x10DE', 'address': '0:4:0.0'}
        self.assertFalse(device_specs.add(again, same))

    def test_add_entry_that_stops_nova_compute(self) -> None:
        document = self.read('[pci]\nreport_in_placement = False\n')
        error = self.assertRaises(
            exceptions.InvalidDeviceSpec,
            device_specs.add,
            document,
            {**ENTRY, 'one_time_use': 'yes'},
        )
        self.assertIn(f'The service of {self.path} would not', str(error))
        self.assertIn('report_in_placement to be enabled', str(error))

    def test_broken(self) -> None:
        error = self.assertRaises(
            exceptions.InvalidDeviceSpec, self.read, '[pci]\ndevice_spec = {\n'
        )
        self.assertIn(f'{self.path}, line 2: Invalid [pci]device', str(error))

    def test_regular_expression_that_stops_nova_compute(self) -> None:
        exc = self.assertRaises(
            exceptions.InvalidDeviceSpec,
            device_spec.parse,
            '{"address": {"bus": "a{99999999999999999999}"}}',
        )
        self.assertIn('ends with OverflowError', str(exc))

    def test_function_without_its_card(self) -> None:
        function = device_spec.HostDevice(
            '0000:04:00.4', '10de', '20f1', 'type-VF'
        )
        exc = self.assertRaises(
            exceptions.InvalidDeviceSpec,
            device_spec.providers,
            'compute-0',
            [parsed('{"vendor_id": "10de"}')],
            [function],
        )
        self.assertIn('0000:04:00.4 is a VF without a PF', str(exc))

    def test_remove(self) -> None:
        document = self.read(
            '[pci]\n'
            'device_spec = [{"vendor_id": "10de"}, {"vendor_id": "8086"},'
            ' {"address": "04:00.0"}]\n'
            '# mine\n'
            'passthrough_whitelist = {"vendor_id": "10DE"}\n'
            'device_spec = [{"vendor_id": "10de"}, {"vendor_id": "1002"}]\n'
        )
        self.assertEqual(
            3,
            device_specs.remove(
                document, lambda spec: spec.vendor_id == '10de'
            ),
        )
        document.file.write()
        self.assertEqual(
            '[pci]\n'
            'device_spec = [{"vendor_id": "8086"}, {"address": "04:00.0"}]\n'
            '# mine\n'
            'device_spec = {"vendor_id": "1002"}\n',
            self.path.read_text(),
        )
