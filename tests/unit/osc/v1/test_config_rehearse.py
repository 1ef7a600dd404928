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

"""Errors of gpu config rehearse that do not start a cloud."""

import argparse
import io
import json
import os
import pathlib
import socket
import typing
import unittest.mock

import fixtures
import testtools

from gpuclient import exceptions
from gpuclient.model import release
from gpuclient.osc.v1 import config_rehearse
from gpuclient.rehearsal import api
from gpuclient.rehearsal import control
from gpuclient.rehearsal import service_files
from gpuclient.rehearsal import spec_reader
from gpuclient.rehearsal import state


class TestDeviceOption(testtools.TestCase):
    def test_device(self) -> None:
        self.assertEqual(
            (
                'gpu-0',
                api.SimulatedDevice(
                    '0000:c1:00.4',
                    '10de',
                    '20f2',
                    'type-VF',
                    1,
                    parent_address='0000:c1:00.0',
                ),
            ),
            config_rehearse.parse_device('gpu-0=c1:00.4,10de:20f2,type-VF'),
        )
        for text in (
            'gpu-0',
            'gpu-0=04:00.0',
            '=04:00.0,10de:20f1',
            'gpu-0=04:00.0,10de:20f1,type-GPU',
            'gpu-0=04:00.0,10de:20f1,type-PF,x',
        ):
            error = self.assertRaises(
                exceptions.InvalidValue, config_rehearse.parse_device, text
            )
            self.assertIn(f'Invalid device {text!r}: use HOST=', str(error))
        error = self.assertRaises(
            exceptions.InvalidAddress,
            config_rehearse.parse_device,
            'gpu-0=04:00,10de:20f1',
        )
        self.assertIn("'04:00'", str(error))

    def test_node(self) -> None:
        _host, device = config_rehearse.parse_device(
            'gpu-0=0000:C1:00.0,10DE:20F1,type-PF,0'
        )
        self.assertEqual('0000:c1:00.0', device.address)
        self.assertEqual(
            ('10de', '20f1'), (device.vendor_id, device.product_id)
        )
        self.assertEqual(0, device.numa_node)


class CommandTestCase(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.useFixture(
            fixtures.MonkeyPatch('tempfile.tempdir', str(self.folder / 't'))
        )
        (self.folder / 't').mkdir()
        (self.folder / 'nova.conf').write_text('[pci]\n')

    def run_command(self, *arguments: str) -> tuple[int, str]:
        app = unittest.mock.Mock()
        command = config_rehearse.RehearseConfig(app, argparse.Namespace())
        command.app.stdout = io.StringIO()
        parsed = command.get_parser('x').parse_args(
            ['-f', 'json', *arguments, str(self.folder)]
        )
        status = command.run(parsed)
        return status, command.app.stdout.getvalue()

    def refused(self, *arguments: str) -> str:
        error = self.assertRaises(
            exceptions.GPUError, self.run_command, *arguments
        )
        self.assertEqual([], list((self.folder / 't').iterdir()))
        self.assertNotIn('\n', str(error))
        return str(error)


class TestRehearseConfig(CommandTestCase):
    def test_extra_that_is_missing(self) -> None:
        self.useFixture(
            fixtures.MonkeyPatch(
                'importlib.util.find_spec', lambda _name: None
            )
        )
        self.assertIn(
            "pip install 'python-gpuclient[rehearsal]'", self.refused()
        )

    def test_nothing_to_rehearse(self) -> None:
        (self.folder / 'nova.conf').unlink()
        self.assertEqual(
            f'No Nova configuration in {self.folder}: pass '
            'nova.conf files, YAML files, or folders that contain them',
            self.refused(),
        )

    def test_hosts_without_configuration(self) -> None:
        (self.folder / 'nova.conf').unlink()
        (self.folder / 'hosts.yaml').write_text(
            'host-0:\n  bootMACAddress: 52:54:00:00:00:01\n'
        )
        self.assertEqual(
            f'No service of Nova reads a file in {self.folder}',
            self.refused(),
        )

    def test_documents_that_cannot_be_read(self) -> None:
        """No cloud is started without documents."""
        (self.folder / 'nova.conf').write_text('[pci\n')
        status, output = self.run_command()
        self.assertEqual(3, status)
        (row,) = json.loads(output)
        self.assertEqual(
            ('document', 'nova.conf', 'unreadable', ['GPU300']),
            (row['Kind'], row['Name'], row['State'], row['Codes']),
        )

    def test_options(self) -> None:
        self.assertEqual(
            '--devices takes 1 to 64, not 0', self.refused('--devices', '0')
        )
        self.assertIn("Invalid device 'x'", self.refused('--device', 'x'))
        self.assertIn(
            "The configuration has no compute host 'x'",
            self.refused('--device', 'x=04:00.0,10de:20f1'),
        )
        self.assertIn(
            "Invalid name '/' of a rehearsal cloud",
            self.refused('--keep', '/'),
        )
        self.assertEqual(
            '--bound-to applies to a cloud that is kept: add --keep <name>, '
            'or omit --bound-to',
            self.refused('--bound-to', '1'),
        )

    def test_bound_to_a_process_that_does_not_exist(self) -> None:
        self.useFixture(
            fixtures.EnvironmentVariable('XDG_STATE_HOME', str(self.folder))
        )
        self.assertEqual(
            'Cannot bind the cloud to process 4194304: it does not exist',
            self.refused('--keep', 'lab', '--bound-to', '4194304'),
        )
        self.assertFalse((self.folder / 'gpuclient').exists())


class TestKeptCloud(CommandTestCase):
    """A cloud that is kept, in which no service responds."""

    def setUp(self) -> None:
        super().setUp()
        self.useFixture(
            fixtures.EnvironmentVariable('XDG_STATE_HOME', str(self.folder))
        )
        self.useFixture(
            fixtures.MonkeyPatch(
                'gpuclient.rehearsal.control.start', self.start
            )
        )

    def start(
        self,
        folder: state.StateFolder,
        document: typing.Any,
        say: object,
        bound_to: int | None,
        nova: release.Release | None,
    ) -> control.RehearsalCloud:
        self.bound_to = bound_to
        self.release = nova
        folder.create()
        with socket.create_server(('127.0.0.1', 0)) as server:
            port = server.getsockname()[1]
        service_files.ServiceFiles(
            folder,
            {'keystone': port},
            {'admin': 'x', 'member': 'x'},
            'rehearsal:///x',
        ).write_clouds_yaml()
        cloud_spec = spec_reader.read(document)
        services = [
            state.CloudProcess(name, host, state=state.READY)
            for name, host in (
                *((part.name, part.host) for part in cloud_spec.control_plane),
                *(('nova-compute', host.name) for host in cloud_spec.hosts),
            )
        ]
        supervisor = state.CloudProcess('supervisor', state=state.READY)
        return control.RehearsalCloud(
            folder,
            state.CloudRecord(folder.name, supervisor, services),
            running=True,
        )

    def test_run_that_fails(self) -> None:
        """The error names the cloud, which keeps running."""
        (self.folder / 'nova.conf').write_text(
            '[pci]\ndevice_spec = {"address": "0000:04:00.0"}\n'
        )
        error = self.refused(
            *('--keep', 'lab', '--bound-to', str(os.getpid())),
            *('--release', '2025.1'),
        )
        self.assertIn('Unable to establish connection', error)
        self.assertTrue(
            error.endswith(". Rehearsal cloud 'lab' keeps running"),
            error,
        )
        self.assertEqual(os.getpid(), self.bound_to)
        self.assertEqual(release.parse('31'), self.release)
