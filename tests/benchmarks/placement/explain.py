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
"""

import contextlib
import pathlib
import pickle
import sys
import tempfile
import time

from gpuclient.cloud import usage
from gpuclient.model import release
from gpuclient.operations import explanation

from tests.benchmarks.placement import client
from tests.benchmarks.placement import model
from tests.benchmarks.placement import nova
from tests.benchmarks.placement import service

MOST = 20


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


def _full_host(cloud: model.Cloud) -> str:
    """Return a host whose devices are all in use."""
    free: dict[str, int] = {}
    for device in cloud.truth():
        free[device.host] = free.get(device.host, 0) + (device.free or 0)
    return min(free, key=lambda host: free[host])


if __name__ == '__main__':
    sys.exit(main(list(map(int, sys.argv[1:])) or [100, 1000]))
