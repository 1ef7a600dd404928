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

import gzip
import io
import os

import fixtures

from gpuclient.operations import guest_check
from gpuclient.osc.v1 import guest
from tests.unit.osc.v1 import test_host

LOST = 'NVRM: Xid (PCI:0000:10:00): 79, pid=1, GPU has fallen off the bus.\n'
WARNING = 'NVRM: Xid (PCI:0000:10:00): 13, pid=1\n'
LOG = f"""\
[    0.000000] Linux version 6.8.0-31-generic (buildd@x) #31-Ubuntu SMP
[    0.000000] DMI: OpenStack Foundation OpenStack Nova, BIOS edk2 01/01/2024
[    0.400001] pci_bus 0000:00: root bus resource [mem 0x8000000000-0x87ffffffff]
[    0.500000] pci 0000:05:00.0: [10de:20f1] type 00 class 0x030200
[    0.500001] pci 0000:06:00.0: [10de:20f1] type 00 class 0x030200
[    0.600000] pci 0000:05:00.0: BAR 1: no space for [mem size 0x1000000000 64bit pref]
[   10.000000] NVRM: GPU 0000:06:00.0: RmInitAdapter failed! (0x62:0x65:1792)
[   11.000000] {WARNING}"""  # noqa: E501


class TestCheck(test_host.TestCase):
    def write(self, content: str | bytes, name: str = 'dmesg') -> str:
        path = self.folder / name
        if isinstance(content, str):
            content = content.encode()
        path.write_bytes(content)
        return os.fspath(path)

    def test_golden(self) -> None:
        rows = self.run_json(
            guest.CheckGuest, '--long', self.write(LOG), status=3
        )
        self.golden('guest_check', rows)

    def test_table(self) -> None:
        status, text = self.run_command(guest.CheckGuest, self.write(LOG))
        self.assertEqual(3, status)
        for phrase in ('GPU782', 'UNKNOWN', 'Device'):
            self.assertIn(phrase, text)

    def test_status(self) -> None:
        warning = self.write(WARNING)
        for arguments, status in (
            ((), 0),
            (('--fail-on', 'warning'), 3),
            (('--fail-on', 'none'), 0),
        ):
            self.run_json(guest.CheckGuest, warning, *arguments, status=status)
        lost = self.write(LOST)
        self.run_json(guest.CheckGuest, lost, status=3)
        self.run_json(guest.CheckGuest, lost, '--fail-on', 'none')

    def test_several_files(self) -> None:
        rows = self.run_json(
            guest.CheckGuest,
            self.write(WARNING.rstrip(), 'a'),
            self.write('05:00.0 3D controller: NVIDIA Corporation X\n', 'b'),
        )
        self.assertEqual(['WARN'], [row['Result'] for row in rows])

    def test_standard_input(self) -> None:
        for arguments in ((), ('-',)):
            with open(self.write(LOST), 'rb') as stream:
                text = io.TextIOWrapper(stream)
                self.useFixture(fixtures.MonkeyPatch('sys.stdin', text))
                rows = self.run_json(guest.CheckGuest, *arguments, status=3)
                text.detach()
            self.assertEqual('GPU791', rows[0]['Code'])
        self.useFixture(fixtures.MonkeyPatch('sys.stdin', None))
        self.assertIn('closed', self.refused(guest.CheckGuest))

    def test_compressed(self) -> None:
        path = self.write(gzip.compress(LOST.encode()), 'log.gz')
        rows = self.run_json(guest.CheckGuest, path, status=3)
        self.assertEqual('GPU791', rows[0]['Code'])
        damaged = self.write(gzip.compress(LOST.encode())[:-9], 'damaged.gz')
        self.assertIn('damaged.gz', self.refused(guest.CheckGuest, damaged))
        for magic in guest_check._PACKED:
            path = self.write(magic + b'x' * 100, 'packed')
            self.assertIn('expand it', self.refused(guest.CheckGuest, path))

    def test_bounded(self) -> None:
        """A small compressed file cannot keep the command busy forever."""
        self.useFixture(
            fixtures.MonkeyPatch(
                'gpuclient.operations.guest_check.MOST_BYTES', 3 << 20
            )
        )
        zeros = gzip.compress(LOST.encode() + bytes(8 << 20))
        rows = self.run_json(
            guest.CheckGuest, self.write(zeros, 'zeros.gz'), status=3
        )
        self.assertEqual('GPU791', rows[0]['Code'])
        self.assertIn('Only the first', self.log.output)

    def test_nothing(self) -> None:
        for content, message in (
            (b'', 'is empty'),
            (b'usb 1-1: new device\n', 'does not mention a GPU'),
            (
                b'amdgpu: Topology: Add CPU node\n',
                '1 message(s) of a GPU and its driver (amdgpu)',
            ),
            (bytes(range(256)) * 64, 'is not a text log'),
            (b'00:05.0 0302: 10de:20f1\n', 'lists 1 GPU'),
        ):
            path = self.write(content)
            self.assertIn(message, self.refused(guest.CheckGuest, path))

    def test_files_that_cannot_be_read(self) -> None:
        for path in (
            os.fspath(self.folder / 'missing'),
            os.fspath(self.folder),
        ):
            self.assertIn(
                f'Cannot read {path}', self.refused(guest.CheckGuest, path)
            )

    def test_names_of_a_terminal(self) -> None:
        """Nothing in a log or a name reaches the terminal as a code."""
        path = self.write(
            'NVRM: Xid (PCI:0000:10:00): 79, \x1b[2J\x9b31m\u202e\n',
            'a\x1b[2Jb',
        )
        _status, text = self.run_command(guest.CheckGuest, path)
        self.assertNotIn('\x1b', text)
        self.assertNotIn('\x9b', text)
        self.assertNotIn('\u202e', text)

    def test_of_a_host(self) -> None:
        self.run_json(
            guest.CheckGuest,
            self.write(
                'vfio-pci 0000:01:00.0: Unable to change power state from '
                'D3cold to D0, device inaccessible\n'
            ),
            status=3,
        )
        self.assertIn('gpu host check', self.log.output)

    def test_file_and_server(self) -> None:
        self.assertIn(
            'not both',
            self.refused(guest.CheckGuest, 'x', '--server', 'y'),
        )


class TestCreate(test_host.TestCase):
    def test_golden(self) -> None:
        record = self.run_json(
            guest.CreateGuestConfig,
            '--model',
            'nvidia_h100_sxm5_80gb',
            '--distribution',
            'ubuntu-24.04',
        )
        self.golden('guest_config_create', record)

    def test_document(self) -> None:
        arguments = ('--model', '10de:20f1', '--distribution', 'debian-12')
        status, text = self.run_command(guest.CreateGuestConfig, *arguments)
        self.assertEqual(0, status)
        self.assertTrue(text.startswith('#cloud-config\n'))
        status, script = self.run_command(
            guest.CreateGuestConfig, *arguments, '--script'
        )
        self.assertTrue(script.startswith('#!/bin/sh\n'))
        record = self.run_json(guest.CreateGuestConfig, *arguments)
        self.assertEqual(text, record['user_data'])
        self.assertEqual(script, record['script'])

    def test_refused(self) -> None:
        for arguments, message in (
            (('--model', 'nothing'), 'No model'),
            (('--model', 'a100'), 'matches'),
            (
                ('--model', 'nvidia_tesla_p40', '--modules', 'open'),
                'does not work with the open',
            ),
            (
                ('--model', 'nvidia_tesla_p40', '--secure-boot'),
                'Secure Boot',
            ),
        ):
            self.assertIn(
                message,
                self.refused(
                    guest.CreateGuestConfig,
                    *arguments,
                    '--distribution',
                    'debian-12',
                ),
            )
