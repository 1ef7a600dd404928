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

"""Enable Placement tracking, and scheduler filters, in existing files.

Tracking needs ``[pci]report_in_placement`` on the computes first, then
``[filter_scheduler]pci_in_placement`` in the control plane
(``nova/doc/source/admin/pci-passthrough.rst``). The filters are
``[filter_scheduler]enabled_filters``.
"""

import collections.abc
import dataclasses
import os

from gpuclient.documents.deployers import kolla
from gpuclient.documents.deployers import plain as plain_files
from gpuclient.documents.deployers import rhoso_custom_resources
from gpuclient.documents import derived_conf
from gpuclient.documents import editable
from gpuclient.documents import nova_conf
from gpuclient.documents import services
from gpuclient.documents import tree
from gpuclient import exceptions
from gpuclient.model import alias as alias_model
from gpuclient.model import configuration
from gpuclient.model import device_spec
from gpuclient.model import nova_options
from gpuclient.model import oslo_values
from gpuclient.model import scheduler_filters
from gpuclient.rules import scheduler as scheduler_rules

CONTROL_PLANE = (
    configuration.SCHEDULER,
    configuration.CONDUCTOR,
    configuration.API,
)
_ORDER = (configuration.COMPUTE, *CONTROL_PLANE)
_FILTERS: nova_options.Names = (('filter_scheduler', 'enabled_filters'),)
_AVAILABLE = ('filter_scheduler', 'available_filters')
#: The default of the operator of RHOSO
#: (``nova-operator``: ``templates/nova/nova.conf``).
_FILTERS_OF_OPERATOR = (
    'AggregateInstanceExtraSpecsFilter',
    'ComputeFilter',
    'ComputeCapabilitiesFilter',
    'ImagePropertiesFilter',
    'ServerGroupAntiAffinityFilter',
    'ServerGroupAffinityFilter',
    'SameHostFilter',
    'DifferentHostFilter',
    'PciPassthroughFilter',
    'NUMATopologyFilter',
)


@dataclasses.dataclass(frozen=True)
class Document(services.ServiceConfiguration):
    """The configuration of one or several services."""

    #: The services that read it.
    kinds: tuple[str, ...] = ()

    @property
    def device_specs(self) -> list[str]:
        return self.texts(*nova_options.DEVICE_SPEC)

    @property
    def reports(self) -> bool:
        """``[pci]report_in_placement``"""
        return bool(self.boolean(*nova_options.REPORT_IN_PLACEMENT))

    @property
    def is_rhoso(self) -> bool:
        return isinstance(self.file, rhoso_custom_resources.CustomResourceFile)

    @property
    def is_kolla(self) -> bool:
        return isinstance(self.file, kolla.CustomConfiguration)


@dataclasses.dataclass(frozen=True)
class ConfigurationFiles:
    """Files and folders, and what services read from them."""

    documents: tuple[Document, ...]
    #: Each with the services that read it.
    files: tuple[tuple[editable.Editable, tuple[str, ...]], ...]

    def of(self, file: editable.Editable) -> list[Document]:
        """Return the configuration in a file, or in a folder of layers."""
        return [
            document for document in self.documents if document.file is file
        ]


def read(paths: collections.abc.Sequence[str]) -> ConfigurationFiles:
    """Read files and folders.

    :raises gpuclient.exceptions.DocumentError: One cannot be read, or cannot
        be edited by this tool.
    """
    plain, others = _open_all(paths)
    documents = _divided([*_of_tools(others), *_of_plain_files(plain)])
    if not documents:
        raise exceptions.NotFound(tree.no_configuration(paths))
    return ConfigurationFiles(
        tuple(documents),
        tuple(
            (file, _readers(file, documents))
            for file in (*others.values(), *plain.values())
        ),
    )


def _open_all(
    paths: collections.abc.Sequence[str],
) -> tuple[dict[str, nova_conf.NovaConf], dict[str, editable.Editable]]:
    """Return plain files by path, and all others by path or folder."""
    plain: dict[str, nova_conf.NovaConf] = {}
    others: dict[str, editable.Editable] = {}
    for path, named in tree.named_files(paths):
        root = kolla.root_of(path)
        if root is not None:
            _check_not_named(path, root, named)
            if root not in others:
                others[root] = kolla.CustomConfiguration(root or '.')
            continue
        file = _open(path, named)
        if isinstance(file, nova_conf.NovaConf):
            if file.is_stream:
                others[path] = file
            elif plain_files.is_configuration(path) and (
                named or tree.concerns_devices(path, file)
            ):
                plain[path] = file
        elif file is not None:
            others[path] = file
    return plain, others


def _of_tools(
    files: dict[str, editable.Editable],
) -> collections.abc.Iterator[Document]:
    for file in files.values():
        for reading in file.edit_readings():
            kinds = (
                configuration.ALL
                if reading.service is None
                else (reading.service,)
            )
            yield Document(file, reading, kinds)


def _of_plain_files(
    confs: dict[str, nova_conf.NovaConf],
) -> collections.abc.Iterator[Document]:
    for files in plain_files.groups(confs):
        yield Document(
            confs.get(files.path, files.confs[-1]),
            editable.Reading(None, files.confs),
            files.kinds,
        )


def _divided(documents: list[Document]) -> list[Document]:
    """Attribute each nova.conf of a compute host to nova-compute alone.

    If there is no other configuration of the control plane, none is.
    """
    divided = [
        dataclasses.replace(document, kinds=(configuration.COMPUTE,))
        if _is_of_compute_host(document)
        else document
        for document in documents
    ]
    if any(configuration.API in document.kinds for document in divided):
        return divided
    return documents


def _is_of_compute_host(document: Document) -> bool:
    if document.kinds != configuration.ALL:
        return False
    process = tree.process(document.kinds, document.path, document.reading)
    return not scheduler_rules.is_scheduler(process) and (
        bool(process.device_specs)
        or 'compute' in document.path.lower()
        or any(
            scheduler_filters.is_of_compute(option.section, option.name)
            for option in process.options
        )
    )


def _check_not_named(path: str, root: str, named: bool) -> None:
    if named:
        raise exceptions.DocumentError(
            f'{path} is a layer of Kolla: pass the folder {root or "."} '
            'instead'
        )


def _open(path: str, named: bool) -> editable.EditableFile | None:
    try:
        file = services.open_file(path)
    except exceptions.DocumentError:
        if named or tree.is_about_nova(path):
            raise
        return None
    if isinstance(file, derived_conf.DerivedFile):
        raise exceptions.DocumentError(
            f'{path}: {file.tool} generates nova.conf from this file; set '
            'the options in it by hand'
        )
    return file


def _readers(
    file: editable.Editable, documents: list[Document]
) -> tuple[str, ...]:
    kinds = {
        kind
        for document in documents
        if document.file is file or file in document.confs
        for kind in document.kinds
    }
    return tuple(kind for kind in configuration.ALL if kind in kinds)


class Changes:
    """Records which services have to be restarted after edits."""

    def __init__(self, documents: collections.abc.Iterable[Document]) -> None:
        self._documents = list(documents)
        self._texts = self._read()
        self._kinds: set[str] = set()

    def _read(self) -> list[list[str]]:
        return [
            [conf.text for conf in document.confs]
            for document in self._documents
        ]

    def note(self, *kinds: str) -> None:
        """Record the edits since the last call.

        :param kinds: The services that read the option that was set.
        """
        texts = self._read()
        for document, before, after in zip(
            self._documents, self._texts, texts, strict=True
        ):
            if before != after:
                self._kinds.update(set(kinds) & set(document.kinds))
        self._texts = texts

    @property
    def restart(self) -> list[str]:
        """The services, in the documented order."""
        return [kind for kind in _ORDER if kind in self._kinds]


def report(documents: collections.abc.Sequence[Document]) -> None:
    """Set ``report_in_placement`` of the computes, in memory.

    :raises gpuclient.exceptions.DocumentError: None has devices.
    :raises gpuclient.exceptions.InvalidDeviceSpec: nova-compute would not
        start.
    """
    computes = _computes(documents)
    if not computes:
        raise exceptions.DocumentError(
            'No [pci]device_spec in these files: nova-compute has no '
            'devices to report. Add one with "openstack gpu device spec '
            'create"'
        )
    for document in computes:
        _set(document, nova_options.REPORT_IN_PLACEMENT, True)
        for text in document.device_specs:
            try:
                for spec in device_spec.parse(text, report_in_placement=True):
                    device_spec.check_devname(spec)
            except exceptions.InvalidDeviceSpec as exc:
                reason = ' '.join(str(exc).split())
                raise exceptions.InvalidDeviceSpec(
                    f'nova-compute would not start with {document.where}: '
                    f'{reason}'
                ) from exc


def _computes(
    documents: collections.abc.Iterable[Document],
) -> list[Document]:
    return [
        document
        for document in documents
        if configuration.COMPUTE in document.kinds and document.device_specs
    ]


def use_placement(
    documents: collections.abc.Sequence[Document], value: bool
) -> None:
    """Set ``pci_in_placement`` of the control plane, in memory.

    nova-compute, too, validates aliases by this option: it is set on computes
    that have an alias without ids
    (``nova/pci/request.py:_validate_required_ids``).

    :raises gpuclient.exceptions.DocumentError: None is of the control plane.
    :raises gpuclient.exceptions.InvalidAlias: A service would not start.
    """
    control = [
        document
        for document in documents
        if any(kind in CONTROL_PLANE for kind in document.kinds)
    ]
    if not control:
        raise exceptions.DocumentError(
            'None of these files is read by nova-api, nova-scheduler or '
            'nova-conductor, which use [filter_scheduler]pci_in_placement'
        )
    others = [
        document
        for document in documents
        if document not in control and _has_alias_without_ids(document)
    ]
    for document in (*control, *others):
        _set(document, nova_options.PCI_IN_PLACEMENT, value)
        _check_aliases(document)


def _has_alias_without_ids(document: Document) -> bool:
    for text in document.texts(*nova_options.ALIAS):
        try:
            if alias_model.parse(text).vendor_id is None:
                return True
        except exceptions.InvalidAlias:
            # "gpu config check" reports it.
            continue
    return False


def _check_aliases(document: Document) -> None:
    kinds = [
        kind
        for kind in (configuration.API, configuration.COMPUTE)
        if kind in document.kinds
    ]
    texts = document.texts(*nova_options.ALIAS)
    if not kinds or not texts:
        return
    in_placement = bool(document.boolean(*nova_options.PCI_IN_PLACEMENT))
    try:
        alias_model.merge(texts, in_placement)
    except exceptions.InvalidAlias as exc:
        raise exceptions.InvalidAlias(
            f'{" and ".join(kinds)} would not start with {document.where}: '
            f'{" ".join(str(exc).split())}'
        ) from exc


def _set(document: Document, names: nova_options.Names, value: bool) -> None:
    """Set a boolean option, unless it has the value already."""
    values = list(document.values(*names))
    if values:
        conf, last = values[-1]
        _check_known(document, last, names)
        if oslo_values.boolean_or_none(last.text) is not value:
            conf.replace(last, str(value))
    elif value:
        document.best(*names).add(*names[0], str(value))


def _check_known(
    document: Document, value: nova_conf.Value, names: nova_options.Names
) -> None:
    if value.depends or '$' in value.text:
        section, option = names[0]
        raise exceptions.DocumentError(
            f'{document.path}, line {value.line}: [{section}]{option} '
            'depends on a template or another option; edit it by hand'
        )


def enable_filters(
    documents: collections.abc.Sequence[Document],
    names: collections.abc.Sequence[str],
) -> None:
    """Add filters to those of nova-scheduler, in memory.

    The option is the whole list: if it is unset, the default filters are
    written with the new ones.

    :raises gpuclient.exceptions.DocumentError: None is of nova-scheduler.
    :raises gpuclient.exceptions.InvalidValue: Nova has no such filter.
    """
    schedulers = [
        document
        for document in documents
        if configuration.SCHEDULER in document.kinds
    ]
    if not schedulers:
        raise exceptions.DocumentError(
            'None of these files is read by nova-scheduler, which uses '
            '[filter_scheduler]enabled_filters'
        )
    for document in _homes(schedulers):
        _check_filters(document, names)
        _enable_filters(document, names)


def _homes(schedulers: list[Document]) -> list[Document]:
    """Return the documents that set the filters, or else one per folder."""
    with_filters = [
        document for document in schedulers if any(document.values(*_FILTERS))
    ]
    if with_filters:
        return with_filters
    folders = {
        os.path.dirname(document.path): document
        for document in reversed(schedulers)
    }
    return [
        document for document in schedulers if document in folders.values()
    ]


def _check_filters(
    document: Document, names: collections.abc.Sequence[str]
) -> None:
    values = list(document.values(_AVAILABLE))
    if any(value.depends for _conf, value in values):
        return
    available = scheduler_filters.available(
        tuple(value.text for _conf, value in values)
    )
    for name in names if available is not None else ():
        if available is not None and name not in available:
            raise exceptions.InvalidValue(
                f'Nova has no filter {name!r}. '
                f'{scheduler_rules.remedy(name, available)}'
            )


def _enable_filters(
    document: Document, names: collections.abc.Sequence[str]
) -> None:
    values = list(document.values(*_FILTERS))
    if values:
        conf, last = values[-1]
        _check_known(document, last, _FILTERS)
        enabled = scheduler_filters.enabled(last.text)
        missing = _missing(names, enabled)
        if not missing:
            return
        comma = ', ' if ', ' in last.text else ','
        kept = last.text.strip().rstrip(',')
        if '\n' in kept:
            kept = comma.join(enabled)
        conf.replace(last, comma.join((*([kept] if kept else []), *missing)))
        return
    default = (
        _FILTERS_OF_OPERATOR
        if document.is_rhoso
        else scheduler_filters.DEFAULT
    )
    missing = _missing(names, default)
    if missing:
        document.best(*_FILTERS).add(
            *_FILTERS[0], ','.join((*default, *missing))
        )


def _missing(
    names: collections.abc.Sequence[str],
    enabled: collections.abc.Collection[str],
) -> list[str]:
    return [name for name in dict.fromkeys(names) if name not in enabled]


def warnings(
    documents: collections.abc.Sequence[Document], *, in_placement: bool
) -> list[str]:
    """Return what else tracking needs.

    :param in_placement: ``pci_in_placement`` is enabled.
    """
    if not in_placement:
        return []
    computes = _computes(documents)
    messages = [
        f'{document.where} does not report its devices: with '
        'pci_in_placement, servers are not scheduled to them. Add '
        '--report-in-placement, and deploy the compute hosts first'
        for document in computes
        if not document.reports
    ]
    if not computes:
        messages.append(
            'These files configure no compute host with devices: make sure '
            'that all compute hosts report their devices ("openstack gpu '
            'placement list") before you deploy the control plane'
        )
    kinds = {kind for document in documents for kind in document.kinds}
    missing = [kind for kind in CONTROL_PLANE if kind not in kinds]
    if missing:
        messages.append(
            f'These files do not configure {" and ".join(missing)}: set '
            'pci_in_placement = True there, too'
        )
    return messages


def next_steps(
    documents: collections.abc.Sequence[Document],
    restart: collections.abc.Sequence[str],
    *,
    in_placement: bool,
) -> list[str]:
    """Return the next steps with the changed files, in order.

    :param restart: The services that read a changed option.
    :param in_placement: ``pci_in_placement`` is enabled.
    """
    changed = [document for document in documents if document.changed]
    if any(document.is_kolla for document in changed):
        return ['kolla-ansible reconfigure --tags nova']
    is_rhoso = any(document.is_rhoso for document in changed)
    control = [kind for kind in restart if kind != configuration.COMPUTE]
    steps = []
    if configuration.COMPUTE in restart:
        steps.append(
            (
                'Create an OpenStackDataPlaneDeployment for the node sets of '
                'these compute hosts'
            )
            if is_rhoso
            else 'Restart nova-compute on each compute host'
        )
    if in_placement and control:
        steps.append(
            'openstack gpu placement list: continue when it shows every '
            'device of every compute host'
        )
    if control:
        steps.append(
            'Apply the control plane with oc apply'
            if is_rhoso
            else 'Restart {}'.format(', '.join(control))
        )
    return steps
