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

"""Which extra specs microversion 2.86 refuses, compared with nova-api.

Compared with ``nova.api.validation.extra_specs.validators.validate``.
"""

import random

from nova.api.validation.extra_specs import validators
from nova import exception

from gpuclient.model import extra_spec_validation
from tests.unit.differential import comparing
from tests.unit.differential import nova_side

#: Some that every release accepts, or that are in no namespace of Nova.
_ACCEPTED = (
    'hw:cpu_policy',
    'hw:cpu_sockets',
    'hw:mem_page_size',
    'hw:pci_numa_affinity_policy',
    'os:secure_boot',
    'pci_passthrough:alias',
    'placement:same_subtree',
    'resources:VGPU',
    'trait:HW_CPU_X86_VMX',
)
_CHANGED = (
    'hw:cpu_max_cores', 'hw:cpu_max_sockets', 'hw:cpu_max_threads',
    'hw:max_cpu_cores', 'hw:max_cpu_sockets', 'hw:max_cpu_threads',
    'hw:mem_encryption_model', 'hw:redirected_usb_ports', 'hw:sound_model',
    'hw:tpm_secret_security', 'hw:usb_model', 'hw:virtio_packed_ring',
    'os:monitors', 'os:resolution', 'os:vram',
)  # fmt: skip


def generate(source: random.Random) -> comparing.Case:
    keys = (*_ACCEPTED, *_CHANGED)
    return source.sample(keys, source.randrange(1, len(keys)))


def _refused(keys: list[str]) -> set[str]:
    refused = set()
    for key in keys:
        try:
            # The value is of no key, so that known keys are refused, too.
            validators.validate(key, '\0')
        except exception.ValidationError as exc:
            if 'does not appear to be a valid extra spec' in str(exc):
                refused.add(key)
    return refused


def accepts(case: comparing.Case) -> bool:
    return not _refused(case)


def compare(case: comparing.Case) -> str | None:
    nova = _refused(case)
    ours = extra_spec_validation.refused(case, nova_side.RELEASE)
    if nova == ours:
        return None
    return f'Nova refuses {sorted(nova)}, we {sorted(ours)}'


COMPARISON = comparing.Comparison(
    'extra_specs',
    generate,
    compare,
    accepts,
    ([*_ACCEPTED, *_CHANGED],),
)
