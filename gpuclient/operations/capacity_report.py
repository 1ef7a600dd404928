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

"""How many more servers of flavors fit a cloud."""

import collections.abc
import dataclasses

from openstack import connection

from gpuclient.cloud import aliases as cloud_aliases
from gpuclient.cloud import capacity as cloud_capacity
from gpuclient.cloud.nova import flavors as nova_flavors
from gpuclient.cloud import usage
from gpuclient.documents import aliases as alias_documents
from gpuclient.documents import services
from gpuclient import exceptions
from gpuclient.model import alias as alias_model
from gpuclient.model import capacity
from gpuclient.model import flavor as flavor_model
from gpuclient.model import inventory
from gpuclient.model import partial_result
from gpuclient.model import release as release_model

_Hosts = tuple[capacity.HostCapacity, ...]
_Documents = tuple[alias_documents.AliasDocument, ...]
#: By name.
Aliases = dict[str, alias_model.Alias]


@dataclasses.dataclass(frozen=True)
class CapacityReport:
    """How many more servers of some flavors fit a cloud."""

    hosts: _Hosts
    #: By name.
    aliases: Aliases
    #: Names of aliases that servers showed, not files.
    inferred: frozenset[str]
    forecasts: tuple[capacity.Forecast, ...]

    @property
    def devices(self) -> tuple[inventory.Device, ...]:
        return tuple(device for host in self.hosts for device in host.devices)

    def notes(self, forecast: capacity.Forecast) -> list[str]:
        """Return what the figures of a forecast rest on."""
        if forecast.demand is None:
            return [forecast.unknown]
        if forecast.refusal:
            return [f'None fits: {forecast.refusal}']
        notes = [f'At most: {reason}' for reason in forecast.at_most]
        if forecast.count:
            notes += forecast.assumed
        notes += [
            f'Alias {name} is assumed to request '
            f'{self.aliases[name].resource_class}, the class of devices of '
            'servers that booted with it'
            for name in forecast.flavor.aliases or {}
            if name in self.inferred
        ]
        return notes


def device_flavors(
    cloud: connection.Connection,
) -> tuple[flavor_model.Flavor, ...]:
    """Return the flavors that request devices, sorted by name."""
    return tuple(
        sorted(
            filter(
                flavor_model.is_for_devices,
                nova_flavors.list_flavors(cloud.compute),
            ),
            key=lambda flavor: flavor.name,
        )
    )


def find_flavor(
    cloud: connection.Connection, name_or_id: str
) -> flavor_model.Flavor:
    """Return a flavor.

    :raises gpuclient.exceptions.NotFound: This user sees no such flavor.
    """
    return nova_flavors.find_flavor(cloud.compute, name_or_id)


@dataclasses.dataclass(frozen=True)
class _Forecaster:
    """Forecasts flavors with what is known of aliases."""

    flavors: collections.abc.Collection[flavor_model.Flavor]
    documents: _Documents
    aliases: Aliases
    inferred: frozenset[str]
    project_id: str | None
    zone: str | None
    release: release_model.Release | None

    def forecast(self, hosts: _Hosts) -> tuple[capacity.Forecast, ...]:
        return tuple(self._forecast(flavor, hosts) for flavor in self.flavors)

    def _forecast(
        self, flavor: flavor_model.Flavor, hosts: _Hosts
    ) -> capacity.Forecast:
        forecast = capacity.forecast(
            flavor,
            hosts,
            self.aliases,
            project_id=self.project_id,
            zone=self.zone,
            inferred=self.inferred,
            release=self.release,
        )
        return dataclasses.replace(
            forecast, doubts=(*forecast.doubts, *self._doubts(flavor))
        )

    def _doubts(
        self, flavor: flavor_model.Flavor
    ) -> collections.abc.Iterator[str]:
        """Yield why the files make the forecast uncertain."""
        if any(
            document.pci_in_placement is False for document in self.documents
        ):
            yield (
                'Nova schedules PCI devices by their inventory in Placement '
                'only if [filter_scheduler]pci_in_placement = True, but a '
                'file of --config sets it to False'
            )
        for name in flavor.aliases or {}:
            if is_refused(self.documents, name):
                yield (
                    f'the files of nova-api do not define alias {name}, so '
                    f'that it refuses the flavor (GPU707)'
                )
        for name in ambiguous(self.documents, flavor.aliases or {}):
            yield f'the files have different definitions of alias {name}'


def read(
    cloud: connection.Connection,
    flavors: collections.abc.Collection[flavor_model.Flavor],
    files: collections.abc.Iterable[str] = (),
    *,
    project_id: str | None = None,
    zone: str | None = None,
    servers: collections.abc.Sequence[inventory.Server] | None = None,
    release: release_model.Release | None = None,
) -> partial_result.PartialResult[CapacityReport]:
    """Read the hosts of a cloud, and forecast each flavor.

    :param files: Configuration that defines aliases.
    :param servers: Servers of all projects, if they were read already.
    :param release: The release of Nova; the newest by default.
    :raises gpuclient.exceptions.GPUError: A file cannot be read, or Placement
        does not list devices, or Nova its compute nodes.
    """
    documents = alias_documents.read_all(files)
    if zone is not None:
        zone = cloud_capacity.restricting_zone(cloud, zone)
    try:
        answer = cloud_capacity.read_hosts(cloud)
    except exceptions.Forbidden as exc:
        raise usage.hidden(exc) from exc
    failures = list(answer.failures)
    known = defined(documents)
    requested = {name for flavor in flavors for name in flavor.aliases or {}}
    inferred = infer(
        cloud, requested - set(known), answer.value, servers, failures
    )
    forecaster = _Forecaster(
        flavors,
        documents,
        {**inferred, **known},
        frozenset(inferred),
        project_id,
        zone,
        release,
    )
    checked = cloud_capacity.check_units(
        cloud,
        answer.value,
        [
            forecast.demand
            for forecast in forecaster.forecast(answer.value)
            if forecast.demand
        ],
    )
    return partial_result.PartialResult(
        CapacityReport(
            checked.value,
            forecaster.aliases,
            forecaster.inferred,
            forecaster.forecast(checked.value),
        ),
        (*failures, *checked.failures),
    )


def defined(documents: _Documents) -> Aliases:
    """Return the aliases of new servers that files define, by name."""
    return {
        defined.alias.name: defined.alias
        for document in of_requests(documents)
        for defined in document.aliases
    }


def of_requests(documents: _Documents) -> _Documents:
    """Return the documents of nova-api, which reads aliases of new servers.

    Where no file is known to be of nova-api, all of them.
    """
    return (
        tuple(
            document
            for document in documents
            if document.service != services.COMPUTE
        )
        or documents
    )


def is_refused(documents: _Documents, name: str) -> bool:
    """Return whether nova-api refuses a new server with an alias.

    Only if its own files are known, and all of their aliases.
    """
    of_api = [
        document for document in documents if document.service == services.API
    ]
    return (
        bool(of_api)
        and name not in defined(documents)
        and not any(document.has_unknown for document in of_api)
    )


def ambiguous(
    documents: _Documents, names: collections.abc.Iterable[str]
) -> collections.abc.Iterator[str]:
    """Yield the aliases that files of nova-api define differently."""
    for name in names:
        meanings = {
            defined.alias.meaning
            for document in of_requests(documents)
            for defined in document.aliases
            if defined.alias.name == name
        }
        if len(meanings) > 1:
            yield name


def infer(
    cloud: connection.Connection,
    names: set[str],
    hosts: _Hosts,
    servers: collections.abc.Sequence[inventory.Server] | None,
    failures: list[partial_result.Failure],
) -> Aliases:
    """Return the definitions of aliases that servers show."""
    devices = [device for host in hosts for device in host.devices]
    try:
        return cloud_aliases.infer(cloud, sorted(names), devices, servers)
    except exceptions.CloudError as exc:
        failures.append(
            partial_result.Failure('definitions of aliases', str(exc))
        )
        return {}
