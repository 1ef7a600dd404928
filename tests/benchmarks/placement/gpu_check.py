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

"""What ``openstack gpu check`` costs: requests, time and findings.

``python -m tests.benchmarks.placement.gpu_check [HOSTS ...]`` checks healthy
clouds of so many GPU hosts, 20 and 200 by default. Fails where there is a
finding, or where the number of requests depends on the number of hosts.

On the last cloud, the part that reads Placement is done by hand with
osc-placement (:mod:`tests.benchmarks.placement.by_hand`). Fails where that
finds something.
"""

import contextlib
import pathlib
import pickle
import sys
import tempfile
import time

from gpuclient.model import release
from gpuclient.operations import cloud_inspection
from gpuclient.operations import gpu_check
from gpuclient.rules import cloud_check
from gpuclient.rules import cloud_leaks

from tests.benchmarks.placement import by_hand
from tests.benchmarks.placement import client
from tests.benchmarks.placement import model
from tests.benchmarks.placement import service
from tests.benchmarks.placement import shell


#: Hosts of which each device is read by hand, in a process for each, and in
#: an interactive shell.
_HOSTS, _MORE_HOSTS = 4, 40


def main(sizes: list[int]) -> int:
    """Return the exit status."""
    totals = []
    wrong = False
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix='gpu-'))
        )
        database = stack.enter_context(service.Database(folder))
        service.make_template(database)
        for hosts in sizes:
            # Free devices, and memory and processors for each of them.
            cloud = model.build(
                model.Shape(
                    f'{hosts} hosts',
                    hosts,
                    nics=False,
                    full=0.3,
                    starved=0.0,
                    exhausted=0.0,
                    one_time_use=0.0,
                )
            )
            service.fill(database, 'cloud', cloud)
            try:
                requests, findings = _check(database, cloud)
                if hosts == sizes[-1]:
                    wrong = _by_hand(database, cloud, folder) or wrong
            finally:
                database.drop('cloud')
            totals.append(requests)
            wrong = wrong or bool(findings)
    return int(wrong or len(set(totals)) > 1)


def _check(
    database: service.Database, cloud: model.Cloud
) -> tuple[int, list[cloud_check.Row]]:
    """Return the number of requests without pages of lists, and findings."""
    with (
        service.placement(database, 'cloud') as placement,
        service.Service(
            database, 'nova', {'cloud': pickle.dumps(cloud)}, 1
        ) as nova,
    ):
        # Fills the caches of the services.
        for _run in range(2):
            before = placement.load(), nova.load()
            connection = client.connect(placement.url, nova.url)
            began = time.perf_counter()
            answer = cloud_inspection.read(
                connection, release.newest(), attempts=4
            )
            rows = list(cloud_check.run(gpu_check.CLOUD_CHECKS, answer.value))
            wall = time.perf_counter() - began
            of_placement = placement.load() - before[0]
            of_others = nova.load() - before[1]
    findings = [row for row in rows if row.code]
    # Otherwise the allocations of servers would be read, too.
    signs = cloud_leaks.signs(answer.value)
    if signs:
        raise SystemExit(f'signs of leaks on {sorted(signs)[:3]}')
    pages = len(cloud.servers) // 1000
    print(
        f'{cloud.shape.name} with {len(cloud.devices())} devices, '
        f'{cloud.hosts} hosts in all, {len(cloud.servers)} servers: '
        f'{of_placement.requests} requests to Placement, '
        f'{of_others.requests} to Nova and Keystone ({pages} more pages of '
        f'servers), {wall:.1f} s, {len(findings)} findings, '
        f'{len(answer.failures)} failures'
    )
    for row in findings:
        print(f'  {row.code} {row.object}: {row.message}')
    for failure in answer.failures:
        print(f'  {failure}')
    return (
        of_placement.requests + of_others.requests - pages,
        findings,
    )


def _by_hand(
    database: service.Database, cloud: model.Cloud, folder: pathlib.Path
) -> bool:
    """Check the same by hand; return whether something is wrong."""
    with (
        service.placement(database, 'cloud') as placement,
        service.Service(
            database, 'nova', {'cloud': pickle.dumps(cloud)}, 1
        ) as nova,
    ):
        runner = shell.Shell(folder, (placement, nova))
        # Fills the caches of the services.
        for _run in range(2):
            runner.cost = shell.Cost()
            runner.run('gpu', 'check')
        ours = runner.cost
        recipe = by_hand.Check()
        comparison = shell.compare(runner, recipe, _HOSTS, _MORE_HOSTS)
    for line in comparison.lines(ours):
        print(f'  {line}')
    wrong = [
        host
        for host in comparison.sample
        if recipe.requested(host) not in (None, recipe.used(host))
        or recipe.ratios[host] > 1
    ]
    for host in wrong:
        print(
            f'  {recipe.hosts[host]}: {recipe.used(host)} devices in use, '
            f'{recipe.requested(host)} requested, ratio {recipe.ratios[host]}'
        )
    return bool(wrong)


if __name__ == '__main__':
    sys.exit(main(list(map(int, sys.argv[1:])) or [20, 200]))
