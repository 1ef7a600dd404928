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

"""Flavors: read them, and write extra specs that Nova validates.

Nova validates extra specs only from compute microversion 2.86 on. The SDK's
calls send an older one.
"""

import collections.abc
import typing
import urllib.parse
import uuid

from openstack.compute.v2 import _proxy

from gpuclient.cloud.nova import pages
from gpuclient.cloud.nova import version
from gpuclient.cloud import request
from gpuclient.cloud import schema
from gpuclient import exceptions
from gpuclient.model import flavor as flavor_model

#: The first microversion that validates extra specs.
VALIDATED = '2.86'
#: The first one that lists extra specs.
_LISTED = '2.61'
#: The last one that accepts extra specs without validation.
_UNVALIDATED = '2.85'
_FLAVOR: dict[str, schema.Shape] = {
    'name': str,
    'vcpus': int,
    'ram': int,
    'disk': int,
    'os-flavor-access:is_public': bool,
    'extra_specs': schema.Optional(schema.Map(str)),
    'OS-FLV-EXT-DATA:ephemeral': schema.Optional(int),
    'swap': schema.Optional(schema.OneOf((int, str))),
}


def require_validation(compute: _proxy.Proxy) -> None:
    """Make sure that Nova validates extra specs.

    :raises gpuclient.exceptions.Unsupported: It is older than 2.86.
    """
    version.require(compute, VALIDATED, 'writing extra specs')


def list_flavors(
    compute: _proxy.Proxy,
) -> tuple[flavor_model.Flavor, ...]:
    """Return all flavors that this user may see, including private ones."""
    version.require(compute, _LISTED, 'listing flavors')
    return tuple(
        _flavor(record)
        for record in pages.read(
            compute,
            '/flavors/detail',
            'flavors',
            'listing flavors',
            _FLAVOR,
            microversion=_LISTED,
            is_public='None',
        )
    )


def find_flavor(
    compute: _proxy.Proxy,
    name_or_id: str,
    flavors: collections.abc.Iterable[flavor_model.Flavor] | None = None,
) -> flavor_model.Flavor:
    """Return the flavor with an ID or a name, in this order.

    :param flavors: All flavors, if they were read already.
    :raises gpuclient.exceptions.NotFound: This user sees no such flavor.
    """
    flavors = list_flavors(compute) if flavors is None else tuple(flavors)
    for key in ('id', 'name'):
        for flavor in flavors:
            if getattr(flavor, key) == name_or_id:
                return flavor
    raise exceptions.NotFound(f'No flavor has the name or ID {name_or_id!r}')


def create_flavor(
    compute: _proxy.Proxy,
    name: str,
    *,
    vcpus: int,
    ram: int,
    disk: int,
    is_public: bool,
    flavor_id: str | None = None,
    **others: typing.Any,
) -> flavor_model.Flavor:
    """Create a flavor without extra specs.

    If the answer is lost, the flavor is looked up by its ID, which is chosen
    here unless the caller does.

    :param ram: MiB.
    :param disk: GiB.
    :raises gpuclient.exceptions.CloudError: With the server's message.
    """
    flavor_id = str(uuid.uuid4()) if flavor_id is None else flavor_id
    action = f'creating flavor {name!r}'
    shape = {'flavor': {'id': str, **_FLAVOR}}
    body = {
        'id': flavor_id,
        'name': name,
        'vcpus': vcpus,
        'ram': ram,
        'disk': disk,
        'os-flavor-access:is_public': is_public,
        **{key: value for key, value in others.items() if value is not None},
    }
    try:
        response = request.send(
            compute,
            'POST',
            '/flavors',
            action,
            microversion=_LISTED,
            json={'flavor': body},
        )
        return _flavor(request.read_body(response, action, shape)['flavor'])
    except exceptions.CloudError as exc:
        if exc.status is not None and 400 <= exc.status < 500:
            raise
        try:
            record = request.get(
                compute,
                f'/flavors/{_quoted(flavor_id)}',
                action,
                shape,
                microversion=_LISTED,
            )['flavor']
        except exceptions.CloudError:
            raise exc from None
        if record['name'] != name:
            raise
        return _flavor(record)


def delete_flavor(
    compute: _proxy.Proxy, flavor_id: str, *, missing_ok: bool = False
) -> None:
    """Delete a flavor."""
    try:
        request.send(
            compute,
            'DELETE',
            f'/flavors/{_quoted(flavor_id)}',
            f'deleting flavor {flavor_id}',
        )
    except exceptions.NotFound:
        if not missing_ok:
            raise


def add_access(
    compute: _proxy.Proxy, flavor: flavor_model.Flavor, project_id: str
) -> None:
    """Let a project use a private flavor."""
    request.send(
        compute,
        'POST',
        f'/flavors/{_quoted(flavor.id)}/action',
        f'adding access of project {project_id} to flavor {flavor.name!r}',
        json={'addTenantAccess': {'tenant': project_id}},
    )


def remove_access(
    compute: _proxy.Proxy, flavor: flavor_model.Flavor, project_id: str
) -> None:
    """Let a project, or one that was deleted, no longer use a flavor."""
    try:
        request.send(
            compute,
            'POST',
            f'/flavors/{_quoted(flavor.id)}/action',
            f'removing access of project {project_id} to flavor '
            f'{flavor.name!r}',
            json={'removeTenantAccess': {'tenant': project_id}},
        )
    except exceptions.NotFound as exc:
        # nova/exception.py:FlavorAccessNotFound; another run removed it.
        if 'access not found' not in str(exc).lower():
            raise


def list_access(
    compute: _proxy.Proxy, flavor: flavor_model.Flavor
) -> frozenset[str]:
    """Return the IDs of the projects that may use a private flavor."""
    records = request.get(
        compute,
        f'/flavors/{_quoted(flavor.id)}/os-flavor-access',
        f'listing the projects with access to flavor {flavor.name!r}',
        {'flavor_access': [{'tenant_id': str}]},
    )['flavor_access']
    return frozenset(record['tenant_id'] for record in records)


def read_extra_specs(
    compute: _proxy.Proxy, flavor: flavor_model.Flavor
) -> dict[str, str]:
    """Return the extra specs that a flavor has now."""
    return typing.cast(
        dict[str, str],
        request.get(
            compute,
            f'/flavors/{_quoted(flavor.id)}/os-extra_specs',
            f'reading the extra specs of flavor {flavor.name!r}',
            {'extra_specs': schema.Map(str)},
        )['extra_specs'],
    )


def write_extra_specs(
    compute: _proxy.Proxy,
    flavor: flavor_model.Flavor,
    extra_specs: collections.abc.Mapping[str, str],
) -> None:
    """Set extra specs, which Nova validates if it has a validator.

    :raises gpuclient.exceptions.CloudError: With the server's message.
    """
    validated = {
        key: value
        for key, value in extra_specs.items()
        if key not in flavor_model.UNVALIDATED
    }
    others = {
        key: value
        for key, value in extra_specs.items()
        if key in flavor_model.UNVALIDATED
    }
    for specs, microversion in (
        (validated, VALIDATED),
        (others, _UNVALIDATED),
    ):
        if specs:
            request.send(
                compute,
                'POST',
                f'/flavors/{_quoted(flavor.id)}/os-extra_specs',
                f'setting {", ".join(specs)} of flavor {flavor.name!r}',
                microversion=microversion,
                json={'extra_specs': specs},
            )


def delete_extra_spec(
    compute: _proxy.Proxy, flavor: flavor_model.Flavor, key: str
) -> None:
    """Delete an extra spec."""
    request.send(
        compute,
        'DELETE',
        f'/flavors/{_quoted(flavor.id)}/os-extra_specs/{_quoted(key)}',
        f'unsetting {key} of flavor {flavor.name!r}',
        microversion=VALIDATED,
    )


def _quoted(text: str) -> str:
    # IDs of flavors are free text.
    return urllib.parse.quote(text, safe='')


def _flavor(record: dict[str, typing.Any]) -> flavor_model.Flavor:
    swap = record.get('swap')
    return flavor_model.Flavor(
        id=record['id'],
        name=record['name'],
        vcpus=record['vcpus'],
        ram=record['ram'],
        disk=record['disk'],
        is_public=record['os-flavor-access:is_public'],
        extra_specs=record.get('extra_specs'),
        ephemeral=record.get('OS-FLV-EXT-DATA:ephemeral') or 0,
        # Below microversion 2.75, no swap is an empty string.
        swap=swap if isinstance(swap, int) else 0,
    )
