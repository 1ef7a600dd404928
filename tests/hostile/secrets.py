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

"""Secrets of neighbours in files that are checked and edited.

Each attack plants a secret beside, above or within what is ours, and looks for
it in all that a command would show: findings, SARIF, diffs, patches, errors.
"""

import collections.abc
import contextlib
import json
import os
import pathlib
import random
import string
import tempfile

from gpuclient.documents import aliases
from gpuclient.documents import device_specs
from gpuclient import exceptions
from gpuclient.model import alias as alias_model
from gpuclient.model import catalogue
from gpuclient.model import description_reader
from gpuclient.model import quoting
from gpuclient.operations import config_check
from gpuclient.osc import sarif

#: Of each attack: a thousand are some seconds.
BRIEF = 1000
LONG = 40_000

_CATALOGUE = catalogue.builtin()
_ALIAS = alias_model.Alias('zz', '10de', '20f1', 'type-PF')
_ENTRY = {'address': '0000:05:00.0', 'vendor_id': '10de'}
_GOOD_ALIAS = '{"name": "a", "vendor_id": "10de", "product_id": "20f1"}'
_GOOD_SPEC = '{"address": "0000:04:00.0", "vendor_id": "10de"}'

#: A secret as it may stand on a line of nova.conf.
_LINES = (
    '[placement]\npassword = {}',
    '[placement]\npassword = {}\n[pci]',
    '[DEFAULT]\ntransport_url = rabbit://nova:{}@mq:5672,nova:{}@mq2:5672/',
    '# password = {}',
    '[keystone_authtoken]\npassword: {}',
    '[vault]\ntoken = {}\n',
    '[api_database]\nconnection = mysql+pymysql://nova:{}@db/nova_api',
    '[x]\n{} = 1',
    '[x]\nlist = a,\n  {},\n  b',
    '[barbican]\npassword = """\n  {}\n  """',
)
#: The same where it joins a value of ours, or makes the file unreadable.
_WITHIN = (
    f'[pci]\ndevice_spec = {_GOOD_SPEC}\n  password = {{}}',
    f'[pci]\nalias = {_GOOD_ALIAS}\n  {{}}',
    '[pci]\ndevice_spec = {}',
    '[pci]\nalias = {}',
    '[pci]\nalias = ["{}"]',
    '[pci]\nalias = {{"name": "a", "x{}": [}}',
    '[pci]\ndevice_spec = {{"address": "{}"}}',
    '[pci]\ndevice_spec = {{"password": "{}", "address": 1}}',
    '[pci]\ndevice_spec = ["{}"]',
    '[pci]\ndevice_spec = {{"vendor_id": "{}"}}',
    '[compute]\ncpu_dedicated_set = {}',
    '[compute]\ncpu_dedicated_set = 0-3\n  {}',
    '[compute]\ncpu_shared_set = 0-3,{}',
    '[DEFAULT]\nreserved_huge_pages = node:0,size:2048,count:{}',
    '[DEFAULT]\nreserved_huge_pages = {}',
    '[pci\npassword = {}',
    '[{}',
    '[pci]\n{}',
    '  {}\n[pci]',
    '[pci]\n[{}\n',
    '{} = x\n[pci]',
    '[pci]\nreport_in_placement = {}',
    '[filter_scheduler]\nenabled_filters = PciPassthroughFilter,{}',
    '[filter_scheduler]\npci_in_placement = True\n  {}',
    '[pci]\n{} = x',
    '[pci]\nalias.{} = x',
    '[pci]\nalias = <{}>',
    '[pci]\nalias = {{{{ {} }}}}',
    '[pci]\nalias = %{}%',
    '[pci]\nreport_in_placement = True\n[compute]\n{} = 1',
    '[devices]\nenabled_mdev_types = {}',
    '[devices]\nenabled_mdev_types = nvidia-1\n[mdev_nvidia-1]\n'
    'device_addresses = {}',
    '[compute]\nvmdk_allowed_types = {}\n[libvirt]\ncpu_mode = {}',
    '[libvirt]\nvirt_type = {}\n[pci]\ndevice_spec = {{"address": "*"}}',
    '[DEFAULT]\nreserved_host_memory_mb = {}',
    '[pci]\nalias = {{"name": "a", "traits": "{},x"}}',
    '[pci]\nalias = {{"name": "a", "numa_policy": "{}"}}',
    '[pci]\nalias = {{"name": "a", "vendor_id": "{}", "product_id": "1"}}',
    '[pci]\nalias = {{"name": "a", "device_type": "{}"}}',
    '[pci]\nalias = {{"name": "a", "{}": "b"}}',
    '[pci]\ndevice_spec = {{"address": "*:*:*.*", "{}": "b"}}',
    '[pci]\ndevice_spec = {{"address": {{"bus": "{}"}}}}',
    '[pci]\ndevice_spec = {{"address": {{"bus": "({}"}}}}',
    '[pci]\ndevice_spec = {{"address": "*", "managed": "{}"}}',
    '[pci]\ndevice_spec = {{"devname": "eth0", "address": "{}"}}',
    '[[local|localrc]]\nADMIN_PASSWORD={}\n[[post-config|$NOVA_CONF]]\n[pci]',
    '[[post-config|$NOVA_CONF]]\n[pci]\nalias = x {}\npassword={}',
)
#: In the YAML of RHOSO and OpenStack-Ansible.
_YAML = (
    'data:\n  nova:\n    pw: {}\n    pci:\n      conf: |\n        [pci]\n',
    'data:\n  nova:\n    pci:\n      conf: |\n        [pci]\n        {}\n',
    'data:\n  nova:\n    pci:\n      conf: |\n        [placement]\n'
    '        password = {}\n        [pci]\n',
    'data:\n  nova:\n    pci:\n      conf: |\n        [pci]\n    pw: {}\n',
    'data:\n  nova:\n    pci: &a {{{}: [}}\n',
    'nova_nova_conf_overrides:\n  pci:\n    alias: {}\n',
    'nova_nova_conf_overrides:\n  DEFAULT:\n    x: {}\n  pci:\n    a: 1\n',
    'kind: OpenStackDataPlaneNodeSet\nspec:\n  nodeTemplate:\n    ansible:\n'
    '      ansibleVars:\n        edpm_kernel_args: {}\n',
    'data:\n  nova:\n    pci:\n      conf: |\n        [pci]\n  x: *{}\n',
    *(
        'kind: OpenStackDataPlaneNodeSet\nmetadata: {{name: x}}\nspec:\n'
        '  services: [{}, nova]\n  nodeTemplate:\n    ansible:\n'
        f'      ansibleVars:\n        {key}: {value}\n'
        for key, value in (
            ('edpm_kernel_args', 'x vfio-pci.ids={}'),
            ('edpm_kernel_args', 'intel_iommu={} rd.iscsi.password={}'),
            ('edpm_kernel_args', 'hugepagesz={} hugepages=1'),
            ('edpm_kernel_args', 'isolcpus={}'),
            ('edpm_tuned_profile', '{}'),
            ('edpm_tuned_isolated_cores', '{}'),
            ('edpm_reboot_strategy', '{}'),
        )
    ),
    'kind: OpenStackDataPlaneService\nmetadata: {{name: nova}}\nspec:\n'
    '  edpmServiceType: {}\n  playbook: {}\n  dataSources:\n'
    '  - secretRef: {{name: {}}}\n',
    'kind: BareMetalHost\nmetadata: {{name: x}}\nspec:\n  bmc:\n'
    '    address: idrac://u:{}@x\n    credentialsName: {}\n'
    '  bootMACAddress: {}\n---\nkind: OpenStackDataPlaneNodeSet\n'
    'metadata: {{name: y}}\nspec: {{baremetalSetTemplate: {{}}}}\n',
    'nova_pci_alias: {}\nnova_x: 1\n',
    'data:\n  nova:\n    pci:\n      conf: |\n        [pci]\n  x: !{} 1\n',
    'data:\n  nova:\n    pci:\n      conf: |\n        [pci]\n  x: !!int {}\n',
)
#: In the description of a deployment: value by key, of which one is chosen.
_DESCRIBED = (
    ('name', '{}'),
    ('target', '{}'),
    ('tls_key', '{}'),
    ('password', '{}'),
    ('aliases', '{}'),
    ('hosts', '{}'),
    ('plain', '{}'),
    ('rhoso', '{}'),
    ('pci_in_placement', '{}'),
    ('compute', {'kernel_args': ['rd.iscsi.password={}']}),
    ('compute', {'kernel_args': '{}'}),
    ('compute', {'cpu': {'shared': '{}'}}),
    ('compute', {'cpu_vendor': '{}'}),
    ('rhoso', {'ansible_vars': {'x_registry_logins': {'quay.io': '{}'}}}),
    ('rhoso', {'ansible_vars': {'x': 'login --password {}'}}),
    ('rhoso', {'ansible_vars': {'x': 'curl -u admin:{} http://x'}}),
    ('rhoso', {'ansible_vars': {'proxy': 'http://u:{}@proxy:3128'}}),
    ('rhoso', {'ansible_vars': {'env': [{'name': 'PW', 'value': '{}'}]}}),
    ('rhoso', {'ansible_vars': '{}'}),
    ('rhoso', {'node_set': '{}!'}),
    ('rhoso', {'networks': '{}'}),
    ('rhoso', {'labels': '{}'}),
    ('rhoso', {'password_secret': '{}!'}),
)
_BASE = {
    'target': 'rhoso',
    'aliases': [
        {
            'name': 'a',
            'vendor_id': '10de',
            'product_id': '20f1',
            'device_type': 'type-PF',
        }
    ],
    'compute': {
        'cards': [{'alias': 'a', 'all': True}],
        'cpu_vendor': 'intel',
    },
    'hosts': [{'name': 'compute-0'}],
}


def _secret(source: random.Random) -> str:
    """Return a password, as people and programs make them."""
    # Shorter ones are taken for names where names belong.
    letters = string.ascii_letters + string.digits
    kind = source.randrange(5)
    if kind == 0:
        letters += '+/'
    elif kind == 1:
        letters += '-_'
    elif kind == 2:
        letters = 'ghijklmnopqrstuvwxyz'
    text = ''.join(source.choices(letters, k=source.randrange(24, 40)))
    # What it begins with must not make it a word of YAML.
    text = f'S{text}'
    if quoting.is_name(text):
        # One of a hundred looks like a name: five words, say.
        return _secret(source)
    return f'{text}==' if kind == 0 else text


def _planted(source: random.Random, secret: str) -> tuple[str, str]:
    """Return the name and the content of a file with a secret in it."""

    def fill(template: str) -> str:
        return template.replace('{}', secret)

    kind = source.randrange(3)
    if kind == 0:
        ours = source.choice(
            (
                f'[pci]\nalias = {_GOOD_ALIAS}',
                f'[pci]\ndevice_spec = {_GOOD_SPEC}',
                '[pci]',
                f'[pci]\nalias = {{"name": "a",\n  {_GOOD_ALIAS[14:]}',
            )
        )
        parts = [
            fill(part)
            for part in source.choices(_LINES, k=source.choice((1, 2)))
        ]
        parts.insert(source.randrange(len(parts) + 1), ours)
        if source.random() < 0.3:
            # Right below, without a section of its own.
            parts.append(fill('password = {}'))
        text = '\n'.join(parts)
        return 'nova.conf', text + source.choice(('\n', ''))
    if kind == 1:
        template = source.choice(_WITHIN)
        text = template.replace('{{', '{').replace('}}', '}')
        return 'nova.conf', text.replace('{}', secret) + '\n'
    text = source.choice(_YAML).replace('{{', '{').replace('}}', '}')
    return 'values.yaml', text.replace('{}', secret)


def _shown(path: str, source: random.Random) -> collections.abc.Iterator[str]:
    """Yield all that commands would show of a file."""
    try:
        tree = config_check.read([path])
    except exceptions.NotFound:
        # There is nothing that anybody would read.
        return
    located = config_check.check(tree, _CATALOGUE)
    yield sarif.render(located, {})
    for item in located:
        yield item.finding.message
    try:
        for document in aliases.read(path):
            if source.random() < 0.7:
                aliases.add(document, _ALIAS)
            if source.random() < 0.5:
                aliases.change(document, 'a', {'numa_policy': 'socket'})
            if source.random() < 0.3:
                aliases.remove(document, 'a')
            yield document.file.diff()
            for file in document.file.files:
                file.check_possible()
        for specs in device_specs.read(path):
            device_specs.add(specs, _ENTRY)
            yield specs.file.diff()
            for file in specs.file.files:
                file.check_possible()
    except exceptions.GPUError as exc:
        yield str(exc)
        if isinstance(exc, exceptions.UnsafeEdit):
            yield exc.patch


def _described(
    source: random.Random, secret: str
) -> collections.abc.Iterator[str]:
    """Yield what is said of a description with a secret in it."""
    key, value = source.choice(_DESCRIBED)
    data = json.loads(json.dumps(_BASE))
    filled = json.loads(json.dumps(value).replace('{}', secret))
    if isinstance(filled, dict) and isinstance(data.get(key), dict):
        data[key].update(filled)
    else:
        data[key] = filled
    try:
        description_reader.parse(data, _CATALOGUE)
    except exceptions.GPUError as exc:
        yield str(exc)
        return
    # What is a name may be any word.
    if key != 'name':
        raise AssertionError(f'{key}: {value!r} was accepted')


def attack(source: random.Random) -> str:
    """Plant a secret, and look for it."""
    secret = _secret(source)
    if source.random() < 0.2:
        texts, kind = list(_described(source, secret)), 'descriptions'
    else:
        with tempfile.TemporaryDirectory() as folder:
            name, content = _planted(source, secret)
            path = pathlib.Path(folder, name)
            path.write_text(content)
            texts, kind = list(_shown(os.fspath(path), source)), name
    for text in texts:
        if secret.rstrip('=') in text:
            raise AssertionError(f'{secret!r} is shown: {text}')
    return kind


@contextlib.contextmanager
def attacker() -> collections.abc.Iterator[
    collections.abc.Callable[[random.Random], str]
]:
    yield attack
