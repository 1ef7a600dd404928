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

"""Flavors, as far as PCI devices are concerned."""

import collections.abc
import dataclasses
import re

from gpuclient import exceptions

#: ``nova/api/validation/extra_specs/pci_passthrough.py``
ALIASES = 'pci_passthrough:alias'
#: ``nova/api/validation/extra_specs/hw.py`` has no validator for these, so
#: microversion 2.86 and later refuse them.
UNVALIDATED = ('hw:maxphysaddr_mode', 'hw:maxphysaddr_bits')

_RESOURCE = re.compile(r'resources[^:]*:(?P<name>CUSTOM_PCI_.*)')


@dataclasses.dataclass(frozen=True)
class Flavor:
    """A Nova flavor."""

    id: str
    name: str
    vcpus: int
    #: MiB.
    ram: int
    #: GiB.
    disk: int
    is_public: bool
    #: None where policy hides them.
    extra_specs: dict[str, str] | None = None
    #: GiB.
    ephemeral: int = 0
    #: MiB.
    swap: int = 0

    @property
    def aliases(self) -> dict[str, int] | None:
        """Devices that it asks for, by alias; see :func:`read_aliases`."""
        if self.extra_specs is None:
            return None
        return read_aliases(self.extra_specs.get(ALIASES, ''))[0]


def parse_request(text: str, *, force: bool = False) -> tuple[str, int]:
    """Return alias and number of ``NAME:COUNT``.

    :param force: Let a count of 0 pass, with which servers boot without a
        device.
    :raises gpuclient.exceptions.InvalidValue: Anything else, or a name that
        would be read as more than one request.
    """
    name, separator, number = text.rpartition(':')
    name = name.strip(' ')
    if not separator or not name or not re.fullmatch('[0-9]{1,9}', number):
        raise exceptions.InvalidValue(
            f'{text!r} is not NAME:COUNT, the name of an alias and a number '
            f'of devices, like nvidia_a2:1'
        )
    if re.search('[:,]', name) or not name.isprintable():
        raise exceptions.InvalidValue(
            f'{text!r} does not name an alias: a name in a flavor has no '
            f'colon, comma or control character'
        )
    if int(number) == 0 and not force:
        raise exceptions.InvalidValue(
            f'{text!r} asks for no device: servers would boot without one. '
            f'To take the alias out, use "gpu flavor unset"; to write it '
            f'anyway, --force'
        )
    return name, int(number)


def read_aliases(value: str) -> tuple[dict[str, int], tuple[str, ...]]:
    """Return what a stored value asks for, and the parts that are broken.

    Read as leniently as Nova does; a broken part lets every boot fail
    (``nova/pci/request.py:_translate_alias_to_requests``).
    """
    requests: dict[str, int] = {}
    broken = []
    for part in value.split(',') if value else ():
        name, _colon, number = part.partition(':')
        try:
            count = int(number)
        except ValueError:
            count = -1
        if count < 0:
            broken.append(part)
        else:
            name = name.strip()
            requests[name] = requests.get(name, 0) + count
    return requests, tuple(broken)


def write_aliases(requests: collections.abc.Mapping[str, int]) -> str:
    """Return the value that asks for devices."""
    return ','.join(f'{name}:{count}' for name, count in requests.items())


def device_resources(
    extra_specs: collections.abc.Mapping[str, str],
) -> dict[str, str]:
    """Return the devices that are asked for as ``resources:CUSTOM_PCI_*``."""
    return {
        key: value
        for key, value in extra_specs.items()
        if _RESOURCE.fullmatch(key)
    }


def is_for_devices(flavor: Flavor) -> bool:
    """Return whether a flavor asks for PCI devices, in either way."""
    specs = flavor.extra_specs or {}
    return ALIASES in specs or bool(device_resources(specs))
