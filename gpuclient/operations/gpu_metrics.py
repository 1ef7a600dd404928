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

"""Metrics of the devices of a cloud, their use and what still fits."""

import collections.abc

from openstack import connection

from gpuclient.cloud import keystone
from gpuclient.cloud.nova import servers as nova_servers
from gpuclient.cloud.placement import owners
from gpuclient import exceptions
from gpuclient.model import inventory
from gpuclient.model import metrics
from gpuclient.model import partial_result
from gpuclient.operations import capacity_report


def read(
    cloud: connection.Connection, files: collections.abc.Iterable[str]
) -> partial_result.PartialResult[tuple[metrics.MetricFamily, ...]]:
    """Return the metrics of a cloud.

    :param files: Configuration that defines aliases.
    :raises gpuclient.exceptions.GPUError: A file cannot be read, or devices,
        hosts or servers cannot be listed.
    """
    servers = nova_servers.list_servers(cloud.compute, all_projects=True)
    report = capacity_report.read(
        cloud,
        capacity_report.device_flavors(cloud),
        files,
        servers=servers,
    )
    owned = owners.read_owners(cloud.placement, report.value.devices, servers)
    failures = [*report.failures, *owned.failures]
    projects: dict[str, str] = {}
    try:
        projects = keystone.project_names(
            cloud, inventory.project_ids(owned.value)
        )
    except exceptions.CloudError as exc:
        failures.append(partial_result.Failure('names of projects', str(exc)))
    return partial_result.PartialResult(
        metrics.families(
            owned.value,
            report.value.hosts,
            report.value.forecasts,
            projects,
        ),
        tuple(failures),
    )
