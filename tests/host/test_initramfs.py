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

"""Initramfs images that zstd and lz4 compressed."""

import os
import pathlib
import subprocess

import ddt
import fixtures
import testtools

from gpuclient.host import reader
from gpuclient.model import host

from tests.host import provide

_RELEASE = '6.1.0-56-amd64'
_FILES = (
    f'usr/lib/modules/{_RELEASE}/kernel/drivers/vfio/pci/vfio-pci.ko',
    f'usr/lib/modules/{_RELEASE}/kernel/drivers/gpu/drm/nouveau/nouveau.ko.xz',
    'scripts/functions',
)


@ddt.ddt
class TestInitramfs(testtools.TestCase):
    """The compressed archive follows one with microcode, uncompressed."""

    def setUp(self) -> None:
        super().setUp()
        self.root = pathlib.Path(self.useFixture(fixtures.TempDir()).path)

    def packed(self, *names: str) -> bytes:
        """Return an archive of files of one megabyte each."""
        folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        for name in names:
            path = folder / name
            path.parent.mkdir(parents=True)
            path.write_bytes(os.urandom(1 << 20))
        return provide.pack(folder)

    # With the options of mkinitramfs and dracut.
    @ddt.data('zstd -q -19 -T0', 'zstd -q -1 --no-check', 'lz4 -9 -l')
    def test_compressed(self, command: str) -> None:
        early = self.packed('kernel/x86/microcode/GenuineIntel.bin')
        done = subprocess.run(
            [*command.split(), '-c'],
            input=self.packed(*_FILES),
            stdout=subprocess.PIPE,
            check=True,
        )
        image = self.root / f'boot/initrd.img-{_RELEASE}'
        image.parent.mkdir()
        image.write_bytes(early + done.stdout)
        release = self.root / 'proc/sys/kernel/osrelease'
        release.parent.mkdir(parents=True)
        release.write_text(f'{_RELEASE}\n')
        self.assertEqual(
            host.Initramfs(
                f'/boot/initrd.img-{_RELEASE}',
                frozenset({'vfio_pci', 'nouveau'}),
                maker='initramfs-tools',
            ),
            reader.read(os.fspath(self.root)).initramfs,
        )
