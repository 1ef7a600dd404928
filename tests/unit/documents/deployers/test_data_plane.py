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

"""The data plane of RHOSO: node sets, machines and services."""

import os
import pathlib
import shutil
import tempfile

import testtools

from gpuclient.documents import tree
from gpuclient.model import configuration
from gpuclient.model import deployment

NODE_SET = """\
apiVersion: v1
kind: ConfigMap
metadata:
  name: edpm-nodeset-values
data:
  preProvisioned: false
  baremetalSetTemplate:
    bmhLabelSelector:
      app: openstack
  nodeset:
    ansible:
      ansibleVars:
        edpm_kernel_args: "intel_iommu=on iommu=pt"
        edpm_tuned_profile: cpu-partitioning
        edpm_tuned_isolated_cores: "4-23,28-47"
        edpm_reboot_strategy: force
    nodes:
      edpm-compute-0:
        bmhLabelSelector:
          nodeName: edpm-compute-0
      edpm-compute-1:
        ansible:
          ansibleVars:
            edpm_kernel_args: "amd_iommu=on"
    services:
      - bootstrap
      - nova-custom-gpu
  nova:
    compute:
      conf: |
        [compute]
        cpu_dedicated_set = 4-23
    pci:
      conf: |
        [pci]
        report_in_placement = True
"""
MACHINES = """\
kind: ConfigMap
metadata:
  name: baremetalhost-values
data:
  edpm-compute-0:
    labels:
      app: openstack
    bmc:
      address: redfish://example
    bootMACAddress: 52:54:00:00:00:01
    rootDeviceHints:
      deviceName: /dev/vda
"""
OBJECTS = """\
apiVersion: v1
kind: List
items:
- kind: OpenStackDataPlaneNodeSet
  spec:
    services: [nova-custom-gpu]
    nodeTemplate:
      ansible:
        ansibleVars:
          edpm_kernel_args: quiet
    baremetalSetTemplate:
      bmhLabelSelector: {app: openstack}
    nodes:
      a: {}
- kind: OpenStackDataPlaneService
  metadata: {name: nova-custom-gpu}
  spec:
    edpmServiceType: nova
    dataSources:
    - configMapRef: {name: gpu-nova}
    - configMapRef: {name: cpu-nova}
    - secretRef: {name: x}
- kind: BareMetalHost
  metadata:
    name: a
    labels: {app: openstack}
  spec:
    bootMACAddress: 52:54:00:00:00:01
  status:
    hardware:
      ramMebibytes: 131072
      cpu: {count: 48, model: Intel(R) Xeon(R)}
- kind: BareMetalHost
  metadata:
    name: base
  spec:
    bootMACAddress: _replaced_
---
kind: ConfigMap
metadata: {name: gpu-nova}
data:
  03-gpu-nova.conf: |
    [pci]
    alias = {"name": "a"}
---
kind: ConfigMap
metadata: {name: cpu-nova}
data:
  25-cpu.conf: |
    [pci]
    report_in_placement = True
    [compute]
    cpu_dedicated_set = 4-23
"""


class DataPlaneTestCase(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)

    def read(self, **files: str) -> tree.ConfigurationTree:
        for name, content in files.items():
            (self.folder / f'{name}.yaml').write_text(content)
        contents = tree.read([os.fspath(self.folder)])
        self.assertEqual((), contents.unreadable)
        return contents


class TestValues(DataPlaneTestCase):
    def test_node_set(self) -> None:
        contents = self.read(values=NODE_SET)
        (node_set,) = contents.deployment.data_plane.node_sets
        shared, own = node_set.settings
        self.assertEqual(
            ['intel_iommu=on iommu=pt', 'amd_iommu=on'],
            [
                settings.kernel_arguments.text
                for settings in (shared, own)
                if settings.kernel_arguments
            ],
        )
        self.assertEqual(shared.isolated_cores, own.isolated_cores)
        assert shared.isolated_cores and shared.tuned_profile
        self.assertEqual(
            ('4-23,28-47', 15),
            (shared.isolated_cores.text, shared.isolated_cores.place.line),
        )
        assert node_set.services is not None
        self.assertEqual(
            [('bootstrap', 26), ('nova-custom-gpu', 27)],
            [
                (service.text, service.place.line)
                for service in node_set.services
            ],
        )
        self.assertEqual((('app', 'openstack'),), node_set.selector)
        self.assertEqual(
            [
                ('edpm-compute-0', (('nodeName', 'edpm-compute-0'),)),
                ('edpm-compute-1', ()),
            ],
            [(node.name, node.selector) for node in node_set.nodes],
        )
        (compute,) = node_set.computes
        setting = compute.last('compute', 'cpu_dedicated_set')
        assert setting is not None
        self.assertEqual('4-23', setting.text)
        self.assertTrue(compute.report_in_placement)

    def test_machines(self) -> None:
        contents = self.read(values=MACHINES)
        (machine,) = contents.deployment.data_plane.machines
        self.assertEqual(
            ('edpm-compute-0', (('app', 'openstack'),)),
            (machine.name, machine.labels),
        )
        self.assertEqual(
            ['redfish://example', '52:54:00:00:00:01', '/dev/vda'],
            [setting.text for setting in machine.settings],
        )

    def test_provisioned_by_others(self) -> None:
        contents = self.read(
            values=NODE_SET.replace(
                'preProvisioned: false', 'preProvisioned: true'
            )
        )
        (node_set,) = contents.deployment.data_plane.node_sets
        self.assertIsNone(node_set.selector_place)


class TestObjects(DataPlaneTestCase):
    def test_objects(self) -> None:
        contents = self.read(objects=OBJECTS)
        plane = contents.deployment.data_plane
        (node_set,) = plane.node_sets
        (service,) = plane.services
        (machine,) = plane.machines
        self.assertEqual(
            ('nova', ('gpu-nova', 'cpu-nova')),
            (service.type, service.config_maps),
        )
        self.assertEqual(
            (48, 131072, 'Intel(R) Xeon(R)'),
            (machine.cpus, machine.memory_mb, machine.cpu_model),
        )
        # The ConfigMaps of the service are one configuration.
        (compute,) = contents.deployment.processes
        self.assertEqual((compute,), node_set.computes)
        self.assertTrue(compute.report_in_placement)
        self.assertEqual(1, len(compute.aliases))
        self.assertEqual((configuration.COMPUTE,), compute.readers)

    def test_second_service_with_the_same_config_maps(self) -> None:
        contents = self.read(
            objects=OBJECTS
            + """\
---
kind: OpenStackDataPlaneService
metadata: {name: nova-custom-more}
spec:
  edpmServiceType: nova
  dataSources:
  - configMapRef: {name: cpu-nova}
  - configMapRef: {name: gpu-nova}
---
kind: OpenStackDataPlaneService
metadata: {name: nova-custom-cpu}
spec:
  edpmServiceType: nova
  dataSources:
  - configMapRef: {name: cpu-nova}
---
kind: OpenStackDataPlaneNodeSet
spec:
  services: [nova-custom-more]
  nodes: {b: {}}
---
kind: OpenStackDataPlaneNodeSet
spec:
  services: [nova-custom-cpu]
  nodes: {c: {}}
"""
        )
        plane = contents.deployment.data_plane
        self.assertEqual(
            [1, 1, 0],
            [
                len(service.process.aliases)
                for service in plane.services
                if service.process is not None
            ],
        )
        # Each of them is a process of the deployment, for one host.
        computes = [node_set.computes for node_set in plane.node_sets]
        self.assertEqual(
            [1, 1, 1], [len(host_computes) for host_computes in computes]
        )
        for host, (compute,) in zip('abc', computes, strict=True):
            self.assertTrue(
                any(
                    process is compute
                    for process in contents.deployment.processes
                )
            )
            self.assertIn(compute, contents.deployment.computes_on(host))
        # Files of one folder are read in the order of their names.
        self.assertEqual(
            ['03-gpu-nova.conf', '25-cpu.conf'],
            [source.name for source in computes[1][0].sources],
        )

    def test_names_of_config_maps(self) -> None:
        """Earlier releases use the key configMaps."""
        contents = self.read(
            objects='kind: OpenStackDataPlaneService\n'
            'metadata: {name: nova-custom}\n'
            'spec: {configMaps: [a, b]}\n'
        )
        (service,) = contents.deployment.data_plane.services
        self.assertEqual(
            ('nova-custom', ('a', 'b')), (service.type, service.config_maps)
        )

    def test_list_that_contains_itself(self) -> None:
        (self.folder / 'nova.yaml').write_text(
            '&list\nkind: List\nitems:\n  - *list\n'
            '  - {kind: BareMetalHost, spec: {bootMACAddress: x},\n'
            '     status: {hardware: {ramMebibytes: "%s"}}}\n' % ('9' * 5000)
        )
        contents = tree.read([os.fspath(self.folder)])
        (machine,) = contents.deployment.data_plane.machines
        self.assertIsNone(machine.memory_mb)

    def test_not_yaml(self) -> None:
        path = self.folder / 'values.yaml'
        path.write_text('edpm_kernel_args: {{ a }}\n  - x\n')
        contents = tree.read([os.fspath(self.folder)])
        self.assertEqual(
            deployment.DataPlane(), contents.deployment.data_plane
        )
        self.assertEqual(
            [os.fspath(path)], [failure[0] for failure in contents.unreadable]
        )
