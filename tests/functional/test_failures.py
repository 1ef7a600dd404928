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

"""Clouds that fail: each error is one line, and no result silently partial."""

import contextlib
import itertools
import json
import os
import pathlib
import re
import threading
import typing
import urllib.parse

import fixtures

from gpuclient.cloud.nova import servers

from tests.functional import base
from tests.functional import proxy

READS = (
    ('gpu', 'placement', 'list'),
    ('gpu', 'placement', 'show', 'edpm-compute-4.ctlplane.example.com'),
)
HOST = 'edpm-compute-1.ctlplane.example.com'

_NO_CANDIDATES = 'GET .*/allocation_candidates'
#: A service, the request to it that fails, the command, and the source that
#: its message names.
_SOURCES = (
    (
        'placement',
        r'GET .*/resource_providers\?resources=VCPU',
        ('capacity', 'list'),
        'least and most units of VCPU: ',
    ),
    (
        'placement',
        _NO_CANDIDATES,
        ('capacity', 'list'),
        'PCI devices of edpm-compute-.*: ',
    ),
    (
        'placement',
        f'{_NO_CANDIDATES}|GET .*/ROOT/inventories',
        ('capacity', 'list'),
        f'resources of host {HOST}: ',
    ),
    (
        'compute',
        'GET .*/servers/detail',
        ('placement', 'list'),
        'names of servers: ',
    ),
    (
        'compute',
        'GET .*/servers/detail',
        ('capacity', 'list'),
        'definitions of aliases: ',
    ),
    (
        'compute',
        'GET .*/flavors/detail',
        ('alias', 'list', '--config', 'CONFIG'),
        'flavors: ',
    ),
    (
        'placement',
        r'GET .*/resource_providers\?',
        ('alias', 'list', '--config', 'CONFIG'),
        'devices: ',
    ),
    (
        'identity',
        'GET .*/projects',
        ('metrics', 'show'),
        'names of projects: ',
    ),
    (
        'identity',
        'GET .*/projects',
        ('server', 'list'),
        'names of projects: ',
    ),
)


class TestFailures(base.CloudTestCase):
    def failed(self, *arguments: str, os_cloud: str | None = None) -> str:
        """Run a command without output; return its one-line error."""
        result = self.run_command(*arguments, os_cloud=os_cloud)
        self.assertEqual((1, ''), (result.status, result.stdout.strip()))
        self.assertEqual(1, len(result.stderr.strip().splitlines()))
        return result.stderr

    def test_no_such_cloud(self) -> None:
        for command in (*READS, ('gpu', 'server', 'list')):
            self.assertIn(
                'nosuchcloud', self.failed(*command, os_cloud='nosuchcloud')
            )

    def test_wrong_password(self) -> None:
        self.configure(auth={'password': 'wrong'})
        for command in (*READS, ('gpu', 'flavor', 'list')):
            message = self.failed(*command)
            self.assertIn('HTTP 401', message)
            self.assertNotIn('wrong', message)

    def test_no_placement_endpoint(self) -> None:
        self.configure(placement_service_type='absent')
        for command in READS:
            self.assertIn('asking Placement failed', self.failed(*command))
        # Others continue, and report what is missing.
        flavor = self.make_flavor('nvidia_pci:1')
        server = self.boot(flavor)
        result = self.run_command('gpu', 'server', 'list', '-f', 'json')
        self.assertEqual(1, result.status)
        self.assertIn(server.id, result.stdout)
        self.assertIn('devices of servers: asking Placement', result.stderr)
        shown = self.openstack(
            *('gpu', 'alias', 'create', 'nvidia_pci', '--vendor-id', '10de'),
            *('--product-id', '25b6', '--device-type', 'type-PCI'),
            *('-f', 'json'),
        )
        self.assertIn('skipped: asking Placement', shown['placement'])
        self.assertEqual('defined', shown['nova_api'])
        self.refused(
            *('gpu', 'alias', 'create', 'nvidia_pci', '--vendor-id', '10de'),
            *('--product-id', '25b6', '--require-cloud'),
        )

    def test_placement_forbids_the_request(self) -> None:
        for answer, message in (
            (
                proxy.Answer(403, '{"errors": [{"detail": "not you"}]}'),
                'not you (HTTP 403 Forbidden)',
            ),
            (proxy.Answer(503, '<h1>busy</h1>', 'text/html'), 'HTTP 503'),
            (proxy.Answer(200, 'x', 'text/plain'), 'is not JSON'),
        ):

            def rule(
                request: proxy.Request, answer: proxy.Answer = answer
            ) -> proxy.Answer | None:
                return (
                    answer if '/resource_providers' in request.path else None
                )

            between = self.through('placement', rule)
            for command in READS:
                self.assertIn(message, self.failed(*command))
            if answer.status == 503:
                # It may respond again after a moment.
                self.assertEqual(
                    8, between.paths().count('/resource_providers')
                )

    def boot_two(self) -> None:
        flavor = self.make_flavor('nvidia_pci:1')
        for _server in range(2):
            self.boot(flavor)

    def test_placement_stops_responding(self) -> None:
        """Rows that could be read are shown; missing ones are reported."""
        self.boot_two()
        self.configure(api_timeout=0.5)

        def rule(request: proxy.Request) -> proxy.Answer | None:
            return proxy.HANG if '/allocations' in request.path else None

        self.through('placement', rule)
        result = self.run_command(
            *('gpu', 'placement', 'list', '--host', HOST, '-f', 'json')
        )
        self.assertEqual(1, result.status)
        rows = json.loads(result.stdout)
        self.assertEqual(6, len(rows))
        used = [row for row in rows if row['Used']]
        self.assertGreaterEqual(len(used), 2)
        self.assertEqual([None] * len(used), [row['Servers'] for row in used])
        self.assertNotEqual('', result.stderr.strip())
        for line in result.stderr.strip().splitlines():
            # On a busy machine, even Nova may need longer than that.
            self.assertRegex(line, '(servers that hold|consumer |names of ).*')
            self.assertIn('timed out', line)

    def test_truncated_response(self) -> None:
        """A bulk read of Placement fails, and the read of one device."""
        refused = []

        def rule(request: proxy.Request) -> proxy.Answer | None:
            if 'allocation_candidates' in request.path:
                return proxy.Answer(400, '{"errors": [{"detail": "no"}]}')
            if request.path.endswith('/inventories'):
                refused.append(request.path)
                if request.path == refused[0]:
                    return proxy.Answer(500, 'broken', 'text/plain')
            return None

        self.through('placement', rule)
        result = self.run_command(*('gpu', 'placement', 'list', '-f', 'json'))
        self.assertEqual(1, result.status)
        self.assertIn('PCI device 0000:', result.stderr)
        self.assertIn('broken (HTTP 500', result.stderr)
        self.assertEqual(1, len(result.stderr.strip().splitlines()))
        rows = json.loads(result.stdout)
        self.assertEqual(1, [row['Total'] for row in rows].count(None))
        self.assertGreater(len(rows), 13)
        create = (
            *('gpu', 'alias', 'create', 'nvidia_pci', '--vendor-id', '10de'),
            *('--product-id', '25b6', '--device-type', 'type-PCI'),
        )
        refused.clear()
        shown = self.openstack(*create, '-f', 'json')
        self.assertRegex(shown['placement'], 'incomplete: PCI device .*broken')
        refused.clear()
        self.assertRegex(
            self.refused(*create, '--require-cloud'),
            '^PCI device .*: .*broken',
        )

    def test_nova_and_keystone_fail(self) -> None:
        """Names are missing, but no devices."""
        self.boot_two()

        def busy(request: proxy.Request) -> proxy.Answer | None:
            if '/servers/detail' in request.path or '/projects' in (
                request.path
            ):
                return proxy.Answer(500, 'busy', 'text/plain')
            return None

        for service, source in (
            ('compute', 'names of servers'),
            ('identity', 'names of projects'),
        ):
            with self.subTest(service):
                self.through(service, busy)
                result = self.run_command(
                    *('gpu', 'placement', 'list', '--host', HOST),
                    *('--used', '-f', 'json'),
                )
                self.assertEqual(1, result.status)
                self.assertIn(source, result.stderr)
                self.assertIn('busy (HTTP 500', result.stderr)
                for row in json.loads(result.stdout):
                    self.assertEqual(1, len(row['Servers']))

    def test_error_names_the_source_that_failed(self) -> None:
        """Each source that fails is reported, and the rest is shown."""
        self.boot(self.make_flavor('nvidia_pci:1'))
        nova_conf = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        nova_conf /= 'nova.conf'
        nova_conf.write_text(
            '[pci]\nalias = {"name": "nvidia_a2", "vendor_id": "10de", '
            '"product_id": "20f1", "device_type": "type-PF"}\n'
        )
        root = self._root()
        for service, pattern, command, message in _SOURCES:
            pattern = pattern.replace('ROOT', root)
            command = [
                os.fspath(nova_conf) if argument == 'CONFIG' else argument
                for argument in command
            ]
            # For devices of a host: Placement is busy, and refuses nothing.
            answer = proxy.Answer(
                503 if message.startswith('PCI') else 500, 'busy', 'text/plain'
            )

            def rule(
                request: proxy.Request,
                pattern: str = pattern,
                answer: proxy.Answer = answer,
            ) -> proxy.Answer | None:
                asked = f'{request.method} {request.path}'
                return answer if re.match(pattern, asked) else None

            with self.subTest(message, command=command):
                # All other services respond again.
                self.useFixture(
                    fixtures.EnvironmentVariable(
                        'OS_CLIENT_CONFIG_FILE', os.environ[base.CLOUDS_YAML]
                    )
                )
                self.through(service, rule)
                result = self.run_command('gpu', *command)
                self.assertEqual(1, result.status, result)
                self.assertNotEqual('', result.stdout, result)
                self.assertRegex(result.stderr, f'(?m)^{message}.*busy')

    def _root(self) -> str:
        (provider,) = self.connect().placement.resource_providers(name=HOST)
        return str(provider.id)

    def test_alias_that_nova_does_not_validate(self) -> None:
        """A note says so, and a server that was created is deleted."""
        flavor = self.make_flavor()

        def busy(request: proxy.Request) -> proxy.Answer | None:
            if (request.method, request.path[-8:]) == ('POST', '/servers'):
                return proxy.Answer(500, 'busy', 'text/plain')
            return None

        def accept(request: proxy.Request) -> proxy.Answer | None:
            if '/servers' not in request.path:
                return None
            if request.method == 'GET':
                return proxy.Answer(200, '{"servers": [{"id": "x"}]}')
            return proxy.Answer(202 if request.method == 'POST' else 204)

        for rule, message in (
            (busy, 'busy (HTTP 500'),
            (accept, 'nova-api accepted the request'),
        ):
            between = self.through('compute', rule)
            shown = self.openstack(
                *('gpu', 'flavor', 'set', flavor.name, '-f', 'json'),
                *('--alias', 'nvidia_a2:1'),
            )
            self.assertIn(
                f"Alias 'nvidia_a2' could not be checked: {message}",
                ' '.join(shown['notes']),
            )
        self.assertTrue(
            any(
                path.endswith('/servers/x') for path in between.paths('DELETE')
            )
        )

    def test_hidden_extra_specs(self) -> None:
        """Nova's policy may hide the extra specs of flavors from members."""
        self.boot(self.make_flavor('nvidia_pci:1'), os_cloud=base.MEMBER)
        compute = self.connect(base.MEMBER).compute

        def rule(request: proxy.Request) -> proxy.Answer | None:
            path = request.path[request.path.index('/v2.1') + 5 :]
            if not path.startswith(('/servers/detail', '/flavors/detail')):
                return None
            version = request.headers['openstack-api-version'].split()[1]
            answer = compute.get(path, microversion=version).json()
            for record in (
                *answer.get('servers', ()),
                *answer.get('flavors', ()),
            ):
                record.get('flavor', record).pop('extra_specs', None)
            return proxy.Answer(200, json.dumps(answer))

        self.through('compute', rule, os_cloud=base.MEMBER)
        for command in ('server', 'flavor'):
            message = self.failed('gpu', command, 'list', os_cloud=base.MEMBER)
            self.assertIn(
                'os_compute_api:os-flavor-extra-specs:index', message
            )

    def test_alias_without_a_known_definition(self) -> None:
        """Stranded devices are not reported as if the flavor did not exist."""
        flavor = self.make_flavor('unheard_of:1')
        result = self.run_command(
            'gpu', 'capacity', 'list', '--stranded', '-f', 'json'
        )
        self.assertEqual(0, result.status)
        self.assertIn(f'Flavor {flavor.name} is ignored: ', result.stderr)
        self.assertIn('unheard_of', result.stderr)

    def test_failed_lookup_of_a_project(self) -> None:
        """A project is looked up by name, and the response is invalid."""
        two = json.dumps(
            {
                'projects': [
                    {'id': project_id, 'name': 'x'} for project_id in 'ab'
                ]
            }
        )
        for answer, message in (
            (
                proxy.Answer(500, 'busy', 'text/plain'),
                "finding project 'x' failed: busy (HTTP 500",
            ),
            (proxy.DROP, "finding project 'x' failed: "),
            (proxy.Answer(401), "finding project 'x' failed: HTTP 401"),
            (proxy.Answer(200, two), 'More than one project'),
        ):

            def rule(
                request: proxy.Request, answer: proxy.Answer = answer
            ) -> proxy.Answer | None:
                if request.path.endswith('/projects/x'):
                    return proxy.Answer(404)
                return answer if '/projects' in request.path else None

            self.through('identity', rule)
            self.assertIn(
                message, self.failed('gpu', 'server', 'list', '--project', 'x')
            )

    def test_request_is_repeated_when_keystone_is_busy(self) -> None:
        busy = iter([proxy.Answer(503, 'busy', 'text/plain')])

        def rule(request: proxy.Request) -> proxy.Answer | None:
            return next(busy, None) if '/projects' in request.path else None

        self.through('identity', rule)
        self.openstack('gpu', 'server', 'list', '--project', 'demo')

    def test_flavor_that_cannot_be_deleted_is_named(self) -> None:
        """A flavor created to verify an alias and not deleted is named."""
        flavor = self.make_flavor()
        shown = {
            'id': flavor.id,
            'name': flavor.name,
            **dict.fromkeys(('vcpus', 'ram', 'disk'), 1),
            'os-flavor-access:is_public': True,
            'extra_specs': {},
        }

        def rule(request: proxy.Request) -> proxy.Answer | None:
            if request.method == 'DELETE':
                return proxy.Answer(500, 'busy', 'text/plain')
            if '/flavors/detail' in request.path:
                # None of them requests an alias.
                return proxy.Answer(200, json.dumps({'flavors': [shown]}))
            return None

        between = self.through('compute', rule)
        ids = ('--vendor-id', '10de', '--product-id', '20f1')
        for arguments, key in (
            (('alias', 'create', 'nvidia_a2', *ids), 'warnings'),
            (('flavor', 'set', flavor.id, '--alias', 'nvidia_a2:1'), 'notes'),
        ):
            output = self.openstack('gpu', *arguments, '-f', 'json')
            self.assertIn('temporary flavor', ' '.join(output[key]))
        compute = self.connect().compute
        for request in between.requests:
            if request.method == 'DELETE':
                compute.delete_flavor(request.path.rpartition('/')[2])

    def test_nova_is_unavailable(self) -> None:
        self.configure(compute_endpoint_override='http://127.0.0.1:1/v2.1')
        for command in (
            ('gpu', 'server', 'list'),
            ('gpu', 'flavor', 'set', 'x', '--alias', 'a:1'),
            ('gpu', 'alias', 'verify', 'a'),
        ):
            self.assertIn('127.0.0.1', self.failed(*command))


class _Seldom:
    """A rule that replaces the response to the first of every twenty requests.

    Candidate queries are refused, so that each device is requested on its
    own, several at once.
    """

    def __init__(self, answer: proxy.Answer) -> None:
        self._answer = answer
        self._count = itertools.count()
        self.hits = 0

    def __call__(self, request: proxy.Request) -> proxy.Answer | None:
        if next(self._count) % 20 == 0:
            self.hits += 1
            return self._answer
        return _refuse_candidates(request)


def _refuse_candidates(request: proxy.Request) -> proxy.Answer | None:
    if 'allocation_candidates' in request.path:
        return proxy.Answer(400, '{"errors": [{"detail": "no"}]}')
    return None


class TestRecovery(base.CommonCloudTestCase):
    """All devices are read from a Placement that sometimes fails."""

    name = 'sixteen'
    arguments = ('--hosts', '2', '--gpus', '8')

    def rows(self) -> list[dict[str, typing.Any]]:
        rows: list[dict[str, typing.Any]] = self.openstack(
            'gpu', 'placement', 'list', '--long', '-f', 'json'
        )
        return rows

    def test_recovery(self) -> None:
        expected = self.rows()
        self.assertEqual(16, len(expected))
        for name, answer, settings in (
            ('busy', proxy.Answer(503, 'busy', 'text/plain'), {}),
            ('dropped', proxy.DROP, {}),
            ('cut off', proxy.CUT, {}),
            ('silent', proxy.HANG, {'api_timeout': 3}),
        ):
            with self.subTest(name):
                self.configure(**settings)
                rule = _Seldom(answer)
                self.through('placement', rule)
                self.assertEqual(expected, self.rows())
                self.assertGreaterEqual(rule.hits, 3)

    def test_resource_provider_of_one_host_fails(self) -> None:
        """A provider that never responds is reported; all others are exact."""
        expected = self.rows()
        lost = expected[0]['Provider ID']

        def rule(request: proxy.Request) -> proxy.Answer | None:
            if lost in request.path:
                return proxy.Answer(503, 'busy', 'text/plain')
            return _refuse_candidates(request)

        self.through('placement', rule)
        result = self.run_command(
            'gpu', 'placement', 'list', '--long', '-f', 'json'
        )
        self.assertEqual(1, result.status)
        self.assertIn(expected[0]['Address'], result.stderr)
        self.assertIn(expected[0]['Host'], result.stderr)
        self.assertIn('HTTP 503', result.stderr)
        rows = {row['Provider ID']: row for row in json.loads(result.stdout)}
        self.assertIsNone(rows.pop(lost)['Total'])
        self.assertEqual(
            expected[1:],
            [rows[row['Provider ID']] for row in expected[1:]],
        )

    def test_expired_token(self) -> None:
        """A token expires while eight threads read; the output is complete."""
        expected = self.rows()
        expired: set[str] = set()
        together = threading.Barrier(4)
        refused = []

        def rule(request: proxy.Request) -> proxy.Answer | None:
            token = request.headers.get('x-auth-token', '')
            if request.path.endswith('/usages') and not expired:
                expired.add(token)
            if token in expired:
                refused.append(request.path)
                # All of them get the response at the same time.
                with contextlib.suppress(threading.BrokenBarrierError):
                    together.wait(2)
                return proxy.Answer(401, '{"message": "expired"}')
            return _refuse_candidates(request)

        self.through('placement', rule)
        self.assertEqual(expected, self.rows())
        self.assertGreaterEqual(len(refused), 4)

    def test_number_of_requests(self) -> None:
        between = self.through('placement')
        self.assertEqual({1}, {row['Total'] for row in self.rows()})
        self.assertEqual(
            ['/', '/allocation_candidates', '/resource_providers'],
            sorted(path for path in between.paths()),
            'one to learn the version, one for names, one for numbers',
        )


class TestServersOfAHost(base.CloudTestCase):
    """Only the servers of the hosts with devices are requested from Nova."""

    def names(self) -> set[str]:
        rows = self.openstack(
            *('gpu', 'placement', 'list', '--host', HOST),
            *('--used', '-f', 'json'),
        )
        return {server['name'] for row in rows for server in row['Servers']}

    def test_names(self) -> None:
        server = self.boot(self.make_flavor('nvidia_pci:1'))
        between = self.through('compute')
        self.assertIn(server.name, self.names())
        asked = [
            urllib.parse.unquote(request.path)
            for request in between.requests
            if '/servers' in request.path
        ]
        self.assertEqual(1, len(asked), asked)
        self.assertIn(
            '^(edpm-compute-1[.]ctlplane[.]example[.]com)$', asked[0]
        )
        # A server that Nova has on another host is requested by its ID.
        between.rule = lambda request: (
            proxy.Answer(200, '{"servers": []}')
            if '/servers/detail' in request.path
            else None
        )
        self.assertIn(server.name, self.names())

    def test_no_other_servers(self) -> None:
        """Nova itself filters out servers on other hosts."""
        server = self.boot(self.make_flavor('nvidia_pci:1'))
        other = self.boot(self.make_flavor('nvidia_vf:1'))
        compute = self.connect().compute
        listed = servers.list_servers(
            compute, all_projects=True, hosts=['edpm-compute-1', HOST]
        )
        ids = {server.uuid for server in listed}
        self.assertIn(server.id, ids)
        self.assertNotIn(other.id, ids)
        # A server of another test may not have a host yet.
        self.assertLessEqual({server.host for server in listed}, {HOST, None})
