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

"""The Placement request of a flavor, compared with Nova's own code."""

import dataclasses
import typing
from unittest import mock

import hypothesis
from hypothesis import strategies
import testtools

from gpuclient.model import alias as alias_model
from gpuclient.model import boot_validation
from gpuclient.model import demand as demand_model
from gpuclient.model import flavor as flavor_model
from gpuclient.model import image as image_model
from gpuclient.model import nova_changes
from tests.unit.differential import nova_side

ALIASES = {
    'a2': alias_model.Alias('a2', vendor_id='10de', product_id='25b6'),
    'h100': alias_model.Alias(
        'h100', resource_class='gpu_h100', traits='CUSTOM_NVLINK,big'
    ),
}
VALUES: dict[str, tuple[str, ...]] = {
    'hw:cpu_policy': ('dedicated', 'mixed', 'shared'),
    'hw:cpu_dedicated_mask': ('0-1', '^0', '1,3'),
    'hw:cpu_thread_policy': ('isolate', 'require', 'prefer'),
    'hw:emulator_threads_policy': ('isolate', 'share'),
    'hw:pci_numa_affinity_policy': ('socket', 'required', 'legacy'),
    'hw:maxphysaddr_mode': ('passthrough', 'emulate'),
    'group_policy': ('none', 'isolate'),
    'pci_passthrough:alias': (
        'a2:1',
        'h100:2',
        'a2:3,h100:1',
        'a2:0',
        'a2:-1',
        'a2: 1_0',
        'a2:2,a2:-1',
    ),
    'resources:VCPU': ('0', '2', 'x', ' 2', '+2', '1_0', '-1', '٢'),
    'resources:MEMORY_MB': ('0', '4096'),
    'resources:DISK_GB': ('0', '7'),
    'resources:CUSTOM_X': ('1',),
    'resources:FOO': ('1',),
    'resources:PGPU': ('1',),
    'resources1:CUSTOM_PCI_10DE_25B6': ('1', '2', '0'),
    'resources1:VCPU': ('1', '0'),
    'resources1:MEMORY_MB': ('128',),
    'resources_A-1:CUSTOM_Y': ('1',),
    'resources!:CUSTOM_Y': ('1',),
    'trait1:CUSTOM_FAST': ('required', 'forbidden', 'preferred'),
    'trait_B:CUSTOM_FAST': ('required',),
    'trait:CUSTOM_A': ('required', 'forbidden', 'Required'),
    'hw:tpm_version': ('1.2', '2.0'),
    'hw:tpm_model': ('tpm-crb', 'tpm-tis'),
    'os:secure_boot': ('required', 'optional'),
    'hw:pmem': ('6GB', '6GB, 2GB,6GB', ','),
    'hw:mem_page_size': ('large',),
    'hw:virtio_packed_ring': ('true', 'false'),
    'hw:ephemeral_encryption': ('true', 'x'),
    'hw:sound_model': ('virtio', 'ac97'),
    'unrelated': ('1',),
}
SPECS = strategies.lists(
    strategies.sampled_from(sorted(VALUES)), max_size=9, unique=True
).flatmap(
    lambda keys: strategies.fixed_dictionaries(
        {key: strategies.sampled_from(VALUES[key]) for key in keys}
    )
)


#: Properties of images.
IMAGES = strategies.fixed_dictionaries(
    {},
    optional={
        'trait:CUSTOM_A': strategies.sampled_from(
            ('required', 'forbidden', 'x')
        ),
        'trait:CUSTOM_B': strategies.just('required'),
        'trait1:CUSTOM_B': strategies.just('required'),
    },
)


def request_spec(
    flavor: flavor_model.Flavor,
    image_properties: dict[str, str] | None = None,
) -> typing.Any:
    """Return the request for a server as nova-scheduler has it."""
    from nova import context
    from nova import objects
    from nova.scheduler import request_filter

    objects.register_all()
    specs = flavor.extra_specs or {}
    requests = []
    parts = specs.get('pci_passthrough:alias')
    for part in parts.split(',') if parts else ():
        name, number = part.split(':')
        count = int(number)
        alias = ALIASES[name]
        spec = {
            key: getattr(alias, key)
            for key in ('vendor_id', 'product_id', 'resource_class', 'traits')
            if getattr(alias, key) is not None
        }
        requests.append(
            objects.InstancePCIRequest(
                count=count,
                spec=[spec],
                alias_name=name,
                request_id=f'00000000-0000-0000-0000-{len(requests):012}',
            )
        )
    spec = objects.RequestSpec(
        context.get_admin_context(),
        flavor=objects.Flavor(
            vcpus=flavor.vcpus,
            memory_mb=flavor.ram,
            root_gb=flavor.disk,
            ephemeral_gb=flavor.ephemeral,
            swap=flavor.swap,
            extra_specs=specs,
        ),
        image=image_meta(image_properties or {}),
        pci_requests=objects.InstancePCIRequests(requests=requests),
        is_bfv=False,
        requested_resources=[],
        request_level_params=objects.RequestLevelParams(),
    )
    if nova_side.RELEASE.has(nova_changes.PCI_IN_PLACEMENT):
        conf = mock.MagicMock()
        conf.filter_scheduler.pci_in_placement = True
        with mock.patch('nova.objects.request_spec.CONF', conf):
            spec.generate_request_groups_from_pci_requests()
    for name in (
        'packed_virtqueue_filter',
        'ephemeral_encryption_filter',
        'virtio_sound_filter',
        'tpm_secret_security_filter',
    ):
        if hasattr(request_filter, name):
            getattr(request_filter, name)(None, spec)
    return spec


def image_meta(properties: dict[str, str]) -> typing.Any:
    """Return an image as Nova reads it from Glance."""
    from nova import objects

    objects.register_all()
    return objects.ImageMeta.from_dict(
        {
            'id': '8b5ff2d6-7d0f-4b7c-9a53-36e7a1b3a2f0',
            'name': 'image',
            'properties': properties,
        }
    )


def of_nova(
    flavor: flavor_model.Flavor, image_properties: dict[str, str]
) -> tuple[typing.Any, ...]:
    from nova.scheduler import utils

    spec = request_spec(flavor, image_properties)
    asked = utils.ResourceRequest.from_request_spec(spec)
    own = asked.get_request_group(None)
    groups = sorted(
        (
            sorted(group.resources.items()),
            sorted(group.required_traits),
            sorted(group.forbidden_traits),
        )
        for suffix, group in asked._rg_by_id.items()
        if suffix and group.resources
    )
    return (
        dict(own.resources),
        set(own.required_traits) | spec.root_required,
        set(own.forbidden_traits),
        groups,
        asked.group_policy == 'isolate',
    )


def of_ours(
    flavor: flavor_model.Flavor, image_properties: dict[str, str]
) -> tuple[typing.Any, ...]:
    wanted = demand_model.demand(
        flavor,
        ALIASES,
        image=image_model.Image('i', 'image', image_properties),
        release=nova_side.RELEASE,
    )
    return (
        wanted.resources,
        set(wanted.required),
        set(wanted.forbidden),
        sorted(
            (
                sorted(request.resources.items()),
                sorted(request.traits),
                sorted(request.forbidden),
            )
            for request in wanted.devices
            for _number in range(request.count)
        ),
        wanted.isolate,
    )


def difference(
    flavor: flavor_model.Flavor, image_properties: dict[str, str] | None = None
) -> str | None:
    """Return how we and Nova differ; None if both agree."""
    if boot_validation.validate(flavor, nova_side.RELEASE).refusal is not None:
        # See test_boot_validation.py.
        return None
    if not nova_side.RELEASE.has(nova_changes.PCI_IN_PLACEMENT):
        # Nova does not request devices from Placement.
        specs = dict(flavor.extra_specs or {})
        specs.pop(flavor_model.ALIASES, None)
        flavor = dataclasses.replace(flavor, extra_specs=specs)
    properties = image_properties or {}
    nova, ours = of_nova(flavor, properties), of_ours(flavor, properties)
    return None if nova == ours else f'{nova} for Nova, {ours} for us'


class TestDemand(testtools.TestCase):
    @hypothesis.settings(deadline=None, max_examples=200)
    @hypothesis.given(
        SPECS,
        strategies.integers(4, 8),
        strategies.sampled_from((0, 1, 1024, 1025)),
        strategies.sampled_from((0, 20)),
        IMAGES,
    )
    def test_as_nova_asks(
        self,
        specs: dict[str, str],
        vcpus: int,
        swap: int,
        disk: int,
        image: dict[str, str],
    ) -> None:
        flavor = flavor_model.Flavor(
            'id', 'f', vcpus, 2048, disk, True, specs, ephemeral=1, swap=swap
        )
        self.assertIsNone(difference(flavor, image))
