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

"""Aliases of configuration files, flavors and the cloud, joined by name."""

import collections
import collections.abc
import dataclasses
import typing

from openstack import connection

from gpuclient.cloud.nova import alias_probe
from gpuclient.cloud.nova import flavors as nova_flavors
from gpuclient.cloud import usage
from gpuclient.documents import aliases as alias_documents
from gpuclient.documents import catalogue as catalogue_documents
from gpuclient import exceptions
from gpuclient.model import flavor as flavor_model
from gpuclient.model import inventory
from gpuclient.model import partial_result
from gpuclient.operations import device_names
from gpuclient.rules import alias as alias_rules
from gpuclient.rules import flavor as flavor_rules

#: State of a check that could not run.
SKIPPED = 'skipped'

#: Returns a connection, or None and the reason why there is none.
Connect: typing.TypeAlias = collections.abc.Callable[
    [], tuple[connection.Connection | None, str]
]
_Definitions: typing.TypeAlias = dict[str, list[alias_documents.DefinedAlias]]


@dataclasses.dataclass
class AliasRecord:
    """An alias, joined from all sources; None is what no source tells."""

    name: str
    definitions: list[alias_documents.DefinedAlias]
    #: Flavors that request it.
    flavors: list[flavor_model.Flavor]
    #: nova-api's answer.
    reply: alias_probe.Reply | None = None
    devices: tuple[inventory.Device, ...] | None = None
    resource_classes: tuple[str, ...] = ()
    #: Where the resource classes come from.
    source: str | None = None

    def units(self, kind: str) -> int | None:
        """Return how many units the devices have.

        :param kind: ``total``, ``reserved``, ``used`` or ``free``.
        """
        if self.devices is None:
            return None
        units: int = getattr(inventory.totals(self.devices), kind)
        return units

    @property
    def hosts(self) -> list[str] | None:
        if self.devices is None:
            return None
        return sorted({device.host for device in self.devices})

    @property
    def traits(self) -> list[str] | None:
        if not self.definitions:
            return None
        return sorted(
            {
                trait
                for defined in self.definitions
                for trait in defined.alias.placement_traits
            }
        )

    @property
    def nova_api(self) -> str:
        return str(self.reply.state) if self.reply else SKIPPED

    @property
    def is_known(self) -> bool:
        """Whether a file, a flavor or nova-api knows it."""
        return bool(
            self.definitions
            or self.flavors
            or (
                self.reply is not None
                and self.reply.state is alias_probe.AliasState.DEFINED
            )
        )

    def use_definitions(self) -> None:
        """Take the resource classes from the definitions."""
        self.resource_classes = tuple(
            sorted(
                {
                    defined.alias.placement_class
                    for defined in self.definitions
                    if defined.alias.placement_class is not None
                }
            )
        )
        self.source = self.definitions[0].where


@dataclasses.dataclass(frozen=True)
class AliasInventory:
    """Aliases, and the names of all that are defined or requested."""

    records: tuple[AliasRecord, ...]
    names: frozenset[str]


def read(
    files: collections.abc.Collection[str],
    connect: Connect,
    only: str | None = None,
) -> partial_result.PartialResult[AliasInventory]:
    """Join all aliases, or one, of files and of a cloud if there is one.

    :raises gpuclient.exceptions.Unreachable: There are neither files nor a
        cloud.
    :raises gpuclient.exceptions.GPUError: A file cannot be read.
    """
    definitions = _read_definitions(files)
    cloud, reason = connect()
    failures: list[partial_result.Failure] = []
    flavors: tuple[flavor_model.Flavor, ...] = ()
    if cloud is not None:
        try:
            flavors = nova_flavors.list_flavors(cloud.compute)
        except exceptions.CloudError as exc:
            failures.append(partial_result.Failure('flavors', str(exc)))
    elif not files:
        raise exceptions.Unreachable(
            'No source of aliases: pass a nova.conf with --config, or '
            f'credentials for a cloud ({reason})'
        )
    names = frozenset(definitions).union(
        *(flavor.aliases or () for flavor in flavors)
    )
    records = [
        AliasRecord(
            name,
            definitions.get(name, []),
            [flavor for flavor in flavors if name in (flavor.aliases or {})],
        )
        for name in sorted(names if only is None else {only})
    ]
    if cloud is not None and records:
        _ask_nova(cloud, flavors, records)
        failures += _read_devices(cloud, records)
    for record in records:
        if not record.resource_classes and record.definitions:
            record.use_definitions()
    return partial_result.PartialResult(
        AliasInventory(tuple(records), names), tuple(failures)
    )


def _read_definitions(
    files: collections.abc.Iterable[str],
) -> _Definitions:
    definitions: _Definitions = collections.defaultdict(list)
    for document in alias_documents.read_all(files):
        for defined in document.aliases:
            # Several services may read the same file.
            if defined not in definitions[defined.alias.name]:
                definitions[defined.alias.name].append(defined)
    return definitions


def _ask_nova(
    cloud: connection.Connection,
    flavors: tuple[flavor_model.Flavor, ...],
    records: list[AliasRecord],
) -> None:
    # Reading creates nothing, not even a temporary flavor.
    with alias_probe.Prober(
        cloud.compute, flavors, make_flavors=False
    ) as prober:
        for record in records:
            (record.reply,) = prober.ask(record.name)


def _read_devices(
    cloud: connection.Connection, records: list[AliasRecord]
) -> tuple[partial_result.Failure, ...]:
    """Add the devices that match; return what could not be read."""
    try:
        answer = usage.read_usage(cloud)
    except exceptions.Forbidden:
        # Members of a project may not list devices.
        return ()
    except exceptions.CloudError as exc:
        return (partial_result.Failure('devices', str(exc)),)
    use = answer.value
    for record in records:
        if record.definitions:
            record.use_definitions()
            record.devices = tuple(
                device
                for device in use.devices
                if any(
                    inventory.of_alias([device], defined.alias)
                    for defined in record.definitions
                )
            )
        elif inferred := infer(record.name, use):
            record.resource_classes = inferred.resource_classes
            record.source = inferred.source
            record.devices = inferred.devices
    return answer.failures


def findings(record: AliasRecord, names: frozenset[str]) -> list[str]:
    """Return what is wrong with an alias.

    :param names: All aliases that are defined or requested.
    """
    messages = _check_definitions(record.definitions)
    if (
        record.reply is not None
        and record.reply.state is alias_probe.AliasState.NOT_DEFINED
    ):
        messages.append(
            str(
                flavor_rules.undefined_alias(
                    record.name,
                    record.reply.explanation,
                    names - {record.name},
                )
            )
        )
    return messages


def _check_definitions(
    definitions: list[alias_documents.DefinedAlias],
) -> list[str]:
    """Return what is wrong with definitions, or differs between them."""
    messages: list[str] = []
    catalogue = catalogue_documents.load(None)
    for defined in definitions:
        messages += map(str, alias_rules.check(defined.alias, catalogue))
    for defined in definitions[1:]:
        first = definitions[0]
        if defined.alias.meaning != first.alias.meaning:
            messages.append(
                str(
                    alias_rules.clash(
                        first.alias, defined.alias, defined.where
                    )
                )
            )
    for defined in definitions:
        messages += device_names.check_alias(defined.alias, catalogue)
    return list(dict.fromkeys(messages))


@dataclasses.dataclass(frozen=True)
class InferredAlias:
    """An alias as the servers show it that booted with it."""

    resource_classes: tuple[str, ...]
    devices: tuple[inventory.Device, ...]
    #: Which servers, for the user.
    source: str


def infer(name: str, use: usage.Usage) -> InferredAlias | None:
    """Return an alias as servers show it; None where no server does."""
    classes, servers = inventory.alias_classes(name, use.servers, use.devices)
    if not classes:
        return None
    return InferredAlias(
        tuple(sorted(classes)),
        tuple(
            device
            for device in use.devices
            if device.resource_class in classes
        ),
        'servers that booted with it: '
        + ', '.join(server.name for server in servers[:3]),
    )
