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

"""Which devices and CPUs of hosts are for guests."""

import collections.abc
import dataclasses

from gpuclient.documents import services
from gpuclient.documents import tree
from gpuclient import exceptions
from gpuclient.model import alias as alias_model
from gpuclient.model import configuration
from gpuclient.model import cpu
from gpuclient.model import deployment
from gpuclient.model import pci
from gpuclient.model import release as release_model
from gpuclient.rules import passthrough_view


class Intents:
    """Which devices and CPUs of hosts are for guests.

    :param addresses: Devices for guests.
    :param aliases: Names of aliases whose devices are for guests.
    :param files: Files and folders of configuration.
    :param declared: Files and folders with the services that read them.
    :param release: The release of Nova that reads them; the newest by default.
    :raises gpuclient.exceptions.GPUError: The configuration cannot be read,
        or does not define an alias.
    """

    def __init__(
        self,
        addresses: frozenset[pci.Address],
        aliases: collections.abc.Collection[str] = (),
        files: collections.abc.Sequence[str] = (),
        declared: collections.abc.Sequence[tree.Declared] = (),
        release: release_model.Release | None = None,
    ) -> None:
        self._release = release or release_model.newest()
        self._addresses = addresses
        self._names = aliases
        configuration_tree = tree.read(files, declared)
        for file in configuration_tree.unreadable:
            raise exceptions.DocumentError(tree.unreadable_message(file))
        for path, name in configuration_tree.unread:
            raise exceptions.DocumentError(services.not_read(path, name))
        self._deployment = configuration_tree.deployment
        paths = [*files, *(path.path for path in declared)]
        if paths and not self._deployment.processes:
            raise exceptions.NotFound(tree.no_configuration(paths))
        defined = {
            alias.name
            for alias in _aliases(self._deployment.processes, self._release)
        }
        for name in self._names:
            if name not in defined:
                raise exceptions.NotFound(
                    f'No file passed with --config defines alias {name!r}'
                )

    def of(self, host: str) -> passthrough_view.Intent:
        """Return what is for guests on a host.

        :raises gpuclient.exceptions.GPUError: Its nova-compute cannot be
            identified, or a value is invalid.
        """
        computes = self._deployment.computes_on(host)
        intents = {self._intent(compute): compute for compute in computes}
        if len(intents) > 1:
            raise exceptions.InvalidValue(
                f'Cannot tell which configuration nova-compute on {host} '
                f'reads: '
                + ', '.join(str(compute.place) for compute in intents.values())
                + f' differ. Pass it as --as nova-compute@{host}=PATH'
            )
        if not computes and self._deployment.of_kind(configuration.COMPUTE):
            raise exceptions.NotFound(
                f'The files have no configuration of nova-compute on {host}. '
                f'Pass it as --as nova-compute@{host}=PATH'
            )
        return next(iter(intents), None) or self._intent(None)

    def _intent(
        self, compute: deployment.Process | None
    ) -> passthrough_view.Intent:
        """Return what is for guests on the host of a nova-compute."""
        aliases = tuple(
            alias
            for alias in _aliases(
                (
                    process
                    for process in self._deployment.processes
                    if process is compute or process.is_control_plane
                ),
                self._release,
            )
            if not self._names or alias.name in self._names
        )
        intent = passthrough_view.Intent(
            addresses=self._addresses or None,
            aliases=aliases,
            only_aliases=bool(self._names),
            release=self._release,
        )
        if compute is None:
            return intent
        specs = tuple(
            dict.fromkeys(
                setting.text
                for setting in compute.device_specs
                if setting.is_known
            )
        )
        memory = _known(compute.last('DEFAULT', 'reserved_host_memory_mb'))
        return dataclasses.replace(
            intent,
            device_specs=specs,
            report_in_placement=None
            if compute.is_open('pci', 'report_in_placement')
            else bool(compute.report_in_placement),
            of_compute=bool(specs)
            or (
                compute.readers == (configuration.COMPUTE,)
                and len(specs) == len(compute.device_specs)
            ),
            dedicated_cpus=_cpus(compute, 'cpu_dedicated_set'),
            shared_cpus=_cpus(compute, 'cpu_shared_set'),
            reserved_pages=tuple(
                cpu.parse_reserved(setting.text)
                for setting in compute.values('DEFAULT', 'reserved_huge_pages')
                if setting.is_known
            ),
            reserved_memory_mb=(
                int(memory)
                if memory is not None and memory.isdecimal()
                else None
            ),
        )


def _aliases(
    processes: collections.abc.Iterable[deployment.Process],
    release: release_model.Release,
) -> tuple[alias_model.Alias, ...]:
    """Return the aliases without those that a template renders."""
    aliases: dict[alias_model.Alias, None] = {}
    for process in processes:
        for setting in process.aliases:
            if not setting.is_known:
                continue
            try:
                aliases.setdefault(alias_model.parse(setting.text, release))
            except exceptions.InvalidAlias as exc:
                raise exceptions.InvalidAlias(
                    f'{setting.place}: {exc}'
                ) from exc
    return tuple(aliases)


def _known(setting: configuration.Setting | None) -> str | None:
    """Return a value; None if it is unset, or rendered by a template."""
    return setting.text if setting is not None and setting.is_known else None


def _cpus(compute: deployment.Process, name: str) -> frozenset[int] | None:
    text = _known(compute.last('compute', name))
    return None if text is None else cpu.parse_option(name, text)
