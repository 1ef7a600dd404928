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

"""A compute host in a virtual machine, with libvirt and nova-compute.

libvirt, QEMU and Python are those of Debian; Nova's code is shared read-only
from this machine. The host connects to the services of a cloud on the loopback
interface of this machine, with the address 10.0.2.2.
"""

import collections.abc
import concurrent.futures
import contextlib
import json
import pathlib
import shutil
import sys
import sysconfig
import threading
import time

from gpuclient.documents.generate import host_files
from gpuclient.rehearsal import control

from tests.host import debian
from tests.host import machine
from tests.host import provide

NAME = 'compute-0'
#: Address of the card.
CARD = '0000:00:01.0'
#: Two CPUs, one shared and one dedicated.
MACHINE = machine.Machine(
    network=True, cpus_per_node=2, memory_mb=3584, timeout=3600
)
_ADDRESS = '10.0.2.15'
#: Address of this machine in QEMU's user network.
_OUTSIDE = '10.0.2.2'
#: Time limit of the boot and of each script on the host, in seconds.
PATIENCE = 900
#: Time limit of the shutdown, in seconds.
_GRACE = 120
_PAUSE = 0.2
_MOST_LINES = 40
_PYTHON = (3, 11)
_GRUB = 'etc/default/grub.d/gpu-passthrough.cfg'

_NETWORK = f"""\
[Match]
Name=en*
[Network]
Address={_ADDRESS}/24
"""
_UNIT = f"""\
[Unit]
Wants=libvirtd.service
After=libvirtd.service
[Service]
Environment=PYTHONDONTWRITEBYTECODE=1
Environment=PYTHONPATH=/host{sysconfig.get_path('purelib')}
ExecStart=/usr/bin/python3 /host{sysconfig.get_path('scripts')}/nova-compute \
--config-file /etc/nova/nova.conf --config-dir /etc/nova/nova-compute.conf.d
"""
# Configuration of nova-compute, which runs as root and without sudo. Timeouts
# are long because the host is slow.
_NOVA = """\
[DEFAULT]
host = {host}
my_ip = {address}
transport_url = {transport}
compute_driver = libvirt.LibvirtDriver
state_path = /var/lib/nova
log_file = /gpu-share/nova-compute.log
rpc_response_timeout = 600
[libvirt]
virt_type = qemu
[nova_sys_admin]
helper_command = python3 -m oslo_privsep.daemon
[oslo_concurrency]
lock_path = /run/nova
[vnc]
enabled = False
[glance]
endpoint_override = {glance}
[neutron]
endpoint_override = {neutron}
{auth}[placement]
endpoint_override = {placement}
{auth}"""
_AUTH = """\
auth_url = {keystone}/v3
auth_type = password
username = nova
password = {password}
project_name = service
user_domain_id = default
project_domain_id = default
region_name = RegionOne
"""
# Runs the scripts that appear in the share, which has no change notification.
_RUN = """
mkdir -p /run/nova /var/lib/nova/instances
while [ ! -e /gpu-share/end ]; do
    if [ -e /gpu-share/script ]; then
        mv /gpu-share/script /gpu-share/running
        sh /gpu-share/running > /gpu-share/script-output 2>&1
        echo $? > /gpu-share/running
        mv /gpu-share/running /gpu-share/answer
    fi
    sleep 0.2
done
echo '{}' > /gpu-share/result
"""


class Failed(Exception):
    """A script failed on the host; the message has its output."""


class Compute:
    """The running host.

    :param share: Folder that the host mounts at ``/gpu-share``.
    :param console: File with the output of its serial console.
    :param boot: Its boot, which is done when the host has powered off.
    """

    def __init__(
        self,
        share: pathlib.Path,
        console: pathlib.Path,
        boot: concurrent.futures.Future[machine.Boot],
    ) -> None:
        self.share = share
        self._console = console
        self._boot = boot

    def run(self, script: str) -> str:
        """Run a shell script on the host; return its output.

        The first script waits until the host has booted.

        :raises Failed: Its exit status is not 0, or it did not end in time.
        """
        new = self.share / 'script.new'
        new.write_text(script)
        new.rename(self.share / 'script')
        answer = self.share / 'answer'
        deadline = time.monotonic() + PATIENCE
        while not answer.exists():
            if self._boot.done() or time.monotonic() > deadline:
                raise Failed(f'{script}\nno answer:\n{self.console()}')
            time.sleep(_PAUSE)
        status = answer.read_text().strip()
        answer.unlink()
        output = (self.share / 'script-output').read_text(errors='replace')
        if status != '0':
            raise Failed(f'{script}\nended with {status}:\n{output}')
        return output

    def console(self) -> str:
        """Return the last lines of its console."""
        return machine.tail(self._console)

    def complaints(self) -> str:
        """Return the last warnings and errors of its nova-compute."""
        log = self.share / 'nova-compute.log'
        if not log.exists():
            return ''
        lines = log.read_text(errors='replace').splitlines()
        return '\n'.join(
            [
                line
                for line in lines
                if ' ERROR ' in line or ' WARNING ' in line
            ][-_MOST_LINES:]
        )


def check_python() -> None:
    """Check that Debian's Python can load the modules of this Python.

    :raises provide.CannotProvide: This is not Python 3.11.
    """
    if sys.version_info[:2] != _PYTHON:
        raise provide.CannotProvide(
            'Nova runs with the Python 3.11 of Debian 12: run the tests with '
            f'Python 3.11, not {sys.version.split()[0]}'
        )


@contextlib.contextmanager
def running(
    cloud: control.RehearsalCloud, transport_url: str, tree: pathlib.Path
) -> collections.abc.Iterator[Compute]:
    """Boot the host; power it off at the end.

    :param cloud: The cloud of the host.
    :param transport_url: The broker of the cloud.
    :param tree: Files of the host that ``gpu config create`` wrote.
    :raises provide.CannotProvide: A program failed.
    :raises machine.BootFailed: The host failed.
    """
    with debian.prepared(
        host_files.HostFile('/etc/hostname', f'{NAME}\n'),
        host_files.HostFile(
            '/etc/hosts', f'127.0.0.1 localhost\n127.0.1.1 {NAME}\n'
        ),
        host_files.HostFile('/etc/systemd/network/10.network', _NETWORK),
        host_files.HostFile('/etc/systemd/system/nova-compute.service', _UNIT),
        host_files.HostFile(
            '/etc/nova/nova.conf', _nova_conf(cloud, transport_url), 0o600
        ),
        lower=provide.compute(),
    ) as host:
        shutil.copytree(tree, host.root, dirs_exist_ok=True)
        host.run('systemctl', 'enable', 'systemd-networkd.service')
        # As grub-install does, which is not run.
        host.run('mkdir', '--parents', '/boot/grub')
        image = host.initramfs_tools()
        arguments = host.run(
            'sh', '-c', f'. /{_GRUB} && echo $GRUB_CMDLINE_LINUX'
        )
        folder = host.root.parent
        share = folder / 'share'
        share.mkdir()
        boot: concurrent.futures.Future[machine.Boot] = (
            concurrent.futures.Future()
        )

        def start() -> None:
            try:
                boot.set_result(
                    host.boot(MACHINE, image, arguments.strip(), _RUN, share)
                )
            except Exception as exc:
                boot.set_exception(exc)

        # A daemon, so that a host that hangs does not block the exit.
        threading.Thread(target=start, daemon=True).start()
        try:
            yield Compute(share, folder / 'boot-1' / 'console', boot)
        finally:
            (share / 'end').touch()
            concurrent.futures.wait([boot], _GRACE)
        boot.result(0)


def _nova_conf(cloud: control.RehearsalCloud, transport_url: str) -> str:
    ports = {service.name: service.port for service in cloud.record.services}
    addresses = {
        name: f'http://{_OUTSIDE}:{ports[name]}'
        for name in ('keystone', 'glance', 'neutron', 'placement')
    }
    passwords = json.loads(
        pathlib.Path(cloud.folder.file('passwords.json')).read_text()
    )
    return _NOVA.format(
        host=NAME,
        address=_ADDRESS,
        # The password only has hexadecimal digits.
        transport=transport_url.replace('127.0.0.1', _OUTSIDE),
        auth=_AUTH.format(
            keystone=addresses['keystone'], password=passwords['nova']
        ),
        **addresses,
    )
