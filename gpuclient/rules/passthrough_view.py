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

"""Which devices of a host are for guests, and who claims them at boot."""

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

VFIO_PCI = 'vfio_pci'
#: The file of sysfs that names the only driver of a device; the next boot
#: does not know of it.
OVERRIDE = 'driver_override'
PCI_STUB = 'pci-stub'
#: Drivers that take devices for nobody, besides vfio-pci and its variants:
#: what VFIO lets be in a group (``drivers/vfio/vfio.c`` before Linux 5.19;
#: since then, drivers with ``driver_managed_dma``).
HARMLESS_DRIVERS = (PCI_STUB, 'pcieport')
#: Not the end of one with a domain of more digits.
_ADDRESS = re.compile(
    r'(?<![0-9a-f:])[0-9a-f]{4}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]', re.I
)
_ANY = 0xFFFFFFFF


@dataclasses.dataclass(frozen=True)
class Intent:
    """What a host is meant for, as far as the user has said it."""

    #: Devices that are for guests; None: the rest of this tells.
    addresses: frozenset[pci.Address] | None = None
    #: Values of ``[pci]device_spec``.
    device_specs: tuple[str, ...] = ()
    #: ``[pci]report_in_placement``; None where it is not known.
    report_in_placement: bool | None = None
    #: Whether the configuration given is that of a nova-compute: then what
    #: no device spec matches is not for guests.
    of_compute: bool = False
    aliases: tuple[alias_model.Alias, ...] = ()
    #: Whether the devices of these aliases are for guests, and no others.
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
    """How vfio-pci comes to a device at boot."""

    #: ``the kernel arguments``, a file, or :data:`OVERRIDE`.
    where: str
    #: By its ids; otherwise by its address.
    by_ids: bool
    #: The module, or the name that no module has, before which drivers have
    #: to wait.
    module: str = VFIO_PCI


def is_vfio(driver: str | None) -> bool:
    """Whether a driver is vfio-pci, or a variant of it for some device."""
    return driver is not None and 'vfio' in driver.replace('_', '-').split('-')


class View:
    """A host, seen with what is meant of it."""

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
        #: Those of boots to come, with the file that has them: the entry
        #: that the boot loader takes; where that is not known, all entries,
        #: and where there are none what they are made of.
        self.later = tuple(
            (one.path, kernel.parse(one.text))
            for one in (
                [one for one in host.boot_arguments if one.is_default]
                or [one for one in host.boot_arguments if one.is_entry]
                or host.boot_arguments
            )
        )

    @functools.cached_property
    def next_entry(self) -> tuple[str, kernel.CommandLine] | None:
        """The boot entry that is taken next, and its kernel arguments."""
        entries = [one for one in self.host.boot_arguments if one.is_entry]
        taken = [one for one in entries if one.is_default] or entries
        if len(taken) != 1:
            return None
        return taken[0].path, kernel.parse(taken[0].text)

    # Who it is for.

    @functools.cached_property
    def specs(self) -> tuple[device_spec.DeviceSpec, ...]:
        """The device specs that Nova can read."""
        return tuple(spec for one in self._parsed.values() for spec in one)

    @functools.cached_property
    def spec_errors(self) -> tuple[str, ...]:
        """What Nova says of those that it cannot read."""
        return tuple(
            self._words_of[text]
            for text in self.intent.device_specs
            if text in self._words_of
        )

    @functools.cached_property
    def _words_of(self) -> dict[str, str]:
        found = {}
        for text in self.intent.device_specs:
            try:
                device_spec.parse(
                    text,
                    report_in_placement=(
                        self.intent.report_in_placement is not False
                    ),
                    host=self.host.for_nova,
                )
            except exceptions.InvalidDeviceSpec as exc:
                found[text] = str(exc)
        return found

    @functools.cached_property
    def _parsed(self) -> dict[str, tuple[device_spec.DeviceSpec, ...]]:
        return {
            text: device_spec.parse(text, host=self.host.for_nova)
            for text in self.intent.device_specs
            if text not in self._words_of
        }

    def spec_of(
        self, device: host_model.PciDevice
    ) -> device_spec.DeviceSpec | None:
        """Return the device spec by which nova-compute takes a device."""
        return device_spec.first_match(self.specs, device.for_nova)

    def aliases_of(
        self, device: host_model.PciDevice
    ) -> tuple[alias_model.Alias, ...]:
        """Return the aliases for the ids, or the class, of a device."""
        spec = self.spec_of(device)
        given = (
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
                else given is not None and alias.placement_class == given
            )
        )

    def models_of(
        self, device: host_model.PciDevice
    ) -> tuple[catalogue.Model, ...]:
        """Return the models of the catalogue that a device may be."""
        return self.models.by_ids(
            device.vendor_id, device.product_id, device.subsystem
        )

    @functools.cached_property
    def uses(self) -> dict[pci.Address, tuple[bool, str]]:
        """Whether each GPU is for guests, and what tells.

        Other devices are in it where they are named, or handed over by a
        device spec.
        """
        found = {}
        for device in self.host.devices:
            use = self._use(device)
            if use is not None:
                found[device.address] = use
        return found

    def _use(self, device: host_model.PciDevice) -> tuple[bool, str] | None:
        intent = self.intent
        if intent.addresses is not None:
            if device.address in intent.addresses:
                return True, 'it was named'
            return (False, 'it was not named') if device.is_gpu else None
        if intent.only_aliases:
            return self._use_by_alias(device)
        if intent.of_compute or self.specs:
            if self.spec_of(device) is not None:
                return True, '[pci]device_spec has it'
            if device.is_gpu:
                return False, 'no [pci]device_spec has it'
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
            return True, f'alias {names[0]!r} is for it'
        return (False, 'no alias is for it') if device.is_gpu else None

    def _likely_use(self, device: host_model.PciDevice) -> tuple[bool, str]:
        """Guess from the host alone."""
        if is_vfio(device.driver):
            return True, f'{device.driver} has it'
        claim = self.claim(device)
        if claim is not None:
            return True, f'vfio-pci claims it ({claim.where})'
        if device.virtual_functions:
            return False, 'its VFs are there for guests'
        if self._is_in_cpu(device):
            return False, 'it is part of the CPU'
        if device.base_class == host_model.PROCESSING_ACCELERATOR:
            return True, 'it is a processing accelerator'
        if device.vendor_id not in host_model.GPU_VENDORS:
            return False, 'it is no GPU that guests are given'
        if device.boot_vga:
            return False, 'the firmware shows its messages on it'
        return True, 'it is a GPU, and no console'

    def _is_in_cpu(self, device: host_model.PciDevice) -> bool:
        """Whether it is one of Intel's that sit beside the CPU's cores.

        Those are on the first bus, as is all that some virtual machines have.
        """
        place = device.address
        return (
            device.vendor_id == '8086'
            and (place.domain, place.bus) == (0, 0)
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
        """CPUs that the kernel or TuneD isolates, as far as that is known."""
        try:
            tuned = self.host.tuned_isolated_cpus
        except exceptions.InvalidCPUSet:
            # TuneD takes it for an empty list.
            tuned = None
        return self.host.isolated_cpus | (tuned or frozenset())

    # Who claims it.

    @property
    def vfio_is_builtin(self) -> bool:
        return VFIO_PCI in (self.host.builtin_modules or ())

    @property
    def vfio_is_loaded(self) -> bool:
        return self.vfio_is_builtin or VFIO_PCI in self.host.modules

    def parameter(self, module: str, name: str) -> str | None:
        """Return what a parameter of a module is set to, when it is loaded.

        modprobe has those of the kernel arguments after those of its files.
        """
        found = None
        for one in self.host.directives:
            if (one.command, one.module) == ('options', module):
                for word in one.rest.split():
                    if word.startswith(f'{name}='):
                        found = word.partition('=')[2]
        return self.arguments.last(f'{module}.{name}') or found

    @functools.cached_property
    def ids_source(self) -> tuple[str, kernel.CommandLine] | None:
        """Where vfio-pci has its ids from, and these as an argument.

        Of several settings the last counts; modprobe has those of the kernel
        arguments after those of its files. Files do nothing for a module
        that is part of the kernel.
        """
        if self.arguments.last('vfio-pci.ids') is not None:
            return 'the kernel arguments', self.arguments
        return None if self.vfio_is_builtin else self.ids_of_files

    @functools.cached_property
    def ids_of_files(self) -> tuple[str, kernel.CommandLine] | None:
        """The last ids that a file of modprobe.d has."""
        found = None
        for directive in self.host.directives:
            if (directive.command, directive.module) != ('options', VFIO_PCI):
                continue
            for word in directive.rest.split():
                if word.startswith('ids='):
                    found = (
                        directive.path,
                        kernel.parse(f'vfio-pci.{word}'),
                    )
        return found

    @functools.cached_property
    def ids(self) -> tuple[kernel.DeviceId, ...]:
        return () if self.ids_source is None else self.ids_source[1].vfio_ids

    @functools.cached_property
    def _overridden(self) -> dict[str, Claim]:
        """Claims of addresses in ``install`` lines that give them to vfio-pci.

        Such a line is run in place of loading the module, and may write
        ``driver_override``. It is not run for a module that is in the kernel
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
        """Return how vfio-pci comes to a device; None where it does not."""
        found = self._overridden.get(str(device.address))
        override = device.driver_override
        # Such a line may give one card to vfio-pci, and keep its twin.
        if found is not None and (override is None or is_vfio(override)):
            return found
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
        """Whether the ids that vfio-pci is given are those of a device."""
        return any(matches(one, device) for one in self.ids)

    @functools.cached_property
    def companions(self) -> frozenset[pci.Address]:
        """Devices that share an IOMMU group with one that is for guests.

        vfio-pci may have them, or nobody: a driver of the host makes the group
        not viable (``drivers/iommu/iommu.c:iommu_group_claim_dma_owner``).
        """
        return frozenset(
            sibling.address
            for device in self.for_guests
            for sibling in self.host.siblings(device)
            if sibling not in self.for_guests
        )

    @functools.cached_property
    def ids_that_stay(self) -> frozenset[str]:
        """Ids of devices that are not for guests, nor on a card that is."""
        cards = {
            other.address
            for device in self.for_guests
            for other in (device, *self.host.functions(device))
        }
        return frozenset(
            one.ids
            for one in self.host.devices
            # VFs are made later; vfio-pci.ids is no question then.
            if one.physical_function is None
            and one.address not in cards
            and one.address not in self.companions
        )


def matches(wanted: kernel.DeviceId, device: host_model.PciDevice) -> bool:
    """Whether a device has ids, as ``pci_match_one_device`` compares them."""
    if f'{wanted.vendor_id}:{wanted.product_id}' != device.ids:
        return False
    rest = [int(part, 16) for part in wanted.rest.split(':') if part.strip()]
    # drivers/vfio/pci/vfio_pci.c:vfio_pci_fill_ids
    defaults = [_ANY, _ANY, 0, 0]
    subvendor, subdevice, code, mask = rest + defaults[len(rest) :]
    for number, given in (
        (subvendor, device.subsystem_vendor_id),
        (subdevice, device.subsystem_product_id),
    ):
        if number != _ANY and (given is None or int(given, 16) != number):
            return False
    return not (code ^ (device.class_code or 0)) & mask
