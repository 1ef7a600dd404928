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

"""Commands that edit files, on every kind of configuration."""

import argparse
import collections.abc
import io
import json
import os
import pathlib
import shutil
import sys
import tempfile
import types
import typing
import unittest.mock

import ddt
import testtools

import openstack.config

from gpuclient.documents import editable
from gpuclient import exceptions
from gpuclient.osc import command as base
from gpuclient.osc.v1 import alias
from gpuclient.osc.v1 import alias_edit
from gpuclient.osc.v1 import config
from gpuclient.osc.v1 import device_spec

IDS = ('--vendor-id', '10de', '--product-id', '20f1')
CREATE = ('a', *IDS, '--device-type', 'type-PF')
SPEC = ('--address', '0000:04:00.0', *IDS)
CONTROL_PLANE = """\
# ours
data:
  nova:
    apiServiceTemplate:
      customServiceConfig: |
        [pci]
        # mine
"""
NODESET = """\
data:
  nova:
    pci:
      conf: |
        [pci]
        report_in_placement = True
"""
#: As ``oc get -o yaml`` prints them.
LIST = """\
apiVersion: v1
items:
- apiVersion: core.openstack.org/v1beta1
  kind: OpenStackControlPlane
  spec:
    nova:
      template:
        apiServiceTemplate:
          customServiceConfig: |
            [pci]
- apiVersion: v1
  data:
    03-gpu-nova.conf: |
      [pci]
      report_in_placement = True
  kind: ConfigMap
kind: List
metadata:
  resourceVersion: ""
"""
BOTH = '[pci]\nreport_in_placement = True\n'


class Kind(typing.NamedTuple):
    """Files, and the options for them."""

    files: dict[str, str]
    options: tuple[str, ...]


KINDS = {
    'a nova.conf of both': Kind({'nova.conf': BOTH}, ('--config=nova.conf',)),
    'a nova.conf of each': Kind(
        {'nova-api.conf': '[pci]\n', 'nova-compute.conf': BOTH},
        ('--api-config=nova-api.conf', '--compute-config=nova-compute.conf'),
    ),
    'line ends of Windows': Kind(
        {'nova.conf': BOTH.replace('\n', '\r\n')}, ('--config=nova.conf',)
    ),
    'no end of the last line': Kind(
        {'nova.conf': BOTH.rstrip()}, ('--config=nova.conf',)
    ),
    'drop-ins': Kind(
        {'nova.conf.d/01.conf': '[DEFAULT]\n', 'nova.conf.d/02.conf': BOTH},
        ('--config=nova.conf.d',),
    ),
    'values of RHOSO': Kind(
        {'service-values.yaml': CONTROL_PLANE, 'values.yaml': NODESET},
        ('--config=service-values.yaml', '--config=values.yaml'),
    ),
    'documents in one file': Kind(
        {'all.yaml': f'{CONTROL_PLANE}---\n{NODESET}'}, ('--config=all.yaml',)
    ),
    'a list of objects': Kind({'list.yaml': LIST}, ('--config=list.yaml',)),
    'Kolla, one layer': Kind(
        {'kolla/config/nova.conf': BOTH}, ('--config=kolla/config',)
    ),
    'Kolla, a layer for each': Kind(
        {
            'kolla/config/nova/nova-api.conf': '[pci]\n',
            'kolla/config/nova/nova-compute.conf': BOTH,
        },
        ('--config=kolla/config',),
    ),
    'Kayobe': Kind(
        {
            'kolla/config/nova.conf': (
                '{% if x %}\n[libvirt]\na = {{ b }}\n{% endif %}\n'
                f'{{% raw %}}\n{BOTH}{{% endraw %}}\n'
            )
        },
        ('--config=kolla/config',),
    ),
}


class FilesTestCase(testtools.TestCase):
    #: Options of the shell for a cloud.
    cloud: typing.ClassVar[dict[str, str]] = {}

    def setUp(self) -> None:
        super().setUp()
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.folder)

    def write(self, kind: Kind) -> None:
        for name, text in kind.files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text.encode())

    def content(self) -> dict[str, str]:
        return {
            os.path.relpath(path, self.folder): path.read_bytes().decode()
            for path in self.folder.rglob('*')
            if path.is_file()
        }

    def run_command(
        self, kind: type[base.Command], *arguments: str
    ) -> tuple[int, str]:
        app = unittest.mock.Mock()
        app.options = argparse.Namespace(cloud=None, **self.cloud)
        app.cloud_config = openstack.config.OpenStackConfig(
            config_files=[],
            vendor_files=[],
            secure_files=[],
            load_envvars=False,
        )
        app.stdout = io.StringIO()
        shown = kind(app, argparse.Namespace())
        self.addCleanup(setattr, kind, 'log', kind.log)
        kind.log = unittest.mock.Mock()
        parsed = shown.get_parser('x').parse_args([*arguments, '-f', 'json'])
        status = shown.run(parsed)
        self.log = kind.log
        return status, app.stdout.getvalue()

    def json(self, kind: type[base.Command], *arguments: str) -> typing.Any:
        status, text = self.run_command(kind, *arguments)
        self.assertEqual(0, status)
        return json.loads(text)


@ddt.ddt
class TestKinds(FilesTestCase):
    def lines_of(self, name: str) -> set[str]:
        """Return the lines of files that contain a text."""
        return {
            line.strip()
            for text in self.content().values()
            for line in text.splitlines()
            if name in line
        }

    def without(
        self, chosen: collections.abc.Callable[[str], bool]
    ) -> dict[str, list[str]]:
        """Return the lines of files, except for selected ones."""
        return {
            path: [line for line in text.splitlines() if not chosen(line)]
            for path, text in self.content().items()
        }

    @ddt.data(*KINDS)
    def test_aliases(self, name: str) -> None:
        kind = KINDS[name]
        self.write(kind)
        before = self.content()
        create = (*CREATE, *kind.options)
        dry = self.json(alias.CreateAlias, *create, '--dry-run')
        self.assertEqual(before, self.content())
        done = self.json(alias.CreateAlias, *create)
        self.assertEqual(['nova-api', 'nova-compute'], done['restart'])
        for planned, file in zip(dry['files'], done['files'], strict=True):
            self.assertEqual('would change', planned['state'])
            self.assertEqual('changed', file['state'])
            self.assertEqual(planned['diff'], file['diff'])
            self.assertIn('\n+', file['diff'])
        self.assertEqual(
            {path: text.splitlines() for path, text in before.items()},
            self.without(lambda line: '"name": "a"' in line),
        )
        created = self.content()
        again = self.json(alias.CreateAlias, *create)
        self.assertEqual([], again['restart'])
        self.assertEqual(
            {'unchanged'}, {file['state'] for file in again['files']}
        )
        self.assertEqual(created, self.content())

        change = ('a', '--numa-policy', 'socket', *kind.options)
        self.json(alias_edit.SetAlias, *change, '--dry-run')
        self.assertEqual(created, self.content())
        changed = self.json(alias_edit.SetAlias, *change)
        self.assertEqual(['nova-api', 'nova-compute'], changed['restart'])
        self.assertEqual({*changed['lines']}, self.lines_of('"name": "a"'))
        self.assertIn('"socket"', changed['lines'][0])
        changed = self.json(alias_edit.SetAlias, *change)
        self.assertEqual([], changed['restart'])

        delete = ('a', *kind.options)
        self.json(alias_edit.DeleteAlias, *delete, '--dry-run')
        self.assertNotEqual(before, self.content())
        deleted = self.json(alias_edit.DeleteAlias, *delete)
        self.assertEqual(['nova-api', 'nova-compute'], deleted['restart'])
        self.assertEqual(before, self.content())
        self.assertRaises(
            exceptions.NotFound, self.json, alias_edit.DeleteAlias, *delete
        )

    @ddt.data(*KINDS)
    def test_device_specs(self, name: str) -> None:
        kind = KINDS[name]
        options = [
            option
            for option in kind.options
            if not option.startswith('--api-config')
            and option != '--config=service-values.yaml'
        ]
        self.write(kind)
        before = self.content()
        create = (*SPEC, *options)
        dry = self.json(device_spec.CreateDeviceSpec, *create, '--dry-run')
        self.assertEqual(before, self.content())
        done = self.json(device_spec.CreateDeviceSpec, *create)
        self.assertEqual(
            [file['diff'] for file in dry['files']],
            [file['diff'] for file in done['files']],
        )
        self.assertEqual(['nova-compute'], done['restart'])
        self.assertEqual([], done['warnings'])
        self.assertEqual({done['line']}, self.lines_of('device_spec'))
        created = self.content()
        again = self.json(device_spec.CreateDeviceSpec, *create)
        self.assertEqual([], again['restart'])
        self.assertEqual(created, self.content())
        (row,) = self.json(device_spec.ListDeviceSpec, *options)
        self.assertEqual('20f1', row['Product ID'])
        delete = ('--address', '0000:04:00.0', *options)
        self.json(device_spec.DeleteDeviceSpec, *delete, '--dry-run')
        self.assertEqual(created, self.content())
        self.assertEqual(
            1, self.json(device_spec.DeleteDeviceSpec, *delete)['deleted']
        )
        self.assertEqual(before, self.content())

    @ddt.data(*KINDS)
    def test_clean(self, name: str) -> None:
        """The check has no findings for what these commands create."""
        kind = KINDS[name]
        self.write(kind)
        self.json(alias.CreateAlias, *CREATE, *kind.options)
        options = [option for option in kind.options if 'api' not in option]
        if name == 'values of RHOSO':
            options = ['--config=values.yaml']
        self.json(device_spec.CreateDeviceSpec, *SPEC, *options)
        self.write_filters(name)
        self.assertEqual([], self.json(config.CheckConfig, '.'))

    def write_filters(self, name: str) -> None:
        """Write scheduler filters, without which the check has findings."""
        file = next(iter(KINDS[name].files))
        if not file.endswith('.conf'):
            return
        path = self.folder / {
            'nova.conf.d': 'nova.conf.d/03.conf',
            'kolla': 'kolla/config/nova/nova-scheduler.conf',
        }.get(file.split('/')[0], 'nova-scheduler.conf')
        path.parent.mkdir(exist_ok=True)
        path.write_text(
            '[filter_scheduler]\n'
            'enabled_filters = ComputeFilter,PciPassthroughFilter\n'
        )

    def test_shared_file_is_listed_once(self) -> None:
        self.write(KINDS['Kolla, one layer'])
        for name in ('h1', 'h2'):
            path = self.folder / 'kolla/config/nova' / name / 'nova.conf'
            path.parent.mkdir(parents=True)
            path.write_text('[DEFAULT]\n')
        options = ('--config', 'kolla/config')
        self.json(alias.CreateAlias, *CREATE, *options)
        self.json(device_spec.CreateDeviceSpec, *SPEC, *options)
        (row,) = self.json(device_spec.ListDeviceSpec, *options)
        self.assertEqual('kolla/config/nova.conf, line 4', row['Defined In'])
        (row,) = self.json(alias.ListAlias, *options)
        self.assertEqual(['kolla/config/nova.conf, line 3'], row['Defined In'])

    def test_environments_of_kayobe(self) -> None:
        """The file of the environment is edited, but not its base."""
        env = 'environments/lab/kolla/config'
        kind = Kind(
            {'kolla/config/nova.conf': BOTH, f'{env}/nova.conf': '[pci]\n'},
            (f'--config={env}',),
        )
        self.write(kind)
        self.json(alias.CreateAlias, *CREATE, *kind.options)
        content = self.content()
        self.assertEqual(BOTH, content['kolla/config/nova.conf'])
        self.assertIn('"name": "a"', content[f'{env}/nova.conf'])
        (self.folder / env / 'nova.conf').write_text('[pci]\n')
        self.json(alias.CreateAlias, *CREATE, '--config=kolla/config')
        before = self.content()
        again = self.json(alias.CreateAlias, *CREATE, *kind.options)
        self.assertEqual([], again['restart'])
        for command, arguments in (
            (alias_edit.DeleteAlias, ('a',)),
            (alias_edit.SetAlias, ('a', '--numa-policy', 'socket')),
        ):
            error = self.assertRaises(
                exceptions.UnsafeEdit,
                self.run_command,
                *(command, *arguments, *kind.options),
            )
            self.assertIn('other environments read, too', str(error))
        (self.folder / env / 'nova.conf').unlink()
        (self.folder / env / 'global.conf').write_text('[DEFAULT]\n')
        error = self.assertRaises(
            exceptions.UnsafeEdit,
            self.run_command,
            *(alias.CreateAlias, 'b', *CREATE[1:], *kind.options),
        )
        self.assertIn('or create a file of the same name', str(error))
        self.assertEqual(
            before['kolla/config/nova.conf'],
            self.content()['kolla/config/nova.conf'],
        )

    def test_readers_of_each_file(self) -> None:
        kind = KINDS['Kolla, a layer for each']
        self.write(kind)
        done = self.json(alias.CreateAlias, *CREATE, *kind.options)
        self.assertEqual(
            [['nova-api'], ['nova-compute']],
            [file['services'] for file in done['files']],
        )

    def test_one_side_of_a_layer_that_both_read(self) -> None:
        self.write(KINDS['Kolla, one layer'])
        before = self.content()
        for side, other in (
            ('--compute-config', 'nova-api'),
            ('--api-config', 'nova-compute'),
        ):
            for dry in ((), ('--dry-run',)):
                error = self.assertRaises(
                    exceptions.UnsafeEdit,
                    self.run_command,
                    alias.CreateAlias,
                    *(*CREATE, side, 'kolla/config', *dry),
                )
                self.assertIn(f'{other} of kolla/config/nova', str(error))
                self.assertIn('reads the same file', str(error))
        self.assertEqual(before, self.content())


class TestSeveralFiles(FilesTestCase):
    def test_changed_between_two_writes(self) -> None:
        kind = KINDS['a nova.conf of each']
        self.write(kind)
        check = editable.EditableFile.check_writable

        def interfere(file: editable.EditableFile) -> None:
            check(file)
            (self.folder / 'nova-compute.conf').write_text('# theirs\n')

        self.enterContext(
            unittest.mock.patch.object(
                editable.EditableFile, 'check_writable', interfere
            )
        )
        error = self.assertRaises(
            exceptions.DocumentError,
            self.run_command,
            *(alias.CreateAlias, *CREATE, *kind.options),
        )
        self.assertEqual(
            'nova-compute.conf changed after it was read and was not written: '
            'run the command again',
            str(error),
        )
        # Files that have been written are reverted.
        self.assertEqual(
            kind.files['nova-api.conf'], self.content()['nova-api.conf']
        )
        self.assertEqual('# theirs\n', self.content()['nova-compute.conf'])


class TestStandardInput(FilesTestCase):
    """As a filter, the command writes the edited document."""

    def feed(self, text: str) -> None:
        stream = types.SimpleNamespace(buffer=io.BytesIO(text.encode()))
        self.enterContext(unittest.mock.patch.object(sys, 'stdin', stream))

    def test_edits(self) -> None:
        for text in (BOTH, NODESET, f'\ufeff{BOTH}', '# only\n', LIST):
            self.feed(text)
            status, after = self.run_command(
                alias.CreateAlias, *CREATE, '--config', '-'
            )
            self.assertEqual(0, status)
            self.assertEqual(
                2 if text == LIST else 1, after.count('"name": "a"'), text
            )
            self.feed(after)
            status, again = self.run_command(
                alias.CreateAlias, *CREATE, '--config', '-'
            )
            self.assertEqual(after, again)
            self.feed(after)
            dry = self.json(
                *(alias_edit.DeleteAlias, 'a', '--config', '-', '--dry-run')
            )
            self.assertEqual('<stdin>', dry['files'][0]['path'])

    def test_warnings_are_logged(self) -> None:
        self.feed('[pci]\n')
        _status, text = self.run_command(
            device_spec.CreateDeviceSpec, *SPEC, '--config', '-'
        )
        self.assertTrue(text.startswith('[pci]\ndevice_spec = {'), text)
        (call,) = self.log.warning.call_args_list
        self.assertIn('GPU214', call.args[1])

    def test_refused(self) -> None:
        for text, message in (
            ('nova: {pci: {conf: "[pci]"}}\n', 'is not a block of lines'),
            ('[pci\n', '<stdin>, line 1'),
            ('a: [\n', 'Cannot read <stdin>'),
            ('\udc80', 'Cannot read <stdin>: it is not UTF-8'),
        ):
            stream = types.SimpleNamespace(
                buffer=io.BytesIO(text.encode('utf-8', 'surrogateescape'))
            )
            with unittest.mock.patch.object(sys, 'stdin', stream):
                error = self.assertRaises(
                    exceptions.DocumentError,
                    self.run_command,
                    *(alias.CreateAlias, *CREATE, '--config', '-'),
                )
            self.assertIn(message, str(error))

    def test_check(self) -> None:
        self.feed(NODESET.replace('report', 'alias = {}\n        report'))
        status, text = self.run_command(config.CheckConfig, '-')
        self.assertEqual(3, status)
        (row,) = json.loads(text)
        self.assertEqual(
            ('GPU301', '<stdin>', 6), (row['Code'], row['File'], row['Line'])
        )


class TestOptions(FilesTestCase):
    """Options that set nothing, or contradict each other."""

    def test_refused(self) -> None:
        change = (alias_edit.SetAlias, 'a', '--config', 'nova.conf')
        for arguments, message in (
            ((*change,), 'Nothing to set'),
            (
                (*change, '--trait', 'CUSTOM_A', '--no-trait'),
                '--no-trait contradicts another option',
            ),
            (
                (*change, '--numa-policy', 'legacy', '--no-numa-policy'),
                '--no-numa-policy contradicts another option',
            ),
            (
                (device_spec.DeleteDeviceSpec, '--config', 'nova.conf'),
                'Specify the entries with --address, --vendor-id',
            ),
        ):
            error = self.assertRaises(
                exceptions.InvalidValue, self.run_command, *arguments
            )
            self.assertIn(message, str(error))


class TestDelete(FilesTestCase):
    """An alias that may be in use is not deleted."""

    # Nothing listens there.
    cloud: typing.ClassVar[dict[str, str]] = {
        'auth_url': 'http://127.0.0.1:1/v3',
        'username': 'admin',
        'password': 'secret',
        'project_name': 'admin',
    }

    def test_unreachable_cloud(self) -> None:
        self.write(KINDS['a nova.conf of both'])
        path = self.folder / 'nova.conf'
        path.write_text(f'{BOTH}alias = {{"name": "a"}}\n')
        before = self.content()
        delete = ('a', '--config=nova.conf')
        error = self.assertRaises(
            exceptions.Conflict,
            self.run_command,
            alias_edit.DeleteAlias,
            *delete,
        )
        self.assertIn("Cannot tell whether alias 'a' is in use", str(error))
        self.assertIn('127.0.0.1', str(error))
        self.assertNotIn('secret', str(error))
        self.assertEqual(before, self.content())
        record = self.json(alias_edit.DeleteAlias, *delete, '--force')
        self.assertIn('skipped: ', record['use'])
        self.assertEqual({'nova.conf': BOTH}, self.content())


class TestRelease(FilesTestCase):
    """Files are read as the release reads them that is given or named."""

    def create(self, *arguments: str) -> dict[str, typing.Any]:
        shown: dict[str, typing.Any] = self.json(
            alias.CreateAlias, *CREATE, *arguments
        )
        return shown

    def test_alias(self) -> None:
        arguments = (*CREATE, '--live-migratable', 'yes')
        for release in ('30', 'rhoso-18'):
            error = self.assertRaises(
                exceptions.InvalidAlias,
                self.run_command,
                *(alias.CreateAlias, *arguments, '--release', release),
            )
            self.assertIn("'live_migratable' was unexpected", str(error))
            self.assertEqual(
                release == 'rhoso-18',
                'If rhoso-18 accepts it, pass a later --release' in str(error),
            )
        self.json(alias.CreateAlias, *arguments, '--release', '31')
        self.json(alias.CreateAlias, *arguments)

    def test_fields(self) -> None:
        """Objects name the release, and what names it."""
        names = ('release', 'nova_version', 'release_source')
        shown = self.create()
        self.assertEqual(
            ['2026.2', '34.0.0', None], [shown[name] for name in names]
        )
        shown = self.create('--release', 'rhoso-18')
        self.assertEqual(
            ['rhoso-18', '27.5.1', '--release'],
            [shown[name] for name in names],
        )
        (self.folder / 'globals.yml').write_text('openstack_release: 2025.1\n')
        (self.folder / 'nova.conf').write_text('[pci]\n')
        for command, arguments in (
            (alias.CreateAlias, CREATE),
            (device_spec.CreateDeviceSpec, SPEC),
        ):
            shown = self.json(
                command,
                *(*arguments, '--release', '31.2.0'),
                *('--config', 'nova.conf', '--dry-run'),
            )
            self.assertEqual(
                ['2025.1', '31.2.0', '--release'],
                [shown[name] for name in names],
            )

    def test_alias_without_ids(self) -> None:
        arguments = ('a', '--device-type', 'type-PF', '--release')
        shown = self.json(alias.CreateAlias, *arguments, '30')
        self.assertIn('GPU123', ' '.join(shown['warnings']))
        self.assertRaises(
            exceptions.InvalidAlias,
            self.run_command,
            *(alias.CreateAlias, *arguments, '31'),
        )

    def test_alias_set(self) -> None:
        (self.folder / 'nova.conf').write_text(
            '[pci]\nalias = {"name": "a", "vendor_id": "10de", '
            '"product_id": "20f1"}\n'
        )
        change = (
            *('a', '--config', 'nova.conf', '--live-migratable', 'yes'),
            '--release',
        )
        self.assertRaises(
            exceptions.InvalidAlias,
            self.run_command,
            *(alias_edit.SetAlias, *change, '29'),
        )
        self.json(alias_edit.SetAlias, *change, '33')

    def test_device_spec(self) -> None:
        (self.folder / 'nova.conf').write_text(
            '[pci]\ndevice_spec = {"address": "0000:05:00.0", '
            '"managed": "maybe"}\n'
        )
        arguments = (
            *SPEC,
            *('--one-time-use', 'yes', '--config', 'nova.conf'),
            '--release',
        )
        shown = self.json(device_spec.CreateDeviceSpec, *arguments, '30')
        self.assertIn(
            "does not have the key 'one_time_use'",
            ' '.join(shown['warnings']),
        )
        for release, count in (('30', 2), ('31', 0)):
            command = (
                device_spec.ListDeviceSpec,
                *('--config', 'nova.conf', '--release', release),
            )
            if count:
                self.assertEqual(count, len(self.json(*command)))
            else:
                self.assertRaises(
                    exceptions.InvalidDeviceSpec, self.run_command, *command
                )

    def test_named_by_a_file(self) -> None:
        config = self.folder / 'kolla' / 'config'
        config.mkdir(parents=True)
        (config / 'nova.conf').write_text('[pci]\n')
        (self.folder / 'kolla' / 'globals.yml').write_text(
            'openstack_release: "2024.2"\n'
        )
        error = self.assertRaises(
            exceptions.InvalidAlias,
            self.run_command,
            alias.CreateAlias,
            *(*CREATE, '--live-migratable', 'yes'),
            *('--config', 'kolla/config'),
        )
        self.assertIn("'live_migratable' was unexpected", str(error))
