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

"""``openstack gpu upgrade check --cloud``"""

import json
import os
import pathlib
import typing

from openstack import exceptions as sdk_exceptions

from tests.functional import base

_UPGRADE = ('gpu', 'upgrade', 'check', '--cloud', '-f', 'json')
_RESOURCE = 'class:CUSTOM_PCI_10DE_20F1'
_SPEC = pathlib.Path(__file__).with_name('unified_limits.yaml')
_UNIFIED = """\
[quota]
driver = nova.quota.UnifiedLimitsDriver
[filter_scheduler]
pci_in_placement = True
"""


class TestSharedCloud(base.CloudTestCase):
    def test_flavor(self) -> None:
        flavor = self.make_flavor('nvidia_a2:1', **{'hw:sound_model': 'ich9'})
        result = self.run_command(
            *_UPGRADE, '--from', '2025.1', '--to', '2026.1'
        )
        self.assertEqual(0, result.status, result.stderr)
        self.assertEqual(
            [
                {
                    'Effect': 'begins',
                    'Release': '2026.1',
                    'Code': 'sound-model',
                    'File': None,
                    'Line': None,
                    'Message': f"Flavor '{flavor.name}': hw:sound_model = "
                    f"'ich9' takes effect: Nova 31 ignores it. Check that the "
                    f'value is the one that you want',
                }
            ],
            [
                row
                for row in json.loads(result.stdout)
                if flavor.name in row['Message']
            ],
        )
        self.assertIn('the cloud runs 2026.2 (micro', result.stderr)

    def test_as_a_member(self) -> None:
        result = self.run_command(
            *(*_UPGRADE, '--from', '2025.2', '--to', '2026.2'),
            os_cloud=base.MEMBER,
        )
        self.assertEqual(1, result.status, result.stderr)
        warning, *lines = result.stderr.strip().splitlines()
        self.assertIn('--from is in effect', warning)
        for line, source in zip(
            lines,
            (
                'compute services: ',
                'compute nodes: ',
                'servers: ',
                'PCI devices and their hosts: ',
            ),
            strict=True,
        ):
            self.assertTrue(line.startswith(source), line)
            self.assertIn('(HTTP 403', line)

    def test_release_of_the_cloud(self) -> None:
        result = self.run_command(*_UPGRADE, '--to', '2026.2')
        self.assertEqual(1, result.status)
        self.assertIn(
            'From: 2026.2 (Nova 34.0.0), from microversion 2.104 of the cloud',
            result.stderr,
        )
        self.assertIn('there is nothing to upgrade', result.stderr)


class TestPlanted(base.OwnCloudTestCase):
    """Faults in a cloud that has none at first."""

    def check(self, *paths: str, status: int = 0) -> list[tuple[str, str]]:
        result = self.run_command(
            *(*_UPGRADE, *paths, '--from', '2026.1', '--to', '2026.2')
        )
        self.assertEqual(status, result.status, result.stderr)
        rows = json.loads(result.stdout)
        self.messages = '\n'.join(row['Message'] for row in rows)
        return [
            (row['Effect'], row['Code'])
            for row in rows
            # Of the file, not of the cloud.
            if row['File'] is None
        ]

    def test_planted(self) -> None:
        self.start('planted', '--spec', os.fspath(_SPEC))
        self.cloud = self.connect()
        config = pathlib.Path(self.directory, 'nova-api.conf')
        config.write_text(_UNIFIED)
        self._register()
        self._boot()
        self.assertEqual([], self.check())
        self.assertEqual([], self.check(os.fspath(config)))
        self.cloud.identity.update_registered_limit(
            self.limit, default_limit=0
        )
        self.assertEqual([('check', 'limits-count-aliases')], self.check())
        self.assertEqual(
            [('breaks', 'limits-count-aliases')],
            self.check(os.fspath(config), status=3),
        )
        self.assertIn(
            f"Project 'admin' uses 1 of {_RESOURCE}, and its limit is 0",
            self.messages,
        )
        # This Nova counts devices already.
        error = self.assertRaises(
            sdk_exceptions.ForbiddenException, self._create
        )
        self.assertIn(f'{_RESOURCE} is over limit of 0', str(error))
        self._force_down()
        self.assertEqual(
            {('check', 'limits-count-aliases'), ('check', 'owner-nova')},
            set(self.check()),
        )
        self.assertIn('is forced down', self.messages)

    def _register(self) -> None:
        (service,) = self.cloud.identity.services(type='compute')
        for name in ('servers', 'class:VCPU', 'class:MEMORY_MB', _RESOURCE):
            self.limit = self.cloud.identity.create_registered_limit(
                service_id=service.id,
                region_id=self.cloud.config.get_region_name(),
                resource_name=name,
                default_limit=4000,
            )

    def _create(self) -> typing.Any:
        (image,) = self.cloud.image.images(name='blank')
        return self.cloud.compute.create_server(
            name='server',
            flavor_id=self.cloud.compute.find_flavor('gpu').id,
            image_id=image.id,
            networks='none',
        )

    def _boot(self) -> None:
        compute = self.cloud.compute
        flavor = compute.create_flavor(name='gpu', vcpus=1, ram=512, disk=1)
        compute.create_flavor_extra_specs(
            flavor, {'pci_passthrough:alias': 'nvidia_a100:1'}
        )
        server = self._create()
        server = self.wait_for_server(server.id, 'ACTIVE', 'ERROR')
        self.assertEqual('ACTIVE', server.status, server.fault)

    def _providers(self) -> list[dict[str, typing.Any]]:
        providers: list[dict[str, typing.Any]] = self.cloud.placement.get(
            '/resource_providers', microversion='1.14'
        ).json()['resource_providers']
        return providers

    def _force_down(self) -> None:
        """Force a compute down, and remove the trait of its providers."""
        (service,) = self.cloud.compute.services(binary='nova-compute')
        self.cloud.compute.put(
            f'/os-services/{service.id}',
            json={'forced_down': True},
            microversion='2.53',
        ).raise_for_status()
        for provider in self._providers():
            path = f'/resource_providers/{provider["uuid"]}/traits'
            traits = self.cloud.placement.get(path, microversion='1.14').json()
            traits['traits'].remove('OWNER_NOVA')
            self.cloud.placement.put(
                path, json=traits, microversion='1.14'
            ).raise_for_status()
