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

"""Usage of projects in Placement, and its resource classes."""

import urllib.parse

from openstack import connection

from gpuclient.cloud import request
from gpuclient.cloud import schema

#: The first one with usages of projects.
_USAGES = '1.9'
_CLASSES = '1.7'


def read_usages(
    cloud: connection.Connection, project_id: str
) -> dict[str, int]:
    """Return what a project uses, by resource class.

    Nova compares the same numbers with limits
    (``nova/limit/placement.py:_get_usage``). Placement has no request for
    several projects.
    """
    usages: dict[str, int] = request.get(
        cloud.placement,
        f'/usages?project_id={urllib.parse.quote(project_id, safe="")}',
        f'reading the usage of project {project_id}',
        {'usages': schema.Map(int)},
        microversion=_USAGES,
    )['usages']
    return usages


def list_classes(cloud: connection.Connection) -> frozenset[str]:
    """Return the names of all resource classes."""
    return frozenset(
        record['name']
        for record in request.get(
            cloud.placement,
            '/resource_classes',
            'listing resource classes',
            {'resource_classes': [{'name': str}]},
            microversion=_CLASSES,
        )['resource_classes']
    )
