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

"""Which flavors Nova refuses, compared with Nova's own validation."""

import re
import typing

import hypothesis
from hypothesis import strategies
import testtools

from gpuclient.model import boot_validation
from gpuclient.model import flavor as flavor_model
from gpuclient.model import quoting
from tests.unit.differential import nova_side

#: Values of each extra spec that is validated: valid, invalid, empty.
VALUES: dict[str, tuple[str, ...]] = {
    'hw:cpu_policy': ('dedicated', 'mixed', 'shared', 'Dedicated', ''),
    'hw:cpu_dedicated_mask': ('0-1', '^0', '1,3', '0-7', '9', 'x', '3-1', ''),
    'hw:cpu_realtime': ('yes', 'no', 'True', 'maybe', ''),
    'hw:cpu_realtime_mask': ('^0', '0', '1-99', '^0-7', '^x', ''),
    'hw:cpu_thread_policy': ('isolate', 'require', 'prefer', 'none', ''),
    'hw:emulator_threads_policy': ('isolate', 'share', 'Isolate', ''),
    'hw:numa_nodes': ('1', '2', '3', '0', '-1', ' 1', '01', '1.0', 'x', ''),
    'hw:numa_cpus.0': ('0-1', '0-3', '1-2,9', '1', '', 'x'),
    'hw:numa_cpus.1': ('2-3', '3-4', '0', '4-7', ''),
    'hw:numa_mem.0': ('1024', '2048', ' 512', 'x', '1.5'),
    'hw:numa_mem.1': ('1024', '0', '-1'),
    'hw:mem_page_size': (
        'large',
        'small',
        'any',
        '1GB',
        '2MB',
        '2048',
        '0',
        '1G',
        '0B',
        '.5KiB',
        '-2MB',
        '²',
        'huge',
        '',
    ),
    'hw:locked_memory': ('true', 'false', 'on', 'x'),
    'hw:mem_encryption': ('true', 'no', ''),
    'hw:mem_encryption_model': ('amd-sev', 'amd-sev-snp', 'sgx', ''),
    'hw:pmem': ('6GB', '6GB, 2GB', ',', ''),
    'hw:serial_port_count': ('2', ' 1', 'x', ''),
    'hw:cpu_sockets': ('2', 'x', ''),
    'hw:cpu_max_threads': ('1', '1.0', ''),
    'hw:sound_model': ('virtio', 'ac97', 'loud', ''),
    'hw:pci_numa_affinity_policy': (
        'required',
        'legacy',
        'preferred',
        'socket',
        'prefered',
        '',
    ),
    'hw:tpm_version': ('1.2', '2.0', '3', ''),
    'hw:tpm_model': ('tpm-tis', 'tpm-crb', 'crb', ''),
    'hw:tpm_secret_security': ('user', 'host', 'vault', ''),
    'os:secure_boot': ('required', 'optional', 'yes', ''),
    'hw:maxphysaddr_mode': ('passthrough', 'emulate', 'host', ''),
    'hw:ephemeral_encryption': ('true', 'false'),
    'hw:ephemeral_encryption_format': ('luks', 'qcow', ''),
    'resources:VCPU': ('0', '2', '4', '-1', ' 3', 'x'),
    'resources:PCPU': ('4', '5', '0', 'x'),
    'resources1:PCPU': ('4', '1'),
    'resources01:PCPU': ('4',),
    'resourcesA:VCPU': ('4',),
    'resources:VCPUS': ('4',),
    'trait:HW_CPU_HYPERTHREADING': ('required', 'forbidden', 'x', ''),
    'trait1:HW_CPU_HYPERTHREADING': ('required', 'forbidden'),
    flavor_model.ALIASES: (
        'a:1',
        'a:1,a:2',
        'a: 1',
        ' a :+1',
        'a:-1',
        'a:1_0',
        'a:0',
        'a',
        'a:',
        'a:1:2',
        'a:1,',
        '',
        'a:x',
        'a:1.5',
    ),
}
SPECS = strategies.one_of(
    # A few at a time rather than all at once: nearly every flavor with all
    # of them is refused for the first.
    strategies.lists(
        strategies.sampled_from(sorted(VALUES)), max_size=5, unique=True
    ).flatmap(
        lambda keys: strategies.fixed_dictionaries(
            {key: strategies.sampled_from(VALUES[key]) for key in keys}
        )
    ),
    strategies.fixed_dictionaries(
        {},
        optional={
            key: strategies.sampled_from(values)
            for key, values in VALUES.items()
            if key.startswith(('hw:cpu', 'hw:numa', 'hw:emulator', 'resour'))
        },
    ),
)


def of_nova(
    flavor: flavor_model.Flavor,
) -> tuple[str | None, int | None, bool]:
    """Return Nova's verdict on a flavor: reason, status, topology."""
    import unittest.mock

    from nova.api.openstack.compute import servers
    from nova.compute import api
    from nova import exception
    from nova import objects
    from nova.pci import request
    from nova.scheduler import request_filter
    from nova.scheduler import utils
    from nova.virt import hardware

    objects.register_all()
    image = objects.ImageMeta(properties=objects.ImageMetaProps())
    record = objects.Flavor(
        name=flavor.name,
        vcpus=flavor.vcpus,
        memory_mb=flavor.ram,
        root_gb=flavor.disk,
        ephemeral_gb=0,
        swap=0,
        extra_specs=flavor.extra_specs,
    )
    spec_of_alias = {'vendor_id': '10de', 'product_id': '20f1'}
    known = dict.fromkeys(('a', 'a2', 'h100'), ('legacy', [spec_of_alias]))
    try:
        # nova/compute/api.py:_checks_for_create_and_rebuild
        api.API._validate_flavor_image_numa_pci(
            {'name': 'None', 'properties': {}}, record
        )
        topology = hardware.numa_get_constraints(record, image)
        if hasattr(hardware, 'get_sound_model'):
            hardware.get_sound_model(record, image)
        # nova/compute/api.py:_validate_and_build_base_options
        hardware.get_pci_numa_policy_constraint(record, image)
        with unittest.mock.patch.object(
            request, nova_side.READER, lambda: known
        ):
            request.get_pci_requests_from_flavor(record)
    except servers.INVALID_FLAVOR_IMAGE_EXCEPTIONS as exc:
        return exc.format_message(), 400, False
    except exception.NovaException as exc:
        return exc.format_message(), 500, False
    except ValueError as exc:
        return str(exc), 500, False
    spec = objects.RequestSpec(
        flavor=record,
        image=image,
        is_bfv=False,
        requested_resources=[],
        request_level_params=objects.RequestLevelParams(),
    )
    try:
        for name in (
            'ephemeral_encryption_filter',
            'tpm_secret_security_filter',
        ):
            if hasattr(request_filter, name):
                getattr(request_filter, name)(None, spec)
        utils.ResourceRequest.from_request_spec(spec)
    except exception.RequestFilterFailed as exc:
        return exc.kwargs['reason'], None, False
    except exception.NovaException as exc:
        return exc.format_message(), None, False
    return None, 202, topology is not None


def difference(flavor: flavor_model.Flavor) -> str | None:
    """Return how we and Nova differ; None if both agree."""
    reason, status, has_topology = of_nova(flavor)
    ours = boot_validation.validate(flavor, nova_side.RELEASE)
    if reason is None:
        if ours.refusal is not None:
            return f'Nova takes it, we do not: {ours.refusal}'
        if has_topology != ours.has_topology:
            return f'topology is {has_topology} for Nova'
        return None
    if ours.refusal is None:
        return f'we take it, Nova does not: {reason}'
    if status != ours.refusal.status:
        return f'status is {status} for Nova, {ours.refusal.status} for us'
    # These messages are Python's, not Nova's.
    if 'unpack' in reason or 'invalid literal' in reason:
        return None
    # Values that cannot be parsed are not quoted: they may be secret.
    reason = re.sub(
        r"(?<=expression ')[^']*", lambda match: quoting.cpus(match[0]), reason
    )
    if reason != ours.refusal.reason:
        return f'Nova says {reason}, we say {ours.refusal.reason}'
    return None


class TestValidation(testtools.TestCase):
    def check(self, flavor: flavor_model.Flavor) -> None:
        self.assertIsNone(difference(flavor), flavor)

    @hypothesis.settings(deadline=None, max_examples=400)
    @hypothesis.given(SPECS, strategies.sampled_from((1, 2, 4, 8)))
    def test_as_nova(self, specs: dict[str, str], vcpus: int) -> None:
        self.check(flavor_model.Flavor('id', 'f', vcpus, 2048, 1, True, specs))

    def test_each_value(self) -> None:
        """Each value, alone and with pinned CPUs, in a valid flavor."""
        others: tuple[dict[str, str], ...] = (
            {},
            {'hw:cpu_policy': 'dedicated'},
            {'hw:cpu_policy': 'mixed', 'hw:cpu_dedicated_mask': '^0'},
            {'hw:tpm_version': '2.0', 'hw:ephemeral_encryption': 'yes'},
            {'hw:mem_page_size': 'large', 'hw:mem_encryption': 'yes'},
            {'hw:numa_nodes': '2'},
        )
        for key, values in VALUES.items():
            for value in values:
                for other in others:
                    specs = {**other, key: value}
                    self.check(
                        flavor_model.Flavor('id', 'f', 4, 2048, 1, True, specs)
                    )

    def test_messages(self) -> None:
        for specs, message in (
            (
                {flavor_model.ALIASES: ''},
                "HTTP 500 (Unexpected API Error): '' in",
            ),
            (
                {'hw:cpu_thread_policy': 'require'},
                'HTTP 400: Cannot set cpu thread pinning policy',
            ),
            ({'os:secure_boot': 'x'}, 'every server ends in ERROR: Invalid'),
        ):
            flavor = flavor_model.Flavor('id', 'f', 4, 2048, 1, True, specs)
            refusal: typing.Any = boot_validation.validate(flavor).refusal
            self.assertIn(message, str(refusal))
