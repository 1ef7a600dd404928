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

"""Reads of a real Placement, in process, compared with a plain read.

The plain read asks for inventories, usages, traits and allocations of each
provider in turn: slow, and obviously correct. Ours must be equal in every
state that a cloud can be in, at every microversion.
"""

import collections.abc
import dataclasses
import sqlite3
import typing
import unittest.mock
import uuid

import ddt
import fixtures
import jsonschema
from keystoneauth1 import adapter
from keystoneauth1 import session
from keystoneauth1 import token_endpoint
from placement import db_api as placement_db
from placement.tests.functional.fixtures import placement as placement_fixture
import testtools

from gpuclient import exceptions
from gpuclient.cloud.placement import devices as placement_devices
from gpuclient.cloud.placement import owners
from gpuclient.cloud.placement import reader
from gpuclient.cloud.placement import totals
from gpuclient.model import inventory

A100 = 'CUSTOM_PCI_10DE_20F1'
VF = 'CUSTOM_PCI_10DE_20F2'
TRAITS = (reader.MANAGED, 'OWNER_NOVA')
MB, GB = 'MEMORY_MB', 'DISK_GB'


class _Placement(placement_fixture.PlacementFixture):
    def __init__(self, **options: typing.Any) -> None:
        super().__init__()
        self._options = options

    def _configure_placement(self, conf_fixture: typing.Any) -> None:
        conf_fixture.config(group='placement', **self._options)


class _Counting(adapter.Adapter):
    """Counts requests, and makes them one at a time.

    The database is one connection in memory.
    """

    paths: list[str]
    #: Called after a request whose path ends like this.
    after: tuple[str, collections.abc.Callable[[], object]] | None = None

    def request(self, url: str, method: str, **kwargs: typing.Any) -> object:
        self.paths.append(url)
        answer = super().request(url, method, **kwargs)
        if self.after and url.endswith(self.after[0]):
            _end, change = self.after
            self.after = None
            change()
        return answer


def _engine_connection() -> sqlite3.Connection:
    engine = placement_db.get_placement_engine()
    return typing.cast(
        sqlite3.Connection, engine.raw_connection().driver_connection
    )


@dataclasses.dataclass(frozen=True)
class _Everything:
    """A cloud with hosts in every state."""

    database: sqlite3.Connection
    #: The servers that Nova has.
    servers: tuple[inventory.Server, ...]
    #: The plain read.
    rows: list[tuple[typing.Any, ...]]


_VALIDATORS: dict[int, typing.Any] = {}


def _validate(document: object, schema: typing.Any, **options: object) -> None:
    """As jsonschema.validate, which checks the schema at each call."""
    validator = _VALIDATORS.get(id(schema))
    if validator is None:
        kind = jsonschema.validators.validator_for(schema)
        kind.check_schema(schema)
        validator = _VALIDATORS[id(schema)] = kind(schema, **options)
    error = jsonschema.exceptions.best_match(validator.iter_errors(document))
    if error is not None:
        raise error


class PlacementTestCase(testtools.TestCase):
    options: typing.ClassVar[dict[str, typing.Any]] = {}
    #: Created once, because it takes some hundred requests.
    _everything: typing.ClassVar[_Everything | None] = None

    def setUp(self) -> None:
        super().setUp()
        self.useFixture(fixtures.FakeLogger())
        # wsgi-intercept does not support threads.
        self.useFixture(
            fixtures.MonkeyPatch('gpuclient.cloud.placement.reader.THREADS', 1)
        )
        self.useFixture(
            fixtures.MonkeyPatch(
                'placement.util.jsonschema.validate', _validate
            )
        )
        service = self.useFixture(_Placement(**self.options))
        self.placement = _Counting(
            session.Session(
                auth=token_endpoint.Token(service.endpoint, service.token)
            ),
            service_type='placement',
            endpoint_override=service.endpoint,
        )
        self.placement.paths = []
        self._classes: set[str] = set()
        self.send('PUT', '/traits/CUSTOM_NVLINK')

    def send(self, method: str, path: str, body: object = None) -> typing.Any:
        response = adapter.Adapter.request(
            self.placement,
            path,
            method,
            json=body,
            microversion='1.39',
            raise_exc=False,
        )
        self.assertLess(response.status_code, 300, response.text)
        return response.json() if response.content else None

    def provider(
        self,
        name: str,
        inventories: dict[str, dict[str, int]],
        traits: tuple[str, ...] = (),
        parent: str | None = None,
    ) -> str:
        identity = str(uuid.uuid4())
        body = {'name': name, 'uuid': identity}
        if parent:
            body['parent_provider_uuid'] = parent
        answer = self.send('POST', '/resource_providers', body)
        generation = answer['generation']
        for key in inventories:
            if key.startswith('CUSTOM_') and key not in self._classes:
                self.send('PUT', f'/resource_classes/{key}')
                self._classes.add(key)
        if inventories:
            answer = self.send(
                'PUT',
                f'/resource_providers/{identity}/inventories',
                {
                    'resource_provider_generation': generation,
                    'inventories': inventories,
                },
            )
            generation = answer['resource_provider_generation']
        if traits:
            self.send(
                'PUT',
                f'/resource_providers/{identity}/traits',
                {
                    'resource_provider_generation': generation,
                    'traits': list(traits),
                },
            )
        return identity

    def host(
        self,
        name: str,
        devices: int = 2,
        *,
        classes: dict[str, dict[str, int]] | None = None,
        traits: tuple[str, ...] = (),
    ) -> tuple[str, list[str]]:
        """Create a host with devices; return their IDs."""
        root = self.provider(
            name, {'VCPU': {'total': 8}, MB: {'total': 64}, GB: {'total': 9}}
        )
        return root, [
            self.provider(
                f'{name}_0000:{number + 4:02X}:00.0',
                {A100: {'total': 1}} if classes is None else classes,
                (*TRAITS, *traits),
                root,
            )
            for number in range(devices)
        ]

    def allocate(
        self,
        allocations: dict[str, dict[str, int]],
        *,
        project: str = 'p1',
        kind: str = 'INSTANCE',
    ) -> str:
        consumer = str(uuid.uuid4())
        self.send(
            'PUT',
            f'/allocations/{consumer}',
            {
                'allocations': {
                    provider: {'resources': resources}
                    for provider, resources in allocations.items()
                },
                'project_id': project,
                'user_id': 'u1',
                'consumer_generation': None,
                'consumer_type': kind,
            },
        )
        return consumer

    def plainly(self) -> list[tuple[typing.Any, ...]]:
        """Return the values of all providers of devices, read one by one."""
        rows = []
        providers = self.send('GET', '/resource_providers')
        names = {
            provider['uuid']: provider['name']
            for provider in providers['resource_providers']
        }
        for provider in providers['resource_providers']:
            base = f'/resource_providers/{provider["uuid"]}'
            traits = sorted(self.send('GET', f'{base}/traits')['traits'])
            if reader.MANAGED not in traits:
                continue
            used = self.send('GET', f'{base}/usages')['usages']
            held = self.send('GET', f'{base}/allocations')['allocations']
            inventories = self.send('GET', f'{base}/inventories')[
                'inventories'
            ]
            for key, record in (inventories or {None: {}}).items():
                rows.append(
                    (
                        names[provider['root_provider_uuid']],
                        provider['uuid'],
                        key,
                        record.get('total'),
                        record.get('reserved'),
                        used.get(key) if key else None,
                        tuple(traits),
                        sorted(
                            (consumer, units['resources'][key])
                            for consumer, units in held.items()
                            if key in units['resources']
                        ),
                    )
                )
        return sorted(rows, key=str)

    def read(
        self,
        servers: tuple[inventory.Server, ...] = (),
        **filters: typing.Any,
    ) -> list[inventory.Device]:
        result = placement_devices.read_devices(self.placement, **filters)
        self.assertEqual((), result.failures)
        owned = owners.read_owners(self.placement, result.value, servers)
        self.assertEqual((), owned.failures)
        return list(owned.value)

    @staticmethod
    def rows(
        devices: list[inventory.Device],
    ) -> list[tuple[typing.Any, ...]]:
        return sorted(
            (
                (
                    device.host,
                    device.uuid,
                    device.resource_class,
                    device.total,
                    device.reserved,
                    device.used,
                    device.traits,
                    sorted(
                        (consumer.uuid, consumer.amount)
                        for consumer in device.consumers or ()
                    ),
                )
                for device in devices
            ),
            key=str,
        )

    def make_everything(self) -> _Everything:
        """Create hosts in every state."""
        if PlacementTestCase._everything is None:
            servers = self._make_hosts()
            database = sqlite3.connect(':memory:', check_same_thread=False)
            _engine_connection().backup(database)
            PlacementTestCase._everything = _Everything(
                database, servers, self.plainly()
            )
        else:
            PlacementTestCase._everything.database.backup(_engine_connection())
            self._classes |= {A100, VF}
        self.placement.paths.clear()
        return PlacementTestCase._everything

    def _make_hosts(self) -> tuple[inventory.Server, ...]:
        """Create hosts in every state; return the servers that Nova has."""
        self.provider('cpu-only', {'VCPU': {'total': 8}, MB: {'total': 64}})
        self.host('idle', 4)
        _root, devices = self.host('used', 2)
        first = self.allocate({devices[0]: {A100: 1}})
        second = self.allocate({devices[1]: {A100: 1}})
        _root, functions = self.host('functions', classes={VF: {'total': 4}})
        third = self.allocate({functions[0]: {VF: 2}, functions[1]: {VF: 1}})
        self.allocate({functions[0]: {VF: 1}}, kind='MIGRATION')
        _root, devices = self.host('drained', traits=('CUSTOM_NVLINK',))
        self.reserve(devices[0], A100, 1)
        self.host('once', traits=(totals.ONE_TIME_USE,))
        _root, devices = self.host('once-used', traits=(totals.ONE_TIME_USE,))
        self.allocate({devices[0]: {A100: 1}})
        self.reserve(devices[0], A100, 1)
        root, devices = self.host('no-memory', 3)
        self.allocate({root: {MB: 64}, devices[2]: {A100: 1}})
        root, devices = self.host('full')
        self.allocate(
            {
                root: {'VCPU': 8, MB: 64, GB: 9},
                devices[0]: {A100: 1},
                devices[1]: {A100: 1},
            }
        )
        self.host('empty', 1, classes={})
        self.host(
            'two-classes', 1, classes={A100: {'total': 1}, VF: {'total': 1}}
        )
        self.host('one-function', 1, classes={VF: {'total': 1}})
        # Not a name that Nova gives to a provider.
        root, _devices = self.host('odd', 0)
        self.provider('something', {A100: {'total': 1}}, TRAITS, root)
        return (
            *(
                self.server(identity, 'used')
                for identity in (first, second, str(uuid.uuid4()))
            ),
            self.server(third, 'functions'),
            # In Nova, it is on another host than in Placement.
            self.server(str(uuid.uuid4()), 'no-memory'),
        )

    def reserve(self, provider: str, key: str, reserved: int) -> None:
        base = f'/resource_providers/{provider}/inventories/{key}'
        record = self.send('GET', base)
        record['reserved'] = reserved
        self.send('PUT', base, record)

    @staticmethod
    def server(identity: str, host: str) -> inventory.Server:
        return inventory.Server(
            uuid=identity,
            name=f'server {identity}',
            status='ACTIVE',
            project_id='p1',
            user_id='u1',
            service_host=host,
            host=host,
            extra_specs={'pci_passthrough:alias': 'a:1'},
        )


@ddt.ddt
class TestReads(PlacementTestCase):
    @ddt.data((1, 18), (1, 29), (1, 31), (1, 36), (1, 39))
    def test_same_as_the_plain_read(self, version: tuple[int, int]) -> None:
        everything = self.make_everything()
        self.assertEqual(24, len(everything.rows))
        with unittest.mock.patch.object(reader, 'NEWEST', version):
            for servers in ((), everything.servers):
                self.assertEqual(
                    everything.rows, self.rows(self.read(servers))
                )

    def test_consumers(self) -> None:
        servers = self.make_everything().servers
        consumers = {
            consumer.uuid: consumer
            for device in self.read(servers)
            for consumer in device.consumers or ()
        }
        named = [item for item in consumers.values() if item.name]
        self.assertEqual(3, len(named))
        self.assertEqual({'p1'}, {item.project_id for item in named})
        self.assertEqual({'u1'}, {item.user_id for item in named})
        types = [item.consumer_type for item in consumers.values()]
        self.assertEqual(1, types.count('MIGRATION'))

    def test_filters(self) -> None:
        self.make_everything()
        devices = self.read()
        self.assertEqual(
            [device for device in devices if device.host == 'no-memory'],
            self.read(host='no-memory'),
        )
        self.assertEqual(
            [device for device in devices if device.resource_class == VF],
            self.read(resource_class=VF),
        )
        self.assertEqual(
            [device for device in devices if 'CUSTOM_NVLINK' in device.traits],
            self.read(traits=['CUSTOM_NVLINK']),
        )
        self.assertEqual([], self.read(host='drained', resource_class=VF))
        for host in ('nowhere', 'idle_0000:04:00.0'):
            self.assertRaises(exceptions.NotFound, self.read, host=host)

    @ddt.data((1, 18), (1, 29), (1, 36), (1, 39))
    def test_hosts(self, version: tuple[int, int]) -> None:
        """The other resources of hosts are in the same response."""
        self.make_everything()
        # Ratio and reserved count as in Placement's own response.
        base = f'/resource_providers/{self.host("ratio", 1)[0]}'
        record = self.send('GET', f'{base}/inventories/VCPU')
        record.update(reserved=1, allocation_ratio=1.5)
        self.send('PUT', f'{base}/inventories/VCPU', record)
        with unittest.mock.patch.object(reader, 'NEWEST', version):
            result = placement_devices.read_snapshot(self.placement)
        self.assertEqual((), result.failures)
        self.assertEqual(25, len(result.value.devices))
        hosts = {host.name: host for host in result.value.hosts}
        self.assertEqual(
            sorted({device.host for device in result.value.devices}),
            list(hosts),
        )
        self.assertEqual(
            (
                inventory.Resource(GB, 9, 9),
                inventory.Resource(MB, 64, 64),
                inventory.Resource('VCPU', 8, 8),
            ),
            hosts['full'].resources,
        )
        self.assertEqual(
            [inventory.Resource(MB, 64, 64), 0],
            [hosts['no-memory'].resource(MB), hosts['full'].resource(MB).free],
        )
        self.assertEqual(10, hosts['ratio'].resource('VCPU').capacity)
        self.assertIsNone(hosts['ratio'].resource('PCPU'))

    def test_few_requests(self) -> None:
        """A cloud with free capacity takes two requests, whatever its size."""
        for number in range(6):
            self.host(f'host-{number}', 4)
        self.placement.paths.clear()
        self.assertEqual(24, len(self.read()))
        self.assertEqual(
            ['/resource_providers', '/allocation_candidates'],
            self.placement.paths,
        )

    def test_few_requests_for_functions(self) -> None:
        """One parent of VFs is read in place of all equal ones."""
        for number in range(6):
            self.host(f'host-{number}', 1, classes={VF: {'total': 4}})
        self.placement.paths.clear()
        self.assertEqual({(4, 0)}, self.numbers(self.read()))
        self.assertEqual(3, len(self.placement.paths))

    def numbers(
        self, devices: list[inventory.Device]
    ) -> set[tuple[int | None, int | None]]:
        return {(device.total, device.reserved) for device in devices}

    def test_reserved_functions(self) -> None:
        """VFs of one parent, or of all parents, are reserved."""
        parents = [
            self.host(f'host-{number}', 1, classes={VF: {'total': 4}})[1][0]
            for number in range(6)
        ]
        self.reserve(parents[2], VF, 1)
        self.assertEqual({(4, 0), (4, 1)}, self.numbers(self.read()))
        self.assertEqual(self.plainly(), self.rows(self.read()))
        for parent in parents:
            self.reserve(parent, VF, 1)
        self.assertEqual({(4, 1)}, self.numbers(self.read()))
        self.assertEqual(self.plainly(), self.rows(self.read()))

    def test_few_devices_among_many_hosts(self) -> None:
        """Only the trees of GPU hosts are requested."""
        expected = self.make_everything().rows
        devices = self.read(count_hosts=lambda: 10_000)
        self.assertEqual(expected, self.rows(devices))
        self.assertIn('/resource_classes', self.placement.paths)

    def test_no_free_device(self) -> None:
        """Devices of full trees are read with two requests.

        Lists of free devices show that they are in use.
        """
        self.host('free', 1)
        for number in range(2):
            root, devices = self.host(f'full-{number}', 3)
            self.allocate(
                {
                    root: {'VCPU': 8, MB: 64, GB: 9},
                    **{device: {A100: 1} for device in devices},
                }
            )
        # A reserved device, and one that is reserved and in use.
        self.reserve(devices[0], A100, 1)
        root, devices = self.host('reserved', 1)
        self.allocate({root: {'VCPU': 8, MB: 64, GB: 9}})
        self.reserve(devices[0], A100, 1)
        expected = self.plainly()
        self.placement.paths.clear()
        result = placement_devices.read_devices(self.placement)
        asked = [path.rpartition('/')[2] for path in self.placement.paths]
        self.assertEqual((7, 7, 2), self.counts(asked))
        with_owners = owners.read_owners(self.placement, result.value, ())
        self.assertEqual(expected, self.rows(list(with_owners.value)))

    @staticmethod
    def counts(asked: list[str]) -> tuple[int, int, int]:
        return (
            asked.count('inventories'),
            asked.count('traits'),
            asked.count('usages'),
        )

    @ddt.data('/resource_providers', '/allocation_candidates', '/inventories')
    def test_rows_are_consistent_during_changes(self, after: str) -> None:
        """Each row is consistent, whenever the cloud changes."""
        everything = self.make_everything()
        _root, devices = self.host('busy', 3)
        gone = self.allocate({devices[0]: {A100: 1}})

        def change() -> None:
            self.send('DELETE', f'/allocations/{gone}')
            self.allocate({devices[1]: {A100: 1}})
            self.send('DELETE', f'/resource_providers/{devices[2]}')
            self.host('new', 1)

        self.placement.after = (after, change)
        rows = self.rows(self.read(everything.servers))
        self.assertIsNone(self.placement.after)
        of_busy = [row for row in rows if row[0] == 'busy']
        others = [row for row in rows if row[0] != 'busy']
        self.assertEqual(everything.rows, others)
        self.assertIn(len(of_busy), (2, 3))
        for row in of_busy:
            used, consumers = row[5], row[7]
            self.assertEqual(used, sum(amount for _id, amount in consumers))

    def test_host_deleted_during_the_read(self) -> None:
        """Its name, which its device does not contain, cannot be requested."""
        self.host('idle', 1)
        root, _devices = self.host('odd', 0)
        device = self.provider('something', {A100: {'total': 1}}, TRAITS, root)

        def change() -> None:
            for provider in (device, root):
                self.send('DELETE', f'/resource_providers/{provider}')

        self.placement.after = ('/resource_providers', change)
        result = placement_devices.read_devices(self.placement)
        self.assertEqual(['idle'], [device.host for device in result.value])
        (failure,) = result.failures
        self.assertRegex(str(failure), f'^name of host {root}: .*HTTP 404')

    def test_many_hosts_without_memory(self) -> None:
        """Their free resources are requested at once, not host by host."""
        for number in range(8):
            root, devices = self.host(f'host-{number}', 2)
            left = {'VCPU': 8} if number < 7 else {}
            if number:
                self.allocate({root: {MB: 64, **left}, devices[0]: {A100: 1}})
        expected = self.plainly()
        self.placement.paths.clear()
        devices = placement_devices.read_devices(self.placement).value
        self.assertEqual(
            ['/resource_providers', *['/allocation_candidates'] * 3],
            self.placement.paths,
        )
        owned = owners.read_owners(self.placement, devices, ()).value
        self.assertEqual(expected, self.rows(list(owned)))

    def test_requests_for_owners(self) -> None:
        """One for each server or for each device, whichever is fewer."""
        identities = []
        for number in range(6):
            _root, devices = self.host(f'host-{number}', 4)
            identities.append(
                (
                    self.allocate({device: {A100: 1} for device in devices}),
                    f'host-{number}',
                )
            )
        servers = tuple(self.server(*identity) for identity in identities)
        self.placement.paths.clear()
        self.assertEqual(24, len(self.read(servers)))
        self.assertEqual(2 + 6, len(self.placement.paths))

    def test_too_old(self) -> None:
        with unittest.mock.patch.object(reader, 'OLDEST', (1, 99)):
            error = self.assertRaises(exceptions.Unsupported, self.read)
        self.assertIn('Placement 1.99 or later is required', str(error))

    def test_no_trait(self) -> None:
        """A Placement without the trait of managed devices is detected."""
        with unittest.mock.patch.object(
            reader, 'MANAGED', 'COMPUTE_NEVER_HEARD_OF'
        ):
            error = self.assertRaises(exceptions.Unsupported, self.read)
        self.assertIn('too old to report PCI devices', str(error))

    def test_no_devices(self) -> None:
        self.provider('cpu-only', {'VCPU': {'total': 8}})
        self.assertEqual([], self.read())


class TestCapped(PlacementTestCase):
    """A service that truncates its responses."""

    options: typing.ClassVar[dict[str, typing.Any]] = {
        'max_allocation_candidates': 2
    }

    def test_same_as_the_plain_read(self) -> None:
        everything = self.make_everything()
        self.assertEqual(
            everything.rows, self.rows(self.read(everything.servers))
        )
