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

"""The device specs that configuration files define."""

import collections.abc
import dataclasses
import json
import typing
from gpuclient.documents import services
from gpuclient import exceptions
from gpuclient.model import device_spec
from gpuclient.model import nova_options
from gpuclient.model import release as release_model


@dataclasses.dataclass(frozen=True)
class DefinedSpec(services.DefinedValue):
    """One entry of a ``[pci]device_spec`` value, which may have several."""

    spec: device_spec.DeviceSpec


@dataclasses.dataclass(frozen=True)
class SpecDocument(services.ServiceConfiguration):
    """The device specs in the configuration of a compute."""

    #: The release of Nova that reads them.
    release: release_model.Release = dataclasses.field(
        default_factory=release_model.newest
    )

    @property
    def specs(self) -> tuple[DefinedSpec, ...]:
        """The device specs, without those that depend on a template.

        :raises gpuclient.exceptions.InvalidDeviceSpec: One is invalid; the
            message has its line and Nova's own text.
        """
        report = bool(self.report_in_placement)
        defined = []
        for conf, value in self.values(*nova_options.DEVICE_SPEC):
            if value.depends:
                continue
            try:
                specs = device_spec.parse(
                    value.text,
                    report_in_placement=report,
                    release=self.release,
                )
            except exceptions.InvalidDeviceSpec as exc:
                raise exceptions.InvalidDeviceSpec(
                    services.located(conf, value, exc)
                ) from exc
            defined += [
                DefinedSpec(value, conf, conf.path, spec) for spec in specs
            ]
        return tuple(defined)

    @property
    def report_in_placement(self) -> bool | None:
        """``[pci]report_in_placement``; None if it is unset."""
        return self.boolean(*nova_options.REPORT_IN_PLACEMENT)


def read(
    path: str, release: release_model.Release | None = None
) -> tuple[SpecDocument, ...]:
    """Read the device specs of the computes in a file.

    :param release: The release of Nova that reads it; the newest by default.
    :raises gpuclient.exceptions.DocumentError: See :func:`services.read`.
    :raises gpuclient.exceptions.InvalidDeviceSpec: One of them is invalid; the
        message has its line and Nova's own text.
    """
    documents = tuple(
        SpecDocument(
            configuration.file,
            configuration.reading,
            release or release_model.newest(),
        )
        for configuration in services.read(path)
        if configuration.service in (None, services.COMPUTE)
    )
    for document in documents:
        # Report invalid specs before anything is done.
        _specs = document.specs
    return documents


def render(entry: dict[str, typing.Any]) -> str:
    """Return the value for a configuration file: JSON on one line."""
    return json.dumps(entry)


def add(document: SpecDocument, entry: dict[str, typing.Any]) -> bool:
    """Add an entry to a document, in memory; ``document.file`` writes it.

    :returns: False if the document already has the entry.
    :raises gpuclient.exceptions.InvalidDeviceSpec: nova-compute would not
        start with it.
    """
    text = render(entry)
    (spec,) = _validated(document, text)
    if any(_same(defined.spec, spec) for defined in document.specs):
        return False
    texts = [*document.texts(*nova_options.DEVICE_SPEC), text]
    document.best(*nova_options.DEVICE_SPEC).add('pci', 'device_spec', text)
    services.check_effect(document, nova_options.DEVICE_SPEC, texts)
    return True


def _validated(
    document: SpecDocument, text: str
) -> tuple[device_spec.DeviceSpec, ...]:
    try:
        return device_spec.parse(
            text,
            report_in_placement=bool(document.report_in_placement),
            release=document.release,
        )
    except exceptions.InvalidDeviceSpec as exc:
        raise exceptions.InvalidDeviceSpec(
            f'The service of {document.where} would not start: '
            f'{" ".join(str(exc).split())}'
        ) from exc


def _same(
    first: device_spec.DeviceSpec, second: device_spec.DeviceSpec
) -> bool:
    return dataclasses.replace(first, written={}) == dataclasses.replace(
        second, written={}
    )


def remove(
    document: SpecDocument,
    chosen: collections.abc.Callable[[device_spec.DeviceSpec], bool],
) -> int:
    """Remove entries from a document, in memory; return their number.

    Other entries of the same value stay.
    """
    count = 0
    values: dict[tuple[int, int], list[DefinedSpec]] = {}
    texts: list[str] = []
    for defined in document.specs:
        key = (document.confs.index(defined.conf), defined.line)
        values.setdefault(key, []).append(defined)
    # From the end, so that the line numbers of the others stay valid.
    for key in sorted(values, reverse=True):
        entries = values[key]
        left = [
            entry.spec.written for entry in entries if not chosen(entry.spec)
        ]
        first = entries[0]
        if len(left) == len(entries):
            texts.append(first.text)
            continue
        count += len(entries) - len(left)
        if left:
            text = render(left[0]) if len(left) == 1 else json.dumps(left)
            texts.append(text)
            first.conf.replace(first.value, text)
        else:
            first.conf.remove(first.value)
    if count:
        services.check_effect(document, nova_options.DEVICE_SPEC, texts)
    return count
