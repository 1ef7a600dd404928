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

A value that the kernel does not offer is None here; what it offers and what
could not be read stands in :attr:`Host.unreadable`, too.
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
#: Neither VGA nor 3D.
OTHER_DISPLAY = 0x0380
PCI_BRIDGES = (0x0604, 0x0609)

#: The ``vendor_id`` of CPUs of Arm, which have none in ``/proc/cpuinfo``.
ARM_ID = 'ARM'
#: QEMU's host bridge of the machine "virt", and the subsystem of others.
_QEMU_BRIDGE = '1b36:0008'
_QEMU_SUBSYSTEM = '1af4:1100'
HOST_BRIDGE = 0x0600

#: Who makes GPUs that guests are given; others, ASPEED and Matrox first of
#: all, make the display of a management controller.
GPU_VENDORS = tuple(catalogue.VENDORS)

#: Modules that claim GPUs of a vendor, by its id. They bind to the device
#: itself; what only sits on top of them (nvidia_drm) is not named.
GPU_DRIVERS = {
    '10de': ('nouveau', 'nova_core', 'nvidia', 'nvidiafb'),
    '1002': ('amdgpu', 'radeon'),
    '8086': ('i915', 'xe'),
}
#: Modules that claim the other functions of a card: audio, USB, USB-C.
FUNCTION_DRIVERS = ('snd_hda_intel', 'xhci_pci', 'i2c_nvidia_gpu')
#: GPUs whose memory is part of that of the CPU, and the driver of VFIO that
#: shows it to guests (``drivers/vfio/pci/nvgrace-gpu/main.c``).
VARIANTS = dict.fromkeys(
    ('10de:2342', '10de:2345', '10de:2348', '10de:2941', '10de:31c2'),
    'nvgrace_gpu_vfio_pci',
)
#: Bridges that are none of PCI: the NVSwitches of NVIDIA, which the driver of
#: GPUs serves, too.
OTHER_BRIDGE = 0x0680
#: Modules that are loaded for GPUs and sit on top of a driver of theirs,
#: which is loaded with them although it is blacklisted.
_ON_TOP = re.compile('(nvidia.*)_drm')
#: Modules of drivers, as sysfs has these, that have another name.
_MODULES = {
    'NovaCore': 'nova_core',
    'nvidia-gpu': 'i2c_nvidia_gpu',
    'xhci_hcd': 'xhci_pci',
}
#: What the profiles of TuneD have where nobody has changed it.
_CALCULATED = re.compile(r'\$\{f:calc_isolated_cores(?::([0-9]{1,4}))?\}')
#: The group that VFIO makes for a device without an IOMMU
#: (``drivers/vfio/group.c:vfio_noiommu_group_alloc``).
NO_IOMMU = 'vfio-noiommu'


def module(driver: str) -> str:
    """Return the module of a driver, with ``_`` for ``-``."""
    return _MODULES.get(driver, driver).replace('-', '_')


@dataclasses.dataclass(frozen=True)
class DeviceBar(catalogue.Bar):
    """A base address register of a host, as ``resource`` in sysfs has it.

    Its size is 0 where firmware and kernel found no room for it.
    """

    is_io: bool = False
    is_64_bit: bool = False


@dataclasses.dataclass(frozen=True)
class PciDevice:
    """A PCI device (a function of one, to be exact)."""

    address: pci.Address
    #: Four hexadecimal digits, lower case.
    vendor_id: str | None = None
    product_id: str | None = None
    subsystem_vendor_id: str | None = None
    subsystem_product_id: str | None = None
    #: Class, subclass and programming interface: 0x030200.
    class_code: int | None = None
    #: The driver that has it.
    driver: str | None = None
    #: The only driver that may have it.
    driver_override: str | None = None
    #: Number of its IOMMU group.
    group: int | None = None
    bars: tuple[DeviceBar, ...] = ()
    #: Numbers of those for memory that have none.
    bars_without_memory: tuple[int, ...] = ()
    #: None where the firmware does not say (-1 in sysfs).
    numa_node: int | None = None
    #: Whether the firmware showed its messages on it; None for what is no
    #: VGA device.
    boot_vga: bool | None = None
    #: How the kernel can reset it, in the order that it tries them; empty
    #: where it cannot, None where nothing says.
    reset_methods: tuple[str, ...] | None = None
    #: ``D0``, ``D3hot``, ``D3cold``, ``unknown``.
    power_state: str | None = None
    d3cold_allowed: bool | None = None
    #: Whether its configuration space has the SR-IOV capability; None where
    #: that could not be read, which takes root.
    has_sriov_capability: bool | None = None
    #: False where its configuration space reads as all ones: it is off, or
    #: fell off the bus. None where it could not be read.
    responds: bool | None = None
    #: Most VFs that it can have; None where the kernel does not offer any.
    sriov_total_vfs: int | None = None
    #: VFs that it has now.
    sriov_num_vfs: int | None = None
    #: The PF of a VF.
    physical_function: pci.Address | None = None
    virtual_functions: tuple[pci.Address, ...] = ()
    #: What aliases of modules are compared with: ``pci:v000010DEd...``.
    modalias: str = ''

    @property
    def ids(self) -> str:
        """Vendor and product: ``10de:20f1``."""
        return f'{self.vendor_id or "????"}:{self.product_id or "????"}'

    @property
    def subsystem(self) -> str:
        """Vendor and product of the subsystem, which tells variants apart."""
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
        """What libvirt says it is, and Nova after it.

        libvirt gives a device the capability ``phys_function`` where sysfs
        has a link ``physfn``, and ``virt_functions`` where ``sriov_totalvfs``
        is above zero or there are links ``virtfnN``
        (``src/node_device/node_device_driver.c``, once
        ``virNodeDeviceGetPCISRIOVCaps``); Nova makes types of them
        (``nova/virt/libvirt/host.py:_get_device_type``).
        """
        if self.physical_function is not None:
            return 'type-VF'
        if self.sriov_total_vfs or self.virtual_functions:
            return 'type-PF'
        return 'type-PCI'

    @property
    def bar_bytes(self) -> int:
        """What its memory BARs take in all, in bytes."""
        return sum(bar.size for bar in self.bars if not bar.is_io)

    @property
    def for_nova(self) -> device_spec.HostDevice:
        """The device as ``[pci]device_spec`` entries are matched with it."""
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
    """The pool of huge pages of one size, of a NUMA node."""

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
    #: Number of its package: the socket.
    package: int | None = None
    core: int | None = None
    #: The CPUs of its core, itself among them.
    siblings: frozenset[int] = frozenset()


@dataclasses.dataclass(frozen=True)
class IommuGroup:
    number: int
    #: The default domain: ``identity``, ``DMA``, ``DMA-FQ`` ...
    domain: str | None = None
    #: Kinds of its reserved regions: ``direct`` is one that firmware keeps
    #: for itself (RMRR), with which a device cannot be given away.
    reserved: tuple[str, ...] = ()
    #: What made it has named it; None for those of an IOMMU.
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
    """A line of a file of modprobe.d that modprobe leaves out."""

    #: Its first words, as far as they are shown.
    text: str
    path: str
    #: The directive that it seems to be meant for.
    meant: str | None = None


@dataclasses.dataclass(frozen=True)
class Initramfs:
    """The initramfs of the kernel that runs, as far as it can be read."""

    path: str
    #: Names of the modules in it, with ``_`` for ``-``; None where it could
    #: not be read.
    modules: frozenset[str] | None = None
    #: Why it could not be read.
    reason: str | None = None
    #: ``dracut`` or ``initramfs-tools``, where it tells.
    maker: str | None = None


@dataclasses.dataclass(frozen=True)
class BootArguments:
    """Kernel arguments that a file has for boots to come."""

    path: str
    text: str
    #: Whether it is the one of several entries that the boot loader takes.
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
    #: As the file has it, without quotes.
    text: str


@dataclasses.dataclass(frozen=True)
class Host:
    """All that is known of a host."""

    #: Its host name, or the name of the bundle that does not say.
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
    #: Whether the CPU says that it is one of a virtual machine.
    has_hypervisor: bool = False
    cpus: tuple[Cpu, ...] = ()
    #: CPUs that the scheduler of the kernel leaves alone (``isolcpus=``).
    isolated_cpus: frozenset[int] = frozenset()
    #: What tuned is told to isolate: the text of ``isolated_cores``.
    tuned_isolated_cores: str | None = None
    tuned_profile: str | None = None
    nodes: tuple[NumaNode, ...] = ()
    #: What the kernel was started with; None where it could not be read.
    kernel_arguments: str | None = None
    #: What later boots are started with.
    boot_arguments: tuple[BootArguments, ...] = ()
    #: What the first of these is made of.
    grub_settings: tuple[GrubSetting, ...] = ()
    #: IOMMUs that the kernel uses: ``dmar0``, ``ivhd0``, ``smmu3.0`` ...
    iommus: tuple[str, ...] = ()
    groups: tuple[IommuGroup, ...] = ()
    #: Tables of the firmware: ``DMAR`` tells of Intel's IOMMU, ``IVRS`` of
    #: AMD's, ``IORT`` of Arm's. None where they could not be listed.
    acpi_tables: tuple[str, ...] | None = None
    #: Loaded modules, with ``_`` for ``-``.
    modules: frozenset[str] = frozenset()
    #: Modules that are part of the kernel; None where that is not known.
    builtin_modules: frozenset[str] | None = None
    #: What modules are loaded for, and their names, of display devices and
    #: their cards (``modules.alias``); None where that is not known.
    aliases: tuple[tuple[str, str], ...] | None = None
    #: Parameters of vfio_pci as they are in force.
    vfio_pci_parameters: collections.abc.Mapping[str, str] = dataclasses.field(
        default_factory=dict
    )
    #: Whether VFIO takes devices without an IOMMU, too; None where the kernel
    #: cannot, or vfio is not loaded.
    unsafe_noiommu_mode: bool | None = None
    #: Platform devices that are the framebuffer of the firmware, for the
    #: console: ``efi-framebuffer.0``. A driver of the card has them removed.
    framebuffers: tuple[str, ...] = ()
    directives: tuple[Directive, ...] = ()
    ignored_lines: tuple[IgnoredLine, ...] = ()
    #: Modules that systemd loads (modules-load.d), and the file of each.
    modules_load: tuple[tuple[str, str], ...] = ()
    #: Modules that are put into each initramfs, and the file that has it
    #: (dracut's ``add_drivers``, initramfs-tools' ``modules``).
    initramfs_modules: tuple[tuple[str, str], ...] = ()
    #: Those that it loads without a device that asks for them: dracut's
    #: ``force_drivers`` before udev loads drivers, initramfs-tools'
    #: ``modules`` after that.
    forced_modules: tuple[tuple[str, str], ...] = ()
    initramfs: Initramfs | None = None
    #: Programs that make one and are there: ``dracut``, ``initramfs-tools``.
    initramfs_makers: frozenset[str] = frozenset()
    #: Files that are there and could not be read.
    unreadable: tuple[partial_result.Failure, ...] = ()

    @property
    def for_nova(self) -> device_spec.HostDevices:
        """The host as ``[pci]device_spec`` is read on it."""
        return device_spec.HostDevices(
            tuple(one.for_nova for one in self.devices)
        )

    @property
    def gpus(self) -> tuple[PciDevice, ...]:
        """Its display controllers and processing accelerators."""
        return tuple(device for device in self.devices if device.is_gpu)

    def device(self, address: pci.Address) -> PciDevice | None:
        return next(
            (one for one in self.devices if one.address == address), None
        )

    def group(self, number: int) -> IommuGroup | None:
        return next((one for one in self.groups if one.number == number), None)

    def siblings(self, device: PciDevice) -> tuple[PciDevice, ...]:
        """Return the other devices of the IOMMU group of a device."""
        if device.group is None:
            return ()
        return tuple(
            one
            for one in self.devices
            if one.group == device.group and one.address != device.address
        )

    def functions(self, device: PciDevice) -> tuple[PciDevice, ...]:
        """Return the other functions of the card that a device is on."""
        place = device.address
        return tuple(
            one
            for one in self.devices
            if (one.address.domain, one.address.bus, one.address.slot)
            == (place.domain, place.bus, place.slot)
            and one.address != place
            and one.physical_function is None
        )

    def rivals(self, device: PciDevice) -> tuple[str, ...]:
        """Return the modules that may claim a card before vfio-pci does.

        Those that the host has for the card, or might have where that is not
        known.
        """
        claiming = self._claiming(device)
        if claiming is not None:
            return tuple(one for one in claiming if not _ON_TOP.fullmatch(one))
        found: tuple[str, ...] = ()
        if device.is_gpu:
            found = GPU_DRIVERS.get(device.vendor_id or '', ())
        if any(
            one.device_class == AUDIO_DEVICE
            for one in (device, *self.functions(device))
        ):
            found += ('snd_hda_intel',)
        return found

    def on_top(self, device: PciDevice) -> tuple[tuple[str, str], ...]:
        """Return modules that are loaded for a card, and their drivers."""
        return tuple(
            (one, match[1])
            for one in self._claiming(device) or ()
            if (match := _ON_TOP.fullmatch(one)) is not None
        )

    def _claiming(self, device: PciDevice) -> tuple[str, ...] | None:
        """Return the modules with an alias for a card; None: not known."""
        if self.aliases is None:
            return None
        names = {
            one.modalias
            for one in (device, *self.functions(device))
            if not one.is_bridge
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
        """Of its upstream: (6, 1); (0, 0) where that is not known."""
        match = re.match(r'(\d{1,4})\.(\d{1,4})', self.kernel or '', re.A)
        return (int(match[1]), int(match[2])) if match else (0, 0)

    @property
    def is_virtual(self) -> bool:
        """Whether it is a virtual machine, as far as it shows."""
        return self.has_hypervisor or any(
            one.device_class == HOST_BRIDGE
            and (one.ids == _QEMU_BRIDGE or one.subsystem == _QEMU_SUBSYSTEM)
            for one in self.devices
        )

    @property
    def cpu_vendor(self) -> cpu.Vendor | None:
        return cpu.vendor_of_id(self.cpu_vendor_id)

    @property
    def iommu_vendor(self) -> cpu.Vendor | None:
        """The vendor of its IOMMU, or of the one that it would have.

        QEMU gives virtual machines with CPUs of AMD the one of Intel, too.
        """
        if self.is_virtual and 'DMAR' in (self.acpi_tables or ()):
            return cpu.Vendor.INTEL
        return self.cpu_vendor

    @property
    def passthrough_argument(self) -> str:
        """What has devices of the host bypass the IOMMU.

        ``iommu=pt`` is x86's (``arch/x86/kernel/pci-dma.c:iommu_setup``).
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
            one.name == 'GRUB_EDPM_KERNEL_ARGS' for one in self.grub_settings
        )

    @property
    def is_ostree(self) -> bool:
        """Whether it is booted from an image: Fedora CoreOS, bootc."""
        return kernel.parse(self.kernel_arguments or '').has('ostree')

    @property
    def uses_kernel_install(self) -> bool:
        """Whether systemd-boot, or the kernel itself, is what firmware starts.

        There is no configuration of grub then, and ``/etc/kernel/cmdline`` is
        what kernel-install(8) makes boot entries and kernel images of.
        """
        paths = {one.path for one in self.boot_arguments}
        return '/etc/kernel/cmdline' in paths and not self.grub_settings

    @property
    def tuned_isolated_cpus(self) -> frozenset[int] | None:
        """CPUs that TuneD isolates; None where that cannot be told.

        ``${f:calc_isolated_cores:1}`` leaves one CPU of each socket to the
        host (``tuned/profiles/functions/function_calc_isolated_cores.py``).

        :raises gpuclient.exceptions.InvalidCPUSet: As
            :func:`gpuclient.model.cpu.parse_tuned`.
        """
        text = self.tuned_isolated_cores or ''
        match = _CALCULATED.fullmatch(text)
        if match is not None:
            packages: dict[int | None, list[int]] = {}
            for one in self.cpus:
                packages.setdefault(one.package, []).append(one.number)
            left = int(match[1] or 1)
            return frozenset(
                number
                for numbers in packages.values()
                for number in sorted(numbers)[left:]
            )
        return None if '$' in text else cpu.parse_tuned(text)

    @functools.cached_property
    def blacklisted_modules(self) -> frozenset[str]:
        """Modules that are not loaded for a device."""
        line = kernel.parse(self.kernel_arguments or '')
        return frozenset(
            one.module for one in self.directives if one.command == 'blacklist'
        ).union(line.blacklisted_modules)

    @property
    def iommu_on(self) -> bool:
        """Whether devices can be given to guests: there are IOMMU groups."""
        return any(self.has_iommu(device) for device in self.devices)

    def has_iommu(self, device: PciDevice) -> bool:
        """Whether a device is in a group, and the group is of an IOMMU."""
        if device.group is None:
            return False
        group = self.group(device.group)
        return group is None or group.name != NO_IOMMU
