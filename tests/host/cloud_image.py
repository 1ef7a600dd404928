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

"""A guest that cloud-init configures at its first boot and then reboots.

The guest is Debian 12 with cloud-init and the package of Debian's kernel, and
reaches the mirror of Debian through the network of QEMU. These are real: the
kernel, systemd, udev, cloud-init, apt, dkms, initramfs-tools, and the packages
that they install.

To save time, which software emulation multiplies by twenty to fifty:

* The compiler is replaced, which would run for hours. The same script runs in
  a chroot before, where dkms compiles the modules of NVIDIA, and ``make`` in
  the guest copies the result of that run.
* The image already has the headers of its kernel, dkms and the compiler.
* The initramfs has the drivers of the guest only.

The boot loader is QEMU, which starts the newest kernel of ``/boot`` with its
initramfs.
"""

import collections.abc
import contextlib
import dataclasses
import json
import os
import pathlib
import re
import shutil
import typing

from gpuclient.documents.generate import guest_user_data
from gpuclient.documents.generate import host_files

from tests.host import debian
from tests.host import device
from tests.host import machine
from tests.host import provide

State = dict[str, typing.Any]
_DISK_MB = 8192
#: Where the guest finds the user data, as from a drive labelled cidata.
_SEED = '/var/lib/cloud/seed/nocloud'
_MODULES = '/srv/modules'
CARD = '0000:00:07.0'
GUEST = machine.Machine(
    cards=(device.Device(address='7.0'),),
    iommu=None,
    network=True,
    memory_mb=2048,
    # It installs packages in software emulation.
    timeout=7200,
)
#: With what builds modules, to save time.
_PACKAGES = ('cloud-init', 'linux-image-amd64', 'linux-headers-amd64', 'dkms')
#: As in Debian's image.
_SOURCES = """\
deb http://deb.debian.org/debian bookworm main
deb http://deb.debian.org/debian bookworm-updates main
deb http://deb.debian.org/debian-security bookworm-security main
"""
#: Without what only takes time: the address comes from systemd-networkd, and
#: there is one SSH key.
_CLOUD = """\
datasource_list: [NoCloud]
network: {config: disabled}
locale: C.UTF-8
ssh_genkeytypes: [ed25519]
"""
#: Of the image: an initramfs with the drivers of all hardware, which is the
#: default, takes half an hour, and is made four times.
_SETTINGS = {
    'etc/apt/sources.list': _SOURCES,
    'etc/apt/apt.conf.d/99languages': 'Acquire::Languages "none";\n',
    'etc/initramfs-tools/conf.d/small': """\
MODULES=list
COMPRESS=gzip
COMPRESSLEVEL=1
""",
    'etc/initramfs-tools/modules': """\
crc32c_generic
ext4
virtio_blk
virtio_pci
""",
}
_NETWORK = """\
[Match]
Type=ether
[Network]
DHCP=ipv4
"""
_MAKE = f"""\
#!/bin/sh
# The modules of NVIDIA were compiled before, outside of the guest.
for argument in "$@"; do
    case "$PWD $argument" in
    /var/lib/dkms/*' KERNEL_UNAME='*)
        echo 'copied, not compiled'
        exec cp "{_MODULES}/${{argument#*=}}/"*.ko . ;;
    esac
done
exec /usr/bin/make.distrib "$@"
"""
_FIRST = '/var/lib/gpu-test-first-boot'
_STATE = f"""\
import json, os, pathlib, subprocess, sys
def output(*command):
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    return done.stdout
def read(path):
    path = pathlib.Path(path)
    return path.read_text(errors='replace') if path.exists() else ''
alias = read('/sys/bus/pci/devices/{CARD}/modalias').strip()
state = {{
    'kernel': os.uname().release,
    'modules': [
        line.split()[0] for line in read('/proc/modules').splitlines()
    ],
    'matching': output(
        'modprobe', '--config=/dev/null', '--resolve-alias', alias
    ).split(),
    'loading': output('modprobe', '-b', '-n', '-v', alias),
    'blacklist': read('{guest_user_data.BLACKLIST}'),
    'done': os.path.exists('{guest_user_data.DONE}'),
    'jobs': output('systemctl', 'list-jobs', '--no-legend'),
    'cloud-init': read('/run/cloud-init/status.json'),
    'log': read('/var/log/cloud-init-output.log'),
    'apt': read('/var/log/apt/history.log'),
    'dkms': output('dkms', 'status'),
    'messages': output('dmesg'),
    'uptime': float(read('/proc/uptime').split()[0]),
}}
with open(sys.argv[1], 'w') as file:
    json.dump(state, file)
"""
#: Keeps the state when the guest shuts down for the first time.
_KEEP = f"""\
[Unit]
ConditionPathExists=!{_FIRST}
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/true
ExecStop=/usr/bin/python3 /usr/local/sbin/gpu-state {_FIRST}
TimeoutStopSec=infinity
"""
#: Powers the guest off if cloud-init does not reboot it.
_GIVE_UP = f"""\
[Unit]
After=cloud-final.service
ConditionPathExists=!{_FIRST}
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'test -e {guest_user_data.DONE} \
|| systemctl --no-block poweroff'
"""
#: The test service of :mod:`debian` runs in the second boot only.
_SECOND = f"""\
[Unit]
ConditionPathExists={_FIRST}
"""
_REPORT = 'python3 /usr/local/sbin/gpu-state /gpu-share/result\n'
_ARGUMENTS = 'root=/dev/vda rw'
#: The kernel writes it to the console before it resets the machine.
_RESTART = 'reboot: Restarting system'
_UNITS = '/etc/systemd/system'
_FILES = (
    host_files.HostFile(f'{_SEED}/meta-data', 'instance-id: guest\n'),
    host_files.HostFile('/etc/cloud/cloud.cfg.d/99.cfg', _CLOUD),
    host_files.HostFile('/etc/systemd/network/10.network', _NETWORK),
    host_files.HostFile('/usr/local/sbin/gpu-state', _STATE),
    host_files.HostFile(f'{_UNITS}/gpu-keep.service', _KEEP),
    host_files.HostFile(f'{_UNITS}/gpu-give-up.service', _GIVE_UP),
    host_files.HostFile(f'{_UNITS}/gpu-test.service.d/second.conf', _SECOND),
)
_WANTS = {
    'gpu-keep.service': 'multi-user.target',
    'gpu-give-up.service': 'cloud-init.target',
}


def image() -> pathlib.Path:
    """Return the root folder of a Debian with cloud-init and its kernel."""
    source = provide.debian()
    recipe = provide.digest(source.name, *_PACKAGES, *_SETTINGS.values())
    return provide.make(
        f'cloud-{recipe}', lambda folder: _make_image(folder, source)
    )


def _make_image(folder: pathlib.Path, source: pathlib.Path) -> None:
    provide.run('cp', '--archive', f'{source}/.', os.fspath(folder))
    # The kernel of the package in their place.
    for path in (*folder.glob('boot/*'), *folder.glob('usr/lib/modules/*')):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for name, content in _SETTINGS.items():
        (folder / name).write_text(content)
    for command in (
        ('update',),
        ('install', '--yes', '--no-install-recommends', *_PACKAGES),
        ('clean',),
    ):
        provide.inside(folder, 'apt-get', *command)


def modules(script: str) -> pathlib.Path:
    """Return a folder with the modules that a script builds, by kernel.

    They are compiled again if the archive has another version of them or of
    the kernel.
    """
    before, _update, _rest = script.partition('flavor=')
    with debian.prepared(lower=image()) as guest:
        guest.run('sh', '-c', before)
        policy = guest.run(
            'apt-cache', 'policy', 'nvidia-kernel-dkms', 'linux-image-amd64'
        )
        candidates = re.findall(r'Candidate: (\S+)', policy)
        return provide.make(
            f'modules-{provide.digest(script, *candidates)}',
            lambda folder: _make_modules(folder, guest, script),
        )


def _make_modules(
    folder: pathlib.Path, guest: debian.Debian, script: str
) -> None:
    guest.run('sh', '-c', script)
    # By their names before dkms renames them: nvidia-current-drm.ko.
    for kernel in (guest.root / 'usr/lib/modules').iterdir():
        for path in kernel.glob('updates/dkms/nvidia-current*.ko'):
            target = folder / kernel.name / path.name.replace('-current', '')
            target.parent.mkdir(exist_ok=True)
            shutil.copy(path, target)


@contextlib.contextmanager
def prepared(
    user_data: str, compiled: pathlib.Path
) -> collections.abc.Iterator[debian.Debian]:
    """Yield a guest with user data.

    :param compiled: Folder with modules by kernel, which ``make`` copies.
    """
    with debian.prepared(
        *_FILES,
        host_files.HostFile(f'{_SEED}/user-data', user_data),
        lower=image(),
    ) as guest:
        shutil.copytree(compiled, guest.root / _MODULES.lstrip('/'))
        # dkms does not search for programs in /usr/local/bin.
        guest.run('dpkg-divert', '--local', '--rename', '/usr/bin/make')
        guest.write(host_files.HostFile('/usr/bin/make', _MAKE, 0o755))
        for unit, target in _WANTS.items():
            wants = guest.root / f'{_UNITS}/{target}.wants'.lstrip('/')
            wants.mkdir(exist_ok=True)
            (wants / unit).symlink_to(f'{_UNITS}/{unit}')
        guest.run('systemctl', 'enable', 'systemd-networkd.service')
        # The name server of QEMU's network.
        (guest.root / 'etc/resolv.conf').write_text('nameserver 10.0.2.3\n')
        yield guest


def boot_twice(guest: debian.Debian) -> tuple[State, State]:
    """Boot until the guest reboots itself, then again from its disk.

    :returns: The state when it shut down to reboot, and that of the second
        boot.
    :raises machine.BootFailed: The guest did not reboot.
    """
    folder = guest.folder()
    disk = guest.disk(folder, _DISK_MB)
    host = dataclasses.replace(machine.with_disk(GUEST, disk), keeps_disk=True)
    first, second = folder / 'first', folder / 'second'
    share = first / 'share'
    share.mkdir(parents=True)
    console = machine.launch(
        host, first, *_kernel(disk, first), _ARGUMENTS, share
    )
    state = _read_first(disk)
    if _RESTART not in console:
        raise machine.BootFailed(
            f'the guest did not reboot:\n{console}\n{state.get("log")}'
        )
    second.mkdir()
    kernel, initramfs = _kernel(disk, second)
    boot = machine.start(
        host, second, initramfs, _ARGUMENTS, _REPORT, kernel=kernel
    )
    return state, boot.result


def _kernel(
    disk: pathlib.Path, folder: pathlib.Path
) -> tuple[pathlib.Path, pathlib.Path]:
    """Copy the newest kernel of a disk and its initramfs; return them."""
    provide.run('debugfs', '-R', f'rdump /boot {folder}', os.fspath(disk))
    kernel = max(
        (folder / 'boot').glob('vmlinuz-*'),
        key=lambda path: [int(part) for part in re.findall(r'\d+', path.name)],
    )
    release = kernel.name.removeprefix('vmlinuz-')
    return kernel, kernel.with_name(f'initrd.img-{release}')


def _read_first(disk: pathlib.Path) -> State:
    """Return the state at the end of the first boot; empty without one."""
    text = provide.run('debugfs', '-R', f'cat {_FIRST}', os.fspath(disk))
    state: State = json.loads(text) if text else {}
    return state
