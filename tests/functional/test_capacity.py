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

"""How many more servers fit: said before, and booted until none does."""

import collections
import time
import typing

from prometheus_client.openmetrics import parser
import yaml

from tests.functional import base
from tests.functional import capacity


class TestForecast(base.OwnCloudTestCase):
    """The forecast of each variant is what Nova then boots."""

    timeout = 500

    def test_forecast(self):
        path = self.directory / 'spec.yaml'
        path.write_text(capacity.spec())
        self.start('capacity', '--spec', str(path))
        cloud = self.connect()
        self._set_up(cloud)
        flavors = {
            variant.name: self._make_flavor(cloud, variant)
            for variant in capacity.VARIANTS
        }
        aliases = ('--config', str(self._aliases(path)))
        listed = {
            row['Flavor']: row
            for row in self.openstack(
                'gpu', 'capacity', 'list', '-f', 'json', *aliases
            )
        }
        self.assertEqual(set(flavors), set(listed))
        for variant in capacity.VARIANTS:
            with self.subTest(variant.name):
                shown = self.openstack(
                    'gpu',
                    'capacity',
                    'show',
                    variant.name,
                    '-f',
                    'json',
                    *aliases,
                )
                self.assertEqual(variant.fits, shown['fits'])
                self.assertEqual(variant.fits, listed[variant.name]['Fits'])
                (host,) = shown['hosts']
                if variant.name == 'disabled':
                    self.assertEqual(
                        'nova-compute is disabled: no reason',
                        host['refused'],
                    )
                else:
                    names = [
                        name.format(*variant.aliases)
                        for name in variant.limited_by
                    ]
                    self.assertEqual(names, host['limited_by'])
                self.assertEqual(
                    variant.name != 'pinned', shown['exact'], shown['notes']
                )
        self._ask_for_some(listed, aliases)
        for variant in capacity.VARIANTS:
            if variant.fits:
                self._boot(cloud, flavors[variant.name], variant.fits)
        self._booted(cloud)
        for flavor_id in flavors.values():
            self._boot(cloud, flavor_id, 1)
        booted = self._booted(cloud)
        self.assertEqual(
            {variant.name: variant.fits for variant in capacity.VARIANTS},
            {name: booted[name] for name in flavors},
        )
        # Now servers say what their aliases mean; nobody else does.
        inferred = {
            row['Flavor']: row
            for row in self.openstack(
                'gpu', 'capacity', 'list', '--long', '-f', 'json'
            )
        }
        self.assertEqual(0, inferred['pci']['Fits'])
        self.assertEqual(
            [
                'pci_a is taken for CUSTOM_PCI_10DE_3000, which its servers '
                'hold'
            ],
            inferred['pci']['Notes'],
        )
        self.assertIsNone(inferred['wide']['Fits'])
        self._metrics(aliases)
        # Nothing fits any more, and the forecast says that, too.
        for row in self.openstack(
            'gpu', 'capacity', 'list', '-f', 'json', *aliases
        ):
            self.assertEqual(0, row['Fits'], row)
        # What is left strands, for want of what the variant is short of.
        left = {
            row['Host']: row
            for row in self.openstack(
                'gpu', 'capacity', 'list', '--stranded', '-f', 'json', *aliases
            )
        }
        self.assertEqual(['PCPU'], left['pinned']['Limited By'])
        self.assertEqual(2, left['memory']['Stranded'])
        self.assertNotIn('pci', left)

    def _metrics(self, aliases: tuple[str, ...]) -> None:
        """What is booted is in the text, and the file is replaced whole."""
        text = self.openstack('gpu', 'metrics', 'show', *aliases)
        path = self.directory / 'gpu.prom'
        path.write_text('old')
        self.openstack(
            'gpu', 'metrics', 'show', *aliases, '--output', str(path)
        )
        self.assertEqual(text, path.read_text())
        samples = {
            (sample.name, frozenset(sample.labels.values())): sample.value
            for family in parser.text_string_to_metric_families(text)
            for sample in family.samples
        }
        for name, key, value in (
            ('free_capacity_by_flavor_total', ('pci', 'True'), 0),
            (
                'free_capacity_hypervisor_by_flavor',
                ('zone', 'zone', 'far', ''),
                0,
            ),
            (
                'hypervisor_placement_allocated',
                ('vf', 'CUSTOM_PCI_10DE_3008'),
                4,
            ),
            (
                'hypervisor_placement_allocatable_capacity',
                ('reserved', 'CUSTOM_PCI_10DE_3034'),
                2,
            ),
            (
                'gpu_device_used',
                ('vf', '0000:01:00.0', 'CUSTOM_PCI_10DE_3008'),
                2,
            ),
            ('gpu_stranded', ('memory', 'CUSTOM_PCI_10DE_3024'), 2),
            (
                'project_usage',
                (
                    self.connect().current_project_id,
                    'admin',
                    'CUSTOM_PCI_10DE_3000',
                ),
                3,
            ),
            (
                'project_filter_aggregate',
                (self.connect().current_project_id, 'kept'),
                1,
            ),
        ):
            self.assertEqual(
                value,
                samples.get((f'openstack_{name}', frozenset(key))),
                (name, key),
            )

    def _ask_for_some(
        self, listed: dict[str, typing.Any], aliases: tuple[str, ...]
    ) -> None:
        """Ask for a zone, a project, one flavor; and in vain."""
        self.assert_golden('capacity_list', listed['memory'])
        self.assert_golden(
            'capacity_show',
            self.openstack(
                'gpu', 'capacity', 'show', 'memory', '-f', 'json', *aliases
            ),
        )
        command = ('gpu', 'capacity', 'list', '-f', 'json')
        in_zone = {
            row['Flavor']: row['Fits']
            for row in self.openstack(
                *command, '--availability-zone', 'far', *aliases
            )
        }
        self.assertEqual((3, 0), (in_zone['zone'], in_zone['pci']))
        of_project = {
            row['Flavor']: row
            for row in self.openstack(*command, '--project', 'demo', *aliases)
        }
        self.assertEqual(0, of_project['traits']['Fits'])
        self.assertEqual(
            {'kept for other projects (filter_tenant_id)': 1},
            of_project['traits']['Limited By'],
        )
        self.assertEqual(3, of_project['pci']['Fits'])
        for row in self.openstack(*command, '--long'):
            self.assertIsNone(row['Fits'])
            self.assertIn('name the file', row['Notes'][0])
        self.assertIn(
            "Flavor 'pci': Nobody says what alias 'pci_a' stands for",
            self.refused('gpu', 'capacity', 'show', 'pci'),
        )
        self.assertIn(
            "No flavor has the name or ID 'nosuch'",
            self.refused('gpu', 'capacity', 'show', 'nosuch'),
        )
        self.assertIn(
            'placement:resource_providers:list',
            self.refused(
                'gpu', 'capacity', 'list', os_cloud='capacity-member'
            ),
        )

    @staticmethod
    def _set_up(cloud: typing.Any) -> None:
        (provider,) = (
            record
            for record in cloud.placement.get(
                '/resource_providers', microversion='1.39'
            ).json()['resource_providers']
            if record['name'] == 'reserved_0000:01:00.0'
        )
        path = f'/resource_providers/{provider["uuid"]}/inventories'
        body = cloud.placement.get(path, microversion='1.39').json()
        for inventory in body['inventories'].values():
            inventory['reserved'] = 1
        cloud.placement.put(path, json=body, microversion='1.39')
        (service,) = cloud.compute.services(host='disabled')
        cloud.compute.disable_service(service, disabled_reason='no reason')
        aggregate = cloud.compute.create_aggregate(
            name='far', availability_zone='far'
        )
        cloud.compute.add_host_to_aggregate(aggregate, 'zone')
        aggregate = cloud.compute.create_aggregate(name='kept')
        cloud.compute.add_host_to_aggregate(aggregate, 'traits')
        admin = cloud.current_project_id
        cloud.compute.set_aggregate_metadata(
            aggregate, {'filter_tenant_id': admin}
        )

    @staticmethod
    def _make_flavor(cloud: typing.Any, variant: capacity.Variant) -> str:
        flavor = cloud.compute.create_flavor(
            **{
                'name': variant.name,
                'vcpus': 1,
                'ram': 512,
                'disk': 1,
                **variant.flavor,
            }
        )
        cloud.compute.create_flavor_extra_specs(
            flavor,
            {
                'pci_passthrough:alias': variant.request.format(
                    *variant.aliases
                ),
                **variant.extra_specs,
            },
        )
        return flavor.id

    def _aliases(self, spec: typing.Any) -> typing.Any:
        """Return a file with the aliases of nova-api."""
        path = self.directory / 'nova.conf'
        document = yaml.safe_load(spec.read_text())
        path.write_text(document['control_plane']['api'][0]['config'])
        return path

    @staticmethod
    def _boot(cloud: typing.Any, flavor_id: str, count: int) -> None:
        """Ask for servers that all fit, or none of them is booted."""
        (image,) = cloud.image.images(name='blank')
        cloud.compute.create_server(
            name=flavor_id,
            flavor_id=flavor_id,
            image_id=image.id,
            networks='none',
            min_count=count,
            max_count=count,
        )

    def _booted(self, cloud: typing.Any) -> collections.Counter[str]:
        """Return how many servers of each flavor run, when all is settled."""
        deadline = time.monotonic() + 300
        while True:
            servers = list(cloud.compute.servers())
            if all(one.status in ('ACTIVE', 'ERROR') for one in servers):
                break
            self.assertLess(time.monotonic(), deadline, servers)
            time.sleep(0.2)
        for server in servers:
            if server.status == 'ERROR':
                fault = cloud.compute.get_server(server.id).fault
                self.assertIn('No valid host', fault['message'])
        return collections.Counter(
            server.flavor['original_name']
            for server in servers
            if server.status == 'ACTIVE'
        )
