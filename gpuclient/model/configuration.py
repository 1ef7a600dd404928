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

"""Options that files set, and the services that read them."""

import dataclasses
import typing

API = 'nova-api'
COMPUTE = 'nova-compute'
CONDUCTOR = 'nova-conductor'
SCHEDULER = 'nova-scheduler'
#: Services that read a nova.conf whose path names none of them.
ALL = (API, COMPUTE, CONDUCTOR, SCHEDULER)

#: Marks of templates of Jinja, and of references of oslo.config.
_REFERENCES = ('{{', '{%', '$')

#: Keys and values that name objects of Kubernetes.
Labels: typing.TypeAlias = tuple[tuple[str, str], ...]


@dataclasses.dataclass(frozen=True, order=True)
class Place:
    """A line of a file, or the file as a whole."""

    path: str
    #: Counted from 1; None for the file as a whole.
    line: int | None = None

    def __str__(self) -> str:
        return self.path if self.line is None else f'{self.path}:{self.line}'


@dataclasses.dataclass(frozen=True)
class Setting:
    """A value that a file sets."""

    text: str
    place: Place
    #: Whether a template decides what the value is, or whether it is set.
    depends: bool = False

    @property
    def is_known(self) -> bool:
        """Whether it is the value itself, not a template or a reference."""
        return not self.depends and not any(
            mark in self.text for mark in _REFERENCES
        )


@dataclasses.dataclass(frozen=True)
class Option:
    """An option that a file sets, with the value."""

    #: As oslo.config compares it: ``DEFAULT``, all others in lower case.
    section: str
    name: str
    setting: Setting


@dataclasses.dataclass(frozen=True)
class HostSettings:
    """Variables of the roles of ``edpm-ansible`` that set up hosts."""

    #: ``edpm_kernel_args``
    kernel_arguments: Setting | None = None
    #: ``edpm_tuned_profile``
    tuned_profile: Setting | None = None
    #: ``edpm_tuned_isolated_cores``
    isolated_cores: Setting | None = None
    #: ``edpm_ovs_dpdk_pmd_core_list``, for Open vSwitch.
    pmd_cores: Setting | None = None
    #: ``edpm_reboot_strategy``
    reboot_strategy: Setting | None = None
    #: Whether ``edpm_kernel_hugepages`` sets huge pages, too.
    more_huge_pages: bool = False

    def all(self) -> tuple[Setting, ...]:
        """Return all variables that are set."""
        return tuple(
            setting
            for setting in (
                self.kernel_arguments,
                self.tuned_profile,
                self.isolated_cores,
                self.pmd_cores,
                self.reboot_strategy,
            )
            if setting is not None
        )


@dataclasses.dataclass(frozen=True)
class NodeSetNode:
    """A node of a node set, to which no machine is assigned yet."""

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
    #: Fields that are required: ``bmc.address``, ``bootMACAddress``.
    settings: tuple[Setting, ...] = ()
    #: Required fields that it lacks, and what follows.
    missing: tuple[tuple[str, str], ...] = ()
    #: Results of the inspection (``status.hardware``).
    cpus: int | None = None
    memory_mb: int | None = None
    #: ``Intel(R) Xeon(R) Platinum 8480+``
    cpu_model: str | None = None
