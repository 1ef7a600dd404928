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

"""Recognize unsupported formats with settings of PCI devices."""

import re

#: A pattern of lines in the file, and the name of the format.
_FORMATS = (
    (
        r'^[ \t]*nova_pci_alias(es)?[ \t]*:[ \t]*(\[\{|$)',
        'variables of Ansible that are not those of OpenStack-Ansible',
    ),
    (
        r'^[ \t]*(stackhpc_gpu_data|gpu_group_map)[ \t]*:',
        'variables of the StackHPC Kayobe configuration',
    ),
    (
        r'^(extra_heat_params|standalone_extra_config)[ \t]*:',
        'variables of dev-install',
    ),
    (
        r'^nova:[ \t]*\n[ \t]+(controller|compute):[ \t]*$(?s:.*)'
        r'^[ \t]+pci:[ \t]*$',
        'a pillar of Salt',
    ),
    (
        r'^[ \t]+values:[ \t]*[|>](?s:.*)^[ \t]+(alias|device_spec)[ \t]*[:=]',
        'values of Helm in a string',
    ),
    (
        r'^kind:[ \t]*Secret[ \t]*$(?s:.*)^[ \t]+nova(-compute)?\.conf:',
        'a Secret of Kubernetes',
    ),
)
#: Bytes of a file that are searched.
_MOST = 100_000
_MARKS = re.compile(
    r'(?<![a-z])(pci[_-]?alias(es)?|pci[_-]passthrough([_-]whitelist)?|'
    r'passthrough[_-]whitelist|device[_-]specs?|NovaPCIPassthrough|'
    r'pci_in_placement|report_in_placement)(?![a-z])',
    re.IGNORECASE,
)


def mentions_devices(content: bytes) -> bool:
    """Return whether a file has the name of a setting of PCI devices."""
    text = content[:_MOST].decode(errors='replace')
    return _MARKS.search(text) is not None


def name_of(content: bytes, *, named: bool) -> str:
    """Return the name of an unsupported format; empty if it has no devices.

    :param named: The user named the file: report an unknown format, too.
    """
    text = content[:_MOST].decode(errors='replace')
    for pattern, name in _FORMATS:
        if re.search(pattern, text, re.M) is not None:
            return name
    known = named and _MARKS.search(text) is not None
    return 'YAML of an unknown tool' if known else ''
