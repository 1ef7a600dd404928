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

"""Configuration files that commands edit."""

import argparse
import collections.abc
import dataclasses
import os
import typing

from gpuclient.documents import services
from gpuclient import exceptions
from gpuclient.i18n import _
from gpuclient.osc import columns


def add_options(
    parser: argparse.ArgumentParser, *, of_api: bool = True
) -> None:
    """Add the options that name files, and say how to treat them.

    :param of_api: nova-api reads what is edited, too.
    """
    if of_api:
        _add_api_option(parser)
        parser.set_defaults(both=[services.API, services.COMPUTE])
    else:
        parser.set_defaults(api_files=[], both=[services.COMPUTE])
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
        '--dry-run',
        action='store_true',
        help=_('Show what would be written, and write nothing'),
    )


def _add_api_option(parser: argparse.ArgumentParser) -> None:
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


T = typing.TypeVar('T', bound=services.ServiceConfiguration)


@dataclasses.dataclass
class Edit(typing.Generic[T]):
    """What happens to one file."""

    file: services.ConfigurationFile
    #: The configuration in it that is edited.
    documents: list[T]
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

    def note_restart(self, document: T) -> None:
        """Remember that the services of a document have to be restarted."""
        if document.changed:
            self.restart.update(
                self.services
                if document.service is None
                else [document.service]
            )

    def write(self) -> None:
        """Write the file; see ``NovaConf.write``."""
        self._diff = self.file.diff()
        self.file.write()
        self.written = True


def warn_of(edit: Edit[T]) -> list[str]:
    if not edit.file.has_mark:
        return []
    return [
        _(
            '%s begins with a byte order mark, with which oslo.config '
            'refuses to read it'
        )
        % edit.file.path
    ]


def present(edits: list[Edit[T]], dry_run: bool) -> columns.FilesColumn:
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


def write(app: typing.Any, edits: list[Edit[T]]) -> None:
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


def _state(edit: Edit[T], dry_run: bool) -> str:
    if not edit.changed:
        return 'unchanged'
    return 'would change' if dry_run else 'changed'


def restart(edits: collections.abc.Iterable[Edit[T]]) -> list[str]:
    """Return the services that have to be restarted."""
    return sorted(set().union(*(edit.restart for edit in edits)))


def read(
    parsed_args: argparse.Namespace,
    reader: collections.abc.Callable[[str], tuple[T, ...]],
) -> list[Edit[T]]:
    """Read the files; one that is named twice is one file."""
    found_services: dict[str, tuple[str, list[str]]] = {}
    for paths, names in (
        (parsed_args.api_files, [services.API]),
        (parsed_args.compute_files, [services.COMPUTE]),
        (parsed_args.files, parsed_args.both),
    ):
        for path in paths:
            _first, found = found_services.setdefault(
                os.path.realpath(path), (path, [])
            )
            found += [name for name in names if name not in found]
    return [
        _edit(path, sorted(names), reader)
        for path, names in found_services.values()
    ]


def read_some(
    parsed_args: argparse.Namespace,
    reader: collections.abc.Callable[[str], tuple[T, ...]],
) -> list[Edit[T]]:
    """Read the files, of which there has to be one."""
    edits = read(parsed_args, reader)
    if not edits:
        raise exceptions.InvalidValue(
            _(
                'Nova has no API for this: name the files to change with '
                '--config, --compute-config or, for nova-api, --api-config'
            )
        )
    return edits


def _edit(
    path: str,
    names: list[str],
    reader: collections.abc.Callable[[str], tuple[T, ...]],
) -> Edit[T]:
    """Read a file; of YAML, which says so itself, what the services read."""
    documents = [
        document
        for document in reader(path)
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
