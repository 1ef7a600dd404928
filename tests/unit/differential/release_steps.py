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

"""In what our verdicts differ from one release of Nova to the next.

On cases of which most differ in one key from a valid alias or entry. Each Nova
judges them, too (see :mod:`.releases`), so that these are its differences.
"""

import collections
import collections.abc
import itertools
import json
import typing

import hypothesis
from hypothesis import strategies

from gpuclient.model import device_spec
from gpuclient.model import release
from tests.unit.differential import compare_alias
from tests.unit.differential import compare_device_spec
from tests.unit.differential import comparing
from tests.unit.differential import making
from tests.unit.differential import test_alias
from tests.unit.differential import test_device_spec

_ENTRY = {'vendor_id': '10de', 'product_id': '25b6'}
_KINDS = ('alias', 'device_spec')


def cases() -> list[tuple[str, comparing.Case]]:
    """Return cases of comparisons, always the same."""
    host = _host(test_device_spec.HOST)
    return [
        *(
            ('alias', {'aliases': texts, 'in_placement': in_placement})
            for texts, in_placement in _aliases()
        ),
        *(
            ('device_spec', {'host': host, 'specs': texts, 'report': report})
            for texts, report in _specs()
        ),
    ]


def _aliases() -> collections.abc.Iterator[tuple[list[str], bool]]:
    alias = {'name': 'a', **test_alias.IDS}
    good = test_alias.GOOD.map(json.dumps)
    yield from _draw(test_alias.TEXTS, 3, 1000, 1)
    yield from _draw(test_alias.RIGHT, 3, 500, 2)
    for key, values in test_alias.VALUES.items():
        for value in values:
            yield from _both({**alias, key: value})
    for key in ('vendor_id', 'product_id', 'name'):
        others = {other: alias[other] for other in alias if other != key}
        yield from _both(others)
        yield from _both({**others, 'resource_class': 'CUSTOM_A'})
    yield from _draw(good, 2, 500, 3)


def _specs() -> collections.abc.Iterator[tuple[list[str], bool]]:
    good = test_device_spec.GOOD.map(json.dumps)
    yield from _draw(test_device_spec.TEXTS, 3, 1000, 4)
    yield from _draw(good, 2, 800, 5)
    for text, _verdict in test_device_spec.CHOSEN:
        for report in (True, False):
            yield [text], report
    for keys, values in (
        (
            ('managed', 'live_migratable', 'one_time_use', 'remote_managed'),
            test_device_spec._BOOLEANS,
        ),
        (('resource_class', 'traits'), test_device_spec._OTHER),
    ):
        for key in keys:
            for value in values:
                yield from _both({**_ENTRY, key: value})


def _both(
    entry: dict[str, typing.Any],
) -> collections.abc.Iterator[tuple[list[str], bool]]:
    for option in (True, False):
        yield [json.dumps(entry)], option


def _draw(
    texts: strategies.SearchStrategy[str], most: int, count: int, seed: int
) -> list[tuple[list[str], bool]]:
    drawn = []

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=count,
        deadline=None,
        database=None,
        derandomize=False,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(
        strategies.lists(texts, min_size=1, max_size=most),
        strategies.booleans(),
    )
    def draw(values: list[str], option: bool) -> None:
        drawn.append((values, option))

    draw()
    return drawn


def _host(host: device_spec.HostDevices) -> dict[str, typing.Any]:
    return {
        'devices': [
            {
                'address': device.address,
                'vendor_id': device.vendor_id,
                'product_id': device.product_id,
                'device_type': device.device_type,
                'parent': device.parent_address,
                'serial': device.serial_number,
            }
            for device in host.devices
        ],
        'interfaces': dict(host.interfaces),
    }


def rows(
    releases: collections.abc.Sequence[release.Release],
    cases: collections.abc.Sequence[tuple[str, comparing.Case]],
) -> collections.abc.Iterator[str]:
    """Yield a row of the table for each step and comparison."""
    for later, earlier in itertools.pairwise(releases):
        for name in _KINDS:
            tally: collections.Counter[str] = collections.Counter(
                _step(
                    _verdict(name, case, later), _verdict(name, case, earlier)
                )
                for kind, case in cases
                if kind == name
            )
            total = tally.total()
            del tally['']
            parts = ', '.join(
                f'{count} {what}' for what, count in sorted(tally.items())
            )
            yield (
                f'{later.number} -> {earlier.number} {name:12} '
                f'{tally.total():5} of {total}'
                + (f': {parts}' if parts else '')
            )


def _verdict(
    name: str, case: comparing.Case, chosen: release.Release
) -> typing.Any:
    if name == 'alias':
        return compare_alias.verdict(case, chosen)
    verdict = compare_device_spec.verdict(
        case, making.of_case(case['host']), chosen
    )
    if isinstance(verdict, Exception):
        return verdict
    tags, matches, reported = verdict
    if isinstance(reported, Exception):
        reported = str(reported)
    return tags, matches, reported


def _step(later: typing.Any, earlier: typing.Any) -> str:
    """Return how a verdict differs; empty if it does not."""
    refused = isinstance(later, Exception), isinstance(earlier, Exception)
    if refused == (True, True):
        return '' if str(later) == str(earlier) else 'with another message'
    if refused == (True, False):
        return 'accepted by the earlier only'
    if refused == (False, True):
        return 'refused by the earlier only'
    return '' if later == earlier else 'with other content'
