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

"""Plant leaks in a cloud, and read what Placement has."""

import collections.abc
import contextlib
import dataclasses
import itertools
import json
import os
import random
import signal
import sqlite3
import tempfile
import threading
import typing
import uuid

from openstack import connection
import yaml

from tests.functional import base
from tests.functional import proxy

_Record: typing.TypeAlias = dict[str, typing.Any]
#: Microversions of all requests.
_PLACEMENT, _NOVA = '1.39', '2.90'
MANAGED = 'COMPUTE_MANAGED_PCI_DEVICE'
#: Of the cards that leaks are planted of.
_CLASS = 'CUSTOM_PCI_10DE_20F1'
OTU = 'HW_PCI_ONE_TIME_USE'


@dataclasses.dataclass(frozen=True)
class Planted:
    """A leak that was planted."""

    code: str
    #: ID of its consumer, or else of its provider.
    subject: str


class Cloud:
    """Nova and Placement of a cloud, as tests use them."""

    def __init__(self, cloud: connection.Connection) -> None:
        self.cloud = cloud
        self._numbers = itertools.count(1)
        (image,) = cloud.image.images(name='blank')
        self._image = image.id

    # -- Placement ----------------------------------------------------------

    def placement(
        self, method: str, path: str, body: _Record | None = None
    ) -> _Record:
        """Send a request that must succeed."""
        response = self.cloud.placement.request(
            path,
            method,
            microversion=_PLACEMENT,
            raise_exc=False,
            **({} if body is None else {'json': body}),
        )
        if response.status_code >= 400:
            raise AssertionError(
                f'{method} {path}: {response.status_code} {response.text}'
            )
        return response.json() if response.content else {}

    def providers(self) -> dict[str, _Record]:
        """Return all providers by name."""
        answer = self.placement('GET', '/resource_providers')
        return {
            provider['name']: provider
            for provider in answer['resource_providers']
        }

    def allocations(self, consumer: str) -> _Record:
        return self.placement('GET', f'/allocations/{consumer}')

    def allocate(
        self,
        consumer: str,
        units: dict[str, dict[str, int]],
        kind: str | None = None,
    ) -> None:
        """Replace the allocations of a consumer, with its generation."""
        known = self.allocations(consumer)
        body = {
            'allocations': {
                provider: {'resources': amounts}
                for provider, amounts in units.items()
            },
            'project_id': known.get('project_id', 'project'),
            'user_id': known.get('user_id', 'user'),
            'consumer_generation': known.get('consumer_generation'),
        }
        kind = kind or known.get('consumer_type') or 'INSTANCE'
        version = _PLACEMENT
        if kind == 'unknown':
            version = '1.37'
        else:
            body['consumer_type'] = kind
        response = self.cloud.placement.put(
            f'/allocations/{consumer}', json=body, microversion=version
        )
        assert response.status_code == 204, (
            f'{response.status_code} {response.text}'
        )

    def units(self, consumer: str) -> dict[str, dict[str, int]]:
        return {
            provider: dict(held['resources'])
            for provider, held in self.allocations(consumer)[
                'allocations'
            ].items()
        }

    def add(
        self, consumer: str, provider: str, kind: str | None = None
    ) -> None:
        """Allocate a unit of a device in addition."""
        units = self.units(consumer)
        (name,) = self.inventories(provider)['inventories']
        units[provider] = {name: 1}
        self.allocate(consumer, units, kind)

    def inventories(self, provider: str) -> _Record:
        return self.placement(
            'GET', f'/resource_providers/{provider}/inventories'
        )

    def set_inventory(self, provider: str, **values: int) -> None:
        """Change fields of the only inventory of a device."""
        known = self.inventories(provider)
        for record in known['inventories'].values():
            record.update(values)
        self.placement(
            'PUT', f'/resource_providers/{provider}/inventories', known
        )

    def set_traits(self, provider: str, *traits: str) -> None:
        generation = self.inventories(provider)['resource_provider_generation']
        self.placement(
            'PUT',
            f'/resource_providers/{provider}/traits',
            {
                'resource_provider_generation': generation,
                'traits': list(traits),
            },
        )

    def create_provider(
        self, name: str, parent: str | None, *traits: str
    ) -> str:
        """Create a provider of a device; return its ID."""
        body: _Record = {'name': name, 'uuid': str(uuid.uuid4())}
        if parent is not None:
            body['parent_provider_uuid'] = parent
        self.placement('POST', '/resource_providers', body)
        if traits:
            self.set_traits(body['uuid'], *traits)
        return str(body['uuid'])

    def give_inventory(self, provider: str, name: str) -> None:
        generation = self.inventories(provider)['resource_provider_generation']
        self.placement(
            'PUT',
            f'/resource_providers/{provider}/inventories',
            {
                'resource_provider_generation': generation,
                'inventories': {name: {'total': 1, 'max_unit': 1}},
            },
        )

    def traits(self, provider: str) -> list[str]:
        return list(
            self.placement('GET', f'/resource_providers/{provider}/traits')[
                'traits'
            ]
        )

    def roots(self) -> dict[str, str]:
        """Return the IDs of compute nodes, by hypervisor hostname."""
        nodes = self.nova('GET', '/os-hypervisors')['hypervisors']
        return {node['hypervisor_hostname']: node['id'] for node in nodes}

    def consumers(self, provider: str) -> list[str]:
        return list(
            self.placement(
                'GET', f'/resource_providers/{provider}/allocations'
            )['allocations']
        )

    def devices(self, host: str | None = None) -> list[_Record]:
        """Return the providers of devices of a host."""
        return [
            provider
            for provider in self.placement(
                'GET', f'/resource_providers?required={MANAGED}'
            )['resource_providers']
            if host is None or provider['name'].startswith(f'{host}_')
        ]

    def free(self, host: str | None = None) -> list[str]:
        """Return devices that nobody holds and that are not reserved."""
        return [
            device['uuid']
            for device in self.devices(host)
            if not self.consumers(device['uuid'])
            and not any(
                record['reserved']
                for record in self.inventories(device['uuid'])[
                    'inventories'
                ].values()
            )
        ]

    def state(self) -> _Record:
        """Return all allocations and inventories, without generations."""
        providers = self.providers()
        consumers: set[str] = set()
        records = {}
        for name, provider in providers.items():
            uuid_ = provider['uuid']
            consumers.update(self.consumers(uuid_))
            records[name] = {
                'uuid': uuid_,
                'parent': provider['parent_provider_uuid'],
                'inventories': self.inventories(uuid_)['inventories'],
            }
        allocations = {}
        for consumer in sorted(consumers):
            held = self.allocations(consumer)
            held.pop('consumer_generation')
            for of_provider in held['allocations'].values():
                of_provider.pop('generation')
            allocations[consumer] = held
        return {'providers': records, 'allocations': allocations}

    # -- Nova ---------------------------------------------------------------

    def nova(
        self, method: str, path: str, body: _Record | None = None
    ) -> _Record:
        response = self.cloud.compute.request(
            path,
            method,
            microversion=_NOVA,
            raise_exc=False,
            **({} if body is None else {'json': body}),
        )
        if response.status_code >= 400:
            raise AssertionError(
                f'{method} {path}: {response.status_code} {response.text}'
            )
        return response.json() if response.content else {}

    def flavor(self, aliases: str | None) -> str:
        """Return the ID of a flavor, which is created if there is none."""
        name = f'flavor-{aliases or "none"}'
        known = self.cloud.compute.find_flavor(name)
        if known is not None:
            return str(known.id)
        flavor = self.cloud.compute.create_flavor(
            name=name, vcpus=1, ram=64, disk=1
        )
        if aliases is not None:
            self.nova(
                'POST',
                f'/flavors/{flavor.id}/os-extra_specs',
                {'extra_specs': {'pci_passthrough:alias': aliases}},
            )
        return str(flavor.id)

    def start(self, aliases: str | None, host: str | None = None) -> str:
        """Create a server; return its ID."""
        body: _Record = {
            'name': f'server-{next(self._numbers)}',
            'flavorRef': self.flavor(aliases),
            'imageRef': self._image,
            'networks': 'none',
        }
        if host is not None:
            body['host'] = host
        answer = self.nova('POST', '/servers', {'server': body})
        return str(answer['server']['id'])

    def boot(self, aliases: str | None, host: str | None = None) -> str:
        """Boot a server; return its ID."""
        server_id = self.start(aliases, host)
        server = self.settled(server_id)
        assert server['status'] == 'ACTIVE', server
        return server_id

    def boot_all(self, aliases: str, count: int) -> list[str]:
        """Boot servers at the same time; those that lose a race again."""
        booted: list[str] = []
        for _attempt in range(5):
            started = [
                self.start(aliases) for _n in range(count - len(booted))
            ]
            for server_id in started:
                if self.settled(server_id)['status'] == 'ACTIVE':
                    booted.append(server_id)
                else:
                    self.delete(server_id)
            if len(booted) == count:
                return booted
        raise AssertionError(f'{len(booted)} of {count} servers have booted')

    def server(self, server_id: str) -> _Record:
        return typing.cast(
            _Record, self.nova('GET', f'/servers/{server_id}')['server']
        )

    def settled(self, server_id: str, timeout: float = 300) -> _Record:
        """Return a server when Nova has finished with it."""

        def find() -> _Record | None:
            server = self.server(server_id)
            if (
                server['OS-EXT-STS:task_state'] is None
                and server['status'] != 'BUILD'
            ):
                return server
            return None

        return base.wait_until(find, timeout, f'{server_id} is settled')

    def node(self, server_id: str) -> str:
        return str(
            self.server(server_id)['OS-EXT-SRV-ATTR:hypervisor_hostname']
        )

    def delete(self, *server_ids: str) -> None:
        for server_id in server_ids:
            self.cloud.compute.delete_server(server_id, ignore_missing=True)
        for server_id in server_ids:
            base.wait_until(
                lambda server_id=server_id: self.is_deleted(server_id),
                300,
                f'{server_id} is deleted',
            )

    def is_deleted(self, server_id: str) -> bool:
        """Return whether Nova and Placement have a server no longer."""
        response = self.cloud.compute.get(f'/servers/{server_id}')
        return (
            response.status_code == 404
            and not self.allocations(server_id)['allocations']
        )

    def migrate(self, server_id: str) -> str:
        """Migrate a server cold, and confirm; return the migration."""
        self.act(server_id, 'migrate', None)
        server = base.wait_until(
            lambda: self._moved(server_id), 300, f'{server_id} has moved'
        )
        assert server['status'] == 'VERIFY_RESIZE', server
        self.act(server_id, 'confirmResize', None)
        base.wait_until(
            lambda: self.settled(server_id)['status'] == 'ACTIVE',
            300,
            f'the move of {server_id} is confirmed',
        )
        migrations = self.nova(
            'GET', f'/os-migrations?instance_uuid={server_id}'
        )['migrations']

        def released() -> bool:
            return not self.allocations(migrations[0]['uuid'])['allocations']

        base.wait_until(released, 60, 'the source host is released')
        return str(migrations[0]['uuid'])

    def _moved(self, server_id: str) -> _Record | None:
        """Return a server that Nova has moved, or failed to move."""
        server = self.settled(server_id)
        actions = self.nova('GET', f'/servers/{server_id}/os-instance-actions')
        last = actions['instanceActions'][0]
        if server['status'] != 'ACTIVE' or (
            last['action'] == 'migrate' and last['message'] == 'Error'
        ):
            return server
        return None

    def act(self, server_id: str, action: str, value: typing.Any) -> None:
        self.nova('POST', f'/servers/{server_id}/action', {action: value})

    def database(self, query: str) -> list[tuple[typing.Any, ...]]:
        """Return rows of the database of the cell."""
        path = os.path.join(
            os.path.dirname(os.environ['OS_CLIENT_CONFIG_FILE']),
            'db',
            'nova_cell1.sqlite',
        )
        with contextlib.closing(
            sqlite3.connect(f'file:{path}?mode=ro', uri=True)
        ) as database:
            return database.execute(query).fetchall()

    def real_devices(self) -> dict[str, list[str]]:
        """Return the devices of servers, as nova-compute has them."""
        real: dict[str, list[str]] = {}
        for server, host, address in self.database(
            'select pci.instance_uuid, nodes.hypervisor_hostname, '
            'pci.address from pci_devices pci join compute_nodes nodes '
            'on nodes.id = pci.compute_node_id '
            'where pci.instance_uuid is not null and pci.deleted = 0'
        ):
            real.setdefault(server, []).append(f'{host}_{address.upper()}')
        return {server: sorted(names) for server, names in real.items()}

    def held_devices(self) -> dict[str, list[str]]:
        """Return the same in the form of Placement."""
        held: dict[str, list[str]] = {}
        for device in self.devices():
            for consumer in self.consumers(device['uuid']):
                held.setdefault(consumer, []).append(device['name'])
        return {server: sorted(names) for server, names in held.items()}

    def correct(self, server: str) -> None:
        """Let a server hold the devices that it uses."""
        roots = set(self.roots().values())
        devices = {device['name']: device['uuid'] for device in self.devices()}
        units = {
            provider: amounts
            for provider, amounts in self.units(server).items()
            if provider in roots
        }
        for name in self.real_devices()[server]:
            (resource_class,) = self.inventories(devices[name])['inventories']
            units[devices[name]] = {resource_class: 1}
        self.allocate(server, units)

    def clear(self) -> None:
        """Delete all servers, and all that was planted."""
        servers = [server.id for server in self.cloud.compute.servers()]
        self.delete(*servers)
        roots = set(self.roots().values())
        providers = self.providers().values()
        for provider in providers:
            for consumer in self.consumers(provider['uuid']):
                self.placement('DELETE', f'/allocations/{consumer}')
        for provider in sorted(
            providers,
            key=lambda record: record['parent_provider_uuid'] is None,
        ):
            traits = self.traits(provider['uuid'])
            if provider['root_provider_uuid'] in roots:
                # nova-compute fails if one of its tree disappears.
                if MANAGED in traits:
                    self.set_inventory(provider['uuid'], reserved=0)
                elif provider['uuid'] not in roots:
                    self.set_traits(provider['uuid'])
            else:
                self.placement(
                    'DELETE', f'/resource_providers/{provider["uuid"]}'
                )

    @contextlib.contextmanager
    def updates(
        self, hosts: collections.abc.Iterable[str]
    ) -> collections.abc.Iterator[None]:
        """Make nova-compute of hosts update Placement again and again.

        It does so each minute, and whenever a server comes.
        """
        stop = threading.Event()
        hosts = list(hosts)

        def run() -> None:
            while not stop.wait(0.5):
                servers = [self.start(None, host) for host in hosts]
                for server in servers:
                    self.settled(server)
                self.delete(*servers)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


@dataclasses.dataclass(frozen=True)
class KilledRun:
    """A run of a command in a process of its own."""

    #: Of the process; negative for a signal.
    status: int
    output: str
    #: Requests to Placement.
    requests: tuple[str, ...]

    @property
    def first_write(self) -> int:
        """Number of the first request that writes."""
        return next(
            number
            for number, method in enumerate(self.requests)
            if method != 'GET'
        )

    @property
    def journal(self) -> str:
        return self.output.split()[-1]


def _use_placement(url: str) -> None:
    """Use another endpoint of Placement in this process."""
    path = os.environ['OS_CLIENT_CONFIG_FILE']
    with open(path, encoding='utf-8') as stream:
        document = yaml.safe_load(stream)
    for cloud in document['clouds'].values():
        cloud['placement_endpoint_override'] = url
    descriptor, path = tempfile.mkstemp(suffix='.yaml')
    with open(descriptor, 'w', encoding='utf-8') as stream:
        yaml.safe_dump(document, stream)
    os.environ['OS_CLIENT_CONFIG_FILE'] = path


def run_killed(
    url: str,
    arguments: collections.abc.Sequence[str],
    number: int | None,
    *,
    late: bool = False,
) -> KilledRun:
    """Run a command, and kill its process at a request to Placement.

    :param url: Of Placement; the command is run with that of a proxy.
    :param number: Of the request, from 0; None to let it run.
    :param late: Kill it when Placement has answered.
    """
    requests: list[str] = []
    pid = 0
    ready = threading.Event()

    def rule(request: proxy.Request) -> proxy.Answer | None:
        ready.wait()
        requests.append(request.method)
        if number is None or len(requests) != number + 1:
            return None
        if late:
            # It is killed before it gets the answer.
            os.kill(pid, signal.SIGSTOP)
            threading.Timer(0.5, os.kill, (pid, signal.SIGKILL)).start()
            return None
        os.kill(pid, signal.SIGKILL)
        return proxy.DROP

    with proxy.Proxy(url, rule) as between, tempfile.TemporaryFile() as output:
        pid = os.fork()
        if not pid:
            status = 1
            try:
                _use_placement(between.url)
                result = base.run_openstack(*arguments)
                output.write((result.stdout + result.stderr).encode())
                output.flush()
                status = result.status
            finally:
                os._exit(status)
        ready.set()
        _pid, status = os.waitpid(pid, 0)
        output.seek(0)
        text = output.read().decode()
    return KilledRun(os.waitstatus_to_exitcode(status), text, tuple(requests))


#: Kinds of hosts: their aliases, and the product and type of their cards.
_KINDS = {
    'a2': ('20f1', 'type-PF', {}),
    # One-time-use cards.
    'otu': ('25b6', 'type-PCI', {'one_time_use': 'true'}),
    # For servers that move while leaks are planted.
    'moving': ('20b5', 'type-PF', {}),
}


def _alias(name: str) -> str:
    product, kind, _tags = _KINDS[name]
    return 'alias = ' + json.dumps(
        {
            'vendor_id': '10de',
            'product_id': product,
            'device_type': kind,
            'name': name,
        }
    )


def _host(name: str, alias: str, count: int) -> _Record:
    product, kind, tags = _KINDS[alias]
    device_spec = {'vendor_id': '10de', 'product_id': product, **tags}
    return {
        'name': name,
        'hypervisor_hostname': f'{name}.example.com',
        'devices': [
            {
                'address': f'0000:{number:02x}:00.0',
                'vendor_id': '10de',
                'product_id': product,
                'type': kind,
            }
            for number in range(1, count + 1)
        ],
        'config': (
            '[filter_scheduler]\npci_in_placement = True\n'
            '[pci]\nreport_in_placement = True\n'
            f'device_spec = {json.dumps(device_spec)}\n{_alias(alias)}\n'
        ),
    }


def spec(
    hosts: collections.abc.Mapping[str, int],
    one_time: int = 2,
    moving: int = 0,
) -> str:
    """Return the spec of a cloud.

    :param hosts: Cards of the hosts, by name.
    :param one_time: One-time-use cards of another host, ``u0``.
    :param moving: Cards of each of two more hosts, ``m0`` and ``m1``.
    """
    records = [_host(name, 'a2', count) for name, count in hosts.items()]
    records.append(_host('u0', 'otu', one_time))
    if moving:
        records += [_host(name, 'moving', moving) for name in ('m0', 'm1')]
    return yaml.safe_dump(
        {
            'control_plane': {
                'config': '[filter_scheduler]\npci_in_placement = True\n',
                'api': [
                    {'config': '\n'.join(['[pci]', *map(_alias, _KINDS)])}
                ],
            },
            'hosts': records,
        }
    )


class Planter:
    """Plants leaks of each kind; a method returns None if it cannot."""

    def __init__(self, cloud: Cloud, rng: random.Random) -> None:
        self.cloud = cloud
        self._rng = rng
        #: Servers that no leak has been planted of.
        self.servers: list[str] = []
        #: Migrations that have ended.
        self.migrations: list[str] = []

    def _take_server(self) -> str | None:
        self._rng.shuffle(self.servers)
        return self.servers.pop() if self.servers else None

    def _free(self, host: str | None = None) -> str | None:
        free = [
            uuid_
            for uuid_ in self.cloud.free(host)
            if _CLASS in self.cloud.inventories(uuid_)['inventories']
        ]
        return self._rng.choice(free) if free else None

    def deleted_consumer(self) -> Planted | None:
        """What a server held stays when it is deleted."""
        server = self._take_server()
        if server is None:
            return None
        units = self.cloud.units(server)
        kind = self._rng.choice(('INSTANCE', 'unknown'))
        self.cloud.delete(server)
        # nova-compute removes those of deleted servers, until their records
        # are archived (nova/compute/resource_tracker.py:
        # _remove_deleted_instances_allocations).
        archived = str(uuid.uuid4())
        self.cloud.allocate(archived, units, kind)
        return Planted('GPU610', archived)

    def wrong_host(self) -> Planted | None:
        server = self._take_server()
        if server is None:
            return None
        node = self.cloud.node(server)
        for host in self.cloud.roots():
            device = self._free(host) if host != node else None
            if device is not None:
                self.cloud.add(server, device)
                return Planted('GPU611', server)
        return None

    def surplus(self) -> Planted | None:
        for server in self._rng.sample(self.servers, len(self.servers)):
            device = self._free(self.cloud.node(server))
            if device is not None:
                self.servers.remove(server)
                self.cloud.add(server, device)
                return Planted('GPU612', server)
        return None

    def shortage(self) -> Planted | None:
        server = self._take_server()
        if server is None:
            return None
        units = self.cloud.units(server)
        devices = sorted(units.keys() - set(self.cloud.roots().values()))
        del units[devices[0]]
        self.cloud.allocate(server, units)
        return Planted('GPU613', server)

    def removed_host(self) -> Planted | None:
        name = f'gone{self._rng.randrange(10**6)}.example.com'
        root = self.cloud.create_provider(name, None)
        device = self.cloud.create_provider(
            f'{name}_0000:01:00.0', root, MANAGED
        )
        self.cloud.give_inventory(device, _CLASS)
        return Planted('GPU615', device)

    def unaccounted(self) -> Planted | None:
        server = self._take_server()
        if server is None:
            return None
        self.cloud.allocate(server, {})
        return Planted('GPU616', server)

    def long_reserved(self) -> Planted | None:
        device = self._free()
        if device is None:
            return None
        self.cloud.set_inventory(device, reserved=1)
        return Planted('GPU617', device)

    def reserved_in_use(self) -> Planted | None:
        server = self._take_server()
        if server is None:
            return None
        (device, *_more) = sorted(
            self.cloud.units(server).keys() - set(self.cloud.roots().values())
        )
        self.cloud.set_inventory(device, reserved=1)
        return Planted('GPU618', device)

    def used_once(self) -> Planted | None:
        if not any(
            OTU in self.cloud.traits(uuid_) for uuid_ in self.cloud.free()
        ):
            return None
        server = self.cloud.boot('otu:1')
        (device,) = self.cloud.units(server).keys() - set(
            self.cloud.roots().values()
        )

        def reserved() -> bool:
            (record,) = self.cloud.inventories(device)['inventories'].values()
            return bool(record['reserved'])

        # nova-compute reserves it at its next update.
        with self.cloud.updates(['u0']):
            base.wait_until(reserved, 90, 'the device is reserved')
        self.cloud.delete(server)
        return Planted('GPU619', device)

    def ended_migration(self) -> Planted | None:
        device = self._free()
        if device is None or not self.migrations:
            return None
        migration = self.migrations.pop()
        self.cloud.add(migration, device, 'MIGRATION')
        return Planted('GPU620', migration)

    def shared(self) -> Planted | None:
        first, second = self._take_server(), self._take_server()
        if first is None or second is None:
            return None
        (device, *_more) = sorted(
            self.cloud.units(first).keys() - set(self.cloud.roots().values())
        )
        self.cloud.delete(second)
        self.cloud.set_inventory(device, total=2, max_unit=2)
        name = next(iter(self.cloud.inventories(device)['inventories']))
        self.cloud.allocate(str(uuid.uuid4()), {device: {name: 1}}, 'INSTANCE')
        self.cloud.set_inventory(device, total=1, max_unit=1)
        return Planted('GPU621', device)

    def owned_twice(self) -> Planted | None:
        host, root = self._rng.choice(sorted(self.cloud.roots().items()))
        device = self._rng.choice(self.cloud.devices(host))
        address = device['name'].removeprefix(f'{host}_')
        name = f'{host.partition(".")[0]}-cyborg_{address}'
        known = self.cloud.providers().get(name)
        if known is None:
            self.cloud.create_provider(name, root, 'OWNER_CYBORG')
        else:
            self.cloud.set_traits(known['uuid'], 'OWNER_CYBORG')
        return Planted('GPU622', device['uuid'])

    @property
    def kinds(
        self,
    ) -> tuple[collections.abc.Callable[[], Planted | None], ...]:
        return (
            self.deleted_consumer,
            self.wrong_host,
            self.surplus,
            self.removed_host,
            self.unaccounted,
            self.long_reserved,
            self.reserved_in_use,
            self.used_once,
            self.ended_migration,
            self.shared,
            self.owned_twice,
            # nova-compute repairs it at its next update.
            self.shortage,
        )


def subjects(rows: list[_Record]) -> list[Planted]:
    """Return the leaks of an output, as planted ones are named."""
    return [
        Planted(row['Code'], row['Consumer'] or row['Devices'][0]['id'])
        for row in rows
    ]
