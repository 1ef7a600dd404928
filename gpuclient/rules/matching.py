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

"""Rules about which [pci]device_spec matches which [pci]alias."""

import collections.abc
import dataclasses

from gpuclient.model import alias as alias_model
from gpuclient.model import device_spec
from gpuclient.model import naming
from gpuclient.rules import alias as alias_rules
from gpuclient.rules import device_spec as device_spec_rules
from gpuclient.rules import finding


def check(
    aliases: list[alias_rules.Entry], specs: list[device_spec_rules.Entry]
) -> collections.abc.Iterator[finding.Located]:
    """Find aliases that no device spec has devices for."""
    if not specs:
        return
    for one in aliases:
        if any(may_match(one.alias, other.spec) for other in specs):
            continue
        swapped = dataclasses.replace(
            one.alias,
            vendor_id=one.alias.product_id,
            product_id=one.alias.vendor_id,
        )
        hint = ''.join(
            f'; {other.setting.place} has vendor and product the other way '
            f'round'
            for other in specs
            if device_spec.ANY
            not in (other.spec.vendor_id, other.spec.product_id)
            and may_match(swapped, other.spec)
        )
        yield finding.Located(
            finding.error(
                'GPU307',
                f'No device spec gives devices of alias {one.alias.name!r} '
                f'away: there will be none ({one.alias.placement_class})'
                f'{hint}',
            ),
            one.setting.place,
        )


def may_match(alias: alias_model.Alias, spec: device_spec.DeviceSpec) -> bool:
    for wanted, given in (
        (alias.vendor_id, spec.vendor_id),
        (alias.product_id, spec.product_id),
    ):
        if (
            wanted is not None
            and given != device_spec.ANY
            and wanted.lower() != given
        ):
            return False
    requested = spec.tags.get('resource_class')
    if alias.resource_class or requested:
        # Without one, either side makes its class of the ids, and those
        # agree or are not known.
        mine, theirs = alias.placement_class, requested
        if not isinstance(theirs, str) or not theirs:
            if alias.has_ids:
                return mine == naming.resource_class(
                    alias.vendor_id, alias.product_id
                )
            return mine is not None and mine.startswith('CUSTOM_PCI_')
        return mine == naming.resource_class(None, None, theirs)
    return True
