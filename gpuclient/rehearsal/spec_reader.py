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

"""Read the spec of a rehearsal cloud.

``doc/source/user/rehearsal.rst`` and ``gpuclient/data/schema/rehearsal.json``
describe the format.
"""

import re
import typing

from gpuclient import exceptions
from gpuclient.model import cpu
from gpuclient.model import mapping_reader
from gpuclient.rehearsal import spec

_ID = re.compile(r'[0-9A-Fa-f]{4}')
_FOUR_DIGITS = 'four hexadecimal digits'
_AN_ADDRESS = 'an address such as 0000:04:00.0'
_A_NAME = 'a name of letters, digits, dots, dashes and underscores'
_CPUS = 'CPUs such as 0-15,32-47'
#: Characters of a URL (RFC 3986), except ``$``, which oslo.config would
#: replace.
_TRANSPORT_URL = re.compile(r"rabbit://[A-Za-z0-9._~:/?#\[\]@!&'()*+,;=%-]+")
_DEVICE_TYPES = ('type-PCI', 'type-PF', 'type-VF')
#: Texts of a service, whose files are numbered with two digits.
_MAXIMUM_TEXTS = 80
#: The last slot and function of a bus.
_LAST_FUNCTION = 255


def read(document: typing.Any) -> spec.CloudSpec:
    """Return the spec that a document holds.

    :raises gpuclient.exceptions.InvalidData: It is invalid; the message begins
        with the place.
    """
    top = mapping_reader.MappingReader(document, mapping_reader.REHEARSAL_SPEC)
    control = top.mapping('control_plane', {})
    shared = _config(control)
    apis = tuple(
        spec.ServiceSpec(f'nova-api-{number}', (*shared, *_own_config(item)))
        for number, item in enumerate(control.mappings('api', [{}]), 1)
    )
    conductors = _services(control, 'conductor', shared)
    schedulers = _services(control, 'scheduler', shared)
    transport_url = _transport_url(control)
    control.done()
    hosts = tuple(_host(item) for item in top.mappings('hosts', minimum=0))
    top.done()
    for attribute in ('name', 'hypervisor_hostname'):
        names = [getattr(host, attribute) for host in hosts]
        for number, name in enumerate(names):
            if name in names[:number]:
                raise mapping_reader.error(
                    f'hosts[{number}].{attribute}', f'{name} is used twice'
                )
    return spec.CloudSpec(
        apis=apis,
        conductors=conductors,
        schedulers=schedulers,
        hosts=hosts,
        transport_url=transport_url,
    )


def _transport_url(control: mapping_reader.MappingReader) -> str | None:
    url: str | None = control.text('transport_url', None)
    if url is not None and not _TRANSPORT_URL.fullmatch(url):
        # The value may contain a password.
        raise control.error(
            'transport_url', 'must be rabbit://USER:PASSWORD@HOST:PORT/'
        )
    return url


def _services(
    control: mapping_reader.MappingReader, key: str, shared: tuple[str, ...]
) -> tuple[spec.ServiceSpec, ...]:
    """Return the services of a key that has a mapping, or a list of them."""
    if isinstance(control.get(key, {}), dict):
        items = [control.mapping(key, {})]
    else:
        items = control.mappings(key)
    template = ''
    if key == 'scheduler' and not control.has(key):
        template = spec.SCHEDULER_TEMPLATE
    services = []
    for number, item in enumerate(items, 1):
        suffix = '' if number == 1 else f'-{number}'
        services.append(
            spec.ServiceSpec(
                f'nova-{key}{suffix}',
                (*shared, *_config(item)),
                f'{spec.CONTROLLER}{suffix}',
                _template(item) or template,
            )
        )
        item.done()
    return tuple(services)


def _template(item: mapping_reader.MappingReader) -> str:
    template = item.get('template', '')
    if not isinstance(template, str):
        raise item.error('template', 'must be a string')
    return template


def _own_config(item: mapping_reader.MappingReader) -> tuple[str, ...]:
    config = _config(item)
    item.done()
    return config


def _config(item: mapping_reader.MappingReader) -> tuple[str, ...]:
    """Return the texts of nova.conf: one, or a list of them."""
    texts = _texts(item, 'config')
    if len(texts) > _MAXIMUM_TEXTS:
        raise item.error(
            'config', f'has {len(texts)} texts; at most {_MAXIMUM_TEXTS}'
        )
    return tuple(text for text in texts if text)


def _texts(item: mapping_reader.MappingReader, key: str) -> list[str]:
    value = item.get(key, '')
    texts = value if isinstance(value, list) else [value]
    for text in texts:
        if not isinstance(text, str):
            raise item.error(key, 'must be a string, or a list of strings')
        if not all(
            character.isprintable() or character in '\t\n\r'
            for character in text
        ):
            raise item.error(key, 'contains a control character')
    return texts


def _host(item: mapping_reader.MappingReader) -> spec.SimulatedHost:
    name = item.text('name', pattern=spec.NAME, expected=_A_NAME)
    cells = _cells(item)
    devices = tuple(
        _device(device) for device in item.mappings('devices', [], 0)
    )
    host = spec.SimulatedHost(
        name=name,
        hypervisor_hostname=item.text(
            'hypervisor_hostname', name, spec.NAME, expected=_A_NAME
        ),
        memory_mb=item.integer('memory_mb', 262144, 1024)
        if not item.has('numa')
        else sum(cell.memory_mb for cell in cells),
        disk_gb=item.integer('disk_gb', 2000, 1),
        cells=cells,
        devices=devices,
        config=_config(item),
    )
    item.done()
    _check_devices(item, host)
    return host


def _cells(
    host: mapping_reader.MappingReader,
) -> tuple[spec.NUMACell, ...]:
    """Return the cells of a host; two of the same size by default."""
    if not host.has('numa'):
        vcpus = host.integer('vcpus', 64, 2)
        memory_mb = host.integer('memory_mb', 262144, 1024)
        return tuple(
            spec.NUMACell(
                cpus=tuple(range(vcpus * node // 2, vcpus * (node + 1) // 2)),
                memory_mb=memory_mb // 2,
            )
            for node in range(2)
        )
    for key in ('vcpus', 'memory_mb'):
        if host.has(key):
            raise host.error(key, 'cannot be combined with numa')
    cells = tuple(_cell(item) for item in host.mappings('numa'))
    cpus = [number for cell in cells for number in cell.cpus]
    if len(cpus) != len(set(cpus)):
        raise host.error('numa', 'has a CPU in two cells')
    return cells


def _cell(item: mapping_reader.MappingReader) -> spec.NUMACell:
    try:
        cpus = tuple(sorted(cpu.parse(item.text('cpus', expected=_CPUS))))
    except exceptions.InvalidCPUSet:
        cpus = ()
    if not cpus:
        raise item.unexpected('cpus', _CPUS)
    threads = item.integer('threads', 2, 1)
    memory_mb = item.integer('memory_mb', minimum=1)
    pages: dict[int, int] = {}
    for size in item.mappings('hugepages', [], 0):
        size_kb = size.integer('size_kb', minimum=5)
        if size_kb in pages:
            raise size.error('size_kb', f'{size_kb} is used twice')
        pages[size_kb] = size.integer('total')
        size.done()
    if sum(size * total for size, total in pages.items()) > memory_mb * 1024:
        raise item.error(
            'hugepages', f'take more than the {memory_mb} MiB of the cell'
        )
    item.done()
    return spec.NUMACell(
        cpus, memory_mb, threads, tuple(sorted(pages.items()))
    )


def _device(item: mapping_reader.MappingReader) -> spec.SimulatedDevice:
    device_type = item.text('type', 'type-PCI', choices=_DEVICE_TYPES)
    vf_product_id = item.text(
        'vf_product_id', None, _ID, expected=_FOUR_DIGITS
    )
    device = spec.SimulatedDevice(
        address=_address(item, 'address', mapping_reader.REQUIRED),
        vendor_id=item.text(
            'vendor_id', pattern=_ID, expected=_FOUR_DIGITS
        ).lower(),
        product_id=item.text(
            'product_id', pattern=_ID, expected=_FOUR_DIGITS
        ).lower(),
        type=device_type,
        numa_node=item.integer('numa_node', None),
        vfs=item.integer('vfs', 0),
        vf_product_id=vf_product_id and vf_product_id.lower(),
        parent_address=_address(item, 'parent_address', None),
    )
    item.done()
    _check_virtual_functions(item, device)
    return device


def _address(
    item: mapping_reader.MappingReader, key: str, default: typing.Any
) -> typing.Any:
    address = item.text(key, default, spec.ADDRESS, expected=_AN_ADDRESS)
    return address and address.lower()


def _check_virtual_functions(
    item: mapping_reader.MappingReader, device: spec.SimulatedDevice
) -> None:
    if device.type == 'type-VF':
        # Its address is required.
        item.get('parent_address')
    elif device.parent_address is not None:
        raise item.error('parent_address', 'is for type-VF devices only')
    if device.vfs and device.type != 'type-PF':
        raise item.error('vfs', 'is for type-PF devices only')
    _domain, _bus, slot, function = spec.split(device.address)
    if slot * 8 + function + device.vfs > _LAST_FUNCTION:
        raise item.error(
            'vfs', f'{device.vfs} virtual functions do not fit on the bus'
        )


def _check_devices(
    item: mapping_reader.MappingReader, host: spec.SimulatedHost
) -> None:
    addresses: set[str] = set()
    for number, device in enumerate(host.devices):
        place = f'{item.where("devices")}[{number}]'
        node = device.numa_node
        if node is not None and node >= len(host.cells):
            raise mapping_reader.error(
                f'{place}.numa_node', f'the host has no NUMA node {node}'
            )
        for function in device.functions():
            if function.address in addresses:
                raise mapping_reader.error(
                    f'{place}.address', f'{function.address} is used twice'
                )
            addresses.add(function.address)
