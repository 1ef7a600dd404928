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

"""What an upgrade of Placement changes for its options."""

import collections.abc
import itertools

from gpuclient.model import configuration
from gpuclient.model import nova_changes
from gpuclient.model import release as release_model
from gpuclient.rules import upgrade

_CHANGES = {
    ('placement', 'max_allocation_candidates'): (
        nova_changes.CANDIDATES_BOUNDED
    ),
    ('placement', 'allocation_candidates_generation_strategy'): (
        nova_changes.CANDIDATES_BOUNDED
    ),
    ('workarounds', 'optimize_for_wide_provider_trees'): (
        nova_changes.WIDE_TREES
    ),
}


def check(
    options: collections.abc.Iterable[configuration.Option],
    steps: collections.abc.Sequence[release_model.Release],
) -> collections.abc.Iterator[upgrade.UpgradeEffect]:
    """Yield the options that take effect, or lose it.

    :param options: Those of ``placement.conf``.
    """
    for option in options:
        change = _CHANGES.get((option.section, option.name))
        if change is None:
            continue
        name = f'[{option.section}]{option.name}'
        for before, after in itertools.pairwise(steps):
            if after.has(change) and not before.has(change):
                yield upgrade.UpgradeEffect(
                    upgrade.Effect.BEGINS,
                    after,
                    change.id,
                    f'{name} takes effect: Placement of {before.series} does '
                    f'not have it and ignores it. Check that the value is the '
                    f'one that you want',
                    option.setting.place,
                )
            elif before.has(change) and not after.has(change):
                yield upgrade.UpgradeEffect(
                    upgrade.Effect.ENDS,
                    after,
                    change.id,
                    f'{name} loses its effect: Placement of {after.series} '
                    f'does not have it. Upgrade to a later release '
                    f'({change.versions}) at once',
                    option.setting.place,
                )
