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

"""Which extra specs of flavors microversion 2.86 accepts, by release.

Nova validates extra specs of the namespaces that it knows when a flavor is
written with compute microversion 2.86 or later
(``nova/api/validation/extra_specs/validators.py:validate``). A flavor that has
others keeps them; but it cannot be created again with that microversion.
"""

import collections.abc

from gpuclient.model import nova_changes
from gpuclient.model import release as release_model

_ACCEPTED_WITH = {
    'hw:cpu_max_cores': nova_changes.CPU_MAX_VALIDATED,
    'hw:cpu_max_sockets': nova_changes.CPU_MAX_VALIDATED,
    'hw:cpu_max_threads': nova_changes.CPU_MAX_VALIDATED,
    'hw:mem_encryption_model': nova_changes.MEMORY_ENCRYPTION_MODEL,
    'hw:redirected_usb_ports': nova_changes.USB_MODEL,
    'hw:sound_model': nova_changes.SOUND_MODEL,
    'hw:tpm_secret_security': nova_changes.TPM_SECRET_SECURITY,
    'hw:usb_model': nova_changes.USB_MODEL,
    'hw:virtio_packed_ring': nova_changes.PACKED_VIRTQUEUE,
    'os:monitors': nova_changes.HYPERV_SPECS,
    'os:resolution': nova_changes.HYPERV_SPECS,
    'os:vram': nova_changes.HYPERV_SPECS,
}
_ACCEPTED_WITHOUT = {
    'hw:max_cpu_cores': nova_changes.CPU_MAX_VALIDATED,
    'hw:max_cpu_sockets': nova_changes.CPU_MAX_VALIDATED,
    'hw:max_cpu_threads': nova_changes.CPU_MAX_VALIDATED,
}


def refused(
    keys: collections.abc.Iterable[str], release: release_model.Release
) -> frozenset[str]:
    """Return the extra specs that a release refuses, and others accept."""
    return frozenset(
        key
        for key in keys
        if (key in _ACCEPTED_WITH and not release.has(_ACCEPTED_WITH[key]))
        or (key in _ACCEPTED_WITHOUT and release.has(_ACCEPTED_WITHOUT[key]))
    )


def change_of(key: str) -> nova_changes.NovaChange:
    """Return the change after which Nova accepts or refuses a key."""
    return _ACCEPTED_WITH.get(key) or _ACCEPTED_WITHOUT[key]
