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

"""How many more servers fit: predicted, and booted until no more fit."""

import collections
import json
import typing

from openstack import exceptions as sdk_exceptions
from prometheus_client.openmetrics import parser
import yaml

from tests.functional import base
from tests.functional import capacity

#: Servers that may be built at once. If more are built on a busy machine,
#: requests time out: Nova looks for another host, and no other host fits.
_BUILDS = 8


class TestForecast(base.OwnCloudTestCase):
    """Nova boots as many servers of each variant as predicted."""

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
        listed = self._list('--long', *aliases)
        self.assertEqual(set(flavors), set(listed))
        for variant in capacity.VARIANTS:
            with self.subTest(variant.name):
                self._check(variant, listed[variant.name])
        for variant in capacity.VARIANTS:
            if variant.name in ('disabled', 'pinned', 'refused0', 'vf'):
                with self.subTest(variant.name):
                    self._check_host(variant, aliases)
        self._ask_for_some(aliases)
        self._boot_all(cloud, flavors)
        # Now the aliases can only be inferred from servers.
        inferred = self._list('--long')
        self.assertEqual(0, inferred['pci']['Fits'])
        self.assertEqual(
            [
                'Alias pci_a is assumed to request CUSTOM_PCI_10DE_1B38, '
                'the class of devices of servers that booted with it'
            ],
            inferred['pci']['Notes'],
        )
        self.assertIsNone(inferred['wide']['Fits'])
        self._metrics(aliases)
        # No more servers fit, and the command reports that, too.
        for name, row in self._list(*aliases).items():
            variant = next(
                each for each in capacity.VARIANTS if each.name == name
            )
            if variant.booted == variant.fits:
                self.assertEqual(0, row['Fits'], row)
        # Free devices are stranded, limited by the resource of the variant.
        result = self.run_command(
            *('gpu', 'capacity', 'list', '--stranded', '-f', 'json'), *aliases
        )
        self.assertEqual(0, result.status)
        self.assertIn('elsewhere is ignored', result.stderr)
        left = {row['Host']: row for row in json.loads(result.stdout)}
        self.assertEqual(['PCPU'], left['pinned']['Limited By'])
        self.assertEqual(2, left['memory']['Stranded'])
        self.assertNotIn('pci', left)

    def _list(self, *arguments: str) -> dict[str, typing.Any]:
        """List flavors, one of which is unknown (exit status 1)."""
        return {
            row['Flavor']: row
            for row in self.openstack(
                *('gpu', 'capacity', 'list', '-f', 'json', *arguments),
                status=1,
            )
        }

    def _check(
        self, variant: capacity.Variant, listed: dict[str, typing.Any]
    ) -> None:
        """Compare the output for a flavor with the variant."""
        self.assertEqual(variant.fits, listed['Fits'])
        if variant.fits is None:
            self.assertIsNone(listed['Exact'])
            return
        self.assertEqual(not variant.at_most, listed['Exact'], listed)
        if variant.refused:
            self.assertIn(variant.refused, listed['Notes'][0])
            self.assertIn(variant.refused, ''.join(listed['Limited By']))
            return
        self.assertIn(variant.at_most, '\n'.join(listed['Notes']))
        self.assertEqual(
            dict.fromkeys(
                [name.format(*variant.aliases) for name in variant.limited_by],
                1,
            ),
            listed['Limited By'],
        )

    def _check_host(
        self, variant: capacity.Variant, aliases: tuple[str, ...]
    ) -> None:
        """Compare the output for its host with the variant."""
        shown = self.openstack(
            *('gpu', 'capacity', 'show', variant.name, '-f', 'json'), *aliases
        )
        self.assertEqual(variant.fits, shown['fits'])
        self.assertEqual(not variant.at_most, shown['exact'], shown['notes'])
        self.assertIn(variant.at_most, '\n'.join(shown['notes']))
        if variant.refused:
            self.assertEqual([], shown['hosts'])
            return
        (host,) = shown['hosts']
        if variant.name == 'disabled':
            self.assertEqual(list(variant.limited_by), [host['refused']])
        else:
            self.assertEqual(
                [name.format(*variant.aliases) for name in variant.limited_by],
                host['limited_by'],
            )

    def _boot_all(self, cloud: typing.Any, flavors: dict[str, str]) -> None:
        """Boot as many servers as fit, and one more."""
        for variant in capacity.VARIANTS:
            if variant.booted:
                self._boot(cloud, flavors[variant.name], variant.booted)
        self.assertEqual([], self._faults(cloud))
        for variant in capacity.VARIANTS:
            self._boot(
                cloud,
                flavors[variant.name],
                1,
                may_be_refused=bool(variant.refused),
            )
        booted = self._booted(cloud)
        self.assertEqual(
            {variant.name: variant.booted for variant in capacity.VARIANTS},
            {name: booted[name] for name in flavors},
        )

    def _metrics(self, aliases: tuple[str, ...]) -> None:
        """The text has the booted servers; the file is replaced as a whole."""
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
                ('vf', capacity.resource_class('vf')),
                4,
            ),
            (
                'hypervisor_placement_allocatable_capacity',
                ('reserved', capacity.resource_class('reserved')),
                2,
            ),
            (
                'gpu_device_used',
                ('vf', '0000:01:00.0', capacity.resource_class('vf')),
                2,
            ),
            ('gpu_stranded', ('memory', capacity.resource_class('memory')), 2),
            (
                'project_usage',
                (
                    self.connect().current_project_id,
                    'admin',
                    capacity.resource_class('pci'),
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

    def _ask_for_some(self, aliases: tuple[str, ...]) -> None:
        """List for a zone, a project and a flavor, and for unknown names."""
        self.assert_golden('capacity_list', self._list(*aliases)['memory'])
        self.assert_golden(
            'capacity_show',
            self.openstack(
                'gpu', 'capacity', 'show', 'memory', '-f', 'json', *aliases
            ),
        )
        command = ('gpu', 'capacity', 'list', '-f', 'json')
        in_zone = self._list('--availability-zone', 'far', *aliases)
        self.assertEqual(
            (3, 0), (in_zone['zone']['Fits'], in_zone['pci']['Fits'])
        )
        # No aggregate has this zone, and Nova excludes no host for it.
        in_zone = self._list('--availability-zone', 'nova', *aliases)
        self.assertEqual(
            (3, 3), (in_zone['zone']['Fits'], in_zone['pci']['Fits'])
        )
        self.assertIn(
            "Nova has no availability zone 'nosuch'; it has far, nova",
            self.refused(*command, '--availability-zone', 'nosuch'),
        )
        of_project = self._list('--project', 'demo', '--long', *aliases)
        self.assertFalse(of_project['tenants']['Exact'])
        self.assertIn(
            'is reserved for other projects by filter_tenant_id',
            of_project['tenants']['Notes'][0],
        )
        self.assertTrue(of_project['pci']['Exact'])
        of_project = self._list(
            '--project', self.connect().current_project_id, *aliases
        )
        self.assertTrue(of_project['tenants']['Exact'])
        result = self.run_command(*command, '--long')
        self.assertEqual(1, result.status)
        self.assertIn('capacity of flavor pci: The definition', result.stderr)
        for row in json.loads(result.stdout):
            if row['Flavor'].startswith('refused'):
                self.assertEqual(0, row['Fits'])
                continue
            self.assertIsNone(row['Fits'])
            self.assertIn('pass the file', row['Notes'][0])
        self.assertIn(
            'unknown', self.run_command(*command[:-2], '--long').stdout
        )
        self.assertIn(
            "Flavor 'pci': The definition of alias 'pci_a' is not known",
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
        aggregate = cloud.compute.create_aggregate(name='trusted')
        cloud.compute.add_host_to_aggregate(aggregate, 'trusted')
        cloud.compute.set_aggregate_metadata(
            aggregate, {'trait:CUSTOM_TRUSTED': 'required'}
        )
        aggregate = cloud.compute.create_aggregate(name='kept')
        cloud.compute.add_host_to_aggregate(aggregate, 'tenants')
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
    def _boot(
        cloud: typing.Any,
        flavor_id: str,
        count: int,
        *,
        may_be_refused: bool = False,
    ) -> None:
        """Create servers: either all of them boot, or none."""
        base.wait_until(
            lambda: base.count_builds(cloud) < _BUILDS,
            300,
            'few servers are being built',
        )
        (image,) = cloud.image.images(name='blank')
        try:
            cloud.compute.create_server(
                name=flavor_id,
                flavor_id=flavor_id,
                image_id=image.id,
                networks='none',
                min_count=count,
                max_count=count,
            )
        except sdk_exceptions.HttpException:
            if not may_be_refused:
                raise

    def _booted(self, cloud: typing.Any) -> collections.Counter[str]:
        """Return how many servers of each flavor are ACTIVE."""
        faults = self._faults(cloud)
        self.assertNotEqual([], faults)
        for name, message in faults:
            self.assertRegex(
                message, 'No valid host|Invalid secure boot', name
            )
        return collections.Counter(
            server.flavor['original_name']
            for server in cloud.compute.servers()
            if server.status == 'ACTIVE'
        )

    @staticmethod
    def _faults(cloud: typing.Any) -> list[tuple[str, str]]:
        """Return the flavor and the fault of each server that failed."""
        servers = base.wait_until(
            lambda: base.settled_servers(cloud), 300, 'servers are settled'
        )
        return [
            (
                server.flavor['original_name'],
                cloud.compute.get_server(server.id).fault['message'],
            )
            for server in servers
            if server.status == 'ERROR'
        ]
