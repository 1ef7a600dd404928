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

"""What an upgrade of Nova changes for the flavors of a cloud."""

import collections.abc
import dataclasses
import itertools

from gpuclient.model import boot_validation
from gpuclient.model import configuration
from gpuclient.model import extra_spec_validation
from gpuclient.model import flavor as flavor_model
from gpuclient.model import release as release_model
from gpuclient.rules import finding
from gpuclient.rules import flavor as flavor_rules
from gpuclient.rules import upgrade

_Effects = collections.abc.Iterator[upgrade.UpgradeEffect]
#: An extra spec that a release ignores; :func:`_begin` tells when it is read.
_IGNORED = 'GPU709'


def check(
    flavors: collections.abc.Iterable[flavor_model.Flavor],
    device_classes: collections.abc.Container[str] | None,
    steps: collections.abc.Sequence[release_model.Release],
) -> _Effects:
    """Yield the effects on flavors that request devices.

    :param device_classes: The resource classes of devices in Placement; None
        if unknown.
    """
    for flavor in flavors:
        if not flavor_model.is_for_devices(flavor, device_classes):
            continue
        for before, after in itertools.pairwise(steps):
            yield from _named(
                flavor,
                itertools.chain(
                    upgrade.compare(
                        _judge(flavor, device_classes, before),
                        _judge(flavor, device_classes, after),
                    ),
                    _begin(flavor, before, after),
                    _validated(flavor, before, after),
                ),
            )


def _named(flavor: flavor_model.Flavor, effects: _Effects) -> _Effects:
    for effect in effects:
        yield dataclasses.replace(
            effect,
            message=f'Flavor {flavor.name!r}: {effect.message}',
            place=None,
        )


def _judge(
    flavor: flavor_model.Flavor,
    device_classes: collections.abc.Container[str] | None,
    release: release_model.Release,
) -> upgrade.JudgedRelease:
    return upgrade.JudgedRelease(
        release,
        tuple(
            finding.Located(problem, configuration.Place(flavor.id))
            for problem in flavor_rules.check(flavor, device_classes, release)
            if problem.code != _IGNORED
        ),
    )


def _begin(
    flavor: flavor_model.Flavor,
    before: release_model.Release,
    after: release_model.Release,
) -> _Effects:
    """Yield extra specs that had no effect so far."""
    specs = flavor.extra_specs or {}
    still = boot_validation.ignored_specs(specs, after)
    for key, change in boot_validation.ignored_specs(specs, before).items():
        if key not in still:
            yield upgrade.UpgradeEffect(
                upgrade.Effect.BEGINS,
                after,
                change.id,
                f'{key} = {specs[key]!r} takes effect: Nova {before.number} '
                f'ignores it. Check that the value is the one that you want',
            )


def _validated(
    flavor: flavor_model.Flavor,
    before: release_model.Release,
    after: release_model.Release,
) -> _Effects:
    """Yield extra specs that only one release accepts when they are set."""
    specs = flavor.extra_specs or {}
    old = extra_spec_validation.refused(specs, before)
    new = extra_spec_validation.refused(specs, after)
    for key in sorted(new - old):
        yield upgrade.UpgradeEffect(
            upgrade.Effect.BEGINS,
            after,
            extra_spec_validation.change_of(key).id,
            f'Nova {after.number} refuses {key} from compute microversion '
            f'2.86 on (HTTP 400): the flavor keeps it, but cannot be created '
            f'with it again. Nova ignores it: unset it',
        )
    ignored = boot_validation.ignored_specs(specs, before)
    for key in sorted(old - new - ignored.keys()):
        yield upgrade.UpgradeEffect(
            upgrade.Effect.POSSIBLE,
            after,
            extra_spec_validation.change_of(key).id,
            f'Nova {after.number} accepts {key} with compute microversion '
            f'2.86; Nova {before.number} refuses it there',
        )
