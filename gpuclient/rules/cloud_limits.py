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

"""Rules about unified limits on devices."""

from gpuclient.model import cloud_state
from gpuclient.model import inventory
from gpuclient.model import limits as limits_model
from gpuclient.model import nova_changes
from gpuclient.rules import cloud_check


def _reason(limits: limits_model.UnifiedLimits | None) -> str:
    return (limits and limits.unused) or (
        'Keystone has no registered limit that Nova reads: unified limits '
        'are not in use'
    )


def check(state: cloud_state.CloudState) -> cloud_check.Outcomes:
    """Find classes of devices that are not limited, or not counted."""
    if state.limits is None or not state.limits.are_in_use:
        yield cloud_check.Skipped(_reason(state.limits))
        return
    if not any(
        count
        for flavor in state.flavors or ()
        for count in (flavor.aliases or {}).values()
    ):
        return
    if not state.release.has(nova_changes.LIMITS_COUNT_ALIASES):
        yield cloud_check.warning(
            '',
            'GPU801',
            f'Unified limits of Nova {state.release.number} do not count '
            f'devices that flavors request by alias: a project can use all '
            f'of them, whatever its limit. Give access to these flavors to '
            f'chosen projects only; Nova '
            f'{nova_changes.LIMITS_COUNT_ALIASES.versions} counts them, with '
            f'pci_in_placement',
        )
        return
    for name in _requested_classes(state):
        if state.limits.default_of(name) is None:
            yield _unregistered(name, state.limits)


def _requested_classes(state: cloud_state.CloudState) -> list[str]:
    return sorted(
        {
            name
            for alias in state.requested_aliases
            if (name := state.class_of(alias)) is not None
        }
    )


def _unregistered(
    name: str, limits: limits_model.UnifiedLimits
) -> cloud_check.CloudFinding:
    limit = limits_model.limit_name(name)
    elsewhere = (
        '; one is registered for another service or region, which Nova does '
        'not read'
        if limit in limits.elsewhere
        else ''
    )
    return cloud_check.warning(
        name,
        'GPU675',
        f'Class {name} has no registered limit{elsewhere}: by default, Nova '
        f'does not limit it, so that a project can use all of these devices. '
        f'Register one with "openstack registered limit create --service '
        f'nova --default-limit 0 --region REGION {limit}", then set limits '
        f'of projects with "openstack gpu project set --limit"',
    )


def check_usage(state: cloud_state.CloudState) -> cloud_check.Outcomes:
    """Find projects that use more devices than their limit."""
    if state.limits is None or not state.limits.are_in_use:
        yield cloud_check.Skipped(_reason(state.limits))
        return
    for project, name, units, limit in exceeded(state):
        resized = _resized(state, project, name)
        title = state.project_name(project)
        over = (
            f'Project {title!r} uses {units} of class {name}, and its limit '
            f'is {limit}'
        )
        if not state.release.has(nova_changes.LIMITS_COUNT_ALIASES):
            yield cloud_check.warning(
                title,
                'GPU676',
                f'{over}, which Nova {state.release.number} does not enforce '
                f'for devices of an alias (GPU801): it can create more. Raise '
                f'the limit, or let the project delete servers',
            )
        elif resized:
            yield cloud_check.warning(
                title,
                'GPU677',
                f'{over}: Nova does not count devices when a server is '
                f'resized, as were {cloud_check.listed(resized)}. Raise the '
                f'limit, or resize them to smaller flavors, and give access '
                f'to larger flavors to chosen projects only',
            )
        else:
            yield cloud_check.warning(
                title,
                'GPU676',
                f'{over}: it can create no more servers with such a device. '
                f'Raise the limit, or let the project delete servers',
            )


def exceeded(
    state: cloud_state.CloudState,
) -> list[tuple[str, str, int, int]]:
    """Return project, class, usage and limit where a limit is exceeded."""
    if state.limits is None:
        return []
    return [
        (project, name, units, limit)
        for (project, name), units in sorted(state.usage().items())
        if (limit := state.limits.of(project, name)) is not None
        and 0 <= limit < units
    ]


def _resized(
    state: cloud_state.CloudState, project: str, name: str
) -> list[str]:
    """Return the resized servers of a project with devices of a class."""
    return sorted(
        server.name
        for servers in state.device_servers.values()
        for server in servers
        if server.project_id == project
        and server.uuid in (state.resized or ())
        and name
        in map(state.class_of, inventory.requested_aliases(server.extra_specs))
    )
