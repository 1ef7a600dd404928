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

"""A virtual machine that boots once."""

import dataclasses
import functools
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import typing

from gpuclient.documents.generate import host_files
from gpuclient.host import bundle
from gpuclient.model import host as host_model
from gpuclient.rules import passthrough_view

from tests.host import device as device_module
from tests.host import guest
from tests.host import provide

ROOT = pathlib.Path(__file__).parent.parent.parent
#: A quiet machine of two cores boots in eight seconds.
TIMEOUT = 600

#: Environment variable with the path of a file to which each boot appends its
#: duration.
TIMES = 'GPUCLIENT_HOST_TIMES'

#: Memory of a whole system, in MiB.
_SYSTEM_MB = 1024

#: Intel's IOMMU. caching-mode is what VFIO in the guest needs.
INTEL_IOMMU = 'intel-iommu,intremap=on,caching-mode=on'
CARD = device_module.Device()
#: Findings of every emulated card: it is not the type-PF of its model, and
#: cannot be reset.
EMULATED = {'GPU437', 'GPU441'}


@dataclasses.dataclass(frozen=True)
class Machine:
    """The hardware of a virtual machine."""

    #: Emulated devices with ids of our choice.
    cards: tuple[device_module.Device, ...] = (CARD,)
    #: Values of further ``-device`` options, before those of the cards.
    devices: tuple[str, ...] = ()
    #: Value of QEMU's ``-cpu``. Linux uses AMD's IOMMU without a vendor, and
    #: Intel's with ``vendor=GenuineIntel``.
    cpu: str = 'qemu64,vendor=GenuineIntel'
    #: Value of its ``-device`` option; None for a machine without an IOMMU.
    iommu: str | None = INTEL_IOMMU
    #: Image of its disk, /dev/vda.
    disk: pathlib.Path | None = None
    #: Whether what the guest writes to its disk is kept.
    keeps_disk: bool = False
    #: Whether it reaches this machine's loopback, as 10.0.2.2. There are no
    #: connections to it.
    network: bool = False
    #: Number of NUMA nodes, with equal parts of the CPUs and the memory.
    nodes: int = 1
    cpus_per_node: int = 1
    memory_mb: int = 768
    #: An ACPI table that replaces the one that QEMU generates.
    acpi_table: bytes | None = None
    #: Seconds after which it is killed.
    timeout: int = TIMEOUT

    def memory(self) -> list[str]:
        """Return QEMU's options for memory and CPUs.

        The memory is shared with the process that emulates the cards.
        """
        number = self.nodes * self.cpus_per_node
        options = ['-m', str(self.memory_mb), '-smp', str(number)]
        size = self.memory_mb // self.nodes
        for node in range(self.nodes):
            first = node * self.cpus_per_node
            last = first + self.cpus_per_node - 1
            options += [
                '-object',
                f'memory-backend-memfd,id=memory{node},share=on,size={size}M',
                '-numa',
                f'node,nodeid={node},cpus={first}-{last},memdev=memory{node}',
            ]
        return options


#: A machine with a card and an IOMMU.
PLAIN = Machine()


def with_disk(machine: Machine, disk: pathlib.Path) -> Machine:
    """Return a machine with a disk, and memory for a whole system."""
    return dataclasses.replace(
        machine, disk=disk, memory_mb=max(machine.memory_mb, _SYSTEM_MB)
    )


@dataclasses.dataclass(frozen=True)
class Boot:
    """The result of a boot."""

    seconds: float
    #: The JSON that ``guest.py`` wrote.
    result: dict[str, typing.Any]
    kernel_messages: str
    #: A bundle of the guest, if ``guest.py`` ran.
    bundle: bytes

    def device(self, address: str) -> dict[str, typing.Any]:
        """Return the values of a device in sysfs."""
        device: dict[str, typing.Any] = self.result['raw']['devices'][address]
        return device

    def is_usable(self, address: str) -> bool:
        """Whether a program can use the group of a device through VFIO."""
        vfio = self.result['raw']['vfio']
        group = self.device(address)['group']
        return group in vfio and vfio[group] is None

    def finding(self, code: str, address: str = '') -> dict[str, str]:
        """Return the only finding with a code, of a device or the host."""
        (finding,) = (
            result
            for result in self.result['results']
            if (result['code'], result['device']) == (code, address)
        )
        return typing.cast(dict[str, str], finding)

    @property
    def findings(self) -> set[tuple[str, str]]:
        """Addresses (empty for the host) and codes of all findings.

        Without those of every emulated card.
        """
        return {
            (result['device'], result['code'])
            for result in self.result['results']
            if result['code'] not in (None, *EMULATED)
        }

    def codes(self, address: str = '') -> set[str]:
        """Return the codes of the findings of a device, or of the host."""
        return {code for device, code in self.findings if device == address}

    @functools.cached_property
    def host(self) -> host_model.Host:
        """The guest, read from its bundle."""
        with tempfile.NamedTemporaryFile(suffix='.tar') as file:
            file.write(self.bundle)
            file.flush()
            return bundle.read(file.name)

    def checked_for(self, **intent: typing.Any) -> 'Boot':
        """Return the boot with the results for another intended use.

        :param intent: Fields of :class:`.passthrough_view.Intent`.
        """
        results = guest.check(self.host, passthrough_view.Intent(**intent))
        return dataclasses.replace(
            self, result={**self.result, 'results': results}
        )


class BootFailed(Exception):
    """The guest failed; the message has its last output."""


def boot(
    machine: Machine,
    arguments: str,
    files: tuple[host_files.HostFile, ...] = (),
    before: str = '',
    devices: tuple[str, ...] = (),
) -> Boot:
    """Boot with kernel arguments and files of ``/etc``; wait for the end.

    :param files: Files on the host and in its initramfs.
    :param before: Shell script that the guest runs first.
    :param devices: Addresses of the devices for guests; by default, the
        checks decide.
    :raises BootFailed: The guest failed.
    """
    with tempfile.TemporaryDirectory(prefix='gpu-host-') as name:
        folder = pathlib.Path(name)
        image = folder / 'initrd.gz'
        _write_image(image, folder, machine.acpi_table, files)
        script = f'{before}{_READ} {" ".join(devices)}\n'
        return start(machine, folder, image, arguments, script)


def start(
    machine: Machine,
    folder: pathlib.Path,
    initramfs: pathlib.Path,
    arguments: str,
    script: str,
    share: pathlib.Path | None = None,
    kernel: pathlib.Path | None = None,
) -> Boot:
    """Start a machine, and wait until it has run a script and powered off.

    :param folder: Temporary folder of this boot.
    :param script: Shell script for the guest; it writes
        ``/gpu-share/result``.
    :param share: Folder that the guest mounts at ``/gpu-share``; by default,
        a temporary one.
    :param kernel: By default, :func:`provide.kernel`.
    :raises BootFailed: The guest failed.
    """
    share = share or folder / 'share'
    share.mkdir(exist_ok=True)
    (share / 'run').write_text(script)
    began = time.monotonic()
    console = launch(
        machine,
        folder,
        kernel or next(provide.kernel().glob('boot/vmlinuz-*')),
        initramfs,
        arguments,
        share,
    )
    seconds = time.monotonic() - began
    try:
        status = (share / 'status').read_text().strip()
        output = (share / 'output').read_text()
        messages = (share / 'dmesg').read_text()
    except FileNotFoundError as exc:
        raise BootFailed(f'the guest wrote nothing:\n{console}') from exc
    if status != '0':
        raise BootFailed(f'the guest failed with {status}:\n{output}')
    result = json.loads((share / 'result').read_text())
    archive = share / 'result.tar'
    packed = archive.read_bytes() if archive.exists() else b''
    return Boot(seconds, result, messages, packed)


def launch(
    machine: Machine,
    folder: pathlib.Path,
    kernel: pathlib.Path,
    initramfs: pathlib.Path,
    arguments: str,
    share: pathlib.Path,
) -> str:
    """Start a machine, and wait until it powers off or reboots.

    :returns: The last lines of its console.
    :raises BootFailed: It did not end in time.
    """
    began = time.monotonic()
    console = _run(
        machine,
        folder,
        [
            '-kernel',
            os.fspath(kernel),
            '-initrd',
            os.fspath(initramfs),
            '-append',
            # Without no_timer_check, the kernel panics on a busy machine if
            # its timer is late.
            f'console=ttyS0 panic=-1 no_timer_check {arguments}',
            *_folder('root', '/', 0x1D, 'readonly=on,multidevs=remap'),
            *_folder('share', os.fspath(share), 0x1E, 'multidevs=remap'),
        ],
    )
    if TIMES in os.environ:
        with open(os.environ[TIMES], 'a') as times:
            times.write(f'{time.monotonic() - began:.1f} {arguments}\n')
    return console


def _folder(tag: str, path: str, slot: int, options: str) -> list[str]:
    """Return the options of QEMU that share a folder with the guest."""
    return [
        '-fsdev',
        f'local,id={tag},path={path},security_model=none,{options}',
        '-device',
        f'virtio-9p-pci,fsdev={tag},mount_tag={tag},bus=pcie.0,addr={slot:x}',
    ]


#: Runs ``guest.py`` in a guest that shares the root file system, with the
#: Python that runs the tests.
_READ = f"""
cd {ROOT}
exec {sys.executable} -m tests.host.guest /gpu-share/result"""


def _write_image(
    image: pathlib.Path,
    folder: pathlib.Path,
    acpi_table: bytes | None,
    files: tuple[host_files.HostFile, ...],
) -> None:
    early, late = folder / 'early', folder / 'late'
    if acpi_table is not None:
        # Documentation/admin-guide/acpi/initrd_table_override.rst
        table = early / 'kernel/firmware/acpi/table.aml'
        table.parent.mkdir(parents=True)
        table.write_bytes(acpi_table)
    for file in files:
        for base in (late, late / 'case'):
            target = base / file.path.lstrip('/')
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(file.content)
            target.chmod(file.mode)
    # The kernel unpacks all archives, which begin at multiples of four bytes
    # (Documentation/driver-api/early-userspace/buffer-format.rst).
    parts = [
        provide.pack(early) if early.exists() else b'',
        provide.initramfs().read_bytes(),
        provide.pack(late) if late.exists() else b'',
    ]
    image.write_bytes(
        b''.join(part + b'\0' * (-len(part) % 4) for part in parts)
    )


def _run(machine: Machine, folder: pathlib.Path, arguments: list[str]) -> str:
    """Run QEMU until it exits; return the end of the console."""
    servers = [device_module.Server(card) for card in machine.cards]
    console = folder / 'console'
    devices = [*machine.devices]
    if machine.iommu is not None:
        devices.insert(0, machine.iommu)
    backends: list[str] = []
    if machine.disk is not None:
        snapshot = 'off' if machine.keeps_disk else 'on'
        backends += [
            '-drive',
            f'file={machine.disk},format=raw,if=none,id=disk,cache=unsafe,'
            f'snapshot={snapshot}',
        ]
        devices.append('virtio-blk-pci,drive=disk,bus=pcie.0,addr=1c')
    if machine.network:
        backends += ['-netdev', 'user,id=network,ipv6=off']
        devices.append('virtio-net-pci,netdev=network,bus=pcie.0,addr=1b')
    devices += [
        server.device.option(server.theirs.fileno()) for server in servers
    ]
    command = [
        'qemu-system-x86_64',
        '-accel',
        'tcg,thread=multi',
        '-cpu',
        machine.cpu,
        '-machine',
        'q35,kernel-irqchip=split',
        *machine.memory(),
        *backends,
        '-nodefaults',
        '-no-user-config',
        '-display',
        'none',
        '-no-reboot',
        '-serial',
        f'file:{console}',
        *(part for option in devices for part in ('-device', option)),
        *arguments,
    ]
    try:
        with subprocess.Popen(
            command,
            pass_fds=[server.theirs.fileno() for server in servers],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                _output, errors = process.communicate(timeout=machine.timeout)
            except subprocess.TimeoutExpired as exc:
                process.kill()
                raise BootFailed(
                    f'no end after {machine.timeout} s:\n{tail(console)}'
                ) from exc
            except BaseException:
                process.kill()
                raise
    finally:
        for server in servers:
            server.close()
    if process.returncode:
        raise BootFailed(f'QEMU ended with {process.returncode}: {errors}')
    return tail(console)


def tail(console: pathlib.Path) -> str:
    """Return the last lines of a console."""
    if not console.exists():
        return ''
    lines = console.read_text(errors='replace').splitlines()
    return '\n'.join([line for line in lines if line.strip()][-60:])
