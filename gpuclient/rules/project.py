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

"""What limits of projects do, and what they do not."""

import collections.abc

from gpuclient.model import nova_changes
from gpuclient.model import project as project_model
from gpuclient.model import release as release_model
from gpuclient.rules import finding

#: The most projects that a message names.
_NAMED = 5
_AUDIT = '"openstack gpu project list --over-limit" in a nightly job'


def unread_limits(
    driver: project_model.QuotaDriver,
    limits: collections.abc.Iterable[str],
) -> finding.Finding:
    """Return the finding about limits that Nova's driver does not read.

    ``nova/limit/utils.py:use_unified_limits``
    """
    runs = {
        project_model.QuotaDriver.NONE: 'the no-op quota driver',
    }.get(driver, 'the legacy quota driver')
    return finding.error(
        'GPU802',
        f'Nova runs {runs} ([quota]driver), which does not read limits of '
        f'Keystone: those of {", ".join(sorted(limits))} limit nothing. Only '
        f'access to private flavors controls who may use devices',
    )


def gaps_of_limits(
    driver: project_model.QuotaDriver, release: release_model.Release
) -> collections.abc.Iterator[finding.Finding]:
    """Yield what limits of devices do not do.

    ``nova/compute/api.py:API.resize`` compares the limits without the
    requests of aliases; so do restore and unshelve.
    """
    if driver is project_model.QuotaDriver.UNKNOWN:
        yield finding.warning(
            'GPU803',
            'Which quota driver Nova runs is not known: limits are in effect '
            'with [quota]driver = nova.quota.UnifiedLimitsDriver only. Pass '
            '--quota-driver if you know',
        )
        return
    if driver is not project_model.QuotaDriver.UNIFIED:
        return
    if not release.has(nova_changes.LIMITS_COUNT_ALIASES):
        yield finding.warning(
            'GPU801',
            f'Unified limits of Nova {release.number} do not count devices '
            f'that flavors request by alias: the limit does not stop the '
            f'project. Give access to private flavors to chosen projects '
            f'only, and run {_AUDIT}',
        )
        return
    yield finding.warning(
        'GPU804',
        f'Nova {release.number} compares the limit when a server is created, '
        f'with pci_in_placement in nova-api, but not when a server is '
        f'resized, restored or unshelved: a project can resize past it. '
        f'Give access to private flavors to chosen projects only, and run '
        f'{_AUDIT}',
    )


def without_limit(
    resource_class: str, projects: collections.abc.Collection[str]
) -> finding.Finding:
    """Return the finding about projects that a new default of 0 concerns."""
    named = ', '.join(sorted(projects)[:_NAMED])
    if len(projects) > _NAMED:
        named += f' and {len(projects) - _NAMED} others'
    return finding.warning(
        'GPU805',
        f'Projects use {resource_class} and have no limit of their own: '
        f'{named}. The registered limit of 0 keeps them from creating more '
        f'servers with such devices (before Nova '
        f'{nova_changes.LIMITS_COUNT_ALIASES.since[0]}, only with flavors '
        f'that request them by resources:). Set their limits first',
    )


def over_limit(
    project: str,
    limit: str,
    value: int,
    used: int,
    release: release_model.Release,
) -> finding.Finding:
    """Return the finding about a project that uses more than it may."""
    name = limit.removeprefix(project_model.CLASS)
    what = limit if name == limit else f'class {name}'
    effect = (
        'Servers keep their devices, and Nova refuses new ones'
        if _is_counted(limit, release)
        else f'Nova {release.number} does not enforce it for devices that '
        f'flavors request by alias (GPU801): the project can create more'
    )
    return finding.error(
        'GPU676',
        f'Project {project!r} uses {used} of {what}, and its limit is '
        f'{value}. {effect}. Raise the limit, or delete or resize servers',
    )


def _is_counted(limit: str, release: release_model.Release) -> bool:
    """Return whether Nova counts what flavors request of a resource."""
    return release.has(nova_changes.LIMITS_COUNT_ALIASES) or not (
        project_model.is_of_devices(limit)
    )


def unlimited(
    limits: collections.abc.Iterable[str], release: release_model.Release
) -> finding.Finding:
    """Return the finding about limits of -1 that Nova does not ignore.

    ``nova/limit/placement.py:enforce_num_instances_and_resources``
    """
    return finding.error(
        'GPU812',
        f'The limit of -1 for {", ".join(sorted(limits))} is not unlimited '
        f'in Nova {release.number}, which compares it as a number (with '
        f'oslo.limit before 2.12.0): each server is refused. Set '
        f'{project_model.LARGEST}',
    )


def unset_limits(
    limits: collections.abc.Iterable[str], release: release_model.Release
) -> finding.Finding:
    """Return the finding about resources that Nova limits to 0.

    ``nova/limit/placement.py:enforce_num_instances_and_resources``
    """
    return finding.warning(
        'GPU812',
        f'There is no registered limit for {", ".join(sorted(limits))}, and '
        f'Nova {release.number} limits such a resource to 0: servers that '
        f'request it are refused. Register a limit of it with "openstack '
        f'registered limit create"',
    )


def without_device_limit(
    project: str,
    flavors: collections.abc.Iterable[str],
    release: release_model.Release,
) -> collections.abc.Iterator[finding.Finding]:
    """Yield the finding about a project whose devices have no limit."""
    if release.has(nova_changes.LIMITS_COUNT_ALIASES):
        yield no_device_limit(project, flavors)
    else:
        yield from gaps_of_limits(project_model.QuotaDriver.UNIFIED, release)


def no_device_limit(
    project: str, flavors: collections.abc.Iterable[str]
) -> finding.Finding:
    """Return the finding about a project that may use all devices.

    ``nova/limit/utils.py:should_enforce``
    """
    return finding.warning(
        'GPU675',
        f'No class of devices has a registered limit, and project '
        f'{project!r} may use {", ".join(sorted(flavors))}: Nova limits only '
        f'what is registered, so that the project may use all devices. Set '
        f'its limit with "openstack gpu project set --limit"',
    )


def duplicate_limits(
    limits: collections.abc.Iterable[
        project_model.Limit | project_model.RegisteredLimit
    ],
) -> collections.abc.Iterator[finding.Finding]:
    """Yield the findings about limits that exist twice."""
    for limit in limits:
        owner = (
            f'of project {limit.project_id}'
            if isinstance(limit, project_model.Limit)
            else 'that is registered'
        )
        yield finding.warning(
            'GPU808',
            f'Limit {limit.name} {owner} exists twice in Keystone, which has '
            f'no constraint against it: which one is in effect is not '
            f'defined. Delete {limit.id}, or the other if limits refer to it',
        )


def limits_of_other_scopes(
    limits: collections.abc.Iterable[project_model.Limit],
    scope: project_model.Scope,
) -> collections.abc.Iterator[finding.Finding]:
    """Yield the findings about limits that Nova does not read.

    ``oslo_limit/limit.py:_EnforcerUtils._get_project_limit``
    """
    for limit in limits:
        if not scope.has(limit) and (
            limit.service_id == scope.service_id
            or limit.name.startswith(project_model.CLASS)
        ):
            yield finding.warning(
                'GPU809',
                f'Limit {limit.name} of project {limit.project_id} is for '
                f'service {limit.service_id} in region {limit.region_id}; '
                f'Nova reads those of service {scope.service_id} in region '
                f'{scope.region_id}, and ignores it. Set the limit there, and '
                f'delete {limit.id}',
            )


def deleted(project_id: str) -> finding.Finding:
    """Return the finding about a project that Keystone does not have."""
    return finding.warning(
        'GPU810',
        f'Project {project_id} does not exist in Keystone, but has access to '
        f'flavors, devices or an aggregate. Remove what is left with '
        f'"openstack gpu project unset {project_id} --all"',
    )
