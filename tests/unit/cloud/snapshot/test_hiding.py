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

"""Names are replaced by pseudonyms wherever they occur."""

import dataclasses
import json
import typing

import testtools

from gpuclient.cloud.snapshot import exchange
from gpuclient.cloud.snapshot import hiding

from tests.unit.cloud.snapshot import test_content

ANSWERS = {
    exchange.question('compute', 'GET', '/servers/detail'): {
        'servers': [
            {
                'id': 'a-b',
                'name': 'payroll',
                'OS-EXT-SRV-ATTR:host': 'gold-1',
                'OS-EXT-SRV-ATTR:hypervisor_hostname': 'gold-1.example.com',
                'flavor': {
                    'original_name': 'gpu.1',
                    'extra_specs': {'pci_passthrough:alias': 'a100:1'},
                },
            }
        ]
    },
    exchange.question('compute', 'GET', '/os-aggregates'): {
        'aggregates': [
            {
                'name': 'gold',
                'hosts': ['gold-1'],
                'metadata': {'availability_zone': 'az'},
            }
        ]
    },
    exchange.question('compute', 'GET', '/os-hypervisors/detail'): {
        'hypervisors': [
            {
                'hypervisor_hostname': 'gold-1.example.com',
                'service': {
                    'host': 'gold-1',
                    'disabled_reason': 'broken for ACME',
                },
            }
        ]
    },
    exchange.question('compute', 'GET', '/flavors/detail'): {
        'flavors': [{'id': 'f', 'name': 'gpu.1'}]
    },
    exchange.question('identity', 'GET', '/projects'): {
        'projects': [{'id': 'p1', 'name': 'research'}]
    },
    exchange.question(
        'placement', 'GET', '/resource_providers', {'name': 'gold-1'}
    ): {
        'resource_providers': [
            {'uuid': 'x', 'name': 'gold-1.example.com_0000:04:00.0'},
            {'uuid': 'y', 'name': 'gold-1.example.com'},
        ]
    },
    exchange.question('placement', 'GET', '/resource_classes'): {
        'resource_classes': [{'name': 'CUSTOM_GPU'}]
    },
    exchange.question('placement', 'GET', '/z'): {
        'errors': [{'detail': 'gold-1 of research is not there'}]
    },
}


def hidden() -> typing.Any:
    return hiding.hide(
        dataclasses.replace(
            test_content.SNAPSHOT,
            answers={
                question: exchange.Answer(200, body)
                for question, body in ANSWERS.items()
            },
        )
    )


class TestHiding(testtools.TestCase):
    def test_no_name_is_left(self) -> None:
        snapshot = hidden()
        self.assertTrue(snapshot.names_hidden)
        self.assertIsNone(snapshot.cloud)
        text = json.dumps(
            [
                snapshot.project,
                [
                    [str(question), answer.body]
                    for question, answer in snapshot.answers.items()
                ],
            ]
        )
        for name in ('payroll', 'gold', 'research', 'ACME', 'example.com'):
            self.assertNotIn(name, text)
        for name in ('gpu.1', 'a100:1', 'CUSTOM_GPU', 'az', 'a-b', 'p1'):
            self.assertIn(name, text)

    def test_pseudonyms_are_consistent(self) -> None:
        by_path = {
            question.path: answer.body
            for question, answer in hidden().answers.items()
        }
        (server,) = by_path['/servers/detail']['servers']
        (node,) = by_path['/os-hypervisors/detail']['hypervisors']
        device, root = by_path['/resource_providers']['resource_providers']
        name = node['hypervisor_hostname']
        self.assertEqual(server['OS-EXT-SRV-ATTR:hypervisor_hostname'], name)
        self.assertEqual(root['name'], name)
        self.assertEqual(f'{name}_0000:04:00.0', device['name'])
        (group,) = by_path['/os-aggregates']['aggregates']
        self.assertEqual([node['service']['host']], group['hosts'])

    def test_another_snapshot_has_others(self) -> None:
        self.assertNotEqual(hidden().project, hidden().project)
