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

"""Microversions of the compute API."""

import collections.abc

from keystoneauth1 import discover
from openstack.compute.v2 import _proxy
from openstack import connection

from gpuclient.cloud import request
from gpuclient import exceptions


def newest(compute: _proxy.Proxy) -> str | None:
    """Return the newest microversion of Nova, ``2.96``; None if unknown."""
    try:
        data = request.endpoint_data(compute, 'Reading the versions of Nova')
    except exceptions.GPUError:
        # The commands that need Nova report it.
        return None
    if data is None or not data.max_microversion:
        return None
    return '.'.join(map(str, data.max_microversion))


def newest_of(cloud: connection.Connection) -> str | None:
    """Return the newest microversion of Nova in a cloud; None if unknown."""
    try:
        with request.library_errors('Reading the versions of Nova'):
            return newest(cloud.compute)
    except exceptions.GPUError:
        return None


def highest(
    compute: _proxy.Proxy, microversions: collections.abc.Sequence[str]
) -> str:
    """Return the highest of some microversions that Nova has.

    :param microversions: In order; the first is returned if it is not known
        which ones Nova has.
    """
    known = newest(compute)
    if known is None:
        return microversions[0]
    most = tuple(map(int, known.split('.')))
    return max(
        (
            microversion
            for microversion in microversions
            if tuple(map(int, microversion.split('.'))) <= most
        ),
        key=lambda microversion: tuple(map(int, microversion.split('.'))),
        default=microversions[0],
    )


def require(compute: _proxy.Proxy, microversion: str, action: str) -> None:
    """Make sure that Nova has a microversion.

    :param action: What needs it, for the message.
    :raises gpuclient.exceptions.Unsupported: It is older.
    :raises gpuclient.exceptions.Unreachable: It does not answer.
    """
    # Not openstack.utils.supports_microversion, which considers the default
    # microversion of the client.
    data = request.endpoint_data(compute, action)
    if data is None or not data.max_microversion:
        # keystoneauth does not distinguish a discovery without an answer from
        # a Nova without microversions.
        request.send(compute, 'GET', '', action, check=False)
    elif discover.version_between(
        data.min_microversion, data.max_microversion, microversion
    ):
        return
    newest = data.max_microversion if data else None
    raise exceptions.Unsupported(
        f'{action} requires compute API microversion {microversion}; this '
        f'cloud has {".".join(map(str, newest)) if newest else "2.0"}'
    )
