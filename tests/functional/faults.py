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

"""The faults: how each is planted, what the user sees, what names it."""

import collections.abc
import typing

from tests.functional import fault_bench
from tests.functional.fault_bench import Bench
from tests.functional.fault_bench import Observed

A100 = 'CUSTOM_PCI_10DE_20F1'
CHECK = ('gpu', 'check', '--attempts', '1')
FAULTS: list[fault_bench.Fault] = []
_Plant = collections.abc.Callable[[Bench], Observed]


def fault(area: str, name: str) -> collections.abc.Callable[[_Plant], _Plant]:
    def add(plant: _Plant) -> _Plant:
        FAULTS.append(fault_bench.Fault(area, name, plant))
        return plant

    return add


def config_check(bench: Bench) -> tuple[str, ...]:
    return ('gpu', 'config', 'check', str(bench.etc))


def with_config(bench: Bench) -> tuple[str, ...]:
    return (*CHECK, '--config', str(bench.etc))


def explain(bench: Bench, flavor: typing.Any, *more: str) -> tuple[str, ...]:
    return (
        *('gpu', 'flavor', 'explain', flavor.name),
        *('--config', str(bench.etc), *more),
    )


# Flavors.


@fault('flavor', 'an alias that nova-api does not know')
def _unknown_alias(bench: Bench) -> Observed:
    flavor = bench.flavor('a1oo:1')
    symptom = bench.refused(flavor, 400)
    return Observed(symptom, CHECK, 'GPU707 a1oo')


@fault('flavor', 'an alias without a count')
def _no_count(bench: Bench) -> Observed:
    flavor = bench.flavor('a100')
    symptom = bench.refused(flavor, 500)
    return Observed(symptom, CHECK, f'GPU702 {flavor.name}')


@fault('flavor', 'a count of 0')
def _count_of_zero(bench: Bench) -> Observed:
    flavor = bench.flavor('a100:0')
    server = bench.booted(flavor)
    symptom = f'ACTIVE with {bench.devices_of(server)} devices'
    return Observed(symptom, CHECK, f'GPU701 {flavor.name}')


@fault('flavor', 'devices by alias and by resource class')
def _twice(bench: Bench) -> Observed:
    flavor = bench.flavor('a100:2', **{f'resources:{A100}': '1'})
    symptom = bench.failed(flavor)
    return Observed(symptom, CHECK, f'GPU703 {flavor.name}')


@fault('flavor', 'devices by resource class only')
def _by_class(bench: Bench) -> Observed:
    flavor = bench.flavor(None, **{f'resources1:{A100}': '1'})
    server = bench.booted(flavor)
    symptom = (
        f'ACTIVE with {bench.devices_of(server)} allocated, none attached'
    )
    # Placement has one device more in use than flavors request.
    return Observed(symptom, CHECK, f'GPU704 {flavor.name}')


@fault('flavor', 'a misspelled key')
def _misspelled(bench: Bench) -> Observed:
    flavor = bench.flavor(None, **{'pci_passthrough:aliases': 'a100:1'})
    server = bench.booted(flavor)
    symptom = f'ACTIVE with {bench.devices_of(server)} devices'
    return Observed(symptom, CHECK, f'GPU705 {flavor.name}')


@fault('flavor', 'a misspelled NUMA policy')
def _numa_policy(bench: Bench) -> Observed:
    flavor = bench.flavor(**{'hw:pci_numa_affinity_policy': 'requird'})
    symptom = bench.refused(flavor, 500)
    return Observed(symptom, CHECK, f'GPU706 {flavor.name}', ('GPU760',))


@fault('flavor', 'a thread policy without pinned CPUs')
def _thread_policy(bench: Bench) -> Observed:
    flavor = bench.flavor(**{'hw:cpu_thread_policy': 'require'})
    symptom = bench.refused(flavor, 400)
    return Observed(symptom, CHECK, f'GPU706 {flavor.name}')


@fault('flavor', 'a group with a trait and no resources')
def _group(bench: Bench) -> Observed:
    flavor = bench.flavor(**{'trait1:HW_CPU_X86_AVX': 'required'})
    symptom = bench.failed(flavor)
    return Observed(symptom, CHECK, f'GPU708 {flavor.name}')


@fault('flavor', 'more devices than any host has')
def _too_many(bench: Bench) -> Observed:
    flavor = bench.flavor('a100:3')
    symptom = bench.failed(flavor)
    return Observed(
        symptom, explain(bench, flavor), '3 x a100', ('devices:a100',)
    )


@fault('flavor', 'more memory than any host has')
def _too_much_memory(bench: Bench) -> Observed:
    flavor = bench.flavor(ram=400000)
    symptom = bench.failed(flavor)
    return Observed(
        symptom,
        explain(bench, flavor),
        '400000 MiB memory',
        ('resource:MEMORY_MB',),
    )


@fault('flavor', 'more CPUs than any host has')
def _too_many_cpus(bench: Bench) -> Observed:
    flavor = bench.flavor(vcpus=96)
    symptom = bench.failed(flavor)
    return Observed(
        symptom, explain(bench, flavor), '96 VCPU', ('resource:VCPU',)
    )


@fault('flavor', 'a larger disk than any host has')
def _too_large_disk(bench: Bench) -> Observed:
    flavor = bench.flavor(disk=5000)
    symptom = bench.failed(flavor)
    return Observed(
        symptom, explain(bench, flavor), '5000 GiB disk', ('resource:DISK_GB',)
    )


@fault('flavor', 'a trait that no host has')
def _trait(bench: Bench) -> Observed:
    bench.placement('PUT', '/traits/CUSTOM_NVSWITCH')
    flavor = bench.flavor(**{'trait:CUSTOM_NVSWITCH': 'required'})
    symptom = bench.failed(flavor)
    return Observed(
        symptom,
        explain(bench, flavor),
        'CUSTOM_NVSWITCH',
        ('trait:CUSTOM_NVSWITCH',),
    )


@fault('flavor', 'a virtual TPM that no host has')
def _tpm(bench: Bench) -> Observed:
    flavor = bench.flavor(
        **{'hw:tpm_version': '2.0', 'hw:tpm_model': 'tpm-crb'}
    )
    symptom = bench.failed(flavor)
    return Observed(
        symptom,
        explain(bench, flavor),
        'COMPUTE_SECURITY_TPM',
        (
            'trait:COMPUTE_SECURITY_TPM_2_0',
            'trait:COMPUTE_SECURITY_TPM_CRB',
            'trait:COMPUTE_SECURITY_TPM_SECRET_SECURITY_USER',
        ),
    )


# Images.


@fault('image', 'a trait that no host has')
def _image_trait(bench: Bench) -> Observed:
    bench.placement('PUT', '/traits/CUSTOM_IMAGE')
    flavor = bench.flavor()
    image = bench.image(**{'trait:CUSTOM_IMAGE': 'required'})
    symptom = bench.failed(flavor, image=image)
    return Observed(
        symptom,
        explain(bench, flavor, '--image', image.id),
        'CUSTOM_IMAGE',
        ('trait:CUSTOM_IMAGE',),
    )


@fault('image', 'another NUMA policy than the flavor')
def _image_policy(bench: Bench) -> Observed:
    flavor = bench.flavor(**{'hw:pci_numa_affinity_policy': 'required'})
    image = bench.image(hw_pci_numa_affinity_policy='preferred')
    symptom = bench.refused(flavor, 403, image=image)
    return Observed(
        symptom,
        explain(bench, flavor, '--image', image.id),
        'hw_pci_numa_affinity_policy',
        ('Nova accepts the request',),
    )


@fault('image', 'an architecture that no host has')
def _image_architecture(bench: Bench) -> Observed:
    flavor = bench.flavor()
    image = bench.image(hw_architecture='s390x')
    symptom = bench.failed(flavor, image=image)
    return Observed(
        symptom,
        explain(bench, flavor, '--image', image.id),
        'GPU646 .*hw_architecture = s390x',
    )


# Placement.


@fault('placement', 'all cards of a model are reserved')
def _reserved(bench: Bench) -> Observed:
    for provider in bench.providers(r'pf-\d_.*'):
        bench.reserve(provider)
    flavor = bench.flavor()
    symptom = bench.failed(flavor)
    return Observed(symptom, explain(bench, flavor), 'a100', ('devices:a100',))


@fault('placement', 'all cards of a model are in use')
def _in_use(bench: Bench) -> Observed:
    flavor = bench.flavor()
    bench.boot_several(flavor, 3)
    symptom = bench.failed(flavor)
    return Observed(symptom, explain(bench, flavor), 'a100', ('devices:a100',))


@fault('placement', 'one free card on each host, and two are requested')
def _one_free_each(bench: Bench) -> Observed:
    bench.booted(bench.flavor(), host='pf-1')
    flavor = bench.flavor('a100:2')
    symptom = bench.failed(flavor)
    return Observed(symptom, explain(bench, flavor), 'a100', ('devices:a100',))


@fault('placement', 'a server without devices has the memory of the host')
def _memory_in_use(bench: Bench) -> Observed:
    bench.booted(bench.flavor(None, ram=250000), host='pci-1')
    flavor = bench.flavor('v100:1', ram=20000)
    symptom = bench.failed(flavor)
    return Observed(
        symptom,
        explain(bench, flavor),
        '20000 MiB memory',
        ('resource:MEMORY_MB', 'devices:v100', '1 x v100'),
    )


@fault('placement', 'the alias requires a trait that no card has')
def _alias_trait(bench: Bench) -> Observed:
    bench.placement('PUT', '/traits/CUSTOM_NVLINK')
    old = '"device_type": "type-PF", "name": "a100"'
    bench.edit_aliases(old, f'"traits": "CUSTOM_NVLINK", {old}')
    flavor = bench.flavor()
    symptom = bench.failed(flavor)
    return Observed(
        symptom, explain(bench, flavor), 'CUSTOM_NVLINK', ('devices:a100',)
    )


@fault('placement', 'alias and device_spec have other resource classes')
def _alias_class(bench: Bench) -> Observed:
    old = '"device_type": "type-PF", "name": "a100"'
    bench.edit_aliases(old, f'"resource_class": "gpu-a100", {old}')
    flavor = bench.flavor()
    symptom = bench.failed(flavor)
    return Observed(
        symptom,
        explain(bench, flavor),
        'CUSTOM_GPU_A100',
        ('devices:a100',),
    )


# Computes.


@fault('compute', 'the device_spec has another product ID')
def _other_product(bench: Bench) -> Observed:
    bench.edit(
        'nova-compute-pci-1', '"product_id": "1db4"}', '"product_id": "1db5"}'
    )
    bench.wait_for_devices('nova-compute-pci-1', 0)
    flavor = bench.flavor('v100:1')
    symptom = bench.failed(flavor)
    return Observed(
        symptom, with_config(bench), 'GPU307', ('GPU664', 'GPU667')
    )


@fault('compute', 'the device_spec has a physical network')
def _physical_network(bench: Bench) -> Observed:
    bench.edit(
        'nova-compute-pci-1',
        '"product_id": "1db4"}',
        '"product_id": "1db4", "physical_network": "gpu"}',
    )
    bench.wait_for_devices('nova-compute-pci-1', 0)
    flavor = bench.flavor('v100:1')
    symptom = bench.failed(flavor)
    return Observed(
        symptom,
        with_config(bench),
        'GPU307 physical_network',
        ('GPU664', 'GPU667'),
    )


@fault('compute', 'nova-compute is disabled')
def _disabled(bench: Bench) -> Observed:
    compute = bench.cloud.compute
    (service,) = compute.services(binary='nova-compute', host='pci-1')
    compute.disable_service(service)
    bench.later(compute.enable_service, service)
    flavor = bench.flavor('v100:1')
    symptom = bench.failed(flavor)
    return Observed(symptom, CHECK, 'GPU661 pci-1')


@fault('compute', 'nova-compute is down')
def _down(bench: Bench) -> Observed:
    bench.pause('nova-compute', 'pci-1')
    flavor = bench.flavor('v100:1')
    symptom = bench.failed(flavor)
    return Observed(symptom, CHECK, 'GPU660 pci-1')


@fault('compute', 'nova-compute is forced down')
def _forced_down(bench: Bench) -> Observed:
    bench.force_down('pci-1', True)
    bench.later(bench.force_down, 'pci-1', False)
    flavor = bench.flavor('v100:1')
    symptom = bench.failed(flavor)
    return Observed(symptom, CHECK, 'GPU660 pci-1')


@fault('compute', 'the device_spec is not JSON')
def _broken_spec(bench: Bench) -> Observed:
    symptom = bench.edit(
        'nova-compute-pci-1',
        '"product_id": "1db4"}\n',
        "'product_id': '1db4'}\n",
    )
    return Observed(symptom, config_check(bench), 'GPU302')


@fault('compute', 'a device type that does not exist')
def _device_type(bench: Bench) -> Observed:
    symptom = bench.edit('nova-compute-vf-1', '"type-VF"', '"type-GPU"')
    return Observed(symptom, config_check(bench), 'GPU301', ('GPU305',))


@fault('compute', 'one_time_use without reporting')
def _one_time_use(bench: Bench) -> Observed:
    report = 'report_in_placement = True\n'
    spec = 'device_spec = {"vendor_id": "10de", "product_id": "1db4"'
    symptom = bench.edit(
        'nova-compute-pci-1',
        f'{report}{spec}',
        f'{report.replace("True", "False")}{spec}, "one_time_use": "yes"',
    )
    return Observed(symptom, config_check(bench), 'GPU302')


# Control plane.


@fault('control plane', 'an alias with single quotes')
def _single_quotes(bench: Bench) -> Observed:
    symptom = bench.add(
        'nova-api-1',
        "[pci]\nalias = {'name': 'h100', 'vendor_id': '10de'}",
    )
    return Observed(symptom, config_check(bench), 'GPU301')


@fault('control plane', 'an alias with a misspelled key')
def _misspelled_key(bench: Bench) -> Observed:
    symptom = bench.edit(
        'nova-api-1', '"product_id": "1db4"', '"product": "1db4"'
    )
    return Observed(
        symptom, config_check(bench), 'GPU301', ('GPU304', 'GPU306')
    )


@fault('control plane', 'an alias that is defined twice')
def _defined_twice(bench: Bench) -> Observed:
    symptom = bench.add(
        'nova-api-1',
        '[pci]\nalias = {"vendor_id": "10de", "product_id": "1db4", '
        '"device_type": "type-PCI", "name": "v100"}',
    )
    return Observed(symptom, config_check(bench), 'GPU301')


@fault('control plane', 'an ID with 0x')
def _hexadecimal(bench: Bench) -> Observed:
    symptom = bench.edit(
        'nova-api-1',
        '"vendor_id": "10de", "product_id": "1db4"',
        '"vendor_id": "0x10de", "product_id": "1db4"',
    )
    return Observed(
        symptom, config_check(bench), 'GPU301', ('GPU304', 'GPU306')
    )


@fault('control plane', 'a filter that Nova has removed')
def _removed_filter(bench: Bench) -> Observed:
    symptom = bench.edit(
        'nova-scheduler', 'ComputeFilter,', 'ComputeFilter,RetryFilter,'
    )
    return Observed(symptom, config_check(bench), 'GPU326')


@fault('control plane', 'one nova-api lacks an alias')
def _replica(bench: Bench) -> Observed:
    old = '"name": "v100"'
    bench.edit('nova-api-2', old, '"name": "v100-32g"')
    flavor = bench.flavor('v100:1')
    symptom = bench.some_refused(flavor)
    bench.through_both()
    return Observed(
        symptom, ('gpu', 'check', '--attempts', '6'), 'GPU665 v100'
    )


@fault('control plane', 'nova-scheduler is down')
def _no_scheduler(bench: Bench) -> Observed:
    bench.pause('nova-scheduler')
    flavor = bench.flavor('v100:1')
    symptom = bench.stuck(flavor)
    return Observed(symptom, CHECK, 'GPU662 nova-scheduler')


@fault('control plane', 'nova-conductor is down')
def _no_conductor(bench: Bench) -> Observed:
    bench.pause('nova-conductor')
    flavor = bench.flavor('v100:1')
    symptom = bench.stuck(flavor)
    return Observed(symptom, CHECK, 'GPU662 nova-conductor', ('GPU660',))


# What nobody uses.


@fault('placement', 'a deleted server has left its allocations')
def _deleted_consumer(bench: Bench) -> Observed:
    bench.allocate(
        {
            provider['uuid']: {A100: 1}
            for provider in bench.providers(r'pf-\d_.*')
        }
    )
    flavor = bench.flavor()
    symptom = bench.failed(flavor)
    return Observed(symptom, CHECK, 'GPU610')


@fault('placement', 'a server holds more devices than its flavor requests')
def _surplus(bench: Bench) -> Observed:
    flavor = bench.flavor()
    server = bench.booted(flavor, host='pf-1')
    bench.hold(server, bench.providers(r'pf-1_.*'), A100)
    symptom = bench.failed(flavor, host='pf-1')
    return Observed(symptom, CHECK, 'GPU612 pf-1')


@fault('placement', 'a server holds a device of another host')
def _wrong_host(bench: Bench) -> Observed:
    flavor = bench.flavor()
    server = bench.booted(flavor, host='pf-1')
    bench.hold(server, bench.providers(r'pf-2_.*'), A100)
    symptom = bench.failed(flavor, host='pf-2')
    return Observed(symptom, ('gpu', 'placement', 'check'), 'GPU611 pf-2')


@fault('placement', 'a server has lost its allocations')
def _unaccounted(bench: Bench) -> Observed:
    flavor = bench.flavor('v100:2')
    server = bench.booted(flavor)
    bench.forget(server)
    symptom = bench.failed(flavor, '')
    return Observed(symptom, CHECK, 'GPU616 pci-1')


@fault('placement', 'a host that is gone has left its providers')
def _removed_host(bench: Bench) -> Observed:
    bench.leave_host('old-1', A100)
    flavor = bench.flavor('a100:3')
    symptom = bench.failed(flavor)
    return Observed(symptom, ('gpu', 'placement', 'check'), 'GPU615 old-1')


# Projects.


@fault('project', 'the hosts are reserved for another project')
def _tenants(bench: Bench) -> Observed:
    bench.aggregate('pf-1', 'pf-2', filter_tenant_id='5f0c' * 8)
    flavor = bench.flavor()
    symptom = bench.failed(flavor)
    return Observed(
        symptom,
        explain(bench, flavor, '--project', 'admin'),
        'project|aggregate|reserved',
        ('project',),
    )


@fault('project', 'the availability zone has no such card')
def _zone(bench: Bench) -> Observed:
    bench.aggregate('cpu-1', availability_zone='cpu-zone')
    flavor = bench.flavor()
    symptom = bench.failed(flavor, availability_zone='cpu-zone')
    return Observed(
        symptom,
        explain(bench, flavor, '--availability-zone', 'cpu-zone'),
        'cpu-zone',
        ('zone',),
    )


@fault('project', 'the requested host has no such card')
def _host(bench: Bench) -> Observed:
    flavor = bench.flavor()
    symptom = bench.failed(flavor, host='cpu-1')
    return Observed(
        symptom,
        explain(bench, flavor, '--host', 'cpu-1'),
        'cpu-1',
        ('host', 'devices:a100'),
    )


@fault('project', 'a resize has passed the limit')
def _resize_hole(bench: Bench) -> Observed:
    for name in bench.device_classes():
        bench.limit(f'class:{name}', 1)
    bench.limit('servers', 10)
    bench.use_unified_limits()
    plain, large = bench.flavor(None), bench.flavor('a100:2')
    server = bench.booted(plain)
    bench.resize(server, large)
    symptom = bench.refused(bench.flavor(), 403)
    return Observed(symptom, with_config(bench), 'GPU677 admin')


# Moves.


@fault('move', 'nova-compute lacks the alias')
def _compute_alias(bench: Bench) -> Observed:
    for host in ('pf-1', 'pf-2'):
        bench.edit(
            f'nova-compute-{host}',
            'alias = {"vendor_id": "10de", "product_id": "20f1"',
            '#',
        )
    server = bench.booted(bench.flavor(None))
    symptom = bench.resize_fails(server, bench.flavor())
    return Observed(symptom, with_config(bench), 'GPU306 pf-1')


def will_move(
    bench: Bench, server: typing.Any, move: str, *more: str
) -> tuple[str, ...]:
    return (
        *('gpu', 'server', 'explain', server.id, '--move', move, *more),
        *('--config', str(bench.etc)),
    )


@fault('move', 'no other host has such a card')
def _nowhere(bench: Bench) -> Observed:
    server = bench.booted(bench.flavor('v100:1'))
    symptom = bench.move_fails(server, 'migrate', {'migrate': None})
    return Observed(
        symptom,
        will_move(bench, server, 'migrate'),
        'pci-1: the server is on it',
        ('v100',),
    )


@fault('move', 'the devices are not live-migratable')
def _not_live_migratable(bench: Bench) -> Observed:
    server = bench.booted(bench.flavor(), host='pf-1')
    symptom = bench.move_fails(
        server,
        'live-migration',
        {'os-migrateLive': {'host': None, 'block_migration': 'auto'}},
    )
    return Observed(
        symptom, will_move(bench, server, 'live-migrate'), 'GPU924'
    )


@fault('move', 'an evacuation from a host that is up')
def _host_is_up(bench: Bench) -> Observed:
    server = bench.booted(bench.flavor(), host='pf-1')
    symptom = bench.action_refused(server, {'evacuate': {}}, 400)
    return Observed(symptom, will_move(bench, server, 'evacuate'), 'GPU921')


@fault('move', 'a resize to more cards than any host has')
def _resize_too_large(bench: Bench) -> Observed:
    server = bench.booted(bench.flavor(None))
    flavor = bench.flavor('a100:3')
    symptom = bench.move_fails(
        server, 'resize', {'resize': {'flavorRef': flavor.id}}
    )
    return Observed(
        symptom,
        will_move(bench, server, 'resize', '--flavor', flavor.name),
        '3 x a100',
    )


# Device types.


@fault('control plane', 'the alias requests another device type')
def _alias_type(bench: Bench) -> Observed:
    bench.edit(
        'nova-api-1', '"device_type": "type-PF"', '"device_type": "type-PCI"'
    )
    flavor = bench.flavor()
    symptom = bench.failed(flavor)
    return Observed(
        symptom, with_config(bench), 'GPU120', ('GPU305', 'GPU304')
    )


@fault('control plane', 'the alias of virtual functions requests cards')
def _alias_of_functions(bench: Bench) -> Observed:
    bench.edit(
        'nova-api-1', '"device_type": "type-VF"', '"device_type": "type-PF"'
    )
    flavor = bench.flavor('vf:1')
    symptom = bench.failed(flavor)
    return Observed(
        symptom,
        with_config(bench),
        'GPU668 vf',
        ('GPU305', 'GPU304', 'GPU120'),
    )


@fault('control plane', 'the same, of which only the flavor is explained')
def _alias_of_functions_explained(bench: Bench) -> Observed:
    bench.edit(
        'nova-api-2',
        '"device_type": "type-VF"',
        '"device_type": "type-PF"',
        restart=False,
    )
    observed = _alias_of_functions(bench)
    flavor, _others = bench.last_request
    return Observed(
        observed.symptom, explain(bench, flavor), 'type-VF', ('vf',)
    )
