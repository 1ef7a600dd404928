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

"""The configuration files of the services.

Each service of Nova reads files of its own, as in production::

    etc/nova/nova.conf            options of all services of Nova
    etc/nova/SERVICE.conf.d/
        05-template.conf          options of a deployment tool's template
        10-user.conf, 11-...      the user's texts, unchanged
        90-rehearsal.conf         options that the user cannot change

Nova reads them in this order: the last value of an option wins, and options
with several values (``[pci]alias``, ``[pci]device_spec``) have all of them.
"""

import contextlib
import hashlib
import importlib.metadata
import json
import os
import pathlib
import re
import typing

from gpuclient import exceptions
from gpuclient.files import atomic
from gpuclient.rehearsal import nova_overlay
from gpuclient.rehearsal import spec
from gpuclient.rehearsal import state

REGION = 'RegionOne'
#: The last file that a service of Nova reads.
OWN_FILE = '90-rehearsal.conf'
_TEMPLATE_FILE = '05-template.conf'
#: The file with the digests of all written files.
_WRITTEN = 'written.json'
#: ServiceFiles that may be edited: the next start keeps them.
_EDITABLE = re.compile(
    r'^etc/nova/[^/]+\.conf\.d/(05-template|\d+-user)\.conf$'
)
_FOLDERS = (
    'db',
    'etc/fernet',
    'etc/keystone',
    'etc/placement',
    'etc/glance',
    'etc/nova',
    'images',
    'lock.d',
    'log',
    'staging',
)
DATABASES = (
    'keystone',
    'placement',
    'glance',
    'nova_api',
    'nova_cell0',
    'nova_cell1',
)

_KEYSTONE = """\
[DEFAULT]
log_file = {log}
[database]
connection = {database}
sqlite_synchronous = False
[token]
provider = fernet
expiration = 86400
[fernet_tokens]
key_repository = {fernet}
[fernet_receipts]
key_repository = {fernet}
[credential]
key_repository = {fernet}
[identity]
password_hash_rounds = 4
[cache]
enabled = True
backend = dogpile.cache.memory
"""

_PLACEMENT = """\
[DEFAULT]
log_file = {log}
[api]
auth_strategy = keystone
[placement]
randomize_allocation_candidates = True
max_allocation_candidates = 1000
allocation_candidates_generation_strategy = breadth-first
[placement_database]
connection = {database}
sqlite_synchronous = False
[keystone_authtoken]
{authtoken}"""

_GLANCE = """\
[DEFAULT]
log_file = {log}
enabled_backends = disk:file
enabled_import_methods = []
worker_self_reference_url = {url}
node_staging_uri = file://{staging}
[glance_store]
default_backend = disk
[disk]
filesystem_store_datadir = {images}
[os_glance_staging_store]
filesystem_store_datadir = {staging}
[os_glance_tasks_store]
filesystem_store_datadir = {staging}
[database]
connection = {database}
sqlite_synchronous = False
[paste_deploy]
flavor = keystone
config_file = {paste}
[oslo_concurrency]
lock_path = {lock}
[keystone_authtoken]
{authtoken}"""

# Options that the user can change.
_NOVA = """\
[DEFAULT]
my_ip = 127.0.0.1
use_journal = False
report_interval = 10
service_down_time = 60
manager_shutdown_timeout = 3
graceful_shutdown_timeout = 10
update_resources_interval = 60
initial_cpu_allocation_ratio = 4.0
[quota]
instances = -1
cores = -1
ram = -1
[vnc]
enabled = False
# Of [quota]driver nova.quota.UnifiedLimitsDriver, which the user may set.
[oslo_limit]
endpoint_service_type = compute
endpoint_region_name = {region}
endpoint_interface = public
{auth}"""

# Options that the user cannot change: the cloud does not start without them.
_NOVA_OWN = """\
[DEFAULT]
host = {host}
log_file = {log}
log_dir =
use_syslog = False
state_path = {state}
instances_path = {state}/instances
transport_url = {transport}
compute_driver = rehearsal.Driver
config_source =
log_config_append =
servicegroup_driver = db
[api]
compute_link_prefix =
glance_link_prefix =
vendordata_providers = StaticJSON
vendordata_dynamic_targets =
[cache]
enabled = False
[oslo_messaging_notifications]
transport_url = {transport}
[oslo_middleware_tracing]
enabled = False
[profiler]
enabled = False
[api_database]
connection = {api_database}
sqlite_synchronous = False
[database]
connection = {cell_database}
sqlite_synchronous = False
[keystone_authtoken]
{authtoken}[placement]
{auth}[service_user]
send_service_user_token = False
[neutron]
endpoint_override = {neutron}
{auth}[glance]
endpoint_override = {glance}
[oslo_concurrency]
lock_path = {lock}
"""


class ServiceFiles:
    """The configuration files of a cloud, in its state folder.

    :param folder: The state folder.
    :param ports: The port of each service that listens.
    :param passwords: The password of each user.
    :param transport: The ``transport_url`` of Nova.
    :param overlay: The Nova that runs; the installed one by default.
    """

    def __init__(
        self,
        folder: state.StateFolder,
        ports: dict[str, int],
        passwords: dict[str, str],
        transport: str,
        overlay: nova_overlay.NovaOverlay | None = None,
    ) -> None:
        self._overlay = overlay
        self._folder = folder
        self._ports = ports
        self._passwords = passwords
        self._transport = transport
        #: The digest of each file when it was written, by its path.
        self._digests: dict[str, str] = {}
        self._kept: frozenset[str] = frozenset()

    def url(self, service: str) -> str:
        """Return the URL of a service that listens."""
        url = f'http://127.0.0.1:{self._ports[service]}'
        return f'{url}/v2.1' if service.startswith('nova-api') else url

    @property
    def auth_url(self) -> str:
        """The URL of Keystone for clients."""
        return f'{self.url("keystone")}/v3'

    def database(self, name: str) -> str:
        """Return the ``connection`` of a database."""
        return database_url(self._folder.file('db', f'{name}.sqlite'))

    def nova_arguments(self, service: str) -> list[str]:
        """Return the arguments of a service of Nova."""
        return [
            '--config-file',
            self._folder.file('etc', 'nova', 'nova.conf'),
            '--config-dir',
            self._folder.file('etc', 'nova', f'{service}.conf.d'),
        ]

    def write(self, cloud: spec.CloudSpec) -> None:
        """Write all files, except for files that the user has edited.

        :raises RehearsalError: A file that must not be edited was edited.
        """
        self._keep_edited()
        for folder in _FOLDERS:
            self._folder.path.joinpath(folder).mkdir(
                mode=0o700, parents=True, exist_ok=True
            )
        self._write_others()
        self._write(
            'etc/nova/nova.conf', _NOVA, region=REGION, auth=self._auth()
        )
        paste = (
            self._overlay.file('etc/nova/api-paste.ini')
            if self._overlay
            else _data_file('nova', 'etc/nova/api-paste.ini')
        )
        self._write(
            'etc/nova/api-paste.ini',
            '{text}',
            text=pathlib.Path(paste).read_text(encoding='utf-8'),
        )
        for service in cloud.control_plane:
            self._write_nova(
                service.name, service.host, service.config, service.template
            )
        for host in cloud.hosts:
            self._write_nova(
                f'nova-compute-{host.name}', host.name, host.config
            )
        state.write_private(
            self._folder.file(_WRITTEN), json.dumps(self._digests)
        )

    def _write_others(self) -> None:
        """Write the files of Keystone, Placement and Glance."""
        self._write(
            'etc/keystone/keystone.conf',
            _KEYSTONE,
            log=self.log('keystone'),
            database=self.database('keystone'),
            fernet=self._folder.file('etc', 'fernet'),
        )
        self._write(
            'etc/placement/placement.conf',
            _PLACEMENT,
            log=self.log('placement'),
            database=self.database('placement'),
            authtoken=self._authtoken(),
        )
        self._write(
            'etc/glance/glance-api.conf',
            _GLANCE,
            log=self.log('glance'),
            database=self.database('glance'),
            images=self._folder.file('images'),
            staging=self._folder.file('staging'),
            url=self.url('glance'),
            paste=_data_file('glance', 'etc/glance/glance-api-paste.ini'),
            authtoken=self._authtoken(),
            lock=self._folder.file('lock.d'),
        )

    def _keep_edited(self) -> None:
        check_edited(self._folder)
        self._kept = frozenset(edited(self._folder))
        self._digests = _read_digests(self._folder)

    def _write_nova(
        self,
        service: str,
        host: str,
        texts: tuple[str, ...],
        template: str = '',
    ) -> None:
        folder = f'etc/nova/{service}.conf.d'
        path = self._folder.path / folder
        path.mkdir(mode=0o700, exist_ok=True)
        for old in path.iterdir():
            # Files that the user has added are kept.
            name = f'{folder}/{old.name}'
            if name in self._digests and name not in self._kept:
                old.unlink()
        directory = self._folder.path / 'nova' / service
        directory.joinpath('instances').mkdir(parents=True, exist_ok=True)
        if template:
            self._write(f'{folder}/{_TEMPLATE_FILE}', '{text}', text=template)
        for number, text in enumerate(texts):
            self._write(f'{folder}/{user_file(number)}', '{text}', text=text)
        self._write(
            f'{folder}/{OWN_FILE}',
            _NOVA_OWN,
            host=host,
            log=self.log(service),
            state=os.fspath(directory),
            transport=self._transport,
            api_database=self.database('nova_api'),
            cell_database=self.database('nova_cell1'),
            auth=self._auth(),
            authtoken=self._authtoken(),
            neutron=self.url('neutron'),
            glance=self.url('glance'),
            lock=self._folder.file('lock.d'),
        )

    def write_clouds_yaml(self) -> None:
        """Write the clouds.yaml of this cloud."""
        import yaml

        state.write_private(
            self._folder.clouds_yaml,
            yaml.safe_dump({'clouds': self.clouds()}, sort_keys=False),
        )

    def clouds(self) -> dict[str, typing.Any]:
        """Return the entries of clouds.yaml by name."""
        admin, member = self._folder.cloud_names
        return {
            admin: self._cloud('admin', 'admin'),
            member: self._cloud('member', 'demo'),
        }

    def _cloud(self, user: str, project: str) -> dict[str, typing.Any]:
        return {
            'auth': {
                'auth_url': self.auth_url,
                'username': user,
                'password': self._passwords[user],
                'project_name': project,
                'user_domain_id': 'default',
                'project_domain_id': 'default',
            },
            'region_name': REGION,
            'identity_api_version': '3',
        }

    def log(self, service: str) -> str:
        """Return the log file of a service."""
        return self._folder.file('log', f'{service}.log')

    def _auth(self) -> str:
        return (
            f'auth_url = {self.auth_url}\n'
            'auth_type = password\n'
            'username = nova\n'
            f'password = {self._passwords["nova"]}\n'
            'project_name = service\n'
            'user_domain_id = default\n'
            'project_domain_id = default\n'
            f'region_name = {REGION}\n'
        )

    def _authtoken(self) -> str:
        return (
            f'www_authenticate_uri = {self.auth_url}\n'
            'service_token_roles_required = True\n'
            f'{self._auth()}'
        )

    def _write(self, path: str, template: str, **values: str) -> None:
        if path in self._kept:
            return
        text = template.format(**values)
        state.write_private(self._folder.file(path), text)
        self._digests[path] = _digest(text.encode())


def edited(folder: state.StateFolder) -> list[str]:
    """Return the files that were changed since they were written."""
    changed = []
    for path, digest in sorted(_read_digests(folder).items()):
        with contextlib.suppress(exceptions.DocumentError):
            if _digest(atomic.read(folder.file(path))) != digest:
                changed.append(path)
    return changed


def check_edited(folder: state.StateFolder) -> None:
    """Check that only files were edited that the user may edit.

    :raises RehearsalError: Another file was edited.
    """
    for path in edited(folder):
        if not _EDITABLE.search(path):
            raise exceptions.RehearsalError(
                f'{path} was edited, but each start rewrites it: delete it, '
                'and set the options in etc/nova/SERVICE.conf.d/20-edited.conf'
            )


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _read_digests(folder: state.StateFolder) -> dict[str, str]:
    digests: typing.Any = {}
    with contextlib.suppress(FileNotFoundError, exceptions.RehearsalError):
        digests = folder.load(_WRITTEN)
    if not isinstance(digests, dict):
        return {}
    # Only files in the folder are read.
    return {
        path: str(digest)
        for path, digest in digests.items()
        if path.startswith('etc/') and '..' not in path.split('/')
    }


def user_file(number: int) -> str:
    """Return the name of the file of one of the user's texts.

    :param number: The index of the text.
    """
    return f'{10 + number}-user.conf'


def database_url(path: str) -> str:
    """Return the URL of an SQLite database for SQLAlchemy."""
    return f'sqlite:///{path}?timeout=60'


def _data_file(distribution: str, path: str) -> str:
    """Return the path of a data file of a distribution."""
    for file in importlib.metadata.files(distribution) or ():
        if file.as_posix().endswith(path):
            return os.fspath(file.locate())
    raise exceptions.RehearsalError(
        f'The installed {distribution} has no file {path}'
    )
