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

"""Flavors, and the PCI devices that they request."""

import collections.abc
import dataclasses
import difflib
import re

from gpuclient import exceptions

#: ``nova/api/validation/extra_specs/pci_passthrough.py``
ALIASES = 'pci_passthrough:alias'
#: How similar a key is to :data:`ALIASES` that is a misspelling of it.
_SIMILAR = 0.85
#: ``nova/api/validation/extra_specs/hw.py`` has no validator for these, so
#: microversion 2.86 and later refuse them.
UNVALIDATED = ('hw:maxphysaddr_mode', 'hw:maxphysaddr_bits')

#: ``nova/virt/hardware.py:get_pci_numa_policy_constraint``
NUMA_POLICY = 'hw:pci_numa_affinity_policy'
#: ``nova/scheduler/utils.py:ResourceRequest.XS_KEYPAT``
GROUP_KEY = re.compile(
    r'(?P<kind>resources|trait)(?P<suffix>[a-zA-Z0-9_-]{1,64})?:(?P<name>.*)'
)
#: Resource classes of the compute node itself, not of its devices.
OF_THE_NODE = ('VCPU', 'PCPU', 'MEMORY_MB', 'DISK_GB')

_CUSTOM = 'CUSTOM_'
#: Prefix of the classes that Nova derives from ids of devices.
_OF_DEVICES = 'CUSTOM_PCI_'


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
        """Number of requested devices, by alias; see :func:`read_aliases`."""
        if self.extra_specs is None:
            return None
        return requested_aliases(self.extra_specs)


def parse_request(text: str, *, force: bool = False) -> tuple[str, int]:
    """Return alias and number of ``NAME:COUNT``.

    :param force: Accept a count of 0: servers boot without a device.
    :raises gpuclient.exceptions.InvalidValue: It is anything else, or Nova
        would read the name as more than one request.
    """
    name, separator, number = text.rpartition(':')
    name = name.strip(' ')
    if not separator or not name or not re.fullmatch('[0-9]{1,9}', number):
        raise exceptions.InvalidValue(
            f'{text!r} is not NAME:COUNT, the name of an alias and a number '
            f'of devices, such as nvidia_a2:1'
        )
    if re.search('[:,]', name) or not name.isprintable():
        raise exceptions.InvalidValue(
            f'{text!r} does not name an alias: in a flavor the name must not '
            f'contain a colon, a comma or a control character'
        )
    if int(number) == 0 and not force:
        raise exceptions.InvalidValue(
            f'{text!r} requests no device: servers would boot without one. '
            'Remove the alias with "openstack gpu flavor unset", or use '
            '--force to write it anyway'
        )
    return name, int(number)


def requested_aliases(
    extra_specs: collections.abc.Mapping[str, str],
) -> dict[str, int]:
    """Return the number of requested devices, by alias."""
    if ALIASES not in extra_specs:
        return {}
    return read_aliases(extra_specs[ALIASES])[0]


def read_aliases(value: str) -> tuple[dict[str, int], tuple[str, ...]]:
    """Return the requests of a stored value, and its invalid parts.

    Nova treats a number below zero as zero. An invalid part, such as an empty
    one, makes every boot fail
    (``nova/pci/request.py:_translate_alias_to_requests``).
    """
    requests: dict[str, int] = {}
    invalid = []
    for part in value.split(','):
        name, _colon, number = part.partition(':')
        count = _integer(number)
        if count is None:
            invalid.append(part)
        else:
            name = name.strip()
            requests[name] = requests.get(name, 0) + max(0, count)
    return requests, tuple(invalid)


def _integer(text: str | int) -> int | None:
    """Return a number as Python reads it, such as `` 2``, ``+2``, ``1_0``."""
    try:
        return int(text)
    except ValueError:
        return None


def parse_amount(text: str | int) -> int | None:
    """Return an amount of resources; None for one that Nova ignores.

    ``nova/objects/request_spec.py:RequestGroup.add_resource``
    """
    amount = _integer(text)
    return None if amount is None or amount < 0 else amount


def is_resource_class(name: str) -> bool:
    """Return whether Nova requests a class; it ignores all others.

    ``nova/objects/request_spec.py:RequestGroup.add_resource``
    """
    import os_resource_classes

    return name.startswith(_CUSTOM) or name in os_resource_classes.STANDARDS


def normalized_class(name: str) -> str:
    """Return the custom resource class of a name."""
    import os_resource_classes

    return str(os_resource_classes.normalize_name(name))


def write_aliases(requests: collections.abc.Mapping[str, int]) -> str:
    """Return the value of the extra spec that requests devices."""
    return ','.join(f'{name}:{count}' for name, count in requests.items())


def requested_classes(
    extra_specs: collections.abc.Mapping[str, str],
) -> dict[str, str]:
    """Return the resource classes that a flavor requests, by its keys.

    Without those of the compute node itself, amounts of 0, and keys that Nova
    ignores.
    """
    classes = {}
    for key, value in extra_specs.items():
        match = GROUP_KEY.fullmatch(key)
        if (
            match is not None
            and match['kind'] == 'resources'
            and match['name'] not in OF_THE_NODE
            and is_resource_class(match['name'])
            and parse_amount(value)
        ):
            classes[key] = match['name']
    return classes


def device_resources(
    extra_specs: collections.abc.Mapping[str, str],
    device_classes: collections.abc.Container[str] | None = None,
) -> dict[str, str]:
    """Return the amounts of devices that are requested by class, by keys.

    :param device_classes: The classes of PCI devices in Placement; None where
        they are not known, so that the name decides.
    """
    return {
        key: extra_specs[key]
        for key, name in requested_classes(extra_specs).items()
        if (
            name.startswith(_OF_DEVICES)
            if device_classes is None
            else name in device_classes
        )
    }


def is_for_devices(
    flavor: Flavor,
    device_classes: collections.abc.Container[str] | None = None,
) -> bool:
    """Return whether a flavor requests PCI devices, or is meant to.

    :param device_classes: See :func:`device_resources`.
    """
    specs = flavor.extra_specs or {}
    return (
        any(key.startswith('pci_passthrough:') for key in specs)
        or bool(misspelled_requests(specs))
        or bool(device_resources(specs, device_classes))
    )


def misspelled_requests(
    extra_specs: collections.abc.Mapping[str, str],
) -> tuple[str, ...]:
    """Return the keys that are misspellings of :data:`ALIASES`, sorted.

    Only where the flavor lacks that, and the value requests devices: other
    keys are properties of aggregates, or for other programs.
    """
    if ALIASES in extra_specs:
        return ()
    return tuple(
        key
        for key, value in sorted(extra_specs.items())
        if not key.startswith('pci_passthrough:')
        and not read_aliases(value)[1]
        and difflib.SequenceMatcher(
            None, key.lower().replace('-', '_'), ALIASES
        ).ratio()
        >= _SIMILAR
    )
