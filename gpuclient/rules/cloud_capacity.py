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

"""Rules about devices that servers cannot get, or hosts overcommit."""

import collections
import re

from gpuclient.model import capacity
from gpuclient.model import catalogue
from gpuclient.model import cloud_state
from gpuclient.model import flavor as flavor_model
from gpuclient.model import inventory
from gpuclient.rules import cloud_check

#: placement/conf/workarounds.py:optimize_for_wide_provider_trees
_WIDE = 8
_SEVERAL = 4
_OF_IDS = re.compile('CUSTOM_PCI_([0-9A-F]{4})_([0-9A-F]{4})')


def check_ratios(state: cloud_state.CloudState) -> cloud_check.Outcomes:
    """Find hosts with devices that promise more memory than they have."""
    memory = {node.name: node.memory_mb for node in state.nodes or ()}
    for host in state.hosts or ():
        resource = host.node.resource('MEMORY_MB')
        physical = memory.get(host.node.name)
        if resource is None or not physical or resource.capacity <= physical:
            continue
        ratio = resource.capacity / physical
        yield cloud_check.warning(
            host.node.name,
            'GPU669',
            f'The allocation ratio of memory on {host.node.name} is above 1 '
            f'({resource.capacity} MiB of {physical} MiB, at least '
            f'{ratio:.2f}): VFIO pins all memory of a server with a device, '
            f'so that servers fail to start with "VFIO_MAP_DMA failed: '
            f'Cannot allocate memory", or the kernel kills others. Set '
            f'[DEFAULT]ram_allocation_ratio = 1.0 there',
        )


def check_candidates(state: cloud_state.CloudState) -> cloud_check.Outcomes:
    """Find flavors for which Placement generates too many candidates."""
    widest: dict[str, int] = {}
    for host in state.hosts or ():
        counts = collections.Counter(
            device.resource_class
            for device in host.devices
            if device.resource_class is not None
        )
        for name, number in counts.items():
            widest[name] = max(widest.get(name, 0), number)
    for flavor in state.device_flavors:
        for alias, count in (flavor.aliases or {}).items():
            resource_class = state.class_of(alias)
            number = widest.get(resource_class or '', 0)
            if count > _SEVERAL and number >= _WIDE:
                yield cloud_check.warning(
                    flavor.name,
                    'GPU670',
                    f'Flavor {flavor.name!r} requests {count} devices of '
                    f'class {resource_class}, and hosts have {number}: '
                    f'Placement generates so many candidates that requests '
                    f'time out, or hosts are left out. Set '
                    f'[workarounds]optimize_for_wide_provider_trees = True, '
                    f'[placement]max_allocation_candidates = 1000 and '
                    f'allocation_candidates_generation_strategy = '
                    f'breadth-first in placement.conf, which no API shows',
                )


def check_stranded(state: cloud_state.CloudState) -> cloud_check.Outcomes:
    """Find free devices that no flavor can use."""
    forecasts = state.forecasts or ()
    unknown = [
        forecast.flavor.name
        for forecast in forecasts
        if forecast.demand is None
        and not any(
            name in state.refused_aliases
            for name in forecast.flavor.aliases or {}
        )
    ]
    if unknown:
        yield cloud_check.Skipped(
            f'it is not known which devices flavor '
            f'{cloud_check.listed(unknown)} requests: pass the configuration '
            f'of nova-api with --config'
        )
        return
    requested = {
        name
        for forecast in forecasts
        if forecast.demand is not None
        for name in forecast.demand.classes
    }
    for host, classes in capacity.stranded_by_host(
        state.hosts or (), forecasts
    ):
        for units in classes:
            if host.closed or units.resource_class not in requested:
                continue
            yield cloud_check.warning(
                host.node.name,
                'GPU671',
                f'{units.stranded} of {units.free} free devices of class '
                f'{units.resource_class} on {host.node.name} cannot be used '
                f'by any flavor, limited by '
                f'{cloud_check.listed(units.limited_by)}. '
                f'{_remedy(host, units, state.servers)}',
            )


def _remedy(
    host: capacity.HostCapacity,
    units: capacity.Stranded,
    servers: collections.abc.Iterable[inventory.Server] | None,
) -> str:
    """Return what lets a flavor use the free devices of a host."""
    limits = set(units.limited_by)
    others = limits.difference(flavor_model.OF_THE_NODE)
    if any(' ' in name.replace(' and ', '') for name in others):
        # Not a number of devices: what excludes the host.
        return (
            'Create a flavor that the host meets, or change what excludes it'
        )
    if others:
        return 'Create a flavor that requests fewer devices'
    on_host = [
        server for server in servers or () if server.host == host.node.name
    ]
    kinds = set(map(inventory.requests_devices, on_host))
    if servers is None or (None in kinds and False not in kinds):
        return (
            'Move servers without devices to other hosts if there are any, '
            'or create a smaller flavor'
        )
    movable = sorted(
        server.name
        for server in on_host
        if inventory.requests_devices(server) is False
    )
    if movable:
        return (
            f'Move servers without devices ({cloud_check.listed(movable)}) '
            f'to other hosts, or create a smaller flavor'
        )
    return (
        f'No server without devices is on the host: only a flavor that '
        f'requests less {cloud_check.listed(sorted(limits))} for each device, '
        f'or a larger host, lets servers use them'
    )


def check_unrequested(state: cloud_state.CloudState) -> cloud_check.Outcomes:
    """Find models of GPUs that no flavor requests."""
    unknown = [
        alias
        for alias in state.requested_aliases
        if state.class_of(alias) is None and alias not in state.refused_aliases
    ]
    if unknown:
        yield cloud_check.Skipped(
            f'the class of alias {cloud_check.listed(unknown)} is not known: '
            f'pass the configuration of nova-api with --config'
        )
        return
    requested = {state.class_of(alias) for alias in state.requested_aliases}
    for forecast in state.forecasts or ():
        if forecast.demand is not None:
            requested |= forecast.demand.classes
    for name in sorted(state.device_classes or ()):
        model = _gpu_of(name)
        if name not in requested and model:
            hosts = sorted(
                {
                    device.host
                    for device in state.devices
                    if device.resource_class == name
                }
            )
            yield cloud_check.warning(
                name,
                'GPU672',
                f'No flavor requests devices of class {name} ({model}, on '
                f'{cloud_check.listed(hosts)}). Define an alias for them '
                f'with "openstack gpu alias create", and a flavor with '
                f'"openstack gpu flavor create"',
            )


def _gpu_of(resource_class: str) -> str:
    """Return the model of a class that is named after the IDs of a GPU."""
    match = _OF_IDS.fullmatch(resource_class)
    if match is None:
        return ''
    models = catalogue.builtin().by_ids(match[1].lower(), match[2].lower())
    return ' / '.join(model.name for model in models)
