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

"""Run the functional tests: ``python -m tests.functional.run [TESTS ...]``.

Starts the cloud of ``cloud.yaml`` in a temporary folder, runs the tests with
stestr in several processes (``workers.yaml``), and stops the cloud. Further
arguments are those of stestr.
"""

import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

from gpuclient import exceptions
from gpuclient.documents import yaml_file
from gpuclient.rehearsal import control

from tests.functional import base

_HERE = pathlib.Path(__file__).parent


def main(arguments: list[str]) -> int:
    """Return the exit status of the tests."""
    # Also stop the cloud after SIGTERM.
    signal.signal(signal.SIGTERM, lambda *_signal: sys.exit(1))
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix='gpu-') as temporary:
        folder = control.folder(base.ADMIN, os.path.join(temporary, 'cloud'))
        try:
            cloud = control.start(
                folder,
                yaml_file.load(os.fspath(_HERE / 'cloud.yaml')),
                print,
                bound_to=os.getpid(),
            )
        except exceptions.GPUError as exc:
            print(exc, file=sys.stderr)
            return 1
        try:
            for service in cloud.record.refused:
                print(f'{service.title}: {service.message}', file=sys.stderr)
            if cloud.record.refused:
                return 1
            started = time.monotonic()
            status = _run_tests(folder.clouds_yaml, arguments)
            ended = time.monotonic()
        finally:
            control.stop(folder)
    print(
        f'functional tests: start of the cloud {started - began:.1f} s, '
        f'tests {ended - started:.1f} s, '
        f'stop {time.monotonic() - ended:.1f} s'
    )
    return status


def _run_tests(clouds_yaml: str, arguments: list[str]) -> int:
    return subprocess.run(
        [
            sys.executable,
            '-m',
            'stestr',
            '--test-path',
            os.fspath(_HERE),
            'run',
            '--worker-file',
            os.fspath(_HERE / 'workers.yaml'),
            *arguments,
        ],
        cwd=_HERE.parent.parent,
        env={**os.environ, base.CLOUDS_YAML: clouds_yaml},
        check=False,
    ).returncode


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
