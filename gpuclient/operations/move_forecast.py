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

"""Whether and where servers can move."""

import collections.abc
import dataclasses

from openstack import connection

from gpuclient.cloud.nova import flavors as nova_flavors
from gpuclient.cloud.nova import server_details
from gpuclient.cloud.placement import held
from gpuclient import exceptions
from gpuclient.model import assignment
from gpuclient.model import capacity
from gpuclient.model import demand as demand_model
from gpuclient.model import explanation as conditions
from gpuclient.model import flavor as flavor_model
from gpuclient.model import host_filters
from gpuclient.model import image as image_model
from gpuclient.model import inventory
from gpuclient.model import move as move_model
from gpuclient.model import partial_result
from gpuclient.model import release as release_model
from gpuclient.model import unseen
from gpuclient.operations import explanation
from gpuclient.operations import server_explanation

_Failures = list[partial_result.Failure]


@dataclasses.dataclass(frozen=True)
class MoveForecast:
    """Whether a server can move, and where."""

    details: server_details.ServerDetails
    kind: move_model.MoveKind
    #: Why Nova refuses the move wherever it goes.
    blockers: tuple[unseen.UnseenCause, ...]
    explanation: explanation.Explanation

    @property
    def blocked(self) -> bool:
        return any(cause.proved for cause in self.blockers)

    @property
    def succeeds(self) -> bool:
        """Whether a host fits and nothing is known to block the move."""
        return not self.blocked and self.explanation.fits


@dataclasses.dataclass(frozen=True)
class ServerMove:
    """One of the servers of a host that is to be emptied."""

    details: server_details.ServerDetails
    flavor: flavor_model.Flavor
    blockers: tuple[unseen.UnseenCause, ...]
    evaluation: conditions.Evaluation
    #: The host that it would go to, if all servers move.
    destination: capacity.HostCapacity | None

    @property
    def blocked(self) -> bool:
        return any(cause.proved for cause in self.blockers)


@dataclasses.dataclass(frozen=True)
class HostForecast:
    """Whether the servers of a host fit elsewhere."""

    host: str
    kind: move_model.MoveKind
    servers: tuple[ServerMove, ...]
    #: Whether all fit together; None if that was not found out.
    together: bool | None

    @property
    def succeeds(self) -> bool:
        return bool(self.together) and not any(
            server.blocked for server in self.servers
        )


def explain_move(
    cloud: connection.Connection,
    name_or_id: str,
    kind: move_model.MoveKind,
    flavor: str | None,
    request: explanation.Request,
    release: release_model.Release,
) -> partial_result.PartialResult[MoveForecast]:
    """Explain whether and where a server can move.

    :param flavor: Name or ID of the flavor of a resize.
    :raises gpuclient.exceptions.GPUError: There is no such server or flavor,
        or the cloud cannot be read.
    """
    failures: _Failures = []
    details = server_details.find(cloud.compute, name_or_id)
    current = _flavor_of(details)
    wanted = (
        current
        if flavor is None
        else nova_flavors.find_flavor(cloud.compute, flavor)
    )
    request = dataclasses.replace(
        _request_of(details, request),
        group=server_explanation.group_of(cloud, details, failures),
    )
    reader = explanation.Reader(cloud, request, release)
    source = _source(reader, details)
    move = move_model.Move(
        kind,
        details.server.status,
        details.task_state,
        current,
        wanted,
        source,
        details.image_id is None,
        _reserved(cloud, source, details, failures),
    )
    answer = reader.explain(
        wanted,
        server_explanation.image_of(cloud, details, failures),
        excluded=_excluded(reader, kind, source),
        more=_conditions(reader, wanted),
    )
    return partial_result.PartialResult(
        MoveForecast(
            details,
            kind,
            _blockers(reader, move, release),
            _with_dangers(answer.value, kind),
        ),
        (*failures, *answer.failures),
    )


def _blockers(
    reader: explanation.Reader,
    move: move_model.Move,
    release: release_model.Release,
) -> tuple[unseen.UnseenCause, ...]:
    aliases = reader.aliases(move.current)
    inferred = aliases.keys() - reader.defined.keys()
    return move_model.blockers(move, aliases, inferred, release)


def _with_dangers(
    explained: explanation.Explanation, kind: move_model.MoveKind
) -> explanation.Explanation:
    evaluation = explained.evaluation
    dangers = move_model.dangers(kind, evaluation.fitting, evaluation.wanted)
    return dataclasses.replace(explained, unseen=(*explained.unseen, *dangers))


def _flavor_of(
    details: server_details.ServerDetails,
) -> flavor_model.Flavor:
    if details.server.flavor is None:
        raise exceptions.CloudError(
            f'Nova does not return the whole flavor of server '
            f'{details.server.name!r}'
        )
    if details.server.flavor.extra_specs is None:
        raise exceptions.Forbidden(
            f'Nova does not show the properties of the flavor of server '
            f'{details.server.name!r} to this user'
        )
    return details.server.flavor


def _request_of(
    details: server_details.ServerDetails, request: explanation.Request
) -> explanation.Request:
    return dataclasses.replace(
        request,
        project_id=details.server.project_id,
        zone=request.zone or details.zone,
        volume_backed=details.image_id is None,
        of_server=True,
        moved=details.server.uuid,
    )


def _source(
    reader: explanation.Reader, details: server_details.ServerDetails
) -> capacity.HostCapacity | None:
    """Return the host that a server is on."""
    server = details.server
    for host in (*reader.hosts.with_devices, *reader.hosts.others):
        if server.host == host.node.name:
            return host
    if server.host is None:
        raise exceptions.InvalidValue(
            f'Server {server.name!r} ({server.status}) has no host to move '
            'from: explain it without --move'
        )
    return None


def _reserved(
    cloud: connection.Connection,
    source: capacity.HostCapacity | None,
    details: server_details.ServerDetails,
    failures: _Failures,
) -> tuple[str, ...]:
    """Return the addresses of reserved devices that a server holds."""
    suspects = {
        device.uuid: device.address or device.name
        for device in (source.devices if source else ())
        if (device.reserved or 0) + (device.used or 0) > (device.total or 0)
    }
    if not suspects:
        return ()
    try:
        devices = held.read_held(cloud.placement, details.server.uuid)
    except (exceptions.CloudError, exceptions.NotRecorded) as exc:
        failures.append(
            partial_result.Failure('devices of the server', str(exc))
        )
        return ()
    return tuple(
        suspects[device.uuid] for device in devices if device.uuid in suspects
    )


def _excluded(
    reader: explanation.Reader,
    kind: move_model.MoveKind,
    source: capacity.HostCapacity | None,
) -> dict[str, str]:
    """Return the host that Nova does not choose.

    ``nova/compute/api.py:API.resize``: ``ignore_hosts``, and the same of the
    conductor for other moves.
    """
    if source is None or (
        kind is move_model.MoveKind.RESIZE
        and reader.evidence.resizes_on_the_host
    ):
        return {}
    reason = 'the server is on it'
    if (
        kind is move_model.MoveKind.RESIZE
        and reader.evidence.resizes_on_the_host is None
    ):
        reason += (
            ', and it is not known whether nova-api has [DEFAULT]'
            'allow_resize_to_same_host = True'
        )
    return {source.node.name: reason}


def _conditions(
    reader: explanation.Reader, flavor: flavor_model.Flavor
) -> tuple[conditions.Condition, ...]:
    """Return what nova-compute of the destination needs.

    ``nova/compute/resource_tracker.py:ResourceTracker._move_claim`` reads the
    aliases of the flavor there.
    """
    requested = {
        name: count for name, count in (flavor.aliases or {}).items() if count
    }
    hosts = (*reader.hosts.with_devices, *reader.hosts.others)
    missing = reader.evidence.without_alias(hosts, flavor.aliases or {})
    obstacles = {
        **reader.evidence.aliases_differing(hosts, requested),
        **{
            uuid: f'its nova-compute has no alias {name}'
            for uuid, name in missing.items()
        },
    }
    if not obstacles:
        return ()
    return (
        conditions.Condition(
            conditions.OF_COMPUTE,
            conditions.Kind.FILTER,
            'nova-compute defines the alias',
            obstacles,
            in_placement=False,
        ),
    )


def empty_host(
    cloud: connection.Connection,
    name: str,
    kind: move_model.MoveKind,
    request: explanation.Request,
    release: release_model.Release,
) -> partial_result.PartialResult[HostForecast]:
    """Explain whether all servers with devices of a host fit elsewhere.

    :param name: Hypervisor hostname, or name of the compute service.
    :raises gpuclient.exceptions.GPUError: There is no such host, or the cloud
        cannot be read.
    """
    failures: _Failures = []
    reader = explanation.Reader(
        cloud, dataclasses.replace(request, of_server=True), release
    )
    source = reader.find_host(name)
    servers = [
        details
        for details in server_details.list_on(cloud.compute, source.node.name)
        if inventory.requests_devices(details.server) is not False
    ]
    moves = _moves(cloud, reader, kind, source, servers, release, failures)
    plan = assignment.assign(
        [
            assignment.Candidate(
                move.details.server.uuid,
                move.evaluation.wanted,
                move.evaluation.fitting,
            )
            for move in moves
        ]
    )
    return partial_result.PartialResult(
        HostForecast(
            source.node.name,
            kind,
            tuple(
                dataclasses.replace(
                    move,
                    destination=plan.hosts.get(move.details.server.uuid),
                )
                for move in moves
            ),
            plan.complete,
        ),
        (*failures, *reader.failures),
    )


def _moves(
    cloud: connection.Connection,
    reader: explanation.Reader,
    kind: move_model.MoveKind,
    source: capacity.HostCapacity,
    servers: collections.abc.Sequence[server_details.ServerDetails],
    release: release_model.Release,
    failures: _Failures,
) -> list[ServerMove]:
    """Return each server with the hosts on which it fits alone."""
    wanted: dict[str, demand_model.Demand] = {}
    images: dict[str, image_model.Image | None] = {}
    for details in servers:
        images[details.server.uuid] = server_explanation.image_of(
            cloud, details, failures
        )
        flavor = _flavor_of(details)
        wanted[details.server.uuid] = reader.demand(
            flavor,
            images[details.server.uuid],
            reader.aliases(flavor),
            volume_backed=details.image_id is None,
        )
    facts = reader.read_facts(tuple(wanted.values()))
    moves = []
    for details in servers:
        flavor = _flavor_of(details)
        move = move_model.Move(
            kind,
            details.server.status,
            details.task_state,
            flavor,
            flavor,
            source,
            details.image_id is None,
            _reserved(cloud, source, details, failures),
        )
        moves.append(
            ServerMove(
                details,
                flavor,
                _blockers(reader, move, release),
                _evaluate(
                    reader,
                    source,
                    details,
                    wanted[details.server.uuid],
                    facts,
                    images[details.server.uuid],
                    server_explanation.group_of(cloud, details, failures),
                ),
                None,
            )
        )
    return moves


def _evaluate(
    reader: explanation.Reader,
    source: capacity.HostCapacity,
    details: server_details.ServerDetails,
    wanted: demand_model.Demand,
    facts: conditions.Facts,
    image: image_model.Image | None,
    group: conditions.ServerGroup | None,
) -> conditions.Evaluation:
    """Return the hosts on which a server fits alone."""
    flavor = _flavor_of(details)
    project_id = details.server.project_id
    verdicts = reader.judge_filters(flavor, image, project_id, facts.hosts)
    return conditions.evaluate(
        wanted,
        dataclasses.replace(facts, aliases=reader.known_aliases(flavor)),
        dataclasses.replace(
            reader.restrictions_of(
                project_id,
                details.zone,
                {source.node.name: 'the server is on it'},
            ),
            group=group,
        ),
        reader.evidence.options,
        (*_conditions(reader, flavor), *host_filters.conditions(verdicts)),
    )
