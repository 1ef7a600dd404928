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

"""Run the examples of doc/examples: ``python -m tests.examples.run``.

They need ansible-core and pre-commit, which ``make test-examples`` installs,
and a package index.
"""

import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[2]
EXAMPLES = ROOT / 'doc' / 'examples'
_MODULES = ('test_ci', 'test_playbook', 'test_nightly')


def environment() -> dict[str, str]:
    """Return the environment, with the commands of this Python first."""
    folder = pathlib.Path(sys.executable).parent
    return {
        **os.environ,
        'PATH': f'{folder}:{os.environ["PATH"]}',
        'ANSIBLE_NOCOLOR': 'true',
        'LC_ALL': 'C.UTF-8',
    }


def main(arguments: list[str]) -> int:
    """Return the exit status of the tests."""
    names = arguments or list(_MODULES)
    command = [
        *(sys.executable, '-m', 'testtools.run'),
        *(f'tests.examples.{name}' for name in names),
    ]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
