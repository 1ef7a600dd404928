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

"""``openstack gpu alias create``, ``list`` and ``show`` on a real cloud."""

import json
import os
import pathlib

import fixtures

from tests.functional import base

IDS = ('--vendor-id', '10de', '--product-id', '20f1')
A2 = (*IDS, '--device-type', 'type-PF')
LINE = (
    'alias = {"name": "nvidia_a2", "vendor_id": "10de", '
    '"product_id": "20f1", "device_type": "type-PF"}'
)


class AliasTestCase(base.CloudTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)

    def file(self, content: str, name: str = 'nova.conf') -> str:
        path = self.folder / name
        path.write_bytes(content.encode())
        return os.fspath(path)

    def create(self, *arguments: str) -> dict:
        return self.openstack(
            'gpu', 'alias', 'create', *arguments, '-f', 'json'
        )

    def denied(self, *arguments: str) -> str:
        message = self.refused('gpu', 'alias', 'create', *arguments)
        self.assertEqual(1, len(message.splitlines()), message)
        return message


class TestCreate(AliasTestCase):
    def test_prints_the_lines(self) -> None:
        shown = self.create('nvidia_a2', *A2)
        self.assertEqual(LINE, shown['api_line'])
        self.assertEqual(LINE, shown['compute_line'])
        self.assertEqual('CUSTOM_PCI_10DE_20F1', shown['resource_class'])
        self.assertEqual('ok', shown['placement'])
        self.assertEqual(2, shown['total'])
        self.assertEqual(
            ['edpm-compute-0.ctlplane.example.com'], shown['hosts']
        )
        self.assertEqual('defined', shown['nova_api'])
        self.assertEqual([], shown['restart'])
        # 20f1 is an A100.
        self.assertEqual(
            ['GPU119'], [warning[:6] for warning in shown['warnings']]
        )

    def test_resource_class_and_traits(self) -> None:
        shown = self.create(
            'new',
            *('--resource-class', 'gpu_h100', '--trait', 'nvlink'),
            *('--device-type', 'type-PF', '--pci-in-placement'),
        )
        self.assertEqual('CUSTOM_GPU_H100', shown['resource_class'])
        self.assertEqual(['CUSTOM_NVLINK'], shown['traits'])
        self.assertEqual(2, shown['total'])
        self.assertEqual('not defined', shown['nova_api'])
        self.assertEqual(
            ['GPU111', 'GPU112'],
            [warning[:6] for warning in shown['warnings']],
        )

    def test_edits_files(self) -> None:
        both = self.file('[DEFAULT]\r\n[pci]\r\n# mine\r\n')
        api = self.file('[filter_scheduler]\npci_in_placement = 1\n', 'api')
        dry = self.create(
            *('nvidia_a2', *A2, '--config', both, '--api-config', api),
            '--dry-run',
        )
        self.assertEqual(
            ['would change', 'would change'],
            [file['state'] for file in dry['files']],
        )
        self.assertNotIn('alias', pathlib.Path(both).read_text())
        done = self.create(
            'nvidia_a2', *A2, '--config', both, '--api-config', api
        )
        self.assertEqual(
            [file['diff'] for file in dry['files']],
            [file['diff'] for file in done['files']],
        )
        self.assertEqual(['nova-api', 'nova-compute'], done['restart'])
        self.assertEqual(
            f'[DEFAULT]\r\n[pci]\r\n{LINE}\r\n# mine\r\n'.encode(),
            pathlib.Path(both).read_bytes(),
        )
        self.assertEqual(
            f'[filter_scheduler]\npci_in_placement = 1\n\n[pci]\n{LINE}\n',
            pathlib.Path(api).read_text(),
        )
        # A second run changes nothing, so nothing needs a restart.
        again = self.create(
            'nvidia_a2', *A2, '--config', both, '--api-config', api
        )
        self.assertEqual([], again['restart'])
        self.assertEqual(
            ['unchanged', 'unchanged'],
            [file['state'] for file in again['files']],
        )

    def test_each_service_as_it_is_configured(self) -> None:
        alias = ('h100', '--resource-class', 'CUSTOM_GPU_H100')
        api = self.file('[filter_scheduler]\npci_in_placement = 1\n', 'api')
        compute = self.file('[pci]\n', 'compute')
        self.create(*alias, '--api-config', api, '--dry-run')
        message = self.denied(
            *alias, '--api-config', api, '--compute-config', compute
        )
        self.assertIn(f'The service of {compute} would not start', message)
        self.assertIn('does not have vendor_id and product_id', message)
        self.assertIn('--pci-in-placement', message)
        self.assertNotIn('alias', pathlib.Path(api).read_text())
        self.create(
            *alias,
            '--api-config',
            api,
            '--compute-config',
            compute,
            '--pci-in-placement',
        )
        self.assertIn('alias', pathlib.Path(compute).read_text())

    def test_refused(self) -> None:
        file = self.file('[pci]\n')
        for arguments, message in (
            ((*IDS, '--device-type', 'type-GPU'), "'type-GPU' is not one of"),
            ((*IDS, '--numa-policy', 'near'), "'near' is not one of"),
            (
                ('--vendor-id', '0x10de', '--product-id', '20f1'),
                "'0x10de' does not match",
            ),
            (
                ('--vendor-id', '10de', '--product-id', '20f'),
                "'20f' does not match",
            ),
            ((), 'does not have vendor_id and product_id'),
        ):
            self.assertIn(
                message, self.denied('a', *arguments, '--config', file)
            )
        for name, message in (
            ('', "'' should be non-empty"),
            ('  ', 'The name of the alias is blank'),
            ('a:b', "contains ':'"),
            ('a,b', "contains ','"),
            ('a"b', 'stricter than Nova'),
            ("a'b", 'stricter than Nova'),
            ('a$b', 'stricter than Nova'),
            ('a\nb', 'stricter than Nova'),
            ('a\x1b[0m', 'stricter than Nova'),
        ):
            error = self.denied(name, *IDS, '--config', file)
            self.assertIn(message, error)
            self.assertNotIn('\x1b', error)
        for option in ('--resource-class', '--trait'):
            error = self.denied(
                'a', *IDS, option, 'x\n[evil]', '--config', file
            )
            self.assertIn('control character', error)
        self.assertEqual('[pci]\n', pathlib.Path(file).read_text())

    def test_definition_that_differs(self) -> None:
        file = self.file(f'[pci]\n\n# mine\n{LINE}\n')
        message = self.denied('nvidia_a2', *IDS, '--config', file)
        self.assertIn(f'{file}, line 4', message)
        self.assertIn('another definition', message)
        self.assertIn(LINE.removeprefix('alias = '), message)

    def test_definition_that_differs_from_that_of_servers(self) -> None:
        self.boot(self.make_flavor('nvidia_pci:1'))
        shown = self.create(
            'nvidia_pci', *IDS, '--device-type', 'type-PCI', '--dry-run'
        )
        self.assertIn('GPU115', shown['warnings'][-1])
        self.assertIn('CUSTOM_PCI_10DE_25B6', shown['warnings'][-1])

    def test_a_file_with_a_broken_alias(self) -> None:
        file = self.file("[pci]\nalias = {'name': 'a'}\n")
        message = self.denied('nvidia_a2', *A2, '--config', file)
        self.assertIn(f'{file}, line 2: Invalid PCI alias definition', message)

    def test_files_that_are_refused(self) -> None:
        read_only = self.file('[pci]\n', 'read-only')
        os.chmod(read_only, 0o444)
        loop = self.folder / 'loop'
        loop.symlink_to(loop)
        binary = self.folder / 'binary'
        binary.write_bytes(b'[pci]\n\xff\n')
        good = self.file('[pci]\n', 'good')
        for path, message in (
            (self.folder / 'missing', 'No such file'),
            (self.folder, 'is a folder'),
            (loop, 'Too many levels of symbolic links'),
            (binary, 'not UTF-8'),
            (read_only, 'read-only'),
        ):
            result = self.run_command(
                *('gpu', 'alias', 'create', 'nvidia_a2', *A2),
                *('--config', good, '--config', os.fspath(path)),
            )
            self.assertEqual(1, result.status)
            self.assertIn(message, result.stderr)
            self.assertIn(os.fspath(path), result.stderr)
            self.assertEqual(1, len(result.stderr.strip().splitlines()))
        # The edit that could not be written is shown as a patch.
        self.assertIn(f'+{LINE}\n', result.stdout)
        self.assertEqual('[pci]\n', pathlib.Path(good).read_text())

    def test_byte_order_mark(self) -> None:
        file = self.file('\ufeff[pci]\n')
        shown = self.create('nvidia_a2', *A2, '--config', file)
        self.assertIn('byte order mark', shown['warnings'][-1])
        self.assertEqual(
            f'\ufeff[pci]\n{LINE}\n', pathlib.Path(file).read_text()
        )

    def test_alias_that_matches_no_device(self) -> None:
        shown = self.create(
            'none',
            '--vendor-id',
            '10de',
            '--product-id',
            'ffff',
            '--device-type',
            'type-PF',
        )
        self.assertIn('GPU116', shown['warnings'][-1])

    def test_nova_reads_the_written_alias(self) -> None:
        """oslo.config and Nova's own parser read the line."""
        import nova.conf
        from nova.pci import request
        from oslo_config import cfg

        file = self.file('[pci]\n')
        self.create(
            'nvidia_a2',
            *A2,
            '--live-migratable',
            'yes',
            '--trait',
            'A,B',
            '--config',
            file,
        )
        conf = cfg.ConfigOpts()
        nova.conf.pci.register_opts(conf)
        conf(['--config-file', file], project='nova', default_config_dirs=[])
        nova.conf.CONF.set_override('alias', conf.pci.alias, 'pci')
        self.addCleanup(nova.conf.CONF.clear_override, 'alias', 'pci')
        request.get_alias_from_config.cache_clear()
        self.addCleanup(request.get_alias_from_config.cache_clear)
        self.assertEqual(
            {
                'nvidia_a2': (
                    'legacy',
                    [
                        {
                            'vendor_id': '10de',
                            'product_id': '20f1',
                            'dev_type': 'type-PF',
                            'live_migratable': 'true',
                            'traits': 'A,B',
                        }
                    ],
                )
            },
            request.get_alias_from_config(),
        )


class TestWithoutCloud(AliasTestCase):
    os_cloud = None

    def setUp(self) -> None:
        super().setUp()
        self.useFixture(
            fixtures.EnvironmentVariable('OS_CLIENT_CONFIG_FILE', '/dev/null')
        )

    def test_create(self) -> None:
        file = self.file('[pci]\n')
        shown = self.create('nvidia_a2', *A2, '--config', file)
        self.assertIn('skipped', shown['placement'])
        self.assertEqual('skipped', shown['nova_api'])
        self.assertIsNone(shown['total'])
        self.assertEqual(f'[pci]\n{LINE}\n', pathlib.Path(file).read_text())
        message = self.denied('b', *A2, '--config', file, '--require-cloud')
        self.assertIn('The cloud does not respond', message)
        self.assertNotIn('"b"', pathlib.Path(file).read_text())

    def test_list_and_show(self) -> None:
        file = self.file(f'[pci]\n{LINE}\n')
        (row,) = self.openstack(
            'gpu', 'alias', 'list', '--config', file, '-f', 'json'
        )
        self.assertEqual('nvidia_a2', row['Name'])
        self.assertEqual('skipped', row['Nova API'])
        self.assertIsNone(row['Total'])
        shown = self.openstack(
            *('gpu', 'alias', 'show', 'nvidia_a2', '--config', file),
            *('-f', 'json'),
        )
        self.assertEqual(['CUSTOM_PCI_10DE_20F1'], shown['resource_classes'])
        self.assertIsNone(shown['used'])
        self.assertIn(
            'No source of aliases',
            self.refused('gpu', 'alias', 'list'),
        )

    def test_option_that_other_commands_require(self) -> None:
        for arguments in (
            ('placement', 'list'),
            ('placement', 'show', 'x'),
            ('server', 'list'),
            ('flavor', 'list'),
            ('flavor', 'show', 'x'),
            ('flavor', 'set', 'x', '--alias', 'a:1'),
            ('alias', 'verify', 'a'),
        ):
            message = self.refused('gpu', *arguments)
            self.assertIn('auth-url', message)
            self.assertEqual(1, len(message.splitlines()), message)


class TestListAndShow(AliasTestCase):
    def test_joined(self) -> None:
        flavor = self.make_flavor('nvidia_h100:1')
        wrong = self.make_flavor('nosuch:1')
        server = self.boot(flavor)
        other = json.dumps(
            {'name': 'mine', **{'vendor_id': '10de', 'product_id': '25b6'}}
        )
        file = self.file(f'[pci]\nalias = {other}\n')
        rows = {
            row['Name']: row
            for row in self.openstack(
                'gpu', 'alias', 'list', '--config', file, '-f', 'json'
            )
        }
        self.assertIn(flavor.name, rows['nvidia_h100']['Flavors'])
        self.assertEqual(
            ['CUSTOM_GPU_H100'], rows['nvidia_h100']['Resource Classes']
        )
        self.assertEqual(2, rows['nvidia_h100']['Total'])
        self.assertEqual('defined', rows['nvidia_h100']['Nova API'])
        self.assertIn(wrong.name, rows['nosuch']['Flavors'])
        self.assertEqual('not defined', rows['nosuch']['Nova API'])
        self.assertIsNone(rows['nosuch']['Total'])
        # No flavor requests it, so nova-api was not asked.
        self.assertEqual([f'{file}, line 2'], rows['mine']['Defined In'])
        self.assertEqual('unknown', rows['mine']['Nova API'])
        self.assertEqual(6, rows['mine']['Total'])

        shown = self.openstack(
            'gpu', 'alias', 'show', 'nvidia_h100', '-f', 'json'
        )
        self.assertIn(server.name, shown['source'])
        self.assertEqual(
            ['edpm-compute-3.ctlplane.example.com'], shown['hosts']
        )
        shown = self.openstack(
            *('gpu', 'placement', 'show', 'mine', '--config', file),
            *('-f', 'json'),
        )
        self.assertEqual(
            ('alias', f'{file}, line 2', 6),
            (shown['kind'], shown['source'], shown['total']),
        )

    def test_as_a_member(self) -> None:
        flavor = self.make_flavor('nvidia_pci:1')
        shown = self.as_member(
            'gpu', 'alias', 'show', 'nvidia_pci', '-f', 'json'
        )
        self.assertIn(flavor.name, shown['flavors'])
        self.assertEqual('defined', shown['nova_api'])
        self.assertIsNone(shown['total'])
        listed = self.as_member('gpu', 'alias', 'list', '-f', 'json')
        self.assertIn('nvidia_pci', [row['Name'] for row in listed])

    def test_files_with_different_definitions(self) -> None:
        api = self.file(f'[pci]\n{LINE}\n', 'api')
        compute = self.file(
            f'[pci]\n{LINE.replace("type-PF", "type-PCI")}\n', 'compute'
        )
        shown = self.openstack(
            *('gpu', 'alias', 'show', 'nvidia_a2', '--config', api),
            *('--config', compute, '-f', 'json'),
        )
        self.assertIn('GPU107', shown['findings'][0])
        self.assertIn(f'{compute}, line 2', shown['findings'][0])

    def test_unknown(self) -> None:
        self.assertIn(
            "No file defines alias 'nobody'",
            self.refused('gpu', 'alias', 'show', 'nobody'),
        )
        self.assertIn(
            'is not a valid alias name',
            self.refused('gpu', 'alias', 'show', 'a:b'),
        )


class TestSetAndDelete(AliasTestCase):
    def test_set(self) -> None:
        file = self.file(f'[pci]\n# mine\n{LINE}\n')
        arguments = (
            *('gpu', 'alias', 'set', 'nvidia_a2', '--config', file),
            *('--numa-policy', 'preferred', '-f', 'json'),
        )
        dry = self.openstack(*arguments, '--dry-run')
        self.assertEqual('would change', dry['files'][0]['state'])
        self.assertIn(LINE, pathlib.Path(file).read_text())
        done = self.openstack(*arguments)
        self.assertEqual(dry['files'][0]['diff'], done['files'][0]['diff'])
        self.assertEqual(['nova-api', 'nova-compute'], done['restart'])
        self.assertEqual(
            f'[pci]\n# mine\n{LINE[:-1]}, "numa_policy": "preferred"}}\n',
            pathlib.Path(file).read_text(),
        )
        again = self.openstack(*arguments)
        self.assertEqual([], again['restart'])
        self.openstack(*arguments[:6], '--no-numa-policy')
        self.assertEqual(
            f'[pci]\n# mine\n{LINE}\n', pathlib.Path(file).read_text()
        )

    def test_set_refused(self) -> None:
        file = self.file(f'[pci]\n{LINE}\n')
        two = self.file(f'[pci]\n{LINE}\n{LINE}\n', 'two')
        for arguments, message in (
            (('nvidia_a2',), 'Nothing to set'),
            (('nvidia_a2', '--vendor-id', '10de'), 'has no API for this'),
            (
                ('other', '--vendor-id', '10de', '--config', file),
                "does not define alias 'other'",
            ),
            (
                ('nvidia_a2', '--device-type', 'PF', '--config', file),
                "'PF' is not one of",
            ),
            (
                ('nvidia_a2', '--resource-class', 'x\ny', '--config', file),
                'control character',
            ),
            (
                (
                    *('nvidia_a2', '--numa-policy', 'legacy'),
                    *('--no-numa-policy', '--config', file),
                ),
                'contradicts',
            ),
            (
                ('nvidia_a2', '--no-device-type', '--config', two),
                "defines 'nvidia_a2' 2 times",
            ),
        ):
            error = self.refused('gpu', 'alias', 'set', *arguments)
            self.assertIn(message, error)
            self.assertEqual(1, len(error.splitlines()))
        self.assertEqual(f'[pci]\n{LINE}\n', pathlib.Path(file).read_text())

    def test_delete(self) -> None:
        alias = LINE.replace('nvidia_a2', self.unique('alias'))
        name = alias.split('"')[3]
        file = self.file(f'[pci]\n# mine\n{alias}\n')
        flavor = self.make_flavor(f'{name}:1')
        message = self.refused(
            'gpu', 'alias', 'delete', name, '--config', file
        )
        self.assertIn(f"in use by flavor '{flavor.name}'", message)
        self.assertIn(alias, pathlib.Path(file).read_text())
        dry = self.openstack(
            *('gpu', 'alias', 'delete', name, '--config', file, '--force'),
            *('--dry-run', '-f', 'json'),
        )
        self.assertEqual('ok', dry['use'])
        self.assertEqual([flavor.name], dry['flavors'])
        self.openstack(
            'gpu', 'alias', 'delete', name, '--config', file, '--force'
        )
        self.assertEqual('[pci]\n# mine\n', pathlib.Path(file).read_text())
        message = self.refused(
            'gpu', 'alias', 'delete', name, '--config', file
        )
        self.assertIn(f"No file defines alias '{name}'", message)

    def test_delete_alias_of_a_server(self) -> None:
        flavor = self.make_flavor('nvidia_pci:1')
        server = self.boot(flavor, os_cloud=base.MEMBER)
        self.openstack(
            *('gpu', 'flavor', 'set', flavor.name, '--no-alias'),
        )
        file = self.file(
            '[pci]\nalias = {"name": "nvidia_pci", "vendor_id": "10de", '
            '"product_id": "25b6"}\n'
        )
        message = self.refused(
            'gpu', 'alias', 'delete', 'nvidia_pci', '--config', file
        )
        self.assertIn(server.name, message)

    def test_values_of_rhoso(self) -> None:
        """The diff changes only its lines; a second run changes nothing."""
        path = self.folder / 'values.yaml'
        path.write_text(
            '# mine\n'
            'data:\n'
            '  nova:\n'
            '    apiServiceTemplate:\n'
            '      customServiceConfig: |\n'
            '        [filter_scheduler]\n'
            '        pci_in_placement = True\n'
            '    pci:  # cards\n'
            '      conf: |\n'
            '        [pci]\n'
            '        report_in_placement = True\n'
        )
        file = os.fspath(path)
        done = self.create('nvidia_a2', *A2, '--config', file)
        self.assertEqual(['nova-api', 'nova-compute'], done['restart'])
        for line in done['files'][0]['diff'].splitlines():
            if line[0] in '+-' and line[:3] not in ('+++', '---'):
                self.assertIn(line[1:].strip(), ('', '[pci]', LINE))
                self.assertEqual('+', line[0])
        after = path.read_text()
        self.assertEqual(2, after.count(f'        {LINE}\n'))
        self.assertEqual(
            [], self.create('nvidia_a2', *A2, '--config', file)['restart']
        )
        self.assertEqual(after, path.read_text())
        shown = self.openstack(
            *('gpu', 'alias', 'show', 'nvidia_a2', '--config', file),
            *('-f', 'json'),
        )
        self.assertEqual(2, len(shown['definitions']))
        self.assertIn(
            'has no configuration of nova-compute',
            self.denied(
                'b',
                *A2,
                '--compute-config',
                self.yaml_of_api(),
            ),
        )

    def yaml_of_api(self) -> str:
        path = self.folder / 'api.yaml'
        path.write_text(
            'nova:\n  apiServiceTemplate:\n    customServiceConfig: |\n'
            '      [pci]\n'
        )
        return os.fspath(path)
