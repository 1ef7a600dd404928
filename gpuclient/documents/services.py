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

"""Which service reads what of a file."""

import collections.abc
import dataclasses
import typing

from gpuclient.documents import nova_conf
from gpuclient.documents import rhoso
from gpuclient import exceptions
from gpuclient.i18n import _

API = rhoso.API
COMPUTE = rhoso.COMPUTE

_YAML = ('.yaml', '.yml')

ConfigurationFile: typing.TypeAlias = nova_conf.NovaConf | rhoso.YamlFile


@dataclasses.dataclass(frozen=True)
class Defined:
    """Where something is defined."""

    #: The value that it is, or is part of.
    value: nova_conf.Value
    conf: nova_conf.NovaConf
    path: str

    @property
    def text(self) -> str:
        """As the file has it."""
        return self.value.text

    @property
    def line(self) -> int:
        return self.value.line

    @property
    def where(self) -> str:
        return f'{self.path}, line {self.line}'


@dataclasses.dataclass(frozen=True)
class ServiceConfiguration:
    """What a service reads of a file."""

    #: The file that it is, or is part of.
    file: ConfigurationFile
    #: All that the service reads of this file, in order.
    confs: tuple[nova_conf.NovaConf, ...]
    #: The service that reads it; None where the file does not say.
    service: str | None
    #: Its file, and the place in it.
    where: str

    @property
    def path(self) -> str:
        return self.file.path

    @property
    def changed(self) -> bool:
        """Whether there is anything to write."""
        return any(conf.changed for conf in self.confs)

    def values(
        self, *names: tuple[str, str]
    ) -> collections.abc.Iterator[tuple[nova_conf.NovaConf, nova_conf.Value]]:
        """Yield the values of an option, with what they stand in."""
        for conf in self.confs:
            for value in conf.values(*names):
                yield conf, value

    def boolean(self, *names: tuple[str, str]) -> bool | None:
        """Return what a boolean option is set to; the last value counts."""
        return nova_conf.boolean(
            [value.text for _conf, value in self.values(*names)]
        )

    def best(self, *names: tuple[str, str]) -> nova_conf.NovaConf:
        """Return where a new value of an option belongs."""
        for conf, _value in self.values(*names):
            return conf
        for conf in self.confs:
            if conf.has_section(names[0][0]):
                return conf
        return self.confs[0]


def read(path: str) -> tuple[ServiceConfiguration, ...]:
    """Read a file: what it has of nova-api and nova-compute.

    A plain nova.conf is one configuration; YAML has one for each service.

    :raises gpuclient.exceptions.DocumentError: The file cannot be read, or
        has no such configuration.
    """
    if not path.endswith(_YAML):
        conf = nova_conf.NovaConf.read(path)
        return (ServiceConfiguration(conf, (conf,), None, path),)
    file = rhoso.YamlFile.read(path)
    found = tuple(
        ServiceConfiguration(
            file,
            tuple(part.conf for part in parts),
            service,
            f'{path}, {parts[0].keys}',
        )
        for service, parts in file.services()
        if service in (API, COMPUTE)
    )
    if not found:
        raise exceptions.DocumentError(
            _(
                '%(path)s has no configuration of nova-api '
                '(nova.apiServiceTemplate.customServiceConfig) or of '
                'nova-compute (nova.pci.conf, nova.compute.conf, or a '
                'ConfigMap with a .conf key)'
            )
            % {'path': path}
        )
    return found
