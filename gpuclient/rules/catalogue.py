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

"""Rules that compare an alias with the catalogue of GPU models.

All findings are warnings: Nova accepts any ids, and a card may be newer than
the catalogue. There is none for a name that does not contain a model.
"""

import collections.abc
import re
import typing

from gpuclient.model import alias as alias_model
from gpuclient.model import catalogue as catalogue_model
from gpuclient.rules import finding

#: Names of aliases in Nova's documentation: ``a1``, ``a2``.
_COUNTER = re.compile('a[0-9]', re.IGNORECASE | re.ASCII)
Names: typing.TypeAlias = collections.abc.Callable[[str, str], str | None]

#: Vendors whose PCI devices in aliases are GPUs; those of Intel may be network
#: cards.
_OF_GPUS = ('1002', '10de')
#: NVSwitches, which are passed through together with the GPUs that they link.
_NVSWITCHES = {('10de', '1af1'), ('10de', '22a3')}
#: Words in names of aliases that are not models.
_BRANDS = {
    'accelerator',
    'ada',
    'alias',
    'amd',
    'arc',
    'blackwell',
    'card',
    'center',
    'data',
    'device',
    'flex',
    'generation',
    'gpu',
    'instinct',
    'intel',
    'max',
    'nvidia',
    'oam',
    'passthrough',
    'pci',
    'pcie',
    'pf',
    'pgpu',
    'pro',
    'quadro',
    'radeon',
    'rtx',
    'sxm',
    'sxm2',
    'sxm3',
    'sxm4',
    'sxm5',
    'sxm6',
    'tesla',
    'vf',
}
_VENDOR_WORDS = {
    'amd': '1002',
    'arc': '8086',
    'flex': '8086',
    'instinct': '1002',
    'intel': '8086',
    'nvidia': '10de',
    'quadro': '10de',
    'radeon': '1002',
    'rtx': '10de',
    'tesla': '10de',
}
#: ``A2``, ``T4``, ``L40``: also possible names of racks or zones.
_SHORT = re.compile('[a-z][0-9]{1,2}', re.ASCII)
_MEMORY = re.compile('([0-9]{1,3})g(?:i?b)?', re.ASCII)


def check_alias(
    alias: alias_model.Alias,
    catalogue: catalogue_model.Catalogue,
    names: Names | None = None,
) -> tuple[finding.Finding, ...]:
    """Return the differences between an alias and the GPU model with its ids.

    :param names: Returns the name of a vendor and product in a database of
        PCI ids, or None; ids in the database are not reported as unknown.
    """
    if alias.vendor_id is None or alias.product_id is None:
        return ()
    vendor_id, product_id = alias.vendor_id.lower(), alias.product_id.lower()
    models = catalogue.by_ids(vendor_id, product_id)
    if models:
        return (
            *_other_model(alias, models, catalogue),
            *_other_type(alias, models),
        )
    if product_id in catalogue_model.VENDORS and (
        product_id in _OF_GPUS or catalogue.by_ids(product_id, vendor_id)
    ):
        return (_swapped(alias, catalogue.by_ids(product_id, vendor_id)),)
    if (
        vendor_id not in _OF_GPUS
        or (vendor_id, product_id) in _NVSWITCHES
        # VFs may have other ids than the card.
        or alias.device_type == 'type-VF'
        or any(
            model.audio_product_id == product_id
            for model in catalogue.of_vendor(vendor_id)
        )
        or (names is not None and names(vendor_id, product_id) is not None)
    ):
        return ()
    return (_unknown(alias, catalogue),)


def check_choice(
    model: catalogue_model.Model,
) -> tuple[finding.Finding, ...]:
    """Return a finding if a model has more than one device type."""
    if len(model.device_types) < 2:
        return ()
    why = f' ({model.notes})' if model.notes else ''
    return (
        finding.warning(
            'GPU121',
            f'{model.name} is {" or ".join(model.device_types)}, depending on '
            f'the settings of the card; {model.device_type} is used{why}',
        ),
    )


def _ids(alias: alias_model.Alias) -> str:
    return f'{alias.vendor_id}:{alias.product_id}'


def _join(models: collections.abc.Iterable[catalogue_model.Model]) -> str:
    return ' or '.join(dict.fromkeys(model.name for model in models))


def _unknown(
    alias: alias_model.Alias, catalogue: catalogue_model.Catalogue
) -> finding.Finding:
    named = _named(alias.name, catalogue)
    advice = ''.join(f'; {model.name} is {model.ids}' for model in named[:3])
    return finding.warning(
        'GPU117',
        f'No GPU model in the catalogue has the IDs {_ids(alias)} of alias '
        f'{alias.name!r}. Compare them with lspci -nn{advice}',
    )


def _swapped(
    alias: alias_model.Alias,
    models: tuple[catalogue_model.Model, ...],
) -> finding.Finding:
    owner = f' (the IDs of {_join(models)})' if models else ''
    return finding.warning(
        'GPU118',
        f'vendor_id {alias.vendor_id!r} and product_id {alias.product_id!r} '
        f'of alias {alias.name!r} are swapped{owner}: the alias matches no '
        f'device. Swap them',
    )


def _other_model(
    alias: alias_model.Alias,
    models: tuple[catalogue_model.Model, ...],
    catalogue: catalogue_model.Catalogue,
) -> collections.abc.Iterator[finding.Finding]:
    named = _named(alias.name, catalogue)
    if not named or _COUNTER.fullmatch(alias.name):
        return
    if not any(_may_mean(alias.name, model, named) for model in models):
        right = ', '.join(
            dict.fromkeys(
                f'{model.name} is {model.ids}' for model in named[:3]
            )
        )
        yield finding.warning(
            'GPU119',
            f'The name of alias {alias.name!r} suggests '
            f'{named[0].designation}, but its IDs {_ids(alias)} are those of '
            f'{_join(models)} ({right})',
        )
        return
    memory = _named_memory(alias)
    sizes = {model.memory_mb for model in models}
    if (
        memory is not None
        and memory not in sizes
        and None not in sizes
        and any(model.memory_mb == memory for model in named)
    ):
        yield finding.warning(
            'GPU119',
            f'The name of alias {alias.name!r} suggests {memory // 1024} GB, '
            f'but its IDs {_ids(alias)} are those of {_join(models)}',
        )


def _other_type(
    alias: alias_model.Alias, models: tuple[catalogue_model.Model, ...]
) -> collections.abc.Iterator[finding.Finding]:
    """Check the device type of an alias against that of its model.

    Nova's libvirt driver determines the type of a device
    (``nova/virt/libvirt/host.py:Host._get_pcidev_info``); an alias only
    matches devices of its own type.
    """
    expected = tuple(
        dict.fromkeys(kind for model in models for kind in model.device_types)
    )
    requested = alias.device_type
    if (
        requested is None
        or any(not model.device_types for model in models)
        or (requested == 'type-VF' and 'type-PF' in expected)
    ):
        return
    if requested not in expected:
        yield finding.warning(
            'GPU120',
            f'Alias {alias.name!r} requests {requested} devices, but '
            f'{_join(models)} is {" or ".join(expected)}: such a card never '
            f'matches the alias. {_COMPARE}',
        )
    elif all(model.device_type != requested for model in models):
        yield finding.warning(
            'GPU120',
            f'Alias {alias.name!r} requests {requested} devices, but '
            f'{_join(models)} is usually {models[0].device_type}: such a card '
            f'never matches the alias. It is {requested} '
            f'{_when(models, requested)}. {_COMPARE}',
        )


#: How to find out the device type of a card.
_COMPARE = (
    'Check sriov_totalvfs of the device on the host (0 or no such file: '
    'type-PCI)'
)


def _when(models: tuple[catalogue_model.Model, ...], requested: str) -> str:
    """Return when cards of models have an unusual device type."""
    notes = dict.fromkeys(model.notes for model in models if model.notes)
    if notes:
        return f'in some cases: {"; ".join(notes)}'
    if requested == 'type-PF':
        return 'where its firmware exposes SR-IOV'
    return 'where its firmware does not expose SR-IOV'


def _words(name: str) -> tuple[str, ...]:
    """Return the words of a name, with brands as separate words."""
    alias_words = []
    for word in catalogue_model.name_words(name):
        for brand in ('nvidia', 'tesla', 'rtx', 'gpu'):
            model = word.removeprefix(brand)
            if model != word and _is_distinctive(model):
                alias_words.append(brand)
                word = model
        alias_words.append(word)
    return tuple(alias_words)


def _is_distinctive(word: str) -> bool:
    return any(character.isdigit() for character in word)


def _named(
    name: str, catalogue: catalogue_model.Catalogue
) -> tuple[catalogue_model.Model, ...]:
    """Return the models whose designation is in the name of an alias.

    If several designations match, only the longest ones count.
    """
    alias_words = _words(name)
    vendors = {
        _VENDOR_WORDS[word] for word in alias_words if word in _VENDOR_WORDS
    }
    named: list[catalogue_model.Model] = []
    longest = 0
    for model in catalogue.models:
        designation = catalogue_model.name_words(model.designation)
        length = len(designation)
        if (
            (vendors and model.vendor_id not in vendors)
            or length < longest
            or not _contains(alias_words, designation)
            or (
                not vendors
                and length == 1
                and _SHORT.fullmatch(designation[0])
                and not _only_about(alias_words, designation[0])
            )
        ):
            continue
        if length > longest:
            named.clear()
            longest = length
        named.append(model)
    return tuple(named)


def _contains(
    alias_words: tuple[str, ...], designation: tuple[str, ...]
) -> bool:
    """Whether a name contains a designation, as one word or several."""
    length = len(designation)
    return ''.join(designation) in alias_words or any(
        alias_words[start : start + length] == designation
        for start in range(len(alias_words) - length + 1)
    )


def _only_about(alias_words: tuple[str, ...], model: str) -> bool:
    """Whether the other words of a name are all about GPUs."""
    return all(
        word == model or word in _BRANDS or _MEMORY.fullmatch(word)
        for word in alias_words
    )


def _may_mean(
    name: str,
    model: catalogue_model.Model,
    named: tuple[catalogue_model.Model, ...],
) -> bool:
    """Whether a name that contains some models may mean another one.

    :param named: The models whose designation the name contains.
    """
    alias_words = _words(name)
    designation = catalogue_model.name_words(model.designation)
    longest = len(catalogue_model.name_words(named[0].designation))
    if _contains(alias_words, designation) and len(designation) >= longest:
        return True
    # "h100" alone may be an H100 NVL.
    return longest == 1 and any(
        word in alias_words for word in designation if _is_distinctive(word)
    )


def _named_memory(alias: alias_model.Alias) -> int | None:
    """Return the memory in MiB that the name of an alias contains."""
    # The name of a VF may contain a profile: a100-4g-20gb.
    if alias.device_type == 'type-VF':
        return None
    sizes = [
        int(match[1])
        for word in catalogue_model.name_words(alias.name)
        if (match := _MEMORY.fullmatch(word)) is not None
    ]
    return sizes[0] * 1024 if len(sizes) == 1 else None
