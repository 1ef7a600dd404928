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

"""What the commands on capacity read, and compute of it."""

import collections.abc
import dataclasses

from openstack import connection

from gpuclient.cloud import aliases as cloud_aliases
from gpuclient.cloud import capacity as cloud_capacity
from gpuclient.cloud import usage
from gpuclient.documents import aliases as alias_documents
from gpuclient import exceptions
from gpuclient.model import alias as alias_model
from gpuclient.model import capacity
from gpuclient.model import flavor as flavor_model
from gpuclient.model import inventory
from gpuclient.model import partial_result


@dataclasses.dataclass(frozen=True)
class CapacityReport:
    """How many more servers of some flavors fit a cloud."""

    hosts: tuple[capacity.Host, ...]
    #: By name.
    aliases: dict[str, alias_model.Alias]
    #: Names of those that servers showed, not files.
    inferred: frozenset[str]
    forecasts: tuple[capacity.Forecast, ...]

    @property
    def devices(self) -> tuple[inventory.Device, ...]:
        return tuple(device for host in self.hosts for device in host.devices)


def read(
    cloud: connection.Connection,
    flavors: collections.abc.Collection[flavor_model.Flavor],
    files: collections.abc.Iterable[str] = (),
    *,
    project_id: str | None = None,
    zone: str | None = None,
    servers: collections.abc.Sequence[inventory.Server] | None = None,
) -> partial_result.PartialResult[CapacityReport]:
    """Read the hosts of a cloud, and forecast each flavor.

    :param files: Configuration that defines aliases.
    :param servers: Those of all projects, where they are known already.
    :raises gpuclient.exceptions.GPUError: A file cannot be read, Placement
        gives no list of devices, or Nova none of its compute nodes.
    """
    documents = alias_documents.read_all(files)
    defined = {
        each.alias.name: each.alias
        for document in documents
        for each in document.aliases
    }
    if zone is not None:
        zone = cloud_capacity.restricting_zone(cloud, zone)
    try:
        found = cloud_capacity.read_hosts(cloud)
    except exceptions.Forbidden as exc:
        raise usage.hidden(exc) from exc
    failures = list(found.failures)
    wanted = {name for flavor in flavors for name in flavor.aliases or {}}
    try:
        inferred = cloud_aliases.infer(
            cloud,
            sorted(wanted - set(defined)),
            [device for host in found.value for device in host.devices],
            servers,
        )
    except exceptions.CloudError as exc:
        failures.append(partial_result.Failure('meaning of aliases', str(exc)))
        inferred = {}
    known = {**inferred, **defined}

    def doubts(
        flavor: flavor_model.Flavor,
    ) -> collections.abc.Iterator[str]:
        if any(document.pci_in_placement is False for document in documents):
            yield (
                'Nova schedules by what Placement has only with '
                '[filter_scheduler]pci_in_placement = True, which a file '
                'given sets to False'
            )
        for name in flavor.aliases or {}:
            meanings = {
                each.alias.meaning
                for document in documents
                for each in document.aliases
                if each.alias.name == name
            }
            if len(meanings) > 1:
                yield (
                    f'the files given define alias {name} in {len(meanings)} '
                    'ways'
                )

    def forecasts(
        hosts: tuple[capacity.Host, ...],
    ) -> tuple[capacity.Forecast, ...]:
        return tuple(
            dataclasses.replace(
                forecast, doubts=(*forecast.doubts, *doubts(flavor))
            )
            for flavor in flavors
            for forecast in (
                capacity.forecast(
                    flavor,
                    hosts,
                    known,
                    project_id=project_id,
                    zone=zone,
                    inferred=inferred,
                ),
            )
        )

    checked = cloud_capacity.check_units(
        cloud,
        found.value,
        [each.demand for each in forecasts(found.value) if each.demand],
    )
    return partial_result.PartialResult(
        CapacityReport(
            checked.value,
            known,
            frozenset(inferred),
            forecasts(checked.value),
        ),
        (*failures, *checked.failures),
    )
