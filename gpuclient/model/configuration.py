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

API = 'nova-api'
COMPUTE = 'nova-compute'
CONDUCTOR = 'nova-conductor'
SCHEDULER = 'nova-scheduler'
#: Who reads a nova.conf that no name gives to one of them.
ALL = (API, COMPUTE, CONDUCTOR, SCHEDULER)


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


@dataclasses.dataclass(frozen=True)
class Option:
    """A value of an option, with the option that it is of."""

    #: As oslo.config compares it: ``DEFAULT``, all others in lower case.
    section: str
    name: str
    setting: Setting


@dataclasses.dataclass(frozen=True)
class Service:
    """All that a service reads: one file, or several that add up."""

    #: Which services read it.
    readers: tuple[str, ...]
    place: Place
    #: All that it reads, in the order in which it counts. Values that a later
    #: layer replaced are not among them.
    options: tuple[Option, ...] = dataclasses.field(default=(), repr=False)
    #: ``[pci]alias``
    aliases: tuple[Setting, ...] = ()
    #: ``[pci]device_spec``
    device_specs: tuple[Setting, ...] = ()
    #: ``[filter_scheduler]pci_in_placement``; None where it is not set.
    pci_in_placement: bool | None = None
    #: ``[pci]report_in_placement``; None where it is not set.
    report_in_placement: bool | None = None
    #: ``[filter_scheduler]enabled_filters``
    enabled_filters: Setting | None = None

    def is_read_by(self, reader: str) -> bool:
        return reader in self.readers
