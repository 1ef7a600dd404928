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

"""Merging of values from a description into existing values."""

import dataclasses

import ddt
import testtools

from gpuclient.documents.generate import conf_options
from gpuclient.documents.generate import creation
from gpuclient.documents.generate import rhoso_tree
from gpuclient import exceptions
from gpuclient.model import alias as alias_model
from gpuclient.model import catalogue
from gpuclient.model import description_reader
from gpuclient.model import scheduler_filters

_ARGUMENTS = (
    'default_hugepagesz=1G',
    'hugepagesz=1G',
    'hugepages=8',
    'intel_iommu=on',
    'iommu=pt',
    'vfio-pci.ids=10de:20f1',
    'rd.driver.pre=vfio-pci',
    'pci=realloc',
)
_ALL = ' '.join(_ARGUMENTS)


@ddt.ddt
class TestKernelArguments(testtools.TestCase):
    @ddt.data(
        (None, _ALL),
        ('', _ALL),
        (_ALL, _ALL),
        # Other orders, spellings and positions are equivalent.
        (
            'iommu=pt quiet vfio_pci.ids=10DE:20F1 intel_iommu=sm_on,on '
            'rd.driver.pre=nvme,vfio-pci pci=realloc,noaer pci=realloc '
            'default_hugepagesz=1GB hugepagesz=1024M hugepages=8',
            None,
        ),
        (
            'quiet hugepages=4 x="a b" rd.driver.pre=nvme',
            'quiet "x=a b" rd.driver.pre=nvme default_hugepagesz=1G '
            'hugepagesz=1G hugepages=8 intel_iommu=on iommu=pt '
            'vfio-pci.ids=10de:20f1 rd.driver.pre=vfio-pci pci=realloc',
        ),
        # Other devices stay bound to vfio-pci.
        (
            'vfio-pci.ids=15b3:1018 intel_iommu=off',
            'vfio-pci.ids=15b3:1018,10de:20f1 intel_iommu=on '
            'default_hugepagesz=1G hugepagesz=1G hugepages=8 iommu=pt '
            'rd.driver.pre=vfio-pci pci=realloc',
        ),
    )
    @ddt.unpack
    def test_merged(self, old: str | None, new: str | None) -> None:
        merge = creation.KernelArguments(_ARGUMENTS)
        merged = merge.merged(old)
        self.assertEqual(old if new is None else new, merged)
        self.assertEqual(merged, merge.merged(merged))

    def test_init(self) -> None:
        error = self.assertRaises(
            exceptions.InvalidKernelArgument,
            creation.KernelArguments(_ARGUMENTS).merged,
            'quiet -- single',
        )
        self.assertIn('has arguments for init after "--"', str(error))


@ddt.ddt
class TestServices(testtools.TestCase):
    @ddt.data(
        # The default list of the operator.
        (
            'redhat bootstrap install-os configure-os run-os reboot-os '
            'libvirt nova telemetry',
            'redhat bootstrap install-os configure-os vfio-pci-bind run-os '
            'reboot-os libvirt nova-custom-gpu telemetry',
        ),
        # The list in the example of the architecture repository.
        (
            'vfio-pci-bind bootstrap reboot-os nova-custom-gpu',
            'vfio-pci-bind bootstrap reboot-os nova-custom-gpu',
        ),
        ('bootstrap mine', 'bootstrap mine vfio-pci-bind nova-custom-gpu'),
    )
    @ddt.unpack
    def test_merged(self, old: str, new: str) -> None:
        merge = rhoso_tree.ServiceList('values.yaml')
        self.assertEqual(new.split(), merge.merged(old.split()))
        self.assertEqual(new.split(), merge.merged(new.split()))


@ddt.ddt
class TestConf(testtools.TestCase):
    _ALIAS = alias_model.Alias('gpu', '10de', '20f1', 'type-PF')

    def merged(self, text: str, *options: conf_options.ManagedOption) -> str:
        merged = conf_options.merged('nova.conf', text, options)
        self.assertEqual(
            merged, conf_options.merged('nova.conf', merged, options)
        )
        return merged

    def test_alias(self) -> None:
        option = conf_options.aliases([self._ALIAS])
        line = f'alias = {self._ALIAS.render()}\n'
        other = 'alias = {"name": "x", "vendor_id": "1", "product_id": "2"}\n'
        for old, new in (
            ('', f'[pci]\n{line}'),
            (f'[pci]\n{other}# c\n', f'[pci]\n{other}{line}# c\n'),
            # The values are equivalent.
            (
                '[pci]\nalias={"device_type":"type-PF", "name":" gpu",'
                '"vendor_id":"10DE","product_id":"20F1"}\n',
                None,
            ),
            (
                '[pci]\nalias = {"name": "gpu", "vendor_id": "10de", '
                f'"product_id": "1"}}\n{other}',
                f'[pci]\n{line}{other}',
            ),
            # With a duplicate, nova-api does not start.
            (f'[pci]\n{line}{other}{line}', f'[pci]\n{line}{other}'),
            ('[pci]\nalias = CHANGEME\n', f'[pci]\nalias = CHANGEME\n{line}'),
        ):
            self.assertEqual(
                old if new is None else new, self.merged(old, option)
            )

    def test_device_spec(self) -> None:
        option = conf_options.device_specs(
            [
                {
                    'vendor_id': '10de',
                    'product_id': '20f1',
                    'address': f'0000:0{number}:00.0',
                }
                for number in (1, 2)
            ],
            {('10de', '20f1')},
        )
        first, second = (f'device_spec = {value}\n' for value in option.values)
        nic = 'device_spec = {"vendor_id": "15b3", "physical_network": "x"}\n'
        for old, new in (
            ('', f'[pci]\n{first}{second}'),
            (f'[pci]\n{nic}{second}', f'[pci]\n{nic}{second}{first}'),
            # A card that does not exist, and a placeholder.
            (
                f'[pci]\n{second}{nic}{first.replace(":01", ":09")}',
                f'[pci]\n{second}{nic}{first}',
            ),
            (
                '[pci]\ndevice_spec = {"vendor_id": "10DE", "product_id": '
                f'"20f1", "address": "CHANGEME"}}\n{nic}',
                f'[pci]\n{first}{second}{nic}'.replace(second, '', 1).replace(
                    nic, nic + second
                ),
            ),
            (
                '[pci]\npassthrough_whitelist = {"vendor_id": "10de", '
                '"product_id": "20f1", "address": "01:00.0"}\n' + second,
                None,
            ),
        ):
            if new is None:
                # A deprecated name, and a shorter address without a domain.
                merged = self.merged(old, option)
                self.assertEqual(1, merged.count('0000:01:00.0'))
                continue
            self.assertEqual(new, self.merged(old, option))

    def test_settings(self) -> None:
        for option, old, new in (
            (
                conf_options.setting('a', 'b', True),
                '[a]\nb = true\n',
                '[a]\nb = true\n',
            ),
            (
                conf_options.setting('a', 'b', True),
                '[a]\nb = False\nb=no\n',
                '[a]\nb = True\n',
            ),
            (
                conf_options.cpu_set('compute', 'x', frozenset({0, 1, 2})),
                '[compute]\nx = 0,1-2\n',
                '[compute]\nx = 0,1-2\n',
            ),
            (
                conf_options.cpu_set('compute', 'x', frozenset({0, 1, 2})),
                '[compute]\nx = CHANGEME\n',
                '[compute]\nx = 0-2\n',
            ),
            # Pages of another size are kept.
            (
                conf_options.reserved_pages(1048576, (1, 0)),
                '[DEFAULT]\nreserved_huge_pages = node:0,size:4,count:9\n'
                'reserved_huge_pages = node:1,size:1GB,count:9\n',
                '[DEFAULT]\nreserved_huge_pages = node:0,size:4,count:9\n'
                'reserved_huge_pages = node:0,size:1048576,count:1\n',
            ),
        ):
            self.assertEqual(new, self.merged(old, option))

    def test_filters(self) -> None:
        option = conf_options.filters(['PciPassthroughFilter'])
        default = ','.join(scheduler_filters.DEFAULT)
        line = '[filter_scheduler]\nenabled_filters = '
        for old, new in (
            ('', f'{line}{default},PciPassthroughFilter\n'),
            (f'{line}A, B\n', f'{line}A,B,PciPassthroughFilter\n'),
            (f'{line}A, PciPassthroughFilter\n', None),
        ):
            self.assertEqual(
                old if new is None else new, self.merged(old, option)
            )


class TestCheck(testtools.TestCase):
    def test_stricter_than_nova(self) -> None:
        """An alias that Nova accepts, but no flavor can request."""
        data = {
            'target': 'plain',
            'aliases': [
                {
                    'name': 'gpu',
                    'vendor_id': '10de',
                    'product_id': '20f1',
                    'device_type': 'type-PF',
                }
            ],
            'hosts': [
                {
                    'name': 'gpu-0',
                    'cpu_vendor': 'amd',
                    'numa_nodes': [{'cpus': '0-3'}],
                    'cards': [{'alias': 'gpu', 'all': True}],
                }
            ],
        }
        wanted = description_reader.parse(data, catalogue.builtin())
        self.assertEqual((), creation.check(wanted))
        broken = dataclasses.replace(
            wanted,
            aliases=(alias_model.Alias('a:b', '10de', '20f1', 'type-PF'),),
        )
        error = self.assertRaises(
            exceptions.InvalidData, creation.check, broken
        )
        self.assertIn('aliases[0]: ', str(error))
