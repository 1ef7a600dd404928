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

"""Write the files of a description, merged into existing ones."""

import collections.abc
import contextlib
import os

from gpuclient.documents import diffs
from gpuclient.documents import editable
from gpuclient.documents.generate import conf_options
from gpuclient.documents.generate import creation
from gpuclient.documents.generate import host_files
from gpuclient.documents.generate import kolla_tree
from gpuclient.documents.generate import plain_tree
from gpuclient.documents.generate import rhoso_tree
from gpuclient.documents import nova_conf
from gpuclient.documents import services
from gpuclient.documents import yaml_file
from gpuclient.documents import yaml_merge
from gpuclient import exceptions
from gpuclient.files import atomic
from gpuclient.model import catalogue
from gpuclient.model import description
from gpuclient.model import description_reader


class CreatedFile(editable.EditableFile):
    """A file of the output, before and after.

    :param path: The folder as the user named it, and the path in it.
    :param old: Its bytes; None if there is no file.
    :param artifact: What it must contain.
    :raises gpuclient.exceptions.DocumentError: The present file has another
        format.
    """

    def __init__(
        self, path: str, old: bytes | None, artifact: creation.Artifact
    ) -> None:
        super().__init__(path, old or b'')
        self.is_new = old is None
        self.services = list(artifact.services)
        self._mode = 0o644
        self._obstacle = self._patch = ''
        text = atomic.decode(path, old or b'')
        if isinstance(artifact, creation.TextArtifact):
            new = artifact.content
            if artifact.settings:
                new = _with_settings(text, new)
            self._mode = artifact.mode
        elif isinstance(artifact, creation.ConfArtifact):
            conf = conf_options.edited(
                path, text, artifact.options, template=artifact.template
            )
            new = conf.text
            self._obstacle = conf.obstacle()
            self._patch = conf.diff() if self._obstacle else ''
        else:
            merged = yaml_merge.merge(path, text, artifact.objects)
            new = merged.text
            self._obstacle, self._patch = merged.obstacle, merged.patch
        self._before, self._after = text, new

    @property
    def changed(self) -> bool:
        """Whether there is anything to write."""
        return (
            self.is_new
            or bool(self._obstacle)
            or (self._before != self._after)
        )

    def diff(self) -> str:
        """Return the edits as a unified diff; empty if there are none."""
        if self._obstacle:
            # The part to be merged by hand, since the file cannot be edited.
            return self._patch
        return diffs.unified(
            self.path,
            nova_conf.split_lines(self._before),
            nova_conf.split_lines(self._after),
            is_new=self.is_new,
        )

    def readings(self) -> collections.abc.Iterator[editable.Reading]:
        # It is only written.
        return iter(())

    def content(self) -> bytes:
        return self._after.encode()

    def obstacle(self) -> str:
        return self._obstacle

    def check_writable(self) -> None:
        if not self.is_new:
            super().check_writable()
            return
        self.check_possible()
        with self._with_patch():
            atomic.check_creatable(self.path)

    def _written(
        self, content: bytes
    ) -> contextlib.AbstractContextManager[collections.abc.Callable[[], None]]:
        if not self.is_new:
            return super()._written(content)
        return atomic.creation(self.path, content, self._mode)

    def restore(self) -> None:
        if not self.is_new:
            super().restore()
            return
        atomic.remove(self.path, self._original)


def read_description(
    path: str, models: catalogue.Catalogue
) -> description.Description:
    """Return the description in a file, YAML or JSON.

    :param path: ``-`` for standard input.
    :raises gpuclient.exceptions.DocumentError: It is neither.
    :raises gpuclient.exceptions.InvalidData: See
        :func:`gpuclient.model.description_reader.parse`; with the path.
    """
    name, content = services.read_content(path)
    try:
        return description_reader.parse(
            yaml_file.parse(name, atomic.decode(name, content)), models
        )
    except exceptions.InvalidData as exc:
        raise exceptions.InvalidData(f'{name}: {exc}') from exc


def create(wanted: description.Description) -> creation.Creation:
    """Return all files of a description, for its target.

    :raises gpuclient.exceptions.InvalidData: Nova would refuse it.
    """
    makers: dict[
        str,
        collections.abc.Callable[[description.Description], creation.Creation],
    ] = {
        'rhoso': rhoso_tree.create,
        'kolla': kolla_tree.create,
        'plain': plain_tree.create,
    }
    return makers[wanted.target](wanted)


def read_creation(
    folder: str, created: creation.Creation
) -> tuple[tuple[CreatedFile, ...], tuple[str, ...]]:
    """Return the files of a folder, before and after.

    :returns: The files, and the paths of files that are kept because this tool
        did not generate them.
    :raises gpuclient.exceptions.DocumentError: A file cannot be read, leads
        out of the folder, or would have no effect.
    """
    if not created.layers:
        return read(folder, created.artifacts)
    artifacts = kolla_tree.place(folder, created.artifacts)
    files, others = read(folder, artifacts)
    kolla_tree.check(folder, artifacts, files)
    return files, others


def read(
    folder: str, artifacts: collections.abc.Iterable[creation.Artifact]
) -> tuple[tuple[CreatedFile, ...], tuple[str, ...]]:
    """Return files, each by itself; see :func:`read_creation`."""
    files = []
    others: dict[str, None] = {}
    for artifact in artifacts:
        path = os.path.join(folder, artifact.path)
        _check_inside(folder, path)
        old = atomic.read(path) if os.path.lexists(path) else None
        if isinstance(artifact, creation.TextArtifact) and artifact.part_of:
            whole = artifact.part_of
            if whole == artifact.path and old is not None:
                if not _is_generated(old):
                    others[whole] = None
            if whole in others:
                continue
        files.append(CreatedFile(path, old, artifact))
    return tuple(files), tuple(others)


def _is_generated(content: bytes) -> bool:
    return any(
        mark.encode() in content
        for mark in (host_files.MARK, host_files.OLD_MARK)
    )


def not_ours(path: str) -> str:
    """Return the warning about a kustomization that is kept."""
    return (
        f'{path} was not generated by "openstack gpu" and is unchanged: make '
        'sure that it uses the new values in the files next to it, for every '
        'host'
    )


def _check_inside(folder: str, path: str) -> None:
    with atomic.reported(path):
        root = os.path.realpath(folder)
        is_inside = os.path.commonpath([root, os.path.realpath(path)]) == root
    if not is_inside:
        raise exceptions.DocumentError(
            f'Cannot write {path}: a link leads out of {folder}'
        )
    above = os.path.dirname(path)
    while not os.path.lexists(above) and above:
        above = os.path.dirname(above)
    if above and not os.path.isdir(above):
        raise exceptions.DocumentError(
            f'Cannot write {path}: {above} is not a folder'
        )


def _with_settings(text: str, wanted: str) -> str:
    """Return a text of ``key=value`` lines with some keys set."""
    if not text:
        return wanted
    lines = nova_conf.split_lines(text)
    for line in nova_conf.split_lines(wanted):
        key, equals, _value = line.partition('=')
        if not equals or line.startswith('#'):
            continue
        same = [
            number
            for number, other in enumerate(lines)
            if other.partition('=')[0].strip() == key
        ]
        if same:
            lines[same[-1]] = line
        else:
            if not lines[-1].endswith('\n'):
                lines[-1] += '\n'
            lines.append(line)
    return ''.join(lines)
