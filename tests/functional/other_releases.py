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
"""A cloud of each release of Nova: servers with their cards.

::

    make test-rehearsal-releases

Releases that are not in the user's cache are installed from the package index.
"""

import json
import os
import pathlib
import random
import typing

import fixtures
import openstack
from openstack import connection
import yaml

from gpuclient.model import release as releases
from tests.functional import base
from tests.functional import leak_planting

#: The cache of the user; tests have their own.
_CACHE = os.environ.get(
    'XDG_CACHE_HOME', os.path.join(os.path.expanduser('~'), '.cache')
)
_CARD = {'vendor_id': '10de', 'product_id': '20f1'}
_LIMIT = 'class:CUSTOM_PCI_10DE_20F1'
_LIMITS = pathlib.Path(__file__).parent / 'unified_limits.yaml'
_FIELDS = ('release', 'nova_version', 'release_source')
#: Not a device type.
_BAD_ALIAS = json.dumps({**_CARD, 'name': 'bad', 'device_type': 'PF'})


class ReleaseTestCase(base.OwnCloudTestCase):
    timeout = 600

    def setUp(self) -> None:
        super().setUp()
        self.useFixture(fixtures.EnvironmentVariable('XDG_CACHE_HOME', _CACHE))

    def start_release(
        self, number: int, *arguments: str, status: int = 0
    ) -> dict[str, typing.Any]:
        release = releases.parse(str(number))
        cloud = self.start(
            f'nova-{number}',
            *('--release', release.series, *arguments),
            status=status,
        )
        self.assertEqual(release.series, cloud['release'])
        self.assertEqual(str(number), cloud['nova_version'].split('.')[0])
        return cloud


class TestServers(ReleaseTestCase):
    """Start, boot, restart, stop, start."""

    def test_nova_26(self) -> None:
        self._check(26)

    def test_nova_27(self) -> None:
        self._check(27)

    def test_nova_28(self) -> None:
        self._check(28)

    def test_nova_29(self) -> None:
        self._check(29)

    def test_nova_30(self) -> None:
        self._check(30)

    def test_nova_31(self) -> None:
        self._check(31)

    def test_nova_32(self) -> None:
        self._check(32)

    def test_nova_33(self) -> None:
        self._check(33)

    def _check(self, number: int) -> None:
        cloud = self.start_release(number)
        self.assertEqual(
            {'ready'}, {service['state'] for service in cloud['services']}
        )
        name = cloud['name']
        client = openstack.connect(cloud=self.os_cloud)
        self.addCleanup(client.close)
        self.assertEqual(
            f'2.{releases.parse(str(number)).microversion}',
            '.'.join(
                map(
                    str,
                    client.compute.get_endpoint_data().max_microversion,
                )
            ),
        )
        flavor = client.compute.create_flavor(
            name='gpu', vcpus=1, ram=512, disk=1
        )
        client.compute.create_flavor_extra_specs(
            flavor, {'pci_passthrough:alias': 'nvidia_a100:1'}
        )
        server = self._boot(client, 'ACTIVE')
        self.assertEqual(1, self._cards(client, server))
        for service in ('nova-compute', 'nova-api-1', 'nova-scheduler'):
            self.openstack(
                *('gpu', 'rehearsal', 'restart', name),
                *('--service', service, '-f', 'json'),
            )
        self.assertEqual(1, self._cards(client, self._boot(client, 'ACTIVE')))
        failed = self._boot(client, 'ERROR')
        self.assertIn('No valid host', failed.fault['message'])

        self.openstack('gpu', 'rehearsal', 'stop', name)
        again = self.start(name)
        self.assertEqual(cloud['nova_version'], again['nova_version'])
        client = openstack.connect(cloud=self.os_cloud)
        self.addCleanup(client.close)
        self.assertEqual('ACTIVE', client.compute.get_server(server.id).status)
        client.compute.delete_server(server)
        client.compute.wait_for_delete(server, interval=0.2, wait=60)
        # nova-compute frees them after the server is gone.
        base.wait_until(lambda: not self._cards(client, server))

    def _boot(self, client: connection.Connection, status: str) -> typing.Any:
        (image,) = client.image.images(name='blank')
        server = client.compute.create_server(
            name='server',
            flavor_id=client.compute.find_flavor('gpu').id,
            image_id=image.id,
            networks='none',
        )

        def settled() -> typing.Any:
            current = client.compute.get_server(server.id)
            return current if current.status in ('ACTIVE', 'ERROR') else None

        result = base.wait_until(settled)
        self.assertEqual(status, result.status, result.fault)
        return result

    @staticmethod
    def _cards(client: connection.Connection, server: typing.Any) -> int:
        allocations = client.placement.get(
            f'/allocations/{server.id}', microversion='1.28'
        ).json()['allocations']
        return sum(
            allocation['resources'].get('CUSTOM_PCI_10DE_20F1', 0)
            for allocation in allocations.values()
        )


class TestCommands(ReleaseTestCase):
    """Commands find the release of the cloud, and work with it."""

    def test_nova_29(self) -> None:
        self._check(29, '2024.2')

    def test_nova_31(self) -> None:
        self._check(31, '2025.2')

    def test_nova_32(self) -> None:
        """The API does not tell it from Nova 31."""
        self._check(32, '2025.2', judged=31)

    def test_nova_33(self) -> None:
        self._check(33)

    def run_json(
        self, *arguments: str, named: bool = True, status: int = 0
    ) -> typing.Any:
        """Run a command; check the lines about the release on stderr."""
        result = self.run_command(*arguments, '-f', 'json')
        self.assertEqual(status, result.status, result.stderr)
        expected = list(self.lines) if named else []
        self.assertEqual(expected, result.stderr.splitlines(), arguments)
        shown = json.loads(result.stdout)
        if named and isinstance(shown, dict):
            self.assertEqual(self.fields, {key: shown[key] for key in _FIELDS})
        return shown

    def _check(
        self, number: int, pair: str = '', judged: int | None = None
    ) -> None:
        cloud = self.start_release(number)
        config = os.path.join(cloud['directory'], 'etc/nova/nova-api-1.conf.d')
        release = releases.parse(str(judged or number))
        microversion = f'2.{release.microversion}'
        source = f'microversion {microversion} of the cloud'
        others = ''
        if pair:
            others = (
                f', which {pair} has, too: pass --release, or set '
                f'OS_GPU_RELEASE'
            )
        self.lines = (f'Release: {release}, from {source}{others}',)
        version = '.'.join(map(str, release.version))
        self.fields = dict(
            zip(_FIELDS, (release.series, version, source), strict=True)
        )
        self._check_flavor()
        self._check_aliases()
        listed = self.run_json('gpu', 'placement', 'list', named=False)
        self.assertEqual([1, 1], [row['Total'] for row in listed])
        shown = self.run_json(
            *('gpu', 'placement', 'show', 'nvidia_a100', '--config', config),
            named=False,
        )
        self.assertEqual([2, 0], [shown['total'], shown['used']])
        (row,) = self.run_json('gpu', 'capacity', 'list', '--config', config)
        self.assertEqual(2, row['Fits'])
        shown = self.run_json(
            'gpu', 'capacity', 'show', 'gpu', '--config', config
        )
        self.assertEqual(2, shown['fits'])

    def _check_flavor(self) -> None:
        shown = self.run_json(
            *('gpu', 'flavor', 'create', 'gpu', '--vcpus', '1'),
            *('--ram', '512', '--disk', '1', '--alias', 'nvidia_a100:1'),
            '--public',
        )
        self.assertEqual([], shown['findings'])
        shown = self.run_json(
            *('gpu', 'flavor', 'set', 'gpu', '--numa-policy', 'preferred'),
        )
        self.assertEqual([], shown['findings'])
        shown = self.run_json('gpu', 'flavor', 'show', 'gpu')
        self.assertEqual({'nvidia_a100': 1}, shown['aliases'])
        (row,) = self.run_json('gpu', 'flavor', 'list', '--long')
        self.assertEqual([], row['Findings'])

    def _check_aliases(self) -> None:
        shown = self.run_json(
            *('gpu', 'alias', 'create', 'nvidia_a100', '--dry-run'),
            *('--vendor-id', '10de', '--product-id', '20f1'),
            *('--device-type', 'type-PF'),
        )
        self.assertEqual(['ok', 2], [shown['placement'], shown['total']])
        self.assertEqual('defined', shown['nova_api'])
        answers = self.run_json(
            *('gpu', 'alias', 'verify', 'nvidia_a100', 'none'),
            named=False,
            status=3,
        )
        self.assertEqual(
            ['defined', 'not defined'], [row['Answer'] for row in answers]
        )


class TestLimits(ReleaseTestCase):
    """Unified limits of Nova 31 to 33 do not count devices of aliases."""

    def test_nova_31(self) -> None:
        self._check(31)

    def test_nova_33(self) -> None:
        self._check(33)

    def _check(self, number: int) -> None:
        cloud = self.start_release(number, '--spec', os.fspath(_LIMITS))
        self._name_endpoint(cloud)
        identity = self.connect().identity
        (demo,) = identity.projects(name='demo')
        (image,) = self.connect().image.images(name='blank')
        self.run_json(
            *('gpu', 'flavor', 'create', 'gpu.a100.1', '--vcpus', '1'),
            *('--ram', '512', '--disk', '1', '--alias', 'nvidia_a100:1'),
        )
        shown = self.run_json(
            *('gpu', 'project', 'set', 'demo', '--flavor', 'gpu.a100.1'),
            *('--limit', 'nvidia_a100=1', '--limit', 'servers=3'),
        )
        self.assertTrue(shown['changed'])
        self.assertIn(
            f'GPU801: Unified limits of Nova {number} do not count',
            '\n'.join(shown['notes']),
        )
        # Beyond the limit, up to the one that Nova counts.
        compute = self.connect(f'{self.os_cloud}-member').compute
        request = {
            'name': 'server',
            'flavorRef': self.connect().compute.find_flavor('gpu.a100.1').id,
            'imageRef': image.id,
            'networks': 'none',
        }
        servers = []
        for status in (202, 202, 202, 403):
            answer = compute.post(
                '/servers', json={'server': request}, microversion='2.90'
            )
            self.assertEqual(status, answer.status_code, answer.text)
            if status == 202:
                servers.append(answer.json()['server']['id'])
                self.wait_for_server(servers[-1], 'ACTIVE')
        self.assertIn('Resource servers is over limit of 3', answer.text)
        (row,) = self.run_json(
            'gpu', 'project', 'list', '--over-limit', status=3
        )
        self.assertEqual(
            [demo.id, _LIMIT, 1, 3],
            [row[key] for key in ('Project ID', 'Name', 'Limit', 'Used')],
        )
        (finding,) = self.run_json('gpu', 'project', 'show', 'demo')[
            'findings'
        ]
        self.assertTrue(finding.startswith('GPU676: '), finding)
        self.assertIn(f'Nova {number} does not enforce it', finding)
        self.delete(*servers)
        self.run_json('gpu', 'project', 'unset', 'demo', '--all')
        self.assertEqual([], list(identity.limits()))
        self.assertEqual([], list(compute.flavors()))
        self.assertEqual([], self.run_json('gpu', 'project', 'list'))

    def run_json(self, *arguments: str, status: int = 0) -> typing.Any:
        """Run a command, which may name the release on stderr."""
        result = self.run_command(*arguments, '-f', 'json')
        self.assertEqual(status, result.status, result.stderr)
        return json.loads(result.stdout)

    def _name_endpoint(self, cloud: dict[str, typing.Any]) -> None:
        """Let Nova find its limits, which these releases need the id for."""
        (service,) = self.connect().identity.services(type='compute')
        (endpoint,) = self.connect().identity.endpoints(
            service_id=service.id, interface='public'
        )
        # nova-conductor counts again after nova-api.
        for name in ('nova-conductor', 'nova-api-1'):
            pathlib.Path(
                cloud['directory'], f'etc/nova/{name}.conf.d/20-limits.conf'
            ).write_text(f'[oslo_limit]\nendpoint_id = {endpoint.id}\n')
            self.openstack(
                *('gpu', 'rehearsal', 'restart', cloud['name']),
                *('--service', name, '-f', 'json'),
            )


class TestPlacement(ReleaseTestCase):
    """A card that is in use and was reserved afterwards (bug 2104040)."""

    def test_placement_10(self) -> None:
        self.assertEqual(409, self._change_allocations('10'))

    def test_placement_13(self) -> None:
        self.assertEqual(409, self._change_allocations('13'))

    def test_placement_14(self) -> None:
        self.assertEqual(204, self._change_allocations('14'))

    def _change_allocations(self, version: str) -> int:
        """Return the status of a change that changes nothing."""
        cloud = self.start('placement', '--placement', version)
        self.assertEqual(version, cloud['placement_version'].split('.')[0])
        self.openstack('gpu', 'rehearsal', 'stop', cloud['name'])
        again = self.start('placement')
        self.assertEqual(
            cloud['placement_version'], again['placement_version']
        )
        client = openstack.connect(cloud=self.os_cloud)
        self.addCleanup(client.close)
        placement = client.placement
        placement.default_microversion = '1.28'
        server = self._boot(client)
        allocations = placement.get(f'/allocations/{server.id}').json()
        provider = next(
            provider
            for provider, allocation in allocations['allocations'].items()
            if 'CUSTOM_PCI_10DE_20F1' in allocation['resources']
        )
        path = (
            f'/resource_providers/{provider}/inventories/CUSTOM_PCI_10DE_20F1'
        )
        inventory = placement.get(path).json()
        answer = placement.put(path, json={**inventory, 'reserved': 1})
        self.assertEqual(200, answer.status_code, answer.text)
        return int(
            placement.put(
                f'/allocations/{server.id}', json=allocations
            ).status_code
        )

    @staticmethod
    def _boot(client: connection.Connection) -> typing.Any:
        flavor = client.compute.create_flavor(
            name='gpu', vcpus=1, ram=512, disk=1
        )
        client.compute.create_flavor_extra_specs(
            flavor, {'pci_passthrough:alias': 'nvidia_a100:1'}
        )
        (image,) = client.image.images(name='blank')
        server = client.compute.create_server(
            name='server',
            flavor_id=flavor.id,
            image_id=image.id,
            networks='none',
        )
        return client.compute.wait_for_server(server, interval=0.2)


class TestRefused(ReleaseTestCase):
    """An alias that is invalid, in releases that check and do not check it."""

    def test_nova_30_starts(self) -> None:
        cloud = self.start_release(30, '--spec', self._spec())
        self.assertEqual(
            {'ready'}, {service['state'] for service in cloud['services']}
        )

    def test_nova_31_does_not_start(self) -> None:
        cloud = self.start_release(31, '--spec', self._spec(), status=1)
        services = {
            service['name']: service
            for service in cloud['services']
            if service['state'] != 'ready'
        }
        self.assertEqual({'nova-api-1', 'nova-compute'}, set(services))
        for service in services.values():
            self.assertEqual('refused', service['state'])
            self.assertIn('Invalid PCI alias', service['message'])

    def _spec(self) -> str:
        path = pathlib.Path(self.directory, 'spec.yaml')
        config = f'[pci]\nalias = {_BAD_ALIAS}\n'
        path.write_text(
            yaml.safe_dump(
                {
                    'control_plane': {'api': [{'config': config}]},
                    'hosts': [{'name': 'gpu-1', 'config': config}],
                }
            )
        )
        return os.fspath(path)


class TestLeaksOfOlderPlacement(base.OwnCloudTestCase):
    """Placement 13 refuses writes with a device that is used and reserved."""

    timeout = 600

    def setUp(self) -> None:
        super().setUp()
        self.useFixture(fixtures.EnvironmentVariable('XDG_CACHE_HOME', _CACHE))

    def check(self, *arguments: str, status: int) -> list[dict]:
        result = self.run_command(
            *('gpu', 'placement', 'check', '-f', 'json', '--yes'), *arguments
        )
        self.assertEqual(status, result.status, result)
        self.stderr = result.stderr
        return json.loads(result.stdout)

    def test_placement_13(self) -> None:
        spec = self.directory / 'spec.yaml'
        spec.write_text(leak_planting.spec({'g0': 2, 'g1': 2}))
        started = self.start(
            'leaks-13', '--placement', '2025.1', '--spec', os.fspath(spec)
        )
        self.assertEqual('13', started['placement_version'].split('.')[0])
        cloud = leak_planting.Cloud(self.connect())
        planter = leak_planting.Planter(cloud, random.Random(1))
        planter.servers = [cloud.boot('a2:1', 'g0')]
        wrong = planter.wrong_host()
        assert wrong is not None
        (name,) = cloud.real_devices()[wrong.subject]
        reserved = cloud.providers()[name]['uuid']
        cloud.set_inventory(reserved, reserved=1)
        before = cloud.state()
        # Placement refuses even what changes nothing.
        refused = self.assertRaises(
            AssertionError,
            cloud.allocate,
            wrong.subject,
            cloud.units(wrong.subject),
        )
        self.assertIn('409', str(refused))
        codes = [row['Code'] for row in self.check(status=3)]
        self.assertEqual(['GPU611', 'GPU618'], codes)
        rows = self.check('--fix', status=0)
        self.assertEqual(
            [('GPU611', 'done'), ('GPU618', None)],
            [(row['Code'], row['Result']) for row in rows],
        )
        journal = self.stderr.split()[-1]
        (record,) = cloud.inventories(reserved)['inventories'].values()
        self.assertEqual(1, record['reserved'])
        self.assertEqual(cloud.real_devices(), cloud.held_devices())
        self.check('--undo', journal, status=0)
        self.assertEqual(before, cloud.state())
