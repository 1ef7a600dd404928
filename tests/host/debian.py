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

"""A complete Debian to configure and boot, with dracut and initramfs-tools."""

import collections.abc
import contextlib
import os
import pathlib
import sysconfig
import tempfile

from gpuclient.documents.generate import host_files

from tests.host import machine
from tests.host import provide

_UNIT = """\
[Unit]
After=systemd-modules-load.service systemd-udev-settle.service
Wants=systemd-udev-settle.service
[Service]
Type=oneshot
ExecStart=/bin/sh /usr/local/sbin/gpu-test
"""
#: The root of this machine is mounted at /host, and the share at /gpu-share.
_TEST = """\
modprobe 9pnet_virtio
mkdir -p /host /gpu-share
mount -t 9p -o trans=virtio,version=9p2000.L,ro,cache=loose root /host
mount -t 9p -o trans=virtio,version=9p2000.L share /gpu-share
/bin/sh /gpu-share/run > /gpu-share/output 2>&1
echo $? > /gpu-share/status
dmesg > /gpu-share/dmesg
sync
poweroff --force
"""
#: Runs ``guest.py`` with Debian's Python; it needs no compiled modules.
READ = f"""
export PYTHONDONTWRITEBYTECODE=1
export PYTHONPATH=/host{machine.ROOT}:/host{sysconfig.get_path('purelib')}
python3 -m tests.host.guest /gpu-share/result"""
_FAST = 'compress="gzip -1 -n"\n'
_DISK_MB = 3072


class Debian:
    """Root folder of a host that can be changed, then booted from a disk."""

    def __init__(self, folder: pathlib.Path, root: pathlib.Path) -> None:
        self._folder = folder
        self.root = root
        self.release = provide.version(root / 'usr')
        self._boots = 0

    def write(self, *files: host_files.HostFile) -> None:
        """Write files to the host."""
        for file in files:
            target = self.root / file.path.lstrip('/')
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(file.content)
            target.chmod(file.mode)

    def run(self, *command: str) -> str:
        """Run a program in the root folder of the host."""
        return provide.inside(self.root, *command)

    def dracut(self, *options: str) -> pathlib.Path:
        """Build the initramfs with dracut; return it."""
        image = f'/boot/initramfs-{self.release}.img'
        self.run(
            'dracut',
            '--force',
            # The hardware is that of the virtual machine, not of this one.
            '--no-hostonly',
            '--kver',
            self.release,
            *options,
            image,
        )
        return self.root / image.lstrip('/')

    def initramfs_tools(self) -> pathlib.Path:
        """Build the initramfs with update-initramfs; return it."""
        self.run('update-initramfs', '-c', '-k', self.release)
        return self.root / 'boot' / f'initrd.img-{self.release}'

    def folder(self) -> pathlib.Path:
        """Return a new temporary folder for a boot."""
        self._boots += 1
        folder = self._folder / f'boot-{self._boots}'
        folder.mkdir()
        return folder

    def disk(
        self, folder: pathlib.Path, megabytes: int = _DISK_MB
    ) -> pathlib.Path:
        """Return an image of a disk with the root folder of the host."""
        disk = folder / 'disk'
        provide.run(
            'mke2fs',
            '-t',
            'ext4',
            '-d',
            os.fspath(self.root),
            os.fspath(disk),
            f'{megabytes}M',
        )
        return disk

    def boot(
        self,
        host: machine.Machine,
        initramfs: pathlib.Path,
        arguments: str,
        script: str = READ,
        share: pathlib.Path | None = None,
    ) -> machine.Boot:
        """Boot the host from its disk, as :func:`machine.start`."""
        folder = self.folder()
        return machine.start(
            machine.with_disk(host, self.disk(folder)),
            folder,
            initramfs,
            f'root=/dev/vda rw {arguments}',
            script,
            share,
        )


@contextlib.contextmanager
def prepared(
    *files: host_files.HostFile,
    lower: pathlib.Path | None = None,
) -> collections.abc.Iterator[Debian]:
    """Yield a Debian with some files added.

    :param lower: Root folder to start from; by default,
        :func:`provide.debian`.
    """
    lower = lower or provide.debian()
    with tempfile.TemporaryDirectory(prefix='gpu-debian-') as name:
        folder = pathlib.Path(name)
        for part in ('root', 'upper', 'work'):
            (folder / part).mkdir()
        root = folder / 'root'
        provide.run(
            'mount',
            '-t',
            'overlay',
            '-o',
            f'lowerdir={lower},upperdir={folder}/upper,workdir={folder}/work',
            'overlay',
            os.fspath(root),
        )
        try:
            host = Debian(folder, root)
            unit = '/etc/systemd/system/gpu-test.service'
            host.write(
                host_files.HostFile(unit, _UNIT),
                host_files.HostFile('/usr/local/sbin/gpu-test', _TEST),
                host_files.HostFile('/etc/dracut.conf.d/fast.conf', _FAST),
                *files,
            )
            wants = root / 'etc/systemd/system/multi-user.target.wants'
            wants.mkdir(exist_ok=True)
            (wants / 'gpu-test.service').symlink_to(unit)
            yield host
        finally:
            provide.run('umount', os.fspath(root))
