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

"""Let the nova-scheduler of a rehearsal cloud decide about other hosts."""

import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import typing

from gpuclient import exceptions
from gpuclient.rehearsal import control
from gpuclient.rehearsal import nova_overlay
from gpuclient.rehearsal import trusted_files

#: Seconds for the start of the program, and for each trial.
_START = 180
_TRIAL = 60
_DATABASES = ('placement', 'nova_api', 'nova_cell1')
_SCHEDULER = 'nova-scheduler'


class Decisions(typing.NamedTuple):
    """The decisions about trials, in their order."""

    records: list[dict[str, typing.Any]]
    #: MiB that the process of the scheduler took.
    memory_mb: int


def decide(
    cloud: control.RehearsalCloud, trials: list[dict[str, typing.Any]]
) -> Decisions:
    """Return what nova-scheduler decides about trials.

    The hosts in the databases of the cloud are replaced.

    :param trials: As :mod:`gpuclient.rehearsal.nova_worker.decide` reads them.
    :raises RehearsalError: The program failed, or takes too long.
    """
    folder = cloud.folder
    job = {
        'arguments': _arguments(cloud),
        'databases': {
            name: folder.file('db', f'{name}.sqlite') for name in _DATABASES
        },
        'trials': trials,
    }
    log = folder.file('log', 'twin.log')
    with tempfile.TemporaryDirectory(dir=folder.path) as temporary:
        result = os.path.join(temporary, 'decisions.json')
        with open(log, 'ab', opener=trusted_files.open_private) as stream:
            before = _peak()
            try:
                done = subprocess.run(
                    [
                        *(sys.executable, '-P', '-m'),
                        'gpuclient.rehearsal.nova_worker.decide',
                        result,
                    ],
                    input=json.dumps(job).encode(),
                    stdout=stream,
                    stderr=stream,
                    cwd=folder.path,
                    env=_environment(cloud),
                    timeout=_START + _TRIAL * len(trials),
                    check=False,
                )
            except subprocess.TimeoutExpired as exc:
                raise exceptions.RehearsalError(
                    'nova-scheduler did not decide in '
                    f'{exc.timeout:.0f} seconds'
                ) from exc
        if done.returncode:
            raise exceptions.RehearsalError(
                f'nova-scheduler could not decide: {_last_line(log)}'
            )
        records = json.loads(pathlib.Path(result).read_text(encoding='utf-8'))
    return Decisions(records, max(before, _peak()) // 1024)


def _peak() -> int:
    """Return the peak memory of the processes that have ended, in KiB."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss


def _arguments(cloud: control.RehearsalCloud) -> list[str]:
    etc = ('etc', 'nova')
    return [
        '--config-file',
        cloud.folder.file(*etc, 'nova.conf'),
        '--config-dir',
        cloud.folder.file(*etc, f'{_SCHEDULER}.conf.d'),
    ]


def _environment(cloud: control.RehearsalCloud) -> dict[str, str]:
    environment = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith('OS_') and not key.lower().endswith('_proxy')
    }
    environment['no_proxy'] = '*'
    if cloud.overlay_release is not None:
        overlay = nova_overlay.prepare(cloud.overlay_release)
        if overlay is not None:
            path = environment.get('PYTHONPATH')
            environment['PYTHONPATH'] = os.pathsep.join(
                [os.fspath(overlay.path), *([path] if path else [])]
            )
    return environment


def _last_line(path: str) -> str:
    lines = pathlib.Path(path).read_text(errors='replace').splitlines()
    return next((line for line in reversed(lines) if line.strip()), '')
