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

"""Flavors with which Nova cannot create any server, on any host.

nova-api validates the extra specs of the flavor each time a server is created
(``nova/compute/api.py:_validate_flavor_image_numa_pci``, then
``_validate_and_build_base_options``); nova-scheduler validates some others
when it makes the request for Placement. This module follows both, in Nova's
order and with its messages, for an image without properties.
"""

import collections.abc
import dataclasses
import re
import typing

from gpuclient import exceptions
from gpuclient.model import boolean
from gpuclient.model import cpu
from gpuclient.model import flavor as flavor_model
from gpuclient.model import nova_changes
from gpuclient.model import release as release_model

Specs: typing.TypeAlias = collections.abc.Mapping[str, str]
_T = typing.TypeVar('_T')

CPU_POLICIES = ('dedicated', 'shared', 'mixed')
CPU_THREAD_POLICIES = ('prefer', 'isolate', 'require')
EMULATOR_THREADS_POLICIES = ('share', 'isolate')
NUMA_POLICIES = ('required', 'legacy', 'preferred', 'socket')
#: Policies that pin CPUs, so that the server gets a NUMA topology.
PINNED = ('dedicated', 'mixed')

_ENCRYPTION_MODELS = ('amd-sev', 'amd-sev-es')
#: Those of :data:`nova_changes.MEMORY_ENCRYPTION_SNP`.
_LATER_ENCRYPTION_MODELS = ('amd-sev-snp', 'intel-tdx')
_ENCRYPTION_FORMATS = ('plain', 'luks', 'luksv2')
_SOUND_MODELS = (
    'sb16',
    'es1370',
    'pcspk',
    'ac97',
    'ich6',
    'ich9',
    'usb',
    'virtio',
)
_MAXPHYSADDR_MODES = ('passthrough', 'emulate')
_SECURE_BOOT = ('required', 'disabled', 'optional')
_TPM_VERSIONS = ('1.2', '2.0')
_TPM_MODELS = ('tpm-tis', 'tpm-crb')
_TPM_SECRET_SECURITIES = ('user', 'host', 'deployment')
#: ``nova/objects/image_meta.py:ImageMetaProps.NUMA_NODES_MAX``
_NUMA_NODES_MAX = 128
# nova/virt/hardware.py:_get_vcpu_pcpu_resources matches only the beginning of
# the key. A suffix does not begin with zero.
_CPU_CLASS = re.compile('resources([1-9][0-9]*)?:(?P<name>VCPU|PCPU)')
_HYPERTHREADING = re.compile('trait([1-9][0-9]*)?:HW_CPU_HYPERTHREADING')
# oslo_utils/strutils.py:string_to_bytes
_SIZE = re.compile(r'([-+]?\d*\.?\d+)([KMGTPEZYRQ]i?)?(b|bit|B)\n?')


@dataclasses.dataclass(frozen=True)
class Refusal:
    """Why no server can be created with a flavor."""

    #: Nova's message.
    reason: str
    #: HTTP status of nova-api: 400 with the reason, or 500 with
    #: ``Unexpected API Error`` only. None if nova-api accepts the request and
    #: the server ends in ERROR.
    status: int | None
    #: Whether image properties may prevent it.
    by_image: bool = False
    #: Whether ``pci_passthrough:alias`` is the invalid property.
    by_alias: bool = False

    def __str__(self) -> str:
        if self.status is None:
            text = f'every server ends in ERROR: {self.reason}'
        elif self.status == 500:
            text = (
                f'nova-api returns HTTP 500 (Unexpected API Error): '
                f'{self.reason}'
            )
        else:
            text = (
                f'nova-api refuses every server with HTTP {self.status}: '
                f'{self.reason}'
            )
        if self.by_image:
            text += ' (unless image properties prevent this)'
        return text


class _Refused(Exception):
    def __init__(
        self,
        reason: str,
        status: int | None = 400,
        *,
        by_image: bool = False,
        by_alias: bool = False,
    ) -> None:
        super().__init__(reason)
        self.refusal = Refusal(reason, status, by_image, by_alias)


@dataclasses.dataclass(frozen=True)
class Validated:
    """The result of validating a flavor."""

    #: None if Nova accepts the flavor.
    refusal: Refusal | None
    #: The policy in effect, of ``hw:cpu_policy`` or of ``resources:PCPU``.
    cpu_policy: str | None = None
    #: Whether servers have a NUMA topology, which has to fit the NUMA nodes
    #: of a host.
    has_topology: bool = False


def validate(
    flavor: flavor_model.Flavor,
    release: release_model.Release | None = None,
) -> Validated:
    """Return whether Nova accepts a flavor, and with which CPU policy.

    :param release: The release of Nova; the newest by default.
    """
    release = release or release_model.newest()
    specs = read_specs(flavor.extra_specs or {}, release)
    try:
        _check_image_properties(flavor, specs, release)
        policy, has_topology = _numa_constraints(flavor, specs, release)
        _check_sound_model(specs)
        _check_pci(specs)
        _check_for_scheduler(specs)
    except _Refused as refused:
        return Validated(refused.refusal)
    return Validated(None, policy, has_topology)


#: Extra specs that not every release reads.
_SPECS_SINCE = {
    'hw:maxphysaddr_bits': nova_changes.MAXPHYSADDR,
    'hw:maxphysaddr_mode': nova_changes.MAXPHYSADDR,
    'hw:mem_encryption_model': nova_changes.MEMORY_ENCRYPTION_MODEL,
    'hw:redirected_usb_ports': nova_changes.USB_MODEL,
    'hw:sound_model': nova_changes.SOUND_MODEL,
    'hw:tpm_secret_security': nova_changes.TPM_SECRET_SECURITY,
    'hw:usb_model': nova_changes.USB_MODEL,
    'hw:virtio_packed_ring': nova_changes.PACKED_VIRTQUEUE,
}


def ignored_specs(
    specs: Specs, release: release_model.Release
) -> dict[str, nova_changes.NovaChange]:
    """Return extra specs that a release ignores, and what adds each."""
    return {
        key: _SPECS_SINCE[key]
        for key in specs
        if key in _SPECS_SINCE and not release.has(_SPECS_SINCE[key])
    }


def read_specs(specs: Specs, release: release_model.Release) -> Specs:
    """Return extra specs without those that a release ignores."""
    ignored = ignored_specs(specs, release)
    return {key: specs[key] for key in specs if key not in ignored}


def _check_image_properties(
    flavor: flavor_model.Flavor,
    specs: Specs,
    release: release_model.Release,
) -> None:
    """``nova/compute/api.py:_validate_flavor_image_numa_pci``"""
    _check_encryption(flavor, specs, release)
    _check_serial_ports(specs)
    _realtime_cpus(flavor, specs)
    _check_cpu_topology(specs)


def _check_cpu_topology(specs: Specs) -> None:
    """``nova/virt/hardware.py:get_cpu_topology_constraints``"""
    limits = _integers(
        specs, 'hw:cpu_max_sockets', 'hw:cpu_max_cores', 'hw:cpu_max_threads'
    )
    if min(limits) < 0:
        # Those of an image without properties are all 0.
        sockets, cores, threads = limits
        raise _Refused(
            f'Image vCPU topology limits (sockets=0, cores=0, threads=0) '
            f'exceeds the limits of the flavor (sockets={sockets}, '
            f'cores={cores}, threads={threads})'
        )
    _integers(specs, 'hw:cpu_sockets', 'hw:cpu_cores', 'hw:cpu_threads')


def _integers(specs: Specs, *keys: str) -> list[int]:
    try:
        return [int(specs.get(key, 0)) for key in keys]
    except ValueError as exc:
        raise _Refused(f'Invalid flavor extra spec. Error: {exc}') from None


def _check_encryption(
    flavor: flavor_model.Flavor,
    specs: Specs,
    release: release_model.Release,
) -> None:
    """``nova/virt/hardware.py:get_mem_encryption_constraint``"""
    if not boolean.is_true(specs.get('hw:mem_encryption')):
        return
    if not release.has(nova_changes.MEMORY_ENCRYPTION_SNP):
        volume = ''
        if release.has(nova_changes.MEMORY_ENCRYPTION_OF_VOLUME):
            volume = ' or volume-backed instance was requested'
        raise _Refused(
            f'Memory encryption requested by hw:mem_encryption extra spec in '
            f"{flavor.name} flavor but image None doesn't have "
            f"'hw_firmware_type' property set to 'uefi'{volume}",
            by_image=True,
        )
    models = (*_ENCRYPTION_MODELS, *_LATER_ENCRYPTION_MODELS)
    model = specs.get('hw:mem_encryption_model') or 'amd-sev'
    if model not in models:
        raise _Refused(
            f'Invalid memory encryption model {model!r}. Allowed values: '
            f'{", ".join(models)}.',
            500,
        )
    raise _Refused(
        f'Memory encryption is requested by hw:mem_encryption extra spec in '
        f"{flavor.name} flavor but the image metadata doesn't have the "
        f"'hw_firmware_type' property set to 'uefi'",
        by_image=True,
    )


def _check_serial_ports(specs: Specs) -> None:
    """``nova/virt/hardware.py:get_number_of_serial_ports``"""
    ports = specs.get('hw:serial_port_count')
    if ports:
        try:
            int(ports)
        except ValueError:
            raise _Refused(
                f'Number of serial ports specified in flavor is invalid: '
                f"expected an integer, got '{ports}'"
            ) from None


def _choice(
    specs: Specs,
    key: str,
    choices: tuple[str, ...],
    message: str,
) -> str | None:
    """Return a value that is one of the choices; None if it is empty."""
    value = specs.get(key)
    if value and value not in choices:
        raise _Refused(f"{message}, given: '{value}', available: '{choices}'.")
    return value or None


def _emulator_threads(specs: Specs) -> str | None:
    """``nova/virt/hardware.py:get_emulator_thread_policy_constraint``"""
    return _choice(
        specs,
        'hw:emulator_threads_policy',
        EMULATOR_THREADS_POLICIES,
        'CPU emulator threads option requested is invalid',
    )


def _parse_cpus(text: str, vcpus: int) -> frozenset[int]:
    if text.strip().startswith('^'):
        text = f'0-{vcpus - 1},{text}'
    try:
        return cpu.parse(text)
    except exceptions.InvalidCPUSet as exc:
        raise _Refused(str(exc), 500) from None


def _realtime_cpus(
    flavor: flavor_model.Flavor, specs: Specs
) -> frozenset[int] | None:
    """``nova/virt/hardware.py:get_realtime_cpu_constraint``"""
    if not boolean.is_true(specs.get('hw:cpu_realtime')):
        return None
    everything = frozenset(range(flavor.vcpus))
    mask = specs.get('hw:cpu_realtime_mask')
    realtime = _parse_cpus(mask, flavor.vcpus) if mask else everything
    message = (
        'Use of realtime CPUs requires either one or more non-realtime '
        'CPU(s) or offloaded emulator threads.'
    )
    if not realtime:
        raise _Refused(message, by_image=True)
    emulator = _emulator_threads(specs)
    if realtime == everything and not emulator:
        raise _Refused(message, by_image=True)
    if not realtime <= everything:
        raise _Refused(
            'Realtime policy vCPU(s) mask is configured with RT vCPUs that '
            'are not a subset of the vCPUs in the flavor. See '
            'hw:cpu_realtime_mask or hw_cpu_realtime_mask',
            by_image=True,
        )
    return realtime


def _dedicated_cpus(
    flavor: flavor_model.Flavor, specs: Specs
) -> frozenset[int] | None:
    """``nova/virt/hardware.py:get_dedicated_cpu_constraint``"""
    mask = specs.get('hw:cpu_dedicated_mask')
    if not mask:
        return None
    everything = frozenset(range(flavor.vcpus))
    dedicated = _parse_cpus(mask, flavor.vcpus)
    if not dedicated or not everything - dedicated:
        raise _Refused(
            'Mixed instance must have at least 1 pinned vCPU and 1 unpinned '
            "vCPU. See 'hw:cpu_dedicated_mask'."
        )
    if not dedicated <= everything:
        raise _Refused(
            'Mixed instance dedicated vCPU(s) mask is not a subset of vCPUs '
            'in the flavor. See "hw:cpu_dedicated_mask"'
        )
    return dedicated


def dedicated_cpus(
    flavor: flavor_model.Flavor, specs: Specs
) -> frozenset[int]:
    """Return the pinned CPUs of a server with ``hw:cpu_policy=mixed``."""
    return (
        _dedicated_cpus(flavor, specs)
        or _realtime_cpus(flavor, specs)
        or frozenset()
    )


def _numa_constraints(
    flavor: flavor_model.Flavor,
    specs: Specs,
    release: release_model.Release,
) -> tuple[str | None, bool]:
    """Return the CPU policy, and whether servers have a NUMA topology.

    ``nova/virt/hardware.py:numa_get_constraints``
    """
    policy = _choice(
        specs,
        'hw:cpu_policy',
        CPU_POLICIES,
        "CPU policy requested from 'flavor extra specs' is invalid",
    )
    threads = _choice(
        specs,
        'hw:cpu_thread_policy',
        CPU_THREAD_POLICIES,
        "CPU thread policy requested from 'flavor extra specs' is invalid",
    )
    realtime = _realtime_cpus(flavor, specs)
    dedicated = _dedicated_cpus(flavor, specs)
    emulator = _emulator_threads(specs)
    policy = _with_cpu_classes(flavor, specs, policy, emulator)
    trait = next(
        (value for key, value in specs.items() if _HYPERTHREADING.match(key)),
        None,
    )
    if threads and trait:
        raise _Refused(
            "It is not possible to use the 'trait:HW_CPU_HYPERTHREADING' "
            "extra spec in combination with the 'hw:cpu_thread_policy' extra "
            "spec or 'hw_cpu_thread_policy' image metadata property; use one "
            'or the other'
        )
    if trait in ('forbidden', 'required'):
        threads = 'isolate' if trait == 'forbidden' else 'require'
    if policy in ('shared', None):
        _check_unpinned(threads, emulator, dedicated, realtime)
    elif policy == 'dedicated' and dedicated:
        raise _Refused(_MASK_WITHOUT_MIXED)
    elif policy == 'mixed' and bool(realtime) == bool(dedicated):
        raise _Refused(
            'Dedicated CPU set can be specified from either '
            "'hw:cpu_dedicated_mask' or 'hw:cpu_realtime_mask' when using "
            "'mixed' CPU policy. 'hw:cpu_dedicated_mask' and "
            "'hw:cpu_realtime_mask' can not be specified at the same time, "
            'or be specified with none of them.',
            by_image=True,
        )
    has_topology = _topology(flavor, specs, policy, release)
    if has_topology and not threads and 'hw:cpu_thread_policy' in specs:
        # nova/objects/instance_numa.py:InstanceNUMACell
        raise _Refused('Field value  is invalid', 500)
    return policy, has_topology


_MASK_WITHOUT_MIXED = (
    "Cannot specify 'hw:cpu_dedicated_mask' without the 'mixed' policy."
)


def _with_cpu_classes(
    flavor: flavor_model.Flavor,
    specs: Specs,
    policy: str | None,
    emulator: str | None,
) -> str | None:
    """Return the CPU policy that ``resources:PCPU`` or ``VCPU`` implies."""
    requested = {'VCPU': 0, 'PCPU': 0}
    for key, value in specs.items():
        match = _CPU_CLASS.match(key)
        if match is not None:
            try:
                requested[match['name']] += int(value)
            except ValueError:
                pass
    if policy and any(requested.values()):
        raise _Refused(
            "It is not possible to use the 'resources:VCPU' or "
            "'resources:PCPU' extra specs in combination with the "
            "'hw:cpu_policy' extra spec or 'hw_cpu_policy' image metadata "
            'property; use one or the other'
        )
    if all(requested.values()):
        raise _Refused(
            "It is not possible to specify both 'resources:VCPU' and "
            "'resources:PCPU' extra specs; use one or the other"
        )
    if requested['PCPU']:
        isolated = emulator == 'isolate'
        if flavor.vcpus + isolated != requested['PCPU']:
            raise _Refused(
                "You have requested 'hw:emulator_threads_policy=isolate' but "
                'have not requested sufficient PCPUs to handle this policy; '
                'you must allocate exactly flavor.vcpus + 1 PCPUs.'
                if isolated
                else 'There is a mismatch between the number of PCPUs '
                "requested via 'resourcesNN:PCPU' and the flavor); you must "
                'allocate exactly flavor.vcpus PCPUs'
            )
        return 'dedicated'
    return 'shared' if requested['VCPU'] else policy


def _check_unpinned(
    threads: str | None,
    emulator: str | None,
    dedicated: frozenset[int] | None,
    realtime: frozenset[int] | None,
) -> None:
    if threads:
        raise _Refused(
            'Cannot set cpu thread pinning policy in a non dedicated cpu '
            'pinning policy',
            by_image=True,
        )
    if emulator == 'isolate':
        raise _Refused(
            'An isolated CPU emulator threads option requires a dedicated '
            'CPU policy option.',
            by_image=True,
        )
    if dedicated:
        raise _Refused(_MASK_WITHOUT_MIXED, by_image=True)
    if realtime:
        raise _Refused(
            'Cannot set realtime policy in a non dedicated cpu pinning policy',
            by_image=True,
        )


def _topology(
    flavor: flavor_model.Flavor,
    specs: Specs,
    policy: str | None,
    release: release_model.Release,
) -> bool:
    """Validate the NUMA topology; return whether servers have one."""
    nodes = _node_count(specs)
    pages = _page_size(specs)
    if boolean.is_true(specs.get('hw:locked_memory')) and not specs.get(
        'hw:mem_page_size'
    ):
        raise _Refused(
            'locked_memory value in image or flavor is forbidden when '
            'mem_page_size is not set.',
            400 if release.has(nova_changes.LOCKED_MEMORY_REFUSED) else 500,
        )
    if not (nodes or pages or vpmems(specs) or policy in PINNED):
        return False
    nodes = nodes or 1
    cpus = _each_node(specs, 'hw:numa_cpus', _parse_node_cpus)
    memory = _each_node(specs, 'hw:numa_mem', _parse_memory)
    if not cpus and not memory:
        if flavor.vcpus % nodes or flavor.ram % nodes:
            raise _Refused(
                'Instance CPUs and/or memory cannot be evenly distributed '
                'across instance NUMA nodes. Explicit assignment of CPUs and '
                'memory to nodes is required',
                by_image=True,
            )
    elif len(cpus) != nodes or len(memory) != nodes:
        raise _Refused(
            'CPU and memory allocation must be provided for all NUMA nodes',
            by_image=True,
        )
    else:
        _check_nodes(flavor, cpus, memory)
    return True


def _node_count(specs: Specs) -> int | None:
    """``nova/virt/hardware.py:_get_numa_node_count_constraint``"""
    text = specs.get('hw:numa_nodes')
    if not text:
        return None
    try:
        count = int(text)
    except ValueError:
        count = 0
    # oslo_utils/strutils.py:is_int_like
    if count < 1 or str(count) != text:
        raise _Refused(
            f"The property 'numa_nodes' cannot be '{text}'. It must be a "
            f'number greater than 0'
        )
    return count


def _page_size(specs: Specs) -> bool:
    """Return whether ``hw:mem_page_size`` requests a page size.

    ``nova/virt/hardware.py:_get_numa_pagesize_constraint``
    """
    text = specs.get('hw:mem_page_size')
    if not text:
        return False
    if text in ('any', 'large', 'small'):
        return True
    if text.isdigit():
        try:
            return bool(int(text))
        except ValueError as exc:
            raise _Refused(str(exc), 500) from None
    match = _SIZE.fullmatch(text)
    if match is None:
        raise _Refused(f"Invalid memory page size '{text}'")
    return bool(float(match[1]))


def vpmems(specs: Specs) -> tuple[str, ...]:
    """Return the labels of the requested persistent memory.

    ``nova/virt/hardware.py:get_vpmems``
    """
    labels = (label.strip() for label in specs.get('hw:pmem', '').split(','))
    return tuple(label for label in labels if label)


def _each_node(
    specs: Specs,
    key: str,
    parse: collections.abc.Callable[[str], _T],
) -> list[_T]:
    """``nova/virt/hardware.py:_get_constraint_mappings_from_flavor``"""
    values = []
    for node in range(_NUMA_NODES_MAX):
        text = specs.get(f'{key}.{node}')
        if text is None:
            break
        values.append(parse(text))
    return values


def _parse_node_cpus(text: str) -> frozenset[int]:
    try:
        return cpu.parse(text)
    except exceptions.InvalidCPUSet as exc:
        raise _Refused(str(exc), 500) from None


def _parse_memory(text: str) -> int:
    try:
        return int(text)
    except ValueError as exc:
        raise _Refused(str(exc), 500) from None


def _check_nodes(
    flavor: flavor_model.Flavor,
    cpus: collections.abc.Sequence[frozenset[int]],
    memory: collections.abc.Sequence[int],
) -> None:
    """``nova/virt/hardware.py:_get_numa_topology_manual``"""
    left = set(range(flavor.vcpus))
    for numbers in cpus:
        for number in sorted(numbers):
            if number > flavor.vcpus - 1:
                raise _Refused(
                    f'CPU number {number} is larger than max '
                    f'{flavor.vcpus - 1}'
                )
            if number not in left:
                raise _Refused(f'CPU number {number} is assigned to two nodes')
            left.remove(number)
    if left:
        raise _Refused(f'CPU number {left} is not assigned to any node')
    if sum(memory) != flavor.ram:
        raise _Refused(
            f'{sum(memory)} MB of memory assigned, but expected '
            f'{flavor.ram} MB'
        )


def _check_sound_model(specs: Specs) -> None:
    """``nova/virt/hardware.py:get_sound_model``"""
    model = specs.get('hw:sound_model')
    if model and model not in _SOUND_MODELS:
        raise _Refused(
            f'Invalid sound device model {model!r}. Allowed values: '
            f'{", ".join(_SOUND_MODELS)}.',
            500,
        )


def _check_pci(specs: Specs) -> None:
    """``nova/virt/hardware.py:get_pci_numa_policy_constraint``, and
    ``nova/pci/request.py:_translate_alias_to_requests``."""
    policy = specs.get(flavor_model.NUMA_POLICY)
    if policy and policy not in NUMA_POLICIES:
        raise _Refused(f'Invalid PCI NUMA affinity configured: {policy}', 500)
    if flavor_model.ALIASES in specs:
        value = specs[flavor_model.ALIASES]
        _requests, broken = flavor_model.read_aliases(value)
        if broken:
            raise _Refused(
                f'{broken[0]!r} in {flavor_model.ALIASES} is not NAME:COUNT',
                500,
                by_alias=True,
            )


def _check_for_scheduler(specs: Specs) -> None:
    """Validate what only nova-scheduler reads; a server ends in ERROR.

    ``nova/scheduler/request_filter.py`` first, then
    ``nova/scheduler/utils.py:ResourceRequest.from_request_spec``.
    """
    if boolean.is_true(specs.get('hw:ephemeral_encryption')):
        value = specs.get('hw:ephemeral_encryption_format')
        if value and value not in _ENCRYPTION_FORMATS:
            raise _Refused(
                f'Invalid ephemeral encryption format {value}. Allowed '
                f'values: {", ".join(_ENCRYPTION_FORMATS)}',
                None,
            )
    _check_tpm(specs)
    for key, choices, name in (
        ('os:secure_boot', _SECURE_BOOT, 'secure boot policy'),
        ('hw:maxphysaddr_mode', _MAXPHYSADDR_MODES, 'Maxphyaddr mode'),
    ):
        value = specs.get(key)
        if value and value not in choices:
            raise _Refused(
                f'Invalid {name} {value!r}. Allowed values: '
                f'{", ".join(choices)}.',
                None,
            )


def _check_tpm(specs: Specs) -> None:
    """``nova/virt/hardware.py:get_vtpm_constraint``"""
    version = specs.get('hw:tpm_version')
    if not version:
        return
    if version not in _TPM_VERSIONS:
        raise _Refused(
            f'Invalid TPM version {version!r}. Allowed values: '
            f'{", ".join(_TPM_VERSIONS)}.',
            None,
        )
    model = specs.get('hw:tpm_model')
    if model and model not in _TPM_MODELS:
        raise _Refused(
            f'Invalid TPM model {model!r}. Allowed values: '
            f'{", ".join(_TPM_MODELS)}.',
            None,
        )
    if model == 'tpm-crb' and version != '2.0':
        raise _Refused(
            'TPM model CRB is only valid with TPM version 2.0.', None
        )
    security = specs.get('hw:tpm_secret_security') or 'user'
    if security not in _TPM_SECRET_SECURITIES:
        raise _Refused(
            f"TPM secret security '{security}' is not supported.", None
        )
