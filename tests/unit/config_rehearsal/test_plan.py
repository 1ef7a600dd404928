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

"""The plan for a tree of configuration, before it is started."""

import dataclasses
import os
import pathlib
import shutil
import tempfile

import ddt
import testtools

from gpuclient.config_rehearsal import device_simulation
from gpuclient.config_rehearsal import plan as planning
from gpuclient.documents import tree
from gpuclient import exceptions
from gpuclient.model import alias as alias_model
from gpuclient.model import catalogue
from gpuclient.model import configuration
from gpuclient.model import device_spec
from gpuclient.model import host as host_model
from gpuclient.model import pci
from gpuclient.rehearsal import spec
from gpuclient.rehearsal import spec_reader

ALIAS = (
    'alias = {"vendor_id": "10de", "product_id": "20f1", '
    '"device_type": "type-PF", "name": "nvidia_a2"}\n'
)
MODELS = catalogue.builtin()
PLACE = configuration.Place('nova.conf', 1)


def simulate(
    *texts: str, aliases: tuple[str, ...] = (), **kwargs: object
) -> tuple[list[tuple[str, str, str, object]], list[str]]:
    devices, unknown = device_simulation.simulate(
        [
            (entry, configuration.Setting(text, PLACE))
            for text in texts
            for entry in device_spec.parse(text)
        ],
        [alias_model.parse(text) for text in aliases],
        MODELS,
        **kwargs,
    )
    return [
        (
            device.address,
            f'{device.vendor_id}:{device.product_id}',
            device.type,
            device.numa_node,
        )
        for device in devices
    ], [device.reason for device in unknown]


@ddt.ddt
class TestSimulate(testtools.TestCase):
    def test_entry_with_an_address_is_one_device(self) -> None:
        self.assertEqual(
            (
                [
                    ('0000:04:00.0', '10de:20f1', 'type-PF', 0),
                    ('0000:82:00.0', '10de:20f1', 'type-PF', 1),
                ],
                [],
            ),
            simulate(
                '{"vendor_id": "10de", "product_id": "20f1", '
                '"address": "0000:04:00.0"}',
                '{"vendor_id": "10de", "product_id": "20f1", '
                '"address": "0000:82:00.0"}',
            ),
        )

    @ddt.data(
        ('{%s}', ['0000:04:00.0', '0000:82:00.0', '0000:13:00.0']),
        (
            '{%s, "address": "*:41:*.*"}',
            ['0000:41:00.0', '0000:41:01.0', '0000:41:02.0'],
        ),
        (
            '{%s, "address": {"bus": "a[0-9]$", "function": "[12]"}}',
            ['0000:a0:00.1', '0000:a1:00.1', '0000:a2:00.1'],
        ),
        (
            '{%s, "address": {"domain": "0001", "bus": "04", "slot": "1f"}}',
            ['0001:04:1f.0', '0001:04:1f.1', '0001:04:1f.2'],
        ),
    )
    @ddt.unpack
    def test_addresses_that_match(
        self, text: str, addresses: list[str]
    ) -> None:
        text %= '"vendor_id": "10de", "product_id": "20f1"'
        devices, unknown = simulate(text, count=3)
        self.assertEqual(addresses, [device[0] for device in devices])
        self.assertEqual([], unknown)

    def test_virtual_functions(self) -> None:
        text = '{"vendor_id": "10de", "product_id": "20f2"}'
        alias = (
            '{"name": "a", "vendor_id": "10de", "product_id": "20f2", '
            '"device_type": "type-VF"}'
        )
        devices, _unknown = simulate(text, aliases=(alias,))
        self.assertEqual(
            [
                ('0000:04:00.1', '10de:20f2', 'type-VF', 0),
                ('0000:04:00.2', '10de:20f2', 'type-VF', 0),
            ],
            devices,
        )
        # The address of their PF also matches them.
        entry = text.replace('}', ', "address": "0000:04:00.0"}')
        devices, _unknown = simulate(entry, aliases=(alias,), count=3)
        self.assertEqual(
            [('0000:04:00.0', '10de:ffff', 'type-PF', 0)], devices
        )
        self.assertEqual(
            (
                [],
                [
                    'it matches no free address for a type-VF device: '
                    'describe the device with --device'
                ],
            ),
            simulate(
                text.replace('}', ', "address": "04:00.0"}'), aliases=(alias,)
            ),
        )

    @ddt.data(
        # The type in the catalogue precedes that of the alias.
        ('20f1', 'type-PCI', 'type-PF'),
        ('ffff', 'type-PF', 'type-PF'),
        ('ffff', None, 'type-PCI'),
    )
    @ddt.unpack
    def test_type(
        self, product: str, of_alias: str | None, expected: str
    ) -> None:
        ids = f'"vendor_id": "10de", "product_id": "{product}"'
        device_type = f', "device_type": "{of_alias}"' if of_alias else ''
        devices, _unknown = simulate(
            f'{{{ids}}}', aliases=(f'{{"name": "a", {ids}{device_type}}}',)
        )
        self.assertEqual({expected}, {device[2] for device in devices})

    def test_ids_of_aliases(self) -> None:
        aliases = tuple(
            f'{{"name": "a", "vendor_id": "{vendor}", "product_id": '
            f'"{product}"}}'
            for vendor, product in (('10de', '20f1'), ('1002', '74a1'))
        )
        devices, _unknown = simulate(
            '{"vendor_id": "10de", "address": "04:00.0"}', aliases=aliases
        )
        self.assertEqual(['10de:20f1'], [device[1] for device in devices])
        devices, _unknown = simulate('{}', aliases=aliases, count=1)
        # One entry matches both.
        self.assertEqual(
            ['10de:20f1', '1002:74a1'], [device[1] for device in devices]
        )
        self.assertEqual(
            (
                [],
                [
                    'its vendor and product IDs are unknown: describe the '
                    'device with --device',
                    'network interfaces are not simulated',
                ],
            ),
            simulate('{}', '{"devname": "eth0"}'),
        )

    def test_described_devices(self) -> None:
        card = dataclasses.replace(
            device_simulation.simulated_device(
                '0000:c1:00.0', '10de', '20f1', 'type-PF'
            ),
            numa_node=0,
        )
        devices, _unknown = simulate(
            '{"vendor_id": "10de", "product_id": "20f1"}', given=[card]
        )
        self.assertEqual(
            [('0000:c1:00.0', '10de:20f1', 'type-PF', 0)], devices
        )


_INSPECTED = host_model.Host(
    'gpu-0.example.com',
    devices=(
        host_model.PciDevice(
            pci.parse_address('c1:00.0'),
            '10de',
            '2330',
            numa_node=3,
            sriov_total_vfs=16,
        ),
        host_model.PciDevice(
            pci.parse_address('c1:00.4'),
            '10de',
            '2331',
            physical_function=pci.parse_address('c1:00.0'),
        ),
        host_model.PciDevice(
            pci.parse_address('00:01.0'),
            '8086',
            '1234',
            class_code=0x060400,
        ),
    ),
    nodes=(
        host_model.NumaNode(0, frozenset({0, 1}), 2**21),
        # A memory node without CPUs.
        host_model.NumaNode(1, frozenset(), 2**21),
        host_model.NumaNode(
            3,
            frozenset({2, 3}),
            2**22,
            (host_model.HugePages(2048, 16),),
        ),
    ),
)


class PlanTestCase(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        # The name of a host cannot end with an underscore.
        self.folder = pathlib.Path(tempfile.mkdtemp(suffix='-cloud'))
        self.addCleanup(shutil.rmtree, self.folder)

    def plan(self, files: dict[str, str], **kwargs: object) -> planning.Plan:
        for name, content in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        contents = tree.read([os.fspath(self.folder)])
        self.assertEqual((), contents.unreadable)
        plan = planning.make(
            contents.deployment,
            models=MODELS,
            **kwargs,
        )
        # Every plan is a valid spec.
        spec_reader.read(plan.spec)
        return plan


class TestPlan(PlanTestCase):
    def test_folders_of_hosts(self) -> None:
        """Each folder is a host, with all files that its service reads."""
        plan = self.plan(
            {
                'controller/nova.conf': '[pci]\n' + ALIAS,
                'compute01/nova.conf': '[pci]\nreport_in_placement = 1\n',
                'compute01/nova-compute.conf': '[pci]\ndevice_spec = {}\n',
                'compute02/nova.conf': '[pci]\ndevice_spec = {}\n',
            }
        )
        self.assertEqual(
            [
                ('compute01', ['nova.conf', 'nova-compute.conf']),
                ('compute02', ['nova.conf']),
            ],
            [
                (
                    host.name,
                    [os.path.basename(path) for path in host.service.paths],
                )
                for host in plan.hosts
            ],
        )
        self.assertEqual(
            {'controller'},
            {
                os.path.basename(os.path.dirname(path))
                for service in plan.control_plane
                for path in service.paths
            },
        )

    def test_filters_are_not_set(self) -> None:
        """If the user does not set them, Nova's default applies."""

        def template(files: dict[str, str]) -> str:
            shutil.rmtree(self.folder, ignore_errors=True)
            plan = self.plan(files)
            (planned,) = (
                service
                for service in plan.control_plane
                if service.name == configuration.SCHEDULER
            )
            scheduler = spec_reader.read(plan.spec).schedulers[0]
            self.assertEqual(planned.template, scheduler.template)
            return scheduler.template

        self.assertEqual('', template({'nova.conf': f'[pci]\n{ALIAS}'}))
        self.assertEqual('', template({'nova-scheduler.conf': '[pci]\n'}))
        # No file belongs to nova-scheduler.
        self.assertEqual(
            spec.SCHEDULER_TEMPLATE,
            template({'nova-api.conf': f'[pci]\n{ALIAS}'}),
        )
        # The template of the operator has filters.
        self.assertEqual(
            spec.SCHEDULER_TEMPLATE,
            template(
                {
                    'values.yaml': (
                        'data:\n  nova:\n    schedulerServiceTemplate:\n'
                        '      customServiceConfig: |\n        [pci]\n'
                    )
                }
            ),
        )

    def test_common_options_come_first(self) -> None:
        plan = self.plan(
            {
                'nova.conf': '[DEFAULT]\ndebug = 1\n[pci]\n' + ALIAS,
                'nova-compute.conf': (
                    '[compute]\ncpu_dedicated_set = 4-99\n'
                    '[DEFAULT]\nhost = gpu.example.com\n'
                    'reserved_host_memory_mb = 200000\n'
                ),
            }
        )
        self.assertEqual(
            [
                ('nova-api-1', 'controller'),
                ('nova-conductor', 'controller'),
                ('nova-scheduler', 'controller'),
                ('nova-compute', 'gpu.example.com'),
            ],
            [(service.name, service.host) for service in plan.services],
        )
        (host,) = plan.hosts
        self.assertEqual(
            (
                '[pci]\n' + ALIAS,
                '[compute]\ncpu_dedicated_set = 4-99\n'
                '[DEFAULT]\nreserved_host_memory_mb = 200000\n',
            ),
            host.service.texts,
        )
        self.assertEqual(
            ['nova.conf', 'nova-compute.conf'],
            [os.path.basename(path) for path in host.service.paths],
        )
        # It has the CPUs and the memory that its options require, and no
        # CPUs for servers that are not pinned.
        self.assertEqual(
            [('0-49', 400000), ('50-99', 400000)],
            [(node['cpus'], node['memory_mb']) for node in host.topology.numa],
        )
        self.assertFalse(host.topology.shared)

    def test_secrets_are_excluded(self) -> None:
        plan = self.plan(
            {
                'nova.conf': '# hunter2\n[DEFAULT]\n'
                'transport_url = rabbit://nova:hunter2@h/\n'
                'odd_url = http://nova:hunter2@h/\n'
                'admin_password = hunter2\n'
                'cpu_allocation_ratio = 2\n'
                '[database]\nconnection = mysql://nova:hunter2@h/nova\n'
                '[oslo_messaging_rabbit]\nrabbit_password = hunter2\n'
                '[vendordata_dynamic_auth]\npassword = hunter2\n'
                '[libvirt]\nvirt_type = kvm\nrbd_secret_uuid = hunter2\n'
                '[pci]\nalias = {{ x }}\n'
            }
        )
        self.assertNotEqual((), tuple(plan.services))
        for service in plan.services:
            self.assertEqual(
                (
                    '[DEFAULT]\ncpu_allocation_ratio = 2\n'
                    '[libvirt]\nvirt_type = kvm\n',
                ),
                service.texts,
            )
            self.assertEqual(
                [
                    ('[DEFAULT]transport_url', 'replaced'),
                    ('[DEFAULT]odd_url', 'left out'),
                    ('[DEFAULT]admin_password', 'left out'),
                    ('[database]connection', 'replaced'),
                    ('[oslo_messaging_rabbit]rabbit_password', 'replaced'),
                    ('[vendordata_dynamic_auth]password', 'left out'),
                    ('[libvirt]virt_type', 'unread'),
                    ('[libvirt]rbd_secret_uuid', 'left out'),
                    ('[pci]alias', 'left out'),
                ],
                [
                    (setting.name, setting.state)
                    for setting in service.excluded
                ],
            )

    def test_hosts_of_kolla(self) -> None:
        plan = self.plan(
            {
                'config/nova.conf': '[pci]\n' + ALIAS,
                'config/nova/gpu-0/nova.conf': '[pci]\ndevice_spec = {}\n',
                'config/nova/gpu-1/nova.conf': '[pci]\ndevice_spec = {}\n',
            },
            count=1,
        )
        self.assertLessEqual(
            {'gpu-0', 'gpu-1'}, {host.name for host in plan.hosts}
        )
        # Hosts without different names are numbered.
        self.assertEqual(
            ['a', 'a-2', 'compute'],
            list(map(str, _free_names(['a', 'a', '!!']))),
        )

    def test_hosts_of_folders(self) -> None:
        plan = self.plan(
            {
                f'hosts/{name}/etc/nova/nova-compute.conf.d/50-gpu.conf': (
                    '[pci]\ndevice_spec = {"vendor_id": "10de", '
                    '"product_id": "20f1"}\n'
                )
                for name in ('gpu-0', 'gpu-1')
            }
        )
        self.assertEqual(
            ['gpu-0', 'gpu-1'], [host.name for host in plan.hosts]
        )

    def test_nodeset(self) -> None:
        plan = self.plan(
            {
                'values.yaml': 'data:\n  nodeset:\n    ansible:\n'
                '      ansibleVars:\n'
                '        edpm_kernel_args: hugepagesz=1G hugepages=400\n'
                '    nodes:\n      edpm-compute-7:\n        hostName: x\n'
                '  nova:\n    compute:\n      conf: |\n'
                '        [compute]\n        cpu_shared_set = 0-3\n'
            }
        )
        (host,) = plan.hosts
        self.assertEqual('edpm-compute-7', host.name)
        self.assertEqual(
            [{'size_kb': 1048576, 'total': 200}],
            host.topology.numa[0]['hugepages'],
        )
        self.assertEqual(2 * 200 * 1024, host.topology.numa[0]['memory_mb'])

    def test_reserved_pages_without_kernel_arguments(self) -> None:
        plan = self.plan(
            {
                'nova-compute.conf': '[DEFAULT]\n'
                'reserved_huge_pages = node:2,size:2048,count:8\n'
                'reserved_huge_pages = broken\n'
                '[compute]\ncpu_shared_set = 3-1\n'
            }
        )
        (host,) = plan.hosts
        self.assertEqual(
            [[], [], [{'size_kb': 2048, 'total': 16}]],
            [node['hugepages'] for node in host.topology.numa],
        )

    def test_inspected_host(self) -> None:
        """Its devices are simulated, not those of the configuration."""
        text = (
            '[pci]\ndevice_spec = {"vendor_id": "10de"}\n'
            'device_spec = {"vendor_id": "1002"}\n'
        )
        plan = self.plan({'nova-compute.conf': text}, inspected=[_INSPECTED])
        (host,) = plan.hosts
        self.assertEqual(
            (
                spec.SimulatedDevice(
                    '0000:c1:00.0', '10de', '2330', 'type-PF', 1
                ),
                spec.SimulatedDevice(
                    '0000:c1:00.4',
                    '10de',
                    '2331',
                    'type-VF',
                    parent_address='0000:c1:00.0',
                ),
            ),
            host.devices,
        )
        self.assertEqual(
            ['no device of the host matches it'],
            [device.reason for device in host.unsimulated],
        )
        self.assertEqual(
            [
                {'cpus': '0-1', 'memory_mb': 2048, 'hugepages': []},
                {
                    'cpus': '2-3',
                    'memory_mb': 4096,
                    'hugepages': [{'size_kb': 2048, 'total': 16}],
                },
            ],
            list(host.topology.numa),
        )

    def test_inspected_host_of_another_name(self) -> None:
        """If there are several hosts, the name selects one of them."""
        error = self.assertRaises(
            exceptions.InvalidValue,
            self.plan,
            {
                'nova-compute.conf': '[pci]\n',
                'other/nova-compute.conf': '[DEFAULT]\nhost = a\n',
            },
            inspected=[_INSPECTED],
        )
        self.assertEqual(
            "The configuration has no compute host 'gpu-0'; its hosts: "
            f'a, {self.folder.name}',
            str(error),
        )

    def test_several_deployments_are_refused(self) -> None:
        files = {'nova-api.conf': '[pci]\n', 'nova-compute.conf': '[pci]\n'}
        error = self.assertRaises(
            exceptions.InvalidValue,
            self.plan,
            {
                f'{folder}/{name}': text
                for folder in ('a', 'b')
                for name, text in files.items()
            },
        )
        self.assertEqual(
            'The files belong to 2 deployments '
            f'({self.folder}/a, {self.folder}/b); a rehearsal runs one: '
            'pass the files or the folder of one, or say with --as which '
            'service reads which file',
            str(error),
        )

    def test_too_many_hosts(self) -> None:
        error = self.assertRaises(
            exceptions.InvalidValue,
            self.plan,
            {
                f'nova-compute-{number}.conf': '[pci]\n'
                for number in range(201)
            },
        )
        self.assertEqual(
            'The configuration is of 201 hosts; at most 200 can be '
            'simulated: pass the files of fewer hosts',
            str(error),
        )

    def test_device_of_an_unknown_host(self) -> None:
        error = self.assertRaises(
            exceptions.InvalidValue,
            self.plan,
            {'nova-compute.conf': '[DEFAULT]\nhost = a\n'},
            described=[
                (
                    'b',
                    device_simulation.simulated_device(
                        '0000:04:00.0', '10de', '20f1', 'type-PCI'
                    ),
                )
            ],
        )
        self.assertEqual(
            "The configuration has no compute host 'b'; its hosts: a",
            str(error),
        )


def _free_names(names: list[str]) -> list[str]:
    used: set[str] = set()
    free = []
    for name in names:
        free.append(planning._unused_name(name, used))
        used.add(free[-1])
    return free
