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

import pathlib
import typing

import fixtures
import yaml

from tests.functional import base

HOST = 'edpm-compute-4'
NODE = f'{HOST}.ctlplane.example.com'
CLASS = 'CUSTOM_PCI_10DE_27B8'
#: Requests of "gpu flavor explain" besides those of "gpu placement list".
MOST = 20


class _ExplainTestCase(base.CloudTestCase):
    """The host of the alias nvidia_l4 has two cards."""

    def setUp(self) -> None:
        super().setUp()
        self.flavor = self.make_flavor('nvidia_l4:3')

    def explain(
        self, *arguments: str, status: int = 3, **options: typing.Any
    ) -> typing.Any:
        # Another test may hold the only server that shows the alias.
        return self.openstack(
            *('gpu', 'flavor', 'explain', self.flavor.name),
            *('--config', self.configuration(), *arguments),
            status=status,
            **options,
        )

    def configuration(self) -> str:
        folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        path = folder / 'nova.conf'
        path.write_text(
            '[filter_scheduler]\npci_in_placement = True\nenabled_filters = '
            'ComputeFilter,PciPassthroughFilter\n[pci]\nalias = '
            '{"vendor_id": "10de", "product_id": "27b8", "device_type": '
            '"type-PCI", "name": "nvidia_l4"}\n'
        )
        return str(path)


class TestFlavor(_ExplainTestCase):
    def test_no_host(self) -> None:
        def explain() -> typing.Any:
            shown = self.explain('-f', 'json')
            return shown if shown['placement']['agrees'] else None

        # Other tests change the cloud between two reads.
        shown = base.wait_until(explain, 60, 'Placement agrees')
        self.assertFalse(shown['fits'])
        self.assertIn(
            f'none meets "3 x nvidia_l4 ({CLASS})" ({HOST}: ', shown['cause']
        )
        (devices,) = (
            row
            for row in shown['conditions']
            if row['key'] == 'devices:nvidia_l4'
        )
        self.assertEqual((0, 0), (devices['hosts'], devices['left']))
        left = shown['hosts_of_cloud']
        for row in shown['conditions']:
            removed = sum(len(lack['hosts']) for lack in row['lacks'])
            self.assertEqual(left, row['left'] + removed)
            left = row['left']

    def test_keys(self) -> None:
        shown = self.explain('--host', HOST, '-f', 'json')
        # Other tests may use the cards, or disable services meanwhile.
        shown['cause'] = ''
        shown['suggestions'] = shown['conditions'] = shown['conflicts'] = []
        shown['flavor'] = ''
        self.assert_golden('flavor_explain', shown)

    def test_number_of_requests(self) -> None:
        services = [
            self.through(name)
            for name in ('compute', 'placement', 'identity', 'image')
        ]
        self.openstack('gpu', 'placement', 'list', '-f', 'json')
        before = sum(len(service.requests) for service in services)
        for service in services:
            service.requests.clear()
        self.explain('--image', 'blank', '--project', 'admin', '-f', 'json')
        after = sum(len(service.requests) for service in services)
        self.assertLessEqual(after, before + MOST)

    def test_overcommitted(self) -> None:
        """One server gets no more CPUs than a host has, whatever is free."""
        flavor = self.make_flavor('nvidia_l4:1', vcpus=5000)
        shown = self.openstack(
            *('gpu', 'flavor', 'explain', flavor.name, '-f', 'json'),
            *('--config', self.configuration()),
            status=3,
        )
        (smaller,) = (
            record
            for record in shown['suggestions']
            if record['amount'] is not None
        )
        self.assertIn('VCPU', smaller['condition'])
        candidates = [
            self.connect()
            .placement.get(
                f'/allocation_candidates?resources=VCPU:{amount}',
                microversion='1.39',
            )
            .json()['allocation_requests']
            for amount in (smaller['amount'], smaller['amount'] + 1)
        ]
        self.assertNotEqual([], candidates[0])
        self.assertEqual([], candidates[1])

    def test_private(self) -> None:
        """A project needs access to a private flavor."""
        compute = self.connect().compute
        flavor = compute.create_flavor(
            name='private gpu', vcpus=1, ram=64, disk=1, is_public=False
        )
        self.addCleanup(compute.delete_flavor, flavor)
        demo = self.connect().identity.find_project('demo').id
        arguments = ('gpu', 'flavor', 'explain', flavor.name, '--project')
        text = self.openstack(*arguments, 'demo', status=3)
        self.assertIn(
            "No server can be created: flavor 'private gpu' is private",
            ' '.join(text.split()),
        )
        self.assertIn(f'--project {demo}', ' '.join(text.split()))
        # Nova lets administrators use all flavors.
        self.assertNotIn('private', self.openstack(*arguments, 'admin'))
        compute.flavor_add_tenant_access(flavor, demo)
        self.assertNotIn('private', self.openstack(*arguments, 'demo'))


class TestServer(_ExplainTestCase):
    def test_server(self) -> None:
        server = self.boot(self.flavor, status='ERROR')
        shown = self.openstack(
            *('gpu', 'server', 'explain', server.id, '-f', 'json'),
            *('--config', self.configuration()),
            status=3,
        )
        self.assertIn(
            f'Server {server.name!r} (ERROR) has no host. No host '
            'fits: none meets',
            shown['cause'],
        )
        self.assertEqual(
            ['GPU649'], [cause['code'] for cause in shown['unseen']]
        )
        self.assertEqual('No valid host was found. ', shown['fault'])

    def test_server_with_a_host(self) -> None:
        server = self.boot(self.make_flavor('nvidia_pci:1'))
        shown = self.openstack(
            'gpu', 'server', 'explain', server.name, '-f', 'json'
        )
        self.assertIn('There is nothing to explain', shown['cause'])
        (device,) = shown['devices']
        self.assertEqual('CUSTOM_PCI_10DE_25B6', device['resource_class'])
        self.assertIsNone(shown['conditions'])

    def test_text(self) -> None:
        text = self.explain()
        self.assertLessEqual(max(map(len, text.splitlines())), 80)
        self.assertTrue(text.startswith('No host fits: none meets'), text)
        self.assertIn('\nPlacement agrees: it returns 0 candidates', text)

    def test_member(self) -> None:
        refused = self.refused(
            *('gpu', 'flavor', 'explain', self.flavor.name),
            os_cloud=base.MEMBER,
        )
        self.assertIn('Placement lists devices for administrators', refused)
        server = self.boot(self.flavor, status='ERROR', os_cloud=base.MEMBER)
        result = self.run_command(
            *('gpu', 'server', 'explain', server.id, '-f', 'json'),
            os_cloud=base.MEMBER,
        )
        self.assertEqual(1, result.status)
        self.assertIn('"GPU649"', result.stdout)
        self.assertIn('conditions of the request: ', result.stderr)

    def test_server_group(self) -> None:
        compute = self.connect().compute
        flavor = self.make_flavor('nvidia_l4:1')
        group = compute.create_server_group(
            name=self.unique('group'), policy='anti-affinity'
        )
        self.addCleanup(compute.delete_server_group, group)
        (image,) = self.connect().image.images(name='blank')
        for status in ('ACTIVE', 'ERROR'):
            response = compute.post(
                '/servers',
                json={
                    'server': {
                        'name': self.unique('server'),
                        'flavorRef': flavor.id,
                        'imageRef': image.id,
                        'networks': 'none',
                    },
                    'os:scheduler_hints': {'group': group.id},
                },
                microversion='2.90',
            )
            self.assertEqual(202, response.status_code, response.text)
            server_id = response.json()['server']['id']
            self._servers.append(server_id)
            self.addCleanup(self._delete_servers)
            self.wait_for_server(server_id, status)
        shown = self.openstack(
            *('gpu', 'server', 'explain', server_id, '-f', 'json'),
            *('--config', self.configuration()),
            status=3,
        )
        self.assertIn(f'{HOST}: has 1 member', shown['cause'])
        self.assertEqual(
            ['GPU650'], [cause['code'] for cause in shown['unseen']]
        )

    def test_unknown_names(self) -> None:
        for arguments, message in (
            (('flavor', 'explain', 'nosuch'), 'No flavor has the name'),
            (('server', 'explain', 'nosuch'), 'No server has the name'),
            (
                ('flavor', 'explain', self.flavor.name, '--host', 'nosuch'),
                "no compute host 'nosuch'",
            ),
            (
                ('flavor', 'explain', self.flavor.name, '--image', 'nosuch'),
                'No image has the name',
            ),
        ):
            self.assertIn(message, self.refused('gpu', *arguments))


class TestMoves(base.OwnCloudTestCase):
    """Moves end as they were forecast."""

    timeout = 600

    def setUp(self) -> None:
        super().setUp()
        alias = (
            'alias = {"vendor_id": "10de", "product_id": "20f1", '
            '"device_type": "type-PF", "name": "a100"}\n'
        )
        control = (
            '[filter_scheduler]\npci_in_placement = True\nenabled_filters = '
            'ComputeFilter,PciPassthroughFilter\n'
        )
        self.config = self.directory / 'nova.conf'
        self.config.write_text(f'{control}[pci]\n{alias}')
        spec = self.directory / 'spec.yaml'
        spec.write_text(
            yaml.safe_dump(
                {
                    'control_plane': {
                        'config': control,
                        'api': [{'config': f'[pci]\n{alias}'}],
                    },
                    'hosts': [
                        {
                            'name': f'gpu-{number}',
                            'devices': [
                                {
                                    'address': f'0000:{bus:02x}:00.0',
                                    'vendor_id': '10de',
                                    'product_id': '20f1',
                                    'type': 'type-PF',
                                }
                                for bus in range(1, cards + 1)
                            ],
                            'config': (
                                '[pci]\nreport_in_placement = True\n'
                                'device_spec = {"vendor_id": "10de", '
                                f'"product_id": "20f1"}}\n{alias}'
                            ),
                        }
                        for number, cards in enumerate((2, 2, 1))
                    ],
                }
            )
        )
        self.start('moves', '--spec', str(spec))
        compute = self.connect().compute
        self.flavors = []
        for cards in (1, 2):
            flavor = compute.create_flavor(
                name=f'gpu.{cards}', vcpus=1, ram=512, disk=1
            )
            compute.create_flavor_extra_specs(
                flavor, {'pci_passthrough:alias': f'a100:{cards}'}
            )
            self.flavors.append(flavor)

    def boot(self, host: str) -> str:
        (image,) = self.connect().image.images(name='blank')
        response = self.connect().compute.post(
            '/servers',
            json={
                'server': {
                    'name': f'on-{host}',
                    'flavorRef': self.flavors[0].id,
                    'imageRef': image.id,
                    'networks': 'none',
                    'host': host,
                }
            },
            microversion='2.90',
        )
        self.assertEqual(202, response.status_code, response.text)
        server_id: str = response.json()['server']['id']
        self.wait_for_server(server_id, 'ACTIVE')
        return server_id

    def forecast(self, *arguments: str, status: int = 0) -> typing.Any:
        return self.openstack(
            *('gpu', 'server', 'explain', *arguments, '-f', 'json'),
            *('--config', str(self.config)),
            status=status,
        )

    def act(self, server_id: str, action: str, **body: typing.Any) -> int:
        response = self.connect().compute.post(
            f'/servers/{server_id}/action',
            json={action: body if body or action == 'evacuate' else None},
            microversion='2.79',
        )
        return int(response.status_code)

    def last_action(self, server_id: str) -> str | None:
        compute = self.connect().compute
        response = compute.get(f'/servers/{server_id}/os-instance-actions')
        message: str | None = response.json()['instanceActions'][0]['message']
        return message

    def test_moves(self) -> None:
        first, second = self.boot('gpu-0'), self.boot('gpu-0')
        self.boot('gpu-1')
        with self.subTest('live migration'):
            shown = self.forecast(first, '--move', 'live-migrate', status=3)
            self.assertEqual('GPU924', shown['blockers'][0]['code'])
            self.assertEqual(
                202,
                self.act(
                    first,
                    'os-migrateLive',
                    host='gpu-1',
                    block_migration='auto',
                ),
            )
            base.wait_until(lambda: self.last_action(first) == 'Error')
            shown = self.forecast(first)
            self.assertIn('live-migration, failed: see', shown['cause'])
            # Nova tries all hosts, and none of them passes the check.
            self.assertEqual(
                ['GPU650'], [cause['code'] for cause in shown['unseen']]
            )
        with self.subTest('resize'):
            shown = self.forecast(
                *(first, '--move', 'resize', '--flavor', 'gpu.2'), status=3
            )
            self.assertEqual([], shown['hosts'])
            self.assert_holds_its_devices(first)
            # nova-scheduler is called before the answer.
            self.act(first, 'resize', flavorRef=self.flavors[1].id)
            base.wait_until(lambda: self.last_action(first) == 'Error')
        with self.subTest('migration'):
            shown = self.forecast(first, '--move', 'migrate')
            self.assertEqual(['gpu-1', 'gpu-2'], shown['hosts'])
            self.assertEqual(202, self.act(first, 'migrate'))
            moved = self.wait_for_server(first, 'VERIFY_RESIZE')
            self.assertIn(moved.hypervisor_hostname, shown['hosts'])
            self.assertEqual(204, self.act(first, 'confirmResize'))
            self.wait_for_server(first, 'ACTIVE')
        with self.subTest('evacuation'):
            shown = self.forecast(second, '--move', 'evacuate', status=3)
            self.assertEqual('GPU921', shown['blockers'][0]['code'])
            (service,) = (
                service
                for service in self.connect().compute.services(
                    binary='nova-compute'
                )
                if service.host == 'gpu-0'
            )
            self.connect().compute.put(
                f'/os-services/{service.id}',
                json={'forced_down': True},
                microversion='2.53',
            )
            shown = self.forecast(second, '--move', 'evacuate')
            self.assertEqual(1, len(shown['hosts']))
            self.assertEqual(200, self.act(second, 'evacuate'))
            moved = base.wait_until(
                lambda: self._moved(second, 'gpu-0'), 90, 'it is evacuated'
            )
            self.assertEqual(shown['hosts'], [moved])

    def assert_holds_its_devices(self, server_id: str) -> None:
        """A server that moves cannot be deleted to make room for it."""
        path = self.directory / 'nova-api.conf'
        path.write_text(
            '[DEFAULT]\nallow_resize_to_same_host = True\n'
            'compute_driver = libvirt.LibvirtDriver\n'
            f'{self.config.read_text()}'
        )
        shown = self.openstack(
            *('gpu', 'server', 'explain', server_id, '-f', 'json'),
            *('--move', 'resize', '--flavor', 'gpu.2', '--config', str(path)),
            status=3,
        )
        keys = [row['key'] for row in shown['conditions']]
        self.assertNotIn('excluded', keys)
        removed = [
            action['id']
            for suggestion in shown['suggestions']
            for action in suggestion['actions']
        ]
        self.assertNotEqual([], removed)
        self.assertNotIn(server_id, removed)

    def _moved(self, server_id: str, source: str) -> str | None:
        server = self.connect().compute.get_server(server_id)
        if server.task_state is None and server.status == 'ACTIVE':
            host: str = server.hypervisor_hostname
            return host if host != source else None
        return None

    def test_all_on_a_host(self) -> None:
        # One device is left on each of the other hosts: with more, Nova may
        # take another device than Placement has allocated.
        servers = [self.boot('gpu-0'), self.boot('gpu-0')]
        self.boot('gpu-1')
        shown = self.forecast('--all-on', 'gpu-0', '--move', 'migrate')
        self.assertTrue(shown['fit_together'])
        self.assertEqual(
            {'gpu-1', 'gpu-2'},
            {record['destination'] for record in shown['servers']},
        )
        for record in shown['servers']:
            self.assertEqual(
                202,
                self.act(record['id'], 'migrate', host=record['destination']),
            )
        for server_id in servers:
            self.wait_for_server(server_id, 'VERIFY_RESIZE')
            self.assertEqual(204, self.act(server_id, 'confirmResize'))
        for server_id in servers:
            self.wait_for_server(server_id, 'ACTIVE')
        # Two of three servers can go back, but not all of them.
        shown = self.forecast(
            *('--all-on', 'gpu-1', '--move', 'migrate'), status=0
        )
        self.assertEqual(2, len(shown['servers']))
        self.boot('gpu-0')
        shown = self.forecast(
            *('--all-on', 'gpu-1', '--move', 'migrate'), status=3
        )
        self.assertFalse(shown['fit_together'])
        self.assertIn(
            'Each fits on some other host, but not all together',
            shown['summary'],
        )
