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

"""Everything that a tree of configuration says of devices."""

import collections.abc
import dataclasses
import os
import re

from gpuclient.documents.deployers import data_plane
from gpuclient.documents.deployers import devstack
from gpuclient.documents.deployers import kolla
from gpuclient.documents.deployers import plain as plain_files
from gpuclient.documents.deployers import rhoso
from gpuclient.documents.deployers import unread
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
#: Folders that hold no configuration, or that of the host itself.
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
#: What only Nova's configuration has, and how RHOSO prepares hosts for it.
_MARKS = (
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
#: ``oslo_config/iniparser.py`` takes the mark for the beginning of a name.
_MARKED = (
    'It begins with a byte order mark: oslo.config cannot read it, and no '
    'service that reads it starts. Save it as UTF-8 without one'
)
#: A line that no YAML begins with, as templates of Helm and Jinja do.
_TEMPLATE = rb'^[ \t]*\{[{%]'


@dataclasses.dataclass(frozen=True)
class ConfigurationTree:
    """What was found in files and folders."""

    #: All that is known; of several deployments that of all of them.
    deployment: deployment.Deployment
    #: Number of files that were read.
    files: int
    #: Files that could not be read, with the reason.
    unreadable: tuple[tuple[str, str], ...]
    #: Files with settings of devices in a format that is not read, with its
    #: name.
    unread: tuple[tuple[str, str], ...] = ()


@dataclasses.dataclass(frozen=True)
class Declared:
    """A file or folder of which the user says who reads it."""

    kinds: tuple[str, ...]
    host: str | None
    path: str


def read(
    paths: collections.abc.Iterable[str],
    declared: collections.abc.Iterable[Declared] = (),
) -> ConfigurationTree:
    """Read files, and all of a folder; links to folders are not followed.

    A file that is named has to have configuration of Nova; of a folder, only
    those are read that do. One that cannot be read, or is not there, is among
    :attr:`ConfigurationTree.unreadable`.

    :param declared: Files of the same kinds and host are read one behind the
        other.
    """
    found: list[deployment.Process] = []
    unreadable: list[tuple[str, str]] = []
    others: list[tuple[str, str]] = []
    plain: dict[str, nova_conf.NovaConf] = {}
    hosts = data_plane.DataPlaneObjects()
    shared: dict[tuple[type, str], list[derived_conf.SharedFile]] = {}
    count = 0
    idle: list[deployment.Unread] = []
    of_declared, seen = _read_declared(declared, unreadable)
    count += len(seen)
    for path, named in named_files(paths, unreadable):
        if os.path.realpath(path) in seen:
            continue
        left_out = plain_files.unread(path)
        if left_out is not None:
            if _mentions_devices(path):
                idle.append(left_out)
                count += 1
            continue
        try:
            file = services.open_file(path)
        except exceptions.DocumentError as exc:
            if not named and _is_template(path):
                if _mentions_devices(path):
                    others.append((path, 'a template'))
            elif (
                named
                or _is_for_nova(path)
                or (_mentions_devices(path) and not _leads_nowhere(path))
            ):
                unreadable.append((path, str(exc)))
            continue
        if isinstance(file, derived_conf.SharedFile):
            shared.setdefault((type(file), file.root), []).append(file)
            count += 1
        elif not isinstance(file, nova_conf.NovaConf):
            here = [
                process(_names(reading), file.path, reading, tool=file.tool)
                for reading in file.readings()
            ]
            found += here
            told = isinstance(file, rhoso.CustomResourceFile) and hosts.read(
                file.path, file.content().decode()
            )
            misplaced = (
                [*file.unread()]
                if isinstance(file, devstack.LocalConf)
                else []
            )
            idle += misplaced
            count += told or bool(here or misplaced)
            if not (
                told or here or isinstance(file, derived_conf.DerivedFile)
            ):
                name = unread.name_of(file.content(), named=named)
                if name:
                    others.append((path, name))
        elif plain_files.is_configuration(path) and (
            named or concerns_devices(path, file)
        ):
            if file.has_mark:
                unreadable.append((path, _MARKED))
            plain[path] = file
            count += 1
    found += _of_kolla(plain, idle)
    for files in shared.values():
        found += [
            process(_names(reading), path, reading, tool=files[0].tool)
            for path, reading in files[0].joined(files)
        ]
    found += [
        process(
            group.kinds,
            group.path,
            editable.Reading(None, group.confs),
            host=group.host,
        )
        for group in (*plain_files.groups(plain), *of_declared)
    ]
    return ConfigurationTree(
        dataclasses.replace(hosts.deployment(found), unread=tuple(idle)),
        count,
        tuple(unreadable),
        tuple(others),
    )


def _read_declared(
    declared: collections.abc.Iterable[Declared],
    unreadable: list[tuple[str, str]],
) -> tuple[list[plain_files.ProcessFiles], set[str]]:
    """Return what the user says is read together, and the files of it."""
    confs: dict[str, nova_conf.NovaConf] = {}
    read_by: dict[tuple[str, str | None], list[str]] = {}
    for one in declared:
        files: dict[str, nova_conf.NovaConf] = {}
        for path, named in named_files([one.path]):
            try:
                if named or plain_files.unread(path) is None:
                    files[path] = nova_conf.NovaConf.read(path)
            except exceptions.DocumentError as exc:
                unreadable.append((path, str(exc)))
        confs |= files
        # A file, or all of a folder of drop-ins, whatever they are called.
        whole = one.path in files or one.path.rstrip('/').endswith(
            plain_files.DROP_INS
        )
        for kind in one.kinds:
            read_by.setdefault((kind, one.host), []).extend(
                files if whole else plain_files.order(kind, files)
            )
    kinds: dict[tuple[str | None, tuple[str, ...]], list[str]] = {}
    for (kind, host), paths in read_by.items():
        if paths:
            kinds.setdefault((host, tuple(paths)), []).append(kind)
    return [
        plain_files.ProcessFiles(
            tuple(readers),
            host,
            tuple(confs[path] for path in paths),
            paths[-1],
        )
        for (host, paths), readers in kinds.items()
    ], {os.path.realpath(path) for path in confs}


def _of_kolla(
    plain: dict[str, nova_conf.NovaConf],
    idle: list[deployment.Unread],
) -> collections.abc.Iterator[deployment.Process]:
    """Yield the services of Kolla trees; takes their files out of the rest."""
    roots: dict[str, dict[str, nova_conf.NovaConf]] = {}
    for path, conf in plain.items():
        root = kolla.root_of(path)
        if root is not None:
            roots.setdefault(root, {})[path] = conf
    for root, confs in sorted(roots.items()):
        base = kolla.base_of(root)
        both = {**roots.get(base or '', {}), **confs}
        for reading in kolla.readings(root, both, base):
            yield process(_names(reading), reading.confs[-1].path, reading)
        idle += kolla.unread(root, confs)
    for confs in roots.values():
        for path in confs:
            del plain[path]


def _names(reading: editable.Reading) -> tuple[str, ...]:
    """Return the services that a file says it is read by."""
    return configuration.ALL if reading.service is None else (reading.service,)


def named_files(
    paths: collections.abc.Iterable[str],
    unreadable: list[tuple[str, str]] | None = None,
) -> collections.abc.Iterator[tuple[str, bool]]:
    """Yield files, and whether the user named them, each once.

    :param unreadable: Gets the folders that cannot be read, and why.
    :raises gpuclient.exceptions.DocumentError: One cannot be read, and nobody
        gets to know of it otherwise.
    """

    def note(exc: OSError) -> None:
        path = str(exc.filename)
        error = atomic.cannot_read(path, exc)
        if unreadable is None:
            raise error from exc
        unreadable.append((path, str(error)))

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
    """Return whether a file is Nova's by its name or its folder's."""
    folder, name = os.path.split(path)
    return bool(
        _NOVA
        & (
            plain_files.words(name)
            | plain_files.words(os.path.basename(folder))
        )
    )


def _is_for_nova(path: str) -> bool:
    """Return whether Nova may read a file that is not understood.

    Files of other programs are named after Nova, too: collectd has some.
    """
    folder, name = os.path.split(path)
    if not name.endswith(_PLAIN):
        return is_about_nova(path)
    return name.startswith('nova') or bool(
        _NOVA & plain_files.words(os.path.basename(folder))
    )


def _is_template(path: str) -> bool:
    """Return whether a file becomes YAML when a template is filled in."""
    if not path.endswith(services.YAML):
        return False
    try:
        content = atomic.read(path)
    except exceptions.DocumentError:
        return False
    return re.search(_TEMPLATE, content, re.M) is not None


def _leads_nowhere(path: str) -> bool:
    """Return whether a link to YAML has no target.

    Repositories have such links into one another. oslo.config does not start
    with a folder of drop-ins that has one.
    """
    return (
        path.endswith(services.YAML)
        and os.path.islink(path)
        and not os.path.exists(path)
    )


def _mentions_devices(path: str) -> bool:
    """Return whether a file that is not understood has to do with Nova."""
    try:
        content = atomic.read(path)
    except exceptions.DocumentError as exc:
        # It may do so where we are not let in, or there is no end of a path.
        return isinstance(exc.__cause__, OSError)
    return any(mark in content for mark in _MARKS)


def concerns_devices(path: str, conf: nova_conf.NovaConf) -> bool:
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
    """Return the process that reads files."""
    place = configuration.Place(path, reading.line)
    names = {
        id(conf): name
        for conf, name in zip(reading.confs, reading.names, strict=False)
    }
    options: dict[int, list[configuration.Option]] = {}
    for conf, section, name, value in nova_conf.merged(reading):
        # What a deployment tool merges is one file then.
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
                configuration.Place(found[0].setting.place.path),
                tuple(found),
                names.get(key, ''),
            )
            for key, found in options.items()
        ),
        host=host,
        tool=tool,
    )
