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
"""Whether the scheduler filters by devices: GPU310, also for unset filters.

Compared with Nova: the filters of ``enabled_filters`` are loaded and run
(``nova.scheduler.host_manager.HostManager``) on a host that has no device.
"""

import functools
import random
import typing
import unittest.mock

from nova import exception
from nova import objects
from nova.scheduler import filters
from nova.scheduler import host_manager
from oslo_config import types

from gpuclient.model import alias as alias_model
from gpuclient.model import configuration
from gpuclient.model import deployment
from gpuclient.rules import alias as alias_rules
from gpuclient.rules import scheduler as scheduler_rules
from tests.unit.differential import comparing
from tests.unit.differential import nova_side

_NAMES = (
    'ComputeFilter', 'NUMATopologyFilter', 'ServerGroupAntiAffinityFilter',
    'ImagePropertiesFilter', 'ComputeCapabilitiesFilter', 'AllHostsFilter',
)  # fmt: skip
#: Filters of some releases, and some that do not exist.
_ODD = (
    'AvailabilityZoneFilter', 'RetryFilter', 'CoreFilter', 'Pcipassthrough',
    'PciPassthroughFilters', 'JsonFilter', 'TrustedFilter', '',
)  # fmt: skip
_FILTER = 'PciPassthroughFilter'
_PLACE = configuration.Place('nova-scheduler.conf', 2)
#: These need more of a host and a server than is created here.
_RUN = (_FILTER, 'AllHostsFilter')


def generate(source: random.Random) -> comparing.Case:
    names = [
        source.choice((*_NAMES, _FILTER, *_ODD))
        if source.random() < 0.15
        else source.choice((*_NAMES, _FILTER))
        for _ in range(source.randrange(5))
    ]
    between = source.choice((',', ', ', ' ,'))
    return {
        'filters': source.choice(
            (between.join(names), between.join(names), None)
        )
        if names
        else None,
        'in_placement': source.random() < 0.3,
        'alias': source.random() < 0.8,
    }


@functools.cache
def _loader() -> dict[str, type]:
    return {
        filter_class.__name__: filter_class
        for filter_class in filters.all_filters()
    }


def _choose(names: list[str]) -> list[typing.Any]:
    """Return the filters of Nova.

    :raises nova.exception.SchedulerHostFilterNotFound: A filter is missing.
    """
    manager = host_manager.HostManager.__new__(host_manager.HostManager)
    manager.filter_cls_map = _loader()
    manager.filter_obj_map = {}
    return list(manager._choose_host_filters(names))


def _names(case: comparing.Case) -> list[str]:
    if case['filters'] is None:
        enabled = nova_side.nova.conf.CONF.filter_scheduler.enabled_filters
        return list(enabled)
    return list(types.List()(case['filters']))


def accepts(case: comparing.Case) -> bool:
    """Return whether nova-scheduler starts."""
    try:
        _choose(_names(case))
    except exception.SchedulerHostFilterNotFound:
        return False
    return True


def sends_anywhere(names: list[str]) -> bool:
    """Return whether a host without devices passes the filters of Nova."""
    chosen = [
        host_filter
        for host_filter in _choose(names)
        if type(host_filter).__name__ in _RUN
    ]
    host = unittest.mock.Mock(
        pci_stats=nova_side.nova_stats.PciDeviceStats(
            objects.NUMATopology(), dev_filter=nova_side.whitelist.Whitelist()
        ),
        allocation_candidates=[{'mappings': {}}],
    )
    asked = objects.RequestSpec(
        pci_requests=objects.InstancePCIRequests(
            requests=[
                objects.InstancePCIRequest(
                    count=1,
                    spec=[{'vendor_id': '10de', 'product_id': '20f1'}],
                    request_id='9a1f0c5e-4f1b-4c39-8d0a-6f2f5b7f1a11',
                )
            ]
        )
    )
    return all(host_filter.host_passes(host, asked) for host_filter in chosen)


def compare(case: comparing.Case) -> str | None:
    text = case['filters']
    messages = _messages(case)
    starts = accepts(case)
    if starts == any('could not be found' in text for text in messages):
        return f'start: Nova starts: {starts}, we say {messages}'
    if not starts:
        return None
    anywhere = sends_anywhere(_names(case))
    expected = (
        anywhere
        and case['alias']
        # Placement selects the hosts.
        and not (text is None and nova_side.effective(case['in_placement']))
    )
    if expected == any(
        'has no PciPassthroughFilter' in message for message in messages
    ):
        return None
    return (
        f'filters: Nova sends servers anywhere: {anywhere}, we say {messages}'
    )


def _messages(case: comparing.Case) -> list[str]:
    options: list[tuple[str, typing.Any]] = [
        ('pci_in_placement', nova_side.effective(case['in_placement']))
    ]
    if case['filters'] is not None:
        options.append(('enabled_filters', case['filters']))
    scheduler = deployment.Process(
        (configuration.SCHEDULER,),
        _PLACE,
        (
            deployment.Source(
                _PLACE,
                tuple(
                    configuration.Option(
                        'filter_scheduler',
                        name,
                        configuration.Setting(str(value), _PLACE),
                    )
                    for name, value in options
                ),
            ),
        ),
    )
    aliases = [
        alias_rules.AliasEntry(
            alias_model.Alias('a', '10de', '20f1'),
            configuration.Setting('', _PLACE),
            scheduler,
        )
    ]
    return [
        str(located.finding)
        for located in scheduler_rules.check(
            [scheduler],
            aliases if case['alias'] else [],
            nova_side.RELEASE,
        )
    ]


EXAMPLES = (
    # The default has no filter for devices.
    {'filters': None, 'in_placement': False, 'alias': True},
)
COMPARISON = comparing.Comparison(
    'filters', generate, compare, accepts, EXAMPLES
)
