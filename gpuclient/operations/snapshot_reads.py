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

"""The reads that a snapshot holds: those of the reading commands.

Each calls the function that the command calls, so that both send the same
requests. Filters of a command send others, which
:mod:`gpuclient.cloud.snapshot.derivation` answers from these.
"""

import collections.abc
import contextlib
import dataclasses
import functools

from openstack import connection

from gpuclient.cloud import capacity as cloud_capacity
from gpuclient.cloud import keystone
from gpuclient.cloud.nova import aggregates
from gpuclient.cloud.nova import flavors as nova_flavors
from gpuclient.cloud.nova import hypervisors
from gpuclient.cloud.nova import migrations
from gpuclient.cloud.nova import servers as nova_servers
from gpuclient.cloud import request
from gpuclient import exceptions
from gpuclient.model import demand as demand_model
from gpuclient.model import deployment
from gpuclient.model import flavor as flavor_model
from gpuclient.model import inventory
from gpuclient.model import release as release_model
from gpuclient.operations import alias_inventory
from gpuclient.operations import capacity_report
from gpuclient.operations import cloud_inspection
from gpuclient.operations import cloud_observation
from gpuclient.operations import explanation
from gpuclient.operations import flavor_list
from gpuclient.operations import gpu_metrics
from gpuclient.operations import leak_check
from gpuclient.operations import placement_view
from gpuclient.operations import project_list
from gpuclient.operations import project_view
from gpuclient.operations import release_choice
from gpuclient.operations import server_explanation
from gpuclient.operations import server_list

#: How often nova-api is asked for each alias: as often as "gpu check" does.
_ATTEMPTS = 4
#: Servers without a host that are explained unless others are named.
_SERVERS = 20

_Say = collections.abc.Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Subjects:
    """Objects that no reading command reads unless it is given their name."""

    #: Names or IDs.
    flavors: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    projects: tuple[str, ...] = ()
    servers: tuple[str, ...] = ()
    users: tuple[str, ...] = ()


def run(cloud: connection.Connection, subjects: Subjects, say: _Say) -> None:
    """Read a cloud, as far as it can be read.

    A refusal of a service is an answer, too: the commands show it again.

    :param say: Called with each line of progress.
    """
    for name, read in (*_READS, *_of_subjects(subjects)):
        say(f'Reading {name}')
        with (
            contextlib.suppress(exceptions.GPUError),
            request.library_errors(name),
        ):
            read(cloud)


def run_twice(cloud: connection.Connection, say: _Say) -> None:
    """Read what a command reads again before it reports it.

    The answers of the second read count.
    """
    say('Reading allocations')
    with (
        contextlib.suppress(exceptions.GPUError),
        request.library_errors('allocations'),
    ):
        leak_check.check(cloud, leak_check.LeakFilters())


def _read_servers(cloud: connection.Connection) -> None:
    """Read all servers, and those of the project if they are not among them.

    Of a user with a fixed token it is unknown which are.
    """
    own = not hasattr(cloud.session.auth, 'get_access')
    try:
        server_list.read(cloud, server_list.ServerFilters(all_projects=True))
    except exceptions.Forbidden:
        own = True
    if own:
        server_list.read(cloud, server_list.ServerFilters())


def _read_devices(cloud: connection.Connection) -> None:
    placement_view.list_devices(
        cloud, placement_view.DeviceFilters(), all_hosts=True
    )


def _read_expected(cloud: connection.Connection) -> None:
    placement_view.list_expected(cloud, (), None)


def _read_flavors(cloud: connection.Connection) -> None:
    flavor_list.read(cloud, alias=None, all_flavors=True, ask_nova=True)


def _read_aliases(cloud: connection.Connection) -> None:
    alias_inventory.read((), lambda: (cloud, ''))


def _read_capacity(cloud: connection.Connection) -> None:
    capacity_report.read(cloud, capacity_report.device_flavors(cloud))


def _read_units(cloud: connection.Connection) -> None:
    """Ask for the amounts of each flavor.

    Those of "capacity show" differ from those of the list, and aliases that a
    file defines make more flavors count.
    """
    hosts = cloud_capacity.read_hosts(cloud).value
    for flavor in nova_flavors.list_flavors(cloud.compute):
        plain = dataclasses.replace(
            flavor,
            extra_specs={
                key: value
                for key, value in (flavor.extra_specs or {}).items()
                if key != flavor_model.ALIASES
            },
        )
        cloud_capacity.check_units(
            cloud, hosts, [demand_model.demand(plain, {})]
        )


def _read_metrics(cloud: connection.Connection) -> None:
    gpu_metrics.read(cloud, ())


def _read_size(cloud: connection.Connection) -> None:
    hypervisors.size(cloud.compute)


def _read_hosts(cloud: connection.Connection) -> None:
    tuple(hypervisors.list_hypervisors(cloud.compute))


def _read_aggregates(cloud: connection.Connection) -> None:
    aggregates.list_aggregates(cloud.compute)


def _read_zones(cloud: connection.Connection) -> None:
    aggregates.list_zones(cloud.compute)


def _read_projects(cloud: connection.Connection) -> None:
    keystone.project_names(cloud)


def _read_check(cloud: connection.Connection) -> None:
    cloud_inspection.read(cloud, _release(cloud), attempts=_ATTEMPTS)


def _read_resized(cloud: connection.Connection) -> None:
    """Read what a check reads where a limit is exceeded."""
    migrations.resized_servers(cloud.compute)


def _release(cloud: connection.Connection) -> release_model.Release:
    return release_choice.choose_with_cloud(None, (), cloud).release


def _explain(subjects: Subjects, cloud: connection.Connection) -> None:
    """Explain each flavor, without an image and with each image."""
    release = _release(cloud)
    flavors = [flavor.id for flavor in capacity_report.device_flavors(cloud)]
    for name in (*flavors, *subjects.flavors):
        for image in (None, *subjects.images):
            with contextlib.suppress(exceptions.GPUError):
                explanation.explain_flavor(
                    cloud, name, explanation.Request(image=image), release
                )


def _explain_servers(subjects: Subjects, cloud: connection.Connection) -> None:
    """Explain servers without a host that request devices, and others."""
    release = _release(cloud)
    try:
        servers = nova_servers.list_servers(cloud.compute, all_projects=True)
    except exceptions.Forbidden:
        servers = nova_servers.list_servers(cloud.compute)
    failed = [
        server.uuid
        for server in servers
        if server.status in ('ERROR', 'SHELVED_OFFLOADED')
        and inventory.requests_devices(server)
    ]
    for name in (*failed[:_SERVERS], *subjects.servers):
        with contextlib.suppress(exceptions.GPUError):
            server_explanation.explain_server(
                cloud, name, explanation.Request(), release
            )


def _read_observation(cloud: connection.Connection) -> None:
    """Read what the check of an upgrade reads."""
    cloud_observation.read(cloud, _release(cloud), deployment.Deployment())


def _read_project_list(cloud: connection.Connection) -> None:
    listed = project_list.read(cloud, None, None).value
    for _project in project_list.over_other_limits(cloud, listed):
        pass


def _show_projects(subjects: Subjects, cloud: connection.Connection) -> None:
    for name in (None, *subjects.projects):
        with contextlib.suppress(exceptions.GPUError):
            project_view.show(cloud, name, None)


_Read = collections.abc.Callable[[connection.Connection], None]
_READS: tuple[tuple[str, _Read], ...] = (
    ('servers', _read_servers),
    ('devices', _read_devices),
    ('devices that are expected', _read_expected),
    ('flavors', _read_flavors),
    ('aliases', _read_aliases),
    ('capacity', _read_capacity),
    ('units of hosts', _read_units),
    ('metrics', _read_metrics),
    # Some commands read these only for certain names and options.
    ('number of hosts', _read_size),
    ('hosts', _read_hosts),
    ('aggregates', _read_aggregates),
    ('availability zones', _read_zones),
    ('projects', _read_projects),
    ('projects with devices', _read_project_list),
    ('services and limits', _read_check),
    ('state before an upgrade', _read_observation),
    ('migrations', _read_resized),
)


def _of_subjects(
    subjects: Subjects,
) -> collections.abc.Iterator[tuple[str, _Read]]:
    yield 'explanations', functools.partial(_explain, subjects)
    yield (
        'explanations of servers',
        functools.partial(_explain_servers, subjects),
    )
    yield 'projects', functools.partial(_show_projects, subjects)
    for user in subjects.users:
        yield f'user {user}', functools.partial(_find_user, user)
    for project in subjects.projects:
        yield f'project {project}', functools.partial(_find_project, project)


def _find_user(name: str, cloud: connection.Connection) -> None:
    keystone.find_user(cloud, name)


def _find_project(name: str, cloud: connection.Connection) -> None:
    keystone.find_project(cloud, name)
