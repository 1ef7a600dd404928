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

"""Run the host tests: ``python -m tests.host.run [fast] [TESTS ...]``.

They boot Debian's kernel in a virtual machine; see
``doc/source/contributor/host.rst``. ``fast`` excludes tests that boot a
complete Debian, and most of the others, and takes about two minutes. Further
arguments are those of stestr. The duration of each boot is printed at the end.

``python -m tests.host.run full`` runs no tests, but the whole chain once, and
shows each stage.
"""

import os
import pathlib
import signal
import subprocess
import sys
import tempfile

from tests.host import machine
from tests.host import provide

_HERE = pathlib.Path(__file__).parent
#: Each virtual machine keeps a CPU busy.
_WORKERS = 2
_FAST = (
    '--worker-file',
    os.fspath(_HERE / 'workers.yaml'),
    '--exclude-regex',
    r'tests\.host\.(test_debian|test_builtin|test_guest)'
    r'|tests\.host\.test_boots\.Test(Machine|OneOfTwo)'
    r'|test_audio_function|test_of_cards|test_driver_override_for_another'
    r'|test_line_that_modprobe_ignores|test_another_driver_first'
    r'|test_cards_in_other_slots|test_guest|test_race_lost|test_of_nova'
    r'|test_arguments_of_intel|TestAMD.test_off|test_nouveau_first',
)


def main(arguments: list[str]) -> int:
    """Return the exit status of the tests."""
    # Exit normally, so that the tests are killed as well.
    signal.signal(signal.SIGTERM, lambda *_signal: sys.exit(1))
    command = [
        # Tests of a class share boots.
        *('stestr', '--test-path', os.fspath(_HERE), '--parallel-class'),
        *('run', '--concurrency', str(_WORKERS)),
    ]
    if arguments[:1] == ['full']:
        command = ['tests.host.full']
        arguments = arguments[1:]
    elif arguments[:1] == ['fast']:
        command += _FAST
        arguments = arguments[1:]
    try:
        provide.programs()
        provide.initramfs()
    except provide.CannotProvide as exc:
        print(exc, file=sys.stderr)
        return 1
    with tempfile.NamedTemporaryFile('r', prefix='gpu-boots-') as times:
        status = subprocess.run(
            [
                # Virtual machines and mounts end with the tests.
                *('unshare', '--mount', '--pid', '--fork', '--mount-proc'),
                '--kill-child',
                *(sys.executable, '-m', *command, *arguments),
            ],
            cwd=_HERE.parent.parent,
            env={**os.environ, machine.TIMES: times.name},
            check=False,
        ).returncode
        boots = [line.rstrip().partition(' ') for line in times]
    seconds = [float(time) for time, _space, _arguments in boots]
    if seconds:
        for time, _space, arguments in boots:
            print(f'{time:>6} s  {arguments}')
        print(
            f'host tests: {len(seconds)} boots, {min(seconds):.1f} to '
            f'{max(seconds):.1f} s each, {sum(seconds):.0f} s in all'
        )
    return status


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
