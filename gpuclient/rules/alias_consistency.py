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

    nova-api reads them to boot servers, nova-compute to move them
    (``nova/compute/resource_tracker.py:ResourceTracker._move_claim``).
    """
    sides = {
        name: [one for one in aliases if one.service.is_read_by(name)]
        for name in (configuration.API, configuration.COMPUTE)
    }
    present = {
        name: any(service.is_read_by(name) for service in services)
        for name in sides
    }
    if not all(present.values()):
        # One side was not given: nothing can be said.
        return
    api, compute = sides[configuration.API], sides[configuration.COMPUTE]
    # An alias that cannot be read may be the very one that is missed.
    complete = {
        name: all(
            sum(one.service is service for one in found)
            == len(service.aliases)
            for service in services
            if service.is_read_by(name)
        )
        for name, found in sides.items()
    }
    for one in compute:
        same = [other for other in api if other.alias.name == one.alias.name]
        if not same and complete[configuration.API]:
            yield finding.Located(
                finding.warning(
                    'GPU305',
                    f'nova-api has no alias {one.alias.name!r}: requests '
                    f'for servers with it are refused. Add it to the '
                    f'configuration of nova-api, or delete it here',
                ),
                one.setting.place,
            )
        elif same and all(
            other.alias.meaning != one.alias.meaning for other in same
        ):
            yield finding.Located(
                finding.error(
                    'GPU304',
                    f'Alias {one.alias.name!r} has another definition on '
                    f'nova-api ({same[0].setting.place}): servers boot with '
                    f'the devices of that one, and are resized or migrated '
                    f'with those of this one. Define it alike on both',
                ),
                one.setting.place,
            )
    names = {one.alias.name for one in compute}
    for one in api:
        if one.alias.name not in names and complete[configuration.COMPUTE]:
            yield finding.Located(
                finding.error(
                    'GPU306',
                    f'No compute has alias {one.alias.name!r}: servers that '
                    f'request it boot, but cannot be resized, migrated or '
                    f'evacuated. Define it on every compute',
                ),
                one.setting.place,
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
                    f'{", ".join(map(repr, missing))}, but not the alias that '
                    f'other computes have: servers that request it boot '
                    f'there, but cannot be resized, migrated or evacuated to '
                    f'it. Define the alias there, too',
                ),
                next(iter(missing.values())).setting.place,
            )
