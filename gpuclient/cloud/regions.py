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

"""Regions of a cloud, and connections to them."""

import collections.abc
import contextlib
import logging
import typing

from openstack import connection

#: keystoneauth warns that it has to guess; the error that follows is enough.
_GUESSING = tuple(
    logging.getLogger(f'keystoneauth.{name}')
    for name in ('discover', 'identity.base', 'identity.generic.base')
)


def _is_no_warning(record: logging.LogRecord) -> bool:
    return record.levelno != logging.WARNING


@contextlib.contextmanager
def without_warnings() -> collections.abc.Iterator[None]:
    """Silence warnings of keystoneauth about clouds that do not answer."""
    for log in _GUESSING:
        log.addFilter(_is_no_warning)
    try:
        yield
    finally:
        for log in _GUESSING:
            log.removeFilter(_is_no_warning)


def with_placement(cloud: connection.Connection) -> list[str]:
    """Return the regions for which the catalog has a Placement endpoint."""
    auth: typing.Any = cloud.session.auth
    if not hasattr(auth, 'get_access'):
        # A fixed endpoint has no catalog.
        return []
    catalog = auth.get_access(cloud.session).service_catalog
    endpoints = catalog.get_endpoints_data(service_type='placement')
    return sorted(
        {
            endpoint.region_name
            for of_service in endpoints.values()
            for endpoint in of_service
            if endpoint.region_name
        }
    )


def connect(
    cloud: connection.Connection, region: str
) -> connection.Connection:
    """Return a connection to another region, with the same token.

    Unlike with the SDK's own call, clouds.yaml need not list the region.
    """
    settings = {
        key: value
        for key, value in cloud.config.config.items()
        if key not in ('auth', 'region_name', 'regions')
    }
    return connection.Connection(
        session=cloud.session, region_name=region, **settings
    )
