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

"""Forecasts of moves as text of 80 columns, and as objects."""

from gpuclient.model import explanation_text
from gpuclient.operations import move_forecast
from gpuclient.osc import explanation_view

Record = explanation_view.Record


def record(forecast: move_forecast.MoveForecast) -> Record:
    """Return the forecast of a move as an object, whose keys are stable."""
    server = forecast.details.server
    inner = explanation_view.record(forecast.explanation)
    inner['cause'] = sentence(forecast)
    return {
        'id': server.uuid,
        'name': server.name,
        'status': server.status,
        'host': server.host,
        'flavor': forecast.explanation.flavor.name,
        'move': str(forecast.kind),
        'succeeds': forecast.succeeds,
        'blockers': list(map(explanation_view.cause, forecast.blockers)),
        **inner,
    }


def sentence(forecast: move_forecast.MoveForecast) -> str:
    """Return one sentence: whether the move succeeds."""
    name = repr(forecast.details.server.name)
    done = forecast.kind.participle
    proved = [cause for cause in forecast.blockers if cause.proved]
    if proved:
        return f'Server {name} cannot be {done}: {proved[0].text}.'
    cause = forecast.explanation.cause
    if not forecast.explanation.fits:
        return f'Server {name} cannot be {done}. {cause}'
    doubtful = forecast.blockers or any(
        cause.is_likely for cause in forecast.explanation.unseen
    )
    verb = 'may be' if doubtful else 'can be'
    return f'Server {name} {verb} {done}. {cause}'


def show(forecast: move_forecast.MoveForecast) -> str:
    """Return the forecast of a move as text."""
    return explanation_view.compose(
        sentence(forecast),
        forecast.explanation,
        (*forecast.blockers, *forecast.explanation.unseen),
    )


def host_record(forecast: move_forecast.HostForecast) -> Record:
    """Return the forecast for a host as an object."""
    return {
        'host': forecast.host,
        'move': str(forecast.kind),
        'succeeds': forecast.succeeds,
        'fit_together': forecast.together,
        'summary': host_sentence(forecast),
        'servers': [_server(move) for move in forecast.servers],
    }


def _server(move: move_forecast.ServerMove) -> Record:
    server = move.details.server
    return {
        'id': server.uuid,
        'name': server.name,
        'status': server.status,
        'project_id': server.project_id,
        'flavor': server.flavor_name,
        'aliases': move.flavor.aliases,
        'hosts': [host.node.name for host in move.evaluation.fitting],
        'destination': move.destination and move.destination.node.name,
        'blockers': list(map(explanation_view.cause, move.blockers)),
        'cause': None
        if move.evaluation.fitting
        else explanation_text.cause(move.evaluation),
    }


def host_sentence(forecast: move_forecast.HostForecast) -> str:
    """Return one sentence: whether a host can be emptied."""
    servers = forecast.servers
    if not servers:
        return f'{forecast.host} has no server with devices.'
    count = f'{len(servers)} server{"" if len(servers) == 1 else "s"}'
    done = forecast.kind.participle
    start = f'{forecast.host} has {count} with devices'
    blocked = [move for move in servers if move.blocked]
    if blocked:
        return (
            f'{start}, of which {len(blocked)} cannot be {done}: '
            f'{next(c.text for c in blocked[0].blockers if c.proved)}.'
        )
    if forecast.together:
        if len(servers) == 1:
            return f'{start}. It fits elsewhere.'
        return f'{start}. All of them fit elsewhere together.'
    placed = sum(move.destination is not None for move in servers)
    if forecast.together is None:
        return (
            f'{start}. Hosts were found for {placed} of them; whether all fit '
            'together was not found out, because there are too many ways.'
        )
    alone = sum(bool(move.evaluation.fitting) for move in servers)
    if alone < len(servers):
        return (
            f'{start}, of which {len(servers) - alone} fit'
            f'{"s" if len(servers) - alone == 1 else ""} on no other host.'
        )
    return (
        f'{start}. Each fits on some other host, but not all together: at '
        f'most {placed} were placed.'
    )


def show_host(forecast: move_forecast.HostForecast) -> str:
    """Return the forecast for a host as text."""
    sections = [explanation_view.wrapped(host_sentence(forecast))]
    if forecast.servers:
        sections.append(
            explanation_view.grid(
                ('Server', 'Requests', 'Hosts', 'Goes to', 'Obstacle'),
                [
                    (
                        move.details.server.name,
                        ', '.join(
                            f'{name}:{count}'
                            for name, count in (
                                move.flavor.aliases or {}
                            ).items()
                        ),
                        str(len(move.evaluation.fitting)),
                        ''
                        if move.destination is None
                        else move.evaluation.labels[
                            move.destination.node.name
                        ],
                        _obstacle(move),
                    )
                    for move in forecast.servers
                ],
                (14, 14, 5, 14, 24),
                (2,),
            )
        )
    return '\n\n'.join(sections) + '\n'


def _obstacle(move: move_forecast.ServerMove) -> str:
    for cause in sorted(move.blockers, key=lambda cause: not cause.proved):
        return f'{cause.code}: {cause.text}'
    if move.evaluation.fitting:
        return ''
    return explanation_text.cause(move.evaluation)
