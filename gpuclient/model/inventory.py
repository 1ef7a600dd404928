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

"""PCI devices as Placement and Nova know them, and who uses them."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Consumer:
    """Who holds units of a device: a server, a migration, or nobody known."""

    #: Consumer id; the id of the server or of the migration record.
    uuid: str
    #: Units of the resource class of the device.
    amount: int
    project_id: str | None = None
    user_id: str | None = None
    #: Placement's consumer type, ``INSTANCE`` or ``MIGRATION``; ``unknown``
    #: for consumers older than microversion 1.38, None if not read.
    consumer_type: str | None = None


@dataclasses.dataclass(frozen=True)
class Device:
    """A PCI device that nova-compute reports as a resource provider.

    Nova makes one provider a type-PCI or type-PF device, and one a PF for
    all its VFs (``nova/compute/pci_placement_translator.py``).
    """

    #: Id of the resource provider.
    uuid: str
    #: Name of the resource provider, ``<hypervisor hostname>_<ADDRESS>``.
    name: str
    #: Id of the root provider, which is the compute node.
    root_uuid: str
    #: Hypervisor hostname: the name of the root provider.
    host: str
    #: PCI address, lower case: ``0000:04:00.0``. None where the name of the
    #: provider holds none.
    address: str | None
    #: None where the provider has no inventory.
    resource_class: str | None = None
    #: Units in the inventory: 1 for a whole device, the VFs of a PF.
    total: int | None = None
    #: Units that may not be allocated.
    reserved: int | None = None
    #: Units that consumers hold.
    used: int | None = None
    #: Sorted.
    traits: tuple[str, ...] = ()
    #: None if not read.
    consumers: tuple[Consumer, ...] | None = None

    @property
    def free(self) -> int | None:
        """Units that can still be allocated, never below zero.

        The allocation ratio of PCI inventories is always 1.0
        (``pci_placement_translator.py:PciResourceProvider.update_provider_tree``).
        """
        if self.total is None or self.reserved is None or self.used is None:
            return None
        return max(0, self.total - self.reserved - self.used)


@dataclasses.dataclass(frozen=True)
class Server:
    """A Nova server, as far as devices are concerned."""

    uuid: str
    name: str
    status: str
    project_id: str | None
    user_id: str | None
    #: Service host, ``OS-EXT-SRV-ATTR:host``; None if policy hides it.
    service_host: str | None
    #: Hypervisor hostname, ``OS-EXT-SRV-ATTR:hypervisor_hostname``; None if
    #: policy hides it.
    host: str | None
    #: Name of the flavor that it booted with.
    flavor_name: str | None = None
    #: Extra specs of the flavor that it booted with; None if policy hides
    #: them.
    extra_specs: dict[str, str] | None = None
