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

"""Trees of configuration: read them, and check them."""

import collections.abc
import os

from gpuclient.documents import services
from gpuclient.documents import tree
from gpuclient import exceptions
from gpuclient.model import catalogue
from gpuclient.operations import device_names
from gpuclient.rules import configuration as configuration_rules
from gpuclient.rules import finding


def read(
    paths: collections.abc.Sequence[str],
    declared: collections.abc.Sequence[tree.Declared] = (),
) -> tree.ConfigurationTree:
    """Read files and folders.

    :param declared: What some of them are.
    :raises gpuclient.exceptions.GPUError: They have no configuration.
    """
    if not paths and not declared:
        raise exceptions.InvalidValue(
            'Name files or folders, or say what they are with --as'
        )
    found = tree.read(paths, declared)
    paths = [*paths, *(each.path for each in declared)]
    if not found.files and not found.unreadable and found.unread:
        path, name = found.unread[0]
        raise exceptions.DocumentError(services.not_read(path, name))
    if not found.files and not found.unreadable:
        raise exceptions.NotFound(
            (
                'There is no configuration of Nova in {paths}: name '
                'nova.conf files, YAML files, or folders that hold them'
            ).format(paths=', '.join(paths))
        )
    return found


def check(
    found: tree.ConfigurationTree, models: catalogue.Catalogue
) -> tuple[finding.Located, ...]:
    """Return all findings of a tree."""
    return (
        *(
            configuration_rules.unreadable(path, reason)
            for path, reason in found.unreadable
        ),
        *(
            configuration_rules.unread(
                path, services.not_read(os.path.basename(path), name)
            )
            for path, name in found.unread
        ),
        *configuration_rules.check(
            found.deployment,
            models,
            device_names.known_name,
        ),
    )
