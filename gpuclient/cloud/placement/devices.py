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
   traits of each provider of a tree. A tree is in them while its host can
   still give the resource that was asked for, here a megabyte of memory.
   From 1.36 on the question can be narrowed to hosts that have PCI devices.

Hosts that the second read left out are asked for one by one (``in_tree``),
and devices still missing provider by provider. Inventories are read where
capacity alone does not tell total and reserved apart.
"""

import collections.abc
import dataclasses
import re
import typing

from keystoneauth1 import adapter

from gpuclient.cloud.placement import reader as placement_reader
from gpuclient import exceptions
from gpuclient.i18n import _
from gpuclient.model import answer
from gpuclient.model import inventory

#: What Nova puts on the provider of each PCI device
#: (nova/compute/pci_placement_translator.py:_get_traits_for_dev).
MANAGED = 'COMPUTE_MANAGED_PCI_DEVICE'
#: A device that Nova reserves for good once a server had it; always a whole
#: device (pci_placement_translator.py:PciResourceProvider.add_child).
ONE_TIME_USE = 'HW_PCI_ONE_TIME_USE'

#: Microversions that bring what we use.
_NESTED_CANDIDATES = (1, 29)
_IN_TREE_CANDIDATES = (1, 31)
_SAME_SUBTREE = (1, 36)

#: What nearly every compute node can still give a little of.
_RESOURCES = ('MEMORY_MB', 'VCPU', 'DISK_GB')
#: The same for a host that may have no memory left, or a single host.
_HOST_RESOURCES = ('VCPU', 'DISK_GB', 'MEMORY_MB')
#: As many hosts are sooner asked one by one than all hosts once more.
_FEW_HOSTS = 4

_TRAIT = re.compile(r'[A-Z0-9_]{1,255}')

Summary: typing.TypeAlias = dict[str, typing.Any]


class _Read:
    """One read of the devices, and what is known of them so far."""

    def __init__(
        self, reader: placement_reader.Reader, resource_class: str | None
    ) -> None:
        self.reader = reader
        self.resource_class = resource_class
        #: Records that hold names only, by provider id: the check list.
        self.named: dict[str, inventory.Device] = {}
        #: Summaries of allocation candidates, by provider id.
        self.summaries: dict[str, Summary] = {}
        #: Final records, by provider id: one a resource class, none where
        #: the provider has gone meanwhile.
        self.done: dict[str, tuple[inventory.Device, ...]] = {}
        #: Hypervisor hostname of each root provider.
        self.roots: dict[str, str] = {}
        #: Their summaries, by provider id.
        self.root_summaries: dict[str, Summary] = {}
        self.failures: list[answer.Failure] = []

    def missing(self) -> list[list[inventory.Device]]:
        """Return the devices that nothing is known of, a list a host."""
        trees: dict[str, list[inventory.Device]] = {}
        for uuid, device in self.named.items():
            if uuid not in self.summaries and uuid not in self.done:
                trees.setdefault(device.root_uuid, []).append(device)
        return list(trees.values())

    def wanted(self, name: str) -> bool:
        return self.resource_class in (name, None)

    def list_devices(self, host: str | None, traits: tuple[str, ...]) -> None:
        """Fill the check list."""
        params = {'required': ','.join((MANAGED, *traits))}
        if host is not None:
            params['in_tree'] = _root(self.reader, host)
        try:
            providers = self.reader.get(
                '/resource_providers', _('reading the PCI devices'), **params
            )['resource_providers']
        except exceptions.CloudError as exc:
            if exc.status == 400 and MANAGED in str(exc):
                raise exceptions.Unsupported(
                    _(
                        'Placement does not know the trait %(trait)s: this '
                        'cloud is too old to report PCI devices to Placement'
                    )
                    % {'trait': MANAGED},
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

    def _hosts(self, providers: list[Summary]) -> dict[str, str]:
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
                        _('reading resource provider %(id)s') % {'id': root},
                    )['name']
                except exceptions.CloudError as exc:
                    self.failures.append(
                        answer.Failure(_('name of host %s') % root, str(exc))
                    )
            hosts[root] = name or root
        return hosts

    def candidates(self, what: str, **params: str) -> None:
        """Learn the summaries of the hosts that can give a resource."""
        # No limit: it would cut hosts from the answer.
        found = self.reader.get('/allocation_candidates', what, **params)
        for uuid, summary in found['provider_summaries'].items():
            if uuid in self.named:
                self.summaries[uuid] = summary
            elif uuid in self.roots:
                self.root_summaries[uuid] = summary

    def read_all_hosts(self) -> None:
        """Ask about all hosts at once, while that is worth it."""
        enough = 1
        for resource in _RESOURCES:
            before = len(self.missing())
            if before <= enough or self.reader.version < _NESTED_CANDIDATES:
                return
            params = {'resources': f'{resource}:1'}
            if self.reader.version >= _SAME_SUBTREE:
                # The group without resources leaves out hosts that have no
                # PCI device.
                params = {
                    'resources_C': f'{resource}:1',
                    'required_G': MANAGED,
                    'same_subtree': '_C,_G',
                    'group_policy': 'none',
                }
            try:
                self.candidates(
                    _('reading the allocation candidates'), **params
                )
            except exceptions.CloudError:
                # There is another way to know: the hosts are asked one by
                # one, and say themselves what is wrong.
                return
            if 2 * len(self.missing()) > before:
                # The hosts are full, or the service caps its answer
                # ([placement]max_allocation_candidates).
                return
            enough = _FEW_HOSTS

    def read_each_host(self) -> None:
        """Ask about each host that the read of all hosts left out."""
        if self.reader.version >= _IN_TREE_CANDIDATES:
            self.reader.each(self._read_host, self.missing())

    def _read_host(self, devices: list[inventory.Device]) -> None:
        host = devices[0].host
        what = _('reading the allocation candidates of %s') % host
        for resource in _HOST_RESOURCES:
            try:
                self.candidates(
                    what,
                    resources=f'{resource}:1',
                    in_tree=devices[0].root_uuid,
                )
            except exceptions.CloudError as exc:
                if placement_reader.unanswered(exc):
                    # A line a host, not one for each of its devices.
                    self.failures.append(
                        answer.Failure(_('PCI devices of %s') % host, str(exc))
                    )
                    for device in devices:
                        self.done[device.uuid] = (device,)
                return
            if any(device.uuid in self.summaries for device in devices):
                return

    def read_each_device(self) -> None:
        """Ask about each device that is still missing."""
        self.reader.each(
            self._read_device,
            [device for devices in self.missing() for device in devices],
        )

    def _read_device(self, device: inventory.Device) -> None:
        try:
            inventories = self.ask(device.uuid, 'inventories')
            used = self.ask(device.uuid, 'usages')
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

    def read_hosts(self) -> tuple[inventory.Host, ...]:
        """Return the hosts; asks where no summary told of them."""
        hosts = self.reader.each(self._read_root, self.roots)
        return tuple(sorted(hosts, key=lambda host: (host.name, host.uuid)))

    def _read_root(self, uuid: str) -> inventory.Host:
        host = inventory.Host(uuid, self.roots[uuid])
        summary = self.root_summaries.get(uuid)
        if summary is None:
            try:
                inventories = self.ask(uuid, 'inventories')
                used = self.ask(uuid, 'usages')
                traits = self.ask(uuid, 'traits')
            except exceptions.CloudError as exc:
                self.failures.append(
                    answer.Failure(
                        _('resources of host %s') % host.name, str(exc)
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
            _('reading its %s') % what,
        )
        return typing.cast(dict[str, typing.Any], answered[what])

    def fail(
        self, device: inventory.Device, exc: exceptions.CloudError
    ) -> None:
        source = _('PCI device %(device)s of %(host)s') % {
            'device': device.address or device.name,
            'host': device.host,
        }
        self.failures.append(answer.Failure(source, str(exc)))

    def count(self) -> None:
        """Turn the summaries into records."""
        inventories: dict[str, dict[str, Summary] | None] = {}

        def read(uuid: str) -> None:
            try:
                inventories[uuid] = self.ask(uuid, 'inventories')
            except exceptions.NotFound:
                inventories[uuid] = {}
            except exceptions.CloudError as exc:
                self.fail(self.named[uuid], exc)
                inventories[uuid] = None

        while unclear := self._unclear(inventories):
            self.reader.each(read, sorted(unclear))
        for uuid, summary in self.summaries.items():
            device = dataclasses.replace(
                self.named[uuid], traits=tuple(sorted(summary['traits']))
            )
            self.done[uuid] = tuple(
                _counted(device, name, units, inventories)
                for name, units in summary['resources'].items()
                if self.wanted(name)
                and name in (inventories.get(uuid) or summary['resources'])
            )
            if inventories.get(uuid) == {}:
                self.done[uuid] = ()
            elif not summary['resources'] and self.resource_class is None:
                self.done[uuid] = (device,)

    def devices(self) -> tuple[inventory.Device, ...]:
        """Return the records, sorted by host and address."""
        return tuple(
            sorted(
                (device for found in self.done.values() for device in found),
                key=inventory.order,
            )
        )

    def named_failures(self) -> tuple[answer.Failure, ...]:
        """Return what could not be read, sorted."""
        return tuple(sorted(self.failures, key=str))

    def _unclear(
        self, inventories: dict[str, dict[str, Summary] | None]
    ) -> set[str]:
        """Return the providers whose inventories have to be read.

        A summary holds ``capacity``, which is total less reserved. A whole
        device has a total of one. The providers of a resource class are
        either all whole devices or all parents of virtual functions; the
        latter show themselves by more than one unit.
        """
        units = [
            (uuid, name, found)
            for uuid, summary in self.summaries.items()
            for name, found in summary['resources'].items()
            if self.wanted(name)
        ]
        shared = {name for _uuid, name, found in units if _several(found)} | {
            name
            for found in inventories.values()
            for name, record in (found or {}).items()
            if record['total'] > 1
        }
        return {
            uuid
            for uuid, name, found in units
            if uuid not in inventories
            and (
                name in shared
                or (
                    found['capacity'] == 0
                    and ONE_TIME_USE not in self.summaries[uuid]['traits']
                )
            )
        }


def _several(units: Summary) -> bool:
    return bool(units['capacity'] > 1 or units['used'] > 1)


def _counted(
    device: inventory.Device,
    name: str,
    units: Summary,
    inventories: dict[str, dict[str, Summary] | None],
) -> inventory.Device:
    total: int | None = 1
    reserved: int | None = 1 - units['capacity']
    if device.uuid in inventories:
        record = (inventories[device.uuid] or {}).get(name, {})
        total, reserved = record.get('total'), record.get('reserved')
    return dataclasses.replace(
        device,
        resource_class=name,
        total=total,
        reserved=reserved,
        used=units['used'],
    )


def _capacity(record: Summary) -> int:
    """Return what a summary would say of an inventory.

    As ``placement/objects/allocation_candidate.py:_build_provider_summaries``.
    """
    return int(
        (record['total'] - record['reserved']) * record['allocation_ratio']
    )


def _root(reader: placement_reader.Reader, host: str) -> str:
    """Return the id of the provider of a compute node."""
    providers = reader.get(
        '/resource_providers', _('finding host %s') % host, name=host
    )['resource_providers']
    for provider in providers:
        if provider['parent_provider_uuid'] is None:
            return str(provider['uuid'])
    raise exceptions.NotFound(
        _('Placement knows no compute host %(host)r') % {'host': host}
    )


def read_devices(
    placement: adapter.Adapter,
    *,
    host: str | None = None,
    resource_class: str | None = None,
    traits: collections.abc.Iterable[str] = (),
) -> answer.Answer[tuple[inventory.Device, ...]]:
    """Return the PCI devices that Placement knows, sorted by host.

    Total, reserved and used are what Placement holds, with one inference: a
    provider that shows one unit, in a resource class of which no provider
    shows more, is a whole device with a total of one. A device that could
    not be read keeps its place, with None for its numbers, and the answer
    names it among the failures. A provider with several resource classes,
    which Nova never makes, gives a record for each.

    :param placement: The SDK proxy, ``connection.placement``.
    :param host: Hypervisor hostname of the only host to read.
    :param resource_class: The only resource class to return; a device whose
        class could not be read is returned too.
    :param traits: Traits that a device must all have.
    :raises gpuclient.exceptions.NotFound: Placement knows no such host.
    :raises gpuclient.exceptions.InvalidValue: Not the name of a trait.
    :raises gpuclient.exceptions.CloudError: The list of devices could not be
        read, so there is nothing to return.
    """
    read = _read(placement, host, resource_class, tuple(traits))
    return answer.Answer(read.devices(), read.named_failures())


def read_snapshot(
    placement: adapter.Adapter, *, host: str | None = None
) -> answer.Answer[inventory.Snapshot]:
    """Return the PCI devices and the hosts that they are in.

    The same read as :func:`read_devices`, for the same requests: what a host
    has of memory and processors stands beside its devices. Only a host that
    has none of anything left costs three requests more.

    :raises gpuclient.exceptions.CloudError: As :func:`read_devices`.
    """
    read = _read(placement, host, None, ())
    hosts = read.read_hosts()
    return answer.Answer(
        inventory.Snapshot(read.devices(), hosts), read.named_failures()
    )


def _read(
    placement: adapter.Adapter,
    host: str | None,
    resource_class: str | None,
    traits: tuple[str, ...],
) -> _Read:
    for trait in traits:
        # Placement gives ``!`` and ``,`` a meaning of their own.
        if not _TRAIT.fullmatch(trait):
            raise exceptions.InvalidValue(
                _(
                    '%(trait)r is not the name of a trait: capital letters, '
                    'digits and underscores'
                )
                % {'trait': trait}
            )
    read = _Read(placement_reader.Reader(placement), resource_class)
    read.list_devices(host, traits)
    read.read_all_hosts()
    read.read_each_host()
    read.read_each_device()
    read.count()
    return read
