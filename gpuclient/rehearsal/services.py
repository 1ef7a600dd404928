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
does not start. What the processes of Nova do is in
:mod:`gpuclient.rehearsal.nova_worker.jobs`; here are their jobs.
"""

import dataclasses
import importlib
import os
import signal
import socket
import sys

from gpuclient.rehearsal import service_files
from gpuclient.rehearsal import identity
from gpuclient.rehearsal import neutron
from gpuclient.rehearsal import nova_overlay
from gpuclient.rehearsal import placement_overlay
from gpuclient.rehearsal import spec
from gpuclient.rehearsal import state
from gpuclient.rehearsal.nova_worker import adapters
from gpuclient.rehearsal.nova_worker import jobs
from gpuclient.rehearsal.nova_worker import reporting
from gpuclient.rehearsal.nova_worker import wsgi


@dataclasses.dataclass(frozen=True)
class ServiceContext:
    """What the services need to know about their cloud."""

    folder: state.StateFolder
    spec: spec.CloudSpec
    files: service_files.ServiceFiles
    passwords: dict[str, str]
    #: The listening socket of each service that has one.
    sockets: dict[str, socket.socket]
    #: The Placement that runs; None for the installed one.
    placement: placement_overlay.PlacementOverlay | None = None


#: Modules to import before the processes of all services are forked.
_COMMON = (
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


def import_common() -> None:
    """Import what all services need, and let Nova use threads."""
    adapters.adapter(nova_overlay.installed()).patch()
    for name in _COMMON:
        importlib.import_module(name)
    import stevedore

    from gpuclient.rehearsal.nova_worker import sqlite

    sqlite.install()
    # Reads all entry points once instead of in each service.
    stevedore.ExtensionManager('oslo.policy.rule_checks')


def run_keystone(cloud: ServiceContext, ready: reporting.Ready) -> None:
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
    wsgi.serve(application, cloud.sockets['keystone'], ready)


def _catalog(cloud: ServiceContext) -> dict[tuple[str, str], str]:
    return {
        ('identity', 'keystone'): cloud.files.auth_url,
        ('placement', 'placement'): cloud.files.url('placement'),
        ('image', 'glance'): cloud.files.url('glance'),
        ('network', 'neutron'): cloud.files.url('neutron'),
        ('compute', 'nova'): cloud.files.url('nova-api-1'),
    }


def run_placement(cloud: ServiceContext, ready: reporting.Ready) -> None:
    """Serve Placement."""
    os.environ['OS_PLACEMENT_CONFIG_DIR'] = cloud.folder.file(
        'etc', 'placement'
    )
    sys.argv = ['placement-api']
    if cloud.placement is not None:
        cloud.placement.activate()
    application = importlib.import_module('placement.wsgi').init_application()
    wsgi.serve(application, cloud.sockets['placement'], ready)


def run_glance(cloud: ServiceContext, ready: reporting.Ready) -> None:
    """Serve Glance."""
    os.environ['OS_GLANCE_CONFIG_DIR'] = cloud.folder.file('etc', 'glance')
    sys.argv = ['glance-api']
    application = importlib.import_module('glance.wsgi.api').application
    wsgi.serve(application, cloud.sockets['glance'], ready)


def run_neutron(cloud: ServiceContext, ready: reporting.Ready) -> None:
    """Serve the Neutron API without networks."""
    wsgi.serve(neutron.application, cloud.sockets['neutron'], ready)


def api_job(cloud: ServiceContext, name: str) -> jobs.Job:
    """Return the job of a nova-api."""
    return {
        'kind': 'api',
        # Without those of --config-file.
        'arguments': cloud.files.nova_arguments(name)[2:],
        'config_dir': cloud.folder.file('etc', 'nova'),
    }


def control_job(cloud: ServiceContext, kind: str, name: str) -> jobs.Job:
    """Return the job of a nova-conductor or a nova-scheduler.

    :param kind: ``conductor`` or ``scheduler``.
    """
    return {'kind': kind, 'arguments': cloud.files.nova_arguments(name)}


def compute_job(cloud: ServiceContext, host: spec.SimulatedHost) -> jobs.Job:
    """Return the job of a nova-compute."""
    return {
        'kind': 'compute',
        'arguments': cloud.files.nova_arguments(f'nova-compute-{host.name}'),
        'host': {
            'hypervisor_hostname': host.hypervisor_hostname,
            'memory_mb': host.memory_mb,
            'disk_gb': host.disk_gb,
            'cells': [dataclasses.asdict(cell) for cell in host.cells],
            'devices': [
                dataclasses.asdict(function)
                for device in host.devices
                for function in device.functions()
            ],
        },
    }


def cells_job(cloud: ServiceContext) -> jobs.Job:
    """Return the job that adds the cells to the API database."""
    return {
        'kind': 'cells',
        'arguments': cloud.files.nova_arguments('nova-conductor'),
        'cells': [
            # cell0 has no services (nova/cmd/manage.py).
            (
                _CELL0_UUID,
                'cell0',
                'none:///',
                cloud.files.database('nova_cell0'),
            ),
            (_CELL1_UUID, 'cell1', None, cloud.files.database('nova_cell1')),
        ],
    }


#: That of ``nova/objects/cell_mapping.py``.
_CELL0_UUID = '00000000-0000-0000-0000-000000000000'
_CELL1_UUID = '6f1d9c1e-5d0a-4d0e-9c0b-7265686561c1'


def hosts_job(cloud: ServiceContext) -> jobs.Job:
    """Return the job that maps new hosts to their cell."""
    return {
        'kind': 'hosts',
        'arguments': cloud.files.nova_arguments('nova-conductor'),
    }


def make_image(cloud: ServiceContext, _ready: reporting.Ready) -> None:
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
