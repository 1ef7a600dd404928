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
"""Our reading of [pci]alias, against ``get_alias_from_config`` of Nova."""

import random
import typing

from nova import exception as nova_exception

from gpuclient import exceptions
from gpuclient.model import alias as alias_model
from gpuclient.model import release as release_model
from gpuclient.rules import alias as alias_rules
from gpuclient.rules import finding
from tests.unit.differential import comparing
from tests.unit.differential import making
from tests.unit.differential import nova_side
from tests.unit.differential import quoted


def generate(source: random.Random) -> comparing.Case:
    return {
        'aliases': making.alias_texts(source, source.choice((0, 0.05, 0.3))),
        'in_placement': source.random() < 0.5,
    }


def of_nova(case: comparing.Case) -> typing.Any:
    """Return what Nova keeps of each alias, or its error."""
    try:
        by_name = nova_side.aliases(case['aliases'], case['in_placement'])
    except nova_exception.PciInvalidAlias as exc:
        return exc
    return {
        name: [
            (
                policy,
                spec.get('vendor_id'),
                spec.get('product_id'),
                spec.get('dev_type'),
                spec.get('resource_class'),
                spec.get('traits'),
                spec.get('live_migratable'),
                spec.get('capability_type'),
            )
            for spec in specs
        ]
        for name, (policy, specs) in by_name.items()
    }


def of_ours(case: comparing.Case) -> typing.Any:
    return verdict(case, nova_side.RELEASE)


def verdict(
    case: comparing.Case, release: release_model.Release
) -> typing.Any:
    """Return our verdict for a release."""
    try:
        by_name = alias_model.merge(
            case['aliases'], case['in_placement'], release
        )
    except exceptions.InvalidAlias as exc:
        return exc
    return {
        name: [
            (
                aliases[0].policy,
                alias.vendor_id,
                alias.product_id,
                alias.device_type,
                alias.resource_class,
                alias.traits,
                None
                if alias.live_migratable is None
                else str(alias.live_migratable).lower(),
                alias.capability_type,
            )
            for alias in aliases
        ]
        for name, aliases in by_name.items()
    }


def compare(case: comparing.Case) -> str | None:
    nova_says, ours = of_nova(case), of_ours(case)
    if isinstance(nova_says, Exception) and isinstance(ours, Exception):
        return quoted.difference(nova_says, ours)
    if nova_says != ours:
        return f'verdicts: Nova says {nova_says!r}, we say {ours!r}'
    for text in case['aliases']:
        errors = finding.errors(
            alias_rules.check(alias_model.parse(text, nova_side.RELEASE))
        )
        # No device has it; see compare_matching.py.
        beyond = {error.code for error in errors} - {'GPU122'}
        if not beyond <= finding.STRICTER_THAN_NOVA:
            return f'stricter: {sorted(beyond)} on what Nova takes'
    return None


def accepts(case: comparing.Case) -> bool:
    return not isinstance(of_nova(case), Exception)


COMPARISON = comparing.Comparison('alias', generate, compare, accepts)
