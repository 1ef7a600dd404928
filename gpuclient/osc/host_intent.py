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

"""What hosts are meant for, from options and configuration."""

import argparse
import collections.abc

from gpuclient.documents import services
from gpuclient.documents import tree
from gpuclient import exceptions
from gpuclient.i18n import _
from gpuclient.model import alias as alias_model
from gpuclient.model import configuration
from gpuclient.model import cpu
from gpuclient.model import deployment
from gpuclient.model import pci
from gpuclient.rules import host_view


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which devices are for guests."""
    parser.add_argument(
        '--alias',
        metavar='<name>',
        dest='aliases',
        action='append',
        default=[],
        help=_(
            'Alias of the configuration whose devices are for guests '
            '(repeat for several)'
        ),
    )
    parser.add_argument(
        '--config',
        metavar='<path>',
        dest='files',
        action='append',
        default=[],
        help=_(
            'File or folder of configuration of Nova, for device specs, '
            'aliases, CPU sets and reserved memory (repeat for several)'
        ),
    )


def read(
    parsed_args: argparse.Namespace, addresses: frozenset[pci.Address]
) -> host_view.Intent:
    """Return what the options say.

    :param addresses: The devices that are named.
    :raises gpuclient.exceptions.GPUError: The configuration cannot be read,
        or has no such alias.
    """
    found = tree.read(parsed_args.files)
    for path, reason in found.unreadable:
        raise exceptions.DocumentError(
            _('%(path)s cannot be read: %(reason)s')
            % {'path': path, 'reason': reason}
        )
    for path, name in found.unread:
        raise exceptions.DocumentError(services.not_read(path, name))
    if parsed_args.files and not found.deployment.processes:
        raise exceptions.NotFound(
            _('There is no configuration of Nova in %(paths)s')
            % {'paths': ', '.join(parsed_args.files)}
        )
    aliases = _aliases(found.deployment.processes)
    wanted = parsed_args.aliases
    for name in wanted:
        if name not in {alias.name for alias in aliases}:
            raise exceptions.NotFound(
                _('No file given with --config defines an alias %(name)r')
                % {'name': name}
            )
    computes = [
        service
        for service in found.deployment.processes
        if service.is_read_by(configuration.COMPUTE)
    ]
    specs = tuple(
        dict.fromkeys(
            setting.text
            for service in computes
            for setting in service.device_specs
        )
    )
    memory = _last(computes, 'DEFAULT', 'reserved_host_memory_mb')
    return host_view.Intent(
        addresses=addresses or None,
        device_specs=specs,
        report_in_placement=(
            any(service.report_in_placement for service in computes)
            if computes
            else None
        ),
        of_compute=bool(specs)
        or any(
            service.readers == (configuration.COMPUTE,) for service in computes
        ),
        aliases=tuple(
            alias for alias in aliases if not wanted or alias.name in wanted
        ),
        only_aliases=bool(wanted),
        dedicated_cpus=_cpus(computes, 'cpu_dedicated_set'),
        shared_cpus=_cpus(computes, 'cpu_shared_set'),
        reserved_pages=tuple(
            cpu.parse_reserved(text)
            for text in _values(computes, 'DEFAULT', 'reserved_huge_pages')
        ),
        reserved_memory_mb=(
            int(memory) if memory is not None and memory.isdecimal() else None
        ),
    )


def _aliases(
    services: collections.abc.Iterable[deployment.Process],
) -> tuple[alias_model.Alias, ...]:
    found: dict[alias_model.Alias, None] = {}
    for service in services:
        for setting in service.aliases:
            try:
                found.setdefault(alias_model.parse(setting.text))
            except exceptions.InvalidAlias as exc:
                raise exceptions.InvalidAlias(
                    f'{setting.place}: {exc}'
                ) from exc
    return tuple(found)


def _values(
    services: collections.abc.Iterable[deployment.Process],
    section: str,
    name: str,
) -> list[str]:
    return [
        option.setting.text
        for service in services
        for option in service.options
        if (option.section, option.name) == (section, name)
    ]


def _last(
    services: collections.abc.Iterable[deployment.Process],
    section: str,
    name: str,
) -> str | None:
    values = _values(services, section, name)
    return values[-1] if values else None


def _cpus(
    services: collections.abc.Iterable[deployment.Process], name: str
) -> frozenset[int] | None:
    text = _last(services, 'compute', name)
    return None if text is None else cpu.parse_option(name, text)
