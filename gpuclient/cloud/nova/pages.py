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

"""Lists that Nova gives page by page."""

import collections.abc
import typing

from openstack.compute.v2 import _proxy

from gpuclient.cloud import request
from gpuclient.cloud import schema
from gpuclient import exceptions

#: Records a page; Nova gives no more at once unless its operator says so
#: ([api]max_limit).
SIZE = 1000


def read(
    compute: _proxy.Proxy,
    path: str,
    key: str,
    what: str,
    record: dict[str, schema.Shape],
    *,
    microversion: str,
    **params: typing.Any,
) -> collections.abc.Iterator[dict[str, typing.Any]]:
    """Yield the records of a list, with one request for a page of them.

    :param key: Where the records stand in an answer, ``servers``.
    :param what: What this read does, for the error message.
    :param record: What each has to have, besides an id.
    :raises gpuclient.exceptions.CloudError: With the server's own words; or
        a page ends where one before it did, so that there is no end.
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
            compute, path, what, shape, microversion=microversion, **params
        )
        yield from page[key]
        # The link holds the address of the service as it knows itself, so
        # only its meaning is used: there is more, after the last one.
        if not page.get(f'{key}_links') or not page[key]:
            return
        marker = str(page[key][-1]['id'])
        if marker in markers:
            raise exceptions.CloudError(
                f'{what} failed: the page after {marker} ends with '
                f'{marker} again'
            )
        markers.add(marker)
        params['marker'] = marker
