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

"""How Nova's two names of a host belong together."""

from openstack.compute.v2 import _proxy

from gpuclient.cloud import request
from gpuclient.i18n import _


def hypervisor_hostnames(
    compute: _proxy.Proxy, service_host: str
) -> tuple[str, ...]:
    """Return the hypervisor hostnames of a compute service.

    Placement knows a host by its hypervisor hostname, which often is the
    fully qualified form of the name of the compute service; a service has
    several with Ironic only.

    :raises gpuclient.exceptions.CloudError: With the server's own words.
    """
    # 2.53: the service is part of the answer, which needs no detail for it.
    records = request.get(
        compute,
        '/os-hypervisors/detail',
        _('reading hypervisors'),
        microversion='2.53',
    )['hypervisors']
    return tuple(
        str(record['hypervisor_hostname'])
        for record in records
        if (record.get('service') or {}).get('host') == service_host
    )
