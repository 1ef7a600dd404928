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

import ddt
import fixtures
import testtools

from gpuclient.documents import yaml_file
from gpuclient import exceptions
from gpuclient.rehearsal import spec
from gpuclient.rehearsal import spec_reader

_CARD = {'address': '0000:04:00.0', 'vendor_id': '10de', 'product_id': '20f1'}


def _with_device(**changes):
    return {'hosts': [{'name': 'a', 'devices': [{**_CARD, **changes}]}]}


class TestDefault(testtools.TestCase):
    def test_one_host_of_the_origin_document(self):
        described = spec_reader.read(spec.default(1, 2))
        (host,) = described.hosts
        self.assertEqual('edpm-compute-0', host.name)
        self.assertEqual(
            'edpm-compute-0.ctlplane.example.com', host.hypervisor_hostname
        )
        self.assertEqual(
            [('0000:04:00.0', 0), ('0000:82:00.0', 1)],
            [(device.address, device.numa_node) for device in host.devices],
        )
        self.assertEqual(
            {('10de', '20f1', 'type-PF')},
            {(d.vendor_id, d.product_id, d.type) for d in host.devices},
        )
        (text,) = host.config
        self.assertIn('report_in_placement = True', text)
        self.assertEqual(
            (
                '[filter_scheduler]\npci_in_placement = True\n',
                '[pci]\nalias = {"vendor_id": "10de", "product_id": "20f1", '
                '"device_type": "type-PF", "name": "nvidia_a100"}\n',
            ),
            described.apis[0].config,
        )
        self.assertEqual(
            described.apis[0].config[:1], described.schedulers[0].config
        )

    def test_every_size_is_a_spec(self):
        for gpus in range(spec.MOST_GPUS + 1):
            document = spec.default(2, gpus)
            described = spec_reader.read(json.loads(json.dumps(document)))
            self.assertEqual(
                [gpus, gpus], [len(host.devices) for host in described.hosts]
            )

    def test_out_of_range(self):
        for hosts, gpus, message in (
            (0, 2, '--hosts takes 1 to 200, not 0'),
            (201, 2, '--hosts takes 1 to 200, not 201'),
            (1, -1, '--gpus takes 0 to 16, not -1'),
            (1, 17, '--gpus takes 0 to 16, not 17'),
        ):
            error = self.assertRaises(
                exceptions.InvalidValue, spec.default, hosts, gpus
            )
            self.assertEqual(message, str(error))


class TestRead(testtools.TestCase):
    def test_defaults(self):
        described = spec_reader.read({'hosts': [{'name': 'a'}]})
        (host,) = described.hosts
        self.assertEqual('a', host.hypervisor_hostname)
        self.assertEqual(
            (64, 262144, 2000), (host.vcpus, host.memory_mb, host.disk_gb)
        )
        self.assertEqual(2, len(host.cells))
        self.assertEqual(['nova-api-1'], [api.name for api in described.apis])
        self.assertEqual((), described.apis[0].config)

    def test_several_cards_of_a_model(self):
        described = spec_reader.read(
            {
                'control_plane': {
                    'config': ['[a]', ''],
                    'conductor': [{'config': '[b]'}, {'config': ['[c]']}],
                },
                'hosts': [{'name': 'a', 'config': ['[d]', '[e]']}],
            }
        )
        self.assertEqual(
            [
                spec.ServiceSpec(
                    'nova-conductor', ('[a]', '[b]'), 'controller'
                ),
                spec.ServiceSpec(
                    'nova-conductor-2', ('[a]', '[c]'), 'controller-2'
                ),
            ],
            list(described.conductors),
        )
        self.assertEqual(('[d]', '[e]'), described.hosts[0].config)

    def test_broker(self):
        url = 'rabbit://nova:a%20b@127.0.0.1:5672/'
        self.assertEqual(
            url,
            spec_reader.read(
                {'control_plane': {'transport_url': url}, 'hosts': []}
            ).transport_url,
        )
        self.assertIsNone(spec_reader.read({'hosts': []}).transport_url)

    def test_virtual_functions(self):
        described = spec_reader.read(
            _with_device(type='type-PF', vfs=9, vf_product_id='20F2')
        )
        functions = described.hosts[0].devices[0].functions()
        self.assertEqual(
            [
                '0000:04:00.0',
                '0000:04:00.1',
                '0000:04:00.7',
                '0000:04:01.0',
                '0000:04:01.1',
            ],
            [functions[number].address for number in (0, 1, 7, 8, 9)],
        )
        self.assertEqual(
            ('type-VF', '0000:04:00.0', '20f2'),
            (
                functions[9].type,
                functions[9].parent_address,
                functions[9].product_id,
            ),
        )

    def test_numa(self):
        described = spec_reader.read(
            {
                'hosts': [
                    {
                        'name': 'a',
                        'numa': [
                            {
                                'cpus': '0-3,8',
                                'memory_mb': 4096,
                                'hugepages': [{'size_kb': 2048, 'total': 512}],
                            }
                        ],
                    }
                ]
            }
        )
        (cell,) = described.hosts[0].cells
        self.assertEqual((0, 1, 2, 3, 8), cell.cpus)
        self.assertEqual(((2048, 512),), cell.hugepages)
        self.assertEqual(4096, described.hosts[0].memory_mb)

    def test_host_by_name(self):
        described = spec_reader.read(spec.default(2, 0))
        self.assertEqual(
            'edpm-compute-1', described.host('edpm-compute-1').name
        )
        self.assertRaises(KeyError, described.host, 'nobody')


@ddt.ddt
class TestRefused(testtools.TestCase):
    @ddt.data(
        (None, 'spec: must be a mapping, not null'),
        ([], 'spec: must be a mapping, not a list'),
        ({}, 'hosts is missing'),
        ({'hosts': {}}, 'hosts: must be a list, not a mapping'),
        ({'hosts': [1]}, 'hosts[0]: must be a mapping, not 1'),
        (
            {'hosts': [], 'x': 1},
            "spec: unknown key 'x'; known keys: control_plane, hosts",
        ),
        (
            {'control_plane': {'transport_url': 5}, 'hosts': []},
            'control_plane.transport_url: must be a string, not 5; use quotes',
        ),
        *(
            (
                {'control_plane': {'transport_url': url}, 'hosts': []},
                'control_plane.transport_url: must be '
                'rabbit://USER:PASSWORD@HOST:PORT/',
            )
            for url in (
                'kafka://nova:secret@h/',
                'rabbit://nova:$secret@h/',
                'rabbit://',
            )
        ),
        (
            {
                'control_plane': {
                    'transport_url': 'rabbit://nova:secret@h/\n[pci]'
                },
                'hosts': [],
            },
            'control_plane.transport_url: contains a line end or a control '
            'character',
        ),
        ({'hosts': [{}]}, 'hosts[0].name is missing'),
        (
            {'hosts': [{'name': 'a b'}]},
            'hosts[0].name: must be a name of letters, digits, dots, dashes '
            "and underscores, not 'a b'",
        ),
        (
            {'hosts': [{'name': 'a'}, {'name': 'a'}]},
            'hosts[1].name: a is used twice',
        ),
        (
            {
                'hosts': [
                    {'name': 'a', 'hypervisor_hostname': 'x'},
                    {'name': 'b', 'hypervisor_hostname': 'x'},
                ]
            },
            'hosts[1].hypervisor_hostname: x is used twice',
        ),
        (
            {'hosts': [{'name': 'a', 'vcpu': 4}]},
            "hosts[0]: unknown key 'vcpu'; known keys: config, devices, "
            'disk_gb, hypervisor_hostname, memory_mb, name, numa, vcpus',
        ),
        (
            {'hosts': [{'name': 'a', 'vcpus': True}]},
            'hosts[0].vcpus: must be an integer of at least 2, not true',
        ),
        (
            {'hosts': [{'name': 'a', 'config': 'x\x1b'}]},
            'hosts[0].config: contains a control character',
        ),
        (
            {'hosts': [{'name': 'a', 'numa': [{'cpus': 1}]}]},
            'hosts[0].numa[0].cpus: must be CPUs such as 0-15,32-47, in '
            'quotes, not 1',
        ),
        (
            {'hosts': [{'name': 'a', 'config': 1}]},
            'hosts[0].config: must be a string, or a list of strings',
        ),
        (
            {'hosts': [{'name': 'a', 'config': [1]}]},
            'hosts[0].config: must be a string, or a list of strings',
        ),
        (
            {'hosts': [{'name': 'a', 'config': [''] * 81}]},
            'hosts[0].config: has 81 texts; at most 80',
        ),
        (
            {'hosts': [], 'control_plane': {'scheduler': []}},
            'control_plane.scheduler: must not be empty',
        ),
        (
            {'hosts': [], 'control_plane': {'api': []}},
            'control_plane.api: must not be empty',
        ),
        (
            {'hosts': [], 'control_plane': {'api': [{'port': 1}]}},
            "control_plane.api[0]: unknown key 'port'; known keys: config",
        ),
        (
            {'hosts': [], 'control_plane': {'cells': 1}},
            "control_plane: unknown key 'cells'; known keys: api, conductor, "
            'config, scheduler, transport_url',
        ),
        (
            {'hosts': [{'name': 'a', 'numa': []}]},
            'hosts[0].numa: must not be empty',
        ),
        (
            {'hosts': [{'name': 'a', 'numa': [{'cpus': '3-1'}]}]},
            'hosts[0].numa[0].cpus: must be CPUs such as 0-15,32-47, not '
            "'3-1'",
        ),
        (
            {
                'hosts': [
                    {
                        'name': 'a',
                        'vcpus': 2,
                        'numa': [{'cpus': '0', 'memory_mb': 1}],
                    }
                ]
            },
            'hosts[0].vcpus: cannot be combined with numa',
        ),
        (
            {
                'hosts': [
                    {
                        'name': 'a',
                        'numa': [
                            {'cpus': '0', 'memory_mb': 1},
                            {'cpus': '0', 'memory_mb': 1},
                        ],
                    }
                ]
            },
            'hosts[0].numa: has a CPU in two cells',
        ),
        (
            {
                'hosts': [
                    {
                        'name': 'a',
                        'numa': [
                            {
                                'cpus': '0',
                                'memory_mb': 1,
                                'hugepages': [{'size_kb': 2048, 'total': 1}],
                            }
                        ],
                    }
                ]
            },
            'hosts[0].numa[0].hugepages: take more than the 1 MiB of the cell',
        ),
        (
            {
                'hosts': [
                    {
                        'name': 'a',
                        'numa': [
                            {
                                'cpus': '0',
                                'memory_mb': 9,
                                'hugepages': [
                                    {'size_kb': 2048, 'total': 1},
                                    {'size_kb': 2048, 'total': 1},
                                ],
                            }
                        ],
                    }
                ]
            },
            'hosts[0].numa[0].hugepages[1].size_kb: 2048 is used twice',
        ),
        (
            _with_device(address='04:00.0'),
            'hosts[0].devices[0].address: must be an address such as '
            "0000:04:00.0, not '04:00.0'",
        ),
        (
            _with_device(vendor_id=4318),
            'hosts[0].devices[0].vendor_id: must be four hexadecimal digits, '
            'in quotes, not 4318',
        ),
        (
            _with_device(type='type-GPU'),
            'hosts[0].devices[0].type: must be one of type-PCI, type-PF, '
            "type-VF, not 'type-GPU'",
        ),
        (
            _with_device(numa_node=2),
            'hosts[0].devices[0].numa_node: the host has no NUMA node 2',
        ),
        (
            _with_device(vfs=2),
            'hosts[0].devices[0].vfs: is for type-PF devices only',
        ),
        (
            _with_device(type='type-PF', vfs=256),
            'hosts[0].devices[0].vfs: 256 virtual functions do not fit on '
            'the bus',
        ),
        (
            _with_device(type='type-VF'),
            'hosts[0].devices[0].parent_address is missing',
        ),
        (
            _with_device(parent_address='0000:04:00.0'),
            'hosts[0].devices[0].parent_address: is for type-VF devices only',
        ),
        (
            {
                'hosts': [
                    {
                        'name': 'a',
                        'devices': [
                            {**_CARD, 'type': 'type-PF', 'vfs': 1},
                            {**_CARD, 'address': '0000:04:00.1'},
                        ],
                    }
                ]
            },
            'hosts[0].devices[1].address: 0000:04:00.1 is used twice',
        ),
    )
    @ddt.unpack
    def test_refused(self, document, message):
        error = self.assertRaises(
            exceptions.InvalidValue, spec_reader.read, document
        )
        self.assertEqual(message, str(error))


class TestFile(testtools.TestCase):
    def load(self, text):
        path = self.useFixture(fixtures.TempDir()).join('spec.yaml')
        with open(path, 'w', encoding='utf-8') as stream:
            stream.write(text)
        return yaml_file.load(path)

    def test_address_without_quotes(self):
        """An address is not a base-60 number; an ID may not be a number."""
        (host,) = spec_reader.read(
            self.load(
                'hosts:\n'
                '- name: a\n'
                '  devices:\n'
                '  - address: 0000:04:00.0\n'
                '    vendor_id: 10de\n'
                '    product_id: 20e5\n'
            )
        ).hosts
        self.assertEqual(
            ('0000:04:00.0', '20e5'),
            (host.devices[0].address, host.devices[0].product_id),
        )

    def test_invalid_yaml(self):
        for text in (
            'hosts: [',
            'hosts: "\\UFFFFFFFF"',
            'hosts: !!timestamp x',
            '[' * 5000,
        ):
            error = self.assertRaises(
                exceptions.DocumentError, self.load, text
            )
            self.assertIn('spec.yaml', str(error))
            self.assertNotIn('\n', str(error))
