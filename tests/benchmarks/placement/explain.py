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

"""What "gpu flavor explain" costs, beside "gpu placement list".

``python -m tests.benchmarks.placement.explain [HOSTS ...]`` explains flavors
on clouds of so many GPU hosts, 100 and 1000 by default: two that fit, and one
on a host whose devices are all in use. Fails where Placement disagrees, or if
more requests are made than :data:`MOST` besides those of the read of all
devices.

On the last cloud, a flavor that fits nowhere is explained by the command, and
by hand with osc-placement (:mod:`tests.benchmarks.placement.by_hand`). Fails
where the two differ.
"""

import contextlib
import pathlib
import pickle
import re
import sys
import tempfile
import time
import typing

from gpuclient.cloud import usage
from gpuclient.model import release
from gpuclient.operations import explanation

from tests.benchmarks.placement import by_hand
from tests.benchmarks.placement import client
from tests.benchmarks.placement import model
from tests.benchmarks.placement import nova
from tests.benchmarks.placement import service
from tests.benchmarks.placement import shell

MOST = 20
#: Hosts of which each device is read by hand, in a process for each, and in
#: an interactive shell.
_HOSTS, _MORE_HOSTS = 4, 40
_FREE = re.compile(r'(\d+) free of (\d+)')


def main(sizes: list[int]) -> int:
    """Return the exit status."""
    wrong = False
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix='gpu-'))
        )
        config = folder / 'nova.conf'
        config.write_text(
            '[filter_scheduler]\npci_in_placement = True\nenabled_filters = '
            'ComputeFilter,PciPassthroughFilter\n[pci]\n'
            + ''.join(
                f'alias = {{"name": "{nova.alias(name)}", '
                f'"resource_class": "{name}", "device_type": "type-PF"}}\n'
                for name, _trait in model.MODELS
            )
        )
        database = stack.enter_context(service.Database(folder))
        service.make_template(database)
        for hosts in sizes:
            cloud = model.build(model.Shape(f'{hosts} hosts', hosts))
            service.fill(database, 'cloud', cloud)
            try:
                wrong = _explain(database, cloud, config) or wrong
                if hosts == sizes[-1]:
                    wrong = _by_hand(database, cloud, config) or wrong
            finally:
                database.drop('cloud')
    return int(wrong)


def _explain(
    database: service.Database, cloud: model.Cloud, config: pathlib.Path
) -> bool:
    """Explain flavors; return whether something is wrong."""
    wrong = False
    first = nova.alias(model.MODELS[0][0])
    with (
        service.placement(database, 'cloud') as placement,
        service.Service(
            database, 'nova', {'cloud': pickle.dumps(cloud)}, 1
        ) as compute,
    ):

        def count() -> int:
            return placement.load().requests + compute.load().requests

        def connect() -> client.connection.Connection:
            return client.connect(placement.url, compute.url)

        # Fills the caches of the services.
        for _run in range(2):
            before, began = count(), time.perf_counter()
            usage.read_usage(connect())
            listed = count() - before
            seconds = time.perf_counter() - began
        print(
            f'{cloud.shape.name} with {len(cloud.devices())} devices, '
            f'{cloud.hosts} hosts in all: placement list {listed} requests, '
            f'{seconds:.1f} s'
        )
        for flavor, host in (
            (f'{first}.1', None),
            (f'{first}.4', None),
            (f'{first}.4', _full_host(cloud)),
        ):
            before, began = count(), time.perf_counter()
            answer = explanation.explain_flavor(
                connect(),
                flavor,
                explanation.Request(files=(str(config),), host=host),
                release.newest(),
            )
            seconds = time.perf_counter() - began
            requests = count() - before
            explained = answer.value
            print(
                f'  {flavor}: {requests} requests, {seconds:.1f} s: fits on '
                f'{len(explained.evaluation.fitting)}, Placement agrees: '
                f'{explained.placement.agrees} {explained.placement.note}, '
                f'{len(explained.suggestions)} suggestions'
            )
            for failure in answer.failures:
                print(f'  {failure}')
            wrong = (
                wrong
                or explained.placement.agrees is False
                or requests > listed + MOST
            )
    return wrong


def _by_hand(
    database: service.Database, cloud: model.Cloud, config: pathlib.Path
) -> bool:
    """Explain a flavor by hand; return whether something is wrong."""
    flavor = f'{nova.alias(model.MODELS[0][0])}.6'
    with (
        service.placement(database, 'cloud') as placement,
        service.Service(
            database,
            'nova',
            {'cloud': pickle.dumps(cloud), nova.NOWHERE: b''},
            1,
        ) as compute,
    ):
        runner = shell.Shell(config.parent, (placement, compute))
        # Fills the caches of the services.
        for _run in range(2):
            runner.cost = shell.Cost()
            explained = runner.run(
                *('gpu', 'flavor', 'explain', flavor),
                *('--config', str(config)),
                status=3,
            )
        ours = runner.cost
        recipe = by_hand.Explain(
            flavor, {nova.alias(name): name for name, _trait in model.MODELS}
        )
        comparison = shell.compare(runner, recipe, _HOSTS, _MORE_HOSTS)
    print(f'  {flavor}: {explained["cause"]}')
    for line in comparison.lines(ours):
        print(f'  {line}')
    differences = _differences(explained, recipe, comparison.sample)
    for line in differences:
        print(f'  {line}')
    return bool(differences)


def _differences(
    explained: dict[str, typing.Any],
    recipe: by_hand.Explain,
    sample: tuple[str, ...],
) -> list[str]:
    """Return what is not the same by hand."""
    differences = []
    if recipe.candidates:
        differences.append('Placement returns candidates')
    ours = [
        condition['hosts']
        for condition in explained['conditions']
        if condition['kind'] in ('devices', 'resource', 'trait')
    ]
    theirs = list(recipe.meeting.values())
    if sorted(ours) != sorted(theirs):
        differences.append(f'hosts that meet conditions: {ours}, {theirs}')
    lacking = {
        host: reason['reason']
        for condition in explained['conditions']
        for reason in condition['lacks']
        for host in reason['hosts']
    }
    for host in sample:
        match = _FREE.match(lacking.get(recipe.hosts[host], ''))
        count = tuple(map(int, match.groups())) if match else (0, 0)
        if count != recipe.count(host, recipe.resource_class):
            differences.append(
                f'{recipe.hosts[host]}: '
                f'{recipe.count(host, recipe.resource_class)} by hand, {count}'
            )
    return differences


def _full_host(cloud: model.Cloud) -> str:
    """Return a host whose devices are all in use."""
    free: dict[str, int] = {}
    for device in cloud.truth():
        free[device.host] = free.get(device.host, 0) + (device.free or 0)
    return min(free, key=lambda host: free[host])


if __name__ == '__main__':
    sys.exit(main(list(map(int, sys.argv[1:])) or [100, 1000]))
