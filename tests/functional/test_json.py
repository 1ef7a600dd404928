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

"""The JSON of every command, key by key."""

import os
import pathlib
import typing

import fixtures

from tests.functional import base

_ALIAS = (
    '{"name": "nvidia_l4", "vendor_id": "10de", "product_id": "27b8", '
    '"device_type": "type-PCI"}'
)


class TestJSON(base.CloudTestCase):
    """Uses edpm-compute-4 and its alias, which no other class uses."""

    def json(self, name: str, *arguments: str, member: bool = False) -> None:
        run = self.as_member if member else self.openstack
        self.assert_golden(name, run(*arguments, '-f', 'json'))

    def test_commands(self) -> None:
        flavor = self._check_flavor()
        # Which of the two servers has which card is random.
        server = self.boot(flavor, name='golden-admin')
        self._check_placement()
        self._check_aliases()
        self.delete(server.id)
        self.boot(flavor, name='golden-member', os_cloud=base.MEMBER)
        mine = [
            server
            for server in self.as_member('gpu', 'server', 'list', '-f', 'json')
            if server['Name'] == 'golden-member'
        ]
        self.assert_golden('server_list_member', mine)

    def _check_flavor(self) -> typing.Any:
        self.json(
            'flavor_create',
            *('gpu', 'flavor', 'create', 'golden', '--ram', '512'),
            *('--disk', '1', '--alias', 'nvidia_l4:2', '--public'),
        )
        compute = self.connect().compute
        flavor = compute.find_flavor('golden')
        self.addCleanup(compute.delete_flavor, flavor.id)
        self.json(
            'flavor_set',
            *('gpu', 'flavor', 'set', 'golden', '--numa-policy', 'preferred'),
        )
        self.json('flavor_show', 'gpu', 'flavor', 'show', 'golden')
        self.json(
            'flavor_unset', 'gpu', 'flavor', 'unset', 'golden', '--numa-policy'
        )
        self.json(
            'flavor_list',
            *('gpu', 'flavor', 'list', '--alias', 'nvidia_l4', '--long'),
        )
        return flavor

    def _check_placement(self) -> None:
        self.json(
            'placement_list',
            *('gpu', 'placement', 'list', '--host', 'edpm-compute-4'),
        )
        self.json(
            'placement_list_long',
            *('gpu', 'placement', 'list', '--host', 'edpm-compute-4'),
            *('--project', 'admin', '--long'),
        )
        for kind, name in (
            ('host', 'edpm-compute-4.ctlplane.example.com'),
            ('device', '0000:af:00.0'),
            ('class', 'CUSTOM_PCI_10DE_27B8'),
            ('alias', 'nvidia_l4'),
        ):
            self.json(
                f'placement_show_{kind}', 'gpu', 'placement', 'show', name
            )
        self.json(
            'server_list',
            *('gpu', 'server', 'list', '--all-projects', '--long'),
            *('--host', 'edpm-compute-4'),
        )

    def _check_aliases(self) -> None:
        self.json(
            'alias_verify',
            *('gpu', 'alias', 'verify', 'nvidia_l4', '--attempts', '2'),
        )
        folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.addCleanup(os.chdir, pathlib.Path.cwd())
        os.chdir(folder)
        pathlib.Path('nova.conf').write_text(
            '[filter_scheduler]\npci_in_placement = True\n'
        )
        self.json(
            'alias_create',
            *('gpu', 'alias', 'create', 'nvidia_l4', '--vendor-id', '10de'),
            *('--product-id', '27b8', '--device-type', 'type-PCI'),
            *('--config', 'nova.conf'),
        )
        self.json(
            'alias_set',
            *('gpu', 'alias', 'set', 'nvidia_l4', '--numa-policy', 'legacy'),
            *('--config', 'nova.conf', '--dry-run'),
        )
        self.json(
            'alias_delete',
            *('gpu', 'alias', 'delete', 'nvidia_l4', '--config', 'nova.conf'),
            *('--force', '--dry-run'),
        )
        self.json(
            'alias_show',
            *('gpu', 'alias', 'show', 'nvidia_l4', '--config', 'nova.conf'),
        )
        listed = [
            alias
            for alias in self.openstack(
                *('gpu', 'alias', 'list', '--config', 'nova.conf'),
                *('-f', 'json'),
            )
            if alias['Name'] == 'nvidia_l4'
        ]
        self.assert_golden('alias_list', listed)
        self.assertIn(
            f'alias = {_ALIAS}\n', pathlib.Path('nova.conf').read_text()
        )
