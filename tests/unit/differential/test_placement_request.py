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

"""The query for allocation candidates, compared with Nova's own code."""

import collections
import typing
import urllib.parse

import hypothesis
from hypothesis import strategies
import testtools

from gpuclient.model import demand as demand_model
from gpuclient.model import flavor as flavor_model
from gpuclient.model import image as image_model
from gpuclient.model import placement_request
from tests.unit.differential import nova_side
from tests.unit.differential import test_capacity

PROPERTIES: dict[str, tuple[str, ...]] = {
    'trait:CUSTOM_IMAGE': ('required',),
    'hw_cpu_policy': ('dedicated', 'shared', 'mixed'),
    'hw_cpu_thread_policy': ('isolate', 'require', 'prefer'),
    'hw_pci_numa_affinity_policy': ('socket', 'required', 'legacy'),
    'hw_maxphysaddr_mode': ('passthrough', 'emulate'),
    'hw_maxphysaddr_bits': ('42',),
    'hw_tpm_version': ('1.2', '2.0'),
    'hw_tpm_model': ('tpm-crb', 'tpm-tis'),
    'os_secure_boot': ('required', 'optional'),
    'hw_numa_nodes': ('1', '2'),
    'hw_mem_page_size': ('large', '4'),
    'hw_virtio_packed_ring': ('true', 'false'),
    'hw_sound_model': ('virtio', 'ac97'),
    'hw_machine_type': ('q35',),
}
IMAGES = strategies.lists(
    strategies.sampled_from(sorted(PROPERTIES)), max_size=4, unique=True
).flatmap(
    lambda keys: strategies.fixed_dictionaries(
        {key: strategies.sampled_from(PROPERTIES[key]) for key in keys}
    )
)


def of_nova(
    flavor: flavor_model.Flavor, properties: dict[str, str]
) -> typing.Any:
    """Return the query of Nova; None if Nova refuses the request."""
    from nova import exception
    from nova.scheduler import request_filter
    from nova.scheduler import utils
    from nova.virt import hardware

    try:
        spec = test_capacity.request_spec(flavor, properties)
        hardware.numa_get_constraints(spec.flavor, spec.image)
        hardware.get_pci_numa_policy_constraint(spec.flavor, spec.image)
        request_filter.compute_status_filter(None, spec)
        asked = utils.resources_from_request_spec(None, spec, None)
    except (exception.Invalid, exception.Forbidden, exception.NovaException):
        return None
    return normalized(urllib.parse.parse_qsl(asked.to_querystring()))


def of_ours(
    flavor: flavor_model.Flavor, properties: dict[str, str]
) -> typing.Any:
    """Return our query; None if we say that Nova refuses the request."""
    wanted = demand_model.demand(
        flavor,
        test_capacity.ALIASES,
        image=image_model.Image('id', 'image', properties),
        release=nova_side.RELEASE,
    )
    if wanted.refusal and 'Placement refuses' not in wanted.refusal:
        return None
    if wanted.refusal:
        return wanted.refusal
    query = placement_request.params(wanted, placement_request.Destination())
    return normalized(
        [
            (key, value)
            for key, values in query.items()
            for value in (values if isinstance(values, list) else [values])
        ]
    )


def normalized(pairs: list[tuple[str, str]]) -> typing.Any:
    """Return a query without names of groups.

    Traits that must be those of the root are in the unsuffixed group.
    """
    groups: dict[str, dict[str, frozenset[str]]] = collections.defaultdict(
        dict
    )
    others = {}
    required: set[str] = set()
    for key, value in pairs:
        for kind in ('resources', 'required'):
            if key.startswith(kind):
                groups[key.removeprefix(kind)][kind] = frozenset(
                    value.split(',')
                )
                break
        else:
            if key == 'root_required':
                required |= set(value.split(','))
            elif key != 'limit':
                others[key] = value
    own = groups.pop('', {})
    return (
        own.get('resources'),
        required | own.get('required', frozenset()),
        sorted(
            (
                sorted(group.get('resources', ())),
                sorted(group.get('required', ())),
            )
            for group in groups.values()
        ),
        others,
    )


class TestQuery(testtools.TestCase):
    @hypothesis.settings(deadline=None, max_examples=200)
    @hypothesis.given(test_capacity.SPECS, IMAGES)
    def test_as_nova_asks(
        self, specs: dict[str, str], properties: dict[str, str]
    ) -> None:
        flavor = flavor_model.Flavor(
            'id', 'f', 4, 2048, 20, True, specs, ephemeral=1
        )
        ours = of_ours(flavor, properties)
        if isinstance(ours, str):
            # What Placement refuses, Nova requests nevertheless.
            return
        self.assertEqual(of_nova(flavor, properties), ours)

    def test_groups_of_aliases(self) -> None:
        flavor = flavor_model.Flavor(
            'id', 'f', 4, 2048, 20, True, {'pci_passthrough:alias': 'h100:2'}
        )
        wanted = demand_model.demand(flavor, test_capacity.ALIASES)
        self.assertEqual(
            {
                'root_required': 'OWNER_NOVA,!COMPUTE_STATUS_DISABLED',
                'resources': 'DISK_GB:20,MEMORY_MB:2048,VCPU:4',
                'member_of': ['in:z', '!in:x'],
                'in_tree': 'root',
                'resources_1': 'CUSTOM_GPU_H100:1',
                'required_1': 'CUSTOM_BIG,CUSTOM_NVLINK,OWNER_NOVA',
                'resources_2': 'CUSTOM_GPU_H100:1',
                'required_2': 'CUSTOM_BIG,CUSTOM_NVLINK,OWNER_NOVA',
                'group_policy': 'none',
            },
            placement_request.params(
                wanted,
                placement_request.Destination(
                    (frozenset({'z'}),), frozenset({'x'}), 'root'
                ),
                owner_required=True,
            ),
        )
