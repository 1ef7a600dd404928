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

"""A compute host, as its kernel and its boot configuration describe it.

A value that the kernel does not expose is None. So is one that could not be
read, which :attr:`Host.unreadable` names.
"""

import collections.abc
import dataclasses
import fnmatch
import functools
import re

from gpuclient.model import catalogue
from gpuclient.model import cpu
from gpuclient.model import device_spec
from gpuclient.model import kernel
from gpuclient.model import partial_result
from gpuclient.model import pci

#: Base classes of the PCI specification (Code and ID Assignment, 1.2).
DISPLAY_CONTROLLER = 0x03
PROCESSING_ACCELERATOR = 0x12
#: Class and subclass.
AUDIO_DEVICE = 0x0403
USB_CONTROLLER = 0x0C03
#: A display controller that is neither VGA nor 3D.
OTHER_DISPLAY = 0x0380
PCI_BRIDGES = (0x0604, 0x0609)

#: Replaces the ``vendor_id`` of Arm CPUs, which ``/proc/cpuinfo`` lacks.
ARM_ID = 'ARM'
#: QEMU's host bridge of machine type "virt", and the subsystem of others.
_QEMU_BRIDGE = '1b36:0008'
_QEMU_SUBSYSTEM = '1af4:1100'
HOST_BRIDGE = 0x0600

#: Vendors of GPUs for guests. The displays of other vendors, such as ASPEED
#: and Matrox, are those of management controllers.
GPU_VENDORS = tuple(catalogue.VENDORS)

#: Modules that claim GPUs of a vendor, by its id. They bind to the device;
#: modules on top of them (nvidia_drm) are not listed.
GPU_DRIVERS = {
    '10de': ('nouveau', 'nova_core', 'nvidia', 'nvidiafb'),
    '1002': ('amdgpu', 'radeon'),
    '8086': ('i915', 'xe'),
}
#: Modules that claim the other functions of a card: audio, USB, USB-C.
FUNCTION_DRIVERS = ('snd_hda_intel', 'xhci_pci', 'i2c_nvidia_gpu')
#: GPUs whose memory is part of the CPU's, and the VFIO driver that exposes it
#: to guests (``drivers/vfio/pci/nvgrace-gpu/main.c``).
VARIANTS = dict.fromkeys(
    ('10de:2342', '10de:2345', '10de:2348', '10de:2941', '10de:31c2'),
    'nvgrace_gpu_vfio_pci',
)
#: Bridges that are not PCI bridges: NVSwitches of NVIDIA, which the GPU driver
#: binds to, too.
OTHER_BRIDGE = 0x0680
#: Modules that are loaded for GPUs on top of a driver, which is then loaded
#: even if it is blacklisted.
_ON_TOP = re.compile('(nvidia.*)_drm')
#: Modules whose names differ from those of their drivers in sysfs.
_MODULES = {
    'NovaCore': 'nova_core',
    'nvidia-gpu': 'i2c_nvidia_gpu',
    'xhci_hcd': 'xhci_pci',
}
#: The default of ``isolated_cores`` in the profiles of TuneD.
_CALCULATED = re.compile(r'\$\{f:calc_isolated_cores(?::([0-9]{1,4}))?\}')
#: The group that VFIO creates for a device without an IOMMU
#: (``drivers/vfio/group.c:vfio_noiommu_group_alloc``).
NO_IOMMU = 'vfio-noiommu'


def module(driver: str) -> str:
    """Return the module of a driver, with ``_`` for ``-``."""
    return _MODULES.get(driver, driver).replace('-', '_')


@dataclasses.dataclass(frozen=True)
class DeviceBar(catalogue.Bar):
    """A base address register, from ``resource`` in sysfs.

    Its size is 0 if firmware and kernel did not assign it.
    """

    is_io: bool = False
    is_64_bit: bool = False


@dataclasses.dataclass(frozen=True)
class PciDevice:
    """A function of a PCI device."""

    address: pci.Address
    #: Four hexadecimal digits, lower case.
    vendor_id: str | None = None
    product_id: str | None = None
    subsystem_vendor_id: str | None = None
    subsystem_product_id: str | None = None
    #: Class, subclass and programming interface: 0x030200.
    class_code: int | None = None
    #: The driver that it is bound to.
    driver: str | None = None
    #: The only driver that may bind to it.
    driver_override: str | None = None
    #: Number of its IOMMU group.
    group: int | None = None
    bars: tuple[DeviceBar, ...] = ()
    #: Numbers of the memory BARs that are not assigned.
    bars_without_memory: tuple[int, ...] = ()
    #: None where the firmware does not report it (-1 in sysfs).
    numa_node: int | None = None
    #: Whether the firmware used it as the boot display; None if it is not a
    #: VGA device.
    boot_vga: bool | None = None
    #: Methods by which the kernel can reset it, in the order of its attempts;
    #: empty if there are none, None where they are not known.
    reset_methods: tuple[str, ...] | None = None
    #: ``D0``, ``D3hot``, ``D3cold``, ``unknown``.
    power_state: str | None = None
    d3cold_allowed: bool | None = None
    #: Whether its configuration space has the SR-IOV capability; None where
    #: it could not be read, which requires root.
    has_sriov_capability: bool | None = None
    #: False if its configuration space reads as all ones: it is powered off
    #: or no longer on the bus. None where it could not be read.
    responds: bool | None = None
    #: Maximum number of VFs; None if the kernel does not expose it.
    sriov_total_vfs: int | None = None
    #: Current number of VFs.
    sriov_num_vfs: int | None = None
    #: The PF of a VF.
    physical_function: pci.Address | None = None
    virtual_functions: tuple[pci.Address, ...] = ()
    #: Compared with the aliases of modules: ``pci:v000010DEd...``.
    modalias: str = ''

    @property
    def ids(self) -> str:
        """Vendor and product: ``10de:20f1``."""
        return f'{self.vendor_id or "????"}:{self.product_id or "????"}'

    @property
    def subsystem(self) -> str:
        """Vendor and product of the subsystem, which differ for variants."""
        return f'{self.subsystem_vendor_id}:{self.subsystem_product_id}'

    @property
    def base_class(self) -> int | None:
        return None if self.class_code is None else self.class_code >> 16

    @property
    def device_class(self) -> int | None:
        """Class and subclass: 0x0302."""
        return None if self.class_code is None else self.class_code >> 8

    @property
    def is_gpu(self) -> bool:
        """Whether it is a display controller or processing accelerator."""
        return self.base_class in (DISPLAY_CONTROLLER, PROCESSING_ACCELERATOR)

    @property
    def is_bridge(self) -> bool:
        return self.device_class in PCI_BRIDGES

    @property
    def is_nvswitch(self) -> bool:
        return (self.vendor_id, self.device_class) == ('10de', OTHER_BRIDGE)

    @property
    def device_type(self) -> str:
        """The device type that libvirt reports, and Nova stores.

        libvirt reports the capability ``phys_function`` if sysfs has a link
        ``physfn``, and ``virt_functions`` if ``sriov_totalvfs`` is above zero
        or there are links ``virtfnN``
        (``src/node_device/node_device_driver.c``, earlier
        ``virNodeDeviceGetPCISRIOVCaps``); Nova derives the type from them
        (``nova/virt/libvirt/host.py:_get_device_type``).
        """
        if self.physical_function is not None:
            return 'type-VF'
        if self.sriov_total_vfs or self.virtual_functions:
            return 'type-PF'
        return 'type-PCI'

    @property
    def bar_bytes(self) -> int:
        """The size of all its memory BARs, in bytes."""
        return sum(bar.size for bar in self.bars if not bar.is_io)

    @property
    def for_nova(self) -> device_spec.HostDevice:
        """The device for matching with entries of ``[pci]device_spec``."""
        return device_spec.HostDevice(
            str(self.address),
            self.vendor_id or '',
            self.product_id or '',
            self.device_type,
            None
            if self.physical_function is None
            else str(self.physical_function),
        )


@dataclasses.dataclass(frozen=True)
class HugePages:
    """The pool of huge pages of one size on a NUMA node."""

    size_kib: int
    total: int
    free: int | None = None


@dataclasses.dataclass(frozen=True)
class NumaNode:
    """A NUMA node."""

    number: int
    cpus: frozenset[int] = frozenset()
    memory_kib: int | None = None
    huge_pages: tuple[HugePages, ...] = ()


@dataclasses.dataclass(frozen=True)
class Cpu:
    """A logical CPU that is online."""

    number: int
    #: Number of its package, which is the socket.
    package: int | None = None
    core: int | None = None
    #: The CPUs of its core, including itself.
    siblings: frozenset[int] = frozenset()


@dataclasses.dataclass(frozen=True)
class IommuGroup:
    number: int
    #: The default domain: ``identity``, ``DMA``, ``DMA-FQ`` ...
    domain: str | None = None
    #: Types of its reserved regions: ``direct`` is one of the firmware (RMRR),
    #: which makes passthrough of its devices impossible.
    reserved: tuple[str, ...] = ()
    #: The name that its creator set; None for groups of an IOMMU.
    name: str | None = None


@dataclasses.dataclass(frozen=True)
class Directive:
    """A line of a file of modprobe.d."""

    #: ``blacklist``, ``options``, ``softdep``, ``install``, ``alias`` ...
    command: str
    #: The module (for an alias, the wildcard) with ``_`` for ``-``.
    module: str
    #: The rest of the line.
    rest: str
    path: str


@dataclasses.dataclass(frozen=True)
class IgnoredLine:
    """A line of a file of modprobe.d that modprobe ignores."""

    #: Its first words, as far as they may be shown.
    text: str
    path: str
    #: The directive that was probably intended.
    meant: str | None = None


@dataclasses.dataclass(frozen=True)
class Initramfs:
    """The initramfs of the running kernel, as far as it can be read."""

    path: str
    #: Names of the modules in it, with ``_`` for ``-``; None where it could
    #: not be read.
    modules: frozenset[str] | None = None
    #: Why it could not be read.
    reason: str | None = None
    #: ``dracut`` or ``initramfs-tools``, if the image shows it.
    maker: str | None = None


@dataclasses.dataclass(frozen=True)
class BootArguments:
    """Kernel arguments of a file, for future boots."""

    path: str
    text: str
    #: Whether it is the entry that the boot loader boots by default.
    is_default: bool = False

    @property
    def is_entry(self) -> bool:
        """Whether it is an entry of the boot loader itself."""
        return '/loader/entries/' in self.path


@dataclasses.dataclass(frozen=True)
class GrubSetting:
    """A variable of ``/etc/default/grub``, or of a file below ``grub.d``."""

    path: str
    #: ``GRUB_CMDLINE_LINUX_DEFAULT``
    name: str
    #: As in the file, without quotes.
    text: str


@dataclasses.dataclass(frozen=True)
class Host:
    """A compute host."""

    #: Its host name, or the name of a bundle that does not contain it.
    name: str
    #: All its PCI devices, by address.
    devices: tuple[PciDevice, ...] = ()
    #: ``6.1.0-56-amd64``
    kernel: str | None = None
    #: ``ID`` and ``ID_LIKE`` of os-release, in this order.
    distribution: tuple[str, ...] = ()
    #: ``vendor_id`` of ``/proc/cpuinfo``: ``GenuineIntel``, or
    #: :data:`ARM_ID`.
    cpu_vendor_id: str | None = None
    #: Bits of a physical address of the CPU.
    physical_address_bits: int | None = None
    #: Whether the CPU reports that it is virtual.
    has_hypervisor: bool = False
    cpus: tuple[Cpu, ...] = ()
    #: CPUs that the scheduler of the kernel does not use (``isolcpus=``).
    isolated_cpus: frozenset[int] = frozenset()
    #: The value of ``isolated_cores`` of TuneD.
    tuned_isolated_cores: str | None = None
    tuned_profile: str | None = None
    nodes: tuple[NumaNode, ...] = ()
    #: The arguments of the running kernel; None where they could not be read.
    kernel_arguments: str | None = None
    #: The arguments of future boots.
    boot_arguments: tuple[BootArguments, ...] = ()
    #: The settings from which the first of these is created.
    grub_settings: tuple[GrubSetting, ...] = ()
    #: IOMMUs that the kernel uses: ``dmar0``, ``ivhd0``, ``smmu3.0`` ...
    iommus: tuple[str, ...] = ()
    groups: tuple[IommuGroup, ...] = ()
    #: Tables of the firmware: ``DMAR`` describes the IOMMU of Intel, ``IVRS``
    #: that of AMD, ``IORT`` that of Arm. None where they could not be listed.
    acpi_tables: tuple[str, ...] | None = None
    #: Loaded modules, with ``_`` for ``-``.
    modules: frozenset[str] = frozenset()
    #: Modules that are part of the kernel; None where that is not known.
    builtin_modules: frozenset[str] | None = None
    #: Aliases of modules for display devices and other functions of their
    #: cards, and the modules (``modules.alias``); None where they are not
    #: known.
    aliases: tuple[tuple[str, str], ...] | None = None
    #: Parameters of vfio_pci in effect.
    vfio_pci_parameters: collections.abc.Mapping[str, str] = dataclasses.field(
        default_factory=dict
    )
    #: Whether VFIO accepts devices without an IOMMU; None if the kernel does
    #: not support that, or vfio is not loaded.
    unsafe_noiommu_mode: bool | None = None
    #: Platform devices of the firmware's framebuffer, for the console:
    #: ``efi-framebuffer.0``. A driver of the card removes them.
    framebuffers: tuple[str, ...] = ()
    directives: tuple[Directive, ...] = ()
    ignored_lines: tuple[IgnoredLine, ...] = ()
    #: Modules that systemd loads (modules-load.d), and the file of each.
    modules_load: tuple[tuple[str, str], ...] = ()
    #: Modules that are added to each initramfs, and the file that does it
    #: (dracut's ``add_drivers``, initramfs-tools' ``modules``).
    initramfs_modules: tuple[tuple[str, str], ...] = ()
    #: Modules that the initramfs loads even without a device: dracut's
    #: ``force_drivers`` before udev loads drivers, initramfs-tools'
    #: ``modules`` after that.
    forced_modules: tuple[tuple[str, str], ...] = ()
    initramfs: Initramfs | None = None
    #: Installed programs that create one: ``dracut``, ``initramfs-tools``.
    initramfs_makers: frozenset[str] = frozenset()
    #: Files that exist but could not be read.
    unreadable: tuple[partial_result.Failure, ...] = ()

    @property
    def for_nova(self) -> device_spec.HostDevices:
        """The devices that Nova looks up to read ``[pci]device_spec``."""
        return device_spec.HostDevices(
            tuple(device.for_nova for device in self.devices)
        )

    @property
    def gpus(self) -> tuple[PciDevice, ...]:
        """Its display controllers and processing accelerators."""
        return tuple(device for device in self.devices if device.is_gpu)

    def device(self, address: pci.Address) -> PciDevice | None:
        return next(
            (device for device in self.devices if device.address == address),
            None,
        )

    def group(self, number: int) -> IommuGroup | None:
        return next(
            (group for group in self.groups if group.number == number), None
        )

    def siblings(self, device: PciDevice) -> tuple[PciDevice, ...]:
        """Return the other devices of the IOMMU group of a device."""
        if device.group is None:
            return ()
        return tuple(
            other
            for other in self.devices
            if other.group == device.group and other.address != device.address
        )

    def functions(self, device: PciDevice) -> tuple[PciDevice, ...]:
        """Return the other functions of the card of a device."""
        own = device.address
        return tuple(
            other
            for other in self.devices
            if (other.address.domain, other.address.bus, other.address.slot)
            == (own.domain, own.bus, own.slot)
            and other.address != own
            and other.physical_function is None
        )

    def rivals(self, device: PciDevice) -> tuple[str, ...]:
        """Return the modules that may claim a card before vfio-pci does.

        Where the modules of the host are not known, those that it may have.
        """
        claiming = self._claiming(device)
        if claiming is not None:
            return tuple(
                name for name in claiming if not _ON_TOP.fullmatch(name)
            )
        modules: tuple[str, ...] = ()
        if device.is_gpu:
            modules = GPU_DRIVERS.get(device.vendor_id or '', ())
        if any(
            function.device_class == AUDIO_DEVICE
            for function in (device, *self.functions(device))
        ):
            modules += ('snd_hda_intel',)
        return modules

    def on_top(self, device: PciDevice) -> tuple[tuple[str, str], ...]:
        """Return modules that are loaded for a card on top of drivers.

        Each with its driver.
        """
        return tuple(
            (name, match[1])
            for name in self._claiming(device) or ()
            if (match := _ON_TOP.fullmatch(name)) is not None
        )

    def _claiming(self, device: PciDevice) -> tuple[str, ...] | None:
        """Return the modules with an alias for a card.

        None where they are not known.
        """
        if self.aliases is None:
            return None
        names = {
            function.modalias
            for function in (device, *self.functions(device))
            if not function.is_bridge
        }
        return tuple(
            dict.fromkeys(
                module
                for pattern, module in self.aliases
                if any(fnmatch.fnmatchcase(name, pattern) for name in names)
            )
        )

    @property
    def kernel_version(self) -> tuple[int, int]:
        """Major and minor version: (6, 1); (0, 0) where it is not known."""
        match = re.match(r'(\d{1,4})\.(\d{1,4})', self.kernel or '', re.A)
        return (int(match[1]), int(match[2])) if match else (0, 0)

    @property
    def is_virtual(self) -> bool:
        """Whether it is a virtual machine, as far as that can be detected."""
        return self.has_hypervisor or any(
            device.device_class == HOST_BRIDGE
            and (
                device.ids == _QEMU_BRIDGE
                or device.subsystem == _QEMU_SUBSYSTEM
            )
            for device in self.devices
        )

    @property
    def cpu_vendor(self) -> cpu.Vendor | None:
        return cpu.vendor_of_id(self.cpu_vendor_id)

    @property
    def iommu_vendor(self) -> cpu.Vendor | None:
        """The vendor of its IOMMU, enabled or not.

        QEMU emulates that of Intel for CPUs of AMD, too.
        """
        if self.is_virtual and 'DMAR' in (self.acpi_tables or ()):
            return cpu.Vendor.INTEL
        return self.cpu_vendor

    @property
    def passthrough_argument(self) -> str:
        """The argument by which devices of the host bypass the IOMMU.

        ``iommu=pt`` is for x86 (``arch/x86/kernel/pci-dma.c:iommu_setup``).
        """
        if self.cpu_vendor is cpu.Vendor.ARM:
            return 'iommu.passthrough=1'
        return 'iommu=pt'

    @property
    def is_edpm(self) -> bool:
        """Whether RHOSO sets its kernel arguments.

        ``edpm-ansible``, ``roles/edpm_kernel/tasks/kernelargs.yml``
        """
        return any(
            setting.name == 'GRUB_EDPM_KERNEL_ARGS'
            for setting in self.grub_settings
        )

    @property
    def is_ostree(self) -> bool:
        """Whether it is booted from an image: Fedora CoreOS, bootc."""
        return kernel.parse(self.kernel_arguments or '').has('ostree')

    @property
    def uses_kernel_install(self) -> bool:
        """Whether the firmware starts systemd-boot, or a kernel image.

        There is no configuration of GRUB then, and kernel-install(8) creates
        boot entries and kernel images from ``/etc/kernel/cmdline``.
        """
        paths = {arguments.path for arguments in self.boot_arguments}
        return '/etc/kernel/cmdline' in paths and not self.grub_settings

    @property
    def tuned_isolated_cpus(self) -> frozenset[int] | None:
        """CPUs that TuneD isolates; None where they cannot be determined.

        ``${f:calc_isolated_cores:1}`` leaves one CPU of each socket to the
        host (``tuned/profiles/functions/function_calc_isolated_cores.py``).

        :raises gpuclient.exceptions.InvalidCPUSet: As
            :func:`gpuclient.model.cpu.parse_tuned`.
        """
        text = self.tuned_isolated_cores or ''
        match = _CALCULATED.fullmatch(text)
        if match is not None:
            packages: dict[int | None, list[int]] = {}
            for processor in self.cpus:
                packages.setdefault(processor.package, []).append(
                    processor.number
                )
            reserved = int(match[1] or 1)
            return frozenset(
                number
                for numbers in packages.values()
                for number in sorted(numbers)[reserved:]
            )
        return None if '$' in text else cpu.parse_tuned(text)

    @functools.cached_property
    def blacklisted_modules(self) -> frozenset[str]:
        """Modules that are not loaded for a device."""
        line = kernel.parse(self.kernel_arguments or '')
        return frozenset(
            directive.module
            for directive in self.directives
            if directive.command == 'blacklist'
        ).union(line.blacklisted_modules)

    @property
    def iommu_on(self) -> bool:
        """Whether there are IOMMU groups, which passthrough requires."""
        return any(self.has_iommu(device) for device in self.devices)

    @property
    def iommu_groups_of_others(self) -> tuple[IommuGroup, ...]:
        """Groups of an IOMMU, if no PCI device is in one.

        On some boards the IOMMU serves only devices of the platform.
        """
        if self.iommu_on:
            return ()
        return tuple(group for group in self.groups if group.name != NO_IOMMU)

    def has_iommu(self, device: PciDevice) -> bool:
        """Return whether a device is in a group of an IOMMU."""
        if device.group is None:
            return False
        group = self.group(device.group)
        return group is None or group.name != NO_IOMMU
