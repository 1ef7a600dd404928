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

"""The description of a deployment with GPUs, as its operator writes it.

``config create`` creates the files of the deployment from it.
:mod:`gpuclient.model.description_reader` reads it.
"""

import dataclasses
import typing

from gpuclient.model import alias as alias_model
from gpuclient.model import catalogue

#: Kinds of deployments: Red Hat OpenStack Services on OpenShift,
#: Kolla-Ansible, and hosts whose files are copied by hand.
TARGETS = ('rhoso', 'kolla', 'plain')
CPU_VENDORS = ('intel', 'amd')
#: Families of operating systems of plain hosts: Debian and Ubuntu; RHEL and
#: its rebuilds.
SYSTEMS = ('debian', 'rhel')
#: ``edpm_reboot_strategy`` (``edpm-ansible``: ``roles/edpm_reboot``).
REBOOT_STRATEGIES = ('auto', 'force', 'never')
#: Sizes of huge pages on x86 hosts, in bytes.
PAGE_SIZES = (2**21, 2**30)
#: Fields of ``rootDeviceHints`` of a BareMetalHost, and their types.
ROOT_DEVICE_HINTS: dict[str, type] = {
    'device_name': str,
    'hctl': str,
    'model': str,
    'vendor': str,
    'serial_number': str,
    'min_size_gigabytes': int,
    'wwn': str,
    'wwn_with_extension': str,
    'wwn_vendor_extension': str,
    'rotational': bool,
}
DEFAULT_TUNED_PROFILE = 'cpu-partitioning-powersave'


@dataclasses.dataclass(frozen=True)
class Cards:
    """The cards of a host that one alias matches."""

    alias: str
    #: ``0000:04:00.0``; empty for all cards with the ids of the alias.
    addresses: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class DescribedNumaNode:
    """One NUMA node of a host."""

    cpus: frozenset[int]
    #: MiB; None where the description has no value.
    memory_mb: int | None = None


@dataclasses.dataclass(frozen=True)
class HugePageRequest:
    """Huge pages that the kernel reserves at boot."""

    #: Bytes.
    size: int
    #: For each NUMA node.
    counts: tuple[int, ...]
    #: Of these, the pages that the host itself uses; None where the
    #: description has no value.
    reserved: tuple[int, ...] | None = None


@dataclasses.dataclass(frozen=True)
class BareMetal:
    """What Metal3 needs to provision a host."""

    bmc_address: str
    #: Name of the Secret with user and password.
    credentials_name: str
    disable_certificate_verification: bool
    boot_mac_address: str
    #: With the field names of a BareMetalHost: ``deviceName``.
    root_device_hints: dict[str, typing.Any]
    online: bool
    #: nmstate of the ramdisk and of the installed system; None where the
    #: description has no value.
    preprovisioning_network_data: dict[str, typing.Any] | None = None
    network_data: dict[str, typing.Any] | None = None


@dataclasses.dataclass(frozen=True)
class ComputeHost:
    """A compute host."""

    name: str
    #: The name of the compute node in Nova and of its provider in Placement.
    hypervisor_hostname: str
    cards: tuple[Cards, ...]
    cpu_vendor: str
    nodes: tuple[DescribedNumaNode, ...]
    #: For servers without dedicated CPUs, and for the host itself.
    shared: frozenset[int] | None
    #: For servers with dedicated CPUs; isolated from all other processes.
    dedicated: frozenset[int] | None
    reserved_host_memory_mb: int | None
    huge_pages: HugePageRequest | None
    kernel_args: tuple[str, ...]
    labels: dict[str, str]
    bare_metal: BareMetal | None
    #: Addresses, by the names of the networks.
    fixed_ips: dict[str, str]

    @property
    def layout(self) -> dict[str, typing.Any]:
        """The values that must be equal on all hosts of a node set."""
        return {
            'cards': self.cards,
            'cpu_vendor': self.cpu_vendor,
            'numa_nodes': self.nodes,
            'cpu': (self.shared, self.dedicated),
            'reserved_host_memory_mb': self.reserved_host_memory_mb,
            'huge_pages': self.huge_pages,
            'kernel_args': self.kernel_args,
        }


@dataclasses.dataclass(frozen=True)
class Network:
    """A network of a node set."""

    name: str
    subnet_name: str
    default_route: bool


@dataclasses.dataclass(frozen=True)
class Rhoso:
    """Values of a deployment on OpenShift."""

    namespace: str
    #: Name of the OpenStackControlPlane.
    control_plane: str
    #: Cells of Nova, whose conductors need the same option: ``cell1``.
    cells: tuple[str, ...]
    node_set: str
    deployment: str
    ctlplane_interface: str | None
    cloud_user: str
    #: Labels by which the node set selects its BareMetalHosts.
    labels: dict[str, str]
    #: Names of Secrets.
    password_secret: str
    ssh_key_secret: str
    networks: tuple[Network, ...]
    reboot_strategy: str
    tuned_profile: str
    ansible_vars: dict[str, typing.Any]
    #: The keys that the description has; all other values are defaults.
    stated: frozenset[str]


@dataclasses.dataclass(frozen=True)
class Plain:
    """Values of hosts whose files are copied by hand."""

    #: One of :data:`SYSTEMS`.
    system: str


@dataclasses.dataclass(frozen=True)
class Description:
    """A deployment."""

    target: str
    name: str
    #: ``[filter_scheduler]pci_in_placement`` of the control plane.
    pci_in_placement: bool
    #: ``[pci]report_in_placement`` of the computes.
    report_in_placement: bool
    aliases: tuple[alias_model.Alias, ...]
    #: Product id of the audio function of the cards of an alias, by its name.
    audio: dict[str, str]
    #: Models from which an alias has its device type, by its name.
    assumed: dict[str, catalogue.Model]
    hosts: tuple[ComputeHost, ...]
    rhoso: Rhoso
    plain: Plain

    def alias(self, name: str) -> alias_model.Alias:
        """Return the alias with a name, which the description defines."""
        return next(alias for alias in self.aliases if alias.name == name)


#: Networks of a node set whose description names none.
DEFAULT_NETWORKS = (
    Network('ctlplane', 'subnet1', True),
    Network('internalapi', 'subnet1', False),
    Network('storage', 'subnet1', False),
    Network('tenant', 'subnet1', False),
)
