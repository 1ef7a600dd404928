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

"""A compute driver with simulated hosts and devices.

Nova's fake driver runs the servers. Methods of Nova's libvirt driver report
the CPUs, NUMA cells and memory pages of the host that the job describes. So
options such as ``[compute]cpu_dedicated_set`` have the effect that they have
on a real host, and values that the libvirt driver refuses are refused.
"""

import dataclasses
import json
import os
import tempfile
import types
import typing

import nova.conf
from nova.virt import fake
from nova.virt import hardware as nova_hardware
from nova.virt.libvirt import driver as libvirt
from nova.virt import node
import os_resource_classes

CONF = nova.conf.CONF

_Resources: typing.TypeAlias = dict[str, typing.Any]


@dataclasses.dataclass(frozen=True)
class HostHardware:
    """The hardware of a host."""

    hypervisor_hostname: str
    memory_mb: int
    disk_gb: int
    #: NUMA nodes: ``cpus``, ``memory_mb``, ``threads`` and ``hugepages``, a
    #: list of sizes in KiB and totals.
    cells: list[dict[str, typing.Any]]
    #: PCI devices, the VFs among them: ``address``, ``vendor_id``,
    #: ``product_id``, ``type``, ``numa_node`` and ``parent_address``.
    devices: list[dict[str, typing.Any]]

    @property
    def cpus(self) -> set[int]:
        return {cpu for cell in self.cells for cpu in cell['cpus']}


#: The host of this process; set before the driver is created.
HOST: HostHardware | None = None


class _LibvirtHost:
    """The host as ``nova/virt/libvirt/host.py:Host`` reports it."""

    def __init__(self, hardware: HostHardware) -> None:
        self._hardware = hardware

    def get_online_cpus(self) -> set[int]:
        return self._hardware.cpus

    get_available_cpus = get_online_cpus

    def get_capabilities(self) -> types.SimpleNamespace:
        cells = [
            _cell(number, cell)
            for number, cell in enumerate(self._hardware.cells)
        ]
        topology = types.SimpleNamespace(cells=cells)
        return types.SimpleNamespace(
            host=types.SimpleNamespace(topology=topology)
        )


def _cell(number: int, cell: dict[str, typing.Any]) -> types.SimpleNamespace:
    cpus: list[types.SimpleNamespace] = []
    for start in range(0, len(cell['cpus']), cell['threads']):
        siblings = cell['cpus'][start : start + cell['threads']]
        cpus.extend(
            types.SimpleNamespace(id=cpu, socket_id=number, siblings=siblings)
            for cpu in siblings
        )
    kilobytes = cell['memory_mb'] * 1024
    small = kilobytes - sum(size * total for size, total in cell['hugepages'])
    return types.SimpleNamespace(
        id=number,
        cpus=cpus,
        memory=kilobytes,
        mempages=[
            types.SimpleNamespace(size=size, total=total)
            for size, total in ((4, small // 4), *cell['hugepages'])
        ],
    )


def devices(host: HostHardware) -> list[dict[str, typing.Any]]:
    """Return the devices of a host as the libvirt driver reports them.

    See ``nova/virt/libvirt/host.py:_get_pcidev_info``.
    """
    records = []
    for device in host.devices:
        name = device['address'].replace(':', '_').replace('.', '_')
        record: dict[str, typing.Any] = {
            'dev_id': f'pci_{name}',
            'address': device['address'],
            'vendor_id': device['vendor_id'],
            'product_id': device['product_id'],
            'numa_node': device['numa_node'],
            'label': f'label_{device["vendor_id"]}_{device["product_id"]}',
            'dev_type': device['type'],
            'status': 'available',
        }
        if device['parent_address']:
            record['parent_addr'] = device['parent_address']
        records.append(record)
    return records


def is_physical_function(
    domain: str, bus: str, slot: str, function: str
) -> bool:
    """Replace ``nova/pci/utils.py:is_physical_function``.

    That function reads the sysfs of this machine, which has other devices.
    """
    address = f'{domain}:{bus}:{slot}.{function}'
    return HOST is not None and any(
        device['address'] == address and device['type'] == 'type-PF'
        for device in HOST.devices
    )


#: Bits of a physical address of each host.
_ADDRESS_BITS = 46


class Driver(fake.FakeDriver):  # type: ignore[misc]
    """The driver of a compute host of a rehearsal cloud."""

    capabilities: typing.ClassVar[dict[str, bool]] = {
        **fake.FakeDriver.capabilities,
        'supports_pcpus': True,
    }

    _check_cpu_set_configuration = (
        libvirt.LibvirtDriver._check_cpu_set_configuration
    )
    _get_vcpu_available = libvirt.LibvirtDriver._get_vcpu_available
    _get_pcpu_available = libvirt.LibvirtDriver._get_pcpu_available
    _get_host_numa_topology = libvirt.LibvirtDriver._get_host_numa_topology

    def __init__(self, virtapi: object, read_only: bool = False) -> None:
        if HOST is None:
            raise RuntimeError('no host is set')
        self._hardware = HOST
        self._libvirt_host = _LibvirtHost(HOST)
        self.vcpus = len(HOST.cpus)
        self.memory_mb = HOST.memory_mb
        self.local_gb = HOST.disk_gb
        super().__init__(virtapi, read_only)
        self._reserved_hugepages = nova_hardware.numa_get_reserved_huge_pages()
        self._guests = os.path.join(CONF.state_path, 'guests.json')

    def _has_numa_support(self) -> bool:
        return True

    def init_host(self, host: str) -> None:
        super().init_host(host)
        # Methods of the libvirt driver use this attribute.
        self._host = self._libvirt_host
        self._check_cpu_set_configuration()
        self._set_nodes([self._hardware.hypervisor_hostname])
        self._load()

    # -- servers, which are kept over a restart -----------------------------

    def _load(self) -> None:
        if not os.path.exists(self._guests):
            return
        with open(self._guests, encoding='utf-8') as stream:
            for uuid, (name, power) in json.load(stream).items():
                self.instances[uuid] = fake.FakeInstance(name, power, uuid)

    def _save(self) -> None:
        guests = {
            uuid: (guest.name, guest.state)
            for uuid, guest in list(self.instances.items())
        }
        descriptor, path = tempfile.mkstemp(dir=CONF.state_path)
        with open(descriptor, 'w', encoding='utf-8') as stream:
            json.dump(guests, stream)
        os.replace(path, self._guests)

    def list_instances(self) -> list[str]:
        # That of Nova fails where a server starts or ends in another thread.
        return [guest.name for guest in list(self.instances.values())]

    def spawn(self, *args: typing.Any, **kwargs: typing.Any) -> None:
        super().spawn(*args, **kwargs)
        self._save()

    def destroy(self, *args: typing.Any, **kwargs: typing.Any) -> None:
        super().destroy(*args, **kwargs)
        self._save()

    def power_on(self, *args: typing.Any, **kwargs: typing.Any) -> None:
        super().power_on(*args, **kwargs)
        self._save()

    def power_off(self, *args: typing.Any, **kwargs: typing.Any) -> None:
        super().power_off(*args, **kwargs)
        self._save()

    def finish_revert_migration(
        self, *args: typing.Any, **kwargs: typing.Any
    ) -> None:
        super().finish_revert_migration(*args, **kwargs)
        self._save()

    # -- the host -----------------------------------------------------------

    def get_host_ip_addr(self) -> str:
        return str(CONF.my_ip)

    def get_host_uptime(self) -> str:
        return ' 12:00:00 up 1 day,  0:00,  0 users,  load average: 0, 0, 0'

    def get_volume_connector(self, instance: object) -> dict[str, str]:
        return {
            'ip': str(CONF.my_block_storage_ip),
            'initiator': 'rehearsal',
            'host': CONF.host,
        }

    def get_nodenames_by_uuid(self, refresh: bool = False) -> dict[str, str]:
        return {node.get_local_node_uuid(): self._hardware.hypervisor_hostname}

    def get_available_resource(self, nodename: str) -> _Resources:
        resources: _Resources = super().get_available_resource(nodename)
        if not resources:
            return resources
        resources['uuid'] = node.get_local_node_uuid()
        resources['vcpus'] = len(self._get_vcpu_available())
        topology = self._get_host_numa_topology()
        resources['numa_topology'] = topology._to_json()
        # As the libvirt driver has them (_get_cpu_info).
        cpu = json.loads(resources['cpu_info'])
        cpu['topology']['cells'] = len(topology.cells)
        cpu['maxphysaddr'] = {'mode': 'emulate', 'bits': _ADDRESS_BITS}
        resources['cpu_info'] = json.dumps(cpu)
        resources['pci_passthrough_devices'] = json.dumps(
            devices(self._hardware)
        )
        return resources

    def update_provider_tree(
        self,
        provider_tree: typing.Any,
        nodename: str,
        allocations: typing.Any = None,
    ) -> None:
        super().update_provider_tree(provider_tree, nodename, allocations)
        # See nova/virt/libvirt/driver.py:update_provider_tree.
        inventory = dict(provider_tree.data(nodename).inventory)
        vcpus = len(self._get_vcpu_available())
        pcpus = len(self._get_pcpu_available())
        if vcpus:
            inventory['VCPU'] = {
                **inventory['VCPU'],
                'total': vcpus,
                'max_unit': vcpus,
            }
        else:
            del inventory['VCPU']
        if pcpus:
            inventory[os_resource_classes.PCPU] = {
                'total': pcpus,
                'min_unit': 1,
                'max_unit': pcpus,
                'step_size': 1,
                'allocation_ratio': 1,
                'reserved': 0,
            }
        provider_tree.update_inventory(nodename, inventory)
