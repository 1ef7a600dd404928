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

"""Values of the chart ``nova`` of OpenStack-Helm, and files that wrap them.

``conf.nova`` becomes the nova.conf of all services (``openstack-helm``:
``helm-toolkit/templates/utils/_to_oslo_conf.tpl``): options in the order of
their names, lists joined with commas, ``type: multistring`` a line for each
item, strings unchanged. ``conf.overrides.nova_compute`` has values that are
merged into it for the computes of some hosts and labels
(``_daemonset_overrides.tpl``).

Genestack passes such values to Helm, Atmosphere has them in
``nova_helm_values`` (``roles/nova``), Flux in ``spec.values`` of a
HelmRelease. MOSK has them in ``spec.services.compute.nova.values`` of an
OpenStackDeployment, and those of nodes, by label, in ``spec.nodes``
(``rockoon``: ``layers.py:merge_osdpl_into_helmbundle``).
"""

import collections.abc
import typing

import yaml

from gpuclient.documents.deployers import yaml_settings
from gpuclient.documents import derived_conf
from gpuclient.documents import editable
from gpuclient.documents import yaml_nodes
from gpuclient.model import configuration

_CONF = ('conf', 'nova')
_DAEMON_SET = 'nova_compute'
_ATMOSPHERE = 'nova_helm_values'
#: Keys above the values: none, Atmosphere, Flux, Argo CD.
_WRAPPERS: tuple[tuple[str, ...], ...] = (
    (),
    (_ATMOSPHERE,),
    ('spec', 'values'),
    ('spec', 'source', 'helm', 'valuesObject'),
)
#: Filters that Atmosphere sets itself (``roles/nova/vars/main.yml``).
_FILTERS = ('filter_scheduler', 'enabled_filters')

#: Values by section and option.
_Nodes: typing.TypeAlias = dict[tuple[str, str], yaml.Node]


def is_values(content: bytes) -> bool:
    """Return whether a file may have values of the chart."""
    return yaml_settings.has(content, r'\bnova["\']?:', r'\bconf["\']?:')


class ValuesFile(yaml_settings.SettingsFile):
    """A file with values of the chart.

    :raises gpuclient.exceptions.DocumentError: See
        :class:`gpuclient.documents.deployers.yaml_settings.SettingsFile`.
    """

    tool = 'OpenStack-Helm'

    def read_settings(
        self, documents: list[yaml.Node]
    ) -> collections.abc.Iterator[editable.Reading]:
        for document in documents:
            readings = list(self._of_mosk(document))
            if readings:
                self.tool = 'MOSK'
                yield from readings
                continue
            for keys in _WRAPPERS:
                values = yaml_nodes.below(document, *keys)
                yield from self._of_values(values, keys)

    def path_of(
        self, conf: derived_conf.DerivedConf, section: str, option: str
    ) -> tuple[tuple[str, ...], bool]:
        return (*conf.keys, section, option, 'values'), False

    def write_edit(
        self, conf: derived_conf.DerivedConf, edit: tuple[str, str, str, str]
    ) -> str:
        written = super().write_edit(conf, edit)
        keys, _is_mapping = self.path_of(conf, edit[1], edit[2])
        indent = ' ' * (2 * len(keys) - 1)
        return written.replace(
            f'{indent}values:\n',
            f'{indent}type: multistring\n{indent}values:\n',
        )

    def _of_values(
        self, values: yaml.Node | None, keys: tuple[str, ...]
    ) -> collections.abc.Iterator[editable.Reading]:
        """Yield what services read from the values of a release."""
        base = yaml_nodes.below(values, *_CONF)
        overrides = list(self._overrides(values))
        if not isinstance(base, yaml.MappingNode) and not overrides:
            return
        shared = self._conf(base, (*keys, *_CONF))
        for service in [None] if not overrides else configuration.ALL:
            if base is not None or service == configuration.COMPUTE:
                yield self._reading(service, (shared,), base, values)
        for where, node in overrides:
            yield self._override(
                shared, base, yaml_nodes.below(node, *_CONF), where
            )

    def _overrides(
        self, values: yaml.Node | None
    ) -> collections.abc.Iterator[tuple[tuple[str, ...], yaml.Node]]:
        """Yield the overrides of some computes, with their path of keys."""
        at = ('conf', 'overrides', _DAEMON_SET)
        for kind, entries in yaml_nodes.pairs(yaml_nodes.below(values, *at)):
            for entry in yaml_nodes.items(entries):
                name = yaml_nodes.text(entry, 'name') or yaml_nodes.text(
                    entry, 'label', 'key'
                )
                yield (*at, f'{kind} {name}'.strip(), *_CONF), entry

    def _of_mosk(
        self, document: yaml.Node
    ) -> collections.abc.Iterator[editable.Reading]:
        service = ('services', 'compute', 'nova')
        at = ('spec', *service, 'values', *_CONF)
        base = yaml_nodes.below(document, *at)
        nodes = [
            (
                (
                    *('spec', 'nodes', label, *service, _DAEMON_SET),
                    *('values', *_CONF),
                ),
                override,
            )
            for label, node in yaml_nodes.pairs(
                yaml_nodes.below(document, 'spec', 'nodes')
            )
            if (
                override := yaml_nodes.below(
                    node, *service, _DAEMON_SET, 'values', *_CONF
                )
            )
            is not None
        ]
        if base is None and not nodes:
            return
        shared = self._conf(base, at)
        for name in [None] if not nodes else configuration.ALL:
            if base is not None or name != configuration.COMPUTE:
                yield self._reading(name, (shared,), base, document)
        for where, override in nodes:
            yield self._override(shared, base, override, where)

    def _reading(
        self,
        service: str | None,
        confs: tuple[derived_conf.DerivedConf, ...],
        *places: yaml.Node | None,
    ) -> editable.Reading:
        """Return the reading of a service, at the first of some nodes."""
        return editable.Reading(
            service,
            confs,
            line=next(
                yaml_nodes.line(node) for node in places if node is not None
            ),
            replace=True,
            home=confs[-1],
        )

    def _override(
        self,
        shared: derived_conf.DerivedConf,
        base: yaml.Node | None,
        override: yaml.Node | None,
        where: tuple[str, ...],
    ) -> editable.Reading:
        """Return the reading of a compute with overrides."""
        own = derived_conf.DerivedConf(
            self.path,
            self._options(_settings(override), _settings(base)),
            where,
        )
        return self._reading(
            configuration.COMPUTE, (shared, own), override, base
        )

    def _conf(
        self, node: yaml.Node | None, keys: tuple[str, ...]
    ) -> derived_conf.DerivedConf:
        settings = _settings(node)
        options = list(self._options(settings, {}))
        if keys[0] == _ATMOSPHERE and _FILTERS not in settings and node:
            options.append(
                yaml_settings.option(
                    *_FILTERS, '', yaml_nodes.line(node), depends=True
                )
            )
        return derived_conf.DerivedConf(self.path, options, keys)

    def _options(
        self, settings: _Nodes, base: _Nodes
    ) -> collections.abc.Iterator[derived_conf.Option]:
        """Yield the options as the template writes them."""
        for (section, name), node in sorted(
            settings.items(), key=lambda item: item[0]
        ):
            values = _merged(node, base.get((section, name)))
            for part, text in self._texts(node, values):
                yield from yaml_settings.rendered(
                    self.path,
                    section if section == 'DEFAULT' else section.lower(),
                    name,
                    text,
                    yaml_nodes.line_of_text(part),
                )

    def _texts(
        self, node: yaml.Node, value: dict[str, yaml.Node] | None
    ) -> list[tuple[yaml.Node, str]]:
        """Return the values of an option, each with its node."""
        if value is None:
            if yaml_nodes.is_null(node):
                return []
            value_data = yaml_nodes.data(self.path, node)
            if isinstance(value_data, list):
                return [(node, ','.join(map(_printed, value_data)))]
            return [(node, yaml_settings.scalar_text(value_data))]
        kind = yaml_nodes.text(value.get('type'))
        values = value.get('values')
        parts = yaml_nodes.items(values)
        texts = [_printed(yaml_nodes.data(self.path, part)) for part in parts]
        if kind == 'multistring':
            return list(zip(parts, texts, strict=True))
        if kind == 'csv' and values is not None:
            return [(values, ','.join(texts))]
        # Without a type Helm fails; with an unknown type it writes nothing.
        return (
            [] if kind else [(node, _printed(dict(_data(self.path, value))))]
        )


def _data(
    path: str, value: dict[str, yaml.Node]
) -> collections.abc.Iterator[tuple[str, typing.Any]]:
    for key, node in value.items():
        yield key, yaml_nodes.data(path, node)


def _settings(node: yaml.Node | None) -> _Nodes:
    """Return all options of a mapping of sections."""
    return {
        (section, name): value
        for section, options in yaml_nodes.pairs(node)
        if isinstance(options, yaml.MappingNode)
        for name, value in yaml_nodes.pairs(options)
    }


def _merged(
    node: yaml.Node, base: yaml.Node | None
) -> dict[str, yaml.Node] | None:
    """Return a mapping merged into that of the base; None for a scalar."""
    if not isinstance(node, yaml.MappingNode):
        return None
    below = (
        yaml_nodes.pairs(base) if isinstance(base, yaml.MappingNode) else ()
    )
    return {**dict(below), **dict(yaml_nodes.pairs(node))}


def _printed(value: typing.Any) -> str:
    """Return a value as templates of Go print it."""
    if isinstance(value, dict):
        return (
            'map['
            + ' '.join(
                f'{key}:{_printed(value[key])}' for key in sorted(value)
            )
            + ']'
        )
    if isinstance(value, list):
        return '[' + ' '.join(map(_printed, value)) + ']'
    if value is None:
        return '<nil>'
    return yaml_settings.scalar_text(value)
