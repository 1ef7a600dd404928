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

"""Properties of images, as Nova reads them.

Filters see the properties that ``nova/objects/image_meta.py:ImageMetaProps``
knows, under their current names and in a normal form. A test compares both.
"""

import collections.abc

from gpuclient.model import boolean
from gpuclient.model import nova_changes
from gpuclient.model import release as release_model

_BOOLEANS = frozenset(
    """
    hw_boot_menu hw_ephemeral_encryption hw_firmware_stateless hw_ipxe_boot
    hw_locked_memory hw_mem_encryption hw_pmu hw_qemu_guest_agent hw_time_hpet
    hw_vif_multiqueue_enabled hw_virtio_packed_ring img_bdm_v2 img_bittorrent
    img_cache_in_nova img_hide_hypervisor_id img_linked_clone img_use_agent
    os_require_quiesce os_skip_agent_inject_files_at_boot
    os_skip_agent_inject_ssh
    """.split()
)
_NUMBERS = frozenset(
    """
    hw_cpu_cores hw_cpu_max_cores hw_cpu_max_sockets hw_cpu_max_threads
    hw_cpu_sockets hw_cpu_threads hw_device_id hw_maxphysaddr_bits
    hw_numa_nodes hw_redirected_usb_ports hw_serial_port_count hw_video_ram
    img_compression_level img_version
    """.split()
)
_LOWER_CASE = frozenset({'hw_scsi_model', 'hw_vif_model', 'os_type'})
_TEXTS = frozenset(
    """
    hw_auto_disk_config hw_cdrom_bus hw_cpu_policy hw_cpu_realtime_mask
    hw_cpu_thread_policy hw_disk_bus hw_disk_type
    hw_ephemeral_encryption_format hw_ephemeral_encryption_secret_uuid
    hw_firmware_type hw_floppy_bus hw_input_bus hw_machine_type
    hw_mem_encryption_model hw_mem_page_size hw_maxphysaddr_mode
    hw_pci_numa_affinity_policy hw_pointer_model hw_rescue_bus
    hw_rescue_device hw_rng_model hw_sound_model hw_tpm_model hw_tpm_version
    hw_usb_model hw_video_model hw_viommu_model hw_watchdog_action
    img_config_drive img_hv_requested_version img_owner_id
    img_root_device_name img_signature img_signature_certificate_uuid
    img_signature_hash_method img_signature_key_type os_admin_user
    os_command_line os_distro os_secure_boot
    """.split()
)
_NAMES = {
    'hw_architecture': {
        'amd64': 'x86_64',
        'i386': 'i686',
        'i486': 'i686',
        'i586': 'i686',
        'x86_32': 'i686',
        'x86_32p': 'i686',
    },
    'hw_vm_mode': {'pv': 'xen', 'hv': 'hvm', 'baremetal': 'hvm'},
    'img_hv_type': {'xapi': 'xen'},
}
_NAMES['hw_emulation_architecture'] = _NAMES['hw_architecture']
_ALL = _BOOLEANS | _NUMBERS | _LOWER_CASE | _TEXTS | _NAMES.keys()
#: Properties of newer releases, and the change that brought each.
_SINCE = {
    'hw_ephemeral_encryption_secret_uuid': nova_changes.MAXPHYSADDR,
    'hw_maxphysaddr_bits': nova_changes.MAXPHYSADDR,
    'hw_maxphysaddr_mode': nova_changes.MAXPHYSADDR,
    'hw_virtio_packed_ring': nova_changes.PACKED_VIRTQUEUE,
}
#: Names of Nova's earlier releases
#: (``ImageMetaProps._legacy_property_map``).
LEGACY = {
    'architecture': 'hw_architecture',
    'owner_id': 'img_owner_id',
    'vmware_disktype': 'hw_disk_type',
    'vmware_image_version': 'img_version',
    'vmware_ostype': 'os_distro',
    'auto_disk_config': 'hw_auto_disk_config',
    'ipxe_boot': 'hw_ipxe_boot',
    'xenapi_device_id': 'hw_device_id',
    'xenapi_image_compression_level': 'img_compression_level',
    'vmware_linked_clone': 'img_linked_clone',
    'xenapi_use_agent': 'img_use_agent',
    'xenapi_skip_agent_inject_ssh': 'os_skip_agent_inject_ssh',
    'xenapi_skip_agent_inject_files_at_boot': (
        'os_skip_agent_inject_files_at_boot'
    ),
    'cache_in_nova': 'img_cache_in_nova',
    'vm_mode': 'hw_vm_mode',
    'bittorrent': 'img_bittorrent',
    'bdm_v2': 'img_bdm_v2',
    'root_device_name': 'img_root_device_name',
    'hypervisor_version_requires': 'img_hv_requested_version',
    'hypervisor_type': 'img_hv_type',
}


def is_known(name: str, release: release_model.Release) -> bool:
    """Return whether Nova reads a property of images."""
    return name in _ALL and (name not in _SINCE or release.has(_SINCE[name]))


def is_in_servers(name: str) -> bool:
    """Return whether a server of Nova 31 or later shows the property.

    ``nova/api/openstack/compute/views/servers.py:ViewBuilder._get_image``
    """
    return name in _ALL or name in LEGACY


def of_nova(
    properties: collections.abc.Mapping[str, str],
    release: release_model.Release,
) -> dict[str, str]:
    """Return the properties that Nova reads, as text; without false ones."""
    named = {
        LEGACY[key]: value
        for key, value in properties.items()
        if key in LEGACY
    }
    named.update(properties)
    return {
        name: text
        for name, value in named.items()
        if is_known(name, release) and (text := _text(name, value))
    }


def _text(name: str, value: str) -> str:
    """Return the text of the value that Nova reads; empty if it is false."""
    if name in _BOOLEANS:
        return 'True' if boolean.is_true(value) else ''
    if name in _NUMBERS:
        try:
            number = int(value)
        except ValueError:
            return value
        return str(number) if number else ''
    if name in _NAMES:
        value = value.lower()
        return _NAMES[name].get(value, value)
    if name in _LOWER_CASE:
        return value.lower()
    return value
