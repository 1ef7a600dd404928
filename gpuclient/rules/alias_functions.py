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

"""Rules about aliases of other functions of GPUs: audio, USB."""

import collections.abc
import re

from gpuclient.model import catalogue as catalogue_model
from gpuclient.model import device_sets
from gpuclient.rules import alias as alias_rules
from gpuclient.rules import catalogue as catalogue_rules
from gpuclient.rules import device_spec as device_spec_rules
from gpuclient.rules import finding

#: In names of such functions in databases of PCI ids.
_AUDIO = re.compile(r'\bAudio\b', re.IGNORECASE)
_USB = re.compile(r'\bUSB\b|\bUCSI\b', re.IGNORECASE)


def check(
    aliases: collections.abc.Iterable[alias_rules.AliasEntry],
    specs: collections.abc.Sequence[device_spec_rules.SpecEntry] | None,
    catalogue: catalogue_model.Catalogue,
    names: catalogue_rules.Names,
) -> collections.abc.Iterator[finding.Located]:
    """Find aliases that request a GPU or another function of its card.

    Values of one name are alternatives
    (``nova/pci/request.py:_translate_alias_to_requests``,
    ``nova/pci/utils.py:pci_device_prop_match``).

    :param specs: None if they are not known.
    """
    by_name: dict[tuple[int, str], list[alias_rules.AliasEntry]] = {}
    for entry in aliases:
        if entry.alias.has_ids:
            key = (id(entry.service), entry.alias.name)
            by_name.setdefault(key, []).append(entry)
    for several in by_name.values():
        if len(several) < 2:
            continue
        kinds = [_function(entry, catalogue, names) for entry in several]
        for entry, kind in zip(several, kinds, strict=True):
            gpus = [
                other
                for other, other_kind in zip(several, kinds, strict=True)
                if not other_kind and _vendor(other) == _vendor(entry)
            ]
            if kind and gpus and _is_available(entry, specs):
                yield finding.Located(
                    _warning(entry, kind, gpus[0]), entry.setting.place
                )


def _warning(
    entry: alias_rules.AliasEntry, kind: str, gpu: alias_rules.AliasEntry
) -> finding.Finding:
    return finding.warning(
        'GPU126',
        f'Alias {entry.alias.name!r} requests {_ids(gpu)} or {_ids(entry)}, '
        f'which is the {kind} function of a GPU: a server can get the {kind} '
        f'function without a GPU. Remove the line with {_ids(entry)}; the '
        f'{kind} function needs no alias',
    )


def _vendor(entry: alias_rules.AliasEntry) -> str:
    return (entry.alias.vendor_id or '').lower()


def _ids(entry: alias_rules.AliasEntry) -> str:
    return f'{entry.alias.vendor_id}:{entry.alias.product_id}'


def _function(
    entry: alias_rules.AliasEntry,
    catalogue: catalogue_model.Catalogue,
    names: catalogue_rules.Names,
) -> str:
    """Return which function of a GPU an alias requests.

    :returns: Empty for the GPU itself, and for other devices.
    """
    vendor_id = _vendor(entry)
    product_id = (entry.alias.product_id or '').lower()
    models = catalogue.of_vendor(vendor_id)
    if any(model.audio_product_id == product_id for model in models):
        return 'audio'
    if not models or catalogue.by_ids(vendor_id, product_id):
        return ''
    name = names(vendor_id, product_id) or ''
    if _AUDIO.search(name):
        return 'audio'
    return 'USB' if _USB.search(name) else ''


def _is_available(
    entry: alias_rules.AliasEntry,
    specs: collections.abc.Sequence[device_spec_rules.SpecEntry] | None,
) -> bool:
    """Return whether a device_spec can match devices of an alias."""
    if not specs:
        # Those of the computes are in other files.
        return True
    by_compute: dict[int, list[device_spec_rules.SpecEntry]] = {}
    for spec in specs:
        by_compute.setdefault(id(spec.service), []).append(spec)
    return any(
        device_sets.serves(
            [spec.spec for spec in own], entry.alias, in_placement=False
        )
        is not None
        for own in by_compute.values()
    )
