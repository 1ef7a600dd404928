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

"""Entries of [pci]device_spec in configuration files: add, remove, list."""

import collections.abc
import dataclasses

from gpuclient.documents import device_specs
from gpuclient import exceptions
from gpuclient.model import device_spec
from gpuclient.model import release as release_model
from gpuclient.operations import configuration_edits
from gpuclient.rules import device_spec as device_spec_rules
from gpuclient.rules import finding

_Edits = collections.abc.Iterable[
    configuration_edits.Edit[device_specs.SpecDocument]
]
_Findings = collections.abc.Iterable[finding.Finding]


def validate(
    entry: dict[str, str],
    release: release_model.Release | None = None,
) -> tuple[device_spec.DeviceSpec, list[str]]:
    """Return a new entry as nova-compute reads it, and warnings about it.

    :param release: The release of Nova that reads it; the newest by default.
    :raises gpuclient.exceptions.InvalidDeviceSpec: nova-compute refuses it,
        or it matches no device.
    """
    _refuse(device_spec_rules.check_new(entry))
    (spec,) = device_spec.parse(device_specs.render(entry), release=release)
    findings = tuple(device_spec_rules.check(spec))
    _refuse(findings)
    return spec, [str(warning) for warning in finding.warnings(findings)]


def _refuse(findings: _Findings) -> None:
    errors = finding.errors(tuple(findings))
    if errors:
        raise exceptions.InvalidDeviceSpec('; '.join(map(str, errors)))


def add(
    edits: _Edits, entry: dict[str, str], spec: device_spec.DeviceSpec
) -> list[str]:
    """Add an entry to documents, in memory; return warnings.

    :raises gpuclient.exceptions.InvalidDeviceSpec: nova-compute would not
        start with it.
    """
    warnings: list[str] = []
    for edit in edits:
        for document in edit.documents:
            before = document.specs
            if device_specs.add(document, entry):
                edit.note_restart(document)
                warnings += map(str, _never_reached(spec, before))
                warnings += _check_reporting(document, spec)
        warnings += configuration_edits.warnings(edit)
    return warnings


def _check_reporting(
    document: device_specs.SpecDocument, spec: device_spec.DeviceSpec
) -> list[str]:
    """Return a warning if devices are not reported to Placement."""
    if not document.report_in_placement:
        return [str(device_spec_rules.not_reported())]
    _refuse(device_spec_rules.check_reporting(spec))
    return []


def _never_reached(
    spec: device_spec.DeviceSpec,
    before: collections.abc.Sequence[device_specs.DefinedSpec],
) -> list[finding.Finding]:
    """Return the finding that earlier entries match all that one matches."""
    earlier = [defined.spec for defined in before]
    shadowing = device_spec_rules.shadowed(spec, earlier)
    places = dict.fromkeys(
        before[earlier.index(other)].where for other in shadowing
    )
    return [device_spec_rules.never_reached(*places)] if places else []


def remove(edits: _Edits, fields: dict[str, str]) -> int:
    """Remove entries from documents, in memory; return how many.

    :param fields: Address, vendor and product that they have.
    :raises gpuclient.exceptions.NotFound: There is no such entry.
    """
    (wanted,) = device_spec.parse(device_specs.render(fields))

    def is_wanted(spec: device_spec.DeviceSpec) -> bool:
        return all(
            getattr(spec, key) == getattr(wanted, key) for key in fields
        )

    count = 0
    for edit in edits:
        for document in edit.documents:
            count += device_specs.remove(document, is_wanted)
            edit.note_restart(document)
    if not count:
        shown = ', '.join(f'{key} {value!r}' for key, value in fields.items())
        raise exceptions.NotFound(
            f'No [pci]device_spec entry with {shown} in the files'
        )
    return count


@dataclasses.dataclass(frozen=True)
class CheckedSpec:
    """An entry of a file, with its findings."""

    defined: device_specs.DefinedSpec
    findings: tuple[str, ...]

    @property
    def where(self) -> str:
        return self.defined.where

    @property
    def spec(self) -> device_spec.DeviceSpec:
        return self.defined.spec

    def tag(self, name: str) -> str | None:
        value = self.spec.tags.get(name)
        return None if value is None else str(value)


def list_specs(edits: _Edits) -> list[CheckedSpec]:
    """Return the entries in the order in which nova-compute tries them."""
    checked: list[CheckedSpec] = []
    for edit in edits:
        for document in edit.documents:
            listed = [entry.defined for entry in checked]
            specs = document.specs
            checked += [
                _checked(document, specs[:number], defined)
                for number, defined in enumerate(specs)
                # Several nova-computes may read the same file.
                if defined not in listed
            ]
    return checked


def _checked(
    document: device_specs.SpecDocument,
    before: collections.abc.Sequence[device_specs.DefinedSpec],
    defined: device_specs.DefinedSpec,
) -> CheckedSpec:
    findings = [
        *device_spec_rules.check(defined.spec),
        *_never_reached(defined.spec, before),
    ]
    if document.report_in_placement:
        findings += device_spec_rules.check_reporting(defined.spec)
    return CheckedSpec(defined, tuple(map(str, findings)))
