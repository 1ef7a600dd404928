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

"""Answers of services that are wrong, lost, late or meant to harm.

A small cloud answers in the process itself. Each attack spoils some of its
answers and runs a command: whatever comes, it ends with a status, or with an
error of ours, and every line that it prints can be shown on a terminal.
"""

import argparse
import collections.abc
import contextlib
import copy
import functools
import io
import itertools
import json
import logging
import random
import re
import typing
import unittest.mock

from openstack import connection
import requests
import requests_mock

from gpuclient import exceptions
from gpuclient.osc import command
from gpuclient.osc.v1 import alias
from gpuclient.osc.v1 import alias_verify
from gpuclient.osc.v1 import capacity
from gpuclient.osc.v1 import flavor
from gpuclient.osc.v1 import placement
from gpuclient.osc.v1 import server

BRIEF = 150
LONG = 5000

ROOT = '00000000-0000-4000-8000-000000000001'
CARDS = tuple(f'00000000-0000-4000-8000-00000000001{n}' for n in range(3))
SERVER = '00000000-0000-4000-8000-0000000000aa'
FLAVOR = '00000000-0000-4000-8000-0000000000ff'
CLASS = 'CUSTOM_PCI_10DE_20F1'
_NOVA = 'http://nova/v2.1'
_PLACEMENT = 'http://placement'
_KEYSTONE = 'http://keystone/v3'

_COMMANDS: tuple[tuple[type[command.Command], tuple[str, ...]], ...] = (
    (placement.ListPlacement, ('--long',)),
    (placement.ShowPlacement, ('gpu-1',)),
    (placement.ShowPlacement, (CLASS,)),
    (server.ListServer, ('--long', '--all-projects')),
    (flavor.ListFlavor, ('--long',)),
    (flavor.ShowFlavor, ('gpu.1',)),
    (capacity.ListCapacity, ('--long',)),
    (capacity.ShowCapacity, ('gpu.1',)),
    (alias.ListAlias, ()),
    (alias.ShowAlias, ('a100',)),
    (alias_verify.VerifyAlias, ('a100', 'other')),
)
_FORMATS = ('table', 'json', 'value', 'yaml')
_FORMATS_OF_LISTS = (*_FORMATS, 'csv')
_HARMFUL = (
    None,
    True,
    0,
    -1,
    10**30,
    1.5,
    float('inf'),
    '',
    'x' * 5000,
    '\x1b[2J\x1b]0;t\x07',
    'a\nb\r\x00\x9b',
    '\u202e\u2028',
    '=cmd()',
    '../../x?y#z',
    [],
    {},
    [[[]]],
    {'a': {'a': None}},
)
#: Servers that are none of the cloud.
_ELSEWHERE = (
    'http://elsewhere/',
    '//elsewhere/v2.1',
    'https://nova@elsewhere/',
    'http://nova:81/elsewhere',
)
_STATUSES = (204, 300, 400, 401, 403, 404, 406, 409, 429, 500, 502, 503)


def _provider(uuid: str, name: str, parent: str | None) -> dict[str, object]:
    return {
        'uuid': uuid,
        'name': name,
        'generation': 1,
        'root_provider_uuid': ROOT,
        'parent_provider_uuid': parent,
    }


def _summary(parent: str | None, **resources: tuple[int, int]) -> object:
    return {
        'resources': {
            name: {'capacity': total, 'used': used}
            for name, (total, used) in resources.items()
        },
        'traits': ['COMPUTE_MANAGED_PCI_DEVICE'] if parent else [],
        'root_provider_uuid': ROOT,
        'parent_provider_uuid': parent,
    }


def _inventory(total: int) -> dict[str, object]:
    return {
        'total': total,
        'reserved': 0,
        'min_unit': 1,
        'max_unit': total,
        'step_size': 1,
        'allocation_ratio': 1.0,
    }


_PROVIDERS = [
    _provider(ROOT, 'gpu-1', None),
    *(
        _provider(uuid, f'gpu-1_0000:0{number}:00.0', ROOT)
        for number, uuid in enumerate(CARDS)
    ),
]
_ALLOCATION = {'resources': {CLASS: 1}, 'generation': 1}
_FLAVOR = {
    'id': FLAVOR,
    'name': 'gpu.1',
    'vcpus': 1,
    'ram': 512,
    'disk': 1,
    'swap': 0,
    'OS-FLV-EXT-DATA:ephemeral': 0,
    'os-flavor-access:is_public': True,
    'extra_specs': {'pci_passthrough:alias': 'a100:1'},
}
#: Answers by the end of an address, the first that matches.
_ANSWERS: tuple[tuple[str, str, object], ...] = (
    (
        'GET',
        'nova/v2.1/?',
        {
            'version': {
                'id': 'v2.1',
                'status': 'CURRENT',
                'version': '2.104',
                'min_version': '2.1',
                'links': [{'rel': 'self', 'href': _NOVA}],
            }
        },
    ),
    (
        'GET',
        'placement/?',
        {
            'versions': [
                {
                    'id': 'v1.0',
                    'status': 'CURRENT',
                    'max_version': '1.39',
                    'min_version': '1.0',
                    'links': [{'rel': 'self', 'href': ''}],
                }
            ]
        },
    ),
    (
        'GET',
        'keystone/v3/?',
        {
            'version': {
                'id': 'v3.14',
                'status': 'stable',
                'links': [{'rel': 'self', 'href': _KEYSTONE}],
            }
        },
    ),
    (
        'GET',
        '/servers/detail',
        {
            'servers': [
                {
                    'id': SERVER,
                    'name': 'one',
                    'status': 'ACTIVE',
                    'tenant_id': 'p1',
                    'user_id': 'u1',
                    'OS-EXT-SRV-ATTR:host': 'gpu-1',
                    'OS-EXT-SRV-ATTR:hypervisor_hostname': 'gpu-1',
                    'flavor': {
                        'original_name': 'gpu.1',
                        'extra_specs': _FLAVOR['extra_specs'],
                    },
                }
            ],
            'servers_links': [],
        },
    ),
    ('GET', '/servers', {'servers': []}),
    ('GET', '/flavors/detail', {'flavors': [_FLAVOR]}),
    (
        'GET',
        '/os-hypervisors/detail',
        {
            'hypervisors': [
                {
                    'id': ROOT,
                    'hypervisor_hostname': 'gpu-1',
                    'status': 'enabled',
                    'state': 'up',
                    'service': {'host': 'gpu-1', 'disabled_reason': None},
                }
            ]
        },
    ),
    (
        'GET',
        '/os-hypervisors/statistics',
        {'hypervisor_statistics': {'count': 1, 'running_vms': 1}},
    ),
    (
        'GET',
        '/os-aggregates',
        {
            'aggregates': [
                {
                    'id': 1,
                    'name': 'g',
                    'hosts': ['gpu-1'],
                    'metadata': {'a': 'b'},
                }
            ]
        },
    ),
    (
        'GET',
        '/os-availability-zone',
        {'availabilityZoneInfo': [{'zoneName': 'nova'}]},
    ),
    (
        'GET',
        '/os-flavor-access',
        {'flavor_access': [{'tenant_id': 'p1', 'flavor_id': FLAVOR}]},
    ),
    ('GET', '/os-extra_specs', {'extra_specs': _FLAVOR['extra_specs']}),
    ('GET', '/projects', {'projects': [{'id': 'p1', 'name': 'research'}]}),
    ('GET', '/projects/p1', {'project': {'id': 'p1', 'name': 'research'}}),
    (
        'GET',
        '/resource_providers',
        {'resource_providers': _PROVIDERS[1:]},
    ),
    (
        'GET',
        '/allocation_candidates',
        {
            'allocation_requests': [{}],
            'provider_summaries': {
                ROOT: _summary(None, VCPU=(8, 1), MEMORY_MB=(4096, 512)),
                CARDS[0]: _summary(ROOT, **{CLASS: (1, 1)}),
                CARDS[1]: _summary(ROOT, **{CLASS: (1, 0)}),
            },
        },
    ),
    (
        'GET',
        f'/{ROOT}/inventories',
        {
            'inventories': {
                'VCPU': _inventory(8),
                'MEMORY_MB': _inventory(4096),
            },
            'resource_provider_generation': 1,
        },
    ),
    (
        'GET',
        '/inventories',
        {
            'inventories': {CLASS: _inventory(1)},
            'resource_provider_generation': 1,
        },
    ),
    ('GET', '/usages', {'usages': {CLASS: 1}}),
    ('GET', '/traits', {'traits': ['COMPUTE_MANAGED_PCI_DEVICE']}),
    (
        'GET',
        f'/{CARDS[0]}/allocations',
        {'allocations': {SERVER: _ALLOCATION}},
    ),
    ('GET', '/allocations', {'allocations': {}}),
    (
        'GET',
        f'/allocations/{SERVER}',
        {
            'allocations': {CARDS[0]: _ALLOCATION},
            'project_id': 'p1',
            'user_id': 'u1',
            'consumer_type': 'INSTANCE',
        },
    ),
    ('GET', '/resource_classes', {'resource_classes': [{'name': CLASS}]}),
    ('GET', f'/resource_providers/{ROOT}', _PROVIDERS[0]),
    (
        'POST',
        '/servers',
        {
            'badRequest': {
                'message': 'Cannot attach one or more volumes to multiple '
                'instances'
            }
        },
    ),
    ('POST', '/flavors', {'flavor': _FLAVOR}),
    ('POST', '/os-extra_specs', {'extra_specs': _FLAVOR['extra_specs']}),
)


def right_answer(method: str, url: str) -> tuple[int, object]:
    address = url.partition('?')[0]
    if 'name=gpu-1' in url and address.endswith('/resource_providers'):
        return 200, {'resource_providers': _PROVIDERS[:1]}
    for known, ending, body in _ANSWERS:
        if known == method and re.search(f'{ending}$', address):
            refused = (method, ending) == ('POST', '/servers')
            return (400 if refused else 200), body
    return (204, None) if method == 'DELETE' else (404, {})


class Cloud:
    """Answers requests, some of them wrongly."""

    def __init__(self, source: random.Random, chance: float) -> None:
        self._source = source
        self._chance = chance

    def answer(self, request: typing.Any, context: typing.Any) -> str:
        status, body = right_answer(request.method, request.url)
        context.status_code = status
        context.headers['Content-Type'] = 'application/json'
        if self._source.random() < self._chance:
            return self._spoil(context, copy.deepcopy(body))
        return json.dumps(body)

    def _spoil(self, context: typing.Any, body: object) -> str:
        way = self._source.randrange(9)
        if way == 0:
            return self._source.choice(
                ('', '{', '[' * 9999, 'null', '7', '<html>\x1b[2J</html>')
            )
        if way == 1:
            context.status_code = self._source.choice(_STATUSES)
            context.reason = self._source.choice(('Oops', '\x1b[31m\nOops'))
            context.headers['Retry-After'] = self._source.choice(
                ('0', '-1', '99999999999', 'never')
            )
            return json.dumps({'error': {'message': _HARMFUL[9]}})
        if way == 2:
            raise self._source.choice(
                (
                    requests.exceptions.ReadTimeout,
                    requests.exceptions.ConnectionError,
                    requests.exceptions.ChunkedEncodingError,
                )
            )('\x1b[2J')
        if way == 3:
            context.status_code = self._source.choice((301, 302, 307, 308))
            context.headers['Location'] = self._source.choice(_ELSEWHERE)
            return ''
        for _time in range(self._source.choice((1, 1, 1, 3))):
            body = self.mutate(body)
        return json.dumps(body)

    def mutate(self, value: typing.Any) -> typing.Any:
        """Return a value of which one part is another one, or missing."""
        if isinstance(value, dict) and value and self._source.random() < 0.9:
            key = self._source.choice(list(value))
            way = self._source.random()
            if way < 0.15:
                del value[key]
            elif way < 0.25:
                value[self._source.choice(('\x1b[2J', ''))] = value.pop(key)
            else:
                value[key] = self.mutate(value[key])
            return value
        if isinstance(value, list) and value and self._source.random() < 0.9:
            at = self._source.randrange(len(value))
            if self._source.random() < 0.2:
                return value * 2
            value[at] = self.mutate(value[at])
            return value
        return copy.deepcopy(self._source.choice(_HARMFUL))


def connect() -> connection.Connection:
    return connection.Connection(
        auth_type='none',
        endpoint=_PLACEMENT,
        compute_endpoint_override=_NOVA,
        placement_endpoint_override=_PLACEMENT,
        identity_endpoint_override=_KEYSTONE,
        compute_api_version='2.1',
        identity_api_version='3',
    )


def check_printable(output: str, source: str) -> None:
    for line in output.splitlines():
        shown = line.replace('\t', '')
        if not shown.isprintable():
            raise AssertionError(f'{source} prints {line!r}')


def _optional_connection(
    shown: command.Command, required: bool = False
) -> tuple[connection.Connection, str]:
    shown.bound(shown.cloud)
    return shown.cloud, ''


def run(
    kind: type[command.Command],
    arguments: collections.abc.Iterable[str],
    format_name: str,
) -> int:
    """Run a command; return its status, with 1 for an error of ours."""
    app = unittest.mock.Mock()
    app.options = argparse.Namespace(cloud=None)
    app.stdout = io.StringIO()
    app.client_manager.gpu = connect()
    messages = io.StringIO()
    log = logging.getLogger('hostile')
    log.propagate = False
    handler = logging.StreamHandler(messages)
    log.handlers = [handler]
    shown = kind(app, argparse.Namespace())
    with (
        unittest.mock.patch.object(kind, 'log', log),
        unittest.mock.patch.object(
            kind, 'authenticate', lambda self: self.bound(self.cloud)
        ),
        unittest.mock.patch.object(
            kind,
            'optional_connection',
            _optional_connection,
        ),
    ):
        parsed = shown.get_parser('x').parse_args(
            [*arguments, '-f', format_name]
        )
        try:
            status = shown.run(parsed)
        except exceptions.GPUError as exc:
            check_printable(str(exc).replace('\n', '\x1b'), 'an error')
            if not str(exc):
                raise AssertionError('an error without words') from exc
            status = 1
    check_printable(messages.getvalue(), 'stderr')
    check_printable(app.stdout.getvalue(), f'-f {format_name}')
    return status


@contextlib.contextmanager
def attacker() -> collections.abc.Iterator[
    collections.abc.Callable[[random.Random], str]
]:
    with (
        requests_mock.Mocker() as mock,
        # Nobody waits for a service that does not exist.
        unittest.mock.patch('time.sleep'),
    ):
        for kind, arguments in _COMMANDS:
            mock.register_uri(
                requests_mock.ANY,
                requests_mock.ANY,
                text=Cloud(random.Random(0), 0).answer,
            )
            if run(kind, arguments, 'json') not in (0, 3):
                raise AssertionError(f'{kind.__name__} fails as it is')
        yield functools.partial(_attack, mock)


def _attack(mock: requests_mock.Mocker, source: random.Random) -> str:
    chance = source.choice((0.1, 0.3, 1.0))
    cloud = Cloud(source, chance)
    count = itertools.count()

    def answer(request: typing.Any, context: typing.Any) -> str:
        if next(count) > 2000:
            raise AssertionError('requests without end')
        if 'elsewhere' in request.url:
            raise AssertionError(f'asked {request.url}')
        return cloud.answer(request, context)

    mock.register_uri(requests_mock.ANY, requests_mock.ANY, text=answer)
    kind, arguments = source.choice(_COMMANDS)
    formats = (
        _FORMATS_OF_LISTS if issubclass(kind, command.Lister) else _FORMATS
    )
    status = run(kind, arguments, source.choice(formats))
    return f'exit {status}'
