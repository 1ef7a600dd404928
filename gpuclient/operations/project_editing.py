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

"""Set and unset what one project may use."""

import collections.abc
import dataclasses

from openstack import connection

from gpuclient.cloud import keystone
from gpuclient.cloud.nova import aggregates as nova_aggregates
from gpuclient.cloud.nova import flavors as nova_flavors
from gpuclient.cloud import usage
from gpuclient import exceptions
from gpuclient.model import capacity
from gpuclient.model import flavor as flavor_model
from gpuclient.model import project as project_model
from gpuclient.model import release as release_model
from gpuclient.operations import flavor_check
from gpuclient.operations import limit_names
from gpuclient.operations import project_reading
from gpuclient.operations import project_run
from gpuclient.rules import project as project_rules

Kind = project_model.Kind


@dataclasses.dataclass(frozen=True)
class Change:
    """What to set or unset, in the user's terms."""

    flavors: tuple[str, ...] = ()
    #: None where they are unset.
    limits: dict[str, int | None] = dataclasses.field(default_factory=dict)
    quotas: dict[str, int | None] = dataclasses.field(default_factory=dict)
    server_groups: dict[str, str | None] = dataclasses.field(
        default_factory=dict
    )
    aggregates: tuple[str, ...] = ()
    #: Unset everything.
    everything: bool = False

    @property
    def is_empty(self) -> bool:
        return not (
            self.flavors
            or self.limits
            or self.quotas
            or self.server_groups
            or self.aggregates
            or self.everything
        )


@dataclasses.dataclass(frozen=True)
class Options:
    """How to change projects."""

    #: Configuration that defines aliases.
    files: tuple[str, ...] = ()
    region: str | None = None
    driver: project_model.QuotaDriver | None = None
    force: bool = False
    dry_run: bool = False


@dataclasses.dataclass(frozen=True)
class Edited:
    """A project, with what was done and what the user has to know."""

    project: project_model.Project
    result: project_run.RunResult
    notes: tuple[str, ...]


@project_reading.for_administrators('set what projects may use')
def change(
    cloud: connection.Connection,
    name_or_id: str,
    domain: str | None,
    wanted: Change,
    options: Options,
    release: release_model.Release,
    *,
    unset: bool = False,
) -> Edited:
    """Set what a project may use, or unset it.

    :raises gpuclient.exceptions.GPUError: Nothing was written.
    """
    project = _find(cloud, name_or_id, domain, deleted=unset)
    facts = project_reading.read_quota_facts(
        cloud, options.region, options.driver, release
    )
    names = limit_names.LimitNames(
        cloud, options.files, force=options.force or unset
    )
    flavors = project_reading.list_flavors(cloud)
    desired = _desired(cloud, project, wanted, names, flavors, not unset)
    if wanted.everything:
        desired = _everything(
            cloud,
            facts,
            flavors,
            desired,
            exists=project.domain_id is not None,
        )
    run = project_run.ProjectRun(
        cloud,
        facts,
        flavors,
        [desired],
        names.are_devices,
        force=options.force,
    )
    new = project_model.new_limits(desired, run.state)
    for name in new:
        names.check_class(name)
    check_driver(facts, new, desired.quotas, force=options.force)
    check_unlimited(facts, new, release, force=options.force)
    run.check_usage()
    notes = [*facts.notes, *names.notes]
    if not unset:
        notes += limit_notes(facts, desired.limits, release)
        notes += notes_of_new_limits(cloud, run, names)
    if options.dry_run or run.result.errors:
        return Edited(project, run.result, tuple(notes))
    return Edited(project, run.run(), tuple(notes))


def _find(
    cloud: connection.Connection,
    name_or_id: str,
    domain: str | None,
    *,
    deleted: bool,
) -> project_model.Project:
    """Return a project, or the ID of one that was deleted."""
    try:
        return keystone.read_project(cloud, name_or_id, domain)
    except exceptions.NotFound:
        if deleted and project_model.is_id(name_or_id):
            return project_model.Project(name_or_id, name_or_id)
        raise


def _desired(
    cloud: connection.Connection,
    project: project_model.Project,
    wanted: Change,
    names: limit_names.LimitNames,
    flavors: collections.abc.Mapping[str, flavor_model.Flavor],
    added: bool,
) -> project_model.Desired:
    limits: dict[str, int | None] = {}
    for text, value in wanted.limits.items():
        name = names.resolve(text)
        if name in limits:
            raise exceptions.InvalidValue(
                f'--limit {text} and another --limit are both {name}'
            )
        limits[name] = value
    return project_model.Desired(
        project.id,
        project.name,
        access={
            flavor.id: added
            for flavor in find_flavors(cloud, wanted.flavors, flavors)
        },
        limits=limits,
        quotas=wanted.quotas,
        server_groups=wanted.server_groups,
        aggregates={
            str(aggregate.id): added
            for aggregate in find_aggregates(cloud, wanted.aggregates)
        },
    )


def find_flavors(
    cloud: connection.Connection,
    names: collections.abc.Iterable[str],
    flavors: collections.abc.Mapping[str, flavor_model.Flavor],
) -> collections.abc.Iterator[flavor_model.Flavor]:
    """Yield the private flavors with some names or IDs.

    :raises gpuclient.exceptions.GPUError: There is no such flavor, or it is
        public.
    """
    for name in dict.fromkeys(names):
        flavor = nova_flavors.find_flavor(
            cloud.compute, name, flavors.values()
        )
        if flavor.is_public:
            raise exceptions.InvalidValue(
                f'Flavor {flavor.name!r} is public: every project may use '
                f'it, and Nova cannot make it private. Create a private one '
                f'with "openstack gpu flavor create", and delete it'
            )
        yield flavor


def find_aggregates(
    cloud: connection.Connection, names: collections.abc.Collection[str]
) -> tuple[capacity.Aggregate, ...]:
    """Return the aggregates with some names or IDs."""
    if not names:
        return ()
    aggregates = nova_aggregates.list_aggregates(cloud.compute)
    selected = []
    for name in dict.fromkeys(names):
        matching = [
            aggregate
            for aggregate in aggregates
            if name in (aggregate.name, str(aggregate.id))
        ]
        if not matching:
            raise exceptions.NotFound(
                f'No host aggregate has the name or ID {name!r}'
            )
        selected.append(matching[0])
    return tuple(selected)


def _everything(
    cloud: connection.Connection,
    facts: project_reading.QuotaFacts,
    flavors: collections.abc.Mapping[str, flavor_model.Flavor],
    desired: project_model.Desired,
    *,
    exists: bool,
) -> project_model.Desired:
    """Return what takes all away that concerns devices."""
    state = read_devices_state(cloud, facts, flavors, {desired.project_id})
    return everything_removed(
        desired, state, quotas=facts.has_quotas and exists
    )


def everything_removed(
    desired: project_model.Desired,
    state: project_model.CloudState,
    *,
    quotas: bool,
) -> project_model.Desired:
    """Return what takes all away that a project has.

    :param quotas: Reset its quotas, too; Nova does not show those of projects
        that were deleted.
    """
    return dataclasses.replace(
        desired,
        access={
            **dict.fromkeys(
                sorted(state.flavors_of(desired.project_id)), False
            ),
            **desired.access,
        },
        limits={
            **dict.fromkeys(state.names_of_limits(desired.project_id)),
            **desired.limits,
        },
        quotas=dict.fromkeys(project_model.QUOTAS)
        if quotas
        else desired.quotas,
        aggregates={
            **dict.fromkeys(state.aggregates_of(desired.project_id), False),
            **desired.aggregates,
        },
    )


def read_devices_state(
    cloud: connection.Connection,
    facts: project_reading.QuotaFacts,
    flavors: collections.abc.Mapping[str, flavor_model.Flavor],
    project_ids: collections.abc.Collection[str] | None,
    *,
    server_groups: bool = False,
) -> project_model.CloudState:
    """Return what projects have that concerns devices."""
    return project_reading.read_state(
        cloud,
        facts,
        flavors,
        project_ids=project_ids,
        access=device_flavors(cloud, flavors),
        aggregates=True,
        server_groups=server_groups,
    )


def device_flavors(
    cloud: connection.Connection,
    flavors: collections.abc.Mapping[str, flavor_model.Flavor],
) -> list[str]:
    """Return the IDs of the flavors that request devices."""
    classes = flavor_check.device_classes(cloud, flavors.values())
    return sorted(
        key
        for key, flavor in flavors.items()
        if flavor_model.is_for_devices(flavor, classes)
    )


def check_driver(
    facts: project_reading.QuotaFacts,
    limits: collections.abc.Iterable[str],
    quotas: collections.abc.Collection[str],
    *,
    force: bool,
) -> None:
    """Refuse new limits and quotas that Nova's driver does not read.

    :param limits: Names of limits to set; not of those to remove, and not of
        those that are set already.
    :raises gpuclient.exceptions.InvalidValue: It does not.
    """
    if force:
        return
    limits = tuple(limits)
    if limits and not facts.driver.reads_limits:
        raise exceptions.InvalidValue(
            f'{project_rules.unread_limits(facts.driver, limits)}. Use '
            f'--force to set them for later, or --quota-driver unified if '
            f'Nova runs that driver'
        )
    if quotas and facts.driver is project_model.QuotaDriver.UNIFIED:
        raise exceptions.InvalidValue(
            'Nova runs the unified limits driver, which ignores quotas: use '
            '--limit servers=N, --limit class:VCPU=N and --limit '
            'class:MEMORY_MB=N, or --quota-driver legacy if it does not'
        )


def check_unlimited(
    facts: project_reading.QuotaFacts,
    limits: collections.abc.Mapping[str, int],
    release: release_model.Release,
    *,
    force: bool,
) -> None:
    """Refuse new limits of -1 where Nova does not ignore them.

    :raises gpuclient.exceptions.InvalidValue: There is one.
    """
    if force or facts.ignores_unset:
        return
    names = [
        name
        for name, value in limits.items()
        if value == project_model.UNLIMITED
    ]
    if names:
        raise exceptions.InvalidValue(
            f'{project_rules.unlimited(names, release)}, or use --force'
        )


def limit_notes(
    facts: project_reading.QuotaFacts,
    limits: collections.abc.Iterable[str],
    release: release_model.Release,
) -> list[str]:
    """Return what limits do in this release that is not expected."""
    limits = tuple(limits)
    notes = []
    if limits and not facts.driver.reads_limits:
        notes.append(str(project_rules.unread_limits(facts.driver, limits)))
    if facts.driver is project_model.QuotaDriver.UNIFIED and limits:
        unset = set(facts.unset_limits()) - set(limits)
        if unset:
            notes.append(str(project_rules.unset_limits(unset, release)))
    if not any(
        name.startswith(f'{project_model.CLASS}CUSTOM_') for name in limits
    ):
        return notes
    return [
        *notes,
        *map(str, project_rules.gaps_of_limits(facts.driver, release)),
    ]


def notes_of_new_limits(
    cloud: connection.Connection,
    run: project_run.ProjectRun,
    names: limit_names.LimitNames,
) -> list[str]:
    """Return which other projects a new registered limit of 0 concerns."""
    created = {
        done.step.key
        for done in run.result.shared
        if done.step.is_change and done.step.after == 0
    }
    classes = {
        name.removeprefix(project_model.CLASS)
        for name in created
        if name.startswith(project_model.CLASS)
    }
    if not classes:
        return []
    try:
        use = usage.read_usage(cloud).value
    except exceptions.CloudError as exc:
        return [
            f'Whether other projects use {", ".join(sorted(classes))} is not '
            f'known: {exc}'
        ]
    planned = {result.desired.project_id for result in run.result.projects}
    holders: dict[str, set[str]] = {}
    for device in use.devices:
        for consumer in device.consumers or ():
            if (
                device.resource_class in classes
                and consumer.project_id is not None
                and consumer.project_id not in planned
            ):
                holders.setdefault(device.resource_class or '', set()).add(
                    use.projects.get(consumer.project_id)
                    or consumer.project_id
                )
    return [
        str(project_rules.without_limit(name, projects))
        for name, projects in sorted(holders.items())
    ]
