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

"""What Nova requests from Placement for a server of a flavor.

This follows ``nova/scheduler/utils.py:ResourceRequest.from_request_spec`` and
``nova/objects/request_spec.py:generate_request_groups_from_pci_requests``, for
an image without properties unless one is given. :attr:`Demand.at_most` has
what Nova matches besides, on the host or by options that no API shows.
"""

import collections.abc
import dataclasses
import re

from gpuclient import exceptions
from gpuclient.model import alias as alias_model
from gpuclient.model import boolean
from gpuclient.model import boot_validation
from gpuclient.model import catalogue
from gpuclient.model import flavor as flavor_model
from gpuclient.model import image as image_model
from gpuclient.model import nova_changes
from gpuclient.model import release as release_model

#: Prefix of the resource classes of persistent memory.
PMEM = 'CUSTOM_PMEM_NAMESPACE_'

#: Ends the doubt of an alias whose type no known device has.
NO_DEVICE = ': then no server gets a device'
_HYPERTHREADING = 'HW_CPU_HYPERTHREADING'
#: Traits that Nova requests with PCPU, but not with VCPU as a fallback.
OF_PINNED_CPUS = frozenset({_HYPERTHREADING})
_SOCKET = 'COMPUTE_SOCKET_PCI_NUMA_AFFINITY'
_ENCRYPTION = 'COMPUTE_EPHEMERAL_ENCRYPTION'
_MAXPHYSADDR = {
    'passthrough': 'COMPUTE_ADDRESS_SPACE_PASSTHROUGH',
    'emulate': 'COMPUTE_ADDRESS_SPACE_EMULATED',
}
#: Properties that exclude no host if their values are valid
#: (:mod:`gpuclient.model.boot_validation`).
_NEUTRAL = frozenset(
    {
        'group_policy',
        'hide_hypervisor_id',
        'hw:boot_menu',
        'hw:cpu_cores',
        'hw:cpu_max_cores',
        'hw:cpu_max_sockets',
        'hw:cpu_max_threads',
        'hw:cpu_policy',
        'hw:cpu_sockets',
        'hw:cpu_thread_policy',
        'hw:cpu_threads',
        'hw:emulator_threads_policy',
        'hw:hide_hypervisor_id',
        'hw:maxphysaddr_mode',
        'hw:mem_encryption',
        'hw:mem_encryption_model',
        'hw:pmu',
        'hw:serial_port_count',
        'hw:vif_multiqueue_enabled',
        'hw:virtio_packed_ring',
        'hw_rng:allowed',
        'hw_rng:rate_bytes',
        'hw_rng:rate_period',
        flavor_model.ALIASES,
        flavor_model.NUMA_POLICY,
    }
)
#: Properties that take effect only with others, which are evaluated.
_SECONDARY = re.compile(
    r'hw:(cpu_dedicated_mask|cpu_realtime|cpu_realtime_mask|locked_memory|'
    r'mem_page_size|numa_nodes|numa_cpus\.[0-9]+|numa_mem\.[0-9]+|pmem)|'
    r'pci_passthrough:.*|quota:.*'
)


@dataclasses.dataclass(frozen=True)
class DeviceRequest:
    """A request for devices: a number of units from each of some providers."""

    #: The alias, or the key of the flavor, that requests them.
    name: str
    resource_class: str
    traits: frozenset[str] = frozenset()
    #: Number of providers.
    count: int = 1
    #: Units from each provider.
    units: int = 1
    forbidden: frozenset[str] = frozenset()
    #: Other classes of the same provider, and their units.
    beside: tuple[tuple[str, int], ...] = ()
    #: Whether an alias requests them.
    by_alias: bool = False

    @property
    def resources(self) -> dict[str, int]:
        return {self.resource_class: self.units, **dict(self.beside)}


@dataclasses.dataclass(frozen=True)
class Demand:
    """What Nova requests from Placement when a server is created."""

    #: The unsuffixed request group, by resource class.
    resources: dict[str, int]
    devices: tuple[DeviceRequest, ...]
    required: frozenset[str] = frozenset()
    forbidden: frozenset[str] = frozenset()
    #: Devices of one server come from different providers.
    isolate: bool = False
    #: What only Nova matches on the host, or what is not known, so that fewer
    #: servers may fit than Placement allows; empty if it is exact.
    at_most: tuple[str, ...] = ()
    #: Those of :attr:`at_most` that filters of nova-scheduler decide
    #: (:mod:`gpuclient.model.host_filters`).
    of_filters: frozenset[str] = frozenset()
    #: Why no server can be created; empty if one can.
    refusal: str = ''
    #: VCPU that Nova requests instead of PCPU, for hosts that report no PCPU
    #: (``nova/scheduler/manager.py:select_destinations``).
    vcpus_in_place_of_pcpus: int = 0
    #: Resource classes of aliases that are requested zero times.
    empty_requests: frozenset[str] = frozenset()
    #: Traits that any request group requires, which include hosts in an
    #: aggregate that is isolated for them.
    all_required: frozenset[str] = frozenset()
    #: Traits of :attr:`required` that the image requires.
    of_image: frozenset[str] = frozenset()
    #: The ``group_policy`` of the flavor, if it is valid.
    group_policy: str | None = None

    @property
    def of_node(self) -> dict[str, int]:
        """The most units of each class that come from the compute node."""
        most = dict(self.resources)
        for request in self.devices:
            for name, amount in request.resources.items():
                if not request.by_alias:
                    most[name] = most.get(name, 0) + amount
        if self.vcpus_in_place_of_pcpus:
            most['VCPU'] = most.get('VCPU', 0) + self.vcpus_in_place_of_pcpus
        return most

    @property
    def classes(self) -> frozenset[str]:
        """All resource classes that are requested."""
        return frozenset(self.resources).union(
            self.empty_requests,
            *(request.resources for request in self.devices),
        )


@dataclasses.dataclass
class _Group:
    """``nova/objects/request_spec.py:RequestGroup``"""

    resources: dict[str, int] = dataclasses.field(default_factory=dict)
    required: set[str] = dataclasses.field(default_factory=set)
    forbidden: set[str] = dataclasses.field(default_factory=set)

    def request(self, name: str, value: str | int) -> None:
        amount = flavor_model.parse_amount(value)
        if amount is not None and flavor_model.is_resource_class(name):
            self.resources[name] = amount

    def trait(self, name: str, value: str) -> None:
        if value == 'required':
            self.required.add(name)
        elif value == 'forbidden':
            self.forbidden.add(name)


def demand(
    flavor: flavor_model.Flavor,
    aliases: collections.abc.Mapping[str, alias_model.Alias],
    *,
    image: image_model.Image | None = None,
    volume_backed: bool = False,
    release: release_model.Release | None = None,
) -> Demand:
    """Return what Nova requests for a server of a flavor.

    :param aliases: Definitions of aliases, by name.
    :param image: The image of the server; one without properties by default.
    :param volume_backed: Whether the root disk is a volume.
    :param release: The release of Nova; the newest by default.
    :raises gpuclient.exceptions.NotFound: The flavor requests an alias that
        has no definition.
    """
    release = release or release_model.newest()
    if image is not None:
        try:
            flavor = image_model.merge(flavor, image)
        except exceptions.InvalidValue as exc:
            reason = f'nova-api refuses the flavor with this image: {exc}'
            return Demand({}, (), refusal=reason)
    if volume_backed:
        flavor = dataclasses.replace(flavor, disk=0)
    validated = boot_validation.validate(flavor, release)
    if validated.refusal is not None:
        return Demand({}, (), refusal=str(validated.refusal))
    wanted = _demand(
        flavor,
        aliases,
        validated,
        release,
        frozenset() if image is None else image.traits,
    )
    if image is None:
        return wanted
    return dataclasses.replace(
        wanted,
        of_image=image.traits,
        at_most=(*wanted.at_most, *_doubts_of_image(image)),
        of_filters=wanted.of_filters.union(_doubts_of_image(image)),
    )


def require(wanted: Demand, traits: frozenset[str]) -> Demand:
    """Return what a flavor requests that also requires some traits."""
    return dataclasses.replace(
        wanted,
        required=wanted.required | traits,
        all_required=wanted.all_required | traits,
    )


def _doubts_of_image(
    image: image_model.Image,
) -> collections.abc.Iterator[str]:
    """Yield what ``nova/scheduler/filters/image_props_filter.py`` matches."""
    for key in image.filtered:
        yield (
            f'ImagePropertiesFilter excludes hosts that do not support '
            f'{key} = {image.properties[key]} of the image'
        )


def _demand(
    flavor: flavor_model.Flavor,
    aliases: collections.abc.Mapping[str, alias_model.Alias],
    validated: boot_validation.Validated,
    release: release_model.Release,
    of_image: frozenset[str],
) -> Demand:
    """Return what Nova requests for a flavor that it accepts.

    :param of_image: Traits that the image requires.
    """
    specs = boot_validation.read_specs(flavor.extra_specs or {}, release)
    groups = _groups(specs)
    own = groups.setdefault('', _Group())
    in_flavor = len(groups) - 1
    pinned = _add_cpus(flavor, specs, own)
    _add_flavor(flavor, groups)
    _add_traits(specs, own, release)
    own.required |= of_image
    _add_vpmems(specs, own)
    devices = [*_of_groups(groups), *_of_aliases(flavor, aliases)]
    of_filters = tuple(_doubts_of_filters(specs))
    policy = specs.get('group_policy')
    required = own.required
    resources = {
        name: amount for name, amount in own.resources.items() if amount
    }
    return Demand(
        resources,
        tuple(devices),
        frozenset(required),
        frozenset(own.forbidden),
        isolate=policy == 'isolate',
        at_most=(
            *_matched_on_the_host(specs, validated),
            *of_filters,
            *_doubts_of_properties(specs),
            *_doubts_of_aliases(flavor, aliases),
            *_doubts_of_both(devices, resources),
            *_doubts_of_groups(
                devices, resources, required | own.forbidden, policy
            ),
        ),
        of_filters=frozenset(of_filters),
        refusal=_refused_by_placement(
            groups,
            in_flavor,
            sum(request.count for request in devices),
            policy,
        ),
        vcpus_in_place_of_pcpus=flavor.vcpus if pinned else 0,
        empty_requests=_empty_requests(flavor, aliases),
        all_required=frozenset(required).union(
            *(request.traits for request in devices),
            *(group.required for group in groups.values()),
        ),
        group_policy=policy if policy in ('none', 'isolate') else None,
    )


def _empty_requests(
    flavor: flavor_model.Flavor,
    aliases: collections.abc.Mapping[str, alias_model.Alias],
) -> frozenset[str]:
    """Return the resource classes of aliases of which 0 are requested."""
    return frozenset(
        aliases[name].placement_class or ''
        for name, count in (flavor.aliases or {}).items()
        if not count
    )


def _add_vpmems(
    specs: collections.abc.Mapping[str, str], group: _Group
) -> None:
    """Add the namespaces of persistent memory, each of its own class."""
    for label in boot_validation.vpmems(specs):
        name = flavor_model.normalized_class(f'PMEM_NAMESPACE_{label}')
        group.resources[name] = group.resources.get(name, 0) + 1


def _groups(specs: collections.abc.Mapping[str, str]) -> dict[str, _Group]:
    """Return the request groups of a flavor by suffix."""
    groups: dict[str, _Group] = {}
    for key, value in specs.items():
        match = flavor_model.GROUP_KEY.fullmatch(key)
        if match is None:
            continue
        group = groups.setdefault(match['suffix'] or '', _Group())
        if match['kind'] == 'resources':
            group.request(match['name'], value)
        else:
            group.trait(match['name'], value)
    return groups


def _add_cpus(
    flavor: flavor_model.Flavor,
    specs: collections.abc.Mapping[str, str],
    own: _Group,
) -> bool:
    """Request pinned CPUs; return whether all of them are pinned.

    ``nova/scheduler/utils.py:ResourceRequest._translate_pinning_policies``
    """
    policy = specs.get('hw:cpu_policy')
    if policy in boot_validation.PINNED:
        pinned = flavor.vcpus
        if policy == 'mixed':
            pinned = len(boot_validation.dedicated_cpus(flavor, specs))
            own.request('VCPU', flavor.vcpus - pinned)
        if specs.get('hw:emulator_threads_policy') == 'isolate':
            pinned += 1
        own.request('PCPU', pinned)
    threads = specs.get('hw:cpu_thread_policy')
    if threads == 'require':
        own.required.add(_HYPERTHREADING)
    elif threads == 'isolate':
        own.forbidden.add(_HYPERTHREADING)
    return policy == 'dedicated'


def _add_flavor(
    flavor: flavor_model.Flavor, groups: dict[str, _Group]
) -> None:
    """Request the resources of the flavor that no request group overrides."""
    named = {name for group in groups.values() for name in group.resources}
    # Swap is in MiB (nova/compute/utils.py:convert_mb_to_ceil_gb).
    disk = flavor.disk + flavor.ephemeral + -(-flavor.swap // 1024)
    own = groups['']
    if not named & {'VCPU', 'PCPU'}:
        own.request('VCPU', flavor.vcpus)
    for name, amount in (('MEMORY_MB', flavor.ram), ('DISK_GB', disk)):
        if name not in named:
            own.request(name, amount)


def _add_traits(
    specs: collections.abc.Mapping[str, str],
    own: _Group,
    release: release_model.Release,
) -> None:
    """``nova/scheduler/utils.py:ResourceRequest._translate_*_request``, and
    ``nova/scheduler/request_filter.py``."""
    if specs.get(flavor_model.NUMA_POLICY) == 'socket':
        own.required.add(_SOCKET)
    mode = _MAXPHYSADDR.get(specs.get('hw:maxphysaddr_mode', ''))
    if mode is not None:
        own.required.add(mode)
    if specs.get('os:secure_boot') == 'required':
        own.required.add('COMPUTE_SECURITY_UEFI_SECURE_BOOT')
    if specs.get('hw:sound_model') == 'virtio':
        own.required.add('COMPUTE_SOUND_MODEL_VIRTIO')
    if boolean.is_true(specs.get('hw:virtio_packed_ring')):
        own.required.add('COMPUTE_NET_VIRTIO_PACKED')
    if boolean.is_true(specs.get('hw:ephemeral_encryption')):
        own.required.add(_ENCRYPTION)
        form = specs.get('hw:ephemeral_encryption_format')
        if form:
            own.required.add(f'{_ENCRYPTION}_{form.upper()}')
    version = specs.get('hw:tpm_version')
    if version:
        own.required.add(f'COMPUTE_SECURITY_TPM_{version.replace(".", "_")}')
        if release.has(nova_changes.TPM_MODEL_TRAIT):
            model = 'CRB' if specs.get('hw:tpm_model') == 'tpm-crb' else 'TIS'
            own.required.add(f'COMPUTE_SECURITY_TPM_{model}')
        if release.has(nova_changes.TPM_SECRET_SECURITY):
            security = specs.get('hw:tpm_secret_security') or 'user'
            own.required.add(
                f'COMPUTE_SECURITY_TPM_SECRET_SECURITY_{security.upper()}'
            )


def _of_groups(
    groups: collections.abc.Mapping[str, _Group],
) -> collections.abc.Iterator[DeviceRequest]:
    for suffix, group in groups.items():
        wanted = [
            (name, amount)
            for name, amount in group.resources.items()
            if amount
        ]
        if suffix and wanted:
            (name, amount), *others = wanted
            yield DeviceRequest(
                f'resources{suffix}:{name}',
                name,
                frozenset(group.required),
                units=amount,
                forbidden=frozenset(group.forbidden),
                beside=tuple(others),
            )


def _of_aliases(
    flavor: flavor_model.Flavor,
    aliases: collections.abc.Mapping[str, alias_model.Alias],
) -> collections.abc.Iterator[DeviceRequest]:
    for name, count in (flavor.aliases or {}).items():
        alias = aliases.get(name)
        if alias is None or alias.placement_class is None:
            raise exceptions.NotFound(
                f'The definition of alias {name!r} is not known: pass the '
                f'file that defines it with --config'
            )
        if count:
            yield DeviceRequest(
                name,
                alias.placement_class,
                alias.placement_traits,
                count,
                by_alias=True,
            )


def refused_by_placement(flavor: flavor_model.Flavor) -> str:
    """Return why Placement refuses a request; empty if it does not.

    This does not depend on the definitions of the aliases.
    """
    specs = flavor.extra_specs or {}
    groups = _groups(specs)
    in_flavor = len(groups.keys() - {''})
    own = groups.setdefault('', _Group())
    _add_cpus(flavor, specs, own)
    _add_flavor(flavor, groups)
    return _refused_by_placement(
        groups,
        in_flavor,
        sum(1 for _request in _of_groups(groups))
        + sum((flavor.aliases or {}).values()),
        specs.get('group_policy'),
    )


def _refused_by_placement(
    groups: collections.abc.Mapping[str, _Group],
    in_flavor: int,
    requests: int,
    policy: str | None,
) -> str:
    """Return why Placement refuses the request; empty if it does not.

    Nova handles the error as no allocation candidates: ``No valid host``.
    """
    for suffix, group in groups.items():
        if not any(group.resources.values()) and (
            group.required or group.forbidden
        ):
            return (
                f'Placement refuses the request: group "trait{suffix}:" has '
                f'traits and no resources'
            )
        both = group.required & group.forbidden
        if both:
            return (
                f'Placement refuses the request: group "trait{suffix}:" '
                f'requires and forbids {min(both)}, which the flavor, its '
                f'image or a property of them requires'
            )
    # nova/scheduler/utils.py:resources_from_request_spec
    if in_flavor > 1 and requests > 1 and policy not in ('none', 'isolate'):
        return (
            'Placement refuses the request: the flavor has several numbered '
            'groups of resources and no group_policy'
        )
    return ''


def _matched_on_the_host(
    specs: collections.abc.Mapping[str, str],
    validated: boot_validation.Validated,
) -> collections.abc.Iterator[str]:
    if validated.has_topology:
        yield 'Nova matches NUMA nodes on the host'
        if specs.get('hw:mem_page_size', 'any') not in ('small', 'any', ''):
            yield 'Nova matches huge pages on the host'
    if specs.get('hw:tpm_version') or specs.get('os:secure_boot') == (
        'required'
    ):
        yield 'the virt driver must support the requested firmware'


def _doubts_of_filters(
    specs: collections.abc.Mapping[str, str],
) -> collections.abc.Iterator[str]:
    """Yield what filters match of the properties of a flavor."""
    for key in sorted(specs.keys() - _NEUTRAL):
        scope = key.split(':')[0]
        if scope == 'capabilities' or key == 'hw:maxphysaddr_bits':
            yield f'Nova matches {key} on the host'
        elif scope == 'aggregate_instance_extra_specs' or scope == key:
            yield (
                f'a filter of nova-scheduler may match {key}, and no API '
                f'shows which filters are enabled'
            )


def _doubts_of_properties(
    specs: collections.abc.Mapping[str, str],
) -> collections.abc.Iterator[str]:
    for key in sorted(specs):
        if key in _NEUTRAL or _SECONDARY.fullmatch(key):
            continue
        if flavor_model.GROUP_KEY.fullmatch(key) or key.startswith(
            ('hw:maxphysaddr_bits', 'hw:tpm_', 'os:secure_boot')
        ):
            continue
        if key.split(':')[0] not in (
            'capabilities',
            'aggregate_instance_extra_specs',
            key,
        ):
            yield f'{key} is unknown and may exclude hosts'


def _doubts_of_aliases(
    flavor: flavor_model.Flavor,
    aliases: collections.abc.Mapping[str, alias_model.Alias],
) -> collections.abc.Iterator[str]:
    """Yield what Nova matches besides the class and traits of devices.

    ``nova/pci/stats.py:PciDeviceStats._filter_pools``
    """
    for name, count in (flavor.aliases or {}).items():
        alias = aliases[name]
        if not count:
            yield (
                f'{name}:{count} requests no device, but a host with a free '
                f'device'
            )
        if alias.has_ids and alias.resource_class:
            yield (
                f'alias {name} names {alias.vendor_id}:{alias.product_id}, '
                f'and Placement does not show whether all devices of class '
                f'{alias.placement_class} have these IDs'
            )
        if alias.live_migratable is not None:
            yield (
                f'alias {name} sets live_migratable, which Nova matches on '
                f'the host'
            )


def device_type_doubt(
    alias: alias_model.Alias, totals: collections.abc.Collection[int | None]
) -> str:
    """Return why an alias may not match the device type of devices.

    Placement does not report device types. A provider with several units has
    VFs (``nova/compute/pci_placement_translator.py``); the types of other
    devices are in the catalogue.

    :param totals: Units of each device.
    :returns: Empty if the alias matches.
    """
    requested = alias.device_type
    if all(total is not None and total > 1 for total in totals):
        types: tuple[str, ...] = ('type-VF',)
        source = 'the devices are VFs'
    else:
        types = _types_of_models(alias)
        source = f'the catalogue says {" or ".join(types)}'
    # An alias without a device type matches no PF (nova/pci/stats.py).
    fitting = [
        kind
        for kind in types
        if kind == requested or (requested is None and kind != 'type-PF')
    ]
    if types and len(fitting) == len(types):
        return ''
    mismatch = f'alias {alias.name} requests ' + (
        f'device_type {requested}'
        if requested
        else 'no device_type, which matches no type-PF'
    )
    if not types:
        return f'{mismatch}, and the type of these devices is not known'
    if not fitting:
        return f'{mismatch}, and {source}{NO_DEVICE}'
    return f'{mismatch}, and {source}'


def _types_of_models(alias: alias_model.Alias) -> tuple[str, ...]:
    ids = (alias.vendor_id, alias.product_id)
    if not alias.has_ids:
        match = re.fullmatch(
            'CUSTOM_PCI_([0-9A-F]{4})_([0-9A-F]{4})',
            alias.placement_class or '',
        )
        if match is None:
            return ()
        ids = (match[1], match[2])
    models = catalogue.builtin().by_ids(*ids)
    if not all(model.device_types for model in models):
        return ()
    return tuple(
        dict.fromkeys(kind for model in models for kind in model.device_types)
    )


def _doubts_of_both(
    devices: collections.abc.Sequence[DeviceRequest],
    resources: collections.abc.Mapping[str, int],
) -> collections.abc.Iterator[str]:
    """Yield a doubt if devices are requested by alias and by class."""
    if not any(request.by_alias for request in devices):
        return
    named = [
        f'resources:{name}'
        for name in resources
        if name not in flavor_model.OF_THE_NODE
    ] + [
        request.name
        for request in devices
        if not request.by_alias
        and not set(request.resources) <= set(flavor_model.OF_THE_NODE)
    ]
    if named:
        yield (
            f'devices are requested by alias and by {", ".join(named)}, and '
            f'Nova attaches only those of the alias'
        )


def _doubts_of_groups(
    devices: collections.abc.Sequence[DeviceRequest],
    resources: collections.abc.Mapping[str, int],
    traits: collections.abc.Set[str],
    policy: str | None,
) -> collections.abc.Iterator[str]:
    """Yield requests for which more servers are counted than may fit."""
    without_suffix = [
        name for name in resources if name not in flavor_model.OF_THE_NODE
    ]
    if without_suffix and (traits or policy == 'isolate'):
        yield (
            f'resources:{without_suffix[0]} may come from the compute node or '
            f'from one of its devices'
        )
    units: dict[str, set[int]] = {
        name: {resources[name]} for name in without_suffix
    }
    for request in devices:
        for name, amount in request.resources.items():
            units.setdefault(name, set()).add(amount)
    for name, amounts in units.items():
        if len(amounts) > 1 and name not in flavor_model.OF_THE_NODE:
            yield f'several requests for {name} may use the same device'
