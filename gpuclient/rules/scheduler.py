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

"""Rules about the filters of nova-scheduler."""

import collections.abc
import re

from gpuclient.model import configuration
from gpuclient.model import deployment
from gpuclient.rules import alias as alias_rules
from gpuclient.rules import finding

_FILTER = 'PciPassthroughFilter'
_NUMA_FILTER = 'NUMATopologyFilter'


def check(
    services: collections.abc.Sequence[deployment.Process],
    aliases: list[alias_rules.Entry],
) -> collections.abc.Iterator[finding.Located]:
    """Check that the scheduler looks at devices.

    The filter is not among Nova's defaults
    (``nova/conf/scheduler.py:enabled_filters``).
    """
    pinned = [
        setting
        for service in services
        if service.is_read_by(configuration.COMPUTE)
        for setting in (
            *service.values('compute', 'cpu_dedicated_set'),
            *service.values('DEFAULT', 'reserved_huge_pages'),
        )
    ]
    for service in services:
        setting = service.enabled_filters
        if (
            not service.is_read_by(configuration.SCHEDULER)
            or setting is None
            or setting.depends
        ):
            continue
        filters = re.split(r'[,\s]+', setting.text)
        if aliases and _FILTER not in filters:
            yield finding.Located(
                finding.error(
                    'GPU310',
                    f'[filter_scheduler]enabled_filters has no {_FILTER}: '
                    f'servers are sent to hosts that have no device for them',
                ),
                setting.place,
            )
        if pinned and _NUMA_FILTER not in filters:
            yield finding.Located(
                finding.warning(
                    'GPU311',
                    f'[filter_scheduler]enabled_filters has no '
                    f'{_NUMA_FILTER}: pinned servers and those with huge '
                    f'pages are sent to hosts that have no room for them '
                    f'({pinned[0].place})',
                ),
                setting.place,
            )
