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

"""The ``[pci]alias`` option: what Nova reads in it, and what it refuses.

:func:`parse` and :func:`merge` answer as ``nova/pci/request.py`` does, down
to its words, so that what passes here is what nova-api and nova-compute start
with. What this package refuses beyond that is in :mod:`gpuclient.rules.alias`.
"""

import collections.abc
import dataclasses
import json
import re
import typing

from gpuclient import exceptions
from gpuclient.model import boolean
from gpuclient.model import naming
from gpuclient.model import pci
from gpuclient.model import quoting

#: Of ``nova/objects/fields.py:PCINUMAAffinityPolicy``, in its order.
NUMA_POLICIES = ('required', 'legacy', 'preferred', 'socket')
#: What Nova takes an alias without a policy for.
DEFAULT_NUMA_POLICY = 'legacy'

#: Nova's schema (``nova/pci/request.py:_ALIAS_SCHEMA``): the keys, and the
#: values where only some are allowed.
_KEYS: dict[str, tuple[str, ...]] = {
    'name': (),
    'capability_type': ('pci',),
    'product_id': (),
    'vendor_id': (),
    'device_type': pci.DEVICE_TYPES,
    'numa_policy': NUMA_POLICIES,
    'resource_class': (),
    'traits': (),
    'live_migratable': (),
}
_LONGEST_NAME = 256
#: ``nova/pci/utils.py:PCI_VENDOR_PATTERN``, which takes any digit of Unicode.
_ID_PATTERN = '^([\\da-fA-F]{4})$'


@dataclasses.dataclass(frozen=True)
class Alias:
    """One ``[pci]alias`` value, as Nova has read it.

    A key that the value leaves out is None here.
    """

    #: Without the blanks around it, as Nova keeps it.
    name: str
    vendor_id: str | None = None
    product_id: str | None = None
    #: ``type-PCI``, ``type-PF`` or ``type-VF``.
    device_type: str | None = None
    #: ``required``, ``legacy``, ``preferred`` or ``socket``.
    numa_policy: str | None = None
    #: As written; see :attr:`placement_class` for what Placement is asked.
    resource_class: str | None = None
    #: As written, comma separated; see :attr:`placement_traits`.
    traits: str | None = None
    live_migratable: bool | None = None
    capability_type: str | None = None

    @property
    def policy(self) -> str:
        """The NUMA policy in force (flavor and image may override it)."""
        return self.numa_policy or DEFAULT_NUMA_POLICY

    @property
    def has_ids(self) -> bool:
        """Whether it names a vendor and a product."""
        return self.vendor_id is not None and self.product_id is not None

    @property
    def placement_class(self) -> str | None:
        """The resource class that Nova asks Placement for.

        None for an alias without one and without both ids, which Nova
        refuses (``nova/objects/request_spec.py:_rc_from_request``). It takes
        an empty one, and asks for ``CUSTOM_PCI_NONE_NONE`` then.
        """
        if self.resource_class is None and not self.has_ids:
            return None
        return naming.resource_class(
            self.vendor_id, self.product_id, self.resource_class
        )

    @property
    def placement_traits(self) -> frozenset[str]:
        """The traits that Nova requires of the resource provider.

        ``live_migratable`` is no part of it: Nova matches that against the
        pools of the host (``nova/pci/stats.py``), not in Placement.
        """
        return naming.traits(self.traits or '')

    @property
    def meaning(self) -> tuple[typing.Any, ...]:
        """What two spellings of the same alias have in common.

        Ids do not care about case; the class and the traits are compared in
        their normal forms.
        """
        return (
            self.name,
            (self.vendor_id or '').lower(),
            (self.product_id or '').lower(),
            self.device_type,
            self.policy,
            self.resource_class and self.placement_class,
            self.placement_traits,
            self.live_migratable,
        )

    def render(self) -> str:
        """Return the value for a configuration file: JSON on one line."""
        keys = {
            'name': self.name,
            'vendor_id': self.vendor_id,
            'product_id': self.product_id,
            'device_type': self.device_type,
            'numa_policy': self.numa_policy,
            'resource_class': self.resource_class,
            'traits': self.traits,
            'live_migratable': (
                None
                if self.live_migratable is None
                # Nova wants a string here; JSON's true is refused.
                else ('false', 'true')[self.live_migratable]
            ),
            'capability_type': self.capability_type,
        }
        # ASCII: whatever the encoding of the file, and no control character.
        return json.dumps(
            {key: value for key, value in keys.items() if value is not None}
        )


def _invalid(reason: str) -> exceptions.InvalidAlias:
    # nova/exception.py:PciInvalidAlias
    return exceptions.InvalidAlias(f'Invalid PCI alias definition: {reason}')


def parse(text: str) -> Alias:
    """Return the alias that a value of ``[pci]alias`` defines.

    Whether the ids it needs are there depends on other options: see
    :func:`merge`.

    :raises gpuclient.exceptions.InvalidAlias: Nova refuses it, with Nova's
        own words (``nova/pci/request.py:get_alias_from_config``).
    """
    try:
        spec = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise _invalid(str(exc)) from exc
    _check(spec)
    live_migratable = spec.get('live_migratable')
    return Alias(
        name=spec['name'].strip(),
        vendor_id=spec.get('vendor_id'),
        product_id=spec.get('product_id'),
        device_type=spec.get('device_type'),
        numa_policy=spec.get('numa_policy'),
        resource_class=spec.get('resource_class'),
        traits=spec.get('traits'),
        live_migratable=(
            None if live_migratable is None else _boolean(live_migratable)
        ),
        capability_type=spec.get('capability_type'),
    )


def _check(spec: typing.Any) -> None:
    """Hold a value against the schema, in jsonschema's words."""
    if not isinstance(spec, dict):
        raise _invalid(f"{quoting.spec(repr(spec))} is not of type 'object'")
    unknown = [repr(quoting.word(key)) for key in spec if key not in _KEYS]
    if unknown:
        verb = 'was' if len(unknown) == 1 else 'were'
        raise _invalid(
            f'Additional properties are not allowed '
            f'({", ".join(unknown)} {verb} unexpected)'
        )
    if 'name' not in spec:
        raise _invalid("'name' is a required property")
    for key, value in spec.items():
        if not isinstance(value, str):
            raise _invalid(
                f"{quoting.spec(repr(value))} is not of type 'string'"
            )
        if _KEYS[key] and value not in _KEYS[key]:
            raise _invalid(
                f'{quoting.choice(value)!r} is not one of {list(_KEYS[key])!r}'
            )
        if key in ('vendor_id', 'product_id') and not re.search(
            _ID_PATTERN, value
        ):
            raise _invalid(
                f'{quoting.choice(value)!r} does not match {_ID_PATTERN!r}'
            )
    if not spec['name']:
        raise _invalid(f'{spec["name"]!r} should be non-empty')
    if len(spec['name']) > _LONGEST_NAME:
        raise _invalid(f'{quoting.word(spec["name"])!r} is too long')


def _boolean(text: str) -> bool:
    try:
        return boolean.parse(text)
    except ValueError as exc:
        raise _invalid(str(exc)) from exc


def merge(
    texts: collections.abc.Iterable[str], pci_in_placement: bool
) -> dict[str, tuple[Alias, ...]]:
    """Return the aliases of a service, by name, from all its values.

    oslo.config hands Nova the values of all files of a service, in order;
    several with one name are alternatives.

    :param pci_in_placement: ``[filter_scheduler]pci_in_placement`` as the
        service that reads the values has it.
    :raises gpuclient.exceptions.InvalidAlias: The service would refuse to
        start, with Nova's own words
        (``nova/pci/request.py:get_alias_from_config``).
    """
    aliases: dict[str, list[Alias]] = {}
    for text in texts:
        alias = parse(text)
        if alias.name not in aliases:
            aliases[alias.name] = [alias]
            continue
        first = aliases[alias.name][0]
        if first.policy != alias.policy:
            raise _invalid(f"NUMA policy mismatch for alias '{alias.name}'")
        if first.device_type is None or alias.device_type is None:
            # Nova's own words: the KeyError of a look-up.
            raise _invalid("'dev_type'")
        if first.device_type != alias.device_type:
            raise _invalid(f"Device type mismatch for alias '{alias.name}'")
        aliases[alias.name].append(alias)
    if pci_in_placement:
        several = [name for name, found in aliases.items() if len(found) > 1]
        if several:
            raise _invalid_set(
                f'The PCI alias(es) {",".join(several)} have multiple specs '
                'but [filter_scheduler]pci_in_placement is True. The PCI in '
                'Placement feature only supports one spec per alias. You can '
                'assign the same resource_class to multiple [pci]device_spec '
                'matchers to allow using different devices for the same '
                'alias.'
            )
    without = sorted(
        name
        for name, found in aliases.items()
        if any(
            not alias.has_ids
            and not (pci_in_placement and alias.resource_class is not None)
            for alias in found
        )
    )
    if without:
        fields = 'vendor_id and product_id fields set'
        if pci_in_placement:
            fields += ' or resource_class field set'
        raise _invalid_set(
            f'The PCI alias(es) {",".join(without)} does not have {fields}.'
        )
    return {name: tuple(found) for name, found in aliases.items()}


def _invalid_set(message: str) -> exceptions.InvalidAlias:
    # Nova passes these as the whole message, without its usual beginning.
    return exceptions.InvalidAlias(message)
