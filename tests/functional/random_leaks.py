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

"""Plant random leaks in random clouds, while servers move.

::

    python -m tests.functional.random_leaks --count 30 --seed 7

Each planting: servers boot, leaks of random kinds are planted, and the check
runs while other servers move. All that was planted must be found, and nothing
else, apart from leaks that Nova itself has made of the moved servers: for each
of those, the database of Nova must show other devices than Placement. Then
they are repaired, and Placement must agree with the database; taken back, and
all allocations must be as before; and repaired by a run that is killed at a
random request and run again, with the same result.
"""

import argparse
import collections
import contextlib
import dataclasses
import itertools
import json
import os
import pathlib
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
import typing

import openstack
import yaml

from gpuclient.rehearsal import control

from tests.functional import base
from tests.functional import leak_planting

_NAME = 'random-leaks'
#: Codes that --fix does not repair.
_LEFT = frozenset({'GPU613', 'GPU616', 'GPU617', 'GPU618', 'GPU619', 'GPU622'})
#: And that may end without it: nova-compute raises the total of a device.
_ENDING = _LEFT | {'GPU621'}


class Wrong(Exception):
    """The command did something wrong."""


@dataclasses.dataclass
class Totals:
    """The figures of a run."""

    plantings: int = 0
    planted: collections.Counter[str] = dataclasses.field(
        default_factory=collections.Counter
    )
    #: Leaks that moves of Nova have made, and that were found.
    of_nova: int = 0
    moves: int = 0
    repaired: int = 0
    undone: int = 0
    killed: int = 0


class Movers:
    """Servers that move for as long as a context lasts."""

    def __init__(self, cloud: leak_planting.Cloud, servers: list[str]) -> None:
        self._cloud = cloud
        self._servers = servers
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(server,))
            for server in servers
        ]
        self.moves = 0
        self.migrations: list[str] = []
        self.errors: list[str] = []

    def __enter__(self) -> 'Movers':
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, server: str) -> None:
        while not self._stop.is_set():
            try:
                self.migrations.append(self._cloud.migrate(server))
            except AssertionError as exc:
                # No host had a free device: it stays where it is.
                self.errors.append(str(exc)[:200])
                return
            self.moves += 1


class Planting:
    """One planting in a cloud."""

    def __init__(
        self,
        cloud: leak_planting.Cloud,
        rng: random.Random,
        totals: Totals,
        folder: str,
    ) -> None:
        self._cloud = cloud
        self._rng = rng
        self._totals = totals
        self._folder = folder
        self._planter = leak_planting.Planter(cloud, rng)
        # Their nova-compute must add devices back.
        self._hosts = [
            host.partition('.')[0]
            for host in cloud.roots()
            if host.startswith('g')
        ]
        self._stderr = ''

    def run(self) -> str:
        """Return a line about it.

        :raises Wrong: Something is wrong.
        """
        mover = self._cloud.boot_all('moving:1', 1)
        self._planter.servers = self._cloud.boot_all(
            'a2:1', self._rng.randint(4, 5)
        )
        self._planter.migrations = [self._migrate(mover[0])]
        self._cloud.correct(mover[0])
        if self._check():
            raise Wrong(f'in a healthy cloud: {self._check()}')
        planted = self._plant()
        before = self._cloud.state()
        found = self._find(mover, planted)
        self._cloud.correct(mover[0])
        for server in mover:
            before['allocations'].pop(server, None)
        repaired = self._repair(mover, planted)
        if self._stderr:
            journal = self._stderr.split()[-1]
            self._check('--undo', journal)
            self._compare(before, mover, planted, 'undone')
            self._totals.undone += 1
            self._kill(before, repaired, mover, planted)
        elif any(leak.code not in _ENDING for leak in planted):
            raise Wrong(f'nothing repaired: {planted}')
        self._totals.plantings += 1
        return f'{len(planted)} planted, {found} found'

    def _migrate(self, server: str) -> str:
        """Migrate a server, again if Nova fails to.

        A nova-compute that was late to report is down for a moment.
        """
        for _attempt in range(4):
            with contextlib.suppress(AssertionError):
                return self._cloud.migrate(server)
        return self._cloud.migrate(server)

    def _plant(self) -> list[leak_planting.Planted]:
        kinds = list(self._planter.kinds)
        shortage = kinds.pop()
        chosen = self._rng.sample(kinds, self._rng.randint(4, 7))
        if self._rng.random() < 0.3:
            chosen.append(shortage)
        planted = [leak for kind in chosen if (leak := kind()) is not None]
        self._totals.planted.update(leak.code for leak in planted)
        return planted

    def _find(
        self, movers: list[str], planted: list[leak_planting.Planted]
    ) -> int:
        """Check while servers move."""
        with Movers(self._cloud, movers) as moving:
            found = leak_planting.subjects(self._check())
            # The others are found, too, when Nova has time to move a server.
            base.wait_until(
                lambda: moving.moves or moving.errors or None,
                120,
                'a server has moved',
            )
            again = leak_planting.subjects(self._check())
        self._totals.moves += moving.moves
        self._planter.migrations += moving.migrations
        for leaks in (found, again):
            missing = [
                leak
                for leak in planted
                if leak not in leaks
                # nova-compute has added the device meanwhile.
                and leak.code != 'GPU613'
                and not self._was_raised(leak)
            ]
            if missing:
                raise Wrong(f'not found: {missing}')
            for leak in leaks:
                if leak not in planted:
                    self._judge(leak, movers)
        return len(found)

    def _was_raised(self, leak: leak_planting.Planted) -> bool:
        """Return whether nova-compute has raised the total of a device.

        It does so at each update, to what consumers hold.
        """
        if leak.code != 'GPU621':
            return False
        (record,) = self._cloud.inventories(leak.subject)[
            'inventories'
        ].values()
        return record['total'] == 2

    def _judge(self, leak: leak_planting.Planted, movers: list[str]) -> None:
        """Make sure that a leak that was not planted is one."""
        if leak.code == 'GPU610':
            # The second consumer of a shared device is one, too.
            with contextlib.suppress(AssertionError):
                self._cloud.server(leak.subject)
                raise Wrong(f'Nova has the server: {leak}')
            return
        if leak.code == 'GPU612' and leak.subject in movers:
            # A later move may have ended it.
            self._totals.of_nova += 1
            return
        raise Wrong(f'invented: {leak}')

    def _repair(
        self, movers: list[str], planted: list[leak_planting.Planted]
    ) -> dict[str, typing.Any]:
        with self._cloud.updates(self._hosts):
            rows = self._check('--fix')
            self._wait_for_nova(planted)
        for row in rows:
            if row['Result'] not in (None, 'done'):
                raise Wrong(f'not repaired: {row}')
            if row['Result'] is None and row['Repair'] is not None:
                raise Wrong(f'not tried: {row}')
        journal = self._stderr
        left = [
            leak
            for leak in leak_planting.subjects(self._check())
            if leak.code not in _LEFT
        ]
        self._stderr = journal
        if left:
            raise Wrong(f'left: {left}')
        self._compare_with_nova(planted)
        self._totals.repaired += sum(
            leak.code not in _LEFT for leak in planted
        )
        return self._cloud.state()

    def _wait_for_nova(self, planted: list[leak_planting.Planted]) -> None:
        """Wait until nova-compute has added what only it adds."""
        real = self._cloud.real_devices()
        for leak in planted:
            if leak.code == 'GPU613':
                base.wait_until(
                    lambda server=leak.subject: (
                        self._cloud.held_devices().get(server) == real[server]
                    ),
                    120,
                    f'nova-compute has added the device of {leak.subject}',
                )

    def _compare_with_nova(self, planted: list[leak_planting.Planted]) -> None:
        """Make sure that Placement has the devices that servers use."""
        real = self._cloud.real_devices()
        for leak in planted:
            if leak.code == 'GPU616':
                real.pop(leak.subject, None)
        held = self._cloud.held_devices()
        if real != held:
            raise Wrong(f'Nova has {real}, Placement has {held}')

    def _compare(
        self,
        wanted: dict[str, typing.Any],
        movers: list[str],
        planted: list[leak_planting.Planted],
        what: str,
    ) -> None:
        """Make sure that all allocations are as wanted, byte for byte."""
        state = self._cloud.state()
        others = {*movers} | {
            leak.subject for leak in planted if leak.code == 'GPU613'
        }
        for consumer in {*wanted['allocations'], *state['allocations']}:
            first, second = (
                json.dumps(known['allocations'].get(consumer), sort_keys=True)
                for known in (wanted, state)
            )
            if consumer not in others and first != second:
                raise Wrong(f'{what}: {consumer}: {first}, not {second}')
        if state['providers'].keys() != wanted['providers'].keys():
            raise Wrong(f'{what}: other providers')

    def _kill(
        self,
        before: dict[str, typing.Any],
        repaired: dict[str, typing.Any],
        movers: list[str],
        planted: list[leak_planting.Planted],
    ) -> None:
        """Kill a repair at a request, and run it again."""
        url = self._cloud.cloud.session.get_endpoint(
            service_type='placement', interface='public'
        )
        number = self._rng.randint(20, 70)
        with self._cloud.updates(self._hosts):
            leak_planting.run_killed(
                url,
                (*_CHECK, '--fix'),
                number,
                late=self._rng.random() < 0.5,
            )
            self._check('--fix')
        self._compare(repaired, movers, planted, f'killed at {number}')
        self._totals.killed += 1

    def _check(self, *arguments: str) -> list[dict[str, typing.Any]]:
        result = base.run_openstack(*_CHECK, *arguments)
        if result.status not in (0, 3):
            raise Wrong(f'{arguments}: {result}')
        self._stderr = result.stderr
        return list(json.loads(result.stdout))


_CHECK = (
    *('--os-cloud', _NAME, 'gpu', 'placement', 'check', '-f', 'json'),
    *('--yes', '--reserved-days', '0'),
)


@contextlib.contextmanager
def _started(
    rng: random.Random, folder: str
) -> typing.Iterator[leak_planting.Cloud]:
    """Start a random cloud."""
    hosts = {
        f'g{number}': rng.randint(5, 8) for number in range(rng.randint(2, 3))
    }
    where = control.folder(_NAME, os.path.join(folder, 'cloud'))
    try:
        control.start(
            where,
            yaml.safe_load(
                leak_planting.spec(hosts, rng.randint(4, 8), rng.randint(3, 4))
            ),
            lambda _line: None,
            bound_to=os.getpid(),
        )
        os.environ['OS_CLIENT_CONFIG_FILE'] = os.fspath(where.clouds_yaml)
        with openstack.connect(cloud=_NAME) as cloud:
            yield leak_planting.Cloud(cloud)
    finally:
        if where.exists():
            control.stop(where)
        shutil.rmtree(os.path.join(folder, 'cloud'), ignore_errors=True)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument('--count', type=int, default=30)
    parser.add_argument('--each', type=int, default=1)
    parser.add_argument('--seed', type=int)
    options = parser.parse_args(arguments)
    seed = options.seed
    if seed is None:
        seed = random.SystemRandom().randrange(10**6)
    print(f'seed {seed}', flush=True)
    # Also stop the cloud after SIGTERM.
    signal.signal(signal.SIGTERM, lambda *_signal: sys.exit(1))
    totals = Totals()
    numbers = itertools.count()
    failures = 0
    folder = tempfile.mkdtemp(prefix='gpu-')
    os.environ['XDG_STATE_HOME'] = os.path.join(folder, 'state')
    try:
        while totals.plantings + failures < options.count:
            rng = random.Random(f'{seed}-{next(numbers)}')
            with _started(rng, folder) as cloud:
                for _number in range(options.each):
                    failures += _run(cloud, rng, totals, folder)
                    cloud.clear()
                    if totals.plantings + failures >= options.count:
                        break
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(
        f'seed {seed}: {totals.plantings} plantings, {failures} wrong; '
        f'planted {dict(sorted(totals.planted.items()))}, '
        f'{sum(totals.planted.values())} in all; {totals.moves} moves, '
        f'{totals.of_nova} leaks of Nova found; {totals.repaired} repaired, '
        f'{totals.undone} taken back, {totals.killed} killed and run again'
    )
    return 1 if failures else 0


def _run(
    cloud: leak_planting.Cloud,
    rng: random.Random,
    totals: Totals,
    folder: str,
) -> int:
    """Run a planting; return the number of failures."""
    began = time.monotonic()
    shutil.rmtree(pathlib.Path(folder, 'state'), ignore_errors=True)
    try:
        line = Planting(cloud, rng, totals, folder).run()
    except (Wrong, AssertionError) as exc:
        print(f'WRONG: {type(exc).__name__}: {exc}', flush=True)
        return 1
    print(f'{line}, {time.monotonic() - began:.0f} s', flush=True)
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
