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

"""Devices that computes are configured to report to Placement."""

import collections.abc
import dataclasses

from gpuclient.model import device_spec
from gpuclient.model import inventory
from gpuclient.model import naming
from gpuclient.model import pci

REPORTED = 'reported'
MISSING = 'missing'


@dataclasses.dataclass(frozen=True)
class Expectation:
    """A device that a compute should report, or any of a class."""

    #: Hypervisor hostname, or the name of the compute service.
    host: str
    #: ``0000:04:00.0``; None for any device.
    address: str | None
    #: None where the configuration does not determine it.
    resource_class: str | None
    #: The file that has the device, and its line.
    source: str
    #: None where the configuration does not determine it.
    total: int | None = None
    traits: frozenset[str] = frozenset()

    def state(
        self, devices: collections.abc.Iterable[inventory.Device]
    ) -> str:
        """Return its state in Placement.

        :returns: :data:`REPORTED`, :data:`MISSING`, or how it differs.
        """
        of_host = [
            device for device in devices if is_host(self.host, device.host)
        ]
        if self.address is None:
            return (
                REPORTED
                if any(
                    self.resource_class in (None, device.resource_class)
                    for device in of_host
                )
                else MISSING
            )
        matches = [
            device for device in of_host if device.address == self.address
        ] or [
            # VFs are units of the provider of their PF, which does not have
            # the address of the VF.
            device
            for device in of_host
            if (device.total or 0) > 1
            and device.address is not None
            and device.address.split(':')[:2] == self.address.split(':')[:2]
        ]
        if not matches:
            return MISSING
        return self._difference(matches[0]) or REPORTED

    def _difference(self, device: inventory.Device) -> str:
        if self.resource_class not in (None, device.resource_class):
            return (
                f'has class {device.resource_class}, not {self.resource_class}'
            )
        missing = self.traits - set(device.traits)
        if missing:
            return f'has no trait {", ".join(sorted(missing))}'
        if self.total not in (None, device.total):
            return f'has {device.total} units, not {self.total}'
        return ''


def is_host(name: str, hypervisor_hostname: str) -> bool:
    """Return whether a name is that of a host, with or without its domain."""
    return hypervisor_hostname == name or hypervisor_hostname.startswith(
        f'{name}.'
    )


def of_providers(
    providers: collections.abc.Iterable[device_spec.Provider], source: str
) -> collections.abc.Iterator[Expectation]:
    """Yield expectations of known devices."""
    for provider in providers:
        host, address = inventory.split_provider_name(provider.name)
        yield Expectation(
            host or provider.name,
            address,
            provider.resource_class,
            source,
            provider.total,
            provider.traits,
        )


def of_specs(
    host: str,
    specs: collections.abc.Iterable[tuple[device_spec.DeviceSpec, str]],
) -> collections.abc.Iterator[Expectation]:
    """Yield expectations of entries of ``[pci]device_spec``.

    An entry with the address of one device expects that device, any other at
    least one device.

    :param specs: Each entry, and its line.
    """
    for spec, source in specs:
        if spec.address is None or not spec.in_placement:
            continue
        requested = spec.tags.get('resource_class')
        has_ids = device_spec.ANY not in (spec.vendor_id, spec.product_id)
        yield Expectation(
            host,
            str(pci.parse_address(str(spec.address)))
            if spec.address.is_single
            else None,
            naming.resource_class(spec.vendor_id, spec.product_id, requested)
            if requested or has_ids
            else None,
            source,
            traits=naming.traits(spec.tags.get('traits') or ''),
        )
