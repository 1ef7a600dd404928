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

from gpuclient import exceptions
from gpuclient.model import inventory
from gpuclient.model import pci

HOST = 'edpm-compute-0.example.com'


def device(
    address: str = '0000:04:00.0',
    *,
    host: str = HOST,
    used: int | None = 0,
    total: int | None = 1,
    reserved: int | None = 0,
    resource_class: str | None = 'CUSTOM_PCI_10DE_20F1',
    consumers: tuple[inventory.Consumer, ...] | None = (),
    uuid: str | None = None,
) -> inventory.Device:
    name = f'{host}_{address.upper()}'
    return inventory.Device(
        uuid=uuid or f'id of {name}',
        name=name,
        root_uuid=f'id of {host}',
        host=host,
        address=address,
        resource_class=resource_class,
        total=total,
        reserved=reserved,
        used=used,
        consumers=consumers,
    )


def server(
    uuid: str = 's1', alias: str | None = 'a:1', **extra_specs: str
) -> inventory.Server:
    if alias is not None:
        extra_specs['pci_passthrough:alias'] = alias
    return inventory.Server(
        uuid=uuid,
        name=f'name of {uuid}',
        status='ACTIVE',
        project_id='p1',
        user_id='u1',
        service_host='edpm-compute-0',
        host=HOST,
        extra_specs=extra_specs,
    )


@ddt.ddt
class TestAddress(testtools.TestCase):
    @ddt.data(
        ('0000:04:00.0', '0000:04:00.0'),
        ('04:00.0', '0000:04:00.0'),
        ('FFFF:FF:1F.7', 'ffff:ff:1f.7'),
        ('00000009:01:00.0', '0009:01:00.0'),
    )
    @ddt.unpack
    def test_good(self, text: str, normal: str) -> None:
        self.assertEqual(normal, str(pci.parse_address(text)))

    @ddt.data(
        '',
        '0000:04:00',
        '0000:04:20.0',
        '0000:04:00.8',
        '0:04:00.0',
        '0000:04:00.0\n',
        ' 0000:04:00.0',
        '00000:04:00.0',
        '00010000:04:00.0',
        '٠٠٠٠:04:00.0',
    )
    def test_bad(self, text: str) -> None:
        error = self.assertRaises(
            exceptions.InvalidAddress, pci.parse_address, text
        )
        self.assertIn('0000:04:00.0 (domain:bus:slot.function', str(error))


@ddt.ddt
class TestProviderName(testtools.TestCase):
    @ddt.data(
        (f'{HOST}_0000:AF:00.0', HOST, '0000:af:00.0'),
        ('a_b_0000:04:00.0', 'a_b', '0000:04:00.0'),
        ('a\nb_0000:04:00.0', 'a\nb', '0000:04:00.0'),
        (f'{HOST}_pci_0000_82_00_0', HOST, '0000:82:00.0'),
        (f'{HOST}_0000:AF:20.0', None, None),
        (HOST, None, None),
        ('_0000:04:00.0', None, None),
    )
    @ddt.unpack
    def test_split(
        self, name: str, host: str | None, address: str | None
    ) -> None:
        self.assertEqual((host, address), inventory.split_provider_name(name))

    def test_of_another_host(self) -> None:
        name = f'{HOST}_0000:AF:00.0'
        self.assertEqual(
            '0000:af:00.0', inventory.provider_address(name, HOST)
        )
        self.assertIsNone(inventory.provider_address(name, 'other'))


class TestNumbers(testtools.TestCase):
    def test_free_is_never_negative(self) -> None:
        self.assertEqual(1, device().free)
        self.assertEqual(0, device(used=1, reserved=1).free)
        self.assertEqual(0, device(total=1, used=4).free)
        self.assertIsNone(device(used=None).free)

    def test_totals(self) -> None:
        self.assertEqual(
            inventory.Totals(total=5, reserved=1, used=1, free=3),
            inventory.totals(
                [
                    device(total=4, used=1),
                    device(reserved=1),
                    device(total=None, used=None, reserved=None),
                ]
            ),
        )


class TestSelect(testtools.TestCase):
    def test_filters(self) -> None:
        free, used = device('0000:04:00.0'), device('0000:05:00.0', used=1)
        self.assertEqual((free,), inventory.select([free, used], free=True))
        self.assertEqual((used,), inventory.select([free, used], used=True))

    def test_unknown_values_are_kept(self) -> None:
        unknown = device(used=None, consumers=None)
        for condition in ({'free': True}, {'used': True}, {'project_id': 'p'}):
            self.assertEqual(
                (unknown,), inventory.select([unknown], **condition)
            )

    def test_project(self) -> None:
        ours = device(
            used=1, consumers=(inventory.Consumer('s', 1, project_id='p1'),)
        )
        unread = device(used=1, consumers=(inventory.Consumer('s', 1),))
        self.assertEqual(
            (ours, unread),
            inventory.select([ours, unread, device()], project_id='p1'),
        )
        self.assertEqual(
            (unread,), inventory.select([ours, unread], project_id='p2')
        )


class TestFind(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.first = device('0000:04:00.0')
        self.second = device('0000:82:00.0', resource_class='CUSTOM_B')
        self.devices = (self.first, self.second)

    def test_kinds(self) -> None:
        for name, kind, devices in (
            (self.first.uuid, 'device', (self.first,)),
            (self.first.name, 'device', (self.first,)),
            ('82:00.0', 'device', (self.second,)),
            (HOST, 'host', self.devices),
            (f'id of {HOST}', 'host', self.devices),
            ('CUSTOM_B', 'resource class', (self.second,)),
        ):
            self.assertEqual(
                inventory.NamedObject(kind, devices),
                inventory.find(self.devices, name),
            )
        self.assertIsNone(inventory.find(self.devices, 'nobody'))

    def test_an_address_of_many(self) -> None:
        many = [device(host=f'host-{number:02}') for number in range(30)]
        error = self.assertRaises(
            exceptions.Ambiguous, inventory.find, many, '0000:04:00.0'
        )
        self.assertIn('30 devices have the address', str(error))
        self.assertIn('host-19_0000:04:00.0 and 10 more', str(error))


class TestAliases(testtools.TestCase):
    def held(
        self, uuid: str, amount: int = 1, **kwargs: str
    ) -> inventory.Device:
        return device(
            used=amount,
            consumers=(inventory.Consumer(uuid, amount),),
            **kwargs,
        )

    def test_a_server_with_this_alias_alone_is_proof(self) -> None:
        first = server('s1', 'a:1')
        classes, servers = inventory.alias_classes(
            'a', [first, server('s2', 'b:1')], [self.held('s1')]
        )
        self.assertEqual({'CUSTOM_PCI_10DE_20F1'}, classes)
        self.assertEqual((first,), servers)

    def test_two_aliases_of_one_server_prove_nothing(self) -> None:
        both = server('s1', 'a:1,b:1')
        devices = [
            self.held('s1'),
            self.held('s1', resource_class='CUSTOM_B'),
        ]
        self.assertEqual(
            (frozenset(), ()), inventory.alias_classes('a', [both], devices)
        )
        # With another server that holds only one of them, they do.
        other = server('s2', 'a:1,c:1')
        classes, _servers = inventory.alias_classes(
            'a', [both, other], [*devices, self.held('s2')]
        )
        self.assertEqual({'CUSTOM_PCI_10DE_20F1'}, classes)

    def test_units_that_do_not_match_prove_nothing(self) -> None:
        """A leak: the server holds more devices than it requests."""
        classes, _servers = inventory.alias_classes(
            'a',
            [server('s1', 'a:1')],
            [self.held('s1'), self.held('s1', resource_class='CUSTOM_B')],
        )
        self.assertEqual(frozenset(), classes)

    def test_no_server_with_the_alias(self) -> None:
        self.assertEqual(
            (frozenset(), ()),
            inventory.alias_classes('a', [server('s9')], [self.held('s1')]),
        )

    def test_requests_devices(self) -> None:
        self.assertTrue(inventory.requests_devices(server()))
        self.assertFalse(inventory.requests_devices(server(alias=None)))
        self.assertTrue(
            inventory.requests_devices(
                server(alias=None, **{'resources1:CUSTOM_PCI_A': '1'})
            )
        )

    def test_held(self) -> None:
        first, second = self.held('s1', address='0000:82:00.0'), device()
        third = self.held('s1')
        self.assertEqual(
            {'s1': (third, first)}, inventory.held([first, second, third])
        )


@ddt.ddt
class TestResource(testtools.TestCase):
    @ddt.data(
        (inventory.Resource('VCPU', 10, 0), 3, 3),
        (inventory.Resource('VCPU', 10, 8), 3, 0),
        (inventory.Resource('VCPU', 10, 12), 1, 0),
        (inventory.Resource('VCPU', 10, 0, max_unit=2), 3, 0),
        (inventory.Resource('VCPU', 10, 0, min_unit=4), 3, 0),
        (inventory.Resource('VCPU', 10, 0, step_size=2), 3, 0),
        (inventory.Resource('VCPU', 10, 0, step_size=2), 4, 2),
    )
    @ddt.unpack
    def test_fits(
        self, resource: inventory.Resource, amount: int, expected: int
    ) -> None:
        self.assertEqual(expected, resource.fits(amount))
