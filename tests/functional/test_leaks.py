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

"""``openstack gpu placement check`` on the cloud that all tests share."""

import json
import typing
import uuid

import fixtures

from tests.functional import base
from tests.functional import proxy

HOST = 'edpm-compute-3.ctlplane.example.com'
CLASS = 'CUSTOM_GPU_H100'


class TestCheck(base.CloudTestCase):
    """Other tests use the cloud: only what this one has made is compared."""

    def setUp(self) -> None:
        super().setUp()
        self.useFixture(
            fixtures.MonkeyPatch('gpuclient.operations.leak_check.SETTLE', 0.1)
        )

    def hold(self, consumer: str) -> str:
        """Allocate a free device; return the name of its provider."""
        placement = self.connect().placement

        def allocate() -> str | None:
            for row in self.openstack(
                *('gpu', 'placement', 'list', '--host', HOST, '--free'),
                *('--long', '-f', 'json'),
            ):
                response = placement.put(
                    f'/allocations/{consumer}',
                    json={
                        'allocations': {
                            row['Provider ID']: {'resources': {CLASS: 1}}
                        },
                        'project_id': 'p',
                        'user_id': 'u',
                        'consumer_generation': None,
                        'consumer_type': 'INSTANCE',
                    },
                    microversion='1.39',
                )
                if response.status_code == 204:
                    return str(row['Provider Name'])
            return None

        name = base.wait_until(allocate, 60, 'a device is free')
        self.addCleanup(placement.delete, f'/allocations/{consumer}')
        return name

    def check(
        self, *arguments: str, status: int = 3
    ) -> list[dict[str, typing.Any]]:
        return self.openstack(
            *('gpu', 'placement', 'check', '-f', 'json', *arguments),
            status=status,
        )

    def test_deleted_consumer(self) -> None:
        consumer = str(uuid.uuid4())
        name = self.hold(consumer)
        (row,) = [row for row in self.check() if row['Consumer'] == consumer]
        self.assertEqual(
            ['GPU610', 'error', HOST],
            [row['Code'], row['Severity'], row['Host']],
        )
        self.assertIn(consumer, row['Problem'])
        self.assertEqual(
            [name[-12:].lower()],
            [device['address'] for device in row['Devices']],
        )
        (row,) = self.check('--host', 'edpm-compute-3', '--code', 'GPU610')
        self.assertEqual(consumer, row['Consumer'])
        self.check('--host', HOST, '--fail-on', 'none', status=0)
        self.assertEqual([], self.check('--host', 'edpm-compute-4', status=0))
        self.assertIn(
            'use one of GPU610 to GPU622',
            self.refused('gpu', 'placement', 'check', '--code', 'GPU1'),
        )

    def test_nova_does_not_answer(self) -> None:
        """A server that cannot be looked up is not taken for deleted."""
        consumer = str(uuid.uuid4())
        self.hold(consumer)
        broken = proxy.Answer(500, json.dumps({'error': {'message': 'cell'}}))
        self.through(
            'compute',
            lambda request: broken if consumer in request.path else None,
        )
        result = self.run_command('gpu', 'placement', 'check', '-f', 'json')
        self.assertEqual(1, result.status)
        self.assertIn(f'server {consumer}: ', result.stderr)
        self.assertNotIn(consumer, result.stdout)

    def test_member(self) -> None:
        message = self.refused(
            'gpu', 'placement', 'check', os_cloud=base.MEMBER
        )
        self.assertIn('403', message)
