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

"""Bundles of Juju with the charms ``nova-cloud-controller``, ``nova-compute``.

Options become lines of nova.conf: ``pci-alias`` a line for each alias, with
sorted keys, ``pci-passthrough-whitelist`` unchanged
(``charm-nova-compute``: ``hooks/nova_compute_context.py``;
``charm-nova-cloud-controller``: ``hooks/nova_cc_context.py``). Later charms
have ``pci-device-spec``, ``pci-report-in-placement`` and ``pci-in-placement``,
too (``README.md``, "PCI tracking in Placement"). Without
``scheduler-default-filters`` the charm sets filters of its own, and adds
PciPassthroughFilter if neutron-api has SR-IOV or hardware offload.

Files of ``juju config`` are read, too: options by application, and its output
for one application.
"""

import collections.abc
import json
import typing

import yaml

from gpuclient.documents.deployers import hiera
from gpuclient.documents.deployers import yaml_settings
from gpuclient.documents import derived_conf
from gpuclient.documents import editable
from gpuclient.documents import yaml_nodes
from gpuclient.model import configuration

_CONTROLLER = 'nova-cloud-controller'
_COMPUTE = 'nova-compute'
_NEUTRON = 'neutron-api'
_ALIAS = 'pci-alias'
_WHITELIST = 'pci-passthrough-whitelist'
_DEVICE_SPEC = 'pci-device-spec'
#: Options with device specs, and those of Nova. The last one is in effect:
#: Nova has two names for one option.
_SPECS = {_WHITELIST: 'passthrough_whitelist', _DEVICE_SPEC: 'device_spec'}
_IN_PLACEMENT = 'pci-in-placement'
_REPORT = 'pci-report-in-placement'
_FILTERS = 'scheduler-default-filters'
#: Options of neutron-api that add the filter.
_PCI_PORTS = ('enable-sriov', 'enable-hardware-offload')
#: Filters that all releases of the charm set
#: (``hooks/nova_cc_context.py:default_enabled_filters``).
_DEFAULT_FILTERS = (
    *('ComputeFilter', 'ComputeCapabilitiesFilter', 'ImagePropertiesFilter'),
    *('ServerGroupAntiAffinityFilter', 'ServerGroupAffinityFilter'),
    *('DifferentHostFilter', 'SameHostFilter'),
)
_PCI_FILTER = 'PciPassthroughFilter'
#: Options of nova-compute that are written unchanged.
_PLAIN = {
    'cpu-dedicated-set': ('compute', 'cpu_dedicated_set'),
    'cpu-shared-set': ('compute', 'cpu_shared_set'),
    'reserved-host-memory': ('DEFAULT', 'reserved_host_memory_mb'),
    _REPORT: ('pci', 'report_in_placement'),
}
_HUGE_PAGES = 'reserved-huge-pages'
#: The options of charms that are edited, by that of Nova.
_OPTIONS = {'alias': _ALIAS, 'device_spec': _DEVICE_SPEC}


def is_bundle(content: bytes) -> bool:
    """Return whether a file may be a bundle with PCI devices."""
    return yaml_settings.has(
        content,
        rf'^\s+["\']?({"|".join((_ALIAS, *_SPECS, _IN_PLACEMENT, _REPORT))})'
        r'["\']?\s*:',
    )


class _Application(typing.NamedTuple):
    """An application of a bundle."""

    name: str
    node: yaml.Node
    charm: str
    options: dict[str, yaml.Node]
    #: Path of keys to its options.
    keys: tuple[str, ...]
    #: Whether it is complete; an overlay has changes only.
    whole: bool


class BundleFile(yaml_settings.SettingsFile):
    """A bundle, an overlay, or a file of options.

    :raises gpuclient.exceptions.DocumentError: See
        :class:`gpuclient.documents.deployers.yaml_settings.SettingsFile`.
    """

    tool = 'Juju'

    def read_settings(
        self, documents: list[yaml.Node]
    ) -> collections.abc.Iterator[editable.Reading]:
        applications = [
            application
            for document in documents
            for application in _applications(document)
        ]
        neutron = [
            application
            for application in applications
            if application.charm == _NEUTRON
        ]
        for application in applications:
            if application.charm == _COMPUTE:
                services: tuple[str, ...] = (configuration.COMPUTE,)
                options = list(self._compute(application))
            elif application.charm == _CONTROLLER:
                services = hiera.CONTROL
                options = list(self._controller(application, neutron))
            else:
                continue
            conf = derived_conf.DerivedConf(
                self.path, options, application.keys
            )
            for service in services:
                yield editable.Reading(
                    service,
                    (conf,),
                    keys=application.name,
                    line=yaml_nodes.line(application.node),
                )

    def _compute(
        self, application: _Application
    ) -> collections.abc.Iterator[derived_conf.Option]:
        options = application.options
        for name, option in _SPECS.items():
            if name in options and self._text(options[name]):
                yield from yaml_settings.rendered(
                    self.path,
                    'pci',
                    option,
                    self._text(options[name]),
                    yaml_nodes.line_of_text(options[name]),
                )
        yield from self._aliases(application)
        for name, (section, option) in _PLAIN.items():
            if name in options and self._text(options[name]):
                yield yaml_settings.option(
                    section,
                    option,
                    self._text(options[name]),
                    yaml_nodes.line(options[name]),
                )
        if _HUGE_PAGES in options:
            node = options[_HUGE_PAGES]
            for text in filter(None, self._text(node).split(';')):
                yield yaml_settings.option(
                    'DEFAULT',
                    'reserved_huge_pages',
                    text,
                    yaml_nodes.line(node),
                )

    def _controller(
        self, application: _Application, neutron: list[_Application]
    ) -> collections.abc.Iterator[derived_conf.Option]:
        yield from self._aliases(application)
        node = application.options.get(_IN_PLACEMENT)
        if node is not None and self._text(node):
            yield yaml_settings.option(
                'filter_scheduler',
                'pci_in_placement',
                self._text(node),
                yaml_nodes.line(node),
            )
        node = application.options.get(_FILTERS)
        text = '' if node is None else self._text(node)
        filters = [text or ','.join(_DEFAULT_FILTERS)]
        if any(
            self._text(api.options[option]).lower() == 'true'
            for api in neutron
            for option in _PCI_PORTS
            if option in api.options
        ):
            filters.append(_PCI_FILTER)
        yield yaml_settings.option(
            'filter_scheduler',
            'enabled_filters',
            ','.join(filters),
            yaml_nodes.line(node or application.node),
            # The options of the bundle, and whether the filter is added, are
            # not known for an overlay.
            depends=not text and not (application.whole and neutron),
        )

    def _aliases(
        self, application: _Application
    ) -> collections.abc.Iterator[derived_conf.Option]:
        node = application.options.get(_ALIAS)
        if node is None or not self._text(node):
            return
        text = self._text(node)
        try:
            definitions = json.loads(text)
        except (ValueError, RecursionError):
            # The hook of the charm fails.
            texts = [text]
        else:
            texts = [
                json.dumps(alias, sort_keys=True)
                for alias in (
                    definitions
                    if isinstance(definitions, list)
                    else [definitions]
                )
            ]
        for alias in texts:
            yield yaml_settings.option(
                'pci', 'alias', alias, yaml_nodes.line(node)
            )

    def _text(self, node: yaml.Node) -> str:
        """Return a value; Juju refuses one that is not a string."""
        if isinstance(node, yaml.ScalarNode):
            value = yaml_nodes.data(self.path, node)
            return '' if value is None else yaml_settings.scalar_text(value)
        return 'map[]' if isinstance(node, yaml.MappingNode) else '[]'

    def path_of(
        self, conf: derived_conf.DerivedConf, section: str, option: str
    ) -> tuple[tuple[str, ...], bool]:
        return (
            (*conf.keys, _OPTIONS.get(option, _WHITELIST)),
            False,
        )

    def write_edit(
        self, conf: derived_conf.DerivedConf, edit: tuple[str, str, str, str]
    ) -> str:
        written = super().write_edit(conf, edit)
        # The string is a list in JSON, and this is an item of it.
        *above, last = written.splitlines()
        line, _dash, value = last[1:].partition('- ')
        mark = last[0]
        return '\n'.join([*above, f"{mark}{line}'[{value[1:-1]}, ...]'", ''])


def _applications(
    document: yaml.Node,
) -> collections.abc.Iterator[_Application]:
    for top in ('applications', 'services'):
        for name, node in yaml_nodes.pairs(yaml_nodes.below(document, top)):
            charm = yaml_nodes.text(node, 'charm')
            yield _Application(
                name,
                node,
                _charm(charm or name),
                dict(yaml_nodes.pairs(yaml_nodes.below(node, 'options'))),
                (top, name, 'options'),
                bool(charm),
            )
    settings = yaml_nodes.below(document, 'settings')
    charm = yaml_nodes.text(document, 'charm')
    if charm and settings is not None:
        yield _Application(
            yaml_nodes.text(document, 'application') or charm,
            settings,
            _charm(charm),
            {
                name: value
                for name, node in yaml_nodes.pairs(settings)
                if (value := yaml_nodes.below(node, 'value')) is not None
            },
            ('settings',),
            # It includes defaults, but not neutron-api.
            False,
        )
    elif yaml_nodes.below(document, 'applications') is None:
        for name, node in yaml_nodes.pairs(document):
            options = dict(yaml_nodes.pairs(node))
            if _charm(name) in (_COMPUTE, _CONTROLLER) and (
                options.keys() & {_ALIAS, *_SPECS, _IN_PLACEMENT, _REPORT}
            ):
                yield _Application(
                    name, node, _charm(name), options, (name,), False
                )


def _charm(name: str) -> str:
    """Return the charm of a name or address; empty for other charms.

    ``ch:nova-compute``, ``cs:bionic/nova-compute-300``,
    ``./nova-compute_ubuntu.charm``, ``nova-compute-gpu``.
    """
    last = name.rpartition(':')[2].rpartition('/')[2]
    return next(
        (
            charm
            for charm in (_CONTROLLER, _COMPUTE, _NEUTRON)
            if last.removesuffix('.charm').startswith(charm)
        ),
        '',
    )
