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

"""Hiera data of ``puppet-nova``, by itself or for a deployment tool.

Each mapping of a list becomes a line of JSON (``puppet-nova``:
``lib/puppet/functions/to_array_of_json_strings.rb``, ``manifests/pci.pp``,
``manifests/compute/pci.pp``, ``manifests/scheduler/filter.pp``); releases
before 2025.2 also accepted a string of JSON. The first level of the hierarchy
with a key provides its whole value. nova-api and nova-compute include
``nova::pci``, nova-scheduler the filters; all services of a controller read
the same nova.conf.
"""

import collections.abc
import dataclasses
import os
import re
import typing

import yaml

from gpuclient.documents.deployers import yaml_settings
from gpuclient.documents import derived_conf
from gpuclient.documents import editable
from gpuclient.documents import yaml_file
from gpuclient.documents import yaml_nodes
from gpuclient.model import configuration

CONTROL = (
    configuration.API,
    configuration.CONDUCTOR,
    configuration.SCHEDULER,
)
_COMPUTE = (configuration.COMPUTE,)

Nodes: typing.TypeAlias = collections.abc.Mapping[str, yaml.Node]


@dataclasses.dataclass(frozen=True)
class _Key:
    """The option that a key sets."""

    section: str
    option: str
    services: tuple[str, ...]
    #: How a list is written: ``hashes``, a line of JSON for each item;
    #: ``list``, joined with commas; ``lines``, a line for each item.
    kind: str = 'list'


_ALIASES = _Key('pci', 'alias', configuration.ALL, 'hashes')
_SPECS = _Key('pci', 'device_spec', _COMPUTE, 'hashes')
_ENABLED = _Key('filter_scheduler', 'enabled_filters', CONTROL)
_AVAILABLE = _Key('filter_scheduler', 'available_filters', CONTROL, 'lines')
#: If several names of an option are set, the first one here counts.
_KEYS = {
    'nova::pci::aliases': _ALIASES,
    # Its name before Pike, for nova-api only.
    'nova::api::pci_alias': _Key('pci', 'alias', CONTROL, 'hashes'),
    'nova::compute::pci::passthrough': _SPECS,
    'nova::compute::pci::device_specs': _SPECS,
    'nova::compute::pci_passthrough': _SPECS,
    'nova::compute::pci::report_in_placement': _Key(
        'pci', 'report_in_placement', _COMPUTE
    ),
    'nova::scheduler::filter::enabled_filters': _ENABLED,
    'nova::scheduler::filter::scheduler_enabled_filters': _ENABLED,
    'nova::scheduler::filter::scheduler_default_filters': _ENABLED,
    'nova::scheduler::filter::available_filters': _AVAILABLE,
    'nova::scheduler::filter::scheduler_available_filters': _AVAILABLE,
    'nova::scheduler::filter::pci_in_placement': _Key(
        'filter_scheduler', 'pci_in_placement', CONTROL
    ),
    'nova::compute::cpu_dedicated_set': _Key(
        'compute', 'cpu_dedicated_set', _COMPUTE
    ),
    'nova::compute::cpu_shared_set': _Key(
        'compute', 'cpu_shared_set', _COMPUTE
    ),
    'nova::compute::reserved_host_memory': _Key(
        'DEFAULT', 'reserved_host_memory_mb', _COMPUTE
    ),
    'nova::compute::reserved_huge_pages': _Key(
        'DEFAULT', 'reserved_huge_pages', _COMPUTE, 'lines'
    ),
}
#: Options by name: ``pci/alias: {value: ...}``.
_CONFIG = 'nova::config::nova_config'
_ABOUT_DEVICES = re.compile(
    r'^\s*["\']?nova::(pci::|api::pci_alias|compute::pci|scheduler::filter::'
    r'(pci_in_placement|(scheduler_)?(enabled|default)_filters))',
    re.M,
)


def is_hiera(content: bytes) -> bool:
    """Return whether a file may have keys of puppet-nova for PCI devices."""
    return yaml_settings.has(content, _ABOUT_DEVICES.pattern)


def options(
    path: str, keys: Nodes, service: str
) -> collections.abc.Iterator[derived_conf.Option]:
    """Yield the options that keys set in the nova.conf of a service."""
    seen: set[_Key] = set()
    for name, key in _KEYS.items():
        if name in keys and service in key.services and key not in seen:
            if _is_unset(keys[name]):
                continue
            seen.add(key)
            yield from _option(path, key, keys[name])
    for title, node in yaml_nodes.pairs(keys.get(_CONFIG)):
        section, slash, option = title.partition('/')
        value = yaml_nodes.below(node, 'value') or node
        if not slash or isinstance(value, yaml.MappingNode):
            continue
        kind = 'lines' if isinstance(value, yaml.SequenceNode) else 'list'
        yield from _option(path, _Key(section, option, (), kind), value)


def _is_unset(node: yaml.Node) -> bool:
    """Return whether a value leaves the default of Nova: empty, or null."""
    return yaml_nodes.is_null(node) or node.value in ([], '')


def _option(
    path: str, key: _Key, node: yaml.Node
) -> collections.abc.Iterator[derived_conf.Option]:
    if key.kind == 'hashes':
        # to_json of Ruby writes no blanks.
        texts = yaml_settings.json_texts(path, node, separators=(',', ':'))
    else:
        value = yaml_nodes.data(path, node)
        parts = [
            yaml_settings.scalar_text(part)
            for part in (value if isinstance(value, list) else [value])
        ]
        texts = parts if key.kind == 'lines' else [','.join(parts)]
    lines = yaml_nodes.item_lines(node, len(texts))
    for text, line in zip(texts, lines, strict=True):
        # %{hiera('...')} is a lookup.
        yield yaml_settings.option(
            key.section, key.option, text, line, depends='%{' in text
        )


def services_of(name: str) -> tuple[str, ...]:
    """Return the services on the hosts of a role or group, by its name."""
    lower = name.lower()
    if 'compute' in lower or 'hypervisor' in lower:
        return _COMPUTE
    if 'control' in lower:
        return CONTROL
    return configuration.ALL


#: Folders with all hiera data, at any depth.
_ROOTS = ('hieradata', 'hiera', 'data')


class HieraFile(derived_conf.SharedFile):
    """A file of hiera data.

    :raises gpuclient.exceptions.DocumentError: It is not YAML, or a value
        has too many parts.
    """

    tool = 'Puppet'

    def __init__(self, path: str, content: bytes) -> None:
        super().__init__(path, content)
        keys: dict[str, yaml.Node] = {}
        for document in yaml_file.compose_mappings(
            path, content, any_key=True
        ):
            keys.update(
                (name.removeprefix('::'), node)
                for name, node in yaml_nodes.pairs(document)
            )
        #: The nova.conf of each service.
        self.by_service = {
            service: conf
            for service in self.services
            if (
                conf := derived_conf.DerivedConf(
                    path, options(path, keys, service)
                )
            ).count
        }

    @property
    def confs(self) -> collections.abc.Iterable[derived_conf.DerivedConf]:
        return self.by_service.values()

    def readings(self) -> collections.abc.Iterator[editable.Reading]:
        for _path, reading in self.joined([self]):
            yield reading

    @property
    def root(self) -> str:
        parts = self.path.split(os.sep)[:-1]
        for number, part in enumerate(parts):
            if part in _ROOTS:
                return os.sep.join(parts[: number + 1])
        return os.sep.join(parts)

    @property
    def services(self) -> tuple[str, ...]:
        """The services on the hosts of this file, by its path."""
        below = os.path.relpath(self.path, os.path.dirname(self.root))
        for part in reversed(below.split(os.sep)):
            services = services_of(part)
            if services != configuration.ALL:
                return services
        return configuration.ALL

    @classmethod
    def joined(
        cls, files: collections.abc.Sequence['HieraFile']
    ) -> collections.abc.Iterator[tuple[str, editable.Reading]]:
        """Yield the reading of each service: common data, then its own."""
        files = sorted(files, key=lambda file: file.path)
        for service in configuration.ALL:
            having = [file for file in files if service in file.by_service]
            common = [
                file for file in having if file.services == configuration.ALL
            ]
            own = [
                file for file in having if file.services != configuration.ALL
            ]
            for chosen in [[*common, file] for file in own] or [common]:
                confs = [file.by_service[service] for file in chosen]
                if confs:
                    yield (
                        chosen[-1].path,
                        editable.Reading(
                            service,
                            tuple(confs),
                            line=confs[-1].first_line,
                            replace=True,
                            home=confs[-1],
                        ),
                    )

    def write_edit(
        self, _conf: derived_conf.DerivedConf, edit: derived_conf.Edit
    ) -> str:
        mark, _section, option, text = edit
        name = (
            'nova::pci::aliases'
            if option == 'alias'
            else 'nova::compute::pci::device_specs'
        )
        return f' {name}:\n{mark}  - {text}\n'
