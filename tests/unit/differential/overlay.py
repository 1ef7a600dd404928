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

"""Other releases of Nova, to judge by: each in a folder of the user's cache.

pip installs them, from the index that the user has set. Libraries are those
of the running environment, except where an earlier Nova cannot work with
them.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

from gpuclient import exceptions
from gpuclient.model import nova_changes
from gpuclient.model import release

#: Libraries beside Nova, by its series.
_LIBRARIES = {27: ('SQLAlchemy<2', 'oslo.utils<9')}
#: Written last, so that a folder without it is an unfinished one.
_COMPLETE = '.complete'
_SECONDS = 300


def folder() -> pathlib.Path:
    """Return the folder of the cache."""
    cache = os.environ.get('XDG_CACHE_HOME') or '~/.cache'
    return pathlib.Path(cache).expanduser() / 'python-gpuclient' / 'nova'


def get(chosen: release.Release) -> pathlib.Path:
    """Return the folder of a release of Nova; install it if it is not there.

    :raises gpuclient.exceptions.GPUError: pip cannot install it.
    """
    version = nova_changes.version_text(chosen.version)
    overlay = folder() / version
    if (overlay / _COMPLETE).exists():
        return overlay
    overlay.parent.mkdir(parents=True, exist_ok=True)
    made = pathlib.Path(tempfile.mkdtemp(dir=overlay.parent, prefix='new-'))
    try:
        _install(made, version, _LIBRARIES.get(chosen.number, ()))
        (made / _COMPLETE).touch()
        # What is there is not complete, or not ours.
        shutil.rmtree(overlay, ignore_errors=True)
        made.rename(overlay)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return overlay


def _install(
    target: pathlib.Path, version: str, libraries: tuple[str, ...]
) -> None:
    result = subprocess.run(
        [
            *(sys.executable, '-m', 'pip', 'install', '--quiet', '--no-deps'),
            *('--no-compile', '--disable-pip-version-check'),
            *('--target', str(target)),
            *(f'nova=={version}', *libraries),
        ],
        capture_output=True,
        text=True,
        timeout=_SECONDS,
    )
    if result.returncode:
        lines = result.stderr.strip().splitlines() or ['no message']
        raise exceptions.GPUError(
            f'pip cannot install nova {version}: {lines[-1]}'
        )
