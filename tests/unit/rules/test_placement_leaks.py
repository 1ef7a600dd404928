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

"""Each kind of leak, and what looks like it."""

import dataclasses

import testtools

from gpuclient.model import allocation
from gpuclient.model import inventory
from gpuclient.model import leak_evidence
from gpuclient.rules import placement_leaks

CLASS = 'CUSTOM_PCI_10DE_20F1'
HOST, OTHER = 'h0.example.com', 'h1.example.com'
DAY = 24 * 3600


def device(
    bus: str,
    host: str = HOST,
    *consumers: inventory.Consumer,
    total: int = 1,
    reserved: int = 0,
    traits: tuple[str, ...] = (),
) -> inventory.Device:
    name = f'{host}_0000:{bus}:00.0'
    return inventory.Device(
        uuid=f'id of {name}',
        name=name,
        root_uuid=f'id of {host}',
        host=host,
        address=f'0000:{bus}:00.0',
        resource_class=CLASS,
        total=total,
        reserved=reserved,
        used=sum(consumer.amount for consumer in consumers),
        traits=traits,
        consumers=consumers,
    )


def held(
    uuid: str = 's1', amount: int = 1, kind: str | None = 'unknown'
) -> inventory.Consumer:
    return inventory.Consumer(uuid, amount, 'p', 'u', kind)


def server(
    uuid: str = 's1',
    alias: str | None = 'a:1',
    host: str | None = HOST,
    status: str = 'ACTIVE',
    task_state: str | None = None,
    **specs: str,
) -> inventory.Server:
    if alias is not None:
        specs['pci_passthrough:alias'] = alias
    return inventory.Server(
        uuid=uuid,
        name=f'name of {uuid}',
        status=status,
        project_id='p',
        user_id='u',
        service_host=host,
        host=host,
        extra_specs=specs,
        task_state=task_state,
    )


def evidence(
    *devices: inventory.Device,
    servers: tuple[inventory.Server, ...] = (),
    gone: tuple[str, ...] = (),
    **more: object,
) -> leak_evidence.Evidence:
    """Return evidence in which Nova has some servers, and not some others."""
    records: dict[str, inventory.Server | None] = dict.fromkeys(gone)
    records.update((record.uuid, record) for record in servers)
    more.setdefault('computes', {HOST: True, OTHER: True})
    more.setdefault('migrations', dict.fromkeys(gone))
    return leak_evidence.Evidence(devices=devices, servers=records, **more)


def migration(
    status: str,
    uuid: str = 'm1',
    kind: str = 'migration',
    source: str | None = HOST,
) -> allocation.Migration:
    return allocation.Migration(uuid, status, kind, 's1', source)


def allocated(uuid: str, **units: int) -> allocation.Allocations:
    return allocation.Allocations(
        uuid, {f'id of {HOST}': units} if units else {}
    )


class TestCase(testtools.TestCase):
    def assert_leaks(
        self, records: leak_evidence.Evidence, *codes: str
    ) -> tuple[placement_leaks.Leak, ...]:
        leaks = placement_leaks.check(records)
        self.assertEqual(list(codes), [leak.code for leak in leaks], leaks)
        return leaks

    def repair(self, records: leak_evidence.Evidence, code: str) -> tuple:
        (leak,) = self.assert_leaks(records, code)
        return tuple(
            (str(repair.action), repair.consumer, repair.providers)
            for repair in leak.repairs
        )


class TestDeletedConsumers(TestCase):
    def test_leaks(self) -> None:
        for kind in ('INSTANCE', 'unknown', None):
            records = evidence(
                device('04', HOST, held('x', kind=kind)), gone=('x',)
            )
            self.assertEqual(
                (('remove', 'x', ()),), self.repair(records, 'GPU610')
            )

    def test_one_leak_for_all_devices_of_a_consumer(self) -> None:
        (leak,) = self.assert_leaks(
            evidence(
                device('04', HOST, held('x')),
                device('05', OTHER, held('x')),
                gone=('x',),
            ),
            'GPU610',
        )
        self.assertEqual(2, len(leak.devices))
        self.assertEqual(f'{HOST}, {OTHER}', leak.host)

    def test_silent(self) -> None:
        holding = device('04', HOST, held('s1'))
        # Nova has it; could not be asked; the kind could not be looked up.
        self.assert_leaks(evidence(holding, servers=(server(),)))
        self.assert_leaks(evidence(holding))
        self.assert_leaks(evidence(holding, gone=('s1',), migrations={}))
        # A consumer of another service.
        self.assert_leaks(
            evidence(
                device('04', HOST, held('c', kind='CONTAINER')), gone=('c',)
            )
        )
        # A migration in progress.
        self.assert_leaks(
            evidence(
                holding,
                gone=('s1',),
                migrations={'s1': migration('migrating', 's1')},
            )
        )


class TestWrongHosts(TestCase):
    def test_leaks(self) -> None:
        records = evidence(
            device('04', HOST, held()),
            device('05', OTHER, held()),
            servers=(server(),),
        )
        self.assertEqual(
            (
                (
                    'remove',
                    's1',
                    (f'id of {OTHER}_0000:05:00.0', f'id of {OTHER}'),
                ),
            ),
            self.repair(records, 'GPU611'),
        )

    def test_server_without_host(self) -> None:
        for status in ('SHELVED_OFFLOADED', 'ERROR'):
            records = evidence(
                device('04', HOST, held()),
                device('05', HOST, held('s2')),
                servers=(server(host=None, status=status), server('s2')),
            )
            self.assertEqual(1, len(self.repair(records, 'GPU611')))

    def test_error_is_left_to_people(self) -> None:
        records = evidence(
            device('05', OTHER, held()), servers=(server(status='ERROR'),)
        )
        self.assertEqual((), self.repair(records, 'GPU611'))

    def test_silent(self) -> None:
        devices = (
            device('04', HOST, held()),
            device('05', OTHER, held()),
        )
        for changing in (
            server(task_state='resize_migrating'),
            *(
                server(status=status)
                for status in ('VERIFY_RESIZE', 'MIGRATING', 'BUILD')
            ),
        ):
            self.assert_leaks(evidence(*devices, servers=(changing,)))
        for move in (
            migration('queued'),
            migration('done', kind='evacuation', source=OTHER),
            migration('done', kind='evacuation', source=None),
        ):
            self.assert_leaks(
                evidence(*devices, servers=(server(),), moves={'s1': (move,)})
            )
        # An evacuation whose source host has cleaned up.
        self.assert_leaks(
            evidence(
                *devices,
                servers=(server(),),
                moves={
                    's1': (
                        migration(
                            'completed', kind='evacuation', source=OTHER
                        ),
                    )
                },
            ),
            'GPU611',
        )
        # Policy hides all hosts.
        self.assert_leaks(evidence(devices[0], servers=(server(host=None),)))
        self.assert_leaks(
            evidence(
                devices[0],
                servers=(server(host=None, status='SHELVED_OFFLOADED'),),
            )
        )


class TestSurplus(TestCase):
    def records(self, **more: object) -> leak_evidence.Evidence:
        return evidence(
            device('04', HOST, held()), device('05', HOST, held()), **more
        )

    def test_leaks(self) -> None:
        both = tuple(f'id of {HOST}_0000:0{bus}:00.0' for bus in (4, 5))
        self.assertEqual(
            (('renew', 's1', both),),
            self.repair(self.records(servers=(server(),)), 'GPU612'),
        )
        # Without a request, no device is in use.
        self.assertEqual(
            (('remove', 's1', both),),
            self.repair(self.records(servers=(server(alias=None),)), 'GPU612'),
        )
        # A document tells which one is not in use.
        leaks = self.assert_leaks(
            dataclasses.replace(
                self.records(servers=(server(),)), gone={both[1]: 'host.tgz'}
            ),
            'GPU612',
            'GPU614',
        )
        self.assertEqual(
            [both[1:]], [repair.providers for repair in leaks[0].repairs]
        )

    def test_reserved(self) -> None:
        """nova-compute reserves a one-time-use device that is in use."""
        used = device(
            '04', HOST, held(), reserved=1, traits=TestReservations.OTU
        )
        unused = device('05', HOST, held(), traits=TestReservations.OTU)
        self.assertEqual(
            (('remove', 's1', (unused.uuid,)),),
            self.repair(evidence(used, unused, servers=(server(),)), 'GPU612'),
        )
        # It has not reserved any yet.
        self.assertEqual(
            (),
            self.repair(
                evidence(
                    dataclasses.replace(used, reserved=0),
                    unused,
                    servers=(server(),),
                ),
                'GPU612',
            ),
        )
        # Placement would refuse to add a reserved device back.
        leaks = self.assert_leaks(
            evidence(
                dataclasses.replace(used, traits=()),
                dataclasses.replace(unused, traits=()),
                servers=(server(),),
            ),
            'GPU612',
            'GPU618',
        )
        self.assertEqual((), leaks[0].repairs)
        self.assertIn('is no longer reserved', leaks[0].finding.message)

    def test_units_of_a_physical_function(self) -> None:
        self.assert_leaks(
            evidence(
                device('04', HOST, held(amount=2), total=4),
                servers=(server(),),
            ),
            'GPU612',
        )

    def test_no_repair(self) -> None:
        for more in (
            {'computes': {HOST: False}},
            {'computes': None},
            {'servers': (server(status='ERROR'),)},
        ):
            self.assertEqual(
                (),
                self.repair(
                    self.records(**{'servers': (server(),), **more}), 'GPU612'
                ),
            )

    def test_silent(self) -> None:
        for fitting in (
            server(alias='a:2'),
            server(alias='a:1,b:1'),
            server(alias='a:1', **{f'resources:{CLASS}': '1'}),
            server(alias='a:1', **{f'resources1:{CLASS}': '1'}),
            server(alias='broken'),
            dataclasses.replace(server(), extra_specs=None),
            server(task_state='resize_prep'),
            server(status='VERIFY_RESIZE'),
        ):
            self.assert_leaks(self.records(servers=(fitting,)))
        self.assert_leaks(self.records(servers=(server(),), ports={'s1': 1}))


class TestShortages(TestCase):
    def test_leaks(self) -> None:
        (leak,) = self.assert_leaks(
            evidence(
                device('04', HOST, held()), servers=(server(alias='a:2'),)
            ),
            'GPU613',
        )
        self.assertEqual('error', leak.finding.severity)

    def test_without_any_device(self) -> None:
        """Another server shows that the alias is one of devices there."""
        records = evidence(
            device('04'),
            servers=(server(),),
            allocations={'s1': allocated('s1', VCPU=1)},
        )
        (leak,) = self.assert_leaks(records, 'GPU613')
        self.assertEqual(HOST, leak.host)
        self.assertEqual('warning', leak.finding.severity)
        self.assertIn('physical_network', leak.finding.message)
        (leak,) = self.assert_leaks(
            dataclasses.replace(
                records,
                devices=(*records.devices, device('05', HOST, held('s2'))),
                servers={**records.servers, 's2': server('s2')},
            ),
            'GPU613',
        )
        self.assertEqual('error', leak.finding.severity)

    def test_silent(self) -> None:
        holding = device('04', HOST, held())
        for fitting in (
            server(),
            server(alias='a:0'),
            server(alias='a:2', status='ERROR'),
            server(alias='a:2', status='BUILD'),
            server(alias='a:2', status='SHELVED_OFFLOADED', host=None),
        ):
            self.assertNotIn(
                'GPU613',
                [
                    leak.code
                    for leak in placement_leaks.check(
                        evidence(holding, servers=(fitting,))
                    )
                ],
            )
        # A host that reports no device, and allocations that were not read.
        self.assert_leaks(
            evidence(
                holding,
                servers=(server(), server('s2', host=OTHER), server('s3')),
            )
        )


class TestDocuments(TestCase):
    def test_device_is_gone(self) -> None:
        free = device('04')
        records = evidence(free, servers=())
        records = dataclasses.replace(records, gone={free.uuid: 'gpu.yaml'})
        self.assertEqual((), self.repair(records, 'GPU614'))
        used = device('04', HOST, held())
        records = dataclasses.replace(
            evidence(used, servers=(server(),)), gone={used.uuid: 'gpu.yaml'}
        )
        self.assertEqual((), self.repair(records, 'GPU614'))

    def test_silent(self) -> None:
        self.assert_leaks(evidence(device('04')))


class TestRemovedHosts(TestCase):
    def test_leaks(self) -> None:
        records = evidence(device('04'), device('05'), computes={OTHER: True})
        (leak,) = self.assert_leaks(records, 'GPU615')
        self.assertEqual('warning', leak.finding.severity)
        self.assertEqual(
            (
                (
                    'delete',
                    None,
                    (
                        f'id of {HOST}_0000:04:00.0',
                        f'id of {HOST}_0000:05:00.0',
                        f'id of {HOST}',
                    ),
                ),
            ),
            self.repair(records, 'GPU615'),
        )
        leaks = self.assert_leaks(
            evidence(
                device('04', HOST, held('x')),
                gone=('x',),
                computes={OTHER: True},
            ),
            'GPU610',
            'GPU615',
        )
        self.assertEqual('error', leaks[1].finding.severity)

    def test_silent(self) -> None:
        self.assert_leaks(evidence(device('04'), computes=None))
        # Of a host that is down, too.
        self.assert_leaks(evidence(device('04'), computes={HOST: False}))


class TestUnaccountedServers(TestCase):
    def test_leaks(self) -> None:
        (leak,) = self.assert_leaks(
            evidence(
                device('04'),
                servers=(server(),),
                allocations={'s1': allocated('s1')},
            ),
            'GPU616',
        )
        self.assertIn('heal_allocations --instance s1', leak.finding.message)

    def test_silent(self) -> None:
        nothing = {'s1': allocated('s1')}
        for fitting in (
            server(alias=None),
            server(alias='a:0'),
            server(status='ERROR'),
            server(task_state='spawning'),
            server(host=OTHER),
        ):
            self.assert_leaks(
                evidence(device('04'), servers=(fitting,), allocations=nothing)
            )


class TestReservations(TestCase):
    OTU = ('HW_PCI_ONE_TIME_USE',)

    def test_reserved_for_long(self) -> None:
        reserved = device('04', reserved=1)
        records = evidence(reserved, reserved_for={reserved.uuid: 8 * DAY})
        (leak,) = self.assert_leaks(records, 'GPU617')
        self.assertIn('8 days', leak.finding.message)
        self.assertTrue(leak.repairs[0].deliberate)
        self.assertEqual((), placement_leaks.check(records, reserved_days=9))

    def test_reserved_for_long_is_silent(self) -> None:
        reserved = device('04', reserved=1)
        self.assert_leaks(
            evidence(reserved, reserved_for={reserved.uuid: 6 * DAY})
        )
        self.assert_leaks(evidence(reserved))
        free = device('04')
        self.assert_leaks(evidence(free, reserved_for={free.uuid: 8 * DAY}))

    def test_reserved_in_use(self) -> None:
        records = evidence(
            device('04', HOST, held(), reserved=1), servers=(server(),)
        )
        self.assertEqual(
            (('release', None, (f'id of {HOST}_0000:04:00.0',)),),
            self.repair(records, 'GPU618'),
        )

    def test_reserved_in_use_is_silent(self) -> None:
        # Other units than those in use.
        self.assert_leaks(
            evidence(
                device('04', HOST, held(), total=4, reserved=3),
                servers=(server(),),
            )
        )
        self.assert_leaks(
            evidence(
                device('04', HOST, held(), reserved=1, traits=self.OTU),
                servers=(server(),),
            )
        )

    def test_awaiting_return(self) -> None:
        self.assertEqual(
            (),
            self.repair(
                evidence(device('04', reserved=1, traits=self.OTU)), 'GPU619'
            ),
        )
        self.assert_leaks(evidence(device('04', traits=self.OTU)))


class TestEndedMigrations(TestCase):
    def records(
        self,
        record: allocation.Migration | None,
        *servers: inventory.Server,
        kind: str = 'MIGRATION',
        **more: object,
    ) -> leak_evidence.Evidence:
        return evidence(
            device('04', HOST, held('m1', kind=kind)),
            device('05', HOST, held()),
            servers=servers or (server(),),
            migrations={'m1': record},
            **more,
        )

    def test_leaks(self) -> None:
        for status in ('confirmed', 'reverted', 'failed', 'cancelled'):
            self.assertEqual(
                (('remove', 'm1', ()),),
                self.repair(self.records(migration(status)), 'GPU620'),
            )
        self.assertEqual(
            (('remove', 'm1', ()),),
            self.repair(self.records(None), 'GPU620'),
        )

    def test_error(self) -> None:
        self.assertEqual(
            (), self.repair(self.records(migration('error')), 'GPU620')
        )
        records = dataclasses.replace(
            self.records(migration('error')),
            servers={'s1': None},
        )
        leaks = placement_leaks.ended_migrations(records)
        self.assertEqual([1], [len(leak.repairs) for leak in leaks])

    def test_silent(self) -> None:
        for status in ('queued', 'migrating', 'finished', 'confirming'):
            self.assert_leaks(self.records(migration(status)))
        # It could not be looked up.
        self.assert_leaks(
            evidence(device('04', HOST, held('m1', kind='MIGRATION')))
        )


class TestSharedDevices(TestCase):
    def test_leaks(self) -> None:
        records = evidence(
            device('04', HOST, held('s1'), held('s2')),
            servers=(server('s1'), server('s2')),
        )
        self.assertEqual(
            ['renew', 'renew'],
            [repair[0] for repair in self.repair(records, 'GPU621')],
        )

    def test_other_leaks_come_first(self) -> None:
        leaks = self.assert_leaks(
            evidence(
                device('04', HOST, held('s1'), held('x')),
                servers=(server('s1'),),
                gone=('x',),
            ),
            'GPU610',
            'GPU621',
        )
        self.assertEqual((), leaks[1].repairs)

    def test_silent(self) -> None:
        self.assert_leaks(
            evidence(
                device('04', HOST, held('s1'), held('s2'), total=4),
                servers=(server('s1'), server('s2')),
            )
        )


class TestDoubleOwnership(TestCase):
    def test_leaks(self) -> None:
        card = device('af')
        for other in (
            leak_evidence.OtherProvider(card.uuid, card.name, card.root_uuid),
            leak_evidence.OtherProvider(
                'c', 'h0_0000:af:00.0', card.root_uuid
            ),
            leak_evidence.OtherProvider(
                'c', 'h0_pci_0000_af_00_0', card.root_uuid
            ),
        ):
            self.assertEqual(
                (), self.repair(evidence(card, cyborg=(other,)), 'GPU622')
            )

    def test_silent(self) -> None:
        card = device('af')
        for other in (
            leak_evidence.OtherProvider(
                'c', 'h1_0000:af:00.0', f'id of {OTHER}'
            ),
            leak_evidence.OtherProvider(
                'c', 'h0_0000:b0:00.0', card.root_uuid
            ),
            leak_evidence.OtherProvider('c', 'fpga', card.root_uuid),
        ):
            self.assert_leaks(evidence(card, cyborg=(other,)))
