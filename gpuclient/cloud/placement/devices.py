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

"""Every PCI device that the computes report, with few requests.

Placement has no read that gives names, inventories and usage of many
providers at once, so two reads are joined:

1. ``GET /resource_providers`` by the trait that Nova gives each PCI device.
   It names every device, those in full use included, and is the check list:
   what the later reads leave out is read on its own, so the answer is whole.
2. ``GET /allocation_candidates``, whose summaries hold capacity, usage and
   traits of each provider of a tree: see :mod:`.candidates`.

Devices of trees that have nothing left to give are read one by one, and
inventories where capacity alone does not tell total and reserved apart: see
:mod:`.totals`.
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

#: What a provider is asked for.
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
    """One read of the devices, and what is known of them so far."""

    def __init__(
        self,
        reader: placement_reader.PlacementReader,
        resource_class: str | None,
        count_hosts: candidates.CountHosts,
    ) -> None:
        self.reader = reader
        self.resource_class = resource_class
        self._count_hosts = count_hosts
        #: Records that hold names only, by provider id: the check list.
        self.named: dict[str, inventory.Device] = {}
        #: Hypervisor hostname of each root provider.
        self.roots: dict[str, str] = {}
        #: Summaries by provider id, roots included.
        self.summaries: dict[str, totals.Summary] = {}
        #: Final records, by provider id: one a resource class, none where
        #: the provider has gone meanwhile.
        self.done: dict[str, tuple[inventory.Device, ...]] = {}
        self.failures: list[partial_result.Failure] = []

    def wanted(self, name: str) -> bool:
        return self.resource_class in (name, None)

    def list_devices(self, host: str | None, traits: tuple[str, ...]) -> None:
        """Fill the check list."""
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
                    (
                        'Placement does not know the trait '
                        f'{placement_reader.MANAGED}: this '
                        'cloud is too old to report PCI devices to Placement'
                    ),
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

        The names of its devices begin with it; where they do not, or do not
        agree, the root provider itself is asked.
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
        """Learn what candidate queries tell."""
        trees: dict[str, set[str]] = {}
        for uuid, device in self.named.items():
            trees.setdefault(device.root_uuid, set()).add(uuid)
        self.search = search = candidates.Search(
            self.reader,
            {root: frozenset(uuids) for root, uuids in trees.items()},
            self._count_hosts,
        )
        search.run()
        self.summaries = search.summaries
        for root, exc in search.unanswered.items():
            # A line a host, not one for each of its devices.
            self.failures.append(
                partial_result.Failure(
                    f'PCI devices of {self.roots[root]}', str(exc)
                )
            )
            for uuid in trees[root] - self.summaries.keys():
                self.done[uuid] = (self.named[uuid],)

    def read_each_device(self) -> None:
        """Ask about each device that is still missing."""
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
                    total=found['total'],
                    reserved=found['reserved'],
                    used=used.get(name, 0),
                )
                for name, found in inventories.items()
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
        """Return the hosts; asks where no summary told of them."""
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
                        'capacity': _capacity(found),
                        'used': used.get(name, 0),
                    }
                    for name, found in inventories.items()
                },
                'traits': traits,
            }
        return dataclasses.replace(
            host,
            resources=tuple(
                inventory.Resource(name, found['capacity'], found['used'])
                for name, found in sorted(summary['resources'].items())
            ),
            traits=tuple(sorted(summary['traits'])),
        )

    def ask(self, provider: str, what: str) -> dict[str, typing.Any]:
        """Return the inventories, usages or traits of a provider."""
        answered = self.reader.get(
            f'/resource_providers/{provider}/{what}',
            f'reading its {what}',
            {what: _OF_PROVIDER[what]},
        )
        return typing.cast(dict[str, typing.Any], answered[what])

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
                # It changed meanwhile; what there is now is read as one.
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
                (device for found in self.done.values() for device in found),
                key=inventory.order,
            )
        )

    def named_failures(self) -> tuple[partial_result.Failure, ...]:
        """Return what could not be read, sorted."""
        return tuple(sorted(self.failures, key=str))


def _capacity(record: totals.Summary) -> int:
    """Return what a summary would say of an inventory.

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
    raise exceptions.NotFound(f'Placement knows no compute host {host!r}')


def read_devices(
    placement: adapter.Adapter,
    *,
    host: str | None = None,
    resource_class: str | None = None,
    traits: collections.abc.Iterable[str] = (),
    count_hosts: candidates.CountHosts = lambda: None,
) -> partial_result.PartialResult[tuple[inventory.Device, ...]]:
    """Return the PCI devices that Placement knows, sorted by host.

    Used is what Placement holds, and so are total and reserved, with the
    inferences of :mod:`.totals`. A device that could not be read keeps its
    place, with None for its numbers, and the answer names it among the
    failures. A provider with several resource classes, which Nova never
    makes, gives a record for each.

    :param placement: The SDK proxy, ``connection.placement``.
    :param host: Hypervisor hostname of the only host to read.
    :param resource_class: The only resource class to return; a device whose
        class could not be read is returned too.
    :param traits: Traits that a device must all have.
    :param count_hosts: Tells how many hosts the cloud has, or None; asked
        where it helps to choose what to read.
    :raises gpuclient.exceptions.NotFound: Placement knows no such host.
    :raises gpuclient.exceptions.InvalidValue: Not the name of a trait.
    :raises gpuclient.exceptions.CloudError: The list of devices could not be
        read, so there is nothing to return.
    """
    read = _read(placement, host, resource_class, tuple(traits), count_hosts)
    return partial_result.PartialResult(read.devices(), read.named_failures())


def read_snapshot(
    placement: adapter.Adapter,
    *,
    host: str | None = None,
    count_hosts: candidates.CountHosts = lambda: None,
) -> partial_result.PartialResult[inventory.Snapshot]:
    """Return the PCI devices and the hosts that they are in.

    The same read as :func:`read_devices`, for the same requests: what a host
    has of memory and processors stands beside its devices. Only a host that
    has none of anything left costs three requests more.

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
    for trait in traits:
        # Placement gives ``!`` and ``,`` a meaning of their own.
        if not _TRAIT.fullmatch(trait):
            raise exceptions.InvalidValue(
                f'{trait!r} is not the name of a trait: capital letters, '
                'digits and underscores'
            )
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
