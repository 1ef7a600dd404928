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

"""Projects and users."""

import typing

from keystoneauth1 import exceptions as ksa_exceptions
from keystoneauth1 import identity
from openstack import connection
from openstack import exceptions as sdk_exceptions
from openstack.identity.v3 import _proxy

from gpuclient.cloud import request
from gpuclient import exceptions
from gpuclient.i18n import _


def project_names(cloud: connection.Connection) -> dict[str, str]:
    """Return the name of each project, by id, with one request.

    A user whom policy hides the list from (``identity:list_projects``) gets
    the project of the session alone.

    :raises gpuclient.exceptions.CloudError: With the server's own words.
    """
    try:
        projects = request.get(
            cloud.identity, '/projects', _('reading projects')
        )['projects']
    except exceptions.Forbidden:
        auth = typing.cast(identity.BaseIdentityPlugin, cloud.session.auth)
        access = auth.get_access(cloud.session)
        if access.project_id is None:
            return {}
        return {access.project_id: access.project_name or ''}
    return {project['id']: project['name'] for project in projects}


def find_project(
    cloud: connection.Connection, name_or_id: str, domain: str | None = None
) -> str:
    """Return the id of a project; see :func:`_find`."""
    return _find(cloud, 'project', name_or_id, domain)


def find_user(
    cloud: connection.Connection, name_or_id: str, domain: str | None = None
) -> str:
    """Return the id of a user; see :func:`_find`."""
    return _find(cloud, 'user', name_or_id, domain)


def _find(
    cloud: connection.Connection,
    kind: str,
    name_or_id: str,
    domain: str | None,
) -> str:
    """Return the id that a name or an id stands for.

    As in the core commands, a user whom policy hides it from can give an id.

    :param domain: Name or id of the domain that it belongs to.
    :raises gpuclient.exceptions.CloudError: There is none, or more than one.
    """
    kwargs: dict[str, typing.Any] = {}
    proxy = typing.cast(_proxy.Proxy, cloud.identity)
    try:
        if domain is not None:
            kwargs['domain_id'] = proxy.find_domain(
                domain, ignore_missing=False
            ).id
        find = getattr(proxy, f'find_{kind}')
        return str(find(name_or_id, ignore_missing=False, **kwargs).id)
    except sdk_exceptions.ForbiddenException:
        return name_or_id
    except sdk_exceptions.NotFoundException as exc:
        raise exceptions.NotFound(
            _('No %(kind)s has the name or ID %(name)r')
            % {
                'kind': 'domain' if domain and not kwargs else kind,
                'name': domain if domain and not kwargs else name_or_id,
            }
        ) from exc
    except sdk_exceptions.DuplicateResource as exc:
        raise exceptions.Ambiguous(
            _(
                'Several objects of kind %(kind)s are called %(name)r; give '
                'the ID, or its domain'
            )
            % {'kind': kind, 'name': name_or_id}
        ) from exc
    except (
        ksa_exceptions.ClientException,
        sdk_exceptions.SDKException,
    ) as exc:
        raise exceptions.CloudError(
            _('Finding %(kind)s %(name)r failed: %(words)s')
            % {
                'kind': kind,
                'name': name_or_id,
                'words': ' '.join(str(exc).split()),
            }
        ) from exc
