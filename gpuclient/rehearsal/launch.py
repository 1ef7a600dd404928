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

"""Launch the supervisor of a cloud and follow its progress."""

import json
import os
import subprocess
import sys
import typing

from gpuclient.rehearsal import overlays
from gpuclient.rehearsal import package_overlay
from gpuclient.rehearsal import state
from gpuclient.rehearsal import trusted_files

Say: typing.TypeAlias = package_overlay.Say


def launch(
    folder: state.StateFolder,
    bound_to: state.CloudProcess | None,
    say: Say | None,
    packages: overlays.Overlays,
) -> subprocess.Popen[bytes]:
    """Start the supervisor and wait until the start has ended.

    An interrupt ends the supervisor, too.

    :param bound_to: The process with which the cloud ends.
    :param say: Called with each line of progress.
    :param packages: The packages of other releases to run.
    """
    process, progress = _start(folder, bound_to, packages)
    try:
        with open(progress, encoding='utf-8') as lines:
            for line in lines:
                if say is not None:
                    say(line.rstrip())
    except BaseException:
        process.terminate()
        process.wait()
        raise
    return process


def _start(
    folder: state.StateFolder,
    bound_to: state.CloudProcess | None,
    packages: overlays.Overlays,
) -> tuple[subprocess.Popen[bytes], int]:
    """Start the supervisor; return it and the descriptor of its progress."""
    reader, writer = os.pipe()
    try:
        with open(
            folder.file('log', 'supervisor.log'),
            'ab',
            opener=trusted_files.open_private,
        ) as log:
            process = subprocess.Popen(
                [
                    sys.executable,
                    # Import no modules from the working directory.
                    '-P',
                    '-m',
                    'gpuclient.rehearsal.supervisor',
                    folder.name,
                    os.fspath(folder.path),
                    str(writer),
                    json.dumps(
                        [bound_to.pid, bound_to.started] if bound_to else None
                    ),
                    packages.dumps(),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=folder.path,
                env=_environment(),
                pass_fds=(writer,),
                start_new_session=True,
            )
    finally:
        os.close(writer)
    return process, reader


def _environment() -> dict[str, str]:
    """Return the environment without the user's clouds and proxies."""
    environment = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith('OS_') and not key.lower().endswith('_proxy')
    }
    environment['no_proxy'] = '*'
    # Threads share memory that has been freed.
    environment['MALLOC_ARENA_MAX'] = '2'
    return environment


def last_message(folder: state.StateFolder) -> str:
    """Return the last line that the supervisor logged."""
    with open(
        folder.file('log', 'supervisor.log'),
        encoding='utf-8',
        errors='replace',
        opener=trusted_files.open_private,
    ) as stream:
        lines = [line.strip() for line in stream if line.strip()]
    return lines[-1] if lines else 'the supervisor logged no message'
