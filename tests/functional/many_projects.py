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

"""Apply a file of many projects: count requests, kill it, run it twice.

::

    python -m tests.functional.many_projects --count 300 --kills 50 --seed 7

The end must be the same whatever happened before: what the file says, without
duplicates. A run is killed at a random request, sent or not, and repeated.
"""

import argparse
import collections
import collections.abc
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
from openstack import connection
import yaml

from gpuclient.cloud import request
from gpuclient.files import atomic
from gpuclient.rehearsal import control

from tests.functional import base

CLASS = 'CUSTOM_PCI_10DE_20F1'
_SPEC = pathlib.Path(__file__).parent / 'unified_limits.yaml'
_NAME = 'many'
_FLAVORS = tuple(f'gpu.a100.{count}' for count in (1, 2, 4))
#: First words of actions that write.
_WRITES = ('adding', 'creating', 'deleting', 'removing', 'setting')
_State = dict[str, dict[str, typing.Any]]


class _Counter:
    """Counts requests, and may kill this process at one of them."""

    def __init__(self, kill_at: int | None = None) -> None:
        self.actions: list[str] = []
        self._kill_at = kill_at
        self._lock = threading.Lock()

    def __call__(self, action: str) -> None:
        with self._lock:
            self.actions.append(action)
            if len(self.actions) == self._kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    def summary(self) -> str:
        writes = sum(action.startswith(_WRITES) for action in self.actions)
        kinds = collections.Counter(
            ' '.join(action.split()[:2]) for action in self.actions
        )
        most = ', '.join(f'{n} {kind}' for kind, n in kinds.most_common(5))
        return (
            f'{len(self.actions)} requests, {writes} of them writes ({most})'
        )


class _Trial:
    def __init__(self, folder: pathlib.Path, count: int, seed: int) -> None:
        self.folder = folder
        self.random = random.Random(seed)
        self.cloud: connection.Connection = openstack.connect(cloud=_NAME)
        self.ids: dict[str, str] = {}
        self._set_up(count)

    def _set_up(self, count: int) -> None:
        compute = self.cloud.compute
        for number, name in enumerate(_FLAVORS):
            flavor = compute.create_flavor(
                name=name, vcpus=1, ram=512, disk=1, is_public=False
            )
            compute.create_flavor_extra_specs(
                flavor, {'pci_passthrough:alias': f'nvidia_a100:{2**number}'}
            )
        for number in range(count):
            name = f'project-{number:05}'
            self.ids[name] = self.cloud.identity.create_project(
                name=name, domain_id='default'
            ).id

    def wanted(self, count: int | None = None) -> _State:
        """Return random settings of the first projects."""
        return {
            name: {
                'flavors': sorted(
                    self.random.sample(_FLAVORS, self.random.randint(0, 3))
                ),
                'limits': {
                    f'class:{CLASS}': self.random.randint(0, 9),
                    'servers': self.random.randint(0, 9),
                    'class:PCPU': self.random.randint(-1, 99),
                },
            }
            for name in list(self.ids)[:count]
        }

    def write(self, wanted: _State, name: str = 'projects') -> str:
        path = self.folder / f'{name}.yaml'
        path.write_text(
            yaml.safe_dump(
                {
                    'projects': [
                        {'name': name, **settings}
                        for name, settings in wanted.items()
                    ]
                }
            )
        )
        return str(path)

    def state(self, names: collections.abc.Iterable[str]) -> _State:
        """Return what projects have, read without the package."""
        state: _State = {name: {'flavors': [], 'limits': {}} for name in names}
        by_id = {self.ids[name]: name for name in state}
        for limit in self.cloud.identity.limits():
            name = by_id.get(limit.project_id)
            if name is not None:
                limits = state[name]['limits']
                if limit.resource_name in limits:
                    raise AssertionError(f'duplicate limit of {name}')
                limits[limit.resource_name] = limit.resource_limit
        registered = [
            limit.resource_name
            for limit in self.cloud.identity.registered_limits()
        ]
        if len(registered) != len(set(registered)):
            raise AssertionError(f'duplicate registered limit: {registered}')
        for name in _FLAVORS:
            flavor = self.cloud.compute.find_flavor(name)
            for access in self.cloud.compute.get_flavor_access(flavor.id):
                if access['tenant_id'] in by_id:
                    state[by_id[access['tenant_id']]]['flavors'].append(name)
        return state

    def clear(self) -> None:
        """Delete all limits."""
        for limit in self.cloud.identity.limits():
            self.cloud.identity.delete_limit(limit)
        for registered in self.cloud.identity.registered_limits():
            self.cloud.identity.delete_registered_limit(registered)

    def check(self, wanted: _State) -> None:
        state = self.state(wanted)
        for name, settings in wanted.items():
            if state[name] != settings:
                raise AssertionError(
                    f'{name} has {state[name]}, not {settings}'
                )


def _run(path: str) -> tuple[base.Result, list[dict[str, typing.Any]]]:
    result = base.run_openstack(
        *('--os-cloud', _NAME, 'gpu', 'project', 'apply', path),
        *('--yes', '-f', 'json'),
    )
    return result, json.loads(result.stdout) if result.stdout else []


def _counted(
    path: str, kill_at: int | None = None
) -> tuple[base.Result, list[dict[str, typing.Any]], _Counter]:
    counter = _Counter(kill_at)
    request.observers.append(counter)
    try:
        return *_run(path), counter
    finally:
        request.observers.remove(counter)


def _fork(path: str, kill_at: int | None = None) -> int:
    """Apply a file in another process; return its PID."""
    pid = os.fork()
    if pid:
        return pid
    status = 70
    try:
        result, _rows, _counter = _counted(path, kill_at)
        status = result.status
        if status:
            sys.stderr.write(result.stderr)
    finally:
        os._exit(status)


def _many(trial: _Trial) -> None:
    wanted = trial.wanted()
    path = trial.write(wanted)
    for title in ('first run', 'second run'):
        began = time.monotonic()
        result, rows, counter = _counted(path)
        seconds = time.monotonic() - began
        if result.status:
            raise AssertionError(result.stderr)
        print(
            f'{title} of {len(wanted)} projects: {len(rows)} changes, '
            f'{counter.summary()}, {seconds:.1f} s',
            flush=True,
        )
        trial.check(wanted)
    if rows:
        raise AssertionError(f'the second run changes {rows[:3]}')


def _killed(trial: _Trial, kills: int, count: int) -> None:
    killed = ended = 0
    for number in range(kills):
        wanted = trial.wanted(count)
        path = trial.write(wanted)
        # Reads come first, then a few writes for each project.
        kill_at = trial.random.randint(1, 20 + 5 * count)
        _pid, status = os.waitpid(_fork(path, kill_at), 0)
        if os.WIFSIGNALED(status):
            killed += 1
        else:
            ended += 1
        result, _rows = _run(path)
        if result.status:
            raise AssertionError(result.stderr)
        trial.check(wanted)
        if number % 10 == 9:
            print(f'killed {number + 1} times', flush=True)
    print(
        f'{killed} runs of {count} projects killed at a random request, '
        f'{ended} ended before it: the same end each time',
        flush=True,
    )


def _together(trial: _Trial, times: int, count: int) -> None:
    for _time in range(times):
        # They register limits at the same time, too.
        trial.clear()
        wanted = trial.wanted(count)
        path = trial.write(wanted)
        children = [_fork(path), _fork(path)]
        statuses = [os.waitpid(pid, 0)[1] for pid in children]
        if any(statuses):
            raise AssertionError(f'two runs of one file: {statuses}')
        trial.check(wanted)
    print(
        f'two runs of one file at the same time, {times} times: one end',
        flush=True,
    )
    for _time in range(times):
        both = [trial.wanted(count), trial.wanted(count)]
        paths = [
            trial.write(wanted, f'p{number}')
            for number, wanted in enumerate(both)
        ]
        for pid in [_fork(path) for path in paths]:
            os.waitpid(pid, 0)
        for name, settings in trial.state(both[0]).items():
            for limit, value in settings['limits'].items():
                if value not in [each[name]['limits'][limit] for each in both]:
                    raise AssertionError(f'{name} has {limit} {value}')
        # The last one wins, once nobody else writes.
        result, _rows = _run(paths[0])
        if result.status:
            raise AssertionError(result.stderr)
        trial.check(both[0])
    print(f'two files at the same time, {times} times: no other values')


def main() -> None:
    """Run all of it; an AssertionError ends it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--count', type=int, default=300)
    parser.add_argument('--kills', type=int, default=50)
    parser.add_argument('--projects', type=int, default=20)
    parser.add_argument('--times', type=int, default=10)
    parser.add_argument('--seed', type=int, default=None)
    arguments = parser.parse_args()
    # Also stop the cloud after SIGTERM.
    signal.signal(signal.SIGTERM, lambda *_signal: sys.exit(1))
    seed = arguments.seed
    if seed is None:
        seed = random.randrange(2**32)
    print(f'seed {seed}', flush=True)
    temporary = pathlib.Path(tempfile.mkdtemp(prefix='gpu-'))
    folder = control.folder(_NAME, str(temporary / 'cloud'))
    try:
        control.start(
            folder,
            yaml.safe_load(atomic.read(str(_SPEC))),
            lambda _line: None,
            bound_to=os.getpid(),
        )
        os.environ['OS_CLIENT_CONFIG_FILE'] = folder.clouds_yaml
        trial = _Trial(temporary, arguments.count, seed)
        _many(trial)
        _killed(trial, arguments.kills, arguments.projects)
        _together(trial, arguments.times, arguments.projects)
    finally:
        control.stop(folder)
        shutil.rmtree(temporary, ignore_errors=True)


if __name__ == '__main__':
    main()
