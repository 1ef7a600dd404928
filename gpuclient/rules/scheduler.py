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

"""Rules about the filters of nova-scheduler.

``nova/scheduler/host_manager.py:HostManager._choose_host_filters`` looks up
each name of ``enabled_filters`` when nova-scheduler starts.
"""

import collections.abc
import difflib
import re

from gpuclient.model import configuration
from gpuclient.model import deployment
from gpuclient.model import release as release_model
from gpuclient.model import scheduler_filters
from gpuclient.rules import alias as alias_rules
from gpuclient.rules import finding
from gpuclient.rules import options as options_rules

_Findings = collections.abc.Iterator[finding.Located]
_Services = collections.abc.Sequence[deployment.Process]

_SECTION = 'filter_scheduler'
#: Tools whose files "openstack gpu config set" edits; empty: plain files of
#: Nova, and the custom configuration of Kolla.
_EDITED = frozenset({'', 'RHOSO'})
#: What examples write for the other filters of the list.
_OTHER_FILTERS = re.compile(r'\.\.\.|…|<.*>')


def check(
    services: _Services,
    aliases: list[alias_rules.AliasEntry],
    release: release_model.Release | None = None,
) -> _Findings:
    """Check that nova-scheduler starts, and filters hosts by devices.

    :param release: The release of Nova, where it is known.
    """
    schedulers = [service for service in services if is_scheduler(service)]
    tracked = any(
        service.pci_in_placement
        or service.is_open(_SECTION, 'pci_in_placement')
        for service in services
        if service.is_control_plane
    )
    pinned = _settings_of_pinning(services)
    for service in schedulers:
        yield from _check_paths(service)
        setting = service.enabled_filters
        if setting is None or setting.depends:
            continue
        filters = _filters(service, setting)
        if filters is None:
            continue
        yield from _check_names(service, setting, filters, release)
        yield from _check_list(
            service, setting, filters, aliases, pinned, tracked
        )
    if not tracked:
        yield from _check_unset(schedulers, aliases)


def _settings_of_pinning(
    services: _Services,
) -> list[configuration.Setting]:
    return [
        setting
        for service in services
        if service.is_read_by(configuration.COMPUTE)
        for setting in (
            *service.values('compute', 'cpu_dedicated_set'),
            *service.values('DEFAULT', 'reserved_huge_pages'),
        )
    ]


def _filters(
    service: deployment.Process, setting: configuration.Setting
) -> list[str] | None:
    """Return the filters of a setting; None if unknown."""
    text = options_rules.resolve(service, _SECTION, setting)
    return None if text is None else scheduler_filters.enabled(text)


def _check_paths(service: deployment.Process) -> _Findings:
    """Check that the paths of Nova's own filters exist.

    ``nova/loadables.py:BaseLoader.get_matching_classes`` imports each.
    """
    for path in service.values(_SECTION, 'available_filters'):
        if not path.depends and scheduler_filters.missing_path(path.text):
            yield finding.Located(
                finding.error(
                    'GPU326',
                    f'[filter_scheduler]available_filters has {path.text!r}, '
                    f'which does not exist in Nova: nova-scheduler does not '
                    f"start. Remove it; Nova's own filters are "
                    f'{scheduler_filters.ALL_OF_NOVA!r}',
                ),
                path.place,
            )


def _check_names(
    service: deployment.Process,
    setting: configuration.Setting,
    filters: list[str],
    release: release_model.Release | None,
) -> _Findings:
    """Check that the filters exist.

    A missing one raises ``SchedulerHostFilterNotFound``. Filters that only the
    release has, or the last Nova of a deployment tool, are no error today.
    """
    paths = service.values(_SECTION, 'available_filters')
    if any(path.depends or '$' in path.text for path in paths):
        return
    texts = tuple(path.text for path in paths)
    available = scheduler_filters.available(texts)
    if available is None:
        return
    missing = [name for name in filters if name not in available]
    exist_today = [
        name
        for name in missing
        if _exists_today(name, service, texts, release)
    ]
    for name in exist_today:
        yield finding.Located(
            finding.warning(
                'GPU326',
                f'[filter_scheduler]enabled_filters has {name}. '
                f'{remedy(name, available)}',
            ),
            setting.place,
        )
    missing = [name for name in missing if name not in exist_today]
    if missing:
        yield finding.Located(
            finding.error(
                'GPU326',
                f'[filter_scheduler]enabled_filters: Scheduler Host Filter '
                f'{", ".join(missing)} could not be found. nova-scheduler '
                f'does not start. {_remedies(missing, available)}',
            ),
            setting.place,
        )


def _exists_today(
    name: str,
    service: deployment.Process,
    paths: tuple[str, ...],
    release: release_model.Release | None,
) -> bool:
    """Return whether this Nova has a filter that the newest removed."""
    if release is None:
        return scheduler_filters.has_last_nova(service.tool, name)
    return name in (scheduler_filters.available(paths, release) or ())


def _remedies(names: list[str], available: frozenset[str]) -> str:
    """Return what to do about filters that do not exist.

    What was removed is told together; of other names, each once.
    """
    removed = [
        name
        for name in dict.fromkeys(names)
        if scheduler_filters.removal(name) is not None
    ]
    if len(removed) < 2:
        return '. '.join(
            dict.fromkeys(
                remedy(name, available).rstrip('.') for name in names
            )
        )
    removals = '; '.join(
        f'Nova {scheduler_filters.REMOVED[name][0]} removed {name} '
        f'({scheduler_filters.REMOVED[name][1]})'
        for name in removed
    )
    others = [name for name in names if name not in removed]
    rest = f'. {_remedies(others, available)}' if others else ''
    return f'{removals}. Remove them{rest}'


def remedy(name: str, available: frozenset[str]) -> str:
    """Return what to do about a filter that does not exist."""
    removal = scheduler_filters.removal(name)
    if removal is not None:
        return f'{removal}. Remove it: {scheduler_filters.REMOVED[name][1]}'
    if not name:
        return 'Remove the empty item of the list'
    if re.search(r'[\s;]', name):
        return 'Separate the filters with commas'
    if name.strip('[]"\'') != name:
        return 'Write the names without brackets and quotes'
    if name in scheduler_filters.MODULES:
        return (
            'Add available_filters = '
            f'{scheduler_filters.ALL_OF_NOVA}, which the other values of '
            f'available_filters replaced'
        )
    stems = {_stem(known): known for known in sorted(available)}
    similar = difflib.get_close_matches(_stem(name), stems, 1, 0.75)
    if similar:
        return f'Did you mean {stems[similar[0]]}?'
    return (
        f'Remove {name}, or add the path of its class to '
        f'[filter_scheduler]available_filters'
    )


def _stem(name: str) -> str:
    return name.lower().removesuffix('filter')


def _check_list(
    service: deployment.Process,
    setting: configuration.Setting,
    filters: list[str],
    aliases: list[alias_rules.AliasEntry],
    pinned: list[configuration.Setting],
    tracked: bool,
) -> _Findings:
    """Check that the list has the filters for servers with devices.

    :param tracked: pci_in_placement is on: Placement selects the devices
        (``nova/scheduler/filters/pci_passthrough_filter.py``).
    """
    if aliases and scheduler_filters.PCI not in filters:
        yield finding.Located(
            (finding.warning if tracked else finding.error)(
                'GPU310',
                f'[filter_scheduler]enabled_filters has no '
                f'{scheduler_filters.PCI}: '
                + (
                    'the NUMA policy and the device type of an alias are not '
                    'checked before a host is selected. '
                    if tracked
                    else 'servers are scheduled to hosts without a free '
                    'device, and fail there. '
                )
                + _add(service, scheduler_filters.PCI),
            ),
            setting.place,
        )
    if pinned and scheduler_filters.NUMA not in filters:
        yield finding.Located(
            finding.warning(
                'GPU311',
                f'[filter_scheduler]enabled_filters has no '
                f'{scheduler_filters.NUMA}: servers with pinned CPUs or huge '
                f'pages ({pinned[0].place}) are scheduled to hosts that '
                f'cannot fit them. {_add(service, scheduler_filters.NUMA)}',
            ),
            setting.place,
        )
    if scheduler_filters.COMPUTE not in filters and not any(
        _OTHER_FILTERS.search(name) for name in filters
    ):
        missing = [
            name for name in scheduler_filters.DEFAULT if name not in filters
        ]
        yield finding.Located(
            finding.warning(
                'GPU328',
                f'[filter_scheduler]enabled_filters replaces the default '
                f'list and lacks {", ".join(missing)}: servers are scheduled '
                f'to hosts that are down or disabled. Add these filters',
            ),
            setting.place,
        )


def _add(service: deployment.Process, name: str) -> str:
    """Return how to add a filter to the list of a service."""
    if service.tool not in _EDITED:
        return 'Add it'
    return f'Add it: openstack gpu config set <path> --enable-filter {name}'


def _check_unset(
    schedulers: _Services, aliases: list[alias_rules.AliasEntry]
) -> _Findings:
    """Check that Nova's default list is not in effect.

    ``nova/conf/scheduler.py:enabled_filters`` has no PciPassthroughFilter;
    without it, and without Placement, hosts are not filtered by devices.
    """
    if (
        not aliases
        or not schedulers
        or any(service.enabled_filters is not None for service in schedulers)
        or all(has_own_default(service) for service in schedulers)
    ):
        return
    service = next(
        service for service in schedulers if not has_own_default(service)
    )
    yield finding.Located(
        finding.warning(
            'GPU327',
            f'[filter_scheduler]enabled_filters is not set, and the default '
            f'has no {scheduler_filters.PCI}: servers are scheduled to hosts '
            f'without a free device, and fail there. '
            f'{_remedy_of_unset(service)}',
        ),
        service.place,
    )


def _remedy_of_unset(service: deployment.Process) -> str:
    """Return where to add PciPassthroughFilter, and to which list.

    A list under the name from before release 15 is the intended one, although
    Nova 24 and later ignore it (``nova/conf/scheduler.py``).
    """
    if service.tool in scheduler_filters.ADDED_BY_TOOL:
        return (
            f'Add {scheduler_filters.PCI} to '
            f'{scheduler_filters.ADDED_BY_TOOL[service.tool]}'
        )
    if service.tool == 'devstack':
        return (
            f'In [[post-config|$NOVA_CONF]], set [filter_scheduler]'
            f'enabled_filters = {scheduler_filters.DEVSTACK_VARIABLE},'
            f'{scheduler_filters.PCI} (devstack overwrites NOVA_FILTERS of '
            f'localrc)'
        )
    names: tuple[str, ...] = scheduler_filters.DEFAULT
    old = service.last('DEFAULT', 'scheduler_default_filters')
    if old is not None and not old.depends and '$' not in old.text:
        names = scheduler_filters.still_in_nova(old.text)
    value = ','.join(dict.fromkeys((*names, scheduler_filters.PCI)))
    if old is not None:
        return (
            f'Replace [DEFAULT]scheduler_default_filters ({old.place}), which '
            f'Nova 24 and later ignore, with '
            f'[filter_scheduler]enabled_filters = {value}'
        )
    if service.tool == 'packstack':
        return (
            f'The answer file of packstack has no parameter for it: set '
            f'enabled_filters = {value} in nova.conf on the host of '
            f'nova-scheduler'
        )
    name = scheduler_filters.SETTINGS_OF_TOOL.get(
        service.tool, 'enabled_filters'
    )
    return f'Set {name} = {value}'


def has_own_default(service: deployment.Process) -> bool:
    """Return whether the deployment tool sets filters by default."""
    return service.tool in scheduler_filters.SET_BY_TOOL


def is_scheduler(service: deployment.Process) -> bool:
    """Return whether nova-scheduler reads a configuration.

    A nova.conf whose name gives it to no service is that of a compute host
    where it has options of nova-compute, and none of the control plane.
    """
    if not service.is_read_by(configuration.SCHEDULER):
        return False
    if len(service.readers) == 1:
        return True
    if any(
        scheduler_filters.is_of_control_plane(
            option.section, option.name, option.setting.text
        )
        for option in service.options
    ):
        return True
    if 'compute' in service.place.path.lower():
        return False
    return bool(service.aliases) and not any(
        scheduler_filters.is_of_compute(option.section, option.name)
        for option in service.options
    )
