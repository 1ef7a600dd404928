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
import contextlib
import dataclasses
import os
import typing

from gpuclient.documents import editable
from gpuclient.documents import services
from gpuclient import exceptions
from gpuclient.files import atomic
from gpuclient.model import nova_options
from gpuclient.osc import columns
from gpuclient.osc import command
from gpuclient.osc import options
from gpuclient.osc import streams


def add_options(
    parser: argparse.ArgumentParser, *, of_api: bool = True
) -> None:
    """Add the options that name files to edit, and say how to treat them.

    :param of_api: nova-api reads what is edited, too.
    """
    add_files(parser, of_api=of_api)
    options.add_dry_run(parser)


def add_files(parser: argparse.ArgumentParser, *, of_api: bool = True) -> None:
    """Add the options that name files.

    :param of_api: nova-api reads what is in them, too.
    """
    if of_api:
        _add_api_option(parser)
        parser.set_defaults(both=[services.API, services.COMPUTE])
    else:
        parser.set_defaults(api_files=[], both=[services.COMPUTE])
    parser.add_argument(
        '--compute-config',
        metavar='<path>',
        dest='compute_files',
        action='append',
        default=[],
        help=(
            'Configuration of a nova-compute: a nova.conf, YAML of RHOSO, a '
            'folder of drop-ins or the custom configuration of Kolla; - for '
            'standard input (repeat for several)'
        ),
    )
    parser.add_argument(
        '--config',
        metavar='<path>',
        dest='files',
        action='append',
        default=[],
        help=(
            'Configuration of both: a nova.conf that both read, YAML of '
            'RHOSO with either or both in it, a folder of drop-ins or the '
            'custom configuration of Kolla; - for standard input (repeat for '
            'several)'
        )
        if of_api
        else 'The same as --compute-config',
    )


def _add_api_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--api-config',
        metavar='<path>',
        dest='api_files',
        action='append',
        default=[],
        help=(
            'Configuration of a nova-api: a nova.conf, YAML of RHOSO, a '
            'folder of drop-ins or the custom configuration of Kolla; - for '
            'standard input (repeat for several)'
        ),
    )


T = typing.TypeVar('T', bound=services.ServiceConfiguration)
#: A configuration, and what is read of it.
Before: typing.TypeAlias = tuple[services.ServiceConfiguration, list[str]]


@dataclasses.dataclass
class Edit(typing.Generic[T]):
    """What happens to one file, or to the files of one folder."""

    file: editable.Editable
    #: The configuration in it that is edited.
    documents: list[T]
    services: list[str]
    #: What other services read of it, before it is edited.
    others: list[Before]
    #: Services of the documents that have changed.
    restart: set[str] = dataclasses.field(default_factory=set)

    @property
    def changed(self) -> bool:
        return self.file.changed

    @property
    def files(self) -> list[editable.EditableFile]:
        """Those that have changed."""
        return [file for file in self.file.files if file.changed]

    @property
    def shown(self) -> list[editable.Editable]:
        return [*self.files] or [self.file]

    def readers(self, file: editable.Editable) -> list[str]:
        """Return the services that read a file."""
        names = {
            document.service
            for document in self.documents
            if document.service is not None and file in document.confs
        }
        return sorted(names) or self.services

    def note_restart(self, document: T) -> None:
        """Remember that the services of a document have to be restarted."""
        if document.changed:
            self.restart.update(
                self.services
                if document.service is None
                else [document.service]
            )

    def check(self) -> None:
        """Find out whether the edits are those that were asked for.

        :raises gpuclient.exceptions.UnsafeEdit: They are not, or cannot be
            made in place.
        """
        for file in self.file.outside:
            if file.changed:
                raise exceptions.UnsafeEdit(
                    (
                        f'Cannot edit {self.file.path}: {file.path} is what '
                        'counts, '
                        'which other environments read, too: name its '
                        'folder, or make a file of that name in this one'
                    ),
                    file.diff(),
                )
        for document, texts in self.others:
            if _texts(document) != texts:
                raise exceptions.UnsafeEdit(
                    (
                        f'Cannot edit {self.file.path}: {document.service} '
                        f'of {document.where} reads '
                        'the same file, and would change, too; name the '
                        'folder with --config to edit both sides'
                    ),
                    self.file.diff(),
                )
        for file in self.files:
            file.check_possible()


def _texts(document: services.ServiceConfiguration) -> list[str]:
    """Return what a service reads of devices."""
    texts = document.texts(*nova_options.ALIAS)
    if document.service == services.COMPUTE:
        texts += document.texts(*nova_options.DEVICE_SPEC)
    return texts


def warn_of(edit: Edit[T]) -> list[str]:
    return [
        (
            f'{file.path} begins with a byte order mark, with which '
            'oslo.config '
            'refuses to read it'
        )
        for file in edit.file.files
        if file.has_mark
    ] + [
        warning
        for file in edit.file.files
        if file.changed and not file.is_stream
        for warning in atomic.warnings(file.path)
    ]


def present(edits: list[Edit[T]], dry_run: bool) -> columns.FilesColumn:
    return columns.FilesColumn(
        [
            {
                'path': file.path,
                'services': edit.readers(file),
                'state': _state(file, dry_run),
                'diff': file.diff(),
            }
            for edit in edits
            for file in edit.shown
        ]
    )


def write(
    shown: command.ShowOne, edits: list[Edit[T]], *, dry_run: bool
) -> None:
    """Write the files, all of them or, foreseeably, none.

    What came from standard input goes to standard output.

    :param shown: The command that is run.
    :param dry_run: Only find out whether it is possible.
    """
    try:
        for edit in edits:
            edit.check()
        if dry_run:
            return
        changed = [file for edit in edits for file in edit.files]
        _write_all(changed)
        shown.written = tuple(
            file.path for file in changed if not file.is_stream
        )
        for edit in edits:
            for file in edit.file.files:
                if file.is_stream:
                    shown.document = file.content()
    except exceptions.DocumentError as exc:
        if isinstance(exc, exceptions.UnsafeEdit) and exc.patch:
            # For the user to apply by hand.
            with (
                contextlib.suppress(exceptions.OutputError),
                streams.guarded(shown.app.stdout, ()),
            ):
                shown.app.stdout.write(columns.escape_lines(exc.patch))
        raise


def _write_all(files: list[editable.EditableFile]) -> None:
    """Write files, all of them or none.

    What can fail for one of them, for want of space or permission, fails
    before the first one is another.
    """
    for file in files:
        file.check_writable()
    done: list[editable.EditableFile] = []
    with contextlib.ExitStack() as stack:
        commits = [(file, file.prepare(stack)) for file in files]
        try:
            for file, commit in commits:
                commit()
                done.append(file)
        except BaseException as exc:
            kept = _restore(done)
            if kept and isinstance(exc, exceptions.DocumentError):
                raise exceptions.DocumentError(
                    '{reason} (written before: {paths})'.format(
                        reason=exc, paths=', '.join(kept)
                    )
                ) from exc
            raise


def _restore(files: list[editable.EditableFile]) -> list[str]:
    """Take back what was written; return the paths where it cannot be."""
    kept = []
    for file in reversed(files):
        if file.is_stream:
            continue
        try:
            file.restore()
        except exceptions.DocumentError:
            kept.append(file.path)
    return kept


def _state(file: editable.Editable, dry_run: bool) -> str:
    if not file.changed:
        return 'unchanged'
    if file.is_new:
        return 'would create' if dry_run else 'created'
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
                path
                if path == services.STANDARD_INPUT
                else os.path.realpath(path),
                (path, []),
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
            (
                'Nova has no API for this: name the files with --config, '
                '--compute-config or, for nova-api, --api-config'
            )
            if services.API in parsed_args.both
            else (
                'Nova has no API for this: name the files with '
                '--compute-config'
            )
        )
    return edits


def _edit(
    path: str,
    names: list[str],
    reader: collections.abc.Callable[[str], tuple[T, ...]],
) -> Edit[T]:
    """Read a file; of YAML, which says so itself, what the services read."""
    found = reader(path)
    documents = [
        document for document in found if document.service in (None, *names)
    ]
    if not documents:
        raise exceptions.DocumentError(
            '{path} has no configuration of {services}'.format(
                path=path, services=' or '.join(names)
            )
        )
    there = {document.service for document in documents} - {None}
    others = [
        services.ServiceConfiguration(documents[0].file, reading)
        for reading in documents[0].file.edit_readings()
        if reading.service in {services.API, services.COMPUTE} - {*names}
    ]
    return Edit(
        documents[0].file,
        documents,
        sorted(name for name in names if not there or name in there),
        [(other, _texts(other)) for other in others],
    )
