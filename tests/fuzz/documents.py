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

"""Random documents: mutated ones of every kind, and ones made of a grammar.

Each is made of a seed and its number alone, so that it can be made again.
"""

import json
import random

ALIAS = (
    '{"vendor_id": "10de", "product_id": "20f1", "device_type": "type-PF", '
    '"name": "gpu"}'
)
SPEC = '{"vendor_id": "10de", "product_id": "20f1", "address": "0000:04:00.0"}'
_CONF = (
    '[DEFAULT]\ndebug = True\n# a comment\n[filter_scheduler]\n'
    'pci_in_placement = True\nenabled_filters = A,PciPassthroughFilter\n\n'
    f'[pci]\nreport_in_placement = True\nalias = {ALIAS}\n'
    f'device_spec = {SPEC}\ndevice_spec = [{SPEC},\n  {SPEC}]\n[libvirt]\n'
    'cpu_mode = host-model\n'
)
_TEMPLATE = (
    '{% if a %}\n[libvirt]\ncpu_mode = {{ mode }}\n{% endif %}\n'
    f'{{# note #}}\n[pci]\n{{% raw %}}\nalias = {ALIAS}\n{{% endraw %}}\n'
    f'device_spec = {SPEC}\n'
)
_CONTROL_PLANE = (
    'apiVersion: core.openstack.org/v1beta1\nkind: OpenStackControlPlane\n'
    'spec:\n  nova:\n    template:\n      apiServiceTemplate:\n'
    '        customServiceConfig: |\n          [pci]\n'
    f'          alias = {ALIAS}\n      cellTemplates:\n        cell1:\n'
    '          conductorServiceTemplate:\n            customServiceConfig: |\n'
    '              [filter_scheduler]\n'
    '              pci_in_placement = True\n'
)
_NODESET = (
    'apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: edpm-nodeset-values\n'
    'data:\n  nodeset:\n    ansible:\n      ansibleVars:\n'
    '        edpm_kernel_args: "iommu=pt vfio-pci.ids=10de:20f1"\n'
    '    services: [bootstrap, nova-custom-gpu]\n  nova:\n    compute:\n'
    '      conf: |\n        [compute]\n        cpu_shared_set = 0-3\n'
    f'    pci:\n      conf: |\n        [pci]\n        device_spec = {SPEC}\n'
)
_LIST = (
    'apiVersion: v1\nitems:\n- apiVersion: v1\n  data:\n'
    f'    03-gpu-nova.conf: |\n      [pci]\n      device_spec = {SPEC}\n'
    '  kind: ConfigMap\n  metadata: {name: gpu-nova}\n'
    '- kind: OpenStackDataPlaneService\n  metadata: {name: nova-custom-gpu}\n'
    '  spec:\n    dataSources:\n    - configMapRef: {name: gpu-nova}\n'
    'kind: List\n'
)
_VARIABLES = (
    f"nova_pci_alias:\n- '{ALIAS}'\nnova_device_spec: [{SPEC}]\n"
    'nova_scheduler_extra_filters: [PciPassthroughFilter]\n'
    'nova_nova_conf_overrides:\n  pci:\n    report_in_placement: true\n'
    f"    alias:\n      ? '{ALIAS}'\n  DEFAULT: {{debug: true, a: [b, c]}}\n"
)
_ESCAPED = ALIAS.replace('"', '\\\\"')
_LOCAL_CONF = (
    '[[local|localrc]]\nHOST_IP=127.0.0.1\n[[post-config|$NOVA_CONF]]\n'
    f'[pci]\nalias = {_ESCAPED}\n[[post-config|$NOVA_CPU_CONF]]\n[pci]\n'
    f"device_spec = '{SPEC}'\n"
)
_VALUES = (
    'conf:\n  nova:\n    filter_scheduler:\n'
    '      enabled_filters: [ComputeFilter, PciPassthroughFilter]\n    pci:\n'
    '      alias:\n        type: multistring\n        values:\n'
    f"          - '{ALIAS}'\n      device_spec: |\n        {SPEC}\n"
    '  overrides:\n    nova_compute:\n      hosts:\n      - name: a\n'
    f"        conf: {{nova: {{pci: {{device_spec: '[{SPEC}]'}}}}}}\n"
)
_ENVIRONMENT = (
    'parameter_defaults:\n  NovaSchedulerEnabledFilters: [A, B]\n'
    f'  ControllerExtraConfig:\n    nova::pci::aliases: [{ALIAS}]\n'
    f'  ComputeGpuParameters:\n    NovaPCIPassthrough:\n    - {SPEC}\n'
    f"nova::pci::aliases: '[{ALIAS}]'\n"
)
_BUNDLE = (
    'applications:\n  nova-compute:\n    charm: ch:nova-compute\n'
    f"    options:\n      pci-alias: '[{ALIAS}]'\n"
    f"      pci-passthrough-whitelist: '{SPEC}'\n"
    '  nova-cloud-controller:\n    charm: ch:nova-cloud-controller\n'
    f"    options: {{pci-alias: '{ALIAS}'}}\n"
    '---\ncore:\n  config:\n    pci:\n'
    f'      device_specs: [{SPEC}]\n      aliases: [{ALIAS}]\n'
)
_ANSWERS = (
    '[general]\nCONFIG_COMPUTE_HOSTS=192.0.2.1,192.0.2.2\n'
    f'CONFIG_NOVA_PCI_ALIAS=[{ALIAS}]\n'
    f'CONFIG_NOVA_PCI_PASSTHROUGH_WHITELIST=[{SPEC}]\n'
)
#: Valid ones, and whether they are YAML.
DOCUMENTS = (
    *((text, False) for text in (_CONF, _TEMPLATE, _LOCAL_CONF, _ANSWERS)),
    *((text, True) for text in (_CONTROL_PLANE, _NODESET, _LIST, _VARIABLES)),
    *((text, True) for text in (_VALUES, _ENVIRONMENT, _BUNDLE)),
)
_PIECES = (
    *('[pci]\n', '[[post-config|$NOVA_CONF]]\n', '[PCI]\n', '[]\n', '[x\n'),
    *(f'alias = {ALIAS}\n', f'device_spec = {SPEC}\n', 'alias = \n'),
    *('alias', ' = ', ': ', ':', '=', '\n', '\r\n', '\r', '\t', ' ', '  '),
    *('{{ a }}', '{{', '}}', '{% if a %}', '{% endif %}', '{% raw %}'),
    *('{% endraw %}', '{#', '#}', '#', ';', '"', "'", '\\', '$', '`', '%'),
    *('|', '|-', '|+', '|2', '>', '>-', '- ', '? ', '---\n', '...\n'),
    *('&a ', '*a', '!!python/object:os.system ', '!!binary ', '!!set '),
    *('nova:\n', '  pci:\n', '    conf: |\n', 'kind: ConfigMap\n', 'data:\n'),
    *('  x.conf: |\n    [pci]\n', 'kind: List\n', 'items:\n'),
    *('apiServiceTemplate:\n', 'customServiceConfig: |\n'),
    *('nova_pci_alias: ', 'nova_nova_conf_overrides:\n', 'ansibleVars:\n'),
    *('edpm_kernel_args: ', 'bmhLabelSelector:\n', 'bootMACAddress: '),
    *('pci_in_placement = True\n', 'cpu_dedicated_set = 2-\n', '0-9999999999'),
    *('\x00', '\ufeff', '\u2028', '\x85', '\udc80', '\U0001f600', '\x1b[2J'),
    *('{}', '[]', '{', '}', '[', ']', ',', 'null', 'true', '1e999', '.nan'),
    *('*:04:00.*', '0000:04:00.0', '{"bus": ".*"}', '{"bus": "("}', '10DE'),
)


def make(seed: int, number: int) -> tuple[bytes, bool]:
    """Return a document, and whether it is to be read as YAML."""
    source = random.Random(f'{seed}/{number}')
    text, is_yaml = source.choice(DOCUMENTS)
    kind = source.random()
    if kind < 0.1:
        text = ''.join(source.choices(_PIECES, k=source.randrange(30)))
    elif kind < 0.15:
        return source.randbytes(source.randrange(80)), is_yaml
    elif kind < 0.25:
        text = _with_value(source, text)
    for _time in range(source.randrange(1, 4)):
        text = _mutated(source, text)
    return text.encode('utf-8', 'surrogateescape'), (
        is_yaml if source.random() < 0.97 else not is_yaml
    )


def _mutated(source: random.Random, text: str) -> str:
    start = source.randrange(len(text) + 1)
    end = min(len(text), start + source.randrange(1, 12))
    choice = source.randrange(9)
    if choice == 0:
        return text[:start] + text[end:]
    if choice == 1:
        return text[:start] + source.choice(_PIECES) + text[start:]
    if choice == 2:
        return text[:start] + source.choice(_PIECES) + text[end:]
    if choice == 3:
        return text[:end] + text[start:]
    if choice == 4:
        return text[:start]
    if choice == 5:
        return text[:start] + chr(source.randrange(0x2100)) + text[end:]
    lines = text.splitlines(keepends=True)
    if choice == 6 and len(lines) > 1:
        first, second = source.sample(range(len(lines)), 2)
        lines[first], lines[second] = lines[second], lines[first]
        return ''.join(lines)
    if choice == 7 and lines:
        number = source.randrange(len(lines))
        lines[number] = ' ' * source.randrange(5) + lines[number].lstrip(' ')
        return ''.join(lines)
    other, _is_yaml = source.choice(DOCUMENTS)
    return text[:start] + other[source.randrange(len(other)) :]


def _with_value(source: random.Random, text: str) -> str:
    """Put a random JSON value where a valid one is."""
    value = json.dumps(_value(source, 0), ensure_ascii=source.random() < 0.5)
    return text.replace(source.choice((ALIAS, SPEC)), value)


def _value(source: random.Random, depth: int) -> object:
    choice = source.randrange(7 if depth < 3 else 5)
    if choice == 5:
        return [
            _value(source, depth + 1) for _one in range(source.randrange(4))
        ]
    if choice == 6:
        keys = ('name', 'vendor_id', 'product_id', 'address', 'traits', 'bus')
        return {
            source.choice(keys): _value(source, depth + 1)
            for _one in range(source.randrange(5))
        }
    return (
        *(None, source.random() < 0.5, source.randrange(-9, 99999)),
        *(source.choice(_PIECES), source.choice(('10de', '20f1', 'a'))),
    )[choice]
