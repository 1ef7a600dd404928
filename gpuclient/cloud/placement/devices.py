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

"""Every PCI device that compute hosts report, with few requests.

No API of Placement returns names, inventories and usage of many providers at
once, so two reads are joined:

1. ``GET /resource_providers`` by the trait that Nova gives each PCI device.
   It lists every device, including those in full use: devices that the later
   reads leave out are read one by one, so that the result is complete.
2. ``GET /allocation_candidates``, whose summaries contain capacity, usage and
   traits of each provider of a tree: see :mod:`.candidates`.

Devices of trees without free resources are read one by one, as are inventories
if capacity alone does not distinguish total and reserved: see :mod:`.totals`.

These are not the calls of the SDK: its resources have no microversion above
1.20 for providers and no provider summaries, and its objects for thousands of
records would cost more time than the requests.
"""

import collections.abc
import dataclasses
import re
import typing

from keystoneauth1 import adapter

from gpuclient.cloud.placement import candidates
from gpuclient.cloud.placement import reader as placement_reader
from gpuclient.cloud.placement import totals
from gpuclient.cloud import schema
from gpuclient import exceptions
from gpuclient.model import inventory
from gpuclient.model import partial_result

#: Fields of the answers about a provider.
_OF_PROVIDER: dict[str, schema.Shape] = {
    'inventories': schema.Map(
        {
            'total': int,
            'reserved': int,
            'min_unit': int,
            'allocation_ratio': float,
        }
    ),
    'usages': schema.Map(int),
    'traits': [str],
}
_TRAIT = re.compile(r'[A-Z0-9_]{1,255}')


class _DeviceRead:
    """One read of the devices, with its results so far."""

    def __init__(
        self,
        reader: placement_reader.PlacementReader,
        resource_class: str | None,
        count_hosts: candidates.CountHosts,
    ) -> None:
        self.reader = reader
        self.resource_class = resource_class
        self._count_hosts = count_hosts
        #: Records with names only, by provider id: all that were listed.
        self.named: dict[str, inventory.Device] = {}
        #: Hypervisor hostname of each root provider.
        self.roots: dict[str, str] = {}
        #: Summaries by provider id, roots included.
        self.summaries: dict[str, totals.Summary] = {}
        #: Final records, by provider id: one for each resource class, none
        #: if the provider was deleted meanwhile.
        self.done: dict[str, tuple[inventory.Device, ...]] = {}
        self.failures: list[partial_result.Failure] = []

    def wanted(self, name: str) -> bool:
        return self.resource_class in (name, None)

    def list_devices(self, host: str | None, traits: tuple[str, ...]) -> None:
        """List all devices."""
        params = {'required': ','.join((placement_reader.MANAGED, *traits))}
        if host is not None:
            params['in_tree'] = _root(self.reader, host)
        try:
            providers = self.reader.get(
                '/resource_providers',
                'reading the PCI devices',
                {
                    'resource_providers': [
                        {
                            'uuid': str,
                            'name': str,
                            'root_provider_uuid': str,
                        }
                    ]
                },
                **params,
            )['resource_providers']
        except exceptions.CloudError as exc:
            if exc.status == 400 and placement_reader.MANAGED in str(exc):
                raise exceptions.Unsupported(
                    'Placement does not know the trait '
                    f'{placement_reader.MANAGED}: this cloud is too old to '
                    'report PCI devices to Placement',
                    status=exc.status,
                ) from exc
            raise
        hosts = self._hosts(providers) if host is None else {}
        for provider in providers:
            name = hosts.get(provider['root_provider_uuid'], host or '')
            self.roots[provider['root_provider_uuid']] = name
            self.named[provider['uuid']] = inventory.Device(
                uuid=provider['uuid'],
                name=provider['name'],
                root_uuid=provider['root_provider_uuid'],
                host=name,
                address=inventory.provider_address(provider['name'], name),
            )

    def _hosts(self, providers: list[totals.Summary]) -> dict[str, str]:
        """Return the hypervisor hostname of each root provider.

        The names of its devices begin with it. If they do not, or differ, the
        root provider is read.
        """
        claims: dict[str, set[str | None]] = {}
        for provider in providers:
            host, _address = inventory.split_provider_name(provider['name'])
            claims.setdefault(provider['root_provider_uuid'], set()).add(host)
        hosts = {}
        for root, names in claims.items():
            name = names.pop()
            if names or name is None:
                try:
                    name = self.reader.get(
                        f'/resource_providers/{root}',
                        f'reading resource provider {root}',
                        {'name': str},
                    )['name']
                except exceptions.CloudError as exc:
                    self.failures.append(
                        partial_result.Failure(
                            f'name of host {root}', str(exc)
                        )
                    )
            hosts[root] = name or root
        return hosts

    def read_summaries(self) -> None:
        """Read the summaries of candidate queries."""
        trees: dict[str, set[str]] = {}
        for uuid, device in self.named.items():
            trees.setdefault(device.root_uuid, set()).add(uuid)
        self.search = search = candidates.CandidateSearch(
            self.reader,
            {root: frozenset(uuids) for root, uuids in trees.items()},
            self._count_hosts,
        )
        search.run()
        self.summaries = search.summaries
        for root, exc in search.unanswered.items():
            # One failure for the host, not one for each device.
            self.failures.append(
                partial_result.Failure(
                    f'PCI devices of {self.roots[root]}', str(exc)
                )
            )
            for uuid in trees[root] - self.summaries.keys():
                self.done[uuid] = (self.named[uuid],)

    def read_each_device(self) -> None:
        """Read each device that is missing still."""
        self.reader.each(
            self._read_device,
            [
                device
                for uuid, device in self.named.items()
                if uuid not in self.summaries and uuid not in self.done
            ],
        )

    def _read_device(self, device: inventory.Device) -> None:
        try:
            inventories = self.ask(device.uuid, 'inventories')
            used = self._used(device, inventories)
            traits = tuple(sorted(self.ask(device.uuid, 'traits')))
        except exceptions.NotFound:
            self.done[device.uuid] = ()
        except exceptions.CloudError as exc:
            self.fail(device, exc)
            self.done[device.uuid] = (device,)
        else:
            device = dataclasses.replace(device, traits=traits)
            self.done[device.uuid] = tuple(
                dataclasses.replace(
                    device,
                    resource_class=name,
                    total=record['total'],
                    reserved=record['reserved'],
                    used=used.get(name, 0),
                )
                for name, record in inventories.items()
                if self.wanted(name)
            )
            if not inventories and self.resource_class is None:
                self.done[device.uuid] = (device,)

    def _used(
        self,
        device: inventory.Device,
        inventories: dict[str, totals.Summary],
    ) -> dict[str, int]:
        """Return the units in use by resource class."""
        for name, record in inventories.items():
            if (
                record['total'] != 1
                or record['reserved']
                or record['min_unit'] != 1
                or record['allocation_ratio'] != 1.0
                or not self.search.exhausted(device.uuid, name)
            ):
                return self.ask(device.uuid, 'usages')
        return dict.fromkeys(inventories, 1)

    def read_hosts(self) -> tuple[inventory.ComputeProvider, ...]:
        """Return the hosts; reads those without a summary."""
        hosts = self.reader.each(self._read_root, self.roots)
        return tuple(sorted(hosts, key=lambda host: (host.name, host.uuid)))

    def _read_root(self, uuid: str) -> inventory.ComputeProvider:
        host = inventory.ComputeProvider(uuid, self.roots[uuid])
        summary = self.summaries.get(uuid)
        if summary is None:
            try:
                inventories = self.ask(uuid, 'inventories')
                used = self.ask(uuid, 'usages')
                traits = self.ask(uuid, 'traits')
            except exceptions.CloudError as exc:
                self.failures.append(
                    partial_result.Failure(
                        f'resources of host {host.name}', str(exc)
                    )
                )
                return host
            summary = {
                'resources': {
                    name: {
                        'capacity': _capacity(record),
                        'used': used.get(name, 0),
                    }
                    for name, record in inventories.items()
                },
                'traits': traits,
            }
        return dataclasses.replace(
            host,
            resources=tuple(
                inventory.Resource(name, units['capacity'], units['used'])
                for name, units in sorted(summary['resources'].items())
            ),
            traits=tuple(sorted(summary['traits'])),
        )

    def ask(self, provider: str, resource: str) -> dict[str, typing.Any]:
        """Return the inventories, usages or traits of a provider."""
        answered = self.reader.get(
            f'/resource_providers/{provider}/{resource}',
            f'reading its {resource}',
            {resource: _OF_PROVIDER[resource]},
        )
        return typing.cast(dict[str, typing.Any], answered[resource])

    def fail(
        self, device: inventory.Device, exc: exceptions.CloudError
    ) -> None:
        source = f'PCI device {device.address or device.name} of {device.host}'
        self.failures.append(partial_result.Failure(source, str(exc)))

    def count(self) -> None:
        """Turn the summaries into records."""
        inventories: totals.Inventories = {}

        def read(uuid: str) -> None:
            try:
                inventories[uuid] = self.ask(uuid, 'inventories')
            except exceptions.NotFound:
                inventories[uuid] = {}
            except exceptions.CloudError as exc:
                self.fail(self.named[uuid], exc)
                inventories[uuid] = None

        summaries = {
            uuid: {
                **summary,
                'resources': {
                    name: units
                    for name, units in summary['resources'].items()
                    if self.wanted(name)
                },
            }
            for uuid, summary in self.summaries.items()
            if uuid in self.named
        }
        while unclear := totals.unclear(summaries, inventories):
            self.reader.each(read, sorted(unclear))
        for uuid, summary in summaries.items():
            read_too = inventories.get(uuid)
            if read_too == {}:
                self.done[uuid] = ()
                continue
            if read_too and summary['resources'].keys() != {
                name for name in read_too if self.wanted(name)
            }:
                # It changed meanwhile: read it again.
                self._read_device(self.named[uuid])
                continue
            device = dataclasses.replace(
                self.named[uuid], traits=tuple(sorted(summary['traits']))
            )
            records = []
            for name, units in summary['resources'].items():
                total, reserved = totals.divide(
                    uuid, name, units['capacity'], inventories
                )
                records.append(
                    dataclasses.replace(
                        device,
                        resource_class=name,
                        total=total,
                        reserved=reserved,
                        used=units['used'],
                    )
                )
            if not records and self.resource_class is None:
                records = [device]
            self.done[uuid] = tuple(records)

    def devices(self) -> tuple[inventory.Device, ...]:
        """Return the records, sorted by host and address."""
        return tuple(
            sorted(
                (
                    device
                    for records in self.done.values()
                    for device in records
                ),
                key=inventory.order,
            )
        )

    def named_failures(self) -> tuple[partial_result.Failure, ...]:
        """Return what could not be read, sorted."""
        return tuple(sorted(self.failures, key=str))


def _capacity(record: totals.Summary) -> int:
    """Return the capacity that a summary would have of an inventory.

    As ``placement/objects/allocation_candidate.py:_build_provider_summaries``.
    """
    return int(
        (record['total'] - record['reserved']) * record['allocation_ratio']
    )


def _root(reader: placement_reader.PlacementReader, host: str) -> str:
    """Return the id of the provider of a compute node."""
    providers = reader.get(
        '/resource_providers',
        f'finding host {host}',
        {
            'resource_providers': [
                {'uuid': str, 'parent_provider_uuid': schema.Optional(str)}
            ]
        },
        name=host,
    )['resource_providers']
    for provider in providers:
        if provider['parent_provider_uuid'] is None:
            return str(provider['uuid'])
    raise exceptions.NotFound(f'Placement has no compute host {host!r}')


def check_traits(traits: collections.abc.Iterable[str]) -> None:
    """Make sure that traits have valid names.

    :raises gpuclient.exceptions.InvalidValue: A trait has an invalid name.
    """
    for trait in traits:
        # Placement interprets ``!`` and ``,``.
        if not _TRAIT.fullmatch(trait):
            raise exceptions.InvalidValue(
                f'{trait!r} is not a valid trait: use capital letters, digits '
                'and underscores'
            )


def read_devices(
    placement: adapter.Adapter,
    *,
    host: str | None = None,
    resource_class: str | None = None,
    traits: collections.abc.Iterable[str] = (),
    count_hosts: candidates.CountHosts = lambda: None,
) -> partial_result.PartialResult[tuple[inventory.Device, ...]]:
    """Return the PCI devices in Placement, sorted by host.

    Total and reserved may be inferred, see :mod:`.totals`. A device that could
    not be read has None for its numbers, and a failure names it. A provider
    with several resource classes, which Nova never creates, has a record for
    each.

    :param placement: The SDK proxy, ``connection.placement``.
    :param host: Hypervisor hostname of the only host to read.
    :param resource_class: The only resource class to return; devices whose
        class could not be read are also returned.
    :param traits: Traits that a device must all have.
    :param count_hosts: Returns how many hosts the cloud has, or None; called
        only if it helps to choose what to read.
    :raises gpuclient.exceptions.NotFound: Placement has no such host.
    :raises gpuclient.exceptions.InvalidValue: A trait has an invalid name.
    :raises gpuclient.exceptions.CloudError: Devices could not be listed.
    """
    read = _read(placement, host, resource_class, tuple(traits), count_hosts)
    return partial_result.PartialResult(read.devices(), read.named_failures())


def read_snapshot(
    placement: adapter.Adapter,
    *,
    host: str | None = None,
    count_hosts: candidates.CountHosts = lambda: None,
) -> partial_result.PartialResult[inventory.Snapshot]:
    """Return the PCI devices and their hosts.

    Needs the same requests as :func:`read_devices`: the summaries contain the
    memory and processors of hosts. Only a host without any free resources
    costs three more requests.

    :raises gpuclient.exceptions.CloudError: As :func:`read_devices`.
    """
    read = _read(placement, host, None, (), count_hosts)
    hosts = read.read_hosts()
    return partial_result.PartialResult(
        inventory.Snapshot(read.devices(), hosts), read.named_failures()
    )


def _read(
    placement: adapter.Adapter,
    host: str | None,
    resource_class: str | None,
    traits: tuple[str, ...],
    count_hosts: candidates.CountHosts,
) -> _DeviceRead:
    check_traits(traits)
    read = _DeviceRead(
        placement_reader.PlacementReader(placement),
        resource_class,
        count_hosts,
    )
    read.list_devices(host, traits)
    read.read_summaries()
    read.read_each_device()
    read.count()
    return read
