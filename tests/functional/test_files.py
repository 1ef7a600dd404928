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

"""Commands that only need files, not a cloud."""

import json
import os
import pathlib

import fixtures

from tests.functional import base

SPEC = ('--address', '0000:04:00.0', '--vendor-id', '10de')
RELEASE = ('release', 'nova_version', 'release_source')
LINE = 'device_spec = {"address": "0000:04:00.0", "vendor_id": "10de"}'


class TestDeviceSpec(base.ShellTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.useFixture(
            fixtures.EnvironmentVariable('OS_CLIENT_CONFIG_FILE', '/dev/null')
        )
        self.folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)

    def file(self, content: str, name: str = 'nova.conf') -> str:
        path = self.folder / name
        path.write_text(content)
        return os.fspath(path)

    def run_json(self, *arguments: str) -> object:
        return self.openstack(
            'gpu', 'device', 'spec', *arguments, '-f', 'json'
        )

    def test_create_list_delete(self) -> None:
        file = self.file('[pci]\nreport_in_placement = True\n# mine\n')
        create = ('create', *SPEC, '--compute-config', file)
        dry = self.run_json(*create, '--dry-run')
        self.assertEqual('would change', dry['files'][0]['state'])
        done = self.run_json(*create)
        self.assertEqual(
            ['line', 'files', 'restart', 'warnings', *RELEASE], list(done)
        )
        self.assertEqual(LINE, done['line'])
        self.assertEqual(['nova-compute'], done['restart'])
        self.assertEqual([], done['warnings'])
        content = f'[pci]\nreport_in_placement = True\n{LINE}\n# mine\n'
        self.assertEqual(content, pathlib.Path(file).read_text())
        self.assertEqual([], self.run_json(*create)['restart'])

        self.assertEqual(
            [
                {
                    'Defined In': f'{file}, line 3',
                    'Address': '0000:04:00.0',
                    'Vendor ID': '10de',
                    'Product ID': '*',
                    'Resource Class': None,
                    'Traits': None,
                    'Findings': [],
                }
            ],
            self.run_json('list', '--config', file),
        )
        deleted = self.run_json(
            'delete', '--vendor-id', '0x10DE', '--config', file
        )
        self.assertEqual(
            ['deleted', 'files', 'restart', *RELEASE], list(deleted)
        )
        self.assertEqual(1, deleted['deleted'])
        self.assertEqual(
            content.replace(f'{LINE}\n', ''), pathlib.Path(file).read_text()
        )

    def test_values_of_rhoso(self) -> None:
        file = self.file(
            'data:\n  nova:\n    pci:\n      conf: |\n        [pci]\n'
            '    apiServiceTemplate:\n      customServiceConfig: |\n'
            '        [pci]\n',
            'values.yaml',
        )
        result = self.run_command(
            *('gpu', 'device', 'spec', 'create', *SPEC),
            *('--config', file, '-f', 'json'),
        )
        self.assertIn('Release: rhoso-18', result.stderr)
        done = json.loads(result.stdout)
        self.assertEqual(['nova-compute'], done['files'][0]['services'])
        self.assertIn('GPU214', done['warnings'][0])
        self.assertEqual(
            'data:\n  nova:\n    pci:\n      conf: |\n        [pci]\n'
            f'        {LINE}\n'
            '    apiServiceTemplate:\n      customServiceConfig: |\n'
            '        [pci]\n',
            pathlib.Path(file).read_text(),
        )

    def test_refused(self) -> None:
        file = self.file('[pci]\ndevice_spec = {"vendor_id": "10de"}\n')
        before = pathlib.Path(file).read_text()
        for arguments, message in (
            (('create',), 'GPU201'),
            (('create', '--vendor-id', 'zz'), 'does not parse as a hex'),
            (('create', '--address', '0000:04:20.0'), 'maximum allowable'),
            (('create', *SPEC, '--trait', 'a\nb'), 'control character'),
            (('create', *SPEC, '--trait', '$a'), 'reference to an option'),
            (
                ('create', *SPEC, '--one-time-use', 'yes'),
                'report_in_placement to be enabled',
            ),
            (('delete',), 'Specify the entries'),
            (
                ('delete', '--address', '05:00.0'),
                'No [pci]device_spec entry with',
            ),
            (('delete', '--address', 'x'), 'does not parse as a hex'),
        ):
            error = self.refused(
                *('gpu', 'device', 'spec', *arguments),
                *('--compute-config', file),
            )
            self.assertIn(message, error)
            self.assertEqual(1, len(error.splitlines()), error)
        for command in ('list', 'delete'):
            arguments = SPEC if command == 'delete' else ()
            self.assertIn(
                'pass configuration files',
                self.refused('gpu', 'device', 'spec', command, *arguments),
            )
        self.assertEqual(before, pathlib.Path(file).read_text())
        self.assertIn(
            'GPU213',
            self.run_json('create', *SPEC, '--compute-config', file)[
                'warnings'
            ][0],
        )


class TestConfigCheck(base.ShellTestCase):
    """``openstack gpu config check``, which needs no cloud."""

    def setUp(self) -> None:
        super().setUp()
        self.useFixture(
            fixtures.EnvironmentVariable('OS_CLIENT_CONFIG_FILE', '/dev/null')
        )
        self.folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.path = self.folder / 'nova.conf'

    def check(self, content: str, status: int, *arguments: str) -> object:
        self.path.write_text(content)
        return self.openstack(
            *('gpu', 'config', 'check', os.fspath(self.folder)),
            *('-f', 'json', *arguments),
            status=status,
        )

    def test_exit_status(self) -> None:
        broken = '[pci]\nalias = {"name": "a", "device_type": "type-PF"}\n'
        filters, row = self.check(broken, 3)
        self.assertEqual('GPU327', filters['Code'])
        self.assertEqual(
            {
                'Severity': 'error',
                'Code': 'GPU301',
                'File': os.fspath(self.path),
                'Line': 2,
                'Message': 'nova-api and nova-compute would not start: The '
                'PCI alias(es) a does not have vendor_id and product_id '
                'fields set.',
            },
            row,
        )
        self.assertEqual(
            [filters, row], self.check(broken, 0, '--fail-on', 'none')
        )
        suspicious = '[pci]\ndevice_spec = {"vendor_id": "10de", "x": "y"}\n'
        (row,) = self.check(suspicious, 0)
        self.assertEqual('warning', row['Severity'])
        self.check(suspicious, 3, '--fail-on', 'warning')
        self.assertEqual([], self.check('[pci]\n', 0))

    def test_sarif(self) -> None:
        log = self.folder / 'found.sarif'
        self.check(
            '[pci]\nalias = {"name": "a", "device_type": "type-PF"}\n',
            3,
            *('--sarif', os.fspath(log)),
        )
        document = json.loads(log.read_text())
        self.assertEqual('2.1.0', document['version'])
        (run,) = document['runs']
        self.assertEqual(
            [{'id': 'GPU301'}, {'id': 'GPU327'}],
            run['tool']['driver']['rules'],
        )
        _filters, result = run['results']
        self.assertEqual(
            ('GPU301', 'error'), (result['ruleId'], result['level'])
        )
        (location,) = result['locations']
        self.assertEqual(
            {
                'artifactLocation': {'uri': self.path.as_uri()},
                'region': {'startLine': 2},
            },
            location['physicalLocation'],
        )
        self.assertIn(
            'Cannot write',
            self.refused(
                *('gpu', 'config', 'check', os.fspath(self.path)),
                *('--sarif', os.fspath(self.folder)),
            ),
        )

    def test_unreadable(self) -> None:
        (row,) = self.check('[pci\n', 3)
        self.assertEqual('GPU300', row['Code'])
        self.assertIn('Invalid section', row['Message'])
        missing = os.fspath(self.folder / 'missing')
        self.assertIn(
            'No such file',
            self.openstack('gpu', 'config', 'check', missing, status=3),
        )
        empty = self.folder / 'empty'
        empty.mkdir()
        self.assertIn(
            'No Nova configuration in',
            self.refused('gpu', 'config', 'check', os.fspath(empty)),
        )
