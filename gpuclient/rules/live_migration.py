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

"""Rules about live migration of devices that are passed through."""

import collections.abc

from gpuclient.model import boolean
from gpuclient.model import deployment
from gpuclient.model import device_spec
from gpuclient.rules import alias as alias_rules
from gpuclient.rules import device_spec as device_spec_rules
from gpuclient.rules import finding

_POST_COPY = 'live_migration_permit_post_copy'


def check(
    service: deployment.Process,
    aliases: collections.abc.Sequence[alias_rules.AliasEntry],
    specs: collections.abc.Sequence[device_spec_rules.SpecEntry],
    *,
    default: bool = False,
) -> collections.abc.Iterator[finding.Located]:
    """Find post-copy migration where devices are live-migratable.

    A device is migrated while the server is paused; with post-copy the server
    runs on the target before all of its memory is there (Nova's
    ``doc/source/admin/pci-passthrough.rst``).

    :param aliases: Of the service, as are the specs.
    :param default: The value if the service does not set the option.
    """
    setting = service.last('libvirt', _POST_COPY)
    is_on = default if setting is None else boolean.is_true(setting.text)
    migratable = [
        *(entry.setting for entry in specs if _is_migratable(entry.spec)),
        *(entry.setting for entry in aliases if entry.alias.live_migratable),
    ]
    if is_on and migratable:
        yield finding.Located(
            finding.warning(
                'GPU901',
                f'[libvirt]{_POST_COPY} is on'
                f'{"" if setting else " by default"}, but devices are '
                f'live-migratable: a migration that switches to post-copy '
                f'fails. Turn it off on hosts with these devices',
            ),
            (setting or migratable[0]).place,
        )


def _is_migratable(spec: device_spec.DeviceSpec) -> bool:
    return spec.has_key('live_migratable') and boolean.is_true(
        spec.tags['live_migratable']
    )
