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

"""Environments of TripleO.

Parameters become hiera data of ``puppet-nova`` (``tripleo-heat-templates``:
``deployment/nova/nova-compute-container-puppet.yaml``,
``nova-scheduler-container-puppet.yaml``). ``ExtraConfig`` overrides them, and
the extra configuration of a role (``ComputeExtraConfig``) overrides both.
Parameters of a role (``ComputeParameters``) override those of all roles. All
services of a controller read one nova.conf (``config_volume: nova``), a
compute another one.

If several environments of a folder set a parameter to different values, the
last one on the command line counts, which is not known here.
"""

import collections.abc
import dataclasses
import json
import os

import yaml

from gpuclient.documents.deployers import hiera
from gpuclient.documents.deployers import yaml_settings
from gpuclient.documents import derived_conf
from gpuclient.documents import editable
from gpuclient.documents import yaml_file
from gpuclient.documents import yaml_nodes
from gpuclient.model import configuration

_SECTIONS = ('parameters', 'parameter_defaults')
_EXTRA = 'ExtraConfig'
#: Old names of the extra configuration of roles.
_OLD_ROLES = {'NovaCompute': 'Compute', 'controller': 'Controller'}
_PARAMETERS = 'Parameters'
#: Parameters, and the keys of puppet-nova that they set.
_KEYS = {
    'NovaPCIPassthrough': 'nova::compute::pci::passthrough',
    'NovaSchedulerDefaultFilters': (
        'nova::scheduler::filter::scheduler_default_filters'
    ),
    'NovaSchedulerEnabledFilters': 'nova::scheduler::filter::enabled_filters',
    'NovaSchedulerAvailableFilters': (
        'nova::scheduler::filter::available_filters'
    ),
    'NovaComputeCpuDedicatedSet': 'nova::compute::cpu_dedicated_set',
    'NovaComputeCpuSharedSet': 'nova::compute::cpu_shared_set',
    'NovaReservedHostMemory': 'nova::compute::reserved_host_memory',
    'NovaReservedHugePages': 'nova::compute::reserved_huge_pages',
}
#: Each environment with settings of devices contains one of these.
_MARK = (
    r'^\s+(NovaPCIPassthrough|NovaScheduler(Enabled|Default)Filters|'
    r'["\']?nova::(pci::|api::pci_alias|compute::pci))'
)


def is_environment(content: bytes) -> bool:
    """Return whether a file may be an environment with PCI devices.

    Templates of Heat, which declare parameters below the same key, are not.
    """
    return yaml_settings.has(
        content, rf'^({"|".join(_SECTIONS)})\s*:', _MARK
    ) and not yaml_settings.has(content, r'^["\']?heat_template_version')


@dataclasses.dataclass(frozen=True)
class _Parameter:
    """A value of a parameter, and its environment."""

    file: 'EnvironmentFile'
    node: yaml.Node


#: By role (empty for all) and name of the parameter, or hiera key.
_ParametersByName = dict[tuple[str, str], list[_Parameter]]


class EnvironmentFile(derived_conf.SharedFile):
    """An environment.

    :raises gpuclient.exceptions.DocumentError: It is not YAML, or a value
        has too many parts.
    """

    tool = 'TripleO'

    def __init__(self, path: str, content: bytes) -> None:
        super().__init__(path, content)
        self._documents = yaml_file.compose_mappings(path, content)
        self._readings = tuple(
            reading for _path, reading in self.joined([self])
        )

    @property
    def confs(self) -> collections.abc.Iterable[derived_conf.DerivedConf]:
        for reading in self._readings:
            for conf in reading.confs:
                if isinstance(conf, derived_conf.DerivedConf):
                    yield conf

    def readings(self) -> collections.abc.Iterator[editable.Reading]:
        return iter(self._readings)

    @property
    def root(self) -> str:
        return os.path.dirname(self.path)

    def parameters(
        self,
    ) -> collections.abc.Iterator[tuple[str, str, yaml.Node]]:
        """Yield role, name and value of each parameter and hiera key."""
        for document in self._documents:
            for section in _SECTIONS:
                for name, node in yaml_nodes.pairs(
                    yaml_nodes.below(document, section)
                ):
                    yield from self._of_parameter(name, node)

    def _of_parameter(
        self, name: str, node: yaml.Node
    ) -> collections.abc.Iterator[tuple[str, str, yaml.Node]]:
        if name.endswith(_EXTRA):
            role = name.removesuffix(_EXTRA)
            for key, value in yaml_nodes.pairs(node):
                yield _OLD_ROLES.get(role, role), key.removeprefix('::'), value
        elif name.endswith(_PARAMETERS):
            for key, value in yaml_nodes.pairs(node):
                if key in _KEYS:
                    yield name.removesuffix(_PARAMETERS), key, value
        elif name in _KEYS:
            yield '', name, node

    @classmethod
    def joined(
        cls, files: collections.abc.Sequence['EnvironmentFile']
    ) -> collections.abc.Iterator[tuple[str, editable.Reading]]:
        parameters: _ParametersByName = {}
        for file in sorted(files, key=lambda file: file.path):
            for role, name, node in file.parameters():
                parameters.setdefault((role, name), []).append(
                    _Parameter(file, node)
                )
        roles = sorted({role for role, _name in parameters if role})
        for service in configuration.ALL:
            matching = [
                role for role in roles if service in hiera.services_of(role)
            ]
            # Without a matching role, the values of all roles count.
            for role in matching or ['']:
                yield from _reading(parameters, role, service)

    def write_edit(
        self, conf: derived_conf.DerivedConf, edit: derived_conf.Edit
    ) -> str:
        mark, _section, option, text = edit
        if option == 'alias':
            keys: tuple[str, ...] = (*conf.keys, 'nova::pci::aliases')
        else:
            keys = ('NovaPCIPassthrough',)
        above = ''.join(
            f' {"  " * depth}{key}:\n'
            for depth, key in enumerate(('parameter_defaults', *keys))
        )
        return f'{above}{mark}{"  " * (len(keys) + 1)}- {text}\n'


def _reading(
    parameters: _ParametersByName, role: str, service: str
) -> collections.abc.Iterator[tuple[str, editable.Reading]]:
    """Yield the reading of a service on the hosts of a role, if any."""
    keys: dict[str, _Parameter] = {}
    #: Keys with several values.
    ambiguous: set[str] = set()

    def put(key: str, values: list[_Parameter]) -> None:
        keys[key] = values[-1]
        ambiguous.discard(key)
        if len({_data(value) for value in values}) > 1:
            ambiguous.add(key)

    # Later values override earlier ones.
    for owner in dict.fromkeys(('', role)):
        for name, key in _KEYS.items():
            if (owner, name) in parameters:
                put(key, parameters[owner, name])
    for owner in dict.fromkeys(('', role)):
        for (other, name), values in parameters.items():
            if other == owner and '::' in name:
                put(name, values)
    by_file: dict[EnvironmentFile, dict[str, yaml.Node]] = {}
    for key, value in keys.items():
        by_file.setdefault(value.file, {})[key] = value.node
    extra = (f'{role or _default_role(service)}{_EXTRA}',)
    confs = []
    for file, nodes in by_file.items():
        options = [
            (section, option, dataclasses.replace(value, depends=True))
            if key in ambiguous
            else (section, option, value)
            for key, node in nodes.items()
            for section, option, value in hiera.options(
                file.path, {key: node}, service
            )
        ]
        if options:
            confs.append(derived_conf.DerivedConf(file.path, options, extra))
    if confs:
        yield (
            confs[-1].path,
            editable.Reading(service, tuple(confs), line=confs[-1].first_line),
        )


def _default_role(service: str) -> str:
    return 'Compute' if service == configuration.COMPUTE else 'Controller'


def _data(parameter: _Parameter) -> str:
    return json.dumps(
        yaml_nodes.data(parameter.file.path, parameter.node),
        sort_keys=True,
        default=str,
    )
