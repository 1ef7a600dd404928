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

"""The verdicts of filters are those of Nova's own filter classes."""

import json
import typing
import unittest.mock

import hypothesis
from hypothesis import strategies
from nova import objects
from nova.scheduler import filters
from nova.scheduler import host_manager
import testtools

from gpuclient.model import capacity
from gpuclient.model import flavor as flavor_model
from gpuclient.model import host_filters
from gpuclient.model import image as image_model
from gpuclient.model import image_properties
from gpuclient.model import inventory
from gpuclient.model import release as release_model
from gpuclient.model import scheduler_options

from tests.unit.differential import nova_side

HOST = 'gpu-1'
NODE = 'gpu-1.example.com'
PROJECT = 'mine'
IMAGE = '5b0c0d9e-60a4-4d5c-9d6a-5f4f4b9f1c11'
CPU = {
    'arch': 'x86_64',
    'features': ['vmx', 'avx'],
    'topology': {'cells': 2, 'cores': 16},
    'maxphysaddr': {'mode': 'emulate', 'bits': 46},
}
PROPERTIES = strategies.dictionaries(
    strategies.sampled_from(
        (
            'os_distro', 'os_type', 'hw_architecture', 'architecture',
            'hw_boot_menu', 'hw_cpu_cores', 'hw_scsi_model', 'unknown',
            'hypervisor_type', 'img_hv_type', 'hw_vm_mode', 'vm_mode',
        )
    ),
    strategies.just(''),
).flatmap(
    lambda keys: strategies.fixed_dictionaries(
        {
            key: strategies.sampled_from(_VALUES.get(key, ('a', 'ubuntu')))
            for key in keys
        }
    )
)  # fmt: skip
_VALUES = {
    'os_type': ('Linux', 'windows'),
    'hw_architecture': ('x86_64', 'AMD64', 'i486', 's390x'),
    'architecture': ('x86_64', 'aarch64'),
    'hw_boot_menu': ('true', 'no', 'False'),
    'hw_cpu_cores': ('0', '04'),
    'hw_scsi_model': ('VIRTIO-SCSI', 'lsilogic'),
    'hypervisor_type': ('kvm', 'xapi'),
    'img_hv_type': ('QEMU', 'vmware', 'kvm'),
    'hw_vm_mode': ('hvm', 'HV', 'pv'),
    'vm_mode': ('hvm', 'xen'),
}
METADATA = strategies.dictionaries(
    strategies.sampled_from(
        (
            'os_distro', 'os_type', 'hw_architecture', 'hw_boot_menu',
            'hw_cpu_cores', 'hw_scsi_model', 'unknown', 'gpu', 'gpu_type',
            'filter_tenant_id', 'filter_tenant_id2', 'instance_type',
            'max_instances_per_host', 'max_io_ops_per_host',
            'trait:CUSTOM_A', 'group_policy', 'ns.os_distro',
        )
    ),
    strategies.sampled_from(
        (
            'true', 'True', '4', '0', 'a, ubuntu', 'windows', 'linux',
            'x86_64', 'mine', 'others,mine', 'others', 'gpu,other', 'other',
            'virtio-scsi', '',
        )
    ),
    max_size=4,
)  # fmt: skip
SPECS = strategies.dictionaries(
    strategies.sampled_from(
        (
            'gpu', 'gpu_type', 'group_policy', 'hw:cpu_policy', 'vcpus_total',
            'aggregate_instance_extra_specs:gpu',
            'aggregate_instance_extra_specs:gpu:x', 'host',
            'capabilities:hypervisor_type', 'capabilities:hypervisor_version',
            'capabilities:cpu_info:arch', 'capabilities:cpu_info:features',
            'capabilities:cpu_info:topology:cells', 'hw:maxphysaddr_bits',
            'capabilities:nosuch', 'capabilities:vcpus_total:x',
            'capabilities:limits:memory_mb', 'capabilities:num_instances',
            'capabilities:host', 'capabilities:nosuch:deeper', 'stats',
        )
    ),
    strategies.sampled_from(
        (
            'true', '> 3', '>= 2', '4', '<in> avx', '<in>', '<or> true <or> 4',
            '<or>', '<all-in> a v', 's== QEMU', 's!= QEMU', '== x', 'x86_64',
            '46', 'gpu-1', '<or> a b ubuntu', '= 2', '!= 4', '<= 2', '',
        )
    ),
    max_size=4,
)  # fmt: skip
FILTER_OPTIONS = strategies.fixed_dictionaries(
    {
        'isolated_hosts': strategies.sampled_from(((), (HOST,), ('other',))),
        'isolated_images': strategies.sampled_from(((), (IMAGE,), ('x',))),
        'restricts_isolated_hosts': strategies.booleans(),
        'max_instances_per_host': strategies.sampled_from((1, 3, 50)),
        'max_io_ops_per_host': strategies.sampled_from((0, 1, 8)),
        'image_architecture': strategies.sampled_from(('', 'x86_64')),
        'properties_namespace': strategies.sampled_from(('', 'ns', 'os')),
        'properties_separator': strategies.sampled_from(('.', '_')),
    }
)
#: Names of options in ``[filter_scheduler]``.
NAMES = {
    'restricts_isolated_hosts': 'restrict_isolated_hosts_to_isolated_images',
    'image_architecture': 'image_properties_default_architecture',
    'properties_namespace': 'aggregate_image_properties_isolation_namespace',
    'properties_separator': 'aggregate_image_properties_isolation_separator',
}
CLASSES = {
    filter_class.__name__: filter_class
    for filter_class in filters.all_filters()
}


def state_of_nova(
    groups: list[dict[str, str]], servers: int
) -> host_manager.HostState:
    """Return the state of a host with KVM, as nova-scheduler has it."""
    state = host_manager.HostState(HOST, NODE, 'cell')
    state.update(
        compute=objects.ComputeNode(
            uuid='9a1f0c5e-4f1b-4c39-8d0a-6f2f5b7f1a11',
            memory_mb=65536,
            free_ram_mb=4096,
            free_disk_gb=100,
            disk_available_least=None,
            local_gb=200,
            local_gb_used=100,
            vcpus=64,
            vcpus_used=8,
            numa_topology=None,
            pci_device_pools=None,
            host_ip='10.0.0.1',
            hypervisor_type='QEMU',
            hypervisor_version=8002000,
            hypervisor_hostname=NODE,
            cpu_info=json.dumps(CPU),
            supported_hv_specs=[
                objects.HVSpec.from_list([architecture, kind, 'hvm'])
                for architecture in ('i686', 'x86_64')
                for kind in ('kvm', 'qemu')
            ],
            stats={'num_instances': str(servers), 'io_workload': '0'},
            metrics='[]',
            cpu_allocation_ratio=4.0,
            ram_allocation_ratio=1.0,
            disk_allocation_ratio=1.0,
            updated_at=None,
        ),
        aggregates=[objects.Aggregate(metadata=group) for group in groups],
        inst_dict={},
    )
    return state


def our_host(
    groups: list[dict[str, str]], servers: int
) -> capacity.HostCapacity:
    """Return the same host, as the API of Nova shows it."""
    return capacity.HostCapacity(
        inventory.ComputeProvider(
            '9a1f0c5e-4f1b-4c39-8d0a-6f2f5b7f1a11',
            NODE,
            (),
            ('HW_ARCH_X86_64',),
        ),
        HOST,
        (),
        tuple(
            capacity.Aggregate(str(number), frozenset({HOST}), group)
            for number, group in enumerate(groups)
        ),
        state={
            'cpu_info': CPU,
            'free_ram_mb': 4096,
            'host_ip': '10.0.0.1',
            'hypervisor_type': 'QEMU',
            'hypervisor_version': 8002000,
            'num_instances': servers,
            'total_usable_disk_gb': 200,
            'total_usable_ram_mb': 65536,
            'vcpus_total': 64,
            'vcpus_used': 8,
        },
    )


def passes_nova(
    name: str,
    state: host_manager.HostState,
    specs: dict[str, str],
    properties: dict[str, str] | None,
    options: dict[str, typing.Any],
) -> bool:
    """Return what the filter class of Nova says; an error is a refusal."""
    request = objects.RequestSpec(
        project_id=PROJECT,
        flavor=objects.Flavor(name='gpu', extra_specs=dict(specs)),
        image=None
        if properties is None
        else objects.ImageMeta(
            id=IMAGE,
            properties=objects.ImageMetaProps.from_dict(dict(properties)),
        ),
        scheduler_hints={},
        instance_group=None,
    )
    conf = nova_side.nova.conf.CONF
    with unittest.mock.patch.object(CLASSES[name], '__init__', _start):
        host_filter = CLASSES[name]()
    host_filter.keys = set()
    state.metrics = ()
    for key, value in options.items():
        conf.set_override(
            NAMES.get(key, key),
            list(value)
            if isinstance(value, tuple)
            else value or None
            if key == 'image_architecture'
            else value,
            'filter_scheduler',
        )
    try:
        return bool(host_filter.host_passes(state, request))
    except (AttributeError, IndexError, ValueError):
        return False
    finally:
        for key in options:
            conf.clear_override(NAMES.get(key, key), 'filter_scheduler')


def _start(_filter: typing.Any) -> None:
    """Start a filter without services of Nova."""


class TestFilters(testtools.TestCase):
    release = release_model.newest()

    @hypothesis.given(
        strategies.lists(METADATA, max_size=2),
        SPECS,
        strategies.none() | PROPERTIES,
        FILTER_OPTIONS,
        strategies.sampled_from((0, 1, 3)),
    )
    @hypothesis.settings(max_examples=150)
    def test_verdicts(
        self,
        groups: list[dict[str, str]],
        specs: dict[str, str],
        properties: dict[str, str] | None,
        options: dict[str, typing.Any],
        servers: int,
    ) -> None:
        host = our_host(groups, servers)
        state = state_of_nova(groups, servers)
        server = host_filters.Server(
            flavor_model.Flavor(
                'id', 'gpu', vcpus=1, ram=1, disk=1, is_public=True,
                extra_specs=specs,
            ),
            None
            if properties is None
            else image_model.Image(IMAGE, 'image', properties),
            self.release,
            PROJECT,
        )  # fmt: skip
        ours = scheduler_options.SchedulerOptions(
            of_filters=scheduler_options.FilterOptions(
                **{
                    key: frozenset(value)
                    if isinstance(value, tuple)
                    else value
                    for key, value in options.items()
                }
            )
        )
        for name in host_filters._JUDGES:
            verdict = host_filters.judge(name, host, server, ours)
            if verdict.passes is None:
                continue
            self.assertEqual(
                passes_nova(name, state, specs, properties, options),
                verdict.passes,
                (name, verdict.reason),
            )

    def test_what_is_known(self) -> None:
        """Only what no API shows is not known."""
        unknown = {
            name
            for name in host_filters._JUDGES
            if host_filters.judge(
                name,
                our_host([], 0),
                host_filters.Server(
                    flavor_model.Flavor(
                        'id', 'gpu', vcpus=1, ram=1, disk=1, is_public=True,
                        extra_specs={},
                    ),
                    image_model.Image(IMAGE, 'image', {}),
                    self.release,
                    PROJECT,
                ),
                scheduler_options.SchedulerOptions(),
            ).passes
            is None
        }  # fmt: skip
        self.assertEqual(set(host_filters.TRANSIENT), unknown)

    def test_all_filters(self) -> None:
        self.assertEqual(
            set(CLASSES),
            host_filters._JUDGES.keys()
            | (host_filters._ELSEWHERE - {'AvailabilityZoneFilter'})
            | host_filters._OF_HINTS,
        )

    def test_attributes(self) -> None:
        state = host_manager.HostState(HOST, NODE, 'cell')
        self.assertEqual(
            {
                name
                for name in (*vars(state), *vars(host_manager.HostState))
                if not name.startswith('_')
            }
            | {'service', 'stats'},
            set(host_filters._ATTRIBUTES),
        )

    def test_properties(self) -> None:
        """All properties of images but those with lists."""
        self.assertEqual(
            objects.ImageMetaProps.fields.keys()
            - {
                'hw_numa_cpus',
                'hw_numa_mem',
                'img_block_device_mapping',
                'img_mappings',
                'traits_required',
            },
            set(image_properties._ALL),
        )
        legacy = objects.ImageMetaProps._legacy_property_map
        self.assertEqual(
            {
                key: name
                for key, name in legacy.items()
                if name in image_properties._ALL
            },
            image_properties.LEGACY,
        )
