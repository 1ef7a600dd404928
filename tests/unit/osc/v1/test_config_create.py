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

"""``openstack gpu config create`` on the examples of the documentation."""

import argparse
import copy
import io
import json
import os
import pathlib
import re
import shutil
import stat
import sys
import types
import typing
import unittest.mock

import fixtures
import testtools
import yaml

import gpuclient
from gpuclient.documents.generate import host_files
from gpuclient.documents import yaml_file
from gpuclient import exceptions
from gpuclient.files import atomic
from gpuclient.osc.v1 import config
from gpuclient.osc.v1 import config_create

_GOLDEN = pathlib.Path(__file__).parent / 'golden'
_EXAMPLES = (
    pathlib.Path(gpuclient.__file__).parent.parent
    / 'doc'
    / 'source'
    / 'user'
    / 'examples'
)


class TestCreate(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.folder)

    def run_command(
        self, command: typing.Any, *arguments: str
    ) -> tuple[int, typing.Any]:
        app = types.SimpleNamespace(
            stdout=io.StringIO(),
            stderr=io.StringIO(),
            options=argparse.Namespace(),
        )
        instance = command(app, argparse.Namespace())
        parsed = instance.get_parser('x').parse_args(
            [*arguments, '-f', 'json']
        )
        status = instance.run(parsed)
        return status, json.loads(app.stdout.getvalue())

    def create(self, name: str, *arguments: str) -> dict[str, typing.Any]:
        status, result = self.run_command(
            config_create.CreateConfig,
            shutil.copy(_EXAMPLES / f'{name}.yaml', 'gpu.yaml'),
            *('--output', 'out', *arguments),
        )
        self.assertEqual(0, status)
        return typing.cast(dict[str, typing.Any], result)

    def refused(self, *arguments: str) -> str:
        error = self.assertRaises(
            exceptions.GPUError,
            self.run_command,
            config_create.CreateConfig,
            *arguments,
        )
        self.assertNotIn('\n', str(error))
        return str(error)

    def tree(self) -> dict[str, str]:
        return {
            os.fspath(path): path.read_text()
            for path in sorted(pathlib.Path('out').rglob('*'))
            if path.is_file()
        }

    def test_release(self) -> None:
        """An alias that the release refuses is not written."""
        text = (_EXAMPLES / 'plain.yaml').read_text()
        pathlib.Path('gpu.yaml').write_text(
            text.replace(
                'device_type: type-PF\n',
                'device_type: type-PF\n    live_migratable: true\n',
                1,
            )
        )
        create = ('gpu.yaml', '--output', 'out', '--release')
        message = self.refused(*create, '30')
        self.assertIn('is invalid in 2024.2 (Nova 30.3.0)', message)
        self.assertIn("'live_migratable' was unexpected", message)
        self.assertEqual({}, self.tree())
        status, _result = self.run_command(
            config_create.CreateConfig, *create, '31'
        )
        self.assertEqual(0, status)

    def test_a_run_after_a_kill_completes_the_tree(self) -> None:
        """After a kill at any file, the next run completes the tree."""
        self.create('plain')
        whole = self.tree()
        for calls in range(len(whole) + 1):
            shutil.rmtree('out')
            self.kill_while_creating(calls)
            left = self.tree()
            self.assertEqual(min(calls, len(whole)), len(left))
            self.assertLessEqual(left.items(), whole.items())
            self.create('plain')
            self.assertEqual(whole, self.tree())
            names = os.fspath(pathlib.Path('out'))
            self.assertFalse(
                [
                    name
                    for _folder, _folders, files in os.walk(names)
                    for name in files
                    if name.startswith('.')
                ]
            )

    def kill_while_creating(self, calls: int) -> None:
        """Create a tree in a process that ends after a number of links."""
        child = os.fork()
        if child == 0:
            link, left = os.link, [calls]

            def end(*arguments: typing.Any, **options: typing.Any) -> None:
                if not left[0]:
                    os._exit(9)
                left[0] -= 1
                link(*arguments, **options)

            try:
                with unittest.mock.patch('os.link', end):
                    self.create('plain')
            finally:
                os._exit(1 if sys.exception() else 0)
        os.waitpid(child, 0)

    def test_golden(self) -> None:
        """The files themselves are in the diffs."""
        for name in ('rhoso', 'kolla', 'plain'):
            result = self.create(name, '--dry-run')
            self.assertFalse(pathlib.Path('out').exists())
            text = json.dumps(result, indent=1) + '\n'
            path = _GOLDEN / f'config_create_{name}.json'
            if os.environ.get('GPUCLIENT_WRITE_GOLDEN'):
                path.write_text(text)
            self.assertEqual(path.read_text(), text)

    def test_twice(self) -> None:
        for name in ('rhoso', 'kolla', 'plain'):
            first = self.create(name)
            self.assertEqual(
                {'created'}, {file['state'] for file in first['files']}
            )
            tree = self.tree()
            self.assertEqual(
                sorted(tree), sorted(file['path'] for file in first['files'])
            )
            second = self.create(name)
            self.assertEqual(
                {('unchanged', '')},
                {(file['state'], file['diff']) for file in second['files']},
            )
            self.assertEqual([], second['restart'])
            self.assertEqual(tree, self.tree())
            for path in tree:
                pathlib.Path(path).unlink()

    def test_check_is_clean(self) -> None:
        # Files of hosts must not be read as nova.conf, in any folder.
        for folder, name in (
            ('nova', 'rhoso'),
            ('nova2', 'plain'),
            ('nova3', 'kolla'),
        ):
            os.mkdir(folder)
            os.chdir(folder)
            self.create(name)
            os.chdir(self.folder)
            status, findings = self.run_command(
                config.CheckConfig, folder, '--fail-on', 'warning'
            )
            self.assertEqual([], findings)
            self.assertEqual(0, status)

    def test_check_is_clean_of_little(self) -> None:
        """A minimal description, with AMD CPUs."""
        alias = {
            'name': 'gpu',
            'vendor_id': '10de',
            'product_id': '26b9',
            'device_type': 'type-PF',
        }
        host = {
            'name': 'gpu-0',
            'cpu_vendor': 'amd',
            'cards': [{'alias': 'gpu', 'all': True}],
        }
        for target in ('rhoso', 'kolla', 'plain'):
            pathlib.Path('little.json').write_text(
                json.dumps(
                    {'target': target, 'aliases': [alias], 'hosts': [host]}
                )
            )
            self.run_command(
                config_create.CreateConfig, 'little.json', '--output', target
            )
            self.assertEqual(
                (0, []),
                self.run_command(
                    config.CheckConfig, target, '--fail-on', 'warning'
                ),
            )

    def test_only_own_arguments_are_replaced(self) -> None:
        """Comments, order and other keys are kept, byte for byte."""
        self.create('rhoso')
        path = pathlib.Path('out/edpm/nodeset/values.yaml')
        before = (
            path.read_text()
            .replace('ansibleVars:\n', 'ansibleVars:  # ours\n')
            .replace('rd.driver.pre=vfio-pci pci=realloc', 'quiet tsx=off', 1)
            .replace(
                '        [pci]\n',
                '        # cards\n        [pci]\n        device_spec = '
                '{"vendor_id": "15b3", "product_id": "1018", '
                '"physical_network": "x"}\n',
            )
            .replace(
                '      - telemetry\n', '      - telemetry\n      - mine\n'
            )
            .replace('  nodeset:\n', '  ssh_keys: {private: a}\n  nodeset:\n')
        )
        path.write_text(before)
        path.chmod(0o640)
        files = {file['path']: file for file in self.create('rhoso')['files']}
        changed = files[os.fspath(path)]
        self.assertEqual('changed', changed['state'])
        self.assertEqual(
            [
                line
                for line in changed['diff'].splitlines()
                if line[:1] in '+-' and line[:3] not in ('+++', '---')
            ],
            [
                sign + line
                for sign, text in (('-', before), ('+', path.read_text()))
                for line in text.splitlines()
                if 'edpm_kernel_args' in line
            ],
        )
        self.assertIn(
            'quiet tsx=off rd.driver.pre=vfio-pci pci=realloc\n',
            path.read_text(),
        )
        self.assertEqual(0o640, stat.S_IMODE(path.stat().st_mode))

    def test_changed_meanwhile(self) -> None:
        self.create('rhoso')
        path = pathlib.Path('out/control-plane/service-values.yaml')
        path.write_text(path.read_text().replace('pci_in_placement', 'x', 1))
        check = atomic.check_replaceable

        def somebody(name: str) -> str:
            with path.open('a') as stream:
                stream.write('# somebody\n')
            return check(name)

        with unittest.mock.patch.object(
            atomic, 'check_replaceable', side_effect=somebody
        ):
            message = self.refused(
                os.fspath(_EXAMPLES / 'rhoso.yaml'), '--output', 'out'
            )
        self.assertIn('changed after it was read', message)

    def test_created_meanwhile(self) -> None:
        link = os.link

        def somebody(source: str, target: str, **how: typing.Any) -> None:
            pathlib.Path('out/control-plane', target).write_text('mine')
            link(source, target, **how)

        with unittest.mock.patch.object(os, 'link', side_effect=somebody):
            message = self.refused(
                os.fspath(_EXAMPLES / 'rhoso.yaml'), '--output', 'out'
            )
        self.assertIn('was created by another process meanwhile', message)
        self.assertEqual(
            {'out/control-plane/service-values.yaml': 'mine'}, self.tree()
        )

    def test_a_folder_that_cannot_be_written(self) -> None:
        """Nothing is written unless all files can be written."""
        self.create('plain')
        before = self.tree()
        folder = pathlib.Path('out/hosts/gpu-0')
        shutil.rmtree(folder)
        shutil.rmtree('out/control-plane')
        folder.mkdir(mode=0o555)
        left = self.tree()
        self.assertNotEqual(before, left)
        access = os.access

        def may(path: str, mode: int, **how: typing.Any) -> bool:
            # Root could write otherwise.
            status = os.stat(path, dir_fd=how.get('dir_fd'))
            if status.st_ino == folder.stat().st_ino and mode & os.W_OK:
                return False
            return access(path, mode, **how)

        with unittest.mock.patch.object(os, 'access', may):
            message = self.refused(
                os.fspath(_EXAMPLES / 'plain.yaml'), '--output', 'out'
            )
        self.assertRegex(
            message, 'Cannot write out/hosts/.*: Permission denied'
        )
        self.assertEqual(left, self.tree())

    def test_no_space_half_way(self) -> None:
        """Files that have been written are reverted."""
        link = os.link
        done: list[str] = []

        def full(source: str, target: str, **how: typing.Any) -> None:
            if len(done) == 3:
                raise OSError(28, 'No space left on device')
            done.append(target)
            link(source, target, **how)

        with unittest.mock.patch.object(os, 'link', full):
            message = self.refused(
                os.fspath(_EXAMPLES / 'plain.yaml'), '--output', 'out'
            )
        self.assertIn('No space left on device', message)
        self.assertEqual({}, self.tree())

    def test_standard_input(self) -> None:
        content = (_EXAMPLES / 'plain.yaml').read_bytes()
        with unittest.mock.patch.object(
            sys, 'stdin', io.TextIOWrapper(io.BytesIO(content))
        ):
            status, result = self.run_command(
                config_create.CreateConfig, '-', '--output', 'out'
            )
        self.assertEqual((0, 'plain'), (status, result['target']))

    def test_refused(self) -> None:
        example = os.fspath(_EXAMPLES / 'rhoso.yaml')
        file = self.folder / 'x.yaml'
        laughs = b'a0: &a0 [x]\n' + b''.join(
            b'a%d: &a%d [%s]\n'
            % (number, number, b','.join([b'*a%d' % (number - 1)] * 9))
            for number in range(1, 12)
        )
        for content, message in (
            (b'\xff', 'it is not UTF-8'),
            (b'a: [', f'{file}, line 1: '),
            (b'a: 1\na: 2', "duplicate key 'a'"),
            (b'target: rhoso\nx: 1', f'{file}: aliases is missing'),
            (b'a: &a [*a]', 'it has more than 200000 lines or items'),
            (laughs, 'it has more than 200000 lines or items'),
            (b'#' * (16 * 2**20 + 1), 'it is larger than 16 MiB'),
        ):
            file.write_bytes(content)
            self.assertIn(
                message, self.refused(os.fspath(file), '--output', 'out')
            )
        self.assertIn(
            'No such file', self.refused('missing.yaml', '--output', 'out')
        )
        pathlib.Path('file').write_text('')
        self.assertIn(
            'file is not a folder', self.refused(example, '--output', 'file')
        )
        os.makedirs('out')
        os.symlink('/', 'out/edpm')
        self.assertIn(
            'a link leads out of out', self.refused(example, '--output', 'out')
        )
        os.unlink('out/edpm')
        os.symlink('missing', 'out/edpm')
        self.assertIn(
            'out/edpm is not a folder',
            self.refused(example, '--output', 'out'),
        )
        os.unlink('out/edpm')
        os.makedirs('out/control-plane/service-values.yaml')
        self.assertIn(
            'it is not a regular file',
            self.refused(example, '--output', 'out'),
        )

    def test_kustomizations(self) -> None:
        """They have all values and objects that they refer to."""
        data = yaml_file.parse('x', (_EXAMPLES / 'rhoso.yaml').read_text())
        other = copy.deepcopy(data['hosts'][0])
        other['name'] = 'edpm-compute-1.rack-2'
        del other['bare_metal']['root_device_hints']
        data['hosts'].append(other)
        pathlib.Path('two.json').write_text(json.dumps(data))
        # The second host is added later.
        self.create('rhoso')
        self.run_command(
            config_create.CreateConfig, 'two.json', '--output', 'out'
        )
        hosts = set()
        targets = 0
        for path in pathlib.Path('out').rglob('kustomization.yaml'):
            kustomization = yaml.safe_load(path.read_text())
            documents = [
                document
                for name in kustomization['resources']
                for document in yaml.safe_load_all(
                    (path.parent / name).read_text()
                )
            ]
            names = {
                (document['kind'], document['metadata']['name']): document
                for document in documents
            }
            self.assertEqual(len(documents), len(names))
            for replacement in kustomization.get('replacements', ()):
                source = replacement['source']
                value = names[source['kind'], source['name']]
                for key in re.split(r'(?<!\\)\.', source['fieldPath']):
                    value = value[key.replace('\\.', '.')]
                for target in replacement['targets']:
                    if 'name' in target['select']:
                        targets += 1
                        self.assertIn(tuple(target['select'].values()), names)
            hosts |= {name for kind, name in names if kind == 'BareMetalHost'}
        self.assertEqual({'edpm-compute-0', 'edpm-compute-1.rack-2'}, hosts)
        self.assertGreater(targets, 0)

    def test_settings_of_others(self) -> None:
        self.create('plain')
        folder = pathlib.Path('out/hosts/gpu-0/etc/tuned')
        (path,) = folder.iterdir()
        text = '# mine\nisolated_cores=1\nisolate_managed_irq=Y'
        path.write_text(text)
        self.create('plain')
        new = text.replace('cores=1', 'cores=4-31,36-63')
        self.assertEqual(new, path.read_text())
        path.write_text('# mine')
        self.create('plain')
        self.assertEqual(
            '# mine\nisolated_cores=4-31,36-63\n', path.read_text()
        )

    def test_kustomization_of_an_earlier_version(self) -> None:
        self.create('rhoso')
        path = pathlib.Path('out/edpm/nodeset/kustomization.yaml')
        new = path.read_text()
        old = new.replace(host_files.MARK, host_files.OLD_MARK)
        self.assertNotEqual(new, old)
        path.write_text(old)
        self.assertEqual([], self.create('rhoso')['warnings'])
        self.assertEqual(new, path.read_text())

    def test_kustomization_of_others(self) -> None:
        self.create('rhoso')
        path = pathlib.Path('out/edpm/nodeset/kustomization.yaml')
        path.write_text('resources: [values.yaml]\n')
        for name in ('openstackdataplanenodeset', 'network-data-secrets'):
            path.with_name(f'{name}.yaml').unlink()
        result = self.create('rhoso')
        self.assertEqual(
            [
                'edpm/nodeset/kustomization.yaml was not generated by '
                '"openstack gpu" and is unchanged: make sure that it uses the '
                'new values in the files next to it, for every host'
            ],
            result['warnings'],
        )
        self.assertEqual(
            {'unchanged'}, {file['state'] for file in result['files']}
        )
        self.assertEqual(
            ['kustomization.yaml', 'nova_gpu.yaml', 'values.yaml'],
            sorted(child.name for child in path.parent.iterdir()),
        )

    def test_control_plane(self) -> None:
        """The steps name folders that can be built, with any kustomization."""
        steps = self.create('rhoso')['next_steps']
        builds = [step for step in steps if step.startswith('kustomize')]
        self.assertNotEqual([], builds)
        for step in builds:
            folder = step.split()[2]
            self.assertTrue(
                pathlib.Path(folder, 'kustomization.yaml').is_file()
            )
        self.assertEqual(
            'kustomize build out/control-plane | oc apply --server-side -f -',
            builds[0],
        )
        self.assertIn('--force-conflicts', '\n'.join(steps))
        path = pathlib.Path('out/control-plane/kustomization.yaml')
        path.write_text('components: [../../../../../dt/nova/nova04delta]\n')
        steps = self.create('rhoso')['next_steps']
        self.assertIn(
            'kustomize build out/control-plane | oc apply -f -', steps
        )
        self.assertNotIn('--server-side', '\n'.join(steps))
        self.assertNotIn('--force-conflicts', '\n'.join(steps))

    def test_steps_as_they_are_run(self) -> None:
        """The steps name the description and the folder as given."""
        for name in ('rhoso', 'kolla', 'plain'):
            steps = self.create(name)['next_steps']
            self.assertIn('openstack gpu config check out', steps)
            self.assertIn('--expect gpu.yaml', '\n'.join(steps))
            self.assertNotIn('<', '\n'.join(steps))

    def test_two_services_of_nova(self) -> None:
        self.create('rhoso')
        path = pathlib.Path('out/edpm/nodeset/values.yaml')
        path.write_text(
            path.read_text().replace('nova-custom-gpu', 'nova-custom-sriov')
        )
        message = self.refused(
            os.fspath(_EXAMPLES / 'rhoso.yaml'), '--output', 'out'
        )
        self.assertIn('both its service nova-custom-sriov and', message)

    def test_not_in_place(self) -> None:
        """The edit is shown as a patch, and nothing is written."""
        path = pathlib.Path('out/control-plane/service-values.yaml')
        path.parent.mkdir(parents=True)
        text = (
            'kind: ConfigMap\nmetadata: {name: service-values}\n'
            'data: {nova: {apiServiceTemplate: {}}}\n'
        )
        path.write_text(text)
        message = self.refused(
            os.fspath(_EXAMPLES / 'rhoso.yaml'), '--output', 'out'
        )
        self.assertIn('data.nova is not written with one key on each', message)
        self.assertEqual({os.fspath(path): text}, self.tree())
