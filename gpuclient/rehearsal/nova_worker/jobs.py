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
"""What the processes of Nova do in a rehearsal cloud.

A job is a dictionary with its ``kind``, the ``arguments`` of the program, and
what else its function reads of it. It runs the start-up code of the service,
reports that it is ready, and returns or raises when the service has ended or
does not start.
"""

import collections.abc
import gc
import importlib
import os
import socket
import sys
import typing

from gpuclient.rehearsal.nova_worker import adapters
from gpuclient.rehearsal.nova_worker import reporting

Job: typing.TypeAlias = dict[str, typing.Any]

#: Modules to import before processes are forked.
_MODULES = (
    'nova.service',
    'nova.objects',
    'nova.conductor.manager',
    'nova.scheduler.manager',
    'nova.compute.manager',
    'nova.virt.fake',
    'nova.cmd.compute',
    'nova.cmd.conductor',
    'nova.cmd.scheduler',
    'nova.objects.host_mapping',
    'nova.api.openstack.compute.routes',
    'nova.api.openstack.wsgi_app',
    'gpuclient.rehearsal.nova_worker.driver',
    'gpuclient.rehearsal.messaging',
)


def import_modules() -> None:
    """Import what the services of Nova need."""
    for name in _MODULES:
        importlib.import_module(name)
    import sqlalchemy.orm
    import stevedore

    # Each nova-compute, or each service with a database, would do it.
    stevedore.ExtensionManager('os_vif')
    sqlalchemy.orm.configure_mappers()
    # nova.virt.driver:load_compute_driver imports modules of nova.virt only.
    sys.modules['nova.virt.rehearsal'] = sys.modules[
        'gpuclient.rehearsal.nova_worker.driver'
    ]
    sys.modules['nova.objects'].register_all()


def freeze() -> None:
    """Exclude all objects from garbage collection.

    A collection writes to each object, and so copies the memory that the
    children share.
    """
    gc.collect()
    gc.freeze()


def run(
    job: Job,
    adapter: adapters.Threads,
    ready: reporting.Ready,
    sock: socket.socket | None = None,
) -> None:
    """Run a job in this process.

    :param sock: The listening socket of a nova-api.
    """
    adapter.after_fork()
    if sock is not None:
        _run_api(job, adapter, ready, sock)
    else:
        _FUNCTIONS[job['kind']](job, adapter, ready)


def _run_api(
    job: Job,
    adapter: adapters.Threads,
    ready: reporting.Ready,
    sock: socket.socket,
) -> None:
    # nova/api/openstack/wsgi_app.py takes files from the environment, and a
    # folder of files from the command line.
    os.environ['OS_NOVA_CONFIG_DIR'] = job['config_dir']
    sys.argv = ['nova-api-os-compute', *job['arguments']]
    adapter.serve_http(adapter.application(), sock, ready)


def _run_control(
    job: Job, adapter: adapters.Threads, ready: reporting.Ready
) -> None:
    """Run a nova-conductor or a nova-scheduler.

    Does what ``nova.cmd.conductor:main`` and ``nova.cmd.scheduler:main`` do,
    without forking workers.
    """
    from nova import config
    from nova import objects
    from nova import service
    from oslo_log import log

    binary = f'nova-{job["kind"]}'
    rpcapi = importlib.import_module(f'nova.{job["kind"]}.rpcapi')
    sys.argv = [binary, *job['arguments']]
    config.parse_args(sys.argv)
    log.setup(config.CONF, 'nova')
    objects.Service.enable_min_version_cache()
    server = service.Service.create(binary=binary, topic=rpcapi.RPC_TOPIC)
    _when_started(ready)
    adapter.serve_rpc(server, config.CONF)
    service.wait()


def _run_compute(
    job: Job, adapter: adapters.Threads, ready: reporting.Ready
) -> None:
    from nova.cmd import compute
    from nova.pci import utils

    from gpuclient.rehearsal.nova_worker import driver

    sys.argv = ['nova-compute', *job['arguments']]
    driver.HOST = driver.HostHardware(**job['host'])
    utils.is_physical_function = driver.is_physical_function
    _when_started(ready)
    compute.main()


def _when_started(ready: reporting.Ready) -> None:
    """Call a function when the service of this process has started."""
    from nova import service

    start = service.Service.start

    def started(self: typing.Any) -> None:
        start(self)
        # Otherwise it reports after five seconds, and until then a service
        # that was stopped for long counts as down.
        self.servicegroup_api._driver._report_state(self)
        ready()

    service.Service.start = started


def _map_cells(
    job: Job, adapter: adapters.Threads, ready: reporting.Ready
) -> None:
    """Add the cells to the API database, as ``nova-manage cell_v2`` does."""
    from nova import config
    from nova import context
    from nova import exception
    from nova import objects

    config.parse_args(['nova-manage', *job['arguments']])
    admin = context.get_admin_context()
    for uuid, name, transport, database in job['cells']:
        values = {
            'transport_url': transport or config.CONF.transport_url,
            'database_connection': database,
        }
        try:
            cell = objects.CellMapping.get_by_uuid(admin, uuid)
        except exception.CellMappingNotFound:
            objects.CellMapping(admin, uuid=uuid, name=name, **values).create()
        else:
            for key, value in values.items():
                setattr(cell, key, value)
            cell.save()


def _map_hosts(
    job: Job, adapter: adapters.Threads, ready: reporting.Ready
) -> None:
    """Map new hosts to their cell, as ``nova-manage cell_v2`` does."""
    from nova import config
    from nova import context
    from nova.objects import host_mapping

    config.parse_args(['nova-manage', *job['arguments']])
    host_mapping.discover_hosts(context.get_admin_context())


def _manage(
    job: Job, adapter: adapters.Threads, ready: reporting.Ready
) -> None:
    """Run nova-manage, with its output in a file."""
    descriptor = os.open(job['log'], os.O_WRONLY | os.O_CREAT, 0o600)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.argv = ['nova-manage', *job['arguments']]
    status = importlib.import_module('nova.cmd.manage').main()
    if status:
        sys.exit(status)


_FUNCTIONS: dict[
    str,
    collections.abc.Callable[[Job, adapters.Threads, reporting.Ready], None],
] = {
    'conductor': _run_control,
    'scheduler': _run_control,
    'compute': _run_compute,
    'cells': _map_cells,
    'hosts': _map_hosts,
    'manage': _manage,
}
