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

"""Rules about the aliases of nova-api and those of the computes."""

import collections.abc

from gpuclient.model import configuration
from gpuclient.model import deployment
from gpuclient.rules import alias as alias_rules
from gpuclient.rules import device_spec as device_spec_rules
from gpuclient.rules import finding
from gpuclient.rules import alias_matching as matching


def check(
    aliases: list[alias_rules.AliasEntry],
    services: collections.abc.Sequence[deployment.Process],
) -> collections.abc.Iterator[finding.Located]:
    """Compare the aliases of nova-api with those of the computes.

    nova-api uses them to boot servers, nova-compute to move servers
    (``nova/compute/resource_tracker.py:ResourceTracker._move_claim``).
    """
    if not all(
        any(service.is_read_by(name) for service in services)
        for name in (configuration.API, configuration.COMPUTE)
    ):
        # The configuration of one side is not there.
        return
    of_api, of_computes = (
        [entry for entry in aliases if entry.service.is_read_by(name)]
        for name in (configuration.API, configuration.COMPUTE)
    )
    api_complete = _is_complete(configuration.API, of_api, services)
    for entry in of_computes:
        yield from _check_on_api(entry, of_api, complete=api_complete)
    if not _is_complete(configuration.COMPUTE, of_computes, services):
        return
    names = {entry.alias.name for entry in of_computes}
    for entry in of_api:
        if entry.alias.name not in names:
            yield finding.Located(
                finding.error(
                    'GPU306',
                    f'Alias {entry.alias.name!r} is not defined on any '
                    f'compute host: servers that request it boot, but cannot '
                    f'be resized, migrated or evacuated. Define it on every '
                    f'compute host',
                ),
                entry.setting.place,
            )


def _is_complete(
    name: str,
    entries: collections.abc.Sequence[alias_rules.AliasEntry],
    services: collections.abc.Iterable[deployment.Process],
) -> bool:
    """Return whether all aliases of a service can be parsed.

    An alias that cannot be parsed may be the one that is missing.
    """
    return all(
        sum(entry.service is service for entry in entries)
        == len(service.aliases)
        for service in services
        if service.is_read_by(name)
    )


def _check_on_api(
    entry: alias_rules.AliasEntry,
    of_api: collections.abc.Iterable[alias_rules.AliasEntry],
    *,
    complete: bool,
) -> collections.abc.Iterator[finding.Located]:
    """Compare an alias of a compute with those of nova-api.

    :param complete: All aliases of nova-api are known.
    """
    name = entry.alias.name
    same = [other for other in of_api if other.alias.name == name]
    if not same and complete:
        yield finding.Located(
            finding.warning(
                'GPU305',
                f'Alias {name!r} is not defined in nova-api: servers that '
                f'request it cannot be created. Add it to the configuration '
                f'of nova-api, or remove it from nova-compute',
            ),
            entry.setting.place,
        )
    elif same and all(
        other.alias.meaning != entry.alias.meaning for other in same
    ):
        yield finding.Located(
            finding.error(
                'GPU304',
                f'Alias {name!r} has another definition in nova-api '
                f'({same[0].setting.place}): servers boot with the devices '
                f'of that definition, and are resized or migrated with those '
                f'of this one. Use the same definition in both',
            ),
            entry.setting.place,
        )


def check_hosts(
    aliases: collections.abc.Sequence[alias_rules.AliasEntry],
    specs: collections.abc.Sequence[device_spec_rules.SpecEntry],
    services: collections.abc.Sequence[deployment.Process],
) -> collections.abc.Iterator[finding.Located]:
    """Find computes that lack an alias which other computes have.

    The host that a server moves to looks the alias up, after the scheduler
    chose it (``nova/compute/resource_tracker.py:ResourceTracker._move_claim``,
    ``nova/pci/request.py:_translate_alias_to_requests``). Of a host without
    devices for the alias nothing is said: no such server comes to it. Nova
    tries other hosts where the scheduler named some, so it is a warning.
    """
    computes = [
        service
        for service in services
        if service.is_read_by(configuration.COMPUTE)
    ]
    by_compute = {
        id(compute): [
            entry.alias for entry in aliases if entry.service is compute
        ]
        for compute in computes
    }
    requested = {
        entry.alias.name
        for entry in aliases
        if entry.service.is_read_by(configuration.API)
    }
    defined = {
        alias.name: alias for own in by_compute.values() for alias in own
    }
    for compute in computes:
        own = by_compute[id(compute)]
        if len(own) != len(compute.aliases):
            # One that cannot be read may be the one that is missed.
            continue
        names = {alias.name for alias in own}
        missing = {
            name: entry
            for name in sorted(requested & defined.keys() - names)
            for entry in specs
            if entry.service is compute
            and matching.names_devices(entry, defined[name], services)
        }
        if missing:
            host = f' of host {compute.host}' if compute.host else ''
            yield finding.Located(
                finding.warning(
                    'GPU306',
                    f'nova-compute{host} has device_spec entries for alias '
                    f'{", ".join(map(repr, missing))}, but does not define '
                    f'the alias as other compute hosts do: servers that '
                    f'request it boot there, but cannot be resized, migrated '
                    f'or evacuated to it. Define the alias there, too',
                ),
                next(iter(missing.values())).setting.place,
            )
