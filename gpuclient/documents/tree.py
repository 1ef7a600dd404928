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
    drop_ins: dict[str, list[tuple[str, nova_conf.NovaConf]]] = {}
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
                folder = os.path.dirname(path)
                if folder.endswith(_DROP_INS):
                    drop_ins.setdefault(folder, []).append((path, conf))
                else:
                    services.append(
                        _service(
                            _readers(path),
                            configuration.Place(path),
                            [(path, conf)],
                        )
                    )
        except exceptions.DocumentError as exc:
            if named or _is_about_nova(path):
                unreadable.append((path, str(exc)))
            continue
        count += 1
    for folder, confs in drop_ins.items():
        services.append(
            _service(_readers(folder), configuration.Place(folder), confs)
        )
    return Tree(tuple(services), count, tuple(unreadable))


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
) -> configuration.Service:
    def settings(
        names: tuple[tuple[str, str], ...],
    ) -> tuple[configuration.Setting, ...]:
        return tuple(
            configuration.Setting(
                value.text, configuration.Place(path, value.line)
            )
            for path, conf in confs
            for value in conf.values(*names)
        )

    def boolean(names: tuple[tuple[str, str], ...]) -> bool | None:
        return nova_conf.boolean(
            [value for _path, conf in confs for value in conf.values(*names)]
        )

    filters = settings(_FILTERS)
    return configuration.Service(
        readers=readers,
        place=place,
        aliases=settings(nova_conf.ALIAS),
        device_specs=settings(nova_conf.DEVICE_SPEC),
        pci_in_placement=boolean(nova_conf.PCI_IN_PLACEMENT),
        report_in_placement=boolean(nova_conf.REPORT_IN_PLACEMENT),
        enabled_filters=filters[-1] if filters else None,
    )
