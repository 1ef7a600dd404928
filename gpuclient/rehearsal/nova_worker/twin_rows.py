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

"""Rows of a twin in the databases of Placement and Nova.

A twin has the hosts of another cloud as rows only: providers in Placement, and
services, compute nodes and aggregates in Nova. No nova-compute runs for them.
Rows are written directly, since thousands of requests would take minutes.
"""

import sqlite3
import typing
import uuid

Row: typing.TypeAlias = dict[str, typing.Any]

#: Tables of a twin, with those that refer to others first.
_OF_PLACEMENT = (
    'allocations',
    'inventories',
    'resource_provider_traits',
    'resource_provider_aggregates',
    'resource_providers',
    'placement_aggregates',
    'consumers',
)
_OF_API = (
    'host_mappings',
    'aggregate_hosts',
    'aggregate_metadata',
    'aggregates',
)
_OF_CELL = ('compute_nodes',)
_PROJECT = 'twin'


def load_placement(path: str, twin: Row) -> None:
    """Replace all providers of Placement by those of a twin."""
    with sqlite3.connect(path, timeout=60) as database:
        # Children before their parents.
        database.execute('update resource_providers set parent_provider_id=0')
        for table in _OF_PLACEMENT:
            database.execute(f'delete from {table}')  # noqa: S608
        _Placement(database, twin).load()
    database.close()


class _Placement:
    def __init__(self, database: sqlite3.Connection, twin: Row) -> None:
        self._database = database
        self._twin = twin
        self._ids: dict[str, int] = {}

    def load(self) -> None:
        self._project = self._id('projects', 'external_id', _PROJECT)
        self._user = self._id('users', 'external_id', _PROJECT)
        aggregates = {
            group['uuid']: self._insert(
                'placement_aggregates', uuid=group['uuid']
            )
            for group in self._twin['aggregates']
        }
        for provider in self._twin['providers']:
            number = self._provider(provider)
            for group in self._twin['aggregates']:
                if provider['host'] in group['hosts'] and (
                    provider['parent'] is None
                ):
                    self._insert(
                        'resource_provider_aggregates',
                        resource_provider_id=number,
                        aggregate_id=aggregates[group['uuid']],
                    )

    def _provider(self, provider: Row) -> int:
        parent = self._ids.get(provider['parent'] or '')
        number = self._insert(
            'resource_providers',
            uuid=provider['uuid'],
            name=provider['name'],
            generation=1,
            root_provider_id=parent,
            parent_provider_id=parent,
        )
        self._ids[provider['uuid']] = number
        if parent is None:
            self._database.execute(
                'update resource_providers set root_provider_id=? where id=?',
                (number, number),
            )
        for trait in provider['traits']:
            self._insert(
                'resource_provider_traits',
                resource_provider_id=number,
                trait_id=self._id('traits', 'name', trait),
            )
        for name, record in provider['inventories'].items():
            self._inventory(number, name, dict(record))
        return number

    def _inventory(self, provider: int, name: str, record: Row) -> None:
        used = record.pop('used')
        resource_class = self._id('resource_classes', 'name', name)
        self._insert(
            'inventories',
            resource_provider_id=provider,
            resource_class_id=resource_class,
            allocation_ratio=1.0,
            **record,
        )
        if used:
            consumer = str(uuid.uuid4())
            self._insert(
                'consumers',
                uuid=consumer,
                project_id=self._project,
                user_id=self._user,
                generation=1,
            )
            self._insert(
                'allocations',
                resource_provider_id=provider,
                consumer_id=consumer,
                resource_class_id=resource_class,
                used=used,
            )

    def _id(self, table: str, column: str, value: str) -> int:
        """Return the ID of a row, which is created if it is missing."""
        row = self._database.execute(
            f'select id from {table} where {column}=?',  # noqa: S608
            (value,),
        ).fetchone()
        return row[0] if row else self._insert(table, **{column: value})

    def _insert(self, table: str, **values: typing.Any) -> int:
        return insert(self._database, table, values)


def insert(database: sqlite3.Connection, table: str, values: Row) -> int:
    """Insert a row, and return its ID."""
    columns = ', '.join(values)
    marks = ', '.join('?' for _value in values)
    statement = f'insert into {table} ({columns}) values ({marks})'  # noqa: S608
    cursor = database.execute(statement, tuple(values.values()))
    return int(cursor.lastrowid or 0)


def clear_nova(api: str, cell: str) -> None:
    """Delete all hosts and aggregates of Nova."""
    for path, tables in ((api, _OF_API), (cell, _OF_CELL)):
        with sqlite3.connect(path, timeout=60) as database:
            for table in tables:
                database.execute(f'delete from {table}')  # noqa: S608
            if path == cell:
                database.execute(
                    "delete from services where binary='nova-compute'"
                )
        database.close()


def load_nova(api: str, cell: str, twin: Row) -> None:
    """Replace all hosts and aggregates of Nova by those of a twin.

    Called in a process that has imported Nova, and read its configuration.
    """
    from nova import context
    from nova import objects

    clear_nova(api, cell)
    admin = context.get_admin_context()
    mapping = next(
        record
        for record in objects.CellMappingList.get_all(admin)
        if not record.is_cell0()
    )
    for group in twin['aggregates']:
        record = objects.Aggregate(
            admin,
            uuid=group['uuid'],
            name=group['name'],
            metadata=group['metadata'],
        )
        record.create()
        for host in group['hosts']:
            record.add_host(host)
    context.set_target_cell(admin, mapping)
    for host in twin['hosts']:
        objects.HostMapping(
            admin, host=host['service_host'], cell_mapping=mapping
        ).create()
        _create_host(admin, host)
    if twin['old_services']:
        with sqlite3.connect(cell, timeout=60) as database:
            # Nova requires OWNER_NOVA once all services are of Nova 34.
            database.execute(
                'update services set version=? where binary=?',
                (twin['old_services'], 'nova-compute'),
            )
        database.close()


def _create_host(admin: typing.Any, host: Row) -> None:
    from nova import objects
    from oslo_utils import timeutils

    service = objects.Service(
        admin,
        host=host['service_host'],
        binary='nova-compute',
        topic='compute',
        report_count=1,
        disabled=bool(host['disabled']),
        disabled_reason=host['disabled'] or None,
        forced_down=bool(host['down']),
        last_seen_up=timeutils.utcnow(),
    )
    service.create()
    objects.ComputeNode(
        admin,
        uuid=host['uuid'],
        service_id=service.id,
        host=host['service_host'],
        hypervisor_hostname=host['name'],
        hypervisor_type='QEMU',
        hypervisor_version=10_000_000,
        cpu_info='{}',
        vcpus=host['vcpus'],
        vcpus_used=0,
        memory_mb=host['memory_mb'],
        memory_mb_used=0,
        free_ram_mb=host['memory_mb'],
        local_gb=host['disk_gb'],
        local_gb_used=0,
        free_disk_gb=host['disk_gb'],
        disk_available_least=host['disk_gb'],
        running_vms=0,
        current_workload=0,
        host_ip='127.0.0.1',
        stats={},
        metrics='[]',
        numa_topology=None,
        supported_hv_specs=[
            objects.HVSpec(arch=arch, hv_type=kind, vm_mode='hvm')
            for arch in ('x86_64', 'aarch64')
            for kind in ('kvm', 'qemu')
        ],
        pci_device_pools=_pools(host),
        cpu_allocation_ratio=1.0,
        ram_allocation_ratio=1.0,
        disk_allocation_ratio=1.0,
        mapped=1,
    ).create()


def _pools(host: Row) -> typing.Any:
    from nova import objects

    return objects.PciDevicePoolList(
        objects=[
            objects.PciDevicePool(
                vendor_id=pool['vendor_id'],
                product_id=pool['product_id'],
                numa_node=None,
                tags=pool['tags'],
                count=pool['count'],
            )
            for pool in host['pools']
        ]
    )
