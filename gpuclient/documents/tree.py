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

"""Read a tree of configuration: all files that concern PCI devices."""

import collections.abc
import dataclasses
import os
import re
import typing

from gpuclient.documents.deployers import data_plane
from gpuclient.documents.deployers import devstack
from gpuclient.documents.deployers import kolla
from gpuclient.documents.deployers import plain as plain_files
from gpuclient.documents.deployers import rhoso_custom_resources
from gpuclient.documents.deployers import unsupported
from gpuclient.documents import derived_conf
from gpuclient.documents import editable
from gpuclient.documents import nova_conf
from gpuclient.documents import services
from gpuclient import exceptions
from gpuclient.files import atomic
from gpuclient.model import configuration
from gpuclient.model import deployment
from gpuclient.model import nova_options

_PLAIN = ('.conf', '.ini')
#: Folders without configuration, or with that of the host itself.
_SKIPPED = {
    '.git',
    '.tox',
    '.venv',
    '__pycache__',
    'dracut.conf.d',
    'modprobe.d',
    'modules-load.d',
    'node_modules',
    'tuned',
}
#: Words that only configuration of Nova contains, or the preparation of its
#: hosts by RHOSO.
_NOVA_MARKS = (
    b'[pci]',
    b'cpu_dedicated_set',
    b'customServiceConfig',
    b'device_spec',
    b'edpm_kernel_args',
    b'passthrough_whitelist',
    b'pci_in_placement',
)
_NOVA = frozenset(
    {'nova', *(service.replace('-', '') for service in configuration.ALL)}
)
#: ``oslo_config/iniparser.py`` reads the mark as the beginning of a name.
_BYTE_ORDER_MARK = (
    'The file begins with a byte order mark, which oslo.config cannot read. '
    'Services that read the file do not start. Save it as UTF-8 without a '
    'byte order mark'
)
#: No YAML begins a line so; templates of Helm and Jinja do.
_TEMPLATE = rb'^[ \t]*\{[{%]'


class Unreadable(typing.NamedTuple):
    """A file or folder that could not be read."""

    path: str
    reason: str
    #: The line that the reason is about, where it is one.
    line: int | None = None


@dataclasses.dataclass(frozen=True)
class ConfigurationTree:
    """What files and folders contain."""

    #: The configuration of all deployments in them.
    deployment: deployment.Deployment
    #: Number of files that were read.
    files: int
    #: Files that could not be read.
    unreadable: tuple[Unreadable, ...]
    #: Files with settings of devices in an unsupported format, with the name
    #: of the format.
    unread: tuple[tuple[str, str], ...] = ()


@dataclasses.dataclass(frozen=True)
class Declared:
    """A file or folder, and the processes that read it as the user says."""

    kinds: tuple[str, ...]
    host: str | None
    path: str


def read(
    paths: collections.abc.Iterable[str],
    declared: collections.abc.Iterable[Declared] = (),
) -> ConfigurationTree:
    """Read files, and folders with all they contain.

    Links to folders are not followed. A file that the user names must have
    configuration of Nova; of a folder, only files that have some are read. A
    file that is missing or cannot be read is in
    :attr:`ConfigurationTree.unreadable`.

    :param declared: Files of the same kinds and host are read one after the
        other.
    """
    reader = _TreeReader()
    seen = reader.read_declared(declared)
    for path, named in named_files(paths, reader.unreadable):
        if os.path.realpath(path) not in seen:
            reader.read_file(path, named)
    return reader.tree()


class _TreeReader:
    """Collects what the files of a tree contain."""

    def __init__(self) -> None:
        self.unreadable: list[Unreadable] = []
        self._unsupported: list[tuple[str, str]] = []
        #: Files, or parts of files, that no service reads.
        self._ignored: list[deployment.Unread] = []
        self._count = 0
        self._processes: list[deployment.Process] = []
        self._declared: list[plain_files.ProcessFiles] = []
        #: By path; which process reads them depends on the other files.
        self._plain: dict[str, nova_conf.NovaConf] = {}
        #: By format and root.
        self._shared: dict[
            tuple[type, str], list[derived_conf.SharedFile]
        ] = {}
        self._data_plane = data_plane.DataPlaneObjects()

    def read_declared(
        self, declared: collections.abc.Iterable[Declared]
    ) -> set[str]:
        """Read files of which the user says who reads them.

        :returns: Their real paths.
        """
        confs: dict[str, nova_conf.NovaConf] = {}
        read_by: dict[tuple[str, str | None], list[str]] = {}
        for declaration in declared:
            files = self._files_of(declaration)
            confs |= files
            for kind in declaration.kinds:
                read_by.setdefault((kind, declaration.host), []).extend(
                    files
                    if _is_read_whole(declaration, files)
                    else plain_files.order(kind, files)
                )
        kinds: dict[tuple[str | None, tuple[str, ...]], list[str]] = {}
        for (kind, host), paths in read_by.items():
            if paths:
                kinds.setdefault((host, tuple(paths)), []).append(kind)
        self._declared = [
            plain_files.ProcessFiles(
                tuple(readers),
                host,
                tuple(confs[path] for path in paths),
                paths[-1],
            )
            for (host, paths), readers in kinds.items()
        ]
        seen = {os.path.realpath(path) for path in confs}
        self._count += len(seen)
        return seen

    def _files_of(self, declared: Declared) -> dict[str, nova_conf.NovaConf]:
        files: dict[str, nova_conf.NovaConf] = {}
        for path, named in named_files([declared.path]):
            try:
                if named or plain_files.ignored(path) is None:
                    files[path] = nova_conf.NovaConf.read(path)
            except exceptions.DocumentError as exc:
                self._note_unreadable(path, exc)
        return files

    def read_file(self, path: str, named: bool) -> None:
        """Read a file.

        :param named: Whether the user named the file itself.
        """
        ignored = plain_files.ignored(path)
        if ignored is None and not named:
            ignored = plain_files.beside_drop_ins(path)
        if ignored is not None:
            if _mentions_nova(path):
                self._ignored.append(ignored)
                self._count += 1
            return
        try:
            file = services.open_file(path)
        except exceptions.DocumentError as exc:
            self._note_failure(path, named, exc)
            return
        if isinstance(file, derived_conf.SharedFile):
            self._shared.setdefault((type(file), file.root), []).append(file)
            self._count += 1
        elif isinstance(file, nova_conf.NovaConf):
            self._add_plain(path, named, file)
        else:
            self._add_other(path, named, file)

    def _note_failure(
        self, path: str, named: bool, exc: exceptions.DocumentError
    ) -> None:
        """Report a file that was not understood, if it may concern Nova."""
        if not named and _is_template(path):
            if _mentions_nova(path):
                self._unsupported.append((path, 'a template'))
        elif (
            named
            or _is_for_nova(path)
            or (
                _mentions_nova(path, unsupported.mentions_devices)
                and not _is_dangling(path)
            )
        ):
            self._note_unreadable(path, exc)

    def _note_unreadable(
        self, path: str, exc: exceptions.DocumentError
    ) -> None:
        # The path is reported beside the reason.
        reason = str(exc).replace(path, os.path.basename(path), 1)
        self.unreadable.append(Unreadable(path, reason, exc.line))

    def _add_plain(
        self, path: str, named: bool, file: nova_conf.NovaConf
    ) -> None:
        if not plain_files.is_configuration(path):
            return
        if named or concerns_devices(path, file):
            if file.has_mark:
                self.unreadable.append(Unreadable(path, _BYTE_ORDER_MARK, 1))
            self._plain[path] = file
            self._count += 1

    def _add_other(
        self, path: str, named: bool, file: editable.EditableFile
    ) -> None:
        """Add a file of a deployment tool that is read by itself."""
        processes = _processes(file.path, file.readings(), file.tool)
        ignored = (
            list(file.ignored())
            if isinstance(file, devstack.LocalConf)
            else []
        )
        has_data_plane = isinstance(
            file, rhoso_custom_resources.CustomResourceFile
        ) and self._data_plane.read(file.path, file.content().decode())
        self._processes += processes
        self._ignored += ignored
        if has_data_plane or processes or ignored:
            self._count += 1
        if not (
            has_data_plane
            or processes
            or isinstance(file, derived_conf.DerivedFile)
        ):
            name = unsupported.name_of(file.content(), named=named)
            if name:
                self._unsupported.append((path, name))

    def tree(self) -> ConfigurationTree:
        """Return what all files contain."""
        processes = [*self._processes, *self._of_kolla(), *self._of_shared()]
        processes += [
            process(
                files.kinds,
                files.path,
                editable.Reading(None, files.confs),
                host=files.host,
            )
            for files in (*plain_files.groups(self._plain), *self._declared)
        ]
        return ConfigurationTree(
            dataclasses.replace(
                self._data_plane.deployment(processes),
                unread=tuple(self._ignored),
            ),
            self._count,
            tuple(self.unreadable),
            tuple(self._unsupported),
        )

    def _of_kolla(self) -> list[deployment.Process]:
        """Return the processes of Kolla; their files are not plain files."""
        roots: dict[str, dict[str, nova_conf.NovaConf]] = {}
        for path, conf in self._plain.items():
            root = kolla.root_of(path)
            if root is not None:
                roots.setdefault(root, {})[path] = conf
        processes = []
        for root, confs in sorted(roots.items()):
            base = kolla.base_of(root)
            both = {**roots.get(base or '', {}), **confs}
            processes += [
                process(_readers(reading), reading.confs[-1].path, reading)
                for reading in kolla.readings(root, both, base)
            ]
            self._ignored += kolla.ignored(root, confs)
        for confs in roots.values():
            for path in confs:
                del self._plain[path]
        return processes

    def _of_shared(self) -> collections.abc.Iterator[deployment.Process]:
        for files in self._shared.values():
            for path, reading in files[0].joined(files):
                yield process(
                    _readers(reading), path, reading, tool=files[0].tool
                )


def _is_read_whole(
    declared: Declared, files: collections.abc.Container[str]
) -> bool:
    """Return whether all files are read, regardless of their names."""
    return declared.path in files or declared.path.rstrip('/').endswith(
        plain_files.DROP_INS
    )


def _processes(
    path: str, readings: collections.abc.Iterable[editable.Reading], tool: str
) -> list[deployment.Process]:
    return [
        process(_readers(reading), path, reading, tool=tool)
        for reading in readings
    ]


def _readers(reading: editable.Reading) -> tuple[str, ...]:
    """Return the services that read a file, all of them by default."""
    return configuration.ALL if reading.service is None else (reading.service,)


def no_configuration(paths: collections.abc.Iterable[str]) -> str:
    """Return the message about paths without configuration."""
    return (
        f'No Nova configuration in {", ".join(paths)}: pass nova.conf files, '
        f'YAML files, or folders that contain them'
    )


def unreadable_message(file: Unreadable) -> str:
    """Return the message about one of :attr:`ConfigurationTree.unreadable`.

    The reason has only the name of a file.
    """
    path, reason, _line = file
    name = os.path.basename(path)
    if path in reason:
        return reason
    if name in reason:
        return reason.replace(name, path, 1)
    return f'{path}: {reason}'


def named_files(
    paths: collections.abc.Iterable[str],
    unreadable: list[Unreadable] | None = None,
) -> collections.abc.Iterator[tuple[str, bool]]:
    """Yield each file once, and whether the user named it.

    :param unreadable: Receives the folders that cannot be read, with the
        reason.
    :raises gpuclient.exceptions.DocumentError: A folder cannot be read, and
        there is no list of unreadable ones.
    """

    def note(exc: OSError) -> None:
        path = str(exc.filename)
        error = atomic.cannot_read(path, exc)
        if unreadable is None:
            raise error from exc
        unreadable.append(Unreadable(path, str(error)))

    seen: set[str] = set()
    for path in paths:
        if not os.path.isdir(path):
            if path not in seen:
                seen.add(path)
                yield path, True
            continue
        for folder, folders, names in os.walk(path, onerror=note):
            folders[:] = sorted(set(folders) - _SKIPPED)
            for name in sorted(names):
                file = os.path.join(folder, name)
                hidden = name.startswith('.') and not folder.endswith(
                    plain_files.DROP_INS
                )
                if _is_read(name) and not hidden and file not in seen:
                    seen.add(file)
                    yield file, False


def _is_read(name: str) -> bool:
    """Return whether a file of a folder may be configuration."""
    return name.endswith(_PLAIN + services.YAML) or (
        name.startswith(('packstack', 'answers')) and name.endswith('.txt')
    )


def is_about_nova(path: str) -> bool:
    """Return whether a file is Nova's by its name or that of its folder."""
    folder, name = os.path.split(path)
    return bool(
        _NOVA
        & (
            plain_files.words(name)
            | plain_files.words(os.path.basename(folder))
        )
    )


def _is_for_nova(path: str) -> bool:
    """Return whether Nova may read a file that was not understood.

    Other programs, such as collectd, name files after Nova, too.
    """
    folder, name = os.path.split(path)
    if not name.endswith(_PLAIN):
        return is_about_nova(path)
    return name.startswith('nova') or bool(
        _NOVA & plain_files.words(os.path.basename(folder))
    )


def _is_template(path: str) -> bool:
    """Return whether a file is a template of YAML."""
    if not path.endswith(services.YAML):
        return False
    try:
        content = atomic.read(path)
    except exceptions.DocumentError:
        return False
    return re.search(_TEMPLATE, content, re.M) is not None


def _is_dangling(path: str) -> bool:
    """Return whether a link to YAML has no target.

    Repositories have such links into one another. With one to a ``.conf`` in
    a folder of drop-ins, in contrast, oslo.config fails.
    """
    return (
        path.endswith(services.YAML)
        and os.path.islink(path)
        and not os.path.exists(path)
    )


def _mentions_nova(
    path: str,
    test: collections.abc.Callable[[bytes], bool] = lambda _content: False,
) -> bool:
    """Return whether a file that was not understood may concern Nova.

    :param test: Says the same of other content than that with the marks.
    """
    try:
        content = atomic.read(path)
    except exceptions.DocumentError as exc:
        # It may, if we may not read it, or its links never end.
        return isinstance(exc.__cause__, OSError)
    return any(mark in content for mark in _NOVA_MARKS) or test(content)


def concerns_devices(path: str, conf: nova_conf.NovaConf) -> bool:
    """Return whether a nova.conf is Nova's by name, or has PCI devices."""
    return is_about_nova(path) or bool(
        conf.values(*nova_options.ALIAS)
        or conf.values(*nova_options.DEVICE_SPEC)
    )


def process(
    readers: tuple[str, ...],
    path: str,
    reading: editable.Reading,
    *,
    host: str | None = None,
    tool: str = '',
) -> deployment.Process:
    """Return the process that reads files.

    :param readers: Its services.
    :param path: Path to report the process with.
    :param tool: Name of the deployment tool that writes its nova.conf.
    """
    place = configuration.Place(path, reading.line)
    names = {
        id(conf): name
        for conf, name in zip(reading.confs, reading.names, strict=False)
    }
    options: dict[int, list[configuration.Option]] = {}
    for conf, section, name, value in nova_conf.merged(reading):
        # A deployment tool merges such files into one.
        key = 0 if reading.replace else id(conf)
        options.setdefault(key, []).append(
            configuration.Option(
                section,
                name,
                configuration.Setting(
                    value.text,
                    configuration.Place(conf.path, value.line),
                    value.depends,
                ),
            )
        )
    return deployment.Process(
        readers=readers,
        place=place,
        sources=tuple(
            deployment.Source(
                configuration.Place(group[0].setting.place.path),
                tuple(group),
                names.get(key, ''),
            )
            for key, group in options.items()
        ),
        host=host,
        tool=tool,
    )
