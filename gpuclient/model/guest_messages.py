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

"""Messages about GPUs in the log of a guest, and what each says.

The messages are those of the NVIDIA driver (kernel-open and
src/nvidia/arch/nvalloc/unix of NVIDIA/open-gpu-kernel-modules), of the kernel
(drivers/pci) and of the tools around them.
"""

import enum
import re


class Kind(enum.StrEnum):
    """What a line of a log says."""

    XID = 'xid'
    SXID = 'sxid'
    RM_INIT_FAILED = 'rm_init_failed'
    #: A failure of a driver without its cause.
    PROBE_FAILED = 'probe_failed'
    NO_INTERRUPT = 'no_interrupt'
    NOTHING_FOUND = 'nothing_found'
    BAR_INVALID = 'bar_invalid'
    #: A line before BAR_INVALID, which may be missing.
    REGION_INVALID = 'region_invalid'
    NEEDS_OPEN_MODULES = 'needs_open_modules'
    NEEDS_CLOSED_MODULES = 'needs_closed_modules'
    OPEN_MODULES_NOT_READY = 'open_modules_not_ready'
    UNSUPPORTED = 'unsupported'
    LEGACY = 'legacy'
    FALLEN_OFF = 'fallen_off'
    BOUND_TO_ANOTHER = 'bound_to_another'
    NOUVEAU = 'nouveau'
    NVIDIA_LOADED = 'nvidia_loaded'
    #: A module of the driver was loaded, of a version that is not told.
    RUNNING = 'running'
    MODULE_REJECTED = 'module_rejected'
    MODULE_MISSING = 'module_missing'
    MODULE_OF_OTHER_KERNEL = 'module_of_other_kernel'
    #: A symbol that the kernel does not export to a module.
    SYMBOL_MISSING = 'symbol_missing'
    SYMBOL_OF_OTHER_VERSION = 'symbol_of_other_version'
    #: modprobe says no more; the kernel does.
    MODULE_NOT_LOADED = 'module_not_loaded'
    MODULE_NOT_BUILT = 'module_not_built'
    VERSION_MISMATCH = 'version_mismatch'
    FIRMWARE_MISSING = 'firmware_missing'
    FIRMWARE_FAILED = 'firmware_failed'
    CARD_FIRMWARE_FAILED = 'card_firmware_failed'
    POWER_STATE = 'power_state'
    RESET_FAILED = 'reset_failed'
    FABRIC_VERSION = 'fabric_version'
    FABRIC_NO_SWITCH = 'fabric_no_switch'
    #: The module that reaches the NVSwitches over InfiniBand is missing.
    FABRIC_NO_MODULE = 'fabric_no_module'
    FABRIC_FAILED = 'fabric_failed'
    FABRIC_NOT_READY = 'fabric_not_ready'
    CODE_43 = 'code_43'
    VGPU_DRIVER = 'vgpu_driver'
    #: The firmware of the GPU (GSP) does not start.
    GSP_FAILED = 'gsp_failed'
    CONFIDENTIAL_FAILED = 'confidential_failed'
    FABRIC_READY = 'fabric_ready'
    AMDGPU_FAILED = 'amdgpu_failed'
    #: The firmware is newer than the driver.
    AMDGPU_FIRMWARE = 'amdgpu_firmware'
    AMDGPU_NO_BIOS = 'amdgpu_no_bios'
    #: The GPU stopped processing.
    AMDGPU_HANG = 'amdgpu_hang'
    #: A ring of it works again, without a reset of the GPU.
    AMDGPU_RECOVERED = 'amdgpu_recovered'
    AMDGPU_RESET_BEGUN = 'amdgpu_reset_begun'
    AMDGPU_RESET = 'amdgpu_reset'
    AMDGPU_RESET_FAILED = 'amdgpu_reset_failed'
    AMDGPU_PAGE_FAULT = 'amdgpu_page_fault'
    INTEL_FAILED = 'intel_failed'
    #: A driver of the kernel has initialized the GPU.
    INITIALIZED = 'initialized'
    TOOL_FAILED = 'tool_failed'
    #: The tools of the driver list a GPU.
    TOOL_WORKS = 'tool_works'
    #: A message of a driver with a word of a failure.
    SUSPECT = 'suspect'
    #: Another message of a driver.
    OTHER = 'other'


#: Group ``device``: an address, with or without domain and function.
ADDRESS = (
    r'(?P<device>(?:[0-9a-fA-F]{4,8}:)?[0-9a-fA-F]{2}:[0-9a-fA-F]{2}'
    r'(?:\.[0-7])?)'
)
#: What follows the Xids 144 to 150: the unit, and its first two registers.
_NVLINK = (
    r', (?P<unit>[A-Z][A-Z\d_]+) (?P<severity>Fatal|Nonfatal) XC\d+ i\d+ '
    r'Link -?\d+ \((?P<information>0x[0-9a-f]{8}) (?P<status>0x[0-9a-f]{8})'
)
_MODULE = r'\b(?P<module>nvidia[\w-]*|nv_peer_mem|amdgpu|xe|i915)'

#: The start of a message of amdgpu, which newer kernels begin with the device.
_AMDGPU = rf'amdgpu(?: {ADDRESS}: |.*?\*ERROR\* ).*?'
_AMDGPU_2 = _AMDGPU.replace('<device>', '<second>')
#: What a line says, by a pattern; the first pattern that matches counts.
PATTERNS: tuple[tuple[re.Pattern[str], Kind], ...] = tuple(
    (re.compile(pattern), kind)
    for pattern, kind in (
        (
            rf'(?<!S)Xid \((?:PCI:)?{ADDRESS}[^)]*\): (?P<xid>\d{{1,5}})'
            rf'(?:{_NVLINK}'
            r'|.*caused by previous Xid (?P<previous>\d{1,5}))?',
            Kind.XID,
        ),
        (
            rf'SXid \((?:PCI:)?{ADDRESS}[^)]*\): (?P<xid>\d{{1,6}})'
            r'(?:, (?P<severity>Fatal|Non-fatal))?',
            Kind.SXID,
        ),
        (
            rf'(?:GPU {ADDRESS}: )?RmInitAdapter failed! '
            r'\((?P<stage>0x[0-9a-f]+):(?P<status>0x[0-9a-f]+):',
            Kind.RM_INIT_FAILED,
        ),
        (
            rf'GPU (?:at )?(?:PCI:)?{ADDRESS}:? .*fallen off the bus|'
            r'Unable to determine the device handle for (?:GPU)?\d*:? ?'
            rf'{ADDRESS.replace("<device>", "<second>")}: GPU is lost',
            Kind.FALLEN_OFF,
        ),
        (
            r'BAR(?P<bar>\d) is (?P<size>\d+)M @ 0x(?P<address>[0-9a-f]+) '
            rf'\(PCI:{ADDRESS}\)',
            Kind.BAR_INVALID,
        ),
        (
            r'PCI I/O region assigned to your NVIDIA device is invalid',
            Kind.REGION_INVALID,
        ),
        (
            rf'GPU {ADDRESS} is already bound to (?P<driver>[\w-]+)',
            Kind.BOUND_TO_ANOTHER,
        ),
        (r'NVIDIA probe routine was not called for', Kind.BOUND_TO_ANOTHER),
        (r'NVRM: request_mem_region failed', Kind.BOUND_TO_ANOTHER),
        (
            r'Open nvidia\.ko is only ready for use on',
            Kind.OPEN_MODULES_NOT_READY,
        ),
        (
            r'Can.t find an IRQ for your NVIDIA card|'
            r'No interrupts of any type are available',
            Kind.NO_INTERRUPT,
        ),
        (
            r'NVRM: No NVIDIA (?:GPU found|PCI devices found|'
            r'graphics adapter found)',
            Kind.NOTHING_FOUND,
        ),
        (r'nvidia-nvlink: Nvlink Core is being initialized', Kind.RUNNING),
        (
            r'NVRM: loading NVIDIA UNIX .* (?P<version>\d{3}\.\d+(?:\.\d+)?) ',
            Kind.NVIDIA_LOADED,
        ),
        (
            rf'nouveau {ADDRESS}: (?:NVIDIA |bus: |bios: |fb: |DRM: |drm: '
            r'|\[drm\])',
            Kind.NOUVEAU,
        ),
        (
            rf'could not insert \W{_MODULE}\W: '
            r'(?:Key was rejected by service|Required key not available|'
            r'Operation not permitted)',
            Kind.MODULE_REJECTED,
        ),
        (
            r'unsigned module loading is restricted|'
            r'Loading of unsigned module is rejected|'
            r'Loading of module with unavailable key is rejected',
            Kind.MODULE_REJECTED,
        ),
        (
            rf'[Mm]odule {_MODULE} not found(?: in directory|\.)',
            Kind.MODULE_MISSING,
        ),
        (
            rf'{_MODULE}: Unknown symbol (?P<symbol>\w+) '
            r'\(err (?P<error>-?\d+)\)',
            Kind.SYMBOL_MISSING,
        ),
        (
            rf'{_MODULE}: disagrees about version of symbol (?P<symbol>\w+)',
            Kind.SYMBOL_OF_OTHER_VERSION,
        ),
        (
            rf'could not insert \W{_MODULE}\W: (?:Invalid argument|'
            r'Unknown symbol)',
            Kind.MODULE_NOT_LOADED,
        ),
        (
            rf'{_MODULE}: version magic |'
            rf'could not insert \W{_MODULE.replace("<module>", "<name>")}\W: '
            r'Exec format error',
            Kind.MODULE_OF_OTHER_KERNEL,
        ),
        (
            r'(?:[Bb]ad return status for module build on kernel|'
            r'Building module:? nvidia.*failed|'
            r'dkms.*nvidia.*build.*(?:failed|exit code))',
            Kind.MODULE_NOT_BUILT,
        ),
        (
            r'[Dd]river/library version mismatch',
            Kind.VERSION_MISMATCH,
        ),
        (
            rf'(?:nvidia {ADDRESS}: )?(?:Direct firmware load for|loading) '
            r'(?P<file>\S*nvidia/\d{3}\.[\d.]+/gsp\S*) failed with error '
            r'(?P<error>-\d+)',
            Kind.FIRMWARE_FAILED,
        ),
        (r'RmFetchGspRmImages: No firmware image found', Kind.FIRMWARE_FAILED),
        (
            r'failed to wait for GFW[ _](?:BOOT|boot)',
            Kind.CARD_FIRMWARE_FAILED,
        ),
        (
            rf'{ADDRESS}: (?:Unable to change power state from '
            r'(?P<state>D3\w+) to D0, device inaccessible|'
            r'can.t change power state from (?P<former>D3\w+) to D0 '
            r'\(config space inaccessible\)|'
            r'Refused to change power state, currently in D3)',
            Kind.POWER_STATE,
        ),
        (
            rf'{ADDRESS}: not ready \d+ms after (?P<what>[^;]+); giving up',
            Kind.RESET_FAILED,
        ),
        (
            r'fabric manager NVIDIA GPU driver interface version '
            r'(?P<manager>\d[\d.]*\d) don.t match with driver version '
            r'(?P<driver>\d[\d.]*\d)',
            Kind.FABRIC_VERSION,
        ),
        (r'NV_WARN_NOTHING_TO_DO', Kind.FABRIC_NO_SWITCH),
        (
            r'Kernel module .?ib_umad.? has not been loaded|'
            r'is ib_umad module loaded',
            Kind.FABRIC_NO_MODULE,
        ),
        (
            r'Failed to start .*(?:nvidia-fabricmanager|'
            r'[Ff]abric ?[Mm]anager)',
            Kind.FABRIC_FAILED,
        ),
        (
            r'nv(?:idia)?-fabricmanager.*'
            r'(?:Failed|failed with|failed because|error occurred)',
            Kind.FABRIC_FAILED,
        ),
        (
            r'system not yet initialized|CUDA_ERROR_SYSTEM_NOT_READY|'
            r'cudaErrorSystemNotReady',
            Kind.FABRIC_NOT_READY,
        ),
        (
            r'\(?Code 43\)?|Windows has stopped this device because it has '
            r'reported problems',
            Kind.CODE_43,
        ),
        (r'nvidia-gridd(?:\[\d+\])?: ', Kind.VGPU_DRIVER),
        (
            rf'{_AMDGPU}packed (?:SOS|TA) count exceeds maximum limit|'
            rf'{_AMDGPU_2}unsupported psp sos firmware',
            Kind.AMDGPU_FIRMWARE,
        ),
        (rf'{_AMDGPU}Unable to locate a BIOS ROM', Kind.AMDGPU_NO_BIOS),
        (
            rf'{_AMDGPU}(?:GPU reset\(\d+\) failed|'
            r'GPU reset end with ret = -\d+|GPU Recovery Failed)',
            Kind.AMDGPU_RESET_FAILED,
        ),
        (
            rf'{_AMDGPU}GPU reset(?:\(\d+\))? succeeded',
            Kind.AMDGPU_RESET,
        ),
        (
            rf'{_AMDGPU}(?:ring \S+ timeout, but soft recovered|'
            r'Ring \S+ reset succe)',
            Kind.AMDGPU_RECOVERED,
        ),
        (rf'{_AMDGPU}GPU reset begin', Kind.AMDGPU_RESET_BEGUN),
        (
            rf'{_AMDGPU}(?:ring \S+ timeout|MES failed to respond|'
            r'MES might be in unrecoverable state|Ring \S+ reset fail)',
            Kind.AMDGPU_HANG,
        ),
        (
            rf'{_AMDGPU}\[\w+\] (?:no-retry )?page fault',
            Kind.AMDGPU_PAGE_FAULT,
        ),
        (
            rf'amdgpu {ADDRESS}: (?:amdgpu: )?(?:Fatal error during GPU init|'
            r'Direct firmware load for (?P<file>amdgpu/\S+) failed|'
            r'.*PSP load \S+ failed|.*ACK should not assert)',
            Kind.AMDGPU_FAILED,
        ),
        (
            rf'{_AMDGPU}(?:(?:early_init|sw_init|hw_init|resume) of IP block '
            r'<\w+> failed -\d+|PSP create ring failed|'
            r'PSP firmware loading failed|amdgpu_device_ip_init failed|'
            r'amdgpu_discovery_init failed)',
            Kind.AMDGPU_FAILED,
        ),
        (
            rf'amdgpu: probe of {ADDRESS} failed with error (?P<error>-\d+)|'
            rf'amdgpu {ADDRESS.replace("<device>", "<second>")}: '
            r'probe with driver amdgpu failed with error (?P<code>-\d+)',
            Kind.AMDGPU_FAILED,
        ),
        (
            rf'(?P<driver>i915|xe) {ADDRESS}: .*(?:'
            r'G[Uu]C:? (?:initialization|load|fw load) failed|'
            r'declaring it wedged|Enabling uc failed|'
            r'MMIO access returns 0xFFFFFFFF|'
            r'Device initialization failed|probe with driver \S+ failed|'
            r'[Ff]ailed to load (?!DMC)(?:\w+ firmware )?'
            r'(?P<file>\w+/[\w./-]*\w)|'
            r'GuC firmware (?P<fetched>\S+): fetch failed)|'
            rf'(?:i915|xe): probe of {ADDRESS.replace("<device>", "<second>")}'
            r' failed with error -\d+',
            Kind.INTEL_FAILED,
        ),
        (
            rf'nvidia: probe of {ADDRESS} failed with error|'
            rf'nvidia {ADDRESS.replace("<device>", "<second>")}: probe with '
            r'driver nvidia failed with error|'
            r'NVRM: The NVIDIA probe routine failed for|'
            r'NVRM: None of the NVIDIA (?:devices|graphics adapters) were '
            r'initialized|rm_init_adapter failed',
            Kind.PROBE_FAILED,
        ),
        (
            rf'\[drm\] Initialized (?P<driver>amdgpu|i915|xe) .*for {ADDRESS} '
            r'on minor',
            Kind.INITIALIZED,
        ),
        (
            r'FSP boot cmds failed|FSP command timed out|'
            r'Timeout waiting for GSP target mask release|'
            r'Cannot initialize GSP firmware RM',
            Kind.GSP_FAILED,
        ),
        (
            r'ConfCompute: Fatal error|Fatal error detected in GSP-DMA',
            Kind.CONFIDENTIAL_FAILED,
        ),
        (
            r'NVIDIA-SMI has failed because|^No devices were found|'
            r'could not insert \Wnvidia(?!\w*(?:drm|modeset|peermem|fs))\w*'
            r'\W: |'
            r'Failed to initialize NVML: |couldn.t find libnvidia-ml|'
            r'Could not load UVM kernel module|'
            r'nvidia-persistenced failed to initialize|'
            r'Unable to determine the device handle for '
            rf'(?:GPU)?\d*:? ?{ADDRESS}',
            Kind.TOOL_FAILED,
        ),
        (
            r'NVIDIA-SMI \d[\d.]* +.*Driver Version: (?P<version>\d[\d.]*\d)',
            Kind.TOOL_WORKS,
        ),
        (
            r'Successfully configured all the available NVSwitches',
            Kind.FABRIC_READY,
        ),
    )
)
#: Drivers of GPUs, by what their messages have.
DRIVERS = re.compile(
    r'(?P<NVIDIA>NVRM\b|nvidia|NVIDIA-SMI|\| +ERR!|CUDA error|CUDA_ERROR_|'
    r'No CUDA GPUs)|(?P<amdgpu>amdgpu|amdkcl)'
    r'|(?P<nouveau>nouveau)|(?P<i915>\bi915\b)|(?P<xe>\bxe\b)'
)
#: Words of a failure in a message of a driver.
FAILURES = re.compile(
    r'\*ERROR\*|ERR!|GPU HANG|CUDA error|CUDA_ERROR_|No CUDA GPUs|'
    r'\b(?:[Ff]ailed|FAILED|[Ff]ailure|Fatal|Assertion|[Tt]imed out|'
    r'[Tt]imeout|[Uu]nable to|hung|unrecoverable|soft lockup|'
    r'blocked for more than)\b'
)
#: Messages with such a word that are no failure of a GPU.
HARMLESS = re.compile(
    r'module verification failed|Chipset Setup Function Error|'
    r'nvidia-gpu |grab modeset ownership|timeout parameter|lockup timeout|'
    r'vgaarb|DMC firmware|_dmc_|\bapt\b|\bdpkg\b|\baudit\('
)
#: Words of which each line that matters has one, for speed.
WORDS = (
    b'NVRM',
    b'nvidia',
    b'NVIDIA',
    b'nouveau',
    b'nv_peer_mem',
    b'amdgpu',
    b'i915 ',
    b'i915:',
    b'xe 0',
    b'xe: probe',
    b'Initialized xe',
    b'ERR!',
    b'CUDA error',
    b'CUDA_ERROR_',
    b'No CUDA GPUs',
    b'ib_umad',
    b'abric Manager',
    b'device handle',
    b'NVML',
    b'UVM kernel',
    b'libnvidia-ml',
    b'available NVSwitches',
    b': BAR ',
    b'SXid',
    b'nsigned module',
    b'unavailable key',
    b'build on kernel',
    b'library version mismatch',
    b'power state',
    b'giving up',
    b'fabric manager',
    b'fabricmanager',
    b'NV_WARN_NOTHING',
    b'not yet initialized',
    b'SYSTEM_NOT_READY',
    b'SystemNotReady',
    b'Code 43',
    b'this device because',
    b'root bus resource',
    b'bits physical',
    b'DMI: ',
    b'efi: EFI v',
    b'Linux version',
    b'No devices were found',
    b' class 0x',
    b'VGA compatible controller',
    b'3D controller',
    b'Display controller',
    b'Processing accelerators',
    b' 0300: ',
    b' 0302: ',
    b' 0380: ',
    b' 1200: ',
    b'Host bridge',
    b' 0600: ',
    b'Kernel driver in use',
)
