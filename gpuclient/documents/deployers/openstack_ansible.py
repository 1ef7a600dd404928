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

"""Variables of OpenStack-Ansible that set options of nova.conf.

The role writes ``nova_pci_alias`` and ``nova_device_spec`` into it
(``openstack-ansible-os_nova``: ``templates/nova.conf.j2``). An option in
``nova_nova_conf_overrides`` replaces all its values
(``ansible-config_template``: ``plugins/action/config_template.py``). The last
file with a variable provides its whole value: ``group_vars``, ``host_vars``,
then ``user_*.yml``, which are passed as extra variables.
"""

import collections.abc
import json
import os
import re
import typing

import yaml

from gpuclient.documents import derived_conf
from gpuclient.documents import editable
from gpuclient.documents import jinja
from gpuclient.documents import nova_conf
from gpuclient.documents import yaml_file
from gpuclient.documents import yaml_nodes
from gpuclient.model import configuration

_OVERRIDES = 'nova_nova_conf_overrides'
_ALIAS = 'nova_pci_alias'
_DEVICE_SPEC = 'nova_device_spec'
#: The old name of the former, which is its default.
_WHITELIST = 'nova_pci_passthrough_whitelist'
_FILTERS = 'nova_scheduler_default_filters'
_MORE_FILTERS = 'nova_scheduler_extra_filters'
#: The default of the role (``defaults/main.yml``).
_DEFAULT_FILTERS = (
    'ComputeFilter,AggregateNumInstancesFilter,AggregateIoOpsFilter,'
    'ComputeCapabilitiesFilter,ImagePropertiesFilter,'
    'ServerGroupAntiAffinityFilter,ServerGroupAffinityFilter,'
    'NUMATopologyFilter'
)
#: In the order in which nova.conf has them.
_VARIABLES = (
    *(_WHITELIST, _DEVICE_SPEC, _ALIAS, _FILTERS, _MORE_FILTERS),
    _OVERRIDES,
)
_PATTERN = re.compile(
    rf'^["\']?({"|".join(_VARIABLES)})["\']?[ \t]*:'.encode(), re.M
)
#: The folder of its configuration: /etc/openstack_deploy.
_DEPLOY = 'openstack_deploy'

_CONTROL = (
    configuration.API,
    configuration.CONDUCTOR,
    configuration.SCHEDULER,
)
#: Parts of names of groups, and the services on their hosts.
_GROUPS = (
    ('nova_api', (configuration.API,)),
    ('nova_conductor', (configuration.CONDUCTOR,)),
    ('nova_scheduler', (configuration.SCHEDULER,)),
    ('infra', _CONTROL),
    ('compute', (configuration.COMPUTE,)),
    ('nova_all', configuration.ALL),
)


def has_variables(content: bytes) -> bool:
    """Return whether a file sets one of the variables."""
    return _PATTERN.search(content) is not None


class VariablesFile(derived_conf.SharedFile):
    """A file of variables.

    :raises gpuclient.exceptions.DocumentError: It is not YAML, or a value
        has too many parts.
    """

    tool = 'OpenStack-Ansible'

    def __init__(self, path: str, content: bytes) -> None:
        super().__init__(path, content)
        has_mappings = False
        #: The options that each variable sets in nova.conf.
        self.variables: dict[str, derived_conf.DerivedConf] = {}
        for document in yaml_file.compose_mappings(path, content):
            for name, value in yaml_nodes.pairs(document):
                if name in _VARIABLES:
                    self.variables[name] = derived_conf.DerivedConf(
                        path, self._options(name, value)
                    )
                    has_mappings |= name == _ALIAS and _has_mappings(value)
        if (
            has_mappings
            and set(self.variables) == {_ALIAS}
            and _DEPLOY not in path.split('/')
        ):
            # The role takes strings of JSON: the file is another tool's.
            del self.variables[_ALIAS]

    @property
    def confs(self) -> collections.abc.Iterable[derived_conf.DerivedConf]:
        return self.variables.values()

    def readings(self) -> collections.abc.Iterator[editable.Reading]:
        return _readings([self.variables], self.services)

    @classmethod
    def joined(
        cls, files: collections.abc.Sequence['VariablesFile']
    ) -> collections.abc.Iterator[tuple[str, editable.Reading]]:
        return readings(files)

    @property
    def root(self) -> str:
        """The folder that ``group_vars`` and ``user_*.yml`` are in."""
        return self._place[0]

    @property
    def services(self) -> tuple[str, ...]:
        """The services whose hosts have the variables."""
        _root, kind, name = self._place
        if kind == 'host_vars':
            # PCI devices are in computes.
            return (configuration.COMPUTE,)
        if kind == 'group_vars':
            for part, services in _GROUPS:
                if part in name:
                    return services
        return configuration.ALL

    @property
    def order(self) -> int:
        """Precedence: later files override earlier ones."""
        _root, kind, _name = self._place
        if kind == 'host_vars':
            return 2
        if kind == 'group_vars':
            return 0 if self.services == configuration.ALL else 1
        return 3

    @property
    def host(self) -> str | None:
        _root, kind, name = self._place
        return name if kind == 'host_vars' else None

    @property
    def _place(self) -> tuple[str, str, str]:
        """The root, the kind of folder, and the name of the group or host."""
        parts = self.path.split('/')
        for kind in ('group_vars', 'host_vars'):
            if kind in parts[:-1]:
                at = len(parts) - 1 - parts[::-1].index(kind)
                name = os.path.splitext(parts[at + 1])[0]
                return '/'.join(parts[:at]), kind, name
        return os.path.dirname(self.path), '', ''

    def write_edit(
        self, _conf: derived_conf.DerivedConf, edit: derived_conf.Edit
    ) -> str:
        mark, section, option, text = edit
        quoted = "'" + text.replace("'", "''") + "'"
        if _OVERRIDES in self.variables and any(
            (section, option) == override[:2]
            for override in self.variables[_OVERRIDES].options()
        ):
            return (
                f' {_OVERRIDES}:\n   {section}:\n     {option}:\n'
                f'{mark}      ? {quoted}\n'
            )
        name = _ALIAS if option == 'alias' else _DEVICE_SPEC
        if name == _DEVICE_SPEC and name not in self.variables:
            # The new name would disable the old one.
            name = _WHITELIST if _WHITELIST in self.variables else name
        return f' {name}:\n{mark}  - {quoted}\n'

    def _options(
        self, name: str, node: yaml.Node
    ) -> collections.abc.Iterator[derived_conf.Option]:
        if name == _OVERRIDES:
            yield from self._overrides(node)
        elif name in (_FILTERS, _MORE_FILTERS):
            yield (
                *('filter_scheduler', 'enabled_filters'),
                self._value(node, ','.join(map(str, self._items(node)))),
            )
        else:
            option = 'alias' if name == _ALIAS else 'device_spec'
            alone = isinstance(node, yaml.SequenceNode)
            for item in node.value if alone else [node]:
                data = self._data(item)
                if option == 'device_spec' and isinstance(data, dict):
                    data = json.dumps(data)
                yield 'pci', option, self._value(item, data)

    def _overrides(
        self, node: yaml.Node
    ) -> collections.abc.Iterator[derived_conf.Option]:
        """Yield options as config_template writes them (_option_write)."""
        if not isinstance(node, yaml.MappingNode):
            return
        for section, items in node.value:
            if not isinstance(items, yaml.MappingNode):
                yield (
                    *('DEFAULT', str(section.value)),
                    self._value(items, self._written(items)),
                )
                continue
            name = str(section.value)
            name = name if name == 'DEFAULT' else name.lower()
            for key, value in items.value:
                option = str(key.value)
                if isinstance(value, yaml.MappingNode) and not any(
                    self._data(item) for _key, item in value.value
                ):
                    # A set: a line for each item, sorted.
                    for item in sorted(
                        (item for item, _null in value.value),
                        key=lambda item: str(item.value),
                    ):
                        yield name, option, self._value(item, self._data(item))
                    continue
                yield name, option, self._value(value, self._written(value))

    def _written(self, node: yaml.Node) -> typing.Any:
        if isinstance(node, yaml.SequenceNode):
            return ','.join(map(str, self._items(node)))
        return self._data(node)

    def _items(self, node: yaml.Node) -> list[typing.Any]:
        data = self._data(node)
        return data if isinstance(data, list) else [data]

    def _value(self, node: yaml.Node, data: typing.Any) -> nova_conf.Value:
        text = '\n'.join(line.strip() for line in str(data).split('\n'))
        text = nova_conf.unquoted(text.strip())
        return nova_conf.Value(
            text, node.start_mark.line + 1, jinja.is_template(text)
        )

    def _data(self, node: yaml.Node) -> typing.Any:
        # Ids keep their digits, although Ansible parses some as numbers.
        return yaml_nodes.data(self.path, node, keep_numbers=True)


def _has_mappings(node: yaml.Node) -> bool:
    return isinstance(node, yaml.SequenceNode) and any(
        isinstance(item, yaml.MappingNode) for item in node.value
    )


def readings(
    files: collections.abc.Iterable[VariablesFile],
) -> collections.abc.Iterator[tuple[str, editable.Reading]]:
    """Yield path and reading of each service, for files of one root."""
    files = sorted(files, key=lambda file: (file.order, file.path))
    hosts = sorted({file.host for file in files if file.host is not None})
    for service in configuration.ALL:
        of_service = [file for file in files if service in file.services]
        variants = [[file for file in of_service if file.host is None]]
        if service == configuration.COMPUTE:
            variants += [
                [file for file in of_service if file.host in (None, host)]
                for host in hosts
            ]
        for chosen in variants:
            for reading in _readings(
                [file.variables for file in chosen], (service,)
            ):
                yield chosen[-1].path, reading


def _readings(
    files: list[dict[str, derived_conf.DerivedConf]],
    services: tuple[str, ...],
) -> collections.abc.Iterator[editable.Reading]:
    last: dict[str, derived_conf.DerivedConf] = {}
    for variables in files:
        last |= variables
    if _DEVICE_SPEC in last:
        last.pop(_WHITELIST, None)
    if _MORE_FILTERS in last:
        last[_FILTERS] = _joined(last.get(_FILTERS), last.pop(_MORE_FILTERS))
    confs = [last[name] for name in _VARIABLES if name in last]
    if not confs:
        return
    for service in [None] if services == configuration.ALL else services:
        yield editable.Reading(
            service, tuple(confs), replace=True, home=confs[-1]
        )


def _joined(
    first: derived_conf.DerivedConf | None, second: derived_conf.DerivedConf
) -> derived_conf.DerivedConf:
    """Return the combined list of filters.

    :param first: ``nova_scheduler_default_filters``; None if it is unset.
    """
    (section, option, value), *_rest = (first or second).options()
    conf = first or second
    texts = [_DEFAULT_FILTERS] if first is None else [value.text]
    more = [other for _section, _option, other in second.options()]
    return derived_conf.DerivedConf(
        conf.path,
        [
            (
                section,
                option,
                nova_conf.Value(
                    ','.join((*texts, *(other.text for other in more))),
                    value.line,
                    any(other.depends for other in (value, *more)),
                ),
            )
        ],
    )
