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

"""Edits of configuration files: read, check, write all of them or none."""

import collections.abc
import contextlib
import dataclasses
import os
import typing

from gpuclient.documents import editable
from gpuclient.documents import nova_conf
from gpuclient.documents import services
from gpuclient import exceptions
from gpuclient.files import atomic
from gpuclient.model import nova_options

T = typing.TypeVar('T', bound=services.ServiceConfiguration)
#: The configuration of another service, and its values before the edit.
Before: typing.TypeAlias = tuple[services.ServiceConfiguration, list[str]]


@dataclasses.dataclass
class Edit(typing.Generic[T]):
    """The edit of one file, or of the files of one folder."""

    file: editable.Editable
    #: The configuration in it that is edited.
    documents: list[T] = dataclasses.field(default_factory=list)
    #: Services that read it, where its documents do not name theirs.
    services: list[str] = dataclasses.field(default_factory=list)
    #: Other services that read the same file.
    others: list[Before] = dataclasses.field(default_factory=list)
    #: Services whose configuration has changed.
    restart: set[str] = dataclasses.field(default_factory=set)

    @property
    def changed(self) -> bool:
        return self.file.changed

    @property
    def files(self) -> list[editable.EditableFile]:
        """The files that have changed."""
        return [file for file in self.file.files if file.changed]

    @property
    def shown(self) -> list[editable.Editable]:
        """The files that have changed, or the unchanged file."""
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
        """Record that the services of a changed document need a restart."""
        if document.changed:
            self.restart.update(
                self.services
                if document.service is None
                else [document.service]
            )

    def check(self) -> None:
        """Check that only the intended services change.

        :raises gpuclient.exceptions.UnsafeEdit: Others would change, too, or
            the file cannot be edited in place.
        """
        for file in self.file.outside:
            if file.changed:
                raise exceptions.UnsafeEdit(
                    (
                        f'Cannot edit {self.file.path}: the value is set in '
                        f'{file.path}, which other environments read, too. '
                        'Pass the folder of that file, or create a file of '
                        'the same name in this folder'
                    ),
                    file.diff(),
                )
        for document, texts in self.others:
            if _texts(document) != texts:
                raise exceptions.UnsafeEdit(
                    (
                        f'Cannot edit {self.file.path}: {document.service} '
                        f'of {document.where} reads the same file and would '
                        'change, too. Pass the folder with --config to edit '
                        'both'
                    ),
                    self.file.diff(),
                )
        for file in self.files:
            file.check_possible()


def _texts(document: services.ServiceConfiguration) -> list[str]:
    """Return the aliases and device specs that a service reads."""
    texts = document.texts(*nova_options.ALIAS)
    if document.service == services.COMPUTE:
        texts += document.texts(*nova_options.DEVICE_SPEC)
    return texts


def warnings(edit: Edit[T]) -> list[str]:
    """Return warnings about the files of an edit."""
    return [
        (
            f'{file.path} begins with a byte order mark: oslo.config fails '
            'to parse the file. Remove the mark'
        )
        for file in edit.file.files
        if file.has_mark
    ] + [
        warning
        for file in edit.file.files
        if file.changed and not file.is_stream
        for warning in atomic.warnings(file.path)
    ]


@dataclasses.dataclass(frozen=True)
class Written:
    """The result of :func:`write`."""

    #: Paths of the files that were replaced or created.
    paths: tuple[str, ...] = ()
    #: The edited standard input, which goes to standard output.
    document: bytes | None = None


def write(
    edits: collections.abc.Collection[Edit[T]], *, dry_run: bool
) -> Written:
    """Check all edits, then write all files or none.

    :param dry_run: Only check them.
    :raises gpuclient.exceptions.DocumentError: A file cannot be edited or
        written.
    """
    for edit in edits:
        edit.check()
    if dry_run:
        return Written()
    changed = [file for edit in edits for file in edit.files]
    _write_all(changed)
    document = None
    for edit in edits:
        for file in edit.file.files:
            if file.is_stream:
                document = file.content()
    return Written(
        tuple(file.path for file in changed if not file.is_stream), document
    )


def _write_all(files: list[editable.EditableFile]) -> None:
    """Write files, all of them or none.

    Missing space or permission is detected before the first file is
    replaced.
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
                    f'{exc} (already changed: {", ".join(kept)})'
                ) from exc
            raise


def _restore(files: list[editable.EditableFile]) -> list[str]:
    """Restore files that were written; return those that stay changed."""
    kept = []
    for file in reversed(files):
        if file.is_stream:
            continue
        try:
            file.restore()
        except exceptions.DocumentError:
            kept.append(file.path)
    return kept


def restart(edits: collections.abc.Iterable[Edit[T]]) -> list[str]:
    """Return the services that need a restart."""
    return sorted(set().union(*(edit.restart for edit in edits)))


def read(
    paths: collections.abc.Iterable[tuple[str, list[str]]],
    reader: collections.abc.Callable[[str], tuple[T, ...]],
) -> list[Edit[T]]:
    """Read files; a file that is named twice is read once.

    :param paths: With the services that read each.
    :param reader: Returns the configuration of the services in a file.
    """
    services_of: dict[str, tuple[str, list[str]]] = {}
    for path, names in paths:
        _first_path, known = services_of.setdefault(
            path
            if path == services.STANDARD_INPUT
            else os.path.realpath(path),
            (path, []),
        )
        known += [name for name in names if name not in known]
    return [
        _edit(path, sorted(names), reader)
        for path, names in services_of.values()
    ]


def _edit(
    path: str,
    names: list[str],
    reader: collections.abc.Callable[[str], tuple[T, ...]],
) -> Edit[T]:
    """Read a file; YAML names the services that read it."""
    configurations = reader(path)
    documents = [
        document
        for document in configurations
        if document.service in (None, *names)
    ]
    if not documents:
        # Whoever names the service of a nova.conf knows better than its path.
        documents = [
            dataclasses.replace(
                document,
                reading=dataclasses.replace(document.reading, service=None),
            )
            for document in configurations
            if type(document.file) is nova_conf.NovaConf
        ]
    if not documents:
        raise exceptions.DocumentError(
            f'{path} has no configuration of {" or ".join(names)}'
        )
    named = {document.service for document in documents} - {None}
    others = [
        services.ServiceConfiguration(documents[0].file, reading)
        for reading in documents[0].file.edit_readings()
        if reading.service in {services.API, services.COMPUTE} - {*names}
    ]
    return Edit(
        documents[0].file,
        documents,
        sorted(name for name in names if not named or name in named),
        [(other, _texts(other)) for other in others],
    )
