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

"""Descriptions: their values, and invalid ones."""

import copy
import typing

import hypothesis
from hypothesis import strategies
import testtools

from gpuclient.documents.generate import created_files
from gpuclient.documents.generate import host_files
from gpuclient import exceptions
from gpuclient.model import catalogue
from gpuclient.model import cpu
from gpuclient.model import description
from gpuclient.model import description_reader

_MODEL = catalogue.Model(
    slug='nvidia_test',
    name='NVIDIA Test',
    designation='Test',
    vendor_id='10de',
    product_id='2684',
    architecture='Test',
    device_types=('type-PCI',),
    audio_product_id='22ba',
)
_DATA: dict[str, typing.Any] = {
    'target': 'rhoso',
    'aliases': [{'name': 'gpu', 'model': 'test'}],
    'compute': {
        'cpu_vendor': 'intel',
        'numa_nodes': [
            {'cpus': '0-3,8-11', 'memory_mb': 65536},
            {'cpus': '4-7,12-15'},
        ],
        'cpu': {'reserved_cores': 1, 'threads_per_core': 2},
        'huge_pages': {'size': '1G', 'count': 32, 'reserved': [1, 0]},
        'cards': [{'alias': 'gpu', 'addresses': ['0000:04:00.0']}],
        'kernel_args': ['quiet'],
    },
    'rhoso': {
        'ctlplane_interface': 'eno2',
        'cells': ['cell0', 'cell1'],
        'labels': {'app': 'openstack'},
        'networks': [{'name': 'ctlplane', 'default_route': True}],
        'ansible_vars': {'a': [1, {'b': None}]},
    },
    'hosts': [
        {
            'name': 'compute-0',
            'labels': {'rack': 'a1'},
            'fixed_ips': {'ctlplane': '192.0.2.9'},
            'bare_metal': {
                'preprovisioning_network_data': {
                    'interfaces': [{'name': 'a'}]
                },
                'network_data': {'interfaces': [{'name': 'a', 'mtu': 9000}]},
                'bmc': {
                    'address': 'redfish://192.0.2.1/redfish/v1/Systems/1',
                    'credentials_name': 'bmc-secret',
                },
                'boot_mac_address': '52:54:00:AB:CD:EF',
                'root_device_hints': {
                    'device_name': '/dev/sda',
                    'rotational': False,
                    'min_size_gigabytes': 100,
                },
            },
        }
    ],
}


def changed(path: str, value: typing.Any) -> dict[str, typing.Any]:
    """Return the data with one value changed; None removes it."""
    data = copy.deepcopy(_DATA)
    *keys, last = path.split('.')
    place: typing.Any = data
    for key in keys:
        if isinstance(place, list):
            place = place[int(key)]
        else:
            place = place.setdefault(key, {})
    if isinstance(place, list):
        place[int(last) :] = [value]
    elif value is None:
        del place[last]
    else:
        place[last] = value
    return data


def parse(data: typing.Any) -> description.Description:
    return description_reader.parse(data, catalogue.Catalogue([_MODEL]))


class TestParse(testtools.TestCase):
    def test_all(self) -> None:
        parsed = parse(_DATA)
        (alias,) = parsed.aliases
        self.assertEqual(
            ('gpu', '10de', '2684', 'type-PCI'),
            (
                alias.name,
                alias.vendor_id,
                alias.product_id,
                alias.device_type,
            ),
        )
        self.assertEqual({'gpu': '22ba'}, parsed.audio)
        (host,) = parsed.hosts
        self.assertEqual('0,4,8,12', cpu.render(host.shared or ()))
        self.assertEqual(
            '1-3,5-7,9-11,13-15', cpu.render(host.dedicated or ())
        )
        self.assertEqual(
            description.HugePageRequest(2**30, (32, 32), (1, 0)),
            host.huge_pages,
        )
        self.assertEqual('compute-0', host.hypervisor_hostname)
        assert host.bare_metal is not None
        self.assertEqual('52:54:00:ab:cd:ef', host.bare_metal.boot_mac_address)
        self.assertEqual(
            {
                'deviceName': '/dev/sda',
                'minSizeGigabytes': 100,
                'rotational': False,
            },
            host.bare_metal.root_device_hints,
        )

    def test_names_of_resource_providers(self) -> None:
        (alias,) = parse(
            changed(
                'aliases.0',
                {
                    'name': 'gpu',
                    'vendor_id': '10DE',
                    'product_id': 2684,
                    'device_type': 'type-PF',
                    'resource_class': 'a-b',
                    'traits': ['fast', 'HW_GPU_API_VULKAN'],
                    'live_migratable': False,
                },
            )
        ).aliases
        self.assertEqual('CUSTOM_A_B', alias.resource_class)
        self.assertEqual('CUSTOM_FAST,HW_GPU_API_VULKAN', alias.traits)
        self.assertEqual('2684', alias.product_id)
        self.assertIs(False, alias.live_migratable)

    def test_value_of_a_host_overrides_the_common_value(self) -> None:
        data = changed('hosts.0.cpu', {'dedicated': '4-15'})
        (host,) = parse(data).hosts
        self.assertEqual('4-15', cpu.render(host.dedicated or ()))
        self.assertIsNone(host.shared)

    def test_cards_only(self) -> None:
        data = changed(
            'compute', {key: _DATA['compute'][key] for key in ('cards',)}
        )
        data['hosts'][0]['cpu_vendor'] = 'amd'
        (host,) = parse(data).hosts
        self.assertEqual((), host.nodes)
        self.assertIsNone(host.shared)

    def test_the_same_words_as_host_files(self) -> None:
        self.assertEqual(
            {host_files.INTEL, host_files.AMD}, set(description.CPU_VENDORS)
        )
        self.assertEqual(
            {host_files.DEBIAN, host_files.RHEL}, set(description.SYSTEMS)
        )


class TestRefused(testtools.TestCase):
    """Each error is one line that begins with the path of the value."""

    CASES: typing.ClassVar[dict[str, tuple[str, typing.Any]]] = {
        # Strictness.
        "description: unknown key 'alias'": ('alias', []),
        "hosts[0]: unknown key 'card'": ('hosts.0.card', []),
        "aliases[0]: unknown key 'vendor'": ('aliases.0.vendor', '10de'),
        "rhoso: unknown key 'tuned'": ('rhoso.tuned', 'x'),
        "compute: unknown key 'kernel'": ('compute.kernel', 'x'),
        'target is missing: set rhoso, kolla or plain': ('target', None),
        "target: must be one of rhoso, kolla, plain, not 'helm'": (
            'target',
            'helm',
        ),
        'hosts[0].name is missing': ('hosts.0.name', None),
        'aliases: must not be empty': ('aliases', []),
        'hosts: must be a list, not a string': ('hosts', 'x'),
        'compute: must be a mapping, not a string': ('compute', 'x'),
        'hosts[0]: must be a mapping, not a string': ('hosts.0', 'x'),
        "pci_in_placement: must be true or false, not 'yes'": (
            'pci_in_placement',
            'yes',
        ),
        'report_in_placement: must be true if pci_in_placement is': (
            'report_in_placement',
            False,
        ),
        # Secrets.
        'hosts[0].bare_metal.bmc.password: must not contain a secret': (
            'hosts.0.bare_metal.bmc.password',
            'x',
        ),
        'rhoso.ansible_vars.admin_password: must not contain a secret': (
            'rhoso.ansible_vars.admin_password',
            'x',
        ),
        'hosts[0].bare_metal.network_data.wifi.passphrase: must not': (
            'hosts.0.bare_metal.network_data',
            {'wifi': {'passphrase': 'x'}},
        ),
        'hosts[0].bare_metal.bmc.address: must be the address of a BMC': (
            'hosts.0.bare_metal.bmc.address',
            'https://root:calvin@192.0.2.1/',
        ),
        'hosts[0].bare_metal.bmc: must be a mapping, not a string': (
            'hosts.0.bare_metal.bmc',
            'https://root:calvin@192.0.2.1/',
        ),
        'rhoso.ssh_key_secret: contains a line end': (
            'rhoso.ssh_key_secret',
            '-----BEGIN OPENSSH PRIVATE KEY-----\n',
        ),
        'hosts[0].bare_metal.bmc.credentials_name: invalid value': (
            'hosts.0.bare_metal.bmc.credentials_name',
            'Calvin 1',
        ),
        # Input of other types.
        'rhoso.ansible_vars.a-b: ': ('rhoso.ansible_vars', {'a-b': 1}),
        'rhoso.ansible_vars.x: invalid value': (
            'rhoso.ansible_vars.x',
            b'a',
        ),
        'hosts[0].fixed_ips: rhoso.networks has no network 1': (
            'hosts.0.fixed_ips',
            {1: '192.0.2.1'},
        ),
        'compute.reserved_host_memory_mb: must be an integer of at least 0': (
            'compute.reserved_host_memory_mb',
            -1,
        ),
        'compute.reserved_host_memory_mb: must be an integer of at most 9': (
            'compute.reserved_host_memory_mb',
            2**63,
        ),
        # Values that would have another meaning in a file.
        'hosts[0].hypervisor_hostname: contains a line end': (
            'hosts.0.hypervisor_hostname',
            'a\n[pci]',
        ),
        'hosts[0].hypervisor_hostname: must not contain a template': (
            'hosts.0.hypervisor_hostname',
            '{{ x }}',
        ),
        "rhoso.ansible_vars.x[0]: must not contain a template: '{% x %}'": (
            'rhoso.ansible_vars.x',
            ['{% x %}'],
        ),
        'rhoso.ansible_vars: the key 1 must be a string': (
            'rhoso.ansible_vars',
            {1: 'x'},
        ),
        "compute.kernel_args[0]: invalid value 'a b'": (
            'compute.kernel_args',
            ['a b'],
        ),
        "compute.kernel_args[0]: invalid value '$(reboot)'": (
            'compute.kernel_args',
            ['$(reboot)'],
        ),
        "compute.kernel_args: 'hugepages=1' is derived from huge_pages": (
            'compute.kernel_args',
            ['hugepages=1'],
        ),
        "compute.kernel_args: 'vfio-pci.ids=1:2' is derived from": (
            'compute.kernel_args',
            ['vfio-pci.ids=1:2'],
        ),
        'rhoso.ansible_vars.edpm_kernel_args: is derived from kernel_args': (
            'rhoso.ansible_vars.edpm_kernel_args',
            'quiet',
        ),
        "aliases[0].resource_class: invalid value '$x'": (
            'aliases.0.resource_class',
            '$x',
        ),
        "aliases[0].traits[0]: invalid value ' a'": (
            'aliases.0.traits',
            [' a'],
        ),
        "hosts[0].labels.a: invalid value 'x: y'": (
            'hosts.0.labels',
            {'a': 'x: y'},
        ),
        'rhoso.ansible_vars.x: must be a finite number, not nan': (
            'rhoso.ansible_vars.x',
            float('nan'),
        ),
        # Aliases and cards.
        'aliases[0].model: No model': (
            'aliases.0.model',
            'voodoo',
        ),
        'aliases[0].model: cannot be combined with vendor_id': (
            'aliases.0.vendor_id',
            '10de',
        ),
        'aliases[0].model: specify a model of': ('aliases.0.model', None),
        'aliases[0].device_type: must not be type-VF': (
            'aliases.0.device_type',
            'type-VF',
        ),
        "aliases[0].name: 'gpu': Invalid PCI alias definition: 'type-X' is": (
            'aliases.0.device_type',
            'type-X',
        ),
        'aliases[0].device_type: is missing; use type-PCI or type-PF': (
            'aliases.0',
            {'name': 'gpu', 'vendor_id': '10de', 'product_id': '20f1'},
        ),
        "aliases[1].name: 'gpu' is used twice": (
            'aliases.1',
            {'name': 'gpu', 'model': 'test'},
        ),
        "aliases[1]: no host has cards of alias 'other'": (
            'aliases.1',
            {'name': 'other', 'model': 'test'},
        ),
        "compute.cards[0].alias: alias 'x' is not defined": (
            'compute.cards',
            [{'alias': 'x', 'all': True}],
        ),
        'compute.cards[0].addresses[0]: ': (
            'compute.cards.0.addresses',
            ['4:0'],
        ),
        'compute.cards[0].addresses: specify addresses, or "all: true"': (
            'compute.cards',
            [{'alias': 'gpu'}],
        ),
        'compute.cards: 0000:04:00.0 is used twice': (
            'compute.cards.0.addresses',
            ['0000:04:00.0', '04:00.0'],
        ),
        'compute.cards: an entry with "all: true" must be': (
            'compute.cards.1',
            {'alias': 'gpu', 'all': True},
        ),
        # CPUs and memory.
        'compute.numa_nodes[1].cpus: CPUs 0-3 are in another node': (
            'compute.numa_nodes.1',
            {'cpus': '0-3'},
        ),
        "compute.numa_nodes[0].cpus: Invalid range expression '3-1'": (
            'compute.numa_nodes.0',
            {'cpus': '3-1'},
        ),
        "compute.numa_nodes[0].cpus: '3,^3' contains no CPU": (
            'compute.numa_nodes.0',
            {'cpus': '3,^3'},
        ),
        'compute.cpu.reserved_cores: cannot be combined with shared': (
            'compute.cpu.shared',
            '0',
        ),
        'compute.cpu.threads_per_core: reserved_cores requires it': (
            'compute.cpu.threads_per_core',
            None,
        ),
        'compute.cpu.threads_per_core: requires reserved_cores': (
            'compute.cpu.reserved_cores',
            None,
        ),
        'compute.cpu.reserved_cores: the NUMA node of CPUs 0-3,8-11 has 4': (
            'compute.cpu.reserved_cores',
            4,
        ),
        'compute.cpu.dedicated: no NUMA node has CPUs 16': (
            'compute.cpu',
            {'dedicated': '15-16'},
        ),
        'compute.cpu.shared: CPUs 3 are dedicated, too': (
            'compute.cpu',
            {'shared': '0-3', 'dedicated': '3-15'},
        ),
        'compute.cpu.dedicated: leaves no CPU for the host': (
            'compute.cpu',
            {'dedicated': '0-15'},
        ),
        'compute.huge_pages.size: must be one of 2M, 1G': (
            'compute.huge_pages.size',
            '4M',
        ),
        'compute.huge_pages.size: ': ('compute.huge_pages.size', 'big'),
        'compute.huge_pages.count: has 3 numbers for 2 NUMA nodes': (
            'compute.huge_pages.count',
            [1, 2, 3],
        ),
        'compute.huge_pages.count: 64 pages use 65536 MiB of the 65536': (
            'compute.huge_pages.count',
            64,
        ),
        'compute.huge_pages.count: must not be 0 on all nodes': (
            'compute.huge_pages',
            {'size': '2M', 'count': 0},
        ),
        'compute.huge_pages.reserved: reserves 33 of 32 pages of node 1': (
            'compute.huge_pages.reserved',
            [0, 33],
        ),
        'compute.huge_pages.count: must be an integer of at least 0, not -1': (
            'compute.huge_pages.count',
            -1,
        ),
        'compute.huge_pages: requires numa_nodes': (
            'compute',
            {**_DATA['compute'], 'numa_nodes': None, 'cpu': None},
        ),
        'compute.cpu.reserved_cores: requires numa_nodes': (
            'compute',
            {**_DATA['compute'], 'numa_nodes': None, 'huge_pages': None},
        ),
        # Hosts of RHOSO.
        'rhoso.cells: must not be empty': ('rhoso.cells', []),
        'rhoso.ctlplane_interface is missing': (
            'rhoso.ctlplane_interface',
            None,
        ),
        "hosts[0].fixed_ips: rhoso.networks has no network 'x'": (
            'hosts.0.fixed_ips',
            {'x': '192.0.2.1'},
        ),
        'hosts[0].labels.app: is a label by which the node set': (
            'hosts.0.labels',
            {'app': 'mine'},
        ),
        "hosts[1].name: 'compute-0' is used twice": (
            'hosts.1',
            {'name': 'compute-0'},
        ),
        'hosts[1].bare_metal: only one of compute-0 and compute-1 has': (
            'hosts.1',
            {'name': 'compute-1'},
        ),
        'hosts[1].cpu_vendor: compute-1 differs from compute-0': (
            'hosts.1',
            {
                'name': 'compute-1',
                'cpu_vendor': 'amd',
                'bare_metal': _DATA['hosts'][0]['bare_metal'],
            },
        ),
        'plain: the target is rhoso': ('plain', {'system': 'rhel'}),
        'kolla: the target is rhoso': ('kolla', {'system': 'rhel'}),
    }

    def test_all(self) -> None:
        for message, (path, value) in self.CASES.items():
            with self.subTest(message):
                error = self.assertRaises(
                    exceptions.InvalidData, parse, changed(path, value)
                )
                self.assertThat(
                    str(error), testtools.matchers.StartsWith(message)
                )
                self.assertNotIn('\n', str(error))

    def test_not_a_mapping(self) -> None:
        for data in (None, [], 'x', 1):
            self.assertRaises(exceptions.InvalidData, parse, data)

    def test_node_set_is_rejected_for_plain_hosts(self) -> None:
        data = changed('target', 'plain')
        del data['rhoso']
        error = self.assertRaises(exceptions.InvalidData, parse, data)
        self.assertEqual(
            'hosts[0].bare_metal: the target is plain', str(error)
        )

    def test_two_classes_for_the_same_ids(self) -> None:
        data = copy.deepcopy(_DATA)
        data['aliases'].append(
            {'name': 'other', 'model': 'test', 'resource_class': 'other'}
        )
        data['compute']['cards'].append(
            {'alias': 'other', 'addresses': ['0000:05:00.0']}
        )
        error = self.assertRaises(exceptions.InvalidData, parse, data)
        self.assertEqual(
            "aliases[1]: has the IDs of alias 'gpu' but another resource "
            'class or other traits, and a card can only have one of them',
            str(error),
        )
        # Two names with the same class and traits are valid.
        del data['aliases'][1]['resource_class']
        self.assertEqual(2, len(parse(data).aliases))

    def test_nested_without_end(self) -> None:
        data: typing.Any = {}
        data['x'] = data
        error = self.assertRaises(
            exceptions.InvalidData,
            parse,
            {**_DATA, 'rhoso': {'ansible_vars': data}},
        )
        self.assertIn('nested too deeply', str(error))


def _paths(value: typing.Any, path: tuple[typing.Any, ...] = ()) -> typing.Any:
    """Yield the paths of all values of the data."""
    items: typing.Any = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    for key, item in items:
        yield (*path, key)
        yield from _paths(item, (*path, key))


_ANY = strategies.recursive(
    strategies.one_of(
        strategies.none(),
        strategies.booleans(),
        strategies.integers(-2, 10**6),
        strategies.floats(),
        strategies.text(max_size=6),
        strategies.sampled_from(
            ('0-3', 'gpu', 'type-PF', '1G', 'amd', 'a\n[pci]', '{{ x }}', '$x')
        ),
    ),
    lambda inner: strategies.one_of(
        strategies.lists(inner, max_size=3),
        strategies.dictionaries(strategies.text(max_size=4), inner),
    ),
    max_leaves=4,
)


class TestAny(testtools.TestCase):
    @hypothesis.settings(max_examples=200, deadline=None)
    @hypothesis.given(strategies.sampled_from([*_paths(_DATA)]), _ANY)
    def test_any(
        self, path: tuple[typing.Any, ...], value: typing.Any
    ) -> None:
        """Any value is accepted, or refused in one line."""
        data = copy.deepcopy(_DATA)
        place: typing.Any = data
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value
        try:
            created_files.create(parse(data))
        except exceptions.InvalidValue as exc:
            self.assertTrue(str(exc).isprintable(), str(exc))
