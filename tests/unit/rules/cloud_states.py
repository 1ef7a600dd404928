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

"""A healthy cloud as records, for tests of the rules on clouds."""

import dataclasses
import typing

from gpuclient.model import alias as alias_model
from gpuclient.model import capacity
from gpuclient.model import cloud_state
from gpuclient.model import flavor as flavor_model
from gpuclient.model import inventory
from gpuclient.model import limits
from gpuclient.model import release
from gpuclient.rules import cloud_check

A100 = 'CUSTOM_PCI_10DE_20F1'
TRAITS = inventory.OF_EACH
ALIAS = alias_model.Alias(
    'a100', vendor_id='10de', product_id='20f1', device_type='type-PF'
)
DEFINED = cloud_state.AliasAnswer('defined', 'refused as expected', 4)
ABSENT = cloud_state.AliasAnswer('not defined', 'PCI alias x is not defined')


def device(number: int, host: str, **changes: typing.Any) -> inventory.Device:
    address = f'0000:{number:02x}:00.0'
    values: dict[str, typing.Any] = {
        'uuid': f'{host}-{number}',
        'name': f'{host}_{address.upper()}',
        'root_uuid': host,
        'host': host,
        'address': address,
        'resource_class': A100,
        'total': 1,
        'reserved': 0,
        'used': 0,
        'traits': TRAITS,
    }
    return inventory.Device(**{**values, **changes})


def host(
    name: str, devices: int = 2, memory: int = 262144, **changes: typing.Any
) -> capacity.HostCapacity:
    """Return a host; changes are those of each device."""
    return capacity.HostCapacity(
        inventory.ComputeProvider(
            name,
            name,
            tuple(
                inventory.Resource(key, amount, 0)
                for key, amount in (
                    ('VCPU', 64),
                    ('MEMORY_MB', memory),
                    ('DISK_GB', 2000),
                )
            ),
        ),
        name,
        tuple(device(number, name, **changes) for number in range(devices)),
    )


def flavor(
    name: str = 'gpu.1', request: str | None = 'a100:1', **changes: typing.Any
) -> flavor_model.Flavor:
    specs = changes.pop('extra_specs', {})
    if request is not None:
        specs = {flavor_model.ALIASES: request, **specs}
    values = {
        'id': name,
        'name': name,
        'vcpus': 1,
        'ram': 1024,
        'disk': 1,
        'is_public': False,
    }
    return flavor_model.Flavor(**{**values, **changes}, extra_specs=specs)


def server(
    name: str, host: str | None = 'gpu-1', request: str = 'a100:1', **changes
) -> inventory.Server:
    values = {
        'uuid': f'id-{name}',
        'name': name,
        'status': 'ACTIVE',
        'project_id': 'project',
        'user_id': 'user',
        'service_host': host,
        'host': host,
        'extra_specs': {flavor_model.ALIASES: request} if request else {},
    }
    return inventory.Server(**{**values, **changes})


def node(name: str, **changes: typing.Any) -> cloud_state.ComputeNode:
    values: dict[str, typing.Any] = {
        'service_host': name,
        'memory_mb': 262144,
    }
    return cloud_state.ComputeNode(name, **{**values, **changes})


def healthy(**changes: typing.Any) -> cloud_state.CloudState:
    """Return a cloud without findings, with changes."""
    values: dict[str, typing.Any] = {
        'release': release.newest(),
        'flavors': (flavor(), flavor('cpu', None, is_public=True)),
        'hosts': (host('gpu-1'), host('gpu-2')),
        'nodes': (node('gpu-1'), node('gpu-2'), node('cpu-1')),
        'services': (
            cloud_state.ControlService('nova-scheduler', 'c1', True),
            cloud_state.ControlService('nova-scheduler', 'c2', False),
            cloud_state.ControlService('nova-conductor', 'c1', True),
        ),
        'servers': (server('s1'), server('plain', 'cpu-1', '')),
        'aliases': {'a100': ALIAS},
        'answers': {'a100': (DEFINED,)},
        'limits': limits.UnifiedLimits(),
        'service_types': frozenset({'compute', 'placement'}),
    }
    values.update(changes)
    state = cloud_state.CloudState(**values)
    if 'forecasts' not in changes and state.hosts is not None:
        state = dataclasses.replace(
            state,
            forecasts=tuple(
                capacity.forecast(
                    record,
                    state.hosts,
                    state.aliases or {},
                    inferred=state.inferred,
                    release=state.release,
                )
                for record in state.device_flavors
            ),
        )
    return state


def codes(rule: typing.Any, state: cloud_state.CloudState) -> list[str]:
    """Return code and object of each finding of a rule."""
    return [
        f'{outcome.finding.code} {outcome.object}'.strip()
        for outcome in rule(state)
        if isinstance(outcome, cloud_check.CloudFinding)
    ]


def skipped(rule: typing.Any, state: cloud_state.CloudState) -> list[str]:
    """Return object and reason of what a rule could not check."""
    return [
        f'{outcome.object}: {outcome.reason}'
        for outcome in rule(state)
        if isinstance(outcome, cloud_check.Skipped)
    ]
