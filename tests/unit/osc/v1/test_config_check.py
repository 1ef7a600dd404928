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

"""``openstack gpu config check``: rows, exit status and SARIF."""

import argparse
import io
import json
import os
import pathlib
import types
import typing

import fixtures
import testtools

from gpuclient.osc.v1 import config
from tests.unit.documents import test_check


class TestCheck(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.folder)
        for name, content in test_check.CLEAN.items():
            path = self.folder / 'tree' / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)

    def change(self, name: str, old: str, new: str) -> None:
        path = self.folder / 'tree' / name
        text = path.read_text()
        self.assertEqual(1, text.count(old))
        path.write_text(text.replace(old, new))

    def check(
        self, *arguments: str
    ) -> tuple[int, list[dict[str, typing.Any]]]:
        app = types.SimpleNamespace(
            stdout=io.StringIO(),
            stderr=io.StringIO(),
            options=argparse.Namespace(),
        )
        command = config.CheckConfig(app, argparse.Namespace())
        parsed = command.get_parser('check').parse_args(
            ['tree', *arguments, '-f', 'json']
        )
        status = command.run(parsed)
        self.stderr = app.stderr.getvalue()
        return status, json.loads(app.stdout.getvalue())

    def test_clean(self) -> None:
        self.assertEqual((0, []), self.check('--fail-on', 'warning'))

    def test_as(self) -> None:
        (self.folder / 'a.conf').write_text('[pci]\ndevice_spec = {]\n')
        for kind, codes in (
            ('nova-compute@gpu-1', ['GPU302']),
            ('control-plane', []),
        ):
            status, rows = self.check('--as', f'{kind}=a.conf')
            self.assertEqual(3 if codes else 0, status)
            self.assertEqual(codes, [row['Code'] for row in rows], kind)

    def test_bad_as(self) -> None:
        stream = self.useFixture(fixtures.StringStream('stderr')).stream
        self.useFixture(fixtures.MonkeyPatch('sys.stderr', stream))
        for text, message in (
            ('nova=x', "'nova=x' is not <service>[@<host>]=<path>"),
            ('nova-api', "'nova-api' is not <service>[@<host>]=<path>"),
            ('nova-compute=', "'nova-compute=' has no path"),
            ('nova-compute@=x', "'nova-compute@=x' has no host"),
            ('nova-api@a=x', "'nova-api@a=x' names a host; only nova-compute"),
        ):
            error = self.assertRaises(SystemExit, self.check, '--as', text)
            self.assertEqual(2, error.code)
            stream.seek(0)
            *_usage, line = stream.read().splitlines()
            self.assertIn(f'error: argument --as: {message}', line)

    def test_warning(self) -> None:
        self.change(test_check.NODES, ' rd.driver.pre=vfio-pci', '')
        line = (
            test_check.CLEAN[test_check.NODES]
            .splitlines()
            .index(f'        edpm_kernel_args: "{test_check.ARGUMENTS}"')
        )
        row = {
            'Severity': 'warning',
            'Code': 'GPU408',
            'File': f'tree/{test_check.NODES}',
            'Line': line + 1,
            'Message': 'rd.driver.pre=vfio-pci is missing: another driver '
            'may bind to the card before vfio-pci is loaded. Add it',
        }
        for severity, status in (('error', 0), ('warning', 3), ('none', 0)):
            self.assertEqual(
                (status, [row]), self.check('--fail-on', severity)
            )

    def test_error(self) -> None:
        self.change(
            test_check.NODES,
            'cpu_dedicated_set = 4-23,28-47',
            'cpu_dedicated_set = 4-23;28-47',
        )
        for severity, status in (('error', 3), ('warning', 3), ('none', 0)):
            exit_code, rows = self.check('--fail-on', severity)
            self.assertEqual(
                (status, ['GPU501']),
                (exit_code, [row['Code'] for row in rows]),
            )

    def test_sarif(self) -> None:
        self.change(test_check.NODES, 'iommu=pt ', '')
        self.change(test_check.CONTROL, 'enabled_filters', 'enabled_filtes')
        self.check('--sarif', 'out.sarif')
        (run,) = json.loads(pathlib.Path('out.sarif').read_text())['runs']
        self.assertEqual(
            {
                'release': 'rhoso-18',
                'nova_version': '27.5.1',
                'release_source': (
                    'tree/control-plane/service-values.yaml:7 (a file of '
                    'RHOSO, of which version 18 is known)'
                ),
            },
            run['properties'],
        )
        self.assertEqual(
            [{'id': 'GPU312'}, {'id': 'GPU407'}],
            run['tool']['driver']['rules'],
        )
        self.assertEqual(
            [
                ('GPU312', 'warning', f'tree/{test_check.CONTROL}'),
                ('GPU407', 'warning', f'tree/{test_check.NODES}'),
            ],
            [
                (
                    result['ruleId'],
                    result['level'],
                    result['locations'][0]['physicalLocation'][
                        'artifactLocation'
                    ]['uri'],
                )
                for result in run['results']
            ],
        )

    def test_ids_that_no_database_has(self) -> None:
        """If there is a database, an ID that it lacks is reported."""
        for name in (test_check.CONTROL, test_check.NODES):
            path = self.folder / 'tree' / name
            path.write_text(
                path.read_text()
                .replace('20f1', 'fff1')
                .replace('nvidia_a100', 'card')
            )
        _status, rows = self.check()
        self.assertLessEqual({row['Code'] for row in rows}, {'GPU117'})

    def test_release(self) -> None:
        """It is shown on standard error; the files may set it."""
        self.check('--release', '31')
        self.assertEqual(
            'Release: 2025.1 (Nova 31.3.1), from --release\n', self.stderr
        )
        (self.folder / 'tree' / 'globals.yml').write_text(
            'openstack_release: "2024.1"\n'
        )
        self.check()
        self.assertEqual(
            'Release: 2024.1 (Nova 29.4.0), from tree/globals.yml:1\n',
            self.stderr,
        )
