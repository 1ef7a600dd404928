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

import argparse
import io
import json
import os
import pathlib
import tarfile
import types
import typing

import fixtures
import testtools

from gpuclient import exceptions
from gpuclient.host import bundle
from gpuclient.osc.v1 import host
from tests.unit.host import trees

_GOLDEN = pathlib.Path(__file__).parent / 'golden'
A100 = '0000:17:00.0'
CONFIG = f"""[DEFAULT]
reserved_host_memory_mb = 4096
reserved_huge_pages = node:0,size:1GB,count:1
reserved_huge_pages = node:1,size:1GB,count:64
[compute]
cpu_dedicated_set = 2-3,6
cpu_shared_set = 0-1,4-5
[pci]
device_spec = {{"address": "{A100}"}}
alias = {{"name": "a100", "vendor_id": "10de", "product_id": "20f1", "device_type": "type-PF"}}
alias = {{"name": "wrong", "vendor_id": "10de", "product_id": "20f1", "device_type": "type-PCI"}}
alias = {{"name": "t4", "vendor_id": "10de", "product_id": "1eb8", "device_type": "type-PF"}}
"""  # noqa: E501


class TestCase(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        # Not the catalogue of the user who runs the tests.
        self.useFixture(
            fixtures.EnvironmentVariable(
                'XDG_CONFIG_HOME', os.fspath(self.folder)
            )
        )
        self.log = self.useFixture(fixtures.FakeLogger())

    def run_command(
        self, command: typing.Any, *arguments: str
    ) -> tuple[int, str]:
        app = types.SimpleNamespace(
            stdout=io.StringIO(),
            stderr=io.StringIO(),
            options=argparse.Namespace(),
        )
        instance = command(app, argparse.Namespace())
        status = instance.run(instance.get_parser('x').parse_args(arguments))
        return status, app.stdout.getvalue()

    def run_json(
        self, command: typing.Any, *arguments: str, status: int = 0
    ) -> typing.Any:
        exit_code, text = self.run_command(command, *arguments, '-f', 'json')
        self.assertEqual(status, exit_code, text)
        return json.loads(text)

    def refused(self, command: typing.Any, *arguments: str) -> str:
        message = str(
            self.assertRaises(
                exceptions.GPUError, self.run_command, command, *arguments
            )
        )
        self.assertNotIn('\n', message)
        return message

    def bundle(self, tree: trees.Tree) -> str:
        path = os.fspath(self.folder / 'host.tar')
        bundle.write(path, tree.collected())
        return path

    def root(self, tree: trees.Tree) -> str:
        return os.fspath(tree.write(self.folder / 'root'))

    def config(self, content: str = CONFIG, name: str = 'nova.conf') -> str:
        path = self.folder / name
        path.write_text(content)
        return os.fspath(path)

    def golden(self, name: str, document: typing.Any) -> None:
        path = _GOLDEN / f'{name}.json'
        text = json.dumps(document, indent=1) + '\n'
        if os.environ.get('GPUCLIENT_WRITE_GOLDEN'):
            path.write_text(text)
        self.assertEqual(path.read_text(), text)


class TestShow(TestCase):
    def test_golden(self) -> None:
        path = self.bundle(trees.a100())
        long = self.run_json(host.ShowHost, '--long', path)
        short = self.run_json(host.ShowHost, path)
        self.assertEqual(
            short, [{key: row[key] for key in short[0]} for row in long]
        )
        # The name depends on the newest database.
        self.assertIn('ASPEED', short[0]['Model'])
        short[0]['Model'] = long[0]['Model'] = 'ASPEED'
        self.golden('host_show', short)
        self.golden('host_show_long', long)

    def test_table(self) -> None:
        path = self.root(trees.consumer())
        status, text = self.run_command(host.ShowHost, '--long', path)
        self.assertEqual(0, status)
        for phrase in (
            '0000:01:00.1 10de:10f8 (snd_hda_intel)',
            'BAR 0: 16 MiB',
            '| bus ',
        ):
            self.assertIn(phrase, text)

    def test_devices(self) -> None:
        path = self.bundle(trees.consumer())
        rows = self.run_json(
            host.ShowHost, '--device', '01:00.1', path, '-c', 'Address'
        )
        self.assertEqual([{'Address': '0000:01:00.1'}], rows)
        self.assertEqual(4, len(self.run_json(host.ShowHost, '--all', path)))
        self.assertEqual(
            'No PCI device 0000:09:00.0',
            self.refused(host.ShowHost, '--device', '09:00.0', path),
        )
        self.assertIn(
            'is not a PCI address',
            self.refused(host.ShowHost, '--device', 'x', path),
        )

    def test_no_gpu(self) -> None:
        path = self.bundle(trees.Tree('plain'))
        self.assertEqual([], self.run_json(host.ShowHost, path))
        # The message is only for terminals; a script gets an empty list.
        self.assertEqual('', self.log.output)

    def test_this_machine(self) -> None:
        """The command has a result on any machine, and no other output."""
        _status, text = self.run_command(host.ShowHost, '--all', '-f', 'json')
        self.assertIsInstance(json.loads(text), list)

    def test_partial(self) -> None:
        tree = trees.a100()
        del tree.files['proc/cmdline']
        path = self.bundle(tree)
        rows = self.run_json(host.ShowHost, '--long', path, status=1)
        self.assertEqual(3, len(rows))
        self.assertIsNone(rows[0]['Kernel Arguments'])
        self.assertEqual('/proc/cmdline: it does not exist\n', self.log.output)

    def test_entries_of_the_boot_loader(self) -> None:
        tree = trees.a100().collected()
        tree.unreadable['boot/loader/entries'] = 'Permission denied'
        path = os.fspath(self.folder / 'x.tar')
        bundle.write(path, tree)
        self.run_json(host.ShowHost, path)
        self.assertEqual('', self.log.output)
        rows = self.run_json(host.CheckHost, path)
        self.assertIn('GPU460', {row['Code'] for row in rows})

    def test_several(self) -> None:
        """A bundle that cannot be read does not hide the others."""
        good = self.bundle(trees.t4())
        bad = os.fspath(self.folder / 'bad.tar')
        pathlib.Path(bad).write_text('x')
        rows = self.run_json(host.ShowHost, bad, good, '-c', 'Host', status=1)
        self.assertEqual([{'Host': 't4'}], rows)
        self.assertIn(f'The bundle {bad} cannot be read', self.log.output)
        self.refused(host.ShowHost, bad)

    def test_models_of_the_user(self) -> None:
        file = self.config(
            'models:\n  mine:\n    name: "My GPU"\n    vendor_id: "10de"\n'
            '    product_id: "1e87"\n',
            'catalogue.yaml',
        )
        rows = self.run_json(
            host.ShowHost,
            *('--catalogue', file, self.bundle(trees.consumer())),
        )
        self.assertEqual(
            'NVIDIA GeForce RTX 2080 Rev. A / My GPU', rows[0]['Model']
        )


class TestCheck(TestCase):
    def test_golden(self) -> None:
        rows = self.run_json(
            host.CheckHost, self.bundle(trees.nouveau()), status=3
        )
        self.golden('host_check', rows)
        self.assertEqual(
            ['PASS', 'FAIL', 'FAIL', 'WARN', 'PASS'],
            [row['Result'] for row in rows],
        )

    def test_long(self) -> None:
        rows = self.run_json(
            host.CheckHost, '--long', self.bundle(trees.a100())
        )
        self.golden('host_check_long', rows)
        self.assertEqual({'PASS'}, {row['Result'] for row in rows})

    def test_release(self) -> None:
        """Nova 30 keeps the key as a tag, Nova 31 does not start."""
        path = self.bundle(trees.a100())
        config = self.config(
            CONFIG.replace(
                f'"address": "{A100}"',
                f'"address": "{A100}", "managed": "maybe"',
            )
        )
        evidence = [
            ' '.join(
                f'{row["Code"]} {row["Evidence"]}'
                for row in json.loads(
                    self.run_command(
                        *(host.CheckHost, path, '--config', config),
                        *('--release', release, '-f', 'json'),
                    )[1]
                )
            )
            for release in ('30', '31')
        ]
        self.assertNotIn('maybe', evidence[0])
        self.assertIn('maybe', evidence[1])

    def test_table(self) -> None:
        """Sentences are wrapped, so that a row fits a screen."""
        status, text = self.run_command(
            host.CheckHost, self.bundle(trees.consumer())
        )
        self.assertEqual(3, status)
        self.assertIn('| FAIL   | GPU426 | group 1 is not viable: it', text)
        self.assertLess(max(map(len, text.splitlines())), 190)

    def test_fail_on(self) -> None:
        bad = self.root(trees.nouveau())
        odd = trees.t4()
        odd.text('sys/bus/pci/devices/0000:3b:00.0/power_state', 'D3cold\n')
        odd = self.bundle(odd)
        for path, fail_on, status in (
            (bad, 'error', 3),
            (bad, 'warning', 3),
            (bad, 'none', 0),
            (odd, 'error', 0),
            (odd, 'warning', 3),
            (odd, 'none', 0),
        ):
            self.run_json(
                host.CheckHost, path, '--fail-on', fail_on, status=status
            )

    def test_config(self) -> None:
        path = self.bundle(trees.a100())
        rows = self.run_json(
            host.CheckHost, '--config', self.config(), path, status=3
        )
        self.assertEqual(
            {
                (None, 'GPU448'),
                (None, 'GPU450'),
                ('0000:ca:00.0', 'GPU430'),
            },
            {(row['Device'], row['Code']) for row in rows if row['Code']},
        )

    def host_folders(self, **texts: str) -> str:
        """Return a folder with a folder of each host."""
        folder = self.folder / 'tree'
        for name, text in texts.items():
            path = folder / 'hosts' / name.replace('_', '-')
            path.mkdir(parents=True, exist_ok=True)
            (path / 'nova-compute.conf').write_text(text)
        return os.fspath(folder)

    def test_each_host_with_its_own(self) -> None:
        """Not with the settings of the last compute host."""
        path = self.bundle(trees.a100())
        cpus = '[compute]\ncpu_dedicated_set = '
        texts = {'a100': CONFIG, 'compute_1': f'{cpus}5000\n'}
        rows = self.run_json(
            host.CheckHost, '--config', self.config(), path, status=3
        )
        self.assertEqual(
            rows,
            self.run_json(
                host.CheckHost,
                '--config',
                self.host_folders(**texts),
                path,
                status=3,
            ),
        )

    def test_host_of_no_compute(self) -> None:
        path = self.bundle(trees.a100())
        tree = self.host_folders(other=CONFIG, another='[pci]\n')
        self.assertEqual(
            'The files have no configuration of nova-compute on a100. Pass it '
            'as --as nova-compute@a100=PATH',
            self.refused(host.CheckHost, '--config', tree, path),
        )
        self.assertTrue(
            self.run_json(
                host.CheckHost,
                '--as',
                f'nova-compute@a100={tree}/hosts/other',
                path,
                status=3,
            )
        )

    def test_computes_that_differ(self) -> None:
        path = self.bundle(trees.a100())
        folder = self.folder / 'two'
        for name in ('a', 'b'):
            (folder / name).mkdir(parents=True)
            (folder / name / 'nova-compute.conf').write_text(
                CONFIG if name == 'a' else '[pci]\n'
            )
        self.assertIn(
            'Cannot tell which configuration nova-compute on a100 reads: ',
            self.refused(host.CheckHost, '--config', os.fspath(folder), path),
        )
        # If they are equal, it does not matter.
        (folder / 'b' / 'nova-compute.conf').write_text(CONFIG)
        self.run_json(
            host.CheckHost, '--config', os.fspath(folder), path, status=3
        )

    def test_templates(self) -> None:
        """A value that a template renders is unknown, and not an error."""
        path = self.bundle(trees.a100())
        config = self.config(
            '[pci]\nalias = {{ a }}\n[compute]\n'
            'cpu_dedicated_set = {{ cpus }}\n[DEFAULT]\n'
            'reserved_huge_pages = {{ pages }}\n'
            'reserved_host_memory_mb = $memory\n',
            'template.conf',
        )
        self.run_json(
            host.CheckHost,
            '--config',
            config,
            path,
            '--fail-on',
            'none',
        )

    def test_alias(self) -> None:
        path = self.bundle(trees.a100())
        base = ('--config', self.config(), path, '-f', 'json')
        for name, status, uses, codes in (
            ('a100', 3, 2, {'GPU448', 'GPU450'}),
            ('wrong', 3, 2, {'GPU448', 'GPU450', 'GPU436'}),
            ('t4', 3, 0, {'GPU430', 'GPU448', 'GPU450', 'GPU461'}),
        ):
            rows = self.run_json(
                host.CheckHost, '--alias', name, '--long', *base,
                status=status,
            )  # fmt: skip
            self.assertEqual(
                uses,
                sum(
                    row['Check'] == 'use'
                    and row['Evidence'].startswith('for guests')
                    for row in rows
                ),
            )
            self.assertEqual(
                codes, {row['Code'] for row in rows if row['Code']}, name
            )

    def test_device(self) -> None:
        path = self.bundle(trees.a100())
        rows = self.run_json(host.CheckHost, '--device', A100, path, status=3)
        self.assertEqual(
            [('0000:ca:00.0', 'GPU430')],
            [(row['Device'], row['Code']) for row in rows if row['Code']],
        )

    def test_refused(self) -> None:
        path = self.bundle(trees.a100())
        empty = self.useFixture(fixtures.TempDir()).path
        for message, arguments in (
            ("alias 'b'", ('--alias', 'b', '--config', self.config())),
            ("alias 'b'", ('--alias', 'b')),
            ('No Nova configuration', ('--config', empty)),
            ('nowhere', ('--config', '/nowhere')),
            (
                'a.conf:2: Invalid PCI alias definition',
                ('--config', self.config('[pci]\nalias = {}', 'a.conf')),
            ),
            (
                'cpu_dedicated_set',
                (
                    '--config',
                    self.config(
                        '[compute]\ncpu_dedicated_set = 1,^1', 'b.conf'
                    ),
                ),
            ),
        ):
            self.assertIn(
                message, self.refused(host.CheckHost, *arguments, path)
            )

    def test_this_machine(self) -> None:
        _status, text = self.run_command(
            host.CheckHost, '-f', 'json', '--fail-on', 'none'
        )
        self.assertIn('IOMMU', text)


class TestBundle(TestCase):
    def test_create(self) -> None:
        root = self.root(trees.a100())
        path = os.fspath(self.folder / 'x.tar')
        row = self.run_json(host.CreateHostBundle, path, '--root', root)
        self.assertEqual(os.stat(path).st_size, row['bytes'])
        with tarfile.open(path) as archive:
            # One more row names the file that could not be read.
            self.assertEqual(len(archive.getmembers()), row['files'] + 1)
        self.golden('host_bundle_create', {**row, 'file': 'x.tar', 'bytes': 0})
        self.assertIn(
            'File exists',
            self.refused(host.CreateHostBundle, path, '--root', root),
        )
        self.assertIn(
            'no folder /nowhere',
            self.refused(host.CreateHostBundle, '--root', '/nowhere'),
        )

    def test_name(self) -> None:
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.folder)
        row = self.run_json(
            host.CreateHostBundle, '--root', self.root(trees.t4())
        )
        self.assertEqual('t4.tar', row['file'])
        self.assertTrue(os.path.exists('t4.tar'))

    def test_script(self) -> None:
        status, text = self.run_command(host.CreateHostBundle, '--script')
        self.assertEqual((0, bundle.script()), (status, text))
