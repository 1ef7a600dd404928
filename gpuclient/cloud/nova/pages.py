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

"""Lists that Nova returns page by page."""

import collections.abc
import typing

from openstack.compute.v2 import _proxy

from gpuclient.cloud import request
from gpuclient.cloud import schema
from gpuclient import exceptions

#: Records in a page; the default of [api]max_limit.
SIZE = 1000


def read(
    compute: _proxy.Proxy,
    path: str,
    key: str,
    action: str,
    record: dict[str, schema.Shape],
    *,
    microversion: str,
    marker_field: str = 'id',
    **params: typing.Any,
) -> collections.abc.Iterator[dict[str, typing.Any]]:
    """Yield the records of a list, with a request for each page.

    :param key: Key of the records in an answer, ``servers``.
    :param action: What the read does, for the error message.
    :param record: Fields that each must have, besides an ID.
    :param marker_field: Field of the last record that names the next page.
    :raises gpuclient.exceptions.CloudError: With the server's message; or
        pages repeat.
    """
    params = {'limit': SIZE, **params}
    identifier = schema.OneOf((str, int))
    shape = {
        key: [{'id': identifier, **record}],
        f'{key}_links': schema.Optional([{}]),
    }
    markers: set[str] = set()
    while True:
        page = request.get(
            compute, path, action, shape, microversion=microversion, **params
        )
        yield from page[key]
        # The URL of the link may not be reachable from here: only its
        # presence is used.
        if not page.get(f'{key}_links') or not page[key]:
            return
        marker = str(page[key][-1][marker_field])
        if marker in markers:
            raise exceptions.CloudError(
                f'{action} failed: the page after {marker} ends with '
                f'{marker} again'
            )
        markers.add(marker)
        params['marker'] = marker
