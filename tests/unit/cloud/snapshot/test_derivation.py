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

"""Filters are applied to the answers without them."""

import dataclasses

import testtools

from gpuclient.cloud.snapshot import derivation
from gpuclient.cloud.snapshot import exchange

from tests.unit.cloud.snapshot import test_content

ALL = {'all_tenants': 'True', 'limit': '1000'}


def ask(
    answers: dict[exchange.Question, object],
    service: str,
    path: str,
    *,
    status: int = 200,
    **params: str,
) -> exchange.Answer | None:
    snapshot = dataclasses.replace(
        test_content.SNAPSHOT,
        answers={
            question: exchange.Answer(status, body)
            for question, body in answers.items()
        },
    )
    return derivation.derive(
        snapshot, exchange.question(service, 'GET', path, params)
    )


def server(name: str, project: str, host: str | None) -> dict[str, object]:
    return {
        'id': name,
        'tenant_id': project,
        'user_id': f'user-of-{project}',
        'OS-EXT-SRV-ATTR:host': host,
        'OS-EXT-SRV-ATTR:hypervisor_hostname': host and f'{host}.example',
    }


SERVERS = [
    server('a', 'p1', 'gpu-1'),
    server('b', 'p2', 'gpu-1'),
    server('c', 'p2', 'gpu-2'),
    server('d', 'p2', None),
]
WHOLE = {
    exchange.question('compute', 'GET', '/servers/detail', ALL): {
        'servers': SERVERS[:3]
    },
    exchange.question(
        'compute', 'GET', '/servers/detail', {**ALL, 'marker': 'c'}
    ): {'servers': SERVERS[3:]},
}


class TestServers(testtools.TestCase):
    def assert_servers(self, names: str, **params: str) -> None:
        answer = ask(WHOLE, 'compute', '/servers/detail', **params)
        assert answer is not None
        self.assertEqual(
            names,
            ''.join(record['id'] for record in answer.body['servers']),
        )

    def test_filters(self) -> None:
        self.assert_servers('bcd', **ALL, project_id='p2')
        self.assert_servers('ab', **ALL, host='gpu-1')
        self.assert_servers('bcd', **ALL, user_id='user-of-p2')
        self.assert_servers('b', **ALL, project_id='p2', host='gpu-1')
        self.assert_servers(
            'abc', node='^(gpu-1[.]example|gpu-2[.]example)$', **ALL
        )
        self.assert_servers('', **ALL, host='gpu-7')

    def test_own_project(self) -> None:
        self.assert_servers('a', limit='1000')

    def test_unknown_filter(self) -> None:
        self.assertIsNone(
            ask(WHOLE, 'compute', '/servers/detail', **ALL, name='a')
        )

    def test_refused(self) -> None:
        answer = ask(
            {
                exchange.question('compute', 'GET', '/servers/detail', ALL): {
                    'forbidden': {'message': 'no'}
                }
            },
            'compute',
            '/servers/detail',
            status=403,
            **ALL,
            host='gpu-1',
        )
        assert answer is not None
        self.assertEqual(403, answer.status)

    def test_one(self) -> None:
        answer = ask(WHOLE, 'compute', '/servers/c')
        self.assertEqual(exchange.Answer(200, {'server': SERVERS[2]}), answer)
        answer = ask(WHOLE, 'compute', '/servers/x')
        assert answer is not None
        self.assertEqual(404, answer.status)

    def test_not_recorded(self) -> None:
        self.assertIsNone(ask({}, 'compute', '/servers/c'))
        self.assertIsNone(ask({}, 'compute', '/servers/detail', **ALL))
        self.assertIsNone(ask(WHOLE, 'compute', '/other'))


PROJECTS = {
    exchange.question('identity', 'GET', '/projects'): {
        'projects': [{'id': 'p2', 'name': 'a/b'}, {'id': 'p3', 'name': 'x'}]
    }
}


class TestIdentity(testtools.TestCase):
    def test_projects(self) -> None:
        answer = ask(PROJECTS, 'identity', '/projects', name='x')
        self.assertEqual(
            exchange.Answer(200, {'projects': [{'id': 'p3', 'name': 'x'}]}),
            answer,
        )
        answer = ask(PROJECTS, 'identity', '/projects/p2')
        self.assertEqual(
            exchange.Answer(200, {'project': {'id': 'p2', 'name': 'a/b'}}),
            answer,
        )
        answer = ask(PROJECTS, 'identity', '/projects/a%2Fb')
        assert answer is not None
        self.assertEqual(404, answer.status)

    def test_own_project(self) -> None:
        answer = ask({}, 'identity', '/projects/p1')
        self.assertEqual(
            exchange.Answer(
                200, {'project': {'id': 'p1', 'name': 'research'}}
            ),
            answer,
        )

    def test_refused(self) -> None:
        refused = {
            exchange.question('identity', 'GET', '/projects'): {
                'error': {'message': 'no'}
            }
        }
        for path, params in (
            ('/projects', {'name': 'x'}),
            ('/projects/x', {}),
        ):
            answer = ask(refused, 'identity', path, status=403, **params)
            assert answer is not None
            self.assertEqual(403, answer.status)

    def test_users(self) -> None:
        answer = ask(WHOLE, 'identity', '/users/user-of-p1')
        self.assertEqual(
            exchange.Answer(200, {'user': {'id': 'user-of-p1'}}), answer
        )
        self.assertIsNone(ask(WHOLE, 'identity', '/users/root'))

    def test_not_recorded(self) -> None:
        self.assertIsNone(ask({}, 'identity', '/projects', name='x'))
        self.assertIsNone(ask({}, 'identity', '/projects/x'))
        self.assertIsNone(
            ask(PROJECTS, 'identity', '/projects', name='x', domain_id='d')
        )


UNITS = {'resources': {'CUSTOM_GPU': 1}}


class TestAllocations(testtools.TestCase):
    def test_of_a_provider(self) -> None:
        answer = ask(
            {
                exchange.question('placement', 'GET', '/allocations/a'): {
                    'allocations': {'card-1': UNITS, 'card-2': UNITS}
                }
            },
            'placement',
            '/resource_providers/card-1/allocations',
        )
        self.assertEqual(
            exchange.Answer(200, {'allocations': {'a': UNITS}}), answer
        )

    def test_of_a_server(self) -> None:
        answers = {
            **WHOLE,
            exchange.question(
                'placement', 'GET', '/resource_providers/card-1/allocations'
            ): {'allocations': {'a': UNITS, 'x': UNITS}},
        }
        answer = ask(answers, 'placement', '/allocations/a')
        self.assertEqual(
            exchange.Answer(
                200,
                {
                    'allocations': {'card-1': UNITS},
                    'project_id': 'p1',
                    'user_id': 'user-of-p1',
                    'consumer_type': 'INSTANCE',
                },
            ),
            answer,
        )
        # It is no server, and was not read.
        self.assertIsNone(ask(answers, 'placement', '/allocations/x'))

    def test_not_recorded(self) -> None:
        self.assertIsNone(
            ask(WHOLE, 'placement', '/resource_providers/c/allocations')
        )

    def test_candidates(self) -> None:
        answers: dict[exchange.Question, object] = {
            exchange.question(
                'placement',
                'GET',
                '/allocation_candidates',
                {'resources': 'x'},
            ): {
                'allocation_requests': [
                    {'allocations': {'root-1': {}, 'card-1': {}}},
                    {'allocations': {'root-2': {}, 'card-2': {}}},
                ],
                'provider_summaries': {
                    f'{kind}-{number}': {
                        'root_provider_uuid': f'root-{number}'
                    }
                    for number in (1, 2)
                    for kind in ('root', 'card')
                },
            },
            exchange.question('compute', 'GET', '/os-aggregates'): {
                'aggregates': [{'uuid': 'group', 'hosts': ['gpu-2']}]
            },
            exchange.question('compute', 'GET', '/os-hypervisors/detail'): {
                'hypervisors': [
                    {
                        'id': f'root-{number}',
                        'service': {'host': f'gpu-{number}'},
                    }
                    for number in (1, 2)
                ]
            },
        }
        for params, number in (
            ({'in_tree': 'root-1'}, 1),
            ({'member_of': 'in:group,other'}, 2),
            ({'member_of': '!in:group'}, 1),
            ({'member_of': 'in:other'}, 0),
            ({'member_of': 'in:group', 'in_tree': 'root-1'}, 0),
        ):
            answer = ask(
                answers,
                'placement',
                '/allocation_candidates',
                resources='x',
                **params,
            )
            assert answer is not None
            requests = answer.body['allocation_requests']
            self.assertEqual(1 if number else 0, len(requests))
            self.assertEqual(
                {f'root-{number}', f'card-{number}'} if number else set(),
                set(answer.body['provider_summaries']),
            )
        self.assertIsNone(
            ask(
                answers,
                'placement',
                '/allocation_candidates',
                resources='y',
                in_tree='root-1',
            )
        )

    def test_malformed_answers(self) -> None:
        """A snapshot may come from a stranger."""
        for body in (None, [], 7, {'allocations': 7}, {'servers': [7, {}]}):
            hostile: dict[exchange.Question, object] = dict.fromkeys(
                (
                    *WHOLE,
                    *PROJECTS,
                    exchange.question('placement', 'GET', '/allocations/a'),
                ),
                body,
            )
            for service, path in (
                ('compute', '/servers/detail'),
                ('compute', '/servers/a'),
                ('identity', '/projects/x'),
                ('identity', '/users/x'),
                ('placement', '/allocations/b'),
                ('placement', '/allocation_candidates'),
                ('placement', '/resource_providers/c/allocations'),
            ):
                ask(hostile, service, path)
