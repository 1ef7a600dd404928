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

"""``openstack gpu check`` on a running cloud: it reads only."""

import json
import re
import typing

from tests.functional import base
from tests.functional import proxy

COLUMNS = ['Check', 'Result', 'Code', 'Object', 'Message']


class TestCheck(base.CloudTestCase):
    def check(
        self, *arguments: str, os_cloud: str | None = None
    ) -> list[dict[str, typing.Any]]:
        result = self.run_command(
            *('gpu', 'check', '-f', 'json'), *arguments, os_cloud=os_cloud
        )
        self.status, self.stderr = result.status, result.stderr
        rows = json.loads(result.stdout)
        for row in rows:
            self.assertEqual(COLUMNS, list(row))
        return rows

    def test_writes_nothing(self) -> None:
        self.make_flavor('nvidia_l4:1', is_public=False)
        proxies = [
            self.through(service)
            for service in ('compute', 'placement', 'identity')
        ]
        rows = self.check('--attempts', '2')
        writes = {
            (request.method, request.path.partition('?')[0])
            for between in proxies
            for request in between.requests
            if request.method not in ('GET', 'HEAD')
        }
        # The request that nova-api always refuses.
        self.assertEqual({('POST', '/v2.1/servers')}, writes)
        self.assertEqual(
            [],
            list(
                self.connect().compute.servers(
                    all_projects=True, name='gpuclient-probe'
                )
            ),
        )
        results = {row['Check']: row for row in rows if not row['Code']}
        self.assertEqual('PASS', results['control plane']['Result'])
        self.assertEqual('SKIPPED', results['configuration']['Result'])
        self.assertIn('--config', results['configuration']['Message'])
        for between in proxies:
            between.requests.clear()
        self.check('--attempts', '0')
        self.assertEqual([], proxies[0].paths('POST'))

    def test_findings_and_mutes(self) -> None:
        flavor = self.make_flavor('nvidia_l4:0', is_public=False)
        rows = self.check('--attempts', '0')
        self.assertEqual(3, self.status)
        (mine,) = [row for row in rows if row['Object'] == flavor.name]
        self.assertEqual(
            ('flavors', 'FAIL', 'GPU701'),
            (mine['Check'], mine['Result'], mine['Code']),
        )
        self.assertEqual(
            sorted(
                rows,
                key=lambda row: ['FAIL', 'WARN', 'SKIPPED', 'PASS'].index(
                    row['Result']
                ),
            ),
            rows,
        )
        rows = self.check(
            '--attempts', '0', '--mute', f'GPU701={flavor.name[:-2]}*'
        )
        self.assertNotIn(flavor.name, [row['Object'] for row in rows])
        self.assertRegex(self.stderr, r'^\d+ findings? (is|are) muted$')

    def test_what_does_not_respond_is_skipped(self) -> None:
        self.make_flavor('nvidia_l4:1', is_public=False)

        def rule(request: proxy.Request) -> proxy.Answer | None:
            return proxy.Answer(500, '{"errors": [{"detail": "broken"}]}')

        self.through('placement', rule)
        rows = self.check('--attempts', '1')
        self.assertEqual(1, self.status)
        self.assertRegex(self.stderr, '^PCI devices: .*broken')
        (row,) = [row for row in rows if row['Check'] == 'stranded devices']
        self.assertEqual('SKIPPED', row['Result'])
        self.assertIn('broken', row['Message'])
        self.assertIn('PASS', [row['Result'] for row in rows])

    def test_as_a_member(self) -> None:
        self.make_flavor('nvidia_l4:1')
        rows = self.check('--attempts', '1', os_cloud=base.MEMBER)
        self.assertEqual('', re.sub('Release: .*\n', '', self.stderr))
        self.assertIn(self.status, (0, 3))
        skipped = {
            row['Check']: row['Message']
            for row in rows
            if row['Result'] == 'SKIPPED'
        }
        for name in ('nova-compute', 'placement tracking'):
            self.assertIn('HTTP 403', skipped[name])
        self.assertIn('legacy quota driver', skipped['limits'])
        self.assertNotIn('flavors', skipped)
        self.assertNotIn('alias in nova-api', skipped)

    def test_without_a_cloud(self) -> None:
        message = self.refused('gpu', 'check', os_cloud='nosuchcloud')
        self.assertIn('nosuchcloud', message)
