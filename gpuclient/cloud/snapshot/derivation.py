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

"""Answers that others imply, so that they need not be recorded.

The filters of a command change its requests, but a snapshot has the answers
to the same requests without them: the servers of a host are among all
servers.
"""

import collections.abc
import dataclasses
import re
import typing
import urllib.parse

from gpuclient.cloud.snapshot import content
from gpuclient.cloud.snapshot import exchange

_Record: typing.TypeAlias = dict[str, typing.Any]

#: Parameters of a list of servers that do not filter it.
_OF_PAGES = frozenset({'limit', 'marker', 'all_tenants'})
#: Those that do, and the fields that they compare.
_SERVER_FILTERS = {
    'project_id': 'tenant_id',
    'user_id': 'user_id',
    'host': 'OS-EXT-SRV-ATTR:host',
    'node': 'OS-EXT-SRV-ATTR:hypervisor_hostname',
}


def derive(
    snapshot: content.Snapshot, question: exchange.Question
) -> exchange.Answer | None:
    """Return the answer that others imply; None if none does."""
    if question.method != 'GET':
        return None
    for service, path, rule in _RULES:
        match = re.fullmatch(path, question.path)
        if service == question.service and match is not None:
            return rule(snapshot, question, *map(_unquoted, match.groups()))
    return None


def _unquoted(text: str) -> str:
    return urllib.parse.unquote(text)


def _bodies(
    snapshot: content.Snapshot, service: str, path: str, key: str
) -> list[tuple[exchange.Question, typing.Any]]:
    """Return successful answers of a path, and what they have below a key.

    The values are of an unknown shape.
    """
    return [
        (question, answer.body[key])
        for question, answer in snapshot.answers.items()
        if question.service == service
        and re.fullmatch(path, question.path)
        and answer.status < 300
        and isinstance(answer.body, dict)
        and key in answer.body
    ]


def _records(values: typing.Any) -> list[_Record]:
    """Return the objects of a list."""
    if not isinstance(values, list):
        return []
    return [value for value in values if isinstance(value, dict)]


def _refusal(
    snapshot: content.Snapshot, question: exchange.Question
) -> exchange.Answer | None:
    """Return the refusal of another request to the same path."""
    for other, answer in snapshot.answers.items():
        if (other.service, other.path) == (
            question.service,
            question.path,
        ) and answer.status >= 400:
            return answer
    return None


def _recorded_servers(
    snapshot: content.Snapshot, *, all_projects: bool
) -> list[_Record] | None:
    """Return the servers of lists; None if there is no such list."""
    lists = [
        _records(values)
        for question, values in _bodies(
            snapshot, 'compute', '/servers/detail', 'servers'
        )
        if ('all_tenants' in question.params) == all_projects
    ]
    if not lists:
        return None
    servers = {
        str(record.get('id')): record for part in lists for record in part
    }
    return list(servers.values())


def _all_servers(snapshot: content.Snapshot) -> list[_Record] | None:
    return _recorded_servers(snapshot, all_projects=True)


def _own_servers(snapshot: content.Snapshot) -> list[_Record] | None:
    """Return the servers of the project of the user."""
    servers = _recorded_servers(snapshot, all_projects=False)
    if servers is not None or snapshot.project is None:
        return servers
    everything = _all_servers(snapshot)
    return everything and [
        record
        for record in everything
        if record.get('tenant_id') == snapshot.project[0]
    ]


def _servers(
    snapshot: content.Snapshot, question: exchange.Question
) -> exchange.Answer | None:
    """Filter a list of servers."""
    params = question.params
    if not params.keys() <= _OF_PAGES | _SERVER_FILTERS.keys():
        return None
    if 'all_tenants' in params:
        servers = _all_servers(snapshot)
        if servers is None:
            return _refusal(snapshot, question)
    else:
        servers = _own_servers(snapshot)
        if servers is None:
            return None
    for name, field in _SERVER_FILTERS.items():
        if name in params and _is_visible(servers, field):
            wanted = _wanted(name, params[name])
            servers = [
                record for record in servers if record.get(field) in wanted
            ]
    return exchange.Answer(200, {'servers': servers})


def _is_visible(servers: list[_Record], field: str) -> bool:
    """Return whether the user sees a field; Nova ignores its filter if not."""
    return not servers or any(field in record for record in servers)


def _wanted(name: str, value: str) -> list[str]:
    if name != 'node':
        return [value]
    # As gpuclient.cloud.nova.servers.list_servers writes it.
    names = value.removeprefix('^(').removesuffix(')$')
    return names.replace('[.]', '.').split('|')


def _server(
    snapshot: content.Snapshot, question: exchange.Question, server_id: str
) -> exchange.Answer | None:
    """Find a server among those of all projects."""
    servers = _all_servers(snapshot)
    if servers is None:
        return None
    for record in servers:
        if record.get('id') == server_id:
            if question.microversion != _microversion(snapshot):
                # The list lacks what newer microversions show.
                return None
            return exchange.Answer(200, {'server': record})
    return _missing('itemNotFound', f'Instance {server_id} could not be found')


def _microversion(snapshot: content.Snapshot) -> str:
    """Return the microversion of the list of servers."""
    return next(
        question.microversion
        for question, _values in _bodies(
            snapshot, 'compute', '/servers/detail', 'servers'
        )
        if 'all_tenants' in question.params
    )


def _named_servers(
    snapshot: content.Snapshot, question: exchange.Question
) -> exchange.Answer | None:
    """Find servers by name."""
    params = question.params
    servers = (
        _all_servers(snapshot)
        if 'all_tenants' in params
        else _own_servers(snapshot)
    )
    if servers is None or not params.keys() <= {'all_tenants', 'name'}:
        return None
    # As gpuclient.cloud.nova.server_details.find writes it.
    pattern = params.get('name', '').removeprefix('^').removesuffix('$')
    name = re.sub(r'\[(.)\]', r'\1', pattern, flags=re.DOTALL)
    return exchange.Answer(
        200,
        {'servers': [each for each in servers if each.get('name') == name]},
    )


def _missing(key: str, message: str) -> exchange.Answer:
    return exchange.Answer(404, {key: {'code': 404, 'message': message}})


def _projects(
    snapshot: content.Snapshot, question: exchange.Question
) -> exchange.Answer | None:
    """Find projects by name."""
    if question.params.keys() != {'name'}:
        return None
    for other, values in _bodies(
        snapshot, 'identity', '/projects', 'projects'
    ):
        if not other.query:
            return exchange.Answer(
                200,
                {
                    'projects': [
                        record
                        for record in _records(values)
                        if record.get('name') == question.params['name']
                    ]
                },
            )
    return _refusal(snapshot, question)


def _project(
    snapshot: content.Snapshot, question: exchange.Question, project_id: str
) -> exchange.Answer | None:
    """Find a project by its ID."""
    own = snapshot.project
    if own is not None and project_id == own[0]:
        return exchange.Answer(
            200, {'project': {'id': own[0], 'name': own[1]}}
        )
    everything = exchange.Question('identity', 'GET', '/projects')
    for _question, values in _bodies(
        snapshot, 'identity', '/projects', 'projects'
    ):
        for record in _records(values):
            if record.get('id') == project_id:
                return exchange.Answer(200, {'project': record})
    answer = snapshot.answers.get(everything)
    if answer is None:
        return None
    if answer.status >= 400:
        return answer
    return _missing('error', f'Could not find project: {project_id}.')


def _user(
    snapshot: content.Snapshot, question: exchange.Question, user_id: str
) -> exchange.Answer | None:
    """Find the user of a server by its ID; names are not recorded."""
    for record in _all_servers(snapshot) or ():
        if record.get('user_id') == user_id:
            return exchange.Answer(200, {'user': {'id': user_id}})
    return None


class _Units(typing.NamedTuple):
    """Units of a provider that a consumer holds."""

    consumer: str
    provider: str
    resources: typing.Any


def _allocations(
    snapshot: content.Snapshot,
) -> collections.abc.Iterator[_Units]:
    """Yield all allocations that were recorded."""
    for path, of_provider in (
        (r'/resource_providers/([^/]+)/allocations', True),
        (r'/allocations/([^/]+)', False),
    ):
        for question, values in _bodies(
            snapshot, 'placement', path, 'allocations'
        ):
            if not isinstance(values, dict):
                continue
            own = question.path.split('/')[2]
            for other, record in values.items():
                if isinstance(record, dict):
                    consumer, provider = (
                        (other, own) if of_provider else (own, other)
                    )
                    yield _Units(consumer, provider, record.get('resources'))


def _index(snapshot: content.Snapshot, field: str) -> dict[str, list[_Units]]:
    """Return all allocations by provider or consumer, collected once."""
    index: dict[str, list[_Units]] | None = snapshot.derived.get(field)
    if index is None:
        index = snapshot.derived[field] = {}
        for units in _allocations(snapshot):
            index.setdefault(getattr(units, field), []).append(units)
    return index


def _server_index(snapshot: content.Snapshot) -> dict[str, _Record]:
    """Return the servers of all projects by ID, collected once."""
    index: dict[str, _Record] | None = snapshot.derived.get('servers')
    if index is None:
        index = snapshot.derived['servers'] = {
            str(record.get('id')): record
            for record in _all_servers(snapshot) or ()
        }
    return index


def _provider_allocations(
    snapshot: content.Snapshot, question: exchange.Question, provider: str
) -> exchange.Answer | None:
    """Collect the allocations of a device from those of consumers."""
    of_consumers = {
        units.consumer: {'resources': units.resources}
        for units in _index(snapshot, 'provider').get(provider, ())
    }
    if not of_consumers:
        return None
    return exchange.Answer(200, {'allocations': of_consumers})


def _consumer(
    snapshot: content.Snapshot, question: exchange.Question, consumer: str
) -> exchange.Answer | None:
    """Collect the allocations of a server from those of devices."""
    record = _server_index(snapshot).get(consumer)
    if record is None:
        return None
    return exchange.Answer(
        200,
        {
            'allocations': {
                units.provider: {'resources': units.resources}
                for units in _index(snapshot, 'consumer').get(consumer, ())
            },
            'project_id': record.get('tenant_id'),
            'user_id': record.get('user_id'),
            'consumer_type': 'INSTANCE',
        },
    )


def _candidates(
    snapshot: content.Snapshot, question: exchange.Question
) -> exchange.Answer | None:
    """Select the candidates of a tree, or of aggregates."""
    plain = tuple(
        (key, value)
        for key, value in question.query
        if key not in ('in_tree', 'member_of')
    )
    answer = snapshot.answers.get(dataclasses.replace(question, query=plain))
    if answer is None or plain == question.query or answer.status >= 300:
        return answer
    body = answer.body if isinstance(answer.body, dict) else {}
    summaries = body.get('provider_summaries')
    if not isinstance(summaries, dict):
        return None
    roots = {
        uuid: str(summary.get('root_provider_uuid'))
        for uuid, summary in summaries.items()
        if isinstance(summary, dict)
    }
    allowed = _allowed(snapshot, question, set(roots.values()))
    return exchange.Answer(
        200,
        {
            'allocation_requests': [
                record
                for record in _records(body.get('allocation_requests'))
                if all(
                    roots.get(uuid) in allowed
                    for uuid in record.get('allocations') or ()
                )
            ],
            'provider_summaries': {
                uuid: summary
                for uuid, summary in summaries.items()
                if roots.get(uuid) in allowed
            },
        },
    )


def _allowed(
    snapshot: content.Snapshot, question: exchange.Question, roots: set[str]
) -> set[str]:
    """Return the compute nodes that a query allows."""
    for key, value in question.query:
        if key == 'in_tree':
            roots &= {value}
        elif key == 'member_of':
            kind, _colon, uuids = value.partition('in:')
            members = _members(snapshot, set(uuids.split(',')))
            roots = roots - members if kind == '!' else roots & members
    return roots


def _members(snapshot: content.Snapshot, aggregates: set[str]) -> set[str]:
    """Return the IDs of the compute nodes of aggregates."""
    hosts = {
        host
        for _question, values in _bodies(
            snapshot, 'compute', '/os-aggregates', 'aggregates'
        )
        for record in _records(values)
        if record.get('uuid') in aggregates
        for host in record.get('hosts') or ()
    }
    return {
        str(record.get('id'))
        for _question, values in _bodies(
            snapshot, 'compute', '/os-hypervisors/detail', 'hypervisors'
        )
        for record in _records(values)
        if isinstance(service := record.get('service'), dict)
        and service.get('host') in hosts
    }


_RULES: tuple[
    tuple[str, str, collections.abc.Callable[..., exchange.Answer | None]],
    ...,
] = (
    ('compute', '/servers/detail', _servers),
    ('compute', '/servers', _named_servers),
    ('compute', '/servers/([^/]+)', _server),
    ('identity', '/projects', _projects),
    ('identity', '/projects/([^/]+)', _project),
    ('identity', '/users/([^/]+)', _user),
    (
        'placement',
        '/resource_providers/([^/]+)/allocations',
        _provider_allocations,
    ),
    ('placement', '/allocations/([^/]+)', _consumer),
    ('placement', '/allocation_candidates', _candidates),
)
