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

"""The rules of ``gpu config check`` on trees of RHOSO."""

import os
import pathlib
import shutil
import tempfile
import textwrap

import ddt
import testtools

from gpuclient.documents.deployers import rhoso_custom_resources
from gpuclient.documents import tree
from gpuclient.model import configuration
from gpuclient.rules import configuration as configuration_rules
from gpuclient.rules import finding

CONTROL = 'control-plane/service-values.yaml'
NODES = 'edpm/nodeset/values.yaml'
MACHINES = 'edpm/baremetalhosts/values.yaml'
OBJECTS = 'objects.yaml'
ALIAS = (
    'alias = { "vendor_id":"10de", "product_id":"20f1", '
    '"device_type":"type-PF", "name":"nvidia_a100" }'
)
SPEC = (
    'device_spec = { "vendor_id":"10de", "product_id":"20f1", '
    '"address": "0000:04:00.0" }'
)
ARGUMENTS = (
    'default_hugepagesz=1GB hugepagesz=1G hugepages=64 intel_iommu=on '
    'iommu=pt vfio-pci.ids=10de:20f1 rd.driver.pre=vfio-pci'
)
CLEAN = {
    CONTROL: f"""\
kind: ConfigMap
metadata:
  name: service-values
data:
  nova:
    apiServiceTemplate:
      customServiceConfig: |
        [pci]
        {ALIAS}
        [filter_scheduler]
        pci_in_placement = True
    schedulerServiceTemplate:
      customServiceConfig: |
        [filter_scheduler]
        pci_in_placement = True
        enabled_filters = ComputeFilter,PciPassthroughFilter,NUMATopologyFilter
    cell1:
      conductorServiceTemplate:
        customServiceConfig: |
          [filter_scheduler]
          pci_in_placement = True
""",
    NODES: f"""\
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
        edpm_kernel_args: "{ARGUMENTS}"
        edpm_reboot_strategy: force
        edpm_tuned_profile: cpu-partitioning-powersave
        edpm_tuned_isolated_cores: "4-23,28-47"
    nodes:
      edpm-compute-0:
        hostName: edpm-compute-0
        bmhLabelSelector:
          nodeName: edpm-compute-0
    services:
      - vfio-pci-bind
      - bootstrap
      - configure-os
      - reboot-os
      - install-certs
      - libvirt
      - nova-custom-gpu
      - telemetry
  nova:
    compute:
      conf: |
        [DEFAULT]
        reserved_host_memory_mb = 4096
        reserved_huge_pages = node:0,size:4,count:524160
        reserved_huge_pages = node:0,size:1GB,count:2
        [compute]
        cpu_shared_set = 0-3,24-27
        cpu_dedicated_set = 4-23,28-47
    pci:
      conf: |
        [pci]
        report_in_placement = True
        {SPEC}
        {ALIAS}
""",
    MACHINES: """\
kind: ConfigMap
metadata:
  name: baremetalhost-values
data:
  edpm-compute-0:
    labels:
      app: openstack
      nodeName: edpm-compute-0
    bmc:
      address: redfish-virtualmedia+https://192.0.2.1/redfish/v1/Systems/1
      credentialsName: bmc-secret
    bootMACAddress: 52:54:00:00:00:01
    rootDeviceHints:
      deviceName: /dev/vda
""",
}
#: As "oc get -o yaml" prints them.
CLEAN_OBJECTS = {
    OBJECTS: f"""\
apiVersion: v1
kind: List
items:
- kind: OpenStackControlPlane
  spec:
    nova:
      template:
        apiServiceTemplate:
          customServiceConfig: |
            [pci]
            {ALIAS}
- kind: OpenStackDataPlaneNodeSet
  metadata:
    name: openstack-edpm
  spec:
    preProvisioned: false
    baremetalSetTemplate:
      bmhLabelSelector:
        app: openstack
    nodeTemplate:
      ansible:
        ansibleVars:
          edpm_kernel_args: intel_iommu=on iommu=pt hugepagesz=1G hugepages=64
          edpm_tuned_profile: cpu-partitioning
          edpm_tuned_isolated_cores: "4-23"
    nodes:
      edpm-compute-0: {{}}
    services:
    - vfio-pci-bind
    - bootstrap
    - reboot-os
    - libvirt
    - nova-custom-gpu
- kind: OpenStackDataPlaneService
  metadata:
    name: nova-custom-gpu
  spec:
    edpmServiceType: nova
    dataSources:
    - configMapRef:
        name: gpu-nova
    - configMapRef:
        name: cpu-nova
- kind: BareMetalHost
  metadata:
    name: host-0
    labels:
      app: openstack
  spec:
    bootMACAddress: 52:54:00:00:00:01
  status:
    hardware:
      ramMebibytes: 131072
      cpu:
        count: 24
        model: Intel(R) Xeon(R) Gold 6342
---
kind: ConfigMap
metadata:
  name: gpu-nova
data:
  03-gpu-nova.conf: |
    [pci]
    device_spec = {{"vendor_id": "10de", "product_id": "20f1"}}
    {ALIAS}
---
kind: ConfigMap
metadata:
  name: cpu-nova
data:
  25-cpu-nova.conf: |
    [DEFAULT]
    reserved_host_memory_mb = 4096
    [compute]
    cpu_shared_set = 0-3
    cpu_dedicated_set = 4-23
""",
}


class CheckTestCase(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)

    def check(self, files: dict[str, str]) -> list[finding.Located]:
        for name, content in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        contents = tree.read([os.fspath(self.folder)])
        return [
            *(
                configuration_rules.unreadable(*failure)
                for failure in contents.unreadable
            ),
            *configuration_rules.check(contents.deployment),
        ]

    def codes(self, files: dict[str, str]) -> list[tuple[str, str, int]]:
        """Return codes with the file and the text of the line."""
        return [
            (
                located.finding.code,
                os.path.relpath(located.place.path, self.folder),
                located.place.line or 0,
            )
            for located in self.check(files)
        ]

    def check_change(
        self,
        clean: dict[str, str],
        name: str,
        old: str,
        new: str,
        expected: list[tuple[str, str]],
    ) -> None:
        """Compare findings after one change with codes and texts of lines."""
        assert clean[name].count(old) == 1, (old, clean[name].count(old))
        files = {**clean, name: clean[name].replace(old, new)}
        findings = []
        for code, file, line in self.codes(files):
            text = files[file].splitlines()[line - 1].strip() if line else ''
            findings.append((code, text))
        self.assertEqual(
            [location[0] for location in expected],
            [location[0] for location in findings],
        )
        for (_code, beginning), (_same, text) in zip(
            expected, findings, strict=True
        ):
            self.assertTrue(text.startswith(beginning), text)


@ddt.ddt
class TestValues(CheckTestCase):
    def test_clean(self) -> None:
        self.assertEqual([], self.check(CLEAN))

    @ddt.data(
        # The control plane.
        (
            CONTROL,
            ',NUMATopologyFilter',
            '',
            [('GPU311', 'enabled_filters')],
        ),
        (
            CONTROL,
            'enabled_filters',
            'enabled_filtes',
            [('GPU312', 'enabled_filtes')],
        ),
        # Below the header of another section.
        (
            CONTROL,
            '        enabled_filters',
            '        passthrough_whitelist = {}\n        enabled_filters',
            [('GPU312', 'passthrough_whitelist')],
        ),
        (
            CONTROL,
            '        enabled_filters',
            '        [pci]\n        report_in_placement = True\n'
            '        [filter_scheduler]\n        enabled_filters',
            [('GPU313', 'report_in_placement')],
        ),
        # Devices.
        (
            NODES,
            '        [pci]\n        report',
            '        [devices]\n        enabled_mdev_types = nvidia-35\n'
            '        [pci]\n        report',
            [('GPU314', 'enabled_mdev_types')],
        ),
        (
            NODES,
            '        [pci]\n        report',
            '        [devices]\n        enabled_mdev_types = nvidia-35\n'
            '        [mdev_nvidia-35]\n'
            '        device_addresses = 0000:05:00.0, 0000:04:00.0\n'
            '        [pci]\n        report',
            [('GPU314', 'device_addresses')],
        ),
        (
            NODES,
            '        [pci]\n        report',
            '        [devices]\n        enabled_mdev_types = ,\n'
            '        [pci]\n        report',
            [],
        ),
        (
            NODES,
            '        [pci]\n        report',
            '        [devices]\n        enabled_mdev_types = nvidia-35\n'
            '        [mdev_nvidia-35]\n'
            '        device_addresses = 0000:05:00.0\n'
            '        [pci]\n        report',
            [],
        ),
        (
            NODES,
            '        [pci]\n        report',
            '        [devices]\n        mdev_enabled_types = nvidia-35\n'
            '        [pci]\n        report',
            [('GPU312', 'mdev_enabled_types')],
        ),
        (
            NODES,
            '"address": "0000:04:00.0"',
            '"address": "0000:04:00.0", "live_migratable": "yes"',
            [('GPU901', 'device_spec')],
        ),
        (
            NODES,
            '"name":"nvidia_a100"',
            '"name":"nvidia_a100", "live_migratable": "yes"',
            [('GPU304', 'alias'), ('GPU901', 'alias'), ('GPU902', 'alias')],
        ),
        # Services of the node set.
        (
            NODES,
            '      - vfio-pci-bind\n      - bootstrap\n      - configure-os\n'
            '      - reboot-os\n',
            '      - bootstrap\n      - configure-os\n'
            '      - reboot-os\n      - vfio-pci-bind\n',
            [('GPU315', '- vfio-pci-bind')],
        ),
        (
            NODES,
            '      - libvirt\n      - nova-custom-gpu\n',
            '      - nova-custom-gpu\n      - libvirt\n',
            [('GPU315', '- libvirt')],
        ),
        (
            NODES,
            '      - nova-custom-gpu\n',
            '      - nova\n      - nova-custom-gpu\n',
            [('GPU316', '- nova-custom-gpu')],
        ),
        (NODES, '      - vfio-pci-bind\n', '', [('GPU322', '- bootstrap')]),
        # A custom service may do this.
        (NODES, '- vfio-pci-bind', '- bind-cards', []),
        (NODES, '- vfio-pci-bind', '- "{{ bind }}"', []),
        (NODES, '      - reboot-os\n', '', [('GPU323', '- vfio-pci-bind')]),
        (
            NODES,
            '      - nova-custom-gpu\n',
            '      - nova\n',
            [('GPU324', '- vfio-pci-bind')],
        ),
        (
            NODES,
            '      - nova-custom-gpu\n',
            '',
            [('GPU324', '- vfio-pci-bind')],
        ),
        (
            NODES,
            'edpm_reboot_strategy: force',
            'edpm_reboot_strategy: never',
            [('GPU318', 'edpm_reboot_strategy')],
        ),
        # Machines.
        (
            NODES,
            'app: openstack',
            'app: other',
            [('GPU319', 'app: other')],
        ),
        (
            MACHINES,
            'nodeName: edpm-compute-0',
            'nodeName: edpm-compute-1',
            [('GPU319', 'hostName')],
        ),
        (
            NODES,
            '    services:\n',
            '      edpm-compute-1: {}\n    services:\n',
            [('GPU320', 'app: openstack')],
        ),
        (
            MACHINES,
            'redfish-virtualmedia+https://192.0.2.1/redfish/v1/Systems/1',
            'CHANGEME',
            [('GPU303', 'address')],
        ),
        (
            MACHINES,
            '52:54:00:00:00:01',
            '_replaced_',
            [('GPU303', 'bootMACAddress')],
        ),
        # Kernel arguments.
        (
            NODES,
            'vfio-pci.ids=10de:20f1',
            'vfio-pci.ids=10de:2330',
            [('GPU401', 'edpm_kernel_args'), ('GPU402', 'edpm_kernel_args')],
        ),
        (
            NODES,
            'vfio-pci.ids=10de:20f1',
            'vfio-pci.ids=20f1:10de',
            [('GPU401', 'edpm_kernel_args')],
        ),
        # The audio function of the card.
        (
            NODES,
            'vfio-pci.ids=10de:20f1',
            'vfio_pci.ids=10de:20f1,10de:1aef',
            [],
        ),
        (
            NODES,
            'vfio-pci.ids=10de:20f1',
            'vfio-pci.ids=10de:20f1,nvidia',
            [('GPU403', 'edpm_kernel_args')],
        ),
        (
            NODES,
            'intel_iommu=on',
            'intel_iommu=off',
            [('GPU404', 'edpm_kernel_args')],
        ),
        (
            NODES,
            'intel_iommu=on ',
            '',
            [('GPU405', 'edpm_kernel_args')],
        ),
        (NODES, 'intel_iommu=on', 'amd_iommu=on', []),
        (
            NODES,
            'intel_iommu=on',
            'amd_iommu=on kvm_intel.nested=1',
            [('GPU406', 'edpm_kernel_args')],
        ),
        (
            NODES,
            '        [compute]\n',
            '        [libvirt]\n        cpu_models = EPYC-Rome\n'
            '        [compute]\n',
            [('GPU406', 'edpm_kernel_args')],
        ),
        (NODES, 'iommu=pt ', '', [('GPU407', 'edpm_kernel_args')]),
        (
            NODES,
            ' rd.driver.pre=vfio-pci',
            '',
            [('GPU408', 'edpm_kernel_args')],
        ),
        (
            NODES,
            'hugepagesz=1G hugepages=64',
            'hugepagesz=3G hugepages=64',
            [('GPU409', 'edpm_kernel_args'), ('GPU409', 'edpm_kernel_args')],
        ),
        (
            NODES,
            'default_hugepagesz=1GB hugepagesz=1G hugepages=64',
            'hugepages=64',
            [('GPU411', 'edpm_kernel_args'), ('GPU412', 'edpm_kernel_args')],
        ),
        (
            NODES,
            'hugepages=64',
            'hugepages=2',
            [('GPU410', 'edpm_kernel_args')],
        ),
        (
            NODES,
            'hugepages=64',
            'hugepages=0:1,1:32',
            [('GPU410', 'edpm_kernel_args')],
        ),
        (
            NODES,
            'size:1GB,count:2',
            'size:2048,count:2',
            [('GPU411', 'edpm_kernel_args')],
        ),
        # The value that a template renders is unknown.
        (
            NODES,
            ARGUMENTS,
            '{{ arguments }}',
            [],
        ),
        # CPUs and memory.
        (
            NODES,
            'cpu_dedicated_set = 4-23,28-47',
            'cpu_dedicated_set = 4-23,28-47-50',
            [('GPU501', 'cpu_dedicated_set')],
        ),
        (
            NODES,
            'cpu_dedicated_set = 4-23,28-47',
            'cpu_dedicated_set = 3-23,28-47',
            [('GPU502', 'cpu_dedicated_set'), ('GPU505', 'cpu_dedicated_set')],
        ),
        (
            NODES,
            'reserved_host_memory_mb = 4096',
            'vcpu_pin_set = 0-3',
            [('GPU503', 'vcpu_pin_set')],
        ),
        (
            NODES,
            'reserved_host_memory_mb = 4096',
            'reserved_host_cpus = 2',
            [('GPU503', 'reserved_host_cpus')],
        ),
        (
            NODES,
            'reserved_host_memory_mb = 4096',
            'reserved_host_cpus = {{ cpus }}',
            [],
        ),
        (
            NODES,
            'reserved_host_memory_mb = 4096',
            'vcpu_pin_set = {{ cpus }}',
            [],
        ),
        (
            NODES,
            'cpu_dedicated_set = 4-23,28-47',
            'cpu_dedicated_set = 8-23,32-47',
            [('GPU504', 'cpu_dedicated_set')],
        ),
        (
            NODES,
            'edpm_tuned_isolated_cores: "4-23,28-47"',
            'edpm_tuned_isolated_cores: "5-23,28-47"',
            [('GPU505', 'cpu_dedicated_set')],
        ),
        (
            NODES,
            'edpm_tuned_isolated_cores: "4-23,28-47"',
            'edpm_tuned_isolated_cores: "3-23,28-47"',
            [('GPU506', 'cpu_shared_set')],
        ),
        (
            NODES,
            'rd.driver.pre',
            'isolcpus=4-22 rd.driver.pre',
            [('GPU507', 'edpm_kernel_args')],
        ),
        (
            NODES,
            'rd.driver.pre',
            'isolcpus=4-23,28-47 rd.driver.pre',
            [('GPU507', 'edpm_kernel_args')],
        ),
        (
            NODES,
            'size:1GB,count:2',
            'size:1G,count:2',
            [('GPU508', 'reserved_huge_pages')],
        ),
        (
            NODES,
            'size:1GB,count:2',
            'size:1024,count:2',
            [('GPU511', 'reserved_huge_pages')],
        ),
        (
            NODES,
            'edpm_tuned_isolated_cores: "4-23,28-47"',
            'edpm_tuned_isolated_cores: "4-23;28-47"',
            [('GPU512', 'edpm_tuned_isolated_cores')],
        ),
        (
            NODES,
            'edpm_tuned_profile: cpu-partitioning-powersave',
            'edpm_tuned_profile: virtual-host',
            [('GPU513', 'edpm_tuned_profile')],
        ),
        (
            NODES,
            '        edpm_tuned_profile: cpu-partitioning-powersave\n',
            '',
            [('GPU513', 'edpm_tuned_isolated_cores')],
        ),
        # Cores of Open vSwitch are not idle.
        (
            NODES,
            '        edpm_tuned_profile',
            '        edpm_ovs_dpdk_pmd_core_list: "48-49"\n'
            '        edpm_tuned_profile',
            [],
        ),
    )
    @ddt.unpack
    def test_each_rule(
        self, name: str, old: str, new: str, expected: list[tuple[str, str]]
    ) -> None:
        self.check_change(CLEAN, name, old, new, expected)

    def test_cores_of_open_vswitch(self) -> None:
        self.assertEqual(
            [],
            self.check(
                {
                    **CLEAN,
                    NODES: CLEAN[NODES].replace(
                        'edpm_tuned_isolated_cores: "4-23,28-47"',
                        'edpm_tuned_isolated_cores: "4-23,28-49"\n'
                        '        edpm_ovs_dpdk_pmd_core_list: "48-49"',
                    ),
                }
            ),
        )

    def test_ids_of_neutron(self) -> None:
        text = CLEAN[NODES].replace(
            'vfio-pci.ids=10de:20f1', 'vfio-pci.ids=10de:20f1,15b3:1017'
        )
        findings = self.check({**CLEAN, NODES: text})
        self.assertEqual(
            ['GPU402'], [located.finding.code for located in findings]
        )
        text = text.replace(
            SPEC,
            f'{SPEC}\n        device_spec = {{"vendor_id": "15b3", '
            f'"product_id": "1017", "physical_network": "a"}}',
        )
        self.assertEqual([], self.check({**CLEAN, NODES: text}))

    def test_devices_that_are_not_remote_managed(self) -> None:
        text = CLEAN[NODES].replace(
            '"address": "0000:04:00.0"',
            '"address": "0000:04:00.0", "remote_managed": "false"',
        )
        text = text.replace('vfio-pci.ids=10de:20f1', 'vfio-pci.ids=10de:20f2')
        findings = self.check({**CLEAN, NODES: text})
        self.assertIn('GPU401', [located.finding.code for located in findings])

    def test_cores_of_open_vswitch_in_a_template(self) -> None:
        text = CLEAN[NODES].replace(
            'edpm_tuned_isolated_cores: "4-23,28-47"',
            'edpm_tuned_isolated_cores: "4-23,28-49"\n'
            '        edpm_ovs_dpdk_pmd_core_list: "{{ cores }}"',
        )
        self.assertEqual([], self.check({**CLEAN, NODES: text}))

    def test_node_with_its_own_settings(self) -> None:
        """Variables of a node override those of the node set."""
        findings = self.check(
            {
                **CLEAN,
                NODES: CLEAN[NODES].replace(
                    '        hostName: edpm-compute-0\n',
                    '        hostName: edpm-compute-0\n        ansible:\n'
                    '          ansibleVars:\n'
                    '            edpm_kernel_args: iommu=off\n',
                ),
            }
        )
        self.assertEqual(
            ['GPU404'], [located.finding.code for located in findings]
        )

    def test_machines_provisioned_elsewhere(self) -> None:
        """A node set without machines in the files has no finding."""
        files = dict(CLEAN)
        files[f'other/{MACHINES}'] = files.pop(MACHINES).replace(
            'app: openstack', 'app: other'
        )
        self.assertEqual([], self.check(files))

    def test_template_that_cannot_be_read(self) -> None:
        findings = self.check({'nova/nova.conf': '{{ define }}\n[pci]\n'})
        self.assertEqual(
            [('GPU300', finding.Severity.WARNING)],
            [
                (located.finding.code, located.finding.severity)
                for located in findings
            ],
        )

    def test_unreadable_file_of_another_tool(self) -> None:
        self.assertEqual(
            [], self.check({'os_nova_role/files/kvm.conf': 'options kvm a=1'})
        )


class TestLinks(CheckTestCase):
    """Broken links."""

    def test_yaml(self) -> None:
        """A link may point to another repository."""
        (self.folder / 'template.yaml').symlink_to('../elsewhere/a.yaml')
        self.assertEqual([], self.check(CLEAN))

    def test_drop_in(self) -> None:
        """A service does not start with a broken link."""
        drop_ins = self.folder / 'etc/nova/nova.conf.d'
        drop_ins.mkdir(parents=True)
        (drop_ins / 'gpu.conf').symlink_to('/nowhere/gpu.conf')
        (located,) = self.check({})
        self.assertEqual('GPU300', located.finding.code)


class TestKolla(CheckTestCase):
    def test_report_in_placement_set_by_a_template(self) -> None:
        """An alias without IDs may be valid."""
        alias = '{"name": "a", "resource_class": "CUSTOM_A"}'
        for text, expected in (
            ('pci_in_placement = {{ x }}', []),
            ('{% if x %}\npci_in_placement = True\n{% endif %}', []),
            ('pci_in_placement = False', ['GPU301']),
        ):
            findings = self.check(
                {
                    'kolla/config/nova/nova-api.conf': (
                        f'[pci]\nalias = {alias}\n[filter_scheduler]\n{text}\n'
                    )
                }
            )
            self.assertEqual(
                expected,
                [
                    located.finding.code
                    for located in findings
                    if located.finding.severity == finding.Severity.ERROR
                ],
                text,
            )

    def test_hosts_share_a_device_spec(self) -> None:
        """A value of all hosts is one finding, and hides no others."""
        shared = (
            '[pci]\ndevice_spec = {"vendor_id": "10de", '
            '"product_id": "2330"}\n'
        )
        files = {
            'config/nova.conf': (
                f'{shared}{ALIAS}\n[filter_scheduler]\n'
                'enabled_filters = ComputeFilter,PciPassthroughFilter\n'
            ),
            'config/nova/a/nova.conf': '[DEFAULT]\nhost = a\n',
            'config/nova/b/nova.conf': '[DEFAULT]\nhost = b\n',
        }
        self.assertEqual(
            [('GPU307', 'config/nova.conf', 3)], self.codes(files)
        )


@ddt.ddt
class TestObjects(CheckTestCase):
    def test_clean(self) -> None:
        self.assertEqual([], self.check(CLEAN_OBJECTS))

    @ddt.data(
        (
            '    - nova-custom-gpu\n',
            '    - nova\n',
            [('GPU317', '- kind: OpenStackDataPlaneService')],
        ),
        (
            '    - nova-custom-gpu\n',
            '',
            [('GPU317', '- kind: OpenStackDataPlaneService')],
        ),
        ('    - vfio-pci-bind\n', '', [('GPU322', '- bootstrap')]),
        (
            '    - reboot-os\n',
            '',
            [('GPU323', '- vfio-pci-bind')],
        ),
        (
            'cpu_dedicated_set = 4-23',
            'cpu_dedicated_set = 4-24',
            [('GPU505', 'cpu_dedicated_set'), ('GPU510', 'cpu_dedicated_set')],
        ),
        (
            'hugepages=64',
            'hugepages=200',
            [('GPU509', 'edpm_kernel_args')],
        ),
        (
            'hugepages=64',
            'hugepages=126',
            [('GPU509', 'reserved_host_memory_mb')],
        ),
        (
            'Intel(R) Xeon(R) Gold 6342',
            'AMD EPYC 7543',
            [('GPU406', 'edpm_kernel_args')],
        ),
        (
            '      app: openstack\n  spec',
            '      app: x\n  spec',
            [('GPU319', 'app: openstack')],
        ),
    )
    @ddt.unpack
    def test_each_rule(
        self, old: str, new: str, expected: list[tuple[str, str]]
    ) -> None:
        self.check_change(CLEAN_OBJECTS, OBJECTS, old, new, expected)

    def test_same_names_in_each_deployment(self) -> None:
        text = CLEAN_OBJECTS[OBJECTS]
        folders = {f'{name}/{OBJECTS}': text for name in ('a', 'b')}
        self.assertEqual([], self.check(folders))
        # And spread over files.
        objects, *maps = text.split('---\n')
        self.assertEqual(
            [],
            self.check(
                {
                    f'{folder}/{number}.yaml': part
                    for folder in ('c', 'd')
                    for number, part in enumerate((objects, *maps))
                }
            ),
        )

    def test_deployed_by_override(self) -> None:
        """A deployment may have other services than its node sets."""
        text = CLEAN_OBJECTS[OBJECTS].replace(
            '    - nova-custom-gpu\n', '    - nova\n'
        )
        text += textwrap.dedent(
            """\
            ---
            kind: OpenStackDataPlaneDeployment
            spec:
              servicesOverride: [nova-custom-gpu]
            """
        )
        self.assertEqual([], self.check({OBJECTS: text}))


class TestExample(CheckTestCase):
    """The published example of GPU passthrough, unchanged."""

    ALIAS = ALIAS.replace('nvidia_a100', 'nvidia_a2')

    def test_example(self) -> None:
        """The only finding is the name: A2, with the IDs of an A100."""
        files = {
            CONTROL: CLEAN[CONTROL].replace(ALIAS, self.ALIAS),
            NODES: CLEAN[NODES]
            .replace(ALIAS, self.ALIAS)
            .replace(SPEC, f'{SPEC}\n        {SPEC.replace("04", "82")}')
            .replace('default_hugepagesz=1GB hugepagesz=1G hugepages=64 ', '')
            .replace(
                '        reserved_huge_pages = node:0,size:1GB,count:2\n', ''
            ),
            MACHINES: CLEAN[MACHINES],
        }
        self.assertEqual(
            [('GPU119', CONTROL, 9), ('GPU119', NODES, 45)],
            self.codes(files),
        )
        self.assertEqual(
            {finding.Severity.WARNING},
            {located.finding.severity for located in self.check(files)},
        )


class TestSecondService(CheckTestCase):
    """A data plane service that mounts the ConfigMaps of another."""

    def test_isolated_cores_that_nothing_uses(self) -> None:
        objects = CLEAN_OBJECTS[OBJECTS].replace('"4-23"', '"4-22"', 1) + (
            '---\n'
            'kind: OpenStackDataPlaneService\n'
            'metadata: {name: nova-custom-more}\n'
            'spec:\n'
            '  edpmServiceType: nova\n'
            '  dataSources:\n'
            '  - configMapRef: {name: cpu-nova}\n'
            '  - configMapRef: {name: gpu-nova}\n'
            '---\n'
            'kind: OpenStackDataPlaneNodeSet\n'
            'metadata: {name: more}\n'
            'spec:\n'
            '  preProvisioned: true\n'
            '  nodeTemplate:\n'
            '    ansible:\n'
            '      ansibleVars:\n'
            '        edpm_kernel_args: intel_iommu=on iommu=pt\n'
            '        edpm_tuned_profile: cpu-partitioning\n'
            '        edpm_tuned_isolated_cores: "4-31"\n'
            '  nodes: {b: {}}\n'
            '  services: [nova-custom-more]\n'
        )
        messages = [
            located.finding.message
            for located in self.check({OBJECTS: objects})
            if located.finding.code == 'GPU504'
        ]
        self.assertEqual(1, len(messages), messages)
        self.assertIn('Cores 24-31 are isolated', messages[0])


class TestUnmountedConfigMaps(CheckTestCase):
    """ConfigMaps whose data plane service is in no file."""

    CPU = (
        'kind: ConfigMap\nmetadata: {name: cpu}\ndata:\n'
        '  25-cpu.conf: |\n    [compute]\n    cpu_shared_set = 0-3\n'
    )
    GPU = (
        'kind: ConfigMap\nmetadata: {name: gpu}\ndata:\n'
        f'  03-gpu.conf: |\n    [pci]\n    {SPEC}\n    {ALIAS}\n'
        '  04-more.conf: |\n    [pci]\n    report_in_placement = True\n'
    )

    def processes(self, *objects: str) -> list[list[str]]:
        """Return the options of each nova-compute.

        A check has one nova-compute if edits have one.
        """
        path = self.folder / 'maps.yaml'
        path.write_text('---\n'.join(objects))
        (edited,) = (
            reading
            for reading in rhoso_custom_resources.CustomResourceFile.read(
                path
            ).edit_readings()
            if reading.service == configuration.COMPUTE
        )
        processes = tree.read([os.fspath(path)]).deployment.processes
        self.assertEqual(edited.is_ambiguous, len(processes) > 1)
        return [
            [option.name for option in process.options]
            for process in processes
        ]

    def test_one_has_pci(self) -> None:
        self.assertEqual(
            [
                [
                    'device_spec',
                    'alias',
                    'report_in_placement',
                    'cpu_shared_set',
                ]
            ],
            self.processes(self.CPU, self.GPU),
        )

    def test_several_have_pci(self) -> None:
        other = self.GPU.replace('name: gpu}', 'name: other}')
        self.assertEqual(
            [
                ['cpu_shared_set'],
                ['device_spec', 'alias', 'report_in_placement'],
                ['device_spec', 'alias', 'report_in_placement'],
            ],
            self.processes(self.CPU, self.GPU, other),
        )
