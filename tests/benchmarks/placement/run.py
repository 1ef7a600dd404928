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

"""What it costs to read a cloud: ``python -m tests.benchmarks.placement.run``.

Fills a real Placement with clouds of several shapes, reads each of them in
each of several ways, and prints one table; the same is written as Markdown
and as JSON. Fails where our answer is not the cloud that was filled in,
device by device, or costs more than it may. Variables of the environment:

``BENCHMARK_HOSTS``
    Sizes of the plain cloud, in GPU hosts: ``10 100 1000``.
``BENCHMARK_SHAPES``
    Which other clouds: names of :data:`SHAPES`, or ``none``; all by default.
``BENCHMARK_WORKERS``
    Processes of Placement: 2.
``BENCHMARK_SAMPLE``
    What reads one device at a time is measured on so many at most, and the
    rest computed from them; such figures have a ``~``: 500.
``BENCHMARK_OUTPUT``
    Folder of the files ``placement.md`` and ``placement.json``:
    ``build/benchmark``.
"""

import contextlib
import dataclasses
import json
import os
import pathlib
import pickle
import platform
import signal
import subprocess
import sys
import tempfile
import time
import typing

from tests.benchmarks.placement import check
from tests.benchmarks.placement import client
from tests.benchmarks.placement import model
from tests.benchmarks.placement import service

SIZES = tuple(
    map(int, os.environ.get('BENCHMARK_HOSTS', '10 100 1000').split())
)
SAMPLE = int(os.environ.get('BENCHMARK_SAMPLE', '500'))
OUTPUT = pathlib.Path(os.environ.get('BENCHMARK_OUTPUT', 'build/benchmark'))
DELAY = 0.02

_CALM: dict[str, typing.Any] = {
    'full': 0.0,
    'starved': 0.0,
    'one_time_use': 0.0,
}
SHAPES = (
    model.Shape('none full, whole devices', 100, nics=False, **_CALM),
    model.Shape('none full, 1000 hosts', 1000, nics=False, **_CALM),
    model.Shape('none full, with NICs', 100, **_CALM),
    model.Shape('all full', 100, full=1.0),
    model.Shape('no NICs', 100, nics=False),
    model.Shape('sparse', 20, cpu_hosts=2000),
    model.Shape('capped at 50', 100, cap=50),
    model.Shape('reserved', 100, reserved=0.05, one_time_use=0.2),
    model.Shape('moves and orphans', 100, moves=True),
)

#: Ways to read, and how each is called in the table.
DEVICES = {
    'devices': 'gpuclient',
    'bound_devices': 'lower bound',
    'loop_devices': 'plain loop',
    'osc_placement': 'osc-placement script',
    'os_capacity': 'os-capacity',
}
OWNERS = {
    'owners': 'gpuclient',
    'bound_owners': 'lower bound',
    'loop_owners': 'plain loop',
}
#: What reads one provider at a time: on how many it is measured.
_ONE_BY_ONE = {
    'loop_devices': SAMPLE,
    'loop_owners': SAMPLE,
    'os_capacity': SAMPLE,
    'osc_placement': 3,
}


@dataclasses.dataclass(frozen=True)
class Row:
    """What one way to read one cloud cost."""

    cloud: str
    #: ``devices``, or ``owners`` with them.
    read: str
    way: str
    placement_requests: int
    other_requests: int
    bytes: int
    #: Seconds.
    placement_cpu: float
    database_cpu: float
    client_cpu: float
    #: Memory of the client, in bytes, and what of it is the modules alone.
    peak: int
    before: int
    #: Seconds, without delay and with :data:`DELAY` for each request.
    wall: float
    delayed: float
    #: Whether the figures were computed from those of some devices.
    computed: bool = False

    @property
    def server_cpu(self) -> float:
        return self.placement_cpu + self.database_cpu


class Wrong(Exception):
    """An answer that is not the cloud, or costs more than it may."""


def main() -> int:
    """Return the exit status."""
    # What was started is ended then, too.
    signal.signal(signal.SIGTERM, lambda *_signal: sys.exit(1))
    chosen = os.environ.get('BENCHMARK_SHAPES', 'all')
    shapes = [model.Shape(f'{hosts} hosts', hosts) for hosts in SIZES]
    shapes += [
        shape for shape in SHAPES if chosen == 'all' or shape.name in chosen
    ]
    rows: list[Row] = []
    clouds: list[dict[str, typing.Any]] = []
    wrong: list[str] = []
    try:
        with contextlib.ExitStack() as stack:
            folder = pathlib.Path(
                stack.enter_context(
                    # Short: it holds the path of a socket.
                    tempfile.TemporaryDirectory(prefix='gpu-')
                )
            )
            database = stack.enter_context(service.Database(folder))
            service.make_template(database)
            check.check(database)
            for shape in shapes:
                try:
                    rows += _measure(database, folder, shape, clouds)
                except Wrong as exc:
                    wrong.append(f'{shape.name}: {exc}')
                _write(rows, clouds, wrong)
    except (service.Missing, check.Differs) as exc:
        print(exc, file=sys.stderr)
        return 1
    print(_markdown(rows, clouds, wrong))
    return int(bool(wrong))


def _measure(
    database: service.Database,
    folder: pathlib.Path,
    shape: model.Shape,
    clouds: list[dict[str, typing.Any]],
) -> list[Row]:
    cloud = model.build(shape)
    devices = cloud.devices()
    began = time.monotonic()
    service.fill(database, 'cloud', cloud)
    clouds.append(
        {
            'cloud': shape.name,
            'gpu_hosts': shape.hosts,
            'hosts': cloud.hosts,
            'providers': len(cloud.providers),
            'devices': len(devices),
            'consumers': len(cloud.consumers),
            'holders': cloud.holders(),
            'servers': len(cloud.servers),
        }
    )
    print(
        f'{shape.name}: {len(devices)} devices, filled in '
        f'{time.monotonic() - began:.0f} s',
        file=sys.stderr,
    )
    rows = []
    try:
        with (
            service.placement(database, 'cloud', cap=shape.cap) as placement,
            service.Service(
                database, 'nova', {'cloud': pickle.dumps(cloud)}, 1
            ) as nova,
        ):
            bench = _Bench(shape, cloud, placement, nova, folder)
            # Fills the caches of the services.
            bench.run('devices')
            for read, ways in (('devices', DEVICES), ('owners', OWNERS)):
                for name, way in ways.items():
                    rows.append(bench.row(read, name, way))
                    print(_line(rows[-1]), file=sys.stderr)
            _judge(shape, cloud, rows)
    finally:
        database.drop('cloud')
    return rows


@dataclasses.dataclass(frozen=True)
class _Run:
    load: service.Load
    other: int
    measured: client.Measured


class _Bench:
    """One cloud, to be read in several ways."""

    def __init__(
        self,
        shape: model.Shape,
        cloud: model.Cloud,
        placement: service.Service,
        nova: service.Service,
        folder: pathlib.Path,
    ) -> None:
        self._shape = shape
        self._truth = cloud.truth()
        self._providers = [provider.uuid for provider in cloud.providers]
        self._placement = placement
        self._nova = nova
        self._result = folder / 'result'

    def run(
        self,
        name: str,
        *,
        part: list[str] | None = None,
        delay: float = 0.0,
    ) -> _Run:
        """Read the cloud in a process of its own."""
        self._placement.delay(delay)
        self._nova.delay(delay)
        before, other = self._placement.load(), self._nova.load()
        subprocess.run(
            [
                *(sys.executable, '-m', 'tests.benchmarks.placement.client'),
                *(name, self._placement.url, self._nova.url),
                os.fspath(self._result),
                *([] if part is None else ['-']),
            ],
            # Too many for an argument.
            input=' '.join(part or ()),
            text=True,
            check=True,
        )
        load = self._placement.load() - before
        requests = (self._nova.load() - other).requests
        measured: client.Measured = pickle.loads(self._result.read_bytes())
        if measured.devices is not None:
            self._compare(name, measured)
        return _Run(load, requests, measured)

    def _compare(self, name: str, measured: client.Measured) -> None:
        if measured.failures:
            raise Wrong(f'{name}: {measured.failures[0]}')
        truth = self._truth
        if name == 'devices':
            truth = tuple(
                dataclasses.replace(device, consumers=None) for device in truth
            )
        devices = measured.devices or ()
        if len(devices) != len(truth):
            raise Wrong(f'{name}: {len(devices)} devices, not {len(truth)}')
        for ours, theirs in zip(devices, truth, strict=True):
            if ours != theirs:
                raise Wrong(f'{name}: {ours}, not {theirs}')

    def row(self, read: str, name: str, way: str) -> Row:
        """Return what a way to read the cloud costs."""
        providers = [device.uuid for device in self._truth]
        if name == 'os_capacity':
            providers = self._providers
        sample = _ONE_BY_ONE.get(name)
        if sample is None or len(providers) <= sample:
            plain = self.run(name)
            delayed = plain.measured.wall + DELAY * plain.load.requests
            if sample is None:
                delayed = self.run(name, delay=DELAY).measured.wall
            return self._row(read, way, plain, delayed)
        # What comes before, and so many times what some of them cost.
        step = len(providers) // sample
        part = providers[::step][:sample]
        first, some = self.run(name, part=[]), self.run(name, part=part)
        times = len(providers) / len(part)

        def total(a: float, b: float) -> float:
            return a + b * times

        # Each process asks for the versions, but one would do.
        once = dataclasses.replace(some.load, requests=some.load.requests - 1)
        values = {
            key: total(getattr(first.load, key), getattr(once, key))
            for key in ('requests', 'bytes', 'placement', 'database')
        }
        wall = total(first.measured.wall, some.measured.wall)
        return Row(
            cloud=self._shape.name,
            read=read,
            way=way,
            placement_requests=round(values['requests']),
            other_requests=first.other,
            bytes=round(values['bytes']),
            placement_cpu=values['placement'],
            database_cpu=values['database'],
            client_cpu=total(first.measured.cpu, some.measured.cpu),
            peak=max(first.measured.peak, some.measured.peak),
            before=first.measured.before,
            wall=wall,
            delayed=wall + DELAY * values['requests'],
            computed=True,
        )

    def _row(self, read: str, way: str, run: _Run, delayed: float) -> Row:
        return Row(
            cloud=self._shape.name,
            read=read,
            way=way,
            placement_requests=run.load.requests,
            other_requests=run.other,
            bytes=run.load.bytes,
            placement_cpu=run.load.placement,
            database_cpu=run.load.database,
            client_cpu=run.measured.cpu,
            peak=run.measured.peak,
            before=run.measured.before,
            wall=run.measured.wall,
            delayed=delayed,
        )


def _judge(shape: model.Shape, cloud: model.Cloud, rows: list[Row]) -> None:
    """Fail where a read costs more than it may."""
    by_way = {(row.read, row.way): row for row in rows}
    ours = by_way['devices', 'gpuclient']
    # One to learn the version is in the count.
    requests = ours.placement_requests - 1
    if shape.name in ('none full, whole devices', 'none full, 1000 hosts'):
        if requests != 2:
            raise Wrong(f'{requests} requests for devices, not 2')
    if shape.name == '1000 hosts':
        if requests > 170:
            raise Wrong(f'{requests} requests for devices, not 170')
        loop = by_way['devices', 'plain loop']
        if loop.server_cpu < 20 * ours.server_cpu:
            raise Wrong(
                f'{ours.server_cpu:.1f} s of server CPU, the plain loop '
                f'{loop.server_cpu:.1f} s: not 20 times less'
            )
        pages = len(cloud.servers) // 1000 + 1
        most = 1.1 * (2 + cloud.holders() + pages)
        owners = by_way['owners', 'gpuclient']
        total = owners.placement_requests + owners.other_requests
        if total > most:
            raise Wrong(f'{total} requests for owners, not {most:.0f}')


_COLUMNS = (
    *('Cloud', 'Read', 'Way', 'Placement requests', 'Nova and Keystone'),
    *('MB', 'Server CPU s', 'of it database', 'Client CPU s'),
    *('Client MB', 'of it modules', 'Wall s', 'Wall s at +20 ms'),
)


def _cells(row: Row) -> list[str]:
    about = '~' if row.computed else ''
    return [
        row.cloud,
        row.read,
        row.way,
        f'{about}{row.placement_requests:,}',
        str(row.other_requests),
        f'{about}{row.bytes / 1e6:.2f}',
        f'{about}{row.server_cpu:.2f}',
        f'{about}{row.database_cpu:.2f}',
        f'{about}{row.client_cpu:.2f}',
        f'{row.peak / 1e6:.0f}',
        f'{row.before / 1e6:.0f}',
        f'{about}{row.wall:.2f}',
        f'{about}{row.delayed:.2f}',
    ]


def _line(row: Row) -> str:
    return '  '.join(
        f'{key} {value}'
        for key, value in zip(_COLUMNS, _cells(row), strict=True)
    )


def _table(header: tuple[str, ...], rows: list[list[str]]) -> list[str]:
    return [
        '| ' + ' | '.join(cells) + ' |'
        for cells in (list(header), ['---'] * len(header), *rows)
    ]


def _markdown(
    rows: list[Row], clouds: list[dict[str, typing.Any]], wrong: list[str]
) -> str:
    keys = tuple(clouds[0]) if clouds else ()
    return '\n'.join(
        [
            f'Placement in {service.WORKERS} processes on PostgreSQL, Python '
            f'{platform.python_version()}, {os.cpu_count()} processors. '
            'Figures with ~ are computed from a part.',
            '',
            *_table(
                keys, [[str(cloud[key]) for key in keys] for cloud in clouds]
            ),
            '',
            *_table(_COLUMNS, [_cells(row) for row in rows]),
            '',
            *(f'WRONG: {message}' for message in wrong),
        ]
    )


def _write(
    rows: list[Row], clouds: list[dict[str, typing.Any]], wrong: list[str]
) -> None:
    OUTPUT.mkdir(parents=True, exist_ok=True)
    (OUTPUT / 'placement.md').write_text(_markdown(rows, clouds, wrong) + '\n')
    (OUTPUT / 'placement.json').write_text(
        json.dumps(
            {
                'clouds': clouds,
                'rows': [dataclasses.asdict(row) for row in rows],
                'wrong': wrong,
            },
            indent=1,
        )
        + '\n'
    )


if __name__ == '__main__':
    sys.exit(main())
