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

"""Boot servers until no more fit, then delete them."""

import collections.abc
import dataclasses
import time
import typing
import uuid

from openstack import connection

from gpuclient.cloud.nova import pages
from gpuclient.cloud import request
from gpuclient.cloud import schema
from gpuclient import exceptions
from gpuclient.model import flavor as flavor_model

_MICROVERSION = '2.90'
_USAGES_MICROVERSION = '1.9'
#: Seconds in which servers have to boot, and to be deleted.
TIMEOUT = 180
_INTERVAL = 0.2


@dataclasses.dataclass(frozen=True)
class BootResult:
    """How many servers booted."""

    count: int
    #: Nova's message about the first server that did not boot; empty where
    #: all booted.
    message: str


def boot_until_full(
    cloud: connection.Connection,
    flavors: collections.abc.Iterable[tuple[flavor_model.Flavor, int]],
    *,
    image_id: str,
    most: int,
) -> BootResult:
    """Boot servers until one of each flavor does not boot; delete them all.

    Returns when Placement has no allocation of the project any more.

    :param flavors: Each with the number of servers that are expected, which
        are booted with one request to save time.
    :param most: The number of servers to stop at.
    :raises gpuclient.exceptions.CloudError: Nova or Placement does not
        answer, or the servers are not deleted in time.
    """
    name = f'gpuclient-boot-{uuid.uuid4()}'
    booted, message = 0, ''
    try:
        for number, (flavor, expected) in enumerate(flavors):
            step = max(1, min(expected, most))
            while booted < most:
                active, message = _boot(
                    cloud,
                    f'{name}.{number}.{booted}.{step}',
                    flavor,
                    image_id,
                    step,
                )
                booted += active
                if active < step == 1:
                    break
                step = 1
    finally:
        _delete(cloud, name)
    return BootResult(booted, message)


def _boot(
    cloud: connection.Connection,
    name: str,
    flavor: flavor_model.Flavor,
    image_id: str,
    count: int,
) -> tuple[int, str]:
    """Boot servers; return how many are ACTIVE, and why one is not."""
    try:
        request.send(
            cloud.compute,
            'POST',
            '/servers',
            f'booting a server of flavor {flavor.name!r}',
            microversion=_MICROVERSION,
            json={
                'server': {
                    'name': name,
                    'flavorRef': flavor.id,
                    'imageRef': image_id,
                    'networks': 'none',
                    'min_count': count,
                    'max_count': count,
                }
            },
        )
    except exceptions.CloudError as exc:
        if exc.status is None or exc.status >= 500:
            raise
        return 0, str(exc)
    servers = _wait(cloud, name, _are_settled)
    messages = [
        str((server.get('fault') or {}).get('message') or server['status'])
        for server in servers
        if server['status'] != 'ACTIVE'
    ]
    message = ' '.join(messages[0].split()) if messages else ''
    return len(servers) - len(messages), message


def _are_settled(servers: list[dict[str, typing.Any]]) -> bool:
    return not any(
        server['status'] == 'BUILD'
        or server['OS-EXT-STS:task_state'] is not None
        for server in servers
    )


def _delete(cloud: connection.Connection, name: str) -> None:
    for server in _servers(cloud, name):
        request.send(
            cloud.compute,
            'DELETE',
            f'/servers/{server["id"]}',
            f'deleting server {server["id"]}',
        )
    _wait(cloud, name, lambda servers: not servers)
    # nova-compute frees a device after its server is deleted, and updates
    # Placement after that.
    project_id = cloud.session.get_project_id()
    deadline = time.monotonic() + TIMEOUT
    while any(
        request.get(
            cloud.placement,
            '/usages',
            f'reading the usage of project {project_id}',
            {'usages': schema.Map(int)},
            microversion=_USAGES_MICROVERSION,
            project_id=project_id,
        )['usages'].values()
    ):
        _pause(deadline, name)


def _servers(
    cloud: connection.Connection, name: str
) -> list[dict[str, typing.Any]]:
    return list(
        pages.read(
            cloud.compute,
            '/servers/detail',
            'servers',
            'reading servers',
            {
                'status': str,
                'OS-EXT-STS:task_state': schema.Optional(str),
                'fault': schema.Optional({'message': schema.Optional(str)}),
            },
            microversion=_MICROVERSION,
            name=f'^{name}',
        )
    )


def _wait(
    cloud: connection.Connection,
    name: str,
    condition: collections.abc.Callable[[list[dict[str, typing.Any]]], bool],
) -> list[dict[str, typing.Any]]:
    """Return servers as soon as a condition holds for them."""
    deadline = time.monotonic() + TIMEOUT
    while not condition(servers := _servers(cloud, name)):
        _pause(deadline, name)
    return servers


def _pause(deadline: float, name: str) -> None:
    if time.monotonic() > deadline:
        raise exceptions.CloudError(
            f'servers {name}: not done after {TIMEOUT} seconds'
        )
    time.sleep(_INTERVAL)
