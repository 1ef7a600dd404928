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

"""What an upgrade of Nova changes for a configuration.

An upgrade goes from release to release; :func:`path` returns those between,
as OpenStack supports it. For each step, :func:`check` compares the findings
about the configuration under both releases, and finds the settings for which a
change of Nova matters (:mod:`gpuclient.model.nova_changes`).
"""

import collections.abc
import dataclasses
import enum
import itertools
import typing

from gpuclient import exceptions
from gpuclient.model import boolean
from gpuclient.model import configuration
from gpuclient.model import deployment
from gpuclient.model import device_spec
from gpuclient.model import nova_changes
from gpuclient.model import nova_options
from gpuclient.model import release as release_model
from gpuclient.rules import finding
from gpuclient.rules import options as options_rules


#: ``[quota]driver``
UNIFIED_LIMITS = 'nova.quota.UnifiedLimitsDriver'
#: The default of ``[quota]unified_limits_resource_strategy``.
_REQUIRE = 'require'


class Effect(enum.StrEnum):
    """What happens to a setting with the upgrade."""

    #: A service does not start, or servers cannot be created any more.
    BREAKS = 'breaks'
    #: The setting loses its effect.
    ENDS = 'ends'
    #: The setting, or a warning about it, applies for the first time.
    BEGINS = 'begins'
    #: Nova refuses the setting before the upgrade, and accepts it after.
    POSSIBLE = 'possible'
    #: Whether it matters is not in the configuration.
    CHECK = 'check'


@dataclasses.dataclass(frozen=True)
class UpgradeEffect:
    """An effect of a step of an upgrade."""

    effect: Effect
    #: The first release in which it happens.
    release: release_model.Release
    #: The code of a finding, or the id of a change of Nova.
    code: str
    message: str
    place: configuration.Place | None = None


@dataclasses.dataclass(frozen=True)
class JudgedRelease:
    """The findings about a configuration under a release."""

    release: release_model.Release
    findings: tuple[finding.Located, ...]


def path(
    start: release_model.Release, end: release_model.Release
) -> tuple[release_model.Release, ...]:
    """Return the releases of an upgrade, with the first and the last one.

    A release whose name ends with ``.1`` can be upgraded to the next such
    release (SLURP, since 2023.1), any other release to the next one
    (``governance: resolutions/20220210-release-cadence-adjustment.rst``).

    :raises gpuclient.exceptions.InvalidValue: It is no upgrade.
    """
    if end.version <= start.version:
        remedy = (
            'there is nothing to upgrade'
            if end.version == start.version
            else 'pass a later release with --to, or an earlier one with '
            '--from'
        )
        raise exceptions.InvalidValue(
            f'{end} is not later than {start}: {remedy}'
        )
    steps = [start]
    while steps[-1].number < end.number:
        steps.append(_next(steps[-1], end))
    if len(steps) == 1:
        # Within a series.
        return start, end
    return *steps[:-1], end


def _next(
    start: release_model.Release, end: release_model.Release
) -> release_model.Release:
    later = [
        release
        for release in release_model.releases()
        if start.number < release.number <= end.number
    ]
    if _is_slurp(start):
        return next(filter(_is_slurp, later), later[0])
    return later[0]


def _is_slurp(release: release_model.Release) -> bool:
    return release.series.endswith('.1')


def check(
    tree: deployment.Deployment,
    steps: collections.abc.Sequence[JudgedRelease],
    *,
    knows_services: bool = False,
) -> tuple[UpgradeEffect, ...]:
    """Return the effects of an upgrade, the first step first.

    :param steps: Two releases or more, from the first to the last one.
    :param knows_services: Whether the services of the cloud are examined, too.
    """
    effects: list[UpgradeEffect] = []
    for before, after in itertools.pairwise(steps):
        effects += compare(before, after)
        effects += [
            effect
            for effect in _changed(tree, before.release, after.release)
            if not knows_services or effect.code != nova_changes.OWNER_NOVA.id
        ]
        effects += _new_options(tree, before.release, after.release)
    return tuple(dict.fromkeys(effects))


_Key = tuple[str, configuration.Place]
#: Findings about values that Nova refuses.
_REFUSED = frozenset({'GPU301', 'GPU302'})
#: Findings about several values, which all have to be valid.
_TOGETHER = frozenset(
    {
        *('GPU122', 'GPU124', 'GPU306', 'GPU307', 'GPU308', 'GPU309'),
        *('GPU310', 'GPU311', 'GPU327', 'GPU902'),
    }
)


def _by_place(
    findings: collections.abc.Iterable[finding.Located],
) -> dict[_Key, list[finding.Finding]]:
    by_place: dict[_Key, list[finding.Finding]] = {}
    for located in findings:
        key = located.finding.code, located.place
        by_place.setdefault(key, []).append(located.finding)
    return by_place


def compare(
    before: JudgedRelease, after: JudgedRelease
) -> collections.abc.Iterator[UpgradeEffect]:
    """Yield the differences between the findings under two releases."""
    old, new = _by_place(before.findings), _by_place(after.findings)
    refused = _error_places(before.findings)
    broken = _error_places(after.findings)
    unseen_before = _hides(before.findings, after.findings)
    unseen_after = _hides(after.findings, before.findings)
    for (code, place), findings in new.items():
        earlier = old.get((code, place), [])
        for problem in findings:
            is_error = problem.severity is finding.Severity.ERROR
            if _is_known(problem, earlier):
                continue
            if not is_error and (
                place in refused or (unseen_before and code in _TOGETHER)
            ):
                # The setting was not examined any further.
                continue
            # Where it was refused already, nothing that works stops working,
            # unless a service does.
            breaks = is_error and (
                place not in refused or bool(problem.service_message)
            )
            yield UpgradeEffect(
                Effect.BREAKS if breaks else Effect.BEGINS,
                after.release,
                code,
                problem.message,
                place,
            )
    for (code, place), findings in old.items():
        for problem in findings:
            if (
                problem.severity is finding.Severity.ERROR
                and place not in broken
                and not (unseen_after and code in _TOGETHER)
            ):
                yield UpgradeEffect(
                    Effect.POSSIBLE,
                    after.release,
                    code,
                    f'Nova {after.release.number} accepts it. Nova '
                    f'{before.release.number}: {problem.message}',
                    place,
                )


def _hides(
    findings: collections.abc.Iterable[finding.Located],
    others: collections.abc.Iterable[finding.Located],
) -> bool:
    """Return whether a release refuses values that another one accepts.

    What depends on these values is not examined under the first release.
    """
    return bool(_refusals(findings) - _refusals(others))


def _refusals(
    findings: collections.abc.Iterable[finding.Located],
) -> set[configuration.Place]:
    return {
        located.place
        for located in findings
        if located.finding.code in _REFUSED
    }


def _error_places(
    findings: collections.abc.Iterable[finding.Located],
) -> set[configuration.Place]:
    return {
        located.place
        for located in findings
        if located.finding.severity is finding.Severity.ERROR
    }


def _is_known(
    problem: finding.Finding, earlier: list[finding.Finding]
) -> bool:
    """Return whether a problem is there before the upgrade, too.

    An error remains one, unless a service that started does not any more.
    """
    return any(
        known.severity is problem.severity
        and (bool(known.service_message) or not problem.service_message)
        for known in earlier
    )


_Settings = collections.abc.Iterator[configuration.Setting]


def _migratable_or_unmanaged(tree: deployment.Deployment) -> _Settings:
    """Yield the device specs that differ from the default.

    That of managed is true, and that of live_migratable neither true nor false
    (``nova/pci/stats.py:_filter_pools_for_live_migratable_devices``).
    """
    return _with_tags(
        tree,
        lambda tags: (
            'live_migratable' in tags
            or not boolean.is_true(tags.get('managed', 'true'))
        ),
    )


def _with_tags(
    tree: deployment.Deployment,
    matches: collections.abc.Callable[
        [collections.abc.Mapping[str, typing.Any]], bool
    ],
) -> _Settings:
    """Yield the settings of which a device spec has certain tags."""
    for process in tree.of_kind(configuration.COMPUTE):
        for setting in process.device_specs:
            if any(matches(spec.tags) for spec in _specs(process, setting)):
                yield setting


def _specs(
    process: deployment.Process, setting: configuration.Setting
) -> tuple[device_spec.DeviceSpec, ...]:
    text = options_rules.resolve(process, 'pci', setting)
    try:
        return device_spec.parse(text) if text is not None else ()
    except exceptions.InvalidDeviceSpec:
        return ()


def _unified_limits(tree: deployment.Deployment) -> _Settings:
    """Yield the driver of unified limits, where aliases are scheduled by
    Placement.
    """
    for process in tree.of_kind(configuration.API):
        driver = process.last('quota', 'driver')
        if (
            driver is not None
            and driver.text.strip() == UNIFIED_LIMITS
            and process.aliases
            and process.pci_in_placement
        ):
            yield driver


def _tracking(tree: deployment.Deployment) -> _Settings:
    for process in tree.processes:
        setting = process.last('filter_scheduler', 'pci_in_placement')
        if setting is not None and process.pci_in_placement:
            yield setting


def _reporting(tree: deployment.Deployment) -> _Settings:
    """Yield the first setting of a compute that reports its devices."""
    for process in tree.of_kind(configuration.COMPUTE):
        setting = process.last('pci', 'report_in_placement')
        if setting is not None and process.report_in_placement:
            yield setting
            return


@dataclasses.dataclass(frozen=True)
class UseOfLimits:
    """What nova-api is configured to do with limits on devices."""

    #: Whether it has the driver of unified limits; None where it is not set.
    is_unified: bool | None
    #: ``[filter_scheduler]pci_in_placement``; None where it is not set.
    is_tracked: bool | None
    #: ``[quota]unified_limits_resource_strategy``
    strategy: str
    #: ``[quota]unified_limits_resource_list``
    resources: frozenset[str]

    @classmethod
    def of(cls, tree: deployment.Deployment) -> 'UseOfLimits':
        """Return what the processes of nova-api have."""
        driver = _last_text(tree, 'driver')
        tracked = {
            process.pci_in_placement
            for process in tree.of_kind(configuration.API)
        } - {None}
        resources = _last_text(tree, 'unified_limits_resource_list')
        return cls(
            None if driver is None else driver == UNIFIED_LIMITS,
            True in tracked if tracked else None,
            _last_text(tree, 'unified_limits_resource_strategy') or _REQUIRE,
            frozenset(
                name.strip()
                for name in (resources or 'servers').strip('[]').split(',')
            ),
        )

    @property
    def is_on(self) -> bool:
        """Whether limits on devices of aliases are enforced."""
        return bool(self.is_unified and self.is_tracked)

    @property
    def is_off(self) -> bool:
        """Whether they are not, for certain."""
        return self.is_unified is False or self.is_tracked is False

    def refuses_without_limit(self, resource_name: str) -> bool:
        """Return whether a resource without a registered limit has none.

        ``nova/limit/utils.py:should_enforce``
        """
        return (resource_name in self.resources) == (self.strategy == _REQUIRE)


def _last_text(tree: deployment.Deployment, name: str) -> str | None:
    """Return the value of an option of ``[quota]`` of nova-api."""
    for process in tree.of_kind(configuration.API):
        setting = process.last('quota', name)
        if setting is not None and setting.is_known:
            return setting.text.strip()
    return None


@dataclasses.dataclass(frozen=True)
class _Concern:
    """Settings for which a change of Nova matters."""

    change: nova_changes.NovaChange
    settings: collections.abc.Callable[
        [deployment.Deployment],
        collections.abc.Iterable[configuration.Setting],
    ]
    #: What to do.
    advice: str
    effect: Effect = Effect.BEGINS


_CONCERNS = (
    _Concern(
        nova_changes.PCI_IN_PLACEMENT,
        _tracking,
        'Upgrade and restart nova-compute on every host first, and compare '
        'with "openstack gpu placement list"',
    ),
    _Concern(
        nova_changes.SPEC_MANAGED,
        _migratable_or_unmanaged,
        'Check that the value is the one that you want: it had no effect '
        'before',
    ),
    _Concern(
        nova_changes.ONE_TIME_USE,
        lambda tree: _with_tags(
            tree, lambda tags: boolean.is_true(tags.get('one_time_use'))
        ),
        'Plan who returns devices: each is reserved once a server has used it',
    ),
    _Concern(
        nova_changes.LIMITS_COUNT_ALIASES,
        _unified_limits,
        'Compare the limits of each resource class (class:CUSTOM_...) with '
        'what projects use before the upgrade: projects above their limit '
        'cannot create servers',
    ),
    _Concern(
        nova_changes.OWNER_NOVA,
        _reporting,
        'Before the last nova-compute is upgraded, bring up or delete compute '
        'services that are forced down: their hosts lack the trait, and get '
        'no servers',
        Effect.CHECK,
    ),
)


def _changed(
    tree: deployment.Deployment,
    before: release_model.Release,
    after: release_model.Release,
) -> collections.abc.Iterator[UpgradeEffect]:
    """Yield the changes between two releases that concern a configuration."""
    for concern in _CONCERNS:
        if not after.has(concern.change) or before.has(concern.change):
            continue
        for setting in concern.settings(tree):
            yield UpgradeEffect(
                concern.effect,
                after,
                concern.change.id,
                f'{concern.change.behavior} {concern.advice}',
                setting.place,
            )


def _new_options(
    tree: deployment.Deployment,
    before: release_model.Release,
    after: release_model.Release,
) -> collections.abc.Iterator[UpgradeEffect]:
    """Yield options that a release reads for the first time."""
    for process in tree.processes:
        for option in process.options:
            first = nova_options.ADDED.get((option.section, option.name), 0)
            if (option.section, option.name) in nova_options.PCI_IN_PLACEMENT:
                # A change of its own.
                continue
            if before.number < first <= after.number:
                yield UpgradeEffect(
                    Effect.BEGINS,
                    after,
                    'GPU312',
                    f'[{option.section}]{option.name} takes effect: Nova '
                    f'{before.number} does not have it and ignores it. Check '
                    f'that the value is the one that you want',
                    option.setting.place,
                )
