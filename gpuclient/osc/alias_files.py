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

"""Configuration files that commands on aliases edit."""

import argparse
import collections.abc
import dataclasses
import os
import typing

from gpuclient.documents import aliases as alias_documents
from gpuclient import exceptions
from gpuclient.i18n import _
from gpuclient.model import alias as alias_model
from gpuclient.model import pci
from gpuclient.osc import columns

_API = 'nova-api'
_COMPUTE = 'nova-compute'


def add_value_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what an alias is."""
    parser.add_argument(
        '--vendor-id',
        metavar='<id>',
        help=_('Vendor of the devices: four hexadecimal digits'),
    )
    parser.add_argument(
        '--product-id',
        metavar='<id>',
        help=_('Product of the devices: four hexadecimal digits'),
    )
    # Nova's own words for a wrong value are better than argparse's.
    parser.add_argument(
        '--device-type',
        metavar='<type>',
        help=_(
            'Type of the devices: %s; without it, type-PF devices never match'
        )
        % ', '.join(pci.DEVICE_TYPES),
    )
    parser.add_argument(
        '--numa-policy',
        metavar='<policy>',
        help=_('NUMA affinity of the devices: %s (default: %s)')
        % (
            ', '.join(alias_model.NUMA_POLICIES),
            alias_model.DEFAULT_NUMA_POLICY,
        ),
    )
    parser.add_argument(
        '--resource-class',
        metavar='<resource-class>',
        help=_(
            'Resource class of the devices in Placement, in place of or '
            'beside the ids'
        ),
    )
    parser.add_argument(
        '--trait',
        metavar='<trait>',
        dest='traits',
        action='append',
        default=[],
        help=_('Trait that the devices must have (repeat for several)'),
    )
    parser.add_argument(
        '--live-migratable',
        metavar='<yes|no>',
        choices=('yes', 'no'),
        help=_('Whether servers with the devices can be live migrated'),
    )


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that name files, and say how to treat them."""
    parser.add_argument(
        '--api-config',
        metavar='<file>',
        dest='api_files',
        action='append',
        default=[],
        help=_(
            'Configuration of a nova-api: a nova.conf, or YAML of RHOSO '
            '(repeat for several)'
        ),
    )
    parser.add_argument(
        '--compute-config',
        metavar='<file>',
        dest='compute_files',
        action='append',
        default=[],
        help=_(
            'Configuration of a nova-compute: a nova.conf, or YAML of '
            'RHOSO (repeat for several)'
        ),
    )
    parser.add_argument(
        '--config',
        metavar='<file>',
        dest='files',
        action='append',
        default=[],
        help=_(
            'Configuration of both: a nova.conf that both read, or YAML of '
            'RHOSO with either or both in it (repeat for several)'
        ),
    )
    parser.add_argument(
        '--pci-in-placement',
        action='store_true',
        help=_(
            'Judge as with [filter_scheduler]pci_in_placement = True '
            'where a file does not say'
        ),
    )
    parser.add_argument(
        '--dry-run',
        action='store_true',
        help=_('Show what would be written, and write nothing'),
    )


@dataclasses.dataclass
class Edit:
    """What happens to one file."""

    file: alias_documents.ConfigurationFile
    #: The configuration in it that is edited.
    documents: list[alias_documents.AliasDocument]
    services: list[str]
    #: Services of the documents that have changed.
    restart: set[str] = dataclasses.field(default_factory=set)
    written: bool = False
    #: As it was before the file was written.
    _diff: str = ''

    @property
    def changed(self) -> bool:
        return self.written or self.file.changed

    @property
    def diff(self) -> str:
        return self._diff if self.written else self.file.diff()

    def write(self) -> None:
        """Write the file; see ``NovaConf.write``."""
        self._diff = self.file.diff()
        self.file.write()
        self.written = True


def services(edit: Edit, document: alias_documents.AliasDocument) -> list[str]:
    """Return the services that read a part of a file."""
    return edit.services if document.service is None else [document.service]


def warn_of(edit: Edit) -> list[str]:
    if not edit.file.has_mark:
        return []
    return [
        _(
            '%s begins with a byte order mark, with which oslo.config '
            'refuses to read it'
        )
        % edit.file.path
    ]


def present(edits: list[Edit], dry_run: bool) -> columns.FilesColumn:
    return columns.FilesColumn(
        [
            {
                'path': edit.file.path,
                'services': edit.services,
                'state': _state(edit, dry_run),
                'diff': edit.diff,
            }
            for edit in edits
        ]
    )


def write(app: typing.Any, edits: list[Edit]) -> None:
    """Write the files, all of them or, foreseeably, none."""
    changed = [edit for edit in edits if edit.changed]
    try:
        for edit in changed:
            edit.file.check_writable()
        for edit in changed:
            edit.write()
    except exceptions.DocumentError as exc:
        if isinstance(exc, exceptions.UnsafeEdit) and exc.patch:
            # For the user to apply by hand.
            app.stdout.write(columns.escape_lines(exc.patch))
        done = [edit.file.path for edit in edits if edit.written]
        if done:
            raise exceptions.DocumentError(
                _('%(reason)s (written before: %(paths)s)')
                % {'reason': exc, 'paths': ', '.join(done)}
            ) from exc
        raise


def _state(edit: Edit, dry_run: bool) -> str:
    if not edit.changed:
        return 'unchanged'
    return 'would change' if dry_run else 'changed'


def restart(edits: collections.abc.Iterable[Edit]) -> list[str]:
    """Return the services that have to be restarted."""
    return sorted(set().union(*(edit.restart for edit in edits)))


def read(parsed_args: argparse.Namespace) -> list[Edit]:
    """Read the files; one that is named twice is one file."""
    found_services: dict[str, tuple[str, list[str]]] = {}
    for paths, names in (
        (parsed_args.api_files, [_API]),
        (parsed_args.compute_files, [_COMPUTE]),
        (parsed_args.files, [_API, _COMPUTE]),
    ):
        for path in paths:
            _first, found = found_services.setdefault(
                os.path.realpath(path), (path, [])
            )
            found += [name for name in names if name not in found]
    return [
        _edit(path, sorted(names)) for path, names in found_services.values()
    ]


def read_some(parsed_args: argparse.Namespace) -> list[Edit]:
    """Read the files, of which there has to be one."""
    edits = read(parsed_args)
    if not edits:
        raise exceptions.InvalidValue(
            _(
                'Nova has no API for aliases: name the files to change with '
                '--config, --api-config or --compute-config'
            )
        )
    return edits


def _edit(path: str, names: list[str]) -> Edit:
    """Read a file; of YAML, which says so itself, what the services read."""
    documents = [
        document
        for document in alias_documents.read(path)
        if document.service in (None, *names)
    ]
    if not documents:
        raise exceptions.DocumentError(
            _('%(path)s has no configuration of %(services)s')
            % {'path': path, 'services': ' or '.join(names)}
        )
    found = {document.service for document in documents} - {None}
    return Edit(
        documents[0].file,
        documents,
        sorted(name for name in names if not found or name in found),
    )
