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

"""The custom configuration of Kolla, and of Kayobe, which renders it first.

It has layers. An option in a later layer replaces all values of an earlier one
(``kolla-ansible``: ``roles/nova/tasks/config.yml``,
``roles/nova-cell/tasks/config.yml``, ``action_plugins/merge_configs.py``)::

    global.conf  nova.conf  nova/<service>.conf  nova/<host>/nova.conf

``nova/<host>/<service>.conf`` is no layer. The options of Kolla's own
template, below these layers, are not known here.
"""

import collections.abc
import os
import re
import typing

from gpuclient.documents import editable
from gpuclient.documents import nova_conf
from gpuclient.files import atomic
from gpuclient.model import configuration
from gpuclient.model import deployment

_NOVA = 'nova.conf'
_SHARED = ('global.conf', _NOVA)
_FILES = {service: f'{service}.conf' for service in configuration.ALL}
#: File of the conductor above the cells.
_SUPER_CONDUCTOR = 'nova-super-conductor.conf'

#: Files of services that read no options of PCI devices
#: (``roles/nova/defaults/main.yml``, ``roles/nova-cell/defaults/main.yml``).
_OTHERS = {
    f'nova-{name}.conf'
    for name in (
        'api-bootstrap',
        'cell-bootstrap',
        'compute-fake',
        'compute-ironic',
        'libvirt',
        'metadata',
        'novncproxy',
        'serialproxy',
        'spicehtml5proxy',
        'ssh',
    )
}

_ENVIRONMENT = re.compile('(.*/|)environments/[^/]+/kolla/config')

Confs = collections.abc.Mapping[str, nova_conf.NovaConf]


def root_of(path: str) -> str | None:
    """Return the folder of custom configuration that a file is a layer of."""
    folder, name = os.path.split(path)
    roots = []
    if name in _SHARED:
        roots.append(folder)
    if name == _NOVA or name.startswith('nova-'):
        for _level in ('nova', 'host'):
            above, nova = os.path.split(folder)
            if nova == 'nova':
                roots.append(above)
            folder = above
    return next((root for root in roots if is_root(root)), None)


def is_root(folder: str) -> bool:
    """Return whether a folder is the custom configuration of Kolla.

    It has a folder ``nova`` with files of services or hosts, and either a
    nova.conf beside it or the name ``config``; or it is ``kolla/config``, its
    name in Kolla and Kayobe.
    """
    above, name = os.path.split(os.path.abspath(folder))
    if (os.path.basename(above), name) == ('kolla', 'config'):
        return any(
            os.path.lexists(os.path.join(folder, entry))
            for entry in (*_SHARED, 'nova')
        )
    if name != 'config' and not os.path.lexists(os.path.join(folder, _NOVA)):
        return False
    nova = os.path.join(folder, 'nova')
    return any(
        os.path.lexists(os.path.join(nova, name)) for name in _FILES.values()
    ) or any(_hosts(nova))


def _hosts(nova: str) -> collections.abc.Iterator[str]:
    """Yield the folders of hosts with a nova.conf of their own."""
    try:
        names = sorted(os.listdir(nova))
    except OSError:
        return
    for name in names:
        folder = os.path.join(nova, name)
        if os.path.lexists(os.path.join(folder, _NOVA)):
            yield folder


def base_of(root: str) -> str | None:
    """Return the folder that an environment of Kayobe adds to, if any.

    Kayobe concatenates files of the same name (``kayobe``:
    ``kolla_openstack_custom_config_ini_merge_strategy_default``).
    """
    match = _ENVIRONMENT.fullmatch(root)
    return None if match is None else f'{match[1]}kolla/config'


def readings(
    root: str, confs: Confs, base: str | None = None
) -> collections.abc.Iterator[editable.Reading]:
    """Yield what each service reads of the files below a folder.

    :param base: The folder that it adds to; ``confs`` has its files, too.
    """
    layers = _Layers(root, confs, base)
    shared = [os.path.join(root, name) for name in _SHARED]
    nova = os.path.join(root, 'nova')
    for service, name in (
        *_FILES.items(),
        (configuration.CONDUCTOR, _SUPER_CONDUCTOR),
    ):
        own = os.path.join(nova, name)
        if name == _SUPER_CONDUCTOR and not layers.files(own):
            # It reads the same as the conductors of cells.
            continue
        common = layers.files(*shared, own)
        home = layers.files(own) or layers.files(shared[-1])
        variants = [common]
        # The hosts of the control plane are not known; hosts with files of
        # their own are computes.
        for host in layers.hosts if service == configuration.COMPUTE else []:
            of_host = layers.files(os.path.join(nova, host, _NOVA))
            if of_host:
                variants.append([*common, *of_host])
        for files in variants:
            if files:
                yield _reading(service, files, home[-1][1] if home else None)


#: Path of a layer, and a file that is a part of it.
_LayerFile: typing.TypeAlias = tuple[str, nova_conf.NovaConf]


def _reading(
    service: str, files: list[_LayerFile], home: nova_conf.NovaConf | None
) -> editable.Reading:
    paths = [path for path, _conf in files]
    return editable.Reading(
        service,
        tuple(conf for _path, conf in files),
        replace=True,
        layers=tuple(map(paths.index, paths)),
        home=home,
    )


class _Layers:
    """The layers of a folder, and of the folder that it adds to."""

    def __init__(self, root: str, confs: Confs, base: str | None) -> None:
        self._root = root
        self._confs = confs
        self._tops = [root] if base is None else [base, root]

    def files(self, *paths: str) -> list[_LayerFile]:
        """Return the files of some layers, in the order of the layers."""
        return [
            (path, self._confs[file])
            for path in paths
            for file in (
                os.path.join(top, os.path.relpath(path, self._root))
                for top in self._tops
            )
            if file in self._confs
        ]

    @property
    def hosts(self) -> list[str]:
        """The folders of hosts, by name."""
        folders = {os.path.join(top, 'nova') for top in self._tops}
        return sorted(
            {
                os.path.basename(os.path.dirname(path))
                for path in self._confs
                if os.path.dirname(os.path.dirname(path)) in folders
            }
        )


def ignored(
    root: str, paths: collections.abc.Iterable[str]
) -> collections.abc.Iterator[deployment.Unread]:
    """Yield files below a folder that Kolla ignores."""
    nova = os.path.join(root, 'nova')
    shared = os.path.join(os.path.basename(root), _NOVA)
    for path in paths:
        folder, name = os.path.split(path)
        remedy = f'Move its options to {shared} or to the file of a service.'
        if os.path.dirname(folder) == nova:
            if name == _NOVA:
                continue
            of_host = os.path.join('nova', os.path.basename(folder), _NOVA)
            remedy = f'Move its options to {of_host}.'
        elif name in (_SUPER_CONDUCTOR, *_FILES.values(), *_OTHERS) or (
            name in _SHARED and folder != nova
        ):
            continue
        yield deployment.Unread(
            os.path.relpath(path, os.path.dirname(root) or '.'),
            configuration.Place(path),
            (
                'Kolla reads nova.conf, nova/<service>.conf and '
                'nova/<host>/nova.conf'
            ),
            remedy,
        )


def paths_of(root: str) -> list[str]:
    """Return the files of all layers of a folder."""
    nova = os.path.join(root, 'nova')
    names = (_NOVA, _SUPER_CONDUCTOR, *_FILES.values())
    paths = [
        *(os.path.join(root, name) for name in _SHARED),
        *(os.path.join(nova, name) for name in names[1:]),
        *(os.path.join(host, _NOVA) for host in _hosts(nova)),
    ]
    return [path for path in paths if os.path.lexists(path)]


def _check_folders(root: str) -> None:
    """Make sure that no layer is missed because a folder is unreadable.

    :raises gpuclient.exceptions.DocumentError: A folder cannot be read.
    """
    nova = os.path.join(root, 'nova')
    folders = [root, nova]
    for folder in folders:
        for name in atomic.list_folder(folder):
            if folder == nova and os.path.isdir(os.path.join(nova, name)):
                folders.append(os.path.join(nova, name))


class CustomConfiguration(editable.Editable):
    """All layers of a folder; its base is read, but not edited.

    :raises gpuclient.exceptions.DocumentError: One of them cannot be read.
    """

    def __init__(self, root: str) -> None:
        super().__init__(root)
        _check_folders(root)
        self._base = base_of(root)
        self._confs = _read(root)
        self._of_base = {} if self._base is None else _read(self._base)

    @property
    def files(self) -> tuple[editable.EditableFile, ...]:
        return tuple(self._confs.values())

    def readings(self) -> collections.abc.Iterator[editable.Reading]:
        return readings(
            self.path, {**self._of_base, **self._confs}, self._base
        )

    @property
    def outside(self) -> tuple[editable.EditableFile, ...]:
        return tuple(self._of_base.values())


def _read(root: str) -> dict[str, nova_conf.NovaConf]:
    return {
        path: nova_conf.NovaConf.read(path, template=True)
        for path in paths_of(root)
    }


class DropIns(editable.Editable):
    """A folder of files that oslo.config reads one after the other.

    :raises gpuclient.exceptions.DocumentError: One of them cannot be read.
    """

    def __init__(self, folder: str) -> None:
        super().__init__(folder)
        self._confs = tuple(
            nova_conf.NovaConf.read(os.path.join(folder, name))
            for name in atomic.list_folder(folder)
            if name.endswith('.conf') and not name.startswith('.')
        )

    @property
    def files(self) -> tuple[editable.EditableFile, ...]:
        return self._confs

    def readings(self) -> collections.abc.Iterator[editable.Reading]:
        if self._confs:
            yield editable.Reading(None, self._confs)
