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

"""Create flavors whose size is the share of a host that devices have."""

import collections.abc
import dataclasses

from openstack import connection

from gpuclient.cloud import capacity as cloud_capacity
from gpuclient.cloud.nova import hypervisors
from gpuclient.cloud import usage
from gpuclient.documents import aliases as alias_documents
from gpuclient import exceptions
from gpuclient.host import bundle as bundle_module
from gpuclient.model import alias as alias_model
from gpuclient.model import capacity
from gpuclient.model import catalogue
from gpuclient.model import flavor as flavor_model
from gpuclient.model import flavor_sizing
from gpuclient.model import host as host_model
from gpuclient.model import partial_result
from gpuclient.model import release as release_model
from gpuclient.operations import capacity_report
from gpuclient.operations import flavor_editing

_IMAGE = (
    'Boot servers from images with hw_machine_type=q35 and '
    'hw_firmware_type=uefi'
)


@dataclasses.dataclass(frozen=True)
class Sizing:
    """What decides on the sizes of flavors."""

    alias: str
    #: Configuration that defines the alias.
    files: tuple[str, ...] = ()
    #: Bundles of hosts.
    bundles: tuple[str, ...] = ()
    #: NUMA nodes of each host; None for what bundles and Nova tell.
    numa_nodes: int | None = None
    #: Text that refers to the model; None for that of the alias.
    model: str | None = None


@dataclasses.dataclass(frozen=True)
class Template:
    """What all flavors of a family have in common."""

    #: Name of a flavor, or its beginning.
    name: str
    id: str = ''
    is_public: bool = False
    #: Set instead of the computed ones.
    vcpus: int | None = None
    ram: int | None = None
    disk: int | None = None
    ephemeral: int = 0
    swap: int = 0
    extra_specs: dict[str, str] = dataclasses.field(default_factory=dict)
    projects: tuple[str, ...] = ()
    project_domain: str | None = None
    force: bool = False


@dataclasses.dataclass(frozen=True)
class Member:
    """A flavor of a family, or why there is none."""

    count: int
    #: How many hosts have as many devices.
    hosts: int
    edited: flavor_editing.EditedFlavor | None
    notes: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Family:
    members: tuple[Member, ...]
    #: The most devices of a host.
    largest: int


@dataclasses.dataclass(frozen=True)
class _Measured:
    shares: tuple[flavor_sizing.HostShare, ...]
    model: catalogue.Model | None


def create_flavor(
    cloud: connection.Connection,
    sizing: Sizing,
    template: Template,
    requests: dict[str, int],
    models: catalogue.Catalogue,
    release: release_model.Release | None = None,
) -> partial_result.PartialResult[flavor_editing.EditedFlavor]:
    """Create a flavor of the size of its share.

    :param requests: Devices by alias; the first is the one of the sizing.
    """
    answer = _measure(cloud, sizing, models)
    edited, _size = _create(
        cloud,
        answer.value,
        template,
        template.name,
        requests,
        requests[sizing.alias],
        release,
    )
    return partial_result.PartialResult(edited, answer.failures)


def create_all(
    cloud: connection.Connection,
    sizing: Sizing,
    template: Template,
    models: catalogue.Catalogue,
    release: release_model.Release | None = None,
) -> partial_result.PartialResult[Family]:
    """Create the flavors with 1, 2, 4 ... devices that a host can hold.

    :raises gpuclient.exceptions.GPUError: One cannot be created; the message
        names those that were.
    """
    answer = _measure(cloud, sizing, models)
    shares = answer.value.shares
    largest = max(share.devices for share in shares)
    members: list[Member] = []
    for count in flavor_sizing.COUNTS:
        if count > largest:
            members.append(
                Member(
                    count,
                    0,
                    None,
                    (
                        f'No host has {count} of these devices: the most that '
                        f'a host has is {largest}',
                    ),
                )
            )
            continue
        try:
            edited, size = _create(
                cloud,
                answer.value,
                template,
                f'{template.name}.{count}',
                {sizing.alias: count},
                count,
                release,
            )
        except exceptions.GPUError as exc:
            done = [
                member.edited.flavor.name
                for member in members
                if member.edited
            ]
            if done:
                exc.add(f'Flavors {", ".join(done)} exist now')
            raise
        members.append(Member(count, size.hosts, edited, edited.notes))
    return partial_result.PartialResult(
        Family(tuple(members), largest), answer.failures
    )


def _create(
    cloud: connection.Connection,
    measured: _Measured,
    template: Template,
    name: str,
    requests: dict[str, int],
    count: int,
    release: release_model.Release | None,
) -> tuple[flavor_editing.EditedFlavor, flavor_sizing.Size]:
    size = flavor_sizing.size(count, measured.shares, measured.model)
    edited = flavor_editing.create(
        cloud,
        flavor_model.Flavor(
            id=template.id,
            name=name,
            vcpus=size.vcpus if template.vcpus is None else template.vcpus,
            ram=size.ram if template.ram is None else template.ram,
            disk=size.disk if template.disk is None else template.disk,
            is_public=template.is_public,
            extra_specs={
                **size.extra_specs,
                **template.extra_specs,
                flavor_model.ALIASES: flavor_model.write_aliases(requests),
            },
            ephemeral=template.ephemeral,
            swap=template.swap,
        ),
        template.projects,
        template.project_domain,
        force=template.force,
        release=release,
    )
    notes = (*edited.notes, *size.notes, _IMAGE)
    return dataclasses.replace(edited, notes=notes), size


def _measure(
    cloud: connection.Connection,
    sizing: Sizing,
    models: catalogue.Catalogue,
) -> partial_result.PartialResult[_Measured]:
    """Read the hosts that have the devices of an alias."""
    documents = alias_documents.read_all(sizing.files)
    bundles = [bundle_module.read(path) for path in sizing.bundles]
    try:
        answer = cloud_capacity.read_hosts(cloud)
    except exceptions.Forbidden as exc:
        raise usage.hidden(exc) from exc
    failures = list(answer.failures)
    aliases = capacity_report.defined(documents)
    if sizing.alias not in aliases:
        aliases |= capacity_report.infer(
            cloud, {sizing.alias}, answer.value, None, failures
        )
    alias = aliases.get(sizing.alias)
    resource_class = None if alias is None else alias.placement_class
    if alias is None or resource_class is None:
        raise exceptions.NotFound(
            f'The devices of alias {sizing.alias!r} are unknown, because Nova '
            'does not show definitions of aliases: specify the files that '
            'define it with --config'
        )
    by_name = {bundle.name: bundle for bundle in bundles}
    nodes = {
        node.name: node for node in hypervisors.list_hypervisors(cloud.compute)
    }
    shares = [
        share
        for host in _with_units(cloud, answer.value, resource_class)
        if (
            share := flavor_sizing.share_of(
                host,
                resource_class,
                alias.placement_traits,
                _bundle_of(host.node.name, by_name),
                sizing.numa_nodes or _value(nodes, host, 'numa_nodes'),
                _value(nodes, host, 'address_bits'),
            )
        )
    ]
    if not shares:
        raise exceptions.NotFound(
            f'No host reports devices of class {resource_class}, which alias '
            f'{sizing.alias!r} requests'
        )
    return partial_result.PartialResult(
        _Measured(tuple(shares), _model(sizing, alias, models)),
        tuple(failures),
    )


def _with_units(
    cloud: connection.Connection,
    hosts: collections.abc.Iterable[capacity.HostCapacity],
    resource_class: str,
) -> tuple[capacity.HostCapacity, ...]:
    """Return the hosts with devices of a class, and what one server may have.

    Capacities include overcommitment, which that does not.
    """
    return cloud_capacity.read_units(
        cloud,
        [
            host
            for host in hosts
            if any(
                device.resource_class == resource_class
                for device in host.devices
            )
        ],
    )


def _value(
    nodes: collections.abc.Mapping[str, hypervisors.Hypervisor],
    host: capacity.HostCapacity,
    name: str,
) -> int | None:
    """Return what Nova knows of a host."""
    node = nodes.get(host.node.name)
    value: int | None = None if node is None else getattr(node, name)
    return value


def _bundle_of(
    name: str, by_name: collections.abc.Mapping[str, host_model.Host]
) -> host_model.Host | None:
    """Return the bundle of a host, whose name may lack the domain."""
    short = name.partition('.')[0]
    return by_name.get(name) or next(
        (
            bundle
            for other, bundle in by_name.items()
            if other.partition('.')[0] == short
        ),
        None,
    )


def _model(
    sizing: Sizing, alias: alias_model.Alias, models: catalogue.Catalogue
) -> catalogue.Model | None:
    if sizing.model is not None:
        return models.by_name(sizing.model)
    vendor, product = alias.vendor_id, alias.product_id
    if product is None:
        # CUSTOM_PCI_10DE_20F1
        parts = (alias.placement_class or '').split('_')
        if parts[:2] == ['CUSTOM', 'PCI'] and len(parts) == 4:
            vendor, product = parts[2:]
    known = models.by_ids(vendor, product)
    return known[0] if len(known) == 1 else None
