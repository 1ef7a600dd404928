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

"""Read a description, and derive what follows from it.

:func:`parse` takes the data of a file, refuses keys and values that are not
part of the format (``gpuclient/data/schema/description.json``), and derives
ids of models, CPUs of hosts and servers, and huge pages of each NUMA node.
"""

import re
import typing

from gpuclient import exceptions
from gpuclient.model import alias as alias_model
from gpuclient.model import catalogue
from gpuclient.model import description
from gpuclient.model import description_hosts
from gpuclient.model import mapping_reader
from gpuclient.model import naming
from gpuclient.model import pci

_NAME = description_hosts.NAME
_WORD = re.compile(r'[A-Za-z0-9][\w.-]*', re.ASCII)
_VARIABLE = re.compile(r'[A-Za-z_]\w*', re.ASCII)
#: Variables of Ansible that follow from other keys of a description.
_DERIVED_VARIABLES = {
    'edpm_kernel_args': 'kernel_args',
    'edpm_kernel_hugepages': 'huge_pages',
    'edpm_reboot_strategy': 'rhoso.reboot_strategy',
    'edpm_tuned_profile': 'rhoso.tuned_profile',
    'edpm_tuned_isolated_cores': 'cpu',
}


def parse(
    data: typing.Any, models: catalogue.Catalogue
) -> description.Description:
    """Return the description that the data of a file holds.

    :param models: For aliases that name a model.
    :raises gpuclient.exceptions.InvalidData: It is invalid; the message begins
        with the place.
    """
    top = mapping_reader.MappingReader(data, mapping_reader.DESCRIPTION)
    target = top.text('target', choices=description.TARGETS)
    name = top.text('name', 'gpu', _NAME)
    pci_in_placement = top.boolean('pci_in_placement', True)
    report_in_placement = top.boolean('report_in_placement', True)
    if pci_in_placement and not report_in_placement:
        raise top.error(
            'report_in_placement', 'must be true if pci_in_placement is'
        )
    aliases, assumed = _aliases(top, models)
    rhoso = _rhoso(top.mapping('rhoso', {}))
    plain = _plain(top, target)
    hosts = description_hosts.read(top, {alias.name for alias in aliases})
    top.done()
    _check_aliases(aliases, hosts)
    if target == 'rhoso':
        _check_node_set(hosts, rhoso)
    else:
        _check_no_bare_metal(hosts, target)
    return description.Description(
        target,
        name,
        pci_in_placement,
        report_in_placement,
        aliases,
        {
            alias.name: model.audio_product_id
            for alias in aliases
            for model in models.by_ids(alias.vendor_id, alias.product_id)
            if model.audio_product_id is not None
        },
        assumed,
        hosts,
        rhoso,
        plain,
    )


def _plain(
    top: mapping_reader.MappingReader, target: str
) -> description.Plain:
    """Return the values of the target, and refuse those of other targets."""
    for other in description.TARGETS:
        if top.has(other) and other != target:
            raise top.error(other, f'the target is {target}')
    if target == 'rhoso':
        return description.Plain(description.SYSTEMS[0])
    item = top.mapping(target, {})
    system = item.text(
        'system', description.SYSTEMS[0], choices=description.SYSTEMS
    )
    item.done()
    return description.Plain(system)


def _aliases(
    top: mapping_reader.MappingReader, models: catalogue.Catalogue
) -> tuple[tuple[alias_model.Alias, ...], dict[str, catalogue.Model]]:
    """Return the aliases, and the models that their types are from."""
    aliases: dict[str, alias_model.Alias] = {}
    assumed = {}
    for item in top.mappings('aliases'):
        alias, model = _alias(item, models)
        if alias.name in aliases:
            raise item.error('name', f'{alias.name!r} is used twice')
        aliases[alias.name] = alias
        if model is not None:
            assumed[alias.name] = model
    return tuple(aliases.values()), assumed


def _alias(
    item: mapping_reader.MappingReader, models: catalogue.Catalogue
) -> tuple[alias_model.Alias, catalogue.Model | None]:
    """Return an alias, and the model that its device type is from."""
    name = item.text('name', pattern=_WORD)
    vendor_id = item.text('vendor_id', None)
    product_id = item.text('product_id', None)
    device_type = item.text('device_type', None)
    model = _named_model(item, models)
    assumed = None
    if model is not None:
        if vendor_id is not None or product_id is not None:
            raise item.error(
                'model', 'cannot be combined with vendor_id and product_id'
            )
        vendor_id, product_id = model.vendor_id, model.product_id
        if device_type is None:
            device_type = model.device_type
            assumed = model
    if vendor_id is None or product_id is None:
        raise item.error(
            'model',
            'specify a model of "openstack gpu model list", or vendor_id and '
            'product_id',
        )
    _check_device_type(item, device_type)
    resource_class = item.text('resource_class', None, _WORD)
    traits = item.texts('traits', pattern=_WORD)
    alias = alias_model.Alias(
        name,
        vendor_id.lower(),
        product_id.lower(),
        device_type,
        item.text('numa_policy', None),
        # With the names that Placement has, for readers of the files.
        resource_class and naming.resource_class(None, None, resource_class),
        ','.join(
            placement_trait
            for trait in traits
            for placement_trait in naming.traits(trait)
        )
        or None,
        item.boolean('live_migratable', None),
    )
    item.done()
    try:
        return alias_model.parse(alias.render()), assumed
    except exceptions.InvalidAlias as exc:
        raise item.error('name', f'{name!r}: {exc}') from exc


def _named_model(
    item: mapping_reader.MappingReader, models: catalogue.Catalogue
) -> catalogue.Model | None:
    name = item.text('model', None)
    if name is None:
        return None
    try:
        return models.by_name(name)
    except exceptions.GPUError as exc:
        raise item.error('model', str(exc)) from exc


def _check_device_type(
    item: mapping_reader.MappingReader, device_type: str | None
) -> None:
    if device_type is None:
        raise item.error(
            'device_type',
            f'is missing; use {" or ".join(pci.DEVICE_TYPES[:2])}',
        )
    if device_type == 'type-VF':
        raise item.error(
            'device_type',
            'must not be type-VF: a description is about whole cards, and '
            'virtual functions need the driver of the card on the host',
        )


def _rhoso(item: mapping_reader.MappingReader) -> description.Rhoso:
    rhoso = description.Rhoso(
        namespace=item.text('namespace', 'openstack', _NAME),
        control_plane=item.text('control_plane', 'controlplane', _NAME),
        cells=item.texts('cells', ('cell0', 'cell1'), _NAME, minimum=1),
        node_set=item.text('node_set', 'openstack-edpm', _NAME),
        deployment=item.text('deployment', 'edpm-deployment', _NAME),
        ctlplane_interface=item.text('ctlplane_interface', None, _WORD),
        cloud_user=item.text('cloud_user', 'cloud-admin', _WORD),
        labels=item.labels('labels', {'app': 'openstack'}),
        password_secret=item.text(
            'password_secret', 'baremetalset-password-secret', _NAME
        ),
        ssh_key_secret=item.text(
            'ssh_key_secret',
            'dataplane-ansible-ssh-private-key-secret',
            _NAME,
        ),
        networks=_networks(item),
        reboot_strategy=item.text(
            'reboot_strategy', 'auto', choices=description.REBOOT_STRATEGIES
        ),
        tuned_profile=item.text(
            'tuned_profile', description.DEFAULT_TUNED_PROFILE, _WORD
        ),
        ansible_vars=_ansible_vars(item),
        stated=frozenset(item.keys()),
    )
    item.done()
    return rhoso


def _ansible_vars(
    item: mapping_reader.MappingReader,
) -> dict[str, typing.Any]:
    variables: dict[str, typing.Any] = item.free('ansible_vars', {})
    for key in variables:
        place = f'{item.where("ansible_vars")}.{key}'
        if not _VARIABLE.fullmatch(key):
            raise mapping_reader.error(
                place, 'is not the name of an Ansible variable'
            )
        if key in _DERIVED_VARIABLES:
            raise mapping_reader.error(
                place, f'is derived from {_DERIVED_VARIABLES[key]}: remove it'
            )
    return variables


def _networks(
    rhoso: mapping_reader.MappingReader,
) -> tuple[description.Network, ...]:
    if not rhoso.has('networks'):
        return description.DEFAULT_NETWORKS
    networks = []
    for item in rhoso.mappings('networks'):
        networks.append(
            description.Network(
                item.text('name', pattern=_NAME),
                item.text('subnet_name', 'subnet1', _NAME),
                item.boolean('default_route', False),
            )
        )
        item.done()
    return tuple(networks)


def _check_aliases(
    aliases: tuple[alias_model.Alias, ...],
    hosts: tuple[description.ComputeHost, ...],
) -> None:
    """Refuse aliases without cards, and those that Nova cannot tell apart."""
    used = {cards.alias for host in hosts for cards in host.cards}
    by_ids: dict[tuple[str | None, str | None], alias_model.Alias] = {}
    for number, alias in enumerate(aliases):
        place = f'aliases[{number}]'
        if alias.name not in used:
            raise mapping_reader.error(
                place, f'no host has cards of alias {alias.name!r}'
            )
        first = by_ids.setdefault((alias.vendor_id, alias.product_id), alias)
        if (first.placement_class, first.placement_traits) != (
            alias.placement_class,
            alias.placement_traits,
        ):
            raise mapping_reader.error(
                place,
                f'has the IDs of alias {first.name!r} but another resource '
                f'class or other traits, and a card can only have one of them',
            )


def _check_node_set(
    hosts: tuple[description.ComputeHost, ...], rhoso: description.Rhoso
) -> None:
    """Refuse hosts that cannot be in one node set."""
    first = hosts[0]
    for number, host in enumerate(hosts):
        place = f'hosts[{number}]'
        _check_same_layout(place, host, first)
        _check_names(place, host, rhoso)
    if first.bare_metal is not None and rhoso.ctlplane_interface is None:
        raise exceptions.InvalidData(
            'rhoso.ctlplane_interface is missing: hosts with bare_metal are '
            'provisioned through it'
        )


def _check_same_layout(
    place: str,
    host: description.ComputeHost,
    first: description.ComputeHost,
) -> None:
    for key, value in host.layout.items():
        if value != first.layout[key]:
            raise mapping_reader.error(
                f'{place}.{key}',
                f'{host.name} differs from {first.name}, but all hosts of a '
                'node set have the same configuration; create a description '
                'for each kind of host',
            )
    if (host.bare_metal is None) != (first.bare_metal is None):
        raise mapping_reader.error(
            f'{place}.bare_metal',
            f'only one of {first.name} and {host.name} has it, but a node '
            'set is provisioned as a whole',
        )


def _check_names(
    place: str, host: description.ComputeHost, rhoso: description.Rhoso
) -> None:
    for key in host.labels:
        if key in (*rhoso.labels, 'nodeName'):
            raise mapping_reader.error(
                f'{place}.labels.{key}',
                'is a label by which the node set selects hosts, derived '
                'from rhoso.labels and the name of the host: remove it',
            )
    names = {network.name for network in rhoso.networks}
    for network in host.fixed_ips:
        if network not in names:
            raise mapping_reader.error(
                f'{place}.fixed_ips',
                f'rhoso.networks has no network {network!r}',
            )


def _check_no_bare_metal(
    hosts: tuple[description.ComputeHost, ...], target: str
) -> None:
    for number, host in enumerate(hosts):
        for key, value in (
            ('bare_metal', host.bare_metal),
            ('labels', host.labels),
            ('fixed_ips', host.fixed_ips),
        ):
            if value:
                raise mapping_reader.error(
                    f'hosts[{number}].{key}', f'the target is {target}'
                )
