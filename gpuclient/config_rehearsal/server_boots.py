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

"""Boot servers until no more fit, and take them away again."""

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
_USAGES = '1.9'
#: Seconds that a server may take to boot or to go, however many there are.
PATIENCE = 180
_PAUSE = 0.2


@dataclasses.dataclass(frozen=True)
class Boots:
    """How many servers booted."""

    count: int
    #: Why the next one did not, in Nova's own words; empty where
    #: :func:`until_full` stopped by itself.
    words: str


def until_full(
    cloud: connection.Connection,
    flavors: collections.abc.Iterable[tuple[flavor_model.Flavor, int]],
    *,
    image_id: str,
    most: int,
) -> Boots:
    """Boot servers until one of each flavor does not boot; delete all.

    Returns when Placement has nothing more allocated to the project.

    :param flavors: With the number of servers that are expected, which are
        asked for at once to save time.
    :param most: Stop there.
    :raises gpuclient.exceptions.CloudError: Nova or Placement does not
        answer, or the servers do not go away.
    """
    name = f'gpuclient-boot-{uuid.uuid4()}'
    booted, words = 0, ''
    try:
        for number, (flavor, expected) in enumerate(flavors):
            step = max(1, min(expected, most))
            while booted < most:
                active, words = _boot(
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
    return Boots(booted, words)


def _boot(
    cloud: connection.Connection,
    name: str,
    flavor: flavor_model.Flavor,
    image_id: str,
    count: int,
) -> tuple[int, str]:
    """Boot servers; return how many are ACTIVE, and why others are not."""
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
    servers = _wait(
        cloud,
        name,
        lambda found: (
            not any(
                server['status'] == 'BUILD'
                or server['OS-EXT-STS:task_state'] is not None
                for server in found
            )
        ),
    )
    words = [
        str((server.get('fault') or {}).get('message') or server['status'])
        for server in servers
        if server['status'] != 'ACTIVE'
    ]
    return len(servers) - len(words), ' '.join((words or [''])[0].split())


def _delete(cloud: connection.Connection, name: str) -> None:
    for server in _servers(cloud, name):
        request.send(
            cloud.compute,
            'DELETE',
            f'/servers/{server["id"]}',
            'deleting server {}'.format(server['id']),
        )
    _wait(cloud, name, lambda found: not found)
    # nova-compute forgets a device after its server is gone, and tells
    # Placement after that.
    project_id = cloud.session.get_project_id()
    deadline = time.monotonic() + PATIENCE
    while any(
        request.get(
            cloud.placement,
            '/usages',
            f'reading the usage of project {project_id}',
            {'usages': schema.Map(int)},
            microversion=_USAGES,
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
    deadline = time.monotonic() + PATIENCE
    while not condition(servers := _servers(cloud, name)):
        _pause(deadline, name)
    return servers


def _pause(deadline: float, name: str) -> None:
    if time.monotonic() > deadline:
        raise exceptions.CloudError(
            f'servers {name}: not done after {PATIENCE} seconds'
        )
    time.sleep(_PAUSE)
