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

"""Images, and what their properties add to the request for a server.

Nova reads most properties that matter for scheduling from the flavor or the
image: ``hw:cpu_policy`` or ``hw_cpu_policy``. :func:`merge` returns the flavor
that requests the same without the image (``nova/virt/hardware.py``).
"""

import collections.abc
import dataclasses
import re

from gpuclient import exceptions
from gpuclient.model import flavor as flavor_model

_TRAIT = 'trait:'
_STATELESS = 'hw_firmware_stateless'
_STATELESS_TRAIT = 'COMPUTE_SECURITY_STATELESS_FIRMWARE'
#: Properties that must be the same in flavor and image, if both set them
#: (``nova/virt/hardware.py:_get_unique_flavor_image_meta``).
_UNIQUE = {
    'hw_tpm_version': 'hw:tpm_version',
    'hw_tpm_model': 'hw:tpm_model',
    'os_secure_boot': 'os:secure_boot',
    'hw_maxphysaddr_mode': 'hw:maxphysaddr_mode',
    'hw_ephemeral_encryption_format': 'hw:ephemeral_encryption_format',
    'hw_sound_model': 'hw:sound_model',
}
#: Properties of which the flavor has the last word.
_FALLBACK = {
    'hw_maxphysaddr_bits': 'hw:maxphysaddr_bits',
    'hw_virtio_packed_ring': 'hw:virtio_packed_ring',
    'hw_ephemeral_encryption': 'hw:ephemeral_encryption',
    'hw_locked_memory': 'hw:locked_memory',
    'hw_cpu_realtime_mask': 'hw:cpu_realtime_mask',
}
#: Properties that ``nova/virt/hardware.py`` refuses beside those of a flavor.
_NUMA = re.compile(r'hw_numa_(nodes|(cpus|mem)\.[0-9]+)')
#: Properties that exclude hosts by filters, if those are enabled.
_FILTERED = ('hw_architecture', 'img_hv_type', 'hw_vm_mode')


@dataclasses.dataclass(frozen=True)
class Image:
    """An image of Glance, or that of a server."""

    id: str
    name: str
    #: Strings, as Glance stores them.
    properties: dict[str, str]
    disk_format: str | None = None
    #: MiB.
    min_ram: int = 0
    #: GiB.
    min_disk: int = 0

    @property
    def traits(self) -> frozenset[str]:
        """The traits that it requires of hosts."""
        traits = {
            key.removeprefix(_TRAIT)
            for key, value in self.properties.items()
            if key.startswith(_TRAIT) and value == 'required'
        }
        if self.properties.get(_STATELESS, '').lower() == 'true':
            traits.add(_STATELESS_TRAIT)
        return frozenset(traits)

    @property
    def filtered(self) -> tuple[str, ...]:
        """Properties that ImagePropertiesFilter matches on the host."""
        return tuple(key for key in _FILTERED if self.properties.get(key))


def merge(flavor: flavor_model.Flavor, image: Image) -> flavor_model.Flavor:
    """Return the flavor that requests what both request together.

    Without :attr:`Image.traits`: the flavor may forbid one of them.

    :raises gpuclient.exceptions.InvalidValue: Nova refuses both together;
        with its message.
    """
    specs = dict(flavor.extra_specs or {})
    properties = image.properties
    if flavor.ram < image.min_ram:
        raise exceptions.InvalidValue(
            "Flavor's memory is too small for requested image."
        )
    for key, spec in _UNIQUE.items():
        ours, theirs = specs.get(spec), properties.get(key)
        if ours and theirs and ours != theirs:
            raise exceptions.InvalidValue(
                f'Flavor {flavor.name} has {spec} extra spec explicitly set '
                f'to {ours}, conflicting with image {image.name} which has '
                f'{key} explicitly set to {theirs}.'
            )
        if theirs and not ours:
            specs[spec] = theirs
    for key, spec in _FALLBACK.items():
        if key in properties:
            specs.setdefault(spec, properties[key])
    _merge_cpus(specs, properties)
    _merge_numa(specs, properties)
    return dataclasses.replace(flavor, extra_specs=specs)


def _merge_cpus(
    specs: dict[str, str], properties: collections.abc.Mapping[str, str]
) -> None:
    """``nova/virt/hardware.py:get_cpu_policy_constraint`` and
    ``get_cpu_thread_policy_constraint``."""
    policy = properties.get('hw_cpu_policy')
    ours = specs.get('hw:cpu_policy')
    if (ours, policy) in (
        ('mixed', 'dedicated'),
        ('shared', 'mixed'),
        ('shared', 'dedicated'),
    ):
        raise exceptions.InvalidValue(
            "Image property 'hw_cpu_policy' is not permitted to override CPU "
            'pinning policy set against the flavor'
        )
    if policy and not ours:
        specs['hw:cpu_policy'] = policy
    threads = properties.get('hw_cpu_thread_policy')
    ours = specs.get('hw:cpu_thread_policy')
    if threads and ours not in (None, 'prefer', threads):
        raise exceptions.InvalidValue(
            "Image property 'hw_cpu_thread_policy' is not permitted to "
            'override CPU thread pinning policy set against the flavor'
        )
    if threads and not ours:
        specs['hw:cpu_thread_policy'] = threads


def _merge_numa(
    specs: dict[str, str], properties: collections.abc.Mapping[str, str]
) -> None:
    policy = properties.get('hw_pci_numa_affinity_policy')
    ours = specs.get(flavor_model.NUMA_POLICY)
    if policy and ours and policy != ours:
        raise exceptions.InvalidValue(
            "Image property 'hw_pci_numa_affinity_policy' is not permitted to "
            "override the 'hw:pci_numa_affinity_policy' flavor extra spec."
        )
    if policy:
        specs[flavor_model.NUMA_POLICY] = policy
    topology = {
        key: value for key, value in properties.items() if _NUMA.fullmatch(key)
    }
    if topology and specs.get('hw:numa_nodes'):
        raise exceptions.InvalidValue(
            f"Image property '{min(topology)}' is not permitted to override "
            'NUMA configuration set against the flavor'
        )
    for key, value in topology.items():
        specs[key.replace('hw_', 'hw:', 1)] = value
    pages = properties.get('hw_mem_page_size')
    ours = specs.get('hw:mem_page_size')
    if pages and ours not in ('any', 'large'):
        raise exceptions.InvalidValue(
            f'Page size {pages} is not allowed: the flavor has '
            f"hw:mem_page_size {ours!r}, not 'any' or 'large'"
        )
    if pages:
        specs['hw:mem_page_size'] = pages
