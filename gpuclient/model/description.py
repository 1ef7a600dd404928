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

"""What an operator says of a deployment with GPUs, in a few lines.

:func:`parse` takes the data of a description file, refuses what is not known
or could become something else in a file that is written, and works out what
follows: ids of models, CPUs of hosts and of guests, pages of each NUMA node.
"""

import collections.abc
import dataclasses
import re
import typing

from gpuclient import exceptions
from gpuclient.model import alias as alias_model
from gpuclient.model import catalogue
from gpuclient.model import cpu
from gpuclient.model import mapping_reader
from gpuclient.model import naming
from gpuclient.model import pci
from gpuclient.model import quoting

#: Kinds of deployments: Red Hat OpenStack Services on OpenShift,
#: Kolla-Ansible, and hosts whose files somebody copies.
TARGETS = ('rhoso', 'kolla', 'plain')
CPU_VENDORS = ('intel', 'amd')
#: Families of operating systems that plain hosts may have: Debian and Ubuntu;
#: RHEL and what is made like it.
SYSTEMS = ('debian', 'rhel')
#: ``edpm_reboot_strategy`` (``edpm-ansible``: ``roles/edpm_reboot``).
REBOOT_STRATEGIES = ('auto', 'force', 'never')
#: Page sizes in bytes that x86 hosts have beside the usual 4 KiB.
PAGE_SIZES = (2**21, 2**30)
#: Fields of ``rootDeviceHints`` of a BareMetalHost, and their types.
ROOT_DEVICE_HINTS: dict[str, type] = {
    'device_name': str,
    'hctl': str,
    'model': str,
    'vendor': str,
    'serial_number': str,
    'min_size_gigabytes': int,
    'wwn': str,
    'wwn_with_extension': str,
    'wwn_vendor_extension': str,
    'rotational': bool,
}
DEFAULT_TUNED_PROFILE = 'cpu-partitioning-powersave'

#: What the documentation of Kubernetes calls an RFC 1123 subdomain.
_NAME = re.compile(r'[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?')
_HOST_NAME = re.compile(r'[A-Za-z0-9]([-A-Za-z0-9.]{0,251}[A-Za-z0-9])?')
_MAC = re.compile(r'([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}')
#: Of a Metal3 BMC address: a URL, or host and port.
_BMC = re.compile(r'([a-z][a-z0-9+-]*://)?[\w.:\[\]/~=-]+', re.ASCII)
_ADDRESS = re.compile(r'[0-9A-Fa-f.:]+')
_WORD = re.compile(r'[A-Za-z0-9][\w.-]*', re.ASCII)
#: One argument of the kernel: nothing that a shell, GRUB or sed would take
#: for something else (``edpm-ansible``: ``roles/edpm_kernel``).
_KERNEL_ARGUMENT = re.compile(r'[A-Za-z0-9][\w.,:=/+@-]*', re.ASCII)
_VARIABLE = re.compile(r'[A-Za-z_]\w*', re.ASCII)
#: Arguments that other keys of a description make.
_OWN_ARGUMENTS = {
    'default_hugepagesz': 'huge_pages',
    'hugepagesz': 'huge_pages',
    'hugepages': 'huge_pages',
    'vfio-pci.ids': 'aliases and cards',
    'vfio_pci.ids': 'aliases and cards',
    'isolcpus': 'cpu',
    'intel_iommu': 'cpu_vendor',
    'iommu': 'cpu_vendor',
}
#: Variables of Ansible that other keys of a description make.
OWN_VARIABLES = {
    'edpm_kernel_args': 'kernel_args',
    'edpm_kernel_hugepages': 'huge_pages',
    'edpm_reboot_strategy': 'rhoso.reboot_strategy',
    'edpm_tuned_profile': 'rhoso.tuned_profile',
    'edpm_tuned_isolated_cores': 'cpu',
}


@dataclasses.dataclass(frozen=True)
class Cards:
    """Cards of a host that servers get through one alias."""

    alias: str
    #: ``0000:04:00.0``; empty for all cards with the ids of the alias.
    addresses: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Node:
    """One NUMA node of a host."""

    cpus: frozenset[int]
    #: MiB; None where the description does not say.
    memory_mb: int | None = None


@dataclasses.dataclass(frozen=True)
class HugePages:
    """Pages that the kernel sets aside at boot."""

    #: Bytes.
    size: int
    #: For each NUMA node.
    counts: tuple[int, ...]
    #: Of these, left to the host itself; None where the description does not
    #: say.
    reserved: tuple[int, ...] | None = None


@dataclasses.dataclass(frozen=True)
class BareMetal:
    """What Metal3 has to know of a host to install it."""

    bmc_address: str
    #: Name of the Secret with user and password.
    credentials_name: str
    disable_certificate_verification: bool
    boot_mac_address: str
    #: By the names of the BareMetalHost: ``deviceName``.
    root_device_hints: dict[str, typing.Any]
    online: bool
    #: nmstate for the ramdisk, and for the installed system; None where the
    #: description does not say.
    preprovisioning_network_data: dict[str, typing.Any] | None = None
    network_data: dict[str, typing.Any] | None = None


@dataclasses.dataclass(frozen=True)
class Host:
    """One compute host."""

    name: str
    #: As nova-compute knows itself, and Placement its root provider.
    hypervisor_hostname: str
    cards: tuple[Cards, ...]
    cpu_vendor: str
    nodes: tuple[Node, ...]
    #: For guests without dedicated CPUs, and the host itself.
    shared: frozenset[int] | None
    #: For guests with dedicated CPUs; isolated from all else.
    dedicated: frozenset[int] | None
    reserved_host_memory_mb: int | None
    huge_pages: HugePages | None
    kernel_args: tuple[str, ...]
    labels: dict[str, str]
    bare_metal: BareMetal | None
    #: Addresses by the name of their network.
    fixed_ips: dict[str, str]

    @property
    def layout(self) -> dict[str, typing.Any]:
        """What hosts with one configuration have to have in common."""
        return {
            'cards': self.cards,
            'cpu_vendor': self.cpu_vendor,
            'numa_nodes': self.nodes,
            'cpu': (self.shared, self.dedicated),
            'reserved_host_memory_mb': self.reserved_host_memory_mb,
            'huge_pages': self.huge_pages,
            'kernel_args': self.kernel_args,
        }


@dataclasses.dataclass(frozen=True)
class Network:
    """A network of the nodes of a node set."""

    name: str
    subnet_name: str
    default_route: bool


@dataclasses.dataclass(frozen=True)
class Rhoso:
    """What only a deployment on OpenShift has."""

    namespace: str
    #: Name of the OpenStackControlPlane.
    control_plane: str
    #: Of Nova, whose conductors need the same setting: ``cell1``.
    cells: tuple[str, ...]
    node_set: str
    deployment: str
    ctlplane_interface: str | None
    cloud_user: str
    #: Labels of the BareMetalHosts that the node set takes.
    labels: dict[str, str]
    #: Names of Secrets.
    password_secret: str
    ssh_key_secret: str
    networks: tuple[Network, ...]
    reboot_strategy: str
    tuned_profile: str
    ansible_vars: dict[str, typing.Any]
    #: Keys that the description has; what is in none of them is a default.
    stated: frozenset[str]


@dataclasses.dataclass(frozen=True)
class Plain:
    """What only hosts have whose files somebody copies."""

    #: One of :data:`SYSTEMS`.
    system: str


@dataclasses.dataclass(frozen=True)
class Description:
    """A whole description."""

    target: str
    name: str
    #: ``[filter_scheduler]pci_in_placement`` of the control plane.
    pci_in_placement: bool
    #: ``[pci]report_in_placement`` of the computes.
    report_in_placement: bool
    aliases: tuple[alias_model.Alias, ...]
    #: Product ids of the audio function on cards of an alias, by its name.
    audio: dict[str, str]
    #: Models that gave an alias its device type, by the name of the alias.
    assumed: dict[str, catalogue.Model]
    hosts: tuple[Host, ...]
    rhoso: Rhoso
    plain: Plain

    def alias(self, name: str) -> alias_model.Alias:
        """Return the alias with a name; :func:`parse` has seen it."""
        return next(alias for alias in self.aliases if alias.name == name)


def parse(data: typing.Any, models: catalogue.Catalogue) -> Description:
    """Return what the data of a description file says.

    :param models: For aliases that name a model.
    :raises gpuclient.exceptions.InvalidDescription: It is not one; the
        message begins with the place.
    """
    if not isinstance(data, dict):
        raise mapping_reader.error(
            'description', 'it is no mapping of keys to values'
        )
    top = mapping_reader.Mapping(data, '')
    target = top.text('target', choices=TARGETS)
    name = top.text('name', 'gpu', _NAME)
    pci_in_placement = top.boolean('pci_in_placement', True)
    report_in_placement = top.boolean('report_in_placement', True)
    if pci_in_placement and not report_in_placement:
        raise mapping_reader.error(
            'report_in_placement',
            'with pci_in_placement the computes have to report their devices',
        )
    aliases: list[alias_model.Alias] = []
    assumed = {}
    for item in top.mappings('aliases'):
        alias, model = _alias(item, models)
        if any(other.name == alias.name for other in aliases):
            raise mapping_reader.error(
                item.where('name'), f'{alias.name!r} is there twice'
            )
        aliases.append(alias)
        if model is not None:
            assumed[alias.name] = model
    rhoso = _rhoso(top.mapping('rhoso', {}))
    plain = top.mapping(target if target != 'rhoso' else 'plain', {})
    system = plain.text('system', SYSTEMS[0], choices=SYSTEMS)
    plain.done()
    hosts = _hosts(top, aliases)
    for other in TARGETS:
        if other != target and other in top:
            raise mapping_reader.error(other, f'the target is {target}')
    top.done()
    _check_use(aliases, hosts)
    if target == 'rhoso':
        _check_node_set(hosts, rhoso)
    else:
        _check_no_bare_metal(hosts, target)
    return Description(
        target,
        name,
        pci_in_placement,
        report_in_placement,
        tuple(aliases),
        {
            alias.name: model.audio_product_id
            for alias in aliases
            for model in models.by_ids(alias.vendor_id, alias.product_id)
            if model.audio_product_id is not None
        },
        assumed,
        hosts,
        rhoso,
        Plain(system),
    )


def _alias(
    item: mapping_reader.Mapping, models: catalogue.Catalogue
) -> tuple[alias_model.Alias, catalogue.Model | None]:
    name = item.text('name', pattern=_WORD)
    vendor_id = item.text('vendor_id', None)
    product_id = item.text('product_id', None)
    device_type = item.text('device_type', None)
    assumed = None
    model_name = item.text('model', None)
    if model_name is not None:
        if vendor_id is not None or product_id is not None:
            raise mapping_reader.error(
                item.where('model'), 'it has the ids already'
            )
        try:
            model = models.by_name(model_name)
        except exceptions.GPUError as exc:
            raise mapping_reader.error(item.where('model'), str(exc)) from exc
        vendor_id, product_id = model.vendor_id, model.product_id
        if device_type is None:
            device_type = model.device_type
            assumed = model
    if vendor_id is None or product_id is None:
        raise mapping_reader.error(
            item.where('model'),
            'give a model of "openstack gpu model list", or vendor_id and '
            'product_id',
        )
    if device_type is None:
        raise mapping_reader.error(
            item.where('device_type'),
            f'say which: {", ".join(pci.DEVICE_TYPES[:2])}',
        )
    if device_type == 'type-VF':
        raise mapping_reader.error(
            item.where('device_type'),
            'this is for whole cards: functions of a card need its driver on '
            'the host',
        )
    numa_policy = item.text('numa_policy', None)
    resource_class = item.text('resource_class', None, _WORD)
    traits = item.texts('traits', pattern=_WORD)
    live_migratable = (
        item.boolean('live_migratable') if 'live_migratable' in item else None
    )
    item.get('live_migratable', None)
    item.done()
    try:
        alias = alias_model.parse(
            alias_model.Alias(
                name,
                vendor_id.lower(),
                product_id.lower(),
                device_type,
                numa_policy,
                # As Placement will know them, for whoever reads the files.
                resource_class
                and naming.resource_class(None, None, resource_class),
                ','.join(name for one in traits for name in naming.traits(one))
                or None,
                live_migratable,
            ).render()
        )
    except exceptions.InvalidAlias as exc:
        raise mapping_reader.error(
            item.where('name'), f'{name!r}: {exc}'
        ) from exc
    return alias, assumed


#: Keys of a host that ``compute`` may have for all of them.
_COMMON = (
    'cards',
    'cpu_vendor',
    'numa_nodes',
    'cpu',
    'reserved_host_memory_mb',
    'huge_pages',
    'kernel_args',
)


def _hosts(
    top: mapping_reader.Mapping, aliases: list[alias_model.Alias]
) -> tuple[Host, ...]:
    common = top.mapping('compute', {})
    for key in _COMMON:
        common.get(key, None)
    common.done()
    names = {alias.name for alias in aliases}
    hosts: list[Host] = []
    for item in top.mappings('hosts', common):
        host = _host(item, names)
        if any(other.name == host.name for other in hosts):
            raise mapping_reader.error(
                item.where('name'), f'{host.name!r} is there twice'
            )
        hosts.append(host)
    return tuple(hosts)


def _host(item: mapping_reader.Mapping, aliases: set[str]) -> Host:
    name = item.text('name', pattern=_NAME)
    nodes = (
        tuple(_node(node) for node in item.mappings('numa_nodes'))
        if 'numa_nodes' in item
        else ()
    )
    item.get('numa_nodes', None)
    everything: set[int] = set()
    for number, node in enumerate(nodes):
        where = f'{item.where("numa_nodes")}[{number}].cpus'
        if everything & node.cpus:
            raise mapping_reader.error(
                where, 'another node has some of them, too'
            )
        everything |= node.cpus
    shared, dedicated = _cpus(item, nodes)
    reserved_mb = item.integer('reserved_host_memory_mb', None)
    huge_pages = _huge_pages(item, nodes)
    cards = tuple(_cards(card, aliases) for card in item.mappings('cards'))
    _check_addresses(item.where('cards'), cards)
    kernel_args = item.texts('kernel_args', pattern=_KERNEL_ARGUMENT)
    for number, argument in enumerate(kernel_args):
        if quoting.is_secret_name(argument.partition('=')[0]):
            raise mapping_reader.error(
                f'{item.where("kernel_args")}[{number}]',
                mapping_reader.NO_SECRETS,
            )
        key = _OWN_ARGUMENTS.get(argument.partition('=')[0])
        if key is not None:
            raise mapping_reader.error(
                item.where('kernel_args'), f'{argument!r} is made from {key}'
            )
    host = Host(
        name=name,
        hypervisor_hostname=item.text('hypervisor_hostname', name, _HOST_NAME),
        cards=cards,
        cpu_vendor=item.text('cpu_vendor', choices=CPU_VENDORS),
        nodes=nodes,
        shared=shared,
        dedicated=dedicated,
        reserved_host_memory_mb=reserved_mb,
        huge_pages=huge_pages,
        kernel_args=kernel_args,
        labels=item.labels('labels', {}),
        bare_metal=_bare_metal(item),
        fixed_ips=_fixed_ips(item.mapping('fixed_ips', {})),
    )
    item.done()
    return host


def _fixed_ips(item: mapping_reader.Mapping) -> dict[str, str]:
    found = {name: item.text(name, pattern=_ADDRESS) for name in item.keys()}
    item.done()
    return found


def _node(item: mapping_reader.Mapping) -> Node:
    cpus = _cpu_set(item, 'cpus')
    memory_mb = item.integer('memory_mb', None, 1)
    item.done()
    return Node(cpus or frozenset(), memory_mb)


def _cpu_set(
    item: mapping_reader.Mapping,
    key: str,
    default: typing.Any = mapping_reader.REQUIRED,
) -> frozenset[int] | None:
    text = item.text(key, default)
    if text is default:
        return None
    try:
        found = cpu.parse(text)
    except exceptions.InvalidValue as exc:
        raise mapping_reader.error(item.where(key), str(exc)) from exc
    if not found:
        raise mapping_reader.error(item.where(key), f'{text!r} names no CPU')
    return found


def _cpus(
    host: mapping_reader.Mapping, nodes: tuple[Node, ...]
) -> tuple[frozenset[int] | None, frozenset[int] | None]:
    """Return the CPUs for the host and shared guests, and dedicated ones."""
    if 'cpu' not in host:
        host.get('cpu', None)
        return None, None
    item = host.mapping('cpu')
    everything = frozenset().union(*(node.cpus for node in nodes))
    shared = _cpu_set(item, 'shared', None)
    dedicated = _cpu_set(item, 'dedicated', None)
    cores = item.integer('reserved_cores', None, 1)
    threads = item.integer('threads_per_core', None, 1)
    item.done()
    if cores is not None:
        if shared is not None or dedicated is not None:
            raise mapping_reader.error(
                item.where('reserved_cores'),
                'it stands in place of shared and dedicated',
            )
        if not nodes:
            raise mapping_reader.error(
                item.where('reserved_cores'), 'it needs numa_nodes'
            )
        if threads is None:
            raise mapping_reader.error(
                item.where('threads_per_core'),
                'reserved_cores needs it: 1, or 2 with hyper-threading',
            )
        shared = frozenset().union(
            *(_first_cores(item, node, cores, threads) for node in nodes)
        )
        return shared, everything - shared
    if threads is not None:
        raise mapping_reader.error(
            item.where('threads_per_core'), 'it goes with reserved_cores'
        )
    for key, cpus in (('shared', shared), ('dedicated', dedicated)):
        if nodes and cpus is not None and cpus - everything:
            raise mapping_reader.error(
                item.where(key),
                f'no NUMA node has CPUs {cpu.render(cpus - everything)}',
            )
    if shared is not None and dedicated is not None and shared & dedicated:
        # nova/virt/libvirt/driver.py:
        # LibvirtDriver._check_cpu_set_configuration
        raise mapping_reader.error(
            item.where('shared'),
            f'CPUs {cpu.render(shared & dedicated)} are dedicated, too: '
            f'nova-compute would not start',
        )
    if nodes and dedicated is not None and not everything - dedicated:
        raise mapping_reader.error(
            item.where('dedicated'), 'no CPU is left for the host'
        )
    return shared, dedicated


def _first_cores(
    item: mapping_reader.Mapping, node: Node, cores: int, threads: int
) -> frozenset[int]:
    """Return the threads of the first cores of a node.

    Linux numbers the second threads of x86 after all first ones, so the CPUs
    of a node are as many runs of cores as a core has threads.
    """
    cpus = sorted(node.cpus)
    per_node = len(cpus) // threads
    if len(cpus) % threads or cores >= per_node:
        raise mapping_reader.error(
            item.where('reserved_cores'),
            f'of CPUs {cpu.render(cpus)}, {threads} a core, {cores} cores '
            f'cannot be taken so that some are left',
        )
    return frozenset(
        cpus[run * per_node + core]
        for run in range(threads)
        for core in range(cores)
    )


def _huge_pages(
    host: mapping_reader.Mapping, nodes: tuple[Node, ...]
) -> HugePages | None:
    if 'huge_pages' not in host:
        host.get('huge_pages', None)
        return None
    item = host.mapping('huge_pages')
    try:
        size = cpu.parse_size(item.text('size'))
    except exceptions.InvalidValue as exc:
        raise mapping_reader.error(item.where('size'), str(exc)) from exc
    if size not in PAGE_SIZES:
        raise mapping_reader.error(
            item.where('size'),
            f'it is not one of {", ".join(map(cpu.render_size, PAGE_SIZES))}',
        )
    if not nodes:
        raise mapping_reader.error(
            host.where('huge_pages'), 'it needs numa_nodes'
        )
    counts = _each_node(item, 'count', len(nodes), mapping_reader.REQUIRED)
    reserved = (
        _each_node(item, 'reserved', len(nodes), None)
        if 'reserved' in item
        else None
    )
    item.get('reserved', None)
    item.done()
    for number, node in enumerate(nodes):
        if reserved is not None and reserved[number] > counts[number]:
            raise mapping_reader.error(
                item.where('reserved'),
                f'node {number} has {counts[number]} pages, and '
                f'{reserved[number]} of them are reserved',
            )
        used = counts[number] * size // 2**20
        if node.memory_mb is not None and used >= node.memory_mb:
            raise mapping_reader.error(
                item.where('count'),
                f'node {number} has {node.memory_mb} MiB, and the pages take '
                f'{used} MiB',
            )
    if not any(counts):
        raise mapping_reader.error(item.where('count'), 'there is no page')
    return HugePages(size, counts, reserved)


def _each_node(
    item: mapping_reader.Mapping, key: str, nodes: int, default: typing.Any
) -> tuple[int, ...]:
    """Return a number for each NUMA node: one for all, or a list."""
    value = item.get(key, default)
    if not isinstance(value, list):
        return (mapping_reader.integer(value, item.where(key)),) * nodes
    if len(value) != nodes:
        raise mapping_reader.error(
            item.where(key),
            f'it has {len(value)} numbers, and the host {nodes} NUMA nodes',
        )
    return tuple(
        mapping_reader.integer(number, f'{item.where(key)}[{at}]')
        for at, number in enumerate(value)
    )


def _cards(item: mapping_reader.Mapping, aliases: set[str]) -> Cards:
    alias = item.text('alias')
    if alias not in aliases:
        raise mapping_reader.error(
            item.where('alias'), f'there is no alias {alias!r}'
        )
    addresses = []
    for number, text in enumerate(item.texts('addresses')):
        try:
            addresses.append(str(pci.parse_address(text)))
        except exceptions.InvalidAddress as exc:
            where = f'{item.where("addresses")}[{number}]'
            raise mapping_reader.error(where, str(exc)) from exc
    everything = item.boolean('all', False)
    item.done()
    if bool(addresses) == everything:
        raise mapping_reader.error(
            item.where('addresses'), 'give some, or "all: true"'
        )
    return Cards(alias, tuple(addresses))


def _check_addresses(where: str, cards: tuple[Cards, ...]) -> None:
    seen: set[str] = set()
    for one in cards:
        for address in one.addresses:
            if address in seen:
                raise mapping_reader.error(where, f'{address} is there twice')
            seen.add(address)
    for alias in {one.alias for one in cards}:
        same = [one for one in cards if one.alias == alias]
        if len(same) > 1 and not all(one.addresses for one in same):
            raise mapping_reader.error(
                where,
                f'of alias {alias!r} all cards are there, and some again',
            )


def _bare_metal(host: mapping_reader.Mapping) -> BareMetal | None:
    if 'bare_metal' not in host:
        host.get('bare_metal', None)
        return None
    item = host.mapping('bare_metal')
    bmc = item.mapping('bmc')
    address = bmc.get('address')
    if not isinstance(address, str) or not _BMC.fullmatch(address):
        raise mapping_reader.error(
            bmc.where('address'),
            'it is not an address of a BMC (a user and password belong into '
            'the Secret that credentials_name names)',
        )
    found = BareMetal(
        bmc_address=bmc.text('address'),
        credentials_name=bmc.text('credentials_name', pattern=_NAME),
        disable_certificate_verification=bmc.boolean(
            'disable_certificate_verification', False
        ),
        boot_mac_address=item.text('boot_mac_address', pattern=_MAC).lower(),
        root_device_hints=_hints(item.mapping('root_device_hints', {})),
        online=item.boolean('online', True),
        preprovisioning_network_data=item.free('preprovisioning_network_data'),
        network_data=item.free('network_data'),
    )
    for one in (bmc, item):
        one.done()
    return found


def _hints(item: mapping_reader.Mapping) -> dict[str, typing.Any]:
    """Return what tells the root device, by the names of Metal3."""
    found: dict[str, typing.Any] = {}
    for key, kind in ROOT_DEVICE_HINTS.items():
        if kind is bool:
            # None is no value of it, and no default can be told from one.
            value = item.get(key, None)
            if value is not None:
                value = item.boolean(key)
        elif kind is int:
            value = item.integer(key, None)
        else:
            value = item.text(key, None)
        if value is not None:
            found[_camel_case(key)] = value
    item.done()
    return found


def _camel_case(key: str) -> str:
    first, *others = key.split('_')
    return first + ''.join(word.capitalize() for word in others)


def _rhoso(item: mapping_reader.Mapping) -> Rhoso:
    variables = item.free('ansible_vars', {})
    for key in variables:
        where = f'{item.where("ansible_vars")}.{key}'
        if not _VARIABLE.fullmatch(key):
            raise mapping_reader.error(
                where, f'{key!r} is no variable of Ansible'
            )
        if key in OWN_VARIABLES:
            raise mapping_reader.error(
                where, f'it is made from {OWN_VARIABLES[key]}'
            )
    networks = (
        [
            Network(
                network.text('name', pattern=_NAME),
                network.text('subnet_name', 'subnet1', _NAME),
                network.boolean('default_route', False),
            )
            for network in _closed(
                item.mappings('networks'),
                ('name', 'subnet_name', 'default_route'),
            )
        ]
        if 'networks' in item
        else []
    )
    item.get('networks', None)
    found = Rhoso(
        namespace=item.text('namespace', 'openstack', _NAME),
        control_plane=item.text('control_plane', 'controlplane', _NAME),
        cells=item.texts('cells', ('cell0', 'cell1'), _NAME, least=1),
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
        networks=tuple(networks) or DEFAULT_NETWORKS,
        reboot_strategy=item.text(
            'reboot_strategy', 'auto', choices=REBOOT_STRATEGIES
        ),
        tuned_profile=item.text('tuned_profile', DEFAULT_TUNED_PROFILE, _WORD),
        ansible_vars=variables,
        stated=frozenset(item.keys()),
    )
    item.done()
    return found


#: Of the node set where a description names none.
DEFAULT_NETWORKS = (
    Network('ctlplane', 'subnet1', True),
    Network('internalapi', 'subnet1', False),
    Network('storage', 'subnet1', False),
    Network('tenant', 'subnet1', False),
)


def _closed(
    items: list[mapping_reader.Mapping], keys: tuple[str, ...]
) -> collections.abc.Iterator[mapping_reader.Mapping]:
    for item in items:
        for key in keys:
            item.get(key, None)
        item.done()
        yield item


def _check_use(
    aliases: list[alias_model.Alias], hosts: tuple[Host, ...]
) -> None:
    used = {one.alias for host in hosts for one in host.cards}
    ids: dict[tuple[str | None, str | None], str] = {}
    for number, alias in enumerate(aliases):
        where = f'aliases[{number}]'
        if alias.name not in used:
            raise mapping_reader.error(
                where, f'no host has cards of {alias.name!r}'
            )
        other = ids.setdefault((alias.vendor_id, alias.product_id), alias.name)
        if other != alias.name:
            first = next(one for one in aliases if one.name == other)
            if (first.placement_class, first.placement_traits) != (
                alias.placement_class,
                alias.placement_traits,
            ):
                raise mapping_reader.error(
                    where,
                    f'it has the ids of {other!r}: which card would be of '
                    f'which?',
                )


def _check_node_set(hosts: tuple[Host, ...], rhoso: Rhoso) -> None:
    """Refuse hosts that one node set cannot have together."""
    first = hosts[0]
    for number, host in enumerate(hosts[1:], 1):
        for key, value in host.layout.items():
            if value != first.layout[key]:
                raise mapping_reader.error(
                    f'hosts[{number}].{key}',
                    f'{host.name} differs from {first.name}, and all hosts '
                    f'of a node set have one configuration: make a '
                    f'description of each kind',
                )
        if (host.bare_metal is None) != (first.bare_metal is None):
            raise mapping_reader.error(
                f'hosts[{number}].bare_metal',
                f'of {first.name} and {host.name} one has it: a node set is '
                f'provisioned as a whole',
            )
    names = {network.name for network in rhoso.networks}
    for number, host in enumerate(hosts):
        for key in host.labels:
            if key in (*rhoso.labels, 'nodeName'):
                raise mapping_reader.error(
                    f'hosts[{number}].labels.{key}',
                    'the node set selects hosts by it: it is made from '
                    'rhoso.labels and the name',
                )
        for network in host.fixed_ips:
            if network not in names:
                raise mapping_reader.error(
                    f'hosts[{number}].fixed_ips',
                    f'there is no network {network!r} in rhoso.networks',
                )
    if first.bare_metal is not None and rhoso.ctlplane_interface is None:
        raise mapping_reader.error(
            'rhoso.ctlplane_interface',
            'it is missing: hosts with bare_metal are provisioned through it',
        )


def _check_no_bare_metal(hosts: tuple[Host, ...], target: str) -> None:
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
