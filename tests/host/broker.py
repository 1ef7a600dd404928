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

"""RabbitMQ on the loopback interface, for services on several machines."""

import collections.abc
import contextlib
import pathlib
import secrets
import socket
import subprocess
import time

from tests.host import provide

#: Time limit of the start, in seconds; an idle machine needs three.
_PATIENCE = 120
#: Polling interval, in seconds.
_PAUSE = 0.1
_USER = 'nova'
_DONE = 'Server startup complete'


@contextlib.contextmanager
def running(log: pathlib.Path) -> collections.abc.Iterator[str]:
    """Run a broker; yield its ``transport_url`` on this machine.

    Its data is deleted at the end.

    :param log: File for its output.
    :raises provide.CannotProvide: It did not start.
    """
    root = provide.compute()
    port, distribution, mapper = _free_ports(3)
    password = secrets.token_hex(16)
    folder = '/tmp/broker'
    settings = {
        'ERL_EPMD_ADDRESS': '127.0.0.1',
        'ERL_EPMD_PORT': mapper,
        'RABBITMQ_NODENAME': f'gpu-{port}@localhost',
        'RABBITMQ_NODE_IP_ADDRESS': '127.0.0.1',
        'RABBITMQ_NODE_PORT': port,
        'RABBITMQ_DIST_PORT': distribution,
        'RABBITMQ_MNESIA_BASE': f'{folder}/data',
        'RABBITMQ_LOG_BASE': f'{folder}/log',
        'RABBITMQ_LOGS': '-',
        'RABBITMQ_ENABLED_PLUGINS_FILE': f'{folder}/plugins',
        'RABBITMQ_CONFIG_FILE': f'{folder}/rabbitmq',
        'RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS': (
            '-kernel inet_dist_use_interface {127,0,0,1}'
        ),
    }
    script = (
        f'mkdir -p {folder}\n'
        f'printf "default_user = {_USER}\\ndefault_pass = $PASSWORD\\n" '
        f'> {folder}/rabbitmq.conf\n'
        'unset PASSWORD\n'
        # Debian's wrapper would run it as a user without a home folder.
        'exec /usr/lib/rabbitmq/bin/rabbitmq-server\n'
    )
    with (
        open(log, 'wb') as output,
        subprocess.Popen(
            [*provide.enter(root), 'sh', '-c', script],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={
                **provide.INSIDE,
                **settings,
                'HOME': folder,
                'PASSWORD': password,
            },
        ) as process,
    ):
        try:
            _wait(process, log)
            yield f'rabbit://{_USER}:{password}@127.0.0.1:{port}/'
        finally:
            # unshare ignores SIGTERM; the broker is killed with it.
            process.kill()


def _wait(process: subprocess.Popen[bytes], log: pathlib.Path) -> None:
    deadline = time.monotonic() + _PATIENCE
    while _DONE not in log.read_text(errors='replace'):
        if process.poll() is not None or time.monotonic() > deadline:
            lines = log.read_text(errors='replace').splitlines()[-5:]
            raise provide.CannotProvide(
                'RabbitMQ did not start: ' + ' '.join(lines)
            )
        time.sleep(_PAUSE)


def _free_ports(number: int) -> tuple[str, ...]:
    with contextlib.ExitStack() as stack:
        ports = []
        for _number in range(number):
            sock = stack.enter_context(socket.socket())
            sock.bind(('127.0.0.1', 0))
            ports.append(str(sock.getsockname()[1]))
        return tuple(ports)
