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

"""Unified limits of Keystone for Nova."""

import typing

from openstack import connection

from gpuclient.cloud import request
from gpuclient.cloud import schema
from gpuclient.model import limits as limits_model

_TEXT = schema.Optional(str)
_LIMIT: dict[str, schema.Shape] = {
    'service_id': str,
    'region_id': _TEXT,
    'resource_name': str,
}


def read_limits(cloud: connection.Connection) -> limits_model.UnifiedLimits:
    """Return the limits of the compute service, with three requests.

    Those of its region only, as oslo.limit reads them
    (``oslo_limit/limit.py:_EnforcerUtils``). Project limits are those that
    Keystone shows to this user.

    :raises gpuclient.exceptions.CloudError: With the server's message.
    """
    services = {
        record['id']
        for record in _list(
            cloud, 'services', 'services', {'id': str}, type='compute'
        )
    }
    region = _region(cloud)

    def is_read_by_nova(record: dict[str, typing.Any]) -> bool:
        return record['service_id'] in services and (
            region is None or record.get('region_id') == region
        )

    registered: dict[str, int] = {}
    elsewhere = set()
    for record in _list(
        cloud,
        'registered_limits',
        'registered limits',
        {**_LIMIT, 'default_limit': int},
    ):
        if is_read_by_nova(record):
            registered[record['resource_name']] = record['default_limit']
        else:
            elsewhere.add(record['resource_name'])
    by_project = {}
    if registered:
        # Without registered limits there are none of projects.
        for record in _list(
            cloud,
            'limits',
            'limits of projects',
            {**_LIMIT, 'resource_limit': int, 'project_id': _TEXT},
        ):
            if is_read_by_nova(record) and record.get('project_id'):
                key = record['project_id'], record['resource_name']
                by_project[key] = record['resource_limit']
    return limits_model.UnifiedLimits(
        registered, by_project, frozenset(elsewhere - registered.keys())
    )


def _region(cloud: connection.Connection) -> str | None:
    """Return the region of Nova's endpoint; None where it is not known."""
    name = cloud.config.get_region_name('compute')
    if name:
        return str(name)
    auth: typing.Any = cloud.session.auth
    if not hasattr(auth, 'get_access'):
        return None
    catalog = auth.get_access(cloud.session).service_catalog
    regions = {
        endpoint.region_name
        for endpoints in catalog.get_endpoints_data(
            service_type='compute'
        ).values()
        for endpoint in endpoints
        if endpoint.region_name
    }
    return regions.pop() if len(regions) == 1 else None


def _list(
    cloud: connection.Connection,
    key: str,
    what: str,
    record: dict[str, schema.Shape],
    **params: str,
) -> list[dict[str, typing.Any]]:
    answer = request.get(
        cloud.identity, f'/{key}', f'listing {what}', {key: [record]}, **params
    )
    return typing.cast(list[dict[str, typing.Any]], answer[key])
