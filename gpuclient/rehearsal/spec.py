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

"""What a rehearsal cloud is made of: the spec.

A spec is a YAML or JSON document that describes the control plane's and the
hosts' configuration and hardware. ``doc/source/user/rehearsal.rst`` describes
every key. :func:`read` checks it and refuses what it does not know, with one
line that names the key.
"""

import collections.abc
import dataclasses
import json
import re
import typing

from gpuclient import exceptions
from gpuclient.model import scheduler_filters
from gpuclient.model import cpu

#: What may be the name of a cloud, of a host or of an alias of one.
NAME = re.compile(r'[A-Za-z0-9][A-Za-z0-9._-]{0,62}')
_ADDRESS = re.compile(
    r'([0-9A-Fa-f]{4}):([0-9A-Fa-f]{2}):([01][0-9A-Fa-f])\.([0-7])'
)
_ID = re.compile(r'[0-9A-Fa-f]{4}')
#: Characters of a URL (RFC 3986), but for ``$``, which oslo.config would
#: replace.
_TRANSPORT_URL = re.compile(r"rabbit://[A-Za-z0-9._~:/?#\[\]@!&'()*+,;=%-]+")
_TYPES = ('type-PCI', 'type-PF', 'type-VF')
#: The host that the services of the control plane run on.
CONTROLLER = 'controller'
#: Texts of one service: their files are numbered with two digits.
_MOST_TEXTS = 80

#: Most hosts and most cards of a host that ``--hosts`` and ``--gpus`` take.
MOST_HOSTS = 200
MOST_GPUS = 16

_A100 = {'vendor_id': '10de', 'product_id': '20f1'}
_ALIAS = {**_A100, 'device_type': 'type-PF', 'name': 'nvidia_a100'}


@dataclasses.dataclass(frozen=True)
class SimulatedDevice:
    """A simulated PCI device of a host."""

    #: ``0000:04:00.0``, lower case.
    address: str
    vendor_id: str
    product_id: str
    #: ``type-PCI``, ``type-PF`` or ``type-VF``, as libvirt would report it.
    type: str = 'type-PCI'
    numa_node: int | None = None
    #: Number of virtual functions that a type-PF shows.
    vfs: int = 0
    #: Product id of the virtual functions; the device's own by default.
    vf_product_id: str | None = None
    #: Address of the physical function of a type-VF.
    parent_address: str | None = None

    def functions(self) -> tuple['SimulatedDevice', ...]:
        """Return the device and the virtual functions that it shows."""
        domain, bus, slot, function = _split(self.address)
        functions = [self]
        for number in range(1, self.vfs + 1):
            offset = slot * 8 + function + number
            functions.append(
                SimulatedDevice(
                    address=f'{domain:04x}:{bus:02x}:{offset // 8:02x}'
                    f'.{offset % 8}',
                    vendor_id=self.vendor_id,
                    product_id=self.vf_product_id or self.product_id,
                    type='type-VF',
                    numa_node=self.numa_node,
                    parent_address=self.address,
                )
            )
        return tuple(functions)


@dataclasses.dataclass(frozen=True)
class NUMACell:
    """A NUMA cell of a host."""

    #: Numbers of its CPUs, in ascending order.
    cpus: tuple[int, ...]
    memory_mb: int
    #: CPUs a core: neighbours in :attr:`cpus` are siblings.
    threads: int = 2
    #: Number of pages for each size in KiB. The rest are 4 KiB pages.
    hugepages: tuple[tuple[int, int], ...] = ()


@dataclasses.dataclass(frozen=True)
class SimulatedHost:
    """A compute host."""

    #: The name of the compute service.
    name: str
    #: The name of the node in Nova and of its provider in Placement.
    hypervisor_hostname: str
    memory_mb: int
    disk_gb: int
    cells: tuple[NUMACell, ...]
    devices: tuple[SimulatedDevice, ...] = ()
    #: The user's own texts for its nova.conf, a file each.
    config: tuple[str, ...] = ()

    @property
    def vcpus(self) -> int:
        """Number of CPUs."""
        return sum(len(cell.cpus) for cell in self.cells)


@dataclasses.dataclass(frozen=True)
class ServiceSpec:
    """A service of the control plane."""

    #: ``nova-api-1``, ``nova-conductor``, ``nova-conductor-2`` ...
    name: str
    #: The user's own texts for its nova.conf, a file each.
    config: tuple[str, ...] = ()
    #: The host that Nova knows it by; two of a kind need two.
    host: str = CONTROLLER
    #: What a deployer's template sets, which is read before ``config``.
    template: str = ''


@dataclasses.dataclass(frozen=True)
class CloudSpec:
    """The whole cloud."""

    #: One nova-api an entry; the catalog points at the first.
    apis: tuple[ServiceSpec, ...]
    #: Without the first there is no cloud.
    conductors: tuple[ServiceSpec, ...]
    schedulers: tuple[ServiceSpec, ...]
    hosts: tuple[SimulatedHost, ...]
    #: Of a message broker, with its password; None for sockets of our own,
    #: which only services of this machine reach.
    transport_url: str | None = None

    @property
    def control_plane(self) -> tuple[ServiceSpec, ...]:
        """All services of Nova but the computes."""
        return (*self.conductors, *self.schedulers, *self.apis)

    def host(self, name: str) -> SimulatedHost:
        """Return the host with a name.

        :raises KeyError: There is none.
        """
        for host in self.hosts:
            if host.name == name:
                return host
        raise KeyError(name)


#: The filters of a nova-scheduler that nobody describes; Nova's default list
#: looks at no devices.
SCHEDULER_TEMPLATE = (
    '[filter_scheduler]\nenabled_filters = '
    + ','.join(
        (
            *scheduler_filters.DEFAULT,
            scheduler_filters.NUMA,
            scheduler_filters.PCI,
        )
    )
    + '\n'
)


def default(hosts: int, gpus: int) -> dict[str, typing.Any]:
    """Return the document of ``--hosts`` and ``--gpus``.

    Every card is an NVIDIA A100 (``10de:20f1``, type-PF). Two cards sit at
    0000:04:00.0 and 0000:82:00.0, on NUMA nodes 0 and 1.

    :raises InvalidValue: A number is out of range.
    """
    if not 1 <= hosts <= MOST_HOSTS:
        raise exceptions.InvalidValue(
            f'--hosts takes 1 to {MOST_HOSTS}, not {hosts}'
        )
    if not 0 <= gpus <= MOST_GPUS:
        raise exceptions.InvalidValue(
            f'--gpus takes 0 to {MOST_GPUS}, not {gpus}'
        )
    alias = f'alias = {json.dumps(_ALIAS)}\n'
    devices = [
        {'address': address, **_A100, 'type': 'type-PF', 'numa_node': node}
        for address, node in _places(gpus)
    ]
    device_specs = ''.join(
        'device_spec = '
        + json.dumps({**_A100, 'address': device['address']})
        + '\n'
        for device in devices
    )
    return {
        'control_plane': {
            'config': '[filter_scheduler]\npci_in_placement = True\n',
            'api': [{'config': f'[pci]\n{alias}'}],
        },
        'hosts': [
            {
                'name': f'edpm-compute-{number}',
                'hypervisor_hostname': (
                    f'edpm-compute-{number}.ctlplane.example.com'
                ),
                'devices': devices,
                'config': (
                    f'[pci]\nreport_in_placement = True\n{device_specs}{alias}'
                ),
            }
            for number in range(hosts)
        ],
    }


def read(document: typing.Any) -> CloudSpec:
    """Check a document and return what it describes.

    :raises InvalidValue: A key is unknown or missing, or a value is not what
        the key takes; the message names the key.
    """
    top = _Mapping(document, '')
    control = top.mapping('control_plane', {})
    shared = control.config()
    entries = control.mappings('api', [{}])
    if not entries:
        raise control.wrong('api', 'at least one entry', [])
    apis = tuple(
        ServiceSpec(f'nova-api-{number}', (*shared, *_own_config(entry)))
        for number, entry in enumerate(entries, 1)
    )
    conductors, schedulers = (
        _services(control, key, shared) for key in ('conductor', 'scheduler')
    )
    transport_url = _transport_url(control)
    control.done()
    hosts = tuple(_host(entry) for entry in top.mappings('hosts'))
    top.done()
    for attribute in ('name', 'hypervisor_hostname'):
        seen: set[str] = set()
        for number, host in enumerate(hosts):
            value = getattr(host, attribute)
            if value in seen:
                raise exceptions.InvalidValue(
                    f'hosts[{number}].{attribute}: {value} is used twice'
                )
            seen.add(value)
    return CloudSpec(
        apis=apis,
        conductors=conductors,
        schedulers=schedulers,
        hosts=hosts,
        transport_url=transport_url,
    )


def _transport_url(control: '_Mapping') -> str | None:
    if control.get('transport_url') is None:
        return None
    url = control.text('transport_url')
    if not _TRANSPORT_URL.fullmatch(url):
        # What there is may be a password.
        raise control.wrong(
            'transport_url', 'rabbit://USER:PASSWORD@HOST:PORT/', '...'
        )
    return url


def _services(
    control: '_Mapping', key: str, shared: tuple[str, ...]
) -> tuple[ServiceSpec, ...]:
    """Return the services of a key that takes one, or a list of several."""
    if isinstance(control.get(key, {}), dict):
        entries = [control.mapping(key, {})]
    else:
        entries = control.mappings(key)
        if not entries:
            raise control.wrong(key, 'at least one entry', [])
    template = ''
    if key == 'scheduler' and control.get(key) is None:
        # Nobody says what it reads.
        template = SCHEDULER_TEMPLATE
    return tuple(
        ServiceSpec(
            f'nova-{key}' if number == 1 else f'nova-{key}-{number}',
            (*shared, *_own_config(entry)),
            CONTROLLER if number == 1 else f'{CONTROLLER}-{number}',
            entry_template or template,
        )
        for number, (entry_template, entry) in enumerate(
            ((entry.text('template', ''), entry) for entry in entries), 1
        )
    )


def _own_config(entry: '_Mapping') -> tuple[str, ...]:
    own = entry.config()
    entry.done()
    return own


def _host(entry: '_Mapping') -> SimulatedHost:
    name = entry.name('name')
    hypervisor = entry.name('hypervisor_hostname', name)
    numa = entry.mappings('numa', None)
    if numa is None:
        vcpus = entry.integer('vcpus', 64, least=2)
        memory = entry.integer('memory_mb', 262144, least=1024)
        cells = tuple(
            NUMACell(
                cpus=tuple(range(vcpus * node // 2, vcpus * (node + 1) // 2)),
                memory_mb=memory // 2,
            )
            for node in range(2)
        )
    else:
        for key in ('vcpus', 'memory_mb'):
            if entry.get(key) is not None:
                raise exceptions.InvalidValue(
                    f'{entry.path(key)}: the cells of numa say it already'
                )
        cells = tuple(_cell(cell) for cell in numa)
        if not cells:
            raise entry.wrong('numa', 'at least one cell', [])
        cpus = [cpu for cell in cells for cpu in cell.cpus]
        if len(cpus) != len(set(cpus)):
            raise entry.wrong(
                'numa', 'each CPU in one cell only', sorted(cpus)
            )
        memory = sum(cell.memory_mb for cell in cells)
    devices = tuple(_device(item) for item in entry.mappings('devices', []))
    host = SimulatedHost(
        name=name,
        hypervisor_hostname=hypervisor,
        memory_mb=memory,
        disk_gb=entry.integer('disk_gb', 2000, least=1),
        cells=cells,
        devices=devices,
        config=entry.config(),
    )
    seen: set[str] = set()
    for number, device in enumerate(devices):
        path = entry.path(f'devices[{number}]')
        node = device.numa_node
        if node is not None and node >= len(cells):
            raise exceptions.InvalidValue(
                f'{path}.numa_node: the host has no NUMA node {node}'
            )
        for function in device.functions():
            if function.address in seen:
                raise exceptions.InvalidValue(
                    f'{path}.address: {function.address} is used twice'
                )
            seen.add(function.address)
    entry.done()
    return host


def _cell(entry: '_Mapping') -> NUMACell:
    text = entry.text('cpus')
    try:
        cpus = tuple(sorted(cpu.parse(text)))
    except exceptions.InvalidCPUSet:
        cpus = ()
    if not cpus:
        raise entry.wrong('cpus', 'CPUs such as 0-15,32-47', text)
    threads = entry.integer('threads', 2, least=1)
    memory = entry.integer('memory_mb', least=1)
    pages: dict[int, int] = {}
    for item in entry.mappings('hugepages', []):
        size = item.integer('size_kb', least=5)
        if size in pages:
            raise item.wrong('size_kb', 'each size once', size)
        pages[size] = item.integer('total', least=0)
        item.done()
    if sum(size * total for size, total in pages.items()) > memory * 1024:
        raise entry.wrong(
            'hugepages', 'pages within the memory of the cell', pages
        )
    entry.done()
    return NUMACell(cpus, memory, threads, tuple(sorted(pages.items())))


def _device(entry: '_Mapping') -> SimulatedDevice:
    address = entry.text('address').lower()
    if not _ADDRESS.fullmatch(address):
        raise entry.wrong('address', 'such as 0000:04:00.0', address)
    kind = entry.text('type', 'type-PCI')
    if kind not in _TYPES:
        raise entry.wrong('type', 'one of {}'.format(', '.join(_TYPES)), kind)
    parent = entry.get('parent_address')
    if kind == 'type-VF':
        if not isinstance(parent, str) or not _ADDRESS.fullmatch(parent):
            raise entry.wrong(
                'parent_address', 'address of the physical function', parent
            )
    elif parent is not None:
        raise entry.wrong('parent_address', 'type-VF devices only', parent)
    vfs = entry.integer('vfs', 0, least=0)
    vf_product = entry.get('vf_product_id')
    if vfs and kind != 'type-PF':
        raise entry.wrong('vfs', 'type-PF devices only', vfs)
    device = SimulatedDevice(
        address=address,
        vendor_id=entry.identifier('vendor_id'),
        product_id=entry.identifier('product_id'),
        type=kind,
        numa_node=(
            None
            if entry.get('numa_node') is None
            else entry.integer('numa_node', least=0)
        ),
        vfs=vfs,
        vf_product_id=(
            None if vf_product is None else entry.identifier('vf_product_id')
        ),
        parent_address=None if parent is None else parent.lower(),
    )
    _domain, _bus, slot, function = _split(address)
    if slot * 8 + function + vfs > 255:
        raise entry.wrong('vfs', 'functions that fit on one bus', vfs)
    entry.done()
    return device


_MISSING = object()


class _Mapping:
    """A mapping of the document that knows its place in it."""

    def __init__(self, value: typing.Any, place: str) -> None:
        if not isinstance(value, dict):
            raise exceptions.InvalidValue(
                '{key}: expected a mapping, not {value}'.format(
                    key=place or 'spec', value=_show(value)
                )
            )
        self._value = value
        self._place = place
        self._known: set[str] = set()

    def path(self, key: str) -> str:
        return f'{self._place}.{key}' if self._place else key

    def wrong(
        self, key: str, expected: str, value: object
    ) -> exceptions.InvalidValue:
        return exceptions.InvalidValue(
            f'{self.path(key)}: expected {expected}, not {_show(value)}'
        )

    def get(self, key: str, default: typing.Any = None) -> typing.Any:
        self._known.add(key)
        value = self._value.get(key, default)
        if value is _MISSING:
            raise exceptions.InvalidValue(f'{self.path(key)} is missing')
        return value

    def text(self, key: str, default: typing.Any = _MISSING) -> str:
        value = self.get(key, default)
        if not isinstance(value, str):
            raise self.wrong(key, 'text', value)
        return value

    def name(self, key: str, default: typing.Any = _MISSING) -> str:
        value = self.text(key, default)
        if not NAME.fullmatch(value):
            raise self.wrong(
                key, 'letters, digits, dots, dashes, underscores', value
            )
        return value

    def identifier(self, key: str) -> str:
        value = self.get(key, _MISSING)
        if not isinstance(value, str) or not _ID.fullmatch(value):
            raise self.wrong(key, 'four hexadecimal digits in quotes', value)
        return value.lower()

    def integer(
        self, key: str, default: typing.Any = _MISSING, *, least: int
    ) -> int:
        value = self.get(key, default)
        if type(value) is not int or value < least:
            raise self.wrong(key, f'a whole number of at least {least}', value)
        return value

    def config(self) -> tuple[str, ...]:
        """Return the texts of nova.conf: one, or a list of them."""
        value = self.get('config', '')
        texts = value if isinstance(value, list) else [value]
        for text in texts:
            if not isinstance(text, str):
                raise self.wrong('config', 'text', text)
            for character in text:
                if not character.isprintable() and character not in '\t\n\r':
                    raise self.wrong('config', 'printable text', text)
        if len(texts) > _MOST_TEXTS:
            raise self.wrong(
                'config', f'at most {_MOST_TEXTS} texts', len(texts)
            )
        return tuple(text for text in texts if text)

    def mapping(self, key: str, default: typing.Any = _MISSING) -> '_Mapping':
        return _Mapping(self.get(key, default), self.path(key))

    @typing.overload
    def mappings(
        self, key: str, default: list[typing.Any] = ...
    ) -> list['_Mapping']: ...

    @typing.overload
    def mappings(self, key: str, default: None) -> list['_Mapping'] | None: ...

    def mappings(
        self, key: str, default: typing.Any = _MISSING
    ) -> list['_Mapping'] | None:
        value = self.get(key, default)
        if value is None and default is None:
            return None
        if not isinstance(value, list):
            raise self.wrong(key, 'a list', value)
        return [
            _Mapping(item, f'{self.path(key)}[{number}]')
            for number, item in enumerate(value)
        ]

    def done(self) -> None:
        """Refuse the keys that nobody asked for."""
        for key in self._value:
            if key not in self._known:
                raise exceptions.InvalidValue(
                    '{key} is not a key of a spec; known here: {known}'.format(
                        key=self.path(str(key)),
                        known=', '.join(sorted(self._known)),
                    )
                )


def _show(value: object) -> str:
    try:
        text = json.dumps(value, default=str)
    except (TypeError, ValueError, RecursionError):
        # YAML has keys that are no text, and mappings that hold themselves.
        text = str(value)
    return text if len(text) <= 80 else text[:77] + '...'


def _split(address: str) -> tuple[int, int, int, int]:
    match = _ADDRESS.fullmatch(address)
    if match is None:
        raise ValueError(address)
    domain, bus, slot, function = (int(part, 16) for part in match.groups())
    return domain, bus, slot, function


def _places(gpus: int) -> collections.abc.Iterator[tuple[str, int]]:
    """Yield an address and a NUMA node for each card of a host."""
    if gpus == 2:
        yield from (('0000:04:00.0', 0), ('0000:82:00.0', 1))
        return
    for number in range(gpus):
        bus = 0x04 + number * (0xF0 // MOST_GPUS)
        yield f'0000:{bus:02x}:00.0', number * 2 // gpus
