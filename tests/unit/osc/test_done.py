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

"""Commands that have created something, and cannot show it."""

import argparse
import contextlib
import importlib.metadata
import io
import os
import pathlib
import shutil
import types
import typing
import unittest.mock

import ddt
import fixtures
import testtools

import gpuclient
from gpuclient import exceptions
from gpuclient.model import flavor as flavor_model
from gpuclient.operations import flavor_editing
from tests.unit.host import trees

ALIAS = '{"name": "a", "vendor_id": "10de", "product_id": "20f1"}'
CONF = f'[pci]\nalias = {ALIAS}\ndevice_spec = {{"address": "0000:04:00.0"}}\n'
EDITED = flavor_editing.EditedFlavor(
    flavor_model.Flavor('4', 'gpu', 1, 1, 1, False, {}), ()
)
_DOCS = (
    pathlib.Path(gpuclient.__file__).parents[1] / 'doc/source/user/examples'
)
_FILES = 'These files are already changed: '
#: The arguments of each command that writes, and the text of its error. The
#: working folder has nova.conf, and "host" with the files of one.
WRITES: dict[str, tuple[str, str]] = {
    'gpu_alias_create': (
        'b --vendor-id 10de --product-id 20f1 --config nova.conf',
        f'{_FILES}nova.conf',
    ),
    'gpu_alias_set': (
        'a --numa-policy required --config nova.conf',
        f'{_FILES}nova.conf',
    ),
    'gpu_alias_delete': (
        'a --force --config nova.conf',
        f'{_FILES}nova.conf',
    ),
    'gpu_config_check': (
        'nova.conf --sarif x.sarif',
        'x.sarif is already written',
    ),
    'gpu_config_create': ('gpu.yaml --output out', f'{_FILES}out/'),
    'gpu_config_rehearse': (
        'nova.conf --keep lab',
        "Rehearsal cloud 'lab' keeps running",
    ),
    'gpu_config_set': (
        'nova.conf --report-in-placement',
        f'{_FILES}nova.conf',
    ),
    'gpu_device_spec_create': (
        '--address 0000:05:00.0 --config nova.conf',
        f'{_FILES}nova.conf',
    ),
    'gpu_device_spec_delete': (
        '--address 0000:04:00.0 --config nova.conf',
        f'{_FILES}nova.conf',
    ),
    'gpu_flavor_create': (
        'gpu --alias a:1 --vcpus 1 --ram 1 --disk 1',
        "Flavor 'gpu' (4) is already created",
    ),
    'gpu_flavor_set': (
        'gpu --alias a:1',
        "Flavor 'gpu' (4) is already changed",
    ),
    'gpu_flavor_unset': (
        'gpu --alias a',
        "Flavor 'gpu' (4) is already changed",
    ),
    'gpu_host_bundle_create': (
        'x.tar --root host',
        'The bundle x.tar is already written',
    ),
    'gpu_host_config_create': (
        '--id 10de:20f1 --system debian --cpu-vendor intel --output out',
        f'{_FILES}out/etc/',
    ),
    'gpu_rehearsal_restart': (
        'lab --service nova-api',
        'nova-api is already restarted',
    ),
    'gpu_rehearsal_start': (
        'lab',
        "Rehearsal cloud 'lab' is already running",
    ),
}
#: Commands that write nothing, or show nothing.
OTHERS = {
    'gpu-commands',
    'gpu_alias_list',
    'gpu_alias_show',
    'gpu_alias_verify',
    'gpu_capacity_list',
    'gpu_capacity_show',
    'gpu_check',
    'gpu_device_spec_list',
    'gpu_flavor_explain',
    'gpu_flavor_list',
    'gpu_flavor_show',
    'gpu_guest_check',
    'gpu_guest_config_create',
    'gpu_host_check',
    'gpu_host_show',
    'gpu_metrics_show',
    'gpu_model_list',
    'gpu_model_show',
    'gpu_placement_ledger_list',
    'gpu_placement_list',
    'gpu_placement_show',
    'gpu_project_list',
    'gpu_project_show',
    'gpu_rehearsal_list',
    'gpu_rehearsal_show',
    'gpu_rehearsal_stop',
    'gpu_server_explain',
    'gpu_server_list',
    'gpu_snapshot_show',
    'gpu_upgrade_check',
}
#: Commands that write to a cloud: functional tests show what they report.
ON_A_CLOUD = {
    'gpu_placement_check',
    'gpu_placement_set',
    'gpu_project_apply',
    'gpu_project_set',
    'gpu_project_unset',
    'gpu_snapshot_save',
}
COMMANDS = {
    entry.name: entry
    for entry in importlib.metadata.entry_points(group='openstack.gpu.v1')
}


@ddt.ddt
class TestDone(testtools.TestCase):
    """The error names what was created, whatever fails afterwards."""

    def setUp(self) -> None:
        super().setUp()
        folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(folder)
        (folder / 'nova.conf').write_text(CONF)
        shutil.copy(_DOCS / 'plain.yaml', folder / 'gpu.yaml')
        trees.a100().write(folder / 'host')
        for name in os.environ:
            if name.startswith('OS_'):
                self.useFixture(fixtures.EnvironmentVariable(name))

    def _replace(self, name: str, value: typing.Any) -> None:
        self.useFixture(fixtures.MonkeyPatch(name, value))

    def _without_a_cloud(self) -> None:
        """Replace OpenStack services, which a unit test does not have."""
        edited = 'gpuclient.operations.flavor_editing.{}'
        for name, done in (
            ('create', 'created'),
            ('change', 'changed'),
            ('unset', 'changed'),
        ):
            self._replace(
                edited.format(name),
                lambda *_a, _done=done, **_o: flavor_editing.EditedFlavor(
                    EDITED.flavor, (), _done
                ),
            )
        self._replace(
            'gpuclient.operations.flavor_check.check_without_aliases',
            lambda *_arguments: (),
        )
        self._replace(
            'gpuclient.cloud.nova.version.newest', lambda _compute: '2.104'
        )
        self._replace(
            'gpuclient.osc.command.Command.authenticate', lambda _self: None
        )
        record = types.SimpleNamespace(name='lab', refused=())
        cloud = types.SimpleNamespace(record=record)
        self._replace(
            'gpuclient.operations.rehearsal_registration.start',
            lambda *_arguments: cloud,
        )
        self._replace('gpuclient.rehearsal.api.restart', lambda *_a: cloud)
        self._replace(
            'gpuclient.osc.v1.rehearsal._Rehearsal.present',
            lambda _self, _cloud: (('name',), ('lab',)),
        )
        self._replace(
            'gpuclient.rehearsal.api.kept',
            lambda *_a, **_o: contextlib.nullcontext(cloud),
        )
        self._replace(
            'gpuclient.config_rehearsal.run.run',
            lambda *_a: types.SimpleNamespace(value=[], failures=()),
        )

    def test_each_command_is_told_apart(self) -> None:
        self.assertEqual(set(COMMANDS), {*WRITES, *ON_A_CLOUD, *OTHERS})

    @ddt.data(*sorted(WRITES))
    def test_column_that_is_not_there(self, name: str) -> None:
        arguments, expected = WRITES[name]
        self._without_a_cloud()
        app = unittest.mock.Mock()
        app.stdout = io.StringIO()
        app.cloud_config.get_one.side_effect = ValueError('no cloud')
        command = COMMANDS[name].load()(app, argparse.Namespace())
        parsed = command.get_parser('x').parse_args(
            [*arguments.split(), '-c', 'wrong']
        )
        error = self.assertRaises(exceptions.GPUError, command.run, parsed)
        self.assertIn('No recognized column names', str(error))
        self.assertIn(f'. {expected}', str(error))
        self.assertNotIn('\n', str(error))
