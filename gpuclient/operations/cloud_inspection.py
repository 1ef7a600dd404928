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

"""Read what the checks of a cloud need, with a constant number of requests."""

import collections.abc
import dataclasses
import typing

from openstack import connection

from gpuclient.cloud import aliases as cloud_aliases
from gpuclient.cloud import capacity as cloud_capacity
from gpuclient.cloud import catalog
from gpuclient.cloud import keystone
from gpuclient.cloud.nova import alias_probe
from gpuclient.cloud.nova import flavors as nova_flavors
from gpuclient.cloud.nova import hypervisors
from gpuclient.cloud.nova import migrations
from gpuclient.cloud.nova import servers as nova_servers
from gpuclient.cloud.nova import services as nova_services
from gpuclient.cloud.placement import foreign
from gpuclient.cloud import request
from gpuclient import exceptions
from gpuclient.model import alias as alias_model
from gpuclient.model import capacity
from gpuclient.model import cloud_state
from gpuclient.model import flavor as flavor_model
from gpuclient.model import partial_result
from gpuclient.model import release as release_model
from gpuclient.operations import limit_reading
from gpuclient.rules import cloud_limits as limits_rules
from gpuclient.rules import cloud_owners

T = typing.TypeVar('T')


@dataclasses.dataclass(frozen=True)
class Known:
    """What documents say of a cloud."""

    #: Definitions of aliases of nova-api, by name.
    aliases: dict[str, alias_model.Alias] = dataclasses.field(
        default_factory=dict
    )
    #: Of the compute nodes that are given.
    configured: collections.abc.Callable[
        [collections.abc.Iterable[cloud_state.ComputeNode]],
        cloud_state.Configured | None,
    ] = lambda nodes: None


class _Inspection:
    """The parts of a state, and why others could not be read."""

    def __init__(self, cloud: connection.Connection) -> None:
        self.cloud = cloud
        self.reasons: dict[str, str] = {}
        self.failures: list[partial_result.Failure] = []

    def read(
        self,
        field: str,
        title: str,
        function: collections.abc.Callable[[], T],
    ) -> T | None:
        """Return a part; None if the cloud does not return it."""
        try:
            # The SDK discovers the versions of a service when it is first
            # used.
            with request.library_errors(f'Reading {title}'):
                return function()
        except exceptions.GPUError as exc:
            self.reasons[field] = str(exc)
            if not isinstance(exc, exceptions.Forbidden):
                self.failures.append(partial_result.Failure(title, str(exc)))
            return None


def read(
    cloud: connection.Connection,
    release: release_model.Release,
    known: Known | None = None,
    *,
    attempts: int = 1,
) -> partial_result.PartialResult[cloud_state.CloudState]:
    """Return the state of a cloud.

    What this user may not read is None in the state; other failures are
    returned, too.

    :param attempts: How often nova-api is asked for each alias.
    """
    inspection = _Inspection(cloud)
    known = known or Known()
    flavors = inspection.read(
        'flavors',
        'flavors',
        lambda: nova_flavors.list_flavors(cloud.compute),
    )
    nodes = inspection.read('nodes', 'hypervisors', lambda: list_nodes(cloud))
    servers = inspection.read(
        'servers',
        'servers',
        lambda: nova_servers.list_servers(cloud.compute, all_projects=True),
    )
    hosts = inspection.read('hosts', 'PCI devices', lambda: _hosts(inspection))
    state = cloud_state.CloudState(
        release=release,
        flavors=flavors,
        hosts=hosts,
        nodes=nodes,
        servers=servers,
        services=inspection.read(
            'services',
            'services of Nova',
            lambda: nova_services.list_control_services(cloud.compute),
        ),
        limits=inspection.read(
            'limits',
            'unified limits',
            lambda: limit_reading.read(cloud),
        ),
        computes=_computes(cloud, nodes or ()),
        service_types=catalog.service_types(cloud),
        configured=known.configured(nodes or ()),
    )
    state = _with_aliases(inspection, state, known.aliases)
    state = dataclasses.replace(
        state,
        answers=inspection.read(
            'answers', 'aliases', lambda: _ask(inspection, state, attempts)
        ),
    )
    state = _with_details(inspection, state)
    return partial_result.PartialResult(
        dataclasses.replace(state, reasons=inspection.reasons),
        tuple(inspection.failures),
    )


def _computes(
    cloud: connection.Connection,
    nodes: collections.abc.Iterable[cloud_state.ComputeNode],
) -> tuple[cloud_state.ComputeService, ...] | None:
    """Return the compute services, which show whether one is forced down.

    Only if one is down; and a failure is ignored.
    """
    if all(node.up for node in nodes):
        return None
    try:
        return nova_services.list_computes(cloud.compute)
    except exceptions.GPUError:
        return None


def list_nodes(
    cloud: connection.Connection,
) -> tuple[cloud_state.ComputeNode, ...]:
    """Return all compute nodes."""
    return tuple(
        cloud_state.ComputeNode(
            node.name,
            node.service_host,
            node.enabled,
            node.up,
            node.disabled_reason,
            node.memory_mb,
        )
        for node in hypervisors.list_hypervisors(cloud.compute)
    )


def _hosts(
    inspection: _Inspection,
) -> tuple[capacity.HostCapacity, ...]:
    answer = cloud_capacity.read_hosts(inspection.cloud)
    inspection.failures += answer.failures
    return answer.value


def _with_aliases(
    inspection: _Inspection,
    state: cloud_state.CloudState,
    defined: dict[str, alias_model.Alias],
) -> cloud_state.CloudState:
    """Add the definitions of aliases, and forecasts of flavors."""
    inferred: dict[str, alias_model.Alias] = {}
    if state.hosts is not None and state.servers is not None:
        inferred = (
            inspection.read(
                'aliases',
                'definitions of aliases',
                lambda: cloud_aliases.infer(
                    inspection.cloud,
                    [
                        name
                        for name in state.requested_aliases
                        if name not in defined
                    ],
                    state.devices,
                    state.servers,
                ),
            )
            or {}
        )
    state = dataclasses.replace(
        state,
        aliases={**inferred, **defined},
        inferred=frozenset(inferred),
    )
    if state.hosts is None or state.flavors is None:
        inspection.reasons['forecasts'] = inspection.reasons.get(
            'hosts', inspection.reasons.get('flavors', '')
        )
        return state
    forecasts = _forecasts(state, state.hosts)
    checked = cloud_capacity.check_units(
        inspection.cloud,
        state.hosts,
        [forecast.demand for forecast in forecasts if forecast.demand],
    )
    inspection.failures += checked.failures
    return dataclasses.replace(
        state,
        hosts=checked.value,
        forecasts=_forecasts(state, checked.value),
    )


def _forecasts(
    state: cloud_state.CloudState,
    hosts: tuple[capacity.HostCapacity, ...],
) -> tuple[capacity.Forecast, ...]:
    return tuple(
        capacity.forecast(
            flavor,
            hosts,
            state.aliases or {},
            inferred=state.inferred,
            release=state.release,
        )
        for flavor in filter(flavor_model.is_for_devices, state.device_flavors)
    )


def _ask(
    inspection: _Inspection, state: cloud_state.CloudState, attempts: int
) -> dict[str, tuple[cloud_state.AliasAnswer, ...]]:
    """Ask nova-api for each alias that a flavor requests."""
    # Reading creates nothing, not even a temporary flavor.
    with alias_probe.Prober(
        inspection.cloud.compute, state.flavors or (), make_flavors=False
    ) as prober:
        return {
            name: tuple(
                cloud_state.AliasAnswer(
                    str(reply.state), reply.explanation, count
                )
                for reply, count in prober.ask(name, attempts).items()
            )
            for name in state.requested_aliases
        }


def _with_details(
    inspection: _Inspection, state: cloud_state.CloudState
) -> cloud_state.CloudState:
    """Add what only some clouds need."""
    cloud = inspection.cloud
    exceeded = limits_rules.exceeded(state)
    if exceeded:
        state = dataclasses.replace(
            state,
            resized=inspection.read(
                'resized',
                'migrations',
                lambda: migrations.resized_servers(cloud.compute),
            ),
            projects=inspection.read(
                'projects',
                'names of projects',
                lambda: keystone.project_names(
                    cloud, {project for project, *_rest in exceeded}
                ),
            )
            or {},
        )
    if cloud_owners.ACCELERATOR in (state.service_types or ()):
        state = dataclasses.replace(
            state,
            foreign=inspection.read(
                'foreign',
                'resource providers',
                lambda: foreign.list_providers(cloud.placement),
            ),
        )
    return state
