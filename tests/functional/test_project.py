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

"""``openstack gpu project`` with real limits, flavors and servers."""

import collections.abc
import contextlib
import json
import os
import pathlib
import pty
import subprocess
import typing

import fixtures
from openstack import exceptions as sdk_exceptions

from tests.functional import base
from tests.functional import proxy

CLASS = 'CUSTOM_PCI_10DE_20F1'
LIMIT = f'class:{CLASS}'
_SPEC = pathlib.Path(__file__).parent / 'unified_limits.yaml'


class ProjectMixin(base.ShellTestCase):
    """What tests on both clouds do."""

    def make_project(self, name: str) -> typing.Any:
        """Create a project; it is deleted when the test ends."""
        identity = self.connect().identity
        project = identity.create_project(
            name=name, domain_id='default', is_enabled=True
        )
        self.addCleanup(
            identity.delete_project, project.id, ignore_missing=True
        )
        return project

    def private_flavor(
        self, name: str, aliases: str | None = None
    ) -> typing.Any:
        """Create a private flavor; it is deleted when the test ends."""
        compute = self.connect().compute
        flavor = compute.create_flavor(
            name=name, vcpus=1, ram=512, disk=1, is_public=False
        )
        self.addCleanup(compute.delete_flavor, flavor.id)
        if aliases:
            compute.create_flavor_extra_specs(
                flavor, {'pci_passthrough:alias': aliases}
            )
        return flavor

    def project(
        self, action: str, *arguments: str, status: int = 0
    ) -> typing.Any:
        return self.openstack(
            'gpu', 'project', action, *arguments, '-f', 'json', status=status
        )

    @staticmethod
    def states(shown: dict[str, typing.Any]) -> list[tuple[str, str]]:
        return [(step['name'], step['state']) for step in shown['steps']]


class TestLegacyQuotas(ProjectMixin, base.CloudTestCase):
    """The cloud of most tests has the legacy quota driver."""

    @contextlib.contextmanager
    def deleted_meanwhile(
        self, flavor: typing.Any
    ) -> collections.abc.Iterator[None]:
        """Let a flavor be gone once it was listed."""
        gone = proxy.Answer(
            404, json.dumps({'itemNotFound': {'message': 'no such flavor'}})
        )
        path = f'/flavors/{flavor.id}/os-flavor-access'
        before = os.environ['OS_CLIENT_CONFIG_FILE']
        self.through(
            'compute',
            lambda request: gone if request.path.endswith(path) else None,
        )
        yield
        os.environ['OS_CLIENT_CONFIG_FILE'] = before

    def test_set_and_unset(self) -> None:
        project = self.make_project(self.unique('project'))
        flavor = self.private_flavor(self.unique('flavor'), 'nvidia_a2:1')
        arguments = (
            *(project.name, '--flavor', flavor.name),
            *('--quota', 'instances=3'),
        )
        shown = self.project('set', *arguments, '--dry-run')
        self.assertEqual(
            [('instances', 'planned'), (flavor.name, 'planned')],
            self.states(shown),
        )
        shown = self.project('set', *arguments)
        self.assertTrue(shown['changed'])
        self.assertEqual(
            [('instances', 'changed'), (flavor.name, 'changed')],
            self.states(shown),
        )
        shown = self.project('set', *arguments)
        self.assertFalse(shown['changed'])
        shown = self.project('show', project.name)
        self.assertEqual('legacy', shown['quota_driver'])
        self.assertEqual([flavor.name], shown['flavors'])
        self.assertEqual(3, shown['quotas']['instances'])
        (row,) = [
            row
            for row in self.project('list', '--long')
            if row['ID'] == project.id
        ]
        self.assertEqual([flavor.name], row['Flavors'])
        with self.deleted_meanwhile(flavor):
            self.assertNotIn(
                flavor.name, json.dumps(self.project('list', '--long'))
            )
        shown = self.project('unset', project.name, '--all')
        self.assertIn(('instances', 'changed'), self.states(shown))
        self.assertIn((flavor.name, 'changed'), self.states(shown))
        self.assertFalse(
            self.project('unset', project.name, '--all')['changed']
        )
        self.project('set', *arguments)
        # Keystone no longer knows the project, but Nova does.
        self.connect().identity.delete_project(project.id)
        (row,) = [
            row
            for row in self.project('list', '--long')
            if row['ID'] == project.id
        ]
        self.assertIn('GPU810', row['Findings'][0])
        shown = self.project('unset', project.id, '--all')
        self.assertEqual([(flavor.name, 'changed')], self.states(shown))
        self.assertNotIn(
            project.id, [row['ID'] for row in self.project('list')]
        )

    def test_refused(self) -> None:
        project = self.make_project(self.unique('project'))
        flavor = self.private_flavor(self.unique('flavor'), 'nvidia_a2:1')
        public = self.make_flavor('nvidia_a2:1')
        for arguments, message in (
            ((), 'Nothing to set'),
            (('--flavor', 'nosuch'), "No flavor has the name or ID 'nosuch'"),
            (('--flavor', public.name), 'is public'),
            (('--limit', 'nosuch=1'), "resource class of 'nosuch' is not"),
            (('--limit', 'servers'), "'servers' is not NAME=N"),
            (('--limit', 'servers=-2'), "'servers=-2' is not NAME=N"),
            (('--limit', 'servers=4294967296'), 'Keystone takes -1'),
            (('--limit', 'CUSTOM_NOSUCH=1'), 'no resource class CUSTOM_NOS'),
            (('--limit', 'class:NOSUCH=1'), "'NOSUCH' is no resource class"),
            (('--limit', f'{CLASS}=1'), 'GPU802: Nova runs the legacy'),
            (('--limit', 'servers=1', '--region', 'x'), "in region 'x'"),
            (('--limit', 'servers=1', '--limit', 'servers=2'), 'twice'),
            (('--quota', 'gpus=1'), '--quota gpus is none of'),
            (('--quota', 'ram'), "--quota 'ram' is not NAME=VALUE"),
            (('--server-group', 'a=b'), "'b' is no policy of server groups"),
            (('--aggregate', 'nosuch'), 'No host aggregate has the name'),
        ):
            error = self.refused(
                'gpu', 'project', 'set', project.name, *arguments
            )
            self.assertIn(message, error)
            self.assertEqual(1, len(error.splitlines()), error)
        self.assertIn(
            "No project has the name or ID 'nosuch'",
            self.refused(
                'gpu', 'project', 'set', 'nosuch', '--flavor', flavor.name
            ),
        )
        self.assertIn(
            'Nothing to unset',
            self.refused('gpu', 'project', 'unset', project.name),
        )
        for arguments in (
            ('set', 'demo', '--flavor', flavor.name),
            ('unset', 'demo', '--all'),
        ):
            self.assertIn(
                'Only administrators set what projects may use',
                self.refused(
                    'gpu', 'project', *arguments, os_cloud=base.MEMBER
                ),
            )

    def test_member(self) -> None:
        """A member sees what the own project may use."""
        flavor = self.private_flavor(self.unique('flavor'), 'nvidia_a2:1')
        self.project('set', 'demo', '--flavor', flavor.name)
        shown = self.as_member('gpu', 'project', 'show', '-f', 'json')
        self.assertEqual('demo', shown['name'])
        self.assertIn(flavor.name, shown['flavors'])
        self.assertIsNone(shown['aggregates'])
        self.project('unset', 'demo', '--flavor', flavor.name)
        shown = self.as_member('gpu', 'project', 'show', 'demo', '-f', 'json')
        self.assertNotIn(flavor.name, shown['flavors'])


class TestUnifiedLimits(ProjectMixin, base.CommonCloudTestCase):
    """Nova has the unified limits driver."""

    name = 'projects'
    arguments = ('--spec', str(_SPEC))

    def setUp(self) -> None:
        super().setUp()
        self.member = f'{self.os_cloud}-member'
        self.addCleanup(self._clear)
        identity = self.connect().identity
        (self.demo,) = identity.projects(name='demo')

    def _clear(self) -> None:
        """Delete servers and limits."""
        cloud = self.connect()
        self.delete(
            *(server.id for server in cloud.compute.servers(all_projects=True))
        )
        for limit in cloud.identity.limits():
            cloud.identity.delete_limit(limit)
        for limit in cloud.identity.registered_limits():
            cloud.identity.delete_registered_limit(limit)

    def flavors(self) -> tuple[typing.Any, typing.Any]:
        return (
            self.private_flavor('gpu.a100.1', 'nvidia_a100:1'),
            self.private_flavor('cpu.1'),
        )

    def onboard(self, *arguments: str, status: int = 0) -> typing.Any:
        return self.project(
            *('set', 'demo', '--flavor', 'gpu.a100.1'),
            *('--limit', 'nvidia_a100=2', '--limit', 'servers=8'),
            *arguments,
            status=status,
        )

    def create(self, flavor: typing.Any) -> typing.Any:
        """Create a server as the member; return the response."""
        (image,) = self.connect().image.images(name='blank')
        return self.connect(self.member).compute.post(
            '/servers',
            json={
                'server': {
                    'name': 'server',
                    'flavorRef': flavor.id,
                    'imageRef': image.id,
                    'networks': 'none',
                }
            },
            microversion='2.90',
        )

    def boot(self, flavor: typing.Any) -> str:
        response = self.create(flavor)
        self.assertEqual(202, response.status_code, response.text)
        server_id = response.json()['server']['id']
        self.wait_for_server(server_id, 'ACTIVE')
        return server_id

    def test_from_onboarding_to_nothing_left(self) -> None:
        gpu, cpu = self.flavors()
        shown = self.onboard('--flavor', 'cpu.1')
        self.assertEqual(
            [
                (LIMIT, 'changed'),
                ('servers', 'changed'),
                (LIMIT, 'changed'),
                ('servers', 'changed'),
                ('gpu.a100.1', 'changed'),
                ('cpu.1', 'changed'),
            ],
            self.states(shown),
        )
        self.assertEqual(
            {
                'kind': 'registered limit',
                'name': LIMIT,
                'before': None,
                'after': 0,
                'state': 'changed',
            },
            shown['steps'][0],
        )
        self.assertTrue(shown['notes'][-1].startswith('GPU804: Nova 34 '))
        self.assert_golden('project_set', shown)
        self.assertFalse(self.onboard('--flavor', 'cpu.1')['changed'])
        # Up to the limit, and not one more.
        self.boot(gpu)
        self.boot(gpu)
        response = self.create(gpu)
        self.assertEqual(403, response.status_code, response.text)
        self.assertIn(
            f'Resource {LIMIT} is over limit of 2 due to current usage 2 and '
            'delta 1',
            response.text,
        )
        self.assertEqual([], self.project('list', '--over-limit'))
        shown = self.openstack(
            *('gpu', 'project', 'show', '-f', 'json'), os_cloud=self.member
        )
        self.assertEqual(
            {
                'name': LIMIT,
                'limit': 2,
                'source': 'project',
                'used': 2,
                'left': 0,
            },
            shown['limits'][0],
        )
        self.assertEqual(2, shown['limits'][1]['used'])
        self.assert_golden('project_show_member', shown)
        self.assert_golden('project_list', self.project('list', '--long'))
        self._resize_past_the_limit(gpu, cpu)
        self._offboard()

    def _resize_past_the_limit(self, gpu: typing.Any, cpu: typing.Any) -> None:
        server_id = self.boot(cpu)
        compute = self.connect(self.member).compute
        compute.resize_server(server_id, gpu)
        self.wait_for_server(server_id, 'VERIFY_RESIZE')
        compute.confirm_server_resize(server_id)
        self.wait_for_server(server_id, 'ACTIVE')
        (row,) = self.openstack(
            *('gpu', 'project', 'list', '--over-limit', '-f', 'json'), status=3
        )
        self.assertEqual(
            {
                'Project ID': self.demo.id,
                'Project': 'demo',
                'Name': LIMIT,
                'Limit': 2,
                'Source': 'project',
                'Used': 3,
            },
            row,
        )
        self.assert_golden('project_list_over_limit', [row])
        shown = self.project('show', 'demo')
        self.assertTrue(shown['findings'][0].startswith('GPU676: '))
        self.assert_golden('project_show', shown)

    def _offboard(self) -> None:
        error = self.refused(
            *('gpu', 'project', 'unset', 'demo', '--all', '-f', 'json')
        )
        self.assertIn(f'{LIMIT} to 0, of which 3 are in use', error)
        self.delete(
            *(
                server.id
                for server in self.connect().compute.servers(all_projects=True)
            )
        )
        shown = self.project('unset', 'demo', '--all')
        self.assertEqual(
            [
                ('gpu.a100.1', 'changed'),
                (LIMIT, 'changed'),
                ('servers', 'changed'),
            ],
            self.states(shown),
        )
        self.assertEqual([], list(self.connect().identity.limits()))
        self.assertEqual(
            ['cpu.1'],
            [
                flavor.name
                for flavor in self.connect(self.member).compute.flavors()
            ],
        )
        self.openstack(
            *('flavor', 'unset', '--project', self.demo.id, 'cpu.1')
        )
        self.assertEqual([], self.project('list'))

    def write(self, text: str) -> str:
        path = pathlib.Path(self.useFixture(fixtures.TempDir()).path, 'p.yaml')
        path.write_text(text)
        return str(path)

    def apply(
        self, *arguments: str, status: int = 0
    ) -> list[dict[str, typing.Any]]:
        """Return the rows of a run; its notes are on stderr."""
        result = self.run_command(
            'gpu', 'project', 'apply', *arguments, '-f', 'json'
        )
        self.assertEqual(
            status, result.status, f'{result.stdout}\n{result.stderr}'
        )
        return json.loads(result.stdout)

    def test_apply(self) -> None:
        self.flavors()
        other = self.make_project('other')
        gone = self.make_project('gone')
        self.project('set', gone.id, '--flavor', 'gpu.a100.1')
        self.project('set', 'other', '--flavor', 'gpu.a100.1')
        self.connect().identity.delete_project(gone.id)
        path = self.write(
            'projects:\n'
            '- {name: demo, flavors: [gpu.a100.1], limits: {nvidia_a100: 2}}\n'
            '- {name: other, flavors: [], limits: {class:PCPU: 4}}\n'
            f'- {{id: {gone.id}, state: absent}}\n'
        )
        expected = [
            (None, LIMIT, None, 0),
            (None, 'class:PCPU', None, -1),
            ('demo', LIMIT, None, 2),
            ('demo', 'gpu.a100.1', False, True),
            ('other', 'gpu.a100.1', True, False),
            ('other', 'class:PCPU', None, 4),
            (gone.id, 'gpu.a100.1', True, False),
        ]
        rows = self.apply(path, '--check', status=3)
        self.assertEqual(
            expected,
            [
                (row['Project'], row['Name'], row['Before'], row['After'])
                for row in rows
            ],
        )
        self.assertIn(
            'The plan has 7 changes, and nothing was changed',
            self.refused('gpu', 'project', 'apply', path),
        )
        rows = self.apply(path, '--yes')
        self.assertEqual({'changed'}, {row['State'] for row in rows})
        self.assert_golden('project_apply', rows)
        self.assertEqual([], self.apply(path, '--check'))
        rows = self.apply(path, '--yes', '--long')
        self.assertEqual({'unchanged'}, {row['State'] for row in rows})
        exported = self.openstack('gpu', 'project', 'list', '--export')
        self.assertIn('name: demo\n', exported)
        exported = self.write(exported)
        self.assertEqual([], self.apply(exported, '--check'))
        self._apply_saved_plan(other)

    def _apply_saved_plan(self, other: typing.Any) -> None:
        path = self.write(
            'projects:\n'
            '- {name: demo, flavors: [], limits: {nvidia_a100: 1}}\n'
            '- {name: other, flavors: [gpu.a100.1]}\n'
        )
        plan = str(pathlib.Path(path).with_name('plan.json'))
        self.assertEqual(3, len(self.apply(path, '--plan', plan)))
        self.assertEqual(
            ['demo'],
            [row['Name'] for row in self.project('list') if row['Flavors']],
        )
        # Another user changes what the plan is about.
        self.project('set', 'demo', '--limit', f'{CLASS}=3')
        self.assertIn(
            f'project demo: limit {LIMIT} is 3, and was 2',
            self.refused('gpu', 'project', 'apply', '--plan', plan, '--yes'),
        )
        # A part of the plan, as after an interruption.
        self.project('set', 'demo', '--limit', f'{CLASS}=1')
        rows = self.apply('--plan', plan, '--yes')
        self.assertEqual(
            [
                ('demo', 'gpu.a100.1', 'changed'),
                ('other', 'gpu.a100.1', 'changed'),
            ],
            [(row['Project'], row['Name'], row['State']) for row in rows],
        )
        self.connect().identity.delete_project(other.id)
        self.assertIn(
            'project other does not exist any more',
            self.refused('gpu', 'project', 'apply', '--plan', plan, '--yes'),
        )

    def test_question(self) -> None:
        self.flavors()
        path = self.write('projects: [{name: demo, flavors: [gpu.a100.1]}]\n')
        for answer, status, flavors in (
            (b'n\n', 1, []),
            (b'\n', 1, []),
            (b'y\n', 0, ['gpu.a100.1']),
        ):
            controller, terminal = pty.openpty()
            self.addCleanup(os.close, controller)
            os.write(controller, answer)
            done = subprocess.run(
                [
                    *base.PROGRAM,
                    *('--os-cloud', str(self.os_cloud)),
                    *('gpu', 'project', 'apply', path),
                ],
                stdin=terminal,
                capture_output=True,
                text=True,
                check=False,
            )
            os.close(terminal)
            self.assertEqual(status, done.returncode, done.stderr)
            self.assertIn(
                'demo: add flavor access gpu.a100.1\n'
                'Carry out 1 change? [y/N] ',
                done.stderr,
            )
            self.assertEqual(flavors, self.project('show', 'demo')['flavors'])

    def test_apply_refused(self) -> None:
        self.flavors()
        public = self.connect().compute.create_flavor(
            name='public', vcpus=1, ram=512, disk=1, is_public=True
        )
        self.addCleanup(self.connect().compute.delete_flavor, public.id)
        for project, message in (
            ('name: nosuch', "projects[0].name: no project has the name 'nos"),
            ('id: nosuch', "projects[0].id: no project has the id 'nosuch'"),
            ('name: demo, flavors: [x]', 'flavors[0]: no flavor has the nam'),
            ('name: demo, flavors: [public]', "flavor 'public' is public"),
            (
                'name: demo, limits: {nosuch: 1}',
                "limits.nosuch: The resource class of 'nosuch' is not known",
            ),
            (
                f'name: demo, limits: {{{CLASS}: 1, class:{CLASS}: 1}}',
                f'another key is the limit {LIMIT}, too',
            ),
            ('name: demo, aggregates: [x]', 'no host aggregate has the name'),
            ('name: demo, domain: nosuch', "no project has the name 'demo'"),
            (f'name: demo}}, {{id: {self.demo.id}', 'is also projects[0]'),
            ('name: demo, quotas: {ram: 1}', 'which ignores quotas'),
        ):
            path = self.write(f'projects: [\n{{{project}}}]')
            error = self.refused('gpu', 'project', 'apply', path, '--yes')
            self.assertIn(message, error)
            if 'quotas' not in project:
                self.assertIn(f'{path}, line 2: ', error)
        for arguments, message in (
            ((), 'Nothing to apply'),
            (('/nosuch',), '/nosuch'),
            (('--plan', '/nosuch'), '/nosuch'),
            (('--plan', self.write('{')), 'it is not JSON'),
            (('--plan', self.write('{}')), 'is not a plan of'),
        ):
            self.assertIn(
                message, self.refused('gpu', 'project', 'apply', *arguments)
            )
        self.assertIn(
            'line 2: projects[0].name: ',
            self.refused(
                *('gpu', 'project', 'apply'),
                self.write('projects: [\n{name: nosuch}]'),
                os_cloud=self.os_cloud,
            ),
        )
        self.assertEqual([], self.project('list'))

    def test_lowered_below_use(self) -> None:
        gpu, _cpu = self.flavors()
        self.onboard()
        self.boot(gpu)
        error = self.refused(
            *('gpu', 'project', 'set', 'demo', '--limit', f'{CLASS}=0'),
            *('--limit', 'servers=0'),
        )
        self.assertIn(f'{LIMIT} to 0, of which 1 are in use', error)
        self.assertIn('servers to 0, of which 1 are in use', error)
        self.project('set', 'demo', '--limit', f'{CLASS}=0', '--force')
        shown = self.project('show', 'demo')
        self.assertEqual(0, shown['limits'][0]['limit'])
        # Now servers show the class of the alias.
        shown = self.project('set', 'demo', '--limit', 'nvidia_a100=1')
        self.assertEqual('GPU804', shown['notes'][0][:6])

    def test_failure_in_the_middle(self) -> None:
        self.flavors()
        between = self.through('compute', self._refuse_access)
        result = self.run_command(
            *('gpu', 'project', 'set', 'demo', '--flavor', 'gpu.a100.1'),
            *('--flavor', 'cpu.1', '--limit', 'nvidia_a100=2'),
            *('-f', 'json'),
        )
        self.assertEqual(1, result.status)
        self.assertIn('adding access of project', result.stderr)
        self.assertIn('is as it was before', result.stderr)
        self.assertTrue(between.requests)
        self.assertEqual([], list(self.connect().identity.limits()))
        self.assertEqual([], self.project('show', 'demo')['flavors'])
        # Without Keystone's answer, the limit is found and deleted.
        between.rule = lambda request: None

    @staticmethod
    def _refuse_access(request: proxy.Request) -> proxy.Answer | None:
        if b'addTenantAccess' in request.body and request.path.count('/'):
            _refused.append(request)
            if len(_refused) % 2 == 0:
                return proxy.Answer(500, '{"computeFault": {}}')
        return None

    def test_aggregates_and_server_groups(self) -> None:
        compute = self.connect().compute
        aggregate = compute.create_aggregate(name='gpus')
        self.addCleanup(compute.delete_aggregate, aggregate.id)
        compute.set_aggregate_metadata(
            aggregate.id, {'filter_tenant_id': f'x,{self.demo.id}', 'a': 'b'}
        )
        arguments = (
            *('--aggregate', 'gpus'),
            *('--server-group', 'ring=soft-affinity'),
        )
        shown = self.project('set', 'demo', *arguments)
        self.assertEqual(
            [('gpus', 'unchanged'), ('ring', 'changed')], self.states(shown)
        )
        self.assertFalse(self.project('set', 'demo', *arguments)['changed'])
        (group,) = compute.server_groups(all_projects=True)
        self.assertEqual(self.demo.id, group.project_id)
        shown = self.project('show', 'demo')
        self.assertEqual(['gpus'], shown['aggregates'])
        self.assertEqual(['ring (soft-affinity)'], shown['server_groups'])
        shown = self.project(
            *('unset', 'demo', '--all', '--server-group', 'ring')
        )
        self.assertTrue(shown['changed'])
        self.assertEqual([], list(compute.server_groups(all_projects=True)))
        metadata = compute.get_aggregate(aggregate.id).metadata
        self.assertEqual({'filter_tenant_id': 'x', 'a': 'b'}, metadata)
        self.project('set', 'demo', '--aggregate', 'gpus')
        metadata = compute.get_aggregate(aggregate.id).metadata
        self.assertEqual(
            self.demo.id, metadata[f'filter_tenant_id_{self.demo.id}']
        )
        # A project on which the user has no role.
        self.make_project('other')
        error = self.refused(
            *('gpu', 'project', 'set', 'other'),
            *('--server-group', 'ring=affinity', '-f', 'json'),
        )
        self.assertIn("creating server group 'ring' in project", error)

    def test_other_regions(self) -> None:
        identity = self.connect().identity
        identity.create_region(id='RegionTwo')
        self.addCleanup(identity.delete_region, 'RegionTwo')
        (service,) = identity.services(type='compute')
        endpoint = identity.create_endpoint(
            service_id=service.id,
            interface='public',
            region_id='RegionTwo',
            url='http://127.0.0.1:1/v2.1',
        )
        self.addCleanup(identity.delete_endpoint, endpoint.id)
        self.project('set', 'demo', '--limit', 'servers=4')
        error = self.refused(
            *('gpu', 'project', 'set', 'demo', '--limit', 'servers=4'),
            *('--region', 'RegionTwo'),
        )
        self.assertIn("of region 'RegionOne', not of 'RegionTwo'", error)

    def test_duplicates_of_another_run(self) -> None:
        """A limit that exists by the time that it is created is kept."""
        self.flavors()
        self.onboard()
        identity = self.connect().identity
        (limit,) = identity.limits(resource_name=LIMIT)
        between = self.through(
            'identity',
            lambda request: (
                proxy.Answer(200, '{"limits": []}')
                if request.method == 'GET'
                and request.path.partition('?')[0].endswith('/limits')
                and 'project_id' in request.path
                and not any(
                    earlier.method == 'POST' for earlier in between.requests
                )
                else None
            ),
        )
        shown = self.onboard()
        self.assertEqual(
            [limit.id],
            [each.id for each in identity.limits(resource_name=LIMIT)],
        )
        self.assertTrue(shown['steps'])

    def test_without_admin(self) -> None:
        self.flavors()
        self.assertIn(
            'Only administrators',
            self.refused(
                *('gpu', 'project', 'set', 'demo', '--limit', 'servers=1'),
                os_cloud=self.member,
            ),
        )
        with self.assertRaisesRegex(AssertionError, '403'):
            self.openstack(*('gpu', 'project', 'list'), os_cloud=self.member)
        self.assertRaises(
            sdk_exceptions.ForbiddenException,
            list,
            self.connect(self.member).identity.projects(),
        )


_refused: list[proxy.Request] = []
