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

"""What a boot needs: programs, Debian's kernel, a small initramfs.

Programs are installed, with apt, where they are not there. The kernel is
unpacked into a cache, not installed: ``GPUCLIENT_HOST_CACHE``, by default
``$XDG_CACHE_HOME/gpuclient/host-tests``.
"""

import collections.abc
import contextlib
import fcntl
import gzip
import hashlib
import os
import pathlib
import shutil
import subprocess
import tempfile

CACHE = 'GPUCLIENT_HOST_CACHE'
_QEMU = 'qemu-system-x86_64'
#: A program of each package.
_PACKAGES = {
    'qemu-system-x86': _QEMU,
    'busybox-static': 'busybox',
    'cpio': 'cpio',
    'kmod': 'modprobe',
    'zstd': 'zstd',
    'lz4': 'lz4',
}
#: Has x-pci-proxy-dev; QEMU 10.0 crashes with it.
_QEMU_VERSION = 'version 7.2.'
_KERNEL = 'linux-image-amd64'
_RELEASE = 'bookworm'
#: Of a Debian to boot, beside what is essential: what makes an initramfs,
#: and what reads and changes hosts in the tests.
_DEBIAN_PACKAGES = (
    'ansible-core',
    'dracut-core',
    'initramfs-tools',
    'kmod',
    'libvirt-clients',
    'libvirt-daemon-system',
    'pciutils',
    'python3',
    'systemd-sysv',
    'udev',
    'zstd',
)
#: Beside those, of a compute host and of the broker of its cloud.
_COMPUTE_PACKAGES = (
    'grub2-common',
    'libvirt-daemon-driver-qemu',
    'python3-libvirt',
    'qemu-system-x86',
    'qemu-utils',
    'rabbitmq-server',
    'tuned',
)
_COMPUTE_SERVICES = ('epmd.socket', 'rabbitmq-server.service', 'tuned.service')
_LIBVIRT = ('libvirtd.service', 'libvirtd.socket', 'libvirt-guests.service')
_INIT = pathlib.Path(__file__).parent / 'init'
#: In the initramfs, with all that they need: what mounts the root file
#: system, vfio, and the drivers that could claim a device of a test.
_MODULES = (
    '9p',
    '9pnet_virtio',
    'virtio_pci',
    'overlay',
    'vfio-pci',
    'vfio_iommu_type1',
    'pci-stub',
    'nouveau',
    'snd-hda-intel',
    'nvme',
)


class CannotProvide(Exception):
    """What is missing, and why it could not be had; one line."""


def cache() -> pathlib.Path:
    """Return the folder of what is kept between runs."""
    base = os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')
    folder = pathlib.Path(
        os.environ.get(CACHE) or f'{base}/gpuclient/host-tests'
    )
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def programs(packages: dict[str, str] = _PACKAGES) -> None:
    """Install what is not there.

    :raises CannotProvide: It cannot be installed, or QEMU is another.
    """
    if os.geteuid():
        raise CannotProvide(
            'tests of the host need root: they share / with a virtual machine'
        )
    missing = [
        package
        for package, program in packages.items()
        if shutil.which(program) is None
    ]
    if missing:
        _apt('update', '--quiet')
        _apt('install', '--yes', '--no-install-recommends', *missing)
    version = run(_QEMU, '--version')
    if _QEMU_VERSION not in version:
        raise CannotProvide(
            'tests of the host need QEMU 7.2, that of Debian 12, for its '
            f'x-pci-proxy-dev; here is {version.splitlines()[0]}'
        )


def _apt(*arguments: str) -> None:
    run(
        'apt-get',
        '--option=DPkg::Lock::Timeout=600',
        *arguments,
        environment={'DEBIAN_FRONTEND': 'noninteractive'},
    )


def run(
    *command: str,
    cwd: pathlib.Path | None = None,
    environment: dict[str, str] | None = None,
) -> str:
    """Run a program and return its output.

    :raises CannotProvide: It failed, with its last words.
    """
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            cwd=cwd,
            env={**os.environ, **(environment or {})},
        )
    except OSError as exc:
        raise CannotProvide(f'cannot run {command[0]}: {exc}') from exc
    if done.returncode:
        words = (done.stderr or done.stdout).strip().splitlines() or ['']
        raise CannotProvide(
            f'{" ".join(command)} ended with {done.returncode}: {words[-1]}'
        )
    return done.stdout


def make(
    name: str, maker: collections.abc.Callable[[pathlib.Path], None]
) -> pathlib.Path:
    """Return a folder of the cache, made by the first who asks.

    It is there whole or not at all.
    """
    folder = cache() / name
    if folder.exists():
        return folder
    with open(cache() / 'lock', 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            kind, _dash, _recipe = name.partition('-')
            for old in cache().glob(f'{kind}-*'):
                shutil.rmtree(old)
            temporary = pathlib.Path(tempfile.mkdtemp(dir=cache()))
            try:
                temporary.chmod(0o755)
                maker(temporary)
                temporary.rename(folder)
            finally:
                with contextlib.suppress(FileNotFoundError):
                    shutil.rmtree(temporary)
    return folder


def kernel() -> pathlib.Path:
    """Return a folder with Debian's kernel: ``boot``, ``lib/modules``.

    It is the one that the archive has when it is first asked.
    """
    return make('kernel', _unpack_kernel)


def _unpack_kernel(folder: pathlib.Path) -> None:
    _apt('update', '--quiet')
    lines = run('apt-cache', 'depends', _KERNEL).splitlines()
    (package,) = (
        line.split()[-1] for line in lines if 'Depends: linux-image' in line
    )
    # apt leaves root for this, and could not write here.
    run(
        'apt-get',
        '--option=APT::Sandbox::User=root',
        'download',
        package,
        cwd=folder,
    )
    (archive,) = folder.glob('*.deb')
    run('dpkg-deb', '--extract', os.fspath(archive), os.fspath(folder))
    archive.unlink()
    run('depmod', '--basedir', os.fspath(folder), version(folder))


def version(folder: pathlib.Path) -> str:
    """Return the version of the kernel in a folder."""
    (modules,) = (folder / 'lib' / 'modules').iterdir()
    return modules.name


def initramfs() -> pathlib.Path:
    """Return the file of the initramfs that all fast boots share."""
    source = kernel()
    recipe = _recipe(version(source), *_MODULES, _INIT.read_text())
    folder = make(
        f'initramfs-{recipe}', lambda folder: _make_initramfs(folder, source)
    )
    return folder / 'initrd.gz'


def _make_initramfs(folder: pathlib.Path, source: pathlib.Path) -> None:
    release = version(source)
    tree = folder / 'tree'
    for name in ('bin', 'sbin', 'proc', 'sys', 'dev', 'etc', 'tmp', 'case'):
        (tree / name).mkdir(parents=True)
    _copy(shutil.which('busybox'), tree / 'bin' / 'busybox')
    kmod = os.path.realpath(shutil.which('modprobe') or '')
    _copy(kmod, tree / 'bin' / 'kmod')
    for word in run('ldd', kmod).split():
        if word.startswith('/'):
            _copy(word, tree / word.lstrip('/'))
    _copy(os.fspath(_INIT), tree / 'init')
    modules: set[str] = set()
    for module in _MODULES:
        needed = run(
            'modprobe',
            f'--dirname={source}',
            f'--set-version={release}',
            # Of the machine's own configuration nothing counts.
            '--config=/dev/null',
            '--show-depends',
            module,
        )
        modules.update(
            line.split()[1]
            for line in needed.splitlines()
            if line.startswith('insmod ')
        )
    for path in modules:
        _copy(path, tree / os.path.relpath(path, source))
    for path in (source / 'lib' / 'modules' / release).glob('modules.b*'):
        _copy(os.fspath(path), tree / path.relative_to(source))
    order = f'lib/modules/{release}/modules.order'
    _copy(os.fspath(source / order), tree / order)
    run('depmod', '--basedir', os.fspath(tree), release)
    (folder / 'initrd.gz').write_bytes(gzip.compress(pack(tree), 1))
    shutil.rmtree(tree)


def _copy(source: str | None, target: pathlib.Path) -> None:
    assert source is not None
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)


def pack(tree: pathlib.Path) -> bytes:
    """Return an archive of a tree that the kernel unpacks at boot."""
    names = [
        '.',
        *(os.fspath(one.relative_to(tree)) for one in sorted(tree.rglob('*'))),
    ]
    done = subprocess.run(
        ['cpio', '--create', '--format=newc', '--quiet', '--owner=0:0'],
        input=''.join(f'{name}\n' for name in names).encode(),
        capture_output=True,
        check=True,
        cwd=tree,
    )
    return done.stdout


def debian() -> pathlib.Path:
    """Return the root of a Debian, with the kernel's modules."""
    programs({'debootstrap': 'debootstrap', 'e2fsprogs': 'mke2fs'})
    source = kernel()
    recipe = _recipe(version(source), *_DEBIAN_PACKAGES, *_LIBVIRT)
    return make(
        f'debian-{recipe}', lambda folder: _make_debian(folder, source)
    )


def compute() -> pathlib.Path:
    """Return the root of a Debian that has what nova-compute asks for."""
    source = debian()
    recipe = _recipe(source.name, *_COMPUTE_PACKAGES, *_COMPUTE_SERVICES)
    return make(
        f'compute-{recipe}', lambda folder: _make_compute(folder, source)
    )


def _make_compute(folder: pathlib.Path, source: pathlib.Path) -> None:
    run('cp', '--archive', f'{source}/.', os.fspath(folder))
    for command in (
        ('update',),
        ('install', '--yes', '--no-install-recommends', *_COMPUTE_PACKAGES),
        ('clean',),
    ):
        inside(folder, 'apt-get', *command)
    inside(folder, 'systemctl', 'disable', *_COMPUTE_SERVICES)


def _recipe(*parts: str) -> str:
    return hashlib.sha256('\n'.join(parts).encode()).hexdigest()[:12]


def _make_debian(folder: pathlib.Path, source: pathlib.Path) -> None:
    run('debootstrap', '--variant=minbase', _RELEASE, os.fspath(folder))
    for command in (
        ('install', '--yes', '--no-install-recommends', *_DEBIAN_PACKAGES),
        ('clean',),
    ):
        inside(folder, 'apt-get', *command)
    # The tests start it where they need it.
    inside(folder, 'systemctl', 'disable', *_LIBVIRT)
    release = version(source)
    shutil.copytree(
        source / 'lib' / 'modules' / release,
        folder / 'usr' / 'lib' / 'modules' / release,
        symlinks=True,
    )
    for path in (source / 'boot').iterdir():
        shutil.copy(path, folder / 'boot')


def inside(root: pathlib.Path, *command: str) -> str:
    """Run a program in a root of its own; return its output.

    :raises CannotProvide: It failed, with its last words.
    """
    return run(*enter(root), *command, environment=INSIDE)


#: The environment of what runs in a root.
INSIDE = {
    'DEBIAN_FRONTEND': 'noninteractive',
    'HOME': '/root',
    'LC_ALL': 'C.UTF-8',
    'PATH': '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
}


def enter(root: pathlib.Path) -> tuple[str, ...]:
    """Return what a command starts with that is to run in a root.

    It has a ``/tmp`` of its own, and ends with whoever started it.
    """
    # The mounts are gone with it.
    script = (
        'mount --bind /dev "$0/dev" && mount -t proc proc "$0/proc" && '
        'mount -t sysfs -o ro sysfs "$0/sys" && '
        'mount -t tmpfs tmpfs "$0/tmp" && exec chroot "$0" "$@"'
    )
    return (
        *('unshare', '--mount', '--pid', '--fork', '--kill-child', '--'),
        *('sh', '-c', script, os.fspath(root)),
    )
