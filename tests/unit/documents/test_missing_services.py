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

"""Services and fields that a deployment of RHOSO lacks."""

import ddt

from tests.unit.documents import test_check

NODES = test_check.NODES
MACHINES = test_check.MACHINES
OBJECTS = test_check.OBJECTS
DEPLOYMENT = 'edpm/deployment/deployment.yaml'


@ddt.ddt
class TestServices(test_check.CheckTestCase):
    def names(self, files: dict[str, str]) -> list[str]:
        return [code for code, _path, _line in self.codes(files)]

    def without(self, *lines: str) -> dict[str, str]:
        text = test_check.CLEAN[NODES]
        for line in lines:
            self.assertIn(line, text)
            text = text.replace(line, '')
        return {**test_check.CLEAN, NODES: text}

    def test_pre_provisioned(self) -> None:
        """These nodes may have been prepared before."""
        files = self.without('      - vfio-pci-bind\n', '      - reboot-os\n')
        self.assertEqual(['GPU322', 'GPU323'], self.names(files))
        files[NODES] = files[NODES].replace(
            'preProvisioned: false', 'preProvisioned: true'
        )
        self.assertEqual([], self.names(files))

    def test_overrides(self) -> None:
        """A deployment may deploy services that the node set does not."""
        files = self.without(
            '      - vfio-pci-bind\n',
            '      - reboot-os\n',
            '      - nova-custom-gpu\n',
        )
        self.assertEqual(['GPU322', 'GPU323', 'GPU324'], self.names(files))
        files[DEPLOYMENT] = (
            'kind: OpenStackDataPlaneDeployment\n'
            'metadata: {name: gpu}\nspec:\n  servicesOverride:\n'
            '  - vfio-pci-bind\n  - reboot-os\n  - nova-custom-gpu\n'
        )
        self.assertEqual([], self.names(files))

    def test_config_map_of_nova(self) -> None:
        """The service ``nova`` mounts nova-extra-config."""
        files = self.without('      - nova-custom-gpu\n')
        files[NODES] = files[NODES].replace(
            '      - libvirt\n', '      - libvirt\n      - nova\n'
        )
        self.assertEqual(['GPU324'], self.names(files))
        files['base/gpu.yaml'] = (
            'kind: ConfigMap\nmetadata: {name: nova-extra-config}\n'
            'data: {03-gpu-nova.conf: _replaced_}\n'
        )
        self.assertEqual([], self.names(files))

    def test_blacklisted(self) -> None:
        files = self.without('      - vfio-pci-bind\n')
        for argument in (
            'modprobe.blacklist=nouveau',
            'module_blacklist=nouveau,nvidia',
            'rd.driver.blacklist=nouveau',
        ):
            text = files[NODES].replace(
                'edpm_kernel_args: "', f'edpm_kernel_args: "{argument} '
            )
            self.assertEqual([], self.names({**files, NODES: text}), argument)

    def test_default_services(self) -> None:
        """By default, there are reboot-os and nova, but no vfio-pci-bind."""
        text = test_check.CLEAN_OBJECTS[OBJECTS]
        start = text.index('    services:')
        text = text[:start] + text[text.index('- kind: ', start) :]
        self.assertEqual(['GPU317'], self.names({OBJECTS: text}))
        text = text.replace(
            'nodes:\n', 'services: [bootstrap, reboot-os, nova]\n    nodes:\n'
        )
        self.assertEqual(['GPU317'], self.names({OBJECTS: text}))

    def test_values_without_services(self) -> None:
        """The source of the services is unknown."""
        text = test_check.CLEAN[NODES]
        start = text.index('    services:')
        text = text[:start] + text[text.index('  nova:\n', start) :]
        self.assertEqual([], self.names({**test_check.CLEAN, NODES: text}))

    def test_service_with_another_name(self) -> None:
        """Its type nova and its ConfigMaps are known."""
        text = test_check.CLEAN_OBJECTS[OBJECTS].replace(
            'nova-custom-gpu', 'compute-gpu'
        )
        self.assertEqual([], self.names({OBJECTS: text}))

    def test_no_passthrough(self) -> None:
        """The service does not bind network cards."""
        files = self.without('      - vfio-pci-bind\n')
        text = files[NODES]
        for line in text.splitlines():
            if 'device_spec' in line:
                text = text.replace(
                    line,
                    '        device_spec = { "vendor_id":"15b3", '
                    '"product_id":"1017", "physical_network":"a" }',
                )
        self.assertNotIn('GPU322', self.names({**files, NODES: text}))


@ddt.ddt
class TestMachines(test_check.CheckTestCase):
    @ddt.data(
        ('      address: ', '      other: ', 'bmc.address'),
        ('    bootMACAddress: ', '    other: ', 'bootMACAddress'),
    )
    @ddt.unpack
    def test_values(self, old: str, new: str, field: str) -> None:
        text = test_check.CLEAN[MACHINES]
        self.assertIn(old, text)
        (located,) = self.check(
            {**test_check.CLEAN, MACHINES: text.replace(old, new)}
        )
        self.assertEqual('GPU325', located.finding.code)
        self.assertIn(f'has no {field}: ', located.finding.message)

    def test_other_keys_named_bmc(self) -> None:
        """Groups of firewall rules, for example."""
        text = (
            'security_groups:\n'
            '  bmc:\n'
            '    rules: [{protocol: udp, port: 623}]\n'
        )
        self.assertEqual(
            [], self.check({**test_check.CLEAN, 'firewall.yaml': text})
        )

    @ddt.data(
        # The base of a kustomization, or an unmanaged host.
        ('', []),
        ('  bmc: {}', ['bmc.address']),
        ('  bmc: {address: "idrac-virtualmedia://192.0.2.1/x"}', []),
        (
            '  bmc: {address: "redfish://192.0.2.1/x"}\n'
            '  inspectionMode: disabled',
            ['bootMACAddress'],
        ),
        ('  bmc: {address: "libvirt://192.0.2.1"}', ['bootMACAddress']),
        ('  bmc: {address: _replaced_}\n  inspectionMode: disabled', []),
        (
            '  bmc: {address: "libvirt://192.0.2.1"}\n'
            '  bootMACAddress: 52:54:00:00:00:01',
            [],
        ),
    )
    @ddt.unpack
    def test_objects(self, spec: str, fields: list[str]) -> None:
        text = (
            'kind: BareMetalHost\nmetadata: {name: host}\n'
            f'spec:\n  rootDeviceHints: {{}}\n{spec}\n'
        )
        self.assertEqual(
            fields,
            [
                located.finding.message.partition('has no ')[2].partition(':')[
                    0
                ]
                for located in self.check({'host.yaml': text})
            ],
        )
