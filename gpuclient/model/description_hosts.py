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

"""Read the compute hosts of a description."""

import re
import typing

from gpuclient import exceptions
from gpuclient.model import cpu
from gpuclient.model import description
from gpuclient.model import mapping_reader
from gpuclient.model import pci
from gpuclient.model import quoting

#: What the documentation of Kubernetes calls an RFC 1123 subdomain.
NAME = re.compile(r'[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?')
_HOST_NAME = re.compile(r'[A-Za-z0-9]([-A-Za-z0-9.]{0,251}[A-Za-z0-9])?')
_MAC = re.compile(r'([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}')
#: Of a Metal3 BMC address: a URL, or host and port.
_BMC = re.compile(r'([a-z][a-z0-9+-]*://)?[\w.:\[\]/~=-]+', re.ASCII)
_ADDRESS = re.compile(r'[0-9A-Fa-f.:]+')
#: A kernel argument without characters that are special in a shell, in GRUB's
#: configuration or in sed (``edpm-ansible``: ``roles/edpm_kernel``).
_KERNEL_ARGUMENT = re.compile(r'[A-Za-z0-9][\w.,:=/+@-]*', re.ASCII)
#: Kernel arguments that follow from other keys of a description.
_DERIVED_ARGUMENTS = {
    'default_hugepagesz': 'huge_pages',
    'hugepagesz': 'huge_pages',
    'hugepages': 'huge_pages',
    'vfio-pci.ids': 'aliases and cards',
    'vfio_pci.ids': 'aliases and cards',
    'isolcpus': 'cpu',
    'intel_iommu': 'cpu_vendor',
    'iommu': 'cpu_vendor',
}
#: Keys of a host that ``compute`` may have for all hosts.
_COMMON_KEYS = (
    'cards',
    'cpu_vendor',
    'numa_nodes',
    'cpu',
    'reserved_host_memory_mb',
    'huge_pages',
    'kernel_args',
)


def read(
    top: mapping_reader.MappingReader, aliases: set[str]
) -> tuple[description.ComputeHost, ...]:
    """Return the hosts of a description.

    :param aliases: Names of the aliases that the description defines.
    :raises gpuclient.exceptions.InvalidData: A host is invalid.
    """
    common = top.mapping('compute', {})
    for key in _COMMON_KEYS:
        common.get(key, None)
    common.done()
    hosts: dict[str, description.ComputeHost] = {}
    for item in top.mappings('hosts', defaults=common):
        host = _host(item, aliases)
        if host.name in hosts:
            raise item.error('name', f'{host.name!r} is used twice')
        hosts[host.name] = host
    return tuple(hosts.values())


def _host(
    item: mapping_reader.MappingReader, aliases: set[str]
) -> description.ComputeHost:
    name = item.text('name', pattern=NAME)
    nodes = _numa_nodes(item)
    shared, dedicated = _cpus(item, nodes)
    host = description.ComputeHost(
        name=name,
        hypervisor_hostname=item.text('hypervisor_hostname', name, _HOST_NAME),
        cards=_all_cards(item, aliases),
        cpu_vendor=item.text('cpu_vendor', choices=description.CPU_VENDORS),
        nodes=nodes,
        shared=shared,
        dedicated=dedicated,
        reserved_host_memory_mb=item.integer('reserved_host_memory_mb', None),
        huge_pages=_huge_pages(item, nodes),
        kernel_args=_kernel_args(item),
        labels=item.labels('labels', {}),
        bare_metal=_bare_metal(item),
        fixed_ips=_fixed_ips(item.mapping('fixed_ips', {})),
    )
    item.done()
    return host


def _kernel_args(item: mapping_reader.MappingReader) -> tuple[str, ...]:
    arguments: tuple[str, ...] = item.texts(
        'kernel_args', pattern=_KERNEL_ARGUMENT
    )
    for number, argument in enumerate(arguments):
        name = argument.partition('=')[0]
        if quoting.is_secret_name(name):
            raise mapping_reader.error(
                f'{item.where("kernel_args")}[{number}]',
                mapping_reader.NO_SECRETS,
            )
        key = _DERIVED_ARGUMENTS.get(name)
        if key is not None:
            raise item.error(
                'kernel_args', f'{argument!r} is derived from {key}: remove it'
            )
    return arguments


def _fixed_ips(item: mapping_reader.MappingReader) -> dict[str, str]:
    addresses = {
        name: item.text(name, pattern=_ADDRESS) for name in item.keys()
    }
    item.done()
    return addresses


def _numa_nodes(
    host: mapping_reader.MappingReader,
) -> tuple[description.DescribedNumaNode, ...]:
    if not host.has('numa_nodes'):
        return ()
    nodes = []
    seen: set[int] = set()
    for item in host.mappings('numa_nodes'):
        cpus = _cpu_set(item, 'cpus') or frozenset()
        memory_mb = item.integer('memory_mb', None, 1)
        item.done()
        if seen & cpus:
            raise item.error(
                'cpus',
                f'CPUs {cpu.render(seen & cpus)} are in another node, too',
            )
        seen |= cpus
        nodes.append(description.DescribedNumaNode(cpus, memory_mb))
    return tuple(nodes)


def _cpu_set(
    item: mapping_reader.MappingReader,
    key: str,
    default: typing.Any = mapping_reader.REQUIRED,
) -> frozenset[int] | None:
    text = item.text(key, default)
    if text is default:
        return None
    try:
        cpus = cpu.parse(text)
    except exceptions.InvalidValue as exc:
        raise item.error(key, str(exc)) from exc
    if not cpus:
        raise item.error(key, f'{text!r} contains no CPU')
    return cpus


def _cpus(
    host: mapping_reader.MappingReader,
    nodes: tuple[description.DescribedNumaNode, ...],
) -> tuple[frozenset[int] | None, frozenset[int] | None]:
    """Return shared CPUs, which the host uses, too, and dedicated ones."""
    if not host.has('cpu'):
        return None, None
    item = host.mapping('cpu')
    shared = _cpu_set(item, 'shared', None)
    dedicated = _cpu_set(item, 'dedicated', None)
    cores = item.integer('reserved_cores', None, 1)
    threads = item.integer('threads_per_core', None, 1)
    item.done()
    if cores is None:
        if threads is not None:
            raise item.error('threads_per_core', 'requires reserved_cores')
        _check_cpus(item, nodes, shared, dedicated)
        return shared, dedicated
    if shared is not None or dedicated is not None:
        raise item.error(
            'reserved_cores', 'cannot be combined with shared and dedicated'
        )
    if not nodes:
        raise item.error('reserved_cores', 'requires numa_nodes')
    if threads is None:
        raise item.error(
            'threads_per_core',
            'reserved_cores requires it: 1, or 2 with hyper-threading',
        )
    shared = frozenset().union(
        *(_first_cores(item, node, cores, threads) for node in nodes)
    )
    return shared, _all_cpus(nodes) - shared


def _all_cpus(
    nodes: tuple[description.DescribedNumaNode, ...],
) -> frozenset[int]:
    return frozenset().union(*(node.cpus for node in nodes))


def _check_cpus(
    item: mapping_reader.MappingReader,
    nodes: tuple[description.DescribedNumaNode, ...],
    shared: frozenset[int] | None,
    dedicated: frozenset[int] | None,
) -> None:
    everything = _all_cpus(nodes)
    for key, cpus in (('shared', shared), ('dedicated', dedicated)):
        if nodes and cpus is not None and cpus - everything:
            raise item.error(
                key, f'no NUMA node has CPUs {cpu.render(cpus - everything)}'
            )
    if shared is not None and dedicated is not None and shared & dedicated:
        # nova/virt/libvirt/driver.py:
        # LibvirtDriver._check_cpu_set_configuration
        raise item.error(
            'shared',
            f'CPUs {cpu.render(shared & dedicated)} are dedicated, too: '
            'nova-compute would not start',
        )
    if nodes and dedicated is not None and not everything - dedicated:
        raise item.error('dedicated', 'leaves no CPU for the host')


def _first_cores(
    item: mapping_reader.MappingReader,
    node: description.DescribedNumaNode,
    cores: int,
    threads: int,
) -> frozenset[int]:
    """Return the CPUs of the first cores of a NUMA node.

    Linux numbers the second threads of x86 cores after all first ones, so the
    sorted CPUs of a node are one run of cores for each thread of a core.
    """
    cpus = sorted(node.cpus)
    per_node = len(cpus) // threads
    if len(cpus) % threads:
        raise item.error(
            'threads_per_core',
            f'CPUs {cpu.render(cpus)} of a NUMA node are not a multiple of '
            f'{threads}',
        )
    if cores >= per_node:
        raise item.error(
            'reserved_cores',
            f'the NUMA node of CPUs {cpu.render(cpus)} has {per_node} cores: '
            f'{cores} reserved cores leave none for servers',
        )
    return frozenset(
        cpus[run * per_node + core]
        for run in range(threads)
        for core in range(cores)
    )


def _huge_pages(
    host: mapping_reader.MappingReader,
    nodes: tuple[description.DescribedNumaNode, ...],
) -> description.HugePageRequest | None:
    if not host.has('huge_pages'):
        return None
    item = host.mapping('huge_pages')
    try:
        size = cpu.parse_size(item.text('size'))
    except exceptions.InvalidValue as exc:
        raise item.error('size', str(exc)) from exc
    if size not in description.PAGE_SIZES:
        sizes = map(cpu.render_size, description.PAGE_SIZES)
        raise item.error('size', f'must be one of {", ".join(sizes)}')
    if not nodes:
        raise host.error('huge_pages', 'requires numa_nodes')
    pages = description.HugePageRequest(
        size,
        _for_each_node(item, 'count', nodes),
        _for_each_node(item, 'reserved', nodes)
        if item.has('reserved')
        else None,
    )
    item.done()
    _check_pages(item, pages, nodes)
    return pages


def _check_pages(
    item: mapping_reader.MappingReader,
    pages: description.HugePageRequest,
    nodes: tuple[description.DescribedNumaNode, ...],
) -> None:
    for number, node in enumerate(nodes):
        count = pages.counts[number]
        if pages.reserved is not None and pages.reserved[number] > count:
            raise item.error(
                'reserved',
                f'reserves {pages.reserved[number]} of {count} pages of node '
                f'{number}',
            )
        size_mb = count * pages.size // 2**20
        if node.memory_mb is not None and size_mb >= node.memory_mb:
            raise item.error(
                'count',
                f'{count} pages use {size_mb} MiB of the {node.memory_mb} '
                f'MiB of node {number}',
            )
    if not any(pages.counts):
        raise item.error('count', 'must not be 0 on all nodes')


def _for_each_node(
    item: mapping_reader.MappingReader,
    key: str,
    nodes: tuple[description.DescribedNumaNode, ...],
) -> tuple[int, ...]:
    numbers = item.integers(key, len(nodes))
    if len(numbers) != len(nodes):
        raise item.error(
            key,
            f'has {len(numbers)} numbers for {len(nodes)} NUMA nodes',
        )
    return numbers


def _all_cards(
    host: mapping_reader.MappingReader, aliases: set[str]
) -> tuple[description.Cards, ...]:
    all_cards = tuple(_cards(item, aliases) for item in host.mappings('cards'))
    addresses: set[str] = set()
    for cards in all_cards:
        for address in cards.addresses:
            if address in addresses:
                raise host.error('cards', f'{address} is used twice')
            addresses.add(address)
    for alias in aliases:
        entries = [cards for cards in all_cards if cards.alias == alias]
        if len(entries) > 1 and not all(cards.addresses for cards in entries):
            raise host.error(
                'cards',
                f'an entry with "all: true" must be the only one of alias '
                f'{alias!r}',
            )
    return all_cards


def _cards(
    item: mapping_reader.MappingReader, aliases: set[str]
) -> description.Cards:
    alias = item.text('alias')
    if alias not in aliases:
        raise item.error('alias', f'alias {alias!r} is not defined')
    addresses = []
    for number, text in enumerate(item.texts('addresses')):
        try:
            addresses.append(str(pci.parse_address(text)))
        except exceptions.InvalidAddress as exc:
            raise mapping_reader.error(
                f'{item.where("addresses")}[{number}]', str(exc)
            ) from exc
    everything = item.boolean('all', False)
    item.done()
    if bool(addresses) == everything:
        raise item.error('addresses', 'specify addresses, or "all: true"')
    return description.Cards(alias, tuple(addresses))


def _bare_metal(
    host: mapping_reader.MappingReader,
) -> description.BareMetal | None:
    if not host.has('bare_metal'):
        return None
    item = host.mapping('bare_metal')
    bmc = item.mapping('bmc')
    address = bmc.get('address')
    if not isinstance(address, str) or not _BMC.fullmatch(address):
        raise bmc.error(
            'address',
            'must be the address of a BMC, without user and password, which '
            'belong in the Secret that credentials_name refers to',
        )
    bare_metal = description.BareMetal(
        bmc_address=bmc.text('address'),
        credentials_name=bmc.text('credentials_name', pattern=NAME),
        disable_certificate_verification=bmc.boolean(
            'disable_certificate_verification', False
        ),
        boot_mac_address=item.text('boot_mac_address', pattern=_MAC).lower(),
        root_device_hints=_hints(item.mapping('root_device_hints', {})),
        online=item.boolean('online', True),
        preprovisioning_network_data=item.free('preprovisioning_network_data'),
        network_data=item.free('network_data'),
    )
    bmc.done()
    item.done()
    return bare_metal


def _hints(item: mapping_reader.MappingReader) -> dict[str, typing.Any]:
    """Return the root device hints, with the names of Metal3."""
    readers = {bool: item.boolean, int: item.integer, str: item.text}
    hints = {
        _camel_case(key): readers[kind](key, None)
        for key, kind in description.ROOT_DEVICE_HINTS.items()
    }
    item.done()
    return {key: value for key, value in hints.items() if value is not None}


def _camel_case(key: str) -> str:
    first, *others = key.split('_')
    return first + ''.join(word.capitalize() for word in others)
