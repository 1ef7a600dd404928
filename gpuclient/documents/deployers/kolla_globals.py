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

"""Variables of Kolla-Ansible: ``globals.yml``, ``globals.d``.

``nova_pci_passthrough_whitelist`` becomes a line of JSON in the nova.conf of
nova-compute, below the layers of the custom configuration (``kolla-ansible``:
``roles/nova-cell/templates/nova.conf.j2``). OpenStack-Ansible has a variable
of the same name.
"""

import collections.abc
import json
import os

import yaml

from gpuclient.documents.deployers import yaml_settings
from gpuclient.documents import derived_conf
from gpuclient.documents import editable
from gpuclient.documents import yaml_nodes
from gpuclient.model import configuration

_WHITELIST = 'nova_pci_passthrough_whitelist'


def is_globals(path: str, content: bytes) -> bool:
    """Return whether a file has the variable and a name of Kolla."""
    folder, name = os.path.split(path)
    return (
        name in ('globals.yml', 'globals.yaml')
        or os.path.basename(folder) == 'globals.d'
    ) and yaml_settings.has(content, rf'^{_WHITELIST}[ \t]*:')


class GlobalsFile(yaml_settings.SettingsFile):
    """A file of variables.

    :raises gpuclient.exceptions.DocumentError: See
        :class:`gpuclient.documents.deployers.yaml_settings.SettingsFile`.
    """

    tool = 'Kolla-Ansible'

    def read_settings(
        self, documents: list[yaml.Node]
    ) -> collections.abc.Iterator[editable.Reading]:
        for document in documents:
            node = yaml_nodes.below(document, _WHITELIST)
            if node is None or yaml_nodes.is_null(node):
                continue
            specs = yaml_nodes.data(self.path, node)
            if not specs:
                continue
            # A string is a template.
            text = specs if isinstance(specs, str) else json.dumps(specs)
            line = yaml_nodes.line(node)
            option = yaml_settings.option(
                'pci',
                'passthrough_whitelist',
                text,
                line,
                depends='{{' in text,
            )
            yield editable.Reading(
                configuration.COMPUTE,
                (derived_conf.DerivedConf(self.path, [option]),),
                line=line,
            )

    def path_of(
        self, conf: derived_conf.DerivedConf, section: str, option: str
    ) -> tuple[tuple[str, ...], bool]:
        return (_WHITELIST,), True
