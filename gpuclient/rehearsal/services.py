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

"""Run the services, each by a function in a process of its own.

A function is called in a process that is forked for it, in which modules are
imported and no configuration is read. It runs the start-up code of the
service, calls ``ready``, and returns or raises when the service has ended or
does not start.
"""

import collections.abc
import dataclasses
import importlib
import logging
import os
import signal
import socket
import sys
import threading
import typing

from gpuclient.rehearsal import service_files
from gpuclient.rehearsal import identity
from gpuclient.rehearsal import neutron
from gpuclient.rehearsal import process_supervisor
from gpuclient.rehearsal import spec
from gpuclient.rehearsal import state

#: Threads of an HTTP server.
_THREADS = 8

Application: typing.TypeAlias = collections.abc.Callable[..., typing.Any]


@dataclasses.dataclass(frozen=True)
class ServiceContext:
    """What the services need to know about their cloud."""

    folder: state.StateFolder
    spec: spec.CloudSpec
    files: service_files.ServiceFiles
    passwords: dict[str, str]
    #: The listening socket of each service that has one.
    sockets: dict[str, socket.socket]


# Modules to import before the processes are forked: of all services ...
COMMON = (
    'alembic.command',
    'cheroot.wsgi',
    'jsonschema',
    'keystoneauth1.identity.v3',
    'keystoneauth1.session',
    'keystonemiddleware.auth_token',
    'oslo_db.sqlalchemy.enginefacade',
    'oslo_messaging',
    'oslo_middleware',
    'oslo_policy.policy',
    'oslo_versionedobjects.base',
    'paste.deploy',
    'routes',
    'sqlalchemy.orm',
    'webob',
)
# ... and of the services of Nova.
NOVA = (
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
    'gpuclient.rehearsal.driver',
    'gpuclient.rehearsal.messaging',
)


def import_common() -> None:
    """Import what all services need, and let Nova use threads."""
    os.environ['OS_NOVA_DISABLE_EVENTLET_PATCHING'] = '1'
    from nova import monkey_patch

    # This also makes an import of eventlet an error: the standard library must
    # not be patched.
    monkey_patch.patch(backend='threading')
    for name in COMMON:
        importlib.import_module(name)
    import stevedore

    from gpuclient.rehearsal import sqlite

    sqlite.install()
    # Reads all entry points once instead of in each service.
    stevedore.ExtensionManager('oslo.policy.rule_checks')


def import_nova() -> None:
    """Import what the services of Nova need."""
    for name in NOVA:
        importlib.import_module(name)
    import sqlalchemy.orm
    import stevedore

    # Each nova-compute, or each service with a database, would do it.
    stevedore.ExtensionManager('os_vif')
    sqlalchemy.orm.configure_mappers()
    # nova.virt.driver:load_compute_driver imports modules of nova.virt only.
    sys.modules['nova.virt.rehearsal'] = sys.modules[
        'gpuclient.rehearsal.driver'
    ]
    sys.modules['nova.objects'].register_all()


def serve(
    application: Application,
    sock: socket.socket,
    ready: process_supervisor.Ready,
) -> None:
    """Serve a WSGI application on a listening socket until SIGTERM."""
    from cheroot import wsgi

    # Otherwise each response on an open connection waits for an
    # acknowledgement; cheroot sets this for sockets of its own only.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    class BoundServer(wsgi.Server):
        def bind(self, *args: typing.Any) -> socket.socket:
            self.socket = sock
            return sock

    server = BoundServer(
        sock.getsockname(), application, numthreads=_THREADS, timeout=60
    )
    server.shutdown_timeout = 1
    server.prepare()

    def stop(*_args: object) -> None:
        threading.Thread(target=server.stop, daemon=True).start()

    signal.signal(signal.SIGTERM, stop)
    ready()
    server.serve()


def run_keystone(
    cloud: ServiceContext, ready: process_supervisor.Ready
) -> None:
    """Fill and serve Keystone."""
    # Keystone imports eventlet, but does not use it.
    sys.meta_path[:] = [
        finder
        for finder in sys.meta_path
        if type(finder).__name__ != 'PoisonEventletImport'
    ]
    os.environ['OS_KEYSTONE_CONFIG_DIR'] = cloud.folder.file('etc', 'keystone')
    identity.make_keys(cloud.folder.file('etc', 'fernet'))
    sys.argv = ['keystone']
    import keystone.cmd.bootstrap
    import keystone.server.flask.core

    # A process can create Keystone's managers only once, so another process
    # fills the database.
    parent = os.getpid()
    child = os.fork()
    if not child:
        status = 1
        try:
            state.end_with(parent, signal.SIGKILL)
            keystone.server.configure(
                config_files=keystone.server.flask.core._get_config_files()
            )
            identity.fill(cloud.passwords, _catalog(cloud))
            status = 0
        except Exception:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(status)
    application = importlib.import_module('keystone.wsgi.api').application
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        raise RuntimeError('the users and projects could not be created')
    serve(application, cloud.sockets['keystone'], ready)


def _catalog(cloud: ServiceContext) -> dict[tuple[str, str], str]:
    return {
        ('identity', 'keystone'): cloud.files.auth_url,
        ('placement', 'placement'): cloud.files.url('placement'),
        ('image', 'glance'): cloud.files.url('glance'),
        ('network', 'neutron'): cloud.files.url('neutron'),
        ('compute', 'nova'): cloud.files.url('nova-api-1'),
    }


def run_placement(
    cloud: ServiceContext, ready: process_supervisor.Ready
) -> None:
    """Serve Placement."""
    os.environ['OS_PLACEMENT_CONFIG_DIR'] = cloud.folder.file(
        'etc', 'placement'
    )
    sys.argv = ['placement-api']
    application = importlib.import_module('placement.wsgi.api').application
    serve(application, cloud.sockets['placement'], ready)


def run_glance(cloud: ServiceContext, ready: process_supervisor.Ready) -> None:
    """Serve Glance."""
    os.environ['OS_GLANCE_CONFIG_DIR'] = cloud.folder.file('etc', 'glance')
    sys.argv = ['glance-api']
    application = importlib.import_module('glance.wsgi.api').application
    serve(application, cloud.sockets['glance'], ready)


def run_neutron(
    cloud: ServiceContext, ready: process_supervisor.Ready
) -> None:
    """Serve the Neutron API without networks."""
    serve(neutron.application, cloud.sockets['neutron'], ready)


def run_api(
    cloud: ServiceContext, name: str, ready: process_supervisor.Ready
) -> None:
    """Serve a nova-api."""
    arguments = cloud.files.nova_arguments(name)
    # nova/api/openstack/wsgi_app.py takes files from the environment, and a
    # folder of files from the command line.
    os.environ['OS_NOVA_CONFIG_DIR'] = cloud.folder.file('etc', 'nova')
    sys.argv = ['nova-api-os-compute', *arguments[2:]]
    application = importlib.import_module(
        'nova.wsgi.osapi_compute'
    ).application
    serve(application, cloud.sockets[name], ready)


def run_control(
    cloud: ServiceContext,
    kind: str,
    name: str,
    ready: process_supervisor.Ready,
) -> None:
    """Run a nova-conductor or a nova-scheduler.

    Does what ``nova.cmd.conductor:main`` and ``nova.cmd.scheduler:main`` do,
    without forking workers.

    :param kind: ``conductor`` or ``scheduler``.
    """
    from nova import config
    from nova import objects
    from nova import service
    from oslo_log import log
    from oslo_service import opts

    binary = f'nova-{kind}'
    rpcapi = importlib.import_module(f'nova.{kind}.rpcapi')
    sys.argv = [binary, *cloud.files.nova_arguments(name)]
    config.parse_args(sys.argv)
    log.setup(config.CONF, 'nova')
    objects.Service.enable_min_version_cache()
    server = service.Service.create(binary=binary, topic=rpcapi.RPC_TOPIC)
    # cotyledon does this before it forks workers: a value that oslo.config
    # refuses ends the service.
    opts.register_service_opts(config.CONF)
    if config.CONF.log_options:
        config.CONF.log_opt_values(log.getLogger('nova'), logging.DEBUG)
    _when_started(ready)
    service.serve(server, workers=1, no_fork=True)
    service.wait()


def run_compute(
    cloud: ServiceContext, host: str, ready: process_supervisor.Ready
) -> None:
    """Run nova-compute."""
    from nova.cmd import compute
    from nova.pci import utils

    from gpuclient.rehearsal import driver

    sys.argv = [
        'nova-compute',
        *cloud.files.nova_arguments(f'nova-compute-{host}'),
    ]
    driver.HOST = cloud.spec.host(host)
    utils.is_physical_function = driver.is_physical_function
    _when_started(ready)
    compute.main()


def _when_started(ready: process_supervisor.Ready) -> None:
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


def map_cells(cloud: ServiceContext) -> None:
    """Add the cells to the API database, as ``nova-manage cell_v2`` does."""
    from nova import config
    from nova import context
    from nova import exception
    from nova import objects

    config.parse_args(
        ['nova-manage', *cloud.files.nova_arguments('nova-conductor')]
    )
    admin = context.get_admin_context()
    # cell0 has no services (nova/cmd/manage.py).
    cells = (
        (objects.CellMapping.CELL0_UUID, 'cell0', 'none:///'),
        (_CELL1_UUID, 'cell1', config.CONF.transport_url),
    )
    for uuid, name, transport in cells:
        values = {
            'transport_url': transport,
            'database_connection': cloud.files.database(f'nova_{name}'),
        }
        try:
            cell = objects.CellMapping.get_by_uuid(admin, uuid)
        except exception.CellMappingNotFound:
            objects.CellMapping(admin, uuid=uuid, name=name, **values).create()
        else:
            for key, value in values.items():
                setattr(cell, key, value)
            cell.save()


_CELL1_UUID = '6f1d9c1e-5d0a-4d0e-9c0b-7265686561c1'


def map_hosts(cloud: ServiceContext) -> None:
    """Map new hosts to their cell, as ``nova-manage cell_v2`` does."""
    from nova import config
    from nova import context
    from nova.objects import host_mapping

    config.parse_args(
        ['nova-manage', *cloud.files.nova_arguments('nova-conductor')]
    )
    host_mapping.discover_hosts(context.get_admin_context())


def make_image(cloud: ServiceContext) -> None:
    """Create the public image ``blank`` of 1 MiB where it is missing."""
    from keystoneauth1 import session
    from keystoneauth1.identity import v3

    client = session.Session(
        v3.Password(
            auth_url=cloud.files.auth_url,
            username='admin',
            password=cloud.passwords['admin'],
            project_name='admin',
            user_domain_id='default',
            project_domain_id='default',
        )
    )
    url = f'{cloud.files.url("glance")}/v2/images'
    images = client.get(f'{url}?name=blank').json()['images']
    if any(image['status'] == 'active' for image in images):
        return
    image = client.post(
        url,
        json={
            'name': 'blank',
            'visibility': 'public',
            'disk_format': 'raw',
            'container_format': 'bare',
        },
    ).json()
    client.put(
        f'{url}/{image["id"]}/file',
        data=bytes(1 << 20),
        headers={'Content-Type': 'application/octet-stream'},
    )
