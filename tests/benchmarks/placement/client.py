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

"""One read of a cloud in a process of its own, which measures itself.

``python -m tests.benchmarks.placement.client NAME PLACEMENT NOVA RESULT
[PROVIDERS]`` writes what it found and what it cost to the file RESULT.

Of what reads one provider after the other, a part can be measured: with an
empty list of PROVIDERS all that comes before, with another list these alone.
"""

import collections.abc
import concurrent.futures
import dataclasses
import json
import os
import pathlib
import pickle
import re
import resource
import subprocess
import sys
import time
import typing

from openstack import connection

from gpuclient.cloud import keystone
from gpuclient.cloud.nova import hypervisors
from gpuclient.cloud.nova import servers as nova_servers
from gpuclient.cloud.placement import devices as placement_devices
from gpuclient.cloud.placement import reader
from gpuclient.cloud import usage
from gpuclient.model import inventory
from gpuclient.model import partial_result

_VERSION = '1.39'
_PROVIDERS = '/resource_providers'


@dataclasses.dataclass(frozen=True)
class Measured:
    #: What was found, or None where it cannot be compared.
    devices: tuple[inventory.Device, ...] | None
    failures: tuple[partial_result.Failure, ...]
    #: Seconds.
    wall: float
    cpu: float
    #: Bytes: the most that the process had, and what it had before.
    peak: int
    before: int


def connect(placement: str, nova: str) -> connection.Connection:
    return connection.Connection(
        auth_type='admin_token',
        auth={'endpoint': placement, 'token': 'admin'},
        placement_endpoint_override=placement,
        compute_endpoint_override=f'{nova}/v2.1',
        identity_endpoint_override=f'{nova}/v3',
    )


class Client:
    """The ways to read a cloud that are compared.

    :param part: Providers that are read one by one; None for all.
    """

    def __init__(
        self,
        cloud: connection.Connection,
        placement: str,
        part: list[str] | None,
    ) -> None:
        self.cloud = cloud
        self.placement = placement
        self.part = part
        self.failures: tuple[partial_result.Failure, ...] = ()

    def get(
        self, path: str, *, version: str = _VERSION, **params: str
    ) -> typing.Any:
        response = self.cloud.placement.get(
            path, params=params, microversion=version
        )
        assert response.status_code == 200, response.text
        return response.json()

    def devices(self) -> tuple[inventory.Device, ...]:
        """Ours."""
        report = placement_devices.read_devices(
            self.cloud.placement,
            count_hosts=lambda: hypervisors.count(self.cloud.compute),
        )
        self.failures = report.failures
        return report.value

    def owners(self) -> tuple[inventory.Device, ...]:
        """Ours, with the servers that hold the devices."""
        report = usage.read_usage(self.cloud)
        self.failures = report.failures
        return report.value.devices

    def loop_devices(self) -> None:
        """List, then inventories and usages of each device."""
        self._loop('inventories', 'usages')

    def loop_owners(self) -> None:
        """The same with allocations, and the names that Nova has."""
        self._loop('inventories', 'usages', 'allocations')
        if not self.part:
            nova_servers.list_servers(self.cloud.compute, all_projects=True)

    def _loop(self, *parts: str) -> None:
        for uuid in self.part or self._list(required=reader.MANAGED):
            for part in parts:
                self.get(f'{_PROVIDERS}/{uuid}/{part}')

    def _list(self, **params: str) -> list[str]:
        providers = self.get(_PROVIDERS, **params)['resource_providers']
        if self.part is not None:
            return []
        return [provider['uuid'] for provider in providers]

    def osc_placement(self) -> None:
        """A shell script that calls osc-placement."""

        def run(*arguments: str) -> typing.Any:
            done = subprocess.run(
                [
                    *(sys.executable, '-m', 'openstackclient.shell'),
                    *('resource', 'provider', *arguments, '-f', 'json'),
                ],
                env={
                    **os.environ,
                    'OS_AUTH_TYPE': 'admin_token',
                    'OS_ENDPOINT': self.placement,
                    'OS_TOKEN': 'admin',
                    'OS_PLACEMENT_API_VERSION': _VERSION,
                },
                capture_output=True,
                check=True,
            )
            return json.loads(done.stdout)

        uuids = self.part
        if not uuids:
            providers = run('list', '--required', reader.MANAGED)
            uuids = [provider['uuid'] for provider in providers]
            if self.part is not None:
                return
        for uuid in uuids:
            run('inventory', 'list', uuid)
            run('usage', 'show', uuid)

    def os_capacity(self) -> None:
        """What os-capacity asks Placement for, at each scrape.

        Aggregates, usages and inventories of every provider, candidates of
        each flavor and the usage of each project. It asks for aggregates
        once in the life of its process; this is the first scrape.
        """
        uuids = self.part
        if not uuids:
            for size in (1, 2, 4, 8):
                self.get(
                    '/allocation_candidates',
                    resources=f'VCPU:{size},MEMORY_MB:{size * 1024}',
                    required='!COMPUTE_STATUS_DISABLED',
                )
            uuids = self._list()
            for project in keystone.project_names(self.cloud):
                self.get('/usages', version='1.19', project_id=project)
        for uuid in uuids:
            self.get(f'{_PROVIDERS}/{uuid}/aggregates')
        for uuid in uuids:
            self.get(f'{_PROVIDERS}/{uuid}/usages')
            self.get(f'{_PROVIDERS}/{uuid}/inventories')

    def bound_devices(self) -> None:
        """The two reads without which nobody knows."""
        self.get(_PROVIDERS, required=reader.MANAGED)
        self.get('/allocation_candidates', resources='MEMORY_MB:1')

    def bound_owners(self) -> None:
        """And the allocations of each server that holds devices."""
        self.bound_devices()
        servers = [
            server.uuid
            for server in nova_servers.list_servers(
                self.cloud.compute, all_projects=True
            )
            if inventory.requests_devices(server)
        ]
        with concurrent.futures.ThreadPoolExecutor(reader.THREADS) as pool:
            list(
                pool.map(
                    lambda uuid: self.get(f'/allocations/{uuid}'), servers
                )
            )


def _seconds() -> float:
    return sum(
        times.ru_utime + times.ru_stime
        for times in (
            resource.getrusage(resource.RUSAGE_SELF),
            resource.getrusage(resource.RUSAGE_CHILDREN),
        )
    )


def _peak() -> int:
    """Return the most memory that this process or a child had, in bytes."""
    # Not ru_maxrss, which a process has from the one that started it.
    status = pathlib.Path('/proc/self/status').read_text()
    (kilobytes,) = re.findall(r'VmHWM:\s+(\d+) kB', status)
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return 1024 * max(int(kilobytes), children)


def main() -> None:
    name, placement, nova, path = sys.argv[1:5]
    part = sys.stdin.read().split() if len(sys.argv) > 5 else None
    client = Client(connect(placement, nova), placement, part)
    # Their modules are loaded when they are first used.
    assert client.cloud.placement and client.cloud.compute
    read: collections.abc.Callable[[], typing.Any] = getattr(client, name)
    before, cpu, began = _peak(), _seconds(), time.perf_counter()
    devices = read()
    measured = Measured(
        devices=devices,
        failures=client.failures,
        wall=time.perf_counter() - began,
        cpu=_seconds() - cpu,
        peak=_peak(),
        before=before,
    )
    with open(path, 'wb') as stream:
        pickle.dump(measured, stream)


if __name__ == '__main__':
    # What is pickled has to have the name that others know it by.
    from tests.benchmarks.placement import client

    client.main()
