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

"""The ``[pci]alias`` option, read as Nova does.

:func:`parse` and :func:`merge` accept and refuse as ``nova/pci/request.py``
of a release does, with the same messages, so that nova-api and nova-compute
start with what is accepted. Rules that are stricter are in
:mod:`gpuclient.rules.alias`.
"""

import collections.abc
import dataclasses
import json
import re
import typing

from gpuclient import exceptions
from gpuclient.model import boolean
from gpuclient.model import naming
from gpuclient.model import nova_changes
from gpuclient.model import pci
from gpuclient.model import quoting
from gpuclient.model import release as release_model

#: Of ``nova/objects/fields.py:PCINUMAAffinityPolicy``, in its order.
NUMA_POLICIES = ('required', 'legacy', 'preferred', 'socket')
#: The policy of an alias that does not set one.
DEFAULT_NUMA_POLICY = 'legacy'

#: The keys of Nova's schema (``nova/pci/request.py:_ALIAS_SCHEMA``), and the
#: values of those that allow only some.
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
#: Keys that not every release has.
_KEYS_SINCE = {
    'resource_class': nova_changes.ALIAS_PLACEMENT,
    'traits': nova_changes.ALIAS_PLACEMENT,
    'live_migratable': nova_changes.ALIAS_LIVE_MIGRATABLE,
}
_LONGEST_NAME = 256
#: ``nova/pci/utils.py:PCI_VENDOR_PATTERN``; it matches any digit of Unicode.
_ID_PATTERN = '^([\\da-fA-F]{4})$'


@dataclasses.dataclass(frozen=True)
class Alias:
    """A value of ``[pci]alias``, as Nova reads it.

    A key that the value does not have is None.
    """

    #: Without surrounding blanks, as Nova stores it.
    name: str
    vendor_id: str | None = None
    product_id: str | None = None
    #: ``type-PCI``, ``type-PF`` or ``type-VF``.
    device_type: str | None = None
    #: ``required``, ``legacy``, ``preferred`` or ``socket``.
    numa_policy: str | None = None
    #: As written; :attr:`placement_class` is the normalized name.
    resource_class: str | None = None
    #: As written, separated by commas; :attr:`placement_traits` has the
    #: normalized names.
    traits: str | None = None
    live_migratable: bool | None = None
    capability_type: str | None = None

    @property
    def policy(self) -> str:
        """The NUMA policy in effect (a flavor or an image may override it)."""
        return self.numa_policy or DEFAULT_NUMA_POLICY

    @property
    def has_ids(self) -> bool:
        """Whether it has a vendor and a product."""
        return self.vendor_id is not None and self.product_id is not None

    @property
    def placement_class(self) -> str | None:
        """The resource class that Nova requests from Placement.

        None for an alias without one and without both ids, which Nova
        refuses (``nova/objects/request_spec.py:_rc_from_request``). Nova
        accepts an empty one, and then requests ``CUSTOM_PCI_NONE_NONE``.
        """
        if self.resource_class is None and not self.has_ids:
            return None
        return naming.resource_class(
            self.vendor_id, self.product_id, self.resource_class
        )

    @property
    def placement_traits(self) -> frozenset[str]:
        """The traits that Nova requires of the resource provider.

        ``live_migratable`` is not one of them: Nova matches it against the
        pools of the host (``nova/pci/stats.py``), not in Placement.
        """
        return naming.traits(self.traits or '')

    @property
    def meaning(self) -> tuple[typing.Any, ...]:
        """Values that are equal for two spellings of the same alias.

        Ids are compared without case, the class and the traits in their
        normalized forms.
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
                # Nova requires a string, and refuses a JSON boolean.
                else ('false', 'true')[self.live_migratable]
            ),
            'capability_type': self.capability_type,
        }
        # ASCII, for any encoding of the file, without control characters.
        return json.dumps(
            {key: value for key, value in keys.items() if value is not None}
        )


def _invalid(reason: str) -> exceptions.InvalidAlias:
    # nova/exception.py:PciInvalidAlias
    return exceptions.InvalidAlias(f'Invalid PCI alias definition: {reason}')


def parse(text: str, release: release_model.Release | None = None) -> Alias:
    """Return the alias that a value of ``[pci]alias`` defines.

    Whether it requires ids depends on other options: see :func:`merge`.

    :param release: The release of Nova that reads it; the newest by default.
    :raises gpuclient.exceptions.InvalidAlias: Nova refuses it, with the same
        message (``nova/pci/request.py:get_alias_from_config``).
    """
    try:
        spec = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise _invalid(str(exc)) from exc
    _check(spec, release or release_model.newest())
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


def can_be_requested(
    alternatives: collections.abc.Sequence[Alias], pci_in_placement: bool
) -> bool:
    """Return whether nova-api takes requests for an alias.

    With Placement it answers HTTP 500 for one of several values
    (``nova/objects/request_spec.py:RequestSpec.
    generate_request_groups_from_pci_requests``).

    :param alternatives: The values of its name.
    """
    return len(alternatives) < 2 or not pci_in_placement


def key_change(key: str) -> nova_changes.NovaChange | None:
    """Return the change that added a key; None for a key of all releases."""
    return _KEYS_SINCE.get(key)


def _has_key(release: release_model.Release, key: str) -> bool:
    change = key_change(key)
    return key in _KEYS and (change is None or release.has(change))


def _check(spec: typing.Any, release: release_model.Release) -> None:
    """Validate a value against the schema, with the messages of jsonschema."""
    if not isinstance(spec, dict):
        raise _invalid(f"{quoting.spec(repr(spec))} is not of type 'object'")
    unknown = [
        repr(quoting.word(key))
        for key in sorted(spec)
        if not _has_key(release, key)
    ]
    if unknown:
        verb = 'was' if len(unknown) == 1 else 'were'
        raise _invalid(
            f'Additional properties are not allowed '
            f'({", ".join(unknown)} {verb} unexpected)'
        )
    if 'name' not in spec:
        raise _invalid("'name' is a required property")
    # Of several errors Nova has the one of the last key by name
    # (jsonschema.exceptions.best_match).
    for key in sorted(spec, reverse=True):
        _check_value(key, spec[key])


def _check_value(key: str, value: typing.Any) -> None:
    if not isinstance(value, str):
        raise _invalid(f"{quoting.spec(repr(value))} is not of type 'string'")
    shown = quoting.choice(value)
    if value == f'{shown}\n':
        # Without it the value may look valid.
        shown = value
    if _KEYS[key] and value not in _KEYS[key]:
        raise _invalid(f'{shown!r} is not one of {list(_KEYS[key])!r}')
    if key in ('vendor_id', 'product_id') and not re.search(
        _ID_PATTERN, value
    ):
        raise _invalid(f'{shown!r} does not match {_ID_PATTERN!r}')
    if key == 'name' and not value:
        raise _invalid(f'{value!r} should be non-empty')
    if key == 'name' and len(value) > _LONGEST_NAME:
        raise _invalid(f'{quoting.word(value)!r} is too long')


def _boolean(text: str) -> bool:
    try:
        return boolean.parse(text)
    except ValueError as exc:
        raise _invalid(str(exc)) from exc


def merge(
    texts: collections.abc.Iterable[str],
    pci_in_placement: bool,
    release: release_model.Release | None = None,
) -> dict[str, tuple[Alias, ...]]:
    """Return the aliases of a service, by name.

    Several values with one name are alternatives.

    :param texts: The values of all files of the service, in the order of
        oslo.config.
    :param pci_in_placement: ``[filter_scheduler]pci_in_placement`` of the
        service.
    :param release: The release of Nova that reads them; the newest by
        default.
    :raises gpuclient.exceptions.InvalidAlias: Nova refuses them, with the
        same message (``nova/pci/request.py:get_alias_from_config``). What
        follows depends on the release, see
        :data:`gpuclient.model.nova_changes.ALIASES_READ_AT_START`.
    """
    release = release or release_model.newest()
    aliases: dict[str, list[Alias]] = {}
    for text in texts:
        alias = parse(text, release)
        alternatives = aliases.setdefault(alias.name, [])
        if alternatives:
            _check_alternative(alternatives[0], alias)
        alternatives.append(alias)
    if release.has(nova_changes.ALIASES_CHECKED_TOGETHER):
        _check_set(aliases, pci_in_placement)
    return {
        name: tuple(alternatives) for name, alternatives in aliases.items()
    }


def _check_alternative(first: Alias, alias: Alias) -> None:
    if first.policy != alias.policy:
        raise _invalid(f"NUMA policy mismatch for alias '{alias.name}'")
    if first.device_type is None or alias.device_type is None:
        # The message of Nova is that of a KeyError.
        raise _invalid("'dev_type'")
    if first.device_type != alias.device_type:
        raise _invalid(f"Device type mismatch for alias '{alias.name}'")


def _check_set(
    aliases: collections.abc.Mapping[str, collections.abc.Sequence[Alias]],
    pci_in_placement: bool,
) -> None:
    if pci_in_placement:
        several = [
            name
            for name, alternatives in aliases.items()
            if len(alternatives) > 1
        ]
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
        for name, alternatives in aliases.items()
        if any(
            not alias.has_ids
            and not (pci_in_placement and alias.resource_class is not None)
            for alias in alternatives
        )
    )
    if without:
        fields = 'vendor_id and product_id fields set'
        if pci_in_placement:
            fields += ' or resource_class field set'
        raise _invalid_set(
            f'The PCI alias(es) {",".join(without)} does not have {fields}.'
        )


def _invalid_set(message: str) -> exceptions.InvalidAlias:
    # Nova raises these without the usual beginning of the message.
    return exceptions.InvalidAlias(message)
