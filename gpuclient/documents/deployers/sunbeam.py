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

"""Manifests of Sunbeam, Canonical's OpenStack in snaps.

``core.config.pci`` has ``device_specs`` and ``aliases``: lists of mappings,
each of which becomes a line of JSON. The aliases are set for nova-api and,
through a relation, on the hypervisors (``snap-openstack``:
``steps/openstack.py``, ``sunbeam-charms``: ``charms/nova-k8s``,
``snap-openstack-hypervisor``: ``templates/nova.conf.j2``).
Devices are always tracked in Placement, and the
scheduler has the filters that they need.
"""

import collections.abc

import yaml

from gpuclient.documents.deployers import hiera
from gpuclient.documents.deployers import yaml_settings
from gpuclient.documents import derived_conf
from gpuclient.documents import editable
from gpuclient.documents import yaml_nodes
from gpuclient.model import configuration

_PCI = ('core', 'config', 'pci')
#: ``charms/nova-k8s/src/templates/nova.conf.j2``
_FILTERS = (
    *('ComputeFilter', 'ComputeCapabilitiesFilter', 'ImagePropertiesFilter'),
    *('ServerGroupAntiAffinityFilter', 'ServerGroupAffinityFilter'),
    *('PciPassthroughFilter', 'NUMATopologyFilter'),
)


def is_manifest(content: bytes) -> bool:
    """Return whether a file may be a manifest with PCI devices."""
    return yaml_settings.has(content, r'^core:', r'^\s+pci:')


class ManifestFile(yaml_settings.SettingsFile):
    """A manifest.

    :raises gpuclient.exceptions.DocumentError: See
        :class:`gpuclient.documents.deployers.yaml_settings.SettingsFile`.
    """

    tool = 'Sunbeam'

    def read_settings(
        self, documents: list[yaml.Node]
    ) -> collections.abc.Iterator[editable.Reading]:
        for document in documents:
            pci = yaml_nodes.below(document, *_PCI)
            if not isinstance(pci, yaml.MappingNode):
                continue
            line = yaml_nodes.line(pci)
            aliases = list(self._entries(pci, 'aliases', 'alias'))
            control = derived_conf.DerivedConf(
                self.path,
                [
                    *aliases,
                    yaml_settings.option(
                        'filter_scheduler',
                        'enabled_filters',
                        ','.join(_FILTERS),
                        line,
                    ),
                    yaml_settings.option(
                        'filter_scheduler', 'pci_in_placement', 'True', line
                    ),
                ],
            )
            compute = derived_conf.DerivedConf(
                self.path,
                [
                    yaml_settings.option(
                        'pci', 'report_in_placement', 'True', line
                    ),
                    *self._entries(pci, 'device_specs', 'device_spec'),
                    *aliases,
                ],
            )
            for service in hiera.CONTROL:
                yield editable.Reading(service, (control,), line=line)
            yield editable.Reading(
                configuration.COMPUTE, (compute,), line=line
            )

    def _entries(
        self, pci: yaml.Node, key: str, option: str
    ) -> collections.abc.Iterator[derived_conf.Option]:
        node = yaml_nodes.below(pci, key)
        if node is None or yaml_nodes.is_null(node):
            return
        texts = yaml_settings.json_texts(self.path, node)
        lines = yaml_nodes.item_lines(node, len(texts))
        for text, line in zip(texts, lines, strict=True):
            yield yaml_settings.option('pci', option, text, line)

    def path_of(
        self, conf: derived_conf.DerivedConf, section: str, option: str
    ) -> tuple[tuple[str, ...], bool]:
        key = 'aliases' if option == 'alias' else 'device_specs'
        return (*_PCI, key), True
