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

"""Standard input and output, as real processes have them."""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import testtools

SCRIPT = """\
import argparse, logging, sys, unittest.mock
from gpuclient import exceptions
from gpuclient.osc.v1 import device_spec
app = unittest.mock.Mock()
app.stdout, app.stderr = sys.stdout, sys.stderr
app.cloud_config.get_one.side_effect = ValueError('no cloud')
shown = device_spec.CreateDeviceSpec(app, argparse.Namespace())
parsed = shown.get_parser('x').parse_args(
    ['--address', '0000:04:00.0', '--vendor-id', '10de', *sys.argv[1:]]
)
try:
    sys.exit(shown.run(parsed))
except BrokenPipeError:
    sys.exit(141)
except exceptions.GPUError as exc:
    sys.stderr.write(f'{exc}\\n')
    sys.exit(1)
"""
TEXT = '# \u00e9\u4e2d\n[pci]\nreport_in_placement = True\n'


class TestStreams(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        self.path = self.folder / 'nova-\u00e9.conf'
        self.path.write_text(TEXT)

    def run_script(
        self,
        command: str,
        *arguments: str,
        stdin: bytes = b'',
        stdout: int = subprocess.PIPE,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command of this package in a shell, with an ASCII locale."""
        script = self.folder / 'script.py'
        script.write_text(SCRIPT)
        return subprocess.run(
            [
                *('sh', '-c', f'"$0" "$@" {command}', sys.executable, script),
                *arguments,
            ],
            input=stdin,
            stdout=stdout,
            stderr=subprocess.PIPE,
            env={
                **os.environ,
                'LC_ALL': 'C',
                'PYTHONUTF8': '0',
                'PYTHONCOERCECLOCALE': '0',
                'PYTHONIOENCODING': 'ascii',
                'PYTHONPATH': os.pathsep.join(filter(None, sys.path)),
            },
        )

    def test_a_column_that_is_not_there(self) -> None:
        """The file has been written by then, and the error says so."""
        done = self.run_script(
            '', '--compute-config', str(self.path), '-c', 'x'
        )
        self.assertEqual(1, done.returncode)
        self.assertIn(b'No recognized column names', done.stderr)
        self.assertIn(b'These files are already changed: ', done.stderr)
        self.assertIn('device_spec', self.path.read_text())

    def test_bytes_stay_bytes(self) -> None:
        for text in (TEXT, TEXT.replace('\n', '\r\n'), f'\ufeff{TEXT}'):
            done = self.run_script('', '--config', '-', stdin=text.encode())
            self.assertEqual(0, done.returncode, done.stderr)
            added = [
                line
                for line in done.stdout.splitlines(keepends=True)
                if b'device_spec' not in line
            ]
            self.assertEqual(text.encode(), b''.join(added))

    def test_ascii(self) -> None:
        done = self.run_script('', '--config', os.fspath(self.path))
        self.assertEqual(0, done.returncode, done.stderr)
        self.assertIn(b'device_spec', done.stdout)
        self.assertIn('device_spec', self.path.read_text())

    def test_closed_and_full(self) -> None:
        for command, reason in (
            ('>&-', b'it is closed'),
            ('>/dev/full', b'No space left on device'),
        ):
            self.path.write_text(TEXT)
            done = self.run_script(command, '--config', os.fspath(self.path))
            self.assertEqual(1, done.returncode, command)
            (line,) = done.stderr.splitlines()
            self.assertIn(b'Cannot write to standard output: ' + reason, line)
            self.assertIn(b'These files are already changed: ', line)
            self.assertIn('device_spec', self.path.read_text())

    def test_reader_that_ends(self) -> None:
        """The shell has a status for it; a changed file is still named."""
        path = self.folder / 'nova.conf'
        for arguments, lines in (
            (('--config', '-'), b''),
            (
                ('--config', str(path)),
                f'These files are already changed: {path}\n'.encode(),
            ),
        ):
            path.write_text(TEXT)
            reader, writer = os.pipe()
            os.close(reader)
            self.addCleanup(os.close, writer)
            done = self.run_script(
                '', *arguments, stdin=TEXT.encode(), stdout=writer
            )
            self.assertEqual(141, done.returncode)
            self.assertEqual(lines, done.stderr)

    def test_closed_input(self) -> None:
        done = self.run_script('<&-', '--config', '-')
        self.assertEqual(1, done.returncode)
        self.assertEqual(b'Cannot read <stdin>: it is closed\n', done.stderr)
