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

"""Reading commands show the same from a snapshot as from the cloud."""

import gzip
import json
import os
import pathlib
import shlex
import typing
import unittest.mock

import fixtures

from tests.functional import base

_SPEC = pathlib.Path(__file__).parent / 'cloud.yaml'
_HOST = 'edpm-compute-1.ctlplane.example.com'
#: What no snapshot may have.
_SECRETS = ('hunter2', '127.0.0.1', 'IyEvYmluL3No', 'gAAAA')
#: Commands, one a line.
COMMANDS = """
gpu alias list
gpu alias show nvidia_a2
gpu alias show nosuch
gpu alias list --config ALIASES
gpu capacity list --long
gpu capacity list --config ALIASES
gpu capacity list --stranded
gpu capacity list --project demo
gpu capacity list --project nosuch
gpu capacity list --availability-zone nova
gpu capacity list --availability-zone nosuch
gpu capacity show g.pci --project demo
gpu capacity show g.vf
gpu capacity show plain
gpu check
gpu check --config ALIASES
gpu flavor explain g.a2
gpu flavor explain g.pci --config ALIASES
gpu flavor explain g.vf --host edpm-compute-2
gpu flavor explain g.vf --project demo --availability-zone nova
gpu flavor explain g.vf --image blank
gpu flavor explain plain
gpu flavor list --all --long
gpu flavor list --alias nvidia_a2
gpu flavor show g.a2
gpu flavor show nosuch
gpu metrics show
gpu placement check
gpu placement check --host edpm-compute-0 --code GPU612
gpu placement list --long
gpu placement list --all-hosts
gpu placement list --host edpm-compute-0
gpu placement list --host edpm-compute-1.ctlplane.example.com --free
gpu placement list --host nosuch
gpu placement list --resource-class CUSTOM_PCI_10DE_25B6
gpu placement list --resource-class CUSTOM_NOSUCH
gpu placement list --trait CUSTOM_NVLINK
gpu placement list --trait bad!
gpu placement list --project demo
gpu placement list --used
gpu placement show edpm-compute-0
gpu placement show nvidia_a2
gpu placement show nvidia_h100 --config ALIASES
gpu placement show CUSTOM_PCI_10DE_25B6
gpu placement show nosuch
gpu project list --long
gpu project list --over-limit --all-limits
gpu project show
gpu project show demo
gpu server explain a2-1
gpu server explain a2-3
gpu server explain nosuch
gpu upgrade check --cloud --to 2026.2 --from 2026.1
gpu server list
gpu server list --all-projects --long
gpu server list --project demo
gpu server list --host edpm-compute-0
gpu server list --host nosuch
gpu server list --all-projects --user USER
gpu server list --all-projects --user member
"""
_FLAVORS = {
    'g.a2': ('nvidia_a2:1', 512),
    'g.pci': ('nvidia_pci:2', 4096),
    'g.vf': ('nvidia_vf:1', 1024),
    'plain': (None, 2048),
}


class TestSnapshot(base.CommonCloudTestCase):
    name = 'snapshots'
    arguments = ('--spec', os.fspath(_SPEC))

    def setUp(self) -> None:
        super().setUp()
        self.folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.aliases = self.folder / 'aliases.conf'
        lines = [line.strip() for line in _SPEC.read_text().splitlines()]
        self.aliases.write_text(
            '[filter_scheduler]\npci_in_placement = True\n[pci]\n'
            + '\n'.join(
                sorted({line for line in lines if line.startswith('alias')})
            )
        )
        self.compute = self.connect().compute
        if not any(f.name == 'plain' for f in self.compute.flavors()):
            self._fill()

    def _fill(self) -> None:
        """Create flavors and servers, of which one gets no host."""
        ids = {}
        for name, (alias, ram) in _FLAVORS.items():
            flavor = self.compute.create_flavor(
                name=name, vcpus=2, ram=ram, disk=1, is_public=True
            )
            ids[name] = flavor.id
            if alias is not None:
                self.compute.create_flavor_extra_specs(
                    flavor, {'pci_passthrough:alias': alias}
                )
        (image,) = self.connect().image.images(name='blank')
        for name, flavor, os_cloud in (
            ('a2-1', 'g.a2', None),
            ('a2-2', 'g.a2', None),
            ('a2-3', 'g.a2', None),
            ('pci', 'g.pci', None),
            ('vf', 'g.vf', f'{self.name}-member'),
        ):
            response = self.connect(os_cloud).compute.post(
                '/servers',
                json={
                    'server': {
                        'name': name,
                        'flavorRef': ids[flavor],
                        'imageRef': image.id,
                        'networks': 'none',
                        'metadata': {'note': 'hunter2'},
                        'user_data': 'IyEvYmluL3No',
                    }
                },
                microversion='2.90',
            )
            self.assertEqual(202, response.status_code, response.text)
            self.wait_for_server(
                response.json()['server']['id'], 'ACTIVE', 'ERROR'
            )

    def save(
        self, *arguments: str, os_cloud: str | None = None
    ) -> pathlib.Path:
        path = self.folder / f'{self.getUniqueString()}.snapshot'
        self.openstack(
            *('gpu', 'snapshot', 'save', os.fspath(path)),
            *arguments,
            os_cloud=os_cloud,
        )
        return path

    def assert_same(self, path: pathlib.Path, os_cloud: str) -> None:
        """Run all commands live and offline; compare what they write."""
        user = self.connect().current_user_id or ''
        for line in COMMANDS.strip().split('\n'):
            line = line.replace('ALIASES', os.fspath(self.aliases))
            arguments = shlex.split(line.replace('USER', user))
            if 'metrics' not in arguments:
                arguments += ['-f', 'json']
            live = self.run_command(*arguments, os_cloud=os_cloud)
            replayed = self._replay(path, arguments)
            if live.stdout != replayed.stdout:
                # A service may be too busy to respond in time.
                live = self.run_command(*arguments, os_cloud=os_cloud)
            with self.subTest(arguments=arguments):
                self._assert_equal(live, replayed, path, os_cloud)

    def _replay(self, path: pathlib.Path, arguments: list[str]) -> base.Result:
        """Run a command with a snapshot, where there is no cloud."""
        with (
            unittest.mock.patch.dict(
                os.environ, {'OS_CLIENT_CONFIG_FILE': '/nowhere'}
            ),
            unittest.mock.patch.object(self, 'os_cloud', None),
        ):
            return self.run_command(*arguments, '--snapshot', os.fspath(path))

    def _assert_equal(
        self,
        live: base.Result,
        replayed: base.Result,
        path: pathlib.Path,
        os_cloud: str,
    ) -> None:
        if 'has no answer to' in replayed.stderr:
            # Of what a member may not list, little is recorded.
            self.assertNotEqual(self.name, os_cloud, replayed.stderr)
            return
        errors = f'{live.stderr} {replayed.stderr}'
        self.assertEqual(live.stdout, replayed.stdout, errors)
        self.assertEqual(live.status, replayed.status, errors)
        first, _end, others = replayed.stderr.partition('\n')
        self.assertIn(f'Snapshot {path} of cloud {os_cloud}', first)
        if os_cloud == self.name:
            self.assertEqual(live.stderr, others)

    def test_admin(self) -> None:
        path = self.save(
            *('--for', 'image=blank', '--for', 'flavor=plain'),
            *('--for', 'user=member', '--for', 'project=demo'),
            *('--for', 'server=a2-1'),
        )
        self.assertEqual(0o600, path.stat().st_mode & 0o777)
        content = gzip.decompress(path.read_bytes()).decode()
        for secret in _SECRETS:
            self.assertNotIn(secret, content)
        self.assert_same(path, self.name)

    def test_member(self) -> None:
        os_cloud = f'{self.name}-member'
        self.assert_same(self.save(os_cloud=os_cloud), os_cloud)

    def test_hidden_names(self) -> None:
        path = self.save('--hide-names')
        content = gzip.decompress(path.read_bytes()).decode()
        for name in (*_SECRETS, 'edpm', 'a2-1', '"demo"', 'RegionOne'):
            self.assertNotIn(name, content)
        for command in (
            ('gpu', 'placement', 'list'),
            ('gpu', 'server', 'list', '--all-projects'),
            ('gpu', 'capacity', 'list'),
            ('gpu', 'check', '--fail-on', 'none'),
        ):
            live = self.openstack(*command, '-f', 'json')
            result = self.run_command(
                *command, '-f', 'json', '--snapshot', os.fspath(path)
            )
            self.assertEqual(0, result.status, result.stderr)
            rows: list[typing.Any] = json.loads(result.stdout)
            self.assertEqual(len(live), len(rows))
        self.assertNotIn(_HOST, result.stdout)

    def test_what_is_not_recorded(self) -> None:
        path = os.fspath(self.save())
        for arguments, remedy in (
            (('server', 'list', '--user', 'member'), '--for user=NAME'),
            (
                ('flavor', 'explain', 'g.a2', '--image', 'blank'),
                '--for image=NAME',
            ),
        ):
            message = self.refused('gpu', *arguments, '--snapshot', path)
            _first, line = message.splitlines()
            self.assertIn('has no answer to', line)
            self.assertIn(remedy, line)
