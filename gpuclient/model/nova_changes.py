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

"""What differs between releases of Nova, as far as GPUs are concerned.

This is the only place that knows since which version Nova behaves how. Rules
ask :meth:`gpuclient.model.release.Release.has`; the documentation shows the
table (``doc/source/user/releases.rst``), and a test compares both.
"""

import dataclasses
import typing

#: ``(31, 3, 1)``
Version: typing.TypeAlias = tuple[int, int, int]

NOVA = 'Nova'
PLACEMENT = 'Placement'
#: Placement 16 was released with Nova 34, and so on.
_BEHIND_NOVA = {NOVA: 0, PLACEMENT: 18}


@dataclasses.dataclass(frozen=True)
class NovaChange:
    """A behavior that begins or ends with a version of Nova."""

    #: Stable, for the documentation.
    id: str
    #: What Nova does where it has the change: a sentence.
    behavior: str
    #: What follows where it does not: a sentence.
    otherwise: str
    #: The file of Nova and the function, or the bug.
    source: str
    #: The first version, but for :attr:`backports`; that of Nova in the same
    #: OpenStack release for a change of another component.
    since: Version = (0, 0, 0)
    #: The first versions of older series that have it.
    backports: tuple[Version, ...] = ()
    #: The first version without it.
    until: Version | None = None
    component: str = NOVA

    def is_in(self, version: Version) -> bool:
        """Return whether a version of Nova has the change."""
        if self.until is not None and version >= self.until:
            return False
        return version >= self.since or any(
            version[0] == first[0] and version >= first
            for first in self.backports
        )

    @property
    def versions(self) -> str:
        """The versions of the component that have it: ``32.0.0, 31.3.1``."""
        if self.until is not None:
            return f'before {version_text(self.until)}'
        behind = _BEHIND_NOVA[self.component]
        return ', '.join(
            version_text((first[0] - behind, *first[1:]))
            for first in (self.since, *self.backports)
        )


def version_text(version: Version) -> str:
    """Return a version as it is written: ``31.3.1``."""
    return '.'.join(map(str, version))


PCI_IN_PLACEMENT = NovaChange(
    'pci-in-placement',
    'With [filter_scheduler]pci_in_placement, devices that flavors request '
    'are scheduled by Placement.',
    'Devices are reported to Placement, but Nova schedules them by itself.',
    'nova/objects/request_spec.py:RequestSpec.'
    'generate_request_groups_from_pci_requests',
    since=(27, 0, 0),
)
ALIAS_PLACEMENT = NovaChange(
    'alias-placement',
    'An alias can have resource_class and traits.',
    'An alias with either of them is refused.',
    'nova/pci/request.py:_ALIAS_SCHEMA',
    since=(27, 0, 0),
)
MEMORY_ENCRYPTION_OF_VOLUME = NovaChange(
    'memory-encryption-of-volume',
    'nova-api refuses a volume-backed server with hw:mem_encryption with '
    'HTTP 400.',
    'It returns HTTP 500.',
    'nova/virt/hardware.py:_check_mem_encryption_uses_uefi_image',
    since=(27, 0, 0),
)
AVAILABILITY_ZONE_FILTER = NovaChange(
    'availability-zone-filter',
    'nova-scheduler has AvailabilityZoneFilter.',
    'nova-scheduler does not start with it in enabled_filters.',
    'nova/scheduler/filters',
    until=(28, 0, 0),
)
MAXPHYSADDR = NovaChange(
    'maxphysaddr',
    'A flavor can have hw:maxphysaddr_mode and hw:maxphysaddr_bits.',
    'Nova ignores both: guests with several large GPUs may lack physical '
    'address bits.',
    'nova/virt/hardware.py:get_maxphysaddr_mode',
    since=(29, 0, 0),
)
TENANT_SUFFIX = NovaChange(
    'tenant-suffix',
    'AggregateMultiTenancyIsolation reads all keys of an aggregate that begin '
    'with filter_tenant_id.',
    'It reads filter_tenant_id alone.',
    'nova/scheduler/filters/aggregate_multitenancy_isolation.py',
    since=(30, 0, 0),
)
PACKED_VIRTQUEUE = NovaChange(
    'packed-virtqueue',
    'A flavor can have hw:virtio_packed_ring.',
    'Nova ignores it.',
    'nova/virt/hardware.py:get_packed_virtqueue_constraint',
    since=(29, 0, 0),
)
HYPERV_SPECS = NovaChange(
    'hyperv-specs',
    'Microversion 2.86 accepts os:monitors, os:resolution and os:vram.',
    'It refuses them: Nova has no driver for Hyper-V.',
    'nova/api/validation/extra_specs/os.py',
    until=(29, 0, 0),
)
CPU_MAX_VALIDATED = NovaChange(
    'cpu-max-validated',
    'Microversion 2.86 accepts hw:cpu_max_sockets, hw:cpu_max_cores and '
    'hw:cpu_max_threads.',
    'It refuses them, and accepts hw:max_cpu_sockets and its like, which Nova '
    'ignores.',
    'nova/api/validation/extra_specs/hw.py',
    since=(30, 0, 0),
)
TPM_MODEL_TRAIT = NovaChange(
    'tpm-model-trait',
    'Servers with a TPM require a trait for its model.',
    'Servers with a TPM can be scheduled to a host without the model.',
    'nova/scheduler/utils.py:ResourceRequest._translate_vtpm_request',
    since=(30, 0, 0),
)
ALIAS_LIVE_MIGRATABLE = NovaChange(
    'alias-live-migratable',
    'An alias can have live_migratable.',
    'An alias with it is refused.',
    'nova/pci/request.py:_ALIAS_SCHEMA',
    since=(31, 0, 0),
)
SPEC_MANAGED = NovaChange(
    'device-spec-managed',
    'A device_spec can have managed and live_migratable: booleans.',
    'Both keys are tags without effect; any value is accepted, and libvirt '
    'always rebinds the devices.',
    'nova/pci/devspec.py:PciDeviceSpec._normalize_device_spec_tag',
    since=(31, 0, 0),
)
ONE_POOL_OF_PROVIDER = NovaChange(
    'one-pool-of-provider',
    'A request for VFs takes as many devices as Placement allocated.',
    'With pci_in_placement, a request for VFs can take more devices than '
    'Placement allocated (bug 2098496).',
    'nova/pci/stats.py:PciDeviceStats._assert_one_pool_per_rp_uuid',
    since=(31, 1, 0),
    backports=((30, 2, 0), (29, 4, 0)),
)
REMOVED_DEVICES_KEPT = NovaChange(
    'removed-devices-kept',
    'A device that is removed from device_spec while it is allocated stays in '
    'Placement until it is free.',
    'nova-compute removes the device, and deleting the server can fail.',
    'nova/pci/manager.py:PciDevTracker._set_hvdevs, '
    'nova/compute/pci_placement_translator.py:PciResourceProvider.'
    '_adjust_for_removals_and_held_devices',
    since=(31, 2, 0),
)
ALIASES_READ_AT_START = NovaChange(
    'aliases-read-at-start',
    'nova-api and nova-compute validate all aliases when they start, and exit '
    'if one is invalid.',
    'Both start; nova-api returns HTTP 400 for each request for a server '
    'whose flavor requests any alias.',
    'nova/api/openstack/wsgi_app.py:_setup_service, '
    'nova/compute/manager.py:ComputeManager.init_host',
    since=(32, 0, 0),
    backports=((31, 3, 1),),
)
ALIASES_CHECKED_TOGETHER = NovaChange(
    'aliases-checked-together',
    'An alias needs vendor_id and product_id, or with pci_in_placement a '
    'resource_class; with pci_in_placement a name can have one alias only.',
    'Such aliases are accepted. Without IDs an alias matches every device; '
    'servers that request an alias with several definitions fail with '
    'pci_in_placement.',
    'nova/pci/request.py:_validate_aliases',
    since=(32, 0, 0),
    backports=((31, 3, 1),),
)
ONE_TIME_USE = NovaChange(
    'one-time-use',
    'A device_spec can have one_time_use, and Placement the trait '
    'HW_PCI_ONE_TIME_USE.',
    'The key is a tag without effect: a device is assigned again without '
    'cleaning.',
    'nova/compute/pci_placement_translator.py:PciResourceProvider.'
    '_handle_one_time_use',
    since=(32, 0, 0),
)
MEMORY_ENCRYPTION_MODEL = NovaChange(
    'memory-encryption-model',
    'A flavor can have hw:mem_encryption_model.',
    'Nova ignores it; the memory is encrypted with amd-sev.',
    'nova/virt/hardware.py:get_mem_encryption_constraint',
    since=(32, 0, 0),
)
SOUND_MODEL = NovaChange(
    'sound-model',
    'A flavor can have hw:sound_model.',
    'Nova ignores it.',
    'nova/virt/hardware.py:get_sound_model',
    since=(32, 0, 0),
)
USB_MODEL = NovaChange(
    'usb-model',
    'A flavor can have hw:usb_model and hw:redirected_usb_ports.',
    'Nova ignores both.',
    'nova/virt/hardware.py:get_usb_model',
    since=(32, 0, 0),
)
TPM_SECRET_SECURITY = NovaChange(
    'tpm-secret-security',
    'A flavor can have hw:tpm_secret_security, and servers with a TPM require '
    'a trait for it.',
    'Nova ignores it.',
    'nova/scheduler/request_filter.py:tpm_secret_security_filter',
    since=(33, 0, 0),
)
MEMORY_ENCRYPTION_SNP = NovaChange(
    'memory-encryption-snp',
    'hw:mem_encryption_model can be amd-sev-snp or intel-tdx.',
    'nova-api returns HTTP 500 for each request for a server with either.',
    'nova/virt/hardware.py:MemEncryptionConfig.create',
    since=(34, 0, 0),
)
LOCKED_MEMORY_REFUSED = NovaChange(
    'locked-memory-refused',
    'nova-api refuses hw:locked_memory without hw:mem_page_size with '
    'HTTP 400.',
    'It returns HTTP 500.',
    'nova/api/openstack/compute/servers.py:INVALID_FLAVOR_IMAGE_EXCEPTIONS',
    since=(34, 0, 0),
)
TRAIT_LIVE_MIGRATABLE = NovaChange(
    'trait-live-migratable',
    'Devices with live_migratable have the trait HW_PCI_LIVE_MIGRATABLE.',
    'Devices do not have the trait, whether or not live_migratable is set.',
    'nova/compute/pci_placement_translator.py:_get_traits_for_dev',
    since=(34, 0, 0),
)
OWNER_NOVA = NovaChange(
    'owner-nova',
    'nova-compute reports the trait OWNER_NOVA, and nova-scheduler requires '
    'it once every nova-compute that is not forced down is of this release.',
    'Nova neither reports nor requires the trait.',
    'nova/scheduler/request_filter.py:owner_nova_filter',
    since=(34, 0, 0),
)
LIMITS_COUNT_ALIASES = NovaChange(
    'limits-count-aliases',
    'With pci_in_placement, unified limits count the devices that the aliases '
    'of a flavor request.',
    'Limits do not count devices that are requested by alias.',
    'nova/scheduler/utils.py:request_spec_for_limits',
    since=(34, 0, 0),
)
INTERNAL_HINTS_REMOVED = NovaChange(
    'internal-hints-removed',
    'nova-api removes scheduler hints that begin with _nova from requests.',
    'A user can boot a server that Placement does not account for '
    '(bug 2151252).',
    'nova/compute/api.py:API.create',
    since=(34, 0, 0),
    backports=((33, 0, 2), (32, 2, 1), (31, 3, 1)),
)
LIMIT_ENDPOINT_BY_NAME = NovaChange(
    'limit-endpoint-by-name',
    'Unified limits find the endpoint by [oslo_limit]endpoint_service_type, '
    'endpoint_service_name and endpoint_region_name.',
    'From 31 to 33, a request over an unset limit returns HTTP 500 without '
    '[oslo_limit]endpoint_id: the other options are not read, or not read '
    'correctly (bug 2123895). Up to 30 they work.',
    'nova/limit/utils.py:_identity_client',
    since=(34, 0, 0),
)
UNSET_LIMITS_IGNORED = NovaChange(
    'unset-limits',
    'Unified limits ignore a resource without a registered limit (unless '
    '[quota]unified_limits_resource_list requires it), and a limit of -1.',
    'The limit of such a resource is 0, and -1 is compared as a number by '
    'oslo.limit before 2.12.0.',
    'nova/limit/utils.py:should_enforce',
    since=(31, 0, 0),
)
CANDIDATES_BOUNDED = NovaChange(
    'candidates-bounded',
    'Placement has [placement]max_allocation_candidates and '
    'allocation_candidates_generation_strategy.',
    'A request for many devices of a host can take minutes and much memory.',
    'placement/conf/placement.py',
    since=(31, 0, 0),
    backports=((30, 0, 1), (29, 0, 1)),
    component=PLACEMENT,
)
WIDE_TREES = NovaChange(
    'wide-trees',
    'Placement has [workarounds]optimize_for_wide_provider_trees, for '
    'flavors with more than four devices on hosts with eight or more.',
    'Placement tries all combinations of devices, up to '
    'max_allocation_candidates (bug 2126751).',
    'placement/conf/workarounds.py',
    since=(33, 0, 0),
    backports=((31, 0, 1), (30, 0, 2)),
    component=PLACEMENT,
)
OVER_CAPACITY_CHANGES = NovaChange(
    'over-capacity-changes',
    'Allocations can change while a provider is over capacity, such as a card '
    'that is in use and was reserved afterwards.',
    'Placement returns HTTP 409 for each later change of the allocations of '
    'the server, until reserved is 0 again (bug 2104040).',
    'placement/objects/allocation.py:_check_capacity_exceeded',
    since=(32, 0, 0),
    component=PLACEMENT,
)

#: In the order of the documentation.
CHANGES = (
    PCI_IN_PLACEMENT,
    ALIAS_PLACEMENT,
    MEMORY_ENCRYPTION_OF_VOLUME,
    AVAILABILITY_ZONE_FILTER,
    MAXPHYSADDR,
    PACKED_VIRTQUEUE,
    HYPERV_SPECS,
    TENANT_SUFFIX,
    CPU_MAX_VALIDATED,
    TPM_MODEL_TRAIT,
    ALIAS_LIVE_MIGRATABLE,
    SPEC_MANAGED,
    UNSET_LIMITS_IGNORED,
    CANDIDATES_BOUNDED,
    ONE_POOL_OF_PROVIDER,
    REMOVED_DEVICES_KEPT,
    ALIASES_READ_AT_START,
    ALIASES_CHECKED_TOGETHER,
    ONE_TIME_USE,
    MEMORY_ENCRYPTION_MODEL,
    SOUND_MODEL,
    USB_MODEL,
    OVER_CAPACITY_CHANGES,
    WIDE_TREES,
    TPM_SECRET_SECURITY,
    MEMORY_ENCRYPTION_SNP,
    LOCKED_MEMORY_REFUSED,
    TRAIT_LIVE_MIGRATABLE,
    OWNER_NOVA,
    LIMITS_COUNT_ALIASES,
    INTERNAL_HINTS_REMOVED,
    LIMIT_ENDPOINT_BY_NAME,
)
