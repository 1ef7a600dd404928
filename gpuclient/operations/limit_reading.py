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

"""Read the unified limits that Nova compares requests with."""

from keystoneauth1 import identity
from openstack import connection

from gpuclient.cloud import unified_limits
from gpuclient.model import limits as limits_model
from gpuclient.model import project as project_model
from gpuclient.operations import project_reading

_UNUSED = {
    project_model.QuotaDriver.LEGACY: (
        'Nova runs the legacy quota driver, which does not limit devices'
    ),
    project_model.QuotaDriver.NONE: 'Nova runs no quota driver',
}


def read(cloud: connection.Connection) -> limits_model.UnifiedLimits:
    """Return the limits of the service and the region that Nova reads.

    Limits of projects are those that Keystone shows to this user.

    :raises gpuclient.exceptions.GPUError: A service does not answer, or it is
        not known which region Nova reads.
    """
    facts = project_reading.read_quota_facts(cloud)
    scope = facts.scope and (facts.scope.service_id, facts.scope.region_id)
    own = {
        limit.name: limit.default
        for limit in facts.registered
        if (limit.service_id, limit.region_id) == scope
    }
    unused = _UNUSED.get(facts.driver, '')
    # Without registered limits there are none of projects.
    limits = unified_limits.list_limits(cloud) if own and not unused else ()
    only_of = None
    if own and not unused:
        shown = {limit.project_id for limit in limits}
        only_of = _only_project(cloud, shown)
    return limits_model.UnifiedLimits(
        own,
        {
            (limit.project_id, limit.name): limit.value
            for limit in limits
            if (limit.service_id, limit.region_id) == scope
        },
        frozenset(
            limit.name for limit in facts.registered if limit.name not in own
        ),
        unused,
        only_of,
    )


def _only_project(cloud: connection.Connection, shown: set[str]) -> str | None:
    """Return the only project whose limits are shown; None if all are.

    Before 2026.1, Keystone shows limits of other projects to tokens for the
    system only, also if the user is an administrator of a project
    (``keystone/api/limits.py:LimitsResource.get``).

    :param shown: The projects of the limits.
    """
    auth = cloud.session.auth
    if not isinstance(auth, identity.BaseIdentityPlugin):
        return None
    access = auth.get_access(cloud.session)
    own: str | None = access.project_id
    if access.system_scoped or shown - {own}:
        return None
    return own
