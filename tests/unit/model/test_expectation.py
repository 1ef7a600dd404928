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

import ddt
import testtools

from gpuclient.model import device_spec
from gpuclient.model import expectation
from gpuclient.model import inventory

A100 = 'CUSTOM_PCI_10DE_20F1'


def device(
    address: str = '0000:04:00.0',
    resource_class: str | None = A100,
    total: int | None = 1,
    host: str = 'gpu1.example.org',
    traits: tuple[str, ...] = (),
) -> inventory.Device:
    return inventory.Device(
        uuid=address,
        name=f'{host}_{address.upper()}',
        root_uuid=host,
        host=host,
        address=address,
        resource_class=resource_class,
        total=total,
        traits=traits,
    )


@ddt.ddt
class TestSpecs(testtools.TestCase):
    @ddt.data(
        # A device by its address.
        ('{"address": "0000:04:00.0"}', [device()], 'reported'),
        ('{"address": "0000:04:00.0"}', [], 'missing'),
        ('{"address": "0000:05:00.0"}', [device()], 'missing'),
        (
            '{"address": "0000:04:00.0"}',
            [device(host='gpu2.example.org')],
            'missing',
        ),
        (
            '{"address": "0000:04:00.0", "vendor_id": "10de", '
            '"product_id": "20b5"}',
            [device()],
            'has class CUSTOM_PCI_10DE_20F1, not CUSTOM_PCI_10DE_20B5',
        ),
        (
            '{"address": "0000:04:00.0", "resource_class": "gpu"}',
            [device()],
            'has class CUSTOM_PCI_10DE_20F1, not CUSTOM_GPU',
        ),
        (
            '{"address": "0000:04:00.0", "traits": "CUSTOM_A,CUSTOM_B"}',
            [device(traits=('CUSTOM_A',))],
            'has no trait CUSTOM_B',
        ),
        # VFs are on the provider of their PF.
        ('{"address": "0000:04:00.4"}', [device(total=4)], 'reported'),
        ('{"address": "0000:04:00.4"}', [device(total=1)], 'missing'),
        # Any device of a class.
        (
            '{"vendor_id": "10de", "product_id": "20f1"}',
            [device('0000:07:00.0')],
            'reported',
        ),
        (
            '{"vendor_id": "10de", "product_id": "20f1"}',
            [device(resource_class='CUSTOM_PCI_10DE_20B5')],
            'missing',
        ),
        ('{"vendor_id": "10de"}', [device()], 'reported'),
        ('{"address": "04:00.*"}', [], 'missing'),
    )
    @ddt.unpack
    def test_state(
        self, text: str, devices: list[inventory.Device], expected: str
    ) -> None:
        (wanted,) = expectation.of_specs(
            'gpu1',
            [(spec, 'nova.conf') for spec in device_spec.parse(text)],
        )
        self.assertEqual(expected, wanted.state(devices))

    def test_neutron_has_the_others(self) -> None:
        (spec,) = device_spec.parse('{"physical_network": "physnet1"}')
        self.assertEqual(
            [], list(expectation.of_specs('gpu1', [(spec, 'nova.conf')]))
        )


class TestProviders(testtools.TestCase):
    def test_of_providers(self) -> None:
        (spec,) = device_spec.parse(
            '{"vendor_id": "10de", "product_id": "20f1", "traits": "CUSTOM_A"}'
        )
        providers = device_spec.providers(
            'gpu1.example.org',
            [spec],
            [device_spec.HostDevice('0000:04:00.0', '10de', '20f1')],
        )
        (wanted,) = expectation.of_providers(providers, 'description.yaml')
        self.assertEqual(
            ('gpu1.example.org', '0000:04:00.0', A100, 1),
            (
                wanted.host,
                wanted.address,
                wanted.resource_class,
                wanted.total,
            ),
        )
        good = device(
            traits=('COMPUTE_MANAGED_PCI_DEVICE', 'CUSTOM_A', 'OWNER_NOVA')
        )
        self.assertEqual('reported', wanted.state([good]))
        self.assertEqual('has no trait', wanted.state([device()])[:12])
        self.assertEqual('missing', wanted.state([device(host='gpu10')]))
