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

import pathlib
import tempfile

import ddt
import testtools

from gpuclient.model import release as release_model
from gpuclient.operations import evidence

from tests.unit.model import test_explanation

ALIAS = 'alias = {"name": "a100", "vendor_id": "10de", "product_id": "20f1"}\n'
SPEC = 'device_spec = {"vendor_id": "10de", "product_id": "20f1"}\n'


class EvidenceTestCase(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def read(self, **files: str) -> evidence.Evidence:
        paths = []
        for name, text in files.items():
            folder, _line, name = name.rpartition('__')
            path = self.folder / folder.replace('_conf_d', '.conf.d').replace(
                '_', '-'
            )
            path.mkdir(exist_ok=True)
            file = path / f'{name.replace("_", "-")}.conf'
            file.write_text(text)
            drop_ins = folder.endswith('_conf_d')
            paths.append(str(path if drop_ins else file))
        paths = list(dict.fromkeys(paths))
        return evidence.read(paths, (), release_model.newest())


@ddt.ddt
class TestAliases(EvidenceTestCase):
    def test_hosts_without_devices(self) -> None:
        """A host is known by its file, with or without a device_spec."""
        known = self.read(
            a__nova_compute=f'[DEFAULT]\nhost = a\n[pci]\n{ALIAS}{SPEC}',
            b__nova_compute='[DEFAULT]\nhost = b\n[libvirt]\n'
            'cpu_mode = host-model\n',
            c__nova_compute='[DEFAULT]\nhost = c\n[pci]\n'
            + ALIAS.replace('a100', 'v100'),
        )
        hosts = [
            test_explanation.host('a', 1),
            test_explanation.host('b'),
            test_explanation.host('c'),
            # Without a file.
            test_explanation.host('d'),
        ]
        self.assertEqual(
            {'b': 'a100', 'c': 'a100'}, known.without_alias(hosts, ['a100'])
        )

    def differing(
        self, of_api: str, of_compute: str, used: int = 0
    ) -> dict[str, str]:
        ids = '"name": "h100", "vendor_id": "10de", "product_id": "2330"'
        known = self.read(
            nova_api=f'[pci]\nalias = {{{ids}{of_api}}}\n',
            a__nova_compute='[DEFAULT]\nhost = a\n[pci]\n'
            f'alias = {{{ids}{of_compute}}}\n',
        )
        hosts = [
            test_explanation.host('a', 1, used=used),
            test_explanation.host('other', 1),
        ]
        return known.aliases_differing(hosts, {'h100': 1})

    @ddt.data('type-PF', 'type-VF')
    def test_other_devices(self, of_compute: str) -> None:
        """The destination claims devices of its own definition."""
        kind = ', "device_type": '
        self.assertEqual(
            {
                'a': 'its nova-compute defines alias h100 as 10de:2330 '
                f'{of_compute}, and nova-api as 10de:2330 type-PCI'
            },
            self.differing(f'{kind}"type-PCI"', f'{kind}"{of_compute}"'),
        )

    @ddt.data(
        # No physical function without a type.
        ('', ', "device_type": "type-PF"', True),
        (', "device_type": "type-PF"', '', True),
        ('', ', "device_type": "type-PCI"', False),
        (', "device_type": "type-PCI"', '', False),
        ('', ', "numa_policy": "preferred"', False),
        ('', ', "traits": "CUSTOM_FAST"', False),
        ('', '', False),
        (
            ', "live_migratable": "no"',
            ', "live_migratable": "yes"',
            True,
        ),
    )
    @ddt.unpack
    def test_difference(
        self, of_api: str, of_compute: str, expected: bool
    ) -> None:
        self.assertEqual(
            ['a'] if expected else [], [*self.differing(of_api, of_compute)]
        )

    def test_no_free_device(self) -> None:
        kind = ', "device_type": "type-PF"'
        self.assertEqual({}, self.differing('', kind, used=1))


@ddt.ddt
class TestOptions(EvidenceTestCase):
    @ddt.data((True, False), (False, True))
    @ddt.unpack
    def test_pci_in_placement(self, of_api: bool, of_scheduler: bool) -> None:
        """nova-api makes the request groups of a new server."""
        section = '[filter_scheduler]\npci_in_placement = '
        known = self.read(
            nova_api=f'{section}{of_api}\n',
            nova_scheduler=f'{section}{of_scheduler}\n',
        )
        self.assertIs(of_api, known.options.pci_in_placement)

    def test_scheduler_alone(self) -> None:
        section = '[filter_scheduler]\npci_in_placement = True\n'
        known = self.read(nova_scheduler=section)
        self.assertIs(True, known.options.pci_in_placement)

    def test_filters(self) -> None:
        known = self.read(
            nova_scheduler='[filter_scheduler]\n'
            'enabled_filters = ComputeFilter,IsolatedHostsFilter\n'
            'isolated_hosts = a, b\n'
            'restrict_isolated_hosts_to_isolated_images = no\n'
            'max_instances_per_host = 3\n'
            'aggregate_image_properties_isolation_namespace = ns\n'
            'isolated_images = {{ images }}\n'
        )
        options = known.options.of_filters
        self.assertEqual(frozenset({'a', 'b'}), options.isolated_hosts)
        self.assertIs(False, options.restricts_isolated_hosts)
        self.assertEqual(3, options.max_instances_per_host)
        self.assertEqual(8, options.max_io_ops_per_host)
        self.assertEqual('ns', options.properties_namespace)
        self.assertIsNone(options.isolated_images)

    @ddt.data(
        ('allow_resize_to_same_host = True', True),
        ('allow_resize_to_same_host = no', False),
        ('allow_resize_to_same_host = {{ same }}', None),
        ('debug = True', False),
    )
    @ddt.unpack
    def test_resize_on_the_host(
        self, line: str, expected: bool | None
    ) -> None:
        """A folder of nova-api is read by it, whatever is in it."""
        known = self.read(
            nova_api_conf_d__a=f'[DEFAULT]\n{line}\n',
            nova_api_conf_d__b='[DEFAULT]\n'
            'compute_driver = libvirt.LibvirtDriver\n',
        )
        self.assertIs(expected, known.resizes_on_the_host)

    def test_resize_without_nova_api(self) -> None:
        known = self.read(
            a__nova_compute='[DEFAULT]\nallow_resize_to_same_host = True\n'
        )
        self.assertIsNone(known.resizes_on_the_host)
