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

"""What commands of ``openstack`` cost, by hand and ours."""

import collections.abc
import dataclasses
import json
import os
import pathlib
import resource
import subprocess
import sys
import time
import typing

from tests.benchmarks.placement import by_hand
from tests.benchmarks.placement import service


@dataclasses.dataclass(frozen=True)
class Cost:
    """What commands cost."""

    commands: float = 0
    #: To Placement, Nova and Keystone.
    requests: float = 0
    #: Of the clock, and processor seconds of the client.
    seconds: float = 0
    processor: float = 0

    def __add__(self, other: 'Cost') -> 'Cost':
        return Cost(
            self.commands + other.commands,
            self.requests + other.requests,
            self.seconds + other.seconds,
            self.processor + other.processor,
        )

    def __sub__(self, other: 'Cost') -> 'Cost':
        return self + other * -1

    def __mul__(self, times: float) -> 'Cost':
        return Cost(
            self.commands * times,
            self.requests * times,
            self.seconds * times,
            self.processor * times,
        )

    def __str__(self) -> str:
        commands = round(self.commands)
        return (
            f'{commands:,} command{"" if commands == 1 else "s"}, '
            f'{round(self.requests):,} requests, {self.seconds:,.1f} s '
            f'({self.processor:,.1f} s of processor)'
        )


class Failed(Exception):
    """A command that failed."""


class Shell:
    """Runs ``openstack`` on the services of a benchmark.

    :param services: Placement, and what stands in for Nova and Keystone.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        services: tuple[service.Service, service.Service],
    ) -> None:
        self._services = services
        self._environment = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith('OS_')
        }
        path = folder / 'clouds.yaml'
        path.write_text(json.dumps(_clouds(*services)))
        self._environment |= {
            'OS_CLIENT_CONFIG_FILE': os.fspath(path),
            'OS_CLOUD': 'benchmark',
        }
        self.cost = Cost()
        #: The commands that were run.
        self.history: list[by_hand.Command] = []

    def run(self, *command: str, status: int = 0) -> typing.Any:
        """Run a command in a process of its own; return what it prints."""
        done, cost = self._run([*command, '-f', 'json'], status=status)
        self.cost += cost + Cost(commands=1)
        self.history.append(command)
        return json.loads(done.stdout)

    def interactive(self, commands: list[by_hand.Command]) -> Cost:
        """Run commands in one interactive shell."""
        lines = [' '.join((*command, '-f', 'json')) for command in commands]
        # It always exits with 1 when its input ends.
        done, cost = self._run([], text='\n'.join((*lines, '')), status=1)
        # Each prints a document.
        if sum(line in ('[', '{', '[]') for line in _lines(done)) < len(lines):
            raise Failed(f'{done.stdout[-500:]} {done.stderr[-500:]}')
        return cost + Cost(commands=len(commands))

    def _run(
        self, arguments: list[str], *, text: str = '', status: int = 0
    ) -> tuple[subprocess.CompletedProcess[str], Cost]:
        before, processor = self._requests(), _processor()
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, '-m', 'openstackclient.shell', *arguments],
            input=text,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        seconds = time.perf_counter() - began
        if done.returncode != status:
            raise Failed(f'openstack {" ".join(arguments)}: {done.stderr}')
        return done, Cost(
            requests=self._requests() - before,
            seconds=seconds,
            processor=_processor() - processor,
        )

    def _requests(self) -> int:
        return sum(each.load().requests for each in self._services)


def _processor() -> float:
    """Return the processor seconds of the processes that have ended."""
    times = resource.getrusage(resource.RUSAGE_CHILDREN)
    return times.ru_utime + times.ru_stime


def _lines(done: subprocess.CompletedProcess[str]) -> list[str]:
    """Return the lines of an interactive shell without its prompt."""
    return [
        line.removeprefix('(openstack) ') for line in done.stdout.splitlines()
    ]


def _clouds(
    placement: service.Service, nova: service.Service
) -> dict[str, typing.Any]:
    return {
        'clouds': {
            'benchmark': {
                'auth_type': 'admin_token',
                'auth': {'endpoint': placement.url, 'token': 'admin'},
                'placement_endpoint_override': placement.url,
                'compute_endpoint_override': f'{nova.url}/v2.1',
                'identity_endpoint_override': f'{nova.url}/v3',
                # Otherwise each command asks for the version first.
                'placement_api_version': '1.39',
            }
        }
    }


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What a recipe costs as it was measured on a part of the hosts."""

    #: Each command as a process, on so many hosts.
    processes: Cost
    processes_hosts: int
    #: All commands in one interactive shell.
    interactive: Cost
    interactive_hosts: int
    hosts: int
    #: Hosts, of which all commands were run.
    sample: tuple[str, ...]
    #: Without the commands for each host, except for the nearest.
    nearest: Cost | None = None

    def lines(self, ours: Cost) -> collections.abc.Iterator[str]:
        """Yield what is to be printed."""
        yield f'ours: {ours}'
        for way, cost, hosts in (
            ('a process for each', self.processes, self.processes_hosts),
            (
                'one interactive shell',
                self.interactive,
                self.interactive_hosts,
            ),
        ):
            yield (
                f'by hand, {way}: ~{cost} (objects of {hosts} of '
                f'{self.hosts:,} hosts measured); {_ratio(cost, ours)}'
            )
        if self.nearest is not None:
            yield (
                f'by hand, what only {by_hand.NEAR} hosts lack, a process '
                f'for each: ~{self.nearest}; {_ratio(self.nearest, ours)}'
            )


def _ratio(cost: Cost, ours: Cost) -> str:
    return (
        f'ratio to ours: commands {cost.commands / ours.commands:,.0f}, '
        f'requests {cost.requests / ours.requests:,.1f}, seconds '
        f'{cost.seconds / ours.seconds:,.1f}, processor '
        f'{cost.processor / ours.processor:,.1f}'
    )


def compare(
    shell: Shell, recipe: by_hand.Recipe, hosts: int, more_hosts: int
) -> Comparison:
    """Measure a recipe.

    :param hosts: Of how many hosts each object is asked for in a process.
    :param more_hosts: The same in an interactive shell.
    """
    shell.cost, shell.history = Cost(), []
    recipe.run_lists(shell.run)
    lists = shell.cost
    commands = recipe.by_host()
    sample = _spread(commands, hosts)
    shell.cost = Cost()
    for host in sample:
        for command in commands[host]:
            recipe.take(command, shell.run(*command))
    each = shell.cost * (1 / shell.cost.commands)
    number = sum(map(len, commands.values()))
    history = shell.history
    shell.cost, shell.history = Cost(), []
    recipe.run_rest(shell.run)
    rest = shell.cost
    once = shell.interactive(
        [*history[: round(lists.commands)], *shell.history]
    )
    some = [
        command
        for host in _spread(commands, more_hosts)
        for command in commands[host]
    ]
    each_more = (shell.interactive(some) - shell.interactive([])) * (
        1 / len(some)
    )
    near = getattr(recipe, 'near', None)
    return Comparison(
        lists + each * number + rest,
        len(sample),
        once + each_more * number,
        min(more_hosts, len(commands)),
        len(commands),
        tuple(sample),
        nearest=None
        if near is None
        else lists + each * sum(len(commands[host]) for host in near) + rest,
    )


def _spread(hosts: collections.abc.Iterable[str], number: int) -> list[str]:
    """Return some hosts out of all."""
    listed = list(hosts)
    return listed[:: max(1, len(listed) // number)][:number]
