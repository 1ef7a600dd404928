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

"""Set PCI tracking in Placement and scheduler filters in existing files."""

import collections.abc
import dataclasses

from gpuclient.documents import placement_switches
from gpuclient.model import configuration
from gpuclient.operations import configuration_edits


@dataclasses.dataclass(frozen=True)
class Settings:
    """What to set."""

    #: Set [pci]report_in_placement of nova-computes.
    report_in_placement: bool = False
    #: Value of [filter_scheduler]pci_in_placement; None to leave it.
    pci_in_placement: bool | None = None
    #: Filters to enable.
    filters: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        return self == Settings()


@dataclasses.dataclass(frozen=True)
class ChangedConfiguration:
    """Edits to be written, and what follows."""

    edits: list[configuration_edits.Edit[placement_switches.Document]]
    #: Services, in the order in which to restart them.
    restart: list[str]
    next_steps: list[str]
    warnings: list[str]


def change(
    paths: collections.abc.Sequence[str], settings: Settings
) -> ChangedConfiguration:
    """Make the edits in memory.

    :raises gpuclient.exceptions.GPUError: A file cannot be read or edited.
    """
    files = placement_switches.read(paths)
    documents = list(files.documents)
    edits = [
        configuration_edits.Edit(file, files.of(file), sorted(kinds))
        for file, kinds in files.files
    ]
    restart = _apply(settings, documents)
    in_placement = bool(settings.pci_in_placement)
    warnings = placement_switches.warnings(
        documents, in_placement=in_placement
    )
    for edit in edits:
        warnings += configuration_edits.warnings(edit)
    return ChangedConfiguration(
        edits,
        restart,
        placement_switches.next_steps(
            documents, restart, in_placement=in_placement
        ),
        warnings,
    )


def _apply(
    settings: Settings, documents: list[placement_switches.Document]
) -> list[str]:
    """Return the services to restart, in this order."""
    changes = placement_switches.Changes(documents)
    if settings.report_in_placement:
        placement_switches.report(documents)
        changes.note(configuration.COMPUTE)
    if settings.pci_in_placement is not None:
        placement_switches.use_placement(documents, settings.pci_in_placement)
        changes.note(*placement_switches.CONTROL_PLANE)
    if settings.filters:
        placement_switches.enable_filters(documents, settings.filters)
        changes.note(configuration.SCHEDULER)
    return changes.restart
