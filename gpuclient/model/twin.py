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

"""A twin: the hosts of a cloud as rows, for a nova-scheduler to decide about.

A trial is what :mod:`gpuclient.rehearsal.nova_worker.decide` reads: hosts,
resource providers and aggregates as an explanation knows them, and the request
for a server. What is not known is not rebuilt; :func:`missing` names it.
"""

import collections.abc
import dataclasses
import typing

from gpuclient.model import alias as alias_model
from gpuclient.model import capacity
from gpuclient.model import demand as demand_model
from gpuclient.model import explanation
from gpuclient.model import flavor as flavor_model
from gpuclient.model import image as image_model
from gpuclient.model import inventory
from gpuclient.model import nova_changes
from gpuclient.model import passthrough_filter
from gpuclient.model import release as release_model
from gpuclient.model import scheduler_filters
from gpuclient.model import scheduler_options

Row: typing.TypeAlias = dict[str, typing.Any]

_DISABLED = 'COMPUTE_STATUS_DISABLED'
#: Filters of which a twin has no facts.
UNKNOWN = {
    scheduler_filters.NUMA: 'NUMA nodes, CPUs and huge pages of hosts',
    'AggregateIoOpsFilter': 'the load of hosts',
    'AggregateNumInstancesFilter': 'the number of servers on hosts',
    'ComputeCapabilitiesFilter': 'capabilities of hosts',
    'DifferentHostFilter': 'scheduler hints',
    'IoOpsFilter': 'the load of hosts',
    'JsonFilter': 'scheduler hints',
    'MetricsFilter': 'metrics of hosts',
    'NumInstancesFilter': 'the number of servers on hosts',
    'SameHostFilter': 'scheduler hints',
    'SimpleCIDRAffinityFilter': 'scheduler hints',
}
#: Of services before Nova 34, which do not report OWNER_NOVA
#: (``nova/scheduler/request_filter.py:owner_nova_filter``).
_OLD_SERVICES = 72
#: What a host has of a resource whose amount is not known, or that others
#: share with it.
_PLENTY = 10**6
#: Of devices and of their alias, where neither is known.
_TYPE = 'type-PCI'
#: Hosts that are named.
_NAMES = 3


@dataclasses.dataclass(frozen=True)
class Request:
    """The request for a server."""

    flavor: flavor_model.Flavor
    image: image_model.Image | None
    restrictions: explanation.Restrictions
    volume_backed: bool = False

    def record(self, hosts: tuple[capacity.HostCapacity, ...]) -> Row:
        return {
            'flavor': {
                'name': self.flavor.name,
                'vcpus': self.flavor.vcpus,
                'memory_mb': self.flavor.ram,
                'root_gb': self.flavor.disk,
                'ephemeral_gb': self.flavor.ephemeral,
                'swap': self.flavor.swap,
                'extra_specs': self.flavor.extra_specs or {},
            },
            'image': {} if self.image is None else self.image.properties,
            'zone': self.restrictions.zone,
            'host': self._destination(hosts),
            'project_id': self.restrictions.project_id,
            'volume_backed': self.volume_backed,
        }

    def _destination(
        self, hosts: tuple[capacity.HostCapacity, ...]
    ) -> Row | None:
        wanted = self.restrictions.host
        for host in hosts:
            if wanted is not None and wanted in (
                host.node.name,
                host.service_host,
            ):
                return {
                    'service_host': _service_host(host),
                    'name': host.node.name,
                }
        return None


@dataclasses.dataclass(frozen=True)
class Twin:
    """What a twin is made of."""

    facts: explanation.Facts
    wanted: demand_model.Demand
    aliases: collections.abc.Mapping[str, alias_model.Alias]
    options: scheduler_options.SchedulerOptions
    release: release_model.Release

    def trial(
        self, hosts: tuple[capacity.HostCapacity, ...], request: Request
    ) -> Row:
        """Return a trial: the hosts as they are, or after a change."""
        groups = {
            group.uuid: group for host in hosts for group in host.aggregates
        }
        return {
            'hosts': [self._host(host) for host in hosts],
            'providers': [
                provider for host in hosts for provider in self._tree(host)
            ],
            'aggregates': [
                {
                    'uuid': group.uuid,
                    'name': group.name,
                    'hosts': sorted(
                        _service_host(host)
                        for host in hosts
                        if group in host.aggregates
                    ),
                    'metadata': group.metadata,
                }
                for group in groups.values()
            ],
            'old_services': self._old_services(),
            'request': request.record(hosts),
        }

    def _old_services(self) -> int:
        if self.facts.owner_required or not self.release.has(
            nova_changes.OWNER_NOVA
        ):
            return 0
        return _OLD_SERVICES

    def _host(self, host: capacity.HostCapacity) -> Row:
        return {
            'uuid': host.node.uuid,
            'name': host.node.name,
            'service_host': _service_host(host),
            'disabled': host.disabled,
            'down': host.down,
            'vcpus': _amount(host, 'VCPU'),
            'memory_mb': _amount(host, 'MEMORY_MB'),
            'disk_gb': _amount(host, 'DISK_GB'),
            'pools': list(map(self._pool, _whole(host))),
        }

    def _pool(self, device: inventory.Device) -> Row:
        """Return the device as nova-compute reports it to nova-scheduler."""
        facts = self._facts_of(device)
        alias = next(
            (
                alias
                for alias in self.aliases.values()
                if alias.placement_class == device.resource_class
            ),
            alias_model.Alias(''),
        )
        vendor, product = facts.ids or (
            (alias.vendor_id or '0000').lower(),
            (alias.product_id or '0000').lower(),
        )
        tags = {
            'dev_type': facts.device_type or alias.device_type or _TYPE,
            'rp_uuid': device.uuid,
        }
        migratable = facts.live_migratable
        if migratable is None:
            migratable = alias.live_migratable
        if migratable is not None:
            tags['live_migratable'] = str(migratable).lower()
        return {
            'vendor_id': vendor,
            'product_id': product,
            'tags': tags,
            'count': (device.total or 0) - (device.used or 0),
        }

    def _tree(
        self, host: capacity.HostCapacity
    ) -> collections.abc.Iterator[Row]:
        """Yield the providers of a host, the root first."""
        traits = {
            trait
            for trait in (*host.node.traits, *self.facts.with_trait)
            if self.facts.has_trait(host, trait)
        } - {_DISABLED}
        if _DISABLED in host.node.traits or host.disabled:
            traits.add(_DISABLED)
        yield {
            'uuid': host.node.uuid,
            'name': host.node.name,
            'host': _service_host(host),
            'parent': None,
            'traits': sorted(traits),
            'inventories': dict(self._resources(host)),
        }
        for device in _whole(host):
            yield {
                'uuid': device.uuid,
                'name': device.name,
                'host': _service_host(host),
                'parent': host.node.uuid,
                'traits': sorted(filter(_is_trait, device.traits)),
                'inventories': {
                    device.resource_class: _inventory(
                        device.total or 0, device.used or 0, device.reserved
                    )
                },
            }

    def _resources(
        self, host: capacity.HostCapacity
    ) -> collections.abc.Iterator[tuple[str, Row]]:
        for resource in host.node.resources or ():
            total = max(resource.capacity, resource.used)
            if total > 0:
                yield (
                    resource.resource_class,
                    {
                        **_inventory(total, max(0, resource.used)),
                        'min_unit': resource.min_unit,
                        'max_unit': resource.max_unit or total,
                        'step_size': resource.step_size,
                    },
                )
        for name, amount in self._amounts():
            if host.node.resource(name) is None and (
                name in self.facts.shared
                or (
                    host.node.resources is None
                    and self.facts.provides(host, name, amount)
                )
            ):
                yield name, _inventory(_PLENTY, 0)

    def _amounts(self) -> list[tuple[str, int]]:
        amounts = list(self.wanted.resources.items())
        if self.wanted.vcpus_in_place_of_pcpus:
            amounts.append(('VCPU', self.wanted.vcpus_in_place_of_pcpus))
        return amounts

    def config(self) -> str:
        """Return the configuration of the services of a twin."""
        options = self.options
        lines = [
            '[DEFAULT]',
            'service_down_time = 86400',
            '[filter_scheduler]',
            'track_instance_changes = False',
            f'enabled_filters = {",".join(self.filters())}',
            *self._filter_options(),
        ]
        if self.release.has(nova_changes.PCI_IN_PLACEMENT):
            lines.append('pci_in_placement = True')
        lines.append('[scheduler]')
        for name, value in (
            (
                'enable_isolated_aggregate_filtering',
                options.isolates_aggregates,
            ),
            ('limit_tenants_to_placement_aggregate', options.limits_tenants),
            (
                'placement_aggregate_required_for_tenants',
                options.tenants_need_aggregate,
            ),
            ('max_placement_results', options.max_placement_results),
        ):
            if value is not None:
                lines.append(f'{name} = {value}')
        lines += [
            '[workarounds]',
            f'disable_fallback_pcpu_query = {bool(options.no_pcpu_fallback)}',
            '[pci]',
            *(f'alias = {alias.render()}' for alias in self.aliases.values()),
        ]
        return '\n'.join(lines) + '\n'

    def _filter_options(self) -> collections.abc.Iterator[str]:
        """Yield options of filters that differ from the default."""
        options = self.options.of_filters
        isolation = 'aggregate_image_properties_isolation'
        if options.isolated_hosts:
            hosts = ','.join(sorted(options.isolated_hosts))
            yield f'isolated_hosts = {hosts}'
        if options.isolated_images:
            images = ','.join(sorted(options.isolated_images))
            yield f'isolated_images = {images}'
        if options.restricts_isolated_hosts is False:
            yield 'restrict_isolated_hosts_to_isolated_images = False'
        if options.image_architecture:
            yield (
                f'image_properties_default_architecture = '
                f'{options.image_architecture}'
            )
        if options.properties_namespace:
            yield f'{isolation}_namespace = {options.properties_namespace}'
            yield f'{isolation}_separator = {options.properties_separator}'

    def filters(self) -> tuple[str, ...]:
        """Return the filters that decide in a twin, in a fixed order."""
        enabled = self.options.filters
        if enabled is None:
            enabled = frozenset(
                (*scheduler_filters.DEFAULT, scheduler_filters.PCI)
            )
        known = scheduler_filters.of_nova(self.release) - UNKNOWN.keys()
        return tuple(sorted(enabled & known))

    def spec(self) -> Row:
        """Return the spec of the rehearsal cloud."""
        return {'control_plane': {'config': self.config()}, 'hosts': []}

    def assumed(
        self,
    ) -> dict[tuple[str, str], list[inventory.Device]]:
        """Return the devices of which nova-scheduler compares an assumption.

        By the alias that they may be assigned for, and by what is assumed.
        """
        concerned: dict[tuple[str, str], list[inventory.Device]] = {}
        for name, alias in self.aliases.items():
            for host in self.facts.hosts:
                for device in _whole(host):
                    if device.resource_class != alias.placement_class:
                        continue
                    facts = self._facts_of(device)
                    for fact in passthrough_filter.unknown(alias, facts):
                        concerned.setdefault((name, fact), []).append(device)
        return concerned

    def _assumptions(self) -> collections.abc.Iterator[str]:
        for (name, fact), devices in self.assumed().items():
            alias = self.aliases[name]
            value = {
                'device type': alias.device_type or _TYPE,
                'IDs': f'{alias.vendor_id}:{alias.product_id}',
                'live_migratable': str(alias.live_migratable).lower(),
            }[fact]
            hosts = sorted({device.host for device in devices})
            listed = ', '.join(hosts[:_NAMES])
            if more := len(hosts) - _NAMES:
                listed += f' and {more} more' if more > 0 else ''
            number = f'{len(devices)} device{"s"[: len(devices) > 1]}'
            yield (
                f'{fact} of {number} on {listed} ({value} is assumed, which '
                f'alias {name} matches; a host bundle shows it)'
            )

    def _facts_of(
        self, device: inventory.Device
    ) -> passthrough_filter.DeviceFacts:
        return self.facts.devices.get(
            device.uuid
        ) or passthrough_filter.facts_of(device, self.release)

    def missing(self) -> list[str]:
        """Return what a twin does not have."""
        enabled = self.options.filters or {scheduler_filters.NUMA}
        known = scheduler_filters.of_nova(self.release)
        names = [
            f'{UNKNOWN[name]} ({name})'
            for name in sorted(enabled)
            if name in UNKNOWN
        ]
        names += [
            f'the filter {name}, which is none of Nova'
            for name in sorted(enabled - known)
        ]
        if self.facts.shared:
            names.append(
                f'shared providers of {", ".join(sorted(self.facts.shared))}: '
                'each host has its own'
            )
        unread = [
            device.address or device.name
            for host in self.facts.hosts
            for device in host.devices
            if device.total is None
        ]
        if unread:
            names.append(f'devices that could not be read: {len(unread)}')
        names += self._assumptions()
        return names


def _service_host(host: capacity.HostCapacity) -> str:
    return host.service_host or host.node.name


def _amount(host: capacity.HostCapacity, name: str) -> int:
    resource = host.node.resource(name)
    return _PLENTY if resource is None else resource.capacity


def _whole(
    host: capacity.HostCapacity,
) -> collections.abc.Iterator[inventory.Device]:
    """Yield the devices that were read, and have units."""
    for device in host.devices:
        if device.total and device.resource_class is not None:
            yield device


def _is_trait(name: str) -> bool:
    # Explanations mark devices with texts among their traits.
    return name.replace('_', '').isalnum()


def _inventory(total: int, used: int, reserved: int | None = 0) -> Row:
    return {
        'total': total,
        'reserved': reserved or 0,
        'min_unit': 1,
        'max_unit': total,
        'step_size': 1,
        'used': used,
    }


@dataclasses.dataclass(frozen=True)
class Change:
    """The request and the hosts after a suggestion."""

    request: Request
    hosts: tuple[capacity.HostCapacity, ...]


def require(request: Request, traits: frozenset[str]) -> Request:
    """Return a request whose flavor also requires some traits."""
    flavor = request.flavor
    specs = {f'trait:{trait}': 'required' for trait in sorted(traits)}
    return dataclasses.replace(
        request,
        flavor=dataclasses.replace(
            flavor, extra_specs={**(flavor.extra_specs or {}), **specs}
        ),
    )


def give_up(
    condition: explanation.Condition,
    request: Request,
    hosts: tuple[capacity.HostCapacity, ...],
) -> Change | None:
    """Return a request without a condition; None if that cannot be tried."""
    kind, _colon, name = condition.key.partition(':')
    if kind == 'zone':
        return Change(_elsewhere(request, zone=None), hosts)
    if kind == 'host':
        return Change(_elsewhere(request, host=None), hosts)
    if kind == 'trait':
        key = f'trait:{name.removeprefix("!")}'
        changed = _without_property(request, key)
        # Nova adds other traits, for other properties.
        return None if changed == request else Change(changed, hosts)
    if condition.is_of_node:
        # Nova would request what the flavor has instead.
        return None
    if kind == 'devices' and name not in (request.flavor.aliases or {}):
        changed = _without_property(request, name)
        return None if changed == request else Change(changed, hosts)
    return lower(condition, 0, request, hosts)


def lower(
    condition: explanation.Condition,
    amount: int,
    request: Request,
    hosts: tuple[capacity.HostCapacity, ...],
) -> Change | None:
    """Return a request with another amount; None if that cannot be tried.

    :param amount: Devices of an alias, or units of a resource class.
    """
    kind, _colon, name = condition.key.partition(':')
    flavor = request.flavor
    specs = dict(flavor.extra_specs or {})
    if kind == 'resource' and name in ('VCPU', 'MEMORY_MB', 'DISK_GB'):
        specs[f'resources:{name}'] = str(amount)
    elif kind == 'resource' and name == 'PCPU' and amount:
        flavor = dataclasses.replace(flavor, vcpus=amount)
    elif kind == 'devices' and name in (flavor.aliases or {}):
        aliases = {**(flavor.aliases or {}), name: amount}
        specs[flavor_model.ALIASES] = ','.join(
            f'{alias}:{count}' for alias, count in aliases.items() if count
        )
        if not specs[flavor_model.ALIASES]:
            del specs[flavor_model.ALIASES]
    else:
        return None
    return Change(
        dataclasses.replace(
            request, flavor=dataclasses.replace(flavor, extra_specs=specs)
        ),
        hosts,
    )


def lower_all(
    lowered: collections.abc.Iterable[tuple[explanation.Condition, int]],
    request: Request,
    hosts: tuple[capacity.HostCapacity, ...],
) -> Change | None:
    """Return a request with other amounts; None if one cannot be tried."""
    change: Change | None = Change(request, hosts)
    for condition, amount in lowered:
        if change is not None:
            change = lower(condition, amount, change.request, hosts)
    return change


def _without_property(request: Request, key: str) -> Request:
    """Return a request whose flavor and image do not have a property."""
    flavor, image = request.flavor, request.image
    if key in (flavor.extra_specs or {}):
        flavor = dataclasses.replace(
            flavor, extra_specs=_without(flavor.extra_specs or {}, key)
        )
    if image is not None and key in image.properties:
        image = dataclasses.replace(
            image, properties=_without(image.properties, key)
        )
    return dataclasses.replace(request, flavor=flavor, image=image)


def _without(properties: dict[str, str], key: str) -> dict[str, str]:
    return {name: value for name, value in properties.items() if name != key}


def _elsewhere(request: Request, **changes: typing.Any) -> Request:
    return dataclasses.replace(
        request,
        restrictions=dataclasses.replace(request.restrictions, **changes),
    )
