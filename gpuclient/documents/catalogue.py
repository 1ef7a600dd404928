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

"""The user's own file of GPU models, which adds to the catalogue.

:func:`gpuclient.model.catalogue.merged` describes its format.
"""

import os

import platformdirs

from gpuclient.documents import yaml_file
from gpuclient import exceptions
from gpuclient.model import catalogue


def default_path() -> str:
    """Return the path: ``~/.config/gpuclient/catalogue.yaml``."""
    return os.path.join(
        platformdirs.user_config_dir('gpuclient'), 'catalogue.yaml'
    )


def load(path: str | None = None) -> catalogue.Catalogue:
    """Return the catalogue with the models of a file.

    :param path: The file; by default the one at :func:`default_path`, if it
        exists.
    :raises gpuclient.exceptions.DocumentError: It cannot be read, or is
        invalid; the message is one line with the path and the key.
    """
    if path is None:
        path = default_path()
        if not os.path.exists(path):
            return catalogue.builtin()
    content = yaml_file.load(path)
    try:
        return catalogue.merged(catalogue.builtin(), content, path)
    except exceptions.InvalidData as exc:
        raise exceptions.DocumentError(f'{path}: {exc}') from exc
