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

"""Tables with sentences on a terminal."""

import fcntl
import os
import pathlib
import pty
import struct
import subprocess
import sys
import termios

import fixtures
import testtools

_COMMAND = (sys.executable, '-m', 'openstackclient.shell', 'gpu')


class TestWidth(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.conf = folder / 'nova.conf'
        self.conf.write_text('[pci]\nalias = {"name": "a"}\n')

    def check(self, stdout: int) -> bytes:
        return subprocess.run(
            (*_COMMAND, 'config', 'check', os.fspath(self.conf)),
            stdout=stdout,
            stderr=subprocess.DEVNULL,
            check=False,
        ).stdout

    def test_terminal(self) -> None:
        main, terminal = pty.openpty()
        self.addCleanup(os.close, main)
        self.addCleanup(os.close, terminal)
        size = struct.pack('HHHH', 24, 80, 0, 0)
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, size)
        self.check(terminal)
        lines = os.read(main, 65536).decode().splitlines()
        self.assertIn('GPU301', ''.join(lines))
        self.assertEqual({80}, {len(line) for line in lines if line})

    def test_no_terminal(self) -> None:
        lines = self.check(subprocess.PIPE).decode().splitlines()
        self.assertGreater(len(lines[0]), 80)
