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

import random

import testtools

from gpuclient.model import guest_log

Kind = guest_log.Kind
LOST = 'NVRM: Xid (PCI:0000:10:00): 79, pid=1, GPU has fallen off the bus.'
LISTED = """\
00:00.0 Host bridge [0600]: Intel Corporation 82G33 [8086:29c0]
00:05.0 3D controller [0302]: NVIDIA Corporation GA100 [10de:20f1] (rev a1)
	Subsystem: NVIDIA Corporation Device [10de:145f]
	Region 1: Memory at <unassigned> (64-bit, prefetchable)
	Kernel driver in use: nouveau
	Kernel modules: nouveau

00:06.0 SCSI storage controller [0100]: Red Hat, Inc. [1af4:1001]
	Kernel driver in use: virtio-pci
"""
KERNEL = """\
[    0.000000] Linux version 6.8.0-31-generic (buildd@x) #31-Ubuntu SMP
[    0.000000] efi: EFI v2.7 by EDK II
[    0.000000] DMI: OpenStack Foundation OpenStack Nova, BIOS edk2 01/01/2024
[    0.400000] pci_bus 0000:00: root bus resource [mem 0x80000000-0xfebfffff]
[    0.400001] pci_bus 0000:00: root bus resource [mem 0x8000000000-0xffffffffff]
[    0.500000] pci 0000:00:05.0: [10de:20f1] type 00 class 0x030200
[    0.600000] pci 0000:00:05.0: BAR 1: no space for [mem size 0x1000000000 64bit pref]
[    0.700000] pci 0000:00:05.0: BAR 3: no space for [mem size 0x2000000 64bit pref]
[    0.800000] pci 0000:00:05.0: BAR 3: assigned [mem 0x8000000000-0x8001ffffff 64bit pref]
"""  # noqa: E501


def read(text: str | bytes, size: int | None = None) -> guest_log.GuestLog:
    content = text.encode() if isinstance(text, str) else text
    size = size or len(content) or 1
    return guest_log.read(
        content[start : start + size] for start in range(0, len(content), size)
    )


class TestRead(testtools.TestCase):
    def test_kernel(self) -> None:
        log = read(KERNEL)
        self.assertEqual(((1 << 39, (1 << 40) - 1),), log.windows)
        self.assertTrue(log.is_uefi)
        self.assertIn('OpenStack Nova', log.machine)
        (bar,) = log.bars
        self.assertEqual(
            ('0000:00:05.0', 1, 64 << 30, True, 7),
            (bar.device, bar.number, bar.size, bar.is_large, bar.line),
        )
        (device,) = log.gpus
        self.assertEqual('20f1', device.product_id)

    def test_list(self) -> None:
        log = read(LISTED)
        (device,) = log.devices
        self.assertEqual('nouveau', device.driver)
        self.assertEqual(1, len(device.unassigned))
        self.assertTrue(log.shows_drivers)
        self.assertTrue(log.has_lspci)
        self.assertEqual(2, device.line)

    def test_lists_of_numbers(self) -> None:
        (device,) = read('0000:00:04.0 0302: 10de:20b0 (rev ff)\n').devices
        self.assertEqual('0000:00:04.0', device.address)
        self.assertTrue(device.is_lost)

    def test_list_without_numbers(self) -> None:
        (device,) = read(
            '01:00.0 Display controller: Advanced Micro Devices, Inc. '
            '[AMD/ATI] Aldebaran/MI200 (rev 02)\n'
        ).gpus
        self.assertEqual('1002', device.vendor_id)

    def test_pieces_of_any_size(self) -> None:
        text = KERNEL + LISTED + LOST + '\r\n' + KERNEL.replace('\n', '\r\n')
        whole = read(text)
        for size in (1, 2, 3, 7, 64, 1000):
            self.assertEqual(whole, read(text, size), size)

    def test_last_boot(self) -> None:
        """Failures of an earlier boot are not those of the last."""
        log = read(f'{LOST}\n{KERNEL}')
        self.assertEqual((), log.of(Kind.XID))
        log = read(f'{KERNEL}{LOST}\nLinux version 6.8.0 (output of uname)\n')
        self.assertEqual(1, len(log.of(Kind.XID)))

    def test_bug_report(self) -> None:
        """It has the last boot first."""
        log = read(f'nvidia-bug-report.sh Version: 1\n{LOST}\n{KERNEL}')
        self.assertEqual(1, len(log.of(Kind.XID)))

    def test_prefixes(self) -> None:
        for prefix in (
            '',
            '[ 1.5] ',
            '<3>[    1.500000] ',
            '[Mon Nov 23 10:00:00 2026] ',
            'Nov 23 10:00:00 vm kernel: ',
            '2026-11-23T10:00:00.000000+00:00 vm kernel: [    1.500000] ',
            '\x1b[0;1;31m[ 1.5] ',
            '[0;1;31m',
        ):
            (event,) = read(f'{prefix}{LOST}').events
            self.assertEqual(
                ('0000:10:00.0', '79'), (event.device, event.value('xid'))
            )

    def test_escape_codes_within_words(self) -> None:
        """As grep --color writes them."""
        text = LOST.replace('NVRM', 'NV\x1b[01;31m\x1b[KRM\x1b[m\x1b[K')
        self.assertEqual(1, len(read(text).events))

    def test_encodings(self) -> None:
        for encoding in ('utf-16', 'utf-16-le', 'utf-8-sig', 'latin-1'):
            log = read(LOST.encode(encoding))
            self.assertEqual(1, len(log.of(Kind.XID)), encoding)
        self.assertEqual(1, len(read(b'\xff\xfe\x80' + LOST.encode()).events))

    def test_domains(self) -> None:
        (event,) = read(LOST.replace('0000:10:00', '0000000A:10:00')).events
        self.assertEqual('000a:10:00.0', event.device)

    def test_counts(self) -> None:
        (event,) = read(f'{LOST}\n' * 1000).events
        self.assertEqual((1, 1000), (event.line, event.count))

    def test_bounded(self) -> None:
        """What is remembered does not grow with the log."""
        xids = ''.join(
            f'NVRM: Xid (PCI:{number:04x}:10:00): {number}, x\n'
            for number in range(5000)
        )
        self.assertEqual(2000, len(read(xids).events))
        devices = ''.join(
            f'{number:04x}:00:00.0 0302: 10de:20f1\n' for number in range(5000)
        )
        self.assertEqual(2000, len(read(devices).devices))
        (event,) = read(LOST + 'x' * 1_000_000).events
        self.assertLessEqual(len(event.text), 200)

    def test_line_without_end(self) -> None:
        log = read(b'x' * 5_000_000 + b'\n' + LOST.encode(), 65536)
        self.assertEqual(1, len(log.events))

    def test_random_bytes(self) -> None:
        source = random.Random(5)
        for size in (0, 1, 100, 100_000):
            content = source.randbytes(size)
            log = read(content, 4096)
            self.assertEqual((size, ()), (log.bytes, log.events))
        self.assertGreater(log.binary, 0.05)
        self.assertEqual(0, read(KERNEL).binary)

    def test_random_lines(self) -> None:
        """No order of lines and no damage raises an exception."""
        source = random.Random(6)
        lines = [*KERNEL.split('\n'), *LISTED.split('\n'), LOST]
        for _number in range(300):
            chosen = source.choices(lines, k=20)
            text = '\n'.join(
                line[: source.randrange(len(line) + 1)]
                if source.random() < 0.3
                else line
                for line in chosen
            )
            read(text, source.randrange(1, 200))
