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

"""Data files of the package, and the only code that reads them.

``gpus/`` has the records of GPU models, ``nova/`` the options of Nova's
releases, ``schema/`` the JSON schemas of our file formats. The files are part
of the program and do not change while it runs, so functions of
:mod:`gpuclient.model` that use them remain pure.
"""

import json
import typing

from gpuclient import exceptions


def read(name: str) -> str:
    """Return the text of a data file: ``gpus/nvidia.json``.

    :raises gpuclient.exceptions.DamagedPackage: The file cannot be read.
    """
    # Not every command needs data files.
    import importlib.resources

    file = importlib.resources.files(__name__).joinpath(name)
    try:
        return file.read_text(encoding='utf-8')
    except (OSError, ValueError) as exc:
        raise _damaged(name, exc) from exc


def load(name: str) -> dict[str, typing.Any]:
    """Return the content of a file, which is a JSON object.

    :raises gpuclient.exceptions.DamagedPackage: The file cannot be read.
    """
    try:
        content: dict[str, typing.Any] = json.loads(read(name))
    except ValueError as exc:
        raise _damaged(name, exc) from exc
    return content


def _damaged(name: str, reason: Exception) -> exceptions.DamagedPackage:
    return exceptions.DamagedPackage(
        f'Cannot read gpuclient/data/{name} of this package ({reason}): '
        f'install python-gpuclient again'
    )
