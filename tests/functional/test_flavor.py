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

"""``openstack gpu flavor`` with a real Nova: what it writes and refuses."""

import json
import pathlib
import tempfile

from tests.functional import base
from tests.functional import proxy

SPEC = 'pci_passthrough:alias'
POLICY = 'hw:pci_numa_affinity_policy'
NOTE = 'Existing servers keep the flavor that they booted with'


class TestFlavor(base.CloudTestCase):
    def specs(self, flavor: object) -> dict[str, str]:
        return (
            self.connect()
            .compute.get_flavor(flavor.id, get_extra_specs=True)
            .extra_specs
        )

    def set(self, flavor: object, *arguments: str) -> dict:
        return self.openstack(
            *('gpu', 'flavor', 'set', flavor.name, '-f', 'json'), *arguments
        )

    def test_merge_and_replace(self) -> None:
        flavor = self.make_flavor()
        shown = self.set(flavor, '--alias', 'nvidia_a2:1')
        self.assertEqual({'nvidia_a2': 1}, shown['aliases'])
        self.assertEqual([NOTE], shown['notes'])
        self.set(flavor, '--alias', 'nvidia_pci:2')
        self.assertEqual('nvidia_a2:1,nvidia_pci:2', self.specs(flavor)[SPEC])
        self.set(flavor, '--alias', 'nvidia_a2:3')
        self.assertEqual('nvidia_a2:3,nvidia_pci:2', self.specs(flavor)[SPEC])
        self.set(flavor, '--no-alias', '--alias', 'nvidia_vf:1')
        self.assertEqual('nvidia_vf:1', self.specs(flavor)[SPEC])
        self.set(flavor, '--no-alias')
        self.assertEqual({}, self.specs(flavor))
        # There are no aliases to remove, which is not an error.
        self.set(flavor, '--no-alias')

    def test_microversion(self) -> None:
        """Requests have 2.86, regardless of the client's default."""
        flavor = self.make_flavor()
        between = self.through('compute')
        for default in ((), ('2.1',), ('2.100',)):
            between.requests.clear()
            arguments = [
                *('gpu', 'flavor', 'set', flavor.name),
                *('--alias', 'nvidia_a2:1', '--force'),
            ]
            if default:
                arguments = ['--os-compute-api-version', *default, *arguments]
            self.openstack(*arguments)
            (write,) = [
                request
                for request in between.requests
                if request.method == 'POST'
            ]
            self.assertTrue(write.path.endswith('/os-extra_specs'))
            self.assertEqual(
                'compute 2.86', write.headers['openstack-api-version']
            )
            self.assertEqual(
                {'extra_specs': {SPEC: 'nvidia_a2:1'}}, json.loads(write.body)
            )

    def test_large_bars(self) -> None:
        """Nova 2.86 refuses these keys, which guests with many GPUs need."""
        flavor = self.make_flavor()
        between = self.through('compute')
        self.set(
            flavor,
            *('--property', 'hw:maxphysaddr_mode=emulate'),
            *('--property', 'hw:cpu_policy=dedicated'),
        )
        self.assertEqual(
            {
                'hw:maxphysaddr_mode': 'emulate',
                'hw:cpu_policy': 'dedicated',
            },
            self.specs(flavor),
        )
        self.assertEqual(
            {
                'hw:maxphysaddr_mode': 'compute 2.85',
                'hw:cpu_policy': 'compute 2.86',
            },
            {
                next(iter(json.loads(request.body)['extra_specs'])): (
                    request.headers['openstack-api-version']
                )
                for request in between.requests
                if request.method == 'POST'
            },
        )

    def test_message_of_the_server(self) -> None:
        flavor = self.make_flavor()
        message = self.refused(
            *('gpu', 'flavor', 'set', flavor.name),
            *('--property', 'hw:machine_type=q35'),
        )
        self.assertIn('setting hw:machine_type', message)
        self.assertIn('Validation failed', message)
        self.assertIn('HTTP 400', message)
        self.assertEqual(1, len(message.splitlines()))
        self.assertEqual({}, self.specs(flavor))

    def test_refused(self) -> None:
        flavor = self.make_flavor('nvidia_a2:1')
        for arguments, message in (
            (('--alias', 'a'), "'a' is not NAME:COUNT"),
            (('--alias', 'a:0'), "'a:0' requests no device"),
            (('--alias', 'a:-1'), "'a:-1' is not NAME:COUNT"),
            (('--alias', 'a:b'), "'a:b' is not NAME:COUNT"),
            (('--alias', ':1'), "':1' is not NAME:COUNT"),
            (('--alias', 'a,b:1'), 'must not contain a colon'),
            (('--alias', 'a:1', '--alias', 'a:2'), 'specified twice'),
            (('--alias', 'nosuch:1'), 'PCI alias nosuch is not defined'),
            (('--property', f'{SPEC}=a:1'), 'Use --alias'),
            ((), 'Nothing to set'),
            (
                (
                    *('--alias', 'nvidia_pci:1'),
                    *('--property', 'resources:CUSTOM_PCI_10DE_20F1=1'),
                ),
                'GPU703',
            ),
            (
                ('--property', 'hw:cpu_policy=often'),
                'GPU706: No server can be created: nova-api refuses every '
                "server with HTTP 400: CPU policy requested from 'flavor",
            ),
            (('--property', 'trait1:CUSTOM_A=required'), 'GPU708'),
        ):
            error = self.refused(
                'gpu', 'flavor', 'set', flavor.name, *arguments
            )
            self.assertIn(message, error)
            self.assertEqual(1, len(error.splitlines()), error)
        self.assertEqual({SPEC: 'nvidia_a2:1'}, self.specs(flavor))
        self.assertIn(
            "No flavor has the name or ID 'noflavor'",
            self.refused(
                *('gpu', 'flavor', 'set', 'noflavor', '--alias'),
                'nvidia_a2:1',
            ),
        )
        # The error of argparse.
        self.refused(
            *('gpu', 'flavor', 'set', flavor.name, '--numa-policy', 'near'),
            status=2,
        )

    def test_force(self) -> None:
        flavor = self.make_flavor()
        shown = self.set(
            flavor, '--alias', 'nosuch:1', '--alias', 'nvidia_a2:0', '--force'
        )
        self.assertEqual('nosuch:1,nvidia_a2:0', self.specs(flavor)[SPEC])
        self.assertIn('GPU701', shown['findings'][0])
        shown = self.openstack(
            'gpu', 'flavor', 'show', flavor.name, '-f', 'json'
        )
        self.assertEqual(
            ['GPU701', 'GPU707'], [each[:6] for each in shown['findings']]
        )

    def test_stored_by_an_old_client(self) -> None:
        """Values that make boots fail, or give no device, are reported."""
        for specs, code in (
            ({SPEC: ''}, 'GPU702'),
            ({SPEC: 'nvidia_a2:-1'}, 'GPU701'),
            ({SPEC: 'nvidia_a2:1', POLICY: 'prefered'}, 'GPU706'),
            ({'pci_passthrough:spec': 'nvidia_a2:1'}, 'GPU705'),
            ({SPEC: 'NVIDIA_A2:1,nvidia_a2:1'}, 'GPU707'),
            (
                {SPEC: 'nvidia_a2:1', 'resources:CUSTOM_GPU_H100': '1'},
                'GPU703',
            ),
            ({'resources:CUSTOM_GPU_H100': '1'}, 'GPU704'),
        ):
            flavor = self.make_flavor()
            self.connect().compute.create_flavor_extra_specs(flavor, specs)
            shown = self.openstack(
                'gpu', 'flavor', 'show', flavor.id, '-f', 'json'
            )
            (finding,) = shown['findings']
            self.assertIn(code, finding)
            (listed,) = [
                row
                for row in self.openstack(
                    'gpu', 'flavor', 'list', '--long', '-f', 'json'
                )
                if row['ID'] == flavor.id
            ]
            self.assertIn(finding[:30], listed['Findings'][0])
            if code == 'GPU707':
                self.assertIn("Request 'nvidia_a2'", finding)
        flavor = self.make_flavor('nvidia_a2:1')
        shown = self.openstack(
            'gpu', 'flavor', 'show', flavor.id, '-f', 'json'
        )
        self.assertEqual([], shown['findings'])

    def test_value_that_nova_cannot_parse(self) -> None:
        flavor = self.make_flavor()
        compute = self.connect().compute
        compute.create_flavor_extra_specs(flavor, {SPEC: 'nvidia_a2'})
        for command in ('set', 'unset'):
            request = 'nvidia_a2' if command == 'unset' else 'nvidia_a2:1'
            message = self.refused(
                'gpu', 'flavor', command, flavor.name, '--alias', request
            )
            self.assertIn(
                "'nvidia_a2'" if command == 'unset' else 'cannot parse',
                message,
            )
        shown = self.openstack(
            'gpu', 'flavor', 'show', flavor.id, '-f', 'json'
        )
        self.assertIn('GPU702', shown['findings'][0])
        compute.create_flavor_extra_specs(flavor, {SPEC: 'nvidia_a2:1,x'})
        self.assertIn(
            f"{SPEC} of flavor {flavor.name!r} is 'nvidia_a2:1,x', which Nova "
            'cannot parse. Remove it',
            self.refused(
                'gpu', 'flavor', 'unset', flavor.name, '--alias', 'nvidia_a2'
            ),
        )
        self.set(flavor, '--no-alias', '--alias', 'nvidia_a2:1')
        self.assertEqual('nvidia_a2:1', self.specs(flavor)[SPEC])

    def test_unset(self) -> None:
        flavor = self.make_flavor(
            'nvidia_a2:1,nvidia_pci:1', **{'hw:cpu_policy': 'shared'}
        )
        self.openstack(
            'gpu', 'flavor', 'unset', flavor.name, '--alias', 'nvidia_a2'
        )
        self.assertEqual('nvidia_pci:1', self.specs(flavor)[SPEC])
        message = self.refused(
            'gpu', 'flavor', 'unset', flavor.name, '--alias', 'nvidia_a2'
        )
        self.assertIn("has no 'nvidia_a2'", message)
        self.openstack(
            *('gpu', 'flavor', 'unset', flavor.name, '--alias', 'nvidia_pci'),
            *('--property', 'hw:cpu_policy'),
        )
        self.assertEqual({}, self.specs(flavor))
        self.assertIn(
            'Nothing to unset',
            self.refused('gpu', 'flavor', 'unset', flavor.name),
        )

    def test_lost_update(self) -> None:
        """Another user changes the flavor between the write and the check."""
        flavor = self.make_flavor()
        compute = self.connect().compute
        wrote = []

        def interfere(request: proxy.Request) -> None:
            if request.method == 'POST':
                wrote.append(request)
            elif wrote and request.path.endswith('/os-extra_specs'):
                compute.create_flavor_extra_specs(
                    flavor, {SPEC: 'nvidia_vf:1'}
                )

        self.through('compute', interfere)
        message = self.refused(
            *('gpu', 'flavor', 'set', flavor.name, '--force'),
            *('--alias', 'nvidia_a2:1'),
        )
        self.assertIn('changed by another user', message)
        self.assertIn("is now 'nvidia_vf:1'", message)

    def test_existing_server_keeps_its_flavor(self) -> None:
        flavor = self.make_flavor('nvidia_pci:1')
        server = self.boot(flavor)
        self.set(flavor, '--no-alias', '--alias', 'nvidia_vf:1')
        rows = self.openstack('gpu', 'server', 'list', '--long', '-f', 'json')
        (mine,) = [row for row in rows if row['ID'] == server.id]
        self.assertEqual({'nvidia_pci': 1}, mine['Aliases'])

    def test_create(self) -> None:
        name = self.unique()
        shown = self.openstack(
            *('gpu', 'flavor', 'create', name, '--ram', '1024', '--vcpus'),
            *('2', '--disk', '1', '--alias', 'nvidia_a2:1', '--project'),
            *('demo', '-f', 'json'),
        )
        compute = self.connect().compute
        self.addCleanup(compute.delete_flavor, shown['id'])
        self.assertFalse(shown['is_public'])
        listed = self.as_member('gpu', 'flavor', 'list', '-f', 'json')
        self.assertIn(name, [row['Name'] for row in listed])
        # A second run changes nothing; a script may run it every night.
        again = self.openstack(
            *('gpu', 'flavor', 'create', name, '--ram', '1024', '--vcpus'),
            *('2', '--disk', '1', '--alias', 'nvidia_a2:1', '--project'),
            *('demo', '-f', 'json'),
        )
        self.assertEqual(shown['id'], again['id'])
        self.assertEqual(['The flavor already exists'], again['notes'])
        message = self.refused(
            'gpu', 'flavor', 'create', name, '--alias', 'nvidia_a2:2'
        )
        self.assertIn(
            f'Flavor {name!r} exists, but differs: it has vcpus 2, '
            f"ram 1024, disk 1, {SPEC} 'nvidia_a2:1'",
            message,
        )
        self.assertIn(
            'differs: it has no access for project',
            self.refused(
                *('gpu', 'flavor', 'create', name, '--ram', '1024'),
                *('--vcpus', '2', '--disk', '1', '--alias', 'nvidia_a2:1'),
                *('--project', 'admin'),
            ),
        )
        self.assertIn(
            'Specify --alias NAME:COUNT',
            self.refused('gpu', 'flavor', 'create', self.unique()),
        )
        unseen = self.openstack(
            *('gpu', 'flavor', 'create', self.unique()),
            *('--alias', 'nvidia_a2:1', '-f', 'json'),
        )
        self.addCleanup(compute.delete_flavor, unseen['id'])
        self.assertIn('only administrators see the flavor', unseen['notes'][0])
        self.refused('gpu', 'flavor', 'create', 'x', '--ram', '-1', status=2)
        self.assertIn(
            '--project is only allowed with --private',
            self.refused(
                *('gpu', 'flavor', 'create', 'x', '--public'),
                *('--project', 'demo'),
            ),
        )

    def test_create_deletes_an_incomplete_flavor(self) -> None:
        name = self.unique()
        message = self.refused(
            *('gpu', 'flavor', 'create', name, '--alias', 'nvidia_a2:1'),
            *('--property', 'hw:machine_type=q35'),
        )
        self.assertIn('Validation failed', message)
        message = self.refused(
            'gpu', 'flavor', 'create', name, '--alias', 'nosuch:1'
        )
        self.assertIn('PCI alias nosuch is not defined', message)
        self.assertIsNone(self.connect().compute.find_flavor(name))

    def test_incomplete_flavor_that_cannot_be_deleted(self) -> None:
        name = self.unique()

        def rule(request: proxy.Request) -> proxy.Answer | None:
            if request.method == 'DELETE':
                return proxy.Answer(500, 'busy', 'text/plain')
            return None

        self.through('compute', rule)
        message = self.refused(
            *('gpu', 'flavor', 'create', name, '--alias', 'nvidia_a2:1'),
            *('--property', 'hw:machine_type=q35', '--force'),
        )
        flavor = self.connect().compute.find_flavor(name)
        self.addCleanup(self.connect().compute.delete_flavor, flavor.id)
        self.assertRegex(
            message,
            f'^setting hw:machine_type.* Validation failed.*; flavor {name!r} '
            f'was not deleted: deleting flavor {flavor.id} failed: busy '
            r'\(HTTP 500',
        )

    def test_list(self) -> None:
        plain = self.make_flavor()
        asks = self.make_flavor('nvidia_a2:1', is_public=False)
        claims = self.make_flavor(**{'resources:CUSTOM_PCI_10DE_20F1': '1'})
        names = [
            row['Name']
            for row in self.openstack('gpu', 'flavor', 'list', '-f', 'json')
        ]
        self.assertIn(asks.name, names)
        self.assertIn(claims.name, names)
        self.assertNotIn(plain.name, names)
        every = self.openstack('gpu', 'flavor', 'list', '--all', '-f', 'json')
        self.assertIn(plain.name, [row['Name'] for row in every])
        shown = self.openstack(
            'gpu', 'flavor', 'show', claims.name, '-f', 'json'
        )
        self.assertIn('GPU704', shown['findings'][0])
        visible = self.as_member('gpu', 'flavor', 'list', '-f', 'json')
        self.assertNotIn(asks.name, [row['Name'] for row in visible])

    def test_definition_of_an_alias(self) -> None:
        """Only files show the device type that a flavor requests."""
        flavor = self.make_flavor('nvidia_a2:1')
        show = ('gpu', 'flavor', 'show', flavor.name, '-f', 'json')
        self.assertEqual([], self.openstack(*show)['findings'])
        path = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        path /= 'nova.conf'
        path.write_text(
            '[pci]\nalias = {"name": "nvidia_a2", "vendor_id": "10de", '
            '"product_id": "25b6", "device_type": "type-PCI"}\n'
            'alias = {"name": "other", "vendor_id": "10de", '
            '"product_id": "1db6", "device_type": "type-PF"}\n'
        )
        (finding,) = self.openstack(*show, '--config', str(path))['findings']
        self.assertIn("GPU120: Alias 'nvidia_a2' requests type-PCI", finding)

    def test_fits(self) -> None:
        """Whether one fits now; a member cannot tell."""
        one = self.make_flavor('nvidia_l4:1')
        many = self.make_flavor('nvidia_l4:9')
        path = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        path /= 'nova.conf'
        command = ('gpu', 'flavor', 'list', '--fits', '--alias', 'nvidia_l4')
        for device_type, run, expected in (
            ('type-PF', self.openstack, {one.name: True, many.name: False}),
            # The catalogue says that they are PFs.
            ('type-PCI', self.openstack, {one.name: None, many.name: False}),
            ('type-PF', self.as_member, {one.name: None, many.name: None}),
        ):
            path.write_text(
                '[pci]\nalias = {"vendor_id": "10de", "product_id": "27b8", '
                f'"device_type": "{device_type}", "name": "nvidia_l4"}}\n'
            )
            rows = run(*command, '--config', str(path), '-f', 'json')
            fits = {row['Name']: row['Fits Now'] for row in rows}
            self.assertLessEqual(expected.items(), fits.items(), rows)
        (reason,) = {row['Reason'] for row in rows}
        self.assertIn('placement:resource_providers:list', reason)
        result = self.run_command(
            *('gpu', 'capacity', 'list', '-f', 'json'), os_cloud=base.MEMBER
        )
        self.assertEqual(0, result.status)
        self.assertIn('placement:resource_providers:list', result.stderr)
        rows = json.loads(result.stdout)
        self.assertIn((one.name, None), {
            (row['Flavor'], row['Fits']) for row in rows
        })  # fmt: skip

    def test_most_units_of_a_server(self) -> None:
        """Overcommitted CPUs are not those that one server can have."""
        path = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        path /= 'nova.conf'
        path.write_text(
            '[pci]\nalias = {"vendor_id": "10de", "product_id": "27b8", '
            '"device_type": "type-PF", "name": "nvidia_l4"}\n'
        )
        name = self.unique()
        shown = self.openstack(
            *('gpu', 'flavor', 'create', name, '--alias', 'nvidia_l4:1'),
            *('--by-share', '--config', str(path), '-f', 'json'),
        )
        self.addCleanup(self.connect().compute.delete_flavor, shown['id'])
        placement = self.connect().placement
        hosts = [
            inventory
            for provider in placement.resource_providers()
            if (
                inventory := placement.get(
                    f'/resource_providers/{provider.id}/inventories'
                ).json()['inventories']
            ).get('VCPU')
        ]
        most = {inventory['VCPU']['max_unit'] for inventory in hosts}
        self.assertLessEqual(shown['vcpus'], max(most))
        # More than one server may have, and more than that: neither fits.
        flavors = [
            self.make_flavor('nvidia_l4:1', vcpus=factor * max(most))
            for factor in (2, 4)
        ]
        rows = self.openstack(
            'gpu', 'capacity', 'list', '--config', str(path), '-f', 'json'
        )
        fits = {row['Flavor']: row['Fits'] for row in rows}
        self.assertEqual([0, 0], [fits[flavor.name] for flavor in flavors])

    def test_as_a_member(self) -> None:
        flavor = self.make_flavor('nvidia_a2:1')
        for arguments in (
            ('set', flavor.name, '--alias', 'nvidia_a2:2'),
            ('unset', flavor.name, '--alias', 'nvidia_a2'),
            ('create', self.unique(), '--alias', 'nvidia_a2:1'),
        ):
            message = self.refused(
                'gpu', 'flavor', *arguments, os_cloud=base.MEMBER
            )
            self.assertIn("Policy doesn't allow", message)
            self.assertEqual(1, len(message.splitlines()))
        self.assertEqual({SPEC: 'nvidia_a2:1'}, self.specs(flavor))

    def test_nova_is_too_old(self) -> None:
        """The error is one line, and no request is sent."""
        flavor = self.make_flavor()
        between = self.through('compute')

        def older(request: proxy.Request) -> proxy.Answer | None:
            if request.path.rstrip('/').endswith('/v2.1'):
                return proxy.Answer(
                    200,
                    json.dumps(
                        {
                            'version': {
                                'id': 'v2.1',
                                'status': 'CURRENT',
                                'version': '2.85',
                                'min_version': '2.1',
                                'links': [
                                    {'rel': 'self', 'href': between.url}
                                ],
                            }
                        }
                    ),
                )
            return None

        between.rule = older
        message = self.refused(
            *('gpu', 'flavor', 'set', flavor.name),
            *('--alias', 'nvidia_a2:1'),
        )
        self.assertEqual(
            'writing extra specs requires compute API microversion 2.86; this '
            'cloud has 2.85',
            # A warning names the release whose rules apply.
            message.splitlines()[-1],
        )
        self.assertEqual([], between.paths('POST'))
