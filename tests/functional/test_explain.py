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

from tests.functional import base

HOST = 'edpm-compute-4'
NODE = f'{HOST}.ctlplane.example.com'
CLASS = 'CUSTOM_PCI_10DE_27B8'
#: Requests of "gpu flavor explain" besides those of "gpu placement list".
MOST = 20


class TestExplain(base.CloudTestCase):
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

    def test_no_host(self) -> None:
        shown = self.explain('-f', 'json')
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
        self.assertTrue(shown['placement']['agrees'])
        left = shown['hosts_of_cloud']
        for row in shown['conditions']:
            removed = sum(len(lack['hosts']) for lack in row['lacks'])
            self.assertEqual(left, row['left'] + removed)
            left = row['left']

    def test_text(self) -> None:
        text = self.explain()
        self.assertLessEqual(max(map(len, text.splitlines())), 80)
        self.assertTrue(text.startswith('No host fits: none meets'), text)
        self.assertIn('\nPlacement agrees: it returns 0 candidates', text)

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
