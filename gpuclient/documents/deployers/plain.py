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

"""Plain files of Nova, in the layouts of packages and deployment tools.

``/etc/nova`` has a file for all services, files of single services, and
folders of drop-ins for both. A service that starts without options reads
``nova.conf``, ``<service>.conf``, ``nova.conf.d/*.conf`` and
``<service>.conf.d/*.conf``, in this order (``oslo_config/cfg.py:
find_config_files``, ``find_config_dirs``, ``_parse_config_files``). Debian and
Ubuntu pass the first two to nova-compute. devstack starts it with
``nova-cpu.conf`` alone, and the conductors of cells with ``nova_cell1.conf``
(``lib/nova``: ``start_nova_compute``, ``start_nova_conductor``).

Kolla renders a folder for each container (``/etc/kolla/nova-compute``), and so
does TripleO (``puppet-generated/nova_libvirt/etc/nova``); other trees have a
folder for each host.
"""

import collections.abc
import dataclasses
import os
import re

from gpuclient.documents import editable
from gpuclient.documents import nova_conf
from gpuclient import exceptions
from gpuclient.model import configuration
from gpuclient.model import deployment

#: Suffix of a folder whose files oslo.config reads one after the other.
DROP_INS = '.conf.d'
_CONTROL = (
    configuration.API,
    configuration.CONDUCTOR,
    configuration.SCHEDULER,
)
#: Words in names of files and folders that identify a service.
_WORDS = {
    service: frozenset(
        {service.removeprefix('nova-'), service.replace('-', '')}
    )
    for service in configuration.ALL
}
#: Words of programs that read no options of PCI devices.
_OTHERS = {
    'bootstrap',
    'libvirt',
    'manage',
    'metadata',
    'novncproxy',
    'serialproxy',
    'spicehtml5proxy',
    'spicehtmlproxy',
    'ssh',
}
#: Files that are read alone, in place of nova.conf.
_ALONE = {
    'nova-cpu': configuration.COMPUTE,
    'nova_cell0': configuration.CONDUCTOR,
    'nova_cell1': configuration.CONDUCTOR,
}
#: Files that are not configuration of Nova: in its folder, or of another
#: service.
_NEVER = re.compile(
    r'api-paste\.ini|.*uwsgi\.ini|rootwrap\.conf|logging\.conf'
    r'|(placement|keystone|glance(-api)?|neutron|cinder|cyborg|blazar)\.conf'
)
#: A folder that looks like one of drop-ins, and is none.
_OTHER_DROP_INS = re.compile(r'(nova([-_][a-z]+)?|conf|config)\.d')
_NUMBERED = re.compile(r'[0-9]+[-_].*\.conf')
_CONTROLLERS = {
    'control',
    'controller',
    'controllers',
    'controlplane',
    'ctl',
    'ctrl',
    'infra',
}
_COMPUTES = {'compute', 'computes', 'hypervisor', 'hypervisors', 'novacompute'}
#: Folders without meaning; the names above them count.
_GENERAL = {'conf', 'config', 'etc', 'kolla', 'nova', 'openstack', '', '.'}
#: Folders that contain a folder for each host.
_OF_HOSTS = {'host', 'hosts', 'node', 'nodes'}
#: Folder in which TripleO has a folder for each group of containers.
_TRIPLEO = 'puppet-generated'
_TRIPLEO_FOLDERS = {
    'nova': _CONTROL,
    'nova_libvirt': (configuration.COMPUTE,),
}
#: Sections that only the control plane reads, and options of computes.
_OF_CONTROL = {
    'api_database',
    'conductor',
    'database',
    'filter_scheduler',
    'quota',
    'scheduler',
}
_OF_COMPUTE = {
    ('DEFAULT', 'compute_driver'),
    ('compute', 'cpu_dedicated_set'),
    ('compute', 'cpu_shared_set'),
    ('pci', 'device_spec'),
    ('pci', 'passthrough_whitelist'),
    ('pci', 'report_in_placement'),
}

Confs = collections.abc.Mapping[str, nova_conf.NovaConf]
Sequence = collections.abc.Sequence[nova_conf.NovaConf]


@dataclasses.dataclass(frozen=True)
class ProcessFiles:
    """The files that a process, or several kinds of process, reads."""

    kinds: tuple[str, ...]
    host: str | None
    #: In the order in which they are read.
    confs: tuple[nova_conf.NovaConf, ...]
    #: The file or folder that it is reported with.
    path: str


@dataclasses.dataclass
class _Folder:
    """The files of Nova in a folder, and in its folders of drop-ins."""

    path: str
    #: ``nova.conf``, and the files of ``nova.conf.d``.
    files: list[str] = dataclasses.field(default_factory=list)
    drop_ins: list[str] = dataclasses.field(default_factory=list)
    #: Files of single services; those of several hosts may be here.
    own_files: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    own_drop_ins: dict[str, list[str]] = dataclasses.field(
        default_factory=dict
    )
    #: Files that are read alone, with their services.
    alone: list[tuple[str, tuple[str, ...]]] = dataclasses.field(
        default_factory=list
    )
    #: Services that have files of their own in folders below.
    below: set[str] = dataclasses.field(default_factory=set)

    def add_drop_in(self, path: str, stem: str) -> None:
        """Add a file of a folder of drop-ins.

        :param stem: Name of that folder without ``.conf.d``.
        """
        kind = kind_of(stem)
        if kind is None:
            self.drop_ins.append(path)
        else:
            self.own_drop_ins.setdefault(kind, []).append(path)

    def add_file(self, path: str, name: str, stem: str) -> None:
        """Add a file of this folder itself.

        :param stem: Its name without extension.
        """
        kind = kind_of(stem)
        if stem == 'nova':
            self.files.append(path)
        elif stem in _ALONE:
            self.alone.append((path, (_ALONE[stem],)))
        elif words(stem) & _OTHERS:
            # Its program reads no options of PCI devices.
            return
        elif kind is not None:
            self.own_files.setdefault(kind, []).append(path)
        elif _NUMBERED.fullmatch(name):
            self.drop_ins.append(path)
        else:
            self.alone.append((path, ()))

    @property
    def with_own(self) -> list[str]:
        """Services with files of their own in this folder."""
        return [
            kind
            for kind in configuration.ALL
            if kind in self.own_files or kind in self.own_drop_ins
        ]

    @property
    def has_base(self) -> bool:
        return bool(self.files or self.drop_ins)


def words(name: str) -> frozenset[str]:
    """Return the words of a file name, without numbers."""
    return frozenset(re.findall('[a-z]+', name.lower()))


def is_configuration(path: str) -> bool:
    """Return whether a file may be a nova.conf, by its name."""
    return _NEVER.fullmatch(os.path.basename(path)) is None


def ignored(path: str) -> deployment.Unread | None:
    """Return why oslo.config ignores a file in a folder of drop-ins.

    ``oslo_config/cfg.py:ConfigOpts._parse_config_files`` reads the result of
    ``glob.glob('*.conf')``.
    """
    above, name = os.path.split(path)
    folder = above
    while folder and not folder.endswith(DROP_INS):
        folder = (
            ''
            if os.path.dirname(folder) == folder
            else (os.path.dirname(folder))
        )
    if not folder:
        return None
    label = os.path.basename(folder)
    if folder != above:
        reason = f'oslo.config does not read folders in {label}'
        remedy = f'Move it to {label}.'
    elif name.startswith('.'):
        reason = f'oslo.config ignores hidden files in {label}'
        remedy = 'Rename it to {}.'.format(name.lstrip('.'))
    elif not name.endswith('.conf'):
        reason = f'oslo.config reads only *.conf in {label}'
        remedy = f'Rename it to {os.path.splitext(name)[0]}.conf.'
    else:
        return None
    name = f'{label}/{os.path.relpath(path, folder)}'
    return deployment.Unread(name, configuration.Place(path), reason, remedy)


def beside_drop_ins(path: str) -> deployment.Unread | None:
    """Return why a service does not read a file in a folder such as nova.d.

    By default it reads ``nova.conf.d`` and ``<service>.conf.d`` beside
    nova.conf; another folder needs ``--config-dir`` (``oslo_config/cfg.py:
    find_config_dirs``, ``ConfigOpts._parse_config_files``).
    """
    folder, name = os.path.split(path)
    above, label = os.path.split(folder)
    if _OTHER_DROP_INS.fullmatch(label) is None or not os.path.lexists(
        os.path.join(above, 'nova.conf')
    ):
        return None
    stem = label.removesuffix('.d')
    named = stem if stem.startswith('nova') else 'nova'
    return deployment.Unread(
        f'{label}/{name}',
        configuration.Place(path),
        'without --config-dir services read folders named nova.conf.d or '
        '<service>.conf.d only',
        f'Rename {label} to {named}{DROP_INS}. If a service is started with '
        f'--config-dir, pass the files that it reads with --as.',
    )


def kind_of(name: str) -> str | None:
    """Return the service that a file or folder is named after, if any."""
    parts = words(name)
    if parts & _OTHERS:
        return None
    return next(
        (service for service, own in _WORDS.items() if own & parts), None
    )


def groups(confs: Confs) -> collections.abc.Iterator[ProcessFiles]:
    """Yield the files of each process.

    :param confs: All files, by path.
    """
    folders = _folders(confs)
    plain = [
        folder
        for folder in folders.values()
        if folder.has_base or folder.alone
    ]
    for folder in folders.values():
        if not folder.has_base:
            _above(folder, folders).below.update(folder.with_own)
    for folder in folders.values():
        yield from _groups(folder, folders, confs, several=len(plain) > 1)


def order(kind: str, confs: Confs) -> list[str]:
    """Return the files of a folder that a kind of process reads, in order.

    :param confs: By path; files of other services are left out.
    """
    return [
        path
        for folder in _folders(confs).values()
        for path in (
            *folder.files,
            *folder.own_files.get(kind, ()),
            *(path for path, _readers in folder.alone),
            *folder.drop_ins,
            *folder.own_drop_ins.get(kind, ()),
        )
    ]


def _folders(confs: Confs) -> dict[str, _Folder]:
    folders: dict[str, _Folder] = {}
    for path in sorted(confs):
        above, name = os.path.split(path)
        stem = os.path.splitext(name)[0]
        if above.endswith(DROP_INS):
            above, label = os.path.split(above)
            folder = folders.setdefault(above, _Folder(above))
            folder.add_drop_in(path, label.removesuffix(DROP_INS))
        else:
            folder = folders.setdefault(above, _Folder(above))
            folder.add_file(path, name, stem)
    return folders


def _groups(
    folder: _Folder,
    folders: collections.abc.Mapping[str, _Folder],
    confs: Confs,
    *,
    several: bool,
) -> collections.abc.Iterator[ProcessFiles]:
    """Yield the processes that read files of a folder.

    :param several: There are folders of several hosts or services.
    """
    kinds, host = _owner(folder.path, several=several)
    yield from _alone(folder, confs, kinds, host, several=several)
    if kinds == ():
        return
    base = folder if folder.has_base else _above(folder, folders)
    if folder.has_base:
        yield from _sharing(folder, confs, kinds, host, several=several)
    for kind in folder.with_own:
        for own_files, drop_ins, own_host in _instances(folder, kind):
            paths = [*base.files, *own_files, *base.drop_ins, *drop_ins]
            yield ProcessFiles(
                (kind,),
                own_host or host if kind == configuration.COMPUTE else None,
                tuple(confs[path] for path in paths),
                _path_of(own_files, drop_ins[-1:]),
            )


def _alone(
    folder: _Folder,
    confs: Confs,
    kinds: tuple[str, ...] | None,
    host: str | None,
    *,
    several: bool,
) -> collections.abc.Iterator[ProcessFiles]:
    """Yield the processes that read one file and no other."""
    for path, own in folder.alone:
        readers = own or kinds
        if readers is None:
            readers = _by_content([confs[path]]) if several else None
        if readers != ():
            yield ProcessFiles(
                readers or configuration.ALL, host, (confs[path],), path
            )


def _sharing(
    folder: _Folder,
    confs: Confs,
    kinds: tuple[str, ...] | None,
    host: str | None,
    *,
    several: bool,
) -> collections.abc.Iterator[ProcessFiles]:
    """Yield the process of all services without files of their own."""
    shared = tuple(confs[path] for path in (*folder.files, *folder.drop_ins))
    with_own = folder.with_own
    readers = kinds or _rest(with_own, shared)
    if kinds is None and several and not with_own:
        readers = _by_content(shared)
    left = tuple(
        kind for kind in readers if kind not in {*with_own, *folder.below}
    )
    if left:
        yield ProcessFiles(
            left, host, shared, _path_of(folder.files, folder.drop_ins)
        )


def _instances(
    folder: _Folder, kind: str
) -> collections.abc.Iterator[tuple[list[str], list[str], str | None]]:
    """Yield the own files and drop-ins of each process of a service.

    Several files of one service (``nova-compute-gpu-1.conf``) belong to
    several hosts. So do several folders of drop-ins
    (``nova-compute-gpu-1.conf.d``), which are named after the hosts;
    ``nova-compute.conf.d`` is read on all of them.
    """
    files = folder.own_files.get(kind, [])
    drop_ins = folder.own_drop_ins.get(kind, [])
    by_stem: dict[str, list[str]] = {}
    for path in drop_ins:
        stem = os.path.basename(os.path.dirname(path)).removesuffix(DROP_INS)
        by_stem.setdefault(stem, []).append(path)
    shared = by_stem.pop(kind, [])
    if len(files) > 1 or len(by_stem) < 2:
        for own_files in [[file] for file in files] or [[]]:
            yield own_files, drop_ins, None
        return
    for stem, own_drop_ins in by_stem.items():
        own_host = stem.removeprefix(f'{kind}-')
        yield files, [*shared, *own_drop_ins], own_host


def _path_of(files: list[str], drop_ins: list[str]) -> str:
    return files[0] if files else os.path.dirname(drop_ins[0])


def _above(
    folder: _Folder, folders: collections.abc.Mapping[str, _Folder]
) -> _Folder:
    """Return the nearest folder above with a nova.conf, or an empty one."""
    path = folder.path
    while os.path.dirname(path) != path:
        path = os.path.dirname(path)
        if path in folders and folders[path].has_base:
            return folders[path]
    return _Folder(folder.path)


def _rest(with_own: list[str], confs: Sequence) -> tuple[str, ...]:
    """Return the services that read a nova.conf beside files of services.

    A host with nova-compute.conf is a compute only, if its nova.conf has no
    options of the control plane.
    """
    if with_own != [configuration.COMPUTE] or any(
        section in _OF_CONTROL or (section, name) == ('pci', 'alias')
        for conf in confs
        for section, name, _value in conf.options()
    ):
        return configuration.ALL
    return (configuration.COMPUTE,)


def _by_content(confs: Sequence) -> tuple[str, ...]:
    """Return the services of one host of several, by its options."""
    options = {
        (section, name)
        for conf in confs
        for section, name, _value in conf.options()
    }
    control = any(section in _OF_CONTROL for section, _name in options)
    compute = bool(options & _OF_COMPUTE) or any(
        section == 'libvirt' for section, _name in options
    )
    if control and not compute:
        return _CONTROL
    if compute and not control:
        return (configuration.COMPUTE,)
    return configuration.ALL


def _owner(
    folder: str, *, several: bool
) -> tuple[tuple[str, ...] | None, str | None]:
    """Return the services that read the files of a folder, and their host.

    :returns: None if the name does not show it; no services if none of those
        that use PCI devices reads them.
    """
    parts = folder.split('/')
    if _TRIPLEO in parts[:-1]:
        at = parts.index(_TRIPLEO)
        kinds = _TRIPLEO_FOLDERS.get(parts[at + 1], ())
        return kinds, _host(parts[:at]) if kinds else None
    while parts and (
        parts[-1].lower() in _GENERAL or parts[-1].endswith(DROP_INS)
    ):
        parts.pop()
    if not parts:
        return None, None
    name = parts.pop()
    if words(name) & _OTHERS and 'nova' in words(name):
        return (), None
    kind = kind_of(name)
    if name.lower().startswith(('nova-', 'nova_')) and kind is not None:
        # A container; the folder above it may be its host.
        return (kind,), _host(parts)
    if words(name) & _COMPUTES:
        return (configuration.COMPUTE,), _host([*parts, name])
    if words(name) & _CONTROLLERS:
        return _CONTROL, None
    if kind is not None:
        return (kind,), None
    of_host = several or (parts and parts[-1].lower() in _OF_HOSTS)
    return None, name if of_host else None


def _host(parts: list[str]) -> str | None:
    """Return the host that a folder is named after, if any."""
    while parts and parts[-1].lower() in {
        *_GENERAL,
        'var',
        'lib',
        'config-data',
    }:
        parts = parts[:-1]
    if not parts or parts[-1].lower() in _COMPUTES:
        return None
    above = parts[-2].lower() if len(parts) > 1 else ''
    if above in _OF_HOSTS or words(parts[-1]) & _COMPUTES:
        return parts[-1]
    return None


def paths_of(folder: str) -> list[str]:
    """Return the files of Nova in a folder, and in its folders of drop-ins."""
    paths = []
    for name in sorted(_names(folder)):
        path = os.path.join(folder, name)
        if name.endswith(DROP_INS):
            paths += [
                os.path.join(path, file) for file in sorted(_names(path))
            ]
        else:
            paths.append(path)
    return [
        path
        for path in paths
        if path.endswith('.conf')
        and not os.path.isdir(path)
        and not os.path.basename(path).startswith('.')
        and is_configuration(path)
    ]


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def names_of(folder: str) -> list[str]:
    """Return the names in a folder, in their order; none if it is closed."""
    return sorted(_names(folder))


def is_folder(path: str) -> bool:
    """Return whether a folder has a nova.conf, or files of services."""
    return any(
        name == 'nova.conf'
        or (name.endswith(('.conf', DROP_INS)) and kind_of(name) is not None)
        for name in _names(path)
    )


def processes_of(conf: nova_conf.NovaConf) -> tuple[editable.Reading, ...]:
    """Return the readings of all processes that read a file.

    Unreadable files beside it are left out: they are not edited.
    """
    folder = os.path.dirname(conf.path)
    if folder.endswith(DROP_INS):
        folder = os.path.dirname(folder)
    confs: dict[str, nova_conf.NovaConf] = {}
    for path in paths_of(folder):
        if _is_same(path, conf.path):
            confs[path] = conf
            continue
        try:
            confs[path] = nova_conf.NovaConf.read(path)
        except exceptions.DocumentError:
            continue
    return tuple(
        reading
        for reading in _readings(confs)
        if any(other is conf for other in reading.confs)
    )


def _is_same(path: str, other: str) -> bool:
    return os.path.normpath(path) == os.path.normpath(other)


def _readings(confs: Confs) -> collections.abc.Iterator[editable.Reading]:
    for group in groups(confs):
        for kind in group.kinds:
            yield editable.Reading(kind, group.confs)


class ConfigFolder(editable.Editable):
    """A folder such as ``/etc/nova``.

    :raises gpuclient.exceptions.DocumentError: A file cannot be read.
    """

    def __init__(self, folder: str) -> None:
        super().__init__(folder)
        self._confs = {
            path: nova_conf.NovaConf.read(path) for path in paths_of(folder)
        }

    @property
    def files(self) -> tuple[editable.EditableFile, ...]:
        return tuple(self._confs.values())

    def readings(self) -> collections.abc.Iterator[editable.Reading]:
        return _readings(self._confs)
