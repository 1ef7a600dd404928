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

"""Answer files of packstack.

``CONFIG_NOVA_PCI_ALIAS`` and ``CONFIG_NOVA_PCI_PASSTHROUGH_WHITELIST`` are
lists in JSON; each item becomes a line of nova.conf
(``packstack``: ``packstack/puppet/modules/packstack/manifests/nova/api.pp``,
``compute.pp``; ``puppet-nova``: ``manifests/pci.pp``). The aliases are set on
the host of nova-api: a compute has them only if it is the same host.

No answer sets the filters of nova-scheduler (``sched.pp`` in the same folder).
Since 24 (Xena) packstack uses Nova's default. 22 and 23 set six filters, among
them AvailabilityZoneFilter, and earlier releases also others such as
RetryFilter. None of these lists has PciPassthroughFilter.
"""

import collections.abc
import json
import re

from gpuclient.documents.deployers import hiera
from gpuclient.documents.deployers import yaml_settings
from gpuclient.documents import derived_conf
from gpuclient.documents import editable
from gpuclient.files import atomic
from gpuclient.model import configuration

_ALIAS = 'CONFIG_NOVA_PCI_ALIAS'
_WHITELIST = 'CONFIG_NOVA_PCI_PASSTHROUGH_WHITELIST'
_CONTROLLER = 'CONFIG_CONTROLLER_HOST'
_COMPUTES = 'CONFIG_COMPUTE_HOSTS'
_LINE = re.compile(r'(CONFIG_[A-Z0-9_]+)[ \t]*=[ \t]*(.*)')


def is_answers(content: bytes) -> bool:
    """Return whether a file is an answer file with PCI devices."""
    pattern = rf'^({_ALIAS}|{_WHITELIST})[ \t]*='.encode()
    return re.search(pattern, content, re.M) is not None


class AnswersFile(derived_conf.DerivedFile):
    """An answer file.

    :raises gpuclient.exceptions.DocumentError: It cannot be read.
    """

    tool = 'packstack'

    def __init__(self, path: str, content: bytes) -> None:
        super().__init__(path, content)
        answers: dict[str, tuple[str, int]] = {}
        for number, line in enumerate(
            atomic.decode(path, content).split('\n'), 1
        ):
            answer = _LINE.match(line.strip())
            if answer is not None:
                answers[answer[1]] = answer[2].strip(), number
        self._alias = derived_conf.DerivedConf(
            path, _options(answers, _ALIAS, 'alias')
        )
        self._specs = derived_conf.DerivedConf(
            path, _options(answers, _WHITELIST, 'device_spec')
        )
        controller = answers.get(_CONTROLLER, ('', 0))[0]
        computes = answers.get(_COMPUTES, (controller, 0))[0]
        hosts = {host.strip() for host in computes.split(',')}
        self._is_all_in_one = hosts == {controller}
        self._controller_is_compute = controller in hosts

    @property
    def confs(self) -> collections.abc.Iterable[derived_conf.DerivedConf]:
        return self._alias, self._specs

    def readings(self) -> collections.abc.Iterator[editable.Reading]:
        if self._is_all_in_one:
            yield editable.Reading(None, (self._alias, self._specs))
            return
        for service in hiera.CONTROL:
            yield editable.Reading(service, (self._alias,))
        if self._controller_is_compute:
            yield editable.Reading(
                configuration.COMPUTE, (self._alias, self._specs)
            )
        yield editable.Reading(configuration.COMPUTE, (self._specs,))

    def write_edit(
        self, _conf: derived_conf.DerivedConf, edit: derived_conf.Edit
    ) -> str:
        mark, _section, option, text = edit
        name = _ALIAS if option == 'alias' else _WHITELIST
        return f'{mark}{name}=[..., {text}]\n'


def _options(
    answers: dict[str, tuple[str, int]], name: str, option: str
) -> collections.abc.Iterator[derived_conf.Option]:
    text, line = answers.get(name, ('', 0))
    if not text:
        return
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError):
        # Puppet fails, too.
        entries = [text]
    for part in entries if isinstance(entries, list) else [entries]:
        yield yaml_settings.option(
            'pci',
            option,
            part
            if isinstance(part, str)
            else json.dumps(part, separators=(',', ':')),
            line,
        )
