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

"""Run a configuration with both releases of an upgrade, and compare.

Findings predict what a later release does; here Nova itself decides.
"""

import collections.abc
import dataclasses

from gpuclient.config_rehearsal import plan as planning
from gpuclient.config_rehearsal import report as reporting
from gpuclient.config_rehearsal import run as running
from gpuclient.documents import tree
from gpuclient.model import catalogue
from gpuclient.model import partial_result
from gpuclient.model import release as release_model
from gpuclient.operations import config_check
from gpuclient.rules import upgrade

#: The code of an effect that a rehearsal showed.
CODE = 'rehearsal'


@dataclasses.dataclass(frozen=True)
class Rehearsed:
    """The results of a rehearsal with a release."""

    release: release_model.Release
    rows: tuple[reporting.Row, ...]


def rehearse(
    configuration_tree: tree.ConfigurationTree,
    models: catalogue.Catalogue,
    releases: tuple[release_model.Release, release_model.Release],
    say: collections.abc.Callable[[str], None],
) -> partial_result.PartialResult[tuple[upgrade.UpgradeEffect, ...]]:
    """Return the services and servers that fail with one release only.

    :param releases: The release before the upgrade, and the one after it.
    :param say: Called with each line of progress.
    :raises gpuclient.exceptions.GPUError: A cloud did not start.
    """
    plan = planning.make(configuration_tree.deployment, models=models)
    results: list[Rehearsed] = []
    failures: list[partial_result.Failure] = []
    for release in releases:
        say(f'rehearsing with {release}')
        report = reporting.Report(
            plan, config_check.check(configuration_tree, models, release)
        )
        with running.start(plan, say, release=release) as cloud:
            result = running.run(cloud, plan, report, say)
        results.append(Rehearsed(release, tuple(result.value)))
        failures += result.failures
    return partial_result.PartialResult(compare(*results), tuple(failures))


def compare(
    before: Rehearsed, after: Rehearsed
) -> tuple[upgrade.UpgradeEffect, ...]:
    """Return the services, devices and servers that fail in one rehearsal."""
    return (
        *_only(after, before, upgrade.Effect.BREAKS, after.release),
        *_only(before, after, upgrade.Effect.POSSIBLE, after.release),
    )


def _only(
    failing: Rehearsed,
    other: Rehearsed,
    effect: upgrade.Effect,
    release: release_model.Release,
) -> collections.abc.Iterator[upgrade.UpgradeEffect]:
    """Yield what fails in one rehearsal, and not in another.

    What is not reached in the other, such as servers if nova-api did not
    start, is not compared.
    """
    good: dict[tuple[str, str | None, str], str] = {}
    for row in other.rows:
        if not row.bad and row.state != reporting.SKIPPED:
            good[row.kind, row.host, row.name] = row.state
            if row.kind == reporting.ALIAS:
                # One that is refused has no number of devices in its name.
                alias = row.name.partition(':')[0]
                good.setdefault((row.kind, row.host, alias), row.state)
    down = {
        row.host
        for row in failing.rows
        if row.bad and row.kind == reporting.SERVICE and row.host
    }
    for row in failing.rows:
        state = good.get((row.kind, row.host, row.name))
        if not row.bad or state is None:
            continue
        if row.kind == reporting.DEVICE and row.host in down:
            # This follows from nova-compute, which is reported.
            continue
        subject = f'{row.kind} {row.name}'
        if row.host:
            subject += f' on {row.host}'
        yield upgrade.UpgradeEffect(
            effect,
            release,
            CODE,
            f'Nova {failing.release.number}: {subject} '
            f'{_verb(row.kind, row.state)}: {row.detail.rstrip(".")}. '
            f'Nova {other.release.number}: it {_verb(row.kind, state)}',
            row.place,
        )


#: What a state says about a service, a device or an alias.
_VERBS = {
    reporting.STARTED: 'starts',
    reporting.ENDED: 'ends after its start',
    reporting.REPORTED: 'is reported to Placement',
    reporting.MISSING: 'is not reported to Placement',
    reporting.UNTRACKED: 'is tracked without Placement',
    reporting.BOOTS: 'boots',
    reporting.SHORT: 'does not boot for each free device',
    reporting.FAILS: 'does not boot',
    reporting.UNREADABLE: 'cannot be read',
}


def _verb(kind: str, state: str) -> str:
    if kind == reporting.SERVICE and state == reporting.REFUSED:
        return 'does not start'
    return _VERBS.get(state, f'is {state}')
