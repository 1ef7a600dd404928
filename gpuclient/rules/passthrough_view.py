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

"""Which devices of a host are for guests, and which vfio-pci claims."""

import collections.abc
import dataclasses
import functools
import re

from gpuclient import exceptions
from gpuclient.model import alias as alias_model
from gpuclient.model import catalogue
from gpuclient.model import cpu
from gpuclient.model import device_spec
from gpuclient.model import host as host_model
from gpuclient.model import kernel
from gpuclient.model import pci
from gpuclient.model import release as release_model

VFIO_PCI = 'vfio_pci'
#: The file of sysfs with the only driver that may bind to a device, until the
#: next boot.
OVERRIDE = 'driver_override'
PCI_STUB = 'pci-stub'
#: Drivers that do not use devices, besides vfio-pci and its variants: VFIO
#: tolerates them in a group (``drivers/vfio/vfio.c`` before Linux 5.19;
#: since then, drivers with ``driver_managed_dma``).
HARMLESS_DRIVERS = (PCI_STUB, 'pcieport')
#: Not the end of one with a domain of more digits.
_ADDRESS = re.compile(
    r'(?<![0-9a-f:])[0-9a-f]{4}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]', re.I
)
_ANY = 0xFFFFFFFF


@dataclasses.dataclass(frozen=True)
class Intent:
    """The intended use of a host, from options and configuration."""

    #: Devices that are for guests; None: as the other fields tell.
    addresses: frozenset[pci.Address] | None = None
    #: The release of Nova that reads the configuration.
    release: release_model.Release = dataclasses.field(
        default_factory=release_model.newest
    )
    #: Values of ``[pci]device_spec``.
    device_specs: tuple[str, ...] = ()
    #: ``[pci]report_in_placement``; None where it is not known.
    report_in_placement: bool | None = None
    #: Whether there is the configuration of a nova-compute: then devices that
    #: no device spec matches are not for guests.
    of_compute: bool = False
    aliases: tuple[alias_model.Alias, ...] = ()
    #: Whether only the devices of these aliases are for guests.
    only_aliases: bool = False
    #: ``[compute]cpu_dedicated_set``; None where it is not known.
    dedicated_cpus: frozenset[int] | None = None
    #: ``[compute]cpu_shared_set``.
    shared_cpus: frozenset[int] | None = None
    #: ``[DEFAULT]reserved_huge_pages``
    reserved_pages: tuple[cpu.ReservedPages, ...] = ()
    #: ``[DEFAULT]reserved_host_memory_mb``
    reserved_memory_mb: int | None = None


@dataclasses.dataclass(frozen=True)
class Claim:
    """How vfio-pci claims a device at boot."""

    #: ``the kernel arguments``, a file, or :data:`OVERRIDE`.
    where: str
    #: By its ids; otherwise by its address.
    by_ids: bool
    #: The module that other drivers have to wait for; sometimes a name that
    #: no module has.
    module: str = VFIO_PCI


def is_vfio(driver: str | None) -> bool:
    """Whether a driver is vfio-pci, or a variant of it for a device."""
    return driver is not None and 'vfio' in driver.replace('_', '-').split('-')


class View:
    """A host together with its intended use."""

    def __init__(
        self,
        host: host_model.Host,
        intent: Intent,
        models: catalogue.Catalogue,
    ) -> None:
        self.host = host
        self.intent = intent
        self.models = models
        self.arguments = kernel.parse(host.kernel_arguments or '')
        entries = host.boot_arguments
        #: Arguments of later boots, by the file that has them: the entry that
        #: the boot loader starts; if that is not known, all entries, and if
        #: there are none, the files that entries are made of.
        self.later = tuple(
            (entry.path, kernel.parse(entry.text))
            for entry in (
                [entry for entry in entries if entry.is_default]
                or [entry for entry in entries if entry.is_entry]
                or entries
            )
        )

    @functools.cached_property
    def next_entry(self) -> tuple[str, kernel.CommandLine] | None:
        """The entry that the boot loader starts next, and its arguments."""
        entries = [
            entry for entry in self.host.boot_arguments if entry.is_entry
        ]
        entries = [entry for entry in entries if entry.is_default] or entries
        if len(entries) != 1:
            return None
        return entries[0].path, kernel.parse(entries[0].text)

    # Which devices are for guests.

    @functools.cached_property
    def specs(self) -> tuple[device_spec.DeviceSpec, ...]:
        """The device specs that Nova can read."""
        return tuple(spec for specs in self._parsed.values() for spec in specs)

    @functools.cached_property
    def spec_errors(self) -> tuple[str, ...]:
        """Why Nova refuses the others."""
        return tuple(
            self._refusals[text]
            for text in self.intent.device_specs
            if text in self._refusals
        )

    @functools.cached_property
    def _refusals(self) -> dict[str, str]:
        refusals = {}
        for text in self.intent.device_specs:
            try:
                device_spec.parse(
                    text,
                    report_in_placement=(
                        self.intent.report_in_placement is not False
                    ),
                    host=self.host.for_nova,
                    release=self.intent.release,
                )
            except exceptions.InvalidDeviceSpec as exc:
                refusals[text] = str(exc)
        return refusals

    @functools.cached_property
    def _parsed(self) -> dict[str, tuple[device_spec.DeviceSpec, ...]]:
        return {
            text: device_spec.parse(
                text, host=self.host.for_nova, release=self.intent.release
            )
            for text in self.intent.device_specs
            if text not in self._refusals
        }

    def spec_of(
        self, device: host_model.PciDevice
    ) -> device_spec.DeviceSpec | None:
        """Return the device spec that matches a device in nova-compute."""
        return device_spec.first_match(self.specs, device.for_nova)

    def aliases_of(
        self, device: host_model.PciDevice
    ) -> tuple[alias_model.Alias, ...]:
        """Return the aliases that match a device, by its ids or its class."""
        spec = self.spec_of(device)
        resource_class = (
            None
            if spec is None or not spec.has_names
            else spec.resource_class(device.for_nova)
        )
        return tuple(
            alias
            for alias in self.intent.aliases
            if (
                f'{alias.vendor_id}:{alias.product_id}'.lower() == device.ids
                if alias.has_ids
                else resource_class is not None
                and alias.placement_class == resource_class
            )
        )

    def models_of(
        self, device: host_model.PciDevice
    ) -> tuple[catalogue.Model, ...]:
        """Return the models of the catalogue with the ids of a device."""
        return self.models.by_ids(
            device.vendor_id, device.product_id, device.subsystem
        )

    @functools.cached_property
    def uses(self) -> dict[pci.Address, tuple[bool, str]]:
        """Whether each GPU is for guests, and the reason.

        Other devices are in it if they are named, or if a device spec matches
        them.
        """
        uses = {}
        for device in self.host.devices:
            use = self._use(device)
            if use is not None:
                uses[device.address] = use
        return uses

    def _use(self, device: host_model.PciDevice) -> tuple[bool, str] | None:
        intent = self.intent
        if intent.addresses is not None:
            if device.address in intent.addresses:
                return True, 'specified'
            return (False, 'not specified') if device.is_gpu else None
        if intent.only_aliases:
            return self._use_by_alias(device)
        if intent.of_compute or self.specs:
            if self.spec_of(device) is not None:
                return True, 'a [pci]device_spec matches it'
            if device.is_gpu:
                return False, 'no [pci]device_spec matches it'
            return None
        if not device.is_gpu:
            return None
        if intent.aliases:
            return self._use_by_alias(device)
        return self._likely_use(device)

    def _use_by_alias(
        self, device: host_model.PciDevice
    ) -> tuple[bool, str] | None:
        names = [alias.name for alias in self.aliases_of(device)]
        if names:
            return True, f'alias {names[0]!r} matches it'
        return (False, 'no alias matches it') if device.is_gpu else None

    def _likely_use(self, device: host_model.PciDevice) -> tuple[bool, str]:
        """Return the likely use, from the host alone."""
        if is_vfio(device.driver):
            return True, f'bound to {device.driver}'
        claim = self.claim(device)
        if claim is not None:
            return True, f'vfio-pci claims it ({claim.where})'
        if device.virtual_functions:
            return False, 'its VFs are for guests'
        if self._is_in_cpu(device):
            return False, 'part of the CPU'
        if device.base_class == host_model.PROCESSING_ACCELERATOR:
            return True, 'a processing accelerator'
        if device.vendor_id not in host_model.GPU_VENDORS:
            return False, 'not an NVIDIA, AMD or Intel GPU'
        if device.boot_vga:
            return False, 'the boot VGA'
        return True, 'a GPU, and not the console'

    def _is_in_cpu(self, device: host_model.PciDevice) -> bool:
        """Whether it is an integrated GPU of Intel.

        Those are on the first bus, as all devices of some virtual machines
        are.
        """
        address = device.address
        return (
            device.vendor_id == '8086'
            and (address.domain, address.bus) == (0, 0)
            and not self.host.is_virtual
            and not self.models_of(device)
        )

    @functools.cached_property
    def for_guests(self) -> tuple[host_model.PciDevice, ...]:
        return tuple(
            device
            for device in self.host.devices
            if self.uses.get(device.address, (False, ''))[0]
        )

    @functools.cached_property
    def kept(self) -> tuple[host_model.PciDevice, ...]:
        """The GPUs that the host keeps."""
        return tuple(
            device
            for device in self.host.gpus
            if not self.uses[device.address][0]
        )

    @functools.cached_property
    def isolated_cpus(self) -> frozenset[int]:
        """CPUs that the kernel or TuneD isolates, as far as known."""
        try:
            tuned = self.host.tuned_isolated_cpus
        except exceptions.InvalidCPUSet:
            # TuneD isolates no CPU then.
            tuned = None
        return self.host.isolated_cpus | (tuned or frozenset())

    # Which devices vfio-pci claims.

    @property
    def vfio_is_builtin(self) -> bool:
        return VFIO_PCI in (self.host.builtin_modules or ())

    @property
    def vfio_is_loaded(self) -> bool:
        return self.vfio_is_builtin or VFIO_PCI in self.host.modules

    def parameter(self, module: str, name: str) -> str | None:
        """Return the value that a parameter of a module gets at load time.

        modprobe appends parameters of the kernel arguments to those of files.
        """
        values = [
            option.partition('=')[2]
            for option in self._options(module)
            if option.startswith(f'{name}=')
        ]
        from_files = values[-1] if values else None
        return self.arguments.last(f'{module}.{name}') or from_files

    def _options(self, module: str) -> collections.abc.Iterator[str]:
        """Yield the options that files of modprobe.d set for a module."""
        for directive in self.host.directives:
            if (directive.command, directive.module) == ('options', module):
                yield from directive.rest.split()

    @functools.cached_property
    def ids_source(self) -> tuple[str, kernel.CommandLine] | None:
        """Where the ids of vfio-pci are set, and the ids as an argument.

        The last of several settings counts; modprobe appends those of the
        kernel arguments to those of files. Files do not apply to a module
        that is built into the kernel.
        """
        if self.arguments.last('vfio-pci.ids') is not None:
            return 'the kernel arguments', self.arguments
        return None if self.vfio_is_builtin else self.ids_of_files

    @functools.cached_property
    def ids_of_files(self) -> tuple[str, kernel.CommandLine] | None:
        """The last ids that a file of modprobe.d sets."""
        last = None
        for directive in self.host.directives:
            if (directive.command, directive.module) != ('options', VFIO_PCI):
                continue
            for option in directive.rest.split():
                if option.startswith('ids='):
                    last = directive.path, kernel.parse(f'vfio-pci.{option}')
        return last

    @functools.cached_property
    def ids(self) -> tuple[kernel.DeviceId, ...]:
        return () if self.ids_source is None else self.ids_source[1].vfio_ids

    @functools.cached_property
    def _overridden(self) -> dict[str, Claim]:
        """Claims of addresses in ``install`` lines that write driver_override.

        modprobe runs such a line instead of loading the module, but not for
        a module that is built into the kernel
        (``libkmod/libkmod-module.c:kmod_module_probe_insert_module``).
        """
        return {
            address.lower(): Claim(directive.path, False, directive.module)
            for directive in self.host.directives
            if directive.command == 'install'
            and 'driver_override' in directive.rest
            and 'vfio' in directive.rest
            and directive.module not in (self.host.builtin_modules or ())
            for address in _ADDRESS.findall(directive.rest)
        }

    def claim(self, device: host_model.PciDevice) -> Claim | None:
        """Return how vfio-pci claims a device; None if it does not."""
        claim = self._overridden.get(str(device.address))
        override = device.driver_override
        # Such a line may bind one card to vfio-pci, and not its twin.
        if claim is not None and (override is None or is_vfio(override)):
            return claim
        if is_vfio(device.driver_override):
            return Claim(OVERRIDE, by_ids=False)
        if (
            self.ids_source is not None
            and device.driver_override is None
            and self.caught(device)
        ):
            return Claim(self.ids_source[0], by_ids=True)
        return None

    def caught(self, device: host_model.PciDevice) -> bool:
        """Whether the ids of vfio-pci match a device."""
        return any(matches(ids, device) for ids in self.ids)

    @functools.cached_property
    def companions(self) -> frozenset[pci.Address]:
        """Devices that share an IOMMU group with one that is for guests.

        They may be bound to vfio-pci or to no driver: with a driver of the
        host, the group is not viable
        (``drivers/iommu/iommu.c:iommu_group_claim_dma_owner``).
        """
        return frozenset(
            sibling.address
            for device in self.for_guests
            for sibling in self.host.siblings(device)
            if sibling not in self.for_guests
        )

    @functools.cached_property
    def ids_that_stay(self) -> frozenset[str]:
        """Ids of devices that stay with the host, on cards that do."""
        cards = {
            other.address
            for device in self.for_guests
            for other in (device, *self.host.functions(device))
        }
        return frozenset(
            device.ids
            for device in self.host.devices
            # VFs are created later; vfio-pci.ids does not apply to them.
            if device.physical_function is None
            and device.address not in cards
            and device.address not in self.companions
        )


def matches(ids: kernel.DeviceId, device: host_model.PciDevice) -> bool:
    """Whether ids match a device, as ``pci_match_one_device`` compares."""
    if f'{ids.vendor_id}:{ids.product_id}' != device.ids:
        return False
    rest = [int(part, 16) for part in ids.rest.split(':') if part.strip()]
    # drivers/vfio/pci/vfio_pci.c:vfio_pci_fill_ids
    defaults = [_ANY, _ANY, 0, 0]
    subvendor, subdevice, code, mask = rest + defaults[len(rest) :]
    for number, actual in (
        (subvendor, device.subsystem_vendor_id),
        (subdevice, device.subsystem_product_id),
    ):
        if number != _ANY and (actual is None or int(actual, 16) != number):
            return False
    return not (code ^ (device.class_code or 0)) & mask
