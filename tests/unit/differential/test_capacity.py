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

"""What a flavor asks Placement for, held against Nova's own code."""

import typing
from unittest import mock

import hypothesis
from hypothesis import strategies
import testtools

from gpuclient.model import alias as alias_model
from gpuclient.model import capacity
from gpuclient.model import flavor as flavor_model

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
    'pci_passthrough:alias': ('a2:1', 'h100:2', 'a2:3,h100:1', 'a2:0'),
    'resources:VCPU': ('0', '2', 'x'),
    'resources:MEMORY_MB': ('0', '4096'),
    'resources:DISK_GB': ('0', '7'),
    'resources:CUSTOM_X': ('1',),
    'resources1:CUSTOM_PCI_10DE_25B6': ('1', '2'),
    'trait1:CUSTOM_FAST': ('required',),
    'trait:CUSTOM_A': ('required', 'forbidden'),
    'unrelated': ('1',),
}
SPECS = strategies.fixed_dictionaries(
    {},
    optional={
        key: strategies.sampled_from(values) for key, values in VALUES.items()
    },
)


def of_nova(
    flavor: flavor_model.Flavor,
) -> tuple[typing.Any, ...]:
    from nova import context
    from nova import objects
    from nova.scheduler import utils

    objects.register_all()
    specs = flavor.extra_specs or {}
    requests = []
    for name, count in (flavor.aliases or {}).items():
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
        image=objects.ImageMeta(properties=objects.ImageMetaProps()),
        pci_requests=objects.InstancePCIRequests(requests=requests),
        is_bfv=False,
        requested_resources=[],
        request_level_params=objects.RequestLevelParams(),
    )
    conf = mock.MagicMock()
    conf.filter_scheduler.pci_in_placement = True
    with mock.patch('nova.objects.request_spec.CONF', conf):
        spec.generate_request_groups_from_pci_requests()
    asked = utils.ResourceRequest.from_request_spec(spec)
    own = asked.get_request_group(None)
    groups = sorted(
        (
            sorted(group.resources.items()),
            sorted(group.required_traits),
        )
        for suffix, group in asked._rg_by_id.items()
        if suffix and group.resources
    )
    return (
        dict(own.resources),
        set(own.required_traits),
        set(own.forbidden_traits),
        groups,
        asked.group_policy == 'isolate',
    )


def of_ours(flavor: flavor_model.Flavor) -> tuple[typing.Any, ...]:
    wanted = capacity.demand(flavor, ALIASES)
    return (
        wanted.resources,
        set(wanted.required),
        set(wanted.forbidden),
        sorted(
            (
                [(request.resource_class, request.units)],
                sorted(request.traits),
            )
            for request in wanted.devices
            for _number in range(request.count)
        ),
        wanted.isolate,
    )


class TestDemand(testtools.TestCase):
    @hypothesis.settings(deadline=None, max_examples=200)
    @hypothesis.given(
        SPECS,
        strategies.integers(4, 8),
        strategies.sampled_from((0, 1, 1024, 1025)),
        strategies.sampled_from((0, 20)),
    )
    def test_as_nova_asks(
        self, specs: dict[str, str], vcpus: int, swap: int, disk: int
    ) -> None:
        from nova import exception

        flavor = flavor_model.Flavor(
            'id', 'f', vcpus, 2048, disk, True, specs, ephemeral=1, swap=swap
        )
        try:
            expected = of_nova(flavor)
        except exception.NovaException:
            # nova-api refuses to create such a server at all.
            return
        self.assertEqual(expected, of_ours(flavor))
