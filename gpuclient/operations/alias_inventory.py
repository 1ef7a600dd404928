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

"""What the commands on aliases have found out so far."""

import dataclasses

from gpuclient.cloud.nova import alias_probe
from gpuclient.cloud import usage
from gpuclient.documents import aliases as alias_documents
from gpuclient.model import flavor as flavor_model
from gpuclient.model import inventory


#: In place of an answer, where nobody was asked.
SKIPPED = 'skipped'


@dataclasses.dataclass
class Live:
    """What the cloud says of an alias that is being defined."""

    placement: str
    nova_api: str
    words: str | None = None
    total: int | None = None
    used: int | None = None
    free: int | None = None
    hosts: list[str] | None = None
    warnings: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Known:
    """All that is known of one alias."""

    name: str
    definitions: list[alias_documents.DefinedAlias]
    flavors: list[flavor_model.Flavor]
    reply: alias_probe.Reply | None = None
    devices: tuple[inventory.Device, ...] | None = None
    resource_classes: tuple[str, ...] = ()
    source: str | None = None

    @property
    def totals(self) -> inventory.Totals | None:
        if self.devices is None:
            return None
        return inventory.totals(self.devices)


@dataclasses.dataclass(frozen=True)
class Shown:
    """What servers that booted with an alias show of it."""

    resource_classes: tuple[str, ...]
    devices: tuple[inventory.Device, ...]
    #: Which servers, in words.
    source: str


def shown(name: str, use: usage.Usage) -> Shown | None:
    """Return what servers show of an alias; None where no server does."""
    classes, servers = inventory.alias_classes(name, use.servers, use.devices)
    if not classes:
        return None
    return Shown(
        tuple(sorted(classes)),
        tuple(
            device
            for device in use.devices
            if device.resource_class in classes
        ),
        'servers that booted with it: {}'.format(
            ', '.join(server.name for server in servers[:3])
        ),
    )
