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

"""``openstack gpu placement`` and ``gpu server`` on a real cloud."""

import json
import pathlib
import uuid

import fixtures

from tests.functional import base

HOST = 'edpm-compute-1.ctlplane.example.com'


class TestPlacement(base.CloudTestCase):
    def list(self, *arguments: str, **kwargs: object) -> list[dict]:
        return self.openstack(
            *('gpu', 'placement', 'list', '-f', 'json'), *arguments, **kwargs
        )

    def test_filters(self) -> None:
        server = self.boot(self.make_flavor('nvidia_pci:1'))
        every = self.list('--host', 'edpm-compute-1')
        self.assertEqual(6, len(every))
        self.assertEqual({HOST}, {row['Host'] for row in every})
        self.assertEqual(
            [row['Address'] for row in every],
            [row['Address'] for row in self.list('--host', HOST)],
        )
        # Other tests boot servers on this host, too, and may hold all of it.
        used = self.list('--host', HOST, '--used')
        self.assertEqual({1}, {row['Used'] for row in used})
        (mine,) = [
            row
            for row in used
            if server.id in [holder['id'] for holder in row['Servers']]
        ]
        self.assertEqual(1, mine['Used'])
        self.assertEqual([server.name], [mine['Servers'][0]['name']])
        free = self.list('--free')
        self.assertNotEqual([], free)
        for row in free:
            self.assertLess(row['Used'], row['Total'])
        self.assertEqual(
            ['admin'], [item['name'] for item in mine['Projects']]
        )
        self.assertNotIn(
            (HOST, mine['Address']),
            [(row['Host'], row['Address']) for row in free],
        )
        self.assertIn(mine, self.list('--project', 'admin'))
        self.assertNotIn(mine, self.list('--project', 'demo'))

        self.delete(server.id)
        self.assertNotIn(
            server.id,
            [
                holder['id']
                for row in self.list('--host', HOST)
                for holder in row['Servers']
            ],
        )

    def test_classes_and_traits(self) -> None:
        for arguments in (
            ('--resource-class', 'CUSTOM_GPU_H100'),
            ('--trait', 'CUSTOM_NVLINK'),
            ('--trait', 'CUSTOM_NVLINK', '--trait', 'OWNER_NOVA'),
        ):
            rows = self.list(*arguments)
            self.assertEqual(
                [
                    ('edpm-compute-3.ctlplane.example.com', '0000:04:00.0'),
                    ('edpm-compute-3.ctlplane.example.com', '0000:82:00.0'),
                ],
                [(row['Host'], row['Address']) for row in rows],
            )
        self.assertEqual([], self.list('--resource-class', 'CUSTOM_NONE'))

    def test_functions_of_one_device(self) -> None:
        """The provider of a PF has its VFs, which several servers may hold."""
        flavor = self.make_flavor('nvidia_vf:1')
        servers = {self.boot(flavor).id for _server in range(2)}
        rows = self.list('--host', 'edpm-compute-2')
        self.assertEqual([4, 4], [row['Total'] for row in rows])
        holders = {
            holder['id']: holder['amount']
            for row in rows
            for holder in row['Servers']
        }
        self.assertEqual(
            dict.fromkeys(servers, 1),
            {key: holders[key] for key in servers},
        )

    def test_show_tells_the_kind_of_a_name(self) -> None:
        address = self.refused('gpu', 'placement', 'show', '0000:04:00.0')
        self.assertIn('3 devices have the address', address)
        self.assertIn('edpm-compute-2.ctlplane.example.com_0000:04', address)
        name = 'edpm-compute-2.ctlplane.example.com_0000:04:00.0'
        shown = self.openstack('gpu', 'placement', 'show', name, '-f', 'json')
        self.assertEqual(('device', 4), (shown['kind'], shown['total']))
        by_id = self.openstack(
            *('gpu', 'placement', 'show', shown['devices'][0]['id']),
            *('-f', 'json'),
        )
        # Others boot servers with its functions at the same time.
        self.assertEqual(
            [(name, 'device')] * 2,
            [
                (
                    f'{device["host"]}_{device["address"]}',
                    answer['kind'],
                )
                for answer in (shown, by_id)
                for device in answer['devices']
            ],
        )
        self.assertIn(
            "has the name 'no such thing'",
            self.refused('gpu', 'placement', 'show', 'no such thing'),
        )

    def test_invalid_trait(self) -> None:
        self.assertIn(
            'is not a valid trait',
            self.refused('gpu', 'placement', 'list', '--trait', '!A'),
        )
        self.assertIn(
            'CUSTOM_NOBODY_MADE_IT',
            self.refused(
                *('gpu', 'placement', 'list', '--trait'),
                'CUSTOM_NOBODY_MADE_IT',
            ),
        )

    def test_unknown_names(self) -> None:
        for option, value, message in (
            ('--host', 'nohost', "no compute host 'nohost'"),
            ('--project', 'noone', "No project has the name or ID 'noone'"),
        ):
            self.assertIn(
                message,
                self.refused('gpu', 'placement', 'list', option, value),
            )
        self.assertIn(
            "No domain has the name or ID 'nodomain'",
            self.refused(
                *('gpu', 'placement', 'list', '--project', 'demo'),
                *('--project-domain', 'nodomain'),
            ),
        )

    def test_hosts_without_devices(self) -> None:
        empty = 'edpm-compute-5.ctlplane.example.com'
        self.assertNotIn(empty, [row['Host'] for row in self.list()])
        (row,) = [
            row for row in self.list('--all-hosts') if row['Host'] == empty
        ]
        self.assertEqual({empty, None}, set(row.values()))
        for name in (empty, 'edpm-compute-5'):
            self.assertEqual([row], self.list('--host', name))
            shown = self.openstack(
                'gpu', 'placement', 'show', name, '-f', 'json'
            )
            self.assertEqual(
                ('host', 0, []),
                (shown['kind'], shown['total'], shown['devices']),
            )
            self.assertIn('reports no PCI device', shown['source'])
        self.assertIn(
            'reports no device',
            self.openstack('gpu', 'placement', 'list', '--host', empty),
        )
        self.assertIn(
            'omit --resource-class',
            self.refused('gpu', 'placement', 'list', '--all-hosts', '--free'),
        )

    def expect(self, config: str, *arguments: str, status: int = 0) -> list:
        path = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        path /= 'nova-compute.conf'
        path.write_text(f'[pci]\nreport_in_placement = True\n{config}')
        result = self.run_command(
            *('gpu', 'placement', 'list', '-f', 'json', '--expect'),
            *(str(path), *arguments),
        )
        self.assertEqual(status, result.status, result.stderr)
        return json.loads(result.stdout)

    def test_devices_that_compute_hosts_should_report(self) -> None:
        """The check before pci_in_placement is set."""
        good = (
            'device_spec = {"address": "0000:04:00.0", "vendor_id": "10de", '
            '"product_id": "20f1"}\n'
        )
        host = ('--host', 'edpm-compute-0')
        (row,) = self.expect(good, *host)
        self.assertEqual(
            ('edpm-compute-0', '0000:04:00.0', 'reported'),
            (row['Host'], row['Address'], row['State']),
        )
        (named,) = self.expect(f'{good}[DEFAULT]\nhost = edpm-compute-0\n')
        self.assertEqual(
            (row['Host'], 'reported'), (named['Host'], named['State'])
        )
        rows = self.expect(
            good
            + 'device_spec = {"address": "0000:05:00.0"}\n'
            + 'device_spec = {"address": "0000:82:00.0", '
            '"resource_class": "a100"}\n',
            *host,
            status=3,
        )
        self.assertEqual(
            [
                'reported',
                'missing',
                'has class CUSTOM_PCI_10DE_20F1, not CUSTOM_A100',
            ],
            [row['State'] for row in rows],
        )
        self.assertEqual(
            'missing',
            self.expect(good, '--host', 'edpm-compute-5', status=3)[0][
                'State'
            ],
        )

    def test_invalid_configuration_of_expected_devices(self) -> None:
        path = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        path /= 'nova-compute.conf'
        for text, message in (
            (
                '[pci]\ndevice_spec = {"address": "0000:04:00.0"}\n',
                'does not set [pci]report_in_placement',
            ),
            (
                '[pci]\nreport_in_placement = True\n'
                'device_spec = {"address": "0000:04:00.0"}\n',
                'does not name its host: pass --host',
            ),
            ('[pci]\nreport_in_placement = True\n', 'has no [pci]device_spec'),
        ):
            path.write_text(text)
            self.assertIn(
                message,
                self.refused(
                    'gpu', 'placement', 'list', '--expect', str(path)
                ),
            )

    def test_orphaned_consumer(self) -> None:
        """An allocation whose server Nova does not have is orphaned."""
        placement = self.connect().placement
        (row,) = [
            row
            for row in self.list('--long', '--host', 'edpm-compute-3')
            if row['Address'] == '0000:82:00.0'
        ]
        consumer = str(uuid.uuid4())
        response = placement.put(
            f'/allocations/{consumer}',
            json={
                'allocations': {
                    row['Provider ID']: {'resources': {'CUSTOM_GPU_H100': 1}}
                },
                'project_id': self.connect().current_project_id,
                'user_id': self.connect().current_user_id,
                'consumer_generation': None,
                'consumer_type': 'INSTANCE',
            },
            microversion='1.38',
        )
        self.assertEqual(204, response.status_code, response.text)
        self.addCleanup(placement.delete, f'/allocations/{consumer}')
        name = row['Provider Name']
        shown = self.openstack('gpu', 'placement', 'show', name, '-f', 'json')
        (holder,) = shown['devices'][0]['servers']
        self.assertEqual((consumer, True), (holder['id'], holder['orphaned']))
        for command in (('show', name), ('list', '--host', row['Host'])):
            self.assertIn(
                'orphaned: Nova has no such server',
                ' '.join(self.openstack('gpu', 'placement', *command).split()),
            )

    def test_as_a_member(self) -> None:
        """Nothing can be shown: the error names the policy."""
        for arguments in (('list',), ('show', 'edpm-compute-0')):
            message = self.refused(
                'gpu', 'placement', *arguments, os_cloud=base.MEMBER
            )
            self.assertIn('placement:resource_providers:list', message)
            self.assertIn('"openstack gpu server list"', message)
            self.assertEqual(1, len(message.splitlines()))


class TestServer(base.CloudTestCase):
    def list(self, *arguments: str, **kwargs: object) -> dict[str, dict]:
        rows = self.openstack(
            *('gpu', 'server', 'list', '-f', 'json'), *arguments, **kwargs
        )
        return {row['ID']: row for row in rows}

    def test_projects_users_and_hosts(self) -> None:
        flavor = self.make_flavor('nvidia_pci:1')
        plain = self.boot(self.make_flavor())
        admins = self.boot(flavor).id
        members = self.boot(flavor, os_cloud=base.MEMBER).id

        own = self.list()
        self.assertIn(admins, own)
        self.assertNotIn(members, own)
        self.assertNotIn(plain.id, own)
        every = self.list('--all-projects')
        self.assertEqual({admins, members}, {admins, members} & set(every))
        self.assertEqual('demo', every[members]['Project'])
        self.assertEqual(
            [HOST], [device['host'] for device in every[members]['Devices']]
        )
        self.assertNotIn(admins, self.list('--project', 'demo'))
        self.assertIn(members, self.list('--project', 'demo'))
        self.assertNotIn(admins, self.list('--host', 'edpm-compute-2'))
        self.assertIn(admins, self.list('--host', 'edpm-compute-1'))
        user = self.connect(base.MEMBER).current_user_id
        self.assertIn(members, self.list('--all-projects', '--user', user))
        self.assertNotIn(admins, self.list('--all-projects', '--user', user))

        # Values that policy hides from a member are null, not an error.
        mine = self.list(os_cloud=base.MEMBER)
        self.assertNotIn(admins, mine)
        self.assertIsNone(mine[members]['Devices'])
        self.assertIsNone(mine[members]['Host'])
        self.assertEqual('demo', mine[members]['Project'])

    def test_options_that_require_admin(self) -> None:
        self.boot(self.make_flavor('nvidia_pci:1'), os_cloud=base.MEMBER)
        for option, message in (
            (('--all-projects',), 'servers:detail:get_all_tenants'),
            (('--host', 'x'), 'os-extended-server-attributes'),
        ):
            self.assertIn(
                message,
                self.refused(
                    *('gpu', 'server', 'list', *option), os_cloud=base.MEMBER
                ),
            )

    def test_projects_by_name_and_by_id(self) -> None:
        cloud = self.connect()
        name = f'{self.unique()}/50% a&b'
        domain = cloud.identity.create_domain(name=self.unique())
        self.addCleanup(cloud.identity.delete_domain, domain)
        # Before a domain can be deleted, it is disabled.
        self.addCleanup(cloud.identity.update_domain, domain, is_enabled=False)
        for where in ('default', domain.id):
            project = cloud.identity.create_project(name=name, domain_id=where)
            self.addCleanup(cloud.identity.delete_project, project)
        for options in (
            (project.id,),
            (name, '--project-domain', domain.name),
            (name, '--project-domain', domain.id),
        ):
            self.assertEqual({}, self.list('--project', *options))
        self.assertIn(
            f'More than one project has the name {name!r}',
            self.refused('gpu', 'server', 'list', '--project', name),
        )
        # A user without permission can pass an ID, which is not checked.
        self.assertIn(
            'get_all_tenants',
            self.refused(
                *('gpu', 'server', 'list', '--project', name),
                *('--project-domain', domain.name),
                os_cloud=base.MEMBER,
            ),
        )

    def test_unknown_host(self) -> None:
        self.assertIn(
            "Nova has no compute service on host 'nohost'",
            self.refused('gpu', 'server', 'list', '--host', 'nohost'),
        )
        self.assertEqual({}, self.list('--host', 'edpm-compute-5'))

    def test_unknown_user(self) -> None:
        self.assertIn(
            "No user has the name or ID 'noone'",
            self.refused('gpu', 'server', 'list', '--user', 'noone'),
        )

    def test_hostile_names(self) -> None:
        """Names cannot move the cursor in tables; JSON is exact."""
        cloud = self.connect()
        project = cloud.identity.create_project(
            name=f'=cmd|"\x1b[31m\n{self.unique()}',
            domain_id='default',
        )
        self.addCleanup(cloud.identity.delete_project, project)
        cloud.identity.assign_project_role_to_user(
            project,
            cloud.current_user_id,
            cloud.identity.find_role('admin'),
        )
        flavor = self.make_flavor('nvidia_pci:1')
        self.configure(auth={'project_name': None, 'project_id': project.id})
        self._connections.clear()
        server = self.boot(flavor, name='=cmd|x')
        row = self.list()[server.id]
        self.assertEqual(
            ('=cmd|x', project.name), (row['Name'], row['Project'])
        )
        for command in (('server',), ('placement', '--used')):
            table = self.openstack('gpu', command[0], 'list', *command[1:])
            self.assertIn('=cmd|x', table)
            self.assertIn('=cmd|"\\x1b[31m\\n', table)
            self.assertNotIn('\x1b', table)

    def test_hostile_host(self) -> None:
        placement = self.connect().placement
        host = f'=host\x1b[2J\n{self.unique()}'
        root = placement.create_resource_provider(name=host)
        self.addCleanup(placement.delete_resource_provider, root)
        device = placement.create_resource_provider(
            name=f'{host}_0000:04:00.0', parent_provider_id=root.id
        )
        self.addCleanup(placement.delete_resource_provider, device)
        placement.put(
            f'/resource_providers/{device.id}/traits',
            json={
                'resource_provider_generation': 0,
                'traits': ['COMPUTE_MANAGED_PCI_DEVICE'],
            },
            microversion='1.39',
        )
        (row,) = self.openstack(
            *('gpu', 'placement', 'list', '--host', host, '-f', 'json')
        )
        self.assertEqual(
            (host, '0000:04:00.0', None),
            (row['Host'], row['Address'], row['Total']),
        )
        table = self.openstack('gpu', 'placement', 'list', '--host', host)
        self.assertIn('=host\\x1b[2J\\n', table)
        self.assertNotIn('\x1b', table)
