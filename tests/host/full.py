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

"""The whole chain in one run: ``python -m tests.host.run full``.

From a description of the deployment to ``lspci`` in a server that has the
card; each stage is shown: see ``doc/source/contributor/host.rst``. It exits
with status 1 when a stage fails.
"""

import collections.abc
import contextlib
import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import sysconfig
import tempfile
import time
import typing

from gpuclient.rehearsal import control
from gpuclient.rehearsal import temporary

from tests.host import broker
from tests.host import compute
from tests.host import machine
from tests.host import provide
from tests.host import server

_DESCRIPTION = pathlib.Path(__file__).parent / 'full.yaml'
_ALIAS = 'nvidia_a100'
_FLAVOR = 'device_passthrough'
_SERVER = 'gpu-server'
_OPENSTACK = (sys.executable, '-m', 'openstackclient.shell')
#: Time limit for changes in Placement and of servers, in seconds.
_PATIENCE = compute.PATIENCE
_PAUSE = 2
#: Timeouts are long because the host is slow.
_CONTROL_PLANE = """\
[DEFAULT]
rpc_response_timeout = 600
service_down_time = 600
"""


class StageFailed(Exception):
    """A stage failed; the message says why."""


@dataclasses.dataclass
class Run:
    """A run, with the state that its stages share."""

    folder: pathlib.Path
    #: Set by the stages that start them.
    running_cloud: control.RehearsalCloud | None = None
    host: compute.Compute | None = None
    #: Duration of each completed stage, in seconds.
    done: dict[str, float] = dataclasses.field(default_factory=dict)
    stage: str = ''

    @contextlib.contextmanager
    def doing(self, name: str) -> collections.abc.Iterator[None]:
        """Show the name of a stage before its output."""
        self.stage = name
        say(f'\n=== {len(self.done) + 1}. {name}')
        began = time.monotonic()
        try:
            yield
        except Exception:
            # Before the host and the cloud are stopped.
            if self.host is not None:
                say(f'\nThe console of {compute.NAME}:\n{self.host.console()}')
                say(f'\nIts nova-compute:\n{self.host.complaints()}')
            raise
        self.done[name] = time.monotonic() - began
        say(f'--- done, {self.done[name]:.0f} s')

    @property
    def tree(self) -> pathlib.Path:
        """The configuration that ``gpu config create`` wrote."""
        return self.folder / 'deployment'

    @property
    def cloud(self) -> control.RehearsalCloud:
        """The control plane, after it was started."""
        assert self.running_cloud is not None
        return self.running_cloud

    @property
    def compute(self) -> compute.Compute:
        """The host, after it was started."""
        assert self.host is not None
        return self.host

    def show(self, *arguments: str, status: int = 0) -> str:
        """Run a command of the client, and show it with its output."""
        say('$ openstack ' + ' '.join(arguments))
        done = self.call(arguments)
        say(done.stdout.rstrip())
        say(done.stderr.rstrip())
        if done.returncode != status:
            raise StageFailed(f'it ended with status {done.returncode}')
        return done.stdout

    def ask(self, *arguments: str) -> typing.Any:
        """Run a command of the client; return its output, parsed from JSON."""
        done = self.call((*arguments, '--format', 'json'))
        if done.returncode:
            raise StageFailed(f'{" ".join(arguments)}: {done.stderr}')
        return json.loads(done.stdout)

    def manage(self, *arguments: str) -> None:
        """Run nova-manage, and show it."""
        say('$ nova-manage ' + ' '.join(arguments))
        configuration = self.cloud.folder.path / 'etc' / 'nova'
        done = subprocess.run(
            [
                os.path.join(sysconfig.get_path('scripts'), 'nova-manage'),
                *('--config-file', configuration / 'nova.conf'),
                *('--config-dir', configuration / 'nova-conductor.d'),
                *arguments,
            ],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, 'OS_NOVA_DISABLE_EVENTLET_PATCHING': '1'},
        )
        if done.returncode:
            raise StageFailed(done.stdout + done.stderr)

    def call(
        self, arguments: tuple[str, ...]
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of the client, with the cloud if it is running."""
        clean = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith('OS_')
        }
        return subprocess.run(
            [*_OPENSTACK, *arguments],
            capture_output=True,
            text=True,
            check=False,
            env={**clean, **self._environment()},
            cwd=self.folder,
        )

    def _environment(self) -> dict[str, str]:
        """Return the environment variables that select the cloud."""
        if self.running_cloud is None:
            return {}
        return {
            'OS_CLIENT_CONFIG_FILE': self.cloud.folder.clouds_yaml,
            'OS_CLOUD': self.cloud.folder.name,
            'no_proxy': '*',
        }

    def run_on_host(self, script: str) -> str:
        """Run a script on the compute host, and show it with its output."""
        say(f'{compute.NAME}# {script}')
        output = self.compute.run(script)
        say(output.rstrip())
        return output

    def wait(
        self, awaited: str, condition: collections.abc.Callable[[], bool]
    ) -> None:
        """Wait until a condition is true.

        :param awaited: What is waited for.
        """
        deadline = time.monotonic() + _PATIENCE
        while not condition():
            if time.monotonic() > deadline:
                raise StageFailed(f'no {awaited} within {_PATIENCE} s')
            time.sleep(_PAUSE)

    def devices(self) -> list[dict[str, typing.Any]]:
        """Return the rows of ``gpu placement list``."""
        rows: list[dict[str, typing.Any]] = self.ask(
            'gpu', 'placement', 'list'
        )
        return rows


def say(text: str) -> None:
    """Print text, unless it is empty."""
    if text:
        print(text, flush=True)


def expect(expected: object, actual: object) -> None:
    """Check that two values are equal.

    :raises StageFailed: They are not.
    """
    if expected != actual:
        raise StageFailed(f'expected {expected!r}, found {actual!r}')


def configure(run: Run) -> None:
    """Write the configuration of all hosts from the description."""
    say(_DESCRIPTION.read_text())
    run.show(
        *('gpu', 'config', 'create', os.fspath(_DESCRIPTION)),
        *('--output', run.tree.name),
        *('--column', 'next_steps', '--column', 'warnings'),
    )
    for path in sorted(run.tree.rglob('*')):
        if path.is_file():
            say(f'--- {path.relative_to(run.tree)}\n{path.read_text()}')
    # The emulated card is type-PCI; an A100 in the catalogue is type-PF.
    findings = run.ask('gpu', 'config', 'check', run.tree.name)
    expect({'GPU120'}, {finding['Code'] for finding in findings})


def control_plane(run: Run, transport_url: str) -> dict[str, typing.Any]:
    """Return the spec of the cloud, without its external compute host."""

    def own(service: str) -> dict[str, typing.Any]:
        path = f'control-plane/etc/nova/{service}.conf.d/50-gpu.conf'
        return {'config': (run.tree / path).read_text()}

    return {
        'control_plane': {
            'transport_url': transport_url,
            'config': _CONTROL_PLANE,
            'api': [own('nova-api')],
            'scheduler': own('nova-scheduler'),
            'conductor': own('nova-conductor'),
        },
        'hosts': [],
    }


def show_services(run: Run, cloud: control.RehearsalCloud) -> None:
    """Show that the services are running, and use them from now on."""
    run.running_cloud = cloud
    for service in cloud.record.services:
        say(f'{service.name}: {service.state}')
    if cloud.state != 'ready':
        raise StageFailed(cloud.record.message)
    run.show('compute', 'service', 'list')
    run.show('catalog', 'list', '--column', 'Name', '--column', 'Type')


def check_kernel(run: Run) -> None:
    """Run ``gpu host check`` on a bundle of the host."""
    script = run.call(('gpu', 'host', 'bundle', 'create', '--script')).stdout
    (run.compute.share / 'bundle.py').write_text(script)
    run.run_on_host('cat /proc/cmdline')
    run.run_on_host('python3 /gpu-share/bundle.py > /gpu-share/bundle.tar')
    bundle = run.folder / f'{compute.NAME}.tar'
    bundle.write_bytes((run.compute.share / 'bundle.tar').read_bytes())
    run.show('gpu', 'host', 'show', bundle.name)
    run.show(
        *('gpu', 'host', 'check', bundle.name),
        *('--config', f'{run.tree.name}/hosts/{compute.NAME}'),
    )


def finish_host(run: Run) -> None:
    """Run the commands for the host, except for the initramfs and the reboot.

    The initramfs was built before the boot. The kernel arguments in grub.cfg
    have to be those of this boot, and those of TuneD.
    """
    for command in commands(run):
        if command.split()[0] not in ('update-initramfs', 'systemctl'):
            run.run_on_host(command)
    output = run.run_on_host(
        'grep -E "^\\s*linux|^set tuned" /boot/grub/grub.cfg'
    )
    for expected in ('vfio-pci.ids=10de:20f1', '$tuned_params', 'nohz_full=1'):
        if expected not in output:
            raise StageFailed(f'grub.cfg does not contain {expected}')
    output = run.run_on_host(
        'tuned-adm active; grep ^CPU /etc/systemd/system.conf'
    )
    if 'CPUAffinity=0' not in output:
        raise StageFailed('TuneD did not isolate CPU 1')


def commands(run: Run) -> list[str]:
    """Return the commands for the host in ``gpu config create``."""
    steps = run.ask(
        *('gpu', 'config', 'create', os.fspath(_DESCRIPTION)),
        *('--output', run.tree.name),
    )['next_steps']
    (step,) = (text for text in steps if text.startswith(f'On {compute.NAME}'))
    return step.partition(', then ')[2].split(' && ')


def check_libvirt(run: Run) -> None:
    """Check libvirt's description of the card."""
    run.run_on_host('virsh version')
    name = 'pci_' + compute.CARD.replace(':', '_').replace('.', '_')
    output = run.run_on_host(f'virsh nodedev-dumpxml {name}')
    for expected in (
        '<name>vfio-pci</name>',
        "<product id='0x20f1'>",
        "<vendor id='0x10de'>",
        '<iommuGroup ',
    ):
        if expected not in output:
            raise StageFailed(f'libvirt does not report {expected}')


def report(run: Run) -> None:
    """Start nova-compute; wait for the card in Placement."""
    run.run_on_host('systemctl start nova-compute.service')

    def reported() -> bool:
        run.compute.run('systemctl is-active nova-compute.service')
        return bool(run.devices())

    run.wait('device in Placement', reported)
    run.manage('cell_v2', 'discover_hosts')
    run.show('compute', 'service', 'list')
    run.show('gpu', 'placement', 'list')
    (device,) = run.devices()
    expect(
        [compute.NAME, compute.CARD, 'CUSTOM_PCI_10DE_20F1', 1, 0],
        [
            device[column]
            for column in (
                *('Host', 'Address', 'Resource Class', 'Total', 'Used'),
            )
        ],
    )


def offer(run: Run) -> None:
    """Create a flavor that requests the alias, and check its capacity."""
    run.show(
        *('flavor', 'create', _FLAVOR, '--vcpus', '1', '--ram', '256'),
        *('--disk', '1', '--column', 'id', '--column', 'name'),
    )
    run.show(
        *('gpu', 'flavor', 'set', _FLAVOR, '--alias', f'{_ALIAS}:1'),
        *('--property', 'hw:mem_page_size=large'),
        *('--property', 'hw:cpu_policy=dedicated'),
    )
    run.show('gpu', 'alias', 'verify', _ALIAS)
    expect([1], fits(run))


def fits(run: Run) -> list[int]:
    """Return how many servers of each flavor with an alias fit."""
    command = (
        *('gpu', 'capacity', 'list', '--config'),
        f'{run.tree.name}/control-plane/etc/nova/nova-api.conf.d',
    )
    run.show(*command)
    return [row['Fits'] for row in run.ask(*command)]


def boot(run: Run) -> None:
    """Boot a server with the card, from a kernel and an initramfs."""
    blank = run.folder / 'blank'
    blank.write_bytes(bytes(1 << 20))
    ids = [
        run.ask(
            *('image', 'create', name, '--file', os.fspath(path)),
            *('--disk-format', kind, '--container-format', kind),
        )['id']
        for name, path, kind in (
            ('gpu-kernel', server.kernel(), 'aki'),
            ('gpu-initramfs', server.initramfs(run.folder), 'ari'),
        )
    ]
    run.ask(
        *('image', 'create', 'gpu-image', '--file', os.fspath(blank)),
        *('--disk-format', 'raw', '--container-format', 'bare'),
        *('--property', f'kernel_id={ids[0]}'),
        *('--property', f'ramdisk_id={ids[1]}'),
        *('--property', f'os_command_line={server.ARGUMENTS}'),
    )
    create(run, _SERVER)
    expect('ACTIVE', run.ask('server', 'show', _SERVER)['status'])
    run.show('gpu', 'server', 'list')
    run.show('gpu', 'placement', 'list')
    domain = run.run_on_host(
        'virsh list; '
        "virsh dumpxml 1 --xpath '//memoryBacking|//vcpupin|//hostdev'"
    )
    for expected in (
        '<hugepages>',
        '<vcpupin vcpu="0" cpuset="1"/>',
        'managed="yes"',
        '<driver name="vfio"/>',
    ):
        if expected not in domain:
            raise StageFailed(f'the domain does not contain {expected}')
    expect([0], fits(run))


def create(run: Run, name: str, status: int = 0) -> None:
    """Create a server, and wait until it is ACTIVE or in ERROR."""
    run.show(
        *('server', 'create', name, '--image', 'gpu-image', '--wait'),
        *('--flavor', _FLAVOR, '--nic', 'none'),
        *('--column', 'id', '--column', 'status'),
        status=status,
    )


def look_inside(run: Run) -> None:
    """Read the output of lspci in the server from its console."""

    def console() -> str:
        return run.call(('console', 'log', 'show', _SERVER)).stdout

    run.wait('output of the server', lambda: server.END in console())
    say(f'$ openstack console log show {_SERVER}')
    lines = console().splitlines()
    say('\n'.join(lines[:3]))
    say('...')
    first = next(
        number for number, line in enumerate(lines) if line == '$ lspci -nn'
    )
    say('\n'.join(lines[first:]))
    if not any('[10de:20f1]' in line for line in lines[first:]):
        raise StageFailed('lspci does not list 10de:20f1')


def refuse(run: Run) -> None:
    """Check that a second server fails, because there is no second card."""
    create(run, 'second', status=1)
    fault = run.ask('server', 'show', 'second')['fault']['message']
    say(fault)
    if not fault.startswith('No valid host was found'):
        raise StageFailed(fault)
    run.show('server', 'delete', '--wait', 'second')


def release(run: Run) -> None:
    """Delete the server; the card is free, and still bound to vfio-pci."""
    run.show('server', 'delete', '--wait', _SERVER)
    run.wait(
        'free card',
        lambda: [device['Used'] for device in run.devices()] == [0],
    )
    run.show('gpu', 'placement', 'list')
    driver = run.run_on_host(
        f'readlink /sys/bus/pci/devices/{compute.CARD}/driver'
    )
    expect('vfio-pci', os.path.basename(driver.strip()))
    expect([1], fits(run))


def whole(run: Run) -> None:
    """Run all stages in order."""
    with run.doing('Create the configuration from a description'):
        configure(run)
    with contextlib.ExitStack() as stack:
        with run.doing('Start the control plane and a broker'):
            url = stack.enter_context(
                broker.running(run.folder / 'broker.log')
            )
            cloud = stack.enter_context(
                temporary.temporary(control_plane(run, url))
            )
            show_services(run, cloud)
        with run.doing('Boot the host with its files; gpu host check'):
            run.host = stack.enter_context(
                compute.running(cloud, url, run.tree / 'hosts' / compute.NAME)
            )
            check_kernel(run)
        for name, stage in (
            ('Run the commands for the host: GRUB, TuneD', finish_host),
            ('libvirt describes the card', check_libvirt),
            ('nova-compute reports the card to Placement', report),
            ('A flavor requests it', offer),
            ('A server with it is ACTIVE', boot),
            ('lspci in the server shows it', look_inside),
            ('A second server fails', refuse),
            ('The card is free again', release),
        ):
            with run.doing(name):
                stage(run)


def main() -> int:
    """Return the exit status."""
    with tempfile.TemporaryDirectory(prefix='gpu-full-') as name:
        run = Run(pathlib.Path(name))
        failed = False
        try:
            compute.check_python()
            whole(run)
        except (
            StageFailed,
            compute.Failed,
            machine.BootFailed,
            provide.CannotProvide,
        ) as exc:
            failed = True
            say(f'\nFailed: {run.stage}: {exc}')
        say('')
        for number, (stage, seconds) in enumerate(run.done.items(), 1):
            say(f'{number:3}. {stage}: done, {seconds:.0f} s')
        say(f'{len(run.done)} stages, {sum(run.done.values()):.0f} s')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
