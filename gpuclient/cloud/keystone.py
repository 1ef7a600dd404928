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

"""Names of projects."""

from keystoneauth1 import adapter

from gpuclient.cloud import request
from gpuclient.i18n import _


def project_names(identity: adapter.Adapter) -> dict[str, str]:
    """Return the name of each project, by id, with one request.

    :raises gpuclient.exceptions.Forbidden: Policy hides the list of projects
        (``identity:list_projects``).
    :raises gpuclient.exceptions.CloudError: With the server's own words.
    """
    projects = request.get(identity, '/projects', _('reading projects'))
    return {project['id']: project['name'] for project in projects['projects']}
