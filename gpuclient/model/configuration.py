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

"""The configuration of services, as far as devices are concerned."""

import dataclasses
import typing

API = 'nova-api'
COMPUTE = 'nova-compute'
CONDUCTOR = 'nova-conductor'
SCHEDULER = 'nova-scheduler'
#: Who reads a nova.conf that no name gives to one of them.
ALL = (API, COMPUTE, CONDUCTOR, SCHEDULER)

#: Of Jinja, and of oslo.config.
_REFERENCES = ('{{', '{%', '$')

#: Keys and values that name objects of Kubernetes.
Labels: typing.TypeAlias = tuple[tuple[str, str], ...]


@dataclasses.dataclass(frozen=True, order=True)
class Place:
    """Where something stands."""

    path: str
    #: From 1; None for the file as a whole.
    line: int | None = None

    def __str__(self) -> str:
        return self.path if self.line is None else f'{self.path}:{self.line}'


@dataclasses.dataclass(frozen=True)
class Setting:
    """A value of an option, and where it stands."""

    text: str
    place: Place
    #: What a template makes of it, or whether it is there at all, is not
    #: known.
    depends: bool = False

    @property
    def is_known(self) -> bool:
        """Whether it is the value itself, not a template or a reference."""
        return not self.depends and not any(
            mark in self.text for mark in _REFERENCES
        )


@dataclasses.dataclass(frozen=True)
class Option:
    """A value of an option, with the option that it is of."""

    #: As oslo.config compares it: ``DEFAULT``, all others in lower case.
    section: str
    name: str
    setting: Setting


@dataclasses.dataclass(frozen=True)
class HostSettings:
    """How hosts are set up: variables of the roles of ``edpm-ansible``."""

    #: ``edpm_kernel_args``
    kernel_arguments: Setting | None = None
    #: ``edpm_tuned_profile``
    tuned_profile: Setting | None = None
    #: ``edpm_tuned_isolated_cores``
    isolated_cores: Setting | None = None
    #: ``edpm_ovs_dpdk_pmd_core_list``: those of Open vSwitch.
    pmd_cores: Setting | None = None
    #: ``edpm_reboot_strategy``
    reboot_strategy: Setting | None = None
    #: ``edpm_kernel_hugepages`` sets huge pages, too.
    more_huge_pages: bool = False

    def all(self) -> tuple[Setting, ...]:
        """Return all that are set."""
        return tuple(
            one
            for one in (
                self.kernel_arguments,
                self.tuned_profile,
                self.isolated_cores,
                self.pmd_cores,
                self.reboot_strategy,
            )
            if one is not None
        )


@dataclasses.dataclass(frozen=True)
class NodeSetNode:
    """A host of a node set, before it has a machine."""

    name: str
    #: ``bmhLabelSelector``
    selector: Labels
    place: Place


@dataclasses.dataclass(frozen=True)
class Machine:
    """A bare metal machine: BareMetalHost."""

    name: str
    place: Place
    labels: Labels = ()
    #: What has to be filled in: ``bmc.address``, ``bootMACAddress``.
    settings: tuple[Setting, ...] = ()
    #: Fields that it has to have and has not, and what follows.
    missing: tuple[tuple[str, str], ...] = ()
    #: What inspection found (``status.hardware``).
    cpus: int | None = None
    memory_mb: int | None = None
    #: ``Intel(R) Xeon(R) Platinum 8480+``
    cpu_model: str | None = None
