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

"""Rules about ``[pci]alias``: aliases that Nova accepts, but cannot use.

What Nova itself refuses is in :mod:`gpuclient.model.alias`.
"""

import collections.abc
import dataclasses
import re

from gpuclient.model import alias as alias_model
from gpuclient.model import catalogue as catalogue_model
from gpuclient.model import configuration
from gpuclient.model import deployment
from gpuclient.model import naming
from gpuclient.model import quoting
from gpuclient.rules import finding

_ID = re.compile('[0-9a-fA-F]{4}', re.ASCII)
#: Flavors separate aliases by commas and counts by colons; the others need
#: escapes in some file or command line.
_FORBIDDEN_IN_NAMES = ':,"\'`\\$'
#: The lowest product ID of NVIDIA's first GPUs with SR-IOV.
_TURING = '1e00'


@dataclasses.dataclass(frozen=True)
class AliasEntry:
    """An alias, its setting and the service that reads it."""

    alias: alias_model.Alias
    setting: configuration.Setting
    service: deployment.Process


def _has_control(text: str) -> bool:
    return not text.isprintable()


def check(
    alias: alias_model.Alias,
    catalogue: catalogue_model.Catalogue | None = None,
) -> tuple[finding.Finding, ...]:
    """Return what is wrong with an alias that Nova itself accepts.

    Errors are stricter than Nova and say so.

    :param catalogue: The GPU models that are known; the built-in ones by
        default.
    """
    return (
        *_check_name(alias.name),
        *_check_ids(alias),
        *_check_values(alias),
        *_check_class(alias),
        *_check_traits(alias),
        *check_device_type(alias, catalogue or catalogue_model.builtin()),
        *check_capability(alias),
    )


def check_capability(
    alias: alias_model.Alias,
) -> collections.abc.Iterator[finding.Finding]:
    """Find ``capability_type``, which no device has.

    Nova compares it with a tag of the device spec that it does not document
    (``nova/pci/utils.py:pci_device_prop_match``).
    """
    if alias.capability_type is not None:
        yield finding.error(
            'GPU122',
            f'Alias {alias.name!r} has capability_type, which Nova accepts '
            f'but no device has: servers that request the alias are not '
            f'scheduled. Remove capability_type',
        )


def _check_name(name: str) -> collections.abc.Iterator[finding.Finding]:
    if not name.strip():
        yield finding.stricter(
            'GPU101',
            'The name of the alias is blank: no flavor can request it. Set a '
            'name',
        )
        return
    bad = sorted(
        {
            character
            for character in name
            if character in _FORBIDDEN_IN_NAMES or _has_control(character)
        }
    )
    if bad:
        yield finding.stricter(
            'GPU102',
            f'The name {name!r} contains {", ".join(map(repr, bad))}: flavors '
            f'that request NAME:COUNT, configuration files or command lines '
            f'cannot contain it. Choose another name',
        )


def _check_ids(
    alias: alias_model.Alias,
) -> collections.abc.Iterator[finding.Finding]:
    for key in ('vendor_id', 'product_id'):
        value = getattr(alias, key)
        if value is not None and not _ID.fullmatch(value):
            yield finding.stricter(
                'GPU103',
                f'{key} {quoting.word(value)!r} is not four hexadecimal '
                f'digits: it matches no device. Correct it',
            )


def _check_values(
    alias: alias_model.Alias,
) -> collections.abc.Iterator[finding.Finding]:
    for key in ('resource_class', 'traits'):
        value = getattr(alias, key)
        if value is not None and _has_control(value):
            yield finding.stricter(
                'GPU104',
                f'{key} {quoting.word(value)!r} contains a control character. '
                f'Remove it',
            )
        if value is not None and '$' in value:
            # oslo_config/cfg.py:ConfigOpts._substitute
            yield finding.stricter(
                'GPU104',
                f'{key} {quoting.word(value)!r} contains a $, which '
                f'oslo.config reads as a reference to another option. '
                f'Remove it',
            )


def _check_class(
    alias: alias_model.Alias,
) -> collections.abc.Iterator[finding.Finding]:
    if not alias.resource_class or _has_control(alias.resource_class):
        return
    normal = naming.resource_class(None, None, alias.resource_class)
    if not naming.is_resource_class(normal):
        yield finding.stricter(
            'GPU105',
            f'Nova changes resource_class '
            f'{quoting.word(alias.resource_class)!r} to '
            f'{quoting.word(normal)!r}, which Placement refuses. Use '
            f'{naming.RULE}',
        )
    elif normal != alias.resource_class:
        yield finding.warning(
            'GPU111',
            f'Nova changes resource_class '
            f'{quoting.word(alias.resource_class)!r} to '
            f'{quoting.word(normal)!r}',
        )


def _check_traits(
    alias: alias_model.Alias,
) -> collections.abc.Iterator[finding.Finding]:
    if not alias.traits or _has_control(alias.traits):
        return
    for text in alias.traits.split(','):
        (normal,) = naming.traits(text) or ('',)
        if not naming.is_trait(normal):
            yield finding.stricter(
                'GPU106',
                f'Nova changes trait {quoting.word(text)!r} to '
                f'{quoting.word(normal)!r}, which Placement refuses. '
                f'Correct it',
            )
        elif normal != text:
            advice = ''
            if text.strip() and text != text.strip():
                (meant,) = naming.traits(text.strip())
                advice = (
                    f'; without the space it would be {quoting.word(meant)!r}'
                )
            yield finding.warning(
                'GPU112',
                f'Nova changes trait {quoting.word(text)!r} to '
                f'{quoting.word(normal)!r}{advice}',
            )


def _is_before_turing(alias: alias_model.Alias) -> bool:
    """Return whether an alias is for NVIDIA hardware without SR-IOV.

    Product IDs of NVIDIA GPUs rise with each generation; the other functions
    of a GPU have lower ones, and no SR-IOV either.
    """
    return (
        (alias.vendor_id or '').lower() == '10de'
        and alias.product_id is not None
        and _ID.fullmatch(alias.product_id) is not None
        and alias.product_id.lower() < _TURING
    )


def check_device_type(
    alias: alias_model.Alias, catalogue: catalogue_model.Catalogue
) -> collections.abc.Iterator[finding.Finding]:
    """Warn that an alias without a device type never matches a PF.

    ``nova/pci/stats.py:PciDeviceStats._filter_pools_for_unrequested_pfs``.
    Models of the catalogue without SR-IOV are no PF, nor are NVIDIA GPUs
    before Turing.
    """
    models = catalogue.by_ids(alias.vendor_id, alias.product_id)
    if alias.device_type is not None or _is_before_turing(alias):
        return
    if models and all(
        model.device_types and 'type-PF' not in model.device_types
        for model in models
    ):
        return
    yield finding.warning(
        'GPU113',
        f'Alias {alias.name!r} has no device_type, so it never matches a '
        f'type-PF device, such as a card with SR-IOV. Set device_type to that '
        f'of the cards',
    )


def same_name(
    alias: alias_model.Alias,
    others: collections.abc.Iterable[alias_model.Alias],
) -> tuple[alias_model.Alias | None, alias_model.Alias | None]:
    """Return other aliases with the name of an alias.

    :returns: One with the same definition and one with another; each None if
        there is none.
    """
    same = different = None
    for other in others:
        if other.name == alias.name:
            if other.meaning == alias.meaning:
                same = same or other
            else:
                different = different or other
    return same, different


def clash(
    alias: alias_model.Alias, other: alias_model.Alias, where: str
) -> finding.Finding:
    """Return the finding that a name has two definitions.

    :param where: File and line of the other one.
    """
    return finding.stricter(
        'GPU107',
        f'Alias {alias.name!r} has another definition in {where}: '
        f'{other.render()}. Choose another name, or change the other '
        f'definition',
    )


def needs_pci_in_placement(alias: alias_model.Alias) -> finding.Finding:
    """Return the finding that an alias without ids needs pci_in_placement.

    nova-compute reads the option for this check only
    (``nova/pci/request.py:_validate_required_ids``).
    """
    return finding.warning(
        'GPU114',
        f'Alias {alias.name!r} has no vendor_id and product_id: nova-api and '
        f'nova-compute do not start with it, unless '
        f'[filter_scheduler]pci_in_placement is True in the configuration of '
        f'each',
    )


def other_class(
    alias: alias_model.Alias,
    classes: collections.abc.Collection[str],
    servers: collections.abc.Sequence[str],
) -> finding.Finding:
    """Return the finding that servers with the alias have other devices.

    :param classes: Resource classes of their devices.
    """
    return finding.warning(
        'GPU115',
        f'Alias {alias.name!r} is already defined in nova-api, and its '
        f'servers ({", ".join(map(repr, servers[:3]))}) have allocations of '
        f'{", ".join(sorted(classes))}, not {alias.placement_class}. Choose '
        f'another name',
    )


def matches_nothing(alias: alias_model.Alias) -> finding.Finding:
    """Return the finding that no device in Placement matches an alias."""
    traits = ''.join(
        f' with trait {trait}' for trait in sorted(alias.placement_traits)
    )
    return finding.warning(
        'GPU116',
        f'Placement has no device of resource class {alias.placement_class}'
        f'{traits}: no compute host reports one, so servers that request '
        f'the alias are not scheduled. Check [pci]device_spec and '
        f'report_in_placement of the compute hosts with these devices',
    )
