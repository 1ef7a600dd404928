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

from gpuclient.documents import nova_conf
from gpuclient.documents import rhoso
from gpuclient import exceptions
from gpuclient.model import configuration

_PLAIN = ('.conf', '.ini')
_YAML = ('.yaml', '.yml')
#: Folders that hold no configuration.
_SKIPPED = {'.git', '.tox', '.venv', '__pycache__', 'node_modules'}
#: A folder whose files oslo.config reads one after the other.
_DROP_INS = '.conf.d'
_KOLLA_SERVICES = tuple(f'{name}.conf' for name in configuration.ALL)
_FILTERS = (('filter_scheduler', 'enabled_filters'),)


@dataclasses.dataclass(frozen=True)
class Tree:
    """What was found in files and folders."""

    services: tuple[configuration.Service, ...]
    #: Number of files that were read.
    files: int
    #: Files that could not be read, with the reason.
    unreadable: tuple[tuple[str, str], ...]


def read(paths: collections.abc.Iterable[str]) -> Tree:
    """Read files, and all of a folder; links to folders are not followed.

    A file that is named has to have configuration of Nova; of a folder, only
    those are read that do.

    :raises gpuclient.exceptions.DocumentError: There is no such path.
    """
    services: list[configuration.Service] = []
    unreadable: list[tuple[str, str]] = []
    plain: dict[str, nova_conf.NovaConf] = {}
    count = 0
    for path, named in _files(paths):
        try:
            if path.endswith(_YAML):
                found = list(_of_yaml(rhoso.YamlFile.read(path)))
                if not found:
                    continue
                services += found
            else:
                conf = nova_conf.NovaConf.read(path)
                if not named and not _concerns_devices(path, conf):
                    continue
                plain[path] = conf
        except exceptions.DocumentError as exc:
            if named or _is_about_nova(path):
                unreadable.append((path, str(exc)))
            continue
        count += 1
    for root in sorted(_kolla_roots(plain)):
        services += _of_kolla(root, plain)
    folders: dict[str, list[str]] = {}
    for path in plain:
        folder = os.path.dirname(path)
        # Files of a folder of drop-ins add up; others stand alone.
        key = folder if folder.endswith(_DROP_INS) else path
        folders.setdefault(key, []).append(path)
    for key, members in folders.items():
        services.append(
            _service(
                _readers(key),
                configuration.Place(key),
                [(path, plain[path]) for path in members],
            )
        )
    return Tree(tuple(services), count, tuple(unreadable))


def _kolla_roots(plain: collections.abc.Iterable[str]) -> set[str]:
    """Return the folders that are the custom configuration of Kolla.

    They have a folder ``nova`` with files of services or of hosts in it, and
    a nova.conf beside that, or the name that Kolla and Kayobe give them.
    """
    plain = set(plain)
    roots = set()
    for path in plain:
        folder, name = os.path.split(path)
        if name == 'nova.conf':
            folder = os.path.dirname(folder)
        elif name not in _KOLLA_SERVICES:
            continue
        root, nova = os.path.split(folder)
        if nova == 'nova' and (
            os.path.join(root, 'nova.conf') in plain
            or os.path.basename(root) == 'config'
        ):
            roots.add(root)
    return roots


def _of_kolla(
    root: str, plain: dict[str, nova_conf.NovaConf]
) -> collections.abc.Iterator[configuration.Service]:
    """Yield the services of a Kolla tree; takes its files out of the others.

    Layers, of which a later one replaces an option of an earlier one with all
    its values (``kolla-ansible``: ``roles/nova-cell/tasks/config.yml``,
    ``action_plugins/merge_configs.py``).
    """
    nova = os.path.join(root, 'nova')
    shared = [
        path
        for path in (
            os.path.join(root, 'global.conf'),
            os.path.join(root, 'nova.conf'),
        )
        if path in plain
    ]
    hosts = sorted(
        path
        for path in plain
        if os.path.basename(path) == 'nova.conf'
        and os.path.dirname(os.path.dirname(path)) == nova
    )
    used = {*shared, *hosts}
    for service in configuration.ALL:
        own = os.path.join(nova, f'{service}.conf')
        layers = [*shared, *([own] if own in plain else [])]
        used.update(layers)
        # Hosts of the control plane may have files, too; computes differ
        # from host to host.
        variants = hosts if service == configuration.COMPUTE else []
        for host in variants or ['']:
            paths = [*layers, *([host] if host else [])]
            if paths:
                yield _service(
                    (service,),
                    configuration.Place(paths[-1]),
                    [(path, plain[path]) for path in paths],
                    replace=True,
                )
    for path in used:
        del plain[path]


def _files(
    paths: collections.abc.Iterable[str],
) -> collections.abc.Iterator[tuple[str, bool]]:
    """Yield files, and whether the user named them, each once."""
    seen: set[str] = set()
    for path in paths:
        if not os.path.isdir(path):
            if path not in seen:
                seen.add(path)
                yield path, True
            continue
        for folder, folders, names in os.walk(path):
            folders[:] = sorted(set(folders) - _SKIPPED)
            for name in sorted(names):
                file = os.path.join(folder, name)
                if name.endswith(_PLAIN + _YAML) and file not in seen:
                    seen.add(file)
                    yield file, False


def _is_about_nova(path: str) -> bool:
    return 'nova' in path.lower()


def _concerns_devices(path: str, conf: nova_conf.NovaConf) -> bool:
    return _is_about_nova(path) or bool(
        conf.values(*nova_conf.ALIAS) or conf.values(*nova_conf.DEVICE_SPEC)
    )


def _readers(path: str) -> tuple[str, ...]:
    """Return the services that read a file, as far as its name tells."""
    name = os.path.basename(path).lower()
    for service in configuration.ALL:
        if service in name or service.removeprefix('nova-') in name:
            return (service,)
    return configuration.ALL


def _of_yaml(
    file: rhoso.YamlFile,
) -> collections.abc.Iterator[configuration.Service]:
    for service, parts in file.services():
        yield _service(
            (service,),
            configuration.Place(file.path, parts[0].start + 1),
            [(file.path, part.conf) for part in parts],
        )


def _service(
    readers: tuple[str, ...],
    place: configuration.Place,
    confs: list[tuple[str, nova_conf.NovaConf]],
    *,
    replace: bool = False,
) -> configuration.Service:
    """Return what a service reads of files, in their order.

    :param replace: An option of a later file takes the place of an earlier
        one's; otherwise their values add up.
    """

    options = tuple(_merged(confs, replace))

    def settings(
        names: tuple[tuple[str, str], ...],
    ) -> tuple[configuration.Setting, ...]:
        return tuple(
            option.setting
            for option in options
            if (option.section, option.name) in names
        )

    def boolean(names: tuple[tuple[str, str], ...]) -> bool | None:
        return nova_conf.boolean([setting.text for setting in settings(names)])

    filters = settings(_FILTERS)
    return configuration.Service(
        readers=readers,
        place=place,
        options=options,
        aliases=settings(nova_conf.ALIAS),
        device_specs=settings(nova_conf.DEVICE_SPEC),
        pci_in_placement=boolean(nova_conf.PCI_IN_PLACEMENT),
        report_in_placement=boolean(nova_conf.REPORT_IN_PLACEMENT),
        enabled_filters=filters[-1] if filters else None,
    )


def _merged(
    confs: list[tuple[str, nova_conf.NovaConf]], replace: bool
) -> collections.abc.Iterator[configuration.Option]:
    """Yield what files set together, in their order."""
    last: dict[tuple[str, str], int] = {}
    for number, (_path, conf) in enumerate(confs):
        for section, name, _value in conf.options():
            last[section, name] = number
    for number, (path, conf) in enumerate(confs):
        for section, name, value in conf.options():
            if not replace or last[section, name] == number:
                yield configuration.Option(
                    section,
                    name,
                    configuration.Setting(
                        value.text, configuration.Place(path, value.line)
                    ),
                )
