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

"""Programs, Debian's kernel and a small initramfs for virtual machines.

Missing programs are installed with apt. The kernel is not installed, but
unpacked into a cache: ``GPUCLIENT_HOST_CACHE``, by default
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
#: Packages, with one program of each.
_PACKAGES = {
    'qemu-system-x86': _QEMU,
    'busybox-static': 'busybox',
    'cpio': 'cpio',
    'kmod': 'modprobe',
    'zstd': 'zstd',
    'lz4': 'lz4',
}
#: x-pci-proxy-dev works in this version; QEMU 10.0 crashes with it.
_QEMU_VERSION = 'version 7.2.'
_KERNEL = 'linux-image-amd64'
_RELEASE = 'bookworm'
#: Additional packages of a Debian to boot: they build an initramfs, and read
#: and change hosts in the tests.
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
#: Additional packages of a compute host and of the broker of its cloud.
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
#: Modules in the initramfs, with their dependencies: they mount the root file
#: system, or could bind to a device of a test.
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
    """What is missing, and why it cannot be installed, in one line."""


def cache() -> pathlib.Path:
    """Return the folder that is kept between runs."""
    base = os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')
    folder = pathlib.Path(
        os.environ.get(CACHE) or f'{base}/gpuclient/host-tests'
    )
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def programs(packages: dict[str, str] = _PACKAGES) -> None:
    """Install missing programs.

    :raises CannotProvide: One cannot be installed, or QEMU is not version 7.2.
    """
    if os.geteuid():
        raise CannotProvide(
            'host tests require root: they share / with a virtual machine'
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
            'host tests require QEMU 7.2, as in Debian 12, for its '
            f'x-pci-proxy-dev; installed is {version.splitlines()[0]}'
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

    :raises CannotProvide: It failed, with its last line of output.
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
        errors = (done.stderr or done.stdout).strip().splitlines() or ['']
        raise CannotProvide(
            f'{" ".join(command)} ended with {done.returncode}: {errors[-1]}'
        )
    return done.stdout


def make(
    name: str, maker: collections.abc.Callable[[pathlib.Path], None]
) -> pathlib.Path:
    """Return a folder of the cache, created by the first caller.

    It is never incomplete.
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

    Its version is that of the archive at the first download.
    """
    return make('kernel', _unpack_kernel)


def _unpack_kernel(folder: pathlib.Path) -> None:
    _apt('update', '--quiet')
    lines = run('apt-cache', 'depends', _KERNEL).splitlines()
    (package,) = (
        line.split()[-1] for line in lines if 'Depends: linux-image' in line
    )
    # By default, apt downloads as a user who cannot write to the folder.
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
    """Return the initramfs of all fast boots."""
    source = kernel()
    recipe = digest(version(source), *_MODULES, _INIT.read_text())
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
            # Ignore the configuration of this machine.
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
    """Return a cpio archive of a folder, for an initramfs."""
    names = [
        '.',
        *(
            os.fspath(path.relative_to(tree))
            for path in sorted(tree.rglob('*'))
        ),
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
    """Return the root folder of a Debian with the modules of the kernel."""
    programs({'debootstrap': 'debootstrap', 'e2fsprogs': 'mke2fs'})
    source = kernel()
    recipe = digest(version(source), *_DEBIAN_PACKAGES, *_LIBVIRT)
    return make(
        f'debian-{recipe}', lambda folder: _make_debian(folder, source)
    )


def compute() -> pathlib.Path:
    """Return the root folder of a Debian with what nova-compute requires."""
    source = debian()
    recipe = digest(source.name, *_COMPUTE_PACKAGES, *_COMPUTE_SERVICES)
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


def digest(*parts: str) -> str:
    return hashlib.sha256('\n'.join(parts).encode()).hexdigest()[:12]


def _make_debian(folder: pathlib.Path, source: pathlib.Path) -> None:
    run('debootstrap', '--variant=minbase', _RELEASE, os.fspath(folder))
    for command in (
        ('install', '--yes', '--no-install-recommends', *_DEBIAN_PACKAGES),
        ('clean',),
    ):
        inside(folder, 'apt-get', *command)
    # Tests start libvirt if they need it.
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
    """Run a program in another root folder; return its output.

    :raises CannotProvide: It failed, with its last line of output.
    """
    return run(*enter(root), *command, environment=INSIDE)


#: Environment of programs in another root folder.
INSIDE = {
    'DEBIAN_FRONTEND': 'noninteractive',
    'HOME': '/root',
    'LC_ALL': 'C.UTF-8',
    'PATH': '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
}


def enter(root: pathlib.Path) -> tuple[str, ...]:
    """Return the prefix of a command that runs in another root folder.

    It has its own ``/tmp``, and is killed with the process that started it.
    """
    # The mounts end with the mount namespace.
    script = (
        'mount --bind /dev "$0/dev" && mount -t proc proc "$0/proc" && '
        'mount -t sysfs -o ro sysfs "$0/sys" && '
        'mount -t tmpfs tmpfs "$0/tmp" && exec chroot "$0" "$@"'
    )
    return (
        *('unshare', '--mount', '--pid', '--fork', '--kill-child', '--'),
        *('sh', '-c', script, os.fspath(root)),
    )
